"""How likely a policy finds responses: their tokens' log-probabilities, entropies and hidden states, in float32."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from tradeoffs.preferences.sampling import prompt_ids
from tradeoffs.tasks.examples import Example

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the positions of a mask."""
    return (values * mask).sum() / mask.sum()


class Batch(NamedTuple):
    """Responses laid out as rows padded on both sides: prompts end where responses begin.

    Attributes:
        ids, mask: token ids and which of them are real, shape (responses, longest prompt + width).
        lengths: tokens of each response, shape (responses,).
        width: tokens of the longest, and what is spare.
    """

    ids: Tensor
    mask: Tensor
    lengths: Tensor
    width: int

    def part(self, rows: slice) -> Batch:
        """Some of the rows."""
        return Batch(self.ids[rows], self.mask[rows], self.lengths[rows], self.width)


def lay_out(responses: Sequence[tuple[list[int], list[int]]], padding: int, device: Any, spare: int = 0) -> Batch:
    """Lay out (prompt, response) pairs of token ids, with `spare` columns after the longest response."""
    head, width = max(len(prompt) for prompt, _ in responses), max(len(ids) for _, ids in responses) + spare
    ids = torch.full((len(responses), head + width), padding)
    mask = torch.zeros_like(ids)
    for row, (prompt, response) in enumerate(responses):
        place = slice(head - len(prompt), head + len(response))
        ids[row, place] = torch.tensor([*prompt, *response])
        mask[row, place] = 1
    lengths = torch.tensor([len(response) for _, response in responses])
    return Batch(ids.to(device), mask.to(device), lengths.to(device), width)


def look(model: Any, batch: Batch, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probabilities of the responses' tokens, entropies there, and the hidden states before each, in float32."""
    places = (batch.mask.cumsum(1) - 1).clamp(min=0)
    output = model(
        input_ids=batch.ids,
        attention_mask=batch.mask,
        position_ids=places,
        output_hidden_states=True,
        logits_to_keep=batch.width + 1,
    )
    logp = torch.log_softmax(output.logits[:, :-1].float() / temperature, dim=-1)
    picked = logp.gather(-1, batch.ids[:, -batch.width :, None])[..., 0]
    entropy = -(logp.exp() * logp).sum(-1)
    return picked, entropy, output.hidden_states[-1][:, -batch.width - 1 : -1].float()


def at_longest(
    model: Any, tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], new_tokens: int
) -> Callable[[int], object]:
    """Passes over as many responses as are asked for, to the longest prompt and as long as can be: whether they fit into memory."""

    def attempt(size: int) -> None:
        prompt = max((prompt_ids(tokenizer, example) for example in examples), key=len)
        batch = lay_out([(prompt, prompt[:1] * new_tokens)] * size, 0, next(model.parameters()).device, spare=1)
        logp, entropy, _ = look(model, batch, 1.0)
        torch.autograd.backward(logp.sum() + entropy.sum())

    return attempt
