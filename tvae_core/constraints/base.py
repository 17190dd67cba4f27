"""What every kind of constraint offers, and what they share in reading numbers.

A constraint is declared in the schema (`Constraint`), and fitted to the training table (`FittedConstraint`): that
checks every row and learns what is needed to take its determined columns away before training (`reduce`) and to put
them back after sampling (`restore`).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tvae_core.codecs.categorical import plain_values
from tvae_core.codecs.domain import NumberDomain
from tvae_core.errors import DataError, SchemaError
from tvae_core.sources import TableSource, select_columns

if TYPE_CHECKING:
    from tvae_core.schema import ColumnSchema

# A batch, or a part of one, by column name.
Columns = Mapping[str, pa.Array]
# What a column becomes: another array, or None where it is taken away.
Changes = dict[str, pa.Array | None]


class Constraint(Protocol):
    """A rule that every row obeys, as it stands in the schema: a frozen dataclass."""

    kind: ClassVar[str]

    @property
    def label(self) -> str:
        """The constraint in one phrase, for messages and counts."""
        ...

    @property
    def reads(self) -> tuple[str, ...]:
        """The columns that the constraint needs as they are."""
        ...

    @property
    def writes(self) -> tuple[str, ...]:
        """The columns that the constraint puts into every sampled row."""
        ...

    def check(self, columns: "Mapping[str, ColumnSchema]") -> None:
        """Raise SchemaError when the columns' kinds or types don't allow the constraint."""
        ...

    def broken_rows(self, source: TableSource) -> Iterator[np.ndarray]:
        """Which rows of the table break the constraint, batch by batch (rows,) bool; nothing where none can."""
        ...

    def fit(self, source: TableSource) -> "FittedConstraint":
        """Learn what restoring needs. Raises DataError with the number of rows that break the constraint."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """The constraint as plain values, without `kind`."""
        ...

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Constraint":
        """Read what `to_dict` wrote. Raises SchemaError."""
        ...

    def restored(self, state: Mapping[str, Any]) -> "FittedConstraint":
        """The fitted constraint from what its `to_dict` wrote."""
        ...


class FittedConstraint(Protocol):
    """A constraint with what it learned from the training table."""

    @property
    def declared(self) -> Constraint:
        """The constraint as the schema has it."""
        ...

    def protected(self, source: TableSource, k: int, holders: np.ndarray | None) -> "FittedConstraint":
        """The same without values of the table that fewer than k holders share; holders (rows,), None: the rows."""
        ...

    def reduced(self, columns: "Mapping[str, ColumnSchema]") -> "dict[str, ColumnSchema | None]":
        """What the written columns become for the model; None where they are not modelled."""
        ...

    def reduce(self, columns: Columns) -> Changes:
        """The written columns as the model sees them, from a batch of the real table."""
        ...

    def restore(self, columns: Columns) -> tuple[dict[str, pa.Array], int]:
        """The written columns of a sampled batch, and in how many rows a value had to be repaired."""
        ...

    def give(self, cells: Columns, *, lenient: bool) -> Changes:
        """Given cells of written columns in the model's terms.

        Cells that can't be translated raise ConditionError; `lenient` leaves them out.
        """
        ...

    def settle(self, columns: Columns, cells: Columns, *, free: bool) -> dict[str, pa.Array]:
        """Drawn values of read columns moved to where given cells of written ones leave room, before `restore`.

        free: whether no other constraint wrote what is read; what one wrote is moved only where it breaks the rule.
        """
        ...

    def broken(self, columns: Columns) -> np.ndarray:
        """Which rows (rows,) of a restored batch break the constraint; given cells can be the reason."""
        ...

    def condition(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Conditions with those on written columns in the model's terms. Raises ConditionError."""
        ...

    def balance(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Shares to balance with those of written columns in the model's terms. Raises ConditionError."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """What was learned, as plain JSON values."""
        ...


class Untouched:
    """A fitted constraint that takes nothing away and puts nothing back."""

    def protected(self, source: TableSource, k: int, holders: np.ndarray | None) -> Self:
        """See `FittedConstraint`: no value of the table is kept."""
        return self

    def reduced(self, columns: "Mapping[str, ColumnSchema]") -> "dict[str, ColumnSchema | None]":
        """See `FittedConstraint`."""
        return {}

    def reduce(self, columns: Columns) -> Changes:
        """See `FittedConstraint`."""
        return {}

    def restore(self, columns: Columns) -> tuple[dict[str, pa.Array], int]:
        """See `FittedConstraint`."""
        return {}, 0

    def give(self, cells: Columns, *, lenient: bool) -> Changes:
        """See `FittedConstraint`."""
        return {}

    def settle(self, columns: Columns, cells: Columns, *, free: bool) -> dict[str, pa.Array]:
        """See `FittedConstraint`."""
        return {}

    def broken(self, columns: Columns) -> np.ndarray:
        """See `FittedConstraint`: whether other rows are the same is not looked at."""
        return np.zeros(len(next(iter(columns.values()))), bool)

    def condition(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """See `FittedConstraint`."""
        return dict(given)

    def balance(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """See `FittedConstraint`."""
        return dict(wanted)

    def to_dict(self) -> dict[str, Any]:
        """See `FittedConstraint`."""
        return {}


def batches_of(source: TableSource, names: Sequence[str]) -> Iterator[Columns]:
    """The batches of some columns, by name."""
    for batch in select_columns(source, names).batches():
        yield dict(zip(batch.schema.names, batch.columns, strict=True))


def floats(array: pa.Array) -> np.ndarray:
    """A column of numbers as float64 (rows,), NaN where missing."""
    plain = plain_values(array)
    values: np.ndarray = pc.cast(plain, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return values


def present_in(array: pa.Array) -> np.ndarray:
    """Where a column has a value (rows,) bool."""
    values: np.ndarray = plain_values(array).is_valid().to_numpy(zero_copy_only=False)
    return values


def without(array: pa.Array, rows: np.ndarray) -> pa.Array:
    """A column with nothing in some rows (rows,) bool."""
    return array.take(pa.array(np.arange(len(array)), mask=rows))


def domain_of(source: TableSource, name: str, arrow: pa.DataType | None = None) -> NumberDomain:
    """A column's domain over the whole table, read as the type `arrow` where given; one pass."""
    own = arrow or source.schema.field(name).type
    if not pa.types.is_floating(own):
        return NumberDomain(name, own)
    most = 0
    for columns in batches_of(source, [name]):
        array = plain_values(columns[name]).cast(own)
        decimals = NumberDomain.of(name, array).decimals
        if decimals is None and len(array) > array.null_count:
            return NumberDomain(name, own)
        most = max(most, decimals or 0)
    return NumberDomain(name, own, most)


def refuse_broken(constraint: Constraint, source: TableSource) -> None:
    """Raise DataError when rows of the table break a constraint."""
    masks = [np.zeros(0, bool), *constraint.broken_rows(source)]
    broken = np.flatnonzero(np.concatenate(masks))
    if len(broken):
        raise DataError(
            f"constraint {constraint.label} is broken by {len(broken):,} of {source.num_rows:,} rows, the first of "
            f"them {', '.join(map(str, broken[:5]))} (counted from 0): correct or remove them, or take the constraint "
            "out of the schema"
        )


def check_keys(plain: Mapping[str, Any], needed: Sequence[str], optional: Sequence[str] = ()) -> None:
    """Raise SchemaError unless a constraint's entry has the needed keys and no others than the optional ones."""
    missing = [key for key in needed if key not in plain]
    unknown = sorted(set(map(str, plain)) - {*needed, *optional})
    if missing:
        raise SchemaError(f"needs {', '.join(needed)}, but lacks {', '.join(missing)}")
    if unknown:
        expected = ", ".join([*needed, *optional])
        raise SchemaError(f"has unknown keys {', '.join(unknown)}: expected only {expected}")


def check_name(value: Any, key: str) -> str:
    """A column's name. Raises SchemaError naming the key."""
    if not isinstance(value, str):
        raise SchemaError(f"{key} must be a column's name")
    return value


def check_flag(value: Any, key: str) -> bool:
    """True or false. Raises SchemaError naming the key."""
    if not isinstance(value, bool):
        raise SchemaError(f"{key} must be true or false")
    return value


def check_names(value: Any, key: str) -> tuple[str, ...]:
    """Names of columns, one or a list. Raises SchemaError naming the key."""
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise SchemaError(f"{key} must be a column's name or a list of them")
    if len(set(names)) < len(names):
        raise SchemaError(f"{key} names a column twice")
    return tuple(names)
