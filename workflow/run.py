"""Run a profile: decide by content what has to run, hand it to Snakemake, and analyse what there is where a job failed for good.

    python workflow/run.py laptop                                   # on this machine, one job after the other
    python workflow/run.py laptop --executor config/profiles/slurm  # through a scheduler
    python workflow/run.py laptop --dry-run                         # what would run, and why

Exit status: 0 all ran; 3 some jobs failed, the others are done and analysed; 75 another study is running in this folder; else an error.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import yaml
from filelock import SoftFileLock, Timeout

from tradeoffs.content import MARK, expire, why
from tradeoffs.fetching import free_bytes, size
from tradeoffs.parameters import ParameterError
from tradeoffs.profiles import Job, Profile, jobs, load_profile, seeds_of
from tradeoffs.records import write_text

PARTLY, BUSY = 3, 75
LOCK = ".tradeoffs.lock"
ROOM = 10**8  # bytes; with less left nothing is begun: the default study writes four times as much


def snakemake(a: argparse.Namespace, partial: bool = False) -> int:
    """Call Snakemake; give its exit status."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", "workflow/Snakefile", "--nolock", "--rerun-incomplete"]
    # `input` alone: which files a job reads. What they hold, and all else, is decided by content.
    command += ["--rerun-triggers", "input", "--keep-going"]
    command += ["--quiet", "rules", "host"] if a.executor else ["--quiet", "all"]
    command += (
        ["--workflow-profile", a.executor] if a.executor else ["--workflow-profile", "none", "--cores", str(a.cores)]
    )
    given = {"profile": a.profile, "model": a.model, "problems": a.problems, "seeds": a.seeds}
    given |= {"home": os.getcwd(), "python": sys.executable}
    given |= ({"partial": "1"} if partial else {}) | ({} if a.executor else {"cores": a.cores})
    command += ["--config", *(f"{name}={value}" for name, value in given.items() if value)]
    by_slurm = bool(a.executor) and _executor(a.executor) == "slurm"
    while True:
        if by_slurm:
            cancel_left()
        process = subprocess.Popen(command)
        try:
            status = attend(process, a.patience) if by_slurm else process.wait()
        except KeyboardInterrupt:
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=60)  # it was told, too, and cancels what it submitted
            process.kill()
            raise
        if status is not None:
            return status
        print(
            "=== nothing of this study is left at the scheduler, but Snakemake waits for it: started anew", flush=True
        )


def attend(process: subprocess.Popen[bytes], patience: float, every: float = 5.0) -> int | None:
    """Wait for a Snakemake that works through Slurm; say when the scheduler stops answering and when it is back.

    Snakemake's executor forgets jobs whose state it cannot ask for, and after an outage asks `sacct` even where there is no accounting:
    then it waits for ever. Nothing is lost by starting it anew when none of its jobs is left.

    Returns:
        The exit status; None where Snakemake was killed, because for `patience` seconds none of its jobs had been left.
    """
    seen, down, last, held = False, False, time.monotonic(), set[str]()
    while True:
        try:
            return process.wait(timeout=every)
        except subprocess.TimeoutExpired:
            left = queued()
        if (left is None) != down:
            down = left is None
            what = "the scheduler does not answer; waiting for it" if down else "the scheduler answers again"
            print(f"=== {time.strftime('%H:%M:%S')} {what}", flush=True)
        for number, reason in (left or {}).items():
            if "held" in reason.lower() and number not in held:
                print(f"=== job {number} is held ({reason}): scontrol release {number}", flush=True)
                held.add(number)
        if left is None or left:
            seen, last = seen or bool(left), time.monotonic()
        elif seen and time.monotonic() - last > patience:
            process.kill()
            process.wait()
            return None


def queued() -> dict[str, str] | None:
    """What the jobs that were submitted from this folder and have not ended wait for, by number; None where Slurm does not answer."""
    told = subprocess.run(["squeue", "--me", "-h", "-o", "%i|%r|%Z"], capture_output=True, text=True)
    if told.returncode != 0:
        return None
    lines = [line.split("|", 2) for line in told.stdout.splitlines()]
    return {line[0]: line[1] for line in lines if len(line) == 3 and Path(line[2]).resolve() == Path.cwd()}


def cancel_left(limit: float = 300.0) -> None:
    """Cancel what an earlier start left at the scheduler, which would write where the new one does; what it has done is kept."""
    asked: set[str] = set()
    end = time.monotonic() + limit
    while (left := queued()) != {}:  # a scheduler that does not answer may have some
        if left and not asked.issuperset(left):
            print(f"=== cancelling {len(left)} jobs that an earlier start left at the scheduler", flush=True)
            subprocess.run(["scancel", *left])
            asked.update(left)
        if time.monotonic() > end:
            what = f"jobs {', '.join(left)} of an earlier start do not end" if left else "the scheduler does not answer"
            sys.exit(f"error: {what}; start again when that is mended: what is done is kept")
        time.sleep(1)


def _full_disk() -> str:
    """That the disk is full, and what to do; "" where it is not."""
    if (free := free_bytes(Path("runs"))) >= ROOM:
        return ""
    return (
        f"the disk is full ({size(free)} left); free some space and start the same command again: what is done is kept"
    )


def _executor(folder: str) -> str:
    """Which of Snakemake's executors a profile names."""
    settings = yaml.safe_load(Path(folder, "config.yaml").read_text(encoding="utf-8")) or {}
    return str(settings.get("executor", ""))


def _scheduler(executor: str) -> str:
    """What is wrong with the scheduler that an executor's profile needs; "" where nothing is seen to be."""
    if _executor(executor) != "slurm":
        return ""
    missing = [name for name in ("sbatch", "squeue", "scontrol") if shutil.which(name) is None]
    if missing:
        return f"no {', '.join(missing)} here; start it where jobs can be submitted, or leave EXECUTOR out"
    told = subprocess.run(["scontrol", "ping"], capture_output=True, text=True)
    if " is UP" not in told.stdout:
        said = (told.stdout + told.stderr).strip().splitlines() or ["it says nothing"]
        return f"Slurm's controller does not answer ({said[-1]}); start again when it does: what is done is kept"
    return ""


def _made_by_another(profile: Profile) -> str | None:
    """Whose results lie where this profile's would; None where they are its own or nobody's."""
    path = Path("results", profile.name, "record.json")
    if not path.is_file():
        return None
    made = str(json.loads(path.read_text(encoding="utf-8")).get("parameters", {}).get("runs", ""))
    own = ("", f"runs/{profile.name}", f"results/{profile.name}/rows")  # the last where its rows were analysed again
    return made if made not in own else None


def _would_replace(profile: Profile) -> str:
    """Which model's policies or results this study would be put in the place of; "" where there are none."""
    found = [*Path("runs", profile.trained or profile.name, "align").glob("*/parameters.json")]
    found += Path("results", profile.name, "stages").glob("generate-*.json")
    for path in sorted(found):
        told = json.loads(path.read_text(encoding="utf-8"))
        held = str((told.get("parameters") or told).get("model", profile.model))
        if held != profile.model:
            return f"{path} is of {held}, whose study this would replace"
    return ""


def _refusal(executor: str, profile: Profile, planned: Sequence[Job], model: str = "") -> str:
    """Why a study cannot begin here; "" where it can."""
    if executor and not Path(executor, "config.yaml").is_file():
        known = ", ".join(str(path.parent) for path in sorted(Path("config/profiles").glob("*/config.yaml")))
        return f"executor: got {executor!r}; accepts {known} or another folder with a config.yaml"
    if executor and (wrong := _scheduler(executor)):
        return f"executor: {wrong}"
    if (other := _made_by_another(profile)) is not None:
        return f"results/{profile.name} holds the results of another profile ({other}); move it, or name your profile otherwise"
    if model and (held := _would_replace(profile)):
        return (
            f"model: got {model!r}; {held}. Give it a profile of its own: config/theirs.yaml with the lines 'extends: {profile.name}' and "
            f"'model: {model}', then PROFILE=theirs; or move those folders away"
        )
    if any(job.parameters.get("device") == "cuda" for job in planned) and not executor:
        from tradeoffs.models import resolve_device

        try:
            resolve_device("cuda")
        except ValueError as error:
            return f"profile {profile.name}: {error}; profiles without a GPU: laptop, laptop-full, ds1000, ds1000-full"
    return _full_disk()


def describe(profile: Profile, left: Sequence[Job]) -> None:
    """Write down each job that is left, for the process that runs it: a sweep's parameters and inputs are too long for a command line."""
    folder = Path("runs", profile.name, "jobs")
    for job in left:
        write_text(folder / f"{job.stage}-{job.name}.json", json.dumps(job._asdict(), indent=1) + "\n")


def run(a: argparse.Namespace, profile: Profile, planned: Sequence[Job]) -> int:
    """Run what has to run; give the exit status."""
    left = expire(planned)
    if not left:
        return 0
    describe(profile, left)
    status = snakemake(a)
    if status == 0:
        return 0
    failed = [job for job in planned if not Path(job.folder, MARK).exists() and job.stage != "analyse"]
    last = planned[-1]
    if full := _full_disk():
        print(f"error: {full}", file=sys.stderr)
        return status
    if not failed or not any(Path(job.folder, MARK).exists() for job in planned if job.stage == "generate"):
        return status
    print(
        "\n=== failed, or waiting for what failed: " + ", ".join(f"{job.stage} {job.name}" for job in failed),
        flush=True,
    )
    # What an earlier study left of these jobs is none of this one's: out of sight while the rest is analysed.
    old = [path for job in failed if (path := Path(job.folder, "record.json")).exists()]
    for path in old:
        path.rename(path.with_suffix(".old"))
    try:
        partly = snakemake(a, partial=True)
    finally:
        for path in old:
            path.with_suffix(".old").rename(path)
        Path(last.folder, MARK).unlink(missing_ok=True)  # the whole is still to be analysed
    return partly or PARTLY


def main(argv: Sequence[str] | None = None) -> int:
    """Read the command line, keep others out, run."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("profile", nargs="?", default="laptop", help="a file in config/, or the path of one")
    parser.add_argument("--model", default="", help="instead of the profile's")
    parser.add_argument("--problems", default="", help="instead of the profile's")
    parser.add_argument("--seeds", default="", metavar="0,1,2", help="training seeds, instead of the profile's")
    parser.add_argument("--cores", type=int, default=os.cpu_count() or 1, help="of this machine")
    parser.add_argument("--executor", default="", help="folder of a Snakemake profile, such as config/profiles/slurm")
    parser.add_argument(
        "--patience",
        type=float,
        default=300.0,
        help="seconds without a job at Slurm after which Snakemake is started anew",
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would run, and why")
    a = parser.parse_args(argv)
    try:
        seeds = seeds_of(a.seeds) if a.seeds else None
        profile = load_profile(a.profile, model=a.model or None, problems=a.problems or None, seeds=seeds)
    except ParameterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    planned = jobs(profile)
    if a.dry_run:
        for job in planned:
            if reasons := why(job):
                print(f"{job.stage} {job.name}: {'; '.join(reasons)}")
        return 0
    if wrong := _refusal(a.executor, profile, planned, a.model):
        print(f"error: {wrong}", file=sys.stderr)
        return 2
    # A file that is there or not, which every shared file system can tell; one left by a killed process of this machine is taken over.
    lock = SoftFileLock(LOCK)
    try:
        with lock.acquire(timeout=2):
            return run(a, profile, planned)
    except Timeout:
        holder = Path(LOCK).read_text().split() if Path(LOCK).exists() else []
        where = f" (process {holder[0]} on {holder[1]})" if len(holder) > 1 else ""
        print(
            f"error: another study is running in this folder{where}; wait for it or stop it first. "
            f"If that machine is gone, delete {LOCK}; this is {socket.gethostname()}",
            file=sys.stderr,
        )
        return BUSY


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        sys.exit(130)
    except OSError as error:  # a full disk, a folder that is not ours
        sys.exit(f"error: {error}")
