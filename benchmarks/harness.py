"""What does measuring cost? The same decoding with and without the harness, interleaved in random order.

  engine       `engine.decode_batch` at a forced length (times of every token, decoding of texts; no stop texts, prompts of one length)
               against transformers' `generate` alone
  throughput   what the timing stage's clock shows against the wall time of a bare loop over the model's forward pass

A third figure is what the timing stage does between its timings (weights swapped, load, clocks and energy read): it is no part of what is
timed, but of how long one waits.

    python benchmarks/harness.py
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tradeoffs.analysis.throughput import t_interval
from tradeoffs.inference.engine import Prompt, decode_batch
from tradeoffs.inference.throughput import Arm, Bench
from tradeoffs.models import load
from tradeoffs.parameters import ThroughputParameters
from tradeoffs.progress import bar
from tradeoffs.records import provenance, write_text

ROWS, PROMPT_TOKENS, NEW_TOKENS = 8, 64, 24
BOUND = 0.01


def ratio(above: Sequence[float], below: Sequence[float]) -> dict[str, Any]:
    """Geometric mean of paired ratios with Student's 95 % interval."""
    found = t_interval(np.log(np.array(above) / np.array(below)), "ratio")
    return {"ratio": found.estimate, "low": found.low, "high": found.high}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, write `harness.csv` and `harness.json`."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--results", type=Path, default=Path("results/benchmarks"))
    a = parser.parse_args(argv)
    import torch
    from transformers import DynamicCache

    policy = load("embedded")
    asked = {"new_tokens": NEW_TOKENS, "batch_sizes": [ROWS], "prompt_tokens": PROMPT_TOKENS}
    with tempfile.TemporaryDirectory() as out:
        bench = Bench(ThroughputParameters(out=out, **asked))
    ids = bench.prompts(ROWS, PROMPT_TOKENS)
    prompts = [Prompt((n,), row) for n, row in enumerate(ids.tolist())]

    def generate() -> float:
        start = time.perf_counter()
        with torch.inference_mode():
            policy.model.generate(  # type: ignore[operator]
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=NEW_TOKENS,
                min_new_tokens=NEW_TOKENS,
                do_sample=False,
                pad_token_id=policy.tokenizer.pad_token_id,
            )
        return time.perf_counter() - start

    def engine() -> float:
        start = time.perf_counter()
        decode_batch(
            policy, prompts, max_new_tokens=NEW_TOKENS, temperature=0.0, top_p=1.0, number=0, seed=0, forced=True
        )
        return time.perf_counter() - start

    def loop() -> float:
        cache = DynamicCache(config=bench.model.config)
        start = time.perf_counter()
        with torch.inference_mode():
            token = ids
            for _ in range(NEW_TOKENS):
                logits = bench.model(input_ids=token, past_key_values=cache, use_cache=True, logits_to_keep=1).logits
                token = logits[:, -1:].argmax(-1)
        return time.perf_counter() - start

    waited: list[float] = []

    def throughput() -> float:
        start = time.perf_counter()
        (row,) = bench.time([Arm("base", "base")], (ROWS, PROMPT_TOKENS, NEW_TOKENS), random.Random())
        seconds = float(row["prefill_s"] + row["decode_s"])
        waited.append((time.perf_counter() - start - seconds) / seconds)
        return seconds

    ways: dict[str, Callable[[], float]] = {"generate": generate, "engine": engine, "loop": loop}
    ways["throughput"] = throughput
    for way in ways.values():
        way()  # warm-up
    waited.clear()
    rows = []
    for number in bar(range(a.rounds), total=a.rounds, what="harness", unit="round"):
        for name in random.Random(f"round/{number}").sample(list(ways), len(ways)):
            rows.append({"round": number, "way": name, "seconds": ways[name]()})
    table = pd.DataFrame(rows)
    seconds = {str(name): list(part["seconds"]) for name, part in table.groupby("way")}
    found = {
        "engine": ratio(seconds["engine"], seconds["generate"]),
        "throughput": ratio(seconds["throughput"], seconds["loop"]),
        "between timings": {"share": float(np.median(waited))},
    }
    for name, against in (("engine", "generate"), ("throughput", "loop")):
        one = found[name]
        verdict = "costs less than 1 %" if one["high"] < 1 + BOUND else "not shown to cost less than 1 %"
        print(f"{name} / {against}: {one['ratio']:.4f} ({one['low']:.4f} to {one['high']:.4f}): {verdict}")
    print(f"between timings, of the time timed: {100 * found['between timings']['share']:.1f} %")
    setting = {"rows": ROWS, "prompt_tokens": PROMPT_TOKENS, "new_tokens": NEW_TOKENS, "rounds": a.rounds}
    told = setting | {"found": found, "provenance": provenance().model_dump()}
    write_text(a.results / "harness.csv", table.to_csv(index=False))
    write_text(a.results / "harness.json", json.dumps(told, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
