"""Records: rows survive kills, full disks and truncation; a stage's folder never mixes two runs."""

import contextlib
import json
import os
import resource
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tradeoffs import records
from tradeoffs.records import (
    Provenance,
    Record,
    Verdict,
    append_jsonl,
    claim,
    read_jsonl,
    read_record,
    read_rows,
    write_record,
)

NOBODY = 65534


def verdict(number: int, detail: str = "") -> Verdict:
    return Verdict(problem_id=number, status="failed", detail=detail)


def record(**changes: object) -> Record:
    where = Provenance(
        created_utc="2026-01-01T00:00:00+00:00",
        commit=None,
        dirty=None,
        hardware="a machine",
        cores=2,
        memory_gib=1.0,
        accelerator=None,
        python="3.11",
        platform="Linux",
        packages={},
    )
    return Record(
        **({"stage": "grade", "parameters": {"seed": 0}, "counts": {"planned": 1}, "provenance": where} | changes)
    )


@contextlib.contextmanager
def disk_full_after(size: int) -> Iterator[None]:
    """Let no file grow beyond `size` bytes: the kernel cuts the write short as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextlib.contextmanager
def without_privileges() -> Iterator[None]:
    """Be an ordinary user for a while: permissions do not bind root."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.fixture
def read_only() -> Iterator[Path]:
    """A folder with one file of rows, neither of them writable."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        append_jsonl(folder / "rows.jsonl", [verdict(1)])
        write_record(folder, record())
        for path in (*folder.iterdir(), folder):
            path.chmod(0o555)
        yield folder
        folder.chmod(0o755)


def test_rows_come_back_as_they_were_appended(tmp_path: Path) -> None:
    rows = [verdict(1, 'a "quoted"\nline'), verdict(2, "naïve – \x00 \u2028"), verdict(3)]
    append_jsonl(tmp_path / "new" / "rows.jsonl", rows[:2])
    append_jsonl(tmp_path / "new" / "rows.jsonl", rows[2:])
    assert read_rows(tmp_path / "new" / "rows.jsonl", Verdict) == rows


def test_a_missing_file_has_no_rows_and_appending_none_makes_no_file(tmp_path: Path) -> None:
    append_jsonl(tmp_path / "rows.jsonl", [])
    assert not (tmp_path / "rows.jsonl").exists()
    assert read_rows(tmp_path / "rows.jsonl", Verdict) == []


def test_a_last_line_cut_short_is_dropped_and_the_next_row_does_not_merge_with_it(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    append_jsonl(path, [verdict(1), verdict(2)])
    path.write_bytes(path.read_bytes()[:-9])
    assert [row.problem_id for row in read_rows(path, Verdict)] == [1]
    append_jsonl(path, [verdict(3)])
    assert [row.problem_id for row in read_rows(path, Verdict)] == [1, 3]


def test_a_row_that_lacks_only_its_newline_does_not_come_back_twice(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    append_jsonl(path, [verdict(1), verdict(2)])
    path.write_bytes(path.read_bytes()[:-1])
    assert [row.problem_id for row in read_rows(path, Verdict)] == [1]
    append_jsonl(path, [verdict(2)])
    assert [row.problem_id for row in read_rows(path, Verdict)] == [1, 2]


@settings(deadline=None)
@given(details=st.lists(st.text(alphabet='{}[]",:\\\n ax0é', max_size=12), min_size=1, max_size=5), data=st.data())
def test_truncation_at_any_byte_costs_the_last_line_at_most(details: list[str], data: st.DataObject) -> None:
    rows = [verdict(i, detail) for i, detail in enumerate(details)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        append_jsonl(path, rows)
        content = path.read_bytes()
        braces = [i for i in range(len(content) + 1) if content[i - 1 : i] == b"}"]  # what is left may look whole
        cut = data.draw(st.integers(0, len(content)) | st.sampled_from(braces))
        path.write_bytes(content[:cut])
        kept = rows[: content[:cut].count(b"\n")]
        assert read_rows(path, Verdict) == kept
        append_jsonl(path, [verdict(99)])
        assert read_rows(path, Verdict) == [*kept, verdict(99)]


def test_a_long_unfinished_line_is_removed_whole(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    append_jsonl(path, [verdict(1)])
    with path.open("a") as file:
        file.write('{"detail": "' + "x" * 200_000)
    append_jsonl(path, [verdict(2)])
    assert [row.problem_id for row in read_rows(path, Verdict)] == [1, 2]


@pytest.mark.parametrize("line", ["{not json", '{"problem_id": 2, "sta', "[1, 2]", "\x00\x00"])
def test_a_corrupt_line_in_the_middle_is_named_with_file_and_line(tmp_path: Path, line: str) -> None:
    path = tmp_path / "rows.jsonl"
    whole = verdict(1).model_dump_json()
    path.write_text(f"{whole}\n{line}\n{whole}\n")
    with pytest.raises(ValueError, match=r"rows\.jsonl, line 2: "):
        read_jsonl(path)


@pytest.mark.parametrize(
    ("change", "named"),
    [({"status": "fine"}, "status"), ({"sceonds": 1.0}, "sceonds"), ({"problem_id": "x"}, "problem_id")],
)
def test_a_row_off_the_schema_is_named_with_file_row_and_field(tmp_path: Path, change: dict, named: str) -> None:
    path = tmp_path / "rows.jsonl"
    append_jsonl(path, [verdict(1), verdict(2).model_dump() | change])
    with pytest.raises(ValueError, match=rf"rows\.jsonl, row 2: {named}: "):
        read_rows(path, Verdict)


def test_a_full_disk_is_named_with_the_remedy() -> None:
    with pytest.raises(OSError, match=r"/dev/full: cannot write .*free some space and start the same command again"):
        append_jsonl("/dev/full", [verdict(1)])


def test_a_disk_that_fills_up_keeps_what_was_there_and_adds_no_piece(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    append_jsonl(path, [verdict(1), verdict(2)])
    before = path.read_bytes()
    batch = [verdict(i, "x" * 3000) for i in range(3, 20)]
    with disk_full_after(len(before) + 10_000), pytest.raises(OSError, match=r"rows\.jsonl: cannot write .*is kept"):
        append_jsonl(path, batch)
    assert path.read_bytes() == before
    append_jsonl(path, batch)
    assert [row.problem_id for row in read_rows(path, Verdict)] == list(range(1, 20))


def test_a_failing_fsync_adds_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows.jsonl"
    append_jsonl(path, [verdict(1)])

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(records.os, "fsync", fail)
    with pytest.raises(OSError, match="No space left on device"):
        append_jsonl(path, [verdict(2)])
    assert read_rows(path, Verdict) == [verdict(1)]


def test_a_read_only_folder_is_named_and_keeps_its_rows(read_only: Path) -> None:
    with without_privileges():
        with pytest.raises(PermissionError, match=r"rows\.jsonl: cannot write .*make the folder writable"):
            append_jsonl(read_only / "rows.jsonl", [verdict(2)])
        with pytest.raises(PermissionError, match=r"new.*: cannot write"):
            append_jsonl(read_only / "new" / "rows.jsonl", [verdict(2)])
        with pytest.raises(PermissionError, match=r"record\.json: cannot write"):
            write_record(read_only, record())
    assert read_rows(read_only / "rows.jsonl", Verdict) == [verdict(1)]
    assert read_record(read_only) == record()


def test_a_record_that_cannot_be_written_whole_leaves_the_old_one_and_no_litter(tmp_path: Path) -> None:
    write_record(tmp_path, record())
    with disk_full_after(5_000), pytest.raises(OSError, match=r"record\.json: cannot write"):
        write_record(tmp_path, record(summary={"long": "x" * 50_000}))
    assert read_record(tmp_path) == record()
    assert [path.name for path in tmp_path.iterdir()] == ["record.json"]


def test_a_record_is_replaced_in_one_move(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_record(tmp_path, record())
    seen = []
    replace = Path.replace

    def watched(source: Path, target: Path) -> Path:
        seen.append((read_record(target), json.loads(source.read_text())["counts"]))
        return replace(source, target)

    monkeypatch.setattr(Path, "replace", watched)
    write_record(tmp_path, record(counts={"planned": 2}))
    assert seen == [(record(), {"planned": 2})]
    assert read_record(tmp_path / "record.json").counts == {"planned": 2}


@pytest.mark.parametrize("version", [0, 2, None, "1"])
def test_a_record_of_another_schema_version_is_refused(tmp_path: Path, version: object) -> None:
    (tmp_path / "record.json").write_text(json.dumps(record().model_dump() | {"schema_version": version}))
    with pytest.raises(
        ValueError, match=rf"record\.json: schema version {version}; this code reads 1; run its stage again"
    ):
        read_record(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no such record"),
        ('{"schema_', "not a JSON file"),
        ("[]", "schema version"),
        ('{"schema_version": 1}', "stage: "),
    ],
)
def test_a_record_that_cannot_be_read_says_why(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "record.json").write_text(text)
    with pytest.raises(ValueError, match=rf"record\.json: {message}"):
        read_record(tmp_path)


def test_a_folder_is_claimed_again_with_the_same_parameters(tmp_path: Path) -> None:
    append_jsonl(claim(tmp_path / "out", {"seed": 0, "steps": 3}) / "rows.jsonl", [verdict(1)])
    folder = claim(tmp_path / "out", {"steps": 3, "seed": 0})
    assert read_rows(folder / "rows.jsonl", Verdict) == [verdict(1)]


def test_a_folder_of_other_parameters_is_refused_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRADEOFFS_STALE", raising=False)
    append_jsonl(claim(tmp_path / "out", {"seed": 0, "steps": 3}) / "rows.jsonl", [verdict(1)])
    with pytest.raises(
        ValueError, match=r"^out: .* rows made with other values of inputs, seed; choose another folder"
    ) as caught:
        claim(tmp_path / "out", {"seed": 1, "steps": 3, "inputs": "abc"})
    assert "\n" not in str(caught.value)
    assert read_rows(tmp_path / "out" / "rows.jsonl", Verdict) == [verdict(1)]


def test_the_workflow_discards_rows_of_other_parameters_and_starts_afresh(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRADEOFFS_STALE", "discard")
    append_jsonl(claim(tmp_path / "out", {"seed": 0}) / "rows.jsonl", [verdict(1)])
    (tmp_path / "out" / "content.json").write_text("what the workflow says of the run that begins")
    folder = claim(tmp_path / "out", {"seed": 1})
    assert sorted(path.name for path in folder.iterdir()) == ["content.json", "parameters.json"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    append_jsonl(folder / "rows.jsonl", [verdict(2)])
    assert read_rows(claim(tmp_path / "out", {"seed": 1}) / "rows.jsonl", Verdict) == [verdict(2)]


def test_a_kill_while_rows_are_discarded_leaves_none_without_their_parameters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRADEOFFS_STALE", "discard")
    append_jsonl(claim(tmp_path / "out", {"seed": 0}) / "rows.jsonl", [verdict(1)])

    def killed_half_way(folder: Path, ignore_errors: bool = False) -> None:
        if folder.exists():
            (folder / "parameters.json").unlink()
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
        patch.setattr(records.shutil, "rmtree", killed_half_way)
        claim(tmp_path / "out", {"seed": 1})
    assert read_rows(claim(tmp_path / "out", {"seed": 1}) / "rows.jsonl", Verdict) == []
