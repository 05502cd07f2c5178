"""The grading environment: which interpreter, what it needs to read, and which data this machine has for it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

VARIABLE = "TRADEOFFS_GRADING_PYTHON"
DEFAULT_PYTHON = Path(".venv-grading/bin/python")

_QUERY = """
import importlib.util, json, sys
print(json.dumps([[sys.prefix, sys.base_prefix, *sys.path], importlib.util.find_spec("matplotlib") is not None]))
"""


class GradingError(RuntimeError):
    """The grading room itself does not work; never raised for what an answer does."""


def find_python(python: str | Path | None = None) -> Path:
    """Find the interpreter of the grading environment.

    Args:
        python: its path; else the variable `TRADEOFFS_GRADING_PYTHON`, else `.venv-grading/bin/python` here or in the
            project's root.

    Raises:
        ValueError: there is none; the message names the remedy.
    """
    named = python or os.environ.get(VARIABLE)
    root = Path(__file__).resolve().parents[3]
    candidates = [Path(named)] if named else [DEFAULT_PYTHON, root / DEFAULT_PYTHON]
    for candidate in candidates:
        if os.access(candidate, os.X_OK) and candidate.is_file():
            return candidate.absolute()  # not resolved: a virtual environment is known by the link's own place
    raise ValueError(
        f"grading python: no interpreter at {' or '.join(map(str, candidates))}; "
        f"accepts the python of the grading environment: run `make setup`, or set {VARIABLE}"
    )


@lru_cache
def describe(python: Path) -> tuple[tuple[str, ...], bool]:
    """Ask the interpreter where its files are.

    Returns:
        The folders it reads from, and whether Matplotlib is installed.
    """
    try:
        done = subprocess.run([python, "-I", "-c", _QUERY], capture_output=True, text=True, timeout=60, check=True)
        paths, plots = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise GradingError(
            f"grading python: {python} does not run ({error}); set it up again with `make setup`"
        ) from error
    return tuple(path for path in paths if path and os.path.exists(path)), bool(plots)


def font_cache(python: Path) -> Path | None:
    """Have Matplotlib's font cache made once for this environment, so that no answer waits for it.

    Returns:
        The folder that holds it; None where the environment has no Matplotlib.
    """
    paths, plots = describe(python)
    if not plots:
        return None
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tradeoffs"
    folder = base / ("fonts-" + re.sub(r"\W+", "-", paths[0]).strip("-")[-80:])
    if not any(folder.glob("fontlist*.json")):
        with tempfile.TemporaryDirectory() as made:
            env = {"PATH": os.defpath, "HOME": made, "MPLCONFIGDIR": made, "MPLBACKEND": "Agg"}
            code = "import matplotlib.font_manager"
            subprocess.run([python, "-I", "-c", code], env=env, capture_output=True, timeout=300, check=False)
            folder.mkdir(parents=True, exist_ok=True)
            for path in Path(made).glob("fontlist*.json"):
                shutil.copy(path, folder / f".{path.name}.{os.getpid()}")
                (folder / f".{path.name}.{os.getpid()}").replace(folder / path.name)
    return folder


def missing_data(problem: Mapping[str, Any], seaborn_data: str | None, sklearn_data: str | None = None) -> str:
    """Name the data that a problem's own program loads and that this machine lacks; empty where nothing is missing.

    The problem decides, never the answer: what its prompt or its tests load must be there, or no answer to it can be
    judged.
    """
    text = problem.get("prompt", "") + "\n" + problem["code_context"]
    for name in re.findall(r"\bload_dataset\(\s*[\"']([\w-]+)[\"']", text):
        if not (seaborn_data and (Path(seaborn_data) / f"{name}.csv").is_file()):
            return f"seaborn data set {name}: set SEABORN_DATA to a folder that holds {name}.csv"
    for name in re.findall(r"\b(fetch_\w+)\(", text):
        if re.search(rf"sklearn\.datasets import[^\n]*\b{name}\b|datasets\.{name}\(", text):
            stem = {"fetch_california_housing": "cal_housing"}.get(name, name.removeprefix("fetch_"))
            if not (sklearn_data and any(Path(sklearn_data).glob(f"{stem}*"))):
                return f"scikit-learn data set of {name}: set SCIKIT_LEARN_DATA to a folder that holds it"
    return ""
