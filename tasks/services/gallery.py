"""All releases of a store on one page: verdicts, figures, how the figures moved, and what waits for a person or was
refused by one. No network, no script.
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from tasks.services.approval import Approval
from tasks.services.catalogue import Entry, gate_summary

TRENDS = ("fidelity.shape", "fidelity.trend", "fidelity.c2st", "privacy.dcr_share")
WIDTH, HEIGHT, MARGIN = 220, 48, 6
_TEMPLATE = Path(__file__).with_name("gallery.html")


def write_gallery(entries: Sequence[Entry], asked: Sequence[Approval], path: Path, store: str) -> None:
    """Write the page to `path`; releases stand by name, the newest first, and those of `asked` before them."""
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    page = environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        store=store, datasets=_datasets(entries, asked), trends=TRENDS
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")


def unpublished(approvals: Sequence[Approval], entries: Sequence[Entry]) -> list[Approval]:
    """The questions about releases that are not published: they wait, were refused, or nobody answered in time."""
    published = {(entry.name, entry.version) for entry in entries}
    return [a for a in approvals if (a.request["name"], a.request["version"]) not in published]


def _datasets(entries: Sequence[Entry], asked: Sequence[Approval]) -> list[dict[str, Any]]:
    by_name: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        by_name[entry.name].append(entry)
    standing: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for approval in sorted(asked, key=lambda approval: str(approval.request["requested"]), reverse=True):
        standing[approval.request["name"]].append(_question(approval))
    return [
        {
            "name": name,
            "trends": [trend for figure in TRENDS if (trend := _trend(figure, releases)) is not None],
            "figures": [figure for figure in TRENDS if any(figure in entry.figures for entry in releases)],
            "releases": releases[::-1],
            "asked": standing[name],
        }
        for name, releases in ((name, by_name[name]) for name in sorted({*by_name, *standing}))
    ]


def _question(approval: Approval) -> dict[str, Any]:
    return {
        **approval.request,
        "gate": gate_summary(approval.request["gate"]),
        "status": approval.status,
        "decision": approval.decision,
    }


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
