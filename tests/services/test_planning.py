"""Names follow from content: what a run is called, and what changes it."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from configs import ConfigError, load_config
from configs.run import RunConfig
from tasks.references import FileRef, RunPlan
from tasks.services.planning import plan_run
from tasks.services.tables import reference_table


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
