"""``tvae backup`` and ``tvae restore``: copy a store's releases and generators to another store, and back."""

import sys

import click

PROBLEMS = 1
REREAD = click.option(
    "--reread",
    is_flag=True,
    help="Also read back what the target holds already, and mend what was altered there.",
)


@click.command()
@click.argument("store")
@click.argument("target")
@REREAD
def backup(store: str, target: str, reread: bool) -> None:
    """Copy every complete release and generator of STORE to TARGET, each a path, file:///... or s3://bucket/prefix.

    Every file is checked against its manifest and read back. Nothing is overwritten, and a copy that broke off is gone
    on with. Exit codes: 0 all is copied, 1 something could not be, 2 a store can't be used.
    """
    _copy(store, target, reread)


@click.command()
@click.argument("target", metavar="BACKUP")
@click.argument("store")
@REREAD
def restore(target: str, store: str, reread: bool) -> None:
    """Copy back from BACKUP what STORE lacks; what STORE holds is left as it is."""
    _copy(target, store, reread)


def _copy(source: str, target: str, reread: bool) -> None:
    from tasks.services.backup import check_stores, copy_store
    from tasks.services.store import open_store

    origin, place = open_store(source), open_store(target)
    check_stores(origin, place)
    done = copy_store(origin, place, reread=reread, on_directory=click.echo)
    click.echo(f"{len(done.copied)} copied to {place.uri}, {len(done.present)} were there already")
    for problem in done.problems:
        click.echo(f"NOT COPIED  {problem}", err=True)
    if not done.copied and not done.present and not done.problems:
        click.echo(f"{origin.uri} holds no complete release and no generator", err=True)
    if done.problems:
        sys.exit(PROBLEMS)
