"""What may be shown of real rows: only what at least `FEWEST` entities have in common.

An entity is what the schema's entity column names (a person with several rows counts once), or a row. Groups that
are too small are pooled until they are large enough; nothing is left that a total minus the rest would reveal.
"""

from dataclasses import dataclass

import numpy as np

FEWEST = 10
"""Entities that a group must have to be shown: the threshold of common statistical disclosure control."""


@dataclass(frozen=True)
class Rows:
    """Real rows by the entity that each belongs to; None where every row stands alone."""

    entities: np.ndarray | None = None

    def support(self, codes: np.ndarray, size: int) -> np.ndarray:
        """How many entities have each code, int64 (size,); codes below 0 are left out. codes (n,) as integers."""
        kept = codes >= 0
        if self.entities is None:
            return np.bincount(codes[kept], minlength=size)
        owners = self.entities[kept].astype(np.int64)
        span = int(owners.max(initial=0)) + 1
        pairs = np.unique(codes[kept].astype(np.int64) * span + owners)
        return np.bincount(pairs // span, minlength=size)

    def reached(self, values: np.ndarray) -> tuple[float, float]:
        """Between which values a range may be shown: `FEWEST` entities lie at or below the first, as many above.

        Numbers without NaN, shape (n,); the rows of this object are theirs. With too few entities the first is above
        the second.
        """
        return self._kth(values), -self._kth(-values)

    def _kth(self, values: np.ndarray) -> float:
        """The smallest value at or below which `FEWEST` entities lie, or the largest of all."""
        order = np.argsort(values, kind="stable")
        if self.entities is None:
            return float(values[order[min(FEWEST, len(order)) - 1]])
        _, first = np.unique(self.entities[order], return_index=True)
        return float(values[order[np.sort(first)[min(FEWEST, len(first)) - 1]]])

    def only(self, kept: np.ndarray) -> "Rows":
        """The rows that a mask of shape (n,) keeps."""
        return self if self.entities is None else Rows(self.entities[kept])


def shares(codes: np.ndarray, size: int) -> np.ndarray:
    """Share of the rows that have each code, float64 (size,); codes below 0 are left out of the whole."""
    counts: np.ndarray = np.bincount(codes[codes >= 0], minlength=size)
    return counts.astype(np.float64) / max(1, int(counts.sum()))


def merge_bins(support: np.ndarray, fewest: int = FEWEST) -> np.ndarray:
    """Merge neighbouring bins until each has enough entities: the number of the merged bin of every bin, (size,).

    The support of merged bins is taken as the largest of their parts' where an entity may be in several of them, so
    a merged bin is never counted too large.

    >>> merge_bins(np.array([3, 30, 2, 2, 40])).tolist()
    [0, 0, 1, 1, 1]
    """
    out = np.empty(len(support), np.int64)
    merged, size, start = 0, 0, 0
    for i, count in enumerate(support):
        out[i] = merged
        size = max(size, int(count))
        if size >= fewest:
            merged, size, start = merged + 1, 0, i + 1
    if start < len(out):  # what is left at the end joins the bin before it
        out[start:] = max(0, merged - 1)
    return out
