"""The identity and its splits: exact sums of logarithms, against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tradeoffs.analysis import Resampling, decompose
from tradeoffs.analysis.identity import COARSE, FACTORS, lmdi, log_mean, work
from tradeoffs.analysis.policies import decompose_seconds

POSITIVE = st.floats(1e-3, 1e3)


def answered(seed: int, n: int = 60, slower: float = 1.0, prefill: float | None = 0.4) -> pd.DataFrame:
    """Random answers in batches of 4, each a family."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(1, 60, n)
    slots = np.repeat(tokens.reshape(-1, 4).max(1), 4)
    seconds = slower * (0.3 + 0.02 * slots)
    return pd.DataFrame(
        {
            "problem_id": range(n),
            "sample": 0,
            "family": [f"f{i:03d}" for i in range(n)],
            "tokens": tokens,
            "slots": slots,
            "seconds": seconds,
            "prefill_s": None if prefill is None else prefill * seconds,
            "batch_size": 4,
            "prompt_tokens": rng.integers(20, 90, n),
            "finish": "stop",
            "status": np.where(rng.random(n) < 0.5, "passed", "failed"),
        }
    )


def resampled(*tables: pd.DataFrame) -> Resampling:
    return Resampling.draw(pd.concat(tables)["family"], 400, np.random.default_rng(0))


def test_work_of_a_batch_by_hand() -> None:
    # Two rows, prompts of 10 and 20 tokens, 3 and 1 tokens of output in 3 slots: two passes; the first row's read 11 and 12 tokens, the
    # second's, which has stopped, 21 and 22.
    rows = pd.DataFrame(
        {
            "prompt_tokens": [10, 20],
            "tokens": [3, 1],
            "slots": [3, 3],
            "batch_size": 2,
            "seconds": 1.0,
            "prefill_s": 0.25,
        }
    )
    found = work(rows, weight_bytes=1000, kv_bytes_per_token=10)
    assert found["passes"].sum() == 2
    assert found["roof"].tolist() == [1000 + 10 * (11 + 12), 1000 + 10 * (21 + 22)]
    assert found["decode_s"].tolist() == [0.75, 0.75]


def test_with_many_rows_the_limit_is_arithmetic() -> None:
    rows = pd.DataFrame({"prompt_tokens": [10], "tokens": [3], "slots": [3], "seconds": 1.0, "prefill_s": 0.25})
    ceilings = {"bytes_per_s": 100.0, "flops_per_s": 50.0}
    # two passes of a batch of 4 rows, of which this row's share is half a pass; 23 live tokens of 10 bytes in all
    for weights, one_pass in ((1000, 10.0), (200, 2 * 20 * 4 / 50)):
        found = work(rows.assign(batch_size=4), weights, 10, parameters=20, ceilings=ceilings)
        assert found["roof"].iloc[0] == pytest.approx(0.5 * one_pass + 230 / 100)


def test_log_shares_add_up_to_the_total() -> None:
    base, rows = work(answered(1), 2.7e8, 23_040), work(answered(2, slower=1.3), 2.7e8, 23_040)
    found = decompose(rows, base, resampled(base))
    assert set(found) == {*FACTORS, "total"}
    parts = [value["log"] for name, value in found.items() if name != "total"]
    assert sum(parts) == pytest.approx(found["total"]["log"], abs=1e-12)
    assert found["total"]["log"] == pytest.approx(math.log(found["total"]["estimate"]))
    shares = [value.get("percent") for name, value in found.items() if name != "total"]
    if found["total"]["low"] > 1 or found["total"]["high"] < 1:
        assert sum(shares) == pytest.approx(100)
    else:
        assert shares == [None] * len(shares)


def test_slower_decoding_alone_is_the_efficiency_factor() -> None:
    base = answered(3)
    slow = base.assign(seconds=base["seconds"] + 0.05 * (base["seconds"] - base["prefill_s"]))
    found = decompose(work(slow, 1e8, 1e4), work(base, 1e8, 1e4), resampled(base))
    assert found["efficiency"]["estimate"] == pytest.approx(1.05)
    assert [found[name]["estimate"] for name in ("attempts", "length", "batching", "roofline")] == pytest.approx(
        [1.0] * 4
    )
    split = decompose_seconds(work(slow, 1e8, 1e4), work(base, 1e8, 1e4), resampled(base))
    assert split["decoding: efficiency"]["estimate"] == pytest.approx(split["total"]["estimate"], abs=1e-12)
    assert split["prompt: prompt speed"]["estimate"] == pytest.approx(0, abs=1e-12)


def test_an_engine_that_does_not_tell_how_it_batches_has_coarser_factors() -> None:
    base, rows = work(answered(1, prefill=None), 1.0, 1.0), work(answered(2), 1.0, 1.0)
    found = decompose(rows, base, resampled(base))
    assert set(found) == {*COARSE, "total"}
    assert decompose_seconds(rows, base, resampled(base)) == {}


def test_seconds_of_an_attempt_split_into_prompts_and_decoding() -> None:
    base, rows = work(answered(1), 2.7e8, 23_040), work(answered(2), 2.7e8, 23_040)
    found = decompose_seconds(rows, base, resampled(base))
    expected = math.log(rows["seconds"].mean() / base["seconds"].mean())
    assert found["total"]["estimate"] == pytest.approx(expected, abs=1e-12)
    assert sum(v["estimate"] for k, v in found.items() if k != "total") == pytest.approx(expected, abs=1e-12)


def test_lmdi_of_one_part_is_the_plain_logarithms() -> None:
    found = lmdi({"all": {"x": 6.0, "y": 2.0}}, {"all": {"x": 3.0, "y": 8.0}})
    assert found["all", "x"] == pytest.approx(math.log(2)) and found["all", "y"] == pytest.approx(-math.log(4))


def test_lmdi_of_two_parts_by_hand() -> None:
    # 2 + 4 against 1 + 4: only the first part moves, L(2, 1) = 1/ln 2, L(6, 5) = 1/ln 1.2, so its contribution is ln 1.2, all of it.
    found = lmdi({"a": {"x": 2.0}, "b": {"x": 4.0}}, {"a": {"x": 1.0}, "b": {"x": 4.0}})
    assert found["a", "x"] == pytest.approx(math.log(1.2)) and found["b", "x"] == 0


@settings(deadline=None)
@given(st.lists(st.tuples(POSITIVE, POSITIVE, POSITIVE, POSITIVE), min_size=1, max_size=5))
def test_lmdi_leaves_no_residual(values: list[tuple[float, float, float, float]]) -> None:
    own = {str(n): {"x": a, "y": b} for n, (a, b, _, _) in enumerate(values)}
    other = {str(n): {"x": c, "y": d} for n, (_, _, c, d) in enumerate(values)}
    total = math.log(sum(a * b for a, b, _, _ in values) / sum(c * d for _, _, c, d in values))
    assert float(sum(lmdi(own, other).values())) == pytest.approx(total, abs=1e-12 * max(1, 50 * len(values)))
    there, back = lmdi(own, other), lmdi(other, own)
    assert all(float(there[key]) == pytest.approx(-float(back[key]), abs=1e-9) for key in there)


@settings(deadline=None)
@given(POSITIVE, st.floats(-1e-3, 1e-3))
def test_the_logarithmic_mean_keeps_its_digits_where_both_are_close(x: float, change: float) -> None:
    y = x * (1 + change)
    expected = x * (1 + change / 2 - change**2 / 12 + change**3 / 24)
    assert float(log_mean(x, y)) == pytest.approx(expected, rel=1e-12)
    assert float(log_mean(x, x)) == x


def test_a_part_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="b, x: got 0.0; accepts positive values"):
        lmdi({"a": {"x": 1.0}, "b": {"x": 0.0}}, {"a": {"x": 1.0}, "b": {"x": 1.0}})
