"""Stage 7: measure fidelity, utility and privacy of the synthetic rows."""

from prefect import task
from prefect.artifacts import create_markdown_artifact

from configs.run import ScoreSection
from tasks.measuring import measured, reuse
from tasks.progress import say
from tasks.references import FileRef, GeneratorRef, ScoresRef, SplitRef, TableRef, Workspace
from tasks.services.generators import open_generator
from tasks.services.keys import derive_seed
from tasks.services.planning import read_schema
from tasks.services.run_report import EVIDENCE
from tasks.services.scoring import score_tables
from tasks.services.tables import open_split, open_table
from tasks.services.workspace import RunFiles
from tasks.stage import STAGE

SCORES = "scores.json"
REPORT = "scores.md"


@task(name="score", **STAGE)
@measured("score")
def score_sample(
    split: SplitRef,
    synthetic: TableRef,
    schema: FileRef,
    section: ScoreSection,
    *,
    generator: GeneratorRef,
    seed: int,
    workspace: Workspace,
) -> ScoresRef:
    """Score against the training rows and, for a control, against the rows held out; keep what a report draws."""
    files = RunFiles(workspace)
    if all(files.has(name) for name in (SCORES, REPORT, EVIDENCE)):
        reuse("score", "scores exist already and are reused")
    else:
        say("score", f"comparing {synthetic.rows:,} synthetic rows with {split.train_rows:,} real ones")
        with (
            open_split(split, "train") as real,
            open_split(split, "holdout") as holdout,
            open_table(synthetic) as drawn,
            open_generator(generator.uri, device="cpu", digest=generator.digest) as tvae,
        ):
            scores = score_tables(
                real,
                drawn,
                holdout=holdout,
                schema=read_schema(schema.uri),
                targets=section.targets,
                seed=derive_seed(seed, "score"),
                max_rows=section.max_rows,
                generator=tvae,
                on_progress=lambda step: say("score", step),
            )
        # The JSON comes last: its presence says that the scoring is complete.
        files.write_text(REPORT, scores.to_markdown("Scores of the synthetic table"))
        files.write_json(EVIDENCE, scores.evidence)
        files.write_json(SCORES, scores.to_dict())
    content = files.read_json(SCORES)
    create_markdown_artifact(files.read_text(REPORT), key="scores", description="Fidelity, utility, privacy")
    for name, reason in sorted(content["reasons"].items()):
        say("score", f"not computed: {name}: {reason}")
    return ScoresRef(
        json=files.store.checksum(files.key(SCORES)),
        report=files.store.checksum(files.key(REPORT)),
        figures=content["figures"],
        reasons=content["reasons"],
    )
