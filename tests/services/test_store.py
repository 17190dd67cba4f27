"""What every store promises, on a directory and on every S3 server that runs here."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from threading import Barrier

import pytest

from tasks.services.store import (
    AlreadyExistsError,
    NotFoundError,
    Store,
    StoreError,
    open_store,
    split_uri,
)
from tests.servers import S3Server

BYTES = b"some bytes"
SHA256 = hashlib.sha256(BYTES).hexdigest()
UNUSABLE = [
    "",
    "/etc/passwd",
    "..",
    "../outside",
    "a/../../outside",
    "a/./b",
    "a//b",
    "a/",
    "a\\b",
    "a\x00b",
    "a\nb",
    ".tvae-tmp-1",
    "k" * 1025,
]


def test_bytes_come_back_as_they_were_put_with_their_digest_and_size(store: Store) -> None:
    put = store.put_bytes("tables/a.bin", BYTES)
    assert store.get_bytes("tables/a.bin") == BYTES
    assert (put.sha256, put.size) == (SHA256, 10)
    assert store.checksum("tables/a.bin") == put
    assert store.size("tables/a.bin") == 10
    assert abs((datetime.now(UTC) - store.modified("tables/a.bin")).total_seconds()) < 60
    assert put.uri == store.uri_of("tables/a.bin")


def test_empty_bytes_are_an_object_too(store: Store) -> None:
    store.put_bytes("empty", b"", if_absent=True)
    assert store.exists("empty")
    assert store.get_bytes("empty") == b""


def test_a_file_comes_back_as_it_was_put(store: Store, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "new" / "target"
    source.write_bytes(os.urandom(3_000_001))
    put = store.put_file("data/part", source)
    assert store.get_file("data/part", target) == put
    assert target.read_bytes() == source.read_bytes()
    assert put.sha256 == hashlib.sha256(source.read_bytes()).hexdigest()
    assert os.listdir(target.parent) == ["target"]


def test_an_object_is_replaced_unless_it_must_be_absent(store: Store, tmp_path: Path) -> None:
    (tmp_path / "third").write_bytes(b"third")
    store.put_bytes("key", b"first", if_absent=True)
    store.put_bytes("key", b"second")
    with pytest.raises(AlreadyExistsError, match="key"):
        store.put_bytes("key", b"third", if_absent=True)
    with pytest.raises(AlreadyExistsError, match="key"):
        store.put_file("key", tmp_path / "third", if_absent=True)
    assert store.get_bytes("key") == b"second"


def test_an_absent_object_is_reported_by_its_key(store: Store, tmp_path: Path) -> None:
    store.put_bytes("there/is", b"one")
    assert not store.exists("not/there")
    assert not store.exists("there")
    for read in (
        store.get_bytes,
        store.size,
        store.checksum,
        lambda key: store.get_file(key, tmp_path / "f"),
    ):
        with pytest.raises(NotFoundError, match="not/there"):
            read("not/there")
    assert not (tmp_path / "f").exists()


def test_keys_are_listed_sorted_and_by_any_prefix(store: Store) -> None:
    for key in ("b/2", "a/10", "a/1", "ab", "a/sub/x"):
        store.put_bytes(key, b"")
    assert list(store.list()) == ["a/1", "a/10", "a/sub/x", "ab", "b/2"]
    assert list(store.list("a/")) == ["a/1", "a/10", "a/sub/x"]
    assert list(store.list("a/1")) == ["a/1", "a/10"]
    assert list(store.list("a")) == ["a/1", "a/10", "a/sub/x", "ab"]
    assert list(store.list("c/")) == []


def test_a_listing_longer_than_one_page_is_whole(store_on_moto: Store) -> None:
    keys = [f"k/{number:04d}" for number in range(1003)]  # S3 answers with 1,000 at a time
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda key: store_on_moto.put_bytes(key, b""), keys))
    assert list(store_on_moto.list("k/")) == keys


def test_a_deleted_object_is_gone_and_deleting_it_again_is_no_error(store: Store) -> None:
    store.put_bytes("a/b/c", b"1")
    store.put_bytes("a/d", b"2")
    store.delete("a/b/c")
    store.delete("a/b/c")
    assert list(store.list()) == ["a/d"]
    store.put_bytes("a/b", b"3", if_absent=True)  # no empty directory is in the way
    assert store.get_bytes("a/b") == b"3"


@pytest.mark.parametrize("key", ["ünï cödé/表.parquet", "a b+c=d&e?f#g%20h", "~tilde/'quote'(1).txt"])
def test_keys_of_any_letters_come_back_from_listing_and_address(store: Store, key: str) -> None:
    store.put_bytes(key, BYTES)
    assert list(store.list()) == [key]
    root, name = split_uri(store.uri_of(key))
    assert open_store(root).get_bytes(name) == BYTES
    assert open_store(store.uri).get_bytes(key) == BYTES


@pytest.mark.parametrize("key", UNUSABLE)
def test_a_key_that_could_leave_the_store_is_refused(store: Store, key: str, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    for use in (
        store.get_bytes,
        store.exists,
        store.delete,
        store.uri_of,
        lambda k: store.put_bytes(k, b"x"),
    ):
        with pytest.raises(StoreError, match="can't be used"):
            use(key)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_prefix_that_could_leave_the_store_is_refused(store: Store) -> None:
    with pytest.raises(StoreError, match="can't be used"):
        list(store.list("../"))


def test_of_eight_writers_at_once_exactly_one_succeeds(store: Store, request: pytest.FixtureRequest) -> None:
    if "swift" in request.node.name:
        pytest.skip("Swift's s3api decides only between writers that do not overlap")
    barrier = Barrier(8)

    def write(number: int) -> int | None:
        own = open_store(store.uri)
        own.exists("contested")  # connected before the race begins
        barrier.wait()
        try:
            own.put_bytes("contested", str(number).encode(), if_absent=True)
        except AlreadyExistsError:
            return None
        return number

    with ThreadPoolExecutor(8) as threads:
        winners = [number for number in threads.map(write, range(8)) if number is not None]
    assert len(winners) == 1
    assert store.get_bytes("contested") == str(winners[0]).encode()


def test_a_bucket_that_is_missing_is_named_with_its_endpoint(server: S3Server) -> None:
    from tasks.services.store import BucketMissingError

    store = open_store("s3://no-such-bucket-4711/prefix")
    operations = (
        lambda: store.put_bytes("key", b"x"),
        lambda: store.put_bytes("key", b"x", if_absent=True),
        lambda: store.get_bytes("key"),
        lambda: store.exists("key"),
        lambda: store.delete("key"),
        lambda: list(store.list()),
    )
    for operation in operations:
        with pytest.raises(BucketMissingError, match=r"no-such-bucket-4711.*AWS_ENDPOINT_URL_S3") as caught:
            operation()
        assert server.endpoint in str(caught.value)
