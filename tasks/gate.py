"""Stage 8a: hold the figures against the rules."""

from prefect import task
from prefect.artifacts import create_markdown_artifact

from tasks.measuring import measured
from tasks.progress import say
from tasks.references import FileRef, GeneratorRef, ScoresRef, Workspace
from tasks.refusals import GateRefusedError
from tasks.services.gate import RuleResult, apply_policy
from tasks.services.keys import fingerprint
from tasks.services.workspace import RunFiles
from tasks.stage import STAGE
from tvae_core.metrics.rules import Policy


@task(name="gate", **STAGE)
@measured("gate")
def decide_release(
    scores: ScoresRef, policy: Policy, generator: GeneratorRef, workspace: Workspace
) -> FileRef:
    """Write the verdict; end the run with `GateRefusedError` when a critical rule is missed."""
    files = RunFiles(workspace)
    verdict = apply_policy(scores.figures, policy, scores.reasons)
    # The rules may change while sample and scores stay: each policy has a verdict of its own.
    name = f"verdict-{fingerprint(policy)}"
    reference = files.write_json(f"{name}.json", verdict.to_dict())
    report = files.write_text(f"{name}.md", verdict.to_markdown())
    create_markdown_artifact(
        verdict.to_markdown(), key="verdict", description="What the gate decided, and why"
    )
    for result in verdict.warnings:
        say("gate", f"warning: {_describe(result)}")
    if not verdict.passed:
        lines = "\n".join(f"  {_describe(result)}" for result in verdict.failures)
        raise GateRefusedError(
            f"the gate let nothing through ({policy.name}), {len(verdict.failures)} figure(s) fell short:\n{lines}",
            report.uri,
            {"figures": scores.figures, "scores": scores.report.uri, "generator": generator.uri},
        )
    say(
        "gate",
        f"{len(verdict.results)} rules held against the figures, {len(verdict.warnings)} warning(s): passed",
    )
    return reference


def _describe(result: RuleResult) -> str:
    why = f" ({result.rule.why})" if result.rule.why else ""
    return f"{result.metric}: {result.reason}{why}"
