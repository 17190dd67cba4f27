"""``tvae doctor``: what is wrong with this installation, and what to do about it."""

import sys
from pathlib import Path

import click

COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command()
@click.argument("config", required=False, type=click.Path(path_type=Path))
@click.option("--store", metavar="ADDRESS", help="The store to look at; CONFIG's without it.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def doctor(config: Path | None, store: str | None, as_json: bool) -> None:
    """Check settings, store, Prefect's server, pools, workers, deployments, GPU and disk; say what to mend.

    CONFIG is a run's or a dataset's configuration. Exit code 1 when something fails.
    """
    import json
    from dataclasses import asdict

    from flows.doctor import examine

    findings = []
    for finding in examine(config, store):
        findings.append(finding)
        if not as_json:
            level = click.style(f"{finding.level:<5}", fg=COLOURS[finding.level])
            click.echo(f"{level} {finding.what:<16} {finding.found}")
            if finding.mend:
                click.echo(f"{'':<22} -> {finding.mend}")
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    sys.exit(any(finding.level == "fail" for finding in findings))
