"""`tradeoffs fetch PROFILE`: the hub's own client against a small server that speaks the hub's protocol, faults included."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from tradeoffs import fetching
from tradeoffs.fetching import Need
from tradeoffs.parameters import AlignParameters, ParameterError, check, split_model
from tradeoffs.preferences.hub import SOURCES
from tradeoffs.profiles import load_profile
from tradeoffs.tasks.problems import DS1000_FILE, DS1000_HUB, DS1000_REVISION

ROOT = Path(__file__).resolve().parents[1]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
MODEL = f"owner/tiny@{COMMIT}"
LARGE = 1_000_000  # bytes; from here on a file is kept as large ones are on the hub


def sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Hub:
    """A hub: repositories of one commit each, and what goes wrong with them."""

    def __init__(self) -> None:
        self.files: dict[str, dict[str, bytes]] = {}  # "models/owner/name" -> file -> content
        self.commits: dict[str, str] = {}
        self.gated: set[str] = set()
        self.announced: dict[str, int] = {}  # file -> the size that is listed
        self.corrupt: set[str] = set()  # files of which another byte arrives
        self.stops: dict[str, int] = {}  # file -> after so many bytes nothing more arrives
        self.cuts: dict[str, int] = {}  # file -> bytes after which each connection breaks
        self.asked: list[tuple[str, str, str]] = []  # method, path, range
        self.stopped = threading.Event()
        self.address = ""

    def add(self, repo: str, files: dict[str, bytes], commit: str = COMMIT) -> None:
        self.files[repo], self.commits[repo] = files, commit

    def listed(self, repo: str, name: str) -> dict[str, Any]:
        content = self.files[repo][name]
        entry: dict[str, Any] = {"size": self.announced.get(name, len(content)), "oid": sha1(content)}
        if len(content) >= LARGE or name.endswith(".safetensors"):
            checksum = hashlib.sha256(content).hexdigest()
            entry["lfs"] = {"size": entry["size"], "oid": checksum, "sha256": checksum, "pointerSize": 134}
        return entry


class Speaks(http.server.BaseHTTPRequestHandler):
    """The hub's protocol as far as its client uses it."""

    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, format: str, *arguments: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path).strip("/")
        self.hub.asked.append((self.command, path, self.headers.get("Range", "")))
        form = urllib.parse.parse_qs(self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode())
        api = re.fullmatch(
            r"api/((?:models|datasets)/[^/]+/[^/]+)(?:/(revision|tree|paths-info)/([^/]+))?(?:/(.*))?", path
        )
        file = re.fullmatch(r"(?:(datasets)/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        repo = api[1] if api else f"{file[1] or 'models'}/{file[2]}" if file else ""
        revision = (api[3] if api else file[3] if file else None) or "main"
        if repo not in self.hub.files:
            return self.refuse(401, "RepoNotFound")
        if revision not in ("main", self.hub.commits[repo]):
            return self.refuse(404, "RevisionNotFound")
        if file:
            return self.send_file(repo, file[4])
        assert api
        files = {name: self.hub.listed(repo, name) for name in self.hub.files[repo]}
        if api[2] == "paths-info":
            asked = set(form.get("paths", []))
            return self.send_json([self.entry(name, files[name]) for name in files if name in asked])
        if api[2] == "tree":
            return self.send_json([self.entry(name, about) for name, about in files.items()])
        siblings = [{"rfilename": name, "blobId": about["oid"]} | about for name, about in files.items()]
        known = {"id": repo.partition("/")[2], "sha": self.hub.commits[repo], "siblings": siblings, "tags": []}
        return self.send_json(known | {"private": False, "gated": repo in self.hub.gated, "downloads": 0, "likes": 0})

    def entry(self, name: str, about: dict[str, Any]) -> dict[str, Any]:
        return {"type": "file", "path": name} | about

    def send_json(self, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def send_file(self, repo: str, name: str) -> None:
        hub = self.hub
        if repo in hub.gated:
            return self.refuse(401, "GatedRepo")
        if name not in hub.files[repo]:
            return self.refuse(404, "EntryNotFound")
        content, about = hub.files[repo][name], hub.listed(repo, name)
        begin = int((re.match(r"bytes=(\d+)-", self.headers.get("Range", "")) or [0, 0])[1])
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        self.send_header("X-Repo-Commit", hub.commits[repo])
        self.send_header("ETag", f'"{about["lfs"]["sha256"] if "lfs" in about else about["oid"]}"')
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(content) - begin))
        self.end_headers()
        if self.command == "HEAD":
            return
        body = content[begin:]
        if name in hub.corrupt:
            body = body[:-2] + bytes([body[-2] ^ 1]) + body[-1:]
        if name in hub.stops:
            self.wfile.write(body[: hub.stops[name]])
            self.wfile.flush()
            hub.stopped.set()
            time.sleep(20)
        elif name in hub.cuts:
            self.wfile.write(body[: hub.cuts[name]])
            self.close_connection = True
        else:
            self.wfile.write(body)


@pytest.fixture
def hub(tiny: Path) -> Iterator[Hub]:
    """A hub with one model, which has much that nobody loads."""
    made = Hub()
    files = {path.name: path.read_bytes() for path in tiny.iterdir() if path.is_file()}
    unused = {
        "README.md": b"# Tiny\n",
        "pytorch_model.bin": b"as safetensors",
        "onnx/model.onnx": b"x",
        "LICENSE": b"free",
    }
    made.add("models/owner/tiny", files | unused)

    class Handler(Speaks):
        hub = made

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        made.address = f"http://127.0.0.1:{server.server_port}"
        yield made
        server.shutdown()
        thread.join()


class Place:
    """A project's folder with profiles, and a home of its own for the hub's cache."""

    def __init__(self, folder: Path, address: str) -> None:
        self.folder, self.cache = folder, folder / "hf"
        (folder / "config").mkdir()
        shutil.copy(ROOT / "config" / "smoke.yaml", folder / "config")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "SEABORN", "SCIKIT", "XDG"))}
        self.environment = kept | {
            "HF_ENDPOINT": address,
            "HF_HOME": str(self.cache),
            "HF_HUB_OFFLINE": "1",  # as `make` exports it
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "TRADEOFFS_CACHE": os.environ.get("TRADEOFFS_CACHE") or str(Path.home() / ".cache" / "tradeoffs"),
        }

    def profile(self, name: str, **changes: Any) -> str:
        (self.folder / "config" / f"{name}.yaml").write_text(
            yaml.safe_dump({"extends": "smoke", "name": name} | changes)
        )
        return name

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, *arguments], cwd=self.folder, env=self.environment | environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, *arguments: str, **environment: str) -> tuple[int, str, str]:
        process = self.start(*arguments, **environment)
        out, err = process.communicate(timeout=180)
        return process.returncode, out, err

    def fetch(self, *arguments: str) -> tuple[int, str, str]:
        return self.run("-m", "tradeoffs.cli", "fetch", *arguments)

    def files(self) -> dict[str, bytes]:
        """What the cache has under a name, and under which."""
        snapshots = (self.cache / "hub").glob("*/snapshots/*/*")
        return {path.name: path.read_bytes() for path in snapshots}

    def parts(self) -> list[Path]:
        return sorted((self.cache / "hub").glob("*/blobs/*.part"))


@pytest.fixture
def place(tmp_path: Path, hub: Hub) -> Place:
    return Place(tmp_path, hub.address)


LOADED = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
LOADED_TOO = {"chat_template.jinja", "special_tokens_map.json", "vocab.json", "merges.txt"}  # of some versions

AT_WORK = """
import sys
from tradeoffs.models import load
model, tokenizer = load(sys.argv[1])
print(sum(float(p.sum()) for p in model.parameters()), len(tokenizer))
"""


def test_a_model_is_fetched_whole_at_its_revision_and_then_needs_no_network(hub: Hub, place: Place, tiny: Path) -> None:
    status, out, err = place.fetch(place.profile("mine", model=MODEL))
    assert status == 0, err
    assert f"model {MODEL}: fetched, " in out and f"commit {COMMIT}" in out and "to pin it" not in out
    assert out.splitlines()[-1] == "profile mine: all there; it runs without a network"
    kept, served = place.files(), hub.files["models/owner/tiny"]
    assert LOADED <= kept.keys() <= LOADED | LOADED_TOO and kept == {name: served[name] for name in kept}
    assert all(COMMIT in path for method, path, _ in hub.asked if "resolve" in path)

    hub.asked.clear()
    status, out, _ = place.fetch("mine")
    assert status == 0 and "there already, comparing checksums" in out and f"right, commit {COMMIT}" in out
    assert hub.asked == []

    status, out, err = place.run("-c", AT_WORK, MODEL, HF_ENDPOINT="http://127.0.0.1:9")
    assert status == 0, err
    assert out == place.run("-c", AT_WORK, str(tiny))[1]
    status, _, err = place.run("-c", AT_WORK, "owner/tiny@" + "f" * 40, HF_ENDPOINT="http://127.0.0.1:9")
    assert status == 1 and "model: cannot load 'owner/tiny@ffff" in err and "`tradeoffs fetch` brings" in err


def test_a_fetched_model_is_trained_twice_without_a_network(hub: Hub, place: Place) -> None:
    assert place.fetch(place.profile("mine", model=MODEL))[0] == 0
    given = ["model=" + MODEL, "steps=1", "batch_size=2", "lora_rank=4", "max_length=2048"]
    for out, start in (("first", ""), ("second", "first/adapter")):
        pairs = [text for pair in (*given, f"out={out}", f"start={start}") for text in ("-p", pair)]
        status, _, err = place.run("-m", "tradeoffs.cli", "align", *pairs, HF_ENDPOINT="http://127.0.0.1:9")
        assert status == 0, err
        assert (place.folder / out / "adapter" / "adapter_model.safetensors").is_file()


def test_without_a_revision_the_commit_is_told_with_the_line_for_the_profile(hub: Hub, place: Place) -> None:
    place.profile("mine", model="owner/tiny")
    for _ in range(2):
        status, out, _ = place.fetch("mine")
        assert status == 0 and f"to pin it, put this into the profile: model: {MODEL}" in out
    status, _, err = place.run("-c", AT_WORK, "owner/tiny", HF_ENDPOINT="http://127.0.0.1:9")
    assert status == 0, err


@pytest.fixture
def big(hub: Hub) -> bytes:
    """Weights of three of the pieces in which the client writes, each 10 MiB; random, because nobody loads them."""
    content = random.Random(0).randbytes(30 << 20)
    hub.add("models/owner/big", {"config.json": b"{}", "model.safetensors": content})
    return content


def ranges(hub: Hub) -> list[str]:
    """From where the weights were asked for, in order."""
    return [asked for method, path, asked in hub.asked if method == "GET" and path.endswith("model.safetensors")]


# A shell that starts its jobs in the background hands down an ignored SIGINT.
FETCH = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from tradeoffs.cli import main
sys.exit(main())
"""


def test_interrupted_it_goes_on_in_the_middle_of_a_file(hub: Hub, place: Place, big: bytes) -> None:
    place.profile("mine", model=f"owner/big@{COMMIT}")
    hub.stops["model.safetensors"] = 25 << 20
    # on a busy machine the client's own patience of 10 s ran out first, and it finished the file
    process = place.start("-c", FETCH, "fetch", "mine", HF_HUB_DOWNLOAD_TIMEOUT="120")
    assert hub.stopped.wait(60)
    time.sleep(1)  # for what was sent to arrive
    err = ""
    for patience in (15, 60):  # once in a while the first falls where Python ignores it, in a finaliser
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            _, err = process.communicate(timeout=patience)
            break
    assert process.returncode == 130 and "interrupted; the same command goes on from here" in err, err
    [part] = place.parts()
    assert part.read_bytes() == big[: 20 << 20] and "model.safetensors" not in place.files()
    hub.stops.clear()
    hub.asked.clear()
    status, _, err = place.fetch("mine")
    assert status == 0, err
    assert ranges(hub) == [f"bytes={20 << 20}-"]
    assert place.files()["model.safetensors"] == big and place.parts() == []


def test_a_connection_that_breaks_is_taken_up_where_it_broke(hub: Hub, place: Place, big: bytes) -> None:
    place.profile("mine", model=f"owner/big@{COMMIT}")
    hub.cuts["model.safetensors"] = 15 << 20
    status, _, err = place.fetch("mine")
    assert status == 0, err
    assert ranges(hub) == ["", f"bytes={10 << 20}-", f"bytes={20 << 20}-"]
    assert place.files()["model.safetensors"] == big


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_file_with_another_checksum_is_refused_deleted_and_fetched_again(hub: Hub, place: Place, name: str) -> None:
    place.profile("mine", model=MODEL)
    hub.corrupt = {name}
    status, out, err = place.fetch("mine")
    assert status == 2 and "all there" not in out
    [line] = err.strip().splitlines()
    assert line == (
        f"error: fetch: model {MODEL}: {name} arrived with another checksum than the hub's and is deleted; run the same command again"
    )
    assert name not in place.files() and place.parts() == []
    assert not name.endswith(".safetensors") or place.files() == {}  # it never had its name
    hub.corrupt = set()
    assert place.fetch("mine")[0] == 0
    assert place.files()[name] == hub.files["models/owner/tiny"][name]


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_file_that_is_damaged_on_the_disk_is_found_and_fetched_again(hub: Hub, place: Place, name: str) -> None:
    place.profile("mine", model=MODEL)
    assert place.fetch("mine")[0] == 0
    [path] = (place.cache / "hub").glob(f"*/snapshots/*/{name}")
    right = path.read_bytes()
    path.write_bytes(right[:-1])
    hub.asked.clear()
    status, out, err = place.fetch("mine")
    assert status == 0 and f"{name} is damaged here: deleted, to be fetched again" in out, err
    assert path.read_bytes() == right
    assert {path.rpartition("/")[2] for method, path, _ in hub.asked if method == "GET" and "resolve" in path} == {name}


def refused(hub: Hub, place: Place, model: str) -> str:
    status, out, err = place.fetch(place.profile("mine", model=model))
    assert status == 2 and "all there" not in out
    [line] = err.strip().splitlines()
    return line


def test_a_gated_model_says_where_access_is_had(hub: Hub, place: Place) -> None:
    hub.gated.add("models/owner/tiny")
    assert refused(hub, place, MODEL) == (
        f"error: fetch: model {MODEL}: its terms must be accepted; do so at {hub.address}/owner/tiny, log in with `hf auth login`, "
        "then run the same command again"
    )


def test_what_is_not_there_is_told(hub: Hub, place: Place) -> None:
    said = refused(hub, place, "owner/none")
    assert said.startswith(
        f"error: fetch: model owner/none: not found at {hub.address}/owner/none; correct the name, or"
    )
    said = refused(hub, place, "owner/tiny@v9")
    assert f"there is no revision 'v9'; those that there are stand at {hub.address}/owner/tiny/commits/main" in said
    hub.add("models/owner/odd", {"config.json": b"{}", "weights.gguf": b"x"})
    assert "owner/odd: holds no weights in safetensors or in PyTorch form" in refused(hub, place, "owner/odd")


def test_without_a_network_the_hub_is_named(hub: Hub, place: Place) -> None:
    hub.address = place.environment["HF_ENDPOINT"] = "http://127.0.0.1:9"
    said = refused(hub, place, MODEL)
    assert said == (
        f"error: fetch: model {MODEL}: the hub cannot be reached at http://127.0.0.1:9; with a network the same command goes on from here"
    )


def test_what_does_not_fit_on_the_disk_is_refused_before_anything_is_fetched(hub: Hub, place: Place) -> None:
    hub.announced["model.safetensors"] = 10**15
    said = refused(hub, place, MODEL)
    assert "needs 1000000.0 GB and 1.0 GB to spare, " in said and "HF_HOME" in said
    assert not [path for method, path, _ in hub.asked if "resolve" in path]


def test_what_cannot_be_had_keeps_nothing_else_from_being_fetched(hub: Hub, place: Place) -> None:
    align = {"instructions": "magicoder", "method": "sft", "domain": "general"}
    place.profile("mine", model=MODEL, policies={"sft-code": align}, arms={"base": {"policy": "base"}}, throughput={})
    status, out, err = place.fetch("mine")
    assert status == 2 and f"model {MODEL}: fetched" in out
    [line] = err.strip().splitlines()
    source = SOURCES["magicoder"]
    assert line.startswith(f"error: fetch: data set magicoder: not found at {hub.address}/datasets/{source.repo}; ")


# ---------------------------------------------------------------- problems and data sets


def test_the_benchmark_comes_from_its_pinned_commit_and_must_have_its_checksum(
    hub: Hub, place: Place, data: Path
) -> None:
    packed = data / "ds1000" / "ds1000.jsonl.gz"
    if not packed.is_file():
        pytest.skip("the real data hold no DS-1000")
    content = gzip.decompress(packed.read_bytes())
    need, say = "from tradeoffs.fetching import fetch, Need; ", "print(fetch(Need('problems', 'ds1000')))"
    hub.add(f"datasets/{DS1000_HUB}", {DS1000_FILE: content}, DS1000_REVISION)
    read = "from tradeoffs.tasks import load_problems; print(len(load_problems('ds1000')))"
    status, _, err = place.run("-c", read)
    assert status == 1 and "problems: cannot fetch xlangai/DS-1000 (" in err and "`tradeoffs fetch` brings it" in err
    status, out, err = place.run("-c", need + say, HF_HUB_OFFLINE="0")
    assert status == 0 and out.strip().endswith(f"commit {DS1000_REVISION}; 1000 problems"), err
    assert place.run("-c", read, HF_ENDPOINT="http://127.0.0.1:9")[:2] == (0, "1000\n")

    shutil.rmtree(place.cache)
    hub.add(f"datasets/{DS1000_HUB}", {DS1000_FILE: content.replace(b"numpy", b"nunpy", 1)}, DS1000_REVISION)
    status, _, err = place.run("-c", need + say, HF_HUB_OFFLINE="0")
    assert status == 1 and "is not DS-1000's simplified release (checksum differs)" in err


def test_a_data_set_is_fetched_once_and_read_without_a_network(hub: Hub, place: Place) -> None:
    source = SOURCES["magicoder"]
    rows = [{"problem": f"q{n}", "solution": f"a{n}"} for n in range(3)]
    hub.add(
        f"datasets/{source.repo}", {"data.jsonl": "".join(json.dumps(r) + "\n" for r in rows).encode()}, source.revision
    )
    align = {"instructions": "magicoder", "method": "sft", "domain": "general"}
    place.profile("mine", policies={"sft-code": align}, arms={"base": {"policy": "base"}}, throughput={})
    status, out, err = place.fetch("mine")
    assert status == 0 and f"data set magicoder: fetched, commit {source.revision}" in out, err
    hub.asked.clear()
    assert "data set magicoder: there already" in place.fetch("mine")[1] and hub.asked == []
    read = "from tradeoffs.preferences.data import read_instructions; print(read_instructions('magicoder'))"
    status, out, err = place.run("-c", read, HF_ENDPOINT="http://127.0.0.1:9")
    assert status == 0 and "'q2'" in out and "'a2'" in out, err


# ---------------------------------------------------------------- what is needed, and what a machine lacks


def test_a_profile_needs_what_its_jobs_name_and_nothing_that_is_here(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    assert fetching.needs(load_profile("laptop")) == []
    assert fetching.needs(load_profile("laptop", model=str(tiny))) == []
    found = fetching.needs(load_profile("gpu"))
    assert found[0].kind == "model" and re.fullmatch(r"Qwen/Qwen2.5-Coder-1.5B-Instruct@[0-9a-f]{40}", found[0].name)
    assert set(found[1:]) == {
        *(Need("data set", name) for name in ("magicoder", "ultrachat", "ultrafeedback", "helpsteer2")),
        Need("problems", "ds1000"),
        Need("grading data", "of seaborn and scikit-learn"),
    }
    assert len(found) == len(set(found))


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["model.safetensors", "pytorch_model.bin", "config.json", "a.py"], ["model.safetensors", "config.json"]),
        (["model-00001-of-00002.safetensors", "consolidated.safetensors"], ["model-00001-of-00002.safetensors"]),
        (["pytorch_model.bin", "merges.txt", "sub/x.json"], ["pytorch_model.bin", "merges.txt"]),
        (["config.json", "model.gguf"], []),
    ],
)
def test_weights_are_fetched_in_one_form(names: list[str], chosen: list[str]) -> None:
    assert fetching.loaded_by_transformers(names) == chosen


@pytest.mark.parametrize("name", ["owner/name@", "owner/name@a b", "owner/name@/x", "owner/name@a@b"])
def test_a_revision_that_cannot_be_one_is_refused_in_one_line(name: str) -> None:
    from tradeoffs.models import load

    for refuse in (lambda: check(AlignParameters, {"model": name}), lambda: load(name)):
        with pytest.raises(ValueError, match=r"model: got .*accepts a commit, tag or branch after the @") as raised:
            refuse()
        assert "\n" not in str(raised.value)


def test_names_with_and_without_revision_are_told_apart(tmp_path: Path) -> None:
    assert split_model(MODEL) == ("owner/tiny", COMMIT) and split_model("owner/tiny") == ("owner/tiny", None)
    assert split_model("owner/tiny@refs/pr/1") == ("owner/tiny", "refs/pr/1")
    assert split_model("embedded") == ("embedded", None)
    (tmp_path / "a@b").mkdir()
    assert split_model(str(tmp_path / "a@b")) == (str(tmp_path / "a@b"), None)
    assert check(AlignParameters, {"model": MODEL}).model == MODEL
    with pytest.raises(ParameterError, match="unknown model"):
        check(AlignParameters, {"model": "name@v1"})


def lines(place: Place) -> dict[str, str]:
    status, out, err = place.run("-c", "from tradeoffs import diagnosis; print(diagnosis.report())")
    assert status == 0, err
    found = re.findall(r"^ +(?:ok|--) +profile (\S+) +(.*)$|^ +remedy \(profile (\S+)\): (.*)$", out, re.MULTILINE)
    return {name or f"remedy {other}": text or remedy for name, text, other, remedy in found}


def test_the_doctor_says_of_each_profile_what_it_lacks_and_how_to_get_it(hub: Hub, place: Place) -> None:
    import torch

    place.profile("hubbed", model=MODEL)
    place.profile("large", problems="ds1000", align={"device": "cuda"}, model="owner/tiny")
    (place.folder / "config" / "broken.yaml").write_text("extends: smoke\nname: broken\nnonsense: 1\n")
    before = lines(place)
    assert before["smoke"] == "can run here" and "remedy smoke" not in before
    assert before["hubbed"] == "lacks in the cache: model owner/tiny@0123456789ab"
    assert before["remedy hubbed"] == "`tradeoffs fetch hubbed`"
    gpu = "" if torch.cuda.is_available() else "a GPU; "
    assert before["large"] == f"lacks {gpu}in the cache: model owner/tiny, problems ds1000"
    assert (
        not gpu
        or "a machine with one (EXECUTOR=slurm or kubernetes), or a profile without: smoke; " in before["remedy large"]
    )
    assert before["remedy large"].endswith("`tradeoffs fetch large`")
    assert "broken.yaml: nonsense" in before["broken"]
    assert place.fetch("hubbed")[0] == 0
    after = lines(place)
    assert after["hubbed"] == "can run here" and "remedy hubbed" not in after
    assert not gpu or "or a profile without: hubbed, smoke; " in after["remedy large"]
    [weights] = (place.cache / "hub").glob("*/snapshots/*/model.safetensors")
    weights.unlink()
    assert lines(place) == before


def test_the_doctor_names_hardware_versions_engines_and_caches(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from importlib.metadata import version

    (place.cache / "hub").mkdir(parents=True)
    (place.cache / "hub" / "some").write_bytes(b"x" * 2_500_000)
    program = tmp_path / "bin" / "sbatch"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    ask = "from tradeoffs import diagnosis; print(diagnosis.report())"
    _, out, _ = place.run("-c", ask, PATH=str(program.parent), TRADEOFFS_VLLM=str(tmp_path / "nowhere"))
    said = {line[8:].split("  ")[0]: line for line in out.splitlines() if line.startswith("    ")}
    assert "GPU" in said and f"torch {version('torch')}" in said["libraries"] and "snakemake" in said["libraries"]
    assert "-- " in said["engine vLLM"] and "nowhere, not there" in said["engine vLLM"]
    assert str(program) in said["scheduler Slurm"] and "no `kubectl` here" in said["scheduler Kubernetes"]
    assert f"{place.cache}, 2.5 MB" in said["cache HF_HOME"] and "GB for runs" in said["free disk"]


def test_the_doctors_whole_report_ends_with_the_profiles_and_its_status_is_that_of_grading(place: Place) -> None:
    status, out, err = place.run("-m", "tradeoffs.cli", "doctor", TRADEOFFS_GRADING_PYTHON="/nowhere/python")
    assert status == 2 and err.startswith("error: grading python: ")
    assert (
        out.index("What each isolation level stops:") < out.index("This machine:") < out.index("Profiles in config/:")
    )
    assert out.rstrip().endswith("profile smoke  can run here")


def test_the_help_loads_nothing_heavy() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "tradeoffs.cli", "--help"], capture_output=True, text=True
    )
    heavy = {"torch", "transformers", "pandas", "datasets", "huggingface_hub"}
    loaded = {line.split("|")[-1].strip() for line in done.stderr.splitlines() if line.startswith("import time")}
    assert done.returncode == 0 and not loaded & heavy and "fetch" in done.stdout
