"""From what a model wrote to the code that is graded.

The benchmark publishes its own post-processing: cut at the first `</code>`, drop the marker that opens a Python fence,
cut at the first fence that follows, cut at `END SOLUTION`, drop `<code>`. Those rules are kept to the letter, because
the published pass rates rest on them. There is one addition of ours: chat models like to open with a sentence and put
the program into a complete fenced block. The published rules would grade the sentence, too, and fail every such answer
for its manners; so where prose stands before a complete block, the block's content is what the rules are applied to.
Who wants to judge differently finds the raw text in the answer file.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

# A complete block: an opening fence at the start of a line, with or without a language, and its closing fence.
_BLOCK = re.compile(r"^[ \t]*```[ \t]*(?:[Pp]ython3?|py)?[ \t]*\n(.*?)^[ \t]*```", re.DOTALL | re.MULTILINE)


class Submission(NamedTuple):
    """One answer as a file holds it.

    Attributes:
        problem_id: the problem it answers.
        sample: 0 for the first answer to a problem, 1 for the second, ...
        text: the answer as written, before any extraction.
    """

    problem_id: int
    sample: int
    text: str


def _published_rules(text: str) -> str:
    text = text.split("</code>")[0]
    text = text.replace("```python", "")
    text = text.split("```")[0]
    text = text.split("\nEND SOLUTION")[0]
    text = text.split("# SOLUTION END")[0]
    return text.replace("<code>", "")


def extract(text: str) -> str:
    """Extract the program from a model's text by the benchmark's rules.

    Args:
        text: the generated text.

    Returns:
        The program; empty where the text holds none. Never raises.

    Source:
        DS-1000, post-processing of the published answers; the block rule for prose before a fence is ours.
    """
    if "```" in text:
        before = text.split("</code>")[0]
        block = _BLOCK.search(before)
        if block is not None and before[: block.start()].replace("<code>", "").strip():
            text = block.group(1)
    return _published_rules(text)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    number = 0
    opened = gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8")
    try:
        with opened as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, line
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(
            f"answers: {path} breaks off after line {number} ({error}); accepts a complete gzip file: fetch it again"
        ) from error
    except UnicodeDecodeError as error:
        raise ValueError(f"answers: {path}, line {number + 1}: not UTF-8; accepts JSON lines in UTF-8") from error


def _problem_id(row: dict[str, Any], where: str) -> int:
    metadata = row.get("metadata")
    found = row.get("problem_id")
    if found is None and isinstance(metadata, dict):
        found = metadata.get("problem_id")
    if found is None:
        found = row.get("id")
    try:
        if isinstance(found, bool) or (isinstance(found, float) and found != int(found)):
            raise ValueError
        return int(found)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        raise ValueError(
            f"{where}: problem id {found!r}; accepts an integer in problem_id, metadata.problem_id or id"
        ) from None


def _texts(row: dict[str, Any], where: str) -> list[str]:
    found = next((row[key] for key in ("code", "text") if key in row), None)
    texts = [found] if isinstance(found, str) else found
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise ValueError(
            f"{where}: code is {type(found).__name__}; accepts a string or a list of strings, in code or text"
        )
    return texts


def read_answers(path: str | Path) -> list[Submission]:
    """Read a file of answers: one JSON object a line, with the answer or answers in `code` (or `text`).

    Args:
        path: a `.jsonl` or `.jsonl.gz` file. The problem is named by `problem_id`, else `metadata.problem_id`, else
            `id`; an integer `sample` is kept where `code` is one string, otherwise samples are counted in the order of
            the file.

    Returns:
        One submission an answer, in the order of the file.

    Raises:
        ValueError: a line is corrupt, or the gzip file is cut short; the message names file and line.
        FileNotFoundError: there is no such file.
    """
    path = Path(path)
    submissions: list[Submission] = []
    counted: dict[int, int] = {}
    seen: set[tuple[int, int]] = set()
    for number, line in _lines(path):
        where = f"answers: {path}, line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{where}: not JSON ({error}); accepts one JSON object a line") from None
        if not isinstance(row, dict):
            raise ValueError(f"{where}: a JSON {type(row).__name__}; accepts one JSON object a line")
        if row.get("finish") == "failed":
            continue  # a request that brought no answer: nothing to judge
        if row.get("kept") is False:
            continue  # drawn for best of n and not chosen
        problem_id = _problem_id(row, where)
        named = row.get("sample")
        for text in _texts(row, where):
            sample = (
                named if isinstance(named, int) and isinstance(row.get("code", ""), str) else counted.get(problem_id, 0)
            )
            if (problem_id, sample) in seen:
                raise ValueError(f"{where}: problem {problem_id}, sample {sample} a second time; accepts each once")
            seen.add((problem_id, sample))
            counted[problem_id] = counted.get(problem_id, 0) + 1
            submissions.append(Submission(problem_id, sample, text))
    return submissions
