"""Let one policy answer a problem set: one line an answer, appended a batch at a time."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import Any

from tradeoffs.grading import extract
from tradeoffs.inference.engine import Prompt, batches, decode, resume
from tradeoffs.inference.roofline import traffic
from tradeoffs.inference.throughput import timed_generation
from tradeoffs.models import Policy, load, resolve_device
from tradeoffs.parameters import GenerateParameters
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
)
from tradeoffs.tasks import code_messages, load_problems, stratified

PROBE_TOKENS = 12


def generate(parameters: GenerateParameters) -> Record:
    """Answer the problems and write `answers.jsonl` and `record.json` into `parameters.out`.

    A finished folder is returned as it is; an interrupted one goes on after its last complete batch.

    Raises:
        ValueError: unknown model, adapter or problem set, or a folder that holds another run.
    """
    resolve_device(parameters.device)
    problems = stratified(load_problems(parameters.problems), parameters.limit)
    inputs = {"adapter_sha256": adapter_digest(parameters.adapter)}
    folder = claim(Path(parameters.out), parameters.model_dump() | inputs)
    if (folder / "record.json").exists():
        return read_record(folder)
    began = time.perf_counter()
    policy = load(parameters.model, parameters.adapter, dtype=parameters.dtype, device=parameters.device)
    prompts = []
    for problem in problems:
        messages = code_messages(problem["prompt"], parameters.angle)
        ids = list(policy.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False))
        prompts += [Prompt((problem["metadata"]["problem_id"], k), ids) for k in range(parameters.samples)]
    path = folder / "answers.jsonl"
    probe(policy, folder)
    plan = batches(prompts, parameters.batch_size)
    done = resume(path, Answer, plan, key=lambda row: (row.problem_id, row.sample))
    with bar(total=len(prompts), initial=len(done), what=f"answers of {parameters.policy}", unit="answer") as progress:
        for rows in decode(
            policy,
            prompts,
            max_new_tokens=parameters.max_new_tokens,
            temperature=parameters.temperature,
            top_p=parameters.top_p,
            batch_size=parameters.batch_size,
            seed=parameters.seed,
            skip=frozenset(row.batch for row in done),
            on_token=lambda n: note(progress, f"token {n} of at most {parameters.max_new_tokens}"),
        ):
            append_jsonl(path, [_answer(row) for row in rows])
            progress.update(len(rows))
            progress.set_postfix_str(f"{sum(r.tokens for r in rows) / rows[0].batch_seconds:.0f} tokens/s")
    probe(policy, folder)
    answers = read_rows(path, Answer)
    record = Record(
        stage="generate",
        parameters=parameters.model_dump(),
        seeds=[parameters.seed],
        inputs=inputs,
        counts={"planned": len(prompts), "completed": len(answers), "failed": len(prompts) - len(answers)},
        summary=_summary(answers)
        | {"probe_tokens_per_s": [row["tokens_per_s"] for row in read_jsonl(folder / "probes.jsonl")]}
        | traffic(policy.model)._asdict()
        | {"dtype": str(policy.model.dtype).removeprefix("torch."), "device": str(policy.model.device)},
        seconds=round(time.perf_counter() - began, 1),
        provenance=provenance(),
    )
    write_record(folder, record)
    return record


def probe(policy: Policy, folder: Path) -> None:
    """Time a fixed piece of decoding, before and after the answers, so that a change of the machine's pace between arms can be seen.

    Arms answer one after the other, minutes apart. Where the probes of two arms differ, a difference of their seconds is the machine's
    and not the policy's; the analysis widens its intervals by the probes' spread.
    """
    import torch

    low, high = 100, policy.model.config.vocab_size
    prompts = torch.randint(low, high, (4, 64), generator=torch.Generator().manual_seed(0)).to(policy.model.device)
    timed_generation(policy.model, prompts, 2)
    prefill_s, decode_s = timed_generation(policy.model, prompts, PROBE_TOKENS)
    append_jsonl(folder / "probes.jsonl", [{"tokens_per_s": 4 * PROBE_TOKENS / (prefill_s + decode_s)}])


def _answer(row: Any) -> Answer:
    return Answer(
        problem_id=row.key[0],
        sample=row.key[1],
        prompt_tokens=row.prompt_tokens,
        tokens=row.tokens,
        slots=row.slots,
        finish=row.finish,
        seconds=row.batch_seconds / row.batch_size,
        batch=row.batch,
        batch_seconds=row.batch_seconds,
        batch_size=row.batch_size,
        prefill_s=row.prefill_s / row.batch_size,
        ttft_s=round(row.times[0], 6) if row.times else None,
        itl_s=[round(after - before, 6) for before, after in itertools.pairwise(row.times)],
        raw=row.text,
        code=extract(row.text),
    )


def _summary(answers: list[Answer]) -> dict[str, Any]:
    tokens, seconds = sum(a.tokens for a in answers), sum(a.seconds for a in answers)
    return {
        "tokens": tokens,
        "generation_s": seconds,
        "tokens_per_s": tokens / seconds if seconds else None,
        "tokens_per_answer": tokens / len(answers),
        "cap_share": sum(a.finish == "length" for a in answers) / len(answers),
        "utilisation": tokens / sum(a.slots for a in answers),
        "energy_j": None,
        "energy_reason": "no energy counter is read in this edition",
    }
