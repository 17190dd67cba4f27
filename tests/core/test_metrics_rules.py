"""A gate rule that makes no sense is refused when it is written, not when it is needed."""

import math

import pytest

from tvae_core.errors import SettingsError
from tvae_core.metrics.rules import Policy, Rule


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"metric": " ", "at_least": 1.0}, "figure's name"),
        ({"metric": "fidelity.shape"}, "neither is given"),
        ({"metric": "fidelity.shape", "at_least": math.nan}, "finite number as at_least"),
        ({"metric": "fidelity.shape", "at_most": math.inf}, "finite number as at_most"),
        ({"metric": "fidelity.shape", "at_most": "0.9"}, "finite number as at_most"),
        ({"metric": "fidelity.shape", "at_least": True}, "finite number as at_least"),
        ({"metric": "fidelity.shape", "at_least": 0.9, "at_most": 0.8}, "at_least <= at_most"),
        ({"metric": "fidelity.shape", "at_least": 0.9, "severity": "fatal"}, "critical or warning"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(settings, message):
    with pytest.raises(SettingsError, match=message):
        Rule(**settings)


def test_bounds_are_spelled_out():
    assert Rule("x", at_least=0.9).bounds == ">= 0.9"
    assert Rule("x", at_least=0.4, at_most=0.6).bounds == ">= 0.4 and <= 0.6"


def test_a_rule_on_the_target_is_spelled_out_for_each_and_yields_to_one_that_names_its_column():
    general = Rule("utility.{target}.ratio", at_least=0.8, why="w")
    policy = Policy("p", (Rule("fidelity.shape", at_least=0.9), general))
    assert policy.for_targets([]).rules == policy.rules[:1]
    metrics = ["fidelity.shape", "utility.income.ratio", "utility.age.ratio"]
    assert [rule.metric for rule in policy.for_targets(["income", "age"]).rules] == metrics
    strict = policy.override([Rule("utility.age.ratio", at_least=0.95)]).for_targets(["income", "age"])
    assert {rule.metric: rule.at_least for rule in strict.rules} == {
        "fidelity.shape": 0.9,
        "utility.income.ratio": 0.8,
        "utility.age.ratio": 0.95,
    }


def test_an_override_takes_the_place_of_every_rule_on_its_metric_and_others_are_added():
    policy = Policy(
        "p", (Rule("a", at_most=0.6), Rule("a", at_most=0.5, severity="warning"), Rule("b", at_least=1))
    )
    changed = policy.override([Rule("a", at_most=0.7), Rule("c", at_least=0)])
    assert [(rule.metric, rule.at_most) for rule in changed.rules] == [("b", None), ("a", 0.7), ("c", None)]
    assert changed.name == "p"


def test_a_policy_without_a_name_is_refused():
    with pytest.raises(SettingsError, match="expected a name"):
        Policy(" ", ())
