"""All releases of a store on one page: verdicts, figures, and how the figures moved. No network, no script."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from tasks.services.catalogue import Entry

TRENDS = ("fidelity.shape", "fidelity.trend", "fidelity.c2st", "privacy.dcr_share")
WIDTH, HEIGHT, MARGIN = 220, 48, 6
_TEMPLATE = Path(__file__).with_name("gallery.html")


def write_gallery(entries: Sequence[Entry], path: Path, store: str) -> None:
    """Write the page to `path`; releases stand by name, the newest first."""
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    page = environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        store=store, datasets=_datasets(entries)
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")


def _datasets(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    by_name: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        by_name[entry.name].append(entry)
    return [
        {
            "name": name,
            "trends": [trend for figure in TRENDS if (trend := _trend(figure, releases)) is not None],
            "figures": [figure for figure in TRENDS if any(figure in entry.figures for entry in releases)],
            "releases": releases[::-1],
        }
        for name, releases in by_name.items()
    ]


def _trend(figure: str, releases: Sequence[Entry]) -> dict[str, Any] | None:
    """A line through a figure's values, oldest first; None where no release has it."""
    values = [entry.figures[figure] for entry in releases if figure in entry.figures]
    if not values:
        return None
    low, high = min(values), max(values)
    said = f"{figure} over {len(values)} release(s): from {values[0]:.4f} to {values[-1]:.4f}"
    return {"figure": figure, "low": low, "high": high, "last": values[-1], "svg": _line(values, said)}


def _line(values: Sequence[float], title: str) -> Markup:
    low, span = min(values), (max(values) - min(values)) or 1.0
    step = (WIDTH - 2 * MARGIN) / max(1, len(values) - 1)
    points = [
        (MARGIN + number * step, HEIGHT - MARGIN - (value - low) / span * (HEIGHT - 2 * MARGIN))
        for number, value in enumerate(values)
    ]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5"/>' for x, y in points)
    return Markup(
        f'<svg role="img" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}">'
        f'<title>{{}}</title><polyline points="{path}"/>{dots}</svg>'
    ).format(title)
