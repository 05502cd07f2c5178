"""What a profile would still run, and about how long: from the sizes of its jobs and what jobs like them have taken here.

A job's size is the work of the tokens that pass through the model, forward and backward (grading: answers). Its time is its size times the
seconds that a unit took in earlier runs, of the same policy where there are any, else of the same method or kind, else of the stage, but
never of another model or device. What this is worth is measured on the earlier runs themselves, each predicted from the others.

Source: 2 FLOPs a parameter and token forward, 4 backward (Kaplan et al. 2020, arXiv 2001.08361, section 2.1).
"""

from __future__ import annotations

import bisect
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tradeoffs import content
from tradeoffs.parameters import MODELS, filled
from tradeoffs.profiles import Job, Profile, jobs
from tradeoffs.records import Record, read_record, without_seed
from tradeoffs.tasks import load_problems

FORWARD, BACKWARD = 2, 4
PROMPT_TOKENS = 200  # of a problem where nobody has counted; it cancels where rates come from the same problems
TRAINED_TOKENS = 200  # of a training sequence, where a budget of steps is given instead of tokens
DS1000 = 1000  # problems of the benchmark, of which a file is taken to be


Paces = Mapping[tuple[str, ...], Sequence[float]]


class Past(NamedTuple):
    """A finished job: where it belongs (most particular first), its size, and what it took."""

    keys: tuple[tuple[str, ...], ...]
    size: float
    seconds: float


class Step(NamedTuple):
    """A job of the plan.

    Attributes:
        job: see `tradeoffs.profiles.Job`.
        state: `done`, `changed` (done from other parameters, inputs or code: it runs again), `begun` or `to do`.
        seconds: what it took where it is done, else what it will probably take; None where nothing like it has run.
        why: what has changed, where something has.
    """

    job: Job
    state: str
    seconds: float | None
    why: str = ""


def answered(p: Mapping[str, Any]) -> float:
    """How many problems a stage answers or grades, by its parameters with defaults."""
    problems = float(len(load_problems("bundled")) if p.get("problems") == "bundled" else DS1000)
    return min(problems, p["limit"]) if p.get("limit") else problems


def size(stage: str, given: Mapping[str, Any]) -> float:
    """Size of a job from its parameters, defaults filled in: FLOPs of the model for one parameter, or answers to grade."""
    p = filled(stage, given)
    limit = answered(p)
    if stage == "align":
        tokens = p["token_budget"] or p["steps"] * p["batch_size"] * TRAINED_TOKENS
        return float((FORWARD + BACKWARD) * tokens)
    if stage == "generate":
        return float(FORWARD * limit * p["samples"] * p["best_of"] * (PROMPT_TOKENS + p["max_new_tokens"]))
    if stage == "throughput":
        rows = sum(p["batch_sizes"])
        return float(FORWARD * p["blocks"] * len(p["policies"]) * rows * (p["prompt_tokens"] + p["new_tokens"]))
    if stage == "speculate":
        return float(FORWARD * len(p["policies"]) * limit * (PROMPT_TOKENS + p["max_new_tokens"]))
    if stage == "analyse":
        return float(p["draws"] * len(p["policies"]))
    return limit


def _problems(given: Mapping[str, Any]) -> str:
    """Which kind of problems: the bundled ones, or DS-1000's, which are longer."""
    problems = str(given.get("problems", ""))
    return problems if problems in ("", "bundled") else "ds1000"


def keys(stage: str, name: str, given: Mapping[str, Any]) -> tuple[tuple[str, ...], ...]:
    """What a job is like, from the most particular to the least; model, device and kind of problems are part of each."""
    kind = str(
        given.get("method")
        or ("best of n" if given.get("best_of", 1) > 1 else "")
        or ("served" if given.get("servers") else "")
    )
    where = (stage, str(given.get("model", "")), str(given.get("device", "auto")), _problems(given))
    plain = without_seed(name)
    # Neither grading nor analysis runs the model, so that they take what they take whatever it is.
    anywhere = ((stage,),) if stage in ("grade", "analyse") else ()
    return (*where, kind, plain), (*where, kind), where, *anywhere


def past(records: Iterable[tuple[str, Record]]) -> list[Past]:
    """Earlier jobs, from their records by name; a resumed job's record tells its last part alone and may mislead.

    Trainings that were looked at tell nothing of others' time, and are left out.
    """
    found = []
    for name, record in records:
        given = record.parameters
        if record.stage == "grade":
            given = given | {"limit": record.counts.get("planned", 0)}
        if record.stage in MODELS and record.seconds and not given.get("evaluations"):
            found.append(Past(keys(record.stage, name, given), size(record.stage, given), record.seconds))
    return found


def paces(known: Sequence[Past]) -> Paces:
    """Seconds a unit of size that earlier jobs took, in ascending order, by what they are like: a sweep asks thousands of times."""
    found: dict[tuple[str, ...], list[float]] = {}
    for job in known:
        if job.size:
            for key in job.keys:
                found.setdefault(key, []).append(job.seconds / job.size)
    return {key: sorted(like) for key, like in found.items()}


def predict(
    wanted: tuple[tuple[str, ...], ...], amount: float, known: Paces, without: float | None = None
) -> float | None:
    """Seconds of a job of this size: the median pace of the earlier jobs that are most like it; None where there are none.

    Args:
        wanted: see `keys`.
        amount: see `size`.
        known: see `paces`.
        without: a pace that is among those of every one of `wanted` and left out.
    """
    for key in wanted:
        like = known.get(key, ())
        if rest := len(like) - (without is not None):
            gap = len(like) if without is None else bisect.bisect_left(like, without)
            middle = [like[place + (place >= gap)] for place in ((rest - 1) // 2, rest // 2)]
            return amount * sum(middle) / 2
    return None


def typical_error(known: Sequence[Past]) -> float | None:
    """By what factor a prediction is typically off: median over earlier jobs, each predicted from the others; None without any."""
    errors = []
    all_paces = paces(known)
    for job in known:
        if job.size and (guess := predict(job.keys, job.size, all_paces, without=job.seconds / job.size)):
            errors.append(abs(math.log(guess / job.seconds)))
    return math.exp(statistics.median(errors)) if errors else None


def earlier(root: Path = Path()) -> list[tuple[str, Record]]:
    """Records of all jobs that ran here, and of those whose results are kept, by name."""
    found: dict[tuple[str, str, str], tuple[str, Record]] = {}
    kept = [*sorted(root.glob("results/*/stages/*.json")), *sorted(root.glob("results/*/record.json"))]
    for path in [*kept, *sorted(root.glob("runs/*/**/record.json"))]:
        try:
            record = (
                read_record(path.parent) if path.name == "record.json" else Record.model_validate_json(path.read_text())
            )
        except ValueError:
            continue  # of another version: it tells nothing here
        name = path.parent.name if path.name == "record.json" else path.stem.partition("-")[2]
        # a result that is kept here and the run that it is a copy of are one
        one = (record.stage, record.provenance.created_utc, str(record.parameters.get("out")))
        found[one] = (name if record.stage in ("align", "generate", "grade") else "all", record)
    return list(found.values())


def plan(profile: Profile, records: Sequence[tuple[str, Record]], root: Path = Path()) -> list[Step]:
    """Every job of a profile, whether it is done, and its time.

    Args:
        profile: see `tradeoffs.profiles.load_profile`.
        records: of earlier jobs, see `earlier`.
        root: the project's folder.
    """
    known = paces(past(records))
    steps: list[Step] = []
    again: set[str] = set()  # records that will be made anew
    for job in jobs(profile):
        state, why = _state(job, root)
        if state == "done" and not again & set(job.needs):
            steps.append(Step(job, state, read_record(root / job.folder).seconds))
            continue
        if state == "done":
            state, why = "changed", "if what it reads comes out otherwise"
        again.add(f"{job.folder}/record.json")
        given = dict(job.parameters)
        if job.stage == "grade":
            given |= {"limit": profile.generate.get("limit", 0)}
        steps.append(Step(job, state, predict(keys(job.stage, job.name, given), size(job.stage, given), known), why))
    return steps


def _state(job: Job, root: Path) -> tuple[str, str]:
    if not (root / job.folder / "record.json").is_file():
        return "begun" if (root / job.folder).is_dir() else "to do", ""
    reasons = content.why(job, root)
    try:
        read_record(root / job.folder)
    except ValueError as error:
        reasons = [str(error)]
    return ("changed", "; ".join(reasons)) if reasons else ("done", "")


def table(steps: Sequence[Step], error: float | None, each: bool = False) -> str:
    """The plan as text: a line a stage, or a line a job.

    Args:
        steps: see `plan`.
        error: see `typical_error`.
        each: a line for each job that is not done.
    """
    left = [step for step in steps if step.state != "done"]
    lines = []
    if each:
        width = max((len(f"{s.job.stage} {s.job.name}") for s in left), default=0)
        lines += [
            f"{s.job.stage + ' ' + s.job.name:{width}}  {s.state:8}{_minutes(s.seconds):>12}  {s.why}".rstrip()
            for s in left
        ]
        lines += [""] if lines else []
    lines.append(f"{'stage':12}{'jobs':>6}{'done':>6}{'left':>24}")
    for stage in (*MODELS, "together"):
        own = [step for step in steps if stage in (step.job.stage, "together")]
        rest = [step for step in own if step.state != "done"]
        unknown = sum(step.seconds is None for step in rest)
        time = _minutes(sum(step.seconds or 0.0 for step in rest)) + (f" + {unknown} unknown" if unknown else "")
        lines.append(f"{stage:12}{len(own):>6}{len(own) - len(rest):>6}{time if rest else '–':>24}")
    if left and error is not None:
        lines.append(
            f"From earlier runs; each of them, predicted from the others, was typically off by a factor of {error:.2f}."
        )
    elif left:
        lines.append("Hardly anything has run yet, so that nobody knows how far off this is.")
    return "\n".join(lines)


def _minutes(seconds: float | None) -> str:
    return "unknown" if seconds is None else f"{seconds / 60:.1f} min"
