"""Stage 1: refer to the real table, and settle what its columns are."""

from typing import Any

from prefect import task

from configs import RunConfig
from tasks.measuring import measured
from tasks.progress import say
from tasks.references import FileRef, RunPlan, TableRef
from tasks.services import planning
from tasks.services.keys import fingerprint
from tasks.services.store import open_store
from tasks.services.tables import open_table, reference_table
from tasks.stage import RETRY_STORE, STAGE


@task(name="ingest", **STAGE, **RETRY_STORE)
@measured("ingest")
def ingest_table(address: str) -> TableRef:
    """Record the table's parts, digest and rows; nothing is copied."""
    table = reference_table(address)
    say("ingest", f"{table.rows:,} rows in {len(table.parts)} part(s), digest {table.digest[:12]}")
    return table


@task(name="declare-schema", **STAGE, **RETRY_STORE)
def declare_schema(table: TableRef, given: str | dict[str, Any] | None, store: str, name: str) -> FileRef:
    """Read the declared schema, or infer a proposal, and keep it under its own digest."""
    with open_table(table) as source:
        schema = planning.settle_schema(given, source)
    text = planning.schema_text(schema)
    key = f"runs/{name}/schemas/{fingerprint(text)}.yaml"
    reference = open_store(store).put_bytes(key, text.encode())
    origin = "declared" if given is not None else "inferred, not declared: read it and declare it"
    say("ingest", f"{len(schema.columns)} columns, {origin}: {reference.uri}")
    return reference


@task(name="plan", **STAGE, **RETRY_STORE)
def plan_run(config: RunConfig, table: TableRef, schema: FileRef) -> RunPlan:
    """Name everything this run will make."""
    plan = planning.plan_run(config, table, schema)
    say("ingest", f"this run is {plan.workspace.prefix}")
    return plan
