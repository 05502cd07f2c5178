"""The grade stage: a file of answers becomes a file of verdicts and a record."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

from tradeoffs.grading.extraction import read_answers
from tradeoffs.grading.files import grade_answers
from tradeoffs.grading.sandbox import LEVELS
from tradeoffs.parameters import GradeParameters
from tradeoffs.records import Record, claim, digest, provenance, read_record, write_record
from tradeoffs.tasks import load_problems


def grade(parameters: GradeParameters) -> Record:
    """Grade the answers and write `verdicts.jsonl` and `record.json` into `parameters.out`.

    A finished folder is returned as it is; an interrupted one goes on with the first answer that has no verdict.

    Raises:
        ValueError: answers or problems cannot be read, or a folder that holds another run.
        GradingError: the isolation asked for cannot be had here.
    """
    problems = load_problems(parameters.problems)
    planned = len(read_answers(parameters.answers))
    inputs = {"answers_sha256": digest(parameters.answers)}
    folder = claim(Path(parameters.out), parameters.model_dump(exclude={"workers"}) | inputs)
    if (folder / "record.json").exists():
        return read_record(folder)
    began = time.perf_counter()
    verdicts = grade_answers(
        parameters.answers,
        problems,
        folder / "verdicts.jsonl",
        data=parameters.data,
        workers=parameters.workers,
        time_limit=parameters.time_limit,
        require_isolation=parameters.require_isolation,
    )
    # An interrupted run may have gone on where walls are weaker: the weakest level is what the record may claim.
    level = max((v.isolation for v in verdicts if v.isolation), key=LEVELS.index, default=None)
    statuses = Counter(verdict.status for verdict in verdicts)
    record = Record(
        stage="grade",
        parameters=parameters.model_dump(),
        counts={"planned": planned, "completed": len(verdicts), "failed": planned - len(verdicts)},
        summary={
            "statuses": dict(sorted(statuses.items())),
            "pass_rate": statuses["passed"] / graded if (graded := len(verdicts) - statuses["unavailable"]) else None,
            "isolation": level,
        },
        inputs=inputs,
        seconds=round(time.perf_counter() - began, 1),
        provenance=provenance(),
    )
    write_record(folder, record)
    return record
