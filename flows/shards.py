"""Stages spread over many processes: parts of them as tasks on a Dask cluster, the results those of one process."""

from typing import Any

from prefect import flow

from configs.cluster import ClusterSection
from configs.run import SampleSection
from tasks.measuring import measured
from tasks.references import FileRef, GeneratorRef, ScoresRef, SplitRef, TableRef, Workspace
from tasks.sample import count_rows, sample_counter, sample_part, sample_rows, ties_rows
from tasks.score import has_scores, keep_scores, score_group, score_sample
from tasks.services.run_record import RunRecord
from tasks.services.sampling import find_sample, keep_sample, part_ranges
from tasks.services.scores import Scores
from tasks.services.scoring.groups import GROUPS
from tasks.services.tables import cut_table
from tasks.services.workspace import RunFiles
from tasks.validate import count_shard, validate_input
from tvae_core.errors import SettingsError

SHARDS = 64
"""Most shards that a table is validated in: each costs seconds before its first row is read."""


def check_table(
    table: TableRef,
    schema: FileRef,
    expectations: str | None,
    workspace: Workspace,
    cluster: ClusterSection,
) -> FileRef:
    """Validate the table in this process, or its parts on a cluster where there are several of both.

    Raises what `validate_input` raises, and SettingsError when the cluster's packages are not installed.
    """
    spread = cluster.spreads and len(table.parts) > 1
    validate = measured("validate")(_on(cluster, validate_on_cluster) if spread else validate_input)
    report: FileRef = validate(table, schema, expectations, workspace)
    return report


@flow(name="validate", persist_result=False, validate_parameters=False)
def validate_on_cluster(
    table: TableRef, schema: FileRef, expectations: str | None, workspace: Workspace
) -> FileRef:
    """Count each shard's rows as a task of its own; what needs whole columns is checked in this process."""
    counting = [
        count_shard.submit(first, shard, schema, expectations) for first, shard in cut_table(table, SHARDS)
    ]
    counted = [shard.result() for shard in counting]
    return validate_input(table, schema, expectations, workspace, counted)


def draw_sample(
    generator: GeneratorRef,
    split: SplitRef,
    section: SampleSection,
    known: TableRef | None,
    cluster: ClusterSection,
    *,
    workspace: Workspace,
    **options: Any,
) -> TableRef:
    """Draw the sample in this process, or its parts on a cluster.

    `options` are those of `sample_rows`. Raises SettingsError when the cluster's packages are not installed.
    """
    here = not cluster.spreads or find_sample(RunFiles(workspace)) is not None or ties_rows(generator)
    if here:
        table: TableRef = sample_rows(generator, split, section, known, workspace=workspace, **options)
        return table
    on_cluster = measured("sample")(_on(cluster, sample_on_cluster))
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


def measure_sample(run: RunRecord) -> ScoresRef:
    """Score the run's sample in this process, or each group of figures on a cluster.

    Raises what `score_sample` raises, and SettingsError when the cluster's packages are not installed.
    """
    if not run.config.cluster.spreads or has_scores(run):
        scores: ScoresRef = score_sample(run)
        return scores
    measured_there: ScoresRef = measured("score")(_on(run.config.cluster, score_on_cluster))(run)
    return measured_there


@flow(name="score", persist_result=False, validate_parameters=False)
def score_on_cluster(run: RunRecord) -> ScoresRef:
    """Compute each group of figures as a task of its own, and keep them together in their order."""
    scoring = [score_group.submit(group, run) for group in GROUPS]
    scores = Scores()
    for group in scoring:
        scores.join(group.result())
    return keep_scores(run, scores)


def _on(cluster: ClusterSection, spread: Any) -> Any:
    """The flow with its tasks on the cluster."""
    try:
        from prefect_dask.task_runners import DaskTaskRunner
    except ImportError:
        raise SettingsError(
            "cluster.workers and cluster.address need the packages of a Dask cluster: pip install 'tvae-pipeline[dask]'"
        ) from None
    if cluster.address is not None:
        return spread.with_options(task_runner=DaskTaskRunner(address=cluster.address))
    _keep_glibc_thresholds()
    # One thread a worker: its core. Nothing listens beyond this machine.
    local = {
        "n_workers": cluster.workers,
        "threads_per_worker": 1,
        "host": "127.0.0.1",
        "dashboard_address": "127.0.0.1:0",
    }
    return spread.with_options(task_runner=DaskTaskRunner(cluster_kwargs=local))


def _keep_glibc_thresholds() -> None:
    """Start the workers that follow without Dask's MALLOC_TRIM_THRESHOLD_.

    It gives freed memory back at once, and keeps glibc from raising the size above which blocks are mapped one by one:
    every tensor of 128 KB would come as fresh pages, and drawing would take twice as long.
    """
    import dask

    name = "distributed.nanny.pre-spawn-environ"
    kept = {k: v for k, v in dask.config.get(name).items() if k != "MALLOC_TRIM_THRESHOLD_"}
    dask.config.set({name: kept})
