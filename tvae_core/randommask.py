"""Dropout whose random numbers come from a generator that is passed in."""

import math

import torch
from torch import Tensor


class MaskPool:
    """Inverted dropout's masks, on a processor cut at random places from a pool drawn once.

    There, drawing fresh numbers for every mask would take as long as the layers it regularises.
    """

    def __init__(self, share: float, generator: torch.Generator) -> None:
        self.share, self.generator = share, generator
        self._pool = torch.zeros(0)
        self._drawn_from = torch.zeros(0, dtype=torch.uint8)

    def draw(self, *shape: int) -> Tensor:
        """Factors of this shape: 0 for a share of them, above 1 for the rest, 1 in the mean."""
        size = math.prod(shape)
        if self.generator.device.type != "cpu":
            # A GPU draws numbers faster than it would tell where to cut.
            return self._drawn(size).view(shape)
        if len(self._pool) < 2 * size:
            self._drawn_from = self.generator.get_state()
            self._pool = self._drawn(3 * size)
        place = int(torch.randint(len(self._pool) - size, (), generator=self.generator))
        return self._pool[place : place + size].view(shape)

    def _drawn(self, size: int) -> Tensor:
        numbers = torch.rand(size, generator=self.generator, device=self.generator.device)
        return (numbers >= self.share).float() / (1 - self.share)

    def drawn_from(self) -> tuple[Tensor, int]:
        """The random state that the pool was drawn from, and its size: enough to draw it again."""
        return self._drawn_from, len(self._pool)

    def redraw(self, state: Tensor, size: int) -> None:
        """Draw the pool that `drawn_from` described; the generator is left after it."""
        if size:
            self.generator.set_state(state)
            self._drawn_from = state
            self._pool = self._drawn(size)
