"""Write a planted table of any size to Parquet, a row group at a time: its memory doesn't grow with its rows.

Columns come in fives that hang together through a few hidden causes: a category, a number that follows it, an
integer that is often zero, a rounded number with missing values, and a boolean.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROWS_PER_GROUP = 100_000
LEVELS = np.array([f"level {n}" for n in range(12)])
CAUSES = 3


def write(path: Path, rows: int, columns: int, *, seed: int = 0, draw: int = 0) -> None:
    """`rows` x `columns` in row groups of at most 100,000; memory is kept small where the table is wide.

    Tables of one `seed` and another `draw` have the same distribution and other rows.
    """
    weights = np.random.default_rng(seed).normal(size=(columns, CAUSES))
    group = max(1_000, min(ROWS_PER_GROUP, 20_000_000 // columns))
    writer = None
    for number, first in enumerate(range(0, rows, group)):
        generator = np.random.default_rng([seed, number, draw] if draw else [seed, number])
        part = table(min(group, rows - first), weights, generator)
        writer = writer or pq.ParquetWriter(path, part.schema)
        writer.write_table(part)
    if writer:
        writer.close()


def table(rows: int, weights: np.ndarray, generator: np.random.Generator) -> pa.Table:
    """One row group."""
    causes = generator.normal(size=(rows, CAUSES)).astype(np.float32)
    makers = (category, number, zeros, rounded, flag)
    arrays = {}
    for place, weight in enumerate(weights.astype(np.float32)):
        maker = makers[place % len(makers)]
        cause = causes @ weight + generator.normal(scale=0.5, size=rows).astype(np.float32)
        arrays[f"{maker.__name__}_{place}"] = maker(cause, generator)
    return pa.table(arrays)


def category(cause: np.ndarray, generator: np.random.Generator) -> pa.Array:
    return pa.array(LEVELS[np.clip(np.rint(cause * 2 + 6), 0, len(LEVELS) - 1).astype(int)])


def number(cause: np.ndarray, generator: np.random.Generator) -> pa.Array:
    return pa.array(np.exp(cause).astype(np.float64))


def zeros(cause: np.ndarray, generator: np.random.Generator) -> pa.Array:
    return pa.array(np.where(cause < 0, 0, np.rint(cause * 1_000)).astype(np.int64))


def rounded(cause: np.ndarray, generator: np.random.Generator) -> pa.Array:
    values = np.round(cause.astype(np.float64) * 10, 1)
    return pa.array(values, mask=generator.random(len(values)) < 0.05)


def flag(cause: np.ndarray, generator: np.random.Generator) -> pa.Array:
    return pa.array(cause > 0.5)
