"""Expectations in plain words, for reports. Allowed values are counted, not listed: a list may be long or telling."""

import sys
from collections.abc import Callable, Mapping
from typing import Any

from tasks.services.suites import Expectation

LARGEST = sys.float_info.max  # as a bound it says: any finite number
Kwargs = Mapping[str, Any]


def describe(expectation: Expectation) -> str:
    """The expectation as a phrase that follows a column's name."""
    kwargs = expectation.kwargs
    write = _PHRASES.get(expectation.type)
    text = write(kwargs) if write is not None else _generic(expectation)
    mostly = kwargs.get("mostly", 1)
    if isinstance(mostly, int | float) and mostly < 1:
        text += f", in at least {100 * mostly:.6g} % of the rows"
    condition = kwargs.get("row_condition")
    if condition:
        text += f", where {condition}" if isinstance(condition, str) else ", where the row condition holds"
    return text


def _between(kwargs: Kwargs) -> str:
    low, high = kwargs.get("min_value"), kwargs.get("max_value")
    low, high = (None if low == -LARGEST else low), (None if high == LARGEST else high)
    at_least = "above" if kwargs.get("strict_min") else "at least"
    at_most = "below" if kwargs.get("strict_max") else "at most"
    if low is None and high is None:
        return "finite"
    if low is not None and high is not None and (at_least, at_most) == ("at least", "at most"):
        return f"between {low} and {high}"
    return " and ".join(
        f"{word} {bound}" for word, bound in ((at_least, low), (at_most, high)) if bound is not None
    )


def _values(kwargs: Kwargs, key: str = "value_set") -> str:
    count = len(kwargs.get(key) or ())
    return f"{count} value{'' if count == 1 else 's'}"


def _statistic(name: str) -> Callable[[Kwargs], str]:
    return lambda kwargs: f"{name} {_between(kwargs)}"


def _greater(kwargs: Kwargs) -> str:
    relation = "at least" if kwargs.get("or_equal") else "greater than"
    return f"{kwargs.get('column_A')} {relation} {kwargs.get('column_B')}"


def _generic(expectation: Expectation) -> str:
    """The type itself reads well; its numbers follow."""
    name = expectation.type.removeprefix("expect_").removeprefix("column_").replace("_", " ")
    numbers = {k: v for k, v in expectation.kwargs.items() if isinstance(v, int | float) and k != "mostly"}
    return name + (f" ({', '.join(f'{k} {v}' for k, v in numbers.items())})" if numbers else "")


_PHRASES: dict[str, Callable[[Kwargs], str]] = {
    "expect_column_values_to_not_be_null": lambda _: "never missing",
    "expect_column_values_to_be_null": lambda _: "always missing",
    "expect_column_values_to_be_between": _between,
    "expect_column_values_to_be_in_set": lambda k: f"one of {_values(k)}",
    "expect_column_values_to_not_be_in_set": lambda k: f"none of {_values(k)}",
    "expect_column_values_to_match_regex": lambda k: f"matches {k.get('regex')}",
    "expect_column_values_to_not_match_regex": lambda k: f"does not match {k.get('regex')}",
    "expect_column_values_to_be_unique": lambda _: "no value twice",
    "expect_compound_columns_to_be_unique": lambda _: "no combination of values twice",
    "expect_column_pair_values_a_to_be_greater_than_b": _greater,
    "expect_column_pair_values_to_be_equal": lambda _: "both values equal",
    "expect_multicolumn_values_to_be_equal": lambda _: "all values equal",
    "expect_multicolumn_sum_to_equal": lambda k: f"sum of the values is {k.get('sum_total')}",
    "expect_column_value_lengths_to_be_between": _statistic("length"),
    "expect_column_mean_to_be_between": _statistic("mean"),
    "expect_column_median_to_be_between": _statistic("median"),
    "expect_column_stdev_to_be_between": _statistic("standard deviation"),
    "expect_column_sum_to_be_between": _statistic("sum"),
    "expect_column_min_to_be_between": _statistic("minimum"),
    "expect_column_max_to_be_between": _statistic("maximum"),
    "expect_column_unique_value_count_to_be_between": _statistic("number of different values"),
    "expect_column_proportion_of_unique_values_to_be_between": _statistic("share of different values"),
    "expect_column_proportion_of_non_null_values_to_be_between": _statistic("share of values not missing"),
    "expect_table_row_count_to_be_between": _statistic("number of rows"),
    "expect_table_row_count_to_equal": lambda k: f"number of rows is {k.get('value')}",
    "expect_table_column_count_to_be_between": _statistic("number of columns"),
    "expect_table_column_count_to_equal": lambda k: f"number of columns is {k.get('value')}",
    "expect_column_to_exist": lambda _: "the column is there",
}
