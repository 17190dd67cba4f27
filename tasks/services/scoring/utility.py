"""Utility: whether synthetic rows teach a model what real rows teach it."""

from functools import partial

from tasks.services.scores import Scores
from tasks.services.scoring.tables import Tables
from tasks.services.steps import Step
from tvae_core.metrics import utility


def steps(targets: tuple[str, ...]) -> list[Step]:
    """A step for every target."""
    return [
        Step(
            f"utility for {target}",
            [f"utility.{target}.{kind}" for kind in ("tstr", "trtr", "ratio")],
            partial(_utility, target=target),
        )
        for target in targets
    ]


def _utility(scores: Scores, tables: Tables, *, target: str) -> None:
    result = utility(tables.real, tables.synthetic, tables.holdout, target, seed=tables.seed)
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
