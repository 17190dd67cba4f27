"""Time one fit and transform of CTGAN's DataTransformer; prints one line of JSON. Runs in the peers' environment.

Only calls the package: nothing of it is taken over.
"""

import argparse
import json
import time

import pandas as pd
import torch
from ctgan.data_transformer import DataTransformer


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("train")
    options.add_argument("--threads", type=int, required=True)
    args = options.parse_args()
    torch.set_num_threads(args.threads)
    real = pd.read_parquet(args.train)
    discrete = [c for c in real if not pd.api.types.is_numeric_dtype(real[c])]
    transformer = DataTransformer()
    began = time.perf_counter()
    transformer.fit(real, discrete)
    fitted = time.perf_counter()
    transformer.transform(real)
    done = time.perf_counter()
    print(
        json.dumps(
            {"seconds": done - began, "fit_seconds": fitted - began, "transform_seconds": done - fitted}
        )
    )


if __name__ == "__main__":
    main()
