"""Tables of the chapter on measuring, from `results/benchmarks/`, which no profile owns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import study_tables as tables

COMMANDS = {
    "generation": "python benchmarks/generation.py --problems ds1000.jsonl.gz --vllm ENVIRONMENT",
    "harness": "python benchmarks/harness.py",
    "coverage": "python benchmarks/coverage.py",
}
WAYS = {
    "published": "Batches of 8 in file order, as the published runner",
    "engine": "This project's in-process engine",
    "vllm": "vLLM, offline",
    "server": "vLLM as a server, through this project's client",
}
RATIOS = {
    "engine / published": "Engine over published runner",
    "server / vllm": "Client and server over vLLM offline",
    "engine / vllm": "Engine over vLLM offline",
}
HARNESS = {
    "engine": "Engine over transformers' `generate` alone",
    "throughput": "The timing stage's clock over a bare loop",
}


def generation(found: dict[str, Any]) -> tables.Table:
    """Speed of each way and its distance from the machine's limit."""
    where = found["provenance"]
    setting = (
        f"{found['answers']} answers of {found['new_tokens']} tokens, {where['cores']} cores of {where['hardware']}"
    )
    table = [[setting, "Tokens/s", "Of the limit"]]
    for way, words in WAYS.items():
        if way in found["medians"]:
            table.append([words, f"{found['medians'][way]:.1f}", f"{100 * found['shares'][way]:.0f} %"])
    return table + [
        [words, f"× {found['ratios'][key]:.3f}", ""] for key, words in RATIOS.items() if key in found["ratios"]
    ]


def harness(found: dict[str, Any]) -> tables.Table:
    """What the harness adds to the time that it measures."""
    table = [["", "Ratio of times", "95 % interval"]]
    for key, words in HARNESS.items():
        one = found["found"][key]
        table.append([words, f"{one['ratio']:.4f}", f"{one['low']:.4f} to {one['high']:.4f}"])
    return table


def coverage(rows: list[dict[str, str]]) -> tables.Table:
    """In which share of simulated studies each interval held the truth."""
    table = [["Interval", "Studies", "Held the truth", "93 to 97 %"]]
    for row in rows:
        share = float(row["coverage"])
        held = f"{100 * share:.1f} % (± {100 * float(row['error']):.1f})"
        table.append(
            [row["interval"].replace("_", " "), row["studies"], held, "yes" if 0.93 <= share <= 0.97 else "no"]
        )
    return table


def answers(folder: Path) -> dict[str, str]:
    """A sentence that answers each of the chapter's questions, by the name that the page gives it."""
    told = {f"measured_{name}": f"Not measured here: `{command}`." for name, command in COMMANDS.items()}
    if (path := folder / "generation.json").exists():
        found = json.loads(path.read_text(encoding="utf-8"))
        own, limit = found["medians"]["engine"], 100 * found["shares"]["engine"]
        parts = [f"the in-process engine makes {own:.0f} tokens/s, {limit:.0f} % of what the machine's limit allows"]
        for key, words in RATIOS.items():
            if key in found["ratios"]:
                parts.append(f"{words[0].lower()}{words[1:]}: × {found['ratios'][key]:.3f}")
        told["measured_generation"] = f"Here {'; '.join(parts)}."
    if (path := folder / "harness.json").exists():
        found = json.loads(path.read_text(encoding="utf-8"))["found"]
        worst = max(found[key]["high"] - 1 for key in HARNESS)
        told["measured_harness"] = f"At the upper ends of the intervals {100 * worst:.1f} % of what it measures."
    if (path := folder / "coverage.csv").exists():
        shares = [float(row["coverage"]) for row in tables.read(path)]
        held = sum(0.93 <= share <= 0.97 for share in shares)
        told["measured_coverage"] = (
            f"Of {len(shares)} kinds of interval {held} held the truth in 93 to 97 % of the simulated studies, all in "
            f"{100 * min(shares):.1f} to {100 * max(shares):.1f} %."
        )
    return told


def stage(folder: Path, source: Path) -> None:
    """Write the chapter's tables into `source/_results/benchmarks`; a missing one names the command that makes it."""
    for name, command in COMMANDS.items():
        table: tables.Table = [["Missing", "Command"], [name, f"`{command}`"]]
        data = folder / (f"{name}.csv" if name == "coverage" else f"{name}.json")
        if data.exists() and name == "coverage":
            table = coverage(tables.read(data))
        elif data.exists():
            found = json.loads(data.read_text(encoding="utf-8"))
            table = generation(found) if name == "generation" else harness(found)
        copy = source / "_results" / "benchmarks" / f"{name}.csv"
        copy.parent.mkdir(parents=True, exist_ok=True)
        tables.write(copy, table)
