"""Publish the stored sample of a run whose scores are known."""

from typing import Any

from prefect import flow

from configs.form import explain_arguments
from configs.run import Name, StoreAddress, StoredRun
from flows.approval import awaiting, settle_approval
from flows.notices import tell_of_failure
from flows.score_release import EXPLANATIONS
from flows.shards import measure_sample
from flows.synthesize import summarise
from tasks import publish
from tasks.gate import decide_release
from tasks.measuring import show_costs
from tasks.package import assemble_release
from tasks.run_record import find_validation, read_run


@flow(
    name="publish-release",
    persist_result=False,
    description="Publish a run's stored sample, if the gate lets it.",
    on_completion=[show_costs],
    on_failure=[show_costs, tell_of_failure],
)
@explain_arguments({key: EXPLANATIONS[key] for key in ("name", "store", "run")})
def publish_release(*, name: Name, store: StoreAddress, run: StoredRun) -> Any:
    """Publish the rows that a run has drawn, under the version that its inputs and rules decide.

    Ends Failed when the scores miss a critical rule. Nothing is trained, drawn or, where scores exist, measured.
    """
    stored = read_run(store, name, run)
    validation = find_validation(stored.plan)
    scores = measure_sample(stored)
    verdict = decide_release(stored, scores)
    package = assemble_release(
        stored.config, stored.plan, schema=stored.schema, validation=validation, split=stored.split,
        generator=stored.generator, synthetic=stored.synthetic, scores=scores, verdict=verdict,
    )  # fmt: skip
    approval = settle_approval(package, stored.config.release)
    if approval.waits:
        return awaiting(approval, stored.generator.uri, scores.figures)
    published = publish.publish_release(package, approval.about)
    return summarise(published, stored.generator.uri, scores.figures)
