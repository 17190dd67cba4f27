"""Training: a step, an epoch, a loop. History is plain JSON; the best weights are a copy, never a reference."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from tvae_core.layout import Layout
from tvae_core.likelihood import Noise
from tvae_core.losses import LossParts
from tvae_core.model import Rows
from tvae_core.networks import Networks
from tvae_core.prior import ROWS_FOR_PRIOR
from tvae_core.randomness import torch_generator
from tvae_core.settings import ModelSettings
from tvae_core.table import EncodedTable

OnEpoch = Callable[[dict[str, Any]], None]
Weights = dict[str, Tensor]

# Averaged weights: the average forgets with this factor per step, faster at first.
AVERAGE_DECAY = 0.995
WARM_UP_STEPS = 100
LARGEST_GRADIENT = 5.0
# Embeddings decay at this share of the other weights' rate.
EMBEDDING_DECAY = 0.2
# Training steps for a table of up to this many rows; more rows earn more, but far from proportionally.
STEPS, ROWS_OF_STEPS = 1_200, 20_000
EVALUATION_ROWS = 4_096
CALIBRATION_ROWS = 20_000
COUNTED_ROWS = 1_000_000


class Batches:
    """Rows on the device as integers, handed out in batches."""

    def __init__(self, table: EncodedTable, layout: Layout, device: torch.device) -> None:
        self.codes = torch.from_numpy(table.codes).to(device)
        self.scalars = torch.from_numpy(table.scalars).to(device)
        self.code_count = sum(layout.codes)
        self.offsets = torch.from_numpy(layout.code_offsets).to(device)

    def __len__(self) -> int:
        return len(self.codes)

    def rows(self, numbers: Tensor | slice) -> Rows:
        """The given rows, their codes numbered through all columns."""
        return Rows(self.codes[numbers].long() + self.offsets, self.scalars[numbers])

    def shuffled(self, batch_size: int, generator: torch.Generator) -> Iterator[Rows]:
        """Every row once in a new order, in batches of `batch_size`; the last one may be smaller."""
        order = torch.randperm(len(self), generator=generator, device=self.codes.device)
        for start in range(0, len(self), batch_size):
            yield self.rows(order[start : start + batch_size])

    def code_shares(self) -> Tensor:
        """Each code's share of the rows (codes of all columns,)."""
        counts = torch.zeros(self.code_count, dtype=torch.int64, device=self.codes.device)
        for start in range(0, len(self), COUNTED_ROWS):
            codes = self.rows(slice(start, start + COUNTED_ROWS)).codes
            counts += torch.bincount(codes.flatten(), minlength=self.code_count)
        return counts.float() / len(self)

    def some(self, count: int, generator: torch.Generator) -> Rows:
        """At most `count` rows, drawn at random without repeating one."""
        return self.rows(torch.randperm(len(self), generator=generator, device=self.codes.device)[:count])


@dataclass
class Trainer:
    """What a step needs: networks, optimiser, averaged weights, and where the random numbers come from."""

    networks: Networks
    settings: ModelSettings
    optimiser: torch.optim.Optimizer
    generator: torch.Generator
    total_steps: int
    average: Weights | None
    steps: int = 0

    @classmethod
    def at_start(
        cls,
        networks: Networks,
        rows: int,
        settings: ModelSettings,
        generator: torch.Generator,
        *,
        averaged: bool,
    ) -> "Trainer":
        """A trainer at step 0."""
        assert settings.epochs and settings.batch_size
        steps = math.ceil(rows / settings.batch_size) * settings.epochs
        average = {k: v.detach().clone() for k, v in networks.state_dict().items()} if averaged else None
        return cls(networks, settings, make_optimiser(networks, settings), generator, steps, average)

    def step(self, rows: Rows) -> LossParts:
        """One gradient step on one batch."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.learning_rate()
        self.optimiser.zero_grad(set_to_none=True)
        parts = self.networks.training_loss(rows, self.generator)
        parts.total.backward()
        if self.networks.looks:
            nn.utils.clip_grad_norm_(self.networks.trained_parameters(), LARGEST_GRADIENT, foreach=True)
        self.optimiser.step()
        self.networks.decoder.project()
        self.steps += 1
        self._update_average()
        return parts

    def learning_rate(self) -> float:
        """Constant in the reference preset; elsewhere a linear warm-up and a cosine decay to zero."""
        rate = self.settings.learning_rate or 1e-3
        if not self.networks.looks:
            return rate
        warm = min(1.0, (self.steps + 1) / WARM_UP_STEPS)
        return rate * warm * (0.5 + 0.5 * math.cos(math.pi * self.steps / self.total_steps)) + 1e-6

    @torch.no_grad()
    def _update_average(self) -> None:
        if self.average is None:
            return
        keep = min(AVERAGE_DECAY, (1 + self.steps) / (10 + self.steps))
        state = self.networks.state_dict()
        torch._foreach_lerp_(list(self.average.values()), list(state.values()), 1 - keep)

    def epoch(self, batches: Batches) -> tuple[float, float, float]:
        """One pass over the training rows: mean total loss, reconstruction and KL in nats per row."""
        sums = torch.zeros(3, dtype=torch.float64, device=batches.codes.device)
        for rows in batches.shuffled(self.settings.batch_size or 500, self.generator):
            parts = self.step(rows)
            sums += torch.stack([p.detach() for p in parts]).double() * len(rows)
        total, reconstruction, kl = (sums / len(batches)).tolist()
        return total, reconstruction, kl

    def best_weights(self) -> Weights:
        """A copy of the weights to keep: the averaged ones where there are such."""
        source = self.average if self.average is not None else self.networks.state_dict()
        return {name: value.detach().clone() for name, value in source.items()}


def make_optimiser(networks: Networks, settings: ModelSettings) -> torch.optim.Optimizer:
    """Adam as published for the reference preset; elsewhere AdamW with less decay of embeddings, none of biases."""
    rate, decay = settings.learning_rate or 1e-3, settings.l2scale or 0.0
    if not networks.looks:
        return torch.optim.Adam(networks.trained_parameters(), lr=rate, weight_decay=decay, fused=True)
    groups: dict[float, list[nn.Parameter]] = {decay: [], EMBEDDING_DECAY * decay: [], 0.0: []}
    for name, parameter in networks.named_parameters():
        if parameter.dim() <= 1:
            groups[0.0].append(parameter)
        elif name.endswith((".free", "decoder.out")):
            groups[EMBEDDING_DECAY * decay].append(parameter)
        else:
            groups[decay].append(parameter)
    decayed = [{"params": part, "weight_decay": share} for share, part in groups.items()]
    return torch.optim.AdamW(decayed, lr=rate, betas=(0.9, 0.99), fused=True)


def evaluate(networks: Networks, weights: Weights, rows: Rows, seed: int) -> tuple[float, int]:
    """Negative evidence lower bound per row under `weights`, and active units; the same draws of z at every call."""
    generator = torch_generator(seed, "validate", device=rows.codes.device)
    own = {name: value.clone() for name, value in networks.state_dict().items()}
    networks.load_state_dict(weights)
    result = networks.validation_loss(rows, generator)
    networks.load_state_dict(own)
    return result


def size_to_table(settings: ModelSettings, rows: int) -> ModelSettings:
    """Fill in batch size, epochs and patience where they are left open, from the number of training rows."""
    batch_size = settings.batch_size or max(
        16, min(4_096, 2 ** round(math.log2(1.75 * math.sqrt(max(1, rows)))))
    )
    steps = max(1, math.ceil(rows / batch_size))
    wanted = STEPS * max(1.0, rows / ROWS_OF_STEPS) ** 0.35
    epochs = settings.epochs or max(1, math.ceil(wanted / steps))
    patience = 1 + math.ceil(epochs / 5) if settings.patience is None else settings.patience
    return replace(settings, batch_size=batch_size, epochs=epochs, patience=patience)


def train(
    networks: Networks,
    train_rows: Batches,
    validation_rows: Batches | None,
    settings: ModelSettings,
    *,
    seed: int,
    on_epoch: OnEpoch | None = None,
) -> list[dict[str, Any]]:
    """Fit the networks in place, ending with the best weights seen; returns one record per epoch.

    `settings` must be resolved and sized. With validation rows training stops when their loss has not improved for
    `patience` epochs; without, the last weights are the best.
    """
    assert settings.epochs
    generator = torch_generator(seed, "train", device=train_rows.codes.device)
    networks.decoder.start_at_margins(train_rows.code_shares())
    averaged = validation_rows is not None
    trainer = Trainer.at_start(networks, len(train_rows), settings, generator, averaged=averaged)
    held_back = validation_rows.some(EVALUATION_ROWS, generator) if validation_rows is not None else None
    history: list[dict[str, Any]] = []
    best, best_loss, best_epoch = None, math.inf, 0
    began = time.monotonic()
    for epoch in range(1, settings.epochs + 1):
        total, reconstruction, kl = trainer.epoch(train_rows)
        record: dict[str, Any] = {
            "epoch": epoch, "step": trainer.steps, "loss": total, "reconstruction": reconstruction, "kl": kl,
            "validation_loss": None, "active_units": None, "best": False,
        }  # fmt: skip
        if held_back is not None:
            weights = trainer.best_weights()
            loss, record["active_units"] = evaluate(networks, weights, held_back, seed)
            record["validation_loss"] = loss
            if loss < best_loss:
                best, best_loss, best_epoch, record["best"] = weights, loss, epoch, True
        history.append(record)
        if on_epoch is not None:
            on_epoch({**record, "epochs": settings.epochs, "seconds": time.monotonic() - began})
        if settings.patience and held_back is not None and epoch - best_epoch >= settings.patience:
            break
    if best is not None:
        networks.load_state_dict(best)
    return history


@torch.no_grad()
def fit_prior(networks: Networks, train_rows: Batches, *, seed: int) -> None:
    """Fit the prior to the aggregated posterior, then the margins of what it generates to those of the table."""
    if not networks.looks:
        return
    device = train_rows.codes.device
    generator = torch_generator(seed, "prior", device=device)
    z = networks.posterior_draws(train_rows.some(ROWS_FOR_PRIOR, generator), generator)
    networks.prior.fit(z, generator)
    uniforms = torch.rand(CALIBRATION_ROWS, generator=generator, device=device)
    normals = torch.randn(CALIBRATION_ROWS, z.shape[1], generator=generator, device=device)
    noise = Noise.draw(CALIBRATION_ROWS, networks.decoder.layout, torch_generator(seed, "calibrate"), device)
    networks.decoder.calibrate(networks.prior.draw(uniforms, normals), noise)
