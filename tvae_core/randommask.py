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
        self._drawn_from = torch.zeros(0, dtype=torch.uint8)

    def __call__(self, x: Tensor) -> Tensor:
        """Set a share of x to zero and scale the rest up; x itself when the share is 0."""
        if not self.share or self.generator is None:
            return x
        size = x.numel()
        if len(self._pool) < 2 * size:
            self._drawn_from = self.generator.get_state()
            self._fill(3 * size)
        place = int(torch.randint(len(self._pool) - size, (), generator=self.generator, device=x.device))
        return x * self._pool[place : place + size].view(x.shape)

    def _fill(self, size: int) -> None:
        assert self.generator is not None
        numbers = torch.rand(size, generator=self.generator, device=self.generator.device)
        self._pool = (numbers >= self.share).float() / (1 - self.share)

    def drawn_from(self) -> tuple[Tensor, int]:
        """The random state that the pool was drawn from, and its size: enough to draw it again."""
        return self._drawn_from, len(self._pool)

    def redraw(self, state: Tensor, size: int) -> None:
        """Draw the pool that `drawn_from` described; the generator is left after it."""
        if self.generator is not None and size:
            self.generator.set_state(state)
            self._drawn_from = state
            self._fill(size)
