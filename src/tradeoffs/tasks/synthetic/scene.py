"""What the templates share: a scene draws names and data for one task, and a collector registers templates.

A template writes its data once, as a function that is called anew for the prompt and for each further test case;
parameters that the question names stay fixed, so that every case asks the same question.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tradeoffs.tasks.synthetic import words

Fields = dict[str, Any]
Make = Callable[[random.Random], Fields]
Column = Callable[[int], list[Any]]

FUNCTION_SHARE = 0.1
_RANGES = ((1, 25), (2, 60), (10, 99), (-30, 30), (100, 900))


@dataclass(frozen=True)
class Template:
    """A kind of task.

    Args:
        name: unique, prefixed by the library.
        library: as in `format.LIBRARIES`.
        easy: whether the reference is one line with one common call.
        make: draws the arguments of `format.problem` that make up one task.
    """

    name: str
    library: str
    easy: bool
    make: Make


def collector(library: str) -> tuple[Callable[[bool], Callable[[Make], Make]], list[Template]]:
    """Give a decorator that registers templates of a library, and the list that it fills."""
    found: list[Template] = []

    def template(easy: bool) -> Callable[[Make], Make]:
        def register(make: Make) -> Make:
            name = f"{library.lower()}_{make.__name__.strip('_')}"
            found.append(Template(name, library, easy, make))
            return make

        return register

    return template, found


def literal(value: Any) -> str:
    """Write a value as Python source, with NaN as `np.nan`."""
    if isinstance(value, list):
        return "[" + ", ".join(literal(v) for v in value) + "]"
    return "np.nan" if isinstance(value, float) and math.isnan(value) else repr(value)


@dataclass(frozen=True)
class Bound:
    """A parameter that the question gives as a number or as a variable.

    Args:
        text: how the question says it.
        code: how the reference writes it.
        names: what it adds to the given names, such as ", limit".
        line: draws the line that sets it (empty for a number).
    """

    text: str
    code: str
    names: str
    line: Callable[[], str]


class Scene:
    """One task's world, with its names and numbers.

    Args:
        rng: the only source of randomness.
    """

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.world = rng.choice(words.WORLDS)
        self.low, self.high = rng.choice(_RANGES)
        self.floats = rng.random() < 0.4
        self.wide = rng.random() < 0.5
        self.key = self.world.key
        self.second, second_labels = rng.choice(words.SECOND_KEYS)
        self.groups = rng.sample(self.world.labels, 3)
        self._labels = {self.key: self.groups, self.second: list(second_labels)}

    def names(self, count: int) -> list[str]:
        """Draw distinct variable names for arrays."""
        return self.rng.sample(self.world.series, count)

    def columns(self, count: int) -> list[str]:
        """Draw distinct names of numeric columns."""
        return self.rng.sample(self.world.columns, count)

    def table(self) -> str:
        """Draw a name for a data frame."""
        return self.rng.choice(words.TABLES)

    def numbers(self, count: int) -> list[Any]:
        """Draw distinct numbers, so that orders and extremes have no ties."""
        if self.floats:
            return [v / 10 for v in self.rng.sample(range(self.low * 10, self.high * 10), count)]
        return self.rng.sample(range(self.low, self.high), count)

    def repeats(self, count: int) -> list[Any]:
        """Draw numbers of which some occur more than once."""
        pool = self.numbers(max(2, count - 3))
        return self.shuffled([*pool, *(self.rng.choice(pool) for _ in range(count - len(pool)))])

    def gaps(self, count: int, holes: int = 2) -> list[Any]:
        """Draw numbers with a few NaN between them."""
        values = [float(v) for v in self.numbers(count)]
        for place in self.rng.sample(range(count), holes):
            values[place] = math.nan
        return values

    def shuffled(self, values: Sequence[Any]) -> list[Any]:
        """Give the values in a random order."""
        return self.rng.sample(list(values), len(values))

    def labels(self, key: str, count: int) -> list[str]:
        """Draw labels of a text column; the first two of its groups always occur."""
        groups = self._labels[key]
        return self.shuffled([*groups[:2], *(self.rng.choice(groups) for _ in range(count - 2))])

    def vector(self, name: str, values: Sequence[Any] | None = None) -> str:
        """Write an array of the given or of freshly drawn numbers."""
        drawn = self.numbers(self.rng.randint(5, 8)) if values is None else list(values)
        return f"{name} = np.array({literal(drawn)})"

    def matrix(self, name: str, rows: int | None = None, columns: int | None = None) -> str:
        """Write a two-dimensional array of distinct numbers."""
        rows, columns = rows or self.rng.randint(2, 4), columns or self.rng.randint(2, 4)
        drawn = self.numbers(rows * columns)
        return f"{name} = np.array({literal([drawn[i * columns : (i + 1) * columns] for i in range(rows)])})"

    def frame(self, name: str, columns: Sequence[str], special: dict[str, Column] | None = None, count: int = 0) -> str:
        """Write a data frame: text columns hold labels, others numbers, `special` ones what their function draws."""
        count = count or self.rng.randint(4, 6)
        cells: dict[str, list[Any]] = {}
        for column in columns:
            if special and column in special:
                cells[column] = special[column](count)
            else:
                cells[column] = self.labels(column, count) if column in self._labels else self.numbers(count)
        parts = [f"{column!r}: {literal(values)}" for column, values in cells.items()]
        if self.wide:
            return f"{name} = pd.DataFrame({{{', '.join(parts)}}})"
        return f"{name} = pd.DataFrame({{\n" + "".join(f"    {part},\n" for part in parts) + "})"

    def bound(self, name: str = "limit") -> Bound:
        """Draw a threshold in the middle of the numbers' range, as a number or as a variable."""
        third = (self.high - self.low) // 3

        def value() -> int:
            return self.rng.randint(self.low + third, self.high - third)

        if self.rng.random() < 0.5:
            fixed = str(value())
            return Bound(fixed, fixed, "", lambda: "")
        return Bound(f"`{name}`", name, f", {name}", lambda: f"\n{name} = {value()}")

    def _header(self, imports: Sequence[str]) -> str:
        """Shuffle import lines, with a remark between them.

        Two import lines and one assignment are nearly 13 words that thousands of programs share. The remark breaks this
        run, so that a training task cannot repeat a window of an evaluation problem by its boilerplate alone.
        """
        lines = self.shuffled(imports)
        place = self.world.place.split(" ", 1)[1]
        for position in range(len(lines) - 1, 0, -1):
            lines.insert(position, f"# {place}, {self.rng.choice(words.PAGES)} {self.rng.randint(2, 99)}")
        return "\n".join(lines)

    def task(
        self,
        asks: Sequence[str],
        data: Callable[[], str],
        names: str,
        reference: str,
        compare: str,
        imports: Sequence[str] = ("import numpy as np",),
        cases: int = 3,
    ) -> Fields:
        """Put a task together.

        Args:
            asks: phrasings of the question, of which one is drawn.
            data: draws statements that define `names`; called for the prompt and for each case.
            names: the given variables, "a" or "a, t".
            reference: statements of which the last is `result = ...`.
            compare: as in `format.problem`.
            imports: import lines, shown in random order with remarks between them.
            cases: number of further test cases.

        Returns:
            Arguments for `format.problem`. One task in ten asks to complete a function instead of setting a variable.
        """
        rng = self.rng
        opener = rng.choice(words.OPENERS).format(place=self.world.place) if rng.random() < 0.65 else ""
        closer = rng.choice(words.CLOSERS) if rng.random() < 0.35 else ""
        fields: Fields = {
            "question": " ".join(part for part in (opener, rng.choice(asks), closer) if part),
            "imports": self._header(imports),
            "given": data(),
            "names": names,
            "reference": reference,
            "compare": compare,
            "cases": tuple(data() for _ in range(cases)),
        }
        if rng.random() < FUNCTION_SHARE:
            head, _, last = reference.rpartition("result = ")
            fields["reference"] = f"{head}return {last}"
            fields["function"] = f"def {rng.choice(words.FUNCTIONS)}({names}):"
        return fields
