"""The accountant: against opacus' own, and against closed forms."""

import math

import numpy as np
import pytest

from tvae_core.dp.accountant import (
    ORDERS,
    epsilon_of,
    gaussian_rdp,
    noise_for,
    subsampled_gaussian_rdp,
)
from tvae_core.errors import SettingsError


@pytest.mark.parametrize(
    ("rate", "noise", "steps", "delta"),
    [
        (0.01, 1.1, 1000, 1e-5),
        (0.05, 2.0, 600, 1e-6),
        (0.002, 0.7, 10_000, 1e-5),
        (0.3, 6.0, 50, 1e-4),
        (1.0, 5.0, 3, 1e-5),
    ],
)
def test_epsilon_is_that_of_opacus(rate, noise, steps, delta):
    rdp = pytest.importorskip("opacus.accountants.analysis.rdp")
    theirs = rdp.compute_rdp(q=rate, noise_multiplier=noise, steps=steps, orders=ORDERS.tolist())
    ours = subsampled_gaussian_rdp(rate, noise, steps)
    assert ours == pytest.approx(np.array(theirs), rel=1e-4, abs=1e-9)
    expected, _ = rdp.get_privacy_spent(orders=ORDERS.tolist(), rdp=theirs, delta=delta)
    assert epsilon_of(ours, delta) == pytest.approx(expected, rel=1e-4)


def test_order_two_has_the_closed_form_of_the_paper():
    # A(2) = (1 - q)^2 + 2 q (1 - q) + q^2 exp(1 / noise^2): the binomial sum of section 3.3.
    q, noise = 0.1, 1.5
    at_two = subsampled_gaussian_rdp(q, noise, 7)[np.isclose(ORDERS, 2.0)]
    assert at_two == pytest.approx(7 * math.log(1 - q**2 + q**2 * math.exp(1 / noise**2)), rel=1e-9)


def test_sampling_every_row_is_the_plain_gaussian_and_no_row_is_free():
    assert subsampled_gaussian_rdp(1.0, 2.0, 3) == pytest.approx(3 * ORDERS / 8)
    assert subsampled_gaussian_rdp(0.0, 2.0, 3).sum() == 0
    assert gaussian_rdp(4.0, 2.0) == pytest.approx(ORDERS / 8)


def test_noise_is_the_least_that_keeps_the_promise():
    spent = [gaussian_rdp(20.0, 3.0)]
    noise = noise_for(3.0, 1e-5, rate=0.05, steps=500, spent=spent)
    assert 2.98 < epsilon_of(spent[0] + subsampled_gaussian_rdp(0.05, noise, 500), 1e-5) <= 3.0
    with pytest.raises(SettingsError, match="can't be reached"):
        noise_for(0.1, 1e-5, rate=0.05, steps=500, spent=spent)
