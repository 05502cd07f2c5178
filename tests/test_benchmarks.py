"""The benchmarks and the chapter's tables: arithmetic, the reference protocol itself, and that stored tables are current."""

from __future__ import annotations

import csv
import importlib.util
import json
import math
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tradeoffs.grading import doctor

ROOT = Path(__file__).resolve().parents[1]


def load(name: str, folder: str) -> ModuleType:
    """Import a script that is no part of the package, under a name of its own."""
    path = ROOT / folder / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"script_{name}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent))
    return module


grading, published = load("grading", "benchmarks"), load("published", "benchmarks")


def problem(number: int, library: str) -> dict[str, Any]:
    tests = "def test_execution(solution):\n    env = {}\n    exec(solution, env)\n    assert env['x'] == 4\n"
    metadata = {"problem_id": number, "library": library, "perturbation_type": "Origin", "perturbation_origin_id": 0}
    return {"prompt": "", "reference_code": "x = 4", "code_context": tests, "metadata": metadata}


def test_blocks_have_equal_shares_of_every_library() -> None:
    jobs = [grading.Job(n, 0, "", problem(n, "Scipy" if n % 3 else "Numpy")) for n in range(60)]
    parts = grading.split(jobs, 3)
    assert sorted(job.problem_id for part in parts for job in part) == list(range(60))
    for part in parts:
        assert len(part) == 20
        assert 6 <= sum(job.problem["metadata"]["library"] == "Numpy" for job in part) <= 7


def test_the_interval_of_the_ratio_is_students_on_logarithms() -> None:
    found = grading.interval([8.0, 8.0, 8.0])
    assert found["estimate"] == pytest.approx(8) and found["low"] == pytest.approx(found["high"])
    found = grading.interval([4.0, 9.0])
    assert found["estimate"] == pytest.approx(6)
    half = 12.7062 * math.log(9 / 4) / 2  # t with one degree of freedom times the standard error of two
    assert math.log(found["high"] / 6) == pytest.approx(half, rel=1e-4)
    assert grading.interval([5.0])["low"] is None


@pytest.mark.parametrize(
    ("program", "word"),
    [("x = 1", "passed"), ("1 / 0", "failed"), ("raise SystemExit(0)", "failed"), ("while True: pass", "timed_out")],
)
def test_the_reference_protocol_is_one_fresh_interpreter_an_answer(
    grading_python: Path, program: str, word: str
) -> None:
    assert grading.reference_verdict(program, grading_python, 3.0 if word == "timed_out" else 60.0) == word


def test_the_reference_protocol_starts_in_an_empty_folder(grading_python: Path) -> None:
    assert grading.reference_verdict("import os; assert os.listdir() == []", grading_python, 60.0) == "passed"


def test_a_small_run_measures_both_sides_and_writes_where_it_ran(grading_python: Path, tmp_path: Path) -> None:
    lines = [json.dumps(problem(n, "Numpy")) + "\n" for n in range(6)]
    (tmp_path / "p.jsonl").write_text("".join(lines))
    out = tmp_path / "grading.json"
    arguments = ["--problems", str(tmp_path / "p.jsonl"), "--blocks", "2", "--limit", "4", "--floor", "--out", str(out)]
    assert grading.main(arguments) == 0
    found = json.loads(out.read_text())
    assert found["answers"] == found["passed"] == 4 and found["verdicts_that_differ"] == []
    assert found["ratio"]["low"] <= found["ratio"]["estimate"] <= found["ratio"]["high"]
    assert found["reference"]["cpu_seconds_per_answer"] > 0 and found["provenance"]["hardware"]
    assert str(tmp_path) not in out.read_text()
    table = load("study_grading", "book/_ext").speed(found)
    assert {len(row) for row in table} == {4}


def test_the_published_table_is_read() -> None:
    text = (
        "         score\ncount  1000.00\nmean      0.51\n           score       \n           count   mean\nlibrary\n"
        "Numpy        220  0.568\nPytorch       68  0.471\nDifficult-Rewrite   162  0.333"
    )
    assert published.published(text) == {"all": 0.51, "Numpy": 0.568, "Pytorch": 0.471, "Difficult-Rewrite": 0.333}
    with pytest.raises(ValueError, match="no line `mean`"):
        published.published("nothing")


def test_the_stored_deviations_are_those_of_the_data(data: Path) -> None:
    from tradeoffs.tasks.problems import load_problems

    rows = published.compare(data / "ds1000", None, load_problems(str(data / "ds1000" / "ds1000.jsonl.gz")))
    with (ROOT / "results/benchmarks/published.csv").open(newline="") as file:
        stored = list(csv.DictReader(file))
    assert [{**row, "grader": ""} for row in stored] == [
        {key: str(value) for key, value in row.items()} for row in rows
    ]
    assert all(row["cause"] and row["cause"] != "not explained" for row in rows if row["difference"])
    assert sum(not row["difference"] for row in rows) >= 25


def test_the_stored_table_of_threats_is_the_programs_own() -> None:
    assert (ROOT / "results/benchmarks/isolation.csv").read_text() == doctor.threat_csv(), (
        "make it again: tradeoffs doctor --threats results/benchmarks/isolation.csv"
    )


alignment = load("alignment", "benchmarks")


def test_a_trainers_overhead_is_the_mean_of_logarithms_with_students_interval() -> None:
    steps = [alignment.Step(2.0, 0.5, 1.0, 100), alignment.Step(2.0, 0.5, 1.0, 100)]
    found = alignment.ratio(steps)
    assert (found["overhead"], found["low"], found["high"]) == pytest.approx((2.0, 2.0, 2.0))
    assert (found["trainer_tokens_per_s"], found["bare_tokens_per_s"], found["sampling_share"]) == (50.0, 100.0, 0.25)


@pytest.mark.parametrize("method", ["sft", "dpo", "rloo", "ppo"])
def test_trainers_are_measured_beside_bare_passes_of_their_batches(tiny: Path, tmp_path: Path, method: str) -> None:
    import csv

    out = tmp_path / "alignment.csv"
    assert alignment.main(["--steps", "2", "--model", str(tiny), "--methods", method, "--out", str(out)]) == 0
    (row,) = csv.DictReader(out.open())
    assert row["method"] == method and float(row["bare_tokens_per_s"]) > 0 and int(row["tokens"]) > 0
    assert (float(row["sampling_share"]) > 0) == (method in ("rloo", "ppo"))
