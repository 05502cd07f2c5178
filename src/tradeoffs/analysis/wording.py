"""Sentences that follow the data, and the table for the terminal."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from tradeoffs.analysis.estimates import NO_DIFFERENCE, NOT_MEASURED, boundless
from tradeoffs.records import Record

WIDTH = 110
OFTEN = 0.5  # share of answers cut at the cap from which on it is said
REMEDY = "make study"
THROUGHPUT_WORDS = {
    "equivalent": "equivalent within the margin",
    "different": "{direction}",
    "both": "{direction}, but within the margin",
    "inconclusive": "inconclusive",
}
FASTER = ("faster", "slower")
SAID = {"higher": "higher", "lower": "lower", NO_DIFFERENCE: "not seen to differ", NOT_MEASURED: "not measured"}
UNBOUNDED = "without a limit either way"
MOST_NAMED = 2  # of more policies with one verdict, their number and the most extreme say more than a list, which the tables have
COLUMNS = {
    "pass_rate": "pass rate, %",
    "tokens_per_answer": "tokens/answer",
    "seconds_per_answer": "seconds/answer",
    "tokens_per_s": "tokens/s",
    "seconds_per_correct": "s/correct answer",
}


def digits(value: float | None, scale: float = 1.0) -> str:
    """Write a number with three significant digits, without an exponent; an en dash where there is none."""
    if value is None:
        return "–"
    value *= scale
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:#.3g}".rstrip(".") if abs(value) >= 1e-3 else f"{value:.6f}"


def span(low: float | None, high: float | None, write: Callable[[float], str]) -> str:
    """Write an interval; a missing limit reads as unbounded."""
    if low is None and high is None:
        return "no interval"
    below = "no lower limit" if low is None else write(low)
    above = "no upper limit" if high is None else write(high)
    return f"{below} to {above}"


def _share(value: Mapping[str, Any]) -> str:
    def write(share: float) -> str:
        return f"{round(100 * share, 1) + 0.0:+.1f}"  # no minus before a zero

    if value["estimate"] is None:
        return "no estimate"
    return f"{write(value['estimate'])} points [{span(value['low'], value['high'], write)}]"


def _ratio(value: Mapping[str, Any]) -> str:
    def write(ratio: float) -> str:
        return f"{ratio:.3f}" if ratio < 10 else digits(ratio)

    if value["estimate"] is None:
        return "no estimate"
    return f"×{write(value['estimate'])} [{span(value['low'], value['high'], write)}]"


class Found(NamedTuple):
    """What a sentence says of one policy: its verdict, its numbers in words, and how far from no change it lies."""

    verdict: str
    numbers: str
    size: float = 0.0


def group(items: Mapping[str, Found], order: Sequence[str], bare: Sequence[str] = ()) -> str:
    """Say which policies have which verdict: by name and numbers where they are few, else how many, and the farthest from no change.

    Args:
        items: by policy.
        order: verdicts in the order of the text.
        bare: verdicts whose numbers are left out.
    """
    parts = []
    for word in order:
        own = {policy: found for policy, found in items.items() if found.verdict == word}
        far = max(own, key=lambda policy: own[policy].size, default="")
        if len(own) > MOST_NAMED:
            many = f"all {len(own)}" if len(own) == len(items) else f"{len(own)} of {len(items)}"
            parts.append(f"{word} for {many}" + ("" if word in bare else f" (farthest: {far} {own[far].numbers})"))
        elif own:
            named = [policy if word in bare else f"{policy} ({found.numbers})" for policy, found in own.items()]
            parts.append(f"{word} for {' and '.join(named)}")
    return ", ".join(parts)


def _found(value: Mapping[str, Any], verdict: str) -> Found:
    estimate = value["estimate"]
    if value["kind"] == "ratio":
        return Found(verdict, _ratio(value), abs(math.log(estimate)) if estimate else math.inf)
    return Found(verdict, _share(value), abs(estimate or 0.0))


def _compared(summary: Mapping[str, Any], metric: str) -> str:
    """What happened to a metric of the aligned policies' arms, or of all where none is aligned."""
    rows = summary["comparisons"]
    items = {arm: _found(rows[arm][metric], _said(rows[arm][metric])) for arm in _asked(summary, rows)}
    return group(items, [*SAID.values(), UNBOUNDED], bare=[SAID[NOT_MEASURED], UNBOUNDED])


def _asked(summary: Mapping[str, Any], rows: Mapping[str, Any]) -> list[str]:
    """The policies that the question is about: those that alignment made from the baseline, or all where there are none."""
    others = [name for name in rows if name != summary["baseline"]]
    return [name for name in others if name in summary.get("aligned", [])] or others


def _whose(summary: Mapping[str, Any], rows: Mapping[str, Any]) -> str:
    return "aligned policies" if any(name in rows for name in summary.get("aligned", [])) else "other policies"


def _said(change: Mapping[str, Any]) -> str:
    """The verdict's words; a ratio that may be anything from nothing to no limit was not seen to be anything."""
    ratio = change["kind"] == "ratio" and change["estimate"] is not None
    return UNBOUNDED if ratio and boundless("ratio", change["low"], change["high"]) else SAID[change["verdict"]]


def headline(summary: Mapping[str, Any]) -> dict[str, str]:
    """Write the three sentences that answer the study's question.

    Args:
        summary: the analyse record's summary: `baseline`, `policies`, `comparisons`, `throughput`, `throughput_setting`, and `aligned`, the
            policies and arms that alignment made from the baseline, of which the sentences are; of all others where there are none.

    Returns:
        `efficiency` (tokens/s at forced lengths), `answers` (tokens an answer), `correctness` (pass rate and seconds per correct
        answer), as plain text.
    """
    return {"efficiency": _efficiency(summary), "answers": _answers(summary), "correctness": _correctness(summary)}


def _efficiency(summary: Mapping[str, Any]) -> str:
    found, setting, base = summary["throughput"], summary["throughput_setting"], summary["baseline"]
    words = {word: [text.format(direction=way) for way in FASTER] for word, text in THROUGHPUT_WORDS.items()}
    items = {
        name: _found(row["ratio"] | {"kind": "ratio"}, words[row["verdict"]][(row["ratio"]["estimate"] or 0.0) <= 1])
        for name, row in found.items()
        if name in _asked(summary, found)
    }
    order = list(dict.fromkeys(text for pair in words.values() for text in pair))
    if base not in found or not items:
        return f"Tokens per second were not compared: there are no timings of {base} and another policy ({REMEDY})."
    return (
        f"Speed: at forced lengths, tokens per second of {_whose(summary, found)} relative to {base} are {group(items, order)}; "
        f"the margin is ±{100 * setting['margin']:g} %."
    )


def _base(summary: Mapping[str, Any], metric: str) -> Any:
    return summary["policies"].get(summary["baseline"], {}).get(metric, {}).get("estimate")


def _with_span(summary: Mapping[str, Any], metric: str, unit: str, scale: float = 1.0) -> str:
    """The baseline's value with its interval."""
    value = summary["policies"][summary["baseline"]][metric]
    limits = span(value["low"], value["high"], lambda limit: digits(limit, scale))
    return f"{digits(value['estimate'], scale)} {unit} [{limits}]"


def _answers(summary: Mapping[str, Any]) -> str:
    base, comparisons = summary["baseline"], summary["comparisons"]
    if not comparisons or _base(summary, "tokens_per_answer") is None:
        return f"Costs per answer were not compared: there are no answers of {base} and another policy ({REMEDY})."
    return (
        f"Length: left to stop by itself, {base} needs {_with_span(summary, 'tokens_per_answer', 'tokens')} an answer; relative to that, "
        f"tokens per answer of {_whose(summary, comparisons)} are {_compared(summary, 'tokens_per_answer')}{_cut(summary)}."
    )


def _cut(summary: Mapping[str, Any]) -> str:
    """Say whose answers mostly end at the cap, since that decides their length and cost and may decide their pass rate."""
    rows = summary["policies"]
    shares = {
        arm: rows[arm].get("cap_share", {}).get("estimate") for arm in [summary["baseline"], *_asked(summary, rows)]
    }
    cut = [arm for arm, share in shares.items() if share is not None and share > OFTEN]
    names = " and ".join(filter(None, (", ".join(cut[:-1]), *cut[-1:])))
    return f" (the cap on length cuts most answers of {names})" if cut else ""


def _missed(summary: Mapping[str, Any]) -> str:
    """Say how large a difference could have gone unseen where none was seen."""
    comparisons = summary["comparisons"]
    rates = [comparisons[arm]["pass_rate"] for arm in _asked(summary, comparisons)]
    limits = [100 * rate["detectable"] for rate in rates if rate["verdict"] == NO_DIFFERENCE and "detectable" in rate]
    if not limits:
        return ""
    ends = list(dict.fromkeys(f"{limit:.1f}" for limit in (min(limits), max(limits))))
    return f" (true differences below about {' to '.join(ends)} points would usually be missed)"


def _correctness(summary: Mapping[str, Any]) -> str:
    base, comparisons = summary["baseline"], summary["comparisons"]
    if not comparisons or _base(summary, "pass_rate") is None:
        return f"Pass rates were not compared: there are no verdicts of {base} and another policy ({REMEDY})."
    cost = "for want of a right answer without a price"
    if _base(summary, "seconds_per_correct") is not None:
        cost = f"each at {_with_span(summary, 'seconds_per_correct', 's')} of generation"
    return (
        f"Correctness: {base} passes {_with_span(summary, 'pass_rate', '%', 100)}, {cost}; relative to it, the pass rate of "
        f"{_whose(summary, comparisons)} is {_compared(summary, 'pass_rate')}{_missed(summary)}, and their seconds per correct answer are "
        f"{_compared(summary, 'seconds_per_correct')}."
    )


def headline_table(record: Record) -> str:
    """Lay out the main numbers, the three sentences and what is missing as plain text.

    Args:
        record: the analyse stage's record.
    """
    summary = record.summary
    base = summary["baseline"]
    names = list(summary["policies"])
    first = max(len("policy"), *(len(name) for name in names))
    lines = ["policy".ljust(first) + "".join(title.rjust(19) for title in COLUMNS.values())]
    for name in names:
        compared = summary["comparisons"].get(name, {})
        values, spans = name.ljust(first), " " * first
        for metric in COLUMNS:
            found = summary["policies"][name].get(metric, {"estimate": None, "low": None, "high": None})
            mark = {"higher": " ↑", "lower": " ↓"}.get(compared.get(metric, {}).get("verdict", ""), "  ")
            scale = 100.0 if metric == "pass_rate" else 1.0
            values += (digits(found["estimate"], scale) + mark).rjust(19)
            limits = f"{digits(found['low'], scale)} to {digits(found['high'], scale)}  "
            spans += (limits if found["estimate"] is not None else "").rjust(19)
        lines += [line.rstrip() for line in (values, spans) if line.strip()]
    note = f"Lower lines: 95 % intervals. ↑ ↓: higher or lower than {base}, interval clear of no change."
    sentences = [textwrap.fill(text, WIDTH) for text in [note, *summary["headline"].values()]]
    gaps = [f"missing: {gap['what']}; to make it: {gap['command']}" for gap in summary["missing"]]
    notes = [f"note: {text}" for text in summary["warnings"]]
    return "\n".join([*lines, "", "\n\n".join(sentences), *([""] if gaps or notes else []), *gaps, *notes]) + "\n"
