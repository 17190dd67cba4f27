"""DP-SGD: clipped gradients of Poisson samples, noise on their sum (Abadi et al. 2016, arXiv:1607.00133).

Of the rows, only the noisy sums are seen by what follows: Adam, the average of the weights, and the drawing of rows.
Nothing is chosen by a loss of real rows: there is no early stop, and the history holds no loss.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tvae_core.adam import Adam, Group
from tvae_core.dp.gradients import Gradients, Tape
from tvae_core.dp.loss import row_losses
from tvae_core.model import Rows
from tvae_core.networks import Networks
from tvae_core.settings import ModelSettings

# Weights are averaged with this decay a step; rates rise over the first steps and fall along a cosine.
AVERAGE_DECAY, WARM_UP_STEPS = 0.98, 20
# Rows that go through the networks at once: a Poisson sample of any size costs no more memory.
ROWS_AT_ONCE = 2_048

OnEpoch = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Plan:
    """What the accountant was told: the probability of a row to be in a step's sample, the number of steps, and the
    noise's standard deviation in multiples of the clipping norm.
    """

    rate: float
    steps: int
    noise: float
    max_grad_norm: float


def train_privately(
    networks: Networks,
    rows: Rows,
    settings: ModelSettings,
    plan: Plan,
    secret: np.random.Generator,
    *,
    on_epoch: OnEpoch | None = None,
) -> list[dict[str, Any]]:
    """Fit the networks in place, ending with the averaged weights; one record an epoch, without any loss.

    rows: all of them, codes numbered through all columns. `secret` draws samples and noise: nobody may know its state,
    so it has one of 128 bits (torch's generators on a processor use 32 bits of a seed).
    """
    assert settings.epochs and settings.learning_rate
    latent = torch.Generator(device=rows.codes.device).manual_seed(int(secret.integers(2**32)))
    step = _Step(networks, rows, plan, secret, latent)
    average = {name: value.detach().clone() for name, value in networks.state_dict().items()}
    history: list[dict[str, Any]] = []
    began = time.monotonic()
    optimiser = Adam([Group(list(networks.trained_parameters()))], betas=(0.9, 0.99))
    for number in range(1, plan.steps + 1):
        rate = min(1.0, number / WARM_UP_STEPS) * (0.5 + 0.5 * math.cos(math.pi * number / plan.steps))
        step.set_gradients()
        optimiser.step(settings.learning_rate * rate)
        keep = min(AVERAGE_DECAY, number / (10 + number))
        torch._foreach_lerp_(list(average.values()), list(networks.state_dict().values()), 1 - keep)
        if number * settings.epochs // plan.steps > len(history):
            history.append({"epoch": len(history) + 1, "step": number})
            if on_epoch is not None:
                on_epoch({**history[-1], "epochs": settings.epochs, "seconds": time.monotonic() - began})
    networks.load_state_dict(average)
    return history


@dataclass
class _Step:
    networks: Networks
    rows: Rows
    plan: Plan
    secret: np.random.Generator
    latent: torch.Generator

    def set_gradients(self) -> None:
        """Give every weight that rows can move its noisy mean gradient."""
        sampled = self.secret.random(len(self.rows)) < self.plan.rate
        chosen = torch.from_numpy(np.flatnonzero(sampled)).to(self.rows.codes.device)
        sums: Gradients = {}
        # An empty sample still says with its noise that it is one: the first part may be empty.
        for part in self.rows.take(chosen).codes.split(ROWS_AT_ONCE):
            for weight, gradient in self._clipped(part).items():
                sums[weight] = sums[weight] + gradient if weight in sums else gradient
        expected = self.plan.rate * len(self.rows)
        deviation = self.plan.noise * self.plan.max_grad_norm
        for weight, gradient in sums.items():
            noise = torch.from_numpy(self.secret.standard_normal(gradient.shape, dtype=np.float32))
            weight.grad = (gradient + deviation * noise.to(gradient.device)) / expected

    def _clipped(self, codes: Tensor) -> Gradients:
        part = Rows(codes, torch.zeros(len(codes), 0, device=codes.device))
        shape = (len(codes), self.networks.prior.means.shape[1])
        noise = torch.randn(shape, generator=self.latent, device=codes.device)
        tape = Tape()
        nll, kl = row_losses(self.networks, part, noise, tape)
        return tape.clipped_sums(nll + kl, self.plan.max_grad_norm)[0]
