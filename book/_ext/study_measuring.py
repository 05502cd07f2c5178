"""Tables of the chapter on measuring, from `results/benchmarks/`, which no profile owns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import study_tables as tables

COMMANDS = {
    "generation": "python benchmarks/generation.py --problems ds1000.jsonl.gz --vllm ENVIRONMENT",
    "harness": "python benchmarks/harness.py",
    "turns": "python benchmarks/turns.py",
    "coverage": "python benchmarks/coverage.py",
    "workflow": "python benchmarks/workflow.py",
    "planning": "python benchmarks/workflow.py",
    "costs": "python benchmarks/costs.py",
    "costs_elsewhere": "python benchmarks/costs.py",
}
# Where a name's data are, if not in a file of its name.
DATA = {"coverage": "coverage.csv", "planning": "workflow.json", "costs_elsewhere": "costs.json"}
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

PARTS = {
    "tradeoffs --help": "`tradeoffs --help`",
    "study": "A study whose jobs do nothing",
    "execute": "`workflow/execute.py`: does the job have to run?",
    "papermill": "Papermill and a kernel, on a cell that does nothing",
}
PLANS = {
    "plan new": "`tradeoffs plan`, nothing done",
    "plan half done": "`tradeoffs plan`, half done",
    "snakemake new": "Snakemake's graph",
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


def turns(found: dict[str, Any]) -> tables.Table:
    """How far the seconds of equal policies scatter within a block, both ways."""
    table = [["Rows a batch", "Whole answers", "In turns", "Ratio", "95 % interval"]]
    for rows, one in found["found"].items():
        ratio = one["ratio"]
        scatter = [f"{100 * one[way]:.1f} %" for way in ("whole", "turns")]
        table.append([rows, *scatter, f"{ratio['ratio']:.1f}", f"{ratio['low']:.1f} to {ratio['high']:.1f}"])
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


def workflow(found: dict[str, Any]) -> tables.Table:
    """What a job costs beside its work, part by part."""
    parts = found["parts"]
    rows = [(words, parts[key]) for key, words in PARTS.items()]
    rows.append(("First cells of the slowest stage: parameters, checked", _first_cells(found)))
    rows += [(f"Imports of `{stage}`", parts[f"imports {stage}"]) for stage in found["jobs"]]
    table = [["", "Seconds", "Range"]]
    table += [[words, f"{one['median']:.2f}", f"{one['low']:.2f} to {one['high']:.2f}"] for words, one in rows]
    table.append([f"Together, mean over {sum(found['jobs'].values())} jobs", f"{found['a_job']['mean']:.2f}", ""])
    if ran := found["study"]:
        spread = f"{ran['low']:.2f} to {ran['high']:.2f}"
        table.append([f"In a study, mean over {ran['jobs']} jobs", f"{ran['mean']:.2f}", spread])
    return table


def _first_cells(found: dict[str, Any]) -> dict[str, float]:
    """The first cells that take longest."""
    each: list[dict[str, float]] = [found["parts"][f"first cells {stage}"] for stage in found["jobs"]]
    return max(each, key=lambda one: one["median"])


def planning(found: dict[str, Any]) -> tables.Table:
    """Time and memory for planning sweeps."""
    table = [["", "Cells", "Jobs", "Seconds", "ms a cell", "MiB"]]
    for line in found["planning"]:
        numbers = [f"{line['median']:.1f}", f"{line['ms_per_cell']:.2f}", f"{line['peak_mib']:.0f}"]
        table.append([PLANS[line["part"]], f"{line['cells']:,}", f"{line['jobs']:,}", *numbers])
    return table


def costs(found: dict[str, Any]) -> tables.Table:
    """Published jobs beside what the cost model foretells each of them from the others."""
    table = [["Stage", "Jobs", "Measured, minutes", "Foretold, minutes", "Typically off by a factor of"]]
    for line in found["stages"]:
        minutes = [f"{line[key] / 60:.1f}" for key in ("measured_s", "foretold_s")]
        table.append([line["stage"], str(line["jobs"]), *minutes, f"{line['factor']:.2f}"])
    return table


def costs_elsewhere(found: dict[str, Any]) -> tables.Table:
    """What the profiles that nobody has run would cost on a GPU."""
    table = [[f"Profile, on one {found['on'].upper()}", "Jobs", "GiB held", "Hours"]]
    for line in found["elsewhere"]:
        table.append(
            [
                f"`{line['profile']}`",
                str(line["jobs"]),
                f"{line['memory'] / 2**30:.0f}",
                f"{line['seconds'] / 3600:.1f}",
            ]
        )
    return table


def _costs_sentence(found: dict[str, Any]) -> str:
    """What the cost model is worth."""
    text = f"Each of {found['jobs']} published jobs, foretold from the others, is typically off by a factor of {found['factor']:.2f}"
    if found.get("gpu_factor"):
        text += f", those on a GPU, to which two constants were fitted, by {found['gpu_factor']:.2f}"
    if found["memory_factor"]:
        text += f"; where memory was measured, jobs held {found['memory_factor']:.1f} times what is foretold"
    return (
        f"{text}. On another machine the share of its ceilings that jobs reach is taken to be the same; on a GPU the time until each layer "
        "and each job has started comes besides."
    )


def _workflow_sentence(found: dict[str, Any]) -> str:
    """What a job and the largest sweep cost."""
    job, ran = found["a_job"], found["study"]
    largest = {line["part"]: line for line in found["planning"]}
    plan = max((line for part, line in largest.items() if part.startswith("plan")), key=lambda line: line["median"])
    graph = largest["snakemake new"]
    text = (
        f"A job of the `{found['profile']}` profile costs {job['mean']:.1f} s beside its work, {job['imports']:.1f} s of "
        "them for imports"
    )
    text += f" (in a study that ran, {ran['mean']:.1f} s, {100 * ran['share']:.0f} % of its time)" if ran else ""
    checked = found["parts"]["papermill"]["median"] + _first_cells(found)["median"]
    text += f". At most {checked:.1f} s after a notebook's start its parameters are checked"
    text += (
        f". A sweep of {plan['cells']:,} cells is planned in {plan['median']:.1f} s and {plan['peak_mib']:.0f} MiB, its "
        f"graph in {graph['median']:.0f} s and {graph['peak_mib']:.0f} MiB"
    )
    rates = [line["growth"] for line in largest.values() if line["growth"] is not None]
    if rates:
        text += f"; a further cell takes at most × {max(rates):.2f} of what it takes in smaller sweeps (linear: × 1)"
    return f"{text}."


def _turns_sentence(found: dict[str, Any]) -> str:
    """By how much turns narrow the scatter, and what they do to the pace itself."""
    where, parts, paces = found["provenance"], [], []
    for rows, one in found["found"].items():
        ratio, pace = one["ratio"], one["seconds"]
        word = "less in turns" if ratio["low"] > 1 else "more in turns" if ratio["high"] < 1 else "no difference seen"
        parts.append(
            f"at {rows} row{'' if rows == '1' else 's'} by {100 * one['whole']:.1f} % whole and {100 * one['turns']:.1f} % in turns "
            f"({word}: × {ratio['ratio']:.1f} [{ratio['low']:.1f} to {ratio['high']:.1f}])"
        )
        paces.append(f"× {pace['ratio']:.3f} [{pace['low']:.3f} to {pace['high']:.3f}] at {rows}")
    return (
        f"On {where['cores']} cores of {where['hardware']} the seconds of {found['copies']} copies of one policy differ within a block "
        f"{'; '.join(parts)}. The seconds themselves, in turns over whole: {', '.join(paces)}."
    )


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
    if (path := folder / "turns.json").exists():
        told["measured_turns"] = _turns_sentence(json.loads(path.read_text(encoding="utf-8")))
    if (path := folder / "coverage.csv").exists():
        shares = [float(row["coverage"]) for row in tables.read(path)]
        held = sum(0.93 <= share <= 0.97 for share in shares)
        told["measured_coverage"] = (
            f"Of {len(shares)} kinds of interval {held} held the truth in 93 to 97 % of the simulated studies, all in "
            f"{100 * min(shares):.1f} to {100 * max(shares):.1f} %."
        )
    if (path := folder / "workflow.json").exists():
        told["measured_workflow"] = _workflow_sentence(json.loads(path.read_text(encoding="utf-8")))
    if (path := folder / "costs.json").exists():
        told["measured_costs"] = _costs_sentence(json.loads(path.read_text(encoding="utf-8")))
    return told


def stage(folder: Path, source: Path) -> None:
    """Write the chapter's tables into `source/_results/benchmarks`; a missing one names the command that makes it."""
    made = {"generation": generation, "harness": harness, "turns": turns, "workflow": workflow, "planning": planning}
    made |= {"costs": costs, "costs_elsewhere": costs_elsewhere}
    for name, command in COMMANDS.items():
        table: tables.Table = [["Missing", "Command"], [name, f"`{command}`"]]
        data = folder / DATA.get(name, f"{name}.json")
        if data.exists() and name == "coverage":
            table = coverage(tables.read(data))
        elif data.exists():
            table = made[name](json.loads(data.read_text(encoding="utf-8")))
        copy = source / "_results" / "benchmarks" / f"{name}.csv"
        copy.parent.mkdir(parents=True, exist_ok=True)
        tables.write(copy, table)
