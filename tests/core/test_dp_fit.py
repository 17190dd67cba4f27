"""A private fit: within its budget, from noisy counts and gradients, and open about what it cost."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tvae_core import (
    TVAE,
    ConditionError,
    FixedCombinations,
    SchemaError,
    SettingsError,
    TableSchema,
    as_source,
    infer_schema,
)
from tvae_core.dp.counts import NoisyCounts, ends
from tvae_core.dp.histograms import histograms_of, private_codec
from tvae_core.dp.numbers import join_noise

SMALL = {"epochs": 2, "compress_dims": (8,), "decompress_dims": (8, 4), "embedding_dim": 2}


def people(rows=3000):
    generator = np.random.default_rng(0)
    city = generator.choice(["Bern", "Cork", "Lyon"], rows, p=[0.6, 0.3, 0.1]).astype(object)
    city[0] = "Nowhere"
    gain = np.where(generator.random(rows) < 0.8, 0, generator.integers(1000, 9000, rows))
    return pd.DataFrame({"city": city, "age": generator.integers(18, 80, rows), "gain": gain})


@pytest.fixture(scope="module")
def model():
    return TVAE(seed=1, epsilon=3.0, delta=1e-5, **SMALL).fit(people())


def test_the_account_adds_up_to_what_was_asked_for(model):
    account = model.privacy_
    assert 2.98 < account["epsilon"] <= 3.0
    assert (account["delta"], account["unit"]) == (1e-5, "row")
    counts, training = account["parts"]
    assert counts["histograms"] == 5
    assert (training["steps"], training["sample_rate"]) == (16, pytest.approx(375 / 3000))
    assert [record["epoch"] for record in model.history_] == [1, 2]
    assert max(counts["epsilon_alone"], training["epsilon_alone"]) < account["epsilon"]


def test_margins_come_from_noisy_counts_and_single_rows_are_never_named(model):
    drawn, real = model.sample(5000), people()
    assert set(drawn.city) == {"Bern", "Cork", "Lyon"}
    assert (drawn.city == "Bern").mean() == pytest.approx((real.city == "Bern").mean(), abs=0.06)
    assert (drawn.gain == 0).mean() == pytest.approx(0.8, abs=0.06)
    assert drawn.age.dtype == real.age.dtype
    assert drawn.age.mean() == pytest.approx(real.age.mean(), abs=3)


def test_a_private_generator_is_stored_with_its_account_and_draws_whole_rows_only(model, tmp_path):
    model.save(tmp_path / "g")
    again = TVAE.load(tmp_path / "g")
    assert again.privacy_ == model.privacy_
    assert again.sample(20).equals(model.sample(20))
    with pytest.raises(ConditionError, match="whole rows only"):
        again.sample(5, given={"city": "Bern"})


def test_two_fits_of_one_seed_differ_for_the_noise_is_secret(model):
    other = TVAE(seed=1, epsilon=3.0, delta=1e-5, **SMALL).fit(people())
    assert not other.sample(200).equals(model.sample(200))


def test_what_has_no_private_form_is_refused():
    table = people(400)
    schema = infer_schema(table)
    with pytest.raises(SchemaError, match="names an entity"):
        TVAE(epsilon=1.0, **SMALL).fit(table, replace(schema, entity="city"))
    pairs = FixedCombinations(("city", "age"))
    with pytest.raises(SchemaError, match="no private form"):
        TVAE(epsilon=1.0, **SMALL).fit(table, replace(schema, constraints=(pairs,)))
    with pytest.raises(SettingsError, match="default preset"):
        TVAE("reference", epsilon=1.0).fit(table)
    with pytest.raises(SettingsError, match="whole row"):
        TVAE(epsilon=1.0, delta=0.01, **SMALL).fit(table)


def test_declared_categories_are_counted_even_where_no_row_has_them():
    source = as_source(people())
    column = replace(infer_schema(source).columns[0], categories=("Bern", "Cork", "Rome"))
    counts = NoisyCounts(1e-6, np.random.default_rng(0), 1e-7)
    codec, shares = private_codec(source, column, counts)
    assert codec.levels.to_pylist() == ["Bern", "Cork", "Rome"]
    real = people().city.value_counts(normalize=True)
    expected = [real.Bern, real.Cork, 0.0, real.Lyon + real.Nowhere]
    assert shares == pytest.approx(expected, abs=1e-6)


def test_cells_are_joined_until_they_stand_out_from_the_noise():
    edges, counts = join_noise(np.arange(8), np.array([1.0, 90.0, 2.0, -1.0, 20.0, 25.0, 30.0]), 10.0)
    assert (edges.tolist(), counts.tolist()) == ([1, 2, 7], [90.0, 76.0])


def test_the_ends_of_integers_are_those_of_the_rows():
    rows = np.repeat(np.arange(1, 17), [60, 120, 250, *[400] * 12, 300])
    source = as_source(pd.DataFrame({"x": rows}))
    column = infer_schema(source).columns[0]
    spans = [
        private_codec(source, column, NoisyCounts(15.0, np.random.default_rng(seed), 1e-7))[0].span()
        for seed in range(60)
    ]
    assert np.mean([span == (1, 16) for span in spans]) > 0.85


def test_integers_near_zero_are_counted_twice_so_their_noise_is_less():
    source = as_source(pd.DataFrame({"x": np.repeat([3, 4], 5000)}))
    column = infer_schema(source).columns[0]
    declared = replace(column, minimum=3, maximum=4)
    assert (histograms_of(infer_schema(source)), histograms_of(TableSchema((declared,)))) == (2, 1)

    def spread(column):
        halves = []
        for seed in range(200):
            codec, shares = private_codec(
                source, column, NoisyCounts(100.0, np.random.default_rng(seed), 1e-7)
            )
            three, four = (shares[: len(codec.atoms)][codec.atoms == x].item() for x in (3, 4))
            halves.append(three / (three + four))
        return np.std(halves)

    # One of two equal halves moves by noise / (rows sqrt(2)), and by noise / (rows 2) where it is counted twice.
    assert spread(declared) == pytest.approx(100 / 10_000 / 2**0.5, rel=0.2)
    assert spread(column) == pytest.approx(100 / 10_000 / 2, rel=0.2)


def test_a_cell_far_from_the_others_needs_more_to_be_believed():
    cells = np.arange(40)
    deviations = np.zeros(40)
    deviations[5:9] = 50.0
    deviations[[4, 9, 30]] = 2.4
    assert ends(deviations, cells, cells + 1) == (4, 9)
    deviations[30] = 3.95
    assert ends(deviations, cells, cells + 1) == (4, 30)


def test_a_thin_tail_beside_the_rest_is_kept():
    # Ten rows a cell under noise of twenty: seen only together.
    generator = np.random.default_rng(0)
    seen = []
    for _ in range(40):
        counts = np.concatenate([np.full(20, 500.0), np.full(80, 10.0), np.zeros(28)])
        edges, _ = join_noise(np.arange(129), counts + generator.normal(0, 20.0, 128), 20.0)
        seen.append(edges[-1])
    assert np.median(seen) > 50


def test_noise_alone_never_stretches_a_range():
    table = pd.DataFrame({"x": np.random.default_rng(0).integers(100, 100_000, 2000)})
    source, column = as_source(table), infer_schema(table).columns[0]
    for seed in range(40):
        codec, _ = private_codec(source, column, NoisyCounts(20.0, np.random.default_rng(seed), 1e-7))
        low, high = codec.span()
        assert low >= 0
        assert high < 2**17
