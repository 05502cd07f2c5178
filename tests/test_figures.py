"""Every figure renders from a small table, names its units, stays small, and is legible on light and dark pages."""

from __future__ import annotations

import math
import re
from typing import Any

import pandas as pd
import pytest
from matplotlib.figure import Figure

from tradeoffs import figures

UNIT = re.compile(r"\((%|% of [a-z ]+|s|tokens|ratio|count|nats)\)")
ARMS = ["base", "sft-code", "sft-general", "dpo", "dpa-45m", "dpa-0", "dpa-45p"]


def policies(arms: list[str] = ARMS) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    for i, arm in enumerate(arms):
        rate = 0.05 + 0.02 * i
        for metric, value in (
            ("pass_rate", rate),
            ("tokens_per_answer", 90.0 - i),
            ("seconds_per_answer", 1.0 + 0.1 * i),
        ):
            rows.append({"arm": arm, "metric": metric, "estimate": value, "low": value * 0.5, "high": value * 1.5})
        rows.append(
            {
                "arm": arm,
                "metric": "seconds_per_correct",
                "estimate": 20.0 - i,
                "low": 9.0,
                "high": None if i == 1 else 40.0,
            }
        )
    rows.append({"arm": "gone", "metric": "seconds_per_correct", "reason": "no answer passed"})
    rows += [
        {"arm": "gone", "metric": m, "reason": "no answers of gone"}
        for m in ("pass_rate", "tokens_per_answer", "seconds_per_answer")
    ]
    return pd.DataFrame(rows, columns=["arm", "metric", "estimate", "low", "high", "unit", "reason"])


def throughput() -> pd.DataFrame:
    words = ["baseline", "equivalent", "different", "inconclusive"]
    values = [(1.0, None, None), (1.001, 0.99, 1.012), (1.2, 1.15, 1.25), (0.95, 0.8, 1.1)]
    return pd.DataFrame(
        [
            {
                "policy": f"p{i}",
                "rate": "ratio",
                "estimate": v[0],
                "low": v[1],
                "high": v[2],
                "verdict": w,
                "margin": 0.02,
            }
            for i, (v, w) in enumerate(zip(values, words, strict=True))
        ]
    )


def training() -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"policy": p, "step": i, "kind": "step", "loss": 2 / (i + 1), "reward": 0.5, "response_tokens": math.nan}
            for p in ("sft", "dpo", "dpa")
            for i in range(1000)
        ]
    )


FIGURES = {
    "pass_rate": (figures.pass_rate, policies),
    "seconds_per_correct": (figures.seconds_per_correct, policies),
    "tokens_per_answer": (figures.tokens_per_answer, policies),
    "tokens_per_second": (figures.tokens_per_second, throughput),
    "training": (figures.training, training),
    "tradeoff": (figures.tradeoff, policies),
}


@pytest.fixture(params=list(FIGURES))
def figure(request: pytest.FixtureRequest) -> Figure:
    draw, table = FIGURES[request.param]
    return draw(table())


def words(figure: Figure) -> list[str]:
    return [text.get_text() for axis in figure.axes for text in axis.texts]


def test_axes_name_a_unit(figure: Figure) -> None:
    for axis in figure.axes:
        if axis.get_visible():
            assert UNIT.search(axis.get_xlabel()), axis.get_xlabel()
            assert UNIT.search(axis.get_ylabel()) or axis.get_yticklabels(), axis.get_ylabel()


def test_renders_small_transparent_and_repeatable(figure: Figure) -> None:
    svg = figures.to_svg(figure)
    assert svg == figures.to_svg(figure)
    assert "<svg" in svg and len(svg) < 60_000
    assert "fill: #ffffff" not in svg


def test_nothing_is_drawn_in_black(figure: Figure) -> None:
    svg = figures.to_svg(figure)
    assert "#000000" not in svg and "stroke: #262626" not in svg
    for axis in figure.axes:
        assert axis.xaxis.label.get_color() == figures.GREY
        assert all(label.get_color() == figures.GREY for label in axis.get_xticklabels())


@pytest.mark.parametrize("name", ["pass_rate", "seconds_per_correct", "tokens_per_answer"])
def test_what_was_not_measured_is_said_in_its_place(name: str) -> None:
    figure = FIGURES[name][0](policies())
    assert any(text.startswith("not measured: ") for text in words(figure))
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [*ARMS, "gone"]


@pytest.mark.parametrize("name", list(FIGURES))
def test_an_empty_table_gives_a_figure_that_says_so(name: str) -> None:
    draw, table = FIGURES[name]
    figures.to_svg(draw(table().iloc[:0]))


def test_tokens_per_second_shows_margin_and_verdicts() -> None:
    text = " ".join(words(figures.tokens_per_second(throughput())))
    assert "equivalence margin ±2 %" in text and "inconclusive" in text
    assert "p0" in figures.tokens_per_second(throughput()).axes[0].get_xlabel()


def test_every_policy_is_labelled_at_its_point() -> None:
    assert set(ARMS) <= set(words(figures.tradeoff(policies())))


def test_training_has_a_panel_a_policy() -> None:
    figure = figures.training(training())
    assert [axis.get_title(loc="left") for axis in figure.axes if axis.get_visible()] == ["sft", "dpo", "dpa"]


def test_training_shows_rewards_where_every_step_samples() -> None:
    sampled = training().query("policy == 'dpa'").assign(policy="rloo", response_tokens=20.0)
    titled = {
        axis.get_title(loc="left"): axis.get_ylabel()
        for axis in figures.training(pd.concat([training(), sampled])).axes
    }
    assert titled["dpo"] == "loss (nats)" and titled["rloo"] == "mean reward"


def test_labels_are_moved_apart_and_keep_their_order() -> None:
    placed = figures.spread([0.5, 0.5, 0.5, 0.0], 0.1, 0.0, 1.0)
    assert sorted(placed) == pytest.approx([0.0, 0.5, 0.6, 0.7])
    placed = figures.spread([1.0, 1.0, 1.0], 0.1, 0.0, 1.0)
    assert sorted(placed) == pytest.approx([0.8, 0.9, 1.0])
    assert figures.spread([0.0] * 3, 9.0, 0.0, 1.0) == pytest.approx([0.0, 0.5, 1.0])


def test_all_figures_have_their_file_names() -> None:
    tables = {"policies": policies(), "throughput": throughput(), "training": training()}
    assert set(figures.all_figures(tables)) == set(FIGURES)
