"""The timing stage on a tiny model, and what is made of its rows: power, self-check, controls, roofline."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t

from tradeoffs.analysis.throughput import (
    compare_throughput,
    controls,
    explain_blocks,
    foretell,
    foretold,
    holm,
    roofline,
    self_check,
    tost_power,
)
from tradeoffs.inference import throughput as stage
from tradeoffs.inference.roofline import context_tokens, measure_ceilings, traffic
from tradeoffs.models import load
from tradeoffs.parameters import ParameterError, ThroughputParameters, check
from tradeoffs.records import Timing, frame, read_rows


def rows(
    speeds: dict[str, list[float]], kind: str = "policies", new_tokens: dict[str, int] | None = None
) -> pd.DataFrame:
    """Rows whose decoding goes at the given tokens/s a row, prompts at 0.1 s."""
    made = []
    for policy, values in speeds.items():
        n = (new_tokens or {}).get(policy, 20)
        for block, speed in enumerate(values):
            made.append(
                Timing(
                    policy=policy,
                    kind=kind,  # type: ignore[arg-type]
                    block=block,
                    position=0,
                    batch_size=8,
                    prompt_tokens=64,
                    new_tokens=n,
                    prefill_s=0.1,
                    decode_s=(n - 1) / speed,
                    load_1min=0.0,
                    foreign_cpu=0.0,
                    flagged=False,
                )
            )
    return frame(made)


# The method's foresight


@pytest.mark.parametrize(
    ("sd", "margin", "blocks"), [(0.005, 0.01, 5), (0.01, 0.01, 13), (0.01, 0.02, 5), (0.02, 0.02, 13), (0.03, 0.05, 6)]
)
def test_power_of_tost_is_that_of_the_reference_table(sd: float, margin: float, blocks: int) -> None:
    # Blocks for 90 % power at no true difference, simulated independently for the study's measuring rules; one block fewer is too few.
    assert tost_power(sd, blocks, margin) >= 0.89
    assert tost_power(sd, blocks - 1, margin) < 0.915


def test_a_pilot_foretells_what_a_run_can_see() -> None:
    rng = np.random.default_rng(0)
    noise = np.exp(rng.normal(0, 0.01, (2, 400)))
    found = foretell(rows({"a": list(50 * noise[0]), "b": list(50 * noise[1])}, kind="pilot"), 12, 0.02)
    # a tenth of the seconds is the prompt's, which has no noise here
    share = (19 / 50) / (19 / 50 + 0.1)
    assert found.sd == pytest.approx(share * math.sqrt(2) * 0.01, rel=0.1)
    assert found.power == tost_power(found.sd, 12, 0.02)
    # the change that a t-test sees in four of five simulated runs
    change, critical = math.log1p(found.detectable), t.ppf(0.975, 11)
    runs = rng.normal(change, found.sd, (20_000, 12))
    seen = np.abs(runs.mean(1)) / (runs.std(1, ddof=1) / math.sqrt(12)) > critical
    assert seen.mean() == pytest.approx(0.8, abs=0.01)
    text = foretold(rows({"a": [50.0, 50.5], "b": [50.1, 50.0]}, kind="pilot"), 12, 0.02)
    assert "equivalent within 2 %" in text and "80 % chance" in text


def test_a_pilot_of_one_block_is_refused() -> None:
    with pytest.raises(ValueError, match="pilot_blocks: got 1 usable"):
        foretell(rows({"a": [50.0], "b": [50.0]}, kind="pilot"), 12, 0.02)


# The method against itself


def checked(trend: float, seed: int, studies: int = 40) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    speeds = {}
    for n in range(studies):
        for side, shift in (("a", 0.0), ("b", trend)):
            speeds[f"{n}{side}"] = list(50 * np.exp(rng.normal(shift, 0.01, 12)))
    return rows(speeds, kind="self-check")


def test_a_sound_method_passes_its_self_check() -> None:
    found = self_check(checked(0.0, 1), 0.02)
    assert found is not None and found.passed and len(found.p) == 40
    assert found.bound == 6  # binomial(40, 0.05): more than 6 in less than 1 % of checks
    assert found.equivalent > 30


def test_a_method_that_favours_one_side_fails_it() -> None:
    found = self_check(checked(0.01, 1), 0.02)
    assert found is not None and not found.passed and found.uniform_p < 0.01


def test_without_self_check_there_is_none() -> None:
    assert self_check(rows({"base": [50.0, 51.0]}), 0.02) is None


def test_controls_are_found_under_their_own_name() -> None:
    rng = np.random.default_rng(2)
    base = 50 * np.exp(rng.normal(0, 0.003, 12))
    slower = base / 1.05 * np.exp(rng.normal(0, 0.003, 12))
    table = rows(
        {"base": list(base), "control: slower": list(slower), "control: longer": list(base)},
        new_tokens={"control: longer": 22},
    )
    found = controls(table, "base", 2.7e8, 23_040)
    assert found["control: slower"]["factor"] == "efficiency" and found["control: slower"]["found"]
    assert found["control: slower"]["share"]["estimate"] == pytest.approx(math.log(1.05), abs=0.003)
    assert found["control: longer"]["share"]["estimate"] == pytest.approx(math.log(1.1))
    assert found["control: longer"]["found"]
    # without the slowness nothing is claimed to be found
    none = controls(rows({"base": list(base), "control: slower": list(base[::-1])}), "base", 2.7e8, 23_040)
    assert not none["control: slower"]["found"]


def test_where_every_block_is_flagged_nothing_is_found_and_nothing_breaks() -> None:
    table = rows({"base": [50.0, 51.0], "control: slower": [48.0, 49.0]}).assign(flagged=True)
    found = controls(table, "base", 2.7e8, 23_040)["control: slower"]
    assert found["share"]["estimate"] is None and found["share"]["reason"] == "no usable block" and not found["found"]
    pilot = rows({"a": [50.0, 51.0], "b": [50.0, 51.0]}, kind="pilot").assign(flagged=True)
    assert "80 % chance" in foretold(pilot, 12, 0.02)  # the pilot's own flags are the foreseen noise, too
    studies = rows({"0a": [50.0, 51.0], "0b": [50.0, 51.0]}, kind="self-check").assign(flagged=True)
    assert self_check(studies, 0.02) is None


def test_factors_of_a_block_add_up() -> None:
    table = rows({"base": [50.0, 52.0, 51.0], "x": [40.0, 44.0, 43.0]}, new_tokens={"x": 26})
    found = explain_blocks(table, "x", "base", 2.7e8, 23_040)
    parts = [value["estimate"] for name, value in found.items() if name != "total"]
    assert sum(parts) == pytest.approx(found["total"]["estimate"], abs=1e-12)


def test_naming_one_of_many_costs_something() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])  # by hand: 3 x .01, 2 x .03, max with 1 x .04
    rng = np.random.default_rng(5)
    base = np.exp(rng.normal(0, 0.01, 12))
    one = {"base": list(base), "x": list(base * np.exp(rng.normal(0.009, 0.01, 12)))}
    many = one | {f"y{n}": list(base * np.exp(rng.normal(0, 0.01, 12))) for n in range(8)}
    alone, among = (compare_throughput(rows(t), list(t), "base", 0.02)["x"] for t in (one, many))
    assert among["difference_p"] >= alone["difference_p"] and among["tost_p"] >= alone["tost_p"]
    assert alone["verdicts"]["2 %"] == alone["verdict"] and set(alone["verdicts"]) == {"1 %", "2 %", "5 %"}


def test_roofline_by_hand() -> None:
    told = {
        "parameters": 100,
        "weight_bytes": 1000,
        "kv_bytes_per_token": 10,
        "ceilings": {"bytes_per_s": 1e6, "flops_per_s": 1e9},
    }
    (found,) = roofline(rows({"base": [50.0, 50.0]}), told)
    # a step reads 1000 bytes of weights (1 ms; the products take 1.6 us) and 8 x (64 + 10) x 10 = 5920 of keys and values (5.92 ms)
    assert found["limit"] == pytest.approx(8 / 6.92e-3)
    assert found["share"] == pytest.approx(400 / found["limit"])
    assert found["share_low"] == pytest.approx(found["share"]) == pytest.approx(found["share_high"])
    (varied,) = roofline(rows({"base": [40.0, 50.0]}), told)
    # two logarithms, half their distance from the mean each: Student's t with one degree of freedom is 12.706
    assert math.log(varied["share_high"] / varied["share"]) == pytest.approx(12.7062 * math.log(50 / 40) / 2, rel=1e-4)
    assert varied["tokens_per_s"] == pytest.approx(8 * math.sqrt(40 * 50))
    assert pd.isna(roofline(rows({"base": [50.0]}), told)[0]["share_low"])
    assert found["bytes_share_kv"] == pytest.approx(5920 / 6920)


def test_a_block_that_is_left_out_is_no_part_of_the_roofline_nor_of_the_pilot() -> None:
    told = {"parameters": 100, "weight_bytes": 1000, "kv_bytes_per_token": 10}
    told["ceilings"] = {"bytes_per_s": 1e6, "flops_per_s": 1e9}
    table = rows({"base": [50.0, 51.0, 5.0], "x": [40.0, 41.0, 40.0]})
    flagged = table.assign(flagged=table["block"] == 2)
    whole, without = (roofline(t, told) for t in (flagged, table[table["block"] < 2]))
    assert [row["share"] for row in whole] == [row["share"] for row in without]
    assert whole[0]["share"] > roofline(table, told)[0]["share"]
    assert roofline(table.assign(flagged=True), told) == []
    pilot = rows({"a": [50.0, 51.0, 5.0], "b": [50.5, 50.5, 50.0]}, kind="pilot")
    marked = pilot.assign(flagged=pilot["block"] == 2)
    assert foretell(marked, 12, 0.02).sd == foretell(pilot[pilot["block"] < 2], 12, 0.02).sd < 0.02
    assert foretell(pilot.assign(flagged=True), 12, 0.02).sd > 1  # better than nothing


def test_only_processors_that_may_be_used_count_as_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    from collections import namedtuple

    import psutil

    from tradeoffs.inference import throughput

    cpu = namedtuple("cpu", "user system idle")
    monkeypatch.setattr(psutil, "cpu_times", lambda percpu: [cpu(100.0, 0.0, 0.0), cpu(2.0, 1.0, 7.0)])
    monkeypatch.setattr(throughput.os, "sched_getaffinity", lambda pid: {1})
    assert throughput._cpu_seconds()[1:] == (3.0, 10.0)


def test_live_context_by_hand() -> None:
    assert [context_tokens(10, n) for n in (0, 1, 2, 4)] == [0, 0, 11, 11 + 12 + 13]


def test_what_a_step_reads(tiny: Path) -> None:
    model = load(str(tiny), dtype="float32").model
    found = traffic(model)
    every = sum(p.numel() for p in model.parameters())
    table = model.get_input_embeddings().weight.numel()
    assert found.parameters == (every if model.config.tie_word_embeddings else every - table)
    assert found.weight_bytes == 4 * found.parameters
    config = model.config
    assert found.kv_bytes_per_token == 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * 4


def test_ceilings_are_those_of_a_machine() -> None:
    import torch

    found = measure_ceilings(torch.float32, torch.device("cpu"))
    assert 1e8 < found.bytes_per_s < 1e13 and 1e8 < found.flops_per_s < 1e15


# The stage


def asked(tiny: Path, tmp_path: Path, **changes: Any) -> ThroughputParameters:
    values: dict[str, Any] = dict(
        model=str(tiny),
        policies={"base": "", "copy": ""},
        out=str(tmp_path / "t"),
        blocks=2,
        pilot_blocks=2,
        self_check=2,
        batch_sizes=[1, 3],
        prompt_tokens=8,
        new_tokens=10,
        foreign_cpu_limit=1.0,
    )
    return ThroughputParameters(**(values | changes))


@pytest.mark.parametrize("turn", [0, 1, 4])
def test_every_arm_is_timed_once_a_block_at_every_size(tiny: Path, tmp_path: Path, turn: int) -> None:
    said: list[str] = []
    p = asked(tiny, tmp_path, turn_tokens=turn)
    record = stage.throughput(p, tell=lambda rows, p: said.append(str(len(rows))) or "told")
    found = frame(read_rows(tmp_path / "t" / "timings.jsonl", Timing))
    assert said == ["8"]  # the pilot's: 2 blocks of 2 at 2 sizes, before anything else
    assert list(dict.fromkeys(found["kind"])) == ["pilot", "policies", "self-check"]
    main = found[found["kind"] == "policies"]
    arms = {"base", "copy", "control: slower", "control: longer"}
    for _, block in main.groupby("block"):
        assert sorted(zip(block["policy"], block["batch_size"], strict=True)) == sorted(
            (a, b) for a in arms for b in (1, 3)
        )
        assert sorted(block["position"]) == list(range(8))
    assert set(main.loc[main["policy"] == "control: longer", "new_tokens"]) == {11}
    assert record.counts["completed"] == 2 and record.summary["energy_reason"]
    assert found["energy_j"].isna().all()  # none, never zero
    assert record.summary["ceilings"]["bytes_per_s"] > 0


def test_policies_take_turns_and_keep_their_own_weights_and_tokens(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    def other(bench: stage.Bench) -> stage.Bench:
        bench.weights["copy"] = {name: 1.5 * tensor for name, tensor in bench.weights["base"].items()}
        return bench

    bench = other(stage.Bench(asked(tiny, tmp_path, turn_tokens=2)))
    alone = other(stage.Bench(asked(tiny, tmp_path)))
    arms, shape, rng = [stage.Arm("base", "base"), stage.Arm("copy", "copy")], (3, 8, 7), random.Random(0)
    seen: list[tuple[int, torch.Tensor]] = []
    real = stage.Generation.go

    def told(run: stage.Generation, model: Any, tokens: int) -> None:
        before = run.left
        real(run, model, tokens)
        seen.append((before - run.left, run.tokens))

    monkeypatch.setattr(stage.Generation, "go", told)
    whole = {}
    for arm in arms:
        alone.time([arm], shape, rng)
        whole[arm.name] = seen.pop()[1]
    assert not torch.equal(whole["base"], whole["copy"])  # else it would not show whose weights were used
    for _ in range(3):  # in either place of memory, and back
        seen.clear()
        first, second = bench.time(arms, shape, rng)
        assert [tokens for tokens, _ in seen] == [2, 2, 2, 2, 2, 2, 1, 1]
        assert {tuple(last.flatten().tolist()) for _, last in seen[-2:]} == {
            tuple(own.flatten().tolist()) for own in whole.values()
        }
        assert min(first["prefill_s"], first["decode_s"], second["prefill_s"], second["decode_s"]) > 0
        at = {name: own["model.embed_tokens.weight"].data_ptr() for name, own in bench.weights.items()}
        bench.rotate()
        assert {name: own["model.embed_tokens.weight"].data_ptr() for name, own in bench.weights.items()} == {
            "base": at["copy"],
            "copy": at["base"],
        }
        for name, own in bench.weights.items():
            assert all(torch.equal(tensor, alone.weights[name][key]) for key, tensor in own.items())


def test_an_interrupted_run_goes_on_with_the_block_that_is_not_complete(tiny: Path, tmp_path: Path) -> None:
    p = asked(tiny, tmp_path)
    stage.throughput(p)
    path = tmp_path / "t" / "timings.jsonl"
    whole = path.read_text().splitlines(keepends=True)
    (tmp_path / "t" / "record.json").unlink()
    path.write_text("".join(whole[:-3]))
    stage.throughput(p)
    again = path.read_text().splitlines(keepends=True)
    assert len(again) == len(whole) and again[: len(whole) - 8] == whole[: len(whole) - 8]
    keys = ("policy", "kind", "block", "position", "batch_size")
    assert [[getattr(Timing.model_validate_json(line), k) for k in keys] for line in again] == [
        [getattr(Timing.model_validate_json(line), k) for k in keys] for line in whole
    ]


def test_minutes_end_a_run_between_blocks(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="minutes: got 1e-06; fewer than two blocks"):
        stage.throughput(asked(tiny, tmp_path, minutes=1e-6))
    assert "stopped after 0 of 2 blocks" in capsys.readouterr().out
    assert not (tmp_path / "t" / "record.json").exists()
    # the bound is no part of what the rows mean: with more time the same folder goes on
    assert stage.throughput(asked(tiny, tmp_path, minutes=10.0)).counts["completed"] == 2


def test_sizes_that_do_not_fit_are_left_out_and_named(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = stage.Generation.go

    def small(run: stage.Generation, model: Any, tokens: int) -> None:
        if run.tokens.shape[0] > 2:
            raise RuntimeError("CUDA out of memory. Tried to allocate 1 GiB")
        real(run, model, tokens)

    monkeypatch.setattr(stage.Generation, "go", small)
    record = stage.throughput(asked(tiny, tmp_path))
    assert record.summary["too_large"] == [3] and record.counts["too_large"] == 1
    assert {row.batch_size for row in read_rows(tmp_path / "t" / "timings.jsonl", Timing)} == {1}
    with pytest.raises(MemoryError, match=r"batch_sizes: got \[4\]; none fits"):
        stage.throughput(asked(tiny, tmp_path, batch_sizes=[4], out=str(tmp_path / "u")))


def test_a_static_cache_decodes_too(tiny: Path, tmp_path: Path) -> None:
    record = stage.throughput(asked(tiny, tmp_path, cache="static", self_check=0))
    assert record.counts["completed"] == 2


def test_many_policies_tested_together_take_more_blocks() -> None:
    assert tost_power(0.01, 12, 0.02, compared=10) < tost_power(0.01, 12, 0.02)
    pilot = rows({"a": [50.0, 50.5, 49.8], "b": [50.1, 50.0, 50.2]}, kind="pilot")
    alone, among = foretell(pilot, 12, 0.02), foretell(pilot, 12, 0.02, compared=10)
    assert among.detectable > 1.2 * alone.detectable  # Bonferroni's factor for ten is 1.30 at large samples
    assert among.needed is not None and alone.needed is not None and among.needed > alone.needed


def test_the_policy_to_compare_with_is_the_one_that_is_checked(tiny: Path, tmp_path: Path) -> None:
    stage.throughput(asked(tiny, tmp_path, baseline="copy"))
    with pytest.raises(ParameterError, match="baseline: got 'x'; accepts '' or one of base"):
        check(ThroughputParameters, {"baseline": "x"})


def test_only_a_policy_with_an_adapter_can_be_timed_unmerged() -> None:
    with pytest.raises(ParameterError, match="unmerged: .*'base' has no adapter"):
        check(ThroughputParameters, {"unmerged": ["base"]})
