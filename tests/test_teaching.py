"""Every exercise's starting cell runs and is not yet right; its solution is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tradeoffs import teaching
from tradeoffs.alignment import METHODS


@pytest.mark.parametrize("name", list(teaching.EXERCISES))
def test_the_start_runs_and_only_the_solution_is_right(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tradeoffs.alignment.run.METHODS", METHODS)
    exercise = teaching.EXERCISES[name]
    names: dict[str, Any] = {}
    exec(exercise.start, names)
    said = capsys.readouterr().out
    assert said.startswith(f"{name}: not yet. ") and len(said.strip()) > len(f"{name}: not yet. ") + 20
    try:
        exec(exercise.solution, names)
    finally:
        METHODS.pop("shortest", None)
    assert capsys.readouterr().out.strip().endswith(f"{name}: right.")


def test_there_are_enough_of_them_for_ten_minutes_and_for_an_afternoon() -> None:
    minutes = [exercise.minutes for exercise in teaching.EXERCISES.values()]
    assert len(minutes) >= 8 and min(minutes) <= 10 and max(minutes) >= 120


def test_an_unknown_exercise_is_named_with_what_there_is() -> None:
    with pytest.raises(ValueError, match="name: got 'x'; accepts padding, "):
        teaching.check("x", 1)


def test_the_method_of_the_afternoon_is_none_of_the_built_in() -> None:
    assert set(teaching.BUILT_IN) <= set(METHODS)


def test_another_name_for_an_old_method_is_no_method_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(METHODS, "mine", METHODS["sft"])
    (tmp_path / "record.json").write_text('{"parameters": {"method": "mine"}}')
    assert not teaching.check("own-method", tmp_path) and "another name" in capsys.readouterr().out


@pytest.mark.parametrize("answer", [None, [1.0], "x", float("nan"), {}])
@pytest.mark.parametrize("name", [name for name in teaching.EXERCISES if name != "own-method"])
def test_what_is_no_answer_is_not_right_and_gets_a_hint(
    name: str, answer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not teaching.check(name, answer) and len(capsys.readouterr().out) > 40


def test_shares_that_are_no_numbers_are_not_right() -> None:
    assert not teaching.check("shares", dict.fromkeys(("attempts", "length", "pace"), float("nan")))


def test_a_number_that_was_read_off_a_hint_is_no_solution() -> None:
    assert not teaching.check("clusters", lambda passed, family: 0.041)
    assert not teaching.check("direction", lambda gaps, first: -35.0)


def test_a_published_result_needs_pairs_and_families() -> None:
    """An interval that takes both policies' answers as independent is another than that of pairs."""

    def unpaired(table: Any, arm: str) -> tuple[float, float, float]:
        right = table.assign(right=table["status"].eq("passed")).groupby("arm")["right"].agg(["mean", "size"])
        (one, n), (other, m) = right.loc[arm], right.loc["sft-code"]
        half = 1.96 * (one * (1 - one) / n + other * (1 - other) / m) ** 0.5
        return one - other, one - other - half, one - other + half

    assert not teaching.check("verdicts", unpaired)


def test_advantages_of_equal_rewards_are_no_numbers_for_a_careless_division(capsys: pytest.CaptureFixture[str]) -> None:
    def careless(rewards: Any) -> tuple[Any, Any]:
        centred = rewards - rewards.mean()
        return centred * len(rewards) / (len(rewards) - 1), centred / (rewards.std() or float("nan"))

    assert not teaching.check("advantages", careless) and "divided by 0" in capsys.readouterr().out


def test_both_forms_of_the_roofline_are_right_and_no_other() -> None:
    m = teaching.machine()
    weights, kv = m["parameters"] * m["bytes_each"], 2 * m["layers"] * m["kv_heads"] * m["head_size"] * m["bytes_each"]

    def limit(rows: int, context: int, share: float = 1.0) -> float:
        read = (weights + share * rows * context * kv) / m["bytes_per_s"]
        return rows / max(read, 2 * m["parameters"] * rows / m["flops_per_s"])

    assert teaching.check("roofline", limit)
    assert not teaching.check("roofline", lambda rows, context: limit(rows, context, share=0.0))


def test_what_a_goal_asks_in_words_is_answered() -> None:
    asking = [name for name, exercise in teaching.EXERCISES.items() if exercise.goal.rstrip().endswith("?")]
    assert {"pass-at-k", "dpo", "shares", "roofline"} <= set(asking)
    assert all(teaching.EXERCISES[name].why for name in asking if name != "direction")
