"""Backup and restore: local to S3 and back again, verified, resumable, nothing overwritten."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from flows.cli import main
from tasks.services.backup import check_stores, copy_store
from tasks.services.publishing import load_release, publish_release, save_directory, verify_release
from tasks.services.store import Store, StoreError, UnavailableError, open_store
from tests.services.test_publishing import write_files
from tests.services.test_publishing_directories import write_directory


@pytest.fixture
def filled(tmp_path: Path) -> Store:
    """Two releases, a generator, an unfinished release and a run's workspace."""
    store = open_store(tmp_path / "filled")
    for version in ("1", "2"):
        files = write_files(
            tmp_path / version, {"data/part-0": version.encode() * 1000, "report.md": b"report"}
        )
        publish_release(store, "adult", version, files, {"lineage": {"run": version}})
    directory = write_directory(tmp_path / "generator", {"weights": b"w" * 1000, "settings.json": b"{}"})
    save_directory(store, "generators/adult/g1", directory)
    store.put_bytes("releases/adult/3/files-0123456789ab/data/part-0", b"unfinished")
    store.put_bytes("runs/adult/r1/scores.json", b"{}")
    return store


def content(store: Store) -> dict[str, bytes]:
    return {key: store.get_bytes(key) for key in store.list()}


def test_a_store_comes_back_from_its_backup_byte_for_byte(
    filled: Store, store_on_moto: Store, tmp_path: Path
) -> None:
    saved = copy_store(filled, store_on_moto)
    assert saved.copied == ("generators/adult/g1", "releases/adult/1", "releases/adult/2")
    assert saved.problems == ()
    back = open_store(tmp_path / "back")
    assert copy_store(store_on_moto, back).copied == saved.copied
    complete = {k: v for k, v in content(filled).items() if not k.startswith(("runs/", "releases/adult/3/"))}
    assert content(back) == complete
    assert verify_release(back, "adult", "2") == []


def test_a_second_backup_copies_only_what_is_new(filled: Store, store_on_moto: Store, tmp_path: Path) -> None:
    copy_store(filled, store_on_moto)
    files = write_files(tmp_path / "new", {"data/part-0": b"4"})
    publish_release(filled, "adult", "4", files, {})
    filled.put_bytes("releases/adult/1/retired.json", b"{}")
    again = copy_store(filled, store_on_moto)
    assert again.copied == ("releases/adult/4",)
    assert len(again.present) == 3
    assert store_on_moto.exists("releases/adult/1/retired.json")


class Breaking:
    """A target that goes away after some writes."""

    def __init__(self, store: Store, writes: int) -> None:
        self._store, self._left = store, writes

    def __getattr__(self, name: str) -> object:
        if name.startswith("put_"):
            self._left -= 1
            if self._left < 0:
                raise UnavailableError("no answer")
        return getattr(self._store, name)


@pytest.mark.parametrize("writes", range(9))
def test_a_backup_that_breaks_off_holds_whole_directories_alone_and_is_gone_on_with(
    filled: Store, tmp_path: Path, writes: int
) -> None:
    target = open_store(tmp_path / "target")
    with pytest.raises(UnavailableError):
        copy_store(filled, Breaking(target, writes))  # type: ignore[arg-type]
    for version in ("1", "2"):
        if target.exists(f"releases/adult/{version}/manifest.json"):
            assert verify_release(target, "adult", version) == []
    copy_store(filled, target)
    assert verify_release(target, "adult", "1") == verify_release(target, "adult", "2") == []


def test_a_release_that_is_damaged_is_named_and_the_others_are_copied(filled: Store, tmp_path: Path) -> None:
    directory = load_release(filled, "adult", "1")["directory"]
    filled.put_bytes(f"releases/adult/1/{directory}/report.md", b"altered")
    filled.delete(f"releases/adult/2/{load_release(filled, 'adult', '2')['directory']}/report.md")
    target = open_store(tmp_path / "target")
    done = copy_store(filled, target)
    assert done.copied == ("generators/adult/g1",)
    assert "releases/adult/1" in done.problems[0]
    assert "altered" in done.problems[0]
    assert "report.md is listed" in done.problems[1]
    assert not target.exists("releases/adult/1/manifest.json")


def test_other_content_in_the_target_is_never_overwritten(filled: Store, tmp_path: Path) -> None:
    target = open_store(tmp_path / "target")
    files = write_files(tmp_path / "other", {"data/part-0": b"other"})
    publish_release(target, "adult", "1", files, {})
    before = content(target)
    done = copy_store(filled, target)
    assert "holds other content" in done.problems[0]
    assert {key: target.get_bytes(key) for key in before} == before


def test_what_was_altered_in_a_backup_is_found_and_mended_when_it_is_read_again(
    filled: Store, tmp_path: Path
) -> None:
    target = open_store(tmp_path / "target")
    copy_store(filled, target)
    directory = load_release(filled, "adult", "1")["directory"]
    target.put_bytes(f"releases/adult/1/{directory}/report.md", b"REPORT")
    copy_store(filled, target)
    assert verify_release(target, "adult", "1") != []
    copy_store(filled, target, reread=True)
    assert verify_release(target, "adult", "1") == []


@pytest.mark.parametrize("manifest", [b"", b"[]", b'{"files": 1}', json.dumps({"files": [{}]}).encode()])
def test_a_manifest_that_is_none_is_a_problem_and_not_a_crash(tmp_path: Path, manifest: bytes) -> None:
    store = open_store(tmp_path / "store")
    store.put_bytes("releases/adult/1/manifest.json", manifest)
    assert "damaged" in copy_store(store, open_store(tmp_path / "target")).problems[0]


def test_a_store_is_not_copied_into_itself(tmp_path: Path) -> None:
    outer, inner = open_store(tmp_path), open_store(tmp_path / "backup")
    for pair in ((outer, inner), (inner, outer), (outer, outer)):
        with pytest.raises(StoreError, match="lie in each other"):
            check_stores(*pair)
    check_stores(open_store("s3://bucket/a"), open_store("s3://bucket/ab"))


def test_backup_and_restore_are_commands_that_say_what_they_did(filled: Store, tmp_path: Path) -> None:
    target, back = str(tmp_path / "target"), str(tmp_path / "back")
    saved = CliRunner().invoke(main, ["backup", filled.uri, target])
    assert saved.exit_code == 0
    assert "releases/adult/2" in saved.output
    assert "3 copied" in saved.output
    assert "0 copied" in CliRunner().invoke(main, ["backup", filled.uri, target]).output
    assert "3 copied" in CliRunner().invoke(main, ["restore", target, back]).output
    open_store(back).put_bytes("generators/adult/g1/manifest.json", b"other")
    refused = CliRunner().invoke(main, ["restore", target, back])
    assert refused.exit_code == 1
    assert "NOT COPIED  generators/adult/g1" in refused.output
    empty = CliRunner().invoke(main, ["backup", str(tmp_path / "nothing"), target])
    assert "holds no complete release" in empty.output
