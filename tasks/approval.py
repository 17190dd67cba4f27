"""Between package and publish: ask a person, and act on the answer."""

from prefect import task
from prefect.artifacts import create_markdown_artifact

from tasks.progress import say
from tasks.references import PackageRef
from tasks.refusals import ApprovalRefusedError
from tasks.services import approval
from tasks.services.approval import Approval
from tasks.services.package import REPORT, read_package
from tasks.services.store import NotFoundError, open_store, split_uri
from tasks.stage import RETRY_STORE, STAGE


@task(name="request-approval", **STAGE, **RETRY_STORE)
def request_approval(package: PackageRef, hours: float) -> Approval:
    """Ask for a decision on the package, or find the one that was taken; a refusal ends the run."""
    found = approval.request_approval(package, hours)
    if found.status == "refused" and found.decision is not None:
        raise ApprovalRefusedError(
            f"the release {package.name} {package.version} was refused by {found.decision['by']} on "
            f"{found.decision['decided'][:16]}: {found.decision['reason']}",
            report_address(package),
            {"figures": found.request["figures"]},
        )
    if found.waits:
        say("approval", f"waiting for a decision until {found.request['expires'][:16]}; nothing is published")
    return found


@task(name="read-request", **STAGE, **RETRY_STORE)
def read_request(store: str, name: str, version: str) -> Approval:
    """Where the release stands. Raises NotFoundError when nobody asked for it."""
    found = approval.find_approval(open_store(store), name, version)
    if found is None:
        raise NotFoundError(f"{store} holds no request for the release {name} {version}")
    return found


@task(name="describe-request", **STAGE, **RETRY_STORE)
def describe_request(found: Approval) -> str:
    """What a person decides on, as Markdown: until when, where the report lies, and the data card with the verdict."""
    files = read_package(found.package)["files"]
    root, key = split_uri(files["data_card.md"]["uri"])
    card = open_store(root).get_bytes(key).decode()
    text = (
        f"**Decide until {found.request['expires'][:16]} UTC.** Nothing is published before. "
        f"The report: `{report_address(found.package)}`\n\n{card}"
    )
    create_markdown_artifact(text, key="approval", description="A release that waits for a decision")
    return text


@task(name="record-decision", **STAGE, **RETRY_STORE)
def record_decision(found: Approval, *, approve: bool, by: str, reason: str) -> Approval:
    """Keep the decision in the store; the first one stands."""
    request = found.request
    decided = approval.decide(
        open_store(found.package.store),
        request["name"],
        request["version"],
        approve=approve,
        by=by,
        reason=reason,
    )
    say("approval", f"{decided.status} by {by}")
    return decided


def report_address(package: PackageRef) -> str:
    """Where the staged report lies; empty when what was staged is gone."""
    try:
        files = read_package(package)["files"]
    except NotFoundError:
        return ""
    return next((str(file["uri"]) for path, file in files.items() if path.startswith(REPORT)), "")
