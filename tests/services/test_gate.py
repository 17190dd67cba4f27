"""The gate lets a release through only when every critical rule is shown to hold."""

import json
import math

import pytest

from tasks.services.gate import Rule, decide

FIGURES = {"fidelity.shape": 0.95, "utility.a.ratio": 0.9, "utility.b.ratio": 0.5, "privacy.dcr_share": 0.52}


def outcome(rule: Rule, figures=FIGURES, reasons=None) -> tuple[bool, list[bool]]:
    verdict = decide(figures, [rule], reasons)
    return verdict.passed, [result.passed for result in verdict.results]


@pytest.mark.parametrize(
    ("bounds", "passed"),
    [
        ({"at_least": 0.95}, True),
        ({"at_least": 0.9501}, False),
        ({"at_most": 0.95}, True),
        ({"at_most": 0.9499}, False),
        ({"at_least": 0.9, "at_most": 1.0}, True),
        ({"at_least": 0.96, "at_most": 1.0}, False),
        ({"at_least": 0.0, "at_most": 0.9}, False),
    ],
)
def test_bounds_are_inclusive(bounds, passed):
    assert outcome(Rule("fidelity.shape", **bounds)) == (passed, [passed])


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf])
def test_an_absent_or_meaningless_figure_fails_its_rule(value):
    figures = {} if value is None else {"fidelity.shape": value}
    assert outcome(Rule("fidelity.shape", at_least=-1e9), figures) == (False, [False])
    assert outcome(Rule("fidelity.shape", at_most=1e9), figures) == (False, [False])


def test_the_reason_for_an_absent_figure_is_shown():
    verdict = decide(
        {}, [Rule("privacy.dcr_share", at_most=0.6)], {"privacy.dcr_share": "no holdout was given"}
    )
    assert verdict.results[0].reason == "no holdout was given"
    assert "no holdout was given" in verdict.to_markdown()


def test_a_warning_that_fails_does_not_block():
    rule = Rule("fidelity.shape", at_least=0.99, severity="warning")
    verdict = decide(FIGURES, [rule, Rule("privacy.dcr_share", at_most=0.6)])
    assert verdict.passed
    assert [result.metric for result in verdict.warnings] == ["fidelity.shape"]
    assert verdict.failures == ()


def test_a_pattern_applies_to_every_figure_that_matches():
    assert outcome(Rule("utility.*.ratio", at_least=0.4)) == (True, [True, True])
    assert outcome(Rule("utility.*.ratio", at_least=0.8)) == (False, [True, False])


def test_a_pattern_that_matches_nothing_fails():
    assert outcome(Rule("utility.*.ratio", at_least=0.4), {"fidelity.shape": 1.0}) == (False, [False])


def test_a_pattern_covers_figures_that_could_not_be_computed():
    reasons = {"utility.c.ratio": "its target has a single value"}
    assert outcome(Rule("utility.*.ratio", at_least=0.4), reasons=reasons) == (False, [True, True, False])


def test_a_figure_with_nothing_to_compute_for_passes_and_says_so():
    exempt = {"drift.shape": "no earlier release stands to compare with"}
    verdict = decide(FIGURES, [Rule("drift.*", at_least=0.9), Rule("drift.trend", at_least=0.9)], {}, exempt)
    assert [(r.metric, r.passed, r.value) for r in verdict.results] == [
        ("drift.shape", True, None),
        ("drift.trend", False, None),  # what nobody exempted fails closed
    ]
    line = next(line for line in verdict.to_markdown().splitlines() if line.startswith("| drift.shape"))
    assert [cell.strip() for cell in line.split("|")[2:-1]] == ["-", ">= 0.9", "does not apply"]


def test_only_the_star_is_special_in_a_pattern():
    figures = {"utility.a[0].ratio": 1.0, "utilityXa.ratio": 1.0}
    assert outcome(Rule("utility.a[0].ratio", at_least=0.9), figures) == (True, [True])
    assert outcome(Rule("utility.?.ratio", at_least=0.9), figures) == (False, [False])
    assert outcome(Rule("utility.*", at_least=0.9), figures) == (True, [True])


def test_a_figure_whose_own_name_holds_a_star_is_found_by_it():
    figures = {"utility.a*b.ratio": 0.9, "utility.axb.ratio": 0.1}
    assert outcome(Rule("utility.a*b.ratio", at_least=0.5), figures) == (True, [True])


def test_without_rules_everything_passes_and_the_report_says_that_none_were_given():
    verdict = decide(FIGURES, [])
    assert verdict.passed
    assert "No rules" in verdict.to_markdown()


def test_the_report_puts_what_blocks_first_and_gives_figure_bound_and_why():
    rules = [
        Rule("fidelity.shape", at_least=0.9, why="margins"),
        Rule("privacy.dcr_share", at_most=0.51, severity="warning", why="nearness"),
        Rule("utility.b.ratio", at_least=0.8, why="usefulness | of rows"),
    ]
    lines = decide(FIGURES, rules).to_markdown("Release 1").splitlines()
    assert lines[0] == "# Release 1: not passed"
    rows = [
        [cell.strip() for cell in line.replace("\\|", "/").split("|")[1:-1]]
        for line in lines
        if line.startswith("|")
    ]
    assert rows[2] == ["utility.b.ratio", "0.5000", ">= 0.8", "FAILED"]
    assert rows[3] == ["privacy.dcr\\_share", "0.5200", "<= 0.51", "warning"]
    assert rows[4] == ["fidelity.shape", "0.9500", ">= 0.9", "passed"]
    assert [line for line in lines if line.startswith("- ")] == [
        "- **utility.b.ratio** FAILED, 0.5 is below 0.8: usefulness \\| of rows",
        "- **privacy.dcr\\_share** warning, 0.52 is above 0.51: nearness",
        "- **fidelity.shape** margins",
    ]


def test_a_verdict_is_plain_json_even_with_figures_that_are_not_numbers():
    verdict = decide({"a": math.nan, "b": 1.0}, [Rule("a", at_least=0.0), Rule("b", at_least=0.5)])
    plain = json.loads(json.dumps(verdict.to_dict(), allow_nan=False))
    assert plain["passed"] is False
    assert [result["value"] for result in plain["results"]] == [None, 1.0]
    assert plain["results"][1]["rule"]["at_least"] == 0.5
