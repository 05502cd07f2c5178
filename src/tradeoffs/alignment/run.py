"""What is the same for all methods: claim the folder, train, record."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tradeoffs import processes
from tradeoffs.methods import METHODS
from tradeoffs.parameters import ASIDE, AlignParameters
from tradeoffs.preferences.data import identify
from tradeoffs.records import (
    Record,
    TrainingStep,
    adapter_digest,
    claim,
    provenance,
    read_record,
    read_rows,
    write_record,
)

IDLE = (
    "nothing was learnt, every gradient was zero: no sampled response earned another reward than its fellows; give a start policy that "
    "succeeds now and then, easier prompts, more samples or a lower temperature"
)


def align(parameters: AlignParameters) -> Record:
    """Train one policy and write `adapter/`, `steps.jsonl` and `record.json` into `parameters.out`.

    A finished folder is returned as it is; an interrupted one goes on from its last checkpoint or last sampled batch. With several
    `processes`, or a configuration for accelerate, the training runs under `accelerate launch`, and this waits for it.

    Raises:
        RuntimeError: the processes under accelerate failed; the message has their last words.
        ValueError: the folder holds a run with other parameters, or a start adapter is missing.
        FloatingPointError: the loss is no number; the last checkpoint is kept, and the message names step and sample.
        MemoryError: a batch does not fit; the message says which would.
    """
    from tradeoffs.models import resolve_device, resolve_dtype

    if (parameters.processes > 1 or parameters.accelerate) and "WORLD_SIZE" not in os.environ:
        return _launched(parameters)
    resolve_device(parameters.device)
    if parameters.start and adapter_digest(parameters.start) is None:
        raise ValueError(f"start: {parameters.start!r} holds no adapter; run the `align` stage that writes it")
    data = [name for name in ("instructions", "preferences", "reward_data") if getattr(parameters, name)]
    inputs = {"start_sha256": adapter_digest(parameters.start)}
    inputs |= {name: identify(getattr(parameters, name)) for name in data}
    # How the work is divided changes nothing but rounding, and looking on changes nothing, so that a run may go on with other values.
    asked = parameters.model_dump(exclude=ASIDE)
    folder = processes.main_first(
        lambda: claim(Path(parameters.out), asked | {f"{name}_input": value for name, value in inputs.items()})
    )
    if (folder / "record.json").exists():
        if processes.is_main():
            _remove_checkpoints(folder)  # of a run that was killed while it removed them
        return read_record(folder)
    began = time.perf_counter()
    summary = importlib.import_module(METHODS[parameters.method]).train(parameters, folder)
    steps = read_rows(folder / "steps.jsonl", TrainingStep)
    done = sum(row.kind == "step" for row in steps)
    if all(row.grad_norm == 0 for row in steps if row.kind == "step"):
        summary["warning"] = IDLE
    record = Record(
        stage="align",
        parameters=parameters.model_dump(),
        seeds=[parameters.seed],
        inputs=inputs,
        counts={
            "planned": done if parameters.token_budget else parameters.steps * len(summary.get("rounds") or [None]),
            "completed": done,
            "failed": 0,
        },
        summary=summary
        | {
            "tokens": sum(row.tokens or 0 for row in steps),
            "dtype": str(resolve_dtype(parameters.dtype)).removeprefix("torch."),
        },
        seconds=round(time.perf_counter() - began, 1),
        provenance=provenance(),
    )
    if processes.is_main():
        write_record(folder, record)
        _remove_checkpoints(folder)
    processes.wait()
    return record


def _remove_checkpoints(folder: Path) -> None:
    """Make room when the record is written: until then a run that is killed goes on from them."""
    for checkpoints in (folder / "checkpoints", *folder.glob("round-*/checkpoints")):
        shutil.rmtree(checkpoints, ignore_errors=True)


def _launched(parameters: AlignParameters) -> Record:
    """Train under `accelerate launch`, passing on what the processes print."""
    words = [sys.executable, "-m", "accelerate.commands.launch"]
    if parameters.accelerate:
        words += ["--config_file", parameters.accelerate]
    else:
        # where there is no GPU this starts processes on the CPU that talk through gloo
        words += ["--multi_gpu", "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
        words += ["--main_process_port", "0"]
    if parameters.processes > 1:
        words += ["--num_processes", str(parameters.processes)]
    threads = max(1, (os.cpu_count() or 1) // parameters.processes)
    environment = {"OMP_NUM_THREADS": str(threads)} | os.environ
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(json.dumps(parameters.model_dump()))
        file.flush()
        words += ["-m", "tradeoffs.cli", "align", file.name]
        last, why = list[str](), ""
        with subprocess.Popen(
            words, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as running:
            assert running.stdout is not None
            for line in running.stdout:
                print(line, end="", flush=True)
                last, why = [*last[-20:], line], why or (line.strip() if line.startswith("error: ") else "")
    if running.returncode:
        told = why or "".join(last).strip()
        raise RuntimeError(
            f"accelerate: {parameters.processes} processes ended with status {running.returncode}: {told}"
        )
    return read_record(Path(parameters.out))
