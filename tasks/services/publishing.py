"""All-or-nothing releases.

A release is its manifest: it exists when, and only when, ``releases/NAME/VERSION/manifest.json`` exists, which is
written last and put-if-absent. Its files lie beside it, in a directory named after their digest, so that two
publishers never write to the same place unless they write the same bytes:

    releases/NAME/VERSION/manifest.json
    releases/NAME/VERSION/files-DIGEST12/data/part-00000.parquet, report.html, ...

A crash at any point leaves no manifest, or the whole release; the next attempt sends only what is missing.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tasks.references import FileRef, ReleaseRef
from tasks.services.directories import (
    MANIFEST,
    DirectoryRef,
    fetch_directory,
    holds,
    local_copy,
    put_verified,
    save_directory,
)
from tasks.services.release_manifest import (
    RETIRED,
    Document,
    build_manifest,
    file_entry,
    read_manifest,
    release_prefix,
    validate_name,
)
from tasks.services.sealing import seal
from tasks.services.store import (
    AlreadyExistsError,
    NotFoundError,
    Store,
    StoreError,
)
from tasks.services.verification import verify_release

if TYPE_CHECKING:
    from tasks.services.sealing import PrivateKey

__all__ = [
    "DirectoryRef",
    "Publication",
    "fetch_directory",
    "list_versions",
    "load_release",
    "publish_release",
    "save_directory",
    "validate_name",
    "verify_release",
]


@dataclass(frozen=True)
class Publication(ReleaseRef):
    """A published release, and how it came about.

    `already_published`: it was there with the same digest; `sent` files were uploaded now, the others lay there.
    """

    already_published: bool
    sent: int


def publish_release(
    store: Store,
    name: str,
    version: str,
    files: Mapping[str, Path | FileRef],
    manifest: Mapping[str, Any],
    *,
    rows: Mapping[str, int] | None = None,
    digest_over: Sequence[str] = (),
    key: "PrivateKey | None" = None,
) -> Publication:
    """Publish `files` as ``releases/NAME/VERSION``, all or nothing.

    `files` maps a relative path in the release to a local file or to a reference (its digest is checked); `manifest` is
    whatever else the release's manifest shall hold, as plain JSON. `rows` gives row counts by path where the reference
    is no PartRef. `digest_over` names the paths, or directories ending in a slash, that make the release's digest, all
    by default: leave out a report that holds times, and the same data has the same digest. With a `key` the manifest is
    signed.

    Raises AlreadyExistsError when the version exists with another digest (this call's own files are removed then), or
    was retired.
    Any other failure leaves no manifest, and the same call again finishes the release: StoreFullError,
    UnavailableError, DigestError when a file is not what its reference says, StoreError for a bad name or path.
    """
    prefix = release_prefix(name, version)
    listed = {path: file_entry(path, files[path], rows or {}) for path in sorted(files)}
    document = build_manifest(name, version, listed, manifest, digest_over)
    sent = 0
    try:
        if (standing := read_manifest(store, prefix)) is None:
            sent = _send(store, f"{prefix}/{document['directory']}", files, listed)
            standing = _put_manifest(store, prefix, document, key)
    except NotFoundError:
        # Files of ours are gone: a publisher of the same bytes lost the race and removed them.
        if (standing := read_manifest(store, prefix)) is None:
            raise
    if standing["directory"] != document["directory"]:
        _remove(store, f"{prefix}/{document['directory']}/")
    if store.exists(f"{prefix}/{RETIRED}"):
        raise AlreadyExistsError(
            f"the release {name} {version} was retired from {store.uri}, and its name is not given again: choose "
            "another version"
        )
    if standing["digest"] != document["digest"]:
        raise AlreadyExistsError(
            f"the release {name} {version} already exists in {store.uri} with other content (digest "
            f"{standing['digest'][:12]}, not {document['digest'][:12]}), and a release is never overwritten: choose "
            "another version"
        )
    return Publication(
        uri=store.uri_of(prefix),
        name=name,
        version=version,
        digest=standing["digest"],
        manifest_uri=store.uri_of(f"{prefix}/{MANIFEST}"),
        already_published=any(standing.get(entry) != value for entry, value in document.items()),
        sent=sent,
    )


def load_release(store: Store, name: str, version: str) -> Document:
    """The manifest of a release; ``releases/NAME/VERSION/<directory>/<path>`` is where its files lie.

    Raises NotFoundError when there is no such release, StoreError when its manifest is damaged, FormatError when a
    newer version of this project wrote it.
    """
    document = read_manifest(store, release_prefix(name, version))
    if document is None:
        raise NotFoundError(
            f"{store.uri} holds no release {name} {version}: `list_versions` says which there are"
        )
    return document


def list_versions(store: Store, kind: Literal["releases", "generators"], name: str) -> list[str]:
    """The versions of a release or generator that exist whole, sorted."""
    prefix = f"{kind}/{validate_name(name)}/"
    inner = (key.removeprefix(prefix).split("/") for key in store.list(prefix))
    return [parts[0] for parts in inner if len(parts) == 2 and parts[1] == MANIFEST]


def _send(
    store: Store, prefix: str, files: Mapping[str, Path | FileRef], listed: Mapping[str, Document]
) -> int:
    """Put every file that the store does not hold yet, each verified by reading it back; return how many were sent."""
    sent = 0
    for path, entry in listed.items():
        key = f"{prefix}/{path}"
        if holds(store, key, entry["sha256"], entry["size"]):
            continue
        with local_copy(store, files[path]) as source:
            put_verified(store, key, source, entry["sha256"])
        sent += 1
    return sent


def _put_manifest(store: Store, prefix: str, document: Document, signing: "PrivateKey | None") -> Document:
    """Write the sealed manifest unless there is one; return the one that stands."""
    key = f"{prefix}/{MANIFEST}"
    with suppress(AlreadyExistsError):
        store.put_bytes(key, seal(document, signing), if_absent=True)
    # Read back: an earlier attempt of this very write may have arrived though its answer was lost, and on a server
    # that does not decide races a later writer may have replaced it.
    standing = read_manifest(store, prefix)
    if standing is None:
        raise StoreError(
            f"{store.uri_of(key)} was written and is not there: check who else deletes in {store.uri}"
        )
    return standing


def _remove(store: Store, prefix: str) -> None:
    for key in store.list(prefix):
        store.delete(key)
