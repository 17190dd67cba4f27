"""What a generator's latent space looks like: which units carry something, and whether the prior covers the rows."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch

from tvae_core.batches import Batches
from tvae_core.losses import kl_divergence
from tvae_core.model import reparameterise
from tvae_core.networks import ACTIVE_VARIANCE
from tvae_core.randomness import torch_generator
from tvae_core.sources import as_source
from tvae_core.tvae import TVAE


@dataclass(frozen=True)
class Latent:
    """The latent space as some rows use it.

    Attributes:
        kl: mean Kullback-Leibler divergence of the posterior from N(0, 1), in nats, of each unit, shape (D,).
        variance: variance of the posterior mean over the rows, of each unit, shape (D,).
        posterior: one draw of z a row, shape (n, D).
        prior: as many draws from the prior that sampling uses, shape (n, D).
    """

    kl: np.ndarray
    variance: np.ndarray
    posterior: np.ndarray
    prior: np.ndarray

    @property
    def active(self) -> np.ndarray:
        """Which units are active: their mean varies by more than .01 (Burda et al. 2016, arXiv:1509.00519)."""
        return self.variance > ACTIVE_VARIANCE


@torch.no_grad()
def latent_space(tvae: TVAE, table: pa.Table, *, seed: int = 0) -> Latent:
    """Encode the rows of a table with a fitted generator.

    Raises:
        SchemaError: the table's columns are not those that the generator was trained on.
    """
    source = as_source(table)
    reduced = tvae.constraints_.reduce(source, tvae.constraints_.reduced(tvae.schema_))
    encoded = tvae.codec_.encode(reduced)
    generator = torch_generator(seed, "latent space", device=tvae.device)
    batches = Batches(encoded, tvae.codec_.layout, tvae.device)
    mu, std, logvar = tvae.networks_.encoder(batches.rows(slice(None)))
    normals = torch.randn(mu.shape, generator=generator, device=mu.device)
    uniforms = torch.rand(len(mu), generator=generator, device=mu.device)
    parts = (
        kl_divergence(mu, logvar).mean(0),
        mu.var(0, correction=0),
        reparameterise(mu, std, generator),
        tvae.networks_.prior.draw(uniforms, normals),
    )
    return Latent(*(part.double().cpu().numpy() for part in parts))
