"""Responses sampled from a policy and rated: what the methods rank, select from or are rewarded for.

Several processes share the work, each doing whole batches. What is sampled for a prompt depends on the seed alone (see
`tradeoffs.inference.engine`), so that it is the same whoever does it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tradeoffs import processes
from tradeoffs.grading import Grader, Job, extract
from tradeoffs.inference.engine import Completion, Prompt, batches, decode, resume
from tradeoffs.models import Policy
from tradeoffs.preferences.reward_model import RewardModel, features
from tradeoffs.preferences.rewards import ATTRIBUTES, Reward, code_helpfulness, verbosity
from tradeoffs.progress import bar, note, tick
from tradeoffs.records import Row, Verdict, append_jsonl, read_rows
from tradeoffs.tasks.examples import Example
from tradeoffs.tasks.prompts import answer_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Rows of a batch, by device. More gain little on two cores, and the key-value cache grows; a GPU takes a step's time for one row as for 64.
SAMPLED_TOGETHER = {"cpu": 64, "cuda": 256}
TIME_LIMIT_S = 10.0  # training tasks take milliseconds; a candidate that runs longer is as bad as one that crashes


class Response(Row):
    """One sampled response; `tokens` counts its stop token, `prompt_tokens` what it answers."""

    key: int
    sample: int
    batch: int
    text: str
    prompt_tokens: int
    tokens: int
    finish: Literal["stop", "length"]


class Rated(Row):
    """A response's reward; `finish` is `length` where the response was cut at the cap."""

    key: int
    sample: int
    text: str
    tokens: int
    finish: Literal["stop", "length"] = "stop"
    helpfulness: float
    verbosity: float

    @property
    def reward(self) -> Reward:
        """The reward vector."""
        return Reward(self.helpfulness, self.verbosity)


def together(policy: Policy) -> int:
    """How many responses a policy samples at a time, if they fit into memory; which tokens they get does not depend on it."""
    return SAMPLED_TOGETHER[policy.model.device.type]


def prompt_ids(tokenizer: PreTrainedTokenizerBase, example: Example, angle: float | None = None) -> list[int]:
    """The tokens of an example's rendered prompt."""
    ids: Any = tokenizer.apply_chat_template(example.messages(angle), add_generation_prompt=True, return_dict=False)
    return list(ids)


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
    batch_size: int = 0,
) -> list[Response]:
    """Draw `samples` responses to each example, appended to `folder/responses.jsonl`; a second call does only what is missing.

    Args:
        angles: DPA's direction for each example, or None for the plain system prompt.
        batch_size: rows at a time; 0: as many as suit the device.
    """
    batch_size = batch_size or together(policy)
    prompts = []
    for example, angle in zip(examples, angles, strict=True):
        ids = prompt_ids(policy.tokenizer, example, angle)
        prompts += [Prompt((example.key, k), ids) for k in range(samples)]
    path = folder / "responses.jsonl"
    plan = batches(prompts, batch_size)

    def left() -> list[Response]:
        return resume(path, Response, plan, key=lambda row: (row.key, row.sample))

    done = {row.batch for row in processes.main_first(left)}
    mine = {number for number in range(len(plan)) if number % processes.count() == processes.rank()}
    with bar(
        total=sum(len(plan[n]) for n in mine),
        initial=sum(len(plan[n]) for n in mine & done),
        what="sampling",
        unit="response",
    ) as progress:
        for rows in decode(
            policy,
            prompts,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            batch_size=batch_size,
            seed=seed,
            skip=frozenset(done | set(range(len(plan))) - mine),
            on_token=lambda n: note(progress, f"token {n} of at most {max_new_tokens}"),
            in_parts=True,
        ):
            append_jsonl(path, [_response(row) for row in rows])
            progress.update(len(rows))
    processes.wait()
    return sorted(read_rows(path, Response), key=lambda row: (row.key, row.sample))


def _response(row: Completion) -> Response:
    return Response(
        key=row.key[0],
        sample=row.key[1],
        batch=row.batch,
        text=row.text,
        prompt_tokens=row.prompt_tokens,
        tokens=row.tokens,
        finish="stop" if row.finish == "stop" else "length",
    )


def draw(
    policy: Policy,
    prompts: Sequence[Prompt],
    *,
    temperature: float,
    max_new_tokens: int,
    seed: int,
    on_token: Callable[[int], None] | None = None,
) -> list[Completion]:
    """Sample a completion of each prompt, as many together as suit the device and fit into its memory; in no particular order."""
    batches = decode(
        policy,
        prompts,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        batch_size=together(policy),
        seed=seed,
        on_token=on_token,
        in_parts=True,
    )
    return [row for rows in batches for row in rows]


def respond(
    policy: Policy,
    prompts: Sequence[list[int]],
    places: Sequence[int],
    *,
    step: int,
    temperature: float,
    max_new_tokens: int,
    seed: int,
    on_token: Callable[[int], None] | None = None,
) -> list[Completion]:
    """Sample one response to each prompt within a training step.

    Args:
        prompts: token ids.
        places: each prompt's place among all of the step's, over all processes; with step and seed it decides what is sampled.

    Returns:
        One completion a prompt, in their order.
    """
    wanted = [Prompt((step, place), ids) for place, ids in zip(places, prompts, strict=True)]
    drawn = draw(policy, wanted, temperature=temperature, max_new_tokens=max_new_tokens, seed=seed, on_token=on_token)
    found = {row.key[1]: row for row in drawn}
    return [found[place] for place in places]


class Judgement:
    """Gives responses their rewards: code is executed in the grading environment, general text goes to the reward model.

    Verbosity is counted, unless the reward model was fitted on several attributes: then it rates general text for both.

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
        if judge is not None and judge.kind == "attributes":
            judge.check(ATTRIBUTES)
        if judge is None and any(example.domain == "general" for example in examples):
            raise ValueError("domain: general prompts need a reward model; none was given")
        self.judge, self.base, self.grader = judge, base, grader
        self.need = {example.key: len(answer_ids(base.tokenizer, example.reference)) + 1 for example in examples}

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
        predicted: dict[int, float] = {}
        if text:
            assert self.judge is not None
            pairs = [(self.by_key[responses[n][0]].prompt, responses[n][1]) for n in text]
            both = self.judge.kind == "attributes"
            scores = self.judge.rate(features(self.base, pairs), ATTRIBUTES if both else ATTRIBUTES[:1])
            helpfulness.update({n: float(score[0]) for n, score in zip(text, scores, strict=True)})
            if both:
                predicted = {n: float(score[1]) for n, score in zip(text, scores, strict=True)}
        for n, value in helpfulness.items():
            if not math.isfinite(value):
                raise FloatingPointError(
                    f"reward: {value} for a response to training prompt {responses[n][0]}; what was trained before is kept; "
                    "fit the reward model anew"
                )
        measured = [verbosity(tokens, self.need[key]) for key, _, tokens in responses]
        return [Reward(helpfulness[n], predicted.get(n, value)) for n, value in enumerate(measured)]


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
        Rated(key=r.key, sample=r.sample, text=r.text, tokens=r.tokens, finish=r.finish, **reward._asdict())
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


def pairs(rated: Sequence[Rated], rewards: Mapping[tuple[int, int], float], gap: float) -> list[tuple[Rated, Rated]]:
    """Pair each prompt's best response with its worst, of those that ended by themselves (see `best`).

    What was cut is not rejected either: laid out as an answer it ends with a stop token that nobody sampled there.

    Args:
        rated: the responses.
        rewards: a number for each, by (key, sample).
        gap: points of reward below which two responses are no pair: a tie teaches nothing.

    Returns:
        (chosen, rejected) of each prompt that has such a pair.
    """
    found = []
    for group in by_prompt(rated).values():
        ended = [row for row in group if row.finish == "stop"]
        if not ended:
            continue
        good = max(ended, key=lambda row: rewards[row.key, row.sample])
        bad = min(ended, key=lambda row: rewards[row.key, row.sample])
        distance = rewards[good.key, good.sample] - rewards[bad.key, bad.sample]
        if distance >= gap and good.text != bad.text:
            found.append((good, bad))
    return found


def best(rated: Sequence[Rated], rewards: Mapping[tuple[int, int], float]) -> list[Rated]:
    """Keep, for each prompt, the response with the highest reward (ties: the first sample) of those that ended by themselves.

    What was cut at the cap is no whole answer: learnt as one, it teaches to stop in the middle of a sentence. A prompt all of whose
    responses were cut is left out.

    Args:
        rated: the responses.
        rewards: a number for each, by (key, sample).

    Source: best of n; with a reward along the prompt's direction it is preference-conditioned rejection sampling, DPA step (d),
    arXiv 2402.18571.
    """
    groups = [[row for row in group if row.finish == "stop"] for group in by_prompt(rated).values()]
    return [max(group, key=lambda row: rewards[row.key, row.sample]) for group in groups if group]
