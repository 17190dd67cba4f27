"""Proposals of rows: their random numbers, and which of them are kept by their weights."""

import torch
from torch import Tensor

from tvae_core.errors import ConditionError
from tvae_core.likelihood import rows_at_a_time, running_sum

# A group of fewer rows has too small a pool.
FEWEST_ROWS = 16


def rows_of_a_pool(widest: int) -> int:
    """Rows whose proposals make one pool; as many on a GPU as on a processor, for what is chosen depends on it."""
    return rows_at_a_time(widest, torch.device("cpu"))


def spread(uniforms: Tensor, count: int) -> Tensor:
    """`count` sets of numbers for each row's one, evenly apart, each uniform (rows, ...) -> (rows * count, ...).

    >>> spread(torch.tensor([[0.25], [0.75]]), 2).flatten().tolist()
    [0.25, 0.75, 0.75, 0.25]
    """
    apart = torch.arange(count, device=uniforms.device) / count
    return (uniforms.unsqueeze(1) + apart.view(1, -1, *[1] * (uniforms.dim() - 1))).frac().flatten(0, 1)


def choose(weight: Tensor, groups: Tensor) -> Tensor:
    """Choose n of count * n proposals by their log-weights (count, n), within groups (n,) -> numbers (n,).

    Evenly spaced along the weights (systematic resampling), so that one proposal a row of equal weights is kept as it
    is. Row i of the n takes one of its own group's proposals.
    Raises ConditionError for a group without a proposal of any weight.

    >>> weight = torch.tensor([[0.2, 0.1, 0.1], [0.2, 0.2, 0.2]]).log()
    >>> choose(weight, torch.zeros(3, dtype=torch.int64)).tolist()
    [0, 3, 5]
    >>> choose(torch.tensor([[0.7, 0.1], [0.1, 0.1]]).log(), torch.tensor([4, 4])).tolist()
    [0, 1]
    """
    numbers = torch.arange(weight.numel(), device=weight.device).view(weight.shape)
    chosen = torch.zeros_like(groups)
    for group in groups.unique():
        held = groups == group
        steps = running_sum(torch.softmax(weight[:, held].flatten().double(), 0))
        if not bool(steps[-1] > 0):  # nor where it is not a number
            raise ConditionError(
                "the conditions can't be met together: no row has them all; loosen one of them"
            )
        count = int(held.sum())
        middles = (torch.arange(count, device=steps.device) + 0.5) / count * steps[-1]
        places = torch.searchsorted(steps, middles).clamp_(max=len(steps) - 1)
        chosen[held] = numbers[:, held].flatten()[places]
    return chosen
