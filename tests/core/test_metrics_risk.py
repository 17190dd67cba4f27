"""A risk is the attack's gain over its control, and its interval says whether there is one."""

import math

import pytest

from tvae_core.metrics.risk import Risk, worst
from tvae_core.metrics.uncertainty import wilson_interval


def test_the_risk_is_the_part_of_what_the_control_leaves_unguessed():
    risk = Risk(60, 100, 20, 100)
    assert (risk.rate, risk.control) == (0.6, 0.2)
    assert risk.value == pytest.approx(0.5)  # .4 gained of the .8 that were left


def test_the_interval_of_the_difference_matches_newcombes_own_example():
    # Newcombe 1998, table II, column 10 for 56/70 - 48/80: .0524 to .3339
    risk = Risk(56, 70, 48, 80)
    low, high = (end * (1 - risk.control) for end in risk.interval)
    assert (low, high) == pytest.approx((0.0524, 0.3339), abs=1e-4)
    assert (risk.low, risk.high) == risk.interval


def test_the_interval_without_any_success_comes_from_the_wilson_intervals_alone():
    top = wilson_interval(0, 50)[1]
    assert Risk(0, 50, 0, 50).interval == pytest.approx((-top, top))


def test_the_worst_of_several_is_judged_by_wider_intervals():
    alone, one_of_ten = Risk(30, 100, 18, 100), Risk(30, 100, 18, 100, comparisons=10)
    assert alone.low > 0 > one_of_ten.low
    assert alone.value == one_of_ten.value


def test_nothing_is_left_to_gain_where_the_control_knows_all():
    assert Risk(10, 10, 10, 10).value == 0.0
    assert Risk(5, 10, 10, 10).low == 0.0


def test_the_worst_risk_is_the_one_that_is_most_surely_there():
    few, many = Risk(2, 2, 0, 2), Risk(600, 1000, 200, 1000)
    assert few.value > many.value
    assert worst({"few": few, "many": many}) == "many"


@pytest.mark.parametrize("counts", [(0, 0, 1, 2), (3, 2, 1, 2), (1, 2, -1, 2), (1, 2, 0, 0)])
def test_counts_that_cannot_be_are_refused(counts):
    with pytest.raises(ValueError, match="right guesses"):
        Risk(*counts)


def test_the_interval_covers_the_true_difference_about_as_often_as_it_says():
    import numpy as np

    rng = np.random.default_rng(0)
    drawn = rng.binomial(200, 0.1, (400, 2))
    held = [Risk(a, 200, b, 200) for a, b in drawn.tolist()]
    covered = np.mean([risk.low <= 0 <= risk.high for risk in held])
    assert 0.92 <= covered <= 0.99
    assert math.isfinite(sum(risk.value for risk in held))
