"""Imputation: cells removed at random, filled by ours, by scikit-learn's IterativeImputer and from the column alone.

A random half of each table is known whole, of the other half some rows lose a fifth of their cells. Ours learns from
the whole half alone; IterativeImputer may look at the rows with the gaps too. All fill the same cells.

accuracy: of categorical cells: the most frequent of several draws (ours), the rounded place of the category
(IterativeImputer, categories ordinal-encoded), the mode.
rmse: of numeric cells, in standard deviations of the column, the mean over the columns: the mean of several draws
(ours), the prediction, the mean.
nats: mean log-likelihood of a cell, numeric ones as one of at most 20 bins of equally many training rows: the share of
the draws that fall on the truth, the column's shares counting as one draw more; from the column alone, its shares.
IterativeImputer draws from its Gaussian predictive (`sample_posterior`), kept between the column's ends; its trees have
none. `unprotected` is ours with `protect_k` 0: the default clips the largest values, which weigh most in rmse.
"""

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common

TABLES = {"adult": 0, "default": 11}  # columns with at most this many distinct numbers are categories
METHODS = ("ours", "unprotected", "ridge", "trees", "column")
MOST_BINS = 20


def main() -> None:
    options = common.parser(__doc__)
    common.seeds_option(options)
    options.add_argument("--rows", type=int, default=4_000, help="rows that lose cells")
    options.add_argument("--share", type=float, default=0.2, help="of their cells, removed")
    options.add_argument("--draws", type=int, default=50)
    options.add_argument("--epochs", type=int, help="fewer epochs, to try the script")
    options.add_argument("--methods", default=",".join(METHODS), type=lambda text: text.split(","))
    args = options.parse_args()
    tables = {name: common.shared_file(args, "data", f"{name}.parquet") for name in TABLES}
    where = common.machine()
    figures = {name: over_seeds(args, path, TABLES[name]) for name, path in tables.items()}
    head = ["table", "method", "accuracy", "rmse", "nats", "s"]
    lines = [line(name, method, f) for name, each in figures.items() for method, f in each.items()]
    print(common.table(head, lines))
    common.write_result(args, where, figures)


def over_seeds(args, path: Path, most_levels: int) -> dict[str, Any]:
    """Each method's figures by seed, and their mean and spread."""
    rows: dict[str, list[dict]] = {method: [] for method in args.methods}
    for seed in args.seeds:
        with tempfile.TemporaryDirectory() as scratch:
            gaps = Gaps.make(args, path, Path(scratch), most_levels, seed)
            for method in args.methods:
                rows[method].append(measure(args, gaps, method, seed))
                common.note(f"{path.stem}, {method}, seed {seed}: {rows[method][-1]}")
    return {method: {"each": each, "over_seeds": common.spread(each)} for method, each in rows.items()}


@dataclass
class Gaps:
    """A table with cells removed: the known rows, the true rows, which of their cells are gone, and where all lies."""

    folder: Path
    known: Any
    truth: Any
    gone: Any
    categorical: list[str]

    @classmethod
    def make(cls, args, path: Path, folder: Path, most_levels: int, seed: int) -> "Gaps":
        """Write known.parquet and gaps.parquet into `folder`."""
        import numpy as np
        import pandas as pd

        train, test, few = common.halves(path, folder, most_levels=most_levels)
        known, truth = pd.read_parquet(train), pd.read_parquet(test)[: args.rows]
        generator = np.random.default_rng(seed)
        gone = (generator.random(truth.shape) < args.share) & truth.notna().to_numpy()
        known.to_parquet(folder / "known.parquet")
        truth.mask(gone).to_parquet(folder / "gaps.parquet")
        words = [c for c in known if not pd.api.types.is_numeric_dtype(known[c])]
        return cls(folder, known, truth, gone, [*words, *few])


def measure(args, gaps: Gaps, method: str, seed: int) -> dict[str, float]:
    """Fill the gaps in a process of its own, and score what came."""
    import pandas as pd

    if method == "column":
        return score(gaps, None, None)
    command = [
        "--method",
        method,
        "--seed",
        seed,
        "--draws",
        args.draws,
        "--categorical",
        ",".join(gaps.categorical),
    ]
    if args.epochs:
        command += ["--epochs", args.epochs]
    worker = [sys.executable, common.HERE / "impute_one.py", gaps.folder, *command]
    run = common.run_json(worker, threads=args.threads)[-1]
    draws, point = (gaps.folder / f"{method}-{kind}.parquet" for kind in ("draws", "point"))
    drawn = pd.read_parquet(draws) if draws.exists() else None
    return {**score(gaps, drawn, pd.read_parquet(point) if point.exists() else None), **run}


def score(gaps: Gaps, draws, point) -> dict[str, float]:
    """draws: all fillings under one another, or None; point: one best filling, or None to take it from the draws."""
    import numpy as np

    right, errors, nats = [], [], []
    for place, name in enumerate(gaps.truth):
        gone = gaps.gone[:, place]
        known, truth = gaps.known[name], gaps.truth[name].to_numpy()[gone]
        drawn = None if draws is None else draws[name].to_numpy().reshape(-1, len(gaps.truth))[:, gone]
        if name in gaps.categorical:
            best = most_frequent(drawn) if point is None and drawn is not None else known.mode()[0]
            right.append((best if point is None else point[name].to_numpy()[gone]) == truth)
        else:
            best = drawn.mean(0) if point is None and drawn is not None else known.mean()
            best = best if point is None else point[name].to_numpy()[gone]
            errors.append(np.sqrt(np.mean((best - truth) ** 2)) / known.std())
        if drawn is not None or point is None:
            nats.append(log_likelihood(known, truth, drawn, binned=name not in gaps.categorical))
    figures = {"accuracy": np.concatenate(right).mean(), "rmse": np.mean(errors)}
    if nats:
        figures["nats"] = np.concatenate(nats).mean()
    return {name: float(figure) for name, figure in figures.items()}


def most_frequent(drawn):
    """The most frequent of the draws (draws, cells) of each cell."""
    import pandas as pd

    codes, levels = pd.factorize(drawn.ravel(), sort=True)
    counts = (codes.reshape(drawn.shape)[:, :, None] == range(len(levels))).sum(0)
    return levels[counts.argmax(1)]


def log_likelihood(known, truth, drawn, *, binned: bool):
    """Nats of each cell (cells,) from its draws (draws, cells), or from the column's shares where there are none."""
    import numpy as np
    import pandas as pd

    if binned:
        edges = np.unique(np.quantile(known, np.linspace(0, 1, MOST_BINS + 1)[1:-1]))
        levels = range(len(edges) + 1)
        known, truth = (np.searchsorted(edges, values) for values in (known, truth))
        drawn = None if drawn is None else np.searchsorted(edges, drawn)
    else:
        levels = pd.unique(np.concatenate([known, truth]))
    counts = pd.Series(known).value_counts().reindex(levels, fill_value=0) + 1
    share = (counts / counts.sum()).loc[truth].to_numpy()
    if drawn is None:
        return np.log(share)
    return np.log(((drawn == truth).sum(0) + share) / (len(drawn) + 1))


def line(table: str, method: str, figures: dict) -> list[str]:
    over = figures["over_seeds"]
    numbers = [f"{over[n]['mean']:.3f}" if n in over else "" for n in ("accuracy", "rmse", "nats", "seconds")]
    return [table, method, *numbers]


if __name__ == "__main__":
    main()
