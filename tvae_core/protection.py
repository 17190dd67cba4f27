"""What fewer than k people hold is never learned: rare categories, extreme values, rare repeated values.

A holder is an entity where the schema names the entity's column, a row otherwise. One pass over the table counts the
holders of every category and finds the k-th smallest and largest value of every numeric column; the codecs are fitted
to what is left. What the schema declares (`categories`, `minimum`, `maximum`) is public and may be kept.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tvae_core.arrow_types import is_temporal, is_text
from tvae_core.codecs.categorical import plain_values
from tvae_core.codecs.domain import NumberDomain
from tvae_core.codecs.guard import Guard, Outermost
from tvae_core.errors import DataError, SchemaError
from tvae_core.holders import Extremes, LevelCounts
from tvae_core.schema import ColumnKind, ColumnSchema, TableSchema, allowed_kinds
from tvae_core.sources import TableSource, select_columns

logger = logging.getLogger(__name__)

# Text with more distinct values than this share of its rows is free text; fewer rows than this say little.
FREE_TEXT_SHARE, FEWEST_ROWS_FOR_TEXT = 0.5, 20
Ends = tuple[bool, bool]  # of the lower and the upper end of a column
NUMERIC = (ColumnKind.CONTINUOUS, ColumnKind.DATETIME)
LEVELLED = (ColumnKind.CATEGORICAL, ColumnKind.BOOLEAN)


@dataclass(frozen=True)
class Suppressed:
    """What was withheld of one column: numbers, never values.

    levels: categories pooled, and rows: the rows that held them. below, above: holders whose value was clipped at the
    k-th smallest or largest. dropped: whether nothing could be kept, so that the column is generated as missing or,
    being text, made anew like an identifier.
    """

    levels: int = 0
    rows: int = 0
    below: int = 0
    above: int = 0
    dropped: bool = False

    def __bool__(self) -> bool:
        return any(asdict(self).values())


class Protection:
    """Which levels and which range of each column may be learned.

    k: fewest holders; 0 and 1 protect nothing. `holders` (rows,) numbers the entity behind each row, None: each row
    stands for itself. closed: by column, which ends of its numbers have no tail; None: no column has tails.
    """

    def __init__(
        self, k: int, holders: np.ndarray | None = None, closed: Mapping[str, Ends] | None = None
    ) -> None:
        self.k = k
        self.holders = holders
        self.closed = closed
        self.suppressed: dict[str, Suppressed] = {}
        self._levels: dict[str, pa.Array] = {}
        self._guards: dict[str, Guard] = {}

    @classmethod
    def learn(
        cls,
        source: TableSource,
        schema: TableSchema,
        k: int,
        holders: np.ndarray | None,
        closed: Mapping[str, Ends] | None = None,
    ) -> "Protection":
        """Count the holders of every level and value end in one pass.

        `source` and `schema` are what the codecs will see. Raises DataError for a table of fewer than 2 k holders,
        SchemaError for a column of free text.
        """
        self = cls(k if k > 1 else 0, holders, closed)
        if not self.k:
            return self
        levelled, numeric = self._count(source, schema)
        people = source.num_rows if holders is None else len(np.unique(holders))
        if people < 2 * k:
            unit = "rows" if holders is None else "entities"
            raise DataError(
                f"the table has {people} {unit}: expected at least {2 * k}, for what fewer than protect_k = {k} of "
                "them hold is never learned; give more, or lower protect_k (0 switches the protection off)"
            )
        for column in schema.columns:
            if column.name in levelled:
                self._keep_levels(column, levelled[column.name])
            elif column.name in numeric:
                self._keep_range(column, numeric[column.name], source)
        for name, what in self.suppressed.items():
            if what.dropped:
                logger.warning(
                    "column %r: nothing is held by enough people to be learned; it is made anew or empty",
                    name,
                )
        return self

    def _count(
        self, source: TableSource, schema: TableSchema
    ) -> tuple[dict[str, LevelCounts], dict[str, Extremes]]:
        levelled = {c.name: LevelCounts() for c in schema.columns if c.kind in LEVELLED}
        numeric = {c.name: Extremes(self.k) for c in schema.columns if c.kind in NUMERIC}
        domains = {c.name: NumberDomain(c.name, c.arrow_type) for c in schema.columns}
        start = 0
        for batch in source.batches():
            holders = None if self.holders is None else self.holders[start : start + len(batch)]
            start += len(batch)
            for name, counts in levelled.items():
                counts.update(plain_values(batch.column(name)), holders)
            for name, ends in numeric.items():
                values, missing = domains[name].to_numbers(batch.column(name))
                ends.update(values, None if holders is None else holders[~missing])
        return levelled, numeric

    def _keep_levels(self, column: ColumnSchema, counts: LevelCounts) -> None:
        levels, holders, rows = counts.result()
        if levels is None or column.kind is ColumnKind.BOOLEAN:  # true and false are no secret
            return
        present = int(rows.sum())
        if column.categories is not None:
            kept = pc.is_in(levels, pa.array(column.categories).cast(levels.type)).to_numpy(
                zero_copy_only=False
            )
        else:
            kept = holders >= self.k
            free = len(levels) > FREE_TEXT_SHARE * present and present >= FEWEST_ROWS_FOR_TEXT
            if free and is_text(levels.type):
                raise SchemaError(
                    f"column {column.name!r} looks like free text: {len(levels):,} different values in {present:,} "
                    "rows; declare it an identifier (then it is made anew), list its public `categories`, group its "
                    "values, or take the column out of the table"
                )
        if not kept.all():
            self._levels[column.name] = levels.filter(pa.array(kept))
            self._note(column, Suppressed(int((~kept).sum()), int(rows[~kept].sum()), dropped=not kept.any()))

    def _keep_range(self, column: ColumnSchema, ends: Extremes, source: TableSource) -> None:
        if ends.enough is None:
            return
        if not ends.enough:
            self._levels[column.name] = pa.nulls(0, column.arrow_type)
            self._note(column, Suppressed(dropped=True))
            return
        domain = NumberDomain(column.name, column.arrow_type)
        declared = [
            None if end is None else domain.end_of_range(end, lower=lower)
            for end, lower in ((column.minimum, True), (column.maximum, False))
        ]
        public = tuple(d is not None and d == seen for d, seen in zip(declared, ends.seen, strict=True))
        outermost = [
            None if known or closed else Outermost(values, limit)
            for known, closed, values, limit in zip(
                public, self._closed_ends(column), ends.outermost, declared, strict=True
            )
        ]
        low, high = (
            seen if known else kept for known, seen, kept in zip(public, ends.seen, ends.kept, strict=True)
        )
        verify = self.holders is not None or source.num_rows > ROWS_COUNTED_AT_ONCE
        counted = self._counter(source, column.name) if verify else None
        self._guards[column.name] = Guard(
            self.k, low, high, public[0], public[1], counted, (outermost[0], outermost[1])
        )
        below, above = (0 if known else count for known, count in zip(public, ends.outside, strict=True))
        self._note(column, Suppressed(below=below, above=above))

    def _closed_ends(self, column: ColumnSchema) -> Ends:
        """Which ends of a column have no tail: dates have none, for many end when the table was made."""
        if self.closed is None or is_temporal(column.arrow_type):
            return True, True
        return self.closed.get(column.name, (False, False))

    def _note(self, column: ColumnSchema, what: Suppressed) -> None:
        if what.dropped and not column.nullable and not is_text(column.arrow_type):
            raise DataError(
                f"column {column.name!r} holds nothing that {self.k} people share, and must not be empty: declare it "
                "an identifier, list its public `categories`, group its values, or lower protect_k"
            )
        if what:
            self.suppressed[column.name] = what

    def _counter(self, source: TableSource, name: str) -> Callable[[NumberDomain, np.ndarray], np.ndarray]:
        """How many holders each of some values has over the whole table; a pass over the column."""

        def count(domain: NumberDomain, values: np.ndarray) -> np.ndarray:
            counts, start = LevelCounts(), 0
            for batch in select_columns(source, [name]).batches():
                numbers, missing = domain.to_numbers(batch.column(0))
                among = np.isin(numbers, values)
                holders = None
                if self.holders is not None:
                    holders = self.holders[start : start + len(batch)][~missing][among]
                counts.update(pa.array(numbers[among]), holders)
                start += len(batch)
            levels, held, _ = counts.result()
            found = dict(zip([] if levels is None else levels.to_pylist(), held.tolist(), strict=True))
            return np.array([found.get(v, 0) for v in values.tolist()], np.int64)

        return count

    def levels_of(self, name: str) -> pa.Array | None:
        """The only levels of a column that may be learned, none where it is dropped; None: all of them."""
        return self._levels.get(name)

    def guard_of(self, name: str) -> Guard | None:
        """What may be learned of a numeric column; None: everything."""
        return self._guards.get(name)

    def to_dict(self) -> dict[str, Any]:
        """What was suppressed, by column, as plain JSON values."""
        return {name: asdict(what) for name, what in self.suppressed.items()}


# Up to this many rows the codecs see all of them and count repeated values themselves.
ROWS_COUNTED_AT_ONCE = 1_000_000


def regenerate_entity(schema: TableSchema, entity: str | None) -> TableSchema:
    """The schema with the column that names the entities as an identifier, made anew, where its type allows that."""
    kind = ColumnKind.IDENTIFIER
    columns = [
        replace(c, kind=kind, categories=None)
        if c.name == entity and kind in allowed_kinds(c.arrow_type)
        else c
        for c in schema.columns
    ]
    return replace(schema, columns=tuple(columns))
