"""Who may import whom: arrows between the rooms point one way, and the light ones stay light."""

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "tradeoffs"
FILES = sorted(SOURCE.rglob("*.py"))
BASIS = {"records", "parameters", "progress", "processes"}

# Room -> what it may import, as prefixes of dotted names below `tradeoffs`.
ALLOWED: dict[str, set[str]] = {
    "__init__": set(),
    "records": set(),
    "methods": set(),
    "parameters": {"methods"},
    "processes": set(),
    "progress": {"processes"},
    "profiles": {"parameters", "records"},
    "content": {"methods", "parameters", "profiles", "records"},
    "planning": {"content", "parameters", "profiles", "records", "tasks"},
    "costs": {"parameters", "planning", "profiles", "records"},
    "models": {"parameters", "records"},
    "tasks": {"parameters", "records"},
    "grading": {"tasks", *BASIS},
    "fetching": {"grading", "parameters", "preferences.hub", "profiles", "records", "tasks"},
    "diagnosis": {"fetching", "grading.doctor", "models", "profiles"},
    "inference": {"tasks", "models", "grading.extract", *BASIS},
    "preferences": {"tasks", "models", "grading", "inference.engine", "records", "progress", "processes"},
    "alignment": {"preferences", "models", "tasks", "inference.engine", "methods", *BASIS},
    "figures": {"records", "svg"},
    "analysis": {"tasks", "parameters", "records", "figures", "preferences.rewards"},
    "teaching": {"alignment", "analysis"},
}
OUTSIDE = {"notebooks", "workflow", "book", "benchmarks", "tests"}


def room(path: Path) -> str:
    return path.relative_to(SOURCE).with_suffix("").parts[0]


def imports(node: ast.AST) -> Iterator[str]:
    """Give every imported dotted name, also those that only type checkers see."""
    for child in ast.walk(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "relative imports hide which room is meant"
            yield from (f"{child.module}.{alias.name}" for alias in child.names)


def ours(path: Path) -> set[str]:
    """Give what a file imports from the other rooms, without the leading `tradeoffs.`."""
    found = imports(ast.parse(path.read_text()))
    names = {name.removeprefix("tradeoffs.") for name in found if name.startswith("tradeoffs.")}
    return {name for name in names if name.split(".")[0] != room(path)}


def permitted(name: str, prefixes: set[str]) -> bool:
    return any(f"{name}.".startswith(f"{prefix}.") for prefix in prefixes)


def loaded_by(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    return set(done.stdout.split())


def test_the_walk_sees_every_kind_of_import() -> None:
    text = "import a.b\nfrom c import d\ndef f():\n    from e.f import g\nif TYPE_CHECKING:\n    import h\n"
    assert set(imports(ast.parse(text))) == {"a.b", "c.d", "e.f.g", "h"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_room_imports_only_what_it_may(path: Path) -> None:
    if room(path) == "cli":
        return
    assert [name for name in sorted(ours(path)) if not permitted(name, ALLOWED[room(path)])] == []


def test_no_room_leads_back_to_itself() -> None:
    arrows: dict[str, set[str]] = {}
    for path in FILES:
        arrows.setdefault(room(path), set()).update(name.split(".")[0] for name in ours(path))
    order = list(graphlib.TopologicalSorter(arrows).static_order())
    assert order[-1] == "cli" or "cli" not in set().union(*arrows.values())


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_nothing_knows_the_notebooks_the_workflow_or_the_book(path: Path) -> None:
    assert {name.split(".")[0] for name in imports(ast.parse(path.read_text()))} & OUTSIDE == set()


def test_the_grading_worker_needs_the_standard_library_alone() -> None:
    found = {name.split(".")[0] for name in imports(ast.parse((SOURCE / "grading" / "worker.py").read_text()))}
    assert found - set(sys.stdlib_module_names) == set()


@pytest.mark.parametrize(
    "module",
    [
        "cli",
        "parameters",
        "profiles",
        "planning",
        "content",
        "records",
        "tasks",
        "grading",
        "models",
        "fetching",
        "diagnosis",
    ],
)
def test_a_light_module_starts_without_heavy_libraries(module: str) -> None:
    heavy = {"torch", "transformers", "pandas", "matplotlib", "scipy", "sklearn", "datasets"}
    assert loaded_by(f"import tradeoffs.{module}") & heavy == set()


def test_help_comes_at_once_because_it_loads_next_to_nothing() -> None:
    heavy = {"numpy", "pydantic", "yaml", "requests", "tqdm", "IPython", "nbformat", "psutil"}
    assert (
        loaded_by("from tradeoffs.cli import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass") & heavy
        == set()
    )


def test_a_notebooks_first_cell_loads_no_library_of_its_stage() -> None:
    heavy = {"numpy", "trl", "peft", "accelerate", "tokenizers", "statsmodels", "yaml", "requests"}
    assert loaded_by("from tradeoffs.parameters import MODELS, validate") & heavy == set()
