"""How implausible a row is among real rows: -log of its probability in a tree of dependent columns.

The tree is Chow and Liu's (1968, IEEE Transactions on Information Theory 14:462), grown greedily on the gain of each
pair of columns; the gain is measured on rows left out, so that a column of rare values explains nothing by chance.
"""

import numpy as np

FIT_ROWS = 20_000
"""Real rows that the tree is chosen on."""

_PRIOR = 5.0  # rows that a column's own shares weigh against its shares under the parent's value
_LEAST_GAIN = 0.01  # nats a row


def implausibility(rows: np.ndarray, real: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Nats of surprise of every row, given the real ones; float64 of shape (n,).

    Args:
        rows: values as codes, shape (n, columns).
        real: the same of real rows.
        rng: draws the rows that the tree is chosen on.
    """
    chosen = rng.permutation(len(real))[:FIT_ROWS]
    parents = _tree(_gains(real[chosen]))
    total = np.zeros(len(rows))
    for child, parent in parents.items():
        share = _share(_counts(rows[:, child], real[:, child]), len(real))
        if parent is not None:
            pairs = [_paired(table[:, parent], table[:, child]) for table in (rows, real)]
            share = (_counts(*pairs) + _PRIOR * share) / (_counts(rows[:, parent], real[:, parent]) + _PRIOR)
        total -= np.log(share)
    return total


def _share(count: np.ndarray, rows: int) -> np.ndarray:
    """Share of a value that was counted `count` times, above 0 for values never seen."""
    return (count + 0.5) / (rows + 1.0)


def _counts(values: np.ndarray, among: np.ndarray) -> np.ndarray:
    """How often every value occurs among others."""
    distinct, count = np.unique(among, return_counts=True)
    at = np.minimum(np.searchsorted(distinct, values), len(distinct) - 1)
    return np.where(distinct[at] == values, count[at], 0)


def _paired(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return (first.astype(np.uint64) << np.uint64(32)) | second.astype(np.uint64)


def _gains(real: np.ndarray) -> np.ndarray:
    """Nats a row by which knowing column p tells column j, at [j, p]; every row is left out of its own counts."""
    n, columns = real.shape
    counts = [_counts(real[:, j], real[:, j]) for j in range(columns)]
    alone = [_share(count - 1, n - 1) for count in counts]
    gains = np.zeros((columns, columns))
    for j in range(columns):
        for p in range(j):
            pair = _paired(real[:, p], real[:, j])
            both = _counts(pair, pair) - 1
            for child, parent in ((j, p), (p, j)):
                told = (both + _PRIOR * alone[child]) / (counts[parent] - 1 + _PRIOR)
                gains[child, parent] = np.mean(np.log(told / alone[child]))
    return gains


def _tree(gains: np.ndarray) -> dict[int, int | None]:
    """The parent of every column, or None where no column tells it; parents come before their children."""
    columns = len(gains)
    parents: dict[int, int | None] = {int(gains.sum(axis=0).argmax()): None}
    while len(parents) < columns:
        rest = [j for j in range(columns) if j not in parents]
        known = list(parents)
        best = np.unravel_index(gains[np.ix_(rest, known)].argmax(), (len(rest), len(known)))
        child, parent = rest[best[0]], known[best[1]]
        parents[child] = parent if gains[child, parent] > _LEAST_GAIN else None
    return parents
