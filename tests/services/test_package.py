"""The package: what a recipient finds in a release, and that each piece is what its readers expect."""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from tasks.services.marks import mark_part
from tasks.services.publishing import load_release, verify_release
from tasks.services.store import open_store
from tests.conftest import people
from tests.services.packages import FIGURES, LINEAGE, TERMS, assemble, publish


def folder(release: Path) -> Path:
    (found,) = release.glob("files-*")
    return found


def test_a_release_holds_its_rows_its_cards_its_metadata_and_its_checksums(tmp_path: Path) -> None:
    files = folder(publish(tmp_path))
    found = {str(path.relative_to(files)) for path in files.rglob("*") if path.is_file()}
    assert found == {
        "data/part-00000.parquet", "data/part-00001.parquet", "schema.yaml", "scores.json", "verdict.json",
        "validation.json", "report.md", "data_card.json", "data_card.md", "model_card.json", "model_card.md",
        "croissant.json", "SHA256SUMS",
    }  # fmt: skip
    assert verify_release(open_store(tmp_path), "people", "v1") == []


def test_the_parts_keep_rows_and_schema_and_say_that_they_are_synthetic(tmp_path: Path) -> None:
    files = folder(publish(tmp_path))
    parts = [pq.read_table(path) for path in sorted(files.glob("data/*.parquet"))]
    assert pa.concat_tables(parts).equals(people(300))
    for part in parts:
        assert part.schema.metadata == {
            b"synthetic": b"true",
            b"generator_digest": b"9" * 64,
            b"release_name": b"people",
            b"release_version": b"v1",
        }


def test_sha256sum_accepts_the_checksums(tmp_path: Path) -> None:
    files = folder(publish(tmp_path, csv=True))
    done = subprocess.run(
        ["sha256sum", "--strict", "-c", "SHA256SUMS"], cwd=files, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(": OK") == len([path for path in files.rglob("*") if path.is_file()]) - 1


def test_the_metadata_is_valid_croissant_and_its_loader_finds_the_rows(tmp_path: Path) -> None:
    files = folder(publish(tmp_path))
    script = """
import json, sys
import mlcroissant
dataset = mlcroissant.Dataset(sys.argv[1])
assert not dataset.metadata.ctx.issues.errors, dataset.metadata.ctx.issues.report()
rows = list(dataset.records("rows"))
fields = {field.id: field.name for field in dataset.metadata.record_sets[0].fields}
print(json.dumps([len(rows), list(fields.values()), rows[0]["rows/1"], dataset.metadata.license]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(files / "croissant.json")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    table = people(300)
    rows, names, age, licence = json.loads(done.stdout)
    assert (rows, names, licence) == (300, table.column_names, ["CC-BY-4.0"])
    assert age == table.column("age")[0].as_py()


def test_the_cards_state_terms_origin_figures_and_what_was_not_measured_and_hold_no_value(
    tmp_path: Path,
) -> None:
    files = folder(publish(tmp_path))
    data, model = (json.loads((files / f"{name}_card.json").read_text()) for name in ("data", "model"))
    assert {key: data[key] for key in TERMS} == TERMS
    assert (data["synthetic"], data["rows"], data["gate"]["policy"]) == (True, 300, "internal")
    assert data["columns"][1] == {"name": "age", "type": "int64", "kind": "continuous"}
    assert data["origin"]["input_digest"] == LINEAGE["input"]["digest"]
    shape = next(rule for rule in data["gate"]["rules"] if rule["metric"] == "fidelity.shape")
    assert (shape["value"], shape["bounds"], shape["result"]) == (0.97, ">= 0.9", "passed")
    assert data["not_measured"] == {"utility.smoker.tstr": "one class"}
    assert {name: body["value"] for name, body in model["measured"].items()} == FIGURES
    assert model["trained_on"]["rows"] == 320
    pages = "".join((files / f"{name}_card.md").read_text() for name in ("data", "model"))
    for word in ("teaching", "data@example.org", "synthetic", "0.9700", "320"):
        assert word in pages
    for value in ("Aachen", "p00001"):
        assert value not in pages + json.dumps([data, model])


def test_what_is_not_stated_is_said_to_be_so(tmp_path: Path) -> None:
    files = folder(publish(tmp_path, terms=dict.fromkeys(TERMS)))
    assert (files / "data_card.md").read_text().count("not stated") == 3
    assert "license" not in json.loads((files / "croissant.json").read_text())


def test_csv_holds_the_same_rows_where_it_is_asked_for(tmp_path: Path) -> None:
    files = folder(publish(tmp_path, csv=True))
    tables = [pyarrow.csv.read_csv(path) for path in sorted(files.glob("csv/*.csv"))]
    assert [table.num_rows for table in tables] == [200, 100]
    assert pa.concat_tables(tables).column("age").to_pylist() == people(300).column("age").to_pylist()
    assert tables[0].column("income").null_count == people(300).slice(0, 200).column("income").null_count


def test_the_manifest_says_where_the_rows_come_from_and_what_every_rule_found(tmp_path: Path) -> None:
    publish(tmp_path)
    manifest = load_release(open_store(tmp_path), "people", "v1")
    assert manifest["lineage"] == LINEAGE
    assert manifest["terms"] == TERMS
    assert manifest["figures"] == FIGURES
    results = {result["metric"]: result for result in manifest["gate"]["results"]}
    assert results["privacy.dcr_share"]["passed"]
    assert not results["fidelity.diagnostic"]["passed"]  # it was not computed
    assert manifest["signature"] is None


def test_what_was_staged_is_removed_once_it_is_published(tmp_path: Path) -> None:
    publish(tmp_path)
    assert not [key for key in open_store(tmp_path).list("runs/") if "/package-" in key]


def test_the_same_ingredients_make_the_same_package_in_another_store(tmp_path: Path) -> None:
    first, second = publish(tmp_path / "a"), publish(tmp_path / "b")
    assert folder(first).name == folder(second).name


def test_another_report_is_the_same_release(tmp_path: Path) -> None:
    from tasks.services.package import publish_package
    from tests.services.packages import ingredients

    publish(tmp_path)
    files, made = ingredients(tmp_path)
    documents = {**made.documents, "report.md": files.write_text("report.md", "# Made a minute later\n")}
    again = publish_package(assemble(tmp_path, documents=documents))
    assert again.already_published
    assert verify_release(open_store(tmp_path), "people", "v1") == []


@pytest.mark.parametrize("compression", ["zstd", "snappy", "none"])
def test_a_mark_leaves_every_page_as_it_is(tmp_path: Path, compression: str) -> None:
    table = people(500).append_column(
        "level", pa.array(["low", "high"] * 250).dictionary_encode()
    ).replace_schema_metadata({"pandas": "{}"})  # fmt: skip
    source, target = tmp_path / "a.parquet", tmp_path / "b.parquet"
    pq.write_table(table, source, compression=compression, row_group_size=120, write_page_index=True)
    mark_part(source, target, {"synthetic": "true"})
    marked = pq.read_table(target)
    assert marked.equals(table)
    assert marked.schema.metadata == {b"pandas": b"{}", b"synthetic": b"true"}
    pages = source.stat().st_size - 8 - int.from_bytes(source.read_bytes()[-8:-4], "little")
    assert target.read_bytes()[:pages] == source.read_bytes()[:pages]
    assert (
        pq.read_table(target, filters=[("age", ">", 60)]).num_rows
        == table.filter(pa.compute.greater(table["age"], 60)).num_rows
    )
