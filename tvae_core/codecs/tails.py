"""What lies beyond the last value of a column that may be learned: drawn from an exponential of its mean distance.

Of the few values beyond a protected end only their mean distance from it is known (`Guard.tail`); of all distributions
with that mean the exponential assumes least (Jaynes 1957: it has the most entropy). It is cut off where the largest of
as many values would lie with even chance, so that no single draw reaches further than the real ones are likely to.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Tail:
    """Values beyond `end`, upwards or (`above` False) downwards, which one code stands for as well.

    code: the code that holds the end. share: how many of its values lie beyond the end, in (0, 1). scale, most: the
    exponential's scale, and the distance where it is cut off. step: the grid of integers, 0 for floats.
    """

    code: int
    above: bool
    end: int | float
    share: float
    scale: float
    most: float
    step: int

    @property
    def farthest(self) -> int | float:
        """The last value that can be drawn."""
        distance = math.ceil(self.most / self.step) * self.step if self.step else self.most
        return self.end + distance if self.above else self.end - distance

    def distances(self, draws: np.ndarray) -> np.ndarray:
        """How far from the end values at `draws` (n,) in [0, 1) lie: (n,), ascending with them, above 0 on a grid."""
        reach = -np.expm1(-self.most / self.scale)
        distance = np.minimum(-self.scale * np.log1p(-draws * reach), self.most)
        if not self.step:
            return distance
        return np.maximum(np.ceil(distance / self.step), 1).astype(np.int64) * self.step

    def share_within(self, distance: np.ndarray) -> np.ndarray:
        """The share of the tail's values that lie at most `distance` (n,) from the end."""
        if self.step:
            distance = np.floor(distance / self.step) * self.step
        near = np.clip(distance, 0.0, self.most)
        out: np.ndarray = np.expm1(-near / self.scale) / np.expm1(-self.most / self.scale)
        return out

    def put_into(self, numbers: np.ndarray, codes: np.ndarray, draws: np.ndarray) -> None:
        """Set those of `numbers` (rows,) whose codes and draws (rows,) in [0, 1) say that they lie in the tail."""
        rows = np.flatnonzero(codes == self.code)
        place = draws[rows] / self.share
        place = place - (1 - self.share) / self.share if self.above else 1 - place
        beyond = place >= 0 if self.above else place > 0
        distance = self.distances(place[beyond])
        numbers[rows[beyond]] = self.end + distance if self.above else self.end - distance

    def below(self, numbers: np.ndarray, *, inclusive: bool) -> np.ndarray:
        """The share of the code's draws that give a value of the tail below (or at) each of `numbers` (n,)."""
        distance = (numbers - self.end if self.above else self.end - numbers).astype(np.float64)
        if inclusive != self.above:
            distance -= self.step
        within = self.share_within(distance)
        return self.share * (within if self.above else 1 - within)

    def to_dict(self) -> dict[str, Any]:
        """The tail as plain JSON values."""
        return {
            "code": self.code, "above": self.above, "end": self.end, "share": self.share, "scale": self.scale,
            "most": self.most, "step": self.step,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Tail":
        """Rebuild what `to_dict` wrote. Raises ValueError for numbers that no tail has."""
        tail = cls(**plain)
        numbers = (tail.end, tail.share, tail.scale, tail.most, tail.step)
        if not all(math.isfinite(number) for number in numbers) or not isinstance(tail.above, bool):
            raise ValueError("a tail is made of finite numbers, above or below")
        if type(tail.code) is not int or type(tail.step) is not int:
            raise ValueError("a tail's code and step are integers")
        if not (0 < tail.share < 1 and tail.scale > 0 and tail.most > 0 and tail.step >= 0):
            raise ValueError("a tail needs a share between 0 and 1 and a positive scale and length")
        return tail


def inner_window(tails: Sequence[Tail], code: int) -> tuple[float, float]:
    """Between which draws a code stands for what it stands for without its tails."""
    low = sum(t.share for t in tails if t.code == code and not t.above)
    high = sum(t.share for t in tails if t.code == code and t.above)
    return low, 1.0 - high


def inside(tails: Sequence[Tail], codes: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Draws (rows,) in [0, 1) as places (rows,) in [0, 1) inside their codes without the tails."""
    places = draws.copy()
    for code in {tail.code for tail in tails}:
        rows = codes == code
        low, high = inner_window(tails, code)
        places[rows] = np.clip((draws[rows] - low) / (high - low), 0.0, np.nextafter(1.0, 0.0))
    return places


def exponential(mean: float, beyond: int) -> tuple[float, float]:
    """Scale and length of an exponential that is cut at the median of the largest of `beyond` values, of that mean.

    >>> scale, most = exponential(1.0, 9)
    >>> round(scale, 3), round(most, 3)
    (1.263, 3.287)
    """
    # The median of the largest of n: F(x)**n = 1/2, F(x) = 1 - exp(-x / scale).
    cut = -math.log(-math.expm1(-math.log(2) / beyond))  # in scales
    scale = mean / (1 - cut / math.expm1(cut))
    return scale, cut * scale
