"""Stages on a Dask cluster: two worker processes make, byte for byte, what one process makes."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from configs import load_config
from configs.cluster import ClusterSection
from configs.run import SampleSection
from tasks.references import SplitRef, TableRef, Workspace
from tasks.services.generators import reference_generator
from tasks.services.store import open_store
from tests.conftest import people
from tvae_core import TVAE, TableSchema, infer_schema
from tvae_core.constraints import Unique

# Dask's own event loops and their sockets close after the cluster, where nobody waits for them.
pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
SMALL: dict[str, Any] = {"compress_dims": (8,), "decompress_dims": (8,), "embedding_dim": 2}
ALONE, TWO = ClusterSection(), ClusterSection(workers=2)
SPLIT = SplitRef(TableRef("file:///none", "0" * 64, 2, ()), 0, 0.5, None, 1, 1)


def draw(section: SampleSection, generator: Path, store: Path, cluster: ClusterSection = ALONE) -> TableRef:
    """Draw a sample inside a flow, as `synthesize` does."""
    from prefect import flow

    from flows.shards import draw_sample

    parent = flow(draw_sample, name="parent", persist_result=False, validate_parameters=False)
    options: dict[str, Any] = {"seed": 3, "device": "cpu", "workspace": Workspace(str(store), "runs/a/1")}
    drawn: TableRef = parent(reference_generator(str(generator)), SPLIT, section, None, cluster, **options)
    return drawn


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_server")
def test_two_dask_workers_draw_the_bytes_of_one_process(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    table = pd.DataFrame({"x": random.normal(0, 1, 300), "level": random.choice(["a", "b"], 300)})
    TVAE(epochs=1, seed=1, **SMALL).fit(table).save(tmp_path / "generator")
    section = SampleSection(rows=10_000, rows_per_part=2_500)
    one = draw(section, tmp_path / "generator", tmp_path / "one")
    two = draw(section, tmp_path / "generator", tmp_path / "two", TWO)
    assert two.digest == one.digest
    assert [part.rows for part in two.parts] == [2_500] * 4
    stored = open_store(tmp_path / "two")
    assert [stored.checksum(f"runs/a/1/sample/part-0000{i}.parquet").sha256 for i in range(4)] == [
        part.sha256 for part in one.parts
    ]
    # Again, and where it is drawn makes no difference: what lies there whole is reused.
    assert draw(section, tmp_path / "generator", tmp_path / "two", TWO) == two


@pytest.mark.long
@pytest.mark.usefixtures("prefect_server")
def test_workers_map_no_fresh_pages_for_every_tensor() -> None:
    from prefect import flow, task

    from flows.shards import _on

    @task
    def variables() -> dict[str, str]:
        return dict(os.environ)

    @flow(persist_result=False)
    def look() -> dict[str, str]:
        seen: dict[str, str] = variables.submit().result()
        return seen

    seen = _on(TWO, look)()
    assert "MALLOC_TRIM_THRESHOLD_" not in seen
    assert seen["OMP_NUM_THREADS"] == "1"  # what else Dask starts its workers with is kept


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_server")
def test_rows_that_a_unique_constraint_ties_together_are_drawn_by_one_process(tmp_path: Path) -> None:
    pairs = np.random.default_rng(0).permutation(40 * 24)[:600]
    table = pd.DataFrame({"place": [f"p{p // 24}" for p in pairs], "hour": pairs % 24})
    schema = TableSchema(infer_schema(table).columns, constraints=(Unique(("place", "hour")),))
    TVAE(epochs=1, seed=1, protect_k=0, **SMALL).fit(table, schema).save(tmp_path / "generator")
    section = SampleSection(rows=500, rows_per_part=200)
    one = draw(section, tmp_path / "generator", tmp_path / "one")
    two = draw(section, tmp_path / "generator", tmp_path / "two", TWO)
    assert two.digest == one.digest
    parts = sorted((tmp_path / "two" / "runs/a/1/sample").glob("*.parquet"))
    rows = pd.concat(pq.read_table(part).to_pandas() for part in parts)
    assert len(rows) == 500
    assert not rows.duplicated(["place", "hour"]).any()


@pytest.mark.long
@pytest.mark.usefixtures("prefect_server")
def test_a_run_spread_over_two_processes_publishes_the_release_of_one(
    config_file: Path, tmp_path: Path
) -> None:
    """Validation of two parts, sampling of two parts, and scoring; scores.json is part of the release's digest."""
    from flows.synthesize import synthesize

    parts = tmp_path / "parts"
    parts.mkdir()
    for number in (0, 1):
        pq.write_table(people().slice(number * 150, 150 + number * 100), parts / f"{number}.parquet")
    one, two = (
        synthesize(**load_config(config_file, [f"input={parts}", *overrides]).parameters())
        for overrides in ([], [f"store={tmp_path / 'other'}", "cluster.workers=2"])
    )
    assert two["digest"] == one["digest"]
    reports = [next((tmp_path / store / "runs").rglob("validation.json")) for store in ("store", "other")]
    assert reports[0].read_bytes() == reports[1].read_bytes()
    pages = [next((tmp_path / store / "runs").rglob("report-*.html")) for store in ("store", "other")]
    assert pages[0].read_bytes() == pages[1].read_bytes()


def test_where_parts_are_made_does_not_decide_what_they_are(config_file: Path) -> None:
    from tasks.references import FileRef
    from tasks.services.planning import plan_run
    from tasks.services.tables import reference_table

    plans = [
        plan_run(config, reference_table(config.input), FileRef("file:///schema.yaml", "0" * 64, 1))
        for config in (load_config(config_file), load_config(config_file, ["cluster.workers=8"]))
    ]
    assert plans[0] == plans[1]


@pytest.mark.parametrize("address", ["http://host:8786", "tcp://host", "tcp://user:secret@host:1"])
def test_a_cluster_s_address_is_a_scheduler_s_and_carries_no_credentials(address: str) -> None:
    with pytest.raises(ValidationError, match="address"):
        ClusterSection(address=address)
