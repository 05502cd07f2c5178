"""Fetches what a profile needs from outside, so that its run needs no network (`tradeoffs fetch PROFILE`).

Models and DS-1000 come from the Hugging Face hub into the hub's own cache, where every stage finds them. Large files go there by way of a
part file: the hub's client keeps nothing of a file that it is stopped in, and a model's weights can be one file of many GB. A file gets its
name in the cache once its checksum is the hub's. Data sets come through `tradeoffs.preferences.hub`, each at its pinned commit.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from tradeoffs.grading import data as grading_data
from tradeoffs.grading.environment import data_folders
from tradeoffs.parameters import split_model
from tradeoffs.preferences.hub import SOURCES, rows
from tradeoffs.profiles import Profile, jobs
from tradeoffs.records import digest
from tradeoffs.tasks.problems import DS1000_FILE, DS1000_HUB, DS1000_REVISION, load_problems

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoSibling

SPARE_BYTES = 10**9  # left free on the disk beside what is fetched
WEIGHTS = (r"model(-\d+-of-\d+)?\.safetensors", r"pytorch_model(-\d+-of-\d+)?\.bin")  # the first that there is
BESIDE = (".json", ".model", ".txt", ".jinja")  # configuration, tokenizer, chat template


class Need(NamedTuple):
    """Something that jobs read from outside; a model and data sets by the names that the profile has for them."""

    kind: Literal["model", "data set", "problems", "grading data"]
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


def needs(profile: Profile) -> list[Need]:
    """What a profile's jobs need from outside, each once; nothing for the embedded model, local folders and files."""
    found: list[Need] = []
    for job in jobs(profile):
        given = job.parameters
        model = given.get("model", "embedded")
        if model != "embedded" and not Path(model).is_dir():
            found.append(Need("model", model))
        found += [
            Need("data set", given[key])
            for key in ("instructions", "preferences", "reward_data")
            if given.get(key) in SOURCES
        ]
        if given.get("problems") == "ds1000":
            found.append(Need("problems", "ds1000"))
        if job.stage == "grade" and given.get("problems", "bundled") != "bundled":
            found.append(Need("grading data", "of seaborn and scikit-learn"))
    return list(dict.fromkeys(found))


def missing(need: Need) -> str:
    """What of a need is not on this machine, in a few words; "" where all is there. Asks no network and reads no large file."""
    if need.kind == "model":
        return "" if _snapshot(need.name) else "not cached"
    if need.kind == "data set":
        return "" if _data_set(need.name) else "not cached"
    if need.kind == "problems":
        from huggingface_hub import try_to_load_from_cache

        path = try_to_load_from_cache(DS1000_HUB, DS1000_FILE, revision=DS1000_REVISION, repo_type="dataset")
        return "" if isinstance(path, str) else "not cached"
    folders = data_folders()
    kept = [source.kept for source in grading_data.SOURCES]
    absent = [name for name in kept if not any((Path(folder) / name).is_file() for folder in folders.values())]
    return f"{', '.join(absent)} not there" if absent else ""


def fetch(need: Need, out: str | None = None, mirror: str | None = None) -> str:
    """Get what is not there; files that are there are compared with their checksums first.

    Args:
        need: see `needs`.
        out, mirror: of grading data, see `tradeoffs.grading.data.fetch`.

    Returns:
        One line: what there is now.

    Raises:
        OSError, ValueError: it cannot be had; one line that names what, why and the remedy. What was fetched before is kept.
    """
    if need.kind == "model":
        repo, revision = split_model(need.name)
        return _from_hub(need, repo, "model", revision, _snapshot(need.name), loaded_by_transformers)
    if need.kind == "problems":
        folder = _cached(DS1000_HUB, "dataset") / "snapshots" / DS1000_REVISION
        there = folder if (folder / DS1000_FILE).is_file() else None
        said = _from_hub(need, DS1000_HUB, "dataset", DS1000_REVISION, there, lambda names: [DS1000_FILE])
        return f"{said}; {len(load_problems('ds1000'))} problems"
    if need.kind == "data set":
        if (there := _data_set(need.name)) is not None:
            return f"{need}: there already ({there})"
        return _load(need)
    if not missing(need):
        return f"{need}: there already"
    files = grading_data.fetch(out, mirror)
    return f"{need}: {len(files)} files in {files[0].parent}"


def loaded_by_transformers(names: Iterable[str]) -> list[str]:
    """Choose a repository's files that loading the model and its tokenizer reads: weights in one form, safetensors if it can be."""
    top = sorted(name for name in names if "/" not in name)
    for form in WEIGHTS:
        if weights := [name for name in top if re.fullmatch(form, name)]:
            return weights + [name for name in top if name.endswith(BESIDE)]
    return []


# ---------------------------------------------------------------- what the caches hold


def _cached(repo: str, kind: str) -> Path:
    """A repository's folder in the hub's cache, there or not."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    return Path(constants.HF_HUB_CACHE).expanduser() / repo_folder_name(repo_id=repo, repo_type=kind)


def _snapshot(name: str) -> Path | None:
    """A model's folder in the hub's cache; None unless the cache knows what the repository holds and has all of it that is loaded."""
    from huggingface_hub import get_cached_repo_tree
    from huggingface_hub.errors import CachedRepoTreeNotFoundError

    repo, revision = split_model(name)
    try:
        names = [file.path for file in get_cached_repo_tree(repo, revision=revision)]
    except (CachedRepoTreeNotFoundError, ValueError):
        return None
    ref = _cached(repo, "model") / "refs" / (revision or "main")
    folder = _cached(repo, "model") / "snapshots" / (ref.read_text() if ref.is_file() else revision or "")
    wanted = loaded_by_transformers(names)
    return folder if wanted and all((folder / name).is_file() for name in wanted) else None


def _data_set(name: str) -> Path | None:
    """Where `datasets` keeps a data set's rows at the pinned commit; None where it does not. `datasets` takes seconds to import."""
    from huggingface_hub import constants

    source = SOURCES[name]
    cache = Path(os.environ.get("HF_DATASETS_CACHE") or Path(constants.HF_HOME) / "datasets").expanduser()
    # The library writes capitals in the name as `_` and a small letter.
    plain = source.repo.replace("/", "").replace("_", "").lower()
    for info in cache.glob(f"*/*/*/{source.revision}/dataset_info.json"):
        if info.parents[3].name.replace("_", "").lower() == plain:
            return info.parent
    return None


# ---------------------------------------------------------------- the hub


def _from_hub(
    need: Need,
    repo: str,
    kind: str,
    revision: str | None,
    there: Path | None,
    choose: Callable[[Iterable[str]], Sequence[str]],
) -> str:
    """Have a revision of a repository in the hub's cache, all chosen files whole."""
    if there:
        print(f"{need}: there already, comparing checksums", flush=True)
    damaged = [path for path in sorted(there.iterdir()) if path.is_file() and not _as_named(path)] if there else []
    if there and not damaged:
        return f"{need}: right, commit {there.name}{_pin(repo, kind, revision, there.name)}"
    for path in damaged:
        print(f"{need}: {path.name} is damaged here: deleted, to be fetched again", flush=True)
        _delete(path)
    try:
        return _download(need, repo, kind, revision, choose)
    except Exception as error:
        raise OSError(_complaint(need, repo, kind, revision, error)) from None


def _load(need: Need) -> str:
    """Have `datasets` fetch a data set, which keeps it."""
    from huggingface_hub import HfApi

    source = SOURCES[need.name]
    try:  # beforehand, because `datasets` takes half a minute to find that there is no network
        HfApi().dataset_info(source.repo, revision=source.revision)
    except Exception as error:
        raise OSError(_complaint(need, source.repo, "dataset", source.revision, error)) from None
    next(rows(need.name))  # it is had whole before its first row
    return f"{need}: fetched, commit {source.revision}"


def _download(
    need: Need, repo: str, kind: str, revision: str | None, choose: Callable[[Iterable[str]], Sequence[str]]
) -> str:
    from huggingface_hub import HfApi, snapshot_download

    hub = HfApi()
    ask = hub.model_info if kind == "model" else hub.dataset_info
    info = ask(repo, revision=revision, files_metadata=True)
    listed: dict[str, RepoSibling] = {file.rfilename: file for file in info.siblings or []}
    wanted = choose(listed)
    if not set(wanted) & set(listed) or not info.sha:
        raise _Refusal(f"holds no {'weights in safetensors or in PyTorch form' if kind == 'model' else DS1000_FILE}")
    cache = _cached(repo, kind)
    folder = cache / "snapshots" / info.sha
    absent = [listed[name] for name in wanted if not (folder / name).is_file()]
    _check_room(absent, cache)
    print(
        f"{need}: {len(absent)} of {len(wanted)} files to fetch, {size(sum(f.size or 0 for f in absent))}", flush=True
    )
    for file in absent:
        if file.lfs:
            _get_large(repo, kind, info.sha, file, cache / "blobs")
    # One file at a time, so that an interruption costs one.
    whole = Path(snapshot_download(repo, repo_type=kind, revision=revision, allow_patterns=list(wanted), max_workers=1))
    if whole != folder:
        raise _Refusal(f"changed while it was fetched, from {folder.name} to {whole.name}; run the same command again")
    for file in absent:
        path = folder / file.rfilename
        if not _fits(path, file.lfs.sha256 if file.lfs else file.blob_id or "", file.size):
            _delete(path)
            raise _Refusal(_DIFFERS.format(file.rfilename))
    pin = _pin(repo, kind, revision, info.sha)
    return f"{need}: fetched, {len(wanted)} files with the right checksums, commit {info.sha}{pin}"


def _pin(repo: str, kind: str, revision: str | None, commit: str) -> str:
    """How to have the same commit again, where the profile names none."""
    return (
        f"; to pin it, put this into the profile: model: {repo}@{commit}" if (kind, revision) == ("model", None) else ""
    )


def _get_large(repo: str, kind: str, commit: str, file: RepoSibling, blobs: Path) -> None:
    """Get a file into the cache by way of a part file that goes on where it was stopped.

    The cache calls a file's content by its SHA-256; the hub's client then finds it there and only gives it its name.
    """
    from huggingface_hub.file_download import hf_hub_url, http_get
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    assert file.lfs is not None
    blob, part = blobs / file.lfs.sha256, blobs / f"{file.lfs.sha256}.part"
    if blob.is_file() and _fits(blob, file.lfs.sha256, file.lfs.size):
        return
    blobs.mkdir(parents=True, exist_ok=True)
    with part.open("ab") as out:
        if out.tell() > file.lfs.size:
            out.truncate(0)
            out.seek(0)
        http_get(
            hf_hub_url(repo, file.rfilename, repo_type=kind, revision=commit),
            out,
            resume_size=out.tell(),
            headers=build_hf_headers(),
            expected_size=file.lfs.size,
            displayed_filename=file.rfilename,
        )
    if not _fits(part, file.lfs.sha256, file.lfs.size):
        part.unlink()
        raise _Refusal(_DIFFERS.format(file.rfilename))
    part.replace(blob)


def _check_room(files: Sequence[RepoSibling], cache: Path) -> None:
    """Refuse what does not fit on the disk, before anything is fetched."""
    parts = (cache / "blobs" / f"{file.lfs.sha256}.part" for file in files if file.lfs)
    needed = sum(file.size or 0 for file in files) - sum(part.stat().st_size for part in parts if part.is_file())
    free = free_bytes(cache)
    if needed + SPARE_BYTES > free:
        raise _Refusal(
            f"needs {size(needed)} and {size(SPARE_BYTES)} to spare, {size(free)} are free at {cache.parent}; free some, "
            "or name a folder on another disk with HF_HOME"
        )


def _fits(path: Path, checksum: str, length: int | None = None) -> bool:
    """Whether a file has a checksum: SHA-256 for large files, git's SHA-1 for small ones, none where the hub names none."""
    if not path.is_file() or length is not None and path.stat().st_size != length:
        return False
    if len(checksum) == 64:
        return digest(path) == checksum
    content = path.read_bytes()
    return len(checksum) != 40 or hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() == checksum


def _as_named(path: Path) -> bool:
    """Whether a file of a snapshot, a link, has the checksum that its content is called by in the cache."""
    name = path.resolve().name
    return _fits(path, name if re.fullmatch("[0-9a-f]+", name) else "")


def _delete(path: Path) -> None:
    """Delete a file of a snapshot and its content."""
    path.resolve().unlink(missing_ok=True)
    path.unlink(missing_ok=True)


# ---------------------------------------------------------------- what to say


class _Refusal(Exception):
    """What this module itself finds wrong, in words to follow the name."""


_DIFFERS = "{} arrived with another checksum than the hub's and is deleted; run the same command again"


def _complaint(need: Need, repo: str, kind: str, revision: str | None, error: Exception) -> str:
    """One line for what went wrong with a repository: what, why, remedy."""
    from huggingface_hub import constants, errors

    page = f"{constants.ENDPOINT}/{'datasets/' if kind == 'dataset' else ''}{repo}"
    status = error.response.status_code if isinstance(error, errors.HfHubHTTPError) else 0
    module = type(error).__module__.split(".")[0]
    if isinstance(error, _Refusal):
        why = str(error)
    elif isinstance(error, errors.GatedRepoError):
        why = (
            f"its terms must be accepted; do so at {page}, log in with `hf auth login`, then run the same command again"
        )
    elif isinstance(error, errors.RevisionNotFoundError):
        why = f"there is no revision {revision!r}; those that there are stand at {page}/commits/main"
    elif isinstance(error, errors.RepositoryNotFoundError):
        why = f"not found at {page}; correct the name, or, if it is private, log in with `hf auth login`"
    elif status in (401, 403):
        why = f"the hub refuses access ({status}); log in with `hf auth login` as someone who may read {page}"
    elif status:
        why = f"the hub answers with status {status}; run the same command again later, it goes on from here"
    elif isinstance(error, OSError) and error.errno == errno.ENOSPC:
        why = "the disk is full; free some, or name a folder on another disk with HF_HOME"
    elif isinstance(error, ConnectionError | TimeoutError | errors.LocalEntryNotFoundError) or "httpx" in module:
        why = f"the hub cannot be reached at {constants.ENDPOINT}; with a network the same command goes on from here"
    else:
        lines = str(error).strip().splitlines() or [""]
        why = (
            f"cannot be fetched ({type(error).__name__}: {lines[0]}); run the same command again, it goes on from here"
        )
    return f"fetch: {need}: {why}"


def free_bytes(path: Path) -> int:
    """What is free on the disk where a folder is or will be."""
    return shutil.disk_usage(next(parent for parent in (path, *path.absolute().parents) if parent.is_dir())).free


def size(count: int) -> str:
    """A number of bytes in words."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} bytes"
