"""Explains the core's settings in a form, without the core knowing about forms."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


class ExplainedByDocstring:
    """Put the lines ``name: explanation`` of a class's docstring into its JSON schema, in the order of its fields."""

    def __init__(self, documented: type) -> None:
        self.documented = documented

    def __get_pydantic_json_schema__(self, core_schema: Any, handler: Any) -> dict[str, Any]:
        """Called by pydantic: add description and position to every property."""
        reference: dict[str, Any] = handler(core_schema)
        schema = handler.resolve_ref_schema(reference)
        explanations = explain_fields(self.documented)
        for position, (name, field) in enumerate(schema.get("properties", {}).items()):
            field["position"] = position
            if name in explanations:
                field["description"] = explanations[name][:1].upper() + explanations[name][1:]
        return reference


def explain_fields(documented: type) -> dict[str, str]:
    """The explanation of each field named in the class's docstring.

    >>> class Point:
    ...     '''A point.
    ...
    ...     x, y: the coordinates,
    ...         in metres.
    ...     '''
    >>> explain_fields(Point)
    {'x': 'the coordinates, in metres.', 'y': 'the coordinates, in metres.'}
    """
    explanations: dict[str, str] = {}
    names: list[str] = []
    indent = 0
    for line in (inspect.getdoc(documented) or "").splitlines():
        text = line.strip()
        head, colon, body = text.partition(": ")
        if colon and all(name.isidentifier() for name in head.split(", ")):
            names, indent = head.split(", "), len(line) - len(text)
            explanations.update(dict.fromkeys(names, body))
        elif text and len(line) - len(text) > indent:  # the rest of an explanation is indented below it
            explanations.update({name: f"{explanations[name]} {text}" for name in names})
        else:
            names = []
    return explanations


def explain_arguments(explanations: Mapping[str, str]) -> Callable[[F], F]:
    """Append an ``Args:`` section to a function's docstring, from where Prefect takes the form's texts."""

    def explain(function: F) -> F:
        lines = [f"    {name}: {text}" for name, text in explanations.items()]
        function.__doc__ = "\n".join([inspect.getdoc(function) or "", "", "Args:", *lines])
        return function

    return explain
