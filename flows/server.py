"""Prefect's server, for the commands that need one of one's own."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tvae_core.errors import TVAEError

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient


class ServerError(TVAEError):
    """There is no server, or it does not answer; the message says what to do."""


@contextmanager
def connect() -> "Iterator[SyncPrefectClient]":
    """A client of the server that PREFECT_API_URL, or Prefect's profile, names. Raises ServerError without one."""
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.exceptions import PrefectHTTPStatusError
    from prefect.settings import PREFECT_API_URL

    url = PREFECT_API_URL.value()
    if not url:
        raise ServerError(
            "this needs a Prefect server: bring one up with `make up`, and set "
            "PREFECT_API_URL=http://127.0.0.1:4200/api, or where yours is"
        )
    shown = str(url).rpartition("@")[2]  # never a credential that somebody put into the address
    try:
        with get_client(sync_client=True) as client:
            yield client
    except PrefectHTTPStatusError as error:
        raise ServerError(f"Prefect's server at {shown} refused: {error.response.status_code}") from error
    except (httpx.TransportError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "Failed to reach API" not in str(error):
            raise
        raise ServerError(
            f"Prefect's server at {shown} does not answer: start it, or set PREFECT_API_URL to where it is"
        ) from error


def address() -> str:
    """The UI's address."""
    return os.environ.get("PREFECT_API_URL", "").removesuffix("/api")
