"""The tilt of a causal decoder's biases, which gives rows drawn from the prior the table's margins."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tvae_core.drawing import Lane, Tables, draft

if TYPE_CHECKING:
    from tvae_core.causal import CausalDecoder

ROUNDS = 4


@torch.no_grad()
def fit_tilt(
    decoder: "CausalDecoder", z: Tensor, uniforms: Tensor, margins: Sequence[Tensor], together: int
) -> None:
    """Make the decoder's tilt what gives rows drawn from z (rows, embedding_dim) these token shares by column.

    Column by column through all rows, of which `together` are worked on at a time.
    """
    tables = Tables(decoder, tilted=False)
    parts = []
    for some, numbers in zip(z.split(together), uniforms.split(together), strict=True):
        rows = draft(decoder, tables, numbers)
        parts.append((rows, Lane.start(decoder, tables, decoder.base(rows.codes, some, None))))
    for j, margin in enumerate(margins):
        features, logits = zip(*(lane.column(j, rows.state) for rows, lane in parts), strict=True)
        added = tables.tilt[j].copy_(tilt(torch.cat(logits), margin))
        for (rows, _), h, part in zip(parts, features, logits, strict=True):
            rows.place(j, h, part.add_(added))


def tilt(logits: Tensor, margin: Tensor) -> Tensor:
    """What to add to logits (rows, tokens) to give their softmax the mean `margin` (tokens,)."""
    rows = len(logits)
    total = torch.zeros_like(margin)
    for _ in range(ROUNDS):
        mean = torch.softmax(logits + total, dim=1).mean(0)
        total += ((margin * rows + 1) / (mean * rows + 1)).log()
    return total
