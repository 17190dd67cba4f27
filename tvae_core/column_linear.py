"""One linear layer per column, all columns in one product."""

import torch
from torch import Tensor, nn


class ColumnLinear(nn.Module):
    """One linear layer per column: (columns, rows, size in) -> (columns, rows, size out)."""

    def __init__(self, columns: int, size_in: int, size_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(columns, size_in, size_out))
        self.bias = nn.Parameter(torch.empty(columns, 1, size_out))

    def forward(self, x: Tensor) -> Tensor:
        """All columns at once."""
        return torch.baddbmm(self.bias, x, self.weight)

    def one(self, column: int, x: Tensor) -> Tensor:
        """One column: (rows, size in) -> (rows, size out)."""
        return torch.addmm(self.bias[column], x, self.weight[column])

    def reset_parameters(self, generator: torch.Generator | None) -> None:
        """Normal weights of unit gain, zero biases."""
        nn.init.normal_(self.weight, 0.0, self.weight.shape[1] ** -0.5, generator=generator)
        nn.init.zeros_(self.bias)
