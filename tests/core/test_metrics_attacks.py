"""Attacks find people that were copied, and nobody where the generator has not seen the rows."""

import numpy as np
import pandas as pd
import pytest

from tvae_core.errors import DataError
from tvae_core.metrics.attacks import inference, linkability, secret_columns, singling_out
from tvae_core.metrics.membership import membership


def population(n: int, seed: int) -> pd.DataFrame:
    """Six columns; the level follows the first number, so that something can be inferred about anybody."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(n, 4)).round(3), columns=list("abcd"))
    frame["level"] = np.where(frame["a"] > 0, "p", "q").astype(object)
    frame["town"] = rng.choice([f"t{i}" for i in range(30)], n).astype(object)
    frame.loc[rng.random(n) < 0.1, "d"] = np.nan
    return frame


TRAIN, HOLDOUT, FRESH = (population(n, seed) for n, seed in ((1200, 0), (800, 1), (1000, 2)))


def leaky(copies: int) -> pd.DataFrame:
    return pd.concat([TRAIN[:copies], FRESH[copies:]], ignore_index=True)


def attacked(synthetic: pd.DataFrame) -> dict[str, float]:
    """Lower end of every risk."""
    tables = TRAIN, HOLDOUT, synthetic
    found = {f"singling {k}": r for k, r in singling_out(*tables, attacks=600).items()}
    found["link"] = linkability(*tables)
    found |= {f"infer {k}": r for k, r in inference(*tables, ["level", "town", "b"]).items()}
    return {name: risk.low for name, risk in found.items()}


def test_no_attack_beats_its_control_where_the_rows_were_not_seen():
    assert max(attacked(FRESH).values()) <= 0


def test_every_attack_beats_its_control_where_the_rows_were_copied():
    low = attacked(leaky(1000))
    assert min(low[name] for name in low if name != "infer level") > 0.1
    assert low["infer town"] > 0.5


def test_a_fifth_of_copied_rows_is_linked_and_inferred():
    low = attacked(leaky(200))
    assert low["link"] > 0
    assert low["infer town"] > 0


def test_what_holds_for_everybody_is_no_risk():
    risk = inference(TRAIN, HOLDOUT, FRESH, ["level"])["level"]
    assert risk.rate > 0.75  # anyone's level can be told from the first number
    assert risk.low <= 0


def test_univariate_predicates_are_counted_by_hand():
    # values that occur once in the synthetic column: 1 and 9, the extremes as well: == 1, == 9, <= 1, >= 9
    train, holdout = pd.DataFrame({"x": [1.0, 4.0, 4.0, 9.5]}), pd.DataFrame({"x": [2.0, 3.0, 9.0, 9.0]})
    risk = singling_out(train, holdout, pd.DataFrame({"x": [1.0, 5.0, 5.0, 9.0]}))["univariate"]
    # train: == 1 and <= 1 single out the first row, >= 9 the last; the holdout has no 1 and two of 9
    assert (risk.attacks, risk.successes, risk.control_successes) == (4, 3, 0)


def test_a_missing_number_singles_out_where_it_is_the_only_one():
    nan = np.nan
    train, holdout = pd.DataFrame({"x": [nan, 2.0, 2.0]}), pd.DataFrame({"x": [2.0, 2.0, 2.0]})
    risk = singling_out(train, holdout, pd.DataFrame({"x": [nan, 3.0, 3.0]}))["univariate"]
    # beside it "at most 3" and "at least 3" hold for two synthetic rows, and single out none
    assert (risk.attacks, risk.successes, risk.control_successes) == (1, 1, 0)


def test_tables_without_a_single_row_apart_offer_no_predicate():
    same = pd.DataFrame({"x": [1.0, 1.0], "s": np.array(["u", "u"], object)})
    with pytest.raises(DataError, match="single"):
        singling_out(same, same, same)


def test_numbers_are_guessed_within_a_part_of_their_spread_wherever_their_zero_is():
    near = TRAIN.assign(b=TRAIN["b"] + 0.02)
    for shift in (0.0, 1e6):
        tables = [frame.assign(b=frame["b"] + shift) for frame in (TRAIN, HOLDOUT, near)]
        risk = inference(*tables, ["b"])["b"]
        assert risk.rate > 0.95
        assert risk.control < 0.2


def test_the_hardest_columns_to_guess_are_the_secrets_beside_the_declared_ones():
    frame = pd.DataFrame(
        {
            "same": ["u"] * 8,
            "half": ["u", "v"] * 4,
            "each": [*range(8)],
            "pairs": [0, 0, 1, 1, 2, 2, 3, 3],
            "w": [*range(8)],
        }
    )
    assert secret_columns(frame) == ["each", "w", "pairs"]
    assert secret_columns(frame, ["w", "absent"]) == ["w", "each", "pairs", "half"]


@pytest.mark.parametrize("attack", [singling_out, linkability, membership])
def test_the_same_seed_finds_the_same(attack):
    assert attack(TRAIN, HOLDOUT, FRESH, seed=3) == attack(TRAIN, HOLDOUT, FRESH, seed=3)


def test_tables_that_cannot_be_attacked_are_refused():
    for attack in (singling_out, linkability, membership):
        with pytest.raises(DataError, match="0"):
            attack(TRAIN, HOLDOUT.head(0), FRESH)
    with pytest.raises(DataError, match="absent"):
        inference(TRAIN, HOLDOUT, FRESH, ["absent"])
    with pytest.raises(DataError, match="at least 2 columns"):
        linkability(TRAIN[["a"]], HOLDOUT[["a"]], FRESH[["a"]])


def test_members_are_told_apart_where_their_rows_were_copied_and_only_there():
    honest, copied = membership(TRAIN, HOLDOUT, FRESH), membership(TRAIN, HOLDOUT, leaky(1000))
    assert honest.low < 0.5 < honest.high
    assert honest.tpr < 0.05
    assert copied.low > 0.85
    assert copied.tpr_low > 0.5
    assert (copied.members, copied.non_members, copied.reference) == (1200, 400, 400)


def test_a_tenth_of_copied_members_are_found_without_a_false_alarm():
    found = membership(TRAIN, HOLDOUT, leaky(120))
    assert found.tpr == pytest.approx(0.1, abs=0.03)
    assert found.auc == pytest.approx(0.55, abs=0.06)


def test_rows_that_are_all_alike_tell_nothing_about_membership():
    same = pd.DataFrame({"x": np.ones(50)})
    found = membership(same, same, same)
    assert (found.auc, found.tpr) == (0.5, 0.0)


def test_rows_of_one_person_in_both_halves_of_the_holdout_are_no_sign_of_membership():
    """Four nearly equal rows a person; the synthetic rows are of other people, so nobody can be told."""

    def population(people: int, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
        random = np.random.default_rng(seed)
        who = np.repeat(np.arange(people), 4)
        own = random.normal(size=(people, 6))[who] + random.normal(size=(4 * people, 6)) * 0.02
        return pd.DataFrame(own, columns=list("abcdef")), who

    (train, _), (holdout, who), (synthetic, _) = (population(400, seed) for seed in (0, 1, 2))
    assert membership(train, holdout, synthetic).auc > 0.7
    assert membership(train, holdout, synthetic, entities=who).auc == pytest.approx(0.5, abs=0.06)
    with pytest.raises(DataError, match="two entities"):
        membership(train, holdout, synthetic, entities=np.zeros(len(holdout)))
