"""Estimates with intervals, the words they allow, and closed formulas (pass@k, Wilson, smallest detectable effect)."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np

LEVEL = 0.95
NO_DIFFERENCE = "no difference seen"
UNBOUNDED = "some resamples leave it undefined, so the interval has no limit on that side"
NOT_MEASURED = "not measured"
ROUNDING = 1e-9  # limits this close to no change differ from it by rounding only


class Estimate(NamedTuple):
    """A number, its interval and its unit.

    Attributes:
        estimate: the point estimate; None where there is none.
        low, high: limits of the interval; None where there is no limit (nothing measured, or unbounded on that side).
        unit: what it is counted in; `share` runs from 0 to 1, `ratio` has 1 for no change.
        reason: why a number or a limit is missing.
    """

    estimate: float | None
    low: float | None
    high: float | None
    unit: str
    reason: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Give the fields as JSON can hold them; `reason` only where there is one."""
        fields = self._asdict()
        if self.reason is None:
            del fields["reason"]
        return fields


def boundless(kind: str, low: float | None, high: float | None) -> bool:
    """Whether an interval says nothing: no limit on either side, or of a ratio from nothing to no limit. Then nothing is tested."""
    return high is None and (low is None or (kind == "ratio" and low == 0))


def verdict(estimate: Estimate, neutral: float) -> str:
    """Say in words what an interval allows.

    Args:
        estimate: a difference or a ratio.
        neutral: the value of no change: 0 for a difference, 1 for a ratio.

    Returns:
        `higher` or `lower` only where the whole interval lies on one side of `neutral`; else `no difference seen`, or `not measured` where
        there is no estimate, or no interval for another reason than that it has no limits (`UNBOUNDED`).
    """
    open_ = estimate.low is None and estimate.high is None
    if estimate.estimate is None or (open_ and estimate.reason != UNBOUNDED):
        return NOT_MEASURED
    if estimate.low is not None and estimate.low > neutral + ROUNDING:
        return "higher"
    if estimate.high is not None and estimate.high < neutral - ROUNDING:
        return "lower"
    return NO_DIFFERENCE


def pass_at_k(n: int, c: int, k: int) -> float:
    """Estimate without bias the probability that at least one of `k` answers passes.

    Args:
        n: answers drawn for the problem.
        c: how many of them passed.
        k: answers one may submit, at most `n`.

    Returns:
        1 - C(n - c, k) / C(n, k), as a product, which stays exact where the binomials would overflow.

    Raises:
        ValueError: the counts do not fit together.

    Source: Chen et al. 2021, arXiv 2107.03374, section 2.1.
    """
    if not 0 <= c <= n:
        raise ValueError(f"c: got {c} passed of n = {n}; accepts 0 to n")
    if not 1 <= k <= n:
        raise ValueError(f"k: got {k} with n = {n} answers; accepts 1 to n; draw more answers or ask for a smaller k")
    if n - c < k:
        return 1.0
    return float(1.0 - np.prod(1.0 - k / np.arange(n - c + 1, n + 1)))


def wilson(passed: float, n: float, level: float = LEVEL) -> tuple[float, float]:
    """Give Wilson's interval for a share of independent trials; it keeps its width where nothing or everything passed.

    Source: Wilson 1927, JASA 22 (158), whose formula is short enough to write down: a library that knows it takes longer
    to load than a summary to print.
    """
    if n < 1:
        raise ValueError(f"n: got {n}; accepts at least 1 trial")
    z2 = NormalDist().inv_cdf((1 + level) / 2) ** 2
    centre = (passed + z2 / 2) / (n + z2)
    half = math.sqrt(z2 * (passed * (n - passed) / n + z2 / 4)) / (n + z2)
    return (centre - half if passed else 0.0), (centre + half if passed < n else 1.0)


def minimum_detectable_effect(
    discordance: float, n: int, design_effect: float = 1.0, alpha: float = 0.05, power: float = 0.8
) -> float:
    """Give the smallest true difference of two paired pass rates that a study of this size would see.

    Args:
        discordance: share of problems on which the two policies differ (mean squared difference where there are several
            answers).
        n: problems.
        design_effect: variance of the difference with clusters, divided by the variance without.
        alpha: two-sided level.
        power: chance of seeing a true difference of that size.

    Returns:
        (z_{1 - alpha/2} + z_{power}) sqrt(discordance design_effect / n), as a share; about 2.80 times the standard
        error.

    Source: Miller 2024, arXiv 2411.00640, section 5, for one answer a problem.
    """
    from scipy.stats import norm

    if not 0 <= discordance <= 1 or n < 1:
        raise ValueError(
            f"discordance, n: got {discordance} and {n}; accepts a share from 0 to 1 and at least 1 problem"
        )
    z = float(norm.ppf(1 - alpha / 2) + norm.ppf(power))
    return z * math.sqrt(discordance * design_effect / n)
