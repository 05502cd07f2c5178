"""Problem sets: the bundled one is complete, files are checked before they are used, choices repeat."""

import gzip
import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tradeoffs.tasks import bundled, general, load_problems, stratified
from tradeoffs.tasks import problems as module
from tradeoffs.tasks.examples import training_examples
from tradeoffs.tasks.problems import family

LIBRARIES = {"Pandas", "Numpy", "Matplotlib", "Sklearn", "Scipy", "Tensorflow", "Pytorch"}
PERTURBATIONS = {"Origin", "Surface", "Semantic", "Difficult-Rewrite"}
KEYS = {"prompt", "reference_code", "metadata", "code_context"}
METADATA = {
    "problem_id": int,
    "library_problem_id": int,
    "library": str,
    "test_case_cnt": int,
    "perturbation_type": str,
    "perturbation_origin_id": int,
}


def problem(number: int, library: str = "Numpy", **metadata: Any) -> dict[str, Any]:
    about = {"problem_id": number, "library": library, "perturbation_type": "Origin", "perturbation_origin_id": number}
    return {"prompt": "p", "reference_code": "r", "code_context": "c", "metadata": about | metadata}


def written(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def ds1000(data: Path) -> Path:
    path = data / "ds1000" / "ds1000.jsonl.gz"
    if not path.is_file():
        pytest.skip("the real data hold no DS-1000; set TRADEOFFS_DATA to a folder with ds1000/ds1000.jsonl.gz")
    return path


def test_the_bundled_set_covers_every_library_perturbation_and_tier() -> None:
    metadata = [problem["metadata"] for problem in bundled.load()]
    assert len(metadata) >= 70
    assert {m["library"] for m in metadata} == LIBRARIES
    assert {m["perturbation_type"] for m in metadata} == PERTURBATIONS
    assert {m["tier"] for m in metadata} == {1, 2, 3}


def test_every_library_of_the_bundled_set_has_all_tiers() -> None:
    found = {(p["metadata"]["library"], p["metadata"]["tier"]) for p in bundled.load()}
    assert found == {(library, tier) for library in LIBRARIES for tier in (1, 2, 3)}


def test_some_bundled_problems_test_the_answers_source() -> None:
    with_source = [p for p in bundled.load() if "test_string(" in p["code_context"]]
    assert 5 <= len(with_source) < len(bundled.load())


def test_bundled_ids_are_unique_and_sorted() -> None:
    metadata = [problem["metadata"] for problem in bundled.load()]
    ids = [m["problem_id"] for m in metadata]
    assert ids == sorted(set(ids))
    assert len({(m["library"], m["library_problem_id"]) for m in metadata}) == len(metadata)


def test_bundled_problems_have_the_benchmarks_keys_and_a_tier() -> None:
    for found in bundled.load():
        assert set(found) == KEYS
        assert {name: type(value) for name, value in found["metadata"].items()} == METADATA | {"tier": int}


def test_bundled_variants_name_an_origin_of_their_library() -> None:
    metadata = [problem["metadata"] for problem in bundled.load()]
    origins = {(m["library"], m["library_problem_id"]) for m in metadata if m["perturbation_type"] == "Origin"}
    for m in metadata:
        assert (m["library"], m["perturbation_origin_id"]) in origins, m["problem_id"]
        assert (m["perturbation_origin_id"] == m["library_problem_id"]) == (m["perturbation_type"] == "Origin")
    assert len({family(problem) for problem in bundled.load()}) == len(origins)


def test_bundled_programs_are_python_and_define_the_protocol() -> None:
    for found in bundled.load():
        names = compile(found["code_context"], "code_context", "exec").co_names
        assert "test_execution" in names, found["metadata"]["problem_id"]
        assert ("test_string" in names) == ("test_string(" in found["code_context"])


def test_every_bundled_problem_has_wrong_answers_to_try() -> None:
    assert [p["metadata"]["problem_id"] for p, wrong in bundled.entries() if not wrong] == []


@pytest.mark.parametrize("name", ["set.jsonl", "set.jsonl.gz"])
def test_a_file_gives_the_problems_that_were_written(tmp_path: Path, name: str) -> None:
    rows = [problem(2), problem(5, prompt_note="kept")]
    content = "".join(json.dumps(row) + "\n\n" for row in rows).encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    assert load_problems(str(tmp_path / name)) == rows


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_truncated_gzip_file_is_named_with_the_remedy(tmp_path: Path, share: float) -> None:
    packed = gzip.compress("".join(json.dumps(problem(i)) + "\n" for i in range(200)).encode())
    path = tmp_path / "set.jsonl.gz"
    path.write_bytes(packed[: int(len(packed) * share)])
    with pytest.raises(ValueError, match=r"^problems: .*set\.jsonl\.gz is truncated or corrupt .*; fetch it again"):
        load_problems(str(path))


def test_a_flipped_byte_in_a_gzip_file_is_named(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress("".join(json.dumps(problem(i)) + "\n" for i in range(200)).encode()))
    packed[len(packed) // 2] ^= 0xFF
    path = tmp_path / "set.jsonl.gz"
    path.write_bytes(packed)
    with pytest.raises(ValueError, match=r"^problems: .*set\.jsonl\.gz is truncated or corrupt"):
        load_problems(str(path))


WRONG = [
    ('{"prompt": "p", "refer', "not JSON"),
    ("\x00\x01", "not JSON"),
    ([1, 2], "lacks prompt, reference_code, metadata, code_context"),
    ({k: v for k, v in problem(2).items() if k != "code_context"}, "lacks code_context; accepts DS-1000's"),
    (problem(2) | {"metadata": None}, "lacks metadata; accepts DS-1000's"),
    (problem(2) | {"prompt": 3}, "lacks prompt; accepts DS-1000's"),
    (
        problem(2) | {"metadata": {"problem_id": 2, "library": "Numpy"}},
        r"lacks metadata\.perturbation_type, metadata\.pert",
    ),
    (problem(2, problem_id="two"), r"metadata\.problem_id: got 'two'; accepts an integer"),
    (problem(2, problem_id=None), r"metadata\.problem_id: got None; accepts an integer"),
]


@pytest.mark.parametrize(("row", "message"), WRONG, ids=[message[:34] for _, message in WRONG])
def test_a_wrong_line_is_named_with_file_and_line(tmp_path: Path, row: Any, message: str) -> None:
    path = written(tmp_path / "set.jsonl", [problem(1), row, problem(3)])
    with pytest.raises(ValueError, match=rf"^problems: .*set\.jsonl, line 2: {message}"):
        load_problems(str(path))


@pytest.mark.parametrize("content", [b"", b"\n\n", gzip.compress(b"", mtime=0)])
def test_an_empty_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "set.jsonl").write_bytes(content)
    with pytest.raises(ValueError, match=r"^problems: .*set\.jsonl holds no problem"):
        load_problems(str(tmp_path / "set.jsonl"))


def test_an_id_that_occurs_twice_is_named(tmp_path: Path) -> None:
    path = written(tmp_path / "set.jsonl", [problem(1), problem(2), problem(1, "Pandas")])
    with pytest.raises(ValueError, match=r"^problems: .*set\.jsonl: problem_id 1 occurs twice"):
        load_problems(str(path))


def test_a_missing_set_says_what_is_accepted(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="^problems: got '.*none.jsonl'; accepts 'bundled', 'ds1000' or the path"):
        load_problems(str(tmp_path / "none.jsonl"))


def test_ds1000_loads_whole(ds1000: Path) -> None:
    found = load_problems(str(ds1000))
    assert [p["metadata"]["problem_id"] for p in found] == list(range(1000))
    assert {p["metadata"]["library"] for p in found} == LIBRARIES
    assert all(set(p) == KEYS and set(p["metadata"]) == set(METADATA) for p in found)


@pytest.mark.parametrize("name", ["ds1000.jsonl", "DS-1000.jsonl.gz"])
def test_ds1000_with_one_byte_changed_is_refused(ds1000: Path, tmp_path: Path, name: str) -> None:
    content = gzip.decompress(ds1000.read_bytes())
    assert hashlib.sha256(content).hexdigest() == module.DS1000_SHA256
    changed = content.replace(b"Problem:\\n", b"problem:\\n", 1)
    assert len(changed) == len(content) and changed != content
    (tmp_path / name).write_bytes(gzip.compress(changed, 1) if name.endswith(".gz") else changed)
    with pytest.raises(ValueError, match="is not DS-1000's simplified release .checksum differs.; fetch it again"):
        load_problems(str(tmp_path / name))


@pytest.fixture
def thousand() -> list[dict[str, Any]]:
    sizes = {"Pandas": 500, "Numpy": 300, "Scipy": 150, "Pytorch": 50}
    libraries = [library for library, size in sizes.items() for _ in range(size)]
    return [problem(i, library) for i, library in enumerate(libraries)]


@pytest.mark.parametrize("limit", [1, 20, 99, 999])
def test_a_stratified_choice_has_its_size_and_repeats(thousand: list[dict[str, Any]], limit: int) -> None:
    chosen = stratified(thousand, limit)
    ids = [p["metadata"]["problem_id"] for p in chosen]
    assert len(chosen) == limit and ids == sorted(set(ids))
    assert stratified(thousand[::-1][::-1], limit) == chosen


def test_a_stratified_choice_is_proportional(thousand: list[dict[str, Any]]) -> None:
    for limit in (20, 100, 333):
        chosen = Counter(p["metadata"]["library"] for p in stratified(thousand, limit))
        whole = Counter(p["metadata"]["library"] for p in thousand)
        assert all(abs(chosen[name] - limit * size / 1000) <= 1 for name, size in whole.items()), chosen


def test_a_stratified_choice_of_the_bundled_set_has_every_tier_in_proportion() -> None:
    found = bundled.load()
    chosen = Counter(p["metadata"]["tier"] for p in stratified(found, 40))
    whole = Counter(p["metadata"]["tier"] for p in found)
    assert all(abs(chosen[tier] - 40 * size / len(found)) <= 3 for tier, size in whole.items()), chosen


def test_another_seed_chooses_others_and_a_larger_limit_keeps_the_smaller_choice(
    thousand: list[dict[str, Any]],
) -> None:
    assert stratified(thousand, 50, seed=1) != stratified(thousand, 50, seed=2)
    larger = {p["metadata"]["problem_id"] for p in stratified(thousand, 80)}
    assert {p["metadata"]["problem_id"] for p in stratified(thousand, 50)} <= larger


@pytest.mark.parametrize("limit", [0, 1000, 5000])
def test_no_limit_gives_all(thousand: list[dict[str, Any]], limit: int) -> None:
    assert stratified(thousand, limit) == thousand


def test_there_are_enough_distinct_general_pairs() -> None:
    rows = general.load()
    assert len(rows) >= 150
    assert len({row["prompt"] for row in rows}) == len({row["response"] for row in rows}) == len(rows)
    assert all(
        set(row) == {"prompt", "response", "topic"} and all(v.strip() == v != "" for v in row.values()) for row in rows
    )


def test_general_pairs_are_split_without_overlap_and_always_alike() -> None:
    rows = general.load()
    train, test = general.split(rows, held_out=40)
    assert (len(train), len(test)) == (len(rows) - 40, 40)
    assert {row["prompt"] for row in train} | {row["prompt"] for row in test} == {row["prompt"] for row in rows}
    assert general.split(rows, held_out=40) == (train, test)
    with pytest.raises(ValueError, match=f"^held_out: got {len(rows)}; accepts 0 to"):
        general.split(rows, held_out=len(rows))


@pytest.mark.parametrize("domain", ["code", "general", "mixed"])
def test_training_examples_repeat_by_seed_and_have_distinct_keys(domain: str) -> None:
    found = training_examples(domain, 25, seed=3)
    assert found == training_examples(domain, 25, seed=3)
    assert [e.prompt for e in found] != [e.prompt for e in training_examples(domain, 25, seed=4)]
    assert len(found) == len({example.key for example in found}) == 25
    assert all(
        example.reference.strip() and (example.problem is None) == (example.domain == "general") for example in found
    )


@pytest.mark.parametrize("share", [0.0, 0.1, 1 / 3, 0.5, 0.75, 1.0])
def test_a_mixture_has_its_share_of_code_in_every_stretch(share: float) -> None:
    is_code = [e.domain == "code" for e in training_examples("mixed", 60, 0, share)]
    assert all(abs(sum(is_code[:n]) - share * n) < 1 for n in range(61))


def test_mixed_examples_alternate() -> None:
    assert [e.domain for e in training_examples("mixed", 5, seed=0)] == ["code", "general", "code", "general", "code"]


def test_training_never_sees_the_held_out_general_pairs() -> None:
    _, held_out = general.split(general.load())
    asked = {example.prompt for example in training_examples("general", 400, seed=0)}
    assert not asked & {row["prompt"] for row in held_out}
