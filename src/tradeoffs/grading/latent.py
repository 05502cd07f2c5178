"""Modules that a server has loaded, but that are not there until a program imports them itself.

To import scikit-learn takes a second, to run a test that uses it a few hundredths. So a server executes such imports
once and then takes every trace out of sight: out of `sys.modules` and out of the packages that the modules were bound
to. When a program imports one of them, it is put back together with exactly what its import would have loaded, as if it
had been executed just then; what the program does not import stays missing, so `import sklearn; sklearn.linear_model`
still fails.

What belongs to an import is found out while loading: whenever a module starts to execute, all others that are complete
are out of sight, so that each one that it asks for is noticed, loaded before or not.

Runs inside the grading environment, so it needs nothing but the standard library.
"""

import builtins
import decimal  # noqa: F401 - must be in sight when its C part starts, so it cannot be loaded out of sight
import importlib.machinery
import importlib.util
import sys
import types
from collections.abc import Iterable, Sequence
from typing import Any


class _Loader:
    """Executes a module for the first time and notes what it asks for."""

    def __init__(self, latent: "Latent", original: Any) -> None:
        self.latent, self.original = latent, original

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> Any:
        """Create the module as its own loader does."""
        self.latent.note(spec.name)
        return self.original.create_module(spec)

    def exec_module(self, module: types.ModuleType) -> None:
        """Execute the module with nothing in sight but what it has a right to see."""
        assert module.__spec__ is not None
        module.__spec__.loader = self.original
        module.__loader__ = self.original
        self.latent.execute(module, self.original)


class _Return:
    """Puts a hidden module back."""

    def __init__(self, latent: "Latent") -> None:
        self.latent = latent

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> Any:
        """Give out the module itself; the import system then writes a new specification into it."""
        self.latent.note(spec.name)
        module = self.latent.at_hand(spec.name)
        self.latent.guard_name(spec.name, module)
        spec.loader_state = getattr(module, "__spec__", None)
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        """Execute nothing; restore the specification, and let appear what the import would have loaded."""
        spec = module.__spec__
        assert spec is not None
        module.__spec__ = spec.loader_state
        self.latent.reveal(spec.name)


class Latent:
    """Loads modules and hides them; a finder on `sys.meta_path` that puts them back on demand.

    Attributes:
        hidden: the modules out of sight.
        statements: the statements executed so far.
    """

    def __init__(self) -> None:
        self.hidden: dict[str, Any] = {}
        self.statements: set[str] = set()
        self._needs: dict[str, list[str]] = {}
        self._closures: dict[str, list[str]] = {}
        self._bound: set[str] = set()
        self._running: dict[str, Any] = {}  # modules that are executing, the innermost last
        self._shadowed: list[tuple[Any, str, Any]] = []
        self._loading = False
        self._base: set[str] = set()

    # ------------------------------------------------------------ the import system's side

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Find a hidden module; while loading, any module."""
        module = self.at_hand(name)
        if module is not None:
            own = getattr(module, "__spec__", None)
            spec = importlib.machinery.ModuleSpec(name, _Return(self), origin=getattr(own, "origin", None))  # type: ignore[arg-type]
            spec.submodule_search_locations = getattr(own, "submodule_search_locations", None)
            spec.has_location = getattr(own, "has_location", False)
            return spec
        if not self._loading:
            return None
        for finder in sys.meta_path:
            if finder is not self and hasattr(finder, "find_spec"):
                found = finder.find_spec(name, path, target)
                if found is not None:
                    if hasattr(found.loader, "exec_module") and hasattr(found.loader, "create_module"):
                        found.loader = _Loader(self, found.loader)  # type: ignore[assignment]
                    return found
        return None

    def at_hand(self, name: str) -> Any:
        """Give a module that need not be executed: a hidden one or, in a circle of imports, one that is executing."""
        return self.hidden.get(name, self._running.get(name))

    def note(self, name: str) -> None:
        """Note that the module that is executing asks for another one."""
        if self._running:
            self._needs[next(reversed(self._running))].append(name)

    def _note_parts(self, package: Any, names: Iterable[str]) -> None:
        """Note the modules that `from package import names` finds bound to the package already."""
        for own in names:
            name = f"{getattr(package, '__name__', '')}.{own}"
            module = self.at_hand(name)
            if module is not None and vars(package).get(own) is module:
                self.note(name)

    def guard_name(self, name: str, module: Any) -> None:
        """Remember what a package has under a module's name: the import system will bind the module there again."""
        parent, _, own = name.rpartition(".")
        package = sys.modules.get(parent)
        if self._loading and isinstance(package, types.ModuleType):
            value = vars(package).get(own, module)
            if value is not module:
                self._shadowed.append((package, own, value))

    def _restore_names(self) -> None:
        while self._shadowed:
            setattr(*self._shadowed.pop())

    def execute(self, module: types.ModuleType, loader: Any) -> None:
        """Execute a module; all others but its own packages are out of sight meanwhile."""
        self._restore_names()
        name = module.__name__
        parent = name.rpartition(".")[0]
        self._needs[name] = [parent] if parent else []
        kept = self._base | {name[:i] for i, letter in enumerate(name) if letter == "."} | {name}
        concealed = {other: sys.modules.pop(other) for other in list(sys.modules) if other not in kept}
        before = set(sys.modules)
        self._running[name] = module
        try:
            loader.exec_module(module)
            # What put itself into `sys.modules` without an import belongs to the module that did it.
            strays = [other for other in sys.modules if other not in before and other not in self._needs]
            self._needs[name] += strays
            self.hidden.update((other, sys.modules[other]) for other in [*strays, name] if other in sys.modules)
        finally:
            del self._running[name]
            sys.modules.update(concealed)
            self._restore_names()

    # ------------------------------------------------------------ the server's side

    def load(self, statements: Iterable[str]) -> None:
        """Execute import statements and hide what they have loaded; what fails is left for the program to meet."""
        new = [statement for statement in statements if statement not in self.statements]
        self.statements.update(new)
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)  # type: ignore[arg-type]
        ordinary = builtins.__import__

        def noting(name: str, *arguments: Any, **named: Any) -> Any:
            module = ordinary(name, *arguments, **named)
            self._note_parts(module, named.get("fromlist", arguments[2] if len(arguments) > 2 else ()) or ())
            return module

        for statement in new:
            self._base, self._loading = set(sys.modules), True
            builtins.__import__ = noting
            before, done = set(self.hidden), False
            try:
                exec(statement, {})
                done = True
            except Exception:
                continue
            finally:
                builtins.__import__ = ordinary
                self._loading = False
                self._hide()
                if not done:  # what half an import has left is worth nothing
                    self.hidden = {name: self.hidden[name] for name in before}
        # Worked out once here instead of in every child, for the modules that programs name.
        self._closures = {}
        self._closures = {name: self._closure(name) for name in self.hidden if self._named(name)}

    def _named(self, name: str) -> bool:
        return any(name in statement.split() for statement in self.statements)

    def _hide(self) -> None:
        self._restore_names()
        for name in [name for name in sys.modules if name not in self._base]:
            self.hidden[name] = sys.modules.pop(name)
        for name, module in self.hidden.items():
            parent, _, own = name.rpartition(".")
            package = self.hidden.get(parent) or sys.modules.get(parent)
            if isinstance(package, types.ModuleType) and vars(package).get(own) is module:
                delattr(package, own)
                self._bound.add(name)

    def _closure(self, name: str) -> list[str]:
        """List what an import of a module loads, itself included."""
        known = self._closures.get(name)
        if known is not None:
            return known
        waiting, found = [name], {name: None}
        while waiting:
            for other in self._needs.get(waiting.pop(), ()):
                if other not in found and self.at_hand(other) is not None:
                    found[other] = None
                    waiting.append(other)
        return list(found)

    def reveal(self, name: str) -> None:
        """Put a hidden module back with all that belongs to it."""
        found = {other: module for other in self._closure(name) if (module := self.at_hand(other)) is not None}
        sys.modules.update(found)
        for other in found:
            parent, _, own = other.rpartition(".")
            if other in self._bound and parent in sys.modules:
                setattr(sys.modules[parent], own, found[other])
        if not self._loading:  # then the next statement may need them as well
            for other in found:
                del self.hidden[other]
