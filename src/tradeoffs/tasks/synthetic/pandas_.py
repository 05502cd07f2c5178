"""Training tasks for pandas."""

from __future__ import annotations

from random import Random
from typing import Any

from tradeoffs.tasks.synthetic.scene import Fields, Scene, collector

template, TEMPLATES = collector("Pandas")

_PD = ("import pandas as pd",)
_BOTH = ("import numpy as np", "import pandas as pd")
_AGGREGATES = (("sum", "total"), ("mean", "average"), ("max", "maximum"), ("min", "minimum"))


def _imports(rng: Random) -> tuple[str, ...]:
    return rng.choice((_PD, _BOTH))


@template(True)
def column_sum(rng: Random) -> Fields:
    s = Scene(rng)
    df, (c, d) = s.table(), s.columns(2)
    asks = (
        f"Add up the column '{c}' of `{df}`.",
        f"What do all the entries under '{c}' in `{df}` come to?",
        f"I need a single figure: the total of '{c}' over the whole of `{df}`.",
    )
    return s.task(asks, lambda: s.frame(df, [s.key, c, d]), df, f"result = {df}[{c!r}].sum()", "scalar", _imports(rng))


@template(True)
def column_mean(rng: Random) -> Fields:
    s = Scene(rng)
    df, (c, d) = s.table(), s.columns(2)
    call, word = rng.choice((("mean", "average"), ("median", "median")))
    asks = (
        f"What is the {word} of '{c}' in `{df}`?",
        f"Work out the {word} of the numbers that `{df}` keeps under '{c}'.",
        f"Return the {word} for one column of `{df}`, namely '{c}'.",
    )
    return s.task(
        asks, lambda: s.frame(df, [c, s.key, d]), df, f"result = {df}[{c!r}].{call}()", "scalar", _imports(rng)
    )


@template(True)
def column_extreme(rng: Random) -> Fields:
    s = Scene(rng)
    df, (c, d) = s.table(), s.columns(2)
    call, word = rng.choice((("max", "highest"), ("min", "lowest")))
    asks = (
        f"Find the {word} value under '{c}' in `{df}`.",
        f"How {'large' if call == 'max' else 'small'} does '{c}' ever get in `{df}`?",
        f"Out of `{df}` I want just the {word} '{c}'.",
    )
    return s.task(asks, lambda: s.frame(df, [c, d]), df, f"result = {df}[{c!r}].{call}()", "scalar", _imports(rng))


@template(True)
def sort_rows(rng: Random) -> Fields:
    s = Scene(rng)
    df, (c,) = s.table(), s.columns(1)
    asks = (
        f"Order the rows of `{df}` by '{c}', small values on top.",
        f"Sort `{df}` so that '{c}' ascends.",
        f"`{df}` is a mess. Arrange it by rising '{c}'; row labels travel with their rows.",
    )
    return s.task(
        asks, lambda: s.frame(df, [s.key, c]), df, f"result = {df}.sort_values({c!r})", "frame", _imports(rng)
    )


@template(True)
def sort_rows_descending(rng: Random) -> Fields:
    s = Scene(rng)
    df, (c,) = s.table(), s.columns(1)
    asks = (
        f"Put the rows of `{df}` in descending order of '{c}'.",
        f"Sort `{df}` by '{c}' with the largest value in the first row.",
        f"I would like `{df}` ranked: highest '{c}' first, lowest last.",
    )
    reference = f"result = {df}.sort_values({c!r}, ascending=False)"
    return s.task(asks, lambda: s.frame(df, [c, s.key]), df, reference, "frame", _imports(rng))


@template(True)
def filter_rows(rng: Random) -> Fields:
    s = Scene(rng)
    df, (c,) = s.table(), s.columns(1)
    t = s.bound(rng.choice(("limit", "cutoff", "bar")))
    sign, word = rng.choice(((">", "greater"), ("<", "smaller")))
    asks = (
        f"Show me the rows of `{df}` in which '{c}' is {word} than {t.text}.",
        f"Keep a row of `{df}` if its '{c}' is {word} than {t.text}, drop it otherwise.",
        f"Narrow `{df}` down to where '{c}' is {word} than {t.text}.",
    )
    reference = f"result = {df}[{df}[{c!r}] {sign} {t.code}]"
    return s.task(asks, lambda: s.frame(df, [s.key, c]) + t.line(), df + t.names, reference, "frame", _imports(rng))


@template(True)
def filter_equal(rng: Random) -> Fields:
    s = Scene(rng)
    df, (c,) = s.table(), s.columns(1)
    label = s.groups[0]
    asks = (
        f"I only care about '{label}'. Reduce `{df}` to the rows that have it under '{s.key}'.",
        f"Which rows of `{df}` say '{label}' in the column '{s.key}'? Return them all.",
        f"Extract from `{df}` everything whose '{s.key}' equals '{label}'.",
    )
    reference = f"result = {df}[{df}[{s.key!r}] == {label!r}]"
    return s.task(asks, lambda: s.frame(df, [s.key, c]), df, reference, "frame", _imports(rng))


@template(True)
def group_aggregate(rng: Random) -> Fields:
    s = Scene(rng)
    df, (c,) = s.table(), s.columns(1)
    call, word = rng.choice(_AGGREGATES)
    asks = (
        f"For each '{s.key}' in `{df}`, what is the {word} of '{c}'? A Series is fine.",
        f"Group `{df}` by '{s.key}' and return the {word} '{c}' of every group as a Series.",
        f"Split `{df}` into its '{s.key}' groups; of each I want the {word} of '{c}' (Series indexed by group).",
    )
    reference = f"result = {df}.groupby({s.key!r})[{c!r}].{call}()"
    return s.task(asks, lambda: s.frame(df, [s.key, c]), df, reference, "series", _imports(rng))


@template(True)
def drop_column(rng: Random) -> Fields:
    s = Scene(rng)
    df, (c, d) = s.table(), s.columns(2)
    asks = (
        f"Nobody needs '{c}' any more: return `{df}` without that column.",
        f"Remove the column '{c}' from `{df}`.",
        f"Everything in `{df}` may stay except the column '{c}'.",
    )
    reference = f"result = {df}.drop(columns={c!r})"
    return s.task(asks, lambda: s.frame(df, s.shuffled([s.key, c, d])), df, reference, "frame", _imports(rng))


@template(True)
def rename_column(rng: Random) -> Fields:
    s = Scene(rng)
    df, (c, d, new) = s.table(), s.columns(3)
    asks = (
        f"The heading '{c}' in `{df}` is misleading; it should read '{new}'.",
        f"Give the column '{c}' of `{df}` the new name '{new}'.",
        f"Call '{c}' from now on '{new}', and leave the rest of `{df}` alone.",
    )
    reference = f"result = {df}.rename(columns={{{c!r}: {new!r}}})"
    return s.task(asks, lambda: s.frame(df, [c, d]), df, reference, "frame", _imports(rng))


@template(True)
def value_counts(rng: Random) -> Fields:
    s = Scene(rng)
    df, (c,) = s.table(), s.columns(1)
    asks = (
        f"How often does each '{s.key}' occur in `{df}`? Most frequent first, as a Series.",
        f"Tally the labels under '{s.key}' of `{df}` in a Series, commonest on top.",
        f"Count the rows of `{df}` for every '{s.key}', in falling order of the counts.",
    )

    def labels(count: int) -> list[Any]:
        a, b, c = s.shuffled(s.groups)
        return s.shuffled([a, a, a, b, b, c])

    return s.task(
        asks,
        lambda: s.frame(df, [s.key, c], {s.key: labels}, count=6),
        df,
        f"result = {df}[{s.key!r}].value_counts()",
        "series",
        _imports(rng),
    )


@template(True)
def fill_constant(rng: Random) -> Fields:
    s = Scene(rng)
    df, (c, d) = s.table(), s.columns(2)
    new = rng.choice((0, -1, 1, 99))
    asks = (
        f"Write {new} into every empty (NaN) cell of `{df}`.",
        f"NaN cells disturb me in `{df}`; let each of them say {new}.",
        f"No NaN should survive in `{df}`; use {new} as the stand-in.",
    )
    reference = f"result = {df}.fillna({new})"
    return s.task(
        asks, lambda: s.frame(df, [c, d], {c: s.gaps, d: lambda n: s.gaps(n, 1)}), df, reference, "frame", _BOTH
    )


@template(True)
def drop_missing(rng: Random) -> Fields:
    s = Scene(rng)
    df, (c, d) = s.table(), s.columns(2)
    asks = (
        f"Discard each row of `{df}` that has a NaN in it.",
        f"Only complete rows of `{df}` are of use; those with missing values have to go.",
        f"Clean `{df}` by dropping incomplete rows.",
    )
    special = {c: s.gaps, d: lambda n: s.gaps(n, 1)}
    return s.task(asks, lambda: s.frame(df, [s.key, c, d], special), df, f"result = {df}.dropna()", "frame", _BOTH)


@template(True)
def drop_duplicates(rng: Random) -> Fields:
    s = Scene(rng)
    df = s.table()
    asks = (
        f"Some rows of `{df}` were entered twice. Leave just the first copy of each.",
        f"Rid `{df}` of repeated rows.",
        f"Return `{df}` with every distinct row once (its first occurrence).",
    )

    def cells(count: int) -> list[Any]:
        return [int(place in (1, 3)) + rng.choice((0, 0, 7)) for place in range(count)]

    (c,) = s.columns(1)
    reference = f"result = {df}.drop_duplicates()"
    return s.task(asks, lambda: s.frame(df, [s.key, c], {c: cells}, count=6), df, reference, "frame", _imports(rng))


@template(True)
def head_tail(rng: Random) -> Fields:
    s = Scene(rng)
    df, (c,) = s.table(), s.columns(1)
    k = rng.randint(1, 3)
    call, word = rng.choice((("head", "first"), ("tail", "last")))
    rows = "row" if k == 1 else f"{k} rows"
    asks = (
        f"Show the {word} {rows} of `{df}` as a smaller DataFrame.",
        f"Cut `{df}` down to its {word} {rows} (still a DataFrame).",
        f"I just want a DataFrame of the {word} {rows} in `{df}`.",
    )
    return s.task(asks, lambda: s.frame(df, [s.key, c]), df, f"result = {df}.{call}({k})", "frame", _imports(rng))


@template(True)
def largest_rows(rng: Random) -> Fields:
    s = Scene(rng)
    df, (c,) = s.table(), s.columns(1)
    k = rng.randint(2, 3)
    call, word = rng.choice((("nlargest", "largest"), ("nsmallest", "smallest")))
    asks = (
        f"Give me the {k} rows of `{df}` with the {word} '{c}', the most extreme one on top.",
        f"Which {k} rows of `{df}` have the {word} values under '{c}'? Extreme first.",
        f"Pick the {k} {word} by '{c}' from `{df}`, {word} leading.",
    )
    reference = f"result = {df}.{call}({k}, {c!r})"
    return s.task(asks, lambda: s.frame(df, [s.key, c]), df, reference, "frame", _imports(rng))


@template(True)
def merge(rng: Random) -> Fields:
    s = Scene(rng)
    left, right = rng.sample(("stock", "extra", "basics", "details", "notes", "facts"), 2)
    c, d = s.columns(2)
    asks = (
        f"`{left}` and `{right}` share the column '{s.key}'. Bring them together in one DataFrame.",
        f"Look up, for each row of `{left}`, its '{d}' in `{right}` by means of '{s.key}'.",
        f"Merge `{left}` with `{right}` on their common column '{s.key}'.",
    )

    def data() -> str:
        each = {s.key: lambda n: s.shuffled(s.groups)}
        return s.frame(left, [s.key, c]) + "\n" + s.frame(right, [s.key, d], each, count=3)

    reference = f"result = {left}.merge({right}, on={s.key!r})"
    return s.task(asks, data, f"{left}, {right}", reference, "frame", _imports(rng))


@template(True)
def new_column(rng: Random) -> Fields:
    s = Scene(rng)
    df, (c, d) = s.table(), s.columns(2)
    new = rng.choice(("outcome", "combined", "both", "mix", "net"))
    sign, word = rng.choice(
        (("+", "sum of '{}' and '{}'"), ("-", "'{}' minus '{}'"), ("*", "product of '{}' and '{}'"))
    )
    what = word.format(c, d)
    asks = (
        f"Extend `{df}` by a column '{new}' that holds {what}.",
        f"Return `{df}` with one more column, '{new}': {what}.",
        f"In each row of `{df}` I need {what}, stored in an added last column '{new}'.",
    )
    reference = f"result = {df}.assign({new}={df}[{c!r}] {sign} {df}[{d!r}])"
    return s.task(asks, lambda: s.frame(df, [c, d]), df, reference, "frame", _imports(rng))


@template(True)
def unique_values(rng: Random) -> Fields:
    s = Scene(rng)
    df, (c,) = s.table(), s.columns(1)
    asks = (
        f"Which different labels appear under '{s.key}' in `{df}`? Order of appearance.",
        f"List every distinct '{s.key}' of `{df}` once, in the order in which it first shows up.",
        f"I want the unique entries of the '{s.key}' column in `{df}`, not sorted.",
    )
    reference = f"result = {df}[{s.key!r}].unique()"
    return s.task(asks, lambda: s.frame(df, [s.key, c]), df, reference, "sequence", _imports(rng))


@template(True)
def distinct_count(rng: Random) -> Fields:
    s = Scene(rng)
    df, (c,) = s.table(), s.columns(1)
    asks = (
        f"How many different labels does the column '{s.key}' of `{df}` have?",
        f"Count the distinct '{s.key}' entries in `{df}`; repeated ones count once.",
        f"A number, please: the variety of '{s.key}' in `{df}` (distinct values).",
    )

    def data() -> str:
        kinds = rng.sample(s.world.labels, rng.randint(1, 4))
        return s.frame(df, [c, s.key], {s.key: lambda n: [kinds[i % len(kinds)] for i in range(n)]})

    return s.task(asks, data, df, f"result = {df}[{s.key!r}].nunique()", "scalar", _imports(rng))


@template(True)
def is_in(rng: Random) -> Fields:
    s = Scene(rng)
    df, (c,) = s.table(), s.columns(1)
    wanted = rng.choice(("chosen", "wanted", "keepers", "favourites"))
    asks = (
        f"Retain those rows of `{df}` whose '{s.key}' is mentioned in the list `{wanted}`.",
        f"`{wanted}` names the labels I like. Filter `{df}` by them, looking at '{s.key}'.",
        f"Drop from `{df}` every row with a '{s.key}' that is not in `{wanted}`.",
    )
    reference = f"result = {df}[{df}[{s.key!r}].isin({wanted})]"

    def data() -> str:
        return s.frame(df, [s.key, c]) + f"\n{wanted} = {rng.sample(s.groups, 2)!r}"

    return s.task(asks, data, f"{df}, {wanted}", reference, "frame", _imports(rng))


@template(True)
def column_to_list(rng: Random) -> Fields:
    s = Scene(rng)
    df, (c, d) = s.table(), s.columns(2)
    asks = (
        f"Hand me the column '{c}' of `{df}` as a plain Python list.",
        f"Convert what `{df}` has under '{c}' to a list.",
        f"I must pass '{c}' from `{df}` on as a list. How?",
    )
    reference = f"result = {df}[{c!r}].tolist()"
    return s.task(asks, lambda: s.frame(df, [c, d]), df, reference, "sequence", _imports(rng))


@template(True)
def reset_index(rng: Random) -> Fields:
    s = Scene(rng)
    df, (c,) = s.table(), s.columns(1)
    asks = (
        f"After some filtering the row labels of `{df}` are odd. Number the rows from 0 again; forget the old labels.",
        f"Replace the index of `{df}` by 0, 1, 2 and so on, without keeping the previous one as a column.",
        f"Renumber `{df}`: a fresh default index, the former index thrown away.",
    )

    def data() -> str:
        index = rng.sample(range(3, 80), 4)
        return s.frame(df, [s.key, c], count=4) + f"\n{df}.index = {index}"

    return s.task(asks, data, df, f"result = {df}.reset_index(drop=True)", "frame", _imports(rng))


@template(True)
def change_type(rng: Random) -> Fields:
    s = Scene(rng)
    df, (c,) = s.table(), s.columns(1)
    kind, word = rng.choice((("int", "integers"), ("float", "floats")))
    asks = (
        f"The numbers under '{c}' in `{df}` were read as text. Return that column as {word}.",
        f"'{c}' of `{df}` contains strings of digits; I need a Series of {word}.",
        f"Cast the column '{c}' of `{df}` to {word} (just the Series).",
    )

    def texts(count: int) -> list[Any]:
        return [str(rng.randint(2, 400)) for _ in range(count)]

    reference = f"result = {df}[{c!r}].astype({kind})"
    return s.task(asks, lambda: s.frame(df, [s.key, c], {c: texts}), df, reference, "series", _imports(rng))


@template(True)
def row_count(rng: Random) -> Fields:
    s = Scene(rng)
    df, (c, d) = s.table(), s.columns(2)
    asks = (
        f"How many rows has `{df}`?",
        f"Count the lines of the DataFrame `{df}`.",
        f"I want to know the number of records in `{df}`, nothing else.",
    )
    columns = rng.choice(([s.key, c], [c, d], [d, s.key, c]))
    return s.task(
        asks, lambda: s.frame(df, columns, count=rng.randint(3, 7)), df, f"result = len({df})", "scalar", _imports(rng)
    )


@template(True)
def change_case(rng: Random) -> Fields:
    s = Scene(rng)
    df, (c,) = s.table(), s.columns(1)
    call, word = rng.choice((("upper", "capital letters"), ("title", "title case"), ("len", "their lengths")))
    asks = (
        f"Turn the texts under '{s.key}' of `{df}` into {word}; the answer is a Series.",
        f"From the column '{s.key}' in `{df}`, make a Series in which the strings became {word}.",
        f"Convert each '{s.key}' string of `{df}` to {word}. I need that one Series.",
    )
    reference = f"result = {df}[{s.key!r}].str.{call}()"
    return s.task(asks, lambda: s.frame(df, [s.key, c]), df, reference, "series", _imports(rng))


@template(True)
def pick_columns(rng: Random) -> Fields:
    s = Scene(rng)
    df, (c, d, e) = s.table(), s.columns(3)
    asks = (
        f"From `{df}` I want a DataFrame of only the columns '{d}' and '{c}', in this order.",
        f"Select '{d}', then '{c}', out of `{df}` and forget the other columns.",
        f"Make a narrower copy of `{df}` whose columns are '{d}' and '{c}' (that order).",
    )
    return s.task(asks, lambda: s.frame(df, [c, e, d]), df, f"result = {df}[[{d!r}, {c!r}]]", "frame", _imports(rng))


@template(True)
def concat(rng: Random) -> Fields:
    s = Scene(rng)
    first, second = rng.sample(("morning", "evening", "old", "recent", "part_a", "part_b"), 2)
    (c,) = s.columns(1)
    asks = (
        f"Put the rows of `{second}` below those of `{first}` and number all rows anew from 0.",
        f"Make one DataFrame of `{first}` followed by `{second}`, with a fresh index.",
        f"`{first}` and `{second}` have the same columns. Append them, first to last, index restarted.",
    )

    def data() -> str:
        frames = (s.frame(name, [s.key, c], count=rng.randint(2, 3)) for name in (first, second))
        return "\n".join(frames)

    reference = f"result = pd.concat([{first}, {second}], ignore_index=True)"
    return s.task(asks, data, f"{first}, {second}", reference, "frame", _imports(rng))


@template(True)
def running_total(rng: Random) -> Fields:
    s = Scene(rng)
    df, (c,) = s.table(), s.columns(1)
    call, word = rng.choice(
        (("cumsum", "running total"), ("diff", "change from row to row"), ("rank", "rank (lowest = 1)"))
    )
    asks = (
        f"Compute the {word} of '{c}' in `{df}`, as a Series.",
        f"For the column '{c}' of `{df}`, I am looking for the {word}.",
        f"Derive from '{c}' in `{df}` a Series with its {word}.",
    )
    reference = f"result = {df}[{c!r}].{call}()"
    return s.task(asks, lambda: s.frame(df, [s.key, c]), df, reference, "series", _imports(rng))


@template(False)
def best_of_group(rng: Random) -> Fields:
    s = Scene(rng)
    df, (c,) = s.table(), s.columns(1)
    call, word = rng.choice((("idxmax", "highest"), ("idxmin", "lowest")))
    asks = (
        f"Of each '{s.key}' in `{df}`, keep the row with the {word} '{c}'; groups in alphabetical order.",
        f"One row a '{s.key}': the one whose '{c}' is {word}. Sort by group name, leave the labels of the rows.",
        f"Within every '{s.key}' group of `{df}`, find the full row that has the {word} '{c}' (group order).",
    )
    reference = f"best = {df}.groupby({s.key!r})[{c!r}].{call}()\nresult = {df}.loc[best]"
    return s.task(asks, lambda: s.frame(df, [s.key, c]), df, reference, "frame", _imports(rng))


@template(False)
def fill_from_column(rng: Random) -> Fields:
    s = Scene(rng)
    df, (c, d) = s.table(), s.columns(2)
    call, word = rng.choice((("mean", "average"), ("median", "median"), ("max", "maximum")))
    asks = (
        f"The column '{c}' of `{df}` has gaps. Fill them with the {word} of that column and return the Series.",
        f"Impute NaN under '{c}' in `{df}` by the column's {word}; I want the repaired Series.",
        f"Return '{c}' of `{df}` with its {word} standing in for what is missing.",
    )
    reference = f"filler = {df}[{c!r}].{call}()\nresult = {df}[{c!r}].fillna(filler)"
    return s.task(asks, lambda: s.frame(df, [c, d], {c: s.gaps}), df, reference, "series", _BOTH)


@template(False)
def share_of_total(rng: Random) -> Fields:
    s = Scene(rng)
    s.low, s.high = 2, 60
    df, (c,) = s.table(), s.columns(1)
    scale, word = rng.choice((("", "share"), ("100 * ", "percentage")))
    asks = (
        f"What {word} of the column's total is each '{c}' in `{df}`? Return a Series.",
        f"Express '{c}' of `{df}` as {word} of its sum.",
        f"For every row of `{df}`, the {word} that its '{c}' has in the whole of '{c}'.",
    )
    reference = f"total = {df}[{c!r}].sum()\nresult = {scale}{df}[{c!r}] / total"
    return s.task(asks, lambda: s.frame(df, [s.key, c]), df, reference, "series", _imports(rng))


@template(False)
def two_conditions(rng: Random) -> Fields:
    s = Scene(rng)
    df, (c,) = s.table(), s.columns(1)
    t = s.bound("limit")
    label = s.groups[0]
    sign, word = rng.choice(((">", "over"), ("<", "under")))
    joint, glue = rng.choice((("&", "and"), ("|", "or")))
    asks = (
        f"Rows of `{df}` qualify if '{s.key}' is '{label}' {glue} '{c}' is {word} {t.text}. Return them.",
        f"Filter `{df}` by two tests: '{c}' {word} {t.text} {glue} '{s.key}' equal to '{label}'.",
        f"I want what `{df}` has with '{c}' {word} {t.text} {glue} '{label}' under '{s.key}'.",
    )
    mask = f"mask = ({df}[{s.key!r}] == {label!r}) {joint} ({df}[{c!r}] {sign} {t.code})"
    return s.task(
        asks,
        lambda: s.frame(df, [s.key, c]) + t.line(),
        df + t.names,
        f"{mask}\nresult = {df}[mask]",
        "frame",
        _imports(rng),
    )


@template(False)
def ranked_groups(rng: Random) -> Fields:
    s = Scene(rng)
    df, (c,) = s.table(), s.columns(1)
    call, word = rng.choice(_AGGREGATES)
    asks = (
        f"Rank the '{s.key}' groups of `{df}` by their {word} '{c}', from high to low (a Series).",
        f"Take the {word} '{c}' per '{s.key}' in `{df}` and list it with the biggest first.",
        f"League table wanted: '{s.key}' against {word} '{c}', descending, out of `{df}`.",
    )
    reference = f"scores = {df}.groupby({s.key!r})[{c!r}].{call}()\nresult = scores.sort_values(ascending=False)"
    return s.task(asks, lambda: s.frame(df, [s.key, c], count=5), df, reference, "series", _imports(rng))


@template(False)
def filtered_groups(rng: Random) -> Fields:
    s = Scene(rng)
    df, (c,) = s.table(), s.columns(1)
    t = s.bound("limit")
    call, word = rng.choice(_AGGREGATES)
    sign, side = rng.choice(((">", "above"), ("<", "below")))
    asks = (
        f"Ignore rows of `{df}` unless '{c}' is {side} {t.text}; then give the {word} '{c}' per '{s.key}'.",
        f"First keep '{c}' {side} {t.text} in `{df}`, next group by '{s.key}' and return each {word} of '{c}'.",
        f"Per '{s.key}', the {word} of those '{c}' in `{df}` that lie {side} {t.text} (a Series).",
    )
    reference = f"kept = {df}[{df}[{c!r}] {sign} {t.code}]\nresult = kept.groupby({s.key!r})[{c!r}].{call}()"
    return s.task(
        asks,
        lambda: s.frame(df, [s.key, c], count=6) + t.line(),
        df + t.names,
        reference,
        "series",
        _imports(rng),
    )


@template(False)
def pivot(rng: Random) -> Fields:
    s = Scene(rng)
    df, (c,) = s.table(), s.columns(1)
    k, other = s.shuffled([s.key, s.second])
    asks = (
        f"Cross '{k}' (rows) with '{other}' (columns): each cell the sum of '{c}' in `{df}`, NaN where nothing is.",
        f"Make a pivot table of `{df}` with index '{k}', columns '{other}' and summed '{c}'.",
        f"Spread `{df}` out: a row a '{k}', a column a '{other}', inside the total '{c}'.",
    )
    reference = (
        f"cells = {df}.groupby([{k!r}, {other!r}])[{c!r}].sum()\nresult = cells.unstack()"
        if rng.random() < 0.3
        else f"result = {df}.pivot_table(\n    index={k!r}, columns={other!r}, values={c!r}, aggfunc='sum'\n)"
    )
    return s.task(asks, lambda: s.frame(df, [k, other, c]), df, reference, "frame", _imports(rng))


@template(False)
def date_part(rng: Random) -> Fields:
    s = Scene(rng)
    df, (c,) = s.table(), s.columns(1)
    when = rng.choice(("date", "day", "written_on", "stamp"))
    part = rng.choice(("year", "month", "day"))
    asks = (
        f"The strings under '{when}' in `{df}` are dates. Return the {part} of each as a Series.",
        f"Parse '{when}' of `{df}` and pull out the {part} (a Series of numbers).",
        f"I need a Series that tells the {part} for every '{when}' text in `{df}`.",
    )

    def dates(count: int) -> list[Any]:
        return [f"{rng.randint(1990, 2029)}-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}" for _ in range(count)]

    reference = f"dates = pd.to_datetime({df}[{when!r}])\nresult = dates.dt.{part}"
    return s.task(asks, lambda: s.frame(df, [when, c], {when: dates}, count=4), df, reference, "series", _imports(rng))


@template(False)
def split_text(rng: Random) -> Fields:
    s = Scene(rng)
    df, (c,) = s.table(), s.columns(1)
    code = rng.choice(("code", "tag", "ticket", "ref"))
    mark = rng.choice("-_/:")
    place, word = rng.choice(((0, "in front of"), (1, "behind")))
    asks = (
        f"Each '{code}' in `{df}` has a '{mark}'. Return a Series of what stands {word} it.",
        f"Cut the texts under '{code}' of `{df}` at '{mark}' and keep the part {word} it, as a Series.",
        f"In `{df}`, I want the piece {word} the '{mark}' from every '{code}'.",
    )

    def codes(count: int) -> list[Any]:
        return [f"{rng.choice(s.groups)}{mark}{rng.randint(2, 99)}" for _ in range(count)]

    reference = f"parts = {df}[{code!r}].str.split({mark!r})\nresult = parts.str[{place}]"
    return s.task(asks, lambda: s.frame(df, [code, c], {code: codes}, count=4), df, reference, "series", _imports(rng))


@template(False)
def group_deviation(rng: Random) -> Fields:
    s = Scene(rng)
    df, (c,) = s.table(), s.columns(1)
    asks = (
        f"By how much does '{c}' in each row of `{df}` differ from the mean of its '{s.key}' group? Return a Series.",
        f"Center '{c}' of `{df}` within '{s.key}': value minus group mean, row by row.",
        f"From every '{c}' in `{df}`, take away the average '{c}' of the same '{s.key}'.",
    )
    reference = f"means = {df}.groupby({s.key!r})[{c!r}].transform('mean')\nresult = {df}[{c!r}] - means"
    return s.task(asks, lambda: s.frame(df, [s.key, c]), df, reference, "series", _imports(rng))


@template(False)
def flag_column(rng: Random) -> Fields:
    s = Scene(rng)
    df, (c,) = s.table(), s.columns(1)
    t = s.bound("limit")
    yes, no = rng.choice((("high", "low"), ("big", "small"), ("yes", "no"), ("hot", "cold")))
    new = rng.choice(("flag", "grade_word", "verdict", "level"))
    asks = (
        f"Add to `{df}` a last column '{new}': '{yes}' where '{c}' is greater than {t.text}, else '{no}'.",
        f"Label the rows of `{df}` in a new column '{new}', '{yes}' for '{c}' over {t.text} and '{no}' otherwise.",
        f"Return `{df}` plus '{new}', which says '{yes}' if '{c}' exceeds {t.text} and '{no}' if not.",
    )
    reference = f"words = np.where({df}[{c!r}] > {t.code}, {yes!r}, {no!r})\nresult = {df}.assign({new}=words)"
    return s.task(asks, lambda: s.frame(df, [s.key, c]) + t.line(), df + t.names, reference, "frame", _BOTH)


@template(False)
def missing_share(rng: Random) -> Fields:
    s = Scene(rng)
    df, (c, d) = s.table(), s.columns(2)
    call, word = rng.choice((("sum", "number"), ("mean", "fraction")))
    asks = (
        f"Report the {word} of NaN cells for each column of `{df}` as a Series.",
        f"How complete is `{df}`? Per column, give the {word} of missing cells.",
        f"Column by column, what {word} of the entries in `{df}` is missing?",
    )
    reference = f"missing = {df}.isna()\nresult = missing.{call}()"

    def holes(count: int) -> list[Any]:
        return s.gaps(count, rng.randint(1, 3))

    return s.task(asks, lambda: s.frame(df, [s.key, c, d], {c: holes, d: holes}), df, reference, "series", _BOTH)


@template(False)
def map_labels(rng: Random) -> Fields:
    s = Scene(rng)
    df, (c,) = s.table(), s.columns(1)
    prices = dict(zip(s.groups, rng.sample(range(2, 60), 3), strict=True))
    table = rng.choice(("rates", "prices", "points", "weights"))
    asks = (
        f"`{table}` gives a number for each '{s.key}'. Multiply it by '{c}' in every row of `{df}`; return the sum.",
        f"Look '{s.key}' of `{df}` up in the dict `{table}`, weight '{c}' with it and add everything up.",
        f"What is the total of '{c}' times the `{table}` entry of the row's '{s.key}' in `{df}`?",
    )
    reference = f"factor = {df}[{s.key!r}].map({table})\nresult = ({df}[{c!r}] * factor).sum()"

    def data() -> str:
        return s.frame(df, [s.key, c]) + f"\n{table} = {prices!r}"

    return s.task(asks, data, f"{df}, {table}", reference, "scalar", _imports(rng))
