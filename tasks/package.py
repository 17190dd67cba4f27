"""Stage 8b: put together everything that a recipient gets."""

from prefect import task

from configs import RunConfig
from tasks.measuring import measured
from tasks.progress import say
from tasks.references import FileRef, GeneratorRef, PackageRef, RunPlan, ScoresRef, SplitRef, TableRef
from tasks.services import package
from tasks.services.release import lineage, release_report
from tasks.services.run_report import report_name
from tasks.services.workspace import RunFiles
from tasks.stage import RETRY_STORE, STAGE


@task(name="package", **STAGE, **RETRY_STORE)
@measured("package")
def assemble_release(
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
) -> PackageRef:
    """Write the report, the cards and the marked parts into the workspace, with the list that publishing needs."""
    files = RunFiles(plan.workspace)
    facts = lineage(config, split, generator, synthetic) | {"content": plan.content}
    names = (verdict.uri.rpartition("/")[2].replace(".json", ".md"), "scores.md", "validation.md")
    pages = [files.read_text(name) for name in names]
    report = release_report(config.name, plan.release_version, facts, pages)
    documents = {
        "schema.yaml": schema,
        "validation.json": validation,
        "scores.json": scores.json,
        "verdict.json": verdict,
        "report.html": files.store.checksum(files.key(report_name(plan))),
        "report.md": files.write_text(f"report-{plan.release_version}.md", report),
    }
    terms = config.release.terms()
    wants_csv = terms.pop("csv")
    made = package.assemble_package(
        files,
        package.Ingredients(
            config.name, plan.release_version, synthetic, documents, facts, terms, csv=wants_csv
        ),
    )
    say("package", f"{synthetic.rows:,} rows in {len(synthetic.parts)} part(s), with cards and checksums")
    return made
