"""Stages executed notebooks as pages: one title a run, one label a figure, nothing fetched from another host."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

HEADING = re.compile(r"^# +(.+)$", re.MULTILINE)
SEED = re.compile(r"-s\d+$")  # how the names of further training seeds end
SEEDS = "seeds"  # their folder
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

    Those of further training seeds lie in a folder of their own, outside of the table of contents: the build takes time for every entry of
    it on every page.

    Args:
        source: executed notebooks.
        target: the book's folder of pages.
        end: what their names end with, to tell studies apart.

    Returns:
        The stems of the notebooks that cannot be read.
    """
    unread = []
    for path in sorted(source.glob("*.ipynb")):
        try:
            notebook = prepared(json.loads(path.read_text(encoding="utf-8")), path.stem + end)
        except (ValueError, KeyError, TypeError, AttributeError):
            unread.append(path.stem)
            continue
        further = bool(SEED.search(path.stem))
        # the search index is loaded with every page, and what a reader looks for is in the chapters
        notebook.setdefault("metadata", {}).update({"nosearch": True} | ({"orphan": True} if further else {}))
        page = (target / SEEDS if further else target) / f"{path.stem}{end}.ipynb"
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(json.dumps(notebook, indent=1), encoding="utf-8")
    return unread


def further_seeds(target: Path) -> str:
    """Link the pages of further training seeds, a paragraph a stage."""
    stages: dict[str, list[str]] = {}
    for path in sorted((target / SEEDS).glob("*.ipynb")):
        stage, _, arm = path.stem.partition("-")
        stages.setdefault(stage, []).append(f"[{arm}]({target.name}/{SEEDS}/{path.name})")
    if not stages:
        return "There are none of further training seeds."
    return "Further training seeds:\n\n" + "\n\n".join(
        f"{stage}: {', '.join(links)}" for stage, links in stages.items()
    )
