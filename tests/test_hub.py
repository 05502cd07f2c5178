"""Data sets of the hub by name: conversions of hand-made rows with the documented columns, and every way of not getting them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest

from tradeoffs.parameters import DATA_SETS
from tradeoffs.preferences import hub
from tradeoffs.preferences.data import Pair, identify, read_instructions, read_pairs, read_ratings


def say(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def rating(value: Any, **more: str) -> dict[str, Any]:
    return {"Rating": value, "Rationale": "so"} | more


UNRATED = dict.fromkeys(hub.ULTRAFEEDBACK, rating("N/A"))

# As each data set's card documents its columns; those that are not read are there, too.
ROWS: dict[str, list[dict[str, Any]]] = {
    "hh-rlhf": [
        {"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "\n\nHuman: q\n\nAssistant: b"},
        {
            "chosen": "\n\nHuman: q\n\nAssistant: a\n\nHuman: r\n\nAssistant: c",
            "rejected": "\n\nHuman: q\n\nAssistant: a\n\nHuman: r\n\nAssistant: d",
        },
        {"chosen": "no transcript", "rejected": "\n\nHuman: q\n\nAssistant: b"},
    ],
    "ultrafeedback": [
        {
            "prompt": "q",
            "prompt_id": "x",
            "chosen": [say("user", "q"), say("assistant", "a")],
            "rejected": [say("user", "q"), say("assistant", "b")],
            "messages": [say("user", "q"), say("assistant", "a")],
            "score_chosen": 8.0,
            "score_rejected": 3.0,
        },
        {
            "prompt": "q",
            "prompt_id": "y",
            "chosen": [say("user", "q"), say("assistant", "a")],
            "rejected": [say("user", "q"), say("assistant", "")],
            "messages": [],
            "score_chosen": 8.0,
            "score_rejected": 3.0,
        },
    ],
    "helpsteer2": [
        {"prompt": "q", "response": "a"} | dict(zip(hub.HELPSTEER, (4, 3, 2, 1, 0), strict=True)),
        {"prompt": "q\n<extra_id_1>Assistant\na\n<extra_id_1>User\nr\n", "response": "b"}
        | dict(zip(hub.HELPSTEER, (0, 0, 0, 0, None), strict=True)),
        {"prompt": "q", "response": "c"} | dict.fromkeys(hub.HELPSTEER, 5),
    ],
    "ultrafeedback-ratings": [
        {
            "source": "flan",
            "instruction": "q",
            "models": ["m"],
            "completions": [
                {
                    "model": "m",
                    "response": "a",
                    "overall_score": 7.5,
                    "annotations": {
                        "helpfulness": rating("1", Type="['1']"),
                        "honesty": rating("2"),
                        "instruction_following": rating("5"),
                        "truthfulness": rating("N/A", Type="None"),
                    },
                },
                {"model": "n", "response": "b", "overall_score": 1.0, "annotations": UNRATED},
                {"model": "o", "response": "", "overall_score": 1.0, "annotations": UNRATED},
                {
                    "model": "o",
                    "response": "c",
                    "overall_score": 1.0,
                    "annotations": UNRATED | {"honesty": rating("3")},
                },
            ],
            "correct_answers": ["None"],
            "incorrect_answers": ["None"],
        },
        {
            "source": "flan",
            "instruction": "r",
            "models": [],
            "completions": [],
            "correct_answers": ["None"],
            "incorrect_answers": ["None"],
        },
    ],
    "ultrachat": [
        {
            "prompt": "q",
            "prompt_id": "x",
            "messages": [say("user", "q"), say("assistant", "a"), say("user", "r"), say("assistant", "b")],
        },
        {
            "prompt": "q",
            "prompt_id": "y",
            "messages": [say("system", "s"), say("user", "q"), say("assistant", "a")],
        },
        {"prompt": "q", "prompt_id": "z", "messages": [say("user", "q")]},
        {"prompt": "q", "prompt_id": "w", "messages": [say("assistant", "a"), say("user", "q")]},
    ],
    "code-alpaca": [
        {"output": "a", "instruction": "q", "input": ""},
        {"output": "b", "instruction": "q", "input": "in"},
    ],
    "magicoder": [
        {
            "lang": "python",
            "raw_index": 1,
            "index": 2,
            "seed": "s",
            "openai_fingerprint": "f",
            "problem": "q",
            "solution": "a",
        },
    ],
}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Stands in for the hub; holds what it was asked for."""
    calls: list[dict[str, Any]] = []
    names = {source.repo: name for name, source in hub.SOURCES.items()}

    def load_dataset(repo: str, **given: Any) -> datasets.Dataset:
        calls.append({"repo": repo} | given)
        return datasets.Dataset.from_list(ROWS[names[repo]])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return calls


def test_every_source_names_a_full_commit_and_what_the_parameters_know() -> None:
    for source in hub.SOURCES.values():
        assert re.fullmatch("[0-9a-f]{40}", source.revision) and source.licence and source.columns
    assert {kind: tuple(hub.names(kind)) for kind in DATA_SETS} == DATA_SETS  # type: ignore[arg-type]
    assert ROWS.keys() == hub.SOURCES.keys()


def test_transcripts_become_pairs_and_one_that_is_none_is_counted(asked: list[dict[str, Any]]) -> None:
    pairs, left_out = read_pairs("hh-rlhf")
    assert pairs == [
        Pair([say("user", "q")], "a", "b"),
        Pair([say("user", "q"), say("assistant", "a"), say("user", "r")], "c", "d"),
    ]
    assert left_out == {"empty": 0, "equal": 0, "duplicate": 0, "prompts differ": 0, "unreadable": 1}
    source = hub.SOURCES["hh-rlhf"]
    assert asked == [{"repo": source.repo, "data_dir": None, "revision": source.revision, "split": "train"}]


def test_lists_of_messages_become_pairs(asked: list[dict[str, Any]]) -> None:
    pairs, left_out = read_pairs("ultrafeedback")
    assert pairs == [Pair([say("user", "q")], "a", "b")] and left_out["empty"] == 1
    assert asked[0]["split"] == "train_prefs"


def test_helpsteers_ratings_are_scaled_and_its_turns_told_apart(asked: list[dict[str, Any]]) -> None:
    found = read_ratings("helpsteer2")
    assert found.texts == [("q", "a"), ([say("user", "q"), say("assistant", "a"), say("user", "r")], "b")]
    assert found.attributes == ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
    assert found.ratings == pytest.approx(
        np.array([[90, 70, 50, 30, 10], [10, 10, 10, 10, np.nan]], float), nan_ok=True
    )
    assert found.left_out == {"empty": 0, "unrated": 0, "duplicate": 0, "unreadable": 1}


def test_ultrafeedbacks_responses_are_rated_one_by_one_and_not_available_is_missing(
    asked: list[dict[str, Any]],
) -> None:
    found = read_ratings("ultrafeedback-ratings")
    assert found.texts == [("q", "a"), ("q", "c")]
    assert found.attributes == ("helpfulness", "honesty", "instruction_following")
    assert found.ratings == pytest.approx(np.array([[10, 30, 90], [np.nan, 50, np.nan]]), nan_ok=True)
    assert found.left_out == {"empty": 1, "unrated": 1, "duplicate": 0}


@pytest.mark.parametrize(("given", "mapped"), [("1", 10), ("3", 50), (" 5 ", 90), (4, 70), ("N/A", None), (None, None)])
def test_ultrafeedbacks_scale(given: Any, mapped: int | None) -> None:
    row = {"instruction": "q", "completions": [{"response": "a", "annotations": {"honesty": rating(given)}}]}
    assert list(hub.ultrafeedback_ratings(row))[0]["honesty"] == mapped


def test_the_first_exchange_of_a_conversation_is_an_instruction(asked: list[dict[str, Any]]) -> None:
    assert read_instructions("ultrachat") == [([say("user", "q")], "a"), ([say("system", "s"), say("user", "q")], "a")]
    assert read_instructions("code-alpaca") == [([say("user", "q")], "a"), ([say("user", "q\n\nin")], "b")]
    assert read_instructions("magicoder") == [([say("user", "q")], "a")]


def test_a_limit_counts_the_data_sets_rows(asked: list[dict[str, Any]]) -> None:
    assert len(list(hub.rows("ultrafeedback-ratings", limit=1))) == 4
    assert len(read_instructions("ultrachat", limit=1)) == 1
    assert len(list(hub.rows("ultrachat"))) == 2


@pytest.mark.parametrize("read", [read_pairs, read_ratings, read_instructions])
def test_a_name_of_another_kind_or_none_is_refused(read: Any) -> None:
    other = "helpsteer2" if read is not read_ratings else "hh-rlhf"
    with pytest.raises(ValueError, match=f"{other} holds {hub.SOURCES[other].kind}; accepts a .jsonl"):
        read(other)
    with pytest.raises(ValueError, match="got 'hh-rhlf'; accepts a .jsonl.*or one of "):
        read("hh-rhlf")


def test_an_unknown_name_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(ValueError, match="data set: got 'alpaca'; accepts hh-rlhf, ultrafeedback, helpsteer2"):
        hub.rows("alpaca")
    with pytest.raises(ValueError, match="data: got 'alpaca'; accepts"):
        identify("alpaca")


def test_a_source_is_identified_by_commit_or_content(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("{}\n")
    before = identify(tmp_path / "a.jsonl")
    (tmp_path / "a.jsonl").write_text("{} \n")
    assert len(before) == 64 and identify(tmp_path / "a.jsonl") != before and identify("") == ""
    assert identify("hh-rlhf") == f"hh-rlhf@{hub.SOURCES['hh-rlhf'].revision}"


def test_a_missing_column_is_named_with_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: datasets.Dataset.from_list([{"chosen": "", "b": 1}]))
    with pytest.raises(ValueError) as raised:
        hub.rows("hh-rlhf")
    text = str(raised.value)
    assert "hh-rlhf (Anthropic/hh-rlhf, revision 09be8c5bbc57)" in text and "no column 'rejected' but chosen, b" in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            datasets.exceptions.DatasetNotFoundError("Dataset 'x' is a gated dataset on the Hub.\nVisit"),
            "terms must be accepted; do so at https://huggingface.co/datasets/nvidia/HelpSteer2 and log in with `hf auth login`",
        ),
        (
            datasets.exceptions.DatasetNotFoundError("Revision 'y' doesn't exist"),
            r"cannot be loaded \(Revision 'y' doesn't exist\); or give a local .jsonl",
        ),
        (RuntimeError(), r"cannot be loaded \(RuntimeError\)"),
    ],
)
def test_what_the_hub_refuses_is_one_line_with_a_remedy(
    monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    def load_dataset(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(ValueError, match=message) as raised:
        hub.rows("helpsteer2")
    assert "\n" not in str(raised.value) and str(raised.value).startswith("helpsteer2 (nvidia/HelpSteer2")


# ---------------------------------------------------------------- without the network, with the real `datasets`


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache of `datasets`, and no network."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    return tmp_path / "cache"


def keep(cache: Path, revision: str, rows: list[dict[str, Any]]) -> None:
    """Put rows where `datasets` keeps a data set that it has loaded once."""
    from datasets.arrow_writer import ArrowWriter

    folder = cache / "Anthropic___hh-rlhf" / "default" / "0.0.0" / revision
    folder.mkdir(parents=True)
    table = datasets.Dataset.from_list(rows)
    with ArrowWriter(path=str(folder / "hh-rlhf-train.arrow"), features=table.features) as writer:
        for row in table:
            writer.write(row)
        count, size = writer.finalize()
    part = datasets.SplitInfo(name="train", num_bytes=size, num_examples=count, dataset_name="hh-rlhf")
    datasets.DatasetInfo(
        features=table.features,
        builder_name="json",
        dataset_name="hh-rlhf",
        config_name="default",
        version=datasets.Version("0.0.0"),
        splits=datasets.SplitDict({"train": part}),
    ).write_to_directory(str(folder))


@pytest.mark.parametrize("name", hub.SOURCES)
def test_offline_the_remedy_is_said_in_one_line(cache: Path, name: str) -> None:
    with pytest.raises(ValueError) as raised:
        hub.rows(name)
    text = str(raised.value)
    assert text.startswith(f"{name} ({hub.SOURCES[name].repo}") and "\n" not in text
    assert "needs the network once (HF_HUB_OFFLINE=0), then it is cached; or give a local .jsonl[.gz] file" in text


def test_offline_a_cached_data_set_is_read(cache: Path) -> None:
    keep(cache, hub.SOURCES["hh-rlhf"].revision, ROWS["hh-rlhf"])
    pairs, left_out = read_pairs("hh-rlhf")
    assert [pair.chosen for pair in pairs] == ["a", "c"] and left_out["unreadable"] == 1


def test_offline_another_commit_in_the_cache_is_not_taken_for_the_one_asked_for(cache: Path) -> None:
    keep(cache, "f" * 40, ROWS["hh-rlhf"])
    with pytest.raises(ValueError, match=r"another revision is cached \(ffffffffffff\), and the hub cannot be reached"):
        hub.rows("hh-rlhf")
