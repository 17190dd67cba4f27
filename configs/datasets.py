"""Datasets that run by themselves: a folder of run configurations, each with its schedule."""

from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator

from configs.errors import ConfigError
from configs.loading import load_config
from configs.run import RunConfig
from configs.section import Section, described


def _known_timezone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            f"there is no time zone {value!r}: a name such as UTC or Europe/Berlin is expected"
        ) from None
    return value


class Schedule(Section):
    """When a dataset is run."""

    cron: str = described(
        0,
        "Minute, hour, day of month, month, day of week: 0 2 * * * is every night at two.",
        pattern=r"^\S+( +\S+){4}$",
    )
    timezone: Annotated[str, AfterValidator(_known_timezone)] = described(
        1, "The time zone that the times are meant in, such as Europe/Berlin.", default="UTC"
    )
    active: bool = described(
        2, "false: the schedule is there, and nothing starts until it is resumed.", default=True
    )


class Dataset(RunConfig):
    """A run's configuration with its schedule."""

    schedule: Schedule | None = described(
        15, "When it is run; without it, on demand and on new input.", default=None
    )


def load_datasets(folder: Path) -> list[Dataset]:
    """Every ``*.yaml`` of `folder`, sorted by file.

    Raises ConfigError naming the file and what is wrong, and when two files have the same `name`.
    """
    paths = sorted(folder.glob("*.yaml"))
    if not paths:
        raise ConfigError(
            f"{folder} holds no *.yaml: one run configuration a dataset is expected, with its schedule"
        )
    named: dict[str, Path] = {}
    datasets = []
    for path in paths:
        dataset = load_config(path, kind=Dataset)
        if dataset.name in named:
            raise ConfigError(
                f"{path}: the name {dataset.name} is also that of {named[dataset.name]}: choose another"
            )
        named[dataset.name] = path
        datasets.append(dataset)
    return datasets
