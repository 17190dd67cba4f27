"""The release that was published before: what a new one is compared with."""

from collections.abc import Iterator
from contextlib import contextmanager

from tasks.references import PartRef, TableRef
from tasks.services.catalogue import Entry, list_entries
from tasks.services.scoring.drift import Earlier
from tasks.services.store import Store
from tasks.services.tables import open_table, table_digest


@contextmanager
def open_earlier(store: Store, name: str, version: str) -> Iterator[Earlier | None]:
    """The newest release of `name` that is neither `version` nor retired, open for reading; None where there is none.

    Raises StoreError when a manifest is damaged, DigestError when a part of the release was altered.
    """
    entries = list_entries(store, "releases", name)
    standing = [entry for entry in entries if entry.version != version and entry.retired is None]
    if not standing:
        yield None
        return
    newest = standing[-1]
    with open_table(_rows_of(store, newest)) as table:
        yield Earlier(table, newest.version, newest.digest)


def _rows_of(store: Store, release: Entry) -> TableRef:
    folder = store.uri_of(f"{release.prefix}/{release.manifest['directory']}")
    parts = tuple(
        PartRef(f"{folder}/{entry['path']}", entry["sha256"], entry["size"], entry["rows"])
        for entry in release.manifest["files"]
        if entry["path"].startswith("data/")
    )
    return TableRef(f"{folder}/data", table_digest(parts), sum(part.rows for part in parts), parts)
