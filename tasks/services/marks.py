"""Parquet files that say of themselves that they are synthetic."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

import pyarrow.parquet as pq

from tasks.services.store import CHUNK

MAGIC = b"PAR1"


def mark_part(source: Path, target: Path, marks: Mapping[str, str]) -> None:
    """Copy a Parquet file with `marks` added to the key-value metadata of its footer.

    The pages are copied as they are, nothing is decoded: the footer alone is written anew, and the same file and marks
    give the same bytes. Whoever reads the file finds the marks in its schema's metadata.
    """
    with pq.ParquetFile(source) as file:
        metadata, schema = file.metadata, file.schema_arrow
    schema = schema.with_metadata({**(schema.metadata or {}), **marks})
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".footer-") as footer:
        # A file of metadata alone: magic, footer, its length, magic. Offsets are those of the pages in `source`.
        pq.write_metadata(schema, footer.name, metadata_collector=[metadata])
        tail = Path(footer.name).read_bytes()[len(MAGIC) :]
    with source.open("rb") as old, target.open("wb") as new:
        old.seek(-8, 2)
        left = source.stat().st_size - 8 - int.from_bytes(old.read(4), "little")
        old.seek(0)
        while left:
            chunk = old.read(min(CHUNK, left))
            new.write(chunk)
            left -= len(chunk)
        new.write(tail)
