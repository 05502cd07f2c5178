"""Cluster bootstrap over problem families, paired over policies.

Variants of one problem are no independent sample, so whole families are drawn with replacement, and every policy sees
the same draws: what makes a draw easy makes it easy for all, and cancels in comparisons. A draw is a row of counts (how
often each family was drawn), so a metric that is a sum over a sum is two matrix products.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tradeoffs.analysis.estimates import LEVEL, UNBOUNDED, Estimate

Array = NDArray[np.float64]
ALL_FLIPS = 16  # families whose flips of sign are looked at one by one, 65,536 at most


class Quantity(NamedTuple):
    """A number on the data at hand and on every resample.

    Attributes:
        point: on the data.
        draws: on the resamples, shape (draws,).
    """

    point: float
    draws: Array

    def __truediv__(self, other: Quantity) -> Quantity:
        """Divide; x / 0 is infinite and 0 / 0 is undefined, which `interval` takes for "may be anything"."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return Quantity(float(np.divide(self.point, other.point)), np.divide(self.draws, other.draws))

    def minus(self, other: Quantity) -> Quantity:
        """Subtract, draw by draw."""
        return Quantity(self.point - other.point, self.draws - other.draws)


class Resampling(NamedTuple):
    """Resamples of families, the same for all policies.

    Attributes:
        families: names, shape (families,).
        weights: how often each family was drawn, shape (draws, families).
    """

    families: pd.Index
    weights: Array

    @classmethod
    def draw(cls, families: Iterable[str], draws: int, generator: np.random.Generator) -> Resampling:
        """Draw resamples.

        Args:
            families: each problem's or answer's family; repetitions are fine.
            draws: resamples.
            generator: the source of randomness.

        Raises:
            ValueError: there is no family.
        """
        names = pd.Index(sorted(set(families)))
        if not len(names):
            raise ValueError(
                "families: got none; accepts at least one family, so run the stages that make answers first"
            )
        counts = generator.multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
        return cls(names, counts.astype(np.float64))

    def sums(self, rows: pd.DataFrame, columns: Sequence[str]) -> dict[str, Quantity]:
        """Sum columns over the data and over every resample.

        Args:
            rows: a table with a column `family`; families that it lacks count as zero.
            columns: numeric columns; where a family has nothing but NaN, its sum is NaN, and so is the whole.
        """
        totals = rows.groupby("family")[list(columns)].sum(min_count=1).reindex(self.families, fill_value=0)
        values = totals.to_numpy(dtype=np.float64)
        draws = self.weights @ values
        return {name: Quantity(float(values[:, i].sum()), draws[:, i]) for i, name in enumerate(columns)}

    def paces(self, probes: Mapping[str, Sequence[float]], generator: np.random.Generator) -> dict[str, Array]:
        """Draw for each policy by what factor the machine was slower or faster while it answered.

        A fixed piece of work is timed before and after each policy's answers. How far these probes scatter around their mean, whichever
        policy they were taken beside, is how far a policy's time may be off for the machine's sake. Errors are drawn from Student's t with
        that scatter, since of few probes the scatter itself is uncertain; `interval` widens for few families, which these errors do not
        come from, so that they are made smaller by as much.

        Args:
            probes: speeds of the fixed piece by policy; those without are left out.
            generator: the source of randomness.

        Returns:
            Factors on seconds by policy, shape (draws,); empty with fewer than two probes in all.
        """
        every = np.log([speed for own in probes.values() for speed in own])
        if len(every) < 2:
            return {}
        scatter, draws = float(every.std(ddof=1)) / expansion(len(self.families)), len(self.weights)
        return {
            # two probes a run: several runs of a policy are off independently
            name: np.exp(scatter / math.sqrt(max(1.0, len(own) / 2)) * generator.standard_t(len(every) - 1, draws))
            for name, own in probes.items()
            if own
        }


def expansion(families: int) -> float:
    """By how much a percentile interval from few families is too narrow, see `interval`; 1 for fewer than two."""
    if families < 2:
        return 1.0
    from scipy.stats import norm, t

    tail = (1 - LEVEL) / 2
    return float(math.sqrt(families / (families - 1)) * t.isf(tail, families - 1) / norm.isf(tail))


def interval(draws: Array, level: float = LEVEL, families: int | None = None) -> tuple[float | None, float | None]:
    """Give the percentile interval; an undefined draw counts as minus infinity below and plus infinity above.

    Args:
        draws: of the quantity.
        level: of confidence.
        families: how many were resampled. With few, draws scatter too little by sqrt((n - 1) / n), and a normal quantile stands where
            Student's belongs; the percentiles are moved outwards by as much (expanded percentile interval).

    Source: Hesterberg 2015, The American Statistician 69 (4), section 5.3.

    Returns:
        Limits; None for a side without a finite limit.
    """
    tail, last, undefined = (1 - level) / 2, len(draws) - 1, np.isnan(draws)
    if families is not None and families > 1:
        from scipy.stats import norm, t

        tail = float(norm.sf(math.sqrt(families / (families - 1)) * t.isf(tail, families - 1)))
    low = np.sort(np.where(undefined, -np.inf, draws))[math.floor(tail * last)]
    high = np.sort(np.where(undefined, np.inf, draws))[math.ceil((1 - tail) * last)]
    return (float(low) if np.isfinite(low) else None, float(high) if np.isfinite(high) else None)


def estimate(quantity: Quantity, unit: str, families: int, reason: str = "undefined on these data") -> Estimate:
    """Turn a quantity into an estimate with its interval.

    Args:
        quantity: see `Quantity`.
        unit: its unit.
        families: families behind it; fewer than two allow no interval.
        reason: what to say where the point itself is undefined.
    """
    if not math.isfinite(quantity.point):
        return Estimate(None, None, None, unit, reason)
    if families < 2:
        return Estimate(quantity.point, None, None, unit, "fewer than two families, so no interval")
    low, high = interval(quantity.draws, families=families)
    return Estimate(quantity.point, low, high, unit, UNBOUNDED if low is None or high is None else None)


def bootstrap_p(draws: Array, neutral: float, families: int | None = None) -> float:
    """Two-sided p-value by inversion of `interval`: twice the share of draws on the wrong side of no change, moved as the limits are.

    Args:
        draws: of a difference or a ratio; an undefined one is on both sides.
        neutral: 0 or 1.
        families: how many were resampled, as for `interval`.

    Returns:
        Without `families` at least 2 / (draws + 1), with few of them more.
    """
    undefined = np.isnan(draws)
    below, above = ((draws <= neutral) | undefined).sum(), ((draws >= neutral) | undefined).sum()
    tail = (min(below, above) + 1) / (len(draws) + 1)
    if families is not None and families > 1 and tail < 0.5:
        from scipy.stats import norm, t

        tail = float(t.sf(norm.isf(tail) / math.sqrt(families / (families - 1)), families - 1))
    return float(min(1.0, 2 * tail))


def sign_flip_p(differences: Array, draws: int, generator: np.random.Generator) -> float:
    """Test that two policies are exchangeable within every family: flip the signs of the families' differences.

    A percentile interval is too narrow where only a handful of families differ; this test is not. Where few differ all flips are looked
    at, and the p-value owes nothing to chance.

    Args:
        differences: summed difference a family, shape (families,).
        draws: random flips, where too many families differ for all.
        generator: the source of randomness.

    Returns:
        Two-sided p-value, at least 2 / 2^(families that differ), or 1 / (draws + 1) where flips are random.
    """
    moved = differences[differences != 0]
    if not len(moved):
        return 1.0
    # The tolerance keeps ties (equal sums reached by another order of additions) on the cautious side.
    seen = abs(moved.sum()) - 1e-9
    if len(moved) <= ALL_FLIPS:
        sums = np.zeros(1)
        for size in moved:
            sums = np.concatenate([sums - size, sums + size])
        return float((np.abs(sums) >= seen).mean())
    signs = generator.integers(0, 2, size=(draws, len(moved))) * 2 - 1
    return float(((np.abs(signs @ moved) >= seen).sum() + 1) / (draws + 1))
