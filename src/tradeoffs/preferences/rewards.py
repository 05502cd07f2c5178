"""The reward vector (helpfulness, verbosity), each from 0 to 100, and its scalarisation along a direction.

Helpfulness of code comes from executing it, graded by how far it came; helpfulness of general text from a reward model. Verbosity is
the amount of text relative to what the task needs, not a token count (HelpSteer's definition): 50 where the response is as long as the
reference, towards 0 for shorter and towards 100 for longer ones.
"""

from __future__ import annotations

import ast
import math
import random
import textwrap
from collections import defaultdict
from collections.abc import Hashable, Sequence
from typing import NamedTuple

from tradeoffs.records import Verdict

# How far an answer came -> helpfulness. The distances widen towards the right answer, so that passing dominates.
HELPFULNESS = {"nothing": 0.0, "parses": 15.0, "runs": 30.0, "type": 45.0, "shape": 60.0, "right": 100.0}


ATTRIBUTES = ("helpfulness", "verbosity")


class Reward(NamedTuple):
    """Two attributes on the scale 0-100."""

    helpfulness: float
    verbosity: float


def direction(angle: float) -> tuple[float, float]:
    """The unit vector (helpfulness, verbosity) at an angle in degrees.

    Source: DPA, arXiv 2402.18571: user preferences are unit vectors v, here v = (cos, sin).
    """
    return math.cos(math.radians(angle)), math.sin(math.radians(angle))


def scalarise(reward: Reward, vector: tuple[float, float]) -> float:
    """R = v1 * helpfulness + v2 * verbosity.

    Raises:
        ValueError: the vector is no unit vector.

    Source: linear scalarisation as in DPA's algorithm figure, arXiv 2402.18571.
    """
    norm = math.hypot(*vector)
    if not abs(norm - 1) <= 1e-6:  # so written, NaN is refused, too
        raise ValueError(f"direction: got {vector} of norm {norm:.4f}; accepts a unit vector (cos a, sin a)")
    return weigh(reward, vector)


def weigh(reward: Reward, weights: Sequence[float]) -> float:
    """R = v1 * helpfulness + v2 * verbosity for any weights v; which response is best does not depend on the length of v.

    Source: linear scalarisation as in DPA's algorithm figure, arXiv 2402.18571.
    """
    return weights[0] * reward.helpfulness + weights[1] * reward.verbosity


def shuffled(rewards: Sequence[Reward], groups: Sequence[Hashable], seed: int | str) -> list[Reward]:
    """Let rewards change places at random within their group: the control of a run that learns from them.

    Their distribution, and so what is kept or how long is trained, stays; which response earned which is lost.

    Args:
        rewards: one a response.
        groups: what may change places with what: usually the prompt, and how the response ended.
        seed: decides the places.
    """
    places: dict[Hashable, list[int]] = defaultdict(list)
    for place, group in enumerate(groups):
        places[group].append(place)
    found = list(rewards)
    for group, own in places.items():
        # A generator for each group: what happens in one depends neither on the others nor on which process holds them.
        sources = random.Random(f"shuffle/{seed}/{group}").sample(own, len(own))
        for place, source in zip(own, sources, strict=True):
            found[place] = rewards[source]
    return found


def verbosity(tokens: int, need: int) -> float:
    """Verbosity of a response of `tokens` tokens to a task whose reference has `need`: 100 n / (n + need).

    Raises:
        ValueError: `need` is not positive.
    """
    if need < 1:
        raise ValueError(f"need: got {need}; accepts a reference of at least one token")
    return 100.0 * tokens / (tokens + need)


def parses(code: str) -> bool:
    """Whether the text is non-empty Python, at the top level or as a function's indented body."""
    body = textwrap.dedent(code).strip("\n")
    if not body.strip():
        return False
    for text in (body, "def _():\n" + textwrap.indent(body, "    ")):
        try:
            ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        return True
    return False


def code_helpfulness(code: str, verdict: Verdict) -> float:
    """Helpfulness of a code answer from its verdict on a task of `tradeoffs.tasks.format`.

    The comparison there fails with `type`, `shape` or `value`: with `type` the answer ran to its end, with `shape` its type was
    right, with `value` its shape was right too.
    """
    if verdict.status == "passed":
        return HELPFULNESS["right"]
    if not parses(code):
        return HELPFULNESS["nothing"]
    reached = {"type": "runs", "shape": "type", "value": "shape"}
    stage = reached.get(verdict.detail.removeprefix("failed:").strip()) if verdict.status == "failed" else None
    return HELPFULNESS[stage or "parses"]
