"""Proposed constraints: what every row obeys, and not what holds by chance."""

import numpy as np
import pandas as pd
import pytest

from tvae_core import Derived, FixedCombinations, Inequality, Range, infer_schema, propose_constraints


def planted(rows=2000, seed=0):
    """One rule of each kind that is proposed, and unrelated columns."""
    generator = np.random.default_rng(seed)
    a, b, c = (np.round(generator.gamma(2.0, 30.0, rows), 2) for _ in range(3))
    code = generator.choice(list("pqrst"), rows)
    start = pd.Timestamp("2024-01-01") + pd.to_timedelta(generator.integers(0, 300, rows), unit="D")
    return pd.DataFrame(
        {
            "a": a, "b": b, "c": c, "total": np.round(a + b + c, 2), "log_b": np.log(b), "twin": a,
            "line": np.round(c * 2.5 + 7, 3), "whole": np.round(b), "code": code,
            "number": pd.Series(code).map(dict(zip("pqrst", [5, 1, 2, 2, 3], strict=True))),
            "start": start, "end": start + pd.to_timedelta(generator.integers(0, 60, rows), unit="D"),
            "constant": 1, "noise": generator.integers(0, 50, rows), "huge": generator.integers(10**6, 10**7, rows),
        }
    )  # fmt: skip


EXPECTED = {
    "twin": Derived("twin", "copy", ("a",)),
    "total": Derived("total", "sum", ("a", "b", "c")),
    "log_b": Derived("log_b", "log", ("b",)),
    "line": Derived("line", "linear", ("c",), factor=2.5, offset=7.0),
    "whole": Derived("whole", "round", ("b",)),
    "number": FixedCombinations(("code", "number")),
    "end": Inequality("start", "end"),
    "a": Range("a", minimum=0, strict=True),
    "b": Range("b", minimum=0, strict=True),
    "c": Range("c", minimum=0, strict=True),
    "noise": Range("noise", minimum=0),
}


def proposed(frame):
    return propose_constraints(frame, infer_schema(frame))


def test_exactly_the_planted_constraints_are_proposed():
    assert set(proposed(planted())) == set(EXPECTED.values())


@pytest.mark.parametrize(
    ("column", "value"),
    [("twin", 1.0), ("total", 1.0), ("log_b", 9.0), ("line", 1.0), ("whole", 500.0), ("number", 4),
     ("end", pd.Timestamp("2020-01-01")), ("b", 0.0), ("noise", -1)],
)  # fmt: skip
def test_one_row_that_breaks_a_constraint_is_enough_for_it_not_to_be_proposed(column, value):
    frame = planted()
    frame.loc[frame.index[frame.code == "p"][3], column] = value
    assert EXPECTED[column] not in proposed(frame)


def test_what_is_proposed_can_be_declared_together():
    from dataclasses import replace

    frame = planted()
    schema = infer_schema(frame)
    assert replace(schema, constraints=proposed(frame)).constraints


def test_a_rule_that_only_rows_outside_the_sample_break_is_not_proposed():
    frame = pd.concat([planted(25_000)] * 2, ignore_index=True)
    frame.loc[len(frame) - 2, "total"] += 5
    assert EXPECTED["total"] not in proposed(frame)
    assert EXPECTED["log_b"] in proposed(frame)


def test_missing_values_follow_the_proposed_rule():
    frame = planted()
    frame.loc[::7, "a"] = np.nan
    frame["total"] = (frame.a + frame.b + frame.c).round(2)
    frame["filled"] = (frame.a.fillna(0) + frame.noise).round(2)
    found = proposed(frame.drop(columns="twin"))
    assert EXPECTED["total"] in found
    assert Derived("filled", "sum", ("a", "noise"), nulls="zero") in found


def test_small_tables_and_unrelated_columns_propose_nothing():
    assert proposed(planted(60)) == ()
    generator = np.random.default_rng(1)
    columns = {f"n{i}": generator.normal(10 * i, 5, 1000) for i in range(6)}
    columns |= {f"c{i}": generator.choice(["x", "y", "z"], 1000, p=[0.98, 0.01, 0.01]) for i in range(6)}
    columns |= {
        "zeros": np.where(generator.random(1000) < 0.01, 1.0, 0.0),
        "level": generator.integers(300, 700, 1000),  # far above zero
    }
    assert proposed(pd.DataFrame(columns)) == ()


def test_the_demo_table_has_its_logarithms_and_no_sum_that_two_rows_break():
    datasets = pytest.importorskip("statsmodels.datasets", reason="the demo's table ships inside statsmodels")
    from pathlib import Path

    frame = pd.read_csv(Path(datasets.__file__).parent / "randhie/src/randhie.csv")
    found = proposed(frame)
    assert Derived("linc", "log1p", ("income",)) in found
    assert Derived("lnmeddol", "log", ("meddol",)) in found
    assert not [c for c in found if "meddol" in c.writes and isinstance(c, Derived)]
    parts = ["outpdol", "drugdol", "suppdol", "inpdol"]
    gap = (frame.meddol - frame[parts].sum(axis=1)).abs()
    assert (gap > 0.01).sum() == 2
    assert Derived("meddol", "sum", tuple(parts)) in proposed(frame[gap <= 0.01])
