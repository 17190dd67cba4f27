"""Distances between rows of mixed columns: the one kernel behind every figure that looks for close rows.

The distance adds, over columns, the absolute difference of numbers divided by their range in the real tables, and 1
for each level that differs. A number that is missing on one side only counts 1. (Gower 1971, Biometrics 27:857,
without his division by the number of columns.)
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from tvae_core.metrics.frames import categorical_columns, numeric_columns, ordinal
from tvae_core.metrics.limits import BLOCK_PAIRS


@dataclass(frozen=True)
class Mixed:
    """Rows in comparable form.

    Attributes:
        names: the columns, levels before numbers.
        levels: codes shared by all tables, int32 of shape (n, c).
        numbers: scaled by the range of the real tables, NaN for missing, float32 of shape (n, d).
    """

    names: tuple[str, ...]
    levels: np.ndarray
    numbers: np.ndarray

    def __len__(self) -> int:
        return len(self.levels)

    def __getitem__(self, rows: slice | np.ndarray) -> "Mixed":
        return Mixed(self.names, self.levels[rows], self.numbers[rows])

    def only(self, names: Sequence[str]) -> "Mixed":
        """The same rows with these columns alone."""
        split = self.levels.shape[1]
        kept = [name in set(names) for name in self.names]
        return Mixed(
            tuple(name for name, keep in zip(self.names, kept, strict=True) if keep),
            self.levels[:, kept[:split]],
            self.numbers[:, kept[split:]],
        )


@dataclass(frozen=True)
class Nearest:
    """What lies closest to every query row.

    Attributes:
        distance: to the closest reference row, float32 (n,).
        ties: reference rows that are as close, int64 (n,).
        second: distance to the second closest, equal to `distance` where there are ties; infinite where the
            reference has a single row.
    """

    distance: np.ndarray
    ties: np.ndarray
    second: np.ndarray

    def merged(self, other: "Nearest") -> "Nearest":
        """The closest of both references."""
        distance = np.minimum(self.distance, other.distance)
        ties = self.ties * (self.distance == distance) + other.ties * (other.distance == distance)
        second = np.minimum(np.maximum(self.distance, other.distance), np.minimum(self.second, other.second))
        return Nearest(distance, ties, second)


def comparable(frames: Sequence[pd.DataFrame], *, real: int = 2) -> list[Mixed]:
    """Bring tidy frames into comparable form; the first `real` of them give the ranges of numbers."""
    names, numbers = categorical_columns(frames[0]), numeric_columns(frames[0])
    codes = [frame[names].to_numpy().astype(np.int32) for frame in ordinal([f[names] for f in frames])]
    known = pd.concat([frame[numbers] for frame in frames[:real]])
    low, span = known.min(), (known.max() - known.min())
    span = span.where(span > 0, 1.0)  # a constant column: differences count in its own units
    scaled = [((frame[numbers] - low.fillna(0.0)) / span).to_numpy(np.float32) for frame in frames]
    return [Mixed((*names, *numbers), a, b) for a, b in zip(codes, scaled, strict=True)]


def nearest_rows(query: Mixed, reference: Mixed) -> Nearest:
    """Find how close the closest reference rows of every query row are; `BLOCK_PAIRS` pairs are held at once."""
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for pairs in _blocks(query, reference):
        here = np.arange(len(pairs))
        first = pairs.argmin(axis=1)
        distance = pairs[here, first].copy()
        ties = (pairs == distance[:, None]).sum(axis=1)
        pairs[here, first] = np.inf
        parts.append((distance, ties, pairs.min(axis=1)))
    return Nearest(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def closest_indices(query: Mixed, reference: Mixed, k: int = 1) -> np.ndarray:
    """Positions of the `k` closest reference rows of every query row, in no order, int64 of shape (n, min(k, m))."""
    k = min(k, len(reference))
    if k == 1:
        return np.concatenate([pairs.argmin(axis=1)[:, None] for pairs in _blocks(query, reference)])
    return np.concatenate(
        [np.argpartition(pairs, k - 1, axis=1)[:, :k] for pairs in _blocks(query, reference)]
    )


def _blocks(query: Mixed, reference: Mixed) -> Iterator[np.ndarray]:
    """Distances of a block of query rows to all reference rows, shape (block, m), block by block."""
    block = max(1, BLOCK_PAIRS // len(reference))
    # One contiguous row per column: the inner loop walks it.
    levels, numbers = (np.ascontiguousarray(part.T) for part in (reference.levels, reference.numbers))
    gaps = np.isnan(numbers)
    with_gaps = gaps.any(axis=1)
    for start in range(0, len(query), block):
        here = query[start : start + block]
        total = np.zeros((len(here), len(reference)), np.float32)
        for j, column in enumerate(levels):
            total += here.levels[:, j, None] != column
        for j, column in enumerate(numbers):
            difference = np.abs(here.numbers[:, j, None] - column)
            missing = np.isnan(here.numbers[:, j])
            if with_gaps[j] or missing.any():
                gap = missing[:, None], gaps[j]
                difference = np.where(gap[0] | gap[1], gap[0] != gap[1], difference)
            total += difference
        yield total
