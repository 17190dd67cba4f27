"""A gate rule that makes no sense is refused when it is written, not when it is needed."""

import math

import pytest

from tvae_core.errors import SettingsError
from tvae_core.metrics.rules import DEFAULT_RULES, Rule, default_rules


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


def test_the_rules_that_ship_ask_for_utility_only_where_targets_are_named():
    assert default_rules() == DEFAULT_RULES
    added = default_rules(["income", "age"])[len(DEFAULT_RULES) :]
    assert [rule.metric for rule in added] == ["utility.income.ratio", "utility.age.ratio"]
    assert all(rule.why for rule in default_rules(["income"]))
