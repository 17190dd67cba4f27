"""Fits and samples on a GPU, simulated: nothing is left on the processor, and what comes out is the processor's."""

import pyarrow as pa
import pytest
import torch

from tests.core.simulated_gpu import simulated_gpu
from tests.core.test_checkpoints import KilledError, Memory
from tests.core.test_recorded import SMALL, recorder
from tests.core.test_tvae import planted
from tvae_core import TVAE
from tvae_core.latent import latent_space

# Without dropout, whose numbers a processor cuts from a pool: the two devices' random numbers are the same.
SETTINGS = {
    "default": {**SMALL, "dropout": 0.0, "seed": 1},
    "reference": {"preset": "reference", "epochs": 2, "batch_size": 64, "seed": 1},
}
HOLES = planted(60).assign(
    group=lambda t: t.group.where(t.index % 2 == 0), count=lambda t: t["count"].where(t.index % 3 > 0)
)
WAYS = {
    "free": {"n": 300},
    "in one step": {"n": 300, "decoding_steps": 1},
    "a rare value": {"n": 100, "given": {"flag": True, "count": [0, 7]}},
    "a range": {"n": 100, "given": {"amount": (9.5, 10.5), "group": ["a", "c"]}},
    "missing": {"n": 100, "given": {"amount": None}},
    "balanced": {"n": 100, "balance": "group"},
    "present": {"n": 100, "present": True},
    "cells": {"given": HOLES},
}  # fmt: skip


@pytest.fixture
def gpu(monkeypatch):
    # In float32 on both.
    for module in ("tvae", "trainer"):
        monkeypatch.setattr(f"tvae_core.{module}.product_dtype", lambda device: torch.float32)
    return lambda: simulated_gpu(monkeypatch)


def weights(model):
    return {name: part.detach() for name, part in model.networks_.state_dict().items()}


def test_the_simulated_gpu_refuses_what_a_gpu_refuses(gpu):
    with gpu() as device:
        numbers = torch.ones(3, device=device)
        for wrong in (
            lambda: numbers + torch.ones(3),
            lambda: torch.ones(3)[numbers.long()],
            lambda: torch.rand(3, generator=torch.Generator(), device=device),
            lambda: torch.rand(3, generator=torch.Generator(device)),
            lambda: numbers.index_add(0, torch.tensor([0]), numbers[:1]),
        ):
            with pytest.raises(RuntimeError, match=r"on a GPU and on cpu|another device"):
                wrong()
        assert (numbers.to(device) + 1).cpu().tolist() == [2, 2, 2]


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("kind", SETTINGS)
def test_a_fit_on_a_gpu_is_that_of_the_processor(monkeypatch, gpu, kind, resident):
    if not resident:  # as with many rows and many codes
        monkeypatch.setattr("tvae_core.token_file.LARGEST_IN_MEMORY", 0)
        monkeypatch.setattr("tvae_core.embedding.MOST_CODES_AT_ONCE", 0)
    table = planted(500)
    wanted = TVAE(**SETTINGS[kind]).fit(table)
    with gpu() as device:
        found = TVAE(**SETTINGS[kind], device="cuda").fit(table)
        assert all(p.device == device for p in found.networks_.state_dict().values())
        drawn = found.sample(200)
        found.set_device("cpu")
    torch.testing.assert_close(weights(found), weights(wanted), rtol=0.01, atol=1e-3)
    assert drawn.equals(found.sample(200))


def test_a_fit_with_differential_privacy_works_on_a_gpu(gpu):  # its numbers are secret: no two are the same
    with gpu() as device:
        model = TVAE(epsilon=3.0, epochs=2, seed=1, device="cuda").fit(planted(500))
        assert all(p.device == device for p in model.networks_.state_dict().values())
        drawn = model.sample(200)
    assert model.set_device("cpu").sample(200).equals(drawn)


def test_recorded_steps_on_a_gpu(monkeypatch, gpu):
    wanted = TVAE(**SETTINGS["default"]).fit(planted(500))
    calls = []
    with gpu() as device:
        monkeypatch.setattr("tvae_core.recorded.RECORDED_ON", device.type)
        monkeypatch.setattr("tvae_core.recorded.record", recorder(calls))
        found = TVAE(**SETTINGS["default"], device="cuda").fit(planted(500))
        found.set_device("cpu")
    assert calls == [device.type]
    torch.testing.assert_close(weights(found), weights(wanted), rtol=0.01, atol=1e-3)


def test_a_fit_on_a_gpu_goes_on_from_its_checkpoint(gpu):
    settings = {**SETTINGS["default"], "dropout": 0.2, "device": "cuda"}
    with gpu():
        wanted = TVAE(**settings).fit(planted(500)).history_
        keeper = Memory(last=10)
        with pytest.raises(KilledError):
            TVAE(**settings).fit(planted(500), checkpoint=keeper, checkpoint_minutes=0)
        again = Memory(keeper.content)
        assert TVAE(**settings).fit(planted(500), checkpoint=again, checkpoint_minutes=0).history_ == wanted
    assert again.saves == 3 * 8 - 10


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("generator") / "g"
    TVAE(**{**SMALL, "epochs": 20}, seed=1).fit(planted(1_000)).save(folder)
    return folder


@pytest.mark.parametrize("way", WAYS)
def test_rows_drawn_on_a_gpu_are_those_of_the_processor(gpu, saved, way):
    wanted = TVAE.load(saved, device="cpu").sample(**WAYS[way])
    with gpu() as device:
        model = TVAE.load(saved, device="cuda")
        assert next(model.networks_.parameters()).device == device
        found = model.sample(**WAYS[way])
    assert found.equals(wanted)


def test_imputation_and_the_latent_space_on_a_gpu_are_those_of_the_processor(gpu, saved):
    model, rows = TVAE.load(saved, device="cpu"), pa.Table.from_pandas(planted(100))
    filled, space = model.impute(HOLES, draws=2), latent_space(model, rows)
    with gpu():
        model = TVAE.load(saved, device="cuda")
        assert model.impute(HOLES, draws=2).equals(filled)
        found = latent_space(model, rows)
    for name in ("kl", "variance", "posterior", "prior"):
        assert getattr(found, name) == pytest.approx(getattr(space, name), rel=1e-4, abs=1e-5)
