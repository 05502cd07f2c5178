"""Measure every method while it trains in the same way: samples on held-out prompts, a few times over its budget.

What a step tells depends on the method: an offline one sees answers that others gave, an online one its own. Beside each other stand only
samples of the policy as it is then: their length, entropy, divergence from the policy that training starts from, and reward. Training
takes no notice: the same adapter comes out, bit for bit.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from accelerate.utils.memory import should_reduce_batch_size

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
        rounds: how many rounds of sampling and training there are; 1 where a method trains once.
    """

    def __init__(
        self,
        parameters: AlignParameters,
        folder: Path,
        tokenizer: PreTrainedTokenizerBase,
        of: Judges | None = None,
        rounds: int = 1,
    ) -> None:
        self.parameters, self.path, self.tokenizer, self.rounds = parameters, folder / "steps.jsonl", tokenizer, rounds
        self.wanted = bool(parameters.evaluations)
        if not self.wanted:
            return
        self.of = of or judges(parameters)  # in every process: they wait for each other there
        self.examples = held_out_examples(
            parameters.domain, parameters.evaluation_prompts, code_share=parameters.code_share
        )
        self.reference: Policy | None = None
        done = [row.progress for row in read_rows(self.path, TrainingStep) if row.progress is not None]
        self.last = self._due(max(done)) if done else -1

    def __call__(self, model: PeftModel, step: int, done: float, round: int = 1) -> None:
        """Measure the policy if it is time.

        Args:
            model: the policy, its adapter not merged.
            step: optimizer steps so far, in all rounds.
            done: share of this round's training that is done.

        Raises:
            MemoryError: the copies of the model do not fit.
        """
        if not self.wanted or not processes.is_main():
            return
        p = self.parameters
        due = self._due((round - 1 + min(1.0, done)) / self.rounds)
        if due <= self.last:
            return
        try:
            found = self._measure(model)
        except RuntimeError as error:
            if not should_reduce_batch_size(error):
                raise
            raise MemoryError(
                f"evaluations: the model's copies do not fit into memory ({str(error).splitlines()[0]}); accepts 0, or fewer "
                "evaluation_prompts; the last checkpoint is kept"
            ) from None
        append_jsonl(self.path, [self._row(found, step, round, due / p.evaluations)])
        self.last = due

    def _due(self, progress: float) -> int:
        """The number of the evaluation that is due when this share of the training is done, from 0."""
        return math.floor(self.parameters.evaluations * progress + 1e-9)

    def _measure(self, model: PeftModel) -> list[HeldOut]:
        p = self.parameters
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
        return found

    def _row(self, found: Sequence[HeldOut], step: int, round: int, progress: float) -> TrainingStep:
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
            progress=progress,
            helpfulness=mean([row.helpfulness for row in found]),
            verbosity=mean([row.verbosity for row in found]),
            reward=mean([worth(row) for row in found]),
            response_tokens=mean([row.tokens for row in found]),
            entropy=mean([row.entropy for row in found]),
            kl=mean([row.kl for row in found]),
        )
