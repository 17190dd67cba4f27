"""A person's decision: asked once, taken once, and nothing is published before."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from flows.cli import main
from tasks.services.approval import (
    ApprovalError,
    decide,
    find_approval,
    list_approvals,
    request_approval,
)
from tasks.services.package import publish_package
from tasks.services.publishing import list_versions, load_release, verify_release
from tasks.services.store import NotFoundError, StoreError, open_store
from tests.services.packages import assemble

NOW = datetime(2031, 5, 4, 12, tzinfo=UTC)


def tvae(*arguments: str | Path) -> tuple[int, str]:
    done = CliRunner().invoke(main, [str(argument) for argument in arguments])
    return done.exit_code, done.output


def staged(folder: Path) -> list[str]:
    return [key for key in open_store(folder).list("runs/") if "/package-" in key]


def test_a_release_waits_until_it_is_approved_and_then_its_very_bytes_are_published(tmp_path: Path) -> None:
    asked = request_approval(assemble(tmp_path), 24)
    store = open_store(tmp_path)
    assert (asked.status, asked.number) == ("waiting", 1)
    assert list_versions(store, "releases", "people") == []
    code, said = tvae("approve", tmp_path, "people", "v1", "--by", "Ada", "--reason", "the figures hold")
    assert code == 0, said
    assert "published: " in said
    approval = load_release(store, "people", "v1")["approval"]
    assert (approval["decision"], approval["by"], approval["reason"]) == (
        "approved",
        "Ada",
        "the figures hold",
    )
    assert approval["package_sha256"] == asked.package.sha256
    assert approval["requested"] < approval["decided"]
    assert verify_release(store, "people", "v1") == []
    assert staged(tmp_path) == []


def test_a_refused_release_is_never_published_and_what_was_staged_is_removed(tmp_path: Path) -> None:
    request_approval(assemble(tmp_path), 24)
    code, said = tvae("approve", tmp_path, "people", "v1", "--by", "Ada", "--reason", "too near", "--refuse")
    assert code == 0, said
    assert staged(tmp_path) == []
    code, said = tvae("approve", tmp_path, "people", "v1", "--by", "Bob", "--reason", "but I like it")
    assert code == 2
    assert "refused" in said
    assert "Ada (too near)" in said
    assert request_approval(assemble(tmp_path), 24).status == "refused"
    assert list_versions(open_store(tmp_path), "releases", "people") == []


def test_what_nobody_decided_in_time_has_expired_and_is_asked_anew(tmp_path: Path) -> None:
    package = assemble(tmp_path)
    store = open_store(tmp_path)
    request_approval(package, 2, NOW)
    before, after = NOW + timedelta(hours=1.99), NOW + timedelta(hours=2)
    found = find_approval(store, "people", "v1", before)
    assert found is not None
    assert found.waits
    with pytest.raises(ApprovalError, match=r"expired on 2031-05-04T14:00 by tvae-pipeline"):
        decide(store, "people", "v1", approve=True, by="Ada", reason="late", moment=after)
    record = json.loads(store.get_bytes("approvals/people/v1/decision-0001.json"))
    assert (record["decision"], record["by"]) == ("expired", "tvae-pipeline")
    again = request_approval(package, 2, after)
    assert (again.number, again.status) == (2, "waiting")
    decided = decide(store, "people", "v1", approve=True, by="Ada", reason="in time", moment=after)
    assert publish_package(decided.package, decided.about).version == "v1"


def test_the_same_question_is_asked_once_and_another_package_takes_its_place(tmp_path: Path) -> None:
    package = assemble(tmp_path)
    first = request_approval(package, 24)
    assert request_approval(package, 24) == first
    second = request_approval(
        assemble(tmp_path, terms={"licence": "CC0", "intended_use": None, "contact": None}), 24
    )
    assert (second.number, second.status) == (2, "waiting")
    record = json.loads(open_store(tmp_path).get_bytes("approvals/people/v1/decision-0001.json"))
    assert (record["decision"], record["reason"]) == ("expired", "another package took its place")


def test_the_first_decision_stands_and_the_same_one_again_finishes_what_a_crash_left(tmp_path: Path) -> None:
    request_approval(assemble(tmp_path), 24)
    store = open_store(tmp_path)
    first = decide(
        store, "people", "v1", approve=True, by="Ada", reason="good"
    )  # and then the machine stopped
    assert list_versions(store, "releases", "people") == []
    assert decide(store, "people", "v1", approve=True, by="Bob", reason="good too") == first
    with pytest.raises(ApprovalError, match=r"approved on .* by Ada"):
        decide(store, "people", "v1", approve=False, by="Bob", reason="no")
    assert tvae("approve", tmp_path, "people", "v1", "--by", "Bob", "--reason", "again")[0] == 0
    assert load_release(store, "people", "v1")["approval"]["by"] == "Ada"
    assert request_approval(assemble(tmp_path), 24).status == "settled"


def test_a_package_that_was_altered_while_it_waited_is_not_published(tmp_path: Path) -> None:
    asked = request_approval(assemble(tmp_path), 24)
    listing = Path(asked.package.uri.removeprefix("file://"))
    listing.write_text(listing.read_text().replace("CC-BY-4.0", "CC-BY-4.1"))
    code, said = tvae("approve", tmp_path, "people", "v1", "--by", "Ada", "--reason", "good")
    assert code == 2
    assert "altered" in said
    assert list_versions(open_store(tmp_path), "releases", "people") == []


def test_a_decision_that_was_edited_is_refused(tmp_path: Path) -> None:
    request_approval(assemble(tmp_path), 24)
    store = open_store(tmp_path)
    decide(store, "people", "v1", approve=False, by="Ada", reason="no")
    key = "approvals/people/v1/decision-0001.json"
    store.put_bytes(key, store.get_bytes(key).replace(b"refused", b"approved"))
    with pytest.raises(StoreError, match="altered"):
        find_approval(store, "people", "v1")


def test_a_decision_needs_a_question_a_name_and_a_reason(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no request"):
        decide(open_store(tmp_path), "people", "v1", approve=True, by="Ada", reason="good")
    request_approval(assemble(tmp_path), 24)
    assert tvae("approve", tmp_path, "people", "v1", "--by", "Ada")[0] == 2
    assert tvae("approve", tmp_path, "people", "v1", "--reason", "good")[0] == 2


def test_what_was_asked_is_listed_and_a_waiting_package_is_not_swept(tmp_path: Path) -> None:
    import os

    assert tvae("approve", tmp_path)[1] == "nothing was asked\n"
    request_approval(assemble(tmp_path, "v1"), 24)
    request_approval(assemble(tmp_path, "v2"), 24)
    decide(open_store(tmp_path), "people", "v2", approve=False, by="Ada", reason="no")
    listed = json.loads(tvae("approve", tmp_path, "people", "--json")[1])
    assert [(entry["version"], entry["status"]) for entry in listed] == [("v1", "waiting"), ("v2", "refused")]
    assert "people v1: waiting until" in tvae("approve", tmp_path)[1]
    for path in tmp_path.rglob("package-*/**/*"):
        os.utime(path, (1, 1))
    assert json.loads(tvae("releases", tmp_path, "--sweep", "1", "--json")[1])["removed"] == []
    decide(open_store(tmp_path), "people", "v1", approve=True, by="Ada", reason="yes")
    assert len(list_approvals(open_store(tmp_path))) == 2
