"""Fit codecs, train one epoch and sample as many rows, on one planted table; prints one line of JSON.

A worker of wide_tall.py: each size gets a fresh process. Seconds and the most memory held, stage by stage:

codecs: `TableCodec.fit` and `encode`, from Parquet row groups.
fit: `TVAE.fit` with one epoch, codecs and prior included; `epoch_seconds` is the epoch alone, by the clock.
sample: `sample_batches`, written to Parquet as they come.
Processor seconds stand beside seconds by the clock: they don't grow when others use the machine.
Memory includes the interpreter and its libraries, which are also given alone (`at_start_bytes`).
"""

import argparse
import gc
import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tvae_core import TVAE, ModelSettings, TableCodec, as_source, infer_schema

STATUS = Path("/proc/self/status")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("table", type=Path)
    options.add_argument("--batch-size", type=int)
    options.add_argument("--device", default="cpu")
    args = options.parse_args()
    source = as_source(args.table)
    schema = infer_schema(source)
    figures = {"rows": source.num_rows, "columns": len(schema.names), "at_start_bytes": peak_bytes()}

    with Stage() as codecs:
        codec = TableCodec.fit(source, schema, ModelSettings().resolved(), seed=0)
        encoded = codec.encode(source)
    figures["tokens_bytes"] = encoded.codes.nbytes + encoded.scalars.nbytes
    del codec, encoded
    gc.collect()

    epochs: list[dict] = []
    settings = {} if args.batch_size is None else {"batch_size": args.batch_size}
    with Stage() as fit:
        model = TVAE(epochs=1, device=args.device, **settings).fit(args.table, schema, on_epoch=epochs.append)
    figures["epoch_seconds"] = epochs[0]["seconds"]
    figures["batch_size"] = model.settings_.batch_size

    with Stage() as sample, tempfile.NamedTemporaryFile(suffix=".parquet") as out:
        write(model, source.num_rows, out.name)
    figures |= {"codecs": codecs.figures, "fit": fit.figures, "sample": sample.figures}
    print(json.dumps(figures))


class Stage:
    """Seconds by the clock and of the processor, and the most memory held, inside a `with` block."""

    def __enter__(self) -> "Stage":
        start_peak()
        self.began = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *error: object) -> None:
        self.figures = {
            "seconds": time.perf_counter() - self.began[0],
            "processor_seconds": time.process_time() - self.began[1],
            "peak_bytes": peak_bytes(),
        }


def write(model: TVAE, rows: int, path: str) -> None:
    writer = None
    for batch in model.sample_batches(rows):
        writer = writer or pq.ParquetWriter(path, batch.schema)
        writer.write_table(pa.Table.from_batches([batch]))
    if writer:
        writer.close()


def start_peak() -> None:
    """Let the system forget the most memory held so far, where it can (Linux)."""
    forget = Path("/proc/self/clear_refs")
    if forget.exists():
        forget.write_text("5")


def peak_bytes() -> int:
    """The most resident memory since `start_peak`, or since the start where the system can't forget."""
    if STATUS.exists():
        for line in STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main()
