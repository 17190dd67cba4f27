"""Suites as files: what is read, and how a wrong one is refused; the shipped ones hold on their table."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pytest

from tasks.services.expectations import SuiteError, load_suite, suite_from_dict, validate_table
from tasks.services.store import NotFoundError
from tvae_core.schema import infer_schema
from tvae_core.sources import as_source

ROOT = Path(__file__).resolve().parents[2]

YAML = """
expectations:
  - type: expect_column_values_to_be_between
    kwargs: {column: age, min_value: 0, max_value: 120, mostly: 0.9}
    severity: warning
    notes: self-reported
"""


def test_yaml_and_json_give_the_same_suite(tmp_path):
    (tmp_path / "s.yaml").write_text(YAML)
    body = {
        "type": "expect_column_values_to_be_between",
        "kwargs": {"column": "age", "min_value": 0, "max_value": 120, "mostly": 0.9},
        "severity": "warning",
    }
    (tmp_path / "s.json").write_text(json.dumps({"expectations": [body]}))
    one, other = load_suite(tmp_path / "s.yaml"), load_suite((tmp_path / "s.json").as_uri())
    assert one.expectations == other.expectations
    assert one.expectations[0].severity == "warning"


def test_a_suite_that_great_expectations_wrote_is_read(tmp_path):
    import great_expectations as gx

    suite = gx.ExpectationSuite(
        name="theirs",
        expectations=[gx.expectations.ExpectColumnValuesToNotBeNull(column="age", severity="warning")],
    )
    (tmp_path / "s.json").write_text(json.dumps(suite.to_json_dict()))
    read = load_suite(tmp_path / "s.json")
    assert read.name == "theirs"
    assert [(e.type, dict(e.kwargs), e.severity) for e in read.expectations] == [
        ("expect_column_values_to_not_be_null", {"column": "age"}, "warning")
    ]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "type: expect_column_values_to_be_betwen",
            r"no such type.*such as expect_column_values_to_be_between",
        ),
        ("type: nonsense", r"no such type"),
        ("type: unexpected_rows_expectation", r"can't be used here: a table is not a database"),
        ("type: expect_column_values_to_be_of_type", r"types are checked against the schema"),
        ("kwargs: {column: a}", r"expectation 1: expected `type`"),
        (
            "type: expect_column_values_to_be_unique\n    kwargs: {colum: a}",
            r"unknown arguments colum: allowed are column,",
        ),
        (
            "type: expect_column_values_to_be_unique\n    kwargs: {column: a, result_format: COMPLETE}",
            r"unknown arguments result_format",
        ),
        ("type: expect_column_values_to_be_unique", r"column: field required"),
        (
            "type: expect_column_values_to_be_unique\n    kwargs: {column: a, mostly: 3}",
            r"mostly: ensure this value is less",
        ),
        (
            "type: expect_column_values_to_be_in_set\n    kwargs: {column: a, value_set: 5}",
            r"value_set: value is not a valid list",
        ),
        (
            "type: expect_column_values_to_be_between\n    kwargs: {column: a}",
            r"min_value and max_value cannot both be None",
        ),
        (
            "type: expect_column_values_to_be_between\n    kwargs: {column: a, min_value: 5, max_value: 1}",
            r"min_value 5 lies above max_value 1",
        ),
        (
            "type: expect_column_values_to_be_between\n    kwargs: {column: a, min_value: low}",
            r"min_value: value is not a valid",
        ),
        (
            "type: expect_column_values_to_match_regex\n    kwargs: {column: a, regex: '['}",
            r"regex is no regular expression",
        ),
        (
            "type: expect_column_values_to_be_unique\n    kwargs: {column: a}\n    severity: fatal",
            r"severity must be one of critical, warning, however: 'fatal'",
        ),
        (
            "type: expect_column_values_to_be_unique\n    kwarg: {column: a}",
            r"unknown keys kwarg: allowed are",
        ),
        ("type: expect_column_values_to_be_unique\n    kwargs: [a]", r"kwargs must be a mapping"),
    ],
)
def test_a_wrong_expectation_names_file_position_and_what_is_allowed(tmp_path, body, message):
    (tmp_path / "s.yaml").write_text(f"expectations:\n  - {body}\n")
    with pytest.raises(SuiteError, match=message) as caught:
        load_suite(tmp_path / "s.yaml")
    assert str(caught.value).startswith(f"{tmp_path / 's.yaml'}: expectation 1")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("s.yaml", "expectations: [", "expected JSON or YAML, however line"),
        ("s.json", "{", "expected JSON or YAML"),
        ("s.yaml", "- type: x", "expected the key `expectations`"),
        ("s.yaml", "", "expected the key `expectations`"),
        ("s.yaml", "expectations: {a: 1}", "expected the key `expectations` with a list"),
        ("s.yaml", "expectations: []\nexpectation: []", "unknown keys expectation"),
        ("s.yaml", "expectations: [5]", "expected a mapping with type and kwargs, however: int"),
    ],
)
def test_a_file_that_is_no_suite_is_refused_by_name(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(SuiteError, match=message) as caught:
        load_suite(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "s.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SuiteError, match="UTF-8"):
        load_suite(tmp_path / "s.yaml")


def test_a_suite_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(NotFoundError):
        load_suite(tmp_path / "absent.yaml")


def test_a_suite_made_in_python_is_checked_before_anything_is_read():
    table = pa.table({"x": [1, 2]})
    suite = suite_from_dict({"expectations": [{"type": "expect_nothing"}]})
    with pytest.raises(SuiteError, match="expectation 1"):
        validate_table(as_source(table), infer_schema(table), suite)


@pytest.mark.parametrize(
    "file", sorted((ROOT / "configs" / "expectations").glob("*.yaml")), ids=lambda f: f.name
)
def test_every_shipped_suite_is_sound(file):
    assert load_suite(file).expectations


@pytest.fixture(scope="module")
def rand_hie():
    datasets = pytest.importorskip("statsmodels.datasets.randhie")
    return pyarrow.csv.read_csv(Path(datasets.__file__).parent / "src" / "randhie.csv")


def test_the_demo_table_passes_its_suite_and_an_altered_one_does_not(rand_hie):
    suite = load_suite(ROOT / "configs" / "expectations" / "rand-hie.yaml")
    schema = infer_schema(rand_hie)
    report = validate_table(as_source(rand_hie), schema, suite)
    assert report.passed
    assert report.failures("warning") == ()
    doubled = pa.concat_tables([rand_hie, rand_hie.slice(0, 2)])
    failures = validate_table(as_source(doubled), schema, suite).failures("critical")
    assert [(f.column, f.failed_rows, f.row_numbers) for f in failures] == [
        ("zper, year", 4, (0, 1, 20190, 20191))
    ]
