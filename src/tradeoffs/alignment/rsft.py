"""Rejection-sampling fine-tuning: the best of n samples by a scalar reward, kept and learnt, again and again.

Each round: sample n responses to every prompt from the current policy; rate each; keep the one with the highest reward; fine-tune on
what was kept, L = -log pi(y* | x). It approximates pi*(y|x) proportional to pi_ref(y|x) exp(R(x, y) / tau). With n = 1 nothing is
rejected and a round is supervised fine-tuning on the policy's own samples.

Source: RLHFlow guidebook, section 3.5; Dong et al. 2023 (RAFT), arXiv 2304.06767. `rounds` is shared with linear scalarisation and DPA,
which differ in the reward, and in whether the prompt says what is rewarded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tradeoffs.alignment.common import StepLog, finish, judges, merged_copy, new_adapter, save_adapter, start_policy
from tradeoffs.alignment.sft import fine_tune
from tradeoffs.models import Policy, load
from tradeoffs.parameters import AlignParameters
from tradeoffs.preferences.rewards import direction, scalarise, weigh
from tradeoffs.preferences.sampling import Rated, best, rate, sample
from tradeoffs.records import TrainingStep, append_jsonl, read_rows
from tradeoffs.tasks.examples import Example, training_examples

# Angle for each prompt's key: the direction that its system prompt states and its reward is taken along.
Angles = dict[int, float]


def train(parameters: AlignParameters, folder: Path) -> dict[str, Any]:
    """Run `rounds` rounds on the reward `weights . (helpfulness, verbosity)`; see `tradeoffs.alignment.align`."""
    return rounds(parameters, folder)


def rounds(
    parameters: AlignParameters, folder: Path, draw: Callable[[list[Example], int], Angles] | None = None
) -> dict[str, Any]:
    """Sample, rate, keep the best, fine-tune; a round that is done is not done again.

    Args:
        draw: gives the prompts of a round their directions, which then stand in the system prompts and replace `weights`.

    Returns:
        Means of what was sampled and of what was kept, by round.
    """
    from peft import PeftModel

    start = start_policy(parameters)
    of = judges(parameters, start)
    measure = scalarise if draw else weigh
    found: list[dict[str, float]] = []
    model: PeftModel | None = None
    for number in range(1, parameters.rounds + 1):
        here = folder / f"round-{number}"
        examples = training_examples(
            parameters.domain, parameters.prompts, parameters.seed + 100 * number, parameters.code_share
        )
        angles = draw(examples, number) if draw else {}
        vectors = {
            example.key: direction(angles[example.key]) if draw else (parameters.weights[0], parameters.weights[1])
            for example in examples
        }
        current = Policy(merged_copy(model), start.tokenizer) if model is not None else start
        responses = sample(
            current,
            examples,
            [angles.get(example.key) for example in examples],
            here,
            samples=parameters.samples,
            temperature=parameters.temperature,
            max_new_tokens=parameters.max_new_tokens,
            seed=parameters.seed + number,
        )
        rated = rate(responses, examples, of.reward_model, of.base, here, parameters.workers)
        rewards = {(row.key, row.sample): measure(row.reward, vectors[row.key]) for row in rated}
        kept = best(rated, rewards)
        found.append(_summary(rated, kept, rewards))
        what = f"{parameters.method} round {number}"
        log = StepLog(folder / "steps.jsonl", parameters.steps, what, (number - 1) * parameters.steps)
        _note_round(folder / "steps.jsonl", number, found[-1])
        if model is None or (here / "adapter").is_dir():
            fresh = load(parameters.model, parameters.start, dtype=parameters.dtype, device=parameters.device).model
            if (here / "adapter").is_dir():
                model = PeftModel.from_pretrained(fresh, str(here / "adapter"), is_trainable=True)
                continue
            model = new_adapter(fresh, parameters)
        by_key = {example.key: example for example in examples}
        conversations = [(by_key[row.key].messages(angles.get(row.key)), row.text) for row in kept]
        model = fine_tune(model, start.tokenizer, conversations, parameters, here, log=log)
        save_adapter(model, here / "adapter")
    assert model is not None
    finish(parameters, save_adapter(model, folder / "new"), folder)
    return {"rounds": found} | of.summary()


def _summary(
    rated: Sequence[Rated], kept: Sequence[Rated], rewards: Mapping[tuple[int, int], float]
) -> dict[str, float]:
    means = {}
    for word, rows in (("sampled", rated), ("kept", kept)):
        for name in ("helpfulness", "verbosity", "tokens"):
            means[f"{word}_{name}"] = sum(getattr(row, name) for row in rows) / len(rows)
        means[f"{word}_reward"] = sum(rewards[row.key, row.sample] for row in rows) / len(rows)
    return means


def _note_round(path: Path, number: int, summary: dict[str, float]) -> None:
    if any(row.kind == "round" and row.step == number for row in read_rows(path, TrainingStep)):
        return
    row = TrainingStep(
        step=number,
        kind="round",
        helpfulness=summary["sampled_helpfulness"],
        verbosity=summary["sampled_verbosity"],
        reward=summary["sampled_reward"],
        response_tokens=summary["sampled_tokens"],
    )
    append_jsonl(path, [row])
