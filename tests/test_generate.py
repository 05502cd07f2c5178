"""The generate stage: best of n."""

import json
from pathlib import Path

import pytest

from tradeoffs.grading import read_answers
from tradeoffs.inference import generate as stage
from tradeoffs.inference.generate import generate
from tradeoffs.parameters import GenerateParameters, ParameterError, check
from tradeoffs.preferences.reward_model import Judge
from tradeoffs.records import Answer, read_rows


@pytest.fixture(scope="module")
def made(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Answers of the tiny model, best of three."""
    out = tmp_path_factory.mktemp("generate") / "best"
    generate(_asked(tiny, out), Judge)
    return out


def _asked(tiny: Path, out: Path, **changes: object) -> GenerateParameters:
    given = dict(model=str(tiny), out=str(out), limit=4, best_of=3, temperature=1.0, max_new_tokens=6, batch_size=5)
    return GenerateParameters(**(given | changes))  # type: ignore[arg-type]


def test_the_answer_kept_is_the_one_rated_highest_of_those_that_ended(made: Path) -> None:
    rows = read_rows(made / "answers.jsonl", Answer)
    problems = {row.problem_id for row in rows}
    assert len(rows) == 3 * len(problems) == 12
    for problem in problems:
        own = [row for row in rows if row.problem_id == problem]
        (kept,) = [row for row in own if row.kept]
        able = [row for row in own if row.finish == "stop"] or own
        assert kept in able and kept.score == max(row.score or 0.0 for row in able)
    shares = {row.judge_s for row in rows}
    summary = json.loads((made / "record.json").read_text())["summary"]
    assert len(shares) == 1 and summary["judge_s"] == pytest.approx(12 * shares.pop()) and summary["judge_s"] > 0
    assert summary["reward_model"]["kind"] == "bradley-terry"


def test_only_the_answer_kept_is_graded(made: Path) -> None:
    kept = {(row.problem_id, row.sample) for row in read_rows(made / "answers.jsonl", Answer) if row.kept}
    assert {(row.problem_id, row.sample) for row in read_answers(made / "answers.jsonl")} == kept


def test_killed_between_answers_and_rating_it_rates_what_is_there(
    made: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(stage, "keep_best", killed)
        with pytest.raises(KeyboardInterrupt):
            generate(_asked(tiny, tmp_path / "b"), Judge)
    generate(_asked(tiny, tmp_path / "b"), Judge)
    rows, again = (read_rows(folder / "answers.jsonl", Answer) for folder in (made, tmp_path / "b"))
    told = [[(row.problem_id, row.sample, row.raw, row.kept, row.score) for row in part] for part in (rows, again)]
    assert told[0] == told[1]


@pytest.mark.parametrize("wrong", [{"temperature": 0.0}, {"samples": 2}])
def test_best_of_one_greedy_answer_makes_no_sense(wrong: dict[str, float]) -> None:
    with pytest.raises(ParameterError, match="best_of: got more than 1"):
        check(GenerateParameters, {"best_of": 3, "temperature": 1.0} | wrong)


def test_best_of_n_without_a_judge_is_refused_before_anything_is_loaded(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="best_of: got 3 without a judge"):
        generate(_asked(tiny, tmp_path / "b"))
    assert not (tmp_path / "b").exists()


def test_what_is_done_once_is_in_no_answers_time(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A piece of the first batch that is left is decoded before, and thrown away."""
    decoded: list[tuple[int, int]] = []

    def counted(policy: object, prompts: list[object], **given: object) -> object:
        decoded.append((len(prompts), int(str(given["max_new_tokens"]))))
        return real(policy, prompts, **given)  # type: ignore[arg-type]

    real = stage.decode
    monkeypatch.setattr(stage, "decode", counted)
    asked = _asked(tiny, tmp_path / "a", best_of=1, temperature=0.0)
    generate(asked)
    assert decoded == [(1, 3), (4, 6)]
    rows = read_rows(tmp_path / "a/answers.jsonl", Answer)
    assert len(rows) == 4 and all(row.ttft_s and row.ttft_s < row.batch_seconds for row in rows)


def test_a_gpu_is_given_work_until_it_is_as_fast_as_before() -> None:
    seconds = iter([3.0, 2.0, 1.2, 1.01, 1.0, 1.0])
    assert stage.settle(lambda: next(seconds)) == 5
    assert next(seconds) == 1.0  # no more than needed
    never = iter(float(n % 2 + 1) for n in range(100))
    assert stage.settle(lambda: next(never), most=4) == 4 and next(never) == 1.0
