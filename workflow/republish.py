"""Analyse a study's published rows with the code that is here, and publish that in place of what it said before.

No model is run and no other stage: the notebooks of the other stages and the rows stay as they are, and the analysis notebook is executed.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from execute import execute, publish

from tradeoffs.analysis.stage import as_published, from_tables
from tradeoffs.profiles import Job


def main() -> int:
    """Publish one study again; exit 0 when that is done, 2 when it has no rows to do it from."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("profile", help="a folder in results/")
    parser.add_argument("--problems", default="", help="where the problem set lies here (default: where it lay then)")
    parser.add_argument(
        "--from-tables",
        action="store_true",
        help="only make anew what follows from the published tables (adjustment, breakdowns, ledger, the three sentences): needs no rows",
    )
    a = parser.parse_args()
    results, work = Path("results", a.profile), Path("runs", a.profile, "republished")
    try:
        if a.from_tables:
            from_tables(results)
            return 0
        parameters = as_published(results, str(work / "analyse"), a.problems)
    except (ValueError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    shutil.rmtree(work, ignore_errors=True)
    (work / "notebooks").mkdir(parents=True)
    for path in (results / "lab").glob("*.ipynb"):  # not all results are published with theirs
        shutil.copy(path, work / "notebooks")
    job = Job("analyse", "all", parameters.out, parameters.model_dump(), ())
    if status := execute(job, work / "notebooks" / "analyse-all.ipynb"):
        print(f"error: see {work / 'notebooks'}; {results} is as it was", file=sys.stderr)
        return status
    publish(work / "analyse", work / "notebooks", results)
    print(f"{results} is published again")
    return 0


if __name__ == "__main__":
    sys.exit(main())
