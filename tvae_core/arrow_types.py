"""Arrow types as text and as families: which can be modelled, and why others can't."""

import re

import pyarrow as pa

from tvae_core.errors import SchemaError

_TIMESTAMP = re.compile(r"timestamp\[(s|ms|us|ns), tz=([^\]]+)\]")
_DECIMAL = re.compile(r"decimal(32|64|128|256)?\((\d+), ?(-?\d+)\)")
_DICTIONARY = re.compile(r"dictionary<values=(.+), indices=(u?int\d+), ordered=([01])>")
_DECIMALS = {"32": "decimal32", "64": "decimal64", "128": "decimal128", "256": "decimal256"}


def parse_type(text: str) -> pa.DataType:
    """The Arrow type whose `str` is `text`.

    >>> parse_type("timestamp[us, tz=Europe/Berlin]")
    TimestampType(timestamp[us, tz=Europe/Berlin])
    >>> parse_type("decimal128(10, 2)") == pa.decimal128(10, 2)
    True

    Raises SchemaError when it names no Arrow type.
    """
    if match := _TIMESTAMP.fullmatch(text):
        return pa.timestamp(match[1], tz=match[2])
    if match := _DECIMAL.fullmatch(text):
        return getattr(pa, _DECIMALS[match[1] or "128"])(int(match[2]), int(match[3]))
    if match := _DICTIONARY.fullmatch(text):
        return pa.dictionary(parse_type(match[2]), parse_type(match[1]), ordered=match[3] == "1")
    try:
        return pa.type_for_alias(text)
    except ValueError:
        raise SchemaError(
            f"{text!r} is not an Arrow type that can be modelled: expected int64, double, bool, string, date32[day], "
            "timestamp[us], timestamp[us, tz=UTC], decimal128(10, 2), "
            "dictionary<values=string, indices=int32, ordered=0>, ..."
        ) from None


def value_type(arrow: pa.DataType) -> pa.DataType:
    """The type of a column's values: a dictionary's own type where the column is dictionary-encoded."""
    return arrow.value_type if pa.types.is_dictionary(arrow) else arrow


def is_text(arrow: pa.DataType) -> bool:
    """Whether values are strings, dictionary-encoded or not."""
    inner = value_type(arrow)
    return pa.types.is_string(inner) or pa.types.is_large_string(inner) or pa.types.is_string_view(inner)


def is_number(arrow: pa.DataType) -> bool:
    """Whether values are integers, floats or decimals."""
    return pa.types.is_integer(arrow) or pa.types.is_floating(arrow) or pa.types.is_decimal(arrow)


def is_temporal(arrow: pa.DataType) -> bool:
    """Whether values are dates, times, timestamps or durations."""
    return pa.types.is_temporal(arrow) and not pa.types.is_interval(arrow)


def unsupported_reason(arrow: pa.DataType) -> str | None:
    """Why a column of this type can't be modelled and what to do, or None when it can."""
    if pa.types.is_nested(arrow):
        return "nested columns are not supported; flatten it into columns of its own or leave it out"
    inner = value_type(arrow)
    if pa.types.is_float16(inner):  # Arrow's kernels skip them: no smallest, no largest
        return "half-precision floats are not supported; cast it to float32"
    if (
        is_text(inner)
        or is_number(inner)
        or is_temporal(inner)
        or pa.types.is_boolean(inner)
        or pa.types.is_null(inner)
    ):
        return None
    if pa.types.is_binary(inner) or pa.types.is_large_binary(inner) or pa.types.is_fixed_size_binary(inner):
        return "binary columns are not supported; decode it to text or leave it out"
    return "this type is not supported; cast it to a number, text, a date or a timestamp, or leave it out"
