"""What may be learned of a column of numbers, and what of the values beyond its protected ends."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tvae_core.codecs.domain import NumberDomain
from tvae_core.codecs.tails import exponential

# A mean over fewer holders than this is too near to a single one's value.
FEWEST_IN_MEAN = 4
# A mean distance is known to the nearest of so many steps an octave: within 9 percent.
STEPS_AN_OCTAVE = 4
# Where shares and percentages end. Values spread evenly up to there have half of the way as their mean distance, give
# or take a fifth for nine of them: a tail that has so many of its means left until there may end there.
NATURAL_ENDS, MEANS_TO_THE_END = (1, 100), 1.25


@dataclass(frozen=True)
class Outermost:
    """Of each holder the outermost value on one side of a column, from the outermost on (n,).

    limit: a declared end that nothing passes, or None; both in numbers of the domain without decimals.
    """

    values: np.ndarray
    limit: int | float | None = None


@dataclass(frozen=True)
class Guard:
    """What may be learned of a numeric column: values of at least `k` holders, inside [low, high].

    low, high: numbers of the domain without decimals. Where `public_low` or `public_high` is set that end is declared
    and kept. count: the holders of values (n,) over the whole table -> (n,); None: the rows that `fit` sees count.
    outermost: what a tail below and one above are fitted to; None where there is none.
    """

    k: int
    low: int | float
    high: int | float
    public_low: bool = False
    public_high: bool = False
    count: Callable[[NumberDomain, np.ndarray], np.ndarray] | None = None
    outermost: tuple[Outermost | None, Outermost | None] = (None, None)

    def limits(self, domain: NumberDomain) -> tuple[int | float, int | float]:
        """low and high as numbers of the column's own domain."""
        low, high = in_units(domain, np.array([self.low, self.high]))
        return low.item(), high.item()

    def held(self, domain: NumberDomain, values: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Which values (n,), held by `rows` (n,) rows, at least k holders share -> (n,) bool."""
        enough = rows >= self.k
        if self.count is not None and enough.any():
            enough[enough] = self.count(domain, values[enough]) >= self.k
        return enough

    def trim(self, domain: NumberDomain, numbers: np.ndarray) -> np.ndarray:
        """Numbers clipped to [low, high] and to their own k-th smallest and largest."""
        low, high = self.limits(domain)
        ordered = np.sort(numbers)
        if len(ordered) >= 2 * self.k:  # fewer only in a sample of a larger table, whose own limits hold
            low = low if self.public_low else max(low, ordered[self.k - 1])
            high = high if self.public_high else min(high, ordered[-self.k])
        return np.clip(numbers, low, high)

    def tail(
        self, domain: NumberDomain, end: int | float, *, above: bool, step: int
    ) -> tuple[float, float] | None:
        """Scale and length of an exponential of the values beyond `end`, or None where nothing is drawn there.

        All that is learned of those values is their mean distance from the end, roughly, over at least k - 1 holders
        beside the one who holds the end. Neither of the farthest two counts for more than all nearer ones together, so
        that neither can be told, not even by the other.
        """
        outermost = self.outermost[above]
        if outermost is None:
            return None
        values = in_units(domain, outermost.values)
        distances = (values - end if above else end - values).astype(np.float64)
        distances = distances[distances > 0]
        if not max(self.k - 1, FEWEST_IN_MEAN) <= len(distances) < len(values):
            return None
        distances[:2] = np.minimum(distances[:2], distances[2:].sum())
        mean = rough(float(distances.mean()))
        room = self._room(domain, end, mean, above=above)
        if domain.integral:
            room, mean = room // step * step, mean - step / 2  # distances are rounded up to the grid
        if mean <= 0 or room <= 0:
            return None
        scale, most = exponential(mean, len(distances))
        return (scale, min(most, float(room))) if math.isfinite(most) else None

    def _room(self, domain: NumberDomain, end: int | float, mean: float, *, above: bool) -> float:
        """How far a tail of this mean distance may reach: to a declared, a natural, or the type's own end."""
        outermost, unit = self.outermost[above], 10.0**domain.places
        assert outermost is not None
        ends, limit = list[float](), outermost.limit
        if limit is not None:
            ends.append(limit if domain.decimals is None else domain.end_of_range(limit, lower=not above))
        if end <= 0 if above else end >= 0:
            ends.append(0.0)
        if above and self.limits(domain)[0] >= 0:
            nearest = end + MEANS_TO_THE_END * mean
            ends += [natural * unit for natural in NATURAL_ENDS if nearest <= natural * unit]
        ends.append(domain.limits[above])
        last = min(ends) if above else max(ends)
        room = last - end if above else end - last
        while not domain.integral and room > 0 and (end + room > last if above else end - room < last):
            room = float(np.nextafter(room, 0))  # a difference of floats may be rounded up
        return room


def rough(distance: float) -> float:
    """A positive distance, of which only its step is known.

    >>> rough(0.98), rough(1.08), rough(1.1)
    (1.0, 1.0, 1.189207115002721)
    """
    return float(2.0 ** (round(STEPS_AN_OCTAVE * math.log2(distance)) / STEPS_AN_OCTAVE))


def in_units(domain: NumberDomain, numbers: np.ndarray) -> np.ndarray:
    """Numbers (n,) of a domain without decimals as the domain's own."""
    if domain.decimals is None:
        return numbers
    return np.rint(numbers * 10.0**domain.decimals).astype(np.int64)
