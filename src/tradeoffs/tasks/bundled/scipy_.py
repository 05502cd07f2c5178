"""Evaluation problems for SciPy: scores, determinants, distances, integrals, sparse matrices and labelled regions.

Each entry pairs a problem with answers that look right and must fail, so that a test can show that the grading program
tells them apart. Tier 1 problems are one common call; tier 2 combines two; tier 3 needs an edge case handled without a
loop.
"""

from __future__ import annotations

from tradeoffs.tasks.format import Problem, problem

_LAPS = "laps = np.array([61.2, 58.9, 63.0, 60.4, 75.5])"
_LAPS_CASES = (
    "laps = np.array([-1.0, 0.0, 4.0])",
    "laps = np.array([12.0, 15.0, 11.0, 29.0, 16.0, 10.0])",
)
_GEARS = "gears = np.array([[4.0, 1.0, 0.0], [2.0, 3.0, 1.0], [0.5, 0.0, 2.0]])"
_GEARS_CASES = (
    "gears = np.array([[0.0, 2.0], [3.0, 1.0]])",
    "gears = np.array([[2.0, 0.0, 1.0], [1.0, -1.0, 5.0], [0.0, 4.0, 3.0]])",
)
_HOME = "home = [2.0, 7.0, 1.5]\nwork = [5.0, 3.0, 1.0]"
_HOME_CASES = (
    "home = [0.0, 0.0]\nwork = [-6.0, 8.0]",
    "home = [1.0, 1.0, 2.0, 9.0]\nwork = [1.0, 3.5, 2.0, 4.0]",
)
_FARMS = """
farms = np.array([[0.0, 2.0], [5.0, 1.0], [3.0, 3.0]])
mills = np.array([[1.0, 1.0], [4.0, 6.0]])
"""
_FARMS_CASES = (
    "farms = np.array([[1.0, 0.0, 0.0]])\nmills = np.array([[0.0, 1.0, 0.0], [1.0, 2.0, 2.0], [0.0, 0.0, 0.0]])",
    "farms = np.array([[2.0, 2.0], [7.0, -1.0]])\nmills = np.array([[2.0, 2.0], [0.0, 9.0]])",
)
_RATE = """
def rate(t):
    return 3.0 * t**2 + np.sin(t)
lo, hi = 0.5, 2.0
"""
_RATE_CASES = (
    "rate, lo, hi = np.exp, -1.0, 1.5",
    "def rate(t):\n    return 4.0 - t\nlo, hi = 1.0, 7.0",
)
_ROADS = "roads = np.array([[0, 14, 3], [7, 0, 0], [0, 22, 9], [5, 0, 6]])\nlevel = 6"
_ROADS_CASES = (
    "roads = np.array([[1.5, -2.0], [0.0, 0.3]])\nlevel = 0.2",
    "roads = np.array([[10, 20, 30, 5]])\nlevel = 20",
)
_BUOYS = "buoys = np.array([[0.0, 0.0], [10.0, 1.0], [0.5, 2.0], [9.0, 3.0], [4.0, 2.0]])"
_BUOYS_CASES = (
    "buoys = np.array([[1.0], [7.0], [2.5], [20.0], [8.0]])",
    "buoys = np.array([[0.0, 0.0, 0.0], [5.0, 5.0, 5.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])",
)
_SENSORS = "sensors = np.array([[3.0, np.nan, 5.0, 10.0], [1.0, 2.0, 2.0, 9.0], [7.0, 4.0, np.nan, np.nan]])"
_SENSORS_CASES = (
    "sensors = np.array([[0.0, 1.0, np.nan], [5.0, -5.0, 6.0]])",
    "sensors = np.array([[np.nan, 2.0, 8.0, 4.0, np.nan]])",
)
_MOSS = """
moss = np.array([[1, 0, 0, 0, 1],
                 [0, 1, 0, 1, 1],
                 [1, 0, 0, 0, 0],
                 [0, 0, 0, 1, 1]], dtype=bool)
"""
_MOSS_CASES = (
    "moss = np.zeros((3, 4), dtype=bool)",
    "moss = np.array([[1, 1, 0, 0, 0], [0, 0, 1, 0, 1], [0, 0, 0, 1, 0]], dtype=bool)",
)

ENTRIES: list[tuple[Problem, tuple[str, ...]]] = [
    (
        problem(
            problem_id=400,
            number=0,
            library="Scipy",
            question="Compute the z-scores of `laps` with stats.zscore.",
            imports="from scipy import stats\nimport numpy as np",
            given=_LAPS,
            names="laps",
            cases=_LAPS_CASES,
            reference="result = stats.zscore(laps)",
            compare="array",
            tier=1,
        ),
        ("result = laps - laps.mean()", "result = stats.zscore(laps, ddof=1)", "result = stats.zscore(laps).mean()"),
    ),
    (
        problem(
            problem_id=401,
            number=1,
            library="Scipy",
            question="""
                These are my lap times. By how many standard deviations does each of `laps` lie above or below their
                average (its z-score)?
            """,
            imports="from scipy import stats\nimport numpy as np",
            given=_LAPS,
            names="laps",
            cases=_LAPS_CASES,
            reference="result = stats.zscore(laps)",
            compare="array",
            perturbation="Surface",
            origin=0,
            tier=1,
        ),
        ("result = laps / laps.std()", "result = stats.zscore(laps, ddof=1)", "result = abs(stats.zscore(laps))"),
    ),
    (
        problem(
            problem_id=402,
            number=2,
            library="Scipy",
            question="Compute the determinant of the matrix `gears`.",
            imports="from scipy import linalg\nimport numpy as np",
            given=_GEARS,
            names="gears",
            cases=_GEARS_CASES,
            reference="result = linalg.det(gears)",
            compare="scalar",
            tier=1,
        ),
        ("result = linalg.inv(gears)", "result = np.trace(gears)", "result = abs(linalg.det(gears))"),
    ),
    (
        problem(
            problem_id=403,
            number=3,
            library="Scipy",
            question="Compute the inverse of the matrix `gears`.",
            imports="from scipy import linalg\nimport numpy as np",
            given=_GEARS,
            names="gears",
            cases=_GEARS_CASES,
            reference="result = linalg.inv(gears)",
            compare="array",
            perturbation="Semantic",
            origin=2,
            tier=1,
        ),
        ("result = linalg.det(gears)", "result = gears.T", "result = np.linalg.inv(gears).T"),
    ),
    (
        problem(
            problem_id=404,
            number=4,
            library="Scipy",
            question="What is the Euclidean distance between the points `home` and `work`?",
            imports="from scipy.spatial import distance",
            given=_HOME,
            names="home, work",
            cases=_HOME_CASES,
            reference="result = distance.euclidean(home, work)",
            compare="scalar",
            tier=1,
        ),
        (
            "result = distance.cityblock(home, work)",
            "result = distance.sqeuclidean(home, work)",
            "result = distance.cosine(home, work)",
        ),
    ),
    (
        problem(
            problem_id=405,
            number=5,
            library="Scipy",
            question="""
                Compute the Euclidean distance from every row of `farms` to every row of `mills` with distance.cdist.
                The result has one row per farm.
            """,
            imports="from scipy.spatial import distance\nimport numpy as np",
            given=_FARMS,
            names="farms, mills",
            cases=_FARMS_CASES,
            reference="result = distance.cdist(farms, mills)",
            compare="array",
            perturbation="Semantic",
            origin=4,
            tier=1,
        ),
        (
            "result = distance.cdist(mills, farms)",
            'result = distance.cdist(farms, mills, "cityblock")',
            "result = distance.cdist(farms, mills).min(axis=1)",
        ),
    ),
    (
        problem(
            problem_id=406,
            number=6,
            library="Scipy",
            question="""
                Water runs into a tank at `rate(t)` litres a minute. Integrate numerically to find how many litres ran
                in from minute `lo` to minute `hi`, as one number.
            """,
            imports="from scipy import integrate\nimport numpy as np",
            given=_RATE,
            names="rate, lo, hi",
            cases=_RATE_CASES,
            function="def inflow(rate, lo, hi):",
            reference="""
                litres, error = integrate.quad(rate, lo, hi)
                return litres
            """,
            compare="scalar",
            tier=2,
        ),
        (
            "    return integrate.quad(rate, lo, hi)\n",
            "    return (rate(lo) + rate(hi)) / 2 * (hi - lo)\n",
            "    return integrate.quad(rate, 0, hi)[0]\n",
            "    return rate(hi) - rate(lo)\n",
        ),
    ),
    (
        problem(
            problem_id=407,
            number=7,
            library="Scipy",
            question="""
                What is the mean value of the function `rate` over the interval from `lo` to `hi`? Compute it with
                SciPy's quad, not by sampling.
            """,
            imports="from scipy import integrate\nimport numpy as np",
            given=_RATE,
            names="rate, lo, hi",
            cases=_RATE_CASES,
            reference="result = integrate.quad(rate, lo, hi)[0] / (hi - lo)",
            compare="scalar",
            perturbation="Semantic",
            origin=6,
            required=("quad",),
            tier=2,
        ),
        (
            "result = integrate.quad(rate, lo, hi)[0]",
            "result = integrate.quad(rate, lo, hi)[0] / hi",
            "result = np.mean(rate(np.linspace(lo, hi, 1000001)))",
        ),
    ),
    (
        problem(
            problem_id=408,
            number=8,
            library="Scipy",
            question="""
                Make a sparse matrix (CSR) of the shape of `roads` that stores only the values greater than `level`;
                all other places are empty.
            """,
            imports="from scipy import sparse\nimport numpy as np",
            given=_ROADS,
            names="roads, level",
            cases=_ROADS_CASES,
            reference="result = sparse.csr_matrix(np.where(roads > level, roads, 0))",
            compare="""
                import numpy as _np
                import scipy.sparse as _sp
                assert _sp.issparse(result) and result.format == "csr", "type"
                assert result.shape == ans.shape, "shape"
                assert _np.allclose(result.toarray(), ans.toarray()), "value"
                assert result.nnz == ans.nnz, "value"
            """,
            tier=2,
        ),
        (
            "result = np.where(roads > level, roads, 0)",
            "result = sparse.csr_matrix(roads > level)",
            "result = sparse.csr_matrix(np.where(roads >= level, roads, 0))",
            "result = sparse.coo_matrix(np.where(roads > level, roads, 0))",
        ),
    ),
    (
        problem(
            problem_id=409,
            number=9,
            library="Scipy",
            question="""
                For each row of `buoys`, find the index of the nearest other row (Euclidean; the lowest index where two
                are equally near). A row is never its own neighbour, even where rows coincide. No for or while loop, no
                comprehension.
            """,
            imports="from scipy.spatial import distance\nimport numpy as np",
            given=_BUOYS,
            names="buoys",
            cases=_BUOYS_CASES,
            reference="""
                gaps = distance.squareform(distance.pdist(buoys))
                np.fill_diagonal(gaps, np.inf)
                result = gaps.argmin(axis=1)
            """,
            compare="array",
            perturbation="Difficult-Rewrite",
            origin=4,
            forbidden=("for", "while"),
            tier=3,
        ),
        (
            "result = distance.cdist(buoys, buoys).argmin(axis=1)",
            "result = distance.cdist(buoys, buoys).argsort(axis=1)[:, 1]",
            "d = distance.cdist(buoys, buoys)\nnp.fill_diagonal(d, np.inf)\nresult = d.min(axis=1)",
            "d = distance.cdist(buoys, buoys)\nnp.fill_diagonal(d, np.inf)\nresult = np.array([r.argmin() for r in d])",
        ),
    ),
    (
        problem(
            problem_id=410,
            number=10,
            library="Scipy",
            question="""
                Each row of `sensors` is one device; NaN marks a lost reading. With one call of stats.zscore, score
                every reading within its row by the sample standard deviation (n - 1), leaving NaN out of the mean and
                the deviation and NaN in its place. No loop.
            """,
            imports="from scipy import stats\nimport numpy as np",
            given=_SENSORS,
            names="sensors",
            cases=_SENSORS_CASES,
            reference='result = stats.zscore(sensors, axis=1, ddof=1, nan_policy="omit")',
            compare="array",
            perturbation="Difficult-Rewrite",
            origin=0,
            required=("zscore",),
            forbidden=("for", "while"),
            tier=3,
        ),
        (
            "result = stats.zscore(sensors, axis=1, ddof=1)",
            'result = stats.zscore(sensors, axis=1, nan_policy="omit")',
            'result = stats.zscore(sensors, ddof=1, nan_policy="omit")',
            (
                "m = np.nanmean(sensors, axis=1, keepdims=True)\n"
                "result = (sensors - m) / np.nanstd(sensors, axis=1, ddof=1, keepdims=True)"
            ),
        ),
    ),
    (
        problem(
            problem_id=411,
            number=11,
            library="Scipy",
            question="""
                `moss` marks the mossy cells of a wall. Cells belong to one patch if they touch at a side or at a
                corner. Return the number of cells in the largest patch, 0 if there is no moss.
            """,
            imports="from scipy import ndimage\nimport numpy as np",
            given=_MOSS,
            names="moss",
            cases=_MOSS_CASES,
            function="def largest_patch(moss):",
            reference="""
                patches, count = ndimage.label(moss, structure=np.ones((3, 3)))
                return int(np.bincount(patches.ravel())[1:].max(initial=0))
            """,
            compare="scalar",
            tier=3,
        ),
        (
            "    patches, count = ndimage.label(moss)\n    return np.bincount(patches.ravel())[1:].max(initial=0)\n",
            "    patches, count = ndimage.label(moss, structure=np.ones((3, 3)))\n    return count\n",
            (
                "    patches, count = ndimage.label(moss, structure=np.ones((3, 3)))\n"
                "    return np.bincount(patches.ravel()).max()\n"
            ),
            "    return int(moss.sum())\n",
        ),
    ),
]
