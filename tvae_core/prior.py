"""The prior of z: a Gaussian mixture fitted to the aggregated posterior after training, or the standard normal."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tvae_core.likelihood import running_sum

COMPONENTS = 32
ITERATIONS = 30
ROWS_FOR_PRIOR = 20_000
# A component needs about this many rows per latent unit to have a covariance of its own.
ROWS_PER_UNIT = 4
# Added to every covariance's diagonal, so that it can be inverted.
JITTER = 1e-3


class Prior(nn.Module):
    """A mixture of Gaussians with full covariances; with one component at 0 it is the standard normal.

    weights (K,), means (K, D), cholesky (K, D, D): lower triangular factors of the covariances.
    """

    weights: Tensor
    means: Tensor
    cholesky: Tensor

    def __init__(self, embedding_dim: int, components: int = 1) -> None:
        super().__init__()
        self.register_buffer("weights", torch.full((components,), 1.0 / components))
        self.register_buffer("means", torch.zeros(components, embedding_dim))
        self.register_buffer("cholesky", torch.eye(embedding_dim).repeat(components, 1, 1))

    def draw(self, uniforms: Tensor, normals: Tensor) -> Tensor:
        """z (n, D) from uniforms (n,) that choose the component and standard normals (n, D)."""
        if len(self.weights) == 1:  # no factor is gathered for each row: 64 kB of them where D is 128
            return self.means + normals @ self.cholesky[0].T
        steps = running_sum(self.weights)
        chosen = torch.searchsorted(steps, uniforms * steps[-1], right=True).clamp_(max=len(steps) - 1)
        return self.means[chosen] + torch.bmm(self.cholesky[chosen], normals[:, :, None])[:, :, 0]

    @torch.no_grad()
    def fit(self, z: Tensor, generator: torch.Generator) -> None:
        """Expectation maximisation from a k-means++ start (Arthur and Vassilvitskii 2007) on z (n, D).

        Makes for the number of components that n rows can bear, at most 32.
        """
        n, d = z.shape
        count = max(1, min(COMPONENTS, n // (ROWS_PER_UNIT * d)))
        share = F.one_hot(torch.cdist(z, spread_centres(z, count, generator)).argmin(1), count).to(z.dtype)
        products = (z[:, :, None] * z[:, None, :]).view(n, d * d)
        for _ in range(ITERATIONS):  # both steps are matrix products with z and its outer products
            weight = share.sum(0) + 1e-6
            means = (share.T @ z) / weight[:, None]
            spread = (share.T @ products).view(count, d, d) / weight[:, None, None]
            covariance = (
                spread - means[:, :, None] * means[:, None, :] + JITTER * torch.eye(d, device=z.device)
            )
            cholesky = torch.linalg.cholesky(covariance)
            precision = torch.cholesky_inverse(cholesky)
            linear = torch.bmm(precision, means[:, :, None])[:, :, 0]
            log_determinant = cholesky.diagonal(dim1=1, dim2=2).log().sum(1)
            constant = (weight / n).log() - log_determinant - 0.5 * (linear * means).sum(1)
            square = products @ precision.reshape(count, d * d).T
            share = torch.softmax(constant + z @ linear.T - 0.5 * square, dim=1)
        self.weights, self.means, self.cholesky = weight / weight.sum(), means, cholesky


def spread_centres(z: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """k-means++: rows of z (n, D) far from each other -> (count, D)."""
    centres = z[torch.randint(len(z), (1,), generator=generator, device=z.device)]
    distance = ((z - centres) ** 2).sum(1)
    for _ in range(count - 1):
        chosen = torch.multinomial(distance + 1e-12, 1, generator=generator)
        centres = torch.cat([centres, z[chosen]])
        distance = torch.minimum(distance, ((z - z[chosen]) ** 2).sum(1))
    return centres
