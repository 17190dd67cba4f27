"""Stage 6: draw synthetic rows from the stored generator alone."""

import itertools
import tempfile
from pathlib import Path

from prefect import task

from configs.run import SampleSection
from tasks.measuring import measured, reuse
from tasks.progress import ProgressArtifact, row_counter
from tasks.references import GeneratorRef, PartRef, SplitRef, TableRef, Workspace
from tasks.services.generators import open_generator
from tasks.services.keys import derive_seed
from tasks.services.sampling import sample_parts
from tasks.services.tables import read_whole, table_digest
from tasks.services.workspace import RunFiles, table_from_json, table_to_json
from tasks.stage import STAGE

MANIFEST = "sample/manifest.json"


@task(name="sample", **STAGE)
@measured("sample")
def sample_rows(
    generator: GeneratorRef,
    split: SplitRef,
    section: SampleSection,
    known: TableRef | None,
    *,
    seed: int,
    device: str,
    workspace: Workspace,
) -> TableRef:
    """Write the parts one by one into the workspace, then their manifest, unless it is there already.

    With a table of `known` cells, a row is drawn for each of its rows.
    """
    files = RunFiles(workspace)
    if files.has(MANIFEST):
        reuse("sample", f"these rows exist already and are reused: {files.store.uri_of(files.key('sample'))}")
        return table_from_json(files.read_json(MANIFEST))
    options = section.options()
    if known is not None:
        options["given"] = read_whole(known)
    rows = known.rows if known is not None else section.rows or split.train_rows
    key = f"sampling-{workspace.prefix.rpartition('/')[2]}"
    parts = []
    with (
        open_generator(generator.uri, device=device, digest=generator.digest) as tvae,
        tempfile.TemporaryDirectory(prefix="tvae-sample-") as folder,
    ):
        targets = (Path(folder) / f"part-{number:05}.parquet" for number in itertools.count())
        drawn = sample_parts(
            tvae,
            rows,
            section.rows_per_part,
            seed=derive_seed(seed, "sample"),
            targets=targets,
            on_rows=row_counter("sample", ProgressArtifact(key, "Rows drawn, of those planned")),
            **options,
        )
        for path, count in drawn:
            kept = files.store.put_file(files.key(f"sample/{path.name}"), path)
            parts.append(PartRef(kept.uri, kept.sha256, kept.size, count))
            path.unlink()  # the disk holds one part at a time
    uri = files.store.uri_of(files.key("sample"))
    table = TableRef(uri=uri, digest=table_digest(parts), rows=rows, parts=tuple(parts))
    files.write_json(MANIFEST, table_to_json(table))
    return table
