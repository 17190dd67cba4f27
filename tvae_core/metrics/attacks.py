"""Three attacks on people in the training table, each tried on as many holdout rows as its control.

From Giomi et al. 2023, arXiv:2211.10459, section 4: singling out, linkability and attribute inference, the three
risks of the Article 29 Working Party's opinion 05/2014. Written from the paper.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from tvae_core.errors import DataError
from tvae_core.metrics.frames import MISSING, categorical_columns, ordinal, refuse_empty
from tvae_core.metrics.limits import ATTACK_REFERENCES, ATTACKS
from tvae_core.metrics.mixed import Mixed, closest_indices, comparable
from tvae_core.metrics.risk import Risk

PREDICATE_COLUMNS = 5
"""Columns that a multivariate predicate joins: fewer single out too few rows for the rates to be known well."""

LINK_NEIGHBOURS = 1
"""Synthetic rows that each half of a person's data points at; the paper's strictest attacker."""

TOLERANCE = 0.05
"""A number is guessed right when it is wrong by at most this share of the column's interquartile range. The paper takes
a share of the number itself, which means nothing for dates and depends on where a scale has its zero."""

GUESSED_COLUMNS = 3
"""Secrets that are taken beside the declared ones: the columns that are hardest to guess."""

TOGETHER = 3
"""Attacks that one release is judged by: all their intervals together hold at 95 %."""

_CANDIDATES = 8  # predicates tried for every one wanted: not each singles out a synthetic row


def singling_out(
    train: pd.DataFrame,
    holdout: pd.DataFrame,
    synthetic: pd.DataFrame,
    *,
    attacks: int = ATTACKS,
    seed: int = 0,
) -> dict[str, Risk]:
    """Predicates that hold for a single synthetic row: for how many is there a single training row?

    Section 4.2. ``univariate`` takes levels and numbers that occur once, and the smallest and largest number of each
    column; ``multivariate`` joins the values of `PREDICATE_COLUMNS` columns of a synthetic row, numbers as "at most"
    or "at least" on their side of the median. The control asks the same of the holdout. Both tables are cut to equal
    length: whether a predicate isolates one row depends on how many there are.

    Raises:
        DataError: an empty table, or no predicate that singles out a synthetic row.
    """
    refuse_empty(train, holdout, synthetic)
    rng = np.random.default_rng([seed, 1])
    n = min(len(train), len(holdout))
    cut = [frame if len(frame) == n else frame.sample(n, random_state=rng) for frame in (train, holdout)]
    made = _at_most(synthetic, ATTACK_REFERENCES, rng)
    levels = set(categorical_columns(train))
    tables = [
        {str(name): frame[name].to_numpy() for name in frame.columns} for frame in ordinal([*cut, made])
    ]
    found = {}
    for kind, candidates in (("univariate", _single_values), ("multivariate", _joined_values)):
        right = [0, 0]
        asked = 0
        for predicate in candidates(tables[2], levels, attacks * _CANDIDATES, rng):
            if asked == attacks:
                break
            if _matches(predicate, tables[2]) != 1:
                continue
            asked += 1
            for side in (0, 1):
                right[side] += _matches(predicate, tables[side]) == 1
        if asked:
            found[kind] = Risk(right[0], asked, right[1], asked, comparisons=TOGETHER * 2)
    if not found:
        raise DataError("expected predicates that single out a synthetic row, however there are none")
    return found


def linkability(
    train: pd.DataFrame,
    holdout: pd.DataFrame,
    synthetic: pd.DataFrame,
    *,
    attacks: int = ATTACKS,
    seed: int = 0,
) -> Risk:
    """Two halves of a person's columns: do both point at the same synthetic row?

    Section 4.3. The columns are halved at random; each half of a row is looked up among the synthetic rows by distance
    (see `tvae_core.metrics.mixed`); the link succeeds when the closest rows of both halves have one in common. The
    control links holdout rows.

    Raises:
        DataError: an empty table, or fewer than two columns.
    """
    refuse_empty(train, holdout, synthetic, columns=2)
    rng = np.random.default_rng([seed, 2])
    targets, made = _targets(train, holdout, synthetic, attacks, rng)
    names = [made.names[i] for i in rng.permutation(len(made.names))]
    halves = names[: len(names) // 2], names[len(names) // 2 :]
    counts: list[int] = []
    for target in targets:
        first, second = (
            closest_indices(target.only(half), made.only(half), LINK_NEIGHBOURS) for half in halves
        )
        linked = (first[:, :, None] == second[:, None, :]).any(axis=(1, 2))
        counts += [int(linked.sum()), len(linked)]
    return Risk(counts[0], counts[1], counts[2], counts[3], comparisons=TOGETHER)


def inference(
    train: pd.DataFrame,
    holdout: pd.DataFrame,
    synthetic: pd.DataFrame,
    secrets: Sequence[str],
    *,
    attacks: int = ATTACKS,
    seed: int = 0,
) -> dict[str, Risk]:
    """All other columns of a person are known: does the closest synthetic row tell the secret?

    Section 4.4, once for each of the `secrets`. A level is guessed right when it is the same, a number when it is
    off by at most `TOLERANCE` times the column's interquartile range. The control guesses the secrets of holdout rows,
    and so knows whatever holds for the population and not for the training rows alone.

    Raises:
        DataError: an empty table, no secrets, a secret that is no column, or fewer than two columns.
    """
    refuse_empty(train, holdout, synthetic, columns=2)
    unknown = [name for name in secrets if name not in train.columns]
    if unknown or not secrets:
        raise DataError(
            f"expected scored columns as secrets, however: {', '.join(unknown) or 'none is given'}"
        )
    rng = np.random.default_rng([seed, 3])
    drawn = [_at_most(frame, attacks, rng) for frame in (train, holdout)]
    rows = _at_most(synthetic, ATTACK_REFERENCES, rng)
    *targets, made = comparable([*drawn, rows])
    found = {}
    for secret in secrets:
        known = [name for name in made.names if name != secret]
        margin = _margin(train[secret])
        counts: list[int] = []
        for frame, target in zip(drawn, targets, strict=True):
            closest = closest_indices(target.only(known), made.only(known))[:, 0]
            right = _guessed(frame[secret].to_numpy(), rows[secret].to_numpy()[closest], margin)
            counts += [int(right.sum()), len(right)]
        found[secret] = Risk(counts[0], counts[1], counts[2], counts[3], comparisons=TOGETHER * len(secrets))
    return found


def secret_columns(train: pd.DataFrame, declared: Sequence[str] = ()) -> list[str]:
    """What an attacker would like to infer: the declared columns, and the `GUESSED_COLUMNS` hardest to guess.

    Hardest to guess is the column whose most frequent value is rarest; the earlier one where they are equal.
    """
    known = [name for name in declared if name in train.columns]
    rest = [name for name in train.columns if name not in known]
    easy = {name: train[name].value_counts(normalize=True, dropna=False).max() for name in rest}
    return known + sorted(rest, key=lambda name: easy[name])[:GUESSED_COLUMNS]


Predicate = list[tuple[str, str, float]]
"""Conditions that hold together: column, one of ``==``, ``<=``, ``>=``, value; NaN is met by missing numbers."""


def _single_values(
    table: dict[str, np.ndarray], levels: set[str], most: int, rng: np.random.Generator
) -> Iterator[Predicate]:
    """Values that occur once in a column, and the extremes of numbers, in random order."""
    found: list[tuple[str, str, float]] = []
    for name, values in table.items():
        distinct, count = np.unique(values, return_counts=True)
        found += [(name, "==", value) for value in distinct[count == 1]]
        if name not in levels and not np.isnan(values).all():
            found += [(name, "<=", np.nanmin(values)), (name, ">=", np.nanmax(values))]
    for at in rng.permutation(len(found))[:most]:
        yield [found[at]]


def _joined_values(
    table: dict[str, np.ndarray], levels: set[str], most: int, rng: np.random.Generator
) -> Iterator[Predicate]:
    """The values that a random row has in a few random columns."""
    names = list(table)
    medians = {
        name: np.nanmedian(v) for name, v in table.items() if name not in levels and not np.isnan(v).all()
    }
    seen = set()
    for row in rng.integers(0, len(table[names[0]]), most):
        chosen = sorted(rng.choice(len(names), min(PREDICATE_COLUMNS, len(names)), replace=False))
        predicate = []
        for name in (names[i] for i in chosen):
            value = table[name][row]
            side = ">=" if value > medians.get(name, np.inf) else "<="
            predicate.append((name, "==" if name in levels or np.isnan(value) else side, value))
        key = repr(predicate)
        if key not in seen:
            seen.add(key)
            yield predicate


def _matches(predicate: Predicate, table: dict[str, np.ndarray]) -> int:
    """Rows for which the predicate holds."""
    holds: np.ndarray | bool = True
    for name, comparison, value in predicate:
        values = table[name]
        if np.isnan(value):
            met = np.isnan(values)
        elif comparison == "==":
            met = values == value
        else:
            met = values <= value if comparison == "<=" else values >= value
        holds = holds & met
    return int(np.count_nonzero(holds))


def _margin(values: pd.Series) -> float:
    """How far a guess of this column may be off; 0 for levels."""
    if values.dtype == object:
        return 0.0
    low, high = values.quantile([0.25, 0.75])
    return TOLERANCE * float(high - low)


def _guessed(truth: np.ndarray, guess: np.ndarray, margin: float) -> np.ndarray:
    """Which guesses are right; that a value is missing is no secret that can be guessed."""
    if truth.dtype == object:
        return (truth == guess) & (truth != MISSING)
    return np.abs(truth - guess) <= margin


def _targets(
    train: pd.DataFrame,
    holdout: pd.DataFrame,
    synthetic: pd.DataFrame,
    attacks: int,
    rng: np.random.Generator,
) -> tuple[list[Mixed], Mixed]:
    """Rows to attack of train and of the holdout, and the synthetic rows to search, in comparable form."""
    drawn = [_at_most(frame, n, rng) for frame, n in ((train, attacks), (holdout, attacks))]
    *targets, made = comparable([*drawn, _at_most(synthetic, ATTACK_REFERENCES, rng)])
    return targets, made


def _at_most(frame: pd.DataFrame, rows: int, rng: np.random.Generator) -> pd.DataFrame:
    return frame.sample(min(rows, len(frame)), random_state=rng)
