"""Training examples: verifiable code tasks, general instructions, or both, in one form."""

from __future__ import annotations

import random
from typing import NamedTuple

from tradeoffs.tasks import general, synthetic
from tradeoffs.tasks.format import Problem
from tradeoffs.tasks.prompts import Message, code_messages, general_messages


class Example(NamedTuple):
    """One training prompt with its reference answer; `problem` is None for a general instruction."""

    key: int
    domain: str
    prompt: str
    reference: str
    problem: Problem | None

    def messages(self, angle: float | None = None) -> list[Message]:
        """The rendered conversation up to the answer, with DPA's direction if `angle` is given."""
        return (code_messages if self.domain == "code" else general_messages)(self.prompt, angle)


def _code(count: int, seed: int) -> list[Example]:
    tasks = synthetic.generate(count, seed)
    return [Example(i, "code", t["prompt"], t["reference_code"].rstrip("\n"), t) for i, t in enumerate(tasks)]


def _general(count: int, seed: int) -> list[Example]:
    train, _ = general.split(general.load())
    order: list[dict[str, str]] = []
    rng = random.Random(f"general/{seed}")
    while len(order) < count:
        order += rng.sample(train, len(train))
    return [
        Example(1_000_000 + i, "general", row["prompt"], row["response"], None) for i, row in enumerate(order[:count])
    ]


def training_examples(domain: str, count: int, seed: int) -> list[Example]:
    """Draw training examples; the same arguments give the same examples.

    Args:
        domain: `code`, `general`, or `mixed` (alternating).
        count: how many.
        seed: decides tasks, wording, data and order.
    """
    if domain == "code":
        return _code(count, seed)
    if domain == "general":
        return _general(count, seed)
    code, text = _code((count + 1) // 2, seed), _general(count // 2, seed)
    mixed = [example for pair in zip(code, text, strict=False) for example in pair]
    return mixed + code[len(text) :]
