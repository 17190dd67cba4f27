"""Arrow columns as the pandas columns that Great Expectations computes with.

The types are checked before, on the Arrow side; here every column takes the form in which comparisons come out right:
integers stay integers where values are missing, decimals become floats (rounding keeps order, so no bound is broken
by it), dates become timestamps, times of day and durations become seconds.
"""

import datetime as dt
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from tvae_core.arrow_types import is_text, unsupported_reason, value_type

_EXACT = 2**53  # the largest range in which every integer is a double


def usable_columns(schema: pa.Schema) -> list[str]:
    """The columns that have a pandas form: all but nested and binary ones."""
    return [field.name for field in schema if unsupported_reason(field.type) is None]


def to_frame(data: pa.RecordBatch | pa.Table, first: int, *, joint: bool) -> pd.DataFrame:
    """Convert the columns; the index holds the table's row numbers, beginning with `first`.

    With `joint`, integers and booleans with missing values become floats, which is what comparisons between
    columns and statistics need; without, they keep their type, which is what membership and patterns need.
    """
    index = pd.RangeIndex(first, first + data.num_rows)
    columns = {name: _values(data.column(name), joint=joint) for name in data.schema.names}
    return pd.DataFrame(columns, index=index)


def _values(column: pa.Array | pa.ChunkedArray, *, joint: bool) -> Any:
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    kind = array.type
    if pa.types.is_integer(kind) and array.null_count:
        return _nullable_integers(array, joint=joint)
    if pa.types.is_boolean(kind) and array.null_count and joint:
        return array.cast(pa.int8()).cast(pa.float64()).to_numpy(zero_copy_only=False)
    if pa.types.is_decimal(kind):
        return array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    if pa.types.is_time(kind) or pa.types.is_duration(kind):
        return _seconds(array)
    if pa.types.is_string_view(kind):
        array = array.cast(pa.large_string())
    return array.to_pandas(date_as_object=False).array


def _nullable_integers(array: pa.Array, *, joint: bool) -> Any:
    missing = array.is_null().to_numpy(zero_copy_only=False)
    whole = pc.fill_null(array, 0).to_numpy(zero_copy_only=False)
    if joint and int(whole.max()) <= _EXACT and int(whole.min()) >= -_EXACT:
        return np.where(missing, np.nan, whole.astype(np.float64))
    return pd.arrays.IntegerArray(whole.copy(), missing)


def _seconds(array: pa.Array) -> np.ndarray:
    per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[array.type.unit]
    ticks = array.cast(pa.int32() if array.type.bit_width == 32 else pa.int64()).cast(pa.int64())
    return np.asarray(ticks.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)) / per_second


def as_operand(value: Any, arrow: pa.DataType) -> Any:
    """A bound or an allowed value of the user's in the form that `to_frame` gives the column's own values.

    Dates and timestamps may be ISO text; one without a time zone is read in the column's zone.

    Raises:
        ValueError: it can't be read as the column's type. The message does not quote it.
    """
    kind = value_type(arrow)
    if value is None or is_text(kind) or pa.types.is_boolean(kind):
        return value
    try:
        return _operand(value, kind)
    except (ValueError, TypeError, InvalidOperation, OverflowError):
        raise ValueError(f"it can't be read as a value of type {kind}") from None


def as_operands(values: Sequence[Any], arrow: pa.DataType) -> list[Any]:
    """`as_operand` of each."""
    return [as_operand(value, arrow) for value in values]


def _operand(value: Any, kind: pa.DataType) -> Any:
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return _moment(value, getattr(kind, "tz", None))
    if pa.types.is_time(kind):
        return _seconds_of_day(value)
    if pa.types.is_duration(kind) and not _is_number(value):
        return pd.Timedelta(value).total_seconds()
    if pa.types.is_decimal(kind):
        return float(Decimal(str(value)))
    if not _is_number(value):
        raise TypeError("a number was expected")
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _moment(value: Any, zone: str | None) -> pd.Timestamp:
    if not isinstance(value, str | dt.date):
        raise TypeError("a date or a timestamp was expected")
    moment = pd.Timestamp(value)
    if zone is None and moment.tz is not None:
        raise ValueError("a time zone where the column has none")
    if zone is not None:
        return moment.tz_localize(zone) if moment.tz is None else moment.tz_convert(zone)
    return moment


def _seconds_of_day(value: Any) -> float:
    if isinstance(value, str):
        value = dt.time.fromisoformat(value)
    if isinstance(value, dt.time):
        return value.hour * 3600 + value.minute * 60 + value.second + value.microsecond / 1e6
    return float(value)
