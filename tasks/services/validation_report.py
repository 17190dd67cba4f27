"""What a validation found, for people and for machines: counts and row numbers, never a cell's value."""

from dataclasses import asdict, dataclass
from typing import Any

from tasks.services.suites import Severity

ROW_NUMBERS_KEPT = 20


@dataclass(frozen=True)
class Outcome:
    """What became of one expectation.

    Attributes:
        expectation: its type, as Great Expectations calls it.
        column: the column or columns it looks at, joined by ", "; None for the table as a whole.
        severity: "critical" stops a run, "warning" is reported.
        failed_rows: number of rows that fail; None where the expectation is not about single rows.
        row_numbers: the first 20 of them, 0-based over the whole table.
        error: why it could not be evaluated; it then counts as failed.
        description: the expectation in plain words.
        detail: what was found where that is a name, a type or a count.
    """

    expectation: str
    column: str | None
    severity: Severity
    passed: bool
    failed_rows: int | None = None
    row_numbers: tuple[int, ...] = ()
    error: str | None = None
    description: str = ""
    detail: str | None = None

    def summary(self) -> str:
        """One line: which expectation, and what is wrong where something is."""
        what = f"{self.column}: {self.description}" if self.column else self.description
        return what if self.passed else f"{what} ({self.finding()})"

    def finding(self) -> str:
        """What is wrong, in a few words."""
        if self.error:
            return f"could not be checked: {self.error}"
        if self.detail:
            return self.detail
        if self.failed_rows is None:
            return "does not hold"
        rows = ", ".join(str(number) for number in self.row_numbers)
        more = ", ..." if self.failed_rows > len(self.row_numbers) else ""
        count = f"{self.failed_rows:,} row{'' if self.failed_rows == 1 else 's'} failing"
        return f"{count}, number {rows}{more}" if rows else count


@dataclass(frozen=True)
class ValidationReport:
    """The outcomes of all expectations on one table, in the order in which they were declared."""

    rows: int
    outcomes: tuple[Outcome, ...]

    @property
    def passed(self) -> bool:
        """Whether no critical expectation failed or could not be checked."""
        return not self.failures("critical")

    def failures(self, severity: Severity) -> tuple[Outcome, ...]:
        """The failed outcomes of that severity."""
        return tuple(o for o in self.outcomes if not o.passed and o.severity == severity)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        outcomes = [{**asdict(o), "row_numbers": list(o.row_numbers)} for o in self.outcomes]
        return {"passed": self.passed, "rows": self.rows, "outcomes": outcomes}

    def to_markdown(self) -> str:
        """The report for people: the verdict, what failed, what is to be looked at, how much passed."""
        critical, warnings = self.failures("critical"), self.failures("warning")
        verdict = "passed" if self.passed else "failed: the table is not fit for training"
        passed = sum(o.passed for o in self.outcomes)
        lines = [
            f"# Validation {verdict}",
            "",
            f"{self.rows:,} rows, {len(self.outcomes)} expectations: {passed} passed, "
            f"{len(critical)} critical failed, {_count(len(warnings), 'warning')}.",
        ]
        lines += _section("Critical failures", critical)
        lines += _section("Warnings", warnings)
        if critical or warnings:
            lines += [
                "",
                "Row numbers begin with 0 and run over all parts of the table; the first 20 are listed.",
            ]
        return "\n".join(lines) + "\n"


def _section(title: str, outcomes: tuple[Outcome, ...]) -> list[str]:
    if not outcomes:
        return []
    head = ("severity", "column", "expectation", "rows failing", "first row numbers")
    rows = [head, *(_row(outcome) for outcome in outcomes)]
    # Padded, so that the table reads as well on a terminal as in a browser; a long cell must not widen all others.
    widths = [min(max(len(row[i]) for row in rows), 60) for i in range(len(head))]
    table = [
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    rule = "|" + "|".join("-" * (w + 2) for w in widths) + "|"
    return ["", f"## {title}", "", table[0], rule, *table[1:]]


def _row(outcome: Outcome) -> tuple[str, str, str, str, str]:
    what = outcome.description
    if outcome.error or outcome.detail:
        what = f"{what}; {outcome.finding()}"
    rows = ", ".join(str(number) for number in outcome.row_numbers)
    if rows and outcome.failed_rows is not None and outcome.failed_rows > len(outcome.row_numbers):
        rows += ", ..."
    failing = "" if outcome.failed_rows is None else f"{outcome.failed_rows:,}"
    return outcome.severity, _cell(outcome.column or "(table)"), _cell(what), failing, rows


def _cell(text: str) -> str:
    """Text that can't break out of its cell."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ").replace("\r", " ")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
