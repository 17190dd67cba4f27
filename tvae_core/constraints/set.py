"""All constraints of a table together: what the model sees of the table, and the table back from what it drew."""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from tvae_core.arrow_types import parse_type
from tvae_core.codecs.categorical import plain_values
from tvae_core.constraints import constraint_to_dict, constraints_from_list, in_restoring_order
from tvae_core.constraints.base import Columns, FittedConstraint, present_in, without
from tvae_core.constraints.bounds import Range
from tvae_core.constraints.unique import Unique
from tvae_core.given import with_known
from tvae_core.schema import TableSchema
from tvae_core.sources import TableSource
from tvae_core.table import check_columns

logger = logging.getLogger(__name__)


class ConstraintSet:
    """The fitted constraints in the order in which they are restored, and the columns of the whole table.

    Without constraints it changes nothing but the schema's metadata.
    """

    def __init__(self, schema: pa.Schema, fitted: Sequence[FittedConstraint] = ()) -> None:
        self.schema = schema
        self.fitted = tuple(fitted)

    @classmethod
    def fit(cls, source: TableSource, schema: TableSchema) -> "ConstraintSet":
        """Check every row and learn what restoring needs; each constraint reads its own columns only.

        Raises SchemaError when the table's columns are not the schema's, DataError with the number of rows that break
        a constraint.
        """
        check_columns(source.schema, schema)
        fitted = [constraint.fit(source) for constraint in in_restoring_order(schema.constraints)]
        return cls(source.schema.with_metadata(getattr(source, "metadata", None)), fitted)

    def protected(self, source: TableSource, k: int, holders: np.ndarray | None) -> "ConstraintSet":
        """The same constraints without what fewer than k holders share: rare combinations and exact ends of ranges.

        holders (rows,): the number of the entity behind each row; None: each row stands for itself.
        """
        if k < 2:
            return self
        return ConstraintSet(self.schema, [fitted.protected(source, k, holders) for fitted in self.fitted])

    def reduced(self, schema: TableSchema) -> TableSchema:
        """The schema of what the model sees."""
        columns = {c.name: c for c in schema.columns}
        changes = {n: c for fitted in self.fitted for n, c in fitted.reduced(columns).items()}
        kept = [changes.get(name, column) for name, column in columns.items()]
        return replace(schema, columns=tuple(c for c in kept if c is not None), entity=None, constraints=())

    def reduce(self, source: TableSource, schema: TableSchema) -> TableSource:
        """The table as the model sees it, read batch by batch; `schema` is what `reduced` gave."""
        return _Reduced(source, self, schema) if self.fitted else source

    def reduce_batch(self, batch: pa.RecordBatch) -> dict[str, pa.Array]:
        """The columns that are left of a batch of the real table."""
        columns = dict(zip(batch.schema.names, batch.columns, strict=True))
        changes = {n: a for fitted in self.fitted for n, a in fitted.reduce(columns).items()}
        kept = {name: changes.get(name, array) for name, array in columns.items()}
        return {name: array for name, array in kept.items() if array is not None}

    def closed_ends(self) -> dict[str, tuple[bool, bool]]:
        """By column, which ends a constraint builds on: nothing may be drawn beyond those."""
        ends: dict[str, tuple[bool, bool]] = {}
        for fitted in self.fitted:
            declared = fitted.declared
            own = (True, True)
            if isinstance(declared, Range):
                own = declared.minimum is not None, declared.maximum is not None
            for name in {*declared.reads, *declared.writes}:
                before = ends.get(name, (False, False))
                ends[name] = before[0] or own[0], before[1] or own[1]
        return ends

    @property
    def unique(self) -> list[Unique]:
        """The constraints that `keep_unique` keeps."""
        return [fitted.declared for fitted in self.fitted if isinstance(fitted.declared, Unique)]

    def restore(
        self,
        batches: Iterator[pa.RecordBatch],
        counts: Counter[str],
        given: pa.Table | None = None,
        first: int = 0,
    ) -> Iterator[pa.RecordBatch]:
        """Sampled batches with every column of the table; repaired rows are added to `counts`.

        Cells that were `given` (the table that `give` translated) stand in the rows, whose numbers begin with `first`,
        exactly as they came; a drawn cell that breaks a constraint beside them is missing.
        """
        if not self.fitted:
            for batch in batches:
                yield batch.replace_schema_metadata(self.schema.metadata)
            return
        rows = 0
        written = {name for fitted in self.fitted for name in fitted.declared.writes}
        counts.update({fitted.declared.label: 0 for fitted in self.fitted})
        for batch in batches:
            part = (
                given.slice(first + rows, len(batch)).combine_chunks() if given is not None else pa.table({})
            )
            cells = {name: plain_values(part[name]) for name in part.column_names}
            columns = dict(zip(batch.schema.names, batch.columns, strict=True))
            columns.update(_known({n: a for n, a in columns.items() if n not in written}, cells))
            for fitted in self.fitted:
                free = not written.intersection(fitted.declared.reads)
                columns.update(fitted.settle(columns, cells, free=free))
                restored, repaired = fitted.restore(columns)
                columns.update(_known(restored, cells))
                counts[fitted.declared.label] += repaired
            if cells:
                self._take_away_broken(columns, cells)
            yield pa.RecordBatch.from_arrays([columns[n] for n in self.schema.names], schema=self.schema)
            rows += len(batch)

    def _take_away_broken(self, columns: dict[str, pa.Array], cells: Columns) -> None:
        """Make drawn cells missing where their row breaks a constraint; what is derived from them goes with them."""
        changed = True
        while changed:
            changed = False
            for fitted in self.fitted:
                wrong = fitted.broken(columns)
                for name in {*fitted.declared.reads, *fitted.declared.writes} if wrong.any() else ():
                    drawn = wrong & present_in(columns[name])
                    if name in cells:
                        drawn &= ~present_in(cells[name])
                    if drawn.any():
                        columns[name], changed = without(columns[name], drawn), True

    def give(self, table: pa.Table, model: pa.Schema, *, lenient: bool = False) -> pa.Table:
        """Cells that `known_cells` gave in the terms of the model's schema.

        What can't be translated raises ConditionError; `lenient` leaves it out.
        """
        if not self.fitted:
            return table
        cells = {name: table[name].combine_chunks() for name in table.column_names}
        for fitted in reversed(self.fitted):
            for name, array in fitted.give(cells, lenient=lenient).items():
                if array is None:
                    cells.pop(name, None)
                else:
                    cells[name] = array
        # A frame that is left without cells still says how many rows there are.
        return pa.table(cells or {model.names[0]: pa.nulls(table.num_rows, model.types[0])})

    def condition(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Conditions in the model's terms. Raises ConditionError for those that can't be translated."""
        for fitted in reversed(self.fitted):
            given = fitted.condition(given)
        return dict(given)

    def balance(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Shares to balance in the model's terms. Raises ConditionError for those that can't be translated."""
        for fitted in reversed(self.fitted):
            wanted = fitted.balance(wanted)
        return dict(wanted)

    def to_dict(self) -> dict[str, Any]:
        """What sampled tables tell pandas, and with constraints their declarations, what was learned, and the whole
        table's columns, as plain JSON values; empty without any.
        """
        plain: dict[str, Any] = {}
        if self.schema.metadata:
            plain["pandas"] = self.schema.metadata[b"pandas"].decode()
        if self.fitted:
            entries = [{**constraint_to_dict(f.declared), "fitted": f.to_dict()} for f in self.fitted]
            columns = [{"name": f.name, "type": str(f.type), "nullable": f.nullable} for f in self.schema]
            plain["constraints"] = {"columns": columns, "entries": entries}
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any], schema: pa.Schema) -> "ConstraintSet":
        """Rebuild what `to_dict` wrote; `schema` is the model's, the table's own where there are no constraints."""
        metadata = {b"pandas": plain["pandas"].encode()} if "pandas" in plain else None
        if "constraints" not in plain:
            return cls(schema.with_metadata(metadata))
        body = plain["constraints"]
        states = [entry["fitted"] for entry in body["entries"]]
        declared = constraints_from_list(
            [{k: v for k, v in e.items() if k != "fitted"} for e in body["entries"]]
        )
        fields = [pa.field(c["name"], parse_type(c["type"]), nullable=c["nullable"]) for c in body["columns"]]
        return cls(
            pa.schema(fields, metadata), [d.restored(s) for d, s in zip(declared, states, strict=True)]
        )


def _known(columns: Columns, cells: Columns) -> dict[str, pa.Array]:
    """Columns with their given cells."""
    return {name: with_known(a, cells[name]) if name in cells else a for name, a in columns.items()}


def logged(batches: Iterator[pa.RecordBatch], counts: Counter[str]) -> Iterator[pa.RecordBatch]:
    """The same batches; at their end, what `counts` then says of repaired rows is logged."""
    rows = 0
    for batch in batches:
        rows += len(batch)
        yield batch
    for label, repaired in counts.items():
        if repaired:
            logger.info("constraint %s: %d of %d sampled rows repaired", label, repaired, rows)


class _Reduced:
    """A table without what its constraints determine."""

    def __init__(self, source: TableSource, constraints: ConstraintSet, schema: TableSchema) -> None:
        self.num_rows: int = source.num_rows
        nullable = {field.name: field.nullable for field in source.schema}
        self.schema: pa.Schema = pa.schema(
            [pa.field(c.name, c.arrow_type, nullable=nullable[c.name]) for c in schema.columns]
        )
        self._source = source
        self._constraints = constraints

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Read the table from its first row."""
        for batch in self._source.batches():
            columns = self._constraints.reduce_batch(batch)
            yield pa.RecordBatch.from_arrays([columns[n] for n in self.schema.names], schema=self.schema)
