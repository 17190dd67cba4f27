"""A whole fit of a large planted table, until training stops by itself, and as many rows drawn: seconds and memory.

581,000 rows and 55 columns by default, the size of Covertype. `--device cuda` names the card in the figures.
"""

import tempfile
from pathlib import Path

import common


def main() -> None:
    options = common.parser(__doc__)
    options.add_argument("--rows", type=int, default=581_000)
    options.add_argument("--columns", type=int, default=55)
    options.add_argument("--epochs", type=int, help="at most so many")
    options.add_argument("--device", default="cpu")
    args = options.parse_args()
    where = common.machine()
    import planted

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(args.scratch or scratch)
        path = folder / "planted.parquet"
        planted.write(path, args.rows, args.columns)
        limit = ["--epochs", args.epochs] if args.epochs else []
        out = folder / "synthetic.parquet"
        run = common.fit_ours(path, "--device", args.device, *limit, "--out", out, threads=args.threads)
    figures = {"rows": args.rows, "columns": args.columns, **run}
    head = ["rows x columns", "device", "fit s", "epochs", "rows/s", "most GB", "most GB on the device"]
    print(common.table(head, [line(figures)]))
    common.write_result(args, where, figures)


def line(figures: dict) -> list[str]:
    on_device = figures["device_peak_bytes"]
    return [
        f"{figures['rows']:,} x {figures['columns']}", figures["device"], f"{figures['fit_seconds']:.0f}",
        str(figures["epochs_trained"]), f"{figures['rows_per_second']:,.0f}", f"{figures['peak_bytes'] / 1e9:.2f}",
        "" if on_device is None else f"{on_device / 1e9:.2f}",
    ]  # fmt: skip


if __name__ == "__main__":
    main()
