"""Unique combinations: checked in the real table, kept in every sample by a counted redraw."""

import numpy as np
import pandas as pd
import pytest

from tvae_core import TVAE, ConditionError, DataError, SchemaError, TableSchema, infer_schema
from tvae_core.constraints import Unique
from tvae_core.constraints.propose import propose_constraints
from tvae_core.sampling import block_rows

BOTH = Unique(("place", "hour"))


def planted(rows=600):
    """Places and hours, each pair once of 40 x 24 possible ones; every tenth hour is missing."""
    pairs = np.random.default_rng(0).permutation(40 * 24)[:rows]
    hour = pd.Series(pairs % 24, dtype="Int64")
    hour[9::10] = pd.NA
    return pd.DataFrame(
        {"key": [f"k{i:04}" for i in range(rows)], "place": [f"p{p // 24}" for p in pairs], "hour": hour,
         "level": np.round(np.random.default_rng(1).normal(size=rows), 1)}
    )  # fmt: skip


def constrained(table, *rules):
    return TableSchema(infer_schema(table).columns, constraints=rules)


@pytest.fixture(scope="module")
def model():
    return TVAE(seed=4, epochs=3).fit(planted(), constrained(planted(), BOTH))


def repeats(frame):
    return int(frame.dropna(subset=["hour"]).duplicated(["place", "hour"]).sum())


def test_no_combination_repeats_and_the_redraws_are_counted(model, tmp_path):
    free = TVAE(seed=4, epochs=3).fit(planted(), constrained(planted()))
    assert repeats(free.sample(600)) > 0  # what the constraint has to keep away
    model.save(tmp_path / "g")
    loaded = TVAE.load(tmp_path / "g")
    out = loaded.sample(600)
    assert repeats(out) == 0
    assert loaded.constraint_counts_[BOTH.label] > 0
    assert out.key.is_unique
    assert out.dtypes.to_dict() == planted().dtypes.to_dict()


def test_batches_and_the_number_of_rows_change_no_row(model):
    whole = model.sample_table(500)
    assert whole.equals(model.sample_table(500, batch_size=37))
    for rows in range(10, 500, 70):
        assert whole.slice(0, rows).equals(model.sample_table(rows))


def test_combinations_do_not_repeat_across_blocks(monkeypatch):
    monkeypatch.setattr("tvae_core.sampling.LARGEST_BLOCK", 128)
    model = TVAE(seed=4, epochs=3).fit(planted(), constrained(planted(), BOTH))
    assert block_rows(model.codec_.layout) == 128
    assert repeats(model.sample(500)) == 0


def test_conditions_and_given_cells_hold_in_redrawn_rows(model):
    out = model.sample(60, given={"place": ["p1", "p2", "p3", "p4"], "hour": (0, 23)})
    assert repeats(out) == 0
    assert set(out.place) <= {"p1", "p2", "p3", "p4"}
    known = pd.DataFrame({"place": ["p1", "p2"] * 10, "level": [0.1, 0.2] * 10})
    filled = model.sample(given=known)
    assert repeats(filled) == 0
    assert filled.place.tolist() == known.place.tolist()
    assert filled.level.tolist() == known.level.tolist()


def test_more_rows_than_combinations_end_in_a_clear_error(model):
    with pytest.raises(ConditionError, match=r"unique 'place', 'hour': row \d+ still repeats"):
        model.sample(30, given={"place": "p1", "hour": (0, 5)})


def test_a_table_that_repeats_a_combination_is_refused_with_the_count():
    table = pd.concat([planted(), planted().iloc[:3]], ignore_index=True)
    table["key"] = [f"k{i:04}" for i in range(len(table))]
    with pytest.raises(DataError, match="broken by 3 of 603 rows, the first of them 600, 601, 602"):
        TVAE(epochs=1).fit(table, constrained(table, BOTH))


def test_an_identifier_needs_no_such_constraint():
    with pytest.raises(SchemaError, match="unique by itself"):
        constrained(planted(), Unique(("key",)))


def test_a_pair_is_proposed_where_chance_would_have_repeated_it_and_nowhere_else():
    table = planted().dropna().reset_index(drop=True)
    assert Unique(("place", "hour")) in propose_constraints(table, constrained(table))
    mixed = table.assign(hour=np.random.default_rng(2).permutation(table.hour))
    assert not any(c.kind == "unique" for c in propose_constraints(mixed, constrained(mixed)))
    sparse = table.assign(hour=np.arange(len(table)) * 7)  # all differ: that pairs differ too says nothing
    assert not any(c.kind == "unique" for c in propose_constraints(sparse, constrained(sparse)))


def test_the_constraint_survives_a_round_trip_through_plain_values():
    schema = constrained(planted(), BOTH)
    assert TableSchema.from_dict(schema.to_dict()) == schema
