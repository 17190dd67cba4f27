"""One sample drawn by many processes: its parts as tasks on a Dask cluster, the rows those of one process."""

from typing import Any

from prefect import flow

from configs.run import SampleSection
from tasks.measuring import measured
from tasks.references import GeneratorRef, SplitRef, TableRef, Workspace
from tasks.sample import count_rows, sample_counter, sample_part, sample_rows
from tasks.services.sampling import find_sample, keep_sample, part_ranges
from tasks.services.workspace import RunFiles
from tvae_core.errors import SettingsError


def draw_sample(
    generator: GeneratorRef,
    split: SplitRef,
    section: SampleSection,
    known: TableRef | None,
    *,
    workspace: Workspace,
    **options: Any,
) -> TableRef:
    """Draw the sample in this process, or on a cluster where the configuration names workers or a cluster.

    `options` are those of `sample_rows`. Raises SettingsError when the cluster's packages are not installed.
    """
    here = section.workers == 1 and section.cluster is None
    if here or find_sample(RunFiles(workspace)) is not None:
        table: TableRef = sample_rows(generator, split, section, known, workspace=workspace, **options)
        return table
    on_cluster = measured("sample")(sample_on_cluster.with_options(task_runner=_task_runner(section)))
    rows = count_rows(section, known, split)
    drawn: TableRef = on_cluster(
        rows, generator=generator, section=section, known=known, workspace=workspace, **options
    )
    return drawn


@flow(name="sample", persist_result=False, validate_parameters=False)
def sample_on_cluster(
    rows: int,
    *,
    generator: GeneratorRef,
    section: SampleSection,
    known: TableRef | None,
    seed: int,
    device: str,
    workspace: Workspace,
) -> TableRef:
    """Draw each part as a task of its own; their manifest is written when all are there."""
    count = sample_counter(workspace)
    drawing = [
        sample_part.submit(
            number, part, generator=generator, section=section, known=known, seed=seed, device=device,
            workspace=workspace,
        )
        for number, part in enumerate(part_ranges(rows, section.rows_per_part))
    ]  # fmt: skip
    parts = []
    for drawn in drawing:
        parts.append(drawn.result())
        count(sum(part.rows for part in parts), rows)
    return keep_sample(RunFiles(workspace), parts)


def _task_runner(section: SampleSection) -> Any:
    try:
        from prefect_dask.task_runners import DaskTaskRunner
    except ImportError:
        raise SettingsError(
            "sample.workers and sample.cluster need the packages of a Dask cluster: pip install 'tvae-pipeline[dask]'"
        ) from None
    if section.cluster is not None:
        return DaskTaskRunner(address=section.cluster)
    # One thread a worker: its core. Nothing listens beyond this machine.
    local = {
        "n_workers": section.workers,
        "threads_per_worker": 1,
        "host": "127.0.0.1",
        "dashboard_address": "127.0.0.1:0",
    }
    return DaskTaskRunner(cluster_kwargs=local)
