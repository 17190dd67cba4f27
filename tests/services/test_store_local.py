"""The directory store under trouble: full disks, killed writers, file systems without hard links, missing rights."""

import errno
import os
import resource
import signal
import tempfile
import time
from pathlib import Path

import pytest

from tasks.services.store import (
    AccessDeniedError,
    AlreadyExistsError,
    StoreError,
    StoreFullError,
    open_store,
)
from tests.processes import exit_status, fork, in_child, wait_until


def test_a_full_disk_leaves_nothing_behind_and_the_write_succeeds_once_there_is_room(
    small_disk: Path,
) -> None:
    store = open_store(small_disk)
    store.put_bytes("kept", b"k" * 600_000)
    with pytest.raises(StoreFullError, match="half-written"):
        store.put_bytes("data/part", b"p" * 600_000)
    assert [path.name for path in small_disk.rglob("*") if path.is_file()] == ["kept"]
    store.delete("kept")
    store.put_bytes("data/part", b"p" * 600_000)
    assert store.size("data/part") == 600_000


def test_fetching_to_a_full_disk_leaves_nothing_behind(small_disk: Path, tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    store.put_bytes("big", b"b" * 2_000_000)
    with pytest.raises(StoreFullError):
        store.get_file("big", small_disk / "big")
    assert list(small_disk.iterdir()) == []


def test_a_replaced_object_survives_when_its_successor_finds_no_room(tmp_path: Path) -> None:
    """With a limit on file sizes, which every user can set."""
    store = open_store(tmp_path)
    store.put_bytes("key", b"first")

    def write() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        with pytest.raises(StoreFullError):
            store.put_bytes("key", b"s" * (4 << 20))

    assert in_child(write) == 0
    assert store.get_bytes("key") == b"first"
    assert os.listdir(tmp_path) == ["key"]


def test_a_writer_killed_halfway_leaves_no_object_and_blocks_nobody(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    child = fork(lambda: store.put_file("part", pipe, if_absent=True))
    with pipe.open("wb") as writer:
        writer.write(b"half of it")
        writer.flush()
        wait_until(lambda: any((tmp_path / "store").glob(".tvae-tmp-*")))
        os.kill(child, signal.SIGKILL)
        assert exit_status(child) == -signal.SIGKILL
    assert not store.exists("part")
    assert list(store.list()) == []
    store.put_bytes("part", b"whole", if_absent=True)
    assert store.get_bytes("part") == b"whole"


def test_what_killed_writers_left_is_swept_after_a_day_and_not_before(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    old, young = tmp_path / ".tvae-tmp-old", tmp_path / ".tvae-tmp-young"
    old.write_bytes(b"")
    young.write_bytes(b"")
    two_days_ago = time.time() - 2 * 86_400
    os.utime(old, (two_days_ago, two_days_ago))
    store.put_bytes("key", b"")
    assert not old.exists()
    assert young.exists()


def test_clocks_set_forward_or_back_stop_neither_a_write_nor_the_sweeping(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    for name, ahead in (("next-year", 365 * 86_400), ("in-an-hour", 3_600), ("in-1970", -time.time() + 1)):
        (tmp_path / f".tvae-tmp-{name}").write_bytes(b"")
        os.utime(tmp_path / f".tvae-tmp-{name}", (time.time() + ahead,) * 2)
    store.put_bytes("key", b"x")
    assert sorted(os.listdir(tmp_path)) == [".tvae-tmp-in-an-hour", "key"]


def test_without_hard_links_an_existing_object_is_still_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    store = open_store(tmp_path)
    store.put_bytes("key", b"first", if_absent=True)
    with pytest.raises(AlreadyExistsError):
        store.put_bytes("key", b"second", if_absent=True)
    assert store.get_bytes("key") == b"first"
    assert os.listdir(tmp_path) == ["key"]


@pytest.mark.parametrize("link", ["releases", "releases/adult", "releases/adult/part"])
def test_a_symbolic_link_out_of_the_store_is_followed_by_no_operation(tmp_path: Path, link: str) -> None:
    outside = tmp_path / "outside"
    (outside / "adult").mkdir(parents=True)
    for secret in ("part", "adult/part"):
        (outside / secret).write_bytes(b"secret")
    store = open_store(tmp_path / "store")
    place = tmp_path / "store" / link
    place.parent.mkdir(parents=True)
    place.symlink_to(outside / "part" if link.endswith("part") else outside)
    key = "releases/adult/part"
    for operation in (
        lambda: store.get_bytes(key),
        lambda: store.get_file(key, tmp_path / "fetched"),
        lambda: store.checksum(key),
        lambda: store.exists(key),
        lambda: store.size(key),
        lambda: store.put_bytes(key, b"x"),
        lambda: store.put_bytes(key, b"x", if_absent=True),
        lambda: store.delete(key),
    ):
        with pytest.raises(StoreError, match="leads out of the store"):
            operation()
    assert (outside / "part").read_bytes() == (outside / "adult" / "part").read_bytes() == b"secret"
    assert not (tmp_path / "fetched").exists()


def test_a_symbolic_link_within_the_store_and_the_store_itself_as_a_link_are_followed(tmp_path: Path) -> None:
    (tmp_path / "disk" / "big").mkdir(parents=True)
    (tmp_path / "disk" / "releases").symlink_to(tmp_path / "disk" / "big")
    (tmp_path / "store").symlink_to(tmp_path / "disk")
    store = open_store(tmp_path / "store")
    store.put_bytes("releases/key", b"x")
    assert store.get_bytes("big/key") == b"x"


def test_links_in_a_circle_are_reported(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(StoreError, match="a/key"):
        open_store(tmp_path).get_bytes("a/key")


def test_a_file_where_a_directory_is_needed_is_reported(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.put_bytes("a", b"")
    with pytest.raises(StoreError, match="a/b"):
        store.put_bytes("a/b", b"")
    store.put_bytes("c/d", b"")
    with pytest.raises(StoreError, match="'c'"):
        store.put_bytes("c", b"")


def test_a_name_that_the_file_system_does_not_take_is_reported(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="long"):
        open_store(tmp_path).put_bytes("n" * 300, b"")


def test_a_directory_without_the_right_to_write_is_reported() -> None:
    with tempfile.TemporaryDirectory() as directory:  # pytest's own directories can't be entered by others
        store = open_store(directory)
        os.chmod(directory, 0o555)

        def write() -> None:
            if os.geteuid() == 0:  # root may write anywhere
                os.setuid(65534)
            with pytest.raises(AccessDeniedError, match="owner and mode"):
                store.put_bytes("key", b"")

        assert in_child(write) == 0
