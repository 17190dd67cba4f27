"""Tables whose codes lie in a file: the same generator as in memory, and nothing left behind."""

import tempfile
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.core.test_training import SMALL
from tests.core.test_tvae import planted
from tvae_core import TVAE, ModelSettings, TableCodec, TVAEError, as_source, infer_schema
from tvae_core.token_file import encoded_table


@pytest.fixture
def in_files(monkeypatch, tmp_path):
    """Every encoded table goes to a file, in a folder of its own."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tvae_core.token_file.LARGEST_IN_MEMORY", 0)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.mark.parametrize("preset", ["default", "reference"])
def test_a_table_read_from_a_file_gives_the_same_generator(preset, tmp_path, monkeypatch, in_files):
    pq.write_table(pa.Table.from_pandas(planted(700)), tmp_path / "table.parquet", row_group_size=100)
    settings = {**SMALL, "preset": preset, "epochs": 2, "validation_fraction": 0.1}
    seen = set()

    def look(stage, done, total):
        seen.add((stage, total, tuple(in_files.glob("tvae-*"))))

    mapped = TVAE(**settings).fit(tmp_path / "table.parquet", on_rows=look).save(tmp_path / "mapped")
    assert seen == {("encode", 700, ()), ("epoch 1", 630, ()), ("epoch 2", 630, ())}  # the file has no name
    monkeypatch.setattr("tvae_core.token_file.LARGEST_IN_MEMORY", 2**27)
    assert TVAE(**settings).fit(tmp_path / "table.parquet").save(tmp_path / "resident") == mapped


@pytest.mark.parametrize(("levels", "dtype"), [(30_000, np.int16), (33_000, np.int32)])
def test_codes_are_as_small_as_the_column_of_most_codes_allows(levels, dtype, in_files):
    table = pa.table({"many": [f"v{i}" for i in range(levels)] * 2, "few": [True, False] * levels})
    source, settings = as_source(table), ModelSettings(max_categories=levels, protect_k=0).resolved()
    codec = TableCodec.fit(source, infer_schema(table), settings, seed=0)
    with encoded_table(codec, source) as encoded:
        assert (encoded.codes.dtype, encoded.in_memory) == (dtype, False)
        assert np.array_equal(encoded.codes, codec.encode(source).codes)
        with pytest.raises(ValueError, match="read-only"):
            encoded.codes[0] = 0


def test_no_room_for_the_file_says_where_and_what_to_do(monkeypatch, in_files):
    full = partial(open, "/dev/full", "r+b", buffering=0)
    monkeypatch.setattr("tvae_core.token_file.tempfile.TemporaryFile", lambda prefix: full())
    with pytest.raises(TVAEError, match=r"takes 0 MB in .*temporary: No space left.*set TMPDIR"):
        TVAE(**SMALL, epochs=1).fit(planted(300))
