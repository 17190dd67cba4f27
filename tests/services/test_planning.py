"""Names follow from content: what a run is called, and what changes it."""

import hashlib
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from configs import ConfigError, build_config, load_config
from configs.run import RunConfig
from tasks.references import FileRef, RunPlan
from tasks.services.planning import plan_run, schema_text, settle_schema
from tasks.services.tables import open_table, reference_table
from tests.conftest import PEOPLE_SCHEMA, people


def plan(config_file: Path, *overrides: str) -> RunPlan:
    config: RunConfig = load_config(config_file, overrides)
    return plan_run(config, reference_table(config.input), FileRef("file:///schema.yaml", "0" * 64, 1))


def names(plan: RunPlan) -> tuple[str, ...]:
    return plan.generator_version, plan.workspace.prefix, plan.release_version


def write_known(path: Path, ages: list[Any]) -> str:
    pq.write_table(pa.table({"age": ages}), path)
    return f"sample.given={path}"


def test_known_cells_name_workspace_and_release_by_content_and_not_by_address(
    config_file: Path, tmp_path: Path
) -> None:
    plain = names(plan(config_file, "sample.rows=null"))
    first = plan(config_file, "sample.rows=null", write_known(tmp_path / "a.parquet", [30, None]))
    copy = plan(config_file, "sample.rows=null", write_known(tmp_path / "b.parquet", [30, None]))
    other = plan(config_file, "sample.rows=null", write_known(tmp_path / "b.parquet", [31, None]))
    assert first.known is not None
    assert first.known.rows == 2
    assert names(first) == names(copy)
    assert len({plain[1:], names(first)[1:], names(other)[1:]}) == 3
    assert plain[0] == names(first)[0] == names(other)[0]  # the generator is the same


@pytest.mark.parametrize("beside", ["sample.rows=5", "sample.where={age: 30}", "sample.balance=city"])
def test_known_cells_leave_no_room_for_rows_conditions_or_balance(
    config_file: Path, tmp_path: Path, beside: str
) -> None:
    with pytest.raises(ConfigError, match=f"leave {beside.partition('=')[0].partition('.')[2]} out"):
        load_config(config_file, ["sample.rows=null", f"sample.given={tmp_path}/a.parquet", beside])


def test_a_relative_address_of_known_cells_means_the_current_directory(
    config_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = load_config(config_file, ["sample.rows=null", "sample.given=a.parquet"])
    assert config.sample.given == str(tmp_path / "a.parquet")


def shuffled(value: Any, chance: random.Random) -> Any:
    """The same JSON with the keys of every mapping in another order, as a database hands them back."""
    if isinstance(value, list):
        return [shuffled(inner, chance) for inner in value]
    if not isinstance(value, dict):
        return value
    keys = chance.sample(list(value), len(value))
    return {key: shuffled(value[key], chance) for key in keys}


def test_the_order_of_keys_decides_neither_names_nor_columns(config_file: Path) -> None:
    plain = yaml.safe_load(config_file.read_text())
    plain["schema"]["constraints"] = [{"kind": "range", "column": "age", "minimum": 0, "maximum": 120}]
    plain["sample"]["where"] = {"smoker": "true", "age": "20..60", "city": "Cork|Basel"}
    settled = []
    for seed in range(4):
        given = shuffled(plain, random.Random(seed)) if seed else plain
        config: RunConfig = build_config(given, "the test")
        table = reference_table(config.input)
        with open_table(table) as source:
            text = schema_text(settle_schema(config.table_schema, source))
            assert list(yaml.safe_load(text)["columns"]) == source.schema.names
        digest = hashlib.sha256(text.encode()).hexdigest()
        conditions = list(config.sample.options()["given"])
        settled.append(
            (names(plan_run(config, table, FileRef("file:///schema.yaml", digest, 1))), conditions)
        )
    assert all(one == settled[0] for one in settled)


def test_columns_that_the_table_lacks_come_last(config_file: Path) -> None:
    columns = {"zeta": {"kind": "boolean", "type": "bool"}, **PEOPLE_SCHEMA["columns"]}  # type: ignore[dict-item]
    with open_table(reference_table(load_config(config_file).input)) as source:
        found = settle_schema({**PEOPLE_SCHEMA, "columns": columns}, source)
    assert [column.name for column in found.columns] == [*people().column_names, "zeta"]
