"""Fidelity: whether synthetic rows look like real ones, column by column, pair by pair, and to a classifier."""

import math

import numpy as np

from tasks.services.evidence import keep_curve
from tasks.services.quality import PairScore, diagnostic_report, quality_report
from tasks.services.scores import Scores
from tasks.services.scoring.tables import Tables
from tasks.services.steps import Step
from tvae_core.metrics import c2st, logistic_detection
from tvae_core.metrics.frames import extents
from tvae_core.metrics.margins import shuffled


def steps() -> list[Step]:
    """The steps of this group."""
    return [
        Step("quality", ["fidelity.shape", "fidelity.trend", "fidelity.quality"], _quality),
        Step("quality floor", ["fidelity.trend_shuffled"], _quality_floor),
        Step("quality ceiling", ["fidelity.shape_holdout", "fidelity.trend_holdout"], _quality_ceiling),
        Step("diagnostic", ["fidelity.diagnostic"], _diagnostic),
        Step("detection", ["fidelity.c2st"], _c2st),
        Step("detection control", ["fidelity.c2st_holdout"], _c2st_control),
        Step("detection floor", ["fidelity.c2st_shuffled", "fidelity.lr_shuffled"], _detection_floor),
        Step("logistic detection", ["fidelity.lr"], _logistic),
        Step("logistic detection control", ["fidelity.lr_holdout"], _logistic_control),
    ]


def _quality(scores: Scores, tables: Tables) -> None:
    result = quality_report(tables.real, tables.synthetic)
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
    scores.details["pairs"] = [_pair(pair) for pair in sorted(scored, key=lambda p: p.score)]


def _quality_floor(scores: Scores, tables: Tables) -> None:
    result = quality_report(tables.real, shuffled(tables.real, tables.seed))
    scores.record("fidelity.trend_shuffled", result.trend, "no two columns are associated strongly enough")


def _quality_ceiling(scores: Scores, tables: Tables) -> None:
    result = quality_report(tables.real, tables.holdout)
    scores.record("fidelity.shape_holdout", result.shape)
    scores.record("fidelity.trend_holdout", result.trend, "no two columns are associated strongly enough")


def _diagnostic(scores: Scores, tables: Tables) -> None:
    result = diagnostic_report(
        tables.real,
        tables.synthetic,
        schema=tables.schema,
        covered=extents(tables.sources["real"], tables.schema),
        real_types=tables.sources["real"].schema,
        synthetic_types=tables.sources["synthetic"].schema,
    )
    scores.record("fidelity.diagnostic", result.score)
    scores.explain("fidelity.diagnostic", validity=result.validity, structure=result.structure)
    for column in result.columns:
        scores.details["columns"].setdefault(column.column, {})["validity"] = _plain(column.score)


def _c2st(scores: Scores, tables: Tables) -> None:
    groups = tables.groups_with("synthetic")
    result = c2st(tables.real, tables.synthetic, seed=tables.seed, groups=groups)
    scores.record("fidelity.c2st", result.auc)
    keep_curve(scores, "synthetic", result.curve)
    scores.explain("fidelity.c2st", standard_error=result.standard_error, rows=result.rows)


def _c2st_control(scores: Scores, tables: Tables) -> None:
    holdout = tables.holdout
    result = c2st(tables.real, holdout, seed=tables.seed, groups=tables.groups_with("holdout"))
    scores.record("fidelity.c2st_holdout", result.auc)
    keep_curve(scores, "holdout", result.curve)
    scores.explain("fidelity.c2st_holdout", standard_error=result.standard_error, rows=result.rows)


def _logistic(scores: Scores, tables: Tables) -> None:
    groups = tables.groups_with("synthetic")
    result = logistic_detection(tables.real, tables.synthetic, seed=tables.seed, groups=groups)
    scores.record("fidelity.lr", result.score)
    # The score's slope in the AUC is -2.
    scores.explain("fidelity.lr", standard_error=2 * result.standard_error, rows=result.rows)


def _logistic_control(scores: Scores, tables: Tables) -> None:
    holdout, groups = tables.holdout, tables.groups_with("holdout")
    result = logistic_detection(tables.real, holdout, seed=tables.seed, groups=groups)
    scores.record("fidelity.lr_holdout", result.score)
    scores.explain("fidelity.lr_holdout", standard_error=2 * result.standard_error, rows=result.rows)


def _detection_floor(scores: Scores, tables: Tables) -> None:
    """Rows without any dependence between columns; they are nobody's, so each stands alone."""
    mixed, alone = shuffled(tables.real, tables.seed), np.arange(len(tables.real))
    of_real = tables.groups["real"]
    groups = None if of_real is None else (of_real, alone)
    scores.record("fidelity.c2st_shuffled", c2st(tables.real, mixed, seed=tables.seed, groups=groups).auc)
    linear = logistic_detection(tables.real, mixed, seed=tables.seed, groups=groups)
    scores.record("fidelity.lr_shuffled", linear.score)


def _pair(pair: PairScore) -> dict[str, object]:
    return {"columns": [pair.first, pair.second], "trend": _plain(pair.score), "measure": pair.measure}


def _plain(score: float) -> float | None:
    return None if math.isnan(score) else round(score, 6)
