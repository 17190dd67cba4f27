"""Score the stored sample of a run again, with other targets, limits or rules, or with newer code."""

from typing import Any

from prefect import flow

from configs.form import explain_arguments
from configs.gate import GateSection
from configs.run import Name, ScoreSection, StoreAddress, StoredRun
from flows.notices import tell_of_failure
from flows.shards import check_table, measure_sample
from tasks.gate import decide_release
from tasks.ingest import plan_run
from tasks.measuring import show_costs
from tasks.run_record import keep_run, read_run

EXPLANATIONS = {
    "name": "Name of the dataset.",
    "store": "Where the run was kept: a directory, file:///... or s3://bucket/prefix.",
    "run": "The run, as its log and its artifacts name it: runs/NAME/RUN.",
    "score": "What is measured. Empty: as in that run.",
    "gate": "What a release must reach. Empty: as in that run.",
}


@flow(
    name="score-release",
    persist_result=False,
    description="Score a run's stored sample, and ask the gate.",
    on_completion=[show_costs],
    on_failure=[show_costs, tell_of_failure],
)
@explain_arguments(EXPLANATIONS)
def score_release(
    *,
    name: Name,
    store: StoreAddress,
    run: StoredRun,
    score: ScoreSection | None = None,
    gate: GateSection | None = None,
) -> dict[str, Any]:
    """Neither train nor sample: score the rows that a run has drawn. Nothing is published.

    Ends Failed when the scores miss a critical rule. What comes out is a run of its own, unless nothing differs;
    `publish-release` publishes it.
    """
    stored = read_run(store, name, run)
    changes = {"score": score, "gate": gate}
    config = stored.config.model_copy(update={key: new for key, new in changes.items() if new is not None})
    plan = plan_run(config, stored.split.table, stored.schema)
    record = keep_run(
        config, plan, schema=stored.schema, split=stored.split,
        generator=stored.generator, synthetic=stored.synthetic,
    )  # fmt: skip
    check_table(stored.split.table, stored.schema, config.expectations, plan.workspace, config.cluster)
    scores = measure_sample(record)
    verdict = decide_release(record, scores)
    return {
        "name": name,
        "run": plan.workspace.prefix.rpartition("/")[2],
        "verdict": verdict.uri,
        "figures": scores.figures,
    }
