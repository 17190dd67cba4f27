"""Stores for the tests of services: a directory, and every S3 server that runs here."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.services.store import Store, open_store
from tests.servers import ENDPOINT_VARIABLE, S3Server, external_server, swift_server

SECRET = "wJalrXUtnFEMIsecret"  # of `use_endpoint`; it must never show
# `moto` is the fixture of all tests; an endpoint of one's own joins when the environment names it.
S3_SERVERS = ["moto", "swift", *(["external"] if os.environ.get(ENDPOINT_VARIABLE) else [])]


@pytest.fixture(scope="session")
def swift(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with swift_server(tmp_path_factory.mktemp("swift")) as server:
        yield server


@pytest.fixture(scope="session")
def external() -> Iterator[S3Server]:
    with external_server() as server:
        yield server


@pytest.fixture
def use_server(monkeypatch: pytest.MonkeyPatch):
    """Point boto3's settings to a server, and to nothing else of this machine."""

    def use(server: S3Server) -> S3Server:
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_REGION"):
            monkeypatch.delenv(name, raising=False)
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        return server

    return use


@pytest.fixture
def use_endpoint(use_server):
    """Point boto3 to an address with credentials that must never show."""

    def use(endpoint: str) -> S3Server:
        return use_server(S3Server("scripted", endpoint, "AKIAVISIBLE", SECRET, False, False))

    return use


@pytest.fixture(params=S3_SERVERS)
def server(request: pytest.FixtureRequest, use_server) -> S3Server:
    """Each S3 server in turn, and boto3 pointed to it."""
    return use_server(request.getfixturevalue(request.param))


@pytest.fixture(params=["local", *S3_SERVERS])
def store(request: pytest.FixtureRequest, tmp_path: Path, use_server) -> Store:
    """An empty store: a directory, then a prefix of a fresh bucket on each S3 server."""
    if request.param == "local":
        return open_store(tmp_path / "a store")
    server = use_server(request.getfixturevalue(request.param))
    return open_store(f"s3://{server.make_bucket()}/a/prefix")


@pytest.fixture
def store_on_moto(moto: S3Server, use_server) -> Store:
    use_server(moto)
    return open_store(f"s3://{moto.make_bucket()}/a/prefix")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("a file system of 1 MiB can't be mounted here (it takes root)")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)
