"""How a prompt is rendered: one place for training, generation and timing, so that they cannot drift apart."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CODE_SYSTEM = "You complete Python programs. Reply with the missing code only."
GENERAL_SYSTEM = "You are a helpful assistant."

Message = dict[str, str]
Question = str | list[Message]  # a text, or messages where there are several turns


def direction_weights(angle: float) -> tuple[int, int]:
    """The integers that stand for a direction in DPA's system prompt.

    Args:
        angle: degrees; 0 asks for helpfulness alone, negative angles for brevity, positive ones for verbosity.

    Returns:
        (helpfulness, verbosity), each round(100 * component) of the unit vector (cos, sin).

    Source: DPA's README, arXiv 2402.18571 (weights as integers in per cent; |angle| <= 45 degrees suggested).
    """
    radians = math.radians(angle)
    return round(100 * math.cos(radians)), round(100 * math.sin(radians))


def _system(base: str, angle: float | None) -> Message:
    if angle is None:
        return {"role": "system", "content": base}
    helpfulness, verbosity = direction_weights(angle)
    wish = f" Maximise the rating: helpfulness*{helpfulness} + verbosity*{verbosity}."
    return {"role": "system", "content": base + wish}


def code_messages(prompt: str, angle: float | None = None) -> list[Message]:
    """Messages for a problem in DS-1000's format, with DPA's direction in the system prompt if `angle` is given."""
    return [_system(CODE_SYSTEM, angle), {"role": "user", "content": prompt}]


def general_messages(prompt: Question, angle: float | None = None) -> list[Message]:
    """Messages for a general instruction, with DPA's direction in the system prompt if `angle` is given.

    Args:
        prompt: a text, or messages, which may bring a system prompt of their own.
        angle: degrees.
    """
    turns = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
    own = bool(turns) and turns[0]["role"] == "system"
    base = turns[0]["content"] if own else GENERAL_SYSTEM
    return [_system(base, angle), *turns[own:]]


def answer_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """The tokens of a response as they follow a rendered prompt: no opening token, which some tokenizers give every text, and no stop."""
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])
