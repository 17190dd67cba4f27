"""The decoder that looks: its one-pass likelihood and its column-by-column drawing are the same distribution."""

import numpy as np
import pytest
import torch

from tests.core.test_model import layout_of, some_rows
from tvae_core.causal import CausalDecoder, exclusive_sum, inclusive_sum
from tvae_core.embedding import CodeTable, rank_features
from tvae_core.layout import ColumnLayout, Layout
from tvae_core.likelihood import Noise, View
from tvae_core.model import Rows, initialise
from tvae_core.prior import Prior
from tvae_core.randommask import MaskPool
from tvae_core.randomness import torch_generator
from tvae_core.tilt import fit_tilt, tilt

# Two categories, a number of 6 cells in 2 tokens and a missing code, and a number of 4 values.
NUMBER = ColumnLayout(np.array([0, 0, 0, 1, 1, 1, 2]), np.array([0, 1, 2, 0, 1, 2, 0]), np.linspace(0, 1, 7))
LAYOUT = Layout((ColumnLayout.plain(2), NUMBER, ColumnLayout.plain(4, ranks=np.linspace(0, 1, 4))))


def decoder_of(layout=LAYOUT, seed=0):
    decoder = CausalDecoder(layout, 3, 16, 8, dropout=0.0)
    initialise(decoder, torch_generator(seed, "test"))
    with torch.no_grad():
        for parameter in decoder.parameters():
            if not parameter.any():  # zeros at the start would hide what a part does
                parameter.normal_(0, 0.3, generator=torch_generator(seed, "more"))
    return decoder


def every_row(layout=LAYOUT):
    grid = torch.cartesian_prod(*[torch.arange(k) for k in layout.codes])
    return Rows(grid + torch.from_numpy(layout.code_offsets), torch.zeros(len(grid), 0))


def test_probabilities_of_all_rows_sum_to_one():
    rows = every_row()
    z = torch.randn(1, 3).expand(len(rows), 3)
    assert torch.exp(-decoder_of().nll(rows, z, None)).sum().item() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("known", [(0,), (1,), (2,), (0, 2), (1, 2)])
def test_probabilities_given_any_known_cells_sum_to_one(known):
    rows = every_row()
    same = torch.ones(len(rows), dtype=torch.bool)
    for column in known:
        same &= rows.codes[:, column] == LAYOUT.code_offsets[column] + 1
    rows = rows.take(same)
    mask = torch.zeros(len(rows), 3, dtype=torch.bool)
    mask[:, list(known)] = True
    view = View(mask, torch.zeros(len(rows), 1, dtype=torch.bool), torch.ones(len(rows), 3))
    nll = decoder_of().nll(rows, torch.zeros(len(rows), 3), view)
    assert torch.exp(-nll).sum().item() == pytest.approx(1, abs=1e-4)


def test_known_cells_change_the_others_and_hide_z():
    decoder, rows = decoder_of(), every_row()
    known = torch.zeros(len(rows), 3, dtype=torch.bool)
    known[:, 2] = True
    view = View(known, torch.zeros(len(rows), 1, dtype=torch.bool), torch.ones(len(rows), 3))
    one = decoder.nll(rows, torch.zeros(len(rows), 3), view)
    other = decoder.nll(rows, torch.ones(len(rows), 3), view)
    torch.testing.assert_close(one, other)
    by_known = one.view(2, 7, 4)
    assert (by_known[0, 0] - by_known[0, 0, 0]).abs().max() > 1e-3


def test_what_is_drawn_has_the_probabilities_of_the_likelihood():
    decoder, count = decoder_of(), 60_000
    z = torch.randn(1, 3)
    noise = Noise.draw(count, LAYOUT, torch_generator(1, "draw"), torch.device("cpu"))
    drawn = decoder.draw(z.expand(count, 3), noise)
    rows = every_row()
    expected = torch.exp(-decoder.nll(rows, z.expand(len(rows), 3), None))
    local = drawn.codes - torch.from_numpy(LAYOUT.code_offsets)
    cell = (local[:, 0] * 7 + local[:, 1]) * 4 + local[:, 2]
    found = torch.bincount(cell, minlength=len(rows)) / count
    # A share of p over n draws has a standard error of sqrt(p (1 - p) / n).
    error = (expected * (1 - expected) / count).sqrt()
    assert ((found - expected).abs() / error).max() < 4.5


def given_last_cells(count):
    """Rows whose last two cells are given, their view, and the two rows that the first cell leaves to choose from."""
    offsets = torch.from_numpy(LAYOUT.code_offsets)
    given = Rows((offsets + torch.tensor([0, 4, 2])).expand(count, 3), torch.zeros(count, 0))
    known = torch.tensor([[False, True, True]]).expand(count, 3)
    view = View(known, torch.zeros(count, 1, dtype=torch.bool), torch.ones(count, 3))
    both = Rows(torch.stack([given.codes[0], given.codes[0] + torch.tensor([1, 0, 0])]), torch.zeros(2, 0))
    return given, view, both


def share_of_second(nll):
    return torch.softmax(-nll, 0)[1].item()


def test_cells_given_are_returned_as_given_and_the_rest_follows_the_conditional():
    decoder, count = decoder_of(), 40_000
    given, view, both = given_last_cells(count)
    noise = Noise.draw(count, LAYOUT, torch_generator(2, "draw"), torch.device("cpu"))
    drawn = decoder.draw(torch.randn(count, 3), noise, given, view, steps=2)
    assert torch.equal(drawn.codes[:, 1:], given.codes[:, 1:])
    own = share_of_second(decoder.nll(both, torch.zeros(2, 3), View(*(part[:2] for part in view))))
    assert (drawn.codes[:, 0] == 1).float().mean().item() == pytest.approx(own, abs=0.01)


@pytest.mark.parametrize("proposals", [None, 64])  # from one pool, and of each row's own
def test_proposals_are_weighed_by_the_chain_that_sees_only_the_cells_before(proposals):
    decoder, count = decoder_of(), 20_000
    given, view, both = given_last_cells(count)
    nothing = View(torch.zeros(2, 3, dtype=torch.bool), torch.zeros(2, 1, dtype=torch.bool), torch.ones(2, 3))
    own = share_of_second(decoder.nll(both, torch.zeros(2, 3), View(*(part[:2] for part in view))))
    chain = share_of_second(decoder.nll(both, torch.zeros(2, 3), nothing))
    assert abs(chain - own) > 0.01
    noise = Noise.draw(count, LAYOUT, torch_generator(2, "draw"), torch.device("cpu"))
    drawn = decoder.draw(torch.randn(count, 3), noise, given, view, proposals=proposals)
    assert torch.equal(drawn.codes[:, 1:], given.codes[:, 1:])
    assert (drawn.codes[:, 0] == 1).float().mean().item() == pytest.approx(chain, abs=0.01)


def test_rows_that_know_nothing_are_drawn_from_z_beside_rows_that_know_something():
    decoder, count = decoder_of(), 1000
    given, view, _ = given_last_cells(count)
    alone = torch.arange(count) < 500
    mixed = View(view.known & ~alone[:, None], alone[:, None], view.prefix)
    z, noise = (
        torch.randn(count, 3),
        Noise.draw(count, LAYOUT, torch_generator(2, "draw"), torch.device("cpu")),
    )
    drawn = decoder.draw(z, noise, given, mixed)
    free = decoder.draw(z, noise)
    assert torch.equal(drawn.codes[alone], free.codes[alone])


def test_after_the_last_given_cell_the_chain_draws_alone():
    decoder, count = decoder_of(), 40_000
    codes = torch.from_numpy(LAYOUT.code_offsets) + torch.tensor([1, 4, 0])
    given = Rows(codes.expand(count, 3), torch.zeros(count, 0))
    known = torch.tensor([[True, True, False]]).expand(count, 3)
    view = View(known, torch.zeros(count, 1, dtype=torch.bool), torch.ones(count, 3))
    noise = Noise.draw(count, LAYOUT, torch_generator(2, "draw"), torch.device("cpu"))
    drawn = decoder.draw(torch.randn(count, 3), noise, given, view)
    levels = LAYOUT.codes[2]
    rows = codes.repeat(levels, 1)
    rows[:, 2] += torch.arange(levels)
    hidden = torch.zeros(levels, 1, dtype=torch.bool)
    nothing = View(torch.zeros(levels, 3, dtype=torch.bool), hidden, torch.ones(levels, 3))
    nll = decoder.nll(Rows(rows, torch.zeros(levels, 0)), torch.zeros(levels, 3), nothing)
    shares = torch.bincount(drawn.codes[:, 2] - codes[2], minlength=levels) / count
    torch.testing.assert_close(shares, torch.softmax(-nll, 0), atol=0.01, rtol=0)


def test_later_columns_never_influence_earlier_ones():
    layout = layout_of(3, 4, 5)
    decoder, rows = decoder_of(layout), some_rows(layout, 8)
    z, seen = torch.randn(8, 3), torch.ones(8, 1, dtype=torch.bool)
    changed = Rows(rows.codes.clone(), rows.scalars)
    changed.codes[:, 2] = 7 + (changed.codes[:, 2] - 7 + 1) % 5
    nothing = View(torch.zeros(8, 3, dtype=torch.bool), seen, torch.zeros(8, 3))
    assert not torch.allclose(decoder.nll(rows, z, nothing), decoder.nll(changed, z, nothing))
    # The last column known costs nothing; with given cells silenced, its value makes no difference to the others.
    last_known = View(torch.tensor([[False, False, True]]).expand(8, 3), seen, torch.ones(8, 3))
    with torch.no_grad():
        decoder.given.free.zero_()
        decoder.given.smooth.maps.zero_()
    torch.testing.assert_close(decoder.nll(rows, z, last_known), decoder.nll(changed, z, last_known))


@pytest.mark.parametrize("columns", [1, 2, 7])
def test_running_sums_are_cumulative_sums_and_so_are_their_gradients(columns):
    x, weights = (torch.randn(columns, 3, 2, dtype=torch.double, requires_grad=True) for _ in range(2))
    start = torch.randn(3, 2, dtype=torch.double, requires_grad=True)
    for found, wanted, inputs in (
        (inclusive_sum(x), x.cumsum(0), (x,)),
        (exclusive_sum(x, start=start), start + x.cumsum(0) - x, (x, start)),
    ):
        torch.testing.assert_close(found, wanted)
        gradients = [torch.autograd.grad((sums * weights).sum(), inputs) for sums in (found, wanted)]
        torch.testing.assert_close(*gradients)


def test_ordered_columns_add_features_times_maps_and_learn_both():
    table = CodeTable(LAYOUT, 5).double()
    table.initialise(1.0, torch_generator(0, "test"))
    features = rank_features(np.concatenate([NUMBER.ranks, np.linspace(0, 1, 4)])).double()
    maps = table.smooth.maps
    free = table.free[torch.tensor([0, 1, 2, 2, 2, 3, 3, 3, 4, 5, 6, 7, 8])]
    smooth = torch.cat([torch.zeros(2, 5), features[:7] @ maps[0], features[7:] @ maps[1]])
    weights = torch.randn(13, 5, dtype=torch.double)
    torch.testing.assert_close(table(), free + smooth, rtol=1e-6, atol=1e-6)
    gradients = [
        torch.autograd.grad((matrix * weights).sum(), [table.free, maps])
        for matrix in (table(), free + smooth)
    ]
    torch.testing.assert_close(*gradients, rtol=1e-6, atol=1e-6)


def test_tilting_gives_the_margin_that_is_asked_for():
    logits = torch.randn(5000, 4, generator=torch.Generator().manual_seed(0))
    margin = torch.tensor([0.1, 0.2, 0.3, 0.4])
    out = logits + tilt(logits, margin)
    assert torch.softmax(out, 1).mean(0).tolist() == pytest.approx(margin.tolist(), abs=2e-3)


@pytest.mark.parametrize("together", [700, 10**6])
def test_rows_drawn_with_a_fitted_tilt_have_the_tables_margins_in_every_column(together):
    decoder, count = decoder_of(), 20_000
    margins = [torch.tensor(shares) for shares in ([0.9, 0.1], [0.2, 0.7, 0.1], [0.1, 0.2, 0.3, 0.4])]

    def drawn(seed):
        generator = torch_generator(seed, "rows")
        z = torch.randn(count, 3, generator=generator)
        noise = Noise.draw(count, LAYOUT, generator, torch.device("cpu"))
        return z, noise, decoder.before.token_of_code[decoder.draw(z, noise).codes]

    z, noise, before = drawn(1)
    fit_tilt(decoder, z, noise.uniforms, margins, together)
    for seed in (1, 2):  # the rows that it was fitted on, and others
        tokens = drawn(seed)[2]
        for j, (margin, first) in enumerate(zip(margins, (0, 2, 5), strict=True)):
            shares = torch.bincount(tokens[:, j] - first, minlength=len(margin)) / count
            assert (shares - margin).abs().max() < 0.012
    assert (torch.bincount(before[:, 0]) / count - margins[0]).abs().max() > 0.1


def test_a_prior_fitted_to_two_clusters_draws_two_clusters():
    generator = torch_generator(0, "test")
    z = torch.randn(4000, 2, generator=generator) * 0.2
    z[:1000] += torch.tensor([5.0, 0.0])
    prior = Prior(2)
    prior.fit(z, generator)
    drawn = prior.draw(torch.rand(4000, generator=generator), torch.randn(4000, 2, generator=generator))
    assert (drawn[:, 0] > 2.5).float().mean().item() == pytest.approx(0.25, abs=0.03)
    assert drawn[drawn[:, 0] < 2.5].std().item() == pytest.approx(0.2, abs=0.03)


def test_a_prior_of_one_component_is_the_standard_normal():
    normals = torch.randn(10, 3)
    torch.testing.assert_close(Prior(3).draw(torch.rand(10), normals), normals)


def test_dropout_drops_its_share_keeps_the_mean_and_repeats_by_seed():
    first, second = (MaskPool(0.25, torch_generator(3, "drop")).draw(200, 100) for _ in range(2))
    assert torch.equal(first, second)
    assert (first == 0).float().mean().item() == pytest.approx(0.25, abs=0.02)
    assert first.mean().item() == pytest.approx(1.0, abs=0.03)
    assert decoder_of().dropout_masks(8, torch_generator(3, "drop")) == ()


def test_many_codes_are_looked_up_one_by_one_with_the_same_likelihood_and_gradient(monkeypatch):
    decoder, rows = decoder_of(), every_row()
    z = torch.randn(len(rows), 3, generator=torch_generator(0, "z"))
    view = decoder.views(len(rows), torch_generator(0, "views"))

    def losses_and_gradients():
        decoder.zero_grad()
        nll = decoder.nll(rows, z, view)
        nll.sum().backward()
        return nll.detach(), [p.grad.clone() for p in decoder.parameters()]

    whole = losses_and_gradients()
    monkeypatch.setattr("tvae_core.embedding.MOST_CODES_AT_ONCE", 0)
    monkeypatch.setattr("tvae_core.embedding.GATHERED_NUMBERS", 1_000)
    for table in (decoder.before, decoder.given, decoder.fine.token):
        monkeypatch.setattr(table, "forward", None)  # the matrix is not built
    torch.testing.assert_close(losses_and_gradients(), whole, rtol=1e-4, atol=1e-5)


def test_a_prior_of_one_component_draws_as_one_of_two_equal_ones():
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(500, 3, generator=generator) @ torch.randn(3, 3, generator=generator) + 2
    mean, factor = z.mean(0), torch.linalg.cholesky(z.T.cov())
    one, two = Prior(3), Prior(3, 2)
    for prior in (one, two):
        prior.means.copy_(mean.expand_as(prior.means))
        prior.cholesky.copy_(factor.expand_as(prior.cholesky))
    uniforms, normals = torch.rand(4000, generator=generator), torch.randn(4000, 3, generator=generator)
    assert torch.allclose(one.draw(uniforms, normals), two.draw(uniforms, normals), atol=1e-5)
    assert torch.allclose(one.draw(uniforms, normals).T.cov(), z.T.cov(), atol=0.5)
