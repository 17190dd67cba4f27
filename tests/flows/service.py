"""What `make up` starts, for tests: server, both workers, deployments; and how to talk to it."""

import contextlib
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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conftest import ROOT
from tests.processes import process_tree

START_SECONDS = 400
FINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def api(url: str, path: str, body: dict[str, Any] | None = None, tries: int = 6) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{url}{path}", data, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        if (
            error.code != 503 or tries == 1
        ):  # SQLite is busy for a moment: Prefect's own clients try again as well
            raise
        error.close()
    time.sleep(1)
    return api(url, path, body, tries - 1)


@dataclass(frozen=True)
class Service:
    """The address of the API, and the environment of a client."""

    url: str
    environment: dict[str, str]

    def create_run(self, deployment: str, parameters: dict[str, Any]) -> str:
        """Trigger a deployment as the UI does; the run's id."""
        identity = api(self.url, f"/deployments/name/{deployment}")["id"]
        body = {"parameters": parameters, "enforce_parameter_schema": True}
        return str(api(self.url, f"/deployments/{identity}/create_flow_run", body)["id"])

    def run(self, identity: str) -> dict[str, Any]:
        """What the server knows of a run."""
        return dict(api(self.url, f"/flow_runs/{identity}"))

    def set_state(self, identity: str, state: str) -> None:
        """Ask for another state, as the UI's buttons do."""
        api(self.url, f"/flow_runs/{identity}/set_state", {"state": {"type": state}})

    def runs(self, deployment: str) -> list[dict[str, Any]]:
        """All runs of a deployment."""
        flow, _, name = deployment.partition("/")
        body = {"flows": {"name": {"any_": [flow]}}, "deployments": {"name": {"any_": [name]}}}
        return list(api(self.url, "/flow_runs/filter", body))

    def wait_for(self, identity: str, *states: str, seconds: float = 240.0) -> dict[str, Any]:
        """Wait for one of the states (types), any final one by default."""
        deadline = time.monotonic() + seconds
        while (run := self.run(identity))["state_type"] not in (states or FINAL):
            assert time.monotonic() < deadline, run["state"]
            assert run["state_type"] not in FINAL, run["state"]
            time.sleep(0.5)
        return run


@contextlib.contextmanager
def running_service(folder: Path, **changes: str) -> Iterator[Service]:
    """Everything that `make up` starts, with its state below `folder`; nothing of it outlives the block."""
    port = free_port()
    environment = {
        **os.environ,
        "PYTHON": sys.executable,
        "TVAE_HOME": str(ROOT),
        "TVAE_STATE": str(folder / "var"),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_HOME": str(folder / "client"),
        **changes,
    }
    (folder / "client").mkdir()
    log = folder / "up.log"
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
        yield Service(environment["PREFECT_API_URL"], environment)
    finally:
        below = process_tree(process.pid)  # honcho gives each of its children a session of its own
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=30)
        finally:
            left = [pid for pid in below if alive(pid)]
            for pid in left:
                os.kill(pid, signal.SIGKILL)
    assert left == [], log.read_text()
