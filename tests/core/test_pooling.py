"""Rows chosen from a pool of proposals: they follow what drawing freely and throwing away would leave."""

import pandas as pd
import pytest
import torch

from tests.core.test_causal import LAYOUT, decoder_of
from tvae_core import TVAE, ConditionError
from tvae_core.drawing import Tables
from tvae_core.likelihood import Noise
from tvae_core.pooling import Limits, Pool, choose, proposals_needed
from tvae_core.randomness import torch_generator

OFFSETS = torch.from_numpy(LAYOUT.code_offsets)
COUNT = 40_000


def z_and_noise(count, proposals, seed):
    generator = torch_generator(seed, "pool")
    z = torch.randn(proposals, count, 3, generator=generator)
    return z, Noise.draw(count, LAYOUT, generator, torch.device("cpu")).uniforms


def limits_of(count, *, known=None, shares=None, groups=None):
    codes, mask = OFFSETS.expand(count, -1).clone(), torch.zeros(count, 3, dtype=torch.bool)
    for column, code in (known or {}).items():
        codes[:, column] += code
        mask[:, column] = True
    return Limits(
        codes, mask, shares or {}, torch.zeros(count, dtype=torch.int64) if groups is None else groups
    )


def shares_of_first(codes):
    return torch.bincount(codes[:, 0] - OFFSETS[0], minlength=2) / len(codes)


@pytest.mark.parametrize(
    ("limits", "kept"),
    [
        ({"known": {2: 1}}, lambda codes: codes[:, 2] == OFFSETS[2] + 1),
        (
            {"shares": {2: torch.tensor([0.0, 1.0, 1.0, 0.0])}},
            lambda codes: (codes[:, 2] - OFFSETS[2]) % 3 > 0,
        ),
        # Two of the three codes inside the number's first token: fine places are weighed as well.
        (
            {"shares": {1: torch.tensor([0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0])}},
            lambda codes: (codes[:, 1] == OFFSETS[1] + 1) | (codes[:, 1] == OFFSETS[1] + 2),
        ),
    ],
)
def test_the_pool_gives_what_throwing_away_leaves(limits, kept):
    decoder = decoder_of()
    tables = Tables(decoder, tilted=True)
    z, uniforms = z_and_noise(COUNT, 3, seed=1)
    codes = Pool.draw(decoder, tables, z, uniforms, limits_of(COUNT, **limits), {}).choose(uniforms)
    assert bool(kept(codes).all())
    free = decoder.draw(
        torch.randn(400_000, 3, generator=torch_generator(2, "free")),
        Noise.draw(400_000, LAYOUT, torch_generator(3, "free"), torch.device("cpu")),
    ).codes
    left = free[kept(free)]
    assert (
        abs(shares_of_first(left)[0] - shares_of_first(free)[0]) > 0.01
    )  # the condition tells of the first column
    torch.testing.assert_close(shares_of_first(codes), shares_of_first(left), atol=0.01, rtol=0)


def test_rows_of_a_group_take_the_proposals_of_their_group_alone():
    decoder = decoder_of()
    z, uniforms = z_and_noise(600, 2, seed=4)
    level = torch.arange(600) % 3
    limits = limits_of(600, known={2: 0}, groups=level)
    limits.codes[:, 2] += level
    codes = Pool.draw(decoder, Tables(decoder, tilted=True), z, uniforms, limits, {}).choose(uniforms)
    assert torch.equal(codes[:, 2] - OFFSETS[2], level)


def test_proposals_are_chosen_as_often_as_they_weigh():
    generator = torch_generator(0, "weights")
    weight = (torch.randn(15_000, generator=generator) * 0.5).sort().values.view(3, 5_000)
    times = torch.softmax(weight.flatten().double(), 0) * 5_000
    often = torch.zeros(15_000).index_add(
        0, choose(weight, torch.zeros(5_000, dtype=torch.int64)), torch.ones(5_000)
    )
    assert (often - times).abs().max() < 1
    assert often[7_500:].sum().item() == pytest.approx(times[7_500:].sum().item(), abs=2)


def test_groups_too_small_for_a_pool_of_their_own_have_none():
    weight = torch.zeros(4, 256)
    assert proposals_needed(weight, torch.arange(256) % 8) == 2
    assert proposals_needed(weight, torch.arange(256) % 64) is None


@pytest.mark.parametrize(("one_in", "needed"), [(4, 4), (8, 8), (9, None)])
def test_a_condition_that_many_rows_meet_may_cost_what_throwing_away_would(one_in, needed):
    # All or nothing: columns before the condition's determine it.
    weight = torch.where(torch.arange(2 * 720) % one_in == 0, 0.0, -torch.inf).view(2, 720)
    assert proposals_needed(weight, torch.zeros(720, dtype=torch.int64)) == needed
    # Beside a group of rows that every proposal serves, it is the same.
    both = torch.cat([weight, torch.zeros_like(weight)], dim=1)
    assert proposals_needed(both, torch.arange(2 * 720) // 720) == needed


def test_no_proposal_of_any_weight_is_an_error():
    with pytest.raises(ConditionError, match="can't be met together"):
        choose(torch.full((2, 3), -torch.inf), torch.zeros(3, dtype=torch.int64))


def test_whether_a_pool_serves_depends_on_the_condition_alone(monkeypatch):
    table = pd.DataFrame({"x": [1, 2, 3, 4] * 100, "y": ["a", "b", "a", "b"] * 100})
    model = TVAE(epochs=3, seed=1).fit(table)
    first_pools = []

    def seen(weight, groups):
        first_pools.append(weight)
        return proposals_needed(weight, groups)

    monkeypatch.setattr("tvae_core.sampling.proposals_needed", seen)
    whole = model.sample(3_000, given={"y": "b"}, seed=5)
    assert whole[:100].equals(model.sample(100, given={"y": "b"}, seed=5))
    assert (whole.y == "b").all()
    model.sample(10, given={"y": "b"}, seed=6)
    assert len(first_pools) == 3
    assert all(torch.equal(pool, first_pools[0]) for pool in first_pools)
