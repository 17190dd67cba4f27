"""Conditions on columns, in the user's words, and what they mean for a column's codes.

{"sex": "Female"}            one value            {"age": (30, 40)}      a closed range; None leaves an end open
{"race": ["Black", "Other"]} any of these         {"income": None}       missing
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from tvae_core.arrow_types import is_text, value_type
from tvae_core.codecs import CategoricalCodec, ColumnCodec, NumericCodec
from tvae_core.errors import ConditionError, DataError
from tvae_core.table import TableCodec, codec_type


@dataclass(frozen=True)
class ColumnCondition:
    """What a condition leaves of one column.

    shares (codes,): how much of each code's values is allowed, 0 to 1. windows (codes, 2): between which draws in
    [0, 1) the allowed values of a code lie. value: the one value that is allowed, or None. target (codes,): the
    distribution to draw the column from instead of the model's, or None.
    """

    column: str
    shares: np.ndarray
    windows: np.ndarray
    value: pa.Scalar | None = None
    target: np.ndarray | None = None


def parse_condition(text: Any) -> Any:
    """A condition as text, for command lines and configurations, as the value that `read_conditions` takes.

    Text stands for values of any type; a column that holds numbers or dates reads it as such. What is not text is
    passed on as it is.

    >>> parse_condition("Female"), parse_condition("30..40"), parse_condition("..40"), parse_condition("")
    ('Female', ('30', '40'), (None, '40'), None)
    >>> parse_condition("Black|Other")
    ['Black', 'Other']
    """
    if not isinstance(text, str):
        return text
    if ".." in text:
        low, _, high = text.partition("..")
        return (low.strip() or None, high.strip() or None)
    if "|" in text:
        return text.split("|")
    return text or None


def read_conditions(codec: TableCodec, given: Mapping[str, Any]) -> list[ColumnCondition]:
    """Translate conditions. Raises ConditionError for one that no training row could meet."""
    by_name = {c.name: c for c in codec.codecs}
    out = []
    for name, wanted in given.items():
        if name not in by_name:
            raise ConditionError(f"no column {name!r} to condition on: expected one of {', '.join(by_name)}")
        if not by_name[name].layout.codes:
            raise ConditionError(
                f"column {name!r} is an identifier: it is made anew for every row and can't be given"
            )
        out.append(_read(by_name[name], wanted))
    return out


def read_balance(
    codec: TableCodec, balance: str | Mapping[str, Mapping[Any, float] | None]
) -> list[ColumnCondition]:
    """Columns whose levels come in even shares (a name, or None), or in given ones ({"income": {"high": 0.7, ...}}).

    Raises ConditionError for a column without levels, for unknown levels, and for shares that are no distribution.
    """
    wanted: Mapping[str, Any] = {balance: None} if isinstance(balance, str) else balance
    by_name = {c.name: c for c in codec.codecs}
    out = []
    for name, shares in wanted.items():
        column = by_name.get(name)
        if not isinstance(column, CategoricalCodec) or not len(column.levels):
            names = [c.name for c in codec.codecs if isinstance(c, CategoricalCodec)]
            raise ConditionError(
                f"column {name!r} can't be balanced: expected a categorical one of {', '.join(names)}"
            )
        target = np.zeros(column.layout.codes)
        target[: len(column.levels)] = _balanced(column, shares)
        windows = np.tile([0.0, 1.0], (len(target), 1))
        out.append(ColumnCondition(name, (target > 0).astype(float), windows, target=target))
    return out


def _balanced(column: CategoricalCodec, shares: Mapping[Any, float] | None) -> np.ndarray:
    levels = column.levels.to_pylist()
    if shares is None:
        return np.full(len(levels), 1.0 / len(levels))
    unknown = [level for level in shares if level not in levels]
    if unknown:
        raise ConditionError(
            f"column {column.name!r}: {len(unknown)} of the levels to balance were never seen"
        )
    wanted = np.array([float(shares.get(level, 0.0)) for level in levels])
    if not np.isfinite(wanted).all() or (wanted < 0).any() or not wanted.sum() > 0:
        raise ConditionError(f"column {column.name!r}: shares can't be negative, and one must be above zero")
    out: np.ndarray = wanted / wanted.sum()
    return out


def _read(codec: ColumnCodec, wanted: Any) -> ColumnCondition:
    if isinstance(wanted, tuple):
        return _range(codec, wanted)
    if isinstance(wanted, list | set | frozenset):
        values = list(wanted) if isinstance(wanted, list) else sorted(wanted, key=str)
        return _any_of(codec, values)
    return _any_of(codec, [wanted], single=True)


def _any_of(codec: ColumnCodec, values: Sequence[Any], *, single: bool = False) -> ColumnCondition:
    if not values:
        raise ConditionError(
            f"column {codec.name!r}: an empty list of values can't be met; name at least one"
        )
    try:
        array = typed_array(values, value_type(codec_type(codec)))
        codes = codec.encode(array)[0]
    except DataError as error:
        raise ConditionError(f"{error}: a value that was never seen can't be asked for") from None
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, TypeError, OverflowError):
        raise ConditionError(
            f"column {codec.name!r} holds {codec_type(codec)}: expected values of that type"
        ) from None
    if isinstance(codec, NumericCodec):
        _refuse_outside(codec, array)
    shares = np.zeros(codec.layout.codes)
    shares[codes] = 1.0
    windows = np.tile([0.0, 1.0], (len(shares), 1))
    if isinstance(codec, NumericCodec):
        for code, window in zip(codes, codec.windows_of(array), strict=True):
            shares[code], windows[code] = max(window[1] - window[0], 1e-6), window
    return ColumnCondition(codec.name, shares, windows, array[0] if single else None)


def typed_array(values: Sequence[Any], arrow: pa.DataType) -> pa.Array:
    """Values of a type, or text that spells them. Raises pyarrow's errors when they don't."""
    spelled = [v for v in values if v is not None]
    if spelled and all(isinstance(v, str) for v in spelled) and not is_text(arrow):
        return pa.array(values, pa.string()).cast(arrow)
    return pa.array(values, arrow)


def _refuse_outside(codec: NumericCodec, array: pa.Array) -> None:
    numbers, _ = codec.domain.to_numbers(array)
    low, high = codec.span()
    outside = int(((numbers < low) | (numbers > high)).sum())
    if outside:
        raise ConditionError(
            f"column {codec.name!r}: {outside} of the values asked for lie outside what training saw; "
            "ask for values inside the column's range"
        )


def _range(codec: ColumnCodec, ends: tuple[Any, ...]) -> ColumnCondition:
    if len(ends) != 2:
        raise ConditionError(f"column {codec.name!r}: a range is (low, high), but it has {len(ends)} ends")
    if not isinstance(codec, NumericCodec):
        kind = "categorical" if isinstance(codec, CategoricalCodec) else "modelled by modes"
        raise ConditionError(
            f"column {codec.name!r} is {kind}: a range needs a column of numbers or dates; name values"
        )
    try:
        low, high = (
            None if end is None else codec.end_of_range(end, lower=first)
            for end, first in zip(ends, (True, False), strict=True)
        )
    except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError, ValueError, OverflowError, DataError):
        raise ConditionError(
            f"column {codec.name!r} holds {codec.domain.type}: expected ends of that type"
        ) from None
    shares, windows = codec.shares_of_range(low, high)
    if not shares.any():
        raise ConditionError(
            f"column {codec.name!r}: no training value lies in the range asked for; widen it, or check its ends' order"
        )
    return ColumnCondition(codec.name, shares, windows)
