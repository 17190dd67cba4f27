"""Scores by sdmetrics, and the only file that knows it.

Shape compares each column's distribution (Kolmogorov-Smirnov complement for numbers, total variation complement for
levels), trend compares pairs of columns (correlation or contingency similarity), the diagnostic asks whether
values are valid and the columns the same. Scores of different sdmetrics versions must not be compared: the
version is part of the result.
"""

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from tvae_core.arrow_types import value_type
from tvae_core.metrics.frames import MISSING, Extent, categorical_columns, scored_columns, texts
from tvae_core.schema import ColumnKind, ColumnSchema, TableSchema

if TYPE_CHECKING:
    from sdmetrics.reports.base_unified_report import BaseUnifiedReport

PROTECTION_ROWS = 400
"""Rows of each table for the privacy metrics, which hold every pair of rows in memory."""

_TABLE = "table"  # sdmetrics' reports take tables by name
_MEASURES = {
    "KSComplement": "KS complement",
    "TVComplement": "TV complement",
    "CorrelationSimilarity": "correlation",
    "ContingencySimilarity": "contingency",
}


@dataclass(frozen=True)
class ColumnScore:
    """One column's score in [0, 1] and how it was measured; NaN where it could not be."""

    column: str
    measure: str
    score: float


@dataclass(frozen=True)
class PairScore:
    """One pair of columns: its score in [0, 1] and how it was measured; NaN where it could not be."""

    first: str
    second: str
    measure: str
    score: float


@dataclass(frozen=True)
class Quality:
    """The quality report: 1 is ideal everywhere.

    `trend` is the mean over the pairs that are associated in the real table (correlation above .5, Cramer's V
    above .3: sdmetrics' own thresholds), and NaN when none is. `quality` is the mean of shape and trend, or the
    one of the two that could be scored.
    """

    shape: float
    trend: float
    quality: float
    columns: tuple[ColumnScore, ...]
    pairs: tuple[PairScore, ...]


@dataclass(frozen=True)
class Diagnostic:
    """The diagnostic report: `score` is the mean of `validity` and `structure`; 1 is ideal and expected.

    Attributes:
        validity: mean over columns of the share of values inside the range, or among the categories, that the
            schema declares, or that the real rows have where it declares none.
        structure: share of columns whose name and type both tables have.
        columns: each column's validity.
    """

    validity: float
    structure: float
    score: float
    columns: tuple[ColumnScore, ...]


@dataclass(frozen=True)
class Protection:
    """sdmetrics' privacy metrics: 1 is ideal, NaN where one can't be computed.

    Attributes:
        overfitting: 1 when at most half of the synthetic rows lie closer to train than to the holdout.
        baseline: median distance to the closest training row, over that of random rows; at most 1.
        disclosure: how wrong an attacker's guess of a secret stays, over that of a guess without any data; at most 1.
        rows: rows taken of each table.
    """

    overfitting: float
    baseline: float
    disclosure: float
    rows: int


def sdmetrics_version() -> str:
    """The installed version, without importing the library."""
    return version("sdmetrics")


def quality_report(real: pd.DataFrame, synthetic: pd.DataFrame) -> Quality:
    """Run sdmetrics' quality report on two tidy frames (see `tidy`) of equal columns.

    All rows are used: cap them before (50,000 x 15 take seconds). Nothing random happens inside.
    """
    from sdmetrics.reports import QualityReport

    report = QualityReport()
    # The report's own subsample draws from global random state.
    report.num_rows_subsample = None
    scores = _generate(report, real, synthetic, _metadata(real))
    columns, pairs = (_details(report, name) for name in ("Column Shapes", "Column Pair Trends"))
    return Quality(
        shape=scores["Column Shapes"],
        trend=scores["Column Pair Trends"],
        quality=_mean(scores.values()),
        columns=tuple(ColumnScore(str(row["Column"]), _measure(row), float(row["Score"])) for row in columns),
        pairs=tuple(
            PairScore(str(row["Column 1"]), str(row["Column 2"]), _measure(row), float(row["Score"]))
            for row in pairs
        ),
    )


def diagnostic_report(
    real: pd.DataFrame,
    synthetic: pd.DataFrame,
    *,
    schema: TableSchema,
    covered: Mapping[str, Extent],
    real_types: pa.Schema,
    synthetic_types: pa.Schema,
) -> Diagnostic:
    """Run sdmetrics' diagnostic report: validity on tidy frames, structure on the tables' own Arrow types.

    `covered` says what the whole real table covers (see `extents`), which its sampled rows may not.
    Dictionary encoding and the width of text offsets are storage, not structure: they make no difference.
    """
    from sdmetrics.reports import DiagnosticReport
    from sdmetrics.single_table import TableStructure

    metadata = _metadata(real)
    for column in scored_columns(schema):
        metadata["columns"][column.name].update(_allowed(column, covered[column.name]))
    report = DiagnosticReport()
    validity = _generate(report, real, synthetic, metadata)["Data Validity"]
    structure = float(TableStructure.compute(_empty_frame(real_types), _empty_frame(synthetic_types)))
    columns = tuple(
        ColumnScore(str(row["Column"]), _measure(row), float(row["Score"]))
        for row in _details(report, "Data Validity")
    )
    return Diagnostic(validity, structure, _mean([validity, structure]), columns)


def protection_scores(
    real: pd.DataFrame,
    holdout: pd.DataFrame,
    synthetic: pd.DataFrame,
    *,
    known: Sequence[str],
    secret: str,
    seed: int,
) -> Protection:
    """Run sdmetrics' privacy metrics on at most `PROTECTION_ROWS` rows of each tidy frame, drawn by `seed`.

    Args:
        real: training rows.
        holdout: real rows that the generator has not seen.
        synthetic: synthetic rows.
        known: columns that an attacker knows.
        secret: the column that he guesses from them.
        seed: decides the rows and the random table of the baseline.
    """
    from sdmetrics.single_table import DCRBaselineProtection, DCROverfittingProtection, DisclosureProtection

    class Seeded(DCRBaselineProtection):  # type: ignore[misc]  # sdmetrics has no types
        _seed = seed

    rows = min(PROTECTION_ROWS, len(real), len(holdout), len(synthetic))
    train, unseen, made = (
        frame.sample(rows, random_state=np.random.default_rng([seed, i]))
        for i, frame in enumerate((real, holdout, synthetic))
    )
    metadata = {"tables": {_TABLE: _metadata(real)}}
    numbers = [name for name in (*known, secret) if name not in categorical_columns(real)]
    with warnings.catch_warnings(), _borrowed_random_state(seed):
        warnings.simplefilter("ignore")
        overfitting = DCROverfittingProtection.compute_breakdown(train, made, unseen, metadata, _TABLE)
        baseline = Seeded.compute_breakdown(train, made, metadata, _TABLE)
        disclosure = DisclosureProtection.compute_breakdown(
            train, made, list(known), [secret], continuous_column_names=numbers or None
        )
    scores = [float(result["score"]) for result in (overfitting, baseline, disclosure)]
    return Protection(scores[0], scores[1], scores[2], rows)


@contextmanager
def _borrowed_random_state(seed: int) -> Iterator[None]:
    """Seed the global random state, which the random baseline draws its gaps from, and put it back."""
    before = np.random.get_state()  # sdmetrics offers no other way
    np.random.seed(seed % 2**32)
    try:
        yield
    finally:
        np.random.set_state(before)


def _generate(
    report: "BaseUnifiedReport", real: pd.DataFrame, synthetic: pd.DataFrame, metadata: dict[str, Any]
) -> dict[str, float]:
    with warnings.catch_warnings():
        # Constant columns have no correlation, and so on: such scores come back as NaN and are counted.
        warnings.simplefilter("ignore")
        report.generate({_TABLE: real}, {_TABLE: synthetic}, {"tables": {_TABLE: metadata}}, verbose=False)
    properties = report.get_properties()
    return {
        str(name): float(score)
        for name, score in zip(properties["Property"], properties["Score"], strict=True)
    }


def _details(report: "BaseUnifiedReport", name: str) -> list[dict[str, Any]]:
    """Rows of a property's details, without its error texts: they may quote a value."""
    details = report.get_details(name, table_name=_TABLE)
    rows: list[dict[str, Any]] = details.drop(columns="Error", errors="ignore").to_dict("records")
    return rows


def _measure(row: dict[str, Any]) -> str:
    return _MEASURES.get(str(row["Metric"]), str(row["Metric"]))


def _mean(scores: Any) -> float:
    known = [score for score in scores if not math.isnan(score)]
    return sum(known) / len(known) if known else math.nan


def _metadata(frame: pd.DataFrame) -> dict[str, Any]:
    """Describe a tidy frame to sdmetrics."""
    levels = categorical_columns(frame)
    return {
        "columns": {
            name: {"sdtype": "categorical" if name in levels else "numerical"} for name in frame.columns
        }
    }


def _allowed(column: ColumnSchema, extent: Extent) -> dict[str, Any]:
    """What a column may hold, in sdmetrics' words: as declared, else as in the real table."""
    if column.kind is ColumnKind.CATEGORICAL and column.categories is not None:
        declared = texts(pa.array(column.categories), column).to_pylist()
        return {"range_values": [*declared, MISSING] if column.nullable else declared}
    if column.kind in (ColumnKind.CATEGORICAL, ColumnKind.BOOLEAN):
        return {"range_values": sorted(extent.levels)}
    low, high = extent.low, extent.high
    if column.kind is ColumnKind.CONTINUOUS:
        low = low if column.minimum is None else float(column.minimum)
        high = high if column.maximum is None else float(column.maximum)
    return {"range_min": low, "range_max": high, "range_is_nullable": extent.missing or column.nullable}


def _empty_frame(types: pa.Schema) -> pd.DataFrame:
    """No rows, only names and exact types, for the comparison of structure."""
    plain = [pa.field(field.name, _stored_as(field.type)) for field in types]
    frame: pd.DataFrame = pa.schema(plain).empty_table().to_pandas(types_mapper=pd.ArrowDtype)
    return frame


def _stored_as(arrow: pa.DataType) -> pa.DataType:
    inner = value_type(arrow)
    return pa.string() if pa.types.is_large_string(inner) or pa.types.is_string_view(inner) else inner
