"""The reference preset's gradient in closed form is the one that autograd finds."""

from dataclasses import replace

import pytest
import torch

from tvae_core.closed_form import ClosedForm
from tvae_core.layout import ColumnLayout, Layout
from tvae_core.model import Rows
from tvae_core.networks import Networks
from tvae_core.products import product_dtype
from tvae_core.settings import ModelSettings

WIDTHS = (4, 3, 6)
MIXED = Layout([ColumnLayout.plain(4, scalars=1), ColumnLayout.plain(3), ColumnLayout.plain(6, scalars=1)])
CODES_ONLY = Layout([ColumnLayout.plain(width) for width in WIDTHS])


def networks(layout: Layout, **settings) -> Networks:
    made = replace(ModelSettings(preset="reference", **settings).resolved(), compress_dims=(20, 12, 8))
    return Networks.fresh(made, layout, torch.Generator().manual_seed(0))


def batch(layout: Layout, rows: int = 50) -> Rows:
    g = torch.Generator().manual_seed(1)
    codes = torch.stack([torch.randint(0, width, (rows,), generator=g) for width in WIDTHS], 1)
    scalars = torch.rand(rows, layout.scalars, generator=g) * 1.8 - 0.9
    return Rows(codes + torch.from_numpy(layout.code_offsets), scalars)


@pytest.mark.parametrize("layout", [MIXED, CODES_ONLY])
@pytest.mark.parametrize("free_bits", [0.0, 1e5])
@pytest.mark.parametrize("logvar", [0.0, 12.0])  # 12 lies beyond what the encoder lets through
def test_loss_and_gradients_are_those_of_autograd(layout, free_bits, logvar):
    model = networks(layout, free_bits=free_bits)
    with torch.no_grad():
        model.encoder.head.bias[-3:] += logvar
        model.decoder.decoder.sigma[: layout.scalars] = torch.tensor([0.8, 0.4])[: layout.scalars]
    rows = batch(layout)
    expected = model.training_loss(rows, model.chance(len(rows), torch.Generator().manual_seed(2)))
    expected.total.backward()
    gradients = {
        p: torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in model.trained_parameters()
    }
    model.zero_grad()
    closed = ClosedForm.of(model)
    assert closed is not None
    for _ in range(2):  # nothing of an earlier step is left in the gradient
        found = closed.step(batch(layout), torch.Generator().manual_seed(2))
    torch.testing.assert_close(torch.stack(list(found)), torch.stack(list(expected)).detach())
    for parameter, gradient in gradients.items():
        torch.testing.assert_close(
            parameter.grad, gradient, rtol=1e-4, atol=1e-4 * float(gradient.abs().max())
        )


def test_columns_that_look_at_each_other_have_no_closed_form():
    settings = ModelSettings(preset="default").resolved()
    assert ClosedForm.of(Networks.fresh(settings, CODES_ONLY, torch.Generator().manual_seed(0))) is None


def test_rounded_products_give_nearly_the_same_gradient():
    exact, rounded = (networks(MIXED) for _ in range(2))
    gradients = []
    for model, dtype in ((exact, torch.float32), (rounded, torch.bfloat16)):
        closed = ClosedForm.of(model, dtype)
        assert closed is not None
        closed.step(batch(MIXED, 500), torch.Generator().manual_seed(2))
        gradients.append(closed.gradient)
        assert all(p.dtype == p.grad.dtype == torch.float32 for p in model.trained_parameters())
    error = (gradients[0] - gradients[1]).norm() / gradients[0].norm()
    assert 0 < error < 0.01


def test_parameters_are_views_of_the_flat_weights():
    model = networks(MIXED)
    before = [p.detach().clone() for p in model.trained_parameters()]
    closed = ClosedForm.of(model)
    assert closed is not None
    assert all(torch.equal(a, b) for a, b in zip(before, model.trained_parameters(), strict=True))
    with torch.no_grad():
        closed.weights += 1
    assert all(torch.equal(a + 1, b) for a, b in zip(before, model.trained_parameters(), strict=True))


def test_products_are_rounded_only_where_the_processor_multiplies_rounded_numbers(monkeypatch):
    for supported, expected in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda supported=supported: supported)
        assert product_dtype(torch.device("cpu")) is expected
        assert product_dtype(torch.device("cuda")) is torch.float32
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported")
    assert product_dtype(torch.device("cpu")) is torch.float32
