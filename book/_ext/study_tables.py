"""Tables for reading: from the records, and from the CSV files of the analysis."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from study_words import dial, interval, number, probability

Table = list[list[str]]
Record = Mapping[str, Any]

POLICY_COLUMNS = {
    "pass_rate": "Pass rate",
    "tokens_per_answer": "Tokens an answer",
    "seconds_per_answer": "Seconds an answer",
    "tokens_per_s": "Tokens/s, natural lengths",
    "seconds_per_correct": "Seconds a correct answer",
    "joules_per_answer": "Joules an answer",
    "joules_per_correct": "Joules a correct answer",
    "cap_share": "Share cut at the cap",
    "utilisation": "Batch utilisation",
    "prompt_tokens": "Prompt tokens",
}
SETTINGS = (
    *(
        "method",
        "domain",
        "start",
        "token_budget",
        "steps",
        "batch_size",
        "learning_rate",
        "lora_rank",
        "prompts",
        "samples",
    ),
    *("temperature", "max_new_tokens", "weights", "beta", "rounds", "angles", "shuffle_rewards", "seed"),
)
IN_ROUNDS = {"dpo", "rrhf", "rsft", "scalarization", "dpa"}
# Settings that only some methods have.
ONLY_FOR = {
    **dict.fromkeys(("prompts", "samples", "temperature", "max_new_tokens"), IN_ROUNDS | {"ppo", "rloo", "rlvr"}),
    "weights": (IN_ROUNDS | {"ppo", "rloo"}) - {"dpa"},
    "beta": {"dpo", "ppo", "rloo", "rlvr"},
    "rounds": IN_ROUNDS,
    "angles": {"dpa"},
}
SHARES = ("pass_rate", "cap_share", "utilisation")
STATUSES = ("passed", "failed", "timed_out", "crashed", "unavailable")


def short_commit(provenance: Record) -> str:
    """Name the commit, and whether the tree differed from it."""
    commit = provenance.get("commit")
    return f"`{commit[:10]}`{' with local changes' if provenance.get('dirty') else ''}" if commit else "unknown"


def shown(value: Any) -> str:
    """Write a parameter's value; of a path only its end, because the rest is somebody's machine."""
    if isinstance(value, list):
        return ", ".join(map(shown, value))
    if isinstance(value, str):
        return Path(value).name if value.startswith("/") else value
    if isinstance(value, float):
        return f"{value:g}"
    return "none" if value is None else str(value)


def read(path: Path) -> list[dict[str, str]]:
    """Read a CSV file, one dictionary a row."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write(path: Path, table: Table) -> None:
    """Write a CSV file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(table)


def _cell(text: str, column: str) -> str:
    try:
        x = float(text)
    except ValueError:
        return {"True": "yes", "False": "no"}.get(text, text) or "–"
    if x != x or abs(x) == float("inf"):
        return "–"
    if column in SHARES:
        return f"{100 * x:.1f}\u00a0%"
    return number(x) if "." in text else text


def readable(rows: list[dict[str, str]]) -> Table:
    """Format a table; `estimate` (or `pass_rate`) with `low` and `high` becomes one column "x (low to high)"."""
    if not rows:
        return []
    columns = list(rows[0])
    centre = next((c for c in ("estimate", "pass_rate") if c in columns and {"low", "high"} <= set(columns)), None)
    kept = [c for c in columns if centre is None or c not in ("low", "high")]
    table = [["In truth" if c == "true" else c.replace("_", " ").capitalize() for c in kept]]
    for row in rows:
        cells = {c: f"`{row[c]}`" if c == "arm" else _cell(row[c], c) for c in kept}
        if centre and row["low"] and row["high"]:
            cells[centre] += f" ({_cell(row['low'], centre)} to {_cell(row['high'], centre)})".replace("\u00a0%", "")
        table.append([cells[c] for c in kept])
    return table


def _grid(
    corner: str, titles: Mapping[str, str], values: Mapping[str, Mapping[str, Record]], *, change: bool = False
) -> Table:
    """One row a policy, one column a metric that any policy has; joules only where a machine told them."""

    def has(key: str) -> bool:
        found = [row[key] for row in values.values() if key in row]
        return any(value.get("estimate") is not None for value in found) if key.startswith("joules") else bool(found)

    keys = [key for key in titles if has(key)]
    lines = [
        [f"`{name}`", *(interval(row[key], change=change) if key in row else "–" for key in keys)]
        for name, row in values.items()
    ]
    return [[corner, *(titles[key] for key in keys)], *lines] if lines and keys else []


def _throughput(rows: Mapping[str, Record]) -> Table:
    counted = any(row.get("joules_per_token") for row in rows.values())
    lines = [
        [
            f"`{policy}`",
            interval(row["tokens_per_s"]) if row.get("tokens_per_s") else "–",
            interval(row["ratio"]) if row.get("ratio") else "–",
            probability(row.get("tost_p")),
            row.get("verdict") or "–",
            *([interval(row["joules_per_token"]) if row.get("joules_per_token") else "–"] if counted else []),
        ]
        for policy, row in rows.items()
    ]
    head = ["Policy", "Tokens/s", "Ratio to baseline", "TOST p", "Verdict", *(["J/token"] if counted else [])]
    return [head, *lines] if lines else []


def _setting(name: str, parameters: Record) -> str:
    foreign = name in ONLY_FOR and parameters.get("method") not in ONLY_FOR[name]
    unused = (name == "steps" and parameters.get("token_budget")) or (
        name == "token_budget" and not parameters.get(name)
    )
    if name not in parameters or parameters[name] is False or foreign or unused:
        return "–"
    value = parameters[name]
    return (Path(value).parent.name if name == "start" else shown(value)) or "–"


def _settings(stages: Mapping[str, Record]) -> Table:
    """Training settings: a row a setting, a column a policy; a dash where a method has no such setting."""
    aligned = {name.partition("-")[2]: r["parameters"] for name, r in stages.items() if r.get("stage") == "align"}
    aligned = {
        name: p for name, p in aligned.items() if not re.search(r"-s\d+$", name)
    }  # further seeds differ in nothing else
    lines = [[s.replace("_", " "), *(_setting(s, p) for p in aligned.values())] for s in SETTINGS]
    lines = [line for line in lines if set(line[1:]) != {"–"}]
    return [["Setting", *(f"`{arm}`" for arm in aligned)], *lines] if aligned else []


def _runs(stages: Mapping[str, Record]) -> Table:
    lines = [
        [
            r["stage"],
            f"`{name.partition('-')[2] or 'all'}`",
            str(r.get("counts", {}).get("completed", "–")),
            f"{r['seconds'] / 60:.1f}" if r.get("seconds") is not None else "–",
            shown(r.get("seeds", [])) or "–",
            str(r["provenance"].get("created_utc", ""))[:16].replace("T", " "),
            short_commit(r["provenance"]),
        ]
        for name, r in stages.items()
    ]
    return [["Stage", "Policy", "Rows", "Minutes", "Seed", "Ended (UTC)", "Commit"], *lines] if lines else []


def _statuses(verdicts: list[dict[str, str]]) -> Table:
    counts = Counter((r.get("arm", ""), r.get("status", "")) for r in verdicts)
    arms = list(dict.fromkeys(arm for arm, _ in counts))
    lines = [[f"`{arm}`", *(str(counts[arm, s]) for s in STATUSES)] for arm in arms]
    return [["Policy", *(s.replace("_", " ") for s in STATUSES)], *lines] if lines else []


def _titles(summary: Record, key: str) -> dict[str, str]:
    """Columns of a grid, in the order of the record."""
    names = dict.fromkeys(name for row in summary.get(key, {}).values() for name in row)
    units = {n: row[n].get("unit", "") for row in summary.get(key, {}).values() for n in row}
    return {n: _title(n, units[n]) for n in names}


def _title(name: str, unit: str) -> str:
    words = name.replace("_per_s", "").split("_")
    words = [w.upper() if w in ("ttft", "tpot", "itl", "e2e") else w for w in words]
    text = " ".join(words)
    return text[:1].upper() + text[1:] + (f", {unit}" if unit in ("s", "1/s") else "")


def made(summary: Record, stages: Mapping[str, Record], verdicts: list[dict[str, str]]) -> dict[str, Table]:
    """Make the tables that do not come from a CSV file; an empty one is missing."""
    factors = list(dict.fromkeys(f for row in summary.get("decomposition", {}).values() for f in row))
    return {
        "policies": _grid("Policy", POLICY_COLUMNS, summary.get("policies", {})),
        "comparisons": _grid("Policy", POLICY_COLUMNS, summary.get("comparisons", {}), change=True),
        "decomposition": _grid("Policy", {f: f.capitalize() for f in factors}, summary.get("decomposition", {})),
        "dose_response": _grid(
            "Policy",
            POLICY_COLUMNS,
            {dial(p, d): d["slopes"] for p, d in summary.get("dose_response", {}).items()},
            change=True,
        ),
        "seconds": _grid("Policy", _titles(summary, "seconds"), summary.get("seconds", {})),
        "latency": _grid("Policy", _titles(summary, "latency"), summary.get("latency", {})),
        "throughput": _throughput(summary.get("throughput", {})),
        "settings": _settings(stages),
        "runs": _runs(stages),
        "statuses": _statuses(verdicts),
    }
