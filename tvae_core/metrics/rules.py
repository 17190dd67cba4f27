"""What a release must reach: rules as plain data that a configuration can hold, and the rules that ship."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from tvae_core.errors import SettingsError

Severity = Literal["critical", "warning"]


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


DEFAULT_RULES: tuple[Rule, ...] = (
    Rule(
        "fidelity.diagnostic",
        at_least=0.99,
        why="columns, types, ranges and categories must be the real table's",
    ),
    Rule("fidelity.shape", at_least=0.9, why="each column on its own must look real"),
    Rule("fidelity.trend", at_least=0.85, why="relations between columns must survive"),
    Rule(
        "fidelity.c2st",
        at_most=0.9,
        severity="warning",
        why="a classifier should not tell the tables apart with ease",
    ),
    Rule(
        "privacy.exact_copies_excess",
        at_most=0.005,
        why="more training rows are repeated than unseen real rows repeat by chance",
    ),
    Rule(
        "privacy.dcr_share",
        at_most=0.6,
        why="synthetic rows must not lie closer to training rows than to unseen ones",
    ),
    Rule(
        "privacy.dcr_median_ratio",
        at_least=0.8,
        severity="warning",
        why="the typical distance to training rows should equal that to unseen rows",
    ),
)


def default_rules(targets: Sequence[str] = ()) -> tuple[Rule, ...]:
    """Rules for a configuration that names none; each of the `targets` gets one on its utility."""
    return DEFAULT_RULES + tuple(
        Rule(
            f"utility.{target}.ratio",
            at_least=0.8,
            why="a model learnt from synthetic rows must predict real ones about as well as one learnt from real rows",
        )
        for target in targets
    )
