"""``tvae run``: the flow in this process, its progress on the terminal, its result in a few lines."""

import contextlib
import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from configs import RunConfig, load_config
from configs.datasets import Dataset
from flows.console import Console, ConsoleHandler
from flows.temporary_server import temporary_server
from tasks.refusals import GateRefusedError
from tvae_core.errors import TVAEError

# Defaults for a run without a server of one's own; what the environment says wins.
QUIET_PREFECT = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_SHOW_PROMOTIONAL_CONTENT": "false",
}

SERVER_FAILURES = ("Failed to reach API",)
SERVER_ADVICE = (
    "Start the one that PREFECT_API_URL names, or unset it; without one, PREFECT_HOME must be writable"
)


def run_config(path: Path, overrides: Iterable[str]) -> None:
    """Run the line as the configuration says and print where everything lies.

    Raises ConfigError before Prefect is even started, RefusedError when validation or gate say no, TVAEError otherwise.
    """
    config = load_config(path, overrides, Dataset)
    for key, value in QUIET_PREFECT.items():
        os.environ.setdefault(key, value)
    with Console() as console:
        where = os.environ.get("PREFECT_API_URL") or "a temporary server of its own"
        console.say("prefect", f"starting ({where})")
        try:
            with _server():
                summary = _run(config, console)
        except GateRefusedError as refusal:
            _print_refusal(refusal)
            raise
    _print_release(summary)


def _server() -> contextlib.AbstractContextManager[object]:
    """The server that PREFECT_API_URL or Prefect's profile names; a temporary one without."""
    from prefect.logging.handlers import APILogHandler
    from prefect.settings import PREFECT_API_URL, temporary_settings

    if PREFECT_API_URL.value():
        return contextlib.nullcontext()
    stack = contextlib.ExitStack()
    url = stack.enter_context(temporary_server())
    stack.enter_context(temporary_settings({PREFECT_API_URL: url}))
    # Log lines that wait to be sent would be tried for more than a minute after this server is gone.
    stack.callback(APILogHandler().flush)
    return stack


def _run(config: RunConfig, console: Console) -> dict[str, Any]:
    from flows.synthesize import synthesize

    _listen(console)
    try:
        summary: dict[str, Any] = synthesize(**config.parameters())
        return summary
    except RuntimeError as failure:
        if not str(failure).startswith(SERVER_FAILURES):
            raise
        raise TVAEError(f"Prefect's server does not answer: {failure} {SERVER_ADVICE}") from None


def _listen(console: Console) -> None:
    """Put our handler where Prefect's console handler stands."""
    from prefect.logging.configuration import setup_logging
    from prefect.logging.handlers import PrefectConsoleHandler

    setup_logging()
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, PrefectConsoleHandler)]:
        root.removeHandler(handler)
    root.addHandler(ConsoleHandler(console))


def _print_refusal(refusal: GateRefusedError) -> None:
    _print_figures(refusal.details["figures"])
    _print_places(
        verdict="refused by the gate, nothing was published",
        report=refusal.report_uri,
        scores=refusal.details["scores"],
        generator=refusal.details["generator"],
    )


def _print_release(summary: dict[str, Any]) -> None:
    _print_figures(summary["figures"])
    if "release" not in summary:
        _print_places(
            verdict=f"passed the gate, awaiting approval until {summary['expires'][:16]}, nothing is published",
            decide=summary["decide"],
            report=summary["report"],
            generator=summary["generator"],
        )
        return
    _print_places(
        verdict="passed the gate, published",
        release=f"{summary['release']} (digest {summary['digest'][:12]})",
        report=summary["report"],
        generator=summary["generator"],
    )


def _print_figures(figures: dict[str, float]) -> None:
    click.echo("")
    for name, value in sorted(figures.items()):
        click.echo(f"{name:<36} {value:8.4f}")
    click.echo("")


def _print_places(**places: str) -> None:
    for label, place in places.items():
        click.echo(f"{label:<10} {place}")
