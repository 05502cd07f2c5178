"""Reinforcement learning from verifiable rewards: GRPO whose reward is the grader's verdict, 1 for a pass and 0 for anything else.

For k samples of one prompt with verdicts V_i: A_i = (V_i - mean) / std, a clipped policy-gradient step with A_i on every token, and
beta times the KL divergence from the policy that training starts from; the mean is over all tokens of the step (DAPO, arXiv 2503.14476),
and the divergence's gradient the unbiased one (DeepSeek-V3.2, arXiv 2512.02556), as TRL has them by default. The tasks are generated;
evaluation problems are never among them. The grader says `failed` where a program tampers with its test, so that cheating is not rewarded.

Source: DeepSeekMath (GRPO), arXiv 2402.03300, section 4.1; TRL's GRPOTrainer.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tradeoffs.alignment.rloo import reinforce, responses
from tradeoffs.parameters import AlignParameters
from tradeoffs.preferences.rewards import HELPFULNESS

if TYPE_CHECKING:
    from transformers import Trainer


def train(parameters: AlignParameters, folder: Path) -> dict[str, Any]:
    """Train on verdicts; see `tradeoffs.alignment.align`."""
    from trl.trainer.grpo_config import GRPOConfig
    from trl.trainer.grpo_trainer import GRPOTrainer

    class Sampling(GRPOTrainer):  # type: ignore[misc]
        """GRPO whose samples come from this study's engine."""

        def _generate_single_turn(self, prompt_ids: list[list[int]], *_: Any) -> tuple[list[list[int]], None]:
            return responses(self, parameters, prompt_ids), None

    def build(rewards: list[Any], settings: dict[str, Any], rest: dict[str, Any]) -> Trainer:
        helpfulness, verbosity = rewards

        def passed(**given: Any) -> list[float | None]:
            return [float(value == HELPFULNESS["right"]) for value in helpfulness(**given)]

        # Graded helpfulness and verbosity are recorded, with weight 0; the verdict alone is rewarded.
        config = GRPOConfig(**settings, reward_weights=[1.0, 0.0, 0.0])
        return Sampling(reward_funcs=[passed, helpfulness, verbosity], args=config, **rest)  # type: ignore[no-any-return]

    return reinforce(parameters, folder, build)
