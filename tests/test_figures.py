"""Every figure renders from a small table, names its units, stays small, and is legible on light and dark pages."""

from __future__ import annotations

import math
import re
from typing import Any
from xml.etree import ElementTree

import pandas as pd
import pytest
from matplotlib.figure import Figure

from tradeoffs import figures
from tradeoffs.svg import lighter

UNIT = re.compile(r"\((%|% of [a-z ]+|s|tokens|tokens/s|ratio|count|nats|share|probability|degrees)\)")
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


def decomposition() -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    for arm in ("sft", "dpo"):
        parts = {"attempts": -0.3, "length": 0.5, "batching": 0.1, "roofline": 0.0, "efficiency": 0.01, "prompt": -0.05}
        for factor, log in (parts | {"total": sum(parts.values())}).items():
            rows.append({"arm": arm, "factor": factor, "log": log, "log_low": log - 0.1, "log_high": log + 0.1})
    rows += [{"arm": "gone", "factor": factor, "log": None} for factor in ("attempts", "total")]
    return pd.DataFrame(rows, columns=["arm", "factor", "log", "log_low", "log_high"])


def checked() -> pd.DataFrame:
    return pd.DataFrame({"study": range(20), "p": [0.025 + 0.05 * n for n in range(20)]})


def limits() -> pd.DataFrame:
    rows = [
        {"policy": p, "batch_size": b, "tokens_per_s": 60.0 * b, "limit": 100.0 * b, "share": 0.6}
        for p in ("base", "dpo")
        for b in (1, 8)
    ]
    return pd.DataFrame(rows, columns=["policy", "batch_size", "tokens_per_s", "limit", "share"])


def accepted() -> pd.DataFrame:
    return pd.DataFrame({"policy": ["base", "dpo"], "alpha": [1.0, 0.8], "low": [1.0, 0.7], "high": [1.0, 0.9]})


def doses() -> pd.DataFrame:
    rows = [
        ("dpa", a, m, 10.0 + a / 45, 9.0 + a / 45, 11.0 + a / 45)
        for m in figures.DOSE_PANELS
        for a in (-45.0, 0.0, 45.0)
    ]
    return pd.DataFrame(rows, columns=["policy", "angle", "metric", "estimate", "low", "high"])


def attained() -> pd.DataFrame:
    rows = [(share, 1.0 + 0.1 * n, 0.05 + 0.01 * n - share / 1000) for share in (5, 50, 95) for n in range(3)]
    return pd.DataFrame(rows, columns=["attained", "seconds_per_answer", "pass_rate"])


FIGURES = {
    "pass_rate": (figures.pass_rate, policies),
    "seconds_per_correct": (figures.seconds_per_correct, policies),
    "tokens_per_answer": (figures.tokens_per_answer, policies),
    "tokens_per_second": (figures.tokens_per_second, throughput),
    "training": (figures.training, training),
    "tradeoff": (figures.tradeoff, policies),
    "waterfall": (figures.waterfall, decomposition),
    "self_check": (lambda table: figures.self_check(list(table["p"])), checked),
    "roofline": (figures.roofline, limits),
    "acceptance": (figures.acceptance, accepted),
    "dose_response": (figures.dose_response, doses),
    "pass_rate_by_group": (lambda table: figures.pass_rate_by_group({"library": table}), lambda: grouped("library")),
}


@pytest.fixture(params=list(FIGURES))
def figure(request: pytest.FixtureRequest) -> Figure:
    draw, table = FIGURES[request.param]
    return draw(table())


def is_number(text: str) -> bool:
    return text.strip("−.").replace(".", "").isdigit()


def words(figure: Figure) -> list[str]:
    return [text.get_text() for axis in figure.axes for text in axis.texts]


def test_axes_name_a_unit(figure: Figure) -> None:
    for axis in figure.axes:
        if axis.get_visible():
            names = [label.get_text() for label in axis.get_xticklabels()]
            assert UNIT.search(axis.get_xlabel()) or not any(map(is_number, names)), axis.get_xlabel()
            assert UNIT.search(axis.get_ylabel()) or axis.get_yticklabels(), axis.get_ylabel()


def test_renders_small_transparent_and_repeatable(figure: Figure) -> None:
    svg = figures.to_svg(figure)
    assert svg == figures.to_svg(figure)
    assert "<svg" in svg and len(svg) < max(60_000, 20_000 * len(figure.axes))
    assert "fill: #ffffff" not in svg


@pytest.mark.parametrize("name", list(FIGURES))
def test_a_light_drawing_is_the_same_drawing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    draw, table = FIGURES[name]
    light = figures.to_svg(draw(table()))
    monkeypatch.setattr(figures, "lighter", lambda drawing: drawing)
    whole = figures.to_svg(draw(table()))
    (shapes, _), (before, _) = _drawn(light), _drawn(whole)
    assert len(light) < 0.9 * len(whole) and shapes == before and len(shapes) > 10
    referred = re.findall(r"(?:href=\"|url\()#([\w-]+)", light)
    assert referred and set(referred) <= _drawn(light)[1]
    assert lighter(light) == light


def _drawn(drawing: str) -> tuple[list[tuple[str, dict[str, object]]], set[str]]:
    """What an SVG draws, in order and to a tenth of a point, and the names it gives."""
    shapes, names = [], set()
    for element in ElementTree.fromstring(drawing).iter():
        names |= {name} if (name := element.attrib.get("id")) else set()
        if element.tag.rpartition("}")[2] == "g" and not set(element.attrib) - {"id"}:
            continue
        marks: dict[str, object] = {"": (element.text or "").strip()}
        for key, value in element.attrib.items():
            rounded = re.sub(r"(\d\.\d)\d+", r"\1", value) if key in ("d", "x", "y") else value
            marks |= {} if key == "id" else {key: " ".join(rounded.split())}
        shapes.append((element.tag, marks))
    return shapes, names


def test_nothing_is_drawn_in_black(figure: Figure) -> None:
    svg = figures.to_svg(figure)
    assert "#000000" not in svg and "stroke: #262626" not in svg
    for axis in figure.axes:
        assert axis.xaxis.label.get_color() == figures.GREY
        assert all(label.get_color() == figures.GREY for label in axis.get_xticklabels())


@pytest.mark.parametrize("name", ["pass_rate", "tokens_per_answer"])
def test_what_was_not_measured_is_said_in_its_place(name: str) -> None:
    figure = FIGURES[name][0](policies())
    assert any(text.startswith("not measured: ") for text in words(figure))
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [*ARMS, "gone"]


def test_a_factor_has_one_length_in_all_columns_and_what_is_not_known_is_said() -> None:
    table = policies()
    table.loc[(table["arm"] == "dpo") & (table["metric"] == "pass_rate"), ["estimate", "low"]] = 0.0
    figure = figures.seconds_per_correct(table)
    spans = [math.log(axis.get_xlim()[1] / axis.get_xlim()[0]) for axis in figure.axes]
    assert spans == pytest.approx([spans[0], -spans[0], -spans[0], spans[0]])  # one divides by the two in the middle
    said = [[(text.get_position()[1], text.get_text()) for text in axis.texts] for axis in figure.axes]
    dpo, gone = ARMS.index("dpo"), len(ARMS)
    assert (dpo, "0") in said[2] and (gone, "not measured") in said[3]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [*ARMS, "gone"]


@pytest.mark.parametrize("name", list(FIGURES))
def test_an_empty_table_gives_a_figure_that_says_so(name: str) -> None:
    draw, table = FIGURES[name]
    figures.to_svg(draw(table().iloc[:0]))


def test_tokens_per_second_shows_margin_and_verdicts() -> None:
    text = " ".join(words(figures.tokens_per_second(throughput())))
    assert "equivalence margin ±2 %" in text and "inconclusive" in text
    assert "p0" in figures.tokens_per_second(throughput()).axes[0].get_xlabel()


def test_an_unmerged_adapter_does_not_squeeze_the_margin() -> None:
    row = {
        "policy": "p1 (unmerged)",
        "rate": "ratio",
        "estimate": 0.6,
        "low": 0.5,
        "high": 0.7,
        "verdict": "different",
        "margin": 0.02,
    }
    axis = figures.tokens_per_second(pd.concat([throughput(), pd.DataFrame([row])])).axes[0]
    assert axis.get_xlim()[0] > 0.7 and len(axis.get_yticklabels()) == 3


def test_an_interval_without_limit_points_to_where_it_is_open_even_on_a_reversed_axis() -> None:
    table = policies(["base", "x"])
    table.loc[(table["arm"] == "x") & (table["metric"] == "pass_rate"), "low"] = 0.0  # no limit on a logarithmic axis
    axis = figures.seconds_per_correct(table).axes[2]
    assert axis.xaxis_inverted()
    (arrow,) = [line for line in axis.lines if line.get_marker() in "<>"]
    assert arrow.get_marker() == ">" and arrow.get_xdata()[0] == pytest.approx(min(axis.get_xlim()))


def test_every_policy_is_labelled_at_its_point() -> None:
    assert set(ARMS) <= set(words(figures.tradeoff(policies())))


def test_attainment_is_drawn_as_three_steps() -> None:
    axis = figures.tradeoff(policies(), attained()).axes[0]
    steps = [line for line in axis.lines if line.get_drawstyle() == "steps-post"]
    assert len(steps) == 3


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
    tables |= {"attainment": attained()}
    tables |= {
        "decomposition": decomposition(),
        "self_check": checked(),
        "roofline": limits(),
        "acceptance": accepted(),
        "doses": doses(),
    }
    tables |= {"libraries": grouped("library"), "tiers": grouped("tier"), "perturbations": grouped("perturbation")}
    assert set(figures.all_figures(tables)) == set(FIGURES)


def grouped(by: str, values: int = 3) -> pd.DataFrame:
    rows = [(arm, f"{by} {n}", 0.1 * n, 0.0, 0.5) for arm in ("base", "dpo") for n in range(values)]
    return pd.DataFrame(rows, columns=["arm", by, "pass_rate", "low", "high"])


def test_training_seeds_share_a_panel() -> None:
    table = pd.concat([training(), training().assign(policy=lambda t: t["policy"] + "-s1", loss=1.0)])
    panels = [axis for axis in figures.training(table).axes if axis.get_visible()]
    assert [axis.get_title(loc="left") for axis in panels] == ["sft", "dpo", "dpa"]
    assert [len(axis.lines) for axis in panels] == [2, 2, 2] and set(panels[0].lines[1].get_ydata()) == {1.0}


def test_the_limit_is_drawn_with_the_interval_of_the_share() -> None:
    table = limits().assign(share_low=0.5, share_high=0.7)
    (axis,) = figures.roofline(table).axes
    assert [list(line.get_xdata()) for line in axis.lines if len(line.get_xdata()) == 2][:4] == [[50.0, 70.0]] * 4
    assert not [line for line in figures.roofline(limits()).axes[0].lines if list(line.get_xdata()) == [50.0, 70.0]]


def test_groups_have_a_panel_each_and_arms_one_place_in_all() -> None:
    tier = grouped("tier", 2).drop(index=0)  # `base` has no answers there
    figure = figures.pass_rate_by_group({"library": grouped("library", 6), "tier": tier, "perturbation": tier.iloc[:0]})
    panels = [axis for axis in figure.axes if axis.get_visible()]
    assert [axis.get_title(loc="left") for axis in panels][5:] == ["library 5", "tier tier 0", "tier tier 1"]
    assert [label.get_text() for label in panels[0].get_yticklabels()] == ["base", "dpo"]
    assert panels[6].collections[1].get_offsets().tolist() == [[0.0, 1.0]]  # `dpo` stays in the second row


def test_a_waterfall_ends_at_its_total_and_names_who_has_none() -> None:
    figure = figures.waterfall(decomposition())
    panels = [axis for axis in figure.axes if axis.get_visible()]
    assert [axis.get_title() for axis in panels] == ["sft", "dpo"]
    bars = [patch for patch in panels[0].patches if round(patch.get_width(), 6) == 0.72]
    ends = [bar.get_y() + bar.get_height() for bar in bars]
    assert ends[-1] == pytest.approx(ends[-2]) == pytest.approx(0.26)
    assert figure._supxlabel.get_text() == "not measured: gone"  # type: ignore[attr-defined]


def test_controls_show_what_was_done_beside_what_was_found() -> None:
    share = {"estimate": 0.05, "low": 0.04, "high": 0.06}
    found = {"control: slower": {"factor": "efficiency", "true": 0.049, "share": share, "others": 0.0, "found": True}}
    figure = figures.controls(found)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["slower: efficiency"]
    assert any(
        line.get_color() == figures.GREEN and line.get_xdata()[0] == pytest.approx(4.9) for line in figure.axes[0].lines
    )
    figures.to_svg(figures.controls({}))
