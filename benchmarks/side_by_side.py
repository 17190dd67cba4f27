"""Fit one of our presets and a peer in turns, in one run, with equal threads. Shared by two scripts."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import common


def main(
    description: str | None, *, ours: Sequence[str], peer: str, label: str, epochs: int | None = None
) -> None:
    """Measure, print, and write NAME.json, NAME being the calling script's."""
    options = common.parser(description or "")
    options.add_argument("--rounds", type=int, default=1)
    options.add_argument("--epochs", type=int, default=epochs, help="on both sides")
    args = options.parse_args()
    train = common.shared_file(args, "data", "adult_split", "train.parquet")
    test = common.shared_file(args, "data", "adult_split", "test.parquet")
    common.peers_python()
    where = common.machine()
    limit = ["--epochs", args.epochs] if args.epochs else []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(args.scratch or scratch)
        tables = {side: folder / f"{Path(peer).stem}-{side}.parquet" for side in ("ours", "peer")}
        sides = {
            "ours": lambda: common.fit_ours(
                train, *ours, *limit, "--out", tables["ours"], threads=args.threads
            ),
            "peer": lambda: common.run_peer(
                peer, train, *limit, "--out", tables["peer"], threads=args.threads
            ),
        }
        runs = common.in_turns(args.rounds, sides)
        scores = {side: common.score(args, train, test, tables[side], [], "income") for side in sides}
    fit = {side: [run["fit_seconds"] for run in runs[side]] for side in sides}
    faster = common.ratios(fit["peer"], fit["ours"])
    worked = {side: [run["fit_processor_seconds"] for run in runs[side]] for side in sides}
    kept = {side: {k: v for k, v in s.items() if k in common.SCORES} for side, s in scores.items()}
    figures = {
        "peer": label,
        "runs": runs,
        "times_faster": faster,
        # Of the main processes: what a peer's helper processes work is not counted, to its advantage.
        "times_less_processor_time": common.ratios(worked["peer"], worked["ours"]),
        "scores": kept,
    }
    names = {"ours": ours[-1], "peer": label}
    rows = [
        [names[s], *(f"{kept[s][k]:.3f}" for k in common.SCORES), f"{median(fit[s]):.0f}",
         f"{median(r['rows_per_second'] for r in runs[s]):,.0f}"]
        for s in sides
    ]  # fmt: skip
    print(common.table(["generator", *common.SCORES, "fit s", "rows/s"], rows))
    less = figures["times_less_processor_time"]["median"]
    print(f"ours is {faster['median']:.2f} times as fast to fit, with {less:.2f} times less processor time")
    common.write_result(args, where, figures)
