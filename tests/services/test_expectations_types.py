"""Bounds and categories in every type that can be modelled, missing values and extremes among them."""

import datetime as dt
from decimal import Decimal

import pyarrow as pa
import pytest

from tasks.services.expectations import validate_table
from tvae_core.errors import SchemaError
from tvae_core.schema import ColumnKind, ColumnSchema, TableSchema, infer_schema
from tvae_core.sources import as_source

BERLIN = pa.timestamp("us", tz="Europe/Berlin")


def column(name, kind, arrow, **settings):
    return ColumnSchema(name, ColumnKind(kind), str(arrow), **settings)


def validate(table, *columns, minimum_rows=1):
    return validate_table(as_source(table), TableSchema(tuple(columns), minimum_rows=minimum_rows))


def only_failure(report):
    failures = report.failures("critical")
    assert len(failures) == 1, [outcome.summary() for outcome in failures]
    return failures[0]


UTC_NOON = dt.datetime(2020, 6, 1, 12, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("arrow", "values", "minimum", "maximum"),
    [
        (pa.int64(), [1, 5, None, 9, 0, 10], 1, 9),
        (pa.uint8(), [1, 5, None, 9, 0, 10], 1, 9),
        (pa.int32(), [2, 5, None, 9, 1, 10], 1.5, 9.5),
        (pa.int64(), [2**62, 2**62, None, 2**62 + 1, 2**61, 2**62 + 4096], 2**62, 2**62 + 1),
        (pa.uint64(), [2**63, 2**63, None, 2**63 + 1, 2**62, 2**64 - 1], 2**63, 2**63 + 1),
        (pa.float32(), [1.5, 2, None, 3, 1, 4], 1.5, 3),
        (
            pa.decimal128(10, 2),
            [Decimal(v) for v in ("0.10", "0.2")] + [None, Decimal("0.30"), Decimal("0.09"), Decimal("0.31")],
            0.1,
            0.3,
        ),
        (
            pa.decimal128(10, 2),
            [Decimal(v) for v in ("0.10", "0.2")] + [None, Decimal("0.30"), Decimal("0.09"), Decimal("0.31")],
            "0.10",
            "0.30",
        ),
        (
            pa.date32(),
            [dt.date(2020, 1, d) for d in (2, 3)] + [None] + [dt.date(2020, 1, d) for d in (4, 1, 5)],
            "2020-01-02",
            "2020-01-04",
        ),
        (
            pa.date32(),
            [
                dt.date(1600, 1, 2),
                dt.date(1700, 1, 3),
                None,
                dt.date(4000, 1, 1),
                dt.date(1599, 1, 1),
                dt.date(9999, 1, 1),
            ],
            "1600-01-02",
            "4000-01-01",
        ),
        (
            pa.timestamp("ns"),
            [dt.datetime(2020, 1, 1, h) for h in (2, 3)]
            + [None]
            + [dt.datetime(2020, 1, 1, h) for h in (4, 1, 5)],
            "2020-01-01T02:00:00",
            "2020-01-01T04:00:00",
        ),
        (
            BERLIN,
            [
                UTC_NOON,
                UTC_NOON,
                None,
                UTC_NOON,
                UTC_NOON - dt.timedelta(minutes=1),
                UTC_NOON + dt.timedelta(minutes=1),
            ],
            "2020-06-01T14:00:00",
            "2020-06-01T12:00:00+00:00",
        ),
        (
            pa.time64("us"),
            [dt.time(8), dt.time(9), None, dt.time(17, 30), dt.time(7, 59), dt.time(18)],
            "08:00",
            "17:30",
        ),
        (
            pa.time32("s"),
            [dt.time(8), dt.time(9), None, dt.time(17, 30), dt.time(7, 59), dt.time(18)],
            "08:00",
            "17:30:00",
        ),
        (
            pa.duration("ms"),
            [dt.timedelta(days=d) for d in (1, 2)] + [None] + [dt.timedelta(days=d) for d in (3, 0, 4)],
            "1 day, 0:00:00",
            "3 days",
        ),
    ],
)
def test_ranges_are_inclusive_in_every_type_and_missing_values_pass(arrow, values, minimum, maximum):
    """The last two values lie below and above."""
    kind = "datetime" if pa.types.is_temporal(arrow) else "continuous"
    declared = column("x", kind, arrow, minimum=minimum, maximum=maximum)
    assert validate(pa.table({"x": pa.array(values[:4], arrow)}), declared).passed
    failure = only_failure(validate(pa.table({"x": pa.array(values, arrow)}), declared))
    assert failure.row_numbers == (4, 5)


@pytest.mark.parametrize(
    ("arrow", "allowed", "values"),
    [
        (pa.string(), ("a", ""), ["a", "", None, "A"]),
        (pa.large_string(), ("a", "ü"), ["a", "ü", None, "u"]),
        (pa.dictionary(pa.int8(), pa.string()), ("a", "b"), ["a", "b", None, "c"]),
        (pa.int64(), (1, 2), [1, 2, None, 3]),
        (pa.int64(), (2**60, 2**60 + 1), [2**60, 2**60 + 1, None, 2**60 + 2]),
        (pa.float64(), (0.5, 1), [0.5, 1.0, None, 0.75]),
        (pa.bool_(), (True,), [True, True, None, False]),
        (pa.decimal128(5, 2), ("1.50", 2), [Decimal("1.5"), Decimal(2), None, Decimal(3)]),
        (
            pa.date32(),
            ("2020-01-01", "2020-01-02"),
            [dt.date(2020, 1, 1), dt.date(2020, 1, 2), None, dt.date(2020, 1, 3)],
        ),
    ],
)
def test_categories_are_compared_as_values_of_the_columns_type(arrow, allowed, values):
    declared = column("x", "categorical", arrow, categories=allowed)
    assert validate(pa.table({"x": pa.array(values[:3], arrow)}), declared).passed
    assert only_failure(validate(pa.table({"x": pa.array(values, arrow)}), declared)).row_numbers == (3,)


@pytest.mark.parametrize(
    ("declared", "values", "message"),
    [
        (
            column("x", "continuous", "int64", minimum="low"),
            [1],
            "minimum in the schema: it can't be read as .* int64",
        ),
        (
            column("x", "datetime", "date32[day]", maximum="soon"),
            [dt.date(2020, 1, 1)],
            "maximum in the schema",
        ),
        (
            column("x", "datetime", "timestamp[us]", minimum="2020-01-01T00:00+02:00"),
            [dt.datetime(2020, 1, 1)],
            "minimum",
        ),
        (column("x", "categorical", "int64", categories=("a",)), [1], "categories in the schema"),
    ],
)
def test_a_bound_that_does_not_fit_the_type_is_an_error_of_the_schema(declared, values, message):
    with pytest.raises(SchemaError, match=f"column 'x': {message}"):
        validate(pa.table({"x": pa.array(values, declared.arrow_type)}), declared)


def test_what_infer_schema_proposes_with_ranges_holds_on_the_same_table():
    table = pa.table(
        {
            "i": pa.array([1, None, 2**60 + 1]),
            "f": [0.1, None, 1e300],
            "s": ["a", None, ""],
            "b": [True, None, False],
            "d": [dt.date(1, 1, 1), None, dt.date(9999, 12, 31)],
            "t": pa.array([0, None, 2**55], BERLIN),
            "n": pa.array([-(2**62), None, 2**62], pa.timestamp("ns")),
            "m": pa.array([Decimal("0.10"), None, Decimal("-3.33")]),
            "c": pa.array(["x", None, "y"]).dictionary_encode(),
            "h": [dt.time(1), None, dt.time(23, 59, 59, 999999)],
        }
    )
    report = validate_table(as_source(table), infer_schema(table, ranges=True))
    assert [outcome.summary() for outcome in report.failures("critical")] == []
