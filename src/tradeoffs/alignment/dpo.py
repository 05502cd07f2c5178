"""Direct preference optimisation, from the policy's own samples ranked by the reward or from pairs that others collected.

L = -log sigmoid(beta log[pi(y+|x)/pi_ref(y+|x)] - beta log[pi(y-|x)/pi_ref(y-|x)]). The reference is the start policy, in every round:
in more rounds (iterative DPO) the samples come from the current policy, the anchor stays.

Source: Rafailov et al. 2023, arXiv 2305.18290, equation 7; iterations as in the RLHFlow guidebook, section 3.1; TRL's DPOTrainer.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tradeoffs.alignment.common import (
    Schedule,
    StepLog,
    finish,
    fits,
    new_adapter,
    run_trainer,
    schedule,
    scored_positions_only,
    start_policy,
    trainer_settings,
    whole_batches,
)
from tradeoffs.alignment.monitor import Monitor
from tradeoffs.alignment.rounds import Round, rounds
from tradeoffs.parameters import AlignParameters
from tradeoffs.preferences.data import read_pairs
from tradeoffs.preferences.sampling import pairs
from tradeoffs.tasks.prompts import Message

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedTokenizerBase

GAP = 5.0  # points of reward, along a direction of length 1, below which two responses are no pair


def train(parameters: AlignParameters, folder: Path) -> dict[str, Any]:
    """Sample, rate, pair and train, or train on the pairs of `preferences`; see `tradeoffs.alignment.align`.

    Raises:
        ValueError: no prompt gave responses that differ in reward, or no pair is short enough.
    """
    if parameters.preferences:
        return _on_pairs(parameters, folder)

    def learn(model: PeftModel, of: Round) -> PeftModel:
        rows, gap = [], GAP * math.hypot(*parameters.weights)
        for chosen, rejected in pairs(of.rated, of.rewards, gap):
            messages = of.messages[chosen.key]
            if fits(of.tokenizer, messages, [chosen.text, rejected.text], parameters.max_length):
                rows.append(_row(messages, chosen.text, rejected.text))
        if not rows:
            raise ValueError(
                f"prompts: no prompt gave two responses that ended by themselves and whose rewards are {gap:g} points apart; raise prompts,"
                " samples, temperature or max_new_tokens"
            )
        random.Random(parameters.seed).shuffle(rows)
        return prefer(model, of.tokenizer, rows, parameters, of.folder, plan=of.plan, log=of.log)

    return rounds(parameters, folder, learn)


def prefer(
    model: PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[dict[str, Any]],
    parameters: AlignParameters,
    folder: Path,
    *,
    plan: Schedule,
    log: StepLog,
) -> PeftModel:
    """Train on pairs with the model below the adapter as the reference, going on from the last checkpoint in `folder`.

    Args:
        rows: `prompt`, `chosen` and `rejected`, each a list of messages; trained on in this order, again and again.
    """
    from datasets import Dataset
    from trl.trainer.dpo_config import DPOConfig
    from trl.trainer.dpo_trainer import DPOTrainer

    trainer = DPOTrainer(
        model=model,
        args=DPOConfig(
            **trainer_settings(parameters, folder, plan),
            max_length=parameters.max_length,
            beta=parameters.beta,
            train_sampling_strategy="sequential",  # in the order of `rows`
        ),
        train_dataset=Dataset.from_list(whole_batches(rows, parameters.batch_size)),
        processing_class=tokenizer,
        callbacks=[log],
    )
    if "ref" in model.peft_config:
        # TRL refers to a copy of the adapter as it is now, which in later rounds is not the start policy; without one it
        # switches the adapter off.
        model.delete_adapter("ref")
    with scored_positions_only():
        return run_trainer(trainer, folder)


def _row(messages: Sequence[Message], chosen: str, rejected: str) -> dict[str, Any]:
    answers = {"chosen": chosen, "rejected": rejected}
    return {"prompt": list(messages)} | {
        name: [{"role": "assistant", "content": text}] for name, text in answers.items()
    }


def _on_pairs(parameters: AlignParameters, folder: Path) -> dict[str, Any]:
    policy = start_policy(parameters)
    found, left_out = read_pairs(parameters.preferences, parameters.data_limit or None)
    rows = [_row(*pair) for pair in found if fits(policy.tokenizer, pair[0], [*pair[1:]], parameters.max_length)]
    if not rows:
        raise ValueError(f"max_length: got {parameters.max_length}; no pair of {parameters.preferences} is that short")
    random.Random(parameters.seed).shuffle(rows)
    if parameters.shuffle_rewards:
        # Every other one, so that of every batch half are turned: of more on one side, that side would still be learnt.
        turned = [row | {"chosen": row["rejected"], "rejected": row["chosen"]} for row in rows[1::2]]
        rows[1::2] = turned
    plan = schedule(parameters)
    # whatever `domain` says: pairs are of general text
    monitor = Monitor(parameters.model_copy(update={"domain": "general"}), folder, policy.tokenizer)
    log = StepLog(folder / "steps.jsonl", "dpo", plan, peak=parameters.learning_rate, monitor=monitor)
    model = new_adapter(policy.model, parameters)
    finish(parameters, prefer(model, policy.tokenizer, rows, parameters, folder, plan=plan, log=log), folder)
    return {"pairs": len(rows), "left_out": left_out | {"too long": len(found) - len(rows)}}
