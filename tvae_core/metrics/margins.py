"""Fidelity of margins: three columns at a time, rare levels, and the floor that every score is read against."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from tvae_core.errors import DataError
from tvae_core.metrics.frames import MISSING, categorical_columns, ordinal, refuse_empty

TRIPLES = 60
"""Sets of three columns that are compared, drawn at random where there are more."""

CELLS = 10
"""Parts of equally many real rows that a column of numbers, or of more levels, is cut into."""

FEWEST = 10
"""Rows that a level must have in the real table to be looked for: fewer are a person's own, and not to be learnt."""

RARE = 0.01
"""Largest share of a rare level."""


@dataclass(frozen=True)
class Coverage:
    """Rare levels of the real table, and how many of them another table has."""

    found: int
    levels: int

    @property
    def share(self) -> float:
        """Share of the rare levels that the other table has."""
        return self.found / self.levels


def shuffled(frame: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Every column in an order of its own: the same margins, no dependence. The floor of what dependence scores."""
    rng = np.random.default_rng([seed, 6])
    columns = {name: frame[name].to_numpy()[rng.permutation(len(frame))] for name in frame.columns}
    return pd.DataFrame(columns, index=frame.index)


def three_way(real: pd.DataFrame, others: Sequence[pd.DataFrame], *, seed: int = 0) -> list[float]:
    """How alike three columns at a time are distributed: 1 - total variation distance, the mean over triples.

    Numbers, and levels beyond the most frequent `CELLS` - 1, are cut into `CELLS` parts by the real rows; missing
    is a part of its own. NIST's k-marginal score does the same (differential privacy challenge of 2018), times 1,000.

    Args:
        real: tidy frame (see `tidy`) of real rows.
        others: tidy frames to compare with it, each on the same triples of columns.
        seed: decides the triples.

    Returns:
        One score a frame, in 0 .. 1.

    Raises:
        DataError: fewer than three columns, or an empty table.
    """
    refuse_empty(real, *others, columns=3)
    cells = _cells([real, *others])
    rng = np.random.default_rng([seed, 7])
    triples = {tuple(sorted(rng.choice(real.shape[1], 3, replace=False).tolist())) for _ in range(TRIPLES)}
    scores = np.zeros(len(others))
    for triple in sorted(triples):
        shares = [_shares(table[:, list(triple)]) for table in cells]
        scores += [1 - np.abs(shares[0] - other).sum() / 2 for other in shares[1:]]
    return [float(score) for score in scores / len(triples)]


def rare_coverage(real: pd.DataFrame, other: pd.DataFrame) -> Coverage:
    """How many of the levels that at least `FEWEST` and at most a share `RARE` of the real rows have occur at all.

    Raises:
        DataError: there is no such level.
    """
    found = levels = 0
    for name in categorical_columns(real):
        counts = real.loc[real[name] != MISSING, name].value_counts()
        rare = counts.index[counts.between(FEWEST, RARE * len(real))]
        levels += len(rare)
        found += int(rare.isin(other[name].unique()).sum())
    if levels == 0:
        raise DataError(
            f"expected levels of {FEWEST} rows or more and at most {RARE:.0%} of them, however there are none"
        )
    return Coverage(found, levels)


def _cells(frames: Sequence[pd.DataFrame]) -> list[np.ndarray]:
    """The part that every value falls into, int64 of shape (n, columns), cut as the first frame's rows fall."""
    levels = set(categorical_columns(frames[0]))
    out = [np.zeros(frame.shape, np.int64) for frame in frames]
    for j, name in enumerate(frames[0].columns):
        coded = [frame[name].to_numpy() for frame in ordinal([frame[[name]] for frame in frames])]
        if name in levels:
            kept = pd.Series(coded[0]).value_counts().index[: CELLS - 1].to_numpy()
            rank = {code: i for i, code in enumerate(kept)}
            for table, values in zip(out, coded, strict=True):
                table[:, j] = pd.Series(values).map(rank).fillna(CELLS - 1)
            continue
        present = coded[0][~np.isnan(coded[0])]
        edges = np.unique(np.quantile(present, np.arange(1, CELLS) / CELLS)) if len(present) else present
        for table, values in zip(out, coded, strict=True):
            table[:, j] = np.where(np.isnan(values), CELLS, np.searchsorted(edges, values, side="right"))
    return out


def _shares(cells: np.ndarray) -> np.ndarray:
    """Share of the rows in every combination of three parts."""
    side = CELLS + 1
    joined = (cells[:, 0] * side + cells[:, 1]) * side + cells[:, 2]
    return np.bincount(joined, minlength=side**3) / len(cells)
