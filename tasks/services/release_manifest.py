"""What a release's manifest says: built before anything is written, checked for form when it is read."""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tasks.references import FileRef, PartRef
from tasks.services.directories import MANIFEST, content_digest
from tasks.services.store import NotFoundError, Store, StoreError, file_digest, validate_key
from tvae_core.errors import FormatError

FORMAT_VERSION = 2  # 1 had no seal
RETIRED = "retired.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_DIRECTORY = re.compile(r"files-[0-9a-f]{12}")
_RESERVED = {
    "format_version", "name", "version", "digest", "digest_over", "created", "directory", "files", "signature", "seal",
}  # fmt: skip
Document = dict[str, Any]


def validate_name(name: str) -> str:
    """Return `name` when it can name a release, a generator or a version; StoreError otherwise."""
    if not _NAME.fullmatch(name) or len(name) > 200:
        raise StoreError(
            f"{name[:200]!r} can't name a release or a version: a letter or digit, then letters, digits, '.', '_', '-' "
            "(at most 200) are expected"
        )
    return name


def release_prefix(name: str, version: str) -> str:
    """The folder of the store in which this release lies."""
    return f"releases/{validate_name(name)}/{validate_name(version)}"


def file_entry(path: str, source: Path | FileRef, rows: Mapping[str, int]) -> Document:
    """What the manifest says about one file."""
    validate_key(path)
    if isinstance(source, FileRef):
        sha256, size = source.sha256, source.size
    else:
        sha256, size = file_digest(source)
    entry: Document = {"path": path, "sha256": sha256, "size": size}
    if isinstance(source, PartRef):
        entry["rows"] = source.rows
    elif path in rows:
        entry["rows"] = rows[path]
    return entry


def build_manifest(
    name: str,
    version: str,
    listed: Mapping[str, Document],
    manifest: Mapping[str, Any],
    digest_over: Sequence[str],
) -> Document:
    """The manifest to be written, as it will read."""
    if not listed:
        raise StoreError(f"the release {name} {version} has no files: at least one was expected")
    if taken := sorted(_RESERVED & set(manifest)):
        raise StoreError(
            f"the manifest's keys {', '.join(taken)} are the publisher's own: choose other names"
        )
    document = {
        "format_version": FORMAT_VERSION,
        "name": name,
        "version": version,
        "digest": digest_of(listed, digest_over),
        "digest_over": list(digest_over),
        "created": datetime.now(UTC).isoformat(),
        "directory": f"files-{content_digest(listed)[:12]}",
        "files": list(listed.values()),
        **manifest,
    }
    try:
        return dict(json.loads(json.dumps(document, allow_nan=False)))
    except (TypeError, ValueError) as error:
        raise StoreError(
            f"the manifest of a release must be plain JSON without NaN or infinity: {error}"
        ) from None


def digest_of(listed: Mapping[str, Document], names: Sequence[str]) -> str:
    """The digest of the files that `names` select, of all when it is empty."""
    for name in names:
        if not any(selects(name, path) for path in listed):
            raise StoreError(f"digest_over names {name!r}, and the release has no such file or directory")
    chosen = {
        path: entry for path, entry in listed.items() if not names or any(selects(n, path) for n in names)
    }
    return content_digest(chosen)


def selects(name: str, path: str) -> bool:
    """Whether `name`, a path or a directory ending in a slash, means the file at `path`."""
    return path.startswith(name) if name.endswith("/") else path == name


def read_manifest(store: Store, prefix: str) -> Document | None:
    """The manifest under `prefix`, checked for form, or None when there is none; raises what `parse_manifest` does."""
    key = f"{prefix}/{MANIFEST}"
    try:
        return parse_manifest(store.get_bytes(key), store.uri_of(key))
    except NotFoundError:
        return None


def parse_manifest(content: bytes, origin: str) -> Document:
    """A manifest's bytes, checked for form; errors name `origin`.

    Raises StoreError when they are no manifest, FormatError when a newer version of this project wrote them.
    """
    try:
        document = json.loads(content)
        json.dumps(document, ensure_ascii=False).encode()  # raises ValueError for text that no file can hold
        if document["format_version"] > FORMAT_VERSION:
            raise FormatError(
                f"{origin} has format {document['format_version']}; this version reads up to "
                f"{FORMAT_VERSION}: update tvae-pipeline"
            )
        well_formed = (
            _DIRECTORY.fullmatch(document["directory"])
            and all(isinstance(document[key], str) for key in ("name", "version", "digest"))
            and all(isinstance(name, str) for name in document["digest_over"])
            and all(_well_formed(entry) for entry in document["files"])
            and isinstance(document.get("lineage", {}).get("synthetic", {}), dict)
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, StoreError):
        well_formed = False
    if not well_formed:
        raise StoreError(f"{origin} is damaged: it is not a release's manifest. Restore it from a backup")
    return dict(document)


def _well_formed(entry: Mapping[str, Any]) -> bool:
    return (
        validate_key(entry["path"]) == entry["path"]
        and isinstance(entry["sha256"], str)
        and isinstance(entry["size"], int)
        and isinstance(entry.get("rows", 0), int)
    )
