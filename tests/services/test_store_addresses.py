"""Addresses and keys: what opens which store, what is refused, and round trips of any key."""

import hashlib
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from configs import RunConfig
from tasks.services.generators import keep_generator
from tasks.services.store import StoreError, open_store, split_uri, validate_key

segments = st.text(
    st.characters(exclude_characters="/\\", exclude_categories=("Cs", "Cc")), min_size=1, max_size=20
).filter(lambda text: text not in (".", "..") and not text.startswith(".tvae-tmp"))
keys = st.lists(segments, min_size=1, max_size=4).map("/".join)


def test_a_local_path_and_its_file_address_open_the_same_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "a b%20#c"
    monkeypatch.chdir(tmp_path)
    assert open_store(directory).uri == directory.as_uri()
    assert open_store(directory.as_uri()).uri == directory.as_uri()
    assert open_store("a b%20#c").uri == directory.as_uri()
    assert not directory.exists()


def test_an_s3_address_opens_a_bucket_and_prefix_without_contacting_it() -> None:
    assert open_store("s3://bucket").uri == "s3://bucket"
    assert open_store("s3://bucket/a/b/").uri == "s3://bucket/a/b"
    assert open_store("s3://bucket/a/b").uri_of("c/d") == "s3://bucket/a/b/c/d"


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("s3://bucket/p/q.parquet", ("s3://bucket", "p/q.parquet")),
        ("s3://bucket/p/q/", ("s3://bucket", "p/q")),
        ("/data/adult.parquet", ("file:///data", "adult.parquet")),
        ("file:///data/a%20b/c.parquet", ("file:///data/a%20b", "c.parquet")),
    ],
)
def test_an_address_is_taken_apart_into_store_and_key(uri: str, expected: tuple[str, str]) -> None:
    assert split_uri(uri) == expected


@pytest.mark.parametrize(
    "uri", ["gs://bucket/key", "https://host/key", "", "s3://", "s3:///key", "file://host/key"]
)
def test_an_address_of_another_kind_is_refused_with_what_was_expected(uri: str) -> None:
    with pytest.raises(StoreError, match=r"expected|three slashes"):
        open_store(uri)


def test_credentials_in_an_address_are_refused_and_not_repeated() -> None:
    with pytest.raises(StoreError) as caught:
        open_store("s3://AKIAEXAMPLE:topsecret@bucket/key")
    assert "topsecret" not in str(caught.value)
    assert "AKIAEXAMPLE" not in str(caught.value)


@pytest.mark.parametrize("uri", ["s3://bucket", "s3://bucket/../other", "/"])
def test_an_address_without_a_usable_key_is_refused(uri: str) -> None:
    with pytest.raises(StoreError):
        split_uri(uri)


@settings(deadline=None, max_examples=60)
@given(keys, st.binary(max_size=100))
def test_any_usable_key_comes_back_from_listing_and_from_its_address(key: str, data: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        store = open_store(directory)
        put = store.put_bytes(key, data, if_absent=True)
        assert list(store.list()) == [key]
        root, name = split_uri(put.uri)
        assert open_store(root).get_bytes(name) == data
        store.delete(key)
        assert list(Path(directory).iterdir()) == []


@settings(deadline=None)
@given(st.text(alphabet="a/.\\\x00b", max_size=8))
def test_a_key_that_is_taken_never_leaves_the_store(key: str) -> None:
    try:
        validate_key(key)
    except StoreError:
        return
    root = Path("/root/of/store")
    assert (root / key).resolve().is_relative_to(root)
    assert (root / key).resolve() != root


# Every spelling of "one up" that has worked against somebody: plain, absolute, encoded, doubly encoded, with
# backslashes, with NUL, with letters that look or normalise like dots and slashes.
TRAVERSALS = [
    "..", "../x", "x/../../y", "/etc/passwd", "//host/share", "./x", "x/./y", "x//y", "x/", "..\\x", "x\\..\\y",
    "C:\\x", "x\0", "x\0/../y", "\n", "x\x7f", ".tvae-tmp-x", "a/.tvae-tmp-x/b",
]  # fmt: skip
HARMLESS_SPELLINGS = [
    "%2e%2e/x",
    "%2e%2e%2fx",
    "%252e%252e",
    "..%2f..%2fx",
    "\uff0e\uff0e/x",
    "\u2024\u2024/x",
    "x\uff0fy",
    "~/x",
    "$HOME/x",
]


@pytest.mark.parametrize("key", TRAVERSALS)
def test_a_key_that_leads_elsewhere_is_refused_by_every_operation_of_either_store(
    key: str, tmp_path: Path
) -> None:
    for store in (open_store(tmp_path / "store"), open_store("s3://bucket/prefix")):
        for operation in (
            lambda store=store: store.put_bytes(key, b"x"),
            lambda store=store: store.put_file(key, Path(__file__), if_absent=True),
            lambda store=store: store.get_bytes(key),
            lambda store=store: store.get_file(key, tmp_path / "fetched"),
            lambda store=store: store.checksum(key),
            lambda store=store: store.size(key),
            lambda store=store: store.exists(key),
            lambda store=store: store.delete(key),
            lambda store=store: store.uri_of(key),
        ):
            with pytest.raises(StoreError, match="can't be used"):
                operation()
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize("key", HARMLESS_SPELLINGS)
def test_what_only_looks_like_one_up_is_a_name_inside_the_store(key: str, tmp_path: Path) -> None:
    store = open_store(tmp_path / "deep" / "store")
    put = store.put_bytes(key, b"x")
    (written,) = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert written.is_relative_to(tmp_path / "deep" / "store")
    root, name = split_uri(put.uri)
    assert open_store(root).get_bytes(name) == b"x"


@pytest.mark.parametrize("uri", ["file:///a%00b", "/a\0b", "file:///data/%00"])
def test_an_address_with_a_nul_is_refused(uri: str) -> None:
    with pytest.raises(StoreError, match="NUL"):
        open_store(uri)


@pytest.mark.parametrize(
    "uri", ["s3://bucket/%2e%2e/x", "s3://bucket/a/../../b", "s3://../x", "s3://bucket/a\\..\\b"]
)
def test_an_s3_address_never_leaves_its_bucket(uri: str) -> None:
    try:
        root, key = split_uri(uri)
    except StoreError:
        return
    assert root == "s3://bucket"
    assert ".." not in key.split("/")


@pytest.mark.parametrize(
    "bad", ["..", "../x", "a/b", "a\\b", "a%2fb", "a\0", ".a", "a\n", "s3://b", "\uff41", ""]
)
def test_a_dataset_s_name_and_a_version_are_plain_names(bad: str) -> None:
    plain = {"name": "a", "input": "/in", "store": "/out"}
    for altered in ({**plain, "name": bad}, {**plain, "release": {"version": bad}}):
        with pytest.raises(ValidationError):
            RunConfig.model_validate(altered)
    RunConfig.model_validate(plain)


def test_a_generator_s_name_that_leads_elsewhere_writes_nothing(tmp_path: Path) -> None:
    """The training's deployment takes a name and a version from whoever may start it."""
    generator = tmp_path / "generator"
    generator.mkdir()
    (generator / "weights").write_bytes(b"w")
    listed = {"weights": {"sha256": hashlib.sha256(b"w").hexdigest(), "size": 1}}
    (generator / "manifest.json").write_text(json.dumps({"files": listed, "digest": "0"}))
    store = open_store(tmp_path / "deep" / "store")
    for name, version in (("..", "x"), ("../../..", "x"), ("a", "../../../../x"), ("/a", "x"), ("a", "\0")):
        with pytest.raises(StoreError):
            keep_generator(store, name, version, generator)
    assert not (tmp_path / "deep").exists()
