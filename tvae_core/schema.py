"""What a table's columns are: declared by the user, proposed by `infer_schema`.

Kinds are declared and inference only proposes: what was inferred is meant to be printed, corrected and kept.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import pyarrow as pa

from tvae_core.arrow_types import is_number, is_temporal, is_text, parse_type, unsupported_reason
from tvae_core.constraints import (
    Constraint,
    check_constraints,
    constraint_to_dict,
    constraints_from_list,
)
from tvae_core.errors import SchemaError
from tvae_core.sources import as_source
from tvae_core.summary import ColumnSummary, summarise

IDENTIFIER_NAME = re.compile(r"(^|[_\W])(id|uuid|guid|key|identifier)$", re.IGNORECASE)
# Below this many rows, "all values differ" says little about a text column.
FEWEST_ROWS_FOR_IDENTIFIER = 20


class ColumnKind(StrEnum):
    """How a column is modelled."""

    CONTINUOUS = "continuous"
    CATEGORICAL = "categorical"
    BOOLEAN = "boolean"
    DATETIME = "datetime"
    IDENTIFIER = "identifier"


@dataclass(frozen=True)
class ColumnSchema:
    """One column: its name, how it is modelled, its Arrow type as text, and what its values may be.

    `minimum` and `maximum` are numbers, or ISO text for dates and timestamps. None means: not restricted.
    """

    name: str
    kind: ColumnKind
    type: str
    nullable: bool = True
    minimum: int | float | str | None = None
    maximum: int | float | str | None = None
    categories: tuple[str | int | float | bool, ...] | None = None

    def __post_init__(self) -> None:
        arrow = self.arrow_type
        reason = unsupported_reason(arrow)
        if reason:
            raise SchemaError(f"column {self.name!r} has type {self.type}: {reason}")
        if self.kind not in allowed_kinds(arrow):
            allowed = ", ".join(allowed_kinds(arrow))
            raise SchemaError(
                f"column {self.name!r} of type {self.type} can't be {self.kind}: expected one of {allowed}"
            )
        if self.categories is not None and self.kind is not ColumnKind.CATEGORICAL:
            raise SchemaError(
                f"column {self.name!r} lists categories but its kind is {self.kind}, not categorical"
            )

    @property
    def arrow_type(self) -> pa.DataType:
        """The Arrow type that `type` spells. Raises SchemaError when it spells none."""
        return parse_type(self.type)

    def to_dict(self) -> dict[str, Any]:
        """The column as plain values, without what is not restricted."""
        out: dict[str, Any] = {"kind": str(self.kind), "type": self.type, "nullable": self.nullable}
        for key in ("minimum", "maximum"):
            if getattr(self, key) is not None:
                out[key] = getattr(self, key)
        if self.categories is not None:
            out["categories"] = list(self.categories)
        return out


def allowed_kinds(arrow: pa.DataType) -> tuple[ColumnKind, ...]:
    """The kinds that a column of this Arrow type may have, the proposed one first."""
    if pa.types.is_boolean(arrow):
        return (ColumnKind.BOOLEAN, ColumnKind.CATEGORICAL)
    if is_temporal(arrow):
        return (ColumnKind.DATETIME, ColumnKind.CATEGORICAL)
    if is_number(arrow):
        return (ColumnKind.CONTINUOUS, ColumnKind.CATEGORICAL, ColumnKind.IDENTIFIER)
    return (ColumnKind.CATEGORICAL, ColumnKind.IDENTIFIER)


@dataclass(frozen=True)
class TableSchema:
    """A table's columns in order, the column that names the entity behind a row, and the fewest rows accepted.

    `constraints` are rules that every row of the table obeys and every sampled row will obey.
    """

    columns: tuple[ColumnSchema, ...]
    entity: str | None = None
    minimum_rows: int = 2
    constraints: tuple[Constraint, ...] = ()

    def __post_init__(self) -> None:
        if not self.columns:
            raise SchemaError("a schema needs at least one column, but it has none")
        repeated = sorted({c.name for c in self.columns if self.names.count(c.name) > 1})
        if repeated:
            raise SchemaError(f"column names must be unique, but these stand twice: {', '.join(repeated)}")
        if self.entity is not None and self.entity not in self.names:
            raise SchemaError(f"entity {self.entity!r} is not one of the columns: {', '.join(self.names)}")
        if self.minimum_rows < 1:
            raise SchemaError(f"minimum_rows must be at least 1, but it is {self.minimum_rows}")
        check_constraints(self.constraints, {c.name: c for c in self.columns})

    @property
    def names(self) -> list[str]:
        """The column names in order."""
        return [c.name for c in self.columns]

    def column(self, name: str) -> ColumnSchema:
        """The column of that name. Raises SchemaError when there is none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise SchemaError(f"no column {name!r}: expected one of {', '.join(self.names)}")

    def of_kind(self, *kinds: ColumnKind) -> list[str]:
        """The names of the columns of these kinds, in order."""
        return [c.name for c in self.columns if c.kind in kinds]

    def arrow_schema(self) -> pa.Schema:
        """The Arrow schema that the columns' types spell."""
        return pa.schema([pa.field(c.name, c.arrow_type, nullable=c.nullable) for c in self.columns])

    def to_dict(self) -> dict[str, Any]:
        """The schema as plain values, ready for YAML or JSON."""
        out: dict[str, Any] = {"minimum_rows": self.minimum_rows}
        if self.entity is not None:
            out["entity"] = self.entity
        out["columns"] = {c.name: c.to_dict() for c in self.columns}
        if self.constraints:
            out["constraints"] = [constraint_to_dict(c) for c in self.constraints]
        return out

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "TableSchema":
        """Read what `to_dict` wrote, or what a user wrote in that form.

        Raises SchemaError naming the key and what was expected there.
        """
        _refuse_unknown(plain, {"columns", "entity", "minimum_rows", "constraints"}, "the schema")
        columns = plain.get("columns")
        if not isinstance(columns, Mapping):
            raise SchemaError("a schema needs `columns`: a mapping from column name to {kind, type, ...}")
        minimum_rows = plain.get("minimum_rows", 2)
        if not isinstance(minimum_rows, int) or isinstance(minimum_rows, bool):
            raise SchemaError(f"minimum_rows must be an integer, but it is a {type(minimum_rows).__name__}")
        read = tuple(_column_from_dict(str(name), body) for name, body in columns.items())
        constraints = constraints_from_list(plain.get("constraints") or ())
        return cls(read, plain.get("entity"), minimum_rows, constraints)


def _refuse_unknown(plain: Mapping[str, Any], allowed: Iterable[str], where: str) -> None:
    unknown = sorted(set(map(str, plain)) - set(allowed))
    if unknown:
        raise SchemaError(
            f"{where} has unknown keys {', '.join(unknown)}: expected only {', '.join(sorted(allowed))}"
        )


def _column_from_dict(name: str, body: Any) -> ColumnSchema:
    where = f"column {name!r}"
    if not isinstance(body, Mapping):
        raise SchemaError(f"{where} must be a mapping with kind and type, but it is a {type(body).__name__}")
    _refuse_unknown(body, {"kind", "type", "nullable", "minimum", "maximum", "categories"}, where)
    kinds = [str(k) for k in ColumnKind]
    if body.get("kind") not in kinds:
        raise SchemaError(f"{where}: kind must be one of {', '.join(kinds)}")
    if not isinstance(body.get("type"), str):
        raise SchemaError(f"{where}: type must be an Arrow type as text, such as int64, double or string")
    nullable = body.get("nullable", True)
    if not isinstance(nullable, bool):
        raise SchemaError(f"{where}: nullable must be true or false")
    for key in ("minimum", "maximum"):
        if not isinstance(body.get(key), int | float | str | None):
            raise SchemaError(f"{where}: {key} must be a number, or ISO text for dates")
    categories = body.get("categories")
    if categories is not None and not isinstance(categories, list | tuple):
        raise SchemaError(f"{where}: categories must be a list")
    return ColumnSchema(
        name, ColumnKind(body["kind"]), body["type"], nullable, body.get("minimum"), body.get("maximum"),
        None if categories is None else tuple(categories),
    )  # fmt: skip


def infer_schema(data: Any, *, ranges: bool = False) -> TableSchema:
    """Propose a schema for a table: kinds, types and nullability, and with `ranges` what its values cover.

    `data` is anything that `as_source` takes. A text column whose values all differ, and an integer column
    whose values all differ and that is named or numbered like a key, are proposed as identifiers.
    Raises DataError when the table can't be read, SchemaError for a column type that is not supported.
    """
    source = as_source(data)
    refuse_unsupported(source.schema)
    columns = []
    for summary in summarise(source, categories=ranges):
        column = ColumnSchema(summary.name, propose_kind(summary), str(summary.type), summary.nulls > 0)
        columns.append(_with_ranges(column, summary) if ranges else column)
    return TableSchema(tuple(columns))


def refuse_unsupported(schema: pa.Schema) -> None:
    """Raise SchemaError naming every column of a type that can't be modelled, and what to do with it."""
    reasons = [(f, unsupported_reason(f.type)) for f in schema]
    bad = [f"column {f.name!r} has type {f.type}: {reason}" for f, reason in reasons if reason]
    if bad:
        raise SchemaError("; ".join(bad))


def propose_kind(summary: ColumnSummary) -> ColumnKind:
    """The kind that a column's type and distinctness suggest."""
    kind = allowed_kinds(summary.type)[0]
    all_differ = summary.all_distinct and summary.rows - summary.nulls >= FEWEST_ROWS_FOR_IDENTIFIER
    if all_differ and is_text(summary.type):
        return ColumnKind.IDENTIFIER
    if all_differ and pa.types.is_integer(summary.type):
        span = None if summary.minimum is None else summary.maximum - summary.minimum + 1
        if IDENTIFIER_NAME.search(summary.name) or span == summary.rows - summary.nulls:
            return ColumnKind.IDENTIFIER
    return kind


def _with_ranges(column: ColumnSchema, summary: ColumnSummary) -> ColumnSchema:
    if column.kind in (ColumnKind.CONTINUOUS, ColumnKind.DATETIME):
        return replace(column, minimum=_plain(summary.minimum), maximum=_plain(summary.maximum))
    if (
        column.kind is ColumnKind.CATEGORICAL
        and summary.categories is not None
        and not is_temporal(summary.type)
    ):
        return replace(column, categories=tuple(summary.categories))
    return column


def _plain(value: Any) -> int | float | str | None:
    if value is None or isinstance(value, int | float):
        return value
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
