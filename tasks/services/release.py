"""Where a release comes from, and its readable report."""

import importlib.metadata
from typing import Any

import tvae_core
from configs import RunConfig
from tasks.references import GeneratorRef, SplitRef, TableRef
from tasks.services.generators import read_privacy
from tasks.services.markdown import escaped, table

_PACKAGES = ("torch", "numpy", "pandas", "pyarrow", "scikit-learn", "sdmetrics", "great-expectations")


def lineage(
    config: RunConfig, split: SplitRef, generator: GeneratorRef, synthetic: TableRef
) -> dict[str, Any]:
    """Where a release comes from: digests and settings, no address of the real table and no time.

    Equal inputs give equal lineage, on any store.
    """
    return {
        "synthetic": {"rows": synthetic.rows, "digest": synthetic.digest},
        "input": {"rows": split.table.rows, "digest": split.table.digest},
        "split": {
            "train_rows": split.train_rows,
            "holdout_rows": split.holdout_rows,
            "holdout_fraction": split.holdout_fraction,
            "entity": split.entity,
        },
        "generator": {"name": generator.name, "version": generator.version, "digest": generator.digest},
        "privacy": read_privacy(generator.uri),
        "seed": config.seed,
        "model": config.model.resolved().to_dict(),
        "code": tvae_core.__version__,
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
    }


def release_report(name: str, version: str, facts: dict[str, Any], pages: list[str]) -> str:
    """One Markdown page: what this is, where it comes from, then the verdict, the scores and the validation."""
    split, generator = facts["split"], facts["generator"]
    unit = f"by {escaped(split['entity'])}" if split["entity"] else "by row"
    rows = [
        ["synthetic rows", f"{facts['synthetic']['rows']:,}"],
        ["real rows trained on", f"{split['train_rows']:,}"],
        ["real rows held out", f"{split['holdout_rows']:,} ({unit})"],
        ["input's digest", facts["input"]["digest"][:16]],
        [
            "generator",
            f"{escaped(generator['name'])} {escaped(generator['version'])}, digest {generator['digest'][:16]}",
        ],
        ["preset", facts["model"]["preset"]],
        ["never learned", withheld(facts["privacy"])],
        ["seed", str(facts["seed"])],
        ["tvae-pipeline", facts["code"]],
    ]
    head = f"# Synthetic release {escaped(name)} {escaped(version)}\n\nEvery row is synthetic: drawn from a model."
    body = [head, table(["", ""], rows), *(_nested(page) for page in pages)]
    return "\n\n".join(part.strip() for part in body) + "\n"


def withheld(privacy: dict[str, Any]) -> str:
    """What the generator's protection kept out of training, in a phrase; counts only."""
    private = privacy.get("differential_privacy")
    if private is not None:
        return (
            f"differential privacy of every {private['unit']}: epsilon {private['epsilon']:.2f} at delta "
            f"{private['delta']:.0e}"
        )
    if privacy["protect_k"] < 2:
        return "nothing is withheld: the protection of rare values is switched off"
    entries = privacy["suppressed"].values()
    levels, rows = (sum(entry[key] for entry in entries) for key in ("levels", "rows"))
    clipped = sum(entry["below"] + entry["above"] for entry in entries)
    tails = len(privacy.get("tails", ()))
    columns = "column" if tails == 1 else "columns"
    known = f" (of {tails} {columns} their mean distance is known)" if tails else ""
    return (
        f"what fewer than {privacy['protect_k']} hold: {levels:,} categories ({rows:,} cells), "
        f"{clipped:,} extreme values{known}"
    )


def _nested(page: str) -> str:
    """The page with its headings one level further down."""
    return "\n".join(f"#{line}" if line.startswith("#") else line for line in page.splitlines())
