"""Training: what ends it, what it refuses, and what it says of the latent vector."""

import math

import numpy as np
import pytest
import torch

from tests.core.test_tvae import planted
from tvae_core import TVAE, TrainingError
from tvae_core.clock import Clock
from tvae_core.layout import ColumnLayout, Layout
from tvae_core.losses import LossParts
from tvae_core.model import Rows
from tvae_core.networks import Networks
from tvae_core.randomness import torch_generator
from tvae_core.settings import ModelSettings
from tvae_core.trainer import LARGEST_GRADIENT, STEPS_PER_CUT, TINY, Trainer
from tvae_core.training import size_to_table

SMALL = {"embedding_dim": 4, "compress_dims": [16], "decompress_dims": [16]}


class Ticking:
    """A clock by which each look at it takes `step` seconds."""

    def __init__(self, step):
        self.step, self.now = step, 0.0

    def __call__(self):
        self.now += self.step
        return self.now


def trainer(**settings):
    used = size_to_table(ModelSettings(**SMALL, **settings).resolved(), 1000)
    layout = Layout((ColumnLayout.plain(3), ColumnLayout.plain(5)))
    generator = torch_generator(0, "test")
    return Trainer.at_start(Networks.fresh(used, layout, generator), 1000, used, generator, averaged=True)


def test_a_time_budget_ends_training_inside_an_epoch_and_the_history_says_so(monkeypatch):
    monkeypatch.setattr("tvae_core.clock.now", Ticking(0.1))
    model = TVAE(**SMALL, epochs=5000, patience=0, batch_size=16, max_minutes=1 / 6).fit(planted(1000))
    last = model.history_[-1]
    assert last["stopped"] == "time"
    assert [r["stopped"] for r in model.history_[:-1]] == [None] * (len(model.history_) - 1)
    assert last["step"] % math.ceil(900 / 16) != 0  # a whole epoch has 57 steps
    assert 5 < last["step"] < 100
    assert last["validation_loss"] is not None


def test_the_epochs_planned_end_training_when_they_are_over_before_the_time(tmp_path):
    limited = TVAE(**SMALL, epochs=2, max_minutes=60).fit(planted(300))
    free = TVAE(**SMALL, epochs=2).fit(planted(300))
    assert limited.history_[-1]["stopped"] == "epochs"
    assert limited.history_ == free.history_


def test_the_learning_rate_comes_down_to_nothing_by_the_end_of_the_steps_or_of_the_time():
    free, limited = trainer(epochs=100, learning_rate=0.01), trainer(epochs=10**6, learning_rate=0.01)
    rates = []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        free.steps = limited.steps = int(share * free.total_steps)
        limited.clock = Clock(limit=100.0, before=100.0 * share)
        limited.look_at_clock()
        rates.append((free.learning_rate(), limited.learning_rate()))
    by_steps, by_time = np.array(rates).T
    assert by_steps[-1] == pytest.approx(1e-6)
    assert by_time[-1] == pytest.approx(1e-6)
    assert by_time[1:] == pytest.approx(by_steps[1:], rel=0.2)
    assert by_time[2] == pytest.approx(0.005, rel=0.01)  # half a cosine


class OtherRanks:
    """Gradients as several processes would agree on them: one of them met a loss that is not finite."""

    rank = 0

    def __init__(self, networks, generator):
        self.networks = networks

    def gradients(self, rows):
        for parameter in self.networks.trained_parameters():
            parameter.grad = torch.full_like(parameter, torch.inf)
        return LossParts(*torch.zeros(3))


@pytest.mark.parametrize("preset", ["default", "reference"])
def test_gradients_of_other_processes_that_are_not_finite_are_skipped_too(monkeypatch, preset):
    monkeypatch.setattr("tvae_core.trainer.is_spread", lambda: True)
    monkeypatch.setattr("tvae_core.trainer.Spread", OtherRanks)
    training = trainer(preset=preset)
    before = [p.detach().clone() for p in training.networks.trained_parameters()]
    assert training.step(Rows(torch.tensor([[0, 3], [2, 7]]), torch.zeros(2, 0))) is None
    assert all(torch.equal(p, b) for p, b in zip(training.networks.trained_parameters(), before, strict=True))


@pytest.mark.parametrize(("gradient", "longest"), [(100.0, LARGEST_GRADIENT), (1e-4, math.inf)])
def test_a_long_gradient_is_shortened_and_keeps_its_direction(monkeypatch, gradient, longest):
    training, used = trainer(), []

    def gradients(rows):
        for parameter in training.networks.trained_parameters():
            parameter.grad = torch.full_like(parameter, gradient)
        return LossParts(*torch.zeros(3))

    def step(rate):
        used.extend(parameter.grad.flatten() for parameter in training.networks.trained_parameters())

    monkeypatch.setattr(training, "gradients", gradients)
    monkeypatch.setattr(training.optimiser, "step", step)
    training.step(Rows(torch.tensor([[0, 3], [2, 7]]), torch.zeros(2, 0)))
    all_used = torch.cat(used)
    assert all_used.std() < 1e-6 * gradient
    assert all_used.norm() == pytest.approx(min(longest, gradient * len(all_used) ** 0.5), rel=1e-5)


def test_rows_of_a_fit_cut_short_still_have_the_tables_margins():
    table = planted(1000)
    model = TVAE(**SMALL, epochs=2, seed=2).fit(table)
    shares = [rows["group"].value_counts(normalize=True) for rows in (model.sample(20_000, seed=5), table)]
    assert (shares[0] - shares[1]).abs().max() < 0.02  # .05 where nothing is made up for


def poison(monkeypatch, bad_steps):
    """Let the loss of these steps be NaN; gives the networks' weights before and after the first of them."""
    calls, weights = [], []
    honest = Networks.training_loss

    def loss(self, rows, chance):
        calls.append(1)
        if len(calls) - 1 == min(bad_steps, default=-1) + 1:
            weights.append(self.decoder.out.detach().clone())
        parts = honest(self, rows, chance)
        if len(calls) - 1 in bad_steps:
            weights.append(self.decoder.out.detach().clone())
            return parts._replace(total=parts.total * math.nan)
        return parts

    monkeypatch.setattr(Networks, "training_loss", loss)
    return weights


def test_a_step_that_is_not_finite_is_left_out_and_counted(monkeypatch):
    weights = poison(monkeypatch, {5})
    model = TVAE(**SMALL, epochs=2, batch_size=100).fit(planted(1000))
    assert [r["skipped_steps"] for r in model.history_] == [1, 0]
    assert all(math.isfinite(r["loss"]) for r in model.history_)
    assert torch.equal(*weights)
    assert len(model.sample(10)) == 10


def test_many_steps_that_are_not_finite_end_training_with_what_to_do(monkeypatch):
    poison(monkeypatch, set(range(4, 1000)))
    with pytest.raises(
        TrainingError, match=r"stopped at step 15.*not a finite number in 11 steps.*learning_rate"
    ):
        TVAE(**SMALL, epochs=20, batch_size=100).fit(planted(1000))


def test_what_leads_to_a_dead_unit_decays_to_zero_and_not_to_denormal_numbers():
    training = trainer(preset="reference")
    unit = training.networks.encoder.first
    with torch.no_grad():
        unit.bias[0] = -1e3  # no row gets through: its weights have weight decay's gradient alone
        unit.weight[:, 0] = 1e-37
    rows = Rows(torch.randint(0, 3, (50, 2)) + torch.tensor([0, 3]), torch.zeros(50, 0))
    for _ in range(STEPS_PER_CUT):
        training.step(rows)
    assert (unit.weight[:, 0] == 0).all()
    assert unit.bias[0] < -999
    assert (unit.weight[:, 1:] != 0).all()
    (kept,) = training.optimiser.state.values()
    for numbers in (training.networks.state_dict()["encoder.first.weight"], *kept.values()):
        assert not ((numbers != 0) & (numbers.abs() < TINY)).any()


def test_training_that_diverges_ends_with_epoch_step_and_what_to_do():
    model = TVAE("reference", epochs=12, learning_rate=1.0)
    with pytest.raises(TrainingError, match=r"diverged by epoch 3, step 6.*Lower learning_rate \(it is 1\)"):
        model.fit(planted(1000))
    assert not hasattr(model, "history_")


def test_a_hot_start_that_cools_down_is_not_taken_for_divergence():
    history = TVAE("reference", epochs=6, learning_rate=0.05).fit(planted(1000)).history_
    assert history[0]["loss"] > 5 * history[-1]["loss"]
    assert history[-1]["loss"] < 30


@pytest.mark.parametrize(("preset", "units"), [("default", 16), ("reference", 128)])
def test_the_last_record_says_what_each_latent_unit_carries(preset, units):
    last = TVAE(preset, epochs=3).fit(planted(500)).history_[-1]
    assert len(last["kl_per_unit"]) == units
    assert min(last["kl_per_unit"]) >= 0
    assert 0 <= last["active_units"] <= units


def test_a_latent_unit_s_nats_are_those_of_its_gaussian():
    used = ModelSettings(**SMALL).resolved()
    networks = Networks.fresh(used, Layout((ColumnLayout.plain(2),)), torch_generator(0, "test"))
    with torch.no_grad():
        networks.encoder.head.weight.zero_()
        # Four means, four log-variances: KL = (mu^2 + exp(logvar) - 1 - logvar) / 2.
        networks.encoder.head.bias.copy_(torch.tensor([0.0, 1.0, 2.0, 0.0, 0.0, 0.0, 0.0, math.log(0.25)]))
    rows = Rows(torch.zeros(3, 1, dtype=torch.int64), torch.zeros(3, 0))
    nats, active = networks.latent_use(rows)
    assert nats == pytest.approx([0.0, 0.5, 2.0, (0.25 - 1 + math.log(4)) / 2])
    assert active == 0  # every row has the same mean: the units carry nothing


@pytest.mark.parametrize("preset", ["default", "reference"])
def test_rows_judged_in_parts_are_judged_as_a_whole(preset, monkeypatch):
    used = ModelSettings(preset, **SMALL).resolved()
    layout = Layout((ColumnLayout.plain(3), ColumnLayout.plain(5)))
    networks = Networks.fresh(used, layout, torch_generator(0, "test"))
    codes = torch.stack([torch.arange(50) % 3, 3 + torch.arange(50) % 5], dim=1)
    rows = Rows(codes, torch.zeros(50, 0))
    losses = []
    for numbers in (2**24, 7 * networks.row_numbers):
        monkeypatch.setattr("tvae_core.networks.JUDGED_NUMBERS", numbers)
        losses.append(networks.validation_loss(rows, torch_generator(0, "judge")))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_a_batch_of_many_columns_is_smaller_and_a_given_size_is_kept():
    settings = ModelSettings().resolved()
    sizes = [size_to_table(settings, 1_000_000, columns).batch_size for columns in (20, 100, 400, 1000)]
    assert sizes == [2048, 1024, 256, 128]
    assert size_to_table(ModelSettings(batch_size=500).resolved(), 1_000_000, 1000).batch_size == 500


def test_fewer_rows_are_regularised_more():
    sized = [size_to_table(ModelSettings().resolved(), rows) for rows in (200, 5_000, 20_000, 500_000)]
    decay, dropout = [used.l2scale for used in sized], [used.dropout for used in sized]
    assert decay == pytest.approx([4.0, 1.0, 0.5, 0.1])
    assert dropout == pytest.approx([0.3, 0.3, 0.2, 0.008])
    chosen = size_to_table(ModelSettings(l2scale=0.1, dropout=0.5).resolved(), 200)
    assert (chosen.l2scale, chosen.dropout) == (0.1, 0.5)
    published = size_to_table(ModelSettings(preset="reference").resolved(), 200)
    assert (published.l2scale, published.dropout) == (1e-5, 0.0)


def test_embeddings_decay_twice_as_fast_as_other_weights_and_biases_not_at_all():
    training = trainer(l2scale=0.5)
    decays = {id(p): group.decay for group in training.optimiser.groups for p in group.parameters}
    named = {name: decays[id(p)] for name, p in training.networks.named_parameters()}
    assert named["decoder.before.free"] == named["decoder.out"] == 1.0
    assert named["decoder.from_z.weight"] == named["decoder.direct"] == 0.5
    assert named["decoder.from_z.bias"] == named["decoder.bias"] == 0.0
