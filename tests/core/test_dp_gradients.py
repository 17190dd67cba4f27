"""Clipped gradients: the same as one backward pass per row."""

import pytest
import torch

from tests.core.test_given import planted
from tvae_core import ModelSettings, as_source, infer_schema
from tvae_core.dp.gradients import Tape
from tvae_core.dp.loss import row_losses
from tvae_core.losses import kl_divergence
from tvae_core.model import Rows, initialise
from tvae_core.networks import Networks
from tvae_core.table import TableCodec


@pytest.fixture(scope="module")
def networks_and_rows():
    table = planted(400)
    source = as_source(table)
    # Few bins: no token of several codes, as in a private fit.
    settings = ModelSettings(
        bins=2, compress_dims=(12, 10), decompress_dims=(14, 6), embedding_dim=3
    ).resolved()
    codec = TableCodec.fit(source, infer_schema(table), settings, seed=0)
    networks = Networks(settings, codec.layout)
    initialise(networks, torch.Generator().manual_seed(1))
    codes = torch.from_numpy(codec.encode(source).codes[:9]).long() + torch.from_numpy(
        codec.layout.code_offsets
    )
    return networks, Rows(codes, torch.zeros(9, 0))


def test_the_taped_loss_is_the_networks_own(networks_and_rows):
    networks, rows = networks_and_rows
    noise = torch.randn(len(rows), 3, generator=torch.Generator().manual_seed(2))
    nll, kl = row_losses(networks, rows, noise, Tape())
    mu, std, logvar = networks.encoder(rows)
    assert torch.allclose(nll, networks.decoder.nll(rows, mu + std * noise, None), atol=1e-4)
    assert torch.allclose(kl, kl_divergence(mu, logvar).sum(1), atol=1e-5)


@pytest.mark.parametrize("max_norm", [1e9, 3.0])
def test_clipped_sums_are_those_of_one_backward_pass_a_row(networks_and_rows, max_norm):
    networks, rows = networks_and_rows
    noise = torch.randn(len(rows), 3, generator=torch.Generator().manual_seed(2))
    tape = Tape()
    found, norms = tape.clipped_sums(sum(row_losses(networks, rows, noise, tape)), max_norm)
    expected = {p: torch.zeros_like(p) for p in found}
    for i in range(len(rows)):
        networks.zero_grad(set_to_none=True)
        one = rows.take(slice(i, i + 1))
        mu, std, logvar = networks.encoder(one)
        loss = networks.decoder.nll(one, mu + std * noise[i], None) + kl_divergence(mu, logvar).sum(1)
        loss.sum().backward()
        got = {p: p.grad for p in networks.parameters() if p.grad is not None and bool(p.grad.any())}
        assert set(got) <= set(found)
        norm = torch.sqrt(sum(g.square().sum() for g in got.values()))
        assert norm.item() == pytest.approx(norms[i].item(), rel=1e-3)
        for p, g in got.items():
            expected[p] += g * min(1.0, max_norm / norm.item())
    for p, g in found.items():
        assert torch.allclose(g, expected[p], atol=1e-3, rtol=1e-3)
    if max_norm < 1e9:
        assert (norms > max_norm).any()
