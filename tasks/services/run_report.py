"""The report of a run: what its stages left in the store, as one HTML file beside it, whatever the gate decided."""

from collections.abc import Mapping
from typing import Any

import yaml

from configs import RunConfig
from tasks.references import FileRef, RunPlan, SplitRef
from tasks.services.generators import training_history
from tasks.services.planning import read_schema
from tasks.services.release import lineage
from tasks.services.report import Findings, render_report
from tasks.services.run_record import RunRecord
from tasks.services.workspace import RunFiles

EVIDENCE = "evidence.json"
_DECIDING = {"name", "seed", "split", "model", "sample", "score"}


def report_name(plan: RunPlan) -> str:
    """The report's file in the workspace."""
    return f"report-{plan.release_version}.html"


def write_report(run: RunRecord, verdict: Mapping[str, Any]) -> FileRef:
    """Render the report into the workspace; the same run gives the same bytes on any store."""
    files, facts = RunFiles(run.plan.workspace), lineage(run.config, run.split, run.generator, run.synthetic)
    findings = Findings(
        title=f"{run.config.name} {run.plan.release_version}",
        scores=files.read_json("scores.json"),
        evidence=files.read_json(EVIDENCE),
        verdict=verdict,
        validation=files.read_json("validation.json"),
        history=training_history(run.generator),
        facts=facts,
        constraints=[constraint.label for constraint in read_schema(run.schema.uri).constraints],
        command=_command(run.config, run.split),
    )
    return files.store.put_bytes(files.key(report_name(run.plan)), render_report(findings))


def _command(config: RunConfig, split: SplitRef) -> str:
    """A configuration that makes the release again, without the addresses of this run."""
    plain = config.model_dump(mode="json", include=_DECIDING, exclude_defaults=True)
    text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)
    return (
        f"# tvae run release.yaml\n# input: the table whose digest is {split.table.digest[:16]}\n"
        f"# schema: schema.yaml of the release\n{text}"
    )
