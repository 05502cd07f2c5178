"""The engine's bookkeeping: what counts as output, how prompts become batches, where padding goes."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tradeoffs.inference import engine
from tradeoffs.inference.engine import (
    STOP_TEXTS,
    Prompt,
    batches,
    count,
    decode,
    pad_left,
    prefill,
    resume,
    similar_lengths,
)
from tradeoffs.models import load
from tradeoffs.records import Answer, append_jsonl, read_rows

EOS, PAD = 2, 0

COUNTED = [
    ("a stop token is counted", [5, 6, EOS], "ab", (3, "stop")),
    ("padding after a stop token is not", [5, EOS, PAD, PAD], "a", (2, "stop")),
    ("a stop token at once is one token", [EOS, PAD], "", (1, "stop")),
    ("a stop token in the last slot is a stop", [5, 6, 7, EOS], "abc", (4, "stop")),
    ("the cap is no stop", [5, 6, 7, 8], "abcd", (4, "length")),
    ("padding after a stop text is not counted", [5, 6, 7, PAD, PAD], "a</code>", (3, "stop")),
    ("a stop text in the last slot is a stop", [5, 6, 7], "a</code>", (3, "stop")),
    ("the other stop text stops as well", [5, 6, PAD], "a\n# SOLUTION END", (2, "stop")),
    ("a padding token that the model chose as its end is counted", [5, 6, PAD, PAD], "ab", (3, "stop")),
    ("a stop token after a stop text's characters is counted", [5, 6, EOS, PAD], "a</code>", (3, "stop")),
    ("tokens after the first stop are not counted", [5, EOS, 6, EOS], "a", (2, "stop")),
    ("nothing decoded is nothing counted", [], "", (0, "length")),
]


def prompts(lengths: list[int]) -> list[Prompt]:
    return [Prompt((i, 0), [7] * n) for i, n in enumerate(lengths)]


@pytest.mark.parametrize(("row", "text", "counted"), [case[1:] for case in COUNTED], ids=[case[0] for case in COUNTED])
def test_tokens_are_counted_to_the_first_stop_inclusive(row: list[int], text: str, counted: tuple[int, str]) -> None:
    assert count(row, EOS, PAD, text) == counted


def test_where_padding_is_the_stop_token_both_kinds_of_stop_are_told_apart() -> None:
    assert count([5, 6, EOS, EOS], EOS, EOS, "ab") == (3, "stop")
    assert count([5, 6, EOS, EOS], EOS, EOS, f"a{STOP_TEXTS[0]}") == (2, "stop")


@settings(deadline=None)
@given(st.lists(st.sampled_from([EOS, PAD, 5, 6]), max_size=12), st.sampled_from(["", *STOP_TEXTS]))
def test_no_count_exceeds_the_slots_and_a_full_row_without_a_stop_is_cut(row: list[int], text: str) -> None:
    tokens, finish = count(row, EOS, PAD, text)
    assert 0 <= tokens <= len(row)
    assert (finish == "length") == (EOS not in row and PAD not in row and not text)
    assert not {EOS, PAD} & set(row[: max(0, tokens - 1)])


@settings(deadline=None)
@given(st.lists(st.integers(1, 9), max_size=20), st.integers(1, 6))
def test_batches_hold_every_prompt_once_the_longest_first(lengths: list[int], size: int) -> None:
    given_prompts = prompts(lengths)
    plan = batches(given_prompts, size)
    flat = [prompt for batch in plan for prompt in batch]
    assert sorted(flat) == given_prompts
    assert [len(p.ids) for p in flat] == sorted(lengths, reverse=True)
    assert [len(batch) for batch in plan[:-1]] == [size] * (len(plan) - 1)
    assert all(0 < len(batch) <= size for batch in plan)


def test_batches_do_not_depend_on_the_order_of_the_prompts() -> None:
    given_prompts = prompts([3, 1, 3, 2, 3, 1])
    assert batches(given_prompts[::-1], 2) == batches(given_prompts, 2)


def test_rows_are_padded_on_the_left_and_masked_there() -> None:
    ids, mask = pad_left([[5, 6, 7], [8], [PAD, 9]], PAD, "cpu")
    assert ids.tolist() == [[5, 6, 7], [PAD, PAD, 8], [PAD, PAD, 9]]
    assert mask.tolist() == [[1, 1, 1], [0, 0, 1], [0, 1, 1]]


def test_watching_each_token_changes_nothing(tiny: Path) -> None:
    policy = load(str(tiny))
    plan = [Prompt((k,), [5 + k, 6, 7]) for k in range(3)]
    seen: list[int] = []
    watched = list(decode(policy, plan, max_new_tokens=6, on_token=seen.append))
    plain = list(decode(policy, plan, max_new_tokens=6))
    assert [[r.text for r in rows] for rows in watched] == [[r.text for r in rows] for rows in plain]
    assert seen == list(range(1, watched[0][0].slots + 1))


def test_a_batch_cut_short_by_a_kill_is_removed_and_named_as_missing(tmp_path: Path) -> None:
    plan = batches(prompts([3, 3, 2, 2]), 2)
    rows = [
        Answer(
            problem_id=prompt.key[0], sample=0, prompt_tokens=3, tokens=1, slots=1, finish="stop", seconds=1.0,
            batch=number, batch_seconds=1.0, batch_size=2, raw="", code="",
        )
        for number, batch in enumerate(plan)
        for prompt in batch
    ]  # fmt: skip
    path = tmp_path / "answers.jsonl"
    append_jsonl(path, rows[:3])
    kept = resume(path, Answer, plan, key=lambda row: (row.problem_id, row.sample))
    assert [row.batch for row in kept] == [0, 0]
    assert read_rows(path, Answer) == kept


def test_what_is_sampled_for_a_prompt_does_not_depend_on_its_batch(tiny: Path) -> None:
    policy = load(str(tiny), dtype="float32")
    wanted = [Prompt((n, 0), [5 + n] * (3 + n % 4)) for n in range(7)]

    def sampled(batch_size: int, order: int) -> dict[tuple[int, ...], tuple[int, ...]]:
        rows = decode(policy, wanted[::order], max_new_tokens=6, temperature=1.0, batch_size=batch_size, seed=3)
        return {row.key: row.ids for batch in rows for row in batch}

    whole = sampled(7, 1)
    assert whole == sampled(2, 1) == sampled(3, -1)
    again = decode(policy, wanted, max_new_tokens=6, temperature=1.0, batch_size=7, seed=4)
    assert whole != {row.key: row.ids for batch in again for row in batch}


def test_rows_are_read_in_groups_of_which_none_is_much_shorter_than_its_longest() -> None:
    assert similar_lengths([[7] * n for n in (8, 1, 64, 7, 56, 55, 6)]) == [[2, 4], [5], [0, 3], [6], [1]]


def test_rows_are_read_in_groups_of_no_more_tokens_than_said_and_each_row_once() -> None:
    assert similar_lengths([[7] * n for n in (8, 8, 7, 8, 100, 8)], most=24) == [[4], [0, 1, 3], [5, 2]]


@pytest.mark.parametrize("at_once", [100, 2048])
@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("model", ["tiny", "embedded"])
def test_prompts_of_any_length_are_answered_as_plain_generate_answers_each_alone(
    tiny: Path, model: str, static: bool, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In float32, token for token; batches hold prompts of 1 to 90 tokens, so that they are read in several groups."""
    import torch

    monkeypatch.setattr("tradeoffs.inference.engine.AT_ONCE", at_once)
    policy = load(str(tiny) if model == "tiny" else model, dtype="float32")
    wanted = [
        Prompt((n,), [11 + (n * 7 + i * i) % 900 for i in range(length)])
        for n, length in enumerate((90, 88, 1, 90, 2, 29, 8, 30))
    ]
    rows = decode(policy, wanted, max_new_tokens=8, batch_size=4, forced=True, static=static)
    found = {row.key: list(row.ids) for batch in rows for row in batch}
    for prompt in wanted:
        with torch.inference_mode():
            alone = policy.model.generate(  # type: ignore[operator]
                torch.tensor([prompt.ids]), max_new_tokens=8, min_new_tokens=8, do_sample=False, pad_token_id=PAD
            )
        assert found[prompt.key] == alone[0, len(prompt.ids) :].tolist()


def test_a_model_that_keeps_less_than_every_token_reads_as_transformers_reads() -> None:
    from transformers import MistralConfig, MistralForCausalLM

    shape = dict(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1
    )
    model = MistralForCausalLM(MistralConfig(vocab_size=2000, sliding_window=4, **shape))
    policy = load("embedded")._replace(model=model)
    assert prefill(policy, [[7] * 9, [7] * 3]) is None


@pytest.mark.parametrize("top_p", [0.05, 0.5, 0.9, 0.95, 0.999])
@pytest.mark.parametrize("words", [3, 256, 3000])
def test_the_nucleus_is_the_one_that_a_sort_of_the_whole_vocabulary_finds(top_p: float, words: int) -> None:
    """Rows from nearly certain to nearly even, so that some nuclei are one token and some do not lie within the likeliest 256."""
    import torch
    from transformers import TopPLogitsWarper

    from tradeoffs.inference.engine import LIKELIEST, nucleus

    sharpness = torch.tensor([0.01, 0.5, 2.0, 5.0, 20.0])
    scores = torch.randn(5, words, generator=torch.Generator().manual_seed(words)) * sharpness[:, None]
    before = scores.clone()
    found = nucleus(scores, top_p)
    assert torch.equal(found, TopPLogitsWarper(top_p)(None, scores))  # type: ignore[arg-type]
    assert torch.equal(scores, before)
    sizes = found.isfinite().sum(1)
    assert sizes[-1] < 4
    tied = scores.bfloat16().float()
    kept, sorted_whole = (
        rows.sort(dim=-1, descending=True).values
        for rows in (nucleus(tied, top_p), TopPLogitsWarper(top_p)(None, tied))  # type: ignore[arg-type]
    )
    assert torch.equal(kept, sorted_whole)
    if words == 3000 and top_p >= 0.5:
        assert sizes[0] > LIKELIEST


@pytest.mark.parametrize(("top_p", "expected"), [(1.0, [0.76, 0.18, 0.04, 0.01]), (0.9, [0.81, 0.19, 0.0, 0.0])])
def test_noise_and_largest_score_sample_from_the_softmax(top_p: float, expected: list[float]) -> None:
    """Scores 2, 1, 0, -1 at temperature 0.7: 0.763, 0.183, 0.044, 0.011; the nucleus of 0.9 holds the first two."""
    import torch

    from tradeoffs.inference.engine import _noise

    scores = torch.tensor([[2.0, 1.0, 0.0, -1.0]]).repeat(20000, 1)
    perturb = _noise([(n,) for n in range(20000)], 3, 0.7, top_p, torch.device("cpu"))
    drawn = torch.bincount(perturb(torch.zeros(1), scores).argmax(1), minlength=4) / 20000
    assert drawn.tolist() == pytest.approx(expected, abs=0.012)


def test_a_batch_that_does_not_fit_into_memory_names_its_size_or_is_decoded_in_parts_with_the_same_tokens(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy, wanted = load(str(tiny)), prompts([9, 8, 8, 5, 3])
    options: dict[str, Any] = {"max_new_tokens": 6, "temperature": 1.0, "batch_size": 5}
    whole = {row.key: row.ids for rows in decode(policy, wanted, **options) for row in rows}
    real, tried = engine.decode_batch, list[int]()

    def small(policy: Any, batch: Any, **named: Any) -> Any:
        tried.append(len(batch))
        if len(batch) > room:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 12 bytes")
        return real(policy, batch, **named)

    monkeypatch.setattr(engine, "decode_batch", small)
    room = 2
    with pytest.raises(MemoryError, match=r"batch_size: 5 prompts of up to 9 tokens and 6 new .* such as 2"):
        list(decode(policy, wanted, **options))
    tried.clear()
    (rows,) = decode(policy, wanted, **options, in_parts=True)
    assert {row.key: row.ids for row in rows} == whole and tried == [5, 2, 2, 1]
    assert (
        len(list(decode(policy, wanted, **options | {"batch_size": 2}, in_parts=True))) == 3
    )  # batches stay as planned
    room = 0
    with pytest.raises(MemoryError, match="max_new_tokens: prompts of up to 9 tokens"):
        list(decode(policy, wanted, **options, in_parts=True))
