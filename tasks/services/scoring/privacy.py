"""Privacy by nearness: what stands in the training table, or close to it, against what the holdout explains."""

from tasks.services.evidence import distance_map
from tasks.services.quality import protection_scores
from tasks.services.scores import Scores
from tasks.services.scoring.tables import Tables
from tasks.services.steps import Step
from tvae_core.errors import DataError
from tvae_core.metrics import (
    closest_records,
    exact_copies,
    near_copies,
    row_hashes,
    secret_columns,
    value_codes,
)

PROTECTIONS = ("overfitting", "baseline", "disclosure")
KNOWN_COLUMNS = 3
"""Columns that sdmetrics' attacker knows."""


def steps() -> list[Step]:
    """The steps of this group."""
    return [
        Step(
            "exact copies",
            [f"privacy.exact_copies{suffix}" for suffix in ("", "_holdout", "_excess")],
            _copies,
        ),
        Step("near copies", ["privacy.near_copies", "privacy.near_copies_low"], _near),
        Step(
            "distance to closest record",
            ["privacy.dcr_share", "privacy.dcr_median_ratio", "privacy.nndr", "privacy.nndr_holdout"],
            _closest,
        ),
        Step("protection by sdmetrics", [f"privacy.sdmetrics_{name}" for name in PROTECTIONS], _protection),
    ]


def _copies(scores: Scores, tables: Tables) -> None:
    train = row_hashes(tables.sources["real"], tables.schema)
    found = exact_copies(row_hashes(tables.sources["synthetic"], tables.schema), train)
    scores.record("privacy.exact_copies", found.share)
    scores.explain("privacy.exact_copies", count=found.count, rows=found.rows, low=found.low, high=found.high)
    tables.need_holdout()
    control = exact_copies(row_hashes(tables.sources["holdout"], tables.schema), train)
    name = "privacy.exact_copies_holdout"
    scores.record(name, control.share)
    scores.explain(name, count=control.count, rows=control.rows, low=control.low, high=control.high)
    scores.record("privacy.exact_copies_excess", found.share - control.share)


def _near(scores: Scores, tables: Tables) -> None:
    tables.need_holdout()
    codes = [value_codes(tables.sources[name], tables.schema) for name in ("real", "holdout", "synthetic")]
    found = near_copies(*codes, seed=tables.seed)
    scores.record("privacy.near_copies", found.share)
    scores.record("privacy.near_copies_low", found.low)
    scores.explain(
        "privacy.near_copies",
        near_train=found.near_train,
        near_holdout=found.near_holdout,
        rows=found.rows,
        train_rows=found.train_rows,
        holdout_rows=found.holdout_rows,
    )


def _closest(scores: Scores, tables: Tables) -> None:
    result = closest_records(*tables.three, seed=tables.seed)
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
    scores.record("privacy.nndr", result.nndr_train)
    scores.record("privacy.nndr_holdout", result.nndr_holdout)


def _protection(scores: Scores, tables: Tables) -> None:
    secret = secret_columns(tables.real, tables.targets)[0]
    known = [name for name in tables.real.columns if name != secret][:KNOWN_COLUMNS]
    if not known:
        raise DataError("expected at least two columns, however there is only the one to guess")
    found = protection_scores(*tables.three, known=known, secret=secret, seed=tables.seed)
    for name in PROTECTIONS:
        scores.record(f"privacy.sdmetrics_{name}", getattr(found, name))
        scores.explain(f"privacy.sdmetrics_{name}", rows=found.rows)
