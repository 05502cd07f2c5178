"""Stages executed notebooks as pages: one title a run, one label a figure, nothing fetched from another host."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

HEADING = re.compile(r"^# +(.+)$", re.MULTILINE)
WIDGET = "application/vnd.jupyter.widget-view+json"


def _source(cell: dict[str, Any]) -> str:
    source = cell.get("source", "")
    return source if isinstance(source, str) else "".join(source)


def _title(cells: list[dict[str, Any]], stage: str, arm: str) -> None:
    """Let the page's title name the policy: the notebooks of a stage share their text."""
    arm = "" if arm == "all" else arm.removeprefix("all-")
    suffix = f": {arm}" if arm else ""
    for cell in cells:
        if cell.get("cell_type") == "markdown" and (match := HEADING.search(_source(cell))):
            cell["source"] = HEADING.sub(lambda _: f"# {match[1]}{suffix}", _source(cell), count=1)
            return
    cells.insert(0, {"cell_type": "markdown", "metadata": {}, "source": f"# {stage.capitalize()}{suffix}"})


def _clean(cell: dict[str, Any], suffix: str) -> None:
    cell["outputs"] = [output for output in cell.get("outputs", []) if WIDGET not in output.get("data", {})]
    display = cell.get("metadata", {}).get("mystnb", {})
    if figure := display.get("figure"):
        if "name" in figure:
            figure["name"] = f"{figure['name']}-{suffix}"
        display.setdefault("image", {}).setdefault("alt", figure.get("caption", suffix))


def prepared(notebook: dict[str, Any], stem: str) -> dict[str, Any]:
    """Make an executed notebook a page of the book.

    Args:
        notebook: parsed JSON, changed in place.
        stem: `<stage>-<policy>`, or `<stage>`.
    """
    stage, _, arm = stem.partition("-")
    notebook.get("metadata", {}).pop("widgets", None)
    for cell in notebook["cells"]:
        if cell.get("cell_type") == "code":
            _clean(cell, stem)
    _title(notebook["cells"], stage, arm)
    return notebook


def stage(source: Path, target: Path, end: str = "") -> list[str]:
    """Write the pages; a file that is no notebook is left out.

    Args:
        source: executed notebooks.
        target: the book's folder of pages.
        end: what their names end with, to tell studies apart.

    Returns:
        The stems of the notebooks that became pages.
    """
    done = []
    for path in sorted(source.glob("*.ipynb")):
        try:
            notebook = prepared(json.loads(path.read_text(encoding="utf-8")), path.stem + end)
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
        target.mkdir(parents=True, exist_ok=True)
        (target / f"{path.stem}{end}.ipynb").write_text(json.dumps(notebook, indent=1), encoding="utf-8")
        done.append(path.stem)
    return done
