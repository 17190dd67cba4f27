"""Encoder and decoder: tensors only.

A row enters as the positions of its tokens in the flat vector and its scalars. That is a one-hot matrix in all but
memory: the first layer looks its columns up instead of multiplying by zeros.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# logvar stays in a range where exp() is harmless in float32.
LEAST_LOGVAR, LARGEST_LOGVAR = -20.0, 10.0
FIRST_SIGMA, LEAST_SIGMA, LARGEST_SIGMA = 0.1, 0.01, 1.0


class Rows(NamedTuple):
    """A batch: `tokens` (rows, tokens) int64 positions in the flat vector, `scalars` (rows, scalars) float32."""

    tokens: Tensor
    scalars: Tensor

    def dense(self, data_dim: int) -> Tensor:
        """The batch as the matrix (rows, data_dim) that it stands for."""
        out = torch.zeros(len(self.tokens), data_dim, device=self.tokens.device)
        out.scatter_(1, self.tokens, 1.0)
        out[:, : self.scalars.shape[1]] = self.scalars
        return out


class InputLayer(nn.Module):
    """A linear layer (data_dim -> out) that takes a dense matrix or `Rows`, with the same result."""

    def __init__(self, data_dim: int, out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(data_dim, out))
        self.bias = nn.Parameter(torch.empty(out))

    def forward(self, rows: Rows | Tensor) -> Tensor:
        """(rows, data_dim) or `Rows` -> (rows, out)."""
        if isinstance(rows, Tensor):
            return rows @ self.weight + self.bias
        looked_up = F.embedding_bag(rows.tokens, self.weight, mode="sum") + self.bias
        scalars = rows.scalars.shape[1]
        return looked_up + rows.scalars @ self.weight[:scalars] if scalars else looked_up


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

    def __init__(self, data_dim: int, compress_dims: Sequence[int], embedding_dim: int) -> None:
        super().__init__()
        self.first = InputLayer(data_dim, compress_dims[0])
        self.hidden = hidden_layers(compress_dims)
        self.head = nn.Linear(compress_dims[-1], 2 * embedding_dim)

    def forward(self, rows: Rows | Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(rows, data_dim) or `Rows` -> mu, std, logvar, each (rows, embedding_dim)."""
        h = self.hidden(F.relu(self.first(rows)))
        mu, logvar = self.head(h).chunk(2, dim=1)
        logvar = logvar.clamp(LEAST_LOGVAR, LARGEST_LOGVAR)
        return mu, torch.exp(0.5 * logvar), logvar


class Decoder(nn.Module):
    """The likelihood p(row | z): scalars and one run of logits per token, flat, and the scalars' noise sigma.

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
    """Set every weight from `generator`, uniformly within 1 / sqrt(fan in), as torch's own layers do."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            bound = layer.in_features**-0.5
            nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
            nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
        elif isinstance(layer, InputLayer):
            bound = layer.weight.shape[0] ** -0.5
            nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
            nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
        elif isinstance(layer, Decoder):
            nn.init.constant_(layer.sigma, FIRST_SIGMA)


def reparameterise(mu: Tensor, std: Tensor, generator: torch.Generator) -> Tensor:
    """z = mu + std * noise (Kingma and Welling 2013, arXiv:1312.6114, section 2.4)."""
    noise = torch.randn(mu.shape, generator=generator, device=mu.device)
    return mu + std * noise
