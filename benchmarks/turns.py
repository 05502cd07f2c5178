"""What do turns bring? The same policy under many names, timed a whole answer at a time and a token at a time.

All names have the same weights, so that within a block their seconds should be equal; how far they scatter is what a comparison of
policies has to see through. Blocks of both kinds come in random order, and take as long.

    python benchmarks/turns.py
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import f

from tradeoffs.analysis.throughput import t_interval
from tradeoffs.inference.throughput import Arm, Bench
from tradeoffs.parameters import ThroughputParameters
from tradeoffs.progress import bar
from tradeoffs.records import provenance, write_text

COPIES, PROMPT_TOKENS, NEW_TOKENS = 8, 64, 20
ROWS = (1, 8)
WAYS = {"whole": 0, "turns": 1}  # and the tokens of a turn


def scatter(table: pd.DataFrame) -> tuple[float, int]:
    """Standard deviation within a block of the logarithm of seconds, and its degrees of freedom.

    Args:
        table: columns `block`, `policy`, `seconds`.
    """
    logs = np.log(table.pivot(index="block", columns="policy", values="seconds").to_numpy())
    rest = logs - logs.mean(axis=1, keepdims=True) - logs.mean(axis=0) + logs.mean()
    freedom = (logs.shape[0] - 1) * (logs.shape[1] - 1)
    return math.sqrt(float((rest**2).sum()) / freedom), freedom


def compare(table: pd.DataFrame) -> dict[str, Any]:
    """Both scatters, their ratio with the F distribution's 95 % interval, and how the pace itself changes.

    Args:
        table: of one number of rows: columns `way`, `block`, `policy`, `seconds`.
    """
    parts = {way: table[table["way"] == way] for way in WAYS}
    (whole, n), (turns, m) = (scatter(parts[way]) for way in WAYS)
    low, high = (whole / turns / math.sqrt(f.ppf(p, n, m)) for p in (0.975, 0.025))
    pace = [np.log(part.groupby("block")["seconds"].mean()).to_numpy() for part in parts.values()]
    seconds = t_interval(pace[1] - pace[0], "ratio")
    return {
        "whole": whole,
        "turns": turns,
        "ratio": {"ratio": whole / turns, "low": low, "high": high},
        "seconds": {"ratio": seconds.estimate, "low": seconds.low, "high": seconds.high},
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, write `turns.csv` and `turns.json`."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--blocks", type=int, default=8, help="of each kind, at each number of rows")
    parser.add_argument("--results", type=Path, default=Path("results/benchmarks"))
    a = parser.parse_args(argv)
    if a.blocks < 2:
        parser.error(f"--blocks: got {a.blocks}; accepts 2 or more, for a scatter between blocks")
    setting = {"prompt_tokens": PROMPT_TOKENS, "new_tokens": NEW_TOKENS}
    with tempfile.TemporaryDirectory() as out:
        benches = {way: Bench(ThroughputParameters(out=out, turn_tokens=turn, **setting)) for way, turn in WAYS.items()}
    arms = [Arm(str(number), "base") for number in range(COPIES)]
    jobs = [(way, rows, block) for block in range(a.blocks) for way in WAYS for rows in ROWS]
    made = []
    for way, rows in ((way, rows) for way in WAYS for rows in ROWS):
        benches[way].time(arms[:1], (rows, PROMPT_TOKENS, NEW_TOKENS), random.Random())  # warm-up
    for way, rows, block in bar(random.Random(0).sample(jobs, len(jobs)), total=len(jobs), what="turns", unit="block"):
        rng = random.Random(f"{way}/{rows}/{block}")
        groups = [arms] if WAYS[way] else [[arm] for arm in rng.sample(arms, COPIES)]
        told = [row for group in groups for row in benches[way].time(group, (rows, PROMPT_TOKENS, NEW_TOKENS), rng)]
        shared = {"way": way, "rows": rows, "block": block}
        made += [shared | {"policy": row["policy"], "seconds": row["prefill_s"] + row["decode_s"]} for row in told]
    table = pd.DataFrame(made)
    found = {str(rows): compare(table[table["rows"] == rows]) for rows in ROWS}
    for size, one in found.items():
        ratio, pace = one["ratio"], one["seconds"]
        print(
            f"{size} rows: scatter {100 * one['whole']:.1f} % whole, {100 * one['turns']:.1f} % in turns: "
            f"x {ratio['ratio']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f}); "
            f"seconds in turns x {pace['ratio']:.3f} ({pace['low']:.3f} to {pace['high']:.3f})"
        )
    told = setting | {"copies": COPIES, "blocks": a.blocks, "found": found, "provenance": provenance().model_dump()}
    write_text(a.results / "turns.csv", table.to_csv(index=False))
    write_text(a.results / "turns.json", json.dumps(told, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
