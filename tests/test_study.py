"""The whole study on the `smoke` profile, as users run it: killed again and again, through a scheduler, and rendered as a book.

One study is killed with SIGKILL at random moments until it ends, another goes through Snakemake's Slurm executor on a real Slurm of one
node (where Debian's packages are installed), with one job killed by the scheduler. Both must end with the same answers, policies, verdicts.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tradeoffs.records import digest

ROOT = Path(__file__).resolve().parents[1]
KILLS = 5
SLOW_KILLS = 50
AWAY = 25  # seconds without a scheduler: Snakemake's executor gives up asking after five queries
STAGES = 14
SLURM_CONF = Path("/etc/slurm/slurm.conf")
BATCH = 4  # rows that are made together, in the smoke profile
# How long something took and where it lay differ between two runs of the same study; nothing else may.
TIMES = {
    "seconds",
    "ttft_s",
    "token_s",
    "load",
    "live_s",
    "plain_s",
    "worker",
    "itl_s",
    "batch_seconds",
    "prefill_s",
    "judge_s",
    "tokens_per_s",
}


class Scheduler(NamedTuple):
    """A Slurm that runs here: the environment that finds it, and its controller, which can be killed and started anew."""

    environment: dict[str, str]
    daemons: dict[str, subprocess.Popen[bytes]]
    start: Callable[..., None]


class Project(NamedTuple):
    """A copy of the project, and the environment in which its commands run."""

    place: Path
    environment: dict[str, str]

    def command(self, model: Path, *more: str) -> list[str]:
        # one core, as a scheduler gives each job: sums of float32 over more threads round differently
        return [sys.executable, "workflow/run.py", "smoke", "--model", str(model), "--cores", "1", *more]

    def start(self, model: Path, *more: str) -> subprocess.Popen[str]:
        log = (self.place / "study.log").open("a")
        options: dict[str, Any] = {"stdout": log, "stderr": subprocess.STDOUT, "text": True, "start_new_session": True}
        return subprocess.Popen(self.command(model, *more), cwd=self.place, env=self.environment, **options)

    def run(self, model: Path, *more: str) -> subprocess.CompletedProcess[str]:
        words = self.command(model, *more)
        return subprocess.run(words, cwd=self.place, env=self.environment, capture_output=True, text=True)

    def ended(self) -> dict[Path, int]:
        """When each finished job wrote its record."""
        found = (self.place / "runs/smoke").rglob("record.json")
        return {
            path: path.stat().st_mtime_ns for path in found if "rows" not in path.parts
        }  # packed copies of the others


def copy(place: Path, grading_python: Path) -> Project:
    for name in ("notebooks", "workflow", "config", "book", "_config.yml", "CITATION.cff", "CHANGELOG.md"):
        source = ROOT / name
        ignore = shutil.ignore_patterns("_results", "lab", "api", "__pycache__")
        shutil.copytree(source, place / name, ignore=ignore) if source.is_dir() else shutil.copy(source, place / name)
    (place / "src").symlink_to(ROOT / "src")  # the book shows code
    environment = os.environ | {"TRADEOFFS_GRADING_PYTHON": str(grading_python), "PYTHONPATH": str(ROOT / "src")}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    return Project(place, environment)


def kill(process: subprocess.Popen[str]) -> None:
    """Everything that the study started, at once: kernels are in sessions of their own."""
    import psutil

    everyone = [process.pid, *(child.pid for child in psutil.Process(process.pid).children(recursive=True))]
    for pid in everyone:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def rows_of(project: Project) -> int:
    return sum(len(path.read_bytes().splitlines()) for path in project.place.glob("runs/smoke/**/*.jsonl"))


def killed_study(project: Project, model: Path, kills: int, seed: int) -> dict[str, Any]:
    """Run the study, killing it `kills` times at random moments; what was lost each time is told."""
    moments, told = random.Random(seed), []
    while kills:
        process = project.start(model)
        limit = time.monotonic() + moments.uniform(4, 20)
        while time.monotonic() < limit and process.poll() is None:
            time.sleep(0.1)
        if process.poll() is not None:
            break
        kill(process)
        told.append({"rows": rows_of(project), "ended": project.ended()})
        kills -= 1
    again = project.run(model)
    return {"kills": told, "again": again}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, tiny: Path, grading_python: Path) -> dict[str, Any]:
    """Run the smoke study in a copy of the project, killing it on the way; then run it once more."""
    project = copy(tmp_path_factory.mktemp("study"), grading_python)
    # A clone holds results that someone else committed; they stand for no stage that ran here.
    (project.place / "results" / "smoke" / "lab").mkdir(parents=True)
    (project.place / "results" / "smoke" / "record.json").write_text("{}")
    (project.place / "results" / "smoke" / "lab" / "grade-gone.ipynb").write_text("{}")
    found = killed_study(project, tiny, KILLS, seed=int(time.time()))
    return found | {"project": project, "place": project.place, "third": project.run(tiny), "model": tiny}


def content_of(place: Path) -> dict[str, Any]:
    """All that a study makes but times: adapters, rows, and what the analysis says of answers."""
    found: dict[str, Any] = {}
    for path in sorted(place.glob("runs/smoke/**/adapter_model.safetensors")):
        found[str(path.relative_to(place))] = digest(path)
    for path in sorted(place.glob("runs/smoke/**/*.jsonl")):
        name = str(path.relative_to(place))
        if "throughput" in name or path.name == "probes.jsonl":
            continue  # nothing but times
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        kept = [{key: value for key, value in row.items() if key not in TIMES} for row in rows]
        found[name] = sorted(kept, key=lambda row: json.dumps(row, sort_keys=True))
    summary = json.loads((place / "results/smoke/record.json").read_text())["summary"]
    found["pass rates"] = {arm: value["pass_rate"] for arm, value in summary["policies"].items()}
    found["lengths"] = {arm: value["tokens_per_answer"] for arm, value in summary["policies"].items()}
    return found


def test_a_study_killed_again_and_again_goes_on_and_ends(study: dict[str, Any]) -> None:
    again, place = study["again"], study["place"]
    assert again.returncode == 0, again.stdout[-3000:] + again.stderr[-3000:]
    assert len(study["kills"]) == KILLS, "the study ended before it had been killed often enough"
    record = json.loads((place / "results" / "smoke" / "record.json").read_text())
    assert record["stage"] == "analyse" and record["summary"]["missing"] == []
    assert sorted(path.name for path in (place / "results").iterdir()) == ["smoke"]
    assert not list((place / "results/smoke").rglob("done")) and not (place / "results/smoke/content.json").exists()


def test_no_kill_takes_back_what_had_ended(study: dict[str, Any]) -> None:
    last = study["project"].ended()
    for one, following in itertools.pairwise(study["kills"]):
        assert following["rows"] >= one["rows"] - BATCH, "a kill lost more than what was at work"
    for one in study["kills"]:
        assert {path: last[path] for path in one["ended"]} == one["ended"], "a finished stage ran again"


def test_a_study_with_nothing_changed_runs_no_stage(study: dict[str, Any]) -> None:
    assert study["third"].returncode == 0
    assert "=== stage" not in study["third"].stdout + study["third"].stderr


def test_results_stay_those_of_the_last_whole_study(study: dict[str, Any], tiny: Path) -> None:
    """Two studies at once: the second is refused, says why, and leaves the first alone."""
    project = study["project"]
    (project.place / ".tradeoffs.lock").write_text(f"{os.getpid()}\n{socket.gethostname()}\n")
    try:
        refused = project.run(tiny)
    finally:
        (project.place / ".tradeoffs.lock").unlink()
    if refused.returncode == 0:  # nothing was left to run, and the lock's holder could not be told from a dead one
        pytest.fail(refused.stdout)
    assert refused.returncode == 75 and "another study is running in this folder" in refused.stderr


def test_results_of_another_profile_are_not_replaced(study: dict[str, Any], tiny: Path) -> None:
    path = study["place"] / "results/smoke/record.json"
    kept = path.read_text()
    try:
        path.write_text(json.dumps(json.loads(kept) | {"parameters": {"runs": "runs/mine"}}))
        refused = study["project"].run(tiny)
    finally:
        path.write_text(kept)
    assert (
        refused.returncode == 2 and "results/smoke holds the results of another profile (runs/mine)" in refused.stderr
    )


def test_another_model_takes_no_studys_place(study: dict[str, Any], tmp_path: Path) -> None:
    before = study["project"].ended()
    refused = study["project"].run(tmp_path)
    assert refused.returncode == 2 and "config/theirs.yaml with the lines 'extends: smoke'" in refused.stderr
    assert f"is of {study['model']}, whose study this would replace" in refused.stderr
    assert study["project"].ended() == before


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own in memory, which can be filled without hurting anyone."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1g", "none", str(place)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no right to mount a disk in memory: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(filler: Path) -> None:
    """Take every byte that is left on a disk."""
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while file.write(bytes(2**20)):
            pass
    with contextlib.suppress(OSError), filler.open("ab", buffering=0) as file:
        while file.write(bytes(1)):
            pass


def test_a_disk_that_fills_up_loses_nothing(
    small_disk: Path, tmp_path: Path, study: dict[str, Any], tiny: Path, grading_python: Path
) -> None:
    """A study on a disk that fills while a policy is trained and again while it answers; the other jobs are there already."""
    project = copy(small_disk / "project", grading_python)
    shutil.copytree(study["place"] / "runs", project.place / "runs")
    for stage in ("align", "generate", "grade"):
        shutil.rmtree(project.place / "runs/smoke" / stage / "dpo")
    log = tmp_path / "study.log"  # on another disk, where it can be read
    (project.place / "study.log").symlink_to(log)
    filler, ended = small_disk / "filler", set[Path]()
    for working in ("align", "generate"):
        rows = f"runs/smoke/{working}/*/*.jsonl"
        before = set(project.place.glob(rows))
        process = project.start(tiny)
        while process.poll() is None and set(project.place.glob(rows)) <= before:
            time.sleep(0.1)
        assert process.poll() is None, log.read_text()[-3000:]
        fill(filler)
        assert process.wait(timeout=300) not in (0, 3), "a study ended on a full disk"
        assert "error: the disk is full (" in log.read_text(), log.read_text()[-3000:]
        refused = project.run(tiny)
        assert refused.returncode == 2 and "free some space and start the same command again" in refused.stderr
        filler.unlink()
        log.write_text("")
        assert ended <= set(project.ended()), "a finished stage was lost"
        ended = set(project.ended())
    again = project.run(tiny)
    assert again.returncode == 0, again.stdout[-3000:] + again.stderr[-3000:]
    one, other = content_of(study["place"]), content_of(project.place)
    assert one.keys() == other.keys()
    assert [name for name in one if one[name] != other[name]] == []


# what is done to a finished study -> which jobs have to run again
CHANGES: dict[str, set[str]] = {
    "nothing": set(),
    "every file touched": set(),
    "copied to another folder": set(),
    "a docstring and a comment": set(),
    "how figures are drawn": {"analyse"},
    "a learning rate": {"align dpo", "generate dpo", "grade dpo", "throughput", "speculate", "analyse"},
    "the code of one method": {"align dpa", "generate dpa-45m", "grade dpa-45m", "throughput", "speculate", "analyse"},
    "the code of answering": {"generate", "grade", "analyse"},
    "the engine": {"align", "generate", "grade", "throughput", "speculate", "analyse"},
    "the grader": {"grade", "analyse"},
    "one answer": {"grade base", "analyse"},
    "a policy's weights": {"generate dpo", "grade dpo", "throughput", "speculate", "analyse"},
    "verdicts deleted": {"grade sft-code", "analyse"},
    "more draws": {"analyse"},
}


CODE = {
    "the code of one method": "alignment/dpa.py",
    "the code of answering": "inference/generate.py",
    "the engine": "inference/engine.py",
    "the grader": "grading/files.py",
}


@pytest.mark.parametrize("change", CHANGES)
def test_content_decides_what_runs_again(study: dict[str, Any], tmp_path: Path, change: str) -> None:
    place = tmp_path / "project"
    ignored = shutil.ignore_patterns("book", "results", ".snakemake", "src", "checkpoint*", "notebooks-executed")
    shutil.copytree(study["place"], place, symlinks=True, ignore=ignored)
    package = tmp_path / "src" / "tradeoffs"
    shutil.copytree(ROOT / "src" / "tradeoffs", package, ignore=shutil.ignore_patterns("__pycache__"))

    def edit(path: Path, old: str, new: str) -> None:
        text = path.read_text()
        assert old in text, path
        path.write_text(text.replace(old, new, 1))

    runs = place / "runs/smoke"
    if change == "every file touched":
        for path in [*place.rglob("*"), *package.rglob("*")]:
            os.utime(path, (1, 1), follow_symlinks=False) if path.is_file() else None
    elif change == "copied to another folder":
        place = place.rename(tmp_path / "elsewhere")
    elif change == "a docstring and a comment":
        edit(package / "inference/engine.py", '"""', '"""Other words. ')
        edit(package / "alignment/dpo.py", "from __future__", "# another comment\nfrom __future__")
    elif change == "how figures are drawn":
        with (package / "figures.py").open("a") as file:
            file.write("\nDRAWN = 'otherwise'\n")
    elif change == "a learning rate":
        edit(place / "config/smoke.yaml", "dpo: {method: dpo,", "dpo: {method: dpo, learning_rate: 2.0e-5,")
    elif change in CODE:
        with (package / CODE[change]).open("a") as file:
            file.write("\nOTHER = 1\n")
    elif change == "one answer":
        edit(runs / "generate/base/answers.jsonl", '"tokens":', '"tokens": ')
    elif change == "a policy's weights":
        with (runs / "align/dpo/adapter/adapter_model.safetensors").open("ab") as weights:
            weights.write(b"0")
    elif change == "verdicts deleted":
        (runs / "grade/sft-code/verdicts.jsonl").unlink()
    elif change == "more draws":
        edit(place / "config/smoke.yaml", "analyse: {draws: 200}", "analyse: {draws: 300}")
    program = (
        "import sys; from pathlib import Path; from tradeoffs.content import expire\n"
        "from tradeoffs.profiles import jobs, load_profile\n"
        "for job in expire(jobs(load_profile('smoke', model=sys.argv[1]))): print(job.stage, job.name)"
    )
    environment = study["project"].environment | {"PYTHONPATH": str(package.parent)}
    words = [sys.executable, "-c", program, str(study["model"])]
    told = subprocess.run(words, cwd=place, env=environment, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    found = {line.removesuffix(" all") for line in told.stdout.splitlines()}
    wanted = CHANGES[change]
    whole = {stage for stage in wanted if " " not in stage and stage in ("align", "generate", "grade")}
    names = dict.fromkeys(("generate", "grade"), ("base", "sft-code", "dpo", "dpa-45m")) | {
        "align": ("sft-code", "dpo", "dpa")
    }
    assert found == (wanted - whole) | {f"{stage} {name}" for stage in whole for name in names[stage]}


def test_a_job_with_other_parameters_runs_again_once(study: dict[str, Any], tmp_path: Path) -> None:
    place = tmp_path / "project"
    shutil.copytree(study["place"], place, symlinks=True, ignore=shutil.ignore_patterns("book", ".snakemake", "src"))
    path = place / "runs/smoke/jobs/generate-base.json"
    job = json.loads(path.read_text())
    path.write_text(json.dumps(job | {"parameters": job["parameters"] | {"max_new_tokens": 7}}))
    program = (
        "import json, sys; from pathlib import Path; from tradeoffs.content import why; from tradeoffs.profiles import Job\n"
        "print(why(Job(**json.loads(Path(sys.argv[1]).read_text()))))"
    )
    execute = ["workflow/execute.py", str(path), "--profile", "smoke", "--total", "14"]
    told = []
    for words in (["-c", program, str(path)], execute, ["-c", program, str(path)]):
        done = subprocess.run(
            [sys.executable, *words], cwd=place, env=study["project"].environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        told.append(done.stdout.strip())
    assert "max_new_tokens" in told[0] and told[2] == "[]", (told[0], told[2])


def test_what_comes_out_as_it_was_stops_what_follows(study: dict[str, Any], tmp_path: Path) -> None:
    """The code of a method changes without another policy: nothing that reads the policy runs again."""
    place = tmp_path / "project"
    shutil.copytree(study["place"], place, symlinks=True, ignore=shutil.ignore_patterns("book", ".snakemake", "src"))
    package = tmp_path / "src" / "tradeoffs"
    shutil.copytree(ROOT / "src" / "tradeoffs", package, ignore=shutil.ignore_patterns("__pycache__"))
    with (package / "alignment/dpa.py").open("a") as file:
        file.write("\nOTHER = 1\n")
    environment = study["project"].environment | {"PYTHONPATH": str(package.parent)}
    told = Project(place, environment).run(study["model"])
    output = told.stdout + told.stderr
    assert told.returncode == 0, output[-3000:]
    assert re.findall(r"=== stage \d+ of \d+: (.*)", output)[0] == "align dpa"
    assert output.count("=== unchanged") == 4  # its answers, their verdicts, throughput, speculation
    assert output.count("=== done") == 2  # the policy, and the analysis, which reads what training took


def test_a_failed_job_stops_no_other_and_is_shown_as_missing(
    tmp_path: Path, study: dict[str, Any], tiny: Path, grading_python: Path
) -> None:
    project = copy(tmp_path, grading_python)
    shutil.copytree(study["place"] / "runs", tmp_path / "runs")
    shutil.rmtree(tmp_path / "runs/smoke/align/dpo")
    path = tmp_path / "config/smoke.yaml"
    (tmp_path / "cut.jsonl").write_text('{"prompt": "a", "chosen": "b", "rejec')
    path.write_text(path.read_text().replace("dpo: {method: dpo,", "dpo: {method: dpo, preferences: cut.jsonl,"))
    told = project.run(tiny)
    output = told.stdout + told.stderr
    assert told.returncode == 3, output[-3000:]
    assert "failed, or waiting for what failed: align dpo, generate dpo, grade dpo, throughput all" in output
    summary = json.loads((tmp_path / "results/smoke/record.json").read_text())["summary"]
    assert summary["policies"]["dpo"]["answers"]["estimate"] == 0, "answers of an earlier policy were analysed"
    assert summary["policies"]["dpa-45m"]["answers"]["estimate"] > 0
    assert any("answers of dpo" in gap["what"] for gap in summary["missing"])
    # mended, the same command makes what is missing, and nothing else
    path.write_text(path.read_text().replace(" preferences: cut.jsonl,", ""))
    mended = project.run(tiny)
    assert mended.returncode == 0, (mended.stdout + mended.stderr)[-3000:]
    assert "align sft-code" not in mended.stdout + mended.stderr
    assert json.loads((tmp_path / "results/smoke/record.json").read_text())["summary"]["missing"] == []


def test_a_profile_that_extends_the_study_trains_nothing_again(study: dict[str, Any], tiny: Path) -> None:
    config = study["place"] / "config"
    kept = (config / "smoke.yaml").read_text()
    (config / "smoke.yaml").write_text(re.sub(r"(?m)^model:.*\n", "", kept) + f"model: {tiny}\n")
    (config / "more.yaml").write_text("extends: smoke\nname: more\ngenerate: {limit: 3}\n")
    project = study["project"]
    try:
        words = [sys.executable, "workflow/run.py", "more", "--dry-run"]
        plan = subprocess.run(words, cwd=project.place, env=project.environment, capture_output=True, text=True)
    finally:
        (config / "smoke.yaml").write_text(kept)
        (config / "more.yaml").unlink()
    assert plan.returncode == 0 and "generate dpo: record.json is not there" in plan.stdout, plan.stderr[-2000:]
    assert "align" not in plan.stdout


def test_progress_says_which_stage_of_how_many(study: dict[str, Any]) -> None:
    log = (study["place"] / "study.log").read_text() + study["again"].stdout + study["again"].stderr
    assert f"=== stage 3 of {STAGES}" in log


def test_every_record_has_parameters_counts_and_provenance(study: dict[str, Any]) -> None:
    records = [json.loads(path.read_text()) for path in study["place"].glob("runs/smoke/**/record.json")]
    assert {r["stage"] for r in records} == {"align", "generate", "grade", "throughput", "speculate", "analyse"}
    for record in (r for r in records if r["stage"] != "analyse"):
        assert record["schema_version"] == 1
        assert {"planned", "completed", "failed"} <= record["counts"].keys()
        assert record["provenance"]["cores"] >= 1 and record["provenance"]["packages"]["torch"]
        assert record["counts"]["completed"] == record["counts"]["planned"]


def test_published_notebooks_hold_no_machine_path(study: dict[str, Any]) -> None:
    notebooks = list((study["place"] / "results" / "smoke" / "lab").glob("*.ipynb"))
    assert len(notebooks) == STAGES
    for path in notebooks:
        text = path.read_text()
        assert str(study["place"]) not in text and str(Path.home()) + "/" not in text and sys.prefix not in text, (
            path.name
        )


def test_a_notebook_that_was_cut_short_after_its_stage_had_ended_is_written_again(
    study: dict[str, Any], tmp_path: Path
) -> None:
    place = tmp_path / "project"
    shutil.copytree(study["place"], place, symlinks=True, ignore=shutil.ignore_patterns("book", ".snakemake", "src"))
    path = place / "runs/smoke/notebooks/generate-base.ipynb"
    text, rows = path.read_text(), place / "runs/smoke/generate/base/answers.jsonl"
    answers = rows.read_bytes()
    path.write_text(text[: len(text) // 2])
    program = (
        "import sys; from pathlib import Path; sys.path.insert(0, 'workflow'); from execute import mend\n"
        "mend(*map(Path, sys.argv[1:]))"
    )
    words = [sys.executable, "-c", program, "runs/smoke/notebooks", "runs/smoke/jobs"]
    done = subprocess.run(words, cwd=place, env=study["project"].environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    before, after = json.loads(text), json.loads(path.read_text())
    assert [cell["cell_type"] for cell in after["cells"]] == [cell["cell_type"] for cell in before["cells"]]
    assert rows.read_bytes() == answers


def test_published_rows_are_analysed_and_published_again_without_a_stage(study: dict[str, Any], tmp_path: Path) -> None:
    place = tmp_path / "project"
    shutil.copytree(
        study["place"], place, symlinks=True, ignore=shutil.ignore_patterns("book", ".snakemake", "src", "runs")
    )
    results = place / "results/smoke"
    was = {path.relative_to(results): path.read_bytes() for path in results.rglob("*") if path.is_file()}
    (results / "tables/policies.csv").write_text("what was said before\n")
    words = [sys.executable, "workflow/republish.py", "smoke"]
    done = subprocess.run(words, cwd=place, env=study["project"].environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    now = {path.relative_to(results): path.read_bytes() for path in results.rglob("*") if path.is_file()}
    assert now.keys() == was.keys()
    changed = {str(path) for path in now if now[path] != was[path] and path.suffix != ".svg"}
    assert changed == {"record.json", "lab/analyse-all.ipynb"}
    shutil.rmtree(results / "rows")
    done = subprocess.run(words, cwd=place, env=study["project"].environment, capture_output=True, text=True)
    assert done.returncode == 2 and "make study PROFILE=smoke makes them" in done.stderr
    record = json.loads((results / "record.json").read_text())
    told = record["summary"]["headline"]
    (results / "record.json").write_text(
        json.dumps(record | {"summary": record["summary"] | {"headline": {}, "claims": []}})
    )
    tables = {path.name: path.read_text() for path in (results / "tables").glob("*.csv")}
    (results / "tables" / "claims.csv").unlink()
    assert subprocess.run([*words, "--from-tables"], cwd=place, env=study["project"].environment).returncode == 0
    assert json.loads((results / "record.json").read_text()) == record and len(told) == 3
    assert {path.name: path.read_text() for path in (results / "tables").glob("*.csv")} == tables


def test_the_book_is_rendered_from_the_results(study: dict[str, Any]) -> None:
    place = study["place"]
    words = [str(Path(sys.executable).parent / "jupyter-book"), "build", "book", "--config", "_config.yml"]
    words += ["--path-output", ".", "-W", "-n", "--keep-going"]
    environment = study["project"].environment | {"TRADEOFFS_PROFILE": "smoke"}
    done = subprocess.run(words, cwd=place, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    index = place / "_build" / "html" / "index.html"
    assert index.is_file() and (place / "_build" / "html" / "results.html").read_text().count("<figure") >= 4


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scheduler]:
    """A real Slurm of one node on this machine, without accounting and control groups."""
    missing = [
        name for name in ("slurmctld", "slurmd", "munged", "sbatch", "squeue") if not shutil.which(name, path=PATHS)
    ]
    if missing or os.geteuid() != 0:
        pytest.skip(
            f"no {', '.join(missing) or 'right to start daemons'}; on Debian, as root: apt-get install slurm-wlm munge"
        )
    folder = tmp_path_factory.mktemp("slurm")
    for name in ("munge", "state", "spool"):
        (folder / name).mkdir()
    folder.chmod(0o755)
    key, door = folder / "munge/key", folder / "munge/socket"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    host = socket.gethostname().split(".")[0]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    (folder / "slurm.conf").write_text(f"""
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
AuthType=auth/munge
AuthInfo=socket={door}
CryptoType=crypto/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmctldPort=16817
SlurmdPort=16818
ReturnToService=2
MinJobAge=300
SchedulerParameters=sched_interval=2,batch_sched_delay=0
NodeName={host} NodeAddr=127.0.0.1 CPUs={os.cpu_count()} RealMemory={memory - 500} State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
""")
    if SLURM_CONF.exists():
        pytest.skip(f"this machine has a Slurm of its own: {SLURM_CONF}")
    # Snakemake's executor takes variables of Slurm out of what it submits, so that jobs look for the settings where they always lie.
    SLURM_CONF.parent.mkdir(exist_ok=True)
    SLURM_CONF.unlink(missing_ok=True)
    SLURM_CONF.symlink_to(folder / "slurm.conf")
    environment = {"PATH": PATHS}
    daemons: dict[str, subprocess.Popen[bytes]] = {}

    def daemon(*words: str) -> None:
        log = (folder / f"{words[0]}.out").open("a")
        daemons[words[0]] = subprocess.Popen(words, env=os.environ | environment, stdout=log, stderr=log)

    try:
        daemon("munged", "--foreground", "--force", f"--key-file={key}", f"--socket={door}", f"--pid-file={folder}/munge.pid",
               f"--log-file={folder}/munge.log", f"--seed-file={folder}/munge.seed")  # fmt: skip
        time.sleep(1)
        daemon("slurmctld", "-D")
        daemon("slurmd", "-D", "-N", host)
        deadline = time.monotonic() + 60
        while "idle" not in (told := _told(environment, "sinfo", "-h", "-o", "%t")):
            if time.monotonic() > deadline:
                pytest.fail(f"Slurm did not come up: {told} {(folder / 'slurmctld.log').read_text()[-2000:]}")
            time.sleep(0.5)
        yield Scheduler(environment, daemons, daemon)
    finally:
        for process in reversed(daemons.values()):
            process.terminate()
        for process in daemons.values():
            process.wait(timeout=30)
        SLURM_CONF.unlink()


PATHS = f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin:/sbin"


def _told(environment: dict[str, str], *words: str) -> str:
    return subprocess.run(words, env=os.environ | environment, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def scheduled(
    tmp_path_factory: pytest.TempPathFactory, tiny: Path, grading_python: Path, slurm: Scheduler
) -> dict[str, Any]:
    """The study through the scheduler: a job is cancelled from outside, the scheduler itself is killed and away for a while, and at last
    the study is killed while the scheduler goes on."""
    project = copy(tmp_path_factory.mktemp("scheduled"), grading_python)
    project = project._replace(environment=project.environment | slurm.environment)
    profile = project.place / "config/profiles/slurm/config.yaml"
    # nobody waits ten seconds for jobs of ten seconds
    profile.write_text(re.sub(r"(seconds-\S+: )\d+", r"\g<1>1", profile.read_text()))
    words = ["--executor", "config/profiles/slurm", "--patience", "25"]
    process = project.start(tiny, *words)
    cancelled, away, left, settled = "", "", "", 0.0
    limit = time.monotonic() + 1200
    while process.poll() is None and time.monotonic() < limit:
        for line in _told(slurm.environment, "squeue", "-h", "-t", "R", "-o", "%i %k").splitlines():
            if not cancelled and "generate" in line:
                cancelled = line.split()[0]
                time.sleep(3)
                _told(slurm.environment, "scancel", "--signal=KILL", "--full", cancelled)
                _told(slurm.environment, "scancel", cancelled)
                settled = time.monotonic() + 15  # by then Slurm has written down that it is cancelled
            elif cancelled and not away and line.split()[0] != cancelled and time.monotonic() > settled:
                away = line.split()[0]
                slurm.daemons["slurmctld"].kill()
                slurm.daemons["slurmctld"].wait()
                time.sleep(AWAY)
                slurm.start("slurmctld", "-D")
            elif (
                away
                and not left
                and line.split()[0] not in (cancelled, away)
                and "answers again" in (project.place / "study.log").read_text()
            ):
                left = line.split()[0]
                kill(process)  # its job stays at work on its node
                process = project.start(tiny, *words)
        time.sleep(0.5)
    if process.poll() is None:
        kill(process)
    found = {"project": project, "place": project.place, "status": process.returncode}
    return found | {"cancelled": cancelled, "away": away, "left": left}


def test_the_study_runs_through_a_real_scheduler_whatever_is_killed(scheduled: dict[str, Any]) -> None:
    log = (scheduled["place"] / "study.log").read_text()
    assert scheduled["status"] == 0, log[-4000:]
    assert scheduled["cancelled"], "no job was there to be cancelled"
    assert scheduled["away"], "no job was at work when the scheduler was to be killed"
    assert "the scheduler does not answer; waiting for it" in log, log[-4000:]
    assert "the scheduler answers again" in log, log[-4000:]
    assert scheduled["left"], "no job was at work when the study was to be killed"
    assert re.search(r"=== cancelling \d+ jobs that an earlier start left at the scheduler", log), log[-4000:]
    assert len(scheduled["project"].ended()) == STAGES
    assert json.loads((scheduled["place"] / "results/smoke/record.json").read_text())["summary"]["missing"] == []


def test_the_killed_study_and_the_scheduled_one_found_the_same(
    study: dict[str, Any], scheduled: dict[str, Any]
) -> None:
    one, other = content_of(study["place"]), content_of(scheduled["place"])
    assert one.keys() == other.keys()
    assert [name for name in one if one[name] != other[name]] == []


@pytest.mark.parametrize("there", [True, False])
def test_a_scheduler_that_is_down_or_absent_is_said_at_once(
    tmp_path: Path, grading_python: Path, tiny: Path, there: bool
) -> None:
    project = copy(tmp_path, grading_python)
    if there and not shutil.which("scontrol"):
        pytest.skip("no Slurm; on Debian: apt-get install slurm-wlm")
    settings = tmp_path / "slurm.conf"
    settings.write_text(
        "ClusterName=gone\nSlurmctldHost=localhost\nSlurmctldPort=1\nAuthType=auth/munge\nMessageTimeout=2\n"
    )
    environment = project.environment | {"SLURM_CONF": str(settings)}
    environment |= {} if there else {"PATH": str(Path(sys.executable).parent)}
    told = project._replace(environment=environment).run(tiny, "--executor", "config/profiles/slurm")
    assert told.returncode == 2
    assert ("controller does not answer" if there else "no sbatch, squeue, scontrol here") in told.stderr
    assert not (tmp_path / "runs").exists()


def test_the_kubernetes_profile_is_one_that_its_executor_accepts(study: dict[str, Any], tiny: Path) -> None:
    project = study["project"]
    words = [
        sys.executable,
        "-m",
        "snakemake",
        "--snakefile",
        "workflow/Snakefile",
        "--nolock",
        "--dry-run",
        "--quiet",
        "rules",
    ]
    words += ["--workflow-profile", "config/profiles/kubernetes", "--config", "profile=smoke", f"model={tiny}"]
    told = subprocess.run(words, cwd=project.place, env=project.environment, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr[-3000:]
    wrong = subprocess.run(
        [*words, "--kubernetes-no-such-option", "1"],
        cwd=project.place,
        env=project.environment,
        capture_output=True,
        text=True,
    )
    assert wrong.returncode != 0  # options are looked at


@pytest.mark.slow
@pytest.mark.skipif("TRADEOFFS_SLOW" not in os.environ, reason="half an hour; TRADEOFFS_SLOW=1 runs it")
@pytest.mark.timeout(7200)
def test_fifty_kills(
    tmp_path_factory: pytest.TempPathFactory, tiny: Path, grading_python: Path, study: dict[str, Any]
) -> None:
    """Study after study, until one has been killed fifty times in all; each ends like the first."""
    reference, left, seed = content_of(study["place"]), SLOW_KILLS, 0
    while left > 0:
        project = copy(tmp_path_factory.mktemp(f"killed-{seed}"), grading_python)
        found = killed_study(project, tiny, min(left, 10), seed)
        assert found["again"].returncode == 0, found["again"].stdout[-3000:] + found["again"].stderr[-3000:]
        other = content_of(project.place)
        assert [name for name in reference if reference[name] != other.get(name)] == []
        left -= len(found["kills"])
        seed += 1
