"""Training tasks whose answers can be checked by running them.

A template draws wording, names, data and parameters from a seed, so that there are as many tasks as wanted, each in
DS-1000's format with a reference answer and test cases. The tasks cover the common operations of NumPy, pandas, SciPy
and scikit-learn; their texts share nothing with the evaluation problems. Only the standard library is needed to write
them.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

from tradeoffs.tasks.format import Problem, problem
from tradeoffs.tasks.synthetic import numpy_, pandas_, scipy_, sklearn_
from tradeoffs.tasks.synthetic.scene import Template

__all__ = ["FIRST_ID", "LIBRARIES", "TEMPLATES", "Template", "generate"]

TEMPLATES: dict[str, Template] = {
    template.name: template for module in (numpy_, pandas_, scipy_, sklearn_) for template in module.TEMPLATES
}
LIBRARIES: tuple[str, ...] = tuple(dict.fromkeys(template.library for template in TEMPLATES.values()))
FIRST_ID = 1_000_000

# A template has far more than this many texts, so running out of attempts means a template that draws nothing.
_ATTEMPTS = 200


def _check(field: str, wanted: Sequence[str] | None, accepted: Sequence[str]) -> None:
    if wanted is None:
        return
    known = ", ".join(accepted)
    if isinstance(wanted, str):
        raise ValueError(
            f"{field}: got the string {wanted!r}; accepts a sequence, such as [{accepted[0]!r}], of {known}"
        )
    if not wanted:
        raise ValueError(f"{field}: got an empty sequence; accepts one or more of {known}, or None for all")
    unknown = [name for name in wanted if name not in accepted]
    if unknown:
        raise ValueError(f"{field}: got {', '.join(map(repr, unknown))}; accepts {known}")


def _select(libraries: Sequence[str] | None, templates: Sequence[str] | None) -> list[Template]:
    _check("libraries", libraries, LIBRARIES)
    _check("templates", templates, tuple(TEMPLATES))
    chosen = [
        template
        for template in TEMPLATES.values()
        if (libraries is None or template.library in libraries) and (templates is None or template.name in templates)
    ]
    if not chosen:
        raise ValueError(
            f"templates: got {list(templates or ())!r}, none of which belongs to libraries {list(libraries or ())!r}; "
            "accepts templates of those libraries: leave one of the two arguments out"
        )
    return chosen


def generate(
    n: int, seed: int, libraries: Sequence[str] | None = None, templates: Sequence[str] | None = None
) -> list[Problem]:
    """Write training tasks.

    Args:
        n: number of tasks, at least 0.
        seed: the same seed and arguments give the same tasks, in every process.
        libraries: restricts the tasks to these (`LIBRARIES`); None for all.
        templates: restricts the tasks to these (keys of `TEMPLATES`); None for all.

    Returns:
        Problems in DS-1000's format without duplicate prompts. Templates take turns, in a new order each round.
        Metadata also hold `tier` (1 for one-line references, otherwise 2), `template` and `seed`.

    Raises:
        ValueError: negative `n`, a library or template that does not exist, or a selection that holds no template.
    """
    if isinstance(n, bool) or not isinstance(n, int) or n < 0:
        raise ValueError(f"n: got {n!r}; accepts an integer of at least 0, the number of tasks wanted")
    chosen = _select(libraries, templates)
    order = random.Random(f"synthetic/order/{seed}")
    turns: list[Template] = []
    tasks: list[Problem] = []
    seen: set[str] = set()
    numbers: Counter[str] = Counter()
    for index in range(n):
        turns = turns or order.sample(chosen, len(chosen))
        template = turns.pop()
        task = _write(template, seed, index, numbers[template.library], seen)
        numbers[template.library] += 1
        seen.add(task["prompt"])
        tasks.append(task)
    return tasks


def _write(template: Template, seed: int, index: int, number: int, seen: set[str]) -> Problem:
    for attempt in range(_ATTEMPTS):
        # Seeding with a string does not depend on PYTHONHASHSEED, which `hash()` would.
        rng = random.Random(f"synthetic/{seed}/{index}/{template.name}/{attempt}")
        task = problem(
            problem_id=FIRST_ID + index,
            number=number,
            library=template.library,
            **template.make(rng),
            tier=1 if template.easy else 2,
            template=template.name,
            seed=seed,
        )
        if task["prompt"] not in seen:
            return task
    raise RuntimeError(f"template {template.name!r} gave no new prompt in {_ATTEMPTS} attempts; let it draw more")
