"""Rows from a generator into Parquet, streamed: memory holds one row group, and nothing half-written stays."""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.references import PartRef, TableRef
from tasks.services.directories import holds
from tasks.services.store import StoreFullError
from tasks.services.tables import table_digest
from tasks.services.workspace import RunFiles, table_from_json, table_to_json
from tvae_core.errors import SettingsError
from tvae_core.sampling import rebatch

if TYPE_CHECKING:
    from tvae_core import TVAE

MANIFEST = "sample/manifest.json"
ROW_GROUP = 65_536  # fixed, so that the same rows are the same bytes
Progress = Callable[[int, int], None]


def write_sample(
    tvae: "TVAE",
    rows: int,
    path: Path,
    *,
    seed: int | None,
    on_rows: Progress | None = None,
    **options: Any,
) -> None:
    """Draw `rows` rows into one Parquet file at `path`, which appears when it is whole; see `sample_parts`."""
    for _ in sample_parts(tvae, rows, rows, seed=seed, targets=iter([path]), on_rows=on_rows, **options):
        pass


def write_table(table: pa.Table, path: Path) -> None:
    """Write a table to one Parquet file at `path`, which appears when it is whole."""
    with _whole_file(path) as partial:
        pq.write_table(table, partial, compression="zstd", row_group_size=ROW_GROUP)


def sample_parts(
    tvae: "TVAE",
    rows: int,
    rows_per_part: int,
    *,
    seed: int | None,
    targets: Iterator[Path],
    on_rows: Progress | None = None,
    **options: Any,
) -> Iterator[tuple[Path, int]]:
    """Draw `rows` rows into Parquet files of `rows_per_part`, one path of `targets` each.

    Yields each finished file with its rows before the next is begun, so that it can be stored and removed.
    `options` are those of `TVAE.sample_batches`: given, balance, ...
    `on_rows(done, rows)` is called after every row group. Raises SettingsError when `rows` is not positive,
    StoreFullError when the disk is full.
    """
    if rows < 1 or rows_per_part < 1:
        raise SettingsError(
            f"at least one row must be asked for, got rows={rows}, rows_per_part={rows_per_part}"
        )
    batches = tvae.sample_batches(rows, seed=seed, batch_size=ROW_GROUP, **options)
    done = 0
    pending: list[pa.RecordBatch] = []
    for _, count in part_ranges(rows, rows_per_part):
        path = next(targets)
        with _whole_file(path) as partial:
            # Row groups begin anew with each part, so that a part drawn by itself is the same bytes.
            part = rebatch(_take(batches, pending, count), ROW_GROUP, tvae.constraints_.schema)
            done = _write_part(part, partial, done, rows, on_rows)
        yield path, count


def _write_part(
    batches: Iterable[pa.RecordBatch], path: Path, done: int, rows: int, on_rows: Progress | None
) -> int:
    writer = None
    try:
        for batch in batches:
            writer = writer or pq.ParquetWriter(path, batch.schema, compression="zstd")
            writer.write_batch(batch, row_group_size=ROW_GROUP)
            done += batch.num_rows
            if on_rows:
                on_rows(done, rows)
    finally:
        if writer is not None:
            writer.close()
    return done


def part_ranges(rows: int, rows_per_part: int) -> list[tuple[int, int]]:
    """The first row and the number of rows of each part of a sample of `rows` rows."""
    return [(first, min(rows_per_part, rows - first)) for first in range(0, rows, rows_per_part)]


def find_sample(files: RunFiles) -> TableRef | None:
    """The sample that a run's workspace holds, every part read back; None when there is none, or a damaged one."""
    if not files.has(MANIFEST):
        return None
    table = table_from_json(files.read_json(MANIFEST))
    prefix = f"{files.store.uri}/"
    whole = all(holds(files.store, p.uri.removeprefix(prefix), p.sha256, p.size) for p in table.parts)
    return table if whole else None


def keep_part(files: RunFiles, path: Path, rows: int) -> PartRef:
    """Store one finished part in a run's workspace under its own name."""
    kept = files.store.put_file(files.key(f"sample/{path.name}"), path)
    return PartRef(kept.uri, kept.sha256, kept.size, rows)


def keep_sample(files: RunFiles, parts: Sequence[PartRef]) -> TableRef:
    """Write the manifest of a sample whose parts all lie in the workspace."""
    uri = files.store.uri_of(files.key("sample"))
    rows = sum(part.rows for part in parts)
    table = TableRef(uri=uri, digest=table_digest(parts), rows=rows, parts=tuple(parts))
    files.write_json(MANIFEST, table_to_json(table))
    return table


def _take(
    batches: Iterator[pa.RecordBatch], pending: list[pa.RecordBatch], count: int
) -> Iterator[pa.RecordBatch]:
    """Exactly `count` rows; what is left of the last batch waits in `pending`."""
    while count > 0:
        batch = pending.pop() if pending else next(batches)
        if batch.num_rows > count:
            pending.append(batch.slice(count))
            batch = batch.slice(0, count)
        count -= batch.num_rows
        yield batch


@contextlib.contextmanager
def _whole_file(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to; it becomes `path` only when the block ends well."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    os.close(descriptor)
    partial = Path(name)
    try:
        yield partial
        partial.chmod(0o644)
        partial.replace(path)
    except OSError as error:
        raise StoreFullError(f"can't write {path}: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)
