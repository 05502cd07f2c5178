"""Learning shown or not shown: the statistics on data whose truth is known, the controls, and what the book says of them."""

from __future__ import annotations

import json
import math
import random
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradeoffs import figures
from tradeoffs.analysis import claims, learning
from tradeoffs.preferences.rewards import Reward, shuffled
from tradeoffs.tasks.examples import held_out_examples, training_examples

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "book" / "_ext"))
import study_learning  # noqa: E402 - it lies beside the book, not in the package


def outcomes(gain: float, seeds: int = 3, noise: float = 1.0, run: str = "rsft") -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = [
        {
            "run": run,
            "seed": seed,
            "shuffled": control,
            "objective": 50 + (0 if control else gain) + noise * rng.normal(),
        }
        for seed in range(seeds)
        for control in (False, True)
        for _ in range(40)
    ]
    return pd.DataFrame(rows)


def test_a_real_gain_is_found_and_no_gain_is_not() -> None:
    (found,) = learning.effects(outcomes(5.0)).to_dict("records")
    assert found["difference"] == pytest.approx(5.0, abs=0.5) and found["low"] < 5.0 < found["high"] and found["learns"]
    (none,) = learning.effects(outcomes(0.0)).to_dict("records")
    assert none["low"] < 0 < none["high"] and not none["learns"]


def test_intervals_over_seeds_cover_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(1)
    covered = [
        low < 2.0 < high for _ in range(2000) for _, low, high in [learning.mean_interval(rng.normal(2, 1, 3).tolist())]
    ]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.015)


def test_one_seed_gives_no_interval_and_shows_nothing() -> None:
    (found,) = learning.effects(outcomes(5.0, seeds=1)).to_dict("records")
    assert math.isnan(found["low"]) and not found["learns"]
    row = {name: "" if isinstance(value, float) and math.isnan(value) else str(value) for name, value in found.items()}
    assert "one seed gives no interval" in study_learning.sentence(row)


def test_tasks_met_for_the_first_time_count_from_the_first_update_on_and_as_many_in_both_runs() -> None:
    true = {0: [0.9, 0.5, 0.7], 1: [0.1, 0.6, 0.8], 2: [0.2, 0.4, 0.6, 0.9]}
    shuffled = {0: [0.9, 0.4, 0.4, 0.0], 1: [0.1, 0.6, 0.6], 2: [0.2, 0.3, 0.5]}
    rows = [
        {"seed": seed, "shuffled": kind, "step": n + 1, "reward": value}
        for kind, runs in ((False, true), (True, shuffled))
        for seed, values in runs.items()
        for n, value in enumerate(values)
    ]
    found = learning.first_met(pd.DataFrame(rows))
    differences = [20.0, 10.0, 10.0]  # of steps 2 and 3
    half = 4.302653 * np.std(differences, ddof=1) / math.sqrt(3)
    assert (
        found["before"] == pytest.approx(40.0)
        and found["true"] == pytest.approx(60.0)
        and found["shuffled"] == pytest.approx(140 / 3)
    )
    assert found["difference"] == pytest.approx(40 / 3) and found["low"] == pytest.approx(40 / 3 - half, rel=1e-4)
    assert (found["seeds"], found["steps"]) == (3, 2)
    told = study_learning.first_met_sentence(found)
    assert "a difference of 13.3 points (-1.0 to 27.7); learning is not shown there" in told
    assert found["gain"] == pytest.approx(20.0) and found["gain_low"] < 0  # -30, 60 and 30 points over the first step
    assert "not shown to be a gain" in study_learning.first_met_sentence(found | {"low": 0.5})
    assert "true rewards teach" in study_learning.first_met_sentence(found | {"low": 0.5, "gain_low": 0.5})
    assert "gain nothing over the start" in study_learning.first_met_sentence(found | {"low": 0.5, "gain": -1.0})
    assert "no interval" in study_learning.first_met_sentence(found | {"low": math.nan})


def test_pairs_count_by_their_lead_in_nats_and_are_told_as_shares_besides() -> None:
    rows = pd.DataFrame(
        {"run": ["dpo-pairs"] * 2, "helpfulness": np.nan, "verbosity": np.nan, "angle": np.nan, "nll": np.nan}
    )
    assert learning.objective(rows.assign(margin=[2.5, -1.0]), {}).tolist() == [2.5, -1.0]
    found = {"true": 76.4, "shuffled": 63.9, "difference": 12.5, "low": -10.1, "high": 35.1, "seeds": 3}
    told = study_learning.pairs_sentence(found)
    assert (
        "in 76.4 % of held-out pairs, 63.9 % after shuffled ones: a difference of 12.5 points (-10.1 to 35.1)" in told
    )
    assert study_learning.pairs_sentence({}) == ""


def test_the_length_of_a_watched_runs_answers_is_told_beside_its_controls() -> None:
    rows = [
        {"run": run, "measure": measure, "shuffled": shuffled, "mean": mean, "least": "40", "most": "70.06"}
        for run, measure, shuffled, mean in (
            ("a", "response_tokens", "False", "50"),
            ("a", "kl", "False", "9"),
            ("a", "response_tokens", "False", "66.44"),
            ("a", "response_tokens", "True", "50"),
            ("a", "response_tokens", "True", "51"),
            ("b", "response_tokens", "False", "1"),
        )
    ]
    told = study_learning.watched_sentence(rows, "a")
    assert "had 50.0 tokens before it was trained and 66.4 (seeds: 40.0 to 70.1) after" in told
    assert told.endswith("the control’s 51.0 (seeds: 40.0 to 70.1).")
    assert study_learning.watched_sentence(rows, "b") == study_learning.watched_sentence([], "a") == ""


def test_reward_models_stand_beside_a_judge_of_length_alone() -> None:
    row = {"kind": "bradley-terry", "data": "own", "pairs": "40", "longer": "0.875"}
    rows = [
        row | {"seed": seed, "shuffled": shuffled, "accuracy": accuracy, "low": low, "high": high}
        for seed, shuffled, accuracy, low, high in (
            ("0", "False", "0.9", "0.8", "0.95"),
            ("1", "False", "0.8", "0.7", "0.9"),
            ("0", "True", "0.5", "0.4", "0.6"),
        )
    ]
    assert study_learning.reward_table(rows)[1][2:] == ["85 % (70 to 95)", "50 %", "88 %", "40", "2", ""]
    assert "85 % of 40 held-out pairs right (50 % after shuffled labels; a judge of length alone 88 %)" in (
        study_learning.reward_sentence(rows)
    )
    without = [{name: r[name] for name in r if name not in ("low", "high", "longer")} for r in rows]  # of an older form
    assert study_learning.reward_table(without)[1][2:5] == ["85 %", "50 %", "–"]
    assert study_learning.reward_sentence(without).endswith("right (50 % after shuffled labels).")


def test_reward_models_that_beat_no_rival_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "book" / "_ext")
    import study_learning

    row = {
        "kind": "bradley-terry",
        "data": "own",
        "shuffled": "False",
        "pairs": "40",
        "accuracy": "0.9",
        "longer": "0.7",
    }
    clear, like_length = row | {"low": "0.8"}, row | {"data": "x", "low": "0.6"}
    assert "Not shown" not in study_learning.reward_sentence([clear])
    told = study_learning.reward_sentence([clear, like_length, row | {"data": "y", "low": "0.4", "longer": ""}])
    assert "Not shown to be better than chance: `bradley-terry` on y." in told
    assert told.endswith("Not shown to be better than a judge of length alone: `bradley-terry` on x.")


def test_the_dials_line_is_set_beside_policies_of_the_same_cap_only() -> None:
    rows = [{"kind": "dpa", "cap": "120"}, {"kind": "scalarisation", "cap": "44"}]
    assert "cannot be compared" in study_learning.plane_sentence(rows, {})
    assert "covers the squares" in study_learning.plane_sentence([rows[0], rows[1] | {"cap": "120"}], {})
    same = [rows[0], rows[1] | {"cap": "120"}]
    for ratio, said in (
        ([0.5, 0.4, 0.6], "is less"),
        ([1.5, 1.4, 1.6], "is more"),
        ([1.0, 0.4, 1.6], "may be as much"),
    ):
        assert study_learning.plane_sentence(same, {"ratio": ratio, "policies": 2}).endswith(
            f"of theirs, which {said}."
        )
    front = {"ratio": [1.0, 0.4, 1.6], "policies": 2, "tokens": [1_700_000, 90_000]}
    assert study_learning.plane_sentence(same, front).endswith("on 1,700,000 tokens, each of them on 90,000.")
    assert study_learning.plane_sentence(rows[:1], {}) == "One of the two was not measured."


def test_where_runs_were_made_is_told_by_machine() -> None:
    cpu = {"accelerator": None, "hardware": "Some CPU", "cores": 1, "created_utc": "2026-11-25T01:00:00+00:00"}
    gpu = cpu | {"accelerator": "NVIDIA H200", "created_utc": "2026-11-26T01:00:00+00:00"}
    told = study_learning.setting({"dpo": cpu, "sft": cpu, "rlvr": gpu})
    assert told == ("Measured on Some CPU, cores used: 1 (last on 2026-11-25); `rlvr` on NVIDIA H200 (2026-11-26).")


def test_objectives_are_those_of_the_methods() -> None:
    rows = pd.DataFrame(
        {
            "run": ["rsft", "rlvr", "rlvr", "sft", "dpa"],
            "helpfulness": [80.0, 100.0, 60.0, np.nan, 50.0],
            "verbosity": [20.0, 10.0, 10.0, np.nan, 30.0],
            "angle": [np.nan, np.nan, np.nan, np.nan, -90.0],
            "nll": [np.nan, np.nan, np.nan, 0.7, np.nan],
        }
    )
    found = learning.objective(rows, {"rsft": [0.5, -1.0]})
    assert found.tolist() == pytest.approx([20.0, 100.0, 0.0, -0.7, -30.0])


def dial_rows(slope: float) -> pd.DataFrame:
    rows = []
    for seed in range(3):
        for angle in (-45.0, 0.0, 45.0):
            verbosity = 50 + slope * angle + seed
            for key in range(4):
                told = {"verbosity": verbosity + key, "helpfulness": 60.0, "tokens": 20}
                rows.append({"seed": seed, "angle": angle, "key": key} | told)
    return pd.DataFrame(rows)


def test_a_dial_that_works_is_monotone_and_served_best_by_its_own_prompts() -> None:
    rows = dial_rows(0.3)
    found = learning.monotone(rows)
    assert found["monotone"] and found["spearman"] == [1.0, 1.0, 1.0] and found["pooled"] == [1.0, 1.0, 1.0]
    assert found["ends"] == pytest.approx([27.0, 27.0, 27.0])
    matrix = learning.directions(rows)
    # Along -45 degrees brevity counts, along 45 verbosity; along 0 all prompts serve alike here.
    assert matrix[-45.0].idxmax() == -45.0 and matrix[45.0].idxmax() == 45.0
    found = learning.dominance(rows).set_index("angle")
    margins = found["margin"]
    assert margins[-45.0] > 0 and margins[45.0] > 0 and margins[0.0] == pytest.approx(0)
    # 13.5 points of verbosity lie between neighbours, and half a right angle makes each worth 0.7071
    assert found["rival"][-45.0] == 0.0 and found["lead"][[-45.0, 45.0]].tolist() == pytest.approx(
        [13.5 * 0.5**0.5] * 2
    )
    assert found["best_prompt"][[-45.0, 45.0]].tolist() == [-45.0, 45.0]


def test_a_dial_that_is_turned_the_wrong_way_is_not_called_monotone() -> None:
    rows = dial_rows(-0.3)
    found = learning.monotone(rows)
    assert not found["monotone"] and found["pooled"] == [-1.0, -1.0, -1.0] and found["ends"][2] < 0
    assert (learning.dominance(rows).set_index("angle")["margin"][[-45.0, 45.0]] < 0).all()


def dial_told(folder: Path, rows: pd.DataFrame, trained: list[float]) -> str:
    own = rows[rows["angle"].isin(trained)]
    turned = learning.dial(rows)
    turned.insert(1, "trained", turned["angle"].isin(trained))
    turned.to_csv(folder / "dial.csv", index=False)
    ahead, rises = learning.dominance(own), learning.monotone(own)
    ahead.to_csv(folder / "dominance.csv", index=False)
    (folder / "monotone.json").write_text(json.dumps(rises | {"verdict": claims.c7(rises, ahead).verdict}))
    return study_learning.dial_sentence(folder)


def round_dial(radius: float) -> pd.DataFrame:
    """Answers on a circle: asked for an angle, they lie at it, so that every direction is served best by its own prompt."""
    rows = []
    for seed in range(3):
        for angle in (-90.0, -45.0, -22.5, 0.0, 45.0, 90.0):
            a = math.radians(angle)
            told = {"helpfulness": 50 + radius * math.cos(a), "verbosity": 50 + radius * math.sin(a), "tokens": 20}
            rows += [{"seed": seed, "angle": angle, "key": key} | told for key in range(4)]
    return pd.DataFrame(rows)


def test_what_is_said_of_the_dial_follows_the_data(tmp_path: Path) -> None:
    five = [-90.0, -45.0, 0.0, 45.0, 90.0]
    told = dial_told(tmp_path, round_dial(10.0), five)
    assert told.startswith("**The dial works.**") and "Of 5 directions, 5 are served best by their own prompt" in told
    assert ", 5 of these with an interval of the lead over the best other above zero; 5 are served better" in told
    assert ", of which 7.1 lie between -45° and 0°. " in told  # 10 sin 45 degrees
    assert "trained on these directions alone; asked for others, it gives 46.2 at -22.5°" in told
    assert "Where another prompt" not in told
    told = dial_told(tmp_path, round_dial(10.0), five[1:4])  # fewer than the ledger asks for
    turns = "**The dial turns; that every direction is served best by its own prompt is not shown.**"
    assert told.startswith(turns)
    told = dial_told(tmp_path, dial_rows(0.3), [-45.0, 0.0, 45.0])  # at 0 all prompts serve alike
    assert told.startswith(turns)
    assert (
        "does as well or better, it is ahead by 0.00 points (0°, the prompt for -45°; own less other 0.0 to 0.0)"
        in told
    )
    assert "asked for others" not in told and ", of which 13.5 lie between -45° and 0°." in told
    told = dial_told(tmp_path, dial_rows(-0.3), [-45.0, 0.0, 45.0])
    assert told.startswith("**Not shown.**") and "of which" not in told


def test_a_rank_correlation_of_noise_is_told_with_an_interval_that_holds_0() -> None:
    rng = np.random.default_rng(3)
    cells = [(seed, angle, key) for seed in range(3) for angle in (-90.0, -45.0, 0.0, 45.0, 90.0) for key in range(20)]
    rows = pd.DataFrame(cells, columns=["seed", "angle", "key"]).assign(verbosity=rng.normal(50, 20, len(cells)))
    _, low, high = learning.monotone(rows)["pooled"]
    assert low < 0 < high


def test_dominated_area_by_hand_and_as_a_ratio() -> None:
    worst = (0.0, 0.0, 100.0)
    # (60, 40) and (40, 60): 60 x 40 and 20 more of height at width 40; for the brief 60 x 60, which holds 40 x 40
    assert learning.area([(60.0, 40.0), (40.0, 60.0)], worst) == pytest.approx((60 * 40 + 40 * 20 + 60 * 60) / 2)
    assert learning.area([(60.0, 40.0), (50.0, 30.0)], worst) == pytest.approx((60 * 40 + 60 * 60 + 50 * 10) / 2)
    two = {"seed": [0, 0, 1, 1], "angle": [-45.0, 45.0] * 2, "helpfulness": 60.0}
    one, start = pd.DataFrame(two | {"verbosity": [40.0, 60.0] * 2}), (55.0, 50.0)
    fixed = one.rename(columns={"angle": "run"})
    assert learning.front(one, fixed, start) == {"ratio": pytest.approx([1.0, 1.0, 1.0]), "policies": 2}
    # a policy that is never moved covers nothing more than half of what two different ones do
    still = learning.front(one.assign(verbosity=50.0), fixed, start)["ratio"]
    assert still[0] == pytest.approx(0.5)
    # a seed without all points counts on neither side
    assert learning.front(one, fixed.iloc[:3], start)["ratio"][0] == pytest.approx(1.0)
    assert learning.front(one, fixed.iloc[:0], start) == {} == learning.front(one.iloc[::2], fixed, start)


def test_what_was_not_trained_has_no_objective_and_the_start_has_that_of_each_run() -> None:
    rows = pd.DataFrame(
        {"run": "dpa", "helpfulness": [50.0] * 3, "verbosity": [30.0] * 3, "angle": [-90.0, -45.0, 90.0]}
    )
    found = learning.objective(rows.assign(nll=np.nan), {}, [-90.0, 90.0])
    assert found[0] == pytest.approx(-30) and math.isnan(found[1]) and found[2] == pytest.approx(30)
    start = pd.DataFrame(
        {
            "run": ["start", "start-code", "start-code"],
            "helpfulness": [50.0, 100.0, 20.0],
            "verbosity": [30.0, 1.0, 2.0],
        }
    )
    turned = pd.DataFrame(
        {"helpfulness": [70.0, 50.0], "verbosity": [40.0, 40.0]}
    )  # asked for directions, under DPA's cap
    told = learning.before(start, {"rsft": [0.5, -1.0]}, [-90.0, 0.0], turned)
    assert told == pytest.approx({"rsft": -5.0, "dpa": (-40 + 60) / 2, "rlvr": 50.0, "dpo-pairs": 0.0})
    assert "dpa" not in learning.before(start, {}, [0.0], turned.iloc[:0])


def test_of_many_runs_without_effect_few_are_said_to_learn() -> None:
    """Adjusted for their number: of 40 runs without any effect, 100 times, one is said to learn in at most 5 % of the times."""
    rng = np.random.default_rng(4)
    false = 0
    for _ in range(100):
        rows = [
            {"run": f"r{run}", "seed": seed, "shuffled": kind, "objective": rng.normal()}
            for run in range(40)
            for seed in range(3)
            for kind in (False, True)
        ]
        false += bool(learning.effects(pd.DataFrame(rows))["learns"].any())
    assert false <= 10


def test_a_run_that_only_loses_less_is_not_said_to_gain() -> None:
    (found,) = learning.effects(outcomes(5.0), {"rsft": 57.0}).to_dict("records")
    row = {name: str(value) for name, value in found.items()}
    assert "from 57.0 before training" in study_learning.sentence(row)
    assert "over the start policy nothing is gained" in study_learning.sentence(row)
    assert (
        found["gain"] == pytest.approx(found["true"] - 57.0) and found["gain_high"] > found["gain"] > found["gain_low"]
    )
    ahead = row | {"gain": "5.0", "gain_low": "1.0"}
    assert study_learning.sentence(ahead).endswith("It learns.")
    assert "over the start policy alone is not shown" in study_learning.sentence(ahead | {"gain_low": "-1.0"})


rewards = st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), min_size=1, max_size=30)


@given(rewards, st.integers(0, 99), st.integers(1, 5))
def test_shuffled_rewards_change_places_within_their_prompt_only(
    found: list[tuple[float, float]], seed: int, size: int
) -> None:
    given_rewards = [Reward(*row) for row in found]
    groups = [n // size for n in range(len(found))]
    moved = shuffled(given_rewards, groups, seed)
    for group in set(groups):
        own = [n for n, other in enumerate(groups) if other == group]
        assert Counter(moved[n] for n in own) == Counter(given_rewards[n] for n in own)
    assert moved == shuffled(given_rewards, groups, seed)


def test_shuffling_takes_every_place_about_equally_often() -> None:
    first = Counter(shuffled([Reward(n, 0) for n in range(4)], [0] * 4, seed)[0].helpfulness for seed in range(2000))
    assert all(count == pytest.approx(500, abs=90) for count in first.values()) and len(first) == 4


@pytest.mark.parametrize("domain", ["code", "general", "mixed"])
def test_held_out_prompts_are_never_trained_on(domain: str) -> None:
    held_out = {example.prompt for example in held_out_examples(domain, 40)}
    for seed in random.Random(0).sample(range(2**20), 3):
        assert not held_out & {example.prompt for example in training_examples(domain, 200, seed)}


def row(**changes: str) -> dict[str, str]:
    base = {
        "run": "rsft",
        "seeds": "3",
        "true": "6",
        "shuffled": "1",
        "difference": "5",
        "low": "3",
        "high": "7",
        "learns": "True",
    }
    return base | changes


def test_the_books_sentence_follows_the_interval() -> None:
    assert study_learning.sentence(row()).endswith("It learns.")
    unclear = study_learning.sentence(row(low="-1", learns="False"))
    assert "learning is not shown" in unclear and "It learns" not in unclear
    worse = study_learning.sentence(row(difference="-5", low="-7", high="-3", learns="False"))
    assert "worse than its control" in worse


def test_the_books_summary_names_what_is_not_shown() -> None:
    text = study_learning.overall([row(), row(run="ppo", low="-1", learns="False")])
    assert text.startswith(
        "Learning is shown for 1 of 2 runs: `rsft`. Not shown for `ppo`. Still to be measured: `sft`"
    )
    every = study_learning.overall([row(run=run) for run in study_learning.SENTENCES])
    assert "measured" not in every and "Not shown" not in every


def test_without_results_the_pages_name_the_command(tmp_path: Path) -> None:
    found = study_learning.substitutions(tmp_path)
    assert found and all("python benchmarks/learning.py" in text for text in found.values())
    study_learning.stage(tmp_path, tmp_path / "book")
    staged = {path.name for path in (tmp_path / "book" / "_results" / "learning").iterdir()}
    assert {"learning.svg", "effects.csv", "effects_table.csv", "cost_table.csv"} <= staged


def test_margins_are_dpos_implicit_rewards_from_whole_sequences(tiny: Path) -> None:
    import torch

    from tradeoffs.alignment.evaluation import margins
    from tradeoffs.models import Policy, load
    from tradeoffs.preferences.data import Pair

    reference = load(str(tiny), dtype="float32")
    moved = load(str(tiny), dtype="float32")
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in moved.model.parameters():
            weight += 0.05 * torch.randn_like(weight)
    found = [
        Pair([{"role": "user", "content": "Name a colour."}], "Blue is one of them.", "No."),
        Pair([{"role": "user", "content": "Name a much longer colour, please."}], "Red.", "I would rather not."),
        Pair([{"role": "user", "content": "word " * 600}], "too", "long"),
    ]

    def likelihood(policy: Policy, pair: Pair, answer: str) -> float:
        tokenizer: Any = policy.tokenizer
        head = tokenizer.apply_chat_template(pair.messages, add_generation_prompt=True, return_dict=False)
        tail = [*tokenizer(answer)["input_ids"], tokenizer.eos_token_id]
        with torch.no_grad():
            logp = policy.model(torch.tensor([[*head, *tail]])).logits[0].double().log_softmax(-1)  # type: ignore[operator]
        return sum(float(logp[len(head) - 1 + n, token]) for n, token in enumerate(tail))

    expected = [
        likelihood(moved, pair, pair.chosen)
        - likelihood(reference, pair, pair.chosen)
        - likelihood(moved, pair, pair.rejected)
        + likelihood(reference, pair, pair.rejected)
        for pair in found[:2]
    ]
    assert margins(moved, reference, found) == pytest.approx(expected, abs=1e-3)
    assert margins(reference, reference, found) == [0.0, 0.0]


def test_evaluations_are_placed_by_the_tokens_before_them_and_averaged_over_seeds() -> None:
    rows = []
    for seed in (0, 1):
        for control in (False, True):
            told = {"run": "dpo", "seed": seed, "shuffled": control}
            rows.append(told | {"kind": "round", "step": 1, "tokens": 100})
            for step in range(3):
                if step:
                    rows.append(told | {"kind": "step", "step": step, "tokens": 50 * (1 + seed), "kl": 99.0})
                measured = {"reward": 10.0 * step * (not control) + seed, "response_tokens": 8.0, "kl": 0.5 * step}
                rows.append(told | {"kind": "evaluation", "step": step, "progress": step / 2} | measured)
    rows.pop()  # of the last control's run the end is missing: it must not be taken for another's middle
    columns = ["run", "seed", "shuffled", "kind", "step", "tokens", "progress", *learning.EVALUATED]
    steps = pd.DataFrame(rows).reindex(columns=columns)
    found = learning.evaluations(steps)
    assert set(found["measure"]) == {"reward", "response_tokens", "kl"}  # entropy was not measured
    true = found[(found["measure"] == "reward") & ~found["shuffled"]]
    assert true["tokens"].tolist() == [100, 175, 250]  # what was sampled counts, and seeds spend differently
    assert true["mean"].tolist() == [0.5, 10.5, 20.5] and true["least"].tolist() == [0, 10, 20]
    assert found.loc[(found["measure"] == "kl") & found["shuffled"], "most"].tolist() == [0, 0.5, 1.0]
    assert learning.evaluations(steps[steps["kind"] != "evaluation"]).empty
    axes = figures.evaluations(found).axes
    assert [axis.get_title(loc="left") for axis in axes][3] == "KL to start (nats)" and axes[0].get_ylabel() == "dpo"
    assert [len(axis.lines) for axis in axes] == [2, 2, 0, 2]
