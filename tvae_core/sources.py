"""One way to read a table, wherever it lies: schema, number of rows, and batches that can be read again.

Everything that reads a table (codecs, metrics, validation) takes a `TableSource`, so none of them has to
hold a table in memory. `as_source` makes one of a DataFrame, an Arrow table, or a Parquet file or directory.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from copy import copy
from os import PathLike
from pathlib import Path
from typing import Protocol, runtime_checkable

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pandas.api.types import is_integer_dtype

from tvae_core.errors import DataError, UnreadableError

BATCH_ROWS = 65_536
_MAGIC = b"PAR1"


@runtime_checkable
class TableSource(Protocol):
    """A table that can be read more than once, batch by batch, always in the same order.

    A source may have `metadata` too, which `pandas_metadata` gave: sampled tables then carry it.
    """

    @property
    def schema(self) -> pa.Schema:
        """Names and Arrow types of the columns, without metadata."""
        ...

    @property
    def num_rows(self) -> int:
        """Number of rows over all batches."""
        ...

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Read the table from its first row; every call starts anew."""
        ...


class ArrowSource:
    """A table in memory.

    Raises:
        DataError: no columns, or two columns of the same name.
    """

    def __init__(self, table: pa.Table, *, batch_rows: int = BATCH_ROWS) -> None:
        self.schema: pa.Schema = _checked(table.schema, "the table")
        self.metadata = pandas_metadata(table.schema)
        self.num_rows: int = table.num_rows
        self._table = table
        self._batch_rows = batch_rows

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Read the table from its first row, at most `batch_rows` rows at a time."""
        for batch in self._table.to_batches(max_chunksize=self._batch_rows):
            yield pa.RecordBatch.from_arrays(batch.columns, schema=self.schema)

    def select(self, columns: Sequence[str]) -> "ArrowSource":
        """The same rows with these columns only, in this order."""
        return ArrowSource(self._table.select(columns), batch_rows=self._batch_rows)


class ParquetSource:
    """Parquet files of equal schema, read in the order given; only their footers are read up front.

    Raises:
        UnreadableError: a file is not Parquet, or is cut short (here, or later while a damaged page is read).
        DataError: no files, no columns, two columns of the same name, or files whose columns differ.
    """

    def __init__(self, paths: Sequence[Path], *, batch_rows: int = BATCH_ROWS) -> None:
        if not paths:
            raise DataError("expected at least one Parquet file, however none was given")
        self.paths = tuple(paths)
        self._batch_rows = batch_rows
        rows, schemas = zip(*(_read_footer(path) for path in self.paths), strict=True)
        self.schema: pa.Schema = _checked(schemas[0], str(self.paths[0]))
        self.metadata = pandas_metadata(schemas[0])
        self.num_rows: int = sum(rows)
        self.rows_per_path: tuple[int, ...] = rows
        for path, schema in zip(self.paths[1:], schemas[1:], strict=True):
            _check_same_columns(self.paths[0], schemas[0], path, schema)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Read the files from the first row on, at most `batch_rows` rows at a time."""
        for path in self.paths:
            yield from self._batches_of(path)

    def select(self, columns: Sequence[str]) -> "ParquetSource":
        """The same rows with these columns only, in this order; the others are not read from the files."""
        selected = copy(self)
        selected.schema = pa.schema([self.schema.field(name) for name in columns])
        return selected

    def _batches_of(self, path: Path) -> Iterator[pa.RecordBatch]:
        try:
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(batch_size=self._batch_rows, columns=self.schema.names):
                    columns = [batch.column(name) for name in self.schema.names]
                    yield pa.RecordBatch.from_arrays(columns, schema=self.schema)
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(path, error) from None


def as_source(data: "pd.DataFrame | pa.Table | str | PathLike[str] | TableSource") -> TableSource:
    """Make a `TableSource` of a DataFrame, an Arrow table, a Parquet file, or a directory of parts.

    The index of a DataFrame is left out, its NaN and None are missing, names that are integers become text.
    A directory's parts are its ``*.parquet`` files sorted by name; names that begin with ``.`` or ``_`` are
    not parts.

    Raises:
        UnreadableError: a file is not Parquet, or is cut short.
        DataError: nothing at that path, a directory without parts, parts whose columns differ, two columns of
            the same name, no columns, or a DataFrame column whose values have no common type.
    """
    if isinstance(data, pd.DataFrame):
        return ArrowSource(table_from_frame(data))
    if isinstance(data, pa.Table):
        return ArrowSource(data)
    if isinstance(data, str | PathLike):
        return ParquetSource(parquet_parts(Path(data)))
    if isinstance(data, TableSource):
        return data
    raise DataError(
        "expected a pandas DataFrame, a pyarrow Table, the path of a Parquet file or directory, "
        f"or a TableSource, however: {type(data).__name__}"
    )


def select_columns(source: TableSource, columns: Sequence[str]) -> TableSource:
    """The same table with these columns only; a source with a `select` of its own reads no others.

    Raises:
        DataError: a column that the table does not have, or no column.
    """
    missing = [name for name in columns if name not in source.schema.names]
    if missing:
        raise DataError(
            f"expected the column(s) {', '.join(missing)}, however the table has: {', '.join(source.schema.names)}"
        )
    _check_names(columns, "the selection")
    select = getattr(source, "select", None)
    return select(columns) if select is not None else _Selection(source, columns)


class _Selection:
    """Some columns of a source that can't leave the others out by itself."""

    def __init__(self, source: TableSource, columns: Sequence[str]) -> None:
        self.schema: pa.Schema = pa.schema([source.schema.field(name) for name in columns])
        self.num_rows: int = source.num_rows
        self._source = source

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Read the table from its first row."""
        for batch in self._source.batches():
            yield batch.select(self.schema.names)


def parquet_parts(path: Path) -> list[Path]:
    """List the Parquet files of the table at `path`: the file itself, or a directory's parts by name.

    Raises:
        DataError: nothing there, a directory without parts, or parts in sub-directories (they would be lost).
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise DataError(
            f"expected a Parquet file or a directory of Parquet files, however there is none at: {path}"
        )
    parts = sorted(p for p in path.glob("*.parquet") if p.is_file() and not p.name.startswith((".", "_")))
    nested = [p for p in path.glob("*/**/*.parquet") if p.is_file() and not _is_hidden(p.relative_to(path))]
    if nested:
        raise DataError(
            f"expected all parts directly in {path}, however {len(nested)} lie in sub-directories, "
            f"the first: {nested[0].relative_to(path)}; partitioned directories are not read: "
            "rewrite it as flat parts"
        )
    if not parts:
        raise DataError(f"expected files named *.parquet in the directory, however there is none in: {path}")
    return parts


def table_from_frame(frame: pd.DataFrame) -> pa.Table:
    """Convert a DataFrame without its index; NaN and None become nulls in columns of every type.

    Names that are integers become text, and the metadata tells pandas what they were.

    Raises:
        DataError: two columns of the same name, no columns, names that are neither all text nor all integers, or a
            column whose values have no common type.
    """
    names = [str(name) for name in frame.columns]
    _check_names(names, "the DataFrame")
    types = {type(name) for name in frame.columns}
    whole = is_integer_dtype(pd.Index(list(frame.columns)))
    if not whole and not all(issubclass(t, str) for t in types):
        raise DataError(
            "expected columns whose names are all text or all integers, however they are of type "
            f"{', '.join(sorted(t.__name__ for t in types))}; rename them first: frame.columns = [...]"
        )
    plain = frame.copy(deep=False)
    plain.attrs = {}  # notes about a table don't belong to what is learned of it
    if whole:  # Arrow notes the names' type beside an index only, and a range is no column
        plain.index = pd.RangeIndex(len(plain))
        plain.columns = pd.Index(list(frame.columns))
    try:
        return pa.Table.from_pandas(plain, preserve_index=None if whole else False)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return pa.table([_column(frame.iloc[:, i], name) for i, name in enumerate(names)], names=names)


def _column(values: pd.Series, name: str) -> pa.Array | pa.ChunkedArray:
    try:
        return pa.array(values, from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        # Arrow's own message quotes the value that did not fit: it must not reach a log.
        types = sorted({type(value).__name__ for value in values.dropna()})
        raise DataError(
            f"expected values of one type in column {name!r}, however it holds: {', '.join(types)}; "
            "convert the column to one type first"
        ) from None


def _read_footer(path: Path) -> tuple[int, pa.Schema]:
    try:
        with pq.ParquetFile(path) as file:
            return file.metadata.num_rows, file.schema_arrow
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> UnreadableError:
    """Say what is wrong with the file from its first and last bytes; Arrow's own text is not repeated."""
    try:
        with path.open("rb") as file:
            head = file.read(4)
            size = file.seek(0, 2)
            file.seek(max(size - 4, 0))
            tail = file.read(4)
    except OSError as reason:
        return UnreadableError(f"expected a readable Parquet file, however {path}: {reason.strerror}")
    if head != _MAGIC:
        return UnreadableError(
            f"expected a Parquet file, however {path} ({size} bytes) does not begin as one"
        )
    if tail != _MAGIC:
        return UnreadableError(
            f"expected a whole Parquet file, however {path} ({size} bytes) is cut short: "
            "its footer is missing; write or copy it again"
        )
    return UnreadableError(
        f"expected a sound Parquet file, however {path} ({size} bytes) is damaged ({type(error).__name__}); "
        "write or copy it again"
    )


def pandas_metadata(schema: pa.Schema) -> dict[bytes, bytes] | None:
    """What a table's metadata tells pandas of its columns' types; None where pandas did not write it.

    All else is left out: the notes (`attrs`) of a DataFrame, the rows that its index counts, how many categories there
    are.
    """
    try:
        plain = json.loads((schema.metadata or {})[b"pandas"])
        index = [name for name in plain["index_columns"] if isinstance(name, str)]
        columns = [
            {**column, "metadata": None} if column["pandas_type"] == "categorical" else column
            for column in plain["columns"]
        ]
    except (LookupError, ValueError, TypeError, AttributeError, RecursionError):
        return None
    kept = {**plain, "index_columns": index, "columns": columns, "attributes": {}}
    return {b"pandas": json.dumps(kept).encode()}


def _checked(schema: pa.Schema, what: str) -> pa.Schema:
    """Return the schema without metadata of its own or of its fields (pandas' index, Parquet's field ids)."""
    _check_names(schema.names, what)
    return pa.schema([field.remove_metadata() for field in schema])


def _check_names(names: Sequence[str], what: str) -> None:
    if not names:
        raise DataError(f"expected at least one column, however {what} has none")
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise DataError(
            f"expected column names that differ, however {what} has more than one: {', '.join(twice)}"
        )


def _check_same_columns(first: Path, expected: pa.Schema, path: Path, schema: pa.Schema) -> None:
    wanted, found = (
        [(field.name, str(field.type)) for field in one] for one in (expected, schema)
    )  # names, order and types; whether a column is declared nullable may differ from part to part
    if wanted == found:
        return
    missing = sorted(set(dict(wanted)) - set(dict(found)))
    extra = sorted(set(dict(found)) - set(dict(wanted)))
    types = sorted(f"{n} ({t} against {dict(found)[n]})" for n, t in wanted if dict(found).get(n, t) != t)
    notes = [
        f"{label}: {', '.join(names)}"
        for label, names in (("missing", missing), ("unexpected", extra), ("of another type", types))
        if names
    ]
    raise DataError(
        f"expected parts of equal columns, however {path.name} differs from {first.name}: "
        f"{'; '.join(notes) or 'the columns stand in another order'}"
    )


def _is_hidden(relative: Path) -> bool:
    return any(part.startswith((".", "_")) for part in relative.parts)
