"""Fidelity of structure: three columns at a time, rare levels, and the constraints that the schema declares."""

from tasks.services.scores import Scores
from tasks.services.scoring.tables import Tables
from tasks.services.steps import Step
from tvae_core.metrics.margins import rare_coverage, shuffled, three_way


def steps(tables: Tables) -> list[Step]:
    """The steps of this group; constraints are counted where there are any."""
    three = [f"fidelity.three_way{end}" for end in ("", "_shuffled", "_holdout")]
    found = [
        Step("three columns at a time", three, _three_way),
        Step("rare levels", ["fidelity.rare_levels", "fidelity.rare_levels_holdout"], _rare_levels),
    ]
    if tables.schema.constraints:
        found.append(Step("constraints", ["fidelity.constraints"], _constraints))
    return found


def _three_way(scores: Scores, tables: Tables) -> None:
    floor = shuffled(tables.real, tables.seed)
    others = [tables.synthetic, floor, *([tables.holdout] if tables.has_holdout else [])]
    names = ("fidelity.three_way", "fidelity.three_way_shuffled", "fidelity.three_way_holdout")
    for name, score in zip(names, three_way(tables.real, others, seed=tables.seed), strict=False):
        scores.record(name, score)
    tables.need_holdout()


def _rare_levels(scores: Scores, tables: Tables) -> None:
    found = rare_coverage(tables.real, tables.synthetic)
    scores.record("fidelity.rare_levels", found.share)
    scores.explain("fidelity.rare_levels", found=found.found, levels=found.levels)
    scores.record("fidelity.rare_levels_holdout", rare_coverage(tables.real, tables.holdout).share)


def _constraints(scores: Scores, tables: Tables) -> None:
    """Share of all synthetic rows that obey each constraint; the least of them is the figure."""
    source = tables.sources["synthetic"]
    obeyed = {}
    for constraint in tables.schema.constraints:
        broken = sum(int(rows.sum()) for rows in constraint.broken_rows(source))
        obeyed[constraint.label] = round(1 - broken / source.num_rows, 6)
    scores.record("fidelity.constraints", min(obeyed.values()))
    scores.details["constraints"] = obeyed
