"""Planted copies are counted exactly, and nearness to the training rows is seen against the holdout."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tvae_core.errors import DataError
from tvae_core.metrics.frames import row_hashes
from tvae_core.metrics.privacy import ClosestRecords, closest_records, exact_copies
from tvae_core.schema import infer_schema
from tvae_core.sources import as_source


def population(n: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(n, 4)), columns=list("abcd"))
    frame["level"] = rng.choice(["p", "q", "r"], n).astype(object)
    frame.loc[rng.random(n) < 0.1, "d"] = np.nan
    return frame


def test_planted_copies_are_counted_exactly_with_their_repetitions():
    train = pa.table({"n": [1, 2, 3, None], "s": ["a", "b", None, "d"]})
    synthetic = pa.table({"n": [1, 1, 3, None, 2, 9], "s": ["a", "a", None, "d", "a", "z"]})
    schema = infer_schema(train)
    a, b = (row_hashes(as_source(t), schema) for t in (synthetic, train))
    result = exact_copies(a, b)
    assert (result.count, result.rows) == (4, 6)
    assert result.share == pytest.approx(4 / 6)
    assert 0 < result.low < result.share < result.high < 1


def test_no_rows_to_look_for_are_refused():
    with pytest.raises(DataError, match="at least one row"):
        exact_copies(np.empty(0, np.uint64), np.ones(3, np.uint64))


def test_the_share_and_the_ratio_match_a_table_small_enough_to_do_by_hand():
    # range 0 .. 10; distances to train .1, .1, 0 and to holdout .9, .3, .4: nearer, nearer, nearer
    train, holdout = pd.DataFrame({"x": [0.0, 5.0]}), pd.DataFrame({"x": [10.0, 9.0]})
    synthetic = pd.DataFrame({"x": [1.0, 6.0, 5.0]})
    result = closest_records(train, holdout, synthetic)
    assert result.share == 1.0
    assert (result.median_train, result.median_holdout) == pytest.approx((0.1, 0.4))
    assert result.median_ratio == pytest.approx(0.25)
    assert (result.queries, result.train_rows, result.holdout_rows) == (3, 2, 2)
    # closest / second closest to train: .1/.4, .1/.6, 0/.5; to the holdout .8/.9, .3/.4, .4/.5
    assert result.nndr_train == pytest.approx(np.quantile([0.25, 1 / 6, 0.0], 0.05), abs=1e-6)
    assert result.nndr_holdout == pytest.approx(np.quantile([8 / 9, 0.75, 0.8], 0.05), abs=1e-6)


def test_a_row_as_close_to_both_tables_counts_half():
    train, holdout = pd.DataFrame({"x": [0.0]}), pd.DataFrame({"x": [2.0]})
    assert closest_records(train, holdout, pd.DataFrame({"x": [1.0]})).share == 0.5


def test_fresh_rows_lie_as_near_to_train_as_to_the_holdout():
    result = closest_records(population(1000, 0), population(1000, 1), population(1000, 2))
    assert result.share == pytest.approx(0.5, abs=0.06)
    assert result.low < result.share < result.high
    assert result.median_ratio == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize(("train", "holdout"), [(4000, 1000), (1000, 4000)])
def test_a_longer_table_gains_nothing_from_its_length(train, holdout):
    result = closest_records(population(train, 0), population(holdout, 1), population(2000, 2))
    assert result.share == pytest.approx(0.5, abs=0.05)
    assert result.median_ratio == pytest.approx(1.0, abs=0.1)


def test_a_longer_table_gains_nothing_where_most_rows_are_equally_close():
    rng = np.random.default_rng(0)
    coarse = [
        pd.DataFrame({"a": rng.integers(0, 6, n), "b": rng.integers(0, 6, n)}).astype(float)
        for n in (4000, 1000, 2000)
    ]
    assert closest_records(*coarse).share == pytest.approx(0.5, abs=0.03)


def test_what_is_remembered_of_a_training_table_four_times_as_long_is_seen():
    train, holdout, synthetic = population(4000, 0), population(1000, 1), population(2000, 2)
    synthetic.iloc[:1000] = train.iloc[:1000]
    # half of the rows are copies, four fifths of the others are nearer to train: .9, balanced .9 / .8 against .1 / .2
    assert closest_records(train, holdout, synthetic).share == pytest.approx(0.6923, abs=0.04)
    assert closest_records(train, holdout, train).share > 0.99


def test_rows_as_close_in_both_tables_count_by_train_s_part_of_them():
    train, holdout = pd.DataFrame({"x": [0.0, 0.0, 9.0]}), pd.DataFrame({"x": [2.0, 9.0, 9.0]})
    # 1 lies one from two training rows and from one holdout row: two thirds
    assert closest_records(train, holdout, pd.DataFrame({"x": [1.0]})).share == pytest.approx(2 / 3)


def test_copies_of_train_and_of_the_holdout_are_told_apart():
    train, holdout = population(800, 0), population(800, 1)
    copied = closest_records(train, holdout, train)
    assert copied.share > 0.99
    assert copied.median_ratio == 0.0
    assert closest_records(train, holdout, holdout).share < 0.01


def test_a_few_remembered_rows_raise_the_share_by_half_their_part():
    train, holdout, fresh = population(1000, 0), population(1000, 1), population(1000, 2)
    fresh.iloc[:300] = train.iloc[:300]
    assert closest_records(train, holdout, fresh).share == pytest.approx(0.65, abs=0.04)


@pytest.mark.parametrize(("train", "holdout", "ratio"), [(0.0, 0.0, 1.0), (0.2, 0.4, 0.5)])
def test_the_ratio_of_medians_is_one_when_both_are_zero(train, holdout, ratio):
    assert ClosestRecords(0.5, 0.4, 0.6, train, holdout, 0.5, 0.5, 10, 10, 10).median_ratio == ratio


def test_the_ratio_of_medians_is_undefined_when_only_the_holdouts_is_zero():
    assert np.isnan(ClosestRecords(0.5, 0.4, 0.6, 0.1, 0.0, 0.5, 0.5, 10, 10, 10).median_ratio)


def test_constant_and_all_missing_columns_add_nothing():
    a, b, c = (population(200, seed) for seed in range(3))
    plain = closest_records(a, b, c)
    more = closest_records(*(f.assign(same=7.0, gone=np.nan) for f in (a, b, c)))
    assert more.median_train == pytest.approx(plain.median_train, abs=1e-5)


def test_empty_tables_are_refused():
    with pytest.raises(DataError, match="and 0 and"):
        closest_records(population(5, 0), population(5, 1).head(0), population(5, 2))
