"""Conditional sampling, imputation and balance: drawn from the model's conditional, never by throwing away."""

import datetime as dt

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy import stats

from tvae_core import TVAE, ConditionError, SettingsError


def planted(rows=6000, seed=0):
    """The city decides the amount's distribution and the colour's; the last column decides the first's too."""
    generator = np.random.default_rng(seed)
    city = generator.choice(["north", "south", "tiny"], rows, p=[0.6, 0.39, 0.01])
    red = generator.random(rows) < pd.Series(city).map({"north": 0.2, "south": 0.7, "tiny": 0.5}).to_numpy()
    amount = np.round(generator.normal(np.where(red, 100.0, 300.0), 20.0), 1)
    age = generator.integers(18, 90, rows)
    day = pd.Timestamp("2024-01-01") + pd.to_timedelta(generator.integers(0, 700, rows), unit="D")
    note = np.where(generator.random(rows) < 0.3, None, np.where(red, "warm", "cold"))
    return pd.DataFrame(
        {
            "amount": amount,
            "colour": np.where(red, "red", "blue"),
            "city": city,
            "age": age,
            "day": day,
            "note": note,
        }
    )


@pytest.fixture(scope="module")
def model():
    return TVAE(seed=2).fit(planted())


def test_every_row_meets_conditions_of_every_kind(model):
    out = model.sample(
        500,
        given={
            "city": "south",
            "age": (30, 40),
            "colour": ["red", "blue"],
            "note": None,
            "day": ("2024-03-01", dt.datetime(2024, 4, 30)),
        },
    )
    assert (out.city == "south").all()
    assert out.age.between(30, 40).all()
    assert out.age.nunique() > 8
    assert out.note.isna().all()
    assert out.day.between("2024-03-01", "2024-04-30").all()


def test_the_conditional_distribution_is_the_planted_one(model):
    # A condition on a later column, so that the columns before it must follow.
    out = model.sample(4000, given={"city": "south"})
    real = planted().query("city == 'south'")
    assert (out.colour == "red").mean() == pytest.approx((real.colour == "red").mean(), abs=0.09)
    for colour, part in out.groupby("colour"):
        assert stats.ks_2samp(part.amount, real[real.colour == colour].amount).statistic < 0.1


@pytest.mark.parametrize(
    "given",
    [{"city": "south"}, {"colour": "red"}, {"note": "cold"}, {"age": (20, 40)}, {"amount": (150.0, None)}],
)
def test_conditional_counts_pass_a_chi_square_test_against_real_rows(model, given):
    out, real = model.sample(1000, given=given), planted(50_000, seed=1)
    for column, wanted in given.items():
        if isinstance(wanted, tuple):
            low, high = (None if end is None else float(end) for end in wanted)
            real = real[real[column].between(low or -np.inf, high or np.inf)]
        else:
            real = real[real[column] == wanted]
    for column in {"colour", "city", "note"} - set(given):
        counts = pd.DataFrame({"out": out[column].value_counts(), "real": real[column].value_counts()})
        counts = counts[counts.real > len(real) / 50].fillna(0)
        if len(counts) > 1:
            assert stats.chi2_contingency(counts.to_numpy().T).pvalue > 0.001, column


def test_a_condition_of_one_percent_costs_no_more_than_any_other(model):
    out = model.sample(3000, given={"city": "tiny"})
    assert len(out) == 3000
    assert (out.city == "tiny").all()


def test_rows_of_a_rare_value_of_the_last_column_are_its_rows():
    rows, generator = 4_000, np.random.default_rng(0)
    rare = np.arange(rows) % 100 == 0
    table = pd.DataFrame(
        {
            "count": generator.poisson(np.where(rare, 20, 4)),
            "bit": generator.random(rows) < np.where(rare, 0.9, 0.2),
            "height": generator.normal(np.where(rare, 3.0, 0.0)),
            "kind": np.where(rare, "rare", "common"),
        }
    )
    out = TVAE(seed=1, epochs=20).fit(table).sample(2_000, given={"kind": "rare"})
    assert (out["count"] < 10).mean() < 0.05  # of the real ones none, of the others nearly all
    assert (out.height < 1).mean() < 0.05
    assert out.bit.mean() == pytest.approx(0.9, abs=0.15)


def test_a_range_on_a_finely_cut_column_is_kept_exactly(model):
    out = model.sample(3000, given={"amount": (95.05, 111.3)})
    assert out.amount.between(95.05, 111.3).all()
    assert out.amount.nunique() > 50
    assert (out.colour == "red").mean() > 0.95


def test_one_value_of_a_finely_cut_column_is_returned_as_it_was_given(model):
    assert (model.sample(50, given={"amount": 123.4}).amount == 123.4).all()


def test_several_restrictions_together_follow_the_joint_distribution(model):
    # Restricting both to wide ranges must keep how they depend on each other.
    out = model.sample(8000, given={"colour": ["red", "blue"], "amount": (None, 200.0)})
    assert (out.amount <= 200).all()
    real = planted().query("amount <= 200")
    assert (out.colour == "red").mean() == pytest.approx((real.colour == "red").mean(), abs=0.05)


def test_a_frame_of_known_cells_gives_a_row_for_each_of_its_rows(model):
    frame = pd.DataFrame({"city": ["north", None, "tiny"] * 40, "age": [20, 30, 40] * 40})
    out = model.sample(given=frame)
    assert len(out) == 120
    assert out.age.tolist() == frame.age.tolist()
    assert (out.city.iloc[::3] == "north").all()
    assert out.city.notna().all()
    assert list(out.columns) == list(planted().columns)


def test_conditional_rows_do_not_depend_on_batch_size_or_count(model):
    whole = model.sample_table(9000, given={"age": (30, 60)})
    parts = pa.Table.from_batches(model.sample_batches(9000, given={"age": (30, 60)}, batch_size=1000))
    assert whole.equals(parts)
    assert whole.slice(0, 10).equals(model.sample_table(10, given={"age": (30, 60)}))


def test_imputation_beats_the_mean_and_the_mode_on_cells_removed_at_random(model):
    truth = planted(1500, seed=9)
    generator = np.random.default_rng(0)
    holes = truth.copy()
    lost = {c: generator.random(len(truth)) < 0.3 for c in ("amount", "colour")}
    holes["amount"] = holes.amount.mask(lost["amount"])
    holes["colour"] = holes.colour.mask(lost["colour"])
    draws = model.impute(holes, draws=5)
    assert draws.index.nlevels == 2
    assert not draws.note.isna().any()
    kept = draws.loc[0][~lost["amount"]]
    assert np.array_equal(kept.amount, holes.amount[~lost["amount"]])
    colour = draws.colour.unstack("draw").mode(axis=1)[0]
    right = (colour == truth.colour)[lost["colour"]].mean()
    assert right > (truth.colour == "blue")[lost["colour"]].mean() + 0.2
    amount = draws.amount.unstack("draw").mean(axis=1)
    error = (amount - truth.amount)[lost["amount"]].std()
    assert error < 0.8 * truth.amount.std()


def test_multiple_imputations_differ_where_cells_were_missing_and_nowhere_else(model):
    holes = planted(200, seed=5)
    holes.loc[:99, "age"] = np.nan
    first, second = (model.impute(holes, seed=s) for s in (1, 2))
    assert (first.age[100:] == second.age[100:]).all()
    assert (first.age[:100] != second.age[:100]).mean() > 0.7


def test_balance_gives_levels_even_or_wanted_shares(model):
    even = model.sample(6000, balance="city").city.value_counts(normalize=True)
    assert even.tolist() == pytest.approx([1 / 3] * 3, abs=0.03)
    wanted = model.sample(6000, balance={"city": {"tiny": 3, "north": 1}}, given={"colour": "red"})
    assert wanted.city.value_counts(normalize=True)["tiny"] == pytest.approx(0.75, abs=0.03)
    assert (wanted.colour == "red").all()


@pytest.mark.parametrize("options", [{}, {"decoding_steps": 1}])
def test_balance_is_kept_where_other_conditions_prefer_a_level(model, options):
    # Nearly every red row lies below 290, and about a third of the blue ones.
    out = model.sample(4000, balance="colour", given={"amount": (None, 290.0)}, **options)
    assert (out.colour == "red").mean() == pytest.approx(0.5, abs=0.03)
    assert (out.amount <= 290).all()


@pytest.mark.parametrize("options", [{}, {"decoding_steps": 1}])
def test_present_leaves_no_missing_where_a_condition_allows_them(model, options):
    out = model.sample(500, given={"note": [None, "warm"]}, present=True, **options)
    assert set(out.note) == {"warm"}


def test_values_that_lie_close_together_are_all_drawn(model):
    wanted = sorted(planted().amount.round(1).unique())[200:206]
    out = model.sample(2000, given={"amount": wanted})
    assert sorted(out.amount.unique()) == pytest.approx(wanted)


def test_a_range_of_one_float_is_that_value():
    model = TVAE(epochs=1, seed=0).fit(pd.DataFrame({"x": np.random.default_rng(0).normal(size=300)}))
    value = float(model.sample(1).x[0])
    assert (model.sample(20, given={"x": (value, value)}).x == value).all()


def test_one_step_keeps_margins_and_the_full_chain_keeps_relations(model):
    def agreement(**options):
        out = model.sample(4000, **options)
        return ((out.amount < 200) == (out.colour == "red")).mean()

    assert agreement() > 0.95
    one = model.sample(4000, decoding_steps=1)
    assert one.city.value_counts(normalize=True)["north"] == pytest.approx(0.6, abs=0.1)
    assert agreement(decoding_steps=1) < agreement(decoding_steps=3) + 0.05


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"given": {"nowhere": 1}}, "no column 'nowhere'"),
        ({"given": {"city": "SECRET"}}, "never seen"),
        ({"given": {"age": (200, 300)}}, "it takes no value in the range"),
        ({"given": {"age": (float("inf"), None)}}, "it takes no value in the range"),
        ({"given": {"age": (0, dt.datetime(2024, 1, 1))}}, "expected ends of that type"),
        ({"given": {"age": 30.5}}, "whole numbers"),
        ({"given": {"age": np.float64(30.5)}}, "whole numbers"),
        ({"given": {"age": [30, 2**63]}}, "whole numbers"),
        ({"given": {"age": True}}, "expected values of that type"),
        ({"given": {"day": 5}}, "expected values of that type"),
        ({"given": {"day": pd.Timestamp("2024-03-01", tz="UTC")}}, "without a time zone"),
        ({"given": {"city": {"a": 1}}}, "expected values of that type"),
        ({"given": ["city"]}, "DataFrame or an Arrow table"),
        ({"given": pa.table([["north"], ["north"]], ["city", "city"]), "n": None}, "more than one column"),
        ({"balance": {"city": {"north": float("inf"), "south": 1}}}, "can't be negative"),
        ({"balance": {"city": {"north": "much"}}}, "must be finite numbers"),
        ({"balance": {"city": {"north": 0, "south": 0}}}, "one must be above zero"),
        ({"balance": {"city": 0.5}}, "must be {level: share}"),
        ({"balance": ["city"]}, "must be a column's name"),
        ({"given": {"age": (40, 30)}}, "it takes no value in the range"),
        ({"given": {"amount": 1e9}}, "outside what the column can take"),
        ({"given": {"city": ("a", "b")}}, "a range needs a column of numbers"),
        ({"given": {"age": "old"}}, "expected values of that type"),
        ({"given": {"city": []}}, "empty list"),
        ({"given": {"age": None}}, "never seen"),
        ({"given": pd.DataFrame({"city": ["SECRET"]}), "n": None}, "can't be given"),
        ({"given": pd.DataFrame({"elsewhere": [1]}), "n": None}, "no column 'elsewhere'"),
        ({"balance": "age"}, "can't be balanced"),
        ({"balance": {"city": {"SECRET": 1}}}, "never seen"),
        ({"balance": {"city": {"north": -1}}}, "can't be negative"),
        ({"balance": "city", "given": {"city": "north"}}, "both given and balanced"),
    ],
)
def test_impossible_conditions_end_in_one_clear_error_without_the_value(model, options, words):
    with pytest.raises(ConditionError, match=words) as caught:
        model.sample(**{"n": 5, **options})
    assert "SECRET" not in str(caught.value)


def test_wrong_counts_and_steps_are_refused(model):
    with pytest.raises(SettingsError, match="leave n out"):
        model.sample(5, given=pd.DataFrame({"age": [20, 30]}))
    with pytest.raises(SettingsError, match="decoding_steps"):
        model.sample(5, decoding_steps=0)
    with pytest.raises(SettingsError, match="draws"):
        model.impute(planted(5), draws=0)


def test_the_reference_preset_says_that_it_cannot(model):
    reference = TVAE("reference", epochs=1).fit(planted(200))
    with pytest.raises(ConditionError, match="default preset"):
        reference.sample(5, given={"city": "north"})


def test_a_column_without_values_refuses_a_value_and_number_names_are_kept():
    empty = TVAE(epochs=1).fit(pd.DataFrame({"none": [np.nan] * 30, "x": [1.5, 2.5] * 15}))
    with pytest.raises(ConditionError, match="no values in training"):
        empty.sample(4, given={"none": 1.0})
    numbered = TVAE(epochs=1).fit(pd.DataFrame({0: [1, 2] * 20, 1: [0.5, 0.25] * 20}))
    filled = numbered.impute(pd.DataFrame({0: [1, None], 1: [None, 0.5]}))
    assert list(filled.columns) == [0, 1]
    assert filled.notna().all().all()
