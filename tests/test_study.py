"""The whole study on the `smoke` profile: five notebooks by Papermill through Snakemake, killed half-way once, then rendered as a book."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def command(model: Path) -> list[str]:
    return [
        *(
            sys.executable,
            "-m",
            "snakemake",
            "--snakefile",
            "workflow/Snakefile",
            "--cores",
            "2",
            "--quiet",
            "all",
            "--nolock",
        ),
        *("--rerun-incomplete", "--rerun-triggers", "mtime", "params", "input"),
        *("--config", "profile=smoke", f"model={model}"),
    ]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, tiny: Path, grading_python: Path) -> dict[str, object]:
    """Run the smoke study in a copy of the project: kill it in its third stage, run it again, then run it once more."""
    place = tmp_path_factory.mktemp("study")
    for name in ("notebooks", "workflow", "config", "book", "_config.yml", "CITATION.cff", "CHANGELOG.md"):
        source = ROOT / name
        ignore = shutil.ignore_patterns("_results", "lab", "api", "__pycache__")
        shutil.copytree(source, place / name, ignore=ignore) if source.is_dir() else shutil.copy(source, place / name)
    (place / "src").symlink_to(ROOT / "src")  # the book shows code
    # A clone holds results that someone else committed; they stand for no stage that ran here.
    (place / "results" / "smoke" / "lab").mkdir(parents=True)
    (place / "results" / "smoke" / "record.json").write_text("{}")
    (place / "results" / "smoke" / "lab" / "grade-gone.ipynb").write_text("{}")
    environment = os.environ | {"TRADEOFFS_GRADING_PYTHON": str(grading_python), "PYTHONPATH": str(ROOT / "src")}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    began = subprocess.Popen(
        command(tiny),
        cwd=place,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 300
    while (
        len(list(place.glob("runs/smoke/**/record.json"))) < 2 and time.monotonic() < deadline and began.poll() is None
    ):
        time.sleep(0.5)
    committed = (place / "results" / "smoke" / "record.json").read_text()
    finished_before = {path: path.stat().st_mtime_ns for path in place.glob("runs/smoke/**/record.json")}
    os.killpg(began.pid, signal.SIGKILL)
    began.wait()
    again = subprocess.run(command(tiny), cwd=place, env=environment, capture_output=True, text=True)
    third = subprocess.run(command(tiny), cwd=place, env=environment, capture_output=True, text=True)
    return {
        "place": place,
        "before": finished_before,
        "committed": committed,
        "again": again,
        "third": third,
        "environment": environment,
    }


def test_a_killed_study_goes_on_and_ends(study: dict) -> None:
    assert study["again"].returncode == 0, study["again"].stdout[-3000:] + study["again"].stderr[-3000:]
    assert study["committed"] == "{}", "results were touched before the study was complete"
    assert json.loads((study["place"] / "results" / "smoke" / "record.json").read_text())["stage"] == "analyse"
    assert sorted(path.name for path in (study["place"] / "results").iterdir()) == ["smoke"]
    assert len(study["before"]) >= 2
    before = study["before"]
    newest = max(
        before, key=before.get
    )  # its job may not have ended when the kill came; then it ends again, from its rows
    changed = [path for path, stamp in before.items() if path.stat().st_mtime_ns != stamp and path != newest]
    assert changed == [], "a finished stage ran again"


def test_a_study_with_nothing_changed_runs_no_stage(study: dict) -> None:
    assert study["third"].returncode == 0
    assert "=== stage" not in study["third"].stdout + study["third"].stderr


def test_a_profile_that_extends_the_study_trains_nothing_again(study: dict, tiny: Path) -> None:
    config = study["place"] / "config"
    kept = (config / "smoke.yaml").read_text()
    (config / "smoke.yaml").write_text(re.sub(r"(?m)^model:.*\n", "", kept) + f"model: {tiny}\n")
    (config / "more.yaml").write_text("extends: smoke\nname: more\ngenerate: {limit: 3}\n")
    try:
        words = [word for word in command(tiny) if word not in ("--quiet", "all") and not word.startswith("model=")]
        words = [word.replace("profile=smoke", "profile=more") for word in words]
        plan = subprocess.run(
            [*words, "--dry-run"], cwd=study["place"], env=study["environment"], capture_output=True, text=True
        )
    finally:
        (config / "smoke.yaml").write_text(kept)
    planned = set(re.findall(r"^(?:local)?rule (\w+)", plan.stdout + plan.stderr, re.MULTILINE))
    assert plan.returncode == 0 and any(name.startswith("generate") for name in planned), plan.stderr[-2000:]
    assert not [name for name in planned if name.startswith("align")]


def test_progress_says_which_stage_of_how_many(study: dict) -> None:
    assert "=== stage 3 of 14" in study["again"].stdout + study["again"].stderr


def test_every_record_has_parameters_counts_and_provenance(study: dict) -> None:
    records = [json.loads(path.read_text()) for path in study["place"].glob("runs/smoke/**/record.json")]
    assert {r["stage"] for r in records} == {"align", "generate", "grade", "throughput", "speculate", "analyse"}
    for record in (r for r in records if r["stage"] != "analyse"):
        assert record["schema_version"] == 1
        assert {"planned", "completed", "failed"} <= record["counts"].keys()
        assert record["provenance"]["cores"] >= 1 and record["provenance"]["packages"]["torch"]
        assert record["counts"]["completed"] == record["counts"]["planned"]


def test_published_notebooks_hold_no_machine_path(study: dict) -> None:
    notebooks = list((study["place"] / "results" / "smoke" / "lab").glob("*.ipynb"))
    assert len(notebooks) == 14
    for path in notebooks:
        text = path.read_text()
        assert str(study["place"]) not in text and str(Path.home()) + "/" not in text and sys.prefix not in text, (
            path.name
        )


def test_the_book_is_rendered_from_the_results(study: dict) -> None:
    place = study["place"]
    done = subprocess.run(
        [
            str(Path(sys.executable).parent / "jupyter-book"),
            "build",
            "book",
            "--config",
            "_config.yml",
            "--path-output",
            ".",
            "-W",
            "-n",
            "--keep-going",
        ],
        cwd=place,
        env=study["environment"] | {"TRADEOFFS_PROFILE": "smoke"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    index = place / "_build" / "html" / "index.html"
    assert index.is_file() and (place / "_build" / "html" / "results.html").read_text().count("<figure") >= 4
