"""Constraints that a table obeys without exception, few and useful, for the user to confirm.

Candidates come from a sample of rows spread over the table; whatever is proposed has been checked against every row. A
rule counts as useful when chance would break it: an inequality must fail in many rows once one of its columns is
shuffled, one column determines another only where many pairs of rows could contradict it, a column is positive where a
normal one of its mean and spread would not be.
"""

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from tvae_core.arrow_types import is_number
from tvae_core.codecs.categorical import plain_values
from tvae_core.codecs.domain import decimals_of
from tvae_core.constraints import (
    Constraint,
    Derived,
    FixedCombinations,
    Inequality,
    Range,
    Unique,
    in_restoring_order,
)
from tvae_core.constraints.base import floats
from tvae_core.constraints.combinations import seen_combinations
from tvae_core.constraints.inequality import common_type
from tvae_core.constraints.sums import find_sums
from tvae_core.errors import DataError, SchemaError
from tvae_core.schema import ColumnKind, TableSchema
from tvae_core.sources import TableSource, as_source

ROWS_LOOKED_AT = 20_000
# Below this many rows, or distinct values of a number, a rule may well hold by chance.
FEWEST_ROWS, FEWEST_VALUES = 100, 10
# Levels of a column that may determine another, and the pairs of rows that could have contradicted it.
MOST_LEVELS, FEWEST_CONTRADICTIONS = 250, 1_000.0
# The share of rows that an inequality must lose when one of its columns is shuffled.
SHUFFLED_BREAKS = 0.05
# Of the rows, at least this share must differ, and the lower column must vary at least this much beside the higher one:
# columns that are equal where present, or that count in other units, have nothing to compare.
FEWEST_DIFFER, LEAST_SPREAD = 0.01, 0.05
# Pairs of columns whose combinations never repeat: so many repetitions chance would have brought, in so many columns.
FEWEST_REPEATS, MOST_PAIRED = 100.0, 200
# A column is worth calling positive where zero lies at most so many standard deviations below its mean.
NEAR_ZERO = 2.0
CORRELATION_OF_LINES, CORRELATION_OF_ROUNDING = 1 - 1e-6, 0.9
MOST_DECIMALS = 3


def propose_constraints(data: Any, schema: TableSchema) -> tuple[Constraint, ...]:
    """The constraints that every row obeys; no column is decided by two of them.

    `data` is anything that `as_source` takes, `schema` its schema. Raises DataError when the table can't be read.
    """
    source = as_source(data)
    if source.num_rows < FEWEST_ROWS:
        return ()
    sample = spread_rows(source, ROWS_LOOKED_AT)
    taken: set[str] = set()
    found: list[Constraint] = []
    # What is exact comes first: a column that it decides is left out of what follows.
    for propose in (_copies, _functions, _sums, _combinations, _inequalities, _uniques, _positives):
        for constraint in propose(sample, schema, taken):
            if taken.intersection(constraint.writes) or _circular([*found, constraint]):
                continue
            if holds(constraint, source):
                found.append(constraint)
                taken.update(constraint.writes)
    return tuple(found)


def _circular(constraints: list[Constraint]) -> bool:
    try:
        in_restoring_order(constraints)
    except SchemaError:
        return True
    return False


def spread_rows(source: TableSource, most: int) -> pa.Table:
    """At most about `most` rows, evenly spread over a table."""
    stride = max(1, -(-source.num_rows // most))
    parts, start = [], 0
    for batch in source.batches():
        rows = np.arange(-start % stride, len(batch), stride)
        parts.append(batch.take(pa.array(rows, pa.int64())))
        start += len(batch)
    table = pa.Table.from_batches(parts, source.schema)
    return pa.table({name: plain_values(table[name]) for name in table.column_names})


def holds(constraint: Constraint, source: TableSource) -> bool:
    """Whether every row of a table obeys; for combinations, whether the first column determines the others."""
    if isinstance(constraint, FixedCombinations):
        return _determines(seen_combinations(source, constraint.columns), constraint.columns)
    try:
        constraint.fit(source)
    except (DataError, SchemaError):
        return False
    return True


def _determines(combinations: pa.Table, names: tuple[str, ...]) -> bool:
    """Whether the number of combinations is that of the levels of the column of most levels."""
    return max(len(combinations[name].unique()) for name in names) == combinations.num_rows


def _numbers(
    sample: pa.Table, schema: TableSchema, taken: set[str], *kinds: ColumnKind
) -> dict[str, np.ndarray]:
    """The free numeric columns of enough distinct values, as floats."""
    out = {}
    for name in schema.of_kind(*(kinds or (ColumnKind.CONTINUOUS,))):
        if name in taken:
            continue
        array = sample[name].combine_chunks()
        values = floats(array if kinds == () else _as_numbers(array))
        if len(np.unique(values[~np.isnan(values)])) >= FEWEST_VALUES:
            out[name] = values
    return out


def _as_numbers(array: pa.Array) -> pa.Array:
    if not pa.types.is_temporal(array.type):
        return array
    return array.cast(pa.int32() if array.type.bit_width == 32 else pa.int64())


def _copies(sample: pa.Table, schema: TableSchema, taken: set[str]) -> Iterator[Constraint]:
    first: dict[tuple[Any, ...], str] = {}
    for column in schema.columns:
        values = sample[column.name]
        if column.kind is ColumnKind.IDENTIFIER or len(values.drop_null().unique()) < 2:
            continue
        hashes = pd.util.hash_array(values.to_pandas().astype(object).to_numpy())
        key = (column.type, column.kind, int(hashes.sum()), values.null_count, hashes[:1_000].tobytes())
        if key in first:
            yield Derived(column.name, "copy", (first[key],))
        else:
            first[key] = column.name


def _functions(sample: pa.Table, schema: TableSchema, taken: set[str]) -> Iterator[Constraint]:
    """Lines, logarithms and rounded columns of one other column, the earlier one kept where either may be."""
    columns = _numbers(sample, schema, taken)
    for name, other in _correlated_pairs(columns, CORRELATION_OF_ROUNDING, logarithms=True):
        x, y = columns[other], columns[name]
        exact = decimals_of(y[~np.isnan(y)], pa.float64())
        for function in ("log", "log1p"):
            candidate = Derived(name, function, (other,))
            if (exact is None or exact >= MOST_DECIMALS) and _agrees(candidate, x, y):
                yield candidate
        if schema.names.index(other) < schema.names.index(name):
            line = _line(x, y)
            if line and _agrees(Derived(name, "linear", (other,), *line), x, y):
                yield Derived(name, "linear", (other,), *line)
        rounded = None if exact is None or exact > MOST_DECIMALS else np.round(x, exact)
        if rounded is not None and np.array_equal(rounded, y, equal_nan=True) and not _same(x, y):
            yield Derived(name, "round", (other,), decimals=exact or 0)


def _same(x: np.ndarray, y: np.ndarray) -> bool:
    return np.array_equal(x, y, equal_nan=True)


def _agrees(candidate: Derived, x: np.ndarray, y: np.ndarray) -> bool:
    with np.errstate(invalid="ignore"):
        expected = candidate.compute({candidate.of[0]: pa.array(x)})
        return bool(np.allclose(y, expected, rtol=1e-5, atol=1e-5, equal_nan=True)) if _spreads(y) else False


def _spreads(y: np.ndarray) -> bool:
    return bool(np.nanstd(y) > 1e-3)


def _line(x: np.ndarray, y: np.ndarray) -> tuple[float, float] | None:
    """Factor and offset of the line through the two most distant points, in at most nine digits."""
    both = ~np.isnan(x) & ~np.isnan(y)
    low, high = (np.flatnonzero(both)[end(x[both])] for end in (np.argmin, np.argmax))
    if x[low] == x[high]:
        return None
    factor = float(f"{(y[high] - y[low]) / (x[high] - x[low]):.9g}")
    offset = float(f"{y[low] - factor * x[low]:.9g}")
    return (factor, 0.0 if abs(offset) < 1e-9 * np.nanmax(np.abs(y)) else offset) if factor else None


def _correlated_pairs(
    columns: Mapping[str, np.ndarray], least: float, *, logarithms: bool
) -> Iterator[tuple[str, str]]:
    """Pairs of columns (y, x) where y follows x, or its logarithm, closely."""
    if len(columns) < 2:
        return
    names, matrix = list(columns), np.stack(list(columns.values()))
    targets = _standardised(matrix)
    with np.errstate(invalid="ignore", divide="ignore"):
        logs = np.where(matrix > 0, np.log(matrix), np.nan) if logarithms else matrix
        shifted = np.where(matrix > -1, np.log1p(matrix), np.nan) if logarithms else matrix
    close = np.zeros((len(names), len(names)), bool)
    for part, bound in ((matrix, least), (logs, CORRELATION_OF_LINES), (shifted, CORRELATION_OF_LINES)):
        close |= np.abs(targets @ _standardised(part).T) >= bound
    for y, x in np.argwhere(close):
        if y != x:
            yield names[y], names[x]


def _standardised(matrix: np.ndarray) -> np.ndarray:
    """Rows of mean 0 and length 1 over their present values, 0 where missing."""
    present = ~np.isnan(matrix)
    filled = np.where(present, matrix, 0.0)
    centre = filled.sum(axis=1) / np.maximum(1, present.sum(axis=1))
    moved = np.where(present, filled - centre[:, None], 0.0)
    length = np.sqrt((moved**2).sum(axis=1))
    out: np.ndarray = moved / np.where(length > 0, length, 1.0)[:, None]
    return out


def _sums(sample: pa.Table, schema: TableSchema, taken: set[str]) -> Iterator[Constraint]:
    yield from find_sums(_numbers(sample, schema, taken))


def _combinations(sample: pa.Table, schema: TableSchema, taken: set[str]) -> Iterator[Constraint]:
    """Columns that one other determines, each under the column that determines most."""
    codes = {}
    for column in schema.columns:
        if column.kind is not ColumnKind.IDENTIFIER and column.name not in taken:
            numbers, levels = pd.factorize(sample[column.name].to_pandas(), use_na_sentinel=False)
            if 2 <= len(levels) <= MOST_LEVELS:
                codes[column.name] = numbers
    determined = {a: [b for b in codes if b != a and _determined(codes[a], codes[b])] for a in codes}
    used: set[str] = set()
    for name in sorted(codes, key=lambda a: -len(determined[a])):
        others = [other for other in determined[name] if other not in used]
        if name not in used and others:
            used.update([name, *others])
            yield FixedCombinations((name, *others))


def _determined(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether equal values of a mean equal values of b, where chance would often have had it otherwise."""
    pairs = np.unique(np.stack([a, b]), axis=1)
    if pairs.shape[1] > a.max() + 1:
        return False
    rows, shares = np.bincount(a), np.bincount(b) / len(b)
    return bool((rows - 1).sum() * (1 - (shares**2).sum()) >= FEWEST_CONTRADICTIONS)


def _inequalities(sample: pa.Table, schema: TableSchema, taken: set[str]) -> Iterator[Constraint]:
    """For each column at most one lower one: the one that chance would break most often."""
    columns = _numbers(sample, schema, taken, ColumnKind.CONTINUOUS, ColumnKind.DATETIME)
    order = np.random.Generator(np.random.Philox(0)).permutation(sample.num_rows)
    for high, above in columns.items():
        scores = {}
        for low, below in columns.items():
            if low == high or not _comparable(schema, low, high) or (below[:200] > above[:200]).any():
                continue
            obeyed = not (below > above).any() and (below < above).mean() >= FEWEST_DIFFER
            if obeyed and np.nanstd(below) >= LEAST_SPREAD * np.nanstd(above):
                scores[low] = float((below > above[order]).mean())
        best = max(scores, key=lambda name: scores[name], default=None)
        if best is not None and scores[best] >= SHUFFLED_BREAKS:
            yield Inequality(best, high)


def _comparable(schema: TableSchema, low: str, high: str) -> bool:
    try:
        common_type(schema.column(low).arrow_type, schema.column(high).arrow_type)
    except SchemaError:
        return False
    return True


def _uniques(sample: pa.Table, schema: TableSchema, taken: set[str]) -> Iterator[Constraint]:
    """Pairs of columns of few values each (a place and a day) whose combination never repeats."""
    codes = {}
    for column in schema.columns:
        counted = column.kind is not ColumnKind.CONTINUOUS or pa.types.is_integer(column.arrow_type)
        present = sample[column.name].null_count == 0
        if counted and present and column.kind is not ColumnKind.IDENTIFIER and column.name not in taken:
            numbers, levels = pd.factorize(sample[column.name].to_pandas())
            if 2 <= len(levels) < sample.num_rows:
                codes[column.name] = numbers
    if len(codes) > MOST_PAIRED:
        return
    alike = {name: float((np.bincount(c) ** 2.0).sum()) for name, c in codes.items()}
    for (a, x), (b, y) in combinations(codes.items(), 2):
        chance = alike[a] * alike[b] / (2.0 * sample.num_rows**2)
        if chance >= FEWEST_REPEATS and not _repeats(x[:1000], y[:1000]) and not _repeats(x, y):
            yield Unique((a, b))


def _repeats(x: np.ndarray, y: np.ndarray) -> bool:
    return len(np.unique(x.astype(np.int64) * (int(y.max()) + 1) + y)) < len(x)


def _positives(sample: pa.Table, schema: TableSchema, taken: set[str]) -> Iterator[Constraint]:
    for name, values in _numbers(sample, schema, taken).items():
        least, near = np.nanmin(values), NEAR_ZERO * np.nanstd(values)
        if is_number(schema.column(name).arrow_type) and least >= 0 and np.nanmean(values) <= near:
            yield Range(name, minimum=0, strict=bool(least > 0))
