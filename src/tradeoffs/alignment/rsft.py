"""Rejection-sampling fine-tuning: the best of n samples by a scalar reward, kept and learnt, again and again.

Each round: sample n responses to every prompt from the current policy; rate each; keep the one with the highest reward; fine-tune on
what was kept, L = -log pi(y* | x). It approximates pi*(y|x) proportional to pi_ref(y|x) exp(R(x, y) / tau). With n = 1 nothing is
rejected and a round is supervised fine-tuning on the policy's own samples.

Source: RLHFlow guidebook, section 3.5; Dong et al. 2023 (RAFT), arXiv 2304.06767.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tradeoffs.alignment.rounds import Learn, Round, rounds
from tradeoffs.alignment.sft import fine_tune
from tradeoffs.parameters import AlignParameters
from tradeoffs.preferences.sampling import best

if TYPE_CHECKING:
    from peft import PeftModel


def train(parameters: AlignParameters, folder: Path) -> dict[str, Any]:
    """Run `rounds` rounds on the reward `weights . (helpfulness, verbosity)`; see `tradeoffs.alignment.align`."""
    return rounds(parameters, folder, on_the_best(parameters))


def on_the_best(parameters: AlignParameters, group: Callable[[int], Hashable] | None = None) -> Learn:
    """Fine-tune on the best response to each prompt.

    Args:
        group: of a prompt's key; the prompts of a group are learnt side by side.

    The method raises ValueError where no response ended by itself.
    """

    def learn(model: PeftModel, of: Round) -> PeftModel:
        chosen = best(of.rated, of.rewards)
        kept = [(of.messages[row.key], row.text) for row in chosen]
        groups = [group(row.key) for row in chosen] if group else None
        if not kept:
            raise ValueError(
                f"max_new_tokens: got {parameters.max_new_tokens}; every sampled response was cut there; accepts more"
            )
        return fine_tune(model, of.tokenizer, kept, parameters, of.folder, plan=of.plan, log=of.log, groups=groups)

    return learn
