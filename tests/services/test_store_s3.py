"""The S3 store under trouble: wrong credentials, endpoints that are down or busy, broken answers, large files."""

import io
import os
import socket
import threading
import time
from pathlib import Path

import pytest

from tasks.services import patience
from tasks.services.s3_store import S3Store
from tasks.services.store import (
    AccessDeniedError,
    AlreadyExistsError,
    NotFoundError,
    StoreError,
    StoreFullError,
    UnavailableError,
    open_store,
)
from tests.scripted_server import Answer, s3_error, scripted_server
from tests.servers import S3Server
from tests.services.conftest import SECRET


@pytest.fixture(autouse=True)
def little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(patience.VARIABLE, "6")


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("wrong", [{"AWS_SECRET_ACCESS_KEY": SECRET}, {"AWS_ACCESS_KEY_ID": "AKIAVISIBLE"}])
def test_wrong_credentials_are_refused_and_never_repeated(
    swift: S3Server, use_server, wrong: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = use_server(swift).make_bucket()
    for name, value in wrong.items():
        monkeypatch.setenv(name, value)
    store = open_store(f"s3://{bucket}")
    for operation in (
        lambda: store.put_bytes("key", b"x", if_absent=True),
        lambda: store.get_bytes("key"),
        lambda: store.exists("key"),
        lambda: list(store.list()),
    ):
        with pytest.raises(AccessDeniedError) as caught:
            operation()
        message = str(caught.value)
        assert bucket in message
        assert swift.endpoint in message
        assert "AWS_ENDPOINT_URL_S3" in message
        assert not any(value in message for value in (*wrong.values(), swift.secret_key, swift.access_key))


def test_missing_credentials_are_asked_for_by_name(
    moto: S3Server, use_server, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_server(moto)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(AccessDeniedError, match=r"'bucket'.*AWS_ACCESS_KEY_ID"):
        open_store("s3://bucket").get_bytes("key")


def test_a_profile_that_does_not_exist_is_reported_without_a_traceback_of_boto(
    moto: S3Server, use_server, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_server(moto)
    monkeypatch.setenv("AWS_PROFILE", "no-such-profile")
    with pytest.raises(AccessDeniedError, match="AWS_PROFILE"):
        open_store("s3://bucket").get_bytes("key")


def test_what_a_server_writes_into_an_error_is_not_passed_on(use_endpoint) -> None:
    with scripted_server(s3_error(403, "SignatureDoesNotMatch", f"you signed with {SECRET}")) as script:
        use_endpoint(script.endpoint)
        with pytest.raises(AccessDeniedError) as caught:
            open_store("s3://bucket").get_bytes("key")
    assert SECRET not in str(caught.value)
    assert caught.value.__suppress_context__


def test_the_endpoint_may_come_from_a_profile(
    moto: S3Server, use_server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bucket = use_server(moto).make_bucket()
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
    (tmp_path / "config").write_text(f"[profile here]\nregion = us-east-1\nendpoint_url = {moto.endpoint}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "here")
    open_store(f"s3://{bucket}").put_bytes("key", b"x")
    use_server(moto)
    assert open_store(f"s3://{bucket}").get_bytes("key") == b"x"


def test_aws_endpoint_url_is_honoured_and_named(
    moto: S3Server, use_server, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_server(moto)
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto.endpoint)
    with pytest.raises(StoreError, match=r"\(AWS_ENDPOINT_URL\)"):
        open_store("s3://no-such-bucket-4711").get_bytes("key")


@pytest.mark.slow
def test_an_endpoint_that_is_down_ends_in_a_clear_error_within_bounded_time(
    use_endpoint, free_port: int
) -> None:
    use_endpoint(f"http://user:{SECRET}@127.0.0.1:{free_port}")
    begun = time.monotonic()
    with pytest.raises(
        UnavailableError, match=rf"127.0.0.1:{free_port}.*'bucket'.*AWS_ENDPOINT_URL_S3"
    ) as caught:
        open_store("s3://bucket").put_bytes("key", b"x", if_absent=True)
    assert 6 < time.monotonic() - begun < 30
    assert SECRET not in str(caught.value)


def test_an_endpoint_that_comes_back_within_seconds_is_waited_for(use_endpoint, free_port: int) -> None:
    use_endpoint(f"http://127.0.0.1:{free_port}")
    done = threading.Event()

    def serve_later() -> None:
        time.sleep(1.0)
        with scripted_server(Answer(200, b"at last"), port=free_port):
            done.wait(20)

    thread = threading.Thread(target=serve_later)
    thread.start()
    try:
        assert open_store("s3://bucket").get_bytes("key") == b"at last"
    finally:
        done.set()
        thread.join()


def test_an_endpoint_that_is_no_address_is_reported(use_endpoint) -> None:
    use_endpoint("nowhere")
    with pytest.raises(StoreError, match="AWS_ENDPOINT_URL_S3"):
        open_store("s3://bucket").get_bytes("key")


def test_a_busy_server_is_asked_again_with_the_whole_body(use_endpoint, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"b" * 100_000)
    busy = s3_error(503, "SlowDown")
    with scripted_server(busy, busy, busy, Answer(200)) as script:
        use_endpoint(script.endpoint)
        open_store("s3://bucket").put_file("key", tmp_path / "file")
    assert [len(body) for _, _, body in script.requests] == [100_000] * 4


@pytest.mark.slow
def test_a_server_that_stays_busy_is_reported_as_unavailable(use_endpoint) -> None:
    with scripted_server(s3_error(503, "ServiceUnavailable")) as script:
        use_endpoint(script.endpoint)
        with pytest.raises(UnavailableError, match="ServiceUnavailable"):
            open_store("s3://bucket").get_bytes("key")


def test_a_conflict_of_conditional_writers_is_tried_again(use_endpoint) -> None:
    conflict = s3_error(409, "ConditionalRequestConflict")
    with scripted_server(conflict, conflict, Answer(200)) as script:
        use_endpoint(script.endpoint)
        open_store("s3://bucket").put_bytes("key", b"x", if_absent=True)
    assert len(script.requests) == 3


def test_a_conflict_that_ends_in_a_refusal_is_an_object_that_exists(use_endpoint) -> None:
    answers = s3_error(409, "ConditionalRequestConflict"), s3_error(412, "PreconditionFailed")
    with scripted_server(*answers) as script:
        use_endpoint(script.endpoint)
        with pytest.raises(AlreadyExistsError):
            open_store("s3://bucket").put_bytes("key", b"x", if_absent=True)


def test_a_full_server_is_reported_as_full(use_endpoint) -> None:
    with scripted_server(s3_error(507, "XMinioStorageFull")) as script:
        use_endpoint(script.endpoint)
        with pytest.raises(StoreFullError, match="s3://bucket/key"):
            open_store("s3://bucket").put_bytes("key", b"x")


def test_an_answer_that_breaks_off_is_read_again_from_the_start(use_endpoint, tmp_path: Path) -> None:
    with scripted_server(Answer(200, b"01234", announced=10), Answer(200, b"0123456789")) as script:
        use_endpoint(script.endpoint)
        fetched = open_store("s3://bucket").get_file("key", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"0123456789"
    assert fetched.size == 10
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.slow
def test_an_answer_that_always_breaks_off_is_reported_and_leaves_no_file(
    use_endpoint, tmp_path: Path
) -> None:
    with scripted_server(Answer(200, b"01234", announced=10)) as script:
        use_endpoint(script.endpoint)
        with pytest.raises(UnavailableError, match="broke off"):
            open_store("s3://bucket").get_file("key", tmp_path / "file")
    assert os.listdir(tmp_path) == []


def test_bytes_that_change_on_their_way_are_refused_by_the_server(
    swift: S3Server, use_server, tmp_path: Path
) -> None:
    """A file that is rewritten between hashing and sending: the checksum header no longer fits."""
    store = S3Store(use_server(swift).make_bucket())
    path = tmp_path / "file"
    path.write_bytes(b"1" * 1000)
    sources = iter([b"1" * 1000, b"2" * 1000])

    class Changing(type(path)):  # type: ignore[misc]
        def open(self, *_: object, **__: object):
            return io.BytesIO(next(sources))

    with pytest.raises(StoreError, match="changed on their way"):
        store.put_file("key", Changing(path))
    assert not store.exists("key")


def test_an_absent_local_file_is_python_s_own_error(store_on_moto, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing-here"):
        store_on_moto.put_file("key", tmp_path / "nothing-here")
    with pytest.raises(NotFoundError):
        store_on_moto.get_bytes("key")
