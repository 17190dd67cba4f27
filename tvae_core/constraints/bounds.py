"""A column inside fixed bounds. By construction: no codec draws beyond an end that a range sets."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tvae_core.arrow_types import is_number, is_temporal
from tvae_core.codecs.categorical import plain_values
from tvae_core.constraints.base import (
    Changes,
    Columns,
    Untouched,
    batches_of,
    check_flag,
    check_keys,
    check_name,
    refuse_broken,
    without,
)
from tvae_core.errors import ConditionError, SchemaError
from tvae_core.sources import TableSource

if TYPE_CHECKING:
    from tvae_core.schema import ColumnSchema

Bound = int | float | str | None


@dataclass(frozen=True)
class Range:
    """`minimum` <= column <= `maximum` (ISO text for dates); `strict` leaves the bounds themselves out.

    A positive column is {column: x, minimum: 0, strict: true}. A missing value obeys.
    """

    kind: ClassVar[str] = "range"

    column: str
    minimum: Bound = None
    maximum: Bound = None
    strict: bool = False

    def __post_init__(self) -> None:
        if self.minimum is None and self.maximum is None:
            raise SchemaError("a range needs a minimum, a maximum or both")

    @property
    def label(self) -> str:
        """See `Constraint`."""
        return f"range of {self.column!r}"

    @property
    def reads(self) -> tuple[str, ...]:
        """See `Constraint`."""
        return (self.column,)

    @property
    def writes(self) -> tuple[str, ...]:
        """See `Constraint`: nothing."""
        return ()

    def check(self, columns: "Mapping[str, ColumnSchema]") -> None:
        """See `Constraint`."""
        column = columns[self.column]
        if not is_number(column.arrow_type) and not is_temporal(column.arrow_type):
            raise SchemaError(f"column {self.column!r} holds {column.type}: expected numbers or dates")
        self._bound(self.minimum, column.arrow_type)
        self._bound(self.maximum, column.arrow_type)

    def _bound(self, value: Bound, arrow: pa.DataType) -> pa.Scalar | None:
        if value is None:
            return None
        try:
            return pa.scalar(value).cast(pa.float64() if pa.types.is_floating(arrow) else arrow)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            raise SchemaError(f"minimum and maximum must be values of type {arrow}") from None

    def broken_rows(self, source: TableSource) -> Iterator[np.ndarray]:
        """See `Constraint`."""
        for columns in batches_of(source, (self.column,)):
            yield self.outside(columns[self.column])

    def fit(self, source: TableSource) -> "FittedRange":
        """See `Constraint`."""
        refuse_broken(self, source)
        return FittedRange(self)

    def outside(self, array: pa.Array) -> np.ndarray:
        """Which values (rows,) lie outside the bounds."""
        values = plain_values(array)
        low, high = (self._bound(end, values.type) for end in (self.minimum, self.maximum))
        tests = []
        if low is not None:
            tests.append((pc.less_equal if self.strict else pc.less)(values, low))
        if high is not None:
            tests.append((pc.greater_equal if self.strict else pc.greater)(values, high))
        wrong = pc.fill_null(pc.or_(*tests) if len(tests) == 2 else tests[0], False)
        out: np.ndarray = wrong.to_numpy(zero_copy_only=False)
        return out

    def to_dict(self) -> dict[str, Any]:
        """See `Constraint`."""
        bounds = {key: getattr(self, key) for key in ("minimum", "maximum") if getattr(self, key) is not None}
        return {"column": self.column, **bounds, **({"strict": True} if self.strict else {})}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Range":
        """See `Constraint`."""
        check_keys(plain, ("column",), ("minimum", "maximum", "strict"))
        for key in ("minimum", "maximum"):
            value = plain.get(key)
            if isinstance(value, bool) or not isinstance(value, int | float | str | None):
                raise SchemaError(f"{key} must be a number, or ISO text for dates")
        strict = check_flag(plain.get("strict", False), "strict")
        return cls(check_name(plain["column"], "column"), plain.get("minimum"), plain.get("maximum"), strict)

    def restored(self, state: Mapping[str, Any]) -> "FittedRange":
        """See `Constraint`."""
        return FittedRange(self)


@dataclass(frozen=True)
class FittedRange(Untouched):
    """Checked against every training row; nothing to take away and nothing to put back."""

    declared: Range

    def give(self, cells: Columns, *, lenient: bool) -> Changes:
        """See `FittedConstraint`: given cells stay as they are, so they must obey."""
        column = self.declared.column
        if column not in cells:
            return {}
        outside = self.declared.outside(cells[column])
        if outside.any() and not lenient:
            raise ConditionError(
                f"{int(outside.sum())} given cells lie outside the constraint {self.declared.label}"
            )
        return {column: without(cells[column], outside)}

    def broken(self, columns: Columns) -> np.ndarray:
        """See `FittedConstraint`."""
        return self.declared.outside(columns[self.declared.column])
