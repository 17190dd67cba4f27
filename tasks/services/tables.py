"""Tables by reference: digest them, open them again unchanged, and split them without copying a row.

Local files are read where they lie. Objects in S3 are fetched into a private temporary directory (mode 0700), which
is removed when the opened table is closed or no longer used.
"""

import hashlib
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal, Self

import numpy as np
import pyarrow as pa

from tasks.references import FileRef, PartRef, SplitRef, TableRef
from tasks.services.splits import check_split, holdout_entities, holdout_rows
from tasks.services.store import Store, file_digest, local_path, open_store, split_uri
from tvae_core.errors import DataError
from tvae_core.sources import ParquetSource, TableSource, parquet_parts, select_columns

Side = Literal["train", "holdout"]
_ROWS_AT_ONCE = 1 << 20  # row numbers hashed at a time


def reference_table(uri: str | Path) -> TableRef:
    """Record where a table lies, what its bytes are (sha256) and how many rows it has; nothing is copied.

    `uri` is a local path, ``file://`` or ``s3://``, of one Parquet file or of a directory (prefix) of ``*.parquet``
    parts, taken in order of name. Names that begin with ``.`` or ``_`` are not parts.

    Raises:
        UnreadableError: a part is not Parquet, or is cut short.
        DataError: nothing there, no parts, parts whose columns differ, duplicate or no columns, no rows.
        StoreError: the store can't be reached or refuses.
    """
    text = str(uri)
    if text.startswith("s3://"):
        with _PrivateDirectory() as directory:
            files = _fetch(_list_objects(text), directory)
            return _reference(text.rstrip("/"), files)
    path = local_path(text)
    return _reference(path.as_uri(), [(_digest_local(part), part) for part in parquet_parts(path)])


def table_digest(parts: Sequence[FileRef]) -> str:
    """The sha256 over the parts' sha256 (hexadecimal, joined by line feeds), in order."""
    return hashlib.sha256("\n".join(part.sha256 for part in parts).encode()).hexdigest()


def open_table(ref: TableRef) -> "OpenedTable":
    """Open a referenced table for reading, after checking that every part still holds the bytes it held.

    Raises:
        DataError: a part is gone, or its size or sha256 is not the referenced one.
        StoreError: the store can't be reached or refuses.
    """
    if not ref.parts:
        raise DataError(f"expected a table of at least one part, however {ref.uri} has none")
    if all(part.uri.startswith("s3://") for part in ref.parts):
        directory = _PrivateDirectory()
        try:
            files = _fetch([part.uri for part in ref.parts], directory)
            for part, (found, _) in zip(ref.parts, files, strict=True):
                _check_unchanged(part, found)
            return OpenedTable(ParquetSource([path for _, path in files]), directory)
        except BaseException:
            directory.remove()
            raise
    for part in ref.parts:
        _check_unchanged(part, _digest_local(local_path(part.uri)))
    return OpenedTable(ParquetSource([local_path(part.uri) for part in ref.parts]))


def cut_table(ref: TableRef, most: int) -> list[tuple[int, TableRef]]:
    """A table's parts as at most `most` tables of as many parts each, in order; each with its first row's number."""
    size = -(-len(ref.parts) // most)
    shards, first = [], 0
    for start in range(0, len(ref.parts), size):
        parts = ref.parts[start : start + size]
        shards.append(
            (first, TableRef(ref.uri, table_digest(parts), sum(part.rows for part in parts), parts))
        )
        first += shards[-1][1].rows
    return shards


def read_whole(ref: TableRef) -> pa.Table:
    """A referenced table in memory, with what pandas wrote about its types; for tables that a caller hands in.

    Raises:
        DataError: the table changed since it was referenced.
        StoreError: the store can't be reached or refuses.
    """
    with open_table(ref) as source:
        return pa.Table.from_batches(source.batches(), source.schema.with_metadata(source.metadata))


class OpenedTable:
    """A `TableSource` over a referenced table; close it, or use it with `with`, to remove fetched files early."""

    def __init__(self, source: ParquetSource, directory: "_PrivateDirectory | None" = None) -> None:
        self.schema: pa.Schema = source.schema
        self.metadata = source.metadata
        self.num_rows: int = source.num_rows
        self._source = source
        self._directory = directory  # alive as long as anything still reads from it

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Read the table from its first row."""
        yield from self._source.batches()

    def select(self, columns: Sequence[str]) -> "OpenedTable":
        """The same rows with these columns only; the others are not read."""
        return OpenedTable(self._source.select(columns), self._directory)

    def close(self) -> None:
        """Remove what was fetched; the table can't be read afterwards."""
        if self._directory is not None:
            self._directory.remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def split_table(ref: TableRef, *, seed: int, holdout_fraction: float, entity: str | None = None) -> SplitRef:
    """Decide by a rule which rows train and which are held out, and count both sides; nothing is copied.

    With `entity`, all rows of one value of that column fall on the same side, and `holdout_fraction` is the
    share of entities; a row whose entity is missing stands for itself.

    Raises:
        SettingsError: a seed or a fraction out of range.
        DataError: no such entity column, a table that changed, or a side without rows.
    """
    check_split(seed, holdout_fraction)
    held = sum(int(mask.sum()) for mask in _masks(ref, seed, holdout_fraction, entity))
    if held in (0, ref.rows):
        side = "holdout" if held == 0 else "train"
        unit = "rows" if entity is None else f"different values of the entity column {entity!r}"
        raise DataError(
            f"expected rows on both sides of the split, however the {side} side of {ref.rows} rows has none with "
            f"holdout_fraction {holdout_fraction}: give more {unit}, another fraction or another seed"
        )
    return SplitRef(
        table=ref,
        seed=seed,
        holdout_fraction=holdout_fraction,
        entity=entity,
        train_rows=ref.rows - held,
        holdout_rows=held,
    )


def open_split(split: SplitRef, side: Side) -> "SplitTable":
    """Open one side of a split for reading.

    Raises:
        DataError: `side` is neither "train" nor "holdout", or the table changed.
        StoreError: the store can't be reached or refuses.
    """
    if side not in ("train", "holdout"):
        raise DataError(f"expected the side 'train' or 'holdout', however: {side!r}")
    return SplitTable(open_table(split.table), split, side)


class SplitTable:
    """A `TableSource` over one side of a split; close it, or use it with `with`, to remove fetched files early."""

    def __init__(
        self, table: OpenedTable, split: SplitRef, side: Side, columns: Sequence[str] | None = None
    ) -> None:
        names = table.schema.names if columns is None else columns
        self.schema: pa.Schema = pa.schema([table.schema.field(name) for name in names])
        self.metadata = table.metadata
        self.num_rows: int = split.train_rows if side == "train" else split.holdout_rows
        self._table, self._split, self._side = table, split, side

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Read this side's rows in the table's order; batches are as large as the rule leaves them."""
        rule = _rule(self._split.seed, self._split.holdout_fraction, self._split.entity)
        needed = dict.fromkeys(self.schema.names)
        if self._split.entity is not None:
            needed[self._split.entity] = None
        first = 0
        for batch in self._table.select(list(needed)).batches():
            held = rule(batch, first)
            first += batch.num_rows
            kept = batch.select(self.schema.names).filter(
                pa.array(held if self._side == "holdout" else ~held)
            )
            if kept.num_rows:
                yield kept

    def select(self, columns: Sequence[str]) -> "SplitTable":
        """The same rows with these columns only; no others are read but the entity."""
        return SplitTable(self._table, self._split, self._side, columns)

    def close(self) -> None:
        """Remove what was fetched; the table can't be read afterwards."""
        self._table.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _rule(
    seed: int, holdout_fraction: float, entity: str | None
) -> Callable[[pa.RecordBatch, int], np.ndarray]:
    """The function that tells which rows of a batch, whose first row has that number, are held out."""

    def rule(batch: pa.RecordBatch, first: int) -> np.ndarray:
        if entity is None:
            return holdout_rows(first, batch.num_rows, seed=seed, holdout_fraction=holdout_fraction)
        return holdout_entities(batch.column(entity), first, seed=seed, holdout_fraction=holdout_fraction)

    return rule


def _masks(ref: TableRef, seed: int, holdout_fraction: float, entity: str | None) -> Iterator[np.ndarray]:
    if entity is None:  # the rule needs the row numbers only: the table is not read
        for first in range(0, ref.rows, _ROWS_AT_ONCE):
            count = min(_ROWS_AT_ONCE, ref.rows - first)
            yield holdout_rows(first, count, seed=seed, holdout_fraction=holdout_fraction)
        return
    rule, first = _rule(seed, holdout_fraction, entity), 0
    with open_table(ref) as table:
        column: TableSource = select_columns(table, [entity])
        for batch in column.batches():
            yield rule(batch, first)
            first += batch.num_rows


def _reference(uri: str, files: Sequence[tuple[FileRef, Path]]) -> TableRef:
    source = ParquetSource([path for _, path in files])
    if source.num_rows == 0:
        raise DataError(f"expected a table with rows, however {uri} has none")
    rows = source.rows_per_path
    parts = tuple(PartRef(f.uri, f.sha256, f.size, n) for (f, _), n in zip(files, rows, strict=True))
    return TableRef(uri=uri, digest=table_digest(parts), rows=source.num_rows, parts=parts)


def _digest_local(path: Path) -> FileRef:
    try:
        sha256, size = file_digest(path)
    except OSError as error:
        raise DataError(f"expected a readable file, however {path}: {error.strerror}") from None
    return FileRef(path.as_uri(), sha256, size)


def _check_unchanged(part: PartRef, found: FileRef) -> None:
    if (part.sha256, part.size) != (found.sha256, found.size):
        raise DataError(
            f"expected {part.uri} as it was referenced (sha256 {part.sha256[:12]}..., {part.size} bytes), however it "
            f"has changed since (sha256 {found.sha256[:12]}..., {found.size} bytes): reference the table again"
        )


def _list_objects(uri: str) -> list[str]:
    """The addresses of the objects that make up the table at `uri`: the object itself, or the parts under it."""
    root, key = split_uri(uri)
    store = open_store(root)
    if store.exists(key):
        return [store.uri_of(key)]
    under = [name.removeprefix(f"{key}/") for name in store.list(f"{key}/")]
    parts = [name for name in under if name.endswith(".parquet") and not _is_hidden(name)]
    nested = [name for name in parts if "/" in name]
    if nested:
        raise DataError(
            f"expected all parts directly under {uri}, however {len(nested)} lie deeper, the first: {nested[0]}; "
            "partitioned tables are not read: rewrite it as flat parts"
        )
    if not parts:
        raise DataError(
            f"expected a Parquet object, or objects named *.parquet below it, however none at: {uri}"
        )
    return [store.uri_of(f"{key}/{name}") for name in sorted(parts)]


def _is_hidden(name: str) -> bool:
    return any(segment.startswith((".", "_")) for segment in name.split("/"))


def _fetch(uris: Sequence[str], directory: "_PrivateDirectory") -> list[tuple[FileRef, Path]]:
    files = []
    stores: dict[str, Store] = {}  # one connection for all parts
    for number, uri in enumerate(uris):
        root, key = split_uri(uri)
        if root not in stores:
            stores[root] = open_store(root)
        # Numbered, as parts of different prefixes may share a name; the name stays, as errors show it.
        path = directory.path / f"{number:05}-{Path(key).name}"
        found = stores[root].get_file(key, path)
        files.append((FileRef(uri, found.sha256, found.size), path))
    return files


class _PrivateDirectory:
    """A directory that only this user can read, removed when asked, when unused, or when the process ends."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="tvae-"))  # mkdtemp gives mode 0700
        self.remove = weakref.finalize(self, _remove_directory, self.path, os.getpid())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()


def _remove_directory(path: Path, owner: int) -> None:
    if os.getpid() == owner:  # a forked child must not take its parent's files away
        with suppress(OSError):
            shutil.rmtree(path)
