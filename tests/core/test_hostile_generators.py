"""A generator from somebody else: whatever its files hold, loading it runs nothing, ends soon, takes no absurd memory.

The files are altered at random and their digests made anew, so that what is behind the digests is met too.
"""

import contextlib
import copy
import hashlib
import json
import resource
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.processes import in_child
from tvae_core import TVAE, ArtifactError
from tvae_core.artifact import FILES, canonical_json, digest_of

HOSTILE: list[Any] = [
    None, True, -1, 0, 10**6, 10**9, 10**18, 10**400, 0.5, -1e308, "", "x", "..", "\x00", "__import__('os')", [], {},
    [10**9], [[]], {"x": 1}, [None] * 3, {"__class__": "os.system"},
]  # fmt: skip
FEW = settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A good generator's files."""
    random = np.random.default_rng(0)
    table = pd.DataFrame(
        {"x": random.normal(0, 1, 300), "n": random.poisson(3, 300), "level": random.choice(["a", "b"], 300)}
    )
    small = {"compress_dims": (8,), "decompress_dims": (8,), "embedding_dim": 2}
    folder = tmp_path_factory.mktemp("generator") / "g"
    TVAE(epochs=1, seed=1, **small).fit(table).save(folder)
    return {name: (folder / name).read_bytes() for name in FILES}


def write_sealed(folder: Path, contents: dict[str, bytes]) -> None:
    """The files with digests that fit them, as somebody who means harm would write them."""
    folder.mkdir(exist_ok=True)
    listed = {n: {"sha256": hashlib.sha256(b).hexdigest(), "size": len(b)} for n, b in contents.items()}
    manifest = {
        "format_version": 1, "kind": "tvae-generator", "library_version": "1",
        "digest": digest_of(listed), "files": listed,
    }  # fmt: skip
    for name, data in {**contents, "manifest.json": json.dumps(manifest).encode()}.items():
        (folder / name).write_bytes(data)


def load_or_refuse(folder: Path) -> None:
    with contextlib.suppress(ArtifactError):
        TVAE.load(folder, device="cpu")


def leaves(tree: Any, path: tuple = ()) -> list[tuple]:
    if isinstance(tree, dict | list) and tree:
        entries = tree.items() if isinstance(tree, dict) else enumerate(tree)
        return [path, *(place for key, value in entries for place in leaves(value, (*path, key)))]
    return [path]


def replaced(tree: Any, path: tuple, value: Any) -> Any:
    if not path:
        return value
    tree = copy.copy(tree)
    tree[path[0]] = replaced(tree[path[0]], path[1:], value)
    return tree


def limited(work: Callable[[], None]) -> int:
    """Run `work` in a child with 60 s of processor time and 1 GiB beyond what it has; 0 when it ended well."""

    def run() -> None:
        signal.signal(signal.SIGXCPU, signal.SIG_DFL)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30),) * 2)
        resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
        work()

    return in_child(run)


def test_sealed_anew_and_unaltered_the_files_are_a_generator(
    contents: dict[str, bytes], tmp_path: Path
) -> None:
    write_sealed(tmp_path / "g", contents)
    assert len(TVAE.load(tmp_path / "g", device="cpu").sample(5)) == 5


@pytest.mark.parametrize("name", ["settings.json", "codecs.json"])
def test_any_value_in_place_of_any_other_is_a_generator_or_a_clear_refusal(
    contents: dict[str, bytes], tmp_path: Path, name: str
) -> None:
    tree = json.loads(contents[name])

    @FEW
    @given(st.sampled_from(leaves(tree)), st.sampled_from(HOSTILE))
    def alter(place: tuple, value: Any) -> None:
        altered = canonical_json(replaced(tree, place, value))
        write_sealed(tmp_path / "g", {**contents, name: altered})
        load_or_refuse(tmp_path / "g")

    assert limited(alter) == 0


@pytest.mark.parametrize("name", FILES)
def test_flipped_bytes_are_a_generator_or_a_clear_refusal(
    contents: dict[str, bytes], tmp_path: Path, name: str
) -> None:
    @FEW
    @given(st.data())
    def flip(data: st.DataObject) -> None:
        altered = bytearray(contents[name])
        for _ in range(data.draw(st.integers(1, 4))):
            altered[data.draw(st.integers(0, len(altered) - 1))] = data.draw(st.integers(0, 255))
        cut = data.draw(st.integers(0, 3)) == 0
        write_sealed(
            tmp_path / "g", {**contents, name: bytes(altered[: len(altered) // 2] if cut else altered)}
        )
        load_or_refuse(tmp_path / "g")

    assert limited(flip) == 0


@pytest.mark.parametrize("sizes", [{"embedding_dim": 10**9}, {"compress_dims": [10**6, 10**6]}])
def test_settings_that_ask_for_terabytes_are_refused_before_they_are_taken(
    contents: dict[str, bytes], tmp_path: Path, sizes: dict[str, Any]
) -> None:
    tree = json.loads(contents["settings.json"])
    tree["settings"] |= sizes
    write_sealed(tmp_path / "g", {**contents, "settings.json": canonical_json(tree)})

    def load() -> None:
        with pytest.raises(ArtifactError):
            TVAE.load(tmp_path / "g", device="cpu")

    assert limited(load) == 0


@pytest.mark.parametrize(
    "manifest",
    [
        b'{"a":' * 100_000,  # deeper than Python's stack
        b"[" * 100_000,
        b'{"kind": "tvae-generator", "format_version": ' + b"9" * 5_000 + b"}",
        b"\xff\xfe\x00",
        b'{"kind": "tvae-generator", "format_version": 1, "digest": [], "files": {"../../x": {}}}',
    ],
)
def test_a_manifest_made_to_break_the_reader_is_refused(tmp_path: Path, manifest: bytes) -> None:
    (tmp_path / "manifest.json").write_bytes(manifest)
    with pytest.raises(ArtifactError):
        TVAE.load(tmp_path)


def test_weights_that_are_a_pickle_are_refused_and_not_run(
    contents: dict[str, bytes], tmp_path: Path
) -> None:
    trap = tmp_path / "trap"
    # What pickle.loads would run: posix.system("touch TRAP").
    pickled = f"cposix\nsystem\n(S'touch {trap}'\ntR.".encode()
    for name in FILES:
        write_sealed(tmp_path / "g", {**contents, name: pickled})
        with pytest.raises(ArtifactError):
            TVAE.load(tmp_path / "g", device="cpu")
    assert not trap.exists()


def test_a_file_that_is_a_device_or_a_link_elsewhere_is_not_taken_for_weights(
    contents: dict[str, bytes], tmp_path: Path
) -> None:
    write_sealed(tmp_path / "g", contents)
    (tmp_path / "g" / "weights.safetensors").unlink()
    (tmp_path / "g" / "weights.safetensors").symlink_to("/dev/zero")

    def load() -> None:
        with pytest.raises(ArtifactError):
            TVAE.load(tmp_path / "g", device="cpu")

    assert limited(load) == 0
