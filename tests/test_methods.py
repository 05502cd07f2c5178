"""Losses of the methods against values worked out by hand or in float64, and what methods have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tradeoffs.alignment import align
from tradeoffs.alignment.ppo import estimate, ppo_losses
from tradeoffs.alignment.rrhf import IGNORED, collate, response_scores, rrhf_loss
from tradeoffs.parameters import AlignParameters, ParameterError, check
from tradeoffs.preferences.rewards import weigh
from tradeoffs.records import TrainingStep, read_rows

SMALL: dict[str, Any] = dict(
    dtype="float32",
    steps=2,
    batch_size=2,
    lora_rank=4,
    max_length=2048,
    learning_rate=1e-3,
    prompts=4,
    samples=2,
    max_new_tokens=6,
)


def parameters(tiny: Path, out: Path, **changes: object) -> AlignParameters:
    return AlignParameters(**({"model": str(tiny), "out": str(out)} | SMALL | changes))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "adapter" / "adapter_model.safetensors")


# ---------------------------------------------------------------- RRHF


def losses(scores: list[float], rewards: list[float], query: list[int]) -> tuple[float, float]:
    rank, tuned = rrhf_loss(torch.tensor(scores, dtype=torch.float64), torch.tensor(rewards), torch.tensor(query))
    return float(rank), float(tuned)


def by_hand(scores: list[float], rewards: list[float], query: list[int]) -> tuple[float, float]:
    """Equations 2 and 4 of arXiv 2304.05302v2 in plain loops, each query by itself."""
    rank = tuned = 0.0
    for q in set(query):
        own = [i for i, other in enumerate(query) if other == q]
        rank += sum(max(0.0, scores[i] - scores[j]) for i in own for j in own if rewards[i] < rewards[j])
        tuned -= scores[max(own, key=lambda i: (rewards[i], -i))]
    return rank / len(set(query)), tuned / len(set(query))


def test_rrhf_of_a_reversed_ranking_of_four_is_ten() -> None:
    # p = -1, -2, -3, -4 against rewards 1, 2, 3, 4: the differences 1+2+3+1+2+1; the authors' code gives 0 here (issue 29).
    assert losses([-1, -2, -3, -4], [1, 2, 3, 4], [0] * 4) == (10.0, 4.0)
    assert losses([-4, -3, -2, -1], [1, 2, 3, 4], [0] * 4) == (0.0, 1.0)


def test_rrhf_has_no_margin_and_ties_make_no_pair() -> None:
    assert losses([-2.0, -2.0], [0, 1], [0, 0]) == (0.0, 2.0)
    assert losses([-1.0, -3.0], [5, 5], [0, 0]) == (0.0, 1.0)


rows = st.lists(st.tuples(st.floats(-9, 0), st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=10)


@settings(deadline=None)
@given(rows)
def test_rrhf_ranks_each_query_of_a_batch_within_itself(found: list[tuple[float, int, int]]) -> None:
    scores, rewards, query = [
        list(map(kind, column)) for kind, column in zip((float, float, int), zip(*found, strict=True), strict=True)
    ]
    assert losses(scores, rewards, query) == pytest.approx(by_hand(scores, rewards, query), abs=1e-9)


def test_rrhf_gradients_are_those_of_differences() -> None:
    scores = torch.tensor([-1.0, -2.5, -0.5, -3.0, -1.5], dtype=torch.float64, requires_grad=True)
    rewards, query = torch.tensor([0.0, 2.0, 1.0, 5.0, 1.0]), torch.tensor([0, 0, 0, 1, 1])
    assert torch.autograd.gradcheck(lambda p: sum(rrhf_loss(p, rewards, query)), (scores,))


def test_scores_are_mean_log_probabilities_whatever_the_padding_and_the_order() -> None:
    generator = torch.Generator().manual_seed(0)
    batch: list[dict[str, Any]] = [
        {"prompt": [5, 6, 7], "responses": [[1, 2], [3, 1, 4, 2]], "rewards": [1.0, 0.0]},
        {"prompt": [5], "responses": [[4, 4, 4], [2]], "rewards": [0.0, 3.0]},
    ]
    table = torch.randn(8, 8, generator=generator)  # logits that depend on the token before alone

    def loss(rows: list[dict[str, Any]], padding: int) -> tuple[list[float], float]:
        laid = collate(rows, padding)
        scores = response_scores(table[laid["input_ids"]], laid["labels"]).logp
        return sorted(scores.tolist()), float(sum(rrhf_loss(scores, laid["rewards"], laid["query"])))

    expected = []
    logp = table.double().numpy()
    logp = logp - np.log(np.exp(logp).sum(1, keepdims=True))
    for row in batch:
        for ids in row["responses"]:
            sequence = [*row["prompt"], *ids]
            start = len(row["prompt"])
            expected.append(np.mean([logp[sequence[t - 1], sequence[t]] for t in range(start, len(sequence))]))
    scores, value = loss(batch, 0)
    assert scores == pytest.approx(sorted(expected), abs=1e-6)
    turned = [row | {"responses": row["responses"][::-1], "rewards": row["rewards"][::-1]} for row in batch[::-1]]
    for other in (loss(batch, 3), loss(turned, 0)):
        assert other[0] == pytest.approx(scores, abs=1e-6) and other[1] == pytest.approx(value, abs=1e-6)
    alone = [loss([row], 0)[1] for row in batch]
    assert sum(alone) / 2 == pytest.approx(value, abs=1e-6)
    assert (collate(batch, 0)["labels"] != IGNORED).sum() == 10


# ---------------------------------------------------------------- PPO

# Advantages, returns and losses of the tensors below, computed once by the lines of TRL 1.11.0's
# trl/experimental/ppo/ppo_trainer.py (`train`: from "response_idxs" to the losses; kl_estimator k1, no whitening of rewards).
TRL_ADVANTAGES = [
    [
        -0.951578105673486,
        -0.7734378574508769,
        -0.29417740063690606,
        0.30531048082050416,
        0.7625254840384407,
        0.8503234210770335,
    ],
    [-0.5859356413427316, -1.1845100534186501, -1.671484613911426, 0.0, 0.0, 0.0],
    [0.6839801632361643, 1.1040528429315724, 1.264884933041465, 1.085959762841313, 0.6581388902034735, 0.0],
    [-1.2540523057558908, 0.0, 0.0, 0.0, 0.0, 0.0],
]
TRL_RETURNS = [
    [
        0.6521882885190873,
        0.6495999514526255,
        0.6804192925464081,
        0.7882623152580988,
        0.9477992115006197,
        1.0681887097639868,
    ],
    [-0.36071114451724223, -0.46540165183680327, -0.5121136102290219, -0.4999999999999999, 0.0, 0.0],
    [1.2681887270641008, 1.3881780689365064, 1.6154463569979094, 1.8367414772911403, 1.9567453922709668, 2.0],
    [0.2567302721942324, 0.25, 0.0, 0.0, 0.0, 0.0],
]
TRL_LOSSES = 0.028121303981612264, 1.2132889312462052


def test_ppo_is_that_of_trl_1_11_on_the_same_tensors() -> None:
    t = torch.arange(24, dtype=torch.float64).reshape(4, 6)
    logp, values = -1.5 + torch.sin(t), torch.cos(0.7 * t)
    scores = torch.tensor([1.0, -0.5, 2.0, 0.25], dtype=torch.float64)
    lengths = torch.tensor([6, 3, 5, 1])
    found = estimate(scores, logp, -1.5 + torch.sin(1.3 * t + 0.2), values, lengths, beta=0.05, gamma=0.98, lam=0.95)
    # To 1e-7 where advantages are whitened: TRL divides the two counts of the unbiased variance in float32.
    assert found.advantages.tolist() == [pytest.approx(row, abs=1e-7) for row in TRL_ADVANTAGES]
    assert found.returns.tolist() == [pytest.approx(row, abs=1e-12) for row in TRL_RETURNS]
    losses = ppo_losses(logp + 0.4 * torch.sin(2 * t), values + 0.5 * torch.cos(3 * t), logp, values, found)
    assert tuple(map(float, losses)) == pytest.approx(TRL_LOSSES, abs=1e-7)


def test_ppo_ignores_what_lies_beyond_a_response() -> None:
    t = torch.arange(8, dtype=torch.float64).reshape(2, 4)
    scores, lengths = torch.tensor([1.0, 2.0]).double(), torch.tensor([2, 2])
    narrow = estimate(scores, t.sin()[:, :3], t.cos()[:, :3], t.sin()[:, :3], lengths, beta=0.1)
    wide = estimate(scores, t.sin(), t.cos(), t.sin(), lengths, beta=0.1)
    assert torch.allclose(narrow.advantages, wide.advantages[:, :3]) and torch.allclose(
        narrow.returns, wide.returns[:, :3]
    )


def test_ppo_resumes_to_the_same_adapter(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tradeoffs.alignment import ppo

    align(parameters(tiny, tmp_path / "whole", method="ppo", domain="general"))
    original = ppo._Learner.update

    done = []

    def dies(*arguments: Any, **named: Any) -> Any:
        if done:
            raise KeyboardInterrupt
        done.append(1)
        return original(*arguments, **named)

    monkeypatch.setattr(ppo._Learner, "update", dies)
    with pytest.raises(KeyboardInterrupt):
        align(parameters(tiny, tmp_path / "cut", method="ppo", domain="general"))
    monkeypatch.setattr(ppo._Learner, "update", original)
    align(parameters(tiny, tmp_path / "cut", method="ppo", domain="general"))
    whole, cut = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


def test_what_ppo_learns_does_not_depend_on_the_rewards_origin(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tradeoffs.alignment import ppo

    given: dict[str, Any] = dict(method="ppo", domain="general", steps=1, batch_size=4)
    align(parameters(tiny, tmp_path / "here", **given))
    monkeypatch.setattr(ppo, "weigh", lambda reward, weights: weigh(reward, weights) - 300.0)
    align(parameters(tiny, tmp_path / "shifted", **given))
    here, shifted = weights(tmp_path / "here"), weights(tmp_path / "shifted")
    assert any(here[name].abs().max() > 1e-4 for name in here if "lora_B" in name)
    assert all(torch.allclose(here[name], shifted[name], atol=2e-6) for name in here)


# ---------------------------------------------------------------- methods that sample


@pytest.mark.parametrize(
    ("method", "changes"),
    [
        ("rsft", {"rounds": 2, "domain": "general"}),
        ("scalarization", {"weights": [0.6, -0.8], "domain": "general"}),
        ("scalarization", {"weights": [0.6, -0.8], "optimizer": "rloo", "domain": "general"}),
        ("rrhf", {"domain": "general"}),
        ("ppo", {"domain": "mixed"}),
        ("rloo", {"domain": "mixed"}),
        ("rlvr", {"domain": "code"}),
    ],
)
def test_every_method_returns_a_policy_and_the_same_record(
    tiny: Path, tmp_path: Path, method: str, changes: dict[str, Any]
) -> None:
    p = parameters(tiny, tmp_path / "out", method=method, **changes)
    record = align(p)
    steps = [row for row in read_rows(tmp_path / "out" / "steps.jsonl", TrainingStep) if row.kind == "step"]
    assert record.counts["completed"] == record.counts["planned"] == len(steps)
    assert all(row.loss is not None and row.seconds is not None for row in steps)
    assert weights(tmp_path / "out")
    if method in {"ppo", "rloo", "rlvr"}:
        assert all(row.helpfulness is not None and row.response_tokens and row.kl is not None for row in steps)
    assert align(p) == record  # a finished folder is returned as it is


def test_a_training_without_any_gradient_says_so(tiny: Path, tmp_path: Path) -> None:
    # A tiny random model never passes a task: all advantages are 0, and with them all gradients.
    record = align(parameters(tiny, tmp_path / "idle", method="rlvr", domain="code"))
    assert record.summary["warning"].startswith("nothing was learnt, every gradient was zero")
    learnt = align(parameters(tiny, tmp_path / "sft"))
    assert "warning" not in learnt.summary


def test_rsft_with_one_sample_is_supervised_fine_tuning_on_it(tiny: Path, tmp_path: Path) -> None:
    from tradeoffs.alignment.common import Schedule, StepLog, new_adapter
    from tradeoffs.alignment.sft import fine_tune
    from tradeoffs.models import load
    from tradeoffs.preferences.sampling import Response
    from tradeoffs.tasks.examples import training_examples

    p = parameters(tiny, tmp_path / "rsft", method="rsft", samples=1, domain="general", max_new_tokens=16)
    align(p)
    examples = {e.key: e for e in training_examples("general", 4, 100)}
    drawn = sorted(read_rows(tmp_path / "rsft" / "round-1" / "responses.jsonl", Response), key=lambda row: row.key)
    policy = load(str(tiny), dtype="float32")
    plan = Schedule(2)
    log = StepLog(tmp_path / "sft.jsonl", "sft", plan)
    kept = [(examples[r.key].messages(), r.text) for r in drawn if r.finish == "stop"]
    assert kept
    fine_tune(new_adapter(policy.model, p), policy.tokenizer, kept, p, tmp_path, plan=plan, log=log)
    ours, plain = (
        read_rows(path, TrainingStep) for path in (tmp_path / "rsft" / "steps.jsonl", tmp_path / "sft.jsonl")
    )
    assert [r.loss for r in ours if r.kind == "step"] == pytest.approx([r.loss for r in plain], abs=1e-5)


def test_dpa_with_one_direction_keeps_what_rsft_keeps_of_the_same_samples() -> None:
    from tradeoffs.preferences.rewards import direction, scalarise, weigh
    from tradeoffs.preferences.sampling import Rated, best

    rng = np.random.default_rng(0)
    found = [
        Rated(key=k, sample=n, text=f"{k}/{n}", tokens=1, helpfulness=h, verbosity=v)
        for k in range(9)
        for n, (h, v) in enumerate(rng.uniform(0, 100, (5, 2)).tolist())
    ]
    v = direction(-30.0)
    along = {(r.key, r.sample): scalarise(r.reward, v) for r in found}
    scaled = {(r.key, r.sample): weigh(r.reward, [7 * v[0], 7 * v[1]]) for r in found}
    assert best(found, along) == best(found, scaled)


def test_dpa_with_one_direction_is_rsft_on_the_scalarised_reward_but_for_what_the_prompt_says(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same adapter, bit for bit, where the direction is kept out of the prompt; another one where it is not."""
    from tradeoffs.preferences.rewards import direction
    from tradeoffs.tasks.examples import Example

    given: dict[str, Any] = dict(domain="general", prompts=6, samples=3, max_new_tokens=16, steps=2)
    own = dict(method="dpa", angles=[-30.0], **given)
    align(parameters(tiny, tmp_path / "rsft", method="rsft", weights=list(direction(-30.0)), **given))
    align(parameters(tiny, tmp_path / "told", **own))
    plain = Example.messages
    monkeypatch.setattr(Example, "messages", lambda self, angle=None: plain(self))
    align(parameters(tiny, tmp_path / "dpa", **own))
    rsft, told, dpa = (weights(tmp_path / name) for name in ("rsft", "told", "dpa"))
    assert all(torch.equal(rsft[name], dpa[name]) for name in rsft)
    assert any(not torch.equal(rsft[name], told[name]) for name in rsft)


def test_the_method_that_the_book_shows_how_to_add_trains(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys
    import types

    from tradeoffs.alignment import METHODS

    page = (Path(__file__).resolve().parents[1] / "book/rerun.md").read_text()
    code = page.split("## Your own method")[1].split("```python\n")[1].split("```")[0]
    module = types.ModuleType("tradeoffs.alignment.middling")
    exec(code, module.__dict__)
    monkeypatch.setitem(sys.modules, "tradeoffs.alignment.middling", module)
    monkeypatch.setitem(METHODS, "middling", "tradeoffs.alignment.middling")
    record = align(parameters(tiny, tmp_path / "out", method="middling", domain="general", samples=3))
    assert record.counts["completed"] == 2 and weights(tmp_path / "out")


@pytest.mark.parametrize("each", [1, 3])
def test_directions_are_drawn_evenly_and_a_prompt_never_has_one_twice(each: int) -> None:
    from collections import Counter, defaultdict

    from tradeoffs.alignment.dpa import COPIES, draw_directions
    from tradeoffs.tasks.examples import training_examples

    angles = [-45.0, 0.0, 45.0]
    examples, drawn = draw_directions(training_examples("general", 30, 0), angles, 1, each)
    assert len({example.key for example in examples}) == len(drawn) == 30 * each
    assert Counter(drawn.values()) == dict.fromkeys(angles, 10 * each)
    own = defaultdict(set)
    for example in examples:
        own[example.key % COPIES].add(drawn[example.key])
    assert {len(found) for found in own.values()} == {each}


def test_a_prompts_directions_are_learnt_side_by_side() -> None:
    from tradeoffs.alignment.common import together

    rows = [f"{prompt}{angle}" for angle in "123" for prompt in "abcdefg"]
    found = together(rows, [row[0] for row in rows], 6, 0)
    assert len(found) == 24 and sorted(found[:21]) == sorted(rows) and found[21:] == found[:3]
    assert all({row[1] for row in found[n : n + 3]} == set("123") for n in range(0, 24, 3))
    assert all(len({row[0] for row in found[n : n + 6]}) == 2 for n in range(0, 18, 6))
    assert [row[0] for row in found] != sorted(row[0] for row in found)


def test_all_directions_of_a_prompt_choose_among_all_its_responses() -> None:
    from tradeoffs.alignment.dpa import COPIES, pool
    from tradeoffs.preferences.sampling import Rated

    def rated(key: int, sample: int, text: str) -> Rated:
        return Rated(key=key, sample=sample, text=text, tokens=1, helpfulness=1.0, verbosity=1.0)

    alone = [rated(7, 0, "a"), rated(7, 1, "b"), rated(9, 0, "c")]
    assert pool(alone) == alone
    found = pool([rated(7, 0, "a"), rated(7 + COPIES, 0, "b"), rated(9, 0, "c"), rated(9 + 2 * COPIES, 0, "d")])
    assert [(r.key, r.sample, r.text) for r in found] == [
        (7, 0, "a"),
        (7, 1, "b"),
        (7 + COPIES, 0, "a"),
        (7 + COPIES, 1, "b"),
        (9, 0, "c"),
        (9, 1, "d"),
        (9 + 2 * COPIES, 0, "c"),
        (9 + 2 * COPIES, 1, "d"),
    ]


def test_what_was_cut_at_the_cap_is_never_learnt_as_an_answer() -> None:
    from tradeoffs.preferences.sampling import Rated, best, pairs

    def rated(key: int, sample: int, finish: str, text: str = "") -> Rated:
        shared: dict[str, Any] = dict(tokens=3, helpfulness=0.0, verbosity=0.0)
        return Rated(key=key, sample=sample, text=text or f"{key}/{sample}", finish=finish, **shared)  # type: ignore[arg-type]

    rows = [
        rated(0, 0, "length"),
        rated(0, 1, "stop"),
        rated(0, 2, "stop"),
        rated(1, 0, "length"),
        rated(1, 1, "length"),
    ]
    rewards = {(0, 0): 90.0, (0, 1): 10.0, (0, 2): 40.0, (1, 0): 5.0, (1, 1): 80.0}
    assert best(rows, rewards) == [rows[2]]  # not the cut one of 90; nothing of the prompt whose responses were all cut
    assert pairs(rows, rewards, 5.0) == [(rows[2], rows[1])]
    assert pairs(rows, rewards | {(0, 0): -90.0}, 5.0) == [(rows[2], rows[1])]  # nor rejected: it ends nowhere
    assert pairs(rows, rewards, 31.0) == []


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"method": "rloo", "samples": 3, "batch_size": 4}, "batch_size"),
        ({"method": "rrhf", "samples": 1}, "samples"),
        ({"method": "rlvr", "domain": "general", "batch_size": 4}, "domain"),
        ({"weights": [0.0, 0.0]}, "weights"),
        ({"weights": [1.0]}, "weights"),
        ({"method": "genius"}, "method"),
    ],
)
def test_parameters_that_do_not_fit_the_method_are_refused_by_name(changes: dict[str, Any], name: str) -> None:
    with pytest.raises(ParameterError, match=name):
        check(AlignParameters, changes)


@pytest.mark.usefixtures("saved_every_step")
@pytest.mark.parametrize(
    ("method", "good", "when"),
    [("ppo", 1, "step 2"), ("rloo", 1, "step 2"), ("rsft", 0, "before the first step of round 1")],
)
def test_a_reward_that_is_no_number_stops_training_and_names_step_and_prompt(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, good: int, when: str
) -> None:
    from tradeoffs.alignment.common import last_checkpoint
    from tradeoffs.preferences import reward_model

    original = reward_model.RewardModel.rate
    calls = []

    def rate(self: Any, *given: Any) -> Any:
        calls.append(1)
        return original(self, *given) * (float("nan") if len(calls) > good else 1.0)

    monkeypatch.setattr(reward_model.RewardModel, "rate", rate)
    with pytest.raises(FloatingPointError, match=f"{when}: reward: nan for a response to training prompt 10000"):
        align(parameters(tiny, tmp_path / "out", method=method, domain="general"))
    if method == "ppo":
        assert torch.load(tmp_path / "out" / "checkpoints" / "ppo.pt", weights_only=True)["step"] == 1
    elif method == "rloo":
        assert last_checkpoint(tmp_path / "out")
