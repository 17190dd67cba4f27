"""What a release must reach: a policy that ships or one's own, and the rules of this dataset."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from configs.form import ExplainedByDocstring
from configs.section import Section, absolute_address, described
from tvae_core.metrics.rules import Rule

_FOLDER = Path(__file__).parent / "policies"
SHIPPED = ("internal", "partner", "public")
"""The policies that ship, from the loosest to the strictest."""
DEFAULT_POLICY = "internal"
GateRule = Annotated[Rule, ExplainedByDocstring(Rule)]


def is_shipped(policy: str) -> bool:
    """Whether `policy` is meant as a name and not as the address of a file."""
    return not set("/.:") & set(policy)


def shipped_text(name: str) -> str:
    """The YAML of a policy that ships. Raises ValueError naming those that there are."""
    if name not in SHIPPED:
        raise ValueError(
            f"there is no policy {name!r}: the policies {', '.join(SHIPPED)} ship; one of your own is given by its "
            "address, a path or s3://..."
        )
    return (_FOLDER / f"{name}.yaml").read_text(encoding="utf-8")


def _policy(value: str) -> str:
    if is_shipped(value):
        shipped_text(value)
        return value
    return absolute_address(value)


class PolicyFile(Section):
    """A policy as a YAML file holds it."""

    name: str = described(0, "What the policy is called in reports.", min_length=1)
    description: str = described(1, "Whom such a release is for.", default="")
    rules: tuple[GateRule, ...] = described(
        2, "What must hold; {target} in a metric stands for each of score.targets."
    )


class GateSection(Section):
    """What a release must reach to be published."""

    policy: Annotated[str, AfterValidator(_policy)] | None = described(
        0,
        "internal, partner, public, or the address of a YAML file of your own with name and rules. Empty: internal, "
        "or the rules below alone where there are some.",
        default=None,
    )
    rules: tuple[GateRule, ...] | None = described(
        1,
        "One rule a figure; a figure that could not be computed does not pass. Beside a policy, a rule takes the "
        "place of the policy's rule for the same metric. An empty list and no policy: everything is published.",
        default=None,
    )
