"""Why a policy's correct answers cost more or fewer seconds than the baseline's: an exact product, so that log shares add up.

Over all attempts of a policy, with R of N right, l tokens an attempt, M decoding passes, D seconds that these would take at the limit which
the machine's bandwidth and arithmetic set (see `tradeoffs.inference.roofline`), T seconds, T_dec of them after the first token:

    T / R = N/R * l * M/(N l) * D/M * T_dec/D * T/T_dec

that is attempts, length, passes a token (1 / (rows * utilisation * acceptance)), t_roof of a pass, 1 / eta, and the whole over its decoding
part (1 / phi). Every factor is a sum over a sum, so logarithms of ratios are shares of
the logarithm of the total in any order, without a residual.

Source: the identity is this study's own; cost of pass C/R is Erol et al. 2025, arXiv 2504.13359, with seconds for dollars.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from tradeoffs.analysis.resampling import Quantity

Array = NDArray[np.float64]

# factor -> (sum above, sum below); the first below and the last above give seconds per correct answer
FACTORS = {
    "attempts": ("graded", "passed"),
    "length": ("graded_tokens", "graded"),
    "batching": ("graded_passes", "graded_tokens"),
    "roofline": ("graded_roof", "graded_passes"),
    "efficiency": ("graded_decode_s", "graded_roof"),
    "prompt": ("graded_seconds", "graded_decode_s"),
}
# where an engine does not say how it batches: a server that others may use as well
COARSE = {
    "attempts": ("graded", "passed"),
    "length": ("graded_tokens", "graded"),
    "seconds a token": ("graded_seconds", "graded_tokens"),
}
# the two kinds of seconds of an attempt, each a product
PARTS = {
    "prompt": {
        "prompt length": ("graded_prompt_tokens", "graded"),
        "prompt speed": ("graded_prefill_s", "graded_prompt_tokens"),
    },
    "decoding": {name: FACTORS[name] for name in ("length", "batching", "roofline", "efficiency")},
}


def work(
    rows: pd.DataFrame,
    weight_bytes: float | None,
    kv_bytes_per_token: float | None,
    parameters: float = 0.0,
    ceilings: Mapping[str, float] | None = None,
) -> pd.DataFrame:
    """Add what each answer's decoding took: `decode_s`, `passes` and `roof`, missing where the engine does not tell.

    Args:
        rows: one row an answer: `prompt_tokens`, `tokens`, `slots`, `seconds`, `prefill_s`, `batch_size`.
        weight_bytes, kv_bytes_per_token, parameters: of the model, see `tradeoffs.inference.roofline.Traffic`.
        ceilings: the machine's `bytes_per_s` and `flops_per_s`; without them decoding counts as bound by memory alone, and `roof` is in
            bytes instead of seconds.

    `roof` of a pass is B c k / BW + max(2 N B / F, W / BW) for B rows of c live tokens; a row's part is that of its own keys and values
    and a share of the rest. A row that has stopped is read on until its batch ends, and so it counts here.

    A batch's passes are shared out by row like its seconds: one less than its slots, since the first token comes out of the prompt's pass.
    Where answers were rated (best of n), the judge's seconds are added to those of reading, which is what the judge does.
    """
    prefill = pd.to_numeric(rows["prefill_s"]) if "prefill_s" in rows else pd.Series(np.nan, rows.index)
    passes = (rows["slots"] - 1).clip(lower=0) / rows["batch_size"].where(prefill.notna())
    n = rows["slots"]
    context = ((n - 1) * rows["prompt_tokens"] + n * (n - 1) / 2).where(n > 0, 0)
    bandwidth, flops = (ceilings["bytes_per_s"], ceilings["flops_per_s"]) if ceilings else (1.0, np.inf)
    roof: Any = np.nan
    if weight_bytes is not None and kv_bytes_per_token is not None:
        once = np.maximum(weight_bytes / bandwidth, 2 * parameters * rows["batch_size"] / flops)
        roof = passes * once + kv_bytes_per_token * context / bandwidth
    judged = rows["judge_s"] if "judge_s" in rows else 0.0
    decode = rows["seconds"] - prefill
    return rows.assign(
        prefill_s=prefill + judged, seconds=rows["seconds"] + judged, decode_s=decode, passes=passes, roof=roof
    )


def ratios(
    own: Mapping[str, Quantity], other: Mapping[str, Quantity], factors: Mapping[str, tuple[str, str]]
) -> dict[str, Quantity]:
    """The ratio of each factor between two policies.

    Args:
        own, other: sums of the policy and of the baseline.
        factors: `FACTORS` or `COARSE`.
    """
    return {name: (own[a] / own[b]) / (other[a] / other[b]) for name, (a, b) in factors.items()}


def log_mean(x: ArrayLike, y: ArrayLike) -> Array:
    """Logarithmic mean (x - y) / (ln x - ln y), x where both are equal.

    Written with sinh, since the quotient loses its digits where x and y are close: with r = ln(x / y), sqrt(x y) sinh(r/2) / (r/2).
    """
    a, b = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    half = np.log(a / b) / 2
    near = np.abs(half) < 1e-4
    safe = np.where(near, 1.0, half)
    return np.asarray(np.sqrt(a * b) * np.where(near, 1 + half**2 / 6, np.sinh(safe) / safe))


def lmdi(
    own: Mapping[str, Mapping[str, ArrayLike]], other: Mapping[str, Mapping[str, ArrayLike]]
) -> dict[tuple[str, str], Array]:
    """Split ln(total of `own` / total of `other`) where the total is a sum of products: logarithmic mean Divisia index.

    Args:
        own, other: part -> factor -> value (positive; arrays of equal shape, such as bootstrap draws, are taken element by element). A part
            is the product of its factors, the total the sum of the parts.

    Returns:
        (part, factor) -> contribution. They add up to the logarithm of the ratio of the totals, without a residual.

    Raises:
        ValueError: a factor is not positive (NaN stays NaN): zero parts have no logarithm and must be pooled with others.

    Source: Ang 2004, Energy Policy 32 (LMDI-I), weights L(h_k, h_k') / L(h, h'); Wood & Lenzen 2006, Energy Policy 34 (zeros).
    """
    values = {
        side: {p: {f: np.asarray(v, dtype=np.float64) for f, v in factors.items()} for p, factors in parts.items()}
        for side, parts in (("own", own), ("other", other))
    }
    for parts in values.values():
        for part, factors in parts.items():
            for factor, value in factors.items():
                if np.any(value <= 0):
                    raise ValueError(
                        f"{part}, {factor}: got {np.nanmin(value)}; accepts positive values; pool the part with another"
                    )
    products = {
        side: {part: np.prod(list(factors.values()), axis=0) for part, factors in parts.items()}
        for side, parts in values.items()
    }
    whole = log_mean(sum(products["own"].values()), sum(products["other"].values()))
    return {
        (part, factor): log_mean(products["own"][part], products["other"][part])
        / whole
        * np.log(value / values["other"][part][factor])
        for part, factors in values["own"].items()
        for factor, value in factors.items()
    }
