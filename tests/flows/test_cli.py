"""The single steps of the command line: what they print, what they write, and their exit codes."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner, Result

from flows.cli import main
from tests.conftest import PEOPLE_SCHEMA, people
from tests.servers import S3Server
from tvae_core.constraints import Derived
from tvae_core.schema import TableSchema

SMALL = ["--epochs", "2", "--compress-dims", "16", "--decompress-dims", "16", "--embedding-dim", "4"]


def tvae(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("generator")
    pq.write_table(people(), folder / "people.parquet")
    result = tvae("fit", folder / "people.parquet", "--out", folder / "generator", "--seed", "1", *SMALL)
    assert result.exit_code == 0, result.output
    return folder / "generator"


@pytest.fixture(scope="module")
def odd_names(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("odd")
    names = ["", "a|b", "1..2", 'say "so"', 'half"', "plain", None]
    pq.write_table(pa.table({"name": names * 30}), folder / "odd.parquet")
    result = tvae("fit", folder / "odd.parquet", "--out", folder / "generator", *SMALL)
    assert result.exit_code == 0, result.output
    return folder / "generator"


def test_help_answers_in_about_a_second() -> None:
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "flows.cli", "--help"], capture_output=True, check=False)
    assert done.returncode == 0
    assert time.monotonic() - start < 3  # a loaded machine; 0.1 s on an idle one


def test_the_single_steps_run_without_prefect(people_file: Path) -> None:
    check = (
        "import sys; from flows import steps; "
        f"steps.propose_schema({str(people_file)!r}, ranges=False, entity=None); "
        "import tasks.services.sampling, tasks.services.scoring, tasks.services.expectations; "
        "sys.exit('prefect' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-W", "ignore", "-c", check], check=False).returncode == 0


def test_schema_proposes_what_the_other_commands_read(people_file: Path, tmp_path: Path) -> None:
    result = tvae("schema", people_file, "--entity", "person", "--ranges")
    assert result.exit_code == 0
    schema = TableSchema.from_dict(yaml.safe_load(result.stdout))
    assert schema.entity == "person"
    assert schema.names == people().column_names
    path = tmp_path / "schema.yaml"
    path.write_text(result.stdout)
    assert tvae("validate", people_file, "--schema", path).exit_code == 0


def test_constraints_that_every_row_obeys_are_proposed_and_confirmed_by_uncommenting(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    numbers = [i * i % 997 - 500 for i in range(400)]
    pq.write_table(pa.table({"a": numbers, "b": [2 * n + 1 for n in numbers]}), path)
    text = tvae("schema", path).stdout
    assert TableSchema.from_dict(yaml.safe_load(text)).constraints == ()
    confirmed = text.replace("#constraints:", "constraints:").replace("#- {", "- {")
    expected = Derived("b", "linear", ("a",), factor=2.0, offset=1.0)
    assert TableSchema.from_dict(yaml.safe_load(confirmed)).constraints == (expected,)


def test_a_table_that_breaks_its_schema_exits_1_and_shows_rows_but_no_values(tmp_path: Path) -> None:
    table = people()
    ages = table.column("age").to_pylist()
    ages[7] = 987
    pq.write_table(table.set_column(1, "age", pa.array(ages)), tmp_path / "bad.parquet")
    (tmp_path / "schema.yaml").write_text(yaml.safe_dump(PEOPLE_SCHEMA, sort_keys=False))
    out = tmp_path / "outcomes.json"
    result = tvae("validate", tmp_path / "bad.parquet", "--schema", tmp_path / "schema.yaml", "--json", out)
    assert result.exit_code == 1
    assert "age" in result.stdout
    assert "987" not in result.stdout + out.read_text()
    failed = [outcome for outcome in json.loads(out.read_text())["outcomes"] if not outcome["passed"]]
    assert [(outcome["column"], outcome["row_numbers"]) for outcome in failed] == [("age", [7])]


def test_a_table_that_breaks_a_declared_constraint_exits_1_and_shows_its_rows(tmp_path: Path) -> None:
    schema = {
        **PEOPLE_SCHEMA,
        "constraints": [{"kind": "range", "column": "income", "minimum": 0, "strict": True}],
    }
    (tmp_path / "schema.yaml").write_text(yaml.safe_dump(schema, sort_keys=False))
    incomes = people().column("income").to_pylist()
    incomes[3] = -77.25
    table = people()
    pq.write_table(table.set_column(2, "income", pa.array(incomes)), tmp_path / "bad.parquet")
    pq.write_table(table, tmp_path / "good.parquet")
    result = tvae("validate", tmp_path / "bad.parquet", "--schema", tmp_path / "schema.yaml")
    assert result.exit_code == 1
    assert "range of 'income'" in result.stdout
    assert "77" not in result.stdout
    assert tvae("validate", tmp_path / "good.parquet", "--schema", tmp_path / "schema.yaml").exit_code == 0


def test_the_same_seed_draws_the_same_file_and_another_seed_another(generator: Path, tmp_path: Path) -> None:
    for name, seed in (("a", "3"), ("b", "3"), ("c", "4")):
        assert (
            tvae("sample", generator, "--rows", "50", "--out", tmp_path / name, "--seed", seed).exit_code == 0
        )
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b
    assert a != c
    assert pq.read_table(tmp_path / "a").schema.equals(people().schema)


def test_scores_are_printed_and_written(generator: Path, tmp_path: Path) -> None:
    real = generator.parent / "people.parquet"
    tvae("sample", generator, "--rows", "400", "--out", tmp_path / "synthetic.parquet")
    result = tvae(
        "score",
        "--real",
        real,
        "--synthetic",
        tmp_path / "synthetic.parquet",
        "--json",
        tmp_path / "scores.json",
        "--html",
        tmp_path / "page.html",
        "--generator",
        generator,
        "--earlier",
        real,
    )
    assert result.exit_code == 0, result.output
    page = (tmp_path / "page.html").read_text()
    assert all(f'id="{part}"' in page for part in ("columns", "pairs", "training", "latent", "drift"))
    written = json.loads((tmp_path / "scores.json").read_text())
    assert 0 < written["figures"]["fidelity.shape"] <= 1
    assert "holdout" in written["reasons"]["privacy.dcr_share"]
    assert "fidelity" in result.stdout.lower()


def test_a_generator_goes_to_s3_and_rows_come_from_there(
    generator: Path, moto: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in moto.environment.items():
        monkeypatch.setenv(key, value)
    address = f"s3://{moto.make_bucket()}/generators/people/v1"
    real = generator.parent / "people.parquet"
    assert tvae("fit", real, "--out", address, "--seed", "1", *SMALL).exit_code == 0
    assert tvae("sample", address, "--rows", "20", "--out", tmp_path / "remote.parquet").exit_code == 0
    assert tvae("sample", generator, "--rows", "20", "--out", tmp_path / "local.parquet").exit_code == 0
    assert (tmp_path / "remote.parquet").read_bytes() == (tmp_path / "local.parquet").read_bytes()
    again = tvae("fit", real, "--out", address, *SMALL)
    assert again.exit_code == 2
    assert "never overwritten" in again.stderr


def test_a_directory_that_holds_something_is_refused_before_anything_is_trained(people_file: Path) -> None:
    result = tvae("fit", people_file, "--out", people_file.parent)
    assert result.exit_code == 2
    assert "is not an empty directory" in result.stderr
    assert "epoch" not in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["fit"],
        ["fit", "x.parquet", "--out", "g", "--preset", "best"],
        ["fit", "x.parquet", "--out", "g", "--compress-dims", "a,b"],
        ["sample", "g", "--rows", "0", "--out", "o"],
        ["score", "--real", "a"],
        ["paint"],
        ["fit", "x.parquet", "--out", "g", "--seed", "-1"],
    ],
)
def test_wrong_use_exits_2(arguments: list[str]) -> None:
    result = tvae(*arguments)
    assert result.exit_code == 2
    assert "Usage" in result.stderr


def test_a_setting_out_of_bounds_is_named(people_file: Path, tmp_path: Path) -> None:
    result = tvae("fit", people_file, "--out", tmp_path / "g", "--epochs", "0")
    assert result.exit_code == 2
    assert "epochs must lie between 1 and" in result.stderr


def write_table(folder: Path, table: pa.Table) -> Path:
    path = folder / "input.parquet"
    pq.write_table(table, path)
    return path


def not_parquet(folder: Path) -> Path:
    path = folder / "input.parquet"
    path.write_text("a,b\n1,2\n")
    return path


def truncated(folder: Path) -> Path:
    path = write_table(folder, people())
    path.write_bytes(path.read_bytes()[:-100])
    return path


def truncated_in_the_middle(folder: Path) -> Path:
    """The footer is whole, the pages before it are not."""
    path = write_table(folder, people())
    content = bytearray(path.read_bytes())
    content[100:2000] = b"\0" * 1900
    path.write_bytes(content)
    return path


def duplicate_names(folder: Path) -> Path:
    arrays = [pa.array(range(60)), pa.array(range(60))]
    return write_table(folder, pa.Table.from_arrays(arrays, names=["a", "a"]))


def infinities(folder: Path) -> Path:
    return write_table(folder, pa.table({"a": [1.0, float("inf")] * 50, "b": [1, 2] * 50}))


def many_categories(folder: Path) -> Path:
    # Every level stands twice: a category, not an identifier.
    return write_table(folder, pa.table({"a": [f"level {i // 2}" for i in range(200_000)]}))


BAD = {
    "no such file": (lambda folder: folder / "none.parquet", "none.parquet"),
    "not Parquet": (not_parquet, "Parquet"),
    "truncated": (truncated, "input.parquet"),
    "damaged pages": (truncated_in_the_middle, "input.parquet"),
    "zero rows": (lambda folder: write_table(folder, people().slice(0, 0)), "rows"),
    "zero columns": (lambda folder: write_table(folder, people().select([])), "column"),
    "one row": (lambda folder: write_table(folder, people().slice(0, 1)), "row"),
    "duplicate names": (duplicate_names, "more than one: a"),
    "nested": (lambda folder: write_table(folder, pa.table({"a": [[1], [2]] * 50})), "'a'"),
    "binary": (lambda folder: write_table(folder, pa.table({"a": [b"x", b"y"] * 50})), "'a'"),
    "half floats": (lambda folder: write_table(folder, pa.table({"a": pa.nulls(9, pa.float16())})), "'a'"),
    "infinities": (infinities, "'a'"),
    "100,000 categories": (many_categories, "'a'"),
    "empty directory": (lambda folder: folder / "empty", "empty"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_exits_2_with_one_message_and_writes_nothing(case: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    make, named = BAD[case]
    path = make(tmp_path)
    result = tvae("fit", path, "--out", tmp_path / "out" / "generator", "--epochs", "1")
    assert result.exit_code == 2, result.output
    message = result.stderr.splitlines()[-1]
    assert message.startswith("tvae: ")
    assert named in message
    assert "Traceback" not in result.stderr
    assert [path.name for path in (tmp_path / "out").rglob("*")] == []


GOOD = {
    "all missing": pa.array([None] * 100, type=pa.float64()),
    "constant": pa.array([5] * 100),
    "all distinct": pa.array([f"name {i}" for i in range(100)]),
    "beyond 2**53": pa.array([2**60 + i % 7 for i in range(100)]),
    "empty strings and missing": pa.array(["", None, "x", ""] * 25),
}


@pytest.mark.parametrize("case", GOOD)
def test_an_unusual_column_is_learned_and_comes_back_with_its_type(case: str, tmp_path: Path) -> None:
    table = pa.table({"odd": GOOD[case], "even": pa.array(np.arange(100) % 3)})
    path = write_table(tmp_path, table)
    assert tvae("fit", path, "--out", tmp_path / "g", *SMALL).exit_code == 0
    result = tvae("sample", tmp_path / "g", "--rows", "80", "--out", tmp_path / "out.parquet")
    assert result.exit_code == 0, result.output
    drawn = pq.read_table(tmp_path / "out.parquet")
    assert drawn.schema.equals(table.schema)
    if case != "all distinct":  # identifiers are made anew
        assert set(drawn.column("odd").to_pylist()) <= set(table.column("odd").to_pylist())


def test_a_table_with_a_missing_or_a_retyped_column_is_named(tmp_path: Path) -> None:
    (tmp_path / "schema.yaml").write_text(yaml.safe_dump(PEOPLE_SCHEMA, sort_keys=False))
    for number, table in enumerate(
        (people().drop_columns(["city"]), people().set_column(4, "city", pa.array([1.5] * 400)))
    ):
        path = write_table(tmp_path, table)
        result = tvae("fit", path, "--out", tmp_path / f"g{number}", "--schema", tmp_path / "schema.yaml")
        assert result.exit_code == 2, result.output
        assert "city" in result.stderr
        assert not (tmp_path / f"g{number}").exists()


@pytest.mark.parametrize("name", ["weights.safetensors", "codecs.json", "settings.json"])
def test_an_altered_generator_is_refused_and_no_file_appears(
    generator: Path, tmp_path: Path, name: str
) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in generator.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    result = tvae("sample", copy, "--rows", "5", "--out", tmp_path / "out.parquet")
    assert result.exit_code == 2
    assert name in result.stderr
    assert not (tmp_path / "out.parquet").exists()


def test_a_generator_of_a_newer_format_is_refused(generator: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in generator.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["format_version"] += 1
    (copy / "manifest.json").write_text(json.dumps(manifest))
    result = tvae("sample", copy, "--rows", "5", "--out", tmp_path / "out.parquet")
    assert result.exit_code == 2
    assert "newer" in result.stderr


def test_what_is_no_generator_is_named(tmp_path: Path) -> None:
    result = tvae("sample", tmp_path, "--rows", "5", "--out", tmp_path / "out.parquet")
    assert result.exit_code == 2
    assert "no generator lies at" in result.stderr


def test_a_full_disk_leaves_no_file_and_says_so(
    generator: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_batch", full)
    result = tvae("sample", generator, "--rows", "5", "--out", tmp_path / "out.parquet")
    assert result.exit_code == 2
    assert "No space left on device" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_sampling_meets_conditions_given_cells_and_balance(generator: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    done = tvae(
        "sample", generator, "--rows", "50", "--out", out, "--where", "smoker=true", "--where", "age=20..40"
    )
    assert done.exit_code == 0, done.output
    drawn = pq.read_table(out).to_pandas()
    assert drawn.smoker.all()
    assert drawn.age.between(20, 40).all()
    known = tmp_path / "known.parquet"
    pq.write_table(pa.table({"age": [30, None, 50]}), known)
    done = tvae("sample", generator, "--given", known, "--out", out)
    assert done.exit_code == 0, done.output
    ages = pq.read_table(out)["age"].to_pylist()
    assert (ages[0], ages[2], len(ages)) == (30, 50, 3)


def test_impossible_conditions_exit_with_2_and_write_nothing(generator: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    for wrong in (
        ["--where", "age=900..999"],
        ["--where", "nowhere=1"],
        ["--where", "age"],
        ["--balance", "age"],
    ):
        done = tvae("sample", generator, "--rows", "5", "--out", out, *wrong)
        assert done.exit_code == 2, done.output
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("condition", "met"),
    [
        ('""', {""}),
        ('"a|b"', {"a|b"}),
        ('"1..2"', {"1..2"}),
        ('"a|b"|""', {"a|b", ""}),
        ('"say ""so"""|plain', {'say "so"', "plain"}),
        ('half"|plain', {'half"', "plain"}),
        ("", {None}),
    ],
)
def test_a_value_in_double_quotes_is_asked_for_as_it_is(
    odd_names: Path, tmp_path: Path, condition: str, met: set[str | None]
) -> None:
    out = tmp_path / "out.parquet"
    done = tvae("sample", odd_names, "--rows", "60", "--out", out, "--where", f"name={condition}")
    assert done.exit_code == 0, done.output
    assert set(pq.read_table(out)["name"].to_pylist()) == met


def test_two_conditions_on_one_column_are_refused_with_what_to_write(generator: Path, tmp_path: Path) -> None:
    twice = ("--where", "age=30..", "--where", "age=..40")
    done = tvae("sample", generator, "--rows", "5", "--out", tmp_path / "out.parquet", *twice)
    assert done.exit_code == 2
    assert "column 'age' has two conditions: write one, such as age=30..40" in done.stderr


def test_imputation_fills_every_missing_cell_and_keeps_the_others(generator: Path, tmp_path: Path) -> None:
    holes = people().to_pandas()
    holes.loc[:9, "age"] = np.nan
    pq.write_table(pa.Table.from_pandas(holes, preserve_index=False), tmp_path / "holes.parquet")
    done = tvae("impute", generator, tmp_path / "holes.parquet", "--out", tmp_path / "filled.parquet")
    assert done.exit_code == 0, done.output
    filled = pq.read_table(tmp_path / "filled.parquet").to_pandas()
    assert filled.age.notna().all()
    assert (filled.age[10:] == holes.age[10:]).all()


def test_steps_and_balance_are_obeyed(generator: Path, tmp_path: Path) -> None:
    chain, once, again = (tmp_path / f"{name}.parquet" for name in ("chain", "once", "again"))
    for out, steps in ((chain, []), (once, ["--steps", "1"]), (again, ["--steps", "1"])):
        done = tvae("sample", generator, "--rows", "300", "--out", out, *steps)
        assert done.exit_code == 0, done.output
    assert once.read_bytes() == again.read_bytes() != chain.read_bytes()
    assert pq.read_schema(once).equals(people().schema)
    even = tmp_path / "even.parquet"
    done = tvae("sample", generator, "--rows", "2000", "--out", even, "--balance", "city", "--steps", "2")
    assert done.exit_code == 0, done.output
    counts = pq.read_table(even).to_pandas().city.value_counts(normalize=True)
    assert counts.tolist() == pytest.approx([1 / len(counts)] * len(counts), abs=0.04)


def test_given_cells_leave_no_room_for_rows_conditions_or_balance(generator: Path, tmp_path: Path) -> None:
    pq.write_table(pa.table({"age": [30]}), tmp_path / "known.parquet")
    arguments = (
        "sample",
        generator,
        "--out",
        tmp_path / "out.parquet",
        "--given",
        tmp_path / "known.parquet",
    )
    for beside in (["--rows", "5"], ["--where", "age=30"], ["--balance", "city"]):
        done = tvae(*arguments, *beside)
        assert done.exit_code == 2
        assert "leave --rows, --where and --balance out" in done.stderr


def test_several_imputations_keep_types_large_integers_and_a_column_named_draw(tmp_path: Path) -> None:
    big = 2**60 + 1
    table = pa.table({"big": [big, None, big + 2, big + 4] * 30, "draw": ["a", "b", None, "a"] * 30})
    pq.write_table(table, tmp_path / "real.parquet")
    done = tvae("fit", tmp_path / "real.parquet", "--out", tmp_path / "g", "--epochs", "2")
    assert done.exit_code == 0, done.output
    out = tmp_path / "filled.parquet"
    done = tvae("impute", tmp_path / "g", tmp_path / "real.parquet", "--out", out, "--draws", "2")
    assert done.exit_code == 0, done.output
    filled = pq.read_table(out)
    assert filled.schema.equals(pa.schema([("draw_", pa.int64()), *table.schema]))
    assert filled["big"].take([0, 2, 120]).to_pylist() == [big, big + 2, big]
    assert [column.null_count for column in filled.columns] == [0, 0, 0]
