"""General instructions: short questions and answers that have nothing to do with programming.

Preference alignment on one narrow task can cost a model what it could do before. To measure that cost, and to
mix ordinary conversation into the training data, the project brings 200 instruction and answer pairs of its
own: everyday questions, short explanations, rewriting, summaries, lists, arithmetic in words, e-mails and the
like. They lie in ``general.jsonl``, one object a line with the keys ``prompt``, ``response`` and ``topic``.
"""

from __future__ import annotations

import json
import random
from importlib import resources


def load() -> list[dict[str, str]]:
    """Read the general pairs in the order of the file.

    Returns:
        One dict per pair with the keys ``prompt``, ``response`` and ``topic``.
    """
    text = resources.files("tradeoffs.tasks").joinpath("general.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def split(
    rows: list[dict[str, str]], held_out: int = 40, seed: int = 0
) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Divide the pairs into a training part and a held-out part, the same way for the same seed.

    Args:
        rows: the pairs, as `load` returns them; not changed.
        held_out: number of pairs in the second part.
        seed: of the shuffle that chooses them.

    Returns:
        (train, test), each in the order of `rows`.

    Raises:
        ValueError: `held_out` is negative or leaves no row for training.
    """
    if not 0 <= held_out < len(rows):
        raise ValueError(f"held_out: got {held_out}; accepts 0 to {len(rows) - 1} of {len(rows)} rows; choose fewer")
    chosen = set(random.Random(seed).sample(range(len(rows)), held_out))
    train = [row for i, row in enumerate(rows) if i not in chosen]
    test = [row for i, row in enumerate(rows) if i in chosen]
    return train, test
