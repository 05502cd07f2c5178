"""Direct preference optimisation from the policy's own samples, ranked by the reward.

L = -log sigmoid(beta log[pi(y+|x)/pi_ref(y+|x)] - beta log[pi(y-|x)/pi_ref(y-|x)]), the reference being the start policy.

Source: Rafailov et al. 2023, arXiv 2305.18290, equation 7; TRL's DPOTrainer.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from tradeoffs.alignment.common import (
    StepLog,
    finish,
    fits,
    lora,
    own_samples,
    run_trainer,
    save_adapter,
    scored_positions_only,
    start_policy,
    trainer_settings,
)
from tradeoffs.models import Policy
from tradeoffs.parameters import AlignParameters
from tradeoffs.preferences.data import read_pairs
from tradeoffs.preferences.sampling import pairs
from tradeoffs.tasks.prompts import Message


def train(parameters: AlignParameters, folder: Path) -> dict[str, Any]:
    """Sample, rate, pair and train; see `tradeoffs.alignment.align`.

    Raises:
        ValueError: no prompt gave responses that differ in reward.
    """
    from datasets import Dataset
    from trl.trainer.dpo_config import DPOConfig
    from trl.trainer.dpo_trainer import DPOTrainer

    policy = start_policy(parameters)
    tokenizer = policy.tokenizer
    if parameters.preferences:
        rows, summary = _from_file(parameters, tokenizer)
    else:
        rows, summary = _from_samples(parameters, folder, policy)
    trainer = DPOTrainer(
        model=policy.model,
        args=DPOConfig(**trainer_settings(parameters, folder), max_length=parameters.max_length, beta=parameters.beta),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=lora(parameters),
        callbacks=[StepLog(folder / "steps.jsonl", parameters.steps, "dpo")],
    )
    with scored_positions_only():
        model = run_trainer(trainer, folder)
    finish(parameters, save_adapter(model, folder / "new"), folder)
    return {"pairs": len(rows)} | summary


def _row(messages: list[Message], chosen: str, rejected: str) -> dict[str, Any]:
    answers = {"chosen": chosen, "rejected": rejected}
    return {"prompt": messages} | {name: [{"role": "assistant", "content": text}] for name, text in answers.items()}


def _from_file(parameters: AlignParameters, tokenizer: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    pairs, left_out = read_pairs(parameters.preferences)
    rows = [_row(*pair) for pair in pairs if fits(tokenizer, pair[0], [pair[1], pair[2]], parameters.max_length)]
    if not rows:
        raise ValueError(f"max_length: got {parameters.max_length}; no pair of {parameters.preferences} is that short")
    random.Random(parameters.seed).shuffle(rows)
    return rows, {"left_out": left_out | {"too long": len(pairs) - len(rows)}}


def _from_samples(
    parameters: AlignParameters, folder: Path, policy: Policy
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    by_key, rated, summary = own_samples(parameters, folder, policy)
    rows = []
    for chosen, rejected in pairs(rated):
        messages = by_key[chosen.key].messages()
        if fits(policy.tokenizer, messages, [chosen.text, rejected.text], parameters.max_length):
            rows.append(_row(messages, chosen.text, rejected.text))
    if not rows:
        raise ValueError(
            "prompts: no prompt gave two responses of different reward; raise prompts, samples or temperature"
        )
    return rows, summary
