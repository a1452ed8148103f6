"""The end of a replay as straight code: one generated function from the tensors of a call to its
result, with the native entry in the middle and what the call leaves in Python at the end.

Invariant: it leaves what `Served` leaves step by step.  Stores run no code in which a handler of a
signal could raise: each is one instruction, or all of them one C call behind a subscript.
"""

from __future__ import annotations

import itertools
import keyword
import operator
import re
import types
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from ....autograd.tape import PseudoOp
from ....backends.api import CHECKED, Entry, Replay
from ....core.signals import finish
from ....ir.door.pending import COLLECTING, known
from ....ir.tensor import RUNTIME, Leaf, link_view, new_handle
from ...follow.terms import Collection, Constant, Operation
from ...follow.terms import Made as Computation
from ...heap.allowlist import instance_dict, lookup
from ...heap.facts import Holder, Key
from ...heap.setters import Put
from ...heap.structure import built
from ...host.again import First, planned, tell
from ...record.actions import Actions, Counted, HeldObject, LoadedNumber
from ...record.guards import Places, run_text
from ...record.inputs import AsGradient, AtFact, ByIdentity
from ...record.outcome import Outcome
from ...record.outputs import (
    Box,
    Computed,
    GivenNumber,
    HostResult,
    HostValue,
    Known,
    MovedStep,
    New,
    Plain,
)
from ...record.recording import Recording
from ...record.result_tape import Replayed, ResultTape
from .needs import Needs

__all__ = ["Straight", "straight"]

MAX_TEXT = 1 << 16  # characters of a function; what leaves more is left step by step


class _Unknown(Exception):
    """Something that has no straight code."""


class _Consumer:
    """``RUN[iterator]`` takes all of an iterator in C.  A subscript, because Python does not look
    for signals after one."""

    __slots__ = ("__getitem__",)

    def __init__(self) -> None:
        self.__getitem__ = deque[Any](maxlen=0).extend


RUN: Any = _Consumer()
Made = Callable[..., Any]


@dataclass(frozen=True, slots=True, eq=False)
class Straight:
    """The text of a function and what its names stand for, without what happens where a kernel
    failed; `views`: whether it makes views, whose parameters may be sizes."""

    text: str
    space: dict[str, Any]
    views: bool

    def function(self, fail: Callable[[int], Any]) -> Made:
        """The function; NotImplemented where it serves no call, `fail(code)` where a kernel
        failed."""
        space = {**self.space, "fail": fail}
        made: Made = run_text(self.text, "<hybrid replay>", space, "make")()
        return made


def straight(
    recording: Recording,
    needs: Needs,
    replay: Replay,
    entry: Entry,
    guard: Callable[[list[Any]], tuple[Any, ...] | None] | None,
    loaded: tuple[int, ...],
    complete: Callable[..., Any],
    like: Straight | None = None,
) -> Straight | None:
    """The straight code of a recording behind an entry; None where it leaves what has none.

    `guard`, `loaded`: as Served has them; `complete(made, tensors, loaded)`: leaves everything step
    by step where a handler raised before the first store; `like`: that of a recording which differs
    in sizes only."""
    own = {"entry": entry.of, "guard": guard, "complete": complete, **_own(recording)}
    if like is not None and not like.views:
        return Straight(like.text, {**like.space, **own}, False)
    result = recording.outcome.result
    nothing = type(result) is Plain and result.value is NotImplemented  # it says "not served"
    if nothing or recording.taps or not _understood(recording.outcome):
        return None
    if recording.outcome.actions.draws:
        return None  # what was drawn for a call that is not served is undone around it
    try:
        writer = _Writer(recording, needs, replay, loaded)
        text = writer.text(guard is not None)
    except _Unknown:
        return None
    if len(text) > MAX_TEXT:
        return None
    return Straight(text, {**writer.space, **own}, bool(writer.views))


def _own(recording: Recording) -> dict[str, Any]:
    """What names of the text stand for that differs between recordings of other sizes."""
    tape = recording.tape
    avals = None if tape is None else tape.avals
    return {
        "life": recording.life,
        "finish": finish,
        "spent": recording.spent,
        "tape": tape,
        "avals": avals,
    }


_OUTCOME = {"result", "stores", "gradients", "writes", "avals", "actions"}
_ACTIONS = {"numbers", "grown", "loads", "conditions", "checks", "operands"}
_ACTIONS |= {"first", "clocks", "told"}


def _understood(outcome: Outcome) -> bool:
    """Whether nothing is left that this module has not heard of."""
    pairs: list[tuple[Outcome | Actions, set[str]]] = [
        (outcome, _OUTCOME),
        (outcome.actions, _ACTIONS),
    ]
    others = [
        getattr(holder, field.name)
        for holder, known in pairs
        for field in fields(holder)
        if field.name not in known
    ]
    return not any(others)


class _Writer(Places):
    """Writes the text.  Arguments are `a0`, ...; inputs that the guard loads `t3`, ...; tensors
    that the entry makes `r0`, ..., by output; what is built `x1`, ..."""

    def __init__(
        self, recording: Recording, needs: Needs, replay: Replay, loaded: tuple[int, ...]
    ) -> None:
        actions = recording.outcome.actions
        loads = {loaded.key: loaded.holder for loaded in actions.loads}
        super().__init__({**recording.facts.holders, **loads})
        self.recording, self.needs, self.replay, self.loaded = recording, needs, replay, loaded
        self.arguments = [f"a{number}" for number in range(recording.arguments)]
        self.lines: list[str] = []  # what builds values
        self.stores: list[str] = []  # what is left in Python then
        self.count = 0
        self.made: dict[int, str] = {}  # by identity among the results
        self.values: dict[tuple[str, int], str] = {}  # that are read, by the read
        self.found: dict[int, str] = {}  # inputs that are looked up
        self.claimed: set[int] = set()  # outputs whose tensor is one of the results
        self.views: list[tuple[str, Any, str, Any]] = []
        self.node = ""  # what the tape node of the call is called
        self.clocks: dict[HostResult, str] = {}  # what holds the times after the operations
        self.told: list[str] = []  # calls that come after everything else

    def text(self, guarded: bool) -> str:
        """The whole function."""
        for clock in self.recording.outcome.actions.clocks:
            self.clocks[clock] = self.name(f"{self.const(clock.function)}()")
        result = self.build(self.recording.outcome.result)
        self._effects()
        self._tell()
        self._views()
        before = [*self._enter(), *self._guard(guarded)]
        before.append(f"made = entry[{self._tuple(self._given())}]")
        # from here on a handler of a signal must not keep what is left from being done
        inside = ["if made is NI: return NI", "if type(made) is int: return fail(made)"]
        if self.needs.form != "none":
            names = [f"r{output}" for output in self.needs.results]
            inside.append(
                f"{names[0] if self.needs.form == 'single' else self._tuple(names)} = made"
            )
        inside += self.lines
        again: list[str] = []
        if self.stores:
            used = sorted(set(re.findall(r"\b[ahtrx]\d+\b", " ".join(self.stores))))
            again = [f"def again({', '.join(used)}):", *[f" {line}" for line in self.stores]]
            inside = ["stored = False", "try:", *[f" {line}" for line in inside]]
            last = f"result = {result}" if self.told else f"return {result}"
            inside += [f" {line}" for line in ["stored = True", *self.stores, last]]
            inside += ["except BaseException:"]
            inside += [f" if stored: finish({', '.join(['again', *used])})"]
            inside += [" elif made is not NI and type(made) is not int:"]
            given = f"{self._tuple(self.arguments)}, {self._tuple(self._loaded())}"
            inside += [f"  complete(made, {given})", " raise"]
        if self.told:
            self.space.update(tell=tell, planned=planned)
            inside.append(f"tell({self._tuple(self.told)})")
        if self.told or not self.stores:
            inside.append(f"return {'result' if self.stores else result}")
        body = [*before, *inside]
        parameters = ", ".join([*[f"{name}=MISSING" for name in self.arguments], "*more"])
        serve = [f"def serve({parameters}):", *[f" {line}" for line in body]]
        inner = [*again, *serve, "return serve"]
        return "\n".join(["def make():", *[f" {line}" for line in inner]])

    def _enter(self) -> list[str]:
        """Whether it is a call that may be served."""
        last = f"{self.arguments[-1]} is MISSING or " if self.arguments else ""
        lines = [f"if {last}more or life.dead: return NI", *self.prologue]
        lines += [f"if {name} is None: return NI" for name in self.bound.values()]
        self.space.update(NI=NotImplemented, T=RUNTIME.tensor)
        for name, taken, found in zip(self.arguments, self.replay.inputs, self.recording.inputs):
            if taken.node is CHECKED:
                node = self.const(found.node)
                lines.append(
                    f"if type({name}) is not T or type({name}._node) is not {node}: return NI"
                )
        return lines

    def _guard(self, guarded: bool) -> list[str]:
        if not guarded:
            return []
        lines = [f"found = guard({self._tuple(self.arguments)})", "if found is None: return NI"]
        return lines + ([f"{self._tuple(self._loaded())} = found"] if self.loaded else [])

    def _loaded(self) -> list[str]:
        return [f"t{number}" for number in self.loaded]

    def _given(self) -> list[str]:
        return [*self.arguments, *self._loaded()]

    @staticmethod
    def _tuple(names: Sequence[str]) -> str:
        return f"({', '.join(names)}{',' if len(names) == 1 else ''})"

    # ---- values
    def name(self, text: str) -> str:
        """A name for the value that an expression has now."""
        self.count += 1
        self.lines.append(f"x{self.count} = {text}")
        return f"x{self.count}"

    def build(self, spec: Any) -> str:
        """A name for the object that a recipe describes."""
        kind = type(spec)
        if kind is New:
            return self.made.get(spec.ident) or self._tensor(spec)
        if kind is Known:
            return self.input(spec.number)
        if kind is Plain:
            return self.const(spec.value)
        if kind is HostValue:
            return self._read(spec)
        if kind is Computed:
            return self.name(self._number(spec.term))
        if kind is not Box:
            raise _Unknown
        known = self.made.get(spec.ident)
        if known is None:
            known = self.made[spec.ident] = self.name(self._box(spec))
        return known

    def input(self, number: int) -> str:
        """A name for an input."""
        if number < len(self.arguments):
            return self.arguments[number]
        if number in self.loaded:
            return f"t{number}"
        location, held = self.recording.inputs[number].location, self.needs.held
        if isinstance(location, ByIdentity):
            return self.const(held[number])
        found = self.found.get(number)
        if found is None:
            if isinstance(location, AsGradient):
                text = f"{self.const(held[location.host])}._node.grad"
            elif isinstance(location, AtFact):
                text = self.read(location.key)
            else:
                raise _Unknown
            found = self.found[number] = self.name(text)
        return found

    def _tensor(self, spec: New) -> str:
        made = f"r{spec.output}"
        if spec.output in self.claimed:
            made = self.name(f"{self.const(new_handle)}({made}._v, {made}._a)")
        self.claimed.add(spec.output)
        self.made[spec.ident] = made
        if spec.node == "leaf":
            self.lines.append(f"{made}._node = {self.const(Leaf)}({made})")
        elif spec.node == "tape":
            self.lines.append(f"{made}._node = {self._hung(spec.output)}")
        if spec.view is not None:
            self.views.append((made, *spec.view))
        return made

    def _views(self) -> None:
        """Views of what eager code returns as views; a base nobody holds is stood in for."""
        for view, base, method, step in self.views:
            parent = self.input(base.number) if type(base) is Known else self.made.get(base)
            if parent is None:
                parent, step = f"{self.const(new_handle)}({view}._v, {view}._a)", None
            shown = self.const(step)
            if type(step) is MovedStep:
                starts = ", ".join([f"{n}: {self.input(n)}" for n in step.numbers])
                shown = f"{self.const(step.now)}({{{starts}}})"
            given = f"{view}, {parent}, {method!r}, {shown}"
            self.lines.append(f"{self.const(link_view)}({given})")

    def _read(self, spec: HostValue) -> str:
        tensor, how = spec.items[0], spec.how
        if type(tensor) is not New or tensor.view is not None or not how.isidentifier():
            raise _Unknown
        known = self.values.get(spec.ident)
        if known is None:
            known = self.values[spec.ident] = self.name(f"r{tensor.output}.{how}()")
        return known

    def _number(self, term: Any) -> str:
        """An expression for the number that a term is now."""
        kind = type(term)
        if kind is Operation:
            return self.operation(term.symbol, list(map(self._number, term.operands)))
        if kind is Constant:
            return self.const(term.value)
        if kind is GivenNumber:
            return f"{self.input(term.number)}._x.source"
        if kind is HostValue:
            return self._read(term)
        if kind is LoadedNumber:
            return self.read(term.key)
        if kind is Counted:
            return f"len({self.holder(term.owner)})"
        return self._hosted(term)

    def _hosted(self, term: Any) -> str:
        """An expression for what a call of Python's own world gave or gets."""
        kind = type(term)
        if kind is Computation:
            given = ", ".join(map(self._number, term.operands))
            return f"{self.const(term.function)}({given})"
        if kind is Collection:
            items = list(map(self._number, term.items))
            if term.type is dict:
                pairs = zip(map(self.const, term.keys), items)
                return f"{{{', '.join([f'{key}: {item}' for key, item in pairs])}}}"
            return self._tuple(items) if term.type is tuple else f"[{', '.join(items)}]"
        if kind is First:
            return f"{self.const(term.now)}()"
        if kind is HostResult:
            return self.clocks[term]
        if kind is HeldObject:
            return self.holder(term.owner)
        raise _Unknown

    def _tell(self) -> None:
        """The calls that come after everything else, with their arguments as they are now."""
        for call in self.recording.outcome.actions.told:
            given = [self._argument(spec) for spec in call.specs]
            count = len(given) - len(call.names)
            owner = [] if call.owner is None else [self.holder(call.owner)]
            named = zip(map(repr, call.names), given[count:])
            pairs = ", ".join([f"{name}: {text}" for name, text in named])
            arguments = self._tuple([*owner, *given[:count]])
            made = f"({self.const(call.function)}, {arguments}, {{{pairs}}})"
            self.told.append(self.name(f"planned(lambda: {made})"))

    def _argument(self, spec: Any) -> str:
        if type(spec) is Computed:
            return self._number(spec.term)
        return self.build(spec)

    def _box(self, spec: Box) -> str:
        items, cls = list(map(self.build, spec.items)), spec.type
        if cls is list:
            return f"[{', '.join(items)}]"
        if cls is tuple:
            return self._tuple(items)
        if cls is dict:
            keys = map(self.const, spec.keys)
            return f"{{{', '.join([f'{key}: {item}' for key, item in zip(keys, items)])}}}"
        if cls is OrderedDict:
            pairs = [f"({key}, {item})" for key, item in zip(map(self.const, spec.keys), items)]
            return f"{self.const(cls)}({self._tuple(pairs)})"
        if issubclass(cls, tuple):
            return f"{self.const(cls)}({', '.join(items)})"
        if cls is types.SimpleNamespace and all(map(str.isidentifier, spec.keys)):
            given = [f"{key}={item}" for key, item in zip(spec.keys, items)]
            if not any(map(keyword.iskeyword, spec.keys)):
                return f"{self.const(cls)}({', '.join(given)})"
        return (
            f"{self.const(built)}({self.const(cls)}, {self.const(spec.keys)}, [{', '.join(items)}])"
        )

    # ---- the tape
    def _hung(self, output: int) -> str:
        """What a result that is on a tape hangs on."""
        tape = self.recording.tape
        if tape is None or output not in tape.position:
            return "spent"
        if not self.node:
            self.node = self._node(tape)
        return self.node if len(tape.position) == 1 else f"({tape.position[output]}, {self.node})"

    def _node(self, tape: ResultTape) -> str:
        needed = list(map(self.input, tape.needed))
        values = [f"v{number}" for number in range(len(needed))]
        read = [f"{value} = {tensor}._v" for value, tensor in zip(values, needed)]
        if len(needed) > 1:  # of one moment, as `values_of`
            steady = " and ".join([f"{v} is {t}._v" for v, t in zip(values, needed)])
            read = ["while True:", *[f" {line}" for line in read], f" if {steady}: break"]
        self.lines += read
        kept = [f"r{output}._v" for output in tape.kept]
        everything = self.name(f"[{', '.join(values)}]")
        self.lines.append(f"if collecting: {everything} = known({everything})")
        self.lines += [f"{everything} += ({', '.join(kept)},)"] if kept else []
        parents = [f"{self.input(number)}._node" for number in tape.inputs]
        self.space.update(collecting=COLLECTING, known=known, new=tuple.__new__)
        replayed = f"new({self.const(Replayed)}, (tape, {everything}))"
        resolved = f"{self.const(PseudoOp)}('recorded call', None, avals, {replayed})"
        return self.name(f"({resolved}, {self._tuple(parents)}, (), None)")

    # ---- what is left in Python
    def _effects(self) -> None:
        outcome, held, actions = (
            self.recording.outcome,
            self.needs.held,
            self.recording.outcome.actions,
        )
        stores = [
            (self.recording.facts.holders[s.key], s.key, s.put, self.build(s.spec))
            for s in outcome.stores
        ]
        gradients = [
            (self.const(held[host]), "None" if spec is None else self.build(spec))
            for host, spec in self.needs.gradients
        ]
        stores += [(n.holder, n.key, n.put, self.build(n.spec)) for n in actions.numbers]
        calls = []
        for change in actions.grown:
            values = list(map(self.build, change.specs))
            given = [f"[{', '.join(values)}]"] if change.method == "extend" else values
            call = [self.const(change.primitive), self.holder(change.owner), *given]
            calls.append(self._tuple(call))
        self.stores += [f"{leaf}._node.grad = {value}" for leaf, value in gradients]
        for holder, key, put, value in stores:
            self._store(holder, key, put, value)
        if calls:
            self.space.update(starmap=itertools.starmap, call=operator.call, run=RUN)
            changes = self.name(f"starmap(call, {self._tuple(calls)})")
            self.stores.append(f"run[{changes}]")

    def _store(self, holder: Holder, key: Key, put: Put, value: str) -> None:
        """Put a value in a place: a statement that may be repeated."""
        target, where = holder.get(), put.kind
        if where == "path":  # what it is inside of is put there whole
            return
        owner, name = self.holder(holder), self.const(key.key)
        if where == "cell":
            self.stores.append(f"{owner}.cell_contents = {value}")
        elif where == "item" and type(target) in (dict, list, OrderedDict, deque):
            self.stores.append(f"{owner}[{name}] = {value}")
        elif where == "slot":
            member = lookup(type(target), key.key)
            if type(member) is not types.MemberDescriptorType:
                raise _Unknown
            self.stores.append(f"{self.const(member.__set__)}({owner}, {value})")
        elif where == "dict" and type(put.write) is types.FunctionType:
            entries = self.name(f"{self.const(instance_dict)}({owner})")
            self.stores.append(f"{self.const(dict.__setitem__)}({entries}, {name}, {value})")
        elif where in ("item", "dict", "class"):
            owner = owner if put.target is None else self.const(put.target)
            self.stores.append(f"{self.const(put.write)}({owner}, {name}, {value})")
        else:
            raise _Unknown
