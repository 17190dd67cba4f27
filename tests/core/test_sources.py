"""A table is read the same way wherever it lies, and what is no table is refused with a clear error."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tvae_core.errors import DataError, UnreadableError
from tvae_core.sources import ArrowSource, ParquetSource, TableSource, as_source, select_columns

TABLE = pa.table({"age": pa.array([30, None, 50], pa.int32()), "name": ["", None, "c"]})


def read(source: TableSource) -> pa.Table:
    return pa.Table.from_batches(source.batches(), schema=source.schema)


def test_an_arrow_table_comes_back_as_it_is_and_can_be_read_twice():
    source = as_source(TABLE)
    assert isinstance(source, TableSource)
    assert source.num_rows == 3
    assert read(source).equals(TABLE)
    assert read(source).equals(TABLE)


def test_a_source_is_handed_through():
    source = as_source(TABLE)
    assert as_source(source) is source


def test_a_parquet_file_is_read_in_batches_of_at_most_the_asked_size(tmp_path):
    pq.write_table(pa.table({"x": range(10)}), tmp_path / "t.parquet", row_group_size=4)
    source = ParquetSource([tmp_path / "t.parquet"], batch_rows=3)
    batches = list(source.batches())
    assert max(batch.num_rows for batch in batches) <= 3
    assert pa.Table.from_batches(batches).column("x").to_pylist() == list(range(10))


def test_a_directory_is_read_part_by_part_in_order_of_name_without_hidden_files(tmp_path):
    for name, first in (("part-1.parquet", 10), ("part-0.parquet", 0), ("part-2.parquet", 20)):
        pq.write_table(pa.table({"x": [first, first + 1]}), tmp_path / name)
    for name in ("_SUCCESS", "_metadata.parquet", ".part-9.parquet", "notes.txt"):
        (tmp_path / name).write_text("not Parquet")
    source = as_source(str(tmp_path))
    assert source.num_rows == 6
    assert read(source).column("x").to_pylist() == [0, 1, 10, 11, 20, 21]


def test_a_data_frame_loses_its_index_and_its_nan_become_nulls():
    frame = pd.DataFrame(
        {"x": [1.5, np.nan, np.inf], "s": ["", np.nan, None], "c": pd.Categorical(["a", None, "b"])},
        index=[7, 8, 9],
    )
    source = as_source(frame)
    assert source.schema.names == ["x", "s", "c"]
    assert source.schema.metadata is None
    table = read(source)
    assert table.column("x").to_pylist() == [1.5, None, float("inf")]
    assert table.column("s").to_pylist() == ["", None, None]
    assert table.column("c").to_pylist() == ["a", None, "b"]


def test_pandas_metadata_in_a_file_leaves_no_trace(tmp_path):
    frame = pd.DataFrame({"x": pd.array([1, None], dtype="Int64")}, index=[5, 6])
    frame.to_parquet(tmp_path / "t.parquet", index=False)
    source = as_source(tmp_path / "t.parquet")
    assert source.schema.equals(pa.schema([("x", pa.int64())]), check_metadata=True)
    assert next(source.batches()).schema.equals(source.schema, check_metadata=True)


def test_pandas_is_told_the_types_and_nothing_of_the_rows(tmp_path):
    columns = {"n": pd.array([1, None, 3], dtype="Int64"), "c": pd.Categorical(["a", "b", "a"])}
    frame = pd.DataFrame(columns, index=pd.RangeIndex(7_000, 7_003, name="patient"))
    frame.attrs["note"] = "from the clinic"
    frame.to_parquet(tmp_path / "t.parquet")
    metadata = as_source(tmp_path / "t.parquet").metadata
    said = str(metadata)
    assert not [word for word in ("700", "patient", "clinic", "num_categories") if word in said]
    sampled = pa.table({"n": pa.array([None, 2]), "c": pa.array(["b", "a"]).dictionary_encode()})
    back = sampled.replace_schema_metadata(metadata).to_pandas()
    assert back.dtypes.astype(str).tolist() == ["Int64", "category"]
    assert back.index.equals(pd.RangeIndex(2))


def test_types_survive_the_way_through_parquet(tmp_path):
    table = pa.table(
        {
            "d": pa.array([1, None], pa.decimal128(10, 2)),
            "t": pa.array([1, None], pa.timestamp("us", tz="Europe/Berlin")),
            "c": pa.array(["a", None]).dictionary_encode(),
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    assert read(as_source(tmp_path / "t.parquet")).equals(table)


@pytest.mark.parametrize(
    ("names", "types"),
    [
        ([0, "a"], "int, str"),
        ([0.5, 1.5], "float"),
        ([True, False], "bool"),
        ([("a", 1), ("a", 2)], "tuple"),
        (pd.MultiIndex.from_tuples([("a", "b"), ("a", "c")]), "tuple"),
        (pd.date_range("2024-01-01", periods=2), "Timestamp"),
    ],
)
def test_names_that_are_neither_text_nor_integers_are_refused(names, types):
    with pytest.raises(
        DataError, match=f"all text or all integers, however they are of type {types}; rename"
    ):
        as_source(pd.DataFrame([[1, 2]], columns=names))


def test_a_column_of_mixed_values_is_refused_without_quoting_one():
    frame = pd.DataFrame({"income": [1.5, "secret-value"]})
    with pytest.raises(DataError, match=r"'income'.*float, str") as caught:
        as_source(frame)
    assert "secret" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_what_is_not_parquet_is_refused(tmp_path):
    (tmp_path / "t.parquet").write_text("age,name\n1,a\n")
    with pytest.raises(UnreadableError, match="does not begin as one"):
        as_source(tmp_path / "t.parquet")


@pytest.mark.parametrize("size", [0, 3])
def test_an_empty_or_tiny_file_is_refused(tmp_path, size):
    (tmp_path / "t.parquet").write_bytes(b"x" * size)
    with pytest.raises(UnreadableError, match=f"{size} bytes"):
        as_source(tmp_path / "t.parquet")


def test_a_truncated_file_is_refused(tmp_path):
    path = tmp_path / "t.parquet"
    pq.write_table(TABLE, path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(UnreadableError, match="cut short"):
        as_source(path)


def test_a_damaged_page_is_found_while_reading(tmp_path):
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"x": np.random.default_rng(0).random(10_000)}), path)
    data = bytearray(path.read_bytes())
    data[4:2000] = b"\xff" * 1996
    path.write_bytes(data)
    source = as_source(path)
    with pytest.raises(UnreadableError, match="damaged"):
        read(source)


def test_a_part_removed_after_opening_is_reported_while_reading(tmp_path):
    pq.write_table(TABLE, tmp_path / "t.parquet")
    source = as_source(tmp_path / "t.parquet")
    (tmp_path / "t.parquet").unlink()
    with pytest.raises(UnreadableError, match="No such file"):
        read(source)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (pa.table({"age": pa.array([1], pa.int32())}), "missing: name"),
        (TABLE.append_column("more", pa.array([1, 2, 3])), "unexpected: more"),
        (
            TABLE.set_column(0, "age", pa.array(["1", "2", "3"])),
            r"of another type: age \(int32 against string\)",
        ),
        (TABLE.select(["name", "age"]), "another order"),
    ],
)
def test_parts_whose_columns_differ_are_refused(tmp_path, other, message):
    pq.write_table(TABLE, tmp_path / "a.parquet")
    pq.write_table(other, tmp_path / "b.parquet")
    with pytest.raises(DataError, match=f"b.parquet differs from a.parquet: .*{message}"):
        as_source(tmp_path)


def test_duplicate_column_names_are_refused_in_every_kind_of_table(tmp_path):
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["x", "x"])
    pq.write_table(table, tmp_path / "t.parquet")
    frame = pd.DataFrame([[1, 2]], columns=["x", "x"])
    for data in (table, frame, tmp_path / "t.parquet"):
        with pytest.raises(DataError, match="more than one: x"):
            as_source(data)


def test_no_columns_are_refused_in_every_kind_of_table(tmp_path):
    pq.write_table(pa.table({}), tmp_path / "t.parquet")
    for data in (pa.table({}), pd.DataFrame(), tmp_path / "t.parquet"):
        with pytest.raises(DataError, match="at least one column"):
            as_source(data)


def test_a_directory_without_parts_is_refused(tmp_path):
    (tmp_path / "_SUCCESS").touch()
    with pytest.raises(DataError, match=r"\*\.parquet"):
        as_source(tmp_path)


def test_parts_in_sub_directories_are_refused_rather_than_left_out(tmp_path):
    (tmp_path / "year=2020").mkdir()
    pq.write_table(TABLE, tmp_path / "year=2020" / "p.parquet")
    pq.write_table(TABLE, tmp_path / "p.parquet")
    with pytest.raises(DataError, match="sub-directories"):
        as_source(tmp_path)


def test_a_path_with_nothing_there_is_refused():
    with pytest.raises(DataError, match=r"there is none at: nowhere\.parquet"):
        as_source(Path("nowhere.parquet"))


def test_something_else_is_refused():
    with pytest.raises(DataError, match="however: list"):
        as_source([1, 2])  # type: ignore[arg-type]


def test_a_table_in_memory_is_batched_too():
    source = ArrowSource(pa.table({"x": range(10)}), batch_rows=4)
    assert [batch.num_rows for batch in source.batches()] == [4, 4, 2]


class Generated:
    """A source of somebody else's making: the protocol and nothing more."""

    schema = pa.schema([("a", pa.int64()), ("b", pa.int64())])
    num_rows = 2

    def batches(self):
        yield pa.record_batch({"a": [1], "b": [2]})
        yield pa.record_batch({"a": [3], "b": [4]})


def test_columns_can_be_selected_from_every_kind_of_source(tmp_path):
    table = pa.table({"a": [1, 3], "b": [2, 4]})
    pq.write_table(table, tmp_path / "t.parquet")
    for data in (table, tmp_path / "t.parquet", Generated()):
        source = select_columns(as_source(data), ["b", "a"])
        assert source.num_rows == 2
        assert read(source).to_pydict() == {"b": [2, 4], "a": [1, 3]}


def test_selecting_a_column_that_is_not_there_is_refused():
    with pytest.raises(DataError, match=r"column\(s\) c, however the table has: a, b"):
        select_columns(Generated(), ["a", "c"])
