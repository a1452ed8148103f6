"""What a recorded call leaves behind: its result, the tensors it stores, gradients, new values.

Invariant: every tensor that a replay has to make, and every new value of an input, is an output of
the recorded graph with a number of its own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from ...core.aval import Aval
from ...ir.tensor import Alias, Handle, Leaf
from ..bytecode.host_reads import HOW, Read
from ..follow.terms import HostRead
from ..heap.facts import Key
from ..heap.setters import Put, putter
from ..watch.settle import Followed
from .actions import NONE, Actions, actions_of
from .expected import Facts
from .inputs import Dead, Roles
from .outputs import (
    Computed,
    GivenNumber,
    HostValue,
    Known,
    New,
    Spec,
    Unfit,
    ViewChain,
    canonical,
    moved_step,
    on_their_own,
    spec_of,
)
from .recorder import Recorder
from .wording import Wording

__all__ = ["TensorStore", "Outcome", "Left", "Results", "results_of"]


class TensorStore(NamedTuple):
    """A tensor that the call stores in a Python place, and the primitive that puts it there."""

    key: Key
    spec: Spec
    put: Put


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """`result`: what the call returns; `stores`: what it stores in Python places; `gradients`:
    (input, its final `.grad` or None); `writes`: (input, the output that is its new value);
    `avals`: the record of each output of the graph; `actions`: what else it leaves in Python."""

    result: Spec
    stores: tuple[TensorStore, ...]
    gradients: tuple[tuple[int, Spec | None], ...]
    writes: tuple[tuple[int, int], ...]
    avals: tuple[Aval, ...]
    actions: Actions = NONE

    @property
    def states(self) -> list[tuple[int, int]]:
        """(output, the input whose new value it is)."""
        return [(output, number) for number, output in self.writes]

    def also(self, avals: Iterable[Aval]) -> Outcome:
        """The same of a graph with further outputs."""
        return replace(self, avals=(*self.avals, *avals))

    def comparable(self) -> tuple[Any, ...]:
        """Equal for two recordings of one function that leave the same behind."""
        idents: dict[int, int] = {}
        return (
            canonical(self.result, idents),
            [(s.key, s.put.where, canonical(s.spec, idents)) for s in self.stores],
            [(k, None if s is None else canonical(s, idents)) for k, s in self.gradients],
            self.writes,
            self.actions.comparable(lambda spec: canonical(spec, idents)),
        )


class Results(NamedTuple):
    """An Outcome, the value number behind each output, and the results on a tape: output -> the
    recorded tensor.  That tape holds everything the call computed, so this value is short-lived."""

    outcome: Outcome
    numbers: list[int]
    on_tape: dict[int, Handle]


class _Recipes:
    """Recipes of tensors; numbers outputs as they turn up."""

    def __init__(self, roles: Roles, host_reads: dict[int, Read]) -> None:
        self.roles, self.values, self.host_reads = roles, roles.recorder.handles, host_reads
        self.outputs: dict[int, int] = {}  # value number -> output number
        self.on_tape: dict[int, Handle] = {}
        self.bases: dict[int, Handle] = {}  # of views, by identity

    def output(self, number: int) -> int:
        """The output that is the value with this number."""
        return self.outputs.setdefault(number, len(self.outputs))

    def known(self, tensor: Handle) -> Known:
        return Known(self.roles.numbers[id(tensor)])

    def tensor(self, tensor: Handle) -> New | Known:
        if self.roles.is_input(tensor):
            return self.known(tensor)
        number = self.values.get(id(tensor))
        if number is None:
            raise Unfit("returns a tensor that no recorded operation made")
        output, node = self.output(number), tensor._node
        if node is None:
            return New(output, id(tensor), "plain", self.view(tensor))
        if type(node) is Leaf:
            if node.grad is not None:
                raise Unfit("returns a new leaf tensor that has a gradient")
            return New(output, id(tensor), "leaf", self.view(tensor))
        self.on_tape.setdefault(output, tensor)
        return New(output, id(tensor), "tape", self.view(tensor))

    def view(self, tensor: Handle) -> Any:
        """The live tensor that this one is a view of, when it outlives the call: the nearest input,
        else the base of all."""
        alias: Any = getattr(tensor, "_x", None)
        if not isinstance(alias, Alias) or alias.base is None:
            return None
        steps: list[tuple[str, Any]] = []
        starts: list[Any] = []
        inner: Any = tensor
        while inner is tensor or not (inner is alias.base or self.roles.is_input(inner)):
            here: Any = inner._x
            steps.append((here.how, here.step))
            starts += self.roles.recorder.starts_of(inner)
            inner = here.parent
        parent = self.known(inner) if self.roles.is_input(inner) else id(alias.base)
        self.bases[id(alias.base)] = alias.base
        if len(steps) > 1:
            whole = not starts and all(step is not None for _, step in steps)
            return parent, alias.how, ViewChain(tuple(reversed(steps))) if whole else None
        step = alias.step
        if step is not None and starts:
            found = tuple([(axis, self.roles.numbers[id(operand)]) for axis, operand in starts])
            step = moved_step(step, found)
        return parent, alias.how, step

    def hidden(self, ident: int) -> New:
        """The recipe of a base that nobody holds but views."""
        spec = self.tensor(self.bases[ident])
        assert isinstance(spec, New)
        return spec

    def host(self, value: Any) -> HostValue | Computed | None:
        """The recipe of a Python value that was read from a tensor at the return, or that is a
        NumPy scalar among the arguments."""
        read = self.host_reads.get(id(value))
        if read is None:
            passed = self.roles.recorder.data.get(id(value))
            if passed is None or not isinstance(value, np.generic):
                return None
            return Computed(GivenNumber(self.roles.numbers[id(passed)], type(value)))
        # an identity that no id() gives: the tensor is made for this read alone
        made = New(self._read(read), -read.number - 1, "plain")
        return HostValue((made,), HOW[read.kind], ("at", read.at))

    def _read(self, read: Read | HostRead) -> int:
        """The output that is the value which was read."""
        return self.output(self.roles.recorder.numbered(read.number))

    def record(self, read: HostRead) -> Aval:
        """The record of the tensor that was read."""
        recorder = self.roles.recorder
        return recorder.aval_of(recorder.numbered(read.number))

    def followed(self, read: HostRead) -> HostValue:
        """The recipe of a value that was read from a tensor and followed from there."""
        made = New(self._read(read), -read.serial - 1, "plain")
        return HostValue((made,), HOW[read.how], ("followed", read.serial))


class Left(NamedTuple):
    """What a call leaves, as found after it: `returned`; the tensors that places (`stored`) and
    gradients (`final`) are left with; `settled`: what held these places before is known; what of
    the rest was `followed`."""

    returned: Any
    stored: list[tuple[Key, Handle]]
    final: list[tuple[int, Any]]
    settled: bool
    followed: Followed | None


def _plainly(
    recipes: _Recipes, existed: Callable[[Any], bool | None], followed: Followed | None
) -> Callable[..., Spec]:
    """The recipe of a value that depends on nothing but facts, tensors and what is said of the
    attributes of new objects."""
    paths = {} if followed is None else followed.paths
    replaced = {id(inside.owner) for inside in paths.values() if inside.owner is not None}

    def older(value: Any) -> bool | None:
        if id(value) in replaced:
            raise Unfit("hands on a container that it replaces by a new one")
        return existed(value)

    return functools.partial(_spec, recipes, older)


def _spec(recipes: _Recipes, older: Callable[[Any], bool | None], value: Any, *inside: Any) -> Spec:
    return spec_of(value, recipes.tensor, older, recipes.host, *inside)


def _operands(recorder: Recorder, followed: Followed | None) -> list[tuple[Any, type, Aval]]:
    """Terms, types and records of the numbers that are inputs of the graph."""
    terms = {} if followed is None else followed.operands
    found = [(term, recorder.taken[k]) for k, term in terms.items()]
    return [(term, taken.type, taken.handle._a) for term, taken in found]


def results_of(
    roles: Roles,
    existed: Callable[[Any], bool | None],
    host_reads: dict[int, Read],
    facts: Facts,
    left: Left,
    dead: Dead,
) -> Results:
    """What the call leaves behind; Unfit where a replay cannot leave the same.

    `existed`: whether an object was there before the call; `host_reads`: id of a Python value ->
    the read that gave it."""
    recipes, recorder, stored = _Recipes(roles, host_reads), roles.recorder, left.stored
    plainly = _plainly(recipes, existed, left.followed)
    try:
        operands = _operands(recorder, left.followed)
        actions, special = actions_of(
            left.followed, operands, dead, plainly, recipes, left.returned, existed
        )
        result = plainly(left.returned) if special is None else special
        primitives = [_put(facts, key, tensor, left.settled) for key, tensor in stored]
        specs = [recipes.tensor(tensor) for _, tensor in stored]
        grads = [None if t is None else recipes.tensor(t) for _, t in left.final]
        left_behind = [result, *specs, *grads, *actions.specs()]
        result, *rest = on_their_own(left_behind, recipes.hidden)
    except RecursionError:
        raise Unfit("returns a container that holds itself or is nested too deeply") from None
    count = len(specs)
    writes, repeated = _separate(_writes(roles, recipes), list(recipes.outputs))
    numbers = [*recipes.outputs, *repeated]
    outcome = Outcome(
        result,
        tuple(
            [TensorStore(key, spec, put) for (key, _), spec, put in zip(stored, rest, primitives)]
        ),
        tuple([(host, spec) for (host, _), spec in zip(left.final, rest[count:])]),
        tuple(writes),
        tuple(map(recorder.aval_of, numbers)),
        actions.with_specs(rest[count + len(left.final) :]),
    )
    return Results(outcome, numbers, recipes.on_tape)


def _put(facts: Facts, key: Key, tensor: Handle, settled: bool) -> Put:
    """The primitive that puts a tensor in a place; one that does nothing where the recording is not
    replayed anyhow."""
    if key.kind == "path":  # what it is inside of is put there whole
        return Put(("path",), _nowhere)
    put = putter(key.kind, facts.holders[key].get(), key.key, tensor)
    if put is None and settled:
        place = Wording(facts).place(key)
        raise Unfit(f"stores a tensor in {place}, where no replay can put one")
    return put or Put((), _nowhere)


def _nowhere(holder: Any, key: Any, tensor: Any) -> None:
    """The primitive of a place that has none."""


def _writes(roles: Roles, recipes: _Recipes) -> list[tuple[int, int]]:
    """(input, output that is its new value) of the inputs that were assigned."""
    recorder: Recorder = roles.recorder
    writes = []
    for ident, tensor in recorder.written.items():
        role = roles.numbers.get(ident)
        if role is None:
            continue
        first, _, node = recorder.start[ident]
        if tensor._node is not node:
            raise Unfit("leaves an argument or captured tensor with another gradient history")
        if recorder.handles[ident] != first:
            writes.append((role, recipes.output(recorder.handles[ident])))
    return writes


def _separate(
    writes: list[tuple[int, int]], numbers: list[int]
) -> tuple[list[tuple[int, int]], list[int]]:
    """An output of its own for each tensor that gets a new value: plans tell them apart.  The
    writes, and the value numbers of the outputs to add."""
    taken: set[int] = set()
    repeated: list[int] = []
    result = []
    for role, output in writes:
        if output in taken:
            result.append((role, len(numbers) + len(repeated)))
            repeated.append(numbers[output])
        else:
            result.append((role, output))
        taken.add(output)
    return result, repeated
