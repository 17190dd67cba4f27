"""Stage 8a: hold the figures against the rules."""

from prefect import task
from prefect.artifacts import create_markdown_artifact

from tasks.measuring import measured
from tasks.progress import say
from tasks.references import FileRef, ScoresRef
from tasks.refusals import GateRefusedError
from tasks.services.gate import RuleResult, apply_policy
from tasks.services.keys import fingerprint
from tasks.services.run_record import RunRecord
from tasks.services.run_report import write_report
from tasks.services.workspace import RunFiles
from tasks.stage import STAGE


@task(name="gate", **STAGE)
@measured("gate")
def decide_release(run: RunRecord, scores: ScoresRef) -> FileRef:
    """Write the verdict and the report; end the run with `GateRefusedError` when a critical rule is missed."""
    files, policy = RunFiles(run.plan.workspace), run.plan.policy
    verdict = apply_policy(scores.figures, policy, scores.reasons, scores.inapplicable)
    # The rules may change while sample and scores stay: each policy has a verdict of its own.
    name = f"verdict-{fingerprint(policy)}"
    reference = files.write_json(f"{name}.json", verdict.to_dict())
    files.write_text(f"{name}.md", verdict.to_markdown())
    report = write_report(run, verdict.to_dict())
    create_markdown_artifact(
        f"{verdict.to_markdown()}\nReport: `{report.uri}`",
        key="verdict",
        description="What the gate decided, and why",
    )
    for result in verdict.warnings:
        say("gate", f"warning: {_describe(result)}")
    if not verdict.passed:
        lines = "\n".join(f"  {_describe(result)}" for result in verdict.failures)
        raise GateRefusedError(
            f"the gate let nothing through ({policy.name}), {len(verdict.failures)} figure(s) fell short:\n{lines}",
            report.uri,
            {"figures": scores.figures, "scores": scores.report.uri, "generator": run.generator.uri},
        )
    say(
        "gate",
        f"{len(verdict.results)} rules held against the figures, {len(verdict.warnings)} warning(s): passed",
    )
    return reference


def _describe(result: RuleResult) -> str:
    why = f" ({result.rule.why})" if result.rule.why else ""
    return f"{result.metric}: {result.reason}{why}"
