"""The ways in which a run says no: to its input, to its own result, or as a person decided."""

from typing import Any


class RefusedError(Exception):
    """The run worked, and its answer is no. The message holds figures and counts, never a value of the table."""

    def __init__(self, message: str, report_uri: str, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.report_uri = report_uri
        self.details = details or {}


class ValidationRefusedError(RefusedError):
    """The real table breaks a critical expectation; nothing was trained."""


class GateRefusedError(RefusedError):
    """The synthetic table missed a critical threshold; nothing was published."""


class ApprovalRefusedError(RefusedError):
    """A person said no to the release; nothing was published."""
