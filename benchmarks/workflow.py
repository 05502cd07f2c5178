"""What does the workflow cost? Seconds that a job takes beside its work, and time and memory for planning large sweeps.

A job's cost is put together from its parts, each a process of its own as in a study: its share of a `smoke` study whose jobs do nothing
(`workflow/run.py` and Snakemake), `workflow/execute.py`, Papermill with a kernel on a notebook whose one cell is `pass`, a stage's first
cells (parameters and their validation), and what the rest of it imports. Given the folder of a study that ran without a break on one
machine, the same is read from when its jobs ended: the time from one end to the next less what a record says its stage's work took, in
which some of the imports count.

A sweep's cell is a policy with a seed: trained, answered with, graded. Policies grow with the sweep, ten seeds each. Planned are a sweep
of which nothing has run (`tradeoffs plan`, and Snakemake's graph in a dry run) and one of which half is done (`tradeoffs plan`), with
files of a few bytes: digests of a real sweep's come on top. All in a temporary folder; a study elsewhere is not touched.

    python benchmarks/workflow.py                       # a quarter of an hour; nothing else should run
    python benchmarks/workflow.py --study runs/smoke    # after: python workflow/run.py smoke
    python benchmarks/workflow.py --sizes 100,1000 --rounds 1
"""

from __future__ import annotations

import argparse
import ast
import csv
import io
import itertools
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
import yaml

from tradeoffs import content
from tradeoffs.methods import METHODS
from tradeoffs.parameters import MODELS
from tradeoffs.profiles import Job, jobs, load_profile
from tradeoffs.progress import bar
from tradeoffs.records import Provenance, Record, provenance, read_record, write_text

ROOT = Path(__file__).resolve().parents[1]
PROFILE = "smoke"
SIZES = "100,1000,10000"
SEEDS = 10
FIRST, IMPORTS = "first cells", "imports"
# Which every stage imports: its record asks torch for the accelerator, and it draws.
EVERYWHERE = ("torch", "pandas", "matplotlib.pyplot")
SNAKEMAKE = (
    "--nolock --rerun-triggers input --keep-going --dry-run --quiet all --workflow-profile none --cores 2".split()
)
# Leaves the mark of a job that has ended.
EMPTY = """import json, pathlib, sys
folder = pathlib.Path(json.loads(pathlib.Path(sys.argv[1]).read_text())["folder"])
folder.mkdir(parents=True, exist_ok=True)
(folder / "done").touch()
"""
PAPERMILL = "--log-output --no-progress-bar --log-level INFO --kernel python3".split()


class Cost(NamedTuple):
    """Wall seconds of a process and the most memory that it or its children held; never less than what the measuring one holds, 50 MiB."""

    seconds: float
    peak_mib: float


def measure(command: Sequence[str], project: Path) -> Cost:
    """Run a command in the project.

    Raises:
        RuntimeError: it failed; the message has the end of what it said.
    """
    with tempfile.TemporaryFile() as said:
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=project,
            env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
            stdout=said,
            stderr=subprocess.STDOUT,
        )
        # Of this child alone; getrusage would give the largest of all so far.
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            end = said.read()[-2000:].decode(errors="replace")
            raise RuntimeError(f"{' '.join(command)[:200]}: exit status {process.returncode}: {end}")
    return Cost(seconds, usage.ru_maxrss / 1024)


def snakemake(profile: str) -> list[str]:
    """The dry run of what `workflow/run.py` calls."""
    return ["-m", "snakemake", "--snakefile", "workflow/Snakefile", *SNAKEMAKE, "--config", f"profile={profile}"]


def papermill(notebook: str) -> list[str]:
    """The call of `workflow/execute.py`; its parameters are the notebook's own."""
    return ["-m", "papermill", notebook, f"executed-{notebook}", "-y", "{out: runs/out}", *PAPERMILL]


def make_project(place: Path) -> Path:
    """A folder in which the workflow runs, without anything that ran before."""
    (place / "runs").mkdir(parents=True)
    for name in ("notebooks", "workflow", "config", "src"):
        (place / name).symlink_to(ROOT / name)
    (place / "answers.jsonl").write_text("")  # which the notebook that grades wants to exist
    write_notebook(place / "pass.ipynb", [nbformat.v4.new_code_cell("pass")])
    for stage in MODELS:
        write_notebook(place / f"{stage}.ipynb", first_cells(stage))
    return place


def make_empty_project(place: Path) -> Path:
    """A project whose jobs do nothing."""
    make_project(place)
    (place / "workflow").unlink()
    (place / "workflow").mkdir()
    for name in ("Snakefile", "run.py"):
        (place / "workflow" / name).symlink_to(ROOT / "workflow" / name)
    (place / "workflow" / "execute.py").write_text(EMPTY)
    return place


def write_notebook(path: Path, cells: list[Any]) -> None:
    """Write a notebook for the kernel that the stages use."""
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)


def first_cells(stage: str) -> list[Any]:
    """A stage's notebook up to its validated parameters, and one cell that imports what the rest of it does."""
    path = ROOT / "notebooks" / f"{stage}.ipynb"
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    last = next(place for place, cell in enumerate(cells) if "validate(" in cell.source)
    code = [line for cell in cells for line in cell.source.splitlines() if not line.startswith("%")]
    tree = ast.parse("\n".join(code))
    lines = [ast.unparse(node) for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    # Stages import these within functions. The method is that of the notebook's default.
    lines += [f"import {name}" for name in (*content.LIBRARIES[stage], *EVERYWHERE)]
    lines += [f"import {METHODS['sft']}"] if stage == "align" else []
    return [*cells[: last + 1], nbformat.v4.new_code_cell("\n".join(lines))]


def cell_seconds(notebook: Path) -> tuple[float, float]:
    """Seconds of an executed notebook of `first_cells`: all cells but the last, and the last."""
    cells = nbformat.read(notebook, as_version=4).cells
    *first, last = [float(cell.metadata.papermill.duration or 0) for cell in cells if cell.cell_type == "code"]
    return sum(first), last


def finish(project: Path, source: str, number: int) -> None:
    """Leave the folders of so many first jobs of a profile as if they had run."""
    os.chdir(project)
    nowhere = {"commit": None, "dirty": None, "hardware": "", "cores": 1, "memory_gib": 1.0, "accelerator": None}
    nowhere |= {"created_utc": "", "python": "", "platform": "", "packages": {}}
    for job in jobs(load_profile(source))[:number]:
        folder = Path(job.folder)
        for name in content.OUTPUTS[job.stage]:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text("{}\n")
        # seconds that differ a little, as they do
        seconds = 10 + random.Random(job.folder).random()
        record = Record(
            stage=job.stage,  # type: ignore[arg-type]
            parameters=job.parameters,
            counts={"planned": 1, "completed": 1, "failed": 0},
            seconds=seconds,
            provenance=Provenance.model_validate(nowhere),
        )
        (folder / "record.json").write_text(record.model_dump_json())
        (folder / content.KEPT).write_text(json.dumps(content.content(job)._asdict()))


def apart(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call in another process: what this one holds would count as memory of every process that it starts."""
    with ProcessPoolExecutor(1) as pool:
        return pool.submit(function, *arguments).result()


def sweep(cells: int, path: Path) -> int:
    """Write a profile of so many cells; give its number of jobs."""
    policies: dict[str, dict[str, Any]] = {"sft": {"method": "sft", "steps": 2}}
    settings = range(1, max(1, cells // SEEDS))
    policies |= {f"dpo{n}": {"method": "dpo", "start": "sft", "learning_rate": 1e-5 * n} for n in settings}
    arms = {"base": {"policy": "base"}} | {name: {"policy": name} for name in policies}
    profile = {"name": path.stem, "policies": policies, "arms": arms, "seeds": list(range(min(SEEDS, cells)))}
    path.write_text(yaml.safe_dump(profile, sort_keys=False))
    return len(jobs(load_profile(str(path))))


def time_parts(project: Path, rounds: int, rows: list[dict[str, Any]]) -> None:
    """Add the parts of a job's cost to `rows`, interleaved in random order."""
    job: Job = jobs(load_profile(PROFILE))[0]
    apart(finish, project, PROFILE, 1)
    (project / "job.json").write_text(json.dumps(job._asdict()))
    unchanged = ["workflow/execute.py", "job.json", "--profile", PROFILE, "--total", "1"]
    ways = {
        "tradeoffs --help": ["-m", "tradeoffs.cli", "--help"],
        "study": ["workflow/run.py", PROFILE, "--cores", "2"],
        "execute": unchanged,
        "papermill": papermill("pass.ipynb"),
    } | {stage: papermill(f"{stage}.ipynb") for stage in MODELS}
    total = rounds * len(ways)
    with bar(total=total, what="a job's parts", unit="start") as progress:
        for number in range(rounds):
            for name in random.Random(f"round/{number}").sample(list(ways), len(ways)):
                if name == "study":
                    with tempfile.TemporaryDirectory(prefix="empty-") as place:
                        cost = measure(ways[name], make_empty_project(Path(place)))
                else:
                    cost = measure(ways[name], project)
                told = {name: cost.seconds}
                if name in MODELS:
                    parts = cell_seconds(project / f"executed-{name}.ipynb")
                    told = dict(zip((f"{FIRST} {name}", f"{IMPORTS} {name}"), parts, strict=True))
                for part, seconds in told.items():
                    rows.append({"part": part, "round": number, "seconds": seconds, "peak_mib": cost.peak_mib})
                progress.update()


def time_sweeps(project: Path, sizes: Sequence[int], rounds: int, rows: list[dict[str, Any]]) -> dict[int, int]:
    """Add the planning of sweeps to `rows`; give jobs by cells."""
    planned = {}
    with bar(total=3 * rounds * len(sizes), what="sweeps", unit="plan") as progress:
        for cells in sizes:
            path = project / f"sweep-{cells}.yaml"
            planned[cells] = apart(sweep, cells, path)
            for state in ("new", "half done"):
                if state == "half done":
                    apart(finish, project, str(path), planned[cells] // 2)
                ways = {"plan": ["-m", "tradeoffs.cli", "plan", str(path)]}
                ways |= {"snakemake": snakemake(str(path))} if state == "new" else {}
                for number, (name, command) in itertools.product(range(rounds), ways.items()):
                    cost = measure(command, project)
                    part = f"{name} {state}"
                    rows.append({"part": part, "cells": cells, "round": number} | cost._asdict())
                    progress.update()
            # the next size plans from its own records alone
            (project / "runs").rename(project / f"ran-{cells}")
            (project / "runs").mkdir()
    return planned


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median and range."""
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def a_job(parts: dict[str, dict[str, float]], count: dict[str, int]) -> dict[str, Any]:
    """Sums of the parts' medians: a job of each stage, and the mean over a profile's jobs."""
    start = parts["study"]["median"] / sum(count.values())
    common = start + parts["execute"]["median"] + parts["papermill"]["median"]
    own = {stage: sum(parts[f"{part} {stage}"]["median"] for part in (FIRST, IMPORTS)) for stage in count}
    by_stage = {stage: common + own[stage] for stage in count}

    def mean(values: dict[str, float]) -> float:
        return sum(values[stage] * n for stage, n in count.items()) / sum(count.values())

    imports = mean({stage: parts[f"{IMPORTS} {stage}"]["median"] for stage in count})
    return {"mean": mean(by_stage), "imports": imports, "by_stage": by_stage}


def growth(seconds: dict[int, float]) -> float | None:
    """Time of a further cell from the second largest size to the largest over that from the third; 1 is linear, 10 quadratic."""
    if len(seconds) < 3:
        return None
    (a, at_a), (b, at_b), (c, at_c) = sorted(seconds.items())[-3:]
    return ((at_c - at_b) / (c - b)) / ((at_b - at_a) / (b - a)) if at_b > at_a else None


def planning(rows: Sequence[dict[str, Any]], planned: dict[int, int]) -> list[dict[str, Any]]:
    """A line for each kind of plan and size, and how its time grows."""
    told = []
    for part in dict.fromkeys(row["part"] for row in rows):
        lines = []
        for cells, count in planned.items():
            own = [row for row in rows if (row["part"], row.get("cells")) == (part, cells)]
            line = {"part": part, "cells": cells, "jobs": count} | spread([row["seconds"] for row in own])
            line["ms_per_cell"] = 1000 * line["median"] / cells
            lines.append(line | {"peak_mib": max(row["peak_mib"] for row in own)})
        rate = growth({line["cells"]: line["median"] for line in lines})
        told += [line | {"growth": rate} for line in lines]
    return told


def study(folder: Path) -> dict[str, Any]:
    """What jobs cost beside their work in a study whose jobs ran one after the other, from when each left its mark.

    Raises:
        ValueError: fewer than two jobs have ended there.
    """
    ended = sorted((mark.stat().st_mtime, mark.parent) for mark in folder.rglob(content.MARK))
    if len(ended) < 2:
        raise ValueError(
            f"study: {folder} holds {len(ended)} jobs that have ended; accepts the folder of a whole study"
        )
    lines = []
    for (before, _), (after, job) in itertools.pairwise(ended):
        record = read_record(job)
        lines.append({"stage": record.stage, "wall": after - before, "work": record.seconds or 0.0})
    by_stage = {
        stage: statistics.median(line["wall"] - line["work"] for line in lines if line["stage"] == stage)
        for stage in MODELS
        if any(line["stage"] == stage for line in lines)
    }
    beside = [line["wall"] - line["work"] for line in lines]
    whole = {"jobs": len(lines), "mean": statistics.mean(beside), "by_stage": by_stage}
    return whole | spread(beside) | {"share": sum(beside) / sum(line["wall"] for line in lines)}


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Every measurement as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, ["part", "cells", "round", "seconds", "peak_mib"], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow(row | {"seconds": f"{row['seconds']:.4f}", "peak_mib": f"{row['peak_mib']:.1f}"})
    return text.getvalue()


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, write `workflow.csv` and `workflow.json`."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured")
    parser.add_argument("--sizes", default=SIZES, metavar="N,N,N", help="cells of the sweeps")
    parser.add_argument("--study", type=Path, help="folder of a study that ran, such as runs/smoke")
    parser.add_argument("--results", type=Path, default=Path("results/benchmarks"), help="folder to write")
    a = parser.parse_args(argv)
    results, ran = a.results.resolve(), study(a.study) if a.study else None
    os.chdir(ROOT)
    parts: list[dict[str, Any]] = []
    sweeps: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="workflow-") as name:
        project = make_project(Path(name))
        time_parts(project, a.rounds, parts)
        planned = time_sweeps(project, sorted(map(int, a.sizes.split(","))), a.rounds, sweeps)
    names = dict.fromkeys(row["part"] for row in parts)
    by_part = {name: spread([row["seconds"] for row in parts if row["part"] == name]) for name in sorted(names)}
    count = dict(Counter(job.stage for job in jobs(load_profile(PROFILE))))
    told = {"rounds": a.rounds, "profile": PROFILE, "jobs": count, "parts": by_part, "a_job": a_job(by_part, count)}
    told |= {"planning": planning(sweeps, planned), "study": ran, "provenance": provenance().model_dump()}
    for name, one in by_part.items():
        print(f"{name:24}{one['median']:8.2f} s ({one['low']:.2f} to {one['high']:.2f})")
    print(f"a job beside its work: {told['a_job']['mean']:.2f} s, of which imports {told['a_job']['imports']:.2f} s")
    if ran:
        print(f"in {a.study}: {ran['mean']:.2f} s a job, {100 * ran['share']:.0f} % of its time")
    for line in told["planning"]:
        rate = "" if line["growth"] is None else f", growth {line['growth']:.2f}"
        size = f"{line['cells']} cells, {line['jobs']} jobs"
        print(f"{line['part']:16}{size:28}{line['median']:8.2f} s {line['peak_mib']:6.0f} MiB{rate}")
    write_text(results / "workflow.csv", table([*parts, *sweeps]))
    write_text(results / "workflow.json", json.dumps(told, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
