"""What a file of verdicts says: how many answers pass, by library, perturbation type and tier, and pass@k.

`unavailable` answers (the machine lacks data that their problem needs) are counted apart and stand in no denominator.
Intervals are the study's own: a bootstrap over problem families, within each group.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tradeoffs.analysis.policies import pass_at, with_wilson
from tradeoffs.analysis.resampling import Resampling, estimate
from tradeoffs.records import Verdict, frame
from tradeoffs.tasks.problems import family

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCHEMA_VERSION = 1
DRAWS = 2000
GROUPS = {"library": "library", "perturbation": "perturbation type", "tier": "tier"}


def _joined(verdicts: Sequence[Verdict], problems: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    described = {
        int(problem["metadata"]["problem_id"]): {
            "family": family(dict(problem)),
            "library": problem["metadata"]["library"],
            "perturbation": problem["metadata"]["perturbation_type"],
            "tier": problem["metadata"].get("tier"),
        }
        for problem in problems
    }
    unknown = sorted({verdict.problem_id for verdict in verdicts} - set(described))
    if unknown:
        raise ValueError(
            f"verdicts: there is one for problem {unknown[0]}, which is not among the {len(described)} problems given; "
            "accepts verdicts on these problems only"
        )
    rows = frame(verdicts)
    rows = rows.join(pd.DataFrame([described[number] for number in rows["problem_id"]], index=rows.index))
    available = rows["status"] != "unavailable"
    return rows.assign(graded=available.astype(int), passed=(rows["status"] == "passed").astype(int))


def _group(rows: pd.DataFrame, by: str, value: str, draws: int, seed: int) -> dict[str, Any]:
    resampling = Resampling.draw(rows["family"], draws, np.random.default_rng(seed))
    sums = resampling.sums(rows, ["graded", "passed"])
    families = rows["family"].nunique()
    rate = estimate(sums["passed"] / sums["graded"], "share", families, "no answer was graded").as_dict()
    graded, passed = int(rows["graded"].sum()), int(rows["passed"].sum())
    tried = rows.loc[rows["graded"] > 0, "problem_id"].nunique()
    return {
        "by": by,
        "group": value,
        "problems": int(rows["problem_id"].nunique()),
        "answers": len(rows),
        "graded": graded,
        "passed": passed,
        "unavailable": len(rows) - graded,
        "statuses": {str(status): int(count) for status, count in rows["status"].value_counts().sort_index().items()},
        "pass_rate": with_wilson(rate, tried),
        **pass_at(rows, resampling),
    }


def summarise(
    verdicts: Sequence[Verdict], problems: Iterable[Mapping[str, Any]], draws: int = DRAWS, seed: int = 0
) -> dict[str, Any]:
    """Summarise verdicts: all of them, then by library, perturbation type and tier.

    Args:
        verdicts: what the grader said, one or several answers a problem.
        problems: the problems that were answered, in the DS-1000 format.
        draws: bootstrap draws.
        seed: of the draws.

    Returns:
        What JSON can hold: `isolation` (the levels behind which answers ran) and `groups`, a list of dictionaries with
        `by`, `group`, counts (`problems`, `answers`, `graded`, `passed`, `unavailable`, `statuses`), `pass_rate`
        (passed / graded, with its 95 % interval) and `pass_at_<k>` where every problem has at least k > 1 graded
        answers.

    Raises:
        ValueError: no verdict, or one on a problem that is not given.
    """
    if not verdicts:
        raise ValueError("verdicts: got none; accepts at least one, so grade some answers first")
    rows = _joined(verdicts, problems)
    groups = [_group(rows, "all", "all", draws, seed)]
    for by in GROUPS:
        for value, part in rows.dropna(subset=[by]).groupby(by, sort=True):
            name = f"{value:g}" if isinstance(value, float) else str(value)
            groups.append(_group(part, by, name, draws, seed))
    levels = sorted({verdict.isolation for verdict in verdicts if verdict.isolation})
    return {"schema_version": SCHEMA_VERSION, "isolation": levels, "groups": groups}


def _chances(summary: Mapping[str, Any]) -> list[str]:
    return [name for name in summary["groups"][0] if name.startswith("pass_at_")]


def _percent(value: Mapping[str, Any]) -> str:
    if value["estimate"] is None:
        return "-"
    text = f"{100 * value['estimate']:.1f} %"
    if value["low"] is None or value["high"] is None:
        return text
    return f"{text} [{100 * value['low']:.1f}, {100 * value['high']:.1f}]"


def summary_text(summary: Mapping[str, Any]) -> str:
    """Write the summary as a table for a terminal.

    Args:
        summary: see `summarise`.
    """
    chances = _chances(summary)
    header = ["", "problems", "answers", "passed", "unavailable", "pass rate [95 %]"]
    table = [header + [name.replace("pass_at_", "pass@") for name in chances]]
    section = "all"
    for group in summary["groups"]:
        if group["by"] != section:
            section = group["by"]
            table.append([f"by {GROUPS[section]}", *[""] * (len(table[0]) - 1)])
        counts = [str(group[name]) for name in ("problems", "answers", "passed", "unavailable")]
        label = group["group"] if section == "all" else f"  {group['group']}"
        rates = [_percent(group[name]) if name in group else "-" for name in ("pass_rate", *chances)]
        table.append([label, *counts, *rates])
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    lines = [
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in table
    ]
    return "\n".join(line.rstrip() for line in lines)


def summary_figure(summary: Mapping[str, Any]) -> Figure:
    """Draw the summary's pass rates, one row a group; the largest pass@k stands beside its value.

    Args:
        summary: see `summarise`.
    """
    from tradeoffs import figures

    last = _chances(summary)[-1:]
    rows = []
    for group in summary["groups"]:
        name = f"tier {group['group']}" if group["by"] == "tier" else group["group"]
        chance = next((group[key]["estimate"] for key in last if key in group), None)
        note = None if chance is None else f"({last[0].replace('pass_at_', 'pass@')} {100 * chance:.3g})"
        rate = {key: group["pass_rate"].get(key) for key in ("estimate", "low", "high", "reason")}
        rows.append({"name": name, "note": note, **rate})
    return figures.graded(pd.DataFrame(rows))
