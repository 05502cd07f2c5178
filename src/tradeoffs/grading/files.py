"""Grades a file of answers into a file of verdicts."""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tradeoffs.grading.environment import data_at_hand, missing_data
from tradeoffs.grading.extraction import extract, read_answers
from tradeoffs.grading.imports import build_program
from tradeoffs.grading.supervisor import Grader, Job

if TYPE_CHECKING:
    from tradeoffs.records import Verdict

SYNC_SECONDS = 1.0


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


def _digest(job: Job) -> str:
    return hashlib.sha256(build_program(job.problem, job.code).encode(errors="surrogatepass")).hexdigest()[:16]


class _Ledger:
    """The file of verdicts: what it holds from an earlier call, and what is appended to it.

    Args:
        path: the file.
        jobs: all answers of this call.
        data: folders of data, by variable; `unavailable` verdicts whose data have come since are taken out of the file.

    Raises:
        ValueError: the file holds a verdict of another answer under the same problem and sample.
    """

    def __init__(self, path: str | Path, jobs: Sequence[Job], data: Mapping[str, str]) -> None:
        from tradeoffs.records import Verdict, read_rows, write_text

        self.path, self._synced = path, 0.0
        self._programs = {(job.problem_id, job.sample): _digest(job) for job in jobs}
        problems = {job.problem_id: job.problem for job in jobs}
        rows = read_rows(path, Verdict)
        for row in rows:
            if row.program and row.program != self._programs.get((row.problem_id, row.sample), row.program):
                raise ValueError(
                    f"out: {path} holds the verdict of another answer to problem {row.problem_id}, sample {row.sample}; "
                    "accepts a new file, or one with verdicts of these answers: name another or delete this one"
                )
        folders = data.get("SEABORN_DATA"), data.get("SCIKIT_LEARN_DATA")
        kept = [
            row
            for row in rows
            if row.status != "unavailable"
            or row.problem_id not in problems
            or missing_data(problems[row.problem_id], *folders)
        ]
        if len(kept) < len(rows):
            write_text(path, "".join(row.model_dump_json() + "\n" for row in kept))
        self.known = {(row.problem_id, row.sample): row for row in kept}
        self.passes = sum(row.status == "passed" for row in kept)

    def keep(self, verdict: Verdict, level: str) -> None:
        """Append a verdict."""
        from tradeoffs.records import append_jsonl

        key = verdict.problem_id, verdict.sample
        verdict = verdict.model_copy(update={"isolation": level, "program": self._programs[key]})
        # A killed run loses nothing that the kernel has; only a power cut could, so the disk is not asked every time.
        sync = time.monotonic() > self._synced + SYNC_SECONDS
        append_jsonl(self.path, [verdict], sync=sync)
        self._synced = time.monotonic() if sync else self._synced
        self.known[key] = verdict
        self.passes += verdict.status == "passed"


def grade_answers(
    answers_path: str | Path,
    problems: Mapping[int, Mapping[str, Any]] | Iterable[Mapping[str, Any]],
    out_path: str | Path,
    *,
    grader: Grader | None = None,
    data: str | Path | None = None,
    progress: bool = True,
    **options: Any,
) -> list[Verdict]:
    """Grade a file of answers; go on where an earlier call was interrupted.

    Args:
        answers_path: `.jsonl` or `.jsonl.gz`, see `extraction.read_answers`.
        problems: the problems, by id or as a list.
        out_path: `.jsonl` file to which each verdict is appended as it is reached, with the isolation level; answers
            that have one there are skipped, unless it is `unavailable` and the data are here by now.
        grader: one to use; else one is made with `options` (see `Grader`) and closed afterwards.
        data: folder with the data that some problems load, see `environment.data_folders`.
        progress: whether to show a progress bar.

    Returns:
        The verdicts of all answers, in the order of the answers, those reached earlier included.

    Raises:
        ValueError: the answers cannot be read, or answer a problem that is not given; `data` is no folder; the file of
            verdicts belongs to other answers.
    """
    from tqdm import tqdm

    from tradeoffs.progress import bar

    jobs = _jobs(answers_path, _by_id(problems))
    with data_at_hand(data) as found:
        ledger = _Ledger(out_path, jobs, {} if grader else found)
        own = None if grader is not None else Grader(**options)
    used = grader or own
    assert used is not None
    left = [job for job in jobs if (job.problem_id, job.sample) not in ledger.known]
    print(
        f"isolation: {used.level}; {len(left)} answers to grade, {len(jobs) - len(left)} graded before", file=sys.stderr
    )
    try:
        done = len(jobs) - len(left)
        shown = bar(total=len(jobs), initial=done, what="grading", unit="answer") if progress else tqdm(disable=True)
        with shown:

            def keep(verdict: Verdict) -> None:
                ledger.keep(verdict, used.level)
                shown.set_postfix_str(f"{ledger.passes} passed", refresh=False)
                shown.update()

            used.grade(left, keep)
    finally:
        if own is not None:
            own.close()
    return [ledger.known[job.problem_id, job.sample] for job in jobs]
