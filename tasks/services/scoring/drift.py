"""Drift: how far a release has moved from the one before, column by column and pair by pair."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

from tasks.services.quality import quality_report
from tasks.services.scores import Scores
from tasks.services.scoring.tables import Tables
from tasks.services.steps import Step
from tvae_core.errors import DataError
from tvae_core.metrics import sample_rows, tidy
from tvae_core.metrics.limits import MAX_ROWS
from tvae_core.schema import TableSchema
from tvae_core.sources import TableSource

FIGURES = ("drift.shape", "drift.trend")
NOTHING_EARLIER = "no earlier release stands to compare with"


@dataclass(frozen=True)
class Earlier:
    """A release that was published before: its rows, its version and its digest."""

    table: TableSource
    version: str
    digest: str


OpenEarlier = Callable[[], AbstractContextManager[Earlier | None]]


def steps(earlier: OpenEarlier | None, max_rows: int) -> list[Step]:
    """The step of this group, where somebody may know of an earlier release.

    It is opened in its step, so that a damaged one costs these figures and not the scoring.
    """
    if earlier is None:
        return []
    return [Step("drift", FIGURES, partial(_drift, earlier=earlier, max_rows=max_rows))]


def _drift(scores: Scores, tables: Tables, *, earlier: OpenEarlier, max_rows: int) -> None:
    with earlier() as before:
        if before is None:
            scores.inapplicable.update(dict.fromkeys(FIGURES, NOTHING_EARLIER))
            return
        current = tables.sources["synthetic"]
        found = drift(before.table, current, tables.schema, seed=tables.seed, max_rows=max_rows)
    scores.record("drift.shape", found.shape)
    scores.record(
        "drift.trend", found.trend, "no two columns of the earlier release are associated strongly enough"
    )
    about = {"version": before.version, "digest": before.digest}
    scores.details["drift"] = {"earlier": about, "rows": list(found.rows), "columns": found.columns}


@dataclass(frozen=True)
class Drift:
    """How alike two releases are: 1 is no drift; both are synthetic, so that nothing here tells of a real row.

    Attributes:
        shape: mean over columns, each on its own.
        trend: mean over the pairs that are associated in the previous release; NaN where none is.
        columns: each column's score, the one that moved most first; None where it could not be scored.
        rows: rows of the previous and of the current release that were compared.
    """

    shape: float
    trend: float
    columns: dict[str, float | None]
    rows: tuple[int, int]


def drift(
    previous: TableSource,
    current: TableSource,
    schema: TableSchema,
    *,
    seed: int = 0,
    max_rows: int = MAX_ROWS,
) -> Drift:
    """Compare a release with the previous one, on at most `max_rows` rows of each, drawn by `seed`.

    Raises:
        SchemaError: a release lacks a column of the schema, or holds values of another family: the table itself has
            changed, which no score can express.
        DataError: a release has no rows.
    """
    sources = previous, current
    if min(source.num_rows for source in sources) == 0:
        raise DataError("expected rows in both releases, however one has none")
    before, after = (tidy(sample_rows(source, max_rows, seed), schema) for source in sources)
    result = quality_report(before, after)
    moved = sorted(result.columns, key=lambda column: math.inf if math.isnan(column.score) else column.score)
    columns = {column.column: _plain(column.score) for column in moved}
    return Drift(result.shape, result.trend, columns, (len(before), len(after)))


def _plain(score: float) -> float | None:
    return None if math.isnan(score) else round(score, 6)
