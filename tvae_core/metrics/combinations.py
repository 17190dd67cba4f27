"""k-anonymity of rare combinations: does the synthetic table reproduce what a single person has?

Sweeney 2002, "k-anonymity: a model for protecting privacy", International Journal of Uncertainty, Fuzziness and
Knowledge-Based Systems 10:557: who shares a combination of quasi-identifiers with fewer than k - 1 others can be found
by it. The control is how often the synthetic table reproduces such combinations of people it was not made from.
"""

import numpy as np
import pandas as pd

from tvae_core.errors import DataError
from tvae_core.metrics.frames import ordinal, refuse_empty
from tvae_core.metrics.risk import Risk

SETS = 40
"""Sets of columns that are looked at; every row is looked up by one of them."""

SET_COLUMNS = 3
"""Columns that are joined."""

K = 2
"""A combination is rare when fewer than this many entities of its table have it."""


def rare_combinations(
    train: pd.DataFrame,
    holdout: pd.DataFrame,
    synthetic: pd.DataFrame,
    *,
    entities: tuple[np.ndarray | None, np.ndarray | None] = (None, None),
    k: int = K,
    seed: int = 0,
) -> Risk:
    """Rows whose combination of values fewer than `k` entities of their table have: how many reappear?

    Every training row is looked up by one random set of `SET_COLUMNS` columns, so that rows are independent guesses;
    of those whose combination is rare, the ones that some synthetic row has as well are successes. The control does
    the same with holdout rows, among equally many: how rare a combination is depends on how many rows there are.

    Args:
        train: tidy frame (see `tidy`) of training rows.
        holdout: tidy frame of real rows that the generator has not seen.
        synthetic: tidy frame of synthetic rows.
        entities: whose every row of train and of the holdout is, (n,); None where every row stands alone.
        k: fewer entities than this make a combination rare.
        seed: decides the sets of columns and the rows.

    Raises:
        DataError: an empty table, or no rare combination in train or in the holdout.
    """
    refuse_empty(train, holdout, synthetic)
    rng = np.random.default_rng([seed, 8])
    n = min(len(train), len(holdout))
    chosen = [rng.permutation(len(frame))[:n] for frame in (train, holdout)]
    cut = [frame.iloc[rows] for frame, rows in zip((train, holdout), chosen, strict=True)]
    whose = [
        np.arange(n) if owner is None else owner[rows] for owner, rows in zip(entities, chosen, strict=True)
    ]
    codes, sizes = _coded([*cut, synthetic])
    counts = np.zeros((2, 2), int)
    sets = [rng.choice(train.shape[1], min(SET_COLUMNS, train.shape[1]), replace=False) for _ in range(SETS)]
    turn = rng.integers(0, SETS, n)
    for i, columns in enumerate(sets):
        keys = [_joined(table[:, columns], sizes[columns]) for table in codes]
        for side in (0, 1):
            rare = _held_by_few(keys[side], whose[side], k) & (turn == i)
            counts[side] += int(np.isin(keys[side][rare], keys[2]).sum()), int(rare.sum())
    if counts[:, 1].min() == 0:
        raise DataError(f"expected combinations that fewer than {k} entities have, however there are none")
    return Risk(int(counts[0, 0]), int(counts[0, 1]), int(counts[1, 0]), int(counts[1, 1]))


def _coded(frames: list[pd.DataFrame]) -> tuple[list[np.ndarray], np.ndarray]:
    """Every column's values as codes that the frames share, int64 of shape (n, columns), and how many there are."""
    tables = np.concatenate([frame.to_numpy() for frame in ordinal(frames)])
    codes = [pd.factorize(column, use_na_sentinel=False) for column in tables.T]
    joined = np.stack([code for code, _ in codes], axis=1).astype(np.int64)
    ends = np.cumsum([len(frame) for frame in frames])[:-1]
    return np.split(joined, ends), np.array([len(distinct) for _, distinct in codes])


def _joined(codes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """One code for the values of a few columns, int64 (n,)."""
    key = np.zeros(len(codes), np.int64)
    for code, size in zip(codes.T, sizes, strict=True):
        key = key * size + code
    return key


def _held_by_few(keys: np.ndarray, entities: np.ndarray, k: int) -> np.ndarray:
    """Which rows have a key that fewer than `k` entities have."""
    _, key = np.unique(keys, return_inverse=True)
    pairs = np.unique(key * (entities.max() + 1) + entities)
    held: np.ndarray = np.bincount(pairs // (entities.max() + 1))[key] < k
    return held
