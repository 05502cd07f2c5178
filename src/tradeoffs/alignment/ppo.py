"""RLHF by proximal policy optimisation: a policy, a frozen reference, a value model and a reward.

One update: sample a response to each prompt of a batch; reward its tokens with -beta (log pi - log pi_ref), and its end with
v . (helpfulness, verbosity) / 100 as well; estimate advantages by GAE with the value model; then pass over the batch `EPOCHS` times with

    L_policy = E[max(-A u, -A clip(u, 1 - eps, 1 + eps))],  u = pi / pi_behaviour
    L_value  = E[max((V - R)^2, (clip(V, V_old - eps_v, V_old + eps_v) - R)^2)] / 2

Source: Schulman et al. 2017, arXiv 1707.06347, equation 7; the KL penalty per token as in Ziegler et al. 2019, arXiv 1909.08593.
TRL's PPOTrainer ended as experimental in TRL 1.11; advantages, returns and both losses here are those of its code on the same tensors
(there is a test), as are the constants below. The value model is a linear layer on the last hidden states of the frozen reference: its
trunk is shared and not trained, so that four models fit in the memory of one and a half.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from tradeoffs.alignment.common import finish, judges, merged_copy, new_adapter, save_adapter, start_policy
from tradeoffs.models import Policy
from tradeoffs.parameters import AlignParameters
from tradeoffs.preferences.rewards import Reward, weigh
from tradeoffs.preferences.sampling import Rollout, judging, roll_out
from tradeoffs.progress import bar, note
from tradeoffs.records import TrainingStep, append_jsonl, read_rows
from tradeoffs.tasks.examples import training_examples

if TYPE_CHECKING:
    from peft import PeftModel

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


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the positions of a mask."""
    return (values * mask).sum() / mask.sum()


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
            more state, after its last token, and that is where its score arrives.
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
    logp: Tensor, values: Tensor, old_logp: Tensor, old_values: Tensor, estimates: Estimates
) -> tuple[Tensor, Tensor]:
    """The clipped losses of policy and value model; shapes as in `estimate`.

    Returns:
        (L_policy, L_value), scalars; the whole loss is L_policy + `VALUE_WEIGHT` L_value.
    """
    ratio = torch.exp((logp - old_logp) * estimates.acted)
    surrogate = torch.max(-estimates.advantages * ratio, -estimates.advantages * torch.clamp(ratio, 1 - CLIP, 1 + CLIP))
    values, old_values = values * estimates.valued, old_values * estimates.valued
    clipped = torch.clamp(values, old_values - VALUE_CLIP, old_values + VALUE_CLIP)
    error = torch.max((values - estimates.returns) ** 2, (clipped - estimates.returns) ** 2)
    return masked_mean(surrogate, estimates.acted), 0.5 * masked_mean(error, estimates.valued)


class _Batch(NamedTuple):
    """Responses laid out as rows padded on both sides: prompts end where responses begin."""

    ids: Tensor
    mask: Tensor
    lengths: Tensor
    width: int


def _lay_out(responses: Sequence[Rollout], padding: int, device: Any) -> _Batch:
    head, width = max(len(r.prompt) for r in responses), max(len(r.ids) for r in responses)
    ids = torch.full((len(responses), head + width), padding)
    mask = torch.zeros_like(ids)
    for row, response in enumerate(responses):
        place = slice(head - len(response.prompt), head + len(response.ids))
        ids[row, place] = torch.tensor([*response.prompt, *response.ids])
        mask[row, place] = 1
    lengths = torch.tensor([len(response.ids) for response in responses])
    return _Batch(ids.to(device), mask.to(device), lengths.to(device), width)


def _look(model: Any, batch: _Batch, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probabilities of the responses' tokens, entropies there, and the hidden states before each, in float32."""
    places = (batch.mask.cumsum(1) - 1).clamp(min=0)
    output = model(
        input_ids=batch.ids,
        attention_mask=batch.mask,
        position_ids=places,
        output_hidden_states=True,
        logits_to_keep=batch.width + 1,
    )
    logp = torch.log_softmax(output.logits[:, :-1].float() / temperature, dim=-1)
    picked = logp.gather(-1, batch.ids[:, -batch.width :, None])[..., 0]
    entropy = -(logp.exp() * logp).sum(-1)
    return picked, entropy, output.hidden_states[-1][:, -batch.width - 1 : -1].float()


class _Checkpoints:
    """The state after the last update: adapter, value model, optimizer."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "checkpoints" / "ppo"

    def save(self, step: int, model: PeftModel, value: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Write everything in one move."""
        scratch = self.path.with_name("ppo.partial")
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        trained = {name: weight.detach() for name, weight in model.named_parameters() if weight.requires_grad}
        torch.save(
            {"adapter": trained, "value": value.state_dict(), "optimizer": optimizer.state_dict()}, scratch / "state.pt"
        )
        (scratch / "step.json").write_text(json.dumps(step))
        shutil.rmtree(self.path, ignore_errors=True)
        scratch.rename(self.path)

    def load(self, model: PeftModel, value: torch.nn.Module, optimizer: torch.optim.Optimizer) -> int:
        """Restore the last state, if there is one; give the number of updates done."""
        if not (self.path / "step.json").exists():
            return 0
        state = torch.load(self.path / "state.pt", weights_only=True)
        model.load_state_dict(state["adapter"], strict=False)
        value.load_state_dict(state["value"])
        optimizer.load_state_dict(state["optimizer"])
        return int(json.loads((self.path / "step.json").read_text()))


def train(parameters: AlignParameters, folder: Path) -> dict[str, Any]:
    """Run `steps` updates of `batch_size` responses each; see `tradeoffs.alignment.align`.

    Raises:
        FloatingPointError: a loss is no number; the state after the update before is kept.
    """
    start = start_policy(parameters)
    of = judges(parameters, start, trained=True)
    examples = training_examples(parameters.domain, parameters.prompts, parameters.seed + 1, parameters.code_share)
    model = new_adapter(start.model, parameters)
    device = next(model.parameters()).device
    value = torch.nn.Linear(model.config.hidden_size, 1).to(device)
    torch.nn.init.zeros_(value.weight)
    torch.nn.init.zeros_(value.bias)
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW([*trained, *value.parameters()], lr=parameters.learning_rate, weight_decay=0.0)
    checkpoints, path = _Checkpoints(folder), folder / "steps.jsonl"
    first = checkpoints.load(model, value, optimizer)
    logged = {row.step for row in read_rows(path, TrainingStep)}
    with (
        judging(examples, of.reward_model, of.base, parameters.workers) as judgement,
        bar(total=parameters.steps, initial=first, what="ppo", unit="step") as progress,
    ):
        for step in range(first, parameters.steps):
            began = time.perf_counter()
            for group in optimizer.param_groups:
                group["lr"] = parameters.learning_rate * (1 - step / parameters.steps)
            size = parameters.batch_size
            chosen = [examples[(step * size + k) % len(examples)] for k in range(size)]
            responses = roll_out(
                Policy(merged_copy(model), start.tokenizer),
                chosen,
                step=step,
                temperature=parameters.temperature,
                max_new_tokens=parameters.max_new_tokens,
                seed=parameters.seed,
                on_token=lambda n: note(progress, f"token {n} of at most {parameters.max_new_tokens}"),
            )
            rewards = judgement.rewards([(r.key, r.text, len(r.ids)) for r in responses])
            batch = _lay_out(responses, int(start.tokenizer.pad_token_id or 0), device)
            row = _update(parameters, model, value, optimizer, batch, rewards)
            if not math.isfinite(row["loss"]):
                raise FloatingPointError(
                    f"step {step + 1}: the loss is {row['loss']}; the state after the step before is kept; "
                    "try a smaller learning_rate"
                )
            checkpoints.save(step + 1, model, value, optimizer)
            if step + 1 not in logged:
                tokens, seconds = sum(len(r.ids) for r in responses), round(time.perf_counter() - began, 4)
                append_jsonl(path, [TrainingStep(step=step + 1, kind="step", tokens=tokens, seconds=seconds, **row)])
            progress.update(1)
            progress.set_postfix_str(f"reward {row['reward']:.3f}")
    finish(parameters, save_adapter(model, folder / "new"), folder)
    return {"responses": parameters.steps * parameters.batch_size} | of.summary()


def _update(
    parameters: AlignParameters,
    model: PeftModel,
    value: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: _Batch,
    rewards: Sequence[Reward],
) -> dict[str, float]:
    """Pass over one batch `EPOCHS` times; give the means for the record."""
    scores = torch.tensor([weigh(reward, parameters.weights) / 100 for reward in rewards], device=batch.ids.device)
    with torch.no_grad():
        old_logp, entropy, _ = _look(model, batch, parameters.temperature)
        with model.disable_adapter():
            ref_logp, _, hidden = _look(model, batch, parameters.temperature)
        old_values = value(hidden)[..., 0]
        estimates = estimate(scores, old_logp, ref_logp, old_values, batch.lengths, beta=parameters.beta)
    losses = []
    # The whole batch at once: on a CPU sampling costs more than learning, and batches are small.
    for _ in range(EPOCHS):
        logp, _, _ = _look(model, batch, parameters.temperature)
        policy_loss, value_loss = ppo_losses(logp, value(hidden)[..., 0], old_logp, old_values, estimates)
        loss = policy_loss + VALUE_WEIGHT * value_loss
        if not torch.isfinite(loss):
            return {"loss": float(loss), "reward": float(scores.mean())}
        torch.autograd.backward(loss)
        norm = torch.nn.utils.clip_grad_norm_([w for g in optimizer.param_groups for w in g["params"]], MAX_GRAD_NORM)
        optimizer.step()
        optimizer.zero_grad()
        losses.append((float(loss), float(norm)))
    count = len(rewards)
    return {
        "loss": sum(loss for loss, _ in losses) / len(losses),
        "grad_norm": sum(norm for _, norm in losses) / len(losses),
        "learning_rate": optimizer.param_groups[0]["lr"],
        "entropy": float(masked_mean(entropy, estimates.acted)),
        "kl": float(((old_logp - ref_logp) * estimates.acted).sum() / count),
        "reward": float(scores.mean()),
        "helpfulness": sum(reward.helpfulness for reward in rewards) / count,
        "verbosity": sum(reward.verbosity for reward in rewards) / count,
        "response_tokens": float(batch.lengths.float().mean()),
    }
