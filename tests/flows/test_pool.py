"""Training on the gpu pool: what the parent does when nobody takes it, and when it is not deployed."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest

from configs.run import TrainSection
from flows import pool
from tasks.references import FileRef, SplitRef, TableRef
from tvae_core.settings import ModelSettings

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_server")]

SPLIT = SplitRef(TableRef("file:///none", "0" * 64, 2, ()), 0, 0.5, None, 1, 1)
PARAMETERS: dict[str, Any] = {
    "name": "people",
    "version": "v1",
    "store": "none",
    "split": SPLIT,
    "schema_file": FileRef("file:///none.yaml", "0" * 64, 1),
    "model": ModelSettings(),
    "seed": 0,
    "device": "cpu",
}


def train(**minutes: float) -> None:
    from prefect import flow

    flow(pool.train_on_pool, name="parent", persist_result=False, validate_parameters=False)(
        PARAMETERS, TrainSection(where="gpu", **minutes)
    )


@pytest.fixture
def deployment() -> Iterator[UUID]:
    """`train-generator/gpu` on a pool that has no worker."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate

    from flows.train_generator import train_generator

    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name="gpu", type="process"), overwrite=True)
        flow_id = client.create_flow(train_generator)
        identity = client.create_deployment(flow_id, name="gpu", work_pool_name="gpu")
        yield identity
        client.delete_deployment(identity)


def test_a_training_that_nobody_takes_is_cancelled_and_the_error_says_what_to_do(deployment: UUID) -> None:
    from prefect.client.orchestration import get_client

    with pytest.raises(
        pool.TrainingRunError, match=r"did not finish in 0\.05 minutes and was cancelled: see that a worker"
    ):
        train(timeout_minutes=0.05)
    with get_client(sync_client=True) as client:
        children = [run for run in client.read_flow_runs() if run.deployment_id == deployment]
    assert [run.state_type for run in children] == ["CANCELLED"]


def test_a_pool_without_a_worker_is_noticed_and_the_error_says_how_to_start_one(deployment: UUID) -> None:
    from prefect.client.orchestration import get_client

    with pytest.raises(
        pool.TrainingRunError,
        match=r"not started in 0\.05 minutes and was cancelled: no worker of the gpu pool is online",
    ):
        train(worker_minutes=0.05)
    with get_client(sync_client=True) as client:
        children = [run for run in client.read_flow_runs() if run.deployment_id == deployment]
    assert {run.state_type for run in children} == {"CANCELLED"}


def test_a_paused_pool_is_noticed_with_the_command_that_resumes_it(deployment: UUID) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolUpdate

    with get_client(sync_client=True) as client:
        client.update_work_pool("gpu", WorkPoolUpdate(is_paused=True))
    with pytest.raises(pool.TrainingRunError, match="the gpu pool is paused: `prefect work-pool resume gpu`"):
        train(worker_minutes=0.05)


def test_a_training_that_crashes_ends_the_parent_with_its_message(
    deployment: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.client.orchestration import get_client
    from prefect.states import Crashed

    start = pool._start

    def start_and_crash(parameters: dict[str, Any]) -> Any:
        child = start(parameters)
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(child.id, Crashed(message="the worker was killed"), force=True)
        return child

    monkeypatch.setattr(pool, "_start", start_and_crash)
    with pytest.raises(pool.TrainingRunError, match="ended Crashed: the worker was killed"):
        train(timeout_minutes=1)


def test_a_deployment_that_is_missing_is_named_with_the_command_that_makes_it() -> None:
    with pytest.raises(
        pool.TrainingRunError, match=r"knows no deployment train-generator/gpu: bring it up with `make up`"
    ):
        train(timeout_minutes=1)
