"""The evidence lower bound as pure functions of tensors."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from tvae_core.model import Rows
from tvae_core.table import Layout

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
    """The token segments of a layout on one device, grouped so that each group is summed in one product."""

    def __init__(self, layout: Layout, device: torch.device | str = "cpu") -> None:
        self.scalars = layout.scalars
        self.groups: list[tuple[int, int, Tensor]] = []
        start, widths = layout.scalars, list[int]()
        for width in layout.cardinalities:
            if widths and sum(widths) + width > GROUP_WIDTH:
                self.groups.append(_group(start, widths, device))
                start, widths = start + sum(widths), []
            widths.append(width)
        if widths:
            self.groups.append(_group(start, widths, device))


def _group(start: int, widths: list[int], device: torch.device | str) -> tuple[int, int, Tensor]:
    sizes = torch.tensor(widths)
    member = torch.repeat_interleave(torch.arange(len(widths)), sizes)
    matrix = torch.zeros(sum(widths), len(widths))
    matrix[torch.arange(sum(widths)), member] = 1.0
    return start, start + sum(widths), matrix.to(device)


class _SegmentCrossEntropy(torch.autograd.Function):
    """Sum over segments of -log softmax at the target, with its gradient softmax - one-hot written by hand."""

    @staticmethod
    def forward(ctx: Any, flat: Tensor, targets: Tensor, segments: Segments) -> Tensor:
        exps = flat.clamp(-LARGEST_LOGIT, LARGEST_LOGIT).exp_()
        log_sums = flat.new_zeros(len(flat))
        for start, stop, matrix in segments.groups:
            part = exps[:, start:stop]
            sums = part @ matrix  # (rows, segments of the group)
            log_sums += sums.log().sum(1)
            part.mul_(sums.reciprocal_() @ matrix.T)  # exps -> softmax, in place
        ctx.save_for_backward(exps, targets)
        ctx.scalars = segments.scalars
        chosen = flat.gather(1, targets).clamp(-LARGEST_LOGIT, LARGEST_LOGIT)
        return log_sums - chosen.sum(1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        softmax, targets = ctx.saved_tensors
        out = softmax.mul(grad[:, None])
        out.scatter_add_(1, targets, -grad[:, None].expand(targets.shape))
        out[:, : ctx.scalars] = 0.0
        return out, None, None


def segment_cross_entropy(flat: Tensor, targets: Tensor, segments: Segments) -> Tensor:
    """Cross-entropy in nats of every token, summed over a row's tokens: one softmax per segment.

    flat (rows, data_dim) logits; targets (rows, tokens) positions in the flat vector -> (rows,).
    """
    loss: Tensor = _SegmentCrossEntropy.apply(flat, targets, segments)  # type: ignore[no-untyped-call]
    return loss


def reconstruction_loss(flat: Tensor, sigma: Tensor, rows: Rows, segments: Segments) -> Tensor:
    """-log p(row | z) in nats -> (rows,), up to the Gaussian's constant (Xu et al. 2019, section 4.4).

    A scalar is Gaussian around tanh of its output with standard deviation `sigma` (data_dim,); a token is
    categorical.
    """
    loss = segment_cross_entropy(flat, rows.tokens, segments)
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
    flat: Tensor,
    sigma: Tensor,
    rows: Rows,
    mu: Tensor,
    logvar: Tensor,
    segments: Segments,
    loss_factor: float,
) -> LossParts:
    """loss_factor x reconstruction + KL, each a mean over the batch."""
    reconstruction = reconstruction_loss(flat, sigma, rows, segments).mean()
    kl = kl_divergence(mu, logvar).sum(1).mean()
    return LossParts(loss_factor * reconstruction + kl, reconstruction, kl)
