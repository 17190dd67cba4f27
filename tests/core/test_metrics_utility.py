"""What a table teaches is measured on rows that neither table holds, beside what real rows teach."""

import numpy as np
import pandas as pd
import pytest

from tvae_core.errors import DataError
from tvae_core.metrics.frames import MISSING
from tvae_core.metrics.utility import r2, utility


def taught(n: int, seed: int) -> pd.DataFrame:
    """Targets of every kind that follow from one number, among noise."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    return pd.DataFrame(
        {
            "x": x,
            "noise": rng.normal(size=n),
            "binary": np.where(x + 0.3 * rng.normal(size=n) > 0, "yes", "no").astype(object),
            "flag": (x > 0).astype(float),
            "three": np.select([x < -0.5, x < 0.5], ["low", "mid"], "high").astype(object),
            "number": 2 * x + 0.1 * rng.normal(size=n),
        }
    )


REAL, HOLDOUT = taught(1200, 0), taught(800, 1)
BLIND = pd.DataFrame(
    {name: REAL[name].to_numpy()[np.random.default_rng(i).permutation(1200)] for i, name in enumerate(REAL)}
)


@pytest.mark.parametrize(
    ("target", "measure", "chance"),
    [("binary", "auc", 0.5), ("flag", "auc", 0.5), ("three", "accuracy", 0.4), ("number", "r2", 0.0)],
)
def test_a_table_that_keeps_the_dependence_teaches_it_and_a_shuffled_one_does_not(target, measure, chance):
    features = ["x", "noise", target]
    good = utility(REAL[features], taught(1200, 2)[features], HOLDOUT[features], target)
    assert good.measure == measure
    assert good.ratio == pytest.approx(1.0, abs=0.05)
    blind = utility(REAL[features], BLIND[features], HOLDOUT[features], target)
    assert blind.tstr.score < chance + 0.12
    assert blind.trtr == good.trtr


def test_real_rows_as_synthetic_ones_score_the_same_as_the_control():
    result = utility(REAL, REAL, HOLDOUT, "binary")
    assert result.tstr == result.trtr
    assert result.ratio == 1.0


def test_r2_matches_hand_computed_numbers():
    # errors 1, 0, -2: squared 1, 0, 4; truth 1, 2, 6 has mean 3 and variance (4 + 1 + 9) / 3
    result = r2(np.array([1.0, 2.0, 6.0]), np.array([0.0, 2.0, 8.0]))
    assert result.score == pytest.approx(1 - 5 / 14)
    assert result.others["rmse"] == pytest.approx(np.sqrt(5 / 3))
    spread = np.sqrt((1 + 0 + 16) / 3 - (5 / 3) ** 2)
    assert result.standard_error == pytest.approx(spread / (np.sqrt(3) * 14 / 3))


def test_rows_without_a_target_are_left_out():
    gaps = REAL.copy()
    gaps.loc[:999, "binary"] = MISSING
    complete = utility(REAL.iloc[1000:], REAL, HOLDOUT, "binary")
    assert utility(gaps, REAL, HOLDOUT, "binary").trtr.score == pytest.approx(complete.trtr.score, abs=0.02)


def test_a_synthetic_target_with_a_single_level_teaches_nothing():
    single = REAL.assign(binary="yes")
    assert utility(REAL, single, HOLDOUT, "binary").tstr.score == 0.5


def test_synthetic_numbers_between_the_two_values_of_a_target_count_as_the_nearer_one():
    blurred = REAL.assign(flag=REAL["flag"] + np.random.default_rng(0).uniform(-0.3, 0.3, len(REAL)))
    assert utility(REAL, blurred, HOLDOUT, "flag").tstr.score > 0.95


def test_a_level_seen_once_does_not_stop_the_training():
    rare = taught(12_000, 3)  # early stopping, which sets rows aside by level, starts above 10,000 rows
    rare.loc[0, "three"] = "once"
    assert utility(rare, rare, HOLDOUT, "three").tstr.score > 0.9


def test_macro_auc_stands_beside_the_accuracy():
    assert utility(REAL, REAL, HOLDOUT, "three").tstr.others["macro_auc"] > 0.95


@pytest.mark.parametrize(
    ("change", "target", "message"),
    [
        (lambda f: f, "absent", "'absent'"),
        (lambda f: f[["binary"]], "binary", "beside the target"),
        (lambda f: f.head(5), "binary", "at least 10 rows"),
        (lambda f: f.assign(binary="yes"), "binary", "single value"),
        (
            lambda f: f.assign(binary=[f"level {i % 40}" for i in range(len(f))]),
            "binary",
            "at most 30 levels",
        ),
    ],
)
def test_a_target_that_cannot_be_learnt_is_refused(change, target, message):
    real, holdout = change(REAL), change(HOLDOUT)
    with pytest.raises(DataError, match=message):
        utility(real, real, holdout, target)
