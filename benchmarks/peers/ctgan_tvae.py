"""Fit CTGAN's TVAE and draw from it; prints one line of JSON. Runs in the peers' environment.

Only calls the package: nothing of it is taken over.
"""

import argparse
import json
import time
from statistics import median

import pandas as pd
import torch
from ctgan import TVAE


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("train")
    options.add_argument("--out", required=True)
    options.add_argument("--epochs", type=int, default=300)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--threads", type=int, required=True)
    args = options.parse_args()
    torch.set_num_threads(args.threads)
    real = pd.read_parquet(args.train)
    numeric = [c for c in real if pd.api.types.is_numeric_dtype(real[c])]
    model = TVAE(epochs=args.epochs, enable_gpu=False)
    model.set_random_state(args.seed)
    began, worked = time.perf_counter(), time.process_time()
    model.fit(real, [c for c in real if c not in numeric])
    fit_seconds = time.perf_counter() - began
    processor_seconds = time.process_time() - worked
    seconds = []
    for draw in range(3):
        began = time.perf_counter()
        synthetic = model.sample(len(real))
        seconds.append(time.perf_counter() - began)
        if draw == 0:
            whole = [c for c in numeric if pd.api.types.is_integer_dtype(real[c])]
            synthetic[whole] = synthetic[whole].round().astype("int64")
            synthetic.to_parquet(args.out)
    figures = {
        "fit_seconds": fit_seconds,
        "fit_processor_seconds": processor_seconds,
        "rows_per_second": len(real) / median(seconds),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
