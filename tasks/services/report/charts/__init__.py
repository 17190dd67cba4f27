"""The plots of the report: each takes evidence and gives a `Chart`."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup


@dataclass(frozen=True)
class Chart:
    """A picture, its caption, and the same numbers as a table for those who don't see it.

    Attributes:
        name: unique in the page.
        title: heading of the figure.
        picture: the SVG.
        caption: what to look at.
        header: names of the table's columns.
        rows: its cells as text; the first of each row names it.
    """

    name: str
    title: str
    picture: Markup
    caption: str = ""
    header: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = field(default=())
