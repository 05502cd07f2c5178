"""What the theme leaves undone on every page: no script that the book does not use, and a name for whatever can be pressed or scrolled."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx


SHORT = re.compile(r'<code class="(?=[^"]*"><span class="pre">[^<]{1,20}</span></code>)(docutils)')


def _uses_thebe(script: Any) -> bool:
    """Jupyter Book registers Thebe, twice, whose script comes from another host and which this book does not use."""
    return "thebe" in f"{getattr(script, 'filename', script)} {getattr(script, 'attributes', '')}".lower()


def finish(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Mend one page before it is written."""
    context["script_files"] = [script for script in context.get("script_files", []) if not _uses_thebe(script)]
    if "body" in context:
        # its children are no list items
        context["body"] = context["body"].replace(
            '<div role="list" class="citation-list">', '<div class="citation-list">'
        )
        # a policy's name is one word, hyphen or not; long names of modules may break
        context["body"] = SHORT.sub(r'<code class="short \1', context["body"])
    if make := context.get("generate_toctree_html"):

        def named(*args: Any, **options: Any) -> Any:
            tree = make(*args, **options)
            for summary in tree.find_all("summary") if hasattr(tree, "find_all") else []:
                summary["aria-label"] = "pages below"
            return tree

        context["generate_toctree_html"] = named


def lighten(app: Sphinx, error: Exception | None) -> None:
    """Take out the theme's script for icons of one's own, which is heavier than all the rest of a page; its icons come from a font."""
    if error or app.builder.format != "html":
        return
    static = Path(app.outdir) / "_static" / "scripts"
    for path in static.glob("fontawesome.js*"):
        path.unlink()
    for path in Path(app.outdir).rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        lighter = re.sub(
            r'\s*<!-- [^<>]* custom icons -->|\s*<script defer src="[^"]*/fontawesome\.js[^"]*"></script>', "", text
        )
        if lighter != text:
            path.write_text(lighter, encoding="utf-8")
