"""The registry of methods, and what is the same for all of them: claim the folder, train, record."""

from __future__ import annotations

import importlib
import time
from pathlib import Path

from tradeoffs.parameters import AlignParameters
from tradeoffs.records import (
    Record,
    TrainingStep,
    adapter_digest,
    claim,
    digest,
    provenance,
    read_record,
    read_rows,
    write_record,
)

# name -> module with `train(parameters, folder) -> dict`; a new method is a file and a line here
METHODS: dict[str, str] = {
    "sft": "tradeoffs.alignment.sft",
    "ppo": "tradeoffs.alignment.ppo",
    "rloo": "tradeoffs.alignment.rloo",
    "dpo": "tradeoffs.alignment.dpo",
    "rsft": "tradeoffs.alignment.rsft",
    "rlvr": "tradeoffs.alignment.rlvr",
    "rrhf": "tradeoffs.alignment.rrhf",
    "scalarization": "tradeoffs.alignment.scalarization",
    "dpa": "tradeoffs.alignment.dpa",
}


def align(parameters: AlignParameters) -> Record:
    """Train one policy and write `adapter/`, `steps.jsonl` and `record.json` into `parameters.out`.

    A finished folder is returned as it is; an interrupted one goes on from its last checkpoint or last sampled batch.

    Raises:
        ValueError: the folder holds a run with other parameters, or a start adapter is missing.
        FloatingPointError: the loss is no number; the last checkpoint is kept.
    """
    from tradeoffs.models import resolve_device

    resolve_device(parameters.device)
    files = {name: getattr(parameters, name) for name in ("instructions", "preferences") if getattr(parameters, name)}
    inputs = {"start_sha256": adapter_digest(parameters.start)}
    inputs |= {f"{name}_sha256": digest(path) for name, path in files.items()}
    folder = claim(Path(parameters.out), parameters.model_dump(exclude={"workers"}) | inputs)
    if (folder / "record.json").exists():
        return read_record(folder)
    began = time.perf_counter()
    summary = importlib.import_module(METHODS[parameters.method]).train(parameters, folder)
    steps = read_rows(folder / "steps.jsonl", TrainingStep)
    record = Record(
        stage="align",
        parameters=parameters.model_dump(),
        seeds=[parameters.seed],
        inputs=inputs,
        counts={
            "planned": parameters.steps * (parameters.rounds if parameters.in_rounds else 1),
            "completed": sum(s.kind == "step" for s in steps),
            "failed": 0,
        },
        summary=summary,
        seconds=round(time.perf_counter() - began, 1),
        provenance=provenance(),
    )
    write_record(folder, record)
    return record
