"""Check a release as its recipient: every byte, every count, and who signed it. Needs the release's directory alone."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.references import FileRef
from tasks.services.directories import MANIFEST
from tasks.services.release_manifest import (
    RETIRED,
    Document,
    digest_of,
    parse_manifest,
    release_prefix,
    selects,
)
from tasks.services.sealing import open_seal
from tasks.services.store import NotFoundError, Store, StoreError, local_path

if TYPE_CHECKING:
    from tasks.services.sealing import PublicKey


@dataclass
class Verification:
    """What was found in a release.

    Attributes:
        uri: the directory that was looked at.
        name, version, digest: what its manifest says it is; empty when the manifest can't be read.
        files, rows: how many files and synthetic rows were checked.
        signed_by: fingerprint of the key that its signature was made with, None when it is not signed.
        trusted: whether that is the key that was asked for; None when none was.
        retired: when and why it was retired, None when it was not.
        problems: what is wrong, one sentence each; a good release has none.
    """

    uri: str
    name: str = ""
    version: str = ""
    digest: str = ""
    files: int = 0
    rows: int = 0
    signed_by: str | None = None
    trusted: bool | None = None
    retired: Document | None = None
    problems: list[str] = field(default_factory=list)


def verify_release(store: Store, name: str, version: str) -> list[str]:
    """Read every file of a release again and return what is wrong, one sentence each; an empty list is a good release.

    Raises what `examine_release` raises.
    """
    return examine_release(store, release_prefix(name, version)).problems


def examine_release(store: Store, prefix: str, public_key: "PublicKey | None" = None) -> Verification:
    """Check the release in the directory `prefix` of a store, wherever it was copied to.

    Raises NotFoundError when no manifest lies there, FormatError when a newer version of this project wrote it.
    """
    found = Verification(store.uri_of(prefix))
    try:
        content = store.get_bytes(f"{prefix}/{MANIFEST}")
    except NotFoundError:
        raise NotFoundError(
            f"no release lies at {found.uri}: a directory with {MANIFEST} was expected"
        ) from None
    sealed = open_seal(content, MANIFEST, public_key)
    found.signed_by, found.trusted = sealed.signed_by, sealed.trusted
    found.problems += sealed.problems
    try:
        document = parse_manifest(content, store.uri_of(f"{prefix}/{MANIFEST}"))
    except StoreError:
        found.problems = found.problems or [f"{MANIFEST} does not describe a release"]
        return found
    found.name, found.version, found.digest = document["name"], document["version"], document["digest"]
    found.retired = read_tombstone(store, prefix, found.problems)
    _check_files(store, prefix, document, found)
    _check_rows(document, found)
    return found


def read_tombstone(store: Store, prefix: str, problems: list[str] | None = None) -> Document | None:
    """When and why the release under `prefix` was retired, None when it was not; damage goes to `problems`."""
    try:
        sealed = open_seal(store.get_bytes(f"{prefix}/{RETIRED}"), RETIRED)
    except NotFoundError:
        return None
    whole = all(isinstance(sealed.document.get(key), str) for key in ("retired", "reason", "by"))
    if problems is not None:
        problems += sealed.problems or (() if whole else (f"{RETIRED} does not say when, why and by whom",))
    return sealed.document if whole else {"retired": "", "reason": f"{RETIRED} is damaged"}


def _check_files(store: Store, prefix: str, document: Document, found: Verification) -> None:
    listed = {entry["path"]: entry for entry in document["files"]}
    folder = f"{prefix}/{document['directory']}/"
    swept = bool(found.retired and found.retired.get("swept"))
    for path, entry in listed.items():
        try:
            with _fetched(store, folder + path) as (reference, local):
                found.problems += _differences(path, entry, reference) or _contents(document, entry, local)
            found.files += 1
        except NotFoundError:
            if not swept:
                found.problems.append(f"{path} is missing")
    expected = {folder + path for path in listed} | {f"{prefix}/{MANIFEST}", f"{prefix}/{RETIRED}"}
    for key in store.list(f"{prefix}/"):
        if key not in expected:
            added = key.removeprefix(folder).removeprefix(f"{prefix}/")
            found.problems.append(f"{added} was added: it is not in the manifest")
    selected = [name for name in document["digest_over"] if any(selects(name, path) for path in listed)]
    if selected != document["digest_over"] or digest_of(listed, selected) != document["digest"]:
        found.problems.append(f"{MANIFEST} was altered: its digest is not that of the files it lists")


def _check_rows(document: Document, found: Verification) -> None:
    parts = [entry for entry in document["files"] if entry["path"].startswith("data/")]
    found.rows = sum(entry.get("rows", 0) for entry in parts)
    stated = document.get("lineage", {}).get("synthetic", {}).get("rows", found.rows)
    if stated != found.rows:
        found.problems.append(f"the parts hold {found.rows} rows; the manifest says {stated}")


def _differences(path: str, entry: Document, found: FileRef) -> list[str]:
    if found.size != entry["size"]:
        return [f"{path} has {found.size} bytes; {entry['size']} were published"]
    if found.sha256 != entry["sha256"]:
        return [f"{path} was altered: its sha256 is not the one that was published"]
    return []


def _contents(document: Document, entry: Document, local: Path) -> list[str]:
    """What a Parquet part says of itself, against the manifest: rows, columns, and that it is synthetic."""
    columns: list[dict[str, Any]] | None = document.get("columns")
    if columns is None or not entry["path"].endswith(".parquet"):
        return []
    path = entry["path"]
    try:
        with pq.ParquetFile(local) as file:
            rows, schema = file.metadata.num_rows, file.schema_arrow
    except (pa.ArrowException, OSError):
        return [f"{path} is not a Parquet file"]
    problems = []
    if rows != entry.get("rows"):
        problems.append(f"{path} holds {rows} rows; the manifest says {entry.get('rows')}")
    if [{"name": column.name, "type": str(column.type)} for column in schema] != columns:
        problems.append(f"{path} has other columns or types than the manifest says")
    if (schema.metadata or {}).get(b"synthetic") != b"true":
        problems.append(f"{path} is not marked as synthetic")
    return problems


@contextmanager
def _fetched(store: Store, key: str) -> Iterator[tuple[FileRef, Path]]:
    """An object's digest, and a local file that holds its bytes; only one lies on this machine at a time."""
    if store.uri.startswith("file://"):
        reference = store.checksum(key)
        yield reference, local_path(reference.uri)
        return
    with tempfile.TemporaryDirectory(prefix="tvae-verify-") as folder:
        path = Path(folder) / "file"
        yield store.get_file(key, path), path
