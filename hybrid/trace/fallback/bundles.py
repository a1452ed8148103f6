"""Hybrid's own calls inside deferred ones (a backward pass, an optimizer's step), replayed whole.

Such a call does the same ops whenever all that its Python looks at is the same: its key.  Their ops
are then put into the segment as one bundle, without that Python.  Invariant: a bundle is what the
Python collected in two calls with this key, nothing of hybrid's was replaced since, and it reads
only the values that the key numbers; any other call runs its Python.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from types import CodeType
from typing import Any

from ...autograd.passes import BackwardPass, Gradients, Owned, perform
from ...autograd.tape import PseudoOp, is_alias, is_call, order
from ...core import signals
from ...core.cache import Bounded
from ...core.precision import MATMUL
from ...ir.collector import Collector
from ...ir.door.pending import LITERAL, OUTPUT, Bundle, Pending, Segment, shared, value_of
from ...ir.graph.graph import Const
from ...ir.tensor import RUNTIME, Alias, Handle, new_handle
from ..heap.allowlist import stdlib, trusted
from ..heap.patches import Namespaces, own_code
from ..record.result_tape import Replayed

__all__ = ["Bundles", "BundleCollector"]

MOST_BUNDLES = 256  # kept per function
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
            sys.setprofile(self._hears)
        return self

    def __exit__(self, *error: object) -> None:
        if self.free:
            sys.setprofile(None)

    def _hears(self, frame: Any, event: str, _: Any) -> None:
        if event == "call":
            code = frame.f_code
            if own_code(code.co_filename):
                self.codes[code] = frame.f_globals
            elif not trusted(code.co_filename) and not stdlib(code.co_filename):
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


class _Known:
    """What is known of calls with one key: of the last one the `bundle` and `results`, which are
    those of all once two calls `agree`."""

    __slots__ = ("bundle", "results", "names", "agree", "broken")

    def __init__(self) -> None:
        self.bundle: Bundle | None = None
        self.results: tuple[Result, ...] = ()
        self.names: Namespaces | None = None
        self.agree = self.broken = False

    def known(self) -> Bundle | None:
        """The bundle, if hybrid's names still stand for what they did."""
        if not self.agree or self.names is None:
            return None
        if self.names.changed() is not None:
            self.bundle, self.names, self.agree = None, None, False
        return self.bundle

    def learn(self, bundle: Bundle, results: tuple[Result, ...], names: Namespaces | None) -> None:
        """One more call has run."""
        if self.bundle is not None and (not self.bundle.same(bundle) or self.results != results):
            self.broken = True
        self.agree = self.bundle is not None
        self.bundle, self.results, self.names = bundle, results, names
        self.broken = self.broken or names is None


class Bundles:
    """The bundles of one function; the least recently used ones go."""

    def __init__(self) -> None:
        self.met = Bounded[_Known](MOST_BUNDLES)
        self.learnt = self.replayed = 0

    def affordable(self) -> bool:
        """Whether one more call may be learnt."""
        return self.learnt < MOST_LEARNT + self.replayed // PAYS


class _Call:
    """What a call depends on: its `key`, and the `values` that it may read, some of which may be
    the same."""

    __slots__ = ("segment", "key", "values")

    def __init__(self, segment: Segment, key: list[Any], values: list[Any]) -> None:
        self.segment, self.values = segment, values
        kinds = set(map(type, values))
        if any([issubclass(kind, Handle) for kind in kinds]):  # saved while a mode looked on
            values[:] = [value_of(v) if isinstance(v, Handle) else v for v in values]
        if Pending in kinds:
            for place, value in enumerate(values):
                if type(value) is Pending and value.segment is not segment:
                    values[place] = value.get()
        idents = list(map(id, values))
        if len(set(idents)) < len(idents):
            first: dict[int, int] = {}
            key.append(tuple([first.setdefault(ident, n) for n, ident in enumerate(idents)]))
        self.key = tuple(key)

    def places(self) -> dict[int, int]:
        """Where each value is first, by its id."""
        found: dict[int, int] = {}
        for place, value in enumerate(self.values):
            found.setdefault(id(value), place)
        return found


class _Slice:
    """The ops that a segment has from a place on, as a bundle; `bundle` is None where they need
    more than the values of the call."""

    def __init__(self, call: _Call, learner: _Learner, start: int, wanted: Sequence[int]) -> None:
        self.call, self.records, self.segment = call, learner.records(), call.segment
        self.constants = learner.constants()
        self.places = call.places()
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
        ops: list[tuple[int, Any, tuple[int, ...]]] = []
        for number, resolved, references in live:
            given = [self._named(reference) for reference in references]
            named = tuple([operand for operand in given if operand is not None])
            if len(named) < len(given):
                ops = []
                break
            ops.append((len(self.slots), resolved, named))
            for index in range(len(resolved.outs)):
                self.slots[number + index * OUTPUT] = len(self.slots)
        self.bundle: Bundle | None = None
        if ops:
            used, literals = tuple(self.used), tuple(self.literals)
            self.bundle = Bundle(self.segment.device, tuple(ops), used, literals)

    def _read(self, needed: set[int]) -> None:
        """Find the values of the call among what is needed: they are the first operands."""
        for place in self.places.values():
            value = self.call.values[place]
            known = self.segment.numbers.get(id(value))
            reference = value.number if type(value) is Pending else known
            if reference is not None and reference in needed:
                self.operands[reference] = len(self.used)
                self.used.append((place, self.records[place]))

    def _named(self, reference: int) -> int | None:
        """How a bundle names an operand; None: it is none of the call's."""
        if reference in self.slots:
            return self.slots[reference]
        if reference not in self.operands:
            literal = self._literal(reference)
            if literal is not None:
                self.operands[reference] = len(self.used) + len(self.literals)
                self.literals.append(literal)
        operand = self.operands.get(reference)
        return None if operand is None else ~operand

    def _literal(self, reference: int) -> tuple[Any, Any, Any] | None:
        """What is the same in each such call: a number, or a constant that the key names."""
        if reference >= LITERAL:
            return self.segment.literals[reference - LITERAL]
        if reference >= 0:
            return None
        value, record = self.segment.inputs[~reference]
        constant = self.constants.get(id(value))
        return None if constant is None else (value, record, constant)

    def result(self, value: Any) -> int | None:
        """The slot of a result, or ~j for value j of the call."""
        if type(value) is Pending and value.number in self.slots:
            return self.slots[value.number]
        place = self.places.get(id(value))
        return None if place is None else ~place


class BundleCollector(Collector):
    """A mode that knows calls of hybrid's."""

    __slots__ = ("bundles",)

    def __init__(self, bundles: Bundles) -> None:
        super().__init__()
        self.bundles = bundles

    def _learn(self, call: _Call, met: _Known, learner: _Learner) -> Any:
        """Run a call, and learn what it collects."""
        segment, start, ran = call.segment, len(call.segment.code), _Ran()
        self.bundles.learnt += 1
        segment.learns = True
        returned = _heard(ran, learner)
        if ran.foreign:
            return returned
        results = learner.results(returned)
        wanted = [v.number for _, v, _ in results if type(v) is Pending and v.number >= start]
        alone = all([record.device is segment.device for record in learner.records()])
        cut = None
        if alone and self.segment is segment:
            cut = _Slice(call, learner, start, wanted)
        if cut is None or cut.bundle is None:
            met.broken = True
            return returned
        found = tuple([(k, None if v is None else cut.result(v), r) for k, v, r in results])
        if any(v is not None and slot is None for (_, v, _), (_, slot, _) in zip(results, found)):
            met.broken = True
        met.learn(cut.bundle, found, ran.names(learner.kinds))
        return returned

    # ---- backward passes
    def gradients(self, task: BackwardPass) -> Gradients:
        """See Mode."""
        nodes: list[Any] = []
        call = _tape(task, self.segment, nodes)
        if call is None:
            return _performed(task)
        met = self.bundles.met.of(call.key, _Known)
        bundle = met.known()
        taken = nodes if task.sources is None else task.sources
        if bundle is None:
            if met.broken or not self.bundles.affordable():
                return _performed(task)
            found: Gradients = self._learn(call, met, _Pass(task, nodes))
            return found
        self.bundles.replayed += 1
        values = call.values
        segment, place = self.place(bundle, values)
        gradients = Owned()
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
    def repeat(
        self, key: list[Any], handles: list[Any], run: Callable[[], Any], kind: type
    ) -> None:
        """Run a call of hybrid's that gives some of these tensors new values and depends on nothing
        but them and the key; `kind`: the class whose methods run."""
        key += (MATMUL.fast, kind)
        key += [handle._a for handle in handles]
        if len(set(map(id, handles))) < len(handles):
            run()
            return
        call = _Call(self.segment, key, [handle._v for handle in handles])
        met = self.bundles.met.of(call.key, _Known)
        bundle = met.known()
        if bundle is not None:
            taking = [handles[number] for number, _, _ in met.results]
            free = all(map(_free, taking))
            if free or all(map(_owns, handles)):
                self.bundles.replayed += 1
                segment, place = self.place(bundle, call.values)
                numbers = [place + slot * OUTPUT for _, slot, _ in met.results]
                if free:
                    self.give(segment, numbers, taking)
                    return
                for handle, number in zip(taking, numbers):  # its views follow it
                    handle.assign(self._result(segment, number, handle._a))
                return
        elif not met.broken and self.bundles.affordable() and all(map(_owns, handles)):
            self._learn(call, met, _Update(handles, run, kind))
            return
        run()


@signals.protected  # a handler could raise where the hook is called, so anywhere
def _heard(ran: _Ran, learner: _Learner) -> Any:
    with ran:
        return learner.run()


class _Learner:
    """A call that is to be learnt: how to run it, what it gave, which classes' methods ran."""

    kinds: tuple[type, ...] = ()

    def run(self) -> Any:
        """Run its Python."""
        raise NotImplementedError

    def results(self, returned: Any) -> list[tuple[int, Any, Any]]:
        """(number of what takes a result, its value, its record)."""
        raise NotImplementedError

    def records(self) -> list[Any]:
        """The records of the values that it may read."""
        raise NotImplementedError

    def constants(self) -> dict[int, Any]:
        """By id, the arrays of one element that belong to what the key names."""
        return {}


class _Pass(_Learner):
    """A backward pass."""

    def __init__(self, task: BackwardPass, nodes: list[Any]) -> None:
        self.task, self.nodes = task, nodes

    def run(self) -> Gradients:
        """See _Learner."""
        return _performed(self.task)

    def results(self, returned: Gradients) -> list[tuple[int, Any, Any]]:
        """See _Learner."""
        numbers = {id(node): number for number, node in enumerate(self.nodes)}
        found = []
        for place, (node, gradient) in enumerate(returned):
            number = numbers[id(node)] if self.task.sources is None else place
            given = (None, None) if gradient is None else (gradient._v, gradient._a)
            found.append((number, *given))
        return found

    def records(self) -> list[Any]:
        """See _Learner: in the order of `_tape`."""
        task = self.task
        found = [seed._a for seed in task.seeds if seed is not None]
        for node in self.nodes:
            if type(node) is tuple and id(node) not in task.stop:
                resolved, _, saved, results = node
                if type(resolved) is PseudoOp and isinstance(resolved.inner, Replayed):
                    found += [value.aval for value in resolved.inner.tape.graph.inputs]
                if saved:
                    kept = zip(saved, resolved.ins)
                    found += [record for value, record in kept if value is not None]
                if results is not None:
                    found += resolved.outs
        return found

    def constants(self) -> dict[int, Any]:
        """See _Learner: those of recorded calls."""
        found: dict[int, Any] = {}
        for node in self.nodes:
            inner = node[0].inner if is_call(node) else None
            if isinstance(inner, Replayed):
                graph = inner.tape.graph
                for value in (*graph.outputs, *[v for n in graph.nodes for v in n.inputs]):
                    if isinstance(value, Const) and not value.aval.shape:
                        found[id(value.data)] = value.data
        return found


class _Update(_Learner):
    """A call that gives tensors new values, and changes nothing else of them."""

    def __init__(self, handles: list[Any], run: Callable[[], Any], kind: type) -> None:
        self.handles, self.kinds, self._run = handles, (kind,), run
        self.before = [(handle._v, handle._a, handle._node) for handle in handles]

    def run(self) -> Any:
        """See _Learner."""
        return self._run()

    def results(self, returned: Any) -> list[tuple[int, Any, Any]]:
        """See _Learner; what no bundle can give is a result of None."""
        found = []
        for number, (handle, before) in enumerate(zip(self.handles, self.before)):
            value, record, node = before
            if handle._v is not value or handle._a is not record or handle._node is not node:
                fits = handle._a is record and handle._node is node
                found.append((number, handle._v if fits else _NOTHING, record))
        return found

    def records(self) -> list[Any]:
        """See _Learner."""
        return [record for _, record, _ in self.before]


_NOTHING = object()


def _free(handle: Any) -> bool:
    """Whether nothing but a tensor itself changes with its value."""
    alias = getattr(handle, "_x", None)
    return alias is None or (type(alias) is Alias and alias.base is None and not alias.live_views())


def _owns(handle: Any) -> bool:
    """Whether a tensor is no view and no literal."""
    alias = getattr(handle, "_x", None)
    return alias is None or (type(alias) is Alias and alias.base is None)


def _performed(task: BackwardPass) -> Gradients:
    return perform(task, order([output._node for output in task.outputs], task.stop))


def _tape(task: BackwardPass, segment: Segment, nodes: list[Any]) -> _Call | None:
    """What a pass depends on, None where no bundle does it; `nodes` gets the owners it reaches."""
    key: list[Any] = [MATMUL.fast, bool(task.stop)]
    values: list[Any] = []
    stop = task.stop
    numbers: dict[int, int] = {}
    roots = []
    for output, given in zip(task.outputs, task.seeds):
        record = output._a
        key += (record, given is None)
        roots.append(output._node)
        if given is not None:
            values.append(given._v if isinstance(given, Handle) else given)
        fits = record.size == 1 if given is None else isinstance(given, Handle)
        if not fits or (given is not None and given._a is not record):
            return None  # an error, or a conversion
    _number(roots, numbers, nodes, key)
    for node in nodes:  # which grows
        if type(node) is not tuple or id(node) in stop:
            key.append(id(node) in stop)
            continue
        resolved, parents, saved, results = node
        if type(resolved) is not PseudoOp:
            key.append(resolved)
        elif is_alias(resolved):
            key += (PseudoOp, resolved.outs)
        elif isinstance(resolved.inner, Replayed):
            key.append(resolved.inner.tape.serial)
            values += resolved.inner.values
        else:
            return None
        _number(parents, numbers, nodes, key)
        values += [value for value in saved if value is not None]
        if results is not None:
            values += results
        key.append(len(values))
        if len(nodes) > MOST_NODES:
            return None
    if task.sources is not None:
        _number(task.sources, numbers, None, key)
    return _Call(segment, key, values) if nodes else None


def _number(
    given: Sequence[Any], numbers: dict[int, int], nodes: list[Any] | None, key: list[Any]
) -> None:
    """Add the numbers of owners to the key; new ones get the next, and are added to `nodes`."""
    for node in given:
        if type(node) is tuple and type(node[0]) is int:
            key.append(~node[0])
            node = node[1]
        number = numbers.get(id(node))
        if number is None and node is not None and nodes is not None:
            number = numbers[id(node)] = len(nodes)
            nodes.append(node)
        key.append(number)
