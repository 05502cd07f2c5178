"""Where a published copy can be run in a browser: links for every notebook, where it is known from which repository the book is built."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from pathlib import Path
from urllib.parse import quote

NOTEBOOKS = ("align", "generate", "grade", "throughput", "speculate", "analyse")
HOSTED = re.compile(r"(?:https://|git@)github\.com[/:]([\w.-]+)/([\w.-]+?)(?:\.git)?/?")


def repository(root: Path) -> tuple[str, str] | None:
    """Owner and name on GitHub: from `TRADEOFFS_REPOSITORY`, else from the copy's origin; None where it has none there."""
    url = os.environ.get("TRADEOFFS_REPOSITORY", "")
    if not url:
        with contextlib.suppress(OSError):  # no git
            command = ["git", "-C", str(root), "remote", "get-url", "origin"]
            url = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    found = HOSTED.fullmatch(url)
    return (found[1], found[2]) if found else None


def links(root: Path) -> str:
    """A table of notebooks to launch, or how to get one."""
    known = repository(root)
    if known is None:
        return (
            "This copy of the book was not built from a public repository, so it has no launch buttons; "
            "`make book TRADEOFFS_REPOSITORY=https://github.com/owner/name` adds them."
        )
    owner, name = known
    rows = ["| Notebook | Run in a browser |", "|---|---|"]
    for notebook in NOTEBOOKS:
        path = f"notebooks/{notebook}.ipynb"
        colab = f"https://colab.research.google.com/github/{owner}/{name}/blob/main/{path}"
        binder = f"https://mybinder.org/v2/gh/{owner}/{name}/main?labpath={quote(path, safe='')}"
        rows.append(f"| {notebook} | [Colab]({colab}), [Binder]({binder}) |")
    colab = [
        "!apt-get -qq install python3.11 python3.11-venv",
        f"!git clone -q https://github.com/{owner}/{name} && make -C {name} setup",
        f"%cd {name}",
        "!.venv/bin/papermill notebooks/align.ipynb out.ipynb -p method dpo -p out runs/align/mine",
    ]
    return (
        "\n".join(rows)
        + "\n\nBinder sets itself up (`postBuild`). Colab has another Python: run notebooks with the study's own there, as in\n\n"
        "```text\n" + "\n".join(colab) + "\n```\n\nNeither has been tried by this study."
    )
