"""`tradeoffs ...`: what a person runs without a notebook."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path


def _prepare(_: argparse.Namespace) -> None:
    from tradeoffs.models import embedded_folder

    print(f"embedded model: {embedded_folder()}")


def _grade(arguments: argparse.Namespace) -> None:
    from tradeoffs.grading import grade_answers
    from tradeoffs.tasks import load_problems

    verdicts = grade_answers(
        arguments.answers,
        load_problems(arguments.problems),
        arguments.out,
        workers=arguments.workers,
        time_limit=arguments.time_limit,
        require_isolation=arguments.require_isolation,
    )
    graded = [v for v in verdicts if v.status != "unavailable"]
    passed = sum(v.status == "passed" for v in graded)
    print(f"{passed} of {len(graded)} passed; {len(verdicts) - len(graded)} unavailable; verdicts in {arguments.out}")


def _problems(arguments: argparse.Namespace) -> None:
    import json

    from tradeoffs.records import write_text
    from tradeoffs.tasks import load_problems

    problems = load_problems(arguments.problems)
    write_text(arguments.out, "".join(json.dumps(problem) + "\n" for problem in problems))
    print(f"{len(problems)} problems in {arguments.out}")


def _headline(arguments: argparse.Namespace) -> None:
    from tradeoffs.analysis import headline_table
    from tradeoffs.records import read_record

    print(headline_table(read_record(Path("results") / arguments.profile)))


def parser() -> argparse.ArgumentParser:
    """The command line's parser."""
    top = argparse.ArgumentParser(prog="tradeoffs", description="Alignment against inference efficiency on DS-1000.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    prepare = commands.add_parser("prepare", help="convert the embedded model into the cache, once")
    prepare.set_defaults(run=_prepare)
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
    grade.set_defaults(run=_grade)
    problems = commands.add_parser(
        "problems", help="write a problem set as a .jsonl file in DS-1000's simplified format"
    )
    problems.add_argument("--problems", default="bundled", help="as for grade (default: bundled)")
    problems.add_argument("--out", required=True)
    problems.set_defaults(run=_problems)
    headline = commands.add_parser("headline", help="print a profile's headline table")
    headline.add_argument("profile", nargs="?", default="laptop")
    headline.set_defaults(run=_headline)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; a wrong argument or input ends with one line and exit status 2, Ctrl-C with 130."""
    arguments = parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
