"""A fork server: loads the libraries once, then runs every program in a forked child of its own.

Runs inside the grading environment and inside the sandbox, so it needs nothing but the standard library. Messages are
JSON objects, each after its length in four bytes (big-endian), read from standard input and written to standard output.
The first message starts the server (`imports`, `scratch`, `memory`, `processes`, `threads`, `file_size`, `fonts`); each
further one is a job (`program`, `time_limit`, `latent`).

How a pass is known: before the program starts, the child draws a random token and announces it; after the program has
returned, the child sends the token again. In between the token lies on the interpreter's evaluation stack only, in no
variable that the program could look up, and the channel is a socket, which cannot be opened for reading through /proc.
Whatever else arrives is no pass.
"""

from __future__ import annotations

import builtins
import contextlib
import ctypes
import gc
import json
import os
import random
import resource
import select
import shutil
import signal
import socket
import struct
import sys
import time
import types
from collections.abc import Callable, Iterator
from typing import Any

TOKEN_BYTES = 16
DETAIL_CHARS = 2000
GUARD = os.path.join(os.path.dirname(os.path.abspath(__file__)), "guard.py")
LATENT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "latent.py")
FILES = (os.path.abspath(__file__), GUARD, LATENT)  # what a server reads of this project
WATCH_SECONDS = 0.2
# The first drawing: its modules, the parser of formulas, the search for fonts. PIL is told to look for its plugins again,
# so that they appear where a program's own first drawing makes them appear.
_DRAW = """
import io
import matplotlib.figure
import PIL.Image
looked = PIL.Image._initialized
figure = matplotlib.figure.Figure()
axes = figure.add_subplot(title="a", xlabel="b", ylabel="c", yscale="log")
axes.plot([1, 1000], label="$x^2$")
axes.legend()
figure.savefig(io.BytesIO(), format="png", bbox_inches="tight")
PIL.Image._initialized = looked
"""
# What libraries load and work out with their first operation: done ahead, and the modules hidden until then (see
# `latent.py`). Only what shows nowhere else may stand here.
LAZY = {
    "numpy": ["import numpy.testing"],
    "torch": ["import torch.distributed.tensor"],
    "matplotlib.pyplot": [_DRAW],
}
_PR_SET_DUMPABLE, _PR_SET_CHILD_SUBREAPER = 4, 36
_libc = ctypes.CDLL(None, use_errno=True)


def _read_exactly(fd: int, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = os.read(fd, size - len(data))
        if not part:
            raise EOFError
        data += part
    return data


def parse_message(data: bytes) -> dict[str, Any]:
    """Read what follows a message's length."""
    message: dict[str, Any] = json.loads(data)
    return message


def read_message(fd: int) -> dict[str, Any]:
    """Read one message; raises EOFError where the other side is gone."""
    return parse_message(_read_exactly(fd, struct.unpack(">I", _read_exactly(fd, 4))[0]))


def write_message(fd: int, message: dict[str, Any]) -> None:
    """Write one message."""
    data = json.dumps(message).encode()
    data = struct.pack(">I", len(data)) + data
    while data:
        data = data[os.write(fd, data) :]


# ---------------------------------------------------------------- the child


def _limit(job: dict[str, Any], start: dict[str, Any]) -> None:
    limits = {
        resource.RLIMIT_AS: start["memory"],
        resource.RLIMIT_DATA: start["memory"],
        resource.RLIMIT_NPROC: start["threads"],  # the kernel counts threads, too
        resource.RLIMIT_FSIZE: start["file_size"],
        resource.RLIMIT_CORE: 0,
        # Wall time is what is limited; CPU time only catches what the wall clock's keeper has lost sight of.
        resource.RLIMIT_CPU: int(job["time_limit"]) * max(2, os.cpu_count() or 1) + 5,
    }
    for kind, value in limits.items():
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))


def _fresh_state() -> None:
    """Give the child what a new interpreter would have drawn for itself."""
    random.seed()
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed()
    context: Any = getattr(sys.modules.get("tensorflow.python.eager.context"), "_context", None)
    if hasattr(context, "_rng"):
        context._rng = random.Random()
    sys.argv = [""]
    sys.modules["__main__"] = types.ModuleType("__main__")


def _announce(send: Callable[[bytes], int]) -> bytes:
    token = os.urandom(TOKEN_BYTES)
    send(token)
    return token


def _describe(error: BaseException) -> bytes:
    try:
        return f"failed: {error}"[:DETAIL_CHARS].encode(errors="replace")
    except BaseException:
        return b"failed: " + type(error).__name__.encode(errors="replace")


def _load_beside(path: str) -> dict[str, Any]:
    """Execute a file of this package with builtins of its own, where no answer finds it."""
    space = {"__name__": os.path.basename(path)[:-3], "__builtins__": dict(vars(builtins))}
    with open(path) as file:
        exec(compile(file.read(), path, "exec", dont_inherit=True), space)
    return space


_guard = _load_beside(GUARD)


def _run(program: str, channel: socket.socket) -> None:
    namespace: dict[str, Any] = {}
    try:
        finish = _guard["Guard"](namespace).finish
        # `exec` stands inside the expression so that the token is a temporary of this frame and never a variable.
        compiled = compile(program, "<program>", "exec", dont_inherit=True)
        channel.send(_announce(channel.send) + (exec(compiled, namespace) or finish()))  # type: ignore[func-returns-value]
    except BaseException as error:  # a program that calls sys.exit() has failed, as in the reference protocol
        channel.send(b"F" + _describe(error))


def _child(job: dict[str, Any], start: dict[str, Any], channel: socket.socket, folders: Folders) -> None:
    try:
        os.setsid()
        _libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)
        with contextlib.suppress(OSError):
            with open("/proc/self/oom_score_adj", "w") as file:
                file.write("1000")
        os.chdir(folders.work)
        os.environ.update(HOME=folders.home, TMPDIR=folders.temporary)
        _limit(job, start)
        _fresh_state()
        _run(job["program"], channel)
    finally:
        os._exit(0)


# ---------------------------------------------------------------- the server


class Folders:
    """The scratch of one job: made anew before, removed with everything in it after.

    Args:
        root: where this server may write; everything in it is removed between jobs.
        fonts: a folder with Matplotlib's font cache, copied for every job so that no answer can spoil it for the next.
    """

    def __init__(self, root: str, fonts: str | None) -> None:
        self.root = root
        self.work, self.home = os.path.join(root, "work"), os.path.join(root, "home")
        self.temporary, self.cache = os.path.join(root, "tmp"), os.path.join(root, "mpl")
        self._fonts: dict[str, bytes] = {}
        for name in os.listdir(fonts) if fonts else []:
            with open(os.path.join(str(fonts), name), "rb") as file:
                self._fonts[name] = file.read()

    def make(self) -> None:
        """Make the empty folders."""
        for folder in (self.work, self.home, self.temporary, self.cache):
            os.mkdir(folder, 0o700)
        for name, data in self._fonts.items():
            with open(os.path.join(self.cache, name), "wb") as file:
                file.write(data)

    def clear(self, shared_memory: bool) -> None:
        """Remove everything; raises OSError where something cannot be removed."""
        for root in [self.root, "/dev/shm"] if shared_memory and os.path.isdir("/dev/shm") else [self.root]:
            for name in os.listdir(root):
                path = os.path.join(root, name)
                if os.path.islink(path) or not os.path.isdir(path):
                    os.unlink(path)
                    continue
                try:
                    shutil.rmtree(path)
                except OSError:  # folders whose rights were taken away
                    for folder, _, _ in os.walk(path):
                        os.chmod(folder, 0o700)
                    shutil.rmtree(path)


def _processes() -> Iterator[tuple[int, int, int]]:
    """List every process that can be seen: (pid, parent, private resident bytes)."""
    page = os.sysconf("SC_PAGE_SIZE")
    try:
        names = os.listdir("/proc")
    except OSError:
        return
    for name in names:
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                parent = int(file.read().rsplit(b")", 1)[1].split()[1])
            with open(f"/proc/{name}/statm", "rb") as file:
                _, resident, shared, *_ = file.read().split()
            yield int(name), parent, (int(resident) - int(shared)) * page
        except (OSError, IndexError, ValueError):
            continue


def _descendants() -> dict[int, int]:
    """Find the processes below this one and their private resident bytes."""
    table = {pid: (parent, size) for pid, parent, size in _processes()}
    found: dict[int, int] = {}
    below = {os.getpid()}
    while below:
        below = {pid for pid, (parent, _) in table.items() if parent in below and pid not in found}
        found.update((pid, table[pid][1]) for pid in below)
    return found


def _kill_all(child: int) -> None:
    """Kill the child and whatever it left, in whichever session, and collect them."""
    alone = os.getpid() == 1
    deadline = time.monotonic() + 10
    while True:
        if alone:
            # Everything else in this process namespace belongs to the job; the kernel kills them in one sweep.
            with contextlib.suppress(ProcessLookupError):
                os.kill(-1, signal.SIGKILL)
        else:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child, signal.SIGKILL)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(child, signal.SIGKILL)
            for pid in _descendants():
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
        try:
            while os.waitpid(-1, 0 if alone else os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        if time.monotonic() > deadline:
            raise TimeoutError("processes that do not die")
        if not alone:
            time.sleep(0.002)


_PNG = """
def save(image, *arguments, **named):
    image.encoderinfo.setdefault("compress_level", 1)
    return write(image, *arguments, **named)
"""


def _write_png_fast() -> None:
    """Have images written with little compression: the same pixels in half of the time."""
    plugin, image = sys.modules.get("PIL.PngImagePlugin"), sys.modules.get("PIL.Image")
    if plugin is None or image is None:
        return
    space: dict[str, Any] = {"write": image.SAVE["PNG"]}
    # Under the plugin's own name: the guard asks whether what writes images is code of the library.
    exec(compile(_PNG, str(plugin.__file__), "exec", dont_inherit=True), space)
    image.SAVE["PNG"] = space["save"]


class _Over(Exception):
    """The job went over a limit that is watched from here."""


class Server:
    """Runs jobs one after another until the other side closes the pipe."""

    def __init__(self, reader: int, writer: int, start: dict[str, Any]) -> None:
        self.reader, self.writer, self.start = reader, writer, start
        self.folders = Folders(start["scratch"], start.get("fonts"))
        self.baseline = 0
        self.latent: Any = _load_beside(LATENT)["Latent"]()

    def preload(self) -> list[str]:
        """Execute the import statements, one after another; a failing one is left for the program itself to meet."""
        os.environ.update(HOME=self.folders.home, TMPDIR=self.folders.temporary, MPLCONFIGDIR=self.folders.cache)
        self.folders.make()
        os.chdir(self.folders.work)
        failed = []
        for line in self.start["imports"]:
            try:
                exec(line, {})
            except BaseException as error:
                failed.append(f"{line}: {type(error).__name__}: {error}")
        _write_png_fast()
        self._hide([line for library, lines in LAZY.items() if library in sys.modules for line in lines])
        return failed

    def _hide(self, statements: list[str]) -> None:
        """Load what is to stay out of sight until a program imports it, and settle down."""
        self.latent.load(statements)
        _guard["prepare"](self.latent.hidden)  # once here instead of in every child
        gc.collect()
        gc.freeze()
        os.chdir("/")
        self._clear()
        self.baseline = next((size for pid, _, size in _processes() if pid == os.getpid()), 0)

    def _clear(self) -> None:
        self.folders.clear(shared_memory=os.getpid() == 1)

    def _watch(self) -> None:
        found = _descendants()
        if len(found) > self.start["processes"]:
            raise _Over(f"more than {self.start['processes']} processes")
        if sum(max(0, size - self.baseline) for size in found.values()) > self.start["memory"]:
            raise _Over(f"more than {self.start['memory'] >> 20} MiB of memory")

    def _await(self, channel: socket.socket, process: int, deadline: float) -> list[bytes]:
        """Collect the child's two messages; fewer where it ended before."""
        poll = select.poll()
        for fd in (channel.fileno(), process, self.reader):
            poll.register(fd, select.POLLIN | select.POLLHUP)
        messages: list[bytes] = []
        watch = time.monotonic() + WATCH_SECONDS
        while True:
            now = time.monotonic()
            if now >= deadline:
                raise TimeoutError
            ready = {fd for fd, _ in poll.poll(max(1, 1000 * (min(deadline, watch) - now)))}
            if self.reader in ready:
                raise EOFError  # nobody waits for the verdict any more
            if channel.fileno() in ready:
                message = channel.recv(1 << 16)
                messages += [message] if message else []
                if len(messages) == 2 or not message:
                    return messages
            elif process in ready:
                return messages
            if time.monotonic() >= watch:
                self._watch()
                watch = time.monotonic() + WATCH_SECONDS

    @staticmethod
    def _judge(messages: list[bytes], child: int) -> tuple[str, str]:
        if len(messages) == 2:
            token, last = messages
            if len(token) == TOKEN_BYTES and last == token:
                return "passed", "passed"
            if last[:1] == b"F":
                return "failed", last[1:].decode(errors="replace")
            return "failed", "failed: the answer wrote into the grader's channel"
        try:
            # Give a child that closed the channel a moment to end, so that its end can be told.
            for _ in range(50):
                pid, status = os.waitpid(child, os.WNOHANG)
                if pid:
                    code = os.waitstatus_to_exitcode(status)
                    ending = f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
                    return "crashed", f"{ending} without a verdict"
                time.sleep(0.01)
        except (ChildProcessError, ValueError):
            pass
        return "crashed", "ended without a verdict"

    def run(self, job: dict[str, Any]) -> dict[str, Any]:
        """Run one job in a forked child and tell its verdict."""
        self.folders.make()
        if not self.latent.statements.issuperset(job["latent"]):
            os.chdir(self.folders.work)
            self._hide(job["latent"])
            self.folders.make()
        began = time.monotonic()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        child = os.fork()
        if child == 0:
            for fd in (self.reader, self.writer, ours.fileno()):
                os.close(fd)
            _child(job, self.start, theirs, self.folders)
        theirs.close()
        process = os.pidfd_open(child)
        try:
            messages = self._await(ours, process, began + job["time_limit"])
            status, detail = self._judge(messages, child)
        except TimeoutError:
            status, detail = "timed_out", f"timed out after {job['time_limit']:g} s"
        except _Over as over:
            status, detail = "crashed", str(over)
        finally:
            seconds = time.monotonic() - began
            _kill_all(child)
            os.close(process)
            ours.close()
        self._clear()
        # Files of the environment are named from its root: where it lies is no part of a verdict, and differs between machines.
        return {"status": status, "detail": detail.replace(f"{sys.prefix}/", ""), "seconds": seconds}


def main() -> None:
    """Serve until the pipe is closed."""
    reader, writer = os.dup(0), os.dup(1)
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)
    # Not dumpable: an answer runs under the same user and could otherwise write into this process's memory.
    _libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        server = Server(reader, writer, read_message(reader))
        began = time.monotonic()
        failed = server.preload()
        write_message(writer, {"ready": True, "failed": failed, "seconds": time.monotonic() - began})
        while True:
            write_message(writer, server.run(read_message(reader)))
    except (EOFError, BrokenPipeError):
        os._exit(0)
    except BaseException as error:
        # Another server takes over; why this one gave up is worth knowing.
        with contextlib.suppress(OSError):
            write_message(writer, {"gave_up": f"{type(error).__name__}: {error}"})
        os._exit(1)


if __name__ == "__main__":
    main()
