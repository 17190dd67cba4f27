"""Training: a step, an epoch, a loop. History is plain JSON; the best weights are a copy, never a reference."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from tvae_core.losses import LossParts, Segments, tvae_loss
from tvae_core.model import Decoder, Encoder, Rows, reparameterise
from tvae_core.randomness import torch_generator
from tvae_core.settings import ModelSettings
from tvae_core.table import EncodedTable, Layout

OnEpoch = Callable[[dict[str, Any]], None]
Weights = dict[str, Tensor]

# Steps that training may take when `epochs` is left open; it usually stops earlier, on the validation loss.
STEPS_WHEN_OPEN = 4_000
# Steps without a better validation loss before training stops, when `patience` is left open.
PATIENCE_STEPS = 600
# Averaged weights: the average forgets with this factor per step, and starts afresh with training.
AVERAGE_DECAY = 0.995
WARM_UP_STEPS = 100
EVALUATION_ROWS = 8_192


class Networks(nn.Module):
    """Encoder and decoder under one roof, so that they are saved, moved and averaged together."""

    def __init__(self, settings: ModelSettings, data_dim: int) -> None:
        super().__init__()
        assert settings.embedding_dim and settings.compress_dims and settings.decompress_dims
        self.encoder = Encoder(data_dim, settings.compress_dims, settings.embedding_dim)
        self.decoder = Decoder(settings.embedding_dim, settings.decompress_dims, data_dim)

    def loss(
        self, rows: Rows, segments: Segments, loss_factor: float, generator: torch.Generator
    ) -> LossParts:
        """The negative evidence lower bound of a batch, with one draw of z per row."""
        mu, std, logvar = self.encoder(rows)
        flat, sigma = self.decoder(reparameterise(mu, std, generator))
        return tvae_loss(flat, sigma, rows, mu, logvar, segments, loss_factor)


class Batches:
    """The training rows on the device as integers, handed out in a new order each epoch."""

    def __init__(self, table: EncodedTable, layout: Layout, device: torch.device) -> None:
        self.tokens = torch.from_numpy(table.tokens).to(device)
        self.scalars = torch.from_numpy(table.scalars).to(device)
        self.offsets = torch.from_numpy(layout.offsets).to(device)

    def __len__(self) -> int:
        return len(self.tokens)

    def rows(self, numbers: Tensor | slice) -> Rows:
        """A batch of rows, tokens moved to their places in the flat vector."""
        return Rows(self.tokens[numbers].long() + self.offsets, self.scalars[numbers])

    def shuffled(self, batch_size: int, generator: torch.Generator) -> Iterator[Rows]:
        """Every row once, in batches of `batch_size`; the last one may be smaller."""
        order = torch.randperm(len(self), generator=generator, device=self.tokens.device)
        for start in range(0, len(self), batch_size):
            yield self.rows(order[start : start + batch_size])

    def in_order(self, batch_size: int) -> Iterator[Rows]:
        """Every row once, in order."""
        for start in range(0, len(self), batch_size):
            yield self.rows(slice(start, start + batch_size))


@dataclass
class Trainer:
    """What a step needs: networks, optimiser, averaged weights, and where the random numbers come from."""

    networks: Networks
    settings: ModelSettings
    segments: Segments
    optimiser: torch.optim.Optimizer
    generator: torch.Generator
    total_steps: int
    average: Weights | None
    steps: int = 0

    def step(self, rows: Rows) -> LossParts:
        """One gradient step on one batch."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.learning_rate()
        self.optimiser.zero_grad(set_to_none=True)
        parts = self.networks.loss(rows, self.segments, self.settings.loss_factor or 1.0, self.generator)
        parts.total.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        self.networks.decoder.project()
        self.steps += 1
        self._update_average()
        return parts

    def learning_rate(self) -> float:
        """Constant in the reference preset; elsewhere a linear warm-up and a cosine decay to a tenth."""
        rate = self.settings.learning_rate or 1e-3
        if self.settings.preset == "reference":
            return rate
        warm = min(1.0, (self.steps + 1) / WARM_UP_STEPS)
        done = min(1.0, self.steps / max(1, self.total_steps))
        return rate * warm * (0.1 + 0.45 * (1 + math.cos(math.pi * done)))

    @torch.no_grad()
    def _update_average(self) -> None:
        if self.average is None:
            return
        # Early on the average follows closely, so that it never holds the first random weights.
        keep = min(AVERAGE_DECAY, self.steps / (self.steps + 10))
        state = self.networks.state_dict()
        torch._foreach_lerp_(list(self.average.values()), list(state.values()), 1 - keep)

    def epoch(self, batches: Batches) -> tuple[float, float, float]:
        """One pass over the training rows: mean total loss, reconstruction and KL in nats per row."""
        sums = torch.zeros(3, dtype=torch.float64)
        for rows in batches.shuffled(self.settings.batch_size or 500, self.generator):
            parts = self.step(rows)
            sums += torch.stack([p.detach() for p in parts]).double().cpu() * len(rows.tokens)
        total, reconstruction, kl = (sums / len(batches)).tolist()
        return total, reconstruction, kl

    def best_weights(self) -> Weights:
        """A copy of the weights to keep: the averaged ones where there are such."""
        source = self.average if self.average is not None else self.networks.state_dict()
        return {name: value.detach().clone() for name, value in source.items()}


@torch.no_grad()
def evaluate(
    networks: Networks, weights: Weights, batches: Batches, segments: Segments, loss_factor: float, seed: int
) -> float:
    """Negative evidence lower bound per row under `weights`; the same draws of z at every call."""
    generator = torch_generator(seed, "validate", device=batches.tokens.device)
    own = {name: value.clone() for name, value in networks.state_dict().items()}
    networks.load_state_dict(weights)
    total = 0.0
    for rows in batches.in_order(EVALUATION_ROWS):
        parts = networks.loss(rows, segments, loss_factor, generator)
        total += float(parts.total) * len(rows.tokens)
    networks.load_state_dict(own)
    return total / len(batches)


def size_to_table(settings: ModelSettings, rows: int) -> ModelSettings:
    """Fill in batch size, epochs and patience where they are left open, from the number of training rows."""
    batch_size = settings.batch_size or max(32, min(500, 2 ** round(math.log2(max(1, rows) / 32))))
    steps = max(1, math.ceil(rows / batch_size))
    epochs = settings.epochs or max(1, math.ceil(STEPS_WHEN_OPEN / steps))
    patience = max(3, math.ceil(PATIENCE_STEPS / steps)) if settings.patience is None else settings.patience
    return replace(settings, batch_size=batch_size, epochs=epochs, patience=patience)


def train(
    networks: Networks,
    train_rows: Batches,
    validation_rows: Batches | None,
    settings: ModelSettings,
    segments: Segments,
    *,
    seed: int,
    on_epoch: OnEpoch | None = None,
) -> list[dict[str, Any]]:
    """Fit the networks in place, ending with the best weights seen; returns one record per epoch.

    `settings` must be resolved and sized. With validation rows training stops when their loss has not improved for
    `patience` epochs; without, the last weights are the best.
    """
    assert settings.epochs and settings.batch_size
    trainer = start(networks, train_rows, settings, segments, seed=seed, averaged=validation_rows is not None)
    history: list[dict[str, Any]] = []
    best, best_loss, best_epoch = None, math.inf, 0
    began = time.monotonic()
    for epoch in range(1, settings.epochs + 1):
        total, reconstruction, kl = trainer.epoch(train_rows)
        record: dict[str, Any] = {
            "epoch": epoch, "step": trainer.steps, "loss": total, "reconstruction": reconstruction, "kl": kl,
            "validation_loss": None, "best": False,
        }  # fmt: skip
        if validation_rows is not None:
            weights = trainer.best_weights()
            loss = evaluate(networks, weights, validation_rows, segments, settings.loss_factor or 1.0, seed)
            record["validation_loss"] = loss
            if loss < best_loss:
                best, best_loss, best_epoch, record["best"] = weights, loss, epoch, True
        history.append(record)
        if on_epoch is not None:
            on_epoch({**record, "epochs": settings.epochs, "seconds": time.monotonic() - began})
        if settings.patience and validation_rows is not None and epoch - best_epoch >= settings.patience:
            break
    if best is not None:
        networks.load_state_dict(best)
    return history


def start(
    networks: Networks,
    rows: Batches,
    settings: ModelSettings,
    segments: Segments,
    *,
    seed: int,
    averaged: bool,
) -> Trainer:
    """A trainer at step 0."""
    device = rows.tokens.device
    optimiser = torch.optim.Adam(
        networks.parameters(),
        lr=settings.learning_rate or 1e-3,
        weight_decay=settings.l2scale or 0.0,
        fused=True,
    )
    steps = math.ceil(len(rows) / (settings.batch_size or 500)) * (settings.epochs or 1)
    average = {k: v.detach().clone() for k, v in networks.state_dict().items()} if averaged else None
    generator = torch_generator(seed, "train", device=device)
    return Trainer(networks, settings, segments, optimiser, generator, steps, average)
