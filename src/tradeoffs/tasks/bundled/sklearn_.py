"""Evaluation problems for scikit-learn: scaling, metrics, linear fits, clusters, pipelines and text weights.

Each entry pairs a problem with answers that look right and must fail, so that a test can show that the grading program
tells them apart. Tier 1 problems are one common call; tier 2 combines two or three; tier 3 needs a pipeline,
out-of-fold predictions or sparse text weights.
"""

from __future__ import annotations

from tradeoffs.tasks.format import Problem, problem

_FLATS = "flats = np.array([[35.0, 1.0, 620.0], [58.0, 2.0, 815.0], [77.0, 3.0, 1190.0], [102.0, 5.0, 1420.0]])"
_FLATS_CASES = (
    "flats = np.array([[-2.0, 8.0], [4.0, 8.5], [7.0, -1.0]])",
    "flats = np.array([[1.0], [10.0], [100.0], [1000.0], [-50.0]])",
)
_WEATHER = """
seen = ["dry", "rain", "rain", "snow", "dry", "rain"]
told = ["dry", "rain", "snow", "snow", "rain", "rain"]
"""
_WEATHER_CASES = (
    'seen = ["a", "b", "b", "a"]\ntold = ["b", "b", "b", "a"]',
    'seen = ["u", "v", "w", "w", "w"]\ntold = ["w", "w", "w", "u", "w"]',
)
_KILNS = """
heat = np.array([[610.0], [655.0], [700.0], [760.0], [790.0]])
shrink = np.array([2.1, 2.8, 3.0, 4.2, 4.3])
fresh = np.array([[640.0], [820.0]])
"""
_KILNS_CASES = (
    """
    heat = np.array([[1.0, 2.0], [2.0, 0.5], [4.0, 4.0], [3.0, 7.0]])
    shrink = np.array([5.0, -1.0, 6.5, 9.0])
    fresh = np.array([[0.0, 0.0], [1.0, 1.0], [5.0, 2.0]])
    """,
    """
    heat = np.array([[0.0], [1.0], [2.0]])
    shrink = np.array([4.0, 2.5, -1.0])
    fresh = np.array([[10.0]])
    """,
)
_CALLS = """
wait = np.array([1.0, 2.5, 4.0, 6.0, 9.0])
anger = np.array([2.0, 2.2, 3.9, 5.0, 8.4])
"""
_CALLS_CASES = (
    "wait = np.array([0.0, 1.0, 3.0])\nanger = np.array([7.0, 4.0, -3.5])",
    "wait = np.array([10.0, 20.0, 30.0, 50.0])\nanger = np.array([1.0, 1.0, 2.0, 1.5])",
)
_STALLS = "stalls = np.array([[0, 1], [9, 9], [1, 0], [0, 0], [8, 9], [20, -5], [1, 1], [9, 8], [21, -6]])\nk = 3"
_STALLS_CASES = (
    "stalls = np.array([[0.0], [0.2], [50.0], [0.1], [51.0], [0.3]])\nk = 2",
    "stalls = np.array([[5, 5], [90, 0], [5, 6], [-70, 3], [91, 1], [6, 5], [0, 400], [5, 4]])\nk = 4",
)
_BLOOD = "markers, ill = make_classification(n_samples=60, n_features=5, flip_y=0.25, random_state=11)"
_BLOOD_CASES = (
    "markers, ill = make_classification(n_samples=90, n_features=4, flip_y=0.3, random_state=5)",
    "markers, ill = make_classification(n_samples=72, n_features=6, flip_y=0.2, random_state=29)",
)
_PROBES = """
old = np.array([[1.0, np.nan], [3.0, 40.0], [np.nan, 10.0], [8.0, 22.0], [9.0, 30.0]])
new = np.array([[np.nan, 15.0], [6.0, np.nan]])
"""
_PROBES_CASES = (
    """
    old = np.array([[0.0], [1.0], [np.nan], [7.0]])
    new = np.array([[np.nan], [3.0], [-4.0]])
    """,
    """
    old = np.array([[2.0, np.nan, 1.0], [np.nan, 5.0, 1.5], [4.0, 9.0, 9.0], [11.0, 6.0, np.nan]])
    new = np.array([[1.0, np.nan, np.nan], [np.nan, 2.0, 3.0], [0.0, 0.0, 0.0]])
    """,
)
_WELLS = "depth, flow = make_regression(n_samples=40, n_features=3, noise=9.0, random_state=8)"
_WELLS_CASES = (
    "depth, flow = make_regression(n_samples=33, n_features=2, noise=20.0, random_state=2)",
    "depth, flow = make_regression(n_samples=50, n_features=6, noise=4.0, random_state=17)",
)
_NOTES = 'notes = ["pump leaks pump", "leaks near door", "paint door paint door paint"]'
_NOTES_CASES = (
    'notes = ["owl owl hawk", "hawk crow hawk crow crow", "hawk owl tern"]',
    'notes = ["tea tea tea milk", "milk scone milk"]',
)

ENTRIES: list[tuple[Problem, tuple[str, ...]]] = [
    (
        problem(
            problem_id=300,
            number=0,
            library="Sklearn",
            question="Standardize the columns of `flats` with StandardScaler and return the scaled array.",
            imports="from sklearn.preprocessing import StandardScaler\nimport numpy as np",
            given=_FLATS,
            names="flats",
            cases=_FLATS_CASES,
            reference="result = StandardScaler().fit_transform(flats)",
            compare="array",
            tier=1,
        ),
        (
            "result = StandardScaler().fit(flats)",
            "result = flats - flats.mean(axis=0)",
            "result = (flats - flats.mean(axis=0)) / flats.std(axis=0, ddof=1)",
            "result = (flats - flats.mean()) / flats.std()",
        ),
    ),
    (
        problem(
            problem_id=301,
            number=1,
            library="Sklearn",
            question="Scale every column of `flats` to the range from 0 to 1 with MinMaxScaler.",
            imports="from sklearn.preprocessing import MinMaxScaler\nimport numpy as np",
            given=_FLATS,
            names="flats",
            cases=_FLATS_CASES,
            reference="result = MinMaxScaler().fit_transform(flats)",
            compare="array",
            perturbation="Semantic",
            origin=0,
            tier=1,
        ),
        (
            "result = flats / flats.max(axis=0)",
            "result = MinMaxScaler().fit(flats)",
            "result = (flats - flats.min()) / (flats.max() - flats.min())",
        ),
    ),
    (
        problem(
            problem_id=302,
            number=2,
            library="Sklearn",
            question="`seen` holds the true labels and `told` the predicted ones. Compute the accuracy.",
            imports="from sklearn.metrics import accuracy_score",
            given=_WEATHER,
            names="seen, told",
            cases=_WEATHER_CASES,
            reference="result = accuracy_score(seen, told)",
            compare="scalar",
            tier=1,
        ),
        (
            "result = accuracy_score(seen, told, normalize=False)",
            "result = 1 - accuracy_score(seen, told)",
            "result = accuracy_score(seen, seen)",
        ),
    ),
    (
        problem(
            problem_id=303,
            number=3,
            library="Sklearn",
            question="""
                `seen` holds the true labels and `told` the predicted ones. Compute the confusion matrix, with the
                true labels as its rows.
            """,
            imports="from sklearn.metrics import confusion_matrix",
            given=_WEATHER,
            names="seen, told",
            cases=_WEATHER_CASES,
            reference="result = confusion_matrix(seen, told)",
            compare="array",
            perturbation="Semantic",
            origin=2,
            tier=1,
        ),
        (
            "result = confusion_matrix(told, seen)",
            'result = confusion_matrix(seen, told, normalize="true")',
            "result = [s == t for s, t in zip(seen, told)]",
        ),
    ),
    (
        problem(
            problem_id=304,
            number=4,
            library="Sklearn",
            question="Fit a LinearRegression on `heat` and `shrink`, then predict for `fresh`.",
            imports="from sklearn.linear_model import LinearRegression\nimport numpy as np",
            given=_KILNS,
            names="heat, shrink, fresh",
            cases=_KILNS_CASES,
            reference="result = LinearRegression().fit(heat, shrink).predict(fresh)",
            compare="array",
            tier=1,
        ),
        (
            "result = LinearRegression().fit(heat, shrink).predict(heat)",
            "result = LinearRegression(fit_intercept=False).fit(heat, shrink).predict(fresh)",
            "result = LinearRegression().fit(heat, shrink).coef_",
            "result = LinearRegression().fit(heat, shrink)",
        ),
    ),
    (
        problem(
            problem_id=305,
            number=5,
            library="Sklearn",
            question="""
                Our kiln log has one firing per row of `heat`, and `shrink` tells how much the clay shrank. With an
                ordinary least squares model (LinearRegression), what shrinkage do we expect for the firings in `fresh`?
            """,
            imports="from sklearn.linear_model import LinearRegression\nimport numpy as np",
            given=_KILNS,
            names="heat, shrink, fresh",
            cases=_KILNS_CASES,
            reference="result = LinearRegression().fit(heat, shrink).predict(fresh)",
            compare="array",
            perturbation="Surface",
            origin=4,
            tier=1,
        ),
        (
            "result = LinearRegression().fit(heat, shrink).predict(heat)",
            "result = np.full(len(fresh), shrink.mean())",
            "result = LinearRegression(fit_intercept=False).fit(heat, shrink).predict(fresh)",
        ),
    ),
    (
        problem(
            problem_id=306,
            number=6,
            library="Sklearn",
            question="""
                Fit a straight line of `anger` on `wait` (both 1-D arrays) with LinearRegression. Return its slope and
                its intercept as a tuple of two floats.
            """,
            imports="from sklearn.linear_model import LinearRegression\nimport numpy as np",
            given=_CALLS,
            names="wait, anger",
            cases=_CALLS_CASES,
            function="def fitted_line(wait, anger):",
            reference="""
                model = LinearRegression().fit(wait.reshape(-1, 1), anger)
                return float(model.coef_[0]), float(model.intercept_)
            """,
            compare="array",
            perturbation="Semantic",
            origin=4,
            tier=2,
        ),
        (
            "    model = LinearRegression().fit(wait, anger)\n    return model.coef_[0], model.intercept_\n",
            "    model = LinearRegression().fit(wait[:, None], anger)\n    return model.intercept_, model.coef_[0]\n",
            "    model = LinearRegression().fit(wait[:, None], anger)\n    return model.coef_, model.intercept_\n",
            "    model = LinearRegression().fit(anger[:, None], wait)\n    return model.coef_[0], model.intercept_\n",
        ),
    ),
    (
        problem(
            problem_id=307,
            number=7,
            library="Sklearn",
            question="""
                Group the rows of `stalls` into `k` clusters with KMeans (random_state=0, n_init=10). How many rows does
                each cluster hold? Return the counts as an array in increasing order.
            """,
            imports="from sklearn.cluster import KMeans\nimport numpy as np",
            given=_STALLS,
            names="stalls, k",
            cases=_STALLS_CASES,
            reference="""
                labels = KMeans(n_clusters=k, random_state=0, n_init=10).fit_predict(stalls)
                result = np.sort(np.bincount(labels))
            """,
            compare="array",
            required=("KMeans",),
            tier=2,
        ),
        (
            "result = KMeans(n_clusters=k, random_state=0, n_init=10).fit_predict(stalls)",
            (
                "labels = KMeans(n_clusters=k, random_state=0, n_init=10).fit_predict(stalls)\n"
                "result = np.sort(np.bincount(labels))[::-1]"
            ),
            "labels = KMeans(n_clusters=k, random_state=0, n_init=10).fit_predict(stalls)\nresult = np.unique(labels)",
            (
                "from sklearn.cluster import AgglomerativeClustering\n"
                "labels = AgglomerativeClustering(k).fit_predict(stalls)\nresult = np.sort(np.bincount(labels))"
            ),
        ),
    ),
    (
        problem(
            problem_id=308,
            number=8,
            library="Sklearn",
            question="""
                Split `markers` and `ill` with train_test_split (a quarter for the test, random_state=3), fit a
                DecisionTreeClassifier (max_depth=2, random_state=3) on the training part, and give its accuracy on the
                test part.
            """,
            imports="""
                from sklearn.tree import DecisionTreeClassifier
                from sklearn.model_selection import train_test_split
                from sklearn.datasets import make_classification
            """,
            given=_BLOOD,
            names="markers, ill",
            cases=_BLOOD_CASES,
            reference="""
                a, b, c, d = train_test_split(markers, ill, test_size=0.25, random_state=3)
                result = DecisionTreeClassifier(max_depth=2, random_state=3).fit(a, c).score(b, d)
            """,
            compare="scalar",
            tier=2,
        ),
        (
            (
                "a, b, c, d = train_test_split(markers, ill, test_size=0.25, random_state=3)\n"
                "result = DecisionTreeClassifier(max_depth=2, random_state=3).fit(a, c).score(a, c)"
            ),
            "result = DecisionTreeClassifier(max_depth=2, random_state=3).fit(markers, ill).score(markers, ill)",
            (
                "a, b, c, d = train_test_split(markers, ill, test_size=0.25, random_state=3)\n"
                "result = DecisionTreeClassifier(max_depth=2, random_state=3).fit(a, c).predict(b)"
            ),
        ),
    ),
    (
        problem(
            problem_id=309,
            number=9,
            library="Sklearn",
            question="""
                Both arrays have gaps (NaN). Fill each gap with the median of its column in `old`, then standardize,
                with means and deviations learned from the filled `old` only. Return the transformed `new`. Build it
                with make_pipeline, without a for loop.
            """,
            imports="""
                from sklearn.pipeline import make_pipeline
                from sklearn.preprocessing import StandardScaler
                from sklearn.impute import SimpleImputer
                import numpy as np
            """,
            given=_PROBES,
            names="old, new",
            cases=_PROBES_CASES,
            reference="""
                steps = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
                result = steps.fit(old).transform(new)
            """,
            compare="array",
            perturbation="Difficult-Rewrite",
            origin=0,
            required=("make_pipeline",),
            forbidden=("for",),
            tier=3,
        ),
        (
            "result = make_pipeline(SimpleImputer(), StandardScaler()).fit(old).transform(new)",
            'result = make_pipeline(SimpleImputer(strategy="median"), StandardScaler()).fit_transform(new)',
            'result = make_pipeline(StandardScaler(), SimpleImputer(strategy="median")).fit(old).transform(new)',
            (
                'fill = SimpleImputer(strategy="median").fit(old)\n'
                "result = StandardScaler().fit(fill.transform(old)).transform(fill.transform(new))"
            ),
        ),
    ),
    (
        problem(
            problem_id=310,
            number=10,
            library="Sklearn",
            question="""
                Predict each `flow` by a Ridge model (alpha=2.0) that was not trained on it: five folds, shuffled with
                random_state=1. Return the root mean squared error of these 'unseen' predictions over all samples.
            """,
            imports="""
                from sklearn.model_selection import KFold, cross_val_predict
                from sklearn.linear_model import Ridge
                from sklearn.datasets import make_regression
                import numpy as np
            """,
            given=_WELLS,
            names="depth, flow",
            cases=_WELLS_CASES,
            reference="""
                folds = KFold(n_splits=5, shuffle=True, random_state=1)
                unseen = cross_val_predict(Ridge(alpha=2.0), depth, flow, cv=folds)
                result = float(np.sqrt(np.mean((flow - unseen) ** 2)))
            """,
            compare="scalar",
            perturbation="Difficult-Rewrite",
            origin=4,
            tier=3,
        ),
        (
            "result = np.sqrt(np.mean((flow - cross_val_predict(Ridge(alpha=2.0), depth, flow, cv=5)) ** 2))",
            "result = np.sqrt(np.mean((flow - Ridge(alpha=2.0).fit(depth, flow).predict(depth)) ** 2))",
            (
                "folds = KFold(n_splits=5, shuffle=True, random_state=1)\n"
                "result = np.mean((flow - cross_val_predict(Ridge(alpha=2.0), depth, flow, cv=folds)) ** 2)"
            ),
            (
                "from sklearn.model_selection import cross_val_score\n"
                "folds = KFold(n_splits=5, shuffle=True, random_state=1)\n"
                'score = "neg_root_mean_squared_error"\n'
                "result = -cross_val_score(Ridge(alpha=2.0), depth, flow, cv=folds, scoring=score).mean()"
            ),
        ),
    ),
    (
        problem(
            problem_id=311,
            number=11,
            library="Sklearn",
            question="""
                Which word has the greatest tf-idf weight in each text? Use TfidfVectorizer with its default settings
                and return a list with one word per text.
            """,
            imports="from sklearn.feature_extraction.text import TfidfVectorizer\nimport numpy as np",
            given=_NOTES,
            names="notes",
            cases=_NOTES_CASES,
            function="def key_words(notes):",
            reference="""
                vectorizer = TfidfVectorizer()
                weights = vectorizer.fit_transform(notes).toarray()
                return list(vectorizer.get_feature_names_out()[weights.argmax(axis=1)])
            """,
            compare="sequence",
            required=("TfidfVectorizer",),
            tier=3,
        ),
        (
            "    return list(TfidfVectorizer().fit(notes).get_feature_names_out())\n",
            "    return [max(n.split(), key=n.split().count) for n in notes]\n",
            "    weights = TfidfVectorizer().fit_transform(notes).toarray()\n    return list(weights.argmax(axis=1))\n",
            (
                "    v = TfidfVectorizer(use_idf=False)\n    w = v.fit_transform(notes).toarray()\n"
                "    return list(v.get_feature_names_out()[w.argmax(axis=1)])\n"
            ),
        ),
    ),
]
