"""Three cases of the kill matrix; `python benchmarks/kill_matrix.py` runs all thirty."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_run_struck_while_it_samples_publishes_what_an_undisturbed_run_does(tmp_path: Path) -> None:
    script = str(ROOT / "benchmarks" / "kill_matrix.py")
    command = [sys.executable, script, "--stages", "sample", "--moments", "end", "--results", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads((tmp_path / "kill_matrix.json").read_text())["figures"]
    assert summary["runs"] == summary["completed"] == summary["same_digest"] == 3
    assert summary["partial_releases"] == 0
