"""Shared fixtures: where real data lie, the grading interpreter, and a tiny random model that runs every stage in seconds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# A core for each of two workers.
os.environ["OMP_NUM_THREADS"] = "1"
# The files that take minutes, longest first: begun last they would leave one worker waiting for the other.
LONG = ("test_study", "test_equal_runs", "test_browser", "test_benchmarks", "test_book", "test_methods")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest."""
    items.sort(key=lambda item: LONG.index(item.path.stem) if item.path.stem in LONG else len(LONG))


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real data, or a skip that says why."""
    folder = Path(os.environ.get("TRADEOFFS_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real data are not at {folder.name}/ beside the project; set TRADEOFFS_DATA")
    return folder


@pytest.fixture(scope="session")
def grading_python() -> Path:
    """The grading environment's interpreter, or a skip that says why."""
    from tradeoffs.grading.environment import find_python

    try:
        return find_python(None)
    except ValueError as error:
        pytest.skip(str(error))


@pytest.fixture
def saved_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training in this process leaves a checkpoint after every step, however short, so that a test can kill it anywhere."""
    monkeypatch.setattr("tradeoffs.alignment.common.SECONDS_BETWEEN_CHECKPOINTS", 0.0)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-layer Llama that stops now and then, with the embedded model's tokenizer and chat template."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from tradeoffs.models import load_tokenizer

    folder = tmp_path_factory.mktemp("tiny")
    tokenizer = load_tokenizer("embedded")
    torch.manual_seed(0)
    shape = dict(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2
    )
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        **shape,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        model.get_input_embeddings().weight[2] *= 100  # so that it stops now and then, which a random model never does
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
