"""Membership inference: can an attacker tell who was in the training table?

DOMIAS: van Breugel, Sun, Qian and van der Schaar 2023, "Membership Inference Attacks against Synthetic Data through
Overfitting Detection", arXiv:2302.12580, section 3: a row is called a member where the density of the synthetic table
is high against that of the population. Both densities are the nearest neighbour's here, which needs no bandwidth and
takes mixed columns: the ratio falls with the distance to the closest synthetic row over that to the closest reference.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from tvae_core.errors import DataError
from tvae_core.metrics.limits import ATTACK_REFERENCES, MEMBERSHIP_ROWS
from tvae_core.metrics.mixed import comparable, nearest_rows
from tvae_core.metrics.uncertainty import Z_95, auc_standard_error, wilson_interval

FALSE_POSITIVES = 0.01
"""Share of non-members that may be called members where the true positives are counted."""

_TOUCHING = 1e-6  # added to distances: two equal rows are closer than any two that differ


@dataclass(frozen=True)
class Membership:
    """How well members (training rows) and non-members (holdout rows) were told apart.

    Attributes:
        auc: area under the ROC curve; .5 is chance.
        standard_error: of `auc`, by Hanley and McNeil.
        tpr: share of the members found where at most `FALSE_POSITIVES` of the non-members are called members;
            `FALSE_POSITIVES` is chance.
        tpr_low: lower end of its 95 % interval by Wilson.
        tpr_high: upper end.
        members: training rows attacked.
        non_members: holdout rows attacked.
        reference: other holdout rows, which stand for the population.
    """

    auc: float
    standard_error: float
    tpr: float
    tpr_low: float
    tpr_high: float
    members: int
    non_members: int
    reference: int

    @property
    def low(self) -> float:
        """Lower end of the 95 % interval of `auc`."""
        return self.auc - Z_95 * self.standard_error

    @property
    def high(self) -> float:
        """Upper end of the 95 % interval of `auc`."""
        return self.auc + Z_95 * self.standard_error


def membership(
    train: pd.DataFrame,
    holdout: pd.DataFrame,
    synthetic: pd.DataFrame,
    *,
    entities: np.ndarray | None = None,
    rows: int = MEMBERSHIP_ROWS,
    seed: int = 0,
) -> Membership:
    """Attack training rows and holdout rows by their density ratio; the rest of the holdout is the reference.

    Half of the holdout at most is attacked, the other half tells how dense the population is. `entities` is whose each
    holdout row is, shape (n,): nobody is in both halves, or a non-member would lie near rows of their own there, which
    no member does.

    Raises:
        DataError: an empty table, a holdout of fewer than four rows, or of a single entity.
    """
    if min(len(train), len(synthetic)) == 0 or len(holdout) < 4:
        raise DataError(
            f"expected rows in every table and at least 4 in the holdout, however there are {len(train)} "
            f"training, {len(holdout)} holdout and {len(synthetic)} synthetic rows"
        )
    rng = np.random.default_rng([seed, 4])
    shuffled = rng.permutation(len(holdout))
    half = len(holdout) // 2
    if entities is not None:
        codes = np.unique(entities, return_inverse=True)[1]
        halves = rng.permutation(codes.max() + 1)[codes] < (codes.max() + 1) // 2
        shuffled = shuffled[np.argsort(~halves[shuffled], kind="stable")]
        half = int(halves.sum())
        if half == 0:
            raise DataError("expected at least two entities in the holdout, however there is one")
    outside = holdout.iloc[shuffled[: min(rows, half)]]
    apart = half if entities is not None else len(outside)
    reference = holdout.iloc[shuffled[apart:][:ATTACK_REFERENCES]]
    inside = train.sample(min(rows, len(train)), random_state=rng)
    made = synthetic.sample(min(ATTACK_REFERENCES, len(synthetic)), random_state=rng)
    *attacked, known, drawn = comparable([inside, outside, reference, made], real=3)
    members, others = (
        np.log(nearest_rows(part, known).distance + _TOUCHING)
        - np.log(nearest_rows(part, drawn).distance + _TOUCHING)
        for part in attacked
    )
    return _told_apart(members, others, len(reference))


def _told_apart(members: np.ndarray, others: np.ndarray, reference: int) -> Membership:
    label = np.r_[np.ones(len(members)), np.zeros(len(others))]
    auc = float(roc_auc_score(label, np.r_[members, others]))
    # The order statistic itself: what lies above it are at most that share of the non-members, ties or not.
    threshold = np.quantile(others, 1 - FALSE_POSITIVES, method="higher")
    found = int((members > threshold).sum())
    return Membership(
        auc,
        auc_standard_error(auc, len(members), len(others)),
        found / len(members),
        *wilson_interval(found, len(members)),
        len(members),
        len(others),
        reference,
    )
