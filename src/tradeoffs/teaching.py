"""Exercises: each has a goal, a cell to start from, a check that says whether one has it, and a solution.

    from tradeoffs.teaching import check
    check("pass-at-k", pass_at_k)

The book's page and its notebook are made from `EXERCISES`; a test runs every starting cell and every solution.
"""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


class Exercise(NamedTuple):
    """One exercise.

    Attributes:
        title, minutes: what it says above it.
        goal: what to find out, in Markdown.
        start: code that runs as it is and gives a wrong or unfinished answer to `check`.
        solution: code that, after `start`, gives the right one.
        judge: takes the answer, gives "" where it is right and a hint where it is not.
        why: what the goal asks in words, answered; stands with the solution.
    """

    title: str
    minutes: int
    goal: str
    start: str
    solution: str
    judge: Callable[[Any], str]
    why: str = ""


def check(name: str, answer: Any) -> bool:
    """Say whether an answer to an exercise is right, and what to look at if not.

    Raises:
        ValueError: no such exercise.
    """
    if name not in EXERCISES:
        raise ValueError(f"name: got {name!r}; accepts {', '.join(EXERCISES)}")
    try:
        hint = EXERCISES[name].judge(answer)
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        hint = f"The answer cannot be read ({error}): give what the starting cell gives, of the same kind."
    print(f"{name}: not yet. {hint}" if hint else f"{name}: right.")
    return not hint


def _pass_at_k(answer: Any) -> str:
    for n, c, k in ((10, 3, 1), (10, 3, 5), (5, 5, 2), (8, 0, 4), (200, 7, 100)):
        expected = 1 - math.comb(n - c, k) / math.comb(n, k)
        if not math.isclose(float(answer(n, c, k)), expected, rel_tol=1e-6, abs_tol=1e-9):
            return f"With n = {n}, c = {c}, k = {k} it should be {expected:.4f}: how likely is it that all k are wrong?"
    return ""


def batch() -> dict[str, Any]:
    """One batch: tokens of each row up to its stop, decoding steps of the batch, and its seconds."""
    return {"tokens": [12, 40, 7, 31], "steps": 40, "seconds": 2.0}


def _padding(answer: Any) -> str:
    if math.isclose(float(answer), 80.0):
        return "That counts rows which had stopped and were padded until the longest was done."
    return (
        ""
        if math.isclose(float(answer), 45.0)
        else "Output is what a reader receives: the tokens of all rows, over seconds."
    )


def _dpo(answer: Any) -> str:
    rng = np.random.default_rng(0)
    if not math.isclose(float(answer(-3.0, -5.0, -3.0, -5.0, 0.1)), math.log(2), rel_tol=1e-6):
        return "Where policy and reference agree the loss is log 2, whatever the answers."
    for chosen, rejected, ref_chosen, ref_rejected in rng.normal(-20, 5, (5, 4)):
        margin = 0.3 * ((chosen - ref_chosen) - (rejected - ref_rejected))
        if not math.isclose(
            float(answer(chosen, rejected, ref_chosen, ref_rejected, 0.3)),
            float(np.logaddexp(0, -margin)),
            rel_tol=1e-6,
        ):
            return "It is -log sigmoid(beta * (how much more the policy prefers the chosen answer than the reference does))."
    return ""


def _advantages(answer: Any) -> str:
    for rewards in (np.array([1.0, 0.0, 0.0, 1.0]), np.array([0.2, 0.9, 0.4]), np.ones(4)):
        found = answer(rewards.copy())
        if not hasattr(found, "__len__") or len(found) != 2 or any(np.shape(one) != rewards.shape for one in found):
            return "Give two arrays, a number for each answer: RLOO's advantages and GRPO's."
        rloo, grpo = (np.asarray(one, dtype=float) for one in found)
        others = [(rewards.sum() - reward) / (len(rewards) - 1) for reward in rewards]
        if not np.allclose(rloo, rewards - others, atol=1e-6):
            return "RLOO's baseline for an answer is the mean reward of the others, without its own."
        if np.ptp(rewards) == 0:
            if not np.allclose(grpo, 0.0, atol=1e-6):
                return "Where all answers earn the same, none of them was better than expected, and nothing may be divided by 0."
            continue
        centred = rewards - rewards.mean()
        if not any(np.allclose(grpo, centred / rewards.std(ddof=ddof), rtol=1e-2) for ddof in (0, 1)):
            return "GRPO takes the mean of all, and divides by the standard deviation of the group."
    return ""


def published() -> Any:
    """Every answer of the default study as published: a row each with `arm`, `problem_id`, `family`, `status`, `tokens`, `seconds`.

    Raises:
        FileNotFoundError: nothing is published here.
    """
    import pandas as pd

    path = Path(__file__).resolve().parents[2] / "results" / "laptop" / "tables" / "verdicts.csv"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there; `make study` makes it")
    return pd.read_csv(path, dtype={"problem_id": str})


def _verdicts(answer: Any) -> str:
    table = published()
    right = table.assign(right=table["status"].eq("passed").astype(float))
    right = right.pivot(index=["problem_id", "family"], columns="arm", values="right")
    for arm in [name for name in right if name != "sft-code"][:3]:
        given = answer(table, arm)
        if not hasattr(given, "__len__") or len(given) != 3:
            return "Give three numbers: the difference of the pass rates, and both ends of its interval."
        change = (right[arm] - right["sft-code"]).dropna()
        if not math.isclose(float(given[0]), float(change.mean()), abs_tol=1e-6):
            return f"The difference of {arm} is not that of the pass rates of problems that both answered, as a share."
        sums = change.groupby(level="family").agg(["sum", "size"]).to_numpy()
        drawn = np.random.default_rng(1).integers(len(sums), size=(4000, len(sums)))
        low, high = np.quantile(sums[drawn, 0].sum(1) / sums[drawn, 1].sum(1), [0.025, 0.975])
        near = 0.01 + 0.1 * (high - low)
        if not (abs(float(given[1]) - low) < near and abs(float(given[2]) - high) < near):
            return f"The interval of {arm} is another: draw whole families, and both policies' answers to a problem together."
    return ""


def two_policies() -> dict[str, dict[str, float]]:
    """What two policies spent: answers, right ones, tokens and seconds."""
    return {
        "baseline": {"answers": 64, "right": 12, "tokens": 1067, "seconds": 12.7},
        "aligned": {"answers": 64, "right": 15, "tokens": 1490, "seconds": 15.9},
    }


def _shares(answer: Any) -> str:
    old, new = two_policies().values()
    ratios = {
        "attempts": (new["answers"] / new["right"]) / (old["answers"] / old["right"]),
        "length": (new["tokens"] / new["answers"]) / (old["tokens"] / old["answers"]),
        "pace": (new["seconds"] / new["tokens"]) / (old["seconds"] / old["tokens"]),
    }
    if set(answer) != set(ratios):
        return f"The shares are named {', '.join(ratios)}."
    total = math.log((new["seconds"] / new["right"]) / (old["seconds"] / old["right"]))
    if not math.isclose(sum(answer.values()), total, abs_tol=1e-9):
        return f"They should add up to the logarithm of the ratio of seconds per right answer, {total:.4f}."
    wrong = [name for name, ratio in ratios.items() if not math.isclose(answer[name], math.log(ratio), abs_tol=1e-9)]
    return f"They add up, but look at {wrong[0]} again." if wrong else ""


def blocks() -> tuple[np.ndarray, np.ndarray]:
    """Tokens per second of two policies in six blocks, timed within each block one after the other."""
    return (
        np.array([101.0, 96.2, 99.0, 103.1, 97.4, 100.2]),
        np.array([97.9, 95.1, 101.9, 99.7, 96.0, 102.4]),
    )


def _equivalence(answer: Any) -> str:
    from tradeoffs.analysis.throughput import paired_p

    old, new = (np.log(values) for values in blocks())
    same, different = paired_p(new, old, 0.02)
    if isinstance(answer, str) or not hasattr(answer, "__len__") or len(answer) != 2:
        return "Give two numbers: the p-value of 'equivalent within 2 %', and that of 'different'."
    if not math.isclose(float(answer[1]), different, rel_tol=1e-4):
        return "The second is a paired t-test on logarithms."
    if not math.isclose(float(answer[0]), same, rel_tol=1e-4):
        return "The first is the larger of two one-sided p-values, at -log(1.02) and log(1.02). To see no difference proves nothing."
    return ""


HIDDEN_ANGLES = (-35.0, 20.0, 140.0)  # of three users


def choices(user: int = 0, count: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """A user's choices: gaps (first less second) of helpfulness and verbosity, shape (count, 2), and whether the first was chosen."""
    rng = np.random.default_rng(user)
    gaps = rng.normal(0, 20, (count, 2))
    angle = math.radians(HIDDEN_ANGLES[user])
    return gaps, rng.random(count) < 1 / (1 + np.exp(-gaps @ np.array([math.cos(angle), math.sin(angle)]) / 4))


def _direction(answer: Any) -> str:
    for user, hidden in enumerate(HIDDEN_ANGLES):
        off = abs((float(answer(*choices(user))) - hidden + 180) % 360 - 180)
        if not off < 6:
            return f"User {user} has another taste. Choices follow sigmoid(v . gap): what fits such a curve?"
    return ""


def machine() -> dict[str, float]:
    """A model and a machine."""
    return {
        "parameters": 135e6,
        "bytes_each": 2,
        "layers": 30,
        "kv_heads": 3,
        "head_size": 64,
        "bytes_per_s": 20e9,
        "flops_per_s": 400e9,
    }


def _roofline(answer: Any) -> str:
    m = machine()
    weights = m["parameters"] * m["bytes_each"]
    each = 2 * m["layers"] * m["kv_heads"] * m["head_size"] * m["bytes_each"]

    def limits(rows: int, context: int) -> tuple[float, float]:
        kv, read = rows * context * each / m["bytes_per_s"], weights / m["bytes_per_s"]
        arithmetic = 2 * m["parameters"] * rows / m["flops_per_s"]
        return rows / (kv + max(read, arithmetic)), rows / max(kv + read, arithmetic)

    for rows, context in ((1, 100), (8, 400), (64, 1000), (64, 10)):
        given, ours = float(answer(rows, context)), limits(rows, context)
        if not any(math.isclose(given, each, rel_tol=0.01) for each in ours):
            return (
                f"With {rows} rows and {context} tokens of context the limit is {ours[0]:.0f} tokens/s. A step reads all "
                "weights once and every row's keys and values; more rows need more arithmetic."
            )
    return ""


def distributions() -> tuple[np.ndarray, np.ndarray]:
    """Next-token probabilities of a target and of a draft in five places, shape (5, 6) each."""
    rng = np.random.default_rng(5)
    target, draft = (np.exp(rng.normal(0, 1.5, (5, 6))) for _ in range(2))
    return target / target.sum(1, keepdims=True), draft / draft.sum(1, keepdims=True)


def _acceptance(answer: Any) -> str:
    target, draft = distributions()
    alpha = float(np.minimum(target, draft).sum(1).mean())
    if not hasattr(answer, "__len__") or len(answer) != 2:
        return "Give two numbers: alpha, and tokens a pass with four drafted."
    if not math.isclose(float(answer[0]), alpha, rel_tol=1e-6):
        return "A drafted token is accepted with probability min(1, p/q): on average sum of min(p, q), which is 1 - TV."
    expected = (1 - alpha**5) / (1 - alpha)
    return (
        ""
        if math.isclose(float(answer[1]), expected, rel_tol=1e-6)
        else "1 + alpha + alpha^2 + ...: how far does it go with four drafted?"
    )


def families(study: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Whether each of 240 answers of a study passed, and to which of 60 families of problems it belongs."""
    rng = np.random.default_rng(11 + study)
    hard = rng.normal(-0.8, 2.0, 60)
    family = np.repeat(np.arange(60), 4)
    return rng.random(240) < 1 / (1 + np.exp(-hard[family])), family


def _clusters(answer: Any) -> str:
    for study in (0, 1):
        passed, family = families(study)
        rate = passed.mean()
        sums = np.array([(passed[family == f] - rate).sum() for f in np.unique(family)])
        expected = math.sqrt((sums**2).sum()) / len(passed)
        given = float(answer(passed, family))
        if abs(given / math.sqrt(rate * (1 - rate) / len(passed)) - 1) < 0.05:
            return "That takes the 240 answers as independent. Variants of one problem succeed and fail together."
        if not abs(given / expected - 1) < 0.12:
            return f"In study {study} it is too {'small' if given < expected else 'large'}: draw whole families, with replacement."
    return ""


def _own_method(answer: Any) -> str:
    from tradeoffs.alignment import METHODS

    folder = Path(str(answer))
    if not (folder / "record.json").is_file():
        return f"{folder} holds no record.json: run tradeoffs align -p method=... -p out={folder}"
    record = json.loads((folder / "record.json").read_text())
    method = record.get("parameters", {}).get("method")
    if method in BUILT_IN:
        return f"{method} was there before; register one of your own in src/tradeoffs/methods.py."
    if method not in METHODS:
        return f"{method} is not registered."
    if METHODS[method] in [METHODS[name] for name in BUILT_IN]:
        return f"{method} is another name for a method that was there before."
    if not (folder / "adapter" / "adapter_model.safetensors").is_file():
        return "It left no adapter."
    steps = [json.loads(line) for line in (folder / "steps.jsonl").read_text().splitlines()]
    if len([row for row in steps if row.get("progress") in (0, 1) and row.get("response_tokens")]) < 2:
        return "Nobody looked at its answers before and after: train it with -p evaluations=2, into another folder."
    return ""


def _flush(code: str) -> str:
    return textwrap.dedent(code).strip()


BUILT_IN = ("sft", "ppo", "rloo", "dpo", "rsft", "rlvr", "rrhf", "scalarization", "dpa")

EXERCISES: dict[str, Exercise] = {
    "padding": Exercise(
        "What is output?",
        10,
        """
        Four rows were decoded together. Rows that stop early are padded until the longest is done. How many tokens per second did the
        batch produce?
        """,
        """
        from tradeoffs.teaching import batch, check

        b = batch()
        speed = len(b["tokens"]) * b["steps"] / b["seconds"]
        check("padding", speed)
        """,
        """
        speed = sum(b["tokens"]) / b["seconds"]
        check("padding", speed)
        """,
        _padding,
        "90 tokens in 2 seconds. The padded rows were computed, too: 160 slots, of which 56 % are output. That share is the utilisation.",
    ),
    "pass-at-k": Exercise(
        "pass@k without bias",
        10,
        """
        Of $n$ answers to a problem $c$ pass. Estimate the chance that at least one of $k$ passes. To raise the share of wrong ones to
        the power of $k$ is biased. Why?
        """,
        """
        from tradeoffs.teaching import check


        def pass_at_k(n, c, k):
            return 1 - (1 - c / n) ** k


        check("pass-at-k", pass_at_k)
        """,
        """
        import math


        def pass_at_k(n, c, k):
            # all choices of k answers, less those without a right one
            return 1 - math.comb(n - c, k) / math.comb(n, k)


        check("pass-at-k", pass_at_k)
        """,
        _pass_at_k,
        "$(1 - p)^k$ is convex in $p$, so that its mean over estimates $c/n$ of $p$ is larger than its value at the true one (Jensen): the "
        "chance that all fail comes out too large, and pass@k too small.",
    ),
    "dpo": Exercise(
        "DPO's loss at the start",
        20,
        """
        Write the loss of one pair from four log-probabilities. What is it before the first step, and why does it then say nothing about
        the data?
        """,
        """
        import math

        from tradeoffs.teaching import check


        def loss(chosen, rejected, ref_chosen, ref_rejected, beta):
            return math.log1p(math.exp(-beta * (chosen - rejected)))


        check("dpo", loss)
        """,
        """
        def loss(chosen, rejected, ref_chosen, ref_rejected, beta):
            margin = beta * ((chosen - ref_chosen) - (rejected - ref_rejected))
            return math.log1p(math.exp(-margin))


        check("dpo", loss)
        """,
        _dpo,
        "Before the first step the policy is the reference, every margin is 0 and every pair's loss $\\log 2$, whatever the answers are. "
        "What it says of the data begins with the first update.",
    ),
    "advantages": Exercise(
        "What does a group of answers teach?",
        20,
        """
        Several answers to one prompt were sampled and rewarded. Write a function that gives each answer's advantage twice: as RLOO takes
        it, against the mean of the other answers, and as GRPO does, against the mean of all, over their standard deviation. What does a
        prompt teach whose answers all pass, or all fail?
        """,
        """
        import numpy as np

        from tradeoffs.teaching import check


        def advantages(rewards):  # (k,), of the k answers to one prompt
            centred = rewards - rewards.mean()
            return centred, centred


        check("advantages", advantages)
        """,
        """
        def advantages(rewards):
            k, centred = len(rewards), rewards - rewards.mean()
            spread = rewards.std()
            return centred * k / (k - 1), centred / spread if spread else np.zeros(k)


        check("advantages", advantages)
        """,
        _advantages,
        "Nothing: every advantage is 0. So tasks that a policy always or never solves are wasted, and what is learnt from is those in "
        "between. The mean of all holds an answer's own reward; without it, advantages are $k / (k - 1)$ times as large. Divided by the "
        "standard deviation, a prompt with one right answer of eight weighs as much as one with four.",
    ),
    "shares": Exercise(
        "What does a right answer cost, and why?",
        20,
        """
        A policy's right answers cost other seconds than the baseline's. Split the logarithm of the ratio into *attempts*, *length* and
        *pace* (seconds a token), so that nothing is left over. Which of them would a table of tokens per second have shown?
        """,
        """
        import math

        from tradeoffs.teaching import check, two_policies

        old, new = two_policies().values()
        shares = {"attempts": 0.0, "length": math.log(new["tokens"] / old["tokens"]), "pace": 0.0}
        check("shares", shares)
        """,
        """
        def change(above, below):
            return math.log((new[above] / new[below]) / (old[above] / old[below]))


        shares = {
            "attempts": change("answers", "right"),
            "length": change("tokens", "answers"),
            "pace": change("seconds", "tokens"),
        }
        check("shares", shares)
        """,
        _shares,
        "Pace alone: 11.5 % more tokens per second. Attempts got cheaper, too (0.80 times as many for a right answer), but answers are "
        "1.40 times as long, and together a right answer costs what it did: 1.002 times.",
    ),
    "equivalence": Exercise(
        "No difference seen is not equal",
        20,
        """
        Two policies were timed in the same six blocks. A $t$-test sees no difference. Are they equivalent within two per cent? Give
        both $p$-values, on logarithms.
        """,
        """
        import numpy as np
        from scipy import stats

        from tradeoffs.teaching import blocks, check

        old, new = blocks()  # (6,) each: tokens per second, block by block
        different = stats.ttest_rel(np.log(new), np.log(old)).pvalue
        check("equivalence", (1 - different, different))
        """,
        """
        gaps = np.log(new) - np.log(old)
        margin = np.log(1.02)
        above = stats.ttest_1samp(gaps, -margin, alternative="greater").pvalue
        below = stats.ttest_1samp(gaps, margin, alternative="less").pvalue
        check("equivalence", (max(above, below), different))
        """,
        _equivalence,
        "No: $p = 0.14$ for equivalence, $p = 0.56$ for a difference. The ratio is 0.993. Two one-sided tests at 5 % go with an interval "
        "of 90 %, 0.972 to 1.015, which leaves the margin below; and the one of 95 %, 0.966 to 1.021, holds 1: six blocks cannot tell.",
    ),
    "clusters": Exercise(
        "How sure is a pass rate?",
        30,
        """
        240 answers belong to 60 families of four variants each. Write a function that gives the standard error of the pass rate; it is
        tried on two studies. Compare with the formula for independent answers.
        """,
        """
        import numpy as np

        from tradeoffs.teaching import check, families

        passed, family = families()  # (240,) each: 0 or 1, and the number of the family


        def standard_error(passed, family):
            rng = np.random.default_rng(0)
            return np.std([rng.choice(passed, len(passed)).mean() for _ in range(2000)])


        check("clusters", standard_error)
        """,
        """
        def standard_error(passed, family):
            rng, own = np.random.default_rng(0), [passed[family == f] for f in np.unique(family)]
            drawn = rng.choice(len(own), (2000, len(own)))
            return np.std([np.concatenate([own[f] for f in row]).mean() for row in drawn])


        check("clusters", standard_error)
        """,
        _clusters,
        "In the first study independent answers would have a standard error of 0.0316; by families it is 0.0413. Its answers are worth "
        "140 independent ones: 240 over the squared ratio of the two.",
    ),
    "verdicts": Exercise(
        "A published result, by yourself",
        30,
        """
        The default study published every answer with its verdict. Write a function that gives the difference between the pass rates of a
        policy and of `sft-code`, with its 95 % interval: both answered the same problems, which come in families. It is tried on three
        policies.
        """,
        """
        from tradeoffs.teaching import check, published

        table = published()  # a row an answer: arm, problem_id, family, status ("passed" or not), tokens, seconds


        def change(table, arm):
            right = table["status"].eq("passed").groupby(table["arm"]).mean()
            found = right[arm] - right["sft-code"]
            return found, found, found


        check("verdicts", change)
        """,
        """
        import numpy as np


        def change(table, arm):
            right = table.assign(right=table["status"].eq("passed").astype(float))
            right = right.pivot(index=["problem_id", "family"], columns="arm", values="right")
            gaps = (right[arm] - right["sft-code"]).dropna()  # paired: the problem's own difficulty drops out
            own = [part.to_numpy() for _, part in gaps.groupby(level="family")]
            drawn = np.random.default_rng(0).choice(len(own), (2000, len(own)))
            means = [np.concatenate([own[family] for family in row]).mean() for row in drawn]
            return gaps.mean(), *np.quantile(means, [0.025, 0.975])


        check("verdicts", change)
        """,
        _verdicts,
        "The published table of changes, `comparisons.csv` beside it, has these differences; its intervals are made likewise, with more "
        "draws. That a policy's interval holds 0 does not say that it is as good: see the exercise on equivalence.",
    ),
    "direction": Exercise(
        "Whose taste is it?",
        30,
        """
        A user chose between 400 pairs of responses. Their taste is a direction in the plane of helpfulness and verbosity. Write a
        function that finds its angle in degrees from such choices; it is tried on three users.
        """,
        """
        import numpy as np

        from tradeoffs.teaching import check, choices

        # of one of them: gaps (400, 2), helpfulness and verbosity of the first response less those of the second;
        # first (400,), True where the first was chosen, which is more likely, not certain, where it suits the user better
        gaps, first = choices(0)


        def taste(gaps, first):
            return 0.0


        check("direction", taste)
        """,
        """
        from sklearn.linear_model import LogisticRegression


        def taste(gaps, first):
            # Bradley and Terry: sigmoid(v . gap), without intercept
            v = LogisticRegression(C=1e3, fit_intercept=False).fit(gaps, first).coef_[0]
            return np.degrees(np.arctan2(v[1], v[0]))


        check("direction", taste)
        """,
        _direction,
        "-35, 20 and 140 degrees. User 0 has a negative weight for verbosity and wants brief answers. User 2 has one for helpfulness, so "
        "no angle between -90 and 90 degrees, which is all that a dial like this study's can be asked for, is theirs.",
    ),
    "acceptance": Exercise(
        "How much does a draft help?",
        30,
        """
        A draft proposes tokens of the distribution $q$, the target wants $p$. With which chance is a proposal accepted, on average over
        the five places, and how many tokens does a pass of the target give if four are drafted and acceptances are independent?
        """,
        """
        import numpy as np

        from tradeoffs.teaching import check, distributions

        p, q = distributions()  # (5, 6) each: five places, six tokens
        alpha = (p.argmax(1) == q.argmax(1)).mean()
        check("acceptance", (alpha, 1 + 4 * alpha))
        """,
        """
        alpha = np.minimum(p, q).sum(1).mean()
        check("acceptance", (alpha, (1 - alpha**5) / (1 - alpha)))
        """,
        _acceptance,
        "0.378, and 1.60 tokens a pass. Whether both find the same token likeliest tells neither: a draft may be taken with another token "
        "than the likeliest.",
    ),
    "roofline": Exercise(
        "What could the machine do?",
        45,
        """
        Write a function that gives the most tokens per second that decoding can reach, for so many rows with so many tokens of context
        each: a step reads all weights and every row's keys and values, and multiplies each row with all weights.
        Where do more rows stop helping?
        """,
        """
        from tradeoffs.teaching import check, machine

        m = machine()  # parameters, bytes_each, layers, kv_heads, head_size, bytes_per_s, flops_per_s


        def limit(rows, context):
            return rows * m["bytes_per_s"] / (m["parameters"] * m["bytes_each"])


        check("roofline", limit)
        """,
        """
        def limit(rows, context):
            weights = m["parameters"] * m["bytes_each"]
            kv = 2 * m["layers"] * m["kv_heads"] * m["head_size"] * m["bytes_each"]
            arithmetic = 2 * m["parameters"] * rows / m["flops_per_s"]
            step = rows * context * kv / m["bytes_per_s"] + max(weights / m["bytes_per_s"], arithmetic)
            return rows / step


        check("roofline", limit)
        """,
        _roofline,
        "At 20 rows arithmetic takes as long as reading the weights ($B^* = m F / (2 |\\theta| b)$: $m$ bytes of weights, $|\\theta|$ of "
        "them, arithmetic $F$, bandwidth $b$). From there on more rows cost time in proportion, and long contexts cost it before: keys and "
        "values are read for each row. Here, as in the study, keys and values come on top of the larger of the two times; that all bytes "
        "are read while the products run is a higher limit, and right, too.",
    ),
    "own-method": Exercise(
        "A method of your own",
        180,
        """
        Add an alignment method: a module with `train(parameters, folder)` and a line in the registry. An easy one is rejection sampling
        for brevity alone. Train it for some steps, and see in `steps.jsonl` what it does to the length of answers to held-out prompts.
        """,
        """
        from tradeoffs.teaching import check

        # 1. src/tradeoffs/alignment/shortest.py, with: def train(parameters, folder): ...
        # 2. in src/tradeoffs/methods.py: "shortest": "tradeoffs.alignment.shortest"
        # 3. tradeoffs align -p method=shortest -p domain=general -p evaluations=2 -p out=runs/shortest
        check("own-method", "runs/shortest")
        """,
        """
        import sys
        import types

        from tradeoffs.alignment import METHODS, align, rsft
        from tradeoffs.parameters import AlignParameters


        def train(parameters, folder):
            return rsft.train(parameters.model_copy(update={"weights": [0.0, -1.0]}), folder)


        # better in a file of its own: src/tradeoffs/alignment/shortest.py
        sys.modules["shortest"] = types.ModuleType("shortest")
        sys.modules["shortest"].train = train
        METHODS["shortest"] = "shortest"
        small = dict(prompts=4, samples=2, max_new_tokens=24, steps=2, batch_size=2)
        looked = dict(evaluations=2, evaluation_prompts=4)
        align(AlignParameters(method="shortest", domain="general", out="runs/shortest", **small, **looked))
        check("own-method", "runs/shortest")
        """,
        _own_method,
        "The rows of kind `evaluation` in `runs/shortest/steps.jsonl` have the length of its answers to held-out prompts "
        "before and after (`response_tokens`). Two steps change little; twenty or more do.",
    ),
}
EXERCISES = {
    name: exercise._replace(
        goal=" ".join(exercise.goal.split()), start=_flush(exercise.start), solution=_flush(exercise.solution)
    )
    for name, exercise in EXERCISES.items()
}
