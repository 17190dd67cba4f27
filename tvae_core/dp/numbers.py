"""Numeric columns under noise: the range first, then counts inside it, and the codec that they make."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from tvae_core.codecs import NumericCodec
from tvae_core.codecs.domain import NumberDomain
from tvae_core.dp.counts import NoisyCounts, ends
from tvae_core.schema import ColumnKind, ColumnSchema
from tvae_core.sources import TableSource, select_columns

# Powers of two that a value's size is told by, the same for every table. Integers below 2 ** SINGLES are counted one by
# one from the start: few-valued columns are then counted twice, with less noise on the mean.
POWERS, LEAST_POWER, SINGLES = 63, -20, 7
# Cells inside the range found; each integer of a narrow range is a code of its own.
CELLS, MOST_INTEGERS = 128, 256
# Noisy counts this many standard deviations of the noise high are taken for rows: of powers, where one mistake would
# stretch the whole range; of runs of cells; and of integers between others.
POWER_DETECTION, DETECTION, FILLED = 5.0, 3.0, 2.0


class Counted(NamedTuple):
    """Rows between edges (cells,), rows at zero, and rows without a value; the outer cells take what lies beyond."""

    inside: np.ndarray
    zeros: int
    empty: int

    def plus(self, values: np.ndarray, missing: np.ndarray, edges: np.ndarray) -> "Counted":
        """With a batch's present values, and a mask of the missing ones."""
        cell = np.searchsorted(edges, values[values != 0], side="right") - 1
        inside = np.bincount(np.clip(cell, 0, len(self.inside) - 1), minlength=len(self.inside))
        return Counted(
            self.inside + inside, self.zeros + int((values == 0).sum()), self.empty + int(missing.sum())
        )


Count = Callable[[np.ndarray], Counted]


def range_is_unknown(column: ColumnSchema) -> bool:
    """Whether a histogram is needed to find a numeric column's range."""
    numeric = column.kind in (ColumnKind.CONTINUOUS, ColumnKind.DATETIME)
    return numeric and (column.minimum is None or column.maximum is None)


def numeric_codec(
    source: TableSource, column: ColumnSchema, counts: NoisyCounts
) -> tuple[NumericCodec, np.ndarray]:
    """A numeric column's codec, and each code's rows (codes,), from noisy counts; a pass or two."""
    domain = NumberDomain(column.name, column.arrow_type)

    def count(edges: np.ndarray) -> Counted:
        counted = Counted(np.zeros(len(edges) - 1), 0, 0)
        for batch in select_columns(source, [column.name]).batches():
            counted = counted.plus(*domain.to_numbers(batch.column(0)), edges)
        return counted

    sizes = Sizes.found(domain, counts, count) if range_is_unknown(column) else None
    low, high = sizes.range() if sizes else (0, 1)
    low = low if column.minimum is None else _number(domain, column.minimum)
    high = high if column.maximum is None else _number(domain, column.maximum)
    low, high = min(low, high), max(low, high)
    if domain.integral and high - low < MOST_INTEGERS:
        return _integers(column, domain, low + np.arange(int(high - low) + 1), counts, count, sizes)
    return _cells(column, domain, _edges(domain, low, high), counts, count, source.num_rows)


def _number(domain: NumberDomain, end: object) -> int | float:
    typed = pa.array([end]).cast(domain.type, safe=False)
    value: int | float = domain.to_numbers(typed)[0][0].item()
    return value


def _edges(domain: NumberDomain, low: int | float, high: int | float) -> np.ndarray:
    if not domain.integral:
        return np.linspace(low, high if high > low else low + 1.0, CELLS + 1)
    edges: np.ndarray = np.unique(
        low + (np.linspace(0, 1, CELLS + 1) * (int(high - low) + 1)).astype(np.int64)
    )
    return edges


@dataclass(frozen=True)
class Sizes:
    """A column's noisy counts by size: between powers of two, integers near zero one by one.

    grid (cells + 1,): where each cell starts, and the last one's end; counts (cells,); zero itself counts for integers.
    """

    grid: np.ndarray
    counts: np.ndarray
    noise: float
    integral: bool

    @classmethod
    def found(cls, domain: NumberDomain, counts: NoisyCounts, count: Count) -> "Sizes":
        """With one pass over the column."""
        powers = _powers(domain.integral)
        near = np.arange(-(2**SINGLES), 2**SINGLES + 1) if domain.integral else powers[:0]
        grid = np.union1d(powers, near)
        counted = count(grid)
        inside = counted.inside.copy()
        if domain.integral:
            inside[np.searchsorted(grid, 0)] += counted.zeros
        return cls(grid, counts.add(inside), counts.noise, domain.integral)

    def range(self) -> tuple[int | float, int | float]:
        """The powers of two between which there are rows; the whole of the integers near zero where it ends there."""
        powers = _powers(self.integral)
        starts = np.searchsorted(self.grid, powers[:-1])
        spans = np.diff(np.append(starts, len(self.counts)))
        sums = np.add.reduceat(self.counts, starts) / np.sqrt(spans)
        high = np.maximum(sums, np.maximum.reduceat(self.counts, starts)) > POWER_DETECTION * self.noise
        # Zero is no size: it has a code of its own.
        found = np.flatnonzero(high & (powers[:-1] != 0) if self.integral else high)
        if not self.integral:
            return (powers[found[0]].item(), powers[found[-1] + 1].item()) if len(found) else (0.0, 1.0)
        near = 2**SINGLES
        low, end = (powers[found[0]].item(), powers[found[-1] + 1].item()) if len(found) else (0, 1)
        low = -near if -near <= low < 0 else 0 if 0 <= low < near else low
        return low, near - 1 if 0 < end <= near else 0 if -near < end <= 0 else end - 1

    def of(self, integers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Counts of single integers (n,), and a mask (n,) of those that were counted one by one."""
        places = np.clip(np.searchsorted(self.grid, integers), 0, len(self.counts) - 1)
        alone = (self.grid[places] == integers) & (self.grid[places + 1] == integers + 1)
        return self.counts[places], alone


def _powers(integral: bool) -> np.ndarray:
    powers = 2.0 ** np.arange(0 if integral else LEAST_POWER, POWERS)
    return np.concatenate([-powers[::-1], [0], powers]).astype(np.int64 if integral else np.float64)


def _integers(
    column: ColumnSchema,
    domain: NumberDomain,
    integers: np.ndarray,
    counts: NoisyCounts,
    count: Count,
    sizes: Sizes | None,
) -> tuple[NumericCodec, np.ndarray]:
    """An atom for each integer of a narrow range, and for zero, whose count stands out from the noise."""
    counted = count(np.append(integers, integers[-1] + 1))
    values = np.union1d(integers, [0])
    held = np.zeros(len(values))
    held[np.searchsorted(values, integers)] = counted.inside
    held[np.searchsorted(values, 0)] += counted.zeros
    noisy = counts.add(np.append(held, counted.empty))
    held, none = noisy[:-1], noisy[-1:] if column.nullable else noisy[:0]
    deviation = np.full(len(held), counts.noise)
    if sizes is not None:
        before, alone = sizes.of(values)
        held, deviation = np.where(alone, (held + before) / 2, held), deviation / np.where(alone, 2**0.5, 1)
    first, last = ends(held / deviation, values, values + 1)
    kept = held > FILLED * deviation
    kept[[first, last]] = True
    kept[:first], kept[last + 1 :] = False, False
    atoms, weights = values[kept], np.maximum(held[kept], 0.0)
    codec = NumericCodec(domain, atoms, atoms[:0], _middles(weights), 1, column.nullable)
    return codec, np.concatenate([weights, none])


def _cells(
    column: ColumnSchema,
    domain: NumberDomain,
    edges: np.ndarray,
    counts: NoisyCounts,
    count: Count,
    rows: int,
) -> tuple[NumericCodec, np.ndarray]:
    """Cells of a wide range, joined where their counts are noise, and an atom for zero where many rows hold it."""
    counted = count(edges)
    noisy = counts.add(np.concatenate([[counted.zeros], counted.inside, [counted.empty]]))
    zero, none = max(noisy[0], 0.0), noisy[-1:] if column.nullable else noisy[:0]
    spiked = int(zero > DETECTION * counts.noise)
    merged, weights = join_noise(edges, noisy[1:-1], counts.noise)
    # How many rows there are is public: what the joined cells lost in the noise is given back to them.
    rest = max(rows - zero - max(none.sum(), 0.0), 0.0)
    weights = weights * rest / weights.sum() if weights.any() else np.full(len(weights), rest)
    atoms = np.zeros(spiked, edges.dtype)
    weights = np.concatenate([np.full(spiked, zero), weights])
    order = np.argsort(np.concatenate([atoms, merged[:-1]]), kind="stable")
    middles = np.empty(len(weights))
    middles[order] = _middles(weights[order])
    return NumericCodec(domain, atoms, merged, middles, 1, column.nullable), np.concatenate([weights, none])


def _middles(weights: np.ndarray) -> np.ndarray:
    """The middle rank in [0, 1] of values in order, from their rows."""
    out: np.ndarray = (np.cumsum(weights) - weights / 2) / max(weights.sum(), 1e-9)
    return out


def join_noise(edges: np.ndarray, counts: np.ndarray, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Neighbouring cells as one until their sum stands out from its noise; what never does counts as empty.

    A cell that stands out alone is left alone. What lies beyond the ends of the rows is left out.

    >>> edges, counts = join_noise(np.arange(8), np.array([1.0, 90.0, 2.0, -1.0, 20.0, 25.0, 30.0]), 10.0)
    >>> edges.tolist(), counts.tolist()
    ([1, 2, 7], [90.0, 76.0])
    """
    starts, sums, first, held = list[int](), list[float](), 0, 0.0

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
    if not any(sums):
        return edges[[0, -1]], np.zeros(1)
    places, joined = np.append(starts, len(counts)), np.array(sums)
    low, high = ends(joined / (noise * np.sqrt(np.diff(places))), places[:-1], places[1:])
    return edges[places[low : high + 2]], joined[low : high + 1]
