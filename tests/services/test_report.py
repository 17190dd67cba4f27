"""The report: safe to show, complete, readable without eyes, colour, network or script, and the same every time."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tasks.services.evidence import Drawn, distance_map, gather_evidence, keep_curve
from tasks.services.evidence.columns import overlay
from tasks.services.evidence.disclosure import Rows
from tasks.services.gate import decide
from tasks.services.report import Findings, render_report
from tasks.services.scores import Scores
from tasks.services.steps import Steps
from tests.browser import CHROMIUM, axe_script, browser_page
from tvae_core.metrics import closest_records, tidy
from tvae_core.metrics.frames import entities
from tvae_core.metrics.rules import Rule
from tvae_core.schema import ColumnKind, ColumnSchema, TableSchema
from tvae_core.sources import as_source

SCHEMA = TableSchema(
    columns=(
        ColumnSchema("person", ColumnKind.IDENTIFIER, "string"),
        ColumnSchema("town", ColumnKind.CATEGORICAL, "string"),
        ColumnSchema("wage", ColumnKind.CONTINUOUS, "double"),
        ColumnSchema("visits", ColumnKind.CONTINUOUS, "int64"),
        ColumnSchema("born", ColumnKind.DATETIME, "date32[day]"),
        ColumnSchema('<b>odd & "name"</b>', ColumnKind.BOOLEAN, "bool"),
    ),
    entity="person",
)
WITHHELD = {"levels": 2, "rows": 13, "below": 0, "above": 0, "dropped": False}
CLIPPED = {"levels": 0, "rows": 0, "below": 9, "above": 9, "dropped": False}
PRIVACY = {"protect_k": 10, "suppressed": {"town": WITHHELD, "income": CLIPPED}, "tails": ["income"]}
PLANTED = ("Nowhereville", "Oneshire", "777,123", "777123", "41,317", "41317", "-918", "2091", "1871")


def population(rows: int, seed: int, *, planted: bool = False) -> pa.Table:
    """A table of persons with twelve rows each; planted: values that single persons hold, some of them many times."""
    random = np.random.default_rng(seed)
    town = random.choice(["Aachen", "Basel", "Cork"], rows, p=[0.6, 0.3, 0.1]).astype(object)
    wage = np.round(random.normal(3_000, 400, rows) - 900 * (town == "Basel"), 2)
    visits = random.poisson(3, rows)
    born = random.integers(-5_000, 10_000, rows)
    if planted:
        town[7], wage[11], wage[12] = "Oneshire", 777_123.5, -918.25
        town[36:48], visits[84:96], born[4], born[5] = "Nowhereville", 41_317, 44_200, -36_000
    return pa.table(
        {
            "person": [f"p-{seed}-{i // 12}" for i in range(rows)],
            "town": town,
            "wage": pa.array(wage, mask=random.random(rows) < 0.1),
            "visits": visits,
            "born": pa.array(born.astype("int32"), type=pa.date32()),
            '<b>odd & "name"</b>': town == "Aachen",
        }
    )


@pytest.fixture(scope="module")
def findings() -> Findings:
    """What the stages would hand over, of a table with planted values that the synthetic table repeats."""
    real, synthetic, holdout = (
        population(1200, 0, planted=True),
        population(900, 1, planted=True),
        population(1200, 2),
    )
    frames = {name: tidy(table, SCHEMA) for name, table in (("real", real), ("synthetic", synthetic))}
    scores = Scores()
    drawn = Drawn.of(SCHEMA, frames, entities(real, SCHEMA), 0)
    gather_evidence(Steps(scores, None), scores, drawn, as_source(real), None, 0)
    keep_curve(scores, "synthetic", np.linspace(0, 1, 101) ** 0.5)
    keep_curve(scores, "holdout", np.linspace(0, 1, 101))
    scores.evidence["closest"] = distance_map(
        closest_records(frames["real"], tidy(holdout, SCHEMA), frames["synthetic"])
    )
    scores.details.update(
        rows={"real": 1200, "synthetic": 900, "holdout": 1200}, columns={"town": {"shape": 0.9}}
    )
    scores.record("fidelity.shape", 0.95)
    scores.record("fidelity.shape_holdout", 0.99)
    scores.record("fidelity.shape_shuffled", 0.98)
    scores.record("privacy.dcr_share", 0.55)
    scores.explain("privacy.dcr_share", low=0.52, high=0.58)
    scores.reasons["privacy.<script>"] = "it needs <a> & holdout"
    rules = [
        Rule("fidelity.shape", at_least=0.9, why="columns must look real"),
        Rule("privacy.dcr_share", at_most=0.52, why="rows must not be near"),
    ]
    history = [
        {
            "epoch": e,
            "loss": 9 / e,
            "reconstruction": 8 / e,
            "kl": e / 9,
            "validation_loss": 10 / e,
            "best": e < 4,
        }
        for e in range(1, 6)
    ]
    return Findings(
        "people 1", scores.to_dict(), scores.evidence, decide(scores.figures, rules).to_dict(), history=history,
        facts={"privacy": PRIVACY, "seed": 7},
        constraints=["a <= b"], command="tvae run people.yaml",
    )  # fmt: skip


@pytest.fixture(scope="module")
def page(findings: Findings) -> str:
    return render_report(findings).decode()


class Outline(HTMLParser):
    """Tags with their attributes in order, ids, headings, and the tags that were left open."""

    VOID = frozenset({"meta", "link", "br", "hr", "img", "input"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def evidence_of(findings: Findings, name: str) -> dict[str, Any]:
    column: dict[str, Any] = next(c for c in findings.evidence["columns"] if c["name"] == name)
    return column


def test_no_value_that_single_persons_hold_is_in_the_page_or_its_evidence(
    findings: Findings, page: str
) -> None:
    told = json.dumps(findings.evidence)
    assert [value for value in PLANTED if value in page or value in told] == []
    assert not re.search(r"p-\d+-\d+", page)


def test_the_page_of_a_private_generator_tells_what_is_promised_and_what_is_public(
    findings: Findings,
) -> None:
    account = {
        "epsilon": 2.996, "delta": 1e-5, "unit": "row", "neighbours": "one row added or removed",
        "public": ["column names", "number of rows"],
    }  # fmt: skip
    private = {"protect_k": 10, "suppressed": {}, "differential_privacy": account}
    page = render_report(replace(findings, facts={"privacy": private})).decode()
    assert "epsilon = 3.00 at delta = 1e-05 (one row added or removed)" in page
    assert "whether any one row was in its table" in page
    assert "Taken as public, and so not covered: column names; number of rows." in page
    assert "hold was kept out" not in page
    assert "No value is held by fewer" not in page


def test_what_many_persons_hold_is_there_with_its_shares(findings: Findings, page: str) -> None:
    levels = {entry["level"]: entry for entry in evidence_of(findings, "town")["levels"]}
    assert levels["Basel"]["real"] == pytest.approx(0.3, abs=0.05)
    assert levels["Basel"]["synthetic"] == pytest.approx(0.3, abs=0.05)
    assert "Aachen" in page
    assert "Basel" in page


def test_rare_levels_are_pooled_with_a_frequent_one_until_nobody_can_subtract_them(
    findings: Findings,
) -> None:
    """Two persons hold rare towns: 'the others' would give them away, so the smallest town joins them."""
    town = evidence_of(findings, "town")
    assert [entry["level"] for entry in town["levels"]] == ["Aachen", "Basel"]
    assert town["pooled"]["levels"] == 3


def test_a_bin_counts_persons_and_not_their_rows(findings: Findings) -> None:
    """One person holds 41,317 visits in twelve rows: nothing near it may be a bin or a bar of its own."""
    visits = evidence_of(findings, "visits")
    shown = visits.get("edges", []) or [float(entry["level"]) for entry in visits["levels"]]
    assert max(shown) < 100


def test_the_range_of_a_short_column_ends_where_ten_rows_have_reached_it() -> None:
    """In 60 rows a quantile would show the extremes themselves: 9,876 and -5,432."""
    values = pd.Series([9876.0, -5432.0, *range(100, 158)], dtype=float)
    column = ColumnSchema("x", ColumnKind.CONTINUOUS, "double")
    shown = overlay(column, values, values, Rows())
    assert shown["edges"][0] >= 100
    assert shown["edges"][-1] <= 160
    assert sum(shown["real"]) == pytest.approx(1)
    assert min(shown["real"]) * 60 > 9.9
    few = overlay(column, values, values, Rows(np.repeat([1, 2, 3], 20)))
    assert few["kind"] == "hidden"


def test_the_page_asks_for_nothing_outside_itself_and_runs_no_script(page: str) -> None:
    outline = Outline(page)
    assert outline.open == []
    assert not re.search(r"https?:|//[a-z]|url\(|@import|javascript:", page)
    assert not {name for name, _ in outline.tags} & {"script", "iframe", "img", "object", "embed", "form"}
    assert not [key for _, attributes in outline.tags for key in attributes if key.startswith("on")]
    policy = next(
        a["content"] for a in outline.of("meta") if a.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy
    assert policy.startswith("default-src 'none'")


def test_names_that_look_like_markup_are_shown_and_not_obeyed(page: str) -> None:
    assert "&lt;b&gt;odd &amp; &#34;name&#34;&lt;/b&gt;" in page
    assert "<b>" not in page


def test_landmarks_headings_and_pictures_can_be_read_without_eyes(page: str) -> None:
    outline = Outline(page)
    ids = [attributes["id"] for _, attributes in outline.tags if attributes.get("id")]
    assert len(ids) == len(set(ids))
    for landmark in ("header", "nav", "main", "footer"):
        assert len(outline.of(landmark)) == 1, landmark
    levels = [int(name[1]) for name, _ in outline.tags if re.fullmatch(r"h[1-6]", name)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    pictures = [a for a in outline.of("svg") if a.get("aria-hidden") != "true"]
    assert len(pictures) > 10
    for picture in pictures:
        assert picture["role"] == "img"
        assert set((picture["aria-labelledby"] or "").split()) <= set(ids)
    assert {a["href"] for a in outline.of("a")} <= {f"#{name}" for name in ids}
    assert all(a.get("scope") for a in outline.of("th"))


def test_the_verdict_comes_first_with_what_decided_it(page: str, findings: Findings) -> None:
    assert "<title>Refused: people 1</title>" in page
    assert page.index("Refused</strong>") < page.index('id="columns"')
    assert "1 of 2 rules blocked this release" in page
    passed = render_report(
        Findings("people 1", findings.scores, findings.evidence, {"passed": True, "results": []})
    )
    assert b"<title>Published" in passed
    assert b"<title>Not judged" in render_report(Findings("people 1", findings.scores, findings.evidence))


def test_figures_stand_beside_their_interval_floor_and_ceiling(page: str) -> None:
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))
    assert re.search(r"0\.550 0\.520 to 0\.580", text)
    assert re.search(r"0\.950 0\.980 0\.990", text)
    assert "it needs &lt;a&gt; &amp; holdout" in page
    assert "2 rare categories pooled (13 cells)" in page
    assert "18 extreme values clipped, known by their mean distance alone" in page


def test_an_attack_is_said_to_beat_its_control_only_when_its_whole_interval_does(findings: Findings) -> None:
    risk = {"rate": 0.3, "control": 0.2, "attacks": 500, "controls": 500}
    attacks = {
        "inference": {"town": {**risk, "value": 0.1, "low": 0.02, "high": 0.2}},
        "linkability": {"halves": {**risk, "value": 0.1, "low": -0.01, "high": 0.2}},
    }
    scores = {**findings.scores, "details": {**findings.scores["details"], "attacks": attacks}}
    page = render_report(Findings("people 1", scores, {})).decode()
    assert "Above the control at 95 %: inference: town.</figcaption>" in page
    assert "linkability: halves" in page


def test_the_same_findings_give_the_same_bytes_below_the_bound(findings: Findings, page: str) -> None:
    again = json.loads(json.dumps(findings.evidence))
    other = Findings(**{**vars(findings), "evidence": again})
    assert render_report(other) == page.encode()
    assert len(page) < 5_000_000


def test_a_rule_on_a_figure_that_does_not_apply_is_shown_as_such(findings: Findings) -> None:
    rule = Rule("drift.shape", at_least=0.9, why="nothing may jump")
    why = {"drift.shape": "no earlier release stands to compare with"}
    verdict = decide({}, [rule], {}, why)
    page = render_report(
        Findings("people 1", {**findings.scores, "inapplicable": why}, {}, verdict.to_dict())
    ).decode()
    assert "does not apply" in page
    assert "nothing may jump: no earlier release stands" in page
    assert "0 of 1 rules held, 0 warnings" in page


def test_columns_that_moved_since_the_last_release_stand_in_their_order(findings: Findings) -> None:
    about = {"version": "v<1>", "digest": "d" * 64}
    moved = {"earlier": about, "rows": [9, 9], "columns": {"wage": 0.41, "town": 0.98, "born": None}}
    scores = {**findings.scores, "details": {**findings.scores["details"], "drift": moved}}
    page = render_report(Findings("people 1", scores, {})).decode()
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.split('<section id="drift"')[1]))
    assert "v&lt;1&gt; (digest dddddddddddd )" in text
    assert re.search("wage 0.410 town 0.980 born could not be scored", text)


def test_each_latent_unit_is_a_line_over_the_epochs_that_measured_it(findings: Findings) -> None:
    nats = [[0.5, 0.0, 0.25], [0.75, 0.125, 0.0]]
    history = [
        {**record, "kl_per_unit": units, "active_units": 2}
        for record, units in zip(findings.history, [None, *nats], strict=False)
    ]
    page = render_report(Findings("people 1", findings.scores, {}, history=history)).decode()
    figure = page.split("KL divergence of each latent unit</h3>")[1].split("</figure>")[0]
    assert figure.count('class="unit line"') == 3
    assert "At the end: 2 of 3 units active" in figure
    cells = re.findall("<t[hd][^>]*>([^<]*)</t[hd]>", figure)
    assert cells[4:] == ["2", "2", "0.5000", "0.7500", "3", "2", "0.7500", "0.8750"]
    for few in (history[:2], [{**record, "kl_per_unit": None} for record in history]):
        page = render_report(Findings("people 1", findings.scores, {}, history=few)).decode()
        assert "of each latent unit</h3>" not in page


def test_a_report_without_evidence_still_says_what_was_measured(findings: Findings) -> None:
    scores = {**findings.scores, "details": {"rows": {"real": 1200, "synthetic": 900}}}
    bare = render_report(Findings("people 1", scores, {})).decode()
    assert "Column shapes" in bare
    assert 'id="columns"' not in bare


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed here")
def test_chromium_requests_nothing_else_and_axe_finds_no_violation(page: str, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(page, encoding="utf-8")
    with browser_page(tmp_path / "profile") as tab:
        for scheme, width in (("light", 1280), ("dark", 390)):
            tab.open(path, scheme=scheme, width=width)
            assert tab.evaluate("document.documentElement.scrollWidth") <= width
            assert {url for url in tab.requests if not url.startswith("data:")} == {path.as_uri()}
            script = axe_script()
            if script is None:
                continue
            tab.evaluate(script.read_text(encoding="utf-8") + "; null")
            tab.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
            found = tab.evaluate(
                "axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa']})"
                ".then(r => r.violations.map(v => [v.id, v.nodes[0].html]))"
            )
            assert found == []
    if axe_script() is None:
        pytest.skip("the page requests nothing; axe-core is not at hand to look at it (npm install axe-core)")
