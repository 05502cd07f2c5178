"""How much faster is the grader than the benchmark's own protocol, on the same answers, on this machine, now?

The reference protocol, written from its description: one fresh interpreter an answer, started in an empty scratch
folder, which runs the problem's program, `test_execution` and, where there is one, `test_string`; a pool of N workers;
120 s for an answer. It needs minutes where the grader needs seconds, so a machine whose pace changes meanwhile would
decide the ratio. Therefore the answers are split into blocks of equal composition: each block is graded by the
reference protocol, and right before or after it (in turn) *all* answers are graded by `tradeoffs grade`, a new process
with nothing warm. Every block gives one ratio of answers per second; the interval is Student's on their logarithms.

    python benchmarks/grading.py --problems ds1000.jsonl.gz --data seaborn-data --out results/benchmarks/grading.json
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from scipy.stats import t as student
from tqdm import tqdm

from tradeoffs.grading import Job, build_program, extract, read_answers
from tradeoffs.grading.environment import data_at_hand, find_python, missing_data
from tradeoffs.records import Verdict, provenance, read_rows, write_text
from tradeoffs.tasks.problems import load_problems, stratified

SCHEMA_VERSION = 1
SAMPLE_SECONDS = 0.5
LEVEL = 0.95

_FRESH = """
import sys
program = sys.stdin.read()
try:
    exec(compile(program, "<program>", "exec"), {})
    word = "passed"
except BaseException as error:
    word = "failed"
with open(sys.argv[1], "w") as file:
    file.write(word)
"""

# Every program twice in one process that stays: the second time nothing is left to load, only the test itself.
_WARM = """
import contextlib, json, os, sys, tempfile, time
programs, seconds = json.load(sys.stdin), []
for program in programs:
    for _ in range(2):
        with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as null, contextlib.redirect_stdout(null):
            os.chdir(folder)
            began = time.process_time()
            with contextlib.suppress(BaseException):
                exec(compile(program, "<program>", "exec"), {})
            took = time.process_time() - began
            os.chdir("/")
    seconds.append(took)
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
    print(len(seconds), file=sys.stderr, flush=True)
print(json.dumps(seconds))
"""


class Measured(NamedTuple):
    """What a run cost: wall and CPU seconds (children included), peak proportional memory in bytes."""

    answers: int
    seconds: float
    cpu_seconds: float
    peak_memory_bytes: int


class Peak(threading.Thread):
    """Watches the memory of everything below this process: shared pages are counted once, in equal parts."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.bytes = 0
        self._over = threading.Event()

    def run(self) -> None:
        """Sample until stopped."""
        import psutil

        me = psutil.Process()
        while not self._over.wait(SAMPLE_SECONDS):
            self.bytes = max(self.bytes, sum(_resident(child.pid) for child in me.children(recursive=True)))

    def stop(self) -> int:
        """End sampling; give the peak."""
        self._over.set()
        self.join()
        return self.bytes


def _resident(pid: int) -> int:
    for name, field in (("smaps_rollup", "Pss:"), ("status", "VmRSS:")):  # the first is for the process's owner only
        try:
            for line in Path(f"/proc/{pid}/{name}").read_text().splitlines():
                if line.startswith(field):
                    return int(line.split()[1]) << 10
        except (OSError, ValueError):
            continue
    return 0


def measure(work: Callable[[], None], answers: int) -> Measured:
    """Run something and tell what it cost."""
    before, peak = resource.getrusage(resource.RUSAGE_CHILDREN), Peak()
    peak.start()
    began = time.perf_counter()
    work()
    seconds = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Measured(answers, seconds, cpu, peak.stop())


def reference_verdict(program: str, python: Path, time_limit: float) -> str:
    """Give the reference protocol's verdict on one program: `passed`, `failed` or `timed_out`."""
    with tempfile.TemporaryDirectory(prefix="reference-") as name:
        scratch, verdict = Path(name, "scratch"), Path(name, "verdict")
        scratch.mkdir()
        try:
            subprocess.run(
                [python, "-W", "ignore", "-c", _FRESH, verdict],
                input=program.encode(errors="surrogatepass"),
                cwd=scratch,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=time_limit,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return "timed_out"
        return verdict.read_text() if verdict.exists() else "failed"


def run_reference(
    jobs: Sequence[Job], python: Path, workers: int, time_limit: float, tick: Callable[[], Any]
) -> dict[tuple[int, int], str]:
    """Grade by the reference protocol."""

    def one(job: Job) -> str:
        word = reference_verdict(build_program(job.problem, job.code), python, time_limit)
        tick()
        return word

    with ThreadPoolExecutor(workers) as pool:
        return {(job.problem_id, job.sample): word for job, word in zip(jobs, pool.map(one, jobs), strict=True)}


def run_grader(arguments: argparse.Namespace, folder: Path) -> dict[tuple[int, int], Verdict]:
    """Grade everything by `tradeoffs grade` in a new process."""
    out = folder / "verdicts.jsonl"
    out.unlink(missing_ok=True)
    command = [sys.executable, "-m", "tradeoffs.cli", "grade", str(folder / "answers.jsonl"), "--out", str(out)]
    command += ["--problems", str(folder / "problems.jsonl"), "--workers", str(arguments.workers)]
    command += ["--time-limit", str(arguments.time_limit)] + (["--data", arguments.data] if arguments.data else [])
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"grader: exit code {done.returncode}: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
    return {(row.problem_id, row.sample): row for row in read_rows(out, Verdict)}


def read_jobs(arguments: argparse.Namespace) -> list[Job]:
    """Read the answers (the problems' own solutions by default), as both sides will grade them."""
    problems = {p["metadata"]["problem_id"]: p for p in load_problems(arguments.problems)}
    kept = {p["metadata"]["problem_id"] for p in stratified(list(problems.values()), arguments.limit)}
    if arguments.answers:
        rows = [(a.problem_id, a.sample, a.text) for a in read_answers(arguments.answers)]
    else:
        rows = [(number, 0, problem["reference_code"]) for number, problem in problems.items()]
    jobs = [Job(number, sample, extract(text), problems[number]) for number, sample, text in rows if number in kept]
    with data_at_hand(arguments.data) as data:
        folders = data.get("SEABORN_DATA"), data.get("SCIKIT_LEARN_DATA")
        usable = [job for job in jobs if not missing_data(job.problem, *folders)]
    if len(usable) < 2 * arguments.blocks:
        raise ValueError(
            f"answers: {len(usable)} that can be graded; accepts at least 2 a block, of {arguments.blocks}"
        )
    return usable


def split(jobs: Sequence[Job], blocks: int) -> list[list[Job]]:
    """Deal the answers out to blocks so that each has its share of every library."""
    ordered = sorted(jobs, key=lambda job: (job.problem["metadata"]["library"], job.problem_id, job.sample))
    return [ordered[block::blocks] for block in range(blocks)]


def write_inputs(jobs: Sequence[Job], folder: Path) -> None:
    rows = ({"problem_id": job.problem_id, "sample": job.sample, "code": job.code} for job in jobs)
    write_text(folder / "answers.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    problems = {job.problem_id: job.problem for job in jobs}
    write_text(folder / "problems.jsonl", "".join(json.dumps(problem) + "\n" for problem in problems.values()))


def floor_seconds(jobs: Sequence[Job], python: Path, tick: Callable[[], Any]) -> float:
    """Measure the CPU seconds of the tests alone: each program's second execution in a warm process."""
    programs = [build_program(job.problem, job.code) for job in jobs]
    with tempfile.TemporaryFile("w+") as given:
        json.dump(programs, given)
        given.seek(0)
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with subprocess.Popen([python, "-W", "ignore", "-c", _WARM], stdin=given, text=True, **pipes) as process:
            for line in process.stderr or ():
                if line.strip().isdigit():
                    tick()
            said = process.stdout.read() if process.stdout else ""
    if not said.strip():
        raise RuntimeError(f"floor: the process ended with exit code {process.returncode} before it was done")
    return float(sum(json.loads(said.strip().splitlines()[-1])))


def interval(ratios: Sequence[float]) -> dict[str, float | None]:
    """Give the geometric mean of the blocks' ratios with Student's interval on their logarithms."""
    logs = [math.log(ratio) for ratio in ratios]
    centre = statistics.fmean(logs)
    if len(logs) < 2:
        return {"estimate": math.exp(centre), "low": None, "high": None}
    half = float(student.ppf((1 + LEVEL) / 2, len(logs) - 1)) * statistics.stdev(logs) / math.sqrt(len(logs))
    return {"estimate": math.exp(centre), "low": math.exp(centre - half), "high": math.exp(centre + half)}


def _total(parts: Sequence[Measured]) -> dict[str, float]:
    answers, seconds = sum(p.answers for p in parts), sum(p.seconds for p in parts)
    return {
        "answers_per_second": answers / seconds,
        "cpu_seconds_per_answer": sum(p.cpu_seconds for p in parts) / answers,
        "peak_memory_bytes": max(p.peak_memory_bytes for p in parts),
    }


def _ratios(pairs: Sequence[tuple[Measured, Measured]], name: str) -> list[float]:
    return [(getattr(r, name) / r.answers) / (getattr(g, name) / g.answers) for r, g in pairs]


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure, and give what is written."""
    jobs, python = read_jobs(arguments), find_python()
    pairs: list[tuple[Measured, Measured]] = []
    expected: dict[tuple[int, int], str] = {}
    verdicts: dict[tuple[int, int], Verdict] = {}
    total = len(jobs) * (1 + arguments.blocks + bool(arguments.floor))
    with (
        tempfile.TemporaryDirectory(prefix="benchmark-") as name,
        data_at_hand(arguments.data),
        tqdm(total=total, unit="answer", desc="reference and grader") as bar,
    ):
        folder = Path(name)
        write_inputs(jobs, folder)

        def reference(part: Sequence[Job]) -> Measured:
            def work() -> None:
                expected.update(run_reference(part, python, arguments.workers, arguments.time_limit, bar.update))

            return measure(work, len(part))

        def grader() -> Measured:
            measured = measure(lambda: verdicts.update(run_grader(arguments, folder)), len(jobs))
            bar.update(len(jobs))
            return measured

        for number, part in enumerate(split(jobs, arguments.blocks)):
            if number % 2:
                own, other = grader(), reference(part)
            else:
                other, own = reference(part), grader()
            pairs.append((other, own))
        floor = floor_seconds(jobs, python, bar.update) if arguments.floor else None
    differ = [key for key, word in expected.items() if (word == "passed") != (verdicts[key].status == "passed")]
    return {
        "schema_version": SCHEMA_VERSION,
        "what": "answers graded per second: `tradeoffs grade`, start-up included, over the reference protocol",
        "answers": len(jobs),
        "passed": sum(word == "passed" for word in expected.values()),
        "verdicts_that_differ": [{"problem_id": number, "sample": sample} for number, sample in sorted(differ)],
        "workers": arguments.workers,
        "time_limit_s": arguments.time_limit,
        "isolation": next(iter(verdicts.values())).isolation,
        "ratio": interval(_ratios(pairs, "seconds")),
        "cpu_ratio": interval(_ratios(pairs, "cpu_seconds")),
        "reference": _total([r for r, _ in pairs]),
        "grader": _total([g for _, g in pairs]),
        "floor_cpu_seconds": floor,
        "blocks": [{"reference": r._asdict(), "grader": g._asdict()} for r, g in pairs],
        "inputs": {"problems": Path(arguments.problems).name, "answers": Path(arguments.answers or "their own").name},
        "provenance": provenance().model_dump(),
    }


def parser() -> argparse.ArgumentParser:
    """The command line's parser."""
    made = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    made.add_argument("--problems", default="bundled", help="as for `tradeoffs grade` (default: bundled)")
    made.add_argument("--answers", help="answers, .jsonl or .jsonl.gz (default: the problems' own solutions)")
    made.add_argument("--data", help="folder with data sets that some problems load")
    made.add_argument(
        "--limit", type=int, default=0, help="a fixed stratified choice of so many problems (default: all)"
    )
    made.add_argument("--workers", type=int, default=2, help="of both (default: 2)")
    made.add_argument(
        "--blocks", type=int, default=3, help="parts of the reference run, one grader run each (default: 3)"
    )
    made.add_argument("--time-limit", type=float, default=120.0, help="seconds an answer may run (default: 120)")
    made.add_argument("--floor", action="store_true", help="measure the tests' own cost, too, in a warm process")
    made.add_argument("--out", default="results/benchmarks/grading.json", help="default: %(default)s")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print the ratio, write the file."""
    arguments = parser().parse_args(argv)
    for name in ("workers", "blocks"):
        if getattr(arguments, name) < 1:
            print(f"error: {name}: got {getattr(arguments, name)}; accepts at least 1", file=sys.stderr)
            return 2
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        found = run(arguments)
        write_text(arguments.out, json.dumps(found, indent=1) + "\n")
    except (ValueError, OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    ratio, sides = found["ratio"], (found["reference"], found["grader"])
    limits = "" if ratio["low"] is None else f" (95 % interval {ratio['low']:.2f} to {ratio['high']:.2f})"
    for label, side in zip(("reference protocol", "grader"), sides, strict=True):
        print(
            f"{label}: {side['answers_per_second']:.2f} answers/s, {side['cpu_seconds_per_answer']:.2f} CPU s an answer, "
            f"peak {side['peak_memory_bytes'] / 2**30:.2f} GiB"
        )
    print(
        f"ratio: {ratio['estimate']:.2f}{limits}; {len(found['verdicts_that_differ'])} verdicts differ; {arguments.out}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
