"""What a problem's program imports before an answer runs, and the program itself.

A server may have loaded only what the program would have imported anyway: `import scipy; scipy.stats` fails in a fresh
interpreter where nobody imported `scipy.stats`, and it must fail here. So servers are shared only by problems whose
imports are the same.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

Imports = tuple[str, ...]


def _parse_prefix(text: str) -> ast.Module:
    """Parse as much of a program's beginning as is complete (`[insert]` may stand inside a function)."""
    lines = text.split("\n")
    while lines:
        try:
            return ast.parse("\n".join(lines))
        except (SyntaxError, ValueError):
            lines.pop()
    return ast.Module(body=[], type_ignores=[])


def _import_lines(module: ast.Module) -> list[str]:
    found = []
    for node in module.body:
        if isinstance(node, ast.Import):
            found += [f"import {alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module != "__future__":
            found += [f"from {node.module} import {alias.name}" for alias in node.names]
    return found


def _plain_stdlib(line: str) -> bool:
    """Whether a line loads a top-level module of the standard library, which nothing else can reach as an attribute."""
    kind, name, *_ = line.split()
    return kind == "import" and name in sys.stdlib_module_names


@lru_cache(maxsize=4096)
def _imports(code_context: str) -> Imports:
    module = _parse_prefix(code_context)
    lines = _import_lines(module)
    for node in module.body:
        if not (
            isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        ):
            continue
        if any(isinstance(target, ast.Name) and target.id == "exec_context" for target in node.targets):
            lines += _import_lines(_parse_prefix(node.value.value.split("[insert]")[0]))
    # Aliases and the order of lines leave no trace in what is loaded: problems that differ in them share a server.
    return tuple(sorted({line for line in lines if not _plain_stdlib(line)}))


def problem_imports(problem: Mapping[str, Any]) -> Imports:
    """List the import statements that a problem's program executes before the answer, aliases dropped, sorted.

    Args:
        problem: a problem in the DS-1000 format.

    Returns:
        Statements such as `import numpy` or `from scipy import stats`; equal tuples mean that a server can be shared.
    """
    return _imports(problem["code_context"])


def build_program(problem: Mapping[str, Any], code: str) -> str:
    """Put a problem's tests and an answer together into the program that decides the verdict.

    Args:
        problem: a problem in the DS-1000 format.
        code: the extracted answer.

    Returns:
        The program: it ends without an exception if and only if the answer passes.
    """
    context = problem["code_context"]
    ending = "test_string(code)\n" if "test_string(" in context else ""
    return f"{context}\ncode = {code!r}\ntest_execution(code)\n{ending}"
