"""Execute one stage's notebook through Papermill, with its progress visible; the last stage publishes the study's results.

Called by the workflow, one process a job. Everything is written under `runs/<profile>/`. When the analysis is done, its tables, figures and
records and every executed notebook, with this machine's paths taken out, replace `results/<profile>/` in one move, so that the book never
reads results of two studies mixed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import nbformat

from tradeoffs import content
from tradeoffs.profiles import Job
from tradeoffs.svg import lighter


def published(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook without this machine's paths and without run times, which the stage's record holds; its drawings made lighter."""
    text = nbformat.writes(notebook)
    for path, sign in ((str(Path.cwd()), "."), (sys.prefix, ".venv"), (str(Path.home()), "~")):
        text = text.replace(json.dumps(path)[1:-1], sign)
    clean = nbformat.reads(text, as_version=4)
    clean.metadata.pop("papermill", None)
    for cell in clean.cells:
        for key in ("papermill", "execution"):
            cell.metadata.pop(key, None)
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if o.get("name") not in ("stderr", "stdout") or not _is_progress(o)]
            for output in cell.outputs:
                if drawing := output.get("data", {}).get("image/svg+xml"):
                    output["data"]["image/svg+xml"] = lighter(drawing)
    return clean


def publish(analysed: Path, notebooks: Path, results: Path) -> None:
    """Replace `results` by what the analysis wrote and the notebooks of the stages that it read."""
    new, old = (results.with_name(f".{results.name}.{word}") for word in ("new", "old"))
    for left in (new, old):
        shutil.rmtree(left, ignore_errors=True)
    shutil.copytree(analysed, new, ignore=shutil.ignore_patterns(content.MARK, content.KEPT))
    (new / "lab").mkdir()
    current = {path.stem for path in analysed.glob("stages/*.json")} | {"analyse"}
    for path in sorted(notebooks.glob("*.ipynb")):
        if path.stem.removesuffix("-all") not in current:
            continue  # of an arm that the profile no longer has
        nbformat.write(published(nbformat.read(path, as_version=4)), new / "lab" / path.name)
    if results.exists():
        results.rename(old)
    new.rename(results)
    shutil.rmtree(old, ignore_errors=True)


def mend(notebooks: Path, jobs: Path) -> None:
    """Execute again the notebooks that a kill or a full disk cut short when their stages had ended.

    Raises:
        OSError: one cannot be written.
    """
    for path in sorted(notebooks.glob("*.ipynb")):
        described = jobs / f"{path.stem}.json"
        if not cut_short(path) or not described.exists():
            continue
        job = Job(**json.loads(described.read_text(encoding="utf-8")))
        if content.complete(job) and execute(job, path):
            raise OSError(f"{path}: cut short, and it cannot be written again")


def cut_short(executed: Path) -> bool:
    """Whether a notebook lacks its end."""
    try:
        return not nbformat.read(executed, as_version=4).metadata.get("papermill", {}).get("end_time")
    except ValueError:
        return True


def execute(job: Job, executed: Path) -> int:
    """Execute a stage's notebook; give its exit status. Where the stage has ended it reads what is there."""
    command = [sys.executable, "-m", "papermill", f"notebooks/{job.stage}.ipynb", str(executed)]
    command += ["-y", json.dumps(job.parameters), "--kernel", "python3"]
    command += ["--log-output", "--no-progress-bar", "--log-level", "INFO"]
    return stream(command)


def _is_progress(output: nbformat.NotebookNode) -> bool:
    lines = [line for line in output.get("text", "").splitlines() if line.strip()]
    return output.get("name") == "stderr" or all(
        "%|" in line or "it/s" in line or line.startswith("{'") for line in lines
    )


def main() -> int:
    """Run one stage; exit 0 when its record is written."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("job", type=Path, help="file with the job, as workflow/run.py wrote it")
    parser.add_argument("--profile", required=True)
    parser.add_argument("--total", required=True)
    a = parser.parse_args()
    job = Job(**json.loads(a.job.read_text(encoding="utf-8")))
    out = Path(job.folder)
    done = Path("runs", a.profile)
    finished = sum(1 for depth in ("*", "*/*") for _ in done.glob(f"{depth}/{content.MARK}"))
    title = job.stage if job.name == "all" else f"{job.stage} {job.name}"
    print(f"\n=== stage {finished + 1} of {a.total}: {title}", flush=True)
    executed = Path("runs", a.profile, "notebooks", f"{job.stage}-{job.name}.ipynb")
    executed.parent.mkdir(parents=True, exist_ok=True)
    now, before = content.content(job), content.kept(out)
    if content.complete(job) and not content.changes(before, now):
        print("=== unchanged: what it reads came out as it was", flush=True)
        (out / content.MARK).touch()
        return 0
    if content.code_changed(before, now) and out.exists():
        # Moved first: a kill during the removal must not leave rows that look like ours.
        doomed = out.with_name(f".{out.name}.stale")
        shutil.rmtree(doomed, ignore_errors=True)
        out.rename(doomed)
        shutil.rmtree(doomed)
    content.keep(out, now)
    began = time.perf_counter()
    status = execute(job, executed)
    if status != 0 or not (out / "record.json").is_file():
        print(f"stage failed: {title}; see {executed}; the same command goes on from here", file=sys.stderr)
        return status or 1
    if job.stage == "analyse":
        mend(executed.parent, a.job.parent)
        publish(out, executed.parent, Path("results", a.profile))
    content.keep(out, content.fetched_meanwhile(job, now))
    (out / content.MARK).touch()
    print(f"=== done: {title} in {time.perf_counter() - began:.0f} s", flush=True)
    return 0


QUIET = (
    "Input Notebook:",
    "Output Notebook:",
    "Executing notebook with kernel",
    "Executing Cell",
    "Ending Cell",
    "Loading weights",
)


# Training and decoding free and ask again for hundreds of megabytes at every step. By default each such block goes back to the kernel and
# is faulted in anew, page by page; kept by the process instead, a training step of 8 x 170 tokens took 9.9 s for 14 s on two busy cores.
MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "30000000000", "MALLOC_TOP_PAD_": "268435456"}


def stream(command: list[str]) -> int:
    """Run a command, passing on its lines except for Papermill's own bookkeeping."""
    environment = (
        MEMORY
        | os.environ
        | {"TRADEOFFS_STALE": "discard", "PYTHONUNBUFFERED": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    )
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if (
                    line.strip()
                    and not line.startswith(QUIET)
                    and "[IPKernelApp]" not in line
                    and "Warning:" not in line
                    and "warnings.warn" not in line
                ):
                    print("   ", line.rstrip(), flush=True)
        except KeyboardInterrupt:
            process.wait(timeout=30)
            raise
    return process.returncode


if __name__ == "__main__":
    try:
        sys.exit(main())
    except OSError as error:  # a full disk, a folder that is not ours
        sys.exit(f"error: {error}")
