"""Parameters: a wrong one stops a stage within seconds with one line; notebooks and models say the same."""

import ast
import math
import re
import resource
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from tradeoffs.parameters import MODELS, AlignParameters, GenerateParameters, ParameterError, check, validate

ROOT = Path(__file__).resolve().parents[1]
STAGES = list(MODELS)

REFUSED = [
    ("align", {"stepz": 3}, "stepz: no such parameter; did you mean 'steps'? accepts method, "),
    ("align", {"steps": 2.5}, "steps: got 2.5; accepts integer >= 1 (optimizer steps"),
    ("align", {"steps": "3"}, "steps: got '3'; accepts integer >= 1"),
    ("align", {"steps": True}, "steps: got True; accepts integer >= 1"),
    ("align", {"steps": 0}, "steps: got 0; accepts integer >= 1"),
    ("align", {"method": "grpo"}, "method: got 'grpo'; accepts one of 'sft', 'ppo', 'rloo', 'dpo'"),
    ("align", {"method": "rloo", "samples": 3}, "batch_size: got 8; accepts multiples of samples = 3"),
    ("align", {"method": "rloo", "samples": 4, "prompts": 1}, "prompts: got 1; accepts at least the 2 whose 4 samples"),
    (
        "align",
        {"method": "rsft", "prompts": 8, "samples": 2, "max_new_tokens": 100, "rounds": 2, "token_budget": 3000},
        "token_budget: got 3000; 2 samples of each of 8 prompts may take 1600 tokens and more in each of 2 rounds",
    ),
    ("align", {"method": "rrhf", "samples": 1}, "samples: got 1; accepts at least 2 with rrhf, which compares them"),
    ("align", {"evaluations": 3, "accelerate": "a.yaml"}, "evaluations: got 3; accepts 0 with accelerate"),
    ("align", {"learning_rate": 2.0}, "learning_rate: got 2.0; accepts number > 0 and <= 1"),
    ("align", {"learning_rate": math.nan}, "learning_rate: got nan; accepts number > 0 and <= 1"),
    ("align", {"beta": math.inf}, "beta: got inf; accepts number > 0"),
    ("align", {"angles": [0.0, 100.0]}, "angles: got 100.0; accepts list of length >= 1 of number >= -90 and <= 90"),
    ("align", {"angles": []}, "angles: got []; accepts list of length >= 1"),
    ("align", {"model": "embeded"}, "model: got 'embeded'; unknown model; accepts 'embedded', a hub id"),
    ("align", {"model": "two\nlines"}, "model: got 'two\\nlines'; unknown model; accepts 'embedded'"),
    ("align", {"start": "no/such"}, "start: got 'no/such'; no such folder; accepts the path of an existing folder"),
    ("align", {"method": "dpo", "prompts": 4}, "batch_size: got 8; accepts at most prompts = 4"),
    ("generate", {"angel": 0.0}, "angel: no such parameter; did you mean 'angle'? accepts policy, "),
    ("generate", {"angle": "left"}, "angle: got 'left'; accepts number >= -90 and <= 90 or None"),
    ("generate", {"angle": 91.0}, "angle: got 91.0; accepts number >= -90 and <= 90 or None"),
    ("generate", {"adapter": "no/such"}, "adapter: got 'no/such'; no such folder; accepts the path of"),
    ("generate", {"problems": "ds10000"}, "problems: got 'ds10000'; unknown problem set; accepts 'bundled', 'ds1000'"),
    ("generate", {"seed": -1}, "seed: got -1; accepts integer >= 0 and < 2147483648 (random seed)"),
    ("generate", {"out": ""}, "out: got ''; accepts string of length >= 1"),
    ("throughput", {"block": 3}, "block: no such parameter; did you mean 'blocks'? accepts model, "),
    ("throughput", {"policies": ["base"]}, "policies: got ['base']; accepts mapping of length >= 1 of string"),
    ("throughput", {"policies": {"dpo": "no/such"}}, "policies: got 'no/such'; no such folder; accepts the path"),
    ("throughput", {"margin": 1.0}, "margin: got 1.0; accepts number > 0 and < 1 (equivalence margin"),
    ("grade", {"timelimit": 9.0}, "timelimit: no such parameter; did you mean 'time_limit'? accepts answers, "),
    ("grade", {"answers": "no-such.jsonl"}, "answers: got 'no-such.jsonl'; no such file; accepts the path of"),
    ("grade", {"workers": None}, "workers: got None; accepts integer >= 1"),
    ("grade", {"time_limit": 0.0}, "time_limit: got 0.0; accepts number > 0"),
    ("grade", {"require_isolation": "hope"}, "require_isolation: got 'hope'; accepts one of 'limits', 'namespaces'"),
    ("analyse", {"run": "."}, "run: no such parameter; did you mean 'runs'? accepts runs, "),
    ("analyse", {"policies": "base"}, "policies: got 'base'; accepts list of length >= 1 of string"),
    ("analyse", {"draws": 10}, "draws: got 10; accepts integer >= 100"),
    ("analyse", {"runs": "no/such"}, "runs: got 'no/such'; no such folder; accepts the path of an existing folder"),
]

FAILING = [
    (["steps", "0"], "steps: got 0; accepts integer >= 1"),
    (["stepz", "3"], "stepz: no such parameter; did you mean 'steps'?"),
    (["start", "no/such/adapter"], "start: got 'no/such/adapter'; no such folder"),
    (["model", "embeded"], "model: got 'embeded'; unknown model"),
]


def parameter_cells(stage: str) -> list[str]:
    notebook = nbformat.read(ROOT / "notebooks" / f"{stage}.ipynb", as_version=4)
    return [cell.source for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]


def papermill(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "papermill", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(("stage", "values", "line"), REFUSED, ids=[f"{s}-{next(iter(v))}" for s, v, _ in REFUSED])
def test_a_wrong_parameter_is_one_line_of_name_value_and_what_is_accepted(stage: str, values: dict, line: str) -> None:
    with pytest.raises(ParameterError) as caught:
        check(MODELS[stage], values)
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)
    assert caught.value._render_traceback_() == [f"ParameterError: {caught.value}"]


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_takes_its_defaults(stage: str) -> None:
    assert check(MODELS[stage], {}) == MODELS[stage]()


@pytest.mark.parametrize("stage", STAGES)
def test_every_parameter_has_a_meaning(stage: str) -> None:
    schema = MODELS[stage].model_json_schema()["properties"]
    assert [name for name, field in schema.items() if len(field.get("description", "")) < 5] == []


def test_whole_numbers_serve_as_numbers_but_not_the_other_way_round() -> None:
    assert check(MODELS["align"], {"learning_rate": 1}).learning_rate == 1.0
    with pytest.raises(ParameterError, match="^batch_size: got 8.0"):
        check(MODELS["align"], {"batch_size": 8.0})


def test_a_notebooks_own_names_are_no_parameters_but_injected_ones_are() -> None:
    def helper() -> None: ...

    namespace = {"In": [], "_ih": [], "get_ipython": helper, "re": re, "ParameterError": ParameterError, "blocks": 3}
    assert validate(MODELS["throughput"], namespace).blocks == 3
    with pytest.raises(ParameterError, match="^blokcs: no such parameter; did you mean 'blocks'"):
        validate(MODELS["throughput"], namespace | {"blokcs": 3})


@pytest.mark.parametrize("stage", STAGES)
def test_a_notebooks_parameters_match_its_model_in_name_default_and_order(stage: str) -> None:
    (cell,) = parameter_cells(stage)
    found = {node.target.id: ast.literal_eval(node.value) for node in ast.parse(cell).body}
    assert list(found.items()) == [(name, field.default) for name, field in MODELS[stage].model_fields.items()]


@pytest.mark.parametrize("stage", STAGES)
def test_a_notebooks_parameters_are_validated_by_the_next_code_cell(stage: str) -> None:
    notebook = nbformat.read(ROOT / "notebooks" / f"{stage}.ipynb", as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert "parameters" in cells[0].metadata.tags
    assert f"validate({MODELS[stage].__name__}, globals())" in cells[1].source
    assert [line for line in cells[1].source.splitlines() if "import" in line] == [
        f"from tradeoffs.parameters import {MODELS[stage].__name__}, validate"
    ]


def test_there_is_one_notebook_a_stage() -> None:
    assert sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb")) == sorted(STAGES)


@pytest.mark.parametrize("stage", STAGES)
def test_committed_notebooks_hold_no_output(stage: str) -> None:
    notebook = nbformat.read(ROOT / "notebooks" / f"{stage}.ipynb", as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.source for cell in cells if cell.outputs or cell.execution_count is not None] == []
    assert "papermill" not in notebook.metadata


@pytest.mark.parametrize("stage", STAGES)
def test_papermill_shows_every_parameter_with_its_default_and_meaning(stage: str) -> None:
    shown = papermill("--help-notebook", f"notebooks/{stage}.ipynb")
    assert shown.returncode == 0, shown.stderr
    text = " ".join(shown.stdout.split())
    for name, note in re.findall(r"^(\w+):.*?  # (.*)$", parameter_cells(stage)[0], re.MULTILINE):
        assert re.search(rf"\b{name}: \w+", text), name
        assert " ".join(note.split()) in text, name
    assert len(re.findall(r"\(default ", text)) == len(MODELS[stage].model_fields)


@pytest.mark.parametrize(("given", "line"), FAILING, ids=[" ".join(given) for given, _ in FAILING])
def test_a_notebook_with_a_wrong_parameter_fails_within_seconds(tmp_path: Path, given: list[str], line: str) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    out = tmp_path / "out"
    options = ["-p", *given, "-p", "out", str(out), "-k", "python3", "--no-progress-bar"]
    done = papermill("notebooks/align.ipynb", str(tmp_path / "out.ipynb"), *options)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    printed = done.stdout + done.stderr
    assert done.returncode != 0
    assert len(re.findall(rf"^ParameterError: {re.escape(line)}", printed, re.MULTILINE)) == 1, printed
    assert "parameters.py" not in printed, "our own traceback is of no use to who mistyped a parameter"
    assert not out.exists()
    # CPU seconds, not wall seconds: on an idle machine they are the same, on a busy one only these are the notebook's.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 10


def test_exponents_without_a_point_are_numbers_although_yaml_reads_text() -> None:
    assert check(AlignParameters, {"learning_rate": "1e-3"}).learning_rate == 1e-3
    assert check(GenerateParameters, {"policy": "1e3"}).policy == "1e3"
    with pytest.raises(ParameterError, match="learning_rate: got '0.001x'"):
        check(AlignParameters, {"learning_rate": "0.001x"})
