"""Evaluation problems for NumPy: reductions, selections, running values and runs in small arrays.

Each entry pairs a problem with answers that look right and must fail, so that a test can show that the grading
program tells them apart. Tier 1 problems are one common call; tier 2 takes two or three steps; tier 3 turns a
loop that carries state into array operations (run lengths, forward fill, a running sum with a floor).
"""

from __future__ import annotations

from tradeoffs.tasks.format import Problem, problem

_MARKS = """
marks = np.array([[6.0, 9.0, 3.5], [8.0, 7.0, 5.5]])
"""
_MARKS_CASES = (
    "marks = np.array([[2.0, 4.0], [9.0, 1.0], [5.5, 3.0]])",
    "marks = np.array([[7.5, 0.0, 1.0, 10.0], [2.5, 4.0, 8.0, 6.0]])",
)
_SPEEDS = """
speeds = np.array([48, 63, 50, 71, 35])
limit = 50
"""
_SPEEDS_CASES = (
    "speeds = np.array([29, 30, 31, 44, 12, 38])\nlimit = 30",
    "speeds = np.array([131, 95, 120, 128])\nlimit = 120",
)
_POINTS = "points = np.array([14, 52, 37, 90, 52])"
_POINTS_CASES = ("points = np.array([3, -8, 21, 0])", "points = np.array([5, 11, 2, 7, 19, 6])")
_RANKED = "points = np.array([14, 52, 37, 90, 52])\nk = 2"
_RANKED_CASES = (
    "points = np.array([7, 7, 3, 7, 1])\nk = 3",
    "points = np.array([-4, 0, 25, -9, 25, 11])\nk = 4",
)
_STEPS = "steps = np.array([4100, 7250, 3900, 8800])"
_STEPS_CASES = ("steps = np.array([10, 25, 5])", "steps = np.array([300, 100, 600, 600, 200])")
_PLOTS = """
plots = np.array([[12.0, 0.3, 150.0], [15.0, 0.9, 90.0], [9.0, 0.6, 240.0]])
"""
_PLOTS_CASES = (
    "plots = np.array([[1.0, 20.0], [4.0, 50.0]])",
    "plots = np.array([[3.0, 8.0, 1.0], [5.0, 2.0, 9.0], [4.0, 7.0, 2.0], [8.0, 3.0, 6.0]])",
)

ENTRIES: list[tuple[Problem, tuple[str, ...]]] = [
    (
        problem(
            problem_id=100,
            number=0,
            library="Numpy",
            question="Compute the mean of each column of `marks`.",
            imports="import numpy as np",
            given=_MARKS,
            names="marks",
            cases=_MARKS_CASES,
            reference="result = marks.mean(axis=0)",
            compare="array",
            tier=1,
        ),
        ("result = marks.mean()", "result = marks.mean(axis=1)", "result = np.median(marks)"),
    ),
    (
        problem(
            problem_id=101,
            number=1,
            library="Numpy",
            question="""
                A row of `marks` belongs to a pupil and a column to an exam. What was the average mark in
                each exam?
            """,
            imports="import numpy as np",
            given=_MARKS,
            names="marks",
            cases=_MARKS_CASES,
            reference="result = marks.mean(axis=0)",
            compare="array",
            perturbation="Surface",
            origin=0,
            tier=1,
        ),
        ("result = marks.mean(axis=1)", "result = marks.sum(axis=0)", "result = marks.mean()"),
    ),
    (
        problem(
            problem_id=102,
            number=2,
            library="Numpy",
            question="Compute the maximum of each row of `marks`.",
            imports="import numpy as np",
            given=_MARKS,
            names="marks",
            cases=_MARKS_CASES,
            reference="result = marks.max(axis=1)",
            compare="array",
            perturbation="Semantic",
            origin=0,
            tier=1,
        ),
        ("result = marks.max(axis=0)", "result = marks.max()", "result = marks.argmax(axis=1)"),
    ),
    (
        problem(
            problem_id=103,
            number=3,
            library="Numpy",
            question="Get the values of `speeds` that are greater than `limit`.",
            imports="import numpy as np",
            given=_SPEEDS,
            names="speeds, limit",
            cases=_SPEEDS_CASES,
            reference="result = speeds[speeds > limit]",
            compare="array",
            tier=1,
        ),
        ("result = speeds > limit", "result = speeds[speeds >= limit]", "result = np.where(speeds > limit)[0]"),
    ),
    (
        problem(
            problem_id=104,
            number=4,
            library="Numpy",
            question="Sort the array `points` in descending order.",
            imports="import numpy as np",
            given=_POINTS,
            names="points",
            cases=_POINTS_CASES,
            reference="result = np.sort(points)[::-1]",
            compare="array",
            tier=1,
        ),
        ("result = np.sort(points)", "result = points[::-1]", "result = np.argsort(points)[::-1]"),
    ),
    (
        problem(
            problem_id=105,
            number=5,
            library="Numpy",
            question="Compute the cumulative sum of `steps`.",
            imports="import numpy as np",
            given=_STEPS,
            names="steps",
            cases=_STEPS_CASES,
            reference="result = np.cumsum(steps)",
            compare="array",
            tier=1,
        ),
        ("result = np.sum(steps)", "result = np.cumprod(steps)", "result = np.cumsum(steps[::-1])"),
    ),
    (
        problem(
            problem_id=106,
            number=6,
            library="Numpy",
            question="Complete the function: it returns the unique values of the array `badges`, sorted.",
            imports="import numpy as np",
            given="badges = np.array([31, 8, 31, 19, 8, 40])",
            names="badges",
            cases=(
                "badges = np.array([5, 5, 5])",
                "badges = np.array([-2, 77, 0, 77, -2, 13, 1])",
            ),
            reference="return np.unique(badges)",
            compare="array",
            function="def distinct(badges):",
            tier=1,
        ),
        ("    return np.sort(badges)", "    return len(np.unique(badges))", "    return np.unique(badges)[::-1]"),
    ),
    (
        problem(
            problem_id=107,
            number=7,
            library="Numpy",
            question="Limit the values of `volts` to the range from 0 to 5. Please use `np.clip`.",
            imports="import numpy as np",
            given="volts = np.array([1.2, -0.7, 6.3, 4.9])",
            names="volts",
            cases=("volts = np.array([[9.0, 2.0], [-3.0, 5.0]])", "volts = np.array([0.0, -12.5, 3.3])"),
            reference="result = np.clip(volts, 0, 5)",
            compare="array",
            required=("clip",),
            tier=1,
        ),
        (
            "result = np.clip(volts, 0, None)",
            "result = np.clip(volts, 0, 1)",
            "result = volts[(volts >= 0) & (volts <= 5)]",
            "result = np.minimum(np.maximum(volts, 0), 5)",
        ),
    ),
    (
        problem(
            problem_id=108,
            number=8,
            library="Numpy",
            question="""
                A camera measured these `speeds`. Which of them were too fast, that is, over the `limit`? I
                want an array of those speeds in the order of measurement.
            """,
            imports="import numpy as np",
            given=_SPEEDS,
            names="speeds, limit",
            cases=_SPEEDS_CASES,
            reference="result = speeds[speeds > limit]",
            compare="array",
            perturbation="Surface",
            origin=3,
            tier=1,
        ),
        ("result = speeds[speeds >= limit]", "result = speeds[speeds < limit]", "result = np.sum(speeds > limit)"),
    ),
    (
        problem(
            problem_id=109,
            number=9,
            library="Numpy",
            question="Compute the difference between each value of `steps` and the value before it.",
            imports="import numpy as np",
            given=_STEPS,
            names="steps",
            cases=_STEPS_CASES,
            reference="result = np.diff(steps)",
            compare="array",
            perturbation="Semantic",
            origin=5,
            tier=1,
        ),
        ("result = np.cumsum(steps)", "result = steps[:-1] - steps[1:]", "result = steps - steps[0]"),
    ),
    (
        problem(
            problem_id=110,
            number=10,
            library="Numpy",
            question="""
                Standardise each column of `plots`: subtract the column's mean, then divide by the column's
                standard deviation (the population one, NumPy's default).
            """,
            imports="import numpy as np",
            given=_PLOTS,
            names="plots",
            cases=_PLOTS_CASES,
            reference="result = (plots - plots.mean(axis=0)) / plots.std(axis=0)",
            compare="array",
            tier=2,
        ),
        (
            "result = (plots - plots.mean()) / plots.std()",
            "result = (plots - plots.mean(axis=0)) / plots.std(axis=0, ddof=1)",
            "result = plots - plots.mean(axis=0) / plots.std(axis=0)",
        ),
    ),
    (
        problem(
            problem_id=111,
            number=11,
            library="Numpy",
            question="""
                Standardise each row of `plots`: subtract the row's mean, then divide by the row's standard
                deviation (the population one, NumPy's default). The shape stays the same.
            """,
            imports="import numpy as np",
            given=_PLOTS,
            names="plots",
            cases=_PLOTS_CASES,
            reference="""
centred = plots - plots.mean(axis=1, keepdims=True)
result = centred / plots.std(axis=1, keepdims=True)
""",
            compare="array",
            perturbation="Semantic",
            origin=10,
            tier=2,
        ),
        (
            "result = (plots - plots.mean(axis=0)) / plots.std(axis=0)",
            "result = (plots - plots.mean(axis=1)) / plots.std(axis=1)",
            "result = plots - plots.mean(axis=1, keepdims=True)",
        ),
    ),
    (
        problem(
            problem_id=112,
            number=12,
            library="Numpy",
            question="""
                Give the positions (indices) of the `k` largest elements of `points`, starting with the
                largest element. If two elements are equal, the one that stands earlier in `points` comes
                first.
            """,
            imports="import numpy as np",
            given=_RANKED,
            names="points, k",
            cases=_RANKED_CASES,
            reference='result = np.argsort(-points, kind="stable")[:k]',
            compare="array",
            perturbation="Difficult-Rewrite",
            origin=4,
            tier=2,
        ),
        (
            "result = np.sort(points)[::-1][:k]",
            "result = np.argsort(points)[-k:]",
            'result = np.argsort(points, kind="stable")[::-1][:k]',
        ),
    ),
    (
        problem(
            problem_id=113,
            number=13,
            library="Numpy",
            question="""
                Each column of `plots` is measured in another unit, so I cannot compare them. How do I
                rescale the array so that every column has mean 0 and (population) standard deviation 1?
            """,
            imports="import numpy as np",
            given=_PLOTS,
            names="plots",
            cases=_PLOTS_CASES,
            reference="result = (plots - plots.mean(axis=0)) / plots.std(axis=0)",
            compare="array",
            perturbation="Surface",
            origin=10,
            tier=2,
        ),
        (
            "result = plots / plots.std(axis=0)",
            "low = plots.min(axis=0)\nresult = (plots - low) / (plots.max(axis=0) - low)",
            "result = (plots - plots.mean(axis=0)) / plots.var(axis=0)",
        ),
    ),
    (
        problem(
            problem_id=114,
            number=14,
            library="Numpy",
            question="""
                Compress the 1-D integer array `signal` into its runs of equal neighbours. The result has a
                row for each run, in order, with two columns: the value and how often it repeats. A value
                that comes back later starts a new run. No loops, the array is long.
            """,
            imports="import numpy as np",
            given="signal = np.array([4, 4, 4, 0, 0, 4, 9])",
            names="signal",
            cases=(
                "signal = np.array([1, 2, 2, 1, 1, 1])",
                "signal = np.array([6, 6, 6, 6])",
                "signal = np.array([-3, 8, -3, -3, 0, 0, 8])",
            ),
            reference="""
starts = np.flatnonzero(np.append(True, signal[1:] != signal[:-1]))
lengths = np.diff(np.append(starts, signal.size))
result = np.column_stack((signal[starts], lengths))
""",
            compare="array",
            forbidden=("for", "while"),
            tier=3,
        ),
        (
            "result = np.column_stack(np.unique(signal, return_counts=True))",
            (
                "ends = np.flatnonzero(np.diff(signal))\n"
                "result = np.column_stack((signal[ends], np.diff(np.append(-1, ends))))"
            ),
            (
                "from itertools import groupby\n"
                "result = np.array([(value, len(list(run))) for value, run in groupby(signal)])"
            ),
        ),
    ),
    (
        problem(
            problem_id=115,
            number=15,
            library="Numpy",
            question="""
                `wet` is a boolean array: a row is a weather station, a column is a day, True means rain. For
                each station, what is the largest number of rainy days without a dry day in between? Please
                vectorise over stations and days: no loops, no `apply_along_axis`.
            """,
            imports="import numpy as np",
            given="""
wet = np.array([[1, 1, 0, 1, 1, 1], [0, 0, 0, 0, 0, 0], [1, 0, 1, 1, 0, 1]], dtype=bool)
""",
            names="wet",
            cases=(
                "wet = np.array([[1, 1, 1], [0, 1, 1]], dtype=bool)",
                "wet = np.array([[0, 1, 1, 0, 1], [1, 0, 1, 0, 1], [1, 1, 1, 1, 0], [0, 0, 0, 1, 0]], dtype=bool)",
            ),
            reference="""
total = np.cumsum(wet, axis=1)
at_last_dry_day = np.maximum.accumulate(np.where(wet, 0, total), axis=1)
result = (total - at_last_dry_day).max(axis=1)
""",
            compare="array",
            perturbation="Difficult-Rewrite",
            origin=14,
            forbidden=("for", "while", "apply_along_axis", "vectorize"),
            tier=3,
        ),
        (
            "result = wet.sum(axis=1)",
            "total = np.cumsum(wet, axis=1)\nresult = (total * wet).max(axis=1)",
            (
                "total = np.cumsum(wet)\ndry = np.maximum.accumulate(np.where(wet.ravel(), 0, total))\n"
                "result = (total - dry).reshape(wet.shape).max(axis=1)"
            ),
        ),
    ),
    (
        problem(
            problem_id=116,
            number=16,
            library="Numpy",
            question="""
                `depth` has a row for each probe and a column for each hour; NaN means that nothing arrived.
                Fill each NaN with the last value of the same probe before it. NaNs at the start of a row
                have no such value and stay. Only NumPy, and no loops.
            """,
            imports="import numpy as np",
            given="""
depth = np.array([[2.0, np.nan, np.nan, 3.5], [np.nan, 1.0, np.nan, 0.5], [7.0, 6.0, 8.0, np.nan]])
""",
            names="depth",
            cases=(
                "depth = np.array([[np.nan, np.nan, 5.0, np.nan, np.nan]])",
                "depth = np.array([[4.0, np.nan], [np.nan, np.nan], [np.nan, -9.0]])",
            ),
            reference="""
seen = np.where(np.isnan(depth), 0, np.arange(depth.shape[1]))
latest = np.maximum.accumulate(seen, axis=1)
result = np.take_along_axis(depth, latest, axis=1)
""",
            compare="array",
            forbidden=("for", "while", "pandas"),
            tier=3,
        ),
        (
            "result = np.nan_to_num(depth)",
            "result = np.where(np.isnan(depth), np.roll(depth, 1, axis=1), depth)",
            "import pandas as pd\nresult = pd.DataFrame(depth).ffill(axis=1).to_numpy()",
        ),
    ),
    (
        problem(
            problem_id=117,
            number=17,
            library="Numpy",
            question="""
                A tank starts empty. Every hour `flow` is added to it; if `flow` is negative, water is taken
                out, but never more than the tank holds. Complete the function: it returns the level after
                each hour, as an array, without a loop.
            """,
            imports="import numpy as np",
            given="flow = np.array([3, -5, 4, 2, -1])",
            names="flow",
            cases=(
                "flow = np.array([-2, 6, -7, -3, 1, 5])",
                "flow = np.array([0.5, 1.5, -1.0, 2.0])",
            ),
            reference="""
level = np.cumsum(flow)
return level - np.minimum(np.minimum.accumulate(level), 0)
""",
            compare="array",
            function="def levels(flow):",
            perturbation="Difficult-Rewrite",
            origin=5,
            forbidden=("for", "while"),
            tier=3,
        ),
        (
            "    return np.maximum(np.cumsum(flow), 0)",
            "    return np.cumsum(np.maximum(flow, 0))",
            "    level = np.cumsum(flow)\n    return level - np.minimum.accumulate(level)",
        ),
    ),
]
