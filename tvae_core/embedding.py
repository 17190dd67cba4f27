"""Embeddings of codes: a free vector per token, and for ordered columns a smooth function of the code's rank.

Smooth features let neighbouring numbers share what is learned, so that a thousand cells need no more rows than a
hundred (periodic features of numbers: Gorishniy et al. 2022, arXiv:2203.05556).
"""

import math

import numpy as np
import torch
from torch import Tensor, nn

from tvae_core.layout import ColumnLayout, Layout

FREQUENCIES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
FEATURES = 2 * len(FREQUENCIES) + 1


def rank_features(ranks: np.ndarray) -> Tensor:
    """Ranks (n,) in [0, 1] -> (n, FEATURES): the rank itself, and cosines and sines, slower ones louder."""
    rank = torch.as_tensor(ranks, dtype=torch.float32)[:, None]
    frequency = torch.tensor(FREQUENCIES, dtype=torch.float32)
    angle, loudness = math.pi * frequency * rank, frequency.rsqrt()
    return torch.cat([2 * rank - 1, torch.cos(angle) * loudness, torch.sin(angle) * loudness], dim=1)


def token_ranks(ranks: np.ndarray, token_of_code: np.ndarray) -> np.ndarray:
    """The mean rank of each token's codes."""
    return np.bincount(token_of_code, weights=ranks) / np.bincount(token_of_code)


class RankMaps(nn.Module):
    """For each ordered column a linear map from rank features to vectors, added to the columns' free vectors."""

    features: Tensor

    def __init__(self, layout: Layout, dim: int, *, per_token: bool) -> None:
        super().__init__()
        self.sizes = layout.tokens if per_token else layout.codes
        self.ordered = [c.ranks is not None for c in layout.columns]
        ranks = [_ranks(c, per_token) for c in layout.columns if c.ranks is not None]
        features = rank_features(np.concatenate([*ranks, np.zeros(0)]))
        self.register_buffer("features", features, persistent=False)
        self.maps = nn.Parameter(torch.empty(sum(self.ordered), FEATURES, dim))

    def add_to(self, free: Tensor) -> Tensor:
        """Free vectors (all, dim) plus the smooth part of the ordered columns' ones."""
        if not any(self.ordered):
            return free
        sizes = [size for size, ordered in zip(self.sizes, self.ordered, strict=True) if ordered]
        smooth = zip(self.features.split(sizes), self.maps.unbind(), strict=True)
        # One piece per column, zeros for the unordered: a sum of whole matrices, which has a cheap gradient. In place,
        # because on wide tables these matrices take more memory than anything else.
        pieces = [
            torch.mm(*next(smooth)) if ordered else free.new_zeros(size, free.shape[1])
            for size, ordered in zip(self.sizes, self.ordered, strict=True)
        ]
        whole = torch.cat(pieces)
        del pieces
        return whole.add_(free)


def _ranks(column: ColumnLayout, per_token: bool) -> np.ndarray:
    assert column.ranks is not None
    return token_ranks(column.ranks, column.token_of_code) if per_token else column.ranks


class CodeTable(nn.Module):
    """The embedding matrix of all codes of all columns: (codes, dim), built anew at each call."""

    token_of_code: Tensor

    def __init__(self, layout: Layout, dim: int) -> None:
        super().__init__()
        tokens = [c.token_of_code + o for c, o in zip(layout.columns, layout.token_offsets, strict=True)]
        self.register_buffer("token_of_code", torch.from_numpy(np.concatenate(tokens)), persistent=False)
        self.free = nn.Parameter(torch.empty(sum(layout.tokens), dim))
        self.smooth = RankMaps(layout, dim, per_token=False)

    def forward(self) -> Tensor:
        """The matrix (codes, dim)."""
        return self.smooth.add_to(self.free[self.token_of_code])

    def initialise(self, std: float, generator: torch.Generator | None) -> None:
        """Normal weights of standard deviation `std`."""
        nn.init.normal_(self.free, 0.0, std, generator=generator)
        nn.init.normal_(self.smooth.maps, 0.0, std, generator=generator)
