"""Directional preference alignment: one policy for all directions, by preference-conditioned rejection sampling.

Each round: give every prompt a direction v, written as integers in the system prompt; sample several responses from the current policy;
rate each by (helpfulness, verbosity); keep the one with the highest v . r; fine-tune on what was kept, with v in the system prompt. What a
response is worth along v does not depend on the direction that it was sampled under: a prompt with several directions lets each choose
among all its responses, which is best of n for a larger n at no further sampling. A batch holds a prompt under all its directions: in
batches of similar length each would hold one direction, and teach to be brief, then to be long, whatever is asked for.

Source: DPA, arXiv 2402.18571 (algorithm figure and README; no public training code exists). Directions are drawn uniformly from
`angles`; the paper's own distribution is not known.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from tradeoffs.alignment.rounds import rounds
from tradeoffs.alignment.rsft import on_the_best
from tradeoffs.parameters import AlignParameters
from tradeoffs.preferences.sampling import Rated
from tradeoffs.tasks.examples import Example

COPIES = 10_000_000  # between the keys of one prompt's copies


def draw_directions(
    examples: list[Example], angles: list[float], seed: int, each: int = 1
) -> tuple[list[Example], dict[int, float]]:
    """Give prompts directions, with one each every angle about equally often.

    Args:
        each: different directions a prompt; it then stands there as often, under keys of its own.

    Returns:
        The prompts, and the angle of each by its key.
    """
    rng = random.Random(f"directions/{seed}")
    turns: list[float] = []
    found, drawn = [], {}
    for example in examples:
        if each == 1:
            turns = turns or rng.sample(angles, len(angles))
        own = [turns.pop()] if each == 1 else rng.sample(sorted(set(angles)), each)
        for n, angle in enumerate(own):
            copy = example._replace(key=example.key + n * COPIES)
            found.append(copy)
            drawn[copy.key] = angle
    return found, drawn


def prompt_of(key: int) -> int:
    """The key of the prompt that a copy with a direction of its own was made from."""
    return key % COPIES


def pool(rated: list[Rated]) -> list[Rated]:
    """Give every direction of a prompt all the prompt's responses, numbered anew; with one direction a prompt nothing changes."""
    prompts: dict[int, dict[int, list[Rated]]] = {}
    for row in rated:
        prompts.setdefault(prompt_of(row.key), {}).setdefault(row.key, []).append(row)
    return [
        row.model_copy(update={"key": key, "sample": number})
        for copies in prompts.values()
        for key in copies
        for number, row in enumerate(row for own in copies.values() for row in own)
    ]


def train(parameters: AlignParameters, folder: Path) -> dict[str, Any]:
    """Run `rounds` rounds; see `tradeoffs.alignment.align`."""

    def draw(examples: list[Example], number: int) -> tuple[list[Example], dict[int, float]]:
        return draw_directions(examples, parameters.angles, parameters.seed + number, parameters.angles_per_prompt)

    # With one direction a prompt there is nothing to learn side by side, and with one direction in all this is rejection sampling.
    group = prompt_of if parameters.angles_per_prompt > 1 else None
    return rounds(parameters, folder, on_the_best(parameters, group), draw, pool)
