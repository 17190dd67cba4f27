"""Gradients clipped row by row at the price of an ordinary step.

Every weight is used once a row, so a row's gradient of a linear map is the outer product of its input and of the
loss's gradient at its output, whose norm is the product of theirs (Goodfellow 2015, arXiv:1510.01799). One backward
pass to the outputs therefore gives all rows' norms and, rows scaled, the sum of the clipped gradients (Bu et al. 2022,
arXiv:2210.00038): no row's gradient is ever built.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tvae_core.embedding import CodeTable, RankMaps

Gradients = dict[Tensor, Tensor]


def feature_squares(maps: RankMaps) -> Tensor:
    """1 + the squared norm of each code's (or token's) rank features (all,): how far it moves its own vector."""
    squares = maps.features.new_ones(sum(maps.sizes))
    for span, features in zip(maps.spans, maps.split_features(), strict=True):
        squares[span] += features.square().sum(1)
    return squares


@dataclass
class _Record:
    """One use of weights: its output, and from the gradient there the rows' squared norms and the weights' sums."""

    output: Tensor
    squares: Callable[[Tensor], Tensor]
    sums: Callable[[Tensor, Tensor], None]


@dataclass
class Tape:
    """Runs a network's weights on a batch and remembers what the rows' gradients are made of.

    Batches are (rows, ...) or (columns, rows, ...), as each method says. Weights are never differentiated directly.
    """

    records: list[_Record] = field(default_factory=list)
    gradients: Gradients = field(default_factory=dict)
    _tables: list[tuple[Tensor, Tensor, list[nn.Parameter]]] = field(default_factory=list)

    def _watch(
        self, output: Tensor, squares: Callable[[Tensor], Tensor], sums: Callable[[Tensor, Tensor], None]
    ) -> Tensor:
        if not output.requires_grad:
            output.requires_grad_(True)
        self.records.append(_Record(output, squares, sums))
        return output

    def _add(self, weight: Tensor, gradient: Tensor) -> None:
        gradient = gradient.view(weight.shape)
        self.gradients[weight] = self.gradients[weight] + gradient if weight in self.gradients else gradient

    def _table(self, made: Tensor, weights: list[nn.Parameter]) -> Tensor:
        """Where to sum up the gradient of a matrix that is made of weights without data; it is handed on to them."""
        gradient = torch.zeros_like(made)
        self._tables.append((made, gradient, weights))
        return gradient

    def linear(self, layer: nn.Linear, x: Tensor) -> Tensor:
        """x (rows, in) -> (rows, out)."""

        def sums(g: Tensor, scale: Tensor) -> None:
            scaled = g * scale[:, None]
            self._add(layer.weight, scaled.T @ x.detach())
            self._add(layer.bias, scaled.sum(0))

        def squares(g: Tensor) -> Tensor:
            return g.square().sum(1) * (1 + x.detach().square().sum(1))

        return self._watch(F.linear(x, layer.weight.detach(), layer.bias.detach()), squares, sums)

    def column_linear(self, weight: nn.Parameter, bias: nn.Parameter | None, x: Tensor) -> Tensor:
        """x (columns, rows, in) -> (columns, rows, out), each column by its own weights."""

        def sums(g: Tensor, scale: Tensor) -> None:
            scaled = g * scale[:, None]
            self._add(weight, torch.bmm(x.detach().transpose(1, 2), scaled))
            if bias is not None:
                self._add(bias, scaled.sum(1))

        def squares(g: Tensor) -> Tensor:
            inputs = x.detach().square().sum(2) + (bias is not None)
            return (g.square().sum(2) * inputs).sum(0)

        y = torch.bmm(x, weight.detach())
        return self._watch(y if bias is None else y + bias.detach(), squares, sums)

    def offset(self, weight: nn.Parameter, x: Tensor) -> Tensor:
        """x (columns, rows, size) plus a vector of each column."""

        def sums(g: Tensor, scale: Tensor) -> None:
            self._add(weight, (g * scale[:, None]).sum(1))

        return self._watch(x + weight.detach(), lambda g: g.square().sum((0, 2)), sums)

    def embed(self, table: CodeTable, codes: Tensor, *, summed: bool) -> Tensor:
        """Codes (rows, columns) -> the sum of their vectors (rows, dim), or each (columns, rows, dim)."""
        matrix = table()
        gradient = self._table(matrix, [table.free, table.smooth.maps])
        reach = feature_squares(table.smooth)[codes]  # (rows, columns)

        def sums(g: Tensor, scale: Tensor) -> None:
            scaled = (g * scale[:, None]).expand(codes.shape[1], *g.shape[-2:])
            gradient.index_add_(0, codes.T.flatten(), scaled.flatten(0, 1))

        def squares(g: Tensor) -> Tensor:
            own = g.square().sum(-1)
            return own * reach.sum(1) if summed else (own * reach.T).sum(0)

        rows = matrix.detach()
        y = F.embedding_bag(codes, rows, mode="sum") if summed else F.embedding(codes.T, rows)
        return self._watch(y, squares, sums)

    def logits(self, free: nn.Parameter, maps: RankMaps, bias: nn.Parameter, x: Tensor) -> Tensor:
        """x (columns, rows, units) -> flat logits (rows, tokens of all columns)."""
        matrix = maps.add_to(free)
        gradient = self._table(matrix, [free, maps.maps]).split(maps.sizes)
        weights, biases = matrix.detach().split(maps.sizes), bias.detach().split(maps.sizes)
        smooth = maps.split_features()
        y = torch.cat([torch.addmm(b, h, w.T) for b, h, w in zip(biases, x, weights, strict=True)], dim=1)

        def squares(g: Tensor) -> Tensor:
            total, features = g.square().sum(1), iter(smooth)
            for part, h, ordered in zip(g.split(maps.sizes, 1), x.detach(), maps.ordered, strict=True):
                reach = part.square().sum(1)
                if ordered:
                    reach = reach + (part @ next(features)).square().sum(1)
                total = total + reach * h.square().sum(1)
            return total

        def sums(g: Tensor, scale: Tensor) -> None:
            scaled = g * scale[:, None]
            self._add(bias, scaled.sum(0))
            for own, part, h in zip(gradient, scaled.split(maps.sizes, 1), x.detach(), strict=True):
                own.addmm_(part.T, h)

        return self._watch(y, squares, sums)

    def clipped_sums(self, loss: Tensor, max_norm: float) -> tuple[Gradients, Tensor]:
        """The sum over rows of their gradients, each scaled to a norm of at most `max_norm`; and the norms (rows,).

        loss (rows,): each row's own, made of nothing but what this tape recorded of the row.
        """
        at_outputs = torch.autograd.grad(loss.sum(), [record.output for record in self.records])
        squares = torch.stack([r.squares(g) for r, g in zip(self.records, at_outputs, strict=True)])
        norms = squares.sum(0).sqrt()
        scale = (max_norm / norms.clamp(min=1e-12)).clamp(max=1.0)
        for record, g in zip(self.records, at_outputs, strict=True):
            record.sums(g, scale)
        for made, gradient, weights in self._tables:
            handed = torch.autograd.grad(made, weights, gradient, allow_unused=True)
            for weight, own in zip(weights, handed, strict=True):
                if own is not None:
                    self._add(weight, own)
        # What is recorded refers to the tape: taken apart here, its memory need not wait for the garbage collector.
        self.records.clear()
        self._tables.clear()
        return self.gradients, norms
