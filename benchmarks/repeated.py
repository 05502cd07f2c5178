"""Which verdicts depend on chance, and how often does the same answer pass?

Some tests draw their own data at random, some answers start from random numbers: two runs of one protocol then differ.
Each such answer among the published sets is graded again and again, by the grader and by the reference protocol.

    python benchmarks/repeated.py --folder data/ds1000
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from grading import reference_verdict
from tqdm import tqdm

from tradeoffs.grading import Grader, Job, build_program, extract, read_answers
from tradeoffs.grading.environment import find_python
from tradeoffs.records import write_text
from tradeoffs.tasks.problems import load_problems

# Found by grading the published answers several times; why, by reading the problem and the answer.
BY_CHANCE = {
    ("codex002", 897): "clustering from random centres",
    ("gpt-3.5-turbo-0125", 376): "the answer draws at random",
    ("gpt-4-0613", 546): "the test draws its data at random",
}


def repeat(job: Job, by_grader: int, by_reference: int, workers: int) -> tuple[int, int]:
    """Count how often an answer passes, graded by the grader and by the reference protocol."""
    # Identical answers run once: a comment makes them different.
    jobs = [job._replace(sample=number, code=f"{job.code}\n# {number}") for number in range(by_grader)]
    with Grader(workers=workers) as grader:
        passed = sum(verdict.status == "passed" for verdict in grader.grade(jobs))
    program, python = build_program(job.problem, job.code), find_python()
    with ThreadPoolExecutor(workers) as pool:
        words = list(pool.map(lambda _: reference_verdict(program, python, 120.0), range(by_reference)))
    return passed, words.count("passed")


def main(argv: Sequence[str] | None = None) -> int:
    """Write the table, one row an answer."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--folder", required=True, type=Path, help="ds1000.jsonl.gz and <answer set>-answers.jsonl.gz")
    parser.add_argument("--by-grader", type=int, default=100, help="times that the grader grades each (default: 100)")
    parser.add_argument("--by-reference", type=int, default=30, help="times for the reference protocol (default: 30)")
    parser.add_argument("--workers", type=int, default=2, help="default: 2")
    parser.add_argument(
        "--out", default=Path("results/benchmarks/repeated.csv"), type=Path, help="default: %(default)s"
    )
    arguments = parser.parse_args(argv)
    rows: list[dict[str, Any]] = []
    try:
        problems = {p["metadata"]["problem_id"]: p for p in load_problems(str(arguments.folder / "ds1000.jsonl.gz"))}
        for (name, number), cause in tqdm(BY_CHANCE.items(), unit="answer"):
            answers = read_answers(arguments.folder / f"{name}-answers.jsonl.gz")
            code = next(extract(answer.text) for answer in answers if answer.problem_id == number)
            job = Job(number, 0, code, problems[number])
            own, other = repeat(job, arguments.by_grader, arguments.by_reference, arguments.workers)
            rows.append(
                {
                    "problem": number,
                    "answers_of": name,
                    "passed_by_the_grader": f"{own} of {arguments.by_grader}",
                    "by_the_reference_protocol": f"{other} of {arguments.by_reference}",
                    "cause": cause,
                }
            )
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(arguments.out, buffer.getvalue())
    print(buffer.getvalue(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
