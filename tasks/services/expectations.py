"""Validation with Great Expectations: what follows from the schema, and the user's own suite. Only this file knows it.

A table is read batch by batch. Expectations about single rows (or pairs and sets of columns within a row) are
evaluated on each batch, and their counts and row numbers are added up. What can't be added up (uniqueness, means,
quantiles, counts of different values, order, outliers) is evaluated on the columns it needs, read whole, one
set of columns at a time: those columns have to fit into memory.

Great Expectations' results can hold cell values; nothing of them is taken over but counts and row numbers, and of its
exceptions only the class. What it logs meanwhile is dropped for the same reason.
"""

import difflib
import logging
import re
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from tasks.services.constraint_checks import check_constraints
from tasks.services.frames import to_frame
from tasks.services.schema_checks import check_columns, expectations_of
from tasks.services.store import open_store, split_uri
from tasks.services.suites import Expectation, Suite, SuiteError, parse_suite, suite_from_dict
from tasks.services.tally import Tally
from tasks.services.validation_report import Outcome, ValidationReport
from tvae_core.errors import SchemaError
from tvae_core.schema import TableSchema
from tvae_core.sources import TableSource, select_columns

__all__ = [
    "Expectation",
    "Outcome",
    "Suite",
    "SuiteError",
    "ValidationReport",
    "check_suite",
    "count_rows",
    "load_suite",
    "suite_from_dict",
    "validate_table",
]

BATCH_ROWS = (
    200_000  # rows given to Great Expectations at a time; each call costs milliseconds per expectation
)
_TYPES_ARE_DECLARED = "types are checked against the schema: declare them there"
_NO_DATABASE = "a table is not a database: use expectations on columns"
_REFUSED = {
    "unexpected_rows_expectation": _NO_DATABASE,
    "expect_query_results_to_match_comparison": _NO_DATABASE,
    "expect_table_row_count_to_equal_other_table": "there is one table only",
    "expect_column_values_to_be_of_type": _TYPES_ARE_DECLARED,
    "expect_column_values_to_be_in_type_list": _TYPES_ARE_DECLARED,
    "expect_column_type_to_be": _TYPES_ARE_DECLARED,
}
# Fields that every expectation of Great Expectations has and that are not a suite's arguments.
_NOT_KWARGS = {
    "id", "meta", "notes", "result_format", "description", "catch_exceptions", "rendered_content", "severity",
    "windows", "batch_id",
}  # fmt: skip
_RESULT_FORMAT = {
    "result_format": "COMPLETE",
    "exclude_unexpected_values": True,
    "partial_unexpected_count": 0,
    "include_unexpected_rows": False,
}


def load_suite(address: str | Path) -> Suite:
    """Read a suite from a JSON or YAML file (local path, ``file://`` or ``s3://``) and check it.

    Raises:
        SuiteError: not JSON or YAML, an expectation that does not exist, an argument that is unknown, missing or
            of a wrong type. The message names file, position and what is allowed.
        StoreError: nothing at that address, or the store can't be reached.
    """
    root, key = split_uri(address)
    try:
        text = open_store(root).get_bytes(key).decode()
    except UnicodeDecodeError:
        raise SuiteError(f"{address}: expected JSON or YAML in UTF-8") from None
    suite = parse_suite(text, str(address))
    check_suite(suite)
    return suite


def check_suite(suite: Suite) -> None:
    """Raise SuiteError unless every expectation exists, can be evaluated here, and has fitting arguments."""
    with _quiet():
        for position, expectation in enumerate(suite.expectations):
            where = suite.where(position)
            fields = _check_type(expectation, where)
            _check_kwargs(expectation, fields, where)
            try:
                _build(expectation.type, expectation.kwargs)
            except Exception as error:  # pydantic's and Great Expectations' own have no common base
                raise SuiteError(f"{where}: {_reasons(error)}; arguments: {', '.join(fields)}") from None


def validate_table(
    source: TableSource,
    schema: TableSchema,
    suite: Suite | None = None,
    counted: Iterable[Sequence[Tally]] | None = None,
) -> ValidationReport:
    """Check a table against its schema, with the constraints that it declares, and, where given, the user's suite.

    Every failure is an outcome in the report, so one run shows all of them. `counted` is what `count_rows` found in
    the table's shards, in their order; without it the rows are counted here.

    Raises:
        SchemaError: a bound or a category in the schema can't be read as its column's type.
        SuiteError: the suite has an expectation that does not exist, or arguments that do not fit.
        UnreadableError: a part of the table is damaged.
    """
    outcomes = check_columns(source.schema, source.num_rows, schema)
    tallies, runnable = _tallies(source, schema, suite)
    for shard in counted if counted is not None else [count_rows(source, schema, suite)]:
        for tally, found in zip(runnable["rows"], shard, strict=True):
            tally.join(found)
    if runnable["whole"] or runnable["table"]:
        with _quiet():
            engine = _Engine()
            _evaluate_whole(engine, source, runnable["whole"])
            _evaluate_table(engine, source, runnable["table"])
    outcomes += check_constraints(source, schema)
    return ValidationReport(source.num_rows, (*outcomes, *(tally.outcome() for tally in tallies)))


def count_rows(
    source: TableSource, schema: TableSchema, suite: Suite | None = None, first: int = 0
) -> list[Tally]:
    """What the expectations about single rows find in a table, or in a shard of it whose first row is `first`.

    Raises what `validate_table` raises.
    """
    _, runnable = _tallies(source, schema, suite)
    if runnable["rows"]:
        with _quiet():
            _evaluate_rows(_Engine(), source, runnable["rows"], first)
    return runnable["rows"]


def _tallies(
    source: TableSource, schema: TableSchema, suite: Suite | None
) -> tuple[list[Tally], dict[str, list[Tally]]]:
    """All expectations, not counted yet; and those that can be evaluated on this table, by kind."""
    if suite is not None:
        check_suite(suite)
    try:
        from_schema = list(expectations_of(schema, source.schema))
    except ValueError as error:
        raise SchemaError(str(error)) from None
    tallies = [Tally(e) for e in (*from_schema, *(suite.expectations if suite else ()))]
    runnable = [tally for tally in tallies if tally.prepare(source.schema)]
    return tallies, {kind: [t for t in runnable if t.kind == kind] for kind in ("rows", "whole", "table")}


class _Engine:
    """An ephemeral Great Expectations context: no files, no network, no progress bars."""

    def __init__(self) -> None:
        import great_expectations as gx
        from great_expectations.data_context.types.base import ProgressBarsConfig

        context = gx.get_context(mode="ephemeral")
        context.enable_analytics(enable=False)
        context.variables.progress_bars = ProgressBarsConfig(globally=False)
        asset = context.data_sources.add_pandas("pandas").add_dataframe_asset("batch")
        self._definition = asset.add_batch_definition_whole_dataframe("whole")
        self._suite_class = gx.ExpectationSuite

    def evaluate(self, frame: pd.DataFrame, tallies: Sequence[Tally]) -> None:
        """Evaluate the tallies' expectations on the frame and add the results to them."""
        built = [_build(t.expectation.type, t.kwargs, position=i) for i, t in enumerate(tallies)]
        suite = self._suite_class(name="suite", expectations=built)
        try:
            batch = self._definition.get_batch(batch_parameters={"dataframe": frame})
            results: list[Any] = batch.validate(suite, result_format=_RESULT_FORMAT).results
        except Exception as error:  # its message may quote values: only its class is told
            for tally in tallies:
                tally.error = f"{type(error).__name__} in Great Expectations"
            return
        for result in results:  # in an order of Great Expectations' own
            tallies[result.expectation_config.meta["position"]].add(result)


def _evaluate_rows(engine: _Engine, source: TableSource, tallies: Sequence[Tally], first: int) -> None:
    groups = {joint: [t for t in tallies if t.joint is joint] for joint in (False, True)}
    needed = {joint: _needed(group, source.schema) for joint, group in groups.items()}
    selected = select_columns(source, _needed(tallies, source.schema))
    for table in _large_batches(selected):
        for joint, group in groups.items():
            if group:
                engine.evaluate(to_frame(table.select(needed[joint]), first, joint=joint), group)
        first += table.num_rows


def _evaluate_whole(engine: _Engine, source: TableSource, tallies: Sequence[Tally]) -> None:
    groups: dict[tuple[tuple[str, ...], bool], list[Tally]] = defaultdict(list)
    for tally in tallies:
        groups[tally.columns_to_read(source.schema), tally.joint].append(tally)
    for (columns, joint), group in groups.items():
        selected = select_columns(source, columns)
        table = pa.Table.from_batches(selected.batches(), schema=selected.schema)
        engine.evaluate(to_frame(table, 0, joint=joint), group)


def _evaluate_table(engine: _Engine, source: TableSource, tallies: Sequence[Tally]) -> None:
    """Names and numbers are known without reading: frames without rows or without columns stand for the table."""
    about_rows = [t for t in tallies if "row_count" in t.expectation.type]
    about_columns = [t for t in tallies if "row_count" not in t.expectation.type]
    if about_rows:
        engine.evaluate(pd.DataFrame(index=pd.RangeIndex(source.num_rows)), about_rows)
    if about_columns:
        engine.evaluate(pd.DataFrame(columns=source.schema.names), about_columns)


def _needed(tallies: Sequence[Tally], found: pa.Schema) -> list[str]:
    return list(dict.fromkeys(name for tally in tallies for name in tally.columns_to_read(found)))


def _large_batches(source: TableSource) -> Iterator[pa.Table]:
    """The source's batches gathered to `BATCH_ROWS` rows, as far as they come in smaller ones."""
    waiting: list[pa.RecordBatch] = []
    for batch in source.batches():
        for first in range(0, batch.num_rows, BATCH_ROWS):
            piece = batch.slice(first, BATCH_ROWS)
            if waiting and sum(b.num_rows for b in waiting) + piece.num_rows > BATCH_ROWS:
                yield pa.Table.from_batches(waiting)
                waiting = []
            waiting.append(piece)
    if waiting:
        yield pa.Table.from_batches(waiting)


def _build(kind: str, kwargs: Any, *, position: int = 0) -> Any:
    from great_expectations.expectations.registry import get_expectation_impl

    return get_expectation_impl(kind)(**kwargs, meta={"position": position})


def _check_type(expectation: Expectation, where: str) -> list[str]:
    """The arguments that the expectation takes. Raises SuiteError when it does not exist or can't be used here."""
    from great_expectations.expectations.registry import (
        get_expectation_impl,
        list_registered_expectation_implementations,
    )

    known = sorted(set(list_registered_expectation_implementations()) - set(_REFUSED))
    if expectation.type in _REFUSED:
        raise SuiteError(f"{where}: it can't be used here: {_REFUSED[expectation.type]}")
    if expectation.type not in known:
        close = difflib.get_close_matches(expectation.type, known, n=3) or known[:3]
        raise SuiteError(
            f"{where}: Great Expectations has no such type: expected one of its {len(known)}, "
            f"such as {', '.join(close)}"
        )
    return sorted(set(get_expectation_impl(expectation.type).__fields__) - _NOT_KWARGS)


def _check_kwargs(expectation: Expectation, allowed: Sequence[str], where: str) -> None:
    """Refuse what Great Expectations would take in silence, or refuse in many words."""
    kwargs = expectation.kwargs
    unknown = sorted(set(kwargs) - set(allowed))
    if unknown:
        raise SuiteError(f"{where}: unknown arguments {', '.join(unknown)}: allowed are {', '.join(allowed)}")
    for key in ("regex", "regex_list"):
        patterns = kwargs.get(key, [])
        for pattern in [patterns] if isinstance(patterns, str) else patterns:
            try:
                re.compile(pattern)
            except (re.error, TypeError) as error:
                raise SuiteError(f"{where}: {key} is no regular expression: {error}") from None
    low, high = kwargs.get("min_value"), kwargs.get("max_value")
    if isinstance(low, int | float) and isinstance(high, int | float) and low > high:
        raise SuiteError(f"{where}: min_value {low} lies above max_value {high}")


def _reasons(error: Exception) -> str:
    """What pydantic objects to, one reason for each argument."""
    listed = getattr(error, "errors", None)
    if listed is None:
        return str(error).split("\n", maxsplit=1)[0]
    reasons: dict[str, str] = {}
    for reason in listed():
        reasons.setdefault(str(reason["loc"][0]), reason["msg"])
    if len(reasons) > 1:
        reasons.pop("__root__", None)  # follows from the others
    return "; ".join(msg if name == "__root__" else f"{name}: {msg}" for name, msg in reasons.items())


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Great Expectations' log lines and warnings, which may quote values, from everybody's output."""
    logger = logging.getLogger("great_expectations")
    propagate, nowhere = logger.propagate, logging.NullHandler()
    # Some of its loggers set a level of their own, so what they say is stopped here, on its way up.
    logger.propagate = False
    logger.addHandler(nowhere)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.propagate = propagate
        logger.removeHandler(nowhere)
