"""What is the cost model worth, and what does it say of profiles that nobody has run? From the records of published jobs; takes seconds.

Each published job whose machine's ceilings were measured is foretold from the others (`tradeoffs.costs`); then the profiles for GPUs are
costed on one. Run it again when results are published anew.

    python benchmarks/costs.py              # writes results/benchmarks/costs.json
    python benchmarks/costs.py --on a100
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from tradeoffs import costs
from tradeoffs.parameters import MODELS
from tradeoffs.profiles import load_profile
from tradeoffs.records import Record, provenance, write_text

UNRUN = ("gpu", "paper")


def main(argv: Sequence[str] | None = None) -> int:
    """Foretell, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--on", default="h100", choices=list(costs.DEVICES), help="GPU for the profiles that nobody has run"
    )
    parser.add_argument("--results", type=Path, default=Path("results"))
    a = parser.parse_args(argv)
    paths = sorted(a.results.glob("*/stages/*.json"))
    # a profile that extends another has the records of the training that it took over
    jobs = {}
    for path in paths:
        record = Record.model_validate(json.loads(path.read_text(encoding="utf-8")))
        jobs[record.stage, record.provenance.created_utc, str(record.parameters.get("out"))] = path, record
    known = costs.runs((path.stem.partition("-")[2], record) for path, record in jobs.values())
    told = costs.foretold(known)
    if not told:
        print(
            f"error: {a.results} holds no published jobs on a machine whose ceilings were measured: make study",
            file=sys.stderr,
        )
        return 2
    stages = []
    for stage, on_gpu in itertools.product(MODELS, (False, True)):
        own = [t for t in told if t.run.stage == stage and bool(t.run.launches) == on_gpu]
        if own:
            line = {"stage": stage + ", on a GPU" * on_gpu, "jobs": len(own), "factor": costs.typical_factor(own)}
            stages.append(
                line | {"measured_s": sum(t.run.seconds for t in own), "foretold_s": sum(t.seconds for t in own)}
            )
    device = costs.DEVICES[a.on]
    elsewhere = []
    for name in UNRUN:
        lines = costs.on(load_profile(name), device, known)
        print(f"{name} on {a.on}:\n{costs.text(lines, device, known)}\n")
        # what nothing is known of is the analysis, which takes minutes at most
        seconds = sum(line["seconds"] for line in lines if line["seconds"] == line["seconds"])
        held = max(line["memory"] for line in lines)
        elsewhere.append(
            {"profile": name, "jobs": sum(line["jobs"] for line in lines), "memory": held, "seconds": seconds}
        )
    found = {
        "on": a.on,
        "factor": costs.typical_factor([t for t in told if not t.run.launches]),
        "gpu_factor": costs.typical_factor([t for t in told if t.run.launches]),
        "memory_factor": costs.memory_factor(known),
        "jobs": sum(not t.run.launches for t in told),
    }
    found |= {"stages": stages, "elsewhere": elsewhere, "provenance": provenance().model_dump()}
    write_text(a.results / "benchmarks" / "costs.json", json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
