"""A training step and an epoch: optimiser, learning rate, averaged weights, and the guard against losses gone wrong."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from tvae_core.adam import Adam, Group
from tvae_core.batches import Batches
from tvae_core.clock import Clock
from tvae_core.closed_form import ClosedForm
from tvae_core.distributed import Spread, is_spread
from tvae_core.errors import TrainingError
from tvae_core.losses import LossParts
from tvae_core.model import Rows
from tvae_core.networks import Networks
from tvae_core.products import product_dtype
from tvae_core.recorded import Gradients
from tvae_core.settings import ModelSettings

Weights = dict[str, Tensor]

# Averaged weights: the average forgets with this factor per step, faster at first.
AVERAGE_DECAY = 0.995
WARM_UP_STEPS, WARM_UP_SHARE = 100, 0.1
LARGEST_GRADIENT = 5.0
# Embeddings, which few rows move, decay so many times as fast as the other weights.
EMBEDDING_DECAY = 2.0
# Steps left out for a loss or gradient that is not finite: this many, and one more for each hundred steps.
MOST_SKIPPED, STEPS_PER_SKIPPED = 10, 100
# Weights, and the optimiser's means of gradients, below this are set to zero every so many steps.
TINY, STEPS_PER_CUT = 1e-30, 50


@dataclass
class EpochPlace:
    """Where training stands in an epoch: its number, its order's random state, batches done and sums over them.

    sums (3,) float64 on the device: total loss, reconstruction and KL, over `rows` rows.
    """

    epoch: int
    order: Tensor
    sums: Tensor
    batches: int = 0
    rows: int = 0
    skipped: int = 0

    def means(self) -> list[float]:
        """Mean total loss, reconstruction and KL in nats per row."""
        means: list[float] = (self.sums / max(1, self.rows)).tolist()
        return means


@dataclass
class Trainer:
    """What a step needs: networks, optimiser, averaged weights, and where the random numbers come from."""

    networks: Networks
    settings: ModelSettings
    optimiser: Adam
    generator: torch.Generator
    total_steps: int
    average: Weights | None
    clock: Clock = field(default_factory=Clock)
    steps: int = 0
    skipped: int = 0
    first_loss: float | None = None
    time_share: float = 0.0
    spread: Spread | None = None
    closed: ClosedForm | None = None

    def __post_init__(self) -> None:
        self._gradients = Gradients(self.networks, self.settings.batch_size or 500)

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
        clock = Clock(None if settings.max_minutes is None else 60 * settings.max_minutes)
        spread = Spread(networks, generator) if is_spread() else None
        # Gradients that are averaged over processes come from autograd, whose hooks send them.
        closed = ClosedForm.of(networks, product_dtype(generator.device)) if spread is None else None
        return cls(
            networks, settings, make_optimiser(networks, settings, closed), generator, steps, average, clock,
            spread=spread, closed=closed,
        )  # fmt: skip

    def step(self, rows: Rows) -> LossParts | None:
        """One gradient step on one batch; None when its loss or gradient is not finite: the weights stay as they are.

        Raises TrainingError when that has happened too often.
        """
        rate = self.learning_rate()
        parts = self.gradients(rows)
        self.steps += 1
        if not self._clip_gradients():
            self._skip()
            return None
        self.optimiser.step(rate)
        self.networks.decoder.project()
        if self.closed is not None and self.steps % STEPS_PER_CUT == 0:
            self._cut_tiny()
        self._update_average()
        if self.first_loss is None:
            self.first_loss = float(parts.total)
        return parts

    def gradients(self, rows: Rows) -> LossParts:
        """Put the gradient of a batch's loss into the parameters."""
        if self.closed is not None:
            return self.closed.step(rows, self.generator)
        if self.spread is not None:
            self.networks.zero_grad(set_to_none=True)
            return self.spread.gradients(rows)
        return self._gradients(rows, self.networks.chance(len(rows), self.generator))

    def _clip_gradients(self) -> bool:
        """Shorten the gradient where columns look at each other; whether it is finite."""
        if self.closed is not None:
            return math.isfinite(self.closed.gradient.sum())
        gradients = [p.grad for p in self.networks.trained_parameters() if p.grad is not None]
        norm = float(nn.utils.get_total_norm(gradients, foreach=True))
        if self.networks.looks and LARGEST_GRADIENT < norm < math.inf:
            torch._foreach_mul_(gradients, LARGEST_GRADIENT / norm)
        return math.isfinite(norm)

    @torch.no_grad()
    def _cut_tiny(self) -> None:
        """Set to zero what has decayed so far that processors would take many times longer with it (denormals).

        What leads to a unit that no row activates has no gradient but weight decay's, and shrinks without end.
        """
        assert self.closed is not None
        for numbers in (self.closed.weights, *self.optimiser.state[self.closed.weights].values()):
            numbers.masked_fill_(numbers.abs() < TINY, 0)

    def _skip(self) -> None:
        self.skipped += 1
        if self.skipped > MOST_SKIPPED + self.steps // STEPS_PER_SKIPPED:
            raise TrainingError(
                f"training stopped at step {self.steps}: the loss or its gradient was not a finite number in "
                f"{self.skipped} steps. Lower learning_rate (it is {self.settings.learning_rate:g}), or look for "
                "extreme values in the table's continuous columns"
            )

    def progress(self) -> float:
        """Share of the training that is done, by steps or by time, whichever is further."""
        return max(self.steps / self.total_steps, self.time_share)

    def look_at_clock(self) -> float:
        """Share of the time budget that is spent, 1 and more when it is over; the same on every rank."""
        self.time_share = self.agree(self.clock.share()) if self.clock.limit is not None else 0.0
        return self.time_share

    def agree(self, value: float) -> float:
        """A value that decides something: the first rank's, where several train together."""
        return value if self.spread is None else self.spread.agree(value)

    @property
    def writes(self) -> bool:
        """Whether this process keeps checkpoints: the first rank does."""
        return self.spread is None or self.spread.rank == 0

    def learning_rate(self) -> float:
        """Constant in the reference preset; elsewhere a linear warm-up and a cosine decay to zero.

        The decay follows the share of the steps or of the time budget that is spent, whichever is further, so that it
        is complete when either ends (budgeted training: Li, Yumer and Ramanan 2020, arXiv:1905.04753).
        """
        rate = self.settings.learning_rate or 1e-3
        if not self.networks.looks:
            return rate
        warm = min(1.0, max((self.steps + 1) / WARM_UP_STEPS, self.time_share / WARM_UP_SHARE))
        return rate * warm * (0.5 + 0.5 * math.cos(math.pi * min(1.0, self.progress()))) + 1e-6

    @torch.no_grad()
    def _update_average(self) -> None:
        if self.average is None:
            return
        keep = min(AVERAGE_DECAY, (1 + self.steps) / (10 + self.steps))
        state = self.networks.state_dict()
        torch._foreach_lerp_(list(self.average.values()), list(state.values()), 1 - keep)

    def start_epoch(self, epoch: int) -> EpochPlace:
        """The beginning of an epoch."""
        device = self.generator.device
        return EpochPlace(
            epoch, self.generator.get_state(), torch.zeros(3, dtype=torch.float64, device=device)
        )

    def epoch(self, batches: Batches, place: EpochPlace) -> Iterator[int]:
        """Go on from `place`, step by step, to the end of the pass over the training rows or of the time budget.

        Yields after each step the number of rows that the epoch has seen.
        """
        order = self.generator
        if place.batches:  # resumed inside the epoch: its order is drawn again, beside the generator
            order = torch.Generator(order.device).set_state(place.order)
        batch_size = self.settings.batch_size or 500
        for rows in batches.shuffled(batch_size, order, first=place.batches):
            if self.look_at_clock() >= 1 and self.steps:
                break
            parts = self.step(rows)
            place.batches += 1
            if parts is None:
                place.skipped += 1
            else:
                place.sums += torch.stack(list(parts)).double() * len(rows)
                place.rows += len(rows)
            yield min(len(batches), place.batches * batch_size)

    def judged_weights(self) -> Weights:
        """The weights that are judged and perhaps kept, no copy: the averaged ones where there are such."""
        return self.networks.state_dict() if self.average is None else self.average


def make_optimiser(networks: Networks, settings: ModelSettings, closed: ClosedForm | None = None) -> Adam:
    """Adam as published for the reference preset; elsewhere AdamW with more decay of embeddings, none of biases."""
    decay = settings.l2scale or 0.0
    if not networks.looks:
        trained = list(networks.trained_parameters()) if closed is None else [closed.weights]
        return Adam([Group(trained, decay)])
    groups: dict[float, list[nn.Parameter]] = {decay: [], EMBEDDING_DECAY * decay: [], 0.0: []}
    for name, parameter in networks.named_parameters():
        if parameter.dim() <= 1:
            groups[0.0].append(parameter)
        elif name.endswith((".free", "decoder.out")):
            groups[EMBEDDING_DECAY * decay].append(parameter)
        else:
            groups[decay].append(parameter)
    decayed = [Group(part, share) for share, part in groups.items()]
    return Adam(decayed, betas=(0.9, 0.99), decoupled=True)
