"""One column never above another: the higher one is modelled as its distance from the lower one.

So ties, durations and margins are learned as such, and no sampled row can break the rule. The distance is counted from
the smallest value that the higher column may take beside the lower one, in steps of its grid (whole days, hundreds):
the grid is kept, round numbers coarser than it are not.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tvae_core.arrow_types import is_number, is_temporal, parse_type
from tvae_core.codecs.categorical import plain_values
from tvae_core.codecs.domain import NumberDomain, grid_of
from tvae_core.constraints.base import (
    Changes,
    Columns,
    batches_of,
    check_flag,
    check_keys,
    check_name,
    domain_of,
    present_in,
    refuse_broken,
    without,
)
from tvae_core.errors import ConditionError, DataError, SchemaError
from tvae_core.holders import Extremes
from tvae_core.sources import TableSource

if TYPE_CHECKING:
    from tvae_core.schema import ColumnSchema

LARGEST_SPAN = 2.0**62
LEARNED = ("base", "top", "low_step", "least", "most", "step", "nullable")


@dataclass(frozen=True)
class Inequality:
    """`low` <= `high` in every row (`strict`: low < high), numbers or dates; a row that misses one of them obeys."""

    kind: ClassVar[str] = "inequality"

    low: str
    high: str
    strict: bool = False

    def __post_init__(self) -> None:
        if self.low == self.high:
            raise SchemaError(f"column {self.low!r} can't be compared with itself")

    @property
    def label(self) -> str:
        """See `Constraint`."""
        return f"{self.low!r} {'<' if self.strict else '<='} {self.high!r}"

    @property
    def reads(self) -> tuple[str, ...]:
        """See `Constraint`."""
        return (self.low,)

    @property
    def writes(self) -> tuple[str, ...]:
        """See `Constraint`."""
        return (self.high,)

    def check(self, columns: "Mapping[str, ColumnSchema]") -> None:
        """See `Constraint`."""
        for name in (self.low, self.high):
            if columns[name].kind not in ("continuous", "datetime"):
                raise SchemaError(f"column {name!r} is {columns[name].kind}: expected numbers or dates")
        common_type(columns[self.low].arrow_type, columns[self.high].arrow_type)

    def _reader(self, source: TableSource) -> "FittedInequality":
        """Both columns in one domain; the rest is still to be learned."""
        high_type = source.schema.field(self.high).type
        common = common_type(source.schema.field(self.low).type, high_type)
        places = [domain_of(source, name, common).decimals for name in (self.low, self.high)]
        decimals = None if None in places else max(p for p in places if p is not None)
        return FittedInequality(self, NumberDomain(self.high, common, decimals), high_type)

    def broken_rows(self, source: TableSource) -> Iterator[np.ndarray]:
        """See `Constraint`."""
        reader = self._reader(source)
        for columns in batches_of(source, (self.low, self.high)):
            yield reader.broken(columns)

    def fit(self, source: TableSource) -> "FittedInequality":
        """See `Constraint`."""
        refuse_broken(self, source)
        fitted = self._reader(source)
        lows, highs, nullable = _Span(), _Span(), False
        for columns in batches_of(source, (self.low, self.high)):
            low, high, missing = fitted.read(columns)
            lows.widen(low[~missing[0]])
            highs.widen(high[~missing[1]])
            nullable = nullable or bool(missing[1].any())
        if lows.first is None or highs.first is None:
            raise DataError(
                f"constraint {self.label}: a column without values can't be compared; take it out"
            )
        if float(max(lows.high, highs.high)) - float(min(lows.low, highs.low)) >= LARGEST_SPAN:
            raise DataError(f"constraint {self.label}: the columns span more than 2**62; scale them")
        return replace(
            fitted,
            base=lows.low,
            top=lows.high,
            low_step=max(1, lows.grid),
            least=highs.low,
            most=highs.high,
            step=max(1, highs.grid),
            nullable=nullable,
        )

    def to_dict(self) -> dict[str, Any]:
        """See `Constraint`."""
        return {"low": self.low, "high": self.high, **({"strict": True} if self.strict else {})}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Inequality":
        """See `Constraint`."""
        check_keys(plain, ("low", "high"), ("strict",))
        strict = check_flag(plain.get("strict", False), "strict")
        return cls(check_name(plain["low"], "low"), check_name(plain["high"], "high"), strict)

    def restored(self, state: Mapping[str, Any]) -> "FittedInequality":
        """See `Constraint`."""
        domain = NumberDomain.from_dict(state["domain"])
        learned = {key: state[key] for key in LEARNED}
        return FittedInequality(self, domain, parse_type(state["type"]), **learned)


class _Span:
    """The smallest and largest of the numbers seen, the first of them, and the grid of integers (0 for one value)."""

    def __init__(self) -> None:
        self.first: Any = None
        self.low: Any = None
        self.high: Any = None
        self.grid = 0

    def widen(self, numbers: np.ndarray) -> None:
        if len(numbers):
            self.first = numbers[0].item() if self.first is None else self.first
            low, high = numbers.min().item(), numbers.max().item()
            self.low = low if self.low is None else min(self.low, low)
            self.high = high if self.high is None else max(self.high, high)
            values = np.unique(np.append(numbers, self.first))
            if values.dtype == np.int64 and len(values) > 1:
                self.grid = int(np.gcd(self.grid, grid_of(values)))


@dataclass(frozen=True)
class FittedInequality:
    """Both columns in one domain, and of each the span and the grid, which is counted from the span's lower end.

    Where low is missing, distances count from its lower end. nullable: whether the higher column may be missing.
    """

    declared: Inequality
    domain: NumberDomain
    type: pa.DataType
    base: int | float = 0
    top: int | float = 0
    low_step: int = 1
    least: int | float = 0
    most: int | float = 0
    step: int = 1
    nullable: bool = False

    def read(self, columns: Columns) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Low and high (rows,) as numbers of the domain, 0 where missing, and where they are (2, rows)."""
        out, masks = [], []
        for name in (self.declared.low, self.declared.high):
            numbers, missing = self.domain.to_numbers(plain_values(columns[name]).cast(self.domain.type))
            values = np.zeros(len(missing), np.int64 if self.domain.integral else np.float64)
            values[~missing] = numbers
            out.append(values)
            masks.append(missing)
        return out[0], out[1], np.stack(masks)

    def protected(self, source: TableSource, k: int, holders: np.ndarray | None) -> "FittedInequality":
        """See `FittedConstraint`: the ends of both columns become their k-th smallest and largest values."""
        lows, highs, start = Extremes(k), Extremes(k), 0
        for columns in batches_of(source, (self.declared.low, self.declared.high)):
            *values, missing = self.read(columns)
            own = None if holders is None else holders[start : start + missing.shape[1]]
            start += missing.shape[1]
            for ends, numbers, absent in zip((lows, highs), values, missing, strict=True):
                ends.update(numbers[~absent], None if own is None else own[~absent])
        if not (lows.enough and highs.enough):
            raise DataError(
                f"constraint {self.declared.label}: fewer than {2 * k} holders have a value; take the constraint out, "
                "or lower protect_k"
            )
        (base, top), (least, most) = ([end.item() for end in ends.kept] for ends in (lows, highs))
        return replace(self, base=base, top=top, least=least, most=most)

    def reduced(self, columns: "Mapping[str, ColumnSchema]") -> "dict[str, ColumnSchema | None]":
        """See `FittedConstraint`: a distance, in steps of the grid where there is one."""
        from tvae_core.schema import ColumnKind, ColumnSchema

        kind, text = ColumnKind.CONTINUOUS, "int64" if self.domain.integral else "double"
        name = self.declared.high
        return {name: ColumnSchema(name, kind, text, columns[name].nullable)}

    def floor(self, low: np.ndarray, missing: np.ndarray) -> np.ndarray:
        """The smallest value (rows,) that the higher column's type and grid have beside `low`, or beside `base`."""
        low, strict = np.where(missing, self.base, low), self.declared.strict
        if self.domain.integral:
            out: np.ndarray = self.least - (self.least - low - strict) // self.step * self.step
            return out
        own = self.type.to_pandas_dtype()
        nearest = low.astype(own)
        short = nearest <= low if strict else nearest < low
        return np.where(short, np.nextafter(nearest, own(np.inf)), nearest).astype(np.float64)

    def reduce(self, columns: Columns) -> Changes:
        """See `FittedConstraint`."""
        low, high, missing = self.read(columns)
        distance = high - self.floor(low, missing[0])
        return {self.declared.high: pa.array(distance // self.step if self.domain.integral else distance,
                                             mask=missing[1])}  # fmt: skip

    def restore(self, columns: Columns) -> tuple[dict[str, pa.Array], int]:
        """See `FittedConstraint`; a repair keeps the higher column inside its training range.

        Where even the largest value of that range is too small it is missing, unless training never saw it missing.
        """
        name = self.declared.high
        dtype = np.int64 if self.domain.integral else np.float64
        steps = pc.fill_null(columns[name], 0).to_numpy(zero_copy_only=False).astype(dtype)
        missing = ~present_in(columns[name])
        low, _, masks = self.read({**columns, name: pa.nulls(len(missing), self.domain.type)})
        floor = self.floor(low, masks[0])
        high = floor + steps * self.step
        kept = np.clip(high, self.least, self.most).astype(dtype)
        kept = np.where(masks[0], kept, np.maximum(kept, floor))
        barred = ~masks[0] & (floor > self.most) & self.nullable
        repaired = int((((kept != high) | barred) & ~missing).sum())
        return {name: self.domain.to_array(kept, missing | barred).cast(self.type)}, repaired

    def give(self, cells: Columns, *, lenient: bool) -> Changes:
        """See `FittedConstraint`: a given higher value needs the lower one beside it."""
        low, high = self.declared.low, self.declared.high
        if high not in cells:
            return {}
        given = present_in(cells[high])
        both = {low: cells.get(low, pa.nulls(len(given), self.domain.type)), high: cells[high]}
        alone = given & ~present_in(both[low])
        if alone.any() and not lenient:
            raise ConditionError(
                f"column {high!r} is modelled as its distance from {low!r} and can't be given without it "
                f"({int(alone.sum())} rows): give {low!r} too, or leave {high!r} out"
            )
        wrong = self.broken(both)
        if wrong.any() and not lenient:
            raise ConditionError(
                f"{int(wrong.sum())} rows of the given cells break the constraint {self.declared.label}"
            )
        return self.reduce({**both, high: without(cells[high], alone | wrong)})

    def settle(self, columns: Columns, cells: Columns, *, free: bool) -> dict[str, pa.Array]:
        """See `FittedConstraint`: beside a given higher value the lower one stands at the distance drawn."""
        low, high = self.declared.low, self.declared.high
        if high not in cells:
            return {}
        both = {low: columns[low], high: cells[high]}
        _, highs, missing = self.read(both)
        moves = ~missing[1] if free else self.broken(both)
        if low in cells:
            moves &= ~present_in(cells[low])
        steps = pc.fill_null(columns[high], 0).to_numpy(zero_copy_only=False)
        moved = self._lower(highs, highs - steps * self.step, columns[low].type)
        return {low: pc.if_else(pa.array(moves), moved, columns[low])}

    def _lower(self, highs: np.ndarray, wanted: np.ndarray, arrow: pa.DataType) -> pa.Array:
        """Lower values as wanted (rows,), inside their training range, on their grid and not above `highs` (rows,)."""
        strict = self.declared.strict
        kept = np.clip(wanted - strict if self.domain.integral else wanted, self.base, self.top)
        if self.domain.integral:
            kept = self.base + (kept - self.base) // self.low_step * self.low_step
        else:
            own = arrow.to_pandas_dtype() if pa.types.is_floating(arrow) else np.float64
            nearest = kept.astype(own)
            past = nearest >= highs if strict else nearest > highs
            kept = np.where(past, np.nextafter(nearest, own(-np.inf)), nearest)
            kept = np.floor(kept) if pa.types.is_integer(arrow) else kept
        return self.domain.to_array(kept, np.zeros(len(kept), bool)).cast(arrow, safe=False)

    def broken(self, columns: Columns) -> np.ndarray:
        """See `FittedConstraint`."""
        low, high, missing = self.read(columns)
        return ~missing.any(axis=0) & (low >= high if self.declared.strict else low > high)

    def condition(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """See `FittedConstraint`."""
        high, low = self.declared.high, self.declared.low
        if high in given:
            raise ConditionError(
                f"column {high!r} is modelled as its distance from {low!r} and can't be conditioned on: use {low!r}, "
                "or give both in a frame"
            )
        return dict(given)

    def balance(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """See `FittedConstraint`; numbers and dates are never balanced."""
        return dict(wanted)

    def to_dict(self) -> dict[str, Any]:
        """See `FittedConstraint`."""
        learned = {key: getattr(self, key) for key in LEARNED}
        return {"domain": self.domain.to_dict(), "type": str(self.type), **learned}


def common_type(low: pa.DataType, high: pa.DataType) -> pa.DataType:
    """The type in which two columns are compared. Raises SchemaError when there is none that loses nothing."""
    if low == high and (is_number(low) or is_temporal(low)):
        return low
    if pa.types.is_integer(low) and pa.types.is_integer(high):
        return pa.int64()
    if pa.types.is_floating(high) and (pa.types.is_floating(low) or pa.types.is_integer(low)):
        return pa.float64()
    raise SchemaError(f"columns of types {low} and {high} can't be compared: cast one to the other's type")
