"""What the trainers compute, TRL's as this study sets them up and its own, against the methods' equations in float64: losses and gradients.

Every batch of a real training is looked at. The reference reads one sequence at a time without any padding, from a copy of the policy in
float64, so that padding, order and batching are tested as well. The functions behind RRHF's and PPO's losses are in `test_methods`.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tradeoffs.alignment import align, common
from tradeoffs.parameters import AlignParameters
from tradeoffs.preferences.rewards import Reward
from tradeoffs.preferences.sampling import Judgement

BETA = 0.2
BASE: dict[str, Any] = dict(
    dtype="float32",
    domain="general",
    steps=3,
    batch_size=4,
    lora_rank=4,
    max_length=2048,
    learning_rate=0.02,  # high, so that the policy has left its reference at the second step
    beta=BETA,
    prompts=4,
    samples=4,
    temperature=1.0,
    max_new_tokens=8,
    weights=[0.6, -0.8],
)
Rows = list[tuple[list[int], list[int]]]  # (prompt, completion) of each row, without padding
Check = Callable[..., torch.Tensor]  # of the trainer, a batch and its `Twin`


class Twin:
    """The policy and its reference in float64, one sequence at a time."""

    def __init__(self, model: Any) -> None:
        self.model = common.plain(copy.deepcopy(model)).double().eval()

    def logps(self, prompt: list[int], completion: list[int], *, reference: bool = False) -> torch.Tensor:
        """Log-probability of each token of a completion."""
        ids = torch.tensor([prompt + completion])
        if reference:
            with self.model.disable_adapter(), torch.no_grad():
                logits = self.model(input_ids=ids).logits[0]
        else:
            logits = self.model(input_ids=ids).logits[0]
        assert logits.dtype == torch.float64
        found = logits[len(prompt) - 1 : -1].log_softmax(-1)
        return found.gather(1, torch.tensor(completion)[:, None])[:, 0]

    def trained(self) -> list[torch.Tensor]:
        return [p for p in self.model.parameters() if p.requires_grad]


def sampled(inputs: dict[str, Any]) -> Rows:
    """Rows of a trainer that samples: prompts padded on the left, completions on the right."""
    sides = ("prompt", "completion")
    return [
        tuple(inputs[f"{side}_ids"][n][inputs[f"{side}_mask"][n].bool()].tolist() for side in sides)  # type: ignore[misc]
        for n in range(len(inputs["prompt_ids"]))
    ]


def sft(trainer: Any, inputs: dict[str, Any], twin: Twin) -> torch.Tensor:
    """Mean over the answers' tokens of minus their log-probability; prompts are not learnt."""
    total, count = torch.zeros((), dtype=torch.float64), 0
    for ids, labels in zip(inputs["input_ids"].tolist(), inputs["labels"].tolist(), strict=True):
        scored = [n for n, label in enumerate(labels) if label != -100]
        first, last = scored[0], scored[-1]
        assert scored == list(range(first, last + 1)) and [ids[n] for n in scored] == [labels[n] for n in scored]
        total = total - twin.logps(ids[:first], ids[first : last + 1]).sum()
        count += len(scored)
    return total / count


def dpo(trainer: Any, inputs: dict[str, Any], twin: Twin) -> torch.Tensor:
    """Rafailov et al. 2023, equation 7: minus log sigmoid(beta (log pi/ref of the chosen less that of the rejected)), mean over pairs."""
    ratios = []
    for ids, on, answer in zip(*(inputs[k] for k in ("input_ids", "attention_mask", "completion_mask")), strict=True):
        prompt, completion = ids[on.bool() & ~answer.bool()].tolist(), ids[answer.bool()].tolist()
        gain = twin.logps(prompt, completion).sum() - twin.logps(prompt, completion, reference=True).sum()
        ratios.append(gain)
    half = len(ratios) // 2
    losses = [-(BETA * (w - z)).sigmoid().log() for w, z in zip(ratios[:half], ratios[half:], strict=True)]
    return torch.stack(losses).mean()


def rrhf(trainer: Any, inputs: dict[str, Any], twin: Twin) -> torch.Tensor:
    """Yuan et al. 2023, equations 1 to 5, query by query: all pairs that the rewards order, and the first best one's likelihood."""
    rows: dict[int, list[tuple[float, torch.Tensor]]] = {}
    for n, query in enumerate(inputs["query"].tolist()):
        real, scored = inputs["attention_mask"][n].bool(), inputs["labels"][n] != -100
        prompt, completion = inputs["input_ids"][n][real & ~scored].tolist(), inputs["input_ids"][n][scored].tolist()
        rows.setdefault(query, []).append((float(inputs["rewards"][n]), twin.logps(prompt, completion).mean()))
    loss = torch.zeros((), dtype=torch.float64)
    for found in rows.values():
        for worse, p in found:
            for better, q in found:
                loss = loss + (torch.clamp(p - q, min=0.0) if worse < better else 0.0)
        loss = loss - max(found, key=lambda row: row[0])[1]
    return loss / len(rows)


def rewarded(trainer: Any, rows: Rows) -> tuple[list[Reward], list[list[int]]]:
    """Each row's reward, as the patched judge gives it, and the rows that answer the same prompt."""
    texts = [trainer.processing_class.decode(completion, skip_special_tokens=True) for _, completion in rows]
    groups = [[m for m, other in enumerate(rows) if other[0] == row[0]] for row in rows]
    return [pretended(text) for text in texts], groups


def rloo(trainer: Any, inputs: dict[str, Any], twin: Twin, beta: float = BETA) -> torch.Tensor:
    """Ahmadian et al. 2024, section 2.4: minus the mean of (R_i - mean of the others' R) log pi(y_i), R less beta log pi/ref."""
    rows = sampled(inputs)
    rewards, groups = rewarded(trainer, rows)
    logps = [twin.logps(*row).sum() for row in rows]
    worth = [
        (0.6 * reward.helpfulness - 0.8 * reward.verbosity) / 100
        - beta * float(logp.detach() - twin.logps(*row, reference=True).sum())
        for reward, logp, row in zip(rewards, logps, rows, strict=True)
    ]
    loss = torch.zeros((), dtype=torch.float64)
    for n, group in enumerate(groups):
        others = [worth[m] for m in group if m != n]
        loss = loss - (worth[n] - sum(others) / len(others)) * logps[n]
    return loss / len(rows)


def rlvr(trainer: Any, inputs: dict[str, Any], twin: Twin, beta: float = BETA) -> torch.Tensor:
    """DeepSeekMath, equations 3 and 4, its mean taken over all tokens of the step (DAPO, equation 8).

    A_i = (V_i - mean) / std on every token, and beta (ref/pi - log ref/pi - 1), weighted by pi over what it was when it sampled: that is 1,
    but with it the gradient is that of the KL divergence (DeepSeek-V3.2, arXiv 2512.02556; TRL's default).
    """
    rows = sampled(inputs)
    rewards, groups = rewarded(trainer, rows)
    passed = torch.tensor([float(reward.helpfulness == 100) for reward in rewards], dtype=torch.float64)
    loss, tokens = torch.zeros((), dtype=torch.float64), 0
    for n, (row, group) in enumerate(zip(rows, groups, strict=True)):
        own = passed[group]
        advantage = (passed[n] - own.mean()) / (own.std() + 1e-4)  # 1e-4: TRL's guard against groups without any spread
        logp, ref = twin.logps(*row), twin.logps(*row, reference=True)
        kl = ((ref - logp).exp() - (ref - logp) - 1) * (logp - logp.detach()).exp()
        loss = loss + (-advantage * logp + beta * kl).sum()
        tokens += len(row[1])
    return loss / tokens


def pretended(text: str) -> Reward:
    """A reward that depends on the text alone: a model of random weights passes no task."""
    number = int(hashlib.sha256(text.encode()).hexdigest()[:8], 16)
    return Reward(100.0 if number % 2 else 20.0, float(number % 97))


CHECKS: dict[str, tuple[Check, dict[str, Any]]] = {
    "sft": (sft, {}),
    "dpo": (dpo, {"samples": 2}),
    "rrhf": (rrhf, {"batch_size": 2, "max_new_tokens": 24}),
    "rloo": (rloo, {"batch_size": 8}),
    "rlvr": (rlvr, {"batch_size": 8, "domain": "code"}),
}


@pytest.mark.parametrize("method", list(CHECKS))
def test_loss_and_gradient_are_those_of_the_equation(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    check, changes = CHECKS[method]
    seen: list[tuple[float, float]] = []
    moved: list[float] = []  # how much of a gradient is due to the reference, by step

    def watch(trainer: Any) -> None:
        compute = trainer.compute_loss

        def compared(model: Any, inputs: Any, *rest: Any, **named: Any) -> Any:
            own = trainer.accelerator.unwrap_model(model)
            twin = Twin(own)
            found = compute(model, inputs, *rest, **named)
            loss = found[0] if isinstance(found, tuple) else found
            expected = check(trainer, inputs, twin)
            if method in (
                "sft",
                "dpo",
                "rrhf",
            ):  # where a policy is sampled anew for each step, only the gradient says anything
                assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
            trained = [p for p in own.parameters() if p.requires_grad]
            grads = torch.autograd.grad(loss, trained, retain_graph=True)
            wanted = torch.autograd.grad(expected, twin.trained())
            flat, right = (torch.cat([g.double().flatten() for g in gs]) for gs in (grads, wanted))
            seen.append((float(right.norm()), float((flat - right).norm())))
            if method in ("rloo", "rlvr"):
                free = torch.autograd.grad(check(trainer, inputs, twin, 0.0), twin.trained())
                moved.append(float((torch.cat([g.flatten() for g in free]) - right).norm()))
            return found

        trainer.compute_loss = compared

    def rewards(self: Judgement, responses: Any, on_verdict: Any = None) -> list[Reward]:
        return [pretended(text) for _, text, _ in responses]

    monkeypatch.setattr(common, "guard", watch)
    monkeypatch.setattr(Judgement, "rewards", rewards)
    given = BASE | {"method": method, "model": str(tiny), "out": str(tmp_path / "run")} | changes
    align(AlignParameters(**given))
    assert len(seen) == 3
    assert any(size > 1e-3 for size, _ in seen[1:])
    assert not moved or max(moved) > 0.01 * max(size for size, _ in seen), "a wrong beta would not be seen"
    assert all(error < 1e-3 * size + 1e-7 for size, error in seen), seen


@pytest.mark.parametrize("lengths", [[3, 5, 1, 4], [5, 5, 2, 5]])
def test_ppos_first_gradient_is_that_of_the_equations(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lengths: list[int]
) -> None:
    """Schulman et al. 2016, equation 16, and 2017, equation 7, where the policy is still the one that sampled, state by state.

    A response of n tokens has n + 1 states; the reward arrives in the last, whatever stands beside it in the batch.
    """
    from peft import get_peft_model

    from tradeoffs.alignment import ppo

    p = AlignParameters(**BASE | {"method": "ppo", "model": str(tiny), "out": str(tmp_path), "micro_batch": 2})
    policy = common.start_policy(p)
    torch.manual_seed(1)
    learner = ppo._Learner(p, get_peft_model(policy.model, common.lora(p)), policy.tokenizer)
    for name, weight in learner.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.2)  # so that the policy has left its reference
    torch.nn.init.normal_(learner.value.weight, std=0.3)
    torch.nn.init.constant_(learner.value.bias, 0.1)
    rows = [([5 + n, 7, 9][: 1 + n % 3], [11 + n + 3 * k for k in range(length)]) for n, length in enumerate(lengths)]
    responses = [ppo._Response(n, *row, "", Reward(0.0, 0.0)) for n, row in enumerate(rows)]
    scores = torch.tensor([0.3, -0.2, 0.9, 0.1])
    grads: list[torch.Tensor] = []

    def descend(self: Any) -> float:
        grads.extend(weight.grad.double().clone() for weight in self.trained)
        return 1.0

    monkeypatch.setattr(ppo, "EPOCHS", 1)
    monkeypatch.setattr(ppo._Learner, "_descend", descend)
    twin = Twin(learner.model)
    value = copy.deepcopy(learner.value).double()
    told = learner.update(responses, scores, first=False)

    advantages, logps, errors = [], [], []
    for (prompt, completion), score in zip(rows, scores.double().tolist(), strict=True):
        with twin.model.disable_adapter(), torch.no_grad():
            hidden = twin.model(input_ids=torch.tensor([prompt + completion]), output_hidden_states=True)
        values = value(hidden.hidden_states[-1][0, len(prompt) - 1 :])[:, 0]  # before each token, and after the last
        logp, ref = twin.logps(prompt, completion), twin.logps(prompt, completion, reference=True)
        reward = [*(-BETA * (logp - ref).detach()).tolist(), score]
        v, following, own = [*values.detach().tolist(), 0.0], 0.0, []
        for t in reversed(range(len(reward))):
            following = reward[t] + v[t + 1] - v[t] + 0.95 * following
            own.append(following)
        own.reverse()
        advantages += own[: len(completion)]
        logps.append(logp)
        errors.append(0.5 * (values - torch.tensor(own).double() - values.detach()) ** 2)
    a = torch.tensor(advantages, dtype=torch.float64)
    a = (a - a.mean()) / (a.var() + 1e-8).sqrt()
    loss = -(a * torch.cat(logps)).mean() + 0.1 * torch.cat(errors).mean()
    wanted = torch.autograd.grad(loss, [*twin.trained(), *value.parameters()])
    flat, right = (torch.cat([g.double().flatten() for g in gs]) for gs in (grads, wanted))
    assert float((flat - right).norm()) < 1e-3 * float(right.norm())
    assert told["response_tokens"] == sum(lengths) / 4
