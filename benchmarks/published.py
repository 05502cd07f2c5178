"""Where does grading in this study's environment differ from the table that DS-1000's authors published, and why?

Compares three things for each published answer set: the authors' pass rates by library and perturbation type, the
verdicts of the reference protocol in this grading environment, and, where given, the grader's own. Needs the
benchmark's files (problems, answers, published results) and the reference protocol's verdicts in one folder; runs no
answer.

    python benchmarks/published.py --folder data/ds1000 --graded runs/published
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import json
import re
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from tradeoffs.records import read_jsonl, write_text
from tradeoffs.tasks.problems import load_problems

SETS = ("codex002", "gpt-3.5-turbo-0125", "gpt-4-0613")
SPLITS = {"library": "library", "perturbation_type": "perturbation type"}
# A cell of the published table: group, problems, share.
_CELL = re.compile(r"^([A-Z][\w-]+) +(\d+) +([\d.]+) *$", re.MULTILINE)
_TOTAL = re.compile(r"^mean +([\d.]+) *$", re.MULTILINE)
_NETWORK = re.compile(r"urlopen|URLError|Name or service not known")
# What looking at single problems has shown; their causes cannot be told from a verdict.
EXPLAINED = {("codex002", 276): "equal keys under an unstable sort: depends on library version and processor"}
COLUMNS = ("answers", "by", "group", "problems", "published", "reference", "grader")
COLUMNS += ("reference_less_published", "grader_less_reference", "cause")


def _rows(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def published(text: str) -> dict[str, float]:
    """Read the authors' table: group -> share that passed; `all` for the whole."""
    total = _TOTAL.search(text)
    if total is None:
        raise ValueError("published results: no line `mean`; accepts the text file that the authors published")
    return {"all": float(total[1])} | {name: float(share) for name, _, share in _CELL.findall(text)}


def cause(name: str, numbers: Collection[int], verdicts: Mapping[int, Mapping[str, Any]]) -> str:
    """Name what can explain a difference: data that could not be downloaded, or a problem that was looked at.

    Args:
        name: the answer set.
        numbers: the problems that are in question.
        verdicts: of the reference protocol, by problem.
    """
    found = [
        f"problem {number}: data that must be downloaded"
        for number in sorted(numbers)
        if verdicts[number]["status"] != "passed" and _NETWORK.search(verdicts[number].get("detail", ""))
    ]
    found += [
        f"problem {number}: {EXPLAINED[name, number]}" for number in sorted(numbers) if (name, number) in EXPLAINED
    ]
    return "; ".join(found) or "not explained"


def _cells(verdicts: Mapping[int, Any], described: Mapping[int, Mapping[str, Any]]) -> list[tuple[str, str, list[int]]]:
    """List the cells of a table: split, group, problems; the whole first."""
    cells = [("all", "all", sorted(verdicts))]
    for key, by in SPLITS.items():
        for value in sorted({metadata[key] for metadata in described.values()}):
            cells.append((by, value, [number for number in sorted(verdicts) if described[number][key] == value]))
    return cells


def compare(folder: Path, graded: Path | None, problems: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Give one row a cell of the published tables."""
    described = {problem["metadata"]["problem_id"]: problem["metadata"] for problem in problems}
    rows = []
    for name in SETS:
        table = published((folder / f"{name}-published-result.txt").read_text())
        reference = {row["problem_id"]: row for row in _rows(folder / f"{name}-verdicts.jsonl.gz")}
        own = {row["problem_id"]: row for row in read_jsonl(graded / f"{name}.jsonl")} if graded else {}
        cells = _cells(reference, described)
        gap = {
            value: sum(reference[n]["status"] == "passed" for n in numbers) - round(table[value] * len(numbers))
            for _, value, numbers in cells
        }
        # A problem can explain a difference only if its library and its perturbation type differ, too.
        suspects = {n for n in reference if all(gap[described[n][key]] for key in SPLITS)}
        for by, value, numbers in cells:
            expected = round(table[value] * len(numbers))
            graded_right = sum(own[n]["status"] == "passed" for n in numbers) if own else None
            rows.append(
                {
                    "answers": name,
                    "by": by,
                    "group": value,
                    "problems": len(numbers),
                    "published": expected,
                    "reference": expected + gap[value],
                    "grader": graded_right,
                    "reference_less_published": gap[value],
                    "grader_less_reference": None if graded_right is None else graded_right - expected - gap[value],
                    "cause": cause(name, suspects.intersection(numbers), reference) if gap[value] else "",
                }
            )
    return rows


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Write rows as CSV."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def main(argv: Sequence[str] | None = None) -> int:
    """Write `published.csv` (every cell) and `deviations.csv` (those that differ)."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--folder", required=True, type=Path, help="problems, published results, reference verdicts")
    parser.add_argument("--graded", type=Path, help="folder with the grader's own verdicts, <answer set>.jsonl")
    parser.add_argument("--out", default=Path("results/benchmarks"), type=Path, help="default: %(default)s")
    arguments = parser.parse_args(argv)
    try:
        problems = load_problems(str(arguments.folder / "ds1000.jsonl.gz"))
        rows = compare(arguments.folder, arguments.graded, problems)
        write_text(arguments.out / "published.csv", as_csv(rows))
        differing = [row for row in rows if row["reference_less_published"] or row["grader_less_reference"]]
        write_text(arguments.out / "deviations.csv", as_csv(differing))
    except (ValueError, OSError, KeyError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for row in differing:
        print(f"{row['answers']}, {row['group']}: {row['reference']} for {row['published']}; {row['cause']}")
    print(f"{len(rows) - len(differing)} of {len(rows)} cells agree; {arguments.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
