"""The line from a table to a release, on a real Prefect server and real stores."""

import json
import logging
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from configs import ConfigError, load_config
from tasks.refusals import GateRefusedError, ValidationRefusedError
from tasks.services.publishing import load_release, verify_release
from tasks.services.retention import retire
from tasks.services.store import open_store
from tests.conftest import people
from tests.servers import S3Server
from tvae_core.errors import DigestError

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_server")]


def run(config: Path, *overrides: str) -> dict[str, Any]:
    from flows.synthesize import synthesize

    summary: dict[str, Any] = synthesize(**load_config(config, overrides).parameters())
    return summary


def snapshot(folder: Path) -> dict[str, int]:
    """Every file below `folder` and when it was written."""
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()
    }


def artifacts() -> list[str]:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        return [str(artifact.data) for artifact in client.read_artifacts(limit=200)]


def test_a_table_becomes_a_release_with_its_schema_its_scores_and_its_report(
    config_file: Path, tmp_path: Path
) -> None:
    summary = run(config_file)
    store = open_store(tmp_path / "store")
    manifest = load_release(store, "people", summary["version"])
    assert verify_release(store, "people", summary["version"]) == []
    paths = {entry["path"] for entry in manifest["files"]}
    assert paths == {
        "data/part-00000.parquet", "data/part-00001.parquet", "report.html", "report.md",
        "schema.yaml", "scores.json", "validation.json", "verdict.json",
        "data_card.json", "data_card.md", "model_card.json", "model_card.md", "croissant.json", "SHA256SUMS",
    }  # fmt: skip
    folder = tmp_path / "store" / "releases" / "people" / summary["version"] / manifest["directory"]
    parts = [pq.read_table(folder / "data" / f"part-0000{i}.parquet") for i in (0, 1)]
    assert [part.num_rows for part in parts] == [200, 100]
    assert parts[0].schema.equals(people().schema)
    assert "fidelity" in (folder / "report.md").read_text()
    page = (folder / "report.html").read_text()
    assert "<title>Published: people" in page
    assert all(
        f'id="{part}"' in page for part in ("columns", "pairs", "detection", "privacy", "training", "latent")
    )
    assert not any(person in page for person in people().column("person").to_pylist())
    assert manifest["lineage"]["split"]["entity"] == "person"


def test_a_run_shows_its_validation_scores_and_release_in_the_ui_and_no_value_of_the_table(
    config_file: Path,
) -> None:
    run(config_file)
    shown = artifacts()
    for heading in ("Validation", "Scores of the synthetic table", "Data card: people"):
        assert any(heading in text for text in shown), heading
    values = [str(value) for value in people().column("person").to_pylist()]
    assert not any(value in text for text in shown for value in values)


def test_a_run_that_was_killed_in_training_goes_on_from_its_checkpoint_to_the_same_generator(
    config_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from tasks.services.checkpoints import StoredCheckpoint

    undisturbed = run(config_file)
    honest = StoredCheckpoint.save

    def save_and_die(self: StoredCheckpoint, content: bytes) -> None:
        honest(self, content)
        raise KeyboardInterrupt

    store = f"store={tmp_path / 'other'}"
    monkeypatch.setattr(StoredCheckpoint, "save", save_and_die)
    with pytest.raises(KeyboardInterrupt):
        run(config_file, store, "train.checkpoint_minutes=0.0001")
    kept = list((tmp_path / "other" / "checkpoints").rglob("*.safetensors"))
    assert [path.relative_to(tmp_path / "other").parts[:2] for path in kept] == [("checkpoints", "people")]
    monkeypatch.setattr(StoredCheckpoint, "save", honest)
    core = logging.getLogger("tvae_core.checkpoints")
    core.addHandler(caplog.handler)  # whether the console of an earlier run still listens does not matter
    try:
        resumed = run(config_file, store)
    finally:
        core.removeHandler(caplog.handler)
    assert "training goes on from a checkpoint: epoch 1, step 1" in caplog.text
    assert not list((tmp_path / "other" / "checkpoints").rglob("*.safetensors"))
    assert resumed["digest"] == undisturbed["digest"]


def test_the_same_run_again_makes_nothing_anew(config_file: Path, tmp_path: Path) -> None:
    first = run(config_file)
    before = snapshot(tmp_path / "store" / "generators") | snapshot(tmp_path / "store" / "releases")
    assert run(config_file) == first
    assert snapshot(tmp_path / "store" / "generators") | snapshot(tmp_path / "store" / "releases") == before


def test_a_run_with_nothing_new_ends_before_validation_unless_it_is_forced(
    config_file: Path, people_file: Path, tmp_path: Path
) -> None:
    from flows.synthesize import synthesize

    run(config_file)
    (report,) = (tmp_path / "store" / "runs").rglob("validation.json")
    written = report.stat().st_mtime_ns
    parameters = load_config(config_file).parameters()
    state = synthesize(**parameters, return_state=True)
    assert (state.is_completed(), state.name) == (True, "Nothing new")
    assert report.stat().st_mtime_ns == written
    assert synthesize(**parameters | {"force": True}, return_state=True).name == "Completed"
    assert report.stat().st_mtime_ns > written
    changed = load_config(config_file, ["gate.rules.0.at_least=0.05"]).parameters()
    assert synthesize(**changed, return_state=True).name == "Completed"
    pq.write_table(people(seed=6), people_file)
    assert synthesize(**parameters, return_state=True).name == "Completed"


def test_a_release_that_was_retired_is_not_made_again(config_file: Path, tmp_path: Path) -> None:
    first = run(config_file)
    store = open_store(tmp_path / "store")
    retire(store, "releases", "people", first["version"], reason="found wanting", by="tests", remove=True)
    assert run(config_file) == first
    assert any("and retired on" in text for text in artifacts())


def test_a_release_says_what_its_stages_took_and_the_digest_does_not(
    config_file: Path, tmp_path: Path
) -> None:
    summary = run(config_file)
    stages = load_release(open_store(tmp_path / "store"), "people", summary["version"])["stages"]
    assert [cost["stage"] for cost in stages] == [
        "ingest", "validate", "split", "train", "sample", "score", "gate", "package",
    ]  # fmt: skip
    assert all(cost["seconds"] > 0 and cost["peak_memory_mb"] > 50 for cost in stages)
    rows = {cost["stage"]: cost["rows"] for cost in stages if cost["rows"] is not None}
    assert (rows["ingest"], rows["sample"]) == (400, 300)
    assert 0 < rows["train"] < 400
    assert summary["digest"] == run(config_file, f"store={tmp_path / 'other'}")["digest"]
    tables = [json.loads(text) for text in artifacts() if "peak memory" in text and text.startswith("[")]
    named = [[row["stage"] for row in table] for table in tables]  # those of other tests' runs too
    assert named.count([*(cost["stage"] for cost in stages), "publish"]) >= 2


def test_the_same_seed_gives_the_same_release_in_another_store(config_file: Path, tmp_path: Path) -> None:
    first = run(config_file)
    second = run(config_file, f"store={tmp_path / 'other'}")
    assert first["release"] != second["release"]
    assert first["digest"] == second["digest"]


def test_another_seed_gives_another_release(config_file: Path) -> None:
    assert run(config_file)["digest"] != run(config_file, "seed=8")["digest"]


def test_the_whole_line_runs_from_s3_to_s3(
    config_file: Path, people_file: Path, moto: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in moto.environment.items():
        monkeypatch.setenv(key, value)
    bucket = moto.make_bucket()
    open_store(f"s3://{bucket}").put_file("in/people.parquet", people_file)
    remote = run(config_file, f"input=s3://{bucket}/in/people.parquet", f"store=s3://{bucket}/out")
    assert verify_release(open_store(f"s3://{bucket}/out"), "people", remote["version"]) == []
    assert remote["digest"] == run(config_file)["digest"]


def test_a_missed_threshold_ends_the_run_failed_with_the_figure_and_publishes_nothing(
    config_file: Path, tmp_path: Path
) -> None:
    from flows.synthesize import synthesize

    parameters = load_config(config_file, ["gate.rules.0.at_least=0.9999"]).parameters()
    state = synthesize(**parameters, return_state=True)
    assert state.is_failed()
    assert "fidelity.shape" in state.message
    assert "is below 0.9999" in state.message
    (report,) = (tmp_path / "store" / "runs" / "people").glob("*/report-*.html")
    assert "<title>Refused: people" in report.read_text()
    assert not (tmp_path / "store" / "releases").exists()


def test_a_threshold_that_is_lowered_afterwards_decides_anew_without_training_anew(
    config_file: Path, tmp_path: Path
) -> None:
    with pytest.raises(GateRefusedError):
        run(config_file, "gate.rules.0.at_least=0.9999")
    generators = snapshot(tmp_path / "store" / "generators")
    samples = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "store").rglob("part-*.parquet")}
    assert run(config_file)["release"]
    assert snapshot(tmp_path / "store" / "generators") == generators
    runs = (tmp_path / "store" / "runs").rglob("part-*.parquet")
    assert {path.name: path.stat().st_mtime_ns for path in runs} == samples


def test_a_release_is_compared_with_the_one_before_and_the_first_has_none(
    config_file: Path, tmp_path: Path
) -> None:
    rules = "gate.rules=[{metric: drift.shape, at_least: 0.2, why: nothing may jump}]"
    store = open_store(tmp_path / "store")

    def published(*overrides: str) -> tuple[dict[str, Any], str]:
        summary = run(config_file, rules, *overrides)
        manifest = load_release(store, "people", summary["version"])
        page = tmp_path / "store" / "releases" / "people" / summary["version"] / manifest["directory"]
        return manifest, (page / "report.html").read_text()

    first, page = published("release.version=first")
    assert not [name for name in first["figures"] if name.startswith("drift.")]
    assert [(r["value"], r["passed"]) for r in first["gate"]["results"]] == [(None, True)]
    assert "no earlier release stands to compare with" in page
    assert 'id="drift"' not in page

    second, page = published("seed=8", "release.version=second")
    assert 0.2 < second["figures"]["drift.shape"] < 1
    assert 'id="drift"' in page
    assert f"<code>first</code> (digest <code>{first['digest'][:12]}</code>)" in page

    retire(store, "releases", "people", "second", reason="found wanting", by="tests", remove=True)
    _, page = published("seed=9", "release.version=third")
    assert "<code>first</code> (digest" in page

    for part in (tmp_path / "store" / "releases" / "people" / "third").glob(
        "files-*/data/part-00000.parquet"
    ):
        part.write_bytes(part.read_bytes()[:-1])
    with pytest.raises(GateRefusedError, match=r"drift\.shape: .*has changed since"):
        published("seed=10")


def test_a_figure_that_could_not_be_computed_does_not_pass(config_file: Path) -> None:
    rules = "gate.rules=[{metric: utility.nobody.ratio, at_least: 0}]"
    with pytest.raises(GateRefusedError, match=r"utility\.nobody\.ratio"):
        run(config_file, rules)


def test_a_table_that_breaks_its_schema_stops_the_run_before_anything_is_trained(
    config_file: Path, people_file: Path, tmp_path: Path
) -> None:
    table = people()
    ages = table.column("age").to_pylist()
    ages[3] = ages[17] = 999
    pq.write_table(table.set_column(1, "age", pa.array(ages)), people_file)
    with pytest.raises(ValidationRefusedError) as caught:
        run(config_file)
    said = str(caught.value)
    assert "age" in said
    assert "2 row(s)" in said
    assert "3, 17" in said
    assert "999" not in said
    assert not (tmp_path / "store" / "generators").exists()


def test_an_existing_generator_is_sampled_without_training(config_file: Path, tmp_path: Path) -> None:
    first = run(config_file)
    store = tmp_path / "elsewhere"
    second = run(config_file, f"store={store}", f"generator_uri={first['generator']}")
    assert second["generator"] == first["generator"]
    assert not (store / "generators").exists()


def test_a_generator_whose_weights_were_altered_is_refused(config_file: Path, tmp_path: Path) -> None:
    first = run(config_file)
    weights = next((tmp_path / "store" / "generators").rglob("weights.safetensors"))
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(DigestError, match="weights"):
        run(config_file, f"store={tmp_path / 'other'}", f"generator_uri={first['generator']}")
    assert not (tmp_path / "other" / "releases").exists()


def test_an_existing_version_is_never_overwritten_by_another_run(config_file: Path, tmp_path: Path) -> None:
    from tasks.services.store import AlreadyExistsError

    first = run(config_file, "release.version=v1")
    manifest = tmp_path / "store" / "releases" / "people" / "v1" / "manifest.json"
    before = manifest.read_bytes()
    with pytest.raises(AlreadyExistsError, match="v1"):
        run(config_file, "release.version=v1", "seed=9")
    assert manifest.read_bytes() == before
    assert json.loads(before)["digest"] == first["digest"]


def test_a_schema_that_is_not_given_is_proposed_and_kept_with_the_run(
    config_file: Path, tmp_path: Path
) -> None:
    # Undeclared, `person` reads as free text, which the protection of rare values refuses.
    summary = run(config_file, "schema=null", "model.protect_k=0")
    manifest = load_release(open_store(tmp_path / "store"), "people", summary["version"])
    folder = tmp_path / "store" / "releases" / "people" / summary["version"] / manifest["directory"]
    proposed = yaml.safe_load((folder / "schema.yaml").read_text())
    assert list(proposed["columns"]) == people().column_names


def test_the_form_of_the_deployment_explains_every_parameter() -> None:
    from prefect.utilities.callables import parameter_schema

    from flows.synthesize import synthesize

    schema = parameter_schema(synthesize).model_dump()
    bare = [
        name
        for name, field in schema["properties"].items()
        if not field.get("description") and "$ref" not in field and "allOf" not in field
    ]
    assert bare == []
    positions = [field["position"] for field in schema["properties"].values()]
    assert positions == sorted(positions)


@pytest.mark.parametrize(
    "wrong",
    [
        {"seed": -1},
        {"name": "../x"},
        {"split": {"holdout_fraction": 2}},
        {"model": {"epohs": 3}},
        {"store": "ftp://x"},
        {"input": "people.parquet"},  # relative: a worker's directory is temporary
    ],
)
def test_a_wrong_parameter_is_refused_before_the_run_starts(config_file: Path, wrong: dict[str, Any]) -> None:
    from prefect.utilities.callables import parameter_schema
    from prefect.utilities.schema_tools.validation import ValidationError, validate

    from flows.synthesize import synthesize

    schema = parameter_schema(synthesize).model_dump()
    good = yaml.safe_load(config_file.read_text())
    good["table_schema"] = good.pop("schema")
    validate(good, schema, raise_on_error=True)  # as the server does when the form is sent
    with pytest.raises(ValidationError):
        validate(good | wrong, schema, raise_on_error=True)
    # And a run that was created past the form ends with the key, and without the value.
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        synthesize(**{**load_config(config_file).parameters(), **wrong})


def test_known_cells_get_a_row_each_and_their_content_names_the_release(
    config_file: Path, tmp_path: Path
) -> None:
    known = tmp_path / "known.parquet"
    pq.write_table(pa.table({"age": [30, None, 50] * 40, "city": ["Cork", None, None] * 40}), known)
    overrides = ("sample.rows=null", f"sample.given={known}")
    summary = run(config_file, *overrides)
    folder = tmp_path / "store" / "releases" / "people" / summary["version"]
    parts = [pq.read_table(path) for path in sorted(folder.rglob("data/*.parquet"))]
    rows = pa.concat_tables(parts).to_pandas()
    assert len(rows) == 120
    assert set(rows.age[0::3]) == {30}
    assert set(rows.age[2::3]) == {50}
    assert set(rows.city[0::3]) == {"Cork"}
    assert run(config_file, *overrides)["version"] == summary["version"]
    pq.write_table(pa.table({"age": [31] * 120}), known)
    assert run(config_file, *overrides)["version"] != summary["version"]
