"""The flow that waits for a person's decision: suspended, so that no worker is held, and run again when it is there."""

from datetime import UTC, datetime
from typing import Any, Literal

from prefect import flow
from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput
from prefect.states import Completed
from pydantic import Field

from tasks.approval import describe_request, read_request, record_decision
from tasks.publish import publish_release
from tasks.services.approval import Approval


class Answer(RunInput):
    """The form of a decision."""

    decision: Literal["approve", "refuse"] = Field(
        description="approve publishes the release; refuse never does."
    )
    by: str = Field(description="Your name, 1 to 200 characters.", min_length=1, max_length=200)
    reason: str = Field(description="Why, 1 to 2,000 characters.", min_length=1, max_length=2_000)


@flow(
    name="approve-release",
    persist_result=False,
    description="Waits for a person's decision on a release, then publishes it or not.",
)
def approve_release(*, store: str, name: str, version: str) -> Any:
    """Show the verdict and a form, wait without a worker, record the decision, and publish what was approved.

    Started by `synthesize`. Run again, it goes on from the decision that the store holds.

    Args:
        store: Where the release waits: a directory, file:///... or s3://bucket/prefix.
        name: Name of the dataset.
        version: Version of the release.
    """
    approval = read_request(store, name, version)
    if approval.waits:
        answer = ask(approval)
        approval = record_decision(
            approval, approve=answer.decision == "approve", by=answer.by, reason=answer.reason
        )
    summary: dict[str, Any] = {"name": name, "version": version, "decision": approval.decision}
    if approval.status == "approved":
        summary["release"] = publish_release(approval.package, approval.about).uri
    return Completed(
        name=approval.status.capitalize(), message=f"{name} {version}: {approval.status}", data=summary
    )


def ask(approval: Approval) -> Answer:
    """Suspend the run until the form is filled in; in the run after that, its content."""
    left = datetime.fromisoformat(approval.request["expires"]) - datetime.now(UTC)
    form = Answer.with_initial_data(description=describe_request(approval))
    answer: Answer = suspend_flow_run(
        wait_for_input=form, timeout=max(1, int(left.total_seconds())), key=f"approval-{approval.number}"
    )
    return answer
