"""Speculative decoding with the unaligned policy as draft: how often would an aligned policy accept its tokens?

A draft proposes tokens, the target checks several in one pass. In expectation a token is accepted with probability

    alpha = sum_x min(p(x), q(x)) = 1 - TV(p, q)

where p and q are the next-token distributions of target and draft. It follows from logits alone: both read the target's own answers
(teacher forcing), no engine is needed. With a draft of g tokens and independent acceptance a pass of the target gives
(1 - alpha^(g+1)) / (1 - alpha) tokens, and where a draft's token costs c target tokens the speed-up is that over g c + 1.

An alignment that moves a policy away from the fixed draft lowers alpha: |change of alpha| <= TV(p, p') <= sqrt(KL / 2).

Source: Leviathan et al. 2023, arXiv 2211.17192 (acceptance, tokens a pass, speed-up).
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tradeoffs.inference.engine import Prompt, decode
from tradeoffs.inference.throughput import load_all, swap
from tradeoffs.models import Policy, load, resolve_device
from tradeoffs.parameters import SpeculateParameters
from tradeoffs.progress import bar
from tradeoffs.records import (
    Acceptance,
    Record,
    adapter_digest,
    append_jsonl,
    claim,
    provenance,
    read_record,
    read_rows,
    write_record,
    write_text,
)
from tradeoffs.tasks import code_messages, load_problems, stratified

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


def acceptance(target: Tensor, draft: Tensor) -> tuple[Tensor, Tensor]:
    """Chance that a draft's token is accepted, at each position.

    Args:
        target, draft: logits at the sampling temperature, shape (..., vocabulary).

    Returns:
        alpha = sum of min(p, q), and KL(target || draft) in nats, both of shape (...).
    """
    logp, logq = target.float().log_softmax(-1), draft.float().log_softmax(-1)
    p, q = logp.exp(), logq.exp()
    return p.minimum(q).sum(-1), (p * (logp - logq)).sum(-1).clamp_min(0)


def speculate(parameters: SpeculateParameters) -> Record:
    """Measure every policy's acceptance of the draft's tokens; write `acceptance.jsonl` and `record.json` into `parameters.out`.

    A finished folder is returned as it is; an interrupted one goes on with the first policy that is not complete.

    Raises:
        ValueError: unknown model, adapter, draft or problem set, or a folder that holds another run.
    """
    p = parameters
    resolve_device(p.device)
    draft_name = p.draft or next(iter(p.policies))
    inputs = {"adapters_sha256": {name: adapter_digest(path) for name, path in p.policies.items()}}
    folder = claim(Path(p.out), p.model_dump() | inputs)
    if (folder / "record.json").exists():
        return read_record(folder)
    began = time.perf_counter()
    path = folder / "acceptance.jsonl"
    problems = stratified(load_problems(p.problems), p.limit)
    draft = load(p.model, p.policies[draft_name], dtype=p.dtype, device=p.device)
    model, weights = load_all(p)
    target = Policy(model, draft.tokenizer)
    prompts = []
    for problem in problems:
        ids: Any = draft.tokenizer.apply_chat_template(
            code_messages(problem["prompt"], None), add_generation_prompt=True, return_dict=False
        )
        prompts.append(Prompt((problem["metadata"]["problem_id"], 0), list(ids)))
    rows = read_rows(path, Acceptance)
    done = {name for name in p.policies if sum(row.policy == name for row in rows) == len(prompts)}
    if len(kept := [row for row in rows if row.policy in done]) < len(rows):
        write_text(path, "".join(row.model_dump_json() + "\n" for row in kept))
    with bar(total=len(p.policies), initial=len(done), what="speculation", unit="policy") as progress:
        for name in p.policies:
            if name in done:
                continue
            swap(model, weights[name])
            append_jsonl(path, _measure(name, target, draft, prompts, p))
            progress.update(1)
    rows = read_rows(path, Acceptance)
    record = Record(
        stage="speculate",
        parameters=p.model_dump(),
        seeds=[p.seed],
        inputs=inputs,
        counts={"planned": len(p.policies), "completed": len({row.policy for row in rows}), "failed": 0},
        summary={"draft": draft_name, "drafted": p.drafted},
        seconds=round(time.perf_counter() - began, 1),
        provenance=provenance(),
    )
    write_record(folder, record)
    return record


def _measure(
    name: str, target: Policy, draft: Policy, prompts: list[Prompt], p: SpeculateParameters
) -> list[Acceptance]:
    """A policy's rows: its own answers, read by both; and the first `live` of them decoded with the draft for real."""
    import torch

    answers = {
        row.key: row
        for batch in decode(
            target,
            prompts,
            max_new_tokens=p.max_new_tokens,
            temperature=p.temperature,
            batch_size=p.batch_size,
            seed=p.seed,
        )
        for row in batch
    }
    found = []
    for n, prompt in enumerate(prompts):
        ids = list(answers[prompt.key].ids)
        row = torch.tensor([[*prompt.ids, *ids]], device=target.model.device)
        with torch.inference_mode():
            # the logits before each of the answer's tokens
            both = [
                model(input_ids=row, logits_to_keep=len(ids) + 1).logits[0, :-1]
                for model in (target.model, draft.model)
            ]
            alpha, kl = acceptance(*(logits / (p.temperature or 1.0) for logits in both))
            agree = both[0].argmax(-1) == both[1].argmax(-1)
        live = _live(target.model, draft.model, prompt.ids, p, n % 2 == 0) if n < p.live else {}
        found.append(
            Acceptance(
                policy=name,
                problem_id=prompt.key[0],
                tokens=len(ids),
                alpha=float(alpha.mean()),
                kl=float(kl.mean()),
                agree=float(agree.float().mean()),
                **live,
            )
        )
    return found


def _live(
    target: PreTrainedModel, draft: PreTrainedModel, prompt: list[int], p: SpeculateParameters, first: bool
) -> dict[str, Any]:
    """Decode one prompt greedily with transformers' assisted generation, `first` or second, and once without; count the target's passes."""
    import torch

    ids = torch.tensor([prompt], device=target.device)
    passes = 0

    def count(*_: Any) -> None:
        nonlocal passes
        passes += 1

    draft.generation_config.num_assistant_tokens = p.drafted
    draft.generation_config.num_assistant_tokens_schedule = "constant"
    draft.generation_config.assistant_confidence_threshold = 0.0
    hook = target.register_forward_hook(count)
    try:
        seconds, outputs = [], []
        target.generate(
            ids, attention_mask=torch.ones_like(ids), assistant_model=draft, max_new_tokens=2, do_sample=False
        )  # type: ignore[operator]
        ways: list[PreTrainedModel | None] = [draft, None]
        for assistant in ways if first else ways[::-1]:
            passes = 0
            start = time.perf_counter()
            with torch.inference_mode():
                output = target.generate(  # type: ignore[operator]
                    ids,
                    attention_mask=torch.ones_like(ids),
                    assistant_model=assistant,
                    max_new_tokens=p.max_new_tokens,
                    do_sample=False,
                )
            seconds.append(time.perf_counter() - start)
            outputs.append((output[0, ids.shape[1] :].tolist(), passes))
    finally:
        hook.remove()
    if not first:
        seconds, outputs = seconds[::-1], outputs[::-1]
    (assisted, checked), (plain, _) = outputs
    return {
        "live_tokens": len(assisted),
        "live_passes": checked,
        "live_s": seconds[0],
        "plain_s": seconds[1],
        "live_equal": assisted == plain,
    }
