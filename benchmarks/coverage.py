"""Do 95 % intervals hold the truth in 95 % of studies? Every interval of the analysis, over simulated studies whose truth is known.

A population of problem families is made up: how hard each is, how long its answers are, how alike its members; two policies of which one is
longer, worse and slower by known amounts; a machine whose pace wanders. Each simulated study draws families, answers them, and goes through
the study's own functions. A row says in which share of studies an interval held the truth.

    python benchmarks/coverage.py                  # 1,000 studies, some minutes; writes results/benchmarks/coverage.csv
    python benchmarks/coverage.py --studies 50
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tradeoffs.analysis.dose import dose_response
from tradeoffs.analysis.identity import FACTORS, work
from tradeoffs.analysis.latency import latency_metrics
from tradeoffs.analysis.policies import METRICS, compare, decompose, decompose_seconds, policy_metrics
from tradeoffs.analysis.resampling import Resampling
from tradeoffs.analysis.speculation import acceptance_table
from tradeoffs.analysis.throughput import compare_throughput, explain_blocks
from tradeoffs.progress import bar
from tradeoffs.records import write_text

FAMILIES, MEMBERS = 48, (1, 2, 3)
CAP = 80  # tokens: some 3 % and 8 % of answers are cut
GOODPUT = {"e2e_s": 2.0}
SAMPLES, K = 5, 2  # of the simulation of pass@k
WEIGHT_BYTES, KV_BYTES = 2.7e8, 23_040.0
PACE_SD = 0.03  # of the machine's pace between policies, log units
SEEDS, LUCK, KEPT = (
    3,
    0.1,
    (0.8, 0.05),
)  # of training: seeds; sd of log length; mean and sd of the share of right answers that are kept
TRUTH_FAMILIES = 400_000
POLICIES: dict[str, dict[str, float]] = {
    "base": {"length": 1.0, "skill": 0.0, "pace": 1.0},
    "other": {"length": 1.25, "skill": -0.4, "pace": 1.0},
}


def answers(families: int, rng: np.random.Generator) -> dict[str, pd.DataFrame]:
    """Answers of both policies to the problems of some families, without the machine's mood."""
    sizes = rng.choice(MEMBERS, families)
    family = np.repeat(np.arange(families), sizes)
    n = len(family)
    hard, long = rng.normal(0, 1.0, families)[family], rng.normal(0, 0.35, families)[family]
    prompt = rng.integers(80, 400, families)[family]
    found = {}
    for name, of in POLICIES.items():
        tokens = np.clip(np.round(of["length"] * 30 * np.exp(long + rng.normal(0, 0.4, n))), 1, CAP).astype(int)
        slots = tokens + rng.integers(0, 25, n)  # what rows wait for each other
        passed = rng.random(n) < 1 / (1 + np.exp(-(of["skill"] + hard + rng.normal(0, 0.5, n))))
        prefill = 0.0008 * prompt
        rows = pd.DataFrame(
            {
                "problem_id": np.arange(n),
                "family": np.char.add("f", np.char.zfill(family.astype(str), 6)),
                "tokens": tokens,
                "slots": slots,
                "batch_size": 8,
                "seconds": of["pace"] * (prefill + 0.006 * (slots - 1)),
                "prefill_s": of["pace"] * prefill,
                "prompt_tokens": prompt,
                "finish": np.where(tokens == CAP, "length", "stop"),
                "status": np.where(passed, "passed", "failed"),
                "ttft_s": of["pace"] * prefill * 8,
                "rest_s": of["pace"] * 0.048 * (tokens - 1),
            }
        )
        found[name] = work(rows, WEIGHT_BYTES, KV_BYTES)
    return found


def moody(rows: pd.DataFrame, factor: float) -> pd.DataFrame:
    """The same answers on a machine that was slower by a factor."""
    times = ("seconds", "prefill_s", "decode_s", "ttft_s", "rest_s")
    return rows.assign(**{name: rows[name] * factor for name in times})


# joules are not made up here: their intervals are those of seconds
COUNTED = {name: metric for name, metric in METRICS.items() if "joules" not in metric.above}


def population() -> dict[str, float]:
    """True values, from very many families without an error of pace."""
    made = answers(TRUTH_FAMILIES, np.random.default_rng(1))
    sums = {name: rows.assign(n=1, right=rows["status"] == "passed") for name, rows in made.items()}

    def rate(name: str, above: str, below: str) -> float:
        part = sums[name]
        cut = {"answers": "n", "graded": "n", "passed": "right"}
        columns = [cut.get(c.removeprefix("graded_"), c.removeprefix("graded_")) for c in (above, below)]
        table = part.assign(capped=part["finish"] == "length")
        return float(table[columns[0]].sum() / table[columns[1]].sum())

    truth: dict[str, float] = {}
    for name, metric in COUNTED.items():
        values = {policy: rate(policy, metric.above, metric.below) for policy in POLICIES}
        truth[f"metric {name}"] = values["other"]
        if name in ("pass_rate", "cap_share"):
            truth[f"difference {name}"] = values["other"] - values["base"]
        elif name != "prompt_tokens":  # both have the same prompts: the ratio is 1 without error
            truth[f"ratio {name}"] = values["other"] / values["base"]
    for factor, (above, below) in FACTORS.items():
        truth[f"factor {factor}"] = rate("other", above, below) / rate("base", above, below)
    other = made["other"]
    whole = other["ttft_s"] + other["rest_s"]
    truth["ttft median"] = float(other["ttft_s"].median())
    truth["end to end p90"] = float(whole.quantile(0.9, interpolation="lower"))
    truth["goodput"] = float((whole <= GOODPUT["e2e_s"]).sum() / other["seconds"].sum())
    truth["dose tokens_per_answer"] = math.sqrt(truth["ratio tokens_per_answer"])  # asked for -45 and 45 degrees
    truth["dose pass_rate"] = truth["difference pass_rate"] / 2
    truth |= {f"few probes: {name}": truth[f"ratio {name}"] for name in ("seconds_per_answer", "seconds_per_correct")}
    truth["seeds: tokens_per_answer"] = truth["ratio tokens_per_answer"] * math.exp(LUCK**2 / 2)
    truth["seeds: pass_rate"] = KEPT[0] * truth["metric pass_rate"] - (
        truth["metric pass_rate"] - truth["difference pass_rate"]
    )
    chance = chances(TRUTH_FAMILIES, np.random.default_rng(2))[1]
    truth[f"pass@{K} of {SAMPLES}"] = float((1 - (1 - chance) ** K).mean())
    total = rate("other", "seconds", "n") / rate("base", "seconds", "n")
    truth["log seconds an attempt"] = math.log(total)
    return truth


def chances(families: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Families of problems and each problem's chance of being answered right."""
    family = np.repeat(np.arange(families), rng.choice(MEMBERS, families))
    hard = rng.normal(-0.5, 1.0, families)[family] + rng.normal(0, 0.5, len(family))
    return family, 1 / (1 + np.exp(-hard))


def several(rng: np.random.Generator, draws: int) -> tuple[float | None, float | None]:
    """pass@k from several answers to each problem."""
    family, chance = chances(FAMILIES, rng)
    n = len(family)
    rows = pd.DataFrame(
        {
            "problem_id": np.repeat(np.arange(n), SAMPLES),
            "family": np.char.add("f", np.repeat(family, SAMPLES).astype(str)),
            "tokens": 10,
            "slots": 10,
            "seconds": 1.0,
            "prompt_tokens": 50,
            "finish": "stop",
            "status": np.where(rng.random(n * SAMPLES) < np.repeat(chance, SAMPLES), "passed", "failed"),
        }
    )
    found = policy_metrics(rows, Resampling.draw(rows["family"], draws, rng))[f"pass_at_{K}"]
    return found["low"], found["high"]


def trained(rows: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """A policy's answers after several trainings, each with its own luck in length and correctness."""
    found = []
    for seed in range(SEEDS):
        longer = math.exp(rng.normal(0, LUCK)) * np.exp(rng.normal(0, 0.2, len(rows)) - 0.02)
        lost = rng.random(len(rows)) > rng.normal(*KEPT)
        status = rows["status"].mask(lost, "failed")
        found.append(rows.assign(seed=seed, tokens=rows["tokens"] * longer, status=status))
    return pd.concat(found, ignore_index=True)


def study(truth: dict[str, float], seed: int, draws: int) -> Iterator[tuple[str, float, float | None, float | None]]:
    """One study's intervals: (name, truth, low, high)."""
    rng = np.random.default_rng([7, seed])
    made = answers(FAMILIES, rng)
    pace = {name: math.exp(rng.normal(0, PACE_SD)) for name in made}
    rows = {name: moody(part, pace[name]) for name, part in made.items()}
    # probes of this and of other policies' moods, two each: what the study knows of its machine
    probes = {name: [50.0 * math.exp(rng.normal(0, PACE_SD)) for _ in range(2)] for name in rows}
    probes |= {f"further {n}": [50.0 * math.exp(rng.normal(0, PACE_SD)) for _ in range(2)] for n in range(8)}
    resampling = Resampling.draw(rows["base"]["family"], draws, rng)
    paces = resampling.paces(probes, rng)
    own, both = paces["other"], (paces["other"], paces["base"])

    def held(name: str, value: dict[str, Any]) -> tuple[str, float, float | None, float | None]:
        return name, truth[name], value["low"], value["high"]

    found = policy_metrics(rows["other"], resampling, own)
    for name in COUNTED:
        yield held(f"metric {name}", found[name])
    compared = compare(rows["other"], rows["base"], resampling, rng, both)
    for name, value in compared.items():
        if name in COUNTED and name != "prompt_tokens":
            yield held(f"{value['kind']} {name}", value)
    for name, value in decompose(rows["other"], rows["base"], resampling, both).items():
        if name != "total":
            yield held(f"factor {name}", value)
    split = decompose_seconds(rows["other"], rows["base"], resampling, both)
    yield held("log seconds an attempt", split["total"])
    timed = rows["other"].assign(itl_s=[[rest] for rest in rows["other"]["rest_s"]])
    felt = latency_metrics(timed, resampling, GOODPUT, own)
    for name, key in (("ttft median", "ttft_p50"), ("end to end p90", "e2e_p90"), ("goodput", "goodput_per_s")):
        yield held(name, felt[key])
    slopes = dose_response({-45.0: rows["base"], 45.0: rows["other"]}, resampling, {-45.0: both[1], 45.0: both[0]})
    for name in ("tokens_per_answer", "pass_rate"):
        yield held(f"dose {name}", slopes[name])
    few = resampling.paces({name: probes[name] for name in rows}, rng)  # four probes in all
    narrow = compare(rows["other"], rows["base"], resampling, rng, (few["other"], few["base"]))
    for name in ("seconds_per_answer", "seconds_per_correct"):
        yield held(f"few probes: {name}", narrow[name])
    lucky = compare(trained(rows["other"], rng), rows["base"].assign(seed=0), resampling, rng, both)
    for name in ("tokens_per_answer", "pass_rate"):
        yield held(f"seeds: {name}", lucky[name])
    several_low, several_high = several(rng, draws)
    yield f"pass@{K} of {SAMPLES}", truth[f"pass@{K} of {SAMPLES}"], several_low, several_high
    yield from forced(rng)
    yield guessed(rng, draws)


def forced(rng: np.random.Generator) -> Iterator[tuple[str, float, float | None, float | None]]:
    """Twelve blocks at forced lengths, the other policy 1 % slower."""
    mood = np.exp(rng.normal(0, 0.05, 12))
    rows = []
    for name, slower in (("base", 1.0), ("other", 1.01)):
        for block in range(12):
            seconds = slower * mood[block] * math.exp(rng.normal(0, 0.01))
            times = {"prefill_s": 0.2 * seconds, "decode_s": seconds}
            shape = {"batch_size": 8, "prompt_tokens": 64, "new_tokens": 20}
            rows.append({"policy": name, "block": block, "flagged": False} | shape | times)
    table = pd.DataFrame(rows)
    ratio = compare_throughput(table, ["base", "other"], "base", 0.02)["other"]["ratio"]
    yield "ratio tokens_per_s, forced", 1 / 1.01, ratio["low"], ratio["high"]
    part = explain_blocks(table, "other", "base", WEIGHT_BYTES, KV_BYTES)["efficiency"]
    yield "factor efficiency, forced", math.log(1.01), part["low"], part["high"]


def guessed(rng: np.random.Generator, draws: int) -> tuple[str, float, float | None, float | None]:
    """Acceptance over 30 problems: tokens and acceptance that hang together, mean acceptance weighed by tokens."""
    tokens = rng.integers(5, 60, 30)
    alpha = np.clip(0.7 + 0.003 * (tokens - 32) + rng.normal(0, 0.08, 30), 0, 1)
    rows = pd.DataFrame(
        {"policy": "x", "problem_id": range(30), "tokens": tokens, "alpha": alpha, "agree": alpha, "kl": 0.1}
    )
    rows = rows.assign(live_passes=None, live_tokens=None, live_s=None, plain_s=None)
    (row,) = acceptance_table(rows, 4, draws, int(rng.integers(2**31))).to_dict("records")
    # E[t a] / E[t], t uniform on 5..59: 0.7 + 0.003 (E[t^2]/E[t] - 32)
    values = np.arange(5, 60)
    return "acceptance", 0.7 + 0.003 * ((values**2).mean() / values.mean() - 32), row["low"], row["high"]


def main(argv: Sequence[str] | None = None) -> int:
    """Simulate, count, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--draws", type=int, default=1000, help="bootstrap draws in each study")
    parser.add_argument("--results", type=Path, default=Path("results"))
    a = parser.parse_args(argv)
    truth = population()
    held: dict[str, list[bool]] = defaultdict(list)
    widths: dict[str, list[float]] = defaultdict(list)
    for seed in bar(range(a.studies), total=a.studies, what="simulated studies", unit="study"):
        for name, value, low, high in study(truth, seed, a.draws):
            # no interval at all holds nothing
            held[name].append(
                (low is not None or high is not None)
                and (low is None or low <= value)
                and (high is None or value <= high)
            )
            if low is not None and high is not None:
                widths[name].append(high - low)
    rows = []
    for name, hits in held.items():
        share = sum(hits) / len(hits)
        error = math.sqrt(max(share * (1 - share), 1e-4) / len(hits))
        width = float(np.median(widths[name])) if widths[name] else None
        rows.append({"interval": name, "studies": len(hits), "coverage": share, "error": error, "median_width": width})
    table = pd.DataFrame(rows)
    print(table.round(3).to_string(index=False))
    write_text(a.results / "benchmarks" / "coverage.csv", table.to_csv(index=False))
    out = table[(table["coverage"] < 0.93) | (table["coverage"] > 0.97)]
    print(f"{len(table) - len(out)} of {len(table)} intervals hold the truth in 93 to 97 % of {a.studies} studies")
    return 0


if __name__ == "__main__":
    sys.exit(main())
