"""What decides whether a job runs again: the content of its parameters, of its inputs and of the code that it depends on. No time stamps.

A job's folder holds `content.json`, written when the job begins: its parameters with defaults, and digests of its inputs and of the modules
that its numbers come from. Code is compared by its syntax tree without docstrings, so that prose and layout change nothing. What a
notebook shows after its record is written decides no number and is left out, and so are the modules of `BOOKKEEPING`; parameters stand for
themselves. A job is done when its record is there and all of this is as it was.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.metadata
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tradeoffs.methods import METHODS
from tradeoffs.parameters import ASIDE, filled
from tradeoffs.profiles import Job
from tradeoffs.records import CONTENT, SCHEMA_VERSION, digest, write_text

PACKAGE = Path(__file__).parent
BOOKKEEPING = {"parameters", "records", "progress", "processes", "methods", "profiles", "planning", "content", "cli"}
# Whose numbers they are: an upgrade makes a policy, an answer or a speed another one.
LIBRARIES = {
    "align": ("torch", "transformers", "trl", "peft", "datasets"),
    "generate": ("torch", "transformers"),
    "throughput": ("torch", "transformers"),
    "speculate": ("torch", "transformers"),
    "grade": (),
    "analyse": ("numpy", "pandas", "scipy", "statsmodels", "moocore"),
}
# What other jobs read of a job's folder; the analysis reads records and curves besides.
OUTPUTS = {
    "align": ("adapter/adapter_model.safetensors",),
    "generate": ("answers.jsonl",),
    "grade": ("verdicts.jsonl",),
    "throughput": ("timings.jsonl",),
    "speculate": ("acceptance.jsonl",),
    "analyse": (),
}
ANALYSED = ("record.json", "steps.jsonl")
DECIDE_NOTHING = {"out"} | ASIDE
SAMPLED = 1 << 20  # bytes: of a larger file in a folder (a model's weights) so much and its size stand for it
MARK, KEPT = "done", CONTENT


class Content(NamedTuple):
    """What a job's numbers follow from.

    Attributes:
        parameters: by name, defaults filled in.
        inputs: digest by path.
        source: digest by module, and by stage for its notebook's code.
        versions: of the libraries that compute the numbers, and of the rows' schema.
    """

    parameters: dict[str, Any]
    inputs: dict[str, str]
    source: dict[str, str]
    versions: dict[str, str]


def _tree(code: str) -> ast.Module:
    """The syntax tree without docstrings."""
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:]
    return tree


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _path(module: str, package: Path) -> Path | None:
    """The file of `tradeoffs.x.y`, None where there is none."""
    base = package.joinpath(*module.split(".")[1:])
    return next((path for path in (base / "__init__.py", base.with_suffix(".py")) if path.is_file()), None)


def _names(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Modules that code imports, with the name taken from each ("" for the module itself); those for type checkers are left out."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.module or "", alias.name) for alias in node.names)
        else:
            yield from _names(node)


def _homes(path: Path) -> dict[str, str]:
    """Where a package that loads its names lazily has them: its table `_HOMES`."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        if isinstance(value, ast.Dict) and any(isinstance(t, ast.Name) and t.id == "_HOMES" for t in targets):
            found: dict[str, str] = ast.literal_eval(value)
            return found
    return {}


@functools.cache
def _reads(path: Path, package: Path) -> tuple[tuple[str, str], ...]:
    """What a module of the package imports of the package, and the files beside it that it names."""
    code = path.read_text(encoding="utf-8")
    tree = _tree(code)
    found = [(module, name) for module, name in _names(tree) if module.split(".")[0] == "tradeoffs"]
    beside = {file.name for file in path.parent.iterdir() if file.is_file() and file != path}
    strings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    found += [("file", str(path.parent / name)) for name in sorted(strings & beside)]
    if path.name == "__init__.py" and "import_module(" in code and not _homes(path):
        found += [("file", str(file)) for file in sorted(path.parent.glob("*.py")) if file != path]
    return tuple(found)


@functools.cache
def _file(path: Path) -> str:
    if path.suffix == ".py":
        return _sha(ast.dump(_tree(path.read_text(encoding="utf-8")), annotate_fields=False))
    return digest(path)[:16]


_version = functools.cache(importlib.metadata.version)
_whole = functools.cache(lambda path, *_: digest(path))


def _digest(path: Path) -> str:
    """Digest of a file, read once a process while it stays as it is: a sweep's policies all start from one adapter."""
    now = path.stat()
    return _whole(path, now.st_ino, now.st_size, now.st_mtime_ns)


def code_of(notebook: Path) -> str:
    """The code of a notebook up to the cell that makes its record; parameters and lines for IPython are left out."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    parts = []
    for cell in cells:
        if cell["cell_type"] != "code" or "parameters" in cell["metadata"].get("tags", []):
            continue
        lines = "".join(cell["source"]).splitlines()
        parts.append("\n".join(line for line in lines if not line.startswith("%")))
        if any(
            isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "record" for t in node.targets)
            for node in ast.parse(parts[-1]).body
        ):
            break
    return "\n".join(parts)


@functools.cache
def source(stage: str, method: str = "", root: Path = Path(), package: Path = PACKAGE) -> dict[str, str]:
    """Digests of the code that a stage's numbers come from.

    Args:
        stage: a key of `MODELS`.
        method: of alignment, whose module is loaded by name.
        root: the project's folder, where `notebooks` is.
        package: the folder of the package.
    """
    code = code_of(root / "notebooks" / f"{stage}.ipynb")
    found = {f"notebooks/{stage}.ipynb": _sha(ast.dump(_tree(code), annotate_fields=False))}
    todo = [pair for pair in _names(_tree(code)) if pair[0].split(".")[0] == "tradeoffs"]
    todo += [(METHODS[method], "")] if method in METHODS else []
    seen: set[tuple[str, str]] = set()
    while todo:
        module, name = todo.pop()
        if (module, name) in seen:
            continue
        seen.add((module, name))
        if module == "file":
            path: Path | None = Path(name)
        else:
            parts = module.split(".")
            todo += [(".".join(parts[:end]), "-") for end in range(2, len(parts))]  # packages above, for their own sake
            if name and _path(f"{module}.{name}", package):
                todo.append((f"{module}.{name}", ""))
            path = _path(module, package)
            homes = _homes(path) if path is not None and path.name == "__init__.py" else {}
            wanted = [homes[name]] if name in homes else set(homes.values()) if not name else []
            todo += [(f"{module}.{home}", "-") for home in wanted]
        if path is None or (len(module.split(".")) == 2 and module.split(".")[1] in BOOKKEEPING):
            continue
        found[path.relative_to(package.parent).as_posix()] = _file(path)
        if path.suffix == ".py":
            todo += _reads(path, package)
    return dict(sorted(found.items()))


def _folder(path: Path) -> str:
    """Digest of a folder's files: names, sizes and beginnings."""
    found = hashlib.sha256()
    for file in sorted(file for file in path.rglob("*") if file.is_file()):
        found.update(f"{file.relative_to(path).as_posix()} {file.stat().st_size}\n".encode())
        with file.open("rb") as content:
            found.update(content.read(SAMPLED))
    return found.hexdigest()


def _values(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for part in value.values():
            yield from _values(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _values(part)
    elif isinstance(value, str) and value:
        yield value


def hub_commit(model: str) -> str | None:
    """Which commit the hub's cache holds for a model that is named by a branch or by none; None for a folder, or where nothing is cached.

    Data sets from the hub are pinned by the program itself.
    """
    repo, _, revision = model.partition("@")
    if repo.count("/") != 1 or Path(model).exists():
        return None
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    ref = Path(constants.HF_HUB_CACHE).expanduser() / repo_folder_name(repo_id=repo, repo_type="model") / "refs"
    path = ref / (revision or "main")
    return path.read_text(encoding="utf-8").strip() if path.is_file() else None


def content(job: Job, root: Path = Path(), package: Path = PACKAGE) -> Content:
    """What a job's numbers would follow from now.

    Args:
        job: see `tradeoffs.profiles.Job`.
        root: the project's folder, where parameters' paths begin.
        package: the folder of the package.
    """
    given = filled(job.stage, job.parameters)
    parameters = json.loads(
        json.dumps({name: value for name, value in given.items() if name not in DECIDE_NOTHING}, default=str)
    )
    inputs = {}
    for text in {text for name, value in given.items() if name != "out" for text in _values(value)}:
        path = root / text
        if text.startswith("runs/") or len(text) > 500 or not path.exists() or text == ".":
            continue  # what other jobs make is looked at below
        inputs[text] = _digest(path) if path.is_file() else _folder(path)
    # a branch may have moved since: what it stood for is written down, and decides
    if commit := hub_commit(str(given.get("model", ""))):
        inputs[str(given["model"])] = commit
    for need in job.needs:
        folder = Path(need).parent
        stage = folder.parts[2] if len(folder.parts) > 2 else ""
        names = OUTPUTS.get(stage, ()) + (ANALYSED if job.stage == "analyse" else ())
        inputs |= {
            f"{folder}/{name}": _digest(root / folder / name) for name in names if (root / folder / name).is_file()
        }
    versions = {name: _version(name) for name in LIBRARIES[job.stage]}
    code = source(job.stage, str(job.parameters.get("method", "")), root, package)
    return Content(parameters, dict(sorted(inputs.items())), code, versions | {"schema": str(SCHEMA_VERSION)})


def kept(folder: Path) -> Content | None:
    """What the folder's rows were made from; None where nobody wrote it down."""
    try:
        return Content(**json.loads((folder / KEPT).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def keep(folder: Path, now: Content) -> None:
    """Write down what a job's rows are made from."""
    write_text(folder / KEPT, json.dumps(now._asdict(), indent=1, sort_keys=True) + "\n")


def changes(before: Content | None, now: Content) -> list[str]:
    """What differs, a line each; empty where nothing does."""
    if before is None:
        return ["nobody wrote down what it was made from"]
    found = []
    for what, old, new in zip(Content._fields, before, now, strict=True):
        names = [name for name in sorted({*old, *new}) if old.get(name) != new.get(name)]
        found += [f"{what}: {', '.join(names)}"] if names else []
    return found


def code_changed(before: Content | None, now: Content) -> bool:
    """Whether rows that are there were made by other code; other parameters and inputs are seen by the stages themselves."""
    return before is None or (before.source, before.versions) != (now.source, now.versions)


def fetched_meanwhile(job: Job, begun: Content) -> Content:
    """What a job that has ended was made from: with the commit of a hub model that it fetched itself, which nobody knew when it began."""
    model = str(filled(job.stage, job.parameters).get("model", ""))
    commit = hub_commit(model)
    if commit is None or model in begun.inputs:
        return begun
    return begun._replace(inputs=dict(sorted((begun.inputs | {model: commit}).items())))


def complete(job: Job, root: Path = Path()) -> bool:
    """Whether a job has ended and what others read of it is there."""
    folder = root / job.folder
    return all((folder / name).is_file() for name in ("record.json", *OUTPUTS[job.stage]))


def why(job: Job, root: Path = Path(), package: Path = PACKAGE) -> list[str]:
    """Why a job has to run: a line for each reason, none where it is done."""
    folder = root / job.folder
    if not complete(job, root):
        missing = [name for name in ("record.json", *OUTPUTS[job.stage]) if not (folder / name).is_file()]
        return [f"{missing[0]} is not there"]
    return changes(kept(folder), content(job, root, package))


def expire(planned: Sequence[Job], root: Path = Path()) -> list[Job]:
    """Take away the marks of jobs that have to run, and of those that read what they make; give those jobs.

    Whether the latter really run is seen when their turn comes: what they read may have come out as it was.
    """
    again: set[str] = set()
    found = []
    for job in planned:
        if again & set(job.needs) or why(job, root):
            again.add(f"{job.folder}/record.json")
            (root / job.folder / MARK).unlink(missing_ok=True)
            found.append(job)
        elif not (root / job.folder / MARK).exists():
            os.close(os.open(root / job.folder / MARK, os.O_CREAT | os.O_WRONLY, 0o644))
    return found
