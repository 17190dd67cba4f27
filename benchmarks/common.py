"""What the benchmarks share: options, the machine's description, processes with equal threads, tables, results.

Only the standard library is imported here, so that a script starts at once and a worker's clock and memory are its own.
"""

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
RESULTS = HERE / "results"
PEERS_PYTHON = ROOT / ".venv-peers" / "bin" / "python"
SCORES = ("shape", "trend", "c2st", "lr", "tstr")


def parser(description: str) -> argparse.ArgumentParser:
    """Options that every benchmark takes."""
    out = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    out.add_argument("--shared", type=Path, default=ROOT / ".." / "shared", help="bench/score.py and data/")
    out.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="threads on either side")
    out.add_argument("--results", type=Path, default=RESULTS, help="where NAME.json goes")
    out.add_argument("--scratch", type=Path, help="keep the synthetic tables here")
    return out


def seeds_option(options: argparse.ArgumentParser) -> None:
    """`--seeds 0,1,2`."""
    options.add_argument("--seeds", default="0,1,2", type=lambda text: [int(s) for s in text.split(",")])


def shared_file(args: argparse.Namespace, *parts: str) -> Path:
    """A file of the shared folder; ends the script with a clear reason when it is absent.

    The exit code is 0: `make bench` goes on with the benchmarks that need no table from outside.
    """
    path = args.shared.joinpath(*parts).resolve()
    if not path.exists():
        name = Path(sys.argv[0]).name
        print(
            f"{name}: skipped: no {'/'.join(parts)} under --shared {args.shared}: give the folder that holds it"
        )
        sys.exit(0)
    return path


def peers_python() -> Path:
    """The interpreter of the peers' own environment; ends the script with a clear reason when there is none."""
    if not PEERS_PYTHON.exists():
        print(f"{Path(sys.argv[0]).name}: skipped: no .venv-peers: `make -C benchmarks peers` sets it up")
        sys.exit(0)
    return PEERS_PYTHON


def run_json(command: Sequence[Any], *, threads: int) -> list[dict[str, Any]]:
    """Run a process with that many threads and read the JSON lines that it prints."""
    limit = {f"{k}_NUM_THREADS": str(threads) for k in ("OMP", "MKL", "OPENBLAS")}
    environment = {**os.environ, **limit, "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [str(part) for part in command], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{Path(str(command[1])).name} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def fit_ours(train: Path, *options: Any, threads: int) -> dict[str, Any]:
    """Fit and sample in a process of its own; see `fit_one.py` for options and figures."""
    return run_json([sys.executable, HERE / "fit_one.py", train, *options], threads=threads)[-1]


def run_peer(script: str, *options: Any, threads: int) -> dict[str, Any]:
    """Run one of `peers/*.py` in the peers' environment."""
    return run_json(
        [peers_python(), HERE / "peers" / script, *options, "--threads", threads], threads=threads
    )[-1]


def score(
    args: argparse.Namespace,
    train: Path,
    test: Path,
    synthetic: Path,
    categorical: Sequence[str],
    target: str,
) -> dict[str, float]:
    """The figures of the independent scorer, which imports nothing of this project."""
    script = shared_file(args, "bench", "score.py")
    command = [sys.executable, script, train, test, synthetic, "--target", target, "--json"]
    if categorical:
        command += ["--categorical", ",".join(categorical)]
    figures = run_json(command, threads=args.threads)[-1]
    figures.pop("synthetic")
    return figures


def halves(whole: Path, folder: Path, *, most_levels: int = 0) -> tuple[Path, Path, list[str]]:
    """Write the first half of `sample(frac=1, random_state=0)` and the rest into `folder`.

    Returns both paths, and the numeric columns with at most `most_levels` distinct values in the whole table.
    """
    import pandas as pd

    rows = pd.read_parquet(whole)
    numeric = [c for c in rows if pd.api.types.is_numeric_dtype(rows[c])]
    categorical = [c for c in numeric if rows[c].nunique() <= most_levels]
    rows = rows.sample(frac=1, random_state=0)
    middle = len(rows) // 2
    folder.mkdir(parents=True, exist_ok=True)
    train, test = folder / f"{whole.stem}-train.parquet", folder / f"{whole.stem}-test.parquet"
    rows[:middle].reset_index(drop=True).to_parquet(train)
    rows[middle:].reset_index(drop=True).to_parquet(test)
    return train, test, categorical


def in_turns(rounds: int, sides: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Call each side once per round, the order turned round by round; the results by side.

    A machine's speed drifts, so times of two sides are only compared within a round.
    """
    out: dict[str, list[Any]] = {name: [] for name in sides}
    for number in range(rounds):
        names = list(sides) if number % 2 == 0 else list(sides)[::-1]
        for name in names:
            began = time.monotonic()
            out[name].append(sides[name]())
            note(f"round {number + 1} of {rounds}: {name} ({time.monotonic() - began:.1f} s with start-up)")
    return out


def ratios(slow: Sequence[float], fast: Sequence[float]) -> dict[str, Any]:
    """The paired ratios slow / fast, and their median."""
    each = [a / b for a, b in zip(slow, fast, strict=True)]
    return {"median": statistics.median(each), "each": each}


def spread(rows: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Mean, smallest and largest of every figure over the seeds."""
    out = {}
    for key in (k for k, v in rows[0].items() if isinstance(v, int | float)):
        values = [row[key] for row in rows]
        out[key] = {"mean": statistics.fmean(values), "min": min(values), "max": max(values)}
    return out


def machine() -> dict[str, Any]:
    """Where and with what a figure was measured. Call it before the work: the load is the others'."""
    return {
        "cores": os.cpu_count(),
        "processor": processor(),
        "instructions": instructions(),
        "load_before": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "sdmetrics", "scikit-learn", "pandas", "pyarrow")},
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": commit(),
    }


def processor() -> str:
    """The processor's name where the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def instructions() -> str:
    """The widest vectors that torch computes with here: what times depend on beside the processor's name."""
    import torch

    bfloat16 = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    return torch.backends.cpu.get_cpu_capability() + (" and bfloat16" if bfloat16 else "")


def version(name: str) -> str | None:
    """The installed version of a distribution."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def commit() -> str | None:
    """The commit that the core was measured at; `+` where the core's files differ from it."""

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", ROOT, *words], capture_output=True, text=True, check=True).stdout

    try:
        changed = git("status", "--porcelain", "--", "tvae_core").strip()
        return git("rev-parse", "--short=10", "HEAD").strip() + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def write_result(args: argparse.Namespace, where: Mapping[str, Any], figures: Mapping[str, Any]) -> None:
    """Write NAME.json, NAME being the script's: the machine, the options, the figures."""
    name = Path(sys.argv[0]).stem
    options = {
        k: v
        for k, v in vars(args).items()
        if k not in ("shared", "results", "scratch") and not isinstance(v, Path)
    }
    body = {"name": name, "machine": where, "options": options, "figures": figures}
    args.results.mkdir(parents=True, exist_ok=True)
    path = args.results / f"{name}.json"
    path.write_text(json.dumps(rounded(body), indent=1) + "\n")
    print(f"written: {path.name}")


def rounded(value: Any) -> Any:
    """The same with six significant digits: what is measured isn't known any better."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, Mapping):
        return {k: rounded(v) for k, v in value.items()}
    return [rounded(v) for v in value] if isinstance(value, list | tuple) else value


def note(text: str) -> None:
    """Progress, on stderr."""
    print(text, file=sys.stderr, flush=True)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
