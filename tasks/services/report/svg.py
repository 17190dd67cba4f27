"""Plots as plain SVG with classes: they follow the page's light, dark and print colours, and need no script.

Numbers are written with two decimals at most, so that the same evidence gives the same bytes everywhere.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup, escape

Scale = Callable[[float], float]


def tag(name: str, *children: object, **attributes: object) -> Markup:
    """An element; text is escaped. ``class_`` is written class, ``stroke_width`` stroke-width; None leaves out.

    >>> tag("text", "a < b", class_="tick", x=1.0)
    Markup('<text class="tick" x="1">a &lt; b</text>')
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_plain(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{written}>{''.join(escape(child) for child in children)}</{name}>")


def points(pairs: Iterable[tuple[float, float]]) -> str:
    """The coordinates of a polyline or polygon."""
    return " ".join(f"{_plain(x)},{_plain(y)}" for x, y in pairs)


def shortened(text: str, most: int) -> str:
    """The text, cut with an ellipsis where it is longer than `most` characters."""
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def linear(low: float, high: float, start: float, stop: float) -> Scale:
    """Map low .. high onto start .. stop."""
    span = (high - low) or 1.0
    return lambda value: start + (value - low) / span * (stop - start)


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers within low .. high, no more than about `most`.

    >>> ticks(0, 1, 5)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    if not high > low:
        return [low]
    least = (high - low) / most
    power = 10.0 ** math.floor(math.log10(least))
    step = next(s * power for s in (1.0, 2.0, 2.5, 5.0, 10.0) if s * power >= least * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 10) for i in range(first, last + 1)]


def percent(share: float, decimals: int = 1) -> str:
    """A share as people read it.

    >>> percent(0.1234), percent(0.0), percent(0.0001)
    ('12.3 %', '0 %', '< 0.1 %')
    """
    if 0 < share < 0.5 * 10**-decimals / 100:
        return f"< {10**-decimals:g} %"
    return f"{100 * share:.{decimals}f} %" if share else "0 %"


@dataclass
class Plot:
    """A drawing area with margins: `left`, `right`, `top`, `bottom` are the edges of what is plotted."""

    width: float
    height: float
    margins: tuple[float, float, float, float]  # top, right, bottom, left
    parts: list[Markup] = field(default_factory=list)

    def __post_init__(self) -> None:
        above, after, below, before = self.margins
        self.left, self.right = before, self.width - after
        self.top, self.bottom = above, self.height - below

    def add(self, *parts: Markup) -> None:
        """Draw over what is there."""
        self.parts.extend(parts)

    def text(
        self, x: float, y: float, text: str, kind: str = "tick", anchor: str = "middle", turn: float = 0
    ) -> None:
        """Write at (x, y), turned by `turn` degrees around it."""
        turned = f"rotate({turn:g} {_plain(x)} {_plain(y)})" if turn else None
        self.add(tag("text", text, class_=kind, x=x, y=y, text_anchor=anchor, transform=turned))

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str) -> None:
        """A straight line."""
        self.add(tag("line", class_=kind, x1=x1, y1=y1, x2=x2, y2=y2))

    def rect(
        self, x: float, y: float, width: float, height: float, kind: str, said: str = "", **more: object
    ) -> None:
        """A rectangle; `said` shows when it is pointed at."""
        inner = [tag("title", said)] if said else []
        self.add(
            tag("rect", *inner, class_=kind, x=x, y=y, width=max(width, 0.0), height=max(height, 0.0), **more)
        )

    def bottom_axis(self, scale: Scale, marks: Sequence[tuple[float, str]], label: str = "") -> None:
        """A baseline with ticks below it, and what it measures."""
        self.line(self.left, self.bottom, self.right, self.bottom, "axis")
        for value, text in marks:
            self.line(scale(value), self.bottom, scale(value), self.bottom + 4, "axis")
            self.text(scale(value), self.bottom + 15, text)
        if label:
            self.text((self.left + self.right) / 2, self.height - 4, label, "label")

    def left_axis(self, scale: Scale, marks: Sequence[tuple[float, str]], label: str = "") -> None:
        """Faint lines across with ticks at the left, and what they measure."""
        for value, text in marks:
            self.line(self.left, scale(value), self.right, scale(value), "grid")
            self.text(self.left - 6, scale(value) + 3.5, text, anchor="end")
        if label:
            self.text(11, (self.top + self.bottom) / 2, label, "label", turn=-90)

    def render(self, name: str, title: str, described: str, kind: str = "") -> Markup:
        """The picture with its title and description for those who don't see it; `name` is unique in the page."""
        return tag(
            "svg",
            tag("title", title, id=f"{name}-title"),
            tag("desc", described, id=f"{name}-desc"),
            *self.parts,
            class_=f"plot {kind}".strip(),
            viewBox=f"0 0 {_plain(self.width)} {_plain(self.height)}",
            role="img",
            aria_labelledby=f"{name}-title {name}-desc",
            style=f"max-width:{1.35 * self.width:.0f}px",
        )


def _plain(value: object) -> object:
    if not isinstance(value, float):
        return value
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
