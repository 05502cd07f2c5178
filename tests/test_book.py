"""The book builds with warnings as errors at every stage of the study, and its sentences follow the stored numbers."""

from __future__ import annotations

import ast
import csv
import gzip
import json
import math
import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from tradeoffs.parameters import MODELS, check
from tradeoffs.records import Provenance, Record

ROOT = Path(__file__).parent.parent
ARMS = ("base", "sft-code", "sft-general", "dpo", "dpa-45m", "dpa-0", "dpa-45p")
TRAINED = ("base", "sft-code", "sft-general", "dpo", "dpa")
FIGURES = ("pass_rate", "seconds_per_correct", "tokens_per_answer", "tokens_per_second", "training", "tradeoff")
FIGURES += ("waterfall", "self_check", "roofline", "acceptance", "dose_response", "pass_rate_by_group")
METRICS = {
    "pass_rate": ("share", 0.2),
    "tokens_per_answer": ("tokens", 40.0),
    "seconds_per_answer": ("s", 0.9),
    "tokens_per_s": ("tokens/s", 80.0),
    "joules_per_answer": ("J", 8.0),
    "joules_per_correct": ("J", 40.0),
    "seconds_per_correct": ("s", 4.5),
    "cap_share": ("share", 0.05),
    "utilisation": ("share", 0.6),
    "prompt_tokens": ("tokens", 150.0),
}
ABSENT = "not measured yet"
HEADLINE = "An invented sentence about length: all ×{} as long."
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
SVG = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><path d="M0 9L9 0"/></svg>'


class Text(HTMLParser):
    """The words of a page's article, and what it loads."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.loads: list[str] = []
        self.without_alt = 0
        self.formulas_as_source = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag in ("script", "img", "iframe") and found.get("src"):
            self.loads.append(str(found["src"]))
        if tag == "link" and found.get("rel") != "canonical" and found.get("href"):
            self.loads.append(str(found["href"]))
        self.formulas_as_source += found.get("class") == "math-source"
        if tag == "img" and not found.get("alt"):
            self.without_alt += 1

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())


def value(estimate: float | None, unit: str, spread: float = 0.1) -> dict[str, Any]:
    if estimate is None:
        return {"estimate": None, "low": None, "high": None, "unit": unit, "reason": "no answer passed"}
    half = spread * abs(estimate)
    return {"estimate": estimate, "low": estimate - half, "high": estimate + half, "unit": unit}


def change(estimate: float | None, kind: str = "ratio", spread: float = 0.1) -> dict[str, Any]:
    """A comparison as the analysis writes it, with the verdict that follows from its interval."""
    found = value(estimate, "ratio" if kind == "ratio" else "share", spread)
    neutral = 1.0 if kind == "ratio" else 0.0
    verdict = "no difference seen"
    if estimate is None:
        verdict = "not measured"
    elif found["low"] > neutral:
        verdict = "higher"
    elif found["high"] < neutral:
        verdict = "lower"
    return found | {"kind": kind, "verdict": verdict}


def record(stage: Any, parameters: dict[str, Any], summary: dict[str, Any] | None = None, schema: int = 1) -> str:
    provenance = Provenance(
        created_utc="2026-11-23T10:00:00+00:00",
        commit="0123456789abcdef",
        dirty=False,
        hardware="Example CPU",
        cores=2,
        memory_gib=8.0,
        accelerator=None,
        python="3.11",
        platform="Linux",
        packages={"torch": "2.13.0", "transformers": "5.0", "trl": "1.16"},
    )
    counts = {"planned": 5, "completed": 5, "failed": 0}
    if stage == "analyse":
        counts = {"problems": 4, "families": 2, "answers": 28, "verdicts": 28, "unavailable": 0}
    made = Record(
        schema_version=schema,
        stage=stage,
        parameters=parameters,
        seeds=[0],
        counts=counts,
        summary=summary or {},
        seconds=120.0,
        provenance=provenance,
    )
    return made.model_dump_json()


def notebook(title: str) -> dict[str, Any]:
    figure = {"mystnb": {"figure": {"caption": "A curve.", "name": "fig-curve"}}}
    widget = {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}}
    outputs = [{"output_type": "display_data", "metadata": {}, "data": data} for data in (widget, {"image/png": PIXEL})]
    code = {"cell_type": "code", "execution_count": 1, "metadata": figure, "source": "draw()", "outputs": outputs}
    cells = [{"cell_type": "markdown", "metadata": {}, "source": [f"# {title}\n", "\n", "A question."]}, code]
    metadata = {"widgets": {"x": {}}, "language_info": {"name": "python"}}
    return {"nbformat": 4, "nbformat_minor": 4, "cells": cells, "metadata": metadata}


def write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_summary(length_ratio: float, verdict: str) -> dict[str, Any]:
    policies = {
        arm: {m: value(x * (1 + 0.1 * i), unit) for m, (unit, x) in METRICS.items()} for i, arm in enumerate(ARMS)
    }
    policies["dpa-45p"]["seconds_per_correct"] = value(None, "s")
    comparisons = {
        arm: {
            "pass_rate": change(0.02 * i, "difference", 3 if i % 2 else 0.5),
            "tokens_per_answer": change(length_ratio),
            "seconds_per_answer": change(length_ratio),
            "tokens_per_s": change(1.0),
            "joules_per_answer": change(length_ratio),
            "seconds_per_correct": change(None if arm == "dpa-45p" else 0.9, spread=0.3),
            "cap_share": change(0.01, "difference", 2),
        }
        for i, arm in enumerate(ARMS)
        if i
    }
    comparisons["dpo"]["seconds_per_correct"]["high"] = None
    throughput: dict[str, dict[str, Any]] = {p: {"tokens_per_s": value(123.0, "tokens/s", 0.02)} for p in TRAINED}
    for policy in TRAINED:
        throughput[policy] |= {"ratio": value(1.001, "ratio", 0.004), "tost_p": 0.003, "verdict": verdict, "blocks": 5}
    throughput["base"] |= {"ratio": value(1.0, "ratio", 0), "tost_p": None, "verdict": "baseline"}
    return {
        "policies": policies,
        "comparisons": comparisons,
        "decomposition": {arm: {"attempts": value(1.1, "ratio"), "total": value(0.9, "ratio")} for arm in ARMS[1:]},
        "seconds": {arm: {"prompt: prompt length": value(0.1, "log ratio")} for arm in ARMS[1:]},
        "latency": {arm: {"ttft_p50": value(0.5, "s"), "requests_per_s": value(2.0, "1/s")} for arm in ARMS},
        "claims": [
            {
                "claim": "c9",
                "text": "A formula.",
                "shows": "So it says.",
                "test": "Tried.",
                "measured": "It holds.",
                "verdict": "supported",
            }
        ],
        "dose_response": {
            "dpa-45m": {
                "arms": {"-45": "dpa-45m", "0": "dpa-0", "45": "dpa-45p"},
                "slopes": {"tokens_per_answer": change(length_ratio)},
            }
        },
        "throughput": throughput,
        "throughput_setting": {"blocks": 5, "excluded_blocks": 1, "margin": 0.02},
        "baseline": "base",
        "missing": [],
        "warnings": [],
        "hardware": "Example CPU, 2 cores, 8 GiB",
        "headline": {"efficiency": "Speed: an invented sentence.", "answers": HEADLINE.format(length_ratio)},
    }


def write_stages(folder: Path) -> None:
    folder.mkdir(parents=True)
    for arm in TRAINED[1:]:
        settings = {"method": arm.partition("-")[0], "domain": "code", "start": "", "steps": 20, "seed": 0, "beta": 0.1}
        (folder / f"align-{arm}.json").write_text(record("align", settings))
    generate = {"model": "embedded", "temperature": 0.0, "max_new_tokens": 256, "batch_size": 16}
    for arm in ARMS:
        (folder / f"generate-{arm}.json").write_text(record("generate", generate))
        grade = {"time_limit": 120.0, "require_isolation": "namespaces"}
        (folder / f"grade-{arm}.json").write_text(record("grade", grade))
    timing = {"margin": 0.02, "blocks": 6, "batch_sizes": [8], "prompt_tokens": 128, "new_tokens": 24}
    timing |= {"pilot_blocks": 4, "self_check": 20, "foreign_cpu_limit": 0.1}
    (folder / "throughput.json").write_text(record("throughput", timing))
    (folder / "speculate.json").write_text(record("speculate", {"limit": 12, "max_new_tokens": 32, "drafted": 4}))


def write_results(folder: Path, *, length_ratio: float = 0.5, verdict: str = "equivalent", schema: int = 1) -> None:
    """Invented results that follow the schema; `length_ratio` is every policy's change of answer length."""
    write_stages(folder / "stages")
    summary = write_summary(length_ratio, verdict)
    (folder / "record.json").write_text(record("analyse", {"problems": "bundled", "draws": 2000}, summary, schema))
    verdicts = [
        {"arm": arm, "problem_id": i, "status": "passed" if i % 2 else "failed"} for arm in ARMS for i in range(4)
    ]
    write_table(folder / "tables/verdicts.csv", verdicts)
    for name in (
        "policies",
        "comparisons",
        "decomposition",
        "throughput",
        "training",
        "libraries",
        "tiers",
        "perturbations",
        "latency",
        "seconds",
        "roofline",
        "self_check",
        "controls",
        "acceptance",
        "attainment",
        "doses",
        "claims",
        "users",
        "groups",
        "dose_response",
        "against_control",
    ):
        rows = [{"arm": arm, "group": "one", "graded": 4, "pass_rate": 0.2, "low": 0.1, "high": 0.3} for arm in ARMS]
        write_table(folder / f"tables/{name}.csv", rows)
    if folder.name == "laptop":  # others were published before rows were kept
        packed = folder / "rows/generate/dpo/answers.jsonl.gz"
        packed.parent.mkdir(parents=True)
        packed.write_bytes(gzip.compress(b"{}\n"))
    (folder / "figures").mkdir()
    for name in FIGURES:
        (folder / f"figures/{name}.svg").write_text(SVG)
    (folder / "lab").mkdir()
    for stem in ("align-dpo", "align-dpa", "throughput-all"):
        (folder / f"lab/{stem}.ipynb").write_text(json.dumps(notebook(stem.partition("-")[0].capitalize())))


def build(folder: Path) -> dict[str, Text]:
    """Build a copy of the book that reads `folder/results`; warnings are errors."""
    if not (folder / "book").exists():
        made = shutil.ignore_patterns("_results", "lab", "api", "_build", "__pycache__")
        shutil.copytree(ROOT / "book", folder / "book", ignore=made)
        for name in ("_config.yml", "CITATION.cff", "CHANGELOG.md"):
            shutil.copy(ROOT / name, folder)
        (folder / "src").symlink_to(ROOT / "src")  # chapters show code
    command = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build", "book"]
    command += ["--config", "_config.yml", "--path-output", ".", "-W", "-n", "--keep-going"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TRADEOFFS_")} | {"NO_COLOR": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    pages = {}
    for path in sorted((folder / "_build/html").rglob("*.html")):
        page = Text()
        page.feed(path.read_text(encoding="utf-8"))
        pages[path.relative_to(folder / "_build/html").as_posix()] = page
    return pages


def toc_pages() -> list[str]:
    toc = yaml.safe_load((ROOT / "book/_toc.yml").read_text())
    chapters = []
    for part in toc["parts"]:
        for chapter in part["chapters"]:
            chapters += [chapter["file"], *(own["file"] for own in chapter.get("sections", []) if "file" in own)]
    return [f"{name}.html" for name in [toc["root"], *chapters]]


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Text]]:
    folder = tmp_path_factory.mktemp("book")
    write_results(folder / "results/laptop")
    write_results(folder / "results/ds1000", length_ratio=1.75)
    write_results(folder / "results/embedded-gpu", length_ratio=1.25)
    return folder, build(folder)


def test_without_results_every_page_exists_and_says_what_makes_them(tmp_path: Path) -> None:
    pages = build(tmp_path)
    assert set(toc_pages()) <= set(pages)
    assert "record.json is missing" in pages["intro.html"].text
    assert "make study" in pages["results.html"].text
    assert "figure pass_rate" in pages["results.html"].text
    assert ABSENT in pages["intro.html"].text


def test_results_of_another_schema_are_not_shown(tmp_path: Path) -> None:
    write_results(tmp_path / "results/laptop", schema=99)
    text = build(tmp_path)["results.html"].text
    assert "schema version 99" in text
    assert "Shorter than" not in text


def test_with_results_nothing_is_missing(full: tuple[Path, dict[str, Text]]) -> None:
    _, pages = full
    assert set(toc_pages()) <= set(pages)
    for name, page in pages.items():
        assert ABSENT not in page.text, name
        assert "Not everything is measured" not in page.text, name
        assert "{{" not in page.text, name
    assert "Example CPU" in pages["intro.html"].text
    assert "2026-11-23" in pages["intro.html"].text
    assert HEADLINE.format(0.5) in pages["intro.html"].text and "Speed: an invented" in pages["intro.html"].text


def test_the_benchmark_has_a_chapter_of_its_own_with_its_own_numbers(full: tuple[Path, dict[str, Text]]) -> None:
    _, pages = full
    text = pages["ds1000.html"].text
    assert "Longer than base: sft-code × 1.750 (1.575 to 1.925)" in text and "Shorter than base" not in text
    assert "Longer than base: sft-code × 1.250" in pages["gpu.html"].text
    assert HEADLINE.format(1.75) in text


def test_the_book_is_of_the_fullest_results_that_there_are(tmp_path: Path) -> None:
    for name in ("laptop", "ds1000"):
        write_results(tmp_path / "results" / name)
        write_results(tmp_path / "results" / f"{name}-full", length_ratio=1.75)
    pages = build(tmp_path)
    assert "Longer than base: sft-code × 1.750" in pages["results.html"].text
    assert "Longer than base: sft-code × 1.750" in pages["ds1000.html"].text
    assert "profile laptop-full" in pages["intro.html"].text
    assert "make study PROFILE=ds1000-full PROBLEMS=path/to/ds1000.jsonl.gz" in pages["ds1000.html"].text


def test_without_the_benchmarks_results_its_chapter_says_what_makes_them(tmp_path: Path) -> None:
    write_results(tmp_path / "results/laptop")
    pages = build(tmp_path)
    assert "not measured yet (make study PROFILE=ds1000 PROBLEMS=path/to/ds1000.jsonl.gz)" in pages["ds1000.html"].text
    assert "not measured yet (make study PROFILE=embedded-gpu)" in pages["gpu.html"].text
    without = {name for name, page in pages.items() if ABSENT in page.text}
    told = {"claims.html", "intro.html", "limits.html", "poster.html"}  # which tell of DS-1000, too
    assert without == {"ds1000.html", "gpu.html", "teach.html"} | told


def test_numbers_and_wording_follow_the_results(full: tuple[Path, dict[str, Text]]) -> None:
    folder, pages = full
    before = pages["results.html"].text
    assert "Shorter than base: sft-code × 0.500 (0.450 to 0.550), sft-general" in before
    assert "No difference seen: sft-code, sft-general, dpo" in before  # a long list without numbers
    assert "5 blocks used, 1 excluded" in before
    assert "Longer than base" not in before and "Shorter with the angle: dpa × 0.500" in before
    assert "Equivalent to base within the margin: sft-code" in before
    shutil.rmtree(folder / "results")
    write_results(folder / "results/laptop", length_ratio=1.75, verdict="different")
    altered = build(folder)
    assert (
        HEADLINE.format(1.75) in altered["intro.html"].text and HEADLINE.format(0.5) not in altered["intro.html"].text
    )
    after = altered["results.html"].text
    assert "Longer than base: sft-code × 1.750" in after
    assert "Shorter than base" not in after and "Longer with the angle: dpa × 1.750" in after
    assert "Faster than base: sft-code" in after
    assert "Equivalent to base" not in after
    shutil.rmtree(folder / "results")
    write_results(folder / "results/laptop", length_ratio=1.02)
    assert "No difference seen: sft-code, sft-general" in build(folder)["results.html"].text


def test_a_missing_figure_table_and_policy_are_named(tmp_path: Path) -> None:
    results = tmp_path / "results/laptop"
    write_results(results)
    (results / "figures/training.svg").unlink()
    (results / "tables/tiers.csv").unlink()
    path = results / "record.json"
    data = json.loads(path.read_text())
    data["summary"]["missing"] = [{"what": "policy dpo", "command": "make study"}]
    del data["summary"]["policies"]["dpo"]
    path.write_text(json.dumps(data))
    text = build(tmp_path)["results.html"].text
    for part in ("policy dpo: make study", "figure training", "table tiers"):
        assert part in text


def test_a_record_of_an_older_schema_and_a_broken_notebook_are_named(tmp_path: Path) -> None:
    results = tmp_path / "results/laptop"
    write_results(results)
    (results / "stages/throughput.json").write_text('{"schema_version": 0}')
    (results / "stages/align-dpo.json").write_text("{")
    (results / "lab/align-dpa.ipynb").write_text("{")
    for name in ("benchmarks/grading.json", "learning/weights.json"):  # an older form, and cut short
        path = tmp_path / "results" / name
        path.parent.mkdir(parents=True)
        path.write_text("{}" if "grading" in name else '{"rsft')
    text = build(tmp_path)["results.html"].text
    assert "throughput.json follows schema version 0, the book reads 1: make study" in text
    assert "align-dpo.json is not JSON: make study" in text and "notebook align-dpa" in text
    assert (
        "results/benchmarks cannot be read (KeyError" in text
        and "results/learning cannot be read (JSONDecodeError" in text
    )


def test_executed_notebooks_are_pages_of_their_own(full: tuple[Path, dict[str, Text]]) -> None:
    _, pages = full
    assert "Align: dpo" in pages["lab/align-dpo.html"].text
    assert "Align: dpa" in pages["lab/align-dpa.html"].text
    assert "Throughput" in pages["lab/throughput-all.html"].text
    assert "Throughput: all" not in pages["lab/throughput-all.html"].text


def test_no_page_loads_anything_from_another_host(full: tuple[Path, dict[str, Text]]) -> None:
    _, pages = full
    for name, page in pages.items():
        assert [load for load in page.loads if re.match(r"(https?:)?//", load)] == [], name


def test_every_figure_has_alternative_text_and_every_formula_is_drawn(full: tuple[Path, dict[str, Text]]) -> None:
    _, pages = full
    for name, page in pages.items():
        assert (page.without_alt, page.formulas_as_source) == (0, 0), name


def test_no_directive_is_left_as_text(full: tuple[Path, dict[str, Text]]) -> None:
    """A backtick in the line that opens a directive makes it a code block, without any warning."""
    for path in (full[0] / "_build/html").glob("*.html"):
        assert ":header-rows:" not in path.read_text(encoding="utf-8"), path.name


def test_no_sentence_holds_a_typed_result() -> None:
    """Outside of substitutions and code there is no decimal number and no percentage; levels, versions and formulas are no results."""
    code = r"```(?:\{(?:literalinclude|code-cell|include)\}|[a-z]+\n|\n).*?```"
    told = r"\{\{[^}]*\}\}|\$\$.*?\$\$|\$[^$\n]*\$|(?<![\d.])(?:100|95|50|10|5)(?:&nbsp;| )?%|version \d+\.\d+"
    for path in ROOT.glob("book/*.md"):
        prose = re.sub(told, "", re.sub(code, "", path.read_text(), flags=re.DOTALL), flags=re.DOTALL)
        if path.stem not in (
            "logbook",
            "background",
            "rerun",
        ):  # the background cites others' results, `rerun` has commands
            assert re.findall(r"\d+\.\d+|\d+(?:&nbsp;| )?%", prose) == [], path.name


def test_the_committed_lab_notebooks_are_small() -> None:
    assert sum(path.stat().st_size for path in ROOT.glob("results/*/lab/*")) < 20e6


def test_commands_on_the_rerun_page_name_known_parameters() -> None:
    page = (ROOT / "book/rerun.md").read_text().replace("\\\n", " ")
    commands = re.findall(r"papermill notebooks/[^`\n|]+", page)
    assert commands
    outs = re.findall(r"out[= :]+(runs/[\w/-]+)", page)
    assert len(outs) > 15 and len(set(outs)) == len(outs)  # rows made with different parameters are never mixed
    for command in commands:
        words = shlex.split(command, comments=True)
        model = MODELS[Path(words[1]).stem]
        given = {words[i + 1]: yaml.safe_load(words[i + 2]) for i, word in enumerate(words) if word == "-p"}
        assert set(given) <= set(model.model_fields), command
        there = {
            k: v for k, v in given.items() if not str(v).startswith(("runs/", "path/", "results/")) and k != "runs"
        }
        check(
            model,
            {
                k: float(v) if k == "learning_rate" else v
                for k, v in there.items()
                if k not in ("problems", "served_model")
            },
        )


def test_the_chain_of_commands_on_the_rerun_page_reads_what_it_has_written() -> None:
    """One policy from training to analysis: what a command reads of `runs/mine` is what one above it writes, and every stage is there."""
    made, stages, lost = set[str](), list[str](), list[str]()
    for line in re.findall(r"^\|.*`(papermill notebooks/.*)` \|.*\|.*\|$", (ROOT / "book/rerun.md").read_text(), re.M):
        words = shlex.split(line)
        given = {words[i + 1]: words[i + 2] for i, word in enumerate(words) if word == "-p"}
        given |= next((yaml.safe_load(words[i + 1]) for i, word in enumerate(words) if word == "-y"), {})
        stages.append(Path(words[1]).stem)
        out = given.pop("out")
        read = (
            [str(value) for value in (*given.values(), *dict(given.get("policies") or {}).values())]
            if stages[-1] != "analyse"
            else []
        )
        lost += [path for path in read if path.startswith("runs/mine") and str(Path(path).parent) not in made]
        if given.get("policy", "base") != "base":
            assert given["adapter"], line  # else the model itself would answer under a policy's name
        made.add(out)
        if stages[-1] == "analyse":
            assert {f"runs/mine/{kind}/{name}" for kind in ("generate", "grade") for name in given["policies"]} <= made
    assert not lost and set(stages) == set(MODELS)


def test_every_table_and_record_is_one_click_away(full: tuple[Path, dict[str, Text]]) -> None:
    folder, pages = full
    names = {path.stem for path in (folder / "results/laptop/tables").glob("*.csv")}
    downloads = {path.name for path in (folder / "_build/html/_downloads").rglob("*.*")}
    assert {f"{name}.csv" for name in names} <= downloads
    (archive,) = (folder / "_build/html/_downloads").rglob("results.zip")
    with zipfile.ZipFile(archive) as inside:
        kept = set(inside.namelist())
    assert {f"laptop/tables/{name}.csv" for name in names} | {
        "laptop/record.json",
        "laptop/stages/align-dpo.json",
    } <= kept
    assert all(name in pages["reference.html"].text for name in names)
    (archive,) = (folder / "_build/html/_downloads").rglob("rows.zip")
    with zipfile.ZipFile(archive) as inside:
        assert gzip.decompress(inside.read("laptop/rows/generate/dpo/answers.jsonl.gz")) == b"{}\n"
    said = "Here with their rows: laptop. Published before rows were kept: ds1000, embedded-gpu."
    assert said in pages["reference.html"].text and said in pages["rerun.html"].text


def test_every_column_of_the_published_tables_is_explained() -> None:
    with (ROOT / "book/columns.csv").open(newline="") as file:
        told = {name for row in csv.DictReader(file) for name in re.findall("`([^`]+)`", row["Column"])}
    found = {}
    for path in sorted(ROOT.glob("results/*/tables/*.csv")):
        with path.open(newline="") as file:
            found |= dict.fromkeys(next(csv.reader(file)), path.name)
    assert set(found) == told


def test_the_citation_comes_as_bibtex_too(full: tuple[Path, dict[str, Text]]) -> None:
    _, pages = full
    text = pages["reference.html"].text
    told = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert "@software{tradeoffs," in text and f"{{{told['title']}}}" in text
    assert "rank correlation of fitted and true utility" in text


def test_every_public_function_is_in_the_reference(full: tuple[Path, dict[str, Text]]) -> None:
    _, pages = full
    for path in (ROOT / "src/tradeoffs").rglob("*.py"):
        parts = path.relative_to(ROOT / "src/tradeoffs").with_suffix("").parts
        if parts == ("__init__",) or "synthetic" in parts:
            continue
        if parts[0] in ("processes", "progress"):  # plumbing
            continue
        text = pages[f"api/{parts[0]}.html"].text
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name[0] != "_" and ast.get_docstring(node):
                kind = "class" if isinstance(node, ast.ClassDef) else "def"
                assert f"{kind} {node.name}" in text, (path, node.name)


def test_a_docstring_is_rendered_as_text_and_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "book" / "_ext")
    import study_api

    text = "First a_b * c, `x_y`.\n\n    min_W as it stands\n\nArgs:\n    one: shape (n,)\n        and more.\n    two: last.\n\n"
    text += "Source: a paper."
    assert study_api.rendered(text).split("\n") == [
        r"First a\_b \* c, `x_y`.",
        "",
        "    min_W as it stands",
        "",
        "",
        "**Args**",
        "",
        "- one: shape (n,)",
        "  and more.",
        "- two: last.",
        "",
        "",
        "**Source** a paper.",
        "",
    ]


@pytest.mark.parametrize("url", ["https://github.com/some-one/a.study", "git@github.com:some-one/a.study.git"])
def test_a_public_repository_gets_launch_links(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str) -> None:
    monkeypatch.syspath_prepend(ROOT / "book" / "_ext")
    import study_launch

    monkeypatch.setenv("TRADEOFFS_REPOSITORY", "/home/me/study.git")
    assert "TRADEOFFS_REPOSITORY=" in study_launch.links(tmp_path) and "Colab" not in study_launch.links(tmp_path)
    monkeypatch.setenv("TRADEOFFS_REPOSITORY", url)
    text = study_launch.links(tmp_path)
    assert set(study_launch.NOTEBOOKS) == {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert "(https://colab.research.google.com/github/some-one/a.study/blob/main/notebooks/grade.ipynb)" in text
    assert "(https://mybinder.org/v2/gh/some-one/a.study/main?labpath=notebooks%2Fgrade.ipynb)" in text


def test_notes_follow_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "book" / "_ext")
    import study_notes

    def rows(*passed: int) -> list[dict[str, str]]:
        return [  # 10 problems a tier, each answered by two policies with three seeds
            {"tier": str(n), "problem_id": f"{n}/{k % 10}", "status": "passed" if k < p else "failed"}
            for n, p in enumerate(passed, 1)
            for k in range(60)
        ]

    assert study_notes.tiers(rows(3, 0, 0)).startswith(
        "No policy passed any problem of tier 2 or 3: correctness here means the 10 "
    )
    power = [
        {"policy": "a", "batch_size": size, "joules_per_token": each, "watts": watts}
        for size, each, watts in ((64, 0.05, 150.0), (1, 2.5, 130.0))
    ]
    told = study_notes.joules({"baseline": "a", "roofline": power})
    assert told.startswith(
        "A token of `a` costs 2.50 J at 1 row, drawing 130 W; 0.0500 J at 64 rows, drawing 150 W. 64 times as many rows"
    )
    assert "a token takes 0.0200 times the joules" in told
    silent = [row | {"joules_per_token": float("nan")} for row in power]
    assert study_notes.joules({"baseline": "a", "roofline": silent}) == "Joules were not counted here."
    assert study_notes.tiers(rows(3, 1, 1)) == study_notes.tiers(rows(0, 0, 0)) == ""
    shares = {"a": {"cap_share": {"estimate": 0.9}}, "b": {"cap_share": {"estimate": 0.2}}}
    assert "More than half of the answers of `a` are cut" in study_notes.censored({"policies": shares})
    compared = {
        arm: {
            "tokens_per_s": {"estimate": 1.5, "low": 1.2, "high": 2.0, "kind": "ratio"},
            "utilisation": {"estimate": used},
        }
        for arm, used in (("a", 0.9), ("b", 0.5), ("c", None))
    }
    assert study_notes.padded({"comparisons": compared, "baseline": "sft"}) == (
        "Tokens per second of `b` are ×\u00a01.500 (1.200 to 2.000) those of `sft`; had padding been counted as output, ×\u00a03.00."
    )
    assert "not known here" in study_notes.padded({"comparisons": {"c": compared["c"]}})

    def change(tokens: str, rate: str = "no difference seen") -> dict[str, Any]:
        ratio = {"estimate": 1.25, "low": 1.1, "high": 1.4, "kind": "ratio", "verdict": tokens}
        return {
            "tokens_per_answer": ratio,
            "pass_rate": {
                "estimate": 0.0,
                "low": -0.1,
                "high": 0.1,
                "kind": "difference",
                "unit": "share",
                "verdict": rate,
            },
        }

    beside = {"a": change("higher"), "b": change("no difference seen"), "d": change("lower")}
    against = {"against_control": {"chance": beside}, "comparisons": {name: change("lower") for name in "bd"}}
    told = study_notes.against_control(against)
    assert "**Longer than chance:** `a`" in told and "By pass rate: **No difference seen:** `a`" in told
    assert "`b` answers with fewer tokens than the baseline, but not with fewer than the control" in told
    assert "No arm was set beside" in study_notes.against_control({})
    seeded = {
        "comparisons": {
            "a": {"tokens_per_answer": {"seeds": [0.9, 1.2]}},
            "b": {"tokens_per_answer": {"seeds": [1.0, 1.1]}},
        }
    }
    assert "trained 2 times" in study_notes.trainings(seeded, [0, 1])
    assert "of `a` most, from ×\u00a00.90 to ×\u00a01.20" in study_notes.trainings(seeded, [0, 1])
    assert "trained once (seed 3)" in study_notes.trainings({}, [3])
    assert "No policy was trained" in study_notes.trainings({}, [])
    few = {
        "comparisons": {"a": {"pass_rate": {"detectable": 0.03}}},
        "baseline": "s",
        "policies": {"s": {"pass_rate": {"estimate": 0.01}}},
    }
    assert "even the loss of every right answer would have gone unseen" in study_notes.missed(few)
    few["policies"]["s"]["pass_rate"]["estimate"] = 0.2
    assert "loss of" not in study_notes.missed(few)
    assert "No policy has most" in study_notes.censored({"policies": {"b": shares["b"]}})
    taken_back = {"p_adjusted": 0.058, "reason": "p = 0.058 after adjustment for 13 comparisons"}
    ratios = {
        "x": {"m": {"low": 0.5, "high": 2.0}},
        "y": {"m": {"low": 0.8, "high": 1.25}},
        "z": {"m": {"low": None, "high": 3.0}},
    }
    # of standard error s the interval is exp(2 x 1.96 s) wide; seen in four of five studies is exp(2.8 s)
    least, most = (math.exp(2.8 * math.log(wide) / 3.92) for wide in (1.25 / 0.8, 4.0))
    both = study_notes.unseen({"comparisons": ratios}, "m")
    assert f"smaller than \u00d7\u00a0{least:.2f} (or \u00f7\u00a0{least:.2f}) would" in both
    assert both.endswith(f"smaller than \u00d7\u00a0{most:.2f}.")
    alone = study_notes.unseen({"comparisons": ratios, "aligned": ["x"]}, "m")
    assert alone == f"A change smaller than \u00d7\u00a0{most:.2f} (or \u00f7\u00a0{most:.2f}) would usually be missed."
    assert "not known" in study_notes.unseen({"comparisons": {"z": ratios["z"]}}, "m")
    where = [
        {
            "arm": arm,
            "tier": tier,
            "graded": "9",
            "passed": n,
            "pass_rate": str(int(n) / 9),
            "low": "0.1",
            "high": "0.6",
        }
        for arm, tier, n in (
            ("a", "1", "3"),
            ("a", "2", "0"),
            ("a", "3", "0"),
            ("b", "1", "2"),
            ("b", "2", "0"),
            ("b", "3", "1"),
        )
    ]
    assert study_notes.grouped(where, "tier", "a") == (
        "`a` is right most often in tier 1, 33\u00a0% (10 to 60) of 9 answers, least in tier 2, 0\u00a0% (10 to 60) of 9 answers. "
        "No arm passed any of tier 2."
    )
    assert "Nothing" in study_notes.grouped(where, "tier", "c") and "Nothing" in study_notes.grouped([], "tier", "a")
    assert "pass rate of `x` (p = 0.058)" in study_notes.unsettled({"comparisons": {"x": {"pass_rate": taken_back}}})
    assert "took back no verdict" in study_notes.unsettled({"comparisons": {"x": {"pass_rate": {"reason": None}}}})
    several = {
        "x": {"a": {"p": 0.01, "p_adjusted": 0.03}, "b": {"p": 0.04, "p_adjusted": 0.2}, "c": {"p": None}},
        "y": {"a": {"p": 0.5}},
    }
    assert "Of 3 comparisons made here 2 have p < 0.05 by themselves, 1 after" in study_notes.many(
        {"comparisons": several}
    )
    assert study_notes.many({}) == "Here nothing was compared."
    moved = study_notes.drift({"x": [100.0, 90.0], "y": [110.0, 108.0], "z": [1.0]})
    assert (
        "up to 10.0\u00a0% faster or slower" in moved and "(`x`)" in moved and "22.2\u00a0% faster in the best" in moved
    )
    assert study_notes.drift({}) == "No such probe was made here."
    told = {"sd": 0.005, "detectable": 0.007, "sd_run": 0.015, "detectable_run": 0.02}
    assert "scattered by 1.50 %, with which it takes changes of 2.0 %." in study_notes.power({"power": told})
    chance = study_notes.power({"power": told | {"power": 0.31, "blocks": 12, "needed": 20}})
    assert chance.endswith(
        "From the pilot, the chance to find a policy of equal speed equivalent was 31 % in 12 blocks (20 blocks for 90 %)."
    )
    trained = {"align-a": {"start": ""}, "align-b": {"start": "runs/a", "shuffle_rewards": False}}
    stages = {name: {"parameters": {"method": "rsft"} | given} for name, given in trained.items()}
    assert study_notes.control(stages).startswith("There is no arm with as much further training and no reward")
    by_chance = {"parameters": {"method": "rsft", "start": "runs/a", "shuffle_rewards": True}}
    told_of = study_notes.control(stages | {"align-c": by_chance, "align-c-s1": by_chance})
    assert told_of.startswith("The control, `c` (as `rsft`), is trained as that method is")
    longer = {"estimate": 1.2, "low": 1.1, "high": 1.3, "unit": "ratio", "kind": "ratio", "verdict": "higher"}
    beside = {"against_control": {"c": {}}, "comparisons": {"c": {"tokens_per_answer": longer}}}
    assert study_notes.unrewarded(beside).endswith(
        "that an aligned policy needs more is not yet the work of its rewards."
    )
    beside["comparisons"]["c"]["tokens_per_answer"] = longer | {"verdict": "no difference seen"}
    assert study_notes.unrewarded(beside).endswith("of the baseline’s tokens, no difference seen.")
    assert study_notes.unrewarded({}) == "No control without rewards was measured beside them."
    accepted = [{"policy": "d", "alpha": "1.0"}, {"policy": "x", "alpha": "0.7"}, {"policy": "y", "alpha": "0.98"}]
    assert study_notes.acceptance(accepted, "d") == "It lies between 70.0\u00a0% (`x`) and 98.0\u00a0% (`y`)."
    assert study_notes.order("0").startswith("in random order") and "in turns of one token" in study_notes.order("1")
    assert "in turns of 4 tokens" in study_notes.order("4")
    front = {"policies": {"x": {"on_front": {"estimate": 0.7}}, "y": {"on_front": {"estimate": 0.01}}}}
    assert "`x` 70\u00a0%" in study_notes.front(front) and "`y`" not in study_notes.front(front)


def test_the_extension_knows_results_only() -> None:
    for path in (ROOT / "book/_ext").glob("*.py"):
        assert "tradeoffs" not in re.findall(r"^\s*(?:import|from) (\w+)", path.read_text(), re.MULTILINE), path


def test_a_list_of_few_carries_its_numbers_and_open_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "book" / "_ext")
    import study_words

    open_ended = {"estimate": 0.9, "low": 0.63, "high": None, "unit": "ratio", "verdict": "no difference seen"}
    compared = {name: {"seconds_per_correct": open_ended} for name in ("a", "b", "c")}
    found = study_words.finding("seconds_per_correct", compared, "base")
    assert found.startswith("**No difference seen:** `a` ×\u00a00.900 (0.630 to no upper limit), `b`")
    found = study_words.finding("seconds_per_correct", compared | {"d": compared["a"]}, "base")
    assert found == "**No difference seen:** `a`, `b`, `c`, `d`."


def test_the_question_has_a_verdict_that_follows_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "book" / "_ext")
    import study_words

    timed = {name: {"verdict": "equivalent"} for name in ("a", "b", "base")}
    told: dict[str, Any] = {"aligned": ["a", "b"], "comparisons": {}, "throughput": timed}
    assert study_words.question(told) == (
        "- **Tokens per second at equal work (H1): not supported.** None of 2 aligned policies is shown to differ from the policy that all "
        "started from by more than the margin; 2 within it.\n"
        "- **Seconds per correct answer (H2): not measured.**\n- **Pass rate (H3): not measured.**"
    )
    timed["b"]["verdict"] = "inconclusive"
    assert "(H1): undecided.**" in study_words.question(told)
    timed["b"]["verdict"] = "different"
    assert "(H1): supported.** 1 of 2 aligned policies (`b`) is shown" in study_words.question(told)
    for verdict, expected in (
        ("no difference seen", "undecided.** None of 1"),
        ("lower", "supported.** 1 of 1"),
        ("not measured", "not measured."),
    ):
        told["comparisons"] = {
            "a": {name: {"verdict": verdict} for name in ("seconds_per_correct", "pass_rate")},
            "base": {"pass_rate": {"verdict": "lower"}},  # not aligned: no answer to the question
        }
        assert f"Pass rate (H3): {expected}" in study_words.question(told)
        assert f"Seconds per correct answer (H2): {expected}" in study_words.question(told)


def test_a_claim_names_where_it_was_tested(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "book" / "_ext")
    import study_words

    common = {"verdict": "v", "text": "t", "shows": "s", "test": "t", "measured": "m"}
    rows = [{"claim": claim} | common for claim in ("c4", "c6", "c8", "c9")]
    learnt, fact, graded, formula = study_words.ledger(rows, "lab/analyse-all.ipynb").split("**c")[1:]
    assert "*By:* [notebook](lab/analyse-all.ipynb), on {ref}`sec-learning`." in learnt and "*By:*" not in fact
    assert "[answers and verdicts](lab.md)" in graded and formula.rstrip().endswith(
        "[notebook](lab/analyse-all.ipynb)."
    )
    assert "notebook" not in study_words.ledger(rows)
