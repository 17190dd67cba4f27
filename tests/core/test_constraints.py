"""Constraints: declared in the schema, kept by every sampled row, broken tables refused."""

import datetime as dt
import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tvae_core import (
    TVAE,
    ConditionError,
    DataError,
    Derived,
    FixedCombinations,
    Inequality,
    Range,
    SchemaError,
    TableSchema,
    infer_schema,
)

RULES = (
    Derived("copied", "copy", ("code",)),
    Derived("total", "sum", ("part_a", "part_b", "part_c")),
    Derived("total_filled", "sum", ("part_a", "part_b"), nulls="zero"),
    Derived("fahrenheit", "linear", ("celsius",), factor=1.8, offset=32.0),
    Derived("log_total", "log", ("total",)),
    Derived("log1p_part", "log1p", ("part_c",)),
    Derived("rounded", "round", ("celsius",), decimals=0),
    FixedCombinations(("code", "level", "region")),
    Inequality("start", "end"),
    Inequality("low", "high", strict=True),
    Range("celsius", -30, 60),
    Range("part_c", 0),
)


def planted(rows=1500, seed=0):
    """Every kind of rule, missing values in most of the columns that it speaks of."""
    generator = np.random.default_rng(seed)
    code = generator.choice(["a", "b", "c", "d"], rows, p=[0.4, 0.3, 0.2, 0.1])
    level = pd.Series(code).map({"a": 1, "b": 2, "c": 2, "d": None}).astype("Int64")
    region = np.where((code == "a") & (generator.random(rows) < 0.5), "east", "west")
    part_a, part_b = (np.round(generator.gamma(2.0, 30.0, rows), 2) for _ in range(2))
    part_a[generator.random(rows) < 0.1] = np.nan
    part_c = np.round(generator.gamma(2.0, 5.0, rows) * (generator.random(rows) < 0.5), 2)
    celsius = np.round(generator.normal(15, 8, rows).clip(-20, 50), 1)
    total = np.round(part_a + part_b + part_c, 2)
    start = pd.Timestamp("2024-01-01") + pd.to_timedelta(generator.integers(0, 300, rows), unit="D")
    end = pd.Series(start + pd.to_timedelta(generator.poisson(2, rows), unit="D"))
    low = pd.Series(generator.integers(0, 1000, rows)).astype("Int64")
    high = low + generator.integers(1, 300, rows)
    high = high.mask(generator.random(rows) < 0.1)
    low = low.mask(generator.random(rows) < 0.1)
    return pd.DataFrame(
        {
            "code": code, "copied": code, "level": level, "region": region, "part_a": part_a, "part_b": part_b,
            "part_c": part_c, "total": total, "total_filled": np.round(np.nan_to_num(part_a) + part_b, 2),
            "celsius": celsius, "fahrenheit": np.round(1.8 * celsius + 32, 2), "rounded": np.round(celsius),
            "log_total": np.log(total), "log1p_part": np.log1p(part_c), "start": start,
            "end": end.mask(generator.random(rows) < 0.2), "low": low, "high": high,
        }
    )  # fmt: skip


def constrained(frame, *rules):
    return replace(infer_schema(frame), constraints=rules or RULES)


def combinations_of(frame):
    """Code, level and region of every row, level 0 where missing."""
    return list(zip(frame.code, frame.level.fillna(0).astype(int), frame.region, strict=True))


def rows_that_break(out, real):
    """For each rule the sampled rows that break it, counted without the library."""
    triples = set(combinations_of(real))
    total = (out.part_a + out.part_b + out.part_c).round(2)
    filled = (out.part_a.fillna(0) + out.part_b).round(2)
    both = out.low.notna() & out.high.notna()
    return {
        "copy": (out.copied != out.code).sum(),
        "sum": (~np.isclose(out.total, total, rtol=0, atol=1e-9, equal_nan=True)).sum(),
        "zero": (~np.isclose(out.total_filled, filled, rtol=0, atol=1e-9, equal_nan=True)).sum(),
        "linear": (~np.isclose(out.fahrenheit, 1.8 * out.celsius + 32, rtol=0, atol=1e-9)).sum(),
        "log": (~np.isclose(out.log_total, np.log(out.total), equal_nan=True)).sum(),
        "log1p": (~np.isclose(out.log1p_part, np.log1p(out.part_c))).sum(),
        "round": (out.rounded != out.celsius.round()).sum(),
        "triples": sum(triple not in triples for triple in combinations_of(out)),
        "dates": (out.start > out.end).sum(),
        "numbers": (out.low[both] >= out.high[both]).sum(),
        "range": (~out.celsius.between(-30, 60)).sum() + (out.part_c < 0).sum(),
    }


@pytest.fixture(scope="module")
def model():
    return TVAE(seed=1, epochs=30, protect_k=0).fit(planted(), constrained(planted()))


def test_the_planted_table_itself_breaks_nothing():
    assert not any(rows_that_break(planted(), planted()).values())


@pytest.mark.parametrize("preset", ["default", "reference"])
def test_every_sampled_row_obeys_every_constraint(preset, model):
    real = planted()
    if preset == "reference":
        model = TVAE("reference", seed=1, epochs=20).fit(real, constrained(real))
    out = model.sample(5000)
    assert rows_that_break(out, real) == dict.fromkeys(rows_that_break(out, real), 0)
    assert out.columns.tolist() == real.columns.tolist()
    assert model.sample_table(5).schema.types == pa.Table.from_pandas(real, preserve_index=False).schema.types
    for name in ("part_a", "total", "log_total", "level", "end", "low", "high"):
        assert out[name].isna().any(), name
    assert real.high.min() <= out.high.min()
    assert out.high.max() <= real.high.max()
    assert out.end.max() <= real.end.max()


def test_repairs_are_counted_by_constraint_and_logged_without_values(model, caplog):
    with caplog.at_level("INFO", logger="tvae_core.constraints.set"):
        model.sample(5000)
    counts = model.constraint_counts_
    assert set(counts) == {rule.label for rule in RULES}
    assert all(counts[rule.label] == 0 for rule in RULES if not isinstance(rule, Inequality))
    repaired = [rule.label for rule in RULES if counts[rule.label]]
    assert [r.getMessage() for r in caplog.records] == [
        f"constraint {label}: {counts[label]} of 5000 sampled rows repaired"
        for label in counts
        if label in repaired
    ]


def test_a_repair_keeps_the_higher_column_inside_its_training_range():
    # The distances 0 and 10 both occur, but 10 above the largest `low` was never seen: it is cut, and counted.
    frame = pd.DataFrame({"low": [0, 5, 10] * 60, "high": [10, 5, 10] * 60})
    model = TVAE("reference", seed=0, epochs=1).fit(frame, constrained(frame, Inequality("low", "high")))
    out = model.sample(2000)
    assert (out.low <= out.high).all()
    assert out.high.max() == 10
    assert model.constraint_counts_["'low' <= 'high'"] > 0


def test_a_difference_keeps_ties_and_the_grid_of_whole_days():
    frame = planted()[["code", "region", "start", "end"]]
    out = TVAE(seed=0, epochs=30).fit(frame, constrained(frame, Inequality("start", "end"))).sample(3000)
    days = (out.end - out.start).dropna()
    assert (out.end.dropna().dt.normalize() == out.end.dropna()).all()
    assert (days == pd.Timedelta(0)).mean() == pytest.approx(np.exp(-2), abs=0.06)
    assert days.mean() / pd.Timedelta("1D") == pytest.approx(2, abs=0.4)


@pytest.mark.parametrize(
    ("rule", "column", "value"),
    [
        (RULES[0], "copied", "d"),
        (RULES[1], "total", 1.0),
        (RULES[2], "total_filled", None),
        (RULES[3], "fahrenheit", 0.0),
        (RULES[4], "log_total", 99.0),
        (RULES[6], "rounded", 99.0),
        (RULES[8], "start", pd.Timestamp("2030-01-01")),
        (RULES[9], "low", 5000),
        (RULES[10], "celsius", 61.0),
    ],
)
def test_a_table_that_breaks_a_constraint_is_refused_with_the_rows(rule, column, value):
    frame = planted(300)
    rows = frame.index[frame.end.notna() & frame.low.notna() & frame.high.notna() & (frame.code != "d")][:3]
    frame.loc[rows, column] = value
    said = f"is broken by 3 of 300 rows, the first of them {', '.join(map(str, rows))} (counted from 0)"
    with pytest.raises(DataError, match=re.escape(said)) as caught:
        TVAE(epochs=1).fit(frame, constrained(frame, rule))
    assert rule.label in str(caught.value)
    assert "5000" not in str(caught.value)


def test_constraints_survive_yaml_and_a_stored_generator(model, tmp_path):
    schema = constrained(planted())
    assert TableSchema.from_dict(json.loads(json.dumps(schema.to_dict()))) == schema
    digest = model.save(tmp_path / "g")
    loaded = TVAE.load(tmp_path / "g")
    assert loaded.schema_.constraints == RULES
    assert loaded.sample_table(300).equals(model.sample_table(300))
    assert loaded.save(tmp_path / "again") == digest


def test_a_generator_without_constraints_is_stored_as_before(tmp_path):
    TVAE(epochs=1).fit(planted(100)[["code", "celsius"]]).save(tmp_path / "g")
    assert "constraints" not in (tmp_path / "g/codecs.json").read_text()
    assert "constraints" not in (tmp_path / "g/settings.json").read_text()


def test_batches_of_any_size_hold_the_same_rows(model):
    whole = model.sample_table(1000)
    assert pa.Table.from_batches(list(model.sample_batches(1000, batch_size=77))).equals(whole)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"kind": "derivd"}, r"constraint 1: kind must be one of derived"),
        ({"kind": "derived", "column": "x", "function": "sum"}, r"constraint 1 \(derived\): .*lacks of"),
        ({"kind": "derived", "column": "x", "function": "exp", "of": "y"}, "function must be one of copy"),
        ({"kind": "derived", "column": "x", "function": "sum", "of": "y"}, "two columns or more"),
        (
            {"kind": "derived", "column": "x", "function": "log", "of": "y", "factor": 2},
            "unknown keys factor",
        ),
        ({"kind": "derived", "column": "x", "function": "log", "of": "t"}, "of numbers, but t holds none"),
        ({"kind": "derived", "column": "x", "function": "log", "of": "nope"}, "no column 'nope'"),
        ({"kind": "fixed_combinations", "columns": ["x"]}, "two columns or more"),
        ({"kind": "inequality", "low": "x", "high": "t"}, "'t' is categorical"),
        ({"kind": "inequality", "low": "x", "high": "d"}, "can't be compared"),
        ({"kind": "inequality", "low": "x", "high": "y", "strict": "yes"}, "strict must be true or false"),
        ({"kind": "range", "column": "x"}, "needs a minimum"),
        ({"kind": "range", "column": "t", "minimum": 0}, "expected numbers or dates"),
        ({"kind": "range", "column": "d", "minimum": "soon"}, "values of type date32"),
    ],
)
def test_a_wrong_entry_is_named_with_what_was_expected(entry, words):
    table = pa.table({"x": [1.0], "y": [2.0], "t": ["a"], "d": [dt.date(2020, 1, 1)]})
    plain = {**infer_schema(table).to_dict(), "constraints": [entry]}
    with pytest.raises(SchemaError, match=words) as caught:
        TableSchema.from_dict(plain)
    assert "constraint 1" in str(caught.value)


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ((Derived("a", "copy", ("b",)), Derived("b", "copy", ("a",))), "circle"),
        ((Derived("a", "copy", ("b",)), Inequality("b", "a")), "decided by constraint 1 already"),
        ((Derived("a", "copy", ("b",)), Range("a", 0)), "bound what it is made of"),
    ],
)
def test_constraints_that_contradict_one_another_are_refused(rules, words):
    with pytest.raises(SchemaError, match=words):
        constrained(pd.DataFrame({"a": [1, 2], "b": [1, 2]}), *rules)


def test_a_type_too_narrow_for_sampled_sums_is_refused():
    parts = pa.array([0, 100] * 60, pa.int8())
    other = pa.array([100, 0] * 60, pa.int8())
    table = pa.table({"a": parts, "b": other, "s": pa.array([100] * 120, pa.int8())})
    with pytest.raises(DataError, match="type int8 can't hold"):
        TVAE(epochs=1).fit(table, constrained(table, Derived("s", "sum", ("a", "b"))))


@pytest.mark.parametrize(
    "given",
    [
        {"copied": "b"},
        {"level": 2},
        {"region": "east"},
        {"level": None},
        {"level": (1, 1), "region": ["west"]},
    ],
)
def test_conditions_on_determined_columns_hold(model, given):
    out = model.sample(400, given=given)
    for name, value in given.items():
        low, high = value if isinstance(value, tuple) else (value, value)
        if value is None:
            assert out[name].isna().all()
        elif isinstance(value, list):
            assert out[name].isin(value).all()
        else:
            assert ((out[name] >= low) & (out[name] <= high)).all()
    assert not any(rows_that_break(out, planted()).values())


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"total": 10.0}, "use part_a, part_b, part_c"),
        ({"high": (1, 5)}, "distance from 'low'"),
        ({"level": 2, "region": "east"}, "no training row has"),
        ({"level": 77}, "never seen"),
        ({"copied": "a", "code": "b"}, "derived"),
    ],
)
def test_conditions_that_cannot_be_translated_say_what_to_use(model, given, words):
    with pytest.raises(ConditionError, match=words):
        model.sample(5, given=given)


def test_given_cells_of_determined_columns_are_kept_exactly(model):
    real = planted(60, seed=5).dropna(subset=["low", "high", "part_a"]).head(30)
    frame = real[
        ["copied", "region", "log1p_part", "fahrenheit", "low", "high", "part_a", "part_b", "part_c", "total"]
    ]
    out = model.sample(given=frame.reset_index(drop=True))
    for name in frame:
        assert out[name].tolist() == frame[name].tolist(), name
    assert (out.code == out.copied).all()
    assert not any(rows_that_break(out, planted()).values())


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        ({"total": [5.0]}, r"can't be given alone \(1 rows\)"),
        ({"high": [5]}, "distance from 'low'"),
        ({"low": [9], "high": [5]}, "break the constraint"),
        ({"code": ["b"], "region": ["east"]}, "never saw"),
        ({"celsius": [10.0], "fahrenheit": [99.0]}, "break the constraint"),
        ({"celsius": [70.0]}, "outside the constraint"),
    ],
)
def test_given_cells_that_cannot_be_translated_are_refused(model, frame, words):
    with pytest.raises(ConditionError, match=words):
        model.sample(given=pd.DataFrame(frame))


def test_imputation_fills_determined_columns_by_their_rule(model):
    frame = planted(40, seed=7).drop(columns=["total", "total_filled", "log_total", "high", "low"])
    frame["copied"] = None
    out = model.impute(frame)
    assert (out.copied == out.code).all()
    assert (out.code == frame.code).all()


def test_levels_of_a_determined_column_can_be_balanced():
    frame = planted()
    frame["grade"] = frame.code.map({"a": 1, "b": 2, "c": 3, "d": 4})
    schema = infer_schema(frame[["code", "grade", "celsius"]])
    schema = replace(schema, constraints=(FixedCombinations(("grade", "code")),))
    model = TVAE(seed=0, epochs=5).fit(frame[["code", "grade", "celsius"]], schema)
    share = model.sample(4000, balance="code").grade.value_counts(normalize=True)
    assert share.to_numpy() == pytest.approx([0.25] * 4, abs=0.03)
    out = model.sample(2000, balance={"code": {"d": 1.0, "b": 3.0}})
    assert set(out.code) == {"b", "d"}
    assert (out.code == "b").mean() == pytest.approx(0.75, abs=0.04)
