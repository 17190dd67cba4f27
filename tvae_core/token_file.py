"""Encoded tables larger than memory: codes in a nameless temporary file, read through a memory map."""

import mmap
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import numpy as np

from tvae_core.errors import TVAEError
from tvae_core.sources import TableSource
from tvae_core.table import EncodedTable, OnRows, TableCodec

# Encoded tables of up to this many bytes stay in memory.
LARGEST_IN_MEMORY = 2**27


@contextmanager
def encoded_table(
    codec: TableCodec, source: TableSource, on_rows: OnRows | None = None
) -> Iterator[EncodedTable]:
    """The whole table encoded, batch by batch: in memory, or mapped from a temporary file where it is large.

    The file lies in the directory for temporary files (TMPDIR) and has no name: it is gone when the block ends, and
    when the process does, however that ends. `on_rows` gets the rows done and all rows. Raises TVAEError when there is
    no room for the file, DataError for values that training has not seen.
    """
    rows, layout = source.num_rows, codec.layout
    widths = (len(codec.modelled), np.dtype(layout.code_dtype)), (layout.scalars, np.dtype(np.float32))
    size = rows * sum(columns * dtype.itemsize for columns, dtype in widths)
    if size <= LARGEST_IN_MEMORY:
        yield codec.encode(source, on_rows)
        return
    with (
        tempfile.TemporaryFile(prefix="tvae-codes-") as codes,
        tempfile.TemporaryFile(prefix="tvae-scalars-") as scalars,
    ):
        for part in codec.encode_batches(source, on_rows):
            try:
                codes.write(part.codes.data)
                scalars.write(part.scalars.data)
            except OSError as error:
                raise TVAEError(
                    f"the encoded table takes {size / 1e6:,.0f} MB in {tempfile.gettempdir()}: {error.strerror}; make "
                    "room there, or set TMPDIR to a directory that has it"
                ) from error
        mapped = [_mapped(file, rows, *width) for file, width in zip((codes, scalars), widths, strict=True)]
        yield EncodedTable(mapped[0], mapped[1], in_memory=False)


def _mapped(file: IO[bytes], rows: int, columns: int, dtype: np.dtype) -> np.ndarray:
    """The file's content as an array (rows, columns) that can only be read."""
    if not columns:
        return np.zeros((rows, 0), dtype)
    file.flush()
    content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return np.frombuffer(content, dtype).reshape(rows, columns)
