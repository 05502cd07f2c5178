"""RLOO, the light variant of RLHF: REINFORCE with each sample's fellows as its baseline, and a KL penalty.

For k samples y_1..y_k of one prompt: gradient of mean_i (R_i - mean_{j != i} R_j) log pi(y_i | x), with
R = v . (helpfulness, verbosity) / 100 - beta log(pi(y|x) / pi_ref(y|x)); the reference is the policy that training starts from.

Source: Ahmadian et al. 2024, arXiv 2402.14740; TRL's RLOOTrainer. `reinforce` is shared with RLVR.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tradeoffs import processes
from tradeoffs.alignment.common import (
    StepLog,
    during,
    finish,
    judges,
    merged_copy,
    new_adapter,
    prompts,
    run_trainer,
    schedule,
    start_policy,
    trainer_settings,
)
from tradeoffs.alignment.likelihood import at_longest
from tradeoffs.alignment.monitor import Monitor
from tradeoffs.models import Policy
from tradeoffs.parameters import AlignParameters
from tradeoffs.preferences.rewards import Reward, shuffled
from tradeoffs.preferences.sampling import judging, respond

if TYPE_CHECKING:
    from transformers import Trainer


def train(parameters: AlignParameters, folder: Path) -> dict[str, Any]:
    """Train on the reward `weights . (helpfulness, verbosity)`; see `tradeoffs.alignment.align`."""
    from trl.trainer.rloo_config import RLOOConfig
    from trl.trainer.rloo_trainer import RLOOTrainer

    class Sampling(RLOOTrainer):  # type: ignore[misc]
        """RLOO whose samples come from this study's engine."""

        def _generate_single_turn(self, prompt_ids: list[list[int]], *_: Any) -> list[list[int]]:
            return responses(self, parameters, prompt_ids)

    def build(rewards: list[Any], settings: dict[str, Any], rest: dict[str, Any]) -> Trainer:
        weights = [weight / 100 for weight in parameters.weights]
        return Sampling(reward_funcs=rewards, args=RLOOConfig(**settings, reward_weights=weights), **rest)  # type: ignore[no-any-return]

    return reinforce(parameters, folder, build)


def responses(trainer: Any, parameters: AlignParameters, prompt_ids: list[list[int]]) -> list[list[int]]:
    """Sample a step's responses, sorted by length, from a copy of the policy with its adapter merged.

    What is sampled depends on the step and on a prompt's place among those of all processes, not on how many processes there are.
    """
    first = processes.rank() * len(prompt_ids)
    found = respond(
        Policy(merged_copy(trainer.accelerator.unwrap_model(trainer.model)), trainer.processing_class),
        prompt_ids,
        range(first, first + len(prompt_ids)),
        step=trainer.state.global_step,
        temperature=parameters.temperature,
        max_new_tokens=parameters.max_new_tokens,
        seed=parameters.seed,
    )
    return [list(row.ids) for row in found]


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

    if parameters.batch_size // processes.count() % parameters.samples:
        raise ValueError(
            f"batch_size: got {parameters.batch_size}; accepts multiples of {processes.count()} processes times samples = "
            f"{parameters.samples}, so that a prompt's samples stay together"
        )
    policy, plan = start_policy(parameters), schedule(parameters)
    of, examples = judges(parameters), prompts(parameters, policy.tokenizer)
    settings = trainer_settings(parameters, folder, plan) | dict(
        num_generations=parameters.samples,
        max_completion_length=parameters.max_new_tokens,
        temperature=parameters.temperature,
        beta=parameters.beta,
        # They come in an order of the seed's already. TRL would draw another for each pass from a generator that no checkpoint holds: a run
        # that goes on in its second pass would be dealt the first one's again.
        shuffle_dataset=False,
    )
    monitor = Monitor(parameters, folder, policy.tokenizer, of)
    path, peak = folder / "steps.jsonl", parameters.learning_rate
    log = StepLog(path, parameters.method, plan, peak=peak, passes=2, monitor=monitor)
    with judging(examples, of.reward_model, of.base, parameters.workers) as judgement:
        last: dict[str, Any] = {"of": None, "rewards": []}

        def rated(completions: Sequence[Any], key: Sequence[int], completion_ids: Sequence[Any]) -> list[Reward]:
            if last["of"] is not completions:
                texts = [completion[0]["content"] for completion in completions]
                with during(f"step {trainer.state.global_step + 1}"):
                    found = judgement.rewards(list(zip(key, texts, map(len, completion_ids), strict=True)))
                if parameters.shuffle_rewards:
                    found = shuffled(found, key, f"{parameters.seed}/{trainer.state.global_step}")
                last["rewards"], last["of"] = found, completions
            return last["rewards"]  # type: ignore[no-any-return]

        def helpfulness(completions: Any, key: Any, completion_ids: Any, **_: Any) -> list[float]:
            return [reward.helpfulness for reward in rated(completions, key, completion_ids)]

        def verbosity(completions: Any, key: Any, completion_ids: Any, **_: Any) -> list[float]:
            return [reward.verbosity for reward in rated(completions, key, completion_ids)]

        rows = [{"prompt": example.messages(), "key": example.key} for example in examples]
        rest = dict(
            model=new_adapter(policy.model, parameters),
            train_dataset=Dataset.from_list(rows),
            processing_class=policy.tokenizer,
            callbacks=[log],
        )
        trainer = build([helpfulness, verbosity], settings, rest)
        attempt = at_longest(trainer.model, policy.tokenizer, examples, parameters.max_new_tokens)
        model = run_trainer(trainer, folder, attempt)
    finish(parameters, model, folder)
    return {"prompts": len(rows), "responses": len(log.rows) * parameters.batch_size} | of.summary()
