"""Everything that a recipient gets, put together in the run's workspace before anything is published.

    package-VERSION/data/part-00000.parquet …, csv/ …, data_card.json|md, model_card.json|md, croissant.json, SHA256SUMS
    package-VERSION/package.json      the list of the files, by address and digest, and what the manifest will say

Publishing then needs the list alone: whoever approves a release approves these bytes.
"""

import hashlib
import json
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from tasks.references import FileRef, PackageRef, PartRef, PublishedRelease, TableRef
from tasks.services.cards import (
    SYNTHETIC,
    Facts,
    data_card,
    data_card_markdown,
    model_card,
    model_card_markdown,
)
from tasks.services.croissant import croissant
from tasks.services.directories import MANIFEST, local_copy
from tasks.services.marks import mark_part
from tasks.services.planning import read_schema
from tasks.services.publishing import Publication, publish_release
from tasks.services.release_manifest import release_prefix
from tasks.services.sealing import signing_key
from tasks.services.store import Store, StoreError, open_store, split_uri
from tasks.services.workspace import RunFiles
from tvae_core.errors import DigestError

SUMS = "SHA256SUMS"
REPORT = "report."
"""What the report's path begins with. It may say how long a run took, so it is not part of the release's digest."""


@dataclass(frozen=True)
class Ingredients:
    """What the stages left in the store, by reference.

    Attributes:
        name, version: of the release.
        synthetic: the rows, as they were drawn.
        documents: path in the release to file: schema.yaml, scores.json, verdict.json, validation.json, the report, …
        lineage: where the rows come from.
        terms: licence, intended_use, contact.
        csv: whether the rows come as CSV too.
    """

    name: str
    version: str
    synthetic: TableRef
    documents: Mapping[str, FileRef]
    lineage: Mapping[str, Any]
    terms: Mapping[str, str | None]
    csv: bool = False


def assemble_package(files: RunFiles, ingredients: Ingredients) -> PackageRef:
    """Write what a release holds beside `ingredients` into the workspace; the same ingredients give the same bytes.

    Raises DigestError when a file is not what its reference says, StoreError when the store is at fault.
    """
    folder = f"package-{ingredients.version}"
    parts, csv, schema = _rows(files, folder, ingredients)
    columns = [{"name": column.name, "type": str(column.type)} for column in schema]
    verdict = _read(ingredients.documents["verdict.json"])
    scores = _read(ingredients.documents["scores.json"])
    facts = Facts(
        name=ingredients.name,
        version=ingredients.version,
        lineage=ingredients.lineage,
        terms=ingredients.terms,
        schema=read_schema(ingredients.documents["schema.yaml"].uri),
        columns=columns,
        verdict=verdict,
        scores=scores,
    )
    data, model = data_card(facts), model_card(facts)
    described = croissant(ingredients.name, ingredients.version, SYNTHETIC, parts, schema, ingredients.terms)
    listed: dict[str, FileRef] = {
        **parts,
        **csv,
        **ingredients.documents,
        "data_card.json": files.write_json(f"{folder}/data_card.json", data),
        "data_card.md": files.write_text(f"{folder}/data_card.md", data_card_markdown(data)),
        "model_card.json": files.write_json(f"{folder}/model_card.json", model),
        "model_card.md": files.write_text(f"{folder}/model_card.md", model_card_markdown(model)),
        "croissant.json": files.write_json(f"{folder}/croissant.json", described),
    }
    stable = sorted(path for path in listed if not path.startswith(REPORT))
    listed[SUMS] = files.write_text(f"{folder}/{SUMS}", checksums(listed))
    document = {
        "files": {path: asdict(reference) for path, reference in listed.items()},
        "digest_over": stable,
        "manifest": {
            "synthetic": True,
            "columns": columns,
            "lineage": ingredients.lineage,
            "terms": ingredients.terms,
            "gate": verdict,
            "figures": scores["figures"],
        },
    }
    listing = files.write_json(f"{folder}/package.json", document)
    return PackageRef(
        **asdict(listing),
        name=ingredients.name,
        version=ingredients.version,
        store=files.store.uri,
        rows=ingredients.synthetic.rows,
    )


def publish_package(package: PackageRef, about: Mapping[str, Any] | None = None) -> Publication:
    """Publish the files that the package lists, signed where TVAE_SIGNING_KEY holds a key; then remove what was staged.

    `about` joins the manifest: who approved it. Raises what `publishing.publish_release` raises, and SigningError.
    """
    document = _read(package)
    files = {path: _reference(plain) for path, plain in document["files"].items()}
    published = publish_release(
        open_store(package.store),
        package.name,
        package.version,
        files,
        {**document["manifest"], **(about or {})},
        digest_over=document["digest_over"],
        key=signing_key(),
    )
    with suppress(StoreError):  # the release stands; what is left here is swept later
        discard_package(package)
    return published


def refer_to(store: Store, manifest: Mapping[str, Any]) -> PublishedRelease:
    """The reference to the release that a manifest describes."""
    uri = store.uri_of(release_prefix(manifest["name"], manifest["version"]))
    report = next(entry["path"] for entry in manifest["files"] if entry["path"].startswith(REPORT))
    return PublishedRelease(
        uri=uri,
        name=manifest["name"],
        version=manifest["version"],
        digest=manifest["digest"],
        manifest_uri=f"{uri}/{MANIFEST}",
        report_uri=f"{uri}/{manifest['directory']}/{report}",
    )


def discard_package(package: PackageRef) -> None:
    """Remove what was staged for a release: it was published, or never will be."""
    store = open_store(package.store)
    for key in list(store.list(f"{package_folder(package)}/")):
        store.delete(key)


def package_folder(package: PackageRef) -> str:
    """The folder of the store in which a package is staged."""
    return package.uri.removeprefix(f"{package.store}/").rpartition("/")[0]


def read_package(package: PackageRef) -> Any:
    """What a package lists: its files, and what the manifest will say. Raises DigestError when it was altered."""
    return _read(package)


def checksums(listed: Mapping[str, FileRef]) -> str:
    """The lines that ``sha256sum -c`` reads, from inside the release's directory of files."""
    return "".join(f"{listed[path].sha256}  {path}\n" for path in sorted(listed))


def _rows(
    files: RunFiles, folder: str, ingredients: Ingredients
) -> tuple[dict[str, PartRef], dict[str, PartRef], pa.Schema]:
    """The parts, marked as synthetic, and as CSV where that is wanted; one part at a time lies on this machine."""
    marks = {
        "synthetic": "true",
        "generator_digest": ingredients.lineage["generator"]["digest"],
        "release_name": ingredients.name,
        "release_version": ingredients.version,
    }
    parts: dict[str, PartRef] = {}
    csv: dict[str, PartRef] = {}
    for number, part in enumerate(ingredients.synthetic.parts):
        stem = f"part-{number:05}"
        with (
            local_copy(files.store, part) as drawn,
            tempfile.TemporaryDirectory(prefix="tvae-package-") as scratch,
        ):
            marked = Path(scratch) / "marked.parquet"
            mark_part(drawn, marked, marks)
            schema = pq.read_schema(marked)
            path = f"data/{stem}.parquet"
            parts[path] = _keep(files, f"{folder}/{path}", marked, part.rows)
            if ingredients.csv:
                path = f"csv/{stem}.csv"
                _write_csv(marked, Path(scratch) / "part.csv")
                csv[path] = _keep(files, f"{folder}/{path}", Path(scratch) / "part.csv", part.rows)
    return parts, csv, schema


def _keep(files: RunFiles, name: str, path: Path, rows: int) -> PartRef:
    return PartRef(**asdict(files.store.put_file(files.key(name), path)), rows=rows)


def _write_csv(source: Path, target: Path) -> None:
    with pq.ParquetFile(source) as file:
        plain = pa.schema([(column.name, _plain(column.type)) for column in file.schema_arrow])
        with pyarrow.csv.CSVWriter(target, plain) as writer:
            for batch in file.iter_batches():
                writer.write_table(pa.Table.from_batches([batch]).cast(plain))


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _read(reference: FileRef) -> Any:
    """A JSON document, checked against its reference."""
    root, key = split_uri(reference.uri)
    content = open_store(root).get_bytes(key)
    if hashlib.sha256(content).hexdigest() != reference.sha256:
        raise DigestError(
            f"{reference.uri} was altered since it was referred to: run the stage that wrote it again"
        )
    return json.loads(content)


def _reference(plain: Mapping[str, Any]) -> FileRef:
    return PartRef(**plain) if "rows" in plain else FileRef(**plain)
