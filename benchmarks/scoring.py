"""A full report, `tvae score` with a holdout, every figure and the HTML page: seconds and memory.

Adult (its published split, the generator's own rows) and a planted table of a million rows and 50 columns, where other
rows of the same plan stand for the synthetic table and the holdout. Each in a fresh process, by the command line.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import common
from wide_tall import sizes


def main() -> None:
    options = common.parser(__doc__)
    options.add_argument("--rows", type=sizes, default=sizes("1000000"))
    options.add_argument("--columns", type=int, default=50)
    args = options.parse_args()
    where = common.machine()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(args.scratch or scratch)
        figures = {"adult": adult(args, folder)}
        figures |= {f"{rows:,} x {args.columns}": planted_table(args, rows, folder) for rows in args.rows}
    rows = [
        [name, f"{f['seconds']:.0f}", f"{f['processor_seconds']:.0f}", f"{f['peak_bytes'] / 1e9:.2f}"]
        for name, f in figures.items()
    ]
    print(common.table(["table", "s", "processor s", "GB"], rows))
    common.write_result(args, where, figures)


def adult(args, folder: Path) -> dict:
    train, test = (
        common.shared_file(args, "data", "adult_split", f"{part}.parquet") for part in ("train", "test")
    )
    synthetic = folder / "adult.parquet"
    common.fit_ours(train, "--epochs", 5, "--out", synthetic, threads=args.threads)
    return scored(args, train, synthetic, test, folder, "--target", "income")


def planted_table(args, rows: int, folder: Path) -> dict:
    import planted

    parts = [folder / f"{name}.parquet" for name in ("real", "synthetic", "holdout")]
    for draw, part in enumerate(parts):
        planted.write(part, rows, args.columns, draw=draw)
    return scored(args, *parts, folder)


def scored(args, real: Path, synthetic: Path, holdout: Path, folder: Path, *options: str) -> dict:
    """Run `tvae score` and measure the process."""
    out = folder / "scores.json"
    command = [
        str(Path(sys.executable).parent / "tvae"), "score", "--real", str(real), "--synthetic", str(synthetic),
        "--holdout", str(holdout), "--json", str(out), "--html", str(folder / "report.html"), *options,
    ]  # fmt: skip
    limit = {f"{name}_NUM_THREADS": str(args.threads) for name in ("OMP", "MKL", "OPENBLAS")}
    began = time.monotonic()
    process = subprocess.Popen(command, env={**os.environ, **limit}, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"tvae score ended with {os.waitstatus_to_exitcode(status)}")
    figures = {
        "seconds": time.monotonic() - began,
        "processor_seconds": used.ru_utime + used.ru_stime,
        "peak_bytes": used.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
        "figures": len(json.loads(out.read_text())["figures"]),
        "page_bytes": (folder / "report.html").stat().st_size,
    }
    common.note(f"{real.stem}: {figures}")
    return figures


if __name__ == "__main__":
    main()
