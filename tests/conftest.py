"""What the tests of flows, command line and documents share: a small table, its configuration, a Prefect server."""

import os
from collections.abc import Iterator
from pathlib import Path

# Before anything imports a numeric library: two tests' thread pools on two cores slow each other tenfold.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("GOMP_SPINCOUNT", "20000")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from tests.servers import S3Server, moto_server

ROOT = Path(__file__).resolve().parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first: two workers that share the files then end at about the same time."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def people(rows: int = 400, seed: int = 5) -> pa.Table:
    """A table with a planted dependence (income on smoker), missing values, dates and several rows a person."""
    random = np.random.default_rng(seed)
    smoker = random.random(rows) < 0.4
    income = np.round(random.normal(30_000, 4_000, rows) - 9_000 * smoker, 2)
    return pa.table(
        {
            "person": pa.array([f"p{i // 2:05}" for i in range(rows)]),
            "age": pa.array(random.integers(18, 90, rows)),
            "income": pa.array(income, mask=random.random(rows) < 0.1),
            "smoker": pa.array(smoker),
            "city": pa.array(random.choice(["Aachen", "Basel", "Cork"], rows, p=[0.6, 0.3, 0.1])),
            "seen": pa.array(random.integers(17_000, 20_000, rows).astype("int32"), type=pa.date32()),
        }
    )


PEOPLE_SCHEMA = {
    "entity": "person",
    "minimum_rows": 100,
    "columns": {
        "person": {"kind": "identifier", "type": "string", "nullable": False},
        "age": {"kind": "continuous", "type": "int64", "nullable": False, "minimum": 0, "maximum": 120},
        "income": {"kind": "continuous", "type": "double"},
        "smoker": {"kind": "boolean", "type": "bool", "nullable": False},
        "city": {
            "kind": "categorical",
            "type": "string",
            "nullable": False,
            "categories": ["Aachen", "Basel", "Cork"],
        },
        "seen": {"kind": "datetime", "type": "date32[day]", "nullable": False},
    },
}


@pytest.fixture
def people_file(tmp_path: Path) -> Path:
    """The table as a Parquet file."""
    path = tmp_path / "people.parquet"
    pq.write_table(people(), path)
    return path


@pytest.fixture
def config_file(tmp_path: Path, people_file: Path) -> Path:
    """A configuration of a run that takes seconds and passes its gate."""
    config = {
        "name": "people",
        "input": str(people_file),
        "store": str(tmp_path / "store"),
        "seed": 7,
        "schema": PEOPLE_SCHEMA,
        "model": {
            "epochs": 3,
            "compress_dims": [16],
            "decompress_dims": [16],
            "embedding_dim": 4,
            "batch_size": 50,
        },
        "sample": {"rows": 300, "rows_per_part": 200},
        "score": {"targets": ["smoker"]},
        "gate": {"rules": [{"metric": "fidelity.shape", "at_least": 0.1, "why": "it is only a test"}]},
    }
    path = tmp_path / "people.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """One temporary Prefect server with a database of its own for all tests that run flows."""
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
    from prefect.testing.utilities import prefect_test_harness

    with (
        prefect_test_harness(server_startup_timeout=120),
        temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}),  # a second saved for each run
    ):
        yield


@pytest.fixture(scope="session")
def moto() -> Iterator[S3Server]:
    """An S3 server (moto) for the tests of the whole line."""
    with moto_server() as server:
        yield server
