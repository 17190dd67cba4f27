"""Imputation beside constraints: no table is refused, known cells stay, drawn ones keep the rules."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tvae_core import TVAE, Derived, FixedCombinations, Inequality, Range, infer_schema

ROWS = 1500
RULES = (
    Inequality("admitted", "discharged"),
    Inequality("low", "high", strict=True),
    Inequality("high", "highest"),
    FixedCombinations(("city", "country", "tongue")),
    Derived("total", "sum", ("net", "tax")),
    Derived("either", "sum", ("first", "second"), nulls="zero"),
    Derived("log_net", "log", ("net",)),
    Derived("whole", "round", ("exact",)),
    Range("tax", 0, 1000),
)


def planted(rows=ROWS, seed=0):
    generator = np.random.default_rng(seed)
    admitted = pd.Timestamp("2024-01-01") + pd.to_timedelta(generator.integers(0, 1000, rows), unit="D")
    low, country = generator.normal(size=rows), generator.choice(["at", "be", "ch"], rows, p=[0.6, 0.3, 0.1])
    high = low + generator.exponential(size=rows) + 1e-6
    net, tax = (np.round(generator.gamma(2.0, scale, rows), 2) + 1 for scale in (50, 10))
    first, second = (generator.integers(0, 5, rows).astype(float) for _ in range(2))
    first[generator.random(rows) < 0.2] = np.nan
    second[generator.random(rows) < 0.2] = np.nan
    exact = np.round(generator.normal(20, 5, rows), 2)
    return pd.DataFrame(
        {
            "admitted": admitted,
            "discharged": admitted + pd.to_timedelta(generator.poisson(4, rows), unit="D"),
            "low": low.astype("f4"), "high": high, "highest": high + generator.exponential(size=rows),
            "country": country, "city": [f"{name}{generator.integers(3)}" for name in country],
            "tongue": np.where((country == "be") & (generator.random(rows) < 0.4), "fr", "de"),
            "net": net, "tax": tax, "total": np.round(net + tax, 2), "log_net": np.log(net),
            "first": first, "second": second, "either": np.nan_to_num(first) + np.nan_to_num(second),
            "exact": exact, "whole": np.round(exact),
        }
    )  # fmt: skip


@pytest.fixture(scope="module")
def model():
    frame = planted()
    return TVAE(seed=1, epochs=10).fit(frame, replace(infer_schema(frame), constraints=RULES))


def rows_that_break(out):
    """For each rule the rows that break it, counted without the library; missing breaks only what is derived."""
    triples = set(planted()[["city", "country", "tongue"]].itertuples(index=False, name=None))
    own = out[["city", "country", "tongue"]]
    return {
        "dates": (out.admitted > out.discharged).sum(),
        "numbers": (out.low.astype(float) >= out.high).sum(),
        "chain": (out.high > out.highest).sum(),
        "triples": sum(row not in triples for row in own.dropna().itertuples(index=False, name=None)),
        "sum": (~np.isclose(out.total, out.net + out.tax, rtol=0, atol=0.006, equal_nan=True)).sum(),
        "zero": (out.either != out["first"].fillna(0) + out.second.fillna(0)).sum(),
        "log": (~np.isclose(out.log_net, np.log(out.net), equal_nan=True)).sum(),
        "range": (out.tax < 0).sum(),
    }


def assert_filled(model, holes):
    """Impute; known cells are as they were, and every rule holds."""
    out = model.impute(holes)
    for name in holes:
        known = holes[name].notna()
        assert out[name][known].tolist() == holes[name][known].tolist(), name
    assert rows_that_break(out) == dict.fromkeys(rows_that_break(out), 0)
    return out


def test_the_training_table_itself_is_imputed(model):
    out = assert_filled(model, planted())
    assert out.drop(columns=["first", "second"]).notna().all().all()


@pytest.mark.parametrize("column", planted(2).columns)
def test_a_hole_in_any_column_is_filled_so_that_the_rules_hold(model, column):
    holes = planted(400, seed=5).dropna().reset_index(drop=True)
    gaps = holes.index % 2 == 0
    holes[column] = holes[column].mask(gaps)
    out = assert_filled(model, holes)
    # Nothing is below the protected ends, and what is drawn between two known values may not fit.
    assert out[column].notna().mean() > (0.9 if column == "high" else 0.98)
    real = planted()
    if column == "admitted":
        days = (out.discharged - out.admitted).dt.days[gaps]
        assert days.mean() == pytest.approx(4, abs=0.6)
        assert out.admitted.min() >= real.admitted.min()
    elif column == "country":
        assert (out.country == out.city.str[:2]).all()
    elif column == "city":
        assert out.city[gaps].nunique() > 6


def test_rows_that_break_a_rule_come_back_as_they_were(model):
    holes = planted(50, seed=5).dropna().reset_index(drop=True)
    wrong = holes.assign(
        discharged=pd.Timestamp("2020-01-01"), country="at", city="ch0", total=1.0, tax=-1.0, exact=0.0
    )
    wrong["tongue"] = None
    out = model.impute(wrong)
    for name in wrong.columns.drop("tongue"):
        assert out[name].tolist() == wrong[name].tolist(), name
    assert out.tongue.isna().all()  # no combination has both the city and the country


def test_a_higher_value_below_every_lower_one_leaves_the_lower_one_missing(model):
    out = model.impute(pd.DataFrame({"admitted": [pd.NaT], "discharged": [pd.Timestamp("2000-01-01")]}))
    assert out.admitted.isna().all()


def test_a_part_of_a_combination_leaves_several_of_which_one_is_drawn(model):
    given = pd.DataFrame({"country": ["be", "ch"] * 500})
    out = model.sample(given=given)
    assert out.country.tolist() == given.country.tolist()
    assert (out.city.str[:2] == out.country).all()
    assert (out.tongue[out.country == "be"] == "fr").mean() == pytest.approx(0.4, abs=0.15)
    assert out.equals(model.sample(given=given))
    assert model.sample(given=given.head(7)).equals(out.head(7))


def test_each_of_several_fillings_is_drawn(model):
    holes = planted(300).assign(city=None, tongue=None)
    filled = model.impute(holes, draws=3)
    shares = [
        filled.loc[draw].query("country == 'at'").city.value_counts(normalize=True) for draw in range(3)
    ]
    for share in shares:
        assert share.reindex(["at0", "at1", "at2"], fill_value=0).between(0.15, 0.55).all()
    assert not filled.loc[0].city.equals(filled.loc[1].city)
