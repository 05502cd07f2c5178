"""Grades a file of answers into a file of verdicts."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tradeoffs.grading.extract import extract, read_answers
from tradeoffs.grading.supervisor import Grader, Job

if TYPE_CHECKING:
    from tradeoffs.records import Verdict


def _by_id(problems: Mapping[int, Mapping[str, Any]] | Iterable[Mapping[str, Any]]) -> dict[int, Mapping[str, Any]]:
    if isinstance(problems, Mapping):
        return dict(problems)
    return {int(problem["metadata"]["problem_id"]): problem for problem in problems}


def _jobs(answers_path: str | Path, problems: Mapping[int, Mapping[str, Any]]) -> list[Job]:
    jobs = []
    for answer in read_answers(answers_path):
        if answer.problem_id not in problems:
            raise ValueError(
                f"answers: {answers_path} answers problem {answer.problem_id}, which is not among the {len(problems)} "
                "problems given; accepts answers to these problems only"
            )
        jobs.append(Job(answer.problem_id, answer.sample, extract(answer.text), problems[answer.problem_id]))
    return jobs


def grade_answers(
    answers_path: str | Path,
    problems: Mapping[int, Mapping[str, Any]] | Iterable[Mapping[str, Any]],
    out_path: str | Path,
    *,
    grader: Grader | None = None,
    progress: bool = True,
    **options: Any,
) -> list[Verdict]:
    """Grade a file of answers; go on where an earlier call was interrupted.

    Args:
        answers_path: `.jsonl` or `.jsonl.gz`, see `extract.read_answers`.
        problems: the problems, by id or as a list.
        out_path: `.jsonl` file to which each verdict is appended as it is reached; answers that have one there are
            skipped.
        grader: one to use; else one is made with `options` (see `Grader`) and closed afterwards.
        progress: whether to show a progress bar.

    Returns:
        The verdicts of all answers, in the order of the answers, those reached earlier included.

    Raises:
        ValueError: the answers cannot be read, or answer a problem that is not given.
    """
    from tqdm import tqdm

    from tradeoffs.records import Verdict, append_jsonl, read_rows

    jobs = _jobs(answers_path, _by_id(problems))
    known = {(row.problem_id, row.sample): row for row in read_rows(out_path, Verdict)}
    left = [job for job in jobs if (job.problem_id, job.sample) not in known]
    passes = sum(row.status == "passed" for row in known.values())
    own = None if grader is not None else Grader(**options)
    used = grader or own
    assert used is not None
    print(
        f"isolation: {used.level}; {len(left)} answers to grade, {len(jobs) - len(left)} graded before", file=sys.stderr
    )
    try:
        with tqdm(total=len(left), unit="answer", disable=not progress) as bar:

            def keep(verdict: Verdict) -> None:
                nonlocal passes
                append_jsonl(out_path, [verdict])
                known[verdict.problem_id, verdict.sample] = verdict
                passes += verdict.status == "passed"
                bar.set_postfix_str(f"{passes} passed", refresh=False)
                bar.update()

            used.grade(left, keep)
    finally:
        if own is not None:
            own.close()
    return [known[job.problem_id, job.sample] for job in jobs]
