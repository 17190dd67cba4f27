"""The scores of one synthetic table, as plain values."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tasks.services.score_report import scores_markdown


@dataclass
class Scores:
    """The scores of one synthetic table.

    Attributes:
        figures: dotted name, such as ``fidelity.shape``, to number; always finite.
        reasons: name of a figure that could not be computed to the reason.
        inapplicable: name of a figure that there is nothing to compute for, such as the drift of a first release, to
            the reason; a rule on it passes.
        details: uncertainties, controls, and scores by column, pair and target; plain values.
        evidence: what a report draws, aggregated so that no group of fewer than ten real rows shows; plain values, kept
            in a file of their own. Not part of `to_dict`.
        timings: seconds by step. Not part of `to_dict`, which is the same for the same tables and seed.
    """

    figures: dict[str, float] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    inapplicable: dict[str, str] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    evidence: dict[str, Any] = field(default_factory=dict)
    timings: dict[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; no timings, so equal inputs give equal bytes."""
        return {
            "figures": dict(self.figures),
            "reasons": dict(self.reasons),
            "inapplicable": dict(self.inapplicable),
            "details": dict(self.details),
        }

    def join(self, other: "Scores") -> None:
        """Take over what another scoring of the same tables has found."""
        for name in ("figures", "reasons", "inapplicable", "details", "evidence", "timings"):
            _join(getattr(self, name), getattr(other, name))

    def to_markdown(self, title: str = "Scores") -> str:
        """A report that reads well in a terminal and in an orchestrator's page."""
        return scores_markdown(self.figures, self.reasons, self.details, title)

    def record(
        self, name: str, value: float, otherwise: str = "its value is not defined for these tables"
    ) -> None:
        """Keep a figure rounded to 6 decimals, or `otherwise` as the reason when it is not finite."""
        if math.isfinite(value):
            self.figures[name] = round(float(value), 6)
        else:
            self.reasons[name] = otherwise

    def explain(self, name: str, **about: float | int | str) -> None:
        """Keep what belongs to a figure: ``standard_error``, ``low`` and ``high``, ``control``, counts."""
        plain = {key: round(value, 6) if isinstance(value, float) else value for key, value in about.items()}
        self.details.setdefault("figures", {})[name] = plain


def _join(into: dict[str, Any], other: Mapping[str, Any]) -> None:
    """Add the entries of `other`; mappings that both hold are joined entry by entry, an empty list gives way."""
    for key, value in other.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _join(into[key], value)
        elif value != [] or key not in into:
            into[key] = value
