"""Runs that must be equal: the same twice, in micro-batches, interrupted, in two processes; and runs that must keep to a budget."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch

from tradeoffs.alignment import align
from tradeoffs.parameters import AlignParameters
from tradeoffs.records import TrainingStep, read_rows

pytestmark = pytest.mark.usefixtures("saved_every_step")

HERE = Path(__file__).parent
# Verbosity differs between any two responses of different length, so that even a random model has something to learn from.
BASE: dict[str, Any] = dict(
    dtype="float32",
    domain="general",
    steps=2,
    batch_size=4,
    lora_rank=4,
    max_length=2048,
    learning_rate=1e-3,
    prompts=4,
    samples=2,
    max_new_tokens=8,
    weights=[0.5, -1.0],
)
METHODS: dict[str, dict[str, Any]] = {
    "sft": {"method": "sft"},
    "dpo": {"method": "dpo", "samples": 8},  # of fewer, none are far enough apart
    "rsft": {"method": "rsft"},
    "rrhf": {"method": "rrhf"},
    "dpa": {"method": "dpa", "angles": [-45.0, 45.0]},
    "ppo": {"method": "ppo"},
    "rloo": {"method": "rloo"},
    "rlvr": {"method": "rlvr", "domain": "code"},
}


def given(tiny: Path, out: Path, name: str, **changes: Any) -> dict[str, Any]:
    return BASE | {"model": str(tiny), "out": str(out)} | METHODS[name] | changes


def run(tiny: Path, out: Path, name: str, **changes: Any) -> Path:
    align(AlignParameters(**given(tiny, out, name, **changes)))
    return out


def adapter(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "adapter" / "adapter_model.safetensors")


def rows(folder: Path) -> list[TrainingStep]:
    return [row for row in read_rows(folder / "steps.jsonl", TrainingStep) if row.kind == "step"]


def evaluated(folder: Path) -> list[TrainingStep]:
    return [row for row in read_rows(folder / "steps.jsonl", TrainingStep) if row.kind == "evaluation"]


def assert_close(one: Path, other: Path) -> None:
    """Losses to 1e-5; weights to 1e-5 but for one in a hundred: Adam divides by the gradient's size, which may be near 0."""
    assert [r.loss for r in rows(one)] == pytest.approx([r.loss for r in rows(other)], abs=1e-5)
    assert [r.tokens for r in rows(one)] == [r.tokens for r in rows(other)]
    weights = adapter(other)
    for name, tensor in adapter(one).items():
        assert torch.quantile((tensor - weights[name]).abs().float(), 0.99) < 1e-5, name


def assert_equal(one: Path, other: Path) -> None:
    weights = adapter(other)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in adapter(one).items())
    plain = [[row.model_dump(exclude={"seconds"}) for row in rows(folder)] for folder in (one, other)]
    assert plain[0] == plain[1]


@contextmanager
def killed_at(step: int, round: int = 1) -> Iterator[None]:
    """Within this context a trainer dies when it has done that many steps of a round."""
    from tradeoffs.alignment.common import StepLog

    original = StepLog.on_step_begin

    def dies(self: Any, args: Any, state: Any, control: Any, **more: Any) -> None:
        if (self.round, state.global_step) == (round, step):
            raise KeyboardInterrupt
        original(self, args, state, control, **more)

    with mock.patch.object(StepLog, "on_step_begin", dies), pytest.raises(KeyboardInterrupt):
        yield


@pytest.fixture(scope="module")
def once(tiny: Path, grading_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every method's run in one piece, in a folder of its name."""
    folder = tmp_path_factory.mktemp("once")
    for name in METHODS:
        run(tiny, folder / name, name)
    return folder


@pytest.mark.parametrize("name", METHODS)
def test_the_same_seed_gives_the_same_adapter_bit_for_bit(tiny: Path, once: Path, tmp_path: Path, name: str) -> None:
    """Looked at while it trains or not; and every method says the same of itself."""
    assert_equal(once / name, run(tiny, tmp_path / "again", name, evaluations=2, evaluation_prompts=4))
    found = evaluated(tmp_path / "again")
    assert [row.step for row in found] == [0, 1, 2] and evaluated(once / name) == []
    assert found[0].kl == pytest.approx(0, abs=1e-4)  # an untrained adapter changes nothing
    for row in found:
        told = (row.helpfulness, row.verbosity, row.reward, row.response_tokens, row.entropy, row.kl)
        assert all(value is not None and isfinite(value) for value in told)
        assert 1 <= (row.response_tokens or 0) <= BASE["max_new_tokens"] and (row.entropy or 0) > 0


@pytest.mark.parametrize("name", METHODS)
def test_micro_batches_of_one_give_what_the_whole_batch_gives(
    tiny: Path, once: Path, tmp_path: Path, name: str
) -> None:
    assert_close(once / name, run(tiny, tmp_path / "cut", name, micro_batch=1))


def test_two_processes_give_what_one_gives(tiny: Path, once: Path, tmp_path: Path) -> None:
    looked = ("sft", "ppo")
    wanted = [
        given(tiny, tmp_path / name, name, evaluations=int(name in looked), evaluation_prompts=2) for name in METHODS
    ]
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    launch += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    done = subprocess.run(
        [*launch, str(HERE / "two_processes.py"), json.dumps(wanted), "2"],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for name in METHODS:
        assert_close(once / name, tmp_path / name)
        assert [row.progress for row in evaluated(tmp_path / name)] == ([0, 1] if name in looked else [])


def test_a_notebook_starts_processes_by_its_parameters(tiny: Path, once: Path, tmp_path: Path) -> None:
    """The same by `processes`, as the notebook calls it; one process goes on from what two began, and their errors are told."""
    wanted = AlignParameters(**given(tiny, tmp_path / "dpo", "dpo", processes=2))
    assert align(wanted).counts["completed"] == len(rows(once / "dpo"))
    assert_close(once / "dpo", tmp_path / "dpo")
    assert align(AlignParameters(**given(tiny, tmp_path / "dpo", "dpo"))).parameters["processes"] == 2  # it is done
    (tmp_path / "empty").mkdir()
    with pytest.raises(RuntimeError, match="processes ended with status .*: error: start: .*empty' holds no adapter"):
        align(AlignParameters(**given(tiny, tmp_path / "other", "dpo", processes=2, start=str(tmp_path / "empty"))))


@pytest.mark.parametrize("name", ["fsdp2", "zero3"])
def test_accelerate_reads_the_configurations(name: str) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    found = load_config_from_file(str(HERE.parent / "config/accelerate" / f"{name}.yaml"))
    assert found.num_processes == 8 and found.distributed_type == {"fsdp2": "FSDP", "zero3": "DEEPSPEED"}[name]


@pytest.mark.parametrize("name", ["dpo", "rsft", "rrhf", "rloo", "rlvr", "dpa"])
def test_a_run_killed_at_its_second_step_goes_on_to_the_same_adapter(
    tiny: Path, once: Path, tmp_path: Path, name: str
) -> None:
    with killed_at(1):
        run(tiny, tmp_path / "cut", name)
    assert len(rows(tmp_path / "cut")) == 1
    assert_equal(once / name, run(tiny, tmp_path / "cut", name))


def test_a_run_killed_before_it_was_time_for_a_checkpoint_begins_again_and_logs_no_step_twice(
    tiny: Path, once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tradeoffs.alignment import common

    monkeypatch.setattr(common, "SECONDS_BETWEEN_CHECKPOINTS", 1e9)
    with killed_at(1):
        run(tiny, tmp_path / "cut", "sft")
    assert common.last_checkpoint(tmp_path / "cut") is None and len(rows(tmp_path / "cut")) == 1
    assert_equal(once / "sft", run(tiny, tmp_path / "cut", "sft"))


@pytest.mark.parametrize("name", METHODS)
def test_a_token_budget_is_spent_and_no_more_than_a_step_over(tiny: Path, tmp_path: Path, name: str) -> None:
    budget = 6000
    asked = dict(token_budget=budget, learning_rate=1e-4, evaluations=3 * (name in ("dpo", "ppo")))
    folder = run(tiny, tmp_path / "out", name, evaluation_prompts=2, **asked)
    measured = [row.progress or 0.0 for row in evaluated(folder)]
    if asked["evaluations"]:  # from the first step to the last, however much was sampled before
        assert measured[0] == 0 and measured[-1] == 1 and measured == sorted(set(measured))
    every = read_rows(folder / "steps.jsonl", TrainingStep)
    spent = sum(row.tokens or 0 for row in every)
    last = rows(folder)[-1]
    assert budget <= spent < budget + (last.tokens or 0)
    rates = [row.learning_rate or 0.0 for row in rows(folder)]
    assert rates[0] == pytest.approx(1e-4) and rates == sorted(rates, reverse=True) and rates[-1] < rates[0]


@pytest.mark.parametrize("name", ["sft", "rsft"])
def test_an_interrupted_budget_is_taken_up_where_it_was_left(tiny: Path, tmp_path: Path, name: str) -> None:
    asked: dict[str, Any] = dict(token_budget={"sft": 2000, "rsft": 6000}[name], evaluations=6, evaluation_prompts=2)
    run(tiny, tmp_path / "whole", name, **asked)
    with killed_at(2):
        run(tiny, tmp_path / "cut", name, **asked)
    assert_equal(tmp_path / "whole", run(tiny, tmp_path / "cut", name, **asked))
    assert evaluated(tmp_path / "cut") == evaluated(tmp_path / "whole")  # nothing twice, and the same


@pytest.mark.parametrize("name", ["dpo", "rrhf"])
@pytest.mark.parametrize("step", [0, 1])
def test_a_run_killed_in_its_second_round_goes_on_to_the_same_adapter(
    tiny: Path, tmp_path: Path, name: str, step: int
) -> None:
    asked = dict(rounds=2, evaluations=2, evaluation_prompts=2)
    run(tiny, tmp_path / "whole", name, **asked)
    with killed_at(step, round=2):
        run(tiny, tmp_path / "cut", name, **asked)
    sampled = tmp_path / "cut" / "round-2" / "responses.jsonl"
    before = sampled.read_text()
    assert_equal(tmp_path / "whole", run(tiny, tmp_path / "cut", name, **asked))
    assert [row.step for row in rows(tmp_path / "cut")] == [1, 2, 3, 4] and sampled.read_text() == before
    every = read_rows(tmp_path / "cut" / "steps.jsonl", TrainingStep)
    assert [row.round for row in every if row.kind == "round"] == [1, 2]
    assert evaluated(tmp_path / "cut") == evaluated(tmp_path / "whole")


@pytest.mark.parametrize("name", ["rloo", "rlvr"])
def test_a_run_killed_in_its_second_pass_over_the_prompts_goes_on_to_the_same_adapter(
    tiny: Path, tmp_path: Path, name: str
) -> None:
    """Four prompts, two a step: the third step begins the second pass."""
    run(tiny, tmp_path / "whole", name, steps=5)
    with killed_at(3):
        run(tiny, tmp_path / "cut", name, steps=5)
    assert_equal(tmp_path / "whole", run(tiny, tmp_path / "cut", name, steps=5))


@pytest.mark.parametrize("name", ["sft", "ppo", "rloo", "rsft"])
def test_a_run_killed_before_its_record_is_written_trains_no_step_again(
    tiny: Path, once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def dies() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tradeoffs.alignment.run.provenance", dies)
    with pytest.raises(KeyboardInterrupt):
        run(tiny, tmp_path / "cut", name)
    monkeypatch.undo()
    before = (tmp_path / "cut" / "steps.jsonl").read_text()
    assert_equal(once / name, run(tiny, tmp_path / "cut", name))
    assert (tmp_path / "cut" / "steps.jsonl").read_text() == before
    assert not list((tmp_path / "cut").rglob("checkpoint*"))


def test_dpo_on_pairs_of_a_file_goes_on_to_the_same_adapter_and_micro_batches_change_nothing(
    tiny: Path, tmp_path: Path
) -> None:
    pairs = [{"prompt": f"Count to {n}.", "chosen": "1 " * n, "rejected": f"no {n}"} for n in range(2, 9)]
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in pairs))
    asked = dict(preferences=str(file), steps=3)
    whole = run(tiny, tmp_path / "whole", "dpo", **asked)
    with killed_at(2):
        run(tiny, tmp_path / "cut", "dpo", **asked)
    assert len(rows(tmp_path / "cut")) == 2
    assert_equal(whole, run(tiny, tmp_path / "cut", "dpo", **asked))
    assert_close(whole, run(tiny, tmp_path / "micro", "dpo", micro_batch=2, **asked))
    assert rows(whole)[0].loss == pytest.approx(0.693147, abs=1e-5)


@pytest.mark.parametrize("name", ["sft", "dpo", "ppo"])
@pytest.mark.parametrize("budget", [0, 3000])
def test_a_run_killed_after_its_last_step_does_no_further_one(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, budget: int
) -> None:
    whole = run(tiny, tmp_path / "whole", name, token_budget=budget, steps=3, batch_size=2)

    def dies(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"tradeoffs.alignment.{'rounds' if name == 'dpo' else name}.finish", dies)
    monkeypatch.setattr("tradeoffs.alignment.rounds.save_adapter", dies)
    with pytest.raises(KeyboardInterrupt):
        run(tiny, tmp_path / "cut", name, token_budget=budget, steps=3, batch_size=2)
    monkeypatch.undo()
    assert_equal(whole, run(tiny, tmp_path / "cut", name, token_budget=budget, steps=3, batch_size=2))


def test_a_budget_that_cannot_even_pay_for_the_samples_is_refused_before_any_is_drawn(
    tiny: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="token_budget: got 300; 2 samples of each of 4 prompts may take"):
        run(tiny, tmp_path / "out", "rsft", token_budget=300)
    assert not (tmp_path / "out" / "round-1").exists()


def test_two_rounds_keep_one_budget_and_refer_to_the_start(tiny: Path, tmp_path: Path) -> None:
    """Iterative DPO: the second round's first loss is not log 2, as it would be if it referred to the first round's policy."""
    folder = run(tiny, tmp_path / "out", "dpo", rounds=2, learning_rate=1e-2)
    first, second = ([row for row in rows(folder) if row.round == n] for n in (1, 2))
    assert [row.step for row in [*first, *second]] == [1, 2, 3, 4]
    assert first[0].loss == pytest.approx(0.693147, abs=1e-5)
    assert abs((second[0].loss or 0.0) - 0.693147) > 1e-3
