"""The training loop: epochs until the best weights are found, the planned ones are over, or the time is.

History is plain JSON, a record per epoch; the best weights are a copy, never a reference.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from tvae_core.batches import Batches
from tvae_core.checkpoints import Checkpoints
from tvae_core.course import Course, Record
from tvae_core.errors import TrainingError
from tvae_core.likelihood import Noise
from tvae_core.model import Rows
from tvae_core.networks import Networks
from tvae_core.prior import ROWS_FOR_PRIOR
from tvae_core.randomness import torch_generator
from tvae_core.settings import ModelSettings
from tvae_core.table import OnRows
from tvae_core.trainer import EpochPlace, Trainer, Weights

OnEpoch = Callable[[dict[str, Any]], None]
OnStageRows = Callable[[str, int, int], None]

# Training steps for a table of up to so many rows; more rows earn more, but far from proportionally.
STEPS, ROWS_OF_STEPS = 1_400, 20_000
# Weight decay and dropout for a table of that many rows. Fewer rows need more of both, up to a limit, more rows less:
# decay as the square root of the rows, dropout as the rows.
DECAY, MOST_DECAY = 0.5, 4.0
DROPOUT, MOST_DROPOUT = 0.2, 0.3
EVALUATION_ROWS = 4_096
# Margins are fitted on so many rows (fewer leave more of their own chance in them: decision 2), on fewer where the
# widest column's softmaxes would take more than 256 MB.
CALIBRATION_ROWS, CALIBRATION_NUMBERS = 60_000, 2**26
# A training batch's activations hold about this many numbers each at most: 128 MB.
BATCH_NUMBERS = 2**25
# Training has diverged when the mean loss exceeds the first step's by this many times it (at least this many nats) in
# so many epochs on end, or in the last one: a hot start may still cool down.
DIVERGED, DIVERGED_EPOCHS = 10.0, 3


def stage_rows(on_rows: OnStageRows | None, stage: str) -> OnRows | None:
    """The same callback for one stage."""
    return None if on_rows is None else partial(on_rows, stage)


def evaluate(networks: Networks, weights: Weights, rows: Rows, seed: int) -> tuple[float, list[float], int]:
    """Negative evidence lower bound per row under `weights`, the nats of each latent unit, and how many are active.

    The same draws of z at every call.
    """
    generator = torch_generator(seed, "validate", device=rows.codes.device)
    with in_place_of(networks, weights):
        loss = networks.validation_loss(rows, generator)
        nats, active = networks.latent_use(rows)
    return loss, nats, active


@contextmanager
def in_place_of(networks: Networks, weights: Weights) -> Iterator[None]:
    """Let the networks use other weights for a while; nothing is copied."""
    held = networks.state_dict(keep_vars=True)
    own = {name: value.data for name, value in held.items()}
    try:
        for name, value in held.items():
            value.data = weights[name]
        yield
    finally:
        for name, value in held.items():
            value.data = own[name]


def size_to_table(settings: ModelSettings, rows: int, columns: int = 1) -> ModelSettings:
    """Fill in what is left open of batch size, epochs, patience, decay and dropout from the number of training rows.

    The batch of a table of many columns is smaller, so that memory grows with the columns but slowly.
    """
    wanted_rows = 1.75 * math.sqrt(max(1, rows))
    bearable = max(1, BATCH_NUMBERS // (columns * (settings.decompress_dims or (1,))[0]))
    most = min(4_096, 2 ** (bearable.bit_length() - 1))
    batch_size = settings.batch_size or max(16, min(most, 2 ** round(math.log2(wanted_rows))))
    steps = max(1, math.ceil(rows / batch_size))
    size = max(1, rows) / ROWS_OF_STEPS
    wanted = STEPS * max(1.0, size) ** 0.35
    epochs = settings.epochs or max(1, math.ceil(wanted / steps))
    patience = 1 + math.ceil(epochs / 5) if settings.patience is None else settings.patience
    decay = min(MOST_DECAY, DECAY / math.sqrt(size)) if settings.l2scale is None else settings.l2scale
    dropout = min(MOST_DROPOUT, DROPOUT / size) if settings.dropout is None else settings.dropout
    return replace(
        settings, batch_size=batch_size, epochs=epochs, patience=patience, l2scale=decay, dropout=dropout
    )


def train(
    networks: Networks,
    train_rows: Batches,
    validation_rows: Batches | None,
    settings: ModelSettings,
    *,
    seed: int,
    on_epoch: OnEpoch | None = None,
    on_rows: OnStageRows | None = None,
    checkpoints: Checkpoints | None = None,
) -> list[Record]:
    """Fit the networks in place, ending with the best weights seen; returns one record per epoch.

    `settings` must be resolved and sized. With validation rows training stops when their loss has not improved for
    `patience` epochs; without, the last weights are the best. Training goes on from `checkpoints` and saves to them.
    Raises TrainingError when the loss is not finite or diverges.
    """
    assert settings.epochs
    generator = torch_generator(seed, "train", device=train_rows.device)
    networks.decoder.start_at_margins(train_rows.code_shares())
    averaged = validation_rows is not None
    trainer = Trainer.at_start(networks, len(train_rows), settings, generator, averaged=averaged)
    held_back = validation_rows.some(EVALUATION_ROWS, generator) if validation_rows is not None else None
    course = Course()
    place = checkpoints.resume(trainer, course) if checkpoints is not None else None
    for epoch in range(place.epoch if place else 1, settings.epochs + 1):
        place = place or trainer.start_epoch(epoch)
        for seen in trainer.epoch(train_rows, place):
            if on_rows is not None:
                on_rows(f"epoch {epoch}", seen, len(train_rows))
            if checkpoints is not None and trainer.writes:
                checkpoints.offer(trainer, course, place)
        record = close_epoch(trainer, place, course, held_back, seed)
        record["stopped"] = why_stop(trainer, course, epoch)
        check_course(trainer, course)
        if record["stopped"] and held_back is None:
            some = train_rows.some(EVALUATION_ROWS, generator)
            record["kl_per_unit"], record["active_units"] = networks.latent_use(some)
        if on_epoch is not None:
            on_epoch({**record, "epochs": settings.epochs, "seconds": trainer.clock.elapsed()})
        if record["stopped"]:
            break
        place = None
    if course.best is not None:
        networks.load_state_dict(course.best)
    networks.let_go()
    return course.history


def close_epoch(
    trainer: Trainer, place: EpochPlace, course: Course, held_back: Rows | None, seed: int
) -> Record:
    """Add an epoch's record to the history, and keep its weights where they are the best so far."""
    total, reconstruction, kl = place.means()
    record: Record = {
        "epoch": place.epoch, "step": trainer.steps, "loss": total, "reconstruction": reconstruction, "kl": kl,
        "skipped_steps": place.skipped, "validation_loss": None, "kl_per_unit": None, "active_units": None,
        "best": False, "stopped": None,
    }  # fmt: skip
    if held_back is not None:
        weights = trainer.judged_weights()
        loss, nats, active = evaluate(trainer.networks, weights, held_back, seed)
        loss = trainer.agree(loss)
        record |= {"validation_loss": loss, "kl_per_unit": nats, "active_units": active}
        if loss < course.best_loss:
            course.keep(weights, loss, place.epoch)
            record["best"] = True
    course.history.append(record)
    return record


def check_course(trainer: Trainer, course: Course) -> None:
    """Raise TrainingError when the losses of the last epochs say that training has diverged."""
    last = course.history[-1]
    start = last["loss"] if trainer.first_loss is None else trainer.first_loss
    most = start + DIVERGED * max(1.0, abs(start))
    recent = [r["loss"] > most for r in course.history[-1 if last["stopped"] else -DIVERGED_EPOCHS :]]
    judged = last["loss"] if last["validation_loss"] is None else last["validation_loss"]
    if not math.isfinite(judged) or (all(recent) and (last["stopped"] or len(recent) == DIVERGED_EPOCHS)):
        raise TrainingError(
            f"training diverged by epoch {last['epoch']}, step {last['step']}: the loss is {judged:.4g} nats, and was "
            f"{start:.4g} at the first step. Lower learning_rate (it is {trainer.settings.learning_rate:g})"
        )


def why_stop(trainer: Trainer, course: Course, epoch: int) -> str | None:
    """What ends training after this epoch, None to go on: the `patience`, the `epochs` planned, or the `time`."""
    settings = trainer.settings
    assert settings.epochs
    if settings.patience and trainer.average is not None and epoch - course.best_epoch >= settings.patience:
        return "patience"
    if epoch >= settings.epochs:
        return "epochs"
    return "time" if trainer.look_at_clock() >= 1 else None


@torch.no_grad()
def fit_prior(networks: Networks, train_rows: Batches, *, seed: int) -> None:
    """Fit the prior to the aggregated posterior, then the margins of what it generates to those of the table."""
    if not networks.looks:
        return
    device = train_rows.device
    generator = torch_generator(seed, "prior", device=device)
    z = networks.posterior_draws(train_rows.some(ROWS_FOR_PRIOR, generator), generator)
    networks.prior.fit(z, generator)
    layout = networks.decoder.layout
    rows = min(CALIBRATION_ROWS, CALIBRATION_NUMBERS // max(layout.tokens))
    uniforms = torch.rand(rows, generator=generator, device=device)
    normals = torch.randn(rows, z.shape[1], generator=generator, device=device)
    noise = Noise.draw(rows, layout, torch_generator(seed, "calibrate"), device)
    networks.decoder.calibrate(networks.prior.draw(uniforms, normals), noise)
