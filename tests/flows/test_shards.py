"""Sampling on a Dask cluster: two worker processes draw, byte for byte, what one process draws."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from configs.run import SampleSection
from tasks.references import SplitRef, TableRef, Workspace
from tasks.services.generators import reference_generator
from tasks.services.store import open_store
from tvae_core import TVAE

SPLIT = SplitRef(TableRef("file:///none", "0" * 64, 2, ()), 0, 0.5, None, 1, 1)


def draw(section: SampleSection, generator: Path, store: Path) -> TableRef:
    """Draw a sample inside a flow, as `synthesize` does."""
    from prefect import flow

    from flows.shards import draw_sample

    parent = flow(draw_sample, name="parent", persist_result=False, validate_parameters=False)
    options: dict[str, Any] = {"seed": 3, "device": "cpu", "workspace": Workspace(str(store), "runs/a/1")}
    drawn: TableRef = parent(reference_generator(str(generator)), SPLIT, section, None, **options)
    return drawn


# Dask's own event loops and their sockets close after the cluster, where nobody waits for them.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.slow
@pytest.mark.usefixtures("prefect_server")
def test_two_dask_workers_draw_the_bytes_of_one_process(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    table = pd.DataFrame({"x": random.normal(0, 1, 300), "level": random.choice(["a", "b"], 300)})
    small: dict[str, Any] = {"compress_dims": (8,), "decompress_dims": (8,), "embedding_dim": 2}
    TVAE(epochs=1, seed=1, **small).fit(table).save(tmp_path / "generator")
    one = draw(SampleSection(rows=10_000, rows_per_part=2_500), tmp_path / "generator", tmp_path / "one")
    on_two = SampleSection(rows=10_000, rows_per_part=2_500, workers=2)
    two = draw(on_two, tmp_path / "generator", tmp_path / "two")
    assert two.digest == one.digest
    assert [part.rows for part in two.parts] == [2_500] * 4
    stored = open_store(tmp_path / "two")
    assert [stored.checksum(f"runs/a/1/sample/part-0000{i}.parquet").sha256 for i in range(4)] == [
        part.sha256 for part in one.parts
    ]
    # Again, and where it is drawn makes no difference: what lies there whole is reused.
    assert draw(on_two, tmp_path / "generator", tmp_path / "two") == two


def test_where_a_sample_is_drawn_does_not_decide_what_it_is() -> None:
    assert SampleSection(workers=8).identity() == SampleSection(cluster="tcp://host:8786").identity()
    assert SampleSection(rows=5).identity() != SampleSection().identity()


@pytest.mark.parametrize("address", ["http://host:8786", "tcp://host", "tcp://user:secret@host:1"])
def test_a_cluster_s_address_is_a_scheduler_s_and_carries_no_credentials(address: str) -> None:
    with pytest.raises(ValidationError, match="cluster"):
        SampleSection(cluster=address)
