"""The evidence lower bound as pure functions of tensors."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from tvae_core.layout import Layout
from tvae_core.model import Rows

# Logits beyond this are cut before exp(), so that sums over 20,000 categories stay finite in float32.
LARGEST_LOGIT = 60.0
# Segments are summed by a product with a 0/1 matrix of about this many rows: time stays linear in the columns.
GROUP_WIDTH = 2048


class LossParts(NamedTuple):
    """Means over the batch in nats: `total` is what training minimises."""

    total: Tensor
    reconstruction: Tensor
    kl: Tensor


class Segments:
    """The columns' runs of logits on one device, grouped so that each group is summed in one product."""

    def __init__(self, layout: Layout, device: torch.device | str = "cpu") -> None:
        self.scalars = layout.scalars
        self.offsets = torch.from_numpy(layout.token_offsets).to(device)
        self.groups: list[tuple[slice, slice, Tensor]] = []
        token, column, widths = layout.scalars, 0, list[int]()
        for width in (*layout.tokens, None):
            if widths and (width is None or sum(widths) + width > GROUP_WIDTH):
                spans = slice(token, token + sum(widths)), slice(column, column + len(widths))
                self.groups.append((*spans, _membership(widths).to(device)))
                token, column, widths = spans[0].stop, spans[1].stop, []
            if width is not None:
                widths.append(width)


class SegmentsOnce:
    """A layout's segments, made once for the device they are asked for on."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._made: Segments | None = None

    def __call__(self, device: torch.device) -> Segments:
        """The segments on `device`."""
        if self._made is None or self._made.offsets.device != device:
            self._made = Segments(self._layout, device)
        return self._made


def _membership(widths: list[int]) -> Tensor:
    """0/1 matrix (sum of widths, columns): which column each logit belongs to."""
    member = torch.repeat_interleave(torch.arange(len(widths)), torch.tensor(widths))
    return F.one_hot(member, len(widths)).float()


def segment_softmax(flat: Tensor, targets: Tensor, segments: Segments) -> tuple[Tensor, Tensor]:
    """Every column's softmax of flat logits, and -log of it at the targets.

    flat (rows, data_dim); targets (rows, columns) places in it -> (rows, data_dim), (rows, columns). What stands before
    the first column, in the places of scalars, means nothing.
    """
    exps = flat.clamp(-LARGEST_LOGIT, LARGEST_LOGIT).exp_()
    loss = -flat.gather(1, targets).clamp_(-LARGEST_LOGIT, LARGEST_LOGIT)
    for tokens, columns, matrix in segments.groups:
        part = exps[:, tokens]
        sums = part @ matrix  # (rows, columns of the group)
        loss[:, columns] += sums.log()
        part.mul_(sums.reciprocal_() @ matrix.T)  # exps -> softmax, in place
    return exps, loss


class _SegmentCrossEntropy(torch.autograd.Function):
    """-log softmax at the target for every column, with its gradient softmax - one-hot written by hand."""

    @staticmethod
    def forward(ctx: Any, flat: Tensor, targets: Tensor, segments: Segments) -> Tensor:
        exps, loss = segment_softmax(flat, targets, segments)
        ctx.save_for_backward(exps, targets)
        ctx.segments = segments
        return loss

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        softmax, targets = ctx.saved_tensors
        out = torch.zeros_like(softmax)
        for tokens, columns, matrix in ctx.segments.groups:
            torch.mul(softmax[:, tokens], grad[:, columns] @ matrix.T, out=out[:, tokens])
        out.scatter_add_(1, targets, -grad)
        return out, None, None


def segment_cross_entropy(flat: Tensor, targets: Tensor, segments: Segments) -> Tensor:
    """Cross-entropy in nats of every column: one softmax per column.

    flat (rows, data_dim) logits; targets (rows, columns) places in the flat vector -> (rows, columns).
    """
    loss: Tensor = _SegmentCrossEntropy.apply(flat, targets, segments)  # type: ignore[no-untyped-call]
    return loss


def reconstruction_loss(flat: Tensor, sigma: Tensor, rows: Rows, segments: Segments) -> Tensor:
    """-log p(row | z) in nats -> (rows,), up to the Gaussian's constant (Xu et al. 2019, section 4.4).

    A scalar is Gaussian around tanh of its output with standard deviation `sigma` (data_dim,); a code, here always a
    token of its own, is categorical.
    """
    loss = segment_cross_entropy(flat, rows.codes + segments.scalars, segments).sum(1)
    if segments.scalars:
        noise = sigma[: segments.scalars]
        error = rows.scalars - torch.tanh(flat[:, : segments.scalars])
        loss = loss + (error**2 / (2 * noise**2) + noise.log()).sum(1)
    return loss


def kl_divergence(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mu, exp(logvar)) || N(0, 1)) in nats per latent unit (Kingma and Welling 2013, appendix B).

    mu, logvar (rows, embedding_dim) -> (rows, embedding_dim).
    """
    return 0.5 * (mu**2 + logvar.exp() - 1.0 - logvar)


def tvae_loss(
    reconstruction: Tensor, kl: Tensor, *, loss_factor: float = 1.0, free_bits: float = 0.0
) -> LossParts:
    """loss_factor x reconstruction + max(KL - free_bits, 0), each a mean over the batch.

    reconstruction, kl (rows,) in nats. Nats up to `free_bits` cost nothing, which keeps the latent from collapsing
    (Kingma et al. 2016, arXiv:1606.04934, appendix C.8).
    """
    mean_reconstruction, mean_kl = reconstruction.mean(), kl.mean()
    total = loss_factor * mean_reconstruction + torch.relu(mean_kl - free_bits)
    return LossParts(total, mean_reconstruction, mean_kl)
