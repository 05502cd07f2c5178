"""Sphinx extension: the book's only door to `results/<profile>/`.

Before pages are read it (1) turns `record.json` into MyST substitutions, so that prose names keys and never numbers,
(2) stages figures, tables and executed notebooks into `_results/` and `lab/`, and (3) puts a stand-in wherever something
that a page asks for is missing, and says which command makes it: the book builds at every stage of the study.

Environment: `TRADEOFFS_PROFILE` (default: the first of `PUBLISHED` that has results); `TRADEOFFS_RESULTS` (default: the folder `results`
beside the book).
"""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import statistics
import zipfile
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import study_api
import study_grading
import study_launch
import study_learning
import study_mathml
import study_measuring
import study_notebooks
import study_notes
import study_pages
import study_tables as tables
import study_teaching
import yaml
from study_tables import POLICY_COLUMNS, short_commit, shown
from study_words import dose_finding, finding, interval, ledger, question, throughput_finding, verdict_counts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sphinx.application import Sphinx
    from sphinx.config import Config

T = TypeVar("T")

SCHEMA_VERSION = 1
KEY = re.compile(r"\{\{\s*(\w+)\s*\}\}")
NEEDS = dict.fromkeys(("ds1000", "ds1000-full"), " PROBLEMS=path/to/ds1000.jsonl.gz")  # what is no part of the project
PUBLISHED = ("laptop-full", "laptop")  # what the book is of, unless asked for another: the fullest that there is
# The chapters beside it, by what their keys and assets begin with: the fullest profile that has results.
BESIDE = {"ds1000": ("ds1000-full", "ds1000"), "gpu": ("embedded-gpu",)}
ASSET = re.compile(rf"_results/((?:(?:{'|'.join(BESIDE)})/)?(?:figures/\w+\.svg|tables/\w+\.csv|csv/\w+\.csv))")
STAGES = ("align", "generate", "grade", "throughput", "speculate", "analyse")
EMBEDDED = "SmolLM2-135M-Instruct"


@dataclass
class Results:
    """What was found of one profile.

    Attributes:
        folder: `results/<profile>`.
        command: what a reader runs to make it.
        record: the analysis' record; empty where `reason` is given.
        stages: records of the other stages, by file stem (`generate-base`), in the order of stages and policies.
        reason: why there is no record, or None.
        unread: why stages' records could not be read, a line each.
    """

    folder: Path
    command: str
    record: dict[str, Any] = field(default_factory=dict)
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)
    reason: str | None = None
    unread: list[str] = field(default_factory=list)

    @property
    def summary(self) -> dict[str, Any]:
        """The analysis' summary."""
        return dict(self.record.get("summary", {}))

    @property
    def verdicts(self) -> list[dict[str, str]]:
        """Rows of `verdicts.csv`, none where it is missing."""
        path = self.folder / "tables" / "verdicts.csv"
        return tables.read(path) if path.exists() else []


def _record(path: Path) -> tuple[dict[str, Any], str | None]:
    if not path.exists():
        return {}, f"`{path.name}` is missing"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return {}, f"`{path.name}` is not JSON"
    version = record.get("schema_version") if isinstance(record, dict) else None
    if version != SCHEMA_VERSION:
        return {}, f"`{path.name}` follows schema version {version}, the book reads {SCHEMA_VERSION}"
    return record, None


def load(folder: Path, profile: str) -> Results:
    """Read the records of a profile; what cannot be read is explained in `reason`, never raised."""
    record, reason = _record(folder / "record.json")
    arms = list(record.get("summary", {}).get("policies", {}))

    def order(name: str) -> tuple[int, int, str]:
        stage, _, arm = name.partition("-")
        # The policy `dpa` stands where its first arm `dpa-45m` stands.
        place = next((i for i, known in enumerate(arms) if known == arm or known.startswith(f"{arm}-")), len(arms))
        return (STAGES.index(stage) if stage in STAGES else len(STAGES), place, name)

    paths = sorted((folder / "stages").glob("*.json"), key=lambda path: order(path.stem))
    stages = {path.stem: _record(path) for path in paths}
    return Results(
        folder=folder,
        command="make study" + (f" PROFILE={profile}" if profile != "laptop" else "") + NEEDS.get(profile, ""),
        record=record,
        stages={name: stage for name, (stage, unread) in stages.items() if not unread},
        reason=reason,
        unread=[unread for _, unread in stages.values() if unread],
    )


def _settings(results: Results) -> dict[str, str]:
    """`<stage>_<parameter>` -> the values used, over all runs of the stage."""
    found: dict[str, list[str]] = {}
    for record in (*results.stages.values(), results.record):
        for parameter, value in record.get("parameters", {}).items():
            values = found.setdefault(f"{record['stage']}_{parameter}", [])
            if shown(value) not in values:
                values.append(shown(value))
    text = {key: ", ".join(values) for key, values in found.items()}
    if "throughput_margin" in text:
        text["throughput_margin"] = f"{100 * float(text['throughput_margin']):g}\u00a0%"
    text["throughput_order"] = study_notes.order(text.get("throughput_turn_tokens", "0"))
    setting = results.summary.get("throughput_setting", {})
    return text | {f"throughput_{key}": str(setting[key]) for key in ("blocks", "excluded_blocks") if key in setting}


def _provenance(results: Results) -> dict[str, str]:
    provenance, parameters = results.record.get("provenance", {}), results.record.get("parameters", {})
    models = {r["parameters"]["model"] for r in results.stages.values() if "model" in r.get("parameters", {})}
    problems = parameters.get("problems", "bundled")
    text = {
        "hardware": results.summary.get("hardware", ""),
        "date": str(provenance.get("created_utc", ""))[:10],
        "commit": short_commit(provenance),
        "problem_set": {"bundled": "the bundled set", "ds1000": "DS-1000"}.get(problems, f"`{Path(problems).name}`"),
        "model": ", ".join(sorted(EMBEDDED if m == "embedded" else shown(m) for m in models)),
    }
    records = [*results.stages.values(), results.record]
    for stage in STAGES:
        if seconds := [r["seconds"] for r in records if r.get("stage") == stage and r.get("seconds") is not None]:
            text[f"minutes_{stage}"] = f"{statistics.median(seconds) / 60:.1f}"
    text |= {f"version_{name.replace('-', '_')}": v for name, v in provenance.get("packages", {}).items()}
    counts = results.record.get("counts", {})
    text["family_note"] = study_notes.one_family(counts.get("families"))
    return text | {f"n_{name}": str(count) for name, count in counts.items()}


def _values(summary: dict[str, Any], baseline: str) -> dict[str, str]:
    """`<metric>_<arm>` and `throughput_<policy>` -> value with interval; the baseline's also as `<metric>_baseline`."""
    text = {}
    for arm, metrics in summary.get("policies", {}).items():
        for metric, value in metrics.items():
            text[f"{metric}_{arm.replace('-', '_')}"] = interval(value)
            if arm == baseline:
                text[f"{metric}_baseline"] = interval(value)
    for policy, row in summary.get("throughput", {}).items():
        if row.get("tokens_per_s"):
            text[f"throughput_{policy.replace('-', '_')}"] = interval(row["tokens_per_s"])
            if policy == baseline:
                text["throughput_baseline"] = interval(row["tokens_per_s"])
    return text


def substitutions(results: Results) -> dict[str, str]:
    """Everything that prose may name: values, findings, settings and provenance."""
    if results.reason:
        return {}
    summary = results.summary
    baseline = summary.get("baseline", "base")
    text = {"baseline": f"`{baseline}`", **_settings(results), **_provenance(results), **_values(summary, baseline)}
    compared, timed = summary.get("comparisons", {}), summary.get("throughput", {})
    for brief, start in ((False, "finding"), (True, "brief")):
        text |= {f"{start}_{metric}": finding(metric, compared, baseline, brief=brief) for metric in POLICY_COLUMNS}
        text[f"{start}_throughput"] = throughput_finding(timed, baseline, brief=brief)
    claims = summary.get("claims", [])
    notebook = "lab/analyse-all.ipynb" if (results.folder / "lab" / "analyse-all.ipynb").is_file() else ""
    text |= {
        "claims": ledger(claims, notebook),
        "claims_counted": verdict_counts(claims),
        "question": question(summary),
    }
    text["finding_dose"] = dose_finding(summary.get("dose_response", {}))
    found = {path.stem: tables.read(path) for path in (results.folder / "tables").glob("*.csv")}
    probes = {
        name.removeprefix("generate-"): record.get("summary", {}).get("probe_tokens_per_s", [])
        for name, record in results.stages.items()
        if name.startswith("generate-")
    }
    seeds = {r["parameters"].get("seed") for name, r in results.stages.items() if name.startswith("align-")} - {None}
    text |= study_notes.notes(summary, found, probes, sorted(seeds)) | {
        "control_note": study_notes.control(results.stages)
    }
    lines = (re.sub(r"^(\w+:)", r"**\1**", sentence) for sentence in summary.get("headline", {}).values())
    text["headlines"] = "\n".join(f"- {line}" for line in lines)
    return {key: value for key, value in text.items() if value}


def _stand_in(name: str, command: str) -> str:
    label = html.escape(f"Figure {name}: not made yet. {command} makes it.")
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 120" role="img">'
        '<rect x="1" y="1" width="638" height="118" fill="none" stroke="#888" stroke-dasharray="6 4"/>'
        '<text x="320" y="65" text-anchor="middle" font-family="sans-serif" font-size="16" fill="#888">'
        f"{label}</text></svg>"
    )


def stage(results: Results, target: Path, wanted: set[str]) -> list[str]:
    """Copy and format what the pages ask for.

    Args:
        results: what there is.
        target: the folder that the pages name.
        wanted: assets that pages name, such as `figures/training.svg`.

    Returns:
        The assets that are missing and got a stand-in.
    """
    usable = results.reason is None
    made = tables.made(results.summary, results.stages, results.verdicts) if usable else {}
    missing = []
    for asset in sorted(wanted):
        kind, name = asset.split("/")
        stem = Path(name).stem
        original = results.folder / ("tables" if kind == "csv" else kind) / name
        copy = target / asset
        copy.parent.mkdir(parents=True, exist_ok=True)
        exists = usable and original.exists()
        if kind != "tables" and exists:
            shutil.copyfile(original, copy)
            continue
        table = (
            []
            if kind != "tables"
            else made[stem]
            if stem in made
            else tables.readable(tables.read(original))
            if exists
            else []
        )
        if table:
            tables.write(copy, table)
        elif kind == "figures":
            copy.write_text(_stand_in(stem, results.command), encoding="utf-8")
        else:
            tables.write(copy, [["Missing", "Command"], [stem, f"`{results.command}`"]])
        if not table and kind != "csv":
            missing.append(f"{kind.removesuffix('s')} `{stem}`")
    return missing


def bibtex(cff: Path) -> str:
    """The software's citation as an entry for BibTeX, in a block of code."""
    told = yaml.safe_load(cff.read_text(encoding="utf-8"))
    authors = " and ".join(
        f"{{{a['name']}}}" if "name" in a else f"{a['family-names']}, {a['given-names']}" for a in told["authors"]
    )
    fields = {"title": f"{{{told['title']}}}", "author": authors, "version": told["version"]}
    fields |= {"year": str(told["date-released"])[:4]} if "date-released" in told else {}
    # quotes and not a second pair of braces, which the pages' templates would take for a key
    lines = ",\n".join(f'  {name} = "{value}"' for name, value in fields.items())
    return f"```bibtex\n@software{{tradeoffs,\n{lines}\n}}\n```\n"


def _data(results: Results, target: Path) -> None:
    """Write `data.md`, a list of all tables, and `results.zip`, which holds them and every record."""
    target.mkdir(parents=True, exist_ok=True)
    files = sorted((results.folder / "tables").glob("*.csv")) if results.reason is None else []
    lines = ["| Table | Rows | Columns |", "|---|---|---|"]
    for path in files:
        rows = tables.read(path)
        (target / "csv").mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target / "csv" / path.name)
        names = ", ".join(f"`{name}`" for name in (rows[0] if rows else []))
        lines.append(f"| [{path.stem}](_results/csv/{path.name}) | {len(rows)} | {names} |")
    text = "\n".join(lines) if files else f"Not made yet: `{results.command}` makes them."
    (target / "data.md").write_text(text + "\n", encoding="utf-8")
    with zipfile.ZipFile(target / "results.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        records = [*results.folder.glob("record.json"), *sorted(results.folder.glob("stages/*.json"))]
        for path in [*files, *(records if results.reason is None else [])]:
            archive.write(path, path.relative_to(results.folder.parent))


def _fullest(folder: Path, profiles: tuple[str, ...]) -> str:
    """The first of some profiles that has results; the last, the quickest to run, where none has."""
    return next((name for name in profiles if (folder / name / "record.json").exists()), profiles[-1])


def rows_published(folder: Path, target: Path) -> str:
    """Write `rows.zip`; say which results come with the rows that they were computed from, and which are older than that."""
    kept = {path.parent.name: (path.parent / "rows").is_dir() for path in sorted(folder.glob("*/record.json"))}
    with zipfile.ZipFile(target / "rows.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in (name for name, rows in kept.items() if rows):
            for path in sorted(
                path for part in ("record.json", "tables/*", "rows/**/*") for path in (folder / name).glob(part)
            ):
                if path.is_file():
                    archive.write(path, path.relative_to(folder))
    there = [f"`{name}`" for name, rows in kept.items() if rows]
    lacking = [f"`{name}`" for name, rows in kept.items() if not rows]
    said = [f"Here with their rows: {', '.join(there)}." if there else "None of the results here have them yet."]
    return " ".join(said + ([f"Published before rows were kept: {', '.join(lacking)}."] if there and lacking else []))


def notice(results: Results, missing: list[str], broken: Sequence[str] = ()) -> str:
    """Write the box that says what is missing or doubtful; empty where nothing is."""
    # the analysis knows no profile: its `make study` is that of these results
    commands = {None: results.command, "make study": results.command}
    items = [
        f"{m.get('what')}: `{commands.get(m.get('command'), m.get('command'))}`"
        for m in results.summary.get("missing", [])
    ]
    if results.reason:
        items.insert(0, f"No results of profile `{results.folder.name}` yet: {results.reason}.")
    items += [f"{unread}: `{results.command}`" for unread in results.unread]
    if missing:
        items.append(f"{', '.join(missing)}: `{results.command}`")
    items += dict.fromkeys(broken)
    boxes = {"Not everything is measured yet": items, "Notes of the analysis": results.summary.get("warnings", [])}
    return "\n\n".join(
        f":::{{admonition}} {title}\n:class: warning\n" + "\n".join(f"- {line}" for line in lines) + "\n:::"
        for title, lines in boxes.items()
        if lines
    )


def _or_absent(read: Callable[[Path], T], folder: Path, part: str, unread: list[str]) -> T:
    """Read what no profile owns; where that fails it is noted in `unread`, and all is as if nothing were there.

    Args:
        part: `learning` or `benchmarks`, the folder of results to which a failure is owed.
    """
    try:
        return read(folder)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        unread.append(
            f"`results/{part}` cannot be read ({type(error).__name__}: {error}); its tables name the commands that make it"
        )
        return read(folder / "absent")


def prepare(app: Sphinx, config: Config) -> None:
    """Read results, stage them, and hand the pages their substitutions."""
    source = Path(app.srcdir)
    folder = Path(os.environ.get("TRADEOFFS_RESULTS") or source.parent / "results")
    profile = os.environ.get("TRADEOFFS_PROFILE") or _fullest(folder, PUBLISHED)
    results = load(folder / profile, profile)
    pages = {path.stem: path.read_text(encoding="utf-8") for path in sorted(source.glob("*.md"))}
    wanted = {asset for page in pages.values() for asset in ASSET.findall(page)}
    for old in ("_results", "lab"):
        shutil.rmtree(source / old, ignore_errors=True)
    own = {asset for asset in wanted if not asset.startswith(tuple(f"{name}/" for name in BESIDE))}
    missing = stage(results, source / "_results", own)
    if results.reason is None:
        missing += [f"notebook {name}" for name in study_notebooks.stage(results.folder / "lab", source / "lab")]
    _data(results, source / "_results")
    (source / "_results" / "bibtex.md").write_text(bibtex(source.parent / "CITATION.cff"), encoding="utf-8")
    study_teaching.stage(source)
    study_api.stage(source, source.parent / "src" / "tradeoffs")
    broken: list[str] = []
    for chapter in (study_grading, study_measuring):
        _or_absent(partial(chapter.stage, source=source), folder / "benchmarks", "benchmarks", broken)
    _or_absent(partial(study_learning.stage, source=source), folder, "learning", broken)
    text = (
        substitutions(results)
        | _or_absent(study_learning.substitutions, folder, "learning", broken)
        | _or_absent(partial(study_learning.budgets, stages=results.stages), folder, "learning", broken)
        | _or_absent(study_measuring.answers, folder / "benchmarks", "benchmarks", broken)
        | {"profile": f"`{profile}`", "command": f"`{results.command}`", "launch": study_launch.links(source.parent)}
    )
    keys = {key for page in pages.values() for key in KEY.findall(page)}
    for name, profiles in BESIDE.items():
        there = _fullest(folder, profiles)
        beside = load(folder / there, there)
        assets = {asset.removeprefix(f"{name}/") for asset in wanted if asset.startswith(f"{name}/")}
        lacking = stage(beside, source / "_results" / name, assets)
        if beside.reason is None:
            unread = study_notebooks.stage(beside.folder / "lab", source / "lab", f"-{name}")
            lacking += [f"notebook {notebook}" for notebook in unread]
        absent = f"*not measured yet (`{beside.command}`)*"
        text |= dict.fromkeys((key for key in keys - set(text) if key.startswith(f"{name}_")), absent)
        text |= {f"{name}_{key}": value for key, value in substitutions(beside).items()}
        text |= {f"{name}_notice": notice(beside, lacking), f"{name}_command": f"`{beside.command}`"}
        if beside.reason is None:
            text[f"{name}_weights"] = study_notes.weights(results.stages, beside.stages)
    text["rows_published"] = rows_published(folder, source / "_results")
    text["lab_seeds"] = study_notebooks.further_seeds(source / "lab")
    unknown = sorted(keys - set(text) - {"notice"})
    if unknown and not results.reason:
        missing.append("values " + ", ".join(f"`{key}`" for key in unknown))
    text |= dict.fromkeys(unknown, f"*not measured yet (`{results.command}`)*") | {
        "notice": notice(results, missing, broken)
    }
    config.myst_substitutions = {**(config.myst_substitutions or {}), **text}


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx; runs before the table of contents looks for notebooks (priority 900)."""
    app.add_html_math_renderer("mathml", (study_mathml.inline, None), (study_mathml.block, None))
    app.connect("config-inited", prepare, priority=100)
    app.connect("html-page-context", study_pages.finish, priority=900)  # after the theme has had its say
    app.connect("build-finished", study_pages.lighten)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
