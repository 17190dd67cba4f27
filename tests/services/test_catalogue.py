"""What a store holds and lets go of, as `tvae releases` and `tvae generators` show and do it."""

import json
import os
import re
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from flows.cli import main
from tasks.services.approval import decide, request_approval
from tasks.services.generators import find_generator, reference_generator
from tasks.services.package import publish_package
from tasks.services.publishing import save_directory, verify_release
from tasks.services.store import AlreadyExistsError, open_store
from tests.services.packages import assemble, ingredients, publish
from tvae_core.errors import ArtifactError


def tvae(*arguments: str | Path) -> tuple[int, str]:
    done = CliRunner().invoke(main, [str(argument) for argument in arguments])
    return done.exit_code, done.output


def releases(store: Path, *options: str) -> Any:
    code, said = tvae("releases", store, *options, "--json")
    assert code == 0, said
    return json.loads(said)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Three releases, of which the second scored better and states another licence."""
    publish(tmp_path, "v1")
    scores = {"figures": {"fidelity.shape": 0.99, "privacy.dcr_share": 0.51}, "reasons": {}, "details": {}}
    files, made = ingredients(tmp_path)
    better = files.write_json("scores-2.json", scores)
    publish(
        tmp_path,
        "v2",
        documents={**made.documents, "scores.json": better},
        terms={**made.terms, "licence": "CC0"},
    )
    publish(tmp_path, "v3")
    return tmp_path


def test_releases_are_listed_from_the_oldest_with_rows_verdict_and_digest(store: Path) -> None:
    listed = releases(store)
    assert [entry["version"] for entry in listed] == ["v1", "v2", "v3"]
    first = listed[0]
    assert (first["name"], first["rows"], first["retired"]) == ("people", 300, None)
    assert (first["gate"]["policy"], first["gate"]["passed"]) == ("internal", False)
    assert "fidelity.diagnostic" in first["gate"]["missed"]
    assert first["size"] > 1000
    assert releases(store, "nobody") == []
    lines = tvae("releases", store, "people")[1].splitlines()
    assert [line.split()[1] for line in lines] == ["v1", "v2", "v3"]
    assert "internal: not passed" in lines[0]


def test_a_release_is_shown_with_all_that_its_manifest_says(store: Path) -> None:
    shown = json.loads(tvae("releases", store, "people", "--show", "v2")[1])
    assert shown["terms"]["licence"] == "CC0"
    assert shown["retired"] is None
    assert tvae("releases", store, "people", "--show", "v9")[0] == 2
    assert tvae("releases", store, "--show", "v2")[0] == 2


def test_two_releases_are_compared_figure_by_figure_and_fact_by_fact(store: Path) -> None:
    found = releases(store, "people", "--compare", "v1", "v2")
    assert found["figures"]["fidelity.shape"] == [0.97, 0.99, 0.02]
    assert found["figures"]["fidelity.trend"] == [0.93, None, None]
    assert found["facts"]["terms.licence"] == ["CC-BY-4.0", "CC0"]
    assert "lineage.input.digest" in found["same"]
    assert "fidelity.shape" in tvae("releases", store, "people", "--compare", "v1", "v2")[1]


def test_a_retired_release_leaves_a_tombstone_and_its_name_is_never_given_again(store: Path) -> None:
    code, said = tvae(
        "releases", store, "people", "--retire", "v1", "--reason", "the consent ended", "--by", "Ada"
    )
    assert code == 0, said
    retired = releases(store)[0]["retired"]
    assert (retired["reason"], retired["by"], retired["swept"]) == ("the consent ended", "Ada", False)
    assert retired["retired"][:2] == "20"
    code, said = tvae("verify", store / "releases/people/v1")
    assert code == 0
    assert "the consent ended" in said
    assert "the consent ended" in tvae("releases", store)[1]
    with pytest.raises(AlreadyExistsError, match="retired"):
        publish_package(assemble(store, "v1"))
    assert tvae("releases", store, "people", "--retire", "v1", "--reason", "again")[0] == 2


def test_retiring_needs_a_reason(store: Path) -> None:
    assert tvae("releases", store, "people", "--retire", "v1")[0] == 2
    assert releases(store)[0]["retired"] is None


def test_the_data_of_a_retired_release_is_removed_on_request_and_its_manifest_stays(store: Path) -> None:
    tvae("releases", store, "people", "--retire", "v1", "--reason", "old", "--by", "Ada")
    tvae("releases", store, "people", "--retire", "v1", "--reason", "space", "--remove-data")
    left = {path.name for path in (store / "releases/people/v1").rglob("*") if path.is_file()}
    assert left == {"manifest.json", "retired.json"}
    assert releases(store)[0]["retired"]["reason"] == "old"
    assert verify_release(open_store(store), "people", "v1") == []


def test_an_altered_tombstone_is_found(store: Path) -> None:
    tvae("releases", store, "people", "--retire", "v1", "--reason", "old")
    path = store / "releases/people/v1/retired.json"
    path.write_text(path.read_text().replace("old", "odd"))
    assert verify_release(open_store(store), "people", "v1") == [
        "retired.json was altered: its bytes are not those that were sealed"
    ]


def test_all_but_the_last_are_retired_only_when_told_so(store: Path) -> None:
    said = tvae("releases", store, "--keep", "1")[1]
    assert said.splitlines() == [
        "would be retired: releases/people/v1", "would be retired: releases/people/v2",
        "nothing was changed: --yes does it",
    ]  # fmt: skip
    assert [entry["retired"] for entry in releases(store)] == [None, None, None]
    assert releases(store, "--keep", "1", "--yes") == {
        "retired": ["releases/people/v1", "releases/people/v2"], "acted": True
    }  # fmt: skip
    assert [entry["retired"] is None for entry in releases(store)] == [False, False, True]
    assert not list((store / "releases/people/v1").glob("files-*/data/*"))
    assert tvae("releases", store, "--keep", "1")[1] == "there is nothing to do\n"


def test_what_crashes_left_is_swept_when_it_is_old_enough(store: Path) -> None:
    old = ["releases/people/v4/files-0123456789ab/data/part-00000.parquet", "releases/people/v1/files-0123456789ab/x",
           "runs/people/k/package-v9/data/part-00000.parquet"]  # fmt: skip
    young = "releases/people/v5/files-0123456789ab/data/part-00000.parquet"
    opened = open_store(store)
    for key in [*old, young]:
        opened.put_bytes(key, b"left")
    for key in old:
        os.utime(store / key, (time.time() - 7200, time.time() - 7200))
    expected = sorted(["releases/people/v4/files-0123456789ab", "releases/people/v1/files-0123456789ab",
                       "runs/people/k/package-v9"])  # fmt: skip
    assert releases(store, "--sweep", "1") == {"removed": expected, "acted": False}
    assert opened.exists(old[0])
    assert releases(store, "--sweep", "1", "--yes")["removed"] == expected
    assert not any(opened.exists(key) for key in old)
    assert opened.exists(young)
    assert verify_release(opened, "people", "v1") == []
    assert opened.exists("runs/people/k/scores.json")


def generator(folder: Path, version: str) -> None:
    """A stored directory with the manifest that a generator has."""
    import hashlib

    path = folder / "made" / version
    path.mkdir(parents=True)
    (path / "weights.safetensors").write_bytes(version.encode())
    listed = {
        "weights.safetensors": {"sha256": hashlib.sha256(version.encode()).hexdigest(), "size": len(version)}
    }
    manifest = {"digest": version * 32, "files": listed, "library_version": "0.1.0"}
    (path / "manifest.json").write_text(json.dumps(manifest))
    save_directory(open_store(folder / "store"), f"generators/people/{version}", path)


def test_generators_are_listed_and_retired_and_a_retired_one_is_not_used(tmp_path: Path) -> None:
    generator(tmp_path, "g1")
    generator(tmp_path, "g2")
    store = tmp_path / "store"
    open_store(store).put_bytes("generators/people/g3/weights.safetensors", b"a crash left it")
    listed = json.loads(tvae("generators", store, "--json")[1])
    assert [(entry["version"], entry["rows"], entry["size"]) for entry in listed] == [
        ("g1", None, 2),
        ("g2", None, 2),
    ]
    assert tvae("generators", store, "people", "--retire", "g1", "--reason", "it copied")[0] == 0
    with pytest.raises(ArtifactError, match="it copied"):
        reference_generator(open_store(store).uri_of("generators/people/g1"))
    with pytest.raises(ArtifactError, match="it copied"):
        find_generator(open_store(store), "people", "g1")
    assert find_generator(open_store(store), "people", "g2") is not None
    os.utime(store / "generators/people/g3/weights.safetensors", (1, 1))
    assert json.loads(tvae("generators", store, "--sweep", "1", "--json")[1])["removed"] == [
        "generators/people/g3"
    ]


class Page(HTMLParser):
    """Tags, and addresses that a browser would fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.fetched: list[str | None] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.fetched += [value for name, value in attrs if name in ("src", "href", "srcset", "data")]


def test_the_gallery_shows_what_waits_and_what_was_refused_and_not_what_was_published(store: Path) -> None:
    asked = {version: request_approval(assemble(store, version), 24) for version in ("v4", "v5", "v6")}
    decide(open_store(store), "people", "v5", approve=False, by="Ada", reason="too <near>")
    approved = decide(open_store(store), "people", "v6", approve=True, by="Ada", reason="the figures hold")
    publish_package(approved.package, approved.about)
    out = store / "index.html"
    code, said = tvae("releases", store, "--html", out)
    assert code == 0, said
    assert "4 releases, 2 not published" in said
    waiting, published = re.sub(r"\s+", " ", out.read_text()).split("<h3>Published</h3>")
    until = asked["v4"].request["expires"][:16].replace("T", " ")
    assert f"<strong>waiting</strong> until {until} UTC" in waiting
    assert "refused on" in waiting
    assert "by Ada: too &lt;near&gt;" in waiting
    assert [version for version in ("v1", "v4", "v5", "v6") if f">{version}<" in waiting] == ["v4", "v5"]
    assert [version for version in ("v1", "v4", "v5", "v6") if f">{version}<" in published] == ["v1", "v6"]
    assert "✗ not passed" in waiting


def test_the_gallery_of_a_store_where_everything_waits_has_no_empty_table(tmp_path: Path) -> None:
    request_approval(assemble(tmp_path), 24)
    assert tvae("releases", tmp_path, "--html", tmp_path / "index.html")[0] == 0
    text = (tmp_path / "index.html").read_text()
    assert "waiting" in text
    assert "<h3>Published</h3>" not in text


def test_the_gallery_shows_every_release_with_its_verdict_and_the_trends_and_fetches_nothing(
    store: Path,
) -> None:
    tvae("releases", store, "people", "--retire", "v1", "--reason", "<b>old</b>")
    out = store / "pages" / "index.html"
    code, said = tvae("releases", store, "--html", out)
    assert code == 0, said
    text = out.read_text()
    page = Page(text)
    assert page.fetched == []
    assert "script" not in page.tags
    assert "@import" not in text
    assert "url(" not in text
    for word in (
        "v1",
        "v2",
        "v3",
        "not passed",
        "internal",
        "0.9900",
        "fidelity.shape over 3 release(s): from 0.9700",
    ):
        assert word in text, word
    assert "&lt;b&gt;old" in text
    assert text.index(">v3<") < text.index(">v1<")
    assert page.tags.count("svg") == 3  # shape, trend, nearness: no release has a classifier's figure
    line = text.split('points="')[1].split('"')[0]
    heights = [float(point.split(",")[1]) for point in line.split()]
    assert heights[0] == heights[2] > heights[1]  # the second scored better: its point is higher up
