"""Real S3 servers for tests: moto, OpenStack Swift, and whatever TVAE_TEST_S3_ENDPOINT names.

Each is a process of its own that ends with the tests. `S3Server.environment` is what a client needs; set it with
``monkeypatch.setenv`` or pass it to a subprocess.
"""

import contextlib
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
SWIFT_PYTHON = REPOSITORY / ".venv-swift" / "bin" / "python"
ENDPOINT_VARIABLE = "TVAE_TEST_S3_ENDPOINT"


@dataclass(frozen=True)
class S3Server:
    """A running server and what is known of it."""

    name: str
    endpoint: str
    access_key: str
    secret_key: str
    checks_credentials: bool
    decides_races: bool

    @property
    def environment(self) -> dict[str, str]:
        """boto3's settings for this server, and nothing of the machine's own."""
        return {
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": os.environ.get("AWS_DEFAULT_REGION", "us-east-1"),
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self) -> Any:
        """boto3's own client, for what the store has no word for."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name=self.environment["AWS_DEFAULT_REGION"],
            config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
        )

    def make_bucket(self) -> str:
        """Create a bucket of a fresh name."""
        bucket = f"tvae-tests-{secrets.token_hex(6)}"
        client = self.client()
        client.create_bucket(Bucket=bucket)
        client.close()
        return bucket


@contextlib.contextmanager
def moto_server() -> Iterator[S3Server]:
    """moto: the contract of S3, conditional writes and their races included; takes any credentials."""
    with _serving([sys.executable, str(REPOSITORY / "tests" / "moto_server.py")]) as port:
        yield S3Server("moto", f"http://127.0.0.1:{port}", "test", "testing", False, True)


@contextlib.contextmanager
def swift_server(directory: Path) -> Iterator[S3Server]:
    """OpenStack Swift with its bytes under `directory`: refuses bad credentials and checksums."""
    if not SWIFT_PYTHON.exists():
        pytest.skip("OpenStack Swift is not installed in .venv-swift: run `make swift`")
    command = [str(SWIFT_PYTHON), "-W", "ignore", str(REPOSITORY / "tests" / "swift_server.py")]
    with _serving([*command, str(directory)]) as port:
        yield S3Server("swift", f"http://127.0.0.1:{port}", "test:tester", "testing", True, False)


@contextlib.contextmanager
def external_server() -> Iterator[S3Server]:
    """The endpoint that TVAE_TEST_S3_ENDPOINT names (MinIO, Ceph, AWS), with AWS_ACCESS_KEY_ID and its secret."""
    endpoint = os.environ.get(ENDPOINT_VARIABLE)
    if not endpoint:
        pytest.skip(f"{ENDPOINT_VARIABLE} names no endpoint")
    key, secret = os.environ.get("AWS_ACCESS_KEY_ID", ""), os.environ.get("AWS_SECRET_ACCESS_KEY", "")
    yield S3Server("external", endpoint, key, secret, True, True)


@contextlib.contextmanager
def _serving(command: list[str]) -> Iterator[int]:
    """Run a server that prints its port first and ends when its standard input closes."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line.strip().isdigit():
            raise RuntimeError(f"the server did not start: {' '.join(command)}")
        try:
            yield int(line)
        finally:
            process.stdin.close()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
