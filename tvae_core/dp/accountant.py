"""What private steps cost together: Renyi differential privacy of the (subsampled) Gaussian mechanism.

Neighbouring tables differ by one row added or removed. Renyi divergences of order alpha add up over mechanisms (Mironov
2017, arXiv:1702.07476, proposition 1) and are turned into (epsilon, delta) at the end.
"""

import math
from collections.abc import Sequence

import numpy as np

from tvae_core.errors import SettingsError

# Orders at which divergences are kept: fine where small epsilons have their best order, coarse beyond.
ORDERS = np.concatenate([1 + np.arange(1, 100) / 10.0, np.arange(11, 64), np.arange(64, 257, 16)])
# The integral of the subsampled mechanism: points, and how many standard deviations beyond its two centres.
POINTS, TAIL = 8_001, 14.0
LARGEST_NOISE = 1e4


def gaussian_rdp(noise: float, sensitivity: float = 1.0) -> np.ndarray:
    """Renyi divergence at `ORDERS` of the Gaussian mechanism: alpha s^2 / (2 noise^2) (Mironov 2017, corollary 3).

    noise: standard deviation of what is added to a query whose L2 sensitivity is s.
    """
    return ORDERS * sensitivity**2 / (2 * noise**2)


def subsampled_gaussian_rdp(rate: float, noise: float, steps: int) -> np.ndarray:
    """Renyi divergence at `ORDERS` of `steps` Gaussian mechanisms, each on a Poisson sample of the rows.

    rate: the probability of a row to be in a step's sample; noise: in multiples of the clipping norm. By Mironov,
    Talwar and Zhang 2019 (arXiv:1908.10530, section 3.1) it is log(A) / (alpha - 1), A being the mean over
    z ~ N(0, noise^2) of ((1 - q) + q exp((2 z - 1) / (2 noise^2)))^alpha; here by the trapezoidal rule, whose error on
    an integrand that decays like a Gaussian is beyond float64.
    """
    if rate == 0 or steps == 0:
        return np.zeros(len(ORDERS))
    if rate == 1:
        return steps * gaussian_rdp(noise)
    z = np.linspace(-TAIL * noise, ORDERS + TAIL * noise, POINTS)  # (points, orders)
    ratio = np.logaddexp(math.log1p(-rate), math.log(rate) + (2 * z - 1) / (2 * noise**2))
    log_terms = ORDERS * ratio - z**2 / (2 * noise**2) - math.log(noise * math.sqrt(2 * math.pi))
    largest = log_terms.max(axis=0)
    width = z[1] - z[0]
    log_a = largest + np.log(np.exp(log_terms - largest).sum(axis=0) * width)
    # Rounding may leave a hair below zero where nothing is lost.
    out: np.ndarray = steps * np.maximum(log_a, 0.0) / (ORDERS - 1)
    return out


def epsilon_of(rdp: np.ndarray, delta: float) -> float:
    """The smallest epsilon at `delta` that divergences at `ORDERS` promise (Canonne et al. 2020, arXiv:2004.00010,
    proposition 12).
    """
    bounds = rdp + np.log1p(-1 / ORDERS) - (math.log(delta) + np.log(ORDERS)) / (ORDERS - 1)
    return max(0.0, float(bounds.min()))


def noise_for(epsilon: float, delta: float, *, rate: float, steps: int, spent: Sequence[np.ndarray]) -> float:
    """The least noise multiplier of `steps` subsampled steps that stays, with what is `spent`, below (epsilon, delta).

    Raises SettingsError when what is spent leaves nothing.
    """
    base = np.sum(spent, axis=0) if len(spent) else np.zeros(len(ORDERS))

    def total(noise: float) -> float:
        return epsilon_of(base + subsampled_gaussian_rdp(rate, noise, steps), delta)

    low, high = 0.2, LARGEST_NOISE
    if total(high) > epsilon:
        raise SettingsError(
            f"epsilon = {epsilon:g} at delta = {delta:g} can't be reached: expected more of either, or fewer epochs"
        )
    while high / low > 1 + 1e-4:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if total(middle) > epsilon else (low, middle)
    return high
