"""Acceptance of a draft's tokens: formulas by hand, the stage on a tiny model."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from tradeoffs.analysis.speculation import acceptance_table, speed_up, tokens_per_pass
from tradeoffs.inference.speculation import acceptance, speculate
from tradeoffs.parameters import ParameterError, SpeculateParameters, check
from tradeoffs.records import Acceptance, read_rows


def test_acceptance_by_hand() -> None:
    p, q = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.2, 0.3, 0.5])
    alpha, kl = acceptance(p.log(), q.log() + 7.0)  # logits are defined up to a constant
    assert float(alpha) == pytest.approx(0.7)
    assert float(kl) == pytest.approx(0.5 * math.log(2.5) + 0.2 * math.log(0.4))


def test_acceptance_is_how_often_speculative_sampling_accepts() -> None:
    # the algorithm itself: draw from the draft, accept with min(1, p / q)
    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.ones(8)), rng.dirichlet(np.ones(8))
    drawn = rng.choice(8, size=200_000, p=q)
    accepted = rng.random(200_000) < np.minimum(1, p[drawn] / q[drawn])
    alpha, kl = acceptance(torch.tensor(np.log(p)), torch.tensor(np.log(q)))
    assert accepted.mean() == pytest.approx(float(alpha), abs=0.004)
    assert 1 - float(alpha) <= math.sqrt(float(kl) / 2)  # Pinsker


def test_equal_distributions_accept_everything() -> None:
    logits = torch.randn(5, 11)
    alpha, kl = acceptance(logits, logits)
    assert alpha.tolist() == pytest.approx([1.0] * 5) and kl.tolist() == pytest.approx([0.0] * 5, abs=1e-6)


@pytest.mark.parametrize(("alpha", "expected"), [(0.6, 1.92), (0.7, 2.31), (0.8, 2.80)])
def test_speed_up_of_the_published_settings(alpha: float, expected: float) -> None:
    assert speed_up(alpha, 4, 0.05) == pytest.approx(expected, abs=0.006)


def test_tokens_a_pass_at_the_ends() -> None:
    assert tokens_per_pass(1.0, 4) == 5 and tokens_per_pass(0.0, 4) == 1
    # a geometric number of accepted tokens, cut at 3
    assert tokens_per_pass(0.5, 3) == pytest.approx(1 + 0.5 + 0.25 + 0.125)


def test_a_table_weighs_tokens_and_gives_intervals() -> None:
    rows = pd.DataFrame(
        [
            {
                "policy": "x",
                "problem_id": n,
                "tokens": t,
                "alpha": a,
                "kl": 0.02,
                "agree": a,
                "live_passes": None,
                "live_tokens": None,
            }
            | {"live_s": None, "plain_s": None}
            for n, (t, a) in enumerate([(10, 0.5), (30, 0.9), (20, 0.7)])
        ]
    )
    (found,) = acceptance_table(rows, drafted=4).to_dict("records")
    assert found["alpha"] == pytest.approx((5 + 27 + 14) / 60)
    assert found["low"] < found["alpha"] < found["high"]
    assert found["bound"] == pytest.approx(0.9) and found["live_speed"] is None
    assert acceptance_table(rows.iloc[:0], drafted=4).empty


def asked(tiny: Path, out: Path, **changes: Any) -> SpeculateParameters:
    values: dict[str, Any] = dict(
        model=str(tiny),
        policies={"base": "", "copy": ""},
        out=str(out),
        limit=3,
        max_new_tokens=6,
        live=2,
        dtype="float32",
    )
    return SpeculateParameters(**(values | changes))


def test_a_policy_accepts_itself_and_a_killed_run_goes_on(tiny: Path, tmp_path: Path) -> None:
    record = speculate(asked(tiny, tmp_path / "s"))
    path = tmp_path / "s" / "acceptance.jsonl"
    rows = read_rows(path, Acceptance)
    assert record.counts["completed"] == 2 and len(rows) == 6
    assert [row.alpha for row in rows] == pytest.approx([1.0] * 6, abs=1e-5)
    live = [row for row in rows if row.live_passes is not None]
    assert len(live) == 4
    for row in live:
        assert row.live_equal and row.live_tokens
        # a draft equal to the target: all proposals accepted, five tokens a pass
        assert row.live_passes <= math.ceil(row.live_tokens / 5) + 1
    whole = path.read_text()
    (tmp_path / "s" / "record.json").unlink()
    path.write_text("".join(whole.splitlines(keepends=True)[:4]))
    speculate(asked(tiny, tmp_path / "s"))
    again = read_rows(path, Acceptance)
    assert [(row.policy, row.problem_id, row.alpha) for row in again] == [
        (r.policy, r.problem_id, r.alpha) for r in rows
    ]


def test_an_unknown_draft_is_refused() -> None:
    with pytest.raises(ParameterError, match="draft: got 'x'; accepts '' or one of base"):
        check(SpeculateParameters, {"draft": "x"})
