"""The claims ledger: what the source report claims, what its sources show, how that is tested here, and a verdict that follows from data.

A verdict is `supported`, `not supported`, `undecided` where the test was run and its data allow either, `not testable here` where no test
could be, or `not measured` where the data are missing. Nothing here is written by
hand but what the papers say.

Source: the report's ten claims; for what its sources show, arXiv 2402.18571 (abstract, figures, README) and the RLHFlow guidebook.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from tradeoffs.analysis.estimates import wilson
from tradeoffs.analysis.learning import mean_interval
from tradeoffs.analysis.policies import Metric, by_seed, quotient, seeds, with_seeds
from tradeoffs.analysis.resampling import Resampling, interval
from tradeoffs.analysis.users import example, mean_with_interval, misspecification, read_pool, represent
from tradeoffs.preferences.rewards import Reward, weigh

SUPPORTED, REFUTED, UNDECIDED, UNTESTABLE, UNMEASURED = (
    "supported",
    "not supported",
    "undecided",
    "not testable here",
    "not measured",
)
USERS = ["kind", "angle", "fitted", "accuracy", "tau", "pooled_accuracy", "pooled_tau"]
SIDES = [
    "share",
    "repeat",
    "group",
    "conflict",
    "regret_scalar",
    "accuracy_scalar",
    "regret_direction",
    "accuracy_direction",
]
COLUMNS = ["claim", "text", "where", "shows", "test", "measured", "verdict"]
TAU = 0.9  # Kendall's tau and Spearman's rho from which on an order counts as kept
FLAT = 2.0  # tokens of an answer, per 45 degrees: within it a length counts as not following the angle
ALIKE = 0.1  # of the length: two policies within it answer at the same length
FRONT = 0.95  # of the area that policies trained for one trade-off each dominate
FREE = 1.0  # points of utility that the larger group may lose
INFERIOR = 0.02  # of the pass rate: the margin within which two policies count as competitive
FEWEST = 5  # directions that a dial is asked for
TURNED = {"monotone", "spearman", "pooled", "ends"}  # what `tradeoffs.analysis.learning.monotone` gives
LEARNING = "python benchmarks/learning.py"


class Claim(NamedTuple):
    """A line of the ledger without its figures: the claim restated, where it stands, what the source shows, and the test."""

    text: str
    where: str
    shows: str
    test: str


CLAIMS = {
    "c1": Claim(
        "Three users' preferences can be represented accurately by directions.",
        "DPA, figure 2 (right).",
        "A drawing of three responses and three users, without data; one of the three directions lies outside the released model's range.",
        "Simulated users with hidden directions choose between rated responses; a direction fitted to each against one for all. Their "
        "tastes are directions by construction: the test asks whether choices suffice to find them. Control: users who like a certain "
        "length, whom no direction fits.",
    ),
    "c2": Claim(
        "DPA can relieve misspecification in RLHF.",
        "DPA, the argument around figure 2.",
        "An argument and the same drawing; no experiment in abstract, README and figures.",
        "Two simulated groups with opposite tastes, 50, 70 and 90 % of them brief: what each loses when one reward serves both, and with a "
        f"direction for each. It holds if the smaller group loses less and the larger at most {FREE:g} point more.",
    ),
    "c3": Claim(
        "Popular RLHF frameworks have limited capacity for complicated real-world preferences.",
        "DPA, abstract.",
        "An argument: one scalar reward imposes one order.",
        "Pairs ordered as their simulated group would, by one reward and by a direction for each group; the groups' tastes are directions "
        "by construction.",
    ),
    "c4": Claim(
        "Popular RLHF frameworks do not adapt to user-dependent preference.",
        "DPA, abstract, and its figure of helpfulness against verbosity.",
        "Single points for SFT and DPO where DPA is a curve; neither was asked for a direction.",
        "DPO's policy asked for directions in the words that DPA's is trained on, and told in plain words to be brief, beside its answers "
        f"to the directions: any added sentence changes length. A slope of length over the angle within {FLAT:g} tokens per 45 degrees, "
        f"and at most {FLAT:g} tokens fewer on request, support the claim; following either beyond that by its interval does not. "
        "The fine-tuned policy that it starts from (intervals over samplings) and DPA's are told beside it.",
    ),
    "c5": Claim(
        "With DPA one LLM serves users with different preferences.",
        "DPA, the same figure.",
        "One model over ten directions: verbosity 42 to 59, helpfulness 69 to 81.",
        "One policy asked for five directions or more: rank correlation of angle and verbosity at least 0.9 in every seed, verbosity at "
        "the ends apart, and at least as large a part of the plane of both attributes dominated as by policies trained for one trade-off "
        f"each (hypervolume, {100 * FRONT:g} % of theirs). Refuted by an interval: ends the wrong way round, less of the plane.",
    ),
    "c6": Claim(
        "The DPA study aligns Mistral-7B.",
        "DPA, abstract and README.",
        "So they say; which one is not settled: the README names an SFT checkpoint on UltraChat, the model card Mistral-7B-Instruct-v0.2.",
        "None: a fact about a publication. This study's model is much smaller; nothing here speaks for 7B.",
    ),
    "c7": Claim(
        "DPA gives arithmetic control over helpfulness against verbosity.",
        "DPA, abstract and figures of rewards; the only claim that the report itself calls verified.",
        "Monotone curves; no error bars, seeds or tests beyond the trained range in abstract, README and figures.",
        "Mean verbosity monotone over five angles or more, rank correlation of at least 0.9 in every seed, and each direction best served "
        "by its own prompt: the best of all, and by its interval over seeds better than the others on average. Refuted by an "
        "interval: ends the wrong way round, a direction served worse by its own prompt.",
    ),
    "c8": Claim(
        "DPA is competitive with DPO.",
        "DPA, abstract and AlpacaEval figure of the README.",
        "12.1 % against 11.0 % of wins, at 1,775 against 1,445 characters; at equal length about one point less.",
        f"Pass rates, which neither was selected by, with a margin of {100 * INFERIOR:g} points: DPA's policy asked for helpfulness "
        "against DPO's, and at matched length: asked for the direction whose answers are about as long as DPO's.",
    ),
    "c9": Claim(
        "Linear scalarisation uses R = v1 * helpfulness + v2 * verbosity.",
        "DPA, algorithm figure.",
        "The box of the figure has this form.",
        "The code's reward against the formula; the choice does not depend on the length of v. It tests this study's code, not the source.",
    ),
    "c10": Claim(
        "In that example v1 = 0.8 and v2 = 0.6.",
        "DPA, algorithm figure.",
        "The label says so; of the printed rewards E and F fit v2 = -0.6, as in the README, and D fits neither. The box 'highest reward' "
        "picks E, although F's is larger.",
        "The example worked out with both signs.",
    ),
}


class Finding(NamedTuple):
    """What was measured, in words, and the verdict."""

    measured: str
    verdict: str


def percent(values: tuple[float, float, float]) -> str:
    """A share with its interval."""
    return f"{100 * values[0]:.1f} % ({100 * values[1]:.1f} to {100 * values[2]:.1f})"


def number(values: tuple[float, float, float]) -> str:
    """A number with its interval, where there is one."""
    if math.isnan(values[1]):
        return f"{values[0]:.2f}"
    return f"{values[0]:.2f} ({values[1]:.2f} to {values[2]:.2f})"


def _kept(rho: Sequence[float]) -> bool:
    """Whether the order is kept in every seed; a correlation of 0.9 comes out of floating-point numbers a little below."""
    return all(value >= TAU - 1e-9 for value in rho)


def _reached(rho: Sequence[float]) -> str:
    """In how many seeds the order is kept."""
    return f"{sum(_kept([value]) for value in rho)} of {len(rho)} seeds reach a rank correlation of {TAU:g}."


SPLITS = (
    "In brackets the middle 95 % over random splits of one pool of responses, not confidence intervals of the means."
)


def over_splits(values: Sequence[float]) -> tuple[float, float, float]:
    """A mean over random splits of one pool of responses, and the range of the middle 95 % of them.

    Not an interval of the mean, which more splits of the same responses would make as small as one likes.
    """
    low, high = np.percentile(values, [2.5, 97.5])
    return float(np.mean(values)), float(low), float(high)


def missing(what: str, command: str) -> Finding:
    """Nothing to judge by."""
    return Finding(f"{what} missing; made by: `{command}`", UNMEASURED)


def c1(users: pd.DataFrame) -> Finding:
    """Directions represent users who have one, better than one direction for all; not users who have none."""
    if users.empty:
        return missing("rated responses", LEARNING)
    kinds = {str(kind): part for kind, part in users.groupby("kind")}
    own, control = kinds["direction"], kinds["length"]
    gain = mean_with_interval((own["accuracy"] - own["pooled_accuracy"]).tolist())
    tau, other = mean_with_interval(own["tau"].tolist()), mean_with_interval(control["tau"].tolist())
    each, pooled = (percent(mean_with_interval(own[name].tolist())) for name in ("accuracy", "pooled_accuracy"))
    text = (
        f"{len(own)} users with a direction: tau {number(tau)}, pairs in order {each}, with one direction for all {pooled}. "
        f"Users who like a length: tau {number(other)}."
    )
    if other[2] >= TAU:
        return Finding(f"{text} The control is represented as well, so the test tells nothing.", REFUTED)
    return Finding(text, SUPPORTED if tau[1] >= TAU and gain[1] > 0 else REFUTED)


def _sure(holds: bool, fails: bool) -> str:
    return SUPPORTED if holds else REFUTED if fails else UNDECIDED


def _all(verdicts: Sequence[str]) -> str:
    """What several tests of one claim say together."""
    return REFUTED if REFUTED in verdicts else UNDECIDED if UNDECIDED in verdicts else SUPPORTED


def c2(groups: pd.DataFrame) -> Finding:
    """The smaller group loses less with directions, and the larger hardly more."""
    if groups.empty:
        return missing("rated responses", LEARNING)
    parts, holds = [], []
    for share, part in groups.groupby("share"):
        sides = {str(name): own for name, own in part.groupby("group")}
        small, large = sides["detailed"], sides["brief"]
        gain = over_splits((small["regret_scalar"].to_numpy() - small["regret_direction"].to_numpy()).tolist())
        price = over_splits((large["regret_direction"].to_numpy() - large["regret_scalar"].to_numpy()).tolist())
        holds.append(_sure(gain[1] > 0 and price[2] <= FREE, gain[2] <= 0 or price[1] > FREE))
        parts.append(
            f"{100 * float(str(share)):.0f} % brief: the others lose {small['regret_scalar'].mean():.1f} points with one reward and "
            f"{small['regret_direction'].mean():.1f} with directions, the brief {large['regret_scalar'].mean():.1f} and "
            f"{large['regret_direction'].mean():.1f} (less loss for the others {number(gain)}, more for the brief {number(price)})"
        )
    text = (
        f"{'; '.join(parts)}. Of the responses that training would be told to prefer, tastes being directions by construction; whether "
        f"a trained policy delivers it is asked in c5 and c7. {SPLITS}"
    )
    return Finding(text, _all(holds))


def c3(groups: pd.DataFrame) -> Finding:
    """One reward orders fewer pairs right than a direction for each group."""
    if groups.empty:
        return missing("rated responses", LEARNING)
    parts, holds = [], []
    for share, part in groups.groupby("share"):
        weights = part["group"].map({"brief": float(str(share)), "detailed": 1 - float(str(share))})
        each = part.assign(one=weights * part["accuracy_scalar"], two=weights * part["accuracy_direction"])
        sums = each.groupby("repeat")[["one", "two"]].sum()
        gain = over_splits((sums["two"] - sums["one"]).tolist())
        holds.append(_sure(gain[1] > 0, gain[2] <= 0))
        least = float(part["conflict"].mean()) * min(float(str(share)), 1 - float(str(share)))
        parts.append(
            f"{100 * float(str(share)):.0f} % brief: {percent(over_splits(sums['one'].tolist()))} against "
            f"{percent(over_splits(sums['two'].tolist()))}; {100 * least:.0f} % cannot be right for any single order"
        )
    return Finding(f"{'; '.join(parts)}. {SPLITS}", _all(holds))


NAMES = {"start": "start policy"}


def c4(steered: pd.DataFrame) -> Finding:
    """DPO's policy, which has no dial, follows neither directions nor a plain request; others' answers stand beside its."""
    if steered.empty:
        return missing("answers of DPO's policy to prompts with directions", LEARNING)
    parts, follows, flat = [], False, False
    runs = {str(run): part for run, part in steered.groupby("run")}
    for run, part in sorted(runs.items()):
        slope = mean_interval([_slope(own) for _, own in part[part["angle"].notna()].groupby("seed")])
        text = f"{NAMES.get(run, run)}: {number(slope)} tokens per 45 degrees"
        if run == "dpa":
            text += ", beyond the margin" if slope[1] > FLAT else ", by the same margin not shown to follow"
        words = part["words"].fillna("")
        brief = (math.nan,) * 3
        if words.ne("").any():
            kind = words.where(words.eq(""), "told").where(part["angle"].isna(), "turned")
            means = part.assign(kind=kind).groupby(["seed", "kind"])["tokens"].mean().unstack()
            brief = mean_interval((means["told"] - means["turned"]).tolist())
            said = " ".join(sorted(set(words) - {""}))
            text += (
                f'; told "{said}", {means[""].mean():.1f} tokens become {means["told"].mean():.1f}, beside {means["turned"].mean():.1f} '
                f"when asked for directions: {number(brief)}"
            )
        parts.append(text)
        if run == "dpo":
            follows = slope[1] > FLAT or slope[2] < -FLAT or brief[2] < -FLAT
            flat = -FLAT < slope[1] and slope[2] < FLAT and brief[1] > -FLAT
    text = ". ".join(parts) + "."
    if "dpo" not in runs:
        return Finding(text, UNMEASURED)
    if runs["dpo"]["seed"].nunique() < 2:
        return Finding(f"{text} One seed allows no claim.", UNMEASURED)
    return Finding(text, _sure(flat, follows))


def _slope(rows: pd.DataFrame) -> float:
    means = rows.groupby("angle")["tokens"].mean()
    return float(45 * np.polyfit(means.index.to_numpy(dtype=float), means.to_numpy(), 1)[0])


def c5(monotone: Mapping[str, Any], dial: pd.DataFrame, front: Mapping[str, Any]) -> Finding:
    """One policy is brief or detailed as it is asked, and serves as much of the plane as policies for one trade-off each."""
    if dial.empty or not TURNED <= set(monotone):
        return missing("DPA's answers to five directions", f"{LEARNING} --methods dpa")
    rho = [float(value) for value in monotone["spearman"]]
    if "trained" in dial:
        dial = dial[dial["trained"]]
    first, last = dial.iloc[0], dial.iloc[-1]
    moved = "; ".join(
        f"{name} {first[name]:.1f} and {last[name]:.1f}" for name in ("verbosity", "tokens", "helpfulness")
    )
    seeds = f"{len(rho)} seed{'s' * (len(rho) != 1)}"
    text = (
        f"{len(dial)} directions. Rank correlation of angle and verbosity in {seeds}: {', '.join(f'{r:.2f}' for r in rho)}; of the means "
        f"over seeds, resampled over prompts, {number(tuple(monotone['pooled']))}. Asked for {first['angle']:g} and "
        f"{last['angle']:g} degrees: {moved}; verbosity {number(tuple(monotone['ends']))} apart. {_reached(rho)}"
    )
    area = (math.nan,) * 3
    if front:
        area = tuple(front["ratio"])
        text += (
            f" Asked for the directions that {front['policies']} policies were trained for, it dominates {number(area)} times their area, "
            f"with one adapter for {front['policies']}."
        )
        if "tokens" in front:
            own, each = front["tokens"]
            text += f" It was trained on {own:,} tokens, each of them on {each:,}."
    else:
        text += " The area that it dominates is not measured: policies for one trade-off are missing, or their answers have another cap."
    if len(rho) < 2:
        return Finding(f"{text} One seed allows no claim.", UNMEASURED)
    _, low, high = monotone["ends"]
    if high <= 0 or area[2] < FRONT:
        return Finding(text, REFUTED)
    holds = len(dial) >= FEWEST and _kept(rho) and low > 0 and area[1] >= FRONT
    return Finding(text, SUPPORTED if holds else UNDECIDED)


def c7(monotone: Mapping[str, Any], dominance: pd.DataFrame) -> Finding:
    """Monotone, in every seed, and each direction best served by its own prompt."""
    if dominance.empty or not TURNED <= set(monotone):
        return missing("DPA's answers to five directions", f"{LEARNING} --methods dpa")
    rho = [float(value) for value in monotone["spearman"]]
    margins = "; ".join(
        f"{row['angle']:g}°: {row['margin']:+.1f}"
        + ("" if math.isnan(row["low"]) else f" ({row['low']:.1f} to {row['high']:.1f})")
        for row in dominance.to_dict("records")
    )
    best = int((dominance["angle"] == dominance["best_prompt"]).sum())
    text = (
        f"Mean verbosity {'rises' if monotone['monotone'] else 'does not rise'} from each angle to the next; rank correlations "
        f"{', '.join(f'{r:.2f}' for r in rho)}. Own prompt over the mean of the others, points of reward: {margins}. "
        f"It is the best of all for {best} of {len(dominance)} directions. {_reached(rho)}"
    )
    if len(rho) < 2:
        return Finding(f"{text} One seed allows no claim.", UNMEASURED)
    if monotone["ends"][2] <= 0 or bool((dominance["high"] < 0).any()):
        return Finding(text, REFUTED)
    holds = monotone["monotone"] and _kept(rho) and bool((dominance["low"] > 0).all())
    holds = holds and best == len(dominance) >= FEWEST
    return Finding(text, SUPPORTED if holds else UNDECIDED)


def c8(answers: pd.DataFrame, dpa: str, dpo: str, draws: int, seed: int, dials: Sequence[str] = ()) -> Finding:
    """DPA's pass rate is not lower than DPO's by more than the margin, asked for helpfulness and at matched length.

    Args:
        answers: see `ledger`.
        dpa, dpo: the arms.
        dials: all arms of DPA's policy; the one whose answers are nearest in length to DPO's is compared, too.
    """
    graded = answers[answers["status"].notna() & (answers["status"] != "unavailable")]
    lengths = (
        graded[graded["problem_id"].isin(graded.loc[graded["arm"] == dpo, "problem_id"])]
        .groupby("arm")["tokens"]
        .mean()
    )
    if not {dpa, dpo} <= set(lengths.index):
        return missing(f"graded answers of {dpa or 'DPA'} and {dpo or 'DPO'}", "make study")
    apart = (lengths / lengths[dpo] - 1).abs()
    near = min({dpa, *dials} & set(lengths.index), key=lambda arm: (apart[arm], arm))
    matched = apart[near] <= ALIKE
    texts, verdicts = [], []
    for arm in dict.fromkeys((dpa, near) if matched else (dpa,)):
        found = _pass_rate_gap(graded, arm, dpo, draws, seed)
        if found is None:
            return Finding("too few problems for an interval", UNMEASURED)
        (gap, low, high), problems = found
        texts.append(
            f"{arm} less {dpo} on {problems} problems: {100 * gap:+.1f} points ({100 * low:.1f} to {100 * high:.1f}), at "
            f"{lengths[arm]:.0f} against {lengths[dpo]:.0f} tokens an answer"
        )
        verdicts.append(_sure(low > -INFERIOR, high < -INFERIOR))
    text = f"Pass rate of {'; '.join(texts)}."
    if UNDECIDED in verdicts:
        text += " An interval holds both sides of the margin: too few problems to tell."
    if not matched:
        text += f" No direction answers within {100 * ALIKE:g} % of {dpo}'s length."
    if min(len(seeds(graded[graded["arm"] == arm])) for arm in (dpa, dpo)) < 2:
        return Finding(f"{text} One training of each allows no claim.", UNDECIDED)
    verdict = _all(verdicts)
    return Finding(text, UNDECIDED if verdict == SUPPORTED and not matched else verdict)


def _pass_rate_gap(
    graded: pd.DataFrame, one: str, other: str, draws: int, seed: int
) -> tuple[tuple[float, float, float], int] | None:
    """Difference of two arms' pass rates on the problems that both answered, with its interval, and how many they are.

    The interval is the bootstrap's over families, with the luck of training, and reaches at least as far as Wilson's intervals for the
    shares of problems won and lost, put together: of few that differ, or none, the draws know too little.

    Source: Newcombe 1998, Statistics in Medicine 17 (8): square-and-add, for two shares.
    """
    right = graded.assign(right=(graded["status"] == "passed").astype(int), one=1)
    sides = [right[right["arm"] == name] for name in (one, other)]
    shared = set.intersection(*(set(part["problem_id"]) for part in sides))
    if not shared:
        return None
    own, their = (part[part["problem_id"].isin(shared)] for part in sides)
    drawn = Resampling.draw(own["family"], draws, np.random.default_rng(seed))
    rate = Metric("right", "one", "share")
    whole = quotient(own, rate, drawn).minus(quotient(their, rate, drawn))
    gap = with_seeds(whole, by_seed(own, their, rate, "difference", drawn), False, drawn)
    low, high = interval(gap.draws, families=len(drawn.families))
    if low is None or high is None:
        return None
    moved = own.groupby("problem_id")["right"].mean() - their.groupby("problem_id")["right"].mean()
    won, lost = (float(part.clip(lower=0).mean()) for part in (moved, -moved))
    (won_low, won_high), (lost_low, lost_high) = (wilson(share * len(shared), len(shared)) for share in (won, lost))
    low = min(low, won - lost - math.hypot(lost_high - lost, won - won_low))
    high = max(high, won - lost + math.hypot(won_high - won, lost - lost_low))
    return (gap.point, max(-1.0, low), min(1.0, high)), len(shared)


def c9() -> Finding:
    """The formula, and that only the direction of v decides."""
    rng = np.random.default_rng(9)
    rewards = [Reward(float(h), float(v)) for h, v in rng.uniform(0, 100, (200, 2))]
    vectors = rng.normal(size=(50, 2))
    formula = all(
        math.isclose(weigh(r, v), v[0] * r.helpfulness + v[1] * r.verbosity, abs_tol=1e-9)
        for r in rewards
        for v in vectors
    )
    same = all(
        int(np.argmax([weigh(r, v) for r in rewards])) == int(np.argmax([weigh(r, 7.3 * v) for r in rewards]))
        for v in vectors
    )
    text = f"{len(vectors)} weights on {len(rewards)} rewards: the formula {'holds' if formula else 'fails'}, and the choice "
    return Finding(
        text + ("does not change" if same else "changes") + " when v is made longer.",
        SUPPORTED if formula and same else REFUTED,
    )


def c10() -> Finding:
    """The label is as claimed; the figure's own numbers need the other sign."""
    rows = example().to_dict("records")
    texts = [
        f"{row['response']}: printed {row['printed']:g}, {row['plus']:.1f} with 0.6, {row['minus']:.1f} with -0.6"
        for row in rows
    ]
    fits = [row["response"] for row in rows if row["fits"] == "plus"]
    text = (
        "; ".join(texts)
        + f". The label says 0.6, as the claim does; {len(fits)} of {len(rows)} printed rewards agree with it"
        + ("." if fits else ": the example is worked out with another weight than its label's.")
    )
    return Finding(text, SUPPORTED if fits else REFUTED)


def ledger(
    answers: pd.DataFrame,
    learning: str,
    dpa: str = "",
    dpo: str = "",
    draws: int = 2000,
    seed: int = 0,
    dials: Sequence[str] = (),
) -> dict[str, pd.DataFrame]:
    """Test every claim on what there is.

    Args:
        answers: see `tradeoffs.analysis.reading.Runs`.
        learning: folder of `benchmarks/learning.py`'s results; "" for none.
        dpa, dpo: arms that stand for the methods in c8; "" where there is none.
        dials: all arms of DPA's policy.

    Returns:
        `claims` (see `COLUMNS`), `users` and `groups`, the simulations behind c1 to c3.
    """
    folder = Path(learning) if learning else None
    users, groups = pd.DataFrame(columns=USERS), pd.DataFrame(columns=SIDES)
    if folder and (folder / "outcomes.jsonl").is_file():
        pool = read_pool(folder / "outcomes.jsonl")
        users, groups = represent(pool, seed=seed), misspecification(pool, seed=seed)
    dial, dominance, steered = (_table(folder, f"{name}.csv") for name in ("dial", "dominance", "steered"))
    monotone, front = (_values(folder, f"{name}.json") for name in ("monotone", "front"))
    found = {
        "c1": c1(users),
        "c2": c2(groups),
        "c3": c3(groups),
        "c4": c4(steered),
        "c5": c5(monotone, dial, front),
        "c6": Finding("Not a matter of measurement.", UNTESTABLE),
        "c7": c7(monotone, dominance),
        "c8": c8(answers, dpa, dpo, draws, seed, dials),
        "c9": c9(),
        "c10": c10(),
    }
    rows = [{"claim": name} | claim._asdict() | found[name]._asdict() for name, claim in CLAIMS.items()]
    return {"claims": pd.DataFrame(rows, columns=COLUMNS), "users": users, "groups": groups}


def _table(folder: Path | None, name: str) -> pd.DataFrame:
    path = folder / name if folder else None
    return pd.read_csv(path) if path and path.is_file() else pd.DataFrame()


def _values(folder: Path | None, name: str) -> dict[str, Any]:
    path = folder / name if folder else None
    return json.loads(path.read_text(encoding="utf-8")) if path and path.is_file() else {}
