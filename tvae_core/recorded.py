"""A training step's loss and gradient recorded once on a GPU and repeated: no launch costs the processor anything.

A step of small layers is hundreds of kernels, each shorter than the time that a processor takes to launch it. A
recorded step (CUDA graph) is launched as one. What a step does must not depend on what is computed in it: see
`CausalDecoder.nll`, and `Chance` for its random numbers, which are drawn before.
"""

import logging
from collections.abc import Callable

import torch
from torch.utils._pytree import tree_map

from tvae_core.losses import LossParts
from tvae_core.model import Rows
from tvae_core.networks import BatchLoss, Chance, Networks

# The kind of device whose steps are recorded.
RECORDED_ON = "cuda"

logger = logging.getLogger(__name__)

LossOfBatch = Callable[[Rows, Chance], LossParts]


class RecordedLoss:
    """The loss of training batches: recorded on a GPU for batches of `rows` rows, computed anew for others.

    Where recording fails, every loss is computed anew, which takes longer and gives the same.
    """

    def __init__(self, networks: Networks, rows: int) -> None:
        self.networks, self.rows = networks, rows
        self._anew: LossOfBatch = BatchLoss(networks)
        self._recorded: LossOfBatch | None = None

    def __call__(self, rows: Rows, chance: Chance) -> LossParts:
        """The loss of a batch, ready for `backward`."""
        if len(rows) != self.rows or rows.codes.device.type != RECORDED_ON or not self.networks.looks:
            return self._anew(rows, chance)
        self._recorded = self._recorded or self._record(rows, chance)
        return self._recorded(rows, chance)

    def _record(self, rows: Rows, chance: Chance) -> LossOfBatch:
        # A module of its own, whose `forward` the recording takes the place of, and inputs of its own, which those of
        # later batches are copied into.
        module = BatchLoss(self.networks)
        inputs = tree_map(torch.clone, (rows, chance))
        try:
            # Tuples of tensors serve as well as tensors, other than its types say.
            record: Callable[..., LossOfBatch] = torch.cuda.make_graphed_callables  # type: ignore[assignment]
            return record(module, inputs, allow_unused_input=True)
        except RuntimeError as error:
            logger.warning("a training step could not be recorded, each is computed anew: %s", error)
            return self._anew
