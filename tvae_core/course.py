"""What training has found so far."""

import math
from dataclasses import dataclass, field
from typing import Any

from tvae_core.trainer import Weights

Record = dict[str, Any]


@dataclass
class Course:
    """A record per epoch, and the best weights with their loss and epoch."""

    history: list[Record] = field(default_factory=list)
    best: Weights | None = None
    best_loss: float = math.inf
    best_epoch: int = 0

    def keep(self, weights: Weights, loss: float, epoch: int) -> None:
        """Remember a copy of the best weights so far; the ones before are let go first, for memory's sake."""
        self.best, self.best_loss, self.best_epoch = None, loss, epoch
        self.best = {name: value.detach().clone() for name, value in weights.items()}
