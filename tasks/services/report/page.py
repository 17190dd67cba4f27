"""What the page says, section by section, out of plain values: no figure is computed here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from markupsafe import Markup

from tasks.services.report.charts import Chart
from tasks.services.report.charts.curves import distance_chart, roc_chart, training_charts
from tasks.services.report.charts.distributions import difference, overlay_chart
from tasks.services.report.charts.gauges import attack_chart, gauge
from tasks.services.report.charts.maps import hexagon_charts, pair_charts
from tasks.services.report.charts.units import units_chart, use_charts
from tasks.services.report.figures import GROUPS, Figure, headlines, read_figures, title_of, written

MOST_COLUMNS = 60
"""Columns that are drawn, the least alike first; a wide table's others stand in the table of columns."""
DETECTION = ("fidelity.c2st", "fidelity.lr")
State = Literal["published", "refused", "unjudged"]
Outcome = Literal["failed", "warning", "passed", "inapplicable"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)


@dataclass(frozen=True)
class Findings:
    """Everything a report is made of; plain values as the stages write them, None where there is none.

    Attributes:
        title: what is reported on.
        scores: content of ``scores.json``.
        evidence: content of ``evidence.json``.
        verdict: content of the verdict's JSON.
        validation: content of ``validation.json``.
        history: the generator's records by epoch.
        facts: where it comes from: digests, rows, seed, versions (see `lineage`).
        constraints: what the schema declares to hold in every row, one sentence each.
        command: how to make it again.
    """

    title: str
    scores: Mapping[str, Any]
    evidence: Mapping[str, Any]
    verdict: Mapping[str, Any] | None = None
    validation: Mapping[str, Any] | None = None
    history: Sequence[Mapping[str, Any]] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    constraints: Sequence[str] = ()
    command: str = ""

    @property
    def state(self) -> State:
        """Whether the gate let it through."""
        if self.verdict is None:
            return "unjudged"
        return "published" if self.verdict["passed"] else "refused"


@dataclass(frozen=True)
class RuleView:
    """A rule and what became of it."""

    outcome: Outcome
    figure: Figure
    bound: str
    why: str
    reason: str
    line: Markup | None


@dataclass(frozen=True)
class FigureView:
    """A figure and its line."""

    figure: Figure
    line: Markup | None


@dataclass(frozen=True)
class Group:
    """Figures of one kind."""

    title: str
    figures: Sequence[FigureView]


def rules_of(findings: Findings, figures: Mapping[str, Figure]) -> list[RuleView]:
    """The gate's results, what blocks first."""
    results = (findings.verdict or {}).get("results", [])
    views = [_rule(i, result, figures) for i, result in enumerate(results)]
    return sorted(views, key=lambda view: OUTCOMES.index(view.outcome))


def _rule(number: int, result: Mapping[str, Any], figures: Mapping[str, Figure]) -> RuleView:
    name, rule = result["metric"], result["rule"]
    unknown = Figure(name, title_of(name), "", None, None, None, "", {}, result.get("reason", ""))
    figure = figures.get(name, unknown)
    parts = [("at least", rule.get("at_least")), ("at most", rule.get("at_most"))]
    bound = " and ".join(f"{word} {value:g}" for word, value in parts if value is not None)
    outcome: Outcome = "passed" if result["value"] is not None else "inapplicable"
    if not result["passed"]:
        outcome = "failed" if rule.get("severity", "critical") == "critical" else "warning"
    line = gauge(figure, f"rule-{number}", rule)
    return RuleView(outcome, figure, bound, rule.get("why", ""), result.get("reason", ""), line)


def verdict_sentence(findings: Findings, rules: Sequence[RuleView]) -> str:
    """What was decided and by what, in a sentence or two."""
    failed = [rule.figure.title for rule in rules if rule.outcome == "failed"]
    warned = sum(rule.outcome == "warning" for rule in rules)
    warnings = f"{warned} warning{'' if warned == 1 else 's'}"
    if findings.state == "unjudged":
        return "These figures were measured without a gate: nothing was decided on them."
    if findings.state == "refused":
        return f"{len(failed)} of {len(rules)} rules blocked this release, {warnings}: {', '.join(failed)}."
    held = sum(rule.outcome == "passed" for rule in rules)
    return f"{held} of {len(rules)} rules held, {warnings}; no rule that blocks was missed."


def figure_groups(figures: Mapping[str, Figure]) -> list[Group]:
    """All figures by the first part of their names, computed ones first."""
    names = list(dict.fromkeys([*GROUPS, *(figure.group for figure in figures.values())]))
    groups = []
    for group in names:
        own = sorted((f for f in figures.values() if f.group == group), key=lambda f: f.value is None)
        views = [FigureView(f, gauge(f, f"figure-{group}-{i}")) for i, f in enumerate(own)]
        if views:
            groups.append(Group(GROUPS.get(group, group.capitalize()), views))
    return groups


def column_charts(findings: Findings) -> tuple[list[Chart], int]:
    """The columns' plots, the least alike first, and how many are left out."""
    columns = findings.evidence.get("columns", [])
    scores = findings.scores["details"].get("columns", {})
    ordered = sorted(columns, key=lambda column: (_score(scores, column), -difference(column)))
    charts = [
        overlay_chart(f"column-{i}", column, scores.get(column["name"], {}).get("shape"))
        for i, column in enumerate(ordered[:MOST_COLUMNS])
    ]
    return charts, max(0, len(ordered) - MOST_COLUMNS)


def _score(scores: Mapping[str, Any], column: Mapping[str, Any]) -> float:
    shape = scores.get(column["name"], {}).get("shape")
    return 2.0 if shape is None else round(shape, 3)


def suppressed(evidence: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the page leaves out to protect rare values: column, and what was done."""
    out = []
    for column in evidence.get("columns", []):
        pooled = column.get("pooled") or {}
        if column["kind"] == "hidden":
            out.append((column["name"], "not drawn: too few rows beside the value that most hold"))
        elif pooled.get("levels"):
            out.append(
                (column["name"], f"{pooled['levels']} levels pooled, as rare or beyond the most frequent")
            )
    return out


def never_learned(privacy: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the generator's protection withheld from training: column, and how much, in words."""
    out = []
    for column, entry in privacy.get("suppressed", {}).items():
        known = ", known by their mean distance alone" if column in privacy.get("tails", ()) else ""
        clipped = entry["below"] + entry["above"]
        parts = [
            (entry["levels"], f"{entry['levels']:,} rare categories pooled ({entry['rows']:,} cells)"),
            (clipped, f"{clipped:,} extreme values clipped{known}"),
            (entry["dropped"], "nothing could be kept: the column is made anew, or missing"),
        ]
        out.append((column, "; ".join(text for there, text in parts if there)))
    return out


def moved(details: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Each column with its score against the release before, the one that moved most first."""
    columns = details.get("drift", {}).get("columns", {})
    listed = [
        (name, "could not be scored" if score is None else written(score)) for name, score in columns.items()
    ]
    return listed[:MOST_COLUMNS]


def projection_section(evidence: Mapping[str, Any]) -> list[Chart]:
    """Maps of the rows on the two leading components."""
    found = evidence.get("projection")
    if not found:
        return []
    axes = [
        f"component {i + 1} ({100 * found['explained'][i]:.0f} %): {', '.join(found['leading'][i])}"
        for i in (0, 1)
    ]
    return hexagon_charts("projection", found, ("Real", "Synthetic"), (axes[0], axes[1]))


def latent_section(evidence: Mapping[str, Any]) -> list[Chart]:
    """The units' bars, and maps of posterior and prior."""
    found = evidence.get("latent")
    if not found:
        return []
    axes = (f"unit {found['axes'][0]}", f"unit {found['axes'][1]}")
    return [
        units_chart(found["units"]),
        *hexagon_charts("latent", found, ("Real rows, encoded", "Prior"), axes),
    ]


def flat(plain: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Nested values as (dotted name, text), in order."""
    if isinstance(plain, Mapping):
        return [
            row
            for key, value in plain.items()
            for row in flat(value, f"{prefix}.{key}" if prefix else str(key))
        ]
    if isinstance(plain, list | tuple):
        return [(prefix, ", ".join(str(item) for item in plain) or "none")]
    return [(prefix, "none" if plain is None else str(plain))]


def build(findings: Findings) -> dict[str, Any]:
    """The template's variables."""
    figures = read_figures(findings.scores)
    rules = rules_of(findings, figures)
    bounds = {result["metric"]: result["rule"] for result in (findings.verdict or {}).get("results", [])}
    charts, left_out = column_charts(findings)
    evidence, details = findings.evidence, findings.scores["details"]
    closest, attacks = evidence.get("closest"), details.get("attacks")
    detector = evidence.get("detector")
    outcomes = (findings.validation or {}).get("outcomes", [])
    return {
        "findings": findings,
        "rows": details.get("rows", {}),
        "rows_used": details.get("rows_used", {}),
        "rules": rules,
        "sentence": verdict_sentence(findings, rules),
        "headlines": [
            FigureView(f, gauge(f, f"headline-{i}", bounds.get(f.name)))
            for i, f in enumerate(headlines(figures))
        ],
        "groups": figure_groups(figures),
        "earlier": details.get("drift", {}).get("earlier"),
        "moved": moved(details),
        "columns": charts,
        "columns_left_out": left_out,
        "column_scores": details.get("columns", {}),
        "pairs": pair_charts(evidence["pairs"]) if evidence.get("pairs") else [],
        "projection": projection_section(evidence),
        "detected": [
            FigureView(f, gauge(f, f"detected-{i}", bounds.get(f.name)))
            for i, f in enumerate(figures.values())
            if f.name in DETECTION and f.value is not None
        ],
        "detector": [roc_chart(detector, findings.scores["figures"])] if detector else [],
        "privacy": [
            *([distance_chart(closest)] if closest else []),
            *([attack_chart(attacks)] if attacks else []),
        ],
        "closest": bool(closest),
        "attacks": bool(attacks),
        "training": [*training_charts(findings.history), *use_charts(findings.history)]
        if findings.history and "loss" in findings.history[0]
        else [],
        "latent": latent_section(evidence),
        "suppressed": suppressed(evidence),
        "never_learned": never_learned(findings.facts.get("privacy", {})),
        "protect_k": findings.facts.get("privacy", {}).get("protect_k"),
        "private": findings.facts.get("privacy", {}).get("differential_privacy"),
        "fewest": evidence.get("fewest"),
        "failed_checks": [o for o in outcomes if not o["passed"]],
        "checks": len(outcomes),
        "absent": [(title_of(name), reason) for name, reason in findings.scores["reasons"].items()],
        "inapplicable": [
            (title_of(name), why) for name, why in findings.scores.get("inapplicable", {}).items()
        ],
        "facts": flat(findings.facts),
        "sdmetrics": details.get("sdmetrics"),
    }
