"""RRHF: rank the policy's own responses by their length-normalised log-probability as the reward ranks them.

For responses y_1..y_k of one query with rewards r_i and p_i = (sum_t log pi(y_it | x, y_i<t)) / |y_i|:

    L_rank = sum over r_i < r_j of max(0, p_i - p_j)        (no margin)
    L_ft   = -p_i', i' = argmax r_i                         (cross-entropy of the best, a mean over its tokens)
    L      = L_rank + L_ft, a mean over the queries of a batch

Source: Yuan et al. 2023, arXiv 2304.05302v2, equations 1 to 5. Two things differ from the authors' code on purpose: each query is ranked
within itself, however many stand in a batch (theirs is right for one only), and L_ft is a mean over the response's own tokens (theirs
divides by prompt and padding as well; the authors agree, issue 51 there).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import Trainer, TrainingArguments

from tradeoffs.alignment.common import (
    StepLog,
    finish,
    new_adapter,
    own_samples,
    run_trainer,
    save_adapter,
    start_policy,
    trainer_settings,
)
from tradeoffs.parameters import AlignParameters
from tradeoffs.preferences.rewards import weigh
from tradeoffs.preferences.sampling import by_prompt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

IGNORED = -100


def rrhf_loss(scores: Tensor, rewards: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
    """Ranking loss and fine-tuning loss, each a mean over queries.

    Args:
        scores: length-normalised log-probabilities p, shape (responses,).
        rewards: shape (responses,); ties make no pair and, for the best response, count the first.
        query: which query a response belongs to, integers, shape (responses,).

    Returns:
        (L_rank, L_ft), scalars.

    Source: arXiv 2304.05302v2, equations 2 and 4.
    """
    pairs = (query[:, None] == query[None, :]) & (rewards[:, None] < rewards[None, :])
    count = torch.unique(query).numel()
    rank = (torch.relu(scores[:, None] - scores[None, :]) * pairs).sum() / count
    same = query[:, None] == query[None, :]
    earlier = torch.ones_like(same).tril(-1)
    beaten = (pairs | (same & (rewards[:, None] == rewards[None, :]) & earlier)).any(dim=1)
    return rank, -scores[~beaten].sum() / count


def response_scores(logits: Tensor, labels: Tensor) -> Tensor:
    """Length-normalised log-probability of each row's labelled tokens.

    Args:
        logits: shape (rows, length, vocabulary).
        labels: token ids, `IGNORED` where a position is prompt or padding, shape (rows, length).

    Returns:
        Shape (rows,), in float32.

    Source: arXiv 2304.05302v2, equation 1.
    """
    targets = labels[:, 1:]
    mask = targets != IGNORED
    logp = torch.log_softmax(logits[:, :-1].float(), dim=-1)
    picked = logp.gather(-1, targets.clamp(min=0)[..., None])[..., 0]
    return (picked * mask).sum(1) / mask.sum(1)


class RRHFTrainer(Trainer):
    """A `Trainer` whose dataset has one query a row: `prompt` (ids), `responses` (lists of ids) and `rewards`."""

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The loss of a batch of queries."""
        query, rewards = inputs.pop("query"), inputs.pop("rewards")
        labels = inputs.pop("labels")
        output = model(**inputs)
        rank, tuned = rrhf_loss(response_scores(output.logits, labels), rewards, query)
        loss = rank + tuned
        return (loss, output) if return_outputs else loss


def collate(rows: Sequence[dict[str, Any]], padding: int) -> dict[str, Tensor]:
    """Lay out the responses of several queries as rows padded on the right."""
    sequences = [(row["prompt"], ids, number) for number, row in enumerate(rows) for ids in row["responses"]]
    width = max(len(prompt) + len(ids) for prompt, ids, _ in sequences)
    tokens = torch.full((len(sequences), width), padding)
    labels = torch.full((len(sequences), width), IGNORED)
    for place, (prompt, ids, _) in enumerate(sequences):
        tokens[place, : len(prompt) + len(ids)] = torch.tensor([*prompt, *ids])
        labels[place, len(prompt) : len(prompt) + len(ids)] = torch.tensor(ids)
    used = torch.tensor([[len(prompt) + len(ids)] for prompt, ids, _ in sequences])
    return {
        "input_ids": tokens,
        "attention_mask": (torch.arange(width)[None, :] < used).long(),
        "labels": labels,
        "query": torch.tensor([number for *_, number in sequences]),
        "rewards": torch.tensor([reward for row in rows for reward in row["rewards"]], dtype=torch.float32),
    }


def train(parameters: AlignParameters, folder: Path) -> dict[str, Any]:
    """Sample, rate, rank and train; see `tradeoffs.alignment.align`.

    Raises:
        ValueError: no prompt gave responses that differ in reward.
    """
    from datasets import Dataset

    policy = start_policy(parameters)
    tokenizer = policy.tokenizer
    by_key, rated, summary = own_samples(parameters, folder, policy)
    rows = []
    for key, group in by_prompt(rated).items():
        texts = {row.text: weigh(row.reward, parameters.weights) for row in reversed(group)}  # equal texts count once
        if len(set(texts.values())) < 2:
            continue
        messages: Any = by_key[key].messages()
        prompt = list(tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False))
        ids = [[*tokenizer(text)["input_ids"], tokenizer.eos_token_id] for text in texts]
        if len(prompt) + max(map(len, ids)) <= parameters.max_length:
            rows.append({"prompt": prompt, "responses": ids, "rewards": list(texts.values())})
    if not rows:
        raise ValueError(
            "prompts: no prompt gave two responses of different reward; raise prompts, samples or temperature"
        )
    settings = trainer_settings(parameters, folder) | {"remove_unused_columns": False}
    trainer = RRHFTrainer(
        model=new_adapter(policy.model, parameters),
        args=TrainingArguments(**settings),
        train_dataset=Dataset.from_list(rows),
        data_collator=lambda batch: collate(batch, int(tokenizer.pad_token_id or 0)),
        callbacks=[StepLog(folder / "steps.jsonl", parameters.steps, "rrhf")],
    )
    finish(parameters, save_adapter(run_trainer(trainer, folder), folder / "new"), folder)
    return {"queries": len(rows)} | summary
