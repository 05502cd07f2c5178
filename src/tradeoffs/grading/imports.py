"""What a problem's program imports before an answer runs, and the program itself.

A server may have loaded only what the program would have imported anyway: `import scipy; scipy.stats` fails in a fresh
interpreter where nobody imported `scipy.stats`, and it must fail here. So servers are shared only by problems whose
imports are the same, but for libraries whose loading shows nowhere else: what of them a problem imports is loaded ahead,
too, and hidden until the program imports it (see `latent.py`).
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

Imports = tuple[str, ...]

# Statements that load nothing more once the library is loaded (a test asks a fresh interpreter).
NO_DIFFERENCE = {
    "torch": {"from torch import nn", "import torch.autograd", "import torch.nn", "import torch.nn.functional"}
    | {
        "from torch import optim",
        "from torch.autograd import Variable",
        "import torch.optim",
        "import torch.utils.data",
    },
}
# Libraries that change nothing outside their own modules when they are loaded.
_QUIET = frozenset({"scipy", "sklearn"})
_IMPLIED = {
    **dict.fromkeys(["pandas", "scipy", "sklearn", "matplotlib", "tensorflow", "statsmodels"], ("import numpy",)),
    "seaborn": ("import numpy", "import pandas"),
}


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


def _module(line: str) -> str:
    return line.split()[1]


def _library(line: str) -> str:
    return _module(line).split(".")[0]


def _canonical(lines: set[str]) -> Imports:
    """Give lines that load the same the same form: with all that they imply, without what makes no difference."""
    # A top-level module of the standard library is out of reach for whoever does not import it, loaded or not.
    kept = {line for line in lines if _module(line) not in sys.stdlib_module_names}
    for line in list(kept):
        name = _module(line)
        kept |= {f"import {name[:i]}" for i, letter in enumerate(name + ".") if letter == "."}
        kept.update(_IMPLIED.get(_library(line), ()))
    return tuple(sorted(line for line in kept if line not in NO_DIFFERENCE.get(_library(line), ())))


def split_quiet(imports: Imports) -> tuple[Imports, Imports]:
    """Split imports into those that a server needs in sight and those that it may load and hide."""
    quiet = tuple(line for line in imports if _library(line) in _QUIET)
    return tuple(line for line in imports if line not in quiet), quiet


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
    return _canonical(set(lines))


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
