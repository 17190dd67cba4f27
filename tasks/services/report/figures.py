"""Figures as people read them: a name, what it says, its value with interval, and what it is to be compared with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.services.score_report import meaning_of
from tvae_core.metrics.uncertainty import Z_95

_TITLES = {
    "fidelity.shape": "Column shapes",
    "fidelity.trend": "Pair trends",
    "fidelity.quality": "Quality",
    "fidelity.diagnostic": "Validity",
    "fidelity.three_way": "Triples of columns",
    "fidelity.c2st": "Detection by boosted trees",
    "fidelity.lr": "Detection by a linear model",
    "drift.shape": "Columns since the last release",
    "drift.trend": "Pairs since the last release",
    "privacy.exact_copies": "Exact copies of training rows",
    "privacy.exact_copies_holdout": "Exact copies in the holdout (control)",
    "privacy.exact_copies_excess": "Exact copies beyond chance",
    "privacy.membership_auc": "Membership inference",
    "privacy.membership_tpr": "Members found at 1 % false alarms",
    "privacy.nndr": "Nearest-neighbour distance ratio",
    "privacy.inference": "Attribute inference",
    "privacy.dcr_share": "Rows nearer to train than to holdout",
    "privacy.dcr_median_ratio": "Median distance, train to holdout",
}
_KINDS = {"tstr": "trained on synthetic rows", "trtr": "trained on real rows", "ratio": "synthetic / real"}
_ACRONYMS = {
    "auc": "AUC",
    "dcr": "DCR",
    "nndr": "NNDR",
    "c2st": "C2ST",
    "tpr": "TPR",
    "fpr": "FPR",
    "mia": "MIA",
    "k": "k",
}
_SUFFIXES = {"_low": "lower end", "_holdout": "control"}
GROUPS = {"fidelity": "Fidelity", "utility": "Utility", "privacy": "Privacy", "drift": "Drift"}


@dataclass(frozen=True)
class Figure:
    """One figure with everything that gives it a meaning.

    Attributes:
        name: dotted name in the scores.
        title: in plain words.
        text: what it says.
        value: the number; None where it could not be computed.
        low: lower end of its 95 % interval, or None.
        high: upper end.
        ideal: the best it can be, in words.
        marks: what to compare it with: ``ceiling`` (an equally large real table), ``floor`` (columns shuffled
            independently), ``control``.
        reason: why there is no value.
    """

    name: str
    title: str
    text: str
    value: float | None
    low: float | None
    high: float | None
    ideal: str
    marks: dict[str, float]
    reason: str = ""

    @property
    def group(self) -> str:
        """The first part of the name."""
        return self.name.partition(".")[0]


def read_figures(scores: Mapping[str, Any]) -> dict[str, Figure]:
    """Every figure of the scores, and those that could not be computed, in their order."""
    figures, reasons, details = scores["figures"], scores["reasons"], scores["details"].get("figures", {})
    names = [name for name in figures if not _is_mark(name, figures)]
    names += [name for name in reasons if name not in figures]
    return {name: _figure(name, figures, reasons, details.get(name, {})) for name in names}


def _marks(name: str) -> dict[str, str]:
    """The figures to compare a figure with, where there are such: fidelity has a ceiling and a floor."""
    if name.startswith("fidelity."):
        return {"ceiling": f"{name}_holdout", "floor": f"{name}_shuffled"}
    return {"ceiling": f"{name}_ceiling", "floor": f"{name}_floor", "control": f"{name}_control"}


def _is_mark(name: str, figures: Mapping[str, float]) -> bool:
    """Whether the figure is another's ceiling or floor, and so shown beside it."""
    stem, _, _ = name.rpartition("_")
    return stem in figures and name in _marks(stem).values()


def _figure(
    name: str, figures: Mapping[str, float], reasons: Mapping[str, str], about: Mapping[str, Any]
) -> Figure:
    value, meaning = figures.get(name), meaning_of(name)
    low, high = _interval(value, about)
    marks = {}
    for mark, other in _marks(name).items():
        found = about.get(mark, figures.get(other))
        if (
            mark == "control" and "rate" in about
        ):  # an attack's control is to be compared with its rate, not its gain
            continue
        if isinstance(found, int | float):
            marks[mark] = float(found)
    if meaning is not None and meaning.control in figures and meaning.control not in _marks(name).values():
        marks.setdefault("control", figures[meaning.control])
    text = meaning.text if meaning is not None else ""
    if "measure" in about:
        text += f" ({_ACRONYMS.get(str(about['measure']), str(about['measure']))})"
    ideal = meaning.ideal if meaning is not None else ""
    return Figure(name, title_of(name), text, value, low, high, ideal, marks, reasons.get(name, ""))


def _interval(value: float | None, about: Mapping[str, Any]) -> tuple[float | None, float | None]:
    if "low" in about and "high" in about:
        return about["low"], about["high"]
    if value is not None and "standard_error" in about:
        return value - Z_95 * about["standard_error"], value + Z_95 * about["standard_error"]
    return None, None


def title_of(name: str) -> str:
    """A figure's name in plain words.

    >>> title_of("privacy.singling_out_risk"), title_of("utility.income.ratio")
    ('Singling out risk', 'Predicting income: synthetic / real')
    """
    if name in _TITLES:
        return _TITLES[name]
    group, _, rest = name.partition(".")
    stem, _, kind = rest.rpartition(".")
    if group == "utility" and kind in _KINDS:
        return f"Predicting {stem}: {_KINDS[kind]}"
    for suffix, said in _SUFFIXES.items():
        if name.endswith(suffix):
            return f"{title_of(name.removesuffix(suffix))}, {said}"
    words = [_ACRONYMS.get(word, word) for word in rest.replace("_", " ").replace(".", ": ").split(" ")]
    text = " ".join(words) or name
    return text[:1].upper() + text[1:]


def written(value: float | None, decimals: int = 3) -> str:
    """A figure's value; small ones with more decimals, none as a dash.

    >>> written(0.98765), written(0.00012), written(None), written(0.0)
    ('0.988', '0.0001', 'not computed', '0')
    """
    if value is None:
        return "not computed"
    if value == 0:
        return "0"
    return f"{value:.{decimals if abs(value) >= 0.01 else decimals + 1}f}"


HEADLINES: Sequence[str] = (
    "fidelity.shape",
    "fidelity.trend",
    "fidelity.c2st",
    "utility.*.ratio",
    "privacy.dcr_share",
    "privacy.exact_copies_excess",
    "privacy.membership_auc",
    "privacy.singling_out",
    "privacy.linkability",
    "privacy.inference",
)
"""What a reader asks for first, where it was computed."""


def headlines(figures: Mapping[str, Figure]) -> list[Figure]:
    """The figures at the top of the report: the first that each headline names."""
    out = []
    for wanted in HEADLINES:
        first, star, last = wanted.partition("*")
        for name, figure in figures.items():
            if name == wanted or (star and name.startswith(first) and name.endswith(last)):
                if figure.value is not None:
                    out.append(figure)
                break
    return out
