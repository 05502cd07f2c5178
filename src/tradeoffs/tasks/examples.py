"""Training examples: verifiable code tasks, general instructions, or both, in one form."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import NamedTuple

from tradeoffs.tasks import general, synthetic
from tradeoffs.tasks.format import Problem
from tradeoffs.tasks.prompts import Message, Question, code_messages, general_messages

Instruction = tuple[Question, str]  # with its answer

HELD_OUT = 900_000_000  # seeds of tasks from here on are never trained on


class Example(NamedTuple):
    """One training prompt with its reference answer; `problem` is None for a general instruction."""

    key: int
    domain: str
    prompt: Question
    reference: str
    problem: Problem | None

    def messages(self, angle: float | None = None) -> list[Message]:
        """The rendered conversation up to the answer, with DPA's direction if `angle` is given."""
        if self.domain == "code":
            assert isinstance(self.prompt, str)
            return code_messages(self.prompt, angle)
        return general_messages(self.prompt, angle)


def _code(count: int, seed: int) -> list[Example]:
    tasks = synthetic.generate(count, seed)
    return [Example(i, "code", t["prompt"], t["reference_code"].rstrip("\n"), t) for i, t in enumerate(tasks)]


def _own() -> list[Instruction]:
    train, _ = general.split(general.load())
    return [(row["prompt"], row["response"]) for row in train]


def _general(count: int, seed: int, rows: Sequence[Instruction]) -> list[Example]:
    order: list[Instruction] = []
    rng = random.Random(f"general/{seed}")
    while len(order) < count:
        order += rng.sample(rows, len(rows))
    return [Example(1_000_000 + i, "general", *row, None) for i, row in enumerate(order[:count])]


def training_examples(
    domain: str, count: int, seed: int, code_share: float = 0.5, instructions: Sequence[Instruction] | None = None
) -> list[Example]:
    """Draw training examples; the same arguments give the same examples.

    Args:
        domain: `code`, `general`, or `mixed` (in turn, so that every stretch has its share of both).
        count: how many.
        seed: decides tasks, wording, data and order.
        code_share: share of code among `mixed` examples.
        instructions: what general examples are drawn from; the project's own without. Drawn again once all were.
    """
    if domain == "code":
        return _code(count, seed)
    rows = _own() if instructions is None else instructions
    if domain == "general":
        return _general(count, seed, rows)
    # Place n is code where the count of code examples that are due, rounded up, goes up there.
    due = [math.ceil((n + 1) * code_share - 1e-9) > math.ceil(n * code_share - 1e-9) for n in range(count)]
    code, text = iter(_code(sum(due), seed)), iter(_general(count - sum(due), seed, rows))
    return [next(code if is_code else text) for is_code in due]


def held_out_examples(domain: str, count: int, seed: int = 0, code_share: float = 0.5) -> list[Example]:
    """Draw examples that training never sees: tasks of another seed, in other words and with other data, and instructions set aside.

    Args:
        domain, code_share: as in `training_examples`.
        count: how many; of instructions there are 40, which come again where more are wanted.
        seed: decides tasks and order.
    """
    _, rows = general.split(general.load())
    rows = random.Random(f"held-out/{seed}").sample(rows, len(rows))
    if domain == "code":
        return _code(count, HELD_OUT + seed)
    text = [
        Example(1_000_000 + i, "general", rows[i % len(rows)]["prompt"], rows[i % len(rows)]["response"], None)
        for i in range(count)
    ]
    if domain == "general":
        return text
    share = round(count * code_share)
    return [*_code(share, HELD_OUT + seed), *text[: count - share]]
