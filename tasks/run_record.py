"""Between sample and score: leave a record of the run, by which it can be scored or published again."""

from prefect import task

from configs import RunConfig
from tasks.progress import say
from tasks.references import FileRef, GeneratorRef, RunPlan, SplitRef, TableRef
from tasks.services.run_record import RunRecord, read_record, write_record
from tasks.services.workspace import RunFiles
from tasks.stage import RETRY_STORE, STAGE
from tasks.validate import REPORT


@task(name="keep-run", **STAGE, **RETRY_STORE)
def keep_run(
    config: RunConfig,
    plan: RunPlan,
    *,
    schema: FileRef,
    split: SplitRef,
    generator: GeneratorRef,
    synthetic: TableRef,
) -> RunRecord:
    """Write down what the run has made so far."""
    record = RunRecord(config, plan, schema, split, generator, synthetic)
    write_record(record)
    return record


@task(name="read-run", **STAGE, **RETRY_STORE)
def read_run(store: str, name: str, run: str) -> RunRecord:
    """Find the run called RUN of a dataset."""
    record = read_record(store, name, run)
    say("score", f"{record.synthetic.rows:,} synthetic rows of the run {name}/{run}")
    return record


@task(name="find-validation", **STAGE, **RETRY_STORE)
def find_validation(plan: RunPlan) -> FileRef:
    """Refer to the checks of the real table that this run has passed."""
    files = RunFiles(plan.workspace)
    return files.store.checksum(files.key(REPORT))
