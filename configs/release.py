"""What a release is called, what it may be used for, and what it holds."""

from typing import Any, Literal

from configs.section import SEGMENT, Section, described


class ReleaseSection(Section):
    """What the release is called, what it may be used for, and what it holds."""

    version: str | None = described(
        0,
        "Version of the release, never overwritten. Empty: derived from input, settings and code, so that the same "
        "run again is the same release.",
        default=None,
        pattern=SEGMENT,
        max_length=64,
    )
    licence: str | None = described(
        1,
        "Licence of the release: an SPDX identifier such as CC-BY-4.0, or an address; at most 500 characters.",
        default=None,
        min_length=1,
        max_length=500,
    )
    intended_use: str | None = described(
        2,
        "What the release may be used for; at most 2,000 characters.",
        default=None,
        min_length=1,
        max_length=2_000,
    )
    contact: str | None = described(
        3,
        "Whom to ask about the release; at most 500 characters.",
        default=None,
        min_length=1,
        max_length=500,
    )
    approval: Literal["none", "required"] = described(
        5,
        "required: what passed the gate waits until a person has said yes, in Prefect's UI or with `tvae approve`.",
        default="none",
    )
    approval_hours: float = described(
        6,
        "Hours that a release waits for a decision, above 0, at most 8760 (a year); then it is not published.",
        default=72.0,
        gt=0,
        le=8760,
    )
    csv: bool = described(4, "Also put the rows into the release as CSV.", default=False)

    def terms(self) -> dict[str, Any]:
        """What the release states beside its data; together with the data it decides what the release is."""
        return self.model_dump(include={"licence", "intended_use", "contact", "csv"})
