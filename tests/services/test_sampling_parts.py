"""A sample in parts: the same rows and bytes whoever draws which part, and a damaged part is drawn again."""

import hashlib
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.references import PartRef, Workspace
from tasks.services.sampling import (
    find_sample,
    keep_part,
    keep_sample,
    part_ranges,
    sample_parts,
    write_sample,
)
from tasks.services.workspace import RunFiles
from tvae_core import TVAE, infer_schema
from tvae_core.constraints import Unique
from tvae_core.errors import SettingsError

ROWS, PER_PART = 20_000, 6_500  # blocks are of 8,192 rows: parts begin and end within blocks


@pytest.fixture(scope="module")
def tvae() -> TVAE:
    random = np.random.default_rng(0)
    level = random.choice(["a", "b", "c"], 600)
    table = pd.DataFrame({"x": random.normal(0, 1, 600) + (level == "a"), "level": level})
    return TVAE(epochs=2, compress_dims=(16,), decompress_dims=(16,), embedding_dim=4, seed=1).fit(table)


@pytest.fixture
def files(tmp_path: Path) -> RunFiles:
    return RunFiles(Workspace(str(tmp_path / "store"), "runs/adult/1"))


def draw_part(tvae: TVAE, files: RunFiles, number: int, part: tuple[int, int], *, seed: int) -> PartRef:
    """One part drawn by itself, as a task on a cluster does."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"part-{number:05}.parquet"
        write_sample(tvae, part[1], path, seed=seed, first=part[0])
        return keep_part(files, path, part[1])


@pytest.mark.parametrize("options", [{}, {"given": {"x": (0, None)}}, {"balance": "level"}])
def test_rows_from_any_first_row_on_are_those_of_the_whole_sample(tvae: TVAE, options: dict) -> None:
    whole = tvae.sample_table(ROWS, seed=5, **options)
    drawn = [tvae.sample_table(n, seed=5, first=first, **options) for first, n in part_ranges(ROWS, PER_PART)]
    assert pa.concat_tables(drawn).equals(whole)
    assert [part.num_rows for part in drawn] == [6_500, 6_500, 6_500, 500]


def test_no_rows_from_any_row_on_are_an_empty_table(tvae: TVAE) -> None:
    assert tvae.sample_table(0, first=8_192).num_rows == 0


def test_a_first_row_that_is_no_row_number_is_refused(tvae: TVAE) -> None:
    with pytest.raises(SettingsError, match="first must be an integer of at least 0"):
        tvae.sample_table(1, first=-1)
    with pytest.raises(SettingsError, match="rows 1 to 3 are asked for, but 2 rows are given"):
        tvae.sample_table(2, first=1, given=pd.DataFrame({"level": ["a", "b"]}))


def test_a_frame_of_known_cells_is_drawn_in_parts_too(tvae: TVAE) -> None:
    known = pd.DataFrame({"level": ["a", "b", "c", "a", "b"] * 20})
    whole = tvae.sample_table(seed=5, given=known)
    parts = [tvae.sample_table(n, seed=5, first=first, given=known) for first, n in part_ranges(100, 30)]
    assert pa.concat_tables(parts).equals(whole)
    assert whole["level"].to_pylist() == known.level.tolist()


def test_parts_drawn_in_any_order_are_byte_for_byte_the_same(
    tvae: TVAE, files: RunFiles, tmp_path: Path
) -> None:
    ranges = part_ranges(ROWS, PER_PART)
    targets = (tmp_path / f"part-{number:05}.parquet" for number in range(4))
    streamed = sample_parts(tvae, ROWS, PER_PART, seed=5, targets=targets)
    in_order = [keep_part(files, path, rows) for path, rows in streamed]
    other = RunFiles(Workspace(str(tmp_path / "other"), "runs/adult/1"))
    backwards = [
        draw_part(tvae, other, number, part, seed=5) for number, part in reversed(list(enumerate(ranges)))
    ]
    assert [part.sha256 for part in in_order] == [part.sha256 for part in reversed(backwards)]
    table = keep_sample(files, in_order)
    assert table.rows == ROWS
    rows = pa.concat_tables(
        pq.read_table(files.store.root / files.key(f"sample/part-0000{i}.parquet")) for i in range(4)
    )  # type: ignore[attr-defined]
    assert rows.equals(tvae.sample_table(ROWS, seed=5))


def test_a_part_that_was_damaged_or_lost_in_staging_is_noticed_before_it_is_used(
    tvae: TVAE, files: RunFiles
) -> None:
    parts = [draw_part(tvae, files, n, part, seed=5) for n, part in enumerate(part_ranges(2_000, 1_000))]
    assert find_sample(files) is None
    table = keep_sample(files, parts)
    assert find_sample(files) == table
    key = files.key("sample/part-00001.parquet")
    good = files.store.get_bytes(key)
    files.store.put_bytes(key, good[:-1] + b"?")
    assert find_sample(files) is None
    files.store.delete(key)
    assert find_sample(files) is None
    assert draw_part(tvae, files, 1, (1_000, 1_000), seed=5).sha256 == hashlib.sha256(good).hexdigest()
    assert find_sample(files) == table


def test_a_sample_without_rows_is_refused(tvae: TVAE, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="at least one row"):
        write_sample(tvae, 0, tmp_path / "out.parquet", seed=1)


def test_a_unique_constraint_ties_a_sample_to_one_process() -> None:
    table = pd.DataFrame({"a": np.arange(300) % 20, "b": np.arange(300) // 20, "x": np.arange(300.0)})
    schema = replace(infer_schema(table), constraints=(Unique(("a", "b")),))
    small = {"compress_dims": (8,), "decompress_dims": (8,), "embedding_dim": 2}
    tied = TVAE(epochs=1, seed=1, **small).fit(table, schema)
    with pytest.raises(SettingsError, match="ties rows to those before them: draw all in one process"):
        tied.sample_table(5, first=5)
