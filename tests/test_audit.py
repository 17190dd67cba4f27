"""The audit of dependencies: what it says of a vulnerability, of none, and of no answer."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.scripted_server import Answer, scripted_server

pytestmark = pytest.mark.slow
WEAK = {
    "vulns": [
        {
            "id": "PYSEC-2018-28",
            "summary": "credentials are sent on",
            "affected": [
                {
                    "package": {"name": "requests", "ecosystem": "PyPI"},
                    "ranges": [
                        {"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2.20.0"}]}
                    ],
                    "versions": ["2.19.0"],
                }
            ],
        }
    ]
}  # fmt: skip


def audit(folder: Path, url: str) -> subprocess.CompletedProcess[str]:
    pins = folder / "constraints.txt"
    if not pins.exists():
        pins.write_text("# pinned\nrequests==2.19.0\n")
        os.utime(pins, (1, 1))
    script = str(ROOT / "deployments" / "audit.py")
    command = [sys.executable, script, str(pins), "--stamp", str(folder / "stamp"), "--osv-url", url]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_known_vulnerability_fails_with_the_version_that_mends_it(tmp_path: Path) -> None:
    with scripted_server(Answer(200, json.dumps(WEAK).encode())) as script:
        done = audit(tmp_path, f"{script.endpoint}/v1/query")
    assert done.returncode == 1
    assert "requests 2.19.0: PYSEC-2018-28, mended in 2.20.0" in done.stdout
    assert not (tmp_path / "stamp").exists()


def test_without_one_it_passes_and_asks_again_after_a_day_or_new_pins_alone(tmp_path: Path) -> None:
    with scripted_server(Answer(200, b"{}")) as script:
        url = f"{script.endpoint}/v1/query"
        assert "1 packages, no known vulnerability" in audit(tmp_path, url).stdout
        asked = len(script.requests)
        assert asked == 1
        assert audit(tmp_path, url).returncode == 0
        assert len(script.requests) == asked
        os.utime(tmp_path / "constraints.txt")
        audit(tmp_path, url)
        assert len(script.requests) == 2 * asked


def test_no_answer_is_said_and_stops_nobody(tmp_path: Path) -> None:
    done = audit(tmp_path, "http://127.0.0.1:1/v1/query")
    assert done.returncode == 0
    assert "NOT audited" in done.stdout
    assert not (tmp_path / "stamp").exists()
