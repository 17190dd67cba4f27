"""The main job: a real table in, a scored, gated and published synthetic release out."""

from typing import Any

from prefect import flow
from prefect.states import Completed

from configs import build_config
from configs.cluster import ClusterSection
from configs.form import explain_arguments
from configs.gate import GateSection
from configs.release import ReleaseSection
from configs.run import (
    Expectations,
    Force,
    GeneratorAddress,
    Input,
    Model,
    Name,
    RunConfig,
    SampleSection,
    SchemaChoice,
    ScoreSection,
    Seed,
    SplitSection,
    StoreAddress,
    TrainSection,
)
from flows.approval import awaiting, settle_approval
from flows.notices import tell_of_failure
from flows.pool import cancel_children, train_on_pool
from flows.shards import check_table, draw_sample, measure_sample
from flows.train_generator import train_generator
from tasks.gate import decide_release
from tasks.ingest import declare_schema, ingest_table, plan_run
from tasks.measuring import add_training_cost, show_costs
from tasks.nothing_new import find_published
from tasks.package import assemble_release
from tasks.publish import publish_release
from tasks.references import FileRef, GeneratorRef, PublishedRelease, RunPlan, SplitRef
from tasks.run_record import keep_run
from tasks.split import split_rows
from tasks.train import use_generator
from tvae_core.settings import ModelSettings


@flow(
    name="synthesize",
    persist_result=False,
    validate_parameters=False,  # Prefect would log a refused value; `build_config` names key and bounds
    description="Real table in; scored, gated, published synthetic release out.",
    on_completion=[show_costs],
    on_failure=[show_costs, tell_of_failure],
    on_cancellation=[cancel_children],
    on_crashed=[cancel_children],
)
@explain_arguments(RunConfig.explanations())
def synthesize(
    *,
    name: Name,
    input: Input,
    store: StoreAddress,
    seed: Seed = 0,
    table_schema: SchemaChoice = None,
    expectations: Expectations = None,
    split: SplitSection = SplitSection(),
    model: Model = ModelSettings(),
    train: TrainSection = TrainSection(),
    sample: SampleSection = SampleSection(),
    score: ScoreSection = ScoreSection(),
    gate: GateSection = GateSection(),
    release: ReleaseSection = ReleaseSection(),
    generator_uri: GeneratorAddress = None,
    force: Force = False,
    cluster: ClusterSection = ClusterSection(),
) -> Any:
    """Run the line from the real table to the published release, and return where everything lies.

    Ends Failed when the table breaks a critical expectation (nothing is trained) and when the scores miss a critical
    rule (nothing is published); "Awaiting approval" where `release.approval` is required. Run again, it reuses what is
    complete; when the release of this input, configuration and code exists, it ends at once as "Nothing new".
    """
    parameters = {
        "name": name, "input": input, "store": store, "seed": seed, "schema": table_schema,
        "expectations": expectations, "split": split, "model": model, "train": train, "sample": sample,
        "score": score, "gate": gate, "release": release, "generator_uri": generator_uri, "force": force,
        "cluster": cluster,
    }  # fmt: skip
    config: RunConfig = build_config(parameters, "the run's parameters")
    table = ingest_table(config.input)
    schema = declare_schema(table, config.table_schema, config.store, config.name)
    plan = plan_run(config, table, schema)
    standing = None if config.force else find_published(config, plan)
    if standing is not None:
        return Completed(
            name="Nothing new", message=f"nothing new since {standing.release.uri}", data=summarise(*standing)
        )
    validation = check_table(table, schema, config.expectations, plan.workspace, config.cluster)
    parts = split_rows(table, schema, config.split.holdout_fraction, config.seed)
    generator = obtain_generator(config, plan, parts, schema)
    device = config.train.device if config.train.where == "here" else "auto"
    synthetic = draw_sample(
        generator, parts, config.sample, plan.known, config.cluster,
        seed=config.seed, device=device, workspace=plan.workspace,
    )  # fmt: skip
    record = keep_run(config, plan, schema=schema, split=parts, generator=generator, synthetic=synthetic)
    scores = measure_sample(record)
    verdict = decide_release(record, scores)
    package = assemble_release(
        config, plan, schema=schema, validation=validation, split=parts,
        generator=generator, synthetic=synthetic, scores=scores, verdict=verdict,
    )  # fmt: skip
    approval = settle_approval(package, config.release)
    if approval.waits:
        return awaiting(approval, generator.uri, scores.figures)
    published = publish_release(package, approval.about)
    return summarise(published, generator.uri, scores.figures)


def summarise(release: PublishedRelease, generator: str, figures: dict[str, float]) -> dict[str, Any]:
    """Where everything lies, as plain values."""
    return {
        "name": release.name,
        "version": release.version,
        "release": release.uri,
        "manifest": release.manifest_uri,
        "digest": release.digest,
        "report": release.report_uri,
        "generator": generator,
        "figures": figures,
    }


def obtain_generator(config: RunConfig, plan: RunPlan, split: SplitRef, schema: FileRef) -> GeneratorRef:
    """The generator to sample from: a given one, or one trained here or on the gpu pool."""
    if config.generator_uri is not None:
        return use_generator(config.generator_uri)
    parameters: dict[str, Any] = {
        "name": config.name,
        "version": plan.generator_version,
        "store": config.store,
        "split": split,
        "schema_file": schema,
        "model": config.model,
        "seed": config.seed,
        "device": config.train.device,
        "checkpoint_minutes": config.train.checkpoint_minutes,
    }
    trained: GeneratorRef = (
        train_on_pool(parameters, config.train)
        if config.train.where == "gpu"
        else train_generator(**parameters)
    )
    add_training_cost(config.store, config.name, plan.generator_version)
    return trained
