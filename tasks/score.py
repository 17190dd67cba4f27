"""Stage 7: measure fidelity, utility and privacy of the synthetic rows, and their drift since the last release."""

from collections.abc import Sequence
from functools import partial

from prefect import task
from prefect.artifacts import create_markdown_artifact

from tasks.measuring import measured, reuse
from tasks.progress import say
from tasks.references import ScoresRef
from tasks.services.earlier import open_earlier
from tasks.services.generators import open_generator
from tasks.services.keys import derive_seed
from tasks.services.planning import read_schema
from tasks.services.run_record import RunRecord
from tasks.services.run_report import EVIDENCE
from tasks.services.scores import Scores
from tasks.services.scoring import GROUPS, score_tables
from tasks.services.store import open_store
from tasks.services.tables import open_split, open_table
from tasks.services.workspace import RunFiles
from tasks.stage import STAGE

SCORES = "scores.json"
REPORT = "scores.md"


@task(name="score", **STAGE)
@measured("score")
def score_sample(run: RunRecord) -> ScoresRef:
    """Score against the training rows and, for a control, against the rows held out; keep what a report draws."""
    if has_scores(run):
        reuse("score", "scores exist already and are reused")
        return refer_to_scores(run)
    say("score", f"comparing {run.synthetic.rows:,} synthetic rows with {run.split.train_rows:,} real ones")
    return keep_scores(run, _compute(run, GROUPS))


@task(name="score-group", **STAGE)
def score_group(group: str, run: RunRecord) -> Scores:
    """Compute the figures of one group, in whatever process this task runs in."""
    return _compute(run, [group])


def has_scores(run: RunRecord) -> bool:
    """Whether the run has been scored."""
    files = RunFiles(run.plan.workspace)
    return all(files.has(name) for name in (SCORES, REPORT, EVIDENCE))


def keep_scores(run: RunRecord, scores: Scores) -> ScoresRef:
    """Write the scores into the run's workspace, and show them."""
    files = RunFiles(run.plan.workspace)
    files.write_text(REPORT, scores.to_markdown("Scores of the synthetic table"))
    files.write_json(EVIDENCE, scores.evidence)
    files.write_json(SCORES, scores.to_dict())  # the last: its presence says that the scoring is complete
    return refer_to_scores(run)


def refer_to_scores(run: RunRecord) -> ScoresRef:
    """Show the scores that the run's workspace holds, and refer to them."""
    files = RunFiles(run.plan.workspace)
    content = files.read_json(SCORES)
    create_markdown_artifact(files.read_text(REPORT), key="scores", description="Fidelity, utility, privacy")
    for name, reason in sorted(content["reasons"].items()):
        say("score", f"not computed: {name}: {reason}")
    return ScoresRef(
        json=files.store.checksum(files.key(SCORES)),
        report=files.store.checksum(files.key(REPORT)),
        figures=content["figures"],
        reasons=content["reasons"],
        inapplicable=content.get("inapplicable", {}),  # scores of an earlier version of this project
    )


def _compute(run: RunRecord, groups: Sequence[str]) -> Scores:
    config, store = run.config, open_store(run.plan.workspace.store)
    with (
        open_split(run.split, "train") as real,
        open_split(run.split, "holdout") as holdout,
        open_table(run.synthetic) as drawn,
        open_generator(run.generator.uri, device="cpu", digest=run.generator.digest) as tvae,
    ):
        return score_tables(
            real,
            drawn,
            holdout=holdout,
            schema=read_schema(run.schema.uri),
            targets=config.score.targets,
            seed=derive_seed(config.seed, "score"),
            max_rows=config.score.max_rows,
            generator=tvae,
            earlier=partial(open_earlier, store, config.name, run.plan.release_version),
            groups=groups,
            on_progress=lambda step: say("score", step),
        )
