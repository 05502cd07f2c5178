"""Sentences that qualify a finding: what could not have been seen, what was taken back, what is cut, who is not beaten."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from study_words import finding, interval, number, probability

Summary = Mapping[str, Any]
Rows = Sequence[Mapping[str, str]]
OFTEN = 0.5  # share of answers cut from which on a mean length is only a lower bound
LEVEL = 0.05  # of a single test
SELDOM = 0.05  # share of draws on the front below which a policy is not named


def _names(names: Sequence[str]) -> str:
    shown = [f"`{name}`" for name in names]
    return shown[0] if len(shown) == 1 else ", ".join(shown[:-1]) + f" and {shown[-1]}"


def _changes(summary: Summary, metric: str) -> list[Mapping[str, Any]]:
    """A metric's comparisons, those of aligned policies where there are any."""
    rows = summary.get("comparisons", {})
    aligned = [arm for arm in summary.get("aligned", []) if arm in rows]
    return [rows[arm][metric] for arm in aligned or rows if metric in rows[arm]]


def missed(summary: Summary) -> str:
    """How large a difference of pass rates could have gone unseen, of aligned policies' where there are any."""
    rates = _changes(summary, "pass_rate")
    limits = [100 * rate["detectable"] for rate in rates if rate.get("detectable") is not None]
    if not limits:
        return "No pass rate was compared."
    low, high = (f"{limit:.1f}" for limit in (min(limits), max(limits)))
    told = f"True differences below {low if low == high else f'{low} to {high}'} points would usually be missed."
    rate = summary.get("policies", {}).get(summary.get("baseline", ""), {}).get("pass_rate", {}).get("estimate")
    if rate is not None and 100 * rate < min(limits):
        told += (
            f" The baseline passes {number(100 * rate)} %, which is less: even the loss of every right answer would have gone unseen; "
            "only a gain could have been seen."
        )
    return told


def unseen(summary: Summary, metric: str) -> str:
    """How large a ratio could have gone unseen, by the width of each interval, of aligned policies' where there are any.

    A ratio is seen with a chance of 80 % where its logarithm is the sum of both quantiles, 1.96 and 0.84, in standard errors of which the
    interval spans 2 x 1.96; after adjustment for many comparisons it takes more.
    """
    found = _changes(summary, metric)
    widths = [math.log(row["high"] / row["low"]) for row in found if row.get("low") and row.get("high")]
    if not widths:
        return "How near to one a ratio could lie unseen is not known: no interval has both limits."
    low, high = (f"{math.exp(width * (1.96 + 0.84) / (2 * 1.96)):.2f}" for width in (min(widths), max(widths)))
    if low == high:
        return f"A change smaller than × {low} (or ÷ {low}) would usually be missed."
    return (
        f"For the policy that is measured most precisely a change smaller than × {low} (or ÷ {low}) would usually be missed, for the "
        f"least precisely measured one smaller than × {high}."
    )


def grouped(rows: Rows, by: str, baseline: str) -> str:
    """Where the baseline is right most and least often, and where no arm is right at all."""
    own = [row for row in rows if row.get("arm") == baseline and row.get("pass_rate") and row.get(by)]
    if not own:
        return "Nothing of the baseline was graded."
    passed: dict[str, float] = {}
    for row in rows:
        passed[row[by]] = passed.get(row[by], 0.0) + float(row.get("passed") or 0.0)
    none = [name for name, count in passed.items() if not count]

    def told(row: Mapping[str, str]) -> str:
        limits = (
            f" ({100 * float(row['low']):.0f} to {100 * float(row['high']):.0f})" if row["low"] and row["high"] else ""
        )
        return f"{_called(row[by], by)}, {100 * float(row['pass_rate']):.0f} %{limits} of {row['graded']} answers"

    own.sort(key=lambda row: float(row["pass_rate"]))
    text = f"`{baseline}` is right most often in {told(own[-1])}" + (
        f", least in {told(own[0])}." if len(own) > 1 else "."
    )
    return text + (f" No arm passed any of {' or '.join(_called(name, by) for name in none)}." if none else "")


def _called(name: str, by: str) -> str:
    return f"tier {name.removesuffix('.0')}" if by == "tier" else name


def unsettled(summary: Summary) -> str:
    """Which verdicts the adjustment for many comparisons took back."""
    found = [
        f"{metric.replace('_', ' ')} of `{arm}` (p = {probability(value.get('p_adjusted'))})"
        for arm, row in summary.get("comparisons", {}).items()
        for metric, value in row.items()
        if "after adjustment" in str(value.get("reason") or "")
    ]
    if not found:
        return "Here the adjustment took back no verdict."
    return f"Intervals that exclude no change, but not after adjustment: {', '.join(found)}."


def many(summary: Summary) -> str:
    """How many comparisons look like a finding one by one, and how many after the adjustment for all of them."""
    tested = [
        row for own in summary.get("comparisons", {}).values() for row in own.values() if row.get("p") is not None
    ]
    if not tested:
        return "Here nothing was compared."
    alone = sum(row["p"] < LEVEL for row in tested)
    after = sum(row["p"] < LEVEL and row.get("p_adjusted", row["p"]) < LEVEL for row in tested)
    return f"Of {len(tested)} comparisons made here {alone} have p < {LEVEL:g} by themselves, {after} after adjustment."


def drift(probes: Mapping[str, Sequence[float]]) -> str:
    """How far a fixed piece of work, timed before and after each policy's answers, changed its speed."""
    pairs = {name: own for name, own in probes.items() if len(own) > 1}
    if not pairs:
        return "No such probe was made here."
    moved = {name: abs(own[-1] / own[0] - 1) for name, own in pairs.items()}
    most = max(moved, key=lambda name: moved[name])
    every = [speed for own in pairs.values() for speed in own]
    return (
        f"Here the same work went up to {100 * moved[most]:.1f}\u00a0% faster or slower from before to after one policy's answers "
        f"(`{most}`), and {100 * (max(every) / min(every) - 1):.1f}\u00a0% faster in the best moment of the study than in the worst."
    )


def power(summary: Summary) -> str:
    """What the timing was foretold to see, and what by its own scatter it could."""
    told = summary.get("power") or {}
    if "sd" not in told:
        return "no pilot was run."
    text = (
        f"the pilot's block ratios scattered by {100 * told['sd']:.2f} %, which foretold that changes of {100 * told['detectable']:.1f} % "
        f"would be seen in four of five studies"
    )
    if told.get("sd_run") is not None:
        text += (
            f"; those of the run scattered by {100 * told['sd_run']:.2f} %, with which it takes changes of "
            f"{100 * told['detectable_run']:.1f} %"
        )
    if "power" in told:
        needed = f"{told['needed']} blocks" if told.get("needed") else "more than 1,000 blocks"
        text += (
            f". From the pilot, the chance to find a policy of equal speed equivalent was {100 * told['power']:.0f} % in "
            f"{told['blocks']} blocks ({needed} for 90 %)"
        )
    return f"{text}."


def trusted(summary: Summary) -> str:
    """How the comparisons of the baseline with itself and the changes made on purpose came out."""
    check, made = summary.get("self_check") or {}, summary.get("controls") or {}
    parts = []
    if "studies" in check:
        even = "" if check["uniform_p"] > 0.05 else "not "
        parts.append(
            f"{check['false_alarms']} of {check['studies']} comparisons of the baseline with itself called a difference (up to "
            f"{check['bound']} are to be expected), and their p-values are {even}as even as they should be "
            f"(p = {probability(check['uniform_p'])})"
        )
    for name, row in made.items():
        share = row["share"]
        limits = f" ({share['low']:.3f} to {share['high']:.3f})" if share["low"] is not None else ""
        seen = "nothing" if share["estimate"] is None else f"{share['estimate']:+.3f}{limits}"
        parts.append(
            f"{name.replace('control: ', 'the change ')} was {'found' if row['found'] else 'not found'}: {row['factor']} "
            f"{seen}, in truth {row['true']:+.3f}"
        )
    return f"{'; '.join(parts)}." if parts else "The timing was not put to the test."


def unmerged(summary: Summary) -> str:
    """What an adapter costs that is not merged."""
    rows = summary.get("unmerged") or {}
    told = ", ".join(f"`{name}` {interval(row['ratio'])}" for name, row in rows.items() if row.get("ratio"))
    if not told:
        return "Adapters were timed merged into the weights."
    return (
        f"That is with adapters merged into the weights. Speed with the adapter beside them, over that of the same policy merged: {told}. "
        "It is a matter of deployment, not of alignment."
    )


def joules(summary: Summary) -> str:
    """What a token costs in joules, by how many rows are decoded together, and what the device draws meanwhile."""
    base = summary.get("baseline")
    rows = [
        row
        for row in summary.get("roofline") or []
        if row["policy"] == base and row.get("joules_per_token") is not None and math.isfinite(row["joules_per_token"])
    ]
    if not rows:
        return "Joules were not counted here."
    rows.sort(key=lambda row: row["batch_size"])
    told = [
        f"{number(row['joules_per_token'])} J at {row['batch_size']} row{'s' * (row['batch_size'] > 1)}, drawing {row['watts']:.0f} W"
        for row in rows
    ]
    text = f"A token of `{base}` costs {'; '.join(told)}"
    least, most = rows[0], rows[-1]
    if most["batch_size"] > least["batch_size"]:
        ratio, more = (most["joules_per_token"] / least["joules_per_token"], most["watts"] / least["watts"])
        text += (
            f". {most['batch_size'] / least['batch_size']:g} times as many rows draw {number(more)} times the power, and a token takes "
            f"{number(ratio)} times the joules"
        )
    return f"{text} (medians over blocks, prompt included)."


def tiers(verdicts: Rows) -> str:
    """Which tiers nobody solved, and how many problems the others have, however many policies and seeds answered each."""
    problems: dict[str, set[str]] = {}
    passed = set()
    for row in verdicts:
        if row.get("tier"):
            tier = row["tier"].removesuffix(".0")
            problems.setdefault(tier, set()).add(row["problem_id"])
            if row["status"] == "passed":
                passed.add(tier)
    unsolved, solved = ([tier for tier in sorted(problems) if (tier in passed) is found] for found in (False, True))
    if not unsolved or not solved:
        return ""
    return (
        f"No policy passed any problem of tier {' or '.join(unsolved)}: correctness here means the "
        f"{sum(len(problems[tier]) for tier in solved)} problems of tier {' and '.join(solved)}."
    )


def censored(summary: Summary) -> str:
    """Whose lengths are lower bounds."""
    shares = {arm: row.get("cap_share", {}).get("estimate") for arm, row in summary.get("policies", {}).items()}
    cut = [arm for arm, share in shares.items() if share is not None and share > OFTEN]
    if not cut:
        return "No policy has most of its answers cut, so that means are near true lengths."
    return f"More than half of the answers of {_names(cut)} are cut: they are longer than shown, by an unknown factor."


def most_cut(summary: Summary) -> str:
    """Whose answers are cut most, beside their mean length."""
    rows = {arm: row for arm, row in summary.get("policies", {}).items() if row.get("cap_share", {}).get("estimate")}
    if not rows:
        return "no policy's answers were."
    arm = max(rows, key=lambda name: rows[name]["cap_share"]["estimate"])
    length = rows[arm].get("tokens_per_answer", {}).get("estimate")
    told = "" if length is None else f", so that its mean of {number(length)} tokens is that of the cap and not its own"
    return f"of `{arm}` {interval(rows[arm]['cap_share'])}{told}."


def padded(summary: Summary) -> str:
    """For which policy it matters most to throughput whether padding counts as output."""
    pairs = {
        arm: (row["tokens_per_s"], row["utilisation"]["estimate"])
        for arm, row in summary.get("comparisons", {}).items()
        if row.get("tokens_per_s", {}).get("estimate") and row.get("utilisation", {}).get("estimate")
    }
    if not pairs:
        return "What padding would have added to throughput is not known here."
    arm = max(pairs, key=lambda name: abs(math.log(pairs[name][1])))
    speed, used = pairs[arm]
    return (
        f"Tokens per second of `{arm}` are {interval(speed, change=True)} those of `{summary.get('baseline')}`; had padding been counted "
        f"as output, ×\u00a0{number(speed['estimate'] / used)}."
    )


def order(turn_tokens: str) -> str:
    """How policies are timed within a block, by the throughput stage's `turn_tokens`."""
    if turn_tokens == "0":
        return "in random order, so that drift of the machine meets all alike"
    tokens = "one token" if turn_tokens == "1" else f"{turn_tokens} tokens"
    return (
        f"in turns of {tokens}, whose order is drawn anew each round, so that a few seconds in which the machine is slow meet all alike "
        "({ref}`how much that brings <sec-turns>`)"
    )


def one_family(families: int | None) -> str:
    """What one family of problems is worth in pass rate."""
    if not families:
        return "the share that one has of all."
    return f"one of average size, passed or not, moves it by {number(100 / families)} points."


def acceptance(rows: Rows, draft: str, aligned: Sequence[str] = ()) -> str:
    """Between what and what acceptance lies, of aligned policies where there are any."""
    rows = [row for row in rows if row.get("policy") in aligned] or rows
    shares = {row["policy"]: float(row["alpha"]) for row in rows if row.get("alpha") and row.get("policy") != draft}
    if not shares:
        return "Acceptance was not measured."
    low, high = min(shares, key=lambda name: shares[name]), max(shares, key=lambda name: shares[name])
    return f"It lies between {number(100 * shares[low])}\u00a0% (`{low}`) and {number(100 * min(1.0, shares[high]))}\u00a0% (`{high}`)."


def front(summary: Summary) -> str:
    """Who is not dominated, in how many resamples."""
    shares = {arm: row.get("on_front", {}).get("estimate") for arm, row in summary.get("policies", {}).items()}
    known = sorted(
        ((share, arm) for arm, share in shares.items() if share is not None and share >= SELDOM), reverse=True
    )
    if not known:
        return "No policy is clearly on the front."
    named = ", ".join(f"`{arm}` {100 * share:.0f}\u00a0%" for share, arm in known)
    return f"Resamples in which no other policy is at least as correct and as fast: {named}; all others below {100 * SELDOM:.0f}\u00a0%."


def weights(stages: Mapping[str, Any], others: Mapping[str, Any]) -> str:
    """Whether policies of the same name in two studies are the same, by the digests of their adapters."""

    def adapters(of: Mapping[str, Any]) -> dict[str, str]:
        found = {name: row.get("inputs", {}).get("adapter_sha256") for name, row in of.items()}
        return {
            name.removeprefix("generate-"): sha for name, sha in found.items() if name.startswith("generate-") and sha
        }

    own, other = adapters(stages), adapters(others)
    shared = [name for name in other if name in own]
    if not shared:
        return "others than those of the other pages."
    trained_anew = [name for name in shared if own[name] != other[name]]
    if not trained_anew:
        return "the same weights as on the other pages, other problems."
    how = "trained at another time or with another budget."
    if trained_anew == shared:
        return f"those of the other pages by name, but {how}"
    return f"the same weights as on the other pages, but for {_names(trained_anew)}, which were {how}"


def control(stages: Mapping[str, Any]) -> str:
    """Which policies were trained as much as the aligned ones, and learnt no reward."""
    given = {
        name.removeprefix("align-"): row["parameters"]
        for name, row in stages.items()
        if name.startswith("align-") and not re.search(r"-s\d+$", name)
    }
    chance = [name for name, p in given.items() if p.get("start") and p.get("shuffle_rewards")]
    if not chance:
        return (
            "There is no arm with as much further training and no reward, so that what differs from the baseline is what the further "
            "training did; that rewards make a difference is asked in {ref}`sec-learning`, of other policies."
        )
    told = ", ".join(f"`{name}` (as `{given[name]['method']}`)" for name in chance)
    return (
        f"The control, {told}, is trained as that method is, except that the answer to imitate is picked by chance among those that ended "
        "by themselves. Its difference from the baseline is the effect of further training on its own answers alone; the difference of "
        "the method from it is the effect of the reward. Other methods differ from it in more than the reward."
    )


def against_control(summary: Summary) -> str:
    """How long and how right aligned policies' answers are beside those of a control that learnt no reward."""
    parts = []
    for name, change in summary.get("against_control", {}).items():
        told = f"Set beside `{name}`, by length: {finding('tokens_per_answer', change, name)}"
        shorter = [
            arm
            for arm, row in change.items()
            if row["tokens_per_answer"].get("verdict") != "lower"
            and summary.get("comparisons", {}).get(arm, {}).get("tokens_per_answer", {}).get("verdict") == "lower"
        ]
        if shorter:
            told += (
                f" {_names(shorter)} answer{'s' * (len(shorter) == 1)} with fewer tokens than the baseline, but not with fewer than the "
                "control, so that this is not shown to be owed to a reward."
            )
        parts.append(f"{told} By pass rate: {finding('pass_rate', change, name)}")
    return " ".join(parts) or "No arm was set beside such a control."


def unrewarded(summary: Summary) -> str:
    """Whether a control that learnt no reward changed its length, too, for the places where aligned policies' change is told."""
    parts = []
    for name in summary.get("against_control", {}):
        change = summary.get("comparisons", {}).get(name, {}).get("tokens_per_answer", {})
        if change.get("estimate") is None:
            continue
        moved = {"lower": "fewer", "higher": "more"}.get(change.get("verdict", ""))
        needs = f"needs {interval(change, change=True)} of the baseline’s tokens"
        told = f"A control, `{name}`, trained alike but on answers picked by chance, {needs}"
        parts.append(
            f"{told}: that an aligned policy needs {moved} is not yet the work of its rewards."
            if moved
            else f"{told}, no difference seen."
        )
    return " ".join(parts) or "No control without rewards was measured beside them."


def trainings(summary: Summary, seeds: Sequence[int]) -> str:
    """Whether the luck of training is in the intervals, and how far another training moved a policy's length."""
    if not seeds:
        return "No policy was trained for these results."
    if len(seeds) == 1:
        return (
            f"Each policy was trained once (seed {seeds[0]}): intervals are over problems alone, and a difference between two policies may "
            "be one between two trainings."
        )
    moved = {
        arm: row["tokens_per_answer"]["seeds"]
        for arm, row in summary.get("comparisons", {}).items()
        if all(row.get("tokens_per_answer", {}).get("seeds") or [None])
    }
    told = f"Each policy was trained {len(seeds)} times, and intervals hold the luck of training."
    if not moved:
        return told
    arm = max(moved, key=lambda name: max(moved[name]) / min(moved[name]))
    least, most = min(moved[arm]), max(moved[arm])
    return (
        f"{told} It moved the length of `{arm}` most, from ×\u00a0{least:.2f} to ×\u00a0{most:.2f} of the baseline’s."
    )


def notes(
    summary: Summary,
    tables: Mapping[str, Rows],
    probes: Mapping[str, Sequence[float]],
    seeds: Sequence[int] = (),
) -> dict[str, str]:
    """All of them by the name that pages give them."""
    draft = summary.get("baseline", "")
    return {
        "missed_note": missed(summary),
        "trainings_note": trainings(summary, seeds),
        "unsettled_note": unsettled(summary),
        "many_note": many(summary),
        "drift_note": drift(probes),
        "power_note": power(summary),
        "trusted_note": trusted(summary),
        "unmerged_note": unmerged(summary),
        "joules_note": joules(summary),
        "tiers_note": tiers(tables.get("verdicts", [])) or "Policies passed problems of every tier, or of none.",
        "censored_note": censored(summary),
        "most_cut_note": most_cut(summary),
        "padded_note": padded(summary),
        "against_control_note": against_control(summary),
        "unrewarded_note": unrewarded(summary),
        "finding_acceptance": acceptance(tables.get("acceptance", []), draft, summary.get("aligned", [])),
        "finding_front": front(summary),
        **{
            f"unseen_{metric}": unseen(summary, metric)
            for metric in ("tokens_per_answer", "seconds_per_answer", "seconds_per_correct")
        },
        **{
            f"where_{name}": grouped(tables.get(name, []), by, draft)
            for name, by in (("libraries", "library"), ("tiers", "tier"), ("perturbations", "perturbation"))
        },
    }
