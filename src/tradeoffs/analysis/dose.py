"""The direction in the prompt as a dose: does what an answer costs follow the angle that one and the same policy is asked for?

For each metric a straight line through its values at all angles, by least squares: of the logarithm for what is a cost, of the share itself
for shares. The slope is told per 45 degrees. Its interval comes from the draws that all policies share, with an error of pace for each
angle, since angles are answered one after the other. A line through three doses or more uses all of them, where comparing each with the
baseline would spread the same evidence over several tests.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from tradeoffs.analysis.estimates import verdict
from tradeoffs.analysis.policies import (
    DIFFERENCES,
    METRICS,
    Metric,
    common_problems,
    of_seed,
    policy_sums,
    quotient,
    seeds,
    with_seeds,
)
from tradeoffs.analysis.resampling import Array, Quantity, Resampling, bootstrap_p, estimate

STEP = 45.0  # degrees that a slope is told for
FOLLOWED = ("tokens_per_answer", "seconds_per_answer", "tokens_per_s", "pass_rate", "seconds_per_correct", "cap_share")


def slope(angles: Array, values: Array) -> Array:
    """Least-squares slope over angles.

    Args:
        angles: shape (n,), not all equal.
        values: shape (n, ...).

    Returns:
        Shape (...): the change of the value per unit of the angle.
    """
    centred = angles - angles.mean()
    return np.asarray(np.tensordot(centred, values, axes=1) / (centred @ centred))


def dose_response(
    rows: Mapping[float, pd.DataFrame], resampling: Resampling, paces: Mapping[float, Array | None] | None = None
) -> dict[str, dict[str, Any]]:
    """Estimate for each metric how it changes with the angle.

    Args:
        rows: by angle in degrees (two or more), the answers to it, see `tradeoffs.analysis.policies.count_columns`; only problems
            answered at every angle are used.
        resampling: the draws shared by all policies.
        paces: errors of pace, by angle.

    Returns:
        Metric -> estimate per 45 degrees as a dictionary, with `kind` (`ratio`: by how much it is multiplied; `difference`: what is added
        to a share), `verdict`, `p` and `ordered`, the share of draws in which the metric rises or falls strictly from each angle to the
        next.
    """
    angles = sorted(rows)
    shared = common_problems([rows[angle] for angle in angles])
    sums = [policy_sums(part, resampling, (paces or {}).get(a)) for a, part in zip(angles, shared, strict=True)]
    families = shared[0]["family"].nunique()
    found = {}
    for name in FOLLOWED:
        metric = METRICS[name]
        values = [part[metric.above] / part[metric.below] for part in sums]
        kind = "difference" if name in DIFFERENCES else "ratio"
        turned = _turned(angles, values, kind)
        unit = metric.unit if kind == "difference" else kind
        each = _by_seed(angles, shared, metric, kind, resampling)
        quantity = with_seeds(turned, each, kind == "ratio", resampling)
        value = estimate(quantity, unit, families, metric.undefined + " at some angle")
        if kind == "difference" and np.allclose(turned.draws, 0.0, atol=1e-12):
            value = value._replace(
                low=None, high=None, reason="the same at every angle in all draws, which is no certainty"
            )
        drawn = np.array([q.draws for q in values])
        steps = np.diff(np.where(np.isfinite(drawn), drawn, np.nan), axis=0)
        ordered = float(max((steps > 0).all(axis=0).mean(), (steps < 0).all(axis=0).mean()))
        neutral = 0.0 if kind == "difference" else 1.0
        p = None if value.low is None and value.high is None else bootstrap_p(quantity.draws, neutral, families)
        found[name] = value.as_dict() | {"kind": kind, "verdict": verdict(value, neutral), "p": p, "ordered": ordered}
    return found


def _turned(angles: Sequence[float], values: Sequence[Quantity], kind: str) -> Quantity:
    """The change a step of the angle: a factor, or an amount."""
    whole = np.array([[q.point, *q.draws] for q in values])  # (angles, 1 + draws)
    if kind == "ratio":
        with np.errstate(divide="ignore", invalid="ignore"):
            whole = np.where((whole > 0) & np.isfinite(whole), np.log(whole), np.nan)
    turned = STEP * slope(np.array(angles), whole)
    turned = np.exp(turned) if kind == "ratio" else turned
    return Quantity(float(turned[0]), turned[1:])


def _by_seed(
    angles: Sequence[float], shared: Sequence[pd.DataFrame], metric: Metric, kind: str, resampling: Resampling
) -> list[Quantity]:
    """The slope of each training seed alone, in the unit of the whole; nothing where there is one."""
    own = seeds(shared[0])
    if len(own) < 2:
        return []
    each = [[quotient(of_seed(part, seed), metric, resampling) for part in shared] for seed in own]
    return [_turned(angles, values, kind) for values in each]


def dials(parameters: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[float, str]]:
    """Which arms are one set of weights asked for several directions.

    Args:
        parameters: of each arm's generate stage.

    Returns:
        First arm's name -> angle -> arm, for each set of weights with two angles or more.
    """
    groups: dict[str, dict[float, str]] = {}
    for arm, asked in parameters.items():
        angle = asked.get("angle")
        if angle is not None and not math.isnan(angle):
            groups.setdefault(str(asked.get("adapter")), {})[float(angle)] = arm
    return {next(iter(group.values())): dict(sorted(group.items())) for group in groups.values() if len(group) > 1}
