"""What a webhook is told, through a real HTTP server."""

import json
from pathlib import Path

import pytest

from configs import load_config
from flows.notices import WEBHOOK_VARIABLE
from tests.conftest import people
from tests.scripted_server import Answer, scripted_server

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_server")]


def fail(config: Path, *overrides: str) -> str:
    """The state's type and message of a run that does not succeed."""
    from flows.synthesize import synthesize

    state = synthesize(**load_config(config, overrides).parameters(), return_state=True)
    assert state.is_failed()
    return str(state.message)


def test_a_gate_that_says_no_is_told_with_its_figures_and_no_value_of_the_table(
    config_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with scripted_server(Answer(200)) as hook:
        monkeypatch.setenv(WEBHOOK_VARIABLE, f"{hook.endpoint}/T0KEN")
        fail(config_file, "gate.rules.0.at_least=0.9999")
    ((method, path, body),) = hook.requests
    assert (method, path) == ("POST", "/T0KEN")
    notice = json.loads(body)
    assert (notice["event"], notice["dataset"], notice["flow"]) == ("gate said no", "people", "synthesize")
    assert 0 < notice["figures"]["fidelity.shape"] < 0.9999
    assert "fidelity.shape" in notice["text"] and "is below 0.9999" in notice["text"]
    for column in ("person", "income", "seen"):
        for value in people().column(column).to_pylist():
            assert value is None or f'"{value}"' not in body.decode()


def test_a_run_that_fails_is_told_with_the_reason(config_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted_server(Answer(200)) as hook:
        monkeypatch.setenv(WEBHOOK_VARIABLE, hook.endpoint)
        fail(config_file, "expectations=/none/suite.json")
    notice = json.loads(hook.requests[0][2])
    assert notice["event"] == "failed"
    assert "suite.json" in notice["text"]


def test_a_webhook_that_does_not_answer_changes_nothing_about_the_run(
    config_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with scripted_server(Answer(500)) as hook:
        monkeypatch.setenv(WEBHOOK_VARIABLE, hook.endpoint)
        assert "is below 0.9999" in fail(config_file, "gate.rules.0.at_least=0.9999")
