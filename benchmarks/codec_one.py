"""Time one fit and encode of the default codecs; prints one line of JSON. A worker of codec_speed.py."""

import argparse
import json
import time

import pandas as pd

from tvae_core import ModelSettings, TableCodec, as_source, infer_schema


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("train")
    options.add_argument("--preset", default="default")
    args = options.parse_args()
    real = pd.read_parquet(args.train)
    schema = infer_schema(real)  # the peer is told which columns are discrete, so this is told as well
    settings = ModelSettings(preset=args.preset).resolved()
    began = time.perf_counter()
    source = as_source(real)
    codec = TableCodec.fit(source, schema, settings, seed=0)
    fitted = time.perf_counter()
    codec.encode(source)
    done = time.perf_counter()
    print(
        json.dumps(
            {"seconds": done - began, "fit_seconds": fitted - began, "transform_seconds": done - fitted}
        )
    )


if __name__ == "__main__":
    main()
