"""Any OpenAI-compatible server as an engine: vLLM, llama.cpp, SGLang, TGI, `transformers serve`.

Prompts are sent as token ids, so that a server answers the very prompt that the in-process engine would (as text where a server takes no
ids); answers are streamed, and each
piece's arrival is noted. Requests are kept going at a fixed concurrency (closed loop), or are sent at Poisson arrivals whatever the server
does (open loop), where latency counts from the scheduled time: a server that stalls delays what comes after it, and that must show.

A request that fails is tried again a few times, with growing pauses; then it is recorded as failed and counted, and the run goes on. A
server that cannot be reached or does not know the model is refused within seconds, before anything is asked.

Source: OpenAI API reference (completions, streaming); vLLM `bench serve` for TTFT, ITL and the counting of tokens by the server's usage.
"""

from __future__ import annotations

import asyncio
import json
import os
import queue
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from tradeoffs.inference.engine import STOP_TEXTS, Completion, Prompt
from tradeoffs.tasks.prompts import answer_ids

if TYPE_CHECKING:
    import aiohttp
    from transformers import PreTrainedTokenizerBase

CONNECT_S, PROBE_S = 4.0, 9.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 20.0
AGAIN = {408, 409, 425, 429, 500, 502, 503, 504}
KEY = "OPENAI_API_KEY"


class Server(NamedTuple):
    """Where to ask, for what, and how.

    Attributes:
        urls: such as http://127.0.0.1:8000; `/v1` may be left out. Of several, each gets its share of the requests in turn.
        model: name under which the server knows the policy.
        concurrency: requests under way at once, at most, over all servers; of no use in an open loop.
        arrivals_per_s: rate of Poisson arrivals; 0 for a closed loop.
        timeout_s: for one request, from sending to its end.
        retries: further attempts after a failure.
        as_text: send prompts as text, special tokens written out, to servers that take no token ids.
    """

    urls: Sequence[str]
    model: str
    concurrency: int = 16
    arrivals_per_s: float = 0.0
    timeout_s: float = 600.0
    retries: int = 3
    as_text: bool = False

    def address(self, path: str, number: int = 0) -> str:
        """The full address of an endpoint for a request's number."""
        return self.urls[number % len(self.urls)].rstrip("/").removesuffix("/v1") + "/v1/" + path


class RefusedError(ValueError):
    """A request that the server will not answer however often it is asked."""


class _Broken(Exception):
    """An attempt that failed and may be made again, after `pause` seconds if the server said so."""

    def __init__(self, reason: str, pause: float | None = None) -> None:
        super().__init__(reason)
        self.pause = pause


class _Share:
    """Shares wall time out among the requests under way: at every moment each takes one over their number.

    The shares of all requests add up to the time in which any was under way.
    """

    def __init__(self) -> None:
        self.level, self.under_way, self.last = 0.0, 0, time.perf_counter()

    def _advance(self) -> float:
        now = time.perf_counter()
        if self.under_way:
            self.level += (now - self.last) / self.under_way
        self.last = now
        return self.level

    def enter(self) -> float:
        """A request begins; gives the mark to hand to `leave`."""
        mark = self._advance()
        self.under_way += 1
        return mark

    def leave(self, mark: float) -> float:
        """A request ends; gives its seconds."""
        level = self._advance()
        self.under_way -= 1
        return level - mark


class Reply(NamedTuple):
    """What one attempt brought.

    Attributes:
        text: as the server sent it, without the stop text.
        tokens: by the server's count, else by the tokenizer's.
        finish: `stop` or `length`.
        arrivals: clock times of the pieces.
        counted: whether the server counted.
    """

    text: str
    tokens: int
    finish: Literal["stop", "length"]
    arrivals: list[float]
    counted: bool


def check(server: Server) -> None:
    """Make sure that every server answers and knows the model.

    A server that has no list of models, or lists others and may take folders all the same (as `transformers serve` does), is asked for one
    token.

    Raises:
        ValueError: one does not; within 10 seconds, with what is there instead.
    """
    for url in server.urls:
        _in_thread(lambda url=url: asyncio.run(_check(url, server.model)), url)  # type: ignore[misc]


async def _check(url: str, model: str) -> None:
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=PROBE_S - 0.5, connect=CONNECT_S)
    where = Server([url], model)
    async with aiohttp.ClientSession(timeout=timeout, headers=_headers()) as session:
        async with session.get(where.address("models")) as got:
            if got.status in (401, 403):
                raise ValueError(f"servers: {url} wants a key ({got.status}); put it into {KEY}")
            if got.status not in (200, 404):
                raise ValueError(
                    f"servers: {where.address('models')} answers {got.status}; accepts an OpenAI-compatible server"
                )
            known = _models(await got.text(errors="replace"), where) if got.status == 200 else []
        if model in known:
            return
        if known and not Path(model).is_dir():
            raise ValueError(f"served_model: got {model!r}; {url} accepts {', '.join(known)}")
        one = {"model": model, "prompt": "a", "max_tokens": 1, "temperature": 0.0}
        async with session.post(where.address("completions"), json=one) as got:
            if 400 <= got.status < 500 and got.status not in AGAIN:
                reason = (await got.text(errors="replace"))[:200]
                raise ValueError(
                    f"servers: {url} refuses {model!r} ({got.status}: {reason}); correct served_model or the address"
                )


def _models(text: str, where: Server) -> list[str]:
    try:
        return [str(row["id"]) for row in json.loads(text)["data"]]
    except (ValueError, KeyError, TypeError):
        raise ValueError(
            f"servers: {where.address('models')} is no list of models; accepts an OpenAI-compatible server"
        ) from None


def _headers() -> dict[str, str]:
    key = os.environ.get(KEY)
    return {"Authorization": f"Bearer {key}"} if key else {}


def _in_thread(work: Callable[[], Any], url: str) -> Any:
    """Run something asynchronous apart from the event loop that a notebook already has."""
    import aiohttp

    found: list[Any] = []

    def run() -> None:
        try:
            found.append(work())
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(PROBE_S)  # a name that nobody resolves waits in a thread that nothing cancels
    if not found or isinstance(found[0], (OSError, asyncio.TimeoutError, aiohttp.ClientError)):
        reason = (str(found[0]) if found else "") or "no answer"
        raise ValueError(f"servers: {url} cannot be reached ({reason}); start it, or correct the address") from None
    if isinstance(found[0], BaseException):
        raise found[0]
    return found[0]


def decode(
    server: Server,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
    ignore_eos: bool = False,
    skip: frozenset[int] = frozenset(),
) -> Iterator[list[Completion]]:
    """Ask for all prompts, the longest first, and give each answer as it comes, a list of one.

    Args:
        server: where and how.
        tokenizer: of the policy; counts where the server does not, and writes prompts as text.
        prompts: numbered in this order.
        max_new_tokens, temperature, top_p, seed: sent along; the seed of a prompt depends on its number.
        ignore_eos: forced lengths; an extension that vLLM and others know.
        skip: numbers that an earlier run finished.

    Yields:
        Completions whose `batch` is the prompt's number, `batch_seconds` the time from sending to the end, and `seconds` its share of the
        wall time. Where `finish` is `failed`, `error` says why.
    """
    order = [pair for pair in enumerate(sorted(prompts, key=lambda p: (-len(p.ids), p.key))) if pair[0] not in skip]
    body = {"model": server.model, "max_tokens": max_new_tokens, "temperature": temperature, "top_p": top_p}
    body |= {"stream": True, "stream_options": {"include_usage": True}}
    body |= {"ignore_eos": True} if ignore_eos else {"stop": list(STOP_TEXTS)}
    done: queue.Queue[Completion | BaseException | None] = queue.Queue()
    stop = threading.Event()

    def run() -> None:
        try:
            asyncio.run(_all(server, tokenizer, order, body, seed, done, stop))
        except BaseException as error:
            done.put(error)
        done.put(None)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        while (item := done.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield [item]
    finally:
        stop.set()
        thread.join(timeout=5)


async def _all(
    server: Server,
    tokenizer: PreTrainedTokenizerBase,
    order: Sequence[tuple[int, Prompt]],
    body: dict[str, Any],
    seed: int,
    done: queue.Queue[Any],
    stop: threading.Event,
) -> None:
    import aiohttp

    # an open loop sends whatever is under way
    most = len(order) + 1 if server.arrivals_per_s else server.concurrency
    gate, share = asyncio.Semaphore(most), _Share()
    timeout = aiohttp.ClientTimeout(total=server.timeout_s, sock_connect=CONNECT_S)
    limit = aiohttp.TCPConnector(limit=most)
    async with aiohttp.ClientSession(timeout=timeout, connector=limit, headers=_headers()) as session:

        async def one(number: int, prompt: Prompt, scheduled: float | None) -> None:
            async with gate:
                sent_prompt = str(tokenizer.decode(prompt.ids)) if server.as_text else prompt.ids
                asked = body | {"prompt": sent_prompt, "seed": seed + number}
                mark = share.enter()
                sent = time.perf_counter()
                try:
                    reply, attempts, error = await _insist(session, server, number, tokenizer, asked)
                finally:
                    seconds = share.leave(mark)
                done.put(_completion(number, prompt, reply, error, attempts, scheduled or sent, sent, seconds))

        tasks: list[asyncio.Task[None]] = []
        watch = asyncio.create_task(_until(stop, tasks))
        arrivals = random.Random(f"arrivals/{seed}")
        scheduled = time.perf_counter()
        for number, prompt in order:
            if server.arrivals_per_s:
                scheduled += arrivals.expovariate(server.arrivals_per_s)
                await asyncio.sleep(max(0.0, scheduled - time.perf_counter()))
            if stop.is_set():
                break
            tasks.append(asyncio.create_task(one(number, prompt, scheduled if server.arrivals_per_s else None)))
        try:
            await asyncio.gather(*tasks)
        except asyncio.CancelledError:
            pass
        finally:
            watch.cancel()


async def _until(stop: threading.Event, tasks: Sequence[asyncio.Task[None]]) -> None:
    """Give up what is under way when nobody waits for it any more."""
    while not stop.is_set():
        await asyncio.sleep(0.2)
    for task in tasks:
        task.cancel()


async def _insist(
    session: aiohttp.ClientSession,
    server: Server,
    number: int,
    tokenizer: PreTrainedTokenizerBase,
    body: dict[str, Any],
) -> tuple[Reply | None, int, str | None]:
    """Ask until there is an answer or the attempts are used up; gives (answer, attempts, reason of the last failure)."""
    import aiohttp

    pause, reason = FIRST_PAUSE_S, ""
    for attempt in range(1, server.retries + 2):
        wait: float | None = None
        try:
            # another attempt goes to the next server
            return (
                await _once(session, server.address("completions", number + attempt - 1), tokenizer, body),
                attempt,
                None,
            )
        except RefusedError as error:
            return None, attempt, str(error)
        except _Broken as error:
            reason, wait = str(error), error.pause
        except aiohttp.ConnectionTimeoutError:
            reason = f"no connection within {CONNECT_S:g} s"
        except TimeoutError:
            reason = f"no end within {server.timeout_s:g} s"
        except (aiohttp.ClientError, OSError) as error:
            reason = f"connection lost ({error or type(error).__name__})"
        except (ValueError, aiohttp.http_exceptions.HttpProcessingError) as error:
            reason = f"garbage in the answer: {str(error)[:200]}"
        if attempt <= server.retries:
            await asyncio.sleep(min(LONGEST_PAUSE_S, pause if wait is None else wait))
            pause *= 2
    return None, server.retries + 1, reason


async def _once(
    session: aiohttp.ClientSession, where: str, tokenizer: PreTrainedTokenizerBase, body: dict[str, Any]
) -> Reply:
    pieces: list[str] = []
    arrivals: list[float] = []
    finish: str | None = None
    usage: int | None = None
    ended = False
    async with session.post(where, json=body) as got:
        if got.status != 200:
            reason = f"{got.status}: {(await got.text(errors='replace'))[:300]}"
            if got.status in AGAIN:
                raise _Broken(reason, _pause(got.headers.get("Retry-After")))
            raise RefusedError(reason)
        async for line in got.content:
            if not line.startswith(b"data:"):
                continue
            data = line[5:].strip()
            if data == b"[DONE]":
                ended = True
                break
            now = time.perf_counter()
            try:
                event = json.loads(data)
                if "error" in event:
                    raise _Broken(f"error in the stream: {json.dumps(event['error'])[:300]}")
                for choice in event.get("choices") or []:
                    text = choice.get("text") or ""
                    finish = choice.get("finish_reason") or finish
                    # A server that looks for stop texts holds a text's end back, and sends tokens without it meanwhile. At the end there
                    # may be nothing; but an answer may be a stop token and nothing else.
                    if text or not choice.get("finish_reason") or not arrivals:
                        pieces.append(text)
                        arrivals.append(now)
                if event.get("usage"):
                    usage = int(event["usage"]["completion_tokens"])
            except (ValueError, KeyError, TypeError, AttributeError):
                raise _Broken(f"garbage in the stream: {data[:120]!r}") from None
    if finish is None:
        raise _Broken("the stream broke off" if not ended else "the stream ended without a reason")
    text = "".join(pieces)
    tokens = usage if usage is not None else len(answer_ids(tokenizer, text))
    return Reply(text, tokens, "length" if finish == "length" else "stop", arrivals, usage is not None)


def _pause(told: str | None) -> float | None:
    try:
        return float(told) if told else None
    except ValueError:
        return None  # a date: our own pause will do


def _completion(
    number: int,
    prompt: Prompt,
    reply: Reply | None,
    error: str | None,
    attempts: int,
    scheduled: float,
    sent: float,
    seconds: float,
) -> Completion:
    whole = time.perf_counter() - sent
    blank = Completion(prompt.key, "", len(prompt.ids), 0, 0, "failed", number, whole, 1)
    blank = blank._replace(seconds=seconds, error=error, attempts=attempts)
    if reply is None:
        return blank
    return blank._replace(
        text=reply.text,
        tokens=reply.tokens,
        slots=0,  # a server does not tell
        finish=reply.finish,
        times=tuple(moment - scheduled for moment in reply.arrivals),
        counted=reply.counted,
    )
