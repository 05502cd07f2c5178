"""Time all policies at forced lengths, in one process, in randomised interleaved blocks.

The same architecture in the same precision runs the same kernels, so at forced lengths the expectation is *equivalence* of tokens per
second; that is tested, not assumed. All policies share one model object: weights are swapped in place, so that only values differ.
Within a block every policy is timed once, in random order; the block is the replicate.

Formulas: prefill tokens/s = batch * prompt_tokens / prefill_s; decode tokens/s = batch * (new_tokens - 1) / decode_s, the first token
coming out of prefill. Prompt tokens are never counted as output.
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from tradeoffs.inference.engine import synchronise
from tradeoffs.models import load, merge, resolve_device
from tradeoffs.parameters import ThroughputParameters
from tradeoffs.progress import bar
from tradeoffs.records import (
    Record,
    Timing,
    adapter_digest,
    append_jsonl,
    claim,
    provenance,
    read_record,
    read_rows,
    write_record,
    write_text,
)

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


def throughput(parameters: ThroughputParameters) -> Record:
    """Run the blocks and write `timings.jsonl` and `record.json` into `parameters.out`.

    A finished folder is returned as it is; an interrupted run goes on with the first block that is not complete.

    Raises:
        ValueError: unknown model or adapter, or a folder that holds another run.
    """
    import torch

    resolve_device(parameters.device)
    inputs = {"adapters_sha256": {name: adapter_digest(path) for name, path in parameters.policies.items()}}
    folder = claim(Path(parameters.out), parameters.model_dump() | inputs)
    if (folder / "record.json").exists():
        return read_record(folder)
    began = time.perf_counter()
    path = folder / "timings.jsonl"
    names = list(parameters.policies)
    first = _complete_blocks(path, len(names))
    model, weights = load_all(parameters)
    generator = torch.Generator().manual_seed(parameters.seed)
    low, high = 100, model.config.vocab_size  # below 100 lie special tokens
    shape = (parameters.batch_size, parameters.prompt_tokens)
    prompts = torch.randint(low, high, shape, generator=generator).to(model.device)
    swap(model, weights[names[0]])
    timed_generation(model, prompts, parameters.new_tokens)  # warm-up of this shape
    with bar(total=parameters.blocks, initial=first, what="throughput", unit="block") as progress:
        for block in range(first, parameters.blocks):
            append_jsonl(path, run_block(model, weights, prompts, block, parameters))
            progress.update(1)
    rows = read_rows(path, Timing)
    record = Record(
        stage="throughput",
        parameters=parameters.model_dump(),
        seeds=[parameters.seed],
        inputs=inputs,
        counts={
            "planned": parameters.blocks,
            "completed": len(rows) // len(names),
            "failed": 0,
            "flagged": len({row.block for row in rows if row.flagged}),
        },
        summary={
            "dtype": str(model.dtype).removeprefix("torch."),
            "device": str(model.device),
            "threads": torch.get_num_threads(),
        },
        seconds=round(time.perf_counter() - began, 1),
        provenance=provenance(),
    )
    write_record(folder, record)
    return record


def _complete_blocks(path: Path, policies: int) -> int:
    rows = read_rows(path, Timing)
    complete = 0
    while sum(row.block == complete for row in rows) == policies:
        complete += 1
    if len(rows) != complete * policies:
        write_text(path, "".join(row.model_dump_json() + "\n" for row in rows if row.block < complete))
    return complete


def load_all(parameters: ThroughputParameters) -> tuple[PreTrainedModel, dict[str, dict[str, torch.Tensor]]]:
    """One model object and each policy's merged weights."""
    model = load(parameters.model, dtype=parameters.dtype, device=parameters.device).model
    base = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    weights = {}
    for policy, adapter in parameters.policies.items():
        if not adapter:
            weights[policy] = base
            continue
        merged = merge(load(parameters.model, dtype=parameters.dtype, device=parameters.device).model, adapter)
        weights[policy] = dict(merged.state_dict())
    return model, weights


def swap(model: PreTrainedModel, weights: dict[str, torch.Tensor]) -> None:
    """Put a policy's weights into the shared model, at the same addresses."""
    import torch

    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            tensor.copy_(weights[name])


def timed_generation(model: PreTrainedModel, prompts: torch.Tensor, new_tokens: int) -> tuple[float, float]:
    """Greedy decoding of exactly `new_tokens` tokens a row, timed in two parts.

    Args:
        model: the model.
        prompts: token ids of shape (batch, prompt_tokens), no padding.
        new_tokens: tokens a row, stop tokens ignored.

    Returns:
        (prefill seconds up to the first token, seconds for the others).
    """
    import torch
    from transformers import DynamicCache

    cache = DynamicCache(config=model.config)
    with torch.inference_mode():
        synchronise(model.device)
        start = time.perf_counter()
        token = (
            model(input_ids=prompts, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[:, -1:].argmax(-1)
        )
        synchronise(model.device)
        first = time.perf_counter()
        for _ in range(new_tokens - 1):
            token = (
                model(input_ids=token, past_key_values=cache, use_cache=True, logits_to_keep=1)
                .logits[:, -1:]
                .argmax(-1)
            )
        synchronise(model.device)
        end = time.perf_counter()
    return first - start, end - first


def run_block(
    model: PreTrainedModel,
    weights: dict[str, dict[str, torch.Tensor]],
    prompts: torch.Tensor,
    block: int,
    parameters: ThroughputParameters,
) -> list[Timing]:
    """Time every policy once, in an order that block and seed decide.

    The rule for flags is fixed beforehand: where other processes used more than `foreign_cpu_limit` of the machine's CPU time during
    any repetition, the whole block is flagged, for all policies together.
    """
    order = random.Random(f"block/{parameters.seed}/{block}").sample(sorted(weights), len(weights))
    rows = []
    for position, policy in enumerate(order):
        swap(model, weights[policy])
        load_1min = os.getloadavg()[0]
        before = _cpu_seconds()
        prefill_s, decode_s = timed_generation(model, prompts, parameters.new_tokens)
        foreign = _foreign_share(before, _cpu_seconds())
        rows.append((policy, position, prefill_s, decode_s, load_1min, foreign))
    flagged = any(row[-1] > parameters.foreign_cpu_limit for row in rows)
    return [
        Timing(
            policy=policy,
            block=block,
            position=position,
            batch_size=parameters.batch_size,
            prompt_tokens=parameters.prompt_tokens,
            new_tokens=parameters.new_tokens,
            prefill_s=prefill_s,
            decode_s=decode_s,
            load_1min=load_1min,
            foreign_cpu=round(foreign, 4),
            flagged=flagged,
        )
        for policy, position, prefill_s, decode_s, load_1min, foreign in rows
    ]


def _cpu_seconds() -> tuple[float, float, float]:
    """(this process's CPU seconds, the machine's busy CPU seconds, the machine's total)."""
    own = psutil.Process().cpu_times()
    every = psutil.cpu_times()
    idle = every.idle + getattr(every, "iowait", 0.0)
    return own.user + own.system, sum(every) - idle, sum(every)


def _foreign_share(before: tuple[float, float, float], after: tuple[float, float, float]) -> float:
    own, busy, total = (b - a for a, b in zip(before, after, strict=True))
    return max(0.0, busy - own) / total if total > 0 else 0.0
