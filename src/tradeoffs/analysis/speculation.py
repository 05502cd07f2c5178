"""Acceptance of a draft's tokens, by policy, with intervals over problems, and what it would mean for speed."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from tradeoffs.analysis.resampling import Quantity, Resampling, interval

COLUMNS = ["policy", "problems", "alpha", "low", "high", "agree", "kl", "bound"]
COLUMNS += ["tokens_per_pass", "live_tokens_per_pass", "live_speed"]


def tokens_per_pass(alpha: float, drafted: int) -> float:
    """Expected tokens that a pass of the target gives, its own among them, with `drafted` tokens proposed."""
    return drafted + 1.0 if alpha >= 1 else (1 - alpha ** (drafted + 1)) / (1 - alpha)


def speed_up(alpha: float, drafted: int, cost: float) -> float:
    """Expected speed-up over plain decoding where a draft's token costs `cost` of a target's; 1 for a draft of the same size."""
    return tokens_per_pass(alpha, drafted) / (drafted * cost + 1)


def acceptance_table(rows: pd.DataFrame, drafted: int, draws: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Estimate each policy's acceptance.

    Args:
        rows: one row a `tradeoffs.records.Acceptance`; a column `family`, if there is one, says which problems belong together.
        drafted: tokens that the draft proposes at once.
        draws, seed: of the bootstrap over problems, the same for all policies.

    Returns:
        One row a policy: `alpha` (mean over tokens) with `low` and `high`, `agree` (share of tokens equal under greedy choice), `kl` (nats
        a token), `bound` (alpha is at least 1 - sqrt(KL/2)), `tokens_per_pass` that independent acceptance would give, and of live decoding
        tokens a pass and the ratio of plain to assisted seconds, missing where it was not run.
    """
    if rows.empty:
        return pd.DataFrame(columns=COLUMNS)
    rows = rows if "family" in rows else rows.assign(family=rows["problem_id"].astype(str))
    rows = rows.assign(
        accepted=rows["alpha"] * rows["tokens"], same=rows["agree"] * rows["tokens"], far=rows["kl"] * rows["tokens"]
    )
    resampling = Resampling.draw(rows["family"], draws, np.random.default_rng(seed))
    table = []
    for policy, part in rows.groupby("policy", sort=False):
        sums = resampling.sums(part, ["accepted", "tokens", "same", "far"])
        alpha: Quantity = sums["accepted"] / sums["tokens"]
        families = part["family"].nunique()
        low, high = interval(alpha.draws, families=families) if families > 1 else (None, None)
        live = part.dropna(subset=["live_passes"])
        kl = sums["far"].point / sums["tokens"].point
        table.append(
            {
                "policy": policy,
                "problems": len(part),
                "alpha": alpha.point,
                "low": low,
                "high": high,
                "agree": sums["same"].point / sums["tokens"].point,
                "kl": kl,
                "bound": max(0.0, 1 - math.sqrt(kl / 2)),
                "tokens_per_pass": tokens_per_pass(alpha.point, drafted),
                "live_tokens_per_pass": live["live_tokens"].sum() / live["live_passes"].sum() if len(live) else None,
                "live_speed": live["plain_s"].sum() / live["live_s"].sum() if len(live) else None,
            }
        )
    return pd.DataFrame(table, columns=COLUMNS)
