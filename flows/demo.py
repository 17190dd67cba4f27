"""Writes the demo's table: the RAND Health Insurance Experiment, as it ships inside statsmodels (public domain).

``python -m flows.demo demo/rand-hie.parquet`` writes 20,190 person-years x 45 columns, once.
"""

import importlib.util
import os
import sys
from pathlib import Path

import click
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from tvae_core.errors import DataError


def write_demo_table(path: Path) -> bool:
    """Write the table to `path` unless it is there; whether it was written. Raises DataError without statsmodels."""
    if path.exists():
        return False
    found = importlib.util.find_spec("statsmodels")
    if found is None or found.origin is None:
        raise DataError(
            "the demo's table ships inside statsmodels: install it with `pip install statsmodels`"
        )
    csv = Path(found.origin).parent / "datasets" / "randhie" / "src" / "randhie.csv"
    table: pa.Table = pyarrow.csv.read_csv(csv)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    pq.write_table(table, partial)
    partial.replace(path)
    return True


def main() -> None:
    """Write the table to the path given on the command line."""
    path = Path(sys.argv[1])
    click.echo(f"{path}: {'written' if write_demo_table(path) else 'is there already'}")


if __name__ == "__main__":
    main()
