"""Attack against control: what an attack gains on training rows beyond what it gains on rows never seen.

Giomi, Boenisch, Wehmeyer and Tasnadi 2023, "A Unified Framework for Quantifying Privacy Risk in Synthetic Data",
arXiv:2211.10459, section 4.1: the risk is (train rate - control rate) / (1 - control rate), the part of what the
control leaves unguessed that is guessed because the generator has seen the rows.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

from tvae_core.metrics.uncertainty import wilson_interval


@dataclass(frozen=True)
class Risk:
    """One attack, tried on training rows and on holdout rows.

    Attributes:
        successes: guesses about training rows that were right.
        attacks: guesses about training rows.
        control_successes: guesses about holdout rows that were right.
        controls: guesses about holdout rows.
        comparisons: risks of which the worst is reported: the interval of each then covers
            1 - .05 / comparisons, so that all of them hold at 95 % together (Bonferroni).

    Raises:
        ValueError: no guesses, or more right ones than guesses.
    """

    successes: int
    attacks: int
    control_successes: int
    controls: int
    comparisons: int = 1

    def __post_init__(self) -> None:
        for right, guesses in ((self.successes, self.attacks), (self.control_successes, self.controls)):
            if not 0 <= right <= guesses or guesses < 1:
                raise ValueError(
                    f"expected 0 <= right guesses <= guesses and some, however: {right} of {guesses}"
                )

    @property
    def rate(self) -> float:
        """Share of the guesses about training rows that were right."""
        return self.successes / self.attacks

    @property
    def control(self) -> float:
        """Share of the guesses about holdout rows that were right."""
        return self.control_successes / self.controls

    @property
    def value(self) -> float:
        """The risk: 0 when nothing is gained, 1 when all is known; below 0 by chance; 0 when the control knows all."""
        return self._scaled(self.rate - self.control)

    @property
    def low(self) -> float:
        """Lower end of the risk's 95 % interval: above 0 when, and only when, the attack beats its control."""
        return self.interval[0]

    @property
    def high(self) -> float:
        """Upper end of the risk's 95 % interval."""
        return self.interval[1]

    @property
    def interval(self) -> tuple[float, float]:
        """The difference of the rates by Newcombe's score method (1998, Statistics in Medicine 17:873, method 10).

        It joins the Wilson intervals of both rates; the ends are scaled as the risk is.
        """
        z = two_sided(self.comparisons)
        low, high = wilson_interval(self.successes, self.attacks, z)
        control_low, control_high = wilson_interval(self.control_successes, self.controls, z)
        gain = self.rate - self.control
        down = math.hypot(self.rate - low, control_high - self.control)
        up = math.hypot(high - self.rate, self.control - control_low)
        return self._scaled(gain - down), self._scaled(gain + up)

    def _scaled(self, difference: float) -> float:
        return difference / (1 - self.control) if self.control < 1 else 0.0


def two_sided(comparisons: int = 1) -> float:
    """Standard normal quantile of intervals that hold at 95 % together, `comparisons` of them.

    >>> round(two_sided(), 4), round(two_sided(5), 4)
    (1.96, 2.5758)
    """
    return NormalDist().inv_cdf(1 - 0.025 / comparisons)


def worst(risks: dict[str, Risk]) -> str:
    """Name of the risk whose lower end is highest."""
    return max(risks, key=lambda name: risks[name].low)
