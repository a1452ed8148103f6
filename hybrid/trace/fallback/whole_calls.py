"""The mode of deferred calls in which hybrid's own calls are bundles: backward passes, and those
that give tensors new values.

Invariant: the key of a call numbers all that its Python looks at and every value that it may read;
a call that looks at more runs its Python.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...autograd.passes import BackwardPass, Gradients, Owned, perform
from ...autograd.tape import PseudoOp, is_alias, is_call, order
from ...core.precision import MATMUL
from ...ir.collector import Collector
from ...ir.door.pending import OUTPUT, Pending, Segment, shared
from ...ir.graph.graph import Const
from ...ir.tensor import Alias, Handle, new_handle
from ..record.result_tape import Replayed
from .bundles import Bundles, HeardCode, HeldCall, KnownCall, LearntCall, Slice, heard, is_own

__all__ = ["BundleCollector"]

MOST_NODES = 4096  # of a tape


class BundleCollector(Collector):
    """A mode that knows calls of hybrid's."""

    __slots__ = ("bundles",)

    def __init__(self, bundles: Bundles) -> None:
        super().__init__()
        self.bundles = bundles

    def _learn(self, call: HeldCall, met: KnownCall, learner: LearntCall) -> Any:
        """Run a call, and learn what it collects."""
        segment, start, ran = call.segment, len(call.segment.code), HeardCode()
        self.bundles.more(0)
        segment.learns = True
        returned = heard(ran, learner)
        if ran.foreign:
            return returned
        results = learner.results(returned)
        wanted = [v.number for _, v, _ in results if type(v) is Pending and v.number >= start]
        alone = all([record.device is segment.device for record in learner.records()])
        cut = None
        if alone and self.segment is segment:
            cut = Slice(call, learner, start, wanted)
        if cut is None or cut.bundle is None:
            met.broken = True
            return returned
        self.bundles.words += cut.bundle.size
        found = tuple([(k, None if v is None else cut.result(v), r) for k, v, r in results])
        for (_, value, _), (_, slot, _) in zip(results, found):
            if value is not None and (slot is None or (slot < 0 and not learner.passes)):
                met.broken = True
        met.learn(cut.bundle, found, ran.names(learner.kinds))
        return returned

    # ---- backward passes
    def gradients(self, task: BackwardPass) -> Gradients | None:
        """See Collector."""
        nodes: list[Any] = []
        call = _tape(task, self.segment, nodes)
        if call is None:
            return None
        met = self.bundles.met.of(call.key, KnownCall)
        known = met.known()
        if known is None:
            if met.broken or not self.bundles.affordable():
                return None
            learnt: Gradients = self._learn(call, met, _Pass(task, nodes))
            return learnt
        self.bundles.replayed += 1
        taken, values = nodes if task.sources is None else task.sources, call.values
        segment, place = self.place(known[0], values)
        gradients = Owned()
        for number, slot, record in known[1]:
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
        known = None
        call = _held(self.segment, [*key, kind], handles)
        if call is not None:
            met = self.bundles.met.of(call.key, KnownCall)
            known = met.known()
            if known is None and not met.broken and self.bundles.affordable():
                if all(map(_owns, handles)):
                    self._learn(call, met, _Update(handles, run, kind))
                    return
        if call is None or known is None or not self._given(known, call, handles):
            run()

    def _given(self, known: Any, call: HeldCall, handles: list[Any]) -> bool:
        """Give tensors the results of a bundle; False where that is not all there is to it."""
        bundle, results, _ = known
        taking = [handles[number] for number, _, _ in results]
        free = all(map(_free, taking))
        if not free and not all(map(_owns, handles)):
            return False
        self.bundles.replayed += 1
        segment, place = self.place(bundle, call.values)
        numbers = [place + slot * OUTPUT for _, slot, _ in results]
        if free:
            self.give(segment, numbers, taking)
            return True
        for handle, number in zip(taking, numbers):  # its views follow it
            handle.assign(self._result(segment, number, handle._a))
        return True


def _held(segment: Segment, key: list[Any], handles: list[Any]) -> HeldCall | None:
    """A call that reads and writes distinct tensors of hybrid's own classes; None for others."""
    for kind in set(map(type, handles)):
        if not issubclass(kind, Handle) or not is_own(kind.__module__):
            return None
    if len(set(map(id, handles))) < len(handles):
        return None
    key += (MATMUL.fast, *[handle._a for handle in handles])
    return HeldCall(segment, key, [handle._v for handle in handles])


class _Pass(LearntCall):
    """A backward pass."""

    def __init__(self, task: BackwardPass, nodes: list[Any]) -> None:
        self.task, self.nodes = task, nodes

    def run(self) -> Gradients:
        """See LearntCall."""
        return _performed(self.task)

    def results(self, returned: Gradients) -> list[tuple[int, Any, Any]]:
        """See LearntCall."""
        numbers = {id(node): number for number, node in enumerate(self.nodes)}
        found = []
        for place, (node, gradient) in enumerate(returned):
            number = numbers[id(node)] if self.task.sources is None else place
            given = (None, None) if gradient is None else (gradient._v, gradient._a)
            found.append((number, *given))
        return found

    def records(self) -> list[Any]:
        """See LearntCall: in the order of `_tape`."""
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
        """See LearntCall: those of recorded calls."""
        found: dict[int, Any] = {}
        for node in self.nodes:
            inner = node[0].inner if is_call(node) else None
            if isinstance(inner, Replayed):
                graph = inner.tape.graph
                for value in (*graph.outputs, *[v for n in graph.nodes for v in n.inputs]):
                    if isinstance(value, Const) and not value.aval.shape:
                        found[id(value.data)] = value.data
        return found


class _Update(LearntCall):
    """A call that gives tensors new values, and changes nothing else of them."""

    passes = False

    def __init__(self, handles: list[Any], run: Callable[[], Any], kind: type) -> None:
        self.handles, self.kinds, self._run = handles, (kind,), run
        self.before = [(handle._v, handle._a, handle._node) for handle in handles]

    def run(self) -> Any:
        """See LearntCall."""
        return self._run()

    def results(self, returned: Any) -> list[tuple[int, Any, Any]]:
        """See LearntCall; what no bundle can give is a result of None."""
        found = []
        for number, (handle, before) in enumerate(zip(self.handles, self.before)):
            value, record, node = before
            if handle._v is not value or handle._a is not record or handle._node is not node:
                fits = handle._a is record and handle._node is node
                found.append((number, handle._v if fits else _NOTHING, record))
        return found

    def records(self) -> list[Any]:
        """See LearntCall."""
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


def _tape(task: BackwardPass, segment: Segment, nodes: list[Any]) -> HeldCall | None:
    """What a pass depends on, None where no bundle does it; `nodes` gets the owners it reaches."""
    key: list[Any] = [MATMUL.fast, bool(task.stop), task.sources is None]
    values: list[Any] = []
    stop = task.stop
    numbers: dict[int, int] = {}
    for output, given in zip(task.outputs, task.seeds):
        if not _begins(output, given, key, values):
            return None
    _number([output._node for output in task.outputs], numbers, nodes, key)
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
    return HeldCall(segment, key, values) if nodes else None


def _begins(output: Any, given: Any, key: list[Any], values: list[Any]) -> bool:
    """Note a tensor that a pass begins at; False: it raises an error, or converts the gradient."""
    record = output._a
    key += (record, given is None)
    if given is None:
        return bool(record.size == 1)
    if not isinstance(given, Handle) or given._a is not record:
        return False
    values.append(given._v)
    return True


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
