"""Tables of the chapter on grading, from `results/benchmarks/`, which no profile owns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import study_tables as tables

COMMANDS = {
    "speed": "python benchmarks/grading.py --problems ds1000.jsonl.gz --floor",
    "scaling": "python benchmarks/scaling.py --problems ds1000.jsonl.gz",
    "deviations": "python benchmarks/published.py --folder FOLDER",
    "repeated": "python benchmarks/repeated.py --folder FOLDER",
    "isolation": "tradeoffs doctor --threats results/benchmarks/isolation.csv",
}


def _ratio(value: dict[str, Any]) -> str:
    text = f"{value['estimate']:.2f}"
    return text if value["low"] is None else f"{text} ({value['low']:.2f} to {value['high']:.2f})"


def speed(found: dict[str, Any]) -> tables.Table:
    """Lay out the benchmark: one row a quantity, the reference protocol beside the grader."""
    both = (found["reference"], found["grader"])
    rate = [f"{side['answers_per_second']:.2f}" for side in both]
    cpu = [f"{side['cpu_seconds_per_answer']:.2f}" for side in both]
    peak = [f"{side['peak_memory_bytes'] / 2**30:.2f}" for side in both]
    where = found["provenance"]
    setting = f"{found['answers']} answers, {found['workers']} workers, {where['cores']} cores of {where['hardware']}"
    table = [
        [setting, "Reference protocol", "Grader", "Ratio"],
        ["Answers a second", *rate, _ratio(found["ratio"])],
        ["CPU seconds an answer", *cpu, _ratio(found["cpu_ratio"])],
        ["Peak memory (GiB)", *peak, ""],
        ["Verdicts that differ", "", str(len(found["verdicts_that_differ"])), ""],
    ]
    if found.get("floor_cpu_seconds"):
        table.append(
            ["The tests alone (CPU seconds an answer)", "", f"{found['floor_cpu_seconds'] / found['answers']:.2f}", ""]
        )
    return table


def stage(folder: Path, source: Path) -> None:
    """Write the chapter's tables into `source/_results/benchmarks`; a missing one names the command that makes it."""
    for name, command in COMMANDS.items():
        table: tables.Table = [["Missing", "Command"], [name, f"`{command}`"]]
        data = folder / ("grading.json" if name == "speed" else f"{name}.csv")
        if data.exists():
            if name == "speed":
                table = speed(json.loads(data.read_text(encoding="utf-8")))
            elif rows := tables.read(data):
                table = [[key.replace("_", " ").capitalize() for key in rows[0]], *(list(row.values()) for row in rows)]
            else:
                table = [["Result"], ["no row"]]
        copy = source / "_results" / "benchmarks" / f"{name}.csv"
        copy.parent.mkdir(parents=True, exist_ok=True)
        tables.write(copy, table)
