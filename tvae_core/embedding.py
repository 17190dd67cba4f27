"""Embeddings of codes: a free vector per token, and for ordered columns a smooth function of the code's rank.

Smooth features let neighbouring numbers share what is learned, so that a thousand cells need no more rows than a
hundred (periodic features of numbers: Gorishniy et al. 2022, arXiv:2203.05556).
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tvae_core.layout import ColumnLayout, Layout

FREQUENCIES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
FEATURES = 2 * len(FREQUENCIES) + 1
# Up to this many codes the whole matrix is built and looked up; of more, only what a batch asks for.
MOST_CODES_AT_ONCE = 2**16
# Rank features are gathered for about this many numbers at a time: 64 MB.
GATHERED_NUMBERS = 2**24


def rank_features(ranks: np.ndarray) -> Tensor:
    """Ranks (n,) in [0, 1] -> (n, FEATURES): the rank itself, and cosines and sines, slower ones louder."""
    rank = torch.as_tensor(ranks, dtype=torch.float32)[:, None]
    frequency = torch.tensor(FREQUENCIES, dtype=torch.float32)
    angle, loudness = math.pi * frequency * rank, frequency.rsqrt()
    return torch.cat([2 * rank - 1, torch.cos(angle) * loudness, torch.sin(angle) * loudness], dim=1)


def token_ranks(ranks: np.ndarray, token_of_code: np.ndarray) -> np.ndarray:
    """The mean rank of each token's codes."""
    return np.bincount(token_of_code, weights=ranks) / np.bincount(token_of_code)


class _Smoothed(torch.autograd.Function):
    """Adds features times maps to spans of a matrix's rows (all, dim), in place: one node for all columns."""

    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, maps: Tensor, features: Sequence[Tensor], spans: Sequence[slice]
    ) -> Tensor:
        ctx.features, ctx.spans = features, spans
        for span, part, map_ in zip(spans, features, maps, strict=True):
            rows[span].addmm_(part, map_)
        ctx.mark_dirty(rows)
        return rows

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        parts = zip(ctx.spans, ctx.features, strict=True)
        return grad, torch.stack([part.T @ grad[span] for span, part in parts]), None, None


class RankMaps(nn.Module):
    """For each ordered column a linear map from rank features to vectors, added to the columns' free vectors."""

    features: Tensor
    places: Tensor
    shifts: Tensor

    def __init__(self, layout: Layout, dim: int, *, per_token: bool) -> None:
        super().__init__()
        self.sizes = layout.tokens if per_token else layout.codes
        self.ordered = [c.ranks is not None for c in layout.columns]
        sizes, ordered = np.array(self.sizes), np.array(self.ordered)
        ranks = [_ranks(c, per_token) for c in layout.columns if c.ranks is not None]
        features = rank_features(np.concatenate([*ranks, np.zeros(0)]))
        self.register_buffer("features", features, persistent=False)
        self.maps = nn.Parameter(torch.empty(len(ranks), FEATURES, dim))
        # The ordered columns, and how much further on a number lies among all columns' than among theirs.
        self.register_buffer("places", torch.from_numpy(np.flatnonzero(ordered)), persistent=False)
        shifts = np.cumsum(sizes * ~ordered)[ordered]
        self.register_buffer("shifts", torch.from_numpy(shifts), persistent=False)
        ends = np.cumsum(sizes)[ordered].tolist()
        self.spans = [slice(e - n, e) for e, n in zip(ends, sizes[ordered].tolist(), strict=True)]

    def add_to(self, free: Tensor, rows: Tensor | None = None) -> Tensor:
        """Free vectors (all, dim), or those of `rows` of them, plus the smooth part of the ordered columns' ones."""
        taken = free.clone() if rows is None else F.embedding(rows, free)
        if not self.spans:
            return taken
        whole: Tensor = _Smoothed.apply(taken, self.maps, self.split_features(), self.spans)  # type: ignore[no-untyped-call]
        return whole

    def split_features(self) -> tuple[Tensor, ...]:
        """Each ordered column's rank features (codes or tokens, FEATURES)."""
        return self.features.split([span.stop - span.start for span in self.spans])

    def _features_of(self, numbers: Tensor) -> Tensor:
        """Rank features (rows, ordered columns, FEATURES) of numbers (rows, columns) through all columns."""
        return self.features[numbers[:, self.places] - self.shifts]

    def each(self, numbers: Tensor) -> Tensor:
        """The smooth part of numbers (rows, columns) through all columns -> (ordered columns, rows, dim)."""
        return torch.bmm(self._features_of(numbers).transpose(0, 1), self.maps)

    def sum(self, numbers: Tensor, weights: Tensor | None = None) -> Tensor:
        """Its sum over the columns, each times its weight (rows, columns) -> (rows, dim)."""
        features = self._features_of(numbers)
        if weights is not None:
            features = features * weights[:, self.places, None]
        return features.flatten(1) @ self.maps.flatten(0, 1)


def _ranks(column: ColumnLayout, per_token: bool) -> np.ndarray:
    assert column.ranks is not None
    return token_ranks(column.ranks, column.token_of_code) if per_token else column.ranks


class CodeTable(nn.Module):
    """The embeddings of all codes of all columns.

    Calling it builds their matrix (codes, dim) anew; `each` and `sum` do so only where it is small.
    """

    token_of_code: Tensor

    def __init__(self, layout: Layout, dim: int) -> None:
        super().__init__()
        tokens = [c.token_of_code + o for c, o in zip(layout.columns, layout.token_offsets, strict=True)]
        self.register_buffer("token_of_code", torch.from_numpy(np.concatenate(tokens)), persistent=False)
        self.free = nn.Parameter(torch.empty(sum(layout.tokens), dim))
        self.smooth = RankMaps(layout, dim, per_token=False)

    def forward(self) -> Tensor:
        """The matrix (codes, dim)."""
        return self.smooth.add_to(self.free, self.token_of_code)

    def each(self, codes: Tensor) -> Tensor:
        """The vectors of codes (rows, columns), numbered through all columns -> (columns, rows, dim)."""
        if len(self.token_of_code) <= MOST_CODES_AT_ONCE:
            return F.embedding(codes.T, self())
        vectors = F.embedding(self.token_of_code[codes.T], self.free)
        return vectors.index_add_(0, self.smooth.places, self.smooth.each(codes))

    def sum(self, codes: Tensor, weights: Tensor | None = None) -> Tensor:
        """Their sum over the columns, each times its weight (rows, columns) -> (rows, dim)."""
        if len(self.token_of_code) <= MOST_CODES_AT_ONCE:
            return F.embedding_bag(codes, self(), mode="sum", per_sample_weights=weights)
        tokens = self.token_of_code[codes]
        free = F.embedding_bag(tokens, self.free, mode="sum", per_sample_weights=weights)
        size = max(1, GATHERED_NUMBERS // (FEATURES * max(1, len(self.smooth.places))))
        parts = [slice(start, start + size) for start in range(0, len(codes), size)]
        smooth = [self.smooth.sum(codes[p], None if weights is None else weights[p]) for p in parts]
        return free + torch.cat(smooth)

    def initialise(self, std: float, generator: torch.Generator | None) -> None:
        """Normal weights of standard deviation `std`."""
        nn.init.normal_(self.free, 0.0, std, generator=generator)
        nn.init.normal_(self.smooth.maps, 0.0, std, generator=generator)
