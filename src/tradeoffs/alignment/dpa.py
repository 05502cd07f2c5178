"""Directional preference alignment: one policy for all directions, by preference-conditioned rejection sampling.

Each round: give every prompt a direction v, written as integers in the system prompt; sample several responses from the current policy;
rate each by (helpfulness, verbosity); keep the one with the highest v . r; fine-tune on what was kept, with v in the system prompt.

Source: DPA, arXiv 2402.18571 (algorithm figure and README; no public training code exists). Directions are drawn uniformly from
`angles`; the paper's own distribution is not known.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from tradeoffs.alignment.common import StepLog, finish, lora, merged_copy, save_adapter, start_policy
from tradeoffs.alignment.sft import fine_tune
from tradeoffs.models import Policy, load
from tradeoffs.parameters import AlignParameters
from tradeoffs.preferences.reward_model import load_or_fit
from tradeoffs.preferences.rewards import direction, scalarise
from tradeoffs.preferences.sampling import best_along, rate, sample
from tradeoffs.records import TrainingStep, append_jsonl, read_rows
from tradeoffs.tasks.examples import Example, training_examples


def draw_directions(examples: list[Example], angles: list[float], seed: int) -> dict[int, float]:
    """One direction a prompt, every angle about equally often."""
    rng = random.Random(f"directions/{seed}")
    cycle = [angle for _ in range(len(examples) // len(angles) + 1) for angle in rng.sample(angles, len(angles))]
    return {example.key: angle for example, angle in zip(examples, cycle, strict=False)}


def train(parameters: AlignParameters, folder: Path) -> dict[str, Any]:
    """Run `rounds` rounds; see `tradeoffs.alignment.align`. A round that is done is not done again."""
    from peft import PeftModel, get_peft_model

    start = start_policy(parameters)
    base = load(parameters.model, dtype=parameters.dtype, device=parameters.device) if parameters.start else start
    judge = load_or_fit(base, parameters.model) if parameters.domain != "code" else None
    rounds: list[dict[str, float]] = []
    model: PeftModel | None = None
    for number in range(1, parameters.rounds + 1):
        here = folder / f"round-{number}"
        examples = training_examples(parameters.domain, parameters.prompts, parameters.seed + 100 * number)
        angles = draw_directions(examples, parameters.angles, parameters.seed + number)
        current = Policy(merged_copy(model), start.tokenizer) if model is not None else start
        responses = sample(
            current,
            examples,
            [angles[example.key] for example in examples],
            here,
            samples=parameters.samples,
            temperature=parameters.temperature,
            max_new_tokens=parameters.max_new_tokens,
            seed=parameters.seed + number,
        )
        rated = rate(responses, examples, judge, base, here, parameters.workers)
        kept = best_along(rated, angles)
        rounds.append(_summary(rated, kept, angles))
        log = StepLog(folder / "steps.jsonl", parameters.steps, f"dpa round {number}", (number - 1) * parameters.steps)
        _note_round(folder / "steps.jsonl", number, rounds[-1])
        if (here / "adapter").is_dir():
            fresh = load(parameters.model, parameters.start, dtype=parameters.dtype, device=parameters.device).model
            model = PeftModel.from_pretrained(fresh, str(here / "adapter"), is_trainable=True)
            continue
        if model is None:
            fresh = load(parameters.model, parameters.start, dtype=parameters.dtype, device=parameters.device).model
            model = get_peft_model(fresh, lora(parameters))
        by_key = {example.key: example for example in examples}
        conversations = [(by_key[row.key].messages(angles[row.key]), row.text) for row in kept]
        model = fine_tune(model, start.tokenizer, conversations, parameters, here, log=log)
        save_adapter(model, here / "adapter")
    assert model is not None
    finish(parameters, save_adapter(model, folder / "new"), folder)
    return {"rounds": rounds, "reward_model": {"accuracy": judge.accuracy, "pairs": judge.pairs} if judge else None}


def _summary(rated: list[Any], kept: list[Any], angles: dict[int, float]) -> dict[str, float]:
    def mean(rows: list[Any], name: str) -> float:
        return float(sum(getattr(row, name) for row in rows) / len(rows))

    return {
        "sampled_helpfulness": mean(rated, "helpfulness"),
        "sampled_verbosity": mean(rated, "verbosity"),
        "sampled_tokens": mean(rated, "tokens"),
        "sampled_reward": sum(scalarise(r.reward, direction(angles[r.key])) for r in rated) / len(rated),
        "kept_helpfulness": mean(kept, "helpfulness"),
        "kept_verbosity": mean(kept, "verbosity"),
        "kept_tokens": mean(kept, "tokens"),
        "kept_reward": sum(scalarise(r.reward, direction(angles[r.key])) for r in kept) / len(kept),
    }


def _note_round(path: Path, number: int, summary: dict[str, float]) -> None:
    if any(row.kind == "round" and row.step == number for row in read_rows(path, TrainingStep)):
        return
    append_jsonl(
        path,
        [
            TrainingStep(
                step=number,
                kind="round",
                helpfulness=summary["sampled_helpfulness"],
                verbosity=summary["sampled_verbosity"],
                reward=summary["sampled_reward"],
                response_tokens=summary["sampled_tokens"],
            )
        ],
    )
