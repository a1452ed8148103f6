"""Looking at recorded functions: `compare`, `inspect` of every pass, and `describe_system`.

Invariant: nothing here changes the tensors that a function writes for longer than the look takes,
and `compare` runs both modes from the same state.
"""

from __future__ import annotations

import html
import platform
import statistics
import warnings
from collections.abc import Callable
from importlib import metadata
from math import prod
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from .backends import api
from .backends.plan import AttendKernel, GemmKernel, HostStep, LoopKernel, Plan, ScatterKernel
from .core import trees
from .core.errors import HybridError
from .decorator import Function, RunsEagerly, function
from .ir.door import bind as door
from .ir.graph.draw import Box, Shown, graph_boxes, svg, text_of
from .ir.graph.graph import Graph
from .ir.mode import Mode
from .ir.tensor import Handle

__all__ = ["compare", "inspect", "Comparison", "Inspection", "same_bits", "describe_system"]

Arrays = list[tuple[str, np.ndarray]]


# ---- state
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
        for tensor, value, aval in self.values.values():
            tensor._v, tensor._a = value, aval
        for tensor, gradient in self.grads.values():
            tensor._node.grad = gradient

    def arrays(self) -> Arrays:
        """What the written tensors hold now, with a name each."""
        arrays = [
            (f"state {i}", _array(handle)) for i, (handle, _, _) in enumerate(self.values.values())
        ]
        return arrays + [
            (f"gradient {i}", _array(t._node.grad))
            for i, (t, _) in enumerate(self.grads.values())
            if t._node.grad is not None
        ]


def _array(handle: Any) -> np.ndarray:
    return door.fetched(handle._v, handle._a.device)


def _bits(result: Any) -> Arrays:
    found = enumerate(trees.leaves(result))
    return [(f"output {i}", _array(t)) for i, t in found if isinstance(t, Handle)]


def _copy(arrays: Arrays) -> Arrays:
    return [(n, a.copy()) for n, a in arrays]


def _unequal(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Where two arrays of one shape and dtype differ in bits; any NaN equals any NaN."""
    left, right = np.asarray(first, order="C"), np.asarray(second, order="C")  # keeps 0-d
    width = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}[left.itemsize]
    differs = left.view(width) != right.view(width)
    if left.dtype.kind in "fV" and differs.any():
        left_wide, right_wide = left.astype(np.float64), right.astype(np.float64)
        differs &= ~(np.isnan(left_wide) & np.isnan(right_wide))
    return differs


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal shape, dtype and bits; any NaN equals any NaN."""
    return a.shape == b.shape and a.dtype == b.dtype and not _unequal(a, b).any()


# ---- compare
class Comparison(NamedTuple):
    """What `compare` found; times are medians in microseconds.

    `same_bits`, and where not, `differences`; whether the function `replays`, and where not, the
    `reason`; operations recorded (`nodes_before`) and left by the passes (`nodes_after`), how many
    `kernels` of each kind they became, bytes of temporary memory, seconds of compilation.
    """

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
        rows = [
            ("eager", f"{self.eager_us:.1f} us"),
            ("traced", f"{self.traced_us:.1f} us"),
            ("speed-up", f"{self.speedup:.1f} x"),
            ("bits", bits),
        ]
        if not self.replays:
            return [*rows, ("replayed", f"no: {self.reason}")]
        kernels = ", ".join(f"{n} {k}" for k, n in self.kernels.items())
        return [
            *rows,
            ("nodes", f"{self.nodes_before} recorded, {self.nodes_after} after the passes"),
            ("kernels", f"{sum(self.kernels.values())} ({kernels})"),
            ("arena", f"{self.arena_bytes:,} bytes"),
            ("compile", f"{self.compile_seconds * 1e3:.0f} ms"),
        ]

    def __str__(self) -> str:
        return f"{self.name}\n" + "\n".join(f"  {k:9s} {v}" for k, v in self._rows())

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        most = max(self.eager_us, self.traced_us)
        bars = "".join(
            f"<tr><td>{k}</td><td style='text-align:right'>{v:.1f} us</td><td style='width:22em'>"
            f"<div style='background:{c};height:1em;width:{max(v / most * 100, 0.5):.1f}%'></div>"
            "</td></tr>"
            for k, v, c in (
                ("eager", self.eager_us, "#9db8ee"),
                ("traced", self.traced_us, "#1a56db"),
            )
        )
        rows = "".join(
            f"<tr><td>{k}</td><td colspan=2 style='text-align:left'>{html.escape(v)}</td></tr>"
            for k, v in self._rows()[2:]
        )
        return f"<b>{html.escape(self.name)}</b><table>{bars}{rows}</table>"


def _times(calls: tuple[Callable[[], Any], ...], repeat: int) -> list[float]:
    """Median microseconds of each call over `repeat` samples; calls take turns, so that a slow
    moment meets all."""
    counts: list[int] = []
    samples: list[list[float]] = [[] for _ in calls]
    for call in calls:
        start = perf_counter()
        call()
        counts.append(max(1, int(2e-4 / max(perf_counter() - start, 1e-7))))
    for _ in range(repeat):
        for call, count, samples_of_call in zip(calls, counts, samples):
            start = perf_counter()
            for _ in range(count):
                call()
            samples_of_call.append((perf_counter() - start) / count)
    return [statistics.median(x) * 1e6 for x in samples]


def _kind(kernel: Any) -> str:
    """The kind of a kernel in words, as drawings colour it."""
    if isinstance(kernel, LoopKernel):
        return "rows" if kernel.group is not None else "loop"
    names = {
        GemmKernel: "product",
        AttendKernel: "attend",
        ScatterKernel: "scatter",
        HostStep: "host",
    }
    return names[type(kernel)]


def _kernel_counts(plan: Plan) -> dict[str, int]:
    counts: dict[str, int] = {}
    for kernel in plan.steps:
        counts[_kind(kernel)] = counts.get(_kind(kernel), 0) + 1
    return counts


def _differences(eager: Arrays, traced: Arrays) -> list[str]:
    if [n for n, _ in eager] != [n for n, _ in traced]:
        return ["eager and traced call return or write different tensors"]
    differences = []
    for (name, wanted), (_, found) in zip(eager, traced):
        if wanted.shape != found.shape or wanted.dtype != found.dtype:
            differences.append(
                f"{name} is {wanted.dtype}{wanted.shape} eagerly, {found.dtype}{found.shape} traced"
            )
            continue
        where = np.argwhere(_unequal(wanted, found))
        if len(where):
            position = tuple(map(int, where[0]))
            differences.append(
                f"{name} {wanted.dtype}{wanted.shape}: {len(where)} element(s) differ, "
                f"first at {position}: "
                f"{wanted[position]} eagerly, {found[position]} traced"
            )
    return differences


def _run(call: Callable[[], Any], writes: _Writes, steps: int) -> Arrays:
    """Results of some calls in a row and the state after them; the state is then put back."""
    writes.restore()
    seen: Arrays = []
    for index in range(steps):
        seen += [(f"{n} of call {index}", a) for n, a in _copy(_bits(call()))]
    seen += _copy(writes.arrays())
    writes.restore()
    return seen


def _writes_of(call: Callable[[], Any]) -> _Writes:
    """The tensors that a call writes."""
    writes = _Writes()
    outer = door.push_mode(writes)
    try:
        call()
    finally:
        door.pop_mode(outer)
        writes.restore()
    return writes


def _facts(prepared: Any) -> tuple[Any, ...]:
    """What a Comparison tells of a compiled form: nodes, kernels, memory, seconds."""
    if prepared is None:
        return 0, 0, {}, 0, 0.0
    plan = prepared.result.plan
    return (
        len(prepared.recording.graph.nodes),
        len(prepared.result.graph.nodes),
        _kernel_counts(plan),
        plan.arena_bytes,
        prepared.lower_seconds + prepared.compile_seconds,
    )


def compare(
    fn: Callable[..., Any], *args: Any, repeat: int = 25, steps: int = 3, **kwargs: Any
) -> Comparison:
    """Run fn eagerly and traced from the same state: times, bits of `steps` calls in a row, what
    was compiled.

    fn may be decorated or plain.  Tensors that fn writes (parameters, optimizer state, generators,
    `.grad`) hold their old values afterwards; other Python state is fn's own affair.

    >>> import hybrid
    >>> hybrid.compare(lambda x: (x * 2).exp().sum(), hybrid.ones(100)).same_bits
    True
    """
    decorated = fn if isinstance(fn, Function) else function(fn)

    def plain() -> Any:
        return decorated.fn(*args, **kwargs)

    def traced() -> Any:
        return decorated(*args, **kwargs)

    writes = _writes_of(plain)
    with warnings.catch_warnings():
        if decorated is not fn:  # the result tells it
            warnings.simplefilter("ignore", RunsEagerly)
        found, medians = _compared(plain, traced, writes, repeat, steps)
    writes.restore()
    prepared, reason = decorated.prepared(*args, **kwargs)
    name = getattr(decorated.fn, "__qualname__", type(decorated.fn).__name__)
    compiled = prepared is not None
    return Comparison(name, *medians, not found, tuple(found), compiled, reason, *_facts(prepared))


def _compared(
    plain: Callable[[], Any], traced: Callable[[], Any], writes: _Writes, repeat: int, steps: int
) -> tuple[list[str], tuple[float, float]]:
    """In what two ways of one call differ, and the median time of each."""
    for _ in range(4):  # recordings
        traced()
    eager = _run(plain, writes, steps)
    found = _differences(eager, _run(traced, writes, steps))
    if found and _differences(eager, _run(plain, writes, steps)):
        found.insert(0, "two eager runs differ as well (fn depends on more than tensors)")
    eager_us, traced_us = _times((plain, traced), repeat)
    return found, (eager_us, traced_us)


# ---- inspect
class Inspection:
    """The forms of one recorded call: the graph as recorded, after each pass, and the plan.

    `forms` is a list of (step, object); `graph(step)` gives one graph; str() and the notebook show
    all."""

    def __init__(self, name: str, forms: list[tuple[str, Any]]) -> None:
        self.name, self.forms = name, forms

    def graph(self, step: str = "dce") -> Shown:
        """The graph after a step ('recorded' for the first)."""
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
            f"{_kind(kernel)} over [{shape}], {len(kernel.program.instrs)} instructions"
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
        boxes.append(Box(_kind(kernel), short, hover, _kind(kernel), sources, kept))
        writer.update(dict.fromkeys(writes, index))
    return boxes


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


# ---- the system
def describe_system() -> str:
    """Versions, devices and threads, a line each: what a bug report needs.

    >>> describe_system().splitlines()[0].split()[0]
    'hybrid'
    """
    rows = []
    for name in ("hybrid", "numpy", "llvmlite", "ml_dtypes", "optree"):
        try:
            rows.append((name, metadata.version(name)))
        except metadata.PackageNotFoundError:
            rows.append(
                (name, "runs from its source tree" if name == "hybrid" else "not installed")
            )
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
