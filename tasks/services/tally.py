"""One expectation over a whole table: its counts and row numbers added up over batches."""

import builtins
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any

import pandas as pd
import pyarrow as pa

from tasks.services.frames import as_operand, as_operands, usable_columns
from tasks.services.plain_words import describe
from tasks.services.suites import Expectation
from tasks.services.validation_report import ROW_NUMBERS_KEPT, Outcome

_ABOUT_ROWS = re.compile(
    r"expect_(column_values|column_value_lengths|column_pair|multicolumn|select_column)_.*"
)
_NEED_ALL_ROWS = {
    "expect_column_values_to_be_unique",
    "expect_column_values_to_be_increasing",
    "expect_column_values_to_be_decreasing",
    "expect_column_values_to_not_be_outliers",
}
_TABLE = re.compile(r"expect_(table_.*|column_to_exist)")
# Their bounds and sets are values of the column, so they have to come in the column's form.
_COMPARE_VALUES = {
    "expect_column_values_to_be_between",
    "expect_column_values_to_be_in_set",
    "expect_column_values_to_not_be_in_set",
    "expect_column_min_to_be_between",
    "expect_column_max_to_be_between",
    "expect_column_distinct_values_to_be_in_set",
    "expect_column_distinct_values_to_contain_set",
    "expect_column_distinct_values_to_equal_set",
    "expect_column_most_common_value_to_be_in_set",
}
# What these observe is a count, never a value of the table.
_COUNTED = {
    "expect_table_row_count_to_be_between",
    "expect_table_row_count_to_equal",
    "expect_table_column_count_to_be_between",
    "expect_table_column_count_to_equal",
    "expect_column_unique_value_count_to_be_between",
}


@dataclass
class Tally:
    """One expectation and what the batches so far say about it.

    `kwargs` are its arguments in the form in which the frames hold the columns; the expectation keeps the user's.
    """

    expectation: Expectation
    kwargs: dict[str, Any] = field(init=False)
    rows: int = 0
    missing: int = 0
    failed: int = 0
    row_numbers: list[int] = field(default_factory=list)
    holds: bool = True
    observed: int | None = None
    error: str | None = None

    def __post_init__(self) -> None:
        self.kwargs = dict(self.expectation.kwargs)

    @property
    def kind(self) -> str:
        """Whether it is about single rows ("rows"), whole columns ("whole"), or the table's shape ("table")."""
        name = self.expectation.type
        if _TABLE.fullmatch(name):
            return "table"
        return "rows" if _ABOUT_ROWS.fullmatch(name) and name not in _NEED_ALL_ROWS else "whole"

    @property
    def joint(self) -> bool:
        """Whether it compares columns or computes with them, rather than looking at values one by one."""
        name = self.expectation.type
        return len(self.expectation.columns) > 1 or not name.startswith(
            ("expect_column_values", "expect_column_value_l")
        )

    def columns_to_read(self, found: pa.Schema) -> tuple[str, ...]:
        """Its own columns, or all when a row condition may name any."""
        return tuple(usable_columns(found)) if self.kwargs.get("row_condition") else self.expectation.columns

    def prepare(self, found: pa.Schema) -> bool:
        """Check that the columns are there, and bring bounds into their form; False when it can't be evaluated."""
        columns = self.expectation.columns
        if self.kind == "table":
            return True
        for name in columns:
            if name not in found.names:
                self.error = f"the table has no column {name!r}"
            elif name not in usable_columns(found):
                self.error = f"column {name!r} is of type {found.field(name).type}"
        if self.error is None and self.expectation.type in _COMPARE_VALUES:
            self._convert(found.field(columns[0]).type)
        return self.error is None

    def _convert(self, arrow: pa.DataType) -> None:
        for key in ("min_value", "max_value", "value_set"):
            value = self.kwargs.get(key)
            try:
                if isinstance(value, list | tuple):
                    self.kwargs[key] = as_operands(value, arrow)
                elif value is not None:
                    self.kwargs[key] = as_operand(value, arrow)
            except ValueError as error:
                self.error = f"{key}: {error}"

    def add(self, result: Any) -> None:
        """Take over counts, row numbers and whether it holds from one of Great Expectations' results."""
        found = result.result or {}
        failure = _exception_class(result.exception_info)
        if failure is not None:
            hint = "its row condition" if self.kwargs.get("row_condition") else "the expectation"
            self.error = f"{failure} in Great Expectations: does {hint} fit the columns and their types?"
        elif "element_count" in found:
            self.rows += found["element_count"]
            self.missing += found.get("missing_count") or 0
            self.failed += found["unexpected_count"]
            room = ROW_NUMBERS_KEPT - len(self.row_numbers)
            self.row_numbers += [int(number) for number in (found.get("unexpected_index_list") or ())[:room]]
        else:
            self.holds = self.holds and bool(result.success)
            value = found.get("observed_value")
            if self.expectation.type in _COUNTED and isinstance(value, Integral):
                self.observed = int(value)

    def join(self, later: "Tally") -> None:
        """Take over what the same expectation found in the rows after these."""
        self.rows += later.rows
        self.missing += later.missing
        self.failed += later.failed
        self.row_numbers = (self.row_numbers + later.row_numbers)[:ROW_NUMBERS_KEPT]
        self.holds = self.holds and later.holds
        self.error = later.error or self.error

    def outcome(self) -> Outcome:
        """The verdict over all batches."""
        considered = self.rows - self.missing
        mostly = self.kwargs.get("mostly", 1)
        enough = considered == 0 or (considered - self.failed) / considered >= mostly
        passed = self.error is None and self.holds and enough
        about_rows = self.error is None and (self.kind == "rows" or self.rows > 0)
        columns = self.expectation.columns
        return Outcome(
            self.expectation.type,
            ", ".join(columns) or None,
            self.expectation.severity,
            passed,
            failed_rows=self.failed if about_rows else None,
            row_numbers=tuple(self.row_numbers) if about_rows else (),
            error=self.error,
            description=describe(self.expectation),
            detail=f"found {self.observed:,}" if self.observed is not None and not passed else None,
        )


def _exception_class(info: Any) -> str | None:
    """The class of the exception that Great Expectations caught, None when it caught none.

    Its message and traceback are left behind: they may quote values.
    """
    if not isinstance(info, Mapping):
        return None
    if "raised_exception" not in info:
        return next((name for name in map(_exception_class, info.values()) if name is not None), None)
    if not info["raised_exception"]:
        return None
    # The first exception is the cause, the later ones wrap it. Only names of classes that exist are taken over: a
    # message of several lines could look like a name.
    lines = re.findall(r"^([A-Za-z_][\w.]*)(?=:|$)", info.get("exception_traceback") or "", re.MULTILINE)
    names = [line.rsplit(".", maxsplit=1)[-1] for line in lines]
    return next((name for name in names if _is_exception(name)), "an exception")


def _is_exception(name: str) -> bool:
    found = getattr(builtins, name, None) or getattr(pd.errors, name, None)
    return isinstance(found, type) and issubclass(found, BaseException)
