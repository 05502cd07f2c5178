"""Evaluation problems for PyTorch: products, masks, shapes and probabilities on small tensors.

Each entry pairs a problem with answers that look right and must fail, so that a test can show that the grading
program tells them apart. Tier 1 problems are one common call; tier 2 combines two; tier 3 needs an edge case
handled without a loop.
"""

from __future__ import annotations

from tradeoffs.tasks.format import Problem, problem

_RECIPES = """
recipes = torch.tensor([[2.0, 0.0, 1.0], [1.0, 3.0, 0.5]])
cost = torch.tensor([1.5, 4.0, 2.0])
"""
_RECIPES_CASES = (
    "recipes = torch.tensor([[1.0, 2.0], [0.0, 5.0], [3.0, 1.0]])\ncost = torch.tensor([10.0, 0.2])",
    "recipes = torch.tensor([[4.0, 4.0, 0.0, 1.0]])\ncost = torch.tensor([1.0, 2.0, 3.0, 5.0])",
)
_HEAT = """
heat = torch.tensor([18.5, 31.0, 25.0, 29.5, 12.0])
limit = 25.0
"""
_HEAT_CASES = (
    "heat = torch.tensor([-3.0, 0.0, 4.0, 0.5])\nlimit = 0.0",
    "heat = torch.tensor([40.0, 41.0, 39.0, 38.0, 42.0, 39.5])\nlimit = 39.0",
)
_LOGITS = "logits = torch.tensor([[1.0, 3.0, 0.5], [2.0, 2.0, 2.0]])"
_LOGITS_CASES = (
    "logits = torch.tensor([[0.0, -1.0], [5.0, 1.0], [-2.0, 2.5]])",
    "logits = torch.tensor([[0.1, 0.9, -4.0, 2.0]])",
)

ENTRIES: list[tuple[Problem, tuple[str, ...]]] = [
    (
        problem(
            problem_id=600,
            number=0,
            library="Pytorch",
            question="""
                Multiply the matrix `recipes` by the vector `cost` (matrix product). The result is a 1-D
                tensor.
            """,
            imports="import torch",
            given=_RECIPES,
            names="recipes, cost",
            cases=_RECIPES_CASES,
            reference="result = recipes @ cost",
            compare="torch",
            tier=1,
        ),
        ("result = recipes * cost", "result = (recipes * cost).sum()", "result = (recipes * cost).mean(dim=1)"),
    ),
    (
        problem(
            problem_id=601,
            number=1,
            library="Pytorch",
            question="""
                A row of `recipes` tells how many units of each ingredient go into one dish, and `cost` is
                what a unit of each ingredient costs. How do I get a tensor with the price of every dish?
            """,
            imports="import torch",
            given=_RECIPES,
            names="recipes, cost",
            cases=_RECIPES_CASES,
            reference="result = recipes @ cost",
            compare="torch",
            perturbation="Surface",
            origin=0,
            tier=1,
        ),
        ("result = recipes.sum(dim=1)", "result = recipes * cost", "result = (recipes * cost).sum(dim=0)"),
    ),
    (
        problem(
            problem_id=602,
            number=2,
            library="Pytorch",
            question="Keep only the values of `heat` that are greater than `limit`, in their order.",
            imports="import torch",
            given=_HEAT,
            names="heat, limit",
            cases=_HEAT_CASES,
            reference="result = heat[heat > limit]",
            compare="torch",
            tier=1,
        ),
        ("result = heat > limit", "result = heat[heat >= limit]", "result = heat[heat < limit]"),
    ),
    (
        problem(
            problem_id=603,
            number=3,
            library="Pytorch",
            question="""
                Replace the values of `heat` that are greater than `limit` by `limit`. Leave the others as
                they are.
            """,
            imports="import torch",
            given=_HEAT,
            names="heat, limit",
            cases=_HEAT_CASES,
            reference="result = torch.clamp(heat, max=limit)",
            compare="torch",
            perturbation="Semantic",
            origin=2,
            tier=1,
        ),
        (
            "result = torch.clamp(heat, min=limit)",
            "result = heat[heat <= limit]",
            "result = torch.where(heat > limit, 0.0, heat)",
        ),
    ),
    (
        problem(
            problem_id=604,
            number=4,
            library="Pytorch",
            question="Reshape the 1-D tensor `beads` into a matrix with 3 columns, filled row by row.",
            imports="import torch",
            given="beads = torch.tensor([5, 1, 4, 2, 8, 7, 3, 9, 6, 0, 11, 10])",
            names="beads",
            cases=(
                "beads = torch.tensor([9, 8, 7, 6, 5, 4])",
                "beads = torch.tensor([1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 2, 1, 3])",
            ),
            reference="result = beads.reshape(-1, 3)",
            compare="torch",
            tier=1,
        ),
        (
            "result = beads.reshape(3, -1)",
            "result = beads.reshape(3, -1).T",
            "result = beads.reshape(4, 3)",
        ),
    ),
    (
        problem(
            problem_id=605,
            number=5,
            library="Pytorch",
            question="""
                A classifier gives me one row of logits per picture. Complete the function: turn each row
                into probabilities with a softmax and return the largest probability of each row.
            """,
            imports="import torch",
            given=_LOGITS,
            names="logits",
            cases=_LOGITS_CASES,
            reference="return torch.softmax(logits, dim=1).max(dim=1).values",
            compare="torch",
            result="sure",
            function="def confidence(logits):",
            tier=2,
        ),
        (
            "    return torch.softmax(logits, dim=0).max(dim=1).values",
            "    return torch.sigmoid(logits).max(dim=1).values",
            "    return torch.softmax(logits, dim=1).max(dim=1).indices",
        ),
    ),
    (
        problem(
            problem_id=606,
            number=6,
            library="Pytorch",
            question="""
                A classifier gives me one row of logits per picture. Complete the function: turn each row
                into probabilities with a softmax and return, for each row, the largest probability minus
                the second largest.
            """,
            imports="import torch",
            given=_LOGITS,
            names="logits",
            cases=_LOGITS_CASES,
            reference="""
top = torch.softmax(logits, dim=1).topk(2, dim=1).values
return top[:, 0] - top[:, 1]
""",
            compare="torch",
            result="gap",
            function="def margin(logits):",
            perturbation="Semantic",
            origin=5,
            tier=2,
        ),
        (
            "    top = logits.topk(2, dim=1).values\n    return top[:, 0] - top[:, 1]",
            "    p = torch.softmax(logits, dim=1)\n    return p.max(dim=1).values - p.min(dim=1).values",
            "    return torch.softmax(logits, dim=1).max(dim=1).values",
        ),
    ),
    (
        problem(
            problem_id=607,
            number=7,
            library="Pytorch",
            question="""
                Now `heat` has one row per oven and one column per minute, and every oven has its own entry
                in `limit`. In which minute does each oven first go above its limit? Give the column index,
                or -1 for an oven that never does. The result should be a 1-D integer tensor, and I want to
                avoid Python loops.
            """,
            imports="import torch",
            given="""
heat = torch.tensor([[20.0, 90.0, 210.0, 205.0], [50.0, 60.0, 70.0, 80.0], [300.0, 10.0, 10.0, 350.0]])
limit = torch.tensor([200.0, 80.0, 299.0])
""",
            names="heat, limit",
            cases=(
                "heat = torch.tensor([[1.0, 2.0], [5.0, 4.0], [3.0, 9.0]])\nlimit = torch.tensor([1.0, 6.0, 2.0])",
                """
heat = torch.tensor([[0.0, 7.0, 7.0, 9.0, 1.0], [8.0, 8.0, 8.0, 8.0, 8.5]])
limit = torch.tensor([7.0, 8.0])
""",
            ),
            reference="""
above = heat > limit.unsqueeze(1)
result = torch.where(above.any(dim=1), above.int().argmax(dim=1), -1)
""",
            compare="torch",
            perturbation="Difficult-Rewrite",
            origin=2,
            forbidden=("for", "while"),
            tier=3,
        ),
        (
            "result = (heat > limit.unsqueeze(1)).int().argmax(dim=1)",
            # The minute of the highest value is not the first minute above the limit.
            "above = heat > limit.unsqueeze(1)\nresult = torch.where(above.any(dim=1), heat.argmax(dim=1), -1)",
            # Right values, but with a loop: only `test_string` rejects it.
            "firsts = [next((j for j, v in enumerate(row) if v > top), -1) for row, top in zip(heat, limit)]\n"
            "result = torch.tensor(firsts)",
        ),
    ),
    (
        problem(
            problem_id=608,
            number=8,
            library="Pytorch",
            question="""
                `actual` and `guessed` hold bird species numbered 0 to `k` - 1, one pair of numbers per
                photo. Build the `k` by `k` integer tensor whose entry in row i and column j counts the
                photos of species i that were guessed to be species j. Species that never occur get zeros.
            """,
            imports="import torch",
            given="""
actual = torch.tensor([0, 2, 2, 1, 0, 2])
guessed = torch.tensor([0, 1, 1, 1, 2, 2])
k = 4
""",
            names="actual, guessed, k",
            cases=(
                "actual = torch.tensor([1, 1, 1, 0])\nguessed = torch.tensor([0, 0, 1, 0])\nk = 2",
                "actual = torch.tensor([3, 0, 3, 3, 4])\nguessed = torch.tensor([0, 3, 0, 2, 1])\nk = 6",
            ),
            reference="result = torch.bincount(actual * k + guessed, minlength=k * k).reshape(k, k)",
            compare="torch",
            tier=3,
        ),
        (
            # Indexed addition counts a repeated pair once.
            "result = torch.zeros(k, k, dtype=torch.long)\nresult[actual, guessed] += 1",
            "result = torch.bincount(guessed * k + actual, minlength=k * k).reshape(k, k)",
            "result = torch.bincount(actual * k + guessed).reshape(k, k)",
        ),
    ),
]
