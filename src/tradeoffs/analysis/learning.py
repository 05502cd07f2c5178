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

ALPHA = 0.05
RIGHT = 100.0  # helpfulness of a program that passes
MEASURES = ("helpfulness", "verbosity", "tokens", "entropy", "kl")


def objective(
    rows: pd.DataFrame, weights: Mapping[str, Sequence[float]], angles: Sequence[float] | None = None
) -> pd.Series:
    """What each response is worth to the method that its policy was trained by.

    Args:
        angles: the directions that DPA trained on: its objective is the mean over these, and what was asked for others has none; None: all.
        rows: columns `run`, `nll`, `helpfulness`, `verbosity`, `angle` (degrees, NaN without).
        weights: of the reward, by run; runs that are not named here are rewarded otherwise: `sft` by likelihood (minus the negative
            log-likelihood, nats a token), `rlvr` by verdicts (100 for a pass), rows with an angle along it, and rows with a `margin` by it
            (nats: DPO's implicit reward, but for beta, of a pair's chosen answer less that of the rejected one).
    """
    value = pd.Series(np.nan, index=rows.index)
    for run, (helpful, verbose) in weights.items():
        value = value.mask(rows["run"] == run, helpful * rows["helpfulness"] + verbose * rows["verbosity"])
    along = np.radians(rows["angle"].astype(float))
    trained = rows["angle"].notna() if angles is None else rows["angle"].astype(float).isin(list(angles))
    value = value.mask(trained, np.cos(along) * rows["helpfulness"] + np.sin(along) * rows["verbosity"])
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


def before(
    start: pd.DataFrame, weights: Mapping[str, Sequence[float]], angles: Sequence[float], turned: pd.DataFrame
) -> dict[str, float]:
    """The objective of each run before any training: that of the policy it starts from, under the same cap on answers.

    Args:
        start: responses of both start policies: `run` (`start`, `start-code`), `helpfulness`, `verbosity`.
        weights, angles: as for `objective`.
        turned: responses of the start policy when it is asked for directions as DPA's is, under the cap of DPA's: the same two.

    Returns:
        By run. `dpo-pairs` is 0, as its margin is over the start policy; `sft` has none, as it starts from the model itself.
    """
    own, code = start[start["run"] == "start"], start[start["run"] == "start-code"]
    found = {"dpo-pairs": 0.0}
    if len(own):
        mean = own[["helpfulness", "verbosity"]].mean().to_numpy(dtype=float)
        found |= {run: float(np.dot(given, mean)) for run, given in weights.items()}
    if len(turned):
        helpfulness, verbosity = turned[["helpfulness", "verbosity"]].mean().to_numpy(dtype=float)
        along = np.radians(np.asarray(angles, dtype=float))
        found["dpa"] = float(np.mean(np.cos(along) * helpfulness + np.sin(along) * verbosity))
    if len(code):
        found["rlvr"] = float(100 * (code["helpfulness"] == RIGHT).mean())
    return found


def effects(rows: pd.DataFrame, start: Mapping[str, float] | None = None) -> pd.DataFrame:
    """True against shuffled rewards, a row a run.

    Args:
        rows: one row a response: `run`, `seed`, `shuffled`, `objective`, and the columns of `MEASURES`.
        start: what `before` gives.

    Returns:
        `run`, `seeds`, the mean objective before training (`before`) and after training of the two kinds (`true`, `shuffled`), `difference`
        with `low` and `high` (Student's 95 % interval over seeds), `p` of no difference and `p_adjusted` for all runs (Benjamini and
        Hochberg 1995), `learns` (true rewards are ahead and the adjusted p is below 0.05); `gain`, `gain_low` and `gain_high`: true less
        `before`, over seeds of training, of which the start policy has one; `<measure>` with the mean of each measure after training on
        true rewards, `<measure>_low` and `<measure>_high`, and `<measure>_shuffled`.
    """
    found: list[dict[str, Any]] = []
    for run, own in rows.groupby("run", sort=False):
        means = own.pivot_table(index="seed", columns="shuffled", values="objective", aggfunc="mean")
        if not {True, False} <= set(means.columns):
            continue
        both = means.dropna()
        gaps = (both[False] - both[True]).tolist()
        difference, low, high = mean_interval(gaps)
        first = (start or {}).get(str(run), math.nan)
        gain = mean_interval((both[False] - first).tolist())
        measures = [name for name in MEASURES if name in own]
        control = over_seeds(own[own["shuffled"]], measures)
        found.append(
            {
                "run": run,
                "seeds": len(both),
                "before": first,
                "true": float(both[False].mean()),
                "shuffled": float(both[True].mean()),
                "difference": difference,
                "low": low,
                "high": high,
                "p": float(stats.ttest_1samp(gaps, 0.0).pvalue) if len(gaps) > 1 else math.nan,
                "p_adjusted": math.nan,
                "learns": False,
            }
            | dict(zip(("gain", "gain_low", "gain_high"), gain, strict=True))
            | over_seeds(own[~own["shuffled"]], measures)
            | {f"{name}_shuffled": control[name] for name in measures}
        )
    table = pd.DataFrame(found)
    if len(table) and (told := table["p"].notna()).any():
        table.loc[told, "p_adjusted"] = stats.false_discovery_control(table.loc[told, "p"])
        table["learns"] = (table["difference"] > 0) & (table["p_adjusted"] < ALPHA)
    return table


# What a run's training curve shows; the others': its loss.
CURVES = {"dpo": "accuracy", "rrhf": "accuracy", "ppo": "reward", "rloo": "reward", "rlvr": "reward"}


def curves(steps: pd.DataFrame) -> pd.DataFrame:
    """Training curves: what each step saw, on average over seeds and at the least and most.

    Args:
        steps: rows of `TrainingStep` with `run`, `seed` and `shuffled`.

    Returns:
        `run`, `measure` (`loss`, nats; `accuracy`, share of pairs; `reward`), `shuffled`, `step`, `mean`, `least`, `most`.
    """
    found = []
    for run, own in steps[steps["kind"] == "step"].groupby("run", sort=False):
        measure = CURVES.get(str(run), "loss")
        last = (
            own.groupby(["shuffled", "seed"])["step"].max().groupby("shuffled").min()
        )  # runs of one token budget may differ by steps
        own = own[own["step"] <= own["shuffled"].map(last)]
        table = own.groupby(["shuffled", "step"])[measure].agg(mean="mean", least="min", most="max").reset_index()
        found.append(table.assign(run=run, measure=measure))
    columns = ["run", "measure", "shuffled", "step", "mean", "least", "most"]
    return pd.concat(found)[columns] if found else pd.DataFrame(columns=columns)


# What evaluations measure, alike for every method.
EVALUATED = ("reward", "response_tokens", "entropy", "kl")


def evaluations(steps: pd.DataFrame) -> pd.DataFrame:
    """Held-out curves: what each evaluation during training measured, on average over seeds and at the least and most.

    Args:
        steps: rows of `TrainingStep` with `run`, `seed` and `shuffled`, in the order in which they were written.

    Returns:
        `run`, `measure` (of `EVALUATED`), `shuffled`, `tokens` (through the policy by then, mean over seeds), `mean`, `least`, `most`.
    """
    by = ["run", "seed", "shuffled"]
    spent = steps.assign(spent=steps["tokens"].fillna(0).groupby([steps[name] for name in by]).cumsum())
    own = spent[spent["kind"] == "evaluation"]
    found = []
    for measure in EVALUATED:
        if own[measure].notna().any():
            table = own.groupby(["run", "shuffled", "progress"], sort=False).agg(
                tokens=("spent", "mean"), mean=(measure, "mean"), least=(measure, "min"), most=(measure, "max")
            )
            found.append(table.reset_index().assign(measure=measure))
    columns = ["run", "measure", "shuffled", "tokens", "mean", "least", "most"]
    return pd.concat(found, ignore_index=True)[columns] if found else pd.DataFrame(columns=columns)


def first_met(steps: pd.DataFrame) -> dict[str, Any]:
    """True against shuffled rewards on prompts that training meets for the first time, from the first update on.

    Each step's samples are scored before they are learnt from, so that they measure the policy as it is then on prompts that are new to it:
    its mean over training, at no cost. The first step comes before any update and is left out.

    Args:
        steps: one row a step of a method that samples anew at each and never the same prompt twice: `seed`, `shuffled`, `step`, `reward`
            (mean verdict of the step's samples, 0 to 1).

    Returns:
        `seeds`, `steps` (the fewest of a run), and in points `before` (the first step: the start policy), `true`, `shuffled`, `difference`,
        `low`, `high` (Student's 95 % interval over seeds), and `gain`, `gain_low`, `gain_high`: true less that seed's first step.

    Source: progressive validation, Blum, Kalai and Langford 1999, COLT.
    """
    first = 100 * steps[steps["step"] == 1].groupby("seed")["reward"].mean()
    later = steps[steps["step"] > 1]
    # runs of one token budget may differ by a step at their end
    last = later.groupby(["seed", "shuffled"])["step"].max().unstack().min(axis=1)
    later = later[later["step"] <= later["seed"].map(last)]
    means = 100 * later.pivot_table(index="seed", columns="shuffled", values="reward", aggfunc="mean").dropna()
    difference, low, high = mean_interval((means[False] - means[True]).tolist())
    gain, gain_low, gain_high = mean_interval((means[False] - first.loc[means.index]).tolist())
    found = {
        "before": float(first.mean()),
        "gain": gain,
        "gain_low": gain_low,
        "gain_high": gain_high,
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
    measures = ["helpfulness", "verbosity", "tokens"]
    return pd.DataFrame(
        [{"angle": float(str(angle))} | over_seeds(own, measures) for angle, own in rows.groupby("angle")]
    )


def over_seeds(rows: pd.DataFrame, measures: Sequence[str]) -> dict[str, float]:
    """Mean over seeds of each measure with Student's interval: `<measure>`, `<measure>_low`, `<measure>_high`."""
    found: dict[str, float] = {}
    for name in measures:
        means = rows.groupby("seed")[name].mean().dropna().tolist()
        found[name], found[f"{name}_low"], found[f"{name}_high"] = mean_interval(means) if means else (math.nan,) * 3
    return found


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
    """How much better its own prompt serves each direction than the others do, a row an angle.

    Returns:
        `margin`: own prompt less the mean of the others, points of reward; `best_prompt`: the best of all; `rival`: the best of the others,
        and `lead`: own prompt less that one. `_low` and `_high`: Student's 95 % interval over seeds (`low` and `high` of the margin).
    """
    found = []
    table = directions(rows)
    by_seed = [
        directions(own).reindex(index=table.index, columns=table.columns).to_numpy() for _, own in rows.groupby("seed")
    ]
    pooled, angles = table.to_numpy(), [float(angle) for angle in table.index]
    for n, angle in enumerate(angles):
        others = [m for m in range(len(angles)) if m != n]
        rival = max(others, key=lambda m: pooled[m, n])
        margins = [float(each[n, n] - each[others, n].mean()) for each in by_seed]
        leads = [float(each[n, n] - each[rival, n]) for each in by_seed]
        best = n if pooled[n, n] > pooled[rival, n] else rival
        found.append(
            {"angle": angle}
            | dict(zip(("margin", "low", "high"), mean_interval(margins), strict=True))
            | {"best_prompt": angles[best], "rival": angles[rival]}
            | dict(zip(("lead", "lead_low", "lead_high"), mean_interval(leads), strict=True))
        )
    return pd.DataFrame(found)


def rank_correlation(values: pd.Series | np.ndarray) -> float:
    """Spearman's rank correlation of values with their places; 0 where all are the same."""
    return float(stats.spearmanr(values, range(len(values)))[0]) if np.ptp(values) > 0 else 0.0


def monotone(rows: pd.DataFrame, draws: int = 2000) -> dict[str, Any]:
    """Whether verbosity rises with the angle.

    Returns:
        `monotone`: whether its mean over all seeds rises from each angle to the next; `spearman`: rank correlation of angle and mean, by
        seed; `pooled`: that of the means over seeds, with the percentile interval of a bootstrap over prompts; `ends`: verbosity at the
        last angle less that at the first, points, with Student's interval over seeds.
    """
    means = rows.groupby("angle")["verbosity"].mean().sort_index().to_numpy()
    by_seed = [own.groupby("angle")["verbosity"].mean().sort_index() for _, own in rows.groupby("seed")]
    cells = rows.pivot_table(index="key", columns="angle", values="verbosity", aggfunc="mean").dropna().to_numpy()
    places = np.random.default_rng(0).integers(0, len(cells), (draws, len(cells)))
    rho = [rank_correlation(means) for means in cells[places].mean(axis=1)]
    return {
        "monotone": bool((np.diff(means) > 0).all()),
        "spearman": [rank_correlation(own) for own in by_seed],
        "pooled": [rank_correlation(means), *np.percentile(rho, [2.5, 97.5]).tolist()],
        "ends": list(mean_interval([float(own.iloc[-1] - own.iloc[0]) for own in by_seed])),
    }


Points = Sequence[tuple[float, float]]  # (helpfulness, verbosity)


def area(points: Points, worst: tuple[float, float, float]) -> float:
    """Hypervolume of points, for users who like detail and for users who like brevity.

    The area of the plane that lies between some point and the worst, once in (helpfulness, verbosity) and once in (helpfulness, minus
    verbosity); the mean of both. A single point in the middle of the range of verbosity covers little of either.

    Args:
        worst: least helpfulness, least and largest verbosity.

    Source: Zitzler and Thiele 1999, IEEE Transactions on Evolutionary Computation 3(4) (hypervolume, there size of the space covered).
    """
    total = 0.0
    for brief in (False, True):
        covered = 0.0
        heights = [(h - worst[0], worst[2] - v if brief else v - worst[1]) for h, v in points]
        for width, height in sorted(heights, reverse=True):
            # from the most helpful down: what lies above all points before it
            total += width * max(0.0, height - covered)
            covered = max(covered, height)
    return total / 2


def front(dial: pd.DataFrame, fixed: pd.DataFrame, start: tuple[float, float]) -> dict[str, Any]:
    """The area that one policy dominates under some directions, in times that of policies trained for these directions one by one.

    As many points on both sides, since more of them would cover more by chance. The worst point is that of both sides and of the policy
    that all start from, so that what everybody reaches does not count.

    Args:
        dial: DPA's responses to the directions that the others were trained for: `seed`, `angle`, `helpfulness`, `verbosity`.
        fixed: those of the others: `seed`, `run`, `helpfulness`, `verbosity`.
        start: helpfulness and verbosity of the policy that all start from.

    Returns:
        `ratio` with Student's interval over seeds that have every point, and `policies`, how many the others are; {} where there is no
        such seed, or not as many points on both sides.
    """

    def points(rows: pd.DataFrame, by: str) -> dict[Any, Points]:
        means = rows.groupby(["seed", by])[["helpfulness", "verbosity"]].mean()
        return {seed: list(own.itertuples(index=False, name=None)) for seed, own in means.groupby("seed")}

    if dial.empty or fixed.empty:
        return {}
    count = fixed["run"].nunique()
    one, several = points(dial, "angle"), points(fixed, "run")
    ratios = []
    for seed in sorted(set(one) & set(several)):
        if len(one[seed]) == len(several[seed]) == count:
            every = np.array([*one[seed], *several[seed], start])
            worst = (*every.min(axis=0), every[:, 1].max())
            if covered := area(several[seed], worst):
                ratios.append(area(one[seed], worst) / covered)
    return {"ratio": list(mean_interval(ratios)), "policies": int(count)} if ratios else {}
