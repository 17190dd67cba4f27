"""Declared constraints are part of the validation: rows and counts, never a value."""

import datetime as dt

import pyarrow as pa
import pytest

from tasks.services.expectations import validate_table
from tvae_core.constraints import Derived, FixedCombinations, Inequality, Range, Unique
from tvae_core.schema import TableSchema, infer_schema
from tvae_core.sources import ArrowSource

DAY = dt.date(2024, 1, 1)
TABLE = pa.table(
    {
        "net": [10.0, 20.5, 30.0, None, 50.0, 60.0],
        "tax": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
        "total": [11.0, 22.5, 733.0, None, 55.0, 66.0],  # row 2 is no sum
        "twin": [1.0, 2.0, 3.0, 4.0, None, 6.5],  # rows 4 and 5 are no copies of tax
        "admitted": [DAY, DAY, None, DAY, DAY, DAY],
        "discharged": [DAY, DAY - dt.timedelta(1), DAY, None, DAY, DAY + dt.timedelta(9)],  # row 1 is early
        "age": [5, 64, 18, None, 987, -1],  # rows 4 and 5 lie outside 0 to 120
        "city": ["Aachen", "Basel", "Cork"] * 2,
    }
)
EXPECTED = [
    (Derived("total", "sum", ("net", "tax")), (2,)),
    (Derived("twin", "copy", ("tax",)), (4, 5)),
    (Inequality("admitted", "discharged"), (1,)),
    (Inequality("admitted", "discharged", strict=True), (0, 1, 4)),
    (Range("age", 0, 120), (4, 5)),
    (Range("age", minimum=-1, strict=True), (5,)),
    (Range("age", maximum=2000), ()),
    (FixedCombinations(("city", "age")), ()),
    (Unique(("admitted",)), (1, 3, 4, 5)),
    (Unique(("city", "admitted")), (3, 4)),
]


def outcome(table, constraint, batch_rows=2):
    schema = TableSchema(infer_schema(TABLE).columns, constraints=(constraint,))
    report = validate_table(ArrowSource(table, batch_rows=batch_rows), schema)
    (found,) = [o for o in report.outcomes if o.expectation.startswith("constraint_")]
    return report, found


@pytest.mark.parametrize("batch_rows", [1, 2, 100])
@pytest.mark.parametrize(("constraint", "rows"), EXPECTED, ids=lambda c: str(getattr(c, "label", "")))
def test_the_rows_that_break_a_constraint_are_counted_and_numbered(constraint, rows, batch_rows):
    report, found = outcome(TABLE, constraint, batch_rows)
    assert (found.failed_rows, found.row_numbers, found.passed) == (len(rows), rows, not rows)
    assert found.severity == "critical"
    assert report.passed == (not rows)
    assert "987" not in report.to_markdown()
    assert "733" not in report.to_markdown()


def test_the_first_twenty_row_numbers_are_kept_and_all_rows_counted():
    table = pa.concat_tables([TABLE] * 50)
    _, found = outcome(table, Range("age", 0, 120), batch_rows=7)
    assert found.failed_rows == 100
    assert found.row_numbers == tuple(6 * i + j for i in range(10) for j in (4, 5))


def test_a_constraint_on_a_column_that_is_not_as_declared_leaves_the_finding_to_the_column():
    retyped = TABLE.set_column(6, "age", TABLE["age"].cast(pa.string()))
    schema = TableSchema(infer_schema(TABLE).columns, constraints=(Range("age", 0, 120),))
    report = validate_table(ArrowSource(retyped), schema)
    assert [o.column for o in report.outcomes if not o.passed] == ["age"]
    assert not any(o.expectation.startswith("constraint_") for o in report.outcomes)


def test_values_that_no_constraint_can_read_are_an_error_of_the_check_and_not_of_the_run():
    endless = TABLE.set_column(0, "net", pa.array([float("inf"), *TABLE["net"].to_pylist()[1:]]))
    endless = endless.set_column(2, "total", endless["net"])
    _, found = outcome(endless, Derived("total", "sum", ("net", "tax")))
    assert not found.passed
    assert "infinite" in found.error
