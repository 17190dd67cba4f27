"""A user's own suite: what people write is evaluated as they mean it, on every cut of the table into batches."""

import datetime as dt
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pytest

from tasks.services import expectations
from tasks.services.expectations import count_rows, suite_from_dict, validate_table
from tvae_core.schema import infer_schema
from tvae_core.sources import as_source

ROOT = Path(__file__).resolve().parents[2]
TABLE = pa.table(
    {
        "row": list(range(10)),
        "age": pa.array([30, 41, None, 22, 35, 30, 64, 18, 77, 5], pa.int32()),
        "income": [10.0, 20.0, 30.0, None, 50.0, 60.0, 70.0, 80.0, 90.0, 1000.0],
        "tax": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 2000.0],
        "code": ["A1", "A2", "B1", "b2", None, "", "A1", "C3", "C4", "C5"],
        "member": pa.array([True, False, None, True, True, True, True, True, True, True]),
        "day": [dt.date(2020, 1, day) for day in range(1, 11)],
        "at": pa.array([dt.datetime(2020, 1, day, 12) for day in range(1, 11)], pa.timestamp("us", tz="UTC")),
        "price": [Decimal(f"{n}.10") for n in range(10)],
        "grade": pa.array(list("abcabcabca")).dictionary_encode(),
    }
)


def outcome(kind, table=TABLE, severity="critical", **kwargs):
    suite = suite_from_dict({"expectations": [{"type": kind, "kwargs": kwargs, "severity": severity}]})
    return validate_table(as_source(table), infer_schema(table), suite).outcomes[-1]


ABOUT_ROWS = [
    ("expect_column_values_to_be_between", {"column": "age", "min_value": 18, "max_value": 70}, (8, 9)),
    ("expect_column_values_to_be_between", {"column": "age", "min_value": 18, "strict_min": True}, (7, 9)),
    ("expect_column_values_to_be_between", {"column": "price", "min_value": 0.1, "max_value": 8.1}, (9,)),
    ("expect_column_values_to_be_between", {"column": "day", "min_value": "2020-01-03"}, (0, 1)),
    ("expect_column_values_to_be_between", {"column": "day", "min_value": dt.date(2020, 1, 3)}, (0, 1)),
    ("expect_column_values_to_be_between", {"column": "at", "max_value": "2020-01-09T13:00:00+01:00"}, (9,)),
    ("expect_column_values_to_be_between", {"column": "at", "max_value": "2020-01-09"}, (8, 9)),
    ("expect_column_values_to_not_be_null", {"column": "income"}, (3,)),
    ("expect_column_values_to_be_null", {"column": "code"}, (0, 1, 2, 3, 5, 6, 7, 8, 9)),
    ("expect_column_values_to_be_in_set", {"column": "age", "value_set": [30, 41, 22, 35]}, (6, 7, 8, 9)),
    ("expect_column_values_to_be_in_set", {"column": "member", "value_set": [True]}, (1,)),
    ("expect_column_values_to_be_in_set", {"column": "grade", "value_set": ["a", "b"]}, (2, 5, 8)),
    (
        "expect_column_values_to_be_in_set",
        {"column": "day", "value_set": ["2020-01-01"]},
        tuple(range(1, 10)),
    ),
    ("expect_column_values_to_not_be_in_set", {"column": "code", "value_set": ["", "A1"]}, (0, 5, 6)),
    ("expect_column_values_to_match_regex", {"column": "code", "regex": "^[A-Z][0-9]$"}, (3, 5)),
    ("expect_column_values_to_match_regex", {"column": "age", "regex": r"^\d\d$"}, (9,)),
    ("expect_column_values_to_not_match_regex", {"column": "code", "regex": "^C"}, (7, 8, 9)),
    ("expect_column_value_lengths_to_equal", {"column": "code", "value": 2}, (5,)),
    ("expect_column_values_to_be_unique", {"column": "age"}, (0, 5)),
    ("expect_column_values_to_be_unique", {"column": "code"}, (0, 6)),
    ("expect_column_values_to_be_increasing", {"column": "row"}, ()),
    (
        "expect_column_pair_values_a_to_be_greater_than_b",
        {"column_A": "income", "column_B": "tax", "ignore_row_if": "either_value_is_missing"},
        (9,),
    ),
    (
        "expect_column_pair_values_a_to_be_greater_than_b",
        {"column_A": "income", "column_B": "age", "ignore_row_if": "either_value_is_missing"},
        (0, 1),
    ),
    (
        "expect_column_pair_values_to_be_equal",
        {"column_A": "age", "column_B": "income", "ignore_row_if": "either_value_is_missing"},
        (0, 1, 4, 5, 6, 7, 8, 9),
    ),
    (
        "expect_multicolumn_sum_to_equal",
        {"column_list": ["income", "tax"], "sum_total": 11, "ignore_row_if": "any_value_is_missing"},
        (1, 2, 4, 5, 6, 7, 8, 9),
    ),
    ("expect_compound_columns_to_be_unique", {"column_list": ["age", "grade"]}, ()),
    ("expect_compound_columns_to_be_unique", {"column_list": ["code", "member"]}, (0, 6)),
    ("expect_column_values_to_not_be_null", {"column": "code", "row_condition": "age > 30"}, (4,)),
]


AGGREGATES = [
    (
        "expect_column_mean_to_be_between",
        {"column": "age", "min_value": 35, "max_value": 36},
        True,
    ),  # 322 / 9
    ("expect_column_mean_to_be_between", {"column": "age", "max_value": 35}, False),
    (
        "expect_column_mean_to_be_between",
        {"column": "member", "min_value": 0.88, "max_value": 0.89},
        True,
    ),  # 8 / 9
    ("expect_column_mean_to_be_between", {"column": "price", "min_value": 4.59, "max_value": 4.61}, True),
    ("expect_column_median_to_be_between", {"column": "age", "min_value": 30, "max_value": 30}, True),
    (
        "expect_column_stdev_to_be_between",
        {"column": "row", "min_value": 3.02, "max_value": 3.03},
        True,
    ),  # √(55/6)
    ("expect_column_sum_to_be_between", {"column": "row", "min_value": 45, "max_value": 45}, True),
    ("expect_column_min_to_be_between", {"column": "day", "min_value": "2020-01-01"}, True),
    ("expect_column_max_to_be_between", {"column": "day", "max_value": "2020-01-09"}, False),
    (
        "expect_column_unique_value_count_to_be_between",
        {"column": "grade", "min_value": 3, "max_value": 3},
        True,
    ),
    ("expect_column_unique_value_count_to_be_between", {"column": "grade", "min_value": 4}, False),
    (
        "expect_column_distinct_values_to_be_in_set",
        {"column": "grade", "value_set": ["a", "b", "c", "d"]},
        True,
    ),
    ("expect_column_distinct_values_to_equal_set", {"column": "grade", "value_set": ["a", "b"]}, False),
    ("expect_column_most_common_value_to_be_in_set", {"column": "grade", "value_set": ["a"]}, True),
    (
        "expect_column_quantile_values_to_be_between",
        {"column": "row", "quantile_ranges": {"quantiles": [0.1, 0.9], "value_ranges": [[0, 2], [8, 9]]}},
        True,
    ),
    (
        "expect_column_proportion_of_non_null_values_to_be_between",
        {"column": "income", "min_value": 0.9},
        True,
    ),
    (
        "expect_column_value_z_scores_to_be_less_than",
        {"column": "tax", "threshold": 2, "double_sided": True},
        False,
    ),
    ("expect_table_row_count_to_be_between", {"min_value": 10, "max_value": 10}, True),
    ("expect_table_row_count_to_be_between", {"min_value": 11}, False),
    ("expect_table_row_count_to_equal", {"value": 10}, True),
    ("expect_table_column_count_to_equal", {"value": 10}, True),
    ("expect_table_columns_to_match_set", {"column_set": ["row"], "exact_match": False}, True),
    ("expect_table_columns_to_match_set", {"column_set": ["row"]}, False),
    ("expect_table_columns_to_match_ordered_list", {"column_list": TABLE.column_names}, True),
    ("expect_column_to_exist", {"column": "row"}, True),
    ("expect_column_to_exist", {"column": "nowhere"}, False),
]


@pytest.fixture(scope="module", params=[3, 200_000], ids=["batches", "at-once"])
def evaluated(request):
    """Outcomes of all expectations above, in order, on batches of three rows and on one."""
    bodies = [{"type": kind, "kwargs": kwargs} for kind, kwargs, _ in ABOUT_ROWS + AGGREGATES]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(expectations, "BATCH_ROWS", request.param)
        suite = suite_from_dict({"expectations": bodies})
        report = validate_table(as_source(TABLE), infer_schema(TABLE), suite)
    return report.outcomes[-len(bodies) :]


@pytest.mark.parametrize("position", range(len(ABOUT_ROWS)), ids=lambda i: f"{i}-{ABOUT_ROWS[i][0]}")
def test_expectations_about_rows_count_and_number_the_failing_ones(position, evaluated):
    rows, found = ABOUT_ROWS[position][2], evaluated[position]
    assert found.error is None
    assert (found.passed, found.failed_rows, found.row_numbers) == (not rows, len(rows), rows)


@pytest.mark.parametrize("position", range(len(AGGREGATES)), ids=lambda i: f"{i}-{AGGREGATES[i][0]}")
def test_expectations_about_the_whole_table_see_all_batches_at_once(position, evaluated):
    passed, found = AGGREGATES[position][2], evaluated[len(ABOUT_ROWS) + position]
    assert (found.error, found.passed) == (None, passed)


def test_a_suite_of_one_expectation_gives_the_same_as_a_suite_of_many(evaluated):
    for position in (1, 14):
        kind, kwargs, _ = ABOUT_ROWS[position]
        assert outcome(kind, **kwargs) == evaluated[position]


def test_counts_are_told_where_they_are_what_fails():
    assert outcome("expect_table_row_count_to_be_between", min_value=11).detail == "found 10"


@pytest.mark.parametrize(("mostly", "passed"), [(0.7, True), (0.77, True), (0.78, False), (1.0, False)])
def test_mostly_is_a_share_of_the_values_that_are_there_over_all_batches(mostly, passed, monkeypatch):
    """Seven of nine ages lie between 18 and 70; in the last batch of three only one does."""
    monkeypatch.setattr(expectations, "BATCH_ROWS", 3)
    found = outcome(
        "expect_column_values_to_be_between", column="age", min_value=18, max_value=70, mostly=mostly
    )
    assert (found.passed, found.failed_rows) == (passed, 2)
    unique = outcome("expect_column_values_to_be_unique", column="age", mostly=mostly)
    assert (unique.passed, unique.failed_rows) == (passed, 2)


def test_a_warning_is_reported_and_passes():
    suite = suite_from_dict(
        {
            "expectations": [
                {
                    "type": "expect_column_values_to_not_be_null",
                    "kwargs": {"column": "age"},
                    "severity": "warning",
                },
                {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "row"}},
            ]
        }
    )
    report = validate_table(as_source(TABLE), infer_schema(TABLE), suite)
    assert report.passed
    assert [o.column for o in report.failures("warning")] == ["age"]


@pytest.mark.parametrize(
    ("kind", "kwargs", "error"),
    [
        ("expect_column_values_to_be_between", {"column": "nowhere", "min_value": 1}, "no column 'nowhere'"),
        ("expect_column_pair_values_to_be_equal", {"column_A": "age", "column_B": "b"}, "no column 'b'"),
        ("expect_column_values_to_be_between", {"column": "code", "min_value": 1}, "TypeError"),
        ("expect_column_mean_to_be_between", {"column": "code", "min_value": 1}, "in Great Expectations"),
        (
            "expect_column_values_to_be_between",
            {"column": "day", "min_value": 5},
            "min_value: it can't be read as",
        ),
        (
            "expect_column_values_to_be_in_set",
            {"column": "age", "value_set": ["x"]},
            "value_set: it can't be read as",
        ),
        (
            "expect_column_values_to_be_between",
            {"column": "at", "min_value": dt.datetime(2020, 1, 1), "row_condition": "nowhere > 1"},
            "KeyError in Great Expectations: does its row condition fit",
        ),
    ],
)
@pytest.mark.parametrize("severity", ["critical", "warning"])
def test_what_can_not_be_evaluated_is_an_error_and_never_a_pass(kind, kwargs, error, severity):
    found = outcome(kind, severity=severity, **kwargs)
    assert not found.passed
    assert error in (found.error or "")
    assert found.failed_rows is None
    assert "could not be checked" in found.summary()


def test_an_expectation_on_a_nested_column_is_an_error():
    table = pa.table({"x": [1, 2], "list": [[1], [2]]})
    suite = suite_from_dict(
        {"expectations": [{"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "list"}}]}
    )
    report = validate_table(as_source(table), infer_schema(table.select(["x"])), suite)
    assert report.outcomes[-1].error.startswith("column 'list' is of type list<")


def test_a_table_that_is_counted_in_shards_gives_the_report_of_the_whole():
    cases = [(kind, kwargs) for kind, kwargs, _ in (*ABOUT_ROWS, *AGGREGATES)]
    cases.append(("expect_column_values_to_be_between", {"column": "absent", "min_value": 0}))
    cases.append(("expect_column_values_to_not_be_null", {"column": "code", "row_condition": "nonsense >"}))
    suite = suite_from_dict({"expectations": [{"type": kind, "kwargs": kwargs} for kind, kwargs in cases]})
    schema = infer_schema(TABLE, ranges=True)
    ends = [0, 3, 4, 10]
    shards = [
        count_rows(as_source(TABLE.slice(start, end - start)), schema, suite, start)
        for start, end in pairwise(ends)
    ]
    whole = validate_table(as_source(TABLE), schema, suite)
    assert validate_table(as_source(TABLE), schema, suite, shards) == whole
    assert sum(outcome.failed_rows or 0 for outcome in whole.outcomes) > 20
