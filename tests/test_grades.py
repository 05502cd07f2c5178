"""The summary of verdicts: pass@k, the table by group, the figure, and what `unavailable` does to them."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportion_confint

from tradeoffs import cli, figures
from tradeoffs.analysis import pass_at_k, summarise, summary_figure, summary_text, wilson
from tradeoffs.records import Verdict


def problem(
    number: int, library: str = "Numpy", perturbation: str = "Origin", tier: int | None = None
) -> dict[str, Any]:
    metadata = {
        "problem_id": number,
        "library": library,
        "perturbation_type": perturbation,
        "perturbation_origin_id": number,
    }
    return {"prompt": "", "code_context": "", "metadata": metadata | ({} if tier is None else {"tier": tier})}


def verdicts(number: int, words: str) -> list[Verdict]:
    """Verdicts from one letter each: p passed, f failed, t timed out, c crashed, u unavailable."""
    names = {"p": "passed", "f": "failed", "t": "timed_out", "c": "crashed", "u": "unavailable"}
    return [
        Verdict(problem_id=number, sample=k, status=names[w], isolation="namespaces")  # type: ignore[arg-type]
        for k, w in enumerate(words)
    ]


def by_group(summary: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(group["by"], group["group"]): group for group in summary["groups"]}


@pytest.mark.parametrize(
    ("n", "c", "k", "expected"), [(2, 1, 1, 1 / 2), (3, 1, 2, 2 / 3), (4, 2, 2, 5 / 6), (10, 3, 5, 1 - 21 / 252)]
)
def test_pass_at_k_by_hand(n: int, c: int, k: int, expected: float) -> None:
    assert pass_at_k(n, c, k) == pytest.approx(expected)


@given(st.integers(1, 9), st.data())
def test_pass_at_k_is_the_share_of_draws_with_a_pass(n: int, data: st.DataObject) -> None:
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    draws = list(itertools.combinations(range(n), k))
    assert pass_at_k(n, c, k) == pytest.approx(sum(min(draw) < c for draw in draws) / len(draws))


def test_pass_at_k_stays_exact_where_binomials_overflow() -> None:
    assert pass_at_k(20_000, 1, 10_000) == pytest.approx(0.5)
    assert pass_at_k(20_000, 0, 10_000) == 0
    assert pass_at_k(20_000, 10_001, 10_000) == 1


@given(st.integers(1, 500), st.data())
def test_wilson_is_that_of_statsmodels(n: int, data: st.DataObject) -> None:
    passed = data.draw(st.integers(0, n))
    assert wilson(passed, n) == pytest.approx(proportion_confint(passed, n, method="wilson"), abs=1e-9)


def test_groups_are_counted_and_unavailable_stands_in_no_denominator() -> None:
    problems = [problem(1), problem(2, "Scipy", "Semantic", 3), problem(3, "Scipy")]
    found = by_group(summarise([*verdicts(1, "p"), *verdicts(2, "t"), *verdicts(3, "u")], problems))
    whole, scipy = found["all", "all"], found["library", "Scipy"]
    assert (whole["answers"], whole["graded"], whole["passed"], whole["unavailable"]) == (3, 2, 1, 1)
    assert whole["pass_rate"]["estimate"] == 0.5
    assert (scipy["problems"], scipy["unavailable"], scipy["pass_rate"]["estimate"]) == (2, 1, 0)
    assert scipy["statuses"] == {"timed_out": 1, "unavailable": 1}
    assert ("perturbation", "Semantic") in found and ("tier", "3") in found and ("tier", "nan") not in found


def test_a_group_without_a_graded_answer_has_no_rate_and_says_why() -> None:
    found = by_group(summarise([*verdicts(1, "p"), *verdicts(2, "u")], [problem(1), problem(2, "Sklearn")]))
    assert found["library", "Sklearn"]["pass_rate"]["estimate"] is None
    assert found["library", "Sklearn"]["pass_rate"]["reason"] == "no answer was graded"


def test_pass_at_k_is_the_mean_over_problems_of_the_unbiased_estimates() -> None:
    rows = [*verdicts(1, "pffff"), *verdicts(2, "ppfff"), *verdicts(3, "uuuuu")]
    whole = by_group(summarise(rows, [problem(1), problem(2), problem(3)]))["all", "all"]
    expected = (pass_at_k(5, 1, 2) + pass_at_k(5, 2, 2)) / 2
    assert whole["pass_at_2"]["estimate"] == pytest.approx(expected)
    assert whole["pass_at_5"]["estimate"] == 1
    assert whole["pass_at_5"]["low"] < 1, "what is all alike is no certainty"
    assert "pass_at_10" not in whole


def test_text_and_figure_show_every_group() -> None:
    problems = [problem(1, tier=1), problem(2, "Scipy", "Semantic", 2), problem(3, "Sklearn", tier=1)]
    summary = summarise([*verdicts(1, "pf"), *verdicts(2, "ff"), *verdicts(3, "uu")], problems)
    text = summary_text(summary)
    for word in ("by library", "Scipy", "by perturbation type", "Semantic", "by tier", "unavailable", "pass@2"):
        assert word in text
    assert max(map(len, text.splitlines())) <= 120
    assert json.loads(json.dumps(summary)) == summary
    assert figures.to_svg(summary_figure(summary)).count("<svg") == 1


def test_verdicts_on_other_problems_are_refused_by_number() -> None:
    with pytest.raises(ValueError, match="problem 7, which is not among the 1 problems"):
        summarise(verdicts(7, "p"), [problem(1)])
    with pytest.raises(ValueError, match="got none"):
        summarise([], [problem(1)])


def test_grading_from_the_command_line_writes_table_summary_and_figure(
    grading_python: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tests = "def test_execution(solution):\n    env = {}\n    exec(solution, env)\n    assert env['x'] == 4\n"
    rows = [problem(n) | {"reference_code": "x = 4", "code_context": tests} for n in (1, 2)]
    rows[1]["prompt"] = 'sns.load_dataset("nowhere")'
    files = {name: str(tmp_path / name) for name in ("p.jsonl", "a.jsonl", "v.jsonl", "s.json", "f.svg")}
    Path(files["p.jsonl"]).write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path(files["a.jsonl"]).write_text("".join(f'{{"problem_id": {n}, "code": ["x = 4", "x = 5"]}}\n' for n in (1, 2)))
    command = ["grade", files["a.jsonl"], "--problems", files["p.jsonl"], "--out", files["v.jsonl"]]
    assert cli.main([*command, "--summary", files["s.json"], "--figure", files["f.svg"]]) == 0
    said = capsys.readouterr()
    assert "1 of 2 passed; 2 unavailable" in said.out and "pass@2" in said.out and "isolation: " in said.err
    lines = [json.loads(line) for line in Path(files["v.jsonl"]).read_text().splitlines()]
    assert {(line["problem_id"], line["sample"]): line["status"] for line in lines} == {
        **{(1, 0): "passed", (1, 1): "failed"},
        **{(2, 0): "unavailable", (2, 1): "unavailable"},
    }
    assert all(line["isolation"] in ("bubblewrap", "namespaces", "limits") for line in lines)
    assert json.loads(Path(files["s.json"]).read_text())["groups"][0]["unavailable"] == 2
    assert "<svg" in Path(files["f.svg"]).read_text()


def test_a_file_of_verdicts_on_other_answers_is_refused(
    grading_python: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tests = "def test_execution(solution):\n    exec(solution)\n"
    row = problem(1) | {"reference_code": "", "code_context": tests}
    (tmp_path / "p.jsonl").write_text(json.dumps(row) + "\n")
    answers, out = tmp_path / "a.jsonl", tmp_path / "v.jsonl"
    command = ["grade", str(answers), "--problems", str(tmp_path / "p.jsonl"), "--out", str(out)]
    answers.write_text('{"problem_id": 1, "code": "pass"}\n')
    assert cli.main(command) == cli.main(command) == 0
    before = out.read_text()
    answers.write_text('{"problem_id": 1, "code": "1 / 0"}\n')
    assert cli.main(command) == 2
    assert "holds the verdict of another answer to problem 1, sample 0" in capsys.readouterr().err
    assert out.read_text() == before
