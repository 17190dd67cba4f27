"""A classifier finds what differs between two tables, and nothing where nothing does."""

import numpy as np
import pandas as pd
import pytest

from tvae_core.errors import DataError
from tvae_core.metrics.detection import c2st, detection_score, logistic_detection


def linked(n: int, seed: int) -> pd.DataFrame:
    """Two numbers that move together, and a level that follows their sign; a tenth of the numbers missing."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    y = x + 0.3 * rng.normal(size=n)
    y[rng.random(n) < 0.1] = np.nan
    return pd.DataFrame({"x": x, "y": y, "sign": np.where(x > 0, "plus", "minus").astype(object)})


def shuffled(frame: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Every column permuted by itself: the margins stay, what links them goes."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame({name: frame[name].to_numpy()[rng.permutation(len(frame))] for name in frame})


@pytest.mark.parametrize(("auc", "score"), [(0.5, 1.0), (0.75, 0.5), (1.0, 0.0), (0.3, 1.0)])
def test_the_detection_score_of_an_auc_matches_its_formula(auc, score):
    assert detection_score(auc) == pytest.approx(score)


def test_two_draws_of_one_population_cannot_be_told_apart():
    result = c2st(linked(1500, 0), linked(1500, 1))
    assert abs(result.auc - 0.5) < 4 * result.standard_error
    assert result.rows == 1500


def test_trees_see_that_columns_were_shuffled():
    real = linked(1500, 0)
    assert c2st(real, shuffled(real, 1)).auc > 0.9


def test_a_logistic_regression_sees_margins_but_not_shuffled_columns():
    real = linked(1500, 0)
    assert logistic_detection(real, shuffled(real, 1)).score > 0.9
    moved = real.assign(x=real["x"] + 1.5)
    assert logistic_detection(real, moved).score < 0.6


@pytest.mark.parametrize("detect", [c2st, logistic_detection])
def test_missing_values_at_another_rate_are_seen(detect):
    real, synthetic = linked(1500, 0), linked(1500, 1)
    synthetic["y"] = synthetic["y"].fillna(0.0)
    assert detect(real, synthetic).auc > 0.54
    synthetic["y"] = np.where(np.arange(1500) % 2, np.nan, synthetic["y"])
    assert detect(real, synthetic).auc > 0.6


def test_the_longer_table_is_cut_and_the_result_depends_on_the_seed_alone():
    real, synthetic = linked(900, 0), linked(600, 1)
    first, again, other = (c2st(real, synthetic, seed=seed) for seed in (3, 3, 4))
    assert first == again
    assert first.rows == 600
    assert first.auc != other.auc


def test_a_column_that_is_all_missing_or_constant_does_no_harm():
    real, synthetic = (linked(300, seed).assign(gone=np.nan, same=1.0) for seed in (0, 1))
    assert 0.3 < c2st(real, synthetic).auc < 0.7
    assert 0.3 < logistic_detection(real, synthetic).auc < 0.7


def test_persons_are_not_recognised_by_their_other_rows_when_groups_keep_them_together():
    # Every person has 5 equal rows of own traits: a classifier that saw one of them knows the others.
    rng = np.random.default_rng(0)
    traits = rng.normal(size=(400, 3))
    real = pd.DataFrame(np.repeat(traits, 5, axis=0), columns=list("abc"))
    synthetic = pd.DataFrame(rng.normal(size=(2000, 3)), columns=list("abc"))
    person = np.repeat(np.arange(400), 5)
    apart = c2st(real, synthetic).auc
    together = c2st(real, synthetic, groups=(person, np.arange(2000))).auc
    assert apart > 0.7
    assert 0.4 < together < 0.6


def test_too_few_rows_groups_or_columns_are_refused():
    few = linked(2, 0)
    with pytest.raises(DataError, match="at least 3 rows"):
        c2st(few, few)
    ten = linked(10, 0)
    with pytest.raises(DataError, match="at least 3 groups"):
        c2st(ten, ten, groups=(np.zeros(10), np.arange(10)))
    gone = pd.DataFrame({"x": [np.nan] * 10})
    with pytest.raises(DataError, match="at least one column"):
        c2st(gone, gone)
