"""What goes wrong in training: numbers that are none, memory that runs out, adapters and attributes that are missing, wrong names."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tradeoffs.alignment import align
from tradeoffs.cli import main
from tradeoffs.parameters import AlignParameters, ParameterError, check

SMALL: dict[str, Any] = dict(
    dtype="float32",
    domain="general",
    steps=2,
    batch_size=4,
    lora_rank=4,
    max_length=2048,
    prompts=4,
    samples=2,
    max_new_tokens=6,
)


def parameters(tiny: Path, out: Path, **changes: Any) -> AlignParameters:
    return AlignParameters(**(SMALL | {"model": str(tiny), "out": str(out)} | changes))


def broken(tiny: Path, folder: Path, text: str) -> Path:
    """The tiny model with an embedding that is no number for the last token of a text."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    model.config.tie_word_embeddings = False
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    with torch.no_grad():
        model.get_input_embeddings().weight[tokenizer(text)["input_ids"][-1]] = float("nan")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write(path: Path, lines: list[dict[str, Any]]) -> Path:
    import json

    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.mark.usefixtures("saved_every_step")
def test_a_loss_that_is_no_number_names_step_and_sample_and_writes_no_checkpoint(tiny: Path, tmp_path: Path) -> None:
    model = broken(tiny, tmp_path / "model", "zebra")
    lines = [{"prompt": f"Say {word}.", "completion": word} for word in ("one", "two", "three", "zebra")]
    data = write(tmp_path / "data.jsonl", lines)
    p = parameters(
        model, tmp_path / "out", method="sft", domain="general", instructions=str(data), steps=1, batch_size=4
    )
    with pytest.raises(
        FloatingPointError, match=r"step 1: the loss is nan; sample \d of the batch .* begins .*Say zebra"
    ):
        align(p)
    assert not list((tmp_path / "out" / "checkpoints").glob("checkpoint-*"))


OUT_OF_MEMORY = """
import resource, sys
from pathlib import Path
import torch
from tradeoffs.alignment.common import Schedule, StepLog, new_adapter
from tradeoffs.alignment.rounds import Round
from tradeoffs.alignment.rrhf import rank
from tradeoffs.models import load
from tradeoffs.parameters import AlignParameters

torch.set_num_threads(1)
folder = Path(sys.argv[2])
p = AlignParameters(model=sys.argv[1], out=sys.argv[2], method="rrhf", steps=1, batch_size=16, prompts=16, lora_rank=4, dtype="float32")
policy = load(p.model, dtype="float32")
ids = torch.randint(5, 4000, (16, 2, 200)).tolist()
rows = [{"prompt": [5, 6], "responses": pair, "rewards": [0.0, 1.0]} for pair in ids]
plan = Schedule(1)
of = Round({}, [], {}, policy.tokenizer, folder, plan, StepLog(folder / "steps.jsonl", "rrhf", plan))
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 1536 * 2**20, -1))
try:
    rank(new_adapter(policy.model, p), of, rows, p)
except MemoryError as error:
    print("MEMORY", error)
"""


def test_where_memory_runs_out_the_message_says_which_micro_batch_fits(tiny: Path, tmp_path: Path) -> None:
    """For real: the process's address space is limited to 1.5 GiB more, and logits of 32 responses of 200 tokens alone take 1.2 GiB."""
    done = subprocess.run(
        [sys.executable, "-c", OUT_OF_MEMORY, str(tiny), str(tmp_path)],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        timeout=300,
    )
    assert "MEMORY micro_batch: 16 sequences at once do not fit into memory" in done.stdout, (
        done.stdout + done.stderr[-2000:]
    )
    found = re.search(r"(\d+) of the longest do: micro_batch=(\d+)", done.stdout)
    assert found and found[1] == found[2] and int(found[1]) < 16, done.stdout


@pytest.mark.parametrize("method", ["ppo", "rloo"])
def test_methods_that_sample_in_a_step_say_which_micro_batch_fits(
    method: str, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory for two rows: found by passes over the longest prompt and as many new tokens as may be sampled."""
    from transformers import LlamaModel

    forward, refused = LlamaModel.forward, []

    def cramped(self: Any, input_ids: Any = None, **more: Any) -> Any:
        if torch.is_grad_enabled() and len(input_ids) > 2:
            refused.append(tuple(input_ids.shape))
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 12 bytes")
        return forward(self, input_ids=input_ids, **more)

    monkeypatch.setattr(LlamaModel, "forward", cramped)
    p = parameters(tiny, tmp_path / "out", method=method, domain="code", prompts=8, samples=4, batch_size=8)
    with pytest.raises(MemoryError, match=r"micro_batch: 8 sequences .* 2 of the longest do: micro_batch=2"):
        align(p)
    assert [rows for rows, _ in refused] == [8, 4]
    assert refused[1][1] >= refused[0][1]


def test_a_start_without_adapter_is_refused(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="start: .* holds no adapter; run the `align` stage"):
        align(parameters(tiny, tmp_path / "out", method="rsft", start=str(tmp_path / "empty")))


def test_a_reward_model_without_the_attributes_asked_for_is_refused(tiny: Path, tmp_path: Path) -> None:
    lines = [
        {"prompt": f"Question {n}?", "response": f"Answer {n}. " * (n % 5 + 1), "correctness": 10.0 * (n % 9)}
        for n in range(24)
    ]
    data = write(tmp_path / "ratings.jsonl", lines)
    p = parameters(tiny, tmp_path / "out", method="rsft", reward_model="attributes", reward_data=str(data))
    with pytest.raises(ValueError, match="attributes: got 'helpfulness'; this reward model .* accepts correctness"):
        align(p)


def test_ratings_of_several_attributes_reward_general_text(tiny: Path, tmp_path: Path) -> None:
    record = align(parameters(tiny, tmp_path / "out", method="rsft", reward_model="attributes"))
    assert record.summary["reward_model"]["kind"] == "attributes"
    assert {"helpfulness", "verbosity"} <= set(record.summary["reward_model"]["correlations"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"preferences": "no-such-set", "method": "dpo"},
            "preferences: .*no such data; accepts .* hh-rlhf, ultrafeedback",
        ),
        (
            {"reward_data": "helpsteer2"},
            "reward_data: got 'helpsteer2'; accepts pairs with reward_model 'bradley-terry'",
        ),
        ({"micro_batch": 3}, "micro_batch: got 3; accepts divisors of batch_size = 8"),
        ({"token_budget": -1}, "token_budget: got -1; accepts integer >= 0"),
    ],
)
def test_a_wrong_value_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        check(AlignParameters, changes)


def test_the_command_trains_as_the_notebook_does(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(
        f"method: sft\nmodel: {tiny}\ndtype: float32\nsteps: 1\nbatch_size: 2\nlora_rank: 4\nmax_length: 2048\n"
    )
    assert main(["align", str(file), "-p", f"out={tmp_path / 'out'}", "-p", "domain=general"]) == 0
    assert (tmp_path / "out" / "adapter" / "adapter_model.safetensors").is_file()
    assert "1 steps" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-p", "methid=dpo"], "methid: no such parameter; did you mean 'method'?"),
        (["-p", "steps"], "steps: accepts NAME=VALUE"),
        (["no-such-file.yaml"], "no-such-file.yaml"),
    ],
)
def test_the_command_refuses_what_is_wrong_in_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["align", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.strip().splitlines()) == 1


def test_where_an_evaluation_does_not_fit_it_is_named_and_no_micro_batch(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 12 bytes")

    monkeypatch.setattr("tradeoffs.alignment.monitor.evaluate", full)
    with pytest.raises(MemoryError, match="evaluations: the model's copies do not fit .* accepts 0, or fewer"):
        align(parameters(tiny, tmp_path / "out", method="sft", evaluations=1))
