"""Noisy counts of what a column holds, and codecs fitted to them instead of to the values.

A row stands in one cell of each histogram, so with m histograms the L2 sensitivity of all counts together to one row
is sqrt(m), and Gaussian noise on every cell makes them private. Cells that the data itself names (categories that are
not declared) are only kept above a threshold that a category of one row passes with probability delta / m at most
(Korolova et al. 2009, "Releasing search queries and clicks privately").
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tvae_core.codecs import CategoricalCodec, ColumnCodec, IdentifierCodec
from tvae_core.codecs.categorical import plain_values
from tvae_core.dp.counts import NoisyCounts
from tvae_core.dp.numbers import numeric_codec, range_is_unknown
from tvae_core.errors import DataError
from tvae_core.holders import LevelCounts
from tvae_core.schema import ColumnKind, ColumnSchema, TableSchema
from tvae_core.sources import TableSource, select_columns


def histograms_of(schema: TableSchema) -> int:
    """How many histograms a row stands in: none of an identifier, one of any other column, and one more of a numeric
    column whose range is not declared.
    """
    kept = [c for c in schema.columns if c.kind is not ColumnKind.IDENTIFIER]
    return len(kept) + sum(map(range_is_unknown, kept))


def private_codec(
    source: TableSource, column: ColumnSchema, counts: NoisyCounts
) -> tuple[ColumnCodec, np.ndarray]:
    """A column's codec, and each code's share of the rows (codes,), from noisy counts alone; a pass or two.

    Whether a column may be missing is taken from the schema.
    """
    if column.kind is ColumnKind.IDENTIFIER:
        return IdentifierCodec(column.name, column.arrow_type), np.zeros(0)
    categorical = column.kind in (ColumnKind.CATEGORICAL, ColumnKind.BOOLEAN)
    codec, rows = (_levels if categorical else numeric_codec)(source, column, counts)
    positive = np.maximum(rows, 0.0)
    return codec, positive / max(positive.sum(), 1e-9)


def _levels(source: TableSource, column: ColumnSchema, counts: NoisyCounts) -> tuple[ColumnCodec, np.ndarray]:
    found, missing = LevelCounts(), 0
    for batch in select_columns(source, [column.name]).batches():
        values = plain_values(batch.column(0))
        found.update(values, None)
        missing += values.null_count
    levels, rows, _ = found.result()
    inner = plain_values(pa.nulls(0, column.arrow_type)).type
    levels = pa.array([], inner) if levels is None else levels
    public = [True, False] if column.kind is ColumnKind.BOOLEAN else column.categories
    if public is not None:
        declared = pa.array(sorted(public)).cast(inner)
        place = pc.index_in(declared, value_set=levels).fill_null(len(levels)).to_numpy(zero_copy_only=False)
        levels, noisy = declared, counts.add(np.append(rows, 0)[place])
        kept = np.ones(len(declared), bool)
    else:
        order = pc.sort_indices(levels)
        levels, noisy = levels.take(order), counts.add(rows[order.to_numpy()])
        kept = noisy >= counts.threshold
    if not kept.any():
        raise DataError(
            f"column {column.name!r}: no category is frequent enough to be named privately; declare its public "
            "`categories`, declare it an identifier, or raise epsilon"
        )
    codec = CategoricalCodec(
        column.name, column.arrow_type, levels.filter(pa.array(kept)), column.nullable, None, pooled=True
    )
    none = counts.add(np.array([float(missing)])) if column.nullable else np.zeros(0)
    pooled = source.num_rows - noisy[kept].sum() - none.sum()
    return codec, np.concatenate([noisy[kept], [pooled], none])
