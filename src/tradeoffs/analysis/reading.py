"""Reads what the stages left in `runs/` into tables, and names what is missing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from tradeoffs.analysis.identity import work
from tradeoffs.records import (
    PACKED,
    Acceptance,
    Answer,
    Record,
    Row,
    Timing,
    TrainingStep,
    Verdict,
    frame,
    read_record,
    read_rows,
    seed_folder,
    without_seed,
)
from tradeoffs.tasks.problems import family, load_problems

REMEDY = "make study"
# The rows that each stage leaves beside its record.
ROWS = {
    "align": "steps.jsonl",
    "generate": "answers.jsonl",
    "grade": "verdicts.jsonl",
    "throughput": "timings.jsonl",
    "speculate": "acceptance.jsonl",
}
# What may differ between arms; whatever else differs makes their costs incomparable and is reported.
OWN_TO_AN_ARM = {"policy", "angle", "adapter", "out", "best_of", "temperature", "seed"}


class Gap(NamedTuple):
    """Something that is missing, and the command that makes it."""

    what: str
    command: str = REMEDY


class Runs(NamedTuple):
    """The stages' outputs as tables.

    Attributes:
        answers: one row an answer, verdict and problem joined; `arm` is a category in the order asked for, `seed` its training seed.
        timings: one row a `Timing`.
        training: one row a `TrainingStep`, with `policy`.
        acceptance: one row an `Acceptance`, with `family`.
        records: the stages' records by name, such as `generate-base` and `throughput`.
        missing: what is not there.
        warnings: what makes arms hard to compare.
        rows: the file that each record's rows were read from, by the record's name; where it is not there, its packed form.
    """

    answers: pd.DataFrame
    timings: pd.DataFrame
    training: pd.DataFrame
    acceptance: pd.DataFrame
    records: dict[str, Record]
    missing: list[Gap]
    warnings: list[str]
    rows: dict[str, Path]


def _table(rows: Sequence[Row], kind: type[Row]) -> pd.DataFrame:
    return frame(rows) if rows else pd.DataFrame(columns=list(kind.model_fields))


def _stage(
    stage: str, folder: Path, kind: type[Row], what: str, missing: list[Gap]
) -> tuple[Record | None, pd.DataFrame]:
    """Read one stage's folder; without its record it is missing or was interrupted, and neither gives rows."""
    rows = ROWS[stage]
    if not (folder / "record.json").is_file():
        begun = sum(1 for _ in (folder / rows).open()) if (folder / rows).is_file() else 0
        missing.append(Gap(f"{what} (interrupted after {begun} rows)" if begun else what))
        return None, _table([], kind)
    record, table = read_record(folder), _table(read_rows(folder / rows, kind), kind)
    if table.empty:
        missing.append(Gap(f"{what} (its folder holds a record but no rows)"))
    return record, table


def _describe(problems: str) -> pd.DataFrame:
    rows = [
        {
            "problem_id": problem["metadata"]["problem_id"],
            "family": family(problem),
            "library": problem["metadata"]["library"],
            "tier": problem["metadata"].get("tier"),
            "perturbation": problem["metadata"]["perturbation_type"],
        }
        for problem in load_problems(problems)
    ]
    return pd.DataFrame(rows)


def _arm(
    runs: Path, arm: str, records: dict[str, Record], missing: list[Gap], ceilings: Mapping[str, float] | None
) -> pd.DataFrame:
    made, answers = _stage("generate", runs / "generate" / arm, Answer, f"answers of {arm}", missing)
    if made is None:
        # Verdicts without their answers have no cost to stand beside; the gap above names the arm.
        return answers
    records[f"generate-{arm}"] = made
    graded, verdicts = _stage("grade", runs / "grade" / arm, Verdict, f"verdicts of {arm}", missing)
    if graded is not None:
        records[f"grade-{arm}"] = graded
    key = ["problem_id", "sample"]
    answers = answers.drop_duplicates(key, keep="last")
    judged = (
        verdicts[[*key, "status"]].drop_duplicates(key, keep="last").astype({"problem_id": "int64", "sample": "int64"})
    )
    joined = answers.merge(judged, on=key, how="left")
    left = int((joined["status"].isna() & (joined["finish"] != "failed") & joined["kept"]).sum())
    if graded is not None and not verdicts.empty and left:
        missing.append(Gap(f"verdicts of {arm} for {left} of {len(joined)} answers"))
    model = made.summary
    known = (model.get("weight_bytes"), model.get("kv_bytes_per_token"), model.get("parameters") or 0.0)
    return work(joined, *known, ceilings).assign(arm=arm, joules=joules(joined, model.get("energy_j")))


def joules(answers: pd.DataFrame, counted: float | None) -> pd.Series:
    """Each answer's part of the joules that the device counted while all were decoded: that of its seconds.

    Args:
        answers: `seconds` (of decoding) and `judge_s`.
        counted: joules; None where nothing was counted.

    Returns:
        NaN throughout where nothing was counted, and where a judge of best of n worked, whose joules were not.
    """
    judged = bool((answers["judge_s"] > 0).any())
    return (counted or math.nan) * (math.nan if judged else 1.0) * answers["seconds"] / answers["seconds"].sum()


def _ceilings(runs: Path, arms: Sequence[str], seeds: Sequence[int], timed: Record | None) -> dict[str, float] | None:
    """The machine's two limits, where all arms answered on it in that type; else none for any, as seconds and bytes do not add up."""
    if timed is None or "ceilings" not in timed.summary:
        return None
    names = [*arms, *(seed_folder(arm, seed) for arm in arms for seed in seeds)]
    for name in names:
        with suppress(OSError, ValueError):  # what is missing or damaged is told of where it is read
            made = read_record(runs / "generate" / name)
            told = (hardware(made), made.summary.get("dtype"))
            if "weight_bytes" in made.summary and told != (hardware(timed), timed.summary.get("dtype")):
                return None
    return dict(timed.summary["ceilings"])


def _seeds(
    runs: Path,
    arm: str,
    seeds: Sequence[int],
    records: dict[str, Record],
    missing: list[Gap],
    ceilings: Mapping[str, float] | None,
) -> pd.DataFrame:
    """An arm's answers of all training seeds; one that is not trained, and answers alike each time, has those of the first alone."""
    first = _arm(runs, arm, records, missing, ceilings)
    asked = records[f"generate-{arm}"].parameters if f"generate-{arm}" in records else {"adapter": "unknown"}
    if asked.get("seed", 0) in seeds:
        raise ValueError(
            f"seeds: got {asked.get('seed', 0)}, which {arm} has without a suffix; accepts further training seeds"
        )
    repeated = asked.get("adapter") or asked.get("temperature")
    tables = [first.assign(seed=asked.get("seed", 0))]
    for seed in seeds if repeated else []:
        tables.append(_arm(runs, seed_folder(arm, seed), records, missing, ceilings).assign(arm=arm, seed=seed))
    tables = [table for table in tables if not table.empty]
    return pd.concat(tables, ignore_index=True) if tables else first


def _join(arms: Mapping[str, pd.DataFrame], problems: str, order: Sequence[str]) -> pd.DataFrame:
    described = _describe(problems)
    tables = []
    for arm, table in arms.items():
        unknown = sorted(set(table["problem_id"]) - set(described["problem_id"]))
        if unknown:
            raise ValueError(
                f"problems: got {problems!r}, which lacks problem {unknown[0]} that {arm} answers; "
                "accepts the problem set that the answers were made for"
            )
        tables.append(table.merge(described, on="problem_id", how="left"))
    columns = [*Answer.model_fields, "status", "arm", "seed", *described.columns.drop("problem_id")]
    answers = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)
    return answers.assign(arm=pd.Categorical(answers["arm"], categories=list(order)))


def _uneven(arms: Mapping[str, pd.DataFrame], order: Sequence[str], missing: list[Gap]) -> None:
    if order[0] not in arms:
        return
    asked = set(arms[order[0]]["problem_id"])
    for arm, table in arms.items():
        for seed, part in table.groupby("seed"):
            left = len(asked - set(part["problem_id"]))
            which = f" (seed {seed})" if table["seed"].nunique() > 1 else ""
            if left:
                missing.append(
                    Gap(f"answers of {arm}{which} to {left} of the {len(asked)} problems that {order[0]} answered")
                )


def _warnings(records: Mapping[str, Record]) -> list[str]:
    made = {name.removeprefix("generate-"): record for name, record in records.items() if name.startswith("generate-")}
    facts: dict[str, dict[str, Any]] = {}
    for arm, record in made.items():
        settings = {key: value for key, value in record.parameters.items() if key not in OWN_TO_AN_ARM}
        # what `auto` came to, where an engine tells
        resolved = {key: record.summary[key] for key in ("dtype",) if key in record.summary}
        for key, value in (settings | resolved | {"hardware": hardware(record)}).items():
            facts.setdefault(key, {})[arm] = value
    texts = []
    for key, values in facts.items():
        if len({repr(value) for value in values.values()}) > 1 or len(values) < len(made):
            texts.append(f"arms differ in {key}: " + ", ".join(f"{arm} {value}" for arm, value in values.items()))
    seeds = {arm: record.parameters.get("seed", 0) for arm, record in made.items() if without_seed(arm) == arm}
    if len(set(seeds.values())) > 1:
        texts.append("arms differ in seed: " + ", ".join(f"{arm} {seed}" for arm, seed in seeds.items()))
    for arm, record in made.items():
        if failed := record.counts.get("failed", 0):
            why = "; ".join(record.summary.get("failures", {})) or "see its answers"
            texts.append(f"{failed} of {record.counts['planned']} answers of {arm} failed and count as none: {why}")
    trained = {name.removeprefix("align-"): record for name, record in records.items() if name.startswith("align-")}
    types = {policy: record.summary["dtype"] for policy, record in trained.items() if "dtype" in record.summary}
    if len(set(types.values())) > 1:
        texts.append("policies differ in dtype: " + ", ".join(f"{policy} {dtype}" for policy, dtype in types.items()))
    notes = {policy: record.summary.get("warning") for policy, record in trained.items()}
    return texts + [f"training of {policy}: {note}" for policy, note in notes.items() if note]


def hardware(record: Record) -> str:
    """Describe the machine a stage ran on, in a few words."""
    p = record.provenance
    return p.accelerator or f"{p.hardware}, {p.cores} core{'s' * (p.cores > 1)}, {p.memory_gib:g} GiB"


def _training(runs: Path, records: dict[str, Record], missing: list[Gap]) -> tuple[pd.DataFrame, dict[str, Path]]:
    """The rows of every training, and where they lie."""
    adapters = [
        Path(str(r.parameters.get("adapter") or "")) for name, r in records.items() if name.startswith("generate-")
    ]
    # An adapter made elsewhere has no training curve here, and nothing here could make one.
    needed = {path.parent.name: path.parent for path in adapters if path.parent.parent.name == "align"}
    # Another profile may have trained them; published rows stand for themselves, whatever lies in `runs` here.
    published = any(runs.glob(f"generate/*/*{PACKED}"))
    folders = {
        name: path if path.is_dir() and not published else runs / "align" / name for name, path in needed.items()
    }
    folders |= {path.name: path for path in (runs / "align").glob("*") if path.is_dir()}
    tables, found = [], {}
    for policy, folder in sorted(folders.items()):
        record, steps = _stage("align", folder, TrainingStep, f"training of {policy}", missing)
        if record is not None:
            records[f"align-{policy}"] = record
            found[f"align-{policy}"] = folder / ROWS["align"]
            tables.append(steps.assign(policy=policy))
    empty = pd.DataFrame(columns=["policy", *TrainingStep.model_fields])
    return pd.concat(tables, ignore_index=True)[list(empty.columns)] if tables else empty, found


def read_runs(runs: str, policies: Sequence[str], problems: str, seeds: Sequence[int] = ()) -> Runs:
    """Read the stages' outputs.

    Args:
        runs: folder of the stages' outputs, or `rows` of a study's results, which holds the same, packed.
        policies: arms in order, the first is the baseline.
        problems: the problem set that the arms answered.
        seeds: further training seeds; their folders end with `-s<seed>`.

    Raises:
        ValueError: nothing is there at all, rows do not follow their schema, or answers are to another problem set.
    """
    folder, records, missing = Path(runs), dict[str, Record](), list[Gap]()
    gaps: list[Gap] = []  # named after those of the arms, whose work is measured by the ceilings found here
    record, timings = _stage("throughput", folder / "throughput", Timing, "timings at forced lengths", gaps)
    if record is not None:
        records["throughput"] = record
        timed = set(timings["policy"])
        gaps += [
            Gap(f"timings of {name}")
            for name in record.parameters.get("policies", {})
            if len(timed) and name not in timed
        ]
    ceilings = _ceilings(folder, policies, seeds, record)
    read = {arm: _seeds(folder, arm, seeds, records, missing, ceilings) for arm in policies}
    arms = {arm: table for arm, table in read.items() if not table.empty}
    _uneven(arms, policies, missing)
    missing += gaps
    guessed = folder / "speculate"
    acceptance = _table([], Acceptance)
    if guessed.is_dir():  # a study without this stage lacks nothing
        record, acceptance = _stage("speculate", guessed, Acceptance, "acceptance of drafted tokens", missing)
        if record is not None:
            records["speculate"] = record
            families = _describe(problems).set_index("problem_id")["family"]
            acceptance = acceptance.assign(family=acceptance["problem_id"].map(families))
    if not arms and timings.empty:
        raise ValueError(f"runs: {runs} holds no answers of {', '.join(policies)} and no timings; run {REMEDY} first")
    rows = {}
    for name in records:
        stage, _, arm = name.partition("-")
        rows[name] = folder / stage / arm / ROWS[stage]
    training, trained = _training(folder, records, missing)
    answers = _join(arms, problems, policies)
    return Runs(answers, timings, training, acceptance, records, missing, _warnings(records), rows | trained)
