"""Numbers and their direction, in words.

The book's sentences are not typed: whether a policy is said to be longer, shorter or not clearly different is decided here, from the
interval that the analysis stored. A change is called clear when its 95 % interval excludes "no change".
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

Value = Mapping[str, Any]

SHARES = ("share", "proportion", "fraction")
DEFAULT_UNITS = {
    "pass_rate": "share",
    "cap_share": "share",
    "utilisation": "share",
    "tokens_per_answer": "tokens",
    "prompt_tokens": "tokens",
    "seconds_per_answer": "s",
    "seconds_per_correct": "s",
    "tokens_per_s": "tokens/s",
}
# metric -> words for a clear rise, a clear fall
DIRECTIONS = {
    "pass_rate": ("Higher", "Lower"),
    "tokens_per_answer": ("Longer", "Shorter"),
    "seconds_per_answer": ("Slower", "Faster"),
    "seconds_per_correct": ("Costlier", "Cheaper"),
    "tokens_per_s": ("Faster", "Slower"),
    "cap_share": ("More often", "Less often"),
    "utilisation": ("Better used", "Less used"),
    "prompt_tokens": ("Longer", "Shorter"),
}
# TOST verdict -> how it is introduced; the order is the order in the sentence
TOST_WORDS = {
    "equivalent": "Equivalent to {baseline} within the margin",
    "both": "Different from {baseline}, but within the margin",
    "different": "Different from {baseline}",
    "inconclusive": "Neither shown equivalent nor shown different",
}


def decimals(x: float) -> int:
    """Decimal places that show three significant digits."""
    return 2 if x == 0 else max(0, 2 - math.floor(math.log10(abs(x))))


def number(x: float) -> str:
    """Write a number with three significant digits."""
    return f"{x:,.{decimals(x)}f}"


def is_ratio(value: Value) -> bool:
    """Whether a comparison is a ratio (no change = 1) and not a difference (no change = 0)."""
    return "ratio" in (value.get("kind"), value.get("unit"))


def interval(value: Value, unit: str = "", *, change: bool = False) -> str:
    """Write an estimate with its interval.

    Args:
        value: `estimate`, `low`, `high`, and optionally `unit` and `reason`.
        unit: used where `value` names none.
        change: whether it is a comparison; differences then carry a sign, and ratios a multiplication sign.
    """
    if value.get("estimate") is None:
        return f"undefined ({value.get('reason') or 'nothing to divide by'})"
    unit = str(value.get("unit") or unit)
    estimate, low, high = value["estimate"], value.get("low"), value.get("high")
    sign, before, after, places, scale = ("+" if change else ""), "", f" {unit}" if unit else "", decimals(estimate), 1
    if is_ratio(value):
        sign, before, after, places = "", "× ", "", 3
    elif unit in SHARES:
        after, places, scale = (" points" if change else " %"), 1, 100
    elif "point" in unit:
        after, places = " points", 1

    def write(x: float) -> str:
        return f"{x * scale:{sign},.{places}f}".replace("-", "−")

    if low is None or high is None:
        return f"{before}{write(estimate)}{after}"
    return f"{before}{write(estimate)}{after} ({write(low)} to {write(high)})"


def direction(value: Value) -> int | None:
    """Say whether a change is clear.

    Returns:
        1 for a clear rise, -1 for a clear fall, 0 where the interval includes no change, None where there is no interval.
    """
    low, high = value.get("low"), value.get("high")
    if low is None or high is None:
        return None
    none = 1 if is_ratio(value) else 0
    return 1 if low > none else -1 if high < none else 0


def _sentence(groups: Mapping[str, list[str]]) -> str:
    return " ".join(f"**{words}:** {', '.join(names)}." for words, names in groups.items() if names)


def finding(metric: str, comparisons: Mapping[str, Mapping[str, Value]], baseline: str, *, brief: bool = False) -> str:
    """Group the policies by what happened to a metric, in a sentence a group.

    Args:
        metric: key of the comparisons.
        comparisons: policy -> metric -> change against the baseline.
        baseline: its name.
        brief: names only, without the numbers.
    """
    rise, fall = DIRECTIONS.get(metric, ("Higher", "Lower"))
    words = {1: f"{rise} than {baseline}", -1: f"{fall} than {baseline}", 0: "No clear difference", None: "Not comparable"}
    groups: dict[str, list[str]] = {text: [] for text in words.values()}
    for policy, metrics in comparisons.items():
        if policy == baseline or metric not in metrics:
            continue
        value = metrics[metric]
        shown = f"`{policy}`" if brief else f"`{policy}` {interval(value, DEFAULT_UNITS.get(metric, ''), change=True)}"
        groups[words[direction(value)]].append(shown)
    return _sentence(groups)


def throughput_finding(throughput: Mapping[str, Mapping[str, Any]], baseline: str, *, brief: bool = False) -> str:
    """Group the policies by the verdict of the equivalence test of tokens per second."""
    groups: dict[str, list[str]] = {text.format(baseline=baseline): [] for text in TOST_WORDS.values()}
    for policy, row in throughput.items():
        if policy == baseline or not row.get("ratio"):
            continue
        words = TOST_WORDS.get(row.get("verdict", ""), TOST_WORDS["inconclusive"]).format(baseline=baseline)
        ratio = {"unit": "ratio", **row["ratio"]}
        groups[words].append(f"`{policy}`" if brief else f"`{policy}` {interval(ratio)}")
    return _sentence(groups)
