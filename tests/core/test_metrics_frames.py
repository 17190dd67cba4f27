"""Tables become frames of numbers and levels, rows become hashes: the same value is the same in every table."""

import datetime as dt
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tvae_core.errors import DataError, SchemaError
from tvae_core.metrics.frames import (
    MISSING,
    categorical_columns,
    entities,
    extents,
    ordinal,
    row_hashes,
    sample_rows,
    tidy,
)
from tvae_core.schema import ColumnKind, ColumnSchema, TableSchema, infer_schema
from tvae_core.sources import ArrowSource, as_source

EVERY_TYPE = pa.table(
    {
        "number": pa.array([1.5, None, float("nan")], pa.float64()),
        "count": pa.array([3, None, 2**53 + 1], pa.int64()),
        "price": pa.array([Decimal("1.25"), None, Decimal("-2.50")], pa.decimal128(10, 2)),
        "flag": pa.array([True, None, False]),
        "word": pa.array(["b", None, ""]),
        "day": pa.array([dt.date(1970, 1, 2), None, dt.date(1969, 12, 31)]),
        "moment": pa.array([1_000_000, None, 0], pa.timestamp("us", tz="Europe/Berlin")),
    }
)


def one(values: pa.Array, kind: ColumnKind, declared: str) -> tuple[pa.Table, TableSchema]:
    return pa.table({"x": values}), TableSchema((ColumnSchema("x", kind, declared),))


def hashes(values: pa.Array, kind: ColumnKind, declared: str) -> list[int]:
    table, schema = one(values, kind, declared)
    return row_hashes(ArrowSource(table), schema).tolist()


def test_every_kind_of_column_becomes_numbers_or_levels():
    frame = tidy(EVERY_TYPE, infer_schema(EVERY_TYPE))
    assert categorical_columns(frame) == ["flag", "word"]
    np.testing.assert_array_equal(frame["number"], [1.5, np.nan, np.nan])
    np.testing.assert_array_equal(frame["count"], [3.0, np.nan, 2.0**53])
    np.testing.assert_array_equal(frame["price"], [1.25, np.nan, -2.5])
    np.testing.assert_array_equal(frame["day"], [1.0, np.nan, -1.0])
    np.testing.assert_array_equal(frame["moment"], [1e6, np.nan, 0.0])
    assert frame["flag"].tolist() == ["true", MISSING, "false"]
    assert frame["word"].tolist() == ["b", MISSING, ""]


def test_an_empty_string_is_another_level_than_missing():
    frame = tidy(*one(pa.array(["", None]), ColumnKind.CATEGORICAL, "string"))
    assert frame["x"].nunique() == 2


def test_a_numeric_category_is_one_level_whether_it_comes_as_integer_or_float():
    whole = tidy(*one(pa.array([1, 2]), ColumnKind.CATEGORICAL, "int64"))
    floats = tidy(*one(pa.array([1.0, 2.0]), ColumnKind.CATEGORICAL, "int64"))
    assert whole["x"].tolist() == floats["x"].tolist() == ["1", "2"]


def test_a_category_that_the_declared_type_cannot_hold_is_a_level_of_its_own():
    frame = tidy(*one(pa.array([1.5, 2.0]), ColumnKind.CATEGORICAL, "int64"))
    assert frame["x"].nunique() == 2


def test_dictionary_encoded_text_is_read_as_text():
    frame = tidy(*one(pa.array(["a", "b", "a"]).dictionary_encode(), ColumnKind.CATEGORICAL, "string"))
    assert frame["x"].tolist() == ["a", "b", "a"]


def test_timestamps_of_another_unit_are_compared_in_the_declared_one():
    milliseconds = tidy(*one(pa.array([5], pa.timestamp("ms")), ColumnKind.DATETIME, "timestamp[us]"))
    assert milliseconds["x"].tolist() == [5000.0]


def test_identifiers_and_columns_outside_the_schema_are_left_out():
    table = pa.table({"key": [1, 2], "x": [0.5, 1.5], "extra": ["a", "b"]})
    schema = TableSchema(
        (
            ColumnSchema("key", ColumnKind.IDENTIFIER, "int64"),
            ColumnSchema("x", ColumnKind.CONTINUOUS, "double"),
        )
    )
    assert list(tidy(table, schema).columns) == ["x"]


def test_a_missing_column_is_named():
    schema = infer_schema(EVERY_TYPE)
    with pytest.raises(SchemaError, match="price, word"):
        tidy(EVERY_TYPE.drop_columns(["price", "word"]), schema)


def test_text_where_numbers_are_declared_is_refused_without_quoting_it():
    with pytest.raises(SchemaError, match=r"double in column 'x'.*string") as caught:
        tidy(*one(pa.array(["12", "secret"]), ColumnKind.CONTINUOUS, "double"))
    assert "secret" not in str(caught.value)


def test_infinities_are_refused_with_their_number():
    with pytest.raises(DataError, match=r"'x'.*2 rows"):
        tidy(*one(pa.array([1.0, float("inf"), float("-inf")]), ColumnKind.CONTINUOUS, "double"))


def test_codes_are_shared_by_all_frames_in_the_order_of_the_levels():
    first, second = (
        pd.DataFrame({"x": pd.Series(v, dtype=object), "y": [0.5] * 2}) for v in (["c", "a"], ["b", "c"])
    )
    a, b = ordinal([first, second])
    assert a["x"].tolist() == [2.0, 0.0]
    assert b["x"].tolist() == [1.0, 2.0]
    assert a["y"].tolist() == [0.5, 0.5]


def test_sampled_rows_are_the_same_whatever_the_batches_and_keep_their_order():
    table = pa.table({"x": np.arange(1000)})
    whole = sample_rows(ArrowSource(table, batch_rows=1000), 100, seed=7)
    parts = sample_rows(ArrowSource(table, batch_rows=13), 100, seed=7)
    drawn = whole["x"].to_pylist()
    assert parts["x"].to_pylist() == drawn
    assert drawn == sorted(set(drawn))
    assert len(drawn) == 100
    assert sample_rows(ArrowSource(table), 100, seed=8)["x"].to_pylist() != drawn


def test_a_small_table_is_taken_whole():
    table = EVERY_TYPE.drop_columns(["number"])
    assert sample_rows(as_source(table), 3, seed=0).equals(table)


def test_ranges_cover_all_batches():
    table = pa.table({"x": [3.0, None, -1.0, 2.0], "word": ["a", "b", None, "a"]})
    found = extents(ArrowSource(table, batch_rows=1), infer_schema(table))
    assert (found["x"].low, found["x"].high, found["x"].missing) == (-1.0, 3.0, True)
    assert found["word"].levels == {"a", "b", MISSING}


def test_integers_beyond_two_to_the_53_are_not_rounded_when_rows_are_compared():
    found = hashes(pa.array([2**53, 2**53 + 1]), ColumnKind.CONTINUOUS, "int64")
    assert found[0] != found[1]


def test_nanoseconds_are_not_rounded_when_rows_are_compared():
    moments = pa.array([1_700_000_000_000_000_000, 1_700_000_000_000_000_001], pa.timestamp("ns"))
    found = hashes(moments, ColumnKind.DATETIME, "timestamp[ns]")
    assert found[0] != found[1]


@pytest.mark.parametrize(
    ("values", "same", "kind", "declared"),
    [
        (pa.array([1, None, 3]), pa.array([1.0, None, 3.0]), ColumnKind.CONTINUOUS, "int64"),
        (pa.array([1, 2, 3], pa.int32()), pa.array([1, 2, 3], pa.int64()), ColumnKind.CONTINUOUS, "int64"),
        (
            pa.array([0.1, -0.0], pa.float32()),
            pa.array([0.1, 0.0], pa.float64()),
            ColumnKind.CONTINUOUS,
            "float",
        ),
        (pa.array([0.5, float("nan")]), pa.array([0.5, None]), ColumnKind.CONTINUOUS, "double"),
        (pa.array([Decimal("1.5")]), pa.array([Decimal("1.50")]), ColumnKind.CONTINUOUS, "decimal128(5, 2)"),
        (pa.array(["a", None]), pa.array(["a", None]).dictionary_encode(), ColumnKind.CATEGORICAL, "string"),
        (pa.array([True, None]), pa.array([1, None]), ColumnKind.BOOLEAN, "bool"),
        (
            pa.array([1], pa.timestamp("s")),
            pa.array([1000], pa.timestamp("ms")),
            ColumnKind.DATETIME,
            "timestamp[ms]",
        ),
    ],
)
def test_equal_values_of_other_types_hash_alike(values, same, kind, declared):
    assert hashes(values, kind, declared) == hashes(same, kind, declared)


def test_values_that_swap_columns_make_another_row():
    table = pa.table({"a": [1, 2], "b": [2, 1]})
    found = row_hashes(as_source(table), infer_schema(table))
    assert found[0] != found[1]


ROWS = st.lists(
    st.tuples(
        st.none() | st.integers(-3, 3),
        st.none() | st.sampled_from(["", "a", "b"]),
        st.none() | st.booleans(),
    ),
    min_size=1,
    max_size=30,
)


def as_table(rows: list[tuple]) -> pa.Table:
    columns = list(zip(*rows, strict=True))
    return pa.table(
        {
            "n": pa.array(columns[0], pa.int64()),
            "s": pa.array(columns[1], pa.string()),
            "b": pa.array(columns[2], pa.bool_()),
        }
    )


@settings(max_examples=60, deadline=None)
@given(ROWS, ROWS)
def test_hashes_agree_exactly_where_rows_do(first, second):
    schema = infer_schema(as_table([(0, "", True)] * 2))
    a, b = (row_hashes(ArrowSource(as_table(rows), batch_rows=4), schema) for rows in (first, second))
    assert np.isin(a, b).tolist() == [row in second for row in first]


def test_rows_of_one_entity_share_a_code_and_rows_without_one_stand_alone():
    table = pa.table({"person": ["x", "y", "x", None, None], "v": [1.0] * 5})
    columns = (
        ColumnSchema("person", ColumnKind.IDENTIFIER, "string"),
        ColumnSchema("v", ColumnKind.CONTINUOUS, "double"),
    )
    codes = entities(table, TableSchema(columns, entity="person"))
    assert codes[0] == codes[2]
    assert len(set(codes.tolist())) == 4
    assert entities(table, TableSchema(columns)) is None
