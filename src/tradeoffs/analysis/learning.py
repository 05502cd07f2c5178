"""Did a method learn? Trained on true rewards against trained on shuffled ones, on prompts that neither saw.

The unit is the seed: everything that training draws (adapter, prompts, samples) differs between seeds and is shared by the two policies of
a seed, so their difference is taken within it, and its interval is Student's over seeds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

RIGHT = 100.0  # helpfulness of a program that passes
MEASURES = ("helpfulness", "verbosity", "tokens", "entropy", "kl")


def objective(rows: pd.DataFrame, weights: Mapping[str, Sequence[float]]) -> pd.Series:
    """What each response is worth to the method that its policy was trained by.

    Args:
        rows: columns `run`, `nll`, `helpfulness`, `verbosity`, `angle` (degrees, NaN without).
        weights: of the reward, by run; runs that are not named here are rewarded otherwise: `sft` by likelihood (minus the negative
            log-likelihood, nats a token), `rlvr` by verdicts (100 for a pass), rows with an angle along it, and rows with a `margin` by it
            (nats: DPO's implicit reward, but for beta, of a pair's chosen answer less that of the rejected one).
    """
    value = pd.Series(np.nan, index=rows.index)
    for run, (helpful, verbose) in weights.items():
        value = value.mask(rows["run"] == run, helpful * rows["helpfulness"] + verbose * rows["verbosity"])
    along = np.radians(rows["angle"].astype(float))
    value = value.mask(rows["angle"].notna(), np.cos(along) * rows["helpfulness"] + np.sin(along) * rows["verbosity"])
    value = value.mask(rows["run"] == "rlvr", 100.0 * (rows["helpfulness"] == RIGHT))
    if "margin" in rows:
        value = value.mask(rows["margin"].notna(), rows["margin"].astype(float))
    return value.mask(rows["run"] == "sft", -rows["nll"].astype(float))


def mean_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean with Student's 95 % interval; without limits where there are fewer than two values."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, math.nan, math.nan
    half = float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))
    return mean, mean - half, mean + half


def effects(rows: pd.DataFrame) -> pd.DataFrame:
    """True against shuffled rewards, a row a run.

    Args:
        rows: one row a response: `run`, `seed`, `shuffled`, `objective`, and the columns of `MEASURES`.

    Returns:
        `run`, `seeds`, the mean objective of the two kinds (`true`, `shuffled`), `difference` with `low` and `high`, `learns` (the interval
        is above 0), and `<measure>` with the mean of each measure after training on true rewards.
    """
    found: list[dict[str, Any]] = []
    for run, own in rows.groupby("run", sort=False):
        means = own.pivot_table(index="seed", columns="shuffled", values="objective", aggfunc="mean")
        if not {True, False} <= set(means.columns):
            continue
        both = means.dropna()
        difference, low, high = mean_interval((both[False] - both[True]).tolist())
        true = own[~own["shuffled"]]
        found.append(
            {
                "run": run,
                "seeds": len(both),
                "true": float(both[False].mean()),
                "shuffled": float(both[True].mean()),
                "difference": difference,
                "low": low,
                "high": high,
                "learns": bool(low > 0),
            }
            | {name: float(true[name].mean()) for name in MEASURES if name in true}
        )
    return pd.DataFrame(found)


def first_met(steps: pd.DataFrame) -> dict[str, Any]:
    """True against shuffled rewards on prompts that training meets for the first time, from the first update on.

    Each step's samples are scored before they are learnt from, so that they measure the policy as it is then on prompts that are new to it:
    its mean over training, at no cost. The first step comes before any update and is left out.

    Args:
        steps: one row a step of a method that samples anew at each and never the same prompt twice: `seed`, `shuffled`, `step`, `reward`
            (mean verdict of the step's samples, 0 to 1).

    Returns:
        `seeds`, `steps` (the fewest of a run), and in points `before` (the first step: the start policy), `true`, `shuffled`, `difference`,
        `low`, `high` (Student's 95 % interval over seeds).

    Source: progressive validation, Blum, Kalai and Langford 1999, COLT.
    """
    before = 100 * float(steps.loc[steps["step"] == 1, "reward"].mean())
    later = steps[steps["step"] > 1]
    # runs of one token budget may differ by a step at their end
    last = later.groupby(["seed", "shuffled"])["step"].max().unstack().min(axis=1)
    later = later[later["step"] <= later["seed"].map(last)]
    means = 100 * later.pivot_table(index="seed", columns="shuffled", values="reward", aggfunc="mean").dropna()
    difference, low, high = mean_interval((means[False] - means[True]).tolist())
    found = {
        "before": before,
        "true": float(means[False].mean()),
        "shuffled": float(means[True].mean()),
        "difference": difference,
    }
    return found | {"low": low, "high": high, "seeds": len(means), "steps": int(last.min()) - 1}


def dial(rows: pd.DataFrame) -> pd.DataFrame:
    """What a direction in the prompt does: DPA's policy, by the direction asked for.

    Args:
        rows: DPA's responses: `seed`, `angle`, `helpfulness`, `verbosity`, `tokens`.

    Returns:
        One row an angle: means of helpfulness, verbosity and tokens with Student's intervals over seeds (`<name>`, `<name>_low`,
        `<name>_high`).
    """
    found = []
    for angle, own in rows.groupby("angle"):
        row: dict[str, float] = {"angle": float(str(angle))}
        for name in ("helpfulness", "verbosity", "tokens"):
            row[name], row[f"{name}_low"], row[f"{name}_high"] = mean_interval(
                own.groupby("seed")[name].mean().tolist()
            )
        found.append(row)
    return pd.DataFrame(found)


def directions(rows: pd.DataFrame) -> pd.DataFrame:
    """Direction matrix: reward along each direction (columns) of the responses to a prompt that asks for each (rows).

    Args:
        rows: as for `dial`.

    Returns:
        Indexed by the angle asked for, one column an angle rewarded. A column whose largest entry lies on the diagonal says that asking
        for a direction serves it better than asking for any other.
    """
    means = rows.groupby("angle")[["helpfulness", "verbosity"]].mean()
    angles = means.index.to_numpy(dtype=float)
    along = np.stack([np.cos(np.radians(angles)), np.sin(np.radians(angles))])
    return pd.DataFrame(means.to_numpy() @ along, index=angles, columns=angles)


def dominance(rows: pd.DataFrame) -> pd.DataFrame:
    """How much better its own prompt serves each direction than the others do on average, a row an angle, with intervals over seeds."""
    found = []
    by_seed = {seed: directions(own) for seed, own in rows.groupby("seed")}
    for angle in sorted(rows["angle"].unique()):
        margins = [
            float(matrix.loc[angle, angle] - matrix[angle].drop(index=angle).mean()) for matrix in by_seed.values()
        ]
        mean, low, high = mean_interval(margins)
        best = float(directions(rows)[angle].idxmax())
        found.append({"angle": float(angle), "margin": mean, "low": low, "high": high, "best_prompt": best})
    return pd.DataFrame(found)


def monotone(rows: pd.DataFrame) -> dict[str, Any]:
    """Whether mean verbosity rises with the angle: over all seeds, and Spearman's rank correlation of each seed."""
    means = rows.groupby("angle")["verbosity"].mean().sort_index().to_numpy()
    each = [
        float(stats.spearmanr(own.groupby("angle")["verbosity"].mean().sort_index(), range(own["angle"].nunique()))[0])
        for _, own in rows.groupby("seed")
    ]
    return {"monotone": bool((np.diff(means) > 0).all()), "spearman": each}
