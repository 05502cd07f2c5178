"""Attribute regression against its equations, and pairs, ratings and instructions from files, real ones among them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tradeoffs.alignment import align
from tradeoffs.alignment.common import prompts
from tradeoffs.models import load
from tradeoffs.parameters import AlignParameters
from tradeoffs.preferences.attributes import PENALTIES, choose_penalty, fit_attributes
from tradeoffs.preferences.data import Pair, read_instructions, read_pairs, read_ratings, transcript
from tradeoffs.preferences.sampling import Rated
from tradeoffs.records import TrainingStep, digest, read_rows

NAN = float("nan")


def regression_loss(predicted: Any, ratings: Any) -> tuple[float, Any]:
    """Masked mean squared error, summed over attributes, and its gradient; both of shape (n, attributes), NaN where a rating is missing."""
    present = ~np.isnan(ratings)
    error = np.where(present, predicted - np.nan_to_num(ratings), 0.0)
    count = np.maximum(present.sum(0), 1)
    return float((error**2 / count).sum()), 2 * error / count


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


def test_the_masked_fit_is_least_squares_of_the_rated_rows_with_a_row_for_each_weights_penalty() -> None:
    rng = np.random.default_rng(3)
    features, ratings = rng.normal(size=(50, 4)), rng.uniform(0, 100, (50, 2))
    ratings[::3, 0] = NAN
    model = fit_attributes(features, ratings, ["helpfulness", "verbosity"], penalty=0.5)
    for j in range(2):
        rows = ~np.isnan(ratings[:, j])
        scaled = (features[rows] - features[rows].mean(0)) / features[rows].std(0)
        stacked = np.vstack([scaled, np.sqrt(0.5 * rows.sum()) * np.eye(4)])
        target = np.concatenate([ratings[rows, j] - ratings[rows, j].mean(), np.zeros(4)])
        solution = np.linalg.lstsq(stacked, target)[0] / features[rows].std(0)
        assert model.weights[j] == pytest.approx(solution, abs=1e-6)
        assert features[rows].mean(0) @ model.weights[j] + model.bias[j] == pytest.approx(ratings[rows, j].mean())


def test_the_chosen_penalty_has_the_least_generalised_cross_validation_error() -> None:
    rng = np.random.default_rng(4)
    features = rng.normal(size=(40, 30))
    features -= features.mean(0)
    for noise in (0.0, 30.0):
        ratings = features @ rng.normal(size=30) + noise * rng.normal(size=40)
        ratings -= ratings.mean()

        def error(penalty: float, ratings: Any = ratings) -> float:
            hat = (
                features @ np.linalg.solve(features.T @ features / 40 + penalty * np.eye(30), features.T) / 40 + 1 / 40
            )
            return float(((ratings - hat @ ratings) ** 2).mean() / (1 - np.trace(hat) / 40) ** 2)

        assert choose_penalty(features, ratings) == min(PENALTIES, key=error)
    assert choose_penalty(features, features @ np.ones(30)) < choose_penalty(features, ratings)


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


def say(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


Q = say("user", "q")
WHOLE = {"chosen": [Q, say("assistant", "a ")], "rejected": [Q, say("assistant", "b")]}


@pytest.mark.parametrize(
    ("row", "messages"),
    [
        ({"prompt": "q", "chosen": "a", "rejected": "b"}, [Q]),
        (WHOLE, [Q]),
        ({"prompt": "q"} | WHOLE, [Q]),
        ({"prompt": "q", "chosen": [say("assistant", "a")], "rejected": [say("assistant", "b")]}, [Q]),
        ({"prompt": [say("system", "s"), Q], "chosen": "a", "rejected": [say("assistant", "b")]}, [say("system", "s"), Q]),
        ({"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "\n\nHuman: q\n\nAssistant: b"}, [Q]),
    ],
)  # fmt: skip
def test_a_pair_may_be_texts_messages_or_transcripts(tmp_path: Path, row: dict[str, Any], messages: Any) -> None:
    pairs, _ = read_pairs(write(tmp_path / "pairs.jsonl", [row]))
    assert pairs == [Pair(messages, "a", "b")]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"rejected": [say("user", "r"), say("assistant", "b")]}, "prompts differ"),
        ({"rejected": [Q]}, "prompts differ"),
        ({"prompt": "q", "rejected": []}, "prompts differ"),
        ({"prompt": [], "chosen": [], "rejected": []}, "prompts differ"),
        ({"rejected": [Q, say("assistant", " ")]}, "empty"),
        ({"rejected": [Q, say("assistant", "a")]}, "equal"),
    ],
)
def test_lists_of_messages_that_are_no_pair_are_counted(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    _, left_out = read_pairs(write(tmp_path / "pairs.jsonl", [WHOLE, WHOLE | change]))
    assert left_out[reason] == 1 and sum(left_out.values()) == 1


@pytest.mark.parametrize("message", [{"role": "tool", "content": "x"}, {"role": "user"}, "x"])
def test_what_is_no_message_is_refused(tmp_path: Path, message: Any) -> None:
    with pytest.raises(ValueError, match="line 1: chosen holds no message; accepts messages with a role of system"):
        read_pairs(write(tmp_path / "pairs.jsonl", [WHOLE | {"chosen": [message]}]))


def test_ratings_are_read_with_what_is_missing(tmp_path: Path) -> None:
    rows = [
        {"prompt": "q", "response": "a ", "helpfulness": 90},
        {"prompt": [Q], "response": "b", "verbosity": 12.5, "helpfulness": None, "honesty": None},
        {"prompt": [Q, say("assistant", "a"), Q], "response": "c", "verbosity": 0, "helpfulness": 100},
        {"prompt": "q", "response": "a", "helpfulness": 90},
        {"prompt": "q", "response": " ", "helpfulness": 90},
        {"prompt": " ", "response": "a", "helpfulness": 90},
        {"prompt": "q", "response": "d"},
        {"prompt": "q", "response": "d", "helpfulness": None},
    ]
    found = read_ratings(write(tmp_path / "ratings.jsonl", rows))
    assert found.texts == [("q", "a"), ("q", "b"), ([Q, say("assistant", "a"), Q], "c")]
    assert found.attributes == ("helpfulness", "verbosity")
    assert found.ratings == pytest.approx(np.array([[90, NAN], [NAN, 12.5], [100, 0]]), nan_ok=True)
    assert found.left_out == {"empty": 2, "unrated": 2, "duplicate": 1}
    assert len(read_ratings(tmp_path / "ratings.jsonl", limit=2).texts) == 2


RATED = {"prompt": "q", "response": "a", "helpfulness": 50}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"helpfulness": 101}, "line 2: helpfulness is 101; accepts a number from 0 to 100, null where it is missing"),
        ({"helpfulness": -1e-9}, "helpfulness is -1e-09"),
        ({"helpfulness": NAN}, "helpfulness is nan"),
        ({"helpfulness": "3"}, "helpfulness is '3'"),
        ({"helpfulness": True}, "helpfulness is True"),
        ({"model": "m"}, "model is 'm'"),
        ({"response": None}, "line 2: response is NoneType; accepts a text"),
        ({"prompt": 1}, "line 2: prompt is int; accepts a text or messages"),
    ],
)
def test_ratings_out_of_range_and_what_is_no_number_are_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        read_ratings(write(tmp_path / "ratings.jsonl", [RATED, RATED | change]))


def test_ratings_without_any_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"no usable rating \(left out: \{'empty': 0, 'unrated': 1, 'duplicate': 0\}\)"
    ):
        read_ratings(write(tmp_path / "ratings.jsonl", [{"prompt": "q", "response": "a"}]))


@pytest.mark.parametrize(
    ("read", "row", "message"),
    [
        (
            read_ratings,
            WHOLE,
            r"reward_data: .*line 1: holds pairs \(keys chosen, rejected\), not ratings; accepts prompt/response",
        ),
        (read_pairs, RATED, r"preferences: .*line 1: holds ratings .*, not pairs; accepts prompt/chosen/rejected"),
        (read_pairs, {"prompt": "q", "completion": "a"}, "holds instructions"),
        (read_ratings, {"instruction": "q", "output": "a"}, "holds instructions"),
        (read_instructions, RATED, "instructions: .*holds ratings"),
        (read_instructions, WHOLE, "holds pairs"),
    ],
)
def test_a_file_of_another_kind_is_recognised(tmp_path: Path, read: Any, row: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(write(tmp_path / "rows.jsonl", [row]))


@pytest.mark.parametrize("read", [read_pairs, read_ratings, read_instructions])
def test_a_file_that_is_not_there_is_refused(tmp_path: Path, read: Any) -> None:
    with pytest.raises(ValueError, match="missing.jsonl'; accepts a .jsonl..gz. file that exists, or one of"):
        read(tmp_path / "missing.jsonl")


def test_instructions_may_be_messages(tmp_path: Path) -> None:
    path = write(tmp_path / "tasks.jsonl", [{"prompt": [say("system", "s"), Q], "completion": "a"}])
    assert read_instructions(path) == [([say("system", "s"), Q], "a")]


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
    record = align(parameters(tiny, tmp_path / "sft", domain="mixed", instructions=str(tasks)))
    assert record.summary["examples"] == 4 and record.counts["completed"] == 2


def test_methods_that_sample_answer_the_prompts_of_a_file(tiny: Path, tmp_path: Path) -> None:
    say = {"role": "system", "content": "Be a pirate."}
    rows = [{"prompt": f"Name {word}.", "completion": f"{word}, {word} and a longer answer"} for word in ("ink", "oak")]
    rows += [{"prompt": [say, {"role": "user", "content": "Name ice."}], "completion": "ice, me hearty"}]
    rows += [{"prompt": "Name it. " * 200, "completion": "long"}]  # fits the model, but not max_length
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    p = parameters(
        tiny, tmp_path / "dpa", method="dpa", domain="general", instructions=str(path), prompts=3, samples=2, angles=[45.0],
        max_new_tokens=8,
    )  # fmt: skip
    tokenizer = load(str(tiny)).tokenizer
    found = {str(e.prompt): e.messages(45.0) for e in prompts(p, tokenizer)}
    assert len(found) == 3 and not any("Name it" in prompt for prompt in found)
    systems = sorted(messages[0]["content"] for messages in found.values())
    wish = " Maximise the rating: helpfulness*71 + verbosity*71."
    assert systems == ["Be a pirate." + wish, *["You are a helpful assistant." + wish] * 2]
    record = align(p)
    assert (
        record.inputs["instructions"] == digest(path)
        and len(read_rows(tmp_path / "dpa/round-1/rated.jsonl", Rated)) == 6
    )
    for method in ("rloo", "ppo"):
        record = align(parameters(
            tiny, tmp_path / method, method=method, domain="mixed", instructions=str(path), prompts=4, samples=2, batch_size=4,
            steps=1, max_new_tokens=8,
        ))  # fmt: skip
        assert record.counts["completed"] == 1
    with pytest.raises(ValueError, match="max_length: got 24; all 4 instructions are longer"):
        align(parameters(tiny, tmp_path / "none", domain="general", instructions=str(path), max_length=24))


def test_instructions_need_a_domain_that_holds_them(tiny: Path, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"prompt": "q", "completion": "a"}) + "\n")
    for wrong, message in (
        (dict(method="rsft"), "domain: got 'code'; accepts 'general' or 'mixed' with instructions"),
        (dict(method="rlvr", samples=2), "instructions: got .*; accepts '' with rlvr"),
        (dict(method="dpo", domain="general", preferences=str(path)), "which bring their own prompts"),
    ):
        with pytest.raises(ValueError, match=message):
            parameters(tiny, tmp_path / "out", instructions=str(path), **wrong)
