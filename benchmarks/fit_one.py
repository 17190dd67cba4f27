"""Fit one generator in this process and draw from it; prints one line of JSON. A worker of the other scripts.

    python fit_one.py TRAIN.parquet --preset default --seed 0 --out synthetic.parquet

fit_seconds: `TVAE.fit` from a DataFrame, codecs, early stopping and prior included.
rows_per_second: the median of three draws of as many rows as the training table has, as DataFrames.
peak_bytes: the most memory that the process held until then, interpreter and libraries included.
device_peak_bytes: the most that tensors took of a GPU's memory until then.
"""

import argparse
import json
import resource
import sys
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

import pandas as pd
import torch

from tvae_core import TVAE, ColumnKind, TableSchema, infer_schema

DRAWS = 3


def declared(table: pd.DataFrame, categorical: list[str]) -> TableSchema:
    """The proposed schema with these columns declared categorical."""
    schema = infer_schema(table)
    columns = [
        replace(c, kind=ColumnKind.CATEGORICAL) if c.name in categorical else c for c in schema.columns
    ]
    return replace(schema, columns=tuple(columns))


def on_device(device: torch.device) -> dict:
    """The device's name, and what was taken of its own memory."""
    if device.type != "cuda":
        return {"device": device.type, "device_peak_bytes": None}
    return {
        "device": torch.cuda.get_device_name(device),
        "device_peak_bytes": torch.cuda.max_memory_allocated(device),
    }


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("train", type=Path)
    options.add_argument("--preset", default="default")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--epochs", type=int)
    options.add_argument("--epsilon", type=float, help="differential privacy")
    options.add_argument("--delta", type=float)
    options.add_argument("--categorical", default="", help="columns to declare categorical, by commas")
    options.add_argument("--device", default="cpu")
    options.add_argument("--out", type=Path, required=True)
    args = options.parse_args()
    real = pd.read_parquet(args.train)
    schema = declared(real, args.categorical.split(","))
    chosen = {name: getattr(args, name) for name in ("epochs", "epsilon", "delta")}
    settings = {name: value for name, value in chosen.items() if value is not None}
    began, worked = time.perf_counter(), time.process_time()
    model = TVAE(args.preset, seed=args.seed, device=args.device, **settings).fit(real, schema)
    fit_seconds = time.perf_counter() - began
    processor_seconds = time.process_time() - worked
    seconds = []
    for draw in range(DRAWS):
        began = time.perf_counter()
        synthetic = model.sample(len(real), seed=args.seed + draw)
        seconds.append(time.perf_counter() - began)
        if draw == 0:
            synthetic.to_parquet(args.out)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    figures = {
        "fit_seconds": fit_seconds,
        "fit_processor_seconds": processor_seconds,
        "rows_per_second": len(real) / median(seconds),
        "epochs_trained": len(model.history_),
        "threads": torch.get_num_threads(),
        "peak_bytes": peak * (1 if sys.platform == "darwin" else 1024),
        **on_device(model.device),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
