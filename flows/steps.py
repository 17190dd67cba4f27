"""The single steps of the command line: each reads, calls and writes, without Prefect."""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from configs import ConfigError
from flows.console import Console
from tasks.services import planning
from tasks.services.generators import (
    MANIFEST,
    describe_epoch,
    fit_generator,
    open_generator,
    reference_generator,
    training_history,
)
from tasks.services.rates import count_stages
from tasks.services.store import StoreError, local_path, open_store, split_uri
from tasks.services.tables import OpenedTable, open_table, read_whole, reference_table
from tvae_core.constraints.propose import propose_constraints
from tvae_core.schema import TableSchema, infer_schema
from tvae_core.settings import ModelSettings


@contextlib.contextmanager
def _table(address: str) -> Iterator[OpenedTable]:
    with open_table(reference_table(address)) as source:
        yield source


def _schema(address: str | None, source: OpenedTable, console: Console) -> TableSchema:
    if address is None:
        console.say("schema", "inferred, not declared; `tvae schema` shows it")
    return planning.settle_schema(address, source)


def propose_schema(data: str, *, ranges: bool, entity: str | None) -> str:
    """A proposed schema as YAML that opens with what to do with it; the constraints found stand as comments below."""
    with _table(data) as source:
        proposed = replace(infer_schema(source, ranges=ranges), entity=entity)
        constraints = propose_constraints(source, proposed)
    head = "# Proposed by `tvae schema`. Read it, correct it, and name it as `schema` in the configuration.\n"
    return head + planning.schema_text(proposed) + planning.constraints_text(constraints)


def validate(data: str, schema: str | None, suite: str | None, out: Path | None) -> tuple[bool, str]:
    """Whether the table passes, and the readable report."""
    from tasks.services.expectations import load_suite, validate_table

    expected = load_suite(Path(suite)) if suite else None
    with Console() as console, _table(data) as source:
        report = validate_table(source, _schema(schema, source, console), expected)
    if out:
        _write_json(out, report.to_dict())
    return report.passed, report.to_markdown()


def fit(
    data: str, out: str, *, schema_address: str | None, seed: int, device: str, settings: dict[str, Any]
) -> str:
    """Fit a generator and write it to `out`; one line that says where it lies."""
    model = ModelSettings(**{key: value for key, value in settings.items() if value is not None})
    target = _free_directory(out)
    with Console() as console, _table(data) as source:
        declared = _schema(schema_address, source, console)
        console.say("train", f"{source.num_rows:,} rows, {len(declared.columns)} columns")

        def on_epoch(epoch: dict[str, Any]) -> None:
            console.say("train", describe_epoch(epoch), epoch["epoch"], epoch["epochs"])

        on_rows = count_stages(lambda text: console.say("train", text))
        with _directory_to_fill(target) as path:
            digest = fit_generator(
                source,
                declared,
                model,
                seed=seed,
                device=device,
                path=path,
                on_epoch=on_epoch,
                on_rows=on_rows,
            )
    return f"generator {digest[:12]} lies at {out}"


def _free_directory(out: str) -> str:
    """Refuse, before any work, a place where something lies already. Returns a local path or an s3:// address."""
    if out.startswith("s3://"):
        root, key = split_uri(out)
        if open_store(root).exists(f"{key}/{MANIFEST}"):
            raise StoreError(
                f"a generator lies at {out} already and is never overwritten: choose another address"
            )
        return out
    path = local_path(out)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise StoreError(
            f"{path} exists and is not an empty directory: choose another --out, nothing is overwritten"
        )
    return str(path)


@contextlib.contextmanager
def _directory_to_fill(target: str) -> Iterator[Path]:
    """The local directory to save to; for a store, a private one that is copied there at the end."""
    if not target.startswith("s3://"):
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        yield Path(target)
        return
    from tasks.services.publishing import save_directory

    root, key = split_uri(target)
    with tempfile.TemporaryDirectory(prefix="tvae-fit-") as folder:
        path = Path(folder) / "generator"
        yield path
        save_directory(open_store(root), key, path)


def sample(
    generator: str,
    rows: int | None,
    out: Path,
    *,
    where: Sequence[str],
    known: str | None,
    balance: str | None,
    steps: int | None,
    seed: int | None,
    device: str,
) -> str:
    """Draw rows into one Parquet file; one line that says where it lies."""
    from tasks.services.sampling import write_sample

    _check_place(out)
    given: Any = _conditions(where)
    if known is not None:
        if rows is not None or where or balance:
            raise ConfigError(
                "--given says how many rows there are and what is known of each: "
                "leave --rows, --where and --balance out"
            )
        given = read_whole(reference_table(known))
        rows = given.num_rows
    if rows is None:
        raise ConfigError("say how many rows: --rows N, or --given TABLE for a row for each of its rows")
    options = {"given": given or None, "balance": balance, "decoding_steps": steps}
    with Console() as console, open_generator(generator, device=device) as tvae:
        write_sample(tvae, rows, out, seed=seed, on_rows=console.counter("sample"), **options)
    return f"{rows:,} rows lie at {out}"


def impute(generator: str, data: str, out: Path, *, draws: int, seed: int | None, device: str) -> str:
    """Fill a table's missing cells and write it; one line that says where it lies."""
    from tasks.services.sampling import write_table

    _check_place(out)
    table = read_whole(reference_table(data))
    with Console() as console, open_generator(generator, device=device) as tvae:
        console.say(
            "impute", f"{sum(c.null_count for c in table.columns):,} missing cells in {table.num_rows:,} rows"
        )
        filled = tvae.impute(table, draws=draws, seed=seed)
    write_table(filled, out)
    return f"{filled.num_rows:,} rows lie at {out}"


def _check_place(out: Path) -> None:
    if not out.parent.is_dir():
        raise ConfigError(f"{out}: the directory {out.parent} does not exist")


def _conditions(where: Sequence[str]) -> dict[str, Any]:
    """COLUMN=CONDITION texts as conditions."""
    from tvae_core.conditions import parse_condition

    out: dict[str, Any] = {}
    for text in where:
        column, equals, condition = text.partition("=")
        if not equals or not column:
            raise ConfigError(f"--where takes COLUMN=VALUE, COLUMN=LOW..HIGH or COLUMN=A|B, got {text!r}")
        if column in out:
            raise ConfigError(
                f"column {column!r} has two conditions: write one, such as {column}=30..40 or {column}=5|7"
            )
        out[column] = parse_condition(condition)
    return out


def score(
    *,
    real: str,
    synthetic: str,
    holdout: str | None,
    targets: Sequence[str],
    schema_address: str | None,
    seed: int,
    max_rows: int,
    out: Path | None,
    page: Path | None,
    generator: str | None,
    earlier: str | None,
) -> str:
    """The scores as a readable page; `page` is where the report for people goes."""
    from tasks.services.scoring import score_tables

    for path in (out, page):
        if path is not None:
            _check_place(path)

    with Console() as console, contextlib.ExitStack() as opened:
        real_table = opened.enter_context(_table(real))
        scores = score_tables(
            real_table,
            opened.enter_context(_table(synthetic)),
            holdout=opened.enter_context(_table(holdout)) if holdout else None,
            schema=_schema(schema_address, real_table, console),
            targets=targets,
            seed=seed,
            max_rows=max_rows,
            generator=opened.enter_context(open_generator(generator)) if generator else None,
            earlier=partial(_open_earlier, earlier) if earlier else None,
        )
    if out:
        _write_json(out, scores.to_dict())
    if page:
        from tasks.services.report import Findings, render_report

        history = training_history(reference_generator(generator)) if generator else []
        title = f"Scores of {Path(synthetic).name}"
        _write_whole(page, render_report(Findings(title, scores.to_dict(), scores.evidence, history=history)))
    return scores.to_markdown("Scores of the synthetic table")


@contextlib.contextmanager
def _open_earlier(address: str) -> Iterator[Any]:
    from tasks.services.scoring.drift import Earlier

    reference = reference_table(address)
    with open_table(reference) as table:
        yield Earlier(table, Path(address).name, reference.digest)


def _write_json(path: Path, content: Any) -> None:
    _write_whole(path, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())


def _write_whole(path: Path, content: bytes) -> None:
    """Write beside `path` and rename: the file is whole or not there."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
