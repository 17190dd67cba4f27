"""Columns that are the sum of others, found by orthogonal matching pursuit (Pati et al. 1993)."""

from collections.abc import Iterator, Mapping

import numpy as np

from tvae_core.constraints.derived import Derived

MOST_TERMS, MOST_COLUMNS, ROWS = 12, 200, 2_000
# A term must differ from zero in this many of the rows looked at: sums of empty columns say nothing.
FEWEST_NONZERO = 10
# How far from 1 a fitted coefficient may be; below it, a term is left out.
COEFFICIENT_SLACK = 1e-2


def find_sums(columns: Mapping[str, np.ndarray]) -> Iterator[Derived]:
    """Sums among columns (rows,) of floats, NaN where missing; a column found to be a sum is no other's term.

    What is found holds in the rows looked at, up to rounding, and is for the caller to check against the others.
    """
    if not 3 <= len(columns) <= MOST_COLUMNS:
        return
    left = list(columns)
    missing = {name: np.isnan(columns[name]) for name in left}
    # A column found late may have hidden another's terms: look again until nothing is found.
    found = True
    while found:
        found = False
        for name in list(left):
            others = [other for other in left if other != name]
            terms = _terms(columns, name, others)
            if terms:
                blank = np.any([missing[term] for term in terms], axis=0)
                nulls = "propagate" if np.array_equal(missing[name], blank) else "zero"
                yield Derived(name, "sum", tuple(sorted(terms, key=list(columns).index)), nulls=nulls)
                left.remove(name)
                found = True


def _terms(columns: Mapping[str, np.ndarray], name: str, others: list[str]) -> list[str] | None:
    """The columns whose sum `name` is, or None."""
    target = columns[name]
    rows = np.flatnonzero(~np.isnan(target))
    rows = rows[:: max(1, len(rows) // ROWS)]
    y = target[rows]
    x = np.nan_to_num(np.stack([columns[other][rows] for other in others], axis=1), nan=0.0)
    kept = (x != 0).sum(axis=0) >= FEWEST_NONZERO
    x, names = x[:, kept], [other for other, keep in zip(others, kept, strict=True) if keep]
    lengths = np.linalg.norm(x, axis=0)
    tolerance = 1e-5 * max(1e-9, float(np.abs(y).max(initial=0.0)))
    chosen: list[int] = []
    residual = y
    while len(chosen) < min(MOST_TERMS, len(names)):
        gain = np.abs(x.T @ residual) / lengths
        gain[chosen] = -1.0
        chosen.append(int(gain.argmax()))
        weights = np.linalg.lstsq(x[:, chosen], y, rcond=None)[0]
        residual = y - x[:, chosen] @ weights
        if np.abs(residual).max() <= tolerance:
            return _whole(names, chosen, weights)
    return None


def _whole(names: list[str], chosen: list[int], weights: np.ndarray) -> list[str] | None:
    """The terms of weight 1, or None where a weight is neither 0 nor 1."""
    ones, zeros = np.abs(weights - 1) <= COEFFICIENT_SLACK, np.abs(weights) <= COEFFICIENT_SLACK
    if not (ones | zeros).all() or ones.sum() < 2:
        return None
    return [names[place] for place, one in zip(chosen, ones, strict=True) if one]
