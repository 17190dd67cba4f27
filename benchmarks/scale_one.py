"""Fit codecs, train one epoch and sample as many rows, on one planted table; prints one line of JSON.

A worker of wide_tall.py and ten_million.py: each size gets a fresh process. Seconds and the most memory held, stage by
stage:

validate (with --whole): `validate_table` against the schema proposed with ranges and categories.
codecs: `TableCodec.fit`, and the codes of all rows as `fit` makes them, in memory or in a file.
fit: `TVAE.fit` with one epoch, codecs and prior included. `trained_rows` are those that it reached; where
`--max-minutes` cut it, the processor seconds of the other `training_rows` are added at the rate of those reached.
sample: `sample_batches`, written to Parquet as they come.
score (with --whole): `score_tables` on a random sample of --scored-rows of the table and of what was drawn.
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

from tvae_core import TVAE, ModelSettings, TableCodec, TableSchema, TableSource, as_source, infer_schema
from tvae_core.token_file import encoded_table

STATUS = Path("/proc/self/status")


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("table", type=Path)
    options.add_argument("--max-minutes", type=float, help="of training")
    options.add_argument("--whole", action="store_true", help="validate and score, too")
    options.add_argument("--scored-rows", type=int, default=50_000)
    options.add_argument("--device", default="cpu")
    args = options.parse_args()
    source = as_source(args.table)
    schema = infer_schema(source)
    figures = {"rows": source.num_rows, "columns": len(schema.names), "at_start_bytes": peak_bytes()}
    if args.whole:
        figures["validate"] = validate(source)
    figures |= codecs(source, schema)
    model, fitted = fit(args, schema)
    figures |= fitted
    with tempfile.NamedTemporaryFile(suffix=".parquet") as out:
        with Stage() as stage:
            write(model, source.num_rows, out.name)
        figures["sample"] = stage.figures
        if args.whole:
            figures["score"] = score(source, as_source(out.name), schema, args.scored_rows)
    print(json.dumps(figures))


def validate(source: TableSource) -> dict:
    from tasks.services.expectations import validate_table

    declared = infer_schema(source, ranges=True)
    with Stage() as stage:
        report = validate_table(source, declared)
    if not report.passed:
        sys.exit("the table does not pass the validation against its own ranges")
    return stage.figures


def codecs(source: TableSource, schema: TableSchema) -> dict:
    with Stage() as stage:
        codec = TableCodec.fit(source, schema, ModelSettings().resolved(), seed=0)
        with encoded_table(codec, source) as encoded:
            tokens_bytes = encoded.codes.nbytes + encoded.scalars.nbytes
    del codec, encoded
    gc.collect()
    return {"codecs": stage.figures, "tokens_bytes": tokens_bytes}


def fit(args: argparse.Namespace, schema: TableSchema) -> tuple[TVAE, dict]:
    epochs: list[dict] = []
    steps: list[tuple[int, float]] = []
    training_rows = 0

    def on_rows(stage: str, done: int, rows: int) -> None:
        nonlocal training_rows
        if stage == "epoch 1":
            steps.append((done, time.process_time()))
            training_rows = rows

    settings = {} if args.max_minutes is None else {"max_minutes": args.max_minutes}
    with Stage() as stage:
        model = TVAE(epochs=1, device=args.device, **settings)
        model.fit(args.table, schema, on_epoch=epochs.append, on_rows=on_rows)
    (first, began), (trained, ended) = steps[0], steps[-1]
    missing = (training_rows - trained) * (ended - began) / max(1, trained - first)
    fitted = {**stage.figures, "processor_seconds": stage.figures["processor_seconds"] + missing}
    reached = {"trained_rows": trained, "training_rows": training_rows, "epoch_seconds": epochs[0]["seconds"]}
    return model, {"fit": fitted, **reached, "batch_size": model.settings_.batch_size}


def score(real: TableSource, synthetic: TableSource, schema: TableSchema, rows: int) -> dict:
    from tasks.services.scoring import score_tables
    from tvae_core.metrics import sample_rows

    with Stage() as stage:
        drawn = [as_source(sample_rows(table, rows, seed=0)) for table in (real, synthetic)]
        scores = score_tables(drawn[0], drawn[1], holdout=None, schema=schema)
    return {
        **stage.figures,
        "shape": scores.figures["fidelity.shape"],
        "trend": scores.figures["fidelity.trend"],
    }


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
        print(json.dumps(self.figures), file=sys.stderr, flush=True)


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
