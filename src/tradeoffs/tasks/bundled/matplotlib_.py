"""Evaluation problems for Matplotlib: titles and labels, scatter and bar charts, scales, legends, annotated bars.

A picture that equals the reference's passes; any other is judged by what the axes hold, so that colours, sizes and the
order of calls are free. Each entry pairs a problem with answers that must fail, drawing nothing among them. Tier 1
problems are one common call; tier 2 combines two or three; tier 3 needs a second axis or bars placed and labelled.
"""

from __future__ import annotations

from tradeoffs.tasks.format import Problem, plot_problem

_HARVEST = """
import matplotlib.pyplot as plt

month = [3, 4, 5, 6, 7]
tonnes = [1.2, 2.9, 4.4, 3.1, 0.8]
plt.plot(month, tonnes)
"""
_BIRDS = """
import matplotlib.pyplot as plt

wingspan = [21, 34, 28, 55, 47, 39]
weight = [18, 52, 30, 160, 118, 81]
"""
_PETS = """
import matplotlib.pyplot as plt

pets = ["cat", "dog", "newt", "parrot"]
owners = [14, 19, 2, 5]
"""
_COLONY = """
import matplotlib.pyplot as plt

minutes = [1, 10, 20, 40, 80]
cells = [3, 31, 290, 12000, 950000]
plt.plot(minutes, cells, marker="s")
"""
_SHOPS = """
import matplotlib.pyplot as plt

week = [1, 2, 3, 4]
bakery = [40, 44, 39, 51]
florist = [12, 30, 25, 18]
"""
_POND = """
import matplotlib.pyplot as plt

hour = [6, 9, 12, 15, 18]
litres = [310, 250, 180, 205, 290]
celsius = [11.5, 14.0, 19.5, 21.0, 16.5]
"""
_FREIGHT = """
import matplotlib.pyplot as plt

port = ["Bergen", "Cadiz", "Izmir"]
rail = [7, 3, 9]
road = [5, 12, 4]
"""

# Every check below reads the axes after the answer was drawn, so tick labels and text positions are final.
_BARS = """
bars = [p for p in ax.patches if hasattr(p, "get_height") and p.get_height() > 0 and p.get_width() > 0]
ticks = {t.get_text(): x for t, x in zip(ax.get_xticklabels(), ax.get_xticks())}
"""
_TEXT_ABOVE = """
def labelled(x, y, value):
    left, top = ax.transData.transform((x, y))
    for text in ax.texts:
        box = text.get_window_extent()
        near = abs((box.x0 + box.x1) / 2 - left) < 15 and -5 <= (box.y0 + box.y1) / 2 - top < 60
        if near and text.get_text().replace(".", "", 1).isdigit() and float(text.get_text()) == value:
            return True
    return False
"""

ENTRIES: list[tuple[Problem, tuple[str, ...]]] = [
    (
        plot_problem(
            problem_id=200,
            number=0,
            script=_HARVEST,
            wish='Give this chart the title "Plum harvest".',
            reference='plt.title("Plum harvest")',
            checks="""
                titles = [ax.get_title(loc) for loc in ("center", "left", "right")]
                suptitle = ax.figure._suptitle.get_text() if ax.figure._suptitle else ""
                assert "Plum harvest" in [*titles, suptitle]
                assert len(ax.lines) == 1
            """,
            tier=1,
        ),
        ("pass", 'plt.xlabel("Plum harvest")', 'plt.title("title")', 'plt.legend(["Plum harvest"])'),
    ),
    (
        plot_problem(
            problem_id=201,
            number=1,
            script=_HARVEST,
            wish='Label the horizontal axis "month of the year".',
            reference='plt.xlabel("month of the year")',
            checks="""
                assert ax.get_xlabel() == "month of the year"
                assert ax.get_ylabel() != "month of the year"
                assert len(ax.lines) == 1
            """,
            perturbation="Semantic",
            origin=0,
            tier=1,
        ),
        ("pass", 'plt.ylabel("month of the year")', 'plt.title("month of the year")', 'plt.xlabel("month")'),
    ),
    (
        plot_problem(
            problem_id=202,
            number=2,
            script=_BIRDS,
            wish="Make a scatter plot with wingspan on the x axis and weight on the y axis.",
            reference="plt.scatter(wingspan, weight)",
            checks="""
                wanted = np.array([[21, 18], [28, 30], [34, 52], [39, 81], [47, 118], [55, 160]])
                dots = [np.asarray(c.get_offsets()) for c in ax.collections]
                for line in ax.lines:
                    assert line.get_linestyle() == "None"
                    dots += [line.get_xydata()] if line.get_marker() not in ("", " ", "None", None) else []
                dots = [d[np.argsort(d[:, 0])] for d in dots]
                assert any(d.shape == wanted.shape and np.allclose(d, wanted) for d in dots)
            """,
            tier=1,
        ),
        ("pass", "plt.scatter(weight, wingspan)", "plt.plot(wingspan, weight)", "plt.bar(wingspan, weight)"),
    ),
    (
        plot_problem(
            problem_id=203,
            number=3,
            script=_PETS,
            wish="Make a bar chart: one upright bar per entry of pets, as high as the number in owners.",
            reference="plt.bar(pets, owners)",
            checks=_BARS
            + """
assert len(bars) == 4
for name, height in {"cat": 14, "dog": 19, "newt": 2, "parrot": 5}.items():
    assert any(p.get_height() == height and p.get_x() <= ticks[name] <= p.get_x() + p.get_width() for p in bars)
""",
            perturbation="Semantic",
            origin=2,
            tier=1,
        ),
        ("pass", "plt.scatter(pets, owners)", "plt.barh(pets, owners)", "plt.hist(owners)", "plt.bar(pets, [1] * 4)"),
    ),
    (
        plot_problem(
            problem_id=204,
            number=4,
            script=_COLONY,
            wish="Use a logarithmic scale for the y axis.",
            reference='plt.yscale("log")',
            checks="""
                assert ax.get_yscale() == "log"
                assert ax.get_xscale() == "linear"
                assert any(len(line.get_xdata()) == 5 for line in ax.lines)
            """,
            tier=1,
        ),
        ("pass", 'plt.xscale("log")', "plt.loglog(minutes, cells)", "plt.ylim(1, 1000000)"),
    ),
    (
        plot_problem(
            problem_id=205,
            number=5,
            script=_SHOPS,
            wish="""
                Draw bakery and florist against week as two lines in the same axes,
                with a legend that calls them "Bakery" and "Florist".
            """,
            reference="""
                plt.plot(week, bakery, label="Bakery")
                plt.plot(week, florist, label="Florist")
                plt.legend()
            """,
            checks="""
                drawn = {tuple(line.get_ydata()): line for line in ax.lines if list(line.get_xdata()) == [1, 2, 3, 4]}
                legend = ax.get_legend() or (ax.figure.legends or [None])[0]
                keys = {t.get_text(): h for t, h in zip(legend.get_texts(), legend.legend_handles)}
                assert set(keys) == {"Bakery", "Florist"}
                for name, series in {"Bakery": (40, 44, 39, 51), "Florist": (12, 30, 25, 18)}.items():
                    assert keys[name].get_color() == drawn[series].get_color()
                    assert keys[name].get_linestyle() == drawn[series].get_linestyle() != "None"
            """,
            tier=2,
        ),
        (
            "pass",
            "plt.plot(week, bakery)\nplt.plot(week, florist)",
            'plt.plot(week, bakery)\nplt.plot(week, florist)\nplt.legend(["Florist", "Bakery"])',
            'plt.plot(week, bakery, label="Bakery")\nplt.legend()',
            'plt.plot(week, bakery, label="Bakery")\nplt.plot(week, florist, label="Florist")',
        ),
    ),
    (
        plot_problem(
            problem_id=206,
            number=6,
            script=_COLONY,
            wish="Make both axes logarithmic and show the grid of both.",
            reference="""
                plt.xscale("log")
                plt.yscale("log")
                plt.grid(True)
            """,
            checks="""
                assert ax.get_xscale() == ax.get_yscale() == "log"
                for axis in (ax.xaxis, ax.yaxis):
                    assert axis.get_gridlines() and all(line.get_visible() for line in axis.get_gridlines())
                assert any(len(line.get_xdata()) == 5 for line in ax.lines)
            """,
            perturbation="Semantic",
            origin=4,
            tier=2,
        ),
        (
            "pass",
            'plt.yscale("log")\nplt.grid(True)',
            'plt.xscale("log")\nplt.yscale("log")',
            'plt.xscale("log")\nplt.yscale("log")\nplt.grid(axis="y")',
        ),
    ),
    (
        plot_problem(
            problem_id=207,
            number=7,
            script=_POND,
            wish="""
                Draw litres against hour with its scale on the left, and celsius against hour in the same picture
                with a scale of its own on the right. A single legend names the lines "water" and "heat".
            """,
            reference="""
                left = plt.gca()
                right = left.twinx()
                (water,) = left.plot(hour, litres, color="tab:blue", label="water")
                (heat,) = right.plot(hour, celsius, color="tab:red", label="heat")
                left.legend(handles=[water, heat])
            """,
            checks="""
                lines = [line for a in ax.figure.axes for line in a.lines]
                drawn = {tuple(m.get_ydata()): m for m in lines if list(m.get_xdata()) == [6, 9, 12, 15, 18]}
                water, heat = drawn[(310, 250, 180, 205, 290)], drawn[(11.5, 14.0, 19.5, 21.0, 16.5)]
                left, right = water.axes, heat.axes
                assert left is not right
                assert np.allclose(left.get_position().bounds, right.get_position().bounds)
                assert left.get_xlim() == right.get_xlim()
                assert left.yaxis.get_ticks_position() in ("left", "default")
                assert right.yaxis.get_ticks_position() == "right"
                legends = [a.get_legend() for a in ax.figure.axes if a.get_legend()] + ax.figure.legends
                assert len(legends) == 1
                keys = {t.get_text(): h for t, h in zip(legends[0].get_texts(), legends[0].legend_handles)}
                assert set(keys) == {"water", "heat"}
                assert keys["water"].get_color() == water.get_color()
                assert keys["heat"].get_color() == heat.get_color()
            """,
            tier=3,
        ),
        (
            "pass",
            'plt.plot(hour, litres, label="water")\nplt.plot(hour, celsius, label="heat")\nplt.legend()',
            (
                'plt.plot(hour, litres, label="water")\nplt.legend()\nplt.twinx()\n'
                'plt.plot(hour, celsius, label="heat")\n'
                "plt.legend()"
            ),
            'plt.plot(hour, litres, label="water")\nplt.twinx()\nplt.plot(hour, celsius, label="heat")\nplt.legend()',
            (
                "water = plt.plot(hour, litres)\nright = plt.twinx()\nheat = right.plot(hour, celsius, 'r')\n"
                "right.legend(water + heat, ['heat', 'water'])"
            ),
        ),
    ),
    (
        plot_problem(
            problem_id=208,
            number=8,
            script=_FREIGHT,
            wish="""
                Stacked bars: for each port the value of rail at the bottom and road on top of it.
                Write the sum of the two just above each stack.
            """,
            reference="""
                plt.bar(port, rail)
                top = plt.bar(port, road, bottom=rail)
                plt.bar_label(top)
            """,
            checks=_BARS
            + _TEXT_ABOVE
            + """
assert len(bars) == 6
for name, rail, road in zip(["Bergen", "Cadiz", "Izmir"], [7, 3, 9], [5, 12, 4]):
    over = [p for p in bars if p.get_x() < ticks[name] < p.get_x() + p.get_width()]
    stack = sorted((p.get_y(), p.get_height()) for p in over)
    assert stack == [(0, rail), (rail, road)]
    assert labelled(ticks[name], rail + road, rail + road)
""",
            tier=3,
        ),
        (
            "pass",
            "plt.bar(port, rail)\nplt.bar(port, road, bottom=rail)",
            "plt.bar(port, rail)\nplt.bar_label(plt.bar(port, road))",
            'plt.bar(port, rail)\nplt.bar_label(plt.bar(port, road, bottom=rail), label_type="center")',
            "plt.bar(port, road)\nplt.bar_label(plt.bar(port, rail, bottom=road))",
        ),
    ),
    (
        plot_problem(
            problem_id=209,
            number=9,
            script=_FREIGHT,
            wish="""
                For each port two bars side by side that do not overlap: rail on the left, road on the right.
                Name the port on the axis below each pair and write its value just above each bar.
            """,
            reference="""
                place = range(len(port))
                plt.bar_label(plt.bar([p - 0.2 for p in place], rail, width=0.4))
                plt.bar_label(plt.bar([p + 0.2 for p in place], road, width=0.4))
                plt.xticks(place, port)
            """,
            checks=_BARS
            + _TEXT_ABOVE
            + """
assert len(bars) == 6
bars.sort(key=lambda p: p.get_x())
assert all(a.get_x() + a.get_width() <= b.get_x() + 1e-9 for a, b in zip(bars, bars[1:]))
assert [p.get_height() for p in bars] == [7, 5, 3, 12, 9, 4]
assert all(labelled(p.get_x() + p.get_width() / 2, p.get_height(), p.get_height()) for p in bars)
for name, a, b in zip(["Bergen", "Cadiz", "Izmir"], bars[::2], bars[1::2]):
    assert a.get_x() <= ticks[name] <= b.get_x() + b.get_width()
""",
            perturbation="Semantic",
            origin=8,
            tier=3,
        ),
        (
            "pass",
            "plt.bar_label(plt.bar(port, rail))\nplt.bar_label(plt.bar(port, road, bottom=rail))",
            (
                "plt.bar([0, 1, 2], rail, width=-0.4, align='edge')\n"
                "plt.bar([0, 1, 2], road, width=0.4, align='edge')\n"
                "plt.xticks([0, 1, 2], port)"
            ),
            (
                "plt.bar_label(plt.bar([-0.2, 0.8, 1.8], rail, width=0.4))\n"
                "plt.bar_label(plt.bar([0.2, 1.2, 2.2], road, width=0.4))"
            ),
        ),
    ),
]
