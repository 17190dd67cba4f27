"""The embedded default: a plain directory, with S3's promises.

An object is written to an unfinished file in the same directory, flushed to disk, and only then given its name:
by `os.link`, which fails when the name is taken (put-if-absent), or by an atomic rename. The directory is flushed
too, so what was reported as written is there after a power cut. A killed writer leaves at most an unfinished file,
which is never listed and is swept after a day.
"""

import contextlib
import errno
import fcntl
import io
import os
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from tasks.references import FileRef
from tasks.services.store import (
    PRIVATE_PREFIX,
    AccessDeniedError,
    AlreadyExistsError,
    NotFoundError,
    StoreError,
    StoreFullError,
    copy_and_digest,
    validate_key,
    validate_prefix,
)

# EFBIG is what a file-size limit (ulimit -f) gives, EDQUOT a user's quota.
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}
_NO_HARD_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
_STALE_SECONDS = 86_400  # no writer leaves its unfinished file untouched for a day
_ATTEMPTS = 5  # a concurrent `delete` may remove the directory that was just made


class LocalStore:
    """Objects as files under one directory, which is made on the first write."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.uri = self.root.as_uri().rstrip("/")

    def __repr__(self) -> str:
        return f"LocalStore({self.uri!r})"

    def put_bytes(self, key: str, data: bytes, *, if_absent: bool = False) -> FileRef:
        """Write `data` under `key`; see `Store.put_bytes`."""
        return self._put(key, io.BytesIO(data), if_absent=if_absent)

    def put_file(self, key: str, path: Path, *, if_absent: bool = False) -> FileRef:
        """Copy the file at `path` to `key`; see `Store.put_file`."""
        with path.open("rb") as source:
            return self._put(key, source, if_absent=if_absent)

    def get_bytes(self, key: str) -> bytes:
        """The object's bytes; see `Store.get_bytes`."""
        with self._open(key) as source:
            return source.read()

    def get_file(self, key: str, path: Path) -> FileRef:
        """Copy the object to `path`; see `Store.get_file`."""
        with self._open(key) as source, local_errors(path):
            digest, size = write_atomically(source, path)
        return FileRef(self.uri_of(key), digest, size)

    def checksum(self, key: str) -> FileRef:
        """Read the object back; see `Store.checksum`."""
        with self._open(key) as source:
            digest, size = copy_and_digest(source)
        return FileRef(self.uri_of(key), digest, size)

    def exists(self, key: str) -> bool:
        """Whether a file lies under `key`."""
        with _clear_errors(key, self.uri):
            return self._path(key).is_file()

    def size(self, key: str) -> int:
        """The object's size in bytes; see `Store.size`."""
        with self._open(key) as source:
            return os.fstat(source.fileno()).st_size

    def modified(self, key: str) -> datetime:
        """When the object was written; see `Store.modified`."""
        with self._open(key) as source:
            return datetime.fromtimestamp(os.fstat(source.fileno()).st_mtime, UTC)

    def list(self, prefix: str = "") -> Iterator[str]:
        """The keys that begin with `prefix`, sorted; see `Store.list`."""
        start = self.root / validate_prefix(prefix).rpartition("/")[0]
        keys = []
        for parent, directories, files in os.walk(start):
            directories[:] = [name for name in directories if not name.startswith(PRIVATE_PREFIX)]
            relative = Path(parent).relative_to(self.root)
            keys += [(relative / name).as_posix() for name in files if not name.startswith(PRIVATE_PREFIX)]
        yield from sorted(key for key in keys if key.startswith(prefix))

    def delete(self, key: str) -> None:
        """Remove the file, and the directories that it leaves empty; no error when there is none."""
        path = self._path(key)
        with _clear_errors(key, self.uri), contextlib.suppress(FileNotFoundError, NotADirectoryError):
            path.unlink()
            _sync_directory(path.parent)
        for parent in path.parents:
            if parent == self.root or not parent.is_relative_to(self.root):
                return
            with contextlib.suppress(OSError):  # not empty: other objects lie there
                parent.rmdir()

    def uri_of(self, key: str) -> str:
        """The object's ``file://`` address."""
        return self._path(key).as_uri()

    def _path(self, key: str) -> Path:
        """Where the object lies; StoreError when a symbolic link on the way leads out of the store."""
        path = self.root / validate_key(key)
        with _clear_errors(key, self.uri):
            inside = _resolved(path).is_relative_to(_resolved(self.root))
        if not inside:
            raise StoreError(
                f"key {key!r} can't be used in {self.uri}: a symbolic link leads out of the store. Put the data itself "
                "there, or make the store's own directory the link"
            )
        return path

    @contextlib.contextmanager
    def _open(self, key: str) -> Iterator[BinaryIO]:
        path = self._path(key)
        with _clear_errors(key, self.uri):
            if not path.is_file():
                raise NotFoundError(f"{self.uri} holds no {key!r}")
            with path.open("rb") as source:
                yield source

    def _put(self, key: str, source: BinaryIO, *, if_absent: bool) -> FileRef:
        path = self._path(key)
        with _clear_errors(key, self.uri):
            if if_absent and path.exists():  # before copying gigabytes in vain; `os.link` decides the race
                raise AlreadyExistsError(_taken(key, self.uri))
            digest, size = write_atomically(source, path, if_absent=if_absent)
        return FileRef(self.uri_of(key), digest, size)


def write_atomically(source: BinaryIO, path: Path, *, if_absent: bool = False) -> tuple[str, int]:
    """Stream `source` to `path`, whole or not at all, flushed to disk; return its sha256 and size.

    Raises FileExistsError with `if_absent` when `path` exists, StoreFullError when the disk is full, else OSError.
    """
    unfinished = _create_beside(path)
    try:
        with unfinished.open("wb") as target:
            digest, size = copy_and_digest(source, target)
            target.flush()
            os.fsync(target.fileno())
        if if_absent:
            _link(unfinished, path)
        else:
            unfinished.replace(path)
        _sync_directory(path.parent)
    except OSError as error:
        if error.errno in _FULL:
            raise StoreFullError(
                f"no room for {path.name!r} in {path.parent}: {os.strerror(error.errno)}. Nothing was left "
                "half-written; free some space and run again"
            ) from error
        raise
    finally:
        unfinished.unlink(missing_ok=True)
    return digest, size


def _create_beside(path: Path) -> Path:
    """An empty unfinished file in the directory of `path`, which is made where it is missing."""
    for attempt in range(_ATTEMPTS):
        _make_directories(path.parent)
        unfinished = path.parent / f"{PRIVATE_PREFIX}-{secrets.token_hex(8)}"
        try:
            os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        except FileNotFoundError:
            if attempt == _ATTEMPTS - 1:
                raise
            continue
        break
    _sweep(path.parent, unfinished)
    return unfinished


def _sweep(directory: Path, youngest: Path) -> None:
    """Remove what killed writers left here long before `youngest` was made.

    Its time is that of the file system's own clock, which may differ from this machine's. A file more than a day ahead
    of it was left before the clock was set back.
    """
    with contextlib.suppress(OSError):  # housekeeping: it must never stop a write
        now = youngest.stat().st_mtime
        for entry in directory.glob(f"{PRIVATE_PREFIX}-*"):
            if abs(now - entry.stat().st_mtime) > _STALE_SECONDS:
                entry.unlink(missing_ok=True)


def _link(unfinished: Path, path: Path) -> None:
    """Give the finished file its name unless that is taken; FileExistsError when it is."""
    try:
        os.link(unfinished, path)
        return
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
    # A file system without hard links (exFAT, some network mounts): a lock of the directory decides between
    # writers; it vanishes with its holder, so a killed writer blocks nobody.
    handle = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        unfinished.replace(path)
    finally:
        os.close(handle)


def _make_directories(directory: Path) -> None:
    """Make `directory` and its parents, each entry flushed to disk."""
    missing = []
    while not directory.exists():
        missing.append(directory)
        directory = directory.parent
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    try:
        handle = os.open(directory, os.O_RDONLY)
    except FileNotFoundError:  # a concurrent `delete` removed it, and everything in it is gone with it
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network mounts can't flush a directory
            raise
    finally:
        os.close(handle)


def _resolved(path: Path) -> Path:
    """The path without symbolic links; OSError for links that lead in a circle."""
    try:
        return path.resolve()
    except RuntimeError as error:  # before Python 3.13
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP)) from error


def _taken(key: str, uri: str) -> str:
    return f"{uri} already holds {key!r}, and it is never overwritten"


@contextlib.contextmanager
def local_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's errors about the local file `path` into the store's."""
    with _clear_errors(path.name, path.absolute().parent.as_uri()):
        yield


@contextlib.contextmanager
def _clear_errors(key: str, uri: str) -> Iterator[None]:
    """Turn the operating system's errors into the store's."""
    try:
        yield
    except FileExistsError as error:
        raise AlreadyExistsError(_taken(key, uri)) from error
    except FileNotFoundError as error:
        raise NotFoundError(f"{uri} holds no {key!r}") from error
    except (NotADirectoryError, IsADirectoryError) as error:
        raise StoreError(
            f"{key!r} can't be used in {uri}: a file stands where a directory is needed, or the reverse"
        ) from error
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
        if error.errno in _FULL:
            raise StoreFullError(
                f"no room for {key!r} in {uri}: {reason}. Free some space and run again"
            ) from error
        if error.errno in _DENIED:
            raise AccessDeniedError(
                f"no right to use {key!r} in {uri}: {reason}. Check the directory's owner and mode"
            ) from error
        raise StoreError(f"{key!r} can't be used in {uri}: {reason}") from error
