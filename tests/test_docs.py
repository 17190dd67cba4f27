"""The documents are executed: commands and Python of the README run, one after the other, and links lead somewhere."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from tests.conftest import ROOT, people
from tvae_core.constraints import KINDS, constraints_from_list
from tvae_core.schema import TableSchema

README = (ROOT / "README.md").read_text()
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").glob("**/*.md")),
]


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_server")
def test_the_commands_of_the_readme_run_in_their_order(tmp_path: Path) -> None:
    from prefect.settings import PREFECT_API_URL

    pq.write_table(people(1200), tmp_path / "people.parquet")
    scripts = Path(sys.executable).parent
    environment = {
        **os.environ,
        "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
        "PREFECT_API_URL": str(PREFECT_API_URL.value()),
    }
    for block in blocks(README, "bash"):
        done = subprocess.run(
            ["sh", "-e", "-c", block],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
    assert pq.read_table(tmp_path / "synthetic.parquet").num_rows == 1000
    assert list((tmp_path / "store" / "releases" / "people").glob("*/manifest.json"))


@pytest.mark.slow
def test_the_python_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pq.write_table(people(1200), tmp_path / "people.parquet")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in blocks(README, "python"):
        exec(compile(block, "README.md", "exec"), names)
    assert (tmp_path / "my-generator" / "manifest.json").exists()


def test_the_schema_and_the_constraints_in_the_documents_can_be_read() -> None:
    schema, constraints = blocks((ROOT / "docs" / "configuration.md").read_text(), "yaml")
    assert TableSchema.from_dict(yaml.safe_load(schema)).entity == "person"
    kinds = {c.kind for c in constraints_from_list(yaml.safe_load(constraints)["constraints"])}
    assert kinds == set(KINDS)


def test_every_key_of_the_configuration_is_documented() -> None:
    from configs import RunConfig

    text = (ROOT / "docs" / "configuration.md").read_text()
    for name, field in RunConfig.model_fields.items():
        key = field.alias or name
        assert f"| `{key}" in text, key


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_to_a_file_leads_to_one(document: Path) -> None:
    links = re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", document.read_text())
    missing = [link for link in links if "://" not in link and not (document.parent / link).exists()]
    assert missing == []


def test_every_target_that_the_documents_name_is_in_the_makefile() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = {target for path in DOCUMENTS for target in re.findall(r"[`$] ?make ([a-z]+)", path.read_text())}
    assert named <= targets
    assert {"demo", "test", "up", "lint", "bench"} <= targets


def test_make_alone_prints_a_line_for_each_target() -> None:
    done = subprocess.run(
        ["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    printed = {line.split()[1] for line in done.stdout.splitlines()}
    assert {"demo", "up", "test", "lint", "bench"} <= printed


def test_nothing_committed_names_the_machine_it_was_written_on() -> None:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    if ROOT.name.startswith("tmp") or str(ROOT.parent) == "/":
        pytest.skip("the checkout's own path is too short to look for")
    naming = [name for name in listed if f"{ROOT}/" in (ROOT / name).read_text(errors="ignore")]
    assert naming == []
    assert "index-url" not in (ROOT / "constraints.txt").read_text()
    assert " @ " not in (ROOT / "constraints.txt").read_text()
