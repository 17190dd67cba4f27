"""What training and sampling ask of a decoder: the likelihood of rows given z, and rows drawn from it.

Two decoders offer it: `IndependentLikelihood` (the paper's: columns independent given z) here, and
`CausalDecoder` (columns that look at columns already known) in causal.py.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tvae_core.layout import Layout
from tvae_core.losses import SegmentsOnce, reconstruction_loss
from tvae_core.model import Decoder, Rows

# Rows that a processor draws at a time: what they need fits into its cache. A softmax has so many places for all rows.
ROWS_AT_A_TIME, NUMBERS_AT_A_TIME = 2_048, 2**24


class View(NamedTuple):
    """What a training row's decoder may look at.

    known (at most rows, columns) bool: cells given in the first rows, which every other column sees and which cost
    nothing; rows beyond know none.
    z_seen (rows, 1) bool: whether z is seen. prefix (rows, columns) float: 1 where later columns see the cell.
    """

    known: Tensor
    z_seen: Tensor
    prefix: Tensor

    def rows(self, numbers: Tensor) -> "View":
        """The view of the given rows."""
        return View(*(part[numbers] for part in self))


class Noise(NamedTuple):
    """The random numbers of a block of rows: a row's cells depend on nothing else.

    uniforms (rows, columns, 2) choose token and fine place; normals (rows, scalars).
    """

    uniforms: Tensor
    normals: Tensor

    @classmethod
    def draw(cls, rows: int, layout: Layout, generator: torch.Generator, device: torch.device) -> "Noise":
        """Drawn on the generator's own device, so that every device samples from the same numbers."""
        uniforms = torch.rand(rows, len(layout.columns), 2, generator=generator)
        normals = torch.randn(rows, layout.scalars, generator=generator)
        return cls(uniforms.to(device), normals.to(device))


def power_of_two(most: int, largest: int) -> int:
    """The largest power of two that is neither above `most` nor above `largest`, and 1 at least.

    >>> power_of_two(1000, 4096), power_of_two(1000, 256), power_of_two(0, 256)
    (512, 256, 1)
    """
    return int(2 ** (max(1, min(most, largest)).bit_length() - 1))


def rows_at_a_time(widest: int, device: torch.device) -> int:
    """Rows that are drawn together, whose largest softmax has so many places: on a GPU, as many as there is room for.

    >>> rows_at_a_time(100, torch.device("cpu")), rows_at_a_time(100, torch.device("cuda"))
    (2048, 131072)
    >>> rows_at_a_time(100_000, torch.device("cpu"))
    128
    """
    bearable = NUMBERS_AT_A_TIME // widest
    return power_of_two(bearable, ROWS_AT_A_TIME if device.type == "cpu" else bearable)


def draw_token(logits: Tensor, draws: Tensor) -> Tensor:
    """Invert the cumulative softmax of logits (rows, levels) at draws (rows,) in [0, 1) -> levels (rows,)."""
    cumulative = torch.softmax(logits.float(), dim=1).cumsum_(dim=1)
    # The last sum may fall short of 1 by rounding: scaling the draw keeps it inside.
    inside = (draws * cumulative[:, -1]).unsqueeze(1)
    levels = torch.searchsorted(cumulative, inside, right=True).squeeze(1)
    return levels.clamp_(max=logits.shape[1] - 1)


def draw_share(shares: Tensor, draws: Tensor) -> Tensor:
    """Invert the cumulative sum of shares (rows, codes), not normalised, at draws (rows,) -> codes (rows,)."""
    steps = shares.double().cumsum(1)
    places = (draws * steps[:, -1]).unsqueeze(1)
    chosen = torch.searchsorted(steps, places, right=True).squeeze(1)
    return chosen.clamp_(max=shares.shape[1] - 1)


def running_sum(x: Tensor) -> Tensor:
    """The cumulative sum of one row of numbers (n,), on the processor: a GPU adds such in no fixed order."""
    return x.cpu().cumsum(0).to(x.device)


def draw_same_share(shares: Tensor, draws: Tensor) -> Tensor:
    """`draw_share` with the same shares (codes,) for all draws (rows,).

    >>> draw_same_share(torch.tensor([1.0, 0.0, 3.0]), torch.tensor([0.2, 0.25, 0.9])).tolist()
    [0, 2, 2]
    """
    steps = running_sum(shares.double())
    return torch.searchsorted(steps, draws * steps[-1], right=True).clamp_(max=len(shares) - 1)


class IndependentLikelihood(nn.Module):
    """The paper's likelihood: every column independent of the others given z; codes are tokens."""

    def __init__(self, layout: Layout, embedding_dim: int, decompress_dims: Sequence[int]) -> None:
        super().__init__()
        self.layout = layout
        self.decoder = Decoder(embedding_dim, decompress_dims, layout.data_dim)
        self.segments = SegmentsOnce(layout)

    def nll(self, rows: Rows, z: Tensor, view: View | None, masks: Sequence[Tensor] = ()) -> Tensor:
        """-log p(row | z) in nats -> (rows,)."""
        flat, sigma = self.decoder(z)
        return reconstruction_loss(flat, sigma, rows, self.segments(z.device))

    def views(self, rows: int, generator: torch.Generator) -> View | None:
        """None: these columns look at nothing but z."""
        return None

    def dropout_masks(self, rows: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """None: the paper drops nothing."""
        return ()

    def given_view(self, rows: int, generator: torch.Generator) -> View | None:
        """None: these columns look at nothing but z."""
        return None

    @torch.no_grad()
    def draw(self, z: Tensor, noise: Noise, *, barred: Mapping[int, Sequence[int]] | None = None) -> Rows:
        """Draw every code from its softmax, without the `barred` tokens of a column, every scalar from its Gaussian."""
        parts = torch.arange(len(z), device=z.device).split(rows_at_a_time(self.layout.data_dim, z.device))
        drawn = [
            self._draw(z[part], Noise(*(numbers[part] for numbers in noise)), barred or {}) for part in parts
        ]
        return Rows(torch.cat([rows.codes for rows in drawn]), torch.cat([rows.scalars for rows in drawn]))

    def _draw(self, z: Tensor, noise: Noise, barred: Mapping[int, Sequence[int]]) -> Rows:
        flat, sigma = self.decoder(z)
        scalars = self.layout.scalars
        for column, tokens in barred.items():
            flat[
                :, [scalars + int(self.layout.token_offsets[column]) + token for token in tokens]
            ] = -torch.inf
        spans = zip(self.layout.token_offsets.tolist(), self.layout.tokens, strict=True)
        codes = [
            offset + draw_token(flat[:, scalars + offset :][:, :width], noise.uniforms[:, place, 0])
            for place, (offset, width) in enumerate(spans)
        ]
        values = torch.tanh(flat[:, :scalars]) + noise.normals * sigma[:scalars]
        return Rows(torch.stack(codes, 1), values)

    def project(self) -> None:
        """Keep sigma in its range."""
        self.decoder.project()

    def start_at_margins(self, shares: Tensor) -> None:
        """Nothing: the paper starts from random biases."""

    def calibrate(self, z: Tensor, noise: Noise) -> None:
        """Nothing: the paper samples what it learned."""
