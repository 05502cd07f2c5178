"""Responses sampled from a policy and rated: what DPO ranks into pairs and DPA selects from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tradeoffs.grading import Grader, Job, extract
from tradeoffs.inference.engine import Prompt, batches, decode, resume
from tradeoffs.models import Policy
from tradeoffs.preferences.reward_model import RewardModel, features
from tradeoffs.preferences.rewards import Reward, code_helpfulness, direction, scalarise, verbosity
from tradeoffs.progress import bar, note, tick
from tradeoffs.records import Row, append_jsonl, read_rows
from tradeoffs.tasks.examples import Example

TIME_LIMIT_S = 10.0  # training tasks take milliseconds; a candidate that runs longer is as bad as one that crashes


class Response(Row):
    """One sampled response with its ratings (None until it is rated)."""

    key: int
    sample: int
    batch: int
    text: str
    tokens: int
    finish: str


class Rated(Row):
    """A response's reward."""

    key: int
    sample: int
    text: str
    tokens: int
    helpfulness: float
    verbosity: float

    @property
    def reward(self) -> Reward:
        """The reward vector."""
        return Reward(self.helpfulness, self.verbosity)


def sample(
    policy: Policy,
    examples: Sequence[Example],
    angles: Sequence[float | None],
    folder: Path,
    *,
    samples: int,
    temperature: float,
    max_new_tokens: int,
    seed: int,
    batch_size: int = 64,
) -> list[Response]:
    """Draw `samples` responses to each example, appended to `folder/responses.jsonl`; a second call does only what is missing.

    Args:
        angles: DPA's direction for each example, or None for the plain system prompt.
    """
    tokenizer = policy.tokenizer
    prompts = []
    for example, angle in zip(examples, angles, strict=True):
        ids: Any = tokenizer.apply_chat_template(example.messages(angle), add_generation_prompt=True, return_dict=False)
        prompts += [Prompt((example.key, k), list(ids)) for k in range(samples)]
    path = folder / "responses.jsonl"
    done = resume(path, Response, batches(prompts, batch_size), key=lambda row: (row.key, row.sample))
    with bar(total=len(prompts), initial=len(done), what="sampling", unit="response") as progress:
        for rows in decode(
            policy,
            prompts,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            batch_size=batch_size,
            seed=seed,
            skip=frozenset(row.batch for row in done),
            on_token=lambda n: note(progress, f"token {n} of at most {max_new_tokens}"),
        ):
            new = [
                Response(key=r.key[0], sample=r.key[1], batch=r.batch, text=r.text, tokens=r.tokens, finish=r.finish)
                for r in rows
            ]
            append_jsonl(path, new)
            done += new
            progress.update(len(new))
    return sorted(done, key=lambda row: (row.key, row.sample))


def rate(
    responses: Sequence[Response],
    examples: Sequence[Example],
    judge: RewardModel | None,
    base: Policy,
    folder: Path,
    workers: int,
) -> list[Rated]:
    """Rate responses: code by executing it in the grading environment, general text by the reward model.

    Returns:
        One `Rated` a response, also in `folder/rated.jsonl`.
    """
    path = folder / "rated.jsonl"
    if (kept := read_rows(path, Rated)) and len(kept) == len(responses):
        return kept
    by_key = {example.key: example for example in examples}
    helpfulness: dict[tuple[int, int], float] = {}
    code = [r for r in responses if by_key[r.key].domain == "code"]
    if code:
        jobs = [Job(r.key, r.sample, extract(r.text), by_key[r.key].problem or {}) for r in code]
        with (
            Grader(workers=workers, time_limit=TIME_LIMIT_S) as grader,
            bar(total=len(jobs), what="rating code", unit="answer") as b,
        ):
            verdicts = grader.grade(jobs, on_verdict=lambda _: tick(b))
        for job, verdict in zip(jobs, verdicts, strict=True):
            helpfulness[(job.problem_id, job.sample)] = code_helpfulness(job.code, verdict)
    text = [r for r in responses if by_key[r.key].domain == "general"]
    if text:
        if judge is None:
            raise ValueError("domain: general prompts need a reward model; none was given")
        scores = judge.rate(features(base, [(by_key[r.key].prompt, r.text) for r in text]))
        helpfulness.update({(r.key, r.sample): float(s) for r, s in zip(text, scores, strict=True)})
    need = {key: len(base.tokenizer(example.reference)["input_ids"]) + 1 for key, example in by_key.items()}
    rated = [
        Rated(
            key=r.key,
            sample=r.sample,
            text=r.text,
            tokens=r.tokens,
            helpfulness=helpfulness[(r.key, r.sample)],
            verbosity=verbosity(r.tokens, need[r.key]),
        )
        for r in responses
    ]
    path.unlink(missing_ok=True)
    append_jsonl(path, rated)
    return rated


def by_prompt(rated: Sequence[Rated]) -> dict[int, list[Rated]]:
    """Group rated responses by their prompt."""
    groups: dict[int, list[Rated]] = defaultdict(list)
    for row in rated:
        groups[row.key].append(row)
    return dict(groups)


def pairs(rated: Sequence[Rated], gap: float = 5.0) -> list[tuple[Rated, Rated]]:
    """Rank each prompt's responses by helpfulness and pair the best with the worst.

    Args:
        gap: points of helpfulness below which two responses are no pair: a tie teaches nothing.

    Returns:
        (chosen, rejected), the clearest pairs first.
    """
    found = []
    for group in by_prompt(rated).values():
        best, worst = max(group, key=lambda r: r.helpfulness), min(group, key=lambda r: r.helpfulness)
        if best.helpfulness - worst.helpfulness >= gap and best.text != worst.text:
            found.append((best, worst))
    return sorted(found, key=lambda pair: (pair[1].helpfulness - pair[0].helpfulness, pair[0].key))


def best_along(rated: Sequence[Rated], angles: dict[int, float]) -> list[Rated]:
    """Keep, for each prompt, the response with the highest reward along the prompt's direction (ties: the first sample).

    Source: preference-conditioned rejection sampling, DPA step (d), arXiv 2402.18571.
    """
    return [
        max(group, key=lambda r: scalarise(r.reward, direction(angles[key]))) for key, group in by_prompt(rated).items()
    ]
