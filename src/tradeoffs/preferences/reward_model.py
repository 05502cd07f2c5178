"""Two small reward models for text, each a linear head f -> W f + b on the frozen model's features.

The features f(x, y) are the mean last hidden state of the response's tokens, given its prompt.

- `bradley-terry`: P(a preferred to b) = sigmoid(r(a) - r(b)). With a frozen backbone the maximum likelihood fit is a logistic regression
  on differences of features, without intercept. One attribute, helpfulness: 100 sigmoid of the score, standardised over the training
  responses.
- `attributes`: regression of ratings from 0 to 100, an attribute each (`tradeoffs.preferences.attributes`).

Either learns from pairs or ratings given by the user, or from the project's own instruction/answer pairs: each answer against one of four
ways of being worse, an answer to something else, one that breaks off, one that repeats itself, and one whose words are out of order.

Source: Bradley-Terry as in section 1.2 of the RLHFlow guidebook; regression of several attributes as in DPA, arXiv 2402.18571.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import random
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tradeoffs.inference.engine import pad_left
from tradeoffs.models import Policy, cache_folder, load
from tradeoffs.preferences.attributes import fit_attributes
from tradeoffs.preferences.data import Ratings, identify, read_pairs, read_ratings
from tradeoffs.preferences.rewards import verbosity
from tradeoffs.progress import bar
from tradeoffs.records import digest, write_text
from tradeoffs.tasks import general
from tradeoffs.tasks.prompts import Question, answer_ids, general_messages

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

VERSION = 3
KINDS = ("bradley-terry", "attributes")
PENALTY = 0.01  # of the logistic regression: sklearn's C, the inverse of a penalty
FORMS = 1
HELD_OUT = 0.1  # share of prompts of the user's data
BATCH_TOKENS = 16384  # padding included; bounds memory where texts are long

# What the project's own answers and their spoilt forms are worth: (helpfulness, coherence).
WORTH = {
    "good": (90.0, 90.0),
    "breaks off": (50.0, 50.0),
    "repeats": (30.0, 30.0),
    "out of order": (10.0, 10.0),
    "other": (10.0, 90.0),  # an answer to something else is coherent
}


class RewardModel(NamedTuple):
    """A fitted head.

    Attributes:
        kind: one of `KINDS`.
        attributes: names, in the order of `weights`, shape (attributes, hidden), and `bias`, shape (attributes,).
        accuracy: share of held-out pairs ranked right: pairs as such, or responses to one prompt of different helpfulness; None where
            there are none. `pairs`: how many.
        correlations: Pearson's r on held-out ratings, for each attribute (None where it is not defined); empty for `bradley-terry`.
        data: what it was fitted on, as `tradeoffs.preferences.data.identify` says; "" for the project's own.
        left_out: rows not fitted or tested on, and why; `too long` for the backbone's context.
        longer: share of those held-out pairs whose better response has more characters, an equal length counting half: what a judge of
            length alone would reach. A reward model that does no better may have learnt nothing else.
    """

    kind: str
    attributes: tuple[str, ...]
    weights: list[list[float]]
    bias: list[float]
    accuracy: float | None
    pairs: int
    correlations: dict[str, float | None]
    data: str
    left_out: dict[str, int]
    longer: float | None = None

    def rate(self, features: NDArray[np.float64], attributes: Sequence[str]) -> NDArray[np.float64]:
        """Rate responses from 0 to 100.

        Args:
            features: shape (n, hidden).
            attributes: which, in this order.

        Returns:
            Shape (n, attributes).

        Raises:
            ValueError: an attribute was not fitted.
        """
        import numpy as np
        from scipy.special import expit

        self.check(attributes)
        chosen = np.array([self.attributes.index(name) for name in attributes], dtype=int)
        raw = features @ np.asarray(self.weights)[chosen].T + np.asarray(self.bias)[chosen]
        return np.asarray(100.0 * expit(raw) if self.kind == "bradley-terry" else np.clip(raw, 0.0, 100.0))

    def check(self, attributes: Sequence[str]) -> None:
        """See that it rates these.

        Raises:
            ValueError: an attribute was not fitted.
        """
        for name in attributes:
            if name not in self.attributes:
                raise ValueError(
                    f"attributes: got {name!r}; this reward model ({self.kind}) accepts {', '.join(self.attributes)}"
                )

    def summary(self) -> dict[str, Any]:
        """What a record says of it: everything but weights and bias."""
        found = {name: value for name, value in self._asdict().items() if name not in ("weights", "bias")}
        return found | {"attributes": list(self.attributes)}  # as JSON gives it back


def _spoil(rows: Sequence[dict[str, str]], seed: int) -> list[tuple[str, str, str, str]]:
    """See `spoil`; the fourth is the spoilt answer's key in `WORTH`."""
    rng = random.Random(f"spoil/{seed}")
    pairs = []
    for i, row in enumerate(rows):
        words = row["response"].split()
        other = rows[(i + rng.randrange(1, len(rows))) % len(rows)]["response"]
        phrase = " ".join(words[: max(3, len(words) // 3)])
        spoilt = [
            ("other", other),
            ("breaks off", " ".join(words[: max(1, len(words) // 2)])),
            ("repeats", " ".join([phrase] * 3)),
            ("out of order", " ".join(rng.sample(words, len(words)))),
        ]
        chosen = rng.sample([(form, bad) for form, bad in spoilt if bad != row["response"]], FORMS)
        pairs += [(row["prompt"], row["response"], bad, form) for form, bad in chosen]
    return pairs


def spoil(rows: Sequence[dict[str, str]], seed: int) -> list[tuple[str, str, str]]:
    """Pairs (prompt, preferred, spoilt): each answer against `FORMS` of its four spoilt forms, drawn at random."""
    return [(prompt, good, bad) for prompt, good, bad, _ in _spoil(rows, seed)]


def _encode(policy: Policy, texts: Sequence[tuple[Question, str]]) -> list[tuple[list[int], list[int]]]:
    """Token ids of each prompt, and of each response with its stop token."""
    tokenizer = policy.tokenizer
    rows = []
    for question, response in texts:
        head: Any = tokenizer.apply_chat_template(
            general_messages(question), add_generation_prompt=True, return_dict=False
        )
        rows.append((list(head), [*answer_ids(tokenizer, response), tokenizer.eos_token_id]))
    return rows


def _hidden(policy: Policy, rows: Sequence[tuple[list[int], list[int]]], batch_size: int) -> NDArray[np.float64]:
    """`features` of token ids."""
    import numpy as np
    import torch

    model, tokenizer = policy
    lengths = [len(head) + len(tail) for head, tail in rows]
    order = sorted(range(len(rows)), key=lambda i: -lengths[i])
    found = np.zeros((len(rows), model.config.get_text_config().hidden_size))
    with torch.inference_mode(), bar(total=len(rows), what="reward features", unit="text") as progress:
        while order:
            fitting = max(1, min(batch_size, BATCH_TOKENS // lengths[order[0]]))
            chosen, order = order[:fitting], order[fitting:]
            ids, mask = pad_left([rows[i][0] + rows[i][1] for i in chosen], tokenizer.pad_token_id, model.device)
            hidden = model.base_model(input_ids=ids, attention_mask=mask).last_hidden_state.float()
            for row, i in enumerate(chosen):
                found[i] = hidden[row, -len(rows[i][1]) :].mean(0).cpu().numpy()
            progress.update(len(chosen))
    return found


def features(policy: Policy, texts: Sequence[tuple[Question, str]], batch_size: int = 16) -> NDArray[np.float64]:
    """Mean last hidden state over the response's tokens.

    Args:
        policy: the frozen backbone.
        texts: (prompt, response) pairs; an empty response counts as its stop token. A prompt may be messages.
        batch_size: texts at a time; fewer where they are long.

    Returns:
        Array of shape (len(texts), hidden). Nothing is cut, whatever the backbone's context.
    """
    return _hidden(policy, _encode(policy, texts), batch_size)


def _fitting_features(
    policy: Policy, texts: Sequence[tuple[Question, str]]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Features of texts that stay within the backbone's context, each computed once.

    Returns:
        Features, shape (fitting, hidden), and each text's row there, shape (texts,); -1 for one that is too long.
    """
    import numpy as np

    keys = [json.dumps(text) for text in texts]
    unique = dict(sorted(zip(keys, texts, strict=True)))
    encoded = _encode(policy, list(unique.values()))
    context = getattr(policy.model.config.get_text_config(), "max_position_embeddings", None) or float("inf")
    fits = {key: row for key, row in zip(unique, encoded, strict=True) if len(row[0]) + len(row[1]) <= context}
    place = {key: i for i, key in enumerate(fits)}
    return _hidden(policy, list(fits.values()), 16), np.array([place.get(key, -1) for key in keys], dtype=int)


def hold_out(questions: Sequence[Question]) -> NDArray[np.bool_]:
    """Choose the prompts to test on: a tenth, at least one, by the hash of the prompt, so that both sides never share one.

    Returns:
        Shape (questions,); true where held out.

    Raises:
        ValueError: fewer than two different prompts.
    """
    import numpy as np

    keys = [json.dumps(question) for question in questions]
    order = sorted(set(keys), key=lambda key: hashlib.sha256(key.encode()).digest())
    if len(order) < 2:
        raise ValueError(
            f"data: got {len(order)} prompt{'s' * (len(order) != 1)} within the model's context; accepts at least 2 different ones, "
            "to learn from and to test on"
        )
    kept = set(order[: max(1, round(HELD_OUT * len(order)))])
    return np.array([key in kept for key in keys])


def bradley_terry(
    good: NDArray[np.float64],
    bad: NDArray[np.float64],
    held_out: NDArray[np.bool_],
    seed: int = 0,
    shuffled: bool = False,
) -> tuple[NDArray[np.float64], float, float | None]:
    """Fit a scalar head to pairs.

    Args:
        good, bad: features of preferred and other responses, shape (pairs, hidden).
        held_out: pairs to test on, shape (pairs,).
        seed, shuffled: learn from labels of which a random half is the wrong way round, as a control.

    Returns:
        Weights, shape (hidden,), and bias of the score, standardised over the training responses; accuracy on the held-out pairs, None
        where there are none.
    """
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    learn = ~held_out
    responses = np.concatenate([good[learn], bad[learn]])
    spread = responses.std(0) + 1e-9
    known = (good[learn] - bad[learn]) / spread
    if shuffled:
        # Half and half exactly: what all pairs have in common would else be learnt from the larger half.
        known *= np.random.default_rng(seed).permutation(np.arange(len(known)) % 2 * 2 - 1)[:, None]
    logistic = LogisticRegression(C=PENALTY, fit_intercept=False, max_iter=2000)
    logistic.fit(np.concatenate([known, -known]), np.repeat([1, 0], len(known)))
    weights = logistic.coef_[0] / spread
    scores = responses @ weights
    scale = float(scores.std()) or 1.0
    right = (good[held_out] - bad[held_out]) @ weights > 0
    return weights / scale, -float(scores.mean()) / scale, float(right.mean()) if len(right) else None


def _fit_pairs(policy: Policy, data: str, seed: int, shuffled: bool, limit: int | None) -> RewardModel:
    import numpy as np

    pairs: list[tuple[Question, str, str]] = []
    left_out: dict[str, int] = {}
    if data:
        read, left_out = read_pairs(data, limit, "reward_data")
        pairs += read
    else:
        train, test = general.split(general.load())
        pairs += spoil(train, seed)
        learn = len(pairs)
        pairs += spoil(test, seed + 1)
    found, place = _fitting_features(policy, [(p, answer) for p, good, bad in pairs for answer in (good, bad)])
    good, bad = place[::2], place[1::2]
    fits = np.flatnonzero((good >= 0) & (bad >= 0))
    held_out = hold_out([pairs[i][0] for i in fits]) if data else fits >= learn
    weights, bias, accuracy = bradley_terry(found[good[fits]], found[bad[fits]], held_out, seed, shuffled)
    tested = [pairs[i] for i in fits[held_out]]
    return RewardModel(
        "bradley-terry",
        ("helpfulness",),
        [weights.tolist()],
        [bias],
        accuracy,
        int(held_out.sum()),
        {},
        identify(data),
        left_out | {"too long": len(pairs) - len(fits)},
        _longer([(len(better), len(worse)) for _, better, worse in tested]),
    )


def _longer(lengths: Sequence[tuple[int, int]]) -> float | None:
    """Of pairs of lengths, the better response's first, in how many it is the longer one; equal ones count half."""
    if not lengths:
        return None
    return sum((better > worse) + 0.5 * (better == worse) for better, worse in lengths) / len(lengths)


def own_ratings(policy: Policy, seed: int) -> tuple[Ratings, NDArray[np.bool_]]:
    """Ratings of the project's own answers and their spoilt forms, by construction; and which are held out, as in `spoil`'s pairs.

    Verbosity is the response's length relative to the good answer's, so it is known of any text.
    """
    import numpy as np

    def tokens(text: str) -> int:
        return len(answer_ids(policy.tokenizer, text)) + 1

    texts: list[tuple[Question, str]] = []
    ratings, held_out = [], []
    for part, rows in enumerate(general.split(general.load())):
        for prompt, good, bad, form in _spoil(rows, seed + part):
            for answer, is_form in ((good, "good"), (bad, form)):
                if (prompt, answer) not in texts[-2 * FORMS :]:
                    texts.append((prompt, answer))
                    ratings.append([*WORTH[is_form], verbosity(tokens(answer), tokens(good))])
                    held_out.append(part == 1)
    return Ratings(texts, ("helpfulness", "coherence", "verbosity"), np.array(ratings), {}), np.array(held_out)


def rated_pairs(questions: Sequence[Question], rated: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Each two responses to one prompt whose ratings differ, as numbers of rows, the better one first.

    Args:
        questions: the prompts, shape (n,).
        rated: shape (n,); NaN where a rating is missing.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for i, question in enumerate(questions):
        if rated[i] == rated[i]:
            groups[json.dumps(question)].append(i)
    return [
        (i, j) if rated[i] > rated[j] else (j, i)
        for group in groups.values()
        for i, j in itertools.combinations(group, 2)
        if rated[i] != rated[j]
    ]


def _fit_ratings(policy: Policy, data: str, seed: int, shuffled: bool, limit: int | None) -> RewardModel:
    import numpy as np

    if data:
        texts, attributes, ratings, left_out = read_ratings(data, limit)
    else:
        (texts, attributes, ratings, left_out), held_out = own_ratings(policy, seed)
    found, place = _fitting_features(policy, texts)
    fits = np.flatnonzero(place >= 0)
    asked = [texts[i][0] for i in fits]
    found, ratings = found[place[fits]], ratings[fits]
    held_out = hold_out(asked) if data else held_out[fits]
    taught = ratings.copy()
    if shuffled:
        learn = np.flatnonzero(~held_out)
        taught[learn] = ratings[np.random.default_rng(seed).permutation(learn)]
    head = fit_attributes(found, taught, attributes, held_out)
    pairs: list[tuple[int, int]] = []
    if "helpfulness" in attributes:
        column = attributes.index("helpfulness")
        tested = np.flatnonzero(held_out)
        pairs = rated_pairs([asked[i] for i in tested], ratings[tested, column])
        predicted, lengths = found[tested] @ head.weights[column], [len(texts[fits[i]][1]) for i in tested]
    return RewardModel(
        "attributes",
        head.attributes,
        head.weights.tolist(),
        head.bias.tolist(),
        sum(predicted[better] > predicted[worse] for better, worse in pairs) / len(pairs) if pairs else None,
        len(pairs),
        head.correlations,
        identify(data),
        left_out | {"too long": len(texts) - len(fits)},
        _longer([(lengths[better], lengths[worse]) for better, worse in pairs]),
    )


def fit(
    policy: Policy,
    kind: str = "bradley-terry",
    data: str = "",
    seed: int = 0,
    *,
    shuffled: bool = False,
    limit: int | None = None,
) -> RewardModel:
    """Train a head and measure it on what is held out.

    Args:
        policy: the frozen backbone.
        kind: one of `KINDS`.
        data: a .jsonl[.gz] file or the name of a data set on the hub, of pairs for `bradley-terry`, of ratings for `attributes`; "" for
            the project's own pairs. Texts longer than the backbone's context are left out and counted, never cut.
        seed: of the spoilt answers, and of shuffling.
        shuffled: permute the labels that are learnt from, not those tested on: a control that should rank at chance.
        limit: read only so many rows of `data`.

    Raises:
        ValueError: unknown kind, or data that cannot be learnt from.
    """
    if kind not in KINDS:
        raise ValueError(f"kind: got {kind!r}; accepts {', '.join(KINDS)}")
    return (_fit_pairs if kind == "bradley-terry" else _fit_ratings)(policy, data, seed, shuffled, limit)


def load_or_fit(
    policy: Policy,
    name: str,
    kind: str = "bradley-terry",
    data: str = "",
    seed: int = 0,
    *,
    limit: int | None = None,
) -> RewardModel:
    """The reward model for a backbone, from the cache or trained now.

    Args:
        policy: the base model (never an aligned policy: the judge must not move with what it judges).
        name: the backbone's name, for the cache.
        kind, data, seed, limit: see `fit`; a file counts by its content.
    """
    read = [_weights(name, policy), str(policy.model.dtype)]  # what hidden states are computed with
    key = hashlib.sha256(json.dumps([VERSION, kind, *read, identify(data), seed, limit]).encode()).hexdigest()[:12]
    safe = "".join(c if c.isalnum() else "-" for c in name)[-60:]
    path = cache_folder() / f"reward-model-{VERSION}-{kind}-{safe}-{key}.json"
    if path.exists():
        kept = json.loads(path.read_text())
        return RewardModel(**kept | {"attributes": tuple(kept["attributes"])})
    model = fit(policy, kind, data, seed, limit=limit)
    write_text(path, json.dumps(model._asdict()))
    return model


def _weights(name: str, policy: Policy) -> str:
    """What tells a backbone from another: the commit of the hub, a folder's content, or its name."""
    commit = getattr(policy.model.config, "_commit_hash", None)
    files = sorted(Path(name).glob("*.safetensors")) if os.path.isdir(name) else []  # which takes any text for a name
    return f"{name}@{commit or ' '.join(digest(file) for file in files)}"


class Judge:
    """Rates answers for best of n (`tradeoffs.inference.generate`) by the scalar reward model on a model before any tuning."""

    def __init__(self, model: str, dtype: str = "auto", device: str = "auto") -> None:
        """Load the model and its reward model, which is fitted the first time.

        Raises:
            ValueError: unknown model.
        """
        self.policy = load(model, dtype=dtype, device=device)
        self.head = load_or_fit(self.policy, model)
        self.about = self.head.summary()

    def __call__(self, answers: Sequence[tuple[Question, str]]) -> list[float]:
        """Helpfulness, from 0 to 100, of each answer to its question."""
        rated: list[float] = self.head.rate(features(self.policy, answers), ["helpfulness"])[:, 0].tolist()
        return rated
