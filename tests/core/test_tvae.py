"""TVAE through its public interface: planted structure, types, repeatability, storage."""

import datetime as dt
import decimal
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from tvae_core import (
    TVAE,
    ArtifactError,
    ColumnKind,
    DataError,
    DigestError,
    FormatError,
    ModelSettings,
    NotFittedError,
    SchemaError,
    SettingsError,
    TableSchema,
    infer_schema,
)
from tvae_core.layout import ColumnLayout, Layout
from tvae_core.prior import Prior
from tvae_core.sampling import block_rows
from tvae_core.trainer import Trainer


def planted(rows=2000, seed=0):
    """Group decides the amount's centre and the flag; amounts have two decimals; some are missing in group b."""
    generator = np.random.default_rng(seed)
    group = generator.choice(["a", "b", "c"], rows, p=[0.5, 0.3, 0.2])
    centre = pd.Series(group).map({"a": 10.0, "b": 50.0, "c": 200.0}).to_numpy()
    amount = np.round(generator.normal(centre, centre / 20), 2)
    missing = (group == "b") & (generator.random(rows) < 0.5)
    return pd.DataFrame(
        {
            "group": group,
            "amount": np.where(missing, np.nan, amount),
            "flag": group == "c",
            "count": generator.poisson(3, rows),
        }
    )


@pytest.fixture(scope="module")
def fitted():
    return TVAE(seed=3, epochs=40).fit(planted())


@pytest.mark.parametrize(("preset", "epochs", "slack"), [("default", None, 0.1), ("reference", 300, 0.25)])
def test_planted_structure_comes_back(preset, epochs, slack):
    out = TVAE(preset, seed=1, epochs=epochs).fit(planted()).sample(4000)
    share = out.group.value_counts(normalize=True)
    assert share["a"] == pytest.approx(0.5, abs=0.08)
    medians = out.groupby("group").amount.median()
    assert medians["a"] == pytest.approx(10, rel=0.15)
    assert medians["c"] == pytest.approx(200, rel=0.15)
    assert out[out.group == "b"].amount.isna().mean() == pytest.approx(0.5, abs=slack)
    assert out[out.group != "b"].amount.isna().mean() < 0.1
    assert (out.flag == (out.group == "c")).mean() > 1 - slack / 2


def test_sampled_columns_keep_types_range_and_decimals(fitted):
    real, out = planted(), fitted.sample(3000)
    assert out.dtypes.to_dict() == real.dtypes.to_dict()
    codecs = {codec.name: codec for codec in fitted.codec_.codecs}
    for column, unit in (("amount", 100), ("count", 1)):
        low, high = codecs[column].span()
        assert low / unit <= out[column].min()
        assert out[column].max() <= high / unit
        assert high / unit <= 1.1 * real[column].max()
    present = out.amount.dropna().to_numpy()
    assert np.array_equal(present, np.round(present, 2))


@pytest.mark.parametrize("names", [[0, 1], [7, -3], pd.Index([0, 5], dtype=object), ["a", "b"]])
def test_column_names_come_back_as_they_were(names, tmp_path):
    real = pd.DataFrame({"x": [1.5, 2.5] * 50, "y": ["u", "v"] * 50}).set_axis(names, axis=1)
    model = TVAE(epochs=1).fit(real)
    model.save(tmp_path / "g")
    for fitted in (model, TVAE.load(tmp_path / "g")):
        out = fitted.sample(9, given={names[0]: 1.5}, balance={names[1]: None})
        assert out.columns.equals(real.columns)
        assert set(out[names[0]]) == {1.5}
        assert fitted.sample(given=real[[names[1]]].head(4))[names[1]].equals(real[names[1]].head(4))
        assert fitted.impute(real.head(4)).equals(real.head(4))


def test_every_arrow_type_keeps_the_input_schema_and_its_missing_values():
    rows = 120
    day = dt.date(2020, 1, 1)
    noon = dt.datetime(2020, 1, 1, 12, tzinfo=dt.UTC)
    generator = np.random.default_rng(0)
    steps = generator.integers(0, 500, rows).tolist()
    columns = {
        "i8": pa.array([s % 100 for s in steps], pa.int8()),
        "u32": pa.array(steps, pa.uint32()),
        "f32": pa.array([s / 7 for s in steps], pa.float32()),
        "dec": pa.array([decimal.Decimal(s) / 4 for s in steps], pa.decimal128(9, 2)),
        "bool": pa.array([s > 250 for s in steps]),
        "text": pa.array([f"t{s % 3}" for s in steps], pa.large_string()),
        "dict": pa.array([f"d{s % 4}" for s in steps]).dictionary_encode(),
        "date": pa.array([day + dt.timedelta(days=s) for s in steps]),
        "ts": pa.array([noon + dt.timedelta(hours=s) for s in steps], pa.timestamp("us", tz="Europe/Berlin")),
        "time": pa.array([dt.time(s % 24) for s in steps], pa.time64("us")),
    }
    holes = {f"{n}_null": pa.array([None if i % 3 == 0 else v for i, v in enumerate(c.to_pylist())], c.type)
             for n, c in columns.items()}  # fmt: skip
    table = pa.table({**columns, **holes, "nothing": pa.nulls(rows)})
    out = TVAE(seed=0, epochs=60).fit(table).sample_table(60)
    assert out.schema.equals(table.schema)
    for name in columns:
        assert out[name].null_count == 0
        assert 0 < out[f"{name}_null"].null_count < 60
    assert out["nothing"].null_count == 60


def test_the_same_seed_gives_the_same_generator_and_another_seed_another(tmp_path):
    digests = [
        TVAE(seed=s, epochs=3).fit(planted(300)).save(tmp_path / str(i)) for i, s in enumerate([5, 5, 6])
    ]
    assert digests[0] == digests[1] != digests[2]


def test_sampling_is_the_same_for_any_batch_size_and_any_number_of_rows(fitted):
    block = block_rows(fitted.codec_.layout)
    rows = block + 500
    whole = fitted.sample_table(rows)
    for batch_size in (1, 777, block, 10 * block):
        if batch_size > 1:
            batches = list(fitted.sample_batches(rows, batch_size=batch_size))
            assert max(map(len, batches)) == min(batch_size, rows)
            assert pa.Table.from_batches(batches).equals(whole)
    assert fitted.sample_table(7).equals(whole.slice(0, 7))
    assert not fitted.sample_table(7, seed=99).equals(whole.slice(0, 7))
    assert fitted.sample_table(0).schema.equals(whole.schema)


@pytest.mark.parametrize("preset", ["default", "reference"])
def test_sampling_is_the_same_on_any_number_of_cores(preset):
    model = TVAE(preset, epochs=2).fit(planted(300))
    rows = 2 * block_rows(model.codec_.layout) + 500
    before, drawn = torch.get_num_threads(), []
    try:
        for cores in (1, 2, 3):
            torch.set_num_threads(cores)
            drawn.append(model.sample_table(rows))
            assert torch.get_num_threads() == cores
            if preset == "default":
                drawn[-1] = drawn[-1], model.sample_table(rows, given={"amount": (5, 60)}, balance="group")
    finally:
        torch.set_num_threads(before)
    assert drawn[0] == drawn[1] == drawn[2]


def test_fitting_and_sampling_leave_global_random_state_alone():
    torch.manual_seed(1)
    np.random.seed(1)
    before = torch.get_rng_state().clone(), np.random.get_state()[1].copy()
    TVAE(epochs=1).fit(planted(100)).sample(10)
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])


def test_fitting_and_sampling_put_the_precision_of_products_back():
    before = torch.get_float32_matmul_precision()
    batches = TVAE(epochs=1).fit(planted(200)).sample_batches(100)
    next(batches)
    assert torch.get_float32_matmul_precision() == before


@pytest.mark.parametrize(("rounds", "expected"), [(False, "medium"), (True, "highest")])
def test_rows_and_prior_are_computed_in_full_precision_where_products_would_be_rounded(
    rounds, expected, monkeypatch
):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: rounds)
    seen = {}

    def note(owner, name):
        whole = getattr(owner, name)

        def noted(*args, **kwargs):
            seen.setdefault(name, set()).add(torch.get_float32_matmul_precision())
            return whole(*args, **kwargs)

        monkeypatch.setattr(owner, name, noted)

    note(Prior, "fit")
    note(Prior, "draw")
    note(Trainer, "step")
    TVAE(epochs=1).fit(planted(200)).sample(10)
    assert seen == {"fit": {expected}, "draw": {expected}, "step": {"medium"}}


def test_a_caller_who_chose_precision_by_torch_s_newer_settings_is_left_alone(monkeypatch):
    def mixed():
        raise RuntimeError(
            "PyTorch is checking whether allow_tf32 is enabled: mix of the legacy and new APIs"
        )

    monkeypatch.setattr(torch, "get_float32_matmul_precision", mixed)
    monkeypatch.setattr(torch, "set_float32_matmul_precision", lambda _: pytest.fail("settings were mixed"))
    assert len(TVAE(epochs=1).fit(planted(200)).sample(10)) == 10


def test_after_a_fit_no_parameter_shares_memory_or_keeps_a_gradient():
    for preset in ("default", "reference"):
        model = TVAE(preset, epochs=1).fit(planted(200))
        parameters = list(model.networks_.trained_parameters())
        assert all(p.grad is None for p in parameters)
        assert all(p.untyped_storage().nbytes() == p.numel() * 4 for p in parameters)


def test_blocks_are_small_where_a_column_is_wide_or_columns_are_many():
    def rows(*codes):
        return block_rows(Layout(tuple(ColumnLayout.plain(width) for width in codes)))

    assert rows(3, 5) == rows(*[50] * 15) == 8_192
    assert rows(20_000, 3) == 512
    assert rows(100_000) == 128
    assert rows(*[10] * 1_000) == 512


def test_frame_table_file_and_parts_give_the_same_generator(tmp_path):
    frame = planted(300)
    table = pa.Table.from_pandas(frame, preserve_index=False)
    pq.write_table(table, tmp_path / "one.parquet", row_group_size=100)
    (tmp_path / "parts").mkdir()
    pq.write_table(table.slice(0, 120), tmp_path / "parts/a.parquet")
    pq.write_table(table.slice(120), tmp_path / "parts/b.parquet")
    sources = [frame, table, tmp_path / "one.parquet", str(tmp_path / "parts")]
    digests = {TVAE(epochs=2).fit(s).save(tmp_path / f"g{i}") for i, s in enumerate(sources)}
    assert len(digests) == 1


def test_a_stored_generator_samples_the_same_rows(fitted, tmp_path):
    digest = fitted.save(tmp_path / "g")
    loaded = TVAE.load(tmp_path / "g")
    assert loaded.sample_table(500).equals(fitted.sample_table(500))
    assert loaded.save(tmp_path / "again") == digest
    assert sorted(p.name for p in (tmp_path / "g").iterdir()) == [
        "codecs.json", "history.json", "manifest.json", "settings.json", "weights.safetensors",
    ]  # fmt: skip


def test_a_generator_is_never_written_over(fitted, tmp_path):
    fitted.save(tmp_path / "g")
    with pytest.raises(ArtifactError, match="never written over"):
        fitted.save(tmp_path / "g")
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


@pytest.mark.parametrize("name", ["settings.json", "codecs.json", "weights.safetensors", "history.json"])
def test_one_altered_byte_in_any_file_is_refused(fitted, tmp_path, name):
    fitted.save(tmp_path / "g")
    data = bytearray((tmp_path / "g" / name).read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "g" / name).write_bytes(data)
    with pytest.raises(DigestError, match=name):
        TVAE.load(tmp_path / "g")


def test_a_newer_format_says_to_update(fitted, tmp_path):
    fitted.save(tmp_path / "g")
    path = tmp_path / "g" / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format_version": 999}))
    with pytest.raises(FormatError, match="update tvae-pipeline"):
        TVAE.load(tmp_path / "g")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"kind": "tvae-generator", "format_version": 1}'])
def test_a_broken_manifest_is_refused(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(ArtifactError):
        TVAE.load(tmp_path)


def test_an_absent_generator_says_so(tmp_path):
    with pytest.raises(ArtifactError, match="holds no generator"):
        TVAE.load(tmp_path / "nowhere")


def test_before_fit_sampling_and_saving_say_what_to_do(tmp_path):
    with pytest.raises(NotFittedError, match="fit"):
        TVAE().sample(1)
    with pytest.raises(NotFittedError, match="fit"):
        TVAE().save(tmp_path / "g")


def test_training_stops_early_and_keeps_the_best_weights():
    seen = []
    model = TVAE(seed=0, epochs=400, patience=4, learning_rate=0.02).fit(planted(200), on_epoch=seen.append)
    assert len(model.history_) == len(seen) < 400
    losses = [record["validation_loss"] for record in model.history_]
    best = int(np.argmin(losses))
    assert model.history_[best]["best"]
    assert len(losses) - 1 - best == 4
    shorter = TVAE(seed=0, epochs=400, patience=4, learning_rate=0.02)
    shorter.fit(planted(200))
    assert torch.equal(model.networks_.decoder.out, shorter.networks_.decoder.out)


def test_history_is_plain_json_without_wall_clock_times(fitted):
    keys = {
        "epoch", "step", "loss", "reconstruction", "kl", "skipped_steps", "validation_loss", "kl_per_unit",
        "active_units", "best", "stopped",
    }  # fmt: skip
    assert all(set(record) == keys for record in json.loads(json.dumps(fitted.history_)))


def test_the_reference_preset_trains_as_published():
    model = TVAE("reference", epochs=1).fit(planted(600))
    used = model.settings_
    assert (used.batch_size, used.learning_rate, used.l2scale, used.loss_factor) == (500, 1e-3, 1e-5, 2.0)
    assert (used.embedding_dim, used.compress_dims, used.validation_fraction) == (128, (128, 128), 0.0)
    assert ModelSettings("reference").resolved().epochs == 300
    sigma = model.networks_.decoder.decoder(torch.zeros(1, 128))[1]
    assert 0.01 <= sigma.min().item() <= sigma.max().item() <= 1.0


def test_an_identifier_is_not_modelled_and_comes_back_unique():
    frame = planted(200).assign(customer_id=np.arange(5000, 5200))
    schema = infer_schema(frame)
    assert schema.column("customer_id").kind is ColumnKind.IDENTIFIER
    out = TVAE(epochs=1).fit(frame, schema).sample(50)
    assert out.customer_id.is_unique


def test_rows_of_one_entity_are_held_back_together():
    from tvae_core import as_source
    from tvae_core.tvae import hold_back

    frame = planted(300).assign(person=np.repeat(np.arange(60), 5))
    schema = TableSchema(infer_schema(frame).columns, entity="person")
    held = hold_back(as_source(frame), schema, 0.2, seed=0)
    sides = pd.Series(held).groupby(frame.person).nunique()
    assert (sides == 1).all()
    assert held.sum() == 60


def test_entities_are_numbered_by_first_appearance_whatever_their_type():
    from tvae_core.holdback import entity_numbers
    from tvae_core.sources import ArrowSource, as_source

    people = ["b", "a", None, "b", None, "c", "a"]
    big = [2**60, 2**60 + 1, None, 2**60, None, 5, 2**60 + 1]  # as floats the first two would be one
    floats = [-0.0, 1.5, float("nan"), 0.0, None, 2.5, 1.5]
    columns = {"text": people, "number": big, "float": floats, "levels": pa.array(people).dictionary_encode()}
    for name in columns:
        source = ArrowSource(pa.table(columns), batch_rows=2)
        assert entity_numbers(source, name).tolist() == [0, 1, 3, 0, 4, 2, 1]
    assert entity_numbers(as_source(pa.table({"one": ["x"]})), "one").tolist() == [0]


def one_row():
    return pd.DataFrame({"a": [1]})


@pytest.mark.parametrize(
    ("table", "error", "words"),
    [
        (one_row, DataError, "1 rows: expected at least 2"),
        (lambda: pa.table({"a": pa.array([], pa.int64())}), DataError, "0 rows"),
        (lambda: pd.DataFrame({"a": [1.0, float("inf")] * 5}), DataError, "column 'a' holds 5 infinite"),
        (lambda: pa.table({"a": [[1], [2]]}), SchemaError, "nested columns"),
        (lambda: pa.table({"a": [b"x", b"y"]}), SchemaError, "binary columns"),
        (
            lambda: pd.DataFrame({"a": np.ones(9, np.float16)}),
            SchemaError,
            "halffloat: .* cast it to float32",
        ),
        (lambda: pd.DataFrame({"customer_id": range(30)}), DataError, "identifiers only"),
    ],
)
def test_tables_that_cannot_be_learned_end_in_one_clear_error(table, error, words):
    with pytest.raises(error, match=words):
        TVAE(epochs=1).fit(table())


def test_constant_missing_and_all_distinct_columns_are_learned():
    frame = pd.DataFrame(
        {
            "constant": [7] * 100,
            "missing": [None] * 100,
            "distinct": np.random.default_rng(0).normal(size=100),
        }
    )
    out = TVAE(epochs=1).fit(frame).sample(20)
    assert (out.constant == 7).all()
    assert out.missing.isna().all()
    assert out.distinct.nunique() > 5


def test_a_table_against_another_schema_names_the_columns():
    schema = infer_schema(planted(50))
    with pytest.raises(SchemaError, match="missing flag"):
        TVAE(epochs=1).fit(planted(50).drop(columns="flag"), schema)
    with pytest.raises(SchemaError, match="'count' is double, declared int64"):
        TVAE(epochs=1).fit(planted(50).astype({"count": float}), schema)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"epochs": 0}, "epochs must lie between"),
        ({"batch_size": "big"}, "batch_size must be an integer"),
        ({"compress_dims": []}, "compress_dims must be a list"),
        ({"preset": "best"}, "preset must be one of"),
        ({"epoch": 3}, "unknown settings epoch"),
        ({"device": "tpu-ish"}, "device must be"),
    ],
)
def test_wrong_settings_name_the_setting_and_what_is_allowed(settings, words):
    with pytest.raises(SettingsError, match=words):
        TVAE(**settings)


@pytest.mark.parametrize("seed", [-1, 2**63, 1.0, "a", True, np.True_])
def test_what_is_no_seed_is_refused_wherever_one_is_taken(fitted, seed):
    holes = pd.DataFrame({"group": ["a", None]})
    for take in (
        lambda: TVAE(seed=seed),
        lambda: fitted.sample(3, seed=seed),
        lambda: fitted.impute(holes, seed=seed),
    ):
        with pytest.raises(SettingsError, match="seed must be an integer between 0 and"):
            take()
    assert fitted.sample(3, seed=np.int64(5)).equals(fitted.sample(3, seed=5))


def test_set_device_moves_the_model_and_refuses_unknown_devices(fitted):
    assert fitted.set_device("cpu").device.type == "cpu"
    with pytest.raises(SettingsError):
        fitted.set_device("nonsense")
