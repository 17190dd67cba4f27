"""Conditions on columns of every type, in Python's, numpy's, pandas' values and in text."""

import datetime as dt
import decimal
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tvae_core import TVAE, ArtifactError, ColumnKind, ColumnSchema, ConditionError, TableSchema
from tvae_core.artifact import read_manifest
from tvae_core.codecs import NumericCodec

ZONE = "Europe/Berlin"
START = pd.Timestamp("2024-03-01", tz=ZONE)


@pytest.fixture(scope="module")
def model():
    rows = 400
    n = np.arange(rows) % 40
    table = pa.table(
        {
            "i": pa.array(np.arange(rows) % 97, mask=n == 1),
            "f": pa.array(n / 4, mask=n == 2),
            "d": pa.array([decimal.Decimal(int(k)) / 4 for k in n], pa.decimal128(9, 2)),
            "at": pa.array([START + pd.Timedelta(hours=int(k)) for k in n], pa.timestamp("us", tz=ZONE)),
            "level": pa.array(
                [START + pd.Timedelta(days=int(k) % 3) for k in n], pa.timestamp("us", tz=ZONE)
            ),
            "city": pa.array([["north", "south", None][k % 3] for k in n]),
        }
    )
    kinds = dict.fromkeys(table.column_names, ColumnKind.CONTINUOUS)
    kinds |= {"at": ColumnKind.DATETIME, "level": ColumnKind.CATEGORICAL, "city": ColumnKind.CATEGORICAL}
    columns = tuple(ColumnSchema(f.name, kinds[f.name], str(f.type)) for f in table.schema)
    return TVAE(seed=3, epochs=2).fit(table, TableSchema(columns))


@pytest.mark.parametrize("missing", [None, float("nan"), np.nan, pd.NA, pd.NaT, np.float32("nan")])
def test_every_spelling_of_missing_means_missing(model, missing):
    out = model.sample_table(20, given={"i": missing, "f": missing, "city": missing})
    assert [out[name].null_count for name in ("i", "f", "city")] == [20, 20, 20]
    mixed = model.sample_table(40, given={"city": ["north", missing]})
    assert set(mixed["city"].to_pylist()) == {"north", None}


@pytest.mark.parametrize("value", [7, np.int8(7), np.uint64(7), 7.0, np.float32(7), "7", decimal.Decimal(7)])
def test_numbers_of_every_kind_mean_the_same(model, value):
    assert set(model.sample(10, given={"i": value}).i) == {7}
    assert set(model.sample(10, given={"f": value}).f) == {7.0}
    assert set(model.sample(10, given={"d": value}).d) == {decimal.Decimal(7)}


def test_ranges_of_numbers_of_every_kind_hold(model):
    for ends in ((2, 5), (np.int16(2), np.float64(5.2)), ("2", "5"), (1.5, decimal.Decimal("5.1"))):
        assert model.sample(60, given={"i": ends}).i.between(2, 5).all()
    assert model.sample(60, given={"d": (1.13, 2)}).d.between(decimal.Decimal("1.25"), 2).all()


@pytest.mark.parametrize("end", [None, float("inf"), np.float32("inf"), float("nan"), pd.NA])
def test_infinite_and_missing_ends_are_open(model, end):
    out = model.sample(200, given={"i": (90, end)})
    assert out.i.between(90, 96).all()
    assert out.i.nunique() > 3
    lower = -end if isinstance(end, float | np.floating) else end
    assert (model.sample(50, given={"f": (lower, 1)}).f <= 1).all()


def test_a_fraction_for_integers_and_more_decimals_than_a_column_has_are_refused(model):
    for given in ({"i": 3.5}, {"i": [3, 3.5]}, {"i": "3.5"}, {"d": 0.123}):
        with pytest.raises(ConditionError, match="expected values of that type"):
            model.sample(3, given=given)


@pytest.mark.parametrize(
    "naive", [dt.datetime(2024, 3, 1), pd.Timestamp("2024-03-01"), np.datetime64("2024-03-01"), "2024-03-01",
              dt.date(2024, 3, 1)],
)  # fmt: skip
def test_a_time_without_a_zone_is_refused_where_the_column_has_one(model, naive):
    for given in ({"at": naive}, {"at": (naive, None)}, {"level": naive}):
        with pytest.raises(ConditionError, match="with a time zone or an offset"):
            model.sample(3, given=given)


def test_times_in_another_zone_mean_the_same_instant(model):
    late = START + pd.Timedelta(hours=20)
    for end in (late, late.tz_convert("UTC"), late.isoformat(), late.tz_convert("Asia/Tokyo").isoformat()):
        assert (model.sample(30, given={"at": (end, None)})["at"] >= late).all()


def test_levels_with_a_zone_keep_it(model, tmp_path):
    model.save(tmp_path / "g")
    loaded = TVAE.load(tmp_path / "g")
    second = START + pd.Timedelta(days=1)
    for condition in (second, second.tz_convert("UTC"), second.isoformat()):
        out = loaded.sample(10, given={"level": condition})
        assert str(out.level.dtype) == f"datetime64[us, {ZONE}]"
        assert set(out.level) == {second}
    balanced = loaded.sample(100, balance={"level": {second.tz_convert("UTC"): 1, START: np.int64(3)}})
    assert set(balanced.level) == {START, second}
    assert (balanced.level == START).sum() == pytest.approx(75, abs=15)


def test_integers_up_to_the_last_one_have_a_place_and_come_back():
    numbers = np.array([2**63 - 1 - 3 * k for k in range(2000)])
    codec = NumericCodec.fit("x", pa.array(numbers), bins=16)
    codes, scalars = codec.encode(pa.array(numbers))
    for draw in (0.0, 0.5, np.nextafter(1, 0)):
        out = codec.decode(codes, scalars, np.full(len(codes), draw), 0).to_numpy()
        assert out.min() >= numbers.min()
        assert ((2**63 - 1 - out.astype(object)) % 3 == 0).all()
    shares, windows = codec.shares_of_range(2**63 - 31, None)
    places = windows[codes, 0] + 0.5 * (windows[codes, 1] - windows[codes, 0])
    inside = shares[codes] > 0
    drawn = codec.decode(codes[inside], scalars[inside], places[inside], 0).to_pylist()
    assert min(drawn) >= 2**63 - 31
    assert 2**63 - 1 in drawn


def test_json_nested_without_end_is_an_artifact_error(tmp_path):
    (tmp_path / "manifest.json").write_text("[" * 100_000)
    with pytest.raises(ArtifactError, match="RecursionError"):
        read_manifest(tmp_path)


def test_a_generator_with_endless_json_is_an_artifact_error(model, tmp_path):
    import hashlib

    from tvae_core.artifact import digest_of

    model.save(tmp_path / "g")
    bad = b'{"columns":' + b"[" * 100_000
    (tmp_path / "g/codecs.json").write_bytes(bad)
    manifest = json.loads((tmp_path / "g/manifest.json").read_text())
    manifest["files"]["codecs.json"] = {"sha256": hashlib.sha256(bad).hexdigest(), "size": len(bad)}
    manifest["digest"] = digest_of(manifest["files"])
    (tmp_path / "g/manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match="RecursionError"):
        TVAE.load(tmp_path / "g")
