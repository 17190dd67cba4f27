"""The readable form of the scores: figures beside their ideal and their control, then what lies behind them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from tasks.services.markdown import escaped, number, table

WORST_COLUMNS = 60
"""Columns that are listed in the report; the JSON file has them all."""
WORST_PAIRS = 10


@dataclass(frozen=True)
class Meaning:
    """What a figure says, its ideal, and the figure (or text) that serves as its control."""

    text: str
    ideal: str
    control: str = ""


_MEANINGS = {
    "fidelity.shape": Meaning("columns, each on its own", "1", "fidelity.shape_holdout"),
    "fidelity.shape_holdout": Meaning("the same of holdout rows", ""),
    "fidelity.trend": Meaning("pairs of columns", "1", "fidelity.trend_holdout"),
    "fidelity.trend_holdout": Meaning("the same of holdout rows", ""),
    "fidelity.trend_shuffled": Meaning("the same of shuffled columns: the floor", ""),
    "fidelity.three_way": Meaning("three columns at a time", "1", "fidelity.three_way_holdout"),
    "fidelity.three_way_holdout": Meaning("the same of holdout rows", ""),
    "fidelity.three_way_shuffled": Meaning("the same of shuffled columns: the floor", ""),
    "fidelity.rare_levels": Meaning("rare levels that occur", "1", "fidelity.rare_levels_holdout"),
    "fidelity.rare_levels_holdout": Meaning("the same of holdout rows", ""),
    "fidelity.constraints": Meaning("rows that obey the constraint that is broken most", "1"),
    "fidelity.quality": Meaning("mean of shape and trend", "1"),
    "fidelity.diagnostic": Meaning("valid values, same columns and types", "1"),
    "fidelity.c2st": Meaning("trees tell real from synthetic (AUC)", "0.5", "fidelity.c2st_holdout"),
    "fidelity.c2st_holdout": Meaning("trees tell train from holdout (AUC)", "0.5"),
    "fidelity.c2st_shuffled": Meaning("trees tell train from shuffled columns: the floor (AUC)", ""),
    "fidelity.lr": Meaning("a linear model can't tell them apart", "1", "fidelity.lr_holdout"),
    "fidelity.lr_holdout": Meaning("the same of holdout rows", ""),
    "fidelity.lr_shuffled": Meaning("the same of shuffled columns: the floor", ""),
    "privacy.exact_copies": Meaning(
        "synthetic rows that equal a training row", "the control", "privacy.exact_copies_holdout"
    ),
    "privacy.exact_copies_holdout": Meaning("holdout rows that equal a training row", ""),
    "privacy.exact_copies_excess": Meaning("copies beyond the holdout's own", "0 or less"),
    "privacy.dcr_share": Meaning("synthetic rows nearer to train than to holdout", "0.5"),
    "privacy.dcr_median_ratio": Meaning("median distance to train / to holdout", "1"),
    "privacy.near_copies": Meaning("real rows that odd synthetic rows agree with: share of train", "0.5"),
    "privacy.near_copies_low": Meaning("its lower end at 95 %", "0.5 or less"),
    "privacy.nndr": Meaning(
        "closest / second closest training row, lowest twentieth", "the control", "privacy.nndr_holdout"
    ),
    "privacy.nndr_holdout": Meaning("the same of holdout rows", ""),
    "privacy.singling_out": Meaning("people singled out, beyond the holdout's", "0"),
    "privacy.singling_out_low": Meaning("its lower end at 95 %", "0 or less"),
    "privacy.linkability": Meaning("halves of a person's data linked, beyond the holdout's", "0"),
    "privacy.linkability_low": Meaning("its lower end at 95 %", "0 or less"),
    "privacy.inference": Meaning("secrets of people told, beyond the holdout's", "0"),
    "privacy.inference_low": Meaning("its lower end at 95 %", "0 or less"),
    "privacy.rare_combinations": Meaning("values that one person alone combines, beyond the holdout's", "0"),
    "privacy.rare_combinations_low": Meaning("its lower end at 95 %", "0 or less"),
    "privacy.sdmetrics_overfitting": Meaning("sdmetrics: not nearer to train than to the holdout", "1"),
    "privacy.sdmetrics_baseline": Meaning("sdmetrics: as far from train as random rows", "1"),
    "privacy.sdmetrics_disclosure": Meaning("sdmetrics: a secret stays unguessed", "1"),
    "drift.shape": Meaning("columns, each against the release before", "1"),
    "drift.trend": Meaning("pairs of columns, against the release before", "1"),
    "privacy.membership_auc": Meaning("who was in train is told (AUC)", "0.5"),
    "privacy.membership_tpr": Meaning("members found at 1 % false alarms", "0.01"),
}
_UTILITY = {
    "tstr": Meaning("trained on synthetic, tested on real", "the control", "trtr"),
    "trtr": Meaning("trained on real, tested on real", ""),
    "ratio": Meaning("the first / the second", "1"),
}
_MEASURES = {"auc": "AUC", "accuracy": "accuracy", "r2": "R²"}


def meaning_of(name: str) -> Meaning | None:
    """What the figure says, with the full name of its control; None for a figure without a text of its own."""
    stem, _, kind = name.rpartition(".")
    if name in _MEANINGS or not name.startswith("utility."):
        return _MEANINGS.get(name)
    meaning = _UTILITY.get(kind)
    return meaning and replace(meaning, control=meaning.control and f"{stem}.{meaning.control}")


def scores_markdown(
    figures: Mapping[str, float], reasons: Mapping[str, str], details: Mapping[str, Any], title: str
) -> str:
    """Render scores: headline table, columns (worst first), worst pairs, what could not be computed."""
    parts = [f"# {escaped(title)}", _headline(figures, details), _not_computed(reasons)]
    parts += [_columns(details), _pairs(details), _meanings(figures, details), _about(details)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _headline(figures: Mapping[str, float], details: Mapping[str, Any]) -> str:
    if not figures:
        return "No figure could be computed."
    rows = [_headline_row(name, value, figures, details) for name, value in figures.items()]
    return table(["figure", "value", "±", "ideal", "control"], rows)


def _headline_row(
    name: str, value: float, figures: Mapping[str, float], details: Mapping[str, Any]
) -> list[str]:
    about = details.get("figures", {}).get(name, {})
    meaning = meaning_of(name)
    control = figures.get(meaning.control) if meaning is not None else None
    ideal = meaning.ideal if meaning is not None else ""
    return [escaped(name), number(value, 4), _spread(about), ideal, number(control, 4)]


def _meanings(figures: Mapping[str, float], details: Mapping[str, Any]) -> str:
    """What each figure says; below the table, as a page that is not wide cuts a table's last column off."""
    lines = []
    for name in figures:
        if (meaning := meaning_of(name)) is not None:
            measure = details.get("figures", {}).get(name, {}).get("measure")
            by = f" ({_MEASURES.get(measure, measure)})" if measure else ""
            lines.append(f"- **{escaped(name)}** {meaning.text}{by}")
    return "## What the figures say\n\n" + "\n".join(lines) if lines else ""


def _spread(about: Mapping[str, Any]) -> str:
    """Half the width of the 95 % interval, from a standard error or from an interval's ends."""
    if "standard_error" in about:
        return number(1.96 * about["standard_error"], 4)
    if "low" in about and "high" in about:
        return number((about["high"] - about["low"]) / 2, 4)
    return ""


def _not_computed(reasons: Mapping[str, str]) -> str:
    if not reasons:
        return ""
    rows = [[escaped(name), escaped(reason)] for name, reason in reasons.items()]
    return "## Not computed\n\n" + table(["figure", "why"], rows)


def _columns(details: Mapping[str, Any]) -> str:
    columns = details.get("columns", {})
    if not columns:
        return ""
    ordered = sorted(
        columns.items(), key=lambda item: (_score(item[1].get("shape")), _score(item[1].get("validity")))
    )
    rows = [
        [escaped(name), number(body.get("shape")), number(body.get("validity")), body.get("measure", "")]
        for name, body in ordered[:WORST_COLUMNS]
    ]
    more = len(ordered) - len(rows)
    note = f"\n\nand {more} more, all scoring higher" if more > 0 else ""
    return "## Columns, worst first\n\n" + table(["column", "shape", "validity", "measured by"], rows) + note


def _score(score: float | None) -> float:
    """Sort what could not be scored last."""
    return 2.0 if score is None else score


def _pairs(details: Mapping[str, Any]) -> str:
    pairs = details.get("pairs", [])[:WORST_PAIRS]
    if not pairs:
        return ""
    counts = details.get("figures", {}).get("fidelity.trend", {})
    rows = [[*map(escaped, pair["columns"]), number(pair["trend"]), pair["measure"]] for pair in pairs]
    scored = (
        f"{counts['scored']} of {counts['pairs']} pairs are associated strongly enough to count.\n\n"
        if counts
        else ""
    )
    return (
        "## Pairs of columns, worst first\n\n"
        + scored
        + table(["column", "and", "trend", "measured by"], rows)
    )


def _about(details: Mapping[str, Any]) -> str:
    rows, used = details.get("rows", {}), details.get("rows_used", {})
    if not rows:
        return ""
    counted = ", ".join(f"{name} {rows[name]:,} ({used.get(name, 0):,} looked at)" for name in rows)
    return (
        f"Rows: {counted}. Seed {details.get('seed')}. "
        f"sdmetrics {details.get('sdmetrics')}: never compare with another version's scores."
    )
