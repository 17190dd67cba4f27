"""Noisy counts of what a column holds, and codecs fitted to them instead of to the values.

A row stands in one cell of each histogram, so with m histograms the L2 sensitivity of all counts together to one row
is sqrt(m), and Gaussian noise on every cell makes them private. Cells that the data itself names (categories that are
not declared) are only kept above a threshold that a category of one row passes with probability delta / m at most
(Korolova et al. 2009, "Releasing search queries and clicks privately").
"""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tvae_core.codecs import CategoricalCodec, ColumnCodec, IdentifierCodec, NumericCodec
from tvae_core.codecs.categorical import plain_values
from tvae_core.codecs.domain import NumberDomain
from tvae_core.errors import DataError
from tvae_core.holders import LevelCounts
from tvae_core.schema import ColumnKind, ColumnSchema, TableSchema
from tvae_core.sources import TableSource, select_columns

# Powers of two that a value's size is told by, the same for every table, and the cells inside the range found.
POWERS, LEAST_POWER, CELLS = 63, -20, 128
# Noisy counts this many standard deviations of the noise high are taken for rows: of powers, where one mistake would
# stretch the whole range; of runs of cells; and of single integers.
POWER_DETECTION, DETECTION, FILLED = 5.0, 3.0, 2.0
# Each integer of so narrow a range is a code of its own.
MOST_INTEGERS = 128


@dataclass(frozen=True)
class NoisyCounts:
    """How histograms are made: the noise's standard deviation, who draws it, and the delta of the names found."""

    noise: float
    generator: np.random.Generator
    delta: float

    def add(self, counts: np.ndarray) -> np.ndarray:
        """Counts (cells,) with noise on each, the empty ones too."""
        out: np.ndarray = counts + self.generator.normal(0.0, self.noise, len(counts))
        return out

    @property
    def threshold(self) -> float:
        """What the noisy count of a category must reach to be named."""
        return 1 + self.noise * NormalDist().inv_cdf(1 - self.delta)


def histograms_of(schema: TableSchema) -> int:
    """How many histograms a row stands in: one a categorical column, two a numeric one, none an identifier."""
    numeric = (ColumnKind.CONTINUOUS, ColumnKind.DATETIME)
    return sum(
        0 if c.kind is ColumnKind.IDENTIFIER else 2 if c.kind in numeric else 1 for c in schema.columns
    )


def private_codec(
    source: TableSource, column: ColumnSchema, counts: NoisyCounts
) -> tuple[ColumnCodec, np.ndarray]:
    """A column's codec, and each code's share of the rows (codes,), from noisy counts alone; a pass or two.

    Whether a column may be missing is taken from the schema.
    """
    if column.kind is ColumnKind.IDENTIFIER:
        return IdentifierCodec(column.name, column.arrow_type), np.zeros(0)
    if column.kind in (ColumnKind.CATEGORICAL, ColumnKind.BOOLEAN):
        return _levels(source, column, counts)
    return _numbers(source, column, counts)


def _levels(source: TableSource, column: ColumnSchema, counts: NoisyCounts) -> tuple[ColumnCodec, np.ndarray]:
    found, missing = LevelCounts(), 0
    for batch in select_columns(source, [column.name]).batches():
        values = plain_values(batch.column(0))
        found.update(values, None)
        missing += values.null_count
    levels, rows, _ = found.result()
    inner = plain_values(pa.nulls(0, column.arrow_type)).type
    levels = pa.array([], inner) if levels is None else levels
    public = [True, False] if column.kind is ColumnKind.BOOLEAN else column.categories
    if public is not None:
        declared = pa.array(sorted(public)).cast(inner)
        place = pc.index_in(declared, value_set=levels).fill_null(len(levels)).to_numpy(zero_copy_only=False)
        levels, noisy = declared, counts.add(np.append(rows, 0)[place])
        kept = np.ones(len(declared), bool)
    else:
        order = pc.sort_indices(levels)
        levels, noisy = levels.take(order), counts.add(rows[order.to_numpy()])
        kept = noisy >= counts.threshold
    if not kept.any():
        raise DataError(
            f"column {column.name!r}: no category is frequent enough to be named privately; declare its public "
            "`categories`, declare it an identifier, or raise epsilon"
        )
    codec = CategoricalCodec(
        column.name, column.arrow_type, levels.filter(pa.array(kept)), column.nullable, None, pooled=True
    )
    none = counts.add(np.array([float(missing)])) if column.nullable else np.zeros(0)
    pooled = source.num_rows - noisy[kept].sum() - none.sum()
    return codec, _normalised(np.concatenate([noisy[kept], [pooled], none]))


class _Counted(NamedTuple):
    """Rows between edges (cells,), rows at zero, and rows without a value; the outer cells take what lies beyond."""

    inside: np.ndarray
    zeros: int
    empty: int

    def plus(self, values: np.ndarray, missing: np.ndarray, edges: np.ndarray) -> "_Counted":
        """With a batch's present values, and a mask of the missing ones."""
        cell = np.searchsorted(edges, values[values != 0], side="right") - 1
        inside = np.bincount(np.clip(cell, 0, len(self.inside) - 1), minlength=len(self.inside))
        return _Counted(
            self.inside + inside, self.zeros + int((values == 0).sum()), self.empty + int(missing.sum())
        )


def _numbers(
    source: TableSource, column: ColumnSchema, counts: NoisyCounts
) -> tuple[ColumnCodec, np.ndarray]:
    domain = NumberDomain(column.name, column.arrow_type)

    def count(edges: np.ndarray) -> _Counted:
        counted = _Counted(np.zeros(len(edges) - 1), 0, 0)
        for batch in select_columns(source, [column.name]).batches():
            counted = counted.plus(*domain.to_numbers(batch.column(0)), edges)
        return counted

    low, high = _range(column, domain, counts, count)
    width = high - low
    if domain.integral and width < MOST_INTEGERS:
        edges = low + np.arange(int(width) + 2, dtype=np.int64)
    elif domain.integral:
        edges = np.unique(low + (np.linspace(0, 1, CELLS + 1) * (int(width) + 1)).astype(np.int64))
    else:
        edges = np.linspace(low, high if high > low else low + 1.0, CELLS + 1)
    counted = count(edges)
    noisy = counts.add(np.concatenate([[counted.zeros], counted.inside, [counted.empty]]))
    return _build(column, domain, edges, noisy, counts.noise, source.num_rows)


def _range(
    column: ColumnSchema, domain: NumberDomain, counts: NoisyCounts, count: Callable[[np.ndarray], _Counted]
) -> tuple[int | float, int | float]:
    """The declared range, or the powers of two between which noisy counts find rows."""
    powers = 2.0 ** np.arange(0 if domain.integral else LEAST_POWER, POWERS)
    grid = np.concatenate([-powers[::-1], [0], powers]).astype(np.int64 if domain.integral else np.float64)
    found = np.flatnonzero(counts.add(count(grid).inside) > POWER_DETECTION * counts.noise)
    low, high = (
        (grid[found[0]].item(), grid[found[-1] + 1].item() - domain.integral) if len(found) else (0, 1)
    )
    low = low if column.minimum is None else _number(domain, column.minimum)
    high = high if column.maximum is None else _number(domain, column.maximum)
    return min(low, high), max(low, high)


def _number(domain: NumberDomain, end: object) -> int | float:
    typed = pa.array([end]).cast(domain.type, safe=False)
    value: int | float = domain.to_numbers(typed)[0][0].item()
    return value


def _build(
    column: ColumnSchema, domain: NumberDomain, edges: np.ndarray, noisy: np.ndarray, noise: float, rows: int
) -> tuple[ColumnCodec, np.ndarray]:
    """Atoms (zero, and each integer of a narrow range) and cells; where the counts are noise, cells are joined."""
    zero, cells, none = (
        max(noisy[0], 0.0),
        np.maximum(noisy[1:-1], 0.0),
        noisy[-1:] if column.nullable else noisy[:0],
    )
    if domain.integral and int(edges[-1] - edges[0]) == len(cells):
        outside = np.zeros(0, np.int64) if edges[0] <= 0 < edges[-1] else np.zeros(1, np.int64)
        values = np.append(edges[:-1], outside)
        held = np.where(values == 0, zero, np.append(cells, np.zeros(len(outside))))
        kept = (held > FILLED * noise) | (held == held.max())
        order = np.argsort(values[kept])
        atoms, weights, merged = values[kept][order], held[kept][order], edges[:0]
    else:
        spiked = zero > DETECTION * noise
        merged, weights = join_noise(edges, noisy[1:-1], noise)
        # How many rows there are is public: what the joined cells lost in the noise is given back to them.
        rest = max(rows - zero - max(none.sum(), 0.0), 0.0)
        weights = weights * rest / weights.sum() if weights.any() else np.full(len(weights), rest)
        atoms = np.zeros(int(spiked), edges.dtype)
        weights = np.concatenate([np.full(int(spiked), zero), weights])
    starts = np.concatenate([atoms, merged[:-1]])
    order = np.argsort(starts, kind="stable")
    middles = np.empty(len(weights))
    middles[order] = np.cumsum(weights[order]) - weights[order] / 2
    codec = NumericCodec(domain, atoms, merged, middles / max(weights.sum(), 1e-9), 1, column.nullable)
    return codec, _normalised(np.concatenate([weights, none]))


def join_noise(edges: np.ndarray, counts: np.ndarray, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Neighbouring cells as one until their sum stands out from its noise; what never does counts as empty.

    A cell that stands out alone is left alone. Empty cells at either end are left out.

    >>> edges, counts = join_noise(np.arange(8), np.array([1.0, 90.0, 2.0, -1.0, 20.0, 25.0, 30.0]), 10.0)
    >>> edges.tolist(), counts.tolist()
    ([1, 2, 7], [90.0, 76.0])
    """
    starts, sums, first, held = [], [], 0, 0.0

    def close(end: int) -> None:
        nonlocal first, held
        if end > first:
            starts.append(first)
            sums.append(held if held > DETECTION * noise * (end - first) ** 0.5 else 0.0)
        first, held = end, 0.0

    for place, count in enumerate(counts):
        if count > DETECTION * noise:
            close(place)
        held += count
        if held > DETECTION * noise * (place + 1 - first) ** 0.5:
            close(place + 1)
    close(len(counts))
    filled = np.flatnonzero(sums)
    if not len(filled):
        return edges[[0, -1]], np.zeros(1)
    ends = np.append(edges[starts], edges[-1])
    return ends[filled[0] : filled[-1] + 2], np.array(sums)[filled[0] : filled[-1] + 1]


def _normalised(counts: np.ndarray) -> np.ndarray:
    positive = np.maximum(counts, 0.0)
    out: np.ndarray = positive / max(positive.sum(), 1e-9)
    return out
