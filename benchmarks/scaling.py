"""Does the cost of an answer stay the same from a hundred answers to twenty thousand?

Grades the problems' own solutions, every problem several times; a comment makes each copy a different answer. Identical
answers, which run once, are measured beside them.

    python benchmarks/scaling.py --problems ds1000.jsonl.gz --data seaborn-data
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from grading import measure, read_jobs, run_grader, write_inputs

from tradeoffs.records import write_text

# problems, samples of each, whether samples differ
SIZES = ((100, 1, True), (1000, 1, True), (1000, 20, True), (1000, 20, False))


def main(argv: Sequence[str] | None = None) -> int:
    """Write the table, one row a size."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--problems", default="bundled", help="as for `tradeoffs grade` (default: bundled)")
    parser.add_argument("--data", help="folder with data sets that some problems load")
    parser.add_argument("--workers", type=int, default=2, help="default: 2")
    parser.add_argument("--time-limit", type=float, default=120.0, help="seconds an answer may run (default: 120)")
    parser.add_argument("--out", default=Path("results/benchmarks/scaling.csv"), type=Path, help="default: %(default)s")
    arguments = parser.parse_args(argv)
    arguments.answers, arguments.blocks = None, 1
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["answers", "identical", "seconds", "answers_a_second", "cpu_ms_an_answer", "peak_memory_gib"])
    try:
        for problems, samples, different in SIZES:
            arguments.limit = problems
            jobs = [
                job._replace(sample=number, code=f"{job.code}\n# {number}" if different else job.code)
                for job in read_jobs(arguments)
                for number in range(samples)
            ]
            with tempfile.TemporaryDirectory(prefix="scaling-") as name:
                folder = Path(name)
                write_inputs(jobs, folder)
                found = measure(lambda: run_grader(arguments, folder), len(jobs))  # noqa: B023 - called at once
            row = [
                len(jobs),
                "" if different else f"{samples} of each",
                f"{found.seconds:.1f}",
                f"{found.answers / found.seconds:.1f}",
                f"{1000 * found.cpu_seconds / found.answers:.1f}",
                f"{found.peak_memory_bytes / 2**30:.2f}",
            ]
            writer.writerow(row)
            print(*row, flush=True)
    except (ValueError, OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    write_text(arguments.out, buffer.getvalue())
    return 0


if __name__ == "__main__":
    sys.exit(main())
