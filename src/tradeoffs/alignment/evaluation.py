"""What training did to a policy, by the same measure for every method: samples on prompts that it never saw.

Rewards say whether a method reaches its own objective; length, entropy and the divergence from the policy that it started from say at what
price.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from tradeoffs.alignment.common import Judges
from tradeoffs.alignment.likelihood import lay_out, look
from tradeoffs.inference.engine import Completion, Prompt
from tradeoffs.models import Policy
from tradeoffs.preferences.data import Pair
from tradeoffs.preferences.sampling import draw, judging, prompt_ids
from tradeoffs.records import Row
from tradeoffs.tasks.examples import Example
from tradeoffs.tasks.prompts import answer_ids

if TYPE_CHECKING:
    from torch import Tensor


HELD_OUT = -1  # in the keys of prompts: no training step samples with the same noise


class HeldOut(Row):
    """One sampled response to a held-out prompt.

    Attributes:
        key, sample: which.
        angle: DPA's direction in the prompt, degrees; None without.
        helpfulness, verbosity: 0-100.
        tokens: of the response, stop token included.
        entropy: mean over its tokens of the entropy of the policy's next-token distribution, nats.
        kl: sum over its tokens of log(pi / pi_ref), nats: an unbiased estimate of the divergence from the start policy. Both are taken of
            the first sample of each prompt.
    """

    key: int
    sample: int
    angle: float | None = None
    helpfulness: float
    verbosity: float
    tokens: int
    entropy: float | None = None
    kl: float | None = None


def evaluate(
    policy: Policy,
    reference: Policy,
    examples: Sequence[Example],
    of: Judges,
    *,
    angle: float | None = None,
    samples: int = 2,
    temperature: float = 1.0,
    max_new_tokens: int = 48,
    seed: int = 0,
    workers: int = 2,
) -> list[HeldOut]:
    """Sample and measure.

    Args:
        reference: the policy that training started from.
        examples: held-out prompts, see `tradeoffs.tasks.examples.held_out_examples`.
        of: what rates the responses.
        angle: DPA's direction in the system prompt.
        samples: responses a prompt.
        temperature: that responses are sampled at; entropy and KL are of the distribution at that temperature.
    """
    wanted = [
        Prompt((HELD_OUT, n, k), prompt_ids(policy.tokenizer, example, angle))
        for n, example in enumerate(examples)
        for k in range(samples)
    ]
    drawn = draw(policy, wanted, temperature=temperature, max_new_tokens=max_new_tokens, seed=seed)
    found = sorted(drawn, key=lambda row: row.key)
    with judging(examples, of.reward_model, of.base, workers) as judgement:
        rewards = judgement.rewards([(examples[row.key[1]].key, row.text, len(row.ids)) for row in found])
    first = [row for row in found if row.key[2] == 0]
    measured = _divergence(policy, reference, first, {prompt.key: prompt.ids for prompt in wanted}, temperature)
    return [
        HeldOut(
            key=examples[row.key[1]].key,
            sample=row.key[2],
            angle=angle,
            helpfulness=reward.helpfulness,
            verbosity=reward.verbosity,
            tokens=len(row.ids),
            entropy=measured.get(row.key, (None, None))[0],
            kl=measured.get(row.key, (None, None))[1],
        )
        for row, reward in zip(found, rewards, strict=True)
    ]


def _divergence(
    policy: Policy,
    reference: Policy,
    rows: Sequence[Completion],
    asked: dict[tuple[int, ...], list[int]],
    temperature: float,
) -> dict[tuple[int, ...], tuple[float, float]]:
    """(entropy, KL) of each response, by its key."""
    found: dict[tuple[int, ...], tuple[float, float]] = {}
    order = sorted(rows, key=lambda row: len(asked[row.key]) + len(row.ids))
    for first in range(0, len(order), 16):
        part = order[first : first + 16]
        batch = lay_out([(asked[row.key], list(row.ids)) for row in part], 0, policy.model.device)
        with torch.inference_mode():
            logp, entropy, _ = look(policy.model, batch, temperature)
            ref_logp, _, _ = look(reference.model, batch, temperature)
        acted = torch.arange(batch.width, device=logp.device)[None, :] < batch.lengths[:, None]

        def total(values: Tensor, acted: Tensor = acted) -> list[float]:
            return (values * acted).sum(1).tolist()  # type: ignore[no-any-return]

        for row, h, kl in zip(part, total(entropy), total(logp - ref_logp), strict=True):
            found[row.key] = (h / len(row.ids), kl)
    return found


def margins(policy: Policy, reference: Policy, pairs: Sequence[Pair], max_length: int = 512) -> list[float]:
    """How much more than the reference a policy prefers the chosen answer of each pair, nats, stop token included.

    log(pi / pi_ref) of the chosen answer less that of the rejected one: DPO's implicit reward, but for beta. Pairs longer than
    `max_length` tokens are left out.

    Source: Rafailov et al. 2023, arXiv 2305.18290, section 4 (implicit reward).
    """
    tokenizer, rows = policy.tokenizer, []
    for pair in pairs:
        ids: Any = tokenizer.apply_chat_template(list(pair.messages), add_generation_prompt=True, return_dict=False)
        answers = [
            [*answer_ids(tokenizer, text), int(tokenizer.eos_token_id or 0)] for text in (pair.chosen, pair.rejected)
        ]
        if len(ids) + max(map(len, answers)) <= max_length:
            rows += [(list(ids), answer) for answer in answers]
    ahead = [0.0] * len(rows)
    order = sorted(range(len(rows)), key=lambda n: sum(map(len, rows[n])))
    for first in range(0, len(order), 8):
        part = order[first : first + 8]
        batch = lay_out([rows[n] for n in part], 0, policy.model.device)
        with torch.inference_mode():
            logp, ref_logp = (look(model, batch, 1.0)[0] for model in (policy.model, reference.model))
        for n, values, length in zip(part, logp - ref_logp, batch.lengths.tolist(), strict=True):
            ahead[n] = float(values[:length].sum())
    return [chosen - rejected for chosen, rejected in zip(ahead[::2], ahead[1::2], strict=True)]


def nll(policy: Policy, examples: Sequence[Example]) -> list[float]:
    """Mean negative log-likelihood of each example's reference answer and its stop token, nats a token."""
    tokenizer = policy.tokenizer
    found = [math.nan] * len(examples)
    rows = [
        (
            prompt_ids(tokenizer, example),
            [*answer_ids(tokenizer, example.reference), int(tokenizer.eos_token_id or 0)],
        )
        for example in examples
    ]
    order = sorted(range(len(rows)), key=lambda n: sum(map(len, rows[n])))
    for first in range(0, len(order), 16):
        part = order[first : first + 16]
        batch = lay_out([rows[n] for n in part], 0, policy.model.device)
        with torch.inference_mode():
            logp, _, _ = look(policy.model, batch, 1.0)
        for n, values, length in zip(part, logp, batch.lengths.tolist(), strict=True):
            found[n] = -float(values[:length].mean())
    return found
