"""Tables by reference: where they lie, what they hold, and that they are still what they were."""

import hashlib
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.references import TableRef
from tasks.services.store import StoreError
from tasks.services.tables import open_table, reference_table
from tvae_core.errors import DataError, UnreadableError
from tvae_core.sources import TableSource

TABLE = pa.table({"age": pa.array([30, None, 50], pa.int32()), "name": ["", None, "c"]})


def read(source: TableSource) -> pa.Table:
    return pa.Table.from_batches(source.batches(), schema=source.schema)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "table.parquet"
    pq.write_table(TABLE, path)
    return path


def test_a_local_file_is_referenced_where_it_lies(file):
    ref = reference_table(str(file))
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    assert (ref.uri, ref.rows, len(ref.parts)) == (file.as_uri(), 3, 1)
    part = ref.parts[0]
    assert (part.uri, part.sha256, part.size, part.rows) == (file.as_uri(), sha256, file.stat().st_size, 3)
    assert ref.digest == hashlib.sha256(sha256.encode()).hexdigest()


def test_a_file_address_and_a_path_give_the_same_reference(file):
    assert reference_table(file.as_uri()) == reference_table(file)


def test_a_path_with_a_blank_and_an_umlaut_survives_its_address(tmp_path):
    path = tmp_path / "für alle.parquet"
    pq.write_table(TABLE, path)
    assert read(open_table(reference_table(path))).equals(TABLE)


def test_a_directory_is_referenced_part_by_part_in_order_of_name(tmp_path):
    for name, rows in (("b.parquet", 2), ("a.parquet", 1), ("c.parquet", 0)):
        pq.write_table(pa.table({"x": pa.array(range(rows), pa.int64())}), tmp_path / name)
    for name in ("_SUCCESS", ".a.parquet.crc", "_common.parquet"):
        (tmp_path / name).write_text("no part")
    ref = reference_table(tmp_path)
    assert [(part.uri.rsplit("/")[-1], part.rows) for part in ref.parts] == [
        ("a.parquet", 1),
        ("b.parquet", 2),
        ("c.parquet", 0),
    ]
    assert ref.rows == 3
    assert read(open_table(ref)).column("x").to_pylist() == [0, 0, 1]


def test_the_digest_tells_the_bytes_and_their_order_not_where_they_lie(tmp_path):
    digests = set()
    for place, names in (("one", "ab"), ("two", "ab"), ("three", "ba")):
        (tmp_path / place).mkdir()
        for x, name in enumerate(names):
            pq.write_table(pa.table({"x": [x]}), tmp_path / place / f"{name}.parquet")
        digests.add((place, reference_table(tmp_path / place).digest))
    found = dict(digests)
    assert found["one"] == found["two"] != found["three"]


def test_an_opened_table_holds_what_was_written_and_can_be_read_twice(file):
    with open_table(reference_table(file)) as table:
        assert isinstance(table, TableSource)
        assert table.num_rows == 3
        assert read(table).equals(TABLE)
        assert read(table).equals(TABLE)
        assert read(table.select(["name"])).equals(TABLE.select(["name"]))
    assert file.exists()


def test_a_changed_file_is_refused(file):
    ref = reference_table(file)
    pq.write_table(TABLE.slice(0, 2), file)
    with pytest.raises(DataError, match="has changed since"):
        open_table(ref)


def test_one_changed_byte_is_enough(file):
    ref = reference_table(file)
    data = bytearray(file.read_bytes())
    data[20] ^= 1
    file.write_bytes(data)
    with pytest.raises(DataError, match="has changed since"):
        open_table(ref)


def test_a_file_that_is_gone_is_refused(file):
    ref = reference_table(file)
    file.unlink()
    with pytest.raises(DataError, match=r"table\.parquet: No such file"):
        open_table(ref)


def test_a_reference_without_parts_is_refused():
    with pytest.raises(DataError, match="at least one part"):
        open_table(TableRef("file:///nowhere", "0", 0, ()))


def test_no_rows_are_refused(tmp_path):
    pq.write_table(TABLE.slice(0, 0), tmp_path / "t.parquet")
    with pytest.raises(DataError, match="a table with rows"):
        reference_table(tmp_path / "t.parquet")


def test_no_columns_are_refused(tmp_path):
    pq.write_table(pa.table({}), tmp_path / "t.parquet")
    with pytest.raises(DataError, match="at least one column"):
        reference_table(tmp_path / "t.parquet")


def test_duplicate_columns_are_refused(tmp_path):
    twice = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["x", "x"])
    pq.write_table(twice, tmp_path / "t.parquet")
    with pytest.raises(DataError, match="more than one: x"):
        reference_table(tmp_path / "t.parquet")


def test_what_is_not_parquet_is_refused(tmp_path):
    (tmp_path / "t.csv").write_text("age\n1\n")
    with pytest.raises(UnreadableError, match="does not begin as one"):
        reference_table(tmp_path / "t.csv")


def test_a_truncated_file_is_refused(file):
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(UnreadableError, match="cut short"):
        reference_table(file)


def test_parts_of_other_columns_are_refused(tmp_path):
    pq.write_table(TABLE, tmp_path / "a.parquet")
    pq.write_table(TABLE.drop(["name"]), tmp_path / "b.parquet")
    with pytest.raises(DataError, match="missing: name"):
        reference_table(tmp_path)


@pytest.mark.parametrize("name", ["absent.parquet", "empty"])
def test_nothing_there_is_refused(tmp_path, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"there is none"):
        reference_table(tmp_path / name)


def test_another_scheme_is_refused():
    with pytest.raises(StoreError, match="gs"):
        reference_table("gs://bucket/t.parquet")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission_is_refused(file):
    file.chmod(0)
    with pytest.raises(DataError, match="Permission denied"):
        reference_table(file)


def test_one_row_is_a_table(tmp_path):
    pq.write_table(TABLE.slice(0, 1), tmp_path / "t.parquet")
    assert reference_table(tmp_path / "t.parquet").rows == 1


def test_empty_text_and_missing_text_stay_apart(file):
    assert read(open_table(reference_table(file))).column("name").to_pylist() == ["", None, "c"]


def test_a_wide_and_long_table_survives_in_batches(tmp_path):
    table = pa.table({f"c{i}": np.random.default_rng(i).random(100_000) for i in range(3)})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=30_000)
    source = open_table(reference_table(tmp_path / "t.parquet"))
    assert sum(1 for _ in source.batches()) > 1
    assert read(source).equals(table)
