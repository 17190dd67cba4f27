"""Filled tables in the form in which the table with the gaps came."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa

from tvae_core.sources import pandas_metadata, table_from_frame


def stacked(filled: Sequence[pa.Table], asked: pa.Table) -> pa.Table:
    """One table: the only one filled, or all under one another behind a column that counts the draws from 0."""
    tables = [table.replace_schema_metadata(pandas_metadata(asked.schema)) for table in filled]
    if len(tables) == 1:
        return tables[0]
    name = "draw"
    while name in asked.column_names:
        name += "_"
    numbers = np.repeat(np.arange(len(tables)), asked.num_rows)
    return pa.concat_tables(tables).add_column(0, pa.field(name, pa.int64()), [pa.array(numbers, pa.int64())])


def frames_of(filled: Sequence[pa.Table], asked: pd.DataFrame) -> pd.DataFrame:
    """One frame with the columns and the index of the one that was filled; several under an index level `draw`."""
    types = pandas_metadata(table_from_frame(asked.head(0)).schema)
    frames = [
        table.replace_schema_metadata(types).to_pandas().set_axis(asked.columns, axis=1).set_axis(asked.index)
        for table in filled
    ]
    return frames[0] if len(frames) == 1 else pd.concat(frames, keys=range(len(frames)), names=["draw"])
