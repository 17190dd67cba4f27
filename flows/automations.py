"""What Prefect's server does by itself: start a dataset on new input, notice runs that died, tell about crashes."""

from datetime import timedelta
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState, RunDeployment, SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture

NEW_INPUT = "tvae.input.arrived"
# A run says every 30 seconds that it lives (deployments/prefect.yaml). Three such words missed, and it is dead.
SILENCE = timedelta(seconds=100)


def dataset_resource(name: str) -> str:
    """The resource of an event about a dataset."""
    return f"tvae.dataset.{name}"


def input_automation(name: str) -> str:
    """What the automation that starts a dataset's run is called."""
    return f"synthesize/{name}: new input"


def run_on_input(name: str, deployment: UUID) -> AutomationCore:
    """Start `deployment` when the event NEW_INPUT comes for the dataset."""
    return AutomationCore(
        name=input_automation(name),
        description=f"Starts a run when `tvae notify-input {name}` says that the input has changed.",
        trigger=EventTrigger(
            expect={NEW_INPUT},
            match={"prefect.resource.id": dataset_resource(name)},
            posture=Posture.Reactive,
            threshold=1,
            within=timedelta(0),
        ),
        actions=[
            RunDeployment(source="selected", deployment_id=deployment, parameters=None, job_variables=None)
        ],
    )


def end_zombies(silence: timedelta = SILENCE) -> AutomationCore:
    """Call a run crashed when its process has died without a word, as with its machine."""
    return AutomationCore(
        name="tvae: a run is heard of no more",
        description="Ends, as Crashed, a run whose heartbeats have stopped: its process or its machine is gone.",
        trigger=EventTrigger(
            after={"prefect.flow-run.heartbeat"},
            expect={
                "prefect.flow-run.heartbeat",
                *(f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "Cancelled", "Crashed")),
            },
            match={"prefect.resource.id": "prefect.flow-run.*"},
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=silence,
        ),
        actions=[
            ChangeFlowRunState(
                name=None,
                state=StateType.CRASHED,
                force=False,
                message="its heartbeats have stopped: its process or its machine is gone. Run again: finished stages "
                "are not repeated",
            )
        ],
    )


def tell_of_crashes(webhook_block: UUID) -> AutomationCore:
    """Notify of a run that crashed: its process can't do so itself."""
    return AutomationCore(
        name="tvae: a run crashed",
        description="Calls the webhook that TVAE_WEBHOOK_URL named when this was deployed.",
        trigger=EventTrigger(
            expect={"prefect.flow-run.Crashed"},
            match={"prefect.resource.id": "prefect.flow-run.*"},
            match_related={"prefect.resource.role": "tag", "prefect.resource.id": "prefect.tag.tvae"},
            posture=Posture.Reactive,
            threshold=1,
            within=timedelta(0),
        ),
        actions=[
            SendNotification(
                block_document_id=webhook_block,
                subject="crashed",
                body="{{ flow.name }} ({{ flow_run.name }}) crashed: {{ flow_run.state.message }}",
            )
        ],
    )


def put_automation(client: SyncPrefectClient, wanted: AutomationCore) -> None:
    """Create the automation, or bring the one of this name up to date."""
    found = client.read_automations_by_name(wanted.name)
    if found:
        client.update_automation(found[0].id, wanted)
    else:
        client.create_automation(wanted)


def remove_automation(client: SyncPrefectClient, name: str) -> None:
    """Delete the automations of this name."""
    for found in client.read_automations_by_name(name):
        client.delete_automation(found.id)
