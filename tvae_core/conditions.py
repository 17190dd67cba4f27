"""Conditions on columns, in the user's words, and what they mean for a column's codes.

{"sex": "Female"}            one value            {"age": (30, 40)}      a closed range; None or infinity is an open end
{"race": ["Black", "Other"]} any of these         {"income": None}       missing; so are NaN, pd.NA and pd.NaT

Values may be numpy's. One that the column's type can't hold exactly is refused: a fraction for an integer column, a
time without a zone for a column that has one.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tvae_core.codecs import CategoricalCodec, ColumnCodec, NumericCodec
from tvae_core.codecs.asked import open_end, typed_values
from tvae_core.errors import ConditionError, DataError
from tvae_core.table import TableCodec, codec_type

_QUOTED = re.compile(r'"(?:[^"]|"")*"')
_ALTERNATIVES = re.compile(rf"(?:^|\|)({_QUOTED.pattern}(?=\||\Z)|[^|]*)")


@dataclass(frozen=True)
class ColumnCondition:
    """What a condition leaves of one column.

    shares (codes,): how much of each code's values is allowed, 0 to 1. windows (codes, 2): between which draws in
    [0, 1) the allowed values of a code lie; `places`: the same of codes of which several values apart are allowed
    (values, 2). value: the one value that is allowed, or None. target (codes,): the distribution to draw the column
    from instead of the model's, or None.
    """

    column: str
    shares: np.ndarray
    windows: np.ndarray
    value: pa.Scalar | None = None
    target: np.ndarray | None = None
    places: Mapping[int, np.ndarray] = field(default_factory=dict)

    def narrow(self, codes: np.ndarray, draws: np.ndarray) -> np.ndarray:
        """Draws (rows,) in [0, 1) moved to where the allowed values of their codes (rows,) lie."""
        low, high = self.windows[codes].T
        out: np.ndarray = low + draws * (high - low)
        for code, windows in self.places.items():
            rows = np.flatnonzero(codes == code)
            number, place = np.divmod(draws[rows] * len(windows), 1.0)
            low, high = windows[number.astype(np.int64)].T
            out[rows] = low + place * (high - low)
        return out


def parse_condition(text: Any) -> Any:
    """A condition as text, for command lines and configurations, as the value that `read_conditions` takes.

    Text stands for values of any type; a column that holds numbers or dates reads it as such. A value in double quotes
    is taken as it is, as in CSV: "" inside stands for a quote. What is not text is passed on as it is.

    >>> parse_condition("Female"), parse_condition("30..40"), parse_condition("..40"), parse_condition("")
    ('Female', ('30', '40'), (None, '40'), None)
    >>> parse_condition("Black|Other"), parse_condition('""'), parse_condition('"a|b"|c')
    (['Black', 'Other'], '', ['a|b', 'c'])
    """
    if not isinstance(text, str):
        return text
    parts = _ALTERNATIVES.findall(text)
    values = [part[1:-1].replace('""', '"') if _QUOTED.fullmatch(part) else part for part in parts]
    if values == parts and ".." in text:
        low, _, high = text.partition("..")
        return (low.strip() or None, high.strip() or None)
    if len(values) > 1:
        return values
    return values[0] if text else None


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


def check_balance(balance: Any) -> dict[str, Mapping[Any, Any] | None]:
    """What to balance as a mapping from column to shares (None: even). Raises ConditionError for anything else."""
    wanted = {balance: None} if isinstance(balance, str) else balance
    if not isinstance(wanted, Mapping):
        raise ConditionError(
            "balance must be a column's name, or {column: {level: share}}, but it is of type "
            f"{type(balance).__name__}"
        )
    for name, shares in wanted.items():
        if shares is not None and not isinstance(shares, Mapping):
            raise ConditionError(
                f"column {name!r}: shares to balance must be {{level: share}}, but they are of type "
                f"{type(shares).__name__}"
            )
    return {str(name): shares for name, shares in wanted.items()}


def read_balance(codec: TableCodec, balance: Mapping[str, Mapping[Any, Any] | None]) -> list[ColumnCondition]:
    """Columns whose levels come in even shares (None), or in given ones ({"income": {"high": 0.7, ...}}).

    Raises ConditionError for a column without levels, for unknown levels, and for shares that are no distribution.
    """
    by_name = {c.name: c for c in codec.codecs}
    out = []
    for name, shares in balance.items():
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


def _balanced(column: CategoricalCodec, shares: Mapping[Any, Any] | None) -> np.ndarray:
    levels = len(column.levels)
    if shares is None:
        return np.full(levels, 1.0 / levels)
    places = pc.index_in(typed_values(column.name, list(shares), column.type), value_set=column.levels)
    if places.null_count:
        raise ConditionError(
            f"column {column.name!r}: {places.null_count} of the levels to balance were never seen"
        )
    numbers = [share for share in shares.values() if isinstance(share, Real) and not isinstance(share, bool)]
    wanted = np.zeros(levels)
    if len(numbers) == len(shares):
        np.add.at(wanted, places.to_numpy(), np.array(numbers, np.float64))
    if not np.isfinite(wanted).all() or (wanted < 0).any() or not wanted.sum() > 0:
        raise ConditionError(
            f"column {column.name!r}: shares must be finite numbers that can't be negative, and one must be above zero"
        )
    out: np.ndarray = wanted / wanted.sum()
    return out


def _read(codec: ColumnCodec, wanted: Any) -> ColumnCondition:
    if isinstance(wanted, tuple):
        return _range(codec, wanted)
    if isinstance(wanted, list | set | frozenset | np.ndarray):
        values = sorted(wanted, key=str) if isinstance(wanted, set | frozenset) else list(wanted)
        return _any_of(codec, values)
    return _any_of(codec, [wanted], single=True)


def _any_of(codec: ColumnCodec, values: Sequence[Any], *, single: bool = False) -> ColumnCondition:
    if not values:
        raise ConditionError(
            f"column {codec.name!r}: an empty list of values can't be met; name at least one"
        )
    array = typed_values(codec.name, values, codec_type(codec))
    try:
        codes = codec.encode(array)[0]
    except DataError as error:
        raise ConditionError(f"{error}: a value that was never seen can't be asked for") from None
    if isinstance(codec, CategoricalCodec) and codec.pooled and (codes == len(codec.levels)).any():
        raise ConditionError(
            f"column {codec.name!r} has no such category of its own: it was never seen, or is too rare to be "
            "learned; a value that was never learned can't be asked for"
        )
    if isinstance(codec, NumericCodec):
        _refuse_outside(codec, array)
    shares = np.zeros(codec.layout.codes)
    shares[codes] = 1.0
    windows = np.tile([0.0, 1.0], (len(shares), 1))
    places = {}
    if isinstance(codec, NumericCodec):
        each = codec.windows_of(array)
        for code in np.unique(codes).tolist():
            own = np.unique(each[codes == code], axis=0)
            shares[code] = max((own[:, 1] - own[:, 0]).sum(), 1e-6)
            windows[code] = own[0]
            if len(own) > 1:
                places[code] = own
    return ColumnCondition(codec.name, shares, windows, array[0] if single else None, places=places)


def _refuse_outside(codec: NumericCodec, array: pa.Array) -> None:
    numbers, _ = codec.domain.to_numbers(array)
    low, high = codec.span()
    outside = int(((numbers < low) | (numbers > high)).sum())
    if outside:
        raise ConditionError(
            f"column {codec.name!r}: {outside} of the values asked for lie outside what the column can take; "
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
            None if open_end(end, lower=first) else codec.domain.end_of_range(end, lower=first)
            for end, first in zip(ends, (True, False), strict=True)
        )
    except (pa.ArrowException, TypeError, ValueError, OverflowError, ArithmeticError) as error:
        if isinstance(error, ConditionError):
            raise
        raise ConditionError(
            f"column {codec.name!r} holds {codec.domain.type}: expected ends of that type"
        ) from None
    if low is not None and low == high and not codec.domain.integral:
        return _any_of(codec, [ends[0]], single=True)  # a range without width has no share of a cell
    shares, windows = codec.shares_of_range(low, high)
    if not shares.any():
        raise ConditionError(
            f"column {codec.name!r}: it takes no value in the range asked for; widen it, or check its ends' order"
        )
    return ColumnCondition(codec.name, shares, windows)
