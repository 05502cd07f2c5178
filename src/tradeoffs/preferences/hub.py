"""Public data sets by name: where each lies on the Hugging Face hub, at which commit, and how its rows become the project's own.

A conversion only renames, maps scales and picks turns; it judges nothing. What comes out is what a line of a local file would hold, so
that `tradeoffs.preferences.data` checks both alike.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from datasets import Dataset

Kind = Literal["pairs", "ratings", "instructions"]
Row = dict[str, Any]

HELPSTEER = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
ULTRAFEEDBACK = ("helpfulness", "honesty", "instruction_following", "truthfulness")

_HELPSTEER_TURN = re.compile(r"\n*<extra_id_1>(User|Assistant)\n")
_COMMIT = re.compile(r"[0-9a-f]{40}")


class Source(NamedTuple):
    """One data set.

    Attributes:
        repo, revision, split: the hub's name for it, the full commit, and which part is read.
        data_dir: folder inside the repository that alone is read; None for the data set's default.
        columns: names that must be there.
        kind: what its rows are.
        licence: of the data.
        convert: makes rows in the form of a local file out of one of its rows.
    """

    repo: str
    revision: str
    split: str
    data_dir: str | None
    columns: tuple[str, ...]
    kind: Kind
    licence: str
    convert: Callable[[Row], Iterable[Row]]


def _only(*columns: str) -> Callable[[Row], list[Row]]:
    """A conversion that keeps some columns and drops the rest."""
    return lambda row: [{name: row[name] for name in columns}]


def helpsteer(row: Row) -> list[Row]:
    """Ratings 0-4 become 20 g + 10; a prompt of several turns becomes messages.

    Source: the scale is DPA's, arXiv 2402.18571; the marks between turns are those of HelpSteer2's card.
    """
    prompt: Any = row["prompt"]
    if isinstance(prompt, str) and _HELPSTEER_TURN.search(prompt):
        first, *rest = _HELPSTEER_TURN.split(prompt)
        prompt = [{"role": "user", "content": first}]
        prompt += [
            {"role": who.lower(), "content": said.strip("\n")} for who, said in zip(rest[::2], rest[1::2], strict=True)
        ]
    ratings = {name: None if row[name] is None else 20 * row[name] + 10 for name in HELPSTEER}
    return [{"prompt": prompt, "response": row["response"], **ratings}]


def _ultrafeedback_rating(annotation: Any) -> Any:
    """A rating "1" to "5" as 10 to 90; None for "N/A" or nothing; anything else as it is, for the reader to refuse."""
    rating = annotation.get("Rating") if isinstance(annotation, dict) else None
    if rating is None or str(rating).strip().upper() == "N/A":
        return None
    return 20 * int(rating) - 10 if str(rating).strip() in {"1", "2", "3", "4", "5"} else rating


def ultrafeedback_ratings(row: Row) -> list[Row]:
    """Each of a prompt's rated responses becomes a row of its own."""
    found = []
    for completion in row["completions"] or []:
        annotations = completion.get("annotations") or {}
        ratings = {name: _ultrafeedback_rating(annotations.get(name)) for name in ULTRAFEEDBACK}
        found.append({"prompt": row["instruction"], "response": completion.get("response"), **ratings})
    return found


def first_exchange(row: Row) -> list[Row]:
    """The first question and its answer, with a system message where there is one; no row where a conversation has neither."""
    messages = row["messages"] or []
    roles = [message["role"] for message in messages]
    for system in (0, 1):
        if roles[: system + 2] == ["system"] * system + ["user", "assistant"]:
            return [{"prompt": messages[: system + 1], "completion": messages[system + 1]["content"]}]
    return []


SOURCES: dict[str, Source] = {
    "hh-rlhf": Source(
        "Anthropic/hh-rlhf",
        "09be8c5bbc57cb3887f3a9732ad6aa7ec602a1fa",
        "train",
        None,
        ("chosen", "rejected"),
        "pairs",
        "MIT",
        _only("chosen", "rejected"),
    ),
    "ultrafeedback": Source(
        "HuggingFaceH4/ultrafeedback_binarized",
        "3949bf5f8c17c394422ccfab0c31ea9c20bdeb85",
        "train_prefs",
        None,
        ("prompt", "chosen", "rejected"),
        "pairs",
        "MIT",
        _only("prompt", "chosen", "rejected"),
    ),
    "helpsteer2": Source(
        "nvidia/HelpSteer2",
        "990b2711a36180dd19d9c94b8627844866f8982a",
        "train",
        None,
        ("prompt", "response", *HELPSTEER),
        "ratings",
        "CC BY 4.0",
        helpsteer,
    ),
    "ultrafeedback-ratings": Source(
        "openbmb/UltraFeedback",
        "40b436560ca83a8dba36114c22ab3c66e43f6d5e",
        "train",
        None,
        ("instruction", "completions"),
        "ratings",
        "MIT",
        ultrafeedback_ratings,
    ),
    "ultrachat": Source(
        "HuggingFaceH4/ultrachat_200k",
        "8049631c405ae6576f93f445c6b8166f76f5505a",
        "train_sft",
        None,
        ("messages",),
        "instructions",
        "MIT",
        first_exchange,
    ),
    "code-alpaca": Source(
        "sahil2801/CodeAlpaca-20k",
        "152bb5e9a29651266b018106053980070a0521a1",
        "train",
        None,
        ("instruction", "input", "output"),
        "instructions",
        "CC BY 4.0 on the hub, CC BY-NC 4.0 where it comes from",
        _only("instruction", "input", "output"),
    ),
    "magicoder": Source(
        "ise-uiuc/Magicoder-OSS-Instruct-75K",
        "5f839b1f368a76b161028bb9edff055db34022b2",
        "train",
        None,
        ("problem", "solution"),
        "instructions",
        "MIT",
        lambda row: [{"prompt": row["problem"], "completion": row["solution"]}],
    ),
}


def names(kind: Kind) -> list[str]:
    """The names of one kind of data set."""
    return [name for name, source in SOURCES.items() if source.kind == kind]


def rows(name: str, limit: int | None = None) -> Iterator[Row]:
    """A data set's rows in the form of a local file.

    Args:
        name: a key of `SOURCES`.
        limit: read only so many of its rows, from the first on; one may hold several (UltraFeedback: four responses).

    Raises:
        ValueError: unknown name, not cached and no network, access not granted, another commit in the cache, or a column is missing;
            one line that names the data set and the remedy. Raised at once, not with the first row.
    """
    if name not in SOURCES:
        raise ValueError(f"data set: got {name!r}; accepts {', '.join(SOURCES)}")
    source = SOURCES[name]
    found = itertools.islice(_load(name, source), limit)
    return itertools.chain.from_iterable(map(source.convert, found))


def _load(name: str, source: Source) -> Dataset:
    import datasets

    called = f"{name} ({source.repo}, revision {source.revision[:12]})"
    local = "or give a local .jsonl[.gz] file"
    try:
        table = datasets.load_dataset(
            source.repo, data_dir=source.data_dir, revision=source.revision, split=source.split
        )
    except ConnectionError:
        raise ValueError(
            f"{called}: not cached here, and the hub cannot be reached; it needs the network once (HF_HUB_OFFLINE=0), "
            f"then it is cached; {local}"
        ) from None
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if "gated" in reason.lower():
            raise ValueError(
                f"{called}: its terms must be accepted; do so at https://huggingface.co/datasets/{source.repo} and log in with "
                f"`hf auth login`; {local}"
            ) from None
        raise ValueError(f"{called}: cannot be loaded ({reason}); {local}") from None
    # Without the network `datasets` takes the newest commit that it has, whichever was asked for.
    cached = Path(table.cache_files[0]["filename"]).parent.name if table.cache_files else ""
    if _COMMIT.fullmatch(cached) and cached != source.revision:
        raise ValueError(
            f"{called}: another revision is cached ({cached[:12]}), and the hub cannot be reached; it needs the network once "
            f"(HF_HUB_OFFLINE=0); {local}"
        )
    missing = [column for column in source.columns if column not in table.column_names]
    if missing:
        raise ValueError(
            f"{called}: has no column {missing[0]!r} but {', '.join(table.column_names)}; its layout changed; {local}"
        )
    return table
