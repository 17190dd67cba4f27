"""Releases: all or nothing, never overwritten, the same digest for the same bytes, and every alteration found."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tasks.references import FileRef, PartRef, ReleaseRef
from tasks.services.local_store import LocalStore
from tasks.services.publishing import list_versions, load_release, publish_release, verify_release
from tasks.services.store import AlreadyExistsError, NotFoundError, Store, StoreError, open_store
from tests.processes import exit_status, fork, wait_until
from tvae_core.errors import DigestError

# Computed by hand: sha256sum of [["data/part-0.parquet","<sha256 of rows>"],["report.md","<sha256 of report>"]]
DIGEST = "82373c71a0351479389f7eae572ea583d28d12ab78a9299340ef3803b34e02c7"
FILES = {"report.md": b"report", "data/part-0.parquet": b"rows"}


def write_files(directory: Path, contents: dict[str, bytes] = FILES) -> dict[str, Path | FileRef]:
    """The files of a release on this machine."""
    files: dict[str, Path | FileRef] = {}
    for path, content in contents.items():
        local = directory / path
        local.parent.mkdir(parents=True, exist_ok=True)
        local.write_bytes(content)
        files[path] = local
    return files


def key_of(store: Store, path: str) -> str:
    """Where a file of the release `adult` 1 lies."""
    return f"releases/adult/1/{load_release(store, 'adult', '1')['directory']}/{path}"


def test_a_release_holds_its_files_and_a_manifest_that_describes_them(store: Store, tmp_path: Path) -> None:
    published = publish_release(
        store,
        "adult",
        "1",
        write_files(tmp_path / "new"),
        {"scores": {"fidelity.shape": 0.98}},
        rows={"report.md": 1},
    )
    assert isinstance(published, ReleaseRef)
    assert (published.sent, published.already_published) == (2, False)
    assert published.digest == DIGEST
    assert (
        published.manifest_uri
        == f"{published.uri}/manifest.json"
        == store.uri_of("releases/adult/1/manifest.json")
    )
    manifest = load_release(store, "adult", "1")
    assert manifest["scores"] == {"fidelity.shape": 0.98}
    assert (manifest["name"], manifest["version"], manifest["digest"]) == ("adult", "1", DIGEST)
    assert [entry["path"] for entry in manifest["files"]] == ["data/part-0.parquet", "report.md"]
    assert manifest["files"][1]["size"] == 6
    assert manifest["files"][1]["rows"] == 1
    assert manifest["created"].endswith("+00:00")
    assert store.get_bytes(key_of(store, "data/part-0.parquet")) == b"rows"
    assert verify_release(store, "adult", "1") == []


def test_parts_that_lie_in_the_store_are_published_by_reference_with_their_rows(store: Store) -> None:
    put = store.put_bytes("runs/adult/k/sample/part-0.parquet", b"rows")
    part = PartRef(put.uri, put.sha256, put.size, rows=3)
    publish_release(store, "adult", "1", {"data/part-0.parquet": part}, {})
    assert load_release(store, "adult", "1")["files"][0]["rows"] == 3
    assert store.get_bytes(key_of(store, "data/part-0.parquet")) == b"rows"


def test_a_reference_into_another_store_is_fetched_from_there(store: Store, tmp_path: Path) -> None:
    put = open_store(tmp_path / "other").put_bytes("part", b"rows")
    publish_release(store, "adult", "1", {"data/part-0.parquet": put}, {})
    assert verify_release(store, "adult", "1") == []


def test_a_part_that_was_altered_since_it_was_referred_to_is_not_published(store: Store) -> None:
    put = store.put_bytes("runs/part", b"rows")
    store.put_bytes("runs/part", b"ROWS")
    with pytest.raises(DigestError, match="altered"):
        publish_release(store, "adult", "1", {"data/part": put}, {})
    with pytest.raises(NotFoundError):
        load_release(store, "adult", "1")


class Corrupting(LocalStore):
    """A disk that loses a bit without a word."""

    def put_file(self, key: str, path: Path, *, if_absent: bool = False) -> FileRef:
        put = super().put_file(key, path, if_absent=if_absent)
        self.put_bytes(key, path.read_bytes()[:-1] + b"?")
        return put


def test_bytes_that_the_store_does_not_give_back_are_not_published(tmp_path: Path) -> None:
    store = Corrupting(tmp_path / "store")
    with pytest.raises(DigestError, match="does not hold the bytes"):
        publish_release(store, "adult", "1", write_files(tmp_path), {})
    with pytest.raises(NotFoundError):
        load_release(store, "adult", "1")


def test_publishing_the_same_bytes_again_is_a_success_that_changes_nothing(
    store: Store, tmp_path: Path
) -> None:
    first = publish_release(store, "adult", "1", write_files(tmp_path / "a"), {"lineage": {"run": "first"}})
    before = [(key, store.get_bytes(key)) for key in store.list()]
    again = publish_release(store, "adult", "1", write_files(tmp_path / "b"), {"lineage": {"run": "second"}})
    assert (again.sent, again.already_published) == (0, True)
    assert (again.uri, again.digest) == (first.uri, first.digest)
    assert [(key, store.get_bytes(key)) for key in store.list()] == before


def test_other_bytes_under_the_same_version_are_refused_and_leave_nothing(
    store: Store, tmp_path: Path
) -> None:
    publish_release(store, "adult", "1", write_files(tmp_path), {})
    before = list(store.list())
    with pytest.raises(AlreadyExistsError, match=rf"adult 1 already exists.*{DIGEST[:12]}.*another version"):
        publish_release(store, "adult", "1", write_files(tmp_path, {**FILES, "report.md": b"other"}), {})
    assert list(store.list()) == before
    assert verify_release(store, "adult", "1") == []


def test_the_digest_covers_the_chosen_files_alone(store: Store, tmp_path: Path) -> None:
    first = publish_release(store, "adult", "1", write_files(tmp_path), {}, digest_over=["data/"])
    files = write_files(tmp_path, {**FILES, "report.md": b"written a minute later"})
    again = publish_release(store, "adult", "1", files, {}, digest_over=["data/"])
    assert again.already_published
    assert again.digest == first.digest
    assert store.get_bytes(key_of(store, "report.md")) == b"report"
    assert len(list(store.list("releases/adult/1/files-"))) == 2
    with pytest.raises(AlreadyExistsError):
        publish_release(
            store,
            "adult",
            "1",
            write_files(tmp_path, {**FILES, "data/part-0.parquet": b"other"}),
            {},
            digest_over=["data/"],
        )


def test_digest_over_a_file_that_is_not_there_is_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="'tables/'"):
        publish_release(store, "adult", "1", write_files(tmp_path), {}, digest_over=["tables/"])
    assert list(store.list()) == []


def publish_at_once(store: Store, tmp_path: Path, contents: list[bytes]) -> list[str]:
    """Publish each content from a thread of its own at the same moment; what became of each."""
    barrier = threading.Barrier(len(contents))

    def publish(number: int) -> str:
        own = open_store(store.uri)
        files = write_files(tmp_path / str(number), {**FILES, "data/part-0.parquet": contents[number]})
        own.exists("releases/adult/1/manifest.json")  # connected before the race begins
        barrier.wait()
        try:
            published = publish_release(own, "adult", "1", files, {"publisher": number})
        except AlreadyExistsError:
            return "refused"
        return "already" if published.already_published else f"won by {number}"

    with ThreadPoolExecutor(len(contents)) as threads:
        return list(threads.map(publish, range(len(contents))))


def test_of_eight_publishers_at_once_one_wins_and_seven_are_refused(
    store: Store, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    outcomes = publish_at_once(store, tmp_path, [bytes([number]) * 1000 for number in range(8)])
    winners = [number for number in range(8) if outcomes[number] == f"won by {number}"]
    release = load_release(store, "adult", "1")
    if (
        "swift" not in request.node.name
    ):  # its s3api lets overlapping writers both win: then the last one stands
        assert len(winners) == 1
        assert outcomes.count("refused") == 7
        assert len(list(store.list("releases/adult/1/files-"))) == 2  # the losers' files are gone
    assert release["publisher"] in winners
    assert store.get_bytes(key_of(store, "data/part-0.parquet")) == bytes([release["publisher"]]) * 1000
    assert verify_release(store, "adult", "1") == []


def test_eight_publishers_of_the_same_bytes_all_succeed(store: Store, tmp_path: Path) -> None:
    outcomes = publish_at_once(store, tmp_path, [b"rows"] * 8)
    assert "refused" not in outcomes
    assert verify_release(store, "adult", "1") == []
    assert len(list(store.list("releases/adult/1/"))) == 3


@pytest.mark.slow
def test_of_eight_publishing_processes_one_wins(store_on_moto: Store, tmp_path: Path) -> None:
    """Processes share no memory: only the store can decide between them."""
    won, refused = 0, 3
    start = tmp_path / "start"

    def publish(number: int) -> int:
        files = write_files(tmp_path / str(number), {"data": bytes([number]) * 1000})
        own = open_store(store_on_moto.uri)
        own.exists("nothing")  # connected before the race begins
        wait_until(start.exists)
        try:
            publish_release(own, "adult", "1", files, {})
        except AlreadyExistsError:
            return refused
        return won

    children = [fork(lambda number=number: os._exit(publish(number))) for number in range(8)]
    start.touch()
    assert sorted(exit_status(child) for child in children) == [won] + [refused] * 7
    assert verify_release(store_on_moto, "adult", "1") == []


@pytest.mark.parametrize("bad", ["", "..", ".hidden", "a/b", "a b", "-x", "ü", "n" * 201, "a\n"])
def test_names_and_versions_that_are_no_plain_names_are_refused(tmp_path: Path, bad: str) -> None:
    store, files = open_store(tmp_path / "store"), write_files(tmp_path)
    for name, version in ((bad, "1"), ("adult", bad)):
        with pytest.raises(StoreError, match="can't name"):
            publish_release(store, name, version, files, {})
    assert list(store.list()) == []


@pytest.mark.parametrize("path", ["../report.md", "/report.md", "a//b", ""])
def test_a_file_s_path_that_leaves_the_release_is_refused(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").write_bytes(b"x")
    store = open_store(tmp_path / "store")
    with pytest.raises(StoreError, match="can't be used"):
        publish_release(store, "adult", "1", {path: tmp_path / "file"}, {})
    assert list(store.list()) == []


@pytest.mark.parametrize(
    ("manifest", "message"),
    [({"digest": "mine"}, "digest"), ({"score": float("nan")}, "NaN"), ({"table": object()}, "plain JSON")],
)
def test_a_manifest_that_can_t_be_written_is_refused_before_anything_is_sent(
    tmp_path: Path, manifest: dict[str, object], message: str
) -> None:
    store = open_store(tmp_path / "store")
    with pytest.raises(StoreError, match=message):
        publish_release(store, "adult", "1", write_files(tmp_path), manifest)
    assert list(store.list()) == []


def test_a_release_without_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no files"):
        publish_release(open_store(tmp_path / "store"), "adult", "1", {}, {})


def test_versions_are_listed_when_they_are_whole(store: Store, tmp_path: Path) -> None:
    for version in ("2", "1"):
        publish_release(store, "adult", version, write_files(tmp_path), {})
    publish_release(
        store, "adult-2", "9", write_files(tmp_path, {"manifest.json": b"a file of that name"}), {}
    )
    store.put_bytes("releases/adult/3/files-0123456789ab/report.md", b"a crash left it")
    assert list_versions(store, "releases", "adult") == ["1", "2"]
    assert list_versions(store, "generators", "adult") == []
