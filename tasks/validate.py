"""Stage 2: check the real table against the schema and the user's own expectations."""

from collections.abc import Sequence

from prefect import task
from prefect.artifacts import create_markdown_artifact

from tasks.progress import say
from tasks.references import FileRef, TableRef, Workspace
from tasks.refusals import ValidationRefusedError
from tasks.services.expectations import Outcome, count_rows, load_suite, validate_table
from tasks.services.planning import read_schema
from tasks.services.tables import open_table
from tasks.services.tally import Tally
from tasks.services.workspace import RunFiles
from tasks.stage import STAGE

REPORT = "validation.json"


@task(name="validate", **STAGE)
def validate_input(
    table: TableRef,
    schema: FileRef,
    expectations: str | None,
    workspace: Workspace,
    counted: Sequence[Sequence[Tally]] | None = None,
) -> FileRef:
    """Stop the run with `ValidationRefusedError` on a critical failure; warnings are reported and pass.

    `counted` is what `count_shard` found in the table's shards; without it the rows are counted here.
    """
    files = RunFiles(workspace)
    suite = load_suite(expectations) if expectations else None
    with open_table(table) as source:
        report = validate_table(source, read_schema(schema.uri), suite, counted)
    reference = files.write_json(REPORT, report.to_dict())
    markdown = report.to_markdown()
    readable = files.write_text("validation.md", markdown)
    create_markdown_artifact(markdown, key="validation", description="Checks of the real table")
    failed = [outcome for outcome in report.outcomes if not outcome.passed]
    critical = [outcome for outcome in failed if outcome.severity == "critical"]
    if not report.passed:
        raise ValidationRefusedError(
            f"the table breaks {len(critical)} critical expectation(s), nothing was trained:\n"
            + "\n".join(f"  {_describe(outcome)}" for outcome in critical),
            readable.uri,
            report.to_dict(),
        )
    for outcome in failed:
        say("validate", f"warning: {_describe(outcome)}")
    say("validate", f"{len(report.outcomes)} expectations, {len(failed)} warning(s), passed")
    return reference


@task(name="validate-shard", **STAGE)
def count_shard(first: int, shard: TableRef, schema: FileRef, expectations: str | None) -> list[Tally]:
    """Count what breaks the expectations about single rows in a part of a table, whose first row is `first`."""
    suite = load_suite(expectations) if expectations else None
    with open_table(shard) as source:
        return count_rows(source, read_schema(schema.uri), suite, first)


def _describe(outcome: Outcome) -> str:
    """Which expectation, how many rows, which row numbers; never a value."""
    what = f"{outcome.expectation} on {outcome.column}" if outcome.column else outcome.expectation
    if outcome.error:
        return f"{what}: could not be checked: {outcome.error}"
    rows = ", ".join(map(str, outcome.row_numbers))
    return f"{what}: {outcome.failed_rows} row(s)" + (f", the first at {rows}" if rows else "")
