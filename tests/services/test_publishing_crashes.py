"""kill -9 at every step of a publication: the release is whole or absent, and publishing again finishes it."""

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.services.publishing import (
    fetch_directory,
    load_release,
    publish_release,
    save_directory,
    verify_release,
)
from tasks.services.store import NotFoundError, Store, StoreFullError, open_store
from tests.processes import exit_status, fork, in_child
from tests.services.test_publishing import write_files
from tests.services.test_publishing_directories import write_directory

KILLED = -signal.SIGKILL


class Dying:
    """A store whose process is killed in place of its n-th operation."""

    def __init__(self, store: Store, operations: int) -> None:
        self._store = store
        self._left = operations

    def __getattr__(self, name: str) -> Any:
        wrapped = getattr(self._store, name)
        if not callable(wrapped) or name == "uri_of":
            return wrapped

        def operation(*arguments: Any, **options: Any) -> Any:
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            self._left -= 1
            return wrapped(*arguments, **options)

        return operation


@pytest.fixture(params=["local", "moto"])
def crash_store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "local":
        return open_store(tmp_path / "store")
    return request.getfixturevalue("store_on_moto")


def kill_at_each_step(uri: str, work: Callable[[Store, str], object], check: Callable[[str], None]) -> int:
    """Kill `work` in place of its first operation, its second, ...; `check` each time; the number of steps."""
    for step in range(100):
        version = f"v{step}"
        status = in_child(lambda step=step, version=version: work(Dying(open_store(uri), step), version))
        assert status in (0, KILLED)
        check(version)
        if status == 0:
            return step
    raise AssertionError("a publication of two files takes fewer than 100 operations")


def test_a_publisher_killed_at_any_step_leaves_the_whole_release_or_none(
    crash_store: Store, tmp_path: Path
) -> None:
    files = write_files(tmp_path / "new", {"data/part-0": b"rows" * 1000, "report.md": b"report"})
    wholes, sent = [], []

    def check(version: str) -> None:
        try:
            load_release(crash_store, "adult", version)
            assert verify_release(crash_store, "adult", version) == []
            wholes.append(version)
        except NotFoundError:
            pass
        lying = len(list(crash_store.list(f"releases/adult/{version}/files-")))
        again = publish_release(crash_store, "adult", version, files, {})
        assert again.sent == 2 - lying
        assert verify_release(crash_store, "adult", version) == []
        assert len(list(crash_store.list(f"releases/adult/{version}/"))) == 3
        sent.append(again.sent)

    steps = kill_at_each_step(
        crash_store.uri, lambda store, version: publish_release(store, "adult", version, files, {}), check
    )
    assert steps >= 8
    assert {0, 1, 2} == set(sent)  # every stage of the work was interrupted
    assert 1 <= len(wholes) < steps


def test_a_release_killed_at_any_moment_is_whole_or_absent(tmp_path: Path) -> None:
    files = write_files(
        tmp_path / "new", {f"data/part-{number}": os.urandom(300_000) for number in range(20)}
    )
    store = open_store(tmp_path / "store")
    begun = time.monotonic()
    publish_release(store, "adult", "undisturbed", files, {})
    whole = time.monotonic() - begun
    for moment in range(10):
        version = f"v{moment}"
        child = fork(
            lambda version=version: publish_release(open_store(store.uri), "adult", version, files, {})
        )
        time.sleep(whole * (moment + 0.5) / 10)
        os.kill(child, signal.SIGKILL)
        exit_status(child)
        with contextlib.suppress(NotFoundError):
            assert verify_release(store, "adult", version) == []
        publish_release(store, "adult", version, files, {})
        assert verify_release(store, "adult", version) == []


def test_a_full_disk_leaves_no_release_and_publishing_again_sends_the_rest(
    small_disk: Path, tmp_path: Path
) -> None:
    store = open_store(small_disk)
    store.put_bytes("in-the-way", b"x" * 400_000)
    files = write_files(tmp_path / "new", {"data/part-0": b"a" * 300_000, "data/part-1": b"b" * 400_000})
    with pytest.raises(StoreFullError):
        publish_release(store, "adult", "1", files, {})
    with pytest.raises(NotFoundError):
        load_release(store, "adult", "1")
    store.delete("in-the-way")
    assert publish_release(store, "adult", "1", files, {}).sent == 1
    assert verify_release(store, "adult", "1") == []


def test_a_generator_s_writer_killed_at_any_step_leaves_it_whole_or_absent(
    crash_store: Store, tmp_path: Path
) -> None:
    first = write_directory(tmp_path / "first", {"weights": b"w" * 1000, "settings.json": b"{}"})
    # Training again gives other bytes: its history holds times.
    second = write_directory(tmp_path / "second", {"weights": b"W" * 1000, "settings.json": b"{}"})
    fetched = []

    def check(version: str) -> None:
        prefix, target = f"generators/adult/{version}", tmp_path / f"fetched-{version}"
        if not crash_store.exists(f"{prefix}/manifest.json"):
            save_directory(crash_store, prefix, second)
        fetch_directory(crash_store, prefix, target)
        fetched.append((target / "weights").read_bytes()[:1])
        assert len(list(crash_store.list(f"{prefix}/"))) == 3

    kill_at_each_step(
        crash_store.uri,
        lambda store, version: save_directory(store, f"generators/adult/{version}", first),
        check,
    )
    assert set(fetched) == {b"w", b"W"}
