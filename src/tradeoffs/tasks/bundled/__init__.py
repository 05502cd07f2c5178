"""The bundled evaluation set: problems in DS-1000's simplified format, written for this project.

All seven libraries, all four perturbation types, and three tiers of difficulty: tier 1 needs one common call, tier 2 two or three steps,
tier 3 is as hard as DS-1000's difficult problems. A 135M-parameter model solves next to nothing of DS-1000 itself; tier 1 is where
alignment can be seen to help or hurt it. Each entry carries wrong answers that must fail, for the tests.
"""

from __future__ import annotations

import importlib

from tradeoffs.tasks.format import Problem

MODULES = ("pandas_", "numpy_", "matplotlib_", "sklearn_", "scipy_", "tensorflow_", "pytorch_")


def entries() -> list[tuple[Problem, tuple[str, ...]]]:
    """All problems, each with its wrong answers, in the order of their ids."""
    found = [entry for name in MODULES for entry in importlib.import_module(f"{__name__}.{name}").ENTRIES]
    return sorted(found, key=lambda entry: entry[0]["metadata"]["problem_id"])


def load() -> list[Problem]:
    """The problems, in the order of their ids."""
    return [problem for problem, _ in entries()]
