"""Privacy: does the synthetic table repeat its training rows, or lie closer to them than to unseen rows?

Both figures come with the control that a holdout gives: what real rows of the same population, unseen by the
generator, do by chance. They can show that something leaks, never that nothing does.
"""

import math
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from tvae_core.errors import DataError
from tvae_core.metrics.frames import refuse_empty
from tvae_core.metrics.limits import CLOSEST_QUERIES, CLOSEST_REFERENCES
from tvae_core.metrics.mixed import Mixed, Nearest, comparable, nearest_rows
from tvae_core.metrics.uncertainty import wilson_interval

LOW_TAIL = 0.05
"""Quantile of the distance ratios that is looked at: copies are few, and stand in the low tail."""


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
    """Distance to closest record (DCR), to train against the holdout.

    Attributes:
        share: of the synthetic rows whose closest real row is a training row, balanced for the tables' lengths
            (see `closest_records`); .5 is ideal, 1 is a copy of train.
        low: lower end of the share's 95 % Wilson interval, which covers the draw of the synthetic rows (that of
            train and holdout adds about a sixth to its width).
        high: upper end.
        median_train: median distance to the closest of as many training rows as there are holdout rows.
        median_holdout: median distance to the closest holdout row.
        nndr_train: 5 % quantile of the nearest-neighbour distance ratio (NNDR), closest / second closest, to as
            many training rows as there are holdout rows: near 0 where rows point at one training row.
        nndr_holdout: the same of the holdout rows, its control.
        queries: synthetic rows looked at.
        train_rows: training rows that they were compared with.
        holdout_rows: holdout rows that they were compared with.
        to_train: distance of each query to the closest of as many training rows as there are holdout rows, (n,).
        to_holdout: distance of each query to the closest holdout row, (n,).
    """

    share: float
    low: float
    high: float
    median_train: float
    median_holdout: float
    nndr_train: float
    nndr_holdout: float
    queries: int
    train_rows: int
    holdout_rows: int
    to_train: np.ndarray = field(default_factory=lambda: np.empty(0, np.float32), repr=False, compare=False)
    to_holdout: np.ndarray = field(default_factory=lambda: np.empty(0, np.float32), repr=False, compare=False)

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

    Distances are those of `tvae_core.metrics.mixed`, with the range of numbers in train and holdout together.

    A row made without looking at train has a training row as its closest with probability
    p = train rows / (train + holdout rows), because the two are drawn alike. The share s that is observed is
    balanced to s (1 - p) / (s (1 - p) + (1 - s) p), which is .5 at s = p and s itself for tables of equal length.
    (Cutting train to the holdout's length instead would not see what was remembered of the rows cut off.) Where
    rows of both tables are equally close, the row counts by train's part of them. Medians of distances have no
    such balance, so they do compare equally many rows.

    Args:
        train: tidy frame (see `tidy`) of training rows.
        holdout: tidy frame of real rows that the generator has not seen.
        synthetic: tidy frame of synthetic rows.
        queries: most synthetic rows to look at.
        references: most rows of train, and of the holdout, to compare them with.
        seed: decides which rows are drawn.

    Raises:
        DataError: an empty table, or no column.
    """
    refuse_empty(train, holdout, synthetic)
    most = {"train": (train, references), "holdout": (holdout, references), "synthetic": (synthetic, queries)}
    drawn = [
        frame.sample(min(n, len(frame)), random_state=np.random.default_rng([seed, i]))
        for i, (frame, n) in enumerate(most.values())
    ]
    train_rows, holdout_rows, n = map(len, drawn)
    equal = min(train_rows, holdout_rows)
    in_train, in_holdout, query = comparable(drawn)
    equal_train, to_train = _nearest_twice(query, in_train, equal)
    equal_holdout, to_holdout = _nearest_twice(query, in_holdout, equal)
    part = _part_of_first(to_train, to_holdout)
    expected = train_rows / (train_rows + holdout_rows)
    share, low, high = (
        _balanced(s, expected) for s in (float(part.mean()), *wilson_interval(float(part.sum()), n))
    )
    medians = float(np.median(equal_train.distance)), float(np.median(equal_holdout.distance))
    ratios = _low_ratio(equal_train), _low_ratio(equal_holdout)
    distances = equal_train.distance, equal_holdout.distance
    return ClosestRecords(share, low, high, *medians, *ratios, n, train_rows, holdout_rows, *distances)


def _balanced(share: float, expected: float) -> float:
    """Divide the odds of a share by the expected odds: .5 where the share is as expected.

    >>> _balanced(0.8, 0.8), _balanced(1.0, 0.8), round(_balanced(0.9, 0.8), 4)
    (0.5, 1.0, 0.6923)
    """
    first, second = share * (1 - expected), (1 - share) * expected
    return first / (first + second)


def _part_of_first(first: Nearest, second: Nearest) -> np.ndarray:
    """Of the reference rows that are closest to each query, the part that lies in the first table."""
    ours = np.where(first.distance <= second.distance, first.ties, 0)
    theirs = np.where(second.distance <= first.distance, second.ties, 0)
    return ours / (ours + theirs)


def _nearest_twice(query: Mixed, reference: Mixed, first: int) -> tuple[Nearest, Nearest]:
    """The closest among the first rows of a reference (drawn at random already), and among all of them."""
    head = nearest_rows(query, reference[:first])
    if first == len(reference):
        return head, head
    return head, head.merged(nearest_rows(query, reference[first:]))


def _low_ratio(nearest: Nearest) -> float:
    """The `LOW_TAIL` quantile of closest / second closest distance; equal distances give 1, two of 0 as well."""
    ratio = np.ones(len(nearest.distance))
    np.divide(nearest.distance, nearest.second, out=ratio, where=nearest.second > 0)
    return float(np.quantile(ratio, LOW_TAIL))
