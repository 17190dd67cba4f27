"""``make up`` for real: server, both workers, deployments; a run triggered from outside completes on both pools."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.services.publishing import list_versions, verify_release
from tasks.services.store import open_store
from tests.conftest import ROOT

pytestmark = pytest.mark.slow
START_SECONDS = 180


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def descendants(root: int) -> list[int]:
    """A process and everything below it; honcho gives each of its children a session of its own."""
    listing = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    children: dict[int, list[int]] = {}
    for line in listing.splitlines():
        pid, parent = map(int, line.split())
        children.setdefault(parent, []).append(pid)
    found, queue = [], [root]
    while queue:
        found.append(queue.pop())
        queue.extend(children.get(found[-1], []))
    return found


def alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def api(url: str, path: str, body: dict[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{url}{path}", data, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """The address of the API of everything that `make up` starts, and the environment of a client."""
    port = free_port()
    environment = {
        **os.environ,
        "PYTHON": sys.executable,
        "TVAE_HOME": str(ROOT),
        "TVAE_STATE": str(tmp_path / "var"),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_HOME": str(tmp_path / "client"),
    }
    (tmp_path / "client").mkdir()
    log = tmp_path / "up.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [str(ROOT / "deployments" / "up.sh"), str(port)], stdout=output, stderr=output, env=environment
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while not (log.read_text().count("started!") == 2 and "ready: " in log.read_text()):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(1)
        assert f"ready: http://127.0.0.1:{port}" in log.read_text()
        yield environment["PREFECT_API_URL"], environment
    finally:
        below = descendants(process.pid)
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=30)
        finally:
            left = [pid for pid in below if alive(pid)]
            for pid in left:
                os.kill(pid, signal.SIGKILL)
    assert left == [], log.read_text()


def test_a_triggered_run_trains_on_the_gpu_pool_and_publishes_from_the_cpu_pool(
    service: tuple[str, dict[str, str]], config_file: Path, tmp_path: Path
) -> None:
    url, environment = service
    config = yaml.safe_load(config_file.read_text())
    config["table_schema"] = config.pop("schema")
    config["train"] = {"where": "gpu", "device": "cpu"}
    parameters = [part for key, value in config.items() for part in ("--param", f"{key}={json.dumps(value)}")]
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "deployment", "run", "synthesize/cpu", "--watch", *parameters],
        capture_output=True, text=True, env=environment, check=False, timeout=400,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    runs = {run["work_pool_name"]: run for run in api(url, "/flow_runs/filter", {})}
    assert {pool: run["state_type"] for pool, run in runs.items()} == {"cpu": "COMPLETED", "gpu": "COMPLETED"}
    assert runs["gpu"]["parent_task_run_id"] is not None
    store = open_store(tmp_path / "store")
    (version,) = list_versions(store, "releases", "people")
    assert verify_release(store, "people", version) == []
    keys = {artifact["key"] for artifact in api(url, "/artifacts/filter", {})}
    assert {"validation", "scores", "verdict", "release"} <= keys


def test_what_is_brought_up_is_what_the_documents_say(service: tuple[str, dict[str, str]]) -> None:
    url, _ = service
    pools = {pool["name"]: pool for pool in api(url, "/work_pools/filter", {})}
    assert pools["gpu"]["concurrency_limit"] == 1
    nightly = api(url, "/deployments/name/synthesize/cpu")
    assert [(entry["active"], entry["schedule"]["cron"]) for entry in nightly["schedules"]] == [
        (False, "0 2 * * *")
    ]
    form = nightly["parameter_openapi_schema"]["properties"]
    assert form["seed"]["maximum"] == 2**32 - 1
    assert all(field.get("description") or "$ref" in field for field in form.values())
    assert api(url, "/deployments/name/train-generator/gpu")["work_pool_name"] == "gpu"
    body = {"parameters": {"name": "../x", "input": "a", "store": "b"}, "enforce_parameter_schema": True}
    with pytest.raises(urllib.error.HTTPError) as refused:
        api(url, f"/deployments/{nightly['id']}/create_flow_run", body)
    with refused.value as answer:
        assert answer.code in (409, 422)
