"""A small Bradley-Terry reward model for general text: a linear head on the frozen embedded model.

P(a preferred to b) = sigmoid(r(a) - r(b)) with r linear in the mean last hidden state of the response's tokens, given its prompt
(Bradley-Terry; section 1.2 of the RLHFlow guidebook). With a frozen backbone the maximum likelihood fit is a logistic regression on
differences of features, without intercept. It is trained on the project's own instruction/answer pairs, each answer against one of four
ways of being worse: an answer to something else, one that breaks off, one that repeats itself, and one whose words are out of order.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tradeoffs.inference.engine import pad_left
from tradeoffs.models import Policy, cache_folder
from tradeoffs.progress import bar
from tradeoffs.records import write_text
from tradeoffs.tasks import general
from tradeoffs.tasks.prompts import general_messages

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

VERSION = 2
PENALTY = 0.01
FORMS = 1


class RewardModel(NamedTuple):
    """A fitted head.

    Attributes:
        weights: shape (hidden,).
        centre, scale: mean and standard deviation of raw scores of preferred and spoilt training answers; they map scores to 0-100.
        accuracy: share of held-out pairs ranked right; `pairs`: how many held-out pairs.
    """

    weights: list[float]
    centre: float
    scale: float
    accuracy: float
    pairs: int

    def rate(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Helpfulness 0-100 of responses, from features of shape (n, hidden)."""
        import numpy as np

        raw = features @ np.asarray(self.weights)
        return 100.0 / (1.0 + np.exp(-(raw - self.centre) / self.scale))


def spoil(rows: Sequence[dict[str, str]], seed: int) -> list[tuple[str, str, str]]:
    """Pairs (prompt, preferred, spoilt): each answer against `FORMS` of its four spoilt forms, drawn at random."""
    rng = random.Random(f"spoil/{seed}")
    pairs = []
    for i, row in enumerate(rows):
        words = row["response"].split()
        other = rows[(i + rng.randrange(1, len(rows))) % len(rows)]["response"]
        phrase = " ".join(words[: max(3, len(words) // 3)])
        spoilt = [
            other,
            " ".join(words[: max(1, len(words) // 2)]),
            " ".join([phrase] * 3),
            " ".join(rng.sample(words, len(words))),
        ]
        chosen = rng.sample([bad for bad in spoilt if bad != row["response"]], FORMS)
        pairs += [(row["prompt"], row["response"], bad) for bad in chosen]
    return pairs


def features(policy: Policy, texts: Sequence[tuple[str, str]], batch_size: int = 16) -> NDArray[np.float64]:
    """Mean last hidden state over the response's tokens.

    Args:
        policy: the frozen backbone.
        texts: (prompt, response) pairs; an empty response counts as its stop token.

    Returns:
        Array of shape (len(texts), hidden).
    """
    import numpy as np
    import torch

    model, tokenizer = policy
    rows = []
    for prompt, response in texts:
        head = tokenizer.apply_chat_template(general_messages(prompt), add_generation_prompt=True, return_dict=False)
        tail = tokenizer(response, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
        rows.append((list(head), list(tail)))
    order = sorted(range(len(rows)), key=lambda i: -len(rows[i][0]) - len(rows[i][1]))
    found = np.zeros((len(rows), model.config.hidden_size))
    with torch.inference_mode(), bar(total=len(rows), what="reward features", unit="text") as progress:
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            ids, mask = pad_left([rows[i][0] + rows[i][1] for i in chosen], tokenizer.pad_token_id, model.device)
            hidden = model.base_model(input_ids=ids, attention_mask=mask).last_hidden_state.float()
            for row, i in enumerate(chosen):
                found[i] = hidden[row, -len(rows[i][1]) :].mean(0).cpu().numpy()
            progress.update(len(chosen))
    return found


def fit(policy: Policy, seed: int = 0) -> RewardModel:
    """Train the head on the project's pairs and measure it on held-out ones."""
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    train, test = general.split(general.load())
    learn, held_out = spoil(train, seed), spoil(test, seed + 1)
    every = learn + held_out
    flat = [text for prompt, good, bad in every for text in ((prompt, good), (prompt, bad))]
    unique = sorted(set(flat))
    table = dict(zip(unique, features(policy, unique), strict=True))
    good = np.array([table[(p, g)] for p, g, _ in every])
    bad = np.array([table[(p, b)] for p, _, b in every])
    spread = np.concatenate([good, bad])[: 2 * len(learn)].std(0) + 1e-9
    difference = (good - bad) / spread
    known = difference[: len(learn)]
    logistic = LogisticRegression(C=PENALTY, fit_intercept=False, max_iter=2000)
    logistic.fit(np.concatenate([known, -known]), np.repeat([1, 0], len(known)))
    weights = logistic.coef_[0] / spread
    scores = np.concatenate([good[: len(learn)], bad[: len(learn)]]) @ weights
    accuracy = float((difference[len(learn) :] @ logistic.coef_[0] > 0).mean())
    return RewardModel(weights.tolist(), float(scores.mean()), float(scores.std()), accuracy, len(held_out))


def load_or_fit(policy: Policy, name: str, seed: int = 0) -> RewardModel:
    """The reward model for a backbone, from the cache or trained now.

    Args:
        policy: the base model (never an aligned policy: the judge must not move with what it judges).
        name: the backbone's name, for the cache.
        seed: of the spoilt answers.
    """
    safe = "".join(c if c.isalnum() else "-" for c in name)
    path: Path = cache_folder() / f"reward-model-{VERSION}-{safe}-{seed}.json"
    if path.exists():
        return RewardModel(**json.loads(path.read_text()))
    model = fit(policy, seed)
    write_text(path, json.dumps(model._asdict()))
    return model
