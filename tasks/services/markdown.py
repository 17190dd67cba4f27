"""Markdown that a browser and a terminal both show well: tables and escaped text."""

from collections.abc import Iterable, Sequence

_SPECIAL = str.maketrans({c: f"\\{c}" for c in "\\`*_{}[]<>|#"})


def escaped(text: str) -> str:
    """Text that Markdown takes literally, on one line: column names may hold anything.

    >>> escaped("a|b_c")
    'a\\\\|b\\\\_c'
    """
    return " ".join(text.split()).translate(_SPECIAL)


def number(value: float | None, decimals: int = 3) -> str:
    """A number with fixed decimals; a dash where there is none."""
    return "-" if value is None else f"{value:.{decimals}f}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A pipe table, columns padded to one width so that it reads well unrendered; cells are taken as they are."""
    lines = [list(header), *map(list, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    padded = [
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)) + " |"
        for line in lines
    ]
    rule = "|" + "|".join("-" * (w + 2) for w in widths) + "|"
    return "\n".join([padded[0], rule, *padded[1:]])
