"""The guard of a recording: one generated Python function, and the same facts as (address, word)
pairs.

Invariant: the guard accepts only if every fact holds and returns the captured tensors in order; any
exception while checking is a miss.  Native pairs cover a subset; what they leave out is named and
stays with Python.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any, NamedTuple

from ...ir.tensor import Handle
from ..heap.facts import Holder, Key, fetch, same
from ..heap.policy import MISSING, is_a, lookup, plain

__all__ = ["Ref", "Obj", "Place", "Guard", "FactGuard", "expectation", "agrees"]


class Ref(NamedTuple):
    """An expected tensor: captured ('cap'), an argument ('arg') or stored by the call ('out')."""

    kind: str
    number: int


class Obj(NamedTuple):
    """An expected object, by identity."""

    holder: Holder


class Place(NamedTuple):
    """Where a captured tensor is found: a fact ('fact', Key), held by a Versioned object ('held',
    Holder), or the gradient of an argument or capture ('grad', Ref)."""

    kind: str
    what: Any


def expectation(v: Any, dead: Callable[[Any], None]) -> Any:
    """How a fact's value is kept: scalars and tuples as they are, objects by identity."""
    return v if v is MISSING or type(v) is tuple or plain(v) else Obj(Holder(v, dead))


def agrees(want: Any, got: Any) -> bool:
    """Whether a fetched value (or another expectation) is what was expected."""
    if isinstance(want, Ref):
        return is_a(got, Handle) or type(got) is Ref and got == want
    if isinstance(want, Obj):
        o = want.holder.get()
        if type(got) is Obj:
            return o is not MISSING and o is got.holder.get()
        return o is not MISSING and o is got
    return type(got) is not Obj and type(got) is not Ref and same(want, got)


class Guard:
    """Generates the function for one recording; `source` and `count` are for people."""

    def __init__(
        self,
        holders: dict[Key, Holder],
        expect: dict[Key, Any],
        places: list[Place],
        avals: list[Any],
        nodes: list[Any],
        grads: list[tuple[Ref, Any]],
        own: list[tuple[int, Holder]],
    ) -> None:
        self.holders, self.expect, self.places = holders, expect, places
        self.space: dict[str, Any] = {
            "same": same,
            "H": Handle,
            "MISSING": MISSING,
            "fetch": fetch,
            "get": dict.get,
        }
        self.names: dict[int, str] = {}
        self.prologue: list[str] = []
        self.bound: dict[int, str] = {}
        terms = (
            self._facts_first()
            + self._captures(avals, nodes)
            + self._tensor_facts()
            + self._grads(grads)
            + [f"id(args[{i}]) == {h.id}" for i, h in own]
        )
        self.count = len(terms)
        lines = ["def guard(args):", " try:"] + [f"  {p}" for p in self.prologue]
        lines += [f"  if not ({t}): return None" for t in terms]
        lines += [f"  return ({self._results()})", " except Exception: return None"]
        self.source = "\n".join(lines)
        exec(compile(self.source, "<hybrid guard>", "exec"), self.space)  # noqa: S102  (our own text)
        self.function: Callable[[list[Any]], tuple[Any, ...] | None] = self.space["guard"]

    # ---- names
    def const(self, v: Any) -> str:
        n = self.names.get(id(v))
        if n is None:
            n = self.names[id(v)] = f"c{len(self.names)}"
            self.space[n] = v
        return n

    def holder(self, h: Holder) -> str:
        """An expression for the held object; weak ones are dereferenced once."""
        if h.ref is None:
            return self.const(h.strong)
        n = self.bound.get(h.id)
        if n is None:
            n = self.bound[h.id] = f"h{len(self.bound)}"
            self.prologue.append(f"{n} = {self.const(h.ref)}()")
        return n

    def read(self, key: Key) -> str:
        """An expression that reads a place."""
        held = self.holders[key]
        h, k, o = self.holder(held), key.key, held.get()
        if type(lookup(type(o), "__getattribute__")) is types.FunctionType:
            return f"fetch({key.kind!r}, {h}, {self.const(k)})"  # runs no code of a user
        if key.kind == "cell":
            return f"{h}.cell_contents"
        if (
            key.kind == "attr"
            and isinstance(k, str)
            and k.isidentifier()
            and not k.startswith("__")
        ):
            return f"{h}.{k}"
        if key.kind == "meth" and k.isidentifier() and not k.startswith("__"):
            return f"{h}.{k}.__func__"
        if key.kind == "item" and any(type(o) is t for t in (list, dict, tuple)):
            return f"{h}[{self.const(k)}]"
        if key.kind == "slot":
            return f"{h}.__dict__[{k!r}]"
        simple = {"tlen": f"len({h}.__dict__)", "type": f"type({h})"}
        if type(o) is list or type(o) is dict:
            simple |= {"len": f"len({h})", "keys": f"(*{h},)"}
        if key.kind == "tattr" and k in getattr(o, "__dict__", ()):
            return f"{h}.__dict__[{k!r}]"
        return simple.get(key.kind) or f"fetch({key.kind!r}, {h}, {self.const(k)})"

    # ---- terms
    def _facts_first(self) -> list[str]:
        """Facts that are no tensors; classes first, so that reading attributes is harmless."""
        order = {"type": 0, "tlen": 0, "mro": 0, "tattr": 1, "version": 1, "keys": 2, "patched": 4}
        keys = sorted(
            (k for k, v in self.expect.items() if not isinstance(v, Ref)),
            key=lambda k: order.get(k.kind, 3),
        )
        return [self._fact(k, self.expect[k]) for k in keys]

    def _fact(self, key: Key, want: Any) -> str:
        if isinstance(want, Obj):
            if want.holder.ref is None:
                return f"{self.read(key)} is {self.const(want.holder.strong)}"
            return f"id({self.read(key)}) == {want.holder.id}"
        if want is MISSING:
            held = self.holders[key]
            if key.kind == "item" and is_a(held.get(), dict):
                return f"{self.const(key.key)} not in {self.holder(held)}"
            return f"fetch({key.kind!r}, {self.holder(held)}, {self.const(key.key)}) is MISSING"
        if key.kind == "version":
            h = self.holder(self.holders[key])
            training = "" if want[1] is None else f" and {h}.training is {want[1]}"
            return f"{h}._version == {want[0]}{training}"
        if type(want) is int and key.kind in ("len", "tlen"):
            return f"{self.read(key)} == {want}"
        return f"(x := {self.read(key)}) is {self.const(want)} or same(x, {self.const(want)})"

    def _captures(self, avals: list[Any], nodes: list[Any]) -> list[str]:
        terms = []
        late = sorted(range(len(self.places)), key=lambda i: self.places[i].kind == "grad")
        for i in late:  # a gradient is read from a tensor that is loaded by then
            p = self.places[i]
            if p.kind == "held":
                load = self.holder(p.what)
            elif p.kind == "grad":
                load = f"{self._ref(p.what)}._node.grad"
            else:
                load = self.read(p.what)
            terms.append(
                f"issubclass(type(t{i} := {load}), H) and t{i}._a is {self.const(avals[i])}"
                f" and type(t{i}._node) is {self.const(nodes[i])}"
            )
        return terms

    @staticmethod
    def _ref(r: Ref) -> str:
        return f"t{r.number}" if r.kind == "cap" else f"args[{r.number}]"

    def _tensor_facts(self) -> list[str]:
        terms, loads = [], {p.what for p in self.places if p.kind == "fact"}
        for key, want in self.expect.items():
            if not isinstance(want, Ref):
                continue
            if want.kind == "out":
                terms.append(f"issubclass(type({self.read(key)}), H)")
            elif key not in loads:
                terms.append(self._same(key, want))
        return terms

    def _same(self, key: Key, want: Ref) -> str:
        return f"{self.read(key)} is {self._ref(want)}"

    def _results(self) -> str:
        return "".join(f"t{k}, " for k in range(len(self.places)))

    def _grads(self, grads: list[tuple[Ref, Any]]) -> list[str]:
        """Gradients that were read before they were written: None, or the captured tensor."""
        wanted = [
            (self._ref(host), "None" if want is None else self._ref(want)) for host, want in grads
        ]
        return [f"{host}._node.grad is {want}" for host, want in wanted]


class FactGuard(Guard):
    """The part of a guard that native code does not check.

    `held` maps inputs known by identity to their tensors, `only` the facts to check (None: all),
    `load` the captures to return, by number, found in Python places."""

    def __init__(self, recording: Any, held: dict[int, Any], only: Any, load: list[int]) -> None:
        r = recording
        self.ids = {k - r.args: id(t) for k, t in held.items() if k >= r.args}
        grads = [(h, w) for h, w in r.grad_reads if h.kind == "arg" or h.number not in self.ids]
        self.load = load
        places = {r.places[k].what for k in load}
        facts = r.guarded()
        if only is not None:
            wanted = set(only) - places
            facts = {k: v for k, v in facts.items() if k in wanted}
        super().__init__(r.holders, facts, r.places, r.cap_avals, r.cap_nodes, grads, r.own_args)

    def _captures(self, avals: list[Any], nodes: list[Any]) -> list[str]:
        read = {i: self.read(self.places[i].what) for i in self.load}
        return [
            f"issubclass(type(t{i} := {place}), H) and type(t{i}._node) is {self.const(nodes[i])}"
            for i, place in read.items()
        ]

    def _results(self) -> str:
        return "".join(f"t{k}, " for k in self.load)

    def _same(self, key: Key, want: Ref) -> str:
        if want.kind == "cap" and want.number in self.ids:
            return f"id({self.read(key)}) == {self.ids[want.number]}"
        if want.kind == "cap" and want.number not in self.load:
            return f"issubclass(type({self.read(key)}), H)"
        return super()._same(key, want)
