"""``make up`` for real: server, both workers, deployments; a run triggered from outside completes on both pools."""

import json
import subprocess
import sys
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tasks.services.publishing import list_versions, verify_release
from tasks.services.store import open_store
from tests.flows.service import Service, api, running_service

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running_service(tmp_path_factory.mktemp("service")) as started:
        yield started


def test_a_triggered_run_trains_on_the_gpu_pool_and_publishes_from_the_cpu_pool(
    service: Service, config_file: Path, tmp_path: Path
) -> None:
    url, environment = service.url, service.environment
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


def test_what_is_brought_up_is_what_the_documents_say(service: Service) -> None:
    url = service.url
    pools = {pool["name"]: pool for pool in api(url, "/work_pools/filter", {})}
    assert pools["gpu"]["concurrency_limit"] == 1
    on_demand = api(url, "/deployments/name/synthesize/cpu")
    form = on_demand["parameter_openapi_schema"]["properties"]
    assert form["seed"]["maximum"] == 2**32 - 1
    assert all(field.get("description") or "$ref" in field for field in form.values())
    assert api(url, "/deployments/name/train-generator/gpu")["work_pool_name"] == "gpu"
    for flow in ("score-release", "publish-release"):
        assert api(url, f"/deployments/name/{flow}/cpu")["work_pool_name"] == "cpu"
    body = {"parameters": {"name": "../x", "input": "a", "store": "b"}, "enforce_parameter_schema": True}
    with pytest.raises(urllib.error.HTTPError) as refused:
        api(url, f"/deployments/{on_demand['id']}/create_flow_run", body)
    with refused.value as answer:
        assert answer.code in (409, 422)
