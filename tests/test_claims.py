"""The claims ledger: simulated users whose truth is known, and verdicts that follow the data."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tradeoffs.analysis import claims
from tradeoffs.analysis.users import (
    Pool,
    agreement,
    draw_pairs,
    example,
    fit_direction,
    linear,
    misspecification,
    read_pool,
    regret,
    represent,
)


@pytest.fixture(scope="module")
def pool() -> Pool:
    """Twenty prompts with 40 responses each, both attributes independent."""
    ratings = np.random.default_rng(0).normal(50, 15, (800, 2))
    return Pool(ratings, [np.arange(40 * n, 40 * n + 40) for n in range(20)])


@pytest.mark.parametrize("angle", [-75.0, 0.0, 30.0])
def test_a_hidden_direction_is_found_from_choices(pool: Pool, angle: float) -> None:
    rng = np.random.default_rng(1)
    pairs = draw_pairs(pool, range(20), 3000, rng)
    gap = linear(pool, angle)[pairs[:, 0]] - linear(pool, angle)[pairs[:, 1]]
    found = fit_direction(pool, pairs, rng.random(3000) < 1 / (1 + np.exp(-gap / 4)))
    assert math.degrees(math.atan2(found[1], found[0])) == pytest.approx(angle, abs=3)
    assert np.linalg.norm(found) == pytest.approx(1)


def test_agreement_of_a_score_with_itself_and_with_its_opposite(pool: Pool) -> None:
    utility = linear(pool, 20.0)
    same = agreement(pool, range(20), utility, utility, np.random.default_rng(0))
    assert same["accuracy"] == 1.0 and same["tau"] == pytest.approx(1)
    opposite = agreement(pool, range(20), utility, -utility, np.random.default_rng(0))
    assert opposite["accuracy"] == 0.0 and opposite["tau"] == pytest.approx(-1)


def test_regret_by_hand() -> None:
    small = Pool(np.zeros((4, 2)), [np.array([0, 1]), np.array([2, 3])])
    utility, score = np.array([5.0, 9.0, 4.0, 1.0]), np.array([1.0, 0.0, 1.0, 0.0])
    assert regret(small, [0, 1], utility, score) == pytest.approx((4 + 0) / 2)


def test_users_with_a_direction_are_represented_and_others_are_not(pool: Pool) -> None:
    found = represent(pool, users=12)
    by = found.groupby("kind")[["tau", "pooled_tau"]].mean()
    assert by.loc["direction", "tau"] > 0.9 > by.loc["direction", "pooled_tau"]
    assert by.loc["length", "tau"] < 0.5
    assert claims.c1(found).verdict == claims.SUPPORTED


def test_a_pool_in_which_everybody_agrees_supports_neither_c1_nor_c2_nor_c3(pool: Pool) -> None:
    """Where verbosity does not vary all directions order alike, but for their sign; a control that can be fitted tells nothing."""
    flat = Pool(pool.ratings * np.array([1.0, 0.0]), pool.prompts)
    groups = misspecification(flat, repeats=4)
    assert claims.c2(groups).verdict == claims.REFUTED and claims.c3(groups).verdict == claims.REFUTED
    users = represent(pool, users=6)
    users.loc[users["kind"] == "length", "tau"] = 0.97
    assert claims.c1(users).verdict == claims.REFUTED


def test_a_smaller_group_loses_more_the_smaller_it_is(pool: Pool) -> None:
    table = misspecification(pool, repeats=6)
    lost = table[table["group"] == "detailed"].groupby("share")["regret_scalar"].mean()
    assert lost[0.5] < lost[0.7] < lost[0.9]
    assert claims.c2(table).verdict == claims.SUPPORTED and claims.c3(table).verdict == claims.SUPPORTED


def test_the_printed_example_fits_the_other_sign() -> None:
    assert dict(example()[["response", "fits"]].itertuples(index=False)) == {"D": "neither", "E": "minus", "F": "minus"}
    assert claims.c10().verdict == claims.REFUTED and "0 of 3" in claims.c10().measured


ASKED = [-90.0, -45.0, 0.0, 45.0, 90.0]
DIAL = pd.DataFrame(
    {
        "angle": ASKED,
        "helpfulness": [54.0, 55.0, 60.0, 60.0, 60.0],
        "verbosity": [30.0, 35.0, 45.0, 55.0, 60.0],
        "tokens": [17.0, 20.0, 25.0, 29.0, 31.0],
    }
)
DOMINANCE = pd.DataFrame({"angle": ASKED, "margin": 5.0, "low": 2.0, "high": 8.0, "best_prompt": ASKED})


def turned(
    rho: list[float], rises: bool = True, ends: tuple[float, float, float] = (30.0, 20.0, 40.0)
) -> dict[str, Any]:
    return {"monotone": rises, "spearman": rho, "pooled": [1.0, 0.9, 1.0], "ends": list(ends)}


@pytest.mark.parametrize(
    ("rho", "rises", "low", "expected"),
    [
        ([1.0, 0.95, 0.9 - 2e-16], True, 1.0, claims.SUPPORTED),  # as SciPy gives it for one swapped pair of five
        ([1.0, math.nan, 0.9], True, 1.0, claims.UNDECIDED),
        ([1.0, 0.6, 0.9], True, 1.0, claims.UNDECIDED),
        ([1.0, 1.0, 1.0], False, 1.0, claims.UNDECIDED),
        ([1.0, 1.0, 1.0], True, -0.1, claims.UNDECIDED),
        ([1.0], True, 1.0, claims.UNMEASURED),
    ],
)
def test_c7_needs_every_seed_every_step_and_every_direction(
    rho: list[float], rises: bool, low: float, expected: str
) -> None:
    assert claims.c7(turned(rho, rises), DOMINANCE.assign(low=low)).verdict == expected


def test_c7_needs_own_prompts_that_are_the_best_and_is_refuted_by_one_that_is_clearly_worse() -> None:
    other = DOMINANCE.assign(best_prompt=90.0)
    assert claims.c7(turned([1.0, 1.0]), other).verdict == claims.UNDECIDED
    assert claims.c7(turned([1.0, 1.0]), DOMINANCE.assign(low=-9.0, high=-1.0)).verdict == claims.REFUTED
    assert claims.c7(turned([1.0, 1.0], ends=(-5.0, -9.0, -1.0)), DOMINANCE).verdict == claims.REFUTED


def test_c5_needs_both_ends_apart_and_as_much_of_the_plane() -> None:
    front = {"ratio": [1.02, 0.97, 1.07], "policies": 2}
    found = claims.c5(turned([1.0, 1.0]), DIAL, front)
    assert found.verdict == claims.SUPPORTED
    assert "dominates 1.02 (0.97 to 1.07) times their area, with one adapter for 2" in found.measured
    assert "tokens, each" not in found.measured
    told = claims.c5(turned([1.0, 1.0]), DIAL, front | {"tokens": [1_700_000, 90_000]}).measured
    assert "It was trained on 1,700,000 tokens, each of them on 90,000." in told
    between = pd.concat([DIAL.assign(trained=True), DIAL.iloc[-1:].assign(angle=99.0, verbosity=0.0, trained=False)])
    assert claims.c5(turned([1.0, 1.0]), between, front) == found  # judged by the directions it was trained on
    assert claims.c5(turned([1.0, 1.0], ends=(10.0, -1.0, 21.0)), DIAL, front).verdict == claims.UNDECIDED
    assert claims.c5(turned([1.0, 1.0], ends=(-10.0, -19.0, -1.0)), DIAL, front).verdict == claims.REFUTED
    assert claims.c5(turned([1.0, 0.5]), DIAL, front).verdict == claims.UNDECIDED
    assert claims.c5(turned([1.0, 1.0]), DIAL, {}).verdict == claims.UNDECIDED
    assert "not measured" in claims.c5(turned([1.0, 1.0]), DIAL, {}).measured and "2 of 2 seeds" in found.measured
    assert (
        claims.c5(turned([1.0, 1.0]), DIAL.iloc[::2], front).verdict == claims.UNDECIDED
    )  # three directions are too few
    older = {"monotone": True, "spearman": [1.0, 1.0]}
    assert claims.c5(older, DIAL, front).verdict == claims.UNMEASURED == claims.c7(older, DOMINANCE).verdict
    assert claims.c5(turned([1.0, 1.0]), DIAL, front | {"ratio": [0.97, 0.9, 1.04]}).verdict == claims.UNDECIDED
    assert claims.c5(turned([1.0, 1.0]), DIAL, front | {"ratio": [0.8, 0.7, 0.9]}).verdict == claims.REFUTED


def steered(slope: float, brief: float) -> pd.DataFrame:
    rows = [
        {"run": run, "words": "", "seed": seed, "angle": angle, "tokens": 25 + (own + 0.1 * seed) * angle / 45}
        for run, own in (("dpo", slope), ("start", 0.0), ("dpa", 5.0))
        for seed in range(3)
        for angle in (-45.0, 0.0, 45.0)
    ]
    rows += [
        {
            "run": run,
            "words": words,
            "seed": seed,
            "angle": math.nan,
            "tokens": 25 + change + 0.2 * seed * bool(words),
        }
        for run, told in (("dpo", brief), ("start", 0.0))
        for seed in range(3)
        for words, change in (("", 0.0), ("Be brief.", told))
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("slope", "brief", "expected"),
    [
        (0.0, 0.0, claims.SUPPORTED),  # follows neither
        (5.0, 0.0, claims.REFUTED),  # follows directions
        (0.0, -6.0, claims.REFUTED),  # follows plain words
        (0.0, -2.2, claims.UNDECIDED),  # its interval holds the margin
        (1.9, 0.0, claims.UNDECIDED),  # its interval holds both
    ],
)
def test_c4_asks_whether_dpo_follows_directions_or_plain_words(slope: float, brief: float, expected: str) -> None:
    found = claims.c4(steered(slope, brief))
    assert found.verdict == expected
    assert "dpa: 5.10" in found.measured and 'told "Be brief.", 25.0 tokens become' in found.measured


def test_c4_needs_dpo_and_more_seeds_than_one() -> None:
    rows = steered(0.0, 0.0)
    assert claims.c4(rows[rows["run"] == "dpa"]).verdict == claims.UNMEASURED
    one = claims.c4(rows[rows["seed"] == 0])
    assert one.verdict == claims.UNMEASURED and "One seed allows no claim" in one.measured and "nan" not in one.measured
    assert claims.c4(rows[rows["angle"].notna()]).verdict == claims.UNDECIDED  # never asked in plain words
    rows.loc[rows["run"].eq("start") & rows["words"].ne(""), "tokens"] -= 9
    other = claims.c4(rows)
    assert other.verdict == claims.SUPPORTED  # a policy that nobody aligned says nothing of alignment
    assert (
        "start policy: 0.10" in other.measured
        and "dpa: 5.10 (4.85 to 5.35) tokens per 45 degrees, beyond" in other.measured
    )
    rows.loc[rows["angle"].notna(), "tokens"] -= (
        9  # any added sentence shortens answers: being told to be brief is no more than that
    )
    assert claims.c4(rows).verdict == claims.SUPPORTED and "beside 16.0" in claims.c4(rows).measured
    unclear = steered(0.0, 0.0)
    unclear.loc[unclear["words"].ne("") & unclear["run"].eq("dpo"), "tokens"] += unclear["seed"] * 40 - 60
    assert claims.c4(unclear).verdict == claims.UNDECIDED  # not seeing a change is not showing that there is none


def graded(passed: dict[str, int], problems: int, trainings: int = 2) -> pd.DataFrame:
    rows = [
        {"arm": arm, "problem_id": n, "family": f"f{n}", "status": "passed" if n < right else "failed", "tokens": 10}
        for arm, right in passed.items()
        for n in range(problems)
    ]
    return pd.concat([pd.DataFrame(rows).assign(seed=seed) for seed in range(trainings)], ignore_index=True)


@pytest.mark.parametrize(
    ("dpa", "dpo", "problems", "expected"),
    [(300, 300, 900, claims.SUPPORTED), (100, 400, 900, claims.REFUTED), (10, 11, 30, claims.UNDECIDED)],
)
def test_c8_is_a_test_of_non_inferiority(dpa: int, dpo: int, problems: int, expected: str) -> None:
    assert claims.c8(graded({"a": dpa, "b": dpo}, problems), "a", "b", 500, 0).verdict == expected
    assert claims.c8(graded({"a": dpa}, problems), "a", "", 500, 0).verdict == claims.UNMEASURED
    once = claims.c8(graded({"a": dpa, "b": dpo}, problems, trainings=1), "a", "b", 500, 0)
    assert once.verdict == claims.UNDECIDED and "One training of each allows no claim." in once.measured


def test_c8_is_not_sure_of_what_few_problems_cannot_show() -> None:
    """No right answer on either side, or two lost of 297, fits a loss beyond the margin of 2 points."""
    nothing = claims.c8(graded({"a": 0, "b": 0}, 64), "a", "b", 500, 0)
    assert nothing.verdict == claims.UNDECIDED and "+0.0 points (-5.7 to 5.7)" in nothing.measured
    two = claims.c8(graded({"a": 1, "b": 3}, 297), "a", "b", 500, 0)
    assert two.verdict == claims.UNDECIDED and "-0.7 points (-2.4 to" in two.measured


def test_c8_holds_the_luck_of_training() -> None:
    rows = graded({"a": 300, "b": 300}, 900, trainings=3)
    assert claims.c8(rows, "a", "b", 500, 0).verdict == claims.SUPPORTED
    for seed, right in enumerate((240, 300, 360)):  # 20 points apart, none on average
        rows.loc[rows["arm"].eq("a") & rows["seed"].eq(seed), "status"] = [
            "passed" if n < right else "failed" for n in range(900)
        ]
    assert claims.c8(rows, "a", "b", 500, 0).verdict == claims.UNDECIDED


def test_c8_compares_at_matched_length_too() -> None:
    rows = graded({"dpa-0": 300, "dpa-90": 100, "dpo": 300}, 900)
    rows["tokens"] = rows["arm"].map({"dpa-0": 20, "dpa-90": 10, "dpo": 10})
    short = rows.assign(tokens=rows["arm"].map({"dpa-0": 20, "dpa-90": 5, "dpo": 10}))
    assert (
        claims.c8(short, "dpa-0", "dpo", 500, 0, ["dpa-0", "dpa-90"]).verdict == claims.UNDECIDED
    )  # the nearest is not judged
    alone = claims.c8(rows, "dpa-0", "dpo", 500, 0)
    assert alone.verdict == claims.UNDECIDED and "No direction answers within 10 %" in alone.measured
    found = claims.c8(rows, "dpa-0", "dpo", 500, 0, ["dpa-0", "dpa-90"])
    assert found.verdict == claims.REFUTED  # as long as DPO's, and passes far less
    assert (
        "dpa-90 less dpo on 900 problems: -22.2 points" in found.measured
        and "at 10 against 10 tokens" in found.measured
    )
    rows.loc[rows["arm"] == "dpa-90", "status"] = rows.loc[rows["arm"] == "dpo", "status"].to_numpy()
    assert claims.c8(rows, "dpa-0", "dpo", 500, 0, ["dpa-0", "dpa-90"]).verdict == claims.SUPPORTED


def test_more_splits_of_the_same_responses_do_not_narrow_a_range() -> None:
    rng = np.random.default_rng(0)
    widths = [np.ptp(claims.over_splits(rng.normal(5, 1, n).tolist())[1:]) for n in (100, 10_000)]
    assert widths[1] == pytest.approx(3.92, abs=0.1) and widths[0] == pytest.approx(3.92, abs=0.8)


def test_the_ledger_is_whole_with_nothing_measured(tmp_path: Path) -> None:
    found = claims.ledger(
        graded({}, 0).reindex(columns=["arm", "problem_id", "family", "status", "tokens", "seed"]), str(tmp_path)
    )
    table = found["claims"].set_index("claim")
    assert list(table.index) == [f"c{n}" for n in range(1, 11)]
    assert set(table.loc[["c1", "c2", "c3", "c4", "c5", "c7", "c8"], "verdict"]) == {claims.UNMEASURED}
    assert table.loc["c9", "verdict"] == claims.SUPPORTED and table.loc["c6", "verdict"] == claims.UNTESTABLE
    assert all("made by: " in table.loc[name, "measured"] for name in ("c1", "c4", "c5", "c8"))


def test_the_pool_holds_each_response_once_and_refuses_too_few(tmp_path: Path) -> None:
    path = tmp_path / "outcomes.jsonl"
    rows = [
        {"run": "dpo", "held_out": {"key": key, "helpfulness": float(n), "verbosity": 50.0}}
        for key in range(5)
        for n in range(20)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, *rows, {"run": "sft", "nll": 1.0}]))
    assert [len(places) for places in read_pool(path).prompts] == [20] * 5
    path.write_text("".join(json.dumps(row) + "\n" for row in rows[:40]))
    with pytest.raises(ValueError, match="has 2 prompts .* accepts at least 4"):
        read_pool(path)
