"""One column, real against synthetic: bars for levels, an area under a line for numbers."""

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from tasks.services.report.charts import Chart
from tasks.services.report.svg import Plot, linear, percent, points, shortened, tag, ticks

WIDTH = 360.0
_BAR = 9.0
_GAP = 9.0
_NAMES = 112.0


def overlay_chart(name: str, column: Mapping[str, Any], score: float | None) -> Chart:
    """The plot of one column of the evidence."""
    caption = f"Score {score:.3f}" if score is not None else ""
    if column["kind"] == "hidden":
        plot = Plot(WIDTH, 40, (0, 0, 0, 0))
        plot.text(WIDTH / 2, 24, "not shown: too few rows", "label")
        return Chart(
            name, column["name"], plot.render(name, column["name"], "Not shown: too few rows."), caption
        )
    draw = {"levels": _bars, "values": _columns, "histogram": _histogram}[column["kind"]]
    return draw(name, column, caption)


def difference(column: Mapping[str, Any]) -> float:
    """Total variation of what is shown: half the sum of absolute differences of shares."""
    return sum(abs(real - synthetic) for _, real, synthetic in _entries(column)) / 2


def _entries(column: Mapping[str, Any]) -> list[tuple[str, float, float]]:
    """Everything that is shown of a column, as (what, share of real, share of synthetic)."""
    if column["kind"] == "hidden":
        return []
    if column["kind"] == "histogram":
        labels, last = column["labels"], len(column["real"]) - 1
        spans = [_span(labels, i, last) for i in range(last + 1)]
        return list(zip(spans, column["real"], column["synthetic"], strict=True))
    out = [(level["level"], level["real"], level["synthetic"]) for level in column["levels"]]
    out += [(text, extra["real"], extra["synthetic"]) for text, extra in _extras(column)]
    return out


def _span(labels: list[str], i: int, last: int) -> str:
    if last == 0:
        return "all values"
    if i == 0:
        return f"below {labels[1]}"
    return f"{labels[i]} and above" if i == last else f"{labels[i]} to {labels[i + 1]}"


def _extras(column: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """What is no level: the pooled others and the missing."""
    out = []
    if column.get("pooled"):
        count = column["pooled"]["levels"]
        out.append((f"{count} others, pooled" if count else "not in real rows", column["pooled"]))
    if column.get("missing"):
        out.append(("missing", column["missing"]))
    return out


def _bars(name: str, column: Mapping[str, Any], caption: str) -> Chart:
    entries = _entries(column)
    step = 2 * _BAR + _GAP
    plot = Plot(WIDTH, len(entries) * step + 30, (4, 44, 24, _NAMES))
    most = max((max(real, synthetic) for _, real, synthetic in entries), default=1.0) or 1.0
    across = linear(0, most, plot.left, plot.right)
    for value in ticks(0, most, 4):
        plot.line(across(value), plot.top, across(value), plot.bottom, "grid")
        plot.text(across(value), plot.bottom + 15, f"{100 * value:g} %")
    extras = {text for text, _ in _extras(column)}
    for i, (level, real, synthetic) in enumerate(entries):
        y = plot.top + i * step + _GAP / 2
        said = f"{level}: real {percent(real)}, synthetic {percent(synthetic)}"
        plot.text(
            plot.left - 6,
            y + _BAR + 3.5,
            shortened(level, 18),
            "name muted" if level in extras else "name",
            "end",
        )
        plot.rect(plot.left, y, across(real) - plot.left, _BAR, "real", said)
        plot.rect(plot.left, y + _BAR, across(synthetic) - plot.left, _BAR, "synthetic", said)
        plot.text(
            max(across(real), across(synthetic)) + 4, y + _BAR + 3.5, percent(synthetic), anchor="start"
        )
    plot.line(plot.left, plot.top, plot.left, plot.bottom, "axis")
    return _chart(name, column, plot, caption, entries)


def _columns(name: str, column: Mapping[str, Any], caption: str) -> Chart:
    """Pairs of upright bars, for a few numbers in their order."""
    entries = _entries(column)
    plot = Plot(WIDTH, 196, (12, 8, 24, 40))
    most = max((max(real, synthetic) for _, real, synthetic in entries), default=1.0) or 1.0
    up = linear(0, most * 1.02, plot.bottom, plot.top)
    plot.left_axis(up, [(value, f"{100 * value:g} %") for value in ticks(0, most, 4)])
    step = (plot.right - plot.left) / max(1, len(entries))
    bar, reached = min(0.42 * step, 22.0), -1e9
    for i, (value, real, synthetic) in enumerate(entries):
        middle = plot.left + (i + 0.5) * step
        said = f"{value}: real {percent(real)}, synthetic {percent(synthetic)}"
        plot.rect(middle - bar, up(real), bar, plot.bottom - up(real), "real", said)
        plot.rect(middle, up(synthetic), bar, plot.bottom - up(synthetic), "synthetic", said)
        label = shortened(value, 10)
        if middle - 3 * len(label) > reached + 3:
            plot.text(middle, plot.bottom + 15, label)
            reached = middle + 3 * len(label)
    plot.line(plot.left, plot.bottom, plot.right, plot.bottom, "axis")
    return _chart(name, column, plot, caption, entries)


def _histogram(name: str, column: Mapping[str, Any], caption: str) -> Chart:
    spikes = column["spikes"]
    plot = Plot(WIDTH, 196, (22 if spikes else 10, 12, 24, 14 + 46 * len(spikes)))
    edges = column["edges"]
    place = _scale(column, plot)
    widths = [place(b) - place(a) for a, b in pairwise(edges)]
    heights = [
        [share / width for share, width in zip(column[side], widths, strict=True)]
        for side in ("real", "synthetic")
    ]
    up = linear(0, max(*heights[0], *heights[1], 1e-9) * 1.04, plot.bottom, plot.top)
    ours, theirs = (_outline(edges, h, place, up) for h in heights)
    base = [(place(edges[-1]), plot.bottom), (place(edges[0]), plot.bottom)]
    plot.add(tag("polygon", class_="real area", points=points([*ours, *base])))
    plot.add(tag("polyline", class_="real line", points=points(ours)))
    plot.add(tag("polyline", class_="synthetic line", points=points(theirs)))
    for (what, real, synthetic), edge, width in zip(_entries(column), edges, widths, strict=False):
        said = f"{what}: real {percent(real)}, synthetic {percent(synthetic)}"
        plot.rect(place(edge), plot.top, width, plot.bottom - plot.top, "hover", said)
    plot.bottom_axis(place, _marks(column, place))
    if column["scale"] == "log":
        plot.text(plot.right, plot.top + 8, "log scale", "label", "end")
    _spikes(plot, spikes)
    entries = _entries(column)
    entries += [(f"exactly {s['level']} (of all values)", s["real"], s["synthetic"]) for s in spikes]
    entries += [
        (f"{text} (of all rows)", extra["real"], extra["synthetic"]) for text, extra in _extras(column)
    ]
    if spikes:
        caption += f"{'. ' if caption else ''}Left: values held by many; right: all others"
    return _chart(name, column, plot, caption, entries)


def _scale(column: Mapping[str, Any], plot: Plot) -> Any:
    low, high = column["edges"][0], column["edges"][-1]
    if column["scale"] == "linear":
        return linear(low, high, plot.left, plot.right)
    inner = linear(math.log10(low), math.log10(high), plot.left, plot.right)
    return lambda value: inner(math.log10(value))


def _outline(edges: list[float], heights: list[float], place: Any, up: Any) -> list[tuple[float, float]]:
    """The steps of a histogram from its first to its last edge."""
    return [
        (place(edge), up(height))
        for a, b, height in zip(edges, edges[1:], heights, strict=False)
        for edge in (a, b)
    ]


def _marks(column: Mapping[str, Any], place: Any) -> list[tuple[float, str]]:
    """Bounds of bins to write below the axis: as many as find room beside each other."""
    chosen: list[tuple[float, str]] = []
    reached = -1e9
    for edge, label in zip(column["edges"], column["labels"], strict=True):
        half = 3.1 * len(label)
        if place(edge) - half > reached + 8 and place(edge) + half < WIDTH:
            chosen.append((edge, label))
            reached = place(edge) + half
    return chosen


def _spikes(plot: Plot, spikes: list[Mapping[str, Any]]) -> None:
    """Single values that many rows hold, as pairs of bars of their own at the left."""
    up = linear(0, 1, plot.bottom, plot.top)
    for i, spike in enumerate(spikes):
        x = 8.0 + 46 * i
        said = f"exactly {spike['level']}: real {percent(spike['real'])}, synthetic {percent(spike['synthetic'])}"
        for side, offset in (("real", 0), ("synthetic", 14)):
            plot.rect(x + offset, up(spike[side]), 13, plot.bottom - up(spike[side]), side, said)
        plot.text(x + 14, up(max(spike["real"], spike["synthetic"])) - 4, f"{100 * spike['synthetic']:.0f} %")
        plot.text(x + 14, plot.bottom + 15, f"= {shortened(spike['level'], 7)}")
    if spikes:
        plot.line(4, plot.bottom, plot.left - 12, plot.bottom, "axis")


def _chart(
    name: str, column: Mapping[str, Any], plot: Plot, caption: str, entries: list[tuple[str, float, float]]
) -> Chart:
    missing = column.get("missing")
    if missing and column["kind"] == "histogram":
        note = f"missing: real {percent(missing['real'])}, synthetic {percent(missing['synthetic'])}"
        caption = f"{caption}{'. ' if caption else ''}{note[0].upper()}{note[1:]}"
    worst = max(entries, key=lambda entry: abs(entry[1] - entry[2]), default=None)
    described = f"Shares of {len(entries)} groups in real and synthetic rows."
    if worst:
        described += (
            f" Largest difference: {worst[0]}, real {percent(worst[1])}, synthetic {percent(worst[2])}."
        )
    rows = [
        [what, percent(real, 2), percent(synthetic, 2), f"{100 * (synthetic - real):+.2f}"]
        for what, real, synthetic in entries
    ]
    picture = plot.render(name, f"{column['name']}: real and synthetic", described)
    return Chart(
        name, column["name"], picture, caption, ("value", "real", "synthetic", "difference, points"), rows
    )
