"""Looking at recorded functions: `compare` eager with traced, `inspect` the graph after every pass.

Invariant: both leave the tensors that the function writes as they found them, and `compare` runs both modes from
the same state.
"""
from __future__ import annotations

import html
import statistics
from collections.abc import Callable
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from .backends.plan import GemmKernel, HostStep, LoopKernel, ScatterKernel
from .core import trees
from .core.errors import HybridError
from .function import Function, function
from .ir import bind as door
from .ir.graph import Graph
from .ir.mode import Mode
from .ir.tensor import Handle
from .ir.text import print_graph

__all__ = ["compare", "inspect", "Comparison", "Inspection", "same_bits"]


# ---- state ------------------------------------------------------------------------------------------------
class _Writes(Mode):
    """Collects the tensors that a call writes, with what they held before."""

    __slots__ = ("values", "grads")

    def __init__(self) -> None:
        self.values: dict[int, tuple[Any, Any, Any]] = {}
        self.grads: dict[int, tuple[Any, Any]] = {}

    def on_assign(self, handle: Any, value: Any) -> None:
        self.values.setdefault(id(handle), (handle, handle._v, handle._a))

    def on_grad_set(self, handle: Any, grad: Any) -> None:
        self.grads.setdefault(id(handle), (handle, handle._node.grad))

    def restore(self) -> None:
        """Every tensor as it was found."""
        for t, v, a in self.values.values():
            t._v, t._a = v, a
        for t, g in self.grads.values():
            t._node.grad = g

    def arrays(self) -> list[tuple[str, np.ndarray]]:
        """What the written tensors hold now, with a name each."""
        out = [(f"state {i}", t._v) for i, (t, _, _) in enumerate(self.values.values())]
        return out + [(f"gradient {i}", t._node.grad._v) for i, (t, _) in enumerate(self.grads.values())
                      if t._node.grad is not None]


def _bits(x: Any) -> list[tuple[str, np.ndarray]]:
    return [(f"output {i}", t._v) for i, t in enumerate(trees.leaves(x)) if isinstance(t, Handle)]


def _copy(arrays: list[tuple[str, np.ndarray]]) -> list[tuple[str, np.ndarray]]:
    return [(n, a.copy()) for n, a in arrays]


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal shape, dtype and bits; any NaN equals any NaN."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    x, y = np.ascontiguousarray(a), np.ascontiguousarray(b)
    if x.tobytes() == y.tobytes():
        return True
    if x.dtype.kind not in "fV":
        return False
    width = {2: np.uint16, 4: np.uint32, 8: np.uint64}[x.itemsize]
    f, g = x.astype(np.float64), y.astype(np.float64)
    return bool(((x.view(width) == y.view(width)) | (np.isnan(f) & np.isnan(g))).all())


# ---- compare ------------------------------------------------------------------------------------------------
class Comparison(NamedTuple):
    """What `compare` found; times are medians in microseconds."""

    name: str
    eager_us: float
    traced_us: float
    same_bits: bool
    differences: tuple[str, ...]
    replays: bool
    reason: str
    nodes_before: int
    nodes_after: int
    kernels: dict[str, int]
    arena_bytes: int
    compile_seconds: float

    @property
    def speedup(self) -> float:
        """Eager time over traced time."""
        return self.eager_us / self.traced_us

    def to_dict(self) -> dict[str, Any]:
        """All fields, and the speed-up, as plain data."""
        return {**self._asdict(), "speedup": self.speedup}

    def _rows(self) -> list[tuple[str, str]]:
        bits = "the same" if self.same_bits else "DIFFERENT: " + "; ".join(self.differences[:4])
        rows = [("eager", f"{self.eager_us:.1f} us"), ("traced", f"{self.traced_us:.1f} us"),
                ("speed-up", f"{self.speedup:.1f} x"), ("bits", bits)]
        if not self.replays:
            return [*rows, ("replayed", f"no: {self.reason}")]
        kernels = ", ".join(f"{n} {k}" for k, n in self.kernels.items())
        return [*rows, ("nodes", f"{self.nodes_before} recorded, {self.nodes_after} after the passes"),
                ("kernels", f"{sum(self.kernels.values())} ({kernels})"), ("arena", f"{self.arena_bytes:,} bytes"),
                ("compile", f"{self.compile_seconds * 1e3:.0f} ms")]

    def __str__(self) -> str:
        return f"{self.name}\n" + "\n".join(f"  {k:9s} {v}" for k, v in self._rows())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        top = max(self.eager_us, self.traced_us)
        bars = "".join(
            f"<tr><td>{k}</td><td style='text-align:right'>{v:.1f} us</td><td style='width:22em'>"
            f"<div style='background:{c};height:1em;width:{max(v / top * 100, 0.5):.1f}%'></div></td></tr>"
            for k, v, c in (("eager", self.eager_us, "#9db8ee"), ("traced", self.traced_us, "#1a56db")))
        rows = "".join(f"<tr><td>{k}</td><td colspan=2 style='text-align:left'>{html.escape(v)}</td></tr>"
                       for k, v in self._rows()[2:])
        return f"<b>{html.escape(self.name)}</b><table>{bars}{rows}</table>"


def _time(call: Callable[[], Any], repeat: int) -> float:
    """Median of `repeat` samples of at least 200 microseconds each."""
    start = perf_counter()
    call()
    n = max(1, int(2e-4 / max(perf_counter() - start, 1e-7)))
    samples = []
    for _ in range(repeat):
        start = perf_counter()
        for _ in range(n):
            call()
        samples.append((perf_counter() - start) / n)
    return statistics.median(samples) * 1e6


def _kernel_counts(plan: Any) -> dict[str, int]:
    names = {LoopKernel: "loops", GemmKernel: "products", ScatterKernel: "scatters", HostStep: "host calls"}
    out: dict[str, int] = {}
    for k in plan.steps:
        out[names[type(k)]] = out.get(names[type(k)], 0) + 1
    return out


def _differences(eager: list[tuple[str, np.ndarray]], traced: list[tuple[str, np.ndarray]]) -> list[str]:
    out = []
    if [n for n, _ in eager] != [n for n, _ in traced]:
        return ["eager and traced call return or write different tensors"]
    for (name, a), (_, b) in zip(eager, traced):
        if not same_bits(a, b):
            x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
            where = np.argwhere(~((x == y) | (np.isnan(x) & np.isnan(y)))) if x.shape == y.shape else []
            at = tuple(int(i) for i in where[0]) if len(where) else ()
            out.append(f"{name} {a.dtype}{a.shape}: {len(where)} elements differ, first at {at}")
    return out


def compare(fn: Callable[..., Any], *args: Any, repeat: int = 25, steps: int = 3, **kwargs: Any) -> Comparison:
    """Run fn eagerly and traced from the same state: times, bits of `steps` calls in a row, what was compiled.

    fn may be decorated or plain.  Tensors that fn writes (parameters, optimizer state, generators, `.grad`) hold
    their old values afterwards; other Python state is fn's own affair.

    >>> import hybrid
    >>> hybrid.compare(lambda x: (x * 2).exp().sum(), hybrid.ones(100)).same_bits
    True
    """
    traced = fn if isinstance(fn, Function) else function(fn)
    plain = traced.fn
    writes = _Writes()
    old = door.push_mode(writes)
    try:
        plain(*args, **kwargs)
    finally:
        door.pop_mode(old)
        writes.restore()
    runs: list[list[tuple[str, np.ndarray]]] = []
    for call in (plain, traced):
        for _ in range(4 if call is traced else 0):       # recordings
            call(*args, **kwargs)
        writes.restore()
        seen: list[tuple[str, np.ndarray]] = []
        for _ in range(steps):
            seen += _copy(_bits(call(*args, **kwargs)))
        runs.append(seen + _copy(writes.arrays()))
        writes.restore()
    eager_us = _time(lambda: plain(*args, **kwargs), repeat)
    writes.restore()
    traced_us = _time(lambda: traced(*args, **kwargs), repeat)
    writes.restore()
    found = _differences(*runs)
    prepared, reason = traced.prepared(*args, **kwargs)
    facts: tuple[Any, ...] = (0, 0, {}, 0, 0.0)
    if prepared is not None:
        plan = prepared.result.plan
        facts = (len(prepared.forms[0][1].nodes), len(prepared.result.graph.nodes), _kernel_counts(plan),
                 plan.arena_bytes, prepared.lower_seconds + prepared.compile_seconds)
    name = getattr(plain, "__qualname__", type(plain).__name__)
    return Comparison(name, eager_us, traced_us, not found, tuple(found), prepared is not None, reason, *facts)


# ---- inspect --------------------------------------------------------------------------------------------------
class Inspection:
    """The forms of one recorded call: the graph as recorded, after each pass, and the plan.

    `forms` is a list of (step, object); `graph(step)` gives one graph; str() and the notebook show all."""

    def __init__(self, name: str, forms: list[tuple[str, Any]]) -> None:
        self.name, self.forms = name, forms

    def graph(self, step: str = "dce") -> Graph:
        """The graph after a step ('recorded' for the first)."""
        for n, form in self.forms:
            if n == step and isinstance(form, Graph):
                return form
        raise HybridError(f"no graph after step {step!r}; steps with graphs are "
                          + ", ".join(n for n, f in self.forms if isinstance(f, Graph)))

    def _texts(self) -> list[tuple[str, str]]:
        out, before = [], ""
        for name, form in self.forms:
            text = print_graph(form, elide=8) if isinstance(form, Graph) else _plan_text(form)
            if text and text != before:
                out.append((name, text))
            elif text:
                out.append((name, "(unchanged)"))
            before = text or before
        return out

    def __str__(self) -> str:
        return "\n\n".join(f"== {self.name}: {n}\n{t}" for n, t in self._texts())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        parts = [f"<details{' open' if i == 0 else ''}><summary><b>{html.escape(n)}</b></summary>"
                 f"<pre style='font-size:85%'>{html.escape(t)}</pre></details>" for i, (n, t) in enumerate(self._texts())]
        return f"<b>{html.escape(self.name)}</b>" + "".join(parts)


def _plan_text(form: Any) -> str:
    """A line per kernel of a plan; '' for forms in between."""
    if not hasattr(form, "arena_bytes"):
        return ""
    lines = []
    for i, (k, site) in enumerate(zip(form.steps, form.sites)):
        if isinstance(k, LoopKernel):
            what = f"loop {k.shape}" + (f" rows over {k.group}" if k.group else "") + \
                f", {len(k.program.instrs)} instructions, reads {[a.slot for a in k.reads]}, writes {[a.slot for a in k.writes]}"
        elif isinstance(k, GemmKernel):
            what = f"product {k.batch} x [{k.m} x {k.k}] @ [{k.k} x {k.n}]" + \
                (f", epilogue of {len(k.epilogue.instrs)}" if k.epilogue else "") + f", writes {[o.slot for o in k.outs]}"
        else:
            what = type(k).__name__
        lines.append(f"{i:3d}  {what}" + (f"   # {site}" if site else ""))
    return "\n".join([*lines, f"arena {form.arena_bytes:,} bytes"])


def inspect(fn: Function, *args: Any, **kwargs: Any) -> Inspection:
    """The graph of a decorated function after every pass, with the lines it came from.

    With arguments: of the call with these arguments; without: of the latest one that is replayed.
    Raises HybridError, saying why, when nothing is replayed.
    """
    if not isinstance(fn, Function):
        raise TypeError("inspect takes a function made by @hybrid.function")
    prepared, reason = fn.prepared(*args, **kwargs)
    if prepared is None:
        raise HybridError(f"nothing to inspect: {reason}")
    return Inspection(getattr(fn.fn, "__qualname__", "function"), prepared.forms)
