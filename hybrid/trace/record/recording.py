"""One recorded call: its graph, the facts it depends on, where captured tensors are, and what it
leaves behind.

Invariant: a recording is compared, never trusted alone: `difference` of two recordings is None only
if nodes, literals, captures, facts, outputs and writes agree, and only then may one be replayed
(see decorator.py for the rule).
"""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any, NamedTuple

from ...core.signals import finish
from ...ir.door.bind import constant_of
from ...ir.door.busy import put_values
from ...ir.graph.graph import Graph
from ...ir.tensor import Alias, Handle, Leaf
from ..bytecode.host_reads import HOW, tail_values
from ..bytecode.summary import handles_errors
from ..heap.facts import Holder, Key, called, describe, expression, fetch, is_namespace
from ..heap.policy import BOXES, MISSING, is_a, plain
from ..heap.raw import Put, putter
from ..watch.analysis import Analysis
from .gradients import History
from .guards import Guard, Obj, Place, Ref, agrees, expectation
from .outputs import Host, Known, Maker, New, Spec, Unfit, canonical, on_their_own, spec_of
from .recorder import Recorder

__all__ = ["Recording", "Store"]

NAMING = frozenset(("cell", "item", "attr", "slot", "tattr", "dict"))  # kinds that hold objects
MAX_NAME = 6  # containers in containers that a message spells out


class Store(NamedTuple):
    """A tensor that the call stores in a Python place, and the primitive that puts it there."""

    key: Key
    spec: Spec
    put: Put


class Recording:
    """Public for executors: `graph` (inputs: arguments, captures), `numbers` (value number of each
    graph output), `writes` ((Ref, output number): new values of arguments and captures), `args`,
    `captures` counts."""

    def __init__(
        self,
        rec: Recorder,
        seen: Analysis,
        out: Any,
        before: dict[Key, Any],
        dropper: Callable[[Recording], Callable[[Any], None]],
    ) -> None:
        self.reasons: list[str] = list({**seen.watch.reasons, **rec.reasons})
        once = rec.root is None or len(seen.watch.frames.get(rec.root, ())) == 1
        self._hosts = tail_values(rec.reads, rec.root if once else None, seen.watch.returns)
        if self._hosts is None:
            self.reasons += [r.reason for r in rec.reads]
        self.guard: Guard | None = None
        self.history: History | None = None
        self.lost = self.dead = False
        self._parents: dict[int, Key] = {}  # the place that holds an object, for messages
        if self.reasons:
            return
        self.where = seen.where
        self.handles_errors = any(map(handles_errors, seen.watch.frames))
        self._rec, self._dead = rec, dropper(self)
        self._young = seen.watch.young
        self._roles = {id(t): Ref("arg", i) for i, t in enumerate(rec.args)}
        self._find_captures(rec, seen)
        self._facts(rec, seen, before)
        self._grads(rec, seen)
        self._locate(rec, seen, before)
        self._results(rec, seen, out)
        if not self.reasons:
            self._freeze(rec)
        del (
            self._hosts,
            self._rec,
            self._roles,
            self._stored,
            self._grad_final,
            self._grad_hosts,
            self._young,
        )
        del self._on_tape  # the tape of a result holds everything the call computed

    # ---- captures and facts
    def _capture(self, t: Handle) -> Ref:
        """The role of a tensor that existed before the call."""
        role = self._roles.get(id(t))
        if role is None:
            rec = self._rec
            if id(t) not in rec.handles:
                rec.ref(t)
            k = next(i for i in reversed(range(len(rec.captures))) if rec.captures[i] is t)
            role = self._roles[id(t)] = Ref("cap", k)
        return role

    def _find_captures(self, rec: Recorder, seen: Analysis) -> None:
        """Captures are tensors that ops use, and those that were only looked at: their flags, shape
        and identity may have decided what Python did."""
        self._used = len(rec.captures)
        for k, t in enumerate(rec.captures):
            self._roles[id(t)] = Ref("cap", k)
        for t in {**seen.loaded, **rec.looked, **seen.watch.looked}.values():
            old = id(t) not in rec.handles and id(t) not in self._young
            if old and constant_of(t) is None:
                self._capture(t)

    def _is_start(self, t: Handle) -> bool:
        return id(t) in self._rec.start

    def _facts(self, rec: Recorder, seen: Analysis, before: dict[Key, Any]) -> None:
        self.holders: dict[Key, Holder] = {}
        self.expect: dict[Key, Any] = {}
        self.places_of: dict[int, Key] = {}
        self._stored: list[tuple[Key, Handle]] = []
        for key, h in seen.found.items():
            if key.kind == "patched":
                h.skip = {(k.holder, k.key) for k in seen.found if k.kind == "tattr"}
            v = fetch(key.kind, h, key.key)
            self.holders[key] = Holder(h, self._dead)
            if not is_a(v, Handle):
                self.expect[key] = expectation(v, self._dead)
            elif self._is_start(v) or id(v) not in rec.handles:
                role, was = self._capture(v), before.get(key)
                # an argument or another capture was put here
                if is_a(was, Handle) and was is not v:
                    self._stored.append((key, v))
                    self.expect[key] = Ref("out", -1)
                    self._was_read(key, was, seen)
                    continue
                self.expect[key] = role
                if role.kind == "cap":
                    self.places_of.setdefault(role.number, key)
            else:
                self._stored.append((key, v))
                self.expect[key] = Ref("out", rec.handles[id(v)])
                self._was_read(key, before.get(key), seen)

    def _was_read(self, key: Key, was: Any, seen: Analysis) -> None:
        """What a place held before the call stored to it may have been looked at."""
        if isinstance(was, Handle) and key in seen.read and constant_of(was) is None:
            self._capture(was)

    def _grads(self, rec: Recorder, seen: Analysis) -> None:
        """Gradients read before written, and final ones, of tensors older than the call."""
        self.grad_reads: list[tuple[Ref, Ref | None]] = []
        self._grad_final: list[tuple[Ref, Any]] = []
        self._grad_hosts: dict[int, Ref] = {}
        for g in list(rec.grads.values()):
            known = id(g.handle) in self._roles or id(g.handle) in seen.held
            if not known and id(g.handle) in rec.handles:
                continue  # a tensor made by the call
            if not known:
                self.reasons.append(
                    "sets the gradient of a tensor that the call does not use otherwise"
                )
                continue
            host = self._capture(g.handle)
            if g.read:
                first = None if g.first is None else self._capture(g.first)
                self.grad_reads.append((host, first))
                if first is not None:
                    self._grad_hosts.setdefault(first.number, host)
            if g.written:
                self._grad_final.append((host, g.now))

    def _locate(self, rec: Recorder, seen: Analysis, before: dict[Key, Any]) -> None:
        """The place of every capture."""
        self.places: list[Place] = []
        self.cap_avals = [rec.start[id(t)][1] for t in rec.captures]
        self.cap_nodes = [type(rec.start[id(t)][2]) for t in rec.captures]
        self.arg_nodes = [type(rec.start[id(t)][2]) for t in rec.args]
        first: dict[int, Key] = {}  # where a tensor was before the call
        for key, v in before.items():
            if key in self.holders:
                first.setdefault(id(v), key)
        for k, t in enumerate(rec.captures):
            if id(t) in seen.held:
                self.places.append(Place("held", Holder(t, self._dead)))
                for key, o in seen.places_of.get(id(t), {}).items():
                    self._inside(Ref("cap", k), key, o)
            elif k in self.places_of:
                self.places.append(Place("fact", self.places_of[k]))
            elif k in self._grad_hosts:
                self.places.append(Place("grad", self._grad_hosts[k]))
            else:
                was = first.get(id(t))
                self.lost = self.lost or was is None
                self.places.append(Place("fact", was))
        self.own_args: list[tuple[int, Holder]] = []  # arguments that are this very tensor
        for i, t in enumerate(rec.args):
            if id(t) in seen.held:
                self.own_args.append((i, Holder(t, self._dead)))
                for key, o in seen.places_of.get(id(t), {}).items():
                    self._inside(Ref("arg", i), key, o)
        self._starts(before)
        used = [*self.cap_nodes[: self._used], *self.arg_nodes]
        if any(n is tuple for n in used) and self._grad_final:
            self.reasons.append(
                "runs backward while an input is itself a result of differentiable operations"
            )

    def _inside(self, role: Ref, key: Key, holder: Any) -> None:
        """A tensor of hybrid's own object must still be where it was found, however stored."""
        self.holders.setdefault(key, Holder(holder, self._dead))
        self.expect.setdefault(key, role)

    def _starts(self, before: dict[Key, Any]) -> None:
        """What the places that the call stores to held before it: their new content cannot tell."""
        self.starts: dict[Key, Ref | None] = {}
        self.settled = True
        for key, _ in self._stored:
            v = before.get(key, MISSING)
            self.settled = self.settled and is_a(v, Handle)
            self.starts[key] = self._roles.get(id(v))

    # ---- results
    def _results(self, rec: Recorder, seen: Analysis, out: Any) -> None:
        self._numbers: dict[int, int] = {}
        self._on_tape: dict[int, Handle] = {}
        try:
            self.out = spec_of(out, self._tensor_spec, lambda o: id(o) in seen.rooted, self._host)
            self.stores = [self._store(k, t) for k, t in self._stored]
            self.grad_writes = [
                (host, None if t is None else self._tensor_spec(t)) for host, t in self._grad_final
            ]
            self._cut_views()
        except Unfit as e:
            self.reasons.append(str(e))
            return
        except RecursionError:
            self.reasons.append("returns a container that holds itself or is nested too deeply")
            return
        self.writes: list[tuple[Ref, int]] = []
        for i, t in rec.written.items():
            role = self._roles.get(i)
            if role is None:
                continue
            if t._node is not rec.start[i][2]:
                self.reasons.append(
                    "leaves an argument or captured tensor with another gradient history"
                )
            if rec.handles[i] != rec.start[i][0]:
                self.writes.append((role, self._output(rec.handles[i])))
        self._separate()

    def _separate(self) -> None:
        """An output of its own for each tensor that gets a new value: plans tell them apart."""
        seen: set[int] = set()
        self._again: list[int] = []
        numbers = list(self._numbers)
        for k, (role, i) in enumerate(self.writes):
            if i in seen:
                self.writes[k] = role, len(numbers) + len(self._again)
                self._again.append(numbers[i])
            seen.add(i)

    def _store(self, key: Key, t: Handle) -> Store:
        put = putter(key.kind, self.holders[key].get(), key.key, t)
        if put is None and self.settled:  # else it is not replayed anyhow
            raise Unfit(f"stores a tensor in {self.place(key)}, where no replay can put one")
        return Store(key, self._tensor_spec(t), put or Put((), _nowhere))

    def _host(self, x: Any) -> Host | None:
        read = (self._hosts or {}).get(id(x))
        if read is None:
            return None
        self._output(read.number)
        return Host((New(read.number, -read.number - 1, "plain"),), HOW[read.kind])

    def _cut_views(self) -> None:
        stores, grads = [s.spec for s in self.stores], [s for _, s in self.grad_writes]
        self.out, *rest = on_their_own([self.out, *stores, *grads])
        self.stores = [s._replace(spec=spec) for s, spec in zip(self.stores, rest)]
        self.grad_writes = [
            (host, spec) for (host, _), spec in zip(self.grad_writes, rest[len(stores) :])
        ]

    def _output(self, number: int) -> int:
        return self._numbers.setdefault(number, len(self._numbers))

    def _tensor_spec(self, t: Handle) -> New | Known:
        if self._is_start(t):
            return Known(*self._roles[id(t)])
        number = self._rec.handles.get(id(t))
        if number is None:
            raise Unfit("returns a tensor that no recorded operation made")
        self._output(number)
        kind = "plain" if t._node is None else "leaf" if type(t._node) is Leaf else "tape"
        if kind == "tape":
            self._on_tape.setdefault(number, t)
        if type(t._node) is Leaf and t._node.grad is not None:
            raise Unfit("returns a new leaf tensor that has a gradient")
        return New(number, id(t), kind, self._view(t))

    def _view(self, t: Handle) -> Any:
        """The live tensor that t is a view of, when it outlives the call."""
        x = getattr(t, "_x", None)
        if not isinstance(x, Alias) or x.base is None:
            return None
        base = Known(*self._roles[id(x.base)]) if self._is_start(x.base) else id(x.base)
        return base, x.how, x.step if x.parent is x.base else None

    def _freeze(self, rec: Recorder) -> None:
        """Everything replays need, without the tensors of the recording."""
        self.numbers = [*self._numbers, *self._again]
        self.graph: Graph = rec.graph(self.numbers)
        self.out_avals = [rec.avals[n] for n in self.numbers]
        self.args, self.captures = len(rec.args), len(rec.captures)
        self.key = rec.key()
        idents: dict[int, int] = {}
        self.out_key = [
            canonical(self.out, idents),
            [(s.key, s.put.where, canonical(s.spec, idents)) for s in self.stores],
            [(h, None if s is None else canonical(s, idents)) for h, s in self.grad_writes],
        ]
        if self._on_tape and not self.writes and not self.grad_writes:
            try:
                self.history = History(rec, self._roles, self._on_tape)
            except Unfit as e:
                self.reasons.append(str(e))

    # ---- comparing
    def difference(self, other: Recording) -> str | None:
        """None, or the first thing in which two recordings of one function differ, in words."""
        for key in {**self.expect, **other.expect}:
            if key.kind == "patched":
                continue  # held during both calls
            a, b = self.expect.get(key), other.expect.get(key)
            if a is None and key not in self.expect or b is None and key not in other.expect:
                return f"{self.place(key, other)} is read by one call and not by the next"
            if not agrees(a, b):
                return f"{self.place(key, other)} changes: {show(b)} -> {show(a)}"
        for a, b in zip(self.graph.nodes, other.graph.nodes):
            if a.op is not b.op:
                return f"operation {b.op.name} becomes {a.op.name} at {a.site}"
        for i, (a, b) in enumerate(zip(self.key, other.key)):
            if a != b:
                node = self.graph.nodes[i]
                return f"a literal or operand of {node.op.name} changes at {node.site}"
        if len(self.key) != len(other.key):
            return f"the number of operations changes from {len(other.key)} to {len(self.key)}"
        if (self.out_key, self.writes, self.numbers, self.grad_reads) != (
            other.out_key,
            other.writes,
            other.numbers,
            other.grad_reads,
        ):
            return "what it returns or writes changes"
        return self._moved(other)

    def _moved(self, other: Recording) -> str | None:
        if len(self.places) != len(other.places):
            return "the tensors it uses change"
        for a, b in zip(self.places, other.places):
            same_place = a.kind == b.kind and (
                a.what.get() is b.what.get() if a.kind == "held" else a.what == b.what
            )
            if not same_place:
                return "a tensor it uses is found in another place"
        if [(i, h.id) for i, h in self.own_args] != [(i, h.id) for i, h in other.own_args]:
            return "an argument is a tensor that is also found elsewhere"
        return None

    def place(self, key: Key, other: Recording | None = None) -> str:
        """A place in words, with the line that reads it."""
        source: Any = self if key in self.holders or other is None else other
        holder = source.holders.get(key)
        text = describe(key, None if holder is None else holder.get(), source.named(key.holder))
        at = self.where.get(key) or (other.where.get(key) if other is not None else "")
        return f"{text} ({at})" if at else text

    def named(self, holder: int, level: int = 0) -> str:
        """The place that holds a container, as Python text; '' for what a type's name tells."""
        if not self._parents:
            for key, want in self.expect.items():
                if isinstance(want, Obj) and key.kind in NAMING:
                    self._parents.setdefault(want.holder.id, key)
        at = self._parents.get(holder)
        if at is None or level > MAX_NAME:
            return ""
        inside, above = self.expect[at].holder.get(), self.holders[at].get()
        if type(inside) not in BOXES or is_namespace(inside):
            return ""
        return expression(at, above, self.named(at.holder, level + 1) or called(above))

    def broken(self) -> Key | None:
        """The first fact that does not hold now (versions last: a moved attribute says more)."""
        for key, want in sorted(self.expect.items(), key=lambda kv: kv[0].kind == "version"):
            h = self.holders[key].get()
            if h is MISSING or not agrees(want, fetch(key.kind, h, key.key)):
                return key
        return None

    def why_not(self) -> str:
        """Which fact does not hold now, in words."""
        key = self.broken()
        if key is None:
            return "a tensor it uses has another shape, dtype, device or place"
        h = self.holders[key].get()
        if key.kind == "patched":
            return f"{h.changed()} was replaced"
        return f"{self.place(key)}: {show(self.expect[key])} -> {show(fetch(key.kind, h, key.key))}"

    # ---- replaying
    def written(self, args: list[Any], caps: tuple[Any, ...]) -> list[Any]:
        """The tensors among arguments and captures that a replay gives new values."""
        return [(args if role.kind == "arg" else caps)[role.number] for role, _ in self.writes]

    def prepare(self) -> None:
        """Make the guard; called once, when the recording is accepted."""
        self.guard = Guard(
            self.holders,
            self.guarded(),
            self.places,
            self.cap_avals,
            self.cap_nodes,
            self.grad_reads,
            self.own_args,
        )

    def fetch(self, key: Key) -> Any:
        """What a place that this recording read holds now."""
        return fetch(key.kind, self.holders[key].get(), key.key)

    def guarded(self) -> dict[Key, Any]:
        """What must hold at the start: the facts, and what places it stores to held before."""
        return self.expect | {k: ref for k, ref in self.starts.items() if ref is not None}

    def commit(
        self, values: list[Any], args: list[Any], caps: tuple[Any, ...], tape: Callable[[int], Any]
    ) -> Any:
        """Write the new state, store what the call stores, and build what it returns.

        A handler of a signal that raises meanwhile does so after all is done."""
        return finish(self._commit, values, args, caps, tape)

    def _commit(
        self, values: list[Any], args: list[Any], caps: tuple[Any, ...], tape: Callable[[int], Any]
    ) -> Any:
        maker = Maker(dict(zip(self.numbers, zip(values, self.out_avals))), args, caps, tape)
        out = maker.build(self.out)
        made = [(s, maker.build(s.spec)) for s in self.stores]
        grads = [(role, None if s is None else maker.build(s)) for role, s in self.grad_writes]
        maker.link()
        if self.writes:
            put_values(
                [(args if role.kind == "arg" else caps)[role.number] for role, _ in self.writes],
                [values[i] for _, i in self.writes],
                [self.out_avals[i] for _, i in self.writes],
            )
        for role, grad in grads:
            (args if role.kind == "arg" else caps)[role.number]._node.grad = grad
        for s, t in made:
            s.put(self.holders[s.key].get(), s.key.key, t)
        return out


def _nowhere(holder: Any, key: Any, t: Any) -> None:
    """The primitive of a place that has none."""


def show(want: Any) -> str:
    """An expected or found value in a few characters; objects by their type (no user code runs)."""
    if isinstance(want, Ref):
        return "a tensor"
    if isinstance(want, Obj):
        want = want.holder.get()
    if plain(want):
        return repr(want)[:40]
    if want is MISSING:
        return "nothing"
    if is_a(want, (type, types.FunctionType, types.BuiltinFunctionType)):
        return str(want.__qualname__)
    return f"a {type(want).__name__}"
