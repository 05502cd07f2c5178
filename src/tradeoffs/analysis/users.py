"""Simulated users with a hidden taste, who choose between real rated responses: what can a direction represent, and what a single reward?

Responses come with the study's own ratings (helpfulness, verbosity). A user's utility of a response is made up: linear along a hidden
direction, or not linear at all; choices follow Bradley and Terry's model. Fitting is real: logistic regression on differences of ratings,
which is that model's maximum likelihood.

Source: the tests are this study's own; the claims that they test are those of arXiv 2402.18571 (figure of conflicting preferences) and of
the RLHFlow guidebook, section 5.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tradeoffs.preferences.rewards import Reward, direction, weigh
from tradeoffs.records import read_jsonl

Array = NDArray[np.float64]
SOFTNESS = 4.0  # points of utility by which the better of two responses is chosen with 73 %
RANKED = 8  # responses of a held-out prompt that are put in order
TARGET = 45.0  # verbosity that the non-linear user likes best
LEAST = 2 * RANKED  # responses of a prompt, to be used at all


class Pool(NamedTuple):
    """Rated responses.

    Attributes:
        ratings: (helpfulness, verbosity) of each response, shape (responses, 2).
        prompts: places of each prompt's responses.
    """

    ratings: Array
    prompts: list[NDArray[np.int64]]


def read_pool(path: str | Path) -> Pool:
    """Read the responses to general prompts of `benchmarks/learning.py`.

    Raises:
        ValueError: fewer than four prompts have enough responses.
    """
    code = ("rlvr", "start-code")
    rows = [row["held_out"] for row in read_jsonl(Path(path)) if row.get("held_out") and row.get("run") not in code]
    table = pd.DataFrame(rows, columns=["key", "helpfulness", "verbosity"]).drop_duplicates()
    groups = [part for _, part in table.groupby("key") if len(part) >= LEAST]
    if len(groups) < 4:
        raise ValueError(
            f"rated: {path} has {len(groups)} prompts with {LEAST} different responses; accepts at least 4"
        )
    ratings = np.concatenate([part[["helpfulness", "verbosity"]].to_numpy(dtype=np.float64) for part in groups])
    ends = np.cumsum([len(part) for part in groups])
    return Pool(ratings, [np.arange(end - len(part), end) for end, part in zip(ends, groups, strict=True)])


def draw_pairs(pool: Pool, prompts: Sequence[int], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Pairs of different responses to one prompt, shape (count, 2)."""
    chosen = rng.choice(np.asarray(prompts), count)
    return np.array([rng.choice(pool.prompts[n], 2, replace=False) for n in chosen])


def choose(utility: Array, pairs: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Whether the first of each pair is chosen: with probability sigmoid of the difference of utilities over `SOFTNESS`."""
    gap = utility[pairs[:, 0]] - utility[pairs[:, 1]]
    return np.asarray(rng.random(len(pairs)) < 1 / (1 + np.exp(-gap / SOFTNESS)))


def fit_direction(pool: Pool, pairs: NDArray[np.int64], first: NDArray[np.bool_]) -> Array:
    """The unit vector along which the choices are likeliest, shape (2,)."""
    from sklearn.linear_model import LogisticRegression

    gaps = pool.ratings[pairs[:, 0]] - pool.ratings[pairs[:, 1]]
    # each pair both ways round, so that both answers occur
    model = LogisticRegression(C=1e3, fit_intercept=False).fit(
        np.concatenate([gaps, -gaps]), np.concatenate([first, ~first])
    )
    return np.asarray(model.coef_[0] / np.linalg.norm(model.coef_[0]))


def agreement(
    pool: Pool, prompts: Sequence[int], utility: Array, score: Array, rng: np.random.Generator
) -> dict[str, float]:
    """How far a score orders held-out responses as a user would: share of pairs in order, and mean Kendall tau of `RANKED` responses."""
    from scipy.stats import kendalltau

    pairs = draw_pairs(pool, prompts, 400, rng)
    told, true = (values[pairs[:, 0]] - values[pairs[:, 1]] for values in (score, utility))
    ordered = [rng.choice(pool.prompts[n], RANKED, replace=False) for n in prompts]
    taus = [kendalltau(utility[places], score[places]).statistic for places in ordered]
    return {"accuracy": float((told * true > 0)[true != 0].mean()), "tau": float(np.nanmean(taus))}


def linear(pool: Pool, angle: float) -> Array:
    """Utility along a direction (degrees)."""
    return pool.ratings @ np.array(direction(angle))


def likes_a_length(pool: Pool) -> Array:
    """Utility of the user whom no direction fits: verbosity close to `TARGET`."""
    return -np.abs(pool.ratings[:, 1] - TARGET)


def split(pool: Pool, rng: np.random.Generator) -> tuple[list[int], list[int]]:
    """Prompts to learn from, and prompts to test on, half and half."""
    order = [int(n) for n in rng.permutation(len(pool.prompts))]
    return order[: len(order) // 2], order[len(order) // 2 :]


def represent(pool: Pool, users: int = 24, choices: int = 100, seed: int = 0) -> pd.DataFrame:
    """Fit each user's direction from choices, and one direction to everybody's; as many users whose taste is no direction.

    Args:
        users: with hidden directions, drawn evenly from -90 to 90 degrees.
        choices: pairs that each chooses from.

    Returns:
        One row a user: `kind` (`direction`, `length`), `angle` (hidden), `fitted` (degrees), and `accuracy` and `tau` on prompts not
        learnt from, by the own direction and by everybody's (`pooled_accuracy`, `pooled_tau`).
    """
    rng = np.random.default_rng([1, seed])
    learn, test = split(pool, rng)
    angles = rng.uniform(-90, 90, users)
    tastes: list[tuple[str, float, Array]] = [("direction", float(a), linear(pool, float(a))) for a in angles]
    tastes += [("length", math.nan, likes_a_length(pool))] * users
    asked = [draw_pairs(pool, learn, choices, rng) for _ in tastes]
    said = [choose(utility, pairs, rng) for (_, _, utility), pairs in zip(tastes, asked, strict=True)]
    rows = []
    pooled = {
        kind: fit_direction(
            pool,
            np.concatenate([p for p, (k, *_) in zip(asked, tastes, strict=True) if k == kind]),
            np.concatenate([s for s, (k, *_) in zip(said, tastes, strict=True) if k == kind]),
        )
        for kind in ("direction", "length")
    }
    for (kind, angle, utility), pairs, first in zip(tastes, asked, said, strict=True):
        own = fit_direction(pool, pairs, first)
        found = agreement(pool, test, utility, pool.ratings @ own, rng)
        shared = agreement(pool, test, utility, pool.ratings @ pooled[kind], rng)
        row = {"kind": kind, "angle": angle, "fitted": math.degrees(math.atan2(own[1], own[0]))} | found
        rows.append(row | {f"pooled_{name}": value for name, value in shared.items()})
    return pd.DataFrame(rows)


GROUPS = {"brief": -60.0, "detailed": 60.0}  # degrees


def misspecification(
    pool: Pool, shares: Sequence[float] = (0.5, 0.7, 0.9), choices: int = 2000, repeats: int = 40, seed: int = 0
) -> pd.DataFrame:
    """Two groups with opposite tastes: one reward for both, against a direction for each.

    A single reward is fitted to the choices of all; the best response by it is what rejection sampling teaches everybody. With directions
    each group's is fitted to its own choices, and its best response is what the policy is taught under that direction.

    Args:
        shares: of `brief` among all choices.
        choices: pairs in all, so that a small group has few.
        repeats: drawn anew.

    Returns:
        One row a share, repeat and group: `share`, `repeat`, `group`, `regret_scalar` and `regret_direction`, points of the group's
        utility on held-out prompts that are lost against its own best response; `accuracy_scalar` and `accuracy_direction`, pairs that are
        ordered as the group would; `conflict`, share of held-out pairs that the groups order differently.
    """
    rows = []
    for share in shares:
        for repeat in range(repeats):
            rng = np.random.default_rng([2, seed, round(1000 * share), repeat])
            learn, test = split(pool, rng)
            utilities = {name: linear(pool, angle) for name, angle in GROUPS.items()}
            brief = round(share * choices)
            asked = {
                name: draw_pairs(pool, learn, n, rng) for name, n in zip(GROUPS, (brief, choices - brief), strict=True)
            }
            said = {name: choose(utilities[name], pairs, rng) for name, pairs in asked.items()}
            together = fit_direction(pool, np.concatenate(list(asked.values())), np.concatenate(list(said.values())))
            pairs = draw_pairs(pool, test, 1000, rng)
            order = {name: u[pairs[:, 0]] > u[pairs[:, 1]] for name, u in utilities.items()}
            conflict = float((order["brief"] != order["detailed"]).mean())
            for name, utility in utilities.items():
                row = {"share": share, "repeat": repeat, "group": name, "conflict": conflict}
                for way, vector in (("scalar", together), ("direction", fit_direction(pool, asked[name], said[name]))):
                    score = pool.ratings @ vector
                    row[f"regret_{way}"] = regret(pool, test, utility, score)
                    row[f"accuracy_{way}"] = float(((score[pairs[:, 0]] > score[pairs[:, 1]]) == order[name]).mean())
                rows.append(row)
    return pd.DataFrame(rows)


def regret(pool: Pool, prompts: Sequence[int], utility: Array, score: Array) -> float:
    """Mean utility lost by taking, for each prompt, the response of the highest score."""
    lost = []
    for n in prompts:
        places = pool.prompts[n]
        lost.append(utility[places].max() - utility[places[np.argmax(score[places])]])
    return float(np.mean(lost))


def mean_with_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """A mean with its 95 % bootstrap interval (BCa); of equal values they themselves."""
    from scipy.stats import bootstrap

    data = np.asarray(values, dtype=np.float64)
    if np.ptp(data) == 0:
        return float(data[0]), float(data[0]), float(data[0])
    found = bootstrap((data,), np.mean, rng=np.random.default_rng(0)).confidence_interval
    return float(data.mean()), float(found.low), float(found.high)


# c10: the algorithm figure's example: response -> (helpfulness, verbosity, printed weighted reward)
EXAMPLE = {"D": (41.0, 43.0, 8.2), "E": (57.0, 51.0, 15.0), "F": (69.0, 62.0, 18.0)}


def example() -> pd.DataFrame:
    """The example of DPA's algorithm figure, worked out with the printed v2 = 0.6 and with -0.6.

    Returns:
        One row a response: `response`, `helpfulness`, `verbosity`, `printed`, `plus`, `minus`, and which of the two fits what is printed
        (`fits`: `plus`, `minus` or `neither`).
    """
    rows = []
    for name, (helpful, verbose, printed) in EXAMPLE.items():
        plus, minus = (weigh(Reward(helpful, verbose), (0.8, sign * 0.6)) for sign in (1, -1))
        fits = next((k for k, v in (("plus", plus), ("minus", minus)) if abs(v - printed) < 0.05), "neither")
        rows.append(
            {
                "response": name,
                "helpfulness": helpful,
                "verbosity": verbose,
                "printed": printed,
                "plus": plus,
                "minus": minus,
                "fits": fits,
            }
        )
    return pd.DataFrame(rows)
