"""Addresses and keys: what opens which store, what is refused, and round trips of any key."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
