"""What an S3 server's error codes mean, in the store's own errors. Knows nothing of boto3.

Only the code, the status and the operation reach a message: a server's own text may repeat parts of a signature.
"""

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

from tasks.services.store import (
    AccessDeniedError,
    AlreadyExistsError,
    BucketMissingError,
    NotFoundError,
    StoreError,
    StoreFullError,
    UnavailableError,
)

_CREDENTIALS = {
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "InvalidToken",
    "TokenRefreshRequired",
    "AuthorizationHeaderMalformed",
    "InvalidSecurity",
}
_DENIED = {"AccessDenied", "AllAccessDisabled", "AccountProblem", "403", "401", "Forbidden", "Unauthorized"}
_ABSENT = {"NoSuchKey", "404", "NotFound"}
_FULL = {"QuotaExceeded", "XMinioStorageFull", "InsufficientStorage", "507"}
_CONFLICT = {"ConditionalRequestConflict", "OperationAborted", "NoSuchUpload", "409"}
_ALTERED = {"BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch"}
_BUSY = {"SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout", "Throttling", "BadGateway"}
_BUSY_STATUS = {429, 500, 502, 503, 504}
_CLOCK = {"RequestTimeTooSkewed", "RequestExpired"}


class ConflictError(StoreError):
    """Another writer was at work on the same key; the same request may succeed when it is sent again."""


@dataclass(frozen=True)
class Place:
    """What a message may say about where a request went."""

    bucket: str
    endpoint: str  # without user information
    endpoint_key: str  # the setting to look at


def endpoint_key() -> str:
    """The setting that decides where requests go."""
    for key in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        if os.environ.get(key):
            return key
    return "AWS_ENDPOINT_URL_S3, or endpoint_url of the profile"


def public_address(endpoint: str) -> str:
    """The endpoint's address without user information."""
    parts = urlsplit(endpoint)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def store_error(place: Place, key: str | None, operation: str, code: str, status: int) -> StoreError:
    """The error to raise for a server's answer with this error code and HTTP status."""
    uri = f"s3://{place.bucket}/{key}" if key else f"s3://{place.bucket}"
    answer = f"{code or status} to {operation}"
    if code == "NoSuchBucket":
        return bucket_missing(place)
    if code in _CREDENTIALS:
        return AccessDeniedError(
            f"the credentials were refused at {place.endpoint} for the bucket {place.bucket!r} ({answer}). Check "
            "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or AWS_PROFILE, and that they belong "
            f"to this endpoint ({place.endpoint_key}) and region (AWS_REGION)"
        )
    if code in _ABSENT:
        return NotFoundError(f"the bucket {place.bucket!r} at {place.endpoint} holds no {key!r}")
    if code == "PreconditionFailed" or status == 412:
        return AlreadyExistsError(f"{uri} already exists, and it is never overwritten")
    if code in _CONFLICT:
        return ConflictError(
            f"{uri}: another writer is at work on this key ({answer}). Run again when it is done"
        )
    return _by_status(place, uri, answer, code, status)


def bucket_missing(place: Place) -> BucketMissingError:
    """The error for a bucket that is not there."""
    return BucketMissingError(
        f"there is no bucket {place.bucket!r} at {place.endpoint}. Create it, or check the bucket's name in the "
        f"address and the endpoint ({place.endpoint_key})"
    )


def unreachable(place: Place, reason: str) -> UnavailableError:
    """The error for an endpoint that gave no usable answer; `reason` is the kind of failure, without its text."""
    return UnavailableError(
        f"no answer from {place.endpoint} for the bucket {place.bucket!r} after several attempts ({reason}). "
        f"Check that it runs and can be reached from here, and the address in {place.endpoint_key}"
    )


def no_credentials(place: Place, reason: str) -> AccessDeniedError:
    """The error when boto3 found no usable credentials; `reason` is the kind of failure, without its text."""
    return AccessDeniedError(
        f"no usable credentials for the bucket {place.bucket!r} at {place.endpoint} ({reason}). Set "
        "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
    )


def _by_status(place: Place, uri: str, answer: str, code: str, status: int) -> StoreError:
    if code in _CLOCK:
        return StoreError(
            f"{place.endpoint} refused a request for {uri} because the clocks differ too much ({answer}): this "
            f"machine says {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC. Set the clock of this machine, or that of the "
            "store (NTP), and run again"
        )
    if code in _DENIED or status in (401, 403):
        return AccessDeniedError(
            f"access to {uri} at {place.endpoint} was denied ({answer}). Check the rights of these credentials "
            "(s3:GetObject, s3:PutObject, s3:DeleteObject, s3:ListBucket) and that the endpoint "
            f"({place.endpoint_key}) is the one they belong to; without s3:ListBucket an absent key looks the same"
        )
    if code in _FULL or status == 507:
        return StoreFullError(
            f"no room for {uri} at {place.endpoint} ({answer}). Nothing was left half-written"
        )
    if code in _ALTERED:
        return StoreError(
            f"the bytes of {uri} changed on their way to {place.endpoint} ({answer}). Run again"
        )
    if code in _BUSY or status in _BUSY_STATUS:
        return UnavailableError(
            f"{place.endpoint} can't serve {uri} now ({answer}), after retries. Run again later"
        )
    return StoreError(f"{place.endpoint} refused {uri}: {answer}, HTTP status {status}")
