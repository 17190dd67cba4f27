"""A training that is killed goes on from its checkpoint, and ends with the weights of one that was not."""

import logging
import os
import signal
import time
from functools import partial

import numpy as np
import pytest
import torch

from tests.core.test_training import SMALL
from tests.core.test_tvae import planted
from tests.processes import exit_status, fork, wait_until
from tvae_core import TVAE
from tvae_core.artifact import read_manifest
from tvae_core.checkpoints import CheckpointFile
from tvae_core.closed_form import ClosedForm
from tvae_core.trainer import STEPS_PER_CUT, Trainer

PRESETS = {
    "default": {**SMALL, "epochs": 4, "batch_size": 100, "dropout": 0.2},
    "reference": {**SMALL, "preset": "reference", "epochs": 4, "batch_size": 100, "validation_fraction": 0.1},
}


class KilledError(Exception):
    """Stands for a kill right after a checkpoint."""


class Memory:
    """Keeps a checkpoint in memory; the `last`th save is the last thing that happens."""

    def __init__(self, content=None, last=10**9):
        self.content, self.saves, self.last = content, 0, last

    def load(self):
        return self.content

    def save(self, content):
        self.content, self.saves = content, self.saves + 1
        if self.saves == self.last:
            raise KilledError


def digest(model, folder):
    return model.save(folder / str(len(list(folder.iterdir()))))


def resume_messages(caplog):
    return [r.message for r in caplog.records if r.name == "tvae_core.checkpoints"]


@pytest.mark.parametrize("preset", PRESETS)
def test_a_resumed_fit_ends_with_the_same_generator_wherever_it_was_stopped(preset, tmp_path):
    settings, frame = PRESETS[preset], planted(650)
    undisturbed = digest(TVAE(seed=4, **settings).fit(frame), tmp_path)
    keeper = Memory()
    assert (
        digest(TVAE(seed=4, **settings).fit(frame, checkpoint=keeper, checkpoint_minutes=0), tmp_path)
        == undisturbed
    )
    steps = keeper.saves  # one after each step
    assert steps == 4 * 6
    keeper = Memory()
    for saves in (1, 4, 7, 6):  # in the middle of an epoch, at its end, and at the beginning of one
        keeper.saves, keeper.last = 0, saves
        with pytest.raises(KilledError):
            TVAE(seed=4, **settings).fit(frame, checkpoint=keeper, checkpoint_minutes=0)
    keeper.saves, keeper.last = 0, 10**9
    resumed = TVAE(seed=4, **settings).fit(frame, checkpoint=keeper, checkpoint_minutes=0)
    assert keeper.saves == steps - (1 + 4 + 7 + 6)
    assert digest(resumed, tmp_path) == undisturbed


def test_a_fit_resumed_around_a_cut_of_tiny_weights_ends_with_the_same_generator(tmp_path):
    settings, frame = {**PRESETS["reference"], "epochs": 10}, planted(650)
    undisturbed = digest(TVAE(seed=4, **settings).fit(frame), tmp_path)
    for last in (STEPS_PER_CUT - 1, STEPS_PER_CUT, STEPS_PER_CUT + 1):
        keeper = Memory(last=last)
        with pytest.raises(KilledError):
            TVAE(seed=4, **settings).fit(frame, checkpoint=keeper, checkpoint_minutes=0)
        resumed = TVAE(seed=4, **settings).fit(frame, checkpoint=Memory(keeper.content), checkpoint_minutes=0)
        assert digest(resumed, tmp_path) == undisturbed


@pytest.mark.parametrize("spread_first", [True, False])
def test_a_checkpoint_of_an_optimiser_of_other_parameters_is_not_used(
    spread_first, tmp_path, monkeypatch, caplog
):
    # As with training spread over processes, whose gradients come from autograd: a state for each parameter.
    settings, frame, keeper = PRESETS["reference"], planted(650), Memory(last=8)
    alone = ClosedForm.of
    apart = classmethod(lambda cls, networks, dtype: None)
    monkeypatch.setattr(ClosedForm, "of", apart if spread_first else alone)
    with pytest.raises(KilledError):
        TVAE(seed=4, **settings).fit(frame, checkpoint=keeper, checkpoint_minutes=0)
    monkeypatch.setattr(ClosedForm, "of", alone if spread_first else apart)
    resumed = TVAE(seed=4, **settings).fit(frame, checkpoint=Memory(keeper.content), checkpoint_minutes=0)
    assert "starts anew" in resume_messages(caplog)[-1]
    assert digest(resumed, tmp_path) == digest(TVAE(seed=4, **settings).fit(frame), tmp_path)


def test_a_checkpoint_of_products_rounded_otherwise_is_not_used(monkeypatch, caplog):
    settings, frame, keeper = PRESETS["reference"], planted(650), Memory(last=8)
    for dtype in (torch.bfloat16, torch.float32):
        for module in ("tvae", "trainer"):
            monkeypatch.setattr(f"tvae_core.{module}.product_dtype", lambda _, dtype=dtype: dtype)
        if dtype is torch.bfloat16:
            with pytest.raises(KilledError):
                TVAE(seed=4, **settings).fit(frame, checkpoint=keeper, checkpoint_minutes=0)
    TVAE(seed=4, **settings).fit(frame, checkpoint=Memory(keeper.content), checkpoint_minutes=0)
    assert "other data, settings, code or device" in resume_messages(caplog)[-1]


def test_seconds_spent_before_a_kill_count_against_the_time_budget(monkeypatch):
    from tests.core.test_training import Ticking

    monkeypatch.setattr("tvae_core.clock.now", Ticking(0.1))
    keeper = Memory(last=20)
    settings = {**SMALL, "epochs": 5000, "patience": 0, "batch_size": 16, "max_minutes": 0.5}
    with pytest.raises(KilledError):
        TVAE(**settings).fit(planted(600), checkpoint=keeper, checkpoint_minutes=0)
    keeper.last = 10**9
    last = TVAE(**settings).fit(planted(600), checkpoint=keeper, checkpoint_minutes=0).history_[-1]
    alone = TVAE(**settings).fit(planted(600), checkpoint=Memory(), checkpoint_minutes=0).history_[-1]
    assert last["stopped"] == alone["stopped"] == "time"
    assert last["step"] == pytest.approx(alone["step"], abs=3)


@pytest.mark.parametrize(
    "changed",
    [
        {"seed": 5},
        {"settings": {"learning_rate": 0.004}},
        {"rows": 640},
        {"version": "0.0.0"},
        {"table_seed": 1},
    ],
)
def test_a_checkpoint_of_other_data_settings_or_code_is_not_used(changed, tmp_path, monkeypatch, caplog):
    keeper = Memory(last=8)
    with pytest.raises(KilledError):
        TVAE(seed=4, **PRESETS["default"]).fit(planted(650), checkpoint=keeper, checkpoint_minutes=0)
    settings = {**PRESETS["default"], **changed.get("settings", {})}
    frame = planted(changed.get("rows", 650), seed=changed.get("table_seed", 0))
    if "version" in changed:
        monkeypatch.setattr("tvae_core.tvae.__version__", changed["version"])
    model = partial(TVAE, seed=changed.get("seed", 4), **settings)
    other = Memory(keeper.content)
    resumed = model().fit(frame, checkpoint=other, checkpoint_minutes=0)
    assert digest(resumed, tmp_path) == digest(model().fit(frame), tmp_path)
    assert "other data, settings, code or device" in resume_messages(caplog)[-1]


def test_a_damaged_checkpoint_is_ignored_with_a_warning(tmp_path, caplog):
    settings, frame = PRESETS["default"], planted(300)
    keeper = Memory(last=8)
    with pytest.raises(KilledError):
        TVAE(**settings).fit(frame, checkpoint=keeper, checkpoint_minutes=0)
    whole, undisturbed = keeper.content, digest(TVAE(**settings).fit(frame), tmp_path)
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for broken in (
        b"",
        b"{}",
        whole[:-7],
        bytes(flipped),
        os.urandom(4000),
        b"\xff" * 100,
        whole[:8] + b"x" + whole[9:],
    ):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            model = TVAE(**settings).fit(frame, checkpoint=Memory(broken))
        assert "damaged" in resume_messages(caplog)[-1]
        assert digest(model, tmp_path) == undisturbed


def test_checkpoints_come_oftener_than_they_must_as_long_as_they_cost_little():
    often, seldom = Memory(), Memory()
    TVAE(**PRESETS["default"]).fit(planted(650), checkpoint=often, checkpoint_minutes=0)
    TVAE(**PRESETS["default"]).fit(planted(650), checkpoint=seldom, checkpoint_minutes=600)
    assert (often.saves, seldom.saves) == (24, 0)


@pytest.mark.slow
def test_a_training_killed_at_random_moments_ends_with_the_same_generator_and_little_work_done_twice(
    tmp_path,
):
    minutes = 0.1
    settings, frame = {**SMALL, "epochs": 20, "patience": 0, "batch_size": 16}, planted(900)
    steps, file = tmp_path / "steps", tmp_path / "training.checkpoint"
    steps.touch()

    def fit(target, checkpoint):
        honest = Trainer.step

        def counted(self, rows):
            with steps.open("ab") as log:
                log.write(b".")
            return honest(self, rows)

        Trainer.step = counted
        model = TVAE(seed=2, **settings).fit(frame, checkpoint=checkpoint, checkpoint_minutes=minutes)
        model.save(tmp_path / target)

    assert exit_status(fork(partial(fit, "undisturbed", None))) == 0
    undisturbed = steps.stat().st_size
    steps.write_bytes(b"")
    moments, lost = np.random.default_rng(7).uniform(0.1, 0.8, 3), 0.0
    for moment in moments:
        before = file.stat().st_mtime_ns if file.exists() else 0
        child = fork(partial(fit, "never", CheckpointFile(file)))
        wait_until(lambda earlier=before: file.exists() and file.stat().st_mtime_ns != earlier)
        time.sleep(moment)
        os.kill(child, signal.SIGKILL)
        assert exit_status(child) == -signal.SIGKILL
        lost += time.time() - file.stat().st_mtime
    assert exit_status(fork(partial(fit, "resumed", CheckpointFile(file)))) == 0
    assert read_manifest(tmp_path / "resumed") == read_manifest(tmp_path / "undisturbed")
    assert lost < 60 * minutes
    assert undisturbed < steps.stat().st_size < 2 * undisturbed
