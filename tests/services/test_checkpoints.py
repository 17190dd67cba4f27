"""A training's checkpoint in the store."""

import logging

from tasks.services.checkpoints import StoredCheckpoint
from tasks.services.messages import forward_messages
from tasks.services.store import Store, UnavailableError


def test_a_checkpoint_is_replaced_found_again_and_removed(store: Store) -> None:
    checkpoint = StoredCheckpoint(store, "people", "v1")
    assert checkpoint.load() is None
    for content in (b"first", b"second"):
        checkpoint.save(content)
        assert StoredCheckpoint(store, "people", "v1").load() == content
    assert StoredCheckpoint(store, "people", "v2").load() is None
    checkpoint.remove()
    checkpoint.remove()
    assert checkpoint.load() is None
    assert list(store.list()) == []


def test_training_goes_on_when_the_store_takes_no_checkpoint() -> None:
    class Down:
        def put_bytes(self, key: str, data: bytes) -> None:
            raise UnavailableError("the store does not answer")

    heard: list[str] = []
    with forward_messages(heard.append):
        StoredCheckpoint(Down(), "people", "v1").save(b"state")  # type: ignore[arg-type]
    assert heard == ["the training's checkpoint was not saved, training goes on: the store does not answer"]


def test_messages_are_forwarded_inside_the_block_only() -> None:
    heard: list[str] = []
    core = logging.getLogger("tvae_core.anything")
    with forward_messages(heard.append):
        core.info("inside %d", 1)
        core.debug("too much detail")
    core.warning("outside")
    assert heard == ["inside 1"]
