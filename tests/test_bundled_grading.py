"""The bundled problems and the training tasks, graded for real: references pass, plausible wrong answers fail."""

from pathlib import Path

import pytest

from tradeoffs.grading import Grader, Job
from tradeoffs.preferences.rewards import code_helpfulness
from tradeoffs.tasks import bundled, synthetic


@pytest.fixture(scope="module")
def grader(grading_python: Path):
    with Grader(python=grading_python, workers=2, time_limit=60) as it:
        yield it


def test_every_reference_passes_and_every_wrong_answer_fails(grader: Grader) -> None:
    entries = bundled.entries()
    assert len(entries) >= 70 and all(len(wrong) >= 2 for _, wrong in entries)
    jobs = []
    for problem, wrong in entries:
        number = problem["metadata"]["problem_id"]
        jobs += [Job(number, k, code, problem) for k, code in enumerate((problem["reference_code"], *wrong))]
    verdicts = grader.grade(jobs)
    surprises = [
        (v.problem_id, v.sample, v.status, v.detail)
        for v in verdicts
        if (v.status == "passed") != (v.sample == 0) or v.status == "unavailable"
    ]
    assert surprises == []


def test_training_references_are_fully_helpful_and_empty_answers_are_not(grader: Grader) -> None:
    tasks = synthetic.generate(len(synthetic.TEMPLATES), seed=7)
    jobs = [Job(i, 0, task["reference_code"], task) for i, task in enumerate(tasks)]
    jobs += [Job(i, 1, "", task) for i, task in enumerate(tasks)]
    rewards = [code_helpfulness(job.code, verdict) for job, verdict in zip(jobs, grader.grade(jobs), strict=True)]
    assert rewards == [100.0] * len(tasks) + [0.0] * len(tasks)


def test_a_wrong_value_is_worth_more_than_a_wrong_shape_and_that_more_than_a_crash(grader: Grader) -> None:
    tasks = synthetic.generate(200, seed=1, libraries=["Numpy"])
    task = next(t for t in tasks if t["metadata"]["tier"] == 1 and "result = ..." in t["prompt"])
    answers = [task["reference_code"], "result = None", "undefined_name", "Here is the answer: use cumsum."]
    verdicts = grader.grade([Job(0, k, code, task) for k, code in enumerate(answers)])
    right, none, crash, prose = (code_helpfulness(c, v) for c, v in zip(answers, verdicts, strict=True))
    assert right == 100 and right > none > crash > prose == 0
