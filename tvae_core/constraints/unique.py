"""Columns whose combination never repeats. By a counted redraw: a row that repeats an earlier one is drawn again.

The keys of all rows handed out so far are remembered, eight bytes of content each. Row i so depends on the rows before
it, which a sample of the same generator and seed draws the same way: prefixes of a sample stay what they are.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from tvae_core.codecs.categorical import plain_values
from tvae_core.constraints.base import (
    Columns,
    Untouched,
    batches_of,
    check_keys,
    check_names,
    present_in,
    refuse_broken,
)
from tvae_core.errors import ConditionError, SchemaError
from tvae_core.sources import TableSource

if TYPE_CHECKING:
    from tvae_core.schema import ColumnSchema

# A row is drawn anew at most this often before its constraint counts as impossible.
MOST_ROUNDS = 100
_COMBINE = np.uint64(0x100000001B3)
# Rows first, first + 1, ... (their number is the second argument) drawn once more, differently in every round.
Redraw = Callable[[int, int, int], pa.Table]


@dataclass(frozen=True)
class Unique:
    """No two rows have the same values in all of `columns`; a row that misses one of them obeys, as in SQL."""

    kind: ClassVar[str] = "unique"

    columns: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.columns:
            raise SchemaError("columns must name at least one column")

    @property
    def label(self) -> str:
        """See `Constraint`."""
        return f"unique {', '.join(map(repr, self.columns))}"

    @property
    def reads(self) -> tuple[str, ...]:
        """See `Constraint`."""
        return self.columns

    @property
    def writes(self) -> tuple[str, ...]:
        """See `Constraint`: nothing."""
        return ()

    def check(self, columns: "Mapping[str, ColumnSchema]") -> None:
        """See `Constraint`."""
        keys = [name for name in self.columns if columns[name].kind == "identifier"]
        if keys:
            raise SchemaError(f"{', '.join(keys)}: an identifier is unique by itself; name modelled columns")

    def broken_rows(self, source: TableSource) -> Iterator[np.ndarray]:
        """See `Constraint`: every row but the first of its kind."""
        seen = Seen([self])
        for columns in batches_of(source, self.columns):
            read = seen.read(columns)
            yield np.array([bool(seen.broken(read, row)) for row in range(len(read[0][0]))], bool)

    def fit(self, source: TableSource) -> "FittedUnique":
        """See `Constraint`."""
        refuse_broken(self, source)
        return FittedUnique(self)

    def to_dict(self) -> dict[str, Any]:
        """See `Constraint`."""
        return {"columns": list(self.columns)}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Unique":
        """See `Constraint`."""
        check_keys(plain, ("columns",))
        return cls(check_names(plain["columns"], "columns"))

    def restored(self, state: Mapping[str, Any]) -> "FittedUnique":
        """See `Constraint`."""
        return FittedUnique(self)


@dataclass(frozen=True)
class FittedUnique(Untouched):
    """Checked against every training row; kept by `keep_unique`."""

    declared: Unique


class Seen:
    """The keys of all rows so far."""

    def __init__(self, constraints: Sequence[Unique]) -> None:
        self._constraints = constraints
        self._keys: list[set[int]] = [set() for _ in constraints]

    def read(self, columns: Columns) -> list[tuple[list[int], list[bool]]]:
        """For each constraint the rows' keys, and which rows have one."""
        found = (keys_of(columns, constraint.columns) for constraint in self._constraints)
        return [(keys.tolist(), present.tolist()) for keys, present in found]

    def broken(self, read: list[tuple[list[int], list[bool]]], row: int) -> list[str]:
        """The constraints that a row breaks; a row that breaks none is remembered."""
        zipped = list(zip(self._constraints, read, self._keys, strict=True))
        out = [c.label for c, (keys, present), before in zipped if present[row] and keys[row] in before]
        if not out:
            for _, (keys, present), before in zipped:
                if present[row]:
                    before.add(keys[row])
        return out


def keys_of(columns: Columns, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """A hash (rows,) uint64 of each row's values in some columns, and whether none of them is missing (rows,)."""
    rows = len(columns[names[0]])
    keys, present = np.zeros(rows, np.uint64), np.ones(rows, bool)
    for name in names:
        plain = plain_values(columns[name])
        present &= present_in(plain)
        if pa.types.is_duration(plain.type):  # Arrow spells all others
            plain = plain.cast(pa.int64())
        text = pc.fill_null(plain.cast(pa.string()), "")
        values = pd.util.hash_array(text.to_numpy(zero_copy_only=False), categorize=True)
        keys = keys * _COMBINE + values
    return keys, present


def keep_unique(
    batches: Iterator[pa.RecordBatch], constraints: Sequence[Unique], redraw: Redraw, counts: Counter[str]
) -> Iterator[pa.RecordBatch]:
    """Sampled batches in which rows that repeat an earlier one are drawn again; how many is added to `counts`.

    Raises ConditionError when rows still repeat after `MOST_ROUNDS` draws.
    """
    seen, first = Seen(constraints), 0
    for batch in batches:
        draws = [pa.Table.from_batches([batch])]
        read = [seen.read(_columns(draws[0]))]
        places = np.arange(len(batch))
        # One row after the other: a row must not depend on those that follow it.
        for row in range(len(batch)):
            broken = seen.broken(read[0], row)
            counts.update(broken)
            round_ = 0
            while broken:
                round_ += 1
                if round_ > MOST_ROUNDS:
                    raise ConditionError(
                        f"constraint {'; '.join(broken)}: row {first + row} still repeats an earlier one after "
                        f"{MOST_ROUNDS} draws, for these columns hardly take more values: ask for fewer rows, loosen "
                        "what is given, or drop the constraint"
                    )
                if round_ == len(draws):
                    draws.append(redraw(first, len(batch), round_))
                    read.append(seen.read(_columns(draws[round_])))
                broken = seen.broken(read[round_], row)
            places[row] += round_ * len(batch)
        yield batch if len(draws) == 1 else _one_batch(pa.concat_tables(draws), places)
        first += len(batch)


def _columns(table: pa.Table) -> dict[str, pa.Array]:
    return {name: table[name].combine_chunks() for name in table.column_names}


def _one_batch(pool: pa.Table, places: np.ndarray) -> pa.RecordBatch:
    arrays = [column.combine_chunks().take(pa.array(places)) for column in pool.columns]
    return pa.RecordBatch.from_arrays(arrays, schema=pool.schema)
