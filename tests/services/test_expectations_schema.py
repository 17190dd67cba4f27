"""What a schema expects of a table, type by type and bad case by bad case; nothing of a cell reaches the report."""

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.services import expectations
from tasks.services.expectations import validate_table
from tvae_core.errors import DataError, UnreadableError
from tvae_core.schema import ColumnKind, ColumnSchema, TableSchema
from tvae_core.sources import as_source


def column(name, kind, arrow, **settings):
    return ColumnSchema(name, ColumnKind(kind), str(arrow), **settings)


def validate(table, *columns, minimum_rows=1):
    return validate_table(as_source(table), TableSchema(tuple(columns), minimum_rows=minimum_rows))


def only_failure(report):
    failures = report.failures("critical")
    assert len(failures) == 1, [outcome.summary() for outcome in failures]
    return failures[0]


AGE = column("age", "continuous", "int64", minimum=0, maximum=120, nullable=False)
NAME = column("name", "categorical", "string", categories=("", "a", "b"))


def test_a_table_that_keeps_its_schema_passes():
    table = pa.table({"age": [0, 50, 120], "name": ["", None, "b"]})
    report = validate(table, AGE, NAME, minimum_rows=3)
    assert report.passed
    assert report.rows == 3
    assert [o.passed for o in report.outcomes] == [
        True
    ] * 7  # rows, columns, 2 types, nulls, range, categories


def test_a_value_out_of_range_is_counted_and_numbered():
    report = validate(pa.table({"age": [0, -1, 50, 121], "name": [""] * 4}), AGE, NAME)
    assert not report.passed
    failure = only_failure(report)
    assert (failure.expectation, failure.column) == ("expect_column_values_to_be_between", "age")
    assert (failure.failed_rows, failure.row_numbers) == (2, (1, 3))
    assert failure.summary() == "age: between 0 and 120 (2 rows failing, number 1, 3)"


def test_a_missing_value_where_none_may_be_is_counted_and_numbered():
    failure = only_failure(validate(pa.table({"age": [0, None, 5], "name": ["a"] * 3}), AGE, NAME))
    assert (failure.description, failure.failed_rows, failure.row_numbers) == ("never missing", 1, (1,))


def test_a_category_that_is_not_allowed_is_counted_and_not_quoted():
    failure = only_failure(validate(pa.table({"age": [1, 2], "name": ["a", "secret"]}), AGE, NAME))
    assert (failure.description, failure.failed_rows, failure.row_numbers) == ("one of 3 values", 1, (1,))


def test_empty_text_and_missing_text_are_different():
    with_empty = column("name", "categorical", "string", nullable=False)
    assert validate(pa.table({"name": ["", "a"]}), with_empty).passed
    assert only_failure(validate(pa.table({"name": [None, "a"]}), with_empty)).row_numbers == (0,)
    without_empty = column("name", "categorical", "string", categories=("a",))
    assert only_failure(validate(pa.table({"name": ["", "a"]}), without_empty)).row_numbers == (0,)
    assert validate(pa.table({"name": [None, "a"]}), without_empty).passed


def test_a_missing_column_is_reported_and_the_others_are_still_checked():
    report = validate(pa.table({"age": [-1, 1]}), AGE, NAME)
    found = {(o.expectation, o.column) for o in report.failures("critical")}
    assert found == {("expect_column_to_exist", "name"), ("expect_column_values_to_be_between", "age")}
    assert "the table does not have it" in report.to_markdown()


def test_an_unexpected_column_is_reported_by_name():
    failure = only_failure(validate(pa.table({"age": [1], "more": [2]}), AGE))
    assert failure.detail == "unexpected: more"


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (pa.array(["1", "2"]), "string"),
        (pa.array([1, 2], pa.int32()), "int32"),
        (pa.array([1.0, 2.0]), "double"),
        (pa.array([1, 2]).dictionary_encode(), "dictionary<values=int64"),
        (pa.array([None, None]), "null"),
    ],
)
def test_a_column_of_another_type_is_reported_with_both_types(values, found):
    failure = only_failure(validate(pa.table({"age": values}), AGE))
    assert failure.expectation == "expect_column_values_to_be_of_type"
    assert failure.summary().startswith(f"age: of type int64 (the table has {found}")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (pa.array([[1], [2]]), "nested columns are not supported"),
        (pa.array([{"a": 1}, None]), "nested columns are not supported"),
        (pa.array([b"x", b"y"]), "binary columns are not supported"),
        (pa.array([1.5, 2.5], pa.float16()), "half-precision floats are not supported"),
    ],
)
def test_columns_of_unsupported_types_are_a_critical_failure_with_the_cure(values, reason):
    declared = only_failure(validate(pa.table({"age": values}), AGE))
    assert reason in declared.detail
    unexpected = validate(pa.table({"age": [1, 2], "extra": values}), AGE)
    assert only_failure(unexpected).detail == "unexpected: extra"


def test_too_few_rows_are_a_critical_failure():
    failure = only_failure(validate(pa.table({"age": [1]}), AGE, minimum_rows=2))
    assert failure.summary() == "number of rows at least 2 (the table has 1)"


def test_no_rows_are_a_critical_failure():
    failure = only_failure(validate(pa.table({"age": pa.array([], pa.int64())}), AGE))
    assert failure.detail == "the table has 0"


def test_one_row_can_be_validated():
    assert validate(pa.table({"age": [1]}), AGE).passed


def test_a_column_that_is_all_missing_passes_where_it_may_be_missing():
    free = column("x", "continuous", "double", minimum=0, maximum=1)
    assert validate(pa.table({"x": pa.array([None, None], pa.float64())}), free).passed


def test_infinities_fail_even_without_a_declared_range():
    free = column("x", "continuous", "double")
    failure = only_failure(validate(pa.table({"x": [1.0, float("inf"), None, float("-inf"), 1e308]}), free))
    assert (failure.description, failure.row_numbers) == ("finite", (1, 3))
    half = column("x", "continuous", "double", minimum=0)
    failure = only_failure(validate(pa.table({"x": [1.0, float("inf")]}), half))
    assert (failure.description, failure.row_numbers) == ("at least 0", (1,))


def test_nan_counts_as_missing():
    strict = column("x", "continuous", "double", nullable=False)
    assert only_failure(validate(pa.table({"x": [1.0, float("nan")]}), strict)).row_numbers == (1,)


def test_counts_and_row_numbers_run_over_batches_and_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(expectations, "BATCH_ROWS", 70)
    for part in range(3):
        ages = [-1 if row % 25 == 24 else row for row in range(100)]
        pq.write_table(pa.table({"age": ages}), tmp_path / f"{part}.parquet", row_group_size=33)
    failure = only_failure(validate(tmp_path, AGE))
    assert failure.failed_rows == 12
    assert failure.row_numbers == tuple(range(24, 300, 25))


def test_only_the_first_twenty_row_numbers_are_kept():
    failure = only_failure(validate(pa.table({"age": [-1] * 1000}), AGE))
    assert failure.failed_rows == 1000
    assert failure.row_numbers == tuple(range(20))
    assert "1,000 rows failing, number 0, 1, " in failure.summary()
    assert failure.summary().endswith("19, ...)")


def test_dictionaries_that_differ_from_batch_to_batch_are_read_together(tmp_path):
    for part, values in enumerate((["a", "b"], ["b", "x", None])):
        pq.write_table(pa.table({"name": pa.array(values).dictionary_encode()}), tmp_path / f"{part}.parquet")
    declared = column("name", "categorical", pa.dictionary(pa.int32(), pa.string()), categories=("a", "b"))
    assert only_failure(validate(tmp_path, declared)).row_numbers == (3,)


def test_a_frame_of_pandas_is_validated_like_any_table():
    frame = pd.DataFrame({"age": pd.array([1, None, 121], dtype="Int64")})
    failures = validate(frame, AGE).failures("critical")
    assert [(f.description, f.row_numbers) for f in failures] == [
        ("never missing", (1,)),
        ("between 0 and 120", (2,)),
    ]


def test_what_is_not_a_table_is_refused_before(tmp_path):
    (tmp_path / "t.parquet").write_text("age\n1\n")
    with pytest.raises(UnreadableError):
        validate(tmp_path / "t.parquet", AGE)
    with pytest.raises(DataError, match="more than one: age"):
        validate(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["age", "age"]), AGE)
    with pytest.raises(DataError, match="at least one column"):
        validate(pa.table({}), AGE)


def test_a_page_damaged_in_the_middle_stops_the_validation(tmp_path):
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"age": range(100_000)}), path, use_dictionary=False, compression="zstd")
    data = bytearray(path.read_bytes())
    data[4:3000] = bytes(2996)
    path.write_bytes(data)
    with pytest.raises(UnreadableError):
        validate(path, column("age", "continuous", "int64", minimum=0))
