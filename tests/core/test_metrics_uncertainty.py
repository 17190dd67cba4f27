"""Intervals and standard errors agree with numbers worked out by hand or published."""

import math

import pytest

from tvae_core.metrics.uncertainty import auc_standard_error, share_standard_error, wilson_interval


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        (0, 10, 0.0, 0.277533),  # upper end z^2 / (n + z^2) = 3.841459 / 13.841459
        (10, 10, 0.722467, 1.0),
        (50, 100, 0.403832, 0.596168),  # .5 -+ 1.96 sqrt(.0025 + z^2 / 40000) / (1 + z^2 / 100)
        (1, 2, 0.094531, 0.905469),
    ],
)
def test_wilson_interval_matches_hand_computed_ends(successes, trials, low, high):
    assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=1e-6)


@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (-1, 5), (6, 5)])
def test_wilson_interval_refuses_impossible_counts(successes, trials):
    with pytest.raises(ValueError, match="successes <= trials"):
        wilson_interval(successes, trials)


def test_the_standard_error_of_an_auc_matches_the_formula_by_hand():
    # auc .5: q1 = 1/3, q2 = 1/3; variance = (.25 + 2 * 9 * (1/3 - .25)) / 100 = .0175
    assert auc_standard_error(0.5, 10, 10) == pytest.approx(math.sqrt(0.0175))
    assert auc_standard_error(1.0, 10, 10) == 0.0


def test_the_standard_error_of_a_share_is_the_binomial_one():
    assert share_standard_error(0.2, 400) == pytest.approx(0.02)
