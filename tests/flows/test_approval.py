"""Approval on a real Prefect server: the run ends, a form waits without a worker, and the answer decides."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from configs import load_config
from tasks.refusals import ApprovalRefusedError
from tasks.services.publishing import list_versions, load_release, verify_release
from tasks.services.store import open_store
from tests.services.packages import assemble

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("prefect_server")]
REQUIRED = ("release.approval=required", "release.version=v1")


@pytest.fixture
def deployment() -> Iterator[UUID]:
    """`approve-release/cpu`, whose runs the tests execute as a worker does."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate

    from flows.approve_release import approve_release

    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name="cpu", type="process"), overwrite=True)
        flow_id = client.create_flow(approve_release)
        identity = client.create_deployment(
            flow_id, name="cpu", work_pool_name="cpu", entrypoint="flows.approve_release.approve_release",
            enforce_parameter_schema=True,
        )  # fmt: skip
        yield identity
        client.delete_deployment(identity)


def synthesize(config: Path, *overrides: str) -> Any:
    from flows.synthesize import synthesize

    return synthesize(**load_config(config, [*REQUIRED, *overrides]).parameters(), return_state=True)


def waiting_run(deployment: UUID) -> Any:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        (run,) = [run for run in client.read_flow_runs() if run.deployment_id == deployment]
    return run


def execute(run: Any) -> Any:
    """Run it once in a process of its own, as a worker does; the run as the server knows it then."""
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL

    environment = {**os.environ, "PREFECT_API_URL": str(PREFECT_API_URL.value())}
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "flow-run", "execute", str(run.id)],
        env=environment, capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip
    with get_client(sync_client=True) as client:
        known = client.read_flow_run(run.id)
    assert known.state is not None, done.stdout + done.stderr
    return known


def answer(run: Any, **form: str) -> None:
    from prefect.flow_runs import resume_flow_run

    resume_flow_run(run.id, run_input=form)


def versions(store: Path) -> list[str]:
    return list_versions(open_store(store), "releases", "people")


def test_an_approved_release_is_published_by_the_run_that_waited_and_no_worker_was_held(
    config_file: Path, tmp_path: Path, deployment: UUID
) -> None:
    ended = synthesize(config_file)
    assert (ended.type.value, ended.name) == ("COMPLETED", "Awaiting approval")
    assert ended.result()["status"] == "awaiting approval"
    assert versions(tmp_path / "store") == []
    run = execute(waiting_run(deployment))
    assert (run.state.type.value, run.state.name) == ("PAUSED", "Suspended")
    assert versions(tmp_path / "store") == []
    with pytest.raises(RuntimeError, match="Cannot resume"):
        answer(run, decision="perhaps", by="Ada", reason="x")
    answer(run, decision="approve", by="Ada", reason="the figures hold")
    run = execute(run)
    assert (run.state.type.value, run.state.name) == ("COMPLETED", "Approved")
    store = open_store(tmp_path / "store")
    approval = load_release(store, "people", "v1")["approval"]
    assert (approval["decision"], approval["by"], approval["reason"]) == (
        "approved",
        "Ada",
        "the figures hold",
    )
    assert verify_release(store, "people", "v1") == []
    assert synthesize(config_file).name == "Nothing new"


def ask(store: Path, hours: float = 24.0) -> Any:
    """What `synthesize` does once a package is put together; the end of that run."""
    from prefect import flow

    from configs.release import ReleaseSection
    from flows.approval import awaiting, settle_approval

    package = assemble(store)

    @flow(name="asking", persist_result=False)
    def asking() -> Any:
        approval = settle_approval(package, ReleaseSection(approval="required", approval_hours=hours))
        return awaiting(approval, "the generator", {})

    return asking(return_state=True)


def test_a_refused_release_is_not_published_and_the_next_run_says_who_refused_it(
    tmp_path: Path, deployment: UUID
) -> None:
    assert ask(tmp_path).name == ask(tmp_path).name == "Awaiting approval"
    run = execute(waiting_run(deployment))  # asked twice, and one run waits
    answer(run, decision="refuse", by="Ada", reason="too near")
    assert execute(run).state.name == "Refused"
    assert versions(tmp_path) == []
    again = ask(tmp_path)
    assert again.type.value == "FAILED"
    with pytest.raises(ApprovalRefusedError, match=r"refused by Ada .*: too near"):
        again.result()


def test_a_decision_after_the_time_publishes_nothing_and_is_kept_as_expired(
    tmp_path: Path, deployment: UUID
) -> None:
    from prefect.exceptions import FlowPauseTimeout, NotPausedError

    seconds, started = 25, time.monotonic()
    ask(tmp_path, seconds / 3600)
    run = execute(waiting_run(deployment))
    time.sleep(max(0.0, seconds + 1 - (time.monotonic() - started)))
    with pytest.raises((FlowPauseTimeout, NotPausedError)):  # the server may have ended the pause itself
        answer(run, decision="approve", by="Ada", reason="late")
    assert versions(tmp_path) == []
    assert ask(tmp_path).name == "Awaiting approval"  # asked anew
    store = open_store(tmp_path)
    assert b'"decision": "expired"' in store.get_bytes("approvals/people/v1/decision-0001.json")
    assert store.exists("approvals/people/v1/request-0002.json")


def test_without_a_deployment_the_run_says_what_to_type(tmp_path: Path) -> None:
    assert ask(tmp_path).result()["decide"].startswith(f"tvae approve file://{tmp_path} people v1 ")
