"""Every stage x every fault, at two moments each: does the run, or the run after it, publish the very same release?

    python benchmarks/kill_matrix.py [--faults kill,store,server] [--stages train,sample] [--down 30]

A real Prefect server, a real worker of a process pool, a real object store (moto) behind a proxy that sees requests.
A fault strikes when a given request of a stage comes by, before the store gets it:

    kill     kill -9 of the worker and of everything below it, at that moment; a new worker is started
    store    the store refuses connections from that moment on, for 30 s
    server   kill -9 of Prefect's server at that moment; it is started again on the same database

A run that did not end Completed by itself is run again, as a schedule or `prefect deployment run` would. Counted: runs
that ended Completed, releases with the digest of an undisturbed run, releases partial at any moment looked at.
"""

import argparse
import contextlib
import itertools
import json
import os
import re
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import common

sys.path.insert(0, str(common.ROOT))

from tests.fault_proxy import FaultProxy, fault_proxy
from tests.processes import kill_tree, process_tree
from tests.servers import S3Server, moto_server

# The request that marks a moment of a stage: its first, and the one that completes it.
MOMENTS = {
    "validate": {"begin": rb"(PUT|HEAD|GET) \S+/schemas/", "end": rb"PUT \S+/validation\.json"},
    "train": {"begin": rb"HEAD \S+/generators/", "end": rb"PUT \S+/generators/\S+/weights"},
    "sample": {"begin": rb"HEAD \S+/sample/manifest", "end": rb"PUT \S+/sample/part-00001"},
    "score": {"begin": rb"HEAD \S+/scores\.json", "end": rb"PUT \S+/scores\.(md|json)"},
    "publish": {"begin": rb"PUT \S+/verdict", "end": rb"PUT \S+/releases/\S+/manifest\.json"},
}
FAULTS = ("kill", "store", "server")
FINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
NAME = "people"
RUN_SECONDS = 400


@dataclass(frozen=True)
class Outcome:
    """What became of one case."""

    stage: str
    moment: str
    fault: str
    struck: bool
    first_state: str
    runs: int
    state: str
    same_digest: bool
    partial_releases: int
    seconds: float


class Site:
    """Server, worker and store of one matrix; every process is stopped at the end."""

    def __init__(self, folder: Path, moto: S3Server, proxy: FaultProxy) -> None:
        self.folder, self.proxy = folder, proxy
        self.bucket = moto.make_bucket()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        self.api = f"http://127.0.0.1:{port}/api"
        self.environment = {
            **os.environ,
            **moto.environment,
            "PYTHONPATH": str(common.ROOT),
            "PREFECT_API_URL": self.api,
            "PREFECT_SERVER_API_PORT": str(port),
            "PREFECT_HOME": str(folder / "prefect"),
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            "OMP_NUM_THREADS": "1",
        }
        self.behind_proxy = self.environment | {"AWS_ENDPOINT_URL_S3": proxy.endpoint}
        self.server: subprocess.Popen[bytes] | None = None
        self.worker: subprocess.Popen[bytes] | None = None
        self.deployment = ""

    def start_server(self) -> None:
        self.server = self._start(["server", "start", "--host", "127.0.0.1"], self.environment, "server")
        wait_for(self._healthy, 120, "Prefect's server did not start")

    def start_worker(self) -> None:
        command = ["worker", "start", "--pool", "matrix", "--type", "process"]
        self.worker = self._start(command, self.behind_proxy, "worker")

    def _start(
        self, arguments: list[str], environment: dict[str, str], log: str
    ) -> "subprocess.Popen[bytes]":
        with (self.folder / f"{log}.log").open("ab") as output:
            command = [sys.executable, "-m", "prefect", "--no-prompt", *arguments]
            return subprocess.Popen(
                command,
                env=environment,
                cwd=self.folder,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def _healthy(self) -> bool:
        with contextlib.suppress(OSError):
            return urllib.request.urlopen(self.api + "/health", timeout=2).status == 200
        return False

    def kill_worker(self) -> None:
        """kill -9 of the worker and of everything that it started, children of children included."""
        if self.worker is not None:
            kill_tree(self.worker.pid)
            self.worker.wait()

    def kill_server(self) -> None:
        if self.server is not None:
            kill_tree(self.server.pid)
            self.server.wait()

    def call(self, path: str, body: dict[str, Any] | None = None, *, attempts: int = 60) -> Any:
        """Prefect's API as JSON; asked again while the server is being restarted."""
        data = None if body is None else json.dumps(body).encode()
        for attempt in itertools.count(1):
            request = urllib.request.Request(self.api + path, data, {"content-type": "application/json"})
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    return json.load(answer)
            except OSError:
                if attempt == attempts:
                    raise
                time.sleep(1)

    def deploy(self) -> None:
        """`synthesize/matrix` on a pool of processes, as `prefect deploy` would."""
        program = (
            "from prefect.client.orchestration import get_client\n"
            "from prefect.client.schemas.actions import WorkPoolCreate\n"
            "from flows.synthesize import synthesize\n"
            "with get_client(sync_client=True) as client:\n"
            "    client.create_work_pool(WorkPoolCreate(name='matrix', type='process'))\n"
            "    flow = client.create_flow(synthesize)\n"
            "    print(client.create_deployment(flow, name='matrix', work_pool_name='matrix', pull_steps=[],\n"
            "          entrypoint='flows.synthesize.synthesize'))\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program], env=self.environment, check=True, capture_output=True, text=True
        )
        self.deployment = done.stdout.strip().splitlines()[-1]

    def submit(self, parameters: dict[str, Any]) -> str:
        body = {"parameters": parameters, "state": {"type": "SCHEDULED"}}
        return str(self.call(f"/deployments/{self.deployment}/create_flow_run", body)["id"])

    def state(self, run: str) -> str:
        return str(self.call(f"/flow_runs/{run}")["state_type"])

    def has_ended(self, run: str) -> bool:
        """Whether the run is final; False while the server is away, which may be the fault itself."""
        with contextlib.suppress(OSError):
            return self.call(f"/flow_runs/{run}", attempts=1)["state_type"] in FINAL
        return False

    def busy(self) -> bool:
        """Whether the worker has a process of a run below it."""
        return self.worker is not None and len(process_tree(self.worker.pid)) > 1

    def finish(self, run: str) -> str:
        """Wait until the run is final, or nobody runs it any more; its state."""
        idle = 0
        end = time.monotonic() + RUN_SECONDS
        while (state := self.state(run)) not in FINAL and time.monotonic() < end:
            idle = 0 if self.busy() or state in ("SCHEDULED", "PENDING") else idle + 1
            if idle > 10:  # RUNNING, and there is no process: a zombie
                return state
            time.sleep(0.5)
        return state


def wait_for(condition: Any, seconds: float, complaint: str) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError(complaint)
        time.sleep(0.2)


@contextlib.contextmanager
def site() -> Iterator[Site]:
    with (
        tempfile.TemporaryDirectory(prefix="tvae-matrix-") as folder,
        moto_server() as moto,
        fault_proxy(moto.endpoint) as proxy,
    ):
        standing = Site(Path(folder), moto, proxy)
        os.environ.update(moto.environment)  # this process looks at the store past the proxy
        try:
            standing.start_server()
            standing.deploy()
            standing.start_worker()
            yield standing
        finally:
            standing.kill_worker()
            standing.kill_server()


def parameters(at: Site, store: str) -> dict[str, Any]:
    """A run of seconds on a small table."""
    import pyarrow.parquet as pq

    from tests.conftest import PEOPLE_SCHEMA, people

    table = at.folder / "people.parquet"
    if not table.exists():
        pq.write_table(people(), table)
    return {
        "name": NAME,
        "input": str(table),
        "store": store,
        "seed": 7,
        "table_schema": PEOPLE_SCHEMA,
        "model": {"epochs": 3, "compress_dims": [16], "decompress_dims": [16], "embedding_dim": 4},
        "train": {"device": "cpu"},
        "sample": {"rows": 300, "rows_per_part": 200},
        "score": {"targets": ["smoker"]},
        "gate": {"rules": []},
    }


class Strike:
    """Lets the fault happen once, when the request comes by; the request waits until the fault is there."""

    def __init__(self, pattern: bytes, bucket: str, fault: Any) -> None:
        self._pattern, self._place, self._fault = re.compile(pattern), bucket.encode(), fault
        self._turn = threading.Lock()
        self.struck = threading.Event()

    def __call__(self, chunk: bytes) -> None:
        line = chunk.partition(b"\r\n")[0]
        with self._turn:
            if not self.struck.is_set() and self._place in line and self._pattern.match(line):
                self.struck.set()
                self._fault()


def partial(store_uri: str) -> int:
    """Releases of the store that are neither whole nor absent."""
    from tasks.services.publishing import list_versions, verify_release
    from tasks.services.store import open_store

    store = open_store(store_uri)
    return sum(bool(verify_release(store, NAME, v)) for v in list_versions(store, "releases", NAME))


def digests(store_uri: str) -> list[str]:
    from tasks.services.publishing import list_versions, load_release
    from tasks.services.store import open_store

    store = open_store(store_uri)
    return [load_release(store, NAME, v)["digest"] for v in list_versions(store, "releases", NAME)]


def run_case(at: Site, stage: str, moment: str, fault: str, expected: str, down: float) -> Outcome:
    begun = time.monotonic()
    store = f"s3://{at.bucket}/{stage}-{moment}-{fault}-{secrets.token_hex(2)}"
    faults = {"kill": at.kill_worker, "store": lambda: at.proxy.down_for(down), "server": at.kill_server}
    strike = Strike(MOMENTS[stage][moment], store.rpartition("/")[2], faults[fault])
    at.proxy.on_request = strike
    chosen = parameters(at, store)
    run = at.submit(chosen)
    wait_for(
        lambda: strike.struck.is_set() or at.has_ended(run), RUN_SECONDS, f"{stage}/{moment}: no such request"
    )
    torn = 0
    if fault == "kill" and strike.struck.is_set():
        wait_for(lambda: at.worker is None or at.worker.poll() is not None, 30, "the worker survived kill -9")
        torn += partial(store)
        at.start_worker()
    if fault == "server" and strike.struck.is_set():
        time.sleep(3)
        at.start_server()
    first = state = at.finish(run)
    torn += partial(store)
    runs = 1
    while state != "COMPLETED" and runs < 3:
        state = at.finish(at.submit(chosen))
        runs += 1
    torn += partial(store)
    at.proxy.on_request = lambda _: None
    same = digests(store) == [expected]
    seconds = round(time.monotonic() - begun, 1)
    return Outcome(stage, moment, fault, strike.struck.is_set(), first, runs, state, same, torn, seconds)


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--faults", default=",".join(FAULTS))
    options.add_argument("--stages", default=",".join(MOMENTS))
    options.add_argument("--moments", default="begin,end")
    options.add_argument("--down", type=float, default=30.0, help="seconds that the store is down")
    options.add_argument("--results", type=Path, default=common.RESULTS, help="where kill_matrix.json goes")
    args = options.parse_args()
    cases = itertools.product(args.moments.split(","), args.stages.split(","), args.faults.split(","))
    outcomes: list[Outcome] = []
    where = common.machine()
    with site() as at:
        store = f"s3://{at.bucket}/undisturbed"
        if (state := at.finish(at.submit(parameters(at, store)))) != "COMPLETED":
            log = (at.folder / "worker.log").read_text()
            sys.exit(f"the undisturbed run ended {state}:\n{log[-4000:]}")
        (expected,) = digests(store)
        for moment, stage, fault in cases:
            outcome = run_case(at, stage, moment, fault, expected, args.down)
            outcomes.append(outcome)
            print(json.dumps(asdict(outcome)), flush=True)
            write(args.results, outcomes, args.down, where)
    good = sum(
        o.struck and o.state == "COMPLETED" and o.same_digest and not o.partial_releases for o in outcomes
    )
    print(
        f"{good} of {len(outcomes)}: struck, ended Completed with the undisturbed run's digest, nothing partial"
    )
    sys.exit(good != len(outcomes))


def write(folder: Path, outcomes: list[Outcome], down: float, where: dict[str, Any]) -> None:
    """The figures so far; cases of an earlier run stay until they are run again."""
    path = folder / "kill_matrix.json"
    earlier = json.loads(path.read_text())["cases"] if path.exists() else []
    cases = {(case["moment"], case["stage"], case["fault"]): case for case in earlier}
    cases |= {(o.moment, o.stage, o.fault): asdict(o) for o in outcomes}
    each = list(cases.values())
    summary = {
        "runs": len(each),
        "completed": sum(case["state"] == "COMPLETED" for case in each),
        "same_digest": sum(case["same_digest"] for case in each),
        "partial_releases": sum(case["partial_releases"] for case in each),
        "without_a_second_run": sum(case["runs"] == 1 for case in each),
        "store_down_seconds": down,
    }
    folder.mkdir(parents=True, exist_ok=True)
    document = {"machine": where, "options": {"threads": 1}, "figures": summary, "cases": each}
    path.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
