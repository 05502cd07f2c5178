"""The grading room: extraction, verdicts equal to the benchmark's own protocol, and answers that mean harm."""

from __future__ import annotations

import gzip
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradeoffs.grading import Grader, GradingError, Job, build_program, extract, grade_answers, read_answers
from tradeoffs.grading.environment import find_python, missing_data
from tradeoffs.grading.imports import NO_DIFFERENCE, problem_imports
from tradeoffs.grading.plan import Batch, Plan
from tradeoffs.records import read_jsonl

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("TRADEOFFS_DATA", ROOT / ".." / "shared" / "data")).resolve()
SEABORN = DATA / "seaborn-data"


def toy(imports: str = "", context: str = "", expected: str = "4", problem_id: int = 0) -> dict[str, Any]:
    """A problem in the benchmark's format whose answer must set `result` to the expected value."""
    program = (
        f"{imports}\nexec_context = r'''\n{context}\n[insert]\n'''\n"
        "def test_execution(solution):\n"
        "    env = {}\n"
        "    exec(exec_context.replace('[insert]', solution), env)\n"
        f"    assert env['result'] == {expected}\n"
    )
    return {
        "prompt": "",
        "reference_code": "",
        "code_context": program,
        "metadata": {"problem_id": problem_id, "library": "Numpy"},
    }


TOY = toy()
RIGHT = "result = 2 + 2"


@pytest.fixture(scope="module")
def python() -> Path:
    try:
        return find_python()
    except ValueError as error:
        pytest.skip(f"no grading environment: {error}")


@pytest.fixture(scope="module")
def grader(python: Path) -> Iterator[Grader]:
    with Grader(python, time_limit=20.0, memory_gib=8, seaborn_data=SEABORN if SEABORN.is_dir() else None) as made:
        yield made


@pytest.fixture(scope="module")
def walls(grader: Grader) -> Grader:
    if grader.level == "limits":
        pytest.skip("this machine offers no sandbox (neither bubblewrap nor user namespaces)")
    return grader


def status(grader: Grader, code: str, problem: dict[str, Any] = TOY) -> str:
    [verdict] = grader.grade([Job(0, 0, code, problem)])
    return verdict.status


# ---------------------------------------------------------------- extraction


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("result = 1\n</code>\nrest", "result = 1\n"),
        ("<code>\nresult = 1\n</code>\nEND SOLUTION\n</code>", "\nresult = 1\n"),
        ("```python\nresult = 1\n```\nThis adds.", "\nresult = 1\n"),
        ("result = 1\nEND SOLUTION\nmore", "result = 1"),
        ("result = 1\n# SOLUTION END\nmore", "result = 1\n"),
        ("    return x\n", "    return x\n"),
        ("", ""),
    ],
)
def test_text_is_cut_by_the_published_rules(text: str, code: str) -> None:
    assert extract(text) == code


@pytest.mark.parametrize("fence", ["```python", "```", "```py", "```Python"])
def test_a_complete_block_after_prose_is_taken_from_the_prose(fence: str) -> None:
    assert extract(f"Sure, here it is:\n\n{fence}\nresult = 1\n```\nHope it helps.") == "result = 1\n"


def test_a_block_that_never_closes_is_left_to_the_published_rules() -> None:
    assert extract("Sure:\n```python\nresult = 1") == "Sure:\n\nresult = 1"


@given(st.text(alphabet=st.one_of(st.characters(), st.sampled_from("`<>/code\n")), max_size=200))
def test_extraction_never_raises_and_leaves_no_end_marker(text: str) -> None:
    code = extract(text)
    assert "</code>" not in code.replace("<code>", "") or "<code>" in text
    assert "```" not in code or "<code>" in text


def test_answers_are_read_as_string_or_list_with_the_id_where_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [
        {"problem_id": 3, "code": "a"},
        {"metadata": {"problem_id": 4}, "id": "9", "code": ["b", "c"]},
        {"id": "5", "text": "d"},
    ]
    path.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    assert [tuple(answer) for answer in read_answers(path)] == [(3, 0, "a"), (4, 0, "b"), (4, 1, "c"), (5, 0, "d")]


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        "3",
        '{"code": "x"}',
        '{"id": "x", "code": "y"}',
        '{"id": 1, "code": []}',
        '{"id": 1, "code": [1]}',
        '{"id": 1}',
    ],
)
def test_a_corrupt_line_is_refused_with_file_and_line_number(tmp_path: Path, line: str) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text('{"id": 0, "code": "x"}\n' + line + "\n")
    with pytest.raises(ValueError, match=r"answers\.jsonl, line 2: .*accepts"):
        read_answers(path)


def test_a_truncated_gzip_file_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl.gz"
    lines = "".join(json.dumps({"id": i, "code": str(random.random())}) + "\n" for i in range(5000))
    path.write_bytes(gzip.compress(lines.encode())[:-2000])
    with pytest.raises(ValueError, match=r"answers\.jsonl\.gz breaks off after line \d+"):
        read_answers(path)


# ---------------------------------------------------------------- what is shared, what is missing


def test_imports_are_those_that_precede_the_answer() -> None:
    problem = toy(
        "import copy\nimport numpy as np", "import pandas as pd\ndef f(x):\n    import scipy\n    [insert]", "1"
    )
    assert problem_imports(problem) == ("import numpy", "import pandas")


def test_the_program_runs_test_string_only_where_the_problem_has_one() -> None:
    assert "test_string(code)" not in build_program(TOY, "x")
    with_string = {**TOY, "code_context": TOY["code_context"] + "\ndef test_string(solution):\n    pass\n"}
    assert build_program(with_string, "x").endswith("test_string(code)\n")


def test_missing_data_is_a_matter_of_the_problem(tmp_path: Path) -> None:
    problem = {"prompt": 'df = sns.load_dataset("tips")', "code_context": "pass"}
    assert "tips.csv" in missing_data(problem, None)
    (tmp_path / "tips.csv").touch()
    assert missing_data(problem, str(tmp_path)) == ""


def test_every_job_is_given_out_once_whatever_the_groups() -> None:
    groups = {("import numpy",): [0, 1, 2, 3, 4], ("import numpy", "import torch"): [5], ("import yaml",): [6, 7]}
    plan, seen, current = Plan(groups), [], None
    while (batch := plan.take(current)) is not None:
        seen += batch.jobs
        current = batch.imports
    assert sorted(seen) == list(range(8))


@pytest.mark.parametrize(
    "options", [{"workers": 0}, {"time_limit": -1}, {"memory_gib": 0}, {"require_isolation": "walls"}]
)
def test_a_wrong_argument_is_refused_by_name(options: dict[str, Any], python: Path) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        Grader(python, **options)


def test_a_missing_interpreter_is_a_clear_error() -> None:
    with pytest.raises(ValueError, match="make setup"):
        Grader("/nonexistent/python")


# ---------------------------------------------------------------- verdicts


def test_a_right_answer_passes_and_a_wrong_one_fails(grader: Grader) -> None:
    verdicts = grader.grade(
        [Job(0, 0, RIGHT, TOY), Job(0, 1, "result = 5", TOY), Job(0, 2, "result =", TOY), Job(0, 3, "1/0", TOY)]
    )
    assert [verdict.status for verdict in verdicts] == ["passed", "failed", "failed", "failed"]
    assert verdicts[3].detail == "failed: division by zero"


def test_a_verdict_does_not_tell_where_the_environment_lies(grader: Grader) -> None:
    (verdict,) = grader.grade([Job(0, 0, "import numpy\nraise RuntimeError(numpy.__file__)", TOY)])
    assert verdict.detail.startswith("failed: lib/python") and verdict.detail.endswith(
        "site-packages/numpy/__init__.py"
    )


def test_the_same_answer_twice_runs_once_and_has_two_verdicts(grader: Grader) -> None:
    first, second = grader.grade(
        [Job(0, 0, "import time; result = time.time()", toy(expected="result")), Job(1, 5, RIGHT, TOY)]
    )
    assert (first.status, second.status) == ("failed", "passed")
    one, two = grader.grade([Job(0, 0, RIGHT, TOY), Job(0, 1, RIGHT, TOY)])
    assert one.seconds == two.seconds and (one.sample, two.sample) == (0, 1)


def test_a_server_stays_warm_for_the_next_call(python: Path) -> None:
    problem = toy("import numpy as np", expected="None")
    code = "import numpy as np\nraise ValueError(id(np))"
    with Grader(python) as own:
        details = [own.grade([Job(0, i, code, problem)])[0].detail for i in range(3)]
        own.grade([Job(0, 0, "import os; os._exit(0)", problem)])
        began = [server._process.pid for server in own._idle]
        time.sleep(0.3)  # the threads of the last call have ended; the servers must not end with them
        assert all(server.alive for server in own._idle)
        own.grade([Job(0, 9, code, problem)])
        assert [server._process.pid for server in own._idle] == began
    assert len(set(details)) == 1


def test_an_endless_answer_is_timed_out(python: Path) -> None:
    with Grader(python, time_limit=1.0) as quick:
        began = time.monotonic()
        assert (
            status(
                quick,
                "import signal\nsignal.signal(15, signal.SIG_IGN)\nsignal.signal(2, signal.SIG_IGN)\nwhile True: pass",
            )
            == "timed_out"
        )
        assert time.monotonic() - began < 6
        assert status(quick, RIGHT) == "passed"


def test_a_problem_without_its_data_is_unavailable_for_every_answer(
    python: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SEABORN_DATA", raising=False)
    problem = {**TOY, "prompt": 'sns.load_dataset("penguins")'}
    with Grader(python) as bare:
        assert status(bare, RIGHT, problem) == status(bare, "1/0", problem) == "unavailable"


def test_a_killed_grading_goes_on_where_it_stopped(grader: Grader, tmp_path: Path) -> None:
    answers, out = tmp_path / "answers.jsonl", tmp_path / "verdicts.jsonl"
    answers.write_text("".join(json.dumps({"problem_id": i, "code": RIGHT}) + "\n" for i in range(4)))
    problems = [toy(problem_id=i) for i in range(4)]
    grade_answers(answers, problems, out, grader=grader, progress=False)
    whole = out.read_text().splitlines(keepends=True)
    out.write_text("".join(whole[:2]) + whole[2][:10])
    verdicts = grade_answers(answers, problems, out, grader=grader, progress=False)
    assert [verdict.status for verdict in verdicts] == ["passed"] * 4
    assert sorted(row["problem_id"] for row in read_jsonl(out)) == [0, 1, 2, 3]


def test_an_answer_to_an_unknown_problem_is_refused(grader: Grader, tmp_path: Path) -> None:
    answers = tmp_path / "answers.jsonl"
    answers.write_text('{"problem_id": 99, "code": "x"}\n')
    with pytest.raises(ValueError, match="problem 99"):
        grade_answers(answers, [TOY], tmp_path / "out.jsonl", grader=grader)


# Verdicts that neither the answer nor the grader decides. 819 wants data that is not here: `failed` in the files,
# `unavailable` for us. codex002's 276 sorts equal keys with an unstable sort. gpt-4-0613's 546 draws its data at random
# and passes about six times in ten, in a plain interpreter, too.
UNDECIDED = {("any", 819), ("codex002", 276), ("gpt-4-0613", 546)}


def _sample(name: str) -> tuple[list[Job], dict[int, str]]:
    if not (DATA / "ds1000" / "ds1000.jsonl.gz").is_file():
        pytest.skip(f"no DS-1000 in {DATA} (set TRADEOFFS_DATA)")

    def rows(file: str) -> list[dict[str, Any]]:
        with gzip.open(DATA / "ds1000" / file, "rt") as opened:
            return [json.loads(line) for line in opened]

    problems = {row["metadata"]["problem_id"]: row for row in rows("ds1000.jsonl.gz")}
    if name == "reference":
        answers = {number: problem["reference_code"] for number, problem in problems.items()}
    else:
        answers = {a.problem_id: extract(a.text) for a in read_answers(DATA / "ds1000" / f"{name}-answers.jsonl.gz")}
    chosen: list[int] = []
    draw = random.Random(1000)
    by_library: dict[str, list[int]] = {}
    for number, problem in problems.items():
        by_library.setdefault(problem["metadata"]["library"], []).append(number)
    for numbers in by_library.values():  # in proportion to the libraries
        chosen += draw.sample(numbers, round(len(numbers) / 20))
    statuses = {row["problem_id"]: row["status"] for row in rows(f"{name}-verdicts.jsonl.gz")}
    return [Job(i, 0, answers[i], problems[i]) for i in chosen[:50]], statuses


@pytest.mark.parametrize("name", ["reference", "codex002", "gpt-3.5-turbo-0125", "gpt-4-0613"])
def test_verdicts_are_those_of_the_reference_protocol(python: Path, name: str) -> None:
    """Verdicts are compared as passed or not; `UNDECIDED` says which are left out and why."""
    jobs, expected = _sample(name)
    left_out = {number for file, number in UNDECIDED if file in {name, "any"}}
    with Grader(python, seaborn_data=SEABORN) as patient:  # the protocol's 120 s, also where the machine is busy
        verdicts = patient.grade([job for job in jobs if job.problem_id not in left_out])
    differ = {v.problem_id: v for v in verdicts if (v.status == "passed") != (expected[v.problem_id] == "passed")}
    assert not differ


# ---------------------------------------------------------------- freshness


def test_a_module_that_nobody_imported_is_not_there(grader: Grader) -> None:
    """`import sklearn; sklearn.linear_model` fails in a fresh interpreter (scipy loads its parts on demand)."""
    problem = toy("import numpy as np", expected="1")
    lazy = "import sklearn\nresult = 1\nsklearn.linear_model"
    loaded = toy("import numpy as np\nfrom sklearn import linear_model", expected="1")
    fresh = "import sys\nresult = int(not {'scipy', 'scipy.stats', 'pandas', 'sklearn'} & set(sys.modules))"
    jobs = [Job(0, 0, "import sklearn\nsklearn.linear_model\nresult = 1", loaded), Job(1, 0, lazy, problem)]
    verdicts = grader.grade([*jobs, Job(2, 0, fresh, problem)])
    assert [verdict.status for verdict in verdicts] == ["passed", "failed", "passed"]
    assert "no attribute 'linear_model'" in verdicts[1].detail


@pytest.mark.parametrize(
    "statement",
    ["import scipy", "import scipy.optimize", "from scipy import stats", "import sklearn.svm", "import numpy.testing"],
)
def test_what_was_loaded_ahead_appears_exactly_as_its_import_would_have_loaded_it(python: Path, statement: str) -> None:
    """Modules and what is bound to their packages: as in an interpreter that has run nothing but the same imports."""
    look = (
        "import sys\nshown = sorted(f'{name}.{own}' for name, module in list(sys.modules.items())\n"
        "    if name.split('.')[0] in ('numpy', 'scipy', 'sklearn')\n"
        "    for own, value in [('', None), *vars(module).items()] if value is None or type(value) is type(sys))\n"
    )
    plain = subprocess.run(
        [python, "-I", "-c", f"import numpy\n{statement}\n{look}print(shown)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    ahead = toy(
        "import numpy\nfrom sklearn.ensemble import BaggingClassifier\nfrom scipy import stats\nimport scipy.optimize"
    )
    checked = toy("import numpy", expected=f"sorted({plain.stdout.strip()})")
    with Grader(python, workers=1) as own:
        first, second = own.grade([Job(0, 0, RIGHT, ahead), Job(1, 0, f"{statement}\n{look}result = shown", checked)])
    assert (first.status, second.status) == ("passed", "passed"), second.detail


def test_a_program_that_imports_nothing_gets_a_server() -> None:
    assert Plan({(): [0]}).take(None) == Batch((), [0])


def test_statements_that_servers_are_shared_across_load_nothing(python: Path) -> None:
    for library, statements in NO_DIFFERENCE.items():
        code = (
            f"import sys, {library}\ndef look(): return {{(n, k) for n, m in list(sys.modules.items()) if n[:2] != '__'"
            f" for k in [*vars(m), '']}}\nbefore = look()\nexec({'; '.join(sorted(statements))!r}, {{}})\n"
            "assert look() == before, look() - before"
        )
        subprocess.run([python, "-I", "-W", "ignore", "-c", code], check=True)


def test_a_second_server_of_a_kind_is_started_only_where_it_pays() -> None:
    imports = ("import numpy", "import tensorflow")
    short, long = Plan({imports: list(range(4))}), Plan({imports: list(range(400))})
    assert short.take(None) is not None and short.take(None) is None
    assert long.take(None) is not None and long.take(None) is not None


def test_state_does_not_leak_from_one_answer_to_the_next(grader: Grader) -> None:
    context = "import numpy as np\nimport matplotlib.pyplot as plt\nimport random, os"
    problem = toy(context, context, "[[], True, False, []]")
    spoil = (
        "plt.plot([1]); plt.rcParams['lines.linewidth'] = 99; np.leak = 1; np.random.seed(0); random.seed(0)\n"
        "open('left', 'w').write('x'); os.environ['LEFT'] = '1'\n"
        "open(os.path.expanduser('~/left'), 'w').write('x')\nresult = 0"
    )
    check = (
        "result = [plt.get_fignums(), plt.rcParams['lines.linewidth'] != 99,"
        " hasattr(np, 'leak') or 'LEFT' in os.environ, os.listdir('.') + os.listdir(os.path.expanduser('~'))]"
    )
    verdicts = grader.grade(
        [Job(i, 0, spoil + f" # {i}" if i % 2 == 0 else check + f" # {i}", problem) for i in range(8)]
    )
    assert [verdict.status for verdict in verdicts] == ["failed", "passed"] * 4


def test_random_state_differs_between_siblings_as_between_interpreters(grader: Grader) -> None:
    problem = toy("import numpy as np\nimport random", expected="None")
    code = "import numpy as np, random\nraise ValueError(f'{random.random()} {np.random.rand()}')"
    details = {verdict.detail for verdict in grader.grade([Job(i, 0, f"{code} # {i}", problem) for i in range(6)])}
    numbers = [detail.removeprefix("failed: ").split() for detail in details]
    assert len({pair[0] for pair in numbers}) == len({pair[1] for pair in numbers}) == 6


# ---------------------------------------------------------------- answers that mean harm

HOSTILE = {
    "an answer that ends with os._exit(0) does not pass": "import os; os._exit(0)",
    "an answer that ends with sys.exit(0) does not pass": "import sys; sys.exit(0)",
    "an answer that raises KeyboardInterrupt does not pass": "raise KeyboardInterrupt",
    "an answer that kills itself does not pass": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "an answer that kills its parent does not pass": "import os, signal; os.kill(os.getppid(), signal.SIGKILL)",
    "an answer that kills its process group does not pass": "import os, signal; os.killpg(0, signal.SIGKILL)",
    "an answer that exhausts the memory does not pass": "x = b'x' * (50 << 30)",
    "an answer that exhausts the memory bit by bit does not pass": "x = []\nwhile True: x.append(bytearray(1 << 26))",
    "an answer that closes every file does not pass": "import os; os.closerange(0, 1000)",
    "an answer that writes to every file does not pass": (
        "import os\nfor fd in range(1000):\n    for text in (b'passed', b'x' * 16, b'{\"status\": \"passed\"}'):\n"
        "        try: os.write(fd, text)\n        except OSError: pass\n"
    ),
    "an answer that floods its output does not pass": (
        "import sys\nfor _ in range(2000): print('x' * 100000); sys.stderr.write('x' * 100000)"
    ),
    "an answer with an error message of 100 MB does not pass": "raise ValueError('x' * 100_000_000)",
    "an answer whose error cannot be told does not pass": (
        "class E(Exception):\n    def __str__(self): raise SystemExit(0)\nraise E"
    ),
    "an answer that recurses without end does not pass": "def f(): return f()\nf()",
    "an answer that fills the disk does not pass": "f = open('big', 'wb')\nwhile True: f.write(bytes(1 << 24))",
    "an answer that looks for the token does not pass": (
        "import sys, gc, socket\nfound = []\nframe = sys._getframe()\n"
        "while frame:\n    found += [*frame.f_locals.values(), *frame.f_globals.values()]\n    frame = frame.f_back\n"
        "channels = [v for v in gc.get_objects() if isinstance(v, socket.socket)]\n"
        "for channel in channels:\n    for v in found + gc.get_objects():\n"
        "        if isinstance(v, bytes) and len(v) == 16: channel.send(v)\n"
        "    for v in gc.get_referents(*[f for f in gc.get_objects() if type(f).__name__ == 'frame']):\n"
        "        if isinstance(v, bytes) and len(v) == 16: channel.send(v)\n"
        "import os; os._exit(0)"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile(grader: Grader, name: str) -> None:
    """The sentence is the parameter; a neighbour graded together with the answer passes in any case."""
    before, verdict, after = grader.grade(
        [Job(0, 0, RIGHT, TOY), Job(0, 1, HOSTILE[name], TOY), Job(0, 2, RIGHT + " # again", TOY)]
    )
    assert verdict.status in {"failed", "crashed", "timed_out"}, verdict
    assert before.status == after.status == "passed"


def test_a_fork_bomb_is_stopped_long_before_its_time_is_up(walls: Grader) -> None:
    began = time.monotonic()
    bomb, neighbour = walls.grade(
        [Job(0, 0, "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass", TOY), Job(0, 1, RIGHT, TOY)]
    )
    assert bomb.status == "crashed" and "processes" in bomb.detail
    assert neighbour.status == "passed"
    assert time.monotonic() - began < 10


def test_daemons_left_behind_are_killed_and_cannot_pass(grader: Grader, tmp_path: Path) -> None:
    code = (
        "import os, time\n"
        "if os.fork() == 0:\n    os.setsid()\n"
        "    if os.fork() == 0:\n        time.sleep(600)\n    os._exit(0)\nresult = 5"
    )
    assert status(grader, code) == "failed"
    # What another answer to the same server can still see is nothing but itself and the server.
    seen = "import os\nresult = sum(n.isdigit() for n in os.listdir('/proc'))"
    if grader.level != "limits":
        assert status(grader, seen, toy(expected="2")) == "passed"


def test_nothing_outside_the_scratch_can_be_written(walls: Grader) -> None:
    code = (
        "import os\nresult = []\n"
        "for folder in ('/', '/usr', '/usr/lib', '/etc', '/proc', '/proc/sys/kernel', '/dev', '/root', '/var',\n"
        "               os.path.dirname(os.__file__)):\n"
        "    try: open(os.path.join(folder, 'left'), 'w')\n    except OSError: pass\n    else: result.append(folder)\n"
    )
    assert status(walls, code, toy(expected="[]")) == "passed"


def test_home_folders_and_the_project_cannot_be_read(walls: Grader) -> None:
    targets = [
        str(Path.home() / ".bashrc"),
        str(Path.home() / ".ssh"),
        str(ROOT / "tests"),
        str(ROOT / ".git"),
        str(DATA / "ds1000"),
        "/etc/shadow",
    ]
    code = f"import os\nresult = [p for p in {targets!r} if os.path.exists(p)]"
    assert status(walls, code, toy(expected="[]")) == "passed"


def test_the_environment_holds_no_variable_of_the_caller(python: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_TOKEN", "secret")
    with Grader(python) as own:
        code = "import os\nresult = 'SOME_TOKEN' in os.environ"
        assert status(own, code, toy(expected="False")) == "passed"


def test_the_network_cannot_be_reached(walls: Grader) -> None:
    code = (
        "import socket\nresult = []\n"
        "for address in (('1.1.1.1', 53), ('127.0.0.1', 22), ('127.0.0.1', 80)):\n"
        "    try: socket.create_connection(address, timeout=2)\n"
        # A loopback interface may be there, if it is the answer's own: it refuses.
        "    except OSError as error: result.append(error.errno in (101, 111) if result else error.errno)\n"
    )
    assert status(walls, code, toy(expected="[101, True, True]")) == "passed"


def test_an_answer_cannot_gain_rights(walls: Grader) -> None:
    code = (
        "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        "result = [libc.unshare(0x10000000), libc.mount(b'tmpfs', b'/usr', b'tmpfs', 0, None)]\n"
        "result += [libc.setuid(0), libc.chroot(b'/scratch')]\n"
        "try: result.append(open('/proc/1/mem', 'rb'))\nexcept OSError: result.append(-1)\n"
        "result.append(libc.ptrace(16, 1, 0, 0))\nprint(result)"
    )
    # In a process of its own, which nothing but the walls holds.
    code = f"import subprocess, sys\nresult = eval(subprocess.check_output([sys.executable, '-c', {code!r}]))"
    assert status(walls, code, toy(expected="[-1] * 6")) == "passed"


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupt_leaves_no_process_behind(python: Path, tmp_path: Path, how: signal.Signals) -> None:
    script = tmp_path / "run.py"
    script.write_text(
        # a shell that starts its jobs in the background hands down an ignored SIGINT
        "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from tradeoffs.grading import Grader, Job\n"
        f"problem = {TOY!r}\n"
        f"with Grader({str(python)!r}, time_limit=60) as grader:\n"
        "    grader.grade([Job(0, i, f'import time; time.sleep(50) # {i} interruptmark', problem) for i in range(4)])\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    process = subprocess.Popen(
        [sys.executable, script], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
    )
    try:
        below: list[int] = []
        patience = time.monotonic() + 120
        while not any("work" in _folder(pid) for pid in below):  # until an answer runs in its scratch
            assert time.monotonic() < patience and process.poll() is None, "no answer was started"
            time.sleep(0.2)
            below = _below(process.pid)
        process.send_signal(how)
        process.wait(timeout=60)
    finally:
        process.kill()
        process.wait()
    for _ in range(50):
        left = [pid for pid in below if Path(f"/proc/{pid}").exists()]
        if not left:
            return
        time.sleep(0.1)
    raise AssertionError(f"left behind: {left}")


def _folder(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        return ""


def _below(pid: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rsplit(")", 1)[1].split()[1])
        except (OSError, IndexError):
            continue
        if parent == pid:
            found += [int(path.parent.name), *_below(int(path.parent.name))]
    return found


def test_limits_alone_still_stop_an_answer_and_say_so_loudly(python: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tradeoffs.grading.sandbox._try", lambda *arguments: "not allowed here")
    with pytest.raises(GradingError, match="namespaces is asked for"):
        Grader(python, require_isolation="namespaces")
    with pytest.warns(UserWarning, match="WITHOUT a sandbox"):
        bare = Grader(python, time_limit=2.0)
    with bare:
        assert bare.level == "limits"
        fork = "import os\nif os.fork() == 0:\n    os.setsid()\nwhile True: pass"
        verdicts = bare.grade(
            [Job(0, i, code, TOY) for i, code in enumerate([RIGHT, fork, "import os; os._exit(0)", RIGHT + " #"])]
        )
        assert [verdict.status for verdict in verdicts] == ["passed", "timed_out", "crashed", "passed"]
