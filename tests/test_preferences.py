"""Attribute regression against its equations, and pairs and instructions from files, real ones among them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tradeoffs.alignment import align
from tradeoffs.parameters import AlignParameters
from tradeoffs.preferences.attributes import fit_attributes, regression_loss
from tradeoffs.preferences.data import read_instructions, read_pairs, transcript
from tradeoffs.records import TrainingStep, read_rows

NAN = float("nan")


def test_the_masked_loss_by_hand() -> None:
    loss, _ = regression_loss(np.array([[1.0, 5.0], [3.0, 9.0]]), np.array([[2.0, NAN], [7.0, 6.0]]))
    assert loss == pytest.approx(((1 - 2) ** 2 + (3 - 7) ** 2) / 2 + (9 - 6) ** 2)


def test_the_masked_gradient_is_that_of_differences_and_zero_where_ratings_are_missing() -> None:
    rng = np.random.default_rng(0)
    predicted, ratings = rng.uniform(0, 100, (5, 3)), rng.uniform(0, 100, (5, 3))
    ratings[[0, 2, 4], [1, 1, 2]] = NAN
    _, gradient = regression_loss(predicted, ratings)
    for i, j in np.ndindex(5, 3):
        step = np.zeros((5, 3))
        step[i, j] = 1e-4
        slope = (regression_loss(predicted + step, ratings)[0] - regression_loss(predicted - step, ratings)[0]) / 2e-4
        assert gradient[i, j] == pytest.approx(slope, abs=1e-6)
    assert gradient[0, 1] == gradient[2, 1] == gradient[4, 2] == 0


def test_attributes_are_found_again_and_missing_ratings_change_nothing() -> None:
    rng = np.random.default_rng(1)
    features = rng.normal(size=(400, 6))
    truth = np.clip(50 + features @ rng.normal(size=(6, 2)) * 4, 0, 100)
    held_out = np.arange(400) >= 300
    whole = fit_attributes(features, truth, ["helpfulness", "verbosity"], held_out)
    assert all(r is not None and r > 0.99 for r in whole.correlations.values())
    holes = truth.copy()
    holes[::2, 1] = NAN
    partly = fit_attributes(features, holes, ["helpfulness", "verbosity"], held_out)
    assert np.array_equal(whole.weights[0], partly.weights[0]) and not np.array_equal(
        whole.weights[1], partly.weights[1]
    )
    alone = fit_attributes(features[1::2], truth[1::2, 1:], ["verbosity"], held_out[1::2])
    assert np.allclose(alone.weights[0], partly.weights[1])
    assert whole.rate(features, ["verbosity"])[:, 0] == pytest.approx(whole.rate(features)[:, 1])
    assert whole.rate(100 * features).min() >= 0 and whole.rate(100 * features).max() <= 100


def test_the_fit_is_where_the_gradient_of_loss_and_penalty_vanishes() -> None:
    rng = np.random.default_rng(2)
    features = rng.normal(size=(60, 4))
    features = (features - features.mean(0)) / features.std(0)
    ratings = np.clip(50 + 10 * rng.normal(size=(60, 1)), 0, 100)
    model = fit_attributes(features, ratings, ["helpfulness"], penalty=0.1)
    _, slope = regression_loss(features @ model.weights.T + model.bias, ratings)
    assert features.T @ slope == pytest.approx(-2 * 0.1 * model.weights.T, abs=1e-6)


@pytest.mark.parametrize(
    ("ratings", "message"),
    [
        (np.full((3, 1), NAN), "none for 'helpfulness'"),
        (np.full((3, 1), 101.0), "from 0 to 100"),
        (np.zeros((2, 1)), "accepts \\(3, 1\\)"),
    ],
)
def test_ratings_that_cannot_be_fitted_are_refused(ratings: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_attributes(np.eye(3), ratings, ["helpfulness"])


def test_an_attribute_that_was_not_fitted_is_refused() -> None:
    model = fit_attributes(np.eye(3), np.array([[1.0], [2.0], [3.0]]), ["helpfulness"])
    with pytest.raises(ValueError, match="got 'honesty'; this reward model accepts helpfulness"):
        model.rate(np.eye(3), ["honesty"])


# ---------------------------------------------------------------- files


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_transcript_is_split_into_turns() -> None:
    found = transcript("\n\nHuman: a\n\nHuman: b\n\nAssistant: c\n\nd\n\nHuman: e\n\nAssistant: f", "here")
    assert [(m["role"], m["content"]) for m in found] == [
        ("user", "a\n\nb"), ("assistant", "c\n\nd"), ("user", "e"), ("assistant", "f"),
    ]  # fmt: skip
    with pytest.raises(ValueError, match="no transcript"):
        transcript("Assistant: a", "here")


def test_pairs_that_teach_nothing_are_left_out_and_counted(tmp_path: Path) -> None:
    good = {"prompt": "p", "chosen": "a", "rejected": "b"}
    other = {"chosen": "\n\nHuman: x\n\nAssistant: a", "rejected": "\n\nHuman: y\n\nAssistant: b"}
    rows = [good, good, {**good, "rejected": "a"}, {**good, "chosen": " "}, other]
    pairs, left_out = read_pairs(write(tmp_path / "pairs.jsonl", rows))
    assert [(pair.chosen, pair.rejected) for pair in pairs] == [("a", "b")]
    assert left_out == {"empty": 1, "equal": 1, "duplicate": 1, "prompts differ": 1}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"prompt": "p", "chosen": "a"}], "line 1: rejected is NoneType; accepts a text"),
        ([{"prompt": "p", "chosen": "a", "rejected": "a"}], "no usable pair"),
        ([], "no usable pair"),
    ],
)
def test_files_without_pairs_are_refused(tmp_path: Path, rows: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_pairs(write(tmp_path / "pairs.jsonl", rows))


def test_a_file_that_breaks_off_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").write_text('{"prompt": "p", "chos')
    with pytest.raises(ValueError, match="line 1: not JSON"):
        read_pairs(tmp_path / "pairs.jsonl")
    (tmp_path / "pairs.jsonl.gz").write_bytes(b"\x1f\x8b\x08\x00")
    with pytest.raises(ValueError, match="damaged"):
        read_pairs(tmp_path / "pairs.jsonl.gz")


def test_the_real_files_are_read(data: Path) -> None:
    harmless, left_out = read_pairs(data / "preferences" / "hh-rlhf-harmless-base-test.jsonl.gz")
    assert len(harmless) + sum(left_out.values()) == 2312 and len(harmless) > 2200
    assert all(pair.messages[-1]["role"] == "user" for pair in harmless)
    ranked, left_out = read_pairs(data / "preferences" / "alpaca-eval-pairs.jsonl.gz")
    assert len(ranked) + sum(left_out.values()) == 805 and len(ranked) > 780
    assert len(read_instructions(data / "sft" / "code-alpaca-2k.jsonl.gz")) > 1990


def parameters(tiny: Path, out: Path, **changes: object) -> AlignParameters:
    small = dict(steps=2, batch_size=2, lora_rank=4, max_length=256, dtype="float32")
    return AlignParameters(**({"model": str(tiny), "out": str(out)} | small | changes))  # type: ignore[arg-type]


def test_dpo_and_sft_learn_from_real_files(tiny: Path, tmp_path: Path, data: Path) -> None:
    pairs, tasks = data / "preferences" / "alpaca-eval-pairs.jsonl.gz", data / "sft" / "code-alpaca-2k.jsonl.gz"
    record = align(parameters(tiny, tmp_path / "dpo", method="dpo", preferences=str(pairs), max_length=1024))
    first = read_rows(tmp_path / "dpo" / "steps.jsonl", TrainingStep)[0]
    assert first.loss == pytest.approx(np.log(2), abs=1e-5)
    assert record.summary["pairs"] > 100 and record.summary["left_out"]["too long"] > 0
    record = align(parameters(tiny, tmp_path / "sft", instructions=str(tasks)))
    assert record.summary["examples"] > 1990 and record.counts["completed"] == 2
