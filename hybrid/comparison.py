"""`compare`: one function eagerly and traced, on one device or several: times, and bits.

Invariant: every run starts from the same state, and the tensors that a function writes hold their
old values afterwards, on the device where they were.
"""

from __future__ import annotations

import html
import statistics
import warnings
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from .backends.plan import AttendKernel, GemmKernel, HostStep, LoopKernel, Plan, ScatterKernel
from .core import trees
from .core.aval import Device, aval
from .core.aval import device as to_device
from .decorator import Function, RunsEagerly, function, unbound
from .ir.door import bind as door
from .ir.mode import Mode
from .ir.tensor import Handle
from .ops.indexing.generators import default_generator, default_generators

__all__ = ["compare", "Comparison", "same_bits", "kind_of"]

Arrays = list[tuple[str, np.ndarray]]


# ---- state
class _Reads(Mode):
    """Collects the tensors that a call uses and did not make."""

    __slots__ = ("made", "found")

    def __init__(self) -> None:
        self.made: dict[int, Any] = {}
        self.found: dict[int, Any] = {}

    def _use(self, handle: Any) -> None:
        if id(handle) not in self.made:
            self.found.setdefault(id(handle), handle)

    def on_op(self, op: Any, params: Any, xs: tuple[Any, ...], outs: tuple[Any, ...]) -> None:
        for handle in xs:
            self._use(handle)
        self.made.update((id(handle), handle) for handle in outs)

    def on_alias(self, new: Any, old: Any) -> None:
        self._use(old)
        self.made[id(new)] = new

    def on_constant(self, handle: Any) -> None:
        self.made[id(handle)] = handle

    def on_assign(self, handle: Any, value: Any) -> None:
        self._use(handle)

    def on_grad_get(self, handle: Any, grad: Any) -> None:
        self._use(handle)

    def on_grad_set(self, handle: Any, grad: Any) -> None:
        self._use(handle)

    def used(self) -> list[Any]:
        """They and their gradients; no literals, which each device has of its own."""
        handles = [handle for handle in self.found.values() if door.constant_of(handle) is None]
        grads = [getattr(handle._node, "grad", None) for handle in handles]
        both = {id(handle): handle for handle in (*handles, *grads) if handle is not None}
        for generator in default_generators():
            for own in (generator.seed, generator.offset):
                both.pop(id(own), None)
        return list(both.values())


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
        for tensor, value, record in self.values.values():
            tensor._v, tensor._a = value, record
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
    return door.host_array(handle)


def _bits(result: Any) -> Arrays:
    found = enumerate(trees.leaves(result))
    return [(f"output {i}", _array(t)) for i, t in found if isinstance(t, Handle)]


def _copy(arrays: Arrays) -> Arrays:
    return [(n, a.copy()) for n, a in arrays]


def _unequal(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Where two arrays of one shape and dtype differ in bits; any NaN equals any NaN."""
    left, right = np.asarray(first, order="C"), np.asarray(second, order="C")  # keeps 0-d
    if left.dtype.kind == "c":
        parts = zip((left.real, left.imag), (right.real, right.imag))
        return np.logical_or(*[_unequal(*part) for part in parts])
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
    `kernels` of each kind they became, bytes of temporary memory, seconds of compilation.  With
    `devices`: in what runs differ from the eager one on the first device (`device_bits`), and the
    times on each, eager and traced (`device_us`).

    >>> import hybrid
    >>> seen = hybrid.compare(lambda x: (x + 1).exp(), hybrid.ones(8), repeat=1)
    >>> seen.replays, seen.nodes_before, seen.kernels
    (True, 2, {'loop': 1})
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
    device_bits: tuple[str, ...] = ()
    device_us: dict[str, tuple[float, float]] = {}  # noqa: RUF012  (nobody writes it)

    @property
    def speedup(self) -> float:
        """Eager time over traced time.

        >>> import hybrid
        >>> seen = hybrid.compare(lambda x: (x + 1).exp(), hybrid.ones(8), repeat=1)
        >>> seen.speedup == seen.eager_us / seen.traced_us
        True
        """
        return self.eager_us / self.traced_us

    def to_dict(self) -> dict[str, Any]:
        """All fields, and the speed-up, as plain data.

        >>> import hybrid
        >>> hybrid.compare(lambda x: x + 1, hybrid.ones(8), repeat=1).to_dict()["kernels"]
        {'loop': 1}
        """
        return {**self._asdict(), "speedup": self.speedup}

    def _rows(self) -> list[tuple[str, str]]:
        bits = "the same" if self.same_bits else "DIFFERENT: " + "; ".join(self.differences[:4])
        rows = [
            ("eager", f"{self.eager_us:.1f} us"),
            ("traced", f"{self.traced_us:.1f} us"),
            ("speed-up", f"{self.speedup:.1f} x"),
            ("bits", bits),
        ]
        for device, (eager, traced) in self.device_us.items():
            rows.append((device, f"{eager:.1f} us eager, {traced:.1f} us traced"))
        if self.device_us:
            differ = "DIFFERENT: " + "; ".join(self.device_bits[:4])
            rows.append(("devices", differ if self.device_bits else "the same bits"))
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


def kind_of(kernel: Any) -> str:
    """The kind of a kernel in words, as drawings colour it."""
    if isinstance(kernel, LoopKernel):
        return "rows" if kernel.group is not None else "loop"
    if isinstance(kernel, HostStep):
        return kernel.kind
    names = {GemmKernel: "product", AttendKernel: "attend", ScatterKernel: "scatter"}
    return names[type(kernel)]


def _kernel_counts(plan: Plan) -> dict[str, int]:
    counts: dict[str, int] = {}
    for kernel in plan.steps:
        counts[kind_of(kernel)] = counts.get(kind_of(kernel), 0) + 1
    return counts


def _differences(
    eager: Arrays, traced: Arrays, ways: tuple[str, str] = ("eagerly", "traced")
) -> list[str]:
    one, other = ways
    if [n for n, _ in eager] != [n for n, _ in traced]:
        return [f"a call {one} and one {other} return or write different tensors"]
    differences = []
    for (name, wanted), (_, found) in zip(eager, traced):
        if wanted.shape != found.shape or wanted.dtype != found.dtype:
            differences.append(
                f"{name} is {wanted.dtype}{wanted.shape} {one}, {found.dtype}{found.shape} {other}"
            )
            continue
        where = np.argwhere(_unequal(wanted, found))
        if len(where):
            position = tuple(map(int, where[0]))
            differences.append(
                f"{name} {wanted.dtype}{wanted.shape}: {len(where)} element(s) differ, "
                f"first at {position}: "
                f"{wanted[position]} {one}, {found[position]} {other}"
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
    fn: Callable[..., Any],
    *args: Any,
    repeat: int = 25,
    steps: int = 3,
    devices: Sequence[Any] = (),
    **kwargs: Any,
) -> Comparison:
    """Run fn eagerly and traced from the same state: times, bits of `steps` calls in a row, what
    was compiled.

    fn may be decorated or plain.  Tensors that fn writes (parameters, optimizer state, generators,
    `.grad`) hold their old values afterwards; other Python state is fn's own affair.  Raises
    TypeError for a fn that cannot be called; what fn raises passes.

    With `devices` the same is done on each of them: all tensors that fn is given or reads are
    there meanwhile, and `device_bits` tells which results, gradients and new values of tensors are
    not bit for bit those of the eager run on the first device, eagerly or traced.  fn has to make
    its own tensors where its inputs are.

    >>> import hybrid
    >>> hybrid.compare(lambda x: (x * 2).exp().sum(), hybrid.ones(100)).same_bits
    True
    """
    fn, args = unbound(fn, args)
    decorated = fn if isinstance(fn, Function) else function(fn)

    def plain() -> Any:
        return decorated.fn(*args, **kwargs)

    def traced() -> Any:
        return decorated(*args, **kwargs)

    with warnings.catch_warnings():
        if decorated is not fn:  # the result tells it
            warnings.simplefilter("ignore", RunsEagerly)
        writes = _writes_of(plain)
        runs = _Runs(plain, traced, writes, repeat, steps)
        with decorated.waiting():
            there = _there(runs, devices, (args, kwargs))
            first = next(iter(there.values())) if there else runs.done()
    writes.restore()
    prepared, reason = decorated.prepared(*args, **kwargs)
    name = getattr(decorated.fn, "__qualname__", type(decorated.fn).__name__)
    found = [text for ran in there.values() for text in ran.found] if there else first.found
    compiled = prepared is not None
    told = Comparison(
        name, *first.medians, not found, tuple(found), compiled, reason, *_facts(prepared)
    )
    medians = {where: ran.medians for where, ran in there.items()}
    return told._replace(device_bits=tuple(_across(there)), device_us=medians)


class Ran(NamedTuple):
    """What both ways of one call gave on a device."""

    eager: Arrays
    traced: Arrays
    found: list[str]
    medians: tuple[float, float]


class _Runs(NamedTuple):
    """Two ways of one call, and how often they run."""

    plain: Callable[[], Any]
    traced: Callable[[], Any]
    writes: _Writes
    repeat: int
    steps: int

    def done(self) -> Ran:
        """Both ways from the same state, then timed."""
        for _ in range(4):  # recordings
            self.traced()
        eager = _run(self.plain, self.writes, self.steps)
        traced = _run(self.traced, self.writes, self.steps)
        found = _differences(eager, traced)
        if found and _differences(eager, _run(self.plain, self.writes, self.steps)):
            found.insert(0, "two eager runs differ as well (fn depends on more than tensors)")
        eager_us, traced_us = _times((self.plain, self.traced), self.repeat)
        return Ran(eager, traced, found, (eager_us, traced_us))


# ---- several devices
class _Moved:
    """While it lasts, tensors hold their values on another device, whose default generator goes on
    where that of the device they came from stands."""

    def __init__(self, handles: Sequence[Any], device: Device) -> None:
        self.handles, self.device = handles, device
        self.before: list[tuple[Any, Any, Any]] = []

    def _put(self, handle: Any, value: Any, device: Device) -> None:
        self.before.append((handle, handle._v, handle._a))
        handle._v = value
        handle._a = aval(handle._a.shape, handle._a.dtype, device)

    def __enter__(self) -> None:
        sources = {handle._a.device: None for handle in self.handles}
        for handle in self.handles:
            if handle._a.device is not self.device:
                host = door.fetched(handle._v, handle._a.device)
                self._put(handle, door.on_device(host, self.device), self.device)
        own = default_generator(self.device)
        for source in sources:
            if source is not self.device:
                from_there = default_generator(source)
                for name in ("seed", "offset"):
                    state = getattr(from_there, name)
                    host = door.fetched(state._v, source)
                    self._put(getattr(own, name), door.on_device(host, self.device), self.device)

    def __exit__(self, *exception: Any) -> None:
        for handle, value, record in reversed(self.before):
            handle._v, handle._a = value, record


def _there(runs: _Runs, devices: Sequence[Any], given: Any) -> dict[str, Ran]:
    """What ran on each device."""
    if not devices:
        return {}
    reads = _Reads()
    outer = door.push_mode(reads)
    try:
        runs.plain()
    finally:
        door.pop_mode(outer)
        runs.writes.restore()
    for leaf in trees.leaves(given):
        if isinstance(leaf, Handle):
            reads.found.setdefault(id(leaf), leaf)
    handles, there = reads.used(), {}
    for device in map(to_device, devices):
        with _Moved(handles, device):
            writes = _writes_of(runs.plain)
            there[device.name] = runs._replace(writes=writes).done()
            writes.restore()
    return there


def _across(there: dict[str, Ran]) -> list[str]:
    """In what runs are not the eager run on the first device."""
    told: list[str] = []
    for where, ran in there.items():
        first, wanted = next(iter(there.items()))
        if where != first:
            told += _differences(wanted.eager, ran.eager, (f"on {first}", f"on {where}"))
            told += _differences(wanted.eager, ran.traced, (f"on {first}", f"traced on {where}"))
    return told
