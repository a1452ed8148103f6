"""Hybrid's own calls inside deferred ones (a backward pass, an optimizer's step), replayed whole.

Such a call does the same ops whenever all that its Python looks at is the same: its key.  Their ops
are then put into the segment as one block, without that Python.  Invariant: a block is what the
Python collected in two calls with this key, nothing of hybrid's was replaced since, and it reads
only the values that the key numbers; any other call runs its Python.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from types import CodeType
from typing import Any

from ...autograd.passes import BackwardPass, Gradients, perform
from ...autograd.tape import PseudoOp, is_alias, order, owner
from ...core.cache import Bounded
from ...core.precision import MATMUL
from ...ir.door.collecting.collector import Collector
from ...ir.door.pending import LITERAL, OUTPUT, Block, Pending, Segment, shared
from ...ir.tensor import RUNTIME, Alias, Handle, new_handle
from ..heap.allowlist import trusted
from ..heap.patches import Namespaces, own_code

__all__ = ["Blocks", "BlockCollector"]

MOST_BLOCKS = 256  # kept per function
MOST_WORDS = 1 << 17  # of all of them
MOST_NODES = 4096  # of a tape
MOST_LEARNT = 64  # calls that may be learnt before replays have to pay for more
PAYS = 4  # replays that pay for one

# of a call's results: the number of what takes it, its slot (~j: value j; None: there is none), and
# its record
Result = tuple[int, Any, Any]


class _Ran:
    """Hears what Python runs on this thread: hybrid's code, and whether other code does."""

    __slots__ = ("codes", "foreign", "free")

    def __init__(self) -> None:
        self.codes: dict[CodeType, dict[str, Any]] = {}
        self.free = sys.getprofile() is None
        self.foreign = not self.free  # somebody else listens

    def __enter__(self) -> _Ran:
        if self.free:
            sys.setprofile(self._heard)
        return self

    def __exit__(self, *error: object) -> None:
        if self.free:
            sys.setprofile(None)

    def _heard(self, frame: Any, event: str, _: Any) -> None:
        if event == "call":
            code = frame.f_code
            if own_code(code.co_filename):
                self.codes[code] = frame.f_globals
            elif not trusted(code.co_filename):
                self.foreign = True

    def names(self, kinds: Sequence[type]) -> Namespaces | None:
        """The names that were looked up; None where some stand for functions of others."""
        names = Namespaces(self.codes)
        for kind in (RUNTIME.tensor, *kinds):
            names.add_class(kind)
        names.settle()
        # what dataclasses write for hybrid's own classes has hybrid's globals
        others = [f for f in names.foreign() if not _is_own(str(f.__globals__.get("__name__")))]
        return None if others else names


def _is_own(module: str) -> bool:
    return module.partition(".")[0] == __name__.partition(".")[0]


class _Met:
    """What is known of calls with one key: of the last one the `block` and `results`, which are
    those of all once two calls `agree`."""

    __slots__ = ("block", "results", "names", "agree", "broken")

    def __init__(self) -> None:
        self.block: Block | None = None
        self.results: tuple[Result, ...] = ()
        self.names: Namespaces | None = None
        self.agree = self.broken = False

    def known(self) -> Block | None:
        """The block, if hybrid's names still stand for what they did."""
        if not self.agree or self.names is None:
            return None
        if self.names.changed() is not None:
            self.block, self.names, self.agree = None, None, False
        return self.block

    def learn(self, block: Block, results: tuple[Result, ...], names: Namespaces | None) -> None:
        """One more call has run."""
        if self.block is not None and (not self.block.same(block) or self.results != results):
            self.broken = True
        self.agree = self.block is not None
        self.block, self.results, self.names = block, results, names
        self.broken = self.broken or names is None


class Blocks:
    """The blocks of one function; the least recently used ones go."""

    def __init__(self) -> None:
        self.met = Bounded[_Met](MOST_BLOCKS)
        self.learnt = self.replayed = 0

    def affordable(self) -> bool:
        """Whether one more call may be learnt."""
        return self.learnt < MOST_LEARNT + self.replayed // PAYS


class _Call:
    """What a call depends on: its `key`, and the distinct `values` that it may read."""

    __slots__ = ("segment", "key", "values", "records", "places")

    def __init__(self, segment: Segment, *key: Any) -> None:
        self.segment = segment
        self.key: list[Any] = [MATMUL.fast, *key]
        self.values: list[Any] = []
        self.records: list[Any] = []
        self.places: dict[int, int] = {}

    def value(self, value: Any, record: Any) -> None:
        """One more value that it may read."""
        if isinstance(value, Handle):  # saved while a mode looked on
            value = value._v
        if type(value) is Pending and value.segment is not self.segment:
            value = value.get()
        place = self.places.get(id(value))
        if place is None:
            place = self.places[id(value)] = len(self.values)
            self.values.append(value)
            self.records.append(record)
        self.key.append(place)

    def add(self, handles: list[Any]) -> None:
        """Tensors whose values it may read."""
        segment = self.segment
        values = [handle._v for handle in handles]
        if Pending in set(map(type, values)):
            for place, value in enumerate(values):
                if type(value) is Pending and value.segment is not segment:
                    values[place] = value.get()
        records = [handle._a for handle in handles]
        self.key += records
        self.places = dict(zip(map(id, values), range(len(values))))
        if len(self.places) == len(values):
            self.values, self.records = values, records
            return
        self.places = {}
        for value, record in zip(values, records):
            self.value(value, record)


class _Slice:
    """The ops that a segment has from a place on, as a block; `block` is None where they need more
    than the values of the call."""

    def __init__(self, call: _Call, start: int, wanted: Sequence[int]) -> None:
        self.call, self.segment = call, call.segment
        self.slots: dict[int, int] = {}  # number of a result -> slot
        self.operands: dict[int, int] = {}  # reference -> operand
        self.used: list[tuple[int, Any]] = []
        self.literals: list[tuple[Any, Any, Any]] = []
        live, needed = [], set(wanted)
        for number, resolved, references in reversed(list(self.segment.ops(start))):
            if any(number + i * OUTPUT in needed for i in range(len(resolved.outs))):
                needed.update(references)
                live.append((number, resolved, references))
        live.reverse()
        self._read(needed)
        ops: list[tuple[int, Any, tuple[int, ...]]] | None = []
        for number, resolved, references in live:
            named = tuple([self._named(reference) for reference in references])
            if ops is None or None in named:
                ops = None
                break
            ops.append((len(self.slots), resolved, named))
            for index in range(len(resolved.outs)):
                self.slots[number + index * OUTPUT] = len(self.slots)
        self.block = None
        if ops:
            given = tuple(ops), tuple(self.used), tuple(self.literals)
            self.block = Block(self.segment.device, *given)

    def _read(self, needed: set[int]) -> None:
        """Find the values of the call among what is needed: they are the first operands."""
        for place, value in enumerate(self.call.values):
            if type(value) is Pending:
                reference = value.number
            else:
                reference = self.segment.numbers.get(id(value))
            if reference is not None and reference in needed:
                self.operands[reference] = len(self.used)
                self.used.append((place, self.call.records[place]))

    def _named(self, reference: int) -> int | None:
        """How a block names an operand; None: it is none of the call's."""
        if reference in self.slots:
            return self.slots[reference]
        if reference >= LITERAL and reference not in self.operands:
            self.operands[reference] = len(self.used) + len(self.literals)
            self.literals.append(self.segment.literals[reference - LITERAL])
        operand = self.operands.get(reference)
        return None if operand is None else ~operand

    def result(self, value: Any) -> int | None:
        """The slot of a result, or ~j for value j of the call."""
        if type(value) is Pending and value.number in self.slots:
            return self.slots[value.number]
        place = self.call.places.get(id(value))
        return None if place is None else ~place


class BlockCollector(Collector):
    """A mode that knows calls of hybrid's."""

    __slots__ = ("blocks",)

    def __init__(self, blocks: Blocks) -> None:
        super().__init__()
        self.blocks = blocks

    def _learn(
        self,
        call: _Call,
        met: _Met,
        run: Callable[[], Any],
        made: Callable[[Any], list[tuple[int, Any, Any]]],
        kinds: Sequence[type] = (),
    ) -> Any:
        """Run a call, and learn what it collects.  `made`: of what it returned, (number of what
        takes a result, its value, its record)."""
        segment, start, ran = call.segment, len(call.segment.code), _Ran()
        self.blocks.learnt += 1
        segment.learns = True
        with ran:
            returned = run()
        if ran.foreign:
            return returned
        results = made(returned)
        wanted = [v.number for _, v, _ in results if type(v) is Pending and v.number >= start]
        alone = self.segment is segment and all(
            [record.device is segment.device for record in call.records]
        )
        cut = _Slice(call, start, wanted) if alone else None
        if cut is None or cut.block is None:
            met.broken = True
            return returned
        found = tuple([(k, None if v is None else cut.result(v), r) for k, v, r in results])
        lost = any(
            v is not None and place is None for (_, v, _), (_, place, _) in zip(results, found)
        )
        met.broken = met.broken or lost
        met.learn(cut.block, found, ran.names(kinds))
        return returned

    # ---- backward passes
    def gradients(self, task: BackwardPass) -> Gradients:
        """See Mode."""
        call, nodes = _tape(task, self.segment)
        if call is None:
            return _performed(task)
        met = self.blocks.met.of(tuple(call.key), _Met)
        block = met.known()
        taken = nodes if task.sources is None else task.sources
        if block is None:
            if met.broken or not self.blocks.affordable():
                return _performed(task)
            numbers = {id(node): k for k, node in enumerate(nodes)}

            def made(found: Gradients) -> list[tuple[int, Any, Any]]:
                each = enumerate(found)
                return [
                    (numbers[id(n)] if task.sources is None else k, *_seen(g)) for k, (n, g) in each
                ]

            found: Gradients = self._learn(call, met, lambda: _performed(task), made)
            return found
        self.blocks.replayed += 1
        values = call.values
        segment, place = self.place(block, values)
        gradients: Gradients = []
        for number, slot, record in met.results:
            gradient = None
            if slot is not None and slot >= 0:
                gradient = self._result(segment, place + slot * OUTPUT, record)
            elif slot is not None:
                gradient = new_handle(shared(values[~slot]), record)
                self.on_alias(gradient, gradient)
            gradients.append((taken[number], gradient))
        return gradients

    # ---- calls that give tensors new values
    def whole(
        self, key: Sequence[Any], handles: list[Any], run: Callable[[], Any], kind: type
    ) -> None:
        """Run a call of hybrid's that gives some of these tensors new values and depends on nothing
        but them and the key; `kind`: the class whose methods run."""
        call = _Call(self.segment, kind, *key)
        if len(set(map(id, handles))) < len(handles) or not all(map(_free, handles)):
            run()
            return
        call.add(handles)
        met = self.blocks.met.of(tuple(call.key), _Met)
        block = met.known()
        if block is not None:
            self.blocks.replayed += 1
            segment, place = self.place(block, call.values)
            taking = [handles[number] for number, _, _ in met.results]
            self.give(segment, [place + slot * OUTPUT for _, slot, _ in met.results], taking)
            return
        if met.broken or not self.blocks.affordable():
            run()
            return
        before = [(handle._v, handle._node) for handle in handles]

        def made(_: Any) -> list[tuple[int, Any, Any]]:
            after = enumerate(zip(handles, before))
            return [(k, h._v, h._a) for k, (h, (value, _)) in after if h._v is not value]

        self._learn(call, met, run, made, (kind,))
        written = [handles[number]._v for number, _, _ in met.results]
        nodes = all(h._node is node for h, (_, node) in zip(handles, before))
        if not nodes or not all(type(value) is Pending for value in written):
            met.broken = True


def _seen(gradient: Any) -> tuple[Any, Any]:
    """Value and record of a gradient, if there is one."""
    return (None, None) if gradient is None else (gradient._v, gradient._a)


def _free(handle: Any) -> bool:
    """Whether nothing but a tensor itself changes with its value."""
    alias = getattr(handle, "_x", None)
    return alias is None or (type(alias) is Alias and alias.base is None and not alias.live_views())


def _performed(task: BackwardPass) -> Gradients:
    return perform(task, order([output._node for output in task.outputs], task.stop))


def _tape(task: BackwardPass, segment: Segment) -> tuple[_Call | None, list[Any]]:
    """What a pass depends on, None where no block does it; the owners that it reaches."""
    call = _Call(segment, bool(task.stop))
    key, stop, nodes = call.key, task.stop, []
    numbers: dict[int, int] = {}

    def refer(node: Any) -> None:
        if type(node) is tuple and type(node[0]) is int:
            key.append(~node[0])
            node = node[1]
        number = numbers.get(id(node))
        if number is None and node is not None:
            number = numbers[id(node)] = len(nodes)
            nodes.append(node)
        key.append(number)

    for output, given in zip(task.outputs, task.seeds):
        record = output._a
        key.append(record)
        if given is not None and (not isinstance(given, Handle) or given._a is not record):
            return None, nodes
        if given is not None:
            call.value(given._v, record)
        elif record.size != 1:
            return None, nodes  # an error
        refer(output._node)
    for node in nodes:  # which grows
        if type(node) is not tuple or id(node) in stop:
            key.append(id(node) in stop)
            continue
        if not _noted(call, node) or len(nodes) > MOST_NODES:
            return None, nodes
        for parent in node[1]:
            refer(parent)
    if task.sources is not None:
        for source in task.sources:
            holder = owner(source)
            key.append((numbers.get(id(holder)), None if holder is source else source[0]))
    return call if nodes else None, nodes


def _noted(call: _Call, node: Any) -> bool:
    """Note what a node of the tape is; False for one that no block goes through."""
    resolved, _, saved, results = node
    if type(resolved) is PseudoOp:
        call.key += (PseudoOp, resolved.outs)
        return is_alias(resolved)
    call.key.append(resolved)
    for value, record in zip(saved, resolved.ins):
        if value is None:
            call.key.append(None)
        else:
            call.value(value, record)
    if results is not None:
        for value, record in zip(results, resolved.outs):
            call.value(value, record)
    return True
