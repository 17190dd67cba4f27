"""Stage 6: draw synthetic rows from the stored generator alone, in this process or on a cluster."""

import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prefect import task

from configs.run import SampleSection
from tasks.measuring import measured, reuse
from tasks.progress import ProgressArtifact, row_counter, say
from tasks.references import GeneratorRef, PartRef, SplitRef, TableRef, Workspace
from tasks.services.generators import open_generator
from tasks.services.keys import derive_seed
from tasks.services.sampling import find_sample, keep_part, keep_sample, sample_parts, write_sample
from tasks.services.tables import read_whole
from tasks.services.workspace import RunFiles
from tasks.stage import STAGE


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
    """Write the parts one by one into the workspace, then their manifest, unless they are there already and whole.

    With a table of `known` cells, a row is drawn for each of its rows.
    """
    files = RunFiles(workspace)
    if (found := find_sample(files)) is not None:
        reuse("sample", f"these rows exist already and are reused: {found.uri}")
        return found
    parts = []
    with (
        open_generator(generator.uri, device=device, digest=generator.digest) as tvae,
        tempfile.TemporaryDirectory(prefix="tvae-sample-") as folder,
    ):
        drawn = sample_parts(
            tvae,
            count_rows(section, known, split),
            section.rows_per_part,
            seed=derive_seed(seed, "sample"),
            targets=(Path(folder) / part_name(number) for number in itertools.count()),
            on_rows=sample_counter(workspace),
            **_options(section, known),
        )
        for path, rows in drawn:
            parts.append(keep_part(files, path, rows))
            path.unlink()  # the disk holds one part at a time
    return keep_sample(files, parts)


@task(name="sample-part", **STAGE)
def sample_part(
    number: int,
    part: tuple[int, int],
    *,
    generator: GeneratorRef,
    section: SampleSection,
    known: TableRef | None,
    seed: int,
    device: str,
    workspace: Workspace,
) -> PartRef:
    """Draw one part (its first row, its number of rows) in whatever process this task runs in, and keep it."""
    first, rows = part
    with (
        open_generator(generator.uri, device=device, digest=generator.digest) as tvae,
        tempfile.TemporaryDirectory(prefix="tvae-sample-") as folder,
    ):
        path = Path(folder) / part_name(number)
        own_seed = derive_seed(seed, "sample")
        write_sample(tvae, rows, path, seed=own_seed, first=first, **_options(section, known))
        return keep_part(RunFiles(workspace), path, rows)


@task(name="ties-rows", **STAGE)
def ties_rows(generator: GeneratorRef) -> bool:
    """Whether a `unique` constraint ties each row of the generator to those before it, so that one process draws."""
    with open_generator(generator.uri, device="cpu", digest=generator.digest) as tvae:
        tied = bool(tvae.constraints_.unique)
    if tied:
        say("sample", "a `unique` constraint ties each row to those before it: one process draws them all")
    return tied


def part_name(number: int) -> str:
    """The file name of a sample's part."""
    return f"part-{number:05}.parquet"


def count_rows(section: SampleSection, known: TableRef | None, split: SplitRef) -> int:
    """How many rows a sample has."""
    return known.rows if known is not None else section.rows or split.train_rows


def sample_counter(workspace: Workspace) -> Callable[[int, int], None]:
    """A callback ``(done, total)`` that shows how far the sample of this workspace is."""
    key = f"sampling-{workspace.prefix.rpartition('/')[2]}"
    return row_counter("sample", ProgressArtifact(key, "Rows drawn, of those planned"))


def _options(section: SampleSection, known: TableRef | None) -> dict[str, Any]:
    return section.options() if known is None else section.options() | {"given": read_whole(known)}
