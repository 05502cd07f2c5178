"""Hands answers to fork servers and collects verdicts.

Answers are grouped by what their problems import. Two servers (by default) are busy at once; each has the libraries of
one group loaded and forks a child for every answer. A server stays warm for the next call, because training asks for
rewards again and again.
"""

from __future__ import annotations

import hashlib
import os
import queue
import select
import shutil
import struct
import subprocess
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple, get_args

from tradeoffs.grading import sandbox, worker
from tradeoffs.grading.environment import GradingError, describe, find_python, font_cache, missing_data
from tradeoffs.grading.imports import Imports, build_program, problem_imports, split_quiet
from tradeoffs.grading.plan import Batch, Plan

if TYPE_CHECKING:
    from tradeoffs.records import Verdict

SCRATCH_BYTES = 512 << 20
MAX_PROCESSES, MAX_THREADS = 64, 1024
START_SECONDS = 180.0
GRACE_SECONDS = 30.0


class Job(NamedTuple):
    """One answer to grade: `code` is already extracted; `problem` is in the DS-1000 format."""

    problem_id: int
    sample: int
    code: str
    problem: Mapping[str, Any]


class ServerDied(Exception):
    """The fork server ended without answering."""


class Server:
    """One fork server behind its walls.

    Args:
        room: what all servers of a grader have in common.
        imports: what it loads before its first job.
    """

    def __init__(self, room: Room, imports: Imports) -> None:
        self.imports = imports
        self._own: str | None = tempfile.mkdtemp(prefix="grading-") if room.level == "limits" else None
        self._errors: IO[bytes] = tempfile.TemporaryFile()
        argv = [str(room.python), "-I", "-B", "-W", "ignore", worker.__file__]
        self._process = subprocess.Popen(
            sandbox.command(argv, room.level, SCRATCH_BYTES, room.readable),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, bufsize=0,
            env=room.environment, cwd="/", start_new_session=True,
        )  # fmt: skip
        start = {
            "imports": imports,
            "scratch": self._own or sandbox.SCRATCH,
            "fonts": str(room.fonts) if room.fonts else None,
        }
        limits = {"memory": room.memory, "processes": MAX_PROCESSES, "threads": MAX_THREADS, "file_size": SCRATCH_BYTES}
        try:
            self._ask({**start, **limits}, START_SECONDS)
        except ServerDied:
            self._errors.seek(0)
            said = self._errors.read().decode(errors="replace").strip().splitlines()
            self.close()
            raise GradingError(
                f"grading server: does not start ({said[-1] if said else 'no message'}); try `make setup`"
            ) from None
        except BaseException:
            self.close()
            raise

    def _read(self, size: int, deadline: float) -> bytes:
        assert self._process.stdout is not None
        fd, data = self._process.stdout.fileno(), b""
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        while len(data) < size:
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise ServerDied(f"no answer after {GRACE_SECONDS:g} s of grace")
            part = os.read(fd, size - len(data))
            if not part:
                raise ServerDied("it ended without a message")
            data += part
        return data

    def _ask(self, message: dict[str, Any], seconds: float) -> dict[str, Any]:
        assert self._process.stdin is not None
        deadline = time.monotonic() + seconds
        try:
            worker.write_message(self._process.stdin.fileno(), message)
            size = struct.unpack(">I", self._read(4, deadline))[0]
            answer: dict[str, Any] = worker.parse_message(self._read(size, deadline))
        except (OSError, ValueError) as error:  # closed meanwhile, by the server's end or by an interrupt
            raise ServerDied("it ended without a message") from error
        if "gave_up" in answer:
            raise ServerDied(answer["gave_up"])
        return answer

    def run(self, program: str, time_limit: float, latent: Sequence[str] = ()) -> dict[str, Any]:
        """Run a program; raises ServerDied where the server does not answer in time.

        Args:
            program: what decides the verdict.
            time_limit: seconds.
            latent: import statements to have loaded, out of sight until the program imports the same.
        """
        job = {"program": program, "time_limit": time_limit, "latent": list(latent)}
        return self._ask(job, time_limit + GRACE_SECONDS)

    @property
    def alive(self) -> bool:
        """Whether the server still runs."""
        return self._process.poll() is None

    def close(self) -> None:
        """End the server and everything it started."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            # At level `limits` the server needs a moment to end its children; behind walls the kernel does it.
            self._process.wait(timeout=5 if self._own else 0.5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()
        if self._own:
            shutil.rmtree(self._own, ignore_errors=True)


class Room(NamedTuple):
    """What all servers of a grader have in common (memory in bytes)."""

    python: Path
    level: sandbox.Level
    readable: tuple[str, ...]
    environment: dict[str, str]
    fonts: Path | None
    memory: int


def _environment(seaborn_data: str | None, sklearn_data: str | None) -> dict[str, str]:
    """Make the environment of a server anew: nothing of the caller's, no secrets among it."""
    variables = {
        "PATH": os.defpath,
        "LANG": "C.UTF-8",
        "MPLBACKEND": "Agg",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "-1",
        **{name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")},
    }
    data = {"SEABORN_DATA": seaborn_data, "SCIKIT_LEARN_DATA": sklearn_data}
    return variables | {name: value for name, value in data.items() if value}


def _choose_level(python: Path, readable: Sequence[str], require: str | None) -> sandbox.Level:
    known = get_args(sandbox.Level)
    if require is not None and require not in known:
        raise ValueError(f"require_isolation: got {require!r}; accepts one of {', '.join(known)}, or None")
    level, reasons = sandbox.probe(str(python), readable)
    if require is not None and known.index(level) > known.index(require):
        raise GradingError(f"require_isolation: {require} is asked for, this machine reaches {level} ({reasons})")
    if level == "limits":
        warnings.warn(
            "answers run WITHOUT a sandbox: model-written code can read your files and reach the network, only its "
            f"time, memory and processes are limited ({reasons}); install bubblewrap, allow user namespaces, or use a "
            "container",
            stacklevel=4,
        )
    return level


class Grader:
    """Grades answers; a context manager that keeps its servers warm between calls.

    Args:
        python: interpreter of the grading environment; see `environment.find_python` for the default.
        workers: servers busy at once.
        time_limit: seconds for one answer, wall clock.
        memory_gib: memory of one answer, GiB.
        require_isolation: the least isolation level accepted; None takes what the machine offers and warns.
        seaborn_data: folder with seaborn's data sets (CSV); default the variable SEABORN_DATA.
        keep_servers: idle servers kept warm.

    Attributes:
        level: the isolation level reached.

    Raises:
        ValueError: an argument is out of range, or there is no grading environment.
        GradingError: the environment does not run, or the isolation asked for cannot be had.
    """

    def __init__(
        self,
        python: str | Path | None = None,
        workers: int = 2,
        time_limit: float = 120.0,
        memory_gib: float = 8,
        require_isolation: sandbox.Level | None = None,
        seaborn_data: str | Path | None = None,
        keep_servers: int = 6,
    ) -> None:
        for name, value in {"workers": workers, "time_limit": time_limit, "memory_gib": memory_gib}.items():
            if not value > 0:
                raise ValueError(f"{name}: got {value!r}; accepts a number greater than 0")
        found = find_python(python)
        self.workers, self.time_limit, self.keep_servers = int(workers), float(time_limit), keep_servers
        named = seaborn_data or os.environ.get("SEABORN_DATA")
        self._seaborn = str(Path(named).resolve()) if named else None
        self._sklearn = os.environ.get("SCIKIT_LEARN_DATA")
        fonts = font_cache(found)
        readable = [*describe(found)[0], *worker.FILES, *(str(p) for p in (fonts, self._seaborn, self._sklearn) if p)]
        self.level: sandbox.Level = _choose_level(found, readable, require_isolation)
        environment = _environment(self._seaborn, self._sklearn)
        self._room = Room(found, self.level, tuple(readable), environment, fonts, int(memory_gib * 2**30))
        self._idle: list[Server] = []  # the least recently used first
        self._busy: set[Server] = set()
        self._lock = threading.Lock()
        self._closed = False

    def __enter__(self) -> Grader:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End all servers."""
        with self._lock:
            self._closed = True
            servers, self._idle, self._busy = [*self._idle, *self._busy], [], set()
        for server in servers:
            server.close()

    # ------------------------------------------------------------ servers

    def _acquire(self, imports: Imports) -> Server:
        with self._lock:
            dead = [server for server in self._idle if not server.alive]
            self._idle = [server for server in self._idle if server.alive]
            for server in reversed(self._idle):
                if server.imports == imports:
                    self._idle.remove(server)
                    self._busy.add(server)
                    return server
        for server in dead:
            server.close()
        server = Server(self._room, imports)
        with self._lock:
            if not self._closed:
                self._busy.add(server)
                return server
        server.close()
        raise ServerDied("the grader was closed")

    def _release(self, server: Server, works: bool = True) -> None:
        with self._lock:
            if server not in self._busy:
                return
            self._busy.remove(server)
            if works:
                self._idle.append(server)
            over = [self._idle.pop(0) for _ in range(len(self._idle) - self.keep_servers)] if works else [server]
        for unwanted in over:
            unwanted.close()

    # ------------------------------------------------------------ grading

    def grade(self, jobs: Sequence[Job], on_verdict: Callable[[Verdict], None] | None = None) -> list[Verdict]:
        """Grade answers.

        Args:
            jobs: the answers; an answer that occurs twice for a problem runs once.
            on_verdict: called in the caller's thread with each verdict as it is reached.

        Returns:
            One verdict a job, in the jobs' order.

        Raises:
            GradingError: no server can be started.
        """
        from tradeoffs.records import Verdict

        self._closed = False
        verdicts: list[Verdict | None] = [None] * len(jobs)

        def settle(indices: Sequence[int], result: Mapping[str, Any]) -> None:
            for index in indices:
                verdict = Verdict(problem_id=jobs[index].problem_id, sample=jobs[index].sample, **result)
                verdicts[index] = verdict
                if on_verdict is not None:
                    on_verdict(verdict)

        same = self._same(jobs)
        groups: dict[Imports, list[int]] = {}
        for first, indices in same.items():
            missing = missing_data(jobs[first].problem, self._seaborn, self._sklearn)
            if missing:
                settle(indices, {"status": "unavailable", "detail": missing, "seconds": 0.0})
            else:
                groups.setdefault(problem_imports(jobs[first].problem), []).append(first)
        for first, result in self._results(jobs, groups):
            settle(same[first], result)
        return [verdict for verdict in verdicts if verdict is not None]

    @staticmethod
    def _same(jobs: Sequence[Job]) -> dict[int, list[int]]:
        """Find identical jobs: the index of the first one -> the indices of all."""
        first: dict[bytes, int] = {}
        same: dict[int, list[int]] = {}
        for index, job in enumerate(jobs):
            key = hashlib.sha256(
                repr((job.problem["code_context"], job.problem.get("prompt"), job.code)).encode(errors="replace")
            )
            same.setdefault(first.setdefault(key.digest(), index), []).append(index)
        return same

    def _results(self, jobs: Sequence[Job], groups: Mapping[Imports, Sequence[int]]) -> Any:
        """Run the jobs on threads, one a busy server; yields (index, result) as they come."""
        with self._lock:
            plan = Plan(groups, {server.imports for server in self._idle})
        results: queue.SimpleQueue[tuple[int, dict[str, Any]] | BaseException] = queue.SimpleQueue()
        threads = [
            threading.Thread(target=self._work, args=(jobs, plan, results), daemon=True) for _ in range(self.workers)
        ]
        for thread in threads:
            thread.start()
        finished = False
        try:
            for _ in range(sum(map(len, groups.values()))):
                item = self._next(results, threads)
                if isinstance(item, BaseException):
                    raise item
                yield item
            finished = True
        finally:
            plan.stop()
            if not finished:  # an interrupt, an error, or a caller that wants no more
                self.close()
            for thread in threads:
                thread.join()

    @staticmethod
    def _next(results: queue.SimpleQueue[Any], threads: Sequence[threading.Thread]) -> Any:
        """Wait for a result, but not for threads that have ended without one."""
        while True:
            alive = any(thread.is_alive() for thread in threads)
            try:
                return results.get(timeout=1.0) if alive else results.get_nowait()
            except queue.Empty:
                if not alive:
                    raise GradingError("grading: jobs are left, but nobody works on them; please report this") from None

    def _work(self, jobs: Sequence[Job], plan: Plan, results: queue.SimpleQueue[Any]) -> None:
        """One thread: take batches until none is left."""
        current: Imports | None = None
        try:
            while (batch := plan.take(current)) is not None:
                current = batch.imports
                self._run_batch(jobs, batch, plan, results)
        except BaseException as error:
            results.put(error)

    def _run_batch(self, jobs: Sequence[Job], batch: Batch, plan: Plan, results: queue.SimpleQueue[Any]) -> None:
        server: Server | None = None
        try:
            for index in batch.jobs:
                if plan.stopped:
                    return
                program = build_program(jobs[index].problem, jobs[index].code)
                latent = split_quiet(problem_imports(jobs[index].problem))[1]
                result: dict[str, Any] = {}
                for _ in range(2):
                    server = server or self._acquire(batch.imports)
                    try:
                        result = server.run(program, self.time_limit, latent)
                        break
                    except ServerDied as died:
                        result = {
                            "status": "crashed",
                            "detail": f"the server that ran it ended, twice: {died}",
                            "seconds": 0.0,
                        }
                        self._release(server, works=False)
                        server = None
                        if plan.stopped:
                            return
                results.put((index, result))
        finally:
            if server is not None:
                self._release(server)
