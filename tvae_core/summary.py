"""One streaming pass over a table: what each column covers, without keeping its rows."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tvae_core.arrow_types import is_number, is_temporal, value_type
from tvae_core.sources import TableSource

# A column with more distinct values than this gets no list of categories in a proposed schema.
MOST_CATEGORIES_LISTED = 1_000
# Beyond this many values distinctness is only checked within a batch: memory must not grow with the table.
MOST_VALUES_FOLLOWED = 2_000_000


@dataclass
class ColumnSummary:
    """What was seen of one column: rows, nulls, range, and whether every present value differs from the others."""

    name: str
    type: pa.DataType
    rows: int = 0
    nulls: int = 0
    minimum: Any = None
    maximum: Any = None
    all_distinct: bool = True
    categories: list[Any] | None = field(default_factory=list)
    _seen: set[Any] = field(default_factory=set, repr=False)

    def update(self, array: pa.Array, *, with_categories: bool) -> None:
        """Take one more batch of the column into account."""
        if pa.types.is_dictionary(array.type):
            array = array.cast(value_type(array.type))
        self.rows += len(array)
        self.nulls += array.null_count
        if is_number(array.type) or is_temporal(array.type):
            self._widen(array)
        if self.all_distinct and not pa.types.is_floating(array.type):
            self._follow(array.drop_null())
        if with_categories and self.categories is not None:
            known = set(self.categories) | set(pc.unique(array.drop_null()).to_pylist())
            self.categories = sorted(known) if len(known) <= MOST_CATEGORIES_LISTED else None

    def _widen(self, array: pa.Array) -> None:
        if pa.types.is_duration(array.type):  # Arrow has no min_max for durations
            array = array.cast(pa.int64())
        span = pc.min_max(array).as_py()
        low, high = span["min"], span["max"]
        if low is not None and not (isinstance(low, float) and math.isnan(low)):
            self.minimum = low if self.minimum is None else min(self.minimum, low)
            self.maximum = high if self.maximum is None else max(self.maximum, high)

    def _follow(self, present: pa.Array) -> None:
        unique = pc.unique(present)
        before = len(self._seen)
        self.all_distinct = len(unique) == len(present)
        if self.all_distinct and before < MOST_VALUES_FOLLOWED:
            self._seen.update(unique.to_pylist())
            self.all_distinct = len(self._seen) == before + len(present)
        if not self.all_distinct:
            self._seen.clear()


def summarise(source: TableSource, *, categories: bool = False) -> list[ColumnSummary]:
    """Summarise every column of a table in one pass over its batches."""
    columns = [ColumnSummary(f.name, f.type) for f in source.schema]
    for batch in source.batches():
        _update(columns, batch, categories)
    return columns


def _update(columns: Iterable[ColumnSummary], batch: pa.RecordBatch, categories: bool) -> None:
    for summary, array in zip(columns, batch.columns, strict=True):
        listed = categories and not is_number(array.type) and not is_temporal(array.type)
        summary.update(array, with_categories=listed)
