"""Wide and tall planted tables: time and memory of codecs, a fit of one epoch and sampling, as the table grows.

Tall: 20 columns, ever more rows. Wide: 10,000 rows, ever more columns. The slope of log(processor
seconds) over log(size) is 1 where time grows linearly, and below where a fixed cost is still felt; it is taken over
the upper half of the sizes. Processor seconds, because they don't grow when others use the machine; seconds by the
clock are written as well.
The batch size is what the default chooses: larger for tall tables, 128 for the wide ones here.
"""

import math
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import common

STAGES = ("codecs", "fit", "sample")


def sizes(text: str) -> list[int]:
    return [int(part) for part in text.split(",") if part]


def main() -> None:
    options = common.parser(__doc__)
    options.add_argument("--rows", type=sizes, default=sizes("10000,30000,100000,300000,1000000"))
    options.add_argument("--columns", type=sizes, default=sizes("20,50,100,300,1000"))
    options.add_argument("--tall-columns", type=int, default=20)
    options.add_argument("--wide-rows", type=int, default=10_000)
    options.add_argument("--max-minutes", type=float, help="of training, each; see scale_one.py")
    options.add_argument("--device", default="cpu")
    args = options.parse_args()
    where = common.machine()
    tall = [measure(args, rows, args.tall_columns) for rows in args.rows]
    wide = [measure(args, args.wide_rows, columns) for columns in args.columns]
    figures = {
        "tall": {"each": tall, "slopes": slopes(tall, "rows")},
        "wide": {"each": wide, "slopes": slopes(wide, "columns")},
    }
    head = ["rows", "columns", *(f"{s} s" for s in STAGES), *(f"{s} GB" for s in STAGES)]
    print(common.table(head, [line(run) for run in (*tall, *wide)]))
    print("slopes:", {name: figures[name]["slopes"] for name in ("tall", "wide")})
    common.write_result(args, where, figures)


def measure(args, rows: int, columns: int) -> dict:
    """One size, in a fresh process."""
    import planted

    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "planted.parquet"
        planted.write(path, rows, columns)
        command = [sys.executable, common.HERE / "scale_one.py", path]
        if args.max_minutes:
            command += ["--max-minutes", args.max_minutes]
        run = common.run_json([*command, "--device", args.device], threads=args.threads)[-1]
    common.note(f"{rows:,} rows x {columns:,} columns: {run}")
    return run


def slopes(runs: Sequence[dict], key: str) -> dict[str, float]:
    """The least-squares slope of log(processor seconds) over log(size) by stage, over the upper half of the sizes."""
    upper = runs[len(runs) // 2 :]
    if len(upper) < 2:
        return {}
    sizes = [math.log(run[key]) for run in upper]
    out = {}
    for stage in STAGES:
        seconds = [math.log(run[stage]["processor_seconds"]) for run in upper]
        out[stage] = statistics.linear_regression(sizes, seconds).slope
    return out


def line(run: dict) -> list[str]:
    seconds = [f"{run[s]['processor_seconds']:.2f}" for s in STAGES]
    memory = [f"{run[s]['peak_bytes'] / 1e9:.2f}" for s in STAGES]
    return [f"{run['rows']:,}", f"{run['columns']:,}", *seconds, *memory]


if __name__ == "__main__":
    main()
