"""Preference pairs and instructions from local files: what DPO and SFT learn from instead of the project's own tasks.

Pairs: JSON lines with `prompt`, `chosen`, `rejected`; or with `chosen` and `rejected` alone, as transcripts of hh-rlhf ("\\n\\nHuman: ...
\\n\\nAssistant: ..."), of which all but the last turn is the prompt. Instructions: `prompt` and `completion`, or `instruction`, `input` and
`output`, as in Alpaca.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tradeoffs.tasks.prompts import Message

_TURN = re.compile(r"\n\n(Human|Assistant): ?")


class Pair(NamedTuple):
    """A conversation up to the answer, the preferred answer, and the other one."""

    messages: list[Message]
    chosen: str
    rejected: str


def _rows(path: Path, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
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


def _text(row: dict[str, Any], key: str, where: str) -> str:
    value = row.get(key)
    if not isinstance(value, str):
        raise ValueError(f"{where}: {key} is {type(value).__name__}; accepts a text")
    return value


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


def read_pairs(path: str | Path) -> tuple[list[Pair], dict[str, int]]:
    """Read preference pairs.

    Returns:
        The usable pairs, and how many rows were left out and why: `empty` answers, answers that are `equal`, `duplicate` rows, and rows
        whose `prompts differ`.

    Raises:
        ValueError: a row cannot be read, or no pair is left; the message names file and line.
    """
    path = Path(path)
    pairs: list[Pair] = []
    left_out = dict.fromkeys(("empty", "equal", "duplicate", "prompts differ"), 0)
    seen: set[str] = set()
    for where, row in _rows(path, "preferences"):
        good, bad = _text(row, "chosen", where), _text(row, "rejected", where)
        if "prompt" in row:
            messages: list[Message] = [{"role": "user", "content": _text(row, "prompt", where)}]
        else:
            one, two = transcript(good, where), transcript(bad, where)
            if one[:-1] != two[:-1] or one[-1]["role"] != "assistant" or two[-1]["role"] != "assistant":
                left_out["prompts differ"] += 1
                continue
            messages, good, bad = one[:-1], one[-1]["content"], two[-1]["content"]
        pair = Pair(messages, good.strip(), bad.strip())
        key = json.dumps(pair)
        if not pair.chosen or not pair.rejected or not any(m["content"].strip() for m in messages):
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
            f"preferences: {path} has no usable pair (left out: {left_out}); accepts pairs of different answers"
        )
    return pairs, left_out


def read_instructions(path: str | Path) -> list[tuple[list[Message], str]]:
    """Read instructions with their answers; rows without an answer are left out.

    Raises:
        ValueError: a row cannot be read, or none is left; the message names file and line.
    """
    path, found = Path(path), []
    for where, row in _rows(path, "instructions"):
        if "completion" in row:
            prompt, answer = _text(row, "prompt", where), _text(row, "completion", where)
        elif "instruction" in row:
            given = str(row.get("input") or "").strip()
            prompt = _text(row, "instruction", where) + (f"\n\n{given}" if given else "")
            answer = _text(row, "output", where)
        else:
            raise ValueError(
                f"{where}: keys {', '.join(sorted(row))}; accepts prompt/completion or instruction/input/output"
            )
        if prompt.strip() and answer.strip():
            messages: list[Message] = [{"role": "user", "content": prompt}]
            found.append((messages, answer))
    if not found:
        raise ValueError(f"instructions: {path} has no instruction with an answer; accepts at least one")
    return found
