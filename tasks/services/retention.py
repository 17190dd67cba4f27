"""Letting go of what a store holds: tombstones, the last N, and what crashes left behind.

What is retired leaves a tombstone, ``retired.json``, beside its manifest: its name is never given again, its manifest
stays readable, and its files are removed only where that is asked for.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from tasks.services.approval import awaited_packages
from tasks.services.catalogue import Entry, Kind, list_entries, read_entry
from tasks.services.directories import MANIFEST
from tasks.services.release_manifest import RETIRED
from tasks.services.sealing import seal
from tasks.services.store import AlreadyExistsError, NotFoundError, Store, StoreError

PACKAGE = "package-"


def retire(
    store: Store, kind: Kind, name: str, version: str, *, reason: str, by: str, remove: bool = False
) -> dict[str, Any]:
    """Retire a release or a generator; with `remove` its files go too. Returns the tombstone.

    Retiring again with `remove` removes the files and keeps the first reason and date. Raises NotFoundError when there
    is no such version, StoreError without a reason, AlreadyExistsError when it was retired already.
    """
    if not reason.strip():
        raise StoreError("a reason was expected: whoever misses it will ask")
    entry = read_entry(store, kind, name, version)
    standing = entry.retired
    if standing is not None and (standing.get("swept") or not remove):
        raise AlreadyExistsError(
            f"{entry.prefix} was retired already, on {standing['retired'][:10]}: {standing['reason']}"
        )
    tombstone = standing or {
        "name": name,
        "version": version,
        "digest": entry.digest,
        "retired": datetime.now(UTC).isoformat(),
        "by": by,
        "reason": reason,
    }
    tombstone = {**tombstone, "swept": remove}
    # Before anything is removed: a reader who misses a file finds out why.
    store.put_bytes(f"{entry.prefix}/{RETIRED}", seal(tombstone), if_absent=standing is None)
    if remove:
        for key in list(store.list(f"{entry.prefix}/")):
            if key not in (f"{entry.prefix}/{MANIFEST}", f"{entry.prefix}/{RETIRED}"):
                store.delete(key)
    return tombstone


def beyond_last(entries: Sequence[Entry], keep: int) -> list[Entry]:
    """The entries that are older than the last `keep` of their name; those that are retired already don't count."""
    if keep < 1:
        raise StoreError(f"at least one version was expected to be kept, got {keep}")
    living: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        if entry.retired is None:
            living[entry.name].append(entry)
    return [entry for versions in living.values() for entry in versions[: max(0, len(versions) - keep)]]


def orphans(store: Store, kind: Kind, hours: float, name: str | None = None) -> dict[str, list[str]]:
    """What no manifest speaks for and nothing wrote to for `hours`: folder to its keys.

    Of releases: directories of files that no manifest names, and packages that nobody decides on any more. Of
    generators: versions without a manifest.
    """
    whole = {entry.prefix: entry for entry in list_entries(store, kind, name)}
    folders: dict[str, list[str]] = defaultdict(list)
    for key in store.list(f"{kind}/{name}/" if name else f"{kind}/"):
        parts = key.split("/")
        if len(parts) < 4:
            continue
        entry = whole.get("/".join(parts[:3]))
        if kind == "generators" and entry is None:
            folders["/".join(parts[:3])].append(key)
        named = entry is not None and entry.manifest.get("directory") == parts[3]
        if kind == "releases" and parts[3].startswith("files-") and not named:
            folders["/".join(parts[:4])].append(key)
    if kind == "releases":
        for key in store.list(f"runs/{name}/" if name else "runs/"):
            parts = key.split("/")
            if len(parts) > 4 and parts[3].startswith(PACKAGE):
                folders["/".join(parts[:4])].append(key)
    limit, awaited = datetime.now(UTC) - timedelta(hours=hours), awaited_packages(store, name)
    return {
        folder: keys
        for folder, keys in folders.items()
        if folder not in awaited and _last_write(store, keys) < limit
    }


def sweep(store: Store, found: dict[str, list[str]]) -> None:
    """Remove what `orphans` found."""
    for keys in found.values():
        for key in keys:
            store.delete(key)


def _last_write(store: Store, keys: Sequence[str]) -> datetime:
    """When the youngest of these objects was written; of objects that are gone meanwhile, long ago."""
    latest = datetime.min.replace(tzinfo=UTC)
    for key in keys:
        try:
            latest = max(latest, store.modified(key))
        except NotFoundError:
            continue
    return latest
