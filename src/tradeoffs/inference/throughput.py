"""Time all policies at forced lengths, in one process, in randomised interleaved blocks.

The same architecture in the same precision runs the same kernels, so at forced lengths the expectation is *equivalence* of tokens per
second; that is tested, not assumed. All policies share one model object: weights are swapped in place, so that only values differ.
Within a block every policy is timed once at every shape, in random order; the block is the replicate.

A machine that is shared, or that clocks up and down, is now faster and now slower for seconds at a time, and a timing of seconds has that
in it. With `turn_tokens` policies take turns of a few tokens instead, in an order drawn anew each round, and such a change meets all of
them. On a CPU the model then uses each policy's weights where they lie, for copying would take longer than a token; they change places
after every block, so that a place that happens to be faster favours nobody.

Formulas: prefill tokens/s = batch * prompt_tokens / prefill_s; decode tokens/s = batch * (new_tokens - 1) / decode_s, the first token
coming out of prefill. Prompt tokens are never counted as output.

Before the policies the method is put to the test. *Self-check*: the baseline against itself, in many small studies that go through the
same blocks and the same statistics; what is found there is a false alarm. *Controls*: the baseline, slowed down by 5 % after each step,
and made to decode 10 % more tokens; both must be found, and under their own name.
"""

from __future__ import annotations

import json
import os
import random
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import psutil

from tradeoffs.inference.energy import Meter
from tradeoffs.inference.engine import synchronise
from tradeoffs.inference.roofline import measure_ceilings, traffic
from tradeoffs.models import load, merge, resolve_device
from tradeoffs.parameters import SpeculateParameters, ThroughputParameters
from tradeoffs.progress import bar
from tradeoffs.records import (
    Record,
    Timing,
    adapter_digest,
    append_jsonl,
    claim,
    provenance,
    read_record,
    read_rows,
    write_record,
    write_text,
)

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

DELAY, LONGER = 0.05, 0.10  # what the controls do
SELF_CHECK = (1, 32, 8)  # rows, prompt and new tokens: small, for there are many
UNMERGED = " (unmerged)"
LONG_S = 1.0  # repetitions from which on the share of CPU time is told finely enough


class Arm(NamedTuple):
    """What is timed under a name.

    Attributes:
        name: in the rows.
        weights: whose weights.
        merged: or the adapter's matrices beside the weights, as a server of many adapters has them.
        delay: share of its own time that each decoding step is followed by, asleep.
        longer: share by which more tokens are decoded.
    """

    name: str
    weights: str
    merged: bool = True
    delay: float = 0.0
    longer: float = 0.0


class Plan(NamedTuple):
    """One set of blocks: which arms, at which shapes (rows, prompt tokens, new tokens), how often."""

    kind: Literal["policies", "pilot", "self-check"]
    arms: Sequence[Arm]
    shapes: Sequence[tuple[int, int, int]]
    blocks: int


class Bench:
    """The model, every policy's weights, and what is needed to time them.

    Args:
        parameters: of the stage.
    """

    def __init__(self, parameters: ThroughputParameters) -> None:
        self.parameters = parameters
        self.model, self.weights = load_all(parameters)
        self.in_place = parameters.turn_tokens > 0 and self.model.device.type == "cpu"
        self.meter = Meter(self.model.device)
        self._adapted: dict[str, Any] = {}

    def ready(self, arm: Arm) -> PreTrainedModel:
        """The model with an arm's weights in it."""
        if not arm.merged:
            return self._unmerged(arm.weights)
        if self.in_place:
            point(self.model, self.weights[arm.weights])
        else:
            swap(self.model, self.weights[arm.weights])  # even if they are there: every arm comes after a copy
        return self.model

    def rotate(self) -> None:
        """Move every policy's weights into the memory of the policy before it."""
        homes = list({id(own): own for own in self.weights.values()}.values())  # policies without adapters share theirs
        places = {id(own): place for place, own in enumerate(homes)}
        first = {name: tensor.clone() for name, tensor in homes[0].items()}
        for into, out in zip(homes, [*homes[1:], first], strict=True):
            for name, tensor in into.items():
                tensor.copy_(out[name])
        self.weights = {policy: homes[places[id(own)] - 1] for policy, own in self.weights.items()}

    def _unmerged(self, policy: str) -> Any:
        from peft import PeftModel

        if policy not in self._adapted:
            p = self.parameters
            base = load(p.model, dtype=p.dtype, device=p.device).model
            self._adapted[policy] = PeftModel.from_pretrained(base, p.policies[policy]).to(base.dtype).eval()
        return self._adapted[policy]

    def prompts(self, rows: int, tokens: int) -> torch.Tensor:
        """Random prompts of shape (rows, tokens), the same for all arms."""
        import torch

        generator = torch.Generator().manual_seed(self.parameters.seed)
        # below 100 lie special tokens
        return torch.randint(100, self.model.config.vocab_size, (rows, tokens), generator=generator).to(
            self.model.device
        )

    def time(self, arms: Sequence[Arm], shape: tuple[int, int, int], rng: random.Random) -> list[dict[str, Any]]:
        """Time arms at one shape, in turns, and say what else went on meanwhile.

        Args:
            arms: whose turns come in an order drawn anew each round.
            shape: rows, prompt tokens, new tokens.
        """
        rows, prompt_tokens, new_tokens = shape
        prompts, static = self.prompts(rows, prompt_tokens), self.parameters.cache == "static"
        runs = []
        for arm in arms:
            tokens = new_tokens + (max(1, round(arm.longer * new_tokens)) if arm.longer else 0)
            runs.append(Generation(prompts, tokens, static=static, delay=arm.delay))
        joules: list[list[float | None]] = [[] for _ in arms]
        load_1min, before = os.getloadavg()[0], _cpu_seconds()
        while left := [place for place, run in enumerate(runs) if run.left]:
            for place in rng.sample(left, len(left)):
                model = self.ready(arms[place])
                with self.meter.window() as window:
                    runs[place].go(model, self.parameters.turn_tokens or runs[place].left)
                joules[place].append(window.joules)
        told = dict(
            load_1min=load_1min,
            foreign_cpu=round(_foreign_share(before, _cpu_seconds()), 4),
            clock_mhz=self.meter.clock_mhz(),
            temperature_c=self.meter.temperature_c(),
        )
        return [
            dict(
                policy=arm.name,
                batch_size=rows,
                prompt_tokens=prompt_tokens,
                new_tokens=run.new_tokens,
                prefill_s=run.prefill_s,
                decode_s=run.decode_s,
                energy_j=None if None in spent else sum(each or 0.0 for each in spent),
                **told,
            )
            for arm, run, spent in zip(arms, runs, joules, strict=True)
        ]


def throughput(
    parameters: ThroughputParameters, tell: Callable[[Sequence[Timing], ThroughputParameters], str] | None = None
) -> Record:
    """Run pilot, blocks and self-check, and write `timings.jsonl` and `record.json` into `parameters.out`.

    Args:
        parameters: of the stage.
        tell: makes a sentence of the pilot's rows, which is printed before the run: what it can see, and what not.

    A finished folder is returned as it is; an interrupted run goes on with the first block that is not complete. The stop rule is fixed
    beforehand: the number of blocks, or `minutes`, whichever ends first.

    Raises:
        ValueError: unknown model or adapter, or a folder that holds another run.
    """
    import torch

    resolve_device(parameters.device)
    inputs = {"adapters_sha256": {name: adapter_digest(path) for name, path in parameters.policies.items()}}
    folder = claim(Path(parameters.out), parameters.model_dump(exclude={"minutes"}) | inputs)
    if (folder / "record.json").exists():
        return read_record(folder)
    began = time.perf_counter()
    path = folder / "timings.jsonl"
    bench = Bench(parameters)
    ceilings = measure_ceilings(bench.model.dtype, bench.model.device)
    plans, too_large = plan(parameters, bench)
    for part in plans:
        run_plan(part, bench, path, began)
        if part.kind == "pilot" and tell is not None:
            print(tell(read_rows(path, Timing), parameters), flush=True)
    rows = read_rows(path, Timing)
    _check_enough(rows, parameters)
    blocks = len({row.block for row in rows if row.kind == "policies"})
    record = Record(
        stage="throughput",
        parameters=parameters.model_dump(),
        seeds=[parameters.seed],
        inputs=inputs,
        counts={
            "planned": parameters.blocks,
            "completed": blocks,
            "failed": 0,
            "flagged": len({row.block for row in rows if row.flagged and row.kind == "policies"}),
            "too_large": len(too_large),
        },
        summary={
            "dtype": str(bench.model.dtype).removeprefix("torch."),
            "device": str(bench.model.device),
            "threads": torch.get_num_threads(),
            "ceilings": ceilings._asdict(),
            "too_large": too_large,
            "peak_memory_mib": peak_memory_mib(bench.model.device),
            "energy_reason": bench.meter.reason,
            **traffic(bench.model)._asdict(),
        },
        seconds=round(time.perf_counter() - began, 1),
        provenance=provenance(),
    )
    write_record(folder, record)
    return record


def _check_enough(rows: Sequence[Timing], parameters: ThroughputParameters) -> None:
    if len({row.block for row in rows if row.kind == "policies"}) < 2:
        raise ValueError(
            f"minutes: got {parameters.minutes:g}; fewer than two blocks of the policies were timed by then; accepts more, with the same "
            "folder, where the run goes on; or fewer pilot_blocks"
        )


def plan(parameters: ThroughputParameters, bench: Bench) -> tuple[list[Plan], list[int]]:
    """Say what is to be timed, each shape warmed up; batch sizes that do not fit into memory are left out and named.

    What did not fit once is not tried again by a run that goes on: its blocks would differ from those that are there.
    """
    from accelerate.utils.memory import should_reduce_batch_size

    names = list(parameters.policies)
    base = parameters.baseline or names[0]
    own = [Arm(name, name) for name in names]
    own += [Arm(name + UNMERGED, name, merged=False) for name in parameters.unmerged]
    if parameters.self_check:
        own += [Arm("control: slower", base, delay=DELAY), Arm("control: longer", base, longer=LONGER)]
    copies = [Arm(f"{n}{side}", base) for n in range(parameters.self_check) for side in "ab"]
    kept = Path(parameters.out) / "too_large.json"
    shapes, too_large = [], json.loads(kept.read_text()) if kept.exists() else []
    for rows in parameters.batch_sizes:
        if rows in too_large:
            continue
        shape = (rows, parameters.prompt_tokens, parameters.new_tokens)
        try:
            for arm in own if len(own) > len(names) else own[:1]:
                bench.time([arm], shape, random.Random())  # a new shape takes longer once
        except RuntimeError as error:
            if not should_reduce_batch_size(error):
                raise
            too_large.append(rows)
            write_text(kept, json.dumps(too_large))
            print(f"batch_sizes: {rows} rows do not fit into memory; left out", flush=True)
            continue
        shapes.append(shape)
    if not shapes:
        raise MemoryError(f"batch_sizes: got {parameters.batch_sizes}; none fits into memory; accepts smaller ones")
    plans = [Plan("pilot", [Arm("a", base), Arm("b", base)], shapes, parameters.pilot_blocks)]
    plans.append(Plan("policies", own, shapes, parameters.blocks))
    if copies:  # last: where minutes are few they are the policies'
        bench.time(copies[:1], SELF_CHECK, random.Random())
        plans.append(Plan("self-check", copies, [SELF_CHECK], parameters.blocks))
    return plans, too_large


def run_plan(part: Plan, bench: Bench, path: Path, began: float) -> None:
    """Run the blocks of a plan that are missing, until they or the minutes are done."""
    p = bench.parameters
    first = _complete_blocks(path, part)
    what = {"policies": "throughput"}.get(part.kind, part.kind)
    with bar(total=part.blocks, initial=first, what=what, unit="block") as progress:
        for block in range(first, part.blocks):
            if p.minutes and time.perf_counter() - began > 60 * p.minutes:
                print(
                    f"{what}: stopped after {block} of {part.blocks} blocks, as minutes = {p.minutes:g} says",
                    flush=True,
                )
                return
            append_jsonl(path, run_block(part, bench, block))
            progress.update(1)


def _complete_blocks(path: Path, part: Plan) -> int:
    """How many blocks of a plan are complete; rows of one that a kill cut short are removed."""
    rows = read_rows(path, Timing)
    complete = 0
    size = len(part.arms) * len(part.shapes)
    while sum(row.block == complete and row.kind == part.kind for row in rows) == size:
        complete += 1
    kept = [row for row in rows if row.kind != part.kind or row.block < complete]
    if len(rows) != len(kept):
        write_text(path, "".join(row.model_dump_json() + "\n" for row in kept))
    return complete


def load_all(
    parameters: ThroughputParameters | SpeculateParameters,
) -> tuple[PreTrainedModel, dict[str, dict[str, torch.Tensor]]]:
    """One model object, and each policy's merged weights in the processor's memory: a GPU holds one policy at a time."""
    model = load(parameters.model, dtype=parameters.dtype, device=parameters.device).model
    base = {name: tensor.detach().to("cpu", copy=True) for name, tensor in model.state_dict().items()}
    weights = {}
    for policy, adapter in parameters.policies.items():
        if not adapter:
            weights[policy] = base
            continue
        merged = merge(load(parameters.model, dtype=parameters.dtype, device=parameters.device).model, adapter)
        weights[policy] = {name: tensor.cpu() for name, tensor in merged.state_dict().items()}
    return model, weights


def swap(model: PreTrainedModel, weights: Mapping[str, torch.Tensor]) -> None:
    """Put a policy's weights into the shared model, at the same addresses."""
    import torch

    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            tensor.copy_(weights[name])
    synchronise(model.device)  # before energy is read


def point(model: PreTrainedModel, weights: Mapping[str, torch.Tensor]) -> None:
    """Let the shared model use a policy's weights where they lie, which takes no time."""
    for name, parameter in model.named_parameters():
        parameter.data = weights[name]


class Generation:
    """Greedy decoding of exactly `new_tokens` tokens a row, at once or in turns, timed in two parts.

    Args:
        prompts: token ids of shape (batch, prompt_tokens), no padding.
        new_tokens: tokens a row, stop tokens ignored.
        static: keep keys and values in a cache of fixed size.
        delay: sleep after each step for this share of its time (a control).

    Attributes:
        left: tokens a row still to be decoded.
        prefill_s: seconds up to the first token.
        decode_s: seconds for the others, so far.
    """

    def __init__(self, prompts: torch.Tensor, new_tokens: int, *, static: bool = False, delay: float = 0.0) -> None:
        self.tokens, self.new_tokens, self.left = prompts, new_tokens, new_tokens
        self.static, self.delay = static, delay
        self.prefill_s = self.decode_s = 0.0
        self._cache: Any = None

    def go(self, model: PreTrainedModel, tokens: int) -> None:
        """Decode that many more tokens a row, or what is left, the first one out of prefill."""
        import torch

        with torch.inference_mode():
            synchronise(model.device)
            last = time.perf_counter()
            for _ in range(min(tokens, self.left)):
                prefill = self._cache is None
                self._step(model)
                if self.delay and not prefill:
                    synchronise(model.device)
                    time.sleep(self.delay * (time.perf_counter() - last))
                if prefill or self.delay:
                    last = self._note(model, last, prefill)
            self._note(model, last, False)

    def _step(self, model: PreTrainedModel) -> None:
        from transformers import DynamicCache, StaticCache

        if self._cache is None:
            rows, width = self.tokens.shape
            self._cache = (
                StaticCache(config=model.config, max_batch_size=rows, max_cache_len=width + self.new_tokens)
                if self.static
                else DynamicCache(config=model.config)
            )
        told = model(input_ids=self.tokens, past_key_values=self._cache, use_cache=True, logits_to_keep=1)
        self.tokens = told.logits[:, -1:].argmax(-1)
        self.left -= 1

    def _note(self, model: PreTrainedModel, since: float, prefill: bool) -> float:
        synchronise(model.device)
        now = time.perf_counter()
        if prefill:
            self.prefill_s += now - since
        else:
            self.decode_s += now - since
        return now


def timed_generation(model: PreTrainedModel, prompts: torch.Tensor, new_tokens: int) -> tuple[float, float]:
    """Decode exactly `new_tokens` tokens a row at once; see `Generation`.

    Returns:
        (prefill seconds up to the first token, seconds for the others).
    """
    run = Generation(prompts, new_tokens)
    run.go(model, new_tokens)
    return run.prefill_s, run.decode_s


def run_block(part: Plan, bench: Bench, block: int) -> list[Timing]:
    """Time every arm once at every shape, in an order that block and seed decide.

    The rule for flags is fixed beforehand: where other processes used more than `foreign_cpu_limit` of the machine's CPU time during
    the block, or during any repetition of more than a second, the whole block is flagged, for all arms together. Repetitions in turns
    share what was used meanwhile.
    """
    p = bench.parameters
    rng = random.Random(f"block/{p.seed}/{part.kind}/{block}")
    groups = [part.arms] if p.turn_tokens else [[arm] for arm in part.arms]
    order = [(group, shape) for group in groups for shape in part.shapes]
    before = _cpu_seconds()
    rows = [row for group, shape in rng.sample(order, len(order)) for row in bench.time(group, shape, rng)]
    # The kernel counts in hundredths of a second: over a short repetition its share says little, over the block it does.
    share = _foreign_share(before, _cpu_seconds())
    flagged = share > p.foreign_cpu_limit or any(
        row["foreign_cpu"] > p.foreign_cpu_limit and row["prefill_s"] + row["decode_s"] > LONG_S for row in rows
    )
    if bench.in_place:
        bench.rotate()
    return [
        Timing(**row, kind=part.kind, block=block, position=position, flagged=flagged)
        for position, row in enumerate(rows)
    ]


def peak_memory_mib(device: torch.device) -> float:
    """The most memory held so far, MiB: of the GPU's allocator, else of the process."""
    import torch

    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def _cpu_seconds() -> tuple[float, float, float]:
    """(this process's CPU seconds; the busy, and all, CPU seconds of the processors that it may use: of a large machine's others it says
    nothing).
    """
    own = psutil.Process().cpu_times()
    every, mine = psutil.cpu_times(percpu=True), os.sched_getaffinity(0)
    times = [every[n] for n in mine if n < len(every)] or every
    idle = sum(each.idle + getattr(each, "iowait", 0.0) for each in times)
    whole = sum(sum(each) for each in times)
    return own.user + own.system, whole - idle, whole


def _foreign_share(before: tuple[float, float, float], after: tuple[float, float, float]) -> float:
    own, busy, total = (b - a for a, b in zip(before, after, strict=True))
    return max(0.0, busy - own) / total if total > 0 else 0.0
