"""Numbers and their direction, in words.

The book's sentences are not typed: whether a policy is said to be longer, shorter or not clearly different follows the
verdict that the analysis stored with each comparison.
"""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Mapping
from typing import Any

Value = Mapping[str, Any]

# metric -> words for a clear rise, a clear fall
DIRECTIONS = {
    "pass_rate": ("Higher", "Lower"),
    "tokens_per_answer": ("Longer", "Shorter"),
    "seconds_per_answer": ("Slower", "Faster"),
    "seconds_per_correct": ("Costlier", "Cheaper"),
    "joules_per_answer": ("Costlier", "Cheaper"),
    "joules_per_correct": ("Costlier", "Cheaper"),
    "tokens_per_s": ("Faster", "Slower"),
    "cap_share": ("More often", "Less often"),
    "utilisation": ("Better used", "Less used"),
    "prompt_tokens": ("Longer", "Shorter"),
}
# TOST verdict -> how it is introduced; the order is the order in the sentence
TOST_WORDS = {
    "equivalent": "Equivalent to {baseline} within the margin",
    "both": "{direction} than {baseline}, but within the margin",
    "different": "{direction} than {baseline}",
    "inconclusive": "Neither shown equivalent nor shown different",
}
ITSELF = "the baseline itself"  # the analysis' reason why a comparison has no interval
SAME, BOUNDLESS, MOST_NUMBERS = "No difference seen", "Cannot be bounded, too few right answers", 3


def number(x: float) -> str:
    """Write a number with three significant digits."""
    places = 2 if x == 0 else max(0, 2 - math.floor(math.log10(abs(x))))
    return f"{x:,.{places}f}"


def probability(p: float | None) -> str:
    """Write a p-value."""
    return "–" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def _style(value: Value, change: bool) -> tuple[str, str, float]:
    """Format specification, unit and scale of a value."""
    unit, sign = str(value.get("unit") or ""), "+" if change else ""
    if "ratio" in (value.get("kind"), unit):
        return ".3f", "", 1
    if unit == "share":
        return f"{sign},.1f", "points" if change else "%", 100
    if unit == "answers":
        return ",.0f", "", 1
    x = abs(value["estimate"])
    return f"{sign},.{2 if x == 0 else max(0, 2 - math.floor(math.log10(x)))}f", unit, 1


def interval(value: Value, *, change: bool = False) -> str:
    """Write an estimate with its interval.

    Args:
        value: `estimate`, `low`, `high`, `unit`; `reason` where a number is missing.
        change: whether it is a comparison; a difference then carries its sign.
    """
    if value.get("estimate") is None:
        return f"– ({value.get('reason') or 'not measured'})"
    style, unit, scale = _style(value, change)

    def write(x: float | None, absent: str = "") -> str:
        return absent if x is None else f"{x * scale:{style}}".replace("-", "−")

    ratio = "ratio" in (value.get("kind"), value.get("unit"))
    text = ("×\u00a0" if ratio else "") + write(value["estimate"]) + (f"\u00a0{unit}" if unit else "")
    low, high = value.get("low"), value.get("high")
    if low is None and high is None:
        return f"{text} (no limits)" if value.get("reason") not in (None, "", ITSELF) else text
    return f"{text} ({write(low, 'no lower limit')} to {write(high, 'no upper limit')})"


def _sentence(groups: Mapping[str, list[tuple[str, str]]], quiet: Collection[str], brief: bool) -> str:
    """A sentence a group; a long list of policies to which nothing happened is easier to read without numbers, which the tables have."""
    parts = []
    for words, named in groups.items():
        plain = brief or (words in quiet and len(named) > MOST_NUMBERS)
        shown = [f"`{policy}`" if plain else f"`{policy}` {numbers}" for policy, numbers in named]
        parts += [f"**{words}:** {', '.join(shown)}."] if shown else []
    return " ".join(parts)


def finding(metric: str, comparisons: Mapping[str, Mapping[str, Value]], baseline: str, *, brief: bool = False) -> str:
    """Group the policies by what happened to a metric, in a sentence a group.

    Args:
        metric: key of the comparisons.
        comparisons: policy -> metric -> change against the baseline, with the analysis' `verdict`.
        baseline: its name.
        brief: names only, without the numbers.
    """
    rise, fall = DIRECTIONS.get(metric, ("Higher", "Lower"))
    words = {"higher": f"{rise} than {baseline}", "lower": f"{fall} than {baseline}"}
    groups: dict[str, list[tuple[str, str]]] = {
        words["higher"]: [],
        words["lower"]: [],
        SAME: [],
        BOUNDLESS: [],
        "Not measured": [],
    }
    for policy, metrics in comparisons.items():
        if policy == baseline or metric not in metrics:
            continue
        value = metrics[metric]
        verdict = str(value.get("verdict") or "not measured")
        shown = (policy, interval(value, change=True))
        told = words.get(verdict, verdict.capitalize())
        ratio = "ratio" in (value.get("kind"), value.get("unit"))
        if told == SAME and value.get("high") is None and (value.get("low") is None or (ratio and not value["low"])):
            told = BOUNDLESS  # some resamples have no right answer: neither a difference nor none can be seen
        groups.setdefault(told, []).append(shown)
    return _sentence(groups, [SAME, BOUNDLESS], brief)


def dial(first: str, dose: Mapping[str, Any]) -> str:
    """The name of a policy with a dial; its arms end with the angle, and the analysis names it by the first of them."""
    return os.path.commonprefix(list(dose["arms"].values())).rstrip("-") or first


def dose_finding(doses: Mapping[str, Mapping[str, Any]]) -> str:
    """Say of each policy with a dial whether the length of its answers follows the angle."""
    words = {
        "higher": "Longer with the angle",
        "lower": "Shorter with the angle",
        "no difference seen": "No slope seen",
    }
    groups: dict[str, list[tuple[str, str]]] = {text: [] for text in [*words.values(), "Not measured"]}
    for first, found in doses.items():
        policy = dial(first, found)
        value = found["slopes"]["tokens_per_answer"]
        shown = f"{interval(value, change=True)} per 45 degrees" if value.get("estimate") is not None else ""
        groups[words.get(value["verdict"], "Not measured")].append((policy, shown))
    return _sentence(groups, [], False)


LEARNT = ("c1", "c2", "c3", "c4", "c5", "c7")  # claims that are tested on the learning benchmark's answers


def question(summary: Mapping[str, Any]) -> str:
    """Verdicts on the research question: that aligning changes how efficiently problems are answered, and how many answers are right.

    Per token there is a test of equality (H1), so that all equal is an answer; where none is seen to differ in what a right answer costs
    (H2) or in pass rate (H3), the data allow either.
    """
    aligned = set(summary.get("aligned", []))
    if not aligned:
        return "- No aligned policy was compared."
    timed = {name: row["verdict"] for name, row in summary.get("throughput", {}).items() if name in aligned}
    parts = []
    if timed:
        differ = sorted(name for name, verdict in timed.items() if verdict == "different")
        same = sum(verdict in ("equivalent", "both") for verdict in timed.values())
        verdict = "supported" if differ else "not supported" if same == len(timed) else "undecided"
        parts.append(
            f"- **Tokens per second at equal work (H1): {verdict}.** {_those(differ, len(timed), 'policies')} by more than the margin; "
            f"{same} within it."
        )
    for metric, words in (
        ("seconds_per_correct", "Seconds per correct answer (H2)"),
        ("pass_rate", "Pass rate (H3)"),
    ):
        found = {
            name: row[metric]["verdict"]
            for name, row in summary.get("comparisons", {}).items()
            if name in aligned and row.get(metric, {}).get("verdict", "not measured") != "not measured"
        }
        if found:
            differ = sorted(name for name, verdict in found.items() if verdict in ("higher", "lower"))
            verdict = "supported" if differ else "undecided"
            parts.append(
                f"- **{words}: {verdict}.** {_those(differ, len(found), 'arms')}, a policy with a dial counted once for each direction."
            )
        else:
            parts.append(f"- **{words}: not measured.**")
    return "\n".join(parts)


def _those(names: Collection[str], of: int, what: str) -> str:
    """Say which of so many aligned policies are shown to differ."""
    told = f" ({', '.join(f'`{name}`' for name in names)})" if names else ""
    verb = "is" if len(names) < 2 else "are"
    return f"{len(names) or 'None'} of {of} aligned {what}{told} {verb} shown to differ from the policy that all started from"


def ledger(claims: Collection[Mapping[str, str]], notebook: str = "") -> str:
    """The claims ledger as a list of definitions.

    Args:
        notebook: the executed notebook that tested the claims, as a page of the book; "" where there is none.
    """
    lines = []
    for row in claims:
        lines.append(f"**{row['claim']}: {row['verdict']}.** {row['text']}")
        place = f"{row['where']} " if row.get("where") else ""
        told = f": *The source:* {place}{row['shows']}\n\n  *Test:* {row['test']}\n\n  *Measured:* {row['measured']}"
        lines.append(told + _by(row["claim"], notebook))
    return "\n".join(line + "\n" * (n % 2) for n, line in enumerate(lines))


def _by(claim: str, notebook: str) -> str:
    """Where a claim was tested."""
    places = [f"[notebook]({notebook})"] if notebook and claim != "c6" else []
    if claim in LEARNT:
        places.append("{ref}`sec-learning`")
    if claim == "c8":
        places.append("[answers and verdicts](lab.md)")
    return f"\n\n  *By:* {', on '.join(places)}." if places else ""


def verdict_counts(claims: Collection[Mapping[str, str]]) -> str:
    """How many claims have which verdict, in words."""
    counts: dict[str, int] = {}
    for row in claims:
        counts[row["verdict"]] = counts.get(row["verdict"], 0) + 1
    return ", ".join(f"{count} {verdict}" for verdict, count in counts.items())


def throughput_finding(throughput: Mapping[str, Mapping[str, Any]], baseline: str, *, brief: bool = False) -> str:
    """Group the policies by the verdict of the equivalence test of tokens per second."""
    said = {
        (verdict, direction): text.format(baseline=baseline, direction=direction)
        for verdict, text in TOST_WORDS.items()
        for direction in ("Faster", "Slower")
    }
    groups: dict[str, list[tuple[str, str]]] = {text: [] for text in said.values()}
    for policy, row in throughput.items():
        if policy == baseline or not row.get("ratio"):
            continue
        direction = "Faster" if (row["ratio"]["estimate"] or 0.0) > 1 else "Slower"
        words = said.get((row.get("verdict", ""), direction), said["inconclusive", direction])
        groups[words].append((policy, interval(row["ratio"])))
    return _sentence(groups, [said["equivalent", "Faster"], said["inconclusive", "Faster"]], brief)
