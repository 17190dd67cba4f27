"""Copies planted among honest rows, and a generator that learned its rows by heart, are refused by the policies for
others; the verdict says which figure saw them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from configs import shipped_policy
from configs.gate import SHIPPED
from tasks.services.gate import Verdict, apply_policy
from tasks.services.scores import Scores
from tasks.services.scoring import attacks, privacy
from tasks.services.scoring.tables import read_tables
from tasks.services.steps import Steps, one_thread
from tvae_core import TVAE
from tvae_core.metrics.rules import Policy
from tvae_core.schema import infer_schema
from tvae_core.sources import as_source

pytestmark = pytest.mark.long
NEARNESS = "privacy.exact_copies_excess", "privacy.near_copies_low", "privacy.dcr_share"


@pytest.fixture(scope="module")
def thirds() -> list[pd.DataFrame]:
    """Train, holdout and honest rows: real people all, so that the last are as good as any generator could make."""
    path = Path(__file__).resolve().parents[2] / "../shared/data/adult.parquet"
    if not path.exists():
        pytest.skip("the Adult table lies beside the repository on the developers' machines only")
    rows = pd.read_parquet(path).sample(frac=1, random_state=5).reset_index(drop=True)
    return [rows[i::3].reset_index(drop=True) for i in range(3)]


def planted(thirds: list[pd.DataFrame], share: float, flipped: bool) -> pd.DataFrame:
    train, _, honest = thirds
    rng = np.random.default_rng(0)
    count = int(share * len(honest))
    rows = train.iloc[rng.choice(len(train), count, replace=False)].reset_index(drop=True)
    if flipped:
        replaced = np.argsort(rng.random(rows.shape), axis=1) < rows.shape[1] // 2
        for j, name in enumerate(rows.columns):
            other = train[name].to_numpy()[rng.integers(0, len(train), count)]
            rows[name] = np.where(replaced[:, j], other, rows[name].to_numpy())
        rows = rows.astype(train.dtypes.to_dict())
    return pd.concat([rows, honest[count:]], ignore_index=True)


def verdict(thirds: list[pd.DataFrame], synthetic: pd.DataFrame, policy: str, *, near_only: bool) -> Verdict:
    train, holdout, _ = thirds
    named = {"real": train, "holdout": holdout, "synthetic": synthetic}
    sources = {name: as_source(frame) for name, frame in named.items()}
    schema = infer_schema(sources["real"])
    scores = Scores(details={"attacks": {}})
    steps = privacy.steps() if near_only else privacy.steps() + attacks.steps()
    with one_thread():
        tables = read_tables(sources, schema, [], 0, 50_000)
        for step in steps:
            Steps(scores, None).step(step.name, step.figures, step.compute, tables)
    rules = [
        rule
        for rule in shipped_policy(policy).rules
        if rule.metric in NEARNESS or (not near_only and rule.metric.startswith("privacy."))
    ]
    return apply_policy(scores.figures, Policy("privacy", tuple(rules)), scores.reasons)


@pytest.mark.parametrize("flipped", [False, True], ids=["whole", "half replaced"])
@pytest.mark.parametrize("share", [0.01, 0.05, 0.2])
def test_planted_copies_are_refused_by_name(thirds, share, flipped):
    result = verdict(thirds, planted(thirds, share, flipped), "partner", near_only=True)
    assert not result.passed
    seen_by = {failure.metric for failure in result.failures}
    assert ("privacy.exact_copies_excess" in seen_by) == (not flipped)
    assert flipped <= ("privacy.near_copies_low" in seen_by)


@pytest.mark.parametrize("policy", SHIPPED)
def test_honest_rows_pass_every_privacy_rule(thirds, policy):
    result = verdict(thirds, thirds[2], policy, near_only=False)
    assert result.passed, [failure.reason for failure in result.failures]


def test_a_generator_that_learned_its_rows_by_heart_is_refused(thirds):
    few = [rows[:500] for rows in thirds]
    model = TVAE(seed=0, epochs=200, patience=0, validation_fraction=0.0, device="cpu").fit(few[0])
    result = verdict(few, model.sample(500), "partner", near_only=False)
    seen_by = {failure.metric for failure in result.failures}
    assert {"privacy.dcr_share", "privacy.membership_auc"} <= seen_by
