"""Measure every method while it trains by the same measure: samples on held-out prompts, a few times over the budget.

What a step tells depends on the method: an offline one sees answers that others gave, an online one its own. Beside each other stand only
samples of the policy as it is then: their rewards, length, entropy, and divergence from the policy that training starts from. Training
takes no notice: the same adapter comes out, bit for bit.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tradeoffs import processes
from tradeoffs.alignment.common import Judges, judges, merged_copy, plain
from tradeoffs.alignment.evaluation import HeldOut, evaluate
from tradeoffs.models import Policy
from tradeoffs.parameters import AlignParameters
from tradeoffs.preferences.rewards import HELPFULNESS, Reward, direction, scalarise, weigh
from tradeoffs.records import TrainingStep, append_jsonl, read_rows
from tradeoffs.tasks.examples import held_out_examples

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedTokenizerBase


class Monitor:
    """Measures before training and then `evaluations` times, evenly over the tokens or steps; writes rows of kind `evaluation`.

    Args:
        of: what rates the responses; None: judges of its own.
    """

    def __init__(
        self, parameters: AlignParameters, folder: Path, tokenizer: PreTrainedTokenizerBase, of: Judges | None = None
    ) -> None:
        self.parameters, self.path, self.tokenizer = parameters, folder / "steps.jsonl", tokenizer
        self.wanted = bool(parameters.evaluations) and processes.is_main()
        if not self.wanted:
            return
        self.of = of or judges(parameters)
        self.examples = held_out_examples(
            parameters.domain, parameters.evaluation_prompts, code_share=parameters.code_share
        )
        self.reference: Policy | None = None
        self.done = sum(row.kind == "evaluation" for row in read_rows(self.path, TrainingStep))

    def __call__(self, model: PeftModel, step: int, spent: int, round: int = 1) -> None:
        """Measure the policy if it is time.

        Args:
            step: optimizer steps so far, in all rounds.
            spent: tokens so far.
        """
        p = self.parameters
        if not self.wanted or self.done > math.floor(p.evaluations * self._share(step, spent) + 1e-9):
            return
        if self.reference is None:
            self.reference = Policy(plain(copy.deepcopy(model)).unload().eval(), self.tokenizer)
        policy, found = Policy(merged_copy(model), self.tokenizer), list[HeldOut]()
        # DPA's prompts state a direction: every other one the first, the rest the last.
        angles = sorted({min(p.angles), max(p.angles)}) if p.method == "dpa" else [None]
        for n, angle in enumerate(angles):
            found += evaluate(
                policy,
                self.reference,
                self.examples[n :: len(angles)],
                self.of,
                angle=angle,
                samples=1,
                temperature=p.temperature,
                max_new_tokens=p.max_new_tokens,
                seed=p.seed,
                workers=p.workers,
            )
        append_jsonl(self.path, [self._row(found, step, round)])
        self.done = math.floor(p.evaluations * self._share(step, spent) + 1e-9) + 1

    def _share(self, step: int, spent: int) -> float:
        p = self.parameters
        if p.token_budget:
            return min(1.0, spent / p.token_budget)
        return min(1.0, step / (p.steps * (p.rounds if p.in_rounds else 1)))

    def _row(self, found: Sequence[HeldOut], step: int, round: int) -> TrainingStep:
        p = self.parameters

        def worth(row: HeldOut) -> float:
            if p.method == "rlvr":
                return float(row.helpfulness == HELPFULNESS["right"])
            reward = Reward(row.helpfulness, row.verbosity)
            return weigh(reward, p.weights) if row.angle is None else scalarise(reward, direction(row.angle))

        def mean(values: Sequence[float | None]) -> float:
            told = [value for value in values if value is not None]
            return math.fsum(told) / len(told)

        return TrainingStep(
            step=step,
            kind="evaluation",
            round=round,
            helpfulness=mean([row.helpfulness for row in found]),
            verbosity=mean([row.verbosity for row in found]),
            reward=mean([worth(row) for row in found]),
            response_tokens=mean([row.tokens for row in found]),
            entropy=mean([row.entropy for row in found]),
            kl=mean([row.kl for row in found]),
        )
