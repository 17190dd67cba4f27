"""Ordered categories: the order of a dictionary is the user's, and comes back whole."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tvae_core import TVAE, DataError, TableSchema, infer_schema
from tvae_core.codecs import CategoricalCodec, codec_from_dict
from tvae_core.constraints import FixedCombinations
from tvae_core.sampling import block_rows

SIZES = pd.CategoricalDtype(["small", "medium", "large", "huge"], ordered=True)  # nobody is huge


def planted(rows=400):
    """The colour says all about the size; a fifth of the sizes is missing."""
    generator = np.random.default_rng(0)
    number = generator.integers(0, 3, rows)
    size = pd.Series(np.array(["small", "medium", "large"])[number]).mask(generator.random(rows) < 0.2)
    colour = pd.Series(np.array(["red", "green", "blue"])[number])
    return pd.DataFrame(
        {"size": size.astype(SIZES), "colour": colour, "x": generator.integers(0, 1000, rows)}
    )


def ordered(values, dictionary):
    return pa.DictionaryArray.from_arrays(pa.array(values, pa.int8()), dictionary, ordered=True)


@pytest.fixture(scope="module")
def model():
    return TVAE(seed=1, epochs=5).fit(planted())


@given(st.data(), st.lists(st.text(max_size=4), min_size=1, max_size=12, unique=True))
@settings(max_examples=80, deadline=None)
def test_any_ordered_dictionary_comes_back_as_it_was(data, dictionary):
    places = st.none() | st.integers(0, len(dictionary) - 1)
    column = ordered(data.draw(st.lists(places, min_size=1, max_size=30)), dictionary)
    fitted = CategoricalCodec.fit("x", column, most_levels=20)
    codec = codec_from_dict(json.loads(json.dumps(fitted.to_dict())))
    codes, scalars = codec.encode(column)
    out = codec.decode(codes, scalars, np.zeros(len(column)), 0)
    assert out.type == column.type
    assert out.equals(column)
    assert out.dictionary.to_pylist() == dictionary


def test_levels_of_any_value_type_keep_their_order():
    column = ordered([0, 2, None], pa.array([30, 10, 20], pa.int64()))
    codec = CategoricalCodec.fit("x", column, most_levels=5)
    assert codec.levels.to_pylist() == [30, 20]
    assert codec.decode(*codec.encode(column), np.zeros(3), 0).equals(column)


def test_parts_that_lack_levels_are_put_into_one_order():
    parts = pa.chunked_array([ordered([0, 1], ["low", "high"]), ordered([0, 1], ["low", "middle"]),
                              ordered([1, 0], ["middle", "high"])])  # fmt: skip
    codec = CategoricalCodec.fit("x", parts, most_levels=5)
    assert codec.dictionary.to_pylist() == ["low", "middle", "high"]


def test_parts_that_contradict_one_another_are_refused():
    parts = pa.chunked_array([ordered([0, 1], ["low", "high"]), ordered([0, 1], ["high", "low"])])
    with pytest.raises(DataError, match="order its levels differently"):
        CategoricalCodec.fit("x", parts, most_levels=5)


def test_a_frame_of_ordered_categories_is_sampled_with_the_same_categories(model):
    out = model.sample(50)
    assert out["size"].dtype == SIZES
    assert (out["size"].dropna() <= "large").all()


def test_given_cells_and_conditions_keep_the_dictionary(model):
    frame = planted(20)
    given_frame = model.sample(given=frame[["size"]])
    assert given_frame["size"].dtype == SIZES
    assert given_frame["size"][frame["size"].notna()].tolist() == frame["size"].dropna().tolist()
    for options in ({"given": {"size": "medium"}}, {"given": {"size": ["large"]}}, {"balance": "size"}):
        assert model.sample(20, **options)["size"].dtype == SIZES


def test_every_batch_has_the_same_dictionary(model):
    rows = block_rows(model.codec_.layout) + 100
    for options in ({}, {"given": {"colour": "red"}}, {"given": planted(rows)[["size"]]}):
        n = None if "given" in options and not isinstance(options["given"], dict) else rows
        batches = model.sample_batches(n, batch_size=rows // 3, **options)
        assert {tuple(b.column("size").dictionary.to_pylist()) for b in batches} == {tuple(SIZES.categories)}


def test_combinations_of_ordered_columns_keep_the_order():
    table = planted()
    schema = TableSchema(infer_schema(table).columns, constraints=(FixedCombinations(("size", "colour")),))
    model = TVAE(seed=1, epochs=2).fit(table, schema)
    assert model.sample(30)["size"].dtype == SIZES
    frame = pd.DataFrame({"size": ["large", None], "colour": ["blue", "green"]})
    with_both = pd.DataFrame({"size": ["large"], "colour": ["blue"]})
    assert model.sample(given=with_both)["size"].dtype == SIZES
    assert model.sample(given=frame.iloc[[0]])["size"].tolist() == ["large"]


def test_the_order_survives_parquet_and_a_stored_generator(model, tmp_path):
    pq.write_table(pa.Table.from_pandas(planted()), tmp_path / "real.parquet", row_group_size=90)
    TVAE(seed=1, epochs=1).fit(tmp_path / "real.parquet").save(tmp_path / "g")
    pq.write_table(TVAE.load(tmp_path / "g").sample_table(40), tmp_path / "out.parquet")
    assert pd.read_parquet(tmp_path / "out.parquet")["size"].dtype == SIZES
    assert pq.read_schema(tmp_path / "out.parquet").equals(pq.read_schema(tmp_path / "real.parquet"))


def test_what_pandas_wrote_about_its_types_comes_back_and_notes_do_not(tmp_path):
    frame = planted().assign(
        count=pd.array([1, None, 2, 3] * 100, "Int64"),
        flag=pd.array([True, None, False, True] * 100, "boolean"),
        text=pd.array(["a", None, "b", "b"] * 100, "string"),
    )
    frame.attrs = {"note": "seen by nobody"}
    frame.to_parquet(tmp_path / "real.parquet")
    for source in (frame, tmp_path / "real.parquet"):
        TVAE(seed=1, epochs=1).fit(source).save(tmp_path / f"g{type(source).__name__}")
        model = TVAE.load(tmp_path / f"g{type(source).__name__}")
        out = model.sample(30)
        assert out.dtypes.to_dict() == frame.dtypes.to_dict()
        assert "nobody" not in str(model.sample_table(1).schema.metadata)
    frame.to_parquet(tmp_path / "plain.parquet")
    table = pq.read_table(tmp_path / "plain.parquet")
    out = TVAE(seed=1, epochs=1).fit(table).sample_table(9)
    told, real = (json.loads(schema.metadata[b"pandas"]) for schema in (out.schema, table.schema))
    for column in real["columns"]:
        if column["pandas_type"] == "categorical":
            column["metadata"] = None  # how many categories there are
    assert told == {**real, "index_columns": [], "attributes": {}}
    assert out.schema.equals(table.schema.with_metadata(out.schema.metadata), check_metadata=True)
