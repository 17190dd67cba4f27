"""Stages 4 and 5: train the generator and keep it under its version."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prefect import task

from tasks.measuring import measured, reuse
from tasks.progress import ProgressArtifact, say
from tasks.references import FileRef, GeneratorRef, SplitRef
from tasks.services.checkpoints import StoredCheckpoint
from tasks.services.generators import (
    describe_epoch,
    find_generator,
    fit_generator,
    keep_generator,
    reference_generator,
)
from tasks.services.keys import derive_seed
from tasks.services.messages import forward_messages
from tasks.services.planning import read_schema
from tasks.services.rates import count_stages
from tasks.services.store import open_store
from tasks.services.tables import open_split
from tasks.stage import RETRY_STORE, STAGE
from tvae_core.settings import ModelSettings


@task(name="train", **STAGE)
@measured("train")
def fit_and_keep(
    *,
    split: SplitRef,
    schema: FileRef,
    model: ModelSettings,
    seed: int,
    device: str,
    store: str,
    name: str,
    version: str,
    checkpoint_minutes: float,
) -> GeneratorRef:
    """Train on the train side of `split`, unless the store holds this version already.

    A training that was killed goes on from its checkpoint in the store.
    """
    target = open_store(store)
    checkpoint = StoredCheckpoint(target, name, version)
    existing = find_generator(target, name, version)
    if existing is not None:
        checkpoint.remove()  # a kill between keeping the generator and this line leaves it behind
        reuse("train", f"this generator exists already and is reused: {existing.uri}")
        return existing
    with (
        tempfile.TemporaryDirectory(prefix="tvae-train-") as folder,
        open_split(split, "train") as source,
        forward_messages(lambda text: say("train", text)),
    ):
        path = Path(folder) / "generator"
        fit_generator(
            source,
            read_schema(schema.uri),
            model,
            seed=derive_seed(seed, "train"),
            device=device,
            path=path,
            on_epoch=_epoch_lines(f"training-{version}"),
            on_rows=count_stages(lambda text: say("train", text)),
            checkpoint=checkpoint,
            checkpoint_minutes=checkpoint_minutes,
        )
        generator = keep_generator(target, name, version, path)
    checkpoint.remove()
    say("train", f"generator kept: {generator.uri}")
    return generator


@task(name="use-generator", **STAGE, **RETRY_STORE)
def use_generator(address: str) -> GeneratorRef:
    """Refer to a generator that was stored before."""
    generator = reference_generator(address)
    say("train", f"nothing is trained: sampling from {generator.uri}")
    return generator


def _epoch_lines(key: str) -> Callable[[dict[str, Any]], None]:
    artifact = ProgressArtifact(key, "Epochs trained, of those planned at most")

    def on_epoch(epoch: dict[str, Any]) -> None:
        say("train", describe_epoch(epoch), epoch["epoch"], epoch["epochs"])
        artifact.update(epoch["epoch"], epoch["epochs"])

    return on_epoch
