"""Fit mostlyai-engine's TabularARGN and draw from it; prints one line of JSON. Runs in the peers' environment.

The engine's defaults, but for the protection of rare values, which is switched off: it would cost the peer fidelity.
"""

import argparse
import json
import tempfile
import time
from statistics import median

import pandas as pd
import torch
from mostlyai.engine import TabularARGN


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("train")
    options.add_argument("--out", required=True)
    options.add_argument("--epochs", type=float, default=100.0, help="at most; it stops early by itself")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--threads", type=int, required=True)
    args = options.parse_args()
    torch.set_num_threads(args.threads)
    real = pd.read_parquet(args.train)
    with tempfile.TemporaryDirectory() as workspace:
        model = TabularARGN(
            max_epochs=args.epochs, value_protection=False, device="cpu", workspace_dir=workspace,
            random_state=args.seed,
        )  # fmt: skip
        began, worked = time.perf_counter(), time.process_time()
        model.fit(real)
        fit_seconds = time.perf_counter() - began
        processor_seconds = time.process_time() - worked
        seconds = []
        for draw in range(3):
            began = time.perf_counter()
            synthetic = model.sample(n_samples=len(real))
            seconds.append(time.perf_counter() - began)
            if draw == 0:
                synthetic[list(real.columns)].to_parquet(args.out)
    figures = {
        "fit_seconds": fit_seconds,
        "fit_processor_seconds": processor_seconds,
        "rows_per_second": len(real) / median(seconds),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
