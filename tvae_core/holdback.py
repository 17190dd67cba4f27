"""Which rows are kept from training, so that training can stop by itself."""

import numpy as np
import pandas as pd
import pyarrow as pa

from tvae_core.codecs.categorical import plain_values
from tvae_core.randomness import numpy_generator
from tvae_core.schema import TableSchema
from tvae_core.sources import TableSource


def hold_back(source: TableSource, schema: TableSchema, fraction: float, seed: int) -> np.ndarray:
    """Which rows (rows,) bool are held back to stop training early: whole entities where the schema names one.

    At least one row stays on either side; a table too small to spare any holds none back.
    """
    rows = source.num_rows
    if fraction == 0.0 or rows * fraction < 1:
        return np.zeros(rows, bool)
    groups = None if schema.entity is None else entity_numbers(source, schema.entity)
    count = rows if groups is None else int(groups.max()) + 1
    chosen = numpy_generator(seed, "hold back").permutation(count) < max(1, round(count * fraction))
    held: np.ndarray = chosen if groups is None else chosen[groups]
    return held if 0 < held.sum() < rows else np.zeros(rows, bool)


def entity_numbers(source: TableSource, entity: str) -> np.ndarray:
    """Each row's entity as a number (rows,), equal for equal values; a missing value is an entity of its own."""
    column = pa.chunked_array([plain_values(b.column(entity)) for b in source.batches()])
    codes, _ = pd.factorize(column.to_pandas(), use_na_sentinel=True)
    alone = codes < 0
    codes[alone] = codes.max(initial=-1) + 1 + np.arange(alone.sum())
    return codes
