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
from typing import Any

import numpy as np

from ...autograd.asked import Asked
from ...control.regions import INNER, OpenRegions, RecordedOp
from ...control.taps import Probes
from ...core.signals import foreign
from ...core.sites import user_site
from ...ir.door.bind import constant_of, converter, fetched, grad_enabled
from ...ir.graph.graph import Const, Graph, Node, Value
from ...ir.op import Op
from ...ir.tensor import Alias, Handle, link_view
from ..branches.decided import TRUTH
from ..branches.recorded import BRANCHES, Branches
from ..bytecode.host_reads import HOW, Read
from ..follow.arrays.numbers import numbers_operand
from ..follow.arrays.offers import array_operand, given_back
from ..follow.operands import assigned, taken
from ..follow.terms import HostRead, is_number
from ..heap.allowlist import trusted
from ..heap.data import source_of
from ..heap.lists import listable, takes_numbers
from ..watch.events import Fall, Watch
from .outputs import Unfit

__all__ = ["Recorder", "RecordedOp"]

SWEEP_BYTES = 6 << 20  # of new results, after which values that nobody else holds are let go
SWEEP_SHARE = 16  # or a part of what is held: a sweep looks at all of it
SWEPT = 4096  # bytes of values that are worth it
AGAIN = 2  # sweeps until one looks at what earlier ones left, too: most values die young


_new: Any = tuple.__new__


def _native(given: Any) -> bool:
    """Whether an argument holds its elements in the machine's byte order."""
    return not isinstance(given, np.ndarray) or given.dtype.isnative


def _small(value: Any) -> bool:
    """Whether sums of such ints stay far from the bounds of 64 bits."""
    return type(value) is int and abs(value) < 1 << 31


# a replay of it would write both whether or not one still shows the other
LINKED = "writes a tensor and uses a view of it that was made before the call"


def _let_go(handles: list[Any], alone: int, watch: Watch | None = None) -> list[Any]:
    """Take the values of handles to which there are no references but `alone` and those of a
    watch, and give these."""
    found, counts = [], sys.getrefcount
    own = set[int]() if watch is None else {*watch.kept, *watch.passed, *watch.looked}
    # the newest first: its tape node holds older ones, which are alone only without it
    for index in range(len(handles) - 1, -1, -1):
        count = counts(handles[index])
        if count <= alone or id(handles[index]) in own:
            handle = handles[index]
            if count > alone and watch is not None and count > alone + watch.only(handle):
                continue
            if isinstance(handle, Handle) and _parted(handle):
                handle._v = handle._node = None
                found.append(handle)
    return found


def _parted(handle: Handle) -> bool:
    """Whether nobody can get at a handle by a weak reference: that of a view's base is taken back,
    as it goes when a view dies."""
    refs = weakref.getweakrefs(handle)
    link = getattr(handle, "_x", None)
    if not refs or len(refs) > 1 or type(link) is not Alias or link.base is None:
        return not refs
    known = link.base._x.views
    for index in range(len(known) - 1, -1, -1):
        if known[index] is refs[0] and _holders(refs) <= _LINKED:
            del known[index]
            handle._x = None
            return True
    return False


def _holders(refs: list[Any], counts: Any = sys.getrefcount) -> int:
    """References to the first of some weak references, that of the list included."""
    count: int = counts(refs[0])
    return count


def _linked() -> int:
    """What `_holders` gives for a weak reference that only a view's base holds."""
    base, view = Handle(), Handle()
    link_view(view, base, "")
    return _holders(weakref.getweakrefs(view))


def _alone() -> int:
    """The references that there are to a handle which only its list holds: interpreters differ in
    those that a call adds for itself."""
    return next(count for count in range(9) if _let_go([Handle()], count))


_LINKED, _ALONE = _linked(), _alone()


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
        except Exception as error:
            if foreign(error):
                raise
            self.reasons[f"cannot be recorded: {type(error).__name__}: {error}"] = None

    return safe


def _hooks_never_raise(cls: type[Recorder]) -> type[Recorder]:
    for name, hook in list(vars(cls).items()):
        if name.startswith("on_"):
            setattr(cls, name, _safely(hook))
    return cls


@_hooks_never_raise
class Recorder(Branches):
    """Attributes after the call: steps, args and captures (handles, in order of value numbers'
    roles), written (handle id -> handle assigned), grads, reasons."""

    whole = True
    postponed: Any = None  # what computes its ops after the call

    def __init__(self, leaves: Sequence[Handle], root: types.CodeType | None = None) -> None:
        super().__init__()
        self.root = root  # code of the recorded function
        self.reads: list[Read] = []  # host reads by that function itself
        self.handles: dict[int, int] = {}  # id(handle) -> number of the value it holds now
        self.consts: dict[int, np.ndarray] = {}  # numbers of values that are literals
        self.avals: list[Any] = []  # by value number
        self.keep: list[Any] = []  # ids stay unique while recording
        self.large: list[Any] = []  # of those that were looked at, handles that hold much
        self._sorted = 0  # of `keep`, those that were looked at
        self._lasting = self._sweeps = 0  # of `large`, those that the latest sweep left; sweeps
        self._shells: list[Any] = []  # handles whose values were let go
        # bytes of results, of those that were let go, and at the next sweep
        self._bytes, self._gone, self._due = 0, 0, SWEEP_BYTES
        self.args: list[Handle] = []
        self.captures: list[Handle] = []
        # arg/capture: first value number, aval, tape node
        self.start: dict[int, tuple[int, Any, Any]] = {}
        self.written: dict[int, Handle] = {}
        # views that the call knows nothing of, as their bases are written: the view, the number of
        # what it shows, and its record and tape node before
        self.followed: dict[int, tuple[Handle, int, Any, Any]] = {}
        self.graded = False  # whether a tensor with a gradient was written with gradients on
        self.grads: dict[int, _Grad] = {}
        self.looked: dict[int, Handle] = {}  # whose flags hybrid's own code asked for
        self.reasons: dict[str, None] = {}
        self.tapped = False
        self.asked = Asked()
        self.regions: list[OpenRegions] = []  # branches and loops that are being recorded
        self.watch: Watch | None = None  # what looks at the Python of the call
        self.data: dict[int, Handle] = {}  # id of an argument that is data -> what stands for it
        self.varying: dict[int, int] = {}  # of those that are inputs, by id: position
        for tensor in leaves:
            if id(tensor) not in self.handles:
                self.args.append(tensor)
                self._begin(tensor)
                source = source_of(tensor)
                if source is not tensor and not is_number(source):
                    self.data[id(source)] = tensor

    def progress(self) -> int:
        """How many operations have run."""
        return len(self.steps)

    # ---- numbering
    def _new(self, tensor: Handle) -> int:
        self.keep.append(tensor)
        number = len(self.avals)
        aval = tensor._a
        self.avals.append(aval)
        self.handles[id(tensor)] = number
        self._bytes += aval.nbytes
        if self._bytes > self._due:
            self._sweep()
        return number

    number_new = _new  # for the regions of branches and loops

    def _sweep(self) -> None:
        """Let go of the values of handles that only this recording holds; their ids stay taken."""
        resume = self.pause()
        small = list[Any]()
        for kept in self.keep[self._sorted :]:  # a small value's tape node may hold others
            large = isinstance(kept, Handle) and (kept._a.nbytes >= SWEPT or kept._node is not None)
            (self.large if large else small).append(kept)
        self.keep[self._sorted :] = small
        kept, self._sorted = None, len(self.keep)
        self._sweeps += 1
        first = 0 if self._sweeps % AGAIN == 0 else self._lasting
        recent = self.large[first:]
        del self.large[first:]  # one list holds them while references are counted
        shells = _let_go(recent, _ALONE, self.watch)
        gone = set(map(id, shells))
        self.large += [handle for handle in recent if id(handle) not in gone]
        self._shells += shells
        self._gone += sum([shell._a.nbytes for shell in shells])
        held, self._lasting = self._bytes - self._gone, len(self.large)
        self._due = self._bytes + max(SWEEP_BYTES, held // SWEEP_SHARE)
        resume()

    def _begin(self, tensor: Handle) -> None:
        self.start[id(tensor)] = (self._new(tensor), tensor._a, tensor._node)

    def ref(self, tensor: Any) -> int:
        """The number of the value t holds now; an unseen tensor is a literal or a capture."""
        number = self.handles.get(id(tensor))
        if number is None and id(tensor) in self.followed:
            return self._follower(tensor)
        if number is None:
            literal = constant_of(tensor)
            if literal is not None:
                number = self._new(tensor)
                self.consts[number] = literal
            else:
                self.captures.append(tensor)
                self._begin(tensor)
                number = self.handles[id(tensor)]
        return number

    def _follower(self, view: Handle) -> int:
        """A view that has followed its base turns out to be of the call: a written capture."""
        self.why(LINKED)
        _, number, aval, node = self.followed.pop(id(view))
        self.captures.append(view)
        self.start[id(view)] = (self._new(view), aval, node)
        self.avals[-1] = aval
        self.handles[id(view)] = number
        self.written[id(view)] = view
        return number

    def why(self, text: str, reads: bool = False) -> None:
        site = user_site()
        self.reasons[f"{text} ({site})" if site else text] = None
        if self.watch is not None:
            self.watch.sites.here(reads)

    def pause(self) -> Callable[[], None]:
        return self.watch.pause() if self.watch is not None else super().pause()

    # ---- hooks
    def on_op(
        self,
        op: Op,
        params: tuple[tuple[str, Any], ...],
        inputs: tuple[Any, ...],
        outputs: tuple[Any, ...],
    ) -> None:
        operands = tuple([self.ref(x) for x in inputs])
        if self.watch is not None:
            self.watch.sites.ran()
        if self.watch is not None and self.watch.follow is not None:
            operands = taken(self.watch.follow, op, inputs, operands)
            if op.moved is not None:
                self.note_moved(op, params, inputs, outputs)
        results = tuple([self._new(o) for o in outputs])
        for region in self.regions:
            region.used(inputs, operands)
        avals = tuple([o._a for o in outputs])
        # without the Python function that a NamedTuple is made by: this runs for every op
        step = op, tuple(params), operands, results, avals, user_site()
        self.steps.append(_new(RecordedOp, step))

    def on_assign(self, handle: Any, value: Any) -> None:
        self.changes += 1
        self.graded = self.graded or (handle._node is not None and grad_enabled())
        number = self.ref(handle)
        for region in self.regions:
            region.assigned(handle, number)
        follow = None if self.watch is None else self.watch.follow
        self.handles[id(handle)] = assigned(follow, value, self.ref(value))
        self.written[id(handle)] = handle

    def on_box(self, view: Any) -> None:
        self.shown = self.boxes.get(id(view), ())

    def on_follow(self, view: Any, value: Any) -> None:
        if id(view) in self.handles:
            if id(view) in self.start:
                self.why(LINKED)
            return self.on_assign(view, value)
        first = self.followed.get(id(view))
        before = (view._a, view._node) if first is None else first[2:]
        self.followed[id(view)] = (view, self.ref(value), *before)

    def on_alias(self, new: Any, old: Any) -> None:
        number = self.ref(old)
        follow = None if self.watch is None else self.watch.follow
        if follow is not None and follow.offer is not None:
            number = follow.offer.operands.get(id(old), number)
        self.keep.append(new)
        self.handles[id(new)] = number

    def holds(self, handle: Any) -> int:
        seen = self.watch.holds(handle) if self.watch is not None else 0
        known = self.handles, self.written, self.followed
        return seen + sum([id(handle) in table for table in known])

    def on_constant(self, handle: Any) -> None:
        self.consts[self._new(handle)] = fetched(handle._v, handle._a.device)

    def on_data(self, handle: Any, given: Any) -> None:
        passed = self.data.get(id(given))
        number = -1
        if passed is None:
            follow = None if self.watch is None else self.watch.follow
            made = array_operand(follow, given, self._literal_of)
            made = made or numbers_operand(follow, given, handle._a.dtype, self._literal_of)
            if made is None:
                self.on_constant(handle)
                return
            passed, number = made
        else:
            number = self.ref(passed)
            if self.watch is not None:
                self.watch.made_of(given, self.root)
                given_back(self.watch.follow, given)
        if handle._a is passed._a:
            self.keep.append(handle)
            self.handles[id(handle)] = number
            return
        if handle._a.device is not passed._a.device or not _native(given):
            self._falls("content", "converts an argument in other byte order or for a device")
        if listable(given) and not takes_numbers(passed._a.dtype, handle._a.dtype):
            self._looks(given, f"makes {handle._a.dtype.name} of a list among its arguments")
        # the dtype is another: the conversion is an operation of the graph
        params = (("dtype", handle._a.dtype),)
        converted = self._new(handle)
        self.steps.append(
            RecordedOp(converter(), params, (number,), (converted,), (handle._a,), user_site())
        )

    def _literal_of(self, tensor: Handle) -> int:
        """The number of a value that is a literal unless it is found to vary."""
        self.on_constant(tensor)
        return self.handles[id(tensor)]

    def _falls(self, fall: Fall, text: str) -> None:
        self.why(text)
        if self.watch is not None:
            self.watch.falls.add(fall)

    def _looks(self, given: Any, text: str) -> None:
        """A list among the arguments is looked at."""
        self.why(text)
        if self.watch is not None:
            self.watch.walked.add(self.watch.listed.get(id(given), -1))

    def on_bool(self, handle: Any, value: bool) -> None:
        if not self.decide(HostRead(self.ref(handle), TRUTH, 0), value):
            self.why(BRANCHES)

    def on_host_read(self, handle: Any, kind: str) -> None:
        frame = sys._getframe(1)
        while trusted(frame.f_code.co_filename) and frame.f_back is not None:
            frame = frame.f_back
        text = f"reads a tensor in Python with {kind}"
        outer = frame.f_back is not None and trusted(frame.f_back.f_code.co_filename)
        follow, term = None if self.watch is None else self.watch.follow, None
        if follow is not None and kind in HOW:
            term = follow.host_read(frame, self.ref(handle), kind)
        if term is not None or (frame.f_code is self.root and outer and kind in HOW):
            reason = f"{text} ({user_site()})"
            site = None if self.watch is None else self.watch.sites.under_way(frame)
            self.reads.append(Read(frame.f_lasti, self.ref(handle), kind, reason, term, site))
        else:
            self.why(text, reads=True)

    def on_look(self, handle: Any) -> None:
        self.looked[id(handle)] = handle

    def on_switch(self, module: Any) -> None:
        if self.watch is not None:
            self.watch.switched.setdefault(id(module), (module, module.training))

    def on_effect(self, what: str) -> None:
        self.why(what)

    def on_tap(self, handle: Any, name: str, probes: list[Probes]) -> None:
        self.tapped = True
        if self.regions:
            self.why("taps a value inside of a branch or loop that is one operation")
        else:
            self.taps.append((name, self.ref(handle), probes))

    # ---- gradients
    def on_backward(self, outputs: Any) -> None:
        self.passed += [self.ref(output) for output in outputs]

    def _grad(self, handle: Any) -> _Grad:
        record = self.grads.get(id(handle))
        if record is None:
            self.keep.append(handle)
            record = self.grads[id(handle)] = _Grad(handle, getattr(handle._node, "grad", None))
            self.keep.append(record.first)
        return record

    def on_grad_get(self, handle: Any, grad: Any) -> None:
        record = self._grad(handle)
        for region in self.regions:
            region.refuse("reads or writes gradients inside")
        if not record.written:
            record.read = True
            if grad is not None:
                self.ref(grad)

    def on_grad_set(self, handle: Any, grad: Any) -> None:
        self.changes += 1
        record = self._grad(handle)
        for region in self.regions:
            region.refuse("reads or writes gradients inside")
        record.written, record.now = True, grad

    def sources(self) -> dict[int, Any]:
        """The arguments that are data, by id."""
        return {ident: source_of(tensor) for ident, tensor in self.data.items()}

    # ---- result
    def graph(self, outputs: Sequence[int]) -> Graph:
        """The recorded ops, with the checks of branches, as a Graph: inputs are the arguments, then
        the captures."""
        steps = self.steps if self.checked is None else self.checked
        values: dict[int, Value] = {}
        inputs = []
        for tensor in [*self.args, *self.captures]:
            number, aval, _ = self.start[id(tensor)]
            values[number] = Value(aval)
            inputs.append(values[number])
        for number, data in self.consts.items():
            values[number] = Const(self.avals[number], data)
        operations = []
        wanted = [*outputs, *[number for step in steps for number in step.inputs]]
        if INNER in wanted:
            raise Unfit("uses a tensor outside of the branch or loop that made it")
        for step in steps:
            node = Node(
                step.op, dict(step.params), [values[i] for i in step.inputs], step.avals, step.site
            )
            operations.append(node)
            values.update(zip(step.outputs, node.outputs))
        return Graph(inputs, operations, [values[i] for i in outputs])

    def control(self, operands: Sequence[Any]) -> OpenRegions:
        """What records a branch or a loop that is given these tensors."""
        return OpenRegions(self, operands)

    def key(self) -> list[tuple[Any, ...]]:
        """What decides the results, comparable between two recordings of one function."""

        def operand(number: int) -> Any:
            literal = self.consts.get(number)
            return number if literal is None else (self.avals[number], literal.tobytes())

        steps = self.steps if self.checked is None else self.checked
        return [(s.op, s.params, tuple(map(operand, s.inputs)), s.avals) for s in steps]
