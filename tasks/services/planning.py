"""What a run's outputs are called: names derived from everything that decides their content."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import yaml

import tvae_core
from configs import ConfigError, RunConfig, build_policy, read_yaml, shipped_policy
from configs.gate import DEFAULT_POLICY, is_shipped
from tasks.references import FileRef, RunPlan, TableRef, Workspace
from tasks.services.keys import fingerprint
from tasks.services.store import open_store, split_uri
from tasks.services.tables import reference_table
from tvae_core.constraints import Constraint, constraint_to_dict
from tvae_core.metrics.rules import Policy
from tvae_core.schema import TableSchema, infer_schema
from tvae_core.sources import TableSource


def plan_run(config: RunConfig, table: TableRef, schema: FileRef) -> RunPlan:
    """Name the generator, the workspace and the release of a run.

    A generator's version follows from the input's digest, the schema, the split, the model's settings, the seed and
    the code's version; the workspace's from these and what is sampled (of given cells their digest) and scored; the
    release's from these and the gate.
    """
    suite = fingerprint(read_text(config.expectations)) if config.expectations else None
    code = tvae_core.__version__
    split, model = config.split.model_dump(), config.model.resolved().to_dict()
    generator = fingerprint("generator", table.digest, schema.sha256, split, model, config.seed, code)
    source = config.generator_uri or generator
    known = reference_table(config.sample.given) if config.sample.given else None
    drawn = config.sample.identity() | ({"given": known.digest} if known else {})
    run = fingerprint("run", source, generator, suite, drawn, config.score.model_dump())
    policy = resolve_policy(config)
    content = fingerprint("release", run, policy.rules, config.release.terms())
    return RunPlan(
        workspace=Workspace(config.store, f"runs/{config.name}/{run}"),
        generator_version=generator,
        release_version=config.release.version or content,
        content=content,
        suite=suite,
        policy=policy,
        known=known,
    )


def resolve_policy(config: RunConfig) -> Policy:
    """The rules that decide this run: the policy's, and before them those of the configuration.

    Raises ConfigError for a policy file that is not one, NotFoundError when there is none at its address.
    """
    gate, own = config.gate, config.gate.rules
    if gate.policy is None and own is not None:
        policy = Policy("rules of this dataset", own)
    else:
        name = gate.policy or DEFAULT_POLICY
        policy = shipped_policy(name) if is_shipped(name) else build_policy(read_text(name), name)
        policy = policy.override(own or ())
    return policy.for_targets(config.score.targets)


def read_text(address: str) -> str:
    """The text of a small file at a local path, file:// or s3:// address."""
    root, key = split_uri(address)
    return open_store(root).get_bytes(key).decode()


def read_schema(address: str) -> TableSchema:
    """The schema in the YAML file at `address`. Raises ConfigError naming the file."""
    return parse_schema(read_yaml(read_text(address), address), address)


def settle_schema(given: str | dict[str, Any] | None, table: TableSource) -> TableSchema:
    """The declared schema, by address or inline, or a proposal inferred from the table; columns in the table's order.

    An inline schema's keys may have been shuffled on their way: a database that keeps JSON does not keep their order.
    Columns that the table lacks come last, by name.
    """
    if given is None:
        return infer_schema(table)
    declared = parse_schema(given, "schema") if isinstance(given, dict) else read_schema(given)
    places = {name: place for place, name in enumerate(table.schema.names)}
    columns = sorted(declared.columns, key=lambda column: (places.get(column.name, len(places)), column.name))
    return replace(declared, columns=tuple(columns))


def parse_schema(plain: Any, origin: str) -> TableSchema:
    """The schema in plain values; errors name `origin`."""
    if not isinstance(plain, dict):
        raise ConfigError(f"{origin}: expected the keys columns, entity, minimum_rows and constraints")
    try:
        return TableSchema.from_dict(plain)
    except ValueError as error:
        raise ConfigError(f"{origin}: {error}") from error


def schema_text(schema: TableSchema) -> str:
    """The schema as YAML, columns in the table's order."""
    return yaml.safe_dump(schema.to_dict(), sort_keys=False, allow_unicode=True, width=110)


def constraints_text(proposed: Sequence[Constraint]) -> str:
    """Proposed constraints as commented YAML, one a line: taking the `#` away confirms them."""
    if not proposed:
        return ""
    lines = [
        yaml.safe_dump(
            constraint_to_dict(c), sort_keys=False, allow_unicode=True, default_flow_style=True, width=2**31
        )
        for c in proposed
    ]
    head = (
        "\n# Every row obeys these. Uncomment `constraints:` and those that must hold in every sampled row too.\n"
        "#constraints:\n"
    )
    return head + "".join(f"#- {line}" for line in lines)
