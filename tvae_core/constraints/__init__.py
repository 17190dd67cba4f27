"""Constraints: rules that every row obeys, declared in the schema, guaranteed in every sampled row. One file per kind.

derived              a column is a function of others                 not modelled, recomputed
fixed_combinations   only combinations seen in training may occur     modelled as one column
inequality           one column is never above another                the higher one is modelled as a distance
range                a column stays inside fixed bounds               no tail lies beyond a bound, nor any code
unique               a combination of columns never repeats           rows that repeat are drawn again, and counted
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tvae_core.constraints.base import Constraint, FittedConstraint
from tvae_core.constraints.bounds import Range
from tvae_core.constraints.combinations import FixedCombinations
from tvae_core.constraints.derived import Derived
from tvae_core.constraints.inequality import Inequality
from tvae_core.constraints.unique import Unique
from tvae_core.errors import SchemaError

if TYPE_CHECKING:
    from tvae_core.schema import ColumnSchema

KINDS: dict[str, type[Constraint]] = {
    c.kind: c for c in (Derived, FixedCombinations, Inequality, Range, Unique)
}

__all__ = [
    "KINDS",
    "Constraint",
    "Derived",
    "FittedConstraint",
    "FixedCombinations",
    "Inequality",
    "Range",
    "Unique",
    "check_constraints",
    "constraint_to_dict",
    "constraints_from_list",
    "in_restoring_order",
]


def constraint_to_dict(constraint: Constraint) -> dict[str, Any]:
    """A constraint as plain values, ready for YAML or JSON."""
    return {"kind": constraint.kind, **constraint.to_dict()}


def constraints_from_list(plain: Any) -> tuple[Constraint, ...]:
    """Read a schema's `constraints`. Raises SchemaError naming the entry, counted from 1."""
    if not isinstance(plain, Sequence) or isinstance(plain, str):
        raise SchemaError("constraints must be a list of entries with a kind")
    out = []
    for number, entry in enumerate(plain, start=1):
        if not isinstance(entry, Mapping) or entry.get("kind") not in KINDS:
            raise SchemaError(f"constraint {number}: kind must be one of {', '.join(KINDS)}")
        kind = entry["kind"]
        try:
            out.append(KINDS[kind].from_dict({k: v for k, v in entry.items() if k != "kind"}))
        except SchemaError as error:
            raise SchemaError(f"constraint {number} ({kind}): {error}") from None
    return tuple(out)


def check_constraints(constraints: Sequence[Constraint], columns: "Mapping[str, ColumnSchema]") -> None:
    """Raise SchemaError naming the entry, counted from 1, unless the constraints fit the columns and one another."""
    writers: dict[str, int] = {}
    for number, constraint in enumerate(constraints, start=1):
        where = f"constraint {number} ({constraint.kind})"
        unknown = [n for n in (*constraint.reads, *constraint.writes) if n not in columns]
        if unknown:
            raise SchemaError(f"{where}: no column {', '.join(map(repr, unknown))} in the schema")
        try:
            constraint.check(columns)
        except SchemaError as error:
            raise SchemaError(f"{where}: {error}") from None
        for name in constraint.writes:
            if name in writers:
                raise SchemaError(
                    f"{where}: column {name!r} is decided by constraint {writers[name]} already; remove one of the two"
                )
            writers[name] = number
    for number, constraint in enumerate(constraints, start=1):
        deciders = (
            [writers[n] for n in constraint.reads if n in writers] if constraint.kind == "range" else []
        )
        if any(constraints[d - 1].kind == "derived" for d in deciders):
            raise SchemaError(f"constraint {number} (range): the column is derived; bound what it is made of")
    in_restoring_order(constraints)


def in_restoring_order(constraints: Sequence[Constraint]) -> tuple[Constraint, ...]:
    """The constraints so that each comes after those that write what it reads. Raises SchemaError for a circle."""
    left, done = list(constraints), []
    while left:
        waiting = {name for constraint in left for name in constraint.writes}
        ready = [c for c in left if not waiting.intersection(c.reads)]
        if not ready:
            labels = "; ".join(c.label for c in left)
            raise SchemaError(f"these constraints go round in a circle, remove one of them: {labels}")
        # What a sum gives a part must obey its range; a lower column may move, but not once others have read it.
        done += sorted(ready, key=lambda c: {"range": 0, "inequality": 1}.get(c.kind, 2))
        left = [c for c in left if c not in ready]
    return tuple(done)
