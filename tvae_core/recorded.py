"""A training step's loss and gradient recorded once on a GPU and repeated: no launch costs the processor anything.

A step of small layers is hundreds of kernels, each shorter than the time that a processor takes to launch it. A
recorded step (CUDA graph) is launched as one. What a step does must not depend on what is computed in it: see
`CausalDecoder.nll`, and `Chance` for its random numbers, which are drawn before.
"""

import gc
import logging
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from tvae_core.losses import LossParts
from tvae_core.model import Rows
from tvae_core.networks import Chance, Networks

# The kind of device whose steps are recorded, and how often a step is computed before.
RECORDED_ON, WARM_UPS = "cuda", 3

logger = logging.getLogger(__name__)

Results = list[Tensor | None]


class Recording(NamedTuple):
    """Work that is repeated by `repeat` on what lies in `inputs`, and leaves its results in `results`."""

    inputs: list[Tensor]
    results: Results
    repeat: Callable[[], None]

    def on(self, *inputs: Rows | Chance) -> Results:
        """The results for other inputs of the same shapes, until the next call."""
        for own, given in zip(self.inputs, tree_leaves(inputs), strict=True):
            own.copy_(given)
        self.repeat()
        return self.results


class Gradients:
    """Puts the gradient of training batches' loss into the parameters.

    Recorded on a GPU for batches of `rows` rows, computed anew for others. Where recording fails, every one is computed
    anew, which takes longer and gives the same.
    """

    def __init__(self, networks: Networks, rows: int) -> None:
        self.networks, self.rows = networks, rows
        self.parameters = list(networks.trained_parameters())
        self.records = networks.looks
        self._recording: Recording | None = None

    def __call__(self, rows: Rows, chance: Chance) -> LossParts:
        """The loss of a batch; its gradient lies in the parameters' `grad` until the next call."""
        if self.records and len(rows) == self.rows and rows.codes.device.type == RECORDED_ON:
            results = self._recorded(rows, chance)
        else:
            results = self._anew(rows, chance)
        for parameter, gradient in zip(self.parameters, results[3:], strict=True):
            parameter.grad = gradient
        total, reconstruction, kl = (part for part in results[:3] if part is not None)
        return LossParts(total, reconstruction, kl)

    def _anew(self, rows: Rows, chance: Chance) -> Results:
        parts = self.networks.training_loss(rows, chance)
        gradients = torch.autograd.grad(parts.total, self.parameters, allow_unused=True)
        return [*(part.detach() for part in parts), *gradients]

    def _recorded(self, rows: Rows, chance: Chance) -> Results:
        if self._recording is None:
            own = tree_map(torch.clone, (rows, chance))  # which those of later batches are copied into
            try:
                results, repeat = record(lambda: self._anew(*own), rows.codes.device)
            except RuntimeError as error:
                logger.warning("a training step could not be recorded, each is computed anew: %s", error)
                self.records = False
                return self._anew(rows, chance)
            self._recording = Recording(tree_leaves(own), results, repeat)
        return self._recording.on(rows, chance)


def record(work: Callable[[], Results], device: torch.device) -> tuple[Results, Callable[[], None]]:
    """Record some work on a GPU: its results, which are filled only by calling what comes with them, again and again.

    Raises RuntimeError where the work waits for a result, or copies from the processor.
    """
    gc.collect()  # what is let go of while recording would end it
    # Whatever happens, the caller's stream is the current one afterwards.
    with torch.cuda.device(device), torch.cuda.stream(torch.cuda.current_stream(device)):
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UPS):
                work()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):
            results = work()
    return results, graph.replay
