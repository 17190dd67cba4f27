"""Tables in a bucket: fetched into a private directory, verified, and gone when nobody reads any more."""

import gc
import stat
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.services.store import BucketMissingError, NotFoundError, Store
from tasks.services.tables import open_split, open_table, reference_table, split_table
from tvae_core.errors import DataError, UnreadableError
from tvae_core.sources import TableSource, select_columns

TABLE = pa.table({"row": list(range(1000)), "who": [f"p{i % 300}" for i in range(1000)]})


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """Where temporary directories are made, so that what is left over can be seen."""
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    return place


@pytest.fixture
def bucket(store_on_moto, temporary) -> Store:
    return store_on_moto


def put(store: Store, key: str, table: pa.Table) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    store.put_bytes(key, sink.getvalue().to_pybytes())


def read(source: TableSource) -> pa.Table:
    return pa.Table.from_batches(source.batches(), schema=source.schema)


def test_an_object_is_referenced_by_address_digest_and_rows_and_nothing_stays(bucket, temporary):
    put(bucket, "tables/t.parquet", TABLE)
    ref = reference_table(bucket.uri_of("tables/t.parquet"))
    assert (ref.uri, ref.rows) == (bucket.uri_of("tables/t.parquet"), 1000)
    assert [(part.sha256, part.size) for part in ref.parts] == [
        (bucket.checksum("tables/t.parquet").sha256, bucket.size("tables/t.parquet"))
    ]
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("slash", ["", "/"])
def test_the_parts_under_a_prefix_are_one_table_in_order_of_name(bucket, slash):
    for part in (1, 0, 2):
        put(bucket, f"tables/t/part-{part}.parquet", TABLE.slice(part * 400, 400))
    for name in ("_SUCCESS", "_temporary/x.parquet", ".hidden.parquet", "readme.txt"):
        bucket.put_bytes(f"tables/t/{name}", b"no part")
    put(bucket, "tables/t2/part-9.parquet", TABLE)
    ref = reference_table(bucket.uri_of("tables/t") + slash)
    assert [part.rows for part in ref.parts] == [400, 400, 200]
    assert read(open_table(ref)).equals(TABLE)


def test_the_same_bytes_have_the_same_digest_in_a_bucket_and_on_disk(bucket, tmp_path):
    pq.write_table(TABLE, tmp_path / "t.parquet")
    bucket.put_file("t.parquet", tmp_path / "t.parquet")
    assert (
        reference_table(bucket.uri_of("t.parquet")).digest == reference_table(tmp_path / "t.parquet").digest
    )


def test_fetched_files_are_private_and_removed_at_the_end_of_with(bucket, temporary):
    put(bucket, "t.parquet", TABLE)
    with open_table(reference_table(bucket.uri_of("t.parquet"))) as table:
        (directory,) = temporary.iterdir()
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        assert read(table).equals(TABLE)
    assert list(temporary.iterdir()) == []


def test_fetched_files_stay_while_anything_reads_and_go_with_the_last_reader(bucket, temporary):
    put(bucket, "t.parquet", TABLE)
    column = select_columns(open_table(reference_table(bucket.uri_of("t.parquet"))), ["who"])
    batches = column.batches()
    del column
    gc.collect()
    assert pa.Table.from_batches(batches).num_rows == 1000
    del batches
    gc.collect()
    assert list(temporary.iterdir()) == []


def test_a_split_of_a_table_in_a_bucket_is_the_split_of_the_same_table_on_disk(bucket, temporary, tmp_path):
    pq.write_table(TABLE, tmp_path / "t.parquet")
    bucket.put_file("t.parquet", tmp_path / "t.parquet")
    sides = []
    for address in (tmp_path / "t.parquet", bucket.uri_of("t.parquet")):
        split = split_table(reference_table(address), seed=3, holdout_fraction=0.3, entity="who")
        with open_split(split, "holdout") as holdout:
            sides.append(read(holdout))
    assert sides[0].equals(sides[1])
    assert sides[0].num_rows > 0
    assert list(temporary.iterdir()) == []


def test_an_object_that_was_overwritten_is_refused_and_nothing_stays(bucket, temporary):
    put(bucket, "t.parquet", TABLE)
    ref = reference_table(bucket.uri_of("t.parquet"))
    put(bucket, "t.parquet", TABLE.slice(1))
    with pytest.raises(DataError, match="has changed since"):
        open_table(ref)
    assert list(temporary.iterdir()) == []


def test_an_object_that_is_gone_is_refused_and_nothing_stays(bucket, temporary):
    put(bucket, "t.parquet", TABLE)
    ref = reference_table(bucket.uri_of("t.parquet"))
    bucket.delete("t.parquet")
    with pytest.raises(NotFoundError):
        open_table(ref)
    assert list(temporary.iterdir()) == []


def test_nothing_at_the_address_is_refused(bucket):
    with pytest.raises(DataError, match="however none at: s3://"):
        reference_table(bucket.uri_of("nothing"))


def test_a_bucket_that_is_not_there_is_refused(bucket):
    with pytest.raises(BucketMissingError):
        reference_table("s3://no-such-bucket-here/t.parquet")


def test_an_object_that_is_not_parquet_is_refused_by_its_name_and_nothing_stays(bucket, temporary):
    bucket.put_bytes("t.parquet", b"age,name\n1,a\n")
    with pytest.raises(UnreadableError, match=r"t\.parquet.*does not begin as one"):
        reference_table(bucket.uri_of("t.parquet"))
    gc.collect()
    assert list(temporary.iterdir()) == []


def test_partitioned_objects_are_refused_rather_than_left_out(bucket):
    put(bucket, "t/year=2020/p.parquet", TABLE)
    put(bucket, "t/p.parquet", TABLE)
    with pytest.raises(DataError, match=r"1 lie deeper, the first: year=2020/p\.parquet"):
        reference_table(bucket.uri_of("t"))


def test_parts_of_other_columns_are_refused(bucket):
    put(bucket, "t/a.parquet", TABLE)
    put(bucket, "t/b.parquet", TABLE.drop(["who"]))
    with pytest.raises(DataError, match="missing: who"):
        reference_table(bucket.uri_of("t"))


def test_no_rows_are_refused(bucket, temporary):
    put(bucket, "t.parquet", TABLE.slice(0, 0))
    with pytest.raises(DataError, match="a table with rows"):
        reference_table(bucket.uri_of("t.parquet"))
    assert list(temporary.iterdir()) == []


def test_a_file_under_the_same_name_beside_is_not_touched(bucket, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("t.parquet").write_text("mine")
    put(bucket, "t.parquet", TABLE)
    open_table(reference_table(bucket.uri_of("t.parquet"))).close()
    assert Path("t.parquet").read_text() == "mine"
