"""Properties of extraction and of the files that answers and verdicts are read from."""

from __future__ import annotations

import gzip
import json
import multiprocessing
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tradeoffs.grading import extract, read_answers
from tradeoffs.records import Verdict, append_jsonl, read_rows

MARKS = ("</code>", "<code>", "```python", "```py", "```", "\nEND SOLUTION", "END SOLUTION", "# SOLUTION END", "\n")
# Lines of plain code: none of the marks can be made by putting them together.
LINES = st.text(alphabet="abc =()+1.[]", max_size=12)
CODE = st.lists(LINES, max_size=6).map("\n".join)
ANYTHING = st.lists(st.one_of(st.sampled_from(MARKS), LINES, st.text(max_size=4)), max_size=12).map("".join)
PROSE = st.text(alphabet="abcde ,", min_size=1, max_size=30).filter(str.strip)


@given(CODE)
def test_code_without_marks_is_left_as_it_is(code: str) -> None:
    assert extract(code) == code


@given(CODE, ANYTHING)
def test_nothing_after_the_first_closing_tag_matters(code: str, rest: str) -> None:
    assert extract(code + "</code>" + rest) == code


@given(CODE, ANYTHING)
def test_nothing_after_end_solution_matters_where_no_fence_follows(code: str, rest: str) -> None:
    rest = rest.replace("`", "")
    assert extract(f"{code}\nEND SOLUTION{rest}") == code


@given(CODE, ANYTHING)
def test_a_fenced_answer_gives_what_stands_in_the_fence(code: str, rest: str) -> None:
    assert extract(f"```python\n{code}\n```\n{rest.replace('`', '')}") == f"\n{code}\n"


@given(PROSE, CODE, PROSE)
def test_a_fenced_answer_after_prose_gives_what_stands_in_the_fence(before: str, code: str, after: str) -> None:
    assert extract(f"{before}\n```python\n{code}\n```\n{after}") == f"{code}\n"


@given(ANYTHING)
def test_what_was_extracted_holds_no_mark_that_ends_a_program(text: str) -> None:
    code = extract(text)
    # `<code>` is dropped last, so dropping it may put a mark together; the published rules do the same.
    if "<code>" not in text:
        assert not any(mark in code for mark in ("</code>", "```", "\nEND SOLUTION", "# SOLUTION END"))


@given(ANYTHING)
def test_extraction_only_takes_away(text: str) -> None:
    left = iter(text)
    assert all(letter in left for letter in extract(text))


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), ANYTHING), min_size=1, max_size=8), st.booleans())
def test_answers_come_back_as_they_were_written_and_samples_are_counted(
    answers: list[tuple[int, str]], packed: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "answers.jsonl.gz" if packed else "answers.jsonl")
        text = "".join(json.dumps({"problem_id": number, "code": code}) + "\n" for number, code in answers)
        path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
        found = read_answers(path)
    assert [(answer.problem_id, answer.text) for answer in found] == answers
    for number in {number for number, _ in answers}:
        samples = [answer.sample for answer in found if answer.problem_id == number]
        assert samples == list(range(len(samples)))


@settings(deadline=None)
@given(st.lists(ANYTHING, min_size=1, max_size=4), st.data())
def test_a_truncated_file_of_answers_is_refused_or_read_up_to_the_cut(answers: list[str], data: st.DataObject) -> None:
    rows = [{"problem_id": number, "code": code} for number, code in enumerate(answers)]
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    cut = data.draw(st.integers(0, len(content)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "answers.jsonl")
        path.write_bytes(content[:cut])
        try:
            found = read_answers(path)
        except ValueError as error:
            assert str(path) in str(error) and "accepts" in str(error)
        else:
            assert [answer.text for answer in found] == answers[: len(found)]
            assert len(found) >= content[:cut].count(b"\n")


def _append(path: str, start: int, rows: int) -> None:
    for number in range(start, start + rows):
        append_jsonl(path, [Verdict(problem_id=number, status="failed", detail="x" * (number % 7) * 1000)], sync=False)


def test_writers_at_the_same_time_lose_and_mix_no_row(tmp_path: Path) -> None:
    path, writers, rows = tmp_path / "verdicts.jsonl", 3, 60
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_append, args=(str(path), 1000 * i, rows)) for i in range(writers)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    found = read_rows(path, Verdict)
    assert sorted(row.problem_id for row in found) == [1000 * i + k for i in range(writers) for k in range(rows)]
    assert all(row.detail == "x" * (row.problem_id % 7) * 1000 for row in found)


def test_appending_without_sync_is_seen_by_a_reader_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: pytest.fail("the disk was asked"))
    append_jsonl(tmp_path / "rows.jsonl", [Verdict(problem_id=1, status="passed")], sync=False)
    assert [row.problem_id for row in read_rows(tmp_path / "rows.jsonl", Verdict)] == [1]
