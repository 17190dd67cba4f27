"""The tilt of a causal decoder's biases, which gives rows drawn from the prior the table's margins."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tvae_core.crew import crew
from tvae_core.drawing import Draft, Lane, Tables, draft

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
    with crew(len(parts), z.device) as threads:
        for j, margin in enumerate(margins):
            seen = threads.do(partial(see, j), parts)
            added = tables.tilt[j].copy_(tilt(torch.cat([logits for _, logits in seen]), margin))
            drawn = [(rows, h, logits) for (rows, _), (h, logits) in zip(parts, seen, strict=True)]
            threads.do(partial(place, j, added), drawn)


@torch.no_grad()
def see(j: int, part: tuple[Draft, Lane]) -> tuple[Tensor, Tensor]:
    """Column j's features and logits of some rows that wait for it."""
    rows, lane = part
    return lane.column(j, rows.state)


@torch.no_grad()
def place(j: int, added: Tensor, part: tuple[Draft, Tensor, Tensor]) -> None:
    """Draw column j of some rows, whose logits (rows, tokens) have `added` to them."""
    rows, h, logits = part
    rows.place(j, h, logits.add_(added))


def tilt(logits: Tensor, margin: Tensor) -> Tensor:
    """What to add to logits (rows, tokens) to give their softmax the mean `margin` (tokens,)."""
    rows = len(logits)
    total = torch.zeros_like(margin)
    for _ in range(ROUNDS):
        mean = torch.softmax(logits + total, dim=1).mean(0)
        total += ((margin * rows + 1) / (mean * rows + 1)).log()
    return total
