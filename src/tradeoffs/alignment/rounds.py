"""Sample, rate, learn, and again: the loop that RSFT, linear scalarisation, DPA, DPO and RRHF share.

They differ in what they learn from rated responses (`Learn`), and DPA in that its prompts say what is rewarded. One round is the offline
method, learning from the start policy's own samples; in more rounds each samples from the policy of the one before (iterative DPO, RRHF's
IP-n, expert iteration).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tradeoffs import processes
from tradeoffs.alignment.common import (
    Schedule,
    StepLog,
    during,
    finish,
    judges,
    merged_copy,
    new_adapter,
    prompts,
    save_adapter,
    schedule,
    start_policy,
)
from tradeoffs.alignment.monitor import Monitor
from tradeoffs.models import Policy
from tradeoffs.parameters import AlignParameters
from tradeoffs.preferences.rewards import direction, scalarise, shuffled, weigh
from tradeoffs.preferences.sampling import Rated, best, prompt_ids, rate, sample
from tradeoffs.records import TrainingStep, append_jsonl, read_rows
from tradeoffs.tasks.examples import Example
from tradeoffs.tasks.prompts import Message

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedTokenizerBase

# Angle for each prompt's key: the direction that its system prompt states and its reward is taken along.
Angles = dict[int, float]


class Round(NamedTuple):
    """What a method learns from in one round.

    Attributes:
        messages: each prompt's conversation up to the answer, by key.
        rated: the responses; `rewards`: what each is worth to the method, by (key, sample).
        tokenizer, folder, plan, log: what a trainer needs.
    """

    messages: Mapping[int, list[Message]]
    rated: Sequence[Rated]
    rewards: Mapping[tuple[int, int], float]
    tokenizer: PreTrainedTokenizerBase
    folder: Path
    plan: Schedule
    log: StepLog


# Trains a policy on a round's responses.
Learn = Callable[["PeftModel", Round], "PeftModel"]


def rounds(
    parameters: AlignParameters,
    folder: Path,
    learn: Learn,
    draw: Callable[[list[Example], int], tuple[list[Example], Angles]] | None = None,
    pool: Callable[[list[Rated]], list[Rated]] | None = None,
) -> dict[str, Any]:
    """Sample, rate and learn; a round that is done is not done again.

    Args:
        learn: the method.
        draw: gives the prompts of a round their directions, which then stand in the system prompts and replace `weights`.
        pool: gives prompts further responses to choose from.

    Returns:
        Means of what was sampled and of the best of each prompt's samples, by round.

    Raises:
        ValueError: the token budget does not even pay for the samples.
    """
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    start = start_policy(parameters)
    of = judges(parameters)
    model = new_adapter(start.model, parameters)
    monitor = Monitor(parameters, folder, start.tokenizer, of, parameters.rounds)
    found: list[dict[str, float]] = []
    spent = 0
    for number in range(1, parameters.rounds + 1):
        here = folder / f"round-{number}"
        examples, angles = prompts(parameters, start.tokenizer, number), Angles()
        if draw:
            examples, angles = draw(examples, number)
        asked = [angles.get(example.key) for example in examples]
        share = number / parameters.rounds
        _check_budget(
            parameters,
            spent,
            share,
            [len(prompt_ids(start.tokenizer, *pair)) for pair in zip(examples, asked, strict=True)],
        )
        responses = sample(
            Policy(merged_copy(model), start.tokenizer),
            examples,
            asked,
            here,
            samples=parameters.samples,
            temperature=parameters.temperature,
            max_new_tokens=parameters.max_new_tokens,
            seed=parameters.seed + number,
        )
        sampled = sum(row.prompt_tokens + row.tokens for row in responses)
        spent += sampled
        judged = functools.partial(rate, responses, examples, of.reward_model, of.base, here, parameters.workers)
        with during(f"before the first step of round {number}"):
            rated = processes.main_first(judged)
        rated = pool(rated) if pool else rated
        true = _worth(parameters, rated, angles, number, shuffle=False)
        worth = _worth(parameters, rated, angles, number, shuffle=parameters.shuffle_rewards)
        found.append(_summary(rated, best(rated, worth), true))
        _note(folder / "steps.jsonl", number, found[-1], sampled)
        plan = schedule(parameters, spent, share)
        what = f"{parameters.method} round {number}"
        path = folder / "steps.jsonl"
        log = StepLog(path, what, plan, peak=parameters.learning_rate, round=number, monitor=monitor)
        if (here / "adapter").is_dir():
            set_peft_model_state_dict(model, load_file(here / "adapter" / "adapter_model.safetensors"))
        else:
            messages = {example.key: example.messages(angles.get(example.key)) for example in examples}
            model = learn(model, Round(messages, rated, worth, start.tokenizer, here, plan, log))
            save_adapter(model, here / "adapter")
        spent += sum(row.tokens or 0 for row in log.rows)
    finish(parameters, model, folder)
    return {"rounds": found} | of.summary()


def _check_budget(parameters: AlignParameters, spent: int, share: float, prompt_tokens: Sequence[int]) -> None:
    """Refuse a round whose samples could use up what it may spend, before any is drawn."""
    most = parameters.samples * (sum(prompt_tokens) + len(prompt_tokens) * parameters.max_new_tokens)
    limit = round(parameters.token_budget * share)
    if parameters.token_budget and spent + most >= limit:
        raise ValueError(
            f"token_budget: got {parameters.token_budget}; {parameters.samples} samples of each of {len(prompt_tokens)} prompts may "
            f"take {most} of the {limit - spent} tokens that are left for this round; accepts more, or fewer prompts or samples"
        )


def _worth(
    parameters: AlignParameters, rated: Sequence[Rated], angles: Angles, number: int, shuffle: bool
) -> dict[tuple[int, int], float]:
    """What each response is worth along its prompt's direction, or along `weights`."""
    rewards = [row.reward for row in rated]
    if shuffle:
        # What was cut is not learnt from: were its rewards given to what ended, other prompts would have something to learn.
        rewards = shuffled(rewards, [(row.key, row.finish) for row in rated], f"{parameters.seed}/{number}")
    return {
        (row.key, row.sample): scalarise(reward, direction(angles[row.key]))
        if row.key in angles
        else weigh(reward, parameters.weights)
        for row, reward in zip(rated, rewards, strict=True)
    }


def _summary(
    rated: Sequence[Rated], kept: Sequence[Rated], rewards: Mapping[tuple[int, int], float]
) -> dict[str, float]:
    means: dict[str, float] = {}
    means["cut"] = sum(row.finish == "length" for row in rated) / len(rated)
    for word, rows in (("sampled", rated), ("kept", kept or rated)):
        for name in ("helpfulness", "verbosity", "tokens"):
            means[f"{word}_{name}"] = sum(getattr(row, name) for row in rows) / len(rows)
        means[f"{word}_reward"] = sum(rewards[row.key, row.sample] for row in rows) / len(rows)
    return means


def _note(path: Path, number: int, summary: Mapping[str, float], tokens: int) -> None:
    """Note what a round sampled, once."""
    if not processes.is_main() or any(
        row.kind == "round" and row.step == number for row in read_rows(path, TrainingStep)
    ):
        return
    row = TrainingStep(
        step=number,
        kind="round",
        round=number,
        tokens=tokens,
        helpfulness=summary["sampled_helpfulness"],
        verbosity=summary["sampled_verbosity"],
        reward=summary["sampled_reward"],
        response_tokens=summary["sampled_tokens"],
    )
    append_jsonl(path, [row])
