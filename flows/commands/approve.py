"""``tvae approve``: decide on a release without Prefect."""

import json
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from tasks.services.approval import Approval


@click.command()
@click.argument("store")
@click.argument("name", required=False)
@click.argument("version", required=False)
@click.option("--by", default="", metavar="NAME", help="Who decides.")
@click.option("--reason", default="", help="Why.")
@click.option("--refuse", is_flag=True, help="Say no: it is never published under this version.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def approve(
    store: str, name: str | None, version: str | None, by: str, reason: str, refuse: bool, as_json: bool
) -> None:
    """Publish the release NAME VERSION that waits in STORE, or refuse it. Without VERSION: list what was asked."""
    from tasks.services.approval import decide, list_approvals
    from tasks.services.package import publish_package
    from tasks.services.publishing import list_versions
    from tasks.services.store import open_store

    opened = open_store(store)
    if name is None or version is None:
        found = list_approvals(opened, name)
        _print([_plain(approval) for approval in found], [_line(approval) for approval in found], as_json)
        return
    decided = decide(opened, name, version, approve=not refuse, by=by, reason=reason)
    lines = [_line(decided)]
    if decided.status == "approved" and version not in list_versions(opened, "releases", name):
        published = publish_package(decided.package, decided.about)
        lines.append(f"published: {published.uri}")
    _print(_plain(decided), lines, as_json)


def _plain(approval: "Approval") -> dict[str, object]:
    return {**approval.request, "status": approval.status, "decision": approval.decision}


def _line(approval: "Approval") -> str:
    request, decision = approval.request, approval.decision
    if decision is None:
        return f"{request['name']} {request['version']}: waiting until {request['expires'][:16]}"
    said = f"{decision['decision']} on {decision['decided'][:16]} by {decision['by']}: {decision['reason']}"
    return f"{request['name']} {request['version']}: {said}"


def _print(plain: object, lines: list[str], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(plain, indent=2, ensure_ascii=False))
    else:
        click.echo("\n".join(lines) or "nothing was asked")
