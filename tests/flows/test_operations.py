"""Two work pools with real workers: what a parent and its training do when one of them is stopped or killed."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import urllib.error
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.notices import WEBHOOK_BLOCK, WEBHOOK_VARIABLE
from tasks.services.publishing import list_versions
from tasks.services.store import open_store
from tests.flows.service import Service, alive, api, running_service
from tests.processes import wait_until
from tests.scripted_server import Answer, scripted_server

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running_service(tmp_path_factory.mktemp("service")) as started:
        yield started


@pytest.fixture
def parameters(config_file: Path) -> dict[str, Any]:
    """A run that takes seconds, trained by the gpu pool's worker."""
    plain: dict[str, Any] = yaml.safe_load(config_file.read_text())
    plain["table_schema"] = plain.pop("schema")
    return plain | {"train": {"where": "gpu", "device": "cpu"}}


def endless(parameters: dict[str, Any]) -> dict[str, Any]:
    """The same run with a training that would take hours."""
    return parameters | {"model": parameters["model"] | {"epochs": 100_000, "patience": 0}}


def process_of(run: dict[str, Any]) -> int:
    return int(run["infrastructure_pid"].rpartition(":")[2])


def train_endlessly(service: Service, parameters: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Start a run and wait until its training goes on; both as the server knows them."""
    before = {run["id"] for run in service.runs("train-generator/gpu")}
    identity = service.create_run("synthesize/cpu", endless(parameters))

    def children() -> list[dict[str, Any]]:
        return [run for run in service.runs("train-generator/gpu") if run["id"] not in before]

    wait_until(lambda: bool(children()), 120)
    child = service.wait_for(children()[0]["id"], "RUNNING")
    parent = service.run(identity)
    assert alive(process_of(parent))
    assert alive(process_of(child))
    return parent, child


def test_cancelling_a_run_cancels_its_training_and_leaves_no_process(
    service: Service, parameters: dict[str, Any]
) -> None:
    parent, child = train_endlessly(service, parameters)
    service.set_state(parent["id"], "CANCELLING")
    assert service.wait_for(parent["id"])["state_type"] == "CANCELLED"
    assert service.wait_for(child["id"])["state_type"] == "CANCELLED"
    wait_until(lambda: not alive(process_of(parent)) and not alive(process_of(child)))


def test_a_training_that_is_cancelled_or_killed_fails_its_run_with_what_to_do(
    service: Service, parameters: dict[str, Any]
) -> None:
    parent, child = train_endlessly(service, parameters)
    os.kill(process_of(child), signal.SIGKILL)
    ended = service.wait_for(parent["id"])
    assert ended["state_type"] == "FAILED"
    assert "ended Crashed" in ended["state"]["message"]
    assert "Mend the cause and run again" in ended["state"]["message"]

    parent, child = train_endlessly(service, parameters)
    service.set_state(child["id"], "CANCELLING")
    ended = service.wait_for(parent["id"])
    assert ended["state_type"] == "FAILED"
    assert "ended Cancelled" in ended["state"]["message"]


def test_a_run_whose_process_is_killed_takes_its_training_with_it(
    service: Service, parameters: dict[str, Any]
) -> None:
    parent, child = train_endlessly(service, parameters)
    os.kill(process_of(parent), signal.SIGKILL)
    assert service.wait_for(parent["id"])["state_type"] == "CRASHED"
    assert service.wait_for(child["id"])["state_type"] == "CANCELLED"
    wait_until(lambda: not alive(process_of(child)))


def test_a_training_that_takes_too_long_is_cancelled(service: Service, parameters: dict[str, Any]) -> None:
    limited = parameters | {"train": parameters["train"] | {"timeout_minutes": 0.4}}
    parent, child = train_endlessly(service, limited)
    ended = service.wait_for(parent["id"])
    assert ended["state_type"] == "FAILED"
    assert "raise train.timeout_minutes" in ended["state"]["message"]
    assert service.run(child["id"])["state_type"] == "CANCELLED"
    assert not alive(process_of(child))


def test_a_stored_sample_is_scored_again_and_published_by_deployments_of_their_own(
    service: Service, parameters: dict[str, Any], tmp_path: Path
) -> None:
    strict = {"rules": [{"metric": "fidelity.shape", "at_least": 0.9999}]}
    refused = service.wait_for(service.create_run("synthesize/cpu", parameters | {"gate": strict}))
    assert refused["state_type"] == "FAILED"
    assert not (tmp_path / "store" / "releases").exists()
    store = {"name": "people", "store": parameters["store"]}
    (run,) = [path.parent.name for path in (tmp_path / "store" / "runs").rglob("run.json")]

    again = service.wait_for(service.create_run("publish-release/cpu", store | {"run": run}))
    assert again["state_type"] == "FAILED"
    assert "is below 0.9999" in again["state"]["message"]

    scored = {"score": {"targets": ["smoker", "city"]}, "gate": parameters["gate"]}
    ended = service.wait_for(service.create_run("score-release/cpu", store | {"run": run} | scored))
    assert ended["state_type"] == "COMPLETED", ended["state"]
    assert not (tmp_path / "store" / "releases").exists()
    (rescored,) = {path.parent.name for path in (tmp_path / "store" / "runs").rglob("run.json")} - {run}

    ended = service.wait_for(service.create_run("publish-release/cpu", store | {"run": rescored}))
    assert ended["state_type"] == "COMPLETED", ended["state"]
    assert len(list_versions(open_store(tmp_path / "store"), "releases", "people")) == 1


def tvae(service: Service, *arguments: str, **changes: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", *arguments],
        capture_output=True, text=True, env=service.environment | changes, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def datasets(config_file: Path, tmp_path: Path) -> Path:
    """A folder with two datasets: one every night, one on demand."""
    folder = tmp_path / "datasets"
    folder.mkdir()
    plain = yaml.safe_load(config_file.read_text())
    nightly = {"cron": "30 2 * * *", "timezone": "Europe/Berlin"}
    (folder / "a.yaml").write_text(
        yaml.safe_dump(plain | {"name": "nightly", "schedule": nightly}, sort_keys=False)
    )
    (folder / "b.yaml").write_text(yaml.safe_dump(plain | {"name": "rare"}, sort_keys=False))
    return folder


def test_each_file_of_a_folder_becomes_a_deployment_with_its_schedule(
    service: Service, datasets: Path
) -> None:
    tvae(service, "deploy", str(datasets))
    said = tvae(service, "deploy", str(datasets))  # again: nothing doubles
    assert "synthesize/nightly: 30 2 * * * Europe/Berlin\n" in said
    assert "synthesize/rare: on demand\n" in said
    schedules = {
        name: [
            (entry["schedule"]["cron"], entry["schedule"]["timezone"], entry["active"])
            for entry in api(service.url, f"/deployments/name/synthesize/{name}")["schedules"]
        ]
        for name in ("nightly", "rare")
    }
    assert schedules == {"nightly": [("30 2 * * *", "Europe/Berlin", True)], "rare": []}
    automations = [found["name"] for found in api(service.url, "/automations/filter", {})]
    assert sorted(automations) == sorted(set(automations))
    assert {"synthesize/nightly: new input", "tvae: a run is heard of no more"} <= set(automations)

    (datasets / "b.yaml").unlink()
    assert "synthesize/rare: its file is gone" in tvae(service, "deploy", str(datasets))
    assert "synthesize/rare: deleted" in tvae(service, "deploy", str(datasets), "--prune")
    with pytest.raises(urllib.error.HTTPError) as missing:
        api(service.url, "/deployments/name/synthesize/rare")
    missing.value.close()


def test_an_event_about_new_input_starts_a_run_which_ends_at_once_when_nothing_is_new(
    service: Service, datasets: Path, tmp_path: Path
) -> None:
    tvae(service, "deploy", str(datasets))

    def runs() -> list[dict[str, Any]]:
        return [run for run in service.runs("synthesize/nightly") if not run["auto_scheduled"]]

    def run_once() -> dict[str, Any]:
        known = {run["id"] for run in runs()}
        tvae(service, "notify-input", "nightly")
        wait_until(lambda: len(runs()) > len(known), 60)
        (started,) = [run for run in runs() if run["id"] not in known]
        return service.wait_for(started["id"])

    first = run_once()
    assert first["state"]["name"] == "Completed", first["state"]
    (release,) = (tmp_path / "store" / "releases" / "nightly").iterdir()
    second = run_once()
    assert (second["state_type"], second["state"]["name"]) == ("COMPLETED", "Nothing new")
    assert release.name in second["state"]["message"]
    assert second["total_run_time"] < 30


def test_the_doctor_finds_a_service_well_and_names_a_pool_that_is_paused(
    service: Service, tmp_path: Path
) -> None:
    assert "fail" not in tvae(service, "doctor", "--store", str(tmp_path / "store"))
    command = [sys.executable, "-m", "prefect", "--no-prompt", "work-pool"]
    subprocess.run([*command, "pause", "gpu"], env=service.environment, check=True, capture_output=True)
    try:
        with pytest.raises(AssertionError, match="fail  pool gpu         paused"):
            tvae(service, "doctor")
    finally:
        subprocess.run([*command, "resume", "gpu"], env=service.environment, check=True, capture_output=True)


def test_a_run_that_crashes_is_told_to_the_webhook_by_the_server(
    service: Service, parameters: dict[str, Any], datasets: Path
) -> None:
    with scripted_server(Answer(200)) as hook:
        said = tvae(service, "deploy", str(datasets), **{WEBHOOK_VARIABLE: f"{hook.endpoint}/T0KEN"})
        assert "T0KEN" not in said
        found = [a for a in api(service.url, "/automations/filter", {}) if a["name"] == "tvae: a run crashed"]
        (automation,) = found
        assert automation["enabled"]
        assert automation["trigger"]["expect"] == ["prefect.flow-run.Crashed"]
        (action,) = automation["actions"]
        block = api(service.url, f"/block_documents/{action['block_document_id']}")
        assert block["name"] == WEBHOOK_BLOCK
        assert "T0KEN" not in str(block)

        here = parameters | {"train": {"where": "here", "device": "cpu"}}
        identity = service.create_run("synthesize/cpu", endless(here))
        run = service.wait_for(identity, "RUNNING")
        os.kill(process_of(run), signal.SIGKILL)
        assert service.wait_for(identity)["state_type"] == "CRASHED"
        wait_until(lambda: bool(hook.requests), 60)
    ((method, path, body),) = hook.requests
    assert (method, path) == ("POST", "/T0KEN")
    notice = json.loads(body)
    assert notice["event"] == "crashed"
    assert notice["text"].startswith(f"synthesize ({run['name']}) crashed: ")


def test_a_run_that_is_heard_of_no_more_is_ended_as_crashed(service: Service) -> None:
    from prefect.client.orchestration import get_client
    from prefect.events import Event, Resource
    from prefect.events.clients import get_events_client
    from prefect.settings import PREFECT_API_URL, temporary_settings
    from prefect.states import Running

    from flows.automations import end_zombies, put_automation
    from flows.train_generator import train_generator

    async def beat(run: str) -> None:
        async with get_events_client(checkpoint_every=1) as events:
            resource = Resource.model_validate({"prefect.resource.id": f"prefect.flow-run.{run}"})
            await events.emit(Event(event="prefect.flow-run.heartbeat", resource=resource))

    with temporary_settings({PREFECT_API_URL: service.url}), get_client(sync_client=True) as client:
        put_automation(client, end_zombies(timedelta(seconds=12)))
        try:
            run = client.create_flow_run(train_generator, parameters={}, state=Running())
            asyncio.run(beat(str(run.id)))
            ended = service.wait_for(str(run.id), seconds=90)
        finally:
            put_automation(client, end_zombies())
    assert ended["state_type"] == "CRASHED"
    assert "heartbeats have stopped" in ended["state"]["message"]
