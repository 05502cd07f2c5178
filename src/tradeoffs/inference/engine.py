"""The in-process engine: transformers' `generate` over batches of similar length.

Which tokens are sampled for a row depends on the seed and the row's key alone, not on the batch, the process or the order in which it is
decoded: noise drawn for each row by itself is added to the logits, and the largest wins (the Gumbel-max trick; Maddison et al. 2014, arXiv
1411.0030), which is a draw from the softmax.

Prompts are sorted by length before they are cut into batches, so that little is padded, and where a batch's prompts still differ, its rows
are read in groups of similar length. Rows are counted to their first stop, inclusive; what the batch decodes for a row after that is
padding (`slots` counts it), never output.
"""

from __future__ import annotations

import functools
import gc
import hashlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

from tradeoffs.models import Policy
from tradeoffs.records import Row, read_rows, write_text

if TYPE_CHECKING:
    import torch
    from transformers import Cache, PreTrainedTokenizerBase, StopStringCriteria

RowT = TypeVar("RowT", bound=Row)

STOP_TEXTS = ("</code>", "# SOLUTION END")
SIMILAR = 7 / 8  # of the longest prompt that is read with it
AT_ONCE = 2048  # tokens that a processor reads together; of more, what lies between the layers leaves its caches
LIKELIEST = 256  # tokens among which a nucleus is looked for first


class Prompt(NamedTuple):
    """A tokenised prompt and the caller's key for it."""

    key: tuple[int, ...]
    ids: list[int]


class Completion(NamedTuple):
    """One decoded row; see `tradeoffs.records.Answer` for the meaning of the counts."""

    key: tuple[int, ...]
    text: str
    prompt_tokens: int
    tokens: int
    slots: int
    finish: Literal["stop", "length", "failed"]
    batch: int
    batch_seconds: float
    batch_size: int
    ids: tuple[int, ...] = ()  # the tokens counted, the stop token among them
    times: tuple[float, ...] = ()  # of each token counted, seconds since the batch began
    prefill_s: float | None = None  # until the batch's first tokens
    seconds: float = 0.0  # this row's share of the time
    error: str | None = None  # why `finish` is "failed"
    attempts: int = 1
    counted: bool = True  # by the engine; a server may leave counting to us


def batches(prompts: Sequence[Prompt], batch_size: int) -> list[list[Prompt]]:
    """Cut prompts, sorted by length and key, into batches, the longest first (so that memory fails early if it fails)."""
    order = sorted(prompts, key=lambda p: (-len(p.ids), p.key))
    return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]


def resume(
    path: Path, row_type: type[RowT], plan: Sequence[Sequence[Prompt]], key: Callable[[RowT], tuple[int, ...]]
) -> list[RowT]:
    """The rows of the batches that an earlier run finished; rows of one that a kill cut short are removed, to be made again.

    Args:
        path: file of rows that have a `batch` number.
        row_type: their model.
        plan: the run's batches, see `batches`.
        key: a row's key, as in its `Prompt`.
    """
    rows = read_rows(path, row_type)
    have: dict[int, set[tuple[int, ...]]] = {}
    for row in rows:
        have.setdefault(row.batch, set()).add(key(row))  # type: ignore[attr-defined]
    complete = {number for number, batch in enumerate(plan) if {prompt.key for prompt in batch} == have.get(number)}
    kept = [row for row in rows if row.batch in complete]  # type: ignore[attr-defined]
    if len(kept) != len(rows):
        write_text(path, "".join(row.model_dump_json() + "\n" for row in kept))
    return kept


def pad_left(rows: Sequence[list[int]], pad: int, device: str | torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Stack token lists of different length, padded on the left.

    Returns:
        input_ids and attention_mask, both of shape (rows, longest).
    """
    import torch

    width = max(len(row) for row in rows)
    ids = torch.tensor([[pad] * (width - len(row)) + row for row in rows], device=device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=device)
    return ids, mask


def decode_batch(
    policy: Policy,
    batch: Sequence[Prompt],
    *,
    max_new_tokens: int,
    temperature: float,
    top_p: float,
    number: int,
    seed: int,
    static: bool = False,
    compiled: bool = False,
    forced: bool = False,
    on_token: Callable[[int], None] | None = None,
) -> list[Completion]:
    """Decode one batch and time it.

    Args:
        policy: model and tokenizer.
        batch: prompts of one batch.
        max_new_tokens: cap on each row's output.
        temperature: 0 for greedy decoding.
        top_p: nucleus sampling's mass; unused when greedy.
        number: the batch's number, for the record.
        seed: with a prompt's key it fixes the tokens that are sampled for it.
        static, compiled: keep keys and values in a cache of fixed size, and compile the step, which then has one shape.
        forced: decode `max_new_tokens` for every row, whatever would stop it.
        on_token: called after each decoding step with the number of steps done; for progress within a long batch.

    Raises:
        ValueError: a prompt leaves no room for an answer in the model's context.
    """
    import torch

    model, tokenizer = policy
    room = getattr(model.config, "max_position_embeddings", None)
    longest = max(len(p.ids) for p in batch)
    if room is not None and longest + max_new_tokens > room:
        raise ValueError(
            f"max_new_tokens: a prompt of {longest} tokens and {max_new_tokens} new ones exceed the context of {room}"
        )
    eos, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
    ids, mask = pad_left([p.ids for p in batch], pad, model.device)
    noise = [_noise([p.key for p in batch], seed, temperature, top_p, model.device)] if temperature else []
    clock = StepClock(model.device, on_token)
    synchronise(model.device)
    start = clock.start()
    with torch.inference_mode():
        cache = prefill(policy, [p.ids for p in batch], max_new_tokens if static else None)
        output = model.generate(  # type: ignore[operator]
            ids,
            attention_mask=mask,
            past_key_values=cache,
            max_new_tokens=max_new_tokens,
            eos_token_id=sorted({eos, pad}),
            pad_token_id=pad,
            min_new_tokens=max_new_tokens if forced else None,
            stopping_criteria=[clock] if forced else [clock, stop_texts(tokenizer)],  # type: ignore[arg-type]
            do_sample=False,
            logits_processor=noise,
            cache_implementation="static" if static and cache is None else None,
            disable_compile=not compiled,
        )
    synchronise(model.device)
    seconds = time.perf_counter() - start
    rows = output[:, ids.shape[1] :].tolist()
    done = []
    for prompt, row in zip(batch, rows, strict=True):
        tokens = len(row)
        finish: Literal["stop", "length"] = "length"
        if not forced:
            tokens, finish = count(row, eos, pad, str(tokenizer.decode(row, skip_special_tokens=True)))
        done.append(
            Completion(
                key=prompt.key,
                text=str(tokenizer.decode(row[:tokens], skip_special_tokens=True)),
                prompt_tokens=len(prompt.ids),
                tokens=tokens,
                slots=len(row),
                finish=finish,
                batch=number,
                batch_seconds=seconds,
                batch_size=len(batch),
                ids=tuple(row[:tokens]),
                times=tuple(clock.steps[:tokens]),
                prefill_s=clock.steps[0],
                seconds=seconds / len(batch),
            )
        )
    return done


@functools.lru_cache(maxsize=4)
def stop_texts(tokenizer: PreTrainedTokenizerBase) -> StopStringCriteria:
    """What ends a row whose text holds one of `STOP_TEXTS`; made once, since it looks through the whole vocabulary.

    As `generate(stop_strings=...)` would make it for each batch, within the batch's time: 0.4 s for 49,000 tokens.
    """
    from transformers import StopStringCriteria

    return StopStringCriteria(tokenizer, list(STOP_TEXTS))


def similar_lengths(rows: Sequence[list[int]], most: float = math.inf) -> list[list[int]]:
    """Which rows are read together: numbers of rows, in groups of at most `most` tokens with their padding, one row at least, of which
    none is much shorter than its longest.
    """
    groups: list[list[int]] = []
    for n in sorted(range(len(rows)), key=lambda n: -len(rows[n])):
        longest = len(rows[groups[-1][0]]) if groups else 0
        if groups and len(rows[n]) >= SIMILAR * longest and (len(groups[-1]) + 1) * longest <= most:
            groups[-1].append(n)
        else:
            groups.append([n])
    return groups


def prefill(policy: Policy, rows: Sequence[list[int]], room: int | None = None) -> Cache | None:
    """Read prompts in groups of similar length, since padding costs as much as what it pads; on a CPU in groups of few tokens.

    Args:
        room: new tokens that a cache of fixed size has room for; None for one that grows.

    Returns:
        Keys and values of every row but its last token, padded on the left to the longest; None where one group holds all rows, or the
        model keeps something else than keys and values of every token (sliding windows, states): `generate` then reads them as ever.
    """
    from transformers import DynamicCache, StaticCache
    from transformers.cache_utils import DynamicLayer

    model, tokenizer = policy
    groups = similar_lengths(rows, AT_ONCE if model.device.type == "cpu" else math.inf)
    if len(groups) == 1 or any(type(layer) is not DynamicLayer for layer in DynamicCache(config=model.config).layers):
        return None
    width = max(len(row) for row in rows) - 1
    whole: list[tuple[torch.Tensor, torch.Tensor]] = []
    for group in groups:
        ids, mask = pad_left([rows[n][:-1] for n in group], tokenizer.pad_token_id, model.device)
        if not ids.shape[1]:  # nothing but a last token
            continue
        part = DynamicCache(config=model.config)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        model(ids, attention_mask=mask, position_ids=positions, past_key_values=part, use_cache=True, logits_to_keep=1)
        layers: list[Any] = part.layers
        pairs = [(layer.keys, layer.values) for layer in layers]
        whole = whole or [
            tuple(x.new_zeros(len(rows), x.shape[1], width, x.shape[3]) for x in pair)  # type: ignore[misc]
            for pair in pairs
        ]
        for into, of in zip(whole, pairs, strict=True):
            for x, y in zip(into, of, strict=True):
                x[group, :, width - ids.shape[1] :] = y
    cache = StaticCache(model.config, max_cache_len=width + 1 + room) if room else DynamicCache(config=model.config)
    for number, (keys, values) in enumerate(whole):
        cache.update(keys, values, number)
    return cache


def row_seed(seed: int, key: Sequence[int]) -> int:
    """The seed of one row's noise, a number below 2^63."""
    return int.from_bytes(hashlib.blake2b(repr((seed, *key)).encode(), digest_size=8).digest(), "big") >> 1


def _noise(
    keys: Sequence[tuple[int, ...]], seed: int, temperature: float, top_p: float, device: torch.device
) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """A logits processor after which the largest score is a sample at this temperature and nucleus."""
    import torch

    generators = [torch.Generator(device).manual_seed(row_seed(seed, key)) for key in keys]

    def perturb(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        scores = scores.float() / temperature
        scores = nucleus(scores, top_p) if top_p < 1 else scores
        noise = torch.empty_like(scores)
        for row, generator in zip(noise, generators, strict=True):
            row.exponential_(generator=generator)
        # A draw of 0, which float32 rounds to once in some ten million times, would be infinite noise.
        return scores - noise.clamp_(min=2.0**-24).log_()

    return perturb


def nucleus(scores: torch.Tensor, top_p: float) -> torch.Tensor:
    """Keep, of each row, the fewest tokens whose mass reaches `top_p`, the likeliest first; others score minus infinity.

    As transformers' `TopPLogitsWarper`, which sorts the whole vocabulary at every step; here it is asked only for rows whose nucleus does
    not lie within the likeliest `LIKELIEST` tokens. Of tokens that tie at the border others may be kept, equally many and equally likely.

    Args:
        scores: (rows, vocabulary), logits at the temperature wanted, float32.

    Source: Holtzman et al. 2020, arXiv 1904.09751, section 3.1.
    """
    import torch
    from transformers import TopPLogitsWarper

    top, which = scores.topk(min(LIKELIEST, scores.shape[-1]), dim=-1)
    chances = (top - scores.logsumexp(-1, keepdim=True)).exp()
    inside = chances.cumsum(-1) - chances < top_p  # the mass of likelier ones
    found = torch.full_like(scores, -float("inf")).scatter_(-1, which, top.masked_fill(~inside, -float("inf")))
    if (wide := inside[:, -1]).any():
        found[wide] = TopPLogitsWarper(top_p)(None, scores[wide])  # type: ignore[arg-type]
    return found


class StepClock:
    """Times each decoding step: a stopping criterion that never stops anything, which transformers calls once a step.

    Args:
        device: where the model is.
        on_token: called with the number of steps done.

    Attributes:
        steps: seconds since `start` at which each step's tokens were there. The clock waits for a GPU, as transformers does a moment later
            to see whether all rows have stopped.
    """

    def __init__(self, device: torch.device, on_token: Callable[[int], None] | None = None) -> None:
        self.device, self.on_token = device, on_token
        self.steps: list[float] = []
        self.began = 0.0

    def start(self) -> float:
        """Start the clock and say when."""
        self.began = time.perf_counter()
        return self.began

    def __call__(self, ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        """Note the time of a step."""
        import torch

        synchronise(self.device)
        self.steps.append(time.perf_counter() - self.began)
        if self.on_token is not None:
            self.on_token(len(self.steps))
        return torch.zeros(ids.shape[0], dtype=torch.bool, device=ids.device)


def count(row: Sequence[int], eos: int, pad: int, text: str) -> tuple[int, Literal["stop", "length"]]:
    """Count a row's tokens to its first stop, inclusive, and say how it ended.

    A row stopped by a stop text is padded right after it, so its first padding token is no output; without a stop text the model
    itself emitted that token as an end.
    """
    ends = [i for i, token in enumerate(row) if token in (eos, pad)]
    stopped_by_text = any(stop in text for stop in STOP_TEXTS)
    if not ends:
        return len(row), "stop" if stopped_by_text else "length"
    first = ends[0]
    if stopped_by_text and row[first] == pad:
        return first, "stop"
    return first + 1, "stop"


def decode(
    policy: Policy,
    prompts: Sequence[Prompt],
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
    top_p: float = 1.0,
    batch_size: int = 16,
    seed: int = 0,
    static: bool = False,
    compiled: bool = False,
    forced: bool = False,
    skip: frozenset[int] = frozenset(),
    on_token: Callable[[int], None] | None = None,
    in_parts: bool = False,
) -> Iterator[list[Completion]]:
    """Decode all prompts, a batch at a time, leaving out the batches whose numbers are in `skip` (done by an earlier run).

    Args:
        in_parts: decode a batch that does not fit into memory in parts that do; for who wants its rows and not its times.

    Raises:
        MemoryError: a batch does not fit, or with `in_parts` not even one row; the message says what to make smaller.
    """
    import torch
    from accelerate.utils.memory import should_reduce_batch_size

    together = batch_size
    run = functools.partial(
        decode_batch,
        policy,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_p=top_p,
        seed=seed,
        static=static,
        compiled=compiled,
        forced=forced,
        on_token=on_token,
    )
    for number, batch in enumerate(batches(prompts, batch_size)):
        if number in skip:
            continue
        rows: list[Completion] = []
        while len(rows) < len(batch):
            part = batch[len(rows) : len(rows) + together]
            try:
                rows += run(part, number=number)
                continue
            except RuntimeError as error:
                if not should_reduce_batch_size(error):
                    raise
                # Handled after this block: until then the traceback holds the batch's tensors.
                reason = str(error).strip().splitlines()[0]
            what = f"prompts of up to {len(part[0].ids)} tokens and {max_new_tokens} new ones do not fit into memory ({reason}); accepts"
            if len(part) == 1:
                raise MemoryError(f"max_new_tokens: {what} less, or shorter prompts")
            if not in_parts:
                raise MemoryError(f"batch_size: {len(part)} {what} less, such as {len(part) // 2}")
            together = len(part) // 2
            gc.collect()
            torch.cuda.empty_cache()  # does nothing where no GPU is used
        yield rows


def synchronise(device: torch.device | str) -> None:
    """Wait until the device has done what was asked of it; without this a GPU's clock is read too early."""
    import torch

    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
