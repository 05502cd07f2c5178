"""The alignment chapters' tables, figures and sentences, from `results/learning/` and `results/benchmarks/`, which no profile owns.

Sentences follow the data: a method is said to learn only where true rewards are ahead after adjustment for the number of runs, and what is
missing is named with the command
that makes it.
"""

from __future__ import annotations

import html
import itertools
import json
import math
import shutil
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import study_tables as tables

COMMAND = "python benchmarks/learning.py"
COST = "python benchmarks/alignment.py"
CURVES = (
    "curves_imitation",
    "curves_selection",
    "curves_reinforcement",
    "evaluations_imitation",
    "evaluations_selection",
    "evaluations_reinforcement",
)
FIGURES = ("learning", "price", "dial", "plane", *CURVES)
DATA = ("effects", "dial", "directions", "dominance", "plane", *CURVES)
LEVEL = 0.05
# had other settings before, which had shown nothing; and another measure of their objective
TRIED_AGAIN, MEASURED_AGAIN = ("rsft", "rrhf", "ppo", "dpa", "rlvr"), ("dpa", "dpo-pairs")
SENTENCES = ("sft", "dpo", "dpo-pairs", "rsft", "rrhf", "dpa", "ppo", "rloo", "rlvr")


def _read(path: Path) -> list[dict[str, str]]:
    return tables.read(path) if path.exists() else []


def _points(run: str, text: str) -> str:
    """A number of the table of effects: nats for sft and for pairs, points for the others."""
    value = float(text) if text else math.nan
    return "–" if math.isnan(value) else f"{value:.3f}" if run == "sft" else f"{value:.1f}"


def effects_table(rows: list[dict[str, str]]) -> tables.Table:
    """Lay out `effects.csv`."""
    head = [
        "Run",
        "Start policy",
        "True rewards",
        "Shuffled",
        "Difference",
        "95 % interval",
        "Adjusted p",
        "True less start",
        "Seeds",
        "Learns",
    ]
    body = []
    for row in rows:
        run = row["run"]
        shown = [
            _points(run, row.get(name, "")) for name in ("before", "true", "shuffled", "difference", "low", "high")
        ]
        gain = [_points(run, row.get(name, "")) for name in ("gain", "gain_low", "gain_high")]
        body.append(
            [
                f"`{run}`",
                *shown[:4],
                f"{shown[4]} to {shown[5]}",
                f"{float(row['p_adjusted']):.3f}" if row.get("p_adjusted") else "–",
                "–" if "–" in gain else f"{gain[0]} ({gain[1]} to {gain[2]})",
                row["seeds"],
                "yes" if row["learns"] == "True" else "not shown",
            ]
        )
    return [head, *body] if body else []


def cost_table(rows: list[dict[str, str]], where: dict[str, Any]) -> tables.Table:
    """Lay out `alignment.csv`."""
    setting = f"{where.get('cores', '?')} cores of {where.get('hardware', 'an unknown processor')}"
    head = [
        setting,
        "Trainer (tokens/s)",
        "Bare passes (tokens/s)",
        "Times as long",
        "95 % interval",
        "Of it sampling and rewards",
    ]
    body = [
        [
            f"`{row['method']}`",
            f"{float(row['trainer_tokens_per_s']):.0f}",
            f"{float(row['bare_tokens_per_s']):.0f}",
            f"{float(row['overhead']):.2f}",
            f"{float(row['low']):.2f} to {float(row['high']):.2f}",
            f"{100 * float(row['sampling_share']):.0f} %",
        ]
        for row in rows
    ]
    return [head, *body] if body else []


def reward_table(rows: list[dict[str, str]]) -> tables.Table:
    """Lay out `reward_models.csv`: a row a kind and data set, true beside shuffled."""
    groups: dict[tuple[str, str], dict[bool, list[dict[str, str]]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        groups[row["kind"], row["data"]][row["shuffled"] == "True"].append(row)
    head = [
        "Reward model",
        "Data",
        "Held-out pairs right",
        "Shuffled labels",
        "The longer one is the better",
        "Pairs",
        "Seeds",
        "Correlations",
    ]
    counted = ("kind", "data", "seed", "shuffled", "accuracy", "low", "high", "longer", "pairs")
    body = []
    for (kind, data), of in groups.items():
        if not of[False]:
            continue
        accuracies = [_mean(of[shuffled], "accuracy") for shuffled in (False, True)] + [_mean(of[False], "longer")]
        named = [name for name in of[False][0] if name not in counted]
        found = [f"{name} {_mean(of[False], name):.2f}" for name in named if not math.isnan(_mean(of[False], name))]
        shares = ["–" if math.isnan(a) else f"{100 * a:.0f} %" for a in accuracies]
        limits = [(float(row["low"]), float(row["high"])) for row in of[False] if row.get("low") and row.get("high")]
        if limits:
            shares[0] += f" ({100 * min(low for low, _ in limits):.0f} to {100 * max(high for _, high in limits):.0f})"
        body.append([f"`{kind}`", data, *shares, of[False][0]["pairs"], str(len(of[False])), ", ".join(found)])
    return [head, *body] if body else []


def _mean(rows: list[dict[str, str]], name: str) -> float:
    values = [float(row[name]) for row in rows if row.get(name)]
    return sum(values) / len(values) if values else math.nan


def sentence(row: dict[str, str]) -> str:
    """Say what one run's row shows."""
    run = row["run"]
    shown = {
        name: _points(run, row.get(name, "")) for name in ("before", "true", "shuffled", "difference", "low", "high")
    }
    unit = {
        "sft": "nats per token of the reference answers (their log-likelihood)",
        "dpo-pairs": "nats (the chosen answer's lead over the rejected one's)",
    }.get(run, "points")
    taught = ("answers", "answers that changed places") if run == "sft" else ("rewards", "shuffled ones")
    text = f"`{run}` reached {shown['true']} {unit} with true {taught[0]} and {shown['shuffled']} with {taught[1]}"
    if shown["before"] != "–":
        text += f", from {shown['before']} before training"
    if shown["low"] == "–":
        return f"{text}; one seed gives no interval."
    between = f"a difference of {shown['difference']} ({shown['low']} to {shown['high']}, {row['seeds']} seeds)"
    if row["learns"] == "True":
        gains = {name: float(row.get(name) or math.nan) for name in ("gain", "gain_low")}
        if gains["gain"] < 0:
            return f"{text}: {between}. With true rewards it loses less than with shuffled ones; over the start policy nothing is gained."
        more = " Its gain over the start policy alone is not shown." if gains["gain_low"] <= 0 else ""
        if not more and gains["gain"] > 2 * float(row["difference"]):
            more = " Most of what it gained over the start policy its control gained, too."
        return f"{text}: {between}. It learns.{more}"
    told = float(row.get("p_adjusted") or math.nan)
    if float(row["high"]) < 0 and not told >= LEVEL:
        return f"{text}: {between}. It does worse than its control."
    many = f" (p = {told:.3f} after adjustment for all runs)" if float(row["low"]) > 0 or float(row["high"]) < 0 else ""
    return f"{text}: {between}. At this budget learning is not shown{many}."


def _compared(text: str, found: dict[str, Any], rest: str) -> str:
    """End a sentence on true against shuffled with their difference in points, and what follows from it."""
    if math.isnan(found["low"]):
        return f"{text}; one seed gives no interval."
    return f"{text}: a difference of {found['difference']:.1f} points ({found['low']:.1f} to {found['high']:.1f}){rest}"


def pairs_sentence(found: dict[str, Any]) -> str:
    """Say of how many held-out pairs the chosen answer is ahead."""
    if not found:
        return ""
    text = (
        f"Against the start policy, the chosen answer gains on the rejected one in {found['true']:.1f} % of held-out pairs, "
        f"{found['shuffled']:.1f} % after shuffled ones"
    )
    return _compared(text, found, ". This was looked at first; the lead, which tells more of each pair, after it.")


def first_met_sentence(found: dict[str, Any]) -> str:
    """What the samples of RLVR's own steps show, on tasks that were new to it."""
    if not found:
        return ""
    text = (
        f"On tasks met for the first time while it trained, after its first update ({found['steps']} steps, {found['seeds']} seeds), "
        f"{found['true']:.1f} % of samples passed with true rewards and {found['shuffled']:.1f} % with shuffled ones, "
        f"{found['before']:.1f} % before any update"
    )
    over = f"over the first step they gain {found['gain']:.1f} points ({found['gain_low']:.1f} to {found['gain_high']:.1f})"
    if found["low"] <= 0:
        verdict = "learning is not shown there"
    elif found["gain_low"] > 0:
        verdict = f"true rewards teach: {over}"
    elif found["gain"] > 0:
        verdict = f"true rewards are ahead; {over}, which is not shown to be a gain"
    else:
        verdict = "true rewards keep what shuffled ones lose, and gain nothing over the start policy"
    return _compared(text, found, f"; {verdict}.")


def overall(rows: list[dict[str, str]]) -> str:
    """Say which runs learn."""
    learns = [f"`{row['run']}`" for row in rows if row["learns"] == "True"]
    rest = [f"`{row['run']}`" for row in rows if row["learns"] != "True"]
    text = f"Learning is shown for {len(learns)} of {len(rows)} runs" + (f": {', '.join(learns)}." if learns else ".")
    if rest:
        text += f" Not shown for {', '.join(rest)}."
    left = [f"`{run}`" for run in SENTENCES if run not in {row["run"] for row in rows}]
    text += f" Still to be measured: {', '.join(left)}." if left else ""
    again, measured = ([run for run in of if f"`{run}`" in learns] for of in (TRIED_AGAIN, MEASURED_AGAIN))
    if again:
        text += f" Before, {_listed(again)} had other settings, which had shown nothing."
    if measured:
        text += f" For {_listed(measured)} the measure was chosen after another had not shown it."
    return text + (f" The adjusted p counts {len(rows)} runs, not those attempts." if again or measured else "")


def _listed(runs: Sequence[str]) -> str:
    words = [f"`{run}`" for run in runs]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def dial_sentence(folder: Path) -> str:
    """Say whether verbosity follows the angle and whether each direction is served best by its own prompt."""
    rows, ahead = _read(folder / "dial.csv"), _read(folder / "dominance.csv")
    if not rows or not ahead or not (folder / "monotone.json").exists():
        return ""
    found = json.loads((folder / "monotone.json").read_text(encoding="utf-8"))
    trained = [row for row in rows if row.get("trained") != "False"]
    text = f"Mean verbosity is {_turned(trained)}: " + (
        "it rises with every step of the angle"
        if found["monotone"]
        else "it does not rise with every step of the angle"
    )
    text += f" (Spearman's rank correlation {', '.join(f'{rho:.2f}' for rho in found['spearman'])} by seed). "
    if len(found["spearman"]) > 1:
        rho, low, high = found["pooled"]
        apart, least, most = found["ends"]
        text += f"Of the mean over seeds the correlation is {rho:.2f} ({low:.2f} to {high:.2f}, over prompts drawn again); the ends are "
        text += f"{apart:.1f} points apart ({least:.1f} to {most:.1f}, over seeds)" + (
            _steepest(trained, bool(found["monotone"])) if least > 0 else ", so that a turn is not shown by its ends. "
        )
    if between := [row for row in rows if row not in trained]:
        text += f"It was trained on these directions alone; asked for others, it gives {_turned(between)}. "
    text += _beside_start(rows, _read(folder / "steered.csv"))
    text = f"**{_verdict(found)}** {text}"
    own = [row for row in ahead if float(row["best_prompt"]) == float(row["angle"])]
    text += f"Of {len(ahead)} directions, {len(own)} are served best by their own prompt"
    if len(found["spearman"]) < 2:
        better = sum(float(row["margin"]) > 0 for row in ahead)
        return f"{text}, and {better} better by it than by the others on average; one seed gives no interval."
    clear, sure = (
        [row for row in of if row.get(low) and float(row[low]) > 0] for of, low in ((ahead, "low"), (own, "lead_low"))
    )
    if own and "lead_low" in own[0]:
        text += f", {len(sure)} of these with an interval of the lead over the best other above zero"
    text += f"; {len(clear)} are served better by it than by the others on average, their intervals being above zero."
    if behind := [row for row in ahead if row not in own and row.get("lead")]:
        text += " Where another prompt does as well or better, it is ahead by " + " and ".join(
            f"{abs(float(row['lead'])):.2f} points ({float(row['angle']):g}°, the prompt for {float(row['rival']):g}°; own less other "
            f"{float(row['lead_low']):.1f} to {float(row['lead_high']):.1f})"
            for row in behind
        )
        text += "."
    return text


def _turned(rows: list[dict[str, str]]) -> str:
    return ", ".join(f"{float(row['verbosity']):.1f} at {float(row['angle']):g}°" for row in rows)


def _steepest(rows: list[dict[str, str]], rises: bool) -> str:
    """Where the dial turns most, to end a sentence on how far it turns."""
    steps = [(float(b["verbosity"]) - float(a["verbosity"]), a, b) for a, b in itertools.pairwise(rows)]
    most, a, b = max(steps, key=lambda step: step[0])
    return (
        f", of which {most:.1f} lie between {float(a['angle']):g}° and {float(b['angle']):g}°. "
        if len(steps) > 1
        else ". "
    )


def _verdict(found: dict[str, Any]) -> str:
    """What the ledger says of arithmetic control, and short of that whether the dial turns."""
    if found.get("verdict") == "supported":
        return "The dial works."
    if found["monotone"] and len(found["spearman"]) > 1 and found["ends"][1] > 0:
        return "The dial turns; that every direction is served best by its own prompt is not shown."
    return "Not shown."


def plane_sentence(rows: list[dict[str, str]], front: dict[str, Any]) -> str:
    """Whether DPA's line may be set beside the policies for one trade-off each: only where their answers have one cap.

    Args:
        front: `front.json`.
    """
    if not rows:
        return ""
    caps = {row["cap"] for row in rows if row["kind"] in ("dpa", "scalarisation")}
    if not {"dpa", "scalarisation"} <= {row["kind"] for row in rows}:
        return "One of the two was not measured."
    if len(caps) == 1:
        text = "Look at whether the line covers the squares: then one policy serves as well as several."
        if front.get("ratio"):
            ratio, low, high = front["ratio"]
            text += (
                f" Asked for the directions that the {front['policies']} were trained for, the one dominates {ratio:.2f} ({low:.2f} to "
                f"{high:.2f}) times the area of theirs, "
            )
            text += "which is less." if high < 1 else "which is more." if low > 1 else "which may be as much."
        if "tokens" in front:
            own, each = front["tokens"]
            text += f" It was trained on {own:,} tokens, each of them on {each:,}."
        return text
    told = " and ".join(
        f"{', '.join(sorted({row['cap'] for row in rows if row['kind'] == kind}))} tokens ({name})"
        for kind, name in (("dpa", "DPA"), ("scalarisation", "the others"))
    )
    return (
        f"Caps on answers differ here, {told}, and a larger cap alone makes answers longer: the line and the squares cannot be compared, "
        "each belongs beside the start policy under its own cap."
    )


def _beside_start(rows: list[dict[str, str]], steered: list[dict[str, str]]) -> str:
    """Say how long answers are at the end that asks for detail, beside the start policy and the control asked the same."""
    last = rows[-1]
    asked = [
        float(row["tokens"])
        for row in steered
        if row["run"] == "start" and row["angle"] and float(row["angle"]) == float(last["angle"])
    ]
    if not asked or not last.get("shuffled_tokens"):
        return ""
    return (
        f"Asked for {float(last['angle']):g}° its answers have {float(last['tokens']):.1f} tokens on average, those of the policy that it "
        f"starts from {sum(asked) / len(asked):.1f}, and of the control that learnt from shuffled rewards "
        f"{float(last['shuffled_tokens']):.1f}. "
    )


def watched_sentence(rows: list[dict[str, str]], run: str) -> str:
    """Say what became of the length of a run's own answers while it trained, and of its control's."""
    found: dict[bool, list[dict[str, str]]] = {False: [], True: []}
    for row in rows:
        if row["run"] == run and row["measure"] == "response_tokens":
            found[row["shuffled"] == "True"].append(row)
    if not found[False] or not found[True]:
        return ""
    first = float(found[False][0]["mean"])
    true, control = (
        f"{float(row['mean']):.1f} (seeds: {float(row['least']):.1f} to {float(row['most']):.1f})"
        for row in (found[False][-1], found[True][-1])
    )
    return (
        f"The answers of `{run}`’s policy to held-out prompts had {first:.1f} tokens before it was trained and {true} after, the "
        f"control’s {control}."
    )


def reward_sentence(rows: list[dict[str, str]]) -> str:
    """Say how well the reward models rank."""
    parts = []
    for kind, data, right, shuffled, longer, pairs, *_ in reward_table(rows)[1:]:
        of = "the project’s own pairs" if data == "own" else data
        part = f"on {of} {kind} ranks {right.split(' (')[0]} of {pairs} held-out pairs right ({shuffled} after shuffled labels"
        parts.append(part + ("" if longer == "–" else f"; a judge of length alone {longer}") + ")")
    text = "; ".join(parts)
    return f"{text[:1].upper() + text[1:]}. {_not_better(rows)}".strip() if parts else ""


def _not_better(rows: list[dict[str, str]]) -> str:
    """Which reward models are not shown to beat chance, or a judge of length alone, by their widest intervals."""
    found: dict[str, list[str]] = {"chance": [], "a judge of length alone": []}
    groups: dict[tuple[str, str], list[dict[str, str]]] = defaultdict(list)
    for row in rows:
        if row["shuffled"] != "True" and row.get("low"):
            groups[row["kind"], row["data"]].append(row)
    for (kind, data), own in groups.items():
        low, longer = min(float(row["low"]) for row in own), _mean(own, "longer")
        name = f"`{kind}` on {'the project’s own pairs' if data == 'own' else data}"
        for rival, value in (("chance", 0.5), ("a judge of length alone", longer)):
            if low <= value:
                found[rival].append(name)
    told = [f"Not shown to be better than {rival}: {', '.join(names)}." for rival, names in found.items() if names]
    return " ".join(told)


def substitutions(results: Path) -> dict[str, str]:
    """What prose may name; keys without data are left out, and the page says so."""
    folder = results / "learning"
    rows = _read(folder / "effects.csv")
    text = {f"learning_{row['run'].replace('-', '_')}": sentence(row) for row in rows if row["run"] in SENTENCES}
    if rows:
        text["learning_all"] = overall(rows)
    weights = _values(folder / "weights.json").get("rsft")
    if weights:
        text["learning_weights"] = f"$v = ({weights[0]:.2f}, {weights[1]:.2f})$"
    if "learning_dpo_pairs" in text:
        counted = pairs_sentence(_values(folder / "pairs.json"))
        length = watched_sentence(_read(folder / "evaluations_imitation.csv"), "dpo-pairs")
        text["learning_dpo_pairs"] = " ".join(filter(None, (text["learning_dpo_pairs"], counted, length)))
    if "learning_rlvr" in text:
        met = first_met_sentence(_values(folder / "first_met.json"))
        text["learning_rlvr"] = f"{text['learning_rlvr']} {met}".strip()
    where = _values(folder / "provenance.json")
    if where and all(isinstance(made, dict) and "hardware" in made for made in where.values()):  # else of an older form
        text["learning_setting"] = setting(where)
    text |= {
        "learning_dial": dial_sentence(folder),
        "learning_plane": plane_sentence(_read(folder / "plane.csv"), _values(folder / "front.json")),
        "learning_reward_models": reward_sentence(_read(folder / "reward_models.csv")),
    }
    missing = {
        "learning_all",
        "learning_weights",
        "learning_setting",
        "learning_dial",
        "learning_plane",
        "learning_reward_models",
        *(f"learning_{run.replace('-', '_')}" for run in SENTENCES),
    }
    found = {key: value for key, value in text.items() if value}
    return dict.fromkeys(missing, f"*Not measured yet: `{COMMAND}` does it.*") | found


def budgets(results: Path, stages: dict[str, Any]) -> dict[str, str]:
    """Say how much the study's aligned policies were trained beside those that learning is shown with."""
    own = sorted(
        {
            int(record["parameters"]["token_budget"])
            for name, record in stages.items()
            if name.startswith("align-")
            and record["parameters"].get("start")
            and record["parameters"].get("token_budget")
            and not record["parameters"].get("shuffle_rewards")
        }
    )
    tried = _values(results / "learning" / "budgets.json")
    learns = {row["run"] for row in _read(results / "learning" / "effects.csv") if row["learns"] == "True"}
    if not own or not learns & set(tried):
        return {"align_budgets": "{numref}`tab-settings` has the budgets of training."}
    each = sorted((tried[run], run) for run in learns if run in tried)
    told = ", ".join(f"{tokens:,} (`{run}`)" for tokens, run in each)
    text = (
        f"Each aligned policy of the study was trained on {' or '.join(f'{n:,}' for n in own)} tokens. In the runs that are shown to learn "
        f"({{ref}}`sec-learning`) methods had {told}, for rewards of their own. Compare each method with itself only: a "
        "difference that is not seen here may mean hardly any training."
    )
    return {"align_budgets": text}


def setting(where: dict[str, dict[str, Any]]) -> str:
    """Where each kind of run was made, and when the last of them."""
    machines: dict[str, list[str]] = defaultdict(list)
    for run, made in where.items():
        torch = (made.get("packages") or {}).get("torch", "")
        machine = made["accelerator"] or f"{made['hardware']}, cores used: {made['cores']}"
        machines[machine + (f", PyTorch {torch}" if torch else "")].append(run)
    # runs from before dates were kept are dated by the commit that brought their rows
    when = {
        run: made["created_utc"] or (made.get("rows_committed") or {}).get("date", "") for run, made in where.items()
    }
    last = {machine: max(when[run] for run in runs)[:10] for machine, runs in machines.items()}
    most = max(machines, key=lambda machine: len(machines[machine]))
    text = f"Measured on {most}" + (f" (last on {last[most]})" if last[most] else "")
    for machine in (name for name in machines if name != most):
        text += f"; {', '.join(f'`{run}`' for run in sorted(machines[machine]))} on {machine} ({last[machine]})"
    return f"{text}."


def _values(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def stage(results: Path, source: Path) -> None:
    """Write tables and figures into `source/_results/learning`; a missing one names the command that makes it."""
    folder, out = results / "learning", source / "_results" / "learning"
    out.mkdir(parents=True, exist_ok=True)
    for name in FIGURES:
        if (folder / f"{name}.svg").exists():
            shutil.copyfile(folder / f"{name}.svg", out / f"{name}.svg")
        else:
            label = html.escape(f"Figure {name}: not made yet. {COMMAND} makes it.")
            (out / f"{name}.svg").write_text(
                '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 120" role="img"><text x="320" y="65" '
                f'text-anchor="middle" font-family="sans-serif" font-size="16" fill="#888">{label}</text></svg>',
                encoding="utf-8",
            )
    for name in DATA:
        if (folder / f"{name}.csv").exists():
            shutil.copyfile(folder / f"{name}.csv", out / f"{name}.csv")
        else:
            tables.write(out / f"{name}.csv", [["Missing", "Command"], [name, COMMAND]])
    cost = results / "benchmarks" / "alignment.csv"
    made = {
        "effects_table": (effects_table(_read(folder / "effects.csv")), COMMAND),
        "reward_table": (reward_table(_read(folder / "reward_models.csv")), COMMAND),
        "cost_table": (cost_table(_read(cost), _values(cost.with_suffix(".json"))), COST),
    }
    for name, (table, command) in made.items():
        tables.write(out / f"{name}.csv", table or [["Missing", "Command"], [name, f"`{command}`"]])
