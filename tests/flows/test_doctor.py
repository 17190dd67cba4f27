"""``tvae doctor`` on installations that lack something."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.servers import S3Server

NO_SERVER = {"PREFECT_API_URL": "http://127.0.0.1:9/api", "PREFECT_CLIENT_MAX_RETRIES": "0"}


def doctor(*arguments: str, **changes: str) -> tuple[int, list[dict[str, Any]]]:
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "doctor", "--json", *arguments],
        capture_output=True, text=True, env={**os.environ, **NO_SERVER, **changes}, check=False, timeout=120,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout)


def of(findings: list[dict[str, Any]], what: str) -> list[tuple[str, str, str]]:
    return [(found["level"], found["found"], found["mend"]) for found in findings if found["what"] == what]


@pytest.mark.slow
def test_a_server_that_does_not_answer_fails_with_what_to_do_and_the_rest_is_looked_at(
    config_file: Path, tmp_path: Path
) -> None:
    code, findings = doctor(str(config_file))
    assert code == 1
    ((level, _, mend),) = of(findings, "server")
    assert level == "fail"
    assert "PREFECT_API_URL" in mend
    assert [level for level, *_ in of(findings, "settings")] == ["ok"]
    assert "400 rows" in of(findings, "settings")[0][1]
    assert [level for level, *_ in of(findings, "store")][:2] == ["ok", "ok"]
    assert not [path for path in (tmp_path / "store").rglob("*") if path.is_file()]  # the probe is removed
    assert of(findings, "torch") and of(findings, "threads")


@pytest.mark.slow
def test_a_bucket_that_is_missing_and_a_configuration_that_is_wrong_are_named_without_a_credential(
    config_file: Path, moto: S3Server
) -> None:
    code, findings = doctor("--store", "s3://no-such-bucket-here", **moto.environment)
    assert code == 1
    ((level, _, mend),) = of(findings, "store")
    assert level == "fail"
    assert "no-such-bucket-here" in mend
    assert moto.secret_key not in json.dumps(findings)

    config_file.write_text(config_file.read_text().replace("epochs:", "epohs:"))
    _, findings = doctor(str(config_file))
    ((level, _, mend),) = of(findings, "settings")
    assert level == "fail"
    assert "did you mean epochs?" in mend
