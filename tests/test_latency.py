"""Latency metrics against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tradeoffs.analysis import Resampling
from tradeoffs.analysis.latency import latencies, latency_metrics, weighted_quantiles
from tradeoffs.analysis.policies import policy_metrics

ROWS = pd.DataFrame(
    {
        "family": ["a", "b", "c", "d"],
        "tokens": [3, 1, 5, 0],
        "finish": ["stop", "stop", "length", "failed"],
        "ttft_s": [0.5, 1.0, 2.0, None],
        "itl_s": [[0.1, 0.3], [], [0.2, 0.2, 0.2, 0.4], None],
        "seconds": [1.0, 1.0, 3.0, 5.0],
    }
)


def resampling(rows: pd.DataFrame = ROWS) -> Resampling:
    return Resampling.draw(rows["family"], 500, np.random.default_rng(0))


def test_times_of_each_answer() -> None:
    found = latencies(ROWS)
    assert found["e2e_s"].tolist() == pytest.approx([0.9, 1.0, 3.0])
    assert found["tpot_s"].tolist()[::2] == pytest.approx([0.2, 0.25])
    assert np.isnan(found["tpot_s"].iloc[1])  # one token has no time between tokens


def test_medians_rates_and_goodput_by_hand() -> None:
    found = latency_metrics(ROWS, resampling(), {"ttft_s": 1.0, "tpot_s": 0.22})
    expected = {"ttft_p50": 1.0, "ttft_p90": 2.0, "tpot_p50": 0.2, "itl_p50": 0.2, "itl_p90": 0.4, "e2e_p50": 1.0}
    assert {name: found[name]["estimate"] for name in expected} == pytest.approx(expected)
    # three answers in ten seconds, the failed one's among them; the first two keep both limits
    assert found["requests_per_s"]["estimate"] == pytest.approx(0.3)
    assert found["goodput_per_s"]["estimate"] == pytest.approx(0.2)


def test_rates_are_as_uncertain_as_the_seconds_that_they_are_one_over() -> None:
    """Three trainings, one of which takes four times as long: the interval is that of seconds an answer, turned over."""
    one = pd.DataFrame(
        {"problem_id": range(30), "family": [f"f{n}" for n in range(30)], "tokens": 5, "slots": 5, "prompt_tokens": 9}
        | {"finish": "stop", "status": "passed", "ttft_s": 0.1, "itl_s": [[0.1] * 4] * 30, "seconds": 1.0}
    )
    rows = pd.concat([one.assign(seed=n, seconds=s, ttft_s=s / 9) for n, s in enumerate((1.0, 1.1, 4.0))])
    drawn = Resampling.draw(rows["family"], 1000, np.random.default_rng(0))
    rate, cost = latency_metrics(rows, drawn)["requests_per_s"], policy_metrics(rows, drawn)["seconds_per_answer"]
    assert (rate["low"], rate["high"]) == pytest.approx(
        (1 / cost["high"], 1 / cost["low"]), rel=0.2
    )  # other draws of luck
    assert rate["high"] / rate["low"] > 3
    first = latency_metrics(rows, drawn)["ttft_p50"]
    alone = latency_metrics(rows[rows["seed"] == 0], drawn)["ttft_p50"]
    assert first["high"] / first["low"] > 3 and alone["high"] == pytest.approx(alone["low"])


def test_an_engine_that_tells_no_times_has_none() -> None:
    found = latency_metrics(ROWS.assign(ttft_s=None), resampling())
    assert found["ttft_p50"]["estimate"] is None and "does not tell" in found["ttft_p50"]["reason"]
    assert "goodput_per_s" not in found
    assert latency_metrics(ROWS.drop(columns=["ttft_s", "itl_s"]), resampling())["e2e_p90"]["estimate"] is None


def test_weighted_quantiles_are_those_of_the_repeated_values() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=30)
    weights = rng.integers(0, 4, size=(50, 30)).astype(float)
    qs = (0.1, 0.5, 0.9)
    for q, found in zip(qs, weighted_quantiles(values, weights, qs), strict=True):
        expected = [np.quantile(np.repeat(values, row.astype(int)), q, method="inverted_cdf") for row in weights]
        assert found == pytest.approx(expected)
    assert np.isnan(weighted_quantiles(values, np.zeros((1, 30)), qs)).all()
