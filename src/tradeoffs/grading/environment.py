"""The grading environment: which interpreter, what it needs to read, and which data this machine has for it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

VARIABLE = "TRADEOFFS_GRADING_PYTHON"
DEFAULT_PYTHON = Path(".venv-grading/bin/python")
# The variables in which the two libraries look for their data, and what tells that a folder holds some.
DATA_FILES = {"SEABORN_DATA": "*.csv", "SCIKIT_LEARN_DATA": "cal_housing*"}

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


def data_cache() -> Path:
    """The folder that `tradeoffs fetch` fills, and in which the grader looks for data that nobody has named."""
    base = os.environ.get("TRADEOFFS_CACHE") or Path.home() / ".cache" / "tradeoffs"
    return Path(base).expanduser() / "data"


def data_folders(data: str | Path | None = None) -> dict[str, str]:
    """Find the data that some problems would download.

    Args:
        data: folder to look in first; then come what the variables name, then `data_cache()`.

    Returns:
        Variable of `DATA_FILES` -> the first of these folders that holds a file of its kind; no entry where none does.

    Raises:
        ValueError: `data` is no folder.
    """
    if data and not Path(data).is_dir():
        raise ValueError(
            f"data: got {str(data)!r}, which is no folder; accepts one with the data sets: `tradeoffs fetch` fills one"
        )
    found = {}
    for variable, pattern in DATA_FILES.items():
        for folder in (data, os.environ.get(variable), data_cache()):
            if folder and any(Path(folder).glob(pattern)):
                found[variable] = str(Path(folder).resolve())
                break
    return found


@contextlib.contextmanager
def data_at_hand(data: str | Path | None = None) -> Iterator[dict[str, str]]:
    """Name the data folders in the environment for as long as a grader is made, which reads them there."""
    found = data_folders(data)
    before = {variable: os.environ.get(variable) for variable in found}
    os.environ.update(found)
    try:
        yield found
    finally:
        for variable, value in before.items():
            if value is None:
                del os.environ[variable]
            else:
                os.environ[variable] = value


def missing_data(problem: Mapping[str, Any], seaborn_data: str | None, sklearn_data: str | None = None) -> str:
    """Name the data that a problem's own program loads and that this machine lacks; empty where nothing is missing.

    The problem decides, never the answer: what its prompt or its tests load must be there, or no answer to it can be
    judged.
    """
    text = problem.get("prompt", "") + "\n" + problem["code_context"]
    for name in re.findall(r"\bload_dataset\(\s*[\"']([\w-]+)[\"']", text):
        if not (seaborn_data and (Path(seaborn_data) / f"{name}.csv").is_file()):
            return f"seaborn data set {name}: run `tradeoffs fetch`, or name a folder that holds {name}.csv in SEABORN_DATA"
    for name in re.findall(r"\b(fetch_\w+)\(", text):
        if re.search(rf"sklearn\.datasets import[^\n]*\b{name}\b|datasets\.{name}\(", text):
            stem = {"fetch_california_housing": "cal_housing"}.get(name, name.removeprefix("fetch_"))
            if not (sklearn_data and any(Path(sklearn_data).glob(f"{stem}*"))):
                return f"data set of {name}: run `tradeoffs fetch`, or name a folder that holds it in SCIKIT_LEARN_DATA"
    return ""
