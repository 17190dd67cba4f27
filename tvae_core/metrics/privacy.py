"""Privacy: does the synthetic table repeat its training rows, or lie closer to them than to unseen rows?

Both figures come with the control that a holdout gives: what real rows of the same population, unseen by the
generator, do by chance. They can show that something leaks, never that nothing does.
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from tvae_core.errors import DataError
from tvae_core.metrics.frames import categorical_columns, numeric_columns, ordinal
from tvae_core.metrics.limits import BLOCK_PAIRS, CLOSEST_QUERIES, CLOSEST_REFERENCES
from tvae_core.metrics.uncertainty import wilson_interval


@dataclass(frozen=True)
class Copies:
    """Rows that equal a training row: how many of how many, and the share's 95 % interval."""

    count: int
    rows: int
    low: float
    high: float

    @property
    def share(self) -> float:
        """Share of the rows that equal a training row."""
        return self.count / self.rows


@dataclass(frozen=True)
class ClosestRecords:
    """Distance to closest record (DCR), to train against an equally large holdout.

    Attributes:
        share: of the synthetic rows nearer to a training row than to a holdout row, ties counted half; .5 is
            ideal.
        low: lower end of the share's 95 % Wilson interval.
        high: upper end.
        median_train: median distance to the closest training row.
        median_holdout: median distance to the closest holdout row.
        queries: synthetic rows looked at.
        references: rows of train, and of the holdout, that they were compared with.
    """

    share: float
    low: float
    high: float
    median_train: float
    median_holdout: float
    queries: int
    references: int

    @property
    def median_ratio(self) -> float:
        """`median_train` / `median_holdout`: 1 is ideal; NaN when only the latter is 0."""
        if self.median_holdout == 0:
            return 1.0 if self.median_train == 0 else math.nan
        return self.median_train / self.median_holdout


def exact_copies(rows: np.ndarray, train: np.ndarray) -> Copies:
    """Count the rows that equal a training row, each as often as it occurs.

    Args:
        rows: uint64 row hashes (see `row_hashes`), shape (n,), of synthetic or, as control, of holdout rows.
        train: row hashes of the training table, shape (m,).

    Raises:
        DataError: there are no rows.
    """
    if len(rows) == 0:
        raise DataError(
            "expected at least one row to look for among the training rows, however there is none"
        )
    count = int(np.isin(rows, train).sum())
    return Copies(count, len(rows), *wilson_interval(count, len(rows)))


def closest_records(
    train: pd.DataFrame,
    holdout: pd.DataFrame,
    synthetic: pd.DataFrame,
    *,
    queries: int = CLOSEST_QUERIES,
    references: int = CLOSEST_REFERENCES,
    seed: int = 0,
) -> ClosestRecords:
    """Compare each synthetic row's distance to its closest training row with that to its closest holdout row.

    The distance adds, over columns, the absolute difference of numbers divided by their range in train and
    holdout together, and 1 for each level that differs. A number that is missing on one side only counts 1.

    Args:
        train: tidy frame (see `tidy`) of training rows.
        holdout: tidy frame of real rows that the generator has not seen; both are cut to the shorter one's
            length, because the closest of more rows is closer.
        synthetic: tidy frame of synthetic rows.
        queries: most synthetic rows to look at.
        references: most rows of train and of holdout to compare them with.
        seed: decides which rows are drawn.

    Raises:
        DataError: an empty table, or no column.
    """
    if min(len(train), len(holdout), len(synthetic)) == 0 or train.shape[1] == 0:
        raise DataError(
            f"expected rows and columns in every table, however there are {len(train)} training, "
            f"{len(holdout)} holdout and {len(synthetic)} synthetic rows of {train.shape[1]} columns"
        )
    k = min(len(train), len(holdout), references)
    drawn = [
        frame.sample(min(n, len(frame)), random_state=np.random.default_rng([seed, i]))
        for i, (frame, n) in enumerate([(train, k), (holdout, k), (synthetic, queries)])
    ]
    levels, numbers = _comparable(drawn)
    to_train = nearest_distance((levels[2], numbers[2]), (levels[0], numbers[0]))
    to_holdout = nearest_distance((levels[2], numbers[2]), (levels[1], numbers[1]))
    nearer = float((to_train < to_holdout).sum() + 0.5 * (to_train == to_holdout).sum())
    n = len(to_train)
    medians = float(np.median(to_train)), float(np.median(to_holdout))
    return ClosestRecords(nearer / n, *wilson_interval(nearer, n), *medians, queries=n, references=k)


def nearest_distance(
    query: tuple[np.ndarray, np.ndarray], reference: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """Distance of every query row to its closest reference row; memory stays within `BLOCK_PAIRS` pairs.

    Args:
        query: levels as integer codes, shape (n, c), and scaled numbers with NaN for missing, shape (n, d).
        reference: the same of the other table, shapes (m, c) and (m, d).

    Returns:
        float32, shape (n,).
    """
    block = max(1, BLOCK_PAIRS // len(reference[0]))
    # One contiguous row per column: the inner loop walks it.
    levels, numbers = (np.ascontiguousarray(part.T) for part in reference)
    out = np.empty(len(query[0]), np.float32)
    for start in range(0, len(out), block):
        here = slice(start, start + block)
        out[here] = _distances(query[0][here], query[1][here], levels, numbers).min(axis=1)
    return out


def _distances(
    levels: np.ndarray, numbers: np.ndarray, other_levels: np.ndarray, other_numbers: np.ndarray
) -> np.ndarray:
    """Distances of a block of rows to all reference rows, shape (block, m)."""
    total = np.zeros((len(levels), other_levels.shape[1]), np.float32)
    for j, column in enumerate(other_levels):
        total += levels[:, j, None] != column
    for j, column in enumerate(other_numbers):
        difference = np.abs(numbers[:, j, None] - column)
        missing, other_missing = np.isnan(numbers[:, j]), np.isnan(column)
        if missing.any() or other_missing.any():
            gap = missing[:, None], other_missing
            difference = np.where(gap[0] | gap[1], gap[0] != gap[1], difference)
        total += difference
    return total


def _comparable(frames: list[pd.DataFrame]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Codes (int32) and numbers (float32, scaled by their range in the first two frames) of each frame."""
    names, numbers = categorical_columns(frames[0]), numeric_columns(frames[0])
    codes = [frame[names].to_numpy().astype(np.int32) for frame in ordinal([f[names] for f in frames])]
    real = pd.concat([frame[numbers] for frame in frames[:2]])
    low, span = real.min(), (real.max() - real.min())
    span = span.where(span > 0, 1.0)  # a constant column: differences count in its own units
    scaled = [((frame[numbers] - low.fillna(0.0)) / span).to_numpy(np.float32) for frame in frames]
    return codes, scaled
