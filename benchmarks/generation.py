"""How fast are 64 DS-1000 problems answered with 64 tokens each, by whom, and how far is that from the machine's limit?

Four ways, interleaved in one run, in random order within each round:
  published   batches of 8 in file order, left-padded, transformers' `generate`: as the benchmark's published runner does
  engine      this project's in-process engine
  vllm        vLLM's own offline engine                        } where the environment of --vllm holds it
  server      this project's client against a vLLM server      }

vLLM's two take turns loading the model, and only one is up at a time, since an idle one may keep a core busy. What is timed is the
answering alone.

    python benchmarks/generation.py --problems ds1000.jsonl.gz
    python benchmarks/generation.py --problems ds1000.jsonl.gz --vllm /path/to/an/environment/with/vllm
"""

from __future__ import annotations

import argparse
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from tradeoffs.inference import engine, server
from tradeoffs.inference.engine import Prompt, pad_left
from tradeoffs.inference.roofline import Ceilings, Traffic, context_tokens, limit_seconds, measure_ceilings, traffic
from tradeoffs.models import Policy, load, weights
from tradeoffs.records import provenance, write_text
from tradeoffs.tasks import code_messages, load_problems, stratified

PROBLEMS, NEW_TOKENS, PUBLISHED_BATCH = 64, 64, 8
OFFLINE = """
import json, sys, time
from vllm import LLM, SamplingParams

def main():
    asked = json.load(open(sys.argv[1]))
    llm = LLM(asked["model"], dtype=asked["dtype"], max_model_len=asked["context"], enable_prefix_caching=False, seed=0)
    told = SamplingParams(temperature=0.0, max_tokens=asked["new_tokens"], ignore_eos=True)
    prompts = [{"prompt_token_ids": ids} for ids in asked["prompts"]]
    llm.generate(prompts[:4], told, use_tqdm=False)
    found = []
    for _ in range(asked["repeats"]):
        start = time.perf_counter()
        llm.generate(prompts, told, use_tqdm=False)
        found.append(time.perf_counter() - start)
    print("TIMES " + json.dumps({"seconds": found}), flush=True)

if __name__ == "__main__":  # vLLM starts further processes, which read this file
    main()
"""


def workload(problems: str, policy: Policy, number: int) -> list[Prompt]:
    """Prompts of a fixed stratified choice, in file order."""
    prompts = []
    for problem in stratified(load_problems(problems), number):
        ids = policy.tokenizer.apply_chat_template(
            code_messages(problem["prompt"], None), add_generation_prompt=True, return_dict=False
        )
        prompts.append(Prompt((problem["metadata"]["problem_id"], 0), list(ids)))
    return prompts


def published(policy: Policy, prompts: Sequence[Prompt]) -> list[list[int]]:
    """As the published runner does."""
    import torch

    found = []
    for first in range(0, len(prompts), PUBLISHED_BATCH):
        ids, mask = pad_left(
            [p.ids for p in prompts[first : first + PUBLISHED_BATCH]],
            policy.tokenizer.pad_token_id,
            policy.model.device,
        )
        with torch.inference_mode():
            output = policy.model.generate(  # type: ignore[operator]
                ids,
                attention_mask=mask,
                max_new_tokens=NEW_TOKENS,
                min_new_tokens=NEW_TOKENS,
                do_sample=False,
                pad_token_id=policy.tokenizer.pad_token_id,
            )
        found += output[:, ids.shape[1] :].tolist()
    return found


def ours(policy: Policy, prompts: Sequence[Prompt], batch_size: int) -> list[list[int]]:
    """The in-process engine, its keys and values in a cache of fixed size."""
    rows = engine.decode(policy, prompts, max_new_tokens=NEW_TOKENS, batch_size=batch_size, forced=True, static=True)
    found = {row.key: list(row.ids) for batch in rows for row in batch}
    return [found[p.key] for p in prompts]


def limit(lengths: Sequence[int], of: Traffic, head: int, at: Ceilings, rows: int) -> float:
    """Tokens/s at the machine's two ceilings, with `rows` rows decoded together: prompts by arithmetic, steps by the study's roofline.

    Args:
        lengths: of the prompts, tokens.
        head: parameters of the LM head, which nobody needs for a prompt's tokens but its last.

    Source: see `tradeoffs.inference.roofline`; a step reads or multiplies the weights, and keys and values come on top.
    """
    seconds = 2 * ((of.parameters - head) * sum(lengths) + head * len(lengths)) / at.flops_per_s
    steps = (NEW_TOKENS - 1) * len(lengths) / rows
    context = sum(context_tokens(length, NEW_TOKENS) for length in lengths)
    seconds += limit_seconds(of, at, steps, rows, context)
    return len(lengths) * NEW_TOKENS / seconds


def vllm_environment(environment: Path, threads: int) -> dict[str, str]:
    """What vLLM's CPU build is told: our cores, and no hub."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return kept | {
        "PATH": f"{environment / 'bin'}:{kept['PATH']}",
        "VLLM_CPU_KVCACHE_SPACE": "4",
        "OMP_NUM_THREADS": str(threads),
        "HF_HUB_OFFLINE": "1",
        "VLLM_LOGGING_LEVEL": "WARNING",
        "VLLM_NO_USAGE_STATS": "1",
    }


def offline(environment: Path, prompts: Sequence[Prompt], dtype: str, repeats: int, threads: int) -> dict[str, Any]:
    """vLLM's own engine, in a process of its own: {seconds of each repeat}."""
    with tempfile.TemporaryDirectory() as name:
        asked = {"model": weights("embedded").source, "dtype": dtype, "context": 2048, "new_tokens": NEW_TOKENS}
        asked |= {"prompts": [p.ids for p in prompts], "repeats": repeats}
        (Path(name) / "asked.json").write_text(json.dumps(asked))
        (Path(name) / "run.py").write_text(OFFLINE)
        done = subprocess.run(
            [environment / "bin" / "python", "run.py", "asked.json"],
            cwd=name,
            env=vllm_environment(environment, threads),
            capture_output=True,
            text=True,
            timeout=900,
        )
    told = [line for line in done.stdout.splitlines() if line.startswith("TIMES ")]
    if not told:
        raise RuntimeError(f"vLLM ended with {done.returncode}: {done.stderr[-2000:]}")
    return dict(json.loads(told[-1].removeprefix("TIMES ")))


@contextmanager
def vllm_server(environment: Path, dtype: str, threads: int) -> Iterator[str]:
    """A vLLM server with the embedded model under the name `policy`."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    # the module, not the command `vllm`, which the CPU build's package lacks the metadata for
    command = [str(environment / "bin" / "python"), "-m", "vllm.entrypoints.openai.api_server"]
    command += ["--model", weights("embedded").source, "--served-model-name", "policy"]
    command += ["--dtype", dtype, "--max-model-len", "2048", "--port", str(port), "--host", "127.0.0.1"]
    command += ["--no-enable-prefix-caching", "--disable-log-stats"]
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, env=vllm_environment(environment, threads), stdout=log, stderr=log)
        try:
            for _ in range(600):
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).read()
                    break
                except OSError:
                    if process.poll() is not None:
                        log.seek(0)
                        raise RuntimeError(f"vLLM ended with {process.returncode}: {log.read()[-2000:]}") from None
                    time.sleep(0.5)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(timeout=60)


def asked_of_server(url: str, policy: Policy, prompts: Sequence[Prompt], repeats: int) -> dict[str, Any]:
    """This project's client: {seconds of each repeat}."""
    where = server.Server([url], "policy", concurrency=len(prompts))
    server.check(where)

    def once(some: Sequence[Prompt]) -> int:
        rows = [
            row
            for batch in server.decode(where, policy.tokenizer, some, max_new_tokens=NEW_TOKENS, ignore_eos=True)
            for row in batch
        ]
        failed = [row.error for row in rows if row.finish == "failed"]
        if failed:
            raise RuntimeError(f"{len(failed)} requests failed: {failed[0]}")
        return sum(row.tokens for row in rows)

    once(prompts[:4])
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        tokens = once(prompts)
        seconds.append(time.perf_counter() - start)
        if tokens != len(prompts) * NEW_TOKENS:
            raise RuntimeError(f"the server counted {tokens} tokens for {len(prompts)} x {NEW_TOKENS}")
    return {"seconds": seconds}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print ratios, write `generation.csv` and `generation.json`."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--problems", default="bundled", help="DS-1000's file, or 'bundled'")
    parser.add_argument("--vllm", type=Path, help="folder of a virtual environment with vLLM")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=16, help="of the in-process engine")
    parser.add_argument("--limit", type=int, default=PROBLEMS, help="problems")
    parser.add_argument("--results", type=Path, default=Path("results/benchmarks"))
    a = parser.parse_args(argv)
    import torch

    policy = load("embedded")
    dtype, threads = str(policy.model.dtype).removeprefix("torch."), torch.get_num_threads()
    prompts = workload(a.problems, policy, a.limit)
    at, of = measure_ceilings(policy.model.dtype, policy.model.device), traffic(policy.model)
    head, lengths = policy.model.get_output_embeddings().weight.numel(), [len(p.ids) for p in prompts]
    tokens = len(prompts) * NEW_TOKENS

    def timed(answer: Callable[[], Any]) -> dict[str, Any]:
        start = time.perf_counter()
        answer()
        return {"seconds": [time.perf_counter() - start]}

    def through_server() -> dict[str, Any]:
        with vllm_server(a.vllm, dtype, threads) as url:
            return asked_of_server(url, policy, prompts, 2)

    ways: dict[str, Callable[[], dict[str, Any]]] = {
        "published": lambda: timed(lambda: published(policy, prompts)),
        "engine": lambda: timed(lambda: ours(policy, prompts, a.batch_size)),
    }
    if a.vllm:
        ways |= {"vllm": lambda: offline(a.vllm, prompts, dtype, 2, threads), "server": through_server}
    for rows in (published, lambda p, q: ours(p, q, a.batch_size)):
        rows(policy, prompts[: a.batch_size])  # warm-up
    together = {"published": PUBLISHED_BATCH, "engine": a.batch_size}
    found = []
    for number in range(a.rounds):
        for name in random.Random(f"round/{number}").sample(list(ways), len(ways)):
            for seconds in ways[name]()["seconds"]:
                best = limit(lengths, of, head, at, together.get(name, len(prompts)))
                row = {
                    "round": number,
                    "way": name,
                    "seconds": seconds,
                    "tokens_per_s": tokens / seconds,
                    "limit": best,
                }
                found.append(row | {"share_of_limit": tokens / seconds / best})
                print(json.dumps(found[-1]), flush=True)
    table = pd.DataFrame(found)
    speed, shares = (table.groupby("way")[name].median() for name in ("tokens_per_s", "share_of_limit"))
    ratios = {"engine / published": speed["engine"] / speed["published"]}
    if a.vllm:
        ratios["server / vllm"] = speed["server"] / speed["vllm"]
        ratios["engine / vllm"] = speed["engine"] / speed["vllm"]
    print(speed.round(1).to_string(), {name: round(value, 3) for name, value in ratios.items()}, sep="\n")
    setting = {"problems": Path(a.problems).name, "answers": len(prompts), "new_tokens": NEW_TOKENS, "dtype": dtype}
    setting |= {"prompt_tokens": sum(len(p.ids) for p in prompts), "batch_size": a.batch_size, "ceilings": at._asdict()}
    told = setting | {
        "medians": speed.to_dict(),
        "shares": shares.to_dict(),
        "ratios": ratios,
        "provenance": provenance().model_dump(),
    }
    write_text(a.results / "generation.csv", table.to_csv(index=False))
    write_text(a.results / "generation.json", json.dumps(told, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
