"""Run the training on the gpu pool: start the deployment, watch it, and never leave it running unwatched."""

import time
from dataclasses import asdict
from typing import Any, cast
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterParentFlowRunId,
    WorkerFilter,
    WorkerFilterStatus,
)
from prefect.client.schemas.objects import FlowRun, State
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.runtime import flow_run
from prefect.states import Cancelled, Cancelling

from configs.run import TrainSection
from tasks.progress import say
from tasks.references import GeneratorRef
from tasks.services.generators import find_generator
from tasks.services.store import open_store
from tvae_core.errors import TVAEError

DEPLOYMENT = "train-generator/gpu"
POOL = "gpu"
START_WORKER = f"`prefect worker start --pool {POOL}`"
REFUSED_PARAMETERS = (409, 422)
POLL_SECONDS = 2.0
QUIET_SECONDS = 60.0  # without a change of state, so long between two lines
STOP_SECONDS = 60.0  # what a worker may take to stop a training that was cancelled


class TrainingRunError(TVAEError):
    """The training on the gpu pool did not end well; the message says what to do."""


def train_on_pool(parameters: dict[str, Any], section: TrainSection) -> GeneratorRef:
    """Run `train-generator/gpu` with these parameters and return what it kept in the store.

    Raises TrainingRunError when there is no such deployment, when the pool has no worker for `section.worker_minutes`,
    when the run fails, crashes or is cancelled, and after `section.timeout_minutes`. Whatever the reason for giving up,
    the child is cancelled first.
    """
    child = _start(parameters)
    say("train", f"{DEPLOYMENT} is run as {child.name!r}")
    try:
        state = _watch(child, section)
    except TrainingRunError:
        _cancel(child.id, wait_seconds=STOP_SECONDS)
        raise
    except BaseException:  # this run is being stopped itself: there is no time to wait
        _cancel(child.id)
        raise
    if not state.is_completed():
        raise TrainingRunError(
            f"{DEPLOYMENT} ({child.name}) ended {state.name}: {state.message or 'no message'}. "
            "Mend the cause and run again: finished stages are not repeated"
        )
    name, version = parameters["name"], parameters["version"]
    generator = find_generator(open_store(parameters["store"]), name, version)
    if generator is None:
        raise TrainingRunError(
            f"{DEPLOYMENT} ({child.name}) completed, but generators/{name}/{version} is not in the store: "
            "give the gpu worker the same store address and the same endpoint"
        )
    return generator


def cancel_children(flow: Any, flow_run: Any, state: Any) -> None:
    """Hook of a run that crashed or was cancelled: stop what it started on other workers, and nobody watches now."""
    with get_client(sync_client=True) as client:
        mine = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[flow_run.id]))
        for child in client.read_flow_runs(flow_run_filter=mine):
            if child.deployment_id is not None and not (child.state and child.state.is_final()):
                _ask_to_stop(client, child.id)


def _start(parameters: dict[str, Any]) -> FlowRun:
    plain = parameters | {key: asdict(parameters[key]) for key in ("split", "schema_file", "model")}
    try:
        started = run_deployment(
            DEPLOYMENT,
            parameters=plain,
            timeout=0,
            # A key that is used again returns the old run, even a failed one: every attempt has its own.
            idempotency_key=f"{flow_run.get_id()}-{flow_run.get_run_count()}-{parameters['version']}",
        )
    except ObjectNotFound:
        raise TrainingRunError(
            f"train.where is gpu, but Prefect's server knows no deployment {DEPLOYMENT}: bring it up with `make up` or "
            "`prefect deploy --all --prefect-file deployments/prefect.yaml`, or set train.where to here"
        ) from None
    except PrefectHTTPStatusError as error:
        if error.response.status_code not in REFUSED_PARAMETERS:
            raise
        raise TrainingRunError(
            f"{DEPLOYMENT} does not take these parameters: it was deployed by another version of this project. Deploy "
            "again with `prefect deploy --all --prefect-file deployments/prefect.yaml`, and update the workers"
        ) from None
    return cast(FlowRun, started)  # a coroutine only where an event loop runs: flows here are synchronous


def _watch(child: FlowRun, section: TrainSection) -> State:
    """Wait for the final state, saying every change. Raises TrainingRunError when waiting has become pointless."""
    said, when = "", time.monotonic()
    deadline, served = when + 60 * section.timeout_minutes, when
    with get_client(sync_client=True) as client:
        while (now := time.monotonic()) < deadline:
            state = client.read_flow_run(child.id).state
            if state is not None and state.is_final():
                return state
            name = (state.name if state is not None else None) or "unknown"
            obstacle = None if state is not None and state.is_running() else _obstacle(client)
            if obstacle is None:
                served = now
            elif now - served > 60 * section.worker_minutes:
                raise TrainingRunError(
                    f"{DEPLOYMENT} ({child.name}) was not started in {section.worker_minutes:g} minutes and was "
                    f"cancelled: {obstacle}. Then run again, or raise train.worker_minutes"
                )
            if name != said or now - when > QUIET_SECONDS:
                waiting = f" ({obstacle})" if obstacle and name == said else ""
                say("train", f"on the gpu pool: {name}{waiting}")
                said, when = name, now
            time.sleep(POLL_SECONDS)
    raise TrainingRunError(
        f"{DEPLOYMENT} ({child.name}) did not finish in {section.timeout_minutes:g} minutes and was cancelled: "
        f"see that a worker serves the gpu pool and what its log says, or raise train.timeout_minutes"
    )


def _obstacle(client: SyncPrefectClient) -> str | None:
    """Why nobody will take a run from the pool, and what to do; None when somebody will, be it later."""
    if client.read_work_pool(POOL).is_paused:
        return f"the {POOL} pool is paused: `prefect work-pool resume {POOL}`"
    online = WorkerFilter(status=WorkerFilterStatus(any_=["ONLINE"]))
    if not client.read_workers_for_work_pool(POOL, worker_filter=online):
        return f"no worker of the {POOL} pool is online: start one with {START_WORKER}"
    return None


def _cancel(child: UUID, wait_seconds: float = 0.0) -> None:
    """Ask for the child's end, and wait so long for it."""
    deadline = time.monotonic() + wait_seconds
    with get_client(sync_client=True) as client:
        state = client.read_flow_run(child).state
        if state is not None and state.is_final():
            return
        _ask_to_stop(client, child)
        while time.monotonic() < deadline:
            state = client.read_flow_run(child).state
            if state is None or state.is_final():
                return
            time.sleep(POLL_SECONDS)
        if wait_seconds:
            # No worker that lives took notice. A run that stays Cancelling would hold the pool's one place for ever.
            client.set_flow_run_state(child, Cancelled(message="no worker answered"), force=True)


def _ask_to_stop(client: SyncPrefectClient, run: UUID) -> None:
    """Cancelling, which a worker turns into Cancelled; the server does so itself where no worker has the run yet."""
    client.set_flow_run_state(run, Cancelling(message="the run that asked for it gave up"))
