"""``tvae run`` as a user runs it: a process of its own, its exit codes, and what a kill leaves behind."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.services.publishing import load_release, verify_release
from tasks.services.store import open_store
from tests.processes import wait_until
from tests.servers import S3Server

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_server")]
COMMAND = [sys.executable, "-m", "flows.cli", "run"]


def environment(**changes: str) -> dict[str, str]:
    """This process's environment, with the tests' Prefect server."""
    from prefect.settings import PREFECT_API_URL

    return {**os.environ, "PREFECT_API_URL": str(PREFECT_API_URL.value()), **changes}


def tvae_run(config: Path, *overrides: str, **changes: str) -> subprocess.CompletedProcess[str]:
    options = [part for override in overrides for part in ("--set", override)]
    command = [*COMMAND, str(config), *options]
    return subprocess.run(
        command, capture_output=True, text=True, env=environment(**changes), check=False, timeout=300
    )


@contextlib.contextmanager
def started(config: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A run in a process group of its own, which never outlives the block."""
    with subprocess.Popen(
        [*COMMAND, str(config)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def kill_when(process: subprocess.Popen[str], *words: str) -> None:
    """Read the run's lines until one holds all the words, then kill -9."""
    assert process.stderr is not None
    for line in process.stderr:
        if all(word in line for word in words):
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(timeout=30)
            return
    raise AssertionError(f"the run ended before it said {' '.join(words)}")


def test_a_run_shows_each_stage_and_epoch_and_ends_with_scores_verdict_and_places(config_file: Path) -> None:
    done = tvae_run(config_file)
    assert done.returncode == 0, done.stderr
    for stage in ("ingest", "validate", "split", "train", "sample", "score", "gate", "publish"):
        assert f" {stage} " in done.stderr, stage
    assert "epoch 1/3" in done.stderr
    assert "epoch 3/3" in done.stderr
    for word in ("fidelity.shape", "verdict    passed", "release ", "report ", "generator "):
        assert word in done.stdout
    assert "p00001" not in done.stdout + done.stderr


def test_a_missed_gate_exits_1_with_the_figure_and_where_the_report_lies(
    config_file: Path, tmp_path: Path
) -> None:
    done = tvae_run(config_file, "gate.rules.0.at_least=0.9999")
    assert done.returncode == 1
    assert "fidelity.shape: " in done.stderr
    assert "is below 0.9999" in done.stderr
    assert "verdict    refused" in done.stdout
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "store" / "releases").exists()


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("input=none.parquet", "none.parquet"),
        ("model.epohs=3", "did you mean epochs?"),
        ("schema=none.yaml", "none.yaml"),
        ("generator_uri=nowhere", "no generator lies at"),
    ],
)
def test_bad_input_exits_2_with_one_message(
    config_file: Path, tmp_path: Path, override: str, said: str
) -> None:
    done = tvae_run(config_file, override)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "store" / "releases").exists()


def test_a_missing_bucket_exits_2_and_says_so(config_file: Path, moto: S3Server) -> None:
    done = tvae_run(config_file, "store=s3://no-such-bucket-here/out", **moto.environment)
    assert done.returncode == 2
    assert "no-such-bucket-here" in done.stderr
    assert moto.secret_key not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_server_that_does_not_answer_exits_2_and_says_what_to_do(config_file: Path) -> None:
    done = tvae_run(config_file, PREFECT_API_URL="http://127.0.0.1:9/api")
    assert done.returncode == 2
    assert "PREFECT_API_URL" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        ("training", ("train", "epoch 2/")),
        pytest.param("sampling", ("sample", "rows/s"), marks=pytest.mark.long),
        pytest.param("scoring", ("score", "detection"), marks=pytest.mark.long),
    ],
)
def test_a_run_that_is_killed_leaves_no_release_and_is_finished_by_the_next(
    config_file: Path, tmp_path: Path, stage: str, words: tuple[str, ...]
) -> None:
    undisturbed = tvae_run(config_file, f"store={tmp_path / 'undisturbed'}")
    assert undisturbed.returncode == 0, undisturbed.stderr
    with started(config_file, environment()) as process:
        kill_when(process, *words)
    assert not (tmp_path / "store" / "releases").exists()
    if stage == "training":
        assert not list((tmp_path / "store").rglob("generators/**/manifest.json"))
    again = tvae_run(config_file)
    assert again.returncode == 0, again.stderr
    if stage != "training":
        assert "this generator exists already and is reused" in again.stderr
        assert "epoch" not in again.stderr
    stores = [open_store(tmp_path / name) for name in ("store", "undisturbed")]
    version = next(iter((tmp_path / "store" / "releases" / "people").iterdir())).name
    assert verify_release(stores[0], "people", version) == []
    digests = {load_release(store, "people", version)["digest"] for store in stores}
    assert len(digests) == 1


def processes_of_session(session: int) -> list[str]:
    listing = subprocess.run(
        ["ps", "-eo", "sid=,stat=,args="], capture_output=True, text=True, check=True
    ).stdout
    fields = [line.split(maxsplit=2) for line in listing.splitlines()]
    return [line[2] for line in fields if line[0] == str(session) and not line[1].startswith("Z")]


@pytest.mark.long
def test_without_a_server_the_run_brings_its_own_and_takes_it_down_again(
    config_file: Path, tmp_path: Path
) -> None:
    own = {"PREFECT_API_URL": "", "PREFECT_HOME": str(tmp_path)}
    with started(config_file, environment(**own)) as process:
        _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert "a temporary server of its own" in said
    assert processes_of_session(process.pid) == []


@pytest.mark.long
def test_a_run_that_is_asked_to_stop_leaves_neither_a_server_nor_a_copy_of_the_table(
    config_file: Path, tmp_path: Path
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    own = {"PREFECT_API_URL": "", "PREFECT_HOME": str(tmp_path), "TMPDIR": str(temporary)}
    with started(config_file, environment(**own)) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "epoch 1/" in line:
                break
        process.terminate()
        process.communicate(timeout=60)
        assert process.returncode != 0
        assert processes_of_session(process.pid) == []
    assert [path.name for path in temporary.rglob("*") if path.name.startswith("tvae-")] == []


@pytest.mark.long
def test_a_run_that_is_killed_takes_its_temporary_server_with_it(config_file: Path, tmp_path: Path) -> None:
    own = {"PREFECT_API_URL": "", "PREFECT_HOME": str(tmp_path)}
    with started(config_file, environment(**own)) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "epoch 1/" in line:
                break
        assert any("temporary_server" in command for command in processes_of_session(process.pid))
        process.kill()
        process.wait(timeout=30)
        wait_until(lambda: processes_of_session(process.pid) == [])
