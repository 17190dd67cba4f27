"""What a run has made up to its sample, kept in its workspace: enough to score or publish it later, elsewhere."""

from dataclasses import asdict, dataclass
from typing import Any

from configs import RunConfig
from tasks.references import FileRef, GeneratorRef, RunPlan, SplitRef, TableRef, Workspace
from tasks.services.publishing import validate_name
from tasks.services.store import NotFoundError
from tasks.services.workspace import RunFiles, table_from_json
from tvae_core.errors import FormatError
from tvae_core.metrics.rules import Policy, Rule

RECORD = "run.json"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class RunRecord:
    """One run's configuration, names and references."""

    config: RunConfig
    plan: RunPlan
    schema: FileRef
    split: SplitRef
    generator: GeneratorRef
    synthetic: TableRef


def write_record(record: RunRecord) -> FileRef:
    """Keep the record in its workspace."""
    content = {
        "format_version": FORMAT_VERSION,
        "config": record.config.model_dump(mode="json", by_alias=True),
        **{
            name: asdict(getattr(record, name))
            for name in ("plan", "schema", "split", "generator", "synthetic")
        },
    }
    return RunFiles(record.plan.workspace).write_json(RECORD, content)


def read_record(store: str, name: str, run: str) -> RunRecord:
    """The record of the run whose workspace is ``runs/NAME/RUN``.

    Raises NotFoundError when there is none, FormatError when it can't be read.
    """
    files = RunFiles(Workspace(store, f"runs/{validate_name(name)}/{validate_name(run)}"))
    try:
        content = files.read_json(RECORD)
    except NotFoundError:
        raise NotFoundError(
            f"{store} holds no sample of the run {name}/{run}: the run's log and its record say which run it is "
            "(`this run is runs/NAME/RUN`), and a run that ended before its sample has none"
        ) from None
    try:
        return _from_json(content, store)
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(
            f"{RECORD} of the run {name}/{run} can't be read ({type(error).__name__}): it is damaged, or of another "
            "version of this project. Run synthesize again: what is complete is reused"
        ) from None


def _from_json(content: dict[str, Any], store: str) -> RunRecord:
    if content["format_version"] > FORMAT_VERSION:
        raise ValueError("a newer version of this project wrote it")
    split, plan, policy = content["split"], content["plan"], content["plan"]["policy"]
    names = plan | {
        "workspace": Workspace(store, plan["workspace"]["prefix"]),
        "known": table_from_json(plan["known"]) if plan["known"] else None,
        "policy": Policy(**(policy | {"rules": tuple(Rule(**rule) for rule in policy["rules"])})),
    }
    return RunRecord(
        config=RunConfig.model_validate(content["config"] | {"store": store}),
        plan=RunPlan(**names),
        schema=FileRef(**content["schema"]),
        split=SplitRef(**(split | {"table": table_from_json(split["table"])})),
        generator=GeneratorRef(**content["generator"]),
        synthetic=table_from_json(content["synthetic"]),
    )
