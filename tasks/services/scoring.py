"""Score a synthetic table against the real one: every figure that can be computed, and why the others can't.

A figure never stands alone: `details` holds its uncertainty and its control, `reasons` what could not be computed.
Nothing here holds a cell's value: column names, counts and scores only.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tasks.services.evidence import Drawn, distance_map, gather_evidence, keep_curve
from tasks.services.quality import PairScore, diagnostic_report, quality_report, sdmetrics_version
from tasks.services.scores import Scores
from tasks.services.steps import Steps, one_thread
from tvae_core.errors import DataError
from tvae_core.metrics import (
    c2st,
    closest_records,
    exact_copies,
    logistic_detection,
    row_hashes,
    sample_rows,
    tidy,
)
from tvae_core.metrics.frames import entities, extents, scored_columns
from tvae_core.metrics.limits import MAX_ROWS
from tvae_core.metrics.utility import utility
from tvae_core.schema import TableSchema
from tvae_core.sources import TableSource

if TYPE_CHECKING:
    from tvae_core import TVAE

NO_HOLDOUT = "it needs a holdout table, and none was given"
WORST_PAIRS = 20
"""Pairs of columns that are listed: 45 columns have 990."""


@dataclass(frozen=True)
class _Tables:
    """The three tables as sources, their sampled rows as tidy frames, and the entity of each sampled row."""

    schema: TableSchema
    sources: dict[str, TableSource]
    frames: dict[str, pd.DataFrame]
    groups: dict[str, np.ndarray | None]
    seed: int

    @property
    def has_holdout(self) -> bool:
        return "holdout" in self.sources


def score_tables(
    real: TableSource,
    synthetic: TableSource,
    *,
    holdout: TableSource | None,
    schema: TableSchema,
    targets: Sequence[str] = (),
    seed: int = 0,
    max_rows: int = MAX_ROWS,
    generator: "TVAE | None" = None,
    on_progress: Callable[[str], None] | None = None,
) -> Scores:
    """Compute every fidelity, utility and privacy figure that these tables allow.

    A figure that can't be computed is absent from `Scores.figures` and its reason stands in `Scores.reasons`;
    the others are computed all the same.

    Args:
        real: the table that the generator was trained on.
        synthetic: the table to score.
        holdout: real rows that the generator has not seen; None leaves out what needs them.
        schema: kinds of the columns; identifiers are not scored.
        targets: columns to predict for utility.
        seed: decides the rows that are drawn, the folds and the models.
        max_rows: rows of each table that are loaded, drawn at random. Exact copies and valid ranges are taken from
            all rows, whatever this is.
        generator: the generator that drew the synthetic table, for a view of its latent space; None leaves it out.
        on_progress: called with the name of each step before it starts.

    Raises:
        SchemaError: a table lacks a column, or holds values of another family than the schema declares.
        DataError: a table has no rows, no column is left to score, or a numeric column holds infinities.
    """
    given = {"real": real, "synthetic": synthetic, "holdout": holdout}
    sources = {name: source for name, source in given.items() if source is not None}
    _refuse_empty(sources, schema)
    scores = Scores()
    run = Steps(scores, on_progress)
    with one_thread():
        with run.timed("read the tables"):
            tables = _read(sources, schema, seed, max_rows)
        scores.details.update(_about(tables, max_rows))
        run.step("quality", ["fidelity.shape", "fidelity.trend", "fidelity.quality"], _quality, tables)
        run.step("diagnostic", ["fidelity.diagnostic"], _diagnostic, tables)
        run.step("detection", ["fidelity.c2st"], _c2st, tables)
        run.step("detection control", ["fidelity.c2st_holdout"], _c2st_control, tables)
        run.step("logistic detection", ["fidelity.lr"], _logistic, tables)
        for target in targets:
            names = [f"utility.{target}.{kind}" for kind in ("tstr", "trtr", "ratio")]
            run.step(f"utility for {target}", names, _utility, tables, target)
        copies = [f"privacy.exact_copies{suffix}" for suffix in ("", "_holdout", "_excess")]
        run.step("exact copies", copies, _copies, tables)
        closest = ["privacy.dcr_share", "privacy.dcr_median_ratio"]
        run.step("distance to closest record", closest, _closest, tables)
        drawn = Drawn.of(schema, tables.frames, tables.groups["real"], seed)
        gather_evidence(run, scores, drawn, real, generator, seed)
    return scores


def _read(sources: dict[str, TableSource], schema: TableSchema, seed: int, max_rows: int) -> _Tables:
    drawn = {name: sample_rows(source, max_rows, seed) for name, source in sources.items()}
    return _Tables(
        schema,
        sources,
        frames={name: tidy(table, schema) for name, table in drawn.items()},
        groups={name: entities(table, schema) for name, table in drawn.items()},
        seed=seed,
    )


def _quality(scores: Scores, tables: _Tables) -> None:
    result = quality_report(tables.frames["real"], tables.frames["synthetic"])
    scores.record("fidelity.shape", result.shape)
    scores.record(
        "fidelity.trend",
        result.trend,
        "no two columns of the real table are associated strongly enough to compare; "
        "take its rule out of the gate if that is expected",
    )
    scores.record("fidelity.quality", result.quality)
    scored = [pair for pair in result.pairs if not math.isnan(pair.score)]
    scores.explain("fidelity.trend", pairs=len(result.pairs), scored=len(scored))
    for column in result.columns:
        entry = scores.details["columns"].setdefault(column.column, {})
        entry.update(shape=_plain(column.score), measure=column.measure)
    scores.details["worst_pairs"] = [
        _pair(pair) for pair in sorted(scored, key=lambda p: p.score)[:WORST_PAIRS]
    ]


def _diagnostic(scores: Scores, tables: _Tables) -> None:
    result = diagnostic_report(
        tables.frames["real"],
        tables.frames["synthetic"],
        schema=tables.schema,
        covered=extents(tables.sources["real"], tables.schema),
        real_types=tables.sources["real"].schema,
        synthetic_types=tables.sources["synthetic"].schema,
    )
    scores.record("fidelity.diagnostic", result.score)
    scores.explain("fidelity.diagnostic", validity=result.validity, structure=result.structure)
    for column in result.columns:
        scores.details["columns"].setdefault(column.column, {})["validity"] = _plain(column.score)


def _c2st(scores: Scores, tables: _Tables) -> None:
    result = c2st(*_against(tables, "synthetic"), seed=tables.seed, groups=_groups(tables, "synthetic"))
    scores.record("fidelity.c2st", result.auc)
    keep_curve(scores, "synthetic", result.curve)
    scores.explain("fidelity.c2st", standard_error=result.standard_error, rows=result.rows)


def _c2st_control(scores: Scores, tables: _Tables) -> None:
    result = c2st(*_against(tables, "holdout"), seed=tables.seed, groups=_groups(tables, "holdout"))
    scores.record("fidelity.c2st_holdout", result.auc)
    keep_curve(scores, "holdout", result.curve)
    scores.explain("fidelity.c2st_holdout", standard_error=result.standard_error, rows=result.rows)


def _logistic(scores: Scores, tables: _Tables) -> None:
    result = logistic_detection(
        *_against(tables, "synthetic"), seed=tables.seed, groups=_groups(tables, "synthetic")
    )
    scores.record("fidelity.lr", result.score)
    # The score's slope in the AUC is -2.
    scores.explain("fidelity.lr", standard_error=2 * result.standard_error, rows=result.rows)


def _utility(scores: Scores, tables: _Tables, target: str) -> None:
    frames = tables.frames
    result = utility(frames["real"], frames["synthetic"], _holdout(tables), target, seed=tables.seed)
    for kind, prediction in (("tstr", result.tstr), ("trtr", result.trtr)):
        name = f"utility.{target}.{kind}"
        scores.record(name, prediction.score)
        scores.explain(
            name, measure=result.measure, standard_error=prediction.standard_error, **prediction.others
        )
    scores.record(
        f"utility.{target}.ratio",
        result.ratio,
        "real rows do not predict this target either, so there is no ratio",
    )


def _copies(scores: Scores, tables: _Tables) -> None:
    train = row_hashes(tables.sources["real"], tables.schema)
    found = exact_copies(row_hashes(tables.sources["synthetic"], tables.schema), train)
    scores.record("privacy.exact_copies", found.share)
    scores.explain("privacy.exact_copies", count=found.count, rows=found.rows, low=found.low, high=found.high)
    _holdout(tables)
    control = exact_copies(row_hashes(tables.sources["holdout"], tables.schema), train)
    name = "privacy.exact_copies_holdout"
    scores.record(name, control.share)
    scores.explain(name, count=control.count, rows=control.rows, low=control.low, high=control.high)
    scores.record("privacy.exact_copies_excess", found.share - control.share)


def _closest(scores: Scores, tables: _Tables) -> None:
    frames = tables.frames
    result = closest_records(frames["real"], _holdout(tables), frames["synthetic"], seed=tables.seed)
    counts = {"queries": result.queries, "train_rows": result.train_rows, "holdout_rows": result.holdout_rows}
    scores.record("privacy.dcr_share", result.share)
    scores.explain("privacy.dcr_share", low=result.low, high=result.high, **counts)
    scores.record(
        "privacy.dcr_median_ratio",
        result.median_ratio,
        "at least half of the synthetic rows equal a holdout row, so the median distance to divide by is 0",
    )
    medians = {"median_train": result.median_train, "median_holdout": result.median_holdout}
    scores.explain("privacy.dcr_median_ratio", **medians, **counts)
    scores.evidence["closest"] = distance_map(result)


def _holdout(tables: _Tables) -> pd.DataFrame:
    if not tables.has_holdout:
        raise DataError(NO_HOLDOUT)
    return tables.frames["holdout"]


def _against(tables: _Tables, other: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    if other == "holdout":
        return tables.frames["real"], _holdout(tables)
    return tables.frames["real"], tables.frames[other]


def _groups(tables: _Tables, other: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Entities of the real rows and of the other table's, whose rows stand alone where it has none."""
    of_real, of_other = tables.groups["real"], tables.groups[other]
    if of_real is None:
        return None
    return of_real, np.arange(len(tables.frames[other])) if of_other is None else of_other


def _refuse_empty(sources: Mapping[str, TableSource], schema: TableSchema) -> None:
    empty = [name for name, source in sources.items() if source.num_rows == 0]
    if empty:
        raise DataError(f"expected rows in every table, however there are none in: {', '.join(empty)}")
    if not scored_columns(schema):
        raise DataError("expected at least one column that is no identifier, however there is none to score")


def _about(tables: _Tables, max_rows: int) -> dict[str, Any]:
    return {
        "rows": {name: source.num_rows for name, source in tables.sources.items()},
        "rows_used": {name: len(frame) for name, frame in tables.frames.items()},
        "max_rows": max_rows,
        "seed": tables.seed,
        "sdmetrics": sdmetrics_version(),
        "figures": {},
        "columns": {},
        "worst_pairs": [],
    }


def _pair(pair: PairScore) -> dict[str, Any]:
    return {"columns": [pair.first, pair.second], "trend": _plain(pair.score), "measure": pair.measure}


def _plain(score: float) -> float | None:
    return None if math.isnan(score) else round(score, 6)
