"""Formulas as MathML, which browsers draw by themselves: no script, no other host, readable by screen readers."""

from __future__ import annotations

import html
from typing import Any

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml


def _mathml(tex: str, *, as_block: bool) -> str:
    """Convert; a command that the converter does not know leaves the formula as its source, readable and marked."""
    try:
        return str(tex2mathml(tex, as_block=as_block))
    except (MathError, SyntaxError):
        return f'<code class="math-source">{html.escape(tex)}</code>'


def inline(translator: Any, node: nodes.math) -> None:
    """Write a formula within a line."""
    translator.body.append(_mathml(node.astext(), as_block=False))
    raise nodes.SkipNode


def block(translator: Any, node: nodes.math_block) -> None:
    """Write a formula on a line of its own."""
    translator.body.append(f'<div class="math-block" tabindex="0">{_mathml(node.astext(), as_block=True)}</div>\n')
    raise nodes.SkipNode
