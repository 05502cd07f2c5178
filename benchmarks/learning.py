"""Does each method learn? Its own objective on held-out prompts, against a control that differs in one thing: its rewards are shuffled.

For every method and seed the embedded model is trained twice with one token budget, once on true rewards and once on rewards that have
changed places (for supervised fine-tuning: on answers that have). Both policies then answer prompts that neither saw. Reward models are
fitted on true and on shuffled labels likewise. Started again, what is done is not done again; rows, tables and figures go to
RESULTS/learning/, which the book reads.

    python benchmarks/learning.py --reward-models              # everything: on two cores hours, dpa half a day, rlvr a day
    python benchmarks/learning.py --methods dpa rlvr           # on a GPU minutes, seeds and controls (--seeds, --only) side by side
    python benchmarks/learning.py --methods rsft dpo           # two processes, each with other methods, may share the work
                                                               # once runs/learning/start is there
    python benchmarks/learning.py --methods --steer            # DPO's and the start policy asked for directions and for brevity
    python benchmarks/learning.py --methods                    # tables and figures of what there is
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import math
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from tradeoffs import figures
from tradeoffs.alignment import align
from tradeoffs.alignment.common import Judges, judges
from tradeoffs.alignment.evaluation import HeldOut, evaluate, margins, nll
from tradeoffs.analysis import claims, learning, wilson
from tradeoffs.models import Policy, load
from tradeoffs.parameters import AlignParameters
from tradeoffs.preferences.data import read_pairs
from tradeoffs.records import Row, TrainingStep, append_jsonl, provenance, read_jsonl, read_rows, write_text
from tradeoffs.tasks.examples import held_out_examples

DATA = Path(os.environ.get("TRADEOFFS_DATA", "../shared/data"))
PAIRS = "alpaca-eval-pairs"
ANGLES = [22.5 * step for step in range(-4, 5)]  # what DPA is asked for: what it was trained on, and between
# Brief above all (-75 degrees): what methods are rewarded for here, but for SFT, RLVR and DPA. Length is measured without error, while the
# reward model's helpfulness is not; small runs can show learning of the one sooner than of the other.
WEIGHTS = [0.2588, -0.9659]
STARTS: dict[str, dict[str, Any]] = {
    "start": dict(method="sft", domain="mixed", token_budget=30_000, batch_size=4, learning_rate=1e-3, seed=50),
    # RLVR learns from tasks that are passed now and then: after the training above 2 to 8 % of samples pass at temperature 1
    "start-code": dict(method="sft", domain="code", token_budget=180_000, batch_size=4, learning_rate=1e-3, seed=51),
}
# One policy for each trade-off, to set beside DPA's one for all; not compared with controls.
FIXED = {"scalarization-45m": [0.7071, -0.7071], "scalarization-45p": [0.7071, 0.7071]}
SAMPLED: dict[str, Any] = dict(
    domain="general", prompts=24, samples=4, max_new_tokens=44, weights=WEIGHTS, token_budget=11_000, learning_rate=2e-3
)
ONLINE = SAMPLED | dict(batch_size=16, learning_rate=1e-3)
# Budgets are chosen for each method, from trials on seed 0; true and shuffled runs have the same.
RUNS: dict[str, dict[str, Any]] = {
    "sft": dict(method="sft", domain="code", batch_size=4, token_budget=10_000, learning_rate=1e-3),
    "rsft": SAMPLED | dict(method="rsft", prompts=48, samples=8, token_budget=45_000),
    # Every direction's answer to a prompt is chosen from the same 25. The cap leaves room for long ones: what is cut is never kept. Some
    # 300 steps, eleven passes: answers are learnt by heart first, what a direction means later.
    "dpa": SAMPLED
    | dict(method="dpa", instructions="code-alpaca-2k", prompts=200, samples=5, angles_per_prompt=5)
    | dict(angles=[-90.0, -45.0, 0.0, 45.0, 90.0], max_new_tokens=120, max_length=220)
    | dict(batch_size=40, token_budget=1_700_000, learning_rate=3e-3),
    "dpo": SAMPLED | dict(method="dpo", batch_size=4, learning_rate=1e-3),
    # on real pairs, judged by pairs beyond the first 200; they are long: two at a time take half the memory
    "dpo-pairs": dict(method="dpo", preferences=PAIRS, data_limit=200)
    | dict(batch_size=4, micro_batch=2, token_budget=40_000, learning_rate=3e-4),
    "rrhf": SAMPLED | dict(method="rrhf", batch_size=4, prompts=32, samples=6, token_budget=36_000),
    "ppo": ONLINE | dict(method="ppo", token_budget=60_000, beta=0.02),
    "rloo": ONLINE | dict(method="rloo", token_budget=20_000),
    # a verdict is one bit: many responses a step, and tokens that take minutes on a GPU and a day on two cores
    "rlvr": ONLINE
    | dict(
        method="rlvr", domain="code", samples=8, prompts=4096, batch_size=256, micro_batch=32, token_budget=1_600_000
    )
    | dict(max_new_tokens=32, temperature=1.0, beta=0.02, learning_rate=1e-3),
    # under DPA's cap and with about as many passes over what is kept, but a tenth of its responses: what two cores can do
    **{
        name: SAMPLED
        | dict(method="scalarization", weights=v, instructions="code-alpaca-2k", prompts=50, samples=10)
        | dict(max_new_tokens=120, max_length=220, batch_size=8, token_budget=90_000)
        for name, v in FIXED.items()
    },
}
FAMILIES = {
    "imitation": ("sft", "dpo", "dpo-pairs"),
    "selection": ("rsft", "rrhf", "dpa"),
    "reinforcement": ("ppo", "rloo", "rlvr"),
}
HELD_OUT = {"code": 32, "general": 40}
SAMPLES = 4  # responses to each; to each direction twice as many, since directions are compared with each other
EVALUATIONS = 5  # while a policy trains
PAIRS_TOLD = ("seeds", "true", "shuffled", "difference", "low", "high")
STEERED, BRIEFLY = (
    [-90.0, 0.0, 90.0],
    "Be brief.",
)  # what policies are asked for that were never taught to be asked


class Outcome(Row):
    """One response of one run to a held-out prompt; `sft` has a reference answer's likelihood instead, `dpo-pairs` a pair's margin."""

    run: str
    settings: str
    seed: int
    shuffled: bool
    held_out: HeldOut | None = None
    prompt: int | None = None
    nll: float | None = None
    margin: float | None = None


def settings(run: str) -> str:
    """Digest of everything that decides a run's numbers but the seed: rows made with other settings are not used."""
    told = [RUNS.get(run, run), STARTS[start_of(run)], held_out(run), samples(run)]
    if run == "start-code":  # measured as the policies are that start from it
        told.append([RUNS["rlvr"][name] for name in ("temperature", "max_new_tokens")])
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:12]


def start_of(run: str) -> str:
    """Which policy a run starts from."""
    return "start-code" if run in ("rlvr", "start-code") else "start"


def held_out(run: str) -> dict[str, int]:
    """How many prompts of each domain a run is measured on."""
    return HELD_OUT | ({"code": 64} if start_of(run) == "start-code" else {})


def samples(run: str) -> int:
    """How many responses to each prompt a run is measured on."""
    return 2 * SAMPLES if run == "dpa" else SAMPLES


def measured(kept: Path) -> list[Outcome]:
    """The outcomes that were made with the present settings."""
    return [row for row in read_rows(kept / "outcomes.jsonl", Outcome) if row.settings == settings(row.run)]


def parameters(run: str, seed: int, shuffled: bool, work: Path) -> AlignParameters:
    """The parameters of one run."""
    given = RUNS[run] | {"seed": seed, "shuffle_rewards": shuffled, "out": str(folder(work, run, seed, shuffled))}
    # evaluations change nothing that is trained: they are not among the settings
    given |= sources(run) | {"workers": max(2, (os.cpu_count() or 2) // 4)}
    given |= {"evaluations": 0 if run in FIXED else EVALUATIONS}
    if run != "sft":
        given["start"] = str(work / start_of(run) / "adapter")
    return AlignParameters(**given)


def sources(run: str) -> dict[str, str]:
    """The real data that a run learns from, by parameter."""
    return {
        name: str(DATA / where / f"{RUNS[run][name]}.jsonl.gz")
        for name, where in (("preferences", "preferences"), ("instructions", "sft"))
        if name in RUNS[run]
    }


def folder(work: Path, run: str, seed: int, shuffled: bool) -> Path:
    """Where a run trains."""
    return work / f"{run}-{seed}{'-shuffled' if shuffled else ''}"


def outcomes(p: AlignParameters, run: str, start: Policy, of: Judges) -> Iterator[Outcome]:
    """Measure a trained policy, or the start policy where `p.out` holds none."""
    adapter = Path(p.out) / "adapter"
    policy = load(p.model, str(adapter)) if adapter.is_dir() else start
    examples = held_out_examples(p.domain, held_out(run)[p.domain])
    tags: dict[str, Any] = dict(run=run, settings=settings(run), seed=p.seed, shuffled=p.shuffle_rewards)
    if p.method == "sft":
        yield from (Outcome(**tags, prompt=n, nll=value) for n, value in enumerate(nll(policy, examples)))
        return
    if p.preferences:
        # two in five are short enough: 48 pairs
        pairs = read_pairs(p.preferences)[0][p.data_limit :][: 3 * HELD_OUT["general"]]
        yield from (Outcome(**tags, prompt=n, margin=value) for n, value in enumerate(margins(policy, start, pairs)))
        return
    for angle in ANGLES if p.method == "dpa" else [None]:
        rows = evaluate(
            policy,
            start,
            examples,
            of,
            angle=angle,
            samples=samples(run),
            temperature=p.temperature,
            max_new_tokens=p.max_new_tokens,
            seed=p.seed,
        )
        yield from (Outcome(**tags, held_out=row) for row in rows)


def first_policy(name: str, work: Path) -> Policy:
    """A policy that training starts from."""
    align(AlignParameters(**STARTS[name], out=str(work / name)))
    return load("embedded", str(work / name / "adapter"))


def asked_as(run: str) -> str:
    """Digest of everything that decides what `steer` finds but the seed."""
    told = [settings(run), RUNS["dpa"]["max_new_tokens"], STEERED, BRIEFLY]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:12]


def steer(run: str, seed: int, work: Path, start: Policy, of: Judges, kept: Path) -> None:
    """Ask a policy without a dial for directions, as DPA's is, and in plain words; once.

    Args:
        run: `dpo`, whose policy of this seed is asked, or `start`, the fine-tuned policy, of which there is one: the seed is of sampling.
    """
    path = kept / "steered.jsonl"
    if any(row["run"] == run and row["seed"] == seed and row["settings"] == asked_as(run) for row in read_jsonl(path)):
        return
    p = parameters("dpo", seed, False, work)
    policy = start
    if run == "dpo":
        align(p)
        policy = load(p.model, str(Path(p.out) / "adapter"))
    examples = held_out_examples(p.domain, HELD_OUT[p.domain])
    asked: list[tuple[float | None, str]] = [*((angle, "") for angle in STEERED), (None, ""), (None, BRIEFLY)]
    found = []
    for angle, words in asked:
        told = [example._replace(prompt=f"{example.prompt} {words}".strip()) for example in examples]
        rows = evaluate(
            policy,
            start,
            told,
            of,
            angle=angle,
            samples=2,
            temperature=p.temperature,
            max_new_tokens=RUNS["dpa"]["max_new_tokens"],
            seed=seed,
        )
        tags = {"run": run, "settings": asked_as(run), "seed": seed, "words": words}
        found += [tags | row.model_dump(include={"angle", "helpfulness", "verbosity", "tokens"}) for row in rows]
    append_jsonl(path, found)


def measure_start(name: str, start: Policy, of: Judges, kept: Path) -> None:
    """Measure a policy that training starts from, once."""
    if any(row.run == name for row in measured(kept)):
        return
    like = AlignParameters(**RUNS["rlvr" if name == "start-code" else "rsft"])
    examples = held_out_examples(like.domain, held_out(name)[like.domain])
    cap = like.max_new_tokens
    rows = evaluate(start, start, examples, of, samples=SAMPLES, temperature=like.temperature, max_new_tokens=cap)
    found = [Outcome(run=name, settings=settings(name), seed=0, shuffled=False, held_out=row) for row in rows]
    append_jsonl(kept / "outcomes.jsonl", found)
    report(name, 0, False, found, 0, 0.0, 0.0)


def note_where(run: str, path: Path) -> None:
    """Note where and with what a run was made, the last of its kind."""
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    write_text(path, json.dumps(known | {run: provenance().model_dump()}, indent=1) + "\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Train and measure what is missing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--methods", nargs="*", default=list(RUNS), choices=list(RUNS))
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--work", type=Path, default=Path("runs/learning"), help="where policies are trained")
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--only", choices=["true", "shuffled"], help="leave the other half out")
    parser.add_argument(
        "--steer", action="store_true", help="ask DPO's policies and the start policy for directions, too"
    )
    parser.add_argument("--reward-models", action="store_true", help="fit reward models, too")
    a = parser.parse_args(argv)
    kept = a.results / "learning"
    of = judges(AlignParameters(domain="mixed"))
    starts = {}
    for name in sorted({start_of(run) for run in a.methods}):
        starts[name] = first_policy(name, a.work)
        measure_start(name, starts[name], of, kept)
    done = {(row.run, row.seed, row.shuffled) for row in measured(kept)}
    for seed in a.seeds:
        for run in a.methods:
            for shuffled in (False, True):
                if (
                    (run, seed, shuffled) in done
                    or (shuffled and run in FIXED)
                    or not all(Path(file).exists() for file in sources(run).values())
                    or a.only == ("true" if shuffled else "shuffled")
                ):
                    continue
                began = time.perf_counter()
                p = parameters(run, seed, shuffled, a.work)
                record = align(p)
                trained = time.perf_counter() - began
                found = list(outcomes(p, run, starts[start_of(run)], of))
                steps = read_rows(Path(p.out) / "steps.jsonl", TrainingStep)
                append_jsonl(
                    kept / "steps.jsonl",
                    [
                        {"run": run, "settings": settings(run), "seed": seed, "shuffled": shuffled} | s.model_dump()
                        for s in steps
                    ],
                )
                append_jsonl(kept / "outcomes.jsonl", found)
                note_where(run, kept / "provenance.json")
                report(run, seed, shuffled, found, record.summary["tokens"], trained, time.perf_counter() - began)
    if a.steer:
        start = starts.get("start") or first_policy("start", a.work)
        for run, seed in itertools.product(("dpo", "start"), a.seeds):
            steer(run, seed, a.work, start, of, kept)
    if a.reward_models:
        fit_reward_models(a.seeds, kept / "reward_models.csv")
    summarise(kept)
    return 0


def fit_reward_models(seeds: Sequence[int], path: Path) -> None:
    """Fit both kinds of reward model on true and on shuffled labels, and write their held-out accuracy."""
    from tradeoffs.preferences.reward_model import KINDS, fit

    known = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=["kind", "data", "seed", "shuffled"])
    done = set(known[["kind", "data", "seed", "shuffled"]].itertuples(index=False, name=None))
    sources = [(kind, "own", "", None) for kind in KINDS]
    for name in ("hh-rlhf-harmless-base-test", PAIRS):
        if (file := DATA / "preferences" / f"{name}.jsonl.gz").exists():
            sources.append(("bradley-terry", name, str(file), 400))
    rows = known.to_dict("records")
    for kind, name, file, limit in sources:
        for seed in seeds:
            for shuffled in (False, True):
                if (kind, name, seed, shuffled) in done or (file and seed):
                    continue
                model = fit(load("embedded"), kind, file, seed, shuffled=shuffled, limit=limit)
                row = {"kind": kind, "data": name, "seed": seed, "shuffled": shuffled}
                row |= {"accuracy": model.accuracy, "longer": model.longer, "pairs": model.pairs}
                if model.accuracy is not None:
                    row |= dict(zip(("low", "high"), wilson(model.accuracy * model.pairs, model.pairs), strict=True))
                rows.append(row | model.correlations)
                print(f"reward model {rows[-1]}", flush=True)
                write_text(path, pd.DataFrame(rows).to_csv(index=False))


def summarise(kept: Path) -> None:
    """Tables and figures of everything measured so far."""
    flat = [
        row.model_dump(exclude={"held_out"}) | (row.held_out.model_dump() if row.held_out else {})
        for row in measured(kept)
    ]
    rows = pd.DataFrame(flat).reindex(columns=[*Outcome.model_fields, *HeldOut.model_fields]).drop(columns=["held_out"])
    weights = {
        run: given["weights"] for run, given in RUNS.items() if "weights" in given and run not in ("rlvr", "dpa")
    }
    trained = RUNS["dpa"]["angles"]
    rows["objective"] = learning.objective(rows, weights, trained)
    write_text(
        kept / "weights.json",
        json.dumps({run: given["weights"] for run, given in RUNS.items() if "weights" in given}) + "\n",
    )
    budgets = {run: RUNS[run]["token_budget"] for run in RUNS if run in set(rows["run"])}
    write_text(kept / "budgets.json", json.dumps(budgets) + "\n")
    ran = [run for run in RUNS if run in set(rows["run"])]
    columns = ["run", "seed", "angle", "words", "tokens", "helpfulness", "verbosity"]
    asked = pd.DataFrame(row for row in read_jsonl(kept / "steered.jsonl") if row["settings"] == asked_as(row["run"]))
    asked = asked.reindex(columns=columns)
    # the start policy under DPA's cap, asked for directions and not
    own_start = asked[(asked["run"] == "start") & (asked["words"] == "")]
    turned_start, plain_start = (own_start[told] for told in (own_start["angle"].notna(), own_start["angle"].isna()))
    table = learning.effects(rows[rows["run"].isin(ran)], learning.before(rows, weights, trained, turned_start))
    figures_made = {}
    if len(table):
        table = table.set_index("run").loc[[run for run in ran if run in set(table["run"])]].reset_index()
        write_text(kept / "effects.csv", table.to_csv(index=False))
        start = rows[rows["run"] == "start"]
        figures_made = {
            "learning": figures.learning(table),
            # beside the start policy under the same cap
            "price": figures.price(table[~table["run"].isin(["rlvr", "dpa"])], start[["tokens", "entropy"]].mean()),
        }
    pairs = rows[rows["margin"].notna()]
    (ahead,) = learning.effects(pairs.assign(objective=100.0 * (pairs["margin"] > 0))).to_dict("records") or [{}]
    write_text(kept / "pairs.json", json.dumps({k: v for k, v in ahead.items() if k in PAIRS_TOLD}, indent=1) + "\n")
    dpa = rows[(rows["run"] == "dpa") & ~rows["shuffled"]]
    if len(dpa):
        # whether it works is judged by the directions that it was trained on; those between are shown beside them
        own = dpa[dpa["angle"].isin(trained)]
        matrix, turned = learning.directions(own), learning.dial(dpa)
        control = learning.dial(rows[(rows["run"] == "dpa") & rows["shuffled"]])
        if len(control) == len(turned):
            turned = turned.join(control.drop(columns="angle").add_prefix("shuffled_"))
        turned.insert(1, "trained", turned["angle"].isin(trained))
        write_text(kept / "dial.csv", turned.to_csv(index=False))
        write_text(kept / "directions.csv", matrix.to_csv(index_label="asked"))
        ahead, rises = learning.dominance(own), learning.monotone(own)
        write_text(kept / "dominance.csv", ahead.to_csv(index=False))
        told = {"trained": trained, "verdict": claims.c7(rises, ahead).verdict}
        write_text(kept / "monotone.json", json.dumps(rises | told) + "\n")
        write_text(kept / "front.json", json.dumps(front(rows, dpa, plain_start)) + "\n")
        if len(asked):
            table_of = pd.concat([asked, dpa.assign(words="")])[columns]
            write_text(kept / "steered.csv", table_of.to_csv(index=False))
        figures_made["dial"] = figures.dial(turned, matrix)
        points = plane_points(rows, turned, turned_start, plain_start)
        write_text(kept / "plane.csv", points.to_csv(index=False))
        figures_made["plane"] = figures.plane(points)
    logged = [row for row in read_jsonl(kept / "steps.jsonl") if row["settings"] == settings(row["run"])]
    # A run that was killed between its two files is measured again, and its steps stand there twice.
    steps = (
        pd.DataFrame(logged).drop_duplicates(["run", "seed", "shuffled", "kind", "step"]) if logged else pd.DataFrame()
    )
    (kept / "first_met.json").unlink(missing_ok=True)
    if len(steps) and {True, False} <= set(
        (own := steps[(steps["run"] == "rlvr") & (steps["kind"] == "step")])["shuffled"]
    ):
        given = RUNS["rlvr"]
        if own["step"].max() * given["batch_size"] <= given["prompts"] * given["samples"]:  # else prompts came again
            write_text(kept / "first_met.json", json.dumps(learning.first_met(own), indent=1) + "\n")
    for family, runs in FAMILIES.items():
        if len(steps) and (own := [run for run in runs if run in set(steps["run"])]):
            part = steps[steps["run"].isin(own)]
            part = part.sort_values("run", key=lambda names: names.map(own.index), kind="stable")
            curves = learning.curves(part)
            write_text(kept / f"curves_{family}.csv", curves.to_csv(index=False, float_format="%.5g"))
            figures_made[f"curves_{family}"] = figures.learning_curves(curves)
            watched = learning.evaluations(part)
            if len(watched):
                write_text(kept / f"evaluations_{family}.csv", watched.to_csv(index=False, float_format="%.5g"))
                figures_made[f"evaluations_{family}"] = figures.evaluations(watched)
    for name, figure in figures_made.items():
        write_text(kept / f"{name}.svg", figures.to_svg(figure))


def angle_of(run: str) -> int:
    """The direction that a policy for one trade-off is trained for, degrees."""
    helpful, verbose = FIXED[run]
    return round(math.degrees(math.atan2(verbose, helpful)))


def front(rows: pd.DataFrame, dpa: pd.DataFrame, start: pd.DataFrame) -> dict[str, Any]:
    """DPA's policy against one for each trade-off; {} where their answers, or the start policy's, may be of different length."""
    caps = {RUNS[run]["max_new_tokens"] for run in ("dpa", *FIXED)}
    angles = [angle_of(run) for run in FIXED]
    own = rows[rows["run"].isin(FIXED)]
    if len(caps) > 1 or not len(start):
        return {}
    helpfulness, verbosity = start[["helpfulness", "verbosity"]].mean()
    found = learning.front(dpa[dpa["angle"].isin(angles)], own, (float(helpfulness), float(verbosity)))
    each = max(RUNS[run]["token_budget"] for run in FIXED)
    return found | {"tokens": [RUNS["dpa"]["token_budget"], each]} if found else {}


def plane_points(
    rows: pd.DataFrame, turned: pd.DataFrame, turned_start: pd.DataFrame, start: pd.DataFrame
) -> pd.DataFrame:
    """DPA's directions, the scalarised policies and the start policy, asked for directions and not, in the plane of both attributes."""
    cap = {run: RUNS[run]["max_new_tokens"] for run in ("dpa", *FIXED)}
    both = ["helpfulness", "verbosity"]
    own = [name for name in turned if name != "trained" and not name.startswith("shuffled_")]
    turned = turned.loc[turned["trained"], own]
    found = [
        {"kind": "dpa", "label": f"{row['angle']:g}°", "cap": cap["dpa"]} | row for row in turned.to_dict("records")
    ]
    fixed = ((run, f"v at {angle_of(run)}°", "scalarisation", rows[rows["run"] == run]) for run in FIXED)
    for run, label, kind, own in (
        ("dpa", "start, asked likewise", "start", turned_start),
        ("dpa", "start", "start", start),
        *fixed,
    ):
        if len(own):
            found.append({"kind": kind, "label": label, "cap": cap[run]} | learning.over_seeds(own, both))
    return pd.DataFrame(found)


def report(
    run: str, seed: int, shuffled: bool, found: Sequence[Outcome], tokens: int, trained: float, seconds: float
) -> None:
    """Print one line on a run."""
    rows = [row.held_out for row in found if row.held_out]
    if rows:
        text = "  ".join(
            f"{name} {sum(values) / len(values):.3f}"
            for name in ("helpfulness", "verbosity", "tokens", "entropy", "kl")
            if (values := [value for row in rows if (value := getattr(row, name)) is not None])
        )
        text += f"  right {sum(row.helpfulness == 100 for row in rows) / len(rows):.3f}"
    elif found[0].margin is not None:
        text = f"ahead {sum((row.margin or 0.0) > 0 for row in found) / len(found):.3f}"
    else:
        text = f"nll {sum(row.nll or 0.0 for row in found) / len(found):.4f}"
    kind = "shuffled" if shuffled else "true"
    print(f"{run} seed {seed} {kind}: {text}  ({tokens} tokens, {trained:.0f} s training, {seconds:.0f} s)", flush=True)


if __name__ == "__main__":
    sys.exit(main())
