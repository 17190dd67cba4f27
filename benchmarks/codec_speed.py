"""Codecs: fit and transform of Adult, ours and CTGAN's DataTransformer in turns.

Each time comes from a fresh process, first call included, imports excluded. What is compared is the ratio within a
round. CTGAN transforms columns in parallel processes, whatever the number of threads.
"""

import sys
from statistics import median

import common


def main() -> None:
    options = common.parser(__doc__)
    options.add_argument("--rounds", type=int, default=5)
    args = options.parse_args()
    train = common.shared_file(args, "data", "adult_split", "train.parquet")
    common.peers_python()
    where = common.machine()

    def ours(preset: str) -> float:
        command = [sys.executable, common.HERE / "codec_one.py", train, "--preset", preset]
        return common.run_json(command, threads=args.threads)[-1]["seconds"]

    def peer() -> float:
        return common.run_peer("ctgan_transformer.py", train, threads=args.threads)["seconds"]

    sides = {"default": lambda: ours("default"), "reference": lambda: ours("reference"), "ctgan": peer}
    seconds = common.in_turns(args.rounds, sides)
    ratios = {name: common.ratios(seconds["ctgan"], seconds[name]) for name in ("default", "reference")}
    figures = {"seconds": seconds, "times_faster": ratios}
    rows = [
        [n, f"{median(s):.3f}", f"{ratios[n]['median']:.0f}" if n in ratios else "1"]
        for n, s in seconds.items()
    ]
    print(common.table(["codecs", "seconds (median)", "times faster (median of pairs)"], rows))
    common.write_result(args, where, figures)


if __name__ == "__main__":
    main()
