"""Training on several processes through torchrun."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.conftest import ROOT, people

OPTIONS = ["--epochs", "12", "--batch-size", "64", "--seed", "3"]


def run(command: list[str], tmp_path: Path) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TMPDIR": str(tmp_path)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500, check=False)


def best_loss(generator: Path) -> float:
    history = json.loads((generator / "history.json").read_text())
    return min(record["validation_loss"] for record in history)


@pytest.mark.long
def test_two_processes_reach_the_validation_loss_of_one(tmp_path: Path) -> None:
    data = tmp_path / "people.parquet"
    pq.write_table(people(3000).drop_columns("person"), data)
    torchrun = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "-m",
        "flows.distributed",
    ]
    two = run([*torchrun, "fit", str(data), "--out", str(tmp_path / "two"), *OPTIONS], tmp_path)
    assert two.returncode == 0, two.stderr
    assert two.stdout.count("lies at") == 1  # the first process alone speaks and writes
    one = run(
        [sys.executable, "-m", "flows.cli", "fit", str(data), "--out", str(tmp_path / "one"), *OPTIONS],
        tmp_path,
    )
    assert one.returncode == 0, one.stderr
    assert best_loss(tmp_path / "two") == pytest.approx(best_loss(tmp_path / "one"), rel=0.01)
    assert best_loss(tmp_path / "two") != best_loss(tmp_path / "one")  # the noise is each rank's own


def test_anything_but_fit_is_refused(tmp_path: Path) -> None:
    refused = run([sys.executable, "-m", "flows.distributed", "sample", "generator"], tmp_path)
    assert refused.returncode == 1
    assert "expected `fit DATA --out GENERATOR" in refused.stderr
