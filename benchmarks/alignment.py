"""What a trainer costs beyond the forward and backward pass that its batches need: tokens per second of both, side by side.

A step counts from its begin to the next one's, with its checkpoint where one is due: sampling and rewards where the method samples while
it trains (their share is listed), forward and backward passes, the reference model's, the optimizer, logging. After each step its batches
are passed forward and backward once through a copy of the model, scored positions only, by nothing but PyTorch; steps and bare passes so
alternate and meet the same state of the machine. PPO passes over a batch four times, and so do its bare passes.

    python benchmarks/alignment.py --steps 8
"""

from __future__ import annotations

import argparse
import copy
import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import torch

from tradeoffs.alignment import align, common, ppo, rloo, rlvr
from tradeoffs.alignment.common import plain
from tradeoffs.parameters import AlignParameters
from tradeoffs.records import provenance, write_text

SHARED: dict[str, Any] = dict(
    domain="general", prompts=24, samples=4, max_new_tokens=32, batch_size=8, weights=[0.7071, -0.7071]
)
METHODS: dict[str, dict[str, Any]] = {
    "sft": {"method": "sft", "domain": "code"},
    "rsft": {"method": "rsft"},
    "scalarization": {"method": "scalarization"},
    "dpa": {"method": "dpa", "angles": [-45.0, 0.0, 45.0], "angles_per_prompt": 3, "samples": 2},
    "dpo": {"method": "dpo", "batch_size": 4},
    "rrhf": {"method": "rrhf", "batch_size": 2},
    "rloo": {"method": "rloo"},
    "rlvr": {"method": "rlvr", "domain": "code"},
    "ppo": {"method": "ppo"},
}


class Pass(NamedTuple):
    """What was passed forward and backward: token ids, which are real, and which are scored, each (rows, length)."""

    ids: torch.Tensor
    mask: torch.Tensor
    scored: torch.Tensor


class Step(NamedTuple):
    """Seconds and tokens of one step and of its bare passes."""

    seconds: float
    sampling: float
    bare: float
    tokens: int


def seen(inputs: Any) -> Pass:
    """A TRL trainer's batch as what it computes on."""
    if "prompt_ids" in inputs:
        ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], 1)
        mask = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], 1)
        return Pass(
            ids, mask, torch.cat([torch.zeros_like(inputs["prompt_mask"]), inputs["completion_mask"]], 1).bool()
        )
    scored = inputs["labels"] != -100 if "labels" in inputs else inputs["completion_mask"].bool()
    return Pass(inputs["input_ids"], inputs["attention_mask"], scored)


def bare(model: Any, batch: Pass) -> float:
    """Pass a batch forward and backward, the scored positions' log-probabilities being the loss; give the seconds."""
    began = time.perf_counter()
    places = (batch.mask.cumsum(1) - 1).clamp(min=0)
    backbone, head = model.get_base_model().base_model, model.get_output_embeddings()
    hidden = backbone(input_ids=batch.ids, attention_mask=batch.mask, position_ids=places).last_hidden_state
    where = batch.scored[:, 1:]
    logp = torch.log_softmax(head(hidden[:, :-1][where]).float(), -1)
    (-logp.gather(-1, batch.ids[:, 1:][where][:, None]).mean()).backward()
    model.zero_grad()
    return time.perf_counter() - began


class Meter:
    """Times steps and the bare passes after them."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.batches: list[Pass] = []
        self.began = self.sampling = 0.0
        self.copy: Any = None

    def begin(self) -> None:
        """A step begins."""
        self.batches.clear()
        self.sampling, self.began = 0.0, time.perf_counter()

    def end(self, model: Any) -> None:
        """A step has ended; pass its batches through a copy of the model."""
        seconds = time.perf_counter() - self.began
        if self.copy is None:
            self.copy = plain(copy.deepcopy(model)).train()
            for batch in self.batches:
                bare(self.copy, batch)  # warm
        spent = sum(bare(self.copy, batch) for batch in self.batches)
        self.steps.append(Step(seconds, self.sampling, spent, sum(int(batch.mask.sum()) for batch in self.batches)))

    def timed(self, work: Callable[..., Any]) -> Callable[..., Any]:
        """A function whose seconds count as sampling and rewards."""

        def wrapped(*given: Any, **named: Any) -> Any:
            began = time.perf_counter()
            result = work(*given, **named)
            self.sampling += time.perf_counter() - began
            return result

        return wrapped


@contextmanager
def metered(meter: Meter) -> Iterator[None]:
    """Within this context every trainer's steps are timed."""
    from trl import GRPOTrainer, RLOOTrainer

    run, look = common.guard, ppo.look
    step_begin, train_end = common.StepLog.on_step_begin, common.StepLog.on_train_end
    sample, save = ppo._Learner.sample, ppo._Checkpoints.save

    def watch(trainer: Any) -> None:
        run(trainer)
        compute = trainer.compute_loss

        def noting(model: Any, batch: Any, *more: Any, **others: Any) -> Any:
            meter.batches.append(seen(batch))
            return compute(model, batch, *more, **others)

        trainer.compute_loss = noting

    def on_step_begin(self: Any, *given: Any, model: Any, **named: Any) -> None:
        if meter.batches:
            meter.end(model)
        meter.begin()
        step_begin(self, *given, model=model, **named)

    def on_train_end(self: Any, *given: Any, model: Any, **named: Any) -> None:
        meter.end(model)
        train_end(self, *given, model=model, **named)

    def first(self: Any, *given: Any) -> Any:
        meter.begin()
        return meter.timed(sample)(self, *given)

    def looking(model: Any, batch: Any, temperature: float) -> Any:
        if torch.is_grad_enabled():
            scored = torch.zeros_like(batch.mask).bool()
            scored[:, -batch.width :] = torch.arange(batch.width)[None, :] < batch.lengths[:, None]
            meter.batches.append(Pass(batch.ids, batch.mask, scored))
        return look(model, batch, temperature)

    def last(self: Any, step: int, model: Any, *rest: Any) -> None:
        save(self, step, model, *rest)
        meter.end(model)

    with (
        mock.patch.object(common, "guard", watch),
        mock.patch.object(common.StepLog, "on_step_begin", on_step_begin),
        mock.patch.object(common.StepLog, "on_train_end", on_train_end),
        mock.patch.object(ppo._Learner, "sample", first),
        mock.patch.object(ppo, "look", looking),
        mock.patch.object(ppo._Checkpoints, "save", last),
        mock.patch.object(rloo, "responses", meter.timed(rloo.responses)),
        mock.patch.object(rlvr, "responses", meter.timed(rlvr.responses)),
        mock.patch.object(RLOOTrainer, "_calculate_rewards", meter.timed(RLOOTrainer._calculate_rewards)),
        mock.patch.object(GRPOTrainer, "_calculate_rewards", meter.timed(GRPOTrainer._calculate_rewards)),
    ):
        yield


def ratio(steps: Sequence[Step]) -> dict[str, Any]:
    """Tokens per second of trainer and bare passes, and the mean of the logarithm of their quotient with Student's 95 % interval."""
    from scipy import stats

    logs = [math.log(step.seconds / step.bare) for step in steps]
    mean = sum(logs) / len(logs)
    half = float(stats.t.ppf(0.975, len(logs) - 1) * stats.sem(logs)) if len(logs) > 1 else math.nan
    tokens, seconds, alone = (sum(getattr(step, name) for step in steps) for name in ("tokens", "seconds", "bare"))
    return {
        "steps": len(steps),
        "tokens": tokens,
        "trainer_tokens_per_s": tokens / seconds,
        "bare_tokens_per_s": tokens / alone,
        "sampling_share": sum(step.sampling for step in steps) / seconds,
        "overhead": math.exp(mean),
        "low": math.exp(mean - half),
        "high": math.exp(mean + half),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and write `RESULTS/benchmarks/alignment.csv`."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=8, help="measured steps; one more is taken first, to warm up")
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/alignment.csv"))
    a = parser.parse_args(argv)
    if a.steps < 2:
        parser.error(f"--steps: got {a.steps}; accepts at least 2, for an interval")
    lines = []
    for name in a.methods:
        meter = Meter()
        with tempfile.TemporaryDirectory(prefix="alignment-") as folder, metered(meter):
            align(AlignParameters(**SHARED | METHODS[name] | {"model": a.model, "out": folder, "steps": a.steps + 1}))
        found = {"method": name} | ratio(meter.steps[1:])
        print({key: round(value, 3) if isinstance(value, float) else value for key, value in found.items()}, flush=True)
        lines.append(found)
        # after every method: a later one may be interrupted
        header = ",".join(lines[0])
        write_text(
            a.out, "\n".join([header, *(",".join(str(value) for value in row.values()) for row in lines)]) + "\n"
        )
        write_text(a.out.with_suffix(".json"), provenance().model_dump_json(indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
