"""Latency of answers as who asked for them feels it, and the rates that go with it.

With s the moment a request was due, f its first token's and e its last token's, n its tokens, T the time in which requests were under way:

    TTFT = f - s      TPOT = (e - f) / (n - 1), n > 1      ITL = every gap between tokens, pooled      E2E = e - s
    request throughput = answers / T      goodput = answers within every limit / T

In a batch all rows are due when it begins, so TTFT is the batch's prefill; waiting for a turn is not counted there. A thousand problems
support medians and 90th percentiles, not 99th (MLPerf's rules want 262,742 queries for those).

Source: vLLM `bench serve` (definitions); MLPerf inference rules (sample sizes).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from tradeoffs.analysis.estimates import Estimate
from tradeoffs.analysis.policies import of_seed, seeds, with_seeds
from tradeoffs.analysis.resampling import Array, Quantity, Resampling, estimate

QUANTILES = (0.5, 0.9)
MEASURES = {"ttft_s": "s", "tpot_s": "s", "itl_s": "s", "e2e_s": "s"}
CHUNK = 4_000_000  # weights looked at together
LIMITS = ("ttft_s", "tpot_s", "e2e_s")


def latencies(rows: pd.DataFrame) -> pd.DataFrame:
    """TTFT, TPOT and E2E of each answer that has tokens; TPOT is missing where there is one token.

    Args:
        rows: one row an answer: `ttft_s`, `itl_s` (list), `tokens`, `finish`.
    """
    if "ttft_s" not in rows or "itl_s" not in rows:
        rows = rows.assign(ttft_s=None, itl_s=None)
    told = rows[(rows["finish"] != "failed") & rows["ttft_s"].notna()]
    gaps = told["itl_s"].map(lambda values: float(sum(values))).astype(float)
    first = pd.to_numeric(told["ttft_s"])
    return told.assign(ttft_s=first, e2e_s=first + gaps, tpot_s=(gaps / (told["tokens"] - 1)).where(told["tokens"] > 1))


def weighted_quantiles(values: Array, weights: Array, qs: Sequence[float]) -> Array:
    """Quantiles of values that count as often as their weights say, for each row of weights.

    Args:
        values: shape (n,).
        weights: shape (draws, n), not negative.
        qs: from 0 to 1.

    Returns:
        Shape (quantiles, draws): the smallest value that a share q of the weight does not exceed; NaN where there is no weight.
    """
    order = np.argsort(values)
    heaped = np.cumsum(weights[:, order], axis=1)
    whole = heaped[:, -1]
    places = np.array([(heaped < q * whole[:, None] - 1e-9).sum(axis=1) for q in qs])
    return np.where(whole > 0, values[order][np.minimum(places, len(values) - 1)], np.nan)


def _quantities(values: pd.Series, families: pd.Series, resampling: Resampling) -> list[Quantity]:
    """`QUANTILES` of values, on the data and in every draw."""
    place = resampling.families.get_indexer(pd.Index(families))
    numbers = values.to_numpy(dtype=np.float64)
    points = weighted_quantiles(numbers, np.ones((1, len(numbers))), QUANTILES)
    chunks = np.array_split(resampling.weights, max(1, len(resampling.weights) * len(numbers) // CHUNK))
    draws = np.concatenate([weighted_quantiles(numbers, c[:, place], QUANTILES) for c in chunks], axis=1)
    return [Quantity(float(point), own) for point, own in zip(points[:, 0], draws, strict=True)]


def _each_seed(rows: pd.DataFrame) -> list[pd.DataFrame]:
    """The rows of each training seed; none where there is one, whose luck nothing tells."""
    own = seeds(rows)
    return [of_seed(rows, seed) for seed in own] if len(own) > 1 else []


def latency_metrics(
    rows: pd.DataFrame, resampling: Resampling, limits: Mapping[Any, float] | None = None, pace: Array | None = None
) -> dict[str, dict[str, Any]]:
    """Estimate medians, 90th percentiles and rates of one policy's answers.

    Args:
        rows: its answers: those of `latencies`, `family`, and `seconds`, whose sum is T.
        resampling: the draws shared by all policies.
        limits: of goodput, by measure of `LIMITS`, seconds; none: no goodput.
        pace: the policy's errors of pace.

    Returns:
        `<measure>_p50`, `<measure>_p90`, `requests_per_s` and `goodput_per_s` -> estimates as dictionaries; a measure that the engine did
        not tell has no estimate.
    """
    told, factor = latencies(rows), 1.0 if pace is None else pace
    found: dict[str, dict[str, Any]] = {}
    families = told["family"].nunique() if len(told) else 0
    for name, unit in MEASURES.items():
        part = told.explode("itl_s") if name == "itl_s" else told
        part = part.dropna(subset=[name])
        keys = [f"{name.removesuffix('_s')}_p{100 * q:.0f}" for q in QUANTILES]
        if part.empty:
            silent = Estimate(None, None, None, unit, "the engine does not tell when tokens came")
            found |= {key: silent.as_dict() for key in keys}
            continue
        parts = [_quantities(own[name], own["family"], resampling) for own in (part, *_each_seed(part))]
        for key, value, *each in zip(keys, *parts, strict=True):
            value = with_seeds(Quantity(value.point, value.draws * factor), each, True, resampling)
            found[key] = estimate(value, unit, families).as_dict()
    own = [(part, told[told["seed"] == part["seed"].iloc[0]], None) for part in _each_seed(rows)]
    rates = [_rates(*part, limits, resampling) for part in ((rows, told, pace), *own)]
    for name, quantity in rates[0].items():
        value = with_seeds(quantity, [each[name] for each in rates[1:]], True, resampling)
        found[name] = estimate(value, "1/s", families, "no time was spent").as_dict()
    return found


def _rates(
    rows: pd.DataFrame,
    told: pd.DataFrame,
    pace: Array | None,
    limits: Mapping[Any, float] | None,
    resampling: Resampling,
) -> dict[str, Quantity]:
    """Answers a second, and those within the limits."""
    sums = resampling.sums(rows, ["seconds"]) | resampling.sums(told.assign(answers=1), ["answers"])
    seconds = Quantity(sums["seconds"].point, sums["seconds"].draws * (1.0 if pace is None else pace))
    found = {"requests_per_s": sums["answers"] / seconds}
    if limits:
        found["goodput_per_s"] = _within(told, limits, resampling, pace) / seconds
    return found


def _within(told: pd.DataFrame, limits: Mapping[Any, float], resampling: Resampling, pace: Array | None) -> Quantity:
    """How many answers keep every limit, on a machine as slow as each draw has it; one token alone has no TPOT, which keeps its limit."""
    # the largest share of a limit that an answer takes
    worst = np.max([told[name].fillna(0).to_numpy() / limit for name, limit in limits.items()], axis=0)
    place = resampling.families.get_indexer(pd.Index(told["family"]))
    paces = np.ones(len(resampling.weights)) if pace is None else pace
    parts = max(1, len(resampling.weights) * max(1, len(told)) // CHUNK)
    draws = [
        (weights[:, place] * (worst[None, :] * slower[:, None] <= 1)).sum(axis=1)
        for weights, slower in zip(np.array_split(resampling.weights, parts), np.array_split(paces, parts), strict=True)
    ]
    return Quantity(float((worst <= 1).sum()), np.concatenate(draws))
