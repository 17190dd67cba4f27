"""What a report tells: verdict, counts and row numbers; and what it never tells: a cell's value."""

import json
import logging

import pyarrow as pa

from tasks.services.expectations import suite_from_dict, validate_table
from tvae_core.schema import infer_schema
from tvae_core.sources import as_source

TABLE = pa.table(
    {
        "age": pa.array([30, 41, None, 22, 35, 30, 64, 18, 77, 5], pa.int32()),
        "code": ["A1", "A2", "B1", "b2", None, "", "A1", "C3", "C4", "C5"],
    }
)
SECRET = "s3cr3t-9173"


def test_no_cell_value_reaches_report_errors_or_log(caplog):
    table = pa.table({"name": [SECRET, f"{SECRET}x"], "amount": [91739173, 1], "other": [1.5, 91739173.25]})
    kinds = [
        ("expect_column_values_to_be_in_set", {"column": "name", "value_set": ["a"]}),
        ("expect_column_values_to_match_regex", {"column": "name", "regex": "^a"}),
        ("expect_column_values_to_be_between", {"column": "name", "min_value": 5}),
        ("expect_column_mean_to_be_between", {"column": "name", "min_value": 5}),
        ("expect_column_stdev_to_be_between", {"column": "name", "min_value": 5}),
        ("expect_column_values_to_be_json_parseable", {"column": "name"}),
        ("expect_column_values_to_match_strftime_format", {"column": "name", "strftime_format": "%Y"}),
        ("expect_column_values_to_be_increasing", {"column": "name"}),
        ("expect_column_max_to_be_between", {"column": "amount", "max_value": 5}),
        ("expect_column_min_to_be_between", {"column": "amount", "min_value": 5}),
        ("expect_column_sum_to_be_between", {"column": "amount", "max_value": 5}),
        ("expect_column_most_common_value_to_be_in_set", {"column": "name", "value_set": ["a"]}),
        ("expect_column_distinct_values_to_equal_set", {"column": "name", "value_set": ["a"]}),
        ("expect_column_pair_values_a_to_be_greater_than_b", {"column_A": "name", "column_B": "amount"}),
        ("expect_multicolumn_sum_to_equal", {"column_list": ["amount", "other"], "sum_total": 1}),
        ("expect_multicolumn_sum_to_equal", {"column_list": ["name", "other"], "sum_total": 1}),
        ("expect_select_column_values_to_be_unique_within_record", {"column_list": ["name", "amount"]}),
        (
            "expect_column_quantile_values_to_be_between",
            {"column": "other", "quantile_ranges": {"quantiles": [0.5], "value_ranges": [[0, 1]]}},
        ),
    ]
    suite = suite_from_dict({"expectations": [{"type": kind, "kwargs": kwargs} for kind, kwargs in kinds]})
    with caplog.at_level(logging.DEBUG):
        report = validate_table(as_source(table), infer_schema(table), suite)
    assert len(report.failures("critical")) >= len(kinds) - 1
    told = report.to_markdown() + json.dumps(report.to_dict()) + caplog.text
    told += "".join(o.summary() for o in report.outcomes)
    assert "s3cr3t" not in told
    assert "9173" not in told


def test_the_report_opens_with_the_verdict_and_lists_failures_before_warnings():
    suite = suite_from_dict(
        {
            "expectations": [
                {
                    "type": "expect_column_values_to_not_be_null",
                    "kwargs": {"column": "age"},
                    "severity": "warning",
                },
                {
                    "type": "expect_column_values_to_match_regex",
                    "kwargs": {"column": "code", "regex": "^(A|B)"},
                },
            ]
        }
    )
    text = validate_table(as_source(TABLE), infer_schema(TABLE), suite).to_markdown()
    lines = text.splitlines()
    assert lines[0] == "# Validation failed: the table is not fit for training"
    assert "1 critical failed, 1 warning." in lines[2]
    assert text.index("## Critical failures") < text.index("## Warnings")
    row = next(line for line in lines if line.startswith("| critical"))
    assert [cell.strip() for cell in row.replace("\\|", "¦").strip("|").split("|")] == [
        "critical",
        "code",
        "matches ^(A¦B)",
        "5",
        "3, 5, 7, 8, 9",
    ]
    passing = validate_table(as_source(TABLE), infer_schema(TABLE)).to_markdown()
    assert passing.splitlines()[0] == "# Validation passed"
    assert "##" not in passing


def test_the_report_is_plain_json():
    report = validate_table(as_source(TABLE), infer_schema(TABLE))
    plain = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert plain["passed"] is True
    assert plain["rows"] == 10
    assert len(plain["outcomes"]) == len(report.outcomes)
