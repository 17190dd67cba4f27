"""``tvae releases`` and ``tvae generators``: list, show, compare, retire, keep the last, sweep."""

import getpass
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from tasks.services.catalogue import Entry, Kind

MEANT = "nothing was changed: --yes does it"


@dataclass(frozen=True)
class Choices:
    """What the command line asked for."""

    store: str
    name: str | None
    show: str | None
    compare: tuple[str, str] | None
    retire: str | None
    reason: str
    by: str | None
    remove: bool
    keep: int | None
    sweep: float | None
    yes: bool
    as_json: bool
    html: Path | None = None


def _options(command: Callable[..., None]) -> Callable[..., None]:
    options = [
        click.argument("store"),
        click.argument("name", required=False),
        click.option("--show", metavar="VERSION", help="All that its manifest says."),
        click.option("--compare", nargs=2, metavar="VERSION VERSION", help="Two versions of NAME side by side."),
        click.option("--retire", metavar="VERSION", help="Leave a tombstone; needs --reason."),
        click.option("--reason", default="", help="Why it is retired."),
        click.option("--by", help="Who retires it; the user who runs this without it."),
        click.option("--remove-data", "remove", is_flag=True, help="Retired: remove the files too."),
        click.option("--keep", type=click.IntRange(min=1), metavar="N", help="Retire and remove all but the last N."),
        click.option("--sweep", type=click.FloatRange(min=1), metavar="HOURS", help="Remove older leftovers."),
        click.option("--yes", is_flag=True, help="Do what --keep or --sweep would do."),
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@_options
@click.option("--html", type=click.Path(path_type=Path), metavar="OUT", help="Write a page of all releases.")
def releases(html: Path | None, **choices: Any) -> None:
    """The releases of STORE, or those called NAME: list, show, compare, retire, keep the last ones, sweep."""
    _act("releases", Choices(**choices, html=html))


@click.command()
@_options
def generators(**choices: Any) -> None:
    """The generators of STORE, or those called NAME: list, show, compare, retire, keep the last ones, sweep."""
    _act("generators", Choices(**choices))


def _act(kind: "Kind", choices: Choices) -> None:
    from tasks.services.store import open_store

    store = open_store(choices.store)
    for wanted, action in (
        (choices.show, _show),
        (choices.compare, _compare),
        (choices.retire, _retire),
        (choices.keep, _keep),
        (choices.sweep, _sweep),
        (choices.html, _html),
    ):
        if wanted:
            action(store, kind, choices)
            return
    _list(store, kind, choices)


def _list(store: Any, kind: "Kind", choices: Choices) -> None:
    from tasks.services.catalogue import list_entries

    entries = list_entries(store, kind, choices.name)
    if choices.as_json:
        _print([entry.summary() for entry in entries])
        return
    for entry in entries:
        click.echo(_line(entry))
    if not entries:
        click.echo(f"no {kind} in {store.uri}")


def _show(store: Any, kind: "Kind", choices: Choices) -> None:
    from tasks.services.catalogue import read_entry

    entry = read_entry(store, kind, _named(choices), choices.show or "")
    _print({**entry.manifest, "retired": entry.retired})


def _compare(store: Any, kind: "Kind", choices: Choices) -> None:
    from tasks.services.catalogue import compare, read_entry

    first, second = (read_entry(store, kind, _named(choices), version) for version in choices.compare or ())
    found = compare(first, second)
    if choices.as_json:
        _print(found)
        return
    click.echo(f"{'':<36} {first.version[:20]:>20} {second.version[:20]:>20}")
    for name, (a, b, change) in found["figures"].items():
        moved = f"{change:+.4f}" if change is not None else ""
        click.echo(f"{name:<36} {_number(a):>20} {_number(b):>20} {moved}")
    for key, (a, b) in found["facts"].items():
        click.echo(f"{key:<36} {str(a)[:20]:>20} {str(b)[:20]:>20}")
    click.echo(f"the same: {', '.join(found['same'])}")


def _retire(store: Any, kind: "Kind", choices: Choices) -> None:
    from tasks.services.retention import retire

    if not choices.reason:
        raise click.UsageError("--retire needs --reason: whoever misses it will ask")
    tombstone = retire(
        store, kind, _named(choices), choices.retire or "",
        reason=choices.reason, by=choices.by or getpass.getuser(), remove=choices.remove,
    )  # fmt: skip
    if choices.as_json:
        _print(tombstone)
    else:
        files = "its files are removed" if choices.remove else "its files stay"
        click.echo(f"retired {kind}/{choices.name}/{choices.retire}; {files}")


def _keep(store: Any, kind: "Kind", choices: Choices) -> None:
    from tasks.services.catalogue import list_entries
    from tasks.services.retention import beyond_last, retire

    going = beyond_last(list_entries(store, kind, choices.name), choices.keep or 1)
    for entry in going if choices.yes else ():
        reason = f"beyond the last {choices.keep}"
        retire(
            store, kind, entry.name, entry.version,
            reason=reason, by=choices.by or getpass.getuser(), remove=True,
        )  # fmt: skip
    _report(choices, [entry.prefix for entry in going], "retired")


def _sweep(store: Any, kind: "Kind", choices: Choices) -> None:
    from tasks.services.retention import orphans, sweep

    found = orphans(store, kind, choices.sweep or 1, choices.name)
    if choices.yes:
        sweep(store, found)
    _report(choices, sorted(found), "removed")


def _html(store: Any, kind: "Kind", choices: Choices) -> None:
    from tasks.services.approval import list_approvals
    from tasks.services.catalogue import list_entries
    from tasks.services.gallery import unpublished, write_gallery

    entries = list_entries(store, kind, choices.name)
    asked = unpublished(list_approvals(store, choices.name), entries)
    path = choices.html or Path("releases.html")
    write_gallery(entries, asked, path, store.uri)
    click.echo(f"{path}: {len(entries)} releases, {len(asked)} not published")


def _report(choices: Choices, folders: list[str], done: str) -> None:
    if choices.as_json:
        _print({done: folders, "acted": choices.yes})
        return
    for folder in folders:
        click.echo(f"{done if choices.yes else f'would be {done}'}: {folder}")
    if not choices.yes:
        click.echo(MEANT if folders else "there is nothing to do")


def _named(choices: Choices) -> str:
    if not choices.name:
        raise click.UsageError("a version belongs to a name: give NAME after STORE")
    return choices.name


def _line(entry: "Entry") -> str:
    parts = [f"{entry.name:<20} {entry.version:<20} {entry.created[:16]}  {entry.digest[:12]}"]
    if entry.rows is not None:
        gate = entry.gate
        verdict = f"{gate['policy']}: {'passed' if gate['passed'] else 'not passed'}" if gate else "no gate"
        parts.append(f"{entry.rows:>12,} rows  {verdict}")
    if entry.retired is not None:
        parts.append(f"retired {entry.retired['retired'][:10]}: {entry.retired['reason']}")
    return "  ".join(parts)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _print(plain: Any) -> None:
    click.echo(json.dumps(plain, indent=2, ensure_ascii=False))
