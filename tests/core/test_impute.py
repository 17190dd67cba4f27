"""Imputation keeps what is known bit for bit, in its own Arrow type, and fills the rest."""

import datetime as dt
import decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tvae_core import TVAE, ConditionError

BIG = 2**60 + 1  # not a float64
BERLIN = pa.timestamp("us", tz="Europe/Berlin")
NOON = dt.datetime(2024, 1, 1, 12, tzinfo=dt.UTC)


def table(rows=200, holes=True):
    """Columns of every family, each with missing cells in every fourth row where `holes` says so."""
    numbers = np.random.default_rng(0).integers(0, 50, rows).tolist()
    columns = {
        "big": pa.array([BIG + n for n in numbers]),
        "day": pa.array([dt.date(2024, 1, 1) + dt.timedelta(n) for n in numbers]),
        "at": pa.array([NOON + dt.timedelta(hours=n) for n in numbers], BERLIN),
        "price": pa.array([decimal.Decimal(n) / 4 for n in numbers], pa.decimal128(9, 2)),
        "half": pa.array([-0.0 if n < 5 else n / 7 for n in numbers], pa.float32()),
        "flag": pa.array([n % 2 == 0 for n in numbers]),
        "draw": pa.array([f"d{n % 3}" for n in numbers], pa.large_string()),
        "grade": pa.DictionaryArray.from_arrays(
            pa.array([n % 3 for n in numbers], pa.int8()), ["low", "mid", "top"], ordered=True
        ),
    }
    gaps = np.arange(rows) % 4 == 0 if holes else np.zeros(rows, bool)
    return pa.table({n: pa.array(c.to_pylist(), c.type, mask=gaps) if c.type != columns["grade"].type
                     else pa.DictionaryArray.from_arrays(pa.array(c.indices, mask=gaps), c.dictionary, ordered=True)
                     for n, c in columns.items()})  # fmt: skip


@pytest.fixture(scope="module")
def model():
    return TVAE(seed=2, epochs=3).fit(table())


def known_bits(column):
    """The present cells, floats as bits so that -0.0 differs from 0.0."""
    present = column.combine_chunks().drop_null()
    return present.view(pa.int32()).to_pylist() if pa.types.is_floating(column.type) else present.to_pylist()


def test_an_arrow_table_comes_back_filled_with_its_own_types_and_known_cells(model):
    holes = table()
    out = model.impute(holes)
    assert out.schema.equals(holes.schema)
    for name in holes.column_names:
        assert out[name].null_count == 0
        known = pa.compute.is_valid(holes[name])
        assert known_bits(out[name].filter(known)) == known_bits(holes[name]), name


def test_a_frame_keeps_large_integers_beside_missing_ones(model):
    frame = pd.DataFrame({"big": pd.array([BIG, None, BIG + 2], "Int64")}, index=["a", "b", "c"])
    out = model.impute(frame)
    assert out.big.dtype == "Int64"
    assert out.big["a"] == BIG
    assert out.big["c"] == BIG + 2
    assert BIG <= out.big["b"] < BIG + 50


def test_a_column_named_draw_stands_beside_the_number_of_the_draw(model):
    frame = pd.DataFrame({"draw": ["d1", None], "flag": [None, True]})
    out = model.impute(frame, draws=2)
    assert out.index.tolist() == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert out["draw"].iloc[[0, 2]].tolist() == ["d1", "d1"]
    stacked = model.impute(pa.table({"draw": ["d1", None]}), draws=2)
    assert stacked.column_names == ["draw_", "draw"]
    assert stacked["draw_"].to_pylist() == [0, 0, 1, 1]
    assert model.impute(pa.table({"flag": [True, None]}), draws=2).column_names == ["draw", "flag"]


def test_draws_differ_and_the_same_seed_repeats_them(model):
    holes = table(80)
    first, second = model.impute(holes, draws=2, seed=5), model.impute(holes, draws=2, seed=5)
    assert first.equals(second)
    assert not first.slice(0, 80).drop_columns("draw_").equals(first.slice(80).drop_columns("draw_"))


@pytest.mark.parametrize("data", [[1, 2], {"flag": [True]}, "people.parquet", None])
def test_anything_but_a_frame_or_a_table_is_refused(model, data):
    with pytest.raises(ConditionError, match="DataFrame or an Arrow table"):
        model.impute(data)


def test_a_known_cell_that_its_type_cannot_hold_is_refused(model):
    for column, cell in (("big", 3.5), ("price", 0.123), ("day", dt.datetime(2024, 1, 5, 6)), ("flag", 1)):
        with pytest.raises(ConditionError, match=f"column '{column}' holds"):
            model.impute(pd.DataFrame({column: [cell]}))


def test_a_time_with_a_zone_and_one_without_are_not_mixed_up(model):
    with pytest.raises(ConditionError, match="with a time zone"):
        model.impute(pd.DataFrame({"at": [pd.Timestamp("2024-01-01 12:00")]}))
    noon = pd.Timestamp("2024-01-01 12:00", tz="UTC")
    out = model.impute(pd.DataFrame({"at": [noon, pd.NaT]}))
    assert out["at"][0] == noon
    assert str(out["at"].dtype) == "datetime64[ns, UTC]"  # the frame's own zone
