"""The jobs of our templates for Kubernetes: rendered as Prefect's worker does, checked as the cluster would."""

import json
from typing import Any

import pytest

from tests.conftest import ROOT

FOLDER = ROOT / "deployments" / "kubernetes"
IMAGE = "registry.example.org/tvae-pipeline@sha256:" + "0" * 64
GPU = "nvidia.com/gpu"


def template(pool: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"{pool}.json").read_text())


def rendered(pool: str, **variables: Any) -> dict[str, Any]:
    """The job's manifest with the variables' defaults, as a worker renders it, and what it adds itself."""
    from prefect.utilities.templating import apply_values

    plain = template(pool)
    defaults = {name: field.get("default") for name, field in plain["variables"]["properties"].items()}
    job: Any = apply_values(plain["job_configuration"], {**defaults, "image": IMAGE, **variables})
    manifest: dict[str, Any] = job["job_manifest"]
    manifest["metadata"] |= {"name": "happy-run-x1", "generateName": "happy-run-"}
    container = manifest["spec"]["template"]["spec"]["containers"][0]
    container["env"] = [{"name": name, "value": value} for name, value in container["env"].items()]
    container["args"] = ["prefect", "flow-run", "execute"]
    return manifest


@pytest.mark.parametrize("pool", ["cpu", "gpu"])
def test_a_job_is_valid_for_the_cluster_s_own_schema(pool: str) -> None:
    validation = pytest.importorskip(
        "kubernetes_validate", reason="pip install kubernetes-validate brings Kubernetes' schemas"
    )
    validation.validate(rendered(pool), "1.34", strict=True)


@pytest.mark.parametrize("pool", ["cpu", "gpu"])
def test_a_job_runs_once_without_root_and_takes_its_credentials_from_a_secret(pool: str) -> None:
    spec = rendered(pool)["spec"]
    assert (spec["backoffLimit"], spec["completions"], spec["parallelism"]) == (0, 1, 1)
    pod = spec["template"]["spec"]
    assert pod["restartPolicy"] == "Never"  # Prefect decides what is run again
    assert pod["securityContext"]["runAsNonRoot"]
    assert str(pod["securityContext"]["runAsUser"]) in (ROOT / "deployments" / "Dockerfile").read_text()
    assert not pod["automountServiceAccountToken"]
    (container,) = pod["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert container["image"] == IMAGE
    assert container["envFrom"] == [{"secretRef": {"name": "tvae-store"}}]
    assert not any("KEY" in variable["name"] or "SECRET" in variable["name"] for variable in container["env"])
    writable = {variable["value"] for variable in container["env"] if variable["name"].endswith("HOME")}
    assert all(folder.startswith(container["volumeMounts"][0]["mountPath"]) for folder in writable)


def test_the_gpu_pool_asks_for_a_card_and_the_cpu_pool_for_none() -> None:
    gpu = rendered("gpu", gpus="2")["spec"]["template"]["spec"]
    assert gpu["containers"][0]["resources"]["limits"][GPU] == "2"
    assert gpu["containers"][0]["resources"]["requests"][GPU] == "2"
    assert gpu["tolerations"][0]["key"] == GPU
    assert GPU not in json.dumps(template("cpu"))


def test_the_two_templates_differ_in_cards_and_sizes_alone() -> None:
    cpu, gpu = template("cpu"), template("gpu")
    del gpu["variables"]["properties"]["gpus"]
    pod = gpu["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]
    del pod["tolerations"]
    for kind in ("limits", "requests"):
        del pod["containers"][0]["resources"][kind][GPU]
    assert gpu["job_configuration"] == cpu["job_configuration"]
    for plain in (cpu, gpu):
        for name in (
            "cpu_request",
            "cpu_limit",
            "memory_request",
            "memory_limit",
            "pod_watch_timeout_seconds",
        ):
            del plain["variables"]["properties"][name]["default"]
    assert gpu["variables"] == cpu["variables"]


@pytest.mark.parametrize("pool", ["cpu", "gpu"])
def test_every_variable_is_used_explained_and_has_a_value_or_must_be_given(pool: str) -> None:
    plain = template(pool)
    body, fields = json.dumps(plain["job_configuration"]), plain["variables"]["properties"]
    for name, field in fields.items():
        assert f"{{{{ {name} }}}}" in body, name
        assert len(field["description"]) > 15, name
    without = {name for name, field in fields.items() if "default" not in field} - {"name", "command"}
    assert without == set(plain["variables"]["required"]) == {"image"}
