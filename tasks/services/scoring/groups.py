"""The figures by group: each group is computed by itself, in this process or in another."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks.services.evidence import Drawn, gather_evidence
from tasks.services.scores import Scores
from tasks.services.scoring import attacks, drift, fidelity, privacy, structure, utility
from tasks.services.scoring.tables import Tables
from tasks.services.steps import Step, Steps

if TYPE_CHECKING:
    from tvae_core import TVAE

PLOTS = "plots"
GROUPS = ("fidelity", "structure", "utility", "privacy", "attacks", "drift", PLOTS)
"""In the order in which their figures stand in the scores."""


@dataclass(frozen=True)
class Material:
    """What the groups work on beside the scores themselves; see `score_tables`."""

    tables: Tables
    generator: "TVAE | None"
    earlier: drift.OpenEarlier | None
    max_rows: int


def compute(group: str, run: Steps, scores: Scores, material: Material) -> None:
    """Run the steps of one group."""
    tables = material.tables
    if group == PLOTS:
        drawn = Drawn.of(tables.schema, tables.frames, tables.groups["real"], tables.seed)
        gather_evidence(run, scores, drawn, tables.sources["real"], material.generator, tables.seed)
        return
    for step in _steps(group, material):
        run.step(step.name, step.figures, step.compute, tables)


def _steps(group: str, material: Material) -> Sequence[Step]:
    tables = material.tables
    if group == "structure":
        return structure.steps(tables)
    if group == "utility":
        return utility.steps(tables.targets)
    if group == "drift":
        return drift.steps(material.earlier, material.max_rows)
    steady = {"fidelity": fidelity.steps, "privacy": privacy.steps, "attacks": attacks.steps}
    return steady[group]()
