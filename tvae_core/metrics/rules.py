"""What a release must reach: rules, and policies made of them, as plain data that a configuration can hold."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from tvae_core.errors import SettingsError

Severity = Literal["critical", "warning"]
TARGET = "{target}"


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


@dataclass(frozen=True)
class Rule:
    """Bounds for one figure, or for every figure that a pattern matches.

    Attributes:
        metric: a figure such as ``fidelity.shape``; ``*`` stands for any characters: ``utility.*.ratio``.
        at_least: smallest value that passes, or None.
        at_most: largest value that passes, or None; with both bounds the figure must lie between them.
        severity: ``critical`` blocks the release, ``warning`` is reported only.
        why: what the bound protects from, shown beside the result.

    Raises:
        SettingsError: no metric, no bound, a bound that is no finite number, bounds in the wrong order, or an
            unknown severity.
    """

    metric: str
    at_least: float | None = None
    at_most: float | None = None
    severity: Severity = "critical"
    why: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.metric, str) or not self.metric.strip():
            raise SettingsError(
                "expected a figure's name as `metric` of a gate rule, such as fidelity.shape, got none"
            )
        name = f"gate rule for {self.metric!r}"
        bounds = {"at_least": self.at_least, "at_most": self.at_most}
        for key, bound in bounds.items():
            if bound is not None and not _is_finite(bound):
                raise SettingsError(f"{name}: expected a finite number as {key}, however: {bound!r}")
        if self.at_least is None and self.at_most is None:
            raise SettingsError(f"{name}: expected at_least, at_most or both, however neither is given")
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise SettingsError(
                f"{name}: expected at_least <= at_most, however: {self.at_least} > {self.at_most}"
            )
        if self.severity not in get_args(Severity):
            raise SettingsError(f"{name}: expected severity critical or warning, however: {self.severity!r}")

    @property
    def bounds(self) -> str:
        """The bounds in words, such as ``>= 0.9``."""
        parts = []
        if self.at_least is not None:
            parts.append(f">= {self.at_least:g}")
        if self.at_most is not None:
            parts.append(f"<= {self.at_most:g}")
        return " and ".join(parts)


@dataclass(frozen=True)
class Policy:
    """Rules under a name.

    Attributes:
        name: what the policy is called in reports.
        rules: what a release must reach; ``{target}`` in a metric stands for each column that utility is measured on.
        description: whom such a release is for.

    Raises:
        SettingsError: no name.
    """

    name: str
    rules: tuple[Rule, ...]
    description: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip():
            raise SettingsError("expected a name for a gate's policy, such as partner, got none")

    def override(self, rules: Sequence[Rule]) -> "Policy":
        """This policy with `rules` in the place of its rules for the same metrics; the others are added."""
        given = {rule.metric for rule in rules}
        return replace(self, rules=tuple(r for r in self.rules if r.metric not in given) + tuple(rules))

    def for_targets(self, targets: Sequence[str]) -> "Policy":
        """This policy with every rule on ``{target}`` spelled out for each of `targets`.

        A rule that names its column goes before the general one.
        """
        named = {rule.metric for rule in self.rules}
        spelled: list[Rule] = []
        for rule in self.rules:
            if TARGET not in rule.metric:
                spelled.append(rule)
                continue
            metrics = (rule.metric.replace(TARGET, target) for target in targets)
            spelled += [replace(rule, metric=metric) for metric in metrics if metric not in named]
        return replace(self, rules=tuple(spelled))
