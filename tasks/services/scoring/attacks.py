"""Privacy by attack: what an attacker gains on training rows beyond what the same attack gains on the holdout.

Every risk has a figure of its own name and one with ``_low``, the lower end of its 95 % interval: above 0 when, and
only when, the attack beats its control.
"""

from collections.abc import Mapping
from typing import Any

from tasks.services.scores import Scores
from tasks.services.scoring.tables import Tables
from tasks.services.steps import Step
from tvae_core.metrics import Risk, inference, linkability, membership, secret_columns, singling_out
from tvae_core.metrics.combinations import rare_combinations
from tvae_core.metrics.risk import worst


def steps() -> list[Step]:
    """The steps of this group."""
    risks = [("singling out", _singling_out), ("linkability", _linkability), ("inference", _inference)]
    risks.append(("rare combinations", _rare_combinations))
    found = []
    for title, compute in risks:
        name = f"privacy.{title.replace(' ', '_')}"
        found.append(Step(title, [name, f"{name}_low"], compute))
    return [*found, Step("membership", ["privacy.membership_auc", "privacy.membership_tpr"], _membership)]


def _singling_out(scores: Scores, tables: Tables) -> None:
    _record(scores, "singling_out", singling_out(*tables.three, seed=tables.seed))


def _linkability(scores: Scores, tables: Tables) -> None:
    _record(scores, "linkability", {"halves": linkability(*tables.three, seed=tables.seed)})


def _inference(scores: Scores, tables: Tables) -> None:
    secrets = secret_columns(tables.real, tables.targets)
    _record(scores, "inference", inference(*tables.three, secrets, seed=tables.seed))


def _rare_combinations(scores: Scores, tables: Tables) -> None:
    owners = tables.groups["real"], tables.groups.get("holdout")
    risk = rare_combinations(*tables.three, entities=owners, seed=tables.seed)
    _record(scores, "rare_combinations", {"three columns": risk})


def _membership(scores: Scores, tables: Tables) -> None:
    found = membership(*tables.three, entities=tables.groups.get("holdout"), seed=tables.seed)
    counts = {"members": found.members, "non_members": found.non_members, "reference": found.reference}
    scores.record("privacy.membership_auc", found.auc)
    scores.explain("privacy.membership_auc", low=found.low, high=found.high, control=0.5, **counts)
    scores.record("privacy.membership_tpr", found.tpr)
    scores.explain("privacy.membership_tpr", low=found.tpr_low, high=found.tpr_high, control=0.01, **counts)


def _record(scores: Scores, attack: str, risks: Mapping[str, Risk]) -> None:
    """The worst of several risks as the figure, all of them in the details."""
    name = f"privacy.{attack}"
    which = worst(dict(risks))
    scores.record(name, risks[which].value)
    scores.record(f"{name}_low", risks[which].low)
    scores.explain(name, worst=which, **_about(risks[which]))
    scores.details["attacks"][attack] = {part: _rounded(_about(risk)) for part, risk in risks.items()}


def _about(risk: Risk) -> dict[str, Any]:
    return {
        "value": risk.value,
        "low": risk.low,
        "high": risk.high,
        "rate": risk.rate,
        "control": risk.control,
        "attacks": risk.attacks,
        "controls": risk.controls,
    }


def _rounded(about: Mapping[str, Any]) -> dict[str, Any]:
    return {key: round(value, 6) if isinstance(value, float) else value for key, value in about.items()}
