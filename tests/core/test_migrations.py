"""Generators of older formats: read, migrated in memory, left on disk as they are."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.core.test_hostile_generators import write_sealed
from tvae_core import TVAE, ArtifactError, FormatError, migrations
from tvae_core.artifact import FILES, canonical_json


@pytest.fixture(scope="module")
def current(tmp_path_factory: pytest.TempPathFactory) -> tuple[TVAE, dict[str, bytes]]:
    table = pd.DataFrame({"x": np.arange(200.0) % 7, "level": ["a", "b"] * 100})
    small: dict[str, Any] = {"compress_dims": (8,), "decompress_dims": (8,), "embedding_dim": 2}
    model = TVAE(epochs=1, seed=1, **small).fit(table)
    folder = tmp_path_factory.mktemp("generator") / "g"
    model.save(folder)
    return model, {name: (folder / name).read_bytes() for name in FILES}


def to_format_2(settings: Any, codecs: Any, weights: Any) -> migrations.Contents:
    """From a format that says `random_state` to one that says `seed`."""
    return {**settings, "seed": settings["random_state"]}, codecs, weights


def to_format_3(settings: Any, codecs: Any, weights: Any) -> migrations.Contents:
    """From one that begins every weight's name with `old.`."""
    return settings, codecs, {name.removeprefix("old."): tensor for name, tensor in weights.items()}


@pytest.fixture
def formats(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two formats more than there are, with the migrations that lead to them."""
    monkeypatch.setattr(migrations, "FORMAT_VERSION", 3)
    monkeypatch.setattr("tvae_core.artifact.FORMAT_VERSION", 3)
    monkeypatch.setattr(migrations, "MIGRATIONS", {1: to_format_2, 2: to_format_3})


def old_contents(current: dict[str, bytes]) -> dict[str, bytes]:
    """The same generator as format 1 would have written it."""
    from safetensors.torch import load, save

    settings = json.loads(current["settings.json"])
    settings["random_state"] = settings.pop("seed")
    weights = {f"old.{name}": tensor for name, tensor in load(current["weights.safetensors"]).items()}
    return {**current, "settings.json": canonical_json(settings), "weights.safetensors": save(weights)}


@pytest.mark.usefixtures("formats")
def test_an_old_generator_is_read_through_every_format_since_and_stays_as_it_is(
    current: tuple[TVAE, dict[str, bytes]], tmp_path: Path
) -> None:
    model, contents = current
    write_sealed(tmp_path / "g", old_contents(contents))
    before = {path.name: path.read_bytes() for path in (tmp_path / "g").iterdir()}
    loaded = TVAE.load(tmp_path / "g", device="cpu")
    assert loaded.sample(50).equals(model.sample(50))
    assert {path.name: path.read_bytes() for path in (tmp_path / "g").iterdir()} == before
    loaded.save(tmp_path / "new")
    assert json.loads((tmp_path / "new" / "manifest.json").read_text())["format_version"] == 3


@pytest.mark.usefixtures("formats")
def test_an_old_generator_that_no_migration_understands_is_refused(
    current: tuple[TVAE, dict[str, bytes]], tmp_path: Path
) -> None:
    write_sealed(tmp_path / "g", {**old_contents(current[1]), "settings.json": b"[]"})
    with pytest.raises(ArtifactError, match="of format 1 can't be read as format 2"):
        TVAE.load(tmp_path / "g", device="cpu")


@pytest.mark.parametrize("version", [0, -1, True, "1", 2**70, None])
def test_a_version_that_never_was_is_refused(
    current: tuple[TVAE, dict[str, bytes]], tmp_path: Path, version: object
) -> None:
    write_sealed(tmp_path / "g", current[1])
    path = tmp_path / "g" / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format_version": version}))
    with pytest.raises(FormatError, match="this library reads 1 to"):
        TVAE.load(tmp_path / "g")


def test_every_format_before_today_s_has_a_migration() -> None:
    assert sorted(migrations.MIGRATIONS) == list(range(1, migrations.FORMAT_VERSION))
