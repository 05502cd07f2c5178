"""Evaluation problems for pandas: filters, groups, joins and runs on small tables.

Each entry pairs a problem with answers that look right and must fail, so that a test can show that the grading
program tells them apart. Tier 1 problems are one common call; tier 2 takes two or three steps; tier 3 needs state
that travels along the rows of a group (streaks, overlaps, latest known value) without looping over rows.
"""

from __future__ import annotations

from tradeoffs.tasks.format import Problem, problem

_PARCELS = """
parcels = pd.DataFrame({"town": ["Lund", "Graz", "Pisa", "Brno"], "weight": [12, 4, 10, 31]})
"""
_PARCELS_CASES = (
    'parcels = pd.DataFrame({"town": ["Ulm", "Ghent"], "weight": [10, 11]}, index=[7, 3])',
    'parcels = pd.DataFrame({"town": ["Oulu", "Turku", "Espoo"], "weight": [25, 3, 14]}, index=[4, 5, 6])',
)
_FILMS = 'films = pd.DataFrame({"title": ["Dune", "Alien", "Heat", "Jaws"], "minutes": [155, 117, 170, 124]})'
_FILMS_CASES = (
    'films = pd.DataFrame({"title": ["Zodiac", "Amour", "Ran"], "minutes": [157, 127, 162]})',
    'films = pd.DataFrame({"title": ["Cure", "Big", "Tron", "Elf"], "minutes": [111, 99, 96, 97]}, index=[9, 8, 2, 5])',
)
_SALES = """
sales = pd.DataFrame({
    "shop": ["harbour", "station", "harbour", "market", "station", "harbour"],
    "units": [5, 9, 7, 3, 6, 2],
})
"""
_SALES_CASES = (
    'sales = pd.DataFrame({"shop": ["north", "south", "north", "east"], "units": [1, 8, 4, 2]})',
    'sales = pd.DataFrame({"shop": ["c", "a", "b", "a", "c", "c"], "units": [2, 10, 3, 1, 2, 9]})',
)
_STALL = """
stall = pd.DataFrame({
    "fruit": ["plum", "kiwi", "pear", "lime"],
    "price": [0.5, 0.9, 0.7, 0.4],
    "sold": [40, 10, 30, 20],
})
"""
_STALL_CASES = (
    'stall = pd.DataFrame({"fruit": ["fig", "date", "grape"], "price": [2.0, 5.0, 1.0], "sold": [9, 1, 30]})',
    """
    stall = pd.DataFrame(
        {"fruit": ["yuzu", "guava", "quince", "melon", "lychee"], "price": [4, 2, 1, 3, 6], "sold": [2, 8, 3, 7, 1]}
    )
    """,
)
_MATCHES = """
matches = pd.DataFrame({
    "day": [1, 1, 2, 3, 4, 4, 6],
    "player": ["Ida", "Bo", "Ida", "Bo", "Ida", "Bo", "Ida"],
    "won": [True, False, True, False, False, False, True],
})
"""
_MATCHES_CASES = (
    """
    matches = pd.DataFrame({
        "day": [2, 3, 5, 6, 9, 11, 12, 15],
        "player": ["Mia", "Mia", "Leo", "Mia", "Leo", "Leo", "Mia", "Mia"],
        "won": [False, True, True, True, True, True, False, True],
    })
    """,
    """
    matches = pd.DataFrame({
        "day": [1, 4, 5, 7, 8, 10],
        "player": ["Kai", "Kai", "Kai", "Kai", "Kai", "Noa"],
        "won": [True, True, False, True, True, True],
    })
    """,
)
_TRADES = """
trades = pd.DataFrame({"ticker": ["KLM", "ABB", "KLM", "DSM"], "shares": [30, 12, 5, 80]})
firms = pd.DataFrame({"ticker": ["ABB", "KLM", "UBS"], "sector": ["industry", "travel", "banking"]})
"""
_TRADES_CASES = (
    """
    trades = pd.DataFrame({"ticker": ["SAP", "BMW"], "shares": [7, 9]})
    firms = pd.DataFrame({"ticker": ["BMW", "SAP"], "sector": ["cars", "software"]})
    """,
    """
    trades = pd.DataFrame({"ticker": ["ENI", "ING", "ENI"], "shares": [1, 2, 3]})
    firms = pd.DataFrame({"ticker": ["ENI", "AXA"], "sector": ["energy", "insurance"]})
    """,
)
_QUOTED = """
trades = pd.DataFrame({"ticker": ["KLM", "ABB", "KLM"], "minute": [20, 9, 4]})
quotes = pd.DataFrame({"ticker": ["ABB", "KLM", "KLM"], "minute": [4, 17, 5], "price": [31.0, 8.4, 8.1]})
"""
_QUOTED_CASES = (
    """
    trades = pd.DataFrame({"ticker": ["SAP", "BMW", "SAP", "BMW"], "minute": [12, 3, 6, 40]})
    quotes = pd.DataFrame(
        {"ticker": ["SAP", "BMW", "SAP", "BMW"], "minute": [6, 2, 9, 34], "price": [110.0, 87.5, 111.0, 90.0]}
    )
    """,
    """
    trades = pd.DataFrame({"ticker": ["ENI", "ING"], "minute": [8, 8]})
    quotes = pd.DataFrame({"ticker": ["ENI", "ENI", "ING"], "minute": [8, 7, 9], "price": [14.5, 14.0, 12.0]})
    """,
)

ENTRIES: list[tuple[Problem, tuple[str, ...]]] = [
    (
        problem(
            problem_id=0,
            number=0,
            library="Pandas",
            question="Select the rows of `parcels` whose `weight` is greater than 10.",
            imports="import pandas as pd",
            given=_PARCELS,
            names="parcels",
            cases=_PARCELS_CASES,
            reference='result = parcels[parcels["weight"] > 10]',
            compare="frame",
            tier=1,
        ),
        (
            'result = parcels["weight"] > 10',
            'result = parcels[parcels["weight"] >= 10]',
            'result = parcels["weight"][parcels["weight"] > 10]',
        ),
    ),
    (
        problem(
            problem_id=1,
            number=1,
            library="Pandas",
            question="""
                Our courier charges extra for everything above 10 kg. From the table `parcels` (weights in
                kg) I need only the parcels that cost extra, with all their columns.
            """,
            imports="import pandas as pd",
            given=_PARCELS,
            names="parcels",
            cases=_PARCELS_CASES,
            reference='result = parcels[parcels["weight"] > 10]',
            compare="frame",
            perturbation="Surface",
            origin=0,
            tier=1,
        ),
        ('result = parcels[parcels["weight"] >= 10]', 'result = parcels.nlargest(2, "weight")', "result = parcels"),
    ),
    (
        problem(
            problem_id=2,
            number=2,
            library="Pandas",
            question="Select the rows of `parcels` whose `weight` is at most 10 (10 itself counts).",
            imports="import pandas as pd",
            given=_PARCELS,
            names="parcels",
            cases=_PARCELS_CASES,
            reference='result = parcels[parcels["weight"] <= 10]',
            compare="frame",
            perturbation="Semantic",
            origin=0,
            tier=1,
        ),
        ('result = parcels[parcels["weight"] > 10]', 'result = parcels[parcels["weight"] < 10]'),
    ),
    (
        problem(
            problem_id=3,
            number=3,
            library="Pandas",
            question="Sort `films` by `minutes` in descending order.",
            imports="import pandas as pd",
            given=_FILMS,
            names="films",
            cases=_FILMS_CASES,
            reference='result = films.sort_values("minutes", ascending=False)',
            compare="frame",
            tier=1,
        ),
        (
            'result = films.sort_values("minutes")',
            'result = films.sort_values("title", ascending=False)',
            "result = films[::-1]",
        ),
    ),
    (
        problem(
            problem_id=4,
            number=4,
            library="Pandas",
            question="Compute the sum of `units` for each `shop`, as a Series indexed by shop.",
            imports="import pandas as pd",
            given=_SALES,
            names="sales",
            cases=_SALES_CASES,
            reference='result = sales.groupby("shop")["units"].sum()',
            compare="series",
            tier=1,
        ),
        (
            'result = sales["units"].sum()',
            'result = sales.groupby("shop")["units"].count()',
            'result = sales["shop"].value_counts()',
        ),
    ),
    (
        problem(
            problem_id=5,
            number=5,
            library="Pandas",
            question="Compute the mean of `units` for each `shop`, as a Series indexed by shop.",
            imports="import pandas as pd",
            given=_SALES,
            names="sales",
            cases=_SALES_CASES,
            reference='result = sales.groupby("shop")["units"].mean()',
            compare="series",
            perturbation="Semantic",
            origin=4,
            tier=1,
        ),
        (
            'result = sales.groupby("shop")["units"].sum()',
            'result = sales.groupby("shop")["units"].median()',
            'result = sales["units"].mean()',
        ),
    ),
    (
        problem(
            problem_id=6,
            number=6,
            library="Pandas",
            question="The table `rain` has missing values. Replace all of them by 0.",
            imports="import numpy as np\nimport pandas as pd",
            given='rain = pd.DataFrame({"monday": [2.5, np.nan, 0.5], "tuesday": [np.nan, 1.0, np.nan]})',
            names="rain",
            cases=(
                'rain = pd.DataFrame({"june": [np.nan, 7.0], "july": [3.0, 4.0], "august": [5.0, np.nan]})',
                'rain = pd.DataFrame({"west": [1.0, 2.0, np.nan, 8.0]})',
            ),
            reference="result = rain.fillna(0)",
            compare="frame",
            tier=1,
        ),
        ("result = rain.dropna()", "result = rain.fillna(rain.mean())", "result = rain.isna()"),
    ),
    (
        problem(
            problem_id=7,
            number=7,
            library="Pandas",
            question="""
                Complete the function: it returns how often each value occurs in the column `party` of
                `ballots`, the most frequent one first.
            """,
            imports="import pandas as pd",
            given='ballots = pd.DataFrame({"party": ["red", "blue", "blue", "green", "red", "blue"]})',
            names="ballots",
            cases=(
                'ballots = pd.DataFrame({"party": ["moon", "sun", "sun"]})',
                'ballots = pd.DataFrame({"party": ["x", "z", "y", "z", "z", "y"], "age": [30, 41, 52, 18, 77, 65]})',
            ),
            reference='return ballots["party"].value_counts()',
            compare="series",
            function="def count_votes(ballots):",
            tier=1,
        ),
        (
            '    return ballots["party"].unique()',
            '    return ballots["party"].value_counts(ascending=True)',
            '    return ballots["party"].value_counts(normalize=True)',
        ),
    ),
    (
        problem(
            problem_id=8,
            number=8,
            library="Pandas",
            question="""
                Merge `trades` and `firms` on the column `ticker`. Keep only tickers that appear in both
                tables.
            """,
            imports="import pandas as pd",
            given=_TRADES,
            names="trades, firms",
            cases=_TRADES_CASES,
            reference='result = pd.merge(trades, firms, on="ticker")',
            compare="frame",
            tier=1,
        ),
        (
            'result = pd.merge(trades, firms, on="ticker", how="outer")',
            'result = pd.merge(trades, firms, on="ticker", how="left")',
            "result = pd.concat([trades, firms], axis=1)",
        ),
    ),
    (
        problem(
            problem_id=9,
            number=9,
            library="Pandas",
            question="""
                I plan a film night and want to see the table `films` with the longest film (`minutes`) at
                the top and the shortest at the bottom.
            """,
            imports="import pandas as pd",
            given=_FILMS,
            names="films",
            cases=_FILMS_CASES,
            reference='result = films.sort_values("minutes", ascending=False)',
            compare="frame",
            perturbation="Surface",
            origin=3,
            tier=1,
        ),
        (
            'result = films.sort_values("minutes")',
            'result = films.nlargest(1, "minutes")',
            "result = films.sort_index()",
        ),
    ),
    (
        problem(
            problem_id=10,
            number=10,
            library="Pandas",
            question="""
                Which shops sold more than the average shop did? Add up `units` per `shop`, compare every
                total with the mean of these totals, and give the names of the shops above it as a list in
                alphabetical order. Please no loops or comprehensions.
            """,
            imports="import pandas as pd",
            given=_SALES,
            names="sales",
            cases=_SALES_CASES,
            reference="""
totals = sales.groupby("shop")["units"].sum()
result = totals[totals > totals.mean()].index.tolist()
""",
            compare="sequence",
            perturbation="Difficult-Rewrite",
            origin=4,
            forbidden=("for", "while"),
            tier=2,
        ),
        (
            'result = sales[sales["units"] > sales["units"].mean()]["shop"].tolist()',
            (
                'means = sales.groupby("shop")["units"].mean()\n'
                'result = means[means > sales["units"].mean()].index.tolist()'
            ),
            (
                'totals = sales.groupby("shop")["units"].sum()\n'
                "result = [shop for shop in totals.index if totals[shop] > totals.mean()]"
            ),
        ),
    ),
    (
        problem(
            problem_id=11,
            number=11,
            library="Pandas",
            question="""
                Add a column `revenue` to `stall`, the product of `price` and `sold`. The result is the two
                rows with the largest revenue, largest first, including the new column.
            """,
            imports="import pandas as pd",
            given=_STALL,
            names="stall",
            cases=_STALL_CASES,
            reference="""
stall["revenue"] = stall["price"] * stall["sold"]
result = stall.nlargest(2, "revenue")
""",
            compare="frame",
            tier=2,
        ),
        (
            'stall["revenue"] = stall["price"] * stall["sold"]\nresult = stall.head(2)',
            'stall["revenue"] = stall["price"] * stall["sold"]\nresult = stall.nsmallest(2, "revenue")',
            'stall["revenue"] = stall["price"] + stall["sold"]\nresult = stall.nlargest(2, "revenue")',
        ),
    ),
    (
        problem(
            problem_id=12,
            number=12,
            library="Pandas",
            question="""
                `stall` lists what a piece of each fruit costs and how many pieces went over the counter. I
                am after my two best earners: their rows, the best on top, with the money they brought in as
                an extra last column named "revenue".
            """,
            imports="import pandas as pd",
            given=_STALL,
            names="stall",
            cases=_STALL_CASES,
            reference="""
stall["revenue"] = stall["price"] * stall["sold"]
result = stall.nlargest(2, "revenue")
""",
            compare="frame",
            perturbation="Surface",
            origin=11,
            tier=2,
        ),
        (
            'result = stall.nlargest(2, "sold")',
            'stall["revenue"] = stall["price"] * stall["sold"]\nresult = stall.sort_values("revenue").tail(2)',
            'result = (stall["price"] * stall["sold"]).nlargest(2)',
        ),
    ),
    (
        problem(
            problem_id=13,
            number=13,
            library="Pandas",
            question="""
                Add a column `revenue` to `stall`, the product of `price` and `sold`. The result is every row
                whose revenue is above the mean revenue, in the order of the table.
            """,
            imports="import pandas as pd",
            given=_STALL,
            names="stall",
            cases=_STALL_CASES,
            reference="""
stall["revenue"] = stall["price"] * stall["sold"]
result = stall[stall["revenue"] > stall["revenue"].mean()]
""",
            compare="frame",
            perturbation="Semantic",
            origin=11,
            tier=2,
        ),
        (
            'stall["revenue"] = stall["price"] * stall["sold"]\nresult = stall.nlargest(2, "revenue")',
            (
                'stall["revenue"] = stall["price"] * stall["sold"]\n'
                'result = stall[stall["revenue"] < stall["revenue"].mean()]'
            ),
            'result = stall[stall["price"] * stall["sold"] > stall["price"].mean() * stall["sold"].mean()]',
        ),
    ),
    (
        problem(
            problem_id=14,
            number=14,
            library="Pandas",
            question="""
                The rows of `matches` are in order of time. How long is each player's longest winning streak,
                that is, the most wins in a row without a loss of that player in between? Other players' rows
                do not interrupt a streak. I need a Series indexed by player; who never won gets 0.
            """,
            imports="import pandas as pd",
            given=_MATCHES,
            names="matches",
            cases=_MATCHES_CASES,
            reference="""
losses = (~matches["won"]).groupby(matches["player"]).cumsum()
wins = matches.groupby(["player", losses.rename("losses")])["won"].sum()
result = wins.groupby("player").max()
""",
            compare="series",
            tier=3,
        ),
        (
            'result = matches.groupby("player")["won"].sum()',
            (
                'losses = (~matches["won"]).cumsum()\n'
                'result = matches.groupby(["player", losses.rename("n")])["won"].sum().groupby("player").max()'
            ),
            (
                'losses = (~matches["won"]).groupby(matches["player"]).cumsum()\n'
                'result = matches.groupby(["player", losses.rename("n")])["won"].size().groupby("player").max()'
            ),
        ),
    ),
    (
        problem(
            problem_id=15,
            number=15,
            library="Pandas",
            question="""
                The rows of `matches` are in order of time. List every winning streak of two or more wins (a
                player's losses end a streak, other players' rows do not). Columns: `player`, `start` (day of
                the first win) and `length` (number of wins); sorted by player, then start; index from 0.
                Without loops or `apply`.
            """,
            imports="import pandas as pd",
            given=_MATCHES,
            names="matches",
            cases=_MATCHES_CASES,
            reference="""
matches["losses"] = (~matches["won"]).groupby(matches["player"]).cumsum()
wins = matches[matches["won"]].groupby(["player", "losses"])
streaks = wins.agg(start=("day", "first"), length=("day", "size")).reset_index()
result = streaks[streaks["length"] >= 2].drop(columns="losses").reset_index(drop=True)
""",
            compare="frame",
            perturbation="Difficult-Rewrite",
            origin=14,
            forbidden=("for", "while", "apply", "iterrows"),
            tier=3,
        ),
        (
            (
                'won = matches[matches["won"]].groupby("player")["day"]\n'
                'table = won.agg(["first", "size"]).reset_index().set_axis(["player", "start", "length"], axis=1)\n'
                'result = table[table["length"] >= 2].reset_index(drop=True)'
            ),
            (
                'matches["n"] = (~matches["won"]).cumsum()\n'
                'wins = matches[matches["won"]].groupby(["player", "n"])\n'
                'table = wins.agg(start=("day", "first"), length=("day", "size")).reset_index()\n'
                'result = table[table["length"] >= 2].drop(columns="n").reset_index(drop=True)'
            ),
            (
                'matches["n"] = (~matches["won"]).groupby(matches["player"]).cumsum()\n'
                'wins = matches[matches["won"]].groupby(["player", "n"])\n'
                'result = wins.agg(start=("day", "first"), length=("day", "size")).reset_index().drop(columns="n")'
            ),
        ),
    ),
    (
        problem(
            problem_id=16,
            number=16,
            library="Pandas",
            question="""
                Each row of `rentals` is a bike of a `depot` that is out from hour `start` until hour `end`
                (a bike that comes back at 11 is free for somebody who leaves at 11). For each depot, what
                is the largest number of bikes out at the same time? I need a Series indexed by depot.
                There are millions of rows, so no Python loops.
            """,
            imports="import pandas as pd",
            given="""
rentals = pd.DataFrame({
    "depot": ["quay", "quay", "park", "quay", "park", "quay"],
    "start": [8, 9, 7, 11, 10, 12],
    "end": [11, 13, 10, 14, 12, 15],
})
""",
            names="rentals",
            cases=(
                """
                rentals = pd.DataFrame(
                    {"depot": ["hill", "hill", "hill"], "start": [5, 1, 3], "end": [6, 9, 5]}
                )
                """,
                """
                rentals = pd.DataFrame({
                    "depot": ["lake", "zoo", "lake", "lake", "zoo", "lake"],
                    "start": [20, 2, 14, 15, 4, 16],
                    "end": [22, 4, 21, 21, 9, 17],
                })
                """,
            ),
            reference="""
events = pd.concat([
    rentals[["depot", "start"]].set_axis(["depot", "hour"], axis=1).assign(change=1),
    rentals[["depot", "end"]].set_axis(["depot", "hour"], axis=1).assign(change=-1),
], ignore_index=True).sort_values(["depot", "hour", "change"])
events["out"] = events.groupby("depot")["change"].cumsum()
result = events.groupby("depot")["out"].max()
""",
            compare="series",
            forbidden=("for", "while", "iterrows", "itertuples"),
            tier=3,
        ),
        (
            'result = rentals.groupby("depot").size()',
            'result = rentals.groupby(["depot", "start"]).size().groupby("depot").max()',
            (
                'out = rentals[["depot", "start"]].set_axis(["depot", "hour"], axis=1).assign(change=1)\n'
                'back = rentals[["depot", "end"]].set_axis(["depot", "hour"], axis=1).assign(change=-1)\n'
                'events = pd.concat([out, back], ignore_index=True).sort_values(["depot", "hour"])\n'
                'result = events.groupby("depot")["change"].cumsum().groupby(events["depot"]).max()'
            ),
        ),
    ),
    (
        problem(
            problem_id=17,
            number=17,
            library="Pandas",
            question="""
                For each row of `trades` I want the price of the most recent quote of the same ticker, made in
                the same minute or earlier, but at most 5 minutes old; NaN where there is none. Neither table
                is sorted. Complete the function: it returns a Series of prices in the row order of `trades`
                with index 0, 1, 2 and so on.
            """,
            imports="import pandas as pd",
            given=_QUOTED,
            names="trades, quotes",
            cases=_QUOTED_CASES,
            reference="""
left = trades.reset_index(drop=True).rename_axis("row").reset_index().sort_values("minute")
found = pd.merge_asof(left, quotes.sort_values("minute"), on="minute", by="ticker", tolerance=5)
return found.sort_values("row")["price"].reset_index(drop=True)
""",
            compare="series",
            function="def latest_price(trades, quotes):",
            perturbation="Difficult-Rewrite",
            origin=8,
            tier=3,
        ),
        (
            '    return trades.merge(quotes, on=["ticker", "minute"], how="left")["price"]',
            (
                '    left, right = trades.sort_values("minute"), quotes.sort_values("minute")\n'
                '    return pd.merge_asof(left, right, on="minute", by="ticker", tolerance=5)["price"]'
            ),
            (
                '    left = trades.rename_axis("row").reset_index().sort_values("minute")\n'
                '    found = pd.merge_asof(left, quotes.sort_values("minute"), on="minute", by="ticker")\n'
                '    return found.sort_values("row")["price"].reset_index(drop=True)'
            ),
        ),
    ),
]
