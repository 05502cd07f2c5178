"""RRHF: rank the policy's own responses by their length-normalised log-probability as the reward ranks them.

For responses y_1..y_k of one query with rewards r_i and p_i = (sum_t log pi(y_it | x, y_i<t)) / |y_i|:

    L_rank = sum over r_i < r_j of max(0, p_i - p_j)        (no margin)
    L_ft   = -p_i', i' = argmax r_i                         (cross-entropy of the best)
    L      = L_rank + L_ft, a mean over the queries of a batch

Source: Yuan et al. 2023, arXiv 2304.05302v2, equations 1 to 5. Two things differ on purpose. L_ft is a mean over the response's own tokens,
as both losses' scores are, where equation 4 writes a sum and the authors' code divides by prompt and padding as well (the authors agree
that it should not, issue 51 there). And each query is ranked within itself, however many stand in a batch (theirs is right for one only).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from transformers import Trainer, TrainingArguments

from tradeoffs.alignment.common import run_trainer, trainer_settings, whole_batches
from tradeoffs.alignment.rounds import Round, rounds
from tradeoffs.parameters import AlignParameters
from tradeoffs.preferences.sampling import by_prompt
from tradeoffs.tasks.prompts import answer_ids

if TYPE_CHECKING:
    from collections.abc import Sequence

    from peft import PeftModel
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

    Source: arXiv 2304.05302v2, equations 2 and 4, the latter as a mean over tokens.
    """
    pairs = (query[:, None] == query[None, :]) & (rewards[:, None] < rewards[None, :])
    count = torch.unique(query).numel()
    rank = (torch.relu(scores[:, None] - scores[None, :]) * pairs).sum() / count
    same = query[:, None] == query[None, :]
    earlier = torch.ones_like(same).tril(-1)
    beaten = (pairs | (same & (rewards[:, None] == rewards[None, :]) & earlier)).any(dim=1)
    return rank, -scores[~beaten].sum() / count


class Scores(NamedTuple):
    """What a policy thinks of each row's labelled tokens, all in float32.

    Attributes:
        logp: length-normalised log-probability, shape (rows,).
        entropy: mean over all labelled tokens, nats, a scalar without gradient.
        tokens: labelled tokens of each row, shape (rows,).
    """

    logp: Tensor
    entropy: Tensor
    tokens: Tensor


def response_scores(logits: Tensor, labels: Tensor) -> Scores:
    """Score each row's labelled tokens.

    Args:
        logits: shape (rows, length, vocabulary).
        labels: token ids, `IGNORED` where a position is prompt or padding, shape (rows, length).

    Source: arXiv 2304.05302v2, equation 1.
    """
    targets = labels[:, 1:]
    mask = targets != IGNORED
    logp = torch.log_softmax(logits[:, :-1].float(), dim=-1)
    picked = logp.gather(-1, targets.clamp(min=0)[..., None])[..., 0]
    count = mask.sum(1)
    with torch.no_grad():
        entropy = (-(logp.exp() * logp).sum(-1) * mask).sum() / count.sum()
    return Scores((picked * mask).sum(1) / count, entropy, count)


class RRHFTrainer(Trainer):
    """A `Trainer` whose dataset has one query a row: `prompt` (ids), `responses` (lists of ids) and `rewards`."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.model_accepts_loss_kwargs = False  # the loss is a mean over queries: accumulated, it has to be divided
        self.seen, self.noted = 0, list[dict[str, float]]()

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The loss of a batch of queries."""
        inputs = dict(inputs)
        query, rewards, labels = (inputs.pop(name) for name in ("query", "rewards", "labels"))
        # Only the scored stretch is projected onto the vocabulary: prompts are long, and padded on the left.
        width = labels.shape[1] - int((labels != IGNORED).any(0).int().argmax()) + 1
        output = model(**inputs, logits_to_keep=width)
        scores = response_scores(output.logits, labels[:, -width:])
        rank, tuned = rrhf_loss(scores.logp, rewards, query)
        self._note(scores, rewards, query, inputs["attention_mask"])
        loss = rank + tuned
        return (loss, output) if return_outputs else loss

    def _note(self, scores: Scores, rewards: Tensor, query: Tensor, mask: Tensor) -> None:
        pairs = (query[:, None] == query[None, :]) & (rewards[:, None] < rewards[None, :])
        right = (scores.logp[:, None] < scores.logp[None, :]) & pairs
        sums = torch.stack(
            [right.sum(), pairs.sum(), scores.tokens.sum(), torch.tensor(len(query), device=mask.device), mask.sum()]
        ).float()
        found = self.accelerator.gather(torch.cat([sums, scores.entropy.float()[None]])[None].to(mask.device))
        right_, pairs_, tokens, rows, seen = found[:, :5].sum(0).tolist()
        self.seen += round(seen)
        self.noted.append(
            {"accuracy": right_ / max(1.0, pairs_), "length": tokens / rows, "entropy": float(found[:, 5].mean())}
        )

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add what the step's batches noted."""
        if self.noted:
            mean = {name: sum(row[name] for row in self.noted) / len(self.noted) for name in self.noted[0]}
            logs |= {
                "num_tokens": float(self.seen),
                "rewards/accuracies": mean["accuracy"],
                "completions/mean_length": mean["length"],
                "entropy": mean["entropy"],
            }
            self.noted.clear()
        super().log(logs, start_time)


def collate(rows: Sequence[dict[str, Any]], padding: int) -> dict[str, Tensor]:
    """Lay out the responses of several queries as rows padded on the left."""
    sequences = [(row["prompt"], ids, number) for number, row in enumerate(rows) for ids in row["responses"]]
    width = max(len(prompt) + len(ids) for prompt, ids, _ in sequences)
    tokens = torch.full((len(sequences), width), padding)
    labels = torch.full((len(sequences), width), IGNORED)
    mask = torch.zeros_like(tokens)
    for place, (prompt, ids, _) in enumerate(sequences):
        start = width - len(prompt) - len(ids)
        tokens[place, start:] = torch.tensor([*prompt, *ids])
        labels[place, width - len(ids) :] = torch.tensor(ids)
        mask[place, start:] = 1
    return {
        "input_ids": tokens,
        "attention_mask": mask,
        "position_ids": (mask.cumsum(1) - 1).clamp(min=0),
        "labels": labels,
        "query": torch.tensor([number for *_, number in sequences]),
        "rewards": torch.tensor([reward for row in rows for reward in row["rewards"]], dtype=torch.float32),
    }


def train(parameters: AlignParameters, folder: Path) -> dict[str, Any]:
    """Sample, rate, rank and train; see `tradeoffs.alignment.align`.

    Raises:
        ValueError: no prompt gave responses that differ in reward.
    """

    def learn(model: PeftModel, of: Round) -> PeftModel:
        rows = _queries(of, parameters.max_length)
        if not rows:
            raise ValueError(
                "prompts: no prompt gave two responses of different reward; raise prompts, samples or temperature"
            )
        return rank(model, of, rows, parameters)

    return rounds(parameters, folder, learn)


def _queries(of: Round, max_length: int) -> list[dict[str, Any]]:
    rows = []
    for key, group in by_prompt(of.rated).items():
        unique = {row.text: row for row in reversed(group)}.values()  # equal texts count once
        worth = [of.rewards[row.key, row.sample] for row in unique]
        if len(set(worth)) < 2:
            continue
        messages: Any = of.messages[key]
        prompt = list(of.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False))
        # A response that was cut at the cap did not stop there.
        ends = [[of.tokenizer.eos_token_id] if row.finish == "stop" else [] for row in unique]
        ids = [[*answer_ids(of.tokenizer, row.text), *end] for row, end in zip(unique, ends, strict=True)]
        if len(prompt) + max(map(len, ids)) <= max_length:
            rows.append({"prompt": prompt, "responses": ids, "rewards": worth})
    return rows


def rank(model: PeftModel, of: Round, rows: Sequence[dict[str, Any]], parameters: AlignParameters) -> PeftModel:
    """Train on ranked responses, going on from the last checkpoint in the round's folder."""
    from datasets import Dataset

    settings = trainer_settings(parameters, of.folder, of.plan) | {"remove_unused_columns": False}
    trainer = RRHFTrainer(
        model=model,
        args=TrainingArguments(**settings),
        train_dataset=Dataset.from_list(whole_batches(rows, parameters.batch_size)),
        data_collator=lambda batch: collate(batch, int(of.tokenizer.pad_token_id or 0)),  # type: ignore[call-overload]
        processing_class=of.tokenizer,
        callbacks=[of.log],
    )
    return run_trainer(trainer, of.folder)
