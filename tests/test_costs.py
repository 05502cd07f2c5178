"""What a job costs elsewhere: sizes against published counts, operations and bytes by hand, and what the model is worth."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from tradeoffs import cli, costs
from tradeoffs.costs import (
    SHAPES,
    Cost,
    Device,
    Run,
    cost,
    foretold,
    memory_factor,
    on,
    reached,
    shape,
    text,
    typical_factor,
)
from tradeoffs.profiles import load_profile
from tradeoffs.records import Record, provenance

ROOT = Path(__file__).resolve().parents[1]
EMBEDDED = SHAPES["embedded"]


@pytest.fixture(autouse=True)
def in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize(
    ("name", "parameters"),
    # as the embedded model's loaded weights count, and as the hub counts the others' safetensors
    [
        ("embedded", 134_515_008),
        ("Qwen/Qwen2.5-Coder-1.5B-Instruct", 1_543_714_304),
        ("HuggingFaceH4/mistral-7b-sft-beta", 7_241_732_096),
    ],
)
def test_parameters_are_those_of_the_weights(name: str, parameters: int) -> None:
    found = shape(name)
    assert found is not None and found.parameters == parameters
    assert shape(f"{name}@{'0' * 40}") == found  # a revision is no other model


def test_keys_and_values_are_those_that_a_run_counted() -> None:
    assert EMBEDDED.kv_bytes == 23_040


def test_a_folder_tells_its_own_sizes(tiny: Path) -> None:
    from transformers import AutoModelForCausalLM

    found = shape(str(tiny))
    model = AutoModelForCausalLM.from_pretrained(tiny)
    assert found is not None and found.parameters == sum(p.numel() for p in model.parameters())
    assert shape("nobody/has-this") is None and shape("not a name of anything") is None


def test_operations_and_bytes_of_answers_by_hand() -> None:
    p = {"problems": "some.jsonl.gz", "limit": 20, "max_new_tokens": 50, "batch_size": 10}
    found = cost("generate", p, EMBEDDED)
    assert found.flops == 2 * 134_515_008 * 20 * (362 + 50)
    # two batches of 50 passes: all weights, and ten rows of on average 387 tokens
    assert found.moved == 2 * 50 * (2 * 134_515_008 + 10 * 387 * 23_040)
    assert cost("generate", p | {"best_of": 4, "temperature": 1.0}, EMBEDDED).flops == 4 * found.flops
    trained = cost("align", {"method": "sft", "token_budget": 1000}, EMBEDDED)
    assert (trained.flops, trained.moved) == (6 * 134_515_008 * 1000, 0.0)
    assert cost("align", {"method": "ppo", "token_budget": 1000}, EMBEDDED).moved > 0  # it samples
    assert cost("grade", {"problems": "bundled", "limit": 7}, EMBEDDED).answers == 7


def test_the_limit_is_arithmetic_and_bandwidth() -> None:
    assert Cost(3e12, 2e9, 0.0).limit(Device(1e12, 1e9, 8)) == 5.0


def run(name: str, seconds: float, limit: float, method: str = "dpo", held: float | None = None) -> Run:
    return Run(name, "align", method, seconds, limit, held, 100.0)


def test_like_jobs_decide_and_each_is_foretold_from_the_others() -> None:
    known = [run("a", 10.0, 5.0), run("b", 20.0, 5.0), run("c", 40.0, 10.0, "ppo")]
    assert reached("align", "dpo", known) == pytest.approx(0.375)  # median of 0.5 and 0.25
    assert reached("align", "rloo", known) == 0.25
    assert reached("generate", "", known) is None
    told = {t.run.name: t.seconds for t in foretold(known)}
    assert told == pytest.approx({"a": 20.0, "b": 10.0, "c": 10.0 / 0.375})
    assert typical_factor(foretold(known)) == pytest.approx(2.0)
    assert typical_factor([]) is None
    assert memory_factor([run("a", 1, 1, held=150.0), run("b", 1, 1)]) == 1.5 and memory_factor([]) is None


def test_a_gpu_besides_waits_for_each_layer_and_each_job_to_start() -> None:
    p = {"problems": "some.jsonl.gz", "limit": 20, "max_new_tokens": 50, "batch_size": 10}
    assert cost("generate", p, EMBEDDED).launches == 2 * 50 * 30  # batches, passes, layers
    twice = cost("speculate", {"policies": {"base": ""}, "limit": 3, "max_new_tokens": 5}, EMBEDDED)
    assert twice.launches == 2 * 3 * 5 * 30
    trained = cost("align", {"method": "sft", "token_budget": 10_000, "batch_size": 4}, EMBEDDED)
    assert trained.launches == pytest.approx(3 * 10_000 / (4 * (156 + 96 / 2)) * 30)
    assert (
        cost("align", {"method": "rsft", "token_budget": 10_000, "batch_size": 4}, EMBEDDED).launches > trained.launches
    )
    slow = run("a", 10.0, 5.0)
    on_gpu = run("b", 50.0, 1.0)._replace(launches=10_000.0)
    told = {t.run.name: t.seconds for t in foretold([slow, on_gpu])}
    assert told == pytest.approx(
        {"b": 1.0 / 0.5 + 10_000 * costs.LAUNCH_S + costs.START_S}
    )  # and nothing of a, which is alone
    assert reached("align", "dpo", [on_gpu]) is None  # a GPU's share is no other machine's


def test_records_become_runs_where_the_machines_ceilings_are_known() -> None:
    def made(stage: str, parameters: dict, **summary: object) -> Record:
        counts = {"planned": 5, "completed": 5, "failed": 0}
        record = Record(
            stage=stage, parameters=parameters, seeds=[0], counts=counts, seconds=30.0, provenance=provenance()
        )  # type: ignore[arg-type]
        return record.model_copy(update={"summary": summary})

    answers = made(
        "generate", {"model": "embedded", "limit": 5, "max_new_tokens": 8, "batch_size": 5}, peak_memory_mib=1000.0
    )
    assert costs.runs([("base", answers)]) == []  # nobody measured this machine
    timed = made(
        "throughput",
        {"model": "embedded", "policies": {"base": ""}},
        ceilings={"flops_per_s": 1e11, "bytes_per_s": 1e10},
    )
    found = {r.stage: r for r in costs.runs([("base", answers), ("all", timed)])}
    assert set(found) == {"generate", "throughput"}
    needed = cost("generate", answers.parameters, EMBEDDED)
    assert found["generate"].limit == pytest.approx(needed.flops / 1e11 + needed.moved / 1e10)
    assert found["generate"].held == 1000 * 2**20


def test_a_profile_on_a_gpu_says_hours_memory_and_what_it_does_not_know() -> None:
    profile = load_profile("gpu")
    small, large = Device(1e14, 1e12, 4.0), Device(1e14, 1e12, 80.0)
    lines = on(profile, small, [run("a", 10.0, 5.0)])
    by = {line["stage"]: line for line in lines}
    assert by["align"]["jobs"] == 30 and by["align"]["seconds"] > 2 * by["align"]["limit"] + 30 * costs.START_S
    assert math.isnan(by["generate"]["seconds"])
    said = text(lines, small, [])
    assert "GiB are more than the 4 GiB there" in said and "unknown" in said
    assert "are more than" not in text(lines, large, [])
    with pytest.raises(ValueError, match="model: got 'nobody/has-this', whose config.json is not here"):
        on(load_profile("gpu", model="nobody/has-this"), large, [])


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plan", "paper", "--on", "h100"]) == 0
    told = capsys.readouterr().out
    assert "PFLOP" in told and "typically off by a factor of" in told
    assert cli.main(["plan", "paper", "--on", "abacus"]) == 2
    assert "on: got 'abacus'; accepts h100" in capsys.readouterr().err


def test_what_the_model_is_worth_on_the_published_runs() -> None:
    records = [
        (path.stem.partition("-")[2], Record.model_validate(json.loads(path.read_text())))
        for path in sorted(ROOT.glob("results/*/stages/*.json"))
    ]
    told = foretold(costs.runs(records))
    if not told:
        pytest.skip("no published run is of this version")
    factor = typical_factor([t for t in told if not t.run.launches])
    assert len(told) > 20 and factor is not None and factor < 2
