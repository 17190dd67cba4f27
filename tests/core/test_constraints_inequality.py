"""Inequalities: the higher column keeps its grid, its range and its small distances."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tvae_core import TVAE, Inequality, Range, infer_schema

ROWS = 1500


def fitted(frame, *rules, epochs=5, **settings):
    return TVAE(seed=1, epochs=epochs, **settings).fit(frame, replace(infer_schema(frame), constraints=rules))


def to_the_next_ten(generator):
    """Integers below multiples of ten, up to 100."""
    low = generator.integers(0, 100, ROWS)
    return low, np.minimum((low // 10 + 1) * 10 + 10 * generator.integers(0, 3, ROWS), 100), 10


def to_the_next_midnights(generator):
    """Seconds before midnights."""
    low = pd.Timestamp("2024-01-01") + pd.to_timedelta(generator.integers(0, 300 * 86_400, ROWS), unit="s")
    high = low.normalize() + pd.to_timedelta(1 + generator.integers(0, 3, ROWS), unit="D")
    return low, high, pd.Timedelta("1D")


@pytest.mark.parametrize("planted", [to_the_next_ten, to_the_next_midnights])
@pytest.mark.parametrize("strict", [True, False])
def test_the_higher_column_keeps_grid_range_and_distances_smaller_than_the_grid(planted, strict):
    low, high, step = planted(np.random.default_rng(0))
    frame = pd.DataFrame({"low": low, "high": high})
    ends = [end if isinstance(step, int) else str(end) for end in (frame.high.min(), frame.high.max())]
    out = fitted(frame, Inequality("low", "high", strict=strict), Range("high", *ends)).sample(2000)
    assert ((out.low < out.high) | ((out.low == out.high) & (not strict))).all()
    assert out.high.between(frame.high.min(), frame.high.max()).all()
    assert ((out.high - frame.high.min()) % step == 0 * step).all()
    share = (frame.high - frame.low < step).mean()
    assert (out.high - out.low < step).mean() == pytest.approx(share, abs=0.05)


@pytest.mark.parametrize("strict", [True, False])
def test_a_higher_column_of_less_precision_is_never_rounded_below_the_lower_one(strict):
    generator = np.random.default_rng(0)
    low = generator.normal(size=ROWS)
    high = np.nextafter(low.astype("f4"), np.float32(np.inf))  # the nearest that is larger
    frame = pd.DataFrame({"low": low, "high": high})
    out = fitted(frame, Inequality("low", "high", strict=strict), protect_k=0).sample(2000)
    assert out.high.dtype == np.float32
    assert (out.low < out.high if strict else out.low <= out.high).all()


@pytest.fixture(scope="module")
def often_missing():
    """No value of `high` beside the larger half of `low`."""
    generator = np.random.default_rng(0)
    low = generator.integers(0, 200, ROWS)
    high = np.where(low < 100, np.minimum(low + generator.integers(0, 30, ROWS), 100), np.nan)
    frame = pd.DataFrame({"low": low, "high": high})
    return fitted(frame, Inequality("low", "high"), Range("high", 0, 100))


@pytest.mark.parametrize("options", [{}, {"present": True}, {"given": {"low": (150, 190)}, "present": True}])
def test_a_value_without_room_inside_the_training_range_is_missing_and_counted(
    often_missing, options, tmp_path
):
    often_missing.save(tmp_path / "g")
    model = TVAE.load(tmp_path / "g")
    out = model.sample(2000, **options)
    assert not (out.high > 100).any()
    assert not (out.low > out.high).any()
    assert out.high[out.low > 100].isna().all()
    assert model.constraint_counts_["'low' <= 'high'"] >= (
        (out.low > 100).sum() if "present" in options else 1
    )


def test_imputation_leaves_a_cell_missing_that_has_no_value(often_missing):
    out = often_missing.impute(pd.DataFrame({"low": [150, 50], "high": [np.nan, np.nan]}))
    assert out.high.isna().tolist() == [True, False]
    assert 50 <= out.high[1] <= 100
