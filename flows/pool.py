"""Run the training on the gpu pool: start the deployment, watch it, and never leave it running unwatched."""

import time
from dataclasses import asdict
from typing import Any, cast
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run
from prefect.states import Cancelling

from tasks.progress import say
from tasks.references import GeneratorRef
from tasks.services.generators import find_generator
from tasks.services.store import open_store
from tvae_core.errors import TVAEError

DEPLOYMENT = "train-generator/gpu"
POLL_SECONDS = 2.0
QUIET_SECONDS = 60.0  # without a change of state, so long between two lines
NO_WORKER = "no worker of the gpu pool has taken it: start one with `prefect worker start --pool gpu`"


class TrainingError(TVAEError):
    """The training on the gpu pool did not end well; the message says what to do."""


def train_on_pool(parameters: dict[str, Any], timeout_minutes: float) -> GeneratorRef:
    """Run `train-generator/gpu` with these parameters and return what it kept in the store.

    Raises TrainingError when there is no such deployment, when the run fails, crashes or is cancelled, and after
    `timeout_minutes`: the child is then cancelled.
    """
    child = _start(parameters)
    say("train", f"{DEPLOYMENT} is run as {child.name!r}")
    try:
        state = _watch(child.id, time.monotonic() + 60 * timeout_minutes)
    except BaseException:
        _cancel(child.id)
        raise
    if state is None:
        _cancel(child.id)
        raise TrainingError(
            f"{DEPLOYMENT} ({child.name}) did not finish in {timeout_minutes:g} minutes and was cancelled: "
            f"see that a worker serves the gpu pool, or raise train.timeout_minutes"
        )
    if not state.is_completed():
        raise TrainingError(
            f"{DEPLOYMENT} ({child.name}) ended {state.name}: {state.message or 'no message'}. "
            "Mend the cause and run again: finished stages are not repeated"
        )
    name, version = parameters["name"], parameters["version"]
    generator = find_generator(open_store(parameters["store"]), name, version)
    if generator is None:
        raise TrainingError(
            f"{DEPLOYMENT} ({child.name}) completed, but generators/{name}/{version} is not in the store: "
            "give the gpu worker the same store address and the same endpoint"
        )
    return generator


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
        raise TrainingError(
            f"train.where is gpu, but Prefect's server knows no deployment {DEPLOYMENT}: bring it up with `make up` or "
            "`prefect deploy --all --prefect-file deployments/prefect.yaml`, or set train.where to here"
        ) from None
    return cast(FlowRun, started)  # a coroutine only where an event loop runs: flows here are synchronous


def _watch(child: UUID, deadline: float) -> State | None:
    """Wait for the final state, saying every change; None when the deadline passes first."""
    said, when = "", time.monotonic()
    with get_client(sync_client=True) as client:
        while time.monotonic() < deadline:
            state = client.read_flow_run(child).state
            if state is not None and state.is_final():
                return state
            name = (state.name if state is not None else None) or "unknown"
            if name != said or time.monotonic() - when > QUIET_SECONDS:
                waiting = f" ({NO_WORKER})" if name == said and name in ("Scheduled", "Late") else ""
                say("train", f"on the gpu pool: {name}{waiting}")
                said, when = name, time.monotonic()
            time.sleep(POLL_SECONDS)
    return None


def _cancel(child: UUID) -> None:
    with get_client(sync_client=True) as client:
        state = client.read_flow_run(child).state
        if state is None or not state.is_final():
            client.set_flow_run_state(
                child, Cancelling(message="the run that asked for it gave up"), force=True
            )
