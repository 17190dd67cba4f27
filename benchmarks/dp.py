"""Adult under differential privacy: the default preset at several epsilons, beside TabularARGN's private output.

Every row is protected with (epsilon, 1e-5). Codecs, margins and networks are all fitted within the budget; categories
and ranges are not declared. The same scorer as in adult.py.
"""

import tempfile
from pathlib import Path

import common

TARGET, DELTA = "income", 1e-5


def main() -> None:
    options = common.parser(__doc__)
    common.seeds_option(options)
    options.add_argument(
        "--epsilons", default="1,3,10", type=lambda text: [float(e) for e in text.split(",")]
    )
    args = options.parse_args()
    where = common.machine()
    train = common.shared_file(args, "data", "adult_split", "train.parquet")
    test = common.shared_file(args, "data", "adult_split", "test.parquet")
    peer = common.shared_file(args, "data", "adult_split", "peers", "tabularargn_dp_1.parquet")
    figures = {
        "TabularARGN": {"over_seeds": common.spread([common.score(args, train, test, peer, [], TARGET)])}
    }
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(args.scratch or scratch)
        for epsilon in args.epsilons:
            figures[f"{epsilon:g}"] = over_seeds(args, epsilon, train, test, folder)
    rows = [
        [name, *(f"{f['over_seeds'][s]['mean']:.3f}" for s in common.SCORES)] for name, f in figures.items()
    ]
    print(common.table(["epsilon", *common.SCORES], rows))
    common.write_result(args, where, figures)


def over_seeds(args, epsilon: float, train: Path, test: Path, folder: Path) -> dict:
    """Each seed's figures, and their mean and spread."""
    rows = []
    for seed in args.seeds:
        out = folder / f"adult-dp-{epsilon:g}-{seed}.parquet"
        options = ["--epsilon", epsilon, "--delta", DELTA, "--seed", seed, "--out", out]
        fitted = common.fit_ours(train, *options, threads=args.threads)
        rows.append({**common.score(args, train, test, out, [], TARGET), **fitted})
        common.note(f"epsilon {epsilon:g}, seed {seed}: {rows[-1]}")
    return {"seeds": args.seeds, "each": rows, "over_seeds": common.spread(rows)}


if __name__ == "__main__":
    main()
