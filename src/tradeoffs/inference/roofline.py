"""What the machine could do at best: bytes that a decoding step has to move, and the two ceilings, measured here.

A decoding step reads every weight and the live context's keys and values once, so it lasts at least

    t_roof = K k / BW + max(W / BW, 2 N B / F)

with W bytes of weights, K tokens of live context over all rows, k bytes of keys and values a token, BW bytes/s, N parameters, B rows, F
FLOP/s. At small B the first term decides. Both ceilings come from this machine (a copy kernel, a matrix product), not from a data sheet.

Source: Scaling Book, inference chapter (KV bytes, step time); gpt-fast (bandwidth achieved; embeddings that are tied count as LM head).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from tradeoffs.inference.engine import synchronise
from tradeoffs.progress import bar

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

COPIED_BYTES = 2**28  # well beyond any cache
ORDER, ORDER_ON_GPU = (
    2048,
    8192,
)  # of the matrices multiplied; on a GPU so large that starting the product is no part of it
REPEATS = 8


class Traffic(NamedTuple):
    """What a decoding step has to read.

    Attributes:
        parameters: weights that take part in a product; an input embedding that is not the LM head as well is only looked up in.
        weight_bytes: W.
        kv_bytes_per_token: k = 2 L n_kv d_head bytes an element.
    """

    parameters: int
    weight_bytes: int
    kv_bytes_per_token: int


class Ceilings(NamedTuple):
    """The machine's two limits, measured: bytes/s of a copy (read and written), FLOP/s of a square matrix product."""

    bytes_per_s: float
    flops_per_s: float


def traffic(model: PreTrainedModel) -> Traffic:
    """Count what a decoding step of a model has to read."""
    config: Any = model.config
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    element = next(model.parameters()).element_size()
    looked_up = None if config.tie_word_embeddings else model.get_input_embeddings()
    skipped = {id(weight) for weight in looked_up.parameters()} if looked_up is not None else set()
    read = [weight for weight in model.parameters() if id(weight) not in skipped]
    return Traffic(
        sum(weight.numel() for weight in read),
        sum(weight.numel() * weight.element_size() for weight in read),
        2 * config.num_hidden_layers * heads * width * element,
    )


def limit_seconds(of: Traffic, at: Ceilings, passes: float, rows: float, context: float) -> float:
    """Seconds of `passes` decoding steps at the machine's limit: weights are read or multiplied, keys and values come on top.

    Args:
        rows: decoded together.
        context: live context tokens, summed over rows and steps.
    """
    once = max(of.weight_bytes / at.bytes_per_s, 2 * of.parameters * rows / at.flops_per_s)
    return passes * once + of.kv_bytes_per_token * context / at.bytes_per_s


def context_tokens(prompt_tokens: int, tokens: int) -> int:
    """Live context of one row, summed over its decoding steps.

    The first token comes out of the prompt's pass; the step that makes token t + 1 reads the prompt and t tokens.
    """
    return (tokens - 1) * prompt_tokens + tokens * (tokens - 1) // 2 if tokens else 0


def measure_ceilings(dtype: torch.dtype, device: torch.device) -> Ceilings:
    """Measure both ceilings: the best of some repetitions, since whatever disturbs makes them slower."""
    import torch

    source = torch.empty(COPIED_BYTES, dtype=torch.uint8, device=device).random_(0, 255)
    target = torch.empty_like(source)
    order = ORDER_ON_GPU if device.type == "cuda" else ORDER
    factors = [torch.randn(order, order, dtype=torch.float32, device=device).to(dtype) for _ in range(2)]
    with bar(total=2, what="ceilings of the machine", unit="kernel") as progress:
        copied = _fastest(lambda: target.copy_(source), device)
        progress.update(1)
        multiplied = _fastest(lambda: factors[0] @ factors[1], device)
        progress.update(1)
    return Ceilings(2 * COPIED_BYTES / copied, 2 * order**3 / multiplied)


def _fastest(kernel: Any, device: torch.device) -> float:
    import torch

    best = float("inf")
    with torch.inference_mode():
        for _ in range(REPEATS + 1):  # the first is a warm-up and never the best
            synchronise(device)
            start = time.perf_counter()
            kernel()
            synchronise(device)
            best = min(best, time.perf_counter() - start)
    return best
