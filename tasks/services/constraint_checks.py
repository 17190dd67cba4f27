"""The constraints that a schema declares, checked against a table: how many rows break each, and which."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from tasks.services.validation_report import ROW_NUMBERS_KEPT, Outcome
from tvae_core.constraints import Constraint
from tvae_core.errors import TVAEError
from tvae_core.schema import TableSchema
from tvae_core.sources import TableSource


def check_constraints(source: TableSource, schema: TableSchema) -> Iterator[Outcome]:
    """One critical outcome for each constraint whose columns have the declared types (others are reported as such)."""
    for constraint in schema.constraints:
        columns = tuple(dict.fromkeys((*constraint.reads, *constraint.writes)))
        if all(_as_declared(source.schema, schema, name) for name in columns):
            yield _check(source, constraint, columns)


def _as_declared(found: pa.Schema, schema: TableSchema, name: str) -> bool:
    return name in found.names and found.field(name).type == schema.column(name).arrow_type


def _check(source: TableSource, constraint: Constraint, columns: tuple[str, ...]) -> Outcome:
    numbers: list[int] = []
    failed, first, error = 0, 0, None
    try:
        for broken in constraint.broken_rows(source):
            places = np.flatnonzero(broken)
            numbers += (first + places[: ROW_NUMBERS_KEPT - len(numbers)]).tolist()
            failed, first = failed + len(places), first + len(broken)
    except TVAEError as reason:  # such as infinities, which no domain of numbers holds
        error = str(reason)
    return Outcome(
        f"constraint_{constraint.kind}",
        ", ".join(columns),
        "critical",
        error is None and failed == 0,
        failed_rows=failed if error is None else None,
        row_numbers=tuple(numbers) if error is None else (),
        error=error,
        description=constraint.label,
    )
