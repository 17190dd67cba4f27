"""Drift between two releases names the column that moved."""

import numpy as np
import pandas as pd
import pytest

from tasks.services.scoring.drift import drift
from tvae_core.errors import DataError, SchemaError
from tvae_core.schema import infer_schema
from tvae_core.sources import as_source


def release(rows: int, seed: int, shift: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=rows)
    return pd.DataFrame(
        {"x": x, "y": x + rng.normal(size=rows) * 0.3 + shift, "s": rng.choice(["a", "b"], rows)}
    )


BEFORE = release(2000, 0)
SCHEMA = infer_schema(BEFORE)


def compared(current: pd.DataFrame, **settings):
    return drift(as_source(BEFORE), as_source(current), SCHEMA, **settings)


def test_two_releases_of_one_population_have_not_drifted():
    found = compared(release(1500, 1))
    assert found.shape > 0.95
    assert found.trend > 0.95
    assert found.rows == (2000, 1500)


def test_the_column_that_moved_most_comes_first():
    found = compared(release(2000, 1, shift=2.0))
    assert next(iter(found.columns)) == "y"
    assert found.columns["y"] < 0.5 < found.columns["x"]


def test_a_dependence_that_is_gone_shows_in_the_trend_alone():
    current = release(2000, 1)
    current["y"] = np.random.default_rng(2).permutation(current["y"].to_numpy())
    found = compared(current, max_rows=1000)
    assert found.shape > 0.95
    assert found.trend < 0.8
    assert found.rows == (1000, 1000)


def test_releases_that_cannot_be_compared_are_refused():
    with pytest.raises(DataError, match="rows in both"):
        compared(BEFORE.head(0))
    with pytest.raises(SchemaError, match="y"):
        compared(BEFORE.drop(columns="y"))
