"""Copies of a store's releases and generators in another store, and back.

What is complete is copied, and nothing else: a directory without a manifest is somebody's unfinished work, and
``runs/`` can be made anew. Files go first, each verified against the source's manifest and read back from the target;
the manifest goes last, put-if-absent. So a copy that breaks off leaves no half directory, and copying again goes on
where it stopped.
"""

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.services.directories import MANIFEST, holds, put_verified
from tasks.services.store import AlreadyExistsError, NotFoundError, Store, StoreError
from tvae_core.errors import DigestError

KINDS = ("generators", "releases")
RETIRED = "retired.json"  # beside a manifest: the files that it lists may have been removed
Entry = Mapping[str, Any]


@dataclass(frozen=True)
class Copied:
    """What a copy did: directories copied now, those that the target held already, and what could not be copied."""

    copied: tuple[str, ...]
    present: tuple[str, ...]
    problems: tuple[str, ...]


def copy_store(
    source: Store,
    target: Store,
    *,
    reread: bool = False,
    on_directory: Callable[[str], None] | None = None,
) -> Copied:
    """Copy every complete release and generator of `source` that `target` lacks; nothing in `target` is overwritten.

    With `reread` the files of directories that `target` holds already are read back as well, and sent again where they
    were altered. A directory that is damaged in `source`, or other content in `target`, becomes a problem and does not
    stop the others. Raises StoreError when a store is at fault.
    """
    copied: list[str] = []
    present: list[str] = []
    problems: list[str] = []
    for prefix, keys in complete_directories(source):
        document = source.get_bytes(f"{prefix}/{MANIFEST}")
        try:
            standing = _manifest(target, prefix)
            if standing is not None and standing != document:
                raise AlreadyExistsError(f"{target.uri_of(prefix)} holds other content: it is left as it is")
            if standing is None or reread or _lacks(target, prefix, keys):
                _copy_files(source, target, prefix, keys, listed_entries(document, source.uri_of(prefix)))
            if standing is None:
                target.put_bytes(f"{prefix}/{MANIFEST}", document, if_absent=True)
        except (AlreadyExistsError, DigestError, NotFoundError) as error:
            problems.append(f"{prefix}: {error}")
            continue
        (present if standing is not None else copied).append(prefix)
        if on_directory is not None:
            on_directory(prefix)
    return Copied(tuple(copied), tuple(present), tuple(problems))


def complete_directories(store: Store) -> Iterator[tuple[str, list[str]]]:
    """The prefix of every release and generator that has a manifest, and the keys below it, manifest left out."""
    for kind in KINDS:
        below: dict[str, list[str]] = {}
        for key in store.list(f"{kind}/"):
            parts = key.split("/")
            if len(parts) > 3:
                below.setdefault("/".join(parts[:3]), []).append(key)
        for prefix, keys in below.items():
            if f"{prefix}/{MANIFEST}" in keys:
                yield prefix, [key for key in keys if key != f"{prefix}/{MANIFEST}"]


def listed_entries(document: bytes, origin: str) -> dict[str, Entry]:
    """The entries (sha256, size) of a release's or a generator's manifest, by path below its directory.

    Raises StoreError naming `origin` when they are no manifest's.
    """
    try:
        content = json.loads(document)
        files = content["files"]
        if isinstance(files, dict):
            return {str(name): _entry(entry) for name, entry in files.items()}
        return {f"{content['directory']}/{entry['path']}": _entry(entry) for entry in files}
    except (ValueError, KeyError, TypeError):
        raise DigestError(f"the {MANIFEST} of {origin} is damaged: nothing of it is copied") from None


def _entry(plain: Entry) -> Entry:
    return {"sha256": str(plain["sha256"]), "size": int(plain["size"])}


def _manifest(store: Store, prefix: str) -> bytes | None:
    try:
        return store.get_bytes(f"{prefix}/{MANIFEST}")
    except NotFoundError:
        return None


def _lacks(store: Store, prefix: str, keys: list[str]) -> bool:
    """Whether a file came to the source since, such as a release's retirement."""
    return bool(set(keys) - set(store.list(f"{prefix}/")))


def _copy_files(
    source: Store, target: Store, prefix: str, keys: list[str], listed: Mapping[str, Entry]
) -> None:
    if f"{prefix}/{RETIRED}" not in keys:
        missing = [name for name in listed if f"{prefix}/{name}" not in keys]
        if missing:
            raise DigestError(f"{missing[0]} is listed in its {MANIFEST} and is not there: nothing is copied")
    for key in keys:
        _copy_file(source, target, key, listed.get(key.removeprefix(f"{prefix}/")))


def _copy_file(source: Store, target: Store, key: str, entry: Entry | None) -> None:
    """Copy one object; `entry` is what the manifest says of it, None for what lies beside the listed files."""
    if entry is not None and holds(target, key, entry["sha256"], entry["size"]):
        return
    with tempfile.TemporaryDirectory(prefix="tvae-backup-") as folder:
        path = Path(folder) / "file"
        fetched = source.get_file(key, path)
        if entry is not None and (fetched.sha256, fetched.size) != (entry["sha256"], entry["size"]):
            raise DigestError(f"{source.uri_of(key)} was altered: its sha256 is not the one in {MANIFEST}")
        if entry is None and holds(target, key, fetched.sha256, fetched.size):
            return
        put_verified(target, key, path, fetched.sha256)


def check_stores(source: Store, target: Store) -> None:
    """Refuse a copy of a store into itself. Raises StoreError."""
    if f"{source.uri}/".startswith(f"{target.uri}/") or f"{target.uri}/".startswith(f"{source.uri}/"):
        raise StoreError(
            f"{source.uri} and {target.uri} lie in each other: a copy needs a store of its own, best on another machine"
        )
