"""Reference pages of the package, from its source as it stands: signatures and docstrings, nothing imported."""

from __future__ import annotations

import ast
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

ROOMS = {
    "alignment": "Alignment methods",
    "analysis": "Analysis",
    "cli": "Command line",
    "content": "What decides whether a job runs again",
    "costs": "Costs on other machines",
    "diagnosis": "What a machine lacks",
    "fetching": "Fetching models and data",
    "figures": "Figures",
    "grading": "Grading",
    "inference": "Inference",
    "methods": "Registry of methods",
    "models": "Models",
    "parameters": "Parameters of the notebooks",
    "preferences": "Preferences and rewards",
    "profiles": "Profiles",
    "planning": "Planning",
    "records": "Rows and records",
    "svg": "Light drawings",
    "tasks": "Tasks and problems",
    "teaching": "Exercises",
}
SECTION = re.compile(r"(Args|Attributes|Returns|Raises|Yields|Source):\s*(.*)")


def _plain(text: str) -> str:
    """Text as it stands, but for `code`: nothing of it is markup."""
    parts = re.split(r"(`[^`\n]+`)", text)
    return "".join(part if n % 2 else re.sub(r"([\\*_<>\[\]${}|~#])", r"\\\1", part) for n, part in enumerate(parts))


def rendered(docstring: str) -> str:
    """A docstring with Google's sections as Markdown; each item of a section becomes an item of a list."""
    lines: list[str] = []
    inside = False
    for line in docstring.splitlines():
        section = SECTION.fullmatch(line)
        indent = len(line) - len(line.lstrip())
        if section:
            inside = not section[2]
            lines += ["", f"**{section[1]}** {_plain(section[2])}".rstrip(), ""]
        elif inside and line.strip() and indent:
            new = indent == 4 and (":" in line or lines[-1] == "")
            lines.append(f"{'- ' if new else '  '}{_plain(line.strip())}")
        else:
            inside = inside and not line.strip()
            lines.append(line if indent >= 4 else _plain(line))  # indented: shown as it stands
    return "\n".join(lines)


def _signature(node: ast.AST, indent: str = "") -> str:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        arguments = [ast.unparse(a) for a in _arguments(node.args)]
        result = f" -> {ast.unparse(node.returns)}" if node.returns else ""
        short = f"{indent}def {node.name}({', '.join(arguments)}){result}"
        if len(short) <= 100:
            return short
        return f"{indent}def {node.name}(\n" + "".join(f"{indent}    {a},\n" for a in arguments) + f"{indent}){result}"
    assert isinstance(node, ast.ClassDef)
    bases = ", ".join(map(ast.unparse, node.bases))
    lines = [f"class {node.name}({bases})" if bases else f"class {node.name}"]
    for child in node.body:
        if isinstance(child, ast.AnnAssign) and isinstance(child.target, ast.Name) and child.target.id[0] != "_":
            value = child.value
            shown = f" = {ast.unparse(value)}" if isinstance(value, ast.Constant) else ""
            lines.append(f"    {child.target.id}: {ast.unparse(child.annotation)}{shown}")
    return "\n".join(lines)


def _arguments(given: ast.arguments) -> Iterator[ast.AST]:
    """Arguments one by one, each as a tree that unparses to `name: type = default`."""
    plain = [*given.posonlyargs, *given.args]
    defaults: list[ast.expr | None] = [*[None] * (len(plain) - len(given.defaults)), *given.defaults]
    named = zip(given.kwonlyargs, given.kw_defaults, strict=True)
    star = [ast.Name("*" + ast.unparse(given.vararg))] if given.vararg else [ast.Name("*")] if given.kwonlyargs else []
    rest = [ast.Name("**" + ast.unparse(given.kwarg))] if given.kwarg else []
    for argument, default in [
        *zip(plain, defaults, strict=True),
        *((s, None) for s in star),
        *named,
        *((r, None) for r in rest),
    ]:
        text = ast.unparse(argument) + (f" = {ast.unparse(default)}" if default is not None else "")
        if text != "self":
            yield ast.Name(text)


def _described(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, module: str) -> Iterator[str]:
    yield f"### {node.name}\n\n```python\n{_signature(node)}\n```\n"
    yield rendered(ast.get_docstring(node) or "") + "\n"
    if isinstance(node, ast.ClassDef):
        yield from _fields(node)
        for child in node.body:
            if isinstance(child, ast.FunctionDef) and child.name[0] != "_" and ast.get_docstring(child):
                yield f"```python\n{_signature(child)}\n```\n"
                yield rendered(ast.get_docstring(child) or "") + "\n"


def _fields(node: ast.ClassDef) -> Iterator[str]:
    """What a model says of its fields where it declares them."""
    rows = []
    for child in node.body:
        if not (isinstance(child, ast.AnnAssign) and isinstance(child.value, ast.Call)):
            continue
        told = {k.arg: k.value for k in child.value.keywords if k.arg}
        words = told.get("description")
        if isinstance(words, ast.Constant):
            default = child.value.args[0] if child.value.args else told.get("default_factory")
            rows.append(
                f"- `{ast.unparse(child.target)}`: {_plain(str(words.value))}"
                + (f" (default `{ast.unparse(default)}`)" if default is not None else "")
            )
    if rows:
        yield "\n".join(rows) + "\n"


def page(room: str, package: Path) -> str:
    """The page of one room: a section a module, a subsection a public class or function that says what it does."""
    folder = package / room
    modules = sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]
    parts = [f"# {ROOMS[room]}\n"]
    for path in modules:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        name = ".".join(path.relative_to(package.parent).with_suffix("").parts).removesuffix(".__init__")
        if any(part.startswith("_") for part in name.split(".")):
            continue
        about = ast.get_docstring(tree) or ""
        parts.append(f"({name})=\n## {name}\n\n{rendered(about)}\n")
        for node in tree.body:
            known = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            if known and node.name[0] != "_" and ast.get_docstring(node) and "synthetic" not in name:
                parts += _described(node, name)
    return "\n".join(parts)


def stage(source: Path, package: Path) -> None:
    """Write `source/api/<room>.md` for every room of the package."""
    shutil.rmtree(source / "api", ignore_errors=True)
    (source / "api").mkdir()
    for room in ROOMS:
        (source / "api" / f"{room}.md").write_text(page(room, package), encoding="utf-8")
