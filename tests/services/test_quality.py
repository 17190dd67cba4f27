"""sdmetrics' reports, run on tidy frames: known tables get known scores, and nothing is printed or drawn at random."""

import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tasks.services.quality import diagnostic_report, quality_report, sdmetrics_version
from tvae_core.metrics.frames import extents, tidy
from tvae_core.schema import ColumnKind, ColumnSchema, TableSchema, infer_schema
from tvae_core.sources import as_source


def table(n: int = 400, seed: int = 0) -> pa.Table:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    level = np.where(x > 0, "plus", "minus").astype(object)
    level[rng.random(n) < 0.1] = None
    return pa.table({"x": x, "y": x + 0.1 * rng.normal(size=n), "level": pa.array(level, pa.string())})


def diagnose(real: pa.Table, synthetic: pa.Table, schema: TableSchema):
    return diagnostic_report(
        tidy(real, schema),
        tidy(synthetic, schema),
        schema=schema,
        covered=extents(as_source(real), schema),
        real_types=real.schema,
        synthetic_types=synthetic.schema,
    )


def test_a_table_against_itself_is_perfect():
    real = tidy(table(), infer_schema(table()))
    result = quality_report(real, real)
    assert (result.shape, result.trend, result.quality) == (1.0, 1.0, 1.0)


def test_the_shape_of_levels_is_one_minus_the_total_variation_distance():
    real = pd.DataFrame({"c": pd.Series(["a"] * 50 + ["b"] * 50, dtype=object)})
    synthetic = pd.DataFrame({"c": pd.Series(["a"] * 80 + ["b"] * 20, dtype=object)})
    result = quality_report(real, synthetic)
    assert result.shape == pytest.approx(0.7)
    assert result.columns[0].measure == "TV complement"


def test_the_shape_of_numbers_is_one_minus_the_kolmogorov_smirnov_distance():
    real, synthetic = (pd.DataFrame({"x": values}) for values in ([1.0, 2.0, 3.0, 4.0], [3.0, 4.0, 5.0, 6.0]))
    assert quality_report(real, synthetic).shape == pytest.approx(0.5)


def test_shuffled_columns_keep_their_shape_and_lose_their_trend():
    real = tidy(table(), infer_schema(table()))
    rng = np.random.default_rng(1)
    synthetic = pd.DataFrame({name: real[name].to_numpy()[rng.permutation(len(real))] for name in real})
    result = quality_report(real, synthetic)
    assert result.shape == 1.0
    assert result.trend < 0.75
    assert {frozenset((pair.first, pair.second)) for pair in result.pairs} == {
        frozenset(pair) for pair in (("x", "y"), ("x", "level"), ("y", "level"))
    }


def test_unrelated_columns_have_no_trend_to_compare_and_quality_is_the_shape():
    rng = np.random.default_rng(0)
    real = pd.DataFrame(rng.normal(size=(500, 2)), columns=["a", "b"])
    result = quality_report(real, real)
    assert math.isnan(result.trend)
    assert result.quality == result.shape == 1.0


def test_nothing_is_printed_and_global_random_state_is_untouched(capfd):
    real = tidy(table(), infer_schema(table()))
    before = np.random.get_state()[1].copy()
    quality_report(real, real)
    assert (np.random.get_state()[1] == before).all()
    assert capfd.readouterr() == ("", "")


def test_values_outside_what_the_real_table_covers_are_invalid():
    real = pa.table({"x": [0.0, 10.0, 5.0, 5.0], "c": ["a", "b", "a", "b"]})
    synthetic = pa.table({"x": [0.0, 11.0, -1.0, 5.0], "c": ["a", "b", "z", "b"]})
    result = diagnose(real, synthetic, infer_schema(real))
    assert {column.column: column.score for column in result.columns} == {"x": 0.5, "c": 0.75}
    assert result.validity == pytest.approx(0.625)
    assert result.structure == 1.0
    assert result.score == pytest.approx(0.8125)


def test_what_the_schema_declares_goes_before_what_the_real_table_covers():
    real = pa.table({"x": [1.0, 2.0], "c": ["a", "b"], "k": [1, 2]})
    synthetic = pa.table({"x": [0.0, 9.0], "c": ["a", "z"], "k": [3, 1]})
    schema = TableSchema(
        (
            ColumnSchema("x", ColumnKind.CONTINUOUS, "double", minimum=0, maximum=9),
            ColumnSchema("c", ColumnKind.CATEGORICAL, "string", categories=("a", "b", "z")),
            ColumnSchema("k", ColumnKind.CATEGORICAL, "int64", categories=(1, 2, 3)),
        )
    )
    assert diagnose(real, synthetic, schema).validity == 1.0


@pytest.mark.parametrize(("nullable", "validity"), [(True, 1.0), (False, 0.5)])
def test_missing_values_are_valid_where_the_schema_allows_them(nullable, validity):
    real = pa.table({"x": [0.0, 1.0], "c": ["a", "b"]})
    synthetic = pa.table({"x": [0.5, None], "c": pa.array(["a", None])})
    schema = TableSchema(
        (
            ColumnSchema("x", ColumnKind.CONTINUOUS, "double", nullable=nullable),
            ColumnSchema("c", ColumnKind.CATEGORICAL, "string", nullable=nullable, categories=("a", "b")),
        )
    )
    assert diagnose(real, synthetic, schema).validity == validity


def test_another_type_lowers_structure_and_another_encoding_does_not():
    real = pa.table({"x": [1, 2], "c": ["a", "b"]})
    floats = pa.table({"x": [1.0, 2.0], "c": ["a", "b"]})
    encoded = pa.table({"x": [1, 2], "c": pa.array(["a", "b"]).dictionary_encode()})
    wide = pa.table({"x": [1, 2], "c": pa.array(["a", "b"], pa.large_string())})
    schema = infer_schema(real)
    assert diagnose(real, floats, schema).structure == pytest.approx(1 / 3)
    assert diagnose(real, encoded, schema).structure == 1.0
    assert diagnose(real, wide, schema).structure == 1.0


def test_columns_that_cannot_be_scored_do_not_hide_the_others():
    real = pa.table({"x": [0.0, 1.0, 2.0], "gone": pa.array([None, None, None], pa.float64())})
    schema = infer_schema(real)
    frame = tidy(real, schema)
    assert quality_report(frame, frame).shape == 1.0
    assert diagnose(real, real, schema).score == 1.0


def test_the_version_is_known():
    assert sdmetrics_version().count(".") >= 2
