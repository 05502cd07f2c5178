"""Reward models: what they rank and rate on problems with a known answer, on real pairs, and what they refuse."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tradeoffs.models import Policy, load
from tradeoffs.preferences import reward_model
from tradeoffs.preferences.reward_model import (
    PENALTY,
    RewardModel,
    bradley_terry,
    features,
    fit,
    hold_out,
    load_or_fit,
    own_ratings,
    rated_pairs,
    spoil,
)
from tradeoffs.preferences.rewards import verbosity
from tradeoffs.tasks import general
from tradeoffs.tasks.prompts import general_messages

HIDDEN = 32


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture(scope="module")
def policy(tiny: Path) -> Policy:
    return load(str(tiny), dtype="float32", device="cpu")


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """Features in which what a response is worth is planted: "<worth> <anything>" lies at worth times a direction, plus noise."""
    direction = np.random.default_rng(0).normal(size=HIDDEN)

    def fitting(policy: object, texts: Any) -> tuple[np.ndarray, np.ndarray]:
        rows = []
        for number, (_, response) in enumerate(texts):
            noise = np.random.default_rng(number).normal(size=HIDDEN)
            rows.append(noise + float(response.split()[0]) * direction)
        return np.array(rows), np.arange(len(rows))

    monkeypatch.setattr(reward_model, "_fitting_features", fitting)
    return direction


def model(kind: str = "attributes", **changes: Any) -> RewardModel:
    plain = RewardModel(kind, ("helpfulness", "verbosity"), [[1.0, 0.0], [0.0, 1.0]], [0.0, 1.0], None, 0, {}, "", {})
    return plain._replace(**changes)


# ---------------------------------------------------------------- rating


def test_ratings_come_in_the_order_asked_for_cut_to_the_scale() -> None:
    found = model().rate(np.array([[30.0, 40.0], [-5.0, 400.0]]), ("verbosity", "helpfulness"))
    assert found.tolist() == [[41.0, 30.0], [100.0, 0.0]]
    assert model().rate(np.zeros((3, 2)), ()).shape == (3, 0)


def test_a_bradley_terry_score_becomes_a_rating_by_the_logistic_function() -> None:
    single = model("bradley-terry", attributes=("helpfulness",), weights=[[1.0, 0.0]], bias=[0.0])
    found = single.rate(np.array([[0.0, 9.0], [np.log(3), 9.0], [1e4, 9.0], [-1e4, 9.0]]), ("helpfulness",))
    assert found[:, 0] == pytest.approx([50, 75, 100, 0])


@settings(deadline=None)
@given(st.text().filter(lambda name: name not in ("helpfulness", "verbosity")))
def test_an_attribute_that_was_not_fitted_is_refused(name: str) -> None:
    for ask in (lambda: model().rate(np.zeros((1, 2)), ("helpfulness", name)), lambda: model().check((name,))):
        with pytest.raises(ValueError) as raised:
            ask()
        assert str(raised.value).endswith("this reward model (attributes) accepts helpfulness, verbosity")
        assert repr(name) in str(raised.value)


def test_no_number_stays_no_number() -> None:
    assert np.isnan(model().rate(np.full((1, 2), np.nan), ("helpfulness",))).all()


# ---------------------------------------------------------------- fitting on problems with a known answer


def synthetic(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features of preferred and other responses, some distance apart along one direction; the second half is held out."""
    rng = np.random.default_rng(seed)
    direction = rng.normal(size=40)
    good, bad = rng.normal(size=(600, 40)), rng.normal(size=(600, 40))
    wrong = (good - bad) @ direction < 0
    good[wrong], bad[wrong] = bad[wrong], good[wrong].copy()
    return good + direction / 4, bad, np.arange(600) >= 300


def test_true_labels_rank_held_out_pairs_and_shuffled_ones_do_not() -> None:
    good, bad, held_out = synthetic()
    weights, bias, accuracy = bradley_terry(good, bad, held_out)
    assert accuracy is not None and accuracy > 0.95
    assert ((good[held_out] - bad[held_out]) @ weights > 0).mean() == accuracy
    scores = np.concatenate([good[~held_out], bad[~held_out]]) @ weights + bias
    assert scores.mean() == pytest.approx(0, abs=1e-9) and scores.std() == pytest.approx(1)
    chance = [bradley_terry(good, bad, held_out, seed, shuffled=True)[2] or 0.0 for seed in range(10)]
    assert np.mean(chance) == pytest.approx(0.5, abs=0.1) and max(chance) < 0.75


def test_what_all_pairs_share_is_not_learnt_from_shuffled_labels() -> None:
    rng = np.random.default_rng(1)
    bad = rng.normal(size=(100, 5))
    held_out = np.arange(100) >= 60
    found = [bradley_terry(bad + 3, bad, held_out, seed, shuffled=True)[0] for seed in range(5)]
    true, _, accuracy = bradley_terry(bad + 3, bad, held_out)
    assert accuracy == 1
    assert all(
        np.abs(weights).sum() < 1e-6 or weights @ np.full(5, 3.0) < 0.5 * true @ np.full(5, 3.0) for weights in found
    )


def test_without_held_out_pairs_there_is_no_accuracy() -> None:
    good, bad, _ = synthetic()
    assert bradley_terry(good, bad, np.zeros(600, bool))[2] is None


def test_the_scalar_head_is_where_the_gradient_of_likelihood_and_penalty_vanishes() -> None:
    """||w||^2 / 2 - C sum over pairs and both orders of log sigmoid(w . d), features scaled to unit variance; scores of spread 1."""
    from scipy.optimize import minimize_scalar
    from scipy.special import expit

    rng = np.random.default_rng(4)
    good, bad = rng.normal(0.4, 2.0, (80, 5)), rng.normal(0.0, 2.0, (80, 5))
    found, bias, _ = bradley_terry(good, bad, np.zeros(80, bool))
    both = np.concatenate([good, bad])
    assert (both @ found).std() == pytest.approx(1) and (both @ found + bias).mean() == pytest.approx(0)
    spread = both.std(0)
    known = (good - bad) / spread

    def slope(size: float) -> Any:
        w = size * found * spread
        return w - 2 * PENALTY * known.T @ expit(-known @ w)

    size = minimize_scalar(lambda size: float((slope(size) ** 2).sum()), bounds=(1e-3, 1e3), method="bounded").x
    assert np.abs(slope(size)).max() < 1e-3 * np.abs(size * found * spread).max()


def test_the_fit_does_not_depend_on_what_is_held_out() -> None:
    good, bad, held_out = synthetic()
    before = bradley_terry(good, bad, held_out)
    good[held_out] *= 7
    after = bradley_terry(good, bad, held_out)
    assert np.array_equal(before[0], after[0]) and before[1] == after[1]


@settings(deadline=None)
@given(st.lists(st.text(max_size=3), min_size=2, max_size=60).filter(lambda found: len(set(found)) > 1))
def test_no_prompt_is_on_both_sides_and_neither_is_empty(prompts: list[str]) -> None:
    held_out = hold_out(prompts)
    kept, learnt = ({p for p, h in zip(prompts, held_out, strict=True) if h is side} for side in (np.True_, np.False_))
    assert not kept & learnt and learnt and len(kept) == max(1, round(0.1 * len(set(prompts))))
    assert hold_out(prompts[::-1]).tolist() == held_out[::-1].tolist()


def test_one_prompt_cannot_be_learnt_from_and_tested_on() -> None:
    with pytest.raises(ValueError, match="data: got 1 prompt within the model's context; accepts at least 2"):
        hold_out(["q", "q"])


def test_responses_are_compared_within_their_prompt() -> None:
    rated = np.array([90, 10, 50, 50, 30, np.nan])
    assert rated_pairs(["p", "p", "q", "q", "q", "q"], rated) == [(0, 1), (2, 4), (3, 4)]
    assert rated_pairs(["p", "q", "p"], np.array([10, 50, 90])) == [(2, 0)]


def test_planted_ratings_are_found_and_shuffled_ones_are_not(
    planted: np.ndarray, policy: Policy, tmp_path: Path
) -> None:
    rng = np.random.default_rng(2)
    rows = [
        {"prompt": f"q{i}", "response": f"{worth:.3f} {i}/{k}", "helpfulness": 50 + 10 * worth}
        | ({"verbosity": 50 - 10 * worth} if k else {})
        for i in range(200)
        for k, worth in enumerate(rng.uniform(-4, 4, 2))
    ]
    data = write(tmp_path / "ratings.jsonl", rows)
    found = fit(policy, "attributes", data)
    assert found.accuracy is not None and found.accuracy > 0.9 and found.pairs == 20
    assert found.longer is not None and found.longer < 0.5  # low ratings are negative, a sign more
    assert min(r or 0 for r in found.correlations.values()) > 0.95
    ahead = found.rate(np.array([4 * planted, -4 * planted]), ("helpfulness", "verbosity"))
    assert ahead[0, 0] > 75 > 25 > ahead[1, 0] and ahead[1, 1] > 75 > 25 > ahead[0, 1]
    chance = [fit(policy, "attributes", data, seed, shuffled=True) for seed in range(8)]
    assert np.mean([c.accuracy or 0.0 for c in chance]) == pytest.approx(0.5, abs=0.25)
    assert np.mean([c.correlations["helpfulness"] or 0.0 for c in chance]) == pytest.approx(0, abs=0.4)


def test_planted_pairs_are_found_and_shuffled_ones_are_not(planted: np.ndarray, policy: Policy, tmp_path: Path) -> None:
    rows = [{"prompt": f"q{i}", "chosen": f"1 {i}", "rejected": f"-1 {i}"} for i in range(200)]
    data = write(tmp_path / "pairs.jsonl", rows)
    found = fit(policy, data=data)
    assert found.accuracy is not None and found.accuracy > 0.95 and found.pairs == 20
    assert found.longer == 0  # the rejected one has a sign more: a judge of length would take it each time
    assert np.mean([fit(policy, data=data, seed=s, shuffled=True).accuracy or 0 for s in range(8)]) == pytest.approx(
        0.5, abs=0.3
    )


def test_ratings_without_helpfulness_have_no_accuracy(planted: np.ndarray, policy: Policy, tmp_path: Path) -> None:
    rows = [{"prompt": f"q{i % 20}", "response": f"{i % 7} {i}", "honesty": 10 * (i % 7)} for i in range(60)]
    found = fit(policy, "attributes", write(tmp_path / "ratings.jsonl", rows))
    assert found.accuracy is None and found.longer is None and found.pairs == 0 and found.attributes == ("honesty",)


# ---------------------------------------------------------------- the project's own pairs


def test_each_answer_is_spoilt_in_one_of_four_ways_and_rated_for_it(policy: Policy) -> None:
    train, test = general.split(general.load())
    ratings, held_out = own_ratings(policy, seed=0)
    assert ratings.attributes == ("helpfulness", "coherence", "verbosity")
    assert ratings.texts == [
        t for part, s in ((train, 0), (test, 1)) for p, g, b in spoil(part, s) for t in ((p, g), (p, b))
    ]
    assert held_out.tolist() == [False] * 2 * len(train) + [True] * 2 * len(test)
    good, bad = ratings.ratings[::2], ratings.ratings[1::2]
    assert (good == [90, 90, 50]).all()
    worth = {(50, 50), (30, 30), (10, 10), (10, 90)}
    assert {(h, c) for h, c, _ in bad.tolist()} == worth
    counts = [sum((h, c) == w for h, c, _ in bad.tolist()) for w in worth]
    assert min(counts) > 30
    for (_, one), (_, other), rated in zip(ratings.texts[::2], ratings.texts[1::2], bad, strict=True):
        tokens, need = (len(policy.tokenizer(text)["input_ids"]) + 1 for text in (other, one))
        assert rated[2] == verbosity(tokens, need)
        if tuple(rated[:2]) == (50, 50):
            assert one.split()[: len(other.split())] == other.split() and rated[2] < 50
        if tuple(rated[:2]) == (10, 10):
            assert sorted(one.split()) == sorted(other.split())


@pytest.mark.parametrize("kind", reward_model.KINDS)
def test_the_projects_own_pairs_are_fitted_and_kept(
    policy: Policy, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRADEOFFS_CACHE", str(tmp_path))
    rows = general.load()[:80]
    monkeypatch.setattr(general, "load", lambda: rows)
    found = load_or_fit(policy, "some/backbone", kind)
    assert found.pairs == 40 and found.data == "" and found.left_out == {"too long": 0}
    assert found.accuracy is not None and 0 <= found.accuracy <= 1  # of a backbone that knows nothing
    summary = json.loads(json.dumps(found.summary()))
    assert summary["kind"] == kind and "weights" not in summary and summary["left_out"] == {"too long": 0}
    assert set(found.correlations) == (set() if kind == "bradley-terry" else set(found.attributes))
    rated = found.rate(features(policy, [("Hi", "Hello."), ("Hi", "")]), found.attributes)
    assert rated.shape == (2, len(found.attributes)) and (rated >= 0).all() and (rated <= 100).all()

    monkeypatch.setattr(reward_model, "fit", None)
    assert load_or_fit(policy, "some/backbone", kind) == found
    with pytest.raises(TypeError):  # fitted anew, which it cannot be here
        load_or_fit(policy, "some/backbone", kind, seed=1)


def test_the_cache_tells_backbones_kinds_seeds_data_and_limits_apart(
    policy: Policy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRADEOFFS_CACHE", str(tmp_path / "cache"))
    calls: list[Any] = []

    def fake(*given: Any, **more: Any) -> RewardModel:
        calls.append(given)
        return model(left_out={"too long": len(calls)})

    monkeypatch.setattr(reward_model, "fit", fake)
    data = write(tmp_path / "a.jsonl", [{"prompt": "q", "chosen": "a", "rejected": "b"}])
    asked: list[tuple[str, dict[str, Any]]] = [
        ("a/b", {}), ("a-b", {}), ("a/b", {"kind": "attributes"}), ("a/b", {"seed": 1}), ("a/b", {"data": data}),
        ("a/b", {"data": data, "limit": 1}), ("a/b", {"data": "hh-rlhf"}), ("x" * 300, {}),
    ]  # fmt: skip
    for _ in range(2):
        assert [load_or_fit(policy, name, **more).left_out["too long"] for name, more in asked] == [
            *range(1, len(asked) + 1)
        ]
    write(tmp_path / "a.jsonl", [{"prompt": "q", "chosen": "a", "rejected": "c"}])
    assert load_or_fit(policy, "a/b", data=data).left_out["too long"] == len(asked) + 1
    folder = tmp_path / "own"
    folder.mkdir()
    for n, content in enumerate(
        (b"one", b"two", b"two")
    ):  # a local model that is written anew is another judge's backbone
        (folder / "model.safetensors").write_bytes(content)
        assert load_or_fit(policy, str(folder)).left_out["too long"] == len(asked) + 2 + min(n, 1)


# ---------------------------------------------------------------- files


def first_pairs(data: Path, name: str, count: int) -> list[dict[str, Any]]:
    with gzip.open(data / "preferences" / name, "rt") as file:
        return [json.loads(next(file)) for _ in range(count)]


@pytest.mark.parametrize("name", ["hh-rlhf-harmless-base-test.jsonl.gz", "alpaca-eval-pairs.jsonl.gz"])
def test_a_reward_model_is_fitted_to_real_pairs(policy: Policy, data: Path, tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "pairs.jsonl", first_pairs(data, name, 40))
    found = fit(policy, data=path)
    assert found.pairs in (3, 4) and found.accuracy is not None and found.attributes == ("helpfulness",)
    assert len(found.data) == 64 and sum(found.left_out.values()) < 5 and np.isfinite(found.weights).all()
    few = fit(policy, data=path, limit=12)
    assert few.pairs == 1 and few == fit(policy, data=path, limit=12)


def test_pairs_longer_than_the_context_are_left_out_and_counted(policy: Policy, tmp_path: Path) -> None:
    rows = [{"prompt": f"q{i}", "chosen": f"a {i}", "rejected": f"b {i}"} for i in range(20)]
    rows[3]["chosen"] = rows[4]["rejected"] = rows[5]["prompt"] = "word " * policy.model.config.max_position_embeddings
    found = fit(policy, data=write(tmp_path / "pairs.jsonl", rows))
    assert found.left_out["too long"] == 3 and found.summary()["left_out"]["too long"] == 3
    short = fit(policy, data=write(tmp_path / "short.jsonl", [row for i, row in enumerate(rows) if i not in (3, 4, 5)]))
    assert np.array(short.weights) == pytest.approx(np.array(found.weights), rel=1e-3) and short.pairs == found.pairs

    rated = [{"prompt": r["prompt"], "response": r["chosen"], "helpfulness": 5 * i} for i, r in enumerate(rows)]
    assert fit(policy, "attributes", write(tmp_path / "ratings.jsonl", rated)).left_out["too long"] == 2


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"kind": "oracle"}, "kind: got 'oracle'; accepts bradley-terry, attributes"),
        ({"kind": "attributes", "data": "pairs.jsonl"}, "holds pairs"),
        ({"data": "ratings.jsonl"}, "holds ratings"),
        ({"data": "missing.jsonl"}, "got '.*missing.jsonl'; accepts"),
        ({"kind": "attributes", "data": "hh-rlhf"}, "reward_data: hh-rlhf holds pairs"),
        ({"data": "pairs.jsonl"}, "got 1 prompt within"),
    ],
)
def test_data_that_cannot_be_learnt_from_are_refused(
    policy: Policy, tmp_path: Path, given: dict[str, Any], message: str
) -> None:
    write(tmp_path / "pairs.jsonl", [{"prompt": "q", "chosen": "a", "rejected": "b"}])
    write(tmp_path / "ratings.jsonl", [{"prompt": "q", "response": "a", "helpfulness": 5}])
    if given.get("data", "").endswith("jsonl"):
        given = given | {"data": str(tmp_path / given["data"])}
    with pytest.raises(ValueError, match=message):
        fit(policy, **given)


# ---------------------------------------------------------------- features


def test_features_are_the_mean_over_the_response_whatever_stands_beside_it_in_a_batch(policy: Policy) -> None:
    import torch

    texts = [("Hi", "Hello."), ("Tell me a story", "Once upon a time there was a fox."), ("Hi", "")]
    found = features(policy, texts)
    for (prompt, response), row in zip(texts, found, strict=True):
        head: Any = policy.tokenizer.apply_chat_template(
            general_messages(prompt), add_generation_prompt=True, return_dict=False
        )
        tail = [*policy.tokenizer(response, add_special_tokens=False)["input_ids"], policy.tokenizer.eos_token_id]
        with torch.inference_mode():
            hidden = policy.model.base_model(input_ids=torch.tensor([[*head, *tail]])).last_hidden_state[0]
        assert row == pytest.approx(hidden[len(head) :].mean(0).numpy(), abs=1e-5)
    assert features(policy, texts, batch_size=1) == pytest.approx(found, abs=1e-5)


def test_a_prompt_may_be_messages_with_or_without_a_system_prompt(policy: Policy) -> None:
    plain = features(policy, [("Hi", "Hello.")])
    asked = [{"role": "user", "content": "Hi"}]
    assert np.array_equal(features(policy, [(asked, "Hello.")]), plain)
    assert np.array_equal(features(policy, [(general_messages("Hi"), "Hello.")]), plain)
    own = [{"role": "system", "content": "Be rude."}, *asked]
    assert not np.allclose(features(policy, [(own, "Hello.")]), plain)


def test_long_texts_are_taken_fewer_at_a_time(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [("Hi", "word " * n) for n in (5, 50, 500)]
    whole = features(policy, texts)
    monkeypatch.setattr(reward_model, "BATCH_TOKENS", 120)
    sizes: list[int] = []
    original = reward_model.pad_left
    monkeypatch.setattr(
        reward_model, "pad_left", lambda rows, *rest: [sizes.append(len(rows)), original(rows, *rest)][1]
    )
    assert features(policy, texts) == pytest.approx(whole, abs=1e-5)
    assert sizes == [1, 1, 1] or sizes == [1, 2]
