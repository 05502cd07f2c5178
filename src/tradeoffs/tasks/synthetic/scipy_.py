"""Training tasks for SciPy."""

from __future__ import annotations

from random import Random

from tradeoffs.tasks.synthetic.scene import Fields, Scene, collector

template, TEMPLATES = collector("Scipy")

_NP = "import numpy as np"
_STATS = (_NP, "from scipy import stats")
_OPTIMIZE = (_NP, "from scipy import optimize")
_INTEGRATE = (_NP, "from scipy import integrate")
_INTERPOLATE = (_NP, "from scipy import interpolate")
_LINALG = (_NP, "from scipy import linalg")
_DISTANCE = (_NP, "from scipy.spatial import distance")
_SPARSE = (_NP, "from scipy import sparse")
_SIGNAL = (_NP, "from scipy import signal")
_NDIMAGE = (_NP, "from scipy import ndimage")


def _pair(s: Scene, a: str, b: str, low: int = 5, high: int = 7) -> str:
    length = s.rng.randint(low, high)
    return s.vector(a, s.numbers(length)) + "\n" + s.vector(b, s.numbers(length))


def _square(s: Scene, name: str, size: int) -> str:
    """Write a matrix that dominates its diagonal, so that it can be inverted well."""
    rows = [[s.rng.randint(-3, 3) + (12 + s.rng.randint(0, 9)) * (i == j) for j in range(size)] for i in range(size)]
    return f"{name} = np.array({rows})"


@template(True)
def zscore(rng: Random) -> Fields:
    s = Scene(rng)
    (a,) = s.names(1)
    asks = (
        f"Get the z-scores of `{a}` with SciPy.",
        f"How many standard deviations is each entry of `{a}` away from the mean? Use scipy.stats.",
        f"Standardise the array `{a}` by a SciPy call.",
    )
    return s.task(asks, lambda: s.vector(a), a, f"result = stats.zscore({a})", "array", _STATS)


@template(True)
def correlation(rng: Random) -> Fields:
    s = Scene(rng)
    a, b = s.names(2)
    call, word = rng.choice((("pearsonr", "Pearson"), ("spearmanr", "Spearman"), ("kendalltau", "Kendall tau")))
    asks = (
        f"Do `{a}` and `{b}` move together? Give the {word} correlation coefficient, no p-value.",
        f"I need the {word} correlation of `{a}` with `{b}` as one number.",
        f"Only the coefficient: {word} correlation between `{a}` and `{b}`.",
    )
    return s.task(asks, lambda: _pair(s, a, b), f"{a}, {b}", f"result = stats.{call}({a}, {b})[0]", "scalar", _STATS)


@template(True)
def t_test(rng: Random) -> Fields:
    s = Scene(rng)
    a, b = s.names(2)
    part, word = rng.choice(((0, "t statistic"), (1, "p-value")))
    call, kind = rng.choice((("ttest_ind", "independent samples"), ("ttest_rel", "paired samples")))
    asks = (
        f"Compare the means of `{a}` and `{b}` ({kind}). What is the {word} of the t-test?",
        f"Run Student's t-test on `{a}` against `{b}`, {kind}, and return its {word}.",
        f"`{a}` and `{b}` are {kind}. I want the {word} of a t-test.",
    )
    reference = f"result = stats.{call}({a}, {b})[{part}]"
    return s.task(asks, lambda: _pair(s, a, b), f"{a}, {b}", reference, "scalar", _STATS)


@template(True)
def normal_cdf(rng: Random) -> Fields:
    s = Scene(rng)
    mean, spread = rng.choice((("mu", "sd"), ("center", "width"), ("mean", "sigma")))
    x = rng.choice(("x", "limit", "height", "score"))
    call, word = rng.choice((("cdf", "at most"), ("sf", "more than")))
    asks = (
        f"A normal variable has mean `{mean}` and deviation `{spread}`. How likely is a value of {word} `{x}`?",
        f"Probability that a Gaussian (mean `{mean}`, deviation `{spread}`) is {word} `{x}`?",
        f"With mean `{mean}` and standard deviation `{spread}`, what part of a bell curve is {word} `{x}`?",
    )

    def data() -> str:
        mu, sd = rng.randint(5, 150), rng.randint(2, 20)
        return f"{mean} = {mu}\n{spread} = {sd}\n{x} = {round(mu + sd * rng.uniform(-2, 2), 1)}"

    reference = f"result = stats.norm.{call}({x}, loc={mean}, scale={spread})"
    return s.task(asks, data, f"{mean}, {spread}, {x}", reference, "scalar", _STATS)


@template(True)
def ranks(rng: Random) -> Fields:
    s = Scene(rng)
    (a,) = s.names(1)
    call, word = rng.choice(
        (("rankdata", "ranks of the entries"), ("skew", "skewness"), ("kurtosis", "excess kurtosis"))
    )
    asks = (
        f"Compute the {word} for `{a}` with scipy.stats, default options.",
        f"What does SciPy give as {word} when fed with `{a}`?",
        f"From the sample `{a}` I need the {word}.",
    )
    data = s.repeats if call == "rankdata" else s.numbers
    return s.task(asks, lambda: s.vector(a, data(rng.randint(5, 8))), a, f"result = stats.{call}({a})", "array", _STATS)


@template(True)
def mode(rng: Random) -> Fields:
    s = Scene(rng)
    (a,) = s.names(1)
    part, word = rng.choice((("mode", "value that occurs most often"), ("count", "number of times its mode occurs")))
    asks = (
        f"Use scipy.stats to find, for `{a}`, the {word}.",
        f"What is, in the array `{a}`, the {word}? SciPy has a function.",
        f"I am interested in one property of `{a}`: the {word}.",
    )

    def data() -> str:
        pool = s.numbers(3)
        return s.vector(a, s.shuffled([*pool, *([pool[0]] * rng.randint(2, 4)), pool[1]]))

    return s.task(asks, data, a, f"result = stats.mode({a}).{part}", "scalar", _STATS)


@template(True)
def minimise(rng: Random) -> Fields:
    s = Scene(rng)
    f = rng.choice(("cost", "loss", "effort", "waste"))
    asks = (
        f"At which x is `{f}` smallest? Let SciPy search.",
        f"Find the minimiser (the x, not the value) of the function `{f}`.",
        f"`{f}` has one valley. I need the x at its bottom.",
    )

    def data() -> str:
        power = rng.choice(("** 2", "** 2 + 0.1 * x"))
        shift = rng.choice(("-", "+"))
        return (
            f"{f} = lambda x: {rng.randint(1, 9)} * (x {shift} {rng.randint(1, 60) / 4}) {power} + {rng.randint(0, 30)}"
        )

    compare = (
        "import numpy as _np\nassert isinstance(result, (int, float, _np.generic, _np.ndarray)), 'type'\n"
        "assert _np.size(result) == 1, 'shape'\nassert _np.allclose(result, ans, rtol=1e-3, atol=1e-3), 'value'"
    )
    return s.task(asks, data, f, f"result = optimize.minimize_scalar({f}).x", compare, _OPTIMIZE)


@template(True)
def root(rng: Random) -> Fields:
    s = Scene(rng)
    f = rng.choice(("gap", "balance", "drift", "excess"))
    high = rng.randint(5, 9)
    asks = (
        f"`{f}` changes sign once between 0 and {high}. Where is it zero?",
        f"Solve {f}(x) = 0 for x in the interval from 0 to {high}.",
        f"Find the root of `{f}` that lies between 0 and {high}.",
    )

    def data() -> str:
        power = rng.randint(2, 3)
        return f"{f} = lambda x: x ** {power} + {rng.randint(1, 6)} * x - {rng.randint(8, 25)}"

    return s.task(asks, data, f, f"result = optimize.brentq({f}, 0, {high})", "scalar", _OPTIMIZE)


@template(True)
def integral(rng: Random) -> Fields:
    s = Scene(rng)
    f = rng.choice(("flow", "speed", "power", "density"))
    low, high = rng.choice((("a", "b"), ("low", "high"), ("t0", "t1")))
    asks = (
        f"Integrate `{f}` from `{low}` to `{high}`; I only want the integral, not the error.",
        f"What is the area under `{f}` between `{low}` and `{high}`?",
        f"Numerically, the integral of `{f}` over the stretch from `{low}` to `{high}`, please.",
    )

    def data() -> str:
        body = f"{rng.randint(1, 9)} * x ** {rng.randint(1, 3)} + {rng.randint(1, 20)}"
        begin = rng.randint(0, 3)
        return f"{f} = lambda x: {body}\n{low} = {begin}\n{high} = {begin + rng.randint(1, 5)}"

    reference = f"result = integrate.quad({f}, {low}, {high})[0]"
    return s.task(asks, data, f"{f}, {low}, {high}", reference, "scalar", _INTEGRATE)


@template(True)
def area_of_samples(rng: Random) -> Fields:
    s = Scene(rng)
    x, (y,) = rng.choice(("t", "x", "when")), s.names(1)
    call, word = rng.choice((("trapezoid", "trapezoidal"), ("simpson", "Simpson's")))
    asks = (
        f"`{y}` was sampled at `{x}`. Integrate it by the {word} rule.",
        f"Estimate the area under the points (`{x}`, `{y}`) with the {word} rule.",
        f"Apply the {word} rule to the samples `{y}` taken at the places `{x}`.",
    )

    def data() -> str:
        count = rng.choice((5, 7))
        return f"{x} = np.array({sorted(rng.sample(range(0, 30), count))})\n" + s.vector(y, s.numbers(count))

    reference = f"result = integrate.{call}({y}, x={x})"
    return s.task(asks, data, f"{x}, {y}", reference, "scalar", _INTEGRATE)


@template(True)
def interpolate_linear(rng: Random) -> Fields:
    s = Scene(rng)
    x, at = rng.choice((("x", "wanted"), ("t", "query"), ("hour", "asked")))
    (y,) = s.names(1)
    call, word = rng.choice((("interp1d({}, {})({})", "linearly"), ("CubicSpline({}, {})({})", "by a cubic spline")))
    asks = (
        f"Between the points (`{x}`, `{y}`) interpolate {word}; return the values at `{at}`.",
        f"`{y}` is known at `{x}` only. Estimate it {word} at the places `{at}`.",
        f"Evaluate at `{at}` what connects `{x}` and `{y}` {word}.",
    )

    def data() -> str:
        count = rng.randint(4, 5)
        places = sorted(rng.sample(range(0, 25), count))
        query = [round(rng.uniform(places[0], places[-1]), 1) for _ in range(2)]
        return f"{x} = np.array({places})\n{s.vector(y, s.numbers(count))}\n{at} = np.array({query})"

    reference = f"result = interpolate.{call.format(x, y, at)}"
    return s.task(asks, data, f"{x}, {y}, {at}", reference, "array", _INTERPOLATE)


@template(True)
def matrix_property(rng: Random) -> Fields:
    s = Scene(rng)
    (m,) = s.names(1)
    call, word, compare = rng.choice((("det", "determinant", "scalar"), ("inv", "inverse", "array")))
    asks = (
        f"Use scipy.linalg to get the {word} of the square matrix `{m}`.",
        f"What is the {word} of `{m}`?",
        f"For the matrix `{m}`, compute the {word} with SciPy's linear algebra.",
    )
    size = rng.randint(2, 3)
    return s.task(asks, lambda: _square(s, m, size), m, f"result = linalg.{call}({m})", compare, _LINALG)


@template(True)
def solve(rng: Random) -> Fields:
    s = Scene(rng)
    m, v = s.names(2)
    asks = (
        f"Which vector x fulfils `{m}` @ x = `{v}`?",
        f"Solve the linear system with the matrix `{m}` and the right-hand side `{v}`.",
        f"`{m}` times an unknown vector gives `{v}`. Find the unknown with SciPy.",
    )
    size = rng.randint(2, 3)

    def data() -> str:
        return _square(s, m, size) + "\n" + s.vector(v, s.numbers(size))

    return s.task(asks, data, f"{m}, {v}", f"result = linalg.solve({m}, {v})", "array", _LINALG)


@template(True)
def point_distance(rng: Random) -> Fields:
    s = Scene(rng)
    a, b = s.names(2)
    call, word = rng.choice((("euclidean", "Euclidean"), ("cityblock", "city-block"), ("chebyshev", "Chebyshev")))
    asks = (
        f"How far are the points `{a}` and `{b}` apart ({word} distance)?",
        f"Measure the {word} distance from `{a}` to `{b}`.",
        f"I need the {word} distance of two points, `{a}` and `{b}`.",
    )
    reference = f"result = distance.{call}({a}, {b})"
    return s.task(asks, lambda: _pair(s, a, b, 2, 4), f"{a}, {b}", reference, "scalar", _DISTANCE)


@template(True)
def all_distances(rng: Random) -> Fields:
    s = Scene(rng)
    a, b = s.names(2)
    metric, word = rng.choice((("", "Euclidean"), (", 'cityblock'", "city-block")))
    asks = (
        f"Rows of `{a}` and of `{b}` are points. Tabulate the {word} distance of every pair, `{a}` down the side.",
        f"Make the matrix of {word} distances between the rows of `{a}` and the rows of `{b}`.",
        f"From each point (row) in `{a}` to each in `{b}`: what are the {word} distances?",
    )

    def data() -> str:
        return s.matrix(a, rng.randint(2, 3), 2) + "\n" + s.matrix(b, rng.randint(2, 3), 2)

    reference = f"result = distance.cdist({a}, {b}{metric})"
    return s.task(asks, data, f"{a}, {b}", reference, "array", _DISTANCE)


def _mostly_zero(s: Scene, name: str) -> str:
    columns = s.rng.randint(3, 4)
    cells = [[0] * columns for _ in range(s.rng.randint(2, 4))]
    for row in cells:
        row[s.rng.randrange(columns)] = s.rng.randint(2, 89)
    return f"{name} = np.array({cells})"


@template(True)
def to_sparse(rng: Random) -> Fields:
    s = Scene(rng)
    (m,) = s.names(1)
    kind, word = rng.choice((("csr", "row (CSR)"), ("csc", "column (CSC)")))
    asks = (
        f"Nearly all of `{m}` is zero. Store it as a compressed sparse {word} matrix.",
        f"Turn the dense array `{m}` into SciPy's sparse {word} format.",
        f"To save memory, `{m}` should become a sparse {word} matrix.",
    )
    return s.task(asks, lambda: _mostly_zero(s, m), m, f"result = sparse.{kind}_matrix({m})", "sparse", _SPARSE)


@template(True)
def to_dense(rng: Random) -> Fields:
    s = Scene(rng)
    (m,) = s.names(1)
    asks = (
        f"`{m}` is a sparse matrix; I want to see it as an ordinary NumPy array.",
        f"Unpack the sparse `{m}` to a dense array.",
        f"Give me `{m}` with all its zeros written out, as an array.",
    )

    def data() -> str:
        return f"{_mostly_zero(s, m)}\n{m} = sparse.csr_matrix({m})"

    return s.task(asks, data, m, f"result = {m}.toarray()", "array", _SPARSE)


@template(True)
def peaks(rng: Random) -> Fields:
    s = Scene(rng)
    (a,) = s.names(1)
    asks = (
        f"At which indices does `{a}` have local peaks?",
        f"Find the peaks of the signal `{a}` and return their positions.",
        f"Where does `{a}` rise above both neighbours? I need the array of indices.",
    )
    reference = f"result = signal.find_peaks({a})[0]"
    return s.task(asks, lambda: s.vector(a, s.numbers(rng.randint(7, 9))), a, reference, "array", _SIGNAL)


@template(True)
def smooth(rng: Random) -> Fields:
    s = Scene(rng)
    (a,) = s.names(1)
    width = rng.choice((3, 5))
    call, word = rng.choice(
        (
            (f"median_filter({{}}, size={width})", f"a median filter of size {width}"),
            (f"maximum_filter({{}}, size={width})", f"a maximum filter of size {width}"),
            (f"gaussian_filter1d({{}}, sigma={width - 2})", f"a 1-D Gaussian filter with sigma {width - 2}"),
        )
    )
    asks = (
        f"Smooth `{a}` with {word} out of scipy.ndimage.",
        f"Apply {word} to the signal `{a}`.",
        f"Send `{a}` through {word}; edges as SciPy does by default.",
    )

    def data() -> str:
        return s.vector(a, [float(v) for v in s.numbers(rng.randint(6, 8))])

    return s.task(asks, data, a, f"result = ndimage.{call.format(a)}", "array", _NDIMAGE)


@template(False)
def line_fit(rng: Random) -> Fields:
    s = Scene(rng)
    x, y = s.names(2)
    new = rng.choice(("x_new", "query", "next_one"))
    asks = (
        f"Fit a straight line of `{y}` over `{x}` and tell what it predicts at `{new}`.",
        f"Linear regression with scipy.stats: from `{x}`, `{y}`, forecast the value for `{new}`.",
        f"Put a least-squares line through (`{x}`, `{y}`). What is its height at `{new}`?",
    )

    def data() -> str:
        return f"{_pair(s, x, y)}\n{new} = {rng.randint(2, 120)}"

    reference = f"line = stats.linregress({x}, {y})\nresult = line.intercept + line.slope * {new}"
    return s.task(asks, data, f"{x}, {y}, {new}", reference, "scalar", _STATS)


@template(False)
def significance(rng: Random) -> Fields:
    s = Scene(rng)
    a, b = s.names(2)
    level = rng.choice((0.05, 0.1, 0.2, 0.4))
    asks = (
        f"Do the means of `{a}` and `{b}` differ at level {level} (t-test, independent)? Return p-value and bool.",
        f"Test `{a}` against `{b}` with an independent t-test; give a pair: p-value, and whether it is below {level}.",
        f"Return (p, verdict): p of the independent t-test of `{a}` and `{b}`, verdict true if p < {level}.",
    )
    reference = f"p = stats.ttest_ind({a}, {b}).pvalue\nresult = (p, p < {level})"
    compare = (
        "import numpy as _np\nassert isinstance(result, (tuple, list)), 'type'\n"
        "assert len(result) == len(ans), 'shape'\n"
        "assert _np.allclose(result[0], ans[0]) and bool(result[1]) == bool(ans[1]), 'value'"
    )
    return s.task(asks, lambda: _pair(s, a, b), f"{a}, {b}", reference, compare, _STATS)


@template(False)
def nearest_point(rng: Random) -> Fields:
    s = Scene(rng)
    points, home = s.names(2)
    word, call = rng.choice((("nearest to", "argmin"), ("farthest from", "argmax")))
    asks = (
        f"Which row of `{points}` is {word} the point `{home}` (Euclidean)? Return that row.",
        f"`{points}` has one place a row. Pick the place {word} `{home}`.",
        f"Of all rows in `{points}`, return the one {word} `{home}` by straight-line distance.",
    )

    def data() -> str:
        return s.matrix(points, rng.randint(3, 4), 2) + "\n" + s.vector(home, s.numbers(2))

    reference = f"far = distance.cdist([{home}], {points})[0]\nresult = {points}[far.{call}()]"
    return s.task(asks, data, f"{points}, {home}", reference, "array", _DISTANCE)


@template(False)
def sparse_totals(rng: Random) -> Fields:
    s = Scene(rng)
    (m,) = s.names(1)
    axis, line = rng.choice(((1, "row"), (0, "column")))
    asks = (
        f"Sum each {line} of the sparse matrix `{m}`; the answer is a flat NumPy array.",
        f"I need the {line} totals of `{m}`, which is sparse, as a 1-D array.",
        f"Add `{m}` up within every {line}. Return an ordinary array with one dimension.",
    )

    def data() -> str:
        return f"{_mostly_zero(s, m)}\n{m} = sparse.csr_matrix({m})"

    reference = f"totals = {m}.sum(axis={axis})\nresult = np.asarray(totals).ravel()"
    return s.task(asks, data, m, reference, "array", _SPARSE)


@template(False)
def label_regions(rng: Random) -> Fields:
    s = Scene(rng)
    (m,) = s.names(1)
    t = s.bound("limit")
    asks = (
        f"Mark where `{m}` is over {t.text}. How many separate regions (joined up, down, left, right) are marked?",
        f"Count the connected patches of `{m}` in which all values are greater than {t.text}.",
        f"Threshold the picture `{m}` at {t.text} (above it counts) and return the number of connected areas.",
    )
    reference = f"labels, count = ndimage.label({m} > {t.code})\nresult = count"
    return s.task(
        asks, lambda: s.matrix(m, 3, rng.randint(4, 5)) + t.line(), m + t.names, reference, "scalar", _NDIMAGE
    )


@template(False)
def eigenvalues(rng: Random) -> Fields:
    s = Scene(rng)
    (m,) = s.names(1)
    size = rng.randint(2, 3)
    asks = (
        f"Return the eigenvalues of the symmetric matrix `{m}`, largest first.",
        f"`{m}` is symmetric. List its eigenvalues in descending order.",
        f"What are the eigenvalues of the symmetric `{m}`? Sort them downwards.",
    )

    def data() -> str:
        upper = [[rng.randint(-4, 9) for _ in range(size)] for _ in range(size)]
        rows = [[upper[min(i, j)][max(i, j)] for j in range(size)] for i in range(size)]
        return f"{m} = np.array({rows})"

    return s.task(asks, data, m, f"values = linalg.eigvalsh({m})\nresult = values[::-1]", "array", _LINALG)
