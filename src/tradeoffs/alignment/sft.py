"""Supervised fine-tuning: L = - sum_t log pi(y_t | x, y_<t) over the response's tokens, the prompt masked.

Source: RLHFlow guidebook, section 1.1; TRL's SFTTrainer. The stage that every other method starts from.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tradeoffs.alignment.common import (
    StepLog,
    finish,
    fits,
    lora,
    run_trainer,
    save_adapter,
    scored_positions_only,
    start_policy,
    trainer_settings,
)
from tradeoffs.models import Policy
from tradeoffs.parameters import AlignParameters
from tradeoffs.preferences.data import read_instructions
from tradeoffs.tasks.examples import training_examples
from tradeoffs.tasks.prompts import Message

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def fine_tune(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    conversations: Sequence[tuple[list[Message], str]],
    parameters: AlignParameters,
    folder: Path,
    *,
    log: StepLog,
) -> PeftModel:
    """Fine-tune on (messages, answer) pairs with completion-only loss, going on from the last checkpoint in `folder`.

    Args:
        model: a plain model, which gets a new LoRA adapter, or one that has a trainable adapter.

    Raises:
        ValueError: no conversation fits in `max_length`.
    """
    from datasets import Dataset
    from peft import PeftModel
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    kept = [(m, a) for m, a in conversations if fits(tokenizer, m, [a], parameters.max_length)]
    if not kept:
        raise ValueError(f"max_length: got {parameters.max_length}; no training example is that short")
    rows = [{"prompt": m, "completion": [{"role": "assistant", "content": a}]} for m, a in kept]
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(
            **trainer_settings(parameters, folder),
            max_length=parameters.max_length,
            completion_only_loss=True,
            packing=False,
            train_sampling_strategy="group_by_length",  # else a fifth of what is computed is padding
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=None if isinstance(model, PeftModel) else lora(parameters),
        callbacks=[log],
    )
    with scored_positions_only():
        return run_trainer(trainer, folder)


def train(parameters: AlignParameters, folder: Path) -> dict[str, Any]:
    """Fine-tune on verifiable tasks (`code`), instructions (`general`), or both (`mixed`); see `tradeoffs.alignment.align`."""
    policy = start_policy(parameters)
    if parameters.instructions:
        conversations = read_instructions(parameters.instructions)
        random.Random(parameters.seed).shuffle(conversations)
        return _finish(parameters, folder, policy, conversations)
    examples = training_examples(
        parameters.domain, parameters.steps * parameters.batch_size, parameters.seed, parameters.code_share
    )
    conversations = [(example.messages(), example.reference) for example in examples]
    return _finish(parameters, folder, policy, conversations)


def _finish(
    parameters: AlignParameters, folder: Path, policy: Policy, conversations: Sequence[tuple[list[Message], str]]
) -> dict[str, Any]:
    what = Path(parameters.instructions).name or parameters.domain
    log = StepLog(folder / "steps.jsonl", parameters.steps, f"sft on {what}")
    model = fine_tune(policy.model, policy.tokenizer, conversations, parameters, folder, log=log)
    finish(parameters, save_adapter(model, folder / "new"), folder)
    return {"examples": len(conversations)}
