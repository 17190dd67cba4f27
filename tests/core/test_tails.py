"""Beyond a protected end values are drawn that know the real ones by their mean distance alone."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tvae_core import (
    TVAE,
    Derived,
    Inequality,
    ModelSettings,
    Range,
    SettingsError,
    TableCodec,
    as_source,
    infer_schema,
)
from tvae_core.codecs import NumericCodec, codec_from_dict
from tvae_core.codecs.tails import Tail, exponential
from tvae_core.errors import ArtifactError
from tvae_core.protection import Protection

K = 10
HEAVY = np.random.default_rng(0).lognormal(0, 1, 3000)
T = np.random.default_rng(4).standard_t(4, 3000)


def protected(values, *, k=K, holders=None, closed=None, **declared):
    table = pa.table({"x": values})
    source = as_source(table)
    schema = infer_schema(source)
    column = type(schema.columns[0])(**{**vars(schema.columns[0]), **declared})
    schema = type(schema)((column,))
    protection = Protection.learn(source, schema, k, holders, {} if closed is None else closed)
    return NumericCodec.fit("x", table["x"], bins=64, guard=protection.guard_of("x"))


def drawn(codec, code, draws):
    codes = np.full(len(draws), code)
    return codec.decode(codes, np.zeros((len(draws), 0)), draws, 0).to_numpy()


def even(n):
    return (np.arange(n) + 0.5) / n


def with_upper_end(extra):
    """3,000 numbers, of which the tenth largest stands for a protected end and `extra` lie that far beyond it."""
    ordered = np.sort(HEAVY)
    ordered[-K + 1 :] = ordered[-K] + np.asarray(extra)
    return ordered


@pytest.mark.parametrize("beyond", [4, 9, 99])
def test_an_exponential_has_the_mean_and_ends_at_the_median_of_the_largest(beyond):
    scale, most = exponential(7.0, beyond)
    tail = Tail(0, True, 0.0, 0.5, scale, most, 0)
    assert tail.distances(even(100_000)).mean() == pytest.approx(7.0, rel=1e-3)
    assert (1 - np.exp(-most / scale)) ** beyond == pytest.approx(0.5)


def test_beyond_the_end_values_have_the_real_ones_mean_distance():
    extra = np.array([1, 1, 2, 2, 3, 3, 4, 5, 6.0])
    codec = protected(with_upper_end(extra))
    tail = codec.tails[-1]
    end = np.sort(HEAVY)[-K]
    out = drawn(codec, tail.code, even(50_000))
    beyond = out[out > end]
    assert tail.end == end
    assert beyond.mean() - end == pytest.approx(8**0.5, rel=0.01)  # the quarter of an octave next to 3
    rows = (codec.encode(pa.array(with_upper_end(extra)))[0] == tail.code).sum()
    assert len(beyond) / len(out) == pytest.approx(len(extra) / rows, abs=1e-3)
    assert (np.diff(out) >= 0).all()


def test_nothing_but_the_mean_distance_is_known():
    one = protected(with_upper_end([1, 2, 3, 4, 5, 6, 7, 8, 9]))
    other = protected(with_upper_end([5, 5, 5, 5, 5, 5, 5, 5, 5]))
    assert one.to_dict() == other.to_dict()
    assert one.to_dict() != protected(with_upper_end([6] * 9)).to_dict()


def test_nobody_counts_for_more_than_the_others_together():
    rich, richer = ([1, 1, 1, 1, 1, 1, 1, 1, most] for most in (8, 1e6))
    assert protected(with_upper_end(rich)).to_dict() == protected(with_upper_end(richer)).to_dict()


def test_a_persons_many_rows_count_once():
    values = with_upper_end([5] * 9)
    again = np.concatenate([np.full(200, values[-1]), values])
    holders = np.concatenate([np.full(200, len(values) - 1), np.arange(len(values))])
    tail, alone = protected(again, holders=holders).tails[-1], protected(values).tails[-1]
    assert (tail.end, tail.scale, tail.most) == (alone.end, alone.scale, alone.most)
    assert tail.share > alone.share  # of rows, which are what is drawn


def test_whole_numbers_and_decimals_keep_their_grid():
    values = np.round(np.random.default_rng(1).lognormal(4, 1, 5000)) * 5 / 100
    codec = protected(values)
    out = drawn(codec, codec.tails[-1].code, even(1000))
    assert (out > codec.tails[-1].end / 100).any()
    assert np.allclose(np.round(out / 0.05) * 0.05, out)
    integers = protected(np.rint(values * 100).astype(np.int64))
    assert (drawn(integers, integers.tails[-1].code, even(1000)) % 5 == 0).all()


def test_tails_stop_at_declared_and_natural_ends():
    generator = np.random.default_rng(2)
    positive = generator.exponential(size=4000)
    assert protected(positive).span()[0] >= 0
    assert protected(-positive).span()[1] <= 0
    shares, percentages = generator.uniform(0, 1, 4000), generator.uniform(0, 100, 4000)
    assert protected(shares).span()[1] <= 1
    assert protected(percentages).span()[1] <= 100
    assert (
        protected(generator.normal(50, 12, 4000)).span()[1] < 110
    )  # natural ends may lie further in, not further out
    high = float(positive.max()) + 0.01
    assert protected(positive).span()[1] > high
    assert protected(positive, maximum=high).span()[1] == pytest.approx(high)
    assert protected(positive, maximum=float(positive.max())).span()[1] == positive.max()


@pytest.mark.parametrize(
    "values",
    [
        pa.array(np.minimum(HEAVY * 4000, 32_767 - np.arange(3000)), pa.float64()).cast(
            pa.int16(), safe=False
        ),
        pa.array(np.minimum(HEAVY * 2000, 65_535 - np.arange(3000)), pa.float64()).cast(
            pa.uint16(), safe=False
        ),
        pa.array(HEAVY / HEAVY.max() * 3e38, pa.float32()),
        pa.array(HEAVY / HEAVY.max() * 1e306),
        pa.array(np.round(HEAVY * 40, 1).tolist()).cast(pa.decimal128(6, 2)),
    ],
    ids=lambda values: str(values.type),
)
def test_tails_stay_inside_the_type(values):
    codec = protected(values)
    codes = np.repeat([tail.code for tail in codec.tails], 500)
    out = codec.decode(codes, np.zeros((len(codes), 0)), np.tile(even(500), len(codec.tails)), 0)
    assert len(codec.tails)
    assert out.type == values.type
    assert np.isfinite(out.cast(pa.float64()).to_numpy()).all()


def test_no_tail_where_few_or_nobody_lies_beyond_or_values_are_few():
    ages = np.minimum(HEAVY, np.sort(HEAVY)[-2 * K])  # the largest is held by many
    assert [tail.above for tail in protected(ages).tails] == [False]
    assert protected(HEAVY, k=3).tails == ()
    counts = np.random.default_rng(3).poisson(3, 4000)
    assert protected(counts).tails == ()
    assert protected(HEAVY, closed={"x": (True, True)}).tails == ()
    dates = pd.Timestamp("2020-01-01") + pd.to_timedelta(HEAVY, unit="D")
    assert protected(pa.array(dates.to_numpy())).tails == ()


@given(st.integers(0, 2**32), st.booleans(), st.floats(0, 0.999))
@settings(max_examples=60, deadline=None)
def test_a_drawn_value_is_drawn_again_from_its_window(seed, whole, draw):
    values = np.random.default_rng(seed).standard_t(2, size=1500)
    codec = protected(np.rint(values * 1000).astype(np.int64) if whole else values)
    codes = np.arange(codec.layout.codes)
    none = np.zeros((len(codes), 0))
    out = codec.decode(codes, none, np.full(len(codes), draw), 0)
    assert np.array_equal(codec.encode(out)[0], codes)
    windows = codec.windows_of(out)
    again = codec.decode(codes, none, windows.mean(axis=1), 0)
    assert np.allclose(again.to_numpy(), out.to_numpy(), rtol=1e-9)
    least, most = codec.span()
    numbers, _ = codec.domain.to_numbers(out)
    assert ((least <= numbers) & (numbers <= most)).all()


@pytest.mark.parametrize("whole", [False, True])
def test_a_range_takes_its_share_of_a_tail(whole):
    values = np.random.default_rng(5).standard_t(2, size=2000)
    codec = protected(np.rint(values * 1000).astype(np.int64) if whole else values)
    for tail in codec.tails:
        out = codec.domain.to_numbers(pa.array(drawn(codec, tail.code, even(20_000))))[0]
        for low, high in [
            np.quantile(out, ends, method="nearest") for ends in ((0.2, 0.6), (0.55, 0.95), (0, 1))
        ]:
            shares, windows = codec.shares_of_range(low.item(), high.item())
            inside = (out >= low) & (out <= high)
            assert shares[tail.code] == pytest.approx(inside.mean(), abs=1e-3)
            first, last = windows[tail.code]
            asked = drawn(codec, tail.code, first + even(500) * (last - first))
            asked = codec.domain.to_numbers(pa.array(asked))[0]
            slack = 0 if whole else 1e-9 * abs(tail.farthest)
            assert asked.min() >= low - slack
            assert asked.max() <= high + slack


def test_tails_survive_json_and_older_generators_have_none():
    codec = protected(HEAVY)
    plain = json.loads(json.dumps(codec.to_dict()))
    assert codec_from_dict(plain).tails == codec.tails
    assert len(codec.tails) == 2
    del plain["tails"]
    assert codec_from_dict(plain).tails == ()


@pytest.mark.parametrize(
    "change",
    [
        {"share": 1.5},
        {"share": None},
        {"scale": 0.0},
        {"most": float("inf")},
        {"unknown": 1},
        {"code": 10**6},
        {"end": "far"},
        {"above": 1},
        {"step": -1},
    ],
)
def test_a_tail_that_makes_no_sense_is_refused(change):
    plain = protected(HEAVY).to_dict()
    plain["tails"][0].update(change)
    with pytest.raises(ArtifactError, match="a numeric codec can't be rebuilt"):
        codec_from_dict(plain)


def fitted(table, *constraints, **options):
    schema = infer_schema(table)
    return TVAE(epochs=1, seed=3, **options).fit(table, type(schema)(schema.columns, constraints=constraints))


def test_sampled_rows_reach_beyond_the_ends_and_can_be_asked_to():
    x = np.random.default_rng(6).standard_t(2, size=4000)
    table = pd.DataFrame({"x": x, "y": 3 * x})
    model = fitted(table)
    codes = {c.name: c for c in model.codec_.codecs}
    out = model.sample(40_000)
    ends = {name: np.sort(table[name])[[K - 1, -K]] for name in table}
    for name, (low, high) in ends.items():
        assert low > out[name].min() >= codes[name].span()[0]
        assert high < out[name].max() <= codes[name].span()[1]
    asked = model.sample(200, given={"x": (float(ends["x"][1]) + 0.01, None)})
    assert (asked.x > ends["x"][1]).all()


def test_what_lies_beyond_several_ends_lies_as_far_beyond_each():
    x = np.random.default_rng(6).standard_t(2, size=4000)
    table = pd.DataFrame({"x": x, "minus": -3 * x})
    source = as_source(table)
    codec = TableCodec.fit(source, infer_schema(source), ModelSettings().resolved(), seed=0)
    rows, generator = codec.encode(source), np.random.default_rng(7)
    for tails in (t for c in codec.codecs for t in c.tails):
        assert tails.share > 0.5
    draws, common = generator.random((4000, 2)), generator.random(4000)
    out = codec.decode(rows, codec.align_tails(rows.codes, draws, common), 0).to_pandas()
    ends = np.sort(x)[[K - 1, -K]]
    for beyond in (x > ends[1], x < ends[0]):
        assert beyond.sum() == K - 1
        assert out[beyond].corr(method="spearman").iloc[0, 1] < -0.99
    inside = (x > np.sort(x)[100]) & (x < np.sort(x)[-100])
    assert out[inside].equals(codec.decode(rows, draws, 0).to_pandas()[inside])


def test_tails_can_be_switched_off():
    out = fitted(pd.DataFrame({"x": HEAVY}), tails=False).sample(20_000).x
    ordered = np.sort(HEAVY)
    assert ordered[K - 1] <= out.min() <= out.max() <= ordered[-K]
    with pytest.raises(SettingsError, match="tails must be true or false"):
        TVAE(tails="no")


def test_constraints_keep_the_ends_that_they_build_on():
    other = HEAVY + np.random.default_rng(7).exponential(size=3000)
    table = pd.DataFrame(
        {"a": HEAVY, "b": other, "c": HEAVY[::-1].copy(), "sum": HEAVY + other, "free": -HEAVY}
    )
    model = fitted(
        table,
        Inequality("a", "b"),
        Range("c", minimum=0),
        Derived("sum", "sum", ("a", "b")),
    )
    tails = {c.name: [t.above for t in c.tails] for c in model.codec_.codecs if isinstance(c, NumericCodec)}
    assert tails == {"a": [], "b": [], "c": [True], "free": [False, True]}
    out = model.sample(5000)
    assert (out.a <= out.b).all()
    assert (out.c > 0).all()


def test_neither_of_the_farthest_two_shows():
    rich, richer = ([1, 1, 1, 1, 1, 1, 1, *most] for most in ((7, 7), (999_500, 1_000_000)))
    assert protected(with_upper_end(rich)).to_dict() == protected(with_upper_end(richer)).to_dict()


def test_the_mean_is_known_roughly_so_that_two_of_them_tell_no_difference():
    one, other = (protected(with_upper_end([5, 5, 5, 5, 5, 5, 5, 5, last])) for last in (4.6, 6.5))
    assert one.to_dict() == other.to_dict()
    scales = [protected(with_upper_end(np.full(9, mean))).tails[-1].scale for mean in np.geomspace(1, 2, 200)]
    steps, counts = np.unique(scales, return_counts=True)
    assert np.allclose(steps[1:] / steps[:-1], 2**0.25)
    assert counts.tolist() == pytest.approx([25, 50, 50, 50, 25], abs=1)
    assert scales[100] == pytest.approx(exponential(2**0.5, 9)[0])


def test_a_tail_of_long_decimals_stays_inside_int64():
    values = pa.array([f"{v:.10f}" for v in (HEAVY / HEAVY.max()) ** 2 * 9e8]).cast(pa.decimal128(38, 10))
    codec = protected(values)
    assert codec.tails[-1].above
    assert codec.span()[1] <= 2**62
    for tail in codec.tails:
        out = codec.decode(np.full(1000, tail.code), np.zeros((1000, 0)), even(1000), 0)
        assert all(value >= 0 for value in out.to_pylist())
    assert codec.shares_of_range(10**18, None)[0].any()


@pytest.mark.parametrize(
    ("values", "declared", "least", "most"),
    [
        (np.round(T, 2), {"maximum": T.max() + 0.006}, None, np.floor(100 * T.max() + 0.6) / 100),
        (np.rint(T * 900), {"maximum": np.rint(T.max() * 900) + 1.5}, None, np.rint(T.max() * 900) + 1),
        (
            np.rint(T * 900).astype(int),
            {"minimum": np.rint(T.min() * 900) - 1.5},
            np.rint(T.min() * 900) - 1,
            None,
        ),
        (np.rint(T * 900).astype(np.int16), {"maximum": 1e6}, None, 32_767),
        (np.round(T, 2), {"maximum": 1e18}, None, 2**53 / 100),
        (T, {"maximum": T.max() + 1 / 3, "minimum": T.min() - 1 / 7}, T.min() - 1 / 7, T.max() + 1 / 3),
    ],
    ids=["decimals", "whole floats", "integers", "beyond the type", "beyond what floats write", "floats"],
)
def test_a_declared_end_between_two_values_is_not_passed(values, declared, least, most):
    codec = protected(values, **{name: float(end) for name, end in declared.items()})
    assert len(codec.tails) == 2
    low, high = (number / 10**codec.domain.places for number in codec.span())
    assert least is None or low >= least
    assert most is None or high <= most


def test_a_declared_end_is_not_passed_by_a_rounded_difference():
    values = np.sort(T)
    values[-K + 1 :] = values[-K] + 8.0
    for beyond in np.linspace(0.1, 2, 60):
        maximum = float(values.max() + beyond)
        assert maximum - 1e-9 < protected(values, maximum=maximum).span()[1] <= maximum


def test_a_range_off_the_grid_is_met_inside_and_beyond_the_ends():
    values = np.rint(np.random.default_rng(5).lognormal(8, 1, size=4000)).astype(np.int64) * 5
    codec = protected(values)
    end = int(codec.tails[-1].end)
    middle = int(np.median(values)) // 5 * 5
    for low, high in (
        (end + 7, end + 12),
        (end + 7, end + 52),
        (middle + 2, middle + 8),
        (middle - 501, middle + 12),
    ):
        shares, windows = codec.shares_of_range(low, high)
        for code in np.flatnonzero(shares):
            first, last = windows[code]
            out = drawn(codec, code, first + even(200) * (last - first))
            assert ((out >= low) & (out <= high)).all(), (low, high)
        assert shares.any()
    assert not codec.shares_of_range(end + 6, end + 9)[0].any()
    assert not codec.shares_of_range(middle + 1, middle + 4)[0].any()


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ([{"code": 2.0}], "integers"),
        ([{"code": True}], "integers"),
        ([{"step": 2}], "grid"),
        ([{"end": 10**30}], "end"),
        ([{"most": 1e300}], "type"),
        ([{}, {"code": "first", "above": False, "end": "first"}], "one tail"),
        ([{"share": 0.6}, {"code": "first", "share": 0.6}], "room"),
    ],
)
def test_tails_of_another_column_are_refused(changes, what):
    codec = protected(np.rint(T * 1000).astype(np.int64))
    plain = codec.to_dict()
    assert NumericCodec.from_dict(plain).tails == codec.tails
    first = dict(plain["tails"][0])
    for tail, change in zip(plain["tails"], changes, strict=False):
        tail.update({k: first[k] if v == "first" else v for k, v in change.items()})
    with pytest.raises(ValueError, match=what):
        NumericCodec.from_dict(plain)
