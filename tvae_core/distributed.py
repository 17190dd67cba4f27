"""Training spread over processes: each takes its share of every batch, and gradients are averaged.

Torch's DistributedDataParallel does the work; processes are started by torchrun, on one machine or several. Every
rank calls `TVAE.fit` with the same arguments and ends with the same generator, which rank 0 is to write.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from tvae_core.losses import LossParts
from tvae_core.model import Rows
from tvae_core.networks import Chance, Networks
from tvae_core.randomness import torch_generator


@contextmanager
def process_group() -> Iterator[int]:
    """Join the group of processes that torchrun started, for the length of the block; gives this process's rank.

    Without torchrun (no WORLD_SIZE in the environment) there is no group, and the rank is 0. Gradients travel by NCCL
    between GPUs, one per process, and by Gloo between processors.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield 0
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield dist.get_rank()
    finally:
        dist.destroy_process_group()


def is_spread() -> bool:
    """Whether this process is one of several that train together."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


class _Loss(nn.Module):
    """The training loss as the forward pass of a module: what DistributedDataParallel can wrap."""

    def __init__(self, networks: Networks) -> None:
        super().__init__()
        self.networks = networks

    def forward(self, rows: Rows, chance: Chance) -> LossParts:
        """The loss of a rank's share of a batch."""
        return self.networks.training_loss(rows, chance)


class Spread:
    """This process's part of a training that several share.

    The order of rows comes from `generator`, the same on every rank; latent noise and dropout from a generator of the
    rank's own.
    """

    def __init__(self, networks: Networks, generator: torch.Generator) -> None:
        self.networks = networks
        self.rank, self.world = dist.get_rank(), dist.get_world_size()
        self.device = generator.device
        self.noise = torch_generator(generator.initial_seed(), "rank", self.rank, device=self.device)
        # Which parameters a batch uses depends on what is given in its rows.
        self.loss = DistributedDataParallel(
            _Loss(networks), broadcast_buffers=False, find_unused_parameters=True
        )

    def gradients(self, rows: Rows) -> LossParts:
        """Put the gradient of the batch's mean loss into the parameters; each rank sees every `world`th row."""
        share = rows.take(slice(self.rank, None, self.world)) if len(rows) >= self.world else rows
        parts: LossParts = self.loss(share, self.networks.chance(len(share), self.noise))
        parts.total.backward()
        means = torch.stack([part.detach() for part in parts])
        dist.all_reduce(means)
        return LossParts(*(means / self.world))

    def agree(self, value: float) -> float:
        """Rank 0's value, on every rank: clocks and rounding differ, decisions must not."""
        told: Tensor = torch.tensor(value, dtype=torch.float64, device=self.device)
        dist.broadcast(told, 0)
        return float(told)
