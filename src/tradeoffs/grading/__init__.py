"""The grading room: runs model-written programs in the grading environment, behind walls, and tells their verdicts.

`Grader` grades answers held in memory (a training reward); `grade_answers` grades a file of answers and appends each
verdict to another file as it is reached. The verdicts are those of the benchmark's own protocol.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tradeoffs.grading.environment import GradingError as GradingError
    from tradeoffs.grading.extraction import Submission as Submission
    from tradeoffs.grading.extraction import extract as extract
    from tradeoffs.grading.extraction import read_answers as read_answers
    from tradeoffs.grading.files import grade_answers as grade_answers
    from tradeoffs.grading.imports import build_program as build_program
    from tradeoffs.grading.supervisor import Grader as Grader
    from tradeoffs.grading.supervisor import Job as Job

_HOMES = {
    "GradingError": "environment",
    "Submission": "extraction",
    "extract": "extraction",
    "read_answers": "extraction",
    "grade_answers": "files",
    "build_program": "imports",
    "Grader": "supervisor",
    "Job": "supervisor",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
