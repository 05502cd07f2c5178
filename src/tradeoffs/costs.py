"""What a job costs on a machine where nothing like it has run: operations, bytes moved, memory and time, from the roofline.

A job's limit is the time that its operations take at the machine's arithmetic rate plus that of its bytes at its bandwidth. Jobs take more:
how much, earlier runs tell, as the share of the limit that jobs of the same stage (and method) reached on the machine whose ceilings
were measured. On another machine the same share is assumed, and said to be. A GPU besides waits for its processor, which starts every
layer of every pass anew: with a small model that is nearly all of the time. What the model is worth is shown on the earlier runs, each
foretold from the others; those on a GPU from those on CPUs, but for two constants that were fitted to them.

Source: operations, Kaplan et al. 2020 (arXiv 2001.08361, section 2.1); roofline, Williams et al. 2009; activations, Korthikanti et al.
2022 (arXiv 2205.05198, section 4.1: 34 s b h bytes a layer in 16 bit, attention's own left out, which fused kernels do not keep).
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tradeoffs.parameters import MODELS, filled
from tradeoffs.planning import answered
from tradeoffs.profiles import Profile, jobs
from tradeoffs.records import Record

BYTES = 2  # a weight or a key in 16 bit
OPTIMISER = 16  # bytes a trained (LoRA) parameter: its 32-bit copy, gradient and two moments
PROMPT_TOKENS = {"bundled": 156, "ds1000": 362}  # of a problem, on average, as the embedded model's tokenizer counts
# Seconds until a GPU's processor has started a layer, and from a job's start to its work: fitted to the published `embedded-gpu` run,
# on an NVIDIA H200 with transformers as it comes (18 ms a decoding step of 30 layers, at 1 row and at 64).
LAUNCH_S, START_S = 0.6e-3, 12.0
SAMPLED_TOGETHER = 64  # rows; a GPU takes up to 256, where a step or a round has so many
LIBRARIES_BYTES = 0.8e9  # of a process that has loaded PyTorch and a tokenizer


class Shape(NamedTuple):
    """A decoder's sizes, as its configuration tells them."""

    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head: int
    vocabulary: int
    tied: bool
    biased: bool = False  # queries, keys and values

    @property
    def parameters(self) -> int:
        """How many weights a Llama-like decoder of these sizes has."""
        inner, keys = self.heads * self.head, self.kv_heads * self.head
        attention = self.hidden * (2 * inner + 2 * keys) + (inner + 2 * keys if self.biased else 0)
        layer = attention + 3 * self.hidden * self.intermediate + 2 * self.hidden
        return self.vocabulary * self.hidden * (1 if self.tied else 2) + self.layers * layer + self.hidden

    @property
    def kv_bytes(self) -> int:
        """Bytes of keys and values a token."""
        return 2 * self.layers * self.kv_heads * self.head * BYTES


# Of the profiles' models, from their configurations on the hub; any other is read from its config.json.
SHAPES = {
    "embedded": Shape(30, 576, 1536, 9, 3, 64, 49_152, True),
    "Qwen/Qwen2.5-Coder-1.5B-Instruct": Shape(28, 1536, 8960, 12, 2, 128, 151_936, True, True),
    "HuggingFaceH4/mistral-7b-sft-beta": Shape(32, 4096, 14_336, 32, 8, 128, 32_000, False),
}


class Device(NamedTuple):
    """A machine's ceilings: operations a second (dense, 16 bit), bytes a second, and memory in GiB."""

    flops_per_s: float
    bytes_per_s: float
    memory_gib: float


# Source: the vendor's data sheets, dense figures.
DEVICES = {
    "h100": Device(989e12, 3.35e12, 80),
    "h200": Device(989e12, 4.8e12, 141),
    "a100": Device(312e12, 2.04e12, 80),
    "l40s": Device(362e12, 0.864e12, 48),
    "rtx4090": Device(165e12, 1.008e12, 24),
}


class Cost(NamedTuple):
    """What a job asks of a machine.

    Attributes:
        flops: operations of the model.
        moved: bytes that decoding reads, weights and keys and values.
        memory: bytes that it holds at its largest.
        answers: to grade; such a job does not run the model.
        launches: layers started one after the other: passes times layers, a backward pass counting as two.
    """

    flops: float
    moved: float
    memory: float
    answers: float = 0.0
    launches: float = 0.0

    def limit(self, device: Device) -> float:
        """Seconds at the device's ceilings; answers to grade count a second each."""
        return self.flops / device.flops_per_s + self.moved / device.bytes_per_s + self.answers


def shape(model: str) -> Shape | None:
    """A model's sizes by its name; None where nothing here tells them.

    Args:
        model: as in the parameters.
    """
    name = model.partition("@")[0]
    if name in SHAPES:
        return SHAPES[name]
    path = Path(model) / "config.json"
    if not path.is_file():
        from huggingface_hub import try_to_load_from_cache

        try:
            cached = try_to_load_from_cache(name, "config.json", revision=model.partition("@")[2] or None)
        except ValueError:  # no name of a repository
            cached = None
        if not isinstance(cached, str):
            return None
        path = Path(cached)
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    heads, hidden = found["num_attention_heads"], found["hidden_size"]
    return Shape(
        found["num_hidden_layers"],
        hidden,
        found["intermediate_size"],
        heads,
        found.get("num_key_value_heads") or heads,
        found.get("head_dim") or hidden // heads,
        found["vocab_size"],
        bool(found.get("tie_word_embeddings")),
        found.get("model_type") == "qwen2",
    )


def cost(stage: str, given: Mapping[str, Any], of: Shape) -> Cost:
    """What a job costs, from its parameters.

    Args:
        stage: a key of `MODELS`.
        given: its parameters; defaults are filled in.
        of: its model's sizes.
    """
    p = filled(stage, given)
    weights = of.parameters * BYTES
    limit = answered(p)
    prompt = PROMPT_TOKENS["bundled" if p.get("problems") == "bundled" else "ds1000"]
    if stage == "align":
        # a token of the budget is sampled or trained on; what is sampled is read and judged, too
        tokens = p["token_budget"] or p["steps"] * p["batch_size"] * p["max_length"]
        rows = p["micro_batch"] or p["batch_size"]
        activations = (
            34 * rows * p["max_length"] * of.hidden * of.layers + 3 * 4 * rows * p["max_length"] * of.vocabulary
        )
        adapter = (
            OPTIMISER * p["lora_rank"] * of.layers * (7 * of.hidden + 3 * of.intermediate + 4 * of.heads * of.head)
        )
        sampled = 0.0 if p["method"] == "sft" else tokens / 32 * weights
        length = min(p["max_length"], PROMPT_TOKENS["bundled"] + p["max_new_tokens"] / 2)  # tasks are like those
        passes = 3 * tokens / (rows * length)
        if p["method"] != "sft":  # about half of the tokens are sampled ones, or the prompts of such
            passes += tokens / 2 / (SAMPLED_TOGETHER * length) * p["max_new_tokens"]
        return Cost(6.0 * of.parameters * tokens, sampled, weights + activations + adapter, launches=passes * of.layers)
    if stage == "generate":
        answers = limit * p["samples"] * p["best_of"]
        return _decoded(of, answers, p["batch_size"], prompt, p["max_new_tokens"])
    if stage == "throughput":
        timed = len(p["policies"]) + len(p["unmerged"]) + 2  # the baseline's own controls
        blocks = p["blocks"] + 2 * p["pilot_blocks"] / timed + p["self_check"] * 6 / timed
        parts = [
            _decoded(of, blocks * timed * size, size, p["prompt_tokens"], p["new_tokens"]) for size in p["batch_sizes"]
        ]
        flops, moved, launches = (sum(getattr(part, name) for part in parts) for name in ("flops", "moved", "launches"))
        return Cost(flops, moved, max(part.memory for part in parts), launches=launches)
    if stage == "speculate":
        part = _decoded(of, limit * len(p["policies"]), 1, prompt, p["max_new_tokens"])
        return Cost(2 * part.flops, 2 * part.moved, part.memory + weights, launches=2 * part.launches)
    return Cost(0.0, 0.0, LIBRARIES_BYTES, limit if stage == "grade" else 60.0)


def _decoded(of: Shape, answers: float, rows: int, prompt: float, new: float) -> Cost:
    """Answers of so many tokens in batches of so many rows."""
    rows = max(1, rows)
    passes, weights = answers / rows * new, of.parameters * BYTES
    read = passes * (weights + rows * (prompt + new / 2) * of.kv_bytes)
    held = weights + rows * (prompt + new) * of.kv_bytes + rows * prompt * of.hidden * 34 + 8 * rows * of.vocabulary
    return Cost(2.0 * of.parameters * answers * (prompt + new), read, held, launches=passes * of.layers)


class Run(NamedTuple):
    """An earlier job beside its limit: stage, method, seconds, seconds at the limit, bytes held (where it was measured) and foretold,
    and the layers that a GPU started for it (0 without a GPU)."""

    name: str
    stage: str
    method: str
    seconds: float
    limit: float
    held: float | None
    foretold: float
    launches: float = 0.0


def runs(records: Iterable[tuple[str, Record]]) -> list[Run]:
    """Earlier jobs on machines whose ceilings were measured.

    Args:
        records: of earlier jobs by name, see `tradeoffs.planning.earlier`.
    """
    records = list(records)
    ceilings: dict[str, Device] = {}
    for _, record in records:
        if found := record.summary.get("ceilings"):
            where = record.provenance
            ceilings[where.accelerator or where.hardware] = Device(
                found["flops_per_s"], found["bytes_per_s"], where.memory_gib
            )
    result = []
    for name, record in records:
        device = ceilings.get(record.provenance.accelerator or record.provenance.hardware)
        of = shape(str(record.parameters.get("model", "embedded")))
        if (
            record.stage not in MODELS
            or device is None
            or of is None
            or not record.seconds
            or record.stage == "analyse"
        ):
            continue
        given = record.parameters
        if record.stage == "grade":
            given = given | {"limit": record.counts.get("planned", 0)}
        if record.counts.get("completed", 0) < record.counts.get("planned", 0):
            continue  # ended by its minutes
        needed, peak = cost(record.stage, given, of), record.summary.get("peak_memory_mib")
        held = peak * 2**20 if peak else None
        on_cpu = 0.0 if record.provenance.accelerator else LIBRARIES_BYTES
        method = str(given.get("method") or ("best of n" if given.get("best_of", 1) > 1 else ""))
        launches = needed.launches if record.provenance.accelerator else 0.0
        limit = needed.limit(device)
        result.append(Run(name, record.stage, method, record.seconds, limit, held, needed.memory + on_cpu, launches))
    return result


def reached(stage: str, method: str, known: Sequence[Run]) -> float | None:
    """Which share of the limit jobs like this reached without a GPU: those of the method, else of the stage; None without any."""
    known = [r for r in known if not r.launches]
    for like in ([r for r in known if (r.stage, r.method) == (stage, method)], [r for r in known if r.stage == stage]):
        if like:
            return statistics.median(run.limit / run.seconds for run in like)
    return None


def seconds(stage: str, method: str, limit: float, launches: float, known: Sequence[Run]) -> float | None:
    """What a job takes: its limit at the share that like jobs reached, and on a GPU the starts of its layers besides.

    Args:
        limit: seconds at the machine's ceilings.
        launches: layers that a GPU starts for it; 0 without a GPU.
        known: earlier jobs.

    Returns:
        None where no like job is known.
    """
    share = reached(stage, method, known)
    return None if share is None else limit / share + (START_S + launches * LAUNCH_S if launches else 0.0)


class Told(NamedTuple):
    """An earlier job as the model would have foretold it from the others."""

    run: Run
    seconds: float


def foretold(known: Sequence[Run]) -> list[Told]:
    """Every earlier job, foretold from the others; those that are alone of their stage are left out."""
    found = []
    for place, run in enumerate(known):
        others = [*known[:place], *known[place + 1 :]]
        took = seconds(run.stage, run.method, run.limit, run.launches, others)
        if took:
            found.append(Told(run, took))
    return found


def typical_factor(told: Sequence[Told]) -> float | None:
    """By what factor the model is typically off (median); None without any."""
    return math.exp(statistics.median(abs(math.log(t.seconds / t.run.seconds)) for t in told)) if told else None


def memory_factor(known: Sequence[Run]) -> float | None:
    """How many times what is foretold earlier jobs held at their largest (median); None where it was not measured."""
    shares = [run.held / run.foretold for run in known if run.held]
    return statistics.median(shares) if shares else None


def on(profile: Profile, device: Device, known: Sequence[Run]) -> list[dict[str, Any]]:
    """A line a stage: what a profile costs on a device.

    Args:
        profile: see `tradeoffs.profiles.load_profile`.
        device: the machine's ceilings.
        known: earlier jobs, see `runs`.

    Raises:
        ValueError: nothing here tells the model's sizes.
    """
    of = shape(profile.model)
    if of is None:
        raise ValueError(
            f"model: got {profile.model!r}, whose config.json is not here; fetch it first: tradeoffs fetch"
        )
    lines: dict[str, dict[str, Any]] = {}
    for job in jobs(profile):
        needed = cost(job.stage, job.parameters, of)
        method = str(job.parameters.get("method") or ("best of n" if job.parameters.get("best_of", 1) > 1 else ""))
        took = seconds(job.stage, method, needed.limit(device), needed.launches, known)
        line = lines.setdefault(
            job.stage,
            {"stage": job.stage, "jobs": 0, "flops": 0.0, "moved": 0.0, "memory": 0.0, "limit": 0.0, "seconds": 0.0},
        )
        line["jobs"] += 1
        line["flops"] += needed.flops
        line["moved"] += needed.moved
        line["memory"] = max(line["memory"], needed.memory)
        line["limit"] += needed.limit(device)
        line["seconds"] += math.nan if took is None else took
    return list(lines.values())


def text(lines: Sequence[Mapping[str, Any]], device: Device, known: Sequence[Run]) -> str:
    """The costs as text: a line a stage, whether memory suffices, and what the model was worth on earlier jobs."""
    rows = [f"{'stage':12}{'jobs':>6}{'PFLOP':>10}{'TB moved':>10}{'GiB held':>10}{'h at limit':>12}{'h likely':>10}"]
    for line in lines:
        hours = "unknown" if math.isnan(line["seconds"]) else f"{line['seconds'] / 3600:.2f}"
        rows.append(
            f"{line['stage']:12}{line['jobs']:>6}{line['flops'] / 1e15:>10,.1f}{line['moved'] / 1e12:>10,.2f}"
            f"{line['memory'] / 2**30:>10.1f}{line['limit'] / 3600:>12.3f}{hours:>10}"
        )
    whole = sum(line["seconds"] for line in lines if not math.isnan(line["seconds"])) / 3600
    rows.append(f"together{whole:>62.1f}")
    most = max(line["memory"] for line in lines) / 2**30
    if most > device.memory_gib:
        rows.append(
            f"{most:.0f} GiB are more than the {device.memory_gib:.0f} GiB there: lower micro_batch or batch_size"
        )
    rows.append(
        "Likely: with the share of the machine's ceilings that like jobs reached in earlier runs without a GPU"
        f", and on a GPU {1000 * LAUNCH_S:g} ms to start a layer and {START_S:g} s to start a job."
    )
    told = foretold(known)
    for where, own in (
        (", foretold from the others,", [t for t in told if not t.run.launches]),
        (" on a GPU, to which two constants were fitted,", [t for t in told if t.run.launches]),
    ):
        if factor := typical_factor(own):
            rows.append(f"Each earlier run{where} was typically off by a factor of {factor:.2f}.")
    if held := memory_factor(known):
        rows.append(f"Where memory was measured, jobs held {held:.1f} times what is foretold (median).")
    return "\n".join(rows)
