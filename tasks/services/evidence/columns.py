"""Each column's distribution in the real and in the synthetic table, as shares of groups that may be shown."""

from typing import Any

import numpy as np
import pandas as pd

from tasks.services.evidence.axes import Axis, log_edges
from tasks.services.evidence.disclosure import FEWEST, Rows, merge_bins, shares
from tvae_core.metrics.frames import MISSING
from tvae_core.schema import ColumnSchema

MOST_LEVELS = 10
FEW_VALUES = 20
"""A column of numbers with no more different values than this is shown value by value."""
SPIKE = 0.1
"""A single number that this share of the rows holds is shown beside the histogram, not in it."""
_TAIL = 0.005
_SKEWED = 10.0


def overlay(column: ColumnSchema, real: pd.Series, synthetic: pd.Series, rows: Rows) -> dict[str, Any]:
    """Shares of the real and the synthetic rows by level, or by bin of a histogram; plain values.

    Args:
        column: kind and type.
        real: the tidy column (see `tidy`) of real rows, shape (n,).
        synthetic: the same of synthetic rows, shape (m,).
        rows: the entity of each real row.
    """
    if real.dtype == object:
        return {"name": column.name, **_levels(real, synthetic, rows)}
    axis = Axis.of(column)
    if real.nunique() <= FEW_VALUES:
        ours, theirs = (_spelled(values, axis) for values in (real, synthetic))
        return {"name": column.name, **_levels(ours, theirs, rows, ordered=True)}
    return {"name": column.name, **_histogram(axis, real, synthetic, rows)}


def _spelled(values: pd.Series, axis: Axis) -> pd.Series:
    texts = {value: axis.text(value) for value in values.dropna().unique()}
    return values.map(texts).fillna(MISSING).astype(object)


def _levels(real: pd.Series, synthetic: pd.Series, rows: Rows, *, ordered: bool = False) -> dict[str, Any]:
    """Levels that enough entities hold, most frequent first or in order; all others in one, as is what only the
    synthetic table has."""
    codes, distinct = pd.factorize(real, sort=True)
    support = rows.support(codes, len(distinct))
    frequent = np.argsort(-np.bincount(codes, minlength=len(distinct)), kind="stable")
    shown = [int(i) for i in frequent if support[i] >= FEWEST][: FEW_VALUES if ordered else MOST_LEVELS]
    shown, pooled = _pool(shown, codes, len(distinct), rows)
    names = [str(distinct[i]) for i in shown]
    place = {name: i for i, name in enumerate(names)}
    ours, theirs = (
        shares(values.map(place).fillna(len(names)).to_numpy(np.int64), len(names) + 1)
        for values in (real, synthetic)
    )
    order = sorted(range(len(names)), key=lambda i: _place(names[i])) if ordered else range(len(names))
    listed = [(names[i], ours[i], theirs[i]) for i in order if names[i] != MISSING]
    missing = [(ours[i], theirs[i]) for i in order if names[i] == MISSING]
    return {
        "kind": "values" if ordered else "levels",
        "levels": [_entry(real_share, other, level=name) for name, real_share, other in listed],
        "missing": _entry(*missing[0]) if missing else None,
        "pooled": _entry(ours[-1], theirs[-1], levels=pooled) if pooled or theirs[-1] > 0 else None,
    }


def _place(text: str) -> tuple[int, float, str]:
    """Sort spelled numbers as numbers, dates as text, missing last."""
    if text == MISSING:
        return 2, 0.0, ""
    try:
        return 0, float(text.replace(",", "")), ""
    except ValueError:
        return 1, 0.0, text


def _pool(shown: list[int], codes: np.ndarray, size: int, rows: Rows) -> tuple[list[int], int]:
    """Levels to show, and how many are pooled: none, or together enough entities, so that no rest gives them away."""
    while shown and len(shown) < size:
        rest = np.where(np.isin(codes, shown), -1, 0)
        if rows.support(rest, 1)[0] >= FEWEST:
            break
        shown = shown[:-1]
    return shown, size - len(shown)


def _histogram(axis: Axis, real: pd.Series, synthetic: pd.Series, rows: Rows) -> dict[str, Any]:
    present = real.notna().to_numpy()
    numbers, others = real.to_numpy(), synthetic.to_numpy()
    gaps = rows.support(np.where(present, -1, 0), 1)[0]
    spikes = _spikes(numbers, rows)
    bulk = present & ~np.isin(numbers, spikes)
    edges, scale = _edges(axis, numbers[bulk], rows.only(bulk))
    codes, other_codes = (_bins(values, edges, spikes) for values in (numbers, others))
    bins = len(edges) - 1
    merged = merge_bins(rows.support(codes, bins))
    kept = np.flatnonzero(np.diff(merged, prepend=-1))
    edges, bins = np.append(edges[kept], edges[-1]), int(merged[-1]) + 1
    if rows.support(np.minimum(codes, 0), 1)[0] < FEWEST:  # too few rows beside the spikes
        return {"kind": "hidden", "missing": _missing(gaps, present, others)}
    ours, theirs = (shares(np.where(code >= 0, merged[code], -1), bins) for code in (codes, other_codes))
    whole = [(values, max(1.0, float(np.isfinite(values).sum()))) for values in (numbers, others)]
    return {
        "kind": "histogram",
        "scale": scale,
        "edges": [float(edge) for edge in edges],
        "labels": [axis.text(edge) for edge in edges],
        "real": _rounded(ours),
        "synthetic": _rounded(theirs),
        "spikes": [
            _entry(*(float((v == spike).sum()) / n for v, n in whole), level=axis.text(spike)) for spike in spikes
        ],
        "missing": _missing(gaps, present, others),
    }  # fmt: skip


def _spikes(numbers: np.ndarray, rows: Rows) -> np.ndarray:
    """Single numbers that many rows, and enough entities, hold."""
    codes, values = pd.factorize(numbers, sort=True)
    frequent = np.bincount(codes[codes >= 0], minlength=len(values)) >= SPIKE * (codes >= 0).sum()
    chosen: np.ndarray = frequent & (rows.support(codes, len(values)) >= 5 * FEWEST)
    kept: np.ndarray = np.asarray(values)[chosen]
    return kept


def _edges(axis: Axis, numbers: np.ndarray, rows: Rows) -> tuple[np.ndarray, str]:
    """Bounds of bins over the bulk of the numbers, never beyond what enough entities reach."""
    if len(numbers) == 0:
        return np.array([0.0, 1.0]), "linear"
    low, middle, high = np.quantile(numbers, [_TAIL, 0.5, 1 - _TAIL])
    least, most = rows.reached(numbers)
    low, high = max(low, min(least, middle)), min(high, max(most, middle))
    if not axis.unit and low > 0 and high / middle > _SKEWED:
        return log_edges(low, high), "log"
    return axis.edges(low, high), "linear"


def _bins(values: np.ndarray, edges: np.ndarray, spikes: np.ndarray) -> np.ndarray:
    """The bin of each value; the first and the last are open to what lies beyond. -1: missing, or a spike."""
    codes = np.searchsorted(edges, values, side="right") - 1
    inside = np.clip(codes, 0, len(edges) - 2)
    return np.where(np.isnan(values) | np.isin(values, spikes), -1, inside)


def _missing(gaps: int, present: np.ndarray, others: np.ndarray) -> dict[str, Any] | None:
    """Shares of missing values; None where there are none, or too few real ones to be shown."""
    none_at_all = gaps == 0 and not np.isnan(others).any()
    if none_at_all or 0 < gaps < FEWEST:
        return None
    return _entry(1 - present.mean(), float(np.isnan(others).mean()))


def _entry(real: float, synthetic: float, **about: Any) -> dict[str, Any]:
    return {**about, "real": round(float(real), 5), "synthetic": round(float(synthetic), 5)}


def _rounded(values: np.ndarray) -> list[float]:
    return [round(float(value), 5) for value in values]
