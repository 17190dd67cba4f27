"""Directories in the store that exist whole or not at all: their files first, verified, and a manifest last.

The manifest is JSON with ``{"files": {NAME: {"sha256": ..., "size": ...}}}``. What is stored is read back before the
manifest is written; what is fetched is checked against it before it appears.
"""

import hashlib
import json
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.references import FileRef
from tasks.services.store import (
    AlreadyExistsError,
    NotFoundError,
    Store,
    StoreError,
    file_digest,
    open_store,
    split_uri,
    validate_key,
)
from tvae_core.errors import DigestError

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class DirectoryRef:
    """A stored directory; `already_stored` when it was there before with the same bytes."""

    uri: str
    digest: str
    already_stored: bool


def save_directory(store: Store, prefix: str, path: Path) -> DirectoryRef:
    """Store the directory at `path`, which holds a manifest, under `prefix`; the manifest goes last, put-if-absent.

    The same bytes again are a success, and repair a stored file that was altered; what a crash left is used or
    replaced. Of several writers of different bytes at one moment at most one succeeds, and maybe none: each reads its
    files back before the manifest and after it. Should a loser's last write arrive later still, `fetch_directory`
    refuses the directory. Releases rule even that out by a directory per digest (`publishing.py`).

    Raises AlreadyExistsError when other bytes are stored there, DigestError when a file is not what the manifest at
    `path` says or another writer interfered, StoreError when there is no usable manifest.
    """
    validate_key(prefix)
    try:
        document = (path / MANIFEST).read_bytes()
    except FileNotFoundError:
        raise StoreError(f"{path} can't be stored: a directory with {MANIFEST} was expected") from None
    files = listed_files(document, str(path))
    for name, entry in files.items():
        _check_local(path / name, entry)
    key = f"{prefix}/{MANIFEST}"
    already = not _put_all(store, prefix, path, files, unless=key)
    if not already:
        try:
            store.put_bytes(key, document, if_absent=True)
        except AlreadyExistsError:  # another writer was faster, or our own write's answer was lost
            already = store.get_bytes(key) != document
    _check_digest(store, prefix, files)
    _put_all(store, prefix, path, files)
    return DirectoryRef(store.uri_of(prefix), content_digest(files), already)


def fetch_directory(store: Store, prefix: str, path: Path) -> dict[str, Any]:
    """Fetch a stored directory into the absent or empty directory `path`, whole or not at all; return its manifest.

    Raises NotFoundError when there is no manifest under `prefix`, DigestError when a file's bytes are not those that
    the manifest lists, StoreError when `path` is taken.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise StoreError(f"an absent or empty directory was expected to fetch into; {path} is not empty")
    document = store.get_bytes(f"{prefix}/{MANIFEST}")
    files = listed_files(document, store.uri_of(prefix))
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.parent / f".{path.name}.{secrets.token_hex(6)}.tmp"
    try:
        unfinished.mkdir()
        for name, entry in files.items():
            (unfinished / name).parent.mkdir(parents=True, exist_ok=True)
            _fetch_checked(store, f"{prefix}/{name}", unfinished / name, entry)
        (unfinished / MANIFEST).write_bytes(document)
        unfinished.replace(path)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return dict(json.loads(document))


def put_verified(store: Store, key: str, path: Path, sha256: str) -> None:
    """Put a file and read it back.

    Raises DigestError when the file at `path`, or what the store holds in the end, has another digest.
    """
    if store.put_file(key, path).sha256 != sha256:
        raise DigestError(f"{path.name} changed while it was stored: run again when nobody writes to it")
    if store.checksum(key).sha256 != sha256:
        raise DigestError(
            f"{store.uri_of(key)} does not hold the bytes that were sent: another run may be writing there. Run again"
        )


def holds(store: Store, key: str, sha256: str, size: int) -> bool:
    """Whether the store holds exactly these bytes under `key`, read back."""
    try:
        return store.size(key) == size and store.checksum(key).sha256 == sha256
    except NotFoundError:
        return False


@contextmanager
def local_copy(store: Store, source: Path | FileRef) -> Iterator[Path]:
    """The file itself, or a private copy of what the reference points to, checked and removed afterwards."""
    if not isinstance(source, FileRef):
        yield source
        return
    if source.uri.startswith(f"{store.uri}/") and store.uri.startswith("s3://"):
        origin, key = store, source.uri.removeprefix(f"{store.uri}/")
    else:
        root, key = split_uri(source.uri)
        origin = open_store(root)
    with tempfile.TemporaryDirectory(prefix="tvae-release-") as folder:
        path = Path(folder) / "file"
        if origin.get_file(key, path).sha256 != source.sha256:
            raise DigestError(
                f"{source.uri} was altered since it was referred to: run the stage that wrote it again"
            )
        yield path


def content_digest(files: Mapping[str, Mapping[str, Any]]) -> str:
    """The digest of files by relative path: sha256 over the canonical JSON of sorted [path, sha256] pairs.

    It depends on names and bytes alone: the same files have the same digest whenever they are stored.
    """
    pairs = sorted([path, entry["sha256"]] for path, entry in files.items())
    canonical = json.dumps(pairs, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def listed_files(document: bytes, origin: str) -> dict[str, dict[str, Any]]:
    """The files that a manifest lists, checked for form: plain relative names, a sha256 and a size each.

    Raises StoreError naming `origin`.
    """
    try:
        files = json.loads(document)["files"]
        checked = {
            validate_key(name): {"sha256": str(entry["sha256"]), "size": int(entry["size"])}
            for name, entry in files.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        raise StoreError(
            f'the {MANIFEST} of {origin} is damaged: {{"files": {{NAME: {{"sha256", "size"}}}}}} was expected'
        ) from None
    if not checked or MANIFEST in checked:
        raise StoreError(f"the {MANIFEST} of {origin} must list at least one file, and not itself")
    return checked


def _check_local(path: Path, entry: Mapping[str, Any]) -> None:
    if not path.is_file():
        raise DigestError(f"{path} is listed in {MANIFEST} and is not there: save the directory anew")
    if file_digest(path) != (entry["sha256"], entry["size"]):
        raise DigestError(
            f"{path} was altered: its sha256 is not the one in {MANIFEST}; save the directory anew"
        )


def _put_all(
    store: Store, prefix: str, path: Path, files: Mapping[str, Mapping[str, Any]], unless: str | None = None
) -> bool:
    """Put the files that the store does not hold; False as soon as an object lies under the key `unless`."""
    for name, entry in files.items():
        if unless is not None and store.exists(unless):
            return False
        if not holds(store, f"{prefix}/{name}", entry["sha256"], entry["size"]):
            put_verified(store, f"{prefix}/{name}", path / name, entry["sha256"])
    return True


def _check_digest(store: Store, prefix: str, files: Mapping[str, Mapping[str, Any]]) -> None:
    """Whoever wrote the manifest that stands there, it must list our bytes."""
    stored = listed_files(store.get_bytes(f"{prefix}/{MANIFEST}"), store.uri_of(prefix))
    if content_digest(stored) != content_digest(files):
        raise AlreadyExistsError(
            f"{store.uri_of(prefix)} already holds other bytes (digest {content_digest(stored)[:12]}, not "
            f"{content_digest(files)[:12]}), and a version is never overwritten: choose another version"
        )


def _fetch_checked(store: Store, key: str, path: Path, entry: Mapping[str, Any]) -> None:
    try:
        fetched = store.get_file(key, path)
    except NotFoundError:
        raise DigestError(
            f"{store.uri_of(key)} is listed in {MANIFEST} and is not there: store it anew"
        ) from None
    if (fetched.sha256, fetched.size) != (entry["sha256"], entry["size"]):
        raise DigestError(
            f"{store.uri_of(key)} was altered: its sha256 is not the one in {MANIFEST}; store it anew"
        )
