"""Which rows are kept from training, so that training can stop by itself."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tvae_core.codecs.categorical import plain_values
from tvae_core.randomness import numpy_generator
from tvae_core.schema import TableSchema
from tvae_core.sources import TableSource, select_columns


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
    """Each row's entity as a number (rows,), in order of first appearance, equal for equal values.

    A missing value is an entity of its own, numbered after the others.
    """
    batches = select_columns(source, [entity]).batches()
    encoded = pa.chunked_array([_hashable(b.column(0)) for b in batches]).dictionary_encode()
    numbers = np.concatenate(
        [chunk.indices.fill_null(-1).to_numpy() for chunk in encoded.chunks], dtype=np.int64
    )
    alone = numbers < 0
    numbers[alone] = numbers.max(initial=-1) + 1 + np.arange(alone.sum())
    return numbers


def _hashable(values: pa.Array) -> pa.Array:
    """Plain values; NaN is missing and -0.0 is 0.0."""
    values = plain_values(values)
    if not pa.types.is_floating(values.type):
        return values
    return pc.if_else(pc.is_nan(values), None, pc.add(values, pa.scalar(0.0, values.type)))
