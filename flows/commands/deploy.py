"""``tvae deploy`` and ``tvae notify-input``: datasets that run by themselves."""

from pathlib import Path

import click


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), default=Path("configs/datasets"))
@click.option("--prune", is_flag=True, help="Delete the deployments of datasets whose file is gone.")
def deploy(folder: Path, prune: bool) -> None:
    """Make a deployment synthesize/NAME, with its schedule, of every dataset in FOLDER (configs/datasets)."""
    from flows.deploy import deploy_folder

    for line in deploy_folder(folder, prune=prune):
        click.echo(line)


@click.command("notify-input")
@click.argument("name")
def notify_input(name: str) -> None:
    """Say that the input of the dataset NAME has changed: its deployment is run."""
    from flows.deploy import notify_input as emit

    click.echo(emit(name))
