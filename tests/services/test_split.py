"""The split: a rule that every machine answers alike, on every cut of the table into batches and parts."""

import datetime as dt
import math
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.services.splits import holdout_entities, holdout_rows
from tasks.services.tables import open_split, open_table, reference_table, split_table
from tvae_core.errors import DataError, SettingsError
from tvae_core.sources import TableSource, select_columns

ROWS = 20_000


def read(source: TableSource) -> pa.Table:
    return pa.Table.from_batches(source.batches(), schema=source.schema)


def is_missing(value):
    return value is None or (isinstance(value, float) and math.isnan(value))


def write(path, table, **settings):
    pq.write_table(table, path, **settings)
    return reference_table(path)


@pytest.fixture(scope="module")
def people():
    """Every person has one to five rows, not next to each other; a tenth of the rows has no person."""
    rng = np.random.default_rng(3)
    person = [None if rng.random() < 0.1 else f"p{rng.integers(6000)}" for _ in range(ROWS)]
    return pa.table({"row": range(ROWS), "person": person})


@pytest.fixture(scope="module")
def ref(people, tmp_path_factory):
    return write(tmp_path_factory.mktemp("split") / "t.parquet", people)


def test_every_row_lies_on_exactly_one_side_and_the_counts_agree(ref, people):
    split = split_table(ref, seed=7, holdout_fraction=0.2)
    train, holdout = (read(open_split(split, side)) for side in ("train", "holdout"))
    assert (train.num_rows, holdout.num_rows) == (split.train_rows, split.holdout_rows)
    assert open_split(split, "train").num_rows == split.train_rows
    assert sorted(train["row"].to_pylist() + holdout["row"].to_pylist()) == list(range(ROWS))
    assert train["row"].to_pylist() == sorted(train["row"].to_pylist())


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.8])
def test_the_holdout_has_about_the_asked_share_of_rows(ref, fraction):
    split = split_table(ref, seed=1, holdout_fraction=fraction)
    # Four standard deviations of a binomial share.
    assert abs(split.holdout_rows / ROWS - fraction) < 4 * (fraction * (1 - fraction) / ROWS) ** 0.5


def test_the_same_seed_gives_the_same_split_and_another_seed_another(ref):
    one, again, other = (split_table(ref, seed=s, holdout_fraction=0.5) for s in (1, 1, 2))
    rows = [read(open_split(s, "holdout"))["row"].to_pylist() for s in (one, again, other)]
    assert rows[0] == rows[1]
    overlap = len(set(rows[0]) & set(rows[2])) / len(rows[0])
    assert 0.45 < overlap < 0.55  # independent halves share half


def test_the_hash_of_row_numbers_is_splitmix64_twice():
    """Recomputed with Python's own integers, which have no overflow to get wrong."""

    def mix(x):
        x = (x + 0x9E3779B97F4A7C15) % 2**64
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
        return x ^ (x >> 31)

    assert mix(0) == 0xE220A8397B1DCDAF  # the first number of the published generator from seed 0
    expected = [mix(row ^ mix(mix(42))) < 0.3 * 2**64 for row in range(1000)]
    assert holdout_rows(0, 1000, seed=42, holdout_fraction=0.3).tolist() == expected


def test_the_answer_is_the_same_on_every_machine():
    held = np.flatnonzero(holdout_rows(0, 20, seed=42, holdout_fraction=0.3))
    entities = pa.array(["a", "b", "c", "d", "e", "f", "g", "h", None, ""])
    held_text = np.flatnonzero(holdout_entities(entities, 0, seed=42, holdout_fraction=0.3))
    held_number = np.flatnonzero(holdout_entities(pa.array(range(20)), 0, seed=42, holdout_fraction=0.3))
    assert (held.tolist(), held_text.tolist(), held_number.tolist()) == (
        [3, 4, 5, 14, 18],
        [1, 3, 4, 5],
        [0, 9, 12, 14],
    )


def test_rows_are_numbered_over_batches(people):
    whole = holdout_rows(0, ROWS, seed=5, holdout_fraction=0.3)
    cut = [holdout_rows(first, 1000, seed=5, holdout_fraction=0.3) for first in range(0, ROWS, 1000)]
    assert np.array_equal(whole, np.concatenate(cut))


def test_all_rows_of_one_entity_lie_on_one_side(ref):
    split = split_table(ref, seed=7, holdout_fraction=0.3, entity="person")
    train, holdout = (read(open_split(split, side)) for side in ("train", "holdout"))
    persons = [set(side["person"].drop_null().to_pylist()) for side in (train, holdout)]
    assert persons[0]
    assert persons[1]
    assert not persons[0] & persons[1]
    assert 0.25 < len(persons[1]) / (len(persons[0]) + len(persons[1])) < 0.35
    assert train.num_rows + holdout.num_rows == ROWS


def test_rows_without_an_entity_stand_each_for_itself(ref):
    split = split_table(ref, seed=7, holdout_fraction=0.3, entity="person")
    missing = [read(open_split(split, side))["person"].null_count for side in ("train", "holdout")]
    assert 0.2 < missing[1] / sum(missing) < 0.4


def test_neither_parts_nor_row_groups_nor_dictionaries_change_the_split(people, ref, tmp_path):
    for i in range(4):
        pq.write_table(people.slice(i * 5000, 5000), tmp_path / f"p{i}.parquet", row_group_size=700)
    parts = reference_table(tmp_path)
    coded = people.set_column(1, "person", people["person"].combine_chunks().dictionary_encode())
    (tmp_path / "coded").mkdir()
    dictionary = write(tmp_path / "coded" / "t.parquet", coded)
    for entity in (None, "person"):
        rows = [
            read(open_split(split_table(r, seed=9, holdout_fraction=0.4, entity=entity), "holdout"))["row"]
            for r in ((ref, parts, dictionary) if entity else (ref, parts))
        ]
        assert all(r.to_pylist() == rows[0].to_pylist() for r in rows)


def test_columns_can_be_selected_without_the_entity(ref):
    split = split_table(ref, seed=7, holdout_fraction=0.3, entity="person")
    with open_split(split, "train") as train:
        rows = read(select_columns(train, ["row"]))
        assert rows.column_names == ["row"]
        assert rows["row"].to_pylist() == read(train)["row"].to_pylist()


@pytest.mark.parametrize(
    "values",
    [
        [3, -4, None],
        [1.5, float("nan"), None],
        [True, False, None],
        [dt.date(2020, 1, 2), dt.date(1900, 1, 1), None],
        [dt.datetime(2020, 1, 2, tzinfo=dt.UTC), None],
        [dt.time(1, 2), None],
        [dt.timedelta(seconds=5), None],
        [Decimal("1.50"), Decimal("-2.25"), None],
        [None, None, None],
        ["", "ü", None],
        [],
    ],
)
def test_entities_may_have_any_plain_type(values):
    array = pa.array(values * 200)
    held = holdout_entities(array, 0, seed=1, holdout_fraction=0.5)
    assert held.shape == (len(array),)
    for value in {v for v in values if not is_missing(v)}:
        sides = {bool(h) for h, v in zip(held, array.to_pylist(), strict=True) if v == value}
        assert len(sides) == 1
    missing = [h for h, v in zip(held, array.to_pylist(), strict=True) if is_missing(v)]
    if missing:
        assert 0.3 < np.mean(missing) < 0.7


def test_zero_and_minus_zero_are_one_entity_and_widths_do_not_matter():
    zeros = [
        holdout_entities(pa.array([z]), 0, seed=s, holdout_fraction=0.5)[0]
        for s in range(64)
        for z in (0.0, -0.0)
    ]
    assert zeros[::2] == zeros[1::2]
    wide, narrow = (
        holdout_entities(pa.array(range(100), t), 0, seed=1, holdout_fraction=0.5)
        for t in (pa.int64(), pa.uint8())
    )
    assert np.array_equal(wide, narrow)


@given(
    st.lists(st.text(max_size=4) | st.none(), max_size=40), st.integers(0, 2**64 - 1), st.integers(0, 2**40)
)
def test_the_rule_of_an_entity_does_not_depend_on_its_neighbours(values, seed, first):
    array = pa.array(values, pa.string())
    together = holdout_entities(array, first, seed=seed, holdout_fraction=0.5)
    alone = [
        holdout_entities(array.slice(i, 1), first + i, seed=seed, holdout_fraction=0.5)[0]
        for i in range(len(array))
    ]
    assert together.tolist() == alone


def test_a_nested_entity_column_is_refused(tmp_path):
    ref = write(tmp_path / "t.parquet", pa.table({"x": [[1], [2]]}))
    with pytest.raises(DataError, match=r"however its type is list"):
        split_table(ref, seed=0, holdout_fraction=0.5, entity="x")


def test_a_missing_entity_column_is_refused_with_the_columns_there_are(ref):
    with pytest.raises(DataError, match=r"column\(s\) family, however the table has: row, person"):
        split_table(ref, seed=0, holdout_fraction=0.5, entity="family")


def test_one_row_can_not_be_split(tmp_path):
    ref = write(tmp_path / "t.parquet", pa.table({"x": [1]}))
    with pytest.raises(DataError, match="side of 1 rows has none"):
        split_table(ref, seed=0, holdout_fraction=0.5)


def test_one_entity_can_not_be_split(tmp_path):
    ref = write(tmp_path / "t.parquet", pa.table({"x": ["a"] * 50}))
    with pytest.raises(DataError, match="different values of the entity column 'x'"):
        split_table(ref, seed=0, holdout_fraction=0.5, entity="x")


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, float("nan")])
def test_a_fraction_out_of_range_is_refused(ref, fraction):
    with pytest.raises(SettingsError, match="holdout_fraction must lie between"):
        split_table(ref, seed=0, holdout_fraction=fraction)


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, True])
def test_a_seed_out_of_range_is_refused(ref, seed):
    with pytest.raises(SettingsError, match="seed must be an integer"):
        split_table(ref, seed=seed, holdout_fraction=0.5)


def test_another_side_is_refused(ref):
    split = split_table(ref, seed=0, holdout_fraction=0.5)
    with pytest.raises(DataError, match="'test'"):
        open_split(split, "test")


def test_a_split_of_a_table_that_changed_is_refused(people, tmp_path):
    ref = write(tmp_path / "t.parquet", people)
    split = split_table(ref, seed=0, holdout_fraction=0.5)
    write(tmp_path / "t.parquet", people.slice(1))
    with pytest.raises(DataError, match="has changed since"):
        open_split(split, "train")


def test_the_open_table_is_not_needed_to_split_by_row(ref):
    assert split_table(ref, seed=0, holdout_fraction=0.5).table == ref
    assert open_table(ref).num_rows == ROWS
