"""Bad days of a real object store, through a proxy that makes them: down, busy, crawling, cut off, clocks apart."""

import dataclasses
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tasks.services import patience
from tasks.services.patience import Patience, patience_seconds
from tasks.services.publishing import load_release, publish_release, verify_release
from tasks.services.s3_store import S3Store
from tasks.services.store import (
    AlreadyExistsError,
    NotFoundError,
    Store,
    StoreError,
    UnavailableError,
    open_store,
)
from tests.fault_proxy import FaultProxy, fault_proxy
from tests.scripted_server import s3_error, scripted_server
from tests.servers import S3Server
from tests.services.test_publishing import write_files

MIB = 1 << 20
DATA = os.urandom(3 * MIB)


@pytest.fixture(params=["moto", "swift"])
def real(request: pytest.FixtureRequest) -> S3Server:
    return request.getfixturevalue(request.param)


@pytest.fixture
def proxy(real: S3Server, use_server, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    """A proxy before each real server, and boto3 pointed to the proxy. Waiting is scaled down to 15 s at most."""
    monkeypatch.setenv(patience.VARIABLE, "15")
    with fault_proxy(real.endpoint) as standing:
        use_server(dataclasses.replace(real, endpoint=standing.endpoint))
        yield standing


@pytest.fixture
def behind(proxy: FaultProxy, real: S3Server) -> Store:
    """An empty store whose every byte goes through the proxy."""
    return open_store(f"s3://{real.make_bucket()}/a/prefix")


def test_a_store_that_is_down_for_seconds_is_waited_for(behind: Store, proxy: FaultProxy) -> None:
    behind.put_bytes("before", DATA)
    back = proxy.down_for(1.5)
    assert behind.get_bytes("before") == DATA
    back.join()
    back = proxy.down_for(1.5)
    behind.put_bytes("after", b"x", if_absent=True)
    back.join()
    assert list(behind.list()) == ["after", "before"]


def test_a_store_that_stays_down_ends_in_a_clear_error_once_patience_is_over(
    behind: Store, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(patience.VARIABLE, "2")
    proxy.down()
    begun = time.monotonic()
    with pytest.raises(UnavailableError, match=f"no answer from {proxy.endpoint}"):
        behind.put_bytes("key", b"x")
    assert 2 < time.monotonic() - begun < 10
    assert f"{proxy.endpoint} is not available: waiting for it, at most" in caplog.text


@pytest.mark.long
def test_a_store_that_is_down_for_thirty_seconds_is_waited_for_by_default(
    behind: Store, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(patience.VARIABLE)
    back = proxy.down_for(30)
    behind.put_bytes("key", DATA, if_absent=True)
    back.join()
    assert behind.get_bytes("key") == DATA


def test_by_default_patience_outlasts_thirty_seconds_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(patience.VARIABLE, raising=False)
    now, pauses = [0.0], []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        now[0] += seconds

    waiting = Patience(clock=lambda: now[0], sleep=sleep)
    while waiting.wait("the store"):
        pass
    assert sum(pauses) == pytest.approx(60)
    assert max(pauses) <= 4  # who comes back is found within seconds


@pytest.mark.parametrize("text", ["-1", "nan", "soon", "1e9"])
def test_a_patience_that_is_no_number_of_seconds_is_refused(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(patience.VARIABLE, text)
    with pytest.raises(StoreError, match=f"TVAE_STORE_PATIENCE must be a number of seconds.*{text!r}"):
        patience_seconds()


def test_a_store_that_answers_503_is_asked_again(behind: Store, proxy: FaultProxy) -> None:
    # Two refusals: boto3's own second attempt meets one as well.
    for operation in (
        lambda: behind.put_bytes("key", DATA, if_absent=True),
        lambda: behind.get_bytes("key"),
    ):
        proxy.down()
        proxy.busy = 2
        proxy.up()
        operation()
        assert proxy.busy == 0


def test_a_store_that_crawls_is_waited_for(behind: Store, proxy: FaultProxy, tmp_path: Path) -> None:
    proxy.delay = 0.1
    put = behind.put_bytes("key", DATA[:MIB], if_absent=True)
    assert behind.get_file("key", tmp_path / "file") == put
    assert (tmp_path / "file").read_bytes() == DATA[:MIB]


def test_an_upload_that_is_cut_off_in_the_middle_is_sent_again_whole(
    behind: Store, proxy: FaultProxy, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(DATA)
    proxy.cut_after = MIB
    behind.put_file("key", tmp_path / "file", if_absent=True)
    assert proxy.cuts == 1
    assert behind.get_bytes("key") == DATA


def test_an_upload_in_parts_that_is_cut_off_goes_on_with_that_part(
    proxy: FaultProxy, real: S3Server, tmp_path: Path
) -> None:
    bucket = real.make_bucket()
    (tmp_path / "file").write_bytes(DATA * 4)
    store = S3Store(bucket, multipart_threshold=6 * MIB, part_size=5 * MIB)
    proxy.cut_after = 3 * MIB  # in the middle of a part
    store.put_file("key", tmp_path / "file", if_absent=True)
    assert proxy.cuts == 1
    assert store.get_bytes("key") == DATA * 4
    assert real.client().list_multipart_uploads(Bucket=bucket).get("Uploads", []) == []


def test_an_upload_in_parts_to_a_store_that_goes_away_leaves_no_object(
    proxy: FaultProxy, real: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(patience.VARIABLE, "1")
    bucket = real.make_bucket()
    (tmp_path / "file").write_bytes(DATA * 4)
    store = S3Store(bucket, multipart_threshold=6 * MIB, part_size=5 * MIB)
    proxy.cut_after = 3 * MIB
    watcher = threading.Thread(target=lambda: _down_after_the_cut(proxy))
    watcher.start()
    with pytest.raises(UnavailableError):
        store.put_file("key", tmp_path / "file")
    watcher.join()
    proxy.up()
    assert not store.exists("key")


def _down_after_the_cut(proxy: FaultProxy) -> None:
    while proxy.cuts == 0:
        time.sleep(0.001)
    proxy.down()


def test_a_release_whose_manifest_s_answer_was_lost_is_published_once(
    behind: Store, proxy: FaultProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The write arrives and its answer does not: it is sent again, and meets itself."""
    put_bytes = S3Store.put_bytes

    def lose_the_answer(self: S3Store, *arguments: object, **options: object):
        proxy.down()
        proxy.up()
        proxy.cut_answers = 1
        return put_bytes(self, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(S3Store, "put_bytes", lose_the_answer)
    files = write_files(tmp_path / "new", {"data/part-0": DATA[:1000]})
    published = publish_release(behind, "adult", "1", files, {})
    assert proxy.cuts == 1
    assert not published.already_published
    assert verify_release(behind, "adult", "1") == []


def test_a_publication_that_a_dead_store_stopped_leaves_no_release_and_is_finished_later(
    behind: Store, proxy: FaultProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(patience.VARIABLE, "1")
    files = write_files(tmp_path / "new", {"data/part-0": DATA, "report.md": b"report"})
    proxy.cut_after = MIB
    watcher = threading.Thread(target=lambda: _down_after_the_cut(proxy))
    watcher.start()
    with pytest.raises(UnavailableError):
        publish_release(behind, "adult", "1", files, {})
    watcher.join()
    proxy.up()
    with pytest.raises(NotFoundError):
        load_release(behind, "adult", "1")
    publish_release(behind, "adult", "1", files, {})
    assert verify_release(behind, "adult", "1") == []


def test_clocks_that_differ_are_named_as_the_cause(use_endpoint) -> None:
    with scripted_server(s3_error(403, "RequestTimeTooSkewed")) as script:
        use_endpoint(script.endpoint)
        with pytest.raises(StoreError, match=r"clocks differ.*this machine says \d{4}-.*NTP") as caught:
            open_store("s3://bucket").put_bytes("key", b"x")
    assert type(caught.value) is StoreError  # neither a missing right nor a fault that waiting cures
    assert len(script.requests) == 1


def test_what_a_server_can_t_do_is_not_waited_for(use_endpoint) -> None:
    with scripted_server(s3_error(501, "NotImplemented")) as script:
        use_endpoint(script.endpoint)
        with pytest.raises(StoreError, match="NotImplemented"):
            open_store("s3://bucket").put_bytes("key", b"x", if_absent=True)
    assert len(script.requests) == 1


@pytest.mark.slow
def test_of_twenty_publishers_at_once_one_wins_and_nineteen_are_refused_clearly(
    store_on_moto: Store, tmp_path: Path
) -> None:
    barrier = threading.Barrier(20)

    def publish(number: int) -> str:
        own = open_store(store_on_moto.uri)
        files = write_files(tmp_path / str(number), {"data/part-0": bytes([number]) * 1000})
        own.exists("nothing")  # connected before the race begins
        barrier.wait()
        try:
            publish_release(own, "adult", "1", files, {"publisher": number})
        except AlreadyExistsError as refusal:
            return str(refusal)
        return "won"

    with ThreadPoolExecutor(20) as threads:
        outcomes = list(threads.map(publish, range(20)))
    assert outcomes.count("won") == 1
    refusals = [text for text in outcomes if text != "won"]
    assert all("never overwritten: choose another version" in text for text in refusals)
    winner = outcomes.index("won")
    release = load_release(store_on_moto, "adult", "1")
    assert release["publisher"] == winner
    assert verify_release(store_on_moto, "adult", "1") == []
    assert len(list(store_on_moto.list("releases/adult/"))) == 2  # nothing of the losers is left
