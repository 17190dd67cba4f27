"""Adult: both presets over several seeds, scored by the independent scorer.

Trains on data/adult_split/train.parquet and scores against train and test. Everything is chosen inside `fit`.
That split shares rows between train and test, so no privacy figure is taken from it: see clean_split.py.
"""

import tempfile
from pathlib import Path

import common

TARGET = "income"


def main() -> None:
    options = common.parser(__doc__)
    common.seeds_option(options)
    options.add_argument("--presets", default="default,reference", type=lambda text: text.split(","))
    options.add_argument("--epochs", type=int, help="fewer epochs, to try the script")
    args = options.parse_args()
    where = common.machine()
    figures = {preset: over_seeds(args, preset) for preset in args.presets}
    head = ["preset", *common.SCORES, "fit s", "rows/s"]
    print(common.table(head, [line(preset, f["over_seeds"]) for preset, f in figures.items()]))
    common.write_result(args, where, figures)


def over_seeds(args, preset: str) -> dict:
    """Each seed's figures, and their mean and spread."""
    train = common.shared_file(args, "data", "adult_split", "train.parquet")
    test = common.shared_file(args, "data", "adult_split", "test.parquet")
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for seed in args.seeds:
            out = Path(args.scratch or scratch) / f"adult-{preset}-{seed}.parquet"
            options = ["--preset", preset, "--seed", seed, "--out", out]
            if args.epochs:
                options += ["--epochs", args.epochs]
            fitted = common.fit_ours(train, *options, threads=args.threads)
            scores = common.score(args, train, test, out, [], TARGET)
            privacy = ("dcr_share", "exact")
            rows.append({**{k: v for k, v in scores.items() if k not in privacy}, **fitted})
            common.note(f"{preset}, seed {seed}: {rows[-1]}")
    return {"seeds": args.seeds, "each": rows, "over_seeds": common.spread(rows)}


def line(preset: str, figures: dict) -> list[str]:
    scores = [f"{figures[s]['mean']:.3f}" for s in common.SCORES]
    return [
        preset,
        *scores,
        f"{figures['fit_seconds']['mean']:.0f}",
        f"{figures['rows_per_second']['mean']:,.0f}",
    ]


if __name__ == "__main__":
    main()
