"""The analysis room: pure functions from the stages' rows to estimates, each with interval, unit and a word for it.

The words ("higher", "lower", "no difference seen", "equivalent") are computed from the intervals, never written by
hand, so that text and numbers cannot part. What could not be measured is named together with the command that makes it;
nothing is dropped in silence.
"""

from tradeoffs.analysis.estimates import Estimate, minimum_detectable_effect, pass_at_k, verdict, wilson
from tradeoffs.analysis.policies import compare, decompose, group_table, policy_metrics
from tradeoffs.analysis.reading import Runs, read_runs
from tradeoffs.analysis.resampling import Quantity, Resampling
from tradeoffs.analysis.stage import Study, analyse, run, write
from tradeoffs.analysis.throughput import compare_throughput
from tradeoffs.analysis.wording import headline, headline_table

__all__ = [
    "Estimate",
    "Quantity",
    "Resampling",
    "Runs",
    "Study",
    "analyse",
    "compare",
    "compare_throughput",
    "decompose",
    "group_table",
    "headline",
    "headline_table",
    "minimum_detectable_effect",
    "pass_at_k",
    "policy_metrics",
    "read_runs",
    "run",
    "verdict",
    "wilson",
    "write",
]
