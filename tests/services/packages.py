"""A small release, put together and published as a run does it, without a run."""

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml

from configs import shipped_policy
from tasks.references import FileRef, PackageRef, PartRef, TableRef, Workspace
from tasks.services.gate import apply_policy
from tasks.services.package import Ingredients, assemble_package, publish_package
from tasks.services.store import open_store
from tasks.services.tables import table_digest
from tasks.services.workspace import RunFiles
from tests.conftest import PEOPLE_SCHEMA, people

FIGURES = {"fidelity.shape": 0.97, "fidelity.trend": 0.93, "privacy.dcr_share": 0.51}
TERMS = {"licence": "CC-BY-4.0", "intended_use": "teaching", "contact": "data@example.org"}
LINEAGE: dict[str, Any] = {
    "synthetic": {"rows": 300, "digest": "5" * 64},
    "input": {"rows": 400, "digest": "1" * 64},
    "split": {"train_rows": 320, "holdout_rows": 80, "holdout_fraction": 0.2, "entity": "person"},
    "generator": {"name": "people", "version": "g1", "digest": "9" * 64},
    "seed": 7,
    "model": {"preset": "default", "epochs": 3},
    "code": "0.1.0",
    "packages": {"torch": "2"},
}


def ingredients(store: str | Path, version: str = "v1", **changes: Any) -> tuple[RunFiles, Ingredients]:
    """What the stages of a run leave in the store, 300 rows in two parts."""
    files = RunFiles(Workspace(open_store(store).uri, "runs/people/k"))
    table = people(300)
    parts = []
    for number, (start, rows) in enumerate([(0, 200), (200, 100)]):
        name = files.key(f"sample/part-{number:05}.parquet")
        with io.BytesIO() as drawn:
            pq.write_table(table.slice(start, rows), drawn, compression="zstd", row_group_size=64)
            put = files.store.put_bytes(name, drawn.getvalue())
        parts.append(PartRef(put.uri, put.sha256, put.size, rows))
    verdict = apply_policy(FIGURES, shipped_policy("internal").for_targets(["smoker"]))
    scores = {"figures": FIGURES, "reasons": {"utility.smoker.tstr": "one class"}, "details": {}}
    documents: dict[str, FileRef] = {
        "schema.yaml": files.write_text("schema.yaml", yaml.safe_dump(PEOPLE_SCHEMA, sort_keys=False)),
        "scores.json": files.write_json("scores.json", scores),
        "verdict.json": files.write_json("verdict.json", json.loads(json.dumps(verdict.to_dict()))),
        "validation.json": files.write_json("validation.json", {"passed": True}),
        "report.md": files.write_text("report.md", "# Report\n"),
    }
    synthetic = TableRef(files.store.uri_of(files.key("sample")), table_digest(parts), 300, tuple(parts))
    made = Ingredients("people", version, synthetic, documents, LINEAGE, TERMS)
    return files, replace(made, **changes)


def assemble(store: str | Path, version: str = "v1", **changes: Any) -> PackageRef:
    files, made = ingredients(store, version, **changes)
    return assemble_package(files, made)


def publish(store: str | Path, version: str = "v1", **changes: Any) -> Path:
    """Publish a small release; returns its directory (of a local store)."""
    published = publish_package(assemble(store, version, **changes))
    return Path(published.uri.removeprefix("file://"))
