"""RLOO, the light variant of RLHF: REINFORCE with each sample's fellows as its baseline, and a KL penalty.

For k samples y_1..y_k of one prompt: gradient of mean_i (R_i - mean_{j != i} R_j) log pi(y_i | x), with
R = v . (helpfulness, verbosity) / 100 - beta log(pi(y|x) / pi_ref(y|x)); the reference is the policy that training starts from.

Source: Ahmadian et al. 2024, arXiv 2402.14740; TRL's RLOOTrainer. `reinforce` is shared with RLVR.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tradeoffs.alignment.common import (
    StepLog,
    finish,
    judges,
    lora,
    run_trainer,
    save_adapter,
    start_policy,
    trainer_settings,
)
from tradeoffs.parameters import AlignParameters
from tradeoffs.preferences.rewards import Reward
from tradeoffs.preferences.sampling import judging
from tradeoffs.tasks.examples import training_examples

if TYPE_CHECKING:
    from transformers import Trainer


def train(parameters: AlignParameters, folder: Path) -> dict[str, Any]:
    """Train on the reward `weights . (helpfulness, verbosity)`; see `tradeoffs.alignment.align`."""
    from trl.trainer.rloo_config import RLOOConfig
    from trl.trainer.rloo_trainer import RLOOTrainer

    def build(rewards: list[Any], settings: dict[str, Any], rest: dict[str, Any]) -> Trainer:
        weights = [weight / 100 for weight in parameters.weights]
        return RLOOTrainer(reward_funcs=rewards, args=RLOOConfig(**settings, reward_weights=weights), **rest)

    return reinforce(parameters, folder, build)


def reinforce(
    parameters: AlignParameters,
    folder: Path,
    build: Callable[[list[Any], dict[str, Any], dict[str, Any]], Trainer],
) -> dict[str, Any]:
    """Train with one of TRL's trainers that sample while they train, rewarded by execution and by the reward model.

    Args:
        build: makes the trainer from the reward functions (helpfulness, verbosity), settings and further arguments.
    """
    from datasets import Dataset

    policy = start_policy(parameters)
    of = judges(parameters, policy, trained=True)
    examples = training_examples(parameters.domain, parameters.prompts, parameters.seed + 1, parameters.code_share)
    settings = trainer_settings(parameters, folder) | dict(
        num_generations=parameters.samples,
        max_completion_length=parameters.max_new_tokens,
        temperature=parameters.temperature,
        beta=parameters.beta,
    )
    with judging(examples, of.reward_model, of.base, parameters.workers) as judgement:
        last: dict[str, Any] = {"of": None, "rewards": []}

        def rated(completions: Sequence[Any], key: Sequence[int], completion_ids: Sequence[Any]) -> list[Reward]:
            if last["of"] is not completions:
                texts = [completion[0]["content"] for completion in completions]
                last["rewards"] = judgement.rewards(list(zip(key, texts, map(len, completion_ids), strict=True)))
                last["of"] = completions
            return last["rewards"]  # type: ignore[no-any-return]

        def helpfulness(completions: Any, key: Any, completion_ids: Any, **_: Any) -> list[float]:
            return [reward.helpfulness for reward in rated(completions, key, completion_ids)]

        def verbosity(completions: Any, key: Any, completion_ids: Any, **_: Any) -> list[float]:
            return [reward.verbosity for reward in rated(completions, key, completion_ids)]

        rows = [{"prompt": example.messages(), "key": example.key} for example in examples]
        rest = dict(
            model=policy.model,
            train_dataset=Dataset.from_list(rows),
            processing_class=policy.tokenizer,
            peft_config=lora(parameters),
            callbacks=[StepLog(folder / "steps.jsonl", parameters.steps, parameters.method)],
        )
        trainer = build([helpfulness, verbosity], settings, rest)
        model = run_trainer(trainer, folder)
    finish(parameters, save_adapter(model, folder / "new"), folder)
    return {"prompts": len(rows), "responses": parameters.steps * parameters.batch_size} | of.summary()
