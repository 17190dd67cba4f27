"""``tvae deploy``: every dataset of a folder becomes a deployment with its schedule and its trigger."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from pydantic import ValidationError

from configs import ConfigError
from configs.datasets import Dataset, load_datasets
from flows.notices import WEBHOOK_BLOCK, WEBHOOK_VARIABLE
from flows.server import ServerError, connect

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.actions import DeploymentScheduleCreate
    from prefect.client.schemas.responses import DeploymentResponse

BASE = "synthesize/cpu"
TAG = "dataset"


def deploy_folder(folder: Path, *, prune: bool) -> list[str]:
    """Make the deployments of `folder` and the automations; one line each about what was done.

    A dataset's deployment is `synthesize/cpu` with the parameters and the schedule of its file. One whose file is gone
    is named, and with `prune` deleted.

    Raises ConfigError for a bad file before anything is changed, ServerError without a server or the base deployment.
    """
    from flows import automations

    datasets = load_datasets(folder)
    lines = []
    with connect() as client:
        base = _base(client)
        for dataset in datasets:
            identity = _deploy(client, base, dataset)
            automations.put_automation(client, automations.run_on_input(dataset.name, identity))
            lines.append(f"synthesize/{dataset.name}: {_when(dataset)}")
        for name in _without_file(client, {dataset.name for dataset in datasets}):
            if prune:
                client.delete_deployment(client.read_deployment_by_name(f"synthesize/{name}").id)
                automations.remove_automation(client, automations.input_automation(name))
            lines.append(
                f"synthesize/{name}: {'deleted' if prune else 'its file is gone: --prune deletes it'}"
            )
        automations.put_automation(client, automations.end_zombies())
        if url := os.environ.get(WEBHOOK_VARIABLE):
            automations.put_automation(client, automations.tell_of_crashes(_keep_webhook(url)))
            lines.append(f"a run that crashes is told to the webhook (Prefect block {WEBHOOK_BLOCK})")
    return lines


def notify_input(name: str) -> str:
    """Emit the event that starts the dataset's run. Raises ServerError when the dataset is not deployed."""
    import asyncio

    from prefect.events import Event, Resource
    from prefect.events.clients import get_events_client
    from prefect.exceptions import ObjectNotFound

    from flows import automations

    with connect() as client:
        try:
            client.read_deployment_by_name(f"synthesize/{name}")
        except ObjectNotFound:
            raise ServerError(
                f"there is no deployment synthesize/{name}: write configs/datasets/{name}.yaml and run `tvae deploy`"
            ) from None

    async def emit() -> None:
        async with get_events_client(checkpoint_every=1) as events:
            resource = Resource.model_validate({"prefect.resource.id": automations.dataset_resource(name)})
            await events.emit(Event(event=automations.NEW_INPUT, resource=resource))

    asyncio.run(emit())
    return (
        f"synthesize/{name} is started by a worker of the cpu pool; it ends at once if the input is the same"
    )


def _base(client: "SyncPrefectClient") -> "DeploymentResponse":
    from prefect.exceptions import ObjectNotFound

    try:
        return client.read_deployment_by_name(BASE)
    except ObjectNotFound:
        raise ServerError(
            f"there is no deployment {BASE}, which datasets are made like: run `make up`, or "
            "`prefect --no-prompt deploy --all --prefect-file deployments/prefect.yaml` first"
        ) from None


def _deploy(client: "SyncPrefectClient", base: "DeploymentResponse", dataset: Dataset) -> UUID:
    """Create the deployment, or replace it; only what the file says is a parameter, so defaults stay the code's."""
    parameters = dataset.model_dump(mode="json", exclude_unset=True, exclude={"schedule"})
    identity: UUID = client.create_deployment(
        flow_id=base.flow_id,
        name=dataset.name,
        description=f"The dataset {dataset.name}: {_when(dataset)}, and on new input. {base.description or ''}",
        parameters=_said(parameters),
        tags=sorted({*(base.tags or ()), TAG}),
        work_pool_name=base.work_pool_name,
        work_queue_name=base.work_queue_name,
        job_variables=base.job_variables,
        entrypoint=base.entrypoint,
        path=base.path,
        pull_steps=base.pull_steps,
        parameter_openapi_schema=base.parameter_openapi_schema,
        enforce_parameter_schema=True,
    )
    for schedule in client.read_deployment_schedules(identity):
        client.delete_deployment_schedule(identity, schedule.id)
    if wanted := _schedule(dataset):
        client.create_deployment_schedules(identity, [wanted])
    return identity


def _said(value: Any) -> Any:
    """The parameters without what was left out."""
    if isinstance(value, dict):
        return {key: _said(inner) for key, inner in value.items() if inner is not None}
    return value


def _schedule(dataset: Dataset) -> "DeploymentScheduleCreate | None":
    from prefect.client.schemas.actions import DeploymentScheduleCreate
    from prefect.client.schemas.schedules import CronSchedule

    if dataset.schedule is None:
        return None
    try:
        cron = CronSchedule(cron=dataset.schedule.cron, timezone=dataset.schedule.timezone)
    except ValidationError:
        raise ConfigError(
            f"{dataset.name}: schedule.cron {dataset.schedule.cron!r} is not a cron expression: minute, hour, day of "
            "month, month and day of week are expected, such as 0 2 * * *"
        ) from None
    return DeploymentScheduleCreate(schedule=cron, active=dataset.schedule.active)


def _when(dataset: Dataset) -> str:
    plan = dataset.schedule
    if plan is None:
        return "on demand"
    return f"{plan.cron} {plan.timezone}" + ("" if plan.active else " (inactive)")


def _without_file(client: "SyncPrefectClient", names: set[str]) -> list[str]:
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags

    tagged = DeploymentFilter(tags=DeploymentFilterTags(all_=[TAG]))
    return sorted({found.name for found in client.read_deployments(deployment_filter=tagged)} - names)


def _keep_webhook(url: str) -> UUID:
    """Keep the webhook's address as a secret of Prefect's, for the server to call."""
    from prefect.blocks.notifications import CustomWebhookNotificationBlock
    from prefect.types import SecretDict

    block = CustomWebhookNotificationBlock(
        name="tvae-pipeline",
        url="{{address}}",
        secrets=SecretDict({"address": url}),
        headers=None,
        cookies=None,
        allow_private_urls=True,  # whoever deploys names the address, and notices often go to the site's own network
        json_data={"event": "{{subject}}", "text": "{{body}}"},
    )
    # A coroutine only where an event loop runs, which none does here.
    return cast(UUID, block.save(WEBHOOK_BLOCK, overwrite=True))
