"""Problem sets: the bundled one, DS-1000 from a file or the hub, or any file in the same format."""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import zlib
from collections import defaultdict
from pathlib import Path
from typing import Any

from tradeoffs.tasks import bundled
from tradeoffs.tasks.format import Problem

DS1000_HUB, DS1000_FILE = "xlangai/DS-1000", "test.jsonl"
DS1000_REVISION = "4416080ac5cb80bdf7576aefb8f9a0b4d5426a44"
DS1000_COUNT = 1000
# SHA-256 of the unpacked file of the simplified release, which is the hub's file, too.
DS1000_SHA256 = "26a492838b05f9d030b2f08a5715c6bafecafb601c157da912bf417fd8b0d363"

FIELDS = {"prompt": str, "reference_code": str, "metadata": dict, "code_context": str}
METADATA = ("problem_id", "library", "perturbation_type", "perturbation_origin_id")


def load_problems(name: str) -> list[Problem]:
    """Load a problem set.

    Args:
        name: `bundled`, `ds1000` (from the hub), or the path of a `.jsonl` or `.jsonl.gz` file.

    Returns:
        Problems in DS-1000's simplified format, with unique `problem_id`s.

    Raises:
        ValueError: missing, truncated or of another format; the message names file, line and remedy. DS-1000 from the hub, and a file
            named like it and with its thousand problems, must have its checksum.
    """
    if name == "bundled":
        return bundled.load()
    path = _from_hub() if name == "ds1000" else Path(name)
    if not path.is_file():
        raise ValueError(
            f"problems: got {name!r}; accepts 'bundled', 'ds1000' or the path of an existing .jsonl or .jsonl.gz file"
        )
    content = _unpack(path)
    problems = [_check(row, f"{path}, line {number}") for number, row in _rows(content, path)]
    if name == "ds1000" or len(problems) == DS1000_COUNT and "ds1000" in path.name.lower().replace("-", ""):
        if hashlib.sha256(content).hexdigest() != DS1000_SHA256:
            raise ValueError(
                f"problems: {path} is not DS-1000's simplified release (checksum differs); fetch it again from {DS1000_HUB}"
            )
    return _unique(problems, str(path))


def _unpack(path: Path) -> bytes:
    data = path.read_bytes()
    if data[:2] != b"\x1f\x8b":
        return data
    try:
        return gzip.decompress(data)
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(f"problems: {path} is truncated or corrupt ({error}); fetch it again") from None


def _rows(content: bytes, path: Path) -> list[tuple[int, Any]]:
    rows = []
    for number, line in enumerate(content.splitlines(), 1):
        if line.strip():
            try:
                rows.append((number, json.loads(line)))
            except ValueError:
                raise ValueError(
                    f"problems: {path}, line {number}: not JSON (truncated?); fetch the file again"
                ) from None
    if not rows:
        raise ValueError(f"problems: {path} holds no problem")
    return rows


def _check(row: Any, where: str) -> Problem:
    missing = [
        field for field, kind in FIELDS.items() if not isinstance(row, dict) or not isinstance(row.get(field), kind)
    ]
    if not missing:
        missing = [f"metadata.{field}" for field in METADATA if field not in row["metadata"]]
    if missing:
        raise ValueError(f"problems: {where}: lacks {', '.join(missing)}; accepts DS-1000's simplified format")
    problem: Problem = row
    number = problem["metadata"]["problem_id"]
    try:
        problem["metadata"]["problem_id"] = int(number)
    except (TypeError, ValueError):
        raise ValueError(f"problems: {where}: metadata.problem_id: got {number!r}; accepts an integer") from None
    return problem


def _unique(problems: list[Problem], where: str) -> list[Problem]:
    seen: set[int] = set()
    for problem in problems:
        number = problem["metadata"]["problem_id"]
        if number in seen:
            raise ValueError(f"problems: {where}: problem_id {number} occurs twice")
        seen.add(number)
    return problems


def _from_hub() -> Path:
    """The benchmark's file in the hub's cache, which the hub's client fills where there is a network."""
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(DS1000_HUB, DS1000_FILE, repo_type="dataset", revision=DS1000_REVISION))
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"problems: cannot fetch {DS1000_HUB} ({reason}); `tradeoffs fetch` brings it where there is a network, "
            "or give the path of a copy: -p problems ds1000.jsonl.gz"
        ) from None


def family(problem: Problem) -> str:
    """The cluster that a problem belongs to: variants of one origin are no independent sample (arXiv 2211.11501, section 2.4)."""
    metadata = problem["metadata"]
    return f"{metadata['library']}/{metadata['perturbation_origin_id']}"


def stratified(problems: list[Problem], limit: int, seed: int = 0) -> list[Problem]:
    """Choose `limit` problems, each library (and tier, where there are tiers) in proportion; the same choice for the same seed.

    Args:
        problems: a problem set.
        limit: how many; 0 or more than there are gives all.
    """
    if limit <= 0 or limit >= len(problems):
        return problems
    strata: dict[Any, list[Problem]] = defaultdict(list)
    for problem in problems:
        strata[(problem["metadata"]["library"], problem["metadata"].get("tier", 0))].append(problem)
    ranked = []
    for key, members in strata.items():
        order = random.Random(f"{seed}/{key}").sample(members, len(members))
        # A stratum's k-th member ranks by (k + 1/2) / size, so any prefix of the ranking is close to proportional.
        ranked += [((k + 0.5) / len(members), str(key), p) for k, p in enumerate(order)]
    chosen = [p for _, _, p in sorted(ranked, key=lambda item: item[:2])[:limit]]
    return sorted(chosen, key=lambda p: p["metadata"]["problem_id"])
