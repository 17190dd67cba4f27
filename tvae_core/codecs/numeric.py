"""Numbers as codes: one per distinct value, or frequent values (atoms) and fine quantile cells.

A column with few distinct values gets a code for each. Otherwise values that many rows share (the zeros of a
zero-inflated column) are atoms, and the rest is cut at quantiles into cells, several of which make one token. A value
is drawn back evenly from its cell, so no value leaves the range that training covered; where the range was cut because
too few hold what lies beyond, the code at its end also stands for a tail (`tails.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from tvae_core.codecs.domain import LARGEST, NumberDomain, grid_of
from tvae_core.codecs.guard import Guard
from tvae_core.codecs.tails import Tail, inner_window, inside
from tvae_core.errors import DataError
from tvae_core.layout import ColumnLayout

# Up to this many distinct values, each is a code of its own; in a small table only while a value stands for several
# rows, for a code per row would be learned by heart.
MOST_VALUES, FEWEST_VALUES, ROWS_PER_VALUE = 250, 20, 5
# A value held by more than this share of the rows, and by more than this many, is an atom.
ATOM_SHARE, ATOM_ROWS = 1e-3, 4
# Cells in one token, and the fewest training rows that a cell stands for.
MOST_FINE_PLACES = 16
FEWEST_ROWS_PER_CELL = 5
# Where rows allow only few cells, tokens are kept finer than this before cells are put into one token.
FEWEST_TOKENS = 32
# Protected values too rare for a code of their own get cells where they make more than this share of the rows; below it
# each joins the nearest value that has one.
SHARE_FOR_CELLS = 0.01


@dataclass(frozen=True)
class NumericCodec:
    """Codes: atoms ascending, then cells ascending, then missing where it was seen.

    `atoms` (A,) are single values; cell i covers [edges[i], edges[i + 1]); both in the domain's numbers, integers on a
    grid of `step`. `ranks` (A + cells,) is each code's middle rank among the training values, in [0, 1]. `tails`: what
    lies beyond the ends.
    """

    domain: NumberDomain
    atoms: np.ndarray
    edges: np.ndarray
    ranks: np.ndarray
    fine: int
    missing: bool
    step: int = 1
    tails: tuple[Tail, ...] = ()

    @property
    def name(self) -> str:
        """The column's name."""
        return self.domain.name

    @property
    def cells(self) -> int:
        """Number of quantile cells."""
        return max(0, len(self.edges) - 1)

    @cached_property
    def layout(self) -> ColumnLayout:
        """Atoms and missing are tokens of one code, `fine` cells make one token."""
        atoms, cells = np.arange(len(self.atoms)), np.arange(self.cells)
        tokens = np.concatenate([atoms, len(atoms) + cells // self.fine])
        fine = np.concatenate([np.zeros(len(atoms), np.int64), cells % self.fine])
        ranks = self.ranks
        if self.missing:
            tokens = np.append(tokens, tokens.max(initial=-1) + 1)
            fine, ranks = np.append(fine, 0), np.append(ranks, 0.5)
        return ColumnLayout(tokens, fine, ranks)

    @classmethod
    def fit(
        cls, name: str, array: pa.Array | pa.ChunkedArray, *, bins: int, guard: Guard | None = None
    ) -> "NumericCodec":
        """Learn atoms and cells from a column's values. Raises DataError for values that have no place.

        With a `guard` no atom and no end of the cells is a value of fewer than its k holders, and every edge between
        cells is a mean of k values; rarer values are encoded as the nearest that has a place, and of those beyond the
        ends no more is known than how far they lie from it on average.
        """
        domain = NumberDomain.of(name, array)
        numbers, missing = domain.to_numbers(array)
        if domain.integral and len(numbers) and int(numbers.max()) - int(numbers.min()) >= 2**63:
            raise DataError(
                f"column {name!r} spans more than 2**63: expected a smaller span; declare the column categorical "
                "or an identifier, or scale it"
            )
        step = grid_of(numbers) if domain.integral else 1
        atoms, rest = split_atoms(numbers, domain, guard)
        if guard is not None and len(rest):
            rest = guard.trim(domain, rest)
        if domain.integral and len(rest) and int(rest.max()) + step > LARGEST:
            # The last cell's edge lies one step above its values: a largest value without room for it is an atom.
            atoms, rest = np.append(atoms, rest.max()), rest[rest < rest.max()]
        cells, fine = size_cells(len(rest), bins)
        edges = quantile_edges(
            rest,
            cells,
            past_the_end=step if domain.integral else 0,
            window=guard.k if guard else 1,
            step=step,
        )
        ranks = middle_ranks(np.sort(numbers), atoms, edges)
        codec = cls(domain, atoms, edges, ranks, fine, bool(missing.any()) or not len(numbers), step)
        return codec if guard is None else replace(codec, tails=codec._tails(numbers, guard))

    def _tails(self, numbers: np.ndarray, guard: Guard) -> tuple[Tail, ...]:
        """Of training's numbers (n,), what the guard tells of those beyond either end.

        A column without cells holds few values, scores and counts among them, and no others are made up for it.
        """
        if not self.cells:
            return ()
        codes, tails = self._nearest(numbers), []
        for above, end in zip((False, True), self._ends(), strict=True):
            beyond = numbers > end if above else numbers < end
            code = codes[beyond].max(initial=-1)
            holds_end = code >= 0 and self._nearest(np.array([end], numbers.dtype))[0] == code
            tail = guard.tail(self.domain, end, above=above, step=self.step) if holds_end else None
            share = float(beyond.sum() / max(1, (codes == code).sum()))
            if tail is not None and share < 1:
                tails.append(
                    Tail(int(code), above, end.item(), share, *tail, self.step * self.domain.integral)
                )
        return tuple(tails)

    def encode(self, array: pa.Array) -> tuple[np.ndarray, np.ndarray]:
        """Codes. A value outside every cell goes to the nearest; missing is the last code."""
        numbers, missing = self.domain.to_numbers(array)
        if missing.any() and not self.missing:
            raise DataError(
                f"column {self.name!r} has {int(missing.sum())} missing values never seen in training"
            )
        codes = np.full(len(missing), len(self.atoms) + self.cells, np.int64)
        codes[~missing] = self._nearest(numbers)
        return codes, np.zeros((len(codes), 0), np.float32)

    def _nearest(self, numbers: np.ndarray) -> np.ndarray:
        if not len(self.atoms) and not self.cells:
            if len(numbers):
                raise DataError(f"column {self.name!r} had no values in training, but {len(numbers)} came")
            return np.zeros(0, np.int64)
        place = np.clip(np.searchsorted(self.atoms, numbers), 0, max(0, len(self.atoms) - 1))
        if not self.cells:
            left = np.maximum(place - 1, 0)
            nearer_left = np.abs(numbers - self.atoms[left]) < np.abs(self.atoms[place] - numbers)
            return np.where(nearer_left, left, place)
        cell = np.clip(np.searchsorted(self.edges, numbers, side="right") - 1, 0, self.cells - 1)
        codes = len(self.atoms) + cell
        return np.where(self.atoms[place] == numbers, place, codes) if len(self.atoms) else codes

    def decode(self, codes: np.ndarray, scalars: np.ndarray, draws: np.ndarray, first_row: int) -> pa.Array:
        """Atoms as they are, cells evenly at `draws`, missing as null."""
        numbers = np.zeros(len(codes), self.atoms.dtype)
        places = inside(self.tails, codes, draws)
        is_atom = codes < len(self.atoms)
        numbers[is_atom] = self.atoms[codes[is_atom]]
        in_cell = ~is_atom & (codes < len(self.atoms) + self.cells)
        numbers[in_cell] = self._draw(codes[in_cell] - len(self.atoms), places[in_cell])
        for tail in self.tails:
            tail.put_into(numbers, codes, draws)
        return self.domain.to_array(numbers, codes >= len(self.atoms) + self.cells)

    def _draw(self, cell: np.ndarray, draws: np.ndarray) -> np.ndarray:
        low, high = self.edges[cell], self.edges[cell + 1]
        if not self.domain.integral:
            return np.clip(low + draws * (high - low), low, high)
        # Edges lie on the grid; only the offset is a float, so large integers (timestamps in ns) stay exact.
        steps = (high - low) // self.step
        return low + np.minimum((draws * steps).astype(np.int64), steps - 1) * self.step

    def span(self) -> tuple[Any, Any]:
        """The smallest and largest number that the column can take, tails included."""
        low, high = self._ends()
        for tail in self.tails:
            low, high = (low, tail.farthest) if tail.above else (tail.farthest, high)
        return low, high

    def _ends(self) -> tuple[Any, Any]:
        """The smallest and largest number that has a place of its own."""
        ends = np.concatenate(
            [self.atoms, self.edges[:1], self.edges[-1:] - (self.step if self.domain.integral else 0)]
        )
        return (ends.min(), ends.max()) if len(ends) else (0, -1)

    def windows_of(self, array: pa.Array) -> np.ndarray:
        """Between which draws (rows, 2) each value is what its code decodes to; (0, 1) for atoms and missing."""
        numbers, missing = self.domain.to_numbers(array)
        codes = self.encode(array)[0]
        windows = np.tile([0.0, 1.0], (len(codes), 1))
        present = np.flatnonzero(~missing)
        in_cell = codes[present] >= len(self.atoms)
        cell = codes[present][in_cell] - len(self.atoms)
        low, width = self.edges[cell], (self.edges[cell + 1] - self.edges[cell]).astype(float)
        place = (numbers[in_cell] - low) / width
        size = self.step / width if self.domain.integral else 0.0
        windows[present[in_cell]] = np.stack([place, np.minimum(place + size, 1.0)], axis=1)
        for code in {tail.code for tail in self.tails}:
            rows = codes[present] == code
            ends = [self._below(code, numbers[rows], inclusive=inclusive) for inclusive in (False, True)]
            windows[present[rows]] = np.stack(ends, axis=1)
        return windows

    def _below(self, code: int, numbers: np.ndarray, *, inclusive: bool) -> np.ndarray:
        """The share of draws from a code with tails that give a value below (or at) each of `numbers` (n,)."""
        if code < len(self.atoms):
            within = (self.atoms[code] <= numbers if inclusive else self.atoms[code] < numbers).astype(float)
        else:
            start, end = self.edges[code - len(self.atoms) :][:2]
            past = numbers - start + (self.step if inclusive and self.domain.integral else 0)
            within = np.clip(past / float(end - start), 0.0, 1.0)
        low, high = inner_window(self.tails, code)
        tails = [tail.below(numbers, inclusive=inclusive) for tail in self.tails if tail.code == code]
        out: np.ndarray = within * (high - low) + sum(tails)
        return out

    def shares_of_range(self, low: Any, high: Any) -> tuple[np.ndarray, np.ndarray]:
        """How much of each code lies in [low, high] (None: open), and between which draws: (codes,), (codes, 2)."""
        shares = np.zeros(self.layout.codes)
        windows = np.tile([0.0, 1.0], (len(shares), 1))
        least, most = self.span()
        low = least if low is None else max(low, least)
        high = most if high is None else min(high, most)
        if self.cells and self.domain.integral:  # into the range, on the grid on which all numbers lie
            start = int(self.edges[0])
            low = start - (start - low) // self.step * self.step
            high = start + (high - start) // self.step * self.step
        if low > high:
            return shares, windows
        shares[: len(self.atoms)] = (self.atoms >= low) & (self.atoms <= high)
        if self.cells:
            # Differences are taken before anything becomes a float, so that large integers stay exact.
            starts, widths = self.edges[:-1], np.diff(self.edges)
            past = np.minimum(high - starts, widths) + (self.step if self.domain.integral else 0)
            first = np.clip((low - starts) / widths, 0.0, 1.0)
            last = np.clip(past / widths, 0.0, 1.0)
            cells = slice(len(self.atoms), len(self.atoms) + self.cells)
            shares[cells] = np.maximum(last - first, 0.0)
            windows[cells] = np.stack([first, np.maximum(first, last)], axis=1)
        for code in {tail.code for tail in self.tails}:
            first = self._below(code, np.array([low]), inclusive=False)[0]
            last = self._below(code, np.array([high]), inclusive=True)[0]
            shares[code] = max(last - first, 0.0)
            windows[code] = first, max(first, last)
        return shares, windows

    def to_dict(self) -> dict[str, Any]:
        """The fitted codec as plain JSON values (floats in their shortest exact form)."""
        return {
            "codec": "numeric", **self.domain.to_dict(), "atoms": self.atoms.tolist(), "edges": self.edges.tolist(),
            "ranks": self.ranks.tolist(), "fine": self.fine, "missing": self.missing, "step": self.step,
            "tails": [tail.to_dict() for tail in self.tails],
        }  # fmt: skip

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "NumericCodec":
        """Rebuild what `to_dict` wrote."""
        domain = NumberDomain.from_dict(plain)
        dtype = np.int64 if domain.integral else np.float64
        atoms, edges = np.array(plain["atoms"], dtype), np.array(plain["edges"], dtype)
        ranks = np.array(plain["ranks"], np.float64)
        # Generators of before there were tails have none.
        tails = tuple(Tail.from_dict(tail) for tail in plain.get("tails", ()))
        codec = cls(
            domain, atoms, edges, ranks, int(plain["fine"]), bool(plain["missing"]), int(plain["step"]), tails
        )
        codec._check_tails()
        return codec

    def _check_tails(self) -> None:
        """Raises ValueError for tails that are not the column's."""
        least, most = self.domain.limits
        for tail in self.tails:
            if not 0 <= tail.code < len(self.atoms) + self.cells:
                raise ValueError("a tail belongs to a code of the column")
            if tail.end != self._ends()[tail.above] or tail.step != self.step * self.domain.integral:
                raise ValueError("a tail begins at the column's end and keeps to its grid")
            if not least <= tail.farthest <= most:
                raise ValueError("a tail stays inside the column's type")
            low, high = inner_window(self.tails, tail.code)
            if low >= high or sum(t.above == tail.above for t in self.tails) > 1:
                raise ValueError("there is one tail an end, and each leaves room for what lies inside")


def split_atoms(
    numbers: np.ndarray, domain: NumberDomain, guard: Guard | None
) -> tuple[np.ndarray, np.ndarray]:
    """The values that get a code of their own, ascending, and the numbers that are left for cells."""
    values, counts = np.unique(numbers, return_counts=True)
    few = len(values) <= max(FEWEST_VALUES, min(MOST_VALUES, len(numbers) // ROWS_PER_VALUE))
    own = np.ones(len(values), bool) if few else counts > max(ATOM_SHARE * len(numbers), ATOM_ROWS)
    if guard is not None:
        own &= guard.held(domain, values, np.where(own, counts, 0))
    atoms = values[own]
    left = len(numbers) - int(counts[own].sum())
    if not left:
        return atoms, numbers[:0]
    if guard is not None and len(atoms) and left < max(2 * guard.k, SHARE_FOR_CELLS * len(numbers) * few):
        return atoms, numbers[:0]
    return atoms, numbers[~np.isin(numbers, atoms)]


def size_cells(rows: int, bins: int) -> tuple[int, int]:
    """How many cells `rows` rows can bear, and how many of them make one token.

    >>> size_cells(100_000, 64), size_cells(500, 64)
    ((1024, 16), (100, 3))
    """
    cells = max(1, min(bins * MOST_FINE_PLACES, rows // FEWEST_ROWS_PER_CELL))
    return cells, max(1, min(MOST_FINE_PLACES, cells // FEWEST_TOKENS))


def quantile_edges(
    numbers: np.ndarray, cells: int, *, past_the_end: int, window: int = 1, step: int = 1
) -> np.ndarray:
    """Edges (at most cells + 1,) that cut `numbers` into parts of about equal count; equal values share a part.

    `past_the_end` is added to the largest value for the last edge, so that integers can reach it. An edge between parts
    is the mean of the `window` values around it, integers on the grid of `step` from the smallest on.
    """
    if not len(numbers):
        return numbers[:0]
    ordered = np.sort(numbers)
    starts = window_means(ordered, np.arange(cells) * len(ordered) // cells, window, step)
    last = ordered[-1] + past_the_end
    if starts[-1] == last:  # floats: the largest value starts a cell of its own; it joins the one before
        starts = starts[:-1] if len(starts) > 1 else starts
    return np.append(starts, last)


def window_means(ordered: np.ndarray, places: np.ndarray, window: int, step: int) -> np.ndarray:
    """The means, each once, of the `window` values around some places in `ordered` (n,); the first place as it is."""
    if window <= 1:
        return np.unique(ordered[places])
    around = places[:, None] - window // 2 + np.arange(window)
    # Distances from the smallest value stay exact where the values themselves (timestamps in ns) would not.
    means = (ordered[np.clip(around, 0, len(ordered) - 1)] - ordered[0]).mean(axis=1)
    means[0] = 0
    if np.issubdtype(ordered.dtype, np.integer):
        means = np.rint(means / step).astype(np.int64) * step
    return np.unique(np.minimum(ordered[0] + means, ordered[-1]))


def middle_ranks(ordered: np.ndarray, atoms: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """The middle rank in [0, 1] of each atom's and each cell's values among `ordered` (n,), ascending."""
    low = np.searchsorted(ordered, np.concatenate([atoms, edges[:-1]]), side="left")
    atom_ends = np.searchsorted(ordered, atoms, side="right")
    cell_ends = np.searchsorted(ordered, edges[1:], side="left")
    middle: np.ndarray = (low + np.concatenate([atom_ends, cell_ends])) / (2 * max(1, len(ordered)))
    return middle
