"""What a run does about approval: ask where it is required, and end without holding a worker."""

from typing import Any

from prefect.client.schemas.objects import State
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.states import Completed

from configs.release import ReleaseSection
from tasks.approval import report_address, request_approval
from tasks.progress import say
from tasks.references import PackageRef
from tasks.services.approval import Approval

DEPLOYMENT = "approve-release/cpu"


def settle_approval(package: PackageRef, section: ReleaseSection) -> Approval:
    """Where the release stands: settled where nobody has to be asked; while it waits, a form is open in the UI."""
    if section.approval == "none":
        return Approval(settled=True)
    approval = request_approval(package, section.approval_hours)
    if approval.waits:
        _open_form(approval)
    return approval


def awaiting(approval: Approval, generator: str, figures: dict[str, float]) -> State[Any]:
    """The end of a run whose release waits for a person."""
    package = approval.package
    summary = {
        "name": package.name,
        "version": package.version,
        "status": "awaiting approval",
        "expires": approval.request["expires"],
        "decide": command(package),
        "report": report_address(package),
        "generator": generator,
        "figures": figures,
    }
    message = f"awaiting approval until {summary['expires'][:16]}; nothing is published"
    return Completed(name="Awaiting approval", message=message, data=summary)


def command(package: PackageRef) -> str:
    """What to type to decide without the UI."""
    return (
        f'tvae approve {package.store} {package.name} {package.version} --by NAME --reason "..." [--refuse]'
    )


def _open_form(approval: Approval) -> None:
    """Start the run that waits in the UI, once a request, and not as a child: it outlives this run."""
    package = approval.package
    try:
        run_deployment(
            DEPLOYMENT,
            parameters={"store": package.store, "name": package.name, "version": package.version},
            timeout=0,
            as_subflow=False,
            flow_run_name=f"{package.name} {package.version}",
            idempotency_key=f"approval-{package.sha256}-{approval.number}-{approval.request['requested']}",
        )
        say("approval", f"{DEPLOYMENT} shows the form")
    except ObjectNotFound:
        say("approval", f"no deployment {DEPLOYMENT} on this server: decide with {command(package)}")
