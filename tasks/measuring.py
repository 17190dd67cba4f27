"""Measures stages as they run, for the table at the end of a run and for the release's manifest."""

import contextlib
import functools
import json
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, ParamSpec, TypeVar

from prefect import runtime
from prefect.artifacts import Artifact

from tasks.progress import say
from tasks.services.costs import Meter, Row, cost_table, with_rows
from tasks.services.store import NotFoundError, open_store

P = ParamSpec("P")
R = TypeVar("R")

_meter: ContextVar[Meter | None] = ContextVar("meter", default=None)
_costs: dict[str, list[Row]] = {}  # by the id of the flow run


def measured(stage: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a stage's function: what each call took is kept with the flow run it belongs to."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def measuring(*args: P.args, **kwargs: P.kwargs) -> R:
            meter = Meter()
            token = _meter.set(meter)
            try:
                result = function(*args, **kwargs)
            finally:
                _meter.reset(token)
            _keep(runtime.flow_run.get_id(), meter.stop(stage, result).to_dict())
            return result

        return measuring

    return decorate


def reuse(stage: str, text: str) -> None:
    """Say that the stage found its result in the store; its time is then no measure of the work."""
    if (meter := _meter.get()) is not None:
        meter.reused = True
    say(stage, text)


def stage_costs() -> list[Row]:
    """What the stages of this flow run took so far, in their order."""
    return list(_costs.get(str(runtime.flow_run.get_id()), []))


def keep_training_cost(store: str, name: str, version: str, rows: int) -> None:
    """Leave in the store what this flow run's training on `rows` took: the run that asked for it may be elsewhere."""
    for cost in stage_costs():
        if cost["stage"] == "train" and not cost["reused"]:
            text = json.dumps(with_rows(cost, rows), indent=2, sort_keys=True)
            open_store(store).put_bytes(_training_key(name, version), text.encode())


def add_training_cost(store: str, name: str, version: str) -> None:
    """Count the generator's training, whenever and wherever it was, to this flow run."""
    with contextlib.suppress(NotFoundError):
        _keep(
            runtime.flow_run.get_id(), json.loads(open_store(store).get_bytes(_training_key(name, version)))
        )


def show_costs(flow: Any, flow_run: Any, state: Any) -> None:
    """Hook of a run that ended: a table in Prefect's UI, where there was more than looking."""
    costs = _costs.pop(str(flow_run.id), [])
    if len(costs) > 1:
        Artifact(
            type="table",
            key="stages",
            description="What each stage took. Peak memory is the process's high-water mark so far.",
            data=cost_table(costs),
            flow_run_id=flow_run.id,
        ).create()


def _keep(run: str | None, cost: Row) -> None:
    _costs.setdefault(str(run), []).append(cost)


def _training_key(name: str, version: str) -> str:
    return f"runs/{name}/trainings/{version}.json"
