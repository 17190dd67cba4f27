"""A user's own expectations as data: JSON or YAML, the form in which Great Expectations writes its suites.

    expectations:
      - type: expect_column_values_to_be_between
        kwargs: {column: age, min_value: 0, max_value: 120, mostly: 0.99}
        severity: warning            # critical (the default) stops the run, warning is reported
        notes: ages are self-reported

Only the form is checked here; whether a type and its kwargs exist is `expectations.load_suite`'s to say.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import yaml

from tvae_core.errors import TVAEError

Severity = Literal["critical", "warning"]
SEVERITIES: tuple[str, ...] = get_args(Severity)

# Great Expectations' own files carry these too; they decide nothing.
_SUITE_KEYS = {"expectations", "name", "notes", "meta", "id", "suite_parameters"}
_EXPECTATION_KEYS = {"type", "kwargs", "severity", "notes", "meta", "id", "description", "rendered_content"}


class SuiteError(TVAEError, ValueError):
    """A suite of expectations can't be used; the message names the file, the position and what is allowed."""


@dataclass(frozen=True)
class Expectation:
    """One expectation: Great Expectations' type, its arguments, and what a failure means."""

    type: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    severity: Severity = "critical"

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns whose values it looks at, in the order given, each once."""
        if self.type.startswith("expect_table_"):
            return ()  # a column_list there names columns to find, not to read
        named = [self.kwargs.get(key) for key in ("column", "column_A", "column_B")]
        named += list(self.kwargs.get("column_list") or ())
        return tuple(dict.fromkeys(str(name) for name in named if name is not None))


@dataclass(frozen=True)
class Suite:
    """Expectations under a name; `origin` is the file they came from, for messages."""

    name: str
    expectations: tuple[Expectation, ...]
    origin: str = "the suite"

    def where(self, position: int) -> str:
        """How messages call the expectation at this position (0-based)."""
        return f"{self.origin}: expectation {position + 1} ({self.expectations[position].type})"


def parse_suite(text: str, origin: str) -> Suite:
    """Read the text of a suite file, JSON or YAML.

    Raises:
        SuiteError: not JSON or YAML, an unknown key, a missing type, a severity other than critical or warning.
    """
    try:
        plain = json.loads(text) if origin.lower().endswith(".json") else yaml.safe_load(text)
    except (yaml.YAMLError, json.JSONDecodeError) as error:
        raise SuiteError(f"{origin}: expected JSON or YAML, however {_first_line(error)}") from None
    return suite_from_dict(plain, origin)


def suite_from_dict(plain: Any, origin: str = "the suite") -> Suite:
    """Read a suite in plain values; raises SuiteError as `parse_suite` does."""
    if not isinstance(plain, Mapping) or not isinstance(plain.get("expectations"), list):
        raise SuiteError(
            f"{origin}: expected the key `expectations` with a list of {{type, kwargs, severity}}"
        )
    _refuse_unknown(plain, _SUITE_KEYS, origin)
    read = tuple(
        _expectation(body, f"{origin}: expectation {position + 1}")
        for position, body in enumerate(plain["expectations"])
    )
    return Suite(str(plain.get("name") or origin), read, origin)


def _expectation(body: Any, where: str) -> Expectation:
    if not isinstance(body, Mapping):
        raise SuiteError(f"{where}: expected a mapping with type and kwargs, however: {type(body).__name__}")
    _refuse_unknown(body, _EXPECTATION_KEYS, where)
    kind = body.get("type")
    if not isinstance(kind, str):
        raise SuiteError(f"{where}: expected `type`, such as expect_column_values_to_not_be_null")
    severity = body.get("severity", "critical")
    if severity not in SEVERITIES:
        raise SuiteError(
            f"{where} ({kind}): severity must be one of {', '.join(SEVERITIES)}, however: {severity!r}"
        )
    kwargs = body.get("kwargs") or {}
    if not isinstance(kwargs, Mapping) or not all(isinstance(key, str) for key in kwargs):
        raise SuiteError(f"{where} ({kind}): kwargs must be a mapping from names to values")
    return Expectation(kind, dict(kwargs), severity)


def _refuse_unknown(plain: Mapping[Any, Any], allowed: set[str], where: str) -> None:
    unknown = sorted(str(key) for key in plain if key not in allowed)
    if unknown:
        raise SuiteError(
            f"{where}: unknown keys {', '.join(unknown)}: allowed are {', '.join(sorted(allowed))}"
        )


def _first_line(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    if mark is not None:
        return f"line {mark.line + 1}, column {mark.column + 1}: {getattr(error, 'problem', 'not YAML')}"
    return str(error).split("\n", maxsplit=1)[0]
