"""Three columns at a time, rare levels and shuffled columns: worked out by hand and planted."""

import numpy as np
import pandas as pd
import pytest

from tvae_core.errors import DataError
from tvae_core.metrics.combinations import rare_combinations
from tvae_core.metrics.frames import MISSING
from tvae_core.metrics.margins import rare_coverage, shuffled, three_way


def text(values) -> np.ndarray:
    return np.array(values, object)


def parity(n: int, seed: int) -> pd.DataFrame:
    """Three columns, any two of them independent, the third decided by the first two."""
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 2, (2, n))
    frame = pd.DataFrame({"a": a.astype(float), "b": text([f"l{v}" for v in b]), "c": (a ^ b).astype(float)})
    return frame.assign(d=rng.normal(size=n))


def test_shuffled_columns_keep_their_values_and_lose_their_rows():
    frame = parity(500, 0)
    mixed = shuffled(frame, seed=1)
    for name in frame.columns:
        assert sorted(mixed[name]) == sorted(frame[name])
    assert abs(np.corrcoef(mixed["a"], frame["a"])[0, 1]) < 0.2
    pd.testing.assert_frame_equal(mixed, shuffled(frame, seed=1))


def test_three_columns_at_a_time_match_a_table_small_enough_to_do_by_hand():
    real = pd.DataFrame({"x": text(["a", "a", "b", "b"]), "y": text(["c"] * 4), "z": [1.0, 1.0, 1.0, np.nan]})
    other = pd.DataFrame({"x": text(["a", "a", "a", "b"]), "y": text(["c"] * 4), "z": [1.0, 1.0, 1.0, 1.0]})
    # real: a1 .5, b1 .25, b? .25; other: a1 .75, b1 .25: half of (.25 + .25)
    assert three_way(real, [other, real]) == pytest.approx([0.75, 1.0])


def test_a_dependence_of_three_columns_is_seen_where_no_pair_shows_it():
    real, fresh = parity(4000, 0), parity(4000, 1)
    alike, floor = three_way(real, [fresh, shuffled(real)])
    assert alike > 0.9
    assert floor < alike - 0.1


def test_only_levels_that_are_rare_and_nobodys_own_are_looked_for():
    real = pd.DataFrame(
        {"s": text(["often"] * 1960 + ["rare"] * 12 + ["scarce"] * 12 + ["own"] * 6 + [MISSING] * 10)}
    )
    found = rare_coverage(real, pd.DataFrame({"s": text(["rare", "own", "new"])}))
    assert (found.found, found.levels, found.share) == (1, 2, 0.5)


def test_tables_without_rare_levels_or_three_columns_say_so():
    with pytest.raises(DataError, match="levels of 10 rows"):
        rare_coverage(parity(100, 0), parity(100, 1))
    with pytest.raises(DataError, match="at least 3 columns"):
        three_way(parity(10, 0)[["a", "b"]], [parity(10, 1)[["a", "b"]]])


def people(n: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    codes = np.minimum(rng.geometric(0.15, (n, 5)), 30)
    return pd.DataFrame({f"q{j}": text([f"v{v}" for v in codes[:, j]]) for j in range(5)})


TRAIN, HOLDOUT, FRESH = (people(n, seed) for n, seed in ((3000, 0), (2000, 1), (2000, 2)))


def test_rare_combinations_of_unseen_people_reappear_as_often_as_those_of_train():
    risk = rare_combinations(TRAIN, HOLDOUT, FRESH)
    assert risk.low <= 0
    assert 0 < risk.control < 0.6


def test_copied_people_are_found_by_their_rare_combinations():
    copied = pd.concat([TRAIN[:600], FRESH[600:]], ignore_index=True)
    assert rare_combinations(TRAIN, HOLDOUT, copied).low > 0.02
    assert rare_combinations(TRAIN, HOLDOUT, TRAIN).rate == 1.0


def test_rows_of_one_entity_are_one_holder_of_a_combination():
    twice = TRAIN[:500].loc[np.repeat(np.arange(500), 2)].reset_index(drop=True)
    alone = np.arange(1000)
    apart = rare_combinations(twice, twice, FRESH, entities=(alone // 2, alone // 2))
    assert apart.attacks > 0
    with pytest.raises(DataError, match="fewer than 2"):
        rare_combinations(twice, twice, FRESH)  # every combination has two holders
    with pytest.raises(DataError, match="and 0 rows"):
        rare_combinations(TRAIN, HOLDOUT, FRESH.head(0))
