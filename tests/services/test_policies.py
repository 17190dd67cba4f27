"""Policies: what ships, what a dataset changes of it, and what an unknown name or key is told."""

import itertools
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from configs import ConfigError, RunConfig, build_config, load_config, shipped_policy
from configs.gate import SHIPPED
from tasks.services.gate import apply_policy
from tasks.services.planning import resolve_policy
from tvae_core.metrics.rules import Rule

SHAPE = {"metric": "fidelity.shape", "at_least": 0.1}


def config(**sections: Any) -> RunConfig:
    return build_config({"name": "people", "input": "/in.parquet", "store": "/store", **sections}, "run.yaml")


def rules(**sections: Any) -> dict[str, Rule]:
    return {rule.metric: rule for rule in resolve_policy(config(**sections)).rules}


def test_a_configuration_that_names_neither_policy_nor_rules_gets_the_internal_policy() -> None:
    assert resolve_policy(config()) == shipped_policy("internal").for_targets([])
    assert "utility.smoker.ratio" in rules(score={"targets": ["smoker"]})


def test_rules_without_a_policy_are_the_whole_gate_and_an_empty_list_asks_nothing() -> None:
    assert list(rules(gate={"rules": [SHAPE]})) == ["fidelity.shape"]
    assert rules(gate={"rules": []}) == {}


def test_rules_beside_a_policy_take_the_place_of_its_rules_for_the_same_metric() -> None:
    policy, changed = rules(gate={"policy": "partner"}), rules(gate={"policy": "partner", "rules": [SHAPE]})
    assert set(changed) == set(policy)
    assert changed.pop("fidelity.shape").at_least == 0.1
    assert changed.items() <= policy.items()


def test_each_shipped_policy_is_at_least_as_strict_as_the_one_before_and_gives_its_reasons() -> None:
    for looser, stricter in itertools.pairwise(SHIPPED):
        before = {rule.metric: rule for rule in shipped_policy(looser).rules}
        after = {rule.metric: rule for rule in shipped_policy(stricter).rules}
        assert set(before) <= set(after)
        for metric, rule in before.items():
            other = after[metric]
            assert rule.at_least is None or (
                other.at_least is not None and other.at_least >= rule.at_least
            ), metric
            assert rule.at_most is None or (other.at_most is not None and other.at_most <= rule.at_most), (
                metric
            )
            assert rule.severity == "warning" or other.severity == "critical", metric
    for name in SHIPPED:
        policy = shipped_policy(name)
        assert policy.name == name
        assert policy.description
        assert all(rule.why for rule in policy.rules)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_policy_lets_nothing_through_of_which_nothing_was_computed(name: str) -> None:
    verdict = apply_policy({}, shipped_policy(name).for_targets(["smoker"]), {})
    assert not verdict.passed
    assert not any(result.passed for result in verdict.results)
    assert verdict.to_dict()["policy"] == name
    assert f"Policy: {name}" in verdict.to_markdown()


def test_an_unknown_policy_is_refused_with_those_that_ship() -> None:
    with pytest.raises(
        ConfigError, match=r"gate\.policy: there is no policy 'partners'.*internal, partner, public"
    ):
        config(gate={"policy": "partners"})


def test_a_policy_of_one_s_own_is_read_from_its_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ours.yaml").write_text(yaml.safe_dump({"name": "ours", "rules": [SHAPE]}))
    (tmp_path / "run.yaml").write_text(
        yaml.safe_dump({"name": "a", "input": "a", "store": "s", "gate": {"policy": "./ours.yaml"}})
    )
    monkeypatch.chdir(tmp_path)
    policy = resolve_policy(load_config("run.yaml"))
    assert (policy.name, [rule.metric for rule in policy.rules]) == ("ours", ["fidelity.shape"])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"name": "o", "rules": [{**SHAPE, "serverity": "warning"}]}, "rules.0.serverity: unknown key; did you mean"),
        ({"name": "ours", "rule": []}, "rule: unknown key; did you mean rules? Allowed here: name, description"),
        ({"rules": []}, "name: missing"),
        ({"name": "ours", "rules": [{"metric": "a"}]}, "neither is given"),
        ([SHAPE], "expected the keys name, description and rules"),
    ],
)  # fmt: skip
def test_a_policy_file_that_says_something_unknown_is_refused_with_file_and_key(
    tmp_path: Path, content: Any, said: str
) -> None:
    path = tmp_path / "ours.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigError, match=re.escape(said)) as caught:
        resolve_policy(config(gate={"policy": str(path)}))
    assert str(path) in str(caught.value)
