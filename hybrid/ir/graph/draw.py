"""Drawings of graphs for people: boxes in layers as one SVG, and a graph that shows itself.

Invariant: the size of a drawing is bounded whatever the size of the graph; it refers to nothing
outside itself.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import NamedTuple

from .graph import Const, Graph, Node, Value
from .text import print_graph, print_node

__all__ = ["Box", "Shown", "svg", "graph_boxes", "text_of"]

MAX_BOXES, MAX_PER_ROW, MAX_EDGES = 240, 9, 1200
CHAR, BOX_H, GAP_X, GAP_Y, MARGIN = 6.7, 34, 14, 26, 12
LONG = 5  # rows from which on an edge is drawn in a light colour
# fill and border by kind of op or kernel
COLORS = {
    "map": ("#e3edff", "#3b76e1"),
    "row": ("#ddf5e6", "#2b9a5b"),
    "contract": ("#ffe9d1", "#d9730d"),
    "attend": ("#ffe9d1", "#d9730d"),
    "view": ("#f3f3f3", "#9a9a9a"),
    "place": ("#e6e6ea", "#6d6d7a"),
    "scatter": ("#f0e3fb", "#8e44ad"),
    "host": ("#ffdede", "#c62828"),
    "loop": ("#e3edff", "#3b76e1"),
    "rows": ("#ddf5e6", "#2b9a5b"),
    "product": ("#ffe9d1", "#d9730d"),
}


class Box(NamedTuple):
    """One box: two lines of text, hover text, a kind that decides the colour,
    numbers of the boxes it reads."""

    title: str
    detail: str
    hover: str
    kind: str
    sources: tuple[int, ...]
    strong: bool = False


class Shown(Graph):
    """A graph that prints its text form and draws itself in a notebook."""

    __slots__ = ()

    @classmethod
    def of(cls, graph: Graph) -> Shown:
        """The same nodes in a graph that shows itself."""
        return cls(graph.inputs, graph.nodes, graph.outputs, graph.names)

    def __str__(self) -> str:
        return text_of(self)

    def __repr__(self) -> str:
        return (
            f"<graph: {len(self.inputs)} inputs, {len(self.nodes)} nodes, "
            f"{len(self.outputs)} outputs; print() it>"
        )

    def _repr_html_(self) -> str:
        text = html.escape(text_of(self))
        return (
            svg(graph_boxes(self)) + "<details><summary>as text</summary>"
            f"<pre style='font-size:85%;text-align:left'>{text}</pre></details>"
        )


def text_of(graph: Graph) -> str:
    """The text form with long literals left out."""
    return print_graph(graph, elide=8)


def _input_text(v: Value, names: dict[Value, str]) -> str:
    if isinstance(v, Const):
        return f"literal {v.data.item() if v.data.size == 1 else v.aval}"
    if v.node is not None:
        return f"{v.node.op.name}: {v.aval}"
    return f"input {names.get(v, '?')}: {v.aval}"


def graph_boxes(graph: Graph) -> list[Box]:
    """A box per node; what is read from inputs and literals is told in the hover text."""
    number = {n: i for i, n in enumerate(graph.nodes)}
    names, made = dict(zip(graph.inputs, graph.names)), {v.node for v in graph.outputs}
    boxes = []
    for n in graph.nodes:
        sources = tuple(dict.fromkeys(number[v.node] for v in n.inputs if v.node is not None))
        boxes.append(
            Box(n.op.name, str(n.outputs[0].aval), _hover(n, names), n.op.kind, sources, n in made)
        )
    return boxes


def _hover(n: Node, names: dict[Value, str]) -> str:
    lines = [print_node(n).split("  # ")[0].strip()[:300]]
    lines += ["reads " + _input_text(v, names) for v in n.inputs[:8]]
    if n.site is not None:
        lines.append(str(n.site))
    return "\n".join(lines)


# ---- layout
def _depths(boxes: Sequence[Box]) -> list[int]:
    """One more than the deepest source;
    a box without sources stands just above the first box that reads it."""
    depth: list[int] = []
    first: dict[int, int] = {}
    for b in boxes:
        depth.append(1 + max((depth[s] for s in b.sources), default=-1))
        for s in b.sources:
            first[s] = min(first.get(s, depth[-1]), depth[-1])
    return [
        max(first.get(i, 1) - 1, 0) if not b.sources else d
        for i, (b, d) in enumerate(zip(boxes, depth))
    ]


def _rows(boxes: Sequence[Box]) -> list[list[int]]:
    """Boxes by layer, wide layers cut, each layer ordered by where its sources are."""
    depth = _depths(boxes)
    layers: list[list[int]] = [[] for _ in range(max(depth, default=-1) + 1)]
    for i, d in enumerate(depth):
        layers[d].append(i)
    place: dict[int, float] = {}
    rows: list[list[int]] = []
    for layer in layers:

        def middle(i: int) -> float:
            at = [place[s] for s in boxes[i].sources]
            return sum(at) / len(at) if at else 0.5

        layer.sort(key=middle)
        for k, i in enumerate(layer):
            place[i] = (k + 0.5) / len(layer)
        rows += [layer[k : k + MAX_PER_ROW] for k in range(0, len(layer), MAX_PER_ROW)]
    return rows


def _width(b: Box) -> float:
    return max(len(_short(b.title)), len(_short(b.detail))) * CHAR + 14


def _short(text: str) -> str:
    return text if len(text) <= 26 else text[:25] + "…"


def _positions(
    boxes: Sequence[Box], rows: list[list[int]]
) -> tuple[list[tuple[float, float, float]], float]:
    """(left, top, width) of every box, rows centred; and the width of the picture."""
    totals = [sum(_width(boxes[i]) for i in row) + GAP_X * (len(row) - 1) for row in rows]
    full = max([*totals, 360.0]) + 2 * MARGIN
    out = [(0.0, 0.0, 0.0)] * len(boxes)
    for k, (row, total) in enumerate(zip(rows, totals)):
        x = (full - total) / 2
        for i in row:
            out[i] = (x, 34 + k * (BOX_H + GAP_Y), _width(boxes[i]))
            x += out[i][2] + GAP_X
    return out, full


def _legend(boxes: Sequence[Box]) -> str:
    parts, x = [], float(MARGIN)
    for kind in dict.fromkeys(b.kind for b in boxes):
        fill, line = COLORS.get(kind, ("#fff", "#888"))
        parts.append(
            f"<rect x='{x:.0f}' y='8' width='12' height='12' rx='3' fill='{fill}' stroke='{line}'/>"
            f"<text x='{x + 17:.0f}' y='18'>{html.escape(kind)}</text>"
        )
        x += 30 + len(kind) * CHAR
    return "".join(parts)


def _edge(a: tuple[float, float, float], b: tuple[float, float, float]) -> str:
    x0, y0, x1, y1 = a[0] + a[2] / 2, a[1] + BOX_H, b[0] + b[2] / 2, b[1]
    bend = max((y1 - y0) / 2, 10.0)
    return (
        f"M{x0:.0f} {y0:.0f}C{x0:.0f} {y0 + bend:.0f} "
        f"{x1:.0f} {y1 - bend:.0f} {x1:.0f} {y1 - 1:.0f}"
    )


def _box(b: Box, at: tuple[float, float, float]) -> str:
    x, y, w = at
    fill, line = COLORS.get(b.kind, ("#fff", "#888"))
    return (
        f"<g><title>{html.escape(b.hover)}</title><rect x='{x:.0f}' y='{y:.0f}' width='{w:.0f}' "
        f"height='{BOX_H}' rx='6' fill='{fill}' stroke='{line}' "
        f"stroke-width='{2.4 if b.strong else 1}'/>"
        f"<text x='{x + w / 2:.0f}' y='{y + 14:.0f}' text-anchor='middle' font-weight='bold'>"
        f"{html.escape(_short(b.title))}</text><text x='{x + w / 2:.0f}' y='{y + 27:.0f}' "
        f"text-anchor='middle' fill='#555'>{html.escape(_short(b.detail))}</text></g>"
    )


def svg(boxes: Sequence[Box]) -> str:
    """One SVG picture in a box that scrolls; data flows downwards, results of the graph have a
    thick border.

    >>> svg([Box("add", "float32[2]", "x + y", "map", ())]).count("<rect")
    2
    """
    left_out = len(boxes) - MAX_BOXES
    boxes = boxes[:MAX_BOXES]
    rows = _rows(boxes)
    at, width = _positions(boxes, rows)
    pairs = [(s, i) for i, b in enumerate(boxes) for s in b.sources][:MAX_EDGES]
    far = {p for p in pairs if at[p[1]][1] - at[p[0]][1] > LONG * (BOX_H + GAP_Y)}
    edges = "".join(
        f"<path d='{''.join(_edge(at[s], at[i]) for s, i in pairs if ((s, i) in far) is long)}' "
        f"fill='none' stroke='{color}'/>"
        for long, color in ((True, "#e4e7ed"), (False, "#aab1bf"))
    )
    height = 34 + len(rows) * (BOX_H + GAP_Y)
    note = (
        f"<text x='{MARGIN}' y='{height - 4:.0f}'>and {left_out} more</text>"
        if left_out > 0
        else ""
    )
    return (
        "<div style='max-height:52em;overflow:auto'><svg xmlns='http://www.w3.org/2000/svg' "
        f"viewBox='0 0 {width:.0f} {height:.0f}' "
        f"style='max-width:{width:.0f}px;width:100%;background:#fff' "
        "font-family='ui-monospace,Menlo,monospace' "
        f"font-size='11'>{_legend(boxes)}{edges}"
        + "".join(_box(b, p) for b, p in zip(boxes, at))
        + note
        + "</svg></div>"
    )
