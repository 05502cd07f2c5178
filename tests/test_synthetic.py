"""The generator of training tasks: enough templates, distinct and reproducible tasks, clear errors."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tradeoffs.tasks import synthetic

SRC = Path(__file__).resolve().parents[1] / "src"
DIGEST = """
import hashlib, json
from tradeoffs.tasks import synthetic
print(hashlib.sha256(json.dumps(synthetic.generate(200, 7)).encode()).hexdigest())
"""


def test_enough_templates_of_every_library() -> None:
    counts = Counter(template.library for template in synthetic.TEMPLATES.values())
    assert counts["Numpy"] >= 22
    assert counts["Pandas"] >= 24
    assert counts["Scipy"] >= 12
    assert counts["Sklearn"] >= 14


def test_template_names_are_unique_and_tell_their_library() -> None:
    modules = (synthetic.numpy_, synthetic.pandas_, synthetic.scipy_, synthetic.sklearn_)
    assert len(synthetic.TEMPLATES) == sum(len(module.TEMPLATES) for module in modules)
    for name, template in synthetic.TEMPLATES.items():
        assert name == template.name
        assert name.startswith(template.library.lower() + "_")


def test_about_two_thirds_of_the_templates_are_easy() -> None:
    easy = sum(template.easy for template in synthetic.TEMPLATES.values())
    assert 0.6 <= easy / len(synthetic.TEMPLATES) <= 0.75


@pytest.mark.parametrize("hash_seed", ["0", "1"])
def test_other_processes_write_the_same_tasks(hash_seed: str) -> None:
    env = {**os.environ, "PYTHONPATH": str(SRC), "PYTHONHASHSEED": hash_seed}
    told = subprocess.run([sys.executable, "-c", DIGEST], env=env, capture_output=True, text=True, check=True)
    here = hashlib.sha256(json.dumps(synthetic.generate(200, 7)).encode()).hexdigest()
    assert told.stdout.strip() == here


def test_a_longer_run_begins_with_the_shorter_one() -> None:
    assert synthetic.generate(150, 3)[:40] == synthetic.generate(40, 3)


def test_prompts_are_distinct_within_and_across_seeds() -> None:
    first = [task["prompt"] for task in synthetic.generate(1500, 0)]
    second = [task["prompt"] for task in synthetic.generate(1500, 1)]
    assert len(set(first)) == 1500
    assert len(set(first) & set(second)) <= 3


@pytest.mark.parametrize("name", sorted(synthetic.TEMPLATES))
def test_a_template_alone_gives_many_tasks(name: str) -> None:
    tasks = synthetic.generate(60, 5, templates=[name])
    assert len({task["prompt"] for task in tasks}) == 60
    assert {task["metadata"]["template"] for task in tasks} == {name}


def test_templates_take_turns() -> None:
    counts = Counter(task["metadata"]["template"] for task in synthetic.generate(3 * len(synthetic.TEMPLATES) + 1, 2))
    assert set(counts) == set(synthetic.TEMPLATES)
    assert max(counts.values()) - min(counts.values()) <= 1


def test_metadata() -> None:
    tasks = synthetic.generate(300, 11)
    for index, task in enumerate(tasks):
        meta = task["metadata"]
        template = synthetic.TEMPLATES[meta["template"]]
        assert meta["problem_id"] == synthetic.FIRST_ID + index
        assert meta["seed"] == 11
        assert meta["library"] == template.library
        assert meta["tier"] == (1 if template.easy else 2)
        assert meta["test_case_cnt"] >= 2
    assert len({(task["metadata"]["library"], task["metadata"]["library_problem_id"]) for task in tasks}) == 300


def test_easy_references_are_one_statement() -> None:
    for task in synthetic.generate(600, 4):
        is_function = "### BEGIN SOLUTION" in task["prompt"]
        reference = task["reference_code"]
        code = f"def f():\n{reference}" if is_function else reference
        body = ast.parse(code).body
        statements = body[0].body if is_function else body  # type: ignore[attr-defined]
        assert len(statements) == 1 if task["metadata"]["tier"] == 1 else len(statements) <= 3
        compile(task["code_context"], "context", "exec")


def test_sizes_suit_a_small_model() -> None:
    tasks = synthetic.generate(1000, 6)
    prompts = [len(task["prompt"].split()) for task in tasks]
    assert 40 <= sum(prompts) / len(prompts) <= 90
    assert max(prompts) <= 130
    assert max(len(task["reference_code"]) for task in tasks) <= 160
    assert 0.05 <= sum("### BEGIN SOLUTION" in task["prompt"] for task in tasks) / len(tasks) <= 0.15


def test_generation_is_fast() -> None:
    synthetic.generate(10, 0)
    start = time.process_time()
    synthetic.generate(1000, 8)
    assert time.process_time() - start < 1.0


def test_selection() -> None:
    tasks = synthetic.generate(40, 0, libraries=["Scipy", "Sklearn"])
    assert {task["metadata"]["library"] for task in tasks} == {"Scipy", "Sklearn"}
    assert synthetic.generate(0, 0) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"n": -1}, ["n:", "-1", "at least 0"]),
        ({"n": 2.5}, ["n:", "2.5", "integer"]),
        ({"n": 1, "libraries": ["Torch"]}, ["libraries", "'Torch'", "Numpy, Pandas, Scipy, Sklearn"]),
        ({"n": 1, "libraries": "Pandas"}, ["libraries", "'Pandas'", "sequence"]),
        ({"n": 1, "libraries": []}, ["libraries", "empty"]),
        ({"n": 1, "templates": ["numpy_magic"]}, ["templates", "'numpy_magic'", "numpy_mean"]),
        ({"n": 1, "templates": ["numpy_mean"], "libraries": ["Scipy"]}, ["templates", "numpy_mean", "Scipy"]),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, object], words: list[str]) -> None:
    with pytest.raises(ValueError) as caught:
        synthetic.generate(seed=0, **arguments)  # type: ignore[arg-type]
    for word in words:
        assert word in str(caught.value)
