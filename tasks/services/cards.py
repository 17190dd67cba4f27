"""What a recipient reads first: a data card and a model card, each as JSON and as Markdown.

They hold counts, settings and figures, never a value of the real table.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.services.markdown import escaped, number, table
from tvae_core.metrics.rules import Rule
from tvae_core.schema import TableSchema

SYNTHETIC = "Every row is synthetic: drawn from a model. No row describes a person or a thing that exists."
LIMITATIONS = (
    "Rare combinations, and relations among more than a few columns, are the least faithful.",
    "Figures were measured against this one real table: they say nothing of other populations.",
    "Conclusions about single people, or that matter to people, need the real table.",
    "The privacy figures are tests that this release passed, not a proof that no attack succeeds.",
)
UNSTATED = "not stated"


@dataclass(frozen=True)
class Facts:
    """What both cards draw from: names, `lineage`, `terms`, schema, the gate's `verdict` and the scores."""

    name: str
    version: str
    lineage: Mapping[str, Any]
    terms: Mapping[str, str | None]
    schema: TableSchema
    columns: Sequence[Mapping[str, str]]
    verdict: Mapping[str, Any]
    scores: Mapping[str, Any]


def data_card(facts: Facts) -> dict[str, Any]:
    """What the table is, where it comes from, and what it may be used for."""
    kinds = {column.name: column.kind.value for column in facts.schema.columns}
    lineage = facts.lineage
    return {
        "name": facts.name,
        "version": facts.version,
        "synthetic": True,
        "statement": SYNTHETIC,
        "rows": lineage["synthetic"]["rows"],
        "columns": [{**column, "kind": kinds.get(column["name"], "")} for column in facts.columns],
        **facts.terms,
        "origin": {
            "input_digest": lineage["input"]["digest"],
            "real_rows": lineage["input"]["rows"],
            **lineage["split"],
            "generator": lineage["generator"],
        },
        "gate": {
            "policy": facts.verdict["policy"],
            "passed": facts.verdict["passed"],
            "rules": [_rule(result) for result in facts.verdict["results"]],
        },
        "not_measured": dict(facts.scores["reasons"]),
        "limitations": list(LIMITATIONS),
    }


def model_card(facts: Facts) -> dict[str, Any]:
    """What the generator is, what it learnt from, and how well its rows do."""
    lineage, about = facts.lineage, facts.scores["details"].get("figures", {})
    return {
        **lineage["generator"],
        "kind": "tabular variational autoencoder (TVAE)",
        "settings": lineage["model"],
        "seed": lineage["seed"],
        "code": f"tvae-pipeline {lineage['code']}",
        "trained_on": {
            "input_digest": lineage["input"]["digest"],
            "rows": lineage["split"]["train_rows"],
            "held_out": lineage["split"]["holdout_rows"],
        },
        "measured": {
            name: {"value": value, **about.get(name, {})} for name, value in facts.scores["figures"].items()
        },
        "intended_use": facts.terms["intended_use"],
        "limitations": list(LIMITATIONS),
    }


def data_card_markdown(card: Mapping[str, Any]) -> str:
    """The data card as a page."""
    origin, gate = card["origin"], card["gate"]
    terms = [
        ["licence", _stated(card["licence"])],
        ["intended use", _stated(card["intended_use"])],
        ["contact", _stated(card["contact"])],
        ["rows", f"{card['rows']:,}"],
        ["generator", f"{escaped(origin['generator']['name'])} {escaped(origin['generator']['version'])}"],
        ["learnt from", f"{origin['train_rows']:,} of {origin['real_rows']:,} real rows"],
        ["real table's digest", origin["input_digest"][:16]],
    ]
    columns = [[escaped(c["name"]), c["kind"], escaped(c["type"])] for c in card["columns"]]
    rules = [
        [escaped(r["metric"]), number(r["value"], 4), r["bounds"], r["result"], escaped(r["why"])]
        for r in gate["rules"]
    ]
    unmeasured = [f"- {escaped(name)}: {escaped(why)}" for name, why in card["not_measured"].items()]
    return _page(
        f"# Data card: {escaped(card['name'])} {escaped(card['version'])}",
        card["statement"],
        table(["", ""], terms),
        "## Columns",
        table(["column", "kind", "type"], columns),
        f"## Gate: policy {escaped(gate['policy'])}, {'passed' if gate['passed'] else 'not passed'}",
        table(["figure", "value", "bound", "result", "why it matters"], rules) if rules else "No rules.",
        *(["## Not measured", "\n".join(unmeasured)] if unmeasured else []),
        "## Limitations",
        "\n".join(f"- {line}" for line in card["limitations"]),
    )


def model_card_markdown(card: Mapping[str, Any]) -> str:
    """The model card as a page."""
    trained = card["trained_on"]
    about = [
        ["kind", card["kind"]],
        ["digest", card["digest"][:16]],
        ["code", card["code"]],
        ["seed", str(card["seed"])],
        ["trained on", f"{trained['rows']:,} rows of the table {trained['input_digest'][:16]}"],
        ["held out", f"{trained['held_out']:,} rows"],
        ["intended use", _stated(card["intended_use"])],
    ]
    settings = [[name, escaped(str(value))] for name, value in card["settings"].items()]
    figures = [[escaped(name), number(body["value"], 4)] for name, body in card["measured"].items()]
    return _page(
        f"# Model card: {escaped(card['name'])} {escaped(card['version'])}",
        table(["", ""], about),
        "## Measured",
        table(["figure", "value"], figures),
        "## Settings",
        table(["setting", "value"], settings),
        "## Limitations",
        "\n".join(f"- {line}" for line in card["limitations"]),
    )


def _rule(result: Mapping[str, Any]) -> dict[str, Any]:
    """One rule's result: what was asked, what was found, what came of it."""
    rule = Rule(**result["rule"])
    outcome = "passed" if result["passed"] else "failed" if rule.severity == "critical" else "warning"
    return {
        "metric": result["metric"],
        "value": result["value"],
        "bounds": rule.bounds,
        "severity": rule.severity,
        "result": outcome,
        "why": rule.why,
    }


def _stated(text: str | None) -> str:
    return escaped(text) if text else UNSTATED


def _page(*parts: str) -> str:
    return "\n\n".join(parts) + "\n"
