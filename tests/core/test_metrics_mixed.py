"""One distance for mixed columns: hand-computed, and found in blocks as it is all at once."""

import numpy as np
import pandas as pd
import pytest

from tvae_core.metrics import mixed
from tvae_core.metrics.mixed import Mixed, closest_indices, comparable, nearest_rows

NAMES = ("p", "q", "x", "y")


def test_distances_match_hand_computed_ones():
    nan = np.nan
    query = Mixed(NAMES, np.array([[0, 1]]), np.array([[0.5, nan]], np.float32))
    for levels, numbers, distance in [
        ([0, 1], [0.5, nan], 0.0),  # the same row, missing in the same place
        ([0, 2], [0.5, nan], 1.0),  # one level differs
        ([0, 1], [0.25, nan], 0.25),  # numbers differ by a quarter of the range
        ([0, 1], [0.5, 0.9], 1.0),  # missing against present, whatever the value
        ([3, 2], [0.0, 0.1], 3.5),
    ]:
        reference = Mixed(NAMES, np.array([levels]), np.array([numbers], np.float32))
        assert nearest_rows(query, reference).distance == pytest.approx([distance])


def random_rows(n: int, seed: int) -> Mixed:
    rng = np.random.default_rng(seed)
    return Mixed(("p", "q", "x", "y", "z"), rng.integers(0, 3, (n, 2)), rng.random((n, 3)).astype(np.float32))


@pytest.mark.parametrize("pairs", [100, 1_000_000])
def test_the_closest_rows_are_found_whatever_the_block_size(monkeypatch, pairs):
    monkeypatch.setattr(mixed, "BLOCK_PAIRS", pairs)
    query, reference = random_rows(50, 0), random_rows(40, 1)
    levels = (query.levels[:, None] != reference.levels).sum(-1)
    every = levels + np.abs(query.numbers[:, None] - reference.numbers).sum(-1)
    ordered = np.sort(every, axis=1)
    found = nearest_rows(query, reference)
    np.testing.assert_allclose(found.distance, ordered[:, 0], rtol=1e-5)
    np.testing.assert_allclose(found.second, ordered[:, 1], rtol=1e-5)
    assert (closest_indices(query, reference)[:, 0] == every.argmin(1)).all()
    three = np.sort(closest_indices(query, reference, 3), axis=1)
    assert (three == np.sort(np.argsort(every, axis=1)[:, :3], axis=1)).all()


def test_two_references_merge_into_the_closest_of_both():
    query, reference = random_rows(50, 0), random_rows(40, 1)
    whole, parts = nearest_rows(query, reference), (reference[:15], reference[15:])
    merged = nearest_rows(query, parts[0]).merged(nearest_rows(query, parts[1]))
    for name in ("distance", "ties", "second"):
        np.testing.assert_array_equal(getattr(merged, name), getattr(whole, name))


def test_a_single_reference_row_has_no_second():
    assert np.isinf(nearest_rows(random_rows(3, 0), random_rows(1, 1)).second).all()


def test_columns_are_chosen_by_name_and_numbers_scaled_by_the_real_range():
    real = pd.DataFrame({"x": [0.0, 10.0], "s": np.array(["a", "b"], object)})
    other = pd.DataFrame({"x": [20.0, np.nan], "s": np.array(["b", "c"], object)})
    first, second = comparable([real, other], real=1)
    assert first.names == ("s", "x")
    assert first.numbers[:, 0].tolist() == [0.0, 1.0]
    assert second.numbers[0, 0] == 2.0
    only = second.only(["s"])
    assert (only.names, only.levels.tolist(), only.numbers.shape) == (("s",), [[1], [2]], (2, 0))
