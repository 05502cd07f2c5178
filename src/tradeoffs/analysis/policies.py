"""What each policy's answers cost and how many pass, alone and against the baseline.

Every metric is a sum over a sum (never a mean of ratios), so that long answers and short ones weigh what they cost.
Comparisons use only the problems that both policies answered. Intervals cover the choice of problems. Policies answer one after
the other, so a machine whose pace changed meanwhile would look like a policy: every draw therefore takes an error of pace for each policy
from the probes of a fixed piece of work before and after each policy's answers (`Resampling.paces`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from tradeoffs.analysis import identity
from tradeoffs.analysis.estimates import (
    NO_DIFFERENCE,
    Estimate,
    boundless,
    minimum_detectable_effect,
    pass_at_k,
    verdict,
    wilson,
)
from tradeoffs.analysis.resampling import Array, Quantity, Resampling, bootstrap_p, estimate, sign_flip_p

ALPHA = 0.05
# H2 and H3 of the study; H1, speed at forced lengths, is adjusted in `tradeoffs.analysis.throughput`
CONFIRMATORY = ("seconds_per_correct", "pass_rate")
ATTAINED = (5, 50, 95)
PASS_AT = (2, 5, 10, 20, 50, 100)


class Metric(NamedTuple):
    """A metric as numerator, denominator and unit, with what to say where it is undefined."""

    above: str
    below: str
    unit: str
    undefined: str = "no answer"


NO_JOULES = "joules were not counted"
METRICS = {
    "pass_rate": Metric("passed", "graded", "share", "no answer was graded"),
    "tokens_per_answer": Metric("tokens", "answers", "tokens"),
    "seconds_per_answer": Metric("seconds", "answers", "s"),
    "tokens_per_s": Metric("tokens", "seconds", "tokens/s", "no time was spent"),
    "seconds_per_correct": Metric("graded_seconds", "passed", "s", "no answer passed"),
    "joules_per_answer": Metric("joules", "answers", "J", NO_JOULES),
    "joules_per_correct": Metric("graded_joules", "passed", "J", f"no answer passed, or {NO_JOULES}"),
    "cap_share": Metric("capped", "answers", "share"),
    "utilisation": Metric("tokens", "slots", "share", "the engine does not tell its slots"),
    "prompt_tokens": Metric("prompt_tokens", "answers", "tokens"),
}
DIFFERENCES = ("pass_rate", "cap_share")
GIVEN = ("prompt_tokens",)  # by the design: sure findings among those adjusted would make all others easier
NONE_DIFFERS = "no problem differs, so a bound from their number"
SHARES = (*DIFFERENCES, "utilisation")
# what an answer's decoding took, see `tradeoffs.analysis.identity.work`
WORK = ("decode_s", "prefill_s", "passes", "roof")
TIMED = ("seconds", "joules", "graded_seconds", "graded_joules", "graded_decode_s", "graded_prefill_s")
COUNTS = ("answers", "graded", "passed", "unavailable", "failed")
SUMMED = (
    *COUNTS,
    "tokens",
    "seconds",
    "joules",
    "slots",
    "capped",
    "prompt_tokens",
    "graded_tokens",
    "graded_seconds",
    "graded_joules",
    "graded_prompt_tokens",
    *(f"graded_{name}" for name in WORK),
)


def count_columns(rows: pd.DataFrame) -> pd.DataFrame:
    """Add the columns that metrics sum over.

    Args:
        rows: one row an answer: `problem_id`, `family`, `tokens`, `slots`, `seconds`, `prompt_tokens`, `finish`, `status` (missing:
            not graded), `joules` and those of `WORK` where they are known, and `kept` where not every row is the answer (best of n).

    Returns:
        The rows with the columns of `SUMMED`. `graded` leaves out answers without verdict and `unavailable` ones; the `graded_*` columns
        are what these answers cost. Time that went into failed requests is part of it, and so is all that went into rows that were not
        kept: they are no answers, but were paid for.
    """
    drawn = rows["finish"] != "failed"
    graded = rows["status"].notna() & (rows["status"] != "unavailable")
    answered, paid = drawn, graded
    if "kept" in rows and not rows["kept"].all():
        kept = rows["kept"].astype(bool)
        answered, graded = drawn & kept, graded & kept
        paid = graded.groupby([rows[name] for name in ("problem_id", "seed") if name in rows]).transform("any") & drawn
    joules = pd.Series(rows["joules"] if "joules" in rows else np.nan, index=rows.index, dtype=float)
    if joules.isna().any():  # a sum over a part of the answers would look like a saving
        joules = joules * np.nan
    return rows.assign(
        answers=answered.astype(int),
        failed=(~drawn).astype(int),
        prompt_tokens=rows["prompt_tokens"].where(drawn, 0),
        graded=graded.astype(int),
        passed=(rows["status"] == "passed").astype(int),
        unavailable=(rows["status"] == "unavailable").astype(int),
        capped=((rows["finish"] == "length") & answered).astype(int),
        graded_tokens=rows["tokens"].where(paid, 0),
        graded_seconds=rows["seconds"].where(paid | ~drawn, 0.0),
        joules=joules,
        graded_joules=joules.where(paid | ~drawn, 0.0 * joules),
        graded_prompt_tokens=rows["prompt_tokens"].where(paid, 0),
        **{f"graded_{name}": rows[name].where(paid, 0.0) if name in rows else np.nan for name in WORK},
    )


def policy_sums(counted: pd.DataFrame, resampling: Resampling, pace: Array | None) -> dict[str, Quantity]:
    """Sums over the data and every resample, the seconds of each with its error of pace."""
    sums = resampling.sums(counted, SUMMED)
    if pace is not None:
        sums |= {name: Quantity(sums[name].point, sums[name].draws * pace) for name in TIMED}
    return sums


def metrics(sums: Mapping[str, Quantity]) -> dict[str, Quantity]:
    """Divide sums into metrics."""
    return {name: sums[m.above] / sums[m.below] for name, m in METRICS.items()}


def seeds(rows: pd.DataFrame) -> list[Any]:
    """Which training seeds a policy's answers are of; one where there is no such column."""
    return sorted(rows["seed"].unique()) if "seed" in rows else [0]


def of_seed(rows: pd.DataFrame, seed: Any) -> pd.DataFrame:
    """The answers of one training seed; all where only one was trained, whose answers stand beside any other's."""
    return rows[rows["seed"] == seed] if len(seeds(rows)) > 1 else rows


def with_seeds(quantity: Quantity, each: Sequence[Quantity], log: bool, resampling: Resampling) -> Quantity:
    """Add what another training could have changed to the draws of a quantity that is pooled over training seeds.

    Seeds scatter for two reasons: trainings had different luck, and each answered in its own way on these families. Draws of families hold
    the second already, and tell how much of it there is; what is left of the seeds' variance is luck, whose error is drawn from a normal
    distribution. Families and seeds together have degrees of freedom between those of each: tails become those of Student's t with them.

    Args:
        quantity: pooled over seeds.
        each: the same of each seed alone, on the same draws; with fewer than two nothing is added, and an undefined one leaves the quantity
            without limits.
        log: whether seeds scatter by factors (costs and ratios) or by amounts (shares and differences).
        resampling: whose draws the quantity's are; further draws come from a generator of their own.

    Source: Satterthwaite 1946, Biometrics Bulletin 2 (6): degrees of freedom of a sum of estimated variances.
    """
    if len(each) < 2:
        return quantity
    k, n = len(each), len(resampling.families)
    table = np.array([[q.point, *q.draws] for q in [quantity, *each]])
    with np.errstate(divide="ignore", invalid="ignore"):
        table = np.log(table) if log else table
    points, drawn = table[1:, 0], table[0, 1:]
    if not np.isfinite(points).all():
        return Quantity(quantity.point, np.full_like(quantity.draws, np.nan))
    finite = table[:, 1:][:, np.isfinite(table[:, 1:]).all(axis=0)]
    if n < 2 or finite.shape[1] < 2:
        return quantity
    few = n / (n - 1)  # draws of few families scatter too little, see `interval`
    of_families = few * float(finite[0].var())
    apart = few * float((finite[1:] - finite[1:].mean(axis=0)).var(axis=1).sum()) / (k - 1)
    scatter = float(points.var(ddof=1))
    of_luck = max(0.0, scatter - apart) / k
    uncertain = of_families**2 / (n - 1) + (scatter / k) ** 2 / (k - 1)
    if not uncertain > 0:
        return quantity
    total = of_families + of_luck
    # a sum has at least the degrees of freedom of its poorest part; luck that is estimated as 0 though seeds scatter would say fewer
    freedom = max(total**2 / uncertain, float(min(n, k) - 1))
    # the same seeds of training for all metrics and policies, and so the same draws of luck
    luck = math.sqrt(of_luck / few) * np.random.default_rng([1946, k]).standard_normal(len(drawn))
    centre = float(np.median(finite[0]))
    score = (drawn - centre + luck) / math.sqrt(total)
    from scipy.stats import t

    # `interval` and `bootstrap_p` take scores for Student's t of the families alone: each is moved to where it belongs at its tail
    moved = centre + math.sqrt(total) * np.sign(score) * t.isf(t.sf(np.abs(score), n - 1), freedom)
    return Quantity(quantity.point, np.exp(moved) if log else moved)


def quotient(rows: pd.DataFrame, metric: Metric, resampling: Resampling) -> Quantity:
    """A metric on the data and in every draw, without errors of pace; `rows` with the columns of `SUMMED`."""
    sums = resampling.sums(rows, [metric.above, metric.below])
    return sums[metric.above] / sums[metric.below]


def policy_metrics(rows: pd.DataFrame, resampling: Resampling, pace: Array | None = None) -> dict[str, dict[str, Any]]:
    """Estimate every metric of one policy.

    Args:
        rows: its answers, see `count_columns`; of several training seeds where there is a column `seed`.
        resampling: the draws shared by all policies.
        pace: the policy's errors of pace, see `Resampling.paces`.

    Returns:
        For each metric of `METRICS` and each count an estimate as a dictionary; `pass_rate` has `wilson_low` and
        `wilson_high` besides; `pass_at_<k>` where every problem has at least k > 1 graded answers.
    """
    counted = count_columns(rows)
    sums = policy_sums(counted, resampling, pace)
    families = counted["family"].nunique()
    own = [of_seed(counted, seed) for seed in seeds(counted)]
    result = {}
    for name, quantity in metrics(sums).items():
        metric = METRICS[name]
        each = [quotient(part, metric, resampling) for part in own]
        quantity = with_seeds(quantity, each, name not in SHARES, resampling)
        result[name] = estimate(quantity, metric.unit, families, metric.undefined).as_dict()
    # several answers to a problem, of one policy or of three trained alike, are no several problems
    result["pass_rate"] = with_wilson(result["pass_rate"], _problems(counted, "graded"))
    result["cap_share"] = with_wilson(result["cap_share"], _problems(counted, "answers"), always=False)
    result |= {name: Estimate(sums[name].point, None, None, "answers").as_dict() for name in COUNTS}
    return result | pass_at(counted, resampling)


def _problems(counted: pd.DataFrame, what: str) -> int:
    """How many problems have an answer that is counted as `what`."""
    return int(counted.loc[counted[what] > 0, "problem_id"].nunique())


def with_wilson(rate: dict[str, Any], problems: int, always: bool = True) -> dict[str, Any]:
    """Add Wilson's interval to a share of answers; it stands in where resampling shows no spread, which is no certainty.

    Limits are kept within 0 and 1, which draws with the luck of training can leave.

    Args:
        rate: an estimate as a dictionary.
        problems: what counts as a trial, however many answers each has.
        always: or only where it stands in.
    """
    if problems < 1 or rate["estimate"] is None:
        return rate
    rate = rate | {name: min(max(rate[name], 0.0), 1.0) for name in ("low", "high") if rate.get(name) is not None}
    low, high = wilson(rate["estimate"] * problems, problems)
    rate = rate | ({"wilson_low": low, "wilson_high": high} if always else {})
    if rate["estimate"] in (0, 1):
        rate |= {"low": low, "high": high, "reason": "all answers alike, so Wilson's interval"}
    return rate


def pass_at(counted: pd.DataFrame, resampling: Resampling) -> dict[str, dict[str, Any]]:
    """Estimate pass@k, the mean of the problems' unbiased estimates, for every k of `PASS_AT` that all problems allow.

    Args:
        counted: one row an answer: `family`, `problem_id`, `graded` and `passed` (0 or 1).
        resampling: the draws.

    Returns:
        `pass_at_<k>` -> estimate as a dictionary; problems without a graded answer are left out.
    """
    graded = counted[counted["graded"] == 1]
    once = [
        "family",
        "problem_id",
        *(["seed"] if "seed" in graded else []),
    ]  # answers of one policy, not of three trained alike
    problems = graded.groupby(once)[["graded", "passed"]].sum().reset_index()
    most = int(problems["graded"].min()) if len(problems) else 0
    result = {}
    for k in (k for k in PASS_AT if k <= most):
        values = [pass_at_k(int(n), int(c), k) for n, c in zip(problems["graded"], problems["passed"], strict=True)]
        rated, mean = problems.assign(value=values, one=1), Metric("value", "one", "share")
        own = [quotient(of_seed(rated, seed), mean, resampling) for seed in seeds(rated)]
        quantity = with_seeds(quotient(rated, mean, resampling), own, False, resampling)
        value = estimate(quantity, "share", problems["family"].nunique()).as_dict()
        result[f"pass_at_{k}"] = with_wilson(value, problems["problem_id"].nunique(), always=False)
    return result


def common_problems(parts: Sequence[pd.DataFrame]) -> list[pd.DataFrame]:
    """Keep what is comparable: problems that every policy answered, and verdicts of those that every policy had graded.

    Args:
        parts: answers of each policy, see `count_columns`.

    Returns:
        The same with the columns of `SUMMED`.
    """
    # a failed request is no answer of length 0
    shared = set.intersection(*(set(part.loc[part["finish"] != "failed", "problem_id"]) for part in parts))
    found = [count_columns(part[part["problem_id"].isin(shared)]) for part in parts]
    graded = set.intersection(*(set(part.loc[part["graded"] == 1, "problem_id"]) for part in found))
    credit = ["passed", *(name for name in SUMMED if name.startswith("graded"))]
    for part in found:
        part.loc[~part["problem_id"].isin(graded), credit] = 0
    return found


def compare(
    rows: pd.DataFrame,
    base: pd.DataFrame,
    resampling: Resampling,
    generator: np.random.Generator,
    paces: tuple[Array | None, Array | None] = (None, None),
    compared: int = 1,
) -> dict[str, dict[str, Any]]:
    """Compare one policy with the baseline, on the problems that both answered (pass rates: that both had graded).

    Args:
        rows, base: answers of the policy and of the baseline, see `count_columns`.
        resampling: the draws shared by all policies.
        generator: randomness of the sign-flip test.
        paces: errors of pace of the policy and of the baseline, see `Resampling.paces`.
        compared: policies that will be compared with the baseline; what is detectable must outlive Holm's first step among as many.

    Returns:
        For each metric an estimate as a dictionary with `kind` (`difference` for shares that count answers, `ratio`
        otherwise) and `verdict`. `pass_rate` has `p`, `n`, `discordance`, `design_effect` and `detectable` (see
        `_paired`) besides.
    """
    own, other = common_problems([rows, base])
    families = own["family"].nunique()
    ours, theirs = (
        metrics(policy_sums(part, resampling, pace)) for part, pace in zip((own, other), paces, strict=True)
    )
    result: dict[str, dict[str, Any]] = {}
    for name, metric in METRICS.items():
        kind, neutral = ("difference", 0.0) if name in DIFFERENCES else ("ratio", 1.0)
        each = by_seed(own, other, metric, kind, resampling)
        if kind == "difference":
            change = with_seeds(ours[name].minus(theirs[name]), each, False, resampling)
            value = estimate(change, metric.unit, families, metric.undefined)
        else:
            change = with_seeds(_ratio(ours[name], theirs[name]), each, True, resampling)
            value = estimate(change, "ratio", families, _whose(ours[name], metric.undefined))
        untested = name in GIVEN or boundless(kind, value.low, value.high)
        p = None if untested else bootstrap_p(change.draws, neutral, families)
        result[name] = value.as_dict() | {"kind": kind, "verdict": verdict(value, neutral), "p": p}
        if len(each) > 1:
            result[name]["seeds"] = [q.point if math.isfinite(q.point) else None for q in each]
    # of one training's answers to a problem, best of n with all that was drawn
    lengths = [part.groupby(["family", "problem_id"])[["tokens", "capped", "answers"]].sum() for part in (own, other)]
    cut = [part["capped"] / part["answers"] for part in lengths]
    if len(cut[0]) and not (cut[0] - cut[1]).abs().max() > 0:
        bound = wilson(0, len(cut[0]))[1]
        result["cap_share"] |= {"low": -bound, "high": bound, "verdict": NO_DIFFERENCE, "reason": NONE_DIFFERS}
    if families > 1:
        gaps = lengths[0]["tokens"] / lengths[0]["answers"] - lengths[1]["tokens"] / lengths[1]["answers"]
        moved = gaps.groupby("family").sum().to_numpy(dtype=np.float64)
        flipped = sign_flip_p(moved, len(resampling.weights), generator)
        value_p = result["tokens_per_answer"]["p"]
        several = "seeds" in result["tokens_per_answer"]  # which flips know nothing of
        result["tokens_per_answer"]["p"] = max(flipped, value_p) if several and value_p is not None else flipped
    result["pass_rate"] = _paired(result["pass_rate"], own, other, resampling, generator, ALPHA / compared)
    return result


def by_seed(
    own: pd.DataFrame, other: pd.DataFrame, metric: Metric, kind: str, resampling: Resampling
) -> list[Quantity]:
    """A metric's change against the baseline in each training seed that both have; one that was trained once stands beside every seed.

    Nothing where neither has several.
    """
    each = [seeds(part) for part in (own, other)]
    if max(map(len, each)) < 2:
        return []
    found = []
    for seed in sorted(set.intersection(*(set(part) for part in each if len(part) > 1))):
        ours, theirs = (quotient(of_seed(part, seed), metric, resampling) for part in (own, other))
        found.append(ours.minus(theirs) if kind == "difference" else _ratio(ours, theirs))
    return found


def adjust(comparisons: Mapping[str, dict[str, dict[str, Any]]]) -> None:
    """Take back verdicts that do not outlive the number of comparisons; add `p_adjusted` and `adjustment`.

    The confirmatory metrics (`CONFIRMATORY`) are families of their own, each adjusted over policies by Holm's method, which bounds the
    chance of any false claim. All others together are exploratory: Benjamini and Hochberg bound the expected share of false ones.
    """
    from statsmodels.stats.multitest import multipletests

    tested = [(arm, name) for arm, row in comparisons.items() for name in row if row[name].get("p") is not None]
    families = [("holm", [pair for pair in tested if pair[1] == name]) for name in CONFIRMATORY]
    families.append(("fdr_bh", [pair for pair in tested if pair[1] not in CONFIRMATORY]))
    for method, pairs in families:
        values = [comparisons[arm][name] for arm, name in pairs]
        adjusted = multipletests([value["p"] for value in values], method=method)[1] if values else []
        for value, p in zip(values, adjusted, strict=True):
            value |= {"p_adjusted": float(p), "adjustment": {"holm": "Holm", "fdr_bh": "BH"}[method]}
            if value["verdict"] in ("higher", "lower") and p >= ALPHA:
                value |= {
                    "verdict": NO_DIFFERENCE,
                    "reason": f"p = {p:.2g} after adjustment for {len(pairs)} comparisons",
                }


def _ratio(ours: Quantity, theirs: Quantity) -> Quantity:
    ratio = ours / theirs
    # Against a baseline that is itself infinite a ratio of 0 would look like a gain beyond measure.
    return ratio if math.isfinite(theirs.point) else Quantity(math.nan, ratio.draws)


def _whose(ours: Quantity, undefined: str) -> str:
    return undefined + (" in the baseline" if math.isfinite(ours.point) else "")


def _paired(
    value: dict[str, Any],
    own: pd.DataFrame,
    other: pd.DataFrame,
    resampling: Resampling,
    generator: np.random.Generator,
    alpha: float,
) -> dict[str, Any]:
    """Add what only the paired pass rates have.

    `discordance`: mean squared difference of a problem's two pass rates (with one answer each: the share of problems
    that differ); `design_effect`: variance of the mean difference by families over the variance by problems;
    `detectable`: the smallest true difference seen with 80 % power at level alpha, and never less than the test needs to see: k families
    that differ, all in one direction, have p = 2 / 2^k;
    `p`: sign-flip test by families. A difference is called one only if interval and test agree.
    """
    rates = [part[part["graded"] == 1].groupby(["family", "problem_id"])["passed"].mean() for part in (own, other)]
    difference = (rates[0] - rates[1]).rename("d").reset_index()
    n = len(difference)
    if not n:
        return value
    d = difference["d"].to_numpy(dtype=np.float64)
    discordance = float((d**2).mean())
    p = sign_flip_p(
        difference.groupby("family")["d"].sum().to_numpy(dtype=np.float64), len(resampling.weights), generator
    )
    sums = resampling.sums(difference.assign(one=1), ["d", "one"])
    spread = float(np.nanvar((sums["d"] / sums["one"]).draws))
    effect = spread / (d.var() / n) if d.var() > 0 and math.isfinite(spread) else 1.0
    bound = wilson(0, n)[1]
    # With no discordant problem seen their share is bounded, not zero.
    fewest = math.ceil(math.log2(2 / alpha))
    detectable = max(minimum_detectable_effect(discordance or bound, n, effect, alpha), min(1.0, fewest / n))
    if "seeds" in value and None not in value["seeds"]:
        from scipy.stats import t

        k, each = len(value["seeds"]), np.array(value["seeds"])
        seen = float(t.isf(alpha / 2, k - 1) + t.isf(0.2, k - 1)) * float(each.std(ddof=1)) / math.sqrt(k)
        detectable, p = max(detectable, min(1.0, seen)), max(p, value["p"] if value["p"] is not None else 1.0)
    extra = {"p": p, "n": n, "discordance": discordance, "design_effect": effect, "detectable": detectable}
    if discordance == 0:
        value = value | {"low": -bound, "high": bound, "verdict": NO_DIFFERENCE}
        return value | extra | {"reason": NONE_DIFFERS}
    if value["verdict"] in ("higher", "lower") and p >= ALPHA:
        value = value | {"verdict": NO_DIFFERENCE, "reason": f"too few problems differ (sign-flip test, p = {p:.2g})"}
    return value | extra


def decompose(
    rows: pd.DataFrame,
    base: pd.DataFrame,
    resampling: Resampling,
    paces: tuple[Array | None, Array | None] = (None, None),
) -> dict[str, dict[str, Any]]:
    """Split the ratio of seconds per correct answer into factors whose product it is.

    Args:
        rows, base: answers of the policy and of the baseline.
        resampling: the draws shared by all policies.
        paces: errors of pace of both.

    Returns:
        Ratios to the baseline as dictionaries, by factor (`tradeoffs.analysis.identity.FACTORS`; `COARSE` where either engine does not
        tell how it batches), and `total`. Each has `log`, `log_low` and `log_high`, the logarithm and its interval; logarithms of factors
        add up to that of the total. Where the total's interval excludes 1, `percent` is a factor's share of it.
    """
    own, other = common_problems([rows, base])
    ours, theirs = (policy_sums(part, resampling, pace) for part, pace in zip((own, other), paces, strict=True))
    told = all(part.loc[part["graded"] == 1, "graded_roof"].notna().all() for part in (own, other))
    factors = identity.FACTORS if told else identity.COARSE
    parts = identity.ratios(ours, theirs, factors)
    whole = METRICS["seconds_per_correct"]
    parts["total"] = _ratio(ours[whole.above] / ours[whole.below], theirs[whole.above] / theirs[whole.below])
    for name, (above, below) in (factors | {"total": (whole.above, whole.below)}).items():
        each = by_seed(own, other, Metric(above, below, "ratio"), "ratio", resampling)
        parts[name] = with_seeds(parts[name], each, True, resampling)
    families = own["family"].nunique()
    unmeasured = "no answer passed in the policy or the baseline"
    found = {name: estimate(q, "ratio", families, unmeasured).as_dict() for name, q in parts.items()}
    total = found["total"]
    clear = math.isfinite(parts["total"].point) and verdict(Estimate(**total), 1.0) in ("higher", "lower")
    for value in found.values():
        value |= {f"log{end}": _log(value[key]) for end, key in (("", "estimate"), ("_low", "low"), ("_high", "high"))}
    for name, value in found.items():
        if clear and name != "total" and value["log"] is not None:
            value["percent"] = 100 * value["log"] / total["log"]
    return found


def _log(value: float | None) -> float | None:
    return math.log(value) if value is not None and value > 0 else None


def decompose_seconds(
    rows: pd.DataFrame,
    base: pd.DataFrame,
    resampling: Resampling,
    paces: tuple[Array | None, Array | None] = (None, None),
) -> dict[str, dict[str, Any]]:
    """Split the logarithm of the ratio of seconds an attempt, which are seconds of prompts and of decoding, each a product.

    Returns:
        `<part>: <factor>` (`tradeoffs.analysis.identity.PARTS`) and `total` -> estimates in log units that add up to the total, as
        dictionaries; empty where an engine does not tell.

    Source: LMDI, see `tradeoffs.analysis.identity.lmdi`.
    """
    own, other = common_problems([rows, base])
    graded = [part.loc[part["graded"] == 1, "graded_roof"] for part in (own, other)]
    if not all(len(part) and part.notna().all() for part in graded):
        return {}
    both = []
    for part, pace in zip((own, other), paces, strict=True):
        sums = policy_sums(part, resampling, pace)
        stacked = {name: np.concatenate([[q.point], q.draws]) for name, q in sums.items()}
        with np.errstate(divide="ignore", invalid="ignore"):  # a draw without any graded answer is undefined
            parts = {p: {f: stacked[a] / stacked[b] for f, (a, b) in fs.items()} for p, fs in identity.PARTS.items()}
        both.append(parts)
    if any(not values[0] > 0 for parts in both for part in parts.values() for values in part.values()):
        return {}  # such as a policy that always stops at once: no decoding to split
    both = [{p: {f: np.where(v > 0, v, np.nan) for f, v in fs.items()} for p, fs in parts.items()} for parts in both]
    split = {f"{part}: {factor}": value for (part, factor), value in identity.lmdi(*both).items()}
    split["total"] = np.sum(list(split.values()), axis=0)
    families = own["family"].nunique()
    return {
        name: estimate(Quantity(float(value[0]), value[1:]), "log ratio", families).as_dict()
        for name, value in split.items()
    }


def _plane(
    rows: Mapping[str, pd.DataFrame], resampling: Resampling, paces: Mapping[str, Array] | None
) -> tuple[Array, Array]:
    """Pass rate and seconds an answer of every policy in every draw, both of shape (policies, draws).

    Undefined in a draw (none of its families): neither on the front nor in anyone's way.
    """
    found = [
        metrics(policy_sums(count_columns(part), resampling, (paces or {}).get(name))) for name, part in rows.items()
    ]
    rate = np.stack([np.nan_to_num(m["pass_rate"].draws, nan=-np.inf) for m in found])
    return rate, np.stack([np.nan_to_num(m["seconds_per_answer"].draws, nan=np.inf) for m in found])


def attainment(
    rows: Mapping[str, pd.DataFrame], resampling: Resampling, paces: Mapping[str, Array] | None = None
) -> pd.DataFrame:
    """What some policy attains with what chance: curves of pass rate over seconds an answer.

    A point is attained in a draw if some policy is at least as correct in at most its time.

    Returns:
        Corners of the curves: `attained` (% of draws: 5, 50, 95), `seconds_per_answer`, `pass_rate`, in order of time.

    Source: empirical attainment function, Grunert da Fonseca et al. 2001; moocore.
    """
    import moocore

    rate, seconds = _plane(rows, resampling, paces)
    points = np.stack([seconds.T.ravel(), -rate.T.ravel()], axis=1)  # both to be small
    sets = np.repeat(np.arange(1, rate.shape[1] + 1), len(rate))
    usable = np.isfinite(points).all(axis=1)
    columns = ["attained", "seconds_per_answer", "pass_rate"]
    if not usable.any():
        return pd.DataFrame(columns=columns)
    curves = moocore.eaf(points[usable], sets=sets[usable], percentiles=list(ATTAINED))
    table = pd.DataFrame({"seconds_per_answer": curves[:, 0], "pass_rate": -curves[:, 1], "attained": curves[:, 2]})
    return table.sort_values(["attained", "seconds_per_answer"])[columns].reset_index(drop=True)


def front_shares(
    rows: Mapping[str, pd.DataFrame], resampling: Resampling, paces: Mapping[str, Array] | None = None
) -> dict[str, float]:
    """Give each policy's share of draws in which no other dominates it on pass rate and seconds an answer.

    Dominates: as good on both and better on one.

    A front drawn through point estimates flatters (the best of noisy values is too good); a share of draws does not.
    """
    rate, seconds = _plane(rows, resampling, paces)
    shares = {}
    for i, name in enumerate(rows):
        as_good = (rate >= rate[i]) & (seconds <= seconds[i])
        better = (rate > rate[i]) | (seconds < seconds[i])
        shares[name] = float(1 - (as_good & better).any(axis=0).mean())
    return shares


def group_table(rows: pd.DataFrame, by: str, draws: int, seed: int) -> pd.DataFrame:
    """Estimate pass rate, tokens and seconds an answer for each policy and each value of a column.

    Args:
        rows: answers of all policies, with a column `arm` (categories keep its order).
        by: column to split by, such as `library`.
        draws, seed: resamples of each group's own families, the same for all policies: in those of all families a small group would be
            there more or less often, or not at all.

    Returns:
        One row a policy and value: counts, `pass_rate` (share) with `low` and `high` (Wilson's where resampling gives none),
            `tokens_per_answer`, `seconds_per_answer` (s).
    """
    table = []
    told = rows.dropna(subset=[by])
    resamplings: dict[Any, Resampling] = {
        value: Resampling.draw(part["family"], draws, np.random.default_rng(seed))
        for value, part in told.groupby(by, observed=True)
    }
    for (arm, value), part in told.groupby(["arm", by], observed=True):
        found = policy_metrics(part, resamplings[value])
        rate = found["pass_rate"]
        line = {"arm": arm, by: value} | {name: int(found[name]["estimate"]) for name in COUNTS}
        low, high = rate["low"], rate["high"]
        if low is None or high is None:
            low, high = rate.get("wilson_low"), rate.get("wilson_high")
        line |= {"pass_rate": rate["estimate"], "low": low, "high": high}
        table.append(line | {name: found[name]["estimate"] for name in ("tokens_per_answer", "seconds_per_answer")})
    columns = ["arm", by, *COUNTS, "pass_rate", "low", "high", "tokens_per_answer", "seconds_per_answer"]
    return pd.DataFrame(table, columns=columns)
