"""No text leaks between training tasks, the bundled evaluation problems and DS-1000.

Two prompts overlap when they share a window of 13 consecutive words; what the format itself writes at the end of every
prompt is cut off first.
"""

from __future__ import annotations

import gzip
import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tradeoffs.tasks import bundled, synthetic

ROOT = Path(__file__).resolve().parents[1]
WINDOW = 13
TRAINING_TASKS = 3000


def words(prompt: str) -> list[str]:
    """Give the words of a prompt without the trailer that the format writes."""
    if "# SOLUTION START" in prompt:
        prompt = prompt[: prompt.rindex("# SOLUTION START")]
    elif "</code>" in prompt:
        prompt = prompt[: prompt.rindex("</code>")]
    return re.findall(r"\w+", prompt.lower())


def windows(prompt: str) -> set[tuple[str, ...]]:
    """Give all windows of consecutive words of a prompt."""
    found = words(prompt)
    return {tuple(found[i : i + WINDOW]) for i in range(len(found) - WINDOW + 1)}


def shared(one: Iterable[dict[str, Any]], other: Iterable[dict[str, Any]]) -> dict[str, int]:
    """Give the windows that occur in both sets of problems, each with the id of the first one's problem."""
    theirs = set().union(*(windows(problem["prompt"]) for problem in other))
    return {
        " ".join(window): problem["metadata"]["problem_id"]
        for problem in one
        for window in windows(problem["prompt"]) & theirs
    }


@pytest.fixture(scope="module")
def training() -> list[dict[str, Any]]:
    return synthetic.generate(TRAINING_TASKS, seed=2024)


@pytest.fixture(scope="module")
def evaluation() -> list[dict[str, Any]]:
    return list(bundled.load())


@pytest.fixture(scope="module")
def ds1000() -> list[dict[str, Any]]:
    folder = ROOT / os.environ.get("TRADEOFFS_DATA", "../shared/data")
    path = folder / "ds1000" / "ds1000.jsonl.gz"
    if not path.exists():
        pytest.skip(f"DS-1000 is not at {path}; set TRADEOFFS_DATA to the folder that holds ds1000/ds1000.jsonl.gz")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def _problem(prompt: str) -> dict[str, Any]:
    return {"prompt": prompt, "metadata": {"problem_id": 1}}


def test_a_shared_window_is_found_and_the_trailer_is_not() -> None:
    text = " ".join(f"word{i}" for i in range(WINDOW))
    trailer = "\n</code>\nresult = ... # put solution in this variable\nBEGIN SOLUTION\n<code>\n"
    assert list(shared([_problem(f"Before, {text}!{trailer}")], [_problem(f"{text.upper()} after")])) == [text]
    assert not shared([_problem(f"one{trailer}")], [_problem(f"one{trailer}")])
    assert not shared([_problem(text.replace("word3", "other"))], [_problem(text)])


def test_training_and_bundled_problems_share_nothing(
    training: list[dict[str, Any]], evaluation: list[dict[str, Any]]
) -> None:
    assert not shared(training, evaluation)


def test_training_and_ds1000_share_nothing(training: list[dict[str, Any]], ds1000: list[dict[str, Any]]) -> None:
    assert not shared(training, ds1000)


def test_bundled_problems_and_ds1000_share_nothing(
    evaluation: list[dict[str, Any]], ds1000: list[dict[str, Any]]
) -> None:
    assert not shared(evaluation, ds1000)
