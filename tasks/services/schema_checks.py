"""What a declared schema expects of a table: checks on names and types, and expectations on values."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.services.frames import as_operand
from tasks.services.plain_words import LARGEST
from tasks.services.suites import Expectation
from tasks.services.validation_report import Outcome
from tvae_core.arrow_types import unsupported_reason
from tvae_core.schema import ColumnSchema, TableSchema


def check_columns(found: pa.Schema, rows: int, schema: TableSchema) -> list[Outcome]:
    """Compare names, types and the number of rows with the schema; no row is read for that."""
    outcomes = [_check_rows(rows, schema), _check_unexpected(found, schema)]
    return outcomes + [_check_column(found, column) for column in schema.columns]


def expectations_of(schema: TableSchema, found: pa.Schema) -> Iterator[Expectation]:
    """The expectations on values that follow from the schema, for the columns that have the declared type.

    Raises:
        ValueError: a bound or a category that can't be read as the column's type; names column and key.
    """
    for column in schema.columns:
        if column.name not in found.names or found.field(column.name).type != column.arrow_type:
            continue  # reported by `check_columns`: its values can't be compared
        if not column.nullable:
            yield Expectation("expect_column_values_to_not_be_null", {"column": column.name})
        bounds = _bounds(column)
        if bounds:
            yield Expectation("expect_column_values_to_be_between", {"column": column.name, **bounds})
        if column.categories is not None:
            allowed = [_operand(column, "categories", value) for value in column.categories]
            yield Expectation(
                "expect_column_values_to_be_in_set", {"column": column.name, "value_set": allowed}
            )


def _bounds(column: ColumnSchema) -> dict[str, Any]:
    arrow = column.arrow_type
    low, high = (_operand(column, key, getattr(column, key)) for key in ("minimum", "maximum"))
    if pa.types.is_floating(arrow):  # infinities can't be learned from, whatever the declared range
        low, high = (-LARGEST if low is None else low), (LARGEST if high is None else high)
    bounds = {"min_value": _as_double(low, -np.inf), "max_value": _as_double(high, np.inf)}
    return {key: bound for key, bound in bounds.items() if bound is not None}


def _as_double(bound: Any, outwards: float) -> Any:
    """Great Expectations takes bounds as doubles: an integer beyond 2^53 moves one step out, never in."""
    if isinstance(bound, int) and not isinstance(bound, bool) and float(bound) != bound:
        return float(np.nextafter(float(bound), outwards))
    return bound


def _operand(column: ColumnSchema, key: str, value: Any) -> Any:
    try:
        return as_operand(value, column.arrow_type)
    except ValueError as error:
        raise ValueError(f"column {column.name!r}: {key} in the schema: {error}") from None


def _check_rows(rows: int, schema: TableSchema) -> Outcome:
    passed = rows >= schema.minimum_rows
    return Outcome(
        "expect_table_row_count_to_be_between",
        None,
        "critical",
        passed,
        description=f"number of rows at least {schema.minimum_rows}",
        detail=None if passed else f"the table has {rows}",
    )


def _check_unexpected(found: pa.Schema, schema: TableSchema) -> Outcome:
    unexpected = [name for name in found.names if name not in schema.names]
    return Outcome(
        "expect_table_columns_to_match_set",
        None,
        "critical",
        not unexpected,
        description="no columns beyond the schema's",
        detail=f"unexpected: {', '.join(unexpected)}" if unexpected else None,
    )


def _check_column(found: pa.Schema, column: ColumnSchema) -> Outcome:
    if column.name not in found.names:
        return Outcome(
            "expect_column_to_exist",
            column.name,
            "critical",
            passed=False,
            description="the column is there",
            detail="the table does not have it",
        )
    kind = found.field(column.name).type
    passed = kind == column.arrow_type
    reason = unsupported_reason(kind)
    return Outcome(
        "expect_column_values_to_be_of_type",
        column.name,
        "critical",
        passed,
        description=f"of type {column.type}",
        detail=None if passed else f"the table has {kind}" + (f": {reason}" if reason else ""),
    )
