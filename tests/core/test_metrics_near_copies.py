"""Copies are seen though half of their values were replaced, and unseen rows never pass for copies."""

import numpy as np
import pandas as pd
import pytest

from tvae_core.errors import DataError
from tvae_core.metrics.frames import value_codes
from tvae_core.metrics.implausibility import implausibility
from tvae_core.metrics.near_copies import near_copies
from tvae_core.schema import infer_schema
from tvae_core.sources import as_source

COLUMNS = 12


def population(n: int, seed: int) -> np.ndarray:
    """Codes of a Markov chain of columns, each with 40 values of falling frequency."""
    rng = np.random.default_rng(seed)
    fresh = np.minimum(rng.geometric(0.12, (n, COLUMNS)) - 1, 39)
    out = fresh.copy()
    for j in range(1, COLUMNS):
        out[:, j] = np.where(rng.random(n) < 0.4, (out[:, j - 1] + j) % 40, fresh[:, j])
    return out.astype(np.uint32)


TRAIN, HOLDOUT, FRESH = population(5000, 0), population(4000, 1), population(5000, 2)


def planted(share: float, flipped: bool, seed: int = 0) -> np.ndarray:
    """Fresh rows, of which a share is copied from train, with half of the values from other rows when flipped."""
    rng = np.random.default_rng(seed)
    count = int(share * len(FRESH))
    rows = TRAIN[rng.choice(len(TRAIN), count, replace=False)].copy()
    if flipped:
        other = np.stack([rng.choice(TRAIN[:, j], count) for j in range(COLUMNS)], axis=1)
        replaced = np.argsort(rng.random(rows.shape), axis=1) < COLUMNS // 2
        rows = np.where(replaced, other, rows)
    return np.concatenate([rows, FRESH[count:]])


@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize("share", [0.01, 0.05, 0.2])
def test_planted_copies_are_seen(share, flipped):
    found = near_copies(TRAIN, HOLDOUT, planted(share, flipped))
    least = (
        0.5 if share == 0.01 else 0.55
    )  # fifty copies are seen; the policy for partners refuses five times as many
    assert least < found.low < found.share <= 1
    # 5,000 training and 4,000 holdout rows: the odds of the two are balanced by their number.
    odds = found.near_train / 5000 / (found.near_holdout / 4000 + found.near_train / 5000)
    assert found.share == pytest.approx(odds)


@pytest.mark.parametrize("seed", range(4))
def test_rows_that_were_not_seen_pass(seed):
    assert near_copies(TRAIN, HOLDOUT, population(5000, 10 + seed), seed=seed).low <= 0.5


def test_a_train_much_longer_than_the_holdout_changes_nothing_for_unseen_rows():
    assert near_copies(population(16000, 5), HOLDOUT[:1000], FRESH).low <= 0.5


def test_copies_of_the_holdout_are_no_risk_for_training_rows():
    assert near_copies(HOLDOUT, TRAIN, planted(0.2, False)).low <= 0.5


def test_one_training_row_repeated_many_times_counts_once():
    found = near_copies(TRAIN, HOLDOUT, np.concatenate([FRESH[:4500], np.tile(TRAIN[:1], (500, 1))]))
    assert found.near_train < 100


def test_constant_columns_and_tiny_tables_conclude_nothing():
    same = np.zeros((50, 3), np.uint32)
    assert near_copies(same, same, same).low == 0.0
    assert near_copies(TRAIN[:3], HOLDOUT[:3], FRESH[:3]).low == 0.0


def test_empty_tables_are_refused():
    with pytest.raises(DataError, match="5000 and 0 and"):
        near_copies(TRAIN, HOLDOUT[:0], FRESH)


def test_a_row_that_breaks_a_dependence_is_less_plausible_than_one_that_keeps_it():
    rng = np.random.default_rng(0)
    a = rng.integers(0, 4, 2000)
    real = np.stack([a, a, rng.integers(0, 4, 2000)], axis=1).astype(np.uint32)
    kept, broken, unseen = implausibility(
        np.array([[1, 1, 0], [1, 2, 0], [1, 9, 0]], np.uint32), real, np.random.default_rng(1)
    )
    # kept: a quarter for the first column, nearly 1 for the second, a quarter for the third
    assert kept == pytest.approx(2 * np.log(4), abs=0.1)
    assert broken > kept + 3
    assert unseen > broken


def test_codes_are_equal_when_and_only_when_values_are():
    first = pd.DataFrame({"n": [1.5, np.nan, -0.0], "s": ["a", None, "b"]})
    second = pd.DataFrame({"n": [0.0, 1.5, 2.5], "s": ["b", "a", "a"]})
    schema = infer_schema(first)
    a, b = (value_codes(as_source(frame), schema) for frame in (first, second))
    assert a.dtype == np.uint32
    assert (a[:, None] == b).tolist() == [
        [[False, False], [True, True], [False, True]],
        [[False, False], [False, False], [False, False]],
        [[True, True], [False, False], [False, False]],
    ]
