"""Encoder and the published decoder: tensors only.

A row enters as its codes and scalars. That is a one-hot matrix in all but memory: the first layer looks its columns
up instead of multiplying by zeros.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tvae_core.embedding import CodeTable
from tvae_core.layout import Layout

# logvar stays in a range where exp() is harmless in float32.
LEAST_LOGVAR, LARGEST_LOGVAR = -20.0, 10.0
# Up to this width the one-hot matrix of a batch is cheaper to multiply with than to look up: a lookup's gradient is
# added row by row.
WIDEST_DENSE = 512
FIRST_SIGMA, LEAST_SIGMA, LARGEST_SIGMA = 0.1, 0.01, 1.0


class Rows(NamedTuple):
    """A batch: `codes` (rows, columns) int64, numbered through all columns, `scalars` (rows, scalars) float32."""

    codes: Tensor
    scalars: Tensor

    def __len__(self) -> int:
        return len(self.codes)

    def take(self, rows: Tensor | slice) -> "Rows":
        """The given rows."""
        return Rows(self.codes[rows], self.scalars[rows])

    def dense(self, data_dim: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """The batch as the matrix (rows, data_dim) that it stands for, where every code is a token."""
        scalars = self.scalars.shape[1]
        out = torch.zeros(len(self.codes), data_dim, dtype=dtype, device=self.codes.device)
        out.scatter_(1, self.codes + scalars, 1.0)
        out[:, :scalars] = self.scalars
        return out


@runtime_checkable
class InitialisedLayer(Protocol):
    """A layer that sets its own weights from a generator."""

    def reset_parameters(self, generator: torch.Generator | None) -> None:
        """Set every weight of the layer itself."""
        ...


class InputLayer(nn.Module):
    """A linear layer (data_dim -> out) that takes a dense matrix or `Rows`, with the same result."""

    def __init__(self, data_dim: int, out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(data_dim, out))
        self.bias = nn.Parameter(torch.empty(out))
        self.reset_parameters(None)

    def forward(self, rows: Rows | Tensor) -> Tensor:
        """(rows, data_dim) or `Rows` -> (rows, out)."""
        if not isinstance(rows, Tensor) and len(self.weight) <= WIDEST_DENSE:
            rows = rows.dense(len(self.weight))
        if isinstance(rows, Tensor):
            return torch.addmm(self.bias, rows, self.weight)
        scalars = rows.scalars.shape[1]
        looked_up = F.embedding_bag(rows.codes + scalars, self.weight, mode="sum") + self.bias
        return looked_up + rows.scalars @ self.weight[:scalars] if scalars else looked_up

    def reset_parameters(self, generator: torch.Generator | None) -> None:
        """Uniform within 1 / sqrt(data_dim), as in torch's linear layers."""
        bound = self.weight.shape[0] ** -0.5
        nn.init.uniform_(self.weight, -bound, bound, generator=generator)
        nn.init.uniform_(self.bias, -bound, bound, generator=generator)


class OrdinalInputLayer(nn.Module):
    """The sum of a row's code embeddings, where neighbouring numbers share features of their rank."""

    def __init__(self, layout: Layout, out: int) -> None:
        super().__init__()
        self.table = CodeTable(layout, out)
        self.columns = len(layout.columns)

    def forward(self, rows: Rows) -> Tensor:
        """`Rows` -> (rows, out)."""
        return self.table.sum(rows.codes)

    def reset_parameters(self, generator: torch.Generator | None) -> None:
        """Normal weights such that a row's sum has about unit variance."""
        self.table.initialise(self.columns**-0.5, generator)


def hidden_layers(sizes: Sequence[int]) -> nn.Sequential:
    """Linear layers with ReLU after each."""
    layers: list[nn.Module] = []
    for size_in, size_out in pairwise(sizes):
        layers += [nn.Linear(size_in, size_out), nn.ReLU()]
    return nn.Sequential(*layers)


class Encoder(nn.Module):
    """The posterior q(z | row): mean, standard deviation and log-variance of a diagonal Gaussian.

    >>> mu, std, logvar = Encoder(7, (16, 16), 3)(torch.zeros(5, 7))
    >>> mu.shape, bool((std - (logvar / 2).exp()).abs().max() < 1e-6)
    (torch.Size([5, 3]), True)
    """

    def __init__(
        self,
        data_dim: int,
        compress_dims: Sequence[int],
        embedding_dim: int,
        *,
        first: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.first = first or InputLayer(data_dim, compress_dims[0])
        self.hidden = hidden_layers(compress_dims)
        self.head = nn.Linear(compress_dims[-1], 2 * embedding_dim)

    def forward(self, rows: Rows | Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(rows, data_dim) or `Rows` -> mu, std, logvar, each (rows, embedding_dim)."""
        h = self.hidden(F.relu(self.first(rows)))
        mu, logvar = self.head(h).chunk(2, dim=1)
        logvar = logvar.clamp(LEAST_LOGVAR, LARGEST_LOGVAR)
        return mu, torch.exp(0.5 * logvar), logvar


class Decoder(nn.Module):
    """The likelihood p(row | z) of the paper: all columns independent given z.

    Gives scalars and one run of logits per column, flat, and the scalars' noise sigma.

    >>> reconstruction, sigma = Decoder(3, (16, 16), 7)(torch.zeros(5, 3))
    >>> reconstruction.shape, sigma.shape
    (torch.Size([5, 7]), torch.Size([7]))
    """

    def __init__(self, embedding_dim: int, decompress_dims: Sequence[int], data_dim: int) -> None:
        super().__init__()
        self.hidden = hidden_layers([embedding_dim, *decompress_dims])
        self.head = nn.Linear([embedding_dim, *decompress_dims][-1], data_dim)
        self.sigma = nn.Parameter(torch.full((data_dim,), FIRST_SIGMA))

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """(rows, embedding_dim) -> reconstruction (rows, data_dim), sigma (data_dim,) within [0.01, 1]."""
        return self.head(self.hidden(z)), self.sigma.clamp(LEAST_SIGMA, LARGEST_SIGMA)

    @torch.no_grad()
    def project(self) -> None:
        """Put sigma back into its range after a step: outside it would get no gradient and stay there."""
        self.sigma.clamp_(LEAST_SIGMA, LARGEST_SIGMA)


def initialise(module: nn.Module, generator: torch.Generator) -> None:
    """Set every weight from `generator`; linear layers uniformly within 1 / sqrt(fan in), as torch's own do."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            bound = layer.in_features**-0.5
            nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
            nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
        elif isinstance(layer, Decoder):
            nn.init.constant_(layer.sigma, FIRST_SIGMA)
        elif isinstance(layer, InitialisedLayer):
            layer.reset_parameters(generator)


def reparameterise(mu: Tensor, std: Tensor, generator: torch.Generator) -> Tensor:
    """z = mu + std * noise (Kingma and Welling 2013, arXiv:1312.6114, section 2.4)."""
    noise = torch.randn(mu.shape, generator=generator, device=mu.device)
    return mu + std * noise
