"""Serving calls of an accepted recording through the backend's entry, with no more Python than the
facts need.

Invariant: a call is served only if every fact holds: facts with a native form are compared by the
entry itself, the rest by a generated function before it; MISS means that nothing was changed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...backends.api import Replay
from ...core.signals import finish
from ...ir.tensor import RUNTIME, Leaf
from ..record.gradients import SPENT, spent
from ..record.guards import FactGuard
from ..record.outputs import Box, Host, Known, Maker, New, Plain
from ..record.recording import Recording
from .executor import MISS
from .native_facts import NativeFacts, native_facts
from .prepare import Prepared, input_of

__all__ = ["Served", "MAX_REFRESH"]

MAX_REFRESH = 16  # native forms of facts that soon fail, after which Python checks them instead
LASTING = 64  # calls that a native form has to serve to be worth its making


def _marked(entry: Callable[..., Any]) -> Callable[..., Any]:
    """The entry without a frame of its own, for a result on a tape that is spent."""
    raw = getattr(entry, "raw", entry)

    def fast(*tensors: Any) -> Any:
        out = raw(*tensors)
        if out is NotImplemented:
            return out
        if type(out) is int:
            raise entry.failed(out)  # type: ignore[attr-defined]
        out._node = SPENT
        return out

    return fast


def _constant(entry: Callable[..., Any], value: Any) -> Callable[..., Any]:
    """The same for a result that is always one value."""
    raw = getattr(entry, "raw", entry)

    def fast(*tensors: Any) -> Any:
        out = raw(*tensors)
        if out is NotImplemented:
            return out
        if type(out) is int:
            raise entry.failed(out)  # type: ignore[attr-defined]
        return value

    return fast


def _mentions(s: Any) -> bool:
    """Whether a recipe asks for a captured tensor itself."""
    if type(s) is Known:
        return s.kind == "cap"
    if type(s) is New:
        return s.view is not None and _mentions(s.view[0])
    return type(s) in (Box, Host) and any(map(_mentions, s.items))


class _Items:
    """A backend's entry as `checked.of` of the CPU's, for a tuple of tensors."""

    def __init__(self, entry: Any) -> None:
        self.entry = entry

    def __getitem__(self, tensors: tuple[Any, ...]) -> Any:
        return self.entry(*tensors)


class Served:
    """One recording behind a native entry.

    `serve(tensors)` takes the distinct tensors among the arguments and returns the result or MISS.
    `fast`, where it is not None, takes the arguments themselves and returns the result or
    NotImplemented; only for calls whose arguments are distinct tensors and nothing else."""

    def __init__(self, prepared: Prepared, caps: tuple[Any, ...]) -> None:
        r = prepared.recording
        self.prepared, self.recording = prepared, r
        self.held = {r.args + k: p.what.get() for k, p in enumerate(r.places) if p.kind == "held"}
        self.grads_of = {
            r.args + k: input_of(r, p.what) for k, p in enumerate(r.places) if p.kind == "grad"
        }
        self.entry: Callable[..., Any] | None = None
        self.fast: Callable[..., Any] | None = None
        self.refreshes = self.since = 0
        # leaves found in a place: their tape ends, compared by identity
        self.pinned: dict[int, Any] = {}
        self.moved: set[int] = set()  # those that were seen to change, which Python checks
        if all(host in self.held for host in self.grads_of.values()) and self._simple():
            self.numbers = self._wanted()
            out: Any = r.out
            specs = [out, *[s.spec for s in r.stores], *[spec for _, spec in self.grads]]
            self.needs_captures = r.history is not None or any(map(_mentions, specs))
            self.single = type(out) is New and not r.stores and not self.grads and out.view is None
            self._connect(native_facts(r, caps), caps)

    # ---- what the recording needs
    def _simple(self) -> bool:
        """Whether every gradient that the call uses is plain and every one it leaves belongs to a
        held tensor; notes those that change."""
        r = self.recording
        if any(r.cap_nodes[k - r.args] is not type(None) for k in self.grads_of):
            return False
        if any(
            g is not None and (g.kind != "cap" or r.places[g.number] != ("grad", host))
            for host, g in r.grad_reads
        ):
            return False  # a gradient that is found elsewhere, too
        first = dict(r.grad_reads)
        self.grads = [
            (host, spec)
            for host, spec in r.grad_writes
            if not (spec is None and host in first and first[host] is None)
        ]
        return all(input_of(r, host) in self.held for host, _ in self.grads)

    def _wanted(self) -> list[int]:
        """Output numbers of the tensors that a call makes."""
        number = {n: k for k, n in enumerate(self.recording.numbers)}
        r, found = self.recording, dict[int, None]()

        def visit(s: Any) -> None:
            if type(s) is New:
                found[number[s.number]] = None
            elif s is not None and not isinstance(s, (Known, Plain)):
                for v in s.items:
                    visit(v)

        for s in (r.out, *[s.spec for s in r.stores], *[spec for _, spec in self.grads]):
            visit(s)
        return list(found)

    def _pin(self, caps: tuple[Any, ...]) -> None:
        """Which leaves in places may be compared by identity: those that never moved so far."""
        r, old = self.recording, self.pinned
        now = {r.args + k: t._node for k, t in enumerate(caps) if type(t._node) is Leaf}
        self.moved |= {k for k in old if now.get(k) is not old[k]}
        self.pinned = {k: n for k, n in now.items() if k not in self.held and k not in self.moved}

    def _connect(self, facts: NativeFacts | None, caps: tuple[Any, ...]) -> None:
        """Make the entry, and the guard of what it leaves to Python."""
        r, held = self.recording, self.held
        self._pin(caps)
        plain = {r.args + k for k, kind in enumerate(r.cap_nodes) if kind is type(None)}
        found = () if facts is None else enumerate(facts.places, r.args)
        bare = {input_of(r, host) for host, first in r.grad_reads if first is None}
        seen = (plain | set(self.pinned)) - bare  # Python looks at a gradient that must be None
        places = {k: at for k, at in found if at is not None and k in seen}
        loaded = [
            k for k, p in enumerate(r.places) if p.kind == "fact" and r.args + k not in places
        ]
        self.loaded, self.places = loaded, places
        rest = None if facts is None else facts.rest
        self.guard = (
            None
            if rest is not None and not rest and not loaded and bare <= set(held) and not r.own_args
            else FactGuard(r, held, rest, loaded)
        )
        kinds = [*r.arg_nodes, *r.cap_nodes]
        nodes = {k: t._node for k, t in held.items() if t._node is not None}
        nodes |= {k: n for k, n in self.pinned.items() if k in places}
        loose = frozenset(
            k
            for k, kind in enumerate(kinds)
            if kind is not type(None) and k not in held and k not in nodes
        )
        none = tuple(k for k in bare if k in held)
        self.entry = self.prepared.executable.entry(
            Replay(
                tuple(v.aval for v in r.graph.inputs),
                held,
                self.grads_of,
                places,
                nodes,
                loose,
                none,
                tuple(self.prepared.states),
                tuple(self.numbers),
                self.single,
                RUNTIME.tensor,
                () if facts is None else facts.guards,
                (r, facts, list(nodes.values())),
            )
        )
        self.fast = None
        self.of = getattr(self.entry, "of", None) or _Items(self.entry)
        if self.entry is not None and self.guard is None and not any(k < r.args for k in loose):
            self.fast = self._fast(self.entry)

    def _fast(self, entry: Callable[..., Any]) -> Callable[..., Any] | None:
        """A function of the arguments for results that need next to nothing beside the entry."""
        r = self.recording
        out: Any = r.out
        if r.stores or self.grads or r.history is not None:
            return None
        if self.single:
            return entry if out.node == "plain" else _marked(entry) if out.node == "tape" else None
        if type(out) is Plain:
            return _constant(entry, out.value)
        if (
            type(out) is Box
            and out.type is tuple
            and all(type(v) is New and v.view is None for v in out.items)
        ):
            same_order = [v.number for v in out.items] == [r.numbers[k] for k in self.numbers]
            if same_order and all(v.node == "plain" for v in out.items):
                return entry
        return None

    def refresh(self, caps: tuple[Any, ...], replays: int) -> None:
        """Facts hold, their native forms do not (a dict grew, a module changed): make them anew."""
        if self.entry is not None:
            self.refreshes = 0 if replays - self.since >= LASTING else self.refreshes + 1
            self.since = replays
            facts = native_facts(self.recording, caps) if self.refreshes < MAX_REFRESH else None
            self._connect(facts, caps)

    # ---- calls
    def serve(self, tensors: Sequence[Any]) -> Any:
        """One call, or MISS with nothing changed."""
        entry = self.entry
        if entry is None or self.recording.dead:
            return MISS
        loaded: tuple[Any, ...] = ()
        if self.guard is not None:
            found = self.guard.function(list(tensors))
            if found is None:
                return MISS
            loaded = found
        if not self.single:
            return self._complete(entry, (*tensors, *loaded), tensors, loaded)
        got = entry(*tensors, *loaded)
        if got is NotImplemented:
            return MISS
        out: Any = self.recording.out
        if out.node == "leaf":
            got._node = Leaf(got)
        elif out.node == "tape":
            got._node = self._tape(tensors, loaded)(out.number)
        return got

    def _complete(
        self, entry: Any, inputs: tuple[Any, ...], tensors: Sequence[Any], loaded: tuple[Any, ...]
    ) -> Any:
        """Run the entry and do the Python part of its commit.  A signal's handler that raises
        meanwhile does so before the entry has run, or after all is done."""
        ready: list[Any] = []
        got = self.of[inputs]
        try:
            if got is NotImplemented:
                return MISS
            if type(got) is int:
                raise entry.failed(got)
            return self._finish(got, tensors, loaded, ready)
        except BaseException:
            if got is not NotImplemented and type(got) is not int:
                finish(self._finish, got, tensors, loaded, ready)
            raise

    def _tape(self, tensors: Sequence[Any], loaded: tuple[Any, ...]) -> Callable[[int], Any]:
        """Tape nodes of results, by value number."""
        history = self.recording.history
        if history is None:
            return spent
        return history.start(list(tensors), self._captures(loaded))

    def _finish(
        self, made: Any, tensors: Sequence[Any], loaded: tuple[Any, ...], ready: list[Any]
    ) -> Any:
        """Build the result around the tensors the entry made, and store what the call stores; may
        be repeated with the same `ready`, which keeps what was built."""
        r = self.recording
        if not ready:
            values = {r.numbers[i]: (t._v, t._a) for i, t in zip(self.numbers, made or ())}
            maker = Maker(
                values, list(tensors), self._captures(loaded), self._tape(tensors, loaded)
            )
            out = maker.build(r.out)
            stores = [(s, maker.build(s.spec)) for s in r.stores]
            grads = [(host, None if g is None else maker.build(g)) for host, g in self.grads]
            maker.link()
            ready += out, grads, stores
        out, grads, stores = ready
        for host, g in grads:
            self.held[input_of(r, host)]._node.grad = g
        for s, t in stores:
            s.put(r.holders[s.key].get(), s.key.key, t)
        return out

    def _captures(self, loaded: tuple[Any, ...]) -> tuple[Any, ...]:
        """Handles of all captures, in order, where the result needs them."""
        r: Recording = self.recording
        if not self.needs_captures:
            return ()
        rest = dict(zip(self.loaded, loaded))
        out: list[Any] = []
        for k, p in enumerate(r.places):
            if p.kind == "held":
                out.append(self.held[r.args + k])
            elif p.kind == "grad":
                out.append(self.held[input_of(r, p.what)]._node.grad)
            else:
                out.append(rest[k] if k in rest else r.fetch(p.what))
        return tuple(out)
