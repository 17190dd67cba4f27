"""A folder of datasets: what a file may say, and what is refused with the file's name."""

from pathlib import Path

import pytest

from configs import ConfigError, load_config
from configs.datasets import Dataset, load_datasets
from tests.conftest import ROOT

PLAIN = "name: {name}\ninput: /data/table.parquet\nstore: /data/store\n"


def write(folder: Path, file: str, name: str, more: str = "") -> Path:
    path = folder / file
    path.write_text(PLAIN.format(name=name) + more)
    return path


def test_a_folder_gives_its_datasets_with_their_schedules(tmp_path: Path) -> None:
    write(
        tmp_path,
        "b.yaml",
        "people",
        "schedule: {cron: '0 2 * * *', timezone: Europe/Berlin, active: false}\n",
    )
    write(tmp_path, "a.yaml", "visits", "model: {epochs: 5}\n")
    visits, people = load_datasets(tmp_path)
    assert visits.name == "visits" and visits.schedule is None and visits.model.epochs == 5
    assert people.schedule is not None
    assert (people.schedule.cron, people.schedule.timezone, people.schedule.active) == (
        "0 2 * * *", "Europe/Berlin", False,
    )  # fmt: skip
    assert "schedule" not in people.parameters()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("schedule: {cron: nightly}\n", "schedule.cron"),
        ("schedule: {cron: '0 2 * * *', timezone: Europe/Berlyn}\n", "there is no time zone 'Europe/Berlyn'"),
        ("schedule: {crom: '0 2 * * *'}\n", "did you mean cron?"),
        ("shedule: {cron: '0 2 * * *'}\n", "did you mean schedule?"),
    ],
)
def test_a_wrong_schedule_is_refused_with_file_and_key(tmp_path: Path, more: str, said: str) -> None:
    path = write(tmp_path, "people.yaml", "people", more)
    with pytest.raises(ConfigError) as refused:
        load_datasets(tmp_path)
    assert said in str(refused.value)
    assert str(path) in str(refused.value)


def test_two_files_of_one_name_and_an_empty_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no"):
        load_datasets(tmp_path)
    write(tmp_path, "a.yaml", "people")
    write(tmp_path, "b.yaml", "people")
    with pytest.raises(ConfigError, match=r"b\.yaml: the name people is also that of .*a\.yaml"):
        load_datasets(tmp_path)


def test_the_datasets_that_ship_can_be_read() -> None:
    assert [dataset.name for dataset in load_datasets(ROOT / "configs" / "datasets")] == ["rand-hie"]


def test_a_schedule_is_no_key_of_a_plain_run(tmp_path: Path) -> None:
    path = write(tmp_path, "people.yaml", "people", "schedule: {cron: '0 2 * * *'}\n")
    with pytest.raises(ConfigError, match="schedule: unknown key"):
        load_config(path)
    assert load_config(path, kind=Dataset).schedule is not None
