"""The store in an S3 bucket, through boto3: AWS, or any endpoint that speaks S3. No other file knows boto3.

What keeps it working beyond AWS: signature version 4, path addressing for a custom endpoint, and checksums as plain
headers over bytes we hashed ourselves. botocore's own default sends checksums as trailers of a chunked body over https,
which older servers refuse or store as part of the object.
"""

import base64
import contextlib
import hashlib
import io
import random
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast
from urllib.parse import urlsplit

import boto3
from botocore import exceptions as botocore_errors
from botocore.config import Config

from tasks.references import FileRef
from tasks.services import s3_errors
from tasks.services.local_store import local_errors, write_atomically
from tasks.services.patience import Patience
from tasks.services.store import (
    AlreadyExistsError,
    NotFoundError,
    StoreError,
    UnavailableError,
    copy_and_digest,
    validate_key,
    validate_prefix,
)

MULTIPART_THRESHOLD = 256 << 20  # bytes; above it an interrupted upload would cost too much to send again
PART_SIZE = 64 << 20  # bytes, held in memory one at a time
_MOST_PARTS = 9_000  # S3 takes 10,000
# botocore's own retries span a fraction of a second, enough for a hiccup; `Patience`, around them, a server's restart.
_QUICK_ATTEMPTS = 2
_CONFLICTS = 4  # times that a conditional write is begun while other writers are at work
_CONNECT_SECONDS = 5.0
_READ_SECONDS = 60.0
_NO_CREDENTIALS = (
    botocore_errors.NoCredentialsError,
    botocore_errors.PartialCredentialsError,
    botocore_errors.CredentialRetrievalError,
    botocore_errors.ProfileNotFound,
)
_NO_ANSWER = (botocore_errors.ConnectionError, botocore_errors.HTTPClientError)
_BROKEN_OFF = (*_NO_ANSWER, botocore_errors.IncompleteReadError)
T = TypeVar("T")
Parts = list[dict[str, Any]]


class S3Store:
    """Objects of one bucket, under one prefix.

    Endpoint, region and credentials are boto3's own settings. An endpoint that is down, busy or breaks off is waited
    for (`patience.py`, a minute by default); one that accepts and then keeps silent is reported after about 2 min.
    A conditional write whose answer was lost is sent again and may then meet its own object: AlreadyExistsError, and
    who must know reads back what lies there.
    """

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        *,
        multipart_threshold: int = MULTIPART_THRESHOLD,
        part_size: int = PART_SIZE,
    ) -> None:
        self.uri = f"s3://{bucket}/{prefix}" if prefix else f"s3://{bucket}"
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._multipart_threshold = multipart_threshold
        self._part_size = part_size
        self._place = s3_errors.Place(bucket, "its endpoint", s3_errors.endpoint_key())
        self._client_: Any = None

    def __repr__(self) -> str:
        return f"S3Store({self.uri!r})"

    def put_bytes(self, key: str, data: bytes, *, if_absent: bool = False) -> FileRef:
        """Write `data` under `key`; see `Store.put_bytes`."""
        return self._put(key, lambda: io.BytesIO(data), if_absent)

    def put_file(self, key: str, path: Path, *, if_absent: bool = False) -> FileRef:
        """Stream the file at `path` to `key`; see `Store.put_file`."""
        return self._put(key, lambda: path.open("rb"), if_absent)

    def get_bytes(self, key: str) -> bytes:
        """The object's bytes; see `Store.get_bytes`."""
        return self._read(key, lambda body: body.read())

    def get_file(self, key: str, path: Path) -> FileRef:
        """Stream the object to `path`; see `Store.get_file`."""
        with local_errors(path):
            digest, size = self._read(key, lambda body: write_atomically(body, path))
        return FileRef(self.uri_of(key), digest, size)

    def checksum(self, key: str) -> FileRef:
        """Read the object back; see `Store.checksum`."""
        digest, size = self._read(key, copy_and_digest)
        return FileRef(self.uri_of(key), digest, size)

    def exists(self, key: str) -> bool:
        """Whether an object lies under `key`; BucketMissingError when the bucket doesn't exist."""
        try:
            self.size(key)
        except NotFoundError:
            return False
        return True

    def size(self, key: str) -> int:
        """The object's size in bytes; see `Store.size`."""
        return int(self._head(key)["ContentLength"])

    def modified(self, key: str) -> datetime:
        """When the object was written; see `Store.modified`."""
        return cast(datetime, self._head(key)["LastModified"])

    def _head(self, key: str) -> dict[str, Any]:
        try:
            return dict(self._call("head_object", key))
        except NotFoundError as absent:
            # The answer to a HEAD has no body: a missing bucket looks like a missing key.
            try:
                self._call("head_bucket")
            except NotFoundError:
                raise s3_errors.bucket_missing(self._place) from None
            raise absent from None

    def list(self, prefix: str = "") -> Iterator[str]:
        """The keys that begin with `prefix`, sorted; see `Store.list`."""
        validate_prefix(prefix)
        keys: list[str] = []
        token: dict[str, str] = {}
        while True:
            page = self._call("list_objects_v2", Prefix=self._prefix + prefix, **token)
            keys += [item["Key"].removeprefix(self._prefix) for item in page.get("Contents", ())]
            if not page.get("IsTruncated"):
                break
            token = {"ContinuationToken": page["NextContinuationToken"]}
        # Consoles mark "folders" by empty objects whose name ends in a slash.
        yield from sorted(key for key in keys if not key.endswith("/"))

    def delete(self, key: str) -> None:
        """Remove the object; no error when there is none."""
        with contextlib.suppress(NotFoundError):
            self._call("delete_object", key)

    def uri_of(self, key: str) -> str:
        """The object's ``s3://`` address."""
        return f"s3://{self._bucket}/{self._prefix}{validate_key(key)}"

    @property
    def _client(self) -> Any:
        """boto3's client, made on first use: nothing is looked up before a store is used."""
        if self._client_ is None:
            with self._clear_errors("settings"):
                self._client_ = _make_client()
            self._place = s3_errors.Place(
                self._bucket,
                s3_errors.public_address(self._client_.meta.endpoint_url),
                s3_errors.endpoint_key(),
            )
        return self._client_

    def _call(self, operation: str, key: str | None = None, **arguments: Any) -> Any:
        """One request by the name of boto3's method; sent again while the endpoint is unavailable."""
        if key is not None:
            arguments["Key"] = self._prefix + validate_key(key)
        patience = Patience()
        while True:
            try:
                return self._call_once(operation, key, arguments)
            except UnavailableError:
                if not patience.wait(self._place.endpoint):
                    raise
            if hasattr(arguments.get("Body"), "seek"):
                arguments["Body"].seek(0)

    def _call_once(self, operation: str, key: str | None, arguments: dict[str, Any]) -> Any:
        with self._clear_errors(operation, key):
            return getattr(self._client, operation)(Bucket=self._bucket, **arguments)

    def _put(self, key: str, open_source: Callable[[], BinaryIO], if_absent: bool) -> FileRef:
        """Send a source whole; a conflict with a concurrent writer (409) is tried again from the start."""
        validate_key(key)
        with open_source() as source:
            digest, size = copy_and_digest(source)
        condition = {"IfNoneMatch": "*"} if if_absent else {}
        send = self._send_parts if size > self._multipart_threshold else self._send_whole
        for attempt in range(1, _CONFLICTS + 1):
            try:
                with open_source() as source:
                    send(key, source, digest, size, condition)
                break
            except s3_errors.ConflictError:
                if attempt == _CONFLICTS:
                    raise
                time.sleep(random.uniform(0.5, 1.0) * 2 ** (attempt - 1))  # at most 1, 2, 4 s
        return FileRef(self.uri_of(key), digest, size)

    def _send_whole(
        self, key: str, source: BinaryIO, digest: str, size: int, condition: dict[str, str]
    ) -> None:
        checksum = base64.b64encode(bytes.fromhex(digest)).decode()
        self._call("put_object", key, Body=source, ContentLength=size, ChecksumSHA256=checksum, **condition)

    def _send_parts(
        self, key: str, source: BinaryIO, digest: str, size: int, condition: dict[str, str]
    ) -> None:
        """A multipart upload; aborted on any failure, so that no invisible parts are left to pay for."""
        if condition and self.exists(key):  # before sending gigabytes in vain; the server decides the race
            raise AlreadyExistsError(f"{self.uri_of(key)} already exists, and it is never overwritten")
        upload = self._call("create_multipart_upload", key)["UploadId"]
        try:
            parts, sent = self._upload_parts(key, upload, source, size)
            if sent != digest:
                raise StoreError(f"the file behind {self.uri_of(key)} changed while it was sent. Run again")
            whole = {"Parts": parts}
            self._call("complete_multipart_upload", key, UploadId=upload, MultipartUpload=whole, **condition)
        except BaseException:
            with contextlib.suppress(StoreError):  # the first failure is the one to report
                # Once: what failed has been waited for.
                self._call_once(
                    "abort_multipart_upload", key, {"Key": self._prefix + key, "UploadId": upload}
                )
            raise

    def _upload_parts(self, key: str, upload: str, source: BinaryIO, size: int) -> tuple[Parts, str]:
        """Send the parts one by one; return what completes the upload, and the sha256 of what was sent."""
        step = max(self._part_size, -(-size // _MOST_PARTS))
        parts: Parts = []
        whole = hashlib.sha256()
        while chunk := source.read(step):
            whole.update(chunk)
            number = len(parts) + 1
            md5 = base64.b64encode(hashlib.md5(chunk, usedforsecurity=False).digest()).decode()
            answer = self._call(
                "upload_part", key, UploadId=upload, PartNumber=number, Body=chunk, ContentMD5=md5
            )
            parts.append({"PartNumber": number, "ETag": answer["ETag"]})
        return parts, whole.hexdigest()

    def _read(self, key: str, consume: Callable[[BinaryIO], T]) -> T:
        """Open the object and consume its stream; a stream that breaks off is read again from the start."""
        patience = Patience()
        while True:
            # Not `with ... as body`: that gives the raw stream, which takes a broken-off answer for a whole one.
            with contextlib.closing(self._call("get_object", key)["Body"]) as body:
                try:
                    return consume(cast(BinaryIO, body))
                except _BROKEN_OFF as error:
                    broken = type(error).__name__
            if not patience.wait(self._place.endpoint):
                raise s3_errors.unreachable(self._place, f"the answer broke off, {broken}")

    @contextlib.contextmanager
    def _clear_errors(self, operation: str, key: str | None = None) -> Iterator[None]:
        """Turn botocore's errors into the store's. Their own texts are dropped: they may hold parts of a request."""
        try:
            yield
        except botocore_errors.ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
            full = self._prefix + key if key else None
            raise s3_errors.store_error(self._place, full, operation, code, status) from None
        except _NO_CREDENTIALS as error:
            raise s3_errors.no_credentials(self._place, type(error).__name__) from None
        except _NO_ANSWER as error:
            raise s3_errors.unreachable(self._place, type(error).__name__) from None
        except (
            botocore_errors.BotoCoreError,
            ValueError,
        ) as error:  # ValueError: an endpoint that is no address
            raise StoreError(
                f"the request {operation} for the bucket {self._bucket!r} can't be made "
                f"({type(error).__name__}). Check the bucket's name, {s3_errors.endpoint_key()} and AWS_REGION"
            ) from None


def _make_client() -> Any:
    session = boto3.Session()
    settings: dict[str, Any] = {
        "signature_version": "s3v4",
        "retries": {"mode": "standard", "total_max_attempts": _QUICK_ATTEMPTS},
        "connect_timeout": _CONNECT_SECONDS,
        "read_timeout": _READ_SECONDS,
        "request_checksum_calculation": "when_required",
        "response_checksum_validation": "when_required",
    }
    region = session.region_name or "us-east-1"  # what servers other than AWS take
    client = session.client("s3", region_name=region, config=Config(**settings))
    host = urlsplit(client.meta.endpoint_url).hostname or ""
    if host.endswith((".amazonaws.com", ".amazonaws.com.cn")):
        return client
    path_style = Config(**settings, s3={"addressing_style": "path"})
    return session.client("s3", region_name=region, config=path_style)
