"""What memory was used over time and by which line, as numbers and as a picture.

Invariant: at every moment the parts add up to what was in use; Matplotlib is needed for the picture
only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..core.errors import Site, UnsupportedError

__all__ = ["Timeline", "draw", "timeline"]

_LINES = 8  # of the program that have a colour of their own
_BEFORE = "in use before"
_OTHERS = "other lines"


class Timeline(NamedTuple):
    """`seconds` since the start; `lines`: what took memory; `held[i, j]`: bytes of line i from
    moment j on.

    >>> seen = Timeline(np.array([0.0, 1.0]), ["a.py:1"], np.array([[0, 8]]))
    >>> seen.fullest()
    [('a.py:1', 8)]
    """

    seconds: np.ndarray
    lines: list[str]
    held: np.ndarray

    @property
    def total(self) -> np.ndarray:
        """Bytes in use from each moment on.

        >>> Timeline(np.array([0.0, 1.0]), ["a.py:1", "a.py:2"], np.array([[0, 8], [4, 4]])).total
        array([ 4, 12])
        """
        return self.held.sum(axis=0)

    def fullest(self) -> list[tuple[str, int]]:
        """(line, bytes) at the moment when most was in use, the largest first.

        >>> Timeline(np.array([0.0]), ["a.py:1", "a.py:2"], np.array([[8], [16]])).fullest()
        [('a.py:2', 16), ('a.py:1', 8)]
        """
        moment = int(np.argmax(self.total))
        rows = [(line, int(self.held[i, moment])) for i, line in enumerate(self.lines)]
        return sorted([row for row in rows if row[1]], key=lambda row: -row[1])


def timeline(events: Sequence[Any], allocated: int) -> Timeline:
    """The timeline of the events of a pool's history, at whose end so many bytes are in use."""
    owner: dict[int, str] = {}
    peaks: dict[str, int] = defaultdict(int)
    current: dict[str, int] = defaultdict(int)
    changes: list[tuple[float, str, int]] = []
    for event in events:
        if event.nbytes > 0:
            name = owner[event.address] = _line(event.site)
        else:
            name = owner.pop(event.address, _BEFORE)
        current[name] += event.nbytes
        peaks[name] = max(peaks[name], current[name])
        changes.append((event.seconds, name, event.nbytes))
    start = allocated - sum(nbytes for _, _, nbytes in changes)
    named = sorted((n for n in peaks if n != _BEFORE), key=lambda n: -peaks[n])
    lines = [_BEFORE, *named[:_LINES], *([_OTHERS] if len(named) > _LINES else [])]
    row = {name: min(i, len(lines) - 1) for i, name in enumerate([_BEFORE, *named])}
    steps = np.zeros((len(lines), len(changes) + 1), np.int64)
    steps[0, 0] = start
    for moment, (_, name, nbytes) in enumerate(changes):
        steps[row[name], moment + 1] = nbytes
    begin = changes[0][0]
    seconds = np.array([0.0, *(when - begin for when, _, _ in changes)])
    return Timeline(seconds, lines, np.cumsum(steps, axis=1))


def _line(site: Site | None) -> str:
    if site is None:
        return "hybrid"
    source = site.text()
    name = f"{site.file.rpartition('/')[2]}:{site.line}"
    return f"{name}  {source[:60]}{'…' if len(source) > 60 else ''}"


def draw(shown: Timeline, name: str, path: Any) -> Any:
    """The timeline as a Matplotlib figure, saved where a path is given."""
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError:
        raise UnsupportedError("the picture needs Matplotlib: pip install matplotlib") from None
    figure = Figure(figsize=(11, 5.5), layout="constrained")
    axes = figure.add_subplot()
    unit, scale = _unit(int(shown.total.max()))
    colours = ["#b8bcc4", *(f"C{i}" for i in range(_LINES)), "#e3e5e8"]
    axes.stackplot(
        shown.seconds * 1e3,
        shown.held / scale,
        step="post",
        labels=shown.lines,
        colors=colours,
        linewidth=0,
    )
    peak = int(np.argmax(shown.total))
    moments, total = shown.seconds * 1e3, shown.total / scale
    axes.plot(moments, total, color="#333", lw=0.8, drawstyle="steps-post")
    axes.annotate(
        f"{total[peak]:.4g} {unit}",
        (moments[peak], total[peak]),
        xytext=(0, 6),
        textcoords="offset points",
        ha="center",
    )
    axes.margins(x=0)
    axes.set_ylim(0, max(np.max(total) * 1.12, 1e-9))
    axes.set_xlabel("milliseconds")
    axes.set_ylabel(f"{unit} in use")
    axes.set_title(f"Memory of {name} by the line that took it", loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles[::-1],
        labels[::-1],
        loc="outside lower left",
        ncols=2,
        fontsize=8,
        frameon=False,
        prop={"family": "monospace", "size": 8},
    )
    if path is not None:
        figure.savefig(path, dpi=120)
    return figure


def _unit(most: int) -> tuple[str, float]:
    for unit, shift in (("GB", 30), ("MB", 20), ("KB", 10)):
        if most >= 1 << shift:
            return unit, float(1 << shift)
    return "bytes", 1.0
