"""The checkpoint of a training in the store: found by whoever trains the same generator again, on any machine."""

import logging

from tasks.services.store import NotFoundError, Store, StoreError

logger = logging.getLogger(__name__)


def checkpoint_key(name: str, version: str) -> str:
    """Where the checkpoint of this version of a generator lies while it is trained."""
    return f"checkpoints/{name}/{version}.safetensors"


class StoredCheckpoint:
    """One object, replaced as a whole. Training goes on when the store can't take it."""

    def __init__(self, store: Store, name: str, version: str) -> None:
        self._store, self._key = store, checkpoint_key(name, version)

    def load(self) -> bytes | None:
        """What was saved last, None when there is nothing."""
        try:
            return self._store.get_bytes(self._key)
        except NotFoundError:
            return None

    def save(self, content: bytes) -> None:
        """Replace what was saved before; a store that is at fault is named in a warning."""
        try:
            self._store.put_bytes(self._key, content)
        except StoreError as error:
            logger.warning("the training's checkpoint was not saved, training goes on: %s", error)

    def remove(self) -> None:
        """Remove the checkpoint: the generator is in the store."""
        self._store.delete(self._key)
