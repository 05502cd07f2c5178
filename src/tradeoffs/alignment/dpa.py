"""Directional preference alignment: one policy for all directions, by preference-conditioned rejection sampling.

Each round: give every prompt a direction v, written as integers in the system prompt; sample several responses from the current policy;
rate each by (helpfulness, verbosity); keep the one with the highest v . r; fine-tune on what was kept, with v in the system prompt.

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
from tradeoffs.tasks.examples import Example


def draw_directions(examples: list[Example], angles: list[float], seed: int) -> dict[int, float]:
    """One direction a prompt, every angle about equally often."""
    rng = random.Random(f"directions/{seed}")
    cycle = [angle for _ in range(len(examples) // len(angles) + 1) for angle in rng.sample(angles, len(angles))]
    return {example.key: angle for example, angle in zip(examples, cycle, strict=False)}


def train(parameters: AlignParameters, folder: Path) -> dict[str, Any]:
    """Run `rounds` rounds; see `tradeoffs.alignment.align`."""

    def draw(examples: list[Example], number: int) -> dict[int, float]:
        return draw_directions(examples, parameters.angles, parameters.seed + number)

    return rounds(parameters, folder, on_the_best(parameters), draw)
