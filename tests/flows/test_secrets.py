"""Credentials: given by the environment, and found nowhere afterwards, whether the run ends well or not."""

import logging
from pathlib import Path
from typing import Any

import pytest

from configs import load_config
from tasks.services.store import AccessDeniedError, BucketMissingError, UnavailableError, open_store
from tests.fault_proxy import fault_proxy
from tests.servers import S3Server

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("prefect_server")]

SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMIplanted",
    "AWS_ACCESS_KEY_ID": "AKIAPLANTED",
    "AWS_SESSION_TOKEN": "FwoGZXIplanted",
}
PASSWORD = "hunter2planted"  # of the endpoint's address
PLANTED = (*SECRETS.values(), PASSWORD)


@pytest.fixture
def planted(moto: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """A bucket whose server is reached with secrets; the bucket's address."""
    bucket = moto.make_bucket()
    for name, value in (moto.environment | SECRETS).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TVAE_STORE_PATIENCE", "1")
    return f"s3://{bucket}/prefix"


def run(config: Path, store: str) -> dict[str, Any]:
    from flows.synthesize import synthesize

    summary: dict[str, Any] = synthesize(**load_config(config, [f"store={store}"]).parameters())
    return summary


def everything_prefect_knows() -> str:
    """Runs with their parameters and states, logs and artifacts, as Prefect's server gives them out."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        kept = [client.read_flow_runs(limit=200), client.read_task_runs(limit=200)]
        return repr([*kept, client.read_logs(limit=200), client.read_artifacts(limit=200)])


def assert_nothing_shows(*texts: str) -> None:
    for secret in PLANTED:
        assert not any(secret in text for text in texts)


def test_a_run_leaves_its_credentials_in_no_log_no_artifact_and_no_file(
    planted: str, config_file: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.INFO):
        summary = run(config_file, planted)
    store = open_store(planted)
    files = [store.get_bytes(key).decode("latin-1") for key in store.list()]
    assert len(files) > 10
    assert_nothing_shows(*files, repr(summary), caplog.text, everything_prefect_knows(), *capfd.readouterr())


@pytest.mark.parametrize("fault", ["no such bucket", "endpoint with a password is down", "no access key"])
def test_a_run_that_fails_at_the_store_repeats_no_credential(
    fault: str,
    planted: str,
    moto: S3Server,
    config_file: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tasks.stage.RETRY_STORE", {})
    if fault == "no such bucket":
        planted = "s3://no-such-bucket-4711/prefix"
    elif fault == "no access key":
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    else:
        with fault_proxy(moto.endpoint) as proxy:  # down again when the block ends
            address = proxy.endpoint.replace("http://", f"http://somebody:{PASSWORD}@")
            monkeypatch.setenv("AWS_ENDPOINT_URL_S3", address)
    with (
        caplog.at_level(logging.INFO),
        pytest.raises((BucketMissingError, UnavailableError, AccessDeniedError)) as caught,
    ):
        run(config_file, planted)
    assert_nothing_shows(
        str(caught.value), repr(caught.value), caplog.text, everything_prefect_knows(), *capfd.readouterr()
    )
