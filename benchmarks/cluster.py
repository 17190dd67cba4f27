"""How much faster a sample is drawn by a Dask cluster of this machine than by one process; the bytes are compared too.

A cluster takes seconds to start, whatever it draws: that time is measured by itself, on a sample of one row for each
worker, and both rates are given, with it and without. One process and each worker have `--threads` threads.
"""

import os
import tempfile
import time
from pathlib import Path
from typing import Any

import common

PARTS = 8


def main() -> None:
    options = common.parser(__doc__)
    options.add_argument("--rows", type=int, default=3_200_000)
    options.add_argument("--workers", type=int, default=2)
    args = options.parse_args()
    # Before torch is imported, here and in the workers: one process and each worker have the same threads.
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    where = common.machine()

    from prefect.testing.utilities import prefect_test_harness

    from configs.cluster import ClusterSection

    alone, spread = ClusterSection(), ClusterSection(workers=args.workers)
    with tempfile.TemporaryDirectory() as folder, prefect_test_harness(server_startup_timeout=300):
        generator = fit(Path(folder))
        starts = draw(generator, Path(folder) / "start", args.workers, spread)["seconds"]
        one = draw(generator, Path(folder) / "one", args.rows, alone)
        many = draw(generator, Path(folder) / "many", args.rows, spread)
    drawing = many["seconds"] - starts
    found = {
        "rows": args.rows,
        "workers": args.workers,
        "one_seconds": one["seconds"],
        "cluster_seconds": many["seconds"],
        "start_seconds": starts,
        "speed_up": round(one["seconds"] / many["seconds"], 2),
        "speed_up_without_start": round(one["seconds"] / drawing, 2),
        "same_bytes": one["digest"] == many["digest"],
    }
    common.write_result(args, where, found)


def fit(folder: Path) -> Path:
    """A generator of the default preset, hardly trained: drawing takes as long as from a good one."""
    import numpy as np
    import pandas as pd

    from tvae_core import TVAE

    random = np.random.default_rng(0)
    numbers = {f"x{i}": random.normal(0, 1, 4000) for i in range(6)}
    levels = {f"c{i}": random.choice(list("abcdefgh"), 4000) for i in range(6)}
    TVAE(epochs=1, seed=1).fit(pd.DataFrame(numbers | levels)).save(folder / "generator")
    return folder / "generator"


def draw(generator: Path, store: Path, rows: int, cluster: Any) -> dict[str, Any]:
    """Draw a sample as a run does; its digest, and how long it took."""
    from prefect import flow

    from configs.run import SampleSection
    from flows.shards import draw_sample
    from tasks.references import SplitRef, TableRef, Workspace
    from tasks.services.generators import reference_generator

    run = flow(draw_sample, name="benchmark", persist_result=False, validate_parameters=False)
    split = SplitRef(TableRef("file:///none", "0" * 64, 2, ()), 0, 0.5, None, 1, 1)
    section = SampleSection(rows=rows, rows_per_part=max(1, rows // PARTS))
    options: dict[str, Any] = {"seed": 3, "device": "cpu", "workspace": Workspace(str(store), "runs/a/1")}
    began = time.monotonic()
    table = run(reference_generator(str(generator)), split, section, None, cluster, **options)
    return {"digest": table.digest, "seconds": round(time.monotonic() - began, 1)}


if __name__ == "__main__":
    main()
