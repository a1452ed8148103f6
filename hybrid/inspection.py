"""Looking at recorded functions: `inspect` of every pass, and `describe_system`.

Invariant: looking changes nothing.
"""

from __future__ import annotations

import html
import platform
import sys
from math import prod
from typing import Any

from .backends import api
from .backends.plan import AttendKernel, GemmKernel, LoopKernel, Plan, ScatterKernel
from .comparison import kind_of
from .core.errors import HybridError
from .decorator import Function, unbound
from .ir.graph.draw import Box, Shown, graph_boxes, svg, text_of
from .ir.graph.graph import Graph

__all__ = ["inspect", "Inspection", "describe_system"]


# ---- inspect
class Inspection:
    """The forms of one recorded call: the graph as recorded, after each pass, and the plan.

    `forms` is a list of (step, object); `graph(step)` gives one graph; str() and the notebook show
    all.

    >>> import hybrid
    >>> double = hybrid.function(lambda x: x + x)
    >>> for _ in range(2): _ = double(hybrid.ones(4))
    >>> print(hybrid.inspect(double))
    == <lambda>, recorded: 1 nodes
    ...
    == <lambda>, plan: 1 kernels, arena 0 bytes
    ...
    """

    def __init__(self, name: str, forms: list[tuple[str, Any]]) -> None:
        self.name, self.forms = name, forms

    def graph(self, step: str = "dce") -> Shown:
        """The graph after a step ('recorded' for the first); HybridError where there is none.

        >>> import hybrid
        >>> negated = hybrid.function(lambda x: -(-x))
        >>> for _ in range(2): _ = negated(hybrid.ones(4))
        >>> looked = hybrid.inspect(negated)
        >>> len(looked.graph("recorded").nodes), len(looked.graph("dce").nodes)
        (2, 0)
        """
        for name, form in self.forms:
            if name == step and isinstance(form, Graph):
                return Shown.of(form)
        raise HybridError(
            f"no graph after step {step!r}; steps with graphs are "
            + ", ".join(n for n, f in self.forms if isinstance(f, Graph))
        )

    def _shown(self) -> list[tuple[str, str, list[Box]]]:
        """Title, text and boxes of every form that differs from the one before."""
        shown: list[tuple[str, str, list[Box]]] = []
        before = ""
        for name, form in self.forms:
            if isinstance(form, Graph):
                text = text_of(form)
                boxes = graph_boxes(form) if text != before else []
                shown.append(
                    (
                        f"{name}: {len(form.nodes)} nodes",
                        text if text != before else "(unchanged)",
                        boxes,
                    )
                )
                before = text
            elif isinstance(form, Plan):
                boxes = _plan_boxes(form)
                shown.append(
                    (
                        f"plan: {len(form.steps)} kernels, arena {form.arena_bytes:,} bytes",
                        "\n".join(
                            f"{i:3d}  {b.hover}".replace("\n", "   # ") for i, b in enumerate(boxes)
                        ),
                        boxes,
                    )
                )
        return shown

    def __str__(self) -> str:
        return "\n\n".join(f"== {self.name}, {n}\n{t}" for n, t, _ in self._shown())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        parts, last = [], len(self._shown()) - 1
        for index, (title, text, boxes) in enumerate(self._shown()):
            if not boxes:
                parts.append(
                    f"<div style='margin:.3em 1em;color:#777'>{html.escape(title)}, unchanged</div>"
                )
                continue
            parts.append(
                f"<details{' open' if index in (0, last) else ''}>"
                f"<summary><b>{html.escape(title)}</b></summary>"
                f"{svg(boxes)}"
                "<details style='margin-left:1em'><summary>as text</summary><pre "
                "style='font-size:85%;text-align:left'>"
                f"{html.escape(text)}</pre></details></details>"
            )
        return f"<b>{html.escape(self.name)}</b>{''.join(parts)}"


def _touched(kernel: Any) -> tuple[list[int], list[int]]:
    """Slots that a kernel reads and writes."""
    if isinstance(kernel, LoopKernel):
        return [a.slot for a in kernel.reads], [a.slot for a in kernel.writes]
    if isinstance(kernel, GemmKernel):
        return [kernel.a.slot, kernel.b.slot, *[a.slot for a in kernel.reads]], [
            o.slot for o in kernel.outs
        ]
    if isinstance(kernel, ScatterKernel):
        return [kernel.index.slot, kernel.update.slot, kernel.out.slot], [kernel.out.slot]
    if isinstance(kernel, AttendKernel):
        return [a.slot for a in kernel.reads if a is not None], [a.slot for a in kernel.writes]
    return list(kernel.inputs), list(kernel.outputs)


def _kernel_text(kernel: Any) -> tuple[str, str]:
    """(short, full) description of a kernel."""
    if isinstance(kernel, LoopKernel):
        shape = "x".join(map(str, kernel.shape)) or "1"
        return (
            shape,
            f"{kind_of(kernel)} over [{shape}], {len(kernel.program.instrs)} instructions"
            + (
                f", rows along axes {kernel.group[0]}..{kernel.group[1] - 1}"
                if kernel.group
                else ""
            )
            + (", a check" if kernel.check else ""),
        )
    if isinstance(kernel, GemmKernel):
        short = (
            f"{kernel.batch}x " if kernel.batch > 1 else ""
        ) + f"{kernel.m}x{kernel.k} @ {kernel.k}x{kernel.n}"
        after = (
            f", epilogue of {len(kernel.epilogue.instrs)} instructions" if kernel.epilogue else ""
        )
        return short, f"product {short}{after}"
    if isinstance(kernel, ScatterKernel):
        return f"{kernel.count}x{kernel.inner}", f"scatter of {kernel.count} rows of {kernel.inner}"
    if isinstance(kernel, AttendKernel):
        short = (f"{prod(kernel.batch)}x " if kernel.batch else "") + f"{kernel.m}x{kernel.n}"
        what = "gradients of attention" if kernel.backward else "attention"
        return short, f"{what} {short}, {kernel.e} features, {kernel.f} values"
    if kernel.on_device:
        short = "x".join(map(str, kernel.avals[0].shape))
        return short, f"{kernel.kind} of [{short}]"
    return getattr(kernel.function, "__name__", "call"), "host call"


def _plan_boxes(plan: Plan) -> list[Box]:
    """A box per kernel; an edge goes from the latest writer of a buffer to its readers."""
    writer: dict[int, int] = {}
    boxes = []
    for index, (kernel, site) in enumerate(zip(plan.steps, plan.sites)):
        reads, writes = _touched(kernel)
        short, full = _kernel_text(kernel)
        kept = any(plan.slots[s].kind in ("output", "state") for s in writes)
        sources = tuple(dict.fromkeys(writer[s] for s in reads if s in writer))
        hover = f"{full}; reads {reads}, writes {writes}" + (f"\n{site}" if site else "")
        boxes.append(Box(kind_of(kernel), short, hover, kind_of(kernel), sources, kept))
        writer.update(dict.fromkeys(writes, index))
    return boxes


def inspect(fn: Function, *args: Any, **kwargs: Any) -> Inspection:
    """The graph of a decorated function after every pass, with the lines it came from.

    With arguments: of the call with these arguments; without: of the latest one that is replayed.
    Raises HybridError, saying why, when nothing is replayed.

    >>> import hybrid
    >>> double = hybrid.function(lambda x: x + x)
    >>> for _ in range(2): _ = double(hybrid.ones(4))
    >>> [step for step, _ in hybrid.inspect(double).forms][:3]
    ['recorded', 'fold', 'simplify']
    """
    fn, given = unbound(fn, args)
    if not isinstance(fn, Function):
        raise TypeError("inspect takes a function made by @hybrid.function")
    prepared, reason = fn.prepared(*(given if args or kwargs else ()), **kwargs)
    if prepared is None:
        raise HybridError(f"nothing to inspect: {reason}")
    return Inspection(getattr(fn.fn, "__qualname__", "function"), prepared.forms)


# ---- the system
def describe_system() -> str:
    """Versions, devices and threads, a line each: what a bug report needs.

    >>> import hybrid
    >>> hybrid.describe_system().splitlines()[0].split()[0]
    'hybrid'
    """
    # what the modules say, since importlib.metadata takes a tenth of the time of the whole import
    names = ("hybrid", "numpy", "llvmlite", "ml_dtypes", "optree")
    rows = [(name, sys.modules[name].__version__) for name in names]
    rows += [
        ("python", f"{platform.python_version()} ({platform.python_implementation()})"),
        ("system", platform.platform()),
    ]
    for kind in api.kinds():
        try:
            rows += [(f"{kind} {k}", v) for k, v in api.backend(kind).describe().items()]
        except HybridError as error:
            rows.append((kind, f"not usable: {error}"))
    width = max(len(k) for k, _ in rows) + 2
    return "\n".join(k.ljust(width) + v for k, v in rows)
