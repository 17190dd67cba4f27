"""Encoder, decoder and prior under one roof: saved, moved and averaged together."""

from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tvae_core.causal import CausalDecoder
from tvae_core.layout import Layout
from tvae_core.likelihood import IndependentLikelihood, View
from tvae_core.losses import LossParts, kl_divergence, tvae_loss
from tvae_core.model import Encoder, OrdinalInputLayer, Rows, initialise, reparameterise
from tvae_core.prior import Prior
from tvae_core.settings import ModelSettings

# A latent unit is active when its posterior mean varies by more than this (Burda et al. 2016, arXiv:1509.00519).
ACTIVE_VARIANCE = 0.01
# Rows are judged in parts whose activations hold about this many numbers each: 128 MB.
JUDGED_NUMBERS = 2**25


class Chance(NamedTuple):
    """The random numbers of a training batch: its loss depends on nothing else but rows and weights.

    noise (rows, embedding_dim) of z; what each row may look at, None where columns look at nothing; dropout's masks.
    """

    noise: Tensor
    view: View | None
    masks: tuple[Tensor, ...]


class Networks(nn.Module):
    """What a preset's settings make of a layout: one encoder, one of two decoders, a prior."""

    def __init__(self, settings: ModelSettings, layout: Layout, *, components: int = 1) -> None:
        super().__init__()
        dim, compress, decompress = settings.embedding_dim, settings.compress_dims, settings.decompress_dims
        assert dim and compress and decompress
        self.loss_factor, self.free_bits = settings.loss_factor or 1.0, settings.free_bits or 0.0
        self.looks = settings.preset == "default"
        # Numbers in a row's largest activation.
        self.row_numbers = len(layout.columns) * decompress[0] if self.looks else layout.data_dim
        first = OrdinalInputLayer(layout, compress[0]) if self.looks else None
        self.encoder = Encoder(layout.data_dim, compress, dim, first=first)
        self.decoder: CausalDecoder | IndependentLikelihood
        if self.looks:
            width, units = decompress[0], decompress[-1]
            self.decoder = CausalDecoder(layout, dim, width, units, dropout=settings.dropout or 0.0)
        else:
            self.decoder = IndependentLikelihood(layout, dim, decompress)
        self.prior = Prior(dim, components)

    @classmethod
    def fresh(cls, settings: ModelSettings, layout: Layout, generator: torch.Generator) -> "Networks":
        """New networks whose weights come from `generator` alone."""
        networks = cls(settings, layout)
        initialise(networks, generator)
        return networks

    @classmethod
    def restored(cls, settings: ModelSettings, layout: Layout, weights: dict[str, Tensor]) -> "Networks":
        """The networks that these weights were taken from. Raises RuntimeError when they don't fit."""
        with torch.device("meta"):  # shapes alone: no memory is taken for sizes that the weights don't have
            expected = cls(settings, layout, components=len(weights["prior.weights"])).state_dict()
        wrong = [
            name for name in expected if name not in weights or weights[name].shape != expected[name].shape
        ]
        if wrong or len(weights) > len(expected):
            raise RuntimeError(f"{len(wrong)} weights are missing or of another shape")
        networks = cls(settings, layout, components=len(weights["prior.weights"]))
        networks.load_state_dict(weights)
        return networks

    def trained_parameters(self) -> Iterator[nn.Parameter]:
        """All parameters; the prior has none, it is fitted afterwards."""
        return chain(self.encoder.parameters(), self.decoder.parameters())

    def let_go(self) -> None:
        """Drop what only training needs, and give every parameter memory of its own, where several share a tensor."""
        for parameter in self.trained_parameters():
            parameter.data, parameter.grad = parameter.data.clone(), None
        if isinstance(self.decoder, CausalDecoder):
            self.decoder.masks = None

    def chance(self, rows: int, generator: torch.Generator) -> Chance:
        """One draw of z per row, random views and dropout, for a training batch of so many rows."""
        view = self.decoder.views(rows, generator)
        dim = self.encoder.head.out_features // 2
        noise = torch.randn(rows, dim, generator=generator, device=generator.device)
        return Chance(noise, view, self.decoder.dropout_masks(rows, generator))

    def training_loss(self, rows: Rows, chance: Chance) -> LossParts:
        """The loss of a training batch."""
        mu, std, logvar = self.encoder(rows)
        nll = self.decoder.nll(rows, mu + std * chance.noise, chance.view, chance.masks)
        kl = kl_divergence(mu, logvar).sum(1)
        if chance.view is not None:
            # A row that hides z would only teach the posterior to be the prior: the mean is that of the others.
            seen = chance.view.z_seen[:, 0]
            kl = kl * seen * (len(rows) / seen.sum())
        return tvae_loss(nll, kl, loss_factor=self.loss_factor, free_bits=self.free_bits)

    @torch.no_grad()
    def validation_loss(self, rows: Rows, generator: torch.Generator) -> float:
        """What training is judged by, per row and without dropout.

        The negative evidence lower bound; where columns look at each other, its mean with the loss of cells given a
        random set of others, so that training goes on until both kinds of sampling are learned.
        """
        mu, std, logvar = self.encoder(rows)
        z = reparameterise(mu, std, generator)
        nll = self._nll(rows, z, None)
        kl = kl_divergence(mu, logvar).sum(1).mean().clamp(min=self.free_bits)
        loss = self.loss_factor * nll.mean() + kl
        view = self.decoder.given_view(len(rows), generator)
        if view is not None:
            unknown = (~view.known).sum(1)
            given = self._nll(rows, z, view) * view.known.shape[1] / unknown
            loss = (loss + given.mean()) / 2
        return float(loss)

    def _nll(self, rows: Rows, z: Tensor, view: View | None) -> Tensor:
        """-log p(row | z) without dropout, some rows at a time, so that wide tables take no more memory."""
        spans = torch.arange(len(rows), device=z.device).split(max(1, JUDGED_NUMBERS // self.row_numbers))
        if len(spans) == 1:
            return self.decoder.nll(rows, z, view)
        parts = [
            self.decoder.nll(rows.take(span), z[span], view and View(*(v[span] for v in view)))
            for span in spans
        ]
        return torch.cat(parts)

    @torch.no_grad()
    def latent_use(self, rows: Rows) -> tuple[list[float], int]:
        """The mean Kullback-Leibler divergence of each latent unit in nats, and the number of active units."""
        mu, _, logvar = self.encoder(rows)
        active = int((mu.var(0, correction=0) > ACTIVE_VARIANCE).sum())
        nats: list[float] = kl_divergence(mu, logvar).mean(0).tolist()
        return nats, active

    @torch.no_grad()
    def posterior_draws(self, rows: Rows, generator: torch.Generator) -> Tensor:
        """One draw of z per row (rows, embedding_dim)."""
        mu, std, _ = self.encoder(rows)
        return reparameterise(mu, std, generator)
