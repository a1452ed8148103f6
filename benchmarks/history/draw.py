"""The picture of a history: hybrid's time over the best peer's, over commits.

Invariant: a point is the median of the runs of one commit on one machine, peer by peer; lines join
points of one machine, and only those where every known peer took part; quick runs, and workloads
without a peer or no longer measured, are left out.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
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
CAPTION = (
    "bars: least and largest of the rounds; hollow: not every peer was measured\n"
    "+: with changes that were not committed"
)
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


def _merged(runs: Sequence[Figures], known: set[str]) -> Point:
    """One point of several runs: the median for each peer first, as they may have had others."""
    ratios: dict[str, list[float]] = {}
    ends: dict[str, list[float]] = {}
    for figures in runs:
        for peer, ratio in figures.ratios.items():
            ratios.setdefault(peer, []).append(ratio)
            ends.setdefault(peer, []).extend((ratio, *figures.spreads.get(peer, ())))
    medians = {peer: statistics.median(values) for peer, values in ratios.items()}
    best = max(medians, key=lambda peer: medians[peer])
    return Point(medians[best], min(ends[best]), max(ends[best]), medians.keys() >= known)


def lines_of(entries: Sequence[Entry]) -> Lines:
    """{(workload, machine): {column: point}}, quick runs left out."""
    runs: dict[Key, dict[Column, list[Figures]]] = {}
    peers: dict[str, set[str]] = {}
    for entry in entries:
        for workload, figures in entry.workloads.items():
            if figures.ratios and workload in ALL and not entry.quick:
                row = runs.setdefault((workload, entry.machine), {})
                row.setdefault(column_of(entry), []).append(figures)
                peers.setdefault(workload, set()).update(figures.ratios)
    return {
        key: {column: _merged(row[column], peers[key[0]]) for column in sorted(row)}
        for key, row in runs.items()
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


def _groups(lines: Lines) -> list[tuple[str, Lines]]:
    """The panels: (title, its lines), those without a line left out."""
    training = {key: row for key, row in lines.items() if key[0] in TRAINING}
    others = {key: row for key, row in lines.items() if key[0] not in TRAINING}
    groups = [("training steps", training), ("kernels and calls", others)]
    return [(title, group) for title, group in groups if group]


def _picture(pyplot: Any, lines: Lines) -> Any:
    columns = sorted({column for row in lines.values() for column in row})
    machines = list(dict.fromkeys(machine for _, machine in lines))
    groups = _groups(lines)
    size = (min(18.0, 5.0 + 0.62 * len(columns)), 3.9 * len(groups))
    figure, panels = pyplot.subplots(len(groups), 1, figsize=size, sharex=True, squeeze=False)
    for panel, (title, group) in zip(panels.flat, groups):
        _panel(panel, group, columns, machines)
        _plain_numbers(panel.yaxis)
        panel.set_title(title, loc="left", fontsize=11)
        panel.set_ylabel("time / best peer\n(below 1 is faster)")
    _ticks(panels.flat[-1], columns)
    _legend(figure, machines)
    figure.text(0.06, -0.01, CAPTION, va="top", fontsize=8, color="#667")
    figure.tight_layout()
    return figure


def draw(entries: Sequence[Entry], path: Path) -> bool:
    """Write the picture as PNG, whole or not at all; False where no entry has a ratio to draw."""
    lines = lines_of(entries)
    if not lines:
        return False
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure = _picture(pyplot, lines)
    part = path.with_name(f".{path.name}.part")
    try:
        figure.savefig(part, format="png", dpi=120, bbox_inches="tight")
        part.replace(path)
    finally:
        pyplot.close(figure)
        part.unlink(missing_ok=True)
    return True
