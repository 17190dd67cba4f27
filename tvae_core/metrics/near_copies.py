"""Near copies: synthetic rows that share suspiciously many rare values with a training row.

A copy whose values are half replaced no longer lies close to its original, yet what is left of it agrees with one
training row far beyond chance. Agreement is measured as in record linkage (Fellegi and Sunter 1969, JASA 64:1183):
equal values of a column weigh -log of their share among real rows. A synthetic row stands out by as much as its best
agreement with a real row exceeds its second best. Where the generator has not seen the rows, the one that it agrees
with best is a training row as often as training rows are among the real ones, for any data and any dependence between
columns, and however much it stands out; copies stand out and point at train.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tvae_core.metrics.frames import refuse_empty
from tvae_core.metrics.implausibility import implausibility
from tvae_core.metrics.limits import NEAR_COPY_QUERIES
from tvae_core.metrics.risk import two_sided
from tvae_core.metrics.uncertainty import wilson_interval

IMPLAUSIBLE = (1.0, 0.1)
"""Shares of the synthetic rows that are looked at, least plausible first: a mixture of two people is an odd row."""

OUTSTANDING = (0.2, 0.05)
"""Shares of those that are counted, those that stand out most first."""

LOOK_UPS = 400
"""Random sets of columns by which agreeing rows are looked up: half-replaced copies agree in a set of two with
probability 1/4."""

CANDIDATES = 16
"""Real rows that are compared for each look-up."""

_LEAST_COUNT = 10  # rows that must stand out before anything is concluded from them


@dataclass(frozen=True)
class NearCopies:
    """Synthetic rows that stand out by their agreement with a training row, against the same with the holdout.

    Attributes:
        share: of the real rows that the synthetic ones which stand out agree with, the share that are training rows,
            balanced for the tables' lengths and where it is most certainly high; .5 is chance, 1 is a copy of train.
        low: lower end of its interval, which holds at 95 % over all the groups that were looked at together; 0 where
            too few rows stand out to tell.
        near_train: different training rows that the rows of that group agree with.
        near_holdout: different holdout rows that they agree with.
        rows: synthetic rows looked at.
        train_rows: training rows searched.
        holdout_rows: holdout rows searched.
    """

    share: float
    low: float
    near_train: int
    near_holdout: int
    rows: int
    train_rows: int
    holdout_rows: int


def near_copies(
    train: np.ndarray, holdout: np.ndarray, synthetic: np.ndarray, *, seed: int = 0
) -> NearCopies:
    """Count synthetic rows that agree with a training row beyond what they do with holdout rows.

    Real rows that agree are found through `LOOK_UPS` random sets of columns, each just large enough for few rows to
    share all its values (bit sampling: Indyk and Motwani 1998, STOC 30:604); the same rows are found whether they lie
    in train or in the holdout, so that what is missed biases nothing. A real row counts once, however many synthetic
    rows agree with it best.

    Args:
        train: values as `value_codes` gives them, uint32 of shape (n, columns).
        holdout: the same of real rows that the generator has not seen.
        synthetic: the same of synthetic rows, of which `NEAR_COPY_QUERIES` at most are looked at.
        seed: decides the rows and the sets of columns.

    Raises:
        DataError: an empty table, or no column.
    """
    refuse_empty(train, holdout, synthetic)
    rng = np.random.default_rng([seed, 5])
    if len(synthetic) > NEAR_COPY_QUERIES:
        synthetic = synthetic[np.sort(rng.choice(len(synthetic), NEAR_COPY_QUERIES, replace=False))]
    real = np.concatenate([train, holdout])
    margin, best = _best_agreement(synthetic, real, rng)
    groups = [
        _share(best[group], len(train), len(holdout))
        for group in _groups(margin, implausibility(synthetic, real, rng))
    ]
    share, low, near_train, near_holdout = max(groups, key=lambda group: group[1])
    return NearCopies(share, low, near_train, near_holdout, len(synthetic), len(train), len(holdout))


def _groups(margin: np.ndarray, odd: np.ndarray) -> Iterator[np.ndarray]:
    """Rows of each group: the least plausible ones, and among them those that stand out most."""
    by_oddness = np.argsort(-odd, kind="stable")
    for share in IMPLAUSIBLE:
        rows = by_oddness[: int(np.ceil(share * len(odd)))]
        ordered = rows[np.argsort(-margin[rows], kind="stable")]
        for part in OUTSTANDING:
            group = ordered[: int(np.ceil(part * len(rows)))]
            yield group[margin[group] > 0]


def _share(best: np.ndarray, train: int, holdout: int) -> tuple[float, float, int, int]:
    """Balanced share of train, its lower end, and the different rows of train and of the holdout agreed with."""
    agreed = np.unique(best)
    near_train, near_holdout = int((agreed < train).sum()), int((agreed >= train).sum())
    count = near_train + near_holdout
    if count < _LEAST_COUNT:
        return 0.5, 0.0, near_train, near_holdout
    z = two_sided(len(IMPLAUSIBLE) * len(OUTSTANDING))
    low = wilson_interval(near_train, count, z)[0]
    share, low = (s * holdout / (s * holdout + (1 - s) * train) for s in (near_train / count, low))
    return share, low, near_train, near_holdout


def _best_agreement(
    query: np.ndarray, real: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """By how much the best agreement found exceeds the second best, float32 (n,), and whose it is, int64 (n,)."""
    weight, information = _surprise(query, real)
    first, second = np.zeros(len(query), np.float32), np.zeros(len(query), np.float32)
    best = np.full(len(query), -1, np.int64)
    for columns in _column_sets(information, len(real), rng):
        for candidate in _sharing(query, real, columns, rng):
            who = np.flatnonzero((candidate >= 0) & (candidate != best))
            other = candidate[who]
            agreed = np.einsum("ij,ij->i", query[who] == real[other], weight[who])
            second[who] = np.maximum(second[who], np.minimum(agreed, first[who]))
            better = agreed > first[who]
            first[who[better]], best[who[better]] = agreed[better], other[better]
    return first - second, best


def _surprise(query: np.ndarray, real: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """-log of every query value's share of the real rows, float32 (n, columns), and of chance equality, by column."""
    weight = np.zeros(query.shape, np.float32)
    information = np.zeros(query.shape[1])
    for j in range(query.shape[1]):
        distinct, count = np.unique(real[:, j], return_counts=True)
        share = count / len(real)
        information[j] = -np.log((share**2).sum())
        at = np.minimum(np.searchsorted(distinct, query[:, j]), len(distinct) - 1)
        # A value that no real row has can't be equal to one: its weight is never added.
        weight[:, j] = -np.log(share[at])
    return weight, information


def _column_sets(information: np.ndarray, rows: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Random sets of columns, informative ones more often, that about `CANDIDATES` of the rows share by chance."""
    telling = np.flatnonzero(information > 0)
    if len(telling) == 0:
        return
    enough = np.log(max(rows / CANDIDATES, 1.0))
    chance = information[telling] / information[telling].sum()
    seen = set()
    for _ in range(LOOK_UPS):
        order = rng.choice(telling, len(telling), replace=False, p=chance)
        reached = int(np.searchsorted(np.cumsum(information[order]), enough)) + 1
        columns = np.sort(order[:reached])
        if columns.tobytes() not in seen:
            seen.add(columns.tobytes())
            yield columns


def _sharing(
    query: np.ndarray, real: np.ndarray, columns: np.ndarray, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """Up to `CANDIDATES` real rows that share all values of these columns with each query row; -1 for none."""
    keys = [_joined(rows, columns) for rows in (real, query)]
    # Among equal keys the order is random, so that any `CANDIDATES` of them are a fair draw from both tables.
    order = rng.permutation(len(real))
    order = order[np.argsort(keys[0][order], kind="stable")]
    ordered = keys[0][order]
    left, right = (np.searchsorted(ordered, keys[1], side=side) for side in ("left", "right"))
    for i in range(CANDIDATES):
        at = left + i
        yield np.where(at < right, order[np.minimum(at, len(order) - 1)], -1)


def _joined(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """One 64-bit key for the values of several columns."""
    key = np.zeros(len(rows), np.uint64)
    for j in columns:
        key = (key ^ rows[:, j]) * np.uint64(0x9E3779B97F4A7C15)
        key ^= key >> np.uint64(29)
    return key
