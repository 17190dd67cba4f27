"""Releases that were tampered with: every alteration of a file or of the manifest is found."""

import json
from pathlib import Path

import pytest

from tasks.services.publishing import load_release, publish_release, verify_release
from tasks.services.store import Store, StoreError, open_store
from tests.services.test_publishing import key_of, write_files
from tvae_core.errors import FormatError


def test_every_kind_of_alteration_is_found(store: Store, tmp_path: Path) -> None:
    publish_release(
        store, "adult", "1", write_files(tmp_path, {"a": b"aaaa", "b": b"bbbb", "c": b"cccc"}), {}
    )
    store.put_bytes(key_of(store, "a"), b"AAAA")
    store.put_bytes(key_of(store, "b"), b"bbb")
    store.put_bytes(key_of(store, "added"), b"")
    store.delete(key_of(store, "c"))
    assert verify_release(store, "adult", "1") == [
        "a was altered: its sha256 is not the one that was published",
        "b has 3 bytes; 4 were published",
        "c is missing",
        "added was added: it is not in the manifest",
    ]


def test_an_altered_manifest_is_found(store: Store, tmp_path: Path) -> None:
    publish_release(store, "adult", "1", write_files(tmp_path), {})
    manifest = load_release(store, "adult", "1")
    store.put_bytes(key_of(store, "report.md"), b"better")
    manifest["files"][1]["sha256"] = store.checksum(key_of(store, "report.md")).sha256
    store.put_bytes("releases/adult/1/manifest.json", json.dumps(manifest).encode())
    assert verify_release(store, "adult", "1") == [
        "manifest.json was altered: its bytes are not those that were sealed",
        "manifest.json was altered: its digest is not that of the files it lists",
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"directory": "../../runs"},
        {"files": [{"path": "../../../etc/passwd", "sha256": "0", "size": 1}]},
        {"files": 5},
        {"digest": None},
    ],
)
def test_a_manifest_that_points_elsewhere_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    store = open_store(tmp_path / "store")
    publish_release(store, "adult", "1", write_files(tmp_path), {})
    manifest = {**load_release(store, "adult", "1"), **change}
    store.put_bytes("releases/adult/1/manifest.json", json.dumps(manifest).encode())
    with pytest.raises(StoreError, match="damaged"):
        load_release(store, "adult", "1")


def test_a_manifest_of_a_newer_format_asks_for_an_update(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    publish_release(store, "adult", "1", write_files(tmp_path), {})
    manifest = {**load_release(store, "adult", "1"), "format_version": 99}
    store.put_bytes("releases/adult/1/manifest.json", json.dumps(manifest).encode())
    with pytest.raises(FormatError, match=r"99.*update"):
        load_release(store, "adult", "1")
