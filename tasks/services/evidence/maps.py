"""Tables as maps: associations of columns, a projection and the latent space in hexagons, histograms of distances."""

from typing import Any

import numpy as np
import pandas as pd

from tasks.services.evidence.axes import Axis
from tasks.services.evidence.disclosure import FEWEST, Rows, shares
from tvae_core.latent import Latent
from tvae_core.metrics.association import Grouping, associations
from tvae_core.metrics.privacy import ClosestRecords
from tvae_core.metrics.projection import hexagons, project

MOST_COLUMNS = 40
"""Columns of a map of pairs: those that are associated most."""
_ACROSS = 34
_TAIL = 0.005


def pair_map(real: pd.DataFrame, synthetic: pd.DataFrame) -> dict[str, Any]:
    """Cramér's V of every two columns in both tables, columns in groups as the real rows give them."""
    grouping = Grouping.fit(real)
    ours, theirs = (associations(grouping.codes(frame)) for frame in (real, synthetic))
    chosen = np.sort(np.argsort(-ours.sum(1), kind="stable")[:MOST_COLUMNS])
    return {
        "columns": [grouping.names[i] for i in chosen],
        "left_out": len(ours) - len(chosen),
        **{
            name: np.round(matrix[np.ix_(chosen, chosen)], 4).tolist()
            for name, matrix in (("real", ours), ("synthetic", theirs))
        },
    }


def projection_map(real: pd.DataFrame, synthetic: pd.DataFrame, rows: Rows) -> dict[str, Any] | None:
    """Where the rows of both tables lie on the real table's first two components, counted in hexagons."""
    found = project(real, synthetic)
    if found is None:
        return None
    leading = {
        axis: sorted(found.contributions, key=lambda name: -found.contributions[name][axis])[:2]
        for axis in (0, 1)
    }
    return {
        **hexagon_map(found.real, found.synthetic, rows),
        "explained": [round(share, 4) for share in found.explained],
        "leading": [leading[0], leading[1]],
    }


def latent_map(latent: Latent, rows: Rows) -> dict[str, Any]:
    """What each latent unit carries, and the two that vary most: posterior against prior, counted in hexagons."""
    first, second = np.argsort(-latent.variance, kind="stable")[:2].tolist()
    axes = [first, second]
    return {
        **hexagon_map(latent.posterior[:, axes], latent.prior[:, axes], rows),
        "axes": [first + 1, second + 1],
        "units": [
            {"unit": i + 1, "kl": round(float(kl), 4), "variance": round(float(variance), 4), "active": bool(active)}
            for i, (kl, variance, active) in enumerate(zip(latent.kl, latent.variance, latent.active, strict=True))
        ],
    }  # fmt: skip


def hexagon_map(real: np.ndarray, synthetic: np.ndarray, rows: Rows) -> dict[str, Any]:
    """Shares of real and synthetic points by hexagon; those of fewer than `FEWEST` entities or rows are left out.

    Args:
        real: points of real rows, shape (n, 2).
        synthetic: points to compare them with, shape (m, 2).
        rows: the entity of each real row.
    """
    low, high = np.quantile(real, [_TAIL, 1 - _TAIL], axis=0)
    span = np.where(high > low, high - low, 1.0)
    width = 1.0 / _ACROSS  # of a plane scaled to the span of the bulk
    cells = [hexagons((points - low) / span, width) for points in (real, synthetic)]
    distinct, codes = np.unique(np.concatenate(cells), axis=0, return_inverse=True)
    codes = codes.reshape(-1)
    ours, theirs = codes[: len(real)], codes[len(real) :]
    show_real = rows.support(ours, len(distinct)) >= FEWEST
    show_other = np.bincount(theirs, minlength=len(distinct)) >= FEWEST
    kept = [
        shares(np.where(show[code], code, -1), len(distinct))
        for code, show in ((ours, show_real), (theirs, show_other))
    ]
    listed = np.flatnonzero(show_real | show_other)
    return {
        "width": width,
        "rows": [int(show_real[ours].sum()), int(show_other[theirs].sum())],
        "cells": [
            [int(distinct[i, 0]), int(distinct[i, 1]), *(round(float(part[i]), 6) for part in kept)]
            for i in listed
        ],
    }


def distance_map(found: ClosestRecords) -> dict[str, Any]:
    """Histograms of the synthetic rows' distances to their closest training and their closest holdout record."""
    both = np.concatenate([found.to_train, found.to_holdout])
    edges = Axis().edges(0.0, float(np.quantile(both, 0.995)) or 1.0)
    codes = [
        np.clip(np.searchsorted(edges, part, side="right") - 1, 0, len(edges) - 2)
        for part in (found.to_train, found.to_holdout)
    ]
    train, holdout = (np.round(shares(code, len(edges) - 1), 5).tolist() for code in codes)
    return {
        "edges": edges.tolist(),
        "train": train,
        "holdout": holdout,
        "median_train": round(found.median_train, 5),
        "median_holdout": round(found.median_holdout, 5),
        "rows": found.queries,
    }
