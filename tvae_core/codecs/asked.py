"""Values and cells that a caller asks for, in a column's own type: nothing is rounded, cut off or moved on the way."""

import math
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from tvae_core.arrow_types import is_temporal, is_text, value_type
from tvae_core.codecs.categorical import plain_values
from tvae_core.errors import ConditionError

_FAILURES = (pa.ArrowException, TypeError, ValueError, OverflowError, InvalidOperation)


def is_missing(value: Any) -> bool:
    """Whether a value stands for a missing one: None, NaN, `pd.NA` or `pd.NaT`."""
    return value is None or bool(pd.api.types.is_scalar(value) and pd.isna(value))


def typed_values(name: str, values: Sequence[Any], arrow: pa.DataType) -> pa.Array:
    """Python or numpy values, or text that spells them, as an array of the column's value type.

    Raises ConditionError when the type can't hold one of them exactly, and for a time without a zone where the column
    has one, or the other way round.
    """
    inner = value_type(arrow)
    plain = [None if is_missing(value) else _python(value) for value in values]
    present = [value for value in plain if value is not None]
    spelled = bool(present) and all(isinstance(value, str) for value in present)
    try:
        if spelled and not is_text(inner):
            return pa.array(plain, pa.string()).cast(inner)
        if pa.types.is_decimal(inner) and not any(isinstance(value, bool) for value in present):
            return pa.array([None if v is None else Decimal(str(v)) for v in plain], inner)
        whole = pa.types.is_integer(inner) and all(type(value) is int for value in present)
        array = pa.array(plain, inner if whole else None)
    except _FAILURES as error:
        raise _unfit(name, inner, str(error) if "zone offset" in str(error) else "") from None
    return typed_cells(name, array, inner)


def typed_cells(name: str, cells: pa.Array | pa.ChunkedArray, arrow: pa.DataType) -> pa.Array:
    """Cells of any type as plain values of the column's value type. Raises ConditionError as `typed_values` does."""
    inner, plain = value_type(arrow), plain_values(cells)
    came = plain.type
    if came == inner:
        return plain
    if plain.null_count == len(plain):
        return pa.nulls(len(plain), inner)
    if _zone(came) != _zone(inner) and not is_text(came):
        raise _unfit(name, inner, "zone offset")
    try:
        if _family(came) != _family(inner) and not is_text(came):
            raise pa.ArrowInvalid("another family of types")
        if pa.types.is_decimal(inner) and pa.types.is_integer(came):
            plain, came = plain.cast(pa.decimal128(38, inner.scale)), pa.decimal128(38, inner.scale)
        typed = plain.cast(inner)
        exact = pa.types.is_date(inner) or pa.types.is_decimal(inner)
        if exact and not is_text(came) and not typed.cast(came).equals(plain):
            raise pa.ArrowInvalid("cut off")
    except pa.ArrowException as error:
        raise _unfit(name, inner, str(error) if "zone offset" in str(error) else "") from None
    return typed


def _python(value: Any) -> Any:
    if isinstance(value, np.datetime64):
        return pd.Timestamp(value)
    if isinstance(value, np.timedelta64):
        return pd.Timedelta(value)
    return value.item() if isinstance(value, np.generic) else value


def _zone(arrow: pa.DataType) -> bool:
    return pa.types.is_timestamp(arrow) and arrow.tz is not None


def _family(arrow: pa.DataType) -> str:
    if is_text(arrow):
        return "text"
    if pa.types.is_boolean(arrow):
        return "boolean"
    return "time" if is_temporal(arrow) else "number"


def _unfit(name: str, inner: pa.DataType, reason: str) -> ConditionError:
    message = f"column {name!r} holds {inner}: expected values of that type"
    if "zone offset" in reason and _zone(inner):
        message += (
            f", with a time zone or an offset (2024-01-01T00:00+00:00), for the column has one: {inner.tz}"
        )
    elif "zone offset" in reason:
        message += ", without a time zone, for the column has none"
    elif pa.types.is_integer(inner):
        message += ", whole numbers within its bounds"
    return ConditionError(message)


def open_end(value: Any, *, lower: bool) -> bool:
    """Whether the end of a range leaves it open: a missing value, or infinity on its own side."""
    if is_missing(value):
        return True
    number = isinstance(value, float | np.floating) and math.isinf(value)
    return bool(number and (value < 0) == lower)
