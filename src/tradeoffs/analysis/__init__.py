"""The analysis room: pure functions from the stages' rows to estimates, each with interval, unit and a word for it.

The words ("higher", "lower", "no difference seen", "equivalent") are computed from the intervals, never written by
hand, so that text and numbers cannot part. What could not be measured is named together with the command that makes it;
nothing is dropped in silence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tradeoffs.analysis.estimates import Estimate as Estimate
    from tradeoffs.analysis.estimates import minimum_detectable_effect as minimum_detectable_effect
    from tradeoffs.analysis.estimates import pass_at_k as pass_at_k
    from tradeoffs.analysis.estimates import verdict as verdict
    from tradeoffs.analysis.estimates import wilson as wilson
    from tradeoffs.analysis.grades import summarise as summarise
    from tradeoffs.analysis.grades import summary_figure as summary_figure
    from tradeoffs.analysis.grades import summary_text as summary_text
    from tradeoffs.analysis.policies import compare as compare
    from tradeoffs.analysis.policies import decompose as decompose
    from tradeoffs.analysis.policies import group_table as group_table
    from tradeoffs.analysis.policies import policy_metrics as policy_metrics
    from tradeoffs.analysis.reading import Runs as Runs
    from tradeoffs.analysis.reading import read_runs as read_runs
    from tradeoffs.analysis.resampling import Quantity as Quantity
    from tradeoffs.analysis.resampling import Resampling as Resampling
    from tradeoffs.analysis.stage import Study as Study
    from tradeoffs.analysis.stage import again as again
    from tradeoffs.analysis.stage import analyse as analyse
    from tradeoffs.analysis.stage import run as run
    from tradeoffs.analysis.stage import write as write
    from tradeoffs.analysis.throughput import compare_throughput as compare_throughput
    from tradeoffs.analysis.wording import headline as headline
    from tradeoffs.analysis.wording import headline_table as headline_table

_HOMES = {
    "Estimate": "estimates",
    "Quantity": "resampling",
    "Resampling": "resampling",
    "Runs": "reading",
    "Study": "stage",
    "again": "stage",
    "analyse": "stage",
    "compare": "policies",
    "compare_throughput": "throughput",
    "decompose": "policies",
    "group_table": "policies",
    "headline": "wording",
    "headline_table": "wording",
    "minimum_detectable_effect": "estimates",
    "pass_at_k": "estimates",
    "policy_metrics": "policies",
    "read_runs": "reading",
    "run": "stage",
    "summarise": "grades",
    "summary_figure": "grades",
    "summary_text": "grades",
    "verdict": "estimates",
    "wilson": "estimates",
    "write": "stage",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that who wants one table does not wait for every library."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
