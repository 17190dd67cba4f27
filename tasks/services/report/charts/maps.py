"""Maps side by side: real, synthetic, and their difference."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tasks.services.report.charts import Chart
from tasks.services.report.svg import Plot, linear, percent, points, shortened, tag

_NAMES = 92.0
_SIDE = 380.0
_WORST = 12


def pair_charts(pairs: Mapping[str, Any]) -> list[Chart]:
    """Three maps of associations."""
    names, real, synthetic = pairs["columns"], pairs["real"], pairs["synthetic"]
    gap = [[b - a for a, b in zip(x, y, strict=True)] for x, y in zip(real, synthetic, strict=True)]
    most = max((abs(v) for row in gap for v in row), default=0.0)
    worst = sorted(((abs(gap[i][j]), i, j) for i in range(len(names)) for j in range(i)), reverse=True)[
        :_WORST
    ]
    rows = [
        [f"{names[j]} and {names[i]}", f"{real[i][j]:.3f}", f"{synthetic[i][j]:.3f}", f"{gap[i][j]:+.3f}"]
        for _, i, j in worst
    ]
    header = ("pair, largest difference first", "real", "synthetic", "difference")
    biggest = f"The largest difference is {worst[0][0]:.3f}, between {rows[0][0]}." if worst else ""
    scale = max(most, 0.05)
    told = "Association of columns, {} rows"
    maps = {
        "Real": _matrix("pairs-real", told.format("real"), names, real, 1.0),
        "Synthetic": _matrix("pairs-synthetic", told.format("synthetic"), names, synthetic, 1.0),
        "Difference": _matrix("pairs-difference", "Synthetic less real", names, gap, scale, biggest),
    }
    caption = f"Full colour is a difference of {scale:.2f}. {biggest}"
    return [
        Chart("pairs-real", "Real", maps["Real"]),
        Chart("pairs-synthetic", "Synthetic", maps["Synthetic"]),
        Chart("pairs-difference", "Difference", maps["Difference"], caption, header, rows),
    ]


def _matrix(
    name: str,
    title: str,
    names: Sequence[str],
    values: Sequence[Sequence[float]],
    most: float,
    described: str = "",
) -> Any:
    plot = Plot(_SIDE, _SIDE, (_NAMES - 14, 4, 4, _NAMES))
    side = (plot.right - plot.left) / len(names)
    small = " small" if side < 12 else ""
    for i, label in enumerate(names):
        at = plot.left + (i + 0.5) * side
        plot.text(
            plot.left - 5, plot.top + (i + 0.5) * side + 3.5, shortened(label, 16), f"name{small}", "end"
        )
        plot.text(at + 3, plot.top - 5, shortened(label, 14), f"name{small}", "start", turn=-55)
    for i, row in enumerate(values):
        for j, value in enumerate(row):
            if i == j:
                continue
            kind = "even" if title.startswith("Assoc") else "more" if value > 0 else "less"
            shade = round(min(1.0, abs(value) / most), 2)
            if shade >= 0.02:
                x, y = plot.left + j * side + 0.5, plot.top + i * side + 0.5
                said = f"{names[i]} and {names[j]}: {value:.3f}"
                plot.rect(x, y, side - 1, side - 1, f"cell {kind}", said, fill_opacity=shade)
    plot.rect(plot.left, plot.top, plot.right - plot.left, plot.bottom - plot.top, "frame")
    top = sorted(
        ((abs(values[i][j]), names[j], names[i]) for i in range(len(names)) for j in range(i)), reverse=True
    )[:3]
    strongest = "; ".join(f"{a} and {b} {v:.2f}" for v, a, b in top)
    return plot.render(name, title, described or f"Strongest pairs: {strongest}.")


def hexagon_charts(
    name: str, found: Mapping[str, Any], words: tuple[str, str], axes: tuple[str, str]
) -> list[Chart]:
    """Three maps of hexagons: the first table, the second, and where which of the two has more rows.

    Args:
        name: begins the names of the charts.
        found: evidence with its ``cells`` and their ``width``.
        words: what the two tables are called.
        axes: what is measured across and up.
    """
    cells = found["cells"]
    shown = [(i, j, a, b) for i, j, a, b in cells]
    most = max((max(a, b) for _, _, a, b in shown), default=0.0) or 1.0
    overlap = sum(min(a, b) for _, _, a, b in shown)
    both = sum(1 for _, _, a, b in shown if a and b)
    beyond = sum(1 for _, _, a, b in shown if _beyond_chance(a, b, found["rows"]))
    text = f"{percent(overlap)} of the rows overlap. {beyond} of {len(shown)} hexagons differ beyond chance."
    only = [sum(1 for c in shown if c[k] and not c[5 - k]) for k in (2, 3)]
    rows = [
        ["rows that overlap", percent(overlap)],
        ["hexagons with both", str(both)],
        ["hexagons that differ beyond chance", str(beyond)],
        [f"hexagons with {words[0]} rows alone", str(only[0])],
        [f"hexagons with {words[1]} rows alone", str(only[1])],
    ]
    views = [
        (words[0], "even", lambda a, b: math.sqrt(a / most)),
        (words[1], "even", lambda a, b: math.sqrt(b / most)),
        ("Difference beyond chance", "", lambda a, b: _beyond_chance(a, b, found["rows"])),
    ]
    charts = []
    for k, (title, kind, value) in enumerate(views):
        key = f"{name}-{('first', 'second', 'difference')[k]}"
        picture = _hexagons(
            key, f"{title}: {axes[0]} across, {axes[1]} up", text, shown, found["width"], kind, value, axes
        )
        last = k == len(views) - 1
        charts.append(
            Chart(
                key,
                title,
                picture,
                text if last else "",
                ("measure", "value") if last else (),
                rows if last else (),
            )
        )
    return charts


def _beyond_chance(first: float, second: float, rows: Sequence[int]) -> float:
    """How surely two shares differ, -1 .. 1: 0 below two standard errors, full at six or more.

    A cell that is left blank may hold up to nine rows: it is taken to.
    """
    least = [9.0 / max(1, n) for n in rows]
    a, b = (
        share or min(least[k], other) for k, (share, other) in enumerate(((first, second), (second, first)))
    )
    spread = math.sqrt(a / max(1, rows[0]) + b / max(1, rows[1]))
    z = (b - a) / spread if spread else 0.0
    return 0.0 if abs(z) < 2 else math.copysign(min(1.0, abs(z) / 6), z)


def _hexagons(
    name: str, title: str, text: str, cells: Any, width: float, kind: str, value: Any, axes: tuple[str, str]
) -> Any:
    plot = Plot(360, 330, (6, 8, 24, 22))
    height = width * math.sqrt(3)
    xs, ys = [i * width / 2 for i, *_ in cells], [j * height / 2 for _, j, *_ in cells]
    low_x, high_x = min(xs, default=0) - width, max(xs, default=1) + width
    low_y, high_y = min(ys, default=0) - width, max(ys, default=1) + width
    across, up = linear(low_x, high_x, plot.left, plot.right), linear(low_y, high_y, plot.bottom, plot.top)
    corner = [(math.sin(math.pi / 3 * n), math.cos(math.pi / 3 * n)) for n in range(6)]
    for (_, _, a, b), x, y in zip(cells, xs, ys, strict=True):
        shade = value(a, b)
        if abs(shade) < 0.03:
            continue
        hexagon = points((across(x + dx * width / 3**0.5), up(y + dy * width / 3**0.5)) for dx, dy in corner)
        which = kind or ("more" if shade > 0 else "less")
        plot.add(
            tag("polygon", class_=f"cell {which}", points=hexagon, fill_opacity=f"{min(1.0, abs(shade)):.2f}")
        )
    plot.rect(plot.left, plot.top, plot.right - plot.left, plot.bottom - plot.top, "frame")
    plot.text((plot.left + plot.right) / 2, plot.height - 6, shortened(axes[0], 58), "label")
    plot.text(12, (plot.top + plot.bottom) / 2, shortened(axes[1], 52), "label", turn=-90)
    return plot.render(name, title, text)
