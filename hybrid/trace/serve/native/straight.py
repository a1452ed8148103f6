"""The end of a replay as straight code: one generated function from the tensors of a call to its
result, with the native entry in the middle and what the call leaves in Python at the end.

Invariant: it leaves what `Served` leaves step by step.  Stores run no code in which a handler of a
signal could raise: each is one instruction, or all of them one C call behind a subscript.
"""

from __future__ import annotations

import itertools
import operator
import re
import types
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from ....autograd.tape import PseudoOp
from ....backends.api import CHECKED, Entry, Replay
from ....core.signals import finish
from ....ir.door.pending import COLLECTING, known
from ....ir.tensor import RUNTIME, Leaf, new_handle
from ...heap.allowlist import instance_dict, lookup
from ...heap.facts import Holder, Key
from ...heap.setters import Put
from ...host.again import refused, tell, told
from ...record.actions import Actions
from ...record.guards import run_text
from ...record.outcome import Outcome
from ...record.outputs import (
    Computed,
    MovedStep,
    New,
    Plain,
    linked,
)
from ...record.recording import Recording
from ...record.result_tape import Replayed, ResultTape
from .needs import Needs
from .values import NoStraightCode, ValueWriter

__all__ = ["Straight", "straight"]

MAX_TEXT = 1 << 16  # characters of a function; what leaves more is left step by step


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
    try:
        writer = _Writer(recording, needs, replay, loaded)
        text = writer.text(guard is not None)
    except NoStraightCode:
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
_ACTIONS |= {"first", "clocks", "told", "loud"}


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


class _Writer(ValueWriter):
    """Writes the text."""

    def __init__(
        self, recording: Recording, needs: Needs, replay: Replay, loaded: tuple[int, ...]
    ) -> None:
        super().__init__(recording, needs, loaded)
        self.replay = replay
        self.stores: list[str] = []  # what is left in Python then
        self.claimed: set[int] = set()  # outputs whose tensor is one of the results
        self.views: list[tuple[str, Any, str, Any]] = []
        self.node = ""  # what the tape node of the call is called
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
        before.append(f"made = entry[{self.row(self._given())}]")
        # from here on a handler of a signal must not keep what is left from being done
        inside = ["if made is NI: return NI", "if type(made) is int: return fail(made)"]
        # what was drawn for a call that is not served is undone by the caller (Drawing)
        drawn = [call for call in self.recording.outcome.actions.first if call.draws]
        inside += [f"{self.const(call.keep)}()" for call in drawn]
        if self.needs.form != "none":
            names = [f"r{output}" for output in self.needs.results]
            inside.append(f"{names[0] if self.needs.form == 'single' else self.row(names)} = made")
        inside += self.lines
        again: list[str] = []
        whole = bool(self.stores or drawn)  # done to its end, whatever a handler raises
        if whole:
            again, inside = self._to_the_end(inside, result)
        if self.told:
            self.space.update(tell=tell)
            inside.append(f"tell({self.row(self.told)})")
        if self.told or not whole:
            inside.append(f"return {'result' if whole else result}")
        body = [*before, *inside]
        parameters = ", ".join([*[f"{name}=MISSING" for name in self.arguments], "*more"])
        serve = [f"def serve({parameters}):", *[f" {line}" for line in body]]
        inner = [*again, *serve, "return serve"]
        return "\n".join(["def make():", *[f" {line}" for line in inner]])

    def _to_the_end(self, inside: list[str], result: str) -> tuple[list[str], list[str]]:
        """A function that stores, and lines which end with all that a call leaves."""
        used = sorted(set(re.findall(r"\b[ahtrx]\d+\b", " ".join(self.stores))))
        again = [
            f"def again({', '.join(used)}):",
            *[f" {line}" for line in self.stores or ["pass"]],
        ]
        last = f"result = {result}" if self.told else f"return {result}"
        inside = [*inside, "stored = True", *self.stores, last]
        given = f"{self.row(self.arguments)}, {self.row(self._loaded())}"
        return again, [
            "stored = False",
            "try:",
            *[f" {line}" for line in inside],
            "except BaseException:",
            f" if stored: finish({', '.join(['again', *used])})",
            " elif made is not NI and type(made) is not int:",
            f"  complete(made, {given})",
            " raise",
        ]

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
        lines = [f"found = guard({self.row(self.arguments)})", "if found is None: return NI"]
        return lines + ([f"{self.row(self._loaded())} = found"] if self.loaded else [])

    def _loaded(self) -> list[str]:
        return [f"t{number}" for number in self.loaded]

    def _given(self) -> list[str]:
        return [*self.arguments, *self._loaded()]

    # ---- values
    def tensor(self, spec: New) -> str:
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
        """Views of what eager code returns as views."""
        for view, base, method, step in self.views:
            parent = self.made[base] if isinstance(base, int) else self.build(base)
            shown = self.const(step)
            if type(step) is MovedStep:
                starts = ", ".join([f"{n}: {self.input(n)}" for n in step.numbers])
                shown = f"{self.const(step.now)}({{{starts}}})"
            given = f"{view}, {parent}, {method!r}, {shown}"
            self.lines.append(f"{self.const(linked)}({given})")

    def _tell(self) -> None:
        """The calls that come after everything else, with their arguments as they are now; an
        exception that these raise is raised when its turn comes."""
        for call in self.recording.outcome.actions.told:
            if call.owner is None and all(type(spec) is Plain for spec in call.specs):
                self.told.append(self.const(told(call, lambda spec: spec.value)))
                continue
            given = [self._argument(spec) for spec in call.specs]
            count = len(given) - len(call.names)
            owner = [] if call.owner is None else [self.holder(call.owner)]
            pairs = zip(map(repr, call.names), given[count:])
            named = ", ".join([f"{name}: {text}" for name, text in pairs])
            arguments = self.row([*owner, *given[:count]])
            made = self.name(f"({self.const(call.function)}, {arguments}, {{{named}}})")
            refuse = f" {made} = {self.const(refused)}(error)"
            self.lines[-1:] = ["try:", f" {self.lines[-1]}", "except Exception as error:", refuse]
            self.told.append(made)

    def _argument(self, spec: Any) -> str:
        if type(spec) is Computed:
            return self.number(spec.term)
        return self.build(spec)

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
        return self.name(f"({resolved}, {self.row(parents)}, (), None)")

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
            calls.append(self.row(call))
        self.stores += [f"{leaf}._node.grad = {value}" for leaf, value in gradients]
        for holder, key, put, value in stores:
            self._store(holder, key, put, value)
        if calls:
            self.space.update(starmap=itertools.starmap, call=operator.call, run=RUN)
            changes = self.name(f"starmap(call, {self.row(calls)})")
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
                raise NoStraightCode
            self.stores.append(f"{self.const(member.__set__)}({owner}, {value})")
        elif where == "dict" and type(put.write) is types.FunctionType:
            entries = self.name(f"{self.const(instance_dict)}({owner})")
            self.stores.append(f"{self.const(dict.__setitem__)}({entries}, {name}, {value})")
        elif where in ("item", "dict", "class"):
            owner = owner if put.target is None else self.const(put.target)
            self.stores.append(f"{self.const(put.write)}({owner}, {name}, {value})")
        else:
            raise NoStraightCode
