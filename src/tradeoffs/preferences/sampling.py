"""Responses sampled from a policy and rated: what DPO ranks into pairs and DPA selects from."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tradeoffs.grading import Grader, Job, extract
from tradeoffs.inference.engine import Prompt, batches, decode, decode_batch, resume
from tradeoffs.models import Policy
from tradeoffs.preferences.reward_model import RewardModel, features
from tradeoffs.preferences.rewards import Reward, code_helpfulness, verbosity
from tradeoffs.progress import bar, note, tick
from tradeoffs.records import Row, Verdict, append_jsonl, read_rows
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


class Rollout(NamedTuple):
    """One response sampled within a training step.

    Attributes:
        key: the example's.
        prompt, ids: token ids of the prompt, and of the response with its stop token.
        text: the response.
    """

    key: int
    prompt: list[int]
    ids: list[int]
    text: str


def roll_out(
    policy: Policy,
    examples: Sequence[Example],
    *,
    step: int,
    temperature: float,
    max_new_tokens: int,
    seed: int,
    on_token: Callable[[int], None] | None = None,
) -> list[Rollout]:
    """Sample one response to each example, as one batch; the same step and seed give the same responses."""
    prompts = []
    for number, example in enumerate(examples):
        ids: Any = policy.tokenizer.apply_chat_template(
            example.messages(), add_generation_prompt=True, return_dict=False
        )
        prompts.append(Prompt((example.key, number), list(ids)))
    found = decode_batch(
        policy,
        prompts,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_p=1.0,
        number=step,
        seed=seed,
        on_token=on_token,
    )
    return [Rollout(p.key[0], p.ids, list(c.ids), c.text) for p, c in zip(prompts, found, strict=True)]


class Judgement:
    """Gives responses their rewards: code is executed in the grading environment, general text goes to the reward model.

    Args:
        examples: the prompts that the responses answer.
        judge: the reward model; None where all prompts are code.
        base: the model whose hidden states the reward model reads, and whose tokens are counted.
        grader: executes code.

    Raises:
        ValueError: there are general prompts but no reward model.
    """

    def __init__(self, examples: Sequence[Example], judge: RewardModel | None, base: Policy, grader: Grader) -> None:
        self.by_key = {example.key: example for example in examples}
        if judge is None and any(example.domain == "general" for example in examples):
            raise ValueError("domain: general prompts need a reward model; none was given")
        self.judge, self.base, self.grader = judge, base, grader
        self.need = {example.key: len(base.tokenizer(example.reference)["input_ids"]) + 1 for example in examples}

    def rewards(
        self, responses: Sequence[tuple[int, str, int]], on_verdict: Callable[[Verdict], None] | None = None
    ) -> list[Reward]:
        """Rate responses, each (the example's key, text, tokens).

        Raises:
            FloatingPointError: the reward model gives no number.
        """
        helpfulness: dict[int, float] = {}
        code = [n for n, (key, *_) in enumerate(responses) if self.by_key[key].domain == "code"]
        jobs = [
            Job(responses[n][0], n, extract(responses[n][1]), self.by_key[responses[n][0]].problem or {}) for n in code
        ]
        for job, verdict in zip(jobs, self.grader.grade(jobs, on_verdict), strict=True):
            helpfulness[job.sample] = code_helpfulness(job.code, verdict)
        text = [n for n in range(len(responses)) if n not in helpfulness]
        if text:
            assert self.judge is not None
            pairs = [(self.by_key[responses[n][0]].prompt, responses[n][1]) for n in text]
            scores = self.judge.rate(features(self.base, pairs))
            helpfulness.update({n: float(score) for n, score in zip(text, scores, strict=True)})
        for n, value in helpfulness.items():
            if not math.isfinite(value):
                raise FloatingPointError(
                    f"reward: {value} for a response to training prompt {responses[n][0]}; what was trained before is kept; "
                    "fit the reward model anew"
                )
        return [
            Reward(helpfulness[n], verbosity(tokens, self.need[key])) for n, (key, _, tokens) in enumerate(responses)
        ]


@contextmanager
def judging(examples: Sequence[Example], judge: RewardModel | None, base: Policy, workers: int) -> Iterator[Judgement]:
    """Hold a grader ready for as long as responses are rated."""
    with Grader(workers=workers, time_limit=TIME_LIMIT_S) as grader:
        yield Judgement(examples, judge, base, grader)


def rate(
    responses: Sequence[Response],
    examples: Sequence[Example],
    judge: RewardModel | None,
    base: Policy,
    folder: Path,
    workers: int,
) -> list[Rated]:
    """Rate sampled responses, once.

    Returns:
        One `Rated` a response, also in `folder/rated.jsonl`.
    """
    path = folder / "rated.jsonl"
    if (kept := read_rows(path, Rated)) and len(kept) == len(responses):
        return kept
    code = sum(example.domain == "code" for example in examples) * len(responses) // max(1, len(examples))
    with (
        judging(examples, judge, base, workers) as judgement,
        bar(total=code, what="rating code", unit="answer") as b,
    ):
        found = judgement.rewards([(r.key, r.text, r.tokens) for r in responses], on_verdict=lambda _: tick(b))
    rated = [
        Rated(key=r.key, sample=r.sample, text=r.text, tokens=r.tokens, **reward._asdict())
        for r, reward in zip(responses, found, strict=True)
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


def best(rated: Sequence[Rated], rewards: Mapping[tuple[int, int], float]) -> list[Rated]:
    """Keep, for each prompt, the response with the highest reward (ties: the first sample).

    Args:
        rated: the responses.
        rewards: a number for each, by (key, sample).

    Source: best of n; with a reward along the prompt's direction it is preference-conditioned rejection sampling, DPA step (d),
    arXiv 2402.18571.
    """
    return [max(group, key=lambda row: rewards[row.key, row.sample]) for group in by_prompt(rated).values()]
