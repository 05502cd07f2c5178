"""Training tasks for scikit-learn."""

from __future__ import annotations

from random import Random

from tradeoffs.tasks.synthetic.scene import Fields, Scene, collector, literal

template, TEMPLATES = collector("Sklearn")

_NP = "import numpy as np"

# Cluster numbers and the signs of principal components are arbitrary, so answers count as equal up to those.
_CLUSTERS = """
import numpy as _np
got, want = _np.asarray(result), _np.asarray(ans)
assert got.dtype.kind in "iu", "type"
assert got.shape == want.shape, "shape"
pairs = set(zip(got.tolist(), want.tolist()))
assert len(pairs) == len(set(got.tolist())) == len(set(want.tolist())), "value"
"""
_COMPONENTS = """
import numpy as _np
got, want = _np.asarray(result), _np.asarray(ans)
assert got.dtype.kind == "f", "type"
assert got.shape == want.shape, "shape"
for one, other in zip(got.T, want.T):
    assert _np.allclose(one, other, atol=1e-6) or _np.allclose(one, -other, atol=1e-6), "value"
"""


def _from(module: str, name: str) -> tuple[str, str]:
    return _NP, f"from sklearn.{module} import {name}"


def _features(s: Scene, name: str, rows: int, columns: int = 2) -> str:
    return f"{name} = np.array({[[s.rng.randint(1, 30) for _ in range(columns)] for _ in range(rows)]})"


def _supervised(s: Scene, x: str, y: str, new: str, classes: bool) -> str:
    """Write features, a target that depends on them, and new features."""
    rng, rows = s.rng, s.rng.randint(5, 7)
    table = [[rng.randint(1, 12), rng.randint(1, 12)] for _ in range(rows - 2)] + [[1, 2], [11, 10]]
    slope, tilt = rng.randint(1, 6), rng.randint(1, 5)
    if classes:
        target = [int(first + second > 12) for first, second in table]
    else:
        target = [slope * first + tilt * second + rng.randint(-2, 2) for first, second in table]
    fresh = [[rng.randint(1, 12), rng.randint(1, 12)] for _ in range(rng.randint(2, 3))]
    return f"{x} = np.array({table})\n{y} = np.array({target})\n{new} = np.array({fresh})"


def _labels(s: Scene, truth: str, guess: str, pool: list[int]) -> str:
    count = s.rng.randint(6, 8)
    true = s.shuffled([*pool, *(s.rng.choice(pool) for _ in range(count - len(pool)))])
    guessed = [value if s.rng.random() < 0.65 else s.rng.choice(pool) for value in true]
    return f"{truth} = {true}\n{guess} = {guessed}"


def _xy(rng: Random) -> tuple[str, str, str]:
    return rng.choice(
        (
            ("X", "y", "X_new"),
            ("inputs", "target", "unseen"),
            ("features", "outcome", "fresh"),
            ("known", "seen", "asked"),
        )
    )


@template(True)
def scale(rng: Random) -> Fields:
    s = Scene(rng)
    (m,) = s.names(1)
    name, word = rng.choice(
        (
            ("StandardScaler", "zero mean and unit variance in each column"),
            ("MinMaxScaler", "a range from 0 to 1 in each column"),
            ("MaxAbsScaler", "a largest absolute value of 1 in each column"),
        )
    )
    asks = (
        f"Scale `{m}` with {name}, which gives {word}.",
        f"I want {word} for `{m}`; use {name}.",
        f"Fit a {name} on `{m}` and return the transformed array ({word}).",
    )
    return s.task(
        asks,
        lambda: s.matrix(m, rng.randint(3, 4), rng.randint(2, 3)),
        m,
        f"result = {name}().fit_transform({m})",
        "array",
        _from("preprocessing", name),
    )


@template(True)
def linear_regression(rng: Random) -> Fields:
    s = Scene(rng)
    x, y, new = _xy(rng)
    asks = (
        f"Teach a linear regression with `{x}` and `{y}`; what does it predict for `{new}`?",
        f"Fit LinearRegression (features `{x}`, targets `{y}`) and return its predictions for the rows of `{new}`.",
        f"From `{x}` and `{y}` learn a linear model, then forecast `{new}`.",
    )
    reference = f"result = LinearRegression().fit({x}, {y}).predict({new})"
    imports = _from("linear_model", "LinearRegression")
    return s.task(asks, lambda: _supervised(s, x, y, new, False), f"{x}, {y}, {new}", reference, "array", imports)


@template(True)
def logistic_regression(rng: Random) -> Fields:
    s = Scene(rng)
    x, y, new = _xy(rng)
    asks = (
        f"Classify the rows of `{new}` by a (default) logistic regression that has learned from `{x}` and `{y}`.",
        f"Train LogisticRegression on `{x}` with labels `{y}`. Which labels does it give to `{new}`?",
        f"`{y}` holds the classes of `{x}`. Predict those of `{new}` with logistic regression.",
    )
    reference = f"result = LogisticRegression().fit({x}, {y}).predict({new})"
    imports = _from("linear_model", "LogisticRegression")
    return s.task(asks, lambda: _supervised(s, x, y, new, True), f"{x}, {y}, {new}", reference, "array", imports)


@template(True)
def decision_tree(rng: Random) -> Fields:
    s = Scene(rng)
    x, y, new = _xy(rng)
    state = rng.randint(0, 30)
    asks = (
        f"Grow a DecisionTreeClassifier with random_state={state} on `{x}`, `{y}` and predict the classes of `{new}`.",
        f"What does a decision tree (random_state={state}), trained with `{x}` and labels `{y}`, say about `{new}`?",
        f"Predict the labels of `{new}` by a decision tree classifier fitted to `{x}`, `{y}`; random_state={state}.",
    )
    reference = f"result = DecisionTreeClassifier(random_state={state}).fit({x}, {y}).predict({new})"
    imports = _from("tree", "DecisionTreeClassifier")
    return s.task(asks, lambda: _supervised(s, x, y, new, True), f"{x}, {y}, {new}", reference, "array", imports)


@template(True)
def nearest_neighbours(rng: Random) -> Fields:
    s = Scene(rng)
    x, y, new = _xy(rng)
    k = rng.choice((1, 3))
    asks = (
        f"Let the {k} nearest row(s) of `{x}` vote (labels in `{y}`) on the class of each row in `{new}`.",
        f"k-nearest-neighbours with k={k}: learn `{x}`, `{y}`, then label `{new}`.",
        f"Fit KNeighborsClassifier with n_neighbors={k} to `{x}` and `{y}`. Predict `{new}`.",
    )
    reference = f"result = KNeighborsClassifier(n_neighbors={k}).fit({x}, {y}).predict({new})"
    imports = _from("neighbors", "KNeighborsClassifier")
    return s.task(asks, lambda: _supervised(s, x, y, new, True), f"{x}, {y}, {new}", reference, "array", imports)


@template(True)
def k_means(rng: Random) -> Fields:
    s = Scene(rng)
    (m,) = s.names(1)
    k, state = rng.randint(2, 3), rng.randint(0, 30)
    asks = (
        f"Find {k} clusters among the rows of `{m}` by k-means (random_state={state}, n_init=10); return the labels.",
        f"To which of {k} k-means groups does each row of `{m}` belong? Take n_init=10 and random_state={state}.",
        f"Cluster `{m}` with KMeans into {k} groups, n_init=10, random_state={state}. The row labels are wanted.",
    )

    def data() -> str:
        centers = rng.sample(((5, 5), (40, 8), (9, 60), (70, 70)), k)
        groups = [*range(k), *(rng.randrange(k) for _ in range(3))]
        rows = [[axis + rng.randint(-2, 2) for axis in centers[group]] for group in s.shuffled(groups)]
        return f"{m} = np.array({rows})"

    reference = f"result = KMeans(n_clusters={k}, n_init=10, random_state={state}).fit_predict({m})"
    return s.task(asks, data, m, reference, _CLUSTERS, _from("cluster", "KMeans"))


@template(True)
def classification_score(rng: Random) -> Fields:
    s = Scene(rng)
    truth, guess = rng.choice((("y_true", "y_pred"), ("actual", "guessed"), ("real", "claimed"), ("labels", "answers")))
    name, word = rng.choice(
        (
            ("accuracy_score", "accuracy"),
            ("precision_score", "precision"),
            ("recall_score", "recall"),
            ("f1_score", "F1 score"),
        )
    )
    asks = (
        f"How good are the predictions `{guess}` when `{truth}` is right? Report the {word}.",
        f"`{truth}` has the true classes, `{guess}` a model's. What is the {word}?",
        f"Score `{guess}` against `{truth}` by {word}.",
    )
    reference = f"result = {name}({truth}, {guess})"
    return s.task(
        asks, lambda: _labels(s, truth, guess, [0, 1]), f"{truth}, {guess}", reference, "scalar", _from("metrics", name)
    )


@template(True)
def regression_score(rng: Random) -> Fields:
    s = Scene(rng)
    truth, guess = rng.choice((("y_true", "y_pred"), ("measured", "forecast"), ("real", "estimate")))
    name, word = rng.choice(
        (
            ("mean_squared_error", "mean squared error"),
            ("mean_absolute_error", "mean absolute error"),
            ("r2_score", "coefficient of determination"),
        )
    )
    asks = (
        f"How far off is `{guess}` from `{truth}`? Give the {word}.",
        f"Judge the regression output `{guess}`; the truth is `{truth}`, the yardstick the {word}.",
        f"With `{truth}` as the truth, what {word} does `{guess}` have?",
    )

    def data() -> str:
        true = s.numbers(rng.randint(4, 6))
        return f"{truth} = {true}\n{guess} = {[round(v + rng.randint(-5, 5), 1) for v in true]}"

    reference = f"result = {name}({truth}, {guess})"
    return s.task(asks, data, f"{truth}, {guess}", reference, "scalar", _from("metrics", name))


@template(True)
def confusion(rng: Random) -> Fields:
    s = Scene(rng)
    truth, guess = rng.choice((("y_true", "y_pred"), ("actual", "guessed"), ("real", "claimed")))
    asks = (
        f"Which classes get mixed up? Build the confusion matrix, `{truth}` in rows and `{guess}` in columns.",
        f"Cross-tabulate true classes `{truth}` and predicted classes `{guess}` as a confusion matrix.",
        f"Make scikit-learn's confusion matrix of `{guess}` versus the truth `{truth}`.",
    )
    pool = rng.choice(([0, 1], [0, 1, 2], [3, 5, 8]))
    reference = f"result = confusion_matrix({truth}, {guess})"
    imports = _from("metrics", "confusion_matrix")
    return s.task(asks, lambda: _labels(s, truth, guess, pool), f"{truth}, {guess}", reference, "array", imports)


@template(True)
def label_encoder(rng: Random) -> Fields:
    s = Scene(rng)
    words = rng.choice(("labels", "names", "entries", f"{s.key}s"))
    asks = (
        f"Number the strings in `{words}` with LabelEncoder.",
        f"Replace every text of `{words}` by its class number (alphabetical, from 0).",
        f"A model wants integers, but `{words}` is a list of strings. Encode it as labels.",
    )
    reference = f"result = LabelEncoder().fit_transform({words})"

    def data() -> str:
        return f"{words} = {s.labels(s.key, rng.randint(4, 7))}"

    return s.task(asks, data, words, reference, "array", _from("preprocessing", "LabelEncoder"))


@template(True)
def one_hot_encoder(rng: Random) -> Fields:
    s = Scene(rng)
    (m,) = s.names(1)
    asks = (
        f"One-hot encode the single text column `{m}` with OneHotEncoder; I want a dense array.",
        f"Turn the categories in `{m}` to 0/1 columns (scikit-learn, dense result).",
        f"`{m}` is a column of labels. Give each label its own indicator column, as an ordinary array.",
    )
    reference = f"result = OneHotEncoder().fit_transform({m}).toarray()"

    def data() -> str:
        return f"{m} = {[[label] for label in s.labels(s.key, rng.randint(4, 5))]}"

    return s.task(asks, data, m, reference, "array", _from("preprocessing", "OneHotEncoder"))


@template(True)
def principal_components(rng: Random) -> Fields:
    s = Scene(rng)
    (m,) = s.names(1)
    k = rng.randint(1, 2)
    components = "principal component" if k == 1 else f"{k} principal components"
    asks = (
        f"Project the rows of `{m}` on the first {components}.",
        f"Compress `{m}` with PCA; keep {components}.",
        f"What does PCA make of `{m}` if it may use {components}? Return the transformed rows.",
    )
    reference = f"result = PCA(n_components={k}).fit_transform({m})"
    return s.task(
        asks, lambda: s.matrix(m, rng.randint(4, 5), 3), m, reference, _COMPONENTS, _from("decomposition", "PCA")
    )


_VERBS = ("rests", "sinks", "shines", "breaks", "returns", "waits")


@template(True)
def count_words(rng: Random) -> Fields:
    s = Scene(rng)
    texts = rng.choice(("notes", "lines", "texts", "remarks"))
    asks = (
        f"Count how often each word occurs in each of the `{texts}`, as a dense array (CountVectorizer).",
        f"Make a bag-of-words matrix of `{texts}`: a row a text, a column a word, no sparse format.",
        f"Vectorise `{texts}` by word counts with CountVectorizer and return an array.",
    )

    def data() -> str:
        sentences = [f"{rng.choice(s.groups)} {rng.choice(_VERBS)} {rng.choice(s.groups)}" for _ in range(3)]
        return f"{texts} = {sentences}"

    reference = f"result = CountVectorizer().fit_transform({texts}).toarray()"
    return s.task(asks, data, texts, reference, "array", _from("feature_extraction.text", "CountVectorizer"))


@template(True)
def impute(rng: Random) -> Fields:
    s = Scene(rng)
    (m,) = s.names(1)
    strategy = rng.choice(("mean", "median"))
    asks = (
        f"Fill the NaN cells of `{m}` with the {strategy} of their column, by SimpleImputer.",
        f"`{m}` has gaps. Let scikit-learn put the column {strategy} there.",
        f"Impute `{m}` column by column; strategy: {strategy}.",
    )

    def data() -> str:
        columns = s.gaps(4, 1), s.gaps(4, 1)
        return f"{m} = np.array({literal([list(row) for row in zip(*columns, strict=True)])})"

    reference = f"result = SimpleImputer(strategy={strategy!r}).fit_transform({m})"
    return s.task(asks, data, m, reference, "array", _from("impute", "SimpleImputer"))


@template(True)
def normalise(rng: Random) -> Fields:
    s = Scene(rng)
    (m,) = s.names(1)
    norm = rng.choice(("l1", "l2", "max"))
    asks = (
        f"Normalise each row of `{m}` by its {norm} norm with scikit-learn's `normalize`.",
        f"Call `normalize` on `{m}` so that all rows get {norm} norm 1.",
        f"Rows of `{m}` should have {norm} length one. Use sklearn.preprocessing.",
    )
    reference = f"result = normalize({m}, norm={norm!r})"
    return s.task(
        asks, lambda: s.matrix(m, rng.randint(2, 3), 3), m, reference, "array", _from("preprocessing", "normalize")
    )


@template(True)
def polynomial(rng: Random) -> Fields:
    s = Scene(rng)
    (m,) = s.names(1)
    bias = rng.random() < 0.5
    asks = (
        f"Expand the columns of `{m}` to polynomial features of degree 2{'' if bias else ', no constant column'}.",
        f"Add squares and products to `{m}`: PolynomialFeatures (degree 2{'' if bias else ', include_bias=False'}).",
        f"What are the degree-2 polynomial features of `{m}`{'' if bias else ', leaving out the column of ones'}?",
    )
    reference = f"result = PolynomialFeatures({'2' if bias else '2, include_bias=False'}).fit_transform({m})"
    return s.task(
        asks,
        lambda: _features(s, m, rng.randint(2, 3)),
        m,
        reference,
        "array",
        _from("preprocessing", "PolynomialFeatures"),
    )


@template(False)
def split(rng: Random) -> Fields:
    s = Scene(rng)
    (m,) = s.names(1)
    share, state = rng.choice((0.25, 0.3, 0.4, 0.5)), rng.randint(0, 60)
    part = rng.choice(("train", "test"))
    asks = (
        f"Split the rows of `{m}` with test_size={share} and random_state={state}; return the {part} part.",
        f"I need the {part} rows that train_test_split takes from `{m}` (test share {share}, random_state {state}).",
        f"Hold {share} of `{m}` out for testing, random_state={state}, and give me the {part} set.",
    )
    reference = f"train, test = train_test_split({m}, test_size={share}, random_state={state})\nresult = {part}"
    return s.task(
        asks,
        lambda: _features(s, m, rng.randint(5, 7)),
        m,
        reference,
        "array",
        _from("model_selection", "train_test_split"),
    )


@template(False)
def cross_validate(rng: Random) -> Fields:
    s = Scene(rng)
    x, y, _ = _xy(rng)
    folds = rng.randint(2, 3)
    asks = (
        f"Cross-validate a Ridge regression on `{x}`, `{y}` with {folds} folds; return the mean of the default scores.",
        f"What score does Ridge() reach on average in {folds}-fold cross-validation of `{x}` and `{y}`?",
        f"Average the {folds} scores that cross_val_score finds for Ridge() with `{x}` and `{y}`.",
    )

    def data() -> str:
        return _supervised(s, x, y, "unused", False).rpartition("\n")[0]

    imports = (*_from("linear_model", "Ridge"), "from sklearn.model_selection import cross_val_score")
    reference = f"scores = cross_val_score(Ridge(), {x}, {y}, cv={folds})\nresult = scores.mean()"
    return s.task(asks, data, f"{x}, {y}", reference, "scalar", imports)


@template(False)
def coefficients(rng: Random) -> Fields:
    s = Scene(rng)
    x, y, new = _xy(rng)
    name, part = rng.choice((("LinearRegression", "coef_"), ("LinearRegression", "intercept_"), ("Ridge", "coef_")))
    what = "slopes" if part == "coef_" else "intercept"
    asks = (
        f"Fit {name} to `{x}` and `{y}`, and return the {what} it found.",
        f"Which {what} does {name} learn from the features `{x}` and the targets `{y}`?",
        f"I want the {what} of a {name} model for `{y}` given `{x}`.",
    )

    def data() -> str:
        return _supervised(s, x, y, new, False).rpartition("\n")[0]

    reference = f"model = {name}().fit({x}, {y})\nresult = model.{part}"
    return s.task(asks, data, f"{x}, {y}", reference, "array", _from("linear_model", name))


@template(False)
def probabilities(rng: Random) -> Fields:
    s = Scene(rng)
    x, y, new = _xy(rng)
    asks = (
        f"How sure is a logistic regression (from `{x}`, `{y}`) that rows of `{new}` are class 1? Give probabilities.",
        f"Train LogisticRegression on `{x}` and `{y}`; of `{new}`, give the probability of class 1 (1-D).",
        f"Probability of the class 1 for every row in `{new}`, by logistic regression with `{x}` and `{y}`.",
    )
    reference = f"model = LogisticRegression().fit({x}, {y})\nresult = model.predict_proba({new})[:, 1]"
    compare = (
        "import numpy as _np\ngot = _np.asarray(result)\nassert got.dtype.kind == 'f', 'type'\n"
        "assert got.shape == ans.shape, 'shape'\nassert _np.allclose(got, ans, atol=1e-3), 'value'"
    )
    imports = _from("linear_model", "LogisticRegression")
    return s.task(asks, lambda: _supervised(s, x, y, new, True), f"{x}, {y}, {new}", reference, compare, imports)


@template(False)
def scale_new_rows(rng: Random) -> Fields:
    s = Scene(rng)
    old, new = rng.choice((("train", "test"), ("past", "present"), ("first_batch", "next_batch")))
    name = rng.choice(("StandardScaler", "MinMaxScaler"))
    asks = (
        f"Learn a {name} from `{old}` alone, then return `{new}` scaled by it.",
        f"Scale `{new}` with the parameters that {name} takes from `{old}`.",
        f"`{new}` must be transformed by a {name} that has only seen `{old}`.",
    )

    def data() -> str:
        return s.matrix(old, 4, 2) + "\n" + s.matrix(new, 2, 2)

    reference = f"scaler = {name}().fit({old})\nresult = scaler.transform({new})"
    return s.task(asks, data, f"{old}, {new}", reference, "array", _from("preprocessing", name))


@template(False)
def cluster_inertia(rng: Random) -> Fields:
    s = Scene(rng)
    (m,) = s.names(1)
    state = rng.randint(0, 30)
    asks = (
        f"Run KMeans with 2 clusters on `{m}` (n_init=10, random_state={state}) and return the inertia.",
        f"How tight are two k-means clusters of `{m}`? Return the inertia; n_init=10, random_state={state}.",
        f"Group `{m}` by 2-means, random_state={state}, n_init=10. The model's inertia is what I need.",
    )

    def data() -> str:
        rows = [[low + rng.randint(0, 9), low + rng.randint(0, 9)] for low in s.shuffled([5, 5, 5, 60, 60])]
        return f"{m} = np.array({rows})"

    reference = f"model = KMeans(n_clusters=2, n_init=10, random_state={state}).fit({m})\nresult = model.inertia_"
    return s.task(asks, data, m, reference, "scalar", _from("cluster", "KMeans"))


@template(False)
def roc_area(rng: Random) -> Fields:
    s = Scene(rng)
    truth, score = rng.choice((("truth", "score"), ("is_sold", "chance"), ("relevant", "points")))
    asks = (
        f"`{truth}` is 0 or 1, `{score}` a model's confidence. Return the area under the ROC curve, to 2 decimals.",
        f"How well does `{score}` separate the classes in `{truth}`? ROC AUC with 2 decimals.",
        f"Compute the ROC AUC of `{score}` for the labels `{truth}` and round it to two decimals.",
    )

    def data() -> str:
        labels = s.shuffled([0, 0, 1, 1, rng.randint(0, 1), rng.randint(0, 1)])
        return f"{truth} = {labels}\n{score} = {[v / 100 for v in rng.sample(range(5, 99), 6)]}"

    reference = f"area = roc_auc_score({truth}, {score})\nresult = round(area, 2)"
    return s.task(asks, data, f"{truth}, {score}", reference, "scalar", _from("metrics", "roc_auc_score"))
