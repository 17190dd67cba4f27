"""Configurations: what loads, and what the errors say."""

from pathlib import Path

import pytest
import yaml

from configs import ConfigError, RunConfig, load_config
from tests.conftest import ROOT
from tvae_core.settings import ModelSettings

MINIMAL = {"name": "people", "input": "people.parquet", "store": "store"}


def write(folder: Path, **changes: object) -> Path:
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump({**MINIMAL, **changes}))
    return path


def message(path: Path, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides)
    return str(caught.value)


def test_a_minimal_configuration_takes_every_default_from_where_it_is_defined(tmp_path: Path) -> None:
    config = load_config(write(tmp_path))
    assert config.model == ModelSettings()
    assert (config.gate.policy, config.gate.rules) == (None, None)
    assert config.split.holdout_fraction == 0.2


def test_relative_paths_mean_the_current_directory_in_the_file_and_in_overrides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    config = load_config(path, ["store=s3://bucket/prefix"])
    assert config.input == str(tmp_path / "elsewhere" / "people.parquet")
    assert config.store == "s3://bucket/prefix"


def test_overrides_reach_nested_keys_lists_and_keys_that_the_file_leaves_out(tmp_path: Path) -> None:
    path = write(tmp_path, gate={"rules": [{"metric": "fidelity.shape", "at_least": 0.9}]})
    config = load_config(path, ["model.epochs=7", "gate.rules.0.at_least=0.5", "score.targets=[a, b]"])
    assert config.model.epochs == 7
    assert config.gate.rules is not None
    assert config.gate.rules[0].at_least == 0.5
    assert config.score.targets == ("a", "b")


def test_an_unknown_key_names_file_key_the_nearest_and_the_allowed_ones(tmp_path: Path) -> None:
    path = write(tmp_path, model={"epohs": 3})
    said = message(path)
    assert f"{path}: model.epohs: unknown key; did you mean epochs? Allowed here: preset, " in said


def test_an_unknown_key_inside_a_rule_is_found_by_its_place_in_the_list(tmp_path: Path) -> None:
    rules = [{"metric": "a", "at_least": 1}, {"metric": "b", "at_leest": 1}]
    assert "gate.rules.1.at_leest: unknown key; did you mean at_least?" in message(
        write(tmp_path, gate={"rules": rules})
    )


def test_every_problem_is_named_at_once(tmp_path: Path) -> None:
    said = message(write(tmp_path, seed=-1, train={"where": "moon"}, sample={"rows": "many"}))
    assert len(said.splitlines()) == 3
    assert "seed: should be greater than or equal to 0, got -1." in said
    assert "train.where: should be 'here' or 'gpu', got 'moon'." in said
    assert "sample.rows: should be a valid integer" in said


def test_a_wrong_override_is_blamed_on_the_override(tmp_path: Path) -> None:
    assert message(write(tmp_path), "split.holdout_fraction=1.5").startswith("--set split.holdout_fraction: ")


@pytest.mark.parametrize("override", ["epochs", "=3", "model..epochs=3", "name.first=x"])
def test_an_override_that_is_no_assignment_is_refused(tmp_path: Path, override: str) -> None:
    assert message(write(tmp_path), override).startswith("--set")


def test_the_bounds_of_the_model_are_the_core_s(tmp_path: Path) -> None:
    assert "model: epochs must lie between 1 and" in message(write(tmp_path, model={"epochs": 0}))


def test_a_missing_key_says_what_it_is_for(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("name: people\nstore: out\n")
    assert "input: missing. (The real table" in message(path)


def test_a_schema_that_contradicts_itself_is_refused_before_the_run(tmp_path: Path) -> None:
    schema = {"columns": {"age": {"kind": "continuous", "type": "string"}}}
    assert "schema: column 'age' of type string can't be continuous" in message(
        write(tmp_path, schema=schema)
    )


@pytest.mark.parametrize("address", ["s3://key:secret@bucket/prefix", "s3://secret@bucket"])
def test_credentials_in_an_address_are_refused_and_not_repeated(tmp_path: Path, address: str) -> None:
    said = message(write(tmp_path, store=address))
    assert "must not carry credentials" in said
    assert "secret" not in said


def test_an_address_of_another_scheme_is_refused(tmp_path: Path) -> None:
    assert "store: an address is a local path, file:///... or s3://" in message(
        write(tmp_path, store="ftp://host/x")
    )


@pytest.mark.parametrize("name", ["../up", "a/b", "", "a..b", ".hidden", "x" * 65])
def test_a_name_can_t_leave_its_folder(tmp_path: Path, name: str) -> None:
    assert "name: " in message(write(tmp_path, name=name))
    assert "release.version: " in message(write(tmp_path, release={"version": name}))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert str(tmp_path / "none.yaml") in message(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: [1", "line 1"),
        ("name: a\nname: b\n", "line 2, column 1: not readable as YAML: the key 'name' stands twice"),
        ("- a\n", "expected keys such as name, input and store, got a list"),
        ("", "got nothing"),
        ("name: !!python/object/apply:os.system [ls]\n", "could not determine a constructor"),
    ],
)
def test_what_is_no_plain_yaml_mapping_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    assert said in message(path)


def test_every_key_of_the_form_is_explained() -> None:
    schema = RunConfig.model_json_schema(by_alias=True)
    sections = {"RunConfig": schema, **schema["$defs"]}
    unexplained = [
        f"{section}.{key}"
        for section, body in sections.items()
        for key, field in body.get("properties", {}).items()
        if not field.get("description") and "$ref" not in field  # a section is explained by its own text
    ]
    assert unexplained == []


def test_the_demo_s_configuration_loads() -> None:
    config = load_config(ROOT / "configs" / "demo.yaml")
    assert config.name == "rand-hie"


def test_every_shipped_configuration_opens_with_the_command_that_runs_it() -> None:
    for path in (ROOT / "configs").glob("*.yaml"):
        head = path.read_text().splitlines()[:4]
        assert all(line.startswith("#") for line in head[:2]), path
        assert any("make " in line or "tvae " in line for line in head), path
