"""The release's report: one HTML file for people, with nothing outside itself.

`render_report` is a pure function of what the stages wrote: the same findings give the same bytes. The page loads
nothing, runs no script, and follows the reader's light, dark and print settings.
"""

from pathlib import Path

from tasks.services.report.page import Findings, build

__all__ = ["Findings", "render_report"]
_TEMPLATES = Path(__file__).parent / "templates"


def render_report(findings: Findings) -> bytes:
    """The page as UTF-8."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    from tasks.services.report.figures import written

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["written"] = written
    style = Markup((_TEMPLATES / "report.css").read_text(encoding="utf-8"))  # our own file
    page = environment.get_template("report.html").render(style=style, **build(findings))
    return page.encode()
