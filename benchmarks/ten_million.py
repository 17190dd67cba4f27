"""Ten million planted rows through every stage, beside one million: seconds and memory of each.

Validate, codecs, a fit of one epoch, as many rows drawn, and a score on a random sample; see scale_one.py. `growth`:
processor seconds a row of the larger table over those of the smaller.
"""

import sys
import tempfile
from pathlib import Path

import common
from wide_tall import sizes

STAGES = ("validate", "codecs", "fit", "sample", "score")


def main() -> None:
    options = common.parser(__doc__)
    options.add_argument("--rows", type=sizes, default=sizes("1000000,10000000"))
    options.add_argument("--columns", type=int, default=20)
    options.add_argument("--max-minutes", type=float, help="of training, each")
    options.add_argument("--device", default="cpu")
    args = options.parse_args()
    where = common.machine()
    runs = [measure(args, rows) for rows in args.rows]
    figures = {"each": runs, "growth": growth(runs[0], runs[-1])}
    print(common.table(["rows", *STAGES, "most GB"], [line(run) for run in runs]))
    print("growth:", figures["growth"])
    common.write_result(args, where, figures)


def measure(args, rows: int) -> dict:
    """One size, in a fresh process."""
    import planted

    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "planted.parquet"
        planted.write(path, rows, args.columns)
        command = [sys.executable, common.HERE / "scale_one.py", path, "--whole", "--device", args.device]
        if args.max_minutes:
            command += ["--max-minutes", args.max_minutes]
        run = common.run_json(command, threads=args.threads)[-1]
    common.note(f"{rows:,} rows: {run}")
    return run


def growth(small: dict, large: dict) -> dict[str, float]:
    """Processor seconds a row of the large table over those of the small one."""
    out = {}
    for stage in STAGES[:-1]:
        seconds = [run[stage]["processor_seconds"] / run["rows"] for run in (small, large)]
        out[stage] = seconds[1] / seconds[0]
    return out


def line(run: dict) -> list[str]:
    seconds = [f"{run[stage]['processor_seconds']:.1f}" for stage in STAGES]
    return [f"{run['rows']:,}", *seconds, f"{max(run[s]['peak_bytes'] for s in STAGES) / 1e9:.2f}"]


if __name__ == "__main__":
    main()
