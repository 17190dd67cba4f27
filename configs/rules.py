"""One rule of the gate: a figure, its bound, and what happens beyond it."""

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal


def _explained(description: str, position: int, **bounds: Any) -> dict[str, Any]:
    """Metadata that pydantic reads from a plain dataclass, so that the rule needs no pydantic to be used."""
    return {"description": description, "json_schema_extra": {"position": position}, **bounds}


@dataclass(frozen=True)
class Rule:
    """A release passes when `metric` lies within the bounds; a figure that could not be computed does not pass.

    Raises `ValueError` when no bound is given, or when no number can satisfy both.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    metric: str = field(
        metadata=_explained("Name of the figure, such as fidelity.shape or privacy.exact_copies.", 0, min_length=1)
    )
    at_least: float | None = field(
        default=None,
        metadata=_explained("Smallest value that passes. Give this, at_most or both.", 1, allow_inf_nan=False),
    )
    at_most: float | None = field(
        default=None,
        metadata=_explained("Largest value that passes. Give this, at_least or both.", 2, allow_inf_nan=False),
    )
    severity: Literal["critical", "warning"] = field(
        default="critical",
        metadata=_explained("critical: the release is not published. warning: reported, and published.", 3),
    )
    why: str = field(default="", metadata=_explained("The judgement behind the number, shown in the report.", 4))

    def __post_init__(self) -> None:
        if self.at_least is None and self.at_most is None:
            raise ValueError(f"the rule on {self.metric} needs at_least, at_most or both")
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise ValueError(
                f"no value of {self.metric} is at least {self.at_least:g} and at most {self.at_most:g}: "
                "exchange at_least and at_most"
            )


DEFAULT_RULES = (
    Rule("fidelity.shape", at_least=0.9, why="Below this a column's distribution is visibly off."),
    Rule("fidelity.trend", at_least=0.85, why="Below this relations between pairs of columns are lost."),
    Rule("fidelity.c2st", at_most=0.95, severity="warning", why="Near 1 a classifier tells every row apart."),
    Rule("privacy.exact_copies", at_most=0.01, severity="warning", why="Compare with exact_copies_holdout."),
    Rule(
        "privacy.dcr_share",
        at_most=0.6,
        why="0.5 is no closer to the training rows than to rows never seen; well above it rows were memorised.",
    ),
)
"""The gate of a configuration that names none: nothing is ever published ungated by omission."""
