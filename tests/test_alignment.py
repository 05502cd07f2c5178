"""Training: the registry, losses against hand-worked values, resumption, and an adapter that is one whole."""

import contextlib
import importlib
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from tradeoffs.alignment import METHODS, align
from tradeoffs.alignment.common import last_checkpoint
from tradeoffs.models import load
from tradeoffs.parameters import AlignParameters
from tradeoffs.records import TrainingStep, read_rows
from tradeoffs.tasks.examples import training_examples


def parameters(tiny: Path, out: Path, **changes: object) -> AlignParameters:
    values = dict(
        model=str(tiny),
        out=str(out),
        steps=3,
        batch_size=2,
        lora_rank=4,
        max_length=2048,
        learning_rate=1e-3,
        dtype="float32",  # the same numbers on machines that multiply bfloat16 natively
    )
    return AlignParameters(**(values | changes))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "adapter" / "adapter_model.safetensors")


def test_every_registered_method_is_a_module_that_trains() -> None:
    assert set(METHODS) >= {"sft", "ppo", "rloo", "dpo", "rsft", "rlvr", "rrhf", "scalarization", "dpa"}
    for name, module in METHODS.items():
        assert AlignParameters(method=name).method == name
        assert callable(importlib.import_module(module).train)


def test_sft_loss_is_the_mean_negative_log_likelihood_of_the_completion_alone(tiny: Path, tmp_path: Path) -> None:
    p = parameters(tiny, tmp_path / "sft", steps=1)
    align(p)
    policy = load(str(tiny), dtype="float32")
    total, count = 0.0, 0
    for example in training_examples("code", 2, 0):
        prompt = policy.tokenizer.apply_chat_template(example.messages(), add_generation_prompt=True, return_dict=False)
        answer = [*policy.tokenizer(example.reference)["input_ids"], policy.tokenizer.eos_token_id]
        with torch.no_grad():
            logits = policy.model(torch.tensor([[*prompt, *answer]])).logits[0].double().numpy()
        for position, token in enumerate(answer, len(prompt)):
            row = logits[position - 1]
            total += np.log(np.exp(row - row.max()).sum()) + row.max() - row[token]
            count += 1
    logged = read_rows(tmp_path / "sft" / "steps.jsonl", TrainingStep)[0].loss
    assert logged == pytest.approx(total / count, abs=2e-4)


@pytest.mark.parametrize("method", ["sft", "dpo"])
def test_scoring_answers_only_changes_neither_loss_nor_weights(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    shared = dict(method=method, domain="general", prompts=4, samples=2, max_new_tokens=6, steps=2)
    align(parameters(tiny, tmp_path / "answers", **shared))
    monkeypatch.setattr(f"tradeoffs.alignment.{method}.scored_positions_only", contextlib.nullcontext)
    align(parameters(tiny, tmp_path / "everything", **shared))
    logged = [
        [row.loss for row in read_rows(tmp_path / name / "steps.jsonl", TrainingStep)]
        for name in ("answers", "everything")
    ]
    assert logged[0] == pytest.approx(logged[1], abs=1e-5)
    other = weights(tmp_path / "everything")
    # Adam divides by the gradient's size, so rounding in an element whose gradient is near zero shows in full
    for name, tensor in weights(tmp_path / "answers").items():
        assert torch.quantile((tensor - other[name]).abs().float(), 0.99) < 1e-5, name


def test_dpo_starts_at_log_two(tiny: Path, tmp_path: Path) -> None:
    record = align(
        parameters(
            tiny, tmp_path / "dpo", method="dpo", domain="general", prompts=4, samples=2, max_new_tokens=6, steps=1
        )
    )
    samples, first = read_rows(tmp_path / "dpo" / "steps.jsonl", TrainingStep)
    assert samples.kind == "round" and first.kind == "step"
    assert first.loss == pytest.approx(math.log(2), abs=1e-5)
    assert record.counts["completed"] == 1


@pytest.mark.usefixtures("saved_every_step")
def test_a_killed_run_resumes_to_the_same_adapter(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tradeoffs.alignment import common

    align(parameters(tiny, tmp_path / "whole"))
    original = common.StepLog.on_step_begin

    def dies(self, args, state, control, **kw):  # type: ignore[no-untyped-def]
        if state.global_step == 2:
            raise KeyboardInterrupt
        original(self, args, state, control, **kw)

    monkeypatch.setattr(common.StepLog, "on_step_begin", dies)
    with pytest.raises(KeyboardInterrupt):
        align(parameters(tiny, tmp_path / "cut"))
    assert last_checkpoint(tmp_path / "cut") is not None
    monkeypatch.setattr(common.StepLog, "on_step_begin", original)
    align(parameters(tiny, tmp_path / "cut"))
    whole, cut = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    assert [row.step for row in read_rows(tmp_path / "cut" / "steps.jsonl", TrainingStep)] == [1, 2, 3]


def test_a_checkpoint_cut_short_by_a_kill_is_passed_over(tmp_path: Path) -> None:
    good, stump = (tmp_path / "checkpoints" / f"checkpoint-{n}" for n in (1, 2))
    good.mkdir(parents=True)
    stump.mkdir()
    (good / "trainer_state.json").write_text(json.dumps({"global_step": 1}))
    (stump / "trainer_state.json").write_text('{"global_st')
    assert last_checkpoint(tmp_path) == str(good)
    assert not stump.exists()


def test_an_adapter_on_top_of_another_is_their_exact_sum(tiny: Path, tmp_path: Path) -> None:
    align(parameters(tiny, tmp_path / "first", steps=2))
    start = str(tmp_path / "first" / "adapter")
    align(parameters(tiny, tmp_path / "second", start=start, domain="general", steps=2))
    stacked = load(str(tiny), str(tmp_path / "second" / "adapter"), dtype="float32").model.state_dict()
    from tradeoffs.models import merge

    chained = merge(load(str(tiny), start, dtype="float32").model, str(tmp_path / "second" / "new")).state_dict()
    base = load(str(tiny), dtype="float32").model.state_dict()
    assert any(not torch.equal(stacked[name], base[name]) for name in base)
    for name in chained:
        torch.testing.assert_close(stacked[name], chained[name], atol=1e-6, rtol=1e-5)


def test_dpa_records_its_rounds_and_trains_one_policy(tiny: Path, tmp_path: Path) -> None:
    record = align(
        parameters(
            tiny,
            tmp_path / "dpa",
            method="dpa",
            domain="general",
            prompts=4,
            samples=2,
            max_new_tokens=6,
            steps=1,
            angles=[-45.0, 45.0],
        )
    )
    (only,) = record.summary["rounds"]
    assert 0 <= only["cut"] < 1 and only["kept_tokens"] > 0
    assert weights(tmp_path / "dpa")


def test_a_loss_that_is_no_number_stops_training_and_names_the_step(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(FloatingPointError, match=r"step \d+: the loss is"):
        from tradeoffs.alignment.common import Schedule, StepLog

        log = StepLog(tmp_path / "steps.jsonl", "test", Schedule(1))

        class State:
            global_step = 4

        log.on_log(None, State(), None, {"loss": float("nan")})  # type: ignore[arg-type]


def test_other_parameters_in_the_same_folder_are_refused(tiny: Path, tmp_path: Path) -> None:
    align(parameters(tiny, tmp_path / "sft", steps=1))
    with pytest.raises(ValueError, match="other values of seed"):
        align(parameters(tiny, tmp_path / "sft", steps=1, seed=1))


def test_examples_too_long_for_max_length_are_never_cut_silently(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="max_length: got 16"):
        align(parameters(tiny, tmp_path / "sft", max_length=16))
