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
    "middle_of": ("#e6e6ea", "#6d6d7a"),
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


def _input_text(value: Value, names: dict[Value, str]) -> str:
    if isinstance(value, Const):
        return f"literal {value.data.item() if value.data.size == 1 else value.aval}"
    if value.node is not None:
        return f"{value.node.op.name}: {value.aval}"
    return f"input {names.get(value, '?')}: {value.aval}"


def graph_boxes(graph: Graph) -> list[Box]:
    """A box per node; what is read from inputs and literals is told in the hover text."""
    number = {n: i for i, n in enumerate(graph.nodes)}
    names, made = dict(zip(graph.inputs, graph.names)), {v.node for v in graph.outputs}
    boxes = []
    for node in graph.nodes:
        sources = tuple(dict.fromkeys(number[v.node] for v in node.inputs if v.node is not None))
        boxes.append(
            Box(
                node.op.name,
                str(node.outputs[0].aval),
                _hover(node, names),
                node.op.kind,
                sources,
                node in made,
            )
        )
    return boxes


def _hover(node: Node, names: dict[Value, str]) -> str:
    lines = [print_node(node).split("  # ")[0].strip()[:300]]
    lines += ["reads " + _input_text(v, names) for v in node.inputs[:8]]
    if node.site is not None:
        lines.append(str(node.site))
    return "\n".join(lines)


# ---- layout
def _depths(boxes: Sequence[Box]) -> list[int]:
    """One more than the deepest source;
    a box without sources stands just above the first box that reads it."""
    depth: list[int] = []
    first: dict[int, int] = {}
    for box in boxes:
        depth.append(1 + max((depth[s] for s in box.sources), default=-1))
        for source in box.sources:
            first[source] = min(first.get(source, depth[-1]), depth[-1])
    return [
        max(first.get(i, 1) - 1, 0) if not b.sources else d
        for i, (b, d) in enumerate(zip(boxes, depth))
    ]


def _rows(boxes: Sequence[Box]) -> list[list[int]]:
    """Boxes by layer, wide layers cut, each layer ordered by where its sources are."""
    depth = _depths(boxes)
    layers: list[list[int]] = [[] for _ in range(max(depth, default=-1) + 1)]
    for number, layer_number in enumerate(depth):
        layers[layer_number].append(number)
    middle_of: dict[int, float] = {}
    rows: list[list[int]] = []
    for layer in layers:

        def middle(box: int) -> float:
            middles = [middle_of[s] for s in boxes[box].sources]
            return sum(middles) / len(middles) if middles else 0.5

        layer.sort(key=middle)
        for column, number in enumerate(layer):
            middle_of[number] = (column + 0.5) / len(layer)
        rows += [layer[k : k + MAX_PER_ROW] for k in range(0, len(layer), MAX_PER_ROW)]
    return rows


def _width(box: Box) -> float:
    return max(len(_short(box.title)), len(_short(box.detail))) * CHAR + 14


def _short(text: str) -> str:
    return text if len(text) <= 26 else text[:25] + "…"


def _positions(
    boxes: Sequence[Box], rows: list[list[int]]
) -> tuple[list[tuple[float, float, float]], float]:
    """(left, top, width) of every box, rows centred; and the width of the picture."""
    totals = [sum(_width(boxes[i]) for i in row) + GAP_X * (len(row) - 1) for row in rows]
    full = max([*totals, 360.0]) + 2 * MARGIN
    positions = [(0.0, 0.0, 0.0)] * len(boxes)
    for level, (row_boxes, total) in enumerate(zip(rows, totals)):
        left_edge = (full - total) / 2
        for number in row_boxes:
            positions[number] = (left_edge, 34 + level * (BOX_H + GAP_Y), _width(boxes[number]))
            left_edge += positions[number][2] + GAP_X
    return positions, full


def _legend(boxes: Sequence[Box]) -> str:
    parts, left_edge = [], float(MARGIN)
    for kind in dict.fromkeys(b.kind for b in boxes):
        fill_color, border = COLORS.get(kind, ("#fff", "#888"))
        parts.append(
            f"<rect x='{left_edge:.0f}' y='8' width='12' height='12' rx='3' fill='{fill_color}' "
            f"stroke='{border}'/>"
            f"<text x='{left_edge + 17:.0f}' y='18'>{html.escape(kind)}</text>"
        )
        left_edge += 30 + len(kind) * CHAR
    return "".join(parts)


def _edge(above: tuple[float, float, float], below: tuple[float, float, float]) -> str:
    from_x = above[0] + above[2] / 2
    from_y = above[1] + BOX_H
    to_x = below[0] + below[2] / 2
    to_y = below[1]
    bend = max((to_y - from_y) / 2, 10.0)
    return (
        f"M{from_x:.0f} {from_y:.0f}C{from_x:.0f} {from_y + bend:.0f} "
        f"{to_x:.0f} {to_y - bend:.0f} {to_x:.0f} {to_y - 1:.0f}"
    )


def _box(box: Box, frame: tuple[float, float, float]) -> str:
    left_edge, top, width = frame
    middle = left_edge + width / 2
    fill_color, border = COLORS.get(box.kind, ("#fff", "#888"))
    return (
        f"<g><title>{html.escape(box.hover)}</title>"
        f"<rect x='{left_edge:.0f}' y='{top:.0f}' width='{width:.0f}' "
        f"height='{BOX_H}' rx='6' fill='{fill_color}' stroke='{border}' "
        f"stroke-width='{2.4 if box.strong else 1}'/>"
        f"<text x='{middle:.0f}' y='{top + 14:.0f}' text-anchor='middle' font-weight='bold'>"
        f"{html.escape(_short(box.title))}</text><text x='{middle:.0f}' y='{top + 27:.0f}' "
        f"text-anchor='middle' fill='#555'>{html.escape(_short(box.detail))}</text></g>"
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
    positions, width = _positions(boxes, rows)
    pairs = [(s, i) for i, b in enumerate(boxes) for s in b.sources][:MAX_EDGES]
    drops = [positions[i][1] - positions[s][1] for s, i in pairs]
    far = [pair for pair, drop in zip(pairs, drops) if drop > LONG * (BOX_H + GAP_Y)]
    near = [pair for pair, drop in zip(pairs, drops) if drop <= LONG * (BOX_H + GAP_Y)]
    edges = "".join(
        f"<path d='{''.join(_edge(positions[s], positions[i]) for s, i in drawn)}' "
        f"fill='none' stroke='{color}'/>"
        for drawn, color in ((far, "#e4e7ed"), (near, "#aab1bf"))
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
        + "".join(_box(b, p) for b, p in zip(boxes, positions))
        + note
        + "</svg></div>"
    )
