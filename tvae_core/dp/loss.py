"""The loss of the default preset's networks, row by row, run through a tape.

The same function of the same weights as `Networks` without views and dropout: whole rows, every column seeing z and the
columns before it.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from tvae_core.causal import CausalDecoder, inclusive_sum, normalised
from tvae_core.dp.gradients import Tape
from tvae_core.losses import kl_divergence, segment_cross_entropy
from tvae_core.model import LARGEST_LOGVAR, LEAST_LOGVAR, OrdinalInputLayer, Rows
from tvae_core.networks import Networks


def row_losses(networks: Networks, rows: Rows, noise: Tensor, tape: Tape) -> tuple[Tensor, Tensor]:
    """Reconstruction and Kullback-Leibler term in nats, each (rows,); noise (rows, embedding_dim) standard normal."""
    mu, std, logvar = posterior(networks, rows, tape)
    kl = kl_divergence(mu, logvar).sum(1)
    return negative_log_likelihood(networks.decoder, rows, mu + std * noise, tape), kl


def posterior(networks: Networks, rows: Rows, tape: Tape) -> tuple[Tensor, Tensor, Tensor]:
    """mu, std, logvar, each (rows, embedding_dim); see `Encoder`."""
    encoder = networks.encoder
    assert isinstance(encoder.first, OrdinalInputLayer)
    h = F.relu(tape.embed(encoder.first.table, rows.codes, summed=True))
    for layer in encoder.hidden:
        h = tape.linear(layer, h) if isinstance(layer, torch.nn.Linear) else F.relu(h)
    mu, logvar = tape.linear(encoder.head, h).chunk(2, dim=1)
    logvar = logvar.clamp(LEAST_LOGVAR, LARGEST_LOGVAR)
    return mu, torch.exp(0.5 * logvar), logvar


def negative_log_likelihood(decoder: object, rows: Rows, z: Tensor, tape: Tape) -> Tensor:
    """-log p(row | z) in nats (rows,); see `CausalDecoder.nll`."""
    assert isinstance(decoder, CausalDecoder)
    assert not decoder.fine.columns
    base = tape.linear(decoder.from_z, z)
    seen = tape.embed(decoder.before, rows.codes, summed=False)
    before = inclusive_sum(seen) - seen
    state = tape.offset(decoder.position, before + base)
    low = F.silu(tape.column_linear(decoder.first.weight, decoder.first.bias, normalised(state)))
    direct = tape.column_linear(decoder.direct, None, state)
    state = state + inclusive_sum(tape.column_linear(decoder.mix, None, low))
    second = tape.column_linear(decoder.second.weight, decoder.second.bias, normalised(state))
    h = low + F.silu(second)
    inner = F.silu(tape.column_linear(decoder.inner.weight, decoder.inner.bias, h))
    h = h + tape.column_linear(decoder.outer, None, inner) + direct
    logits = tape.logits(decoder.out, decoder.out_maps, decoder.bias, h)
    tokens = decoder.before.token_of_code[rows.codes]
    return segment_cross_entropy(logits, tokens, decoder.segments(z.device)).sum(1)
