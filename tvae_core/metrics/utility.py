"""Utility: does a model learnt from synthetic rows predict real ones as well as one learnt from real rows?

TSTR trains on synthetic and tests on real (holdout) rows; its control TRTR trains on as many real rows. Both
use histogram gradient-boosted trees with their default settings.
"""

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.metrics import roc_auc_score

from tvae_core.errors import DataError
from tvae_core.metrics.frames import MISSING, ordinal
from tvae_core.metrics.limits import MAX_TARGET_LEVELS
from tvae_core.metrics.uncertainty import auc_standard_error, share_standard_error

Measure = Literal["auc", "accuracy", "r2"]
FEWEST_ROWS = 10


@dataclass(frozen=True)
class Prediction:
    """How well one model predicted the holdout: the measure, its standard error, and what else was measured.

    `others` holds ``macro_auc`` beside an accuracy and ``rmse`` (in the target's units) beside an R2.
    """

    score: float
    standard_error: float
    others: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Utility:
    """TSTR beside its control TRTR for one target; higher is better in both."""

    target: str
    measure: Measure
    tstr: Prediction
    trtr: Prediction

    @property
    def ratio(self) -> float:
        """TSTR / TRTR: 1 when synthetic rows teach as much as real ones; NaN when real rows teach nothing."""
        return self.tstr.score / self.trtr.score if self.trtr.score > 0 else math.nan


def utility(
    real: pd.DataFrame, synthetic: pd.DataFrame, holdout: pd.DataFrame, target: str, *, seed: int = 0
) -> Utility:
    """Train on synthetic and on equally many real rows, and test both models on the holdout.

    The measure is the AUC for a target of two values, the accuracy for other levels, and R2 for numbers.
    Rows without a target are left out; every other column is a feature.

    Args:
        real: tidy frame (see `tidy`) of training rows.
        synthetic: tidy frame of synthetic rows.
        holdout: tidy frame of real rows that the generator has not seen.
        target: column to predict.
        seed: decides which rows are taken of the longer table, and the trees.

    Raises:
        DataError: no such column, no other column, too few rows, a target that is constant in the holdout, or
            one with more than `MAX_TARGET_LEVELS` levels.
    """
    if target not in real.columns:
        raise DataError(f"expected a scored column as target, however {target!r} is none")
    if real.shape[1] < 2:
        raise DataError("expected at least one column beside the target, however there is none")
    tables = [_with_target(frame, target) for frame in (real, synthetic, holdout)]
    if min(map(len, tables)) < FEWEST_ROWS:
        raise DataError(
            f"expected at least {FEWEST_ROWS} rows with a target in every table, however there are "
            f"{len(tables[0])} real, {len(tables[1])} synthetic and {len(tables[2])} holdout rows"
        )
    n = min(len(tables[0]), len(tables[1]))
    fit_real, fit_synthetic = (t if len(t) == n else t.sample(n, random_state=seed) for t in tables[:2])
    test = tables[2]
    measure = _measure(fit_real[target], fit_synthetic[target], test[target])
    a, b, c = ordinal([fit_real, fit_synthetic, test])
    if measure == "auc" and test[target].dtype != object:
        b[target] = _nearest_of(b[target].to_numpy(), pd.concat([a[target], c[target]]).unique())
    return Utility(
        target, measure, _predict(b, c, target, measure, seed), _predict(a, c, target, measure, seed)
    )


def _with_target(frame: pd.DataFrame, target: str) -> pd.DataFrame:
    return frame[frame[target].notna() & (frame[target] != MISSING)]


def _nearest_of(values: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Replace each synthetic number by the nearer of the two that the real target takes."""
    return levels[np.abs(values[:, None] - levels).argmin(axis=1)]


def _measure(real: pd.Series, synthetic: pd.Series, test: pd.Series) -> Measure:
    levels = pd.concat([real, test]).nunique()
    if test.nunique() < 2:
        raise DataError("expected a target that varies in the holdout, however it has a single value there")
    if levels > 2 and real.dtype != object:
        return "r2"
    most = max(levels, synthetic.nunique()) if real.dtype == object else levels
    if most > MAX_TARGET_LEVELS:
        raise DataError(f"expected a target of at most {MAX_TARGET_LEVELS} levels, however it has {most}")
    return "auc" if levels == 2 else "accuracy"


def _predict(fit: pd.DataFrame, test: pd.DataFrame, target: str, measure: Measure, seed: int) -> Prediction:
    """Fit on one frame of codes, predict the other."""
    features = [name for name in fit.columns if name != target and fit[name].notna().any()]
    if measure == "r2":
        model = HistGradientBoostingRegressor(random_state=seed).fit(fit[features], fit[target])
        return r2(test[target].to_numpy(), model.predict(test[features]))
    classes = np.unique(fit[target])
    known, truth = np.unique(test[target]), test[target].to_numpy()
    if len(classes) == 1 or not features:  # nothing to learn: the same guess for every row
        probabilities = np.tile((fit[target].to_numpy()[:, None] == classes).mean(0), (len(test), 1))
    else:
        rarest = fit[target].value_counts().min()
        # Early stopping sets rows aside by level, which needs two rows of each.
        early = "auto" if rarest >= 2 else False
        trees = HistGradientBoostingClassifier(random_state=seed, early_stopping=early)
        probabilities = trees.fit(fit[features], fit[target]).predict_proba(test[features])
    if measure == "auc":
        return _binary(truth == known[-1], _of_class(probabilities, classes, known[-1]))
    return _multiclass(truth, probabilities, classes)


def _of_class(probabilities: np.ndarray, classes: np.ndarray, level: float) -> np.ndarray:
    """Probability of one level; 0 for a level that the training rows lack."""
    where = np.flatnonzero(classes == level)
    return probabilities[:, where[0]] if len(where) else np.zeros(len(probabilities))


def _binary(positive: np.ndarray, guess: np.ndarray) -> Prediction:
    auc = float(roc_auc_score(positive, guess))
    return Prediction(auc, auc_standard_error(auc, int(positive.sum()), int((~positive).sum())))


def _multiclass(truth: np.ndarray, probabilities: np.ndarray, classes: np.ndarray) -> Prediction:
    accuracy = float((classes[probabilities.argmax(1)] == truth).mean())
    macro = np.mean(
        [roc_auc_score(truth == k, _of_class(probabilities, classes, k)) for k in np.unique(truth)]
    )
    return Prediction(accuracy, share_standard_error(accuracy, len(truth)), {"macro_auc": float(macro)})


def r2(truth: np.ndarray, guess: np.ndarray) -> Prediction:
    """Coefficient of determination, 1 - mean squared error / variance, with the root mean squared error.

    Both arrays have shape (n,). The standard error takes the variance of `truth` as known: the standard
    deviation of the squared errors / (sqrt(n) variance).

    >>> result = r2(np.array([0.0, 2.0]), np.array([0.0, 1.0]))
    >>> result.score, round(result.others["rmse"], 4)
    (0.5, 0.7071)
    """
    squared = (truth - guess) ** 2
    variance = float(np.var(truth))
    error = float(np.std(squared) / (math.sqrt(len(truth)) * variance))
    return Prediction(float(1 - squared.mean() / variance), error, {"rmse": float(np.sqrt(squared.mean()))})
