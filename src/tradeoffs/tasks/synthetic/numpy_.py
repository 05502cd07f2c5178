"""Training tasks for NumPy."""

from __future__ import annotations

from random import Random

from tradeoffs.tasks.synthetic.scene import Fields, Scene, collector

template, TEMPLATES = collector("Numpy")

_AXES = ((0, "column"), (1, "row"))


@template(True)
def mean(rng: Random) -> Fields:
    s = Scene(rng)
    (a,) = s.names(1)
    asks = (
        f"What is the average of everything in `{a}`? I want one number.",
        f"`{a}` holds a handful of readings; boil them down to their arithmetic mean.",
        f"Please find the mean value of the array `{a}`.",
        f"On average, how large is an entry of `{a}`?",
    )
    return s.task(asks, lambda: s.vector(a), a, f"result = {a}.mean()", "scalar")


@template(True)
def mean_axis(rng: Random) -> Fields:
    s = Scene(rng)
    (m,) = s.names(1)
    axis, line = rng.choice(_AXES)
    asks = (
        f"The array `{m}` is two-dimensional. I need the mean of every {line}, as a 1-D array.",
        f"For each {line} of `{m}`, what is the average?",
        f"Average `{m}` {line} by {line}, so that one value per {line} remains.",
    )
    return s.task(asks, lambda: s.matrix(m), m, f"result = {m}.mean(axis={axis})", "array")


@template(True)
def sum_axis(rng: Random) -> Fields:
    s = Scene(rng)
    (m,) = s.names(1)
    axis, line = rng.choice(_AXES)
    asks = (
        f"Add up `{m}` within each {line}; one total for every {line} should be left.",
        f"I am after the {line} totals of the matrix `{m}`.",
        f"How do I sum the numbers of every single {line} in `{m}`?",
    )
    return s.task(asks, lambda: s.matrix(m), m, f"result = {m}.sum(axis={axis})", "array")


@template(True)
def extreme(rng: Random) -> Fields:
    s = Scene(rng)
    (a,) = s.names(1)
    call, word = rng.choice((("max", "largest"), ("min", "smallest")))
    asks = (
        f"Which value is the {word} one in `{a}`? The value itself, not where it stands.",
        f"Pick the {word} number out of the array `{a}`.",
        f"Among all entries of `{a}`, return the {word}.",
    )
    return s.task(asks, lambda: s.vector(a), a, f"result = {a}.{call}()", "scalar")


@template(True)
def extreme_axis(rng: Random) -> Fields:
    s = Scene(rng)
    (m,) = s.names(1)
    axis, line = rng.choice(_AXES)
    call, word = rng.choice((("max", "highest"), ("min", "lowest")))
    asks = (
        f"Every {line} of `{m}` has a {word} number. Collect these numbers in a 1-D array.",
        f"Give me the {word} entry per {line} of the matrix `{m}`.",
        f"Reduce `{m}` to one value a {line}: the {word} one.",
    )
    return s.task(asks, lambda: s.matrix(m), m, f"result = {m}.{call}(axis={axis})", "array")


@template(True)
def std(rng: Random) -> Fields:
    s = Scene(rng)
    (a,) = s.names(1)
    asks = (
        f"How widely do the values of `{a}` spread? Use the population standard deviation.",
        f"I want the standard deviation of `{a}`, with NumPy's default settings.",
        f"Measure the spread of `{a}` by its standard deviation (dividing by n).",
    )
    return s.task(asks, lambda: s.vector(a), a, f"result = {a}.std()", "scalar")


@template(True)
def arg_extreme(rng: Random) -> Fields:
    s = Scene(rng)
    (a,) = s.names(1)
    call, word = rng.choice((("argmax", "greatest"), ("argmin", "least")))
    asks = (
        f"At which position of `{a}` does the {word} value sit?",
        f"I do not need the {word} value of `{a}`, but its index.",
        f"Find the index of the {word} entry in the array `{a}`.",
    )
    return s.task(asks, lambda: s.vector(a), a, f"result = {a}.{call}()", "scalar")


@template(True)
def sort(rng: Random) -> Fields:
    s = Scene(rng)
    (a,) = s.names(1)
    asks = (
        f"Line the values of `{a}` up from small to large.",
        f"`{a}` came in no particular order; sort it upwards.",
        f"Return a sorted copy of the array `{a}`, lowest value first.",
    )
    return s.task(asks, lambda: s.vector(a), a, f"result = np.sort({a})", "array")


@template(True)
def sort_descending(rng: Random) -> Fields:
    s = Scene(rng)
    (a,) = s.names(1)
    asks = (
        f"Line the values of `{a}` up from large to small.",
        f"Sort the array `{a}`, but with the biggest number in front.",
        f"I would like `{a}` in descending order.",
    )
    return s.task(asks, lambda: s.vector(a), a, f"result = np.sort({a})[::-1]", "array")


@template(True)
def reverse(rng: Random) -> Fields:
    s = Scene(rng)
    (a,) = s.names(1)
    asks = (
        f"Turn `{a}` around: its last entry should come first and so on. Do not sort.",
        f"Read the array `{a}` backwards.",
        f"The recorder wrote `{a}` in the wrong direction. Reverse it.",
    )
    return s.task(asks, lambda: s.vector(a), a, f"result = {a}[::-1]", "array")


@template(True)
def reshape(rng: Random) -> Fields:
    s = Scene(rng)
    (a,) = s.names(1)
    rows, columns = rng.choice(((2, 3), (3, 2), (2, 4), (4, 2), (3, 3), (2, 5), (5, 2)))
    asks = (
        f"Fold the flat array `{a}` into {rows} rows and {columns} columns, filling row after row.",
        f"`{a}` should become a matrix with shape ({rows}, {columns}).",
        f"How can `{a}` be rearranged to {rows} lines of {columns} numbers each?",
    )
    return s.task(
        asks, lambda: s.vector(a, s.numbers(rows * columns)), a, f"result = {a}.reshape({rows}, {columns})", "array"
    )


@template(True)
def transpose(rng: Random) -> Fields:
    s = Scene(rng)
    (m,) = s.names(1)
    asks = (
        f"Swap the rows and the columns of `{m}`.",
        f"What was a row of `{m}` should be a column, and the other way round.",
        f"I need the matrix `{m}` transposed.",
    )
    return s.task(asks, lambda: s.matrix(m), m, f"result = {m}.T", "array")


@template(True)
def unique(rng: Random) -> Fields:
    s = Scene(rng)
    (a,) = s.names(1)
    asks = (
        f"`{a}` repeats itself. List each different value once, in rising order.",
        f"Which distinct values does `{a}` contain? Sorted, please.",
        f"Strip the duplicates from the array `{a}` and sort what is left.",
    )
    return s.task(asks, lambda: s.vector(a, s.repeats(rng.randint(6, 8))), a, f"result = np.unique({a})", "array")


@template(True)
def cumulative(rng: Random) -> Fields:
    s = Scene(rng)
    (a,) = s.names(1)
    asks = (
        f"Make a running total of `{a}`.",
        f"After each entry of `{a}`, how much has come together so far? Return the array of partial sums.",
        f"I need the cumulative sum of the array `{a}`.",
    )
    return s.task(asks, lambda: s.vector(a), a, f"result = np.cumsum({a})", "array")


@template(True)
def product(rng: Random) -> Fields:
    s = Scene(rng)
    a, b = s.names(2)
    vectors = rng.random() < 0.4
    asks = (
        f"Form the {'dot' if vectors else 'matrix'} product of `{a}` and `{b}`, in this order.",
        f"Linear algebra: multiply `{a}` with `{b}` ({'inner product' if vectors else 'not entry by entry'}).",
        f"What is `{a}` times `{b}` in the sense of a {'dot' if vectors else 'matrix'} product?",
    )

    def data() -> str:
        inner = rng.randint(2, 4)
        if vectors:
            return s.vector(a, s.numbers(inner)) + "\n" + s.vector(b, s.numbers(inner))
        return s.matrix(a, 2, inner) + "\n" + s.matrix(b, inner, 2)

    return s.task(asks, data, f"{a}, {b}", f"result = {a} @ {b}", "array")


@template(True)
def concatenate(rng: Random) -> Fields:
    s = Scene(rng)
    a, b = s.names(2)
    asks = (
        f"Hang `{b}` onto the end of `{a}`, which gives one long array.",
        f"Join the arrays `{a}` and `{b}` end to end.",
        f"I have two arrays and want a single one: first all of `{a}`, then all of `{b}`.",
    )

    def data() -> str:
        return s.vector(a, s.numbers(rng.randint(2, 5))) + "\n" + s.vector(b, s.numbers(rng.randint(2, 5)))

    return s.task(asks, data, f"{a}, {b}", f"result = np.concatenate([{a}, {b}])", "array")


@template(True)
def stack(rng: Random) -> Fields:
    s = Scene(rng)
    a, b = s.names(2)
    call, line = rng.choice((("vstack", "rows"), ("column_stack", "columns")))
    asks = (
        f"Build a matrix that has `{a}` and `{b}` as its two {line}.",
        f"`{a}` and `{b}` are equally long. Put them into one 2-D array, as {line}.",
        f"How do I stack `{a}` and `{b}` so that they become the {line} of a matrix?",
    )

    def data() -> str:
        length = rng.randint(3, 5)
        return s.vector(a, s.numbers(length)) + "\n" + s.vector(b, s.numbers(length))

    return s.task(asks, data, f"{a}, {b}", f"result = np.{call}([{a}, {b}])", "array")


@template(True)
def select(rng: Random) -> Fields:
    s = Scene(rng)
    (a,) = s.names(1)
    t = s.bound(rng.choice(("limit", "cutoff", "bar")))
    sign, word = rng.choice(((">", "above"), ("<", "below")))
    asks = (
        f"Keep only those entries of `{a}` that lie {word} {t.text}.",
        f"Throw out of `{a}` whatever is not {word} {t.text}; the order stays.",
        f"Which values in the array `{a}` are {word} {t.text}? Return them.",
    )
    reference = f"result = {a}[{a} {sign} {t.code}]"
    return s.task(asks, lambda: s.vector(a) + t.line(), a + t.names, reference, "array")


@template(True)
def clip(rng: Random) -> Fields:
    s = Scene(rng)
    (a,) = s.names(1)
    quarter = (s.high - s.low) // 4
    low, high = s.low + quarter + rng.randint(0, 3), s.high - quarter - rng.randint(0, 3)
    asks = (
        f"Force `{a}` into the range from {low} to {high}: what lies outside becomes the nearer end.",
        f"Clip the array `{a}` at {low} below and {high} above.",
        f"No entry of `{a}` may be under {low} or over {high}; set offenders to that bound.",
    )
    return s.task(asks, lambda: s.vector(a), a, f"result = np.clip({a}, {low}, {high})", "array")


@template(True)
def replace(rng: Random) -> Fields:
    s = Scene(rng)
    (a,) = s.names(1)
    t = s.bound(rng.choice(("limit", "floor_at", "mark")))
    sign, word = rng.choice(((">", "over"), ("<", "under")))
    new = rng.choice((0, -1, 1, 999))
    asks = (
        f"Wherever `{a}` is {word} {t.text}, write {new} instead; the rest stays as it is.",
        f"Swap each entry of `{a}` that is {word} {t.text} for {new}.",
        f"Entries {word} {t.text} in `{a}` are faulty. Put {new} in their place.",
    )
    reference = f"result = np.where({a} {sign} {t.code}, {new}, {a})"
    return s.task(asks, lambda: s.vector(a) + t.line(), a + t.names, reference, "array")


@template(True)
def linspace(rng: Random) -> Fields:
    s = Scene(rng)
    low, high = rng.choice((("start", "stop"), ("low", "high"), ("left", "right"), ("first", "last")))
    count = rng.choice(("count", "k", "ticks", "points"))
    asks = (
        f"Spread `{count}` evenly spaced numbers from `{low}` to `{high}`, both ends included.",
        f"I need `{count}` grid points between `{low}` and `{high}`; the ends belong to the grid.",
        f"Divide the way from `{low}` to `{high}` so that `{count}` equally distant values come out.",
    )

    def data() -> str:
        begin = rng.randint(-40, 40)
        return f"{low} = {begin}\n{high} = {begin + rng.randint(3, 50)}\n{count} = {rng.randint(3, 12)}"

    names = f"{low}, {high}, {count}"
    return s.task(asks, data, names, f"result = np.linspace({names})", "array")


@template(True)
def arange(rng: Random) -> Fields:
    s = Scene(rng)
    low, high = rng.choice((("start", "end"), ("from_day", "to_day"), ("a", "b")))
    step = rng.randint(2, 6)
    asks = (
        f"Count from `{low}` up to but without `{high}` in steps of {step}, as an array.",
        f"Every {step}-th integer, beginning at `{low}` and staying under `{high}`: how do I get that array?",
        f"Make an array that starts with `{low}`, grows by {step} and stops before `{high}`.",
    )

    def data() -> str:
        begin = rng.randint(-50, 60)
        return f"{low} = {begin}\n{high} = {begin + rng.randint(9, 40)}"

    return s.task(asks, data, f"{low}, {high}", f"result = np.arange({low}, {high}, {step})", "array")


@template(True)
def rounded(rng: Random) -> Fields:
    s = Scene(rng)
    (a,) = s.names(1)
    digits = rng.choice((1, 2))
    plural = "decimal" if digits == 1 else "decimals"
    asks = (
        f"The entries of `{a}` are needlessly precise. Round them to {digits} {plural}.",
        f"Keep just {digits} {plural} of every number in `{a}` (rounded).",
        f"Round the whole array `{a}`, leaving {digits} {plural}.",
    )
    return s.task(
        asks,
        lambda: s.vector(a, [round(rng.uniform(0, 40), 4) for _ in range(rng.randint(4, 6))]),
        a,
        f"result = np.round({a}, {digits})",
        "array",
    )


@template(True)
def diff(rng: Random) -> Fields:
    s = Scene(rng)
    (a,) = s.names(1)
    asks = (
        f"By how much does `{a}` change from each entry to the next one?",
        f"Subtract every element of `{a}` from its right neighbour.",
        f"I want the step sizes between neighbours in the array `{a}`.",
    )
    return s.task(asks, lambda: s.vector(a), a, f"result = np.diff({a})", "array")


@template(True)
def count(rng: Random) -> Fields:
    s = Scene(rng)
    (a,) = s.names(1)
    t = s.bound(rng.choice(("limit", "level", "bar")))
    sign, word = rng.choice(((">", "more"), ("<", "less")))
    asks = (
        f"How many entries of `{a}` are {word} than {t.text}?",
        f"Count the values in `{a}` that are {word} than {t.text}.",
        f"I only need a number: how often is an element of `{a}` {word} than {t.text}?",
    )
    reference = f"result = ({a} {sign} {t.code}).sum()"
    return s.task(asks, lambda: s.vector(a) + t.line(), a + t.names, reference, "scalar")


@template(True)
def flatten(rng: Random) -> Fields:
    s = Scene(rng)
    (m,) = s.names(1)
    asks = (
        f"Unroll the matrix `{m}` into one flat array, row after row.",
        f"`{m}` has two dimensions, and I want one. Keep the reading order.",
        f"Lay all entries of `{m}` out in a single 1-D array.",
    )
    return s.task(asks, lambda: s.matrix(m), m, f"result = {m}.flatten()", "array")


@template(True)
def norm(rng: Random) -> Fields:
    s = Scene(rng)
    (v,) = s.names(1)
    asks = (
        f"How long is the vector `{v}` in the Euclidean sense?",
        f"Compute the Euclidean norm of `{v}`.",
        f"Take `{v}` as an arrow and return its length (the L2 norm).",
    )
    return s.task(asks, lambda: s.vector(v, s.numbers(rng.randint(2, 5))), v, f"result = np.linalg.norm({v})", "scalar")


@template(False)
def standardize(rng: Random) -> Fields:
    s = Scene(rng)
    (a,) = s.names(1)
    asks = (
        f"Shift and scale `{a}` so that its mean is 0 and its (population) standard deviation is 1.",
        f"Turn the array `{a}` into standard scores: distance from the mean, in standard deviations.",
        f"Subtract from `{a}` its mean, then divide by its standard deviation.",
    )
    return s.task(asks, lambda: s.vector(a), a, f"centered = {a} - {a}.mean()\nresult = centered / {a}.std()", "array")


@template(False)
def top_positions(rng: Random) -> Fields:
    s = Scene(rng)
    (a,) = s.names(1)
    k = rng.randint(2, 4)
    asks = (
        f"Where in `{a}` are the {k} biggest values? Return their indices, the biggest value's index first.",
        f"I want the positions of the top {k} entries of `{a}`, best one in front.",
        f"Give the {k} indices that point at the largest numbers of `{a}`, in falling order of these numbers.",
    )
    reference = f"order = np.argsort({a})[::-1]\nresult = order[:{k}]"
    return s.task(asks, lambda: s.vector(a), a, reference, "array")


@template(False)
def shares(rng: Random) -> Fields:
    s = Scene(rng)
    (m,) = s.names(1)
    s.low, s.high, s.floats = 1, 60, False
    axis, line = rng.choice(_AXES)
    asks = (
        f"Divide each {line} of `{m}` by its own total, so that every {line} adds up to 1.",
        f"Convert `{m}` into shares within the {line}: entry over {line} sum.",
        f"Scale the matrix `{m}` {line}-wise until the sum of every {line} is one.",
    )
    reference = f"totals = {m}.sum(axis={axis}, keepdims=True)\nresult = {m} / totals"
    return s.task(asks, lambda: s.matrix(m), m, reference, "array")


@template(False)
def most_frequent(rng: Random) -> Fields:
    s = Scene(rng)
    (a,) = s.names(1)
    asks = (
        f"One value turns up in `{a}` more often than any other. Which one?",
        f"Find the most common entry of the array `{a}`.",
        f"What is the mode of `{a}`, that is, the value seen most often?",
    )

    def data() -> str:
        pool = s.numbers(4)
        return s.vector(a, s.shuffled([*pool, pool[0], pool[0], pool[1]]))

    reference = f"values, counts = np.unique({a}, return_counts=True)\nresult = values[counts.argmax()]"
    return s.task(asks, data, a, reference, "scalar")


@template(False)
def sum_of_selected(rng: Random) -> Fields:
    s = Scene(rng)
    a, b = s.names(2)
    t = s.bound("limit")
    sign, word = rng.choice(((">", "over"), ("<", "under")))
    asks = (
        f"Where `{b}` is {word} {t.text}, look up `{a}` at the same positions and total what you find.",
        f"Add up those entries of `{a}` whose partner in `{b}` is {word} {t.text}.",
        f"Sum `{a}`, but only at places at which `{b}` is {word} {t.text}.",
    )

    def data() -> str:
        length = rng.randint(5, 7)
        return s.vector(a, s.numbers(length)) + "\n" + s.vector(b, s.numbers(length)) + t.line()

    reference = f"chosen = {a}[{b} {sign} {t.code}]\nresult = chosen.sum()"
    return s.task(asks, data, f"{a}, {b}{t.names}", reference, "scalar")


@template(False)
def moving_average(rng: Random) -> Fields:
    s = Scene(rng)
    (a,) = s.names(1)
    width = rng.randint(2, 4)
    asks = (
        f"Smooth `{a}` with a moving average over {width} neighbours; only full windows count.",
        f"Slide a window of {width} entries along `{a}` and average what it covers, without padding.",
        f"I need the rolling mean of the array `{a}`, window length {width}, incomplete windows left out.",
    )
    reference = f"window = np.ones({width}) / {width}\nresult = np.convolve({a}, window, mode='valid')"
    return s.task(asks, lambda: s.vector(a), a, reference, "array")


@template(False)
def unit_range(rng: Random) -> Fields:
    s = Scene(rng)
    (a,) = s.names(1)
    asks = (
        f"Rescale `{a}` linearly: its lowest entry becomes 0, its highest 1.",
        f"Map the array `{a}` onto the interval from 0 to 1 (min-max scaling).",
        f"Squeeze `{a}` between zero and one without changing the relative distances.",
    )
    reference = f"low, high = {a}.min(), {a}.max()\nresult = ({a} - low) / (high - low)"
    return s.task(asks, lambda: s.vector(a), a, reference, "array")


@template(False)
def fill_gaps(rng: Random) -> Fields:
    s = Scene(rng)
    (a,) = s.names(1)
    call, word = rng.choice((("nanmean", "mean"), ("nanmedian", "median"), ("nanmax", "maximum")))
    asks = (
        f"Some readings in `{a}` are missing (NaN). Fill each gap with the {word} of the others.",
        f"Replace every NaN of `{a}` by the {word} of the known entries.",
        f"The array `{a}` has holes; patch them with the {word} of what is there.",
    )
    reference = f"filler = np.{call}({a})\nresult = np.where(np.isnan({a}), filler, {a})"
    return s.task(asks, lambda: s.vector(a, s.gaps(rng.randint(5, 7))), a, reference, "array")


@template(False)
def sort_rows(rng: Random) -> Fields:
    s = Scene(rng)
    (m,) = s.names(1)
    column = rng.randint(0, 1)
    word = ("first", "second")[column]
    asks = (
        f"Reorder whole rows of `{m}` so that their {word} column ascends.",
        f"Sort the rows of the matrix `{m}` by what stands in the {word} column. Rows must stay intact.",
        f"Arrange the rows of `{m}` by their {word} entry, smallest on top.",
    )
    return s.task(
        asks,
        lambda: s.matrix(m, rng.randint(3, 5), rng.randint(2, 3)),
        m,
        f"order = {m}[:, {column}].argsort()\nresult = {m}[order]",
        "array",
    )


@template(False)
def one_hot(rng: Random) -> Fields:
    s = Scene(rng)
    (a,) = s.names(1)
    asks = (
        f"Encode the class numbers in `{a}` as indicator rows: a 1 in the column of the class, 0 elsewhere.",
        f"`{a}` lists classes counted from 0. Make the one-hot matrix, as wide as the largest class demands.",
        f"One-hot encode `{a}`; the number of columns is its maximum plus one.",
    )

    def data() -> str:
        top = rng.randint(2, 4)
        return s.vector(a, s.shuffled([top, *(rng.randint(0, top) for _ in range(rng.randint(3, 5)))]))

    return s.task(asks, data, a, f"width = {a}.max() + 1\nresult = np.eye(width)[{a}]", "array")


@template(False)
def where_in_matrix(rng: Random) -> Fields:
    s = Scene(rng)
    (m,) = s.names(1)
    call, word = rng.choice((("argmax", "peak"), ("argmin", "lowest point")))
    asks = (
        f"In which row and which column of `{m}` is its {word}? Return both indices as a pair.",
        f"Locate the {word} of the matrix `{m}` as (row, column).",
        f"I need two indices, row then column, of the {word} of `{m}`.",
    )
    reference = f"flat = {m}.{call}()\nresult = np.unravel_index(flat, {m}.shape)"
    return s.task(asks, lambda: s.matrix(m), m, reference, "sequence")


@template(False)
def outer_distance(rng: Random) -> Fields:
    s = Scene(rng)
    a, b = s.names(2)
    asks = (
        f"Tabulate the absolute gap between every entry of `{a}` (rows) and every entry of `{b}` (columns).",
        f"Compare each value of `{a}` with each value of `{b}`: a matrix of absolute differences, `{a}` down the side.",
        f"Entry (i, j) of the answer is how far `{a}[i]` and `{b}[j]` are apart.",
    )

    def data() -> str:
        return s.vector(a, s.numbers(rng.randint(2, 4))) + "\n" + s.vector(b, s.numbers(rng.randint(2, 4)))

    reference = f"gaps = {a}[:, None] - {b}[None, :]\nresult = np.abs(gaps)"
    return s.task(asks, data, f"{a}, {b}", reference, "array")
