"""Standard errors and intervals of the figures: pure functions of counts."""

import math

Z_95 = 1.959963984540054
"""The 97.5 % quantile of the standard normal: intervals cover 95 %."""


def wilson_interval(successes: float, trials: int, z: float = Z_95) -> tuple[float, float]:
    """Confidence interval of a binomial share by Wilson (1927): sound for shares near 0 or 1 as well.

    `successes` may be fractional (ties counted half).

    >>> [round(bound, 4) for bound in wilson_interval(50, 100)]
    [0.4038, 0.5962]

    Raises:
        ValueError: no trials, or successes outside 0 .. trials.
    """
    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(
            f"expected 0 <= successes <= trials and trials >= 1, however: {successes=}, {trials=}"
        )
    share = successes / trials
    spread = z * z / trials
    centre = (share + spread / 2) / (1 + spread)
    half = z * math.sqrt(share * (1 - share) / trials + spread / (4 * trials)) / (1 + spread)
    return max(0.0, centre - half), min(1.0, centre + half)


def auc_standard_error(auc: float, positives: int, negatives: int) -> float:
    """Standard error of an area under the ROC curve by Hanley and McNeil (1982, Radiology 143:29), eq. 1.

    >>> round(auc_standard_error(0.5, 100, 100), 4)
    0.0409
    """
    q1 = auc / (2 - auc)
    q2 = 2 * auc * auc / (1 + auc)
    variance = auc * (1 - auc) + (positives - 1) * (q1 - auc**2) + (negatives - 1) * (q2 - auc**2)
    return math.sqrt(max(variance, 0.0) / (positives * negatives))


def share_standard_error(share: float, trials: int) -> float:
    """Standard error of a binomial share, such as an accuracy.

    >>> share_standard_error(0.5, 100)
    0.05
    """
    return math.sqrt(share * (1 - share) / trials)
