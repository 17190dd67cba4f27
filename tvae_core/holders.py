"""Counting holders batch by batch: of every level, and of a column's smallest and largest values."""

from typing import Any

import numpy as np
import pyarrow as pa


class LevelCounts:
    """How many holders, and how many rows, each level of a column has."""

    def __init__(self) -> None:
        self._merged: pa.Table | None = None
        self._waiting: list[pa.Table] = []

    def update(self, values: pa.Array, holders: np.ndarray | None) -> None:
        """Count a batch's values (rows,), missing ones left out. holders (rows,) are numbers; None: the rows."""
        if pa.types.is_null(values.type):
            return
        present = values.is_valid()
        columns = {"level": values.filter(present)}
        if holders is not None:
            columns["holder"] = pa.array(holders).filter(present)
        part = pa.table(columns)
        self._waiting.append(_grouped(part.append_column("rows", pa.repeat(1, len(part)).cast(pa.int64()))))
        merged = 0 if self._merged is None else len(self._merged)
        # Merging when as much waits as is merged keeps the whole linear.
        if sum(map(len, self._waiting)) > merged:
            self._merge()

    def _merge(self) -> None:
        parts = self._waiting if self._merged is None else [self._merged, *self._waiting]
        if parts:
            self._merged = _grouped(pa.concat_tables(parts))
        self._waiting = []

    def result(self) -> tuple[pa.Array | None, np.ndarray, np.ndarray]:
        """The levels, the holders and the rows of each; None and nothing where there was no value."""
        self._merge()
        if self._merged is None or not len(self._merged):
            return None, np.zeros(0, np.int64), np.zeros(0, np.int64)
        by_level = self._merged.group_by("level").aggregate([("rows", "sum"), ("rows", "count")])
        rows = by_level["rows_sum"].to_numpy()
        holders = by_level["rows_count"].to_numpy() if "holder" in self._merged.column_names else rows
        return by_level["level"].combine_chunks(), holders, rows


def _grouped(table: pa.Table) -> pa.Table:
    keys = [name for name in table.column_names if name != "rows"]
    return table.group_by(keys).aggregate([("rows", "sum")]).rename_columns([*keys, "rows"])


# Of so many holders the outermost values are kept, or of 2 k where that is more.
KEPT = 1_000


class Extremes:
    """The k-th smallest and the k-th largest value of a column, each holder counted once, by its own extreme."""

    def __init__(self, k: int) -> None:
        self.k = k
        self._lows: _Smallest = _Smallest(max(2 * k, KEPT))
        self._highs: _Smallest = _Smallest(max(2 * k, KEPT), sign=-1)

    def update(self, values: np.ndarray, holders: np.ndarray | None) -> None:
        """Take a batch's present values (n,) and their holders (n,) into account."""
        self._lows.update(values, holders)
        self._highs.update(values, holders)

    @property
    def enough(self) -> bool | None:
        """Whether 2 k holders or more have a value; None where nobody has."""
        held = len(self._lows.values)
        return None if not held else held >= 2 * self.k

    @property
    def seen(self) -> tuple[Any, Any]:
        """The smallest and the largest value."""
        return self._lows.values[0], self._highs.values[0]

    @property
    def kept(self) -> tuple[Any, Any]:
        """The k-th smallest and the k-th largest value."""
        return self._lows.values[self.k - 1], self._highs.values[self.k - 1]

    @property
    def outermost(self) -> tuple[np.ndarray, np.ndarray]:
        """Of many holders the smallest and the largest values, from the outermost on."""
        return self._lows.values, self._highs.values

    @property
    def outside(self) -> tuple[int, int]:
        """How many holders have a value below the k-th smallest, and above the k-th largest."""
        low, high = self.kept
        return int((self._lows.values < low).sum()), int((self._highs.values > high).sum())


class _Smallest:
    """The `count` smallest values (the largest, with sign -1), one a holder, from the most extreme on."""

    def __init__(self, count: int, *, sign: int = 1) -> None:
        self.count, self.sign = count, sign
        self.values: np.ndarray = np.zeros(0)
        self._holders: np.ndarray | None = None

    def update(self, values: np.ndarray, holders: np.ndarray | None) -> None:
        if len(self.values) == self.count:
            bound = self.values[-1]
            near = values < bound if self.sign > 0 else values > bound
            values, holders = values[near], None if holders is None else holders[near]
        if not len(values):
            return
        if len(self.values):
            values = np.concatenate([self.values, values])
            if holders is not None and self._holders is not None:
                holders = np.concatenate([self._holders, holders])
        order = np.argsort(values, kind="stable")[:: self.sign]
        if holders is not None:
            first = np.sort(np.unique(holders[order], return_index=True)[1])
            order = order[first]
        order = order[: self.count]
        self.values, self._holders = values[order], None if holders is None else holders[order]
