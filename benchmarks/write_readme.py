"""Write the figures into README.md and docs/benchmarks.md, between their markers, from results/*.json alone."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import figures
from common import RESULTS, ROOT

BEGIN, END = "<!-- figures:begin -->", "<!-- figures:end -->"
ORDER = (
    "adult", "tabularargn", "reference_speed", "published", "default_table", "clean_split", "conditional", "dp",
    "imputation", "codec_speed", "wide_tall", "ten_million", "large_fit", "scoring", "kill_matrix", "cluster",
)  # fmt: skip
PICTURES = {"adult": "Fidelity against fitting time", "scale": "Time against size"}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--results", type=Path, default=RESULTS)
    args = options.parse_args()
    results = figures.load(args.results)
    if not results:
        sys.exit(f"no results under {args.results}: run a benchmark first, e.g. `make -C benchmarks adult`")
    write(ROOT / "README.md", readme(results))
    write(ROOT / "docs" / "benchmarks.md", details(results))


def readme(results: dict[str, figures.Result]) -> str:
    """The short version: means, and where they come from."""
    parts = ["Higher is better, c2st apart: .5 is ideal there, 1 the worst. Means over the seeds."]
    parts += section(results, "published", "**Adult**, 24,403 rows", figures.adult)
    parts += picture("adult", "docs/img")
    parts += section(results, "default_table", "**Default of Credit Card Clients**", figures.default_table)
    parts += section(
        results, "clean_split", "**Privacy**, Adult without duplicates in halves", figures.privacy
    )
    parts += section(
        results, "conditional", "**Conditions** (distance: lower is better)", figures.conditional
    )
    parts += section(results, "dp", "**Differential privacy** of every row, Adult", figures.private)
    parts += section(
        results,
        "imputation",
        "**Imputation**, a fifth of the cells removed (RMSE: lower is better)",
        figures.imputation,
    )
    parts += section(results, "codec_speed", "**Side by side** in one run", figures.side_by_side)
    parts += section(results, "wide_tall", "**Tall tables**", lambda r: figures.scale(r, "tall"))
    parts += section(results, "ten_million", "**Ten million rows**", figures.ten_million)
    parts += figures.warnings(results)
    parts += ["[How each figure is measured](docs/benchmarks.md), with spreads, wide tables and machines."]
    return "\n\n".join(parts)


def details(results: dict[str, figures.Result]) -> str:
    """The long version: spreads, both directions of growth, every result's machine."""
    parts = section(results, "published", "### Adult", lambda r: figures.adult(r, ranges=True))
    parts += picture("adult", "img")
    parts += section(
        results,
        "default_table",
        "### Default of Credit Card Clients",
        lambda r: figures.default_table(r, ranges=True),
    )
    parts += section(results, "clean_split", "### Privacy", lambda r: figures.privacy(r, ranges=True))
    parts += section(results, "conditional", "### Conditions", figures.conditional)
    parts += section(results, "dp", "### Differential privacy", lambda r: figures.private(r, ranges=True))
    parts += section(results, "imputation", "### Imputation", lambda r: figures.imputation(r, ranges=True))
    parts += section(results, "codec_speed", "### Side by side", figures.side_by_side)
    parts += section(results, "wide_tall", "### Tall tables", lambda r: figures.scale(r, "tall"))
    parts += section(results, "ten_million", "### Ten million rows", figures.ten_million)
    parts += section(results, "large_fit", "### A whole fit of a large table", figures.large_fit)
    parts += section(results, "scoring", "### A full report", figures.scoring)
    parts += section(results, "kill_matrix", "### Faults and clusters", figures.operation)
    parts += section(results, "wide_tall", "### Wide tables", lambda r: figures.scale(r, "wide"))
    parts += picture("scale", "img")
    parts += ["### Machines", figures.provenance(results, ORDER), *figures.warnings(results)]
    return "\n\n".join(parts)


def section(
    results: dict[str, figures.Result],
    needed: str,
    title: str,
    body: Callable[[dict[str, figures.Result]], str],
) -> list[str]:
    """A title and a table; nothing while the result behind it is missing."""
    return [title, body(results)] if needed in results else []


def picture(name: str, folder: str) -> list[str]:
    exists = (ROOT / "docs" / "img" / f"bench-{name}.png").exists()
    return [f"![{PICTURES[name]}]({folder}/bench-{name}.png)"] if exists else []


def write(path: Path, body: str) -> None:
    """Replace what stands between the markers."""
    text = path.read_text()
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        sys.exit(f"{path.name}: expected one {BEGIN} and one {END}")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    path.write_text(f"{before}{BEGIN}\n{body}\n{END}{after}")
    print(f"written: {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
