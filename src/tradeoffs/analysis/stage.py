"""The analyse stage: the other stages' rows become the tables, figures and record that the book reads.

Three steps, so that the notebook can show what lies between: `read_runs`, `analyse`, `write`; `run` does all of them.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from tradeoffs.analysis.claims import ledger
from tradeoffs.analysis.dose import dials, dose_response
from tradeoffs.analysis.estimates import UNBOUNDED, Estimate, boundless, verdict
from tradeoffs.analysis.latency import latency_metrics
from tradeoffs.analysis.policies import (
    COUNTS,
    GIVEN,
    METRICS,
    adjust,
    attainment,
    compare,
    decompose,
    decompose_seconds,
    front_shares,
    group_table,
    policy_metrics,
)
from tradeoffs.analysis.reading import Gap, Runs, hardware, read_runs
from tradeoffs.analysis.resampling import Resampling
from tradeoffs.analysis.speculation import acceptance_table
from tradeoffs.analysis.throughput import (
    CONTROL,
    MARGINS,
    UNMERGED,
    block_rates,
    compare_throughput,
    controls,
    foretell,
    looked_back,
    roofline,
    self_check,
    usable_blocks,
)
from tradeoffs.analysis.wording import headline
from tradeoffs.parameters import AnalyseParameters, check
from tradeoffs.records import (
    PACKED,
    Record,
    packed,
    provenance,
    read_record,
    without_seed,
    write_bytes,
    write_record,
    write_text,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

VERDICTS = [
    "arm",
    "problem_id",
    "family",
    "library",
    "tier",
    "perturbation",
    "status",
    "tokens",
    "seconds",
    "finish",
    "sample",
    "seed",
]
ESTIMATES = ["arm", "metric", "estimate", "low", "high", "unit", "reason"]
COMPARED = [
    "arm",
    "metric",
    "kind",
    *ESTIMATES[2:6],
    "verdict",
    "p",
    "p_adjusted",
    "adjustment",
    "n",
    "discordance",
    "design_effect",
    "detectable",
    "reason",
]
LOGS = ["log", "log_low", "log_high", "percent"]
TIMED = ["policy", "rate", "estimate", "low", "high", "unit", "verdict", "tost_p", "difference_p"]
TIMED += [*(f"verdict at {100 * size:g} %" for size in MARGINS), "blocks", "margin", "reason"]
ROOFLINE = [
    "policy",
    "batch_size",
    "context",
    "tokens_per_s",
    "limit",
    "share",
    "share_low",
    "share_high",
    "bytes_share_kv",
    "joules_per_token",
    "watts",
]
DOSED = ["policy", "metric", "angles", "kind", *ESTIMATES[2:6]]
DOSED += ["verdict", "p", "p_adjusted", "adjustment", "ordered", "reason"]
DOSES = ["policy", "angle", "arm", *ESTIMATES[1:6]]
CHECKED = ["study", "p"]
CONTROLLED = ["control", "factor", "true", "estimate", "low", "high", "others", "found"]
DEFAULT_MARGIN = 0.02
BREAKDOWNS = {"libraries": "library", "tiers": "tier", "perturbations": "perturbation"}


class Study(NamedTuple):
    """What the analysis found.

    Attributes:
        tables: the tables by name, as they are written to `tables/<name>.csv`.
        summary: what goes into the record's summary.
        runs: what it was computed from.
        parameters: what was asked for.
        seconds: time the computation took.
    """

    tables: dict[str, pd.DataFrame]
    summary: dict[str, Any]
    runs: Runs
    parameters: dict[str, Any]
    seconds: float


def kept_only(answers: pd.DataFrame) -> pd.DataFrame:
    """Without what was drawn for best of n and not chosen."""
    return answers[answers["kept"].astype(bool)] if "kept" in answers else answers


def _missing_arm(arm: str) -> dict[str, Any]:
    reason = f"no answers of {arm}"
    found = {name: Estimate(None, None, None, metric.unit, reason).as_dict() for name, metric in METRICS.items()}
    return found | {name: Estimate(0, None, None, "answers").as_dict() for name in COUNTS}


def _policies(
    runs: Runs,
    order: list[str],
    draws: int,
    seed: int,
    generator: np.random.Generator,
    limits: Mapping[Any, float],
) -> tuple[dict[str, Any], dict[str, pd.DataFrame]]:
    """Estimate everything that comes from answers; the tables hold the breakdowns."""
    base = order[0]
    found: dict[str, Any] = {
        "policies": {arm: _missing_arm(arm) for arm in order},
        "comparisons": {},
        "against_control": {},
        "decomposition": {},
        "seconds": {},
        "latency": {},
        "dose_response": {},
    }
    rows = {str(arm): part for arm, part in runs.answers.groupby("arm", observed=True)}
    if not rows:
        columns = [*COUNTS, "pass_rate", "low", "high", "tokens_per_answer", "seconds_per_answer"]
        empty = {name: pd.DataFrame(columns=["arm", by, *columns]) for name, by in BREAKDOWNS.items()}
        return found, empty | {"attainment": pd.DataFrame(columns=["attained", "seconds_per_answer", "pass_rate"])}
    resampling = Resampling.draw(runs.answers["family"], draws, generator)
    paces = resampling.paces(_probes(runs, list(rows)), generator)
    front = front_shares(rows, resampling, paces)
    for arm in (arm for arm in order if arm in rows):
        found["policies"][arm] = policy_metrics(rows[arm], resampling, paces.get(arm))
        if len(kept_only(rows[arm])) == len(rows[arm]):  # the best of n is known when all are there and rated
            found["latency"][arm] = latency_metrics(rows[arm], resampling, limits, paces.get(arm))
        found["policies"][arm]["on_front"] = Estimate(front[arm], None, None, "share").as_dict()
        if arm != base and base in rows:
            both = (paces.get(arm), paces.get(base))
            found["comparisons"][arm] = compare(rows[arm], rows[base], resampling, generator, both, len(rows) - 1)
            found["decomposition"][arm] = decompose(rows[arm], rows[base], resampling, both)
            found["seconds"][arm] = decompose_seconds(rows[arm], rows[base], resampling, both)
    asked = {arm: runs.records[f"generate-{arm}"].parameters for arm in order if arm in rows}
    for policy, arms in dials(asked).items():
        turned = {angle: rows[arm] for angle, arm in arms.items()}
        found["dose_response"][policy] = {
            "arms": {f"{angle:g}": arm for angle, arm in arms.items()},
            "slopes": dose_response(turned, resampling, {angle: paces.get(arm) for angle, arm in arms.items()}),
        }
    adjust(found["comparisons"])
    adjust({policy: turned["slopes"] for policy, turned in found["dose_response"].items()})
    for control, aligned in _controlled(runs.records).items():
        if control in rows and (own := [arm for arm in order if arm in aligned and arm in rows]):
            change = {
                arm: compare(
                    rows[arm], rows[control], resampling, generator, (paces.get(arm), paces.get(control)), len(own)
                )
                for arm in own
            }
            adjust(change)
            found["against_control"][control] = change
    tables = {name: group_table(runs.answers, by, draws, seed) for name, by in BREAKDOWNS.items()}
    return found, tables | {"attainment": attainment(rows, resampling, paces)}


def _probes(runs: Runs, arms: list[str]) -> dict[str, list[float]]:
    """Speeds of the fixed piece of work that was timed before and after each arm's answers."""
    found: dict[str, list[float]] = {arm: [] for arm in arms}
    for name, record in runs.records.items():
        own = name.removeprefix("generate-")
        arm = own if own in found else without_seed(own)
        if name.startswith("generate-") and arm in found:
            found[arm] += record.summary.get("probe_tokens_per_s", [])
    return found


def _throughput(runs: Runs, base: str) -> dict[str, Any]:
    if runs.timings.empty:
        return {"throughput": {}, "throughput_setting": {}, "unmerged": {}}
    record = runs.records["throughput"]
    asked, told = record.parameters, record.summary
    every = runs.timings[runs.timings["kind"] == "policies"]
    beside = every["policy"].str.endswith(UNMERGED)
    plain = every[~every["policy"].str.startswith(CONTROL) & ~beside]
    if plain.empty:
        return {"throughput": {}, "throughput_setting": {}, "unmerged": {}}
    timed = list(dict.fromkeys(plain["policy"]))
    order = [name for name in asked.get("policies", timed) if name in timed]
    order += [name for name in timed if name not in order]
    margin = float(asked.get("margin", DEFAULT_MARGIN))
    blocks, used = every["block"].nunique(), len(usable_blocks(block_rates(plain), order))
    setting: dict[str, Any] = {name: int(plain[name].iloc[0]) for name in ("prompt_tokens", "new_tokens")}
    setting |= {"batch_sizes": sorted({int(rows) for rows in plain["batch_size"]})}
    setting |= {"blocks": used, "excluded_blocks": int(blocks - used)}
    found: dict[str, Any] = {
        "throughput": compare_throughput(plain, order, base, margin),
        "throughput_setting": setting | {"margin": margin, "hardware": hardware(record)},
    }
    found["unmerged"] = {
        name: compare_throughput(
            every[every["policy"].isin([name, name + UNMERGED])], [name, name + UNMERGED], name, margin
        )[name + UNMERGED]
        for name in (str(n).removesuffix(UNMERGED) for n in every.loc[beside, "policy"].unique())
    }
    if checked := self_check(runs.timings, margin):
        found["self_check"] = checked._asdict() | {"passed": checked.passed, "studies": len(checked.p)}
    if "weight_bytes" in told:
        model = (float(told["weight_bytes"]), float(told["kv_bytes_per_token"]))
        if base in order:
            found["controls"] = controls(every, base, *model)
        found["roofline"] = sorted(
            roofline(plain, told), key=lambda row: (order.index(row["policy"]), row["batch_size"])
        )
    pilot = runs.timings[runs.timings["kind"] == "pilot"]
    if pilot["block"].nunique() > 1:
        told_before = foretell(pilot, int(asked["blocks"]), margin, max(1, len(order) - 1))
        found["power"] = looked_back(told_before, plain, order, base)._asdict()
    return found


def _long(found: Mapping[str, Mapping[str, Any]], columns: list[str]) -> pd.DataFrame:
    rows = [
        {columns[0]: name, columns[1]: key} | dict(value) for name, part in found.items() for key, value in part.items()
    ]
    return pd.DataFrame(rows).reindex(columns=columns) if rows else pd.DataFrame(columns=columns)


def _against(found: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Changes against each control."""
    parts = [_long(change, COMPARED).assign(control=control) for control, change in found.items()]
    columns = ["control", *COMPARED]
    return pd.concat(parts)[columns] if parts else pd.DataFrame(columns=columns)


def _doses(summary: Mapping[str, Any]) -> dict[str, pd.DataFrame]:
    """Slopes over the angle, and the values that they go through."""
    slopes, values = [], []
    for policy, found in summary["dose_response"].items():
        angles = " ".join(found["arms"])
        slopes += [{"policy": policy, "metric": m, "angles": angles} | value for m, value in found["slopes"].items()]
        values += [
            {"policy": policy, "angle": float(angle), "arm": arm, "metric": metric} | summary["policies"][arm][metric]
            for metric in found["slopes"]
            for angle, arm in found["arms"].items()
        ]
    return {
        "dose_response": pd.DataFrame(slopes).reindex(columns=DOSED),
        "doses": pd.DataFrame(values).reindex(columns=DOSES),
    }


def _timed(summary: Mapping[str, Any]) -> pd.DataFrame:
    rows = []
    beside = {f"{policy}{UNMERGED}": found for policy, found in summary["unmerged"].items()}
    for policy, found in (summary["throughput"] | beside).items():
        shared = {"policy": policy, "blocks": found["blocks"], "margin": summary["throughput_setting"]["margin"]}
        for rate, value in found.items():
            if isinstance(value, dict) and rate != "verdicts":
                tested = {}
                if rate == "ratio":
                    tested = {name: found[name] for name in ("verdict", "tost_p", "difference_p")}
                    tested |= {f"verdict at {size}": verdict for size, verdict in found["verdicts"].items()}
                rows.append(shared | {"rate": rate} | value | tested)
    return pd.DataFrame(rows, columns=TIMED)


def _checks(summary: Mapping[str, Any]) -> dict[str, pd.DataFrame]:
    """Tables of what the method was put to."""
    p = summary.get("self_check", {}).get("p", [])
    made = [
        {"control": name} | {key: row[key] for key in ("factor", "true", "others", "found")} | row["share"]
        for name, row in summary.get("controls", {}).items()
    ]
    return {
        "roofline": pd.DataFrame(summary.get("roofline", []), columns=ROOFLINE),
        "self_check": pd.DataFrame({"study": range(len(p)), "p": p}, columns=CHECKED),
        "controls": pd.DataFrame(made).reindex(columns=CONTROLLED),
    }


def analyse(runs: Runs, parameters: AnalyseParameters) -> Study:
    """Compute every table, comparison, verdict and sentence.

    Args:
        runs: the stages' outputs.
        parameters: arms and their order (the first is the baseline), bootstrap draws, seed.

    Returns:
        The study's findings; arms without answers are in them with empty estimates and a reason.
    """
    start = time.perf_counter()
    order = list(dict.fromkeys(parameters.policies))
    generator = np.random.default_rng(parameters.seed)
    found, tables = _policies(runs, order, parameters.draws, parameters.seed, generator, parameters.goodput_limits)
    machines = {
        hardware(record): None for name, record in runs.records.items() if name.startswith(("generate-", "throughput"))
    }
    missing = list(runs.missing)
    if not runs.answers.empty and order[0] not in set(runs.answers["arm"]):
        missing.append(Gap(f"all comparisons, which need answers of the baseline {order[0]}"))
    if not runs.timings.empty and order[0] not in set(runs.timings["policy"]):
        missing.append(Gap(f"timings of the baseline {order[0]}"))
    claims = ledger(
        kept_only(runs.answers),
        parameters.learning,
        *_competitors(runs.records),
        draws=parameters.draws,
        seed=parameters.seed,
        dials=[arm for arm, angle in _answering(runs.records, "dpa") if angle is not None],
    )
    summary = found | _throughput(runs, order[0])
    summary["claims"] = claims["claims"].to_dict("records")
    summary |= {
        "baseline": order[0],
        "missing": [gap._asdict() for gap in missing],
        "warnings": runs.warnings,
        "hardware": "; ".join(machines),
    }
    summary["aligned"] = _aligned(runs.records)
    summary["headline"] = headline(summary)
    tables = {
        "policies": _long(summary["policies"], ESTIMATES),
        "latency": _long(summary["latency"], ESTIMATES),
        "comparisons": _long(summary["comparisons"], COMPARED),
        "against_control": _against(summary["against_control"]),
        "decomposition": _long(summary["decomposition"], ["arm", "factor", *ESTIMATES[2:6], *LOGS, "reason"]),
        "seconds": _long(summary["seconds"], ["arm", "part", *ESTIMATES[2:]]),
        **tables,
        **_doses(summary),
        **claims,
        "throughput": _timed(summary),
        **_checks(summary),
        "acceptance": _acceptance(runs, parameters),
        "training": runs.training,
        "verdicts": kept_only(runs.answers).sort_values(["arm", "problem_id", "sample"]).reindex(columns=VERDICTS),
    }
    return Study(tables, summary, runs, parameters.model_dump(), time.perf_counter() - start)


def _competitors(records: Mapping[str, Record]) -> tuple[str, str]:
    """The arms of DPA asked for helpfulness alone, and of DPO; "" where there is none."""
    helpful = next((arm for arm, angle in _answering(records, "dpa") if angle == 0.0), "")
    return helpful, next((arm for arm, angle in _answering(records, "dpo") if angle is None), "")


def _answering(records: Mapping[str, Record], method: str) -> Iterator[tuple[str, float | None]]:
    """Arms that answer with a policy of a method, each with the direction that it is asked for."""
    for name, record in records.items():
        if name.startswith("generate-"):
            policy = Path(str(record.parameters.get("adapter") or "")).parent.name
            trained = records.get(f"align-{policy}")
            if trained and trained.parameters.get("method") == method:
                yield name.removeprefix("generate-"), record.parameters.get("angle")


def _controlled(records: Mapping[str, Record]) -> dict[str, list[str]]:
    """The arms of controls, which learnt from answers of their own that chance kept, and the aligned arms that each is set beside."""
    chance = {
        name.removeprefix("align-")
        for name, record in records.items()
        if name.startswith("align-") and record.parameters.get("start") and record.parameters.get("shuffle_rewards")
    }
    arms = [name.removeprefix("generate-") for name in records if name.startswith("generate-")]
    policy = {arm: Path(str(records[f"generate-{arm}"].parameters.get("adapter") or "")).parent.name for arm in arms}
    aligned = _aligned(records)
    return {arm: aligned for arm in arms if policy[arm] in chance}


def _aligned(records: Mapping[str, Record]) -> list[str]:
    """Policies that rewards or pairs made from another policy, and the arms that they answer as; neither controls nor best of n."""
    trained = [
        name.removeprefix("align-")
        for name, r in records.items()
        if name.startswith("align-") and r.parameters.get("start") and not r.parameters.get("shuffle_rewards")
    ]
    arms = [
        name.removeprefix("generate-")
        for name, r in records.items()
        if name.startswith("generate-")
        and Path(str(r.parameters.get("adapter") or "")).parent.name in trained
        and r.parameters.get("best_of", 1) == 1
    ]
    return sorted({*trained, *arms})


def _acceptance(runs: Runs, parameters: AnalyseParameters) -> pd.DataFrame:
    drafted = int(runs.records["speculate"].parameters["drafted"]) if "speculate" in runs.records else 1
    return acceptance_table(runs.acceptance, drafted, parameters.draws, parameters.seed)


def _record(study: Study) -> Record:
    runs, answers = study.runs, study.runs.answers
    counts = {
        "arms": len(study.summary["policies"]),
        "arms_with_answers": int(answers["arm"].nunique()),
        "problems": int(answers["problem_id"].nunique()),
        "families": int(answers["family"].nunique()),
        "answers": len(answers),
        "verdicts": int(answers["status"].notna().sum()),
        "unavailable": int((answers["status"] == "unavailable").sum()),
        "timings": len(runs.timings),
        "missing": len(study.summary["missing"]),
    }
    stages = {
        name: {"created_utc": r.provenance.created_utc, "commit": r.provenance.commit}
        for name, r in runs.records.items()
    }
    return Record(
        stage="analyse",
        parameters=study.parameters,
        seeds=[study.parameters["seed"]],
        counts=counts,
        summary=study.summary,
        inputs={"stages": stages},
        seconds=study.seconds,
        provenance=provenance(),
    )


def write(study: Study, figures: Mapping[str, Figure]) -> Record:
    """Write tables, figures, copies of the stages' records and rows, and last the record, each in one move.

    Everything is rendered before the first file is touched. The old record goes first, so that a kill in between leaves
    a folder that says it is unfinished instead of a mixture.

    Args:
        study: what `analyse` found.
        figures: figures by name, see `tradeoffs.figures.all_figures`.
    """
    from tradeoffs.figures import to_svg

    out = Path(study.parameters["out"])
    files = {f"tables/{name}.csv": table.to_csv(index=False) for name, table in study.tables.items()}
    files |= {f"figures/{name}.svg": to_svg(figure) for name, figure in figures.items()}
    files |= {
        f"stages/{name}.json": record.model_dump_json(indent=1) + "\n" for name, record in study.runs.records.items()
    }
    record, rows = _record(study), _rows(study, out / "rows")
    (out / "record.json").unlink(missing_ok=True)
    for folder, kind in (("tables", "csv"), ("figures", "svg"), ("stages", "json")):
        for old in (out / folder).glob(f"*.{kind}"):
            # What this analysis does not make would be read as if it had.
            if f"{folder}/{old.name}" not in files:
                old.unlink()
    for name, text in files.items():
        write_text(out / name, text)
    if rows and (out / "rows").exists():
        shutil.rmtree(out / "rows")
    for name, content in rows.items():
        write_bytes(out / "rows" / name, content)
    write_record(out, record)
    return record


def _rows(study: Study, folder: Path) -> dict[str, bytes]:
    """What was read, as a folder of runs has it but packed, by path: whoever has the results alone can analyse them again.

    Nothing where what was read lies in this very folder.
    """
    files: dict[str, bytes] = {}
    if Path(study.parameters["runs"]).resolve().is_relative_to(folder.resolve()):
        return files
    for name, path in study.runs.rows.items():
        stage, _, arm = name.partition("-")
        files[f"{stage}/{arm}/{path.name}{PACKED}"] = packed(path)
        files[f"{stage}/{arm}/record.json"] = (study.runs.records[name].model_dump_json(indent=1) + "\n").encode()
    return files


def as_published(results: Path, out: str, problems: str = "") -> AnalyseParameters:
    """What a study's published rows are analysed with: what its analysis was given, but for where things lie.

    Args:
        results: the study's results, with the tables and rows that `write` wrote.
        out: where the new analysis goes.
        problems: where the problem set lies here; "" where it lay then.

    Raises:
        ValueError: there are no rows or tables, `out` is the results' own folder, or the problem set is not here.
    """
    record, published = read_record(results), sorted(results.glob("tables/*.csv"))
    if Path(out).resolve() == results.resolve() or not published:
        raise ValueError(f"out: got {out}; accepts a folder beside {results}, whose tables are compared with")
    asked = problems or str(record.parameters["problems"])
    if asked.endswith((".jsonl", ".jsonl.gz")) and not Path(asked).is_file():
        raise ValueError(f"problems: {asked} is not here; say where it is: --problems FILE, make again PROBLEMS=FILE")
    if not (results / "rows").is_dir():
        raise ValueError(
            f"{results / 'rows'}: no such folder: these results were published without their rows; make study PROFILE={results.name} "
            "makes them"
        )
    return check(AnalyseParameters, record.parameters | {"runs": str(results / "rows"), "out": out, "problems": asked})


def from_tables(results: Path) -> None:
    """Make anew, from published tables, what of an analysis needs no rows: what outlives adjustment, breakdowns, ledger, sentences.

    For results whose rows were not kept, when a rule of the analysis was mended. Estimates, other intervals and figures stay.

    Args:
        results: the study's results; its record, `comparisons`, breakdowns, `claims`, `users` and `groups` are written again.
    """
    from tradeoffs.figures import pass_rate_by_group, to_svg

    record = read_record(results)
    summary, asked = record.summary, record.parameters
    for metrics in summary["comparisons"].values():
        for name, row in metrics.items():
            _as_tested(name, row)
    adjust(summary["comparisons"])
    answers = pd.read_csv(results / "tables" / "verdicts.csv", dtype={"problem_id": str})
    answers["arm"] = pd.Categorical(answers["arm"], [arm for arm in asked["policies"] if arm in set(answers["arm"])])
    # an arm of several seeds goes by the first one's name
    first = [path for path in sorted((results / "stages").glob("*.json")) if without_seed(path.stem) == path.stem]
    stages = {path.stem: read_record(path) for path in first}
    turned = [arm for arm, angle in _answering(stages, "dpa") if angle is not None]
    found = ledger(answers, asked["learning"], *_competitors(stages), asked["draws"], asked["seed"], turned)
    summary["claims"] = found["claims"].to_dict("records")
    summary["headline"] = headline(summary)
    tables = {"comparisons": _long(summary["comparisons"], COMPARED), **found}
    for name, by in BREAKDOWNS.items():
        kept = pd.read_csv(results / "tables" / f"{name}.csv", dtype={by: str})
        known = answers.assign(prompt_tokens=0, slots=0, **{by: answers[by].map(_plain)})
        rates = group_table(known, by, asked["draws"], asked["seed"])
        limits = {(row["arm"], row[by]): (row["low"], row["high"]) for row in rates.to_dict("records")}
        both = [limits.get(key, (None, None)) for key in zip(kept["arm"], kept[by], strict=True)]
        tables[name] = kept.assign(low=[low for low, _ in both], high=[high for _, high in both])
    shown = pass_rate_by_group({by: tables[name] for name, by in BREAKDOWNS.items()})
    for name, table in tables.items():
        write_text(results / "tables" / f"{name}.csv", table.to_csv(index=False))
    if (figure := results / "figures" / "pass_rate_by_group.svg").exists():
        write_text(figure, to_svg(shown))
    write_record(results, record)


def _as_tested(name: str, row: dict[str, Any]) -> None:
    """A comparison as it was before it was adjusted among others."""
    for key in ("p_adjusted", "adjustment"):
        row.pop(key, None)
    neutral = 0.0 if row["kind"] == "difference" else 1.0
    if "after adjustment" in str(row.get("reason")):
        row.pop("reason")
        if row["low"] is None or row["high"] is None:
            row["reason"] = UNBOUNDED
        row["verdict"] = verdict(Estimate(row["estimate"], row["low"], row["high"], row["unit"]), neutral)
    if name in GIVEN or boundless(row["kind"], row["low"], row["high"]):
        row["p"] = None


def _plain(value: Any) -> str | None:
    """A value of a breakdown as a table writes it."""
    return None if pd.isna(value) else str(int(value)) if isinstance(value, float) else str(value)


def again(results: Path, out: str, problems: str = "") -> dict[str, bool]:
    """Analyse a study's published rows again, without a model.

    Args:
        results, out, problems: see `as_published`.

    Returns:
        Whether each published table comes out again: the same words, and numbers within 1e-6 of each other, relatively, as processors round
        differently (below 1e-12 absolutely).

    Raises:
        ValueError: see `as_published` and `read_runs`.
    """
    run(as_published(results, out, problems))
    return {path.stem: _alike(path, Path(out) / "tables" / path.name) for path in sorted(results.glob("tables/*.csv"))}


def _alike(published: Path, made: Path) -> bool:
    if not made.exists() or published.read_bytes() == made.read_bytes():
        return made.exists()
    try:
        then, now = (pd.read_csv(path, keep_default_na=False, na_values=[""]) for path in (published, made))
        pd.testing.assert_frame_equal(then, now, rtol=1e-6, atol=1e-12, check_dtype=False)
    except (AssertionError, pd.errors.EmptyDataError):
        return False
    return True


def run(parameters: AnalyseParameters) -> Record:
    """Read, analyse, draw and write; what the notebook does cell by cell.

    Raises:
        ValueError: see `read_runs`.
    """
    from tradeoffs.figures import all_figures

    runs = read_runs(parameters.runs, parameters.policies, parameters.problems, parameters.seeds)
    study = analyse(runs, parameters)
    return write(study, all_figures(study.tables))
