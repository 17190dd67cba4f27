"""How strongly every two columns of a table are associated, by one measure for numbers and levels alike."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

GROUPS = 10
"""Groups that a column's values fall into: its tenths, or its most frequent levels and the others together."""


@dataclass(frozen=True)
class Grouping:
    """How the values of each column of a tidy frame fall into a few groups; missing numbers are a group of their own.

    Attributes:
        names: the columns.
        bounds: by column, inner bounds of a number's groups, or the levels that are groups.
    """

    names: tuple[str, ...]
    bounds: dict[str, np.ndarray]

    @classmethod
    def fit(cls, frame: pd.DataFrame) -> "Grouping":
        """Groups of about equal size for numbers, the most frequent levels for levels."""
        return cls(tuple(frame.columns), {name: _bounds(frame[name]) for name in frame.columns})

    def codes(self, frame: pd.DataFrame) -> np.ndarray:
        """The group of every cell of a frame of the same columns, int64 (rows, columns), from 0."""
        return np.stack([_codes(frame[name], self.bounds[name]) for name in self.names], axis=1)


def associations(codes: np.ndarray) -> np.ndarray:
    """Bias-corrected Cramér's V of every two columns: 0 where they are independent, 1 where one decides the other.

    By Bergsma (2013, J. Korean Stat. Soc. 42:323), eqs. 5 to 7: the correction makes the measure of independent
    columns about 0 however many groups they have.

    Args:
        codes: groups as `Grouping.codes` gives them, shape (n, d).

    Returns:
        float64 (d, d), symmetric, with ones on the diagonal.
    """
    columns = [np.unique(column, return_inverse=True)[1] for column in codes.T]
    out = np.eye(len(columns))
    for i, first in enumerate(columns):
        for j in range(i):
            out[i, j] = out[j, i] = _cramers_v(first, columns[j])
    return out


def _cramers_v(first: np.ndarray, second: np.ndarray) -> float:
    n, rows, columns = len(first), int(first.max()) + 1, int(second.max()) + 1
    if min(rows, columns) < 2 or n < 2:
        return 0.0
    table = np.bincount(first * columns + second, minlength=rows * columns).reshape(rows, columns)
    expected = np.outer(table.sum(1), table.sum(0)) / n
    phi = float(((table - expected) ** 2 / expected).sum()) / n
    corrected = max(0.0, phi - (rows - 1) * (columns - 1) / (n - 1))
    fewest = min(size - (size - 1) ** 2 / (n - 1) for size in (rows, columns)) - 1
    return float(np.sqrt(min(1.0, corrected / fewest))) if fewest > 0 else 0.0


def _bounds(values: pd.Series) -> np.ndarray:
    if values.dtype == object:
        return np.array(values.value_counts().index[: GROUPS - 1], dtype=object)
    present = values.dropna().to_numpy()
    return np.unique(np.quantile(present, np.arange(1, GROUPS) / GROUPS)) if len(present) else np.empty(0)


def _codes(values: pd.Series, bounds: Sequence[object] | np.ndarray) -> np.ndarray:
    if values.dtype == object:
        return pd.Index(bounds).get_indexer(pd.Index(values)) + 1
    numbers = values.to_numpy()
    codes = np.searchsorted(np.asarray(bounds), numbers, side="right")
    return np.where(np.isnan(numbers), len(bounds) + 1, codes)
