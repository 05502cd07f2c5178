"""What this machine has for grading, which walls it can draw, and what they do not stop (`tradeoffs doctor`)."""

from __future__ import annotations

import csv
import io
import json
import os
import platform
import re
import subprocess
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from tradeoffs.grading import sandbox
from tradeoffs.grading.data import SOURCES
from tradeoffs.grading.environment import DATA_FILES, GradingError, data_folders, describe, find_python
from tradeoffs.grading.sandbox import LEVELS, Level

REQUIREMENTS = Path(__file__).resolve().parents[3] / "requirements" / "grading.txt"
WALLED: tuple[Level, ...] = ("bubblewrap", "namespaces")


class Threat(NamedTuple):
    """Something an answer may try.

    Attributes:
        what: what it is.
        stopped_by: the levels that stop it.
        otherwise: what an answer can do where it is not stopped; or, where every level stops it, how.
    """

    what: str
    stopped_by: tuple[Level, ...]
    otherwise: str


THREATS = (
    Threat("network: TCP, UDP, DNS", WALLED, "it reaches every host and every local service that you reach"),
    Threat("reading your files and other answers", WALLED, "it reads your home, your keys, the project, other scratch folders"),
    Threat("changing or deleting files outside its scratch", WALLED, "it changes whatever you may change"),
    Threat("seeing and killing other processes", WALLED, "it can end your programs, the grader and its neighbours"),
    Threat("processes that stay behind", WALLED, "they are killed, unless the answer killed its server before"),
    Threat("System V IPC, Unix sockets, shared memory", WALLED, "it talks to your other programs through them"),
    Threat("devices, graphics cards among them", WALLED, "it opens the devices that you may open"),
    Threat("gaining rights, mounting, tracing", WALLED, "set-user-id programs and your processes' memory are within reach"),
    Threat("filling the disk", WALLED, "a single file is limited, their number is not"),
    Threat("filling the memory", LEVELS, "a limit a process, and their sum is watched; the grader ends what is over"),
    Threat("a fork bomb", LEVELS, "processes are counted several times a second, and the kernel caps threads"),
    Threat("running for ever", LEVELS, "wall clock and CPU time are limited from outside; signals cannot be refused"),
    Threat("secrets in environment variables", LEVELS, "the environment is made anew (files in /proc: see reading)"),
    Threat("slowing down its neighbours", (), "it shares caches, memory bandwidth and cores until its time is up (no cgroups)"),
    Threat("rewriting its own test, reading what is expected", LEVELS, "known ways are refused or found out: `failed: tampered`"),
    Threat("ways to its test that are not known", (), "test and answer share one interpreter, as in the benchmark's protocol"),
    Threat("a hole in the kernel", (), "all levels rest on the kernel; use a virtual machine for answers meant to attack it"),
)  # fmt: skip


class Finding(NamedTuple):
    """One line of the report; `broken` means that grading cannot run, `absent` that a part of it cannot."""

    what: str
    state: Literal["ok", "absent", "broken"]
    text: str
    remedy: str = ""


class Report(NamedTuple):
    """What the doctor found: the machine, the level reached, why the others are not, and the findings."""

    level: Level | None
    reasons: dict[Level, str]
    findings: list[Finding]

    @property
    def healthy(self) -> bool:
        """Whether grading can run."""
        return not any(finding.state == "broken" for finding in self.findings)


def _machine() -> Finding:
    import psutil

    memory = psutil.virtual_memory()
    text = (
        f"{len(os.sched_getaffinity(0))} cores, {memory.total / 2**30:.1f} GiB of memory "
        f"({memory.available / 2**30:.1f} free), {platform.system()} {platform.release()} on {platform.machine()}"
    )
    return Finding("machine", "ok", text)


def _pins(requirements: Path) -> dict[str, str]:
    """Read `name==version` lines; names as registries compare them."""
    if not requirements.is_file():
        return {}
    found = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", requirements.read_text(), re.MULTILINE)
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in found}


def _installed(python: Path, names: Sequence[str]) -> dict[str, str]:
    """Ask the grading environment for versions, without importing anything."""
    code = (
        "import importlib.metadata, json, sys\nfound = {}\nfor name in json.loads(sys.argv[1]):\n"
        "    try: found[name] = importlib.metadata.version(name)\n"
        "    except importlib.metadata.PackageNotFoundError: pass\nprint(json.dumps(found))"
    )
    argv = [str(python), "-I", "-c", code, json.dumps(list(names))]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    versions: dict[str, str] = json.loads(done.stdout)
    return versions


def _libraries(python: Path, requirements: Path) -> Finding:
    pins = _pins(requirements)
    if not pins:
        return Finding("libraries", "absent", f"no {requirements.name} beside the program to compare with")
    there = _installed(python, list(pins))
    missing = sorted(set(pins) - set(there))
    other = [
        f"{name} {there[name]} instead of {pins[name]}" for name in sorted(there) if _differs(there[name], pins[name])
    ]
    if missing:
        text = f"missing: {', '.join(missing)}; right answers that need them would fail"
        return Finding("libraries", "broken", text, "set the grading environment up again with `make setup`")
    if other:
        text = f"other versions than DS-1000's authors fixed: {', '.join(other)}; verdicts may differ"
        return Finding("libraries", "absent", text, "set the grading environment up again with `make setup`")
    return Finding("libraries", "ok", f"{len(pins)} packages as pinned in {requirements.name}")


def _differs(version: str, pinned: str) -> bool:
    return version.split("+")[0] != pinned.split("+")[0]  # 2.13.0+cpu is 2.13.0


def _data(data: str | Path | None) -> list[Finding]:
    folders = data_folders(data)
    findings = []
    for source in SOURCES:
        variable = next(name for name, pattern in DATA_FILES.items() if Path(source.kept).match(pattern))
        path = Path(folders[variable]) / source.kept if variable in folders else None
        if path is not None and path.is_file():
            findings.append(Finding(f"data {source.kept}", "ok", f"in {path.parent}"))
        else:
            text = "not here: problems that load it are `unavailable`, which never counts as a failure"
            findings.append(Finding(f"data {source.kept}", "absent", text, "run `tradeoffs fetch`"))
    return findings


_PROBLEM = {
    "prompt": "",
    "code_context": "def test_execution(solution):\n    env = {}\n    exec(solution, env)\n    assert env['x'] == 4\n",
}


def _trial(python: Path) -> Finding:
    """Grade a right answer and a wrong one."""
    from tradeoffs.grading.supervisor import Grader, Job

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what the level lacks is told by the table
            with Grader(python, workers=1, time_limit=30) as grader:
                verdicts = grader.grade([Job(0, 0, "x = 4", _PROBLEM), Job(0, 1, "x = 5", _PROBLEM)])
    except (GradingError, OSError) as error:
        return Finding("trial", "broken", str(error), "set the grading environment up again with `make setup`")
    statuses = [verdict.status for verdict in verdicts]
    if statuses == ["passed", "failed"]:
        return Finding("trial", "ok", "a right answer passes and a wrong one fails")
    text = f"a right and a wrong answer came back as {' and '.join(statuses)} ({verdicts[0].detail})"
    return Finding("trial", "broken", text, "set the grading environment up again with `make setup`")


def examine(
    python: str | Path | None = None, data: str | Path | None = None, requirements: Path = REQUIREMENTS
) -> Report:
    """Examine the machine.

    Args:
        python: interpreter of the grading environment; see `environment.find_python` for the default.
        data: folder with data sets, see `environment.data_folders`.
        requirements: the lock file that the environment is compared with.

    Returns:
        The report; what is wrong is a finding in it and never raised.
    """
    findings = [_machine()]
    try:
        found = find_python(python)
        folders, _ = describe(found)
    except (ValueError, GradingError) as error:
        text, _, remedy = str(error).partition("; ")
        return Report(None, {}, [*findings, Finding("grading python", "broken", text, remedy)])
    findings += [Finding("grading python", "ok", str(found)), _libraries(found, requirements), *_data(data)]
    reasons = sandbox.survey(str(found), folders)
    level = next(level for level in LEVELS if not reasons[level])
    if level == "limits":
        remedy = "install bubblewrap, allow user namespaces, or use a container or virtual machine"
        findings.append(Finding("isolation", "absent", "answers run WITHOUT walls; see the table", remedy))
    return Report(level, reasons, [*findings, _trial(found)])


def threat_table(details: bool = False) -> list[list[str]]:
    """Give the table of threats: a header, then one row each, with `details` as a last column."""
    rows = [["An answer tries", *LEVELS, "how, or what if not"]]
    for threat in THREATS:
        marks = ["stopped" if level in threat.stopped_by else "OPEN" for level in LEVELS]
        rows.append([threat.what, *marks, threat.otherwise])
    return rows if details else [row[:-1] for row in rows]


def threat_csv() -> str:
    """Write the table of threats as CSV, for the book."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(threat_table(details=True))
    return buffer.getvalue()


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) if rows else 0)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def render_findings(findings: Sequence[Finding]) -> list[str]:
    """Write findings for a terminal, with their remedies below."""
    marks = {"ok": "ok", "absent": "--", "broken": "NO"}
    lines = _columns([[marks[f.state], f.what, f.text] for f in findings])
    return lines + [f"    remedy ({f.what}): {f.remedy}" for f in findings if f.remedy]


def render(report: Report) -> str:
    """Write the report for a terminal."""
    lines = render_findings(report.findings)
    if report.level is not None:
        lines += ["", f"isolation: {report.level}"]
        lines += [f"    {level} is not reached: {reason}" for level, reason in report.reasons.items() if reason]
        lines.append("    cgroups are not used: limits are the kernel's per process, sums are watched by the grader")
    lines += ["", "What each isolation level stops:", *(f"    {line}" for line in _columns(threat_table()))]
    level = report.level or "limits"
    lines += ["", f"What {level} does not stop:"]
    lines += [f"    {threat.what}: {threat.otherwise}" for threat in THREATS if level not in threat.stopped_by]
    return "\n".join(lines)
