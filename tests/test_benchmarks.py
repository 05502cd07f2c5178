"""The benchmarks and the chapter's tables: arithmetic, the reference protocol itself, and that stored tables are current."""

from __future__ import annotations

import csv
import importlib.util
import json
import math
import os
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


@pytest.mark.parametrize("name", [path.stem for path in sorted((ROOT / "benchmarks").glob("*.py"))])
def test_every_benchmark_can_still_be_started(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, f"script_{name}", sys)  # what is loaded here is taken out again
    module = load(name, "benchmarks")
    if hasattr(module, "main"):
        with pytest.raises(SystemExit) as ended:
            module.main(["--help"])
        assert ended.value.code == 0 and "usage:" in capsys.readouterr().out


def test_the_limit_of_answering_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    from tradeoffs.inference.roofline import Ceilings, Traffic

    monkeypatch.setitem(sys.modules, "script_generation", sys)
    generation = load("generation", "benchmarks")
    of, at = Traffic(parameters=1000, weight_bytes=2000, kv_bytes_per_token=10), Ceilings(1e6, 1e6)
    found = generation.limit([100, 100], of, 200, at, rows=2)
    # prompts: 2 x (800 x 200 + 200 x 2) products; 63 steps of 2 ms of weights (4 ms of products); keys and values on top
    context = 2 * (63 * 100 + 64 * 63 / 2)
    assert found == pytest.approx(2 * 64 / (2 * (800 * 200 + 400) / 1e6 + 63 * 4e-3 + 10 * context / 1e6))


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
    told = dict.fromkeys(("grader", "grader_less_reference"), "None")  # its verdicts are not in the data
    assert [row | told for row in stored] == [{key: str(value) for key, value in row.items()} for row in rows]
    gap = "reference_less_published"
    assert all(row["cause"] and row["cause"] != "not explained" for row in rows if row[gap])
    assert sum(not row[gap] for row in rows) >= 25
    assert all(int(row["grader"]) - int(row["reference"]) == int(row["grader_less_reference"]) for row in stored)
    with (ROOT / "results/benchmarks/deviations.csv").open(newline="") as file:
        shown = list(csv.DictReader(file))
    assert shown == [row for row in stored if int(row[gap]) or int(row["grader_less_reference"])]


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


workflow, measuring = load("workflow", "benchmarks"), load("study_measuring", "book/_ext")


def test_time_a_further_cell_is_compared_between_sizes() -> None:
    assert workflow.growth({100: 1.1, 1000: 2.0, 10000: 11.0}) == pytest.approx(1.0)
    assert workflow.growth({10: 1.0, 100: 100.0, 1000: 10_000.0}) == pytest.approx(10.0, rel=0.2)
    assert workflow.growth({100: 1.0, 1000: 2.0}) is None


def test_a_job_costs_its_share_of_the_start_and_its_own_parts() -> None:
    parts = {"study": 3.0, "execute": 0.5, "papermill": 1.0, "first cells align": 0.1, "imports align": 4.0}
    parts |= {"first cells grade": 0.3, "imports grade": 0.0}
    found = workflow.a_job({name: {"median": value} for name, value in parts.items()}, {"align": 1, "grade": 2})
    assert found["by_stage"] == pytest.approx({"align": 6.6, "grade": 2.8})
    assert found["mean"] == pytest.approx(12.2 / 3) and found["imports"] == pytest.approx(4 / 3)


def test_a_studys_jobs_are_told_by_when_they_ended(tmp_path: Path) -> None:
    from tradeoffs.records import Record, provenance, write_record

    with pytest.raises(ValueError, match="holds 0 jobs that have ended"):
        workflow.study(tmp_path)
    for number, (ended, seconds) in enumerate([(100, 50.0), (110, 6.0), (120, 8.0)]):
        folder = tmp_path / "grade" / str(number)
        counts = {"planned": 1, "completed": 1, "failed": 0}
        record = Record(stage="grade", parameters={}, counts=counts, seconds=seconds, provenance=provenance())
        write_record(folder, record)
        (folder / "done").touch()
        os.utime(folder / "done", (ended, ended))
    found = workflow.study(tmp_path)
    assert (found["jobs"], found["mean"], found["low"], found["high"], found["share"]) == (2, 3.0, 2.0, 4.0, 0.3)


def test_first_cells_are_the_notebooks_own_up_to_the_check_and_imports_alone(tmp_path: Path) -> None:
    for stage in workflow.MODELS:
        *first, last = workflow.first_cells(stage)
        assert "parameters" in first[0].metadata.tags and "validate(" in first[-1].source
        assert all(line.startswith(("import ", "from ")) for line in last.source.splitlines())
        assert "tradeoffs" in last.source


def test_a_small_sweep_is_planned_and_becomes_the_chapters_tables(tmp_path: Path) -> None:
    project, rows = workflow.make_project(tmp_path / "project"), []
    planned = workflow.time_sweeps(project, [2, 4], 1, rows)
    lines = workflow.planning(rows, planned)
    assert [(line["part"], line["cells"]) for line in lines] == [
        (part, cells) for part in ("plan new", "snakemake new", "plan half done") for cells in (2, 4)
    ]
    assert planned[4] == 3 * 4 + 2 + 3 and all(line["median"] > 0 and line["peak_mib"] > 10 for line in lines)
    count = {"align": 3, "grade": 2}
    names = [*measuring.PARTS, *(f"{part} {stage}" for part in ("first cells", "imports") for stage in count)]
    parts = {name: {"median": 1.0, "low": 0.5, "high": 2.0} for name in names}
    told = {"profile": "smoke", "jobs": count, "parts": parts, "planning": lines, "study": None}
    (tmp_path / "workflow.json").write_text(json.dumps(told | {"a_job": workflow.a_job(parts, count)}))
    measuring.stage(tmp_path, tmp_path / "book")
    for name in ("workflow", "planning"):
        with (tmp_path / f"book/_results/benchmarks/{name}.csv").open(newline="") as file:
            table = list(csv.reader(file))
        assert len({len(row) for row in table}) == 1 and table[0][0] == "" and len(table) > 6
    sentence = measuring.answers(tmp_path)["measured_workflow"]
    assert "costs 4.2 s beside its work" in sentence and "A sweep of 4 cells" in sentence and "None" not in sentence
    assert "`python benchmarks/workflow.py`" in measuring.answers(tmp_path / "nothing")["measured_workflow"]


def test_the_scatter_of_equal_policies_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np
    import pandas as pd

    monkeypatch.setitem(sys.modules, "script_turns", sys)
    turns = load("turns", "benchmarks")
    # a block's own pace and a policy's own place are no scatter; what is left of the logarithms is +-0.01 in every cell
    logs = np.array([[0.01, -0.01], [-0.01, 0.01]]) + np.array([[0.3], [1.2]]) + np.array([[0.05, -0.02]])
    cells = [(block, policy) for block in range(2) for policy in range(2)]
    table = pd.DataFrame([{"block": b, "policy": p, "seconds": math.exp(logs[b, p])} for b, p in cells])
    assert turns.scatter(table) == (pytest.approx(0.02), 1)  # sqrt(4 * 0.01 ** 2 / 1)
    rng = np.random.default_rng(0)
    spread = {"whole": 0.1, "turns": 0.02}
    made = [
        {"way": way, "block": b, "policy": p, "seconds": math.exp(rng.normal(b, sd))}
        for way, sd in spread.items()
        for b in range(40)
        for p in range(6)
    ]
    found = turns.compare(pd.DataFrame(made))
    assert found["ratio"]["low"] < 5 < found["ratio"]["high"] and found["ratio"]["low"] > 3
    assert found["seconds"]["low"] < 1 < found["seconds"]["high"]


def test_what_turns_bring_is_told_by_its_interval(tmp_path: Path) -> None:
    def told(low: float, high: float) -> str:
        one = {"whole": 0.1, "turns": 0.02, "ratio": {"ratio": (low * high) ** 0.5, "low": low, "high": high}}
        one["seconds"] = {"ratio": 1.1, "low": 0.9, "high": 1.3}
        found = {"found": {"1": one}, "copies": 8, "provenance": {"cores": 2, "hardware": "a processor"}}
        (tmp_path / "turns.json").write_text(json.dumps(found))
        return str(measuring.answers(tmp_path)["measured_turns"])

    assert "at 1 row by 10.0 % whole and 2.0 % in turns (less in turns: × 5.0 [4.2 to 6.0])" in told(4.2, 6.0)
    assert "× 1.100 [0.900 to 1.300] at 1" in told(4.2, 6.0)
    assert "(more in turns: × 0.5" in told(0.4, 0.6) and "(no difference seen: " in told(0.8, 1.2)
