"""Adam over groups of parameters: torch's own fused update, its moments kept here.

`torch.optim.Adam` would load torch's compiler, which nothing here uses: two seconds of every fit. The function that it
calls does not.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim.adam import adam

EPSILON = 1e-8


@dataclass(frozen=True)
class Group:
    """Parameters that decay at the same rate."""

    parameters: Sequence[nn.Parameter]
    decay: float = 0.0


class Adam:
    """Kingma and Ba 2014 (arXiv:1412.6980); `decoupled` decay as in Loshchilov and Hutter 2017 (arXiv:1711.05101).

    `state` holds each parameter's mean gradient `exp_avg`, its mean squared gradient `exp_avg_sq`, and how many `step`s
    it has had, in the order of the groups.
    """

    def __init__(
        self, groups: Iterable[Group], *, betas: tuple[float, float] = (0.9, 0.999), decoupled: bool = False
    ) -> None:
        self.groups, self.betas, self.decoupled = list(groups), betas, decoupled
        self.state = {
            parameter: {
                "exp_avg": torch.zeros_like(parameter, requires_grad=False),
                "exp_avg_sq": torch.zeros_like(parameter, requires_grad=False),
                "step": torch.zeros((), device=parameter.device),
            }
            for group in self.groups
            for parameter in group.parameters
        }

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Move every parameter that has a gradient, at this learning rate."""
        for group in self.groups:
            moved = [p for p in group.parameters if p.grad is not None]
            means, squares, steps = (
                [self.state[p][k] for p in moved] for k in ("exp_avg", "exp_avg_sq", "step")
            )
            adam(
                list[Tensor](moved), [p.grad for p in moved if p.grad is not None], means, squares, [], steps,
                lr=rate, beta1=self.betas[0], beta2=self.betas[1], eps=EPSILON, weight_decay=group.decay,
                decoupled_weight_decay=self.decoupled, fused=True, amsgrad=False, maximize=False,
            )  # fmt: skip

    def fits(self, state: dict[int, dict[str, Tensor]]) -> bool:
        """Whether this is the state, by number of parameter, of an Adam of such parameters as these."""
        return shapes(state) == shapes(dict(enumerate(self.state.values())))

    def load(self, state: dict[int, dict[str, Tensor]]) -> None:
        """Take over a state that fits."""
        for number, own in enumerate(self.state.values()):
            for name, value in own.items():
                value.copy_(state[number][name])


def shapes(state: dict[int, dict[str, Tensor]]) -> dict[int, dict[str, torch.Size]]:
    """The shapes of a state's tensors."""
    return {number: {name: value.shape for name, value in own.items()} for number, own in state.items()}
