"""``tvae verify``: check a release as its recipient."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from tasks.services.verification import Verification

PROBLEMS = 1


@click.command()
@click.argument("release")
@click.option(
    "--public-key",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The signer's Ed25519 key as PEM, received by another way than the release.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
def verify(release: str, public_key: Path | None, as_json: bool) -> None:
    """Check every byte of the directory RELEASE, a path, file:///... or s3://bucket/...

    Digests and sizes of all files, rows, columns, what is missing or was added, the manifest itself, its signature.
    Exit codes: 0 good, 1 something is wrong, 2 there is no release, or the key can't be used.
    """
    from tasks.services.sealing import read_public_key
    from tasks.services.store import open_store, split_uri
    from tasks.services.verification import examine_release

    key = read_public_key(public_key) if public_key else None
    root, prefix = split_uri(release.rstrip("/").removesuffix("/manifest.json"))
    found = examine_release(open_store(root), prefix, key)
    click.echo(json.dumps(asdict(found), indent=2, ensure_ascii=False) if as_json else _describe(found))
    if found.problems:
        sys.exit(PROBLEMS)


def _describe(found: "Verification") -> str:
    lines = [f"{found.name} {found.version}: {found.files} files, {found.rows:,} synthetic rows"]
    if found.retired is not None:
        lines.append(f"retired {found.retired.get('retired', '')[:10]}: {found.retired.get('reason', '')}")
    if found.signed_by is None:
        lines.append("not signed: the checks show damage, not who published it")
    elif found.trusted is None:
        lines.append(f"signed by key {found.signed_by}; give --public-key to check whose that is")
    elif found.trusted:
        lines.append(f"signed by the given key, {found.signed_by}")
    lines += [f"WRONG  {problem}" for problem in found.problems]
    lines.append(
        f"{len(found.problems)} thing(s) wrong" if found.problems else "every byte is as it was published"
    )
    return "\n".join(lines)
