"""Let one policy answer a problem set: one line an answer, appended a batch at a time."""

from __future__ import annotations

import functools
import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from tradeoffs.grading import extract
from tradeoffs.inference import server
from tradeoffs.inference.energy import Meter
from tradeoffs.inference.engine import Completion, Prompt, batches, decode, resume, stop_texts
from tradeoffs.inference.roofline import traffic
from tradeoffs.inference.throughput import peak_memory_mib, timed_generation
from tradeoffs.models import Policy, load, load_tokenizer, resolve_device
from tradeoffs.parameters import GenerateParameters, split_model
from tradeoffs.progress import bar, note
from tradeoffs.records import (
    Answer,
    Record,
    adapter_digest,
    append_jsonl,
    claim,
    provenance,
    read_jsonl,
    read_record,
    read_rows,
    write_record,
    write_text,
)
from tradeoffs.tasks import code_messages, load_problems, stratified
from tradeoffs.tasks.prompts import Question

PROBE_TOKENS = 12
WARM_TOKENS = 3  # of what is decoded once for nothing


class Judge(Protocol):
    """Rates answers for best of n, such as `tradeoffs.preferences.reward_model.Judge`; `about` is what the record says of it."""

    about: dict[str, Any]

    def __call__(self, answers: Sequence[tuple[Question, str]]) -> Sequence[float]:
        """One score for each answer to its question; the highest is kept."""


def generate(parameters: GenerateParameters, judge: Callable[[str, str, str], Judge] | None = None) -> Record:
    """Answer the problems and write `answers.jsonl` and `record.json` into `parameters.out`.

    A finished folder is returned as it is; an interrupted one goes on after its last complete batch (servers: its last answer).

    Args:
        parameters: the notebook's.
        judge: makes what chooses among `best_of` answers, given model, dtype and device.

    Raises:
        ValueError: unknown model, adapter or problem set, a server that is not there, best of n without a judge, or a folder that holds
            another run.
    """
    if parameters.best_of > 1 and judge is None:
        raise ValueError(
            f"best_of: got {parameters.best_of} without a judge; accepts generate(p, judge=tradeoffs.preferences.reward_model.Judge)"
        )
    resolve_device(parameters.device)
    problems = stratified(load_problems(parameters.problems), parameters.limit)
    inputs = {"adapter_sha256": adapter_digest(parameters.adapter)}
    if parameters.servers and not (Path(parameters.out) / "record.json").exists():
        server.check(_server(parameters))
    # A server may come back under another address, and be asked more patiently.
    asked = parameters.model_dump(exclude={"servers", "timeout_s", "retries"}) | {"served": bool(parameters.servers)}
    folder = claim(Path(parameters.out), asked | inputs)
    if (folder / "record.json").exists():
        return read_record(folder)
    began = time.perf_counter()
    engine = Remote(parameters) if parameters.servers else Local(parameters, folder)
    prompts: list[Prompt] = []
    too_long: list[Prompt] = []
    for problem in problems:
        messages = code_messages(problem["prompt"], parameters.angle)
        ids = list(engine.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False))
        room = engine.context is None or len(ids) + parameters.max_new_tokens <= engine.context
        draws = parameters.samples * parameters.best_of
        wanted = [Prompt((problem["metadata"]["problem_id"], k), ids) for k in range(draws)]
        (prompts if room else too_long).extend(wanted)
    path = folder / "answers.jsonl"
    engine.probe()
    plan = batches(prompts, engine.batch_size)
    refused = {prompt.key: prompt for prompt in too_long}
    done = [
        row for row in resume(path, Answer, [*plan, *([p] for p in too_long)], key=_key) if _key(row) not in refused
    ]
    known = {_key(row) for row in read_rows(path, Answer)}
    append_jsonl(
        path, [_refused(p, len(plan) + n, engine.context) for n, p in enumerate(too_long) if p.key not in known]
    )
    with bar(total=len(prompts), initial=len(done), what=f"answers of {parameters.policy}", unit="answer") as progress:
        for rows in engine.decode(prompts, frozenset(row.batch for row in done), lambda text: note(progress, text)):
            append_jsonl(path, [_answer(row) for row in rows])
            progress.update(len(rows))
            seconds = sum(row.seconds for row in rows)
            progress.set_postfix_str(f"{sum(r.tokens for r in rows) / seconds:.0f} tokens/s" if seconds else "")
    engine.probe()
    answers = read_rows(path, Answer)
    judged: dict[str, Any] = {}
    if judge and parameters.best_of > 1:
        rate = judge(parameters.model, parameters.dtype, parameters.device)
        answers, judged = keep_best(answers, {p["metadata"]["problem_id"]: p["prompt"] for p in problems}, rate)
        write_text(path, "".join(row.model_dump_json() + "\n" for row in answers))
    record = Record(
        stage="generate",
        parameters=parameters.model_dump(),
        seeds=[parameters.seed],
        inputs=inputs,
        counts={
            "planned": len(prompts) + len(too_long),
            "completed": sum(row.finish != "failed" for row in answers),
            "failed": sum(row.finish == "failed" for row in answers),
        },
        summary=_summary(answers, parameters.max_new_tokens) | engine.summary() | judged,
        seconds=round(time.perf_counter() - began, 1),
        provenance=provenance(),
    )
    write_record(folder, record)
    return record


def keep_best(
    answers: Sequence[Answer], prompts: Mapping[int, str], judge: Judge
) -> tuple[list[Answer], dict[str, Any]]:
    """Best of n: rate every answer to a problem and keep the best (ties: the first sample).

    The study's judge is the scalar reward model on the model before any tuning, which is what policies are aligned to; it reads each answer
    with its prompt, and its time is part of what the answer cost. An answer that was cut is kept only where all were.

    Returns:
        The answers with `kept`, `score` and `judge_s`; what the record says of the judge.

    Source: best of n is what rejection sampling fine-tuning learns to do in one attempt (RLHFlow guidebook, section 3.5).
    """
    done = [row for row in answers if row.finish != "failed"]
    if not done:
        return list(answers), {}
    began = time.perf_counter()
    scores = judge([(code_messages(prompts[row.problem_id]), row.raw) for row in done])
    share = (time.perf_counter() - began) / len(done)
    rated = {_key(row): float(score) for row, score in zip(done, scores, strict=True)}
    best: dict[int, Answer] = {}
    for row in sorted(done, key=lambda row: (row.finish != "stop", -rated[_key(row)], row.sample)):
        best.setdefault(row.problem_id, row)
    kept = {_key(row) for row in best.values()}
    return [
        row.model_copy(
            update={"kept": _key(row) in kept or row.problem_id not in best, "score": rated.get(_key(row))}
            | {"judge_s": share if _key(row) in rated else 0.0}
        )
        for row in answers
    ], {"reward_model": judge.about, "judge_s": share * len(done)}


def _key(row: Answer) -> tuple[int, ...]:
    return row.problem_id, row.sample


class Local:
    """Decodes in this process.

    Attributes:
        tokenizer: of the policy; `context`: tokens that fit, None where the model does not say; `batch_size`: rows decoded together.
    """

    def __init__(self, parameters: GenerateParameters, folder: Path) -> None:
        p = self.parameters = parameters
        self.folder = folder
        self.policy = load(p.model, p.adapter, dtype=p.dtype, device=p.device)
        self.tokenizer = self.policy.tokenizer
        self.context: int | None = getattr(self.policy.model.config, "max_position_embeddings", None)
        self.batch_size = p.batch_size
        self.meter = Meter(self.policy.model.device)
        self.joules: float | None = None
        stop_texts(self.tokenizer)  # else the first batch's time would hold it

    def decode(
        self, prompts: Sequence[Prompt], skip: frozenset[int], tell: Callable[[str], None]
    ) -> Iterator[list[Completion]]:
        """Decode what is not in `skip`, a batch at a time; before, a piece of the first one, which is thrown away: what is done once is no
        part of an answer's time.
        """
        p = self.parameters
        ask = functools.partial(
            decode,
            self.policy,
            temperature=p.temperature,
            top_p=p.top_p,
            batch_size=p.batch_size,
            seed=p.seed,
            static=p.cache == "static",
            compiled=p.compiled,
        )
        left = [batch for number, batch in enumerate(batches(prompts, p.batch_size)) if number not in skip]
        for batch in left[:1]:
            # a GPU's kernels are chosen by shape; a compiled step has the shape of its cache
            warm = batch if self.policy.model.device.type == "cuda" or p.compiled else batch[:1]
            list(
                ask(prompts=warm, max_new_tokens=p.max_new_tokens if p.compiled else min(WARM_TOKENS, p.max_new_tokens))
            )
        found = ask(
            prompts=prompts,
            max_new_tokens=p.max_new_tokens,
            skip=skip,
            on_token=lambda n: tell(f"token {n} of at most {p.max_new_tokens}"),
        )
        with self.meter.window() as window:
            yield from found
        # Of an interrupted run a part would be missing.
        self.joules = None if skip else window.joules

    def probe(self) -> None:
        """Time a fixed piece of decoding."""
        probe(self.policy, self.folder)

    def summary(self) -> dict[str, Any]:
        """What the record says of the engine."""
        model = self.policy.model
        return {
            "engine": "in-process",
            "probe_tokens_per_s": [row["tokens_per_s"] for row in read_jsonl(self.folder / "probes.jsonl")],
            "dtype": str(model.dtype).removeprefix("torch."),
            "device": str(model.device),
            "peak_memory_mib": peak_memory_mib(model.device),
            "energy_j": self.joules,
            "energy_reason": None if self.joules else self.meter.reason or "interrupted, or too short for the counter",
            **traffic(model)._asdict(),
        }


def _server(p: GenerateParameters) -> server.Server:
    model = p.served_model or split_model(p.model)[0]
    return server.Server(p.servers, model, p.concurrency, p.arrivals_per_s, p.timeout_s, p.retries, p.send == "text")


class Remote:
    """Asks servers; see `Local`."""

    def __init__(self, parameters: GenerateParameters) -> None:
        p = self.parameters = parameters
        self.server = _server(p)
        self.tokenizer = load_tokenizer(p.model)
        self.context: int | None = None  # the server knows, and refuses
        self.batch_size = 1

    def decode(
        self, prompts: Sequence[Prompt], skip: frozenset[int], tell: Callable[[str], None]
    ) -> Iterator[list[Completion]]:
        """Ask for what is not in `skip`."""
        p = self.parameters
        return server.decode(
            self.server,
            self.tokenizer,
            prompts,
            max_new_tokens=p.max_new_tokens,
            temperature=p.temperature,
            top_p=p.top_p,
            seed=p.seed,
            skip=skip,
        )

    def probe(self) -> None:
        """A server is not ours to probe."""

    def summary(self) -> dict[str, Any]:
        """What the record says of the engine."""
        return {"engine": "server", "energy_j": None, "energy_reason": "a server does not tell its joules"}


def settle(measure: Callable[[], float], most: int = 30, within: float = 0.05) -> int:
    """Repeat a piece of work until it takes as long as the time before: a GPU that was idle raises its clocks only under load.

    Args:
        measure: does the work and gives its seconds.
        most: repeats at most.
        within: relative difference that counts as none.

    Returns:
        How often the work was done.
    """
    before = measure()
    for done in range(2, most + 1):
        now = measure()
        if abs(now / before - 1) <= within:
            return done
        before = now
    return most


def probe(policy: Policy, folder: Path) -> None:
    """Time a fixed piece of decoding, before and after the answers, so that a change of the machine's pace between arms can be seen.

    Arms answer one after the other, minutes apart. Where the probes of two arms differ, a difference of their seconds is the machine's
    and not the policy's; the analysis widens its intervals by the probes' spread.
    """
    import torch

    low, high = 100, policy.model.config.vocab_size
    prompts = torch.randint(low, high, (4, 64), generator=torch.Generator().manual_seed(0)).to(policy.model.device)
    if policy.model.device.type == "cuda":
        settle(lambda: sum(timed_generation(policy.model, prompts, PROBE_TOKENS)))
    else:
        timed_generation(policy.model, prompts, 2)
    prefill_s, decode_s = timed_generation(policy.model, prompts, PROBE_TOKENS)
    append_jsonl(folder / "probes.jsonl", [{"tokens_per_s": 4 * PROBE_TOKENS / (prefill_s + decode_s)}])


def _refused(prompt: Prompt, number: int, context: int | None) -> Answer:
    """The record of a prompt that is too long for the model; it is never cut."""
    blank = Completion(prompt.key, "", len(prompt.ids), 0, 0, "failed", number, 0.0, 1)
    return _answer(
        blank._replace(error=f"{len(prompt.ids)} prompt tokens and the answer exceed the context of {context}")
    )


def _answer(row: Completion) -> Answer:
    return Answer(
        problem_id=row.key[0],
        sample=row.key[1],
        prompt_tokens=row.prompt_tokens,
        tokens=row.tokens,
        slots=row.slots,
        finish=row.finish,
        error=row.error,
        attempts=row.attempts,
        counted=row.counted,
        seconds=row.seconds,
        batch=row.batch,
        batch_seconds=row.batch_seconds,
        batch_size=row.batch_size,
        prefill_s=None if row.prefill_s is None else row.prefill_s / row.batch_size,
        ttft_s=round(row.times[0], 6) if row.times else None,
        itl_s=[round(after - before, 6) for before, after in itertools.pairwise(row.times)],
        raw=row.text,
        code=extract(row.text),
    )


def _summary(answers: list[Answer], cap: int) -> dict[str, Any]:
    done = [row for row in answers if row.finish != "failed"]
    tokens, seconds, slots = sum(a.tokens for a in done), sum(a.seconds for a in answers), sum(a.slots for a in done)
    reasons = Counter(row.error for row in answers if row.finish == "failed")
    return {
        "tokens": tokens,
        "generation_s": seconds,
        "tokens_per_s": tokens / seconds if seconds else None,
        "tokens_per_answer": tokens / len(done) if done else None,
        "cap_share": sum(a.finish == "length" for a in done) / len(done) if done else None,
        "utilisation": tokens / slots if slots else None,
        "failures": dict(reasons.most_common(5)),
        "repeated": sum(a.attempts > 1 for a in answers),
        "cut_early": sum(a.finish == "length" and a.tokens < cap for a in done),
        "counted_here": sum(not a.counted for a in done),
    }
