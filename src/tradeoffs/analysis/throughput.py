"""Tokens per second at forced lengths: is a policy as fast as the baseline, within a margin fixed beforehand?

The replicate is the block: it times every policy once, so policies share the machine's mood, and the log-ratio to the
baseline within a block is what is averaged. "Not significantly different" is no evidence of equality, so equality is
tested by itself: two one-sided tests (TOST) at the margin. Both, either or neither of "equivalent" and "different" can
hold.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tradeoffs.analysis.estimates import LEVEL, Estimate
from tradeoffs.analysis.identity import work

ALPHA = 1 - LEVEL
MARGINS = (0.01, 0.02, 0.05)  # shown beside the one that was fixed beforehand
SLACK = 0.005  # log units
CONTROL, UNMERGED = "control: ", " (unmerged)"  # in the names of what is timed beside the policies
RATES = {  # name -> what is divided by what, and the unit
    "tokens_per_s": ("new", "seconds", "tokens/s"),
    "decode_tokens_per_s": ("decoded", "decode_s", "tokens/s"),
    "prefill_tokens_per_s": ("prompt", "prefill_s", "tokens/s"),
    "joules_per_token": ("energy_j", "new", "J/token"),
}


def block_rates(timings: pd.DataFrame) -> pd.DataFrame:
    """Give each policy's rates in each block.

    Args:
        timings: one row a `tradeoffs.records.Timing`.

    Returns:
        Index (block, policy), columns: `tokens_per_s` (output tokens over prefill and decoding), `decode_tokens_per_s`
        (tokens after the first over decoding), `prefill_tokens_per_s` (prompt tokens over prefill), `joules_per_token` (joules of
        prefill and decoding over output tokens; NaN where one of them was not read), `flagged`.
    """
    rows = timings.assign(
        new=timings.batch_size * timings.new_tokens,
        decoded=timings.batch_size * (timings.new_tokens - 1),
        prompt=timings.batch_size * timings.prompt_tokens,
        seconds=timings.prefill_s + timings.decode_s,
    )
    rows["energy_j"] = rows["energy_j"].astype(float) if "energy_j" in rows else np.nan
    needed = sorted({name for pair in RATES.values() for name in pair[:2]})
    grouped = rows.groupby(["block", "policy"])
    sums = grouped[needed].sum()
    sums["energy_j"] = sums["energy_j"].where(grouped["energy_j"].count() == grouped.size())
    rates = pd.DataFrame({name: sums[above] / sums[below] for name, (above, below, _) in RATES.items()})
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


def paired_p(policy: NDArray[np.float64], baseline: NDArray[np.float64], margin: float) -> tuple[float, float]:
    """p-values of two questions on the logarithms of the same blocks: are they equivalent within the margin, and do they differ?

    Args:
        policy, baseline: log tokens/s, shape (blocks,), at least two.
        margin: accepted change of the ratio, such as 0.02; the region is +-ln(1 + margin).

    Returns:
        TOST's p-value, and that of the paired t-test.

    Source: Schuirmann 1987, J. Pharmacokinet. Biopharm. 15; statsmodels' `ttost_paired`.
    """
    from scipy.stats import ttest_rel
    from statsmodels.stats.weightstats import ttost_paired

    limit = math.log1p(margin)
    with np.errstate(divide="ignore", invalid="ignore"):  # blocks that agree exactly have no spread
        same = float(ttost_paired(policy, baseline, -limit, limit)[0])
        other = float(ttest_rel(policy, baseline).pvalue)
    return same, 1.0 if math.isnan(other) else other


def word(equivalent: bool, different: bool) -> str:
    """The verdict of both tests: `equivalent`, `different`, `both` (it differs, but within the margin) or `inconclusive`."""
    words = {
        (True, True): "both",
        (True, False): "equivalent",
        (False, True): "different",
        (False, False): "inconclusive",
    }
    return words[equivalent, different]


def holm(p: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values: whatever is called at the level, all of it is right with that confidence."""
    if len(p) < 2:
        return list(p)  # which statsmodels would give as well, after a collection of garbage
    from statsmodels.stats.multitest import multipletests

    return [float(value) for value in multipletests(list(p), method="holm")[1]]


def compare_throughput(
    timings: pd.DataFrame, policies: list[str], baseline: str, margin: float
) -> dict[str, dict[str, Any]]:
    """Compare every policy's tokens per second with the baseline's.

    Equivalence and difference are each tested for all policies together, with Holm's adjustment, so that naming one of many costs
    something. Intervals are those of each policy by itself.

    Args:
        timings: one row a `tradeoffs.records.Timing`.
        policies: names in order; those without timings are left out here and have to be named by the caller.
        baseline: the policy to compare with.
        margin: see `paired_p`.

    Returns:
        For each policy the rates of `block_rates`, `ratio` of its tokens/s and `joules_ratio` of its joules a token to the baseline's
        (estimates as dictionaries; joules are left out where they were not read in every block), `tost_p` and `difference_p` (adjusted),
        `verdict` (`baseline` for the baseline itself), `verdicts` (at the margins of `MARGINS`), `blocks` (used).
    """
    rates = block_rates(timings)
    timed = set(rates.index.get_level_values("policy"))
    policies = [name for name in policies if name in timed]
    blocks = usable_blocks(rates, policies)
    logs = {
        (policy, rate): np.log(table[policy].loc[blocks].to_numpy(dtype=np.float64))
        for rate in RATES
        for table in (rates[rate].unstack("policy"),)
        for policy in policies
    }
    result: dict[str, dict[str, Any]] = {}
    for policy in policies:
        row: dict[str, Any] = {
            rate: t_interval(logs[policy, rate], unit).as_dict()
            for rate, (*_, unit) in RATES.items()
            if not np.isnan(logs[policy, rate]).any()
        }
        if policy == baseline:
            ratio = Estimate(1.0, None, None, "ratio", "the baseline itself")
        elif baseline not in timed:
            ratio = Estimate(None, None, None, "ratio", f"the baseline {baseline} was not timed")
        else:
            ratio = t_interval(logs[policy, "tokens_per_s"] - logs[baseline, "tokens_per_s"], "ratio")
        found = "baseline" if policy == baseline else "inconclusive"
        joules = logs[policy, "joules_per_token"] - logs.get((baseline, "joules_per_token"), np.array([np.nan]))
        if policy != baseline and len(joules) and not np.isnan(joules).any():
            row["joules_ratio"] = t_interval(joules, "ratio").as_dict()
        row |= {"ratio": ratio.as_dict(), "tost_p": None, "difference_p": None, "verdict": found, "verdicts": {}}
        result[policy] = row | {"blocks": len(blocks)}
    tested = [name for name in policies if name != baseline] if baseline in timed and len(blocks) > 1 else []
    for size in sorted({*MARGINS, margin}):
        pairs = [paired_p(logs[name, "tokens_per_s"], logs[baseline, "tokens_per_s"], size) for name in tested]
        same, other = (holm([pair[side] for pair in pairs]) for side in (0, 1))
        for name, p_same, p_other in zip(tested, same, other, strict=True):
            found = word(p_same < ALPHA, p_other < ALPHA)
            result[name]["verdicts"][f"{100 * size:g} %"] = found
            if size == margin:
                result[name] |= {"tost_p": p_same, "difference_p": p_other, "verdict": found}
    return result


class Power(NamedTuple):
    """What a run of some blocks can see, foretold from a pilot.

    Attributes:
        sd: of a block's log-ratio of the baseline to itself.
        blocks: planned.
        power: chance to find a policy equivalent that is.
        needed: blocks for a chance of 90 %; None beyond 1,000.
        detectable: the smallest true change that the t-test sees with 80 % chance, as a ratio less 1.
        sd_run, detectable_run: the same from the policies' own block ratios, once they are there: a pilot is short and may flatter.
    """

    sd: float
    blocks: int
    power: float
    needed: int | None
    detectable: float
    sd_run: float | None = None
    detectable_run: float | None = None


def tost_power(sd: float, blocks: int, margin: float, draws: int = 20_000, seed: int = 0, compared: int = 1) -> float:
    """Chance that TOST finds two equal policies equivalent, by simulation of the block log-ratios' mean and spread.

    Args:
        sd: of one block's log-ratio.
        blocks: replicates.
        margin: accepted change of the ratio.
        compared: policies that are tested together; the first of them is held to the level divided by their number (Holm).
    """
    from scipy.stats import t

    rng = np.random.default_rng(seed)
    mean = rng.normal(0, sd / math.sqrt(blocks), draws)
    spread = sd * np.sqrt(rng.chisquare(blocks - 1, draws) / (blocks - 1))
    half = t.isf(ALPHA / compared, blocks - 1) * spread / math.sqrt(blocks)
    return float((np.abs(mean) + half < math.log1p(margin)).mean())


def foretell(pilot: pd.DataFrame, blocks: int, margin: float, compared: int = 1) -> Power:
    """Say from a pilot, the baseline timed twice in each block, what a run can see.

    Args:
        pilot: rows of kind `pilot`, policies `a` and `b`; flagged blocks count where fewer than two are left without them.
        blocks: planned.
        margin: of equivalence.
        compared: policies that will be tested together.

    Raises:
        ValueError: fewer than two pilot blocks.
    """
    every = block_rates(pilot)
    rates = every["tokens_per_s"].unstack("policy")
    # a busy machine's pilot tells more than none
    usable = usable_blocks(every, ["a", "b"])
    rates = rates.loc[usable] if len(usable) >= 2 else rates
    ratios = (rates["a"] / rates["b"]).dropna().map(math.log)
    if len(ratios) < 2:
        raise ValueError(f"pilot_blocks: got {len(ratios)} usable; accepts at least 2")
    # Equal by construction: the spread around zero, not around their mean.
    sd = float(np.sqrt((ratios**2).mean()))
    needed = next((n for n in range(3, 1001) if tost_power(sd, n, margin, 4000, compared=compared) >= 0.9), None)
    return Power(sd, blocks, tost_power(sd, blocks, margin, compared=compared), needed, _seen(sd, blocks, compared))


def _seen(sd: float, blocks: int, compared: int) -> float:
    from statsmodels.stats.power import TTestPower

    return math.expm1(abs(float(TTestPower().solve_power(nobs=blocks, alpha=ALPHA / compared, power=0.8))) * sd)


def looked_back(told: Power, timings: pd.DataFrame, order: Sequence[str], base: str) -> Power:
    """Add to what a pilot foretold what the run's own scatter says: the median over policies of the sd of their block log-ratios.

    Args:
        told: see `foretell`.
        timings: rows of kind `policies`.
        order: the policies.
        base: their baseline.
    """
    rates = block_rates(timings)
    logs = rates["tokens_per_s"].unstack("policy").loc[usable_blocks(rates, list(order))].map(math.log)
    others = [name for name in order if name != base]
    if base not in logs or not others or len(logs) < 2:
        return told
    sd = float(np.median([(logs[name] - logs[base]).std(ddof=1) for name in others]))
    return told._replace(sd_run=sd, detectable_run=_seen(sd, len(logs), len(others)))


def foretold(pilot: pd.DataFrame, blocks: int, margin: float, compared: int = 1) -> str:
    """`foretell` in two sentences."""
    found = foretell(pilot, blocks, margin, compared)
    needed = f"{found.needed} blocks give 90 %" if found.needed else "even 1,000 blocks would not give 90 %"
    return (
        f"Pilot: a block's ratio of the baseline to itself scatters by {100 * found.sd:.2f} % (standard deviation). With {blocks} blocks a "
        f"policy of equal speed is found equivalent within {100 * margin:g} % with {100 * found.power:.0f} % chance ({needed}), and a "
        f"change of {100 * found.detectable:.2f} % is seen with 80 % chance."
    )


class SelfCheck(NamedTuple):
    """The baseline against itself, in many studies.

    Attributes:
        p: p-values of "they differ", one a study.
        uniform_p: Kolmogorov-Smirnov test of their being uniform, as they must where nothing differs.
        false_alarms: studies below the level; `bound`: as many are exceeded with less than 1 % chance.
        equivalent: studies found equivalent within the margin.
    """

    p: list[float]
    uniform_p: float
    false_alarms: int
    bound: int
    equivalent: int

    @property
    def passed(self) -> bool:
        """Whether neither the distribution nor the number of false alarms is out of bounds."""
        return self.uniform_p >= 0.01 and self.false_alarms <= self.bound


def self_check(timings: pd.DataFrame, margin: float) -> SelfCheck | None:
    """Send every study of the baseline against itself through the same blocks, flags and tests as the policies.

    Args:
        timings: rows of kind `self-check`, policies `<n>a` and `<n>b`.
        margin: of equivalence.

    Returns:
        None where there is none.
    """
    from scipy.stats import binom, kstest

    rows = timings[timings["kind"] == "self-check"]
    studies = sorted({name[:-1] for name in rows["policy"]}, key=int)
    found = []
    for study in studies:
        own = rows[rows["policy"].isin([f"{study}a", f"{study}b"])]
        compared = compare_throughput(own, [f"{study}a", f"{study}b"], f"{study}a", margin)[f"{study}b"]
        if compared["difference_p"] is not None:
            found.append(compared)
    if not found:
        return None
    p = [row["difference_p"] for row in found]
    return SelfCheck(
        p,
        float(kstest(p, "uniform").pvalue),
        sum(value < ALPHA for value in p),
        int(binom.ppf(0.99, len(p), ALPHA)),
        sum(row["verdict"] in ("equivalent", "both") for row in found),
    )


FORCED = {
    "length": ("tokens", "rows"),
    "batching": ("passes", "tokens"),
    "roofline": ("roof", "passes"),
    "efficiency": ("decode_s", "roof"),
    "prompt": ("seconds", "decode_s"),
}


def explain_blocks(
    timings: pd.DataFrame, policy: str, baseline: str, weight_bytes: float, kv_bytes_per_token: float
) -> dict[str, dict[str, Any]]:
    """Split the log-ratio of seconds a row between two policies into the factors of the identity, block by block.

    Returns:
        Factor -> estimate in log units with a t interval over blocks, as a dictionary; `total` is their sum.
    """
    rows = timings.assign(
        tokens=timings["new_tokens"],
        slots=timings["new_tokens"],
        seconds=(timings["prefill_s"] + timings["decode_s"]) / timings["batch_size"],
        prefill_s=timings["prefill_s"] / timings["batch_size"],
    )
    done = work(rows, weight_bytes, kv_bytes_per_token).assign(rows=1)
    usable = usable_blocks(block_rates(timings), [policy, baseline])
    done = done[done["block"].isin(usable)]
    # one row stands for its batch: all its rows are alike
    sums = done.groupby(["block", "policy"])[["tokens", "rows", "passes", "roof", "decode_s", "seconds"]].sum()
    found = {}
    for name, (above, below) in (FORCED | {"total": ("seconds", "rows")}).items():
        each = (sums[above] / sums[below]).unstack("policy").reindex(columns=[policy, baseline]).dropna()
        logs = np.log(each[policy].to_numpy(dtype=np.float64)) - np.log(each[baseline].to_numpy(dtype=np.float64))
        ratio = t_interval(logs, "ratio")
        log = [None if v is None else math.log(v) for v in (ratio.estimate, ratio.low, ratio.high)]
        found[name] = Estimate(log[0], log[1], log[2], "log ratio", ratio.reason).as_dict()
    return found


# control -> the factor of seconds a row that it moves
CONTROLS = {"control: slower": "efficiency", "control: longer": "length"}


def controls(
    timings: pd.DataFrame, baseline: str, weight_bytes: float, kv_bytes_per_token: float
) -> dict[str, dict[str, Any]]:
    """What became of the changes that were made on purpose.

    Returns:
        Control -> `factor` (that it should move), `true` (by how much, log units), `share` (found, an estimate as a dictionary), `others`
        (the largest of the other factors, log units), `found` (whether the share's interval leaves out zero and covers the truth, or what
        lies less than `SLACK` above it).
    """
    found = {}
    for name, factor in CONTROLS.items():
        rows = timings[timings["policy"].isin([name, baseline])]
        if name not in set(rows["policy"]):
            continue
        parts = explain_blocks(rows, name, baseline, weight_bytes, kv_bytes_per_token)
        share = parts[factor]
        if factor == "length":
            own, other = (rows.loc[rows["policy"] == n, "new_tokens"] for n in (name, baseline))
            truth = math.log(own.sum() / other.sum())
        else:
            truth = math.log(1.05)
        # an added sleep lasts a little longer than asked for
        seen = (
            share["low"] is not None and share["low"] > 0 and share["low"] <= truth + SLACK and truth <= share["high"]
        )
        others = max(
            (abs(v["estimate"]) for k, v in parts.items() if k not in (factor, "total") and share["low"]), default=None
        )
        found[name] = {"factor": factor, "true": truth, "share": share, "others": others, "found": bool(seen)}
    return found


def roofline(timings: pd.DataFrame, told: Mapping[str, Any]) -> list[dict[str, Any]]:
    """How far from the machine's limit each policy decodes, at each number of rows, over the blocks that count; [] where none does.

    Args:
        timings: rows of kind `policies`.
        told: the throughput record's summary: the model's `parameters`, `weight_bytes`, `kv_bytes_per_token`, and `ceilings`.

    Returns:
        Rows: `policy`, `batch_size`, `context` (mean live tokens of a row), `tokens_per_s` (decoding, geometric mean over blocks), `limit`
        (the same at t_roof), `share` of it with `share_low` and `share_high` (t interval over blocks; the limit taken as measured),
        `bytes_share_kv`, the part of the bytes that are keys and values, and `joules_per_token` and `watts` over prefill and decoding
        (medians over blocks; NaN where a counter did not tell them in every block).

    Source: see `tradeoffs.inference.roofline`.
    """
    bandwidth, flops = (float(told["ceilings"][name]) for name in ("bytes_per_s", "flops_per_s"))
    timings = timings[timings["block"].isin(usable_blocks(block_rates(timings), list(timings["policy"].unique())))]
    rows = []
    for (policy, rows_together), part in timings.groupby(["policy", "batch_size"], sort=False):
        size = int(str(rows_together))
        n, prompt = float(part["new_tokens"].iloc[0]), float(part["prompt_tokens"].iloc[0])
        context = prompt + n / 2
        cached = size * context * told["kv_bytes_per_token"]
        moved = told["weight_bytes"] + cached
        step = cached / bandwidth + max(told["weight_bytes"] / bandwidth, 2 * told["parameters"] * size / flops)
        limit = size / step
        share = t_interval(np.log(size * (n - 1) / part["decode_s"].to_numpy(float) / limit), "ratio")
        assert share.estimate is not None, "a policy has at least one block"
        energy = part["energy_j"].astype(float) if "energy_j" in part else pd.Series(np.nan, index=part.index)
        rows.append(
            {
                "policy": policy,
                "batch_size": size,
                "context": context,
                "tokens_per_s": share.estimate * limit,
                "limit": limit,
                "share": share.estimate,
                "share_low": share.low,
                "share_high": share.high,
                "bytes_share_kv": cached / moved,
                "joules_per_token": float((energy / (size * n)).median(skipna=False)),
                "watts": float((energy / (part["prefill_s"] + part["decode_s"])).median(skipna=False)),
            }
        )
    return rows
