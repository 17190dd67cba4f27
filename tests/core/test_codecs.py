"""Column codecs: what goes in comes back, and nothing outside the training range ever does."""

import datetime as dt
import decimal
import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tvae_core.codecs import CategoricalCodec, IdentifierCodec, ModeCodec, NumericCodec, codec_from_dict
from tvae_core.codecs.domain import NumberDomain
from tvae_core.errors import ArtifactError, DataError


def numeric(values, arrow=None, *, bins=100):
    return NumericCodec.fit("x", pa.array(values, arrow), bins=bins)


def round_trip(codec, array, draws=None):
    codes, scalars = codec.encode(array)
    draws = np.full(len(array), 0.5) if draws is None else draws
    return codec.decode(codes, scalars, draws, 0)


def reread(codec):
    return codec_from_dict(json.loads(json.dumps(codec.to_dict())))


TYPED = [
    pa.array([3, None, -7, 3], pa.int64()),
    pa.array([3, 250], pa.uint8()),
    pa.array([2**62, 2**62 + 1, -5], pa.int64()),
    pa.array([0.1, 0.25, None, -1e-3], pa.float64()),
    pa.array([0.5, 1.25], pa.float32()),
    pa.array([decimal.Decimal("1.10"), None, decimal.Decimal("-99999.99")], pa.decimal128(10, 2)),
    pa.array([dt.date(2024, 2, 29), None], pa.date32()),
    pa.array([dt.date(2024, 2, 29)], pa.date64()),
    pa.array([dt.datetime(2024, 1, 1, 12, 30, 5, 123456)], pa.timestamp("us")),
    pa.array([dt.datetime(2024, 1, 1, tzinfo=dt.UTC), None], pa.timestamp("ns", tz="Europe/Berlin")),
    pa.array([dt.time(1, 2, 3)], pa.time32("s")),
    pa.array([dt.timedelta(seconds=90)], pa.duration("ms")),
]


@pytest.mark.parametrize("array", TYPED, ids=lambda a: str(a.type))
def test_few_values_of_every_numeric_type_come_back_exactly(array):
    codec = reread(numeric(array))
    out = round_trip(codec, array)
    assert out.type == array.type
    assert out.equals(array)


LEVELS = [
    pa.array(["b", None, "", "a"]),
    pa.array(["b", "a"], pa.large_string()),
    pa.array([True, None, False]),
    pa.array([5, 1, None], pa.int32()),
    pa.array([0.25, None], pa.float64()),
    pa.array([dt.date(2024, 2, 29), None]),
    pa.array([dt.datetime(2024, 1, 1, tzinfo=dt.UTC)], pa.timestamp("us", tz="UTC")),
    pa.array([decimal.Decimal("1.10")], pa.decimal128(5, 2)),
    pa.array(["x", None, "y"]).dictionary_encode(),
    pa.nulls(3),
    pa.nulls(2, pa.string()),
]


@pytest.mark.parametrize("array", LEVELS, ids=lambda a: str(a.type))
def test_levels_of_every_type_come_back_exactly(array):
    codec = reread(CategoricalCodec.fit("x", array, most_levels=10))
    out = round_trip(codec, array)
    assert out.type == array.type
    assert out.to_pylist() == array.to_pylist()


def test_an_empty_string_is_a_level_and_not_missing():
    codec = CategoricalCodec.fit("x", pa.array(["", None, "a"]), most_levels=10)
    assert codec.layout.tokens == codec.layout.codes == 3
    assert round_trip(codec, pa.array(["", None])).to_pylist() == ["", None]


def test_nan_counts_as_missing():
    codec = numeric([1.5, float("nan"), None])
    assert round_trip(codec, pa.array([1.5, float("nan")])).to_pylist() == [1.5, None]


@given(
    st.lists(st.integers(-(2**62), 2**62 - 1), min_size=1, max_size=300),
    st.integers(2, 20),
    st.integers(0, 2**32),
)
@settings(max_examples=60, deadline=None)
def test_integers_never_leave_the_training_range_nor_its_grid(values, bins, seed):
    codec = numeric(values, pa.int64(), bins=bins)
    draws = np.random.default_rng(seed).random(len(values))
    out = np.array(round_trip(codec, pa.array(values, pa.int64()), draws).to_pylist(), dtype=object)
    assert min(values) <= out.min()
    assert out.max() <= max(values)
    assert all((int(v) - min(values)) % codec.step == 0 for v in out)


@given(st.lists(st.floats(-1e12, 1e12, allow_subnormal=False), min_size=1, max_size=300), st.integers(2, 20))
@settings(max_examples=60, deadline=None)
def test_floats_never_leave_the_training_range(values, bins):
    codec = numeric(values, pa.float64(), bins=bins)
    codes, scalars = codec.encode(pa.array(values))
    for draw in (0.0, 0.37, np.nextafter(1, 0)):
        out = codec.decode(codes, scalars, np.full(len(values), draw), 0).to_numpy()
        assert min(values) <= out.min()
        assert out.max() <= max(values)


def test_a_value_stays_in_its_own_cell():
    values = np.random.default_rng(0).normal(size=5000)
    codec = numeric(values, bins=50)
    out = round_trip(codec, pa.array(values), np.random.default_rng(1).random(5000))
    assert np.array_equal(codec.encode(out)[0], codec.encode(pa.array(values))[0])
    assert np.abs(np.sort(out.to_numpy()) - np.sort(values)).mean() < 0.003


def test_a_zero_inflated_column_keeps_its_zeros_exactly():
    values = np.concatenate([np.zeros(600), np.random.default_rng(0).lognormal(3, 1, 400)])
    codec = numeric(values, bins=20)
    assert codec.atoms.tolist() == [0.0]
    assert codec.layout.token_of_code[0] == 0
    out = round_trip(codec, pa.array(values), np.random.default_rng(1).random(1000)).to_numpy()
    assert (out == 0).sum() == 600


def test_cells_cut_at_quantiles_and_group_into_tokens():
    codec = numeric(np.arange(1600) + 1 / 3, bins=2)
    assert codec.cells == 32
    assert np.diff(codec.edges).tolist() == pytest.approx([50] * 31 + [49])
    assert (codec.layout.tokens, codec.layout.fine_places) == (32, 1)
    finer = numeric(np.arange(16_000) + 1 / 3, bins=64).layout
    assert (finer.codes, finer.tokens, finer.fine_places) == (1024, 64, 16)
    assert finer.token_of_code[:17].tolist() == [0] * 16 + [1]
    assert finer.fine_of_code[:17].tolist() == [*range(16), 0]
    assert np.allclose(finer.ranks, (np.arange(1024) + 0.5) / 1024, atol=1e-3)


def test_integer_cells_hold_whole_numbers_and_reach_both_ends():
    values = np.arange(2000)
    codec = numeric(values, bins=64)
    low, high = (round_trip(codec, pa.array([0, 1999]), np.full(2, d)).to_pylist() for d in (0.0, 0.999999))
    assert low[0] == 0
    assert high[1] == 1999


@pytest.mark.parametrize(
    ("values", "decimals"), [([1.0, 2.0], 0), ([0.5, 1.25], 2), ([1 / 3], None), ([1e300], None)]
)
def test_decimals_are_detected(values, decimals):
    assert NumberDomain.of("x", pa.array(values)).decimals == decimals


def test_decimals_are_kept_in_what_is_drawn():
    values = np.round(np.random.default_rng(0).gamma(2, 10, 4000), 2)
    out = round_trip(numeric(values), pa.array(values), np.random.default_rng(1).random(4000)).to_numpy()
    assert np.array_equal(out, np.round(out, 2))


def test_multiples_of_a_hundred_stay_multiples_of_a_hundred():
    values = np.random.default_rng(0).integers(0, 5000, 4000) * 100
    out = round_trip(numeric(values), pa.array(values), np.random.default_rng(1).random(4000)).to_numpy()
    assert (out % 100 == 0).all()


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (pa.array([1.0, float("inf")]), "1 infinite"),
        (pa.array([2**63], pa.uint64()), "2**63"),
        (pa.array([decimal.Decimal(10) ** 25], pa.decimal128(30, 0)), "18 digits"),
        (pa.array([-(2**62) - 5, 2**62 + 5], pa.int64()), "spans more"),
    ],
)
def test_numbers_without_a_place_are_refused_with_a_cure(array, words):
    with pytest.raises(DataError, match=r"column 'x'") as caught:
        numeric(array)
    assert words in str(caught.value)


def test_unseen_categories_are_counted_but_not_named():
    codec = CategoricalCodec.fit("x", pa.array(["a", "b"]), most_levels=10)
    with pytest.raises(DataError, match="2 rows with a category never seen") as caught:
        codec.encode(pa.array(["a", "SECRET", "SECRET2"]))
    assert "SECRET" not in str(caught.value)


def test_missing_where_training_saw_none_is_refused():
    with pytest.raises(DataError, match="1 missing values never seen"):
        numeric([1, 2, 3]).encode(pa.array([1, None]))


def test_too_many_categories_are_refused_with_a_cure():
    with pytest.raises(DataError, match="raise max_categories"):
        CategoricalCodec.fit("x", pa.array([str(i) for i in range(100)]), most_levels=99)


def test_modes_find_planted_modes_and_invert():
    generator = np.random.default_rng(0)
    values = np.concatenate([generator.normal(-50, 1, 3000), generator.normal(80, 5, 3000)])
    codec = reread(ModeCodec.fit("x", pa.array(values), seed=1))
    assert codec.means.min() == pytest.approx(-50, abs=1)
    assert codec.means.max() == pytest.approx(80, abs=6)
    assert len(codec.means) <= 10
    out = round_trip(codec, pa.array(values)).to_numpy()
    assert np.abs(out - values).mean() < 0.2
    assert values.min() <= out.min() <= out.max() <= values.max()


def test_modes_encode_the_same_column_the_same_way_twice():
    values = pa.array(np.random.default_rng(0).normal(size=500))
    codec = ModeCodec.fit("x", values, seed=1)
    first, second = codec.encode(values), codec.encode(values)
    assert np.array_equal(first[0], second[0])
    assert np.array_equal(first[1], second[1])


def test_modes_keep_missing_constant_and_empty_columns():
    for values in ([5, 5, None], [None, None], [2**62, 2**62 + 1]):
        array = pa.array(values, pa.int64())
        codec = ModeCodec.fit("x", array, seed=1)
        out = round_trip(codec, array)
        assert out.is_null().equals(array.is_null())
        assert set(out.drop_null().to_pylist()) <= set(array.drop_null().to_pylist())


def test_identifiers_are_unique_shaped_like_the_keys_and_not_taken_from_them():
    keys = pa.array([f"AB-{i:04d}" for i in range(500)])
    codec = reread(IdentifierCodec.fit("id", keys))
    out = codec.decode(np.zeros(300, int), np.zeros((300, 0)), np.zeros(300), 0).to_pylist()
    assert len(set(out)) == 300
    assert all(len(k) == 7 and k[2] == "-" for k in out)
    assert "AB" not in json.dumps(codec.to_dict())


def test_identifiers_of_two_blocks_never_meet():
    codec = IdentifierCodec.fit("id", pa.array([17, 99]))
    empty = np.zeros((5, 0))
    first, second = (codec.decode(np.zeros(5, int), empty, np.zeros(5), n).to_pylist() for n in (0, 5))
    assert first + second == list(range(1, 11))


def test_an_unknown_codec_is_refused():
    with pytest.raises(ArtifactError, match="unknown codec"):
        codec_from_dict({"codec": "pickle"})
