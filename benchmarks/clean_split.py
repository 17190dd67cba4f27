"""Adult without duplicates, cut in half: are synthetic rows nearer to training rows than to rows never seen?

The first half of `sample(frac=1, random_state=0)` trains, the rest is the holdout.

dcr_share: of 2,000 synthetic rows, the share that lie nearer to a training row than to a holdout row (0.5 is ideal). Of
so few rows one seed's share is off by .011 (one standard error); dcr_share_of_20000 is the same figure of 20,000.
exact_copies: share of all synthetic rows that equal a training row in every column.
exact_copies_holdout: the same of the holdout's rows, which no generator has made.
exact_copies_of_holdout: share of all synthetic rows that equal a holdout row: what falls on a row by chance alone.
unseen_shape, unseen_trend, unseen_c2st: the scores of fidelity with the holdout in place of the training rows: a
generator that had only memorised would do well above and badly here. `real_halves`: what the two real halves score.
"""

import runpy
import tempfile
from pathlib import Path

import common

PRIVACY = (
    "dcr_share",
    "dcr_share_of_20000",
    "exact_copies",
    "exact_copies_holdout",
    "exact_copies_of_holdout",
)
UNSEEN = ("shape", "trend", "c2st")


def main() -> None:
    options = common.parser(__doc__)
    common.seeds_option(options)
    options.add_argument("--epochs", type=int, help="fewer epochs, to try the script")
    args = options.parse_args()
    whole = common.shared_file(args, "data", "adult.parquet")
    where = common.machine()
    with tempfile.TemporaryDirectory() as scratch:
        figures = measure(args, whole, Path(args.scratch or scratch))
    means = figures["over_seeds"]
    names = [*PRIVACY, *common.SCORES, *(f"unseen_{name}" for name in UNSEEN)]
    print(common.table(["over the seeds", "mean", "min", "max"], [
        [n, *(f"{means[n][k]:.4g}" for k in ("mean", "min", "max"))] for n in names
    ]))  # fmt: skip
    common.write_result(args, where, figures)


def measure(args, whole: Path, folder: Path) -> dict:
    import pandas as pd

    train, holdout, _ = common.halves(whole, folder)
    real, unseen = pd.read_parquet(train), pd.read_parquet(holdout)
    categorical = [name for name in real if not pd.api.types.is_numeric_dtype(real[name])]
    distances = runpy.run_path(str(common.shared_file(args, "bench", "score.py")))["dcr"]
    halves = common.score(args, holdout, train, train, [], "income")
    rows = []
    for seed in args.seeds:
        out = folder / f"clean-{seed}.parquet"
        options = ["--seed", seed, "--out", out]
        if args.epochs:
            options += ["--epochs", args.epochs]
        common.fit_ours(train, *options, threads=args.threads)
        scores = common.score(args, train, holdout, out, [], "income")
        synthetic = pd.read_parquet(out)
        copies = {
            "exact_copies": share_standing_in(synthetic, real),
            "exact_copies_holdout": share_standing_in(unseen, real),
            "exact_copies_of_holdout": share_standing_in(synthetic, unseen),
        }
        against_unseen = common.score(args, holdout, train, out, [], "income")
        copies["dcr_share_of_20000"] = distances(real, unseen, synthetic, categorical, n=20_000)[0]
        rows.append({**scores, **copies, **{f"unseen_{name}": against_unseen[name] for name in UNSEEN}})
        common.note(f"seed {seed}: {rows[-1]}")
    return {
        "seeds": args.seeds,
        "real_halves": {name: halves[name] for name in UNSEEN},
        "each": rows,
        "over_seeds": common.spread(rows),
    }


def share_standing_in(rows, others) -> float:
    """The share of rows that equal one of `others` in every column; missing equals missing."""
    known = others.drop_duplicates()
    both = rows.merge(known, how="left", on=list(known.columns), indicator=True)
    return float((both["_merge"] == "both").mean())


if __name__ == "__main__":
    main()
