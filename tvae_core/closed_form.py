"""The published networks' loss and its gradient in closed form: products and masks, without a graph.

A step of small layers spends as long on building and walking a graph as on the products themselves. `ClosedForm` does
what `Networks.training_loss` and `backward` do for the reference preset, with the same random numbers, in about half
the time; the formulas are the chain rule for Kingma and Welling 2013 (arXiv:1312.6114), appendix B and C.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tvae_core.likelihood import IndependentLikelihood
from tvae_core.losses import LossParts, segment_softmax, tvae_loss
from tvae_core.model import (
    LARGEST_LOGVAR,
    LEAST_LOGVAR,
    WIDEST_DENSE,
    Encoder,
    InputLayer,
    Rows,
)
from tvae_core.networks import Networks

# Every parameter starts at a multiple of so many numbers: 64 bytes in float32, a processor's cache line.
ALIGNED = 16


class Flat:
    """One tensor `whole` (numbers,) of zeros, and for each of some parameters a part of it of the same shape."""

    def __init__(self, parameters: Iterable[nn.Parameter], dtype: torch.dtype, device: torch.device) -> None:
        parameters = list(parameters)
        sizes = [-(-p.numel() // ALIGNED) * ALIGNED for p in parameters]
        self.whole = torch.zeros(sum(sizes), dtype=dtype, device=device)
        parts = zip(parameters, self.whole.split(sizes), strict=True)
        self._parts: dict[Tensor, Tensor] = {p: part[: p.numel()].view(p.shape) for p, part in parts}

    def __getitem__(self, parameter: Tensor) -> Tensor:
        return self._parts[parameter]


@dataclass
class ClosedForm:
    """Encoder and independent decoder. `weights` and its gradient, flat, are those of all their parameters.

    `rounded` are the weights in the type that products are computed in, `found` the gradient in it.
    """

    encoder: Encoder
    likelihood: IndependentLikelihood
    loss_factor: float
    free_bits: float
    weights: nn.Parameter
    rounded: Flat
    found: Flat

    @classmethod
    def of(cls, networks: Networks, dtype: torch.dtype = torch.float32) -> "ClosedForm | None":
        """The closed form of these networks; None where columns look at each other, or rows are too wide for it.

        The networks' parameters and their gradients become views of the flat ones. Products are computed in `dtype`.
        """
        encoder, likelihood = networks.encoder, networks.decoder
        if not isinstance(likelihood, IndependentLikelihood) or likelihood.layout.data_dim > WIDEST_DENSE:
            return None
        parameters = list(networks.trained_parameters())
        device = parameters[0].device
        values, gradient = (Flat(parameters, torch.float32, device) for _ in range(2))
        weights = nn.Parameter(values.whole)
        weights.grad = gradient.whole
        for parameter in parameters:
            values[parameter].copy_(parameter.detach())
            parameter.data, parameter.grad = values[parameter], gradient[parameter]
        if dtype is not torch.float32:
            values, gradient = (Flat(parameters, dtype, device) for _ in range(2))
        factor, bits = networks.loss_factor, networks.free_bits
        return cls(encoder, likelihood, factor, bits, weights, rounded=values, found=gradient)

    @property
    def gradient(self) -> Tensor:
        """All parameters' gradient, flat."""
        assert self.weights.grad is not None
        return self.weights.grad

    @torch.no_grad()
    def step(self, rows: Rows, generator: torch.Generator) -> LossParts:
        """The loss of a batch, with one draw of z per row; its gradient goes into the parameters."""
        into, out = (
            [self.encoder.first, *_linear_layers(self.encoder.hidden)],
            _linear_layers(self.likelihood.decoder.hidden),
        )
        head, tail = self.encoder.head, self.likelihood.decoder.head
        dtype = self.rounded.whole.dtype
        if dtype is not torch.float32:
            self.rounded.whole.copy_(self.weights)
        x = rows.dense(self.likelihood.layout.data_dim, dtype)
        encoded = self._activations(into, x)
        mu, raw = self._linear(head, encoded[-1]).float().chunk(2, dim=1)
        logvar = raw.clamp(LEAST_LOGVAR, LARGEST_LOGVAR)
        std = torch.exp(0.5 * logvar)
        excess = (std * std).sub_(1)  # of the variance over the prior's
        noise = torch.randn(mu.shape, generator=generator, device=mu.device)
        decoded = self._activations(out, torch.addcmul(mu, std, noise).to(dtype))
        output = self._linear(tail, decoded[-1]).float()

        nll, at_output = self._likelihood(output, rows)
        # `kl_divergence` with the variance at hand: no second exp().
        kl = (mu * mu).add_(excess).sub_(logvar).sum(1).mul_(0.5)
        parts = tvae_loss(nll, kl, loss_factor=self.loss_factor, free_bits=self.free_bits)
        at_decoded = self._linear_back(tail, decoded[-1], at_output.to(dtype))
        at_z = self._back(out, decoded, at_decoded).float()
        # Where nats are free, the divergence has no gradient.
        share = (parts.kl > self.free_bits) / len(rows)
        at_logvar = torch.addcmul(excess.mul_(share), at_z, noise.mul_(std)).mul_(0.5)
        at_raw = torch.ops.aten.hardtanh_backward(at_logvar, raw, LEAST_LOGVAR, LARGEST_LOGVAR)
        at_head = torch.cat([at_z.addcmul_(mu, share), at_raw], dim=1).to(dtype)
        self._back(into, encoded, self._linear_back(head, encoded[-1], at_head), inputs=False)
        if dtype is not torch.float32:
            self.gradient.copy_(self.found.whole)
        return parts

    def _likelihood(self, output: Tensor, rows: Rows) -> tuple[Tensor, Tensor]:
        """-log p(row | z) (rows,), and the gradient of the loss at the decoder's output (rows, data_dim)."""
        segments = self.likelihood.segments(output.device)
        scalars, scale = segments.scalars, self.loss_factor / len(rows)
        targets = rows.codes + scalars
        gradient, loss = segment_softmax(output, targets, segments)
        nll = loss.sum(1)
        gradient.scatter_add_(1, targets, gradient.new_full(targets.shape, -1.0))
        at_sigma = self.found[self.likelihood.decoder.sigma].zero_()
        if scalars:
            sigma = self.likelihood.decoder.sigma[:scalars]
            mean = torch.tanh(output[:, :scalars])
            error = rows.scalars - mean
            squares = (error / sigma).square_()
            nll += (0.5 * squares + sigma.log()).sum(1)
            gradient[:, :scalars] = -error / sigma.square() * (1 - mean * mean)
            at_sigma[:scalars] = (1 - squares).sum(0) / sigma * scale
        return nll, gradient.mul_(scale)

    def _back(
        self, layers: list[nn.Module], activations: list[Tensor], gradient: Tensor, *, inputs: bool = True
    ) -> Tensor:
        """From the gradient at the last ReLU layer's activation to that at the first one's input."""
        for place in reversed(range(len(layers))):
            gradient = torch.ops.aten.threshold_backward(gradient, activations[place + 1], 0)
            gradient = self._linear_back(
                layers[place], activations[place], gradient, inputs=inputs or place > 0
            )
        return gradient

    def _linear_back(self, layer: nn.Module, x: Tensor, gradient: Tensor, *, inputs: bool = True) -> Tensor:
        """Write a layer's own gradient; return that at its input x, unless nobody asks for it."""
        assert isinstance(layer, nn.Linear | InputLayer)
        torch.sum(gradient, 0, out=self.found[layer.bias])
        weight = self.rounded[layer.weight]
        if isinstance(layer, InputLayer):
            torch.mm(x.T, gradient, out=self.found[layer.weight])
            return gradient @ weight.T if inputs else gradient
        torch.mm(gradient.T, x, out=self.found[layer.weight])
        return gradient @ weight if inputs else gradient

    def _linear(self, layer: nn.Module, x: Tensor) -> Tensor:
        assert isinstance(layer, nn.Linear | InputLayer)
        weight = self.rounded[layer.weight]
        return torch.addmm(self.rounded[layer.bias], x, weight if isinstance(layer, InputLayer) else weight.T)

    def _activations(self, layers: list[nn.Module], x: Tensor) -> list[Tensor]:
        """The input and what each ReLU layer makes of it."""
        out = [x]
        for layer in layers:
            out.append(self._linear(layer, out[-1]).relu_())
        return out


def _linear_layers(layers: nn.Module) -> list[nn.Module]:
    return [layer for layer in layers.children() if isinstance(layer, nn.Linear)]
