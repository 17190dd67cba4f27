"""Tell somebody when a run fails or the gate says no: one POST of JSON, with names and figures only."""

import json
import os
import urllib.request
from typing import Any

from prefect.logging import get_logger

from tasks.refusals import ApprovalRefusedError, GateRefusedError, RefusedError, ValidationRefusedError
from tvae_core.errors import TVAEError

WEBHOOK_VARIABLE = "TVAE_WEBHOOK_URL"
WEBHOOK_BLOCK = "tvae-webhook"
TIMEOUT_SECONDS = 10.0
REFUSALS = {
    GateRefusedError: "gate said no",
    ApprovalRefusedError: "approval refused",
    ValidationRefusedError: "input refused",
}


def tell_of_failure(flow: Any, flow_run: Any, state: Any) -> None:
    """Hook of a run that failed: call the webhook that TVAE_WEBHOOK_URL names, if it names one.

    A webhook that does not answer is logged, and changes nothing about the run.
    """
    url = os.environ.get(WEBHOOK_VARIABLE)
    if not url:
        return
    error = state.result(raise_on_failure=False)
    body = json.dumps(describe(flow.name, flow_run, error)).encode()
    request = urllib.request.Request(url, body, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS):
            pass
    except (OSError, ValueError) as failure:
        # The address may hold a token: the kind of failure says enough.
        get_logger("prefect.flow_runs").warning(
            "the webhook of %s was not reached (%s)", WEBHOOK_VARIABLE, type(failure).__name__
        )


def describe(flow: str, flow_run: Any, error: Any) -> dict[str, Any]:
    """What a notice says: which run of which dataset, what happened, and the figures where there are some.

    An error of another library may quote a cell: of it only the type is told.
    """
    own = isinstance(error, RefusedError | TVAEError)
    event = "failed"
    if isinstance(error, RefusedError):
        event = next((event for kind, event in REFUSALS.items() if isinstance(error, kind)), "refused")
    said = str(error) if own else f"{type(error).__name__}: read the run's log"
    dataset = (flow_run.parameters or {}).get("name")
    notice = {
        "event": event,
        "flow": flow,
        "dataset": dataset,
        "run": flow_run.name,
        "run_id": str(flow_run.id),
        "text": f"{dataset or flow}: {event}. {said}",
    }
    if isinstance(error, RefusedError):
        notice["report"] = error.report_uri
        notice["figures"] = error.details.get("figures", {})
    return notice
