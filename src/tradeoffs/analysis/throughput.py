"""Tokens per second at forced lengths: is a policy as fast as the baseline, within a margin fixed beforehand?

The replicate is the block: it times every policy once, so policies share the machine's mood, and the log-ratio to the
baseline within a block is what is averaged. "Not significantly different" is no evidence of equality, so equality is
tested by itself: two one-sided tests (TOST) at the margin. Both, either or neither of "equivalent" and "different" can
hold.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tradeoffs.analysis.estimates import LEVEL, Estimate

ALPHA = 1 - LEVEL
RATES = {
    "tokens_per_s": ("new", "seconds"),
    "decode_tokens_per_s": ("decoded", "decode_s"),
    "prefill_tokens_per_s": ("prompt", "prefill_s"),
}


def block_rates(timings: pd.DataFrame) -> pd.DataFrame:
    """Give each policy's rates in each block.

    Args:
        timings: one row a `tradeoffs.records.Timing`.

    Returns:
        Index (block, policy), columns: `tokens_per_s` (output tokens over prefill and decoding), `decode_tokens_per_s`
        (tokens after the first over decoding), `prefill_tokens_per_s` (prompt tokens over prefill), `flagged`.
    """
    rows = timings.assign(
        new=timings.batch_size * timings.new_tokens,
        decoded=timings.batch_size * (timings.new_tokens - 1),
        prompt=timings.batch_size * timings.prompt_tokens,
        seconds=timings.prefill_s + timings.decode_s,
    )
    needed = sorted({name for pair in RATES.values() for name in pair})
    grouped = rows.groupby(["block", "policy"])
    sums = grouped[needed].sum()
    rates = pd.DataFrame({name: sums[above] / sums[below] for name, (above, below) in RATES.items()})
    rates["flagged"] = grouped["flagged"].any()
    return rates


def usable_blocks(rates: pd.DataFrame, policies: list[str]) -> list[int]:
    """Name the blocks in which no policy was flagged or is missing: a block counts for all policies or for none."""
    flagged = rates["flagged"].unstack("policy")
    flagged = flagged.reindex(columns=policies)
    # A policy that the block lacks shows up as a missing value here.
    good = flagged.notna().all(axis=1) & ~flagged.eq(True).any(axis=1)
    return [int(block) for block in flagged.index[good]]


def t_interval(logs: NDArray[np.float64], unit: str) -> Estimate:
    """Give the geometric mean of block values and its t interval.

    Args:
        logs: logarithms, shape (blocks,).
        unit: unit of the values.
    """
    from scipy.stats import t

    if not len(logs):
        return Estimate(None, None, None, unit, "no usable block")
    mean = float(logs.mean())
    if len(logs) < 2:
        return Estimate(math.exp(mean), None, None, unit, "fewer than two usable blocks, so no interval")
    half = float(t.ppf(1 - ALPHA / 2, len(logs) - 1) * logs.std(ddof=1) / math.sqrt(len(logs)))
    return Estimate(math.exp(mean), math.exp(mean - half), math.exp(mean + half), unit)


def equivalence(policy: NDArray[np.float64], baseline: NDArray[np.float64], margin: float) -> tuple[float | None, str]:
    """Test equivalence within the margin, and difference.

    Args:
        policy, baseline: log tokens/s of the same blocks, shape (blocks,).
        margin: accepted change of the ratio, such as 0.02; the region is +-ln(1 + margin).

    Returns:
        TOST's p-value (None with fewer than two blocks) and `equivalent`, `different`, `both` or `inconclusive`.

    Source: Schuirmann 1987, J. Pharmacokinet. Biopharm. 15; statsmodels' `ttost_paired`.
    """
    from statsmodels.stats.weightstats import ttost_paired

    if len(policy) < 2:
        return None, "inconclusive"
    limit = math.log1p(margin)
    with np.errstate(divide="ignore", invalid="ignore"):  # blocks that agree exactly have no spread
        p = float(ttost_paired(policy, baseline, -limit, limit)[0])
    equivalent = p < ALPHA
    ratio = t_interval(policy - baseline, "ratio")
    assert ratio.low is not None and ratio.high is not None
    different = ratio.low > 1 or ratio.high < 1
    words = {
        (True, True): "both",
        (True, False): "equivalent",
        (False, True): "different",
        (False, False): "inconclusive",
    }
    return p, words[equivalent, different]


def compare_throughput(
    timings: pd.DataFrame, policies: list[str], baseline: str, margin: float
) -> dict[str, dict[str, Any]]:
    """Compare every policy's tokens per second with the baseline's.

    Args:
        timings: one row a `tradeoffs.records.Timing`.
        policies: names in order; those without timings are left out here and have to be named by the caller.
        baseline: the policy to compare with.
        margin: see `equivalence`.

    Returns:
        For each policy the three rates of `block_rates`, `ratio` (estimates as dictionaries), `tost_p`, `verdict`
        (`baseline` for the baseline itself), `blocks` (used).
    """
    rates = block_rates(timings)
    timed = set(rates.index.get_level_values("policy"))
    policies = [name for name in policies if name in timed]
    blocks = usable_blocks(rates, policies)
    logs = {
        (policy, rate): np.log(np.array([rates[rate].loc[(block, policy)] for block in blocks], dtype=np.float64))
        for policy in policies
        for rate in RATES
    }
    result: dict[str, dict[str, Any]] = {}
    for policy in policies:
        row: dict[str, Any] = {rate: t_interval(logs[policy, rate], "tokens/s").as_dict() for rate in RATES}
        if policy == baseline:
            ratio, p, word = Estimate(1.0, None, None, "ratio", "the baseline itself"), None, "baseline"
        elif baseline not in timed:
            ratio, p, word = (
                Estimate(None, None, None, "ratio", f"the baseline {baseline} was not timed"),
                None,
                "inconclusive",
            )
        else:
            own, base = logs[policy, "tokens_per_s"], logs[baseline, "tokens_per_s"]
            ratio = t_interval(own - base, "ratio")
            p, word = equivalence(own, base, margin)
        result[policy] = row | {"ratio": ratio.as_dict(), "tost_p": p, "verdict": word, "blocks": len(blocks)}
    return result
