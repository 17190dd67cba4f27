"""Stage 8b: publish the release, all or nothing."""

from prefect import task
from prefect.artifacts import create_markdown_artifact

from configs import RunConfig
from tasks.progress import say
from tasks.references import FileRef, GeneratorRef, PublishedRelease, RunPlan, ScoresRef, SplitRef, TableRef
from tasks.services import publishing
from tasks.services.release import lineage, release_files, release_report
from tasks.services.workspace import RunFiles
from tasks.stage import RETRY_STORE, STAGE


@task(name="publish", **STAGE, **RETRY_STORE)
def publish_release(
    config: RunConfig,
    plan: RunPlan,
    *,
    schema: FileRef,
    validation: FileRef,
    split: SplitRef,
    generator: GeneratorRef,
    synthetic: TableRef,
    scores: ScoresRef,
    verdict: FileRef,
) -> PublishedRelease:
    """Copy data, scores and report to the release's version and write its manifest; reuse it if it is there."""
    files = RunFiles(plan.workspace)
    facts = lineage(config, split, generator, synthetic)
    names = (verdict.uri.rpartition("/")[2].replace(".json", ".md"), "scores.md", "validation.md")
    pages = [files.read_text(name) for name in names]
    report = release_report(config.name, plan.release_version, facts, pages)
    kept = files.write_text(f"report-{plan.release_version}.md", report)
    release = publishing.publish_release(
        files.store,
        config.name,
        plan.release_version,
        {**release_files(synthetic, scores, verdict, validation, schema), "report.md": kept},
        {"lineage": facts},
    )
    if release.already_published:
        say("publish", f"this release exists already and is left as it is: {release.uri}")
    else:
        say("publish", f"{synthetic.rows:,} rows published: {release.uri}")
    create_markdown_artifact(
        f"Published: `{release.uri}`\n\n{report}", key="release", description="The release"
    )
    directory = publishing.load_release(files.store, config.name, plan.release_version)["directory"]
    return PublishedRelease(
        uri=release.uri,
        name=release.name,
        version=release.version,
        digest=release.digest,
        manifest_uri=release.manifest_uri,
        report_uri=f"{release.uri}/{directory}/report.md",
    )
