"""What a fork server may see and touch.

Three levels, best first:

- `bubblewrap`: the sandbox program of that name draws the walls;
- `namespaces`: the same walls drawn here, with the kernel's user, mount, network, process, IPC and host name
  namespaces;
- `limits`: resource limits and process groups only. An answer can then read the user's files and reach the network.

In the first two the server sees a file system made of the system's libraries, the grading environment and a few device
files, all read-only; home folders and the project are not hidden but absent. It can write to a `tmpfs` of limited size,
has no network but a loopback interface of its own, and is the first process of its own process namespace: it cannot
be killed by what it runs, and when it ends, the kernel ends everything it started.

This file is a program, too: `python sandbox.py SPECIFICATION` enters the namespaces and becomes the command. It is
started by the grading interpreter, so it needs nothing but the standard library.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Literal

Level = Literal["bubblewrap", "namespaces", "limits"]
LEVELS: tuple[Level, ...] = ("bubblewrap", "namespaces", "limits")
SCRATCH = "/scratch"
SHARED_MEMORY_BYTES = 256 << 20

_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_ETC = (
    "alternatives", "fonts", "group", "hosts", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "mime.types",
    "nsswitch.conf", "passwd", "timezone",
)  # fmt: skip
_DEVICES = ("null", "zero", "full", "random", "urandom")
_NOBODY = 65534

_NEWNS, _NEWCGROUP, _NEWUTS, _NEWIPC, _NEWUSER, _NEWPID, _NEWNET = (
    0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000,
)  # fmt: skip
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REMOUNT = 1, 2, 4, 8, 32
_MS_BIND, _MS_REC, _MS_PRIVATE, _MNT_DETACH = 4096, 16384, 1 << 18, 2
_SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_SYS_MOUNT_SETATTR = 442
_AT_RECURSIVE = 0x8000
_PR_SET_PDEATHSIG, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 1, 24, 38


class SandboxError(RuntimeError):
    """A wall could not be drawn."""


def _existing(paths: Iterable[str]) -> list[str]:
    """Resolve paths, leave out those that are missing, doubled, or below another one."""
    found = sorted(
        {
            form
            for path in paths
            if path and os.path.exists(path)
            for form in (os.path.abspath(path), os.path.realpath(path))
        }
    )
    kept: list[str] = []
    for path in found:
        if not any(path == other or path.startswith(other.rstrip("/") + "/") for other in kept):
            kept.append(path)
    return kept


def _system_paths() -> tuple[list[str], list[tuple[str, str]]]:
    """List the system's folders to show, and the symbolic links at the root to repeat (target, link)."""
    shown = [path for path in _SYSTEM if os.path.isdir(path) and not os.path.islink(path)]
    links = [(os.readlink(path), path) for path in _SYSTEM if os.path.islink(path)]
    return shown + [f"/etc/{name}" for name in _ETC if os.path.exists(f"/etc/{name}")], links


def _temporary_link(shown: Sequence[str]) -> list[tuple[str, str]]:
    """Lead /tmp into the scratch, unless something that is shown lies below it (TMPDIR is set in any case)."""
    return [] if any(path.startswith("/tmp/") for path in shown) else [(f"{SCRATCH}/tmp", "/tmp")]


def command(argv: Sequence[str], level: Level, scratch_size: int, readable_paths: Sequence[str]) -> list[str]:
    """Wrap a command so that it runs behind the walls of a level.

    Args:
        argv: the command; its first word is the grading interpreter, which at level `namespaces` draws the walls, too.
        level: which walls.
        scratch_size: bytes that the command may write to `SCRATCH`, its only writable folder (besides /dev/shm).
        readable_paths: files and folders that it may read beside the system's own.

    Returns:
        The command to start. At level `limits` it is `argv` itself.
    """
    if level == "limits":
        return list(argv)
    readable = _existing(readable_paths)
    shown, links = _system_paths()
    readable = [path for path in readable if not any(path == s or path.startswith(s + "/") for s in shown)]
    links += _temporary_link(readable)
    if level == "namespaces":
        specification = {"argv": list(argv), "scratch_size": scratch_size, "show": shown + readable, "links": links}
        return [argv[0], "-I", "-S", os.path.abspath(__file__), json.dumps(specification)]
    walls = [
        "bwrap",
        "--unshare-all",
        "--unshare-user",
        "--disable-userns",
        "--as-pid-1",
        "--new-session",
        "--cap-drop",
        "ALL",
    ]
    walls += ["--uid", str(_NOBODY), "--gid", str(_NOBODY)]
    walls += ["--size", str(scratch_size), "--perms", "1777", "--tmpfs", SCRATCH, "--proc", "/proc", "--dev", "/dev"]
    # What --dev makes is a writable tmpfs as large as half of the memory.
    walls += ["--size", str(SHARED_MEMORY_BYTES), "--perms", "1777", "--tmpfs", "/dev/shm", "--remount-ro", "/dev"]
    for path in shown + readable:
        walls += ["--ro-bind", path, path]
    for target, link in links:
        walls += ["--symlink", target, link]
    return [*walls, "--remount-ro", "/", "--chdir", SCRATCH, "--", *argv]


_PROBE = """
import os, socket, sys
assert os.getpid() == 1, "not the first process of a namespace"
for path in ("/", "/usr", "/etc", sys.prefix):
    assert not os.access(path, os.W_OK), path + " is writable"
open("/scratch/probe", "w").close()
try:
    socket.create_connection(("192.0.2.1", 9), timeout=2)
except OSError as error:
    assert error.errno == 101, f"network: {error}"
else:
    raise AssertionError("the network can be reached")
print("walls stand")
"""


@lru_cache
def _try(level: Level, python: str, readable: tuple[str, ...]) -> str:
    """Try a level; empty where it works, else the reason why not."""
    if level == "bubblewrap" and shutil.which("bwrap") is None:
        return "bwrap is not installed"
    argv = command([python, "-I", "-S", "-c", _PROBE], level, 1 << 20, readable)
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=30, env={"PATH": os.defpath}, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    if done.stdout.strip() == "walls stand":
        return ""
    return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]


def survey(python: str, readable_paths: Sequence[str]) -> dict[Level, str]:
    """Try every level: why it does not work here, empty where it does."""
    paths = (python, *readable_paths)
    return {level: "" if level == "limits" else _try(level, python, paths) for level in LEVELS}


def probe(python: str = sys.executable, readable_paths: Sequence[str] = ()) -> tuple[Level, str]:
    """Find the best level that works here, by trying.

    Args:
        python: the interpreter that is to run behind the walls.
        readable_paths: what it needs to read.

    Returns:
        The level, and why the better ones do not work (empty where the best works).
    """
    paths = tuple([python, *readable_paths]) if readable_paths else tuple({python, sys.prefix, sys.base_prefix})
    reasons: list[str] = []
    for level in LEVELS[:-1]:
        reason = _try(level, python, paths)
        if not reason:
            return level, "; ".join(reasons)
        reasons.append(f"{level}: {reason}")
    return "limits", "; ".join(reasons)


# ---------------------------------------------------------------- the program that enters the namespaces


def _check(result: int, what: str) -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise SandboxError(f"{what}: {os.strerror(error)}")
    return result


class _Walls:
    """The system calls that Python does not offer."""

    def __init__(self) -> None:
        self.libc = ctypes.CDLL(None, use_errno=True)

    def unshare(self, flags: int) -> None:
        _check(self.libc.unshare(flags), "unshare")

    def prctl(self, option: int, value: int) -> None:
        _check(self.libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0), f"prctl {option}")

    def mount(self, source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
        words = [word.encode() if word is not None else None for word in (source, target, kind)]
        options = data.encode() if data is not None else None
        _check(
            self.libc.mount(words[0], words[1], words[2], ctypes.c_ulong(flags), options),
            f"mount {kind or source} on {target}",
        )

    def bind(self, source: str, target: str) -> None:
        """Show a file or folder read-only, everything mounted below it included."""
        self.mount(source, target, None, _MS_BIND | _MS_REC)
        attributes = (ctypes.c_uint64 * 4)(_MS_RDONLY | _MS_NOSUID, 0, 0, 0)
        path = ctypes.c_char_p(target.encode())
        size = ctypes.c_size_t(ctypes.sizeof(attributes))
        result = self.libc.syscall(_SYS_MOUNT_SETATTR, -100, path, _AT_RECURSIVE, ctypes.byref(attributes), size)
        _check(result, f"mount_setattr {target}")

    def pivot_root(self, new: str, old: str) -> None:
        number = _SYS_PIVOT_ROOT.get(os.uname().machine)
        if number is None:
            raise SandboxError(f"pivot_root: unknown machine {os.uname().machine}")
        _check(self.libc.syscall(number, new.encode(), old.encode()), "pivot_root")

    def umount(self, target: str) -> None:
        _check(self.libc.umount2(target.encode(), _MNT_DETACH), f"umount {target}")


def _map_ids(pid: int) -> None:
    """Give the new user namespace its users: nobody (and root to set up) where root starts it, else just the user."""
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0:
        lines = {"uid_map": f"0 0 1\n{_NOBODY} {_NOBODY} 1", "gid_map": f"0 0 1\n{_NOBODY} {_NOBODY} 1"}
    else:
        lines = {"setgroups": "deny", "uid_map": f"{uid} {uid} 1", "gid_map": f"{gid} {gid} 1"}
    for name, text in lines.items():
        with open(f"/proc/{pid}/{name}", "w") as file:
            file.write(text)


def _build_root(walls: _Walls, specification: dict[str, Any]) -> None:
    """Build the file system that the command sees, and leave the old one."""
    walls.mount(None, "/", None, _MS_REC | _MS_PRIVATE)
    walls.mount("tmpfs", "/tmp", "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=0755,size=4m")
    os.mkdir("/tmp/old")
    walls.pivot_root("/tmp", "/tmp/old")
    os.chdir("/")
    for path in specification["show"]:
        if os.path.isdir("/old" + path):
            os.makedirs(path, 0o755, exist_ok=True)
        else:
            os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
            open(path, "a").close()
        walls.bind("/old" + path, path)
    os.makedirs(SCRATCH, exist_ok=True)
    walls.mount(
        "tmpfs",
        SCRATCH,
        "tmpfs",
        _MS_NOSUID | _MS_NODEV,
        f"mode=1777,size={specification['scratch_size']},nr_inodes=100k",
    )
    for target, link in specification["links"]:
        os.symlink(target, link)
    _build_devices(walls)
    os.mkdir("/proc")
    walls.mount("proc", "/proc", "proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
    try:
        with open("/proc/sys/user/max_user_namespaces", "w") as file:
            file.write("0")
    except OSError:
        pass  # without it, a further user namespace can be made, but its mounts stay locked
    walls.umount("/old")
    os.rmdir("/old")
    walls.mount(None, "/", None, _MS_REMOUNT | _MS_BIND | _MS_RDONLY | _MS_NOSUID | _MS_NODEV)


def _build_devices(walls: _Walls) -> None:
    os.mkdir("/dev")
    for name in _DEVICES:
        open(f"/dev/{name}", "w").close()
        walls.mount(f"/old/dev/{name}", f"/dev/{name}", None, _MS_BIND)
    for link, target in {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}.items():
        os.symlink(target, f"/dev/{link}")
    os.mkdir("/dev/shm")
    walls.mount(
        "tmpfs", "/dev/shm", "tmpfs", _MS_NOSUID | _MS_NODEV, f"mode=1777,size={SHARED_MEMORY_BYTES},nr_inodes=10k"
    )


def _become(walls: _Walls, specification: dict[str, Any]) -> None:
    """Be the first process of the namespace: build the walls, give up every right, become the command."""
    _build_root(walls, specification)
    os.chdir(SCRATCH)
    for capability in range(64):
        try:
            walls.prctl(_PR_CAPBSET_DROP, capability)
        except SandboxError:
            break
    if os.getuid() == 0:
        os.setgroups([])
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    walls.prctl(_PR_SET_NO_NEW_PRIVS, 1)
    walls.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.setsid()
    argv = specification["argv"]
    os.execv(argv[0], argv)


def _wait(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _inside(walls: _Walls, specification: dict[str, Any], ready: int, mapped: int) -> int:
    walls.unshare(_NEWUSER | _NEWNS | _NEWPID | _NEWNET | _NEWIPC | _NEWUTS | _NEWCGROUP)
    os.write(ready, b"x")
    if os.read(mapped, 1) != b"x":
        return 1
    walls.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.close(ready)
    os.close(mapped)
    first = os.fork()
    if first == 0:
        _become(walls, specification)
    for fd in (0, 1):  # so that the pipes close when the command ends
        os.close(fd)
    return _wait(first)


def enter(specification: dict[str, Any]) -> int:
    """Enter the namespaces and run the command there; returns its exit code."""
    walls = _Walls()
    # No parent-death signal here: the kernel would send it when the caller's *thread* ends, and threads come and go
    # while servers stay warm. A caller that is killed is noticed by its end of the pipe.
    is_ready, ready = os.pipe()
    mapped, is_mapped = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        os.close(is_ready)
        os.close(is_mapped)
        try:
            code = _inside(walls, specification, ready, mapped)
        except BaseException as error:
            print(f"sandbox: {error}", file=sys.stderr, flush=True)
        finally:
            os._exit(code if code >= 0 else 128 - code)
    os.close(ready)
    os.close(mapped)
    if os.read(is_ready, 1) == b"x":
        _map_ids(pid)
        os.write(is_mapped, b"x")
    os.close(is_mapped)
    for fd in (0, 1):
        os.close(fd)
    return _wait(pid)


if __name__ == "__main__":
    sys.exit(enter(json.loads(sys.argv[1])))
