"""Training that survives a kill: all that it depends on, in one safetensors file that is replaced now and then.

Weights, averaged and best weights, the optimiser's state, random states, the place in the epoch and the history. On a
CPU a resumed training ends with the very weights of one that was never interrupted. A checkpoint carries a fingerprint
of data, settings and code: that of anything else is never used, and neither is a damaged one.
"""

import hashlib
import json
import logging
import math
import os
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from tvae_core import clock
from tvae_core.artifact import canonical_json
from tvae_core.causal import CausalDecoder
from tvae_core.course import Course
from tvae_core.trainer import EpochPlace, Trainer, Weights

logger = logging.getLogger(__name__)

# Checkpoints come more often than they must, as long as saving takes at most this share of the time.
SAVING_SHARE, OFTENEST = 0.01, 1 / 20


class CheckpointKeeper(Protocol):
    """Where the one checkpoint of a training is kept."""

    def load(self) -> bytes | None:
        """What was saved last, None when there is nothing."""

    def save(self, content: bytes) -> None:
        """Put `content` in the place of what was saved before: whole, or not at all."""


class CheckpointFile:
    """A checkpoint in a local file."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def load(self) -> bytes | None:
        """The file's bytes, None when there is no such file."""
        return self.path.read_bytes() if self.path.exists() else None

    def save(self, content: bytes) -> None:
        """Write beside the file, then rename."""
        beside = self.path.with_name(f".{self.path.name}.part")
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self.path)

    def remove(self) -> None:
        """Remove the file, if there is one."""
        self.path.unlink(missing_ok=True)


class Checkpoints:
    """Saves a training's state to `keeper` at least every `minutes`, and finds it again.

    fingerprint: of everything that decides what is trained.
    """

    def __init__(self, keeper: CheckpointKeeper, minutes: float, fingerprint: str) -> None:
        self.keeper, self.fingerprint = keeper, fingerprint
        self._longest = 60.0 * minutes
        self._spacing = OFTENEST * self._longest
        self._last = clock.now()

    def offer(self, trainer: Trainer, course: Course, place: EpochPlace) -> None:
        """Save, if it is time to."""
        began = clock.now()
        if began - self._last < self._spacing:
            return
        self.keeper.save(pack(trainer, course, place, self.fingerprint))
        self._last = clock.now()
        cost = (self._last - began) / SAVING_SHARE
        self._spacing = min(self._longest, max(OFTENEST * self._longest, cost))

    def resume(self, trainer: Trainer, course: Course) -> EpochPlace | None:
        """Put trainer and course where the checkpoint left them and return the place in the epoch; None without one."""
        content = self.keeper.load()
        if content is None:
            return None
        try:
            state, tensors = unpack(content)
        except (ValueError, LookupError, TypeError, SafetensorError) as error:
            logger.warning("the checkpoint is damaged (%s): training starts anew", type(error).__name__)
            return None
        if state.get("fingerprint") != self.fingerprint:
            logger.warning(
                "the checkpoint is one of other data, settings, code or device: training starts anew"
            )
            return None
        if not trainer.optimiser.fits(optimiser_state(tensors)):
            logger.warning("the checkpoint is one of training by other processes: training starts anew")
            return None
        place = restore(trainer, course, state, tensors)
        logger.info("training goes on from a checkpoint: epoch %d, step %d", place.epoch, trainer.steps)
        return place


class Packed(NamedTuple):
    """A checkpoint taken apart: plain values, and tensors by name."""

    state: dict[str, Any]
    tensors: dict[str, Tensor]


def pack(trainer: Trainer, course: Course, place: EpochPlace, fingerprint: str) -> bytes:
    """A training's state as one safetensors file, plain values as JSON inside it, with a digest over all."""
    groups: dict[str, Weights] = {
        "networks": trainer.networks.state_dict(),
        "average": trainer.average or {},
        "best": course.best or {},
        "random": {"generator": trainer.generator.get_state(), "order": place.order},
        "epoch": {"sums": place.sums},
    }
    for number, state in enumerate(trainer.optimiser.state.values()):
        groups[f"optimiser.{number}"] = state
    plain = {
        "fingerprint": fingerprint,
        "steps": trainer.steps, "skipped": trainer.skipped, "first_loss": trainer.first_loss,
        "seconds": trainer.clock.elapsed(),
        "place": {"epoch": place.epoch, "batches": place.batches, "rows": place.rows, "skipped": place.skipped},
        "history": course.history, "best_epoch": course.best_epoch,
        "best_loss": course.best_loss if math.isfinite(course.best_loss) else None,
    }  # fmt: skip
    decoder = trainer.networks.decoder
    if isinstance(decoder, CausalDecoder) and decoder.masks is not None:
        groups["random"]["masks"], plain["masks"] = decoder.masks.drawn_from()
    tensors = {
        f"{group}.{name}": value.detach().cpu().contiguous()
        for group, members in groups.items()
        for name, value in members.items()
    }
    tensors["plain"] = torch.frombuffer(bytearray(canonical_json(plain)), dtype=torch.uint8)
    return save_tensors(tensors, {"sha256": digest_of(tensors)})


def digest_of(tensors: dict[str, Tensor]) -> str:
    """sha256 over names and bytes, in order of name."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def unpack(content: bytes) -> Packed:
    """Read what `pack` wrote. Raises ValueError, LookupError, TypeError or SafetensorError when it is damaged."""
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    tensors = load_tensors(content)
    if header["__metadata__"]["sha256"] != digest_of(tensors):
        raise ValueError("the digest is not that of the tensors")
    return Packed(json.loads(tensors.pop("plain").numpy().tobytes()), tensors)


def restore(
    trainer: Trainer, course: Course, state: dict[str, Any], tensors: dict[str, Tensor]
) -> EpochPlace:
    """Put trainer and course into a checkpoint's state."""
    device = trainer.generator.device

    def group(name: str) -> Weights:
        # In the order of the networks' own state: averaging goes through the values side by side.
        own = trainer.networks.state_dict()
        return {k: tensors[f"{name}.{k}"].to(device) for k in own if f"{name}.{k}" in tensors}

    trainer.networks.load_state_dict(group("networks"))
    trainer.average = group("average") or None
    trainer.optimiser.load(optimiser_state(tensors))
    decoder = trainer.networks.decoder
    if isinstance(decoder, CausalDecoder) and "masks" in state:
        decoder.restore_masks(trainer.generator, tensors["random.masks"], state["masks"])
    trainer.generator.set_state(tensors["random.generator"])
    trainer.steps, trainer.skipped = state["steps"], state["skipped"]
    trainer.first_loss = state["first_loss"]
    trainer.clock = clock.Clock(trainer.clock.limit, before=state["seconds"])
    course.history, course.best_epoch = state["history"], state["best_epoch"]
    course.best = group("best") or None
    course.best_loss = math.inf if state["best_loss"] is None else state["best_loss"]
    return EpochPlace(order=tensors["random.order"], sums=tensors["epoch.sums"].to(device), **state["place"])


def optimiser_state(tensors: dict[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    """The optimiser's state by number of parameter."""
    out: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        group, _, rest = name.partition(".")
        if group == "optimiser":
            number, _, key = rest.partition(".")
            out.setdefault(int(number), {})[key] = value
    return out
