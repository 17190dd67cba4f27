"""Decide whether a release may be published: rules on figures, failing closed.

A figure that is absent or not a number fails its rule: what could not be computed was not shown to be good. Only a
figure that there is nothing to compute for, such as the drift of a first release, passes without a value.
Rules and policies themselves live in `tvae_core.metrics.rules`, where a configuration can reach them; those that ship
are YAML files in `configs/policies`.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from tasks.services.markdown import escaped, number, table
from tvae_core.metrics.rules import Policy, Rule


@dataclass(frozen=True)
class RuleResult:
    """One rule applied to one figure.

    Attributes:
        metric: the figure, or the rule's pattern where nothing matched it.
        value: the figure, or None when it is absent or not a finite number.
        rule: the rule.
        passed: whether the figure lies within the rule's bounds.
        reason: what fell short, or why the figure does not apply, in words; empty otherwise.
    """

    metric: str
    value: float | None
    rule: Rule
    passed: bool
    reason: str = ""

    @property
    def blocks(self) -> bool:
        """Whether this result alone keeps the release from being published."""
        return not self.passed and self.rule.severity == "critical"


@dataclass(frozen=True)
class Verdict:
    """The gate's decision: it passes when no critical rule failed. `policy` is the name of what the rules come from."""

    results: tuple[RuleResult, ...]
    policy: str = ""

    @property
    def passed(self) -> bool:
        """Whether the release may be published."""
        return not any(result.blocks for result in self.results)

    @property
    def failures(self) -> tuple[RuleResult, ...]:
        """Results that block the release."""
        return tuple(result for result in self.results if result.blocks)

    @property
    def warnings(self) -> tuple[RuleResult, ...]:
        """Results that fell short without blocking."""
        return tuple(result for result in self.results if not result.passed and not result.blocks)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        results = [asdict(result) for result in self.results]
        return {"passed": self.passed, "policy": self.policy, "results": results}

    def to_markdown(self, title: str = "Gate") -> str:
        """What fell short in sentences, a table of figures and bounds, then what each rule that passed is for.

        Reasons stand outside the table: a page that is not wide cuts its last column off.
        """
        head = f"# {escaped(title)}: {'passed' if self.passed else 'not passed'}"
        if self.policy:
            head += f"\n\nPolicy: {escaped(self.policy)}"
        if not self.results:
            return f"{head}\n\nNo rules were given.\n"
        ordered = sorted(self.results, key=lambda result: (result.passed, not result.blocks))
        rows = [[escaped(r.metric), number(r.value, 4), r.rule.bounds, _outcome(r)] for r in ordered]
        body = table(["figure", "value", "bound", "result"], rows)
        short, held = (
            [_sentence(r) for r in ordered if r.passed is passed and (r.reason or r.rule.why)]
            for passed in (False, True)
        )
        parts = [
            head,
            "\n".join(short),
            body,
            "## What the other rules are for" if held else "",
            "\n".join(held),
        ]
        return "\n\n".join(part for part in parts if part) + "\n"


def apply_policy(
    figures: Mapping[str, float],
    policy: Policy,
    reasons: Mapping[str, str] | None = None,
    inapplicable: Mapping[str, str] | None = None,
) -> Verdict:
    """Apply a policy's rules to the figures; see `decide`."""
    return replace(decide(figures, policy.rules, reasons, inapplicable), policy=policy.name)


def decide(
    figures: Mapping[str, float],
    rules: Sequence[Rule],
    reasons: Mapping[str, str] | None = None,
    inapplicable: Mapping[str, str] | None = None,
) -> Verdict:
    """Apply every rule to the figures it names.

    A pattern such as ``utility.*.ratio`` covers every figure that matches, and every figure named in `reasons`
    that could not be computed; when neither matches, the rule fails. No rules at all pass everything.

    Args:
        figures: dotted name to number.
        rules: what must hold.
        reasons: name of a figure that could not be computed to the reason, shown in the result.
        inapplicable: name of a figure that there is nothing to compute for to the reason; its rules pass.
    """
    exempt = inapplicable or {}
    return Verdict(tuple(result for rule in rules for result in _apply(rule, figures, reasons or {}, exempt)))


def _apply(
    rule: Rule, figures: Mapping[str, float], reasons: Mapping[str, str], exempt: Mapping[str, str]
) -> Iterator[RuleResult]:
    names = _matching(rule.metric, list(dict.fromkeys([*figures, *reasons, *exempt])))
    if not names:
        yield RuleResult(rule.metric, None, rule, False, "no figure of this name was computed")
    for name in names:
        if name in exempt:
            yield RuleResult(name, None, rule, True, exempt[name])
        else:
            yield _judge(rule, name, figures.get(name), reasons.get(name, "it was not computed"))


def _matching(metric: str, names: Sequence[str]) -> list[str]:
    """Names that are the metric itself, or that its ``*`` match; no other character is special."""
    if metric in names:
        return [metric]
    pattern = re.compile(".*".join(map(re.escape, metric.split("*"))), re.DOTALL)
    return [name for name in names if pattern.fullmatch(name)]


def _judge(rule: Rule, name: str, value: float | None, absent: str) -> RuleResult:
    if value is None:
        return RuleResult(name, None, rule, False, absent)
    if not math.isfinite(value):
        return RuleResult(name, None, rule, False, "it is not a finite number")
    if rule.at_least is not None and value < rule.at_least:
        return RuleResult(name, value, rule, False, f"{value:.6g} is below {rule.at_least:g}")
    if rule.at_most is not None and value > rule.at_most:
        return RuleResult(name, value, rule, False, f"{value:.6g} is above {rule.at_most:g}")
    return RuleResult(name, value, rule, True)


def _sentence(result: RuleResult) -> str:
    said = ": ".join(escaped(text) for text in (result.reason, result.rule.why) if text)
    return f"- **{escaped(result.metric)}** {_outcome(result) + ', ' if not result.passed else ''}{said}"


def _outcome(result: RuleResult) -> str:
    if result.passed:
        return "passed" if result.value is not None else "does not apply"
    return "FAILED" if result.blocks else "warning"
