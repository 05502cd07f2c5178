"""Preference pairs, ratings and instructions from local files and from the hub: what is learned from instead of the project's own tasks.

A source is the path of a file of JSON lines, or a name in `tradeoffs.preferences.hub.SOURCES`.

- Pairs: `prompt`, `chosen`, `rejected`; or `chosen` and `rejected` alone, as transcripts of hh-rlhf ("\\n\\nHuman: ...
  \\n\\nAssistant: ..."), of which all but the last turn is the prompt. `prompt` may be messages, each with `role` and `content`; so may
  `chosen` and `rejected`: the answer alone, or the whole conversation, of which again all but the last turn is the prompt.
- Ratings: `prompt` (a text or messages), `response`, and any number of attributes from 0 to 100; null or absent is missing.
- Instructions: `prompt` (a text or messages) and `completion`, or `instruction`, `input` and `output`, as in Alpaca.
"""

from __future__ import annotations

import gzip
import itertools
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from tradeoffs.preferences import hub
from tradeoffs.records import digest
from tradeoffs.tasks.prompts import Message, Question

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Parsed = TypeVar("Parsed")

# kind -> (the parameter that errors name, the form of a row)
FORMS: dict[hub.Kind, tuple[str, str]] = {
    "pairs": ("preferences", "prompt/chosen/rejected, or chosen/rejected as transcripts or messages"),
    "ratings": ("reward_data", "prompt/response and attributes from 0 to 100"),
    "instructions": ("instructions", "prompt/completion or instruction/input/output"),
}

_TURN = re.compile(r"\n\n(Human|Assistant): ?")
_ROLES = ("system", "user", "assistant")


class Pair(NamedTuple):
    """A conversation up to the answer, the preferred answer, and the other one."""

    messages: list[Message]
    chosen: str
    rejected: str


class Ratings(NamedTuple):
    """Rated responses.

    Attributes:
        texts: (prompt, response); a prompt of several turns is messages.
        attributes: names, in the order in which they first occur.
        ratings: shape (texts, attributes), 0-100; NaN where missing.
        left_out: how many rows, and why.
    """

    texts: list[tuple[Question, str]]
    attributes: tuple[str, ...]
    ratings: NDArray[np.float64]
    left_out: dict[str, int]


def identify(source: str | Path) -> str:
    """What tells a source's content from any other: `name@commit` on the hub, a file's SHA-256, "" for "".

    Raises:
        ValueError: neither a name nor an existing file.
    """
    name = str(source)
    if not name:
        return ""
    if name in hub.SOURCES:
        return f"{name}@{hub.SOURCES[name].revision}"
    if not Path(source).is_file():
        raise ValueError(
            f"data: got {name!r}; accepts a .jsonl[.gz] file that exists, or one of {', '.join(hub.SOURCES)}"
        )
    return digest(source)


def _lines(path: Path, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    opened = gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8")
    with opened as file:
        try:
            for number, line in enumerate(file, 1):
                where = f"{name}: {path}, line {number}"
                try:
                    row = json.loads(line)
                except ValueError as error:
                    raise ValueError(f"{where}: not JSON ({error}); accepts one JSON object a line") from None
                if not isinstance(row, dict):
                    raise ValueError(f"{where}: a JSON {type(row).__name__}; accepts one JSON object a line")
                yield where, row
        except (EOFError, gzip.BadGzipFile, UnicodeDecodeError) as error:
            raise ValueError(f"{name}: {path} is damaged ({error}); accepts a complete file: fetch it again") from error


def _rows(source: str | Path, kind: hub.Kind, limit: int | None, called: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Where each row is, and the row."""
    name = str(source)
    if name in hub.SOURCES:
        if hub.SOURCES[name].kind != kind:
            raise ValueError(
                f"{called}: {name} holds {hub.SOURCES[name].kind}; accepts a .jsonl[.gz] file or one of "
                f"{', '.join(hub.names(kind))}"
            )
        for number, row in enumerate(hub.rows(name, limit), 1):
            yield f"{called}: {name}, row {number}", row
    elif Path(source).is_file():
        yield from itertools.islice(_lines(Path(source), called), limit)
    else:
        raise ValueError(
            f"{called}: got {name!r}; accepts a .jsonl[.gz] file that exists, or one of {', '.join(hub.names(kind))}"
        )


def _kinds(row: dict[str, Any]) -> set[str]:
    """What a row may be, by its keys."""
    rated = any(isinstance(value, int | float) for value in row.values())
    found = {
        "pairs": "chosen" in row or "rejected" in row,
        "ratings": "response" in row and rated,
        "instructions": "completion" in row or "output" in row,
    }
    return {kind for kind, holds in found.items() if holds}


def _each(
    source: str | Path,
    kind: hub.Kind,
    limit: int | None,
    parse: Callable[[dict[str, Any], str], Parsed],
    left_out: dict[str, int],
    parameter: str = "",
) -> Iterator[Parsed]:
    """Parse a source's rows; nobody can mend a row of a data set on the hub, so there a bad one is counted as `unreadable`.

    Raises:
        ValueError: a line of a file is no such row, or holds one of another kind.
    """
    for where, row in _rows(source, kind, limit, parameter or FORMS[kind][0]):
        kinds = _kinds(row)
        if kinds and kind not in kinds:
            raise ValueError(
                f"{where}: holds {' and '.join(sorted(kinds))} (keys {', '.join(sorted(row))}), not {kind}; "
                f"accepts {FORMS[kind][1]}"
            )
        try:
            parsed = parse(row, where)
        except ValueError:
            if str(source) not in hub.SOURCES:
                raise
            left_out["unreadable"] = left_out.get("unreadable", 0) + 1
        else:
            yield parsed


def _text(row: dict[str, Any], key: str, where: str, more: str = "") -> str:
    value = row.get(key)
    if not isinstance(value, str):
        raise ValueError(f"{where}: {key} is {type(value).__name__}; accepts a text{more}")
    return value


def _messages(value: list[Any], key: str, where: str) -> list[Message]:
    found: list[Message] = []
    for said in value:
        role, content = (said.get("role"), said.get("content")) if isinstance(said, dict) else (None, None)
        if role not in _ROLES or not isinstance(content, str):
            raise ValueError(
                f"{where}: {key} holds no message; accepts messages with a role of {', '.join(_ROLES)} and a text as content"
            )
        found.append({"role": role, "content": content})
    return found


def _question(row: dict[str, Any], where: str) -> list[Message]:
    """The prompt as messages."""
    value = row.get("prompt")
    if isinstance(value, list):
        return _messages(value, "prompt", where)
    return [{"role": "user", "content": _text(row, "prompt", where, " or messages")}]


def transcript(text: str, where: str) -> list[Message]:
    """Split a transcript of hh-rlhf into messages; it begins with the human.

    Raises:
        ValueError: it is no such transcript.
    """
    parts = _TURN.split(text)
    if parts[0].strip() or len(parts) < 3 or parts[1] != "Human":
        raise ValueError(
            f"{where}: no transcript; accepts turns that begin with 'Human:' and 'Assistant:', the human first"
        )
    found: list[Message] = []
    for speaker, said in zip(parts[1::2], parts[2::2], strict=True):
        role = "user" if speaker == "Human" else "assistant"
        if found and found[-1]["role"] == role:  # some speakers go on
            found[-1]["content"] += "\n\n" + said.strip()
        else:
            found.append({"role": role, "content": said.strip()})
    return found


def _conversation(row: dict[str, Any], key: str, where: str) -> list[Message]:
    """The prompt and one side's answer, as messages."""
    value = row.get(key)
    if isinstance(value, list):
        said = _messages(value, key, where)
        whole = any(message["role"] != "assistant" for message in said)  # else it is the answer alone
        return said if whole else _question(row, where) + said
    text = _text(row, key, where, " or messages")
    if "prompt" not in row:
        return transcript(text, where)
    return [*_question(row, where), {"role": "assistant", "content": text}]


def _pair(row: dict[str, Any], where: str) -> Pair | None:
    """A row's pair; None where its answers do not answer the same."""
    one, two = (_conversation(row, key, where) for key in ("chosen", "rejected"))
    answered = all(said and said[-1]["role"] == "assistant" for said in (one, two))
    if not answered or one[:-1] != two[:-1]:
        return None
    return Pair(one[:-1], one[-1]["content"].strip(), two[-1]["content"].strip())


def read_pairs(
    source: str | Path, limit: int | None = None, parameter: str = "preferences"
) -> tuple[list[Pair], dict[str, int]]:
    """Read preference pairs.

    Args:
        source: a .jsonl[.gz] file, or the name of pairs on the hub.
        limit: read only so many rows.
        parameter: that named the source; errors name it.

    Returns:
        The usable pairs, and how many rows were left out and why: `empty` answers, answers that are `equal`, `duplicate` rows, and rows
        whose `prompts differ`; on the hub `unreadable` ones, too.

    Raises:
        ValueError: a row cannot be read, or no pair is left; the message names file and line.
    """
    pairs: list[Pair] = []
    left_out = dict.fromkeys(("empty", "equal", "duplicate", "prompts differ"), 0)
    seen: set[str] = set()
    for pair in _each(source, "pairs", limit, _pair, left_out, parameter):
        key = json.dumps(pair)
        if pair is None:
            left_out["prompts differ"] += 1
        elif not pair.chosen or not pair.rejected or not any(m["content"].strip() for m in pair.messages):
            left_out["empty"] += 1
        elif pair.chosen == pair.rejected:
            left_out["equal"] += 1
        elif key in seen:
            left_out["duplicate"] += 1
        else:
            seen.add(key)
            pairs.append(pair)
    if not pairs:
        raise ValueError(
            f"{parameter}: {source} has no usable pair (left out: {left_out}); accepts pairs of different answers"
        )
    return pairs, left_out


def _rated(row: dict[str, Any], where: str) -> tuple[Question, str, dict[str, float]]:
    messages = _question(row, where)
    one = len(messages) == 1 and messages[0]["role"] == "user"
    response = _text(row, "response", where).strip()
    given: dict[str, float] = {}
    for name, value in row.items():
        if name in ("prompt", "response") or value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 100:
            raise ValueError(f"{where}: {name} is {value!r}; accepts a number from 0 to 100, null where it is missing")
        given[name] = float(value)
    if not any(message["content"].strip() for message in messages):
        response = ""
    return messages[0]["content"] if one else messages, response, given


def read_ratings(source: str | Path, limit: int | None = None) -> Ratings:
    """Read rated responses.

    Args:
        source: a .jsonl[.gz] file, or the name of ratings on the hub. Every key of a row other than `prompt` and `response` is an
            attribute.
        limit: read only so many rows (on the hub: of the data set, which may hold several responses each).

    Returns:
        The usable responses; left out are `empty` ones, `duplicate` rows and those that are `unrated`; on the hub `unreadable` ones, too.
        An attribute without a single rating is none.

    Raises:
        ValueError: a row cannot be read, or no rating is left; the message names file and line.
    """
    import numpy as np

    left_out = dict.fromkeys(("empty", "unrated", "duplicate"), 0)
    rows: list[tuple[Question, str, dict[str, float]]] = []
    seen: set[str] = set()
    for row in _each(source, "ratings", limit, _rated, left_out):
        key = json.dumps(row)
        if not row[1]:
            left_out["empty"] += 1
        elif not row[2]:
            left_out["unrated"] += 1
        elif key in seen:
            left_out["duplicate"] += 1
        else:
            seen.add(key)
            rows.append(row)
    if not rows:
        raise ValueError(
            f"reward_data: {source} has no usable rating (left out: {left_out}); accepts {FORMS['ratings'][1]}"
        )
    attributes = tuple(dict.fromkeys(name for *_, given in rows for name in given))
    ratings = np.array([[given.get(name, np.nan) for name in attributes] for *_, given in rows])
    return Ratings([(question, response) for question, response, _ in rows], attributes, ratings, left_out)


def _instruction(row: dict[str, Any], where: str) -> tuple[list[Message], str]:
    if "completion" in row:
        return _question(row, where), _text(row, "completion", where)
    if "instruction" in row:
        given = str(row.get("input") or "").strip()
        prompt = _text(row, "instruction", where) + (f"\n\n{given}" if given else "")
        return [{"role": "user", "content": prompt}], _text(row, "output", where)
    raise ValueError(f"{where}: keys {', '.join(sorted(row))}; accepts {FORMS['instructions'][1]}")


def read_instructions(source: str | Path, limit: int | None = None) -> list[tuple[list[Message], str]]:
    """Read instructions with their answers; rows without an answer are left out.

    Args:
        source: a .jsonl[.gz] file, or the name of instructions on the hub.
        limit: read only so many rows.

    Raises:
        ValueError: a row cannot be read, or none is left; the message names file and line.
    """
    found = [
        (messages, answer)
        for messages, answer in _each(source, "instructions", limit, _instruction, {})
        if answer.strip() and any(message["content"].strip() for message in messages)
    ]
    if not found:
        raise ValueError(f"instructions: {source} has no instruction with an answer; accepts at least one")
    return found
