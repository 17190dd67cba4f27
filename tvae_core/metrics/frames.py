"""From typed tables to what metrics compare: the one place that turns column kinds into numbers or levels.

A tidy frame has one column per modelled column: ``float64`` with NaN for missing (numbers, and dates and
timestamps as whole units since the epoch), or ``object`` with text levels, where missing is the level
`MISSING`. A column's dtype therefore says how a metric treats it. Identifiers are left out: they are drawn
anew by design.
"""

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from tvae_core.arrow_types import is_temporal, is_text, value_type
from tvae_core.errors import DataError, SchemaError
from tvae_core.schema import ColumnKind, ColumnSchema, TableSchema
from tvae_core.sources import TableSource

MISSING = "\ue000missing"
"""The level that stands for a missing category; a private-use character keeps it apart from real text."""

_MISSING_HASH = np.uint64(0x9E3779B97F4A7C15)
_COMBINE = np.uint64(0x100000001B3)


def scored_columns(schema: TableSchema) -> list[ColumnSchema]:
    """Columns that metrics compare: all but identifiers, in the schema's order."""
    return [column for column in schema.columns if column.kind is not ColumnKind.IDENTIFIER]


def tidy(table: pa.Table, schema: TableSchema) -> pd.DataFrame:
    """Bring a table into the form that metrics take; columns the schema does not name are left out.

    Returns:
        Frame of ``table.num_rows`` rows: ``float64`` columns for continuous and datetime kinds, ``object``
        columns of text levels for categorical and boolean kinds.

    Raises:
        SchemaError: a column of the schema is missing, or holds values of another family (text for numbers).
        DataError: a numeric column holds infinities.
    """
    check_columns(table.schema, schema)
    columns = scored_columns(schema)
    return pd.DataFrame(
        {c.name: _levels(table[c.name], c) if _is_level(c) else _numbers(table[c.name], c) for c in columns},
        index=pd.RangeIndex(table.num_rows),
    )


def check_columns(found: pa.Schema, schema: TableSchema) -> None:
    """Refuse a table that lacks a scored column.

    Raises:
        SchemaError: naming every column that is missing.
    """
    missing = [column.name for column in scored_columns(schema) if column.name not in found.names]
    if missing:
        raise SchemaError(
            f"expected every column of the schema, however the table lacks: {', '.join(missing)}; "
            "score tables that have the same columns, or take these out of the schema"
        )


def categorical_columns(frame: pd.DataFrame) -> list[str]:
    """Names of a tidy frame's columns of levels."""
    return [name for name in frame.columns if frame[name].dtype == object]


def numeric_columns(frame: pd.DataFrame) -> list[str]:
    """Names of a tidy frame's columns of numbers."""
    return [name for name in frame.columns if frame[name].dtype != object]


def ordinal(frames: Sequence[pd.DataFrame]) -> list[pd.DataFrame]:
    """Replace levels by codes 0, 1, ... that are shared by all frames, in the sorted order of the levels.

    Returns:
        Frames of ``float64`` throughout; the codes of two frames are comparable.
    """
    out = [frame.copy() for frame in frames]
    for name in categorical_columns(frames[0]):
        codes, _ = pd.factorize(pd.concat([frame[name] for frame in frames], ignore_index=True), sort=True)
        bounds = np.cumsum([0, *(len(frame) for frame in frames)])
        for frame, start, stop in zip(out, bounds, bounds[1:], strict=False):
            frame[name] = codes[start:stop].astype(np.float64)
    return out


def sample_rows(source: TableSource, rows: int, seed: int) -> pa.Table:
    """Draw `rows` rows without replacement in one streaming pass, or take all of a smaller table.

    The rows keep the table's order; which ones are drawn depends on `seed` and the number of rows alone.
    Memory grows with `rows`, not with the table.
    """
    if source.num_rows <= rows:
        return pa.Table.from_batches(list(source.batches()), schema=source.schema)
    chosen = np.sort(np.random.default_rng(seed).choice(source.num_rows, rows, replace=False))
    kept, start = [], 0
    for batch in source.batches():
        stop = start + batch.num_rows
        here = chosen[np.searchsorted(chosen, start) : np.searchsorted(chosen, stop)] - start
        kept.append(batch.take(pa.array(here)))
        start = stop
    return pa.Table.from_batches(kept, schema=source.schema)


def entities(table: pa.Table, schema: TableSchema) -> np.ndarray | None:
    """Which entity every row belongs to, as codes of shape (table.num_rows,); None when there is no such column.

    Rows without an entity stand alone.
    """
    if schema.entity is None or schema.entity not in table.column_names:
        return None
    levels = texts(table[schema.entity], schema.column(schema.entity)).combine_chunks()
    codes, distinct = pd.factorize(levels.to_numpy(zero_copy_only=False), use_na_sentinel=True)
    alone = codes < 0
    codes[alone] = len(distinct) + np.arange(int(alone.sum()))
    return codes


def row_hashes(source: TableSource, schema: TableSchema) -> np.ndarray:
    """Hash every row's scored columns to 64 bits, so that equal rows of two tables can be found by streaming.

    Values are hashed exactly as the schema types them: 64-bit integers and nanoseconds are never rounded,
    missing equals missing. Two different rows share a hash with probability 2^-64: among 10^6 x 10^6 pairs,
    5e-8 collisions are expected.

    Returns:
        uint64, shape (source.num_rows,); 8 bytes a row are all that is held.

    Raises:
        SchemaError: a column of the schema is missing, or holds values of another family.
    """
    check_columns(source.schema, schema)
    columns = scored_columns(schema)
    parts = [_hash_batch(batch, columns) for batch in source.batches()]
    return np.concatenate(parts) if parts else np.empty(0, np.uint64)


def value_codes(source: TableSource, schema: TableSchema) -> np.ndarray:
    """Hash every value of the scored columns to 32 bits: equal values have equal codes in all tables.

    Two different values of a column share a code with probability 2^-32. Four bytes a value are held.

    Returns:
        uint32, shape (source.num_rows, scored columns).

    Raises:
        SchemaError: a column of the schema is missing, or holds values of another family.
    """
    check_columns(source.schema, schema)
    columns = scored_columns(schema)
    out = np.empty((source.num_rows, len(columns)), np.uint32)
    start = 0
    for batch in source.batches():
        for j, column in enumerate(columns):
            out[start : start + batch.num_rows, j] = _hash_column(batch, column).astype(np.uint32)
        start += batch.num_rows
    return out


@dataclass
class Extent:
    """What a column's values cover: its range (NaN when it has none), its levels, and whether any value is missing."""

    low: float = math.nan
    high: float = math.nan
    levels: set[str] = field(default_factory=set)
    missing: bool = False

    def widen(self, values: pd.Series) -> None:
        """Take more values of a tidy column into account."""
        if values.dtype == object:
            self.levels.update(values.unique())
            self.missing |= MISSING in self.levels
            return
        self.missing |= bool(values.isna().any())
        if values.notna().any():
            self.low = float(np.fmin(self.low, values.min()))
            self.high = float(np.fmax(self.high, values.max()))


def extents(source: TableSource, schema: TableSchema) -> dict[str, Extent]:
    """What every scored column covers, in one streaming pass over all rows.

    Raises:
        SchemaError: a column of the schema is missing, or holds values of another family.
        DataError: a numeric column holds infinities.
    """
    check_columns(source.schema, schema)
    found = {column.name: Extent() for column in scored_columns(schema)}
    for batch in source.batches():
        frame = tidy(pa.Table.from_batches([batch]), schema)
        for name, extent in found.items():
            extent.widen(frame[name])
    return found


def texts(values: pa.Array | pa.ChunkedArray, column: ColumnSchema) -> pa.Array | pa.ChunkedArray:
    """Text of each value as the schema types it: 1 and 1.0 are one level of an integer column.

    Returns:
        Arrow strings; null stays null, NaN becomes null.
    """
    values = _decoded(values)
    declared = value_type(column.arrow_type)
    if values.type != declared and not is_text(declared):
        # A value that the declared type can't hold is a level of its own, spelled in its own type.
        with suppress(pa.ArrowException, ValueError):
            values = values.cast(declared)
    if is_temporal(values.type):
        values = _whole_units(values)
    return values.cast(pa.string())


def _is_level(column: ColumnSchema) -> bool:
    return column.kind in (ColumnKind.CATEGORICAL, ColumnKind.BOOLEAN)


def refuse_empty(*tables: pd.DataFrame | np.ndarray, columns: int = 1) -> None:
    """Raise DataError for a table without rows, or of fewer than `columns` columns."""
    if min(map(len, tables)) == 0 or tables[0].shape[1] < columns:
        sizes = " and ".join(str(len(table)) for table in tables)
        raise DataError(
            f"expected rows in every table and at least {columns} columns, however there are "
            f"{sizes} rows of {tables[0].shape[1]} columns"
        )


def _levels(values: pa.ChunkedArray, column: ColumnSchema) -> np.ndarray:
    return texts(values, column).fill_null(MISSING).to_numpy().astype(object)


def _numbers(values: pa.ChunkedArray, column: ColumnSchema) -> np.ndarray:
    numbers = _as_float(_decoded(values), column).to_numpy().astype(np.float64)
    infinite = int(np.isinf(numbers).sum())
    if infinite:
        raise DataError(
            f"expected finite numbers in column {column.name!r}, however {infinite} rows hold infinities; "
            "replace them by missing values"
        )
    return numbers


def _as_float(values: pa.Array | pa.ChunkedArray, column: ColumnSchema) -> pa.Array | pa.ChunkedArray:
    """Cast to float64; temporal values pass through the declared unit, so that other units agree."""
    try:
        if is_temporal(column.arrow_type):
            values = _whole_units(values.cast(column.arrow_type, safe=False))
        if is_text(values.type):
            raise pa.ArrowTypeError(
                "text where numbers are declared"
            )  # "12" is text, even if Arrow could read it
        return values.cast(pa.float64(), safe=False)
    except (pa.ArrowException, ValueError):
        raise _wrong_family(values.type, column) from None


def _decoded(values: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Values without dictionary encoding and with null in place of NaN."""
    if pa.types.is_dictionary(values.type):
        values = values.cast(value_type(values.type))
    if pa.types.is_float16(values.type):
        values = values.cast(pa.float32())  # Arrow's kernels skip half floats
    if pa.types.is_floating(values.type):
        values = pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)
    return values


def _hash_batch(batch: pa.RecordBatch, columns: Sequence[ColumnSchema]) -> np.ndarray:
    total = np.zeros(batch.num_rows, np.uint64)
    for column in columns:
        hashes = _hash_column(batch, column)
        total = (
            total ^ hashes
        ) * _COMBINE + hashes  # order matters, so that equal values may not swap columns
    return total


def _hash_column(batch: pa.RecordBatch, column: ColumnSchema) -> np.ndarray:
    values = _decoded(batch.column(column.name))
    hashes = pd.util.hash_array(_hashable(values, column), categorize=True)
    hashes[values.is_null().to_numpy(zero_copy_only=False)] = _MISSING_HASH
    return hashes


def _hashable(values: pa.Array, column: ColumnSchema) -> np.ndarray:
    """Values in a form whose bits are equal when, and only when, the values are; nulls hold anything."""
    if _is_level(column) or pa.types.is_decimal(column.arrow_type):
        return texts(values, column).fill_null("").to_numpy(zero_copy_only=False).astype(object)
    if pa.types.is_integer(values.type) and pa.types.is_integer(column.arrow_type):
        return values.fill_null(0).cast(pa.int64(), safe=False).to_numpy(zero_copy_only=False)
    if is_temporal(column.arrow_type) and is_temporal(values.type):
        units = _whole_units(values.cast(column.arrow_type, safe=False))
        return units.fill_null(0).to_numpy(zero_copy_only=False)
    if pa.types.is_floating(column.arrow_type) and values.type != column.arrow_type:
        values = values.cast(column.arrow_type, safe=False)
    floats = np.nan_to_num(_as_float(values, column).to_numpy(zero_copy_only=False)) + 0.0  # -0.0 equals 0.0
    if pa.types.is_integer(
        column.arrow_type
    ):  # whole numbers that came as floats equal those that came as integers
        whole = (floats == np.rint(floats)) & (np.abs(floats) < 2.0**63)
        return np.where(whole, np.where(whole, floats, 0).astype(np.int64), floats.view(np.int64))
    return floats


def _whole_units(values: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Temporal values as int64: days, or the type's own unit, since the epoch."""
    return values.cast(pa.int32() if values.type.bit_width == 32 else pa.int64()).cast(pa.int64())


def _wrong_family(found: pa.DataType, column: ColumnSchema) -> SchemaError:
    return SchemaError(
        f"expected values of type {column.type} in column {column.name!r} ({column.kind}), however they are "
        f"{found}; convert the column, or declare another kind for it"
    )
