"""Verifying a release: any altered byte is found, and a signature says whose release it is."""

import hashlib
import json
import random
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from flows.cli import main
from tasks.services.catalogue import read_entry
from tasks.services.gallery import write_gallery
from tasks.services.publishing import load_release
from tasks.services.sealing import (
    KEY_VARIABLE,
    SigningError,
    form,
    open_seal,
    read_public_key,
    seal,
    signing_key,
)
from tasks.services.store import StoreError, open_store, split_uri
from tasks.services.verification import examine_release
from tests.servers import S3Server
from tests.services.packages import publish
from tvae_core.errors import FormatError

TRIALS = 200


def make_key(folder: Path) -> tuple[Path, Path]:
    """A new key pair as openssl writes it."""
    private, public = folder / "key.pem", folder / "key.pub.pem"
    subprocess.run(
        ["openssl", "genpkey", "-algorithm", "ed25519", "-out", private], check=True, capture_output=True
    )
    subprocess.run(
        ["openssl", "pkey", "-in", private, "-pubout", "-out", public], check=True, capture_output=True
    )
    return private, public


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, Path]]:
    """A key pair, with which releases are signed."""
    pair = make_key(tmp_path)
    monkeypatch.setenv(KEY_VARIABLE, str(pair[0]))
    return pair


def problems(release: Path, public: Path | None = None) -> list[str]:
    root, prefix = split_uri(str(release))
    key = read_public_key(public) if public else None
    return examine_release(open_store(root), prefix, key).problems


def tvae(*arguments: str | Path) -> tuple[int, str]:
    done = CliRunner().invoke(main, [str(argument) for argument in arguments])
    return done.exit_code, done.output


def flipped(release: Path, trials: int, seed: int) -> Iterator[tuple[Path, bytes]]:
    """Each file in turn with one random byte changed to another random value; the file is as before afterwards."""
    chance = random.Random(seed)
    paths = sorted(path for path in release.rglob("*") if path.is_file())
    for trial in range(trials):
        path = paths[trial % len(paths)]
        before = path.read_bytes()
        place = chance.randrange(len(before))
        after = bytearray(before)
        after[place] = (before[place] + chance.randrange(1, 256)) % 256
        path.write_bytes(after)
        yield path, bytes(after)
        path.write_bytes(before)


@pytest.mark.parametrize("signed", [False, True])
def test_one_changed_byte_anywhere_is_found(
    tmp_path: Path, signed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if signed:
        monkeypatch.setenv(KEY_VARIABLE, str(make_key(tmp_path)[0]))
    release = publish(tmp_path / "store")
    assert problems(release) == []
    assert [path for path, _ in flipped(release, TRIALS, seed=3) if not problems(release)] == []
    assert problems(release) == []


@pytest.mark.parametrize("signed", [False, True])
def test_every_single_byte_of_the_manifest_counts(
    tmp_path: Path, signed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if signed:
        monkeypatch.setenv(KEY_VARIABLE, str(make_key(tmp_path)[0]))
    content = (publish(tmp_path / "store") / "manifest.json").read_bytes()
    assert open_seal(content, "manifest.json").problems == ()
    for place in range(len(content) - 700 if signed else 0, len(content)):
        for other in {content[place] ^ 32, 32} - {content[place]}:  # the other case or a control, a space
            altered = content[:place] + bytes([other]) + content[place + 1 :]
            assert open_seal(altered, "manifest.json").problems, place
    for spaced in (
        content + b"\n",
        content.replace(b"{", b"{ ", 1),
        json.dumps(json.loads(content)).encode(),
    ):
        assert open_seal(spaced, "manifest.json").problems


def test_missing_added_and_renamed_files_are_found(tmp_path: Path) -> None:
    release = publish(tmp_path)
    (files,) = release.glob("files-*")
    (files / "report.md").rename(files / "report.txt")
    (release / "note.txt").write_text("look")
    assert problems(release) == [
        "report.md is missing",
        "report.txt was added: it is not in the manifest",
        "note.txt was added: it is not in the manifest",
    ]


def test_a_manifest_that_miscounts_or_misnames_is_found_though_it_is_sealed(tmp_path: Path) -> None:
    release = publish(tmp_path)
    document = load_release(open_store(tmp_path), "people", "v1")
    del document["seal"], document["signature"]
    next(entry for entry in document["files"] if entry["path"].endswith("0.parquet"))["rows"] = 201
    document["columns"][0]["name"] = "persons"
    (release / "manifest.json").write_bytes(seal(document))
    assert problems(release) == [
        "data/part-00000.parquet holds 200 rows; the manifest says 201",
        "data/part-00000.parquet has other columns or types than the manifest says",
        "data/part-00001.parquet has other columns or types than the manifest says",
        "the parts hold 301 rows; the manifest says 300",
    ]


def test_a_copy_of_a_release_anywhere_is_verified_with_the_signer_s_key(
    tmp_path: Path, keys: tuple[Path, Path]
) -> None:
    copy = tmp_path / "downloads" / "theirs"
    shutil.copytree(publish(tmp_path / "store"), copy)
    code, said = tvae("verify", copy, "--public-key", keys[1])
    assert code == 0, said
    assert "13 files, 300 synthetic rows" in said
    assert "signed by the given key" in said
    assert "every byte is as it was published" in said


def test_a_forged_manifest_is_not_the_signer_s(tmp_path: Path, keys: tuple[Path, Path]) -> None:
    release = publish(tmp_path / "store")
    document = load_release(open_store(tmp_path / "store"), "people", "v1")
    signature = document.pop("signature")
    del document["seal"]
    document["figures"]["privacy.dcr_share"] = 0.5
    signed = {**document, "signature": signature}
    (release / "manifest.json").write_bytes(
        form({**signed, "seal": hashlib.sha256(form(signed)).hexdigest()})
    )
    assert problems(release) == ["the signature of manifest.json is not valid for its content"]
    (release / "manifest.json").write_bytes(seal(document))  # unsigned
    assert problems(release) == []
    assert problems(release, keys[1]) == [
        "manifest.json is not signed: a signature by the given key was expected"
    ]


def test_a_release_signed_by_somebody_else_is_not_taken_for_the_given_key_s(
    tmp_path: Path, keys: tuple[Path, Path]
) -> None:
    release = publish(tmp_path / "store")
    (tmp_path / "other").mkdir()
    other = make_key(tmp_path / "other")[1]
    assert problems(release) == []
    assert "another key" in problems(release, other)[0]


def test_the_signature_can_be_checked_without_this_project(tmp_path: Path, keys: tuple[Path, Path]) -> None:
    manifest = json.loads((publish(tmp_path / "store") / "manifest.json").read_bytes())
    signature = manifest.pop("signature")
    del manifest["seal"]
    (tmp_path / "signed").write_text(json.dumps(manifest, indent=2, ensure_ascii=False))
    (tmp_path / "value").write_bytes(bytes.fromhex(signature["value"]))
    done = subprocess.run(
        ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", keys[1], "-rawin", "-in", tmp_path / "signed", "-sigfile",
         tmp_path / "value"], capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_the_key_is_read_from_the_environment_as_path_or_as_pem_and_never_shown(
    tmp_path: Path, keys: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert signing_key() is not None
    monkeypatch.setenv(KEY_VARIABLE, keys[0].read_text())
    assert signing_key() is not None
    monkeypatch.delenv(KEY_VARIABLE)
    assert signing_key() is None
    for wrong in ("/none", keys[0].read_text().replace("M", "N"), keys[1].read_text(), rsa(tmp_path)):
        monkeypatch.setenv(KEY_VARIABLE, wrong)
        with pytest.raises(SigningError, match=KEY_VARIABLE) as caught:
            signing_key()
        assert "BEGIN" not in str(caught.value)
        assert "/none" not in str(caught.value)


def rsa(folder: Path) -> str:
    path = folder / "rsa.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "RSA", "-out", path], check=True, capture_output=True)
    return path.read_text()


def test_the_command_exits_0_when_good_1_when_something_is_wrong_and_2_when_nothing_is_there(
    tmp_path: Path,
) -> None:
    release = publish(tmp_path)
    assert tvae("verify", release)[0] == 0
    code, said = tvae("verify", release.as_uri() + "/manifest.json", "--json")
    found = json.loads(said)
    assert (code, found["name"], found["rows"], found["signed_by"], found["problems"]) == (
        0,
        "people",
        300,
        None,
        [],
    )
    (next(release.glob("files-*")) / "report.md").write_text("better")
    code, said = tvae("verify", release)
    assert code == 1
    assert "WRONG  report.md has 6 bytes; 9 were published" in said
    assert tvae("verify", tmp_path / "none")[0] == 2
    assert tvae("verify", release, "--public-key", tmp_path / "none.pem")[0] == 2
    (release / "manifest.json").write_bytes(b"\xff\x00")
    assert tvae("verify", release)[0] == 1


def test_a_release_in_an_object_store_is_verified_by_its_address(
    moto: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in moto.environment.items():
        monkeypatch.setenv(key, value)
    store = f"s3://{moto.make_bucket()}/out"
    publish(store)
    assert tvae("verify", f"{store}/releases/people/v1")[0] == 0
    opened = open_store(store)
    directory = load_release(opened, "people", "v1")["directory"]
    part = f"releases/people/v1/{directory}/data/part-00001.parquet"
    content = opened.get_bytes(part)
    opened.put_bytes(part, content[:50] + bytes([content[50] ^ 1]) + content[51:])
    code, said = tvae("verify", f"{store}/releases/people/v1")
    assert code == 1
    assert "data/part-00001.parquet was altered" in said


OTHERS: tuple[Any, ...] = (
    None, True, 7, -1.5, float("inf"), "", "x", "\ud800", "a\x00b", [], ["x"], {}, {"a": {"b": 1}}
)  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value in a JSON document, the document's own first."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in inner:
        yield from places(below, (*path, key))


def replaced(document: Any, path: tuple[Any, ...], other: Any) -> Any:
    """The document with `other` at `path`."""
    if not path:
        return other
    copy = document.copy()
    copy[path[0]] = replaced(document[path[0]], path[1:], other)
    return copy


@pytest.mark.parametrize(("name", "tries"), [("manifest.json", 1), ("retired.json", 8)])
def test_a_value_of_any_other_type_is_a_problem_and_never_a_crash(
    tmp_path: Path, name: str, tries: int
) -> None:
    """Every value of the document in turn; as it is found, and sealed anew by somebody who knows how."""
    release = publish(tmp_path)
    assert tvae("releases", tmp_path, "people", "--retire", "v1", "--reason", "old")[0] == 0
    path = release / name
    before = path.read_bytes()
    document = json.loads(before)
    chance = random.Random(5)
    for place in places(document):
        for other in chance.sample(OTHERS, tries):
            altered = replaced(document, place, other)
            if altered == document:
                continue
            path.write_text(json.dumps(altered))
            # 2: a number where the format's stands may be a newer format
            assert tvae("verify", release)[0] in (1, 2), (place, other)
            with suppress(StoreError, FormatError):
                entry = read_entry(open_store(tmp_path), "releases", "people", "v1")
                write_gallery([entry], [], tmp_path / "page.html", "a store")
            if place and place[0] not in ("seal", "signature") and isinstance(altered, dict):
                sealed = {key: value for key, value in altered.items() if key not in ("seal", "signature")}
                with suppress(ValueError):  # what JSON in UTF-8 can't hold can't be sealed
                    path.write_bytes(seal(sealed))
                    assert tvae("verify", release)[0] in (0, 1, 2), (place, other)
    path.write_bytes(before)
    assert problems(release) == []


@pytest.mark.parametrize("content", [b"", b"[" * 100_000, b'{"a": NaN}', b"\xff", b'{"files": 1e999}'])
def test_a_manifest_that_is_no_document_at_all_is_a_problem(tmp_path: Path, content: bytes) -> None:
    release = publish(tmp_path)
    (release / "manifest.json").write_bytes(content)
    assert problems(release)


def test_a_manifest_of_a_newer_format_asks_for_an_update(tmp_path: Path) -> None:
    release = publish(tmp_path)
    document = load_release(open_store(tmp_path), "people", "v1")
    (release / "manifest.json").write_bytes(
        seal(
            {key: value for key, value in document.items() if key not in ("seal", "signature")}
            | {"format_version": 99}
        )
    )
    with pytest.raises(FormatError, match=r"99.*update"):
        problems(release)
