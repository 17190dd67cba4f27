"""Counts with Gaussian noise on them, and what may be said of cells that are counted so."""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

# A cell whose noisy count is this many standard deviations of the noise high holds rows, whatever is around it.
CERTAIN = 4.0
# An end of a column's values is placed too far out by noise with this probability.
FALSE_END = 0.02


@dataclass(frozen=True)
class NoisyCounts:
    """How histograms are made: the noise's standard deviation, who draws it, and the delta of the names found."""

    noise: float
    generator: np.random.Generator
    delta: float

    def add(self, counts: np.ndarray) -> np.ndarray:
        """Counts (cells,) with noise on each, the empty ones too."""
        out: np.ndarray = counts + self.generator.normal(0.0, self.noise, len(counts))
        return out

    @property
    def threshold(self) -> float:
        """What the noisy count of a category must reach to be named."""
        return 1 + self.noise * NormalDist().inv_cdf(1 - self.delta)


def ends(deviations: np.ndarray, starts: np.ndarray, stops: np.ndarray) -> tuple[int, int]:
    """The first and the last of the cells in order that hold rows.

    deviations: the cells' noisy counts in standard deviations of their noise; starts, stops: where they lie, so that a
    cell next to others needs less than a distant one: at distance d (1 for a neighbour), what noise reaches with
    probability `FALSE_END` / (d (d + 1)), which is `FALSE_END` over all distances.

    >>> cells = np.arange(6)
    >>> ends(np.array([-0.4, 2.4, 30.0, 20.0, 0.3, 2.4]), cells, cells + 1)
    (1, 3)
    """
    certain = np.flatnonzero(deviations > CERTAIN)
    certain = certain if len(certain) else np.array([deviations.argmax()])
    last = len(deviations) - 1
    below = _outermost(deviations[::-1], -stops[::-1], -starts[::-1], last - int(certain[0]))
    return last - below, _outermost(deviations, starts, stops, int(certain[-1]))


def _outermost(deviations: np.ndarray, starts: np.ndarray, stops: np.ndarray, last: int) -> int:
    while True:
        distances = (starts[last + 1 :] - stops[last]).astype(float) + 1
        needed = [-NormalDist().inv_cdf(FALSE_END / (d * (d + 1))) for d in distances]
        found = np.flatnonzero(deviations[last + 1 :] > np.array(needed))
        if not len(found):
            return last
        last += 1 + int(found[-1])
