"""The recorder: a Mode that writes down the ops of one call as a graph over handles.

Invariant: a value number stands for one value; `handles` says which value a handle holds now, so
in-place syntax is only a change of that map.  Tensors that were there before and are no argument
become captures.
"""

from __future__ import annotations

import functools
import sys
import types
import weakref
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...core.errors import Site
from ...core.signals import foreign
from ...core.sites import user_site
from ...ir.door.bind import constant_of, fetched
from ...ir.graph.graph import Const, Graph, Node, Value
from ...ir.mode import Mode
from ...ir.op import Op
from ...ir.tensor import Handle
from ..bytecode.host_reads import HOW, Read
from ..heap.policy import trusted
from ..watch.events import Watch

__all__ = ["Recorder", "Step"]

LARGE = 1 << 24  # bytes of results that are worth returning to the system
SWEEP_BYTES = 8 << 20  # of new results, after which values that nobody else holds are let go


class Step(NamedTuple):
    """One recorded op: inputs are value numbers, or 0-d and constant arrays kept as Const."""

    op: Op
    params: tuple[tuple[str, Any], ...]
    inputs: tuple[Any, ...]
    outputs: tuple[int, ...]
    avals: tuple[Any, ...]
    site: Site | None


def _lonely(handles: list[Any], i: int, counts: Any = sys.getrefcount) -> int:
    """References to an element of a list, the list's own included."""
    return counts(handles[i])


_ALONE = _lonely([Handle()], 0)


class _Grad:
    """What a recording knows about `.grad` of one handle."""

    __slots__ = ("handle", "first", "read", "now", "written")

    def __init__(self, handle: Handle, first: Any) -> None:
        self.handle, self.first, self.now = handle, first, first
        self.read = self.written = False


def _safely(hook: Callable[..., None]) -> Callable[..., None]:
    """A hook whose own errors (no memory, say) end the recording and not the user's call."""

    @functools.wraps(hook)
    def safe(self: Recorder, *args: Any) -> None:
        try:
            hook(self, *args)
        except Exception as e:
            if foreign(e):
                raise
            self.reasons[f"cannot be recorded: {type(e).__name__}: {e}"] = None

    return safe


def _hooks_never_raise(cls: type[Recorder]) -> type[Recorder]:
    for name, hook in list(vars(cls).items()):
        if name.startswith("on_"):
            setattr(cls, name, _safely(hook))
    return cls


@_hooks_never_raise
class Recorder(Mode):
    """Attributes after the call: steps, args and captures (handles, in order of value numbers'
    roles), written (handle id -> handle assigned), grads, reasons."""

    def __init__(self, leaves: Sequence[Handle], root: types.CodeType | None = None) -> None:
        self.root = root  # code of the recorded function
        self.reads: list[Read] = []  # host reads by that function itself
        self.steps: list[Step] = []
        self.handles: dict[int, int] = {}  # id(handle) -> number of the value it holds now
        self.consts: dict[int, np.ndarray] = {}  # numbers of values that are literals
        self.avals: list[Any] = []  # by value number
        self.keep: list[Any] = []  # ids stay unique while recording
        self._shells: list[Any] = []  # of those, handles whose values were let go
        self._fresh = self._bytes = 0  # bytes of results since the last sweep, and in all
        self.args: list[Handle] = []
        self.captures: list[Handle] = []
        # arg/capture: first value number, aval, tape node
        self.start: dict[int, tuple[int, Any, Any]] = {}
        self.written: dict[int, Handle] = {}
        self.grads: dict[int, _Grad] = {}
        self.looked: dict[int, Handle] = {}  # whose flags hybrid's own code asked for
        self.reasons: dict[str, None] = {}
        self.watch: Watch | None = None  # what looks at the Python of the call
        for t in leaves:
            if id(t) not in self.handles:
                self.args.append(t)
                self._begin(t)

    # ---- numbering
    def _new(self, t: Handle) -> int:
        self.keep.append(t)
        n = len(self.avals)
        self.avals.append(t._a)
        self.handles[id(t)] = n
        self._fresh += t._a.nbytes
        self._bytes += t._a.nbytes
        if self._fresh > SWEEP_BYTES:
            self._sweep()
        return n

    def _sweep(self) -> None:
        """Let go of the values of handles that only this recording holds; their ids stay taken."""
        resume = self.pause()
        self._fresh, keep, left = 0, self.keep, []
        for i in range(len(keep) - 1, -1, -1):  # the newest first: its tape entry holds older ones
            if (
                _lonely(keep, i) == _ALONE
                and isinstance(keep[i], Handle)
                and not weakref.getweakrefcount(keep[i])
            ):
                keep[i]._v = keep[i]._node = None
                self._shells.append(keep[i])
            else:
                left.append(keep[i])
        self.keep = left[::-1]
        resume()

    def _begin(self, t: Handle) -> None:
        self.start[id(t)] = (self._new(t), t._a, t._node)

    def ref(self, t: Any) -> int:
        """The number of the value t holds now; an unseen tensor is a literal or a capture."""
        n = self.handles.get(id(t))
        if n is None:
            c = constant_of(t)
            if c is not None:
                n = self._new(t)
                self.consts[n] = c
            else:
                self.captures.append(t)
                self._begin(t)
                n = self.handles[id(t)]
        return n

    def why(self, text: str) -> None:
        site = user_site()
        self.reasons[f"{text} ({site})" if site else text] = None

    def pause(self) -> Callable[[], None]:
        return self.watch.pause() if self.watch is not None else super().pause()

    # ---- hooks
    def on_op(
        self,
        op: Op,
        params: tuple[tuple[str, Any], ...],
        xs: tuple[Any, ...],
        outs: tuple[Any, ...],
    ) -> None:
        ins = tuple([self.ref(x) for x in xs])
        nums = tuple([self._new(o) for o in outs])
        self.steps.append(
            Step(op, tuple(params), ins, nums, tuple([o._a for o in outs]), user_site())
        )

    def on_assign(self, handle: Any, value: Any) -> None:
        self.ref(handle)
        self.handles[id(handle)] = self.ref(value)
        self.written[id(handle)] = handle

    def on_alias(self, new: Any, old: Any) -> None:
        n = self.ref(old)
        self.keep.append(new)
        self.handles[id(new)] = n

    def holds(self, handle: Any) -> int:
        seen = self.watch.holds(handle) if self.watch is not None else 0
        return seen + (id(handle) in self.handles) + (id(handle) in self.written)

    def on_constant(self, handle: Any) -> None:
        n = self._new(handle)
        self.consts[n] = fetched(handle._v, handle._a.device)

    def on_bool(self, handle: Any, value: bool) -> None:
        self.why("branches on the value of a tensor")

    def on_host_read(self, handle: Any, kind: str) -> None:
        f = sys._getframe(1)
        while trusted(f.f_code.co_filename) and f.f_back is not None:
            f = f.f_back
        text = f"reads a tensor in Python with {kind}"
        outer = f.f_back is not None and trusted(f.f_back.f_code.co_filename)
        if f.f_code is self.root and outer and kind in HOW:
            self.reads.append(Read(f.f_lasti, self.ref(handle), kind, f"{text} ({user_site()})"))
        else:
            self.why(text)

    def on_look(self, handle: Any) -> None:
        self.looked[id(handle)] = handle

    def on_effect(self, what: str) -> None:
        self.why(what)

    # ---- gradients
    def _grad(self, handle: Any) -> _Grad:
        g = self.grads.get(id(handle))
        if g is None:
            self.keep.append(handle)
            g = self.grads[id(handle)] = _Grad(handle, getattr(handle._node, "grad", None))
            self.keep.append(g.first)
        return g

    def on_grad_get(self, handle: Any, grad: Any) -> None:
        g = self._grad(handle)
        if not g.written:
            g.read = True
            if grad is not None:
                self.ref(grad)

    def on_grad_set(self, handle: Any, grad: Any) -> None:
        g = self._grad(handle)
        g.written, g.now = True, grad

    def devices(self) -> set[Any]:
        """The devices of a recording that used much memory."""
        return {a.device for a in self.avals} if self._bytes > LARGE else set()

    # ---- result
    def graph(self, outputs: Sequence[int], extra: Sequence[Handle] = ()) -> Graph:
        """The recorded ops as a Graph: inputs are the arguments, then the captures."""
        values: dict[int, Value] = {}
        inputs = []
        for t in [*self.args, *self.captures]:
            number, a, _ = self.start[id(t)]
            values[number] = Value(a)
            inputs.append(values[number])
        for number, data in self.consts.items():
            values[number] = Const(self.avals[number], data)
        nodes = []
        for s in self.steps:
            node = Node(s.op, dict(s.params), [values[i] for i in s.inputs], s.avals, s.site)
            nodes.append(node)
            values.update(zip(s.outputs, node.outputs))
        return Graph(inputs, nodes, [values[i] for i in outputs])

    def key(self) -> list[tuple[Any, ...]]:
        """What decides the results, comparable between two recordings of one function."""

        def ref(n: int) -> Any:
            c = self.consts.get(n)
            return n if c is None else (self.avals[n], c.tobytes())

        return [(s.op, s.params, tuple(map(ref, s.inputs)), s.avals) for s in self.steps]
