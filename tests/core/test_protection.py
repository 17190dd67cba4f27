"""What fewer than k people hold never reaches the generator: levels, extremes, repeated values, combinations."""

import datetime as dt
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tvae_core import (
    TVAE,
    ColumnKind,
    ConditionError,
    DataError,
    FixedCombinations,
    Inequality,
    ModelSettings,
    SchemaError,
    TableCodec,
    as_source,
    infer_schema,
)
from tvae_core.codecs import NumericCodec
from tvae_core.holders import Extremes, LevelCounts
from tvae_core.protection import Protection

K = 10


def fitted(table, *, entity=None, constraints=(), columns=None, k=K, **settings):
    schema = infer_schema(table)
    changed = tuple(replace(c, **(columns or {}).get(c.name, {})) for c in schema.columns)
    schema = replace(schema, columns=changed, entity=entity, constraints=constraints)
    return TVAE(epochs=1, seed=3, protect_k=k, **settings).fit(table, schema)


def written(model, folder):
    model.save(folder / "generator")
    return (folder / "generator" / "codecs.json").read_text()


def levels(counts):
    return [level for level, count in counts.items() for _ in range(count)]


@pytest.mark.parametrize("preset", ["default", "reference"])
def test_rare_levels_are_neither_stored_nor_drawn_and_are_counted(preset, tmp_path):
    table = pd.DataFrame({"x": levels({"common": 300, "at k": K, "rare": K - 1, "unique": 1})})
    model = fitted(table, preset=preset)
    assert set(model.sample(2000).x) <= {"common", "at k"}
    assert model.suppressed_ == {"x": {"levels": 2, "rows": K, "below": 0, "above": 0, "dropped": False}}
    text = written(model, tmp_path)
    assert "at k" in text
    assert "rare" not in text
    assert "unique" not in text
    assert TVAE.load(tmp_path / "generator").suppressed_ == model.suppressed_


def test_a_level_of_many_rows_but_few_entities_is_rare(tmp_path):
    people = np.arange(400) // 4
    table = pd.DataFrame({"person": [f"p{i}" for i in people], "x": np.where(people < 5, "few", "many")})
    model = fitted(table, entity="person")
    assert model.suppressed_["x"]["levels"] == 1
    assert model.suppressed_["x"]["rows"] == 20
    assert "few" not in written(model, tmp_path)


def test_the_column_that_names_the_entities_is_made_anew():
    table = pd.DataFrame({"person": [f"p{i // 20:02d}" for i in range(800)], "x": ["a", "b"] * 400})
    assert not set(fitted(table, entity="person").sample(200).person) <= set(table.person)


def test_declared_levels_are_public_and_no_others_are_kept():
    table = pd.DataFrame({"x": levels({"a": 300, "b": 2, "undeclared": 50})})
    model = fitted(table, columns={"x": {"categories": ("a", "b", "never seen")}})
    assert model.codec_.codecs[0].levels.to_pylist() == ["a", "b"]
    assert set(model.sample(500).x) <= {"a", "b"}


def test_ordered_levels_lose_the_rare_ones_from_their_dictionary():
    values = pd.Categorical(levels({"low": 200, "odd": 1, "high": 200}), ["low", "odd", "high"], ordered=True)
    out = fitted(pd.DataFrame({"x": values})).sample_table(50)["x"].combine_chunks()
    assert out.dictionary.to_pylist() == ["low", "high"]


def test_true_and_false_are_no_secret():
    model = fitted(pd.DataFrame({"x": [True] * 300 + [False]}))
    assert model.suppressed_ == {}


def test_free_text_is_refused_and_a_long_tail_is_not():
    notes = pd.DataFrame({"note": [f"note {i % 290}" for i in range(300)], "x": ["a", "b"] * 150})
    with pytest.raises(SchemaError, match="'note' looks like free text: 290 different values in 300 rows"):
        fitted(notes)
    fitted(notes, k=0)
    tail = pd.DataFrame({"x": ["a"] * 300 + [f"b{i}" for i in range(200)]})
    assert fitted(tail).suppressed_["x"]["levels"] == 200


def test_a_column_that_nobody_shares_stays_empty_or_is_refused(caplog):
    table = pd.DataFrame(
        {"x": [1.0 * i if i < 2 * K - 1 else None for i in range(300)], "y": ["a", "b"] * 150}
    )
    model = fitted(table)
    assert model.sample(50).x.isna().all()
    assert model.suppressed_["x"]["dropped"]
    assert "'x': nothing is held by enough" in caplog.text
    table["x"] = [i // 3 * 2.5 for i in range(300)]
    columns = {"x": {"kind": ColumnKind.CATEGORICAL}}
    with pytest.raises(DataError, match="column 'x' holds nothing that 10 people share"):
        fitted(table, columns=columns)


def test_text_that_nobody_shares_is_made_anew():
    table = pd.DataFrame({"name": [f"name {i // 3:03d}" for i in range(300)], "y": ["a", "b"] * 150})
    model = fitted(table)
    assert model.suppressed_["name"]["dropped"]
    assert model.sample(500).name.nunique() == 500
    assert "name 000" not in json.dumps(model.codec_.to_dict())


def test_a_table_of_fewer_than_two_k_rows_is_refused():
    table = pd.DataFrame({"x": [1, 2] * (K - 1)})
    with pytest.raises(DataError, match="18 rows: expected at least 20"):
        fitted(table)
    assert len(fitted(table, k=0).sample(5)) == 5


ENDS = [
    pd.Series(np.arange(1000.0) + 1 / 3),
    pd.Series(np.arange(1000) * 7),
    pd.Series(pd.Timestamp("2020-01-01") + pd.to_timedelta(np.arange(1000), unit="h")),
    pd.Series([dt.date(2000, 1, 1) + dt.timedelta(days=i) for i in range(1000)]),
]


@pytest.mark.parametrize("preset", ["default", "reference"])
@pytest.mark.parametrize("values", ENDS, ids=lambda v: str(v.dtype))
def test_without_tails_no_value_beyond_the_kth_is_drawn(values, preset):
    table = pd.DataFrame({"x": values})
    model = fitted(table, preset=preset, tails=False)
    out = model.sample(20_000).x
    assert out.min() >= values.iloc[K - 1]
    assert out.max() <= values.iloc[-K]
    assert (model.suppressed_["x"]["below"], model.suppressed_["x"]["above"]) == (K - 1, K - 1)


def test_a_declared_end_that_is_reached_is_kept():
    table = pd.DataFrame({"x": 3 * np.arange(1000)})
    model = fitted(table, columns={"x": {"minimum": 0, "maximum": 5000}})
    codec = model.codec_.codecs[0]
    assert codec.span()[0] == 0
    assert [(tail.above, tail.end) for tail in codec.tails] == [(True, 3 * (1000 - K))]
    assert model.suppressed_["x"] == {"levels": 0, "rows": 0, "below": 0, "above": K - 1, "dropped": False}


def test_extremes_count_each_holder_once_and_do_not_depend_on_batches():
    generator = np.random.default_rng(0)
    values, holders = generator.normal(size=3000), generator.integers(0, 200, 3000)
    whole = pd.DataFrame({"v": values, "h": holders}).groupby("h").v
    smallest, largest = np.sort(whole.min()), np.sort(whole.max())[::-1]
    for batch in (17, 3000):
        ends = Extremes(K)
        for start in range(0, 3000, batch):
            ends.update(values[start : start + batch], holders[start : start + batch])
        assert ends.kept == (smallest[K - 1], largest[K - 1])
        assert ends.seen == (values.min(), values.max())
        assert ends.outside == (K - 1, K - 1)


def test_levels_count_holders_and_rows_over_batches():
    counts = LevelCounts()
    counts.update(pa.array(["a", "a", None, "b"]), np.array([1, 1, 2, 3]))
    counts.update(pa.array(["a", "b"]), np.array([2, 3]))
    found, holders, rows = counts.result()
    assert dict(zip(found.to_pylist(), zip(holders.tolist(), rows.tolist(), strict=True), strict=True)) == {
        "a": (2, 3),
        "b": (1, 2),
    }


def protected_numeric(values, holders=None):
    table = pa.table({"x": values})
    source = as_source(table)
    protection = Protection.learn(source, infer_schema(source), K, holders)
    return NumericCodec.fit("x", table["x"], bins=64, guard=protection.guard_of("x"))


def test_a_repeated_value_gets_a_code_only_when_k_hold_it():
    values = np.repeat([0, 1, 2, 5], [400, K, K - 1, 300])
    codec = protected_numeric(values)
    assert codec.atoms.tolist() == [0, 1, 5]
    assert codec.cells == 0
    drawn = codec.decode(*codec.encode(pa.array([2])), np.zeros(1), 0)
    assert drawn.to_pylist() == [1]
    held_by_one = np.where(values == 1, 7, np.arange(len(values)))
    assert protected_numeric(values, held_by_one).atoms.tolist() == [0, 5]


def test_no_edge_between_cells_is_one_persons_value():
    values = np.random.default_rng(0).lognormal(size=5000)
    codec = protected_numeric(values)
    assert codec.cells > 500
    assert np.isin(codec.edges[1:-1], values).sum() == 0
    ordered = np.sort(values)
    assert codec.edges[[0, -1]].tolist() == [ordered[K - 1], ordered[-K]]
    inside = values[(values > ordered[K]) & (values < ordered[-K - 1])]
    out = codec.decode(*codec.encode(pa.array(inside)), np.random.default_rng(1).random(len(inside)), 0)
    assert np.abs(np.sort(out.to_numpy()) - np.sort(inside)).mean() < 0.01


def test_rare_combinations_are_forgotten_with_the_levels_that_stood_in_no_other(tmp_path):
    pairs = levels({("Paris", "FR"): 200, ("Lyon", "FR"): 150, ("Lyon", "US"): 2, ("Nauru", "NR"): 3})
    table = pd.DataFrame(pairs, columns=["city", "country"])
    model = fitted(table, constraints=(FixedCombinations(("city", "country")),))
    drawn = set(model.sample(1000).itertuples(index=False, name=None))
    assert drawn == {("Paris", "FR"), ("Lyon", "FR")}
    text = written(model, tmp_path)
    assert "Nauru" not in text
    assert "US" not in text
    assert TVAE.load(tmp_path / "generator").sample(50).equals(model.sample(50))


def test_an_inequality_keeps_no_single_persons_ends():
    low = 3 * np.arange(500)
    table = pd.DataFrame({"low": low, "high": low + 5})
    model = fitted(table, constraints=(Inequality("low", "high"),))
    state = model.constraints_.fitted[0]
    assert (state.base, state.least, state.most) == (3 * (K - 1), 3 * (K - 1) + 5, 3 * (500 - K) + 5)
    out = model.sample(3000)
    assert (out.low <= out.high).all()
    assert out.high.max() <= 3 * (500 - K) + 5


def test_a_pooled_level_can_be_given_but_not_asked_for():
    table = pd.DataFrame({"x": levels({"a": 150, "b": 150, "rare": 3}), "y": ["u", "v", "u"] * 101})
    model = fitted(table)
    assert model.sample(given=pd.DataFrame({"x": ["rare", "a"]})).x.tolist() == ["rare", "a"]
    with pytest.raises(ConditionError, match="too rare to be learned"):
        model.sample(5, given={"x": "rare"})


def test_without_protection_everything_is_learned():
    table = pd.DataFrame({"x": levels({"common": 300, "unique": 1}), "n": np.arange(301.0)})
    model = fitted(table, k=1)
    assert model.codec_.codecs[0].levels.to_pylist() == ["common", "unique"]
    assert model.codec_.codecs[1].span() == (0, 300)
    assert model.suppressed_ == {}


def test_what_was_suppressed_survives_json():
    table = pa.table({"x": levels({"common": 300, "unique": 1})})
    source = as_source(table)
    codec = TableCodec.fit(source, infer_schema(source), ModelSettings().resolved(), seed=0)
    again = TableCodec.from_dict(json.loads(json.dumps(codec.to_dict())))
    assert again.suppressed == codec.suppressed
    assert again.layout.codes == codec.layout.codes == (2,)
