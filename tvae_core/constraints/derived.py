"""A column that is a function of others: not modelled, recomputed from the sampled columns."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tvae_core.arrow_types import is_number
from tvae_core.codecs.categorical import plain_values
from tvae_core.codecs.domain import NumberDomain
from tvae_core.constraints.base import (
    Changes,
    Columns,
    batches_of,
    check_keys,
    check_name,
    check_names,
    domain_of,
    floats,
    present_in,
    refuse_broken,
)
from tvae_core.errors import ConditionError, DataError, SchemaError
from tvae_core.sources import TableSource

if TYPE_CHECKING:
    from tvae_core.schema import ColumnSchema

# Each function with the options that it takes.
FUNCTIONS: dict[str, tuple[str, ...]] = {
    "copy": (), "sum": ("nulls",), "linear": ("factor", "offset"), "log": (), "log1p": (), "round": ("decimals",),
}  # fmt: skip
# A float column of no fixed decimals is the function of others when it agrees in six digits, as written tables do.
RELATIVE_SLACK = 1e-6


@dataclass(frozen=True)
class Derived:
    """`column` = function(of): copy, sum, factor * x + offset, log, log1p, or round to decimals.

    The value is missing where a column of `of` is, or where the function is undefined (log of zero); with `nulls: zero`
    a missing part of a sum counts as zero. A row obeys when the value is the function's, rounded to the column's own
    decimals; in a float column of no fixed decimals, to six digits.
    """

    kind: ClassVar[str] = "derived"

    column: str
    function: str
    of: tuple[str, ...]
    factor: float = 1.0
    offset: float = 0.0
    decimals: int = 0
    nulls: str = "propagate"

    def __post_init__(self) -> None:
        if self.function not in FUNCTIONS:
            raise SchemaError(f"function must be one of {', '.join(FUNCTIONS)}")
        if (len(self.of) < 2) if self.function == "sum" else (len(self.of) != 1):
            expected = "two columns or more" if self.function == "sum" else "one column"
            raise SchemaError(f"{self.function} is of {expected}, but `of` has {len(self.of)}")
        if self.column in self.of:
            raise SchemaError(f"column {self.column!r} can't be derived from itself")
        if self.nulls not in ("propagate", "zero"):
            raise SchemaError("nulls must be propagate or zero")
        for key in ("factor", "offset"):
            value = getattr(self, key)
            if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
                raise SchemaError(f"{key} must be a finite number")
        if self.factor == 0:
            raise SchemaError("factor must not be zero")
        if isinstance(self.decimals, bool) or not isinstance(self.decimals, int):
            raise SchemaError("decimals must be an integer")

    @property
    def label(self) -> str:
        """See `Constraint`."""
        return f"{self.column!r} = {self.function}({', '.join(self.of)})"

    @property
    def reads(self) -> tuple[str, ...]:
        """See `Constraint`."""
        return self.of

    @property
    def writes(self) -> tuple[str, ...]:
        """See `Constraint`."""
        return (self.column,)

    def check(self, columns: "Mapping[str, ColumnSchema]") -> None:
        """See `Constraint`."""
        types = {name: columns[name].arrow_type for name in (self.column, *self.of)}
        if self.function == "copy":
            if len(set(types.values())) > 1:
                raise SchemaError("a copy has the type of its column: cast one of them")
            return
        wrong = [name for name, arrow in types.items() if not is_number(arrow)]
        if wrong:
            raise SchemaError(f"{self.function} is of numbers, but {', '.join(wrong)} holds none")

    def compute(self, columns: Columns) -> np.ndarray:
        """The function's values (rows,) float64, NaN where they are missing; not for copies."""
        parts = [floats(columns[name]) for name in self.of]
        if self.function == "sum":
            if self.nulls == "zero":
                parts = [np.nan_to_num(part, nan=0.0) for part in parts]
            return np.sum(parts, axis=0)
        (x,) = parts
        if self.function == "linear":
            return self.factor * x + self.offset
        if self.function == "round":
            return np.round(x, self.decimals)
        least = 0.0 if self.function == "log" else -1.0
        inside = np.where(x > least, x, np.nan)
        out: np.ndarray = np.log(inside) if self.function == "log" else np.log1p(inside)
        return out

    def broken(self, columns: Columns, domain: NumberDomain) -> np.ndarray:
        """Which rows (rows,) don't hold the function's value."""
        if self.function == "copy":
            own, other = (plain_values(columns[name]) for name in (self.column, *self.of))
            same = pc.fill_null(pc.equal(own, other), False).to_numpy(zero_copy_only=False)
            both_missing = ~present_in(own) & ~present_in(other)
            out: np.ndarray = ~(same | both_missing)
            return out
        values, expected = floats(columns[self.column]), self.compute(columns)
        broken: np.ndarray = np.isnan(values) != np.isnan(expected)
        slack = RELATIVE_SLACK * np.maximum(1.0, np.abs(expected))
        if domain.integral:
            # Half of the last decimal, and a hair more for decimals that binary fractions can't write.
            slack = 0.5 * 10.0 ** -decimals_in(domain) * (1 + 1e-6) + 1e-12 * np.abs(expected)
        with np.errstate(invalid="ignore"):
            return broken | (np.abs(values - expected) > slack)

    def broken_rows(self, source: TableSource) -> Iterator[np.ndarray]:
        """See `Constraint`."""
        domain = self._domain(source)
        for columns in batches_of(source, [self.column, *self.of]):
            yield self.broken(columns, domain)

    def _domain(self, source: TableSource) -> NumberDomain:
        if self.function == "copy":
            return NumberDomain(self.column, source.schema.field(self.column).type)
        return domain_of(source, self.column)

    def fit(self, source: TableSource) -> "FittedDerived":
        """See `Constraint`."""
        refuse_broken(self, source)
        domain = self._domain(source)
        inverse = None if self.function in ("copy", "sum") else domain_of(source, self.of[0])
        fitted = FittedDerived(self, domain, inverse)
        if self.function != "copy":
            self._refuse_narrow(source, domain)
        return fitted

    def _refuse_narrow(self, source: TableSource, domain: NumberDomain) -> None:
        """Refuse a type that can't hold what the sampled parts may come to."""
        low = dict.fromkeys(self.of, np.inf)
        high = dict.fromkeys(self.of, -np.inf)
        for columns in batches_of(source, self.of):
            for name in self.of:
                values = floats(columns[name])
                if not np.isnan(values).all():
                    low[name] = min(low[name], np.nanmin(values))
                    high[name] = max(high[name], np.nanmax(values))
        seen = [name for name in self.of if np.isfinite(low[name])]
        if len(seen) < len(self.of):
            return
        ends = self.compute({n: pa.array([low[n], high[n]], pa.float64()) for n in self.of})
        try:
            as_column(ends, domain)
        except pa.ArrowInvalid:
            raise DataError(
                f"constraint {self.label}: type {domain.type} can't hold every value that sampled parts may come to; "
                "cast the column to a wider type"
            ) from None

    def to_dict(self) -> dict[str, Any]:
        """See `Constraint`."""
        of = list(self.of) if self.function == "sum" else self.of[0]
        options = {key: getattr(self, key) for key in FUNCTIONS[self.function]}
        return {"column": self.column, "function": self.function, "of": of, **options}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Derived":
        """See `Constraint`."""
        options = FUNCTIONS.get(str(plain.get("function")), ())
        check_keys(plain, ("column", "function", "of"), options)
        return cls(
            check_name(plain["column"], "column"), str(plain["function"]), check_names(plain["of"], "of"),
            **{key: plain[key] for key in options if key in plain},
        )  # fmt: skip

    def restored(self, state: Mapping[str, Any]) -> "FittedDerived":
        """See `Constraint`."""
        inverse = state["inverse"]
        return FittedDerived(
            self,
            NumberDomain.from_dict(state["domain"]),
            None if inverse is None else NumberDomain.from_dict(inverse),
        )


@dataclass(frozen=True)
class FittedDerived:
    """A derived column with its domain, and its only part's where that differs."""

    declared: Derived
    domain: NumberDomain
    inverse: NumberDomain | None

    def protected(self, source: TableSource, k: int, holders: np.ndarray | None) -> Self:
        """See `FittedConstraint`: no value of the table is kept."""
        return self

    def reduced(self, columns: "Mapping[str, ColumnSchema]") -> "dict[str, ColumnSchema | None]":
        """See `FittedConstraint`."""
        return {self.declared.column: None}

    def reduce(self, columns: Columns) -> Changes:
        """See `FittedConstraint`."""
        return {self.declared.column: None}

    def restore(self, columns: Columns) -> tuple[dict[str, pa.Array], int]:
        """See `FittedConstraint`; never a repair."""
        if self.declared.function == "copy":
            return {self.declared.column: columns[self.declared.of[0]]}, 0
        return {self.declared.column: as_column(self.declared.compute(columns), self.domain)}, 0

    def give(self, cells: Columns, *, lenient: bool) -> Changes:
        """See `FittedConstraint`: a given value gives the part where that can be told from it."""
        name, of = self.declared.column, self.declared.of
        if name not in cells:
            return {}
        wanted = plain_values(cells[name])
        known = dict(cells)
        if len(of) == 1 and self.declared.function != "round":
            part = self._turned_round(wanted)
            own = plain_values(cells[of[0]]).cast(part.type) if of[0] in cells else None
            known[of[0]] = part if own is None else pc.coalesce(own, part)
        elif self.declared.function == "sum":
            known.update(self._last_parts(known, wanted))
        given = present_in(wanted)
        blanks = [~present_in(known[part]) if part in known else np.ones(len(given), bool) for part in of]
        alone = int((given & np.any(blanks, axis=0)).sum())
        if alone and not lenient:
            raise ConditionError(
                f"column {name!r} is derived and can't be given alone ({alone} rows): give {', '.join(of)} instead"
            )
        for part in of:
            known.setdefault(part, pa.nulls(len(given), pa.float64()))
        wrong = int((self.declared.broken(known, self.domain) & given).sum())
        if wrong and not lenient:
            raise ConditionError(
                f"{wrong} rows of the given cells break the constraint {self.declared.label}: leave {name!r} out"
            )
        parts: Changes = {part: known[part] for part in of if given.any()}
        return {**parts, name: None}

    def _last_parts(self, known: Columns, total: pa.Array) -> dict[str, pa.Array]:
        """The parts of a sum, each filled in the rows in which it is the only one missing."""
        of = [part for part in self.declared.of if part in known]
        values = {part: floats(known[part]) for part in of}
        one = np.sum([np.isnan(v) for v in values.values()], axis=0) == 1
        if len(of) < len(self.declared.of) or not one.any():
            return {}
        left = np.where(one, floats(total) - np.nansum(list(values.values()), axis=0), np.nan)
        places = decimals_in(self.domain) if self.domain.integral else None
        out = {}
        for part in of:
            own = plain_values(known[part])
            domain = NumberDomain(part, own.type, places if pa.types.is_floating(own.type) else None)
            out[part] = pc.coalesce(own, fitting_column(left, domain))
        return out

    def settle(self, columns: Columns, cells: Columns, *, free: bool) -> dict[str, pa.Array]:
        """See `FittedConstraint`: what was rounded gets the digits drawn; `give` found all other parts."""
        name, of = self.declared.column, self.declared.of[0]
        if self.declared.function != "round" or name not in cells or not free or self.inverse is None:
            return {}
        drawn = floats(columns[of])
        digits = drawn - np.round(drawn, self.declared.decimals)
        moves = present_in(cells[name])
        if of in cells:
            moves &= ~present_in(cells[of])
        moved = fitting_column(floats(cells[name]) + digits, self.inverse)
        return {of: pc.if_else(pa.array(moves), moved, columns[of])}

    def broken(self, columns: Columns) -> np.ndarray:
        """See `FittedConstraint`."""
        return self.declared.broken(columns, self.domain)

    def _turned_round(self, values: pa.Array) -> pa.Array:
        if self.inverse is None:
            return values
        y = floats(values)
        if self.declared.function == "linear":
            return fitting_column((y - self.declared.offset) / self.declared.factor, self.inverse)
        with np.errstate(over="ignore"):
            x = np.exp(y) if self.declared.function == "log" else np.expm1(y)
        return fitting_column(np.where(np.isinf(x), np.nan, x), self.inverse)

    def condition(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """See `FittedConstraint`."""
        return self._passed_on(given, "conditioned on")

    def balance(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """See `FittedConstraint`."""
        return self._passed_on(wanted, "balanced")

    def _passed_on(self, entries: Mapping[str, Any], what: str) -> dict[str, Any]:
        name, of = self.declared.column, self.declared.of
        if name not in entries:
            return dict(entries)
        if self.declared.function != "copy" or of[0] in entries:
            raise ConditionError(
                f"column {name!r} is derived and can't be {what}: use {', '.join(of)}, that it is made of"
            )
        return {of[0] if key == name else key: value for key, value in entries.items()}

    def to_dict(self) -> dict[str, Any]:
        """See `FittedConstraint`."""
        inverse = None if self.inverse is None else self.inverse.to_dict()
        return {"domain": self.domain.to_dict(), "inverse": inverse}


def decimals_in(domain: NumberDomain) -> int:
    """Decimals of the integers in which an integral domain counts."""
    if pa.types.is_decimal(domain.type):
        return int(domain.type.scale)
    return domain.decimals or 0


def as_column(values: np.ndarray, domain: NumberDomain) -> pa.Array:
    """Floats (rows,), NaN for missing, in the column's own type and decimals."""
    missing = np.isnan(values)
    if not domain.integral:
        return domain.to_array(values, missing)
    numbers = np.rint(np.where(missing, 0.0, values) * 10.0 ** decimals_in(domain))
    if np.abs(numbers).max(initial=0.0) >= 2.0**63:
        raise pa.ArrowInvalid("more than 63 bits")
    return domain.to_array(numbers.astype(np.int64), missing)


def fitting_column(values: np.ndarray, domain: NumberDomain) -> pa.Array:
    """As `as_column`, but all missing where the column's type can't hold one of the values."""
    try:
        return as_column(values, domain)
    except pa.ArrowInvalid:
        return pa.nulls(len(values), domain.type)
