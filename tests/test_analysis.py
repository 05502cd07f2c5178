"""The analysis against numbers worked out by hand, and its words against the data they stand for."""

from __future__ import annotations

import gzip
import itertools
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from tradeoffs import cli
from tradeoffs.analysis import (
    Estimate,
    Resampling,
    again,
    compare,
    compare_throughput,
    decompose,
    headline_table,
    minimum_detectable_effect,
    pass_at_k,
    policy_metrics,
    run,
    verdict,
    wilson,
)
from tradeoffs.analysis.dose import dials, dose_response, slope
from tradeoffs.analysis.policies import (
    adjust,
    attainment,
    front_shares,
    group_table,
    with_seeds,
    with_wilson,
)
from tradeoffs.analysis.reading import joules
from tradeoffs.analysis.resampling import Quantity, bootstrap_p, estimate, interval, sign_flip_p
from tradeoffs.analysis.stage import COMPARED, ESTIMATES, VERDICTS
from tradeoffs.analysis.throughput import roofline
from tradeoffs.analysis.wording import Found, digits, group, headline, span
from tradeoffs.parameters import AnalyseParameters
from tradeoffs.records import Answer, Record, Timing, TrainingStep, append_jsonl, provenance, read_record, write_record
from tradeoffs.records import Verdict as VerdictRow
from tradeoffs.tasks.problems import load_problems

NO_MACHINE = provenance()


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def answers(passed: list[int], tokens: int = 10, seconds: float = 1.0, **changes: Any) -> pd.DataFrame:
    """One answer a problem, one problem a family."""
    n = len(passed)
    rows = {
        "problem_id": range(n),
        "sample": 0,
        "family": [f"f{i:03d}" for i in range(n)],
        "tokens": tokens,
        "slots": 2 * tokens,
        "seconds": seconds,
        "joules": 2 * seconds,
        "prompt_tokens": 50,
        "finish": "stop",
        "status": ["passed" if p else "failed" for p in passed],
    }
    return pd.DataFrame(rows | changes)


def resampling(*tables: pd.DataFrame, draws: int = 1000, seed: int = 0) -> Resampling:
    return Resampling.draw(pd.concat(tables)["family"], draws, rng(seed))


# Formulas


@pytest.mark.parametrize(("n", "c"), [(1, 0), (1, 1), (5, 0), (5, 2), (6, 5), (6, 6)])
def test_pass_at_k_equals_the_share_of_all_choices_that_hold_a_passing_answer(n: int, c: int) -> None:
    for k in range(1, n + 1):
        choices = list(itertools.combinations([i < c for i in range(n)], k))
        assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, choices)) / len(choices))


def test_pass_at_k_refuses_more_answers_than_there_are() -> None:
    with pytest.raises(ValueError, match="k: got 3 with n = 2"):
        pass_at_k(2, 1, 3)
    with pytest.raises(ValueError, match="c: got 3 passed of n = 2"):
        pass_at_k(2, 3, 1)


def test_wilson_interval_of_a_textbook_case() -> None:
    # 10 of 20, z = 1.96: centre (.5 + z^2/40) / (1 + z^2/20) = .5, half width .2007.
    low, high = wilson(10, 20)
    assert [low, high] == pytest.approx([0.2993, 0.7007], abs=1e-4)
    assert wilson(0, 20)[0] == 0
    assert 0.1 < wilson(0, 20)[1] < 0.2


def test_detectable_effects_match_the_published_table() -> None:
    assert minimum_detectable_effect(0.10, 1000) == pytest.approx(0.028, abs=5e-4)
    assert minimum_detectable_effect(0.20, 1000, 1.6) == pytest.approx(0.050, abs=5e-4)


# Resampling


def test_bootstrap_of_two_families_has_the_distribution_one_can_count() -> None:
    # Families with 0 of 1 and 1 of 3 passed: (2, 0) gives 0, (1, 1) gives 1/4, (0, 2) gives 1/3,
    # with chances 1/4, 1/2, 1/4.
    rows = pd.DataFrame({"family": ["a", "b"], "passed": [0, 1], "n": [1, 3]})
    sums = Resampling.draw(rows["family"], 20_000, rng()).sums(rows, ["passed", "n"])
    rate = sums["passed"] / sums["n"]
    assert rate.point == 0.25
    for value, chance in ((0.0, 0.25), (0.25, 0.5), (1 / 3, 0.25)):
        assert np.isclose(rate.draws, value).mean() == pytest.approx(chance, abs=0.02)


def test_bootstrap_interval_of_a_mean_is_close_to_the_normal_one() -> None:
    values = rng(3).normal(5, 2, size=200)
    rows = pd.DataFrame({"family": [f"{i:03d}" for i in range(200)], "x": values, "n": 1})
    sums = Resampling.draw(rows["family"], 4000, rng(1)).sums(rows, ["x", "n"])
    low, high = interval((sums["x"] / sums["n"]).draws)
    error = values.std() / math.sqrt(200)
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.1 * error + 0.03)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.1 * error + 0.03)


def test_variants_of_one_origin_widen_the_interval() -> None:
    alone = answers([1, 0] * 20)
    clustered = alone.assign(family=[f"g{i // 10}{i % 2}" for i in range(40)])
    widths = []
    for rows in (alone, clustered):
        found = policy_metrics(rows, resampling(rows))["pass_rate"]
        widths.append(found["high"] - found["low"])
    assert widths[1] > 1.5 * widths[0]


def test_the_generator_decides_the_draws() -> None:
    rows = answers([1, 0, 1, 0, 1])
    assert (resampling(rows, seed=1).weights == resampling(rows, seed=1).weights).all()
    assert (resampling(rows, seed=1).weights != resampling(rows, seed=2).weights).any()
    assert (resampling(rows).weights.sum(axis=1) == 5).all()


def test_no_family_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(ValueError, match="at least one family"):
        Resampling.draw([], 10, rng())


def test_an_undefined_draw_takes_the_limit_away_instead_of_narrowing_the_interval() -> None:
    draws = np.concatenate([np.full(90, 2.0), np.full(10, np.nan)])
    assert interval(draws) == (None, None)
    found = estimate(Quantity(2.0, draws), "s", families=9)
    assert found.estimate == 2.0 and found.reason is not None and "no limit" in found.reason
    assert interval(np.concatenate([np.full(90, 2.0), np.full(10, np.inf)])) == (2.0, None)


def test_with_few_families_percentiles_are_moved_outwards() -> None:
    # Ten normal families: draws of their mean scatter by sqrt(9/10) of what they should, and Student's 2.262 belongs in place of 1.96;
    # moved outwards the interval is the t interval.
    draws = np.sort(rng(1).normal(0, math.sqrt(0.9), 400_000))
    low, high = interval(draws, families=10)
    assert low is not None and high is not None
    assert [low, high] == pytest.approx([-2.262, 2.262], abs=0.02)
    assert interval(draws, families=10_000)[1] == pytest.approx(1.96 * math.sqrt(0.9), abs=0.02)


def test_one_family_gives_no_interval() -> None:
    rows = answers([1])
    found = policy_metrics(rows, resampling(rows))["tokens_per_answer"]
    assert (found["estimate"], found["low"], found["high"]) == (10, None, None)
    assert "fewer than two families" in found["reason"]


def test_sign_flip_test_counts_the_flips() -> None:
    # Four families all up by one: 2 of 16 flips are as extreme.
    assert sign_flip_p(np.array([1.0, 1, 1, 1, 0, 0]), 10, rng()) == 0.125  # 2 of the 16 flips, all looked at
    assert sign_flip_p(np.array([1.0, 1, -1, 3]), 10, rng()) == 0.5  # 4 and 6, and their negatives: 8 of 16
    alike = np.ones(20)
    alike[:7] = -1  # 13 of 20 heads or more, or as few
    assert sign_flip_p(alike, 40_000, rng()) == pytest.approx(0.263, abs=0.01)
    assert sign_flip_p(np.zeros(5), 100, rng()) == 1


# Metrics and comparisons


def test_metrics_are_sums_over_sums_and_leave_unavailable_answers_out_of_the_pass_rate() -> None:
    rows = answers([1, 0, 0, 0]).assign(
        tokens=[10, 20, 30, 40],
        slots=[40, 40, 40, 40],
        seconds=[1.0, 2.0, 3.0, 4.0],
        finish=["stop", "stop", "stop", "length"],
        status=["passed", "failed", "timed_out", "unavailable"],
    )
    found = policy_metrics(rows, resampling(rows))
    expected = {
        "pass_rate": 1 / 3,
        "tokens_per_answer": 25,
        "seconds_per_answer": 2.5,
        "tokens_per_s": 10,
        "seconds_per_correct": 6,
        "cap_share": 0.25,
        "utilisation": 100 / 160,
        "prompt_tokens": 50,
        "answers": 4,
        "graded": 3,
        "passed": 1,
        "unavailable": 1,
    }
    assert {name: found[name]["estimate"] for name in expected} == pytest.approx(expected)
    assert found["pass_rate"]["wilson_low"] == pytest.approx(wilson(1, 3)[0])
    # A third of the families passing leaves many draws without any pass.
    assert found["seconds_per_correct"]["high"] is None


def test_where_nothing_passed_the_cost_of_a_correct_answer_is_null_with_a_reason() -> None:
    rows = answers([0] * 30)
    found = policy_metrics(rows, resampling(rows))
    assert found["seconds_per_correct"]["estimate"] is None
    assert found["seconds_per_correct"]["reason"] == "no answer passed"
    assert found["pass_rate"]["low"] == 0 and found["pass_rate"]["high"] == pytest.approx(wilson(0, 30)[1])


def test_answers_without_verdicts_still_have_costs() -> None:
    rows = answers([0, 0, 0]).assign(status=None)
    found = policy_metrics(rows, resampling(rows))
    assert found["tokens_per_answer"]["estimate"] == 10
    assert found["pass_rate"]["estimate"] is None and found["pass_rate"]["reason"] == "no answer was graded"


def test_several_answers_a_problem_give_pass_at_k() -> None:
    rows = pd.concat([answers([1, 0, 0]).assign(sample=0), answers([0, 1, 0]).assign(sample=1)])
    found = policy_metrics(rows, resampling(rows))
    assert found["pass_rate"]["estimate"] == pytest.approx(2 / 6)
    assert found["pass_at_2"]["estimate"] == pytest.approx(2 / 3)
    assert "pass_at_5" not in found


def test_identical_arms_differ_in_nothing() -> None:
    rows = answers([1, 0, 0, 1, 0] * 6)
    for name, found in compare(rows, rows.copy(), resampling(rows), rng()).items():
        assert found["verdict"] == "no difference seen", name
    found = compare(rows, rows.copy(), resampling(rows), rng())["pass_rate"]
    # No discordant problem bounds the difference; it does not prove it to be nothing.
    assert found["low"] < 0 < found["high"] and found["detectable"] >= 6 / 30


def test_paired_comparison_by_hand() -> None:
    base = answers([0] * 30 + [1] * 10)
    rows = answers([1] * 20 + [0] * 10 + [1] * 10, tokens=5, seconds=0.25)
    found = compare(rows, base, resampling(base), rng())
    assert found["pass_rate"]["estimate"] == pytest.approx(0.5)
    assert found["pass_rate"]["discordance"] == pytest.approx(0.5)
    assert found["pass_rate"]["verdict"] == "higher" and found["pass_rate"]["p"] < 0.01
    assert found["pass_rate"]["detectable"] == pytest.approx(
        minimum_detectable_effect(0.5, 40, found["pass_rate"]["design_effect"])
    )
    assert found["pass_rate"]["design_effect"] == pytest.approx(1, abs=0.15)
    expected = {
        "tokens_per_answer": 0.5,
        "seconds_per_answer": 0.25,
        "tokens_per_s": 2.0,
        "seconds_per_correct": 1 / 12,
    }
    for name, ratio in expected.items():
        assert found[name]["estimate"] == pytest.approx(ratio), name
        assert found[name]["unit"] == "ratio"
    assert [found[name]["verdict"] for name in expected] == ["lower", "lower", "higher", "lower"]


def test_a_handful_of_new_passes_is_no_increase() -> None:
    base, rows = answers([0] * 60), answers([1] * 5 + [0] * 55)
    found = compare(rows, base, resampling(base, draws=4000), rng())["pass_rate"]
    # The percentile interval excludes zero, but 2 of 32 sign flips are as extreme.
    assert found["low"] > 0 and found["p"] > 0.05
    assert found["verdict"] == "no difference seen" and "too few" in found["reason"]


def test_comparisons_use_common_problems_only() -> None:
    base = answers([1, 0, 1, 0], tokens=10)
    rows = answers([1, 0, 1, 0], tokens=10).iloc[:2]
    base.loc[2:, "tokens"] = 1000
    found = compare(rows, base, resampling(base), rng())
    assert found["tokens_per_answer"]["estimate"] == 1
    assert found["pass_rate"]["n"] == 2


def test_against_a_baseline_without_a_pass_no_gain_is_claimed_for_its_cost() -> None:
    base, rows = answers([0] * 20), answers([1] * 10 + [0] * 10)
    found = compare(rows, base, resampling(base), rng())
    assert found["seconds_per_correct"]["verdict"] == "not measured"
    assert found["seconds_per_correct"]["reason"] == "no answer passed in the baseline"
    found = compare(base, rows, resampling(base), rng())
    assert found["seconds_per_correct"]["reason"] == "no answer passed"


def test_factors_multiply_to_the_ratio_of_seconds_per_correct_answer() -> None:
    base = answers([1, 0, 1, 0, 1] * 8, tokens=40, seconds=2.0)
    rows = answers([1, 1, 1, 0, 1] * 8, tokens=30, seconds=1.2)
    found = {name: part["estimate"] for name, part in decompose(rows, base, resampling(base)).items()}
    assert found["total"] == pytest.approx(math.prod(value for name, value in found.items() if name != "total"))
    assert found["attempts"] == pytest.approx(24 / 32) and found["length"] == pytest.approx(0.75)


def test_a_machine_whose_pace_scatters_widens_intervals_of_time_alone() -> None:
    base = answers([1, 0, 1, 0, 1] * 8, tokens=40, seconds=2.0)
    rows = answers([1, 1, 1, 0, 1] * 8, tokens=30, seconds=1.2)
    drawn = resampling(base)
    paces = drawn.paces({"x": [50.0, 60.0], "base": [40.0, 50.0]}, rng())
    calm = compare(rows, base, drawn, rng())
    stormy = compare(rows, base, drawn, rng(), (paces["x"], paces["base"]))
    for name in ("seconds_per_answer", "tokens_per_s", "seconds_per_correct"):
        assert stormy[name]["low"] < calm[name]["low"] and stormy[name]["high"] > calm[name]["high"], name
        assert stormy[name]["estimate"] == calm[name]["estimate"]
    for name in ("tokens_per_answer", "pass_rate", "utilisation"):
        assert (stormy[name]["low"], stormy[name]["high"]) == (calm[name]["low"], calm[name]["high"]), name


def test_errors_of_pace_scatter_as_the_probes_do() -> None:
    drawn = Resampling.draw([f"f{n}" for n in range(500)], 20_000, rng())
    noise = np.random.default_rng(3).normal(0, 0.05, (10, 2))
    paces = drawn.paces({str(n): list(50 * np.exp(pair)) for n, pair in enumerate(noise)} | {"none": []}, rng())
    assert set(paces) == {str(n) for n in range(10)}
    # Student's t with 19 degrees of freedom: variance 19 / 17; among 500 families the expansion is 0.3 %
    assert np.log(paces["0"]).std() == pytest.approx(noise.std(ddof=1) * math.sqrt(19 / 17), rel=0.02)
    assert np.log(paces["0"]).mean() == pytest.approx(0, abs=0.002)
    assert drawn.paces({"x": [50.0]}, rng()) == {}


def test_bootstrap_p_value_by_hand() -> None:
    draws = np.array([1.0] * 95 + [-1.0] * 4)
    assert bootstrap_p(draws, 0.0) == pytest.approx(2 * 5 / 100)
    assert bootstrap_p(np.full(99, np.nan), 0.0) == 1.0


@pytest.mark.parametrize("families", [6, 12, 300])
def test_p_value_and_interval_of_the_bootstrap_agree(families: int) -> None:
    for shift in np.linspace(0, 6, 61):
        draws = rng(5).normal(shift, 1.0, 4999)
        low, high = interval(draws, families=families)
        assert low is not None and high is not None
        p = bootstrap_p(draws, 0.0, families)
        assert (p < 0.05) == (low > 0 or high < 0) or abs(p - 0.05) < 5e-3  # a draw more or less


def test_what_is_detectable_must_outlive_the_number_of_comparisons() -> None:
    base, rows = answers([0] * 30 + [1] * 10), answers([1] * 20 + [0] * 10 + [1] * 10)
    alone, among = (
        compare(rows, base, resampling(base), rng(), compared=n)["pass_rate"]["detectable"] for n in (1, 12)
    )
    # z of 0.05 / 24 is 2.87, of 0.05 / 2 1.96; 0.84 for the power
    assert among / alone == pytest.approx((2.865 + 0.842) / (1.960 + 0.842), rel=1e-3)
    same = compare(rows, rows, resampling(rows), rng(), compared=12)["pass_rate"]
    assert same["detectable"] >= 9 / 40  # 2 / 2^9 < 0.05 / 12 < 2 / 2^8


# Best of n: one answer a problem, all that was drawn is paid for


def drawn(passed: list[int], each: int) -> pd.DataFrame:
    """`each` answers a problem, the second kept and graded."""
    rows = answers(passed, tokens=10, seconds=1.0)
    parts = [rows.assign(sample=k, kept=k == 1, status=rows["status"] if k == 1 else None) for k in range(each)]
    return pd.concat(parts, ignore_index=True)


def test_the_best_of_three_costs_three_answers_and_is_one() -> None:
    rows = drawn([1, 0, 0, 1], 3)
    found = policy_metrics(rows, resampling(rows))
    plain = policy_metrics(answers([1, 0, 0, 1]), resampling(rows))
    for name, factor in (("tokens_per_answer", 3), ("seconds_per_correct", 3), ("pass_rate", 1), ("tokens_per_s", 1)):
        assert found[name]["estimate"] == pytest.approx(factor * plain[name]["estimate"]), name
    assert found["answers"]["estimate"] == found["graded"]["estimate"] == 4
    split = decompose(rows, answers([1, 0, 0, 1]), resampling(rows))
    assert split["total"]["estimate"] == pytest.approx(3) and split["length"]["estimate"] == pytest.approx(3)


def test_what_was_drawn_for_an_ungraded_answer_is_left_out_with_it() -> None:
    rows = drawn([1, 0, 0, 1], 2)
    rows.loc[rows["problem_id"] == 3, "status"] = None
    assert policy_metrics(rows, resampling(rows))["seconds_per_correct"]["estimate"] == pytest.approx(6)


# The direction as a dose


def test_a_slope_by_hand() -> None:
    values = np.array([[1.0, 0.0], [2.0, 0.0], [6.0, 3.0]])
    # centred angles -1, 0, 1: (6 - 1) / 2, (3 - 0) / 2
    assert slope(np.array([10.0, 11.0, 12.0]), values) == pytest.approx([2.5, 1.5])


def test_the_dose_response_is_told_per_45_degrees() -> None:
    families = [f"f{i % 9}" for i in range(36)]
    by_angle = {
        angle: answers([1] * right + [0] * (36 - right), tokens=tokens, family=families)
        for angle, tokens, right in ((-45.0, 10, 9), (0.0, 20, 18), (45.0, 40, 27))
    }
    found = dose_response(by_angle, resampling(by_angle[0.0]))
    assert found["tokens_per_answer"]["estimate"] == pytest.approx(2) and found["tokens_per_answer"]["ordered"] == 1
    assert found["tokens_per_answer"]["verdict"] == "higher"
    assert found["pass_rate"]["estimate"] == pytest.approx(0.25) and found["pass_rate"]["kind"] == "difference"
    assert found["seconds_per_answer"]["verdict"] == "no difference seen"


def test_a_pass_rate_that_never_changes_has_a_slope_without_an_interval() -> None:
    rows = answers([1] * 5 + [0] * 31, family=[f"f{i % 9}" for i in range(36)])
    found = dose_response({-45.0: rows, 45.0: rows}, resampling(rows))["pass_rate"]
    assert (
        found["estimate"] == pytest.approx(0)
        and found["low"] is None is found["high"]
        and found["verdict"] == "not measured"
    )
    assert "no certainty" in found["reason"]


def test_a_share_has_no_limit_below_none_or_above_all() -> None:
    found = with_wilson({"estimate": 0.01, "low": -0.02, "high": 1.01}, 100)
    assert (found["low"], found["high"]) == (0.0, 1.0)


def test_a_dial_is_one_set_of_weights_asked_for_several_directions() -> None:
    asked = {
        "base": {"angle": None, "adapter": ""},
        "up": {"angle": 45.0, "adapter": "a"},
        "down": {"angle": -45.0, "adapter": "a"},
        "other": {"angle": 0.0, "adapter": "b"},
    }
    assert dials(asked) == {"up": {-45.0: "down", 45.0: "up"}}


def test_of_many_comparisons_some_verdicts_are_taken_back() -> None:
    def found(p: float) -> dict[str, Any]:
        return {"estimate": 1.2, "low": 1.01, "high": 1.4, "verdict": "higher", "p": p}

    compared = {f"x{n}": {"pass_rate": found(p), "utilisation": found(p)} for n, p in enumerate((0.01, 0.03, 0.04))}
    adjust(compared)
    # Holm: 3 x .01, 2 x .03, then the largest so far; Benjamini and Hochberg: 3/1 x .01, 3/2 x .03, .04, from the end the smallest so far
    assert [row["pass_rate"]["p_adjusted"] for row in compared.values()] == pytest.approx([0.03, 0.06, 0.06])
    assert [row["utilisation"]["p_adjusted"] for row in compared.values()] == pytest.approx([0.03, 0.04, 0.04])
    assert [row["pass_rate"]["verdict"] for row in compared.values()] == ["higher"] + ["no difference seen"] * 2
    assert "after adjustment for 3 comparisons" in compared["x1"]["pass_rate"]["reason"]
    assert [row["utilisation"]["verdict"] for row in compared.values()] == ["higher"] * 3


def test_failed_requests_are_no_answers_but_their_time_is_spent() -> None:
    rows = answers([1, 0, 1, 0]).assign(
        finish=["stop", "stop", "stop", "failed"],
        tokens=[10, 10, 10, 0],
        slots=[20, 20, 20, 0],
        status=["passed", "failed", "passed", None],
    )
    found = {name: value["estimate"] for name, value in policy_metrics(rows, resampling(rows)).items()}
    assert (found["answers"], found["failed"], found["graded"]) == (3, 1, 3)
    assert found["tokens_per_answer"] == 10 and found["seconds_per_answer"] == pytest.approx(4 / 3)
    assert found["tokens_per_s"] == pytest.approx(30 / 4) and found["prompt_tokens"] == 50
    assert found["seconds_per_correct"] == pytest.approx(4 / 2)  # what went into the failed request is part of the cost
    base = answers([1, 0, 1, 0])
    compared = compare(rows, base, resampling(base), rng())
    assert compared["tokens_per_answer"]["estimate"] == 1  # a failure is no answer of length 0


def test_where_no_answer_is_cut_the_share_is_bounded_not_zero() -> None:
    rows = answers([1, 0] * 20)
    found = policy_metrics(rows, resampling(rows))["cap_share"]
    assert found["low"] == 0 and found["high"] == pytest.approx(wilson(0, 40)[1])
    found = compare(rows, rows.copy(), resampling(rows), rng())["cap_share"]
    assert found["low"] == -found["high"] < 0 and found["verdict"] == "no difference seen"


def test_a_dominated_policy_is_on_the_front_in_no_draw() -> None:
    good, bad = answers([1] * 10), answers([0] * 10, seconds=3.0)
    shares = front_shares({"bad": bad, "good": good, "copy": good}, resampling(good))
    assert shares == {"bad": 0, "good": 1, "copy": 1}


def test_attainment_curves_of_a_policy_that_cannot_vary() -> None:
    good, bad = answers([1] * 10, seconds=2.0), answers([0] * 10, seconds=1.0)
    table = attainment({"good": good, "bad": bad}, resampling(good))
    for share in (5, 50, 95):
        part = table[table["attained"] == share]
        assert part[["seconds_per_answer", "pass_rate"]].to_numpy().tolist() == [[1.0, 0.0], [2.0, 1.0]]


def test_the_likelier_a_curve_the_lower_it_lies() -> None:
    rows = {"x": answers([1, 0, 0, 1, 0, 1, 1, 0] * 4), "y": answers([1, 0] * 16, seconds=2.0)}
    table = attainment(rows, resampling(*rows.values()))
    best = table.groupby("attained")["pass_rate"].max()
    assert best[5] > best[50] > best[95]


def test_groups_keep_order_and_counts() -> None:
    rows = answers([1, 0, 0, 0]).assign(
        arm=pd.Categorical(["x"] * 4, ["x", "y"]), library=pd.Series(["A", "A", "B", None], dtype=object)
    )
    table = group_table(rows, "library", 200, 0)
    assert table[["library", "answers", "passed"]].to_numpy().tolist() == [["A", 2, 1], ["B", 1, 0]]
    assert tuple(table.loc[1, ["low", "high"]]) == pytest.approx(wilson(0, 1))  # one family shows no spread


def test_a_group_is_resampled_by_its_own_families_and_trials_are_its_problems() -> None:
    own = answers([1, 0, 0, 1, 0, 0]).assign(arm="x", library="A")
    others = answers([1, 0] * 20, family=[f"g{n}" for n in range(40)]).assign(arm="x", library="B")
    alone, beside = (group_table(rows, "library", 500, 0) for rows in (own, pd.concat([own, others])))
    assert beside[beside["library"] == "A"].to_dict("records") == alone.to_dict("records")
    # three trainings, or three answers each, that fail on all six problems are no eighteen problems
    none = answers([0] * 6).assign(arm="x", library="A")
    thrice = pd.concat([none.assign(seed=seed) for seed in range(3)])
    samples = pd.concat([none.assign(sample=sample) for sample in range(3)])
    for rows in (thrice, samples):
        limits = group_table(rows, "library", 200, 0).loc[0, ["low", "high"]]
        assert tuple(limits) == pytest.approx(wilson(0, 6))
        rate = policy_metrics(rows, resampling(rows))["pass_rate"]
        assert (rate["low"], rate["high"]) == pytest.approx(wilson(0, 6))


def test_what_the_design_decides_is_not_tested_and_makes_no_other_test_easier() -> None:
    rows = answers([1, 0] * 12)
    found = compare(rows.assign(prompt_tokens=80), rows, resampling(rows), rng())
    assert found["prompt_tokens"]["estimate"] == pytest.approx(1.6) and found["prompt_tokens"]["p"] is None
    adjust({"x": found})
    assert "p_adjusted" not in found["prompt_tokens"] and "p_adjusted" in found["tokens_per_answer"]


def test_policies_cut_on_the_same_problems_have_a_bound_and_no_certainty() -> None:
    rows = answers([1, 0] * 16, finish=["length" if n % 4 == 0 else "stop" for n in range(32)])
    value = compare(rows, rows, resampling(rows), rng())["cap_share"]
    bound = wilson(0, 32)[1]
    assert (value["estimate"], value["low"], value["high"]) == pytest.approx((0, -bound, bound))
    assert value["verdict"] == "no difference seen" and "no problem differs" in value["reason"]
    none = rows.assign(finish="stop")
    assert compare(rows, none, resampling(rows), rng())["cap_share"]["low"] > 0  # a quarter is


def test_a_price_from_nothing_to_no_limit_is_not_tested() -> None:
    """Where draws without a right answer of either policy are common, any ratio fits."""
    first, last = answers([1] + [0] * 11), answers([0] * 11 + [1])
    value = compare(first, last, resampling(first), rng())["seconds_per_correct"]
    assert not value["low"] and value["high"] is None and value["p"] is None


def test_the_luck_of_training_is_in_pass_at_k() -> None:
    """Three trainings that pass one, five and nine answers of ten: what a further one would do is hardly known."""
    rng_ = rng()
    rows = pd.concat(
        answers(list(rng_.random(40) < share), family=[f"f{n}" for n in range(40)]).assign(seed=seed, sample=sample)
        for seed, share in enumerate((0.1, 0.5, 0.9))
        for sample in range(2)
    )
    found = policy_metrics(rows, resampling(rows))
    for name in ("pass_rate", "pass_at_2"):
        assert found[name]["high"] - found[name]["low"] > 0.8


# Words


@pytest.mark.parametrize(
    ("value", "neutral", "word"),
    [
        (Estimate(1.2, 1.01, 1.5, "ratio"), 1, "higher"),
        (Estimate(1.2, 1.0, 1.5, "ratio"), 1, "no difference seen"),
        (Estimate(1.2, 0.9, 1.5, "ratio"), 1, "no difference seen"),
        (Estimate(1.0, 1 + 1e-15, 1 + 2e-15, "ratio"), 1, "no difference seen"),
        (Estimate(0.8, 0.5, 0.99, "ratio"), 1, "lower"),
        (Estimate(1.2, 1.1, None, "ratio"), 1, "higher"),
        (Estimate(1.2, 0.9, None, "ratio"), 1, "no difference seen"),
        (Estimate(0.5, None, None, "share"), 0, "not measured"),
        (Estimate(None, None, None, "share"), 0, "not measured"),
    ],
)
def test_an_interval_that_covers_no_change_is_never_a_change(value: Estimate, neutral: float, word: str) -> None:
    assert verdict(value, neutral) == word


# Throughput


def timings(ratios: dict[str, list[float]], flagged: tuple[str, int] | None = None) -> pd.DataFrame:
    """Policies with given speeds a block; block b itself runs at a speed of its own."""
    rows = []
    for policy, speeds in ratios.items():
        for block, speed in enumerate(speeds):
            mood = 1 + 0.3 * block
            rows.append(
                Timing(
                    policy=policy,
                    block=block,
                    position=0,
                    batch_size=8,
                    prompt_tokens=100,
                    new_tokens=21,
                    prefill_s=0.5 * mood / speed,
                    decode_s=1.5 * mood / speed,
                    load_1min=0.0,
                    foreign_cpu=0.0,
                    flagged=(policy, block) == flagged,
                ).model_dump()
            )
    return pd.DataFrame(rows)


EVEN = [1.0, 1.001, 0.999, 1.0, 1.001, 0.999]


def test_joules_a_token_are_compared_with_the_baseline_block_by_block() -> None:
    rows = timings({"base": EVEN, "other": EVEN})
    watts = {"base": 100.0, "other": 150.0}
    power = rows["policy"].map(watts)
    counted = rows.assign(energy_j=power * (rows["prefill_s"] + rows["decode_s"]))
    found = compare_throughput(counted, ["base", "other"], "base", 0.02)
    moods = [2 * (1 + 0.3 * b) / EVEN[b] for b in range(6)]
    by_hand = math.exp(sum(math.log(100 * seconds / (8 * 21)) for seconds in moods) / 6)
    assert found["base"]["joules_per_token"]["estimate"] == pytest.approx(by_hand)
    assert found["base"]["joules_per_token"]["unit"] == "J/token" and "joules_ratio" not in found["base"]
    assert found["other"]["joules_ratio"]["estimate"] == pytest.approx(1.5)
    assert found["other"]["verdict"] == "equivalent"  # in speed
    told = {"ceilings": {"bytes_per_s": 1e9, "flops_per_s": 1e9}, "weight_bytes": 1e6, "kv_bytes_per_token": 10.0}
    row = roofline(counted, told | {"parameters": 1e6})[1]
    assert row["watts"] == pytest.approx(150.0)
    assert row["joules_per_token"] == pytest.approx(150 * float(np.median(moods)) / (8 * 21))


@pytest.mark.parametrize("lost", [slice(None), slice(0, 1)])
def test_joules_that_were_not_read_everywhere_are_told_nowhere(lost: slice) -> None:
    rows = timings({"base": EVEN, "other": EVEN}).assign(energy_j=7.0)
    rows.loc[rows.index[lost], "energy_j"] = None
    found = compare_throughput(rows, ["base", "other"], "base", 0.02)
    assert "joules_per_token" not in found["base"] and "joules_ratio" not in found["other"]
    assert ("joules_per_token" in found["other"]) == (lost == slice(0, 1))


def test_an_answer_has_the_share_of_joules_that_it_has_of_seconds_unless_a_judge_worked_uncounted() -> None:
    rows = pd.DataFrame({"seconds": [1.0, 3.0], "judge_s": 0.0})
    assert joules(rows, 8.0).tolist() == [2.0, 6.0]
    assert joules(rows, None).isna().all() and joules(rows.assign(judge_s=[0.0, 0.1]), 8.0).isna().all()


def test_joules_of_answers_are_sums_over_sums_and_none_where_some_were_not_counted() -> None:
    rows = answers([1, 0, 0, 1, 0] * 6)
    rows["joules"] = np.arange(30.0)
    found = policy_metrics(rows, resampling(rows))
    assert found["joules_per_answer"]["estimate"] == pytest.approx(14.5)
    assert found["joules_per_correct"]["estimate"] == pytest.approx(435 / 12)
    ungraded = rows.assign(joules=np.nan, status=rows["status"].where(rows.index % 2 == 0, "unavailable"))
    ungraded["family"] = ungraded["problem_id"] // 2  # each with one of both kinds
    assert policy_metrics(ungraded, resampling(ungraded))["joules_per_correct"]["estimate"] is None
    rows.loc[3, "joules"] = None
    found = policy_metrics(rows, resampling(rows))
    for name in ("joules_per_answer", "joules_per_correct"):
        assert found[name]["estimate"] is None and "not counted" in found[name]["reason"]


@pytest.mark.parametrize(
    ("speeds", "word"),
    [
        ([1.001, 1.0, 1.0, 0.999, 1.0, 1.0], "equivalent"),
        ([1.10, 1.11, 1.09, 1.10, 1.11, 1.09], "different"),
        ([1.010, 1.011, 1.009, 1.010, 1.011, 1.009], "both"),
        ([0.8, 1.2, 0.9, 1.1, 1.3, 0.8], "inconclusive"),
    ],
)
def test_throughput_verdicts(speeds: list[float], word: str) -> None:
    found = compare_throughput(timings({"base": EVEN, "x": speeds}), ["base", "x"], "base", 0.02)
    assert found["x"]["verdict"] == word
    assert found["base"]["verdict"] == "baseline"


def test_throughput_ratio_is_the_geometric_mean_of_block_ratios() -> None:
    found = compare_throughput(timings({"base": [1.0, 1.0], "x": [2.0, 0.5]}), ["base", "x"], "base", 0.02)["x"]
    assert found["ratio"]["estimate"] == pytest.approx(1)
    # t(.975, 1 degree) = 12.706; the logs are +-ln 2, standard error ln 2.
    assert found["ratio"]["high"] == pytest.approx(math.exp(12.7062 * math.log(2)), rel=1e-3)
    base = compare_throughput(timings({"base": [1.0]}), ["base"], "base", 0.02)["base"]
    rates = {name: base[name]["estimate"] for name in ("tokens_per_s", "decode_tokens_per_s", "prefill_tokens_per_s")}
    assert rates == pytest.approx(
        {"tokens_per_s": 84, "decode_tokens_per_s": 8 * 20 / 1.5, "prefill_tokens_per_s": 1600}
    )


def test_a_flagged_block_is_left_out_for_all_policies() -> None:
    table = timings({"base": EVEN, "x": EVEN, "y": EVEN}, flagged=("x", 2))
    found = compare_throughput(table, ["base", "x", "y"], "base", 0.02)
    assert {row["blocks"] for row in found.values()} == {5}


def test_a_block_that_lacks_a_policy_is_left_out_for_all() -> None:
    table = timings({"base": EVEN, "x": EVEN[:4]})
    assert compare_throughput(table, ["base", "x"], "base", 0.02)["x"]["blocks"] == 4


def test_fewer_than_two_blocks_give_no_interval() -> None:
    one = compare_throughput(timings({"base": [1.0], "x": [1.5]}), ["base", "x"], "base", 0.02)["x"]
    assert one["ratio"]["estimate"] == pytest.approx(1.5) and one["ratio"]["low"] is None
    assert (one["tost_p"], one["verdict"]) == (None, "inconclusive")
    none = compare_throughput(timings({"base": [1.0], "x": [1.5]}, flagged=("x", 0)), ["base", "x"], "base", 0.02)["x"]
    assert none["ratio"]["estimate"] is None and none["ratio"]["reason"] == "no usable block"


def test_policies_that_agree_exactly_are_equivalent() -> None:
    found = compare_throughput(timings({"base": [1.0, 1.0], "x": [1.0, 1.0]}), ["base", "x"], "base", 0.02)["x"]
    assert found["verdict"] == "equivalent"


# The stage


def put(
    folder: Path,
    stage: Any,
    rows: list[Any],
    name: str,
    parameters: dict[str, Any],
    summary: dict[str, Any] | None = None,
) -> None:
    append_jsonl(folder / name, rows)
    record = Record(stage=stage, parameters=parameters, counts={}, summary=summary or {}, provenance=NO_MACHINE)
    write_record(folder, record)


def put_arm(runs: Path, arm: str, passing: int, tokens: int, seconds: float, ids: list[int] | None = None) -> None:
    ids = [p["metadata"]["problem_id"] for p in load_problems("bundled")] if ids is None else ids
    made = [
        Answer(
            problem_id=i,
            prompt_tokens=80,
            tokens=tokens + i % 5,
            slots=tokens + 10,
            finish="stop",
            seconds=seconds,
            batch=0,
            batch_seconds=seconds,
            batch_size=1,
            prefill_s=0.1,
            raw="x",
            code="x",
        )
        for i in ids
    ]
    status = ["passed" if i < passing else "failed" for i in range(len(ids))]
    judged = [VerdictRow(problem_id=i, status=s) for i, s in zip(ids, status, strict=True)]  # type: ignore[arg-type]
    adapter = "" if arm == "base" else f"runs/align/{arm}/adapter"
    parameters = {"policy": arm, "adapter": adapter, "angle": None, "max_new_tokens": 64}
    told = {"weight_bytes": 2.7e8, "kv_bytes_per_token": 23_040, "probe_tokens_per_s": [50.0, 51.0]}
    put(runs / "generate" / arm, "generate", made, "answers.jsonl", parameters, told)
    put(runs / "grade" / arm, "grade", judged, "verdicts.jsonl", {})


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    put_arm(folder, "base", passing=10, tokens=60, seconds=1.0)
    put_arm(folder, "sft", passing=45, tokens=20, seconds=0.4)
    put_arm(folder, "dpo", passing=11, tokens=60, seconds=1.0)
    steps = [TrainingStep(step=i, loss=2.0 / (i + 1)) for i in range(10)]
    for arm in ("sft", "dpo"):
        put(folder / "align" / arm, "align", steps, "steps.jsonl", {})
    table = timings(
        {"base": EVEN, "sft": [1.001, 1.0, 1.0, 0.999, 1.0, 1.0], "dpo": [1.1, 1.11, 1.09, 1.1, 1.11, 1.09]}
    )
    rows = [Timing.model_validate(row) for row in table.to_dict("records")]
    put(
        folder / "throughput",
        "throughput",
        rows,
        "timings.jsonl",
        {"margin": 0.02, "policies": {"base": "", "sft": "", "dpo": ""}},
    )
    return folder


def parameters(runs: Path, *policies: str, **changes: Any) -> AnalyseParameters:
    values: dict[str, Any] = {
        "runs": str(runs),
        "out": str(runs.parent / "results"),
        "policies": list(policies),
        "draws": 400,
        "learning": "",
    }
    return AnalyseParameters(**(values | changes))


def test_the_stage_writes_everything_the_book_reads(runs: Path) -> None:
    record = run(parameters(runs, "base", "sft", "dpo"))
    out = runs.parent / "results"
    assert read_record(out).summary == json.loads(json.dumps(record.summary))
    tables = {path.stem: pd.read_csv(path) for path in (out / "tables").glob("*.csv")}
    named = "policies libraries tiers perturbations throughput training verdicts comparisons decomposition seconds"
    named += " attainment latency roofline self_check controls acceptance dose_response doses claims users groups against_control"
    assert set(tables) == set(named.split())
    assert list(tables["verdicts"].columns) == VERDICTS
    assert list(tables["policies"].columns) == ESTIMATES and list(tables["comparisons"].columns) == COMPARED
    # the timings here have none, nor is any policy asked for two directions
    unchecked = "roofline self_check controls acceptance dose_response doses users groups against_control".split()
    assert all(len(table) for name, table in tables.items() if name not in unchecked)
    figures = "pass_rate seconds_per_correct tokens_per_answer tokens_per_second training tradeoff waterfall self_check roofline acceptance"
    figures += " dose_response pass_rate_by_group"
    assert {path.stem for path in (out / "figures").glob("*.svg")} == set(figures.split())
    stages = {path.stem for path in (out / "stages").glob("*.json")}
    assert stages == {"throughput", "align-sft", "align-dpo"} | {
        f"{stage}-{arm}" for stage in ("generate", "grade") for arm in ("base", "sft", "dpo")
    }
    assert record.summary["missing"] == [] and record.summary["warnings"] == []
    assert record.counts["answers"] == 3 * record.counts["problems"]


def test_the_same_runs_give_the_same_files(runs: Path) -> None:
    contents = []
    for _ in range(2):
        run(parameters(runs, "base", "sft"))
        contents.append(
            {p.name: p.read_bytes() for p in (runs.parent / "results").rglob("*.*") if p.name != "record.json"}
        )
    assert contents[0] == contents[1]


def test_published_rows_are_enough_to_analyse_again(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    p = parameters(runs, "base", "sft")
    run(p)
    published = (tmp_path / "elsewhere/results/study").resolve()
    published.parent.mkdir(parents=True)
    Path(p.out).rename(published)
    shutil.rmtree(runs)
    found = again(published, str(tmp_path / "again"))
    assert set(found) == {path.stem for path in published.glob("tables/*.csv")}
    assert all(found.values()), found
    # and the analysis of packed rows packs them again, to the byte
    own = [path.relative_to(published) for path in sorted(published.rglob("rows/*/*/*.jsonl.gz"))]
    assert {path.parts[1] for path in own} >= {"generate", "grade"}
    for path in own:
        assert (tmp_path / "again" / path).read_bytes() == (published / path).read_bytes()

    # what lies here under the paths that the published rows were made from is not read in their place
    decoy = tmp_path / "decoy"
    put(decoy / "runs/align/sft", "align", [TrainingStep(step=1, loss=9.0)], "steps.jsonl", {})
    monkeypatch.chdir(decoy)
    training = Path("rows/align/sft")
    shutil.move(published / training, tmp_path / "away")
    assert not again(published, str(tmp_path / "again"))["training"]
    assert "training of sft" in str(read_record(tmp_path / "again").summary["missing"])
    shutil.move(tmp_path / "away", published / training)

    results = decoy / "results/study"
    results.parent.mkdir()
    results.symlink_to(published)
    assert cli.main(["again", "study"]) == 0
    assert "tables come out as published" in capsys.readouterr().out
    assert cli.main(["again", "study", "--out", str(results)]) == 2
    assert cli.main(["again", "study", "--problems", "nowhere.jsonl"]) == 2
    assert "problems: nowhere.jsonl is not here" in capsys.readouterr().err

    packed = published / "rows/grade/sft/verdicts.jsonl.gz"
    changed = gzip.decompress(packed.read_bytes()).replace(b"failed", b"passed")
    packed.write_bytes(gzip.compress(changed))
    found = again(published, str(tmp_path / "again"))
    assert not found["policies"] and not found["verdicts"]
    assert found["throughput"]
    assert cli.main(["again", "study"]) == 1

    packed.write_bytes(packed.read_bytes()[:-9])
    with pytest.raises(ValueError, match=r"verdicts\.jsonl\.gz: cut short, or no gzip file"):
        again(published, str(tmp_path / "again"))
    shutil.rmtree(published / "rows")
    with pytest.raises(ValueError, match=r"rows: no such folder.*make study PROFILE=study"):
        again(published, str(tmp_path / "again"))


WITH_ROWS = [path.parent for path in sorted((Path(__file__).parents[1] / "results").glob("*/rows"))]


@pytest.mark.parametrize("results", WITH_ROWS, ids=lambda path: path.name)
def test_the_committed_rows_give_the_committed_numbers(results: Path, tmp_path: Path) -> None:
    problems = str(read_record(results).parameters["problems"])
    if problems.endswith((".jsonl", ".jsonl.gz")) and not Path(problems).is_file():
        pytest.skip(f"{problems} is no part of the project")
    found = again(results, str(tmp_path))
    # the claims ledger reads results of learning besides, which may be newer
    other = [name for name, same in found.items() if not same and name not in ("claims", "users", "groups")]
    assert not other


def test_sentences_follow_the_data(runs: Path) -> None:
    summary = run(parameters(runs, "base", "sft", "dpo")).summary
    texts = summary["headline"]
    assert list(texts) == ["efficiency", "answers", "correctness"]
    assert "equivalent within the margin for sft (" in texts["efficiency"]
    assert "faster for dpo (×1.100 [" in texts["efficiency"]
    assert "tokens per answer of other policies are lower for sft (" in texts["answers"]
    assert "not seen to differ for dpo (×" in texts["answers"]
    assert "the pass rate of other policies is higher for sft (" in texts["correctness"]
    assert "not seen to differ for dpo (+1." in texts["correctness"]
    assert " (true differences below about" in texts["correctness"]
    assert not any(mark in text for text in texts.values() for mark in "$\\{}_")
    summary["comparisons"]["dpo"]["seconds_per_correct"] |= {"low": None, "high": None}  # such as of two right answers
    assert "without a limit either way for dpo" in headline(summary)["correctness"]


def test_the_answer_is_of_the_aligned_policies(runs: Path) -> None:
    path = runs / "align" / "dpo" / "record.json"
    record = json.loads(path.read_text())
    record["parameters"]["start"] = "runs/align/sft/adapter"
    path.write_text(json.dumps(record))
    control = runs / "align" / "sft" / "record.json"  # further training on rewards that changed places is none
    control.write_text(json.dumps(record | {"parameters": record["parameters"] | {"shuffle_rewards": True}}))
    summary = run(parameters(runs, "base", "sft", "dpo")).summary
    assert summary["aligned"] == ["dpo"]
    texts = summary["headline"]
    assert "of aligned policies relative to base are faster for dpo (×1.100 [" in texts["efficiency"]
    assert "tokens per answer of aligned policies are not seen to differ for dpo (×" in texts["answers"]
    assert "the pass rate of aligned policies is not seen to differ for dpo (+1." in texts["correctness"]
    assert not any("sft" in text for text in texts.values())


def test_swapping_the_baseline_swaps_the_words(runs: Path) -> None:
    texts = run(parameters(runs, "sft", "base")).summary["headline"]
    assert "the pass rate of other policies is lower for base (" in texts["correctness"]
    assert "tokens per answer of other policies are higher for base (" in texts["answers"]


def test_missing_arms_are_named_with_the_command_that_makes_them(runs: Path) -> None:
    append_jsonl(runs / "generate" / "dpa" / "answers.jsonl", [{"half": "done"}])
    record = run(parameters(runs, "base", "sft", "dpa", "other"))
    gaps = {gap["what"]: gap["command"] for gap in record.summary["missing"]}
    assert gaps == {"answers of dpa (interrupted after 1 rows)": "make study", "answers of other": "make study"}
    assert record.summary["policies"]["other"]["pass_rate"]["estimate"] is None
    assert "no answers of other" in (runs.parent / "results" / "tables" / "policies.csv").read_text()
    assert "missing: answers of other; to make it: make study" in headline_table(record)


def gaps(record: Record, what: str) -> list[str]:
    return [gap["what"] for gap in record.summary["missing"] if gap["what"].startswith(what)]


def test_training_seeds_are_pooled_and_their_luck_is_in_the_interval(runs: Path) -> None:
    for seed, tokens in ((1, 22), (2, 24)):
        put_arm(runs, f"sft-s{seed}", passing=45, tokens=tokens, seconds=0.4)
    for seed, tokens in ((1, 20), (2, 20)):
        put_arm(runs, f"dpo-s{seed}", passing=11, tokens=tokens, seconds=1.0)
    record = run(parameters(runs, "base", "sft", "dpo", seeds=[1, 2], draws=4000))
    n = record.counts["problems"]
    assert record.counts["answers"] == 7 * n and not gaps(record, "answers")
    own, base = [22.0, 24.0, 26.0], 62.0  # on average two tokens more than asked for
    compared = record.summary["comparisons"]["sft"]
    value = compared["tokens_per_answer"]
    assert value["estimate"] == pytest.approx(np.mean(own) / base, rel=0.01)
    assert value["seeds"] == pytest.approx([x / base for x in own], rel=0.01)
    # lengths hardly differ between problems here, so that the interval is nearly that of the three seeds alone
    logs = np.log(value["seeds"])
    low, high = np.exp(stats.t.interval(0.95, 2, logs.mean(), logs.std(ddof=1) / math.sqrt(3)))
    assert (value["low"], value["high"]) == pytest.approx((low, high), rel=0.05)
    assert value["verdict"] == "lower" and compared["pass_rate"]["verdict"] == "higher"
    # one seed as long as the baseline, two far shorter: clear over problems, not over seeds
    unsettled = record.summary["comparisons"]["dpo"]["tokens_per_answer"]
    assert unsettled["estimate"] < 0.6 and unsettled["high"] > 1 and unsettled["verdict"] == "no difference seen"
    # what n answers of one policy tell of the pass rate is not told three times
    single = run(parameters(runs, "base", "sft")).summary["policies"]["sft"]["pass_rate"]
    pooled = record.summary["policies"]["sft"]["pass_rate"]
    assert (pooled["wilson_low"], pooled["wilson_high"]) == pytest.approx((single["wilson_low"], single["wilson_high"]))
    assert "pass_at_2" not in record.summary["policies"]["sft"]


def test_what_seeds_scatter_for_luck_is_what_the_families_do_not_explain() -> None:
    """Three seeds whose own answers scatter as drawn: luck is the rest of their variance, by Satterthwaite's formula."""
    generator, draws, families = rng(4), 40_000, 20
    drawn = Resampling.draw([f"f{i}" for i in range(families)], draws, rng())
    shared, own = generator.normal(0, 0.5, draws), generator.normal(0, 0.3, (3, draws))
    points = np.array([1.0, 2.0, 4.0])
    each = [Quantity(p, p + shared + noise) for p, noise in zip(points, own, strict=True)]
    pooled = Quantity(points.mean(), points.mean() + shared + own.mean(axis=0))
    found = with_seeds(pooled, each, False, drawn)
    few, families_alone = 20 / 19, (0.25 + 0.09 / 3) * 20 / 19
    scatter = points.var(ddof=1) / 3

    def expected(luck: float, scatter: float) -> tuple[float, float]:
        """Limits about the mean: Student's t times the standard error."""
        total = families_alone + luck
        freedom = total**2 / (families_alone**2 / 19 + scatter**2 / 2)
        half = float(stats.t.isf(0.025, freedom)) * math.sqrt(total)
        return pooled.point - half, pooled.point + half

    assert interval(found.draws, families=20) == pytest.approx(expected(scatter - 0.09 * few / 3, scatter), abs=0.1)
    # seeds that scatter less than their own answers alone would: no luck seen
    alike = [Quantity(1.0 + 0.01 * i, 1.0 + shared + noise) for i, noise in enumerate(own)]
    same = with_seeds(pooled, alike, False, drawn)
    assert interval(same.draws, families=20) == pytest.approx(expected(0.0, 1e-4 / 3), abs=0.03)
    assert with_seeds(pooled, each[:1], False, drawn) is pooled


def test_a_policy_trained_once_is_compared_with_every_seed_of_the_baseline(runs: Path) -> None:
    for seed, tokens in ((1, 40), (2, 60)):
        put_arm(runs, f"sft-s{seed}", passing=45, tokens=tokens, seconds=0.4)
    value = run(parameters(runs, "sft", "base", seeds=[1, 2])).summary["comparisons"]["base"]["tokens_per_answer"]
    assert value["seeds"] == pytest.approx([62 / 22, 62 / 42, 62 / 62], rel=0.01)
    assert value["low"] < 1 and value["verdict"] == "no difference seen"


def test_a_seed_without_any_right_answer_leaves_the_price_without_limits(runs: Path) -> None:
    put_arm(runs, "sft-s1", passing=0, tokens=20, seconds=0.4)
    record = run(parameters(runs, "base", "sft", seeds=[1]))
    value = record.summary["comparisons"]["sft"]["seconds_per_correct"]
    assert value["estimate"] is not None and value["low"] is None and value["high"] is None
    assert value["verdict"] == "no difference seen" and value["seeds"][1] is None


def test_luck_of_training_alone_is_seldom_called_a_change() -> None:
    """Policies of three seeds that differ from the baseline by nothing but the luck of each training."""
    generator, studies, called = np.random.default_rng(5), 150, 0
    problems = pd.DataFrame({"problem_id": range(40), "family": [f"f{n // 2}" for n in range(40)]})
    need = generator.lognormal(3.0, 0.5, 40)

    def answered(luck: float) -> pd.DataFrame:
        tokens = np.maximum(1, np.round(need * math.exp(luck) * generator.lognormal(0.0, 0.1, 40))).astype(int)
        plain = dict(finish="stop", status="failed", seconds=1.0, prompt_tokens=10)
        return problems.assign(tokens=tokens, slots=tokens, **plain)

    for _ in range(studies):
        own = pd.concat([answered(generator.normal(0, 0.2)).assign(seed=seed) for seed in range(3)])
        base = answered(0.0).assign(seed=0)
        drawn = Resampling.draw(base["family"], 300, generator)
        called += compare(own, base, drawn, generator)["tokens_per_answer"]["verdict"] != "no difference seen"
    assert called / studies <= 0.1


def test_the_notebook_analyses_every_seed(runs: Path, tmp_path: Path) -> None:
    import papermill

    put_arm(runs, "sft-s1", passing=45, tokens=22, seconds=0.4)
    given = parameters(runs, "base", "sft", seeds=[1]).model_dump()
    papermill.execute_notebook(
        "notebooks/analyse.ipynb", str(tmp_path / "out.ipynb"), given, kernel_name="python3", progress_bar=False
    )
    record = read_record(runs.parent / "results")
    assert record.counts["answers"] == 3 * record.counts["problems"]
    assert len(record.summary["comparisons"]["sft"]["tokens_per_answer"]["seeds"]) == 2


def test_a_seed_given_twice_is_refused_and_arms_of_other_seeds_are_told_of(runs: Path) -> None:
    with pytest.raises(ValueError, match="seeds: got 0, which base has without a suffix"):
        run(parameters(runs, "base", "sft", seeds=[0]))
    record = json.loads((runs / "generate/sft/record.json").read_text())
    record["parameters"]["seed"] = 7
    (runs / "generate/sft/record.json").write_text(json.dumps(record))
    assert "arms differ in seed: base 0, sft 7" in run(parameters(runs, "base", "sft")).summary["warnings"]


def test_arms_whose_automatic_type_came_out_differently_are_told_of(runs: Path) -> None:
    for arm, dtype in (("base", "float32"), ("sft", "bfloat16")):
        path = runs / "generate" / arm / "record.json"
        record = json.loads(path.read_text())
        record["parameters"]["dtype"], record["summary"]["dtype"] = "auto", dtype
        path.write_text(json.dumps(record))
    warnings = run(parameters(runs, "base", "sft")).summary["warnings"]
    assert "arms differ in dtype: base float32, sft bfloat16" in warnings


def test_policies_that_were_trained_in_different_types_are_told_of(runs: Path) -> None:
    for policy, dtype in (("sft", "float32"), ("sft-s1", "bfloat16")):
        path = runs / "align" / policy / "record.json"
        if path.exists():
            record = json.loads(path.read_text())
            record["summary"]["dtype"] = dtype
            path.write_text(json.dumps(record))
        else:
            put(path.parent, "align", [TrainingStep(step=1, loss=1.0)], "steps.jsonl", {}, {"dtype": dtype})
    warnings = run(parameters(runs, "base", "sft")).summary["warnings"]
    assert "policies differ in dtype: sft float32, sft-s1 bfloat16" in warnings


def test_a_missing_seed_is_named(runs: Path) -> None:
    put_arm(runs, "sft-s1", passing=45, tokens=22, seconds=0.4)
    put_arm(runs, "dpo-s1", passing=11, tokens=60, seconds=1.0)
    record = run(parameters(runs, "base", "sft", "dpo", seeds=[1, 2]))
    assert gaps(record, "answers") == ["answers of sft-s2", "answers of dpo-s2"]
    assert len(record.summary["comparisons"]["sft"]["tokens_per_answer"]["seeds"]) == 2


def test_missing_verdicts_timings_and_training_are_named(runs: Path) -> None:
    for stage in ("grade/sft", "throughput", "align/sft"):
        (runs / stage / "record.json").unlink()
    record = run(parameters(runs, "base", "sft"))
    what = [gap["what"] for gap in record.summary["missing"]]
    assert [text.split(" (")[0] for text in what] == ["verdicts of sft", "timings at forced lengths", "training of sft"]
    assert "Tokens per second were not compared" in record.summary["headline"]["efficiency"]
    assert record.summary["policies"]["sft"]["tokens_per_answer"]["estimate"] == pytest.approx(22, abs=0.5)
    assert record.summary["comparisons"]["sft"]["pass_rate"]["verdict"] == "not measured"


def test_a_missing_baseline_is_named_and_nothing_is_compared(runs: Path) -> None:
    record = run(parameters(runs, "gone", "sft"))
    assert record.summary["comparisons"] == {}
    assert [gap["what"] for gap in record.summary["missing"]] == [
        "answers of gone",
        "all comparisons, which need answers of the baseline gone",
        "timings of the baseline gone",
    ]
    assert "not compared" in record.summary["headline"]["correctness"]


def test_nothing_at_all_is_an_error_that_names_the_command(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    with pytest.raises(ValueError, match="run make study first"):
        run(parameters(tmp_path / "runs", "base"))


def test_arms_answered_with_other_settings_or_fewer_problems_are_reported(runs: Path) -> None:
    put_arm(runs, "few", passing=1, tokens=20, seconds=0.4, ids=[0, 1, 2])
    path = runs / "generate" / "few" / "record.json"
    path.write_text(path.read_text().replace('"max_new_tokens": 64', '"max_new_tokens": 16'))
    summary = run(parameters(runs, "base", "few")).summary
    assert summary["warnings"] == ["arms differ in max_new_tokens: base 64, few 16"]
    assert any("answers of few to" in gap["what"] for gap in summary["missing"])


def test_of_many_policies_their_number_and_the_farthest_are_said() -> None:
    far = {name: Found("lower", f"×0.{9 - n}", float(n)) for n, name in enumerate("abcd")}
    order = ["higher", "lower"]
    assert group({"x": Found("higher", "×2")} | far, order) == "higher for x (×2), lower for 4 of 5 (farthest: d ×0.6)"
    assert group(far, order) == "lower for all 4 (farthest: d ×0.6)"
    assert group(far, order, bare=["lower"]) == "lower for all 4"
    few = {name: far[name] for name in "ab"}
    assert (
        group(few, order) == "lower for a (×0.9) and b (×0.8)" and group(few, order, ["lower"]) == "lower for a and b"
    )


def test_a_policy_that_learnt_nothing_is_reported(runs: Path) -> None:
    path = runs / "align" / "sft" / "record.json"
    record = json.loads(path.read_text())
    record["summary"]["warning"] = "nothing was learnt"
    path.write_text(json.dumps(record))
    assert run(parameters(runs, "base", "sft")).summary["warnings"] == ["training of sft: nothing was learnt"]


def test_answers_to_another_problem_set_are_refused(runs: Path) -> None:
    put_arm(runs, "odd", passing=1, tokens=20, seconds=0.4, ids=[0, 10**6])
    with pytest.raises(ValueError, match="lacks problem 1000000 that odd answers"):
        run(parameters(runs, "base", "odd"))


def test_what_an_earlier_analysis_made_of_other_arms_does_not_stay(runs: Path) -> None:
    run(parameters(runs, "base", "sft", "dpo"))
    run(parameters(runs, "base", "sft"))
    assert not (runs.parent / "results" / "stages" / "generate-dpo.json").exists()


def test_headline_table_fits_a_terminal(runs: Path) -> None:
    text = headline_table(run(parameters(runs, "base", "sft", "dpo")))
    assert max(map(len, text.splitlines())) <= 110
    assert text.splitlines()[0].split()[0] == "policy"
    assert "↑" in text and "↓" in text


def test_numbers_are_written_without_exponents() -> None:
    assert [digits(x) for x in (None, 0.0, 0.0123456, 1.0, 99.99, 12345.6)] == [
        "–",
        "0",
        "0.0123",
        "1.00",
        "100",
        "12,346",
    ]
    assert span(None, 2.0, digits) == "no lower limit to 2.00" and span(None, None, digits) == "no interval"
