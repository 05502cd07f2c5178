"""Every plot of the study: one function a figure, one figure a question, one style.

Figures sit on light and on dark pages alike: the background is transparent, frame and text are a grey of about equal
contrast to white and to black, and the data colours come from the Okabe-Ito palette, which the common kinds of colour
blindness tell apart. Things are labelled where they are instead of in a legend; what was not measured is written where
it would stand.
"""

from __future__ import annotations

import io
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Annotation
from matplotlib.ticker import FuncFormatter, LogLocator

from tradeoffs.records import without_seed
from tradeoffs.svg import lighter

GREY = "#7a7a7a"
BLUE = "#1a82c4"  # Okabe-Ito's blue, lightened until it stands out from black as well as from white
GREEN = "#009E73"
ORANGE = "#E69F00"
WIDTH_IN = 7.2
FONT_PT = 10
MOST_POINTS = 400  # a curve of more points is thinned, which keeps the file small and changes nothing one could see


def _figure(height_in: float, columns: int = 1, rows: int = 1) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained", facecolor="none")
    axes = list(np.atleast_1d(figure.subplots(rows, columns)).ravel())
    for axis in axes:
        _style(axis)
    return figure, axes


def _settle(figure: Figure) -> Figure:
    """Lay out once: the layout engine creeps with every drawing, so files would depend on what was shown before."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    return figure


def _style(axis: Axes) -> None:
    axis.set_facecolor("none")
    axis.tick_params(colors=GREY, labelcolor=GREY, labelsize=FONT_PT, which="both")
    for side, spine in axis.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(GREY)
    for label in (axis.xaxis.label, axis.yaxis.label, axis.title):
        label.set_color(GREY)
        label.set_fontsize(FONT_PT)


def _note(axis: Axes, text: str) -> None:
    axis.text(0.5, 0.5, text, transform=axis.transAxes, ha="center", va="center", color=GREY, fontsize=FONT_PT)
    axis.set_xticks([])
    axis.set_yticks([])


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _dots(axis: Axes, table: pd.DataFrame, scale: float = 1.0, baseline: str | None = None) -> None:
    """Draw one row a policy: dot, interval, value; an interval without limit runs to an arrow at the edge.

    Args:
        axis: where.
        table: columns `name`, `estimate`, `low`, `high`, `reason`, and optionally `note`, in order from top to bottom.
        scale: factor from the table's unit to the axis's.
        baseline: the row whose value is drawn through as a line.
    """
    known = table.dropna(subset=["estimate"])
    reach = pd.concat([known[name].astype(float) for name in ("estimate", "low", "high")]).dropna() * scale
    left, right = (float(reach.min()), float(reach.max())) if len(reach) else (0.0, 1.0)
    room = (right - left) or abs(right) or 1.0
    axis.set_xlim(left - 0.06 * room, right + 0.12 * room)
    for y, row in enumerate(table.to_dict("records")):
        if pd.isna(row["estimate"]):
            reason = row["reason"] if isinstance(row["reason"], str) else "no estimate"
            axis.text(
                0.02,
                y,
                f"not measured: {reason}",
                transform=axis.get_yaxis_transform(),
                color=GREY,
                va="center",
                fontsize=FONT_PT - 1,
            )
            continue
        x, colour = float(row["estimate"]) * scale, GREY if row["name"] == baseline else BLUE
        _whisker(axis, y, x, row["low"], row["high"], scale, colour)
        text = _number(x) + (f"  {row['note']}" if isinstance(row.get("note"), str) else "")
        axis.annotate(
            text, (x, y), xytext=(0, 6), textcoords="offset points", ha="center", color=colour, fontsize=FONT_PT - 1
        )
        if row["name"] == baseline:
            axis.axvline(x, color=GREY, linewidth=0.8, linestyle=":", zorder=0)
    axis.set_yticks(range(len(table)), list(table["name"]))
    axis.set_ylim(len(table) - 0.5, -0.7)
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_visible(False)


def _whisker(axis: Axes, y: float, x: float, low: float, high: float, scale: float, colour: str) -> None:
    axis.plot([x], [y], "o", color=colour, markersize=6)
    if pd.isna(low) and pd.isna(high):
        return
    ends = sorted(axis.get_xlim())
    start, stop = (ends[0] if pd.isna(low) else low * scale), (ends[1] if pd.isna(high) else high * scale)
    axis.plot([start, stop], [y, y], color=colour, linewidth=1.8, solid_capstyle="butt")
    marks = "><" if axis.xaxis_inverted() else "<>"
    for missing, end, mark in ((pd.isna(low), start, marks[0]), (pd.isna(high), stop, marks[1])):
        if missing:
            axis.plot([end], [y], mark, color=colour, markersize=7, clip_on=False)


def _metric(policies: pd.DataFrame, metric: str) -> pd.DataFrame:
    return policies[policies["metric"] == metric].rename(columns={"arm": "name"})


def _per_policy(policies: pd.DataFrame, metric: str, label: str, scale: float = 1.0) -> Figure:
    table = _metric(policies, metric)
    figure, (axis,) = _figure(0.9 + 0.44 * max(1, len(table)))
    _dots(axis, table, scale, baseline=table["name"].iloc[0] if len(table) else None)
    axis.set_xlabel(label)
    return _settle(figure)


def pass_rate(policies: pd.DataFrame) -> Figure:
    """How many answers pass?

    Args:
        policies: the table `policies.csv`, baseline first.
    """
    return _per_policy(policies, "pass_rate", "answers that pass (% of graded answers), 95 % interval", scale=100)


CHANNELS = {
    "tokens_per_answer": ("tokens an\nanswer (tokens)", 1.0),
    "tokens_per_s": ("÷ tokens a\nsecond (tokens/s)", 1.0),
    "pass_rate": ("÷ answers that\npass (%)", 100.0),
    "seconds_per_correct": ("= time a right\nanswer (s)", 1.0),
}


def seconds_per_correct(policies: pd.DataFrame) -> Figure:
    """What does a correct answer cost, and which of the three things that it is made of decides?

    One column each for length, pace, correctness, and what follows. All have a logarithmic axis on which a factor has the same length, and
    those of pace and correctness, by which one divides, run from right to left: shifts from the baseline in the first three add up to the
    shift in the last (where every answer was graded).

    Args:
        policies: the table `policies.csv`, baseline first.
    """
    columns = {name: _metric(policies, name).drop_duplicates("name").set_index("name") for name in CHANNELS}
    names = list(dict.fromkeys(policies["arm"]))
    figure, axes = _figure(0.9 + 0.36 * max(1, len(names)), len(CHANNELS))
    reaches = {}
    for name, (_, scale) in CHANNELS.items():
        numbers = columns[name][["estimate", "low", "high"]].to_numpy(float) * scale
        numbers = numbers[np.isfinite(numbers) & (numbers > 0)]
        reaches[name] = (float(numbers.min()), float(numbers.max())) if len(numbers) else (1.0, 1.0)
    width = 1.5 * max(1.5, *(high / low for low, high in reaches.values()))  # a factor, the same for all columns
    for axis, (name, (label, scale)) in zip(axes, CHANNELS.items(), strict=True):
        middle = math.sqrt(reaches[name][0] * reaches[name][1])
        axis.set_xscale("log")
        ends = middle / math.sqrt(width), middle * math.sqrt(width)
        axis.set_xlim(*(reversed(ends) if label.startswith("÷") else ends))
        for y, policy in enumerate(names):
            row = columns[name].loc[policy] if policy in columns[name].index else None
            _factor(axis, y, row, scale, GREY if policy == names[0] else BLUE)
            if y == 0 and row is not None and row["estimate"] > 0:
                axis.axvline(row["estimate"] * scale, color=GREY, linewidth=0.8, linestyle=":", zorder=0)
        axis.set_yticks(range(len(names)), names if axis is axes[0] else [""] * len(names))
        axis.set_ylim(len(names) - 0.4, -0.8)
        axis.tick_params(axis="y", length=0)
        axis.spines["left"].set_visible(False)
        axis.xaxis.set_major_locator(LogLocator(subs=(1.0,) if width > 30 else (1.0, 3.0), numticks=4))
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.minorticks_off()
        axis.set_xlabel(label)
    return _settle(figure)


def _factor(axis: Axes, y: float, row: pd.Series | None, scale: float, colour: str) -> None:
    """One policy on a logarithmic axis; no estimate, or one of zero, is written where it would stand."""
    if row is None or pd.isna(row["estimate"]) or row["estimate"] <= 0:
        text = "0" if row is not None and row["estimate"] == 0 else "not measured"
        axis.text(0.02, y, text, transform=axis.get_yaxis_transform(), color=colour, va="center", fontsize=FONT_PT - 2)
        return
    x = float(row["estimate"]) * scale
    low, high = (limit if pd.notna(limit) and limit > 0 else math.nan for limit in (row["low"], row["high"]))
    _whisker(axis, y, x, low, high, scale, colour)
    axis.annotate(
        _number(x), (x, y), xytext=(0, 5), textcoords="offset points", ha="center", color=colour, fontsize=FONT_PT - 2
    )


def tokens_per_answer(policies: pd.DataFrame) -> Figure:
    """How long are answers?

    Args:
        policies: the table `policies.csv`, baseline first.
    """
    return _per_policy(policies, "tokens_per_answer", "generated tokens per answer (tokens), 95 % interval")


def tokens_per_second(throughput: pd.DataFrame) -> Figure:
    """Does a policy generate faster or slower at forced lengths?

    Args:
        throughput: the table `throughput.csv`; rows of unmerged adapters, which are compared with something else, are left out.
    """
    merged = ~throughput["policy"].astype(str).str.endswith("(unmerged)")
    ratios = throughput[(throughput["rate"] == "ratio") & merged].rename(columns={"policy": "name"})
    base = ratios.loc[ratios["verdict"] == "baseline", "name"]
    others = ratios[ratios["verdict"] != "baseline"].assign(note=lambda t: t["verdict"])
    figure, (axis,) = _figure(1.2 + 0.44 * max(1, len(others)))
    name = str(base.iloc[0]) if len(base) else "the baseline"
    axis.set_xlabel(f"tokens/s relative to {name} (ratio), 95 % interval")
    if others.empty:
        _note(axis, "not measured: no timings of two policies")
        return _settle(figure)
    _dots(axis, others)
    margin = float(others["margin"].iloc[0])
    low, high = 1 / (1 + margin), 1 + margin
    left, right = axis.get_xlim()
    pad = 0.5 * (high - low)
    axis.set_xlim(min(left, low - pad), max(right, high + pad))
    axis.axvspan(low, high, color=GREEN, alpha=0.18, linewidth=0)
    axis.axvline(1, color=GREY, linewidth=0.8, linestyle=":")
    axis.set_ylim(len(others) - 0.5, -1.1)
    axis.text(
        1, -0.8, f"equivalence margin ±{100 * margin:g} %", ha="center", va="center", color=GREEN, fontsize=FONT_PT - 1
    )
    return _settle(figure)


def training(steps: pd.DataFrame) -> Figure:
    """Did training move the policies? One panel a policy, since the methods' losses are different quantities; one line a training seed.

    Where responses are sampled at every step, the panel shows their reward: a policy gradient's loss says nothing, it is about zero by
    construction.

    Args:
        steps: the table `training.csv`.
    """
    steps = steps.dropna(subset=["loss"])
    curves = {str(name): part for name, part in steps.groupby(steps["policy"].map(without_seed), sort=False)}
    columns = min(2, max(1, len(curves)))
    rows = math.ceil(max(1, len(curves)) / columns)
    figure, axes = _figure(0.6 + 1.8 * rows, columns, rows)
    for axis in axes[len(curves) :]:
        axis.set_visible(False)
    if not curves:
        axes[0].set_visible(True)
        _note(axes[0], "not measured: no training steps")
        axes[0].set(xlabel="optimizer step (count)", ylabel="loss (nats)")
    for axis, (name, part) in zip(axes, curves.items(), strict=False):
        rewarded = part[["reward", "response_tokens"]].notna().all(axis=None)
        seeds = list(part.groupby("policy", sort=False))
        for _, one in seeds:
            thin = one.sort_values("step").iloc[:: max(1, math.ceil(len(one) / MOST_POINTS))]
            axis.plot(
                thin["step"],
                thin["reward" if rewarded else "loss"].astype(float),
                color=BLUE,
                linewidth=1.4 if len(seeds) == 1 else 0.8,
                marker="o",
                markersize=2.5 if len(thin) < 60 and len(seeds) == 1 else 0,
            )
        axis.set_title(name, color=GREY, fontsize=FONT_PT, loc="left")
        axis.set(xlabel="optimizer step (count)", ylabel="mean reward" if rewarded else "loss (nats)")
        axis.margins(y=0.1)
    return _settle(figure)


def spread(values: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move labels apart along one axis.

    Args:
        values: where the labels would like to be.
        gap: smallest distance between two.
        low, high: the room they have; where it is too small for the gap they are evenly spaced over it.

    Returns:
        Positions in the order of `values`, in the same order along the axis.
    """
    gap = min(gap, (high - low) / max(1, len(values) - 1))
    order = np.argsort(values, kind="stable")
    placed = np.array([min(max(values[i], low), high) for i in order], dtype=float)
    for i in range(1, len(placed)):
        placed[i] = max(placed[i], placed[i - 1] + gap)
    for i in range(len(placed) - 1, -1, -1):
        placed[i] = min(placed[i], high if i == len(placed) - 1 else placed[i + 1] - gap)
    result = np.empty(len(placed))
    result[order] = placed
    return [float(value) for value in result]


def tradeoff(policies: pd.DataFrame, attained: pd.DataFrame | None = None) -> Figure:
    """Which policies give the most correctness for their time?

    Args:
        policies: the table `policies.csv`, baseline first.
        attained: the table `attainment.csv`: curves that some policy attains in 5, 50 and 95 % of draws.
    """
    rate, seconds = (_metric(policies, name).set_index("name") for name in ("pass_rate", "seconds_per_answer"))
    base = policies["arm"].iloc[0] if len(policies) else None
    both = [
        name for name in rate.index if pd.notna(rate.loc[name, "estimate"]) and pd.notna(seconds.loc[name, "estimate"])
    ]
    figure, (axis,) = _figure(4.2)
    axis.set(xlabel="generation time per answer (s), 95 % interval", ylabel="answers that pass (%), 95 % interval")
    if not both:
        _note(axis, "not measured: no policy with both answers and verdicts")
        return _settle(figure)
    x = [float(seconds.loc[name, "estimate"]) for name in both]
    y = [100 * float(rate.loc[name, "estimate"]) for name in both]
    for name, across, up in zip(both, x, y, strict=True):
        colour = GREY if name == base else BLUE
        for table, scale, draw in ((seconds, 1, "x"), (rate, 100, "y")):
            low, high = (table.loc[name, side] for side in ("low", "high"))
            if pd.notna(low) and pd.notna(high):
                ends = [low * scale, high * scale]
                axis.plot(
                    ends if draw == "x" else [across] * 2,
                    ends if draw == "y" else [up] * 2,
                    color=colour,
                    linewidth=1,
                    alpha=0.6,
                )
        axis.plot([across], [up], "o", color=colour, markersize=6)
    bottom, top = axis.get_ylim()
    axis.set_ylim(bottom, top)
    edge = axis.get_xlim()[1]
    axis.set_xlim(axis.get_xlim()[0], edge)
    for share, curve in attained.groupby("attained") if attained is not None else ():
        across_, up_ = [*curve["seconds_per_answer"], edge], [*curve["pass_rate"], curve["pass_rate"].iloc[-1]]
        axis.step(
            across_, [100 * y for y in up_], where="post", color=GREEN, linewidth=1.6 if share == 50 else 0.8, zorder=0
        )
    for name, across, up, label in zip(both, x, y, spread(y, 0.06 * (top - bottom), bottom, top), strict=True):
        colour = GREY if name == base else BLUE
        axis.annotate(
            name,
            (across, up),
            xytext=(1.02, label),
            textcoords=axis.get_yaxis_transform(),
            va="center",
            color=colour,
            fontsize=FONT_PT,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.5, "linestyle": ":"},
            annotation_clip=False,
        )
    axis.text(
        0.01,
        0.99,
        "↖ better: more correct, less time",
        transform=axis.transAxes,
        ha="left",
        va="top",
        color=GREEN,
        fontsize=FONT_PT - 1,
    )
    return _settle(figure)


def answer_lengths(answers: pd.DataFrame) -> Figure:
    """How long are one policy's answers, and how many hit the cap?

    Args:
        answers: `Answer` rows.
    """
    figure, (axis,) = _figure(2.6)
    axis.hist(answers["tokens"], bins=24, color=BLUE, alpha=0.85)
    capped = answers["finish"] == "length"
    if capped.any():
        most = int(answers.loc[capped, "tokens"].max())
        axis.axvline(most, color=GREY, linewidth=0.8, linestyle=":")
        axis.annotate(
            f"{capped.sum()} of {len(answers)} cut at {most} tokens ",
            (most, 1),
            xycoords=("data", "axes fraction"),
            ha="right",
            va="top",
            color=GREY,
            fontsize=FONT_PT - 1,
        )
    axis.set(xlabel="generated tokens per answer (tokens)", ylabel="answers (count)")
    return _settle(figure)


def block_speeds(timings: pd.DataFrame) -> Figure:
    """Do the policies' speeds move together from block to block?

    Args:
        timings: `Timing` rows.
    """
    figure, (axis,) = _figure(3.0)
    speed = timings.assign(rate=timings["batch_size"] * (timings["new_tokens"] - 1) / timings["decode_s"])
    last = int(speed["block"].max())
    ends = speed[speed["block"] == last].sort_values("rate")
    span = float(speed["rate"].max() - speed["rate"].min()) or 1.0
    places = spread(list(ends["rate"]), 0.09 * span, float(speed["rate"].min()), float(speed["rate"].max()))
    for place, row in zip(places, ends.itertuples(), strict=True):
        part = speed[speed["policy"] == row.policy].sort_values("block")
        axis.plot(part["block"], part["rate"], marker="o", markersize=3, linewidth=1.2)
        colour = axis.lines[-1].get_color()
        axis.annotate(
            str(row.policy), (last + 0.1, place), color=colour, va="center", fontsize=FONT_PT - 1, annotation_clip=False
        )
    axis.set_xlim(-0.2, last + 0.25 * max(last, 1) + 0.4)
    axis.set_xticks(range(last + 1))
    axis.set(xlabel="block (number)", ylabel="decode speed (tokens/s)")
    return _settle(figure)


def self_check(p: Sequence[float]) -> Figure:
    """Does the timing method see differences where there are none?

    Args:
        p: p-values of comparisons of the baseline with itself.
    """
    figure, (axis,) = _figure(3.0)
    axis.set(xlabel="p-value (probability)", ylabel="comparisons below it (share)")
    if not len(p):
        _note(axis, "not measured: self_check = 0")
        return _settle(figure)
    ordered = np.sort(np.asarray(p, dtype=np.float64))
    n = len(ordered)
    axis.step([0, *ordered, 1], [0, *(np.arange(1, n + 1) / n), 1], where="post", color=BLUE, linewidth=1.8)
    axis.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":")
    # Kolmogorov-Smirnov: in 95 % of checks of a sound method the whole curve stays in the band
    half = 1.36 / math.sqrt(n)
    x = np.linspace(0, 1, 50)
    axis.fill_between(x, np.clip(x - half, 0, 1), np.clip(x + half, 0, 1), color=GREEN, alpha=0.15, linewidth=0)
    axis.text(
        0.98, 0.06, f"band: 95 % of sound methods, {n} comparisons", ha="right", color=GREEN, fontsize=FONT_PT - 1
    )
    axis.set(xlim=(0, 1), ylim=(0, 1))
    return _settle(figure)


def controls(found: Mapping[str, Any]) -> Figure:
    """Does the timing method find changes that were made on purpose, under their own name?

    Args:
        found: see `tradeoffs.analysis.throughput.controls`.
    """
    figure, (axis,) = _figure(0.9 + 0.6 * max(1, len(found)))
    axis.set_xlabel("change of seconds a row (%), 95 % interval; | as made on purpose")
    if not found:
        _note(axis, "not measured: self_check = 0")
        return _settle(figure)
    rows = [
        {"name": f"{name.removeprefix('control: ')}: {row['factor']}", "reason": None}
        | {key: row["share"][key] for key in ("estimate", "low", "high")}
        for name, row in found.items()
    ]
    _dots(axis, pd.DataFrame(rows), scale=100)
    for y, row in enumerate(found.values()):
        axis.plot([100 * row["true"]] * 2, [y - 0.25, y + 0.25], color=GREEN, linewidth=1.8)
    return _settle(figure)


def roofline(table: pd.DataFrame) -> Figure:
    """How far from the machine's limit do the policies decode?

    Args:
        table: `roofline.csv`.
    """
    bounds = table.reindex(columns=["share", "share_low", "share_high"]).astype(float)
    rows = table.assign(**dict(zip(("estimate", "low", "high"), (bounds[name] for name in bounds), strict=True)))
    rows["name"] = [f"{p}, {n} row{'s' * (n > 1)}" for p, n in zip(rows["policy"], rows["batch_size"], strict=True)]
    figure, (axis,) = _figure(0.9 + 0.44 * max(1, len(rows)))
    axis.set_xlabel("decoding speed (% of the limit that memory and arithmetic set), 95 % interval")
    if rows.empty:
        _note(axis, "not measured: no timings")
        return _settle(figure)
    rows["note"] = [
        f"%: {_number(a)} of {_number(b)} tokens/s" for a, b in zip(rows["tokens_per_s"], rows["limit"], strict=True)
    ]
    _dots(axis, rows.assign(reason=None), scale=100)
    axis.set_xlim(0, max(100.0, axis.get_xlim()[1]))
    for text in axis.texts:  # of a dot beside the axis: not over its name
        if isinstance(text, Annotation) and text.xy[0] < 15:
            text.set_horizontalalignment("left")
    for dot in axis.lines:
        dot.set_clip_on(False)
    axis.axvline(100, color=GREY, linewidth=0.8, linestyle=":")
    return _settle(figure)


def acceptance(table: pd.DataFrame) -> Figure:
    """How often would a policy accept the tokens of the unaligned draft?

    Args:
        table: `acceptance.csv`.
    """
    figure, (axis,) = _figure(0.9 + 0.44 * max(1, len(table)))
    axis.set_xlabel("chance that a drafted token is accepted (%), 95 % interval")
    if table.empty:
        _note(axis, "not measured: no stage `speculate`")
        return _settle(figure)
    rows = table.rename(columns={"policy": "name", "alpha": "estimate"}).assign(reason=None)
    _dots(axis, rows, scale=100)
    return _settle(figure)


def verdict_counts(verdicts: pd.DataFrame) -> Figure:
    """How did one policy's answers end?

    Args:
        verdicts: `Verdict` rows.
    """
    counts = verdicts["status"].value_counts()
    figure, (axis,) = _figure(0.8 + 0.4 * len(counts))
    drawn = axis.barh(list(counts.index), list(counts), color=BLUE)
    axis.bar_label(drawn, color=GREY, fontsize=FONT_PT - 1, padding=3)
    axis.invert_yaxis()
    axis.set(xlabel="answers (count)")
    return _settle(figure)


def graded(groups: pd.DataFrame) -> Figure:
    """Which kinds of problems are solved?

    Args:
        groups: columns `name`, `estimate`, `low`, `high` (shares), `reason` and `note`; the first row is all together.
    """
    figure, (axis,) = _figure(0.9 + 0.44 * max(1, len(groups)))
    _dots(axis, groups, scale=100, baseline=groups["name"].iloc[0] if len(groups) else None)
    axis.set_xlabel("answers that pass (% of graded answers), 95 % interval")
    return _settle(figure)


def learning(effects: pd.DataFrame) -> Figure:
    """Does each method learn? Difference that true rewards make to its own objective, with intervals.

    Args:
        effects: `tradeoffs.analysis.learning.effects`.
    """
    factor = np.where(effects["run"] == "sft", 100.0, 1.0)  # nats are small beside points
    table = pd.DataFrame(
        {
            "name": effects["run"],
            "estimate": effects["difference"] * factor,
            "low": effects["low"] * factor,
            "high": effects["high"] * factor,
            "reason": "",
        }
    )
    figure, (axis,) = _figure(0.9 + 0.42 * len(table))
    _dots(axis, table)
    axis.axvline(0.0, color=GREY, linewidth=0.8, linestyle=":", zorder=0)
    left, right = axis.get_xlim()
    axis.set_xlim(min(left, -0.05 * (right - left)), right)
    axis.set_xlabel("objective, true minus shuffled (points; sft: 0.01 nats a token; dpo-pairs: nats)")
    return _settle(figure)


def _name_kinds(axis: Axes, kinds: Collection[bool] = (False, True), x: float = 0.04, gap: float = 0.15) -> None:
    """Name the lines of true and of shuffled rewards, those that there are."""
    for n, (shuffled, text, colour) in enumerate(((False, "true", BLUE), (True, "shuffled", GREY))):
        if shuffled in kinds:
            side = "left" if x < 0.5 else "right"
            axis.text(
                x, 0.95 - n * gap, text, color=colour, ha=side, va="top", transform=axis.transAxes, fontsize=FONT_PT
            )


def learning_curves(curves: pd.DataFrame) -> Figure:
    """What did training see? One panel a run, true rewards against shuffled ones: the mean of the seeds, and the range of them.

    Args:
        curves: `tradeoffs.analysis.learning.curves`.
    """
    runs = list(dict.fromkeys(curves["run"]))
    figure, axes = _figure(0.4 + 1.9 * math.ceil(len(runs) / 3), 3, math.ceil(len(runs) / 3))
    for axis in axes[len(runs) :]:
        axis.set_visible(False)
    for axis, run in zip(axes, runs, strict=False):
        own = curves[curves["run"] == run]
        column = own["measure"].iloc[0]
        for shuffled, colour in ((True, GREY), (False, BLUE)):
            line = own[own["shuffled"] == shuffled]
            if len(line):
                axis.plot(line["step"], line["mean"].to_numpy(float), color=colour, linewidth=1.4)
                low, high = line["least"].to_numpy(float), line["most"].to_numpy(float)
                axis.fill_between(line["step"], low, high, color=colour, alpha=0.18, linewidth=0)
        axis.set_title(run, color=GREY, fontsize=FONT_PT, loc="left")
        axis.set(xlabel="step", ylabel={"loss": "loss (nats)", "accuracy": "pairs right", "reward": "reward"}[column])
        axis.margins(y=0.15)
    if runs:
        _name_kinds(axes[0], x=0.98, gap=0.15)
    return _settle(figure)


def evaluations(curves: pd.DataFrame) -> Figure:
    """How does a policy change while it trains? A row of panels a run, a column a measure; true rewards against shuffled ones.

    Args:
        curves: `tradeoffs.analysis.learning.evaluations`.
    """
    labels = {
        "reward": "reward",
        "response_tokens": "tokens a response",
        "entropy": "entropy (nats a token)",
        "kl": "KL to start (nats)",
    }
    runs = list(dict.fromkeys(curves["run"]))
    figure, axes = _figure(0.5 + 1.35 * len(runs), len(labels), len(runs))
    for row, run in enumerate(runs):
        for column, (measure, label) in enumerate(labels.items()):
            axis = axes[row * len(labels) + column]
            own = curves[(curves["run"] == run) & (curves["measure"] == measure)]
            for shuffled, colour in ((True, GREY), (False, BLUE)):
                line = own[own["shuffled"] == shuffled]
                if len(line):
                    thousands = line["tokens"].to_numpy(float) / 1000
                    axis.plot(
                        thousands, line["mean"].to_numpy(float), "o-", color=colour, linewidth=1.4, markersize=2.5
                    )
                    low, high = line["least"].to_numpy(float), line["most"].to_numpy(float)
                    axis.fill_between(thousands, low, high, color=colour, alpha=0.18, linewidth=0)
            axis.margins(y=0.15)
            if row == 0:
                axis.set_title(label, color=GREY, fontsize=FONT_PT, loc="left")
            if row == len(runs) - 1:
                axis.set_xlabel("tokens (thousands)")
        axes[row * len(labels)].set_ylabel(run)
    if runs:
        _name_kinds(axes[len(labels) - 1], set(curves["shuffled"]), gap=0.17)  # a divergence begins at 0 below it
    return _settle(figure)


def price(effects: pd.DataFrame, start: pd.Series) -> Figure:
    """What did training do to length, entropy and divergence? A panel a measure, a dot a run and one its control, a line for the start.

    Args:
        effects: as for `learning`, with `<measure>_shuffled`, without runs that do not sample.
        start: the start policy's `tokens` and `entropy`.
    """
    own = effects[effects["tokens"].notna()]
    figure, axes = _figure(0.9 + 0.34 * len(own), 3)
    labels = {
        "tokens": "tokens a response",
        "entropy": "entropy (nats a token)",
        "kl": "KL to the start (nats a response)",
    }
    for n, (axis, (name, label)) in enumerate(zip(axes, labels.items(), strict=True)):
        axis.plot(own[f"{name}_shuffled"], range(len(own)), "o", color=GREY, markersize=5, fillstyle="none")
        axis.plot(own[name], range(len(own)), "o", color=BLUE, markersize=6)
        axis.hlines(range(len(own)), own[f"{name}_low"], own[f"{name}_high"], color=BLUE, linewidth=1.2)
        axis.axvline(float(start.get(name, 0.0)), color=GREY, linewidth=0.8, linestyle=":")  # no divergence from itself
        axis.set_yticks(range(len(own)), list(own["run"]) if n == 0 else [""] * len(own))
        axis.set_ylim(len(own) - 0.5, -0.5)
        axis.set_xlabel(label)
        axis.margins(x=0.15)
    return _settle(figure)


def dial(table: pd.DataFrame, matrix: pd.DataFrame) -> Figure:
    """Does the direction in the prompt move answers? Verbosity by angle, and the direction matrix.

    Args:
        table: `tradeoffs.analysis.learning.dial`, with `trained`, whether the policy was trained on the direction, and, where there is a
            control, its verbosity as `shuffled_verbosity`.
        matrix: `tradeoffs.analysis.learning.directions`.
    """
    figure, (left, right) = _figure(3.2, 2)
    left.plot(table["angle"], table["verbosity"], "-", color=BLUE, linewidth=1.4)
    for trained, own in table.groupby("trained"):
        left.plot(
            own["angle"], own["verbosity"], "o", color=BLUE, markersize=5, markerfacecolor=BLUE if trained else "white"
        )
    if table["verbosity_low"].notna().all():
        left.fill_between(
            table["angle"], table["verbosity_low"], table["verbosity_high"], color=BLUE, alpha=0.2, linewidth=0
        )
    left.set(xlabel="angle asked for (degrees)", ylabel="mean verbosity (0-100)")
    left.set_xticks(table["angle"], [f"{angle:g}" for angle in table["angle"]])
    if "shuffled_verbosity" in table:
        left.plot(table["angle"], table["shuffled_verbosity"], "o-", color=GREY, markersize=4, linewidth=1.2)
        _name_kinds(left, gap=0.1)
    if len(table) > 6:
        left.tick_params(axis="x", labelrotation=90)
    relative = matrix - matrix.max(axis=0)  # of its column: which prompt serves this direction best
    right.imshow(relative.to_numpy(), cmap="Blues", aspect="auto")
    for i, asked in enumerate(matrix.index):
        for j, along in enumerate(matrix.columns):
            value = relative.loc[asked, along]
            dark = value > relative.to_numpy().min() / 2
            right.text(
                j,
                i,
                f"{round(value, 1) or 0.0:.1f}",  # no minus before a zero
                ha="center",
                va="center",
                fontsize=FONT_PT - 2,
                color="white" if dark else "#333333",
            )
    for j, best in enumerate(matrix.to_numpy().argmax(axis=0)):
        right.add_patch(Rectangle((j - 0.5, best - 0.5), 1, 1, fill=False, edgecolor=ORANGE, linewidth=1.6))
    names = [f"{angle:g}" for angle in matrix.index]
    right.set_xticks(range(len(names)), names)
    right.set_yticks(range(len(names)), names)
    right.set(xlabel="angle rewarded (degrees)", ylabel="angle asked for (degrees)")
    return _settle(figure)


DOSE_PANELS = {
    "tokens_per_answer": ("length of an answer (tokens)", 1.0),
    "seconds_per_answer": ("time of an answer (s)", 1.0),
    "pass_rate": ("pass rate (%)", 100.0),
}


def dose_response(doses: pd.DataFrame) -> Figure:
    """Does what an answer costs follow the direction asked for?

    Args:
        doses: the table `doses.csv`.
    """
    if doses.empty:
        figure, (axis,) = _figure(1.4)
        _note(axis, "not measured: no policy was asked for two directions")
        return _settle(figure)
    figure, axes = _figure(2.8, len(DOSE_PANELS))
    for axis, (metric, (label, scale)) in zip(axes, DOSE_PANELS.items(), strict=True):
        for _, part in doses[(doses["metric"] == metric) & doses["estimate"].notna()].groupby("policy", sort=False):
            angle, value = part["angle"], part["estimate"] * scale
            axis.plot(angle, value, "o-", color=BLUE, markersize=5, linewidth=1.2)
            axis.vlines(angle, part["low"] * scale, part["high"] * scale, color=BLUE, linewidth=1.8)
        axis.set(xlabel="angle (degrees)", ylabel=label, xticks=sorted(set(doses["angle"])))
        axis.margins(x=0.15)
    return _settle(figure)


def plane(points: pd.DataFrame) -> Figure:
    """One policy with a dial against a policy for each trade-off: helpfulness against verbosity.

    Args:
        points: `kind` (`dpa`, `scalarisation` or `start`), `label`, `helpfulness` and `verbosity`, each with `<name>_low` and
            `<name>_high`.
    """
    figure, (axis,) = _figure(4.0)
    for kind, colour, mark in (("dpa", BLUE, "o-"), ("scalarisation", GREEN, "s"), ("start", GREY, "D")):
        own = points[points["kind"] == kind]
        axis.plot(own["verbosity"], own["helpfulness"], mark, color=colour, markersize=6, linewidth=1.2)
        thin: dict[str, Any] = dict(color=colour, linewidth=0.7, alpha=0.45, zorder=0)
        axis.hlines(own["helpfulness"], own["verbosity_low"], own["verbosity_high"], **thin)
        axis.vlines(own["verbosity"], own["helpfulness_low"], own["helpfulness_high"], **thin)
    axis.set(xlabel="mean verbosity (0-100)", ylabel="mean helpfulness (0-100)")
    # the points decide what is seen: an interval over three seeds may be ten times as wide as they lie apart
    for name, limit in (("verbosity", axis.set_xlim), ("helpfulness", axis.set_ylim)):
        least, most = points[name].min(), points[name].max()
        pad = 0.3 * max(most - least, 5.0)
        limit(least - pad, most + pad)
    # single points are named, and the dial's ends, the first below it; of the others those that cover no name
    dial = points[points["kind"] == "dpa"].to_dict("records")
    named: list[tuple[float, float]] = []
    for row in [*points[points["kind"] != "dpa"].to_dict("records"), *dial[:1], *dial[:0:-1]]:
        x, y = axis.transAxes.inverted().transform(axis.transData.transform((row["verbosity"], row["helpfulness"])))
        below = row in dial[:1]
        if not below and any(abs(x - a) < 0.09 and abs(y - b) < 0.05 for a, b in named):
            continue
        named.append((x, y - 0.05 * below))
        axis.annotate(
            str(row["label"]),
            (row["verbosity"], row["helpfulness"]),
            xytext=(6, -12 if below else 5),
            textcoords="offset points",
            color={"dpa": BLUE, "scalarisation": GREEN}.get(row["kind"], GREY),
            fontsize=FONT_PT - 1,
        )
    return _settle(figure)


# factor -> what its bar says
FACTOR_WORDS = {
    "attempts": "attempts",
    "length": "length",
    "batching": "batching",
    "roofline": "roofline",
    "efficiency": "efficiency",
    "prompt": "prompt",
    "seconds a token": "s a token",
    "total": "total",
}


def waterfall(decomposition: pd.DataFrame) -> Figure:
    """Why do a policy's right answers cost more or less than the baseline's?

    One panel a policy: each bar multiplies what stands to its left, until the total is reached.

    Args:
        decomposition: the table `decomposition.csv`.
    """
    found = {
        str(arm): part.set_index("factor")
        for arm, part in decomposition.groupby("arm", sort=False)
        if part["log"].notna().all()
    }
    absent = [str(arm) for arm in dict.fromkeys(decomposition["arm"]) if arm not in found]
    if not found:
        figure, (axis,) = _figure(1.4)
        _note(axis, "not measured: no policy to compare with the baseline, both with right answers")
        return _settle(figure)
    columns = min(3, len(found))
    rows = math.ceil(len(found) / columns)
    figure, axes = _figure(0.5 + 1.75 * rows, columns, rows)
    ends = [0.0]
    for part in found.values():
        ends += [*part["log"].drop("total").cumsum(), *part.loc["total", ["log", "log_low", "log_high"]].dropna()]
    room = 0.12 * (max(ends) - min(ends) or 1.0)
    ticks = [t for t in (1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8) if min(ends) - room <= math.log(t) <= max(ends) + room]
    if len(ticks) < 3:
        finer = (0.6, 0.7, 0.8, 0.9, 1, 1.1, 1.25, 1.5, 1.75)
        ticks = [t for t in finer if min(ends) - room <= math.log(t) <= max(ends) + room]
    for n, (axis, (arm, part)) in enumerate(zip(axes, found.items(), strict=False)):
        _fall(axis, part)
        axis.set_title(arm, fontsize=FONT_PT, color=GREY)
        axis.set_ylim(min(ends) - room, max(ends) + room)
        first, last = n % columns == 0, n + columns >= len(found)
        axis.set_yticks([math.log(t) for t in ticks], [f"×{t:g}" if first else "" for t in ticks])
        words = [FACTOR_WORDS.get(str(name), str(name)) if last else "" for name in part.index]
        axis.set_xticks(range(len(part)), words, rotation=90)
    for axis in axes[len(found) :]:
        axis.set_visible(False)
    figure.supylabel("seconds per correct answer (ratio to the baseline)", color=GREY, fontsize=FONT_PT)
    if absent:
        figure.supxlabel(f"not measured: {', '.join(absent)}", color=GREY, fontsize=FONT_PT - 1)
    return _settle(figure)


def _fall(axis: Axes, part: pd.DataFrame) -> None:
    """One policy's bars, from no change to its total; whiskers are the 95 % interval of the bar's own length."""
    level = 0.0
    axis.axhline(0, color=GREY, linewidth=0.8, linestyle=":", zorder=0)
    for x, (name, row) in enumerate(part.iterrows()):
        whole = name == "total"
        base, height = (0.0, float(row["log"])) if whole else (level, float(row["log"]))
        axis.bar(x, height, bottom=base, width=0.72, color=GREY if whole else (GREEN if height < 0 else BLUE))
        if pd.notna(row["log_low"]) and pd.notna(row["log_high"]):
            axis.plot([x, x], [base + row["log_low"], base + row["log_high"]], color=GREY, linewidth=1)
        if not whole:
            level += height
            axis.plot([x - 0.36, x + 1.36], [level, level], color=GREY, linewidth=0.5)


def pass_rate_by_group(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """Where are right answers? Pass rates by group, a panel a group.

    Args:
        tables: by the column that they group by (`library`, `tier`, `perturbation`): that column, `arm`, `pass_rate`, `low` and `high`.
    """
    found = {by: table[table["pass_rate"].notna()] for by, table in tables.items()}
    ways = [(by, sorted(set(table[by]))) for by, table in found.items() if len(table)]
    if not ways:
        figure, (axis,) = _figure(1.4)
        _note(axis, "not measured: no graded answers")
        return _settle(figure)
    panels = [(by, value) for by, values in ways for value in values]
    columns = min(7, len(panels))
    rows = math.ceil(len(panels) / columns)
    arms = list(dict.fromkeys(str(arm) for by, _ in ways for arm in found[by]["arm"]))
    figure, axes = _figure(rows * (0.6 + 0.15 * len(arms)), columns, rows)
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    for n, (axis, (by, value)) in enumerate(zip(axes, panels, strict=False)):
        own = found[by][found[by][by] == value].set_index("arm")
        places = [arms.index(str(arm)) for arm in own.index]
        colours = [GREY if place == 0 else BLUE for place in places]
        axis.hlines(
            places, 100 * own["low"].astype(float), 100 * own["high"].astype(float), colors=colours, linewidth=1
        )
        axis.scatter(100 * own["pass_rate"].astype(float), places, c=colours, s=12, zorder=3)
        axis.set_yticks(*((list(range(len(arms))), arms) if n % columns == 0 else ([0], [""])))
        axis.tick_params(labelsize=FONT_PT - 2)
        axis.set_ylim(len(arms) - 0.5, -0.5)
        axis.set_xlim(-6, 106)
        below = n + columns >= len(panels)
        axis.set_xticks([0, 50, 100], ["0", "50", "100"] if below else [""] * 3)
        axis.set_xlabel("pass (%)" if below else "", fontsize=FONT_PT - 2)
        title = f"{by} {value}" if by == "tier" else str(value).removeprefix("Difficult-")
        axis.set_title(title, color=GREY, fontsize=FONT_PT - 2, loc="left")
    return _settle(figure)


def all_figures(tables: dict[str, pd.DataFrame]) -> dict[str, Figure]:
    """Draw every figure.

    Args:
        tables: the analysis's tables by name.

    Returns:
        Figures by the name of their file.
    """
    return {
        "pass_rate": pass_rate(tables["policies"]),
        "seconds_per_correct": seconds_per_correct(tables["policies"]),
        "tokens_per_answer": tokens_per_answer(tables["policies"]),
        "tokens_per_second": tokens_per_second(tables["throughput"]),
        "training": training(tables["training"]),
        "tradeoff": tradeoff(tables["policies"], tables["attainment"]),
        "waterfall": waterfall(tables["decomposition"]),
        "self_check": self_check(list(tables["self_check"]["p"])),
        "roofline": roofline(tables["roofline"]),
        "acceptance": acceptance(tables["acceptance"]),
        "dose_response": dose_response(tables["doses"]),
        "pass_rate_by_group": pass_rate_by_group(
            {"library": tables["libraries"], "tier": tables["tiers"], "perturbation": tables["perturbations"]}
        ),
    }


def to_svg(figure: Figure) -> str:
    """Render as a light SVG with a transparent background; the same figure gives the same text on every run and machine."""
    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "path", "svg.hashsalt": "tradeoffs", "path.simplify": True}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return lighter(buffer.getvalue())
