"""RLHF by proximal policy optimisation: a policy, a frozen reference, a value model and a reward.

One update: sample a response to each prompt of a batch; reward its tokens with -beta (log pi - log pi_ref), and its end with
v . (helpfulness, verbosity) / 100 as well; estimate advantages by GAE with the value model; then pass over the batch `EPOCHS` times with

    L_policy = E[max(-A u, -A clip(u, 1 - eps, 1 + eps))],  u = pi / pi_behaviour
    L_value  = E[max((V - R)^2, (clip(V, V_old - eps_v, V_old + eps_v) - R)^2)] / 2

Source: Schulman et al. 2017, arXiv 1707.06347, equation 7; the KL penalty per token as in Ziegler et al. 2019, arXiv 1909.08593.
Batches may be cut into micro-batches and spread over processes: the losses of the parts, each divided by the whole batch's counts, add up.
TRL's PPOTrainer ended as experimental in TRL 1.11; advantages, returns and both losses here are those of its code on the same tensors
(there is a test), as are the constants below. The value model is a linear layer on the last hidden states of the frozen reference: its
trunk is shared and not trained, so that four models fit in the memory of one and a half. It begins at the mean reward of the first batch:
one that begins at 0 takes that mean for the merit of each response's last tokens, and PPO first learns to stop, or not to, whatever the
reward says (the value's bias at the start: Yuan et al. 2025, arXiv 2503.01491).
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from tradeoffs import processes
from tradeoffs.alignment.common import (
    Schedule,
    finish,
    judges,
    merged_copy,
    micro_batch,
    new_adapter,
    or_which_fits,
    prompts,
    schedule,
    start_policy,
)
from tradeoffs.alignment.likelihood import at_longest, lay_out, look, masked_mean
from tradeoffs.alignment.monitor import Monitor
from tradeoffs.models import Policy
from tradeoffs.parameters import AlignParameters
from tradeoffs.preferences.rewards import Reward, shuffled, weigh
from tradeoffs.preferences.sampling import Judgement, judging, prompt_ids, respond
from tradeoffs.progress import bar, note
from tradeoffs.records import TrainingStep, append_jsonl, read_rows
from tradeoffs.tasks.examples import Example

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedTokenizerBase

EPOCHS, CLIP, VALUE_CLIP, VALUE_WEIGHT, GAMMA, LAMBDA = 4, 0.2, 0.2, 0.1, 1.0, 0.95
MAX_GRAD_NORM = 1.0


class Estimates(NamedTuple):
    """What a batch of responses is worth, token by token, each of shape (responses, width).

    Attributes:
        advantages: whitened over all tokens; 0 after a response's end.
        returns: targets of the value model.
        acted: which positions are tokens of the response.
        valued: these, and the state after the last one.
    """

    advantages: Tensor
    returns: Tensor
    acted: Tensor
    valued: Tensor


def estimate(
    scores: Tensor,
    logp: Tensor,
    ref_logp: Tensor,
    values: Tensor,
    lengths: Tensor,
    *,
    beta: float,
    gamma: float = GAMMA,
    lam: float = LAMBDA,
) -> Estimates:
    """Reward tokens, and estimate advantages by GAE.

    Args:
        scores: reward of each response, shape (responses,).
        logp, ref_logp: log-probabilities of the tokens under policy and reference, shape (responses, width).
        values: the value model's estimate before each token, same shape.
        lengths: tokens of each response, at least 1, shape (responses,). As in TRL, a response that ends before the width has one
            more state, after its last token, and that is where its score arrives; at the width it arrives with the last token.
        beta: weight of the KL penalty.
        gamma, lam: discount, and GAE's weight of longer returns (arXiv 1506.02438, equation 16).
    """
    width = logp.shape[1]
    place = torch.arange(width, device=logp.device)[None, :]
    acted, valued = place < lengths[:, None], place <= lengths[:, None]
    values = values * valued
    rewards = -beta * (logp - ref_logp) * acted
    rewards[torch.arange(len(scores)), lengths.clamp(max=width - 1)] += scores
    advantage, found = torch.zeros_like(scores), []
    for t in reversed(range(width)):
        following = values[:, t + 1] if t < width - 1 else torch.zeros_like(scores)
        advantage = rewards[:, t] + gamma * following - values[:, t] + gamma * lam * advantage
        found.append(advantage)
    raw = torch.stack(found[::-1], dim=1)
    mean = masked_mean(raw, acted)
    count = acted.sum().to(raw.dtype)
    spread = masked_mean((raw - mean) ** 2, acted) * count / (count - 1).clamp(min=1)
    return Estimates((raw - mean) * torch.rsqrt(spread + 1e-8) * acted, raw + values, acted, valued)


def ppo_losses(
    logp: Tensor,
    values: Tensor,
    old_logp: Tensor,
    old_values: Tensor,
    estimates: Estimates,
    counts: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """The clipped losses of policy and value model; shapes as in `estimate`.

    Args:
        counts: acted and valued positions of the whole batch where this is a part of one; the parts' losses then add up to its losses.

    Returns:
        (L_policy, L_value), scalars; the whole loss is L_policy + `VALUE_WEIGHT` L_value.
    """
    ratio = torch.exp((logp - old_logp) * estimates.acted)
    surrogate = torch.max(-estimates.advantages * ratio, -estimates.advantages * torch.clamp(ratio, 1 - CLIP, 1 + CLIP))
    values, old_values = values * estimates.valued, old_values * estimates.valued
    clipped = torch.clamp(values, old_values - VALUE_CLIP, old_values + VALUE_CLIP)
    error = torch.max((values - estimates.returns) ** 2, (clipped - estimates.returns) ** 2)
    acted, valued = counts or (estimates.acted.sum(), estimates.valued.sum())
    return (surrogate * estimates.acted).sum() / acted, 0.5 * (error * estimates.valued).sum() / valued


class _Response(NamedTuple):
    """One response of a step with what it answers: token ids, the stop token among them, and the text."""

    key: int
    prompt: list[int]
    ids: list[int]
    text: str
    reward: Reward


class _Checkpoints:
    """The state after the last update: adapter, value model, optimizer."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "checkpoints" / "ppo.pt"

    def save(self, step: int, model: PeftModel, value: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Write everything in one move."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        trained = {name: weight.detach() for name, weight in model.named_parameters() if weight.requires_grad}
        state = {"step": step, "adapter": trained, "value": value.state_dict(), "optimizer": optimizer.state_dict()}
        scratch = self.path.with_suffix(".partial")
        torch.save(state, scratch)
        scratch.replace(self.path)

    def load(self, model: PeftModel, value: torch.nn.Module, optimizer: torch.optim.Optimizer) -> int:
        """Restore the last state, if there is one; give the number of updates done."""
        if not self.path.exists():
            return 0
        state = torch.load(self.path, weights_only=True)
        model.load_state_dict(state["adapter"], strict=False)
        value.load_state_dict(state["value"])
        optimizer.load_state_dict(state["optimizer"])
        return int(state["step"])


class _Learner:
    """Policy, value model and optimizer, and how one step is done with them."""

    def __init__(self, parameters: AlignParameters, model: PeftModel, tokenizer: PreTrainedTokenizerBase) -> None:
        from accelerate import Accelerator

        self.parameters, self.model, self.tokenizer = parameters, model, tokenizer
        self.device = next(model.parameters()).device
        self.accelerator = Accelerator(cpu=self.device.type == "cpu")
        self.value = torch.nn.Linear(model.config.hidden_size, 1).to(self.device)
        torch.nn.init.zeros_(self.value.weight)
        self.trained = [weight for weight in [*model.parameters(), *self.value.parameters()] if weight.requires_grad]
        self.optimizer = torch.optim.AdamW(self.trained, lr=parameters.learning_rate, weight_decay=0.0)
        self.micro = micro_batch(parameters)[0]
        each = parameters.batch_size // processes.count()
        self.mine = range(processes.rank() * each, (processes.rank() + 1) * each)

    def sample(self, examples: Sequence[Example], step: int, judgement: Judgement, progress: Any) -> list[_Response]:
        """Sample a response to each example and rate it; each process does its share, and all get all."""
        from accelerate.utils import gather_object

        p, own = self.parameters, [examples[n] for n in self.mine]
        completions = respond(
            Policy(merged_copy(self.model), self.tokenizer),
            [prompt_ids(self.tokenizer, example) for example in own],
            self.mine,
            step=step,
            temperature=p.temperature,
            max_new_tokens=p.max_new_tokens,
            seed=p.seed,
            on_token=lambda n: note(progress, f"token {n} of at most {p.max_new_tokens}"),
        )
        rewards = judgement.rewards([(e.key, c.text, len(c.ids)) for e, c in zip(own, completions, strict=True)])
        found = [
            _Response(e.key, prompt_ids(self.tokenizer, e), list(c.ids), c.text, reward)
            for e, c, reward in zip(own, completions, rewards, strict=True)
        ]
        return [_Response(*row) for row in gather_object(found)] if processes.count() > 1 else found

    def parts(self) -> list[slice]:
        """This process's micro-batches as rows of the whole batch."""
        return [slice(n, n + self.micro) for n in self.mine[:: self.micro]]

    def update(self, responses: Sequence[_Response], scores: Tensor, *, first: bool) -> dict[str, Any]:
        """Pass over one batch `EPOCHS` times; give the means for the record.

        Args:
            responses: the batch.
            scores: reward of each, shape (responses,).
            first: whether nothing was learnt yet.

        Raises:
            FloatingPointError: a loss is no number; the message names the sample.
        """
        p, scores = self.parameters, scores.to(self.device)
        if first:
            torch.nn.init.constant_(self.value.bias, float(scores.mean()))
        # With room for the state after the longest response: without it that response's score would arrive one state earlier than when a
        # longer one stands beside it.
        pad = int(self.tokenizer.pad_token_id or 0)
        batch = lay_out([(r.prompt, r.ids) for r in responses], pad, self.device, spare=1)
        with torch.no_grad():
            looks = [look(self.model, batch.part(rows), p.temperature) for rows in self.parts()]
            with self.model.disable_adapter():
                refs = [look(self.model, batch.part(rows), p.temperature) for rows in self.parts()]
            hidden = torch.cat([ref[2] for ref in refs])
            own = [torch.cat([found[0] for found in looks]), torch.cat([ref[0] for ref in refs])]
            own += [torch.cat([found[1] for found in looks]), self.value(hidden)[..., 0]]
            old_logp, ref_logp, entropy, old_values = map(self._gather, own)
            estimates = estimate(scores, old_logp, ref_logp, old_values, batch.lengths, beta=p.beta)
        counts = estimates.acted.sum(), estimates.valued.sum()
        losses = []
        for _ in range(EPOCHS):
            total = torch.zeros((), device=self.device)
            for rows in self.parts():
                logp, _, _ = look(self.model, batch.part(rows), p.temperature)
                begin = rows.start - self.mine.start
                values = self.value(hidden[begin : begin + self.micro])[..., 0]
                part = Estimates(*(tensor[rows] for tensor in estimates))
                policy_loss, value_loss = ppo_losses(logp, values, old_logp[rows], old_values[rows], part, counts)
                loss = policy_loss + VALUE_WEIGHT * value_loss
                if not torch.isfinite(loss):
                    raise FloatingPointError(_blame(responses[rows], logp, values, float(loss)))
                torch.autograd.backward(loss)
                total += loss.detach()
            losses.append((float(self._reduce(total)), self._descend()))
        count = len(responses)
        return {
            "loss": sum(loss for loss, _ in losses) / len(losses),
            "grad_norm": sum(norm for _, norm in losses) / len(losses),
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "entropy": float(masked_mean(entropy, estimates.acted)),
            "kl": float(((old_logp - ref_logp) * estimates.acted).sum() / count),
            "reward": float(scores.mean()),
            "helpfulness": sum(row.reward.helpfulness for row in responses) / count,
            "verbosity": sum(row.reward.verbosity for row in responses) / count,
            "response_tokens": float(batch.lengths.float().mean()),
        }

    def _descend(self) -> float:
        """Add up the processes' gradients, clip, and step; give the gradient's norm."""
        for weight in self.trained:
            if weight.grad is not None:
                weight.grad = self._reduce(weight.grad)
        norm = float(torch.nn.utils.clip_grad_norm_(self.trained, MAX_GRAD_NORM))
        if not math.isfinite(norm):
            raise FloatingPointError(f"the gradient's norm is {norm}")
        self.optimizer.step()
        self.optimizer.zero_grad()
        return norm

    def _gather(self, own: Tensor) -> Tensor:
        return self.accelerator.gather(own) if processes.count() > 1 else own  # type: ignore[no-any-return]

    def _reduce(self, own: Tensor) -> Tensor:
        return self.accelerator.reduce(own, "sum") if processes.count() > 1 else own  # type: ignore[no-any-return]


def _blame(responses: Sequence[_Response], logp: Tensor, values: Tensor, loss: float) -> str:
    bad = ~(logp.isfinite().all(1) & values.isfinite().all(1))
    which = responses[int(bad.int().argmax())] if bool(bad.any()) else None
    sample = (
        f"a response to training prompt {which.key} ({which.text[:60]!r})" if which else "no sample alone explains it"
    )
    return f"the loss is {loss}; {sample}"


def train(parameters: AlignParameters, folder: Path) -> dict[str, Any]:
    """Update on `batch_size` responses a step; see `tradeoffs.alignment.align`.

    Raises:
        FloatingPointError: a loss is no number; the state after the update before is kept.
        MemoryError: a batch does not fit; the message says which would.
    """
    start, plan = start_policy(parameters), schedule(parameters)
    of, examples = judges(parameters), prompts(parameters, start.tokenizer)
    learner = _Learner(parameters, new_adapter(start.model, parameters), start.tokenizer)
    checkpoints, path = _Checkpoints(folder), folder / "steps.jsonl"
    first = checkpoints.load(learner.model, learner.value, learner.optimizer)
    with judging(examples, of.reward_model, of.base, parameters.workers) as judgement:
        monitor = Monitor(parameters, folder, start.tokenizer, of)
        steps = or_which_fits(
            lambda: _steps(learner, plan, examples, judgement, checkpoints, path, first, monitor),
            learner.micro,
            at_longest(learner.model, start.tokenizer, examples, parameters.max_new_tokens),
        )
    finish(parameters, learner.model, folder)
    return {"responses": steps * parameters.batch_size} | of.summary()


def _steps(
    learner: _Learner,
    plan: Schedule,
    examples: Sequence[Example],
    judgement: Judgement,
    checkpoints: _Checkpoints,
    path: Path,
    first: int,
    monitor: Monitor,
) -> int:
    """Step until the plan is fulfilled; give the number of steps."""
    p, step = learner.parameters, first
    logged = {row.step: row.tokens or 0 for row in read_rows(path, TrainingStep) if row.kind == "step"}
    spent = sum(tokens for done, tokens in logged.items() if done <= first)
    size = plan.limit or plan.steps
    with bar(
        total=size,
        initial=min(size, spent if plan.limit else first),
        what="ppo",
        unit="token" if plan.limit else "step",
    ) as b:
        monitor(learner.model, step, (spent if plan.limit else step) / size)
        while spent < plan.limit if plan.limit else step < plan.steps:
            began = time.perf_counter()
            for group in learner.optimizer.param_groups:
                group["lr"] = p.learning_rate * (1 - (spent / plan.limit if plan.limit else step / plan.steps))
            chosen = [examples[(step * p.batch_size + k) % len(examples)] for k in range(p.batch_size)]
            try:
                responses = learner.sample(chosen, step, judgement, b)
                rewards = [row.reward for row in responses]
                if p.shuffle_rewards:
                    rewards = shuffled(rewards, [0] * len(rewards), f"{p.seed}/{step}")
                scores = torch.tensor([weigh(reward, p.weights) / 100 for reward in rewards])
                row = learner.update(responses, scores, first=step == 0)
            except FloatingPointError as error:
                raise FloatingPointError(
                    f"step {step + 1}: {error}; the state after the step before is kept; try a smaller learning_rate"
                ) from None
            step += 1
            tokens = (1 + EPOCHS) * sum(len(r.prompt) + len(r.ids) for r in responses)
            if processes.is_main():
                # The row first: a step whose row is there is done again after a kill, one without a row would never get it.
                if step not in logged:
                    seconds = round(time.perf_counter() - began, 4)
                    append_jsonl(path, [TrainingStep(step=step, tokens=tokens, seconds=seconds, **row)])
                checkpoints.save(step, learner.model, learner.value, learner.optimizer)
            processes.wait()
            b.update(min(tokens, size - spent) if plan.limit else 1)
            b.set_postfix_str(f"reward {row['reward']:.3f}")
            spent += tokens
            monitor(learner.model, step, (spent if plan.limit else step) / size)
    return step
