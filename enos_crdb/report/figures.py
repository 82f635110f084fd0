"""The figures of a report. Each takes plain arrays, and returns a drawing."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from enos_crdb.report import drawing
from enos_crdb.report.drawing import FAINT, INK, Look

if TYPE_CHECKING:
    import numpy
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

STEPS = 400
"""Most points of a CDF's line: more cannot be seen, and make a page heavy."""
BINS = 160
"""Most instants of a time line; within one, least, median and most are drawn."""
LAN_MS = 2.0
"""A matrix without distances is drawn faint: its deepest blue is at least this."""
OPEN = 0.25
"""How far an interval without an end reaches, as a share of its value; an arrow is there then."""
WIDE_SPREAD = 20.0
"""An axis whose largest value is more than so many times the smallest is logarithmic."""


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """Durations (ms, sorted) of the successful iterations of one combination, and how many were made in all."""

    label: str
    look: Look
    sorted_ms: numpy.ndarray
    n: int

    @property
    def failures(self) -> int:
        return self.n - len(self.sorted_ms)


Point = tuple[float, float, float, float]
"""x, value, low, high; the ends are NaN without an interval, infinite without an end."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Points of one series."""

    label: str
    look: Look
    points: Sequence[Point]
    hollow: bool = False


@dataclass(frozen=True, kw_only=True)
class Trace:
    """Iterations of one scenario over time (seconds from the run's start, ms); ``ok`` and ``steady`` are masks."""

    label: str
    look: Look
    at_s: numpy.ndarray
    value_ms: numpy.ndarray
    ok: numpy.ndarray
    steady: numpy.ndarray


def distributions(title: str, found: Sequence[Distribution]) -> Drawing:
    """Share of all iterations that succeeded within a time. A line ends below 1 when some failed."""
    import numpy

    picture, axes = drawing.canvas(height_in=2.7 + drawing.legend_height_in(len(found)))
    shown = [one for one in found if len(one.sorted_ms)]
    longest = max((float(one.sorted_ms[-1]) for one in shown), default=1.0)
    shortest = min((float(one.sorted_ms[0]) for one in shown), default=1.0)
    wide = longest > WIDE_SPREAD * max(shortest, 1e-9)
    end = longest * (1.5 if wide else 1.06)
    for one in found:
        total = len(one.sorted_ms)
        failed = f" ({one.failures} of {one.n} failed)" if one.failures else ""
        if not total:
            axes.plot([], [], color=one.look.colour, linestyle=one.look.dash, label=one.label + failed)
            continue
        ranks = numpy.unique(numpy.linspace(0, total - 1, min(total, STEPS)).round().astype(int))
        x = numpy.concatenate([one.sorted_ms[ranks[:1]], one.sorted_ms[ranks], [end]])
        y = numpy.concatenate([[0.0], (ranks + 1) / one.n, [total / one.n]])
        axes.step(x, y, where="post", color=one.look.colour, linestyle=one.look.dash, label=one.label + failed)
        if one.failures:
            axes.plot([end], [total / one.n], marker="x", color=one.look.colour, clip_on=False, markersize=6)
    axes.set_ylim(0, 1.02)
    axes.set_title(title)
    axes.set_xlabel("duration of an iteration (ms)" + (", log" if wide else ""))
    axes.set_ylabel("share of all iterations")
    if wide:
        axes.set_xscale("log")
        drawing.plain_ticks(axes.xaxis)
    else:
        axes.set_xlim(left=0)
    axes.set_xlim(right=end)
    drawing.legend(picture, axes)
    return picture


def curves(title: str, found: Sequence[Curve], *, x: str, y: str, ticks: Sequence[float] = ()) -> Drawing:
    """Values with intervals against a quantity."""
    picture, axes = drawing.canvas(height_in=2.7 + drawing.legend_height_in(len(found)))
    for one in found:
        _curve(axes, one)
    values = [value for one in found for _, value, _, _ in one.points if value > 0]
    if values and max(values) > WIDE_SPREAD * min(values):
        axes.set_yscale("log")
        drawing.plain_ticks(axes.yaxis)
        y += ", log"
    else:
        axes.set_ylim(bottom=0)
    if ticks:
        axes.set_xticks(list(ticks))
    axes.set_title(title)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    drawing.legend(picture, axes)
    return picture


def _curve(axes: Axes, one: Curve) -> None:
    points = sorted(point for point in one.points if not math.isnan(point[1]))
    xs, values = [point[0] for point in points], [point[1] for point in points]
    axes.errorbar(
        xs,
        values,
        yerr=_arms(points),
        color=one.look.colour,
        marker=one.look.marker,
        linestyle=":" if one.hollow else one.look.dash,
        markerfacecolor="white" if one.hollow else one.look.colour,
        capsize=3,
        label=one.label,
    )
    ends = [(x, (1 + OPEN) * value) for x, value, _, high in points if math.isinf(high)]
    axes.plot([x for x, _ in ends], [y for _, y in ends], linestyle="none", marker="^", color=one.look.colour)


def _arms(points: Sequence[Point]) -> tuple[list[float], list[float]]:
    """How far intervals reach below and above their values."""
    below = [0.0 if math.isnan(low) else max(0.0, value - low) for _, value, low, _ in points]
    above = [
        OPEN * value if math.isinf(high) else 0.0 if math.isnan(high) else max(0.0, high - value)
        for _, value, _, high in points
    ]
    return below, above


def matrix(title: str, names: Sequence[str], values: Mapping[tuple[str, str], float]) -> Drawing:
    """Round-trip times (ms) from each host (row) to each other (column)."""
    import numpy

    size = min(4.6, max(2.6, 0.62 * len(names) + 1.3))
    picture, axes = drawing.canvas(width_in=4.6, height_in=size)
    cells = numpy.array([[values.get((row, column), math.nan) for column in names] for row in names])
    known = cells[~numpy.isnan(cells)]
    most = max(float(known.max()) if len(known) else 1.0, 1e-9)
    deepest = max(most * 1.25, LAN_MS)
    edges = numpy.arange(len(names) + 1) - 0.5
    # Cells as shapes: an image would be a picture inside the picture, with bytes that depend on the library.
    axes.pcolormesh(edges, edges, cells, cmap="Blues", vmin=0, vmax=deepest, edgecolors="white", linewidth=1)
    axes.set_aspect("equal")
    axes.invert_yaxis()
    letters = 9 if len(names) <= 5 else 7
    for row in range(len(names)):
        for column in range(len(names)):
            value = cells[row, column]
            if not math.isnan(value):
                colour = "white" if value > 0.6 * deepest else INK
                axes.text(column, row, _short(value), ha="center", va="center", color=colour, fontsize=letters)
    axes.set_xticks(range(len(names)), names, rotation=90 if len(names) > 5 else 30, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), names)
    axes.grid(visible=False)
    picture.suptitle(_folded(title), x=0.01, ha="left", fontsize=9, fontweight="bold")
    return picture


def _folded(title: str, width: int = 58) -> str:
    return "\n".join(line for part in title.split("\n") for line in textwrap.wrap(part, width)[:3])


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def time_line(title: str, traces: Sequence[Trace], cpu: Mapping[str, tuple[numpy.ndarray, numpy.ndarray]]) -> Drawing:
    """Every iteration over a run, and below it how busy the hosts' processes were."""
    picture = drawing.blank(width_in=9.4, height_in=(3.2 if cpu else 2.5) + drawing.legend_height_in(len(traces), 3))
    if cpu:
        upper, lower = picture.subplots(2, 1, sharex=True, height_ratios=[2.2, 1])
        _load(lower, cpu)
    else:
        upper = lower = picture.add_subplot()
    for trace in traces:
        _trace(upper, trace)
    drawn = [trace.value_ms[trace.value_ms > 0] for trace in traces]
    most = max((float(values.max()) for values in drawn if len(values)), default=1.0)
    least = min((float(values.min()) for values in drawn if len(values)), default=1.0)
    if most > WIDE_SPREAD * least:
        upper.set_yscale("log")
        drawing.plain_ticks(upper.yaxis)
    else:
        upper.set_ylim(0, 1.08 * most)
    upper.set_title(title)
    upper.set_ylabel("iteration (ms)")
    lower.set_xlabel("seconds since the run began")
    drawing.legend(picture, upper, columns=3)
    return picture


def _trace(axes: Axes, trace: Trace) -> None:
    """Points while they are few, else a band from least to most with the median: both cost the same to show."""
    import numpy

    label = trace.label
    for mask, alpha in ((trace.ok & trace.steady, 1.0), (trace.ok & ~trace.steady, 0.35)):
        at, value = trace.at_s[mask], trace.value_ms[mask]
        if not len(at):
            continue
        if len(at) <= 2 * BINS:
            face = trace.look.colour if alpha == 1.0 else "none"
            axes.scatter(at, value, s=9, marker=trace.look.marker, facecolors=face, edgecolors=trace.look.colour,
                         linewidths=0.7, label=label)  # fmt: skip
        else:
            edges = numpy.linspace(at.min(), at.max(), BINS + 1)
            place = numpy.clip(numpy.searchsorted(edges, at, side="right") - 1, 0, BINS - 1)
            order = numpy.lexsort((value, place))
            counts = numpy.bincount(place, minlength=BINS)
            first = numpy.concatenate([[0], numpy.cumsum(counts)[:-1]])
            full = counts > 0
            ranked, first, last = value[order], first[full], (first + counts - 1)[full]
            middle = (edges[:-1] + edges[1:])[full] / 2
            axes.fill_between(middle, ranked[first], ranked[last], color=trace.look.colour, alpha=0.25 * alpha, lw=0)
            axes.plot(middle, ranked[(first + last) // 2], color=trace.look.colour, lw=1.2, alpha=alpha, label=label)
        label = ""
    failed = trace.at_s[~trace.ok], trace.value_ms[~trace.ok]
    if len(failed[0]):
        keep = numpy.unique(numpy.linspace(0, len(failed[0]) - 1, min(len(failed[0]), BINS)).round().astype(int))
        axes.scatter(failed[0][keep], failed[1][keep], s=22, marker="x", color=INK, linewidths=1.0, zorder=5)
    if not trace.steady.all() and len(trace.at_s):
        _mark_warm_up(axes, trace)


def _mark_warm_up(axes: Axes, trace: Trace) -> None:
    outside = trace.at_s[~trace.steady]
    steady = trace.at_s[trace.steady]
    begin = float(steady.min()) if len(steady) else math.inf
    early = outside[outside <= begin]
    if len(early):
        axes.axvspan(float(early.min()), min(begin, float(early.max())), color="#f0e442", alpha=0.25, lw=0)


def _load(axes: Axes, cpu: Mapping[str, tuple[numpy.ndarray, numpy.ndarray]]) -> None:
    for index, (name, (at_s, percent)) in enumerate(cpu.items()):
        style = drawing.look(index + 3)
        axes.plot(at_s, percent, color=style.colour, linestyle=style.dash, lw=1.1, label=name)
    axes.set_ylim(0, 103)
    axes.set_ylabel("CPU (%)")
    axes.legend(loc="upper left", bbox_to_anchor=(1.005, 1.0), fontsize=8, borderaxespad=0.0)


def pairs(title: str, found: Sequence[Curve], *, x: str, y: str) -> Drawing:
    """Two values of the same quantity against each other; on the line they are equal."""
    picture, axes = drawing.canvas(height_in=3.2 + drawing.legend_height_in(len(found) + 1))
    values = [number for one in found for x_value, y_value, _, _ in one.points for number in (x_value, y_value)]
    known = [value for value in values if value > 0 and math.isfinite(value)]
    least, most = (min(known), max(known)) if known else (1.0, 1.0)
    wide = most > WIDE_SPREAD * least
    edges = (least / 1.4, most * 1.4) if wide else (0.0, most * 1.1)
    axes.plot(edges, edges, color=FAINT, lw=1.0, linestyle="-", label="equal")
    for one in found:
        _dots(axes, one)
    if wide:
        axes.set_xscale("log")
        axes.set_yscale("log")
        drawing.plain_ticks(axes.xaxis)
        drawing.plain_ticks(axes.yaxis)
    axes.set_xlim(*edges)
    axes.set_ylim(*edges)
    axes.set_title(title)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    drawing.legend(picture, axes)
    return picture


def _dots(axes: Axes, one: Curve) -> None:
    axes.plot(
        [point[0] for point in one.points],
        [point[1] for point in one.points],
        linestyle="none",
        marker=one.look.marker,
        color=one.look.colour,
        markerfacecolor="white" if one.hollow else one.look.colour,
        label=one.label,
    )


def rows(title: str, names: Sequence[str], found: Sequence[Curve], *, x: str, line: float | None = None) -> Drawing:
    """Values with intervals beside names: point i of a curve belongs to row ``point[0]``, counted from the top."""
    height = 0.75 + 0.30 * len(names) + drawing.legend_height_in(len(found))
    picture, axes = drawing.canvas(height_in=max(1.6, height))
    spread = min(0.5, 0.16 * len(found))
    for index, one in enumerate(found):
        shift = 0.0 if len(found) == 1 else spread * (index / (len(found) - 1) - 0.5)
        points = [point for point in one.points if not math.isnan(point[1])]
        axes.errorbar(
            [value for _, value, _, _ in points],
            [row + shift for row, _, _, _ in points],
            xerr=_arms(points),
            linestyle="none",
            marker=one.look.marker,
            color=one.look.colour,
            markerfacecolor="white" if one.hollow else one.look.colour,
            capsize=2.5,
            label=one.label,
        )
        ends = [((1 + OPEN) * value, row + shift) for row, value, _, high in points if math.isinf(high)]
        axes.plot([x_ for x_, _ in ends], [y for _, y in ends], linestyle="none", marker=">", color=one.look.colour)
    if line is not None:
        axes.axvline(line, color=FAINT, lw=1.0)
    numbers = [value for one in found for _, value, _, _ in one.points if value > 0]
    if numbers and max(numbers) > WIDE_SPREAD / 4 * min(numbers):
        axes.set_xscale("log")
        drawing.plain_ticks(axes.xaxis)
        x += ", log"
    elif line is None:
        axes.set_xlim(left=0)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_title(title)
    axes.set_xlabel(x)
    drawing.legend(picture, axes)
    return picture
