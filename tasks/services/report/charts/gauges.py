"""A figure on a line: its value and interval, what it is compared with, and where a rule would refuse it."""

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from tasks.services.report.charts import Chart
from tasks.services.report.figures import Figure, written
from tasks.services.report.svg import Plot, linear, percent, points, shortened, tag, ticks

WIDTH, HEIGHT = 200.0, 34.0


def gauge(figure: Figure, name: str, rule: Mapping[str, Any] | None = None) -> Markup | None:
    """The figure's line; None where it has no value.

    A dot is the value, a bar its interval, an upright line the control, the triangles the ceiling (up) and the
    floor (down), the hatched part what the rule refuses.
    """
    if figure.value is None:
        return None
    bounds = {key: rule[key] for key in ("at_least", "at_most") if rule and rule.get(key) is not None}
    known = [figure.value, *figure.marks.values(), *bounds.values()]
    known += [end for end in (figure.low, figure.high) if end is not None]
    known += [float(figure.ideal)] if figure.ideal.replace(".", "", 1).isdigit() else []
    low, high = min(known), max(known)
    pad = 0.12 * (high - low) or max(abs(high) * 0.05, 0.05)
    place = linear(low - pad, high + pad, 6, WIDTH - 6)
    middle = HEIGHT / 2
    plot = Plot(WIDTH, HEIGHT, (0, 0, 0, 0))
    if "at_least" in bounds:
        plot.rect(0, middle - 6, place(bounds["at_least"]), 12, "refused")
    if "at_most" in bounds:
        plot.rect(place(bounds["at_most"]), middle - 6, WIDTH - place(bounds["at_most"]), 12, "refused")
    plot.line(0, middle, WIDTH, middle, "axis")
    if "floor" in figure.marks:
        plot.add(_triangle(place(figure.marks["floor"]), middle - 5, -8))
    if "ceiling" in figure.marks:
        plot.add(_triangle(place(figure.marks["ceiling"]), middle + 5, 8))
    if "control" in figure.marks:
        x = place(figure.marks["control"])
        plot.line(x, middle - 8, x, middle + 8, "control line")
    if figure.low is not None and figure.high is not None:
        plot.line(place(figure.low), middle, place(figure.high), middle, "interval")
    plot.add(tag("circle", class_="value", cx=place(figure.value), cy=middle, r=4.5))
    said = [f"{written(figure.value)}"]
    if figure.low is not None:
        said.append(f"interval {written(figure.low)} to {written(figure.high)}")
    said += [f"{mark} {written(value)}" for mark, value in figure.marks.items()]
    said += [
        f"{'at least' if key == 'at_least' else 'at most'} {bound:g} required"
        for key, bound in bounds.items()
    ]
    return plot.render(name, figure.title, ", ".join(said) + ".", "gauge")


def _triangle(x: float, tip: float, height: float) -> Markup:
    return tag(
        "polygon", class_="mark", points=points([(x, tip), (x - 4.5, tip + height), (x + 4.5, tip + height)])
    )


def attack_chart(attacks: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Chart:
    """What each attack gains on people of the training table beyond what it gains on people of the holdout."""
    rows = [
        (f"{attack.replace('_', ' ')}: {part}", about)
        for attack, parts in attacks.items()
        for part, about in parts.items()
    ]
    plot = Plot(560, 24 * len(rows) + 52, (10, 14, 42, 190))
    ends = [about[key] for _, about in rows for key in ("low", "high", "value")]
    low, high = min([0.0, *ends]), max([0.0, *ends])
    pad = 0.08 * (high - low) or 0.05
    place = linear(low - pad, high + pad, plot.left, plot.right)
    plot.line(place(0), plot.top, place(0), plot.bottom, "control line")
    for i, (label, about) in enumerate(rows):
        y = plot.top + 24 * (i + 0.5)
        plot.text(plot.left - 8, y + 3.5, shortened(label, 32), "name", "end")
        plot.line(place(about["low"]), y, place(about["high"]), y, "interval")
        plot.add(tag("circle", class_="value", cx=place(about["value"]), cy=y, r=4.5))
    plot.bottom_axis(
        place, [(t, f"{100 * t:g} %") for t in ticks(low - pad, high + pad, 5)], "gain beyond the control"
    )
    beaten = [label for label, about in rows if about["low"] > 0]
    said = (
        f"Above the control at 95 %: {', '.join(beaten)}."
        if beaten
        else "No attack beats its control at 95 %."
    )
    cells = [
        [label, percent(a["rate"]), percent(a["control"]), written(a["value"]),
         f"{written(a['low'])} to {written(a['high'])}", f"{a['attacks']:,}"]
        for label, a in rows
    ]  # fmt: skip
    picture = plot.render("attacks", "Attacks: gain beyond the control", said)
    header = ("attack", "success on train", "on the holdout", "gain", "95 % interval", "attacks")
    return Chart("attacks", "Attacks against their control", picture, said, header, cells)
