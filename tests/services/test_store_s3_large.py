"""Large files in an S3 store: sent in parts, appearing whole or not at all, no part left behind."""

import io
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tasks.services.s3_store import S3Store
from tasks.services.store import AccessDeniedError, AlreadyExistsError, open_store
from tests.scripted_server import Answer, s3_error, scripted_server
from tests.servers import S3Server

MIB = 1 << 20


def open_uploads(server: S3Server, bucket: str) -> list[str]:
    """Multipart uploads that were begun and neither completed nor aborted."""
    answer = server.client().list_multipart_uploads(Bucket=bucket)
    return [upload["Key"] for upload in answer.get("Uploads", [])]


def test_a_large_file_goes_up_in_parts_and_comes_back_whole(server: S3Server, tmp_path: Path) -> None:
    bucket = server.make_bucket()
    store = S3Store(bucket, "large", multipart_threshold=6 * MIB, part_size=5 * MIB)
    source = tmp_path / "source"
    source.write_bytes(os.urandom(12 * MIB + 7))
    put = store.put_file("file", source, if_absent=True)
    assert store.get_file("file", tmp_path / "target") == put
    assert (tmp_path / "target").read_bytes() == source.read_bytes()
    with pytest.raises(AlreadyExistsError):
        store.put_file("file", source, if_absent=True)
    assert store.put_file("file", source) == put
    assert open_uploads(server, bucket) == []


def test_of_four_large_uploads_at_once_one_succeeds_and_the_others_leave_no_parts(
    moto: S3Server, use_server, tmp_path: Path
) -> None:
    bucket = use_server(moto).make_bucket()
    barrier = threading.Barrier(4)

    def upload(number: int) -> bool:
        store = S3Store(bucket, multipart_threshold=6 * MIB, part_size=5 * MIB)
        (tmp_path / str(number)).write_bytes(bytes([number]) * (7 * MIB))
        store.exists("x")
        barrier.wait()
        try:
            store.put_file("large", tmp_path / str(number), if_absent=True)
        except AlreadyExistsError:
            return False
        return True

    with ThreadPoolExecutor(4) as threads:
        outcomes = list(threads.map(upload, range(4)))
    assert outcomes.count(True) == 1
    winner = outcomes.index(True)
    assert open_store(f"s3://{bucket}").get_bytes("large") == bytes([winner]) * (7 * MIB)
    assert open_uploads(moto, bucket) == []


def test_a_large_upload_that_is_overtaken_loses_and_leaves_no_parts(server: S3Server, tmp_path: Path) -> None:
    bucket = server.make_bucket()
    (tmp_path / "file").write_bytes(b"x" * (7 * MIB))

    class Overtaken(io.FileIO):
        def read(self, size: int = -1) -> bytes:
            if size > MIB:  # a part is being read: the upload has begun
                open_store(f"s3://{bucket}").put_bytes("large", b"faster")
            return super().read(size)

    class Source(type(tmp_path)):  # type: ignore[misc]
        def open(self, *_: object, **__: object) -> Overtaken:
            return Overtaken(self)

    store = S3Store(bucket, multipart_threshold=6 * MIB, part_size=5 * MIB)
    with pytest.raises(AlreadyExistsError):
        store.put_file("large", Source(tmp_path / "file"), if_absent=True)
    assert store.get_bytes("large") == b"faster"
    assert open_uploads(server, bucket) == []


def test_an_upload_in_parts_that_fails_is_aborted(use_endpoint, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * (7 * MIB))
    begun = Answer(
        200, b"<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>"
    )
    refused = s3_error(403, "AccessDenied")
    with scripted_server(begun, Answer(200, headers={"ETag": '"e"'}), refused, Answer(204)) as script:
        use_endpoint(script.endpoint)
        store = S3Store("bucket", multipart_threshold=6 * MIB, part_size=5 * MIB)
        with pytest.raises(AccessDeniedError):
            store.put_file("key", tmp_path / "file")
    assert [method for method, _, _ in script.requests] == ["POST", "PUT", "PUT", "DELETE"]
