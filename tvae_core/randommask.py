"""Dropout whose random numbers come from a generator that is passed in."""

import torch
from torch import Tensor


class MaskPool:
    """Inverted dropout with masks cut at random places from a pool drawn once.

    Drawing fresh numbers for every mask would take as long as the layers it regularises.
    """

    def __init__(self, share: float, generator: torch.Generator | None) -> None:
        self.share, self.generator = share, generator
        self._pool = torch.zeros(0)

    def __call__(self, x: Tensor) -> Tensor:
        """Set a share of x to zero and scale the rest up; x itself when the share is 0."""
        if not self.share or self.generator is None:
            return x
        size = x.numel()
        if len(self._pool) < 2 * size:
            numbers = torch.rand(3 * size, generator=self.generator, device=x.device)
            self._pool = (numbers >= self.share).to(x.dtype) / (1 - self.share)
        place = int(torch.randint(len(self._pool) - size, (), generator=self.generator, device=x.device))
        return x * self._pool[place : place + size].view(x.shape)
