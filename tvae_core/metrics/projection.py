"""Two dimensions of a mixed table, and hexagons to count its rows in: a map of where rows lie, without the rows."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from tvae_core.metrics.frames import categorical_columns, numeric_columns

_MOST_LEVELS = 20
_FEWEST_SHARE = 0.005


@dataclass(frozen=True)
class Projection:
    """The first two principal components of a mixed table.

    Attributes:
        real: scores of the real rows, shape (n, 2).
        synthetic: scores of the synthetic rows on the same components, shape (m, 2).
        explained: each component's share of the real table's variance.
        contributions: by column, its share of each component; the shares of all columns sum to 1.
    """

    real: np.ndarray
    synthetic: np.ndarray
    explained: tuple[float, float]
    contributions: dict[str, tuple[float, float]]


def project(real: pd.DataFrame, synthetic: pd.DataFrame) -> Projection | None:
    """Factor analysis of mixed data (Pagès 2004, Revue de Statistique Appliquée 52:93), fitted to the real rows.

    Numbers are standardised, missing ones put at the mean; levels are indicators divided by the root of their share,
    the most frequent 20 of at least half a percent of the rows. Columns then weigh about alike.

    Args:
        real: tidy frame (see `tidy`).
        synthetic: tidy frame of the same columns.

    Returns:
        None when fewer than two directions vary.
    """
    design = [_numbers(real, synthetic), _levels(real, synthetic)]
    names = [name for part in design for name in part[0]]
    ours, theirs = (np.concatenate([part[i] for part in design], axis=1) for i in (1, 2))
    if ours.shape[1] < 2 or len(ours) < 3:
        return None
    values, vectors = np.linalg.eigh(ours.T @ ours / len(ours))
    if values[-2] <= 1e-9:
        return None
    axes = vectors[:, [-1, -2]]
    axes = axes * np.sign(axes[np.abs(axes).argmax(0), [0, 1]])  # an eigenvector's sign is arbitrary
    share = pd.DataFrame(axes**2).groupby(np.array(names), sort=False).sum()
    contributions = {str(name): (float(a), float(b)) for name, a, b in share.itertuples()}
    first, second = float(values[-1] / values.sum()), float(values[-2] / values.sum())
    return Projection(ours @ axes, theirs @ axes, (first, second), contributions)


def hexagons(points: np.ndarray, width: float) -> np.ndarray:
    """The hexagon of a regular lattice in which each point lies, as whole numbers (n, 2).

    Hexagons stand on a corner and are `width` wide. The centre of hexagon (i, j) is at ``x = i * width / 2``,
    ``y = j * width * sqrt(3) / 2``; i + j is even.
    """
    height = width * np.sqrt(3.0)
    scaled = points / np.array([width, height])
    near = np.stack([np.rint(scaled), np.floor(scaled) + 0.5])  # the closest centre of either sub-lattice
    distance = (((scaled - near) * np.array([1.0, np.sqrt(3.0)])) ** 2).sum(2)
    chosen = np.where((distance[0] <= distance[1])[:, None], near[0], near[1])
    return np.rint(chosen * 2).astype(np.int64)


def _numbers(real: pd.DataFrame, other: pd.DataFrame) -> tuple[list[str], np.ndarray, np.ndarray]:
    names = numeric_columns(real)
    mean, std = real[names].mean(), real[names].std(ddof=0)
    names = [name for name in names if std[name] > 0]
    parts = [((f[names] - mean[names]) / std[names]).fillna(0.0).to_numpy() for f in (real, other)]
    return names, parts[0].clip(-4, 4), parts[1].clip(-4, 4)


def _levels(real: pd.DataFrame, other: pd.DataFrame) -> tuple[list[str], np.ndarray, np.ndarray]:
    names: list[str] = []
    parts: tuple[list[np.ndarray], list[np.ndarray]] = [], []
    for name in categorical_columns(real):
        shares = real[name].value_counts(normalize=True).iloc[:_MOST_LEVELS]
        for level, share in shares[(shares >= _FEWEST_SHARE) & (shares < 1)].items():
            names.append(name)
            for part, frame in zip(parts, (real, other), strict=True):
                part.append(((frame[name] == level).to_numpy() - share) / np.sqrt(share))
    ours, theirs = (
        np.stack(part, axis=1) if part else np.empty((len(frame), 0))
        for part, frame in zip(parts, (real, other), strict=True)
    )
    return names, ours, theirs
