"""The exercises as a page and as a notebook, made from the package, so that what is read is what is tested."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType


def _package(source: Path) -> ModuleType:
    """The module, loaded by its file: a book is built with whatever Python has Sphinx, and this needs NumPy alone."""
    path = source.parent / "src" / "tradeoffs" / "teaching.py"
    spec = importlib.util.spec_from_file_location("study_exercises", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def stage(source: Path) -> None:
    """Write `_results/exercises.md` and `_results/exercises.ipynb`."""
    exercises = _package(source).EXERCISES
    parts, cells = [], []
    for number, exercise in enumerate(exercises.values(), 1):
        minutes = f"{exercise.minutes} minutes" if exercise.minutes < 120 else "an afternoon"
        title = f"## {number}. {exercise.title} ({minutes})"
        fold = f"```{{dropdown}} Solution\n~~~python\n{exercise.solution}\n~~~\n\n{exercise.why}\n```"
        parts.append(f"{title}\n\n{exercise.goal}\n\n```python\n{exercise.start}\n```\n\n{fold}\n")
        cells.append(
            {"cell_type": "markdown", "id": f"goal-{number}", "metadata": {}, "source": f"{title}\n\n{exercise.goal}"}
        )
        code = {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": []}
        cells.append(code | {"id": f"start-{number}", "source": exercise.start})
    folder = source / "_results"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "exercises.md").write_text("\n".join(parts), encoding="utf-8")
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    book = {"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    (folder / "exercises.ipynb").write_text(json.dumps(book, indent=1), encoding="utf-8")
