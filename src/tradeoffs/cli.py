"""`tradeoffs ...`: what a person runs without a notebook."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tradeoffs.grading.environment import GradingError

if TYPE_CHECKING:
    from tradeoffs.records import Verdict
    from tradeoffs.tasks.format import Problem


def _prepare(_: argparse.Namespace) -> None:
    from tradeoffs.models import embedded_folder

    print(f"embedded model: {embedded_folder()}")


def _align(arguments: argparse.Namespace) -> None:
    from tradeoffs.parameters import AlignParameters, check

    # Checked before anything that takes seconds to import.
    parameters = check(AlignParameters, _given(arguments.parameters, arguments.set))
    from tradeoffs import processes
    from tradeoffs.alignment import align

    record = align(parameters)
    if processes.is_main():
        print(
            f"{record.counts['completed']} steps, {record.summary['tokens']} tokens; adapter in {parameters.out}/adapter"
        )


def _given(file: str | None, pairs: Sequence[str]) -> dict[str, Any]:
    """Parameters from a YAML file and from NAME=VALUE arguments, values read as YAML."""
    import yaml

    from tradeoffs.parameters import ParameterError

    values: Any = {}
    if file:
        try:
            values = yaml.safe_load(Path(file).read_text())
        except yaml.YAMLError as error:
            raise ParameterError(f"{file}: not YAML ({str(error).splitlines()[0]})") from None
        if not isinstance(values, dict):
            raise ParameterError(f"{file}: accepts a mapping of parameters, such as `method: dpo`")
    for pair in pairs:
        name, sign, value = pair.partition("=")
        if not sign:
            raise ParameterError(f"{pair}: accepts NAME=VALUE")
        values[name] = yaml.safe_load(value) if value else ""
    return values  # type: ignore[no-any-return]


def _grade(arguments: argparse.Namespace) -> None:
    from tradeoffs.grading import grade_answers
    from tradeoffs.tasks import load_problems

    problems = load_problems(arguments.problems)
    verdicts = grade_answers(
        arguments.answers,
        problems,
        arguments.out,
        data=arguments.data,
        workers=arguments.workers,
        time_limit=arguments.time_limit,
        require_isolation=arguments.require_isolation,
    )
    if verdicts:
        _summarise(verdicts, problems, arguments)
    graded = [v for v in verdicts if v.status != "unavailable"]
    passed = sum(v.status == "passed" for v in graded)
    print(f"{passed} of {len(graded)} passed; {len(verdicts) - len(graded)} unavailable; verdicts in {arguments.out}")


def _summarise(verdicts: Sequence[Verdict], problems: Sequence[Problem], arguments: argparse.Namespace) -> None:
    from tradeoffs.analysis import summarise, summary_figure, summary_text
    from tradeoffs.records import write_text

    summary = summarise(verdicts, problems)
    print(summary_text(summary))
    if arguments.summary:
        write_text(arguments.summary, json.dumps(summary, indent=1) + "\n")
    if arguments.figure:
        from tradeoffs import figures

        write_text(arguments.figure, figures.to_svg(summary_figure(summary)))


def _fetch(arguments: argparse.Namespace) -> int:
    if arguments.profile:
        return _fetch_profile(arguments)
    from tradeoffs.grading.data import fetch

    for path in fetch(arguments.out, arguments.mirror):
        print(f"{path} ({path.stat().st_size} bytes)")
    return 0


def _fetch_profile(arguments: argparse.Namespace) -> int:
    """Fetch all that can be had; what cannot is told, a line each, and gives status 2."""
    # The hub's client reads them when it is imported. They keep the stages off the network; this command is for going there.
    os.environ |= {"HF_HUB_OFFLINE": "0", "HF_DATASETS_OFFLINE": "0"}
    from tradeoffs import fetching
    from tradeoffs.profiles import load_profile

    profile = load_profile(arguments.profile, model=arguments.model or None, problems=arguments.problems or None)
    found, failed = fetching.needs(profile), False
    for need in found:
        try:
            print(fetching.fetch(need, arguments.out, arguments.mirror), flush=True)
        except (ValueError, OSError) as error:
            failed = True
            print(f"error: {error}", file=sys.stderr, flush=True)
    if not found:
        print(f"profile {profile.name}: needs nothing from outside")
    elif not failed:
        print(f"profile {profile.name}: all there; it runs without a network")
    return 2 if failed else 0


def _doctor(arguments: argparse.Namespace) -> int:
    from tradeoffs import diagnosis
    from tradeoffs.grading.doctor import examine, render, threat_csv
    from tradeoffs.records import write_text

    if arguments.threats:
        write_text(arguments.threats, threat_csv())
    report = examine(data=arguments.data)
    print(render(report))
    print(diagnosis.report())
    for finding in report.findings:
        if finding.state == "broken":
            print(f"error: {finding.what}: {finding.text}; {finding.remedy}", file=sys.stderr)
    return 0 if report.healthy else 2


def _problems(arguments: argparse.Namespace) -> None:
    from tradeoffs.records import write_text
    from tradeoffs.tasks import load_problems

    problems = load_problems(arguments.problems)
    write_text(arguments.out, "".join(json.dumps(problem) + "\n" for problem in problems))
    print(f"{len(problems)} problems in {arguments.out}")


def _headline(arguments: argparse.Namespace) -> None:
    from tradeoffs.analysis import headline_table
    from tradeoffs.records import read_record

    print(headline_table(read_record(Path("results") / arguments.profile)))


def _again(arguments: argparse.Namespace) -> int:
    from tradeoffs.analysis import again

    out = arguments.out or f"runs/{arguments.profile}/again"
    found = again(Path("results") / arguments.profile, out, arguments.problems)
    other = [name for name, same in found.items() if not same]
    print(f"{len(found) - len(other)} of {len(found)} tables come out as published; they and the figures are in {out}")
    if other:
        print(
            f"differ: {', '.join(other)}; the analysis, the problems or results/learning are others than then, or the rows were changed",
            file=sys.stderr,
        )
    return 1 if other else 0


def _plan(arguments: argparse.Namespace) -> None:
    from tradeoffs import planning
    from tradeoffs.profiles import load_profile, seeds_of

    seeds = seeds_of(arguments.seeds) if arguments.seeds else None
    given = {"model": arguments.model or None, "problems": arguments.problems or None, "seeds": seeds}
    profile = load_profile(arguments.profile, **given)
    records = planning.earlier()
    if arguments.on:
        from tradeoffs import costs

        if arguments.on not in costs.DEVICES:
            raise ValueError(f"on: got {arguments.on!r}; accepts {', '.join(costs.DEVICES)}")
        known, device = costs.runs(records), costs.DEVICES[arguments.on]
        print(costs.text(costs.on(profile, device, known), device, known))
        return
    steps = planning.plan(profile, records)
    print(planning.table(steps, planning.typical_error(planning.past(records)), each=arguments.jobs))


def parser() -> argparse.ArgumentParser:
    """The command line's parser."""
    top = argparse.ArgumentParser(prog="tradeoffs", description="Alignment against inference efficiency on DS-1000.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    prepare = commands.add_parser("prepare", help="convert the embedded model into the cache, once")
    prepare.set_defaults(run=_prepare)
    align = commands.add_parser(
        "align",
        help="train a policy; with several processes: accelerate launch --num_processes 2 -m tradeoffs.cli align ...",
        description="Train a policy as notebooks/align.ipynb does, with the same parameters.",
    )
    align.add_argument("parameters", nargs="?", help="YAML file of parameters")
    align.add_argument(
        "-p", "--set", action="append", default=[], metavar="NAME=VALUE", help="a parameter; outranks the file"
    )
    align.set_defaults(run=_align)
    grade = commands.add_parser("grade", help="grade a file of answers")
    grade.add_argument("answers", help=".jsonl or .jsonl.gz, one JSON object a line with `code` or `text`")
    grade.add_argument(
        "--problems", default="bundled", help="'bundled', 'ds1000' (hub) or a .jsonl[.gz] file (default: bundled)"
    )
    grade.add_argument(
        "--out", required=True, help="verdicts, appended as they are reached; started again, the rest is graded"
    )
    grade.add_argument("--workers", type=int, default=2, help="answers graded at the same time (default: 2)")
    grade.add_argument("--time-limit", type=float, default=120.0, help="seconds an answer may run (default: 120)")
    grade.add_argument(
        "--require-isolation", choices=("limits", "namespaces", "bubblewrap"), help="refuse weaker isolation"
    )
    grade.add_argument("--data", help="folder with data sets that some problems load (default: what `fetch` fetched)")
    grade.add_argument("--summary", help="JSON file for the table by library, perturbation type and tier")
    grade.add_argument("--figure", help="SVG file for the same as a figure")
    grade.set_defaults(run=_grade)
    fetch = commands.add_parser(
        "fetch",
        help="fetch what a profile needs from outside, so that it runs without a network",
        description="Fetch the models, data sets and problems that a profile needs; what is there is not fetched again, and what was "
        "interrupted goes on. Without a profile: the data sets that some problems load while they are graded.",
    )
    fetch.add_argument("profile", nargs="?", help="a name in config/ or the path of a YAML file")
    fetch.add_argument("--model", default="", help="instead of the profile's")
    fetch.add_argument("--problems", default="", help="instead of the profile's")
    fetch.add_argument(
        "--out", help="folder for problems' data sets (default: one in TRADEOFFS_CACHE, which grading finds by itself)"
    )
    fetch.add_argument("--mirror", help="address below which copies of the files lie (default: their public homes)")
    fetch.set_defaults(run=_fetch)
    doctor = commands.add_parser(
        "doctor",
        help="say what is here, which profiles can run, whether grading can, and what its isolation does not stop",
    )
    doctor.add_argument("--data", help="as for grade")
    doctor.add_argument("--threats", help="CSV file for the table of what each isolation level stops")
    doctor.set_defaults(run=_doctor)
    problems = commands.add_parser(
        "problems", help="write a problem set as a .jsonl file in DS-1000's simplified format"
    )
    problems.add_argument("--problems", default="bundled", help="as for grade (default: bundled)")
    problems.add_argument("--out", required=True)
    problems.set_defaults(run=_problems)
    plan = commands.add_parser("plan", help="say what a profile would still run, and about how long it takes")
    plan.add_argument("profile", nargs="?", default="laptop")
    plan.add_argument("--model", default="", help="instead of the profile's")
    plan.add_argument("--problems", default="", help="instead of the profile's")
    plan.add_argument("--seeds", default="", metavar="0,1,2", help="training seeds, instead of the profile's")
    plan.add_argument(
        "--on", default="", metavar="GPU", help="what it would cost on a GPU, such as h100, a100 or rtx4090"
    )
    plan.add_argument("--jobs", action="store_true", help="a line for each job that is not done")
    plan.set_defaults(run=_plan)
    again = commands.add_parser(
        "again",
        help="analyse a profile's published rows again, without a model, and compare with the published tables",
        description="Analyse the rows that a study published beside its results, without a model, and say which published tables come out "
        "as they are. Exit status 1 where one does not.",
    )
    again.add_argument("profile", nargs="?", default="laptop")
    again.add_argument("--problems", default="", help="where the problem set lies here (default: where it lay then)")
    again.add_argument("--out", default="", help="folder for tables, figures and record (default: runs/PROFILE/again)")
    again.set_defaults(run=_again)
    headline = commands.add_parser("headline", help="print a profile's headline table")
    headline.add_argument("profile", nargs="?", default="laptop")
    headline.set_defaults(run=_headline)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; a wrong argument or input ends with one line and exit status 2, Ctrl-C with 130."""
    arguments = parser().parse_args(argv)
    try:
        return arguments.run(arguments) or 0
    except (ValueError, OSError, ArithmeticError, MemoryError, GradingError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
