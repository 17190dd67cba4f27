"""Default of Credit Card Clients: the default preset over several seeds, scored by the independent scorer.

The first half of `sample(frac=1, random_state=0)` trains, the rest tests. Categorical, for the generator as for the
scorer: every column with at most 11 distinct values.
"""

import tempfile
from pathlib import Path

import common

TARGET = "default_payment_next_month"
MOST_LEVELS = 11


def main() -> None:
    options = common.parser(__doc__)
    common.seeds_option(options)
    options.add_argument("--epochs", type=int, help="fewer epochs, to try the script")
    args = options.parse_args()
    whole = common.shared_file(args, "data", "default.parquet")
    where = common.machine()
    with tempfile.TemporaryDirectory() as scratch:
        figures = measure(args, whole, Path(args.scratch or scratch))
    means = figures["over_seeds"]
    names = [*common.SCORES, "trtr", "fit_seconds", "rows_per_second"]
    print(common.table(["over the seeds", "mean", "min", "max"], [
        [n, *(f"{means[n][k]:.4g}" for k in ("mean", "min", "max"))] for n in names
    ]))  # fmt: skip
    common.write_result(args, where, figures)


def measure(args, whole: Path, folder: Path) -> dict:
    train, test, categorical = common.halves(whole, folder, most_levels=MOST_LEVELS)
    rows = []
    for seed in args.seeds:
        out = folder / f"default-{seed}.parquet"
        options = ["--seed", seed, "--categorical", ",".join(categorical), "--out", out]
        if args.epochs:
            options += ["--epochs", args.epochs]
        fitted = common.fit_ours(train, *options, threads=args.threads)
        scores = common.score(args, train, test, out, categorical, TARGET)
        rows.append({**scores, **fitted})
        common.note(f"seed {seed}: {rows[-1]}")
    return {
        "seeds": args.seeds,
        "categorical": categorical,
        "each": rows,
        "over_seeds": common.spread(rows),
    }


if __name__ == "__main__":
    main()
