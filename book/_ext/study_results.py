"""Sphinx extension: the book's only door to `results/<profile>/`.

Before pages are read it (1) turns `record.json` into MyST substitutions, so that prose names keys and never numbers, (2) stages figures,
tables and executed notebooks into `_results/` and `lab/`, and (3) puts a stand-in wherever something is missing that a page asks for,
and says which command makes it: the book builds at every stage of the study.

Environment: `TRADEOFFS_PROFILE` (default `laptop`), `TRADEOFFS_RESULTS` (default: the folder `results` beside the book).
"""

from __future__ import annotations

import csv
import html
import json
import os
import re
import shutil
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import study_mathml
import study_notebooks
from study_words import DEFAULT_UNITS, finding, interval, number, throughput_finding

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.config import Config

SCHEMA_VERSION = 1
KEY = re.compile(r"\{\{\s*(\w+)\s*\}\}")
ASSET = re.compile(r"_results/(figures/\w+\.svg|tables/\w+\.csv|csv/\w+\.csv)")
POLICY_COLUMNS = {
    "pass_rate": "Pass rate",
    "tokens_per_answer": "Tokens an answer",
    "seconds_per_answer": "Seconds an answer",
    "tokens_per_s": "Tokens/s, natural lengths",
    "seconds_per_correct": "Seconds a correct answer",
    "cap_share": "Share cut at the cap",
    "utilisation": "Batch utilisation",
    "prompt_tokens": "Prompt tokens",
}
SETTINGS = ("method", "domain", "start", "steps", "batch_size", "learning_rate", "lora_rank", "prompts", "samples", "temperature",
            "beta", "rounds", "angles", "seed")  # fmt: skip


@dataclass
class Results:
    """What was found of one profile.

    Attributes:
        folder: `results/<profile>`.
        command: what a reader runs to make it.
        summary: the analysis' summary; empty where `reason` is given.
        provenance: of the analysis.
        stages: records of the other stages, by file stem (`generate-base`).
        reason: why there is no summary, or None.
    """

    folder: Path
    command: str
    summary: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)
    reason: str | None = None

    @property
    def absent(self) -> str:
        """What stands in the place of a missing value."""
        return f"*not measured yet (`{self.command}`)*"


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
    command = "make study" if profile == "laptop" else f"make study PROFILE={profile}"
    record, reason = _record(folder / "record.json")
    stages = {path.stem: _record(path)[0] for path in sorted((folder / "stages").glob("*.json"))}
    return Results(
        folder=folder,
        command=command,
        summary=record.get("summary", {}),
        provenance=record.get("provenance", {}),
        parameters=record.get("parameters", {}),
        stages={name: stage for name, stage in stages.items() if stage},
        reason=reason,
    )


def _machine(provenance: dict[str, Any]) -> str:
    accelerator = provenance.get("accelerator") or "no GPU"
    memory = provenance.get("memory_gib", "?")
    return f"{provenance.get('hardware', 'unknown')}, {provenance.get('cores', '?')} cores, {memory} GiB, {accelerator}"


def _commit(provenance: dict[str, Any]) -> str:
    commit = provenance.get("commit")
    return f"`{commit[:10]}`{' with local changes' if provenance.get('dirty') else ''}" if commit else "unknown"


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_shown, value))
    if isinstance(value, str):
        return Path(value).name if "/" in value and Path(value).is_absolute() else value
    return "none" if value is None else str(value)


def _settings(results: Results) -> dict[str, str]:
    """`<stage>_<parameter>` -> the values used, over all runs of the stage."""
    found: dict[str, list[str]] = {}
    for name, record in results.stages.items():
        for parameter, value in record.get("parameters", {}).items():
            values = found.setdefault(f"{name.partition('-')[0]}_{parameter}", [])
            if _shown(value) not in values:
                values.append(_shown(value))
    found |= {f"analyse_{name}": [_shown(value)] for name, value in results.parameters.items()}
    settings = {key: ", ".join(values) for key, values in found.items()}
    if "throughput_margin" in settings:
        settings["throughput_margin"] = f"{100 * float(settings['throughput_margin']):g} %"
    return settings


def _provenance(results: Results) -> dict[str, str]:
    records = [*results.stages.values(), {"stage": "analyse", "provenance": results.provenance}]
    measured = [r["provenance"] for r in records if r.get("stage") in ("generate", "throughput")] or [results.provenance]
    models = {r["parameters"]["model"] for r in results.stages.values() if "model" in r.get("parameters", {})}
    names = sorted("SmolLM2-135M-Instruct" if m == "embedded" else _shown(m) for m in models)
    problems = results.parameters.get("problems", "bundled")
    text = {
        "hardware": "; ".join(sorted({_machine(p) for p in measured})),
        "date": str(results.provenance.get("created_utc", "unknown"))[:10],
        "commit": _commit(results.provenance),
        "problem_set": {"bundled": "the bundled set", "ds1000": "DS-1000"}.get(problems, f"`{Path(problems).name}`"),
    }
    if names:
        text["model"] = ", ".join(names)
    for stage in ("align", "generate", "grade", "throughput"):
        if seconds := [r["seconds"] for r in results.stages.values() if r.get("stage") == stage and r.get("seconds") is not None]:
            text[f"minutes_{stage}"] = number(sum(seconds) / 60)
    text |= {f"version_{name.replace('-', '_')}": v for name, v in results.provenance.get("packages", {}).items()}
    return text


def _counts(results: Results) -> dict[str, str]:
    path = results.folder / "tables" / "verdicts.csv"
    if not path.exists():
        return {}
    rows = _read(path)
    return {
        "n_answers": str(len(rows)),
        "n_arms": str(len({r.get("arm") for r in rows})),
        "n_problems": str(len({r.get("problem_id") for r in rows})),
        "n_families": str(len({(r.get("library"), r.get("family")) for r in rows})),
        "n_unavailable": str(sum(r.get("status") == "unavailable" for r in rows)),
    }


def substitutions(results: Results) -> dict[str, str]:
    """Everything that prose may name: values, findings, settings and provenance."""
    if results.reason:
        return {}
    summary = results.summary
    baseline = summary.get("baseline") or next(iter(summary.get("policies", {})), "base")
    text = {"baseline": f"`{baseline}`", **_settings(results), **_provenance(results), **_counts(results)}
    for arm, metrics in summary.get("policies", {}).items():
        for metric, value in metrics.items():
            text[f"{metric}_{arm.replace('-', '_')}"] = interval(value, DEFAULT_UNITS.get(metric, ""))
            if arm == baseline:
                text[f"{metric}_baseline"] = text[f"{metric}_{arm.replace('-', '_')}"]
    for policy, row in summary.get("throughput", {}).items():
        if row.get("tokens_per_s"):
            text[f"throughput_{policy.replace('-', '_')}"] = interval(row["tokens_per_s"], "tokens/s")
            if policy == baseline:
                text["throughput_baseline"] = text[f"throughput_{policy.replace('-', '_')}"]
    for metric in POLICY_COLUMNS:
        text[f"finding_{metric}"] = finding(metric, summary.get("comparisons", {}), baseline)
        text[f"brief_{metric}"] = finding(metric, summary.get("comparisons", {}), baseline, brief=True)
    text["finding_throughput"] = throughput_finding(summary.get("throughput", {}), baseline)
    text["brief_throughput"] = throughput_finding(summary.get("throughput", {}), baseline, brief=True)
    headline = summary.get("headline") or {}
    text |= {f"headline_{key}": sentence for key, sentence in headline.items()}
    text["headlines"] = "\n".join(f"- {sentence}" for sentence in headline.values())
    return {key: value for key, value in text.items() if value}


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _write(path: Path, rows: list[list[str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def _cell(text: str) -> str:
    """A CSV cell for reading: floats with three significant digits."""
    try:
        x = float(text)
    except ValueError:
        return text
    return number(x) if "." in text and x == x and abs(x) != float("inf") else text


def readable(rows: list[dict[str, str]]) -> list[list[str]]:
    """Format a table: `x`, `x_low`, `x_high` (or `estimate`, `low`, `high`) become one column "x (low to high)"."""
    if not rows:
        return []
    columns = list(rows[0])
    bounds = {"estimate": ("low", "high")} | {c: (f"{c}_low", f"{c}_high") for c in columns}
    merged = {c: pair for c, pair in bounds.items() if c in columns and set(pair) <= set(columns)}
    kept = [c for c in columns if not any(c in pair for pair in merged.values())]
    table = [[c.replace("_", " ") for c in kept]]
    for row in rows:
        cells = []
        for c in kept:
            low, high = (row[b] for b in merged[c]) if c in merged else ("", "")
            cells.append(_cell(row[c]) + (f" ({_cell(low)} to {_cell(high)})" if low and high else ""))
        table.append(cells)
    return table


def _summary_tables(results: Results) -> dict[str, list[list[str]]]:
    """Tables made from the records: metrics and changes a policy, throughput, verdicts, settings, runs."""
    summary = results.summary
    tables: dict[str, list[list[str]]] = {}
    for name, key in (("policies", "policies"), ("comparisons", "comparisons")):
        arms: dict[str, Any] = summary.get(key, {})
        metrics = [m for m in POLICY_COLUMNS if any(m in values for values in arms.values())]
        lines = [
            [f"`{arm}`", *(interval(v[m], DEFAULT_UNITS[m], change=key == "comparisons") if m in v else "–" for m in metrics)]
            for arm, v in arms.items()
        ]
        tables[name] = [["Policy", *(POLICY_COLUMNS[m] for m in metrics)], *lines] if lines else []
    lines = [
        [
            f"`{policy}`",
            interval(row["tokens_per_s"], "tokens/s") if row.get("tokens_per_s") else "–",
            interval({"unit": "ratio", **row["ratio"]}) if row.get("ratio") else "–",
            number(row["tost_p"]) if row.get("tost_p") is not None else "–",
            row.get("verdict") or "–",
        ]
        for policy, row in summary.get("throughput", {}).items()
    ]
    tables["throughput"] = [["Policy", "Tokens/s", "Ratio to baseline", "TOST p", "Verdict"], *lines] if lines else []
    aligned = {name.partition("-")[2]: r["parameters"] for name, r in results.stages.items() if r.get("stage") == "align"}
    used = [s for s in SETTINGS if any(s in p for p in aligned.values())]
    lines = [[s.replace("_", " "), *(_shown(p.get(s)) or "–" for p in aligned.values())] for s in used]
    tables["settings"] = [["Setting", *(f"`{arm}`" for arm in aligned)], *lines] if lines else []
    lines = [
        [
            r["stage"],
            f"`{name.partition('-')[2] or 'all'}`",
            str(r.get("counts", {}).get("completed", "–")),
            number(r["seconds"] / 60) if r.get("seconds") is not None else "–",
            _shown(r.get("seeds", [])) or "–",
            str(r["provenance"].get("created_utc", ""))[:16].replace("T", " "),
            _commit(r["provenance"]),
        ]
        for name, r in results.stages.items()
    ]
    tables["runs"] = [["Stage", "Policy", "Rows", "Minutes", "Seed", "Ended (UTC)", "Commit"], *lines] if lines else []
    return tables


def _status_table(rows: list[dict[str, str]]) -> list[list[str]]:
    counts = Counter((r.get("arm", ""), r.get("status", "")) for r in rows)
    statuses = ["passed", "failed", "timed_out", "crashed", "unavailable"]
    arms = list(dict.fromkeys(arm for arm, _ in counts))
    lines = [[f"`{arm}`", *(str(counts[arm, s]) for s in statuses)] for arm in arms]
    return [["Policy", *(s.replace("_", " ") for s in statuses)], *lines]


def _stand_in_svg(name: str, command: str) -> str:
    label = html.escape(f"Figure {name}: not made yet. {command} makes it.")
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 120" role="img">'
        '<rect x="1" y="1" width="638" height="118" fill="none" stroke="#888" stroke-dasharray="6 4"/>'
        f'<text x="320" y="65" text-anchor="middle" font-family="sans-serif" font-size="16" fill="#888">{label}</text></svg>'
    )


def stage(results: Results, source: Path, wanted: set[str]) -> list[str]:
    """Copy and format what the pages ask for into `source/_results` and `source/lab`.

    Args:
        wanted: assets that pages name, such as `figures/training.svg`.

    Returns:
        The assets that are missing and got a stand-in.
    """
    target = source / "_results"
    for old in (target, source / "lab"):
        shutil.rmtree(old, ignore_errors=True)
    usable = results.reason is None
    made = _summary_tables(results) if usable else {}
    verdicts = results.folder / "tables" / "verdicts.csv"
    if usable and verdicts.exists():
        made["statuses"] = _status_table(_read(verdicts))
    missing = []
    for asset in sorted(wanted):
        kind, name = asset.split("/")
        stem = name.partition(".")[0]
        original = results.folder / ("tables" if kind == "csv" else kind) / name
        copy = target / asset
        copy.parent.mkdir(parents=True, exist_ok=True)
        if kind == "tables" and made.get(stem):
            _write(copy, made[stem])
        elif kind == "tables" and usable and original.exists() and stem not in made and (table := readable(_read(original))):
            _write(copy, table)
        elif kind != "tables" and usable and original.exists():
            shutil.copyfile(original, copy)
        elif kind == "figures":
            copy.write_text(_stand_in_svg(stem, results.command), encoding="utf-8")
            missing.append(f"figure `{stem}`")
        else:
            _write(copy, [["Missing", "Command"], [stem, f"`{results.command}`"]])
            if kind == "tables":
                missing.append(f"table `{stem}`")
    study_notebooks.stage(results.folder / "lab", source / "lab")
    return missing


def notice(results: Results, missing: list[str]) -> str:
    """The box that says what is missing; empty where nothing is."""
    items = [f"{m.get('what')}: `{m.get('command', results.command)}`" for m in results.summary.get("missing", [])]
    if results.reason:
        items.insert(0, f"No results of profile `{results.folder.name}` yet: {results.reason}.")
    if missing:
        items.append(f"{', '.join(missing)}: `{results.command}`")
    if not items:
        return ""
    lines = "\n".join(f"- {item}" for item in items)
    return f":::{{admonition}} Not everything is measured yet\n:class: warning\n{lines}\n:::"


def prepare(app: Sphinx, config: Config) -> None:
    """Read results, stage them, and hand the pages their substitutions."""
    source = Path(app.srcdir)
    profile = os.environ.get("TRADEOFFS_PROFILE") or "laptop"
    root = Path(os.environ.get("TRADEOFFS_RESULTS") or source.parent / "results")
    results = load(root / profile, profile)
    pages = "\n".join(path.read_text(encoding="utf-8") for path in sorted(source.glob("*.md")))
    missing = stage(results, source, set(ASSET.findall(pages)))
    text = substitutions(results) | {"profile": f"`{profile}`", "command": f"`{results.command}`"}
    unknown = sorted(set(KEY.findall(pages)) - set(text) - {"notice"})
    if unknown and not results.reason:
        missing.append("values " + ", ".join(f"`{key}`" for key in unknown))
    text |= dict.fromkeys(unknown, results.absent) | {"notice": notice(results, missing)}
    config.myst_substitutions = {**(config.myst_substitutions or {}), **text}


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx; runs before the table of contents looks for notebooks (priority 900)."""
    app.add_html_math_renderer("mathml", (study_mathml.inline, None), (study_mathml.block, None))
    app.connect("config-inited", prepare, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
