"""Supervised fine-tuning: L = - sum_t log pi(y_t | x, y_<t) over the response's tokens, the prompt masked.

Source: RLHFlow guidebook, section 1.1; TRL's SFTTrainer. The stage that every other method starts from.
"""

from __future__ import annotations

import random
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tradeoffs.alignment.common import (
    Schedule,
    StepLog,
    alike,
    examples,
    finish,
    fits,
    new_adapter,
    run_trainer,
    schedule,
    scored_positions_only,
    start_policy,
    together,
    trainer_settings,
)
from tradeoffs.alignment.monitor import Monitor
from tradeoffs.parameters import AlignParameters
from tradeoffs.tasks.prompts import Message

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedTokenizerBase


def fine_tune(
    model: PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    conversations: Sequence[tuple[list[Message], str]],
    parameters: AlignParameters,
    folder: Path,
    *,
    plan: Schedule,
    log: StepLog,
    groups: Sequence[Hashable] | None = None,
) -> PeftModel:
    """Fine-tune on (messages, answer) pairs with completion-only loss, going on from the last checkpoint in `folder`.

    Args:
        groups: one for each pair; those of a group are learnt side by side. Without, batches hold pairs of similar length.

    Raises:
        ValueError: no conversation fits in `max_length`.
    """
    from datasets import Dataset
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    short = [n for n, (m, a) in enumerate(conversations) if fits(tokenizer, m, [a], parameters.max_length)]
    kept = [conversations[n] for n in short]
    if not kept:
        raise ValueError(f"max_length: got {parameters.max_length}; no training example is that short")
    rows = [{"prompt": m, "completion": [{"role": "assistant", "content": a}]} for m, a in kept]
    size, seed = parameters.batch_size, parameters.seed
    if groups is None:
        rows = alike(rows, [_characters(m) + len(a) for m, a in kept], size, seed)
    else:
        rows = together(rows, [groups[n] for n in short], size, seed)
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(
            **trainer_settings(parameters, folder, plan),
            max_length=parameters.max_length,
            completion_only_loss=True,
            packing=False,
            train_sampling_strategy="sequential",  # in the order of `rows`
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        callbacks=[log],
    )
    with scored_positions_only():
        return run_trainer(trainer, folder)


def _characters(messages: Sequence[Message]) -> int:
    return sum(len(message["content"]) for message in messages)


def train(parameters: AlignParameters, folder: Path) -> dict[str, Any]:
    """Fine-tune on verifiable tasks (`code`), instructions (`general`), or both (`mixed`); see `tradeoffs.alignment.align`."""
    policy, plan = start_policy(parameters), schedule(parameters)
    # With a budget more than enough: its shortest examples have some 40 tokens.
    count = plan.limit // 40 if plan.limit else plan.steps * parameters.batch_size
    found = examples(parameters, policy.tokenizer, count, parameters.seed)
    conversations = [(example.messages(), example.reference) for example in found]
    if parameters.shuffle_rewards:
        answers = [answer for _, answer in conversations]
        random.Random(parameters.seed).shuffle(answers)
        conversations = [(messages, answer) for (messages, _), answer in zip(conversations, answers, strict=True)]
    source = Path(parameters.instructions).name
    what = f"sft on {parameters.domain}" + (f" ({source})" if source else "")
    monitor = Monitor(parameters, folder, policy.tokenizer)
    log = StepLog(folder / "steps.jsonl", what, plan, peak=parameters.learning_rate, monitor=monitor)
    model = new_adapter(policy.model, parameters)
    model = fine_tune(model, policy.tokenizer, conversations, parameters, folder, plan=plan, log=log)
    finish(parameters, model, folder)
    return {"examples": len(conversations)}
