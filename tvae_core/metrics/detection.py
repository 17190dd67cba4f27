"""Fidelity by detection: can a classifier tell real rows from synthetic ones?

Two classifiers on the same task. Boosted trees see any structure (C2ST, the classifier two-sample test of
Lopez-Paz and Oquab 2017, arXiv:1610.06545); a logistic regression sees the margins and little more. Control:
two real tables drawn alike give an AUC of .5.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score, roc_curve
from sklearn.model_selection import PredefinedSplit, StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from tvae_core.errors import DataError
from tvae_core.metrics.frames import categorical_columns, numeric_columns, ordinal
from tvae_core.metrics.limits import FOLDS
from tvae_core.metrics.uncertainty import auc_standard_error

CONTROL_AUC = 0.5
CURVE_POINTS = 101
_MOST_TREE_LEVELS = 250  # boosted trees bin a category into at most 255 levels


@dataclass(frozen=True)
class Detection:
    """How well real and synthetic rows were told apart.

    Attributes:
        auc: cross-validated area under the ROC curve; .5 when the tables can't be told apart, 1 when always.
        standard_error: of `auc`, by Hanley and McNeil.
        rows: rows taken from each of the two tables.
        curve: the ROC curve's true positive rate at `CURVE_POINTS` evenly spaced false positive rates in 0 .. 1, a
            real row counted as positive.
    """

    auc: float
    standard_error: float
    rows: int
    curve: tuple[float, ...] = field(default=(), repr=False)

    @property
    def score(self) -> float:
        """Detection score 1 - (2 max(auc, .5) - 1): 1 when the tables can't be told apart, 0 when always."""
        return detection_score(self.auc)


def detection_score(auc: float) -> float:
    """Turn an AUC into a score in [0, 1]; an AUC below .5 is chance, not skill.

    >>> detection_score(0.75), detection_score(0.4)
    (0.5, 1.0)
    """
    return 1.0 - (2.0 * max(0.5, auc) - 1.0)


def c2st(
    real: pd.DataFrame,
    synthetic: pd.DataFrame,
    *,
    seed: int = 0,
    groups: tuple[np.ndarray, np.ndarray] | None = None,
) -> Detection:
    """Classifier two-sample test with histogram gradient-boosted trees.

    Args:
        real: tidy frame (see `tidy`) of real rows.
        synthetic: tidy frame of synthetic rows, same columns.
        seed: decides which rows are taken of the longer table, the folds and the trees.
        groups: what the rows of each table belong to (a person, say), shapes (len(real),) and (len(synthetic),).
            Rows of one group stay in one fold: a classifier that has seen a person's other rows would recognise
            the person, however well the rows were made. None: every row stands alone.

    Raises:
        DataError: fewer than `FOLDS` rows in a table, or no column that holds any value.
    """
    coded_real, coded_synthetic = ordinal([real, synthetic])
    rows, label, folds = _pooled(coded_real, coded_synthetic, seed, groups)
    levels = categorical_columns(real)
    as_category = [
        i for i, name in enumerate(rows.columns) if name in levels and rows[name].max() < _MOST_TREE_LEVELS
    ]
    model = HistGradientBoostingClassifier(random_state=seed, categorical_features=as_category or None)
    return _detect(model, rows.to_numpy(), label, folds)


def logistic_detection(
    real: pd.DataFrame,
    synthetic: pd.DataFrame,
    *,
    seed: int = 0,
    groups: tuple[np.ndarray, np.ndarray] | None = None,
) -> Detection:
    """Detection by a logistic regression on standardised numbers and one-hot levels.

    Missing numbers take the pooled mean and an indicator column says where; levels of fewer than 10
    rows share one column.
    Arguments and errors as for `c2st`.
    """
    rows, label, folds = _pooled(real, synthetic, seed, groups)
    levels = categorical_columns(rows)
    features, numbers = _filled(rows)
    model = make_pipeline(
        make_column_transformer(
            (StandardScaler(), numbers), (OneHotEncoder(handle_unknown="ignore", min_frequency=10), levels)
        ),
        LogisticRegression(max_iter=300),
    )
    return _detect(model, features, label, folds)


def _pooled(
    real: pd.DataFrame, synthetic: pd.DataFrame, seed: int, groups: tuple[np.ndarray, np.ndarray] | None
) -> tuple[pd.DataFrame, np.ndarray, Any]:
    """Equally many rows of both without columns that hold no value, the label (1 for real) and the folds."""
    n = min(len(real), len(synthetic))
    if n < FOLDS:
        raise DataError(f"expected at least {FOLDS} rows in each table, however the shorter one has {n}")
    drawn = [_draw(frame, n, seed) for frame in (real, synthetic)]
    rows = pd.concat(drawn, ignore_index=True)
    rows = rows.loc[:, rows.notna().any().to_numpy()]
    if rows.shape[1] == 0:
        raise DataError("expected at least one column with values, however there is none to compare")
    label = np.r_[np.ones(n), np.zeros(n)]
    if groups is None:
        return rows, label, StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    of_rows = [group[frame.index.to_numpy()] for group, frame in zip(groups, drawn, strict=True)]
    return rows, label, PredefinedSplit(_group_folds(of_rows, seed))


def _draw(frame: pd.DataFrame, n: int, seed: int) -> pd.DataFrame:
    numbered = frame.reset_index(drop=True)
    return numbered if len(frame) == n else numbered.sample(n, random_state=seed)


def _group_folds(groups: Sequence[np.ndarray], seed: int) -> np.ndarray:
    """A fold for every row, equal within a group; groups of different tables are different groups."""
    generator = np.random.default_rng(seed)
    parts = []
    for group in groups:
        codes, distinct = pd.factorize(group)
        if len(distinct) < FOLDS:
            raise DataError(
                f"expected at least {FOLDS} groups in each table, however one has {len(distinct)}"
            )
        parts.append(generator.permutation(len(distinct))[codes] % FOLDS)
    return np.concatenate(parts)


def _filled(rows: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The frame with missing numbers filled by the mean and indicators added, and its numeric columns."""
    numbers = numeric_columns(rows)
    gaps = rows[numbers].isna()
    gaps = gaps.loc[:, gaps.any().to_numpy()].astype(np.float64).add_prefix("missing: ")
    out = pd.concat([rows.fillna(rows[numbers].mean()), gaps], axis=1)
    return out, [*numbers, *gaps.columns]


def _detect(model: Any, features: Any, label: np.ndarray, folds: Any) -> Detection:
    with warnings.catch_warnings():
        # A regression that stops early only under-states how well the tables can be told apart by a hair.
        warnings.simplefilter("ignore", ConvergenceWarning)
        guess = cross_val_predict(model, features, label, cv=folds, method="predict_proba")[:, 1]
    auc = float(roc_auc_score(label, guess))
    false_positive, true_positive, _ = roc_curve(label, guess)
    curve = np.interp(np.linspace(0.0, 1.0, CURVE_POINTS), false_positive, true_positive)
    n = len(label) // 2
    return Detection(auc, auc_standard_error(auc, n, n), n, tuple(curve.tolist()))
