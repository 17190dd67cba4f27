"""Where tables, generators and releases lie: one small interface over a local directory or an S3 bucket.

    StoreError                 a key or an address that can't be used, or a store that answered something else
    ├── NotFoundError          nothing lies under the key
    ├── AlreadyExistsError     `if_absent` was asked for, and something lies there
    ├── AccessDeniedError      credentials missing, refused, or without the right
    ├── BucketMissingError     the bucket does not exist
    ├── UnavailableError       the endpoint did not answer, after retries
    └── StoreFullError         no room; nothing half-written is left under the key

A key is a relative path with forward slashes. An object appears whole or not at all, and `if_absent` decides a
race: of several writers of one key exactly one succeeds. On S3 that is the server's promise: AWS keeps it;
OpenStack Swift's s3api keeps it only for writers that do not overlap.

Messages name buckets, endpoints and keys, never a credential.
"""

import hashlib
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Protocol
from urllib.parse import unquote

from tasks.references import FileRef
from tvae_core.errors import TVAEError

CHUNK = 1 << 20  # bytes read at a time wherever a file is streamed
PRIVATE_PREFIX = ".tvae-tmp"  # segments that begin so belong to the local store's unfinished writes
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_LONGEST_KEY = 1024  # bytes, S3's own limit


class StoreError(TVAEError):
    """A key or an address can't be used, or the store answered something unexpected."""


class NotFoundError(StoreError):
    """Nothing lies under the key."""


class AlreadyExistsError(StoreError):
    """Something lies under the key already, and it is never overwritten."""


class AccessDeniedError(StoreError):
    """The credentials are missing, refused, or don't have the right."""


class BucketMissingError(StoreError):
    """The bucket does not exist at this endpoint."""


class UnavailableError(StoreError):
    """The store did not answer, after retries."""


class StoreFullError(StoreError):
    """There is no room left; nothing half-written was left under the key."""


class Store(Protocol):
    """Objects under keys. Every method raises a `StoreError` when the store is at fault."""

    uri: str
    """``file:///abs/dir`` or ``s3://bucket/prefix``, without a slash at the end."""

    def put_bytes(self, key: str, data: bytes, *, if_absent: bool = False) -> FileRef:
        """Write `data` under `key`, whole or not at all; AlreadyExistsError with `if_absent` when taken."""

    def put_file(self, key: str, path: Path, *, if_absent: bool = False) -> FileRef:
        """Stream the file at `path` to `key`, whole or not at all; its sha256 is computed on the way."""

    def get_bytes(self, key: str) -> bytes:
        """The object's bytes; NotFoundError when absent."""

    def get_file(self, key: str, path: Path) -> FileRef:
        """Stream the object to a file beside `path`, then rename it to `path`, replacing what is there."""

    def checksum(self, key: str) -> FileRef:
        """Read the whole object back and return its address, sha256 and size."""

    def exists(self, key: str) -> bool:
        """Whether an object lies under `key`."""

    def size(self, key: str) -> int:
        """The object's size in bytes; NotFoundError when absent."""

    def modified(self, key: str) -> datetime:
        """When the object was written, by the store's clock (UTC); NotFoundError when absent."""

    def list(self, prefix: str = "") -> Iterator[str]:
        """The keys that begin with `prefix`, sorted. A directory's contents: ``list("directory/")``."""

    def delete(self, key: str) -> None:
        """Remove the object; no error when there is none."""

    def uri_of(self, key: str) -> str:
        """The object's address, which `split_uri` takes apart again."""


def open_store(uri: str | Path) -> Store:
    """The store at `uri`: a local path, ``file:///directory`` or ``s3://bucket/prefix``.

    Nothing is created or contacted yet. S3's endpoint, region and credentials come from boto3's own settings
    (AWS_ENDPOINT_URL_S3, AWS_PROFILE, AWS_ACCESS_KEY_ID, ~/.aws, a role, ...).

    Raises StoreError when the address has another scheme or no bucket.
    """
    text = str(uri)
    if text.startswith("s3://"):
        from tasks.services.s3_store import S3Store

        bucket, prefix = _split_s3(text)
        return S3Store(bucket, prefix)
    from tasks.services.local_store import LocalStore

    return LocalStore(local_path(text))


def split_uri(uri: str | Path) -> tuple[str, str]:
    """Split an object's address into a store and a key.

    >>> split_uri("s3://bucket/tables/adult.parquet")
    ('s3://bucket', 'tables/adult.parquet')
    >>> split_uri("/data/adult.parquet")
    ('file:///data', 'adult.parquet')
    """
    text = str(uri)
    if text.startswith("s3://"):
        bucket, key = _split_s3(text)
        if not key:
            raise StoreError(
                f"an address inside a bucket was expected, such as s3://{bucket}/key; got {text!r}"
            )
        return f"s3://{bucket}", validate_key(key)
    path = local_path(text)
    if not path.name:
        raise StoreError(f"a file or directory was expected; got {text!r}")
    return path.parent.as_uri(), path.name


def local_path(uri: str) -> Path:
    """The absolute local path of a plain path or a ``file://`` address; StoreError for another scheme."""
    if "\0" in (unquote(uri) if uri.startswith("file://") else uri):
        raise StoreError("an address with a NUL character can't be used: a path was expected")
    if uri.startswith("file://"):
        rest = uri.removeprefix("file://").removeprefix("localhost")
        if not rest.startswith("/"):
            raise StoreError(f"a file address has three slashes, file:///directory; got {uri!r}")
        return Path(unquote(rest)).absolute()
    scheme, mark, _ = uri.partition("://")
    if mark or not uri:
        came = f"the scheme {scheme!r}" if mark else "an empty address"
        raise StoreError(f"a local path, file:///directory or s3://bucket/prefix was expected; got {came}")
    return Path(uri).expanduser().absolute()


def validate_key(key: str) -> str:
    """Return `key` when it is a relative path of plain segments; StoreError otherwise."""
    segments = key.split("/")
    if not key or any(segment in ("", ".", "..") for segment in segments):
        reason = "it must be a relative path without empty, '.' or '..' segments"
    elif "\\" in key or any(ord(character) < 32 or ord(character) == 127 for character in key):
        reason = "backslashes and control characters are not allowed"
    elif any(segment.startswith(PRIVATE_PREFIX) for segment in segments):
        reason = f"names that begin with {PRIVATE_PREFIX} are reserved for unfinished writes"
    elif len(key.encode("utf-8", "surrogatepass")) > _LONGEST_KEY:
        reason = f"it is longer than {_LONGEST_KEY} bytes"
    else:
        return key
    raise StoreError(f"key {key[:200]!r} can't be used: {reason}")


def validate_prefix(prefix: str) -> str:
    """Return `prefix` when keys can begin with it; StoreError otherwise."""
    if prefix:
        validate_key(prefix.removesuffix("/"))
    return prefix


def copy_and_digest(source: BinaryIO, target: BinaryIO | None = None) -> tuple[str, int]:
    """Stream `source` to its end, into `target` where given; return the sha256 (hex) and the size."""
    digest, size = hashlib.sha256(), 0
    while chunk := source.read(CHUNK):
        digest.update(chunk)
        size += len(chunk)
        if target is not None:
            target.write(chunk)
    return digest.hexdigest(), size


def file_digest(path: Path) -> tuple[str, int]:
    """The sha256 (hex) and the size in bytes of a local file, streamed."""
    with path.open("rb") as file:
        return copy_and_digest(file)


def _split_s3(uri: str) -> tuple[str, str]:
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    if not _BUCKET.fullmatch(bucket):
        # What stands there may be a credential somebody put into the address: it is not repeated.
        raise StoreError(
            "an address s3://bucket/prefix was expected; the part after s3:// is not a bucket's name"
        )
    prefix = prefix.rstrip("/")
    return bucket, validate_key(prefix) if prefix else ""
