"""The picture of a history: hybrid's time over the best peer's, over commits.

Invariant: a point is the median of the runs of one commit on one machine; lines join points of one
machine, and only those where every known peer took part; quick runs, and workloads without a peer
or no longer measured, are left out.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from ..sizes import ALL, TRAINING
from .entry import Entry, Figures, Machine

__all__ = ["draw"]

COLORS = (
    "#1a56db",
    "#e8710a",
    "#188038",
    "#c2185b",
    "#8e44ad",
    "#795548",
    "#00838f",
    "#5f6368",
    "#b8860b",
    "#000000",
)
MARKERS = "osD^vP*X<>"
STYLES = ("-", "--", ":", "-.")
MOST_LABELS = 24  # of commits; more would lie upon each other
MOST_MACHINES = len(MARKERS)  # in the legend
GAP = 0.062  # between two names at the right, in heights of a panel


class Column(NamedTuple):
    """A place on the axis of commits; commits are in the order of their own dates."""

    date: datetime
    revision: str
    dirty: bool

    @property
    def label(self) -> str:
        """What stands below the axis."""
        return f"{self.revision}{'+' if self.dirty else ''}\n{self.date:%Y-%m-%d}"


class Point(NamedTuple):
    """Ratio to the best peer, its range over rounds, and whether every known peer took part."""

    ratio: float
    least: float
    most: float
    complete: bool


Key = tuple[str, Machine]  # a line of the picture
Lines = dict[Key, dict[Column, Point]]


def column_of(entry: Entry) -> Column:
    """Where an entry stands; runs of no known commit stand alone, at their own date."""
    commit = entry.commit
    if commit.revision is None:
        return Column(entry.date, "no commit", False)
    return Column(commit.date or entry.date, commit.revision[:7], bool(commit.dirty))


def _point(figures: Figures, known: set[str]) -> Point | None:
    peer = figures.best_peer
    if peer is None:
        return None
    ratio = figures.ratios[peer]
    least, most = figures.spreads.get(peer, (ratio, ratio))
    return Point(ratio, min(least, ratio), max(most, ratio), figures.ratios.keys() >= known)


def _points(entries: Sequence[Entry]) -> Iterator[tuple[Key, Column, Point]]:
    peers: dict[str, set[str]] = {}
    for entry in entries:
        for workload, figures in entry.workloads.items():
            peers.setdefault(workload, set()).update(figures.ratios)
    for entry in entries:
        for workload, figures in entry.workloads.items():
            point = _point(figures, peers[workload])
            if point and workload in ALL:
                yield (workload, entry.machine), column_of(entry), point


def _merged(points: Sequence[Point]) -> Point:
    return Point(
        statistics.median(point.ratio for point in points),
        min(point.least for point in points),
        max(point.most for point in points),
        all(point.complete for point in points),
    )


def lines_of(entries: Sequence[Entry]) -> Lines:
    """{(workload, machine): {column: point}}, quick runs left out."""
    found: dict[Key, dict[Column, list[Point]]] = {}
    for key, column, point in _points([entry for entry in entries if not entry.quick]):
        found.setdefault(key, {}).setdefault(column, []).append(point)
    return {
        key: {column: _merged(points) for column, points in sorted(row.items())}
        for key, row in found.items()
    }


def spread_out(heights: Sequence[float], gap: float) -> list[float]:
    """Heights of labels near the wished ones, each at least `gap` from the next, in their order."""
    order = sorted(range(len(heights)), key=lambda number: heights[number])
    # groups of labels that touch: [sum of what each wants for the group's bottom, members]
    groups: list[tuple[float, int]] = []
    for number in order:
        total, members = heights[number], 1
        while groups and groups[-1][0] / groups[-1][1] + gap * groups[-1][1] > total / members:
            below, count = groups.pop()
            total, members = below + total - members * count * gap, members + count
        groups.append((total, members))
    placed = [total / members + gap * rank for total, members in groups for rank in range(members)]
    out = [0.0] * len(heights)
    for rank, number in enumerate(order):
        out[number] = placed[rank]
    return out


def _name_lines(panel: Any, ends: dict[str, tuple[int, float]], colors: dict[str, str]) -> None:
    """Names of the lines at the right edge, apart from each other, each tied to its last point."""
    bottom, top = (math.log(limit) for limit in panel.get_ylim())
    wished = [(math.log(height) - bottom) / (top - bottom) for _, height in ends.values()]
    for (name, (place, height)), where in zip(ends.items(), spread_out(wished, GAP)):
        panel.annotate(
            f"{name}  {height:.2f}",
            (place, height),
            xytext=(1.02, where),
            textcoords="axes fraction",
            color=colors[name],
            fontsize=9,
            va="center",
            parse_math=False,
            arrowprops={"arrowstyle": "-", "color": colors[name], "lw": 0.6, "alpha": 0.5},
        )


def _draw_line(panel: Any, row: dict[int, Point], color: str, marker: str, style: str) -> None:
    places = list(row)
    # a ratio to fewer peers is another quantity: no line leads to it
    joined = [place for place in places if row[place].complete]
    ratios = [row[place].ratio for place in joined]
    panel.plot(joined, ratios, style, color=color, lw=1.3, alpha=0.85)
    panel.vlines(
        places,
        [point.least for point in row.values()],
        [point.most for point in row.values()],
        color=color,
        lw=2.5,
        alpha=0.25,
    )
    for complete, filling in ((True, color), (False, "white")):
        chosen = [place for place in places if row[place].complete is complete]
        panel.plot(
            chosen,
            [row[place].ratio for place in chosen],
            marker,
            color=color,
            markerfacecolor=filling,
            ms=5,
        )


def _panel(
    panel: Any, lines: Lines, columns: Sequence[Column], machines: Sequence[Machine]
) -> None:
    workloads = list(dict.fromkeys(workload for workload, _ in lines))
    colors = {name: COLORS[number % len(COLORS)] for number, name in enumerate(workloads)}
    places = {column: place for place, column in enumerate(columns)}
    numbers = {machine: number for number, machine in enumerate(machines)}
    ends: dict[str, tuple[int, float]] = {}
    for (workload, machine), row in lines.items():
        number = numbers[machine]
        placed = {places[column]: point for column, point in row.items()}
        style, marker = STYLES[number % len(STYLES)], MARKERS[number % len(MARKERS)]
        _draw_line(panel, placed, colors[workload], marker, style)
        last = max(placed)
        if workload not in ends or last >= ends[workload][0]:
            ends[workload] = (last, placed[last].ratio)
    panel.set_yscale("log")
    limits = [limit for row in lines.values() for point in row.values() for limit in point[:3]]
    panel.set_ylim(min(0.5, *limits) / 1.25, max(1.5, *limits) * 1.25)
    panel.axhline(1, color="#333", lw=1)
    panel.grid(axis="y", which="major", color="#e6e8ee", lw=0.8)
    panel.spines[["top", "right"]].set_visible(False)
    _name_lines(panel, ends, colors)


def _ticks(panel: Any, columns: Sequence[Column]) -> None:
    step = math.ceil(len(columns) / MOST_LABELS)
    places = range(len(columns) - 1, -1, -step)  # the newest one always has its label
    panel.set_xticks(list(places))
    slanted = {"rotation": 50, "ha": "right", "rotation_mode": "anchor"}
    labels = [columns[place].label for place in places]
    panel.set_xticklabels(labels, fontsize=8, **(slanted if len(columns) > 8 else {}))
    panel.set_xlim(-0.5, len(columns) - 0.5)


def _plain_numbers(axis: Any) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator

    axis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=30))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(FuncFormatter(lambda value, _: ""))


def _legend(figure: Any, machines: Sequence[Machine]) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D(
            [],
            [],
            color="#333",
            marker=MARKERS[number % len(MARKERS)],
            ls=STYLES[number % len(STYLES)],
            ms=5,
            label=f"{machine.cpu} ({machine.target}, {machine.simd}), {machine.cores} cores"
            + (f", {machine.threads} threads" if machine.threads else ""),
        )
        for number, machine in enumerate(machines[:MOST_MACHINES])
    ]
    legend = figure.legend(
        handles=handles, loc="lower left", bbox_to_anchor=(0.06, 1.0), frameon=False, fontsize=9
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def draw(entries: Sequence[Entry], path: Path) -> bool:
    """Write the picture as PNG, whole or not at all; False where no entry has a ratio to draw."""
    lines = lines_of(entries)
    if not lines:
        return False
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    columns = sorted({column for row in lines.values() for column in row})
    machines = list(dict.fromkeys(machine for _, machine in lines))
    groups = (("training steps", True), ("kernels and calls", False))
    shown = [
        (title, {key: row for key, row in lines.items() if (key[0] in TRAINING) is training})
        for title, training in groups
    ]
    shown = [(title, group) for title, group in shown if group]
    width = min(18.0, 5.0 + 0.62 * len(columns))
    figure, panels = pyplot.subplots(
        len(shown), 1, figsize=(width, 3.9 * len(shown)), sharex=True, squeeze=False
    )
    for panel, (title, group) in zip(panels.flat, shown):
        _panel(panel, group, columns, machines)
        _plain_numbers(panel.yaxis)
        panel.set_title(title, loc="left", fontsize=11)
        panel.set_ylabel("time / best peer\n(below 1 is faster)")
    _ticks(panels.flat[-1], columns)
    _legend(figure, machines)
    figure.text(
        0.06,
        -0.02,
        "bars: least and largest of the rounds; hollow: not every peer was measured; "
        "+: with changes that were not committed",
        fontsize=8,
        color="#667",
    )
    figure.tight_layout()
    part = path.with_name(f".{path.name}.part")
    figure.savefig(part, format="png", dpi=120, bbox_inches="tight")
    pyplot.close(figure)
    part.replace(path)
    return True
