"""What a GPU asks of a training step: that it can be recorded and repeated, and that rounded products do no harm."""

import logging
import math
from copy import deepcopy

import numpy as np
import pytest
import torch
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from tests.core.test_tvae import planted
from tvae_core import TVAE
from tvae_core.layout import ColumnLayout, Layout
from tvae_core.model import Rows
from tvae_core.networks import Networks
from tvae_core.randomness import torch_generator
from tvae_core.recorded import Gradients
from tvae_core.settings import ModelSettings

SMALL = {"embedding_dim": 4, "compress_dims": [16], "decompress_dims": [16], "batch_size": 64, "epochs": 3}
# A category, a number in bins of several fine places, and a number in single cells.
LAYOUT = Layout(
    (
        ColumnLayout.plain(4),
        ColumnLayout(np.array([0, 0, 0, 1, 2, 2, 2]), np.array([0, 1, 2, 0, 0, 1, 2]), np.linspace(0, 1, 7)),
        ColumnLayout.plain(5, ranks=np.linspace(0, 1, 5)),
    )
)


def step(rows=64, layout=LAYOUT):
    """Networks, a batch, and its random numbers."""
    generator = torch_generator(0, "test")
    networks = Networks.fresh(ModelSettings(**SMALL).resolved(), layout, generator)
    with torch.no_grad():
        for parameter in networks.parameters():
            if not parameter.any():  # zeros at the start would hide what a part does
                parameter.normal_(0, 0.3, generator=generator)
    codes = [torch.randint(0, codes, (rows,), generator=generator) for codes in layout.codes]
    batch = Rows(torch.stack(codes, 1) + torch.from_numpy(layout.code_offsets), torch.zeros(rows, 0))
    return networks, batch, networks.chance(rows, generator)


class OnOneDevice(TorchDispatchMode):
    """Raises where a computation takes or makes a tensor elsewhere than on `device`: a GPU would wait for its copy."""

    def __init__(self, device):
        super().__init__()
        self.device = device

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for tensor in pytree.tree_leaves((args, kwargs, out)):
            if isinstance(tensor, torch.Tensor) and tensor.device.type != self.device:
                raise AssertionError(f"{function} has a tensor on {tensor.device}")
        return out


@pytest.mark.parametrize("most_codes", [2**16, 0])
def test_a_step_waits_for_no_result_and_copies_nothing_to_the_device(monkeypatch, most_codes):
    monkeypatch.setattr("tvae_core.embedding.MOST_CODES_AT_ONCE", most_codes)
    networks, rows, chance = step()
    # Tensors without values: whatever asks for one fails, and so does what mixes devices.
    networks, rows, chance = networks.to("meta"), *pytree.tree_map(lambda x: x.to("meta"), (rows, chance))
    gradients = Gradients(networks, len(rows))
    gradients(rows, chance)  # what is made once
    with OnOneDevice("meta"):
        gradients(rows, chance)
    assert all(p.grad is not None for p in networks.trained_parameters())


def test_the_check_for_waiting_finds_a_step_that_waits():
    _, rows, chance = step()
    rows, chance = pytree.tree_map(lambda x: x.to("meta"), (rows, chance))
    with pytest.raises(RuntimeError):
        bool(chance.noise.sum() > 0)
    with pytest.raises(AssertionError, match="has a tensor on cpu"), OnOneDevice("meta"):
        rows.codes[:, torch.tensor([0, 1])]


def round_on_a_processor(monkeypatch):
    def rounded(device):
        return torch.autocast("cpu", torch.bfloat16, cache_enabled=False)

    for module in ("causal", "fine"):
        monkeypatch.setattr(f"tvae_core.{module}.rounded_products", rounded)


@pytest.mark.parametrize("most_codes", [2**16, 0])
def test_products_in_bfloat16_give_nearly_the_same_loss_and_gradient(monkeypatch, most_codes):
    monkeypatch.setattr("tvae_core.embedding.MOST_CODES_AT_ONCE", most_codes)
    exact, rows, chance = step(2_000)
    rounded = deepcopy(exact)
    wanted = Gradients(exact, 0)(rows, chance)
    round_on_a_processor(monkeypatch)
    found = Gradients(rounded, 0)(rows, chance)
    assert found.total.dtype == torch.float32
    assert found.total.item() != wanted.total.item()
    torch.testing.assert_close(found.total, wanted.total, rtol=2e-3, atol=0)
    for one, other in zip(rounded.trained_parameters(), exact.trained_parameters(), strict=True):
        assert one.grad.dtype == torch.float32
        assert float((one.grad - other.grad).norm()) <= 0.05 * float(other.grad.norm())


def test_what_is_no_product_is_not_rounded(monkeypatch):
    networks, rows, chance = step(500)
    decoder = networks.decoder
    # Logits that are the biases alone, some of them numbers that bfloat16 has not: no product says anything.
    with torch.no_grad():
        for weight in (decoder.out, decoder.out_maps.maps, decoder.fine.out, decoder.fine.maps):
            weight.zero_()
        decoder.bias[0], decoder.bias[1] = -7.03, 9.97
        exact = decoder.nll(rows, chance.noise, None)
        round_on_a_processor(monkeypatch)
        torch.testing.assert_close(decoder.nll(rows, chance.noise, None), exact, rtol=0, atol=1e-5)


def recorder(calls, refuse=False):
    """What `record` promises, with the work done anew each time in place of a recording."""

    def record(work, device):
        calls.append(device.type)
        if refuse:
            raise RuntimeError("operation not permitted when stream is capturing")
        results = [None if part is None else torch.full_like(part, math.nan) for part in work()]

        def repeat():
            for own, new in zip(results, work(), strict=True):
                if own is not None:
                    own.copy_(new)

        return results, repeat

    return record


@pytest.mark.parametrize("refuse", [False, True])
def test_training_with_recorded_steps_ends_with_the_same_weights(monkeypatch, caplog, refuse):
    table = planted(500)  # 450 rows to train: seven batches of 64, and one of 2
    plain = TVAE(**SMALL, seed=1).fit(table)
    calls = []
    monkeypatch.setattr("tvae_core.recorded.RECORDED_ON", "cpu")
    monkeypatch.setattr("tvae_core.recorded.record", recorder(calls, refuse))
    with caplog.at_level(logging.WARNING):
        recorded = TVAE(**SMALL, seed=1).fit(table)
    assert calls == ["cpu"]
    assert ("could not be recorded" in caplog.text) == refuse
    assert recorded.history_ == plain.history_
    weights = zip(recorded.networks_.parameters(), plain.networks_.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in weights)


def test_the_reference_preset_is_not_recorded(monkeypatch):
    calls = []
    monkeypatch.setattr("tvae_core.recorded.RECORDED_ON", "cpu")
    monkeypatch.setattr("tvae_core.recorded.record", recorder(calls))
    monkeypatch.setattr("tvae_core.closed_form.WIDEST_DENSE", 0)  # what autograd trains
    TVAE(preset="reference", epochs=1, batch_size=64).fit(planted(200))
    assert calls == []


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_trains_recorded_steps_as_it_does_others_and_repeats_itself(monkeypatch, caplog):
    networks, rows, chance = step(2_000)
    networks, rows, chance = networks.to("cuda"), *pytree.tree_map(lambda x: x.to("cuda"), (rows, chance))
    found = []
    for size in (0, len(rows)):  # computed anew, and recorded
        gradients = Gradients(networks, size)
        for _ in range(2):
            parts = gradients(rows, chance)
        found.append((torch.stack(list(parts)), [p.grad.clone() for p in networks.trained_parameters()]))
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-4)
    models = [TVAE(**SMALL, device="cuda").fit(planted(1_000)) for _ in range(2)]
    assert "could not be recorded" not in caplog.text
    assert models[0].history_ == models[1].history_
    assert all(math.isfinite(record["loss"]) for record in models[0].history_)
    assert models[0].sample(100).equals(models[1].sample(100))
