"""Numbers as tokens: one per distinct value, or frequent values (atoms) and quantile bins.

A column with few distinct values gets a token for each. Otherwise values that many rows share (the zeros of a
zero-inflated column) are atoms, and the rest is cut at quantiles. A value is drawn back from a bin by the bin's
own piecewise linear quantile function, so that the shape inside the bin is kept and no value leaves the range
that the bin covered in training.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from tvae_core.codecs.domain import NumberDomain, grid_of
from tvae_core.errors import DataError

# Knots of the quantile function inside a bin: its ends and seven points between them.
KNOTS = 9
# A bin stands for at least this many training rows.
FEWEST_ROWS_PER_BIN = 10


@dataclass(frozen=True)
class NumericCodec:
    """Tokens in ascending order of value: atoms, then bins, then missing where it was seen.

    `atoms` (A,) are single values; `knots` (B, KNOTS) are the quantile functions of the bins, ascending;
    both in the domain's numbers. Integers are drawn on a grid of `step`.
    """

    domain: NumberDomain
    atoms: np.ndarray
    knots: np.ndarray
    missing: bool
    step: int = 1
    scalars: int = 0

    @property
    def name(self) -> str:
        """The column's name."""
        return self.domain.name

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """One token: an atom, a bin, or missing."""
        return (max(1, len(self.atoms) + len(self.knots) + self.missing),)

    @classmethod
    def fit(
        cls, name: str, array: pa.Array | pa.ChunkedArray, *, bins: int, most_atoms: int
    ) -> "NumericCodec":
        """Learn atoms and bins from a column's values. Raises DataError for values that have no place."""
        domain = NumberDomain.of(name, array)
        numbers, missing = domain.to_numbers(array)
        atoms, rest = split_atoms(numbers, bins=bins, most_atoms=most_atoms)
        knots = quantile_knots(rest, bins=bins)
        if domain.integral and len(numbers) and int(numbers.max()) - int(numbers.min()) >= 2**63:
            raise DataError(
                f"column {name!r} spans more than 2**63: expected a smaller span; declare the column categorical "
                "or an identifier, or scale it"
            )
        step = grid_of(numbers) if domain.integral else 1
        return cls(domain, atoms, knots, bool(missing.any()) or not len(numbers), step)

    def encode(self, array: pa.Array) -> tuple[np.ndarray, np.ndarray]:
        """Token numbers. A value between two tokens goes to the nearer one; missing is the last token."""
        numbers, missing = self.domain.to_numbers(array)
        if missing.any() and not self.missing:
            raise DataError(
                f"column {self.name!r} has {int(missing.sum())} missing values never seen in training"
            )
        tokens = np.full(len(missing), len(self.atoms) + len(self.knots), np.int64)
        tokens[~missing] = self._nearest(numbers)
        return tokens.reshape(-1, 1), np.zeros((len(tokens), 0), np.float32)

    def _nearest(self, numbers: np.ndarray) -> np.ndarray:
        tokens = np.zeros(len(numbers), np.int64)
        if len(self.knots):
            upper_ends = self.knots[:-1, -1]
            tokens = len(self.atoms) + np.searchsorted(upper_ends, numbers, side="left")
        if len(self.atoms):
            place = np.clip(np.searchsorted(self.atoms, numbers), 0, len(self.atoms) - 1)
            if not len(self.knots):
                left = np.maximum(place - 1, 0)
                nearer_left = np.abs(numbers - self.atoms[left]) < np.abs(self.atoms[place] - numbers)
                return np.where(nearer_left, left, place)
            tokens = np.where(self.atoms[place] == numbers, place, tokens)
        return tokens

    def decode(self, tokens: np.ndarray, scalars: np.ndarray, draws: np.ndarray, first_row: int) -> pa.Array:
        """Atoms as they are, bins through their quantile functions at `draws`, missing as null."""
        token = tokens[:, 0]
        numbers = np.zeros(len(token), self.atoms.dtype)
        is_atom = token < len(self.atoms)
        numbers[is_atom] = self.atoms[token[is_atom]]
        in_bin = ~is_atom & (token < len(self.atoms) + len(self.knots))
        numbers[in_bin] = self._draw(token[in_bin] - len(self.atoms), draws[in_bin])
        return self.domain.to_array(numbers, token >= len(self.atoms) + len(self.knots))

    def _draw(self, bin_: np.ndarray, draws: np.ndarray) -> np.ndarray:
        place = draws * (KNOTS - 1)
        knot = np.minimum(place.astype(np.int64), KNOTS - 2)
        low, high = self.knots[bin_, knot], self.knots[bin_, knot + 1]
        offset = (high - low) * (place - knot)
        if not self.domain.integral:
            return np.clip(low + offset, low, high)
        # Knots lie on the grid; only the offset is a float, so large integers (timestamps in ns) stay exact.
        return low + np.rint(offset / self.step).astype(np.int64) * self.step

    def to_dict(self) -> dict[str, Any]:
        """The fitted codec as plain JSON values (floats in their shortest exact form)."""
        return {
            "codec": "numeric", **self.domain.to_dict(), "atoms": self.atoms.tolist(), "knots": self.knots.tolist(),
            "missing": self.missing, "step": self.step,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "NumericCodec":
        """Rebuild what `to_dict` wrote."""
        domain = NumberDomain.from_dict(plain)
        dtype = np.int64 if domain.integral else np.float64
        knots = np.array(plain["knots"], dtype).reshape(-1, KNOTS)
        return cls(domain, np.array(plain["atoms"], dtype), knots, bool(plain["missing"]), int(plain["step"]))


def split_atoms(numbers: np.ndarray, *, bins: int, most_atoms: int) -> tuple[np.ndarray, np.ndarray]:
    """The values that get a token of their own, ascending, and the numbers that are left for bins.

    With at most `most_atoms` distinct values all of them are atoms; otherwise those that hold more than one row
    in `bins`.
    """
    values, counts = np.unique(numbers, return_counts=True)
    if len(values) <= most_atoms:
        return values, numbers[:0]
    frequent = values[counts * bins > len(numbers)]
    return frequent, numbers[~np.isin(numbers, frequent)]


def quantile_knots(numbers: np.ndarray, *, bins: int) -> np.ndarray:
    """Cut `numbers` (n,) into at most `bins` parts of about equal count; each part's quantile function (B, KNOTS).

    Equal values never fall into two bins.
    """
    if not len(numbers):
        return np.zeros((0, KNOTS), numbers.dtype)
    ordered = np.sort(numbers)
    count = max(1, min(bins, len(ordered) // FEWEST_ROWS_PER_BIN))
    cuts = np.searchsorted(ordered, ordered[np.arange(1, count) * len(ordered) // count], side="left")
    edges = np.unique(np.concatenate([[0], cuts, [len(ordered)]]))
    places = np.linspace(0, 1, KNOTS)
    rows = edges[:-1, None] + np.rint(places * (np.diff(edges)[:, None] - 1)).astype(np.int64)
    return ordered[rows]  # (B, KNOTS)
