"""Generators between the store and the core: fit one, keep it under its version, find it again, open it."""

import contextlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.references import GeneratorRef
from tasks.services.publishing import fetch_directory, save_directory
from tasks.services.store import NotFoundError, Store, open_store, split_uri
from tasks.services.verification import read_tombstone
from tvae_core.errors import ArtifactError
from tvae_core.schema import TableSchema
from tvae_core.sources import TableSource

if TYPE_CHECKING:
    from tvae_core import TVAE
    from tvae_core.settings import ModelSettings

MANIFEST = "manifest.json"


def fit_generator(
    source: TableSource,
    schema: TableSchema | None,
    settings: "ModelSettings",
    *,
    seed: int,
    device: str,
    path: Path,
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
    **options: Any,
) -> str:
    """Fit a TVAE to `source`, save it to the absent directory `path` and return its digest.

    `options` are those of `TVAE.fit`: where its checkpoint is kept, and how often. Raises the core's errors:
    SettingsError, SchemaError, DataError, TrainingError.
    """
    from tvae_core import TVAE

    tvae = TVAE.from_settings(settings, seed=seed, device=device)
    tvae.fit(source, schema, on_epoch=on_epoch, **options)
    return tvae.save(path)


def read_privacy(uri: str) -> dict[str, Any]:
    """How the stored generator at `uri` protects the people in its table: `protect_k`, `suppressed`, `tails`, and
    `differential_privacy`, what the accountant says of a private fit (None of others).

    suppressed: by column, how much was withheld, as counts (`tvae_core.protection.Suppressed`), never values. tails:
    the columns of whose extreme values the mean distance from the last one kept was learned.
    """
    root, key = split_uri(uri)
    store = open_store(root)
    settings, codecs = (json.loads(store.get_bytes(f"{key}/{name}.json")) for name in ("settings", "codecs"))
    return {
        "protect_k": settings["settings"].get("protect_k", 0),
        "suppressed": codecs.get("suppressed", {}),
        "tails": [column["name"] for column in codecs["columns"] if column.get("tails")],
        "differential_privacy": settings.get("privacy"),
    }


def describe_epoch(epoch: dict[str, Any]) -> str:
    """One line of an epoch's record in the training history; the last epoch's says what ended training."""
    text = f"epoch {epoch['epoch']}/{epoch['epochs']}"
    if "loss" in epoch:  # a private fit tells none
        text += f"  loss {epoch['loss']:.3f}"
    if epoch.get("validation_loss") is not None:
        text += f"  validation {epoch['validation_loss']:.3f}" + (" (best)" if epoch.get("best") else "")
    text = f"{text}  {epoch['seconds']:.1f} s"
    if epoch.get("skipped_steps"):
        text += f"  {epoch['skipped_steps']} steps left out: not finite"
    return text if not epoch.get("stopped") else f"{text}  {describe_end(epoch)}"


def describe_end(epoch: dict[str, Any]) -> str:
    """Why training ended with this epoch, and what the latent vector carries: none is posterior collapse."""
    nats = epoch["kl_per_unit"]
    use = f"{epoch['active_units']} of {len(nats)} latent units active, {sum(nats):.1f} nats"
    return f"ended by {epoch['stopped']}; {use}" + (
        "" if epoch["active_units"] else ": the posterior collapsed"
    )


def generator_prefix(name: str, version: str) -> str:
    """The folder of the store in which this version of a generator lies."""
    return f"generators/{name}/{version}"


def keep_generator(store: Store, name: str, version: str, path: Path) -> GeneratorRef:
    """Copy the saved generator at `path` into the store, its manifest last: it exists whole or not at all."""
    save_directory(store, generator_prefix(name, version), path)
    found = find_generator(store, name, version)
    if found is None:
        raise ArtifactError(
            f"the generator {name} {version} was written, but its {MANIFEST} is not in the store"
        )
    return found


def find_generator(store: Store, name: str, version: str) -> GeneratorRef | None:
    """The stored generator of that version, or None. Raises ArtifactError when it was retired."""
    prefix = generator_prefix(name, version)
    if not store.exists(f"{prefix}/{MANIFEST}"):
        return None
    uri = store.uri_of(prefix)
    _refuse_retired(store, prefix)
    digest = _digest(store.get_bytes(f"{prefix}/{MANIFEST}"), uri)
    return GeneratorRef(uri=uri, name=name, version=version, digest=digest)


def reference_generator(uri: str) -> GeneratorRef:
    """Refer to the generator at `uri`. Raises ArtifactError when none lies there, or it was retired."""
    root, key = split_uri(uri)
    store = open_store(root)
    try:
        manifest = store.get_bytes(f"{key}/{MANIFEST}")
    except NotFoundError:
        raise ArtifactError(
            f"no generator lies at {uri}: expected a directory with {MANIFEST}, as `tvae fit --out` writes it"
        ) from None
    _refuse_retired(store, key)
    name, _, version = key.rpartition("/")
    return GeneratorRef(
        uri=store.uri_of(key),
        name=name.rpartition("/")[2] or version,
        version=version,
        digest=_digest(manifest, uri),
    )


def _refuse_retired(store: Store, prefix: str) -> None:
    tombstone = read_tombstone(store, prefix)
    if tombstone is not None:
        raise ArtifactError(
            f"the generator at {store.uri_of(prefix)} was retired on {tombstone['retired'][:10]} "
            f"({tombstone['reason']}): use another, or train with another seed or other settings"
        )


def training_history(generator: GeneratorRef) -> list[dict[str, Any]]:
    """The generator's records by epoch. Raises NotFoundError when its files are gone."""
    root, key = split_uri(generator.uri)
    history: list[dict[str, Any]] = json.loads(open_store(root).get_bytes(f"{key}/history.json"))
    return history


@contextlib.contextmanager
def generator_directory(uri: str) -> Iterator[Path]:
    """The generator's directory on this machine: itself when it is local, else a private copy that is removed."""
    if "://" not in uri or uri.startswith("file://"):
        root, key = split_uri(uri)
        path = Path(root.removeprefix("file://")) / key
        if not (path / MANIFEST).is_file():
            reference_generator(uri)
        yield path
        return
    reference_generator(uri)
    root, key = split_uri(uri)
    with tempfile.TemporaryDirectory(prefix="tvae-generator-") as folder:
        path = Path(folder) / "generator"
        fetch_directory(open_store(root), key, path)
        yield path


@contextlib.contextmanager
def open_generator(uri: str, *, device: str = "auto", digest: str | None = None) -> "Iterator[TVAE]":
    """Load the generator at `uri`; every file's digest is checked, and no code of it is run.

    `digest` is the one expected: a generator replaced since it was referred to raises ArtifactError.
    """
    from tvae_core import TVAE

    with generator_directory(uri) as path:
        if digest is not None and _digest((path / MANIFEST).read_bytes(), uri) != digest:
            raise ArtifactError(
                f"the generator at {uri} is not the one this run refers to: it was replaced meanwhile"
            )
        yield TVAE.load(path, device=device)


def _digest(manifest: bytes, uri: str) -> str:
    try:
        content: Mapping[str, Any] = json.loads(manifest)
        return str(content["digest"])
    except (ValueError, KeyError, TypeError):
        raise ArtifactError(
            f"the {MANIFEST} of the generator at {uri} is damaged: fetch or train it again"
        ) from None
