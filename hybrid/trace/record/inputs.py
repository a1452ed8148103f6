"""The inputs of a recorded call: its distinct tensor arguments, then its captures.

Invariant: one numbering.  The number that a tensor gets here is the number of the graph's input, of
the plan's input, and of the input of the native entry; nothing on the way numbers inputs again.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any, NamedTuple

from ...core.aval import Aval
from ...ir.door.bind import constant_of
from ...ir.tensor import Handle
from ..heap.allowlist import MISSING, is_a, plain
from ..heap.facts import Holder, Key, describe, fetch
from ..watch.analysis import Analysis
from .expected import ELSEWHERE, Empty, Facts, Ref, expectation
from .outputs import Unfit
from .recorder import Recorder

__all__ = [
    "Dead",
    "ByIdentity",
    "AtFact",
    "AsGradient",
    "AsNumber",
    "Location",
    "Input",
    "Roles",
    "FoundPlaces",
    "Gradients",
    "Inputs",
    "find_captures",
    "read_facts",
    "read_gradients",
    "locate",
    "facts_of",
    "kept",
]

Dead = Callable[[Any], None]  # called when an object that a fact names dies


class ByIdentity(NamedTuple):
    """The tensor that a module or another object of hybrid's holds: in every call the same, for a
    version of the object counts what is put there.  Held weakly: a model may be dropped."""

    holder: Holder


class AtFact(NamedTuple):
    """Whatever tensor a Python place holds."""

    key: Key


class AsGradient(NamedTuple):
    """The gradient of another input."""

    host: int


class AsNumber(NamedTuple):
    """An operand that a call computes from Python numbers, by its position among the operands of
    the actions."""

    position: int


Location = ByIdentity | AtFact | AsGradient | AsNumber


class Input(NamedTuple):
    """One input: its record, the type of its tape node, and where a call finds it (None: it is
    passed, or, in a recording that is `lost`, nowhere)."""

    aval: Aval
    node: type
    location: Location | None


class Roles:
    """Which input a tensor is, by its id, while captures are still being found."""

    __slots__ = ("recorder", "numbers")

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        tensors = [*recorder.args, *recorder.captures]
        self.numbers = {id(tensor): number for number, tensor in enumerate(tensors)}

    def get(self, tensor: Any) -> int | None:
        """The number of a tensor that is an input so far."""
        return self.numbers.get(id(tensor))

    def add(self, tensor: Handle) -> int:
        """The number of a tensor that existed before the call, made a capture if need be."""
        number = self.numbers.get(id(tensor))
        if number is None:
            if id(tensor) not in self.recorder.handles:
                self.recorder.ref(tensor)
            captures = self.recorder.captures
            index = next(i for i in reversed(range(len(captures))) if captures[i] is tensor)
            number = self.numbers[id(tensor)] = len(self.recorder.args) + index
        return number

    def is_input(self, tensor: Handle) -> bool:
        """Whether a tensor was there when the call began."""
        return id(tensor) in self.recorder.start


class FoundPlaces(NamedTuple):
    """What the places that a call read or stored to hold after it.  `at`: the first place of each
    input; `stored`: the places that hold a tensor which the call put there."""

    holders: dict[Key, Holder]
    expected: dict[Key, Any]
    at: dict[int, Key]
    stored: list[tuple[Key, Handle]]


class Gradients(NamedTuple):
    """What a call did with `.grad` of tensors older than itself: `reads` (input, the input that was
    its gradient or None), before any write; `final` (input, the tensor or None left there);
    `hosts`: which input has that input as gradient."""

    reads: list[tuple[int, int | None]]
    final: list[tuple[int, Any]]
    hosts: dict[int, int]


class Inputs(NamedTuple):
    """All inputs, whether a capture's location is unknown (`lost`), and the facts that say where
    tensors of hybrid's own objects are."""

    inputs: tuple[Input, ...]
    lost: bool
    inside: list[tuple[Key, Any, int]]


def find_captures(roles: Roles, analysis: Analysis) -> None:
    """Captures are tensors that ops use, and those that were only looked at: their flags, shape and
    identity may have decided what Python did."""
    recorder, young = roles.recorder, analysis.watch.young
    for tensor in {**analysis.loaded, **recorder.looked, **analysis.watch.looked}.values():
        earlier = id(tensor) not in recorder.handles and id(tensor) not in young
        if earlier and constant_of(tensor) is None:
            roles.add(tensor)


def read_facts(roles: Roles, analysis: Analysis, before: dict[Key, Any], dead: Dead) -> FoundPlaces:
    """The facts of a call, from what its places hold after it and held `before` it."""
    found, numbers = FoundPlaces({}, {}, {}, []), roles.recorder.handles
    pins = analysis.followed.pins if analysis.followed is not None else ()
    refs: dict[int, Holder] = {}  # one for each object, whatever is known of it
    for key, holder in analysis.found.items():
        if key.kind == "patched":
            holder.skip = {(k.holder, k.key) for k in analysis.found if k.kind == "tattr"}
        # of what the call changes itself its start alone is a fact
        value = before[key] if key in pins else fetch(key.kind, holder, key.key)
        ref = found.holders[key] = refs.get(id(holder)) or Holder(holder, dead)
        refs[id(holder)] = ref
        if not is_a(value, Handle):
            if kept(value, analysis.signed) and not _defaults(key, holder, roles, analysis):
                analysis.watch.falls.add("identity")
                raise Unfit(f"has an argument that is also {describe(key, holder)}")
            found.expected[key] = expectation(value, dead)
            continue
        earlier = before.get(key)
        if roles.is_input(value) or id(value) not in numbers:
            number = roles.add(value)
            if not is_a(earlier, Handle) or earlier is value:
                found.expected[key] = Ref("input", number)
                found.at.setdefault(number, key)
                continue
            found.expected[key] = ELSEWHERE  # an argument or another capture was put here
        else:
            found.expected[key] = Ref("stored", numbers[id(value)])
        found.stored.append((key, value))
        # what the place held before may have been looked at
        if isinstance(earlier, Handle) and key in analysis.read and constant_of(earlier) is None:
            roles.add(earlier)
    return found


def _defaults(key: Key, holder: Any, roles: Roles, analysis: Analysis) -> bool:
    """Whether a place is that of the defaults of the recorded function, which come as arguments."""
    root = roles.recorder.root
    if root is None or len(analysis.watch.frames.get(root, ())) != 1:
        return False
    if type(holder) is dict:
        held = [f for k, f in analysis.found.items() if k.key == "__kwdefaults__"]
        return any(f.__code__ is root and f.__kwdefaults__ is holder for f in held)
    named = key.key in ("__defaults__", "__kwdefaults__")
    return named and type(holder) is FunctionType and holder.__code__ is root


def kept(value: Any, signed: dict[int, Any]) -> bool:
    """Whether a value is one of the arguments, whose signature does not say which object it is.

    A tuple of plain values is no more than these."""
    if type(value) is tuple:
        return any(kept(item, signed) for item in value)
    return id(value) in signed and not plain(value)


def read_gradients(roles: Roles, analysis: Analysis) -> Gradients:
    """Gradients read before written, and final ones, of tensors older than the call."""
    recorder, found = roles.recorder, Gradients([], [], {})
    for record in list(recorder.grads.values()):
        known = roles.get(record.handle) is not None or id(record.handle) in analysis.held
        if not known and id(record.handle) in recorder.handles:
            continue  # a tensor made by the call
        if not known:
            raise Unfit("sets the gradient of a tensor that the call does not use otherwise")
        host = roles.add(record.handle)
        if record.read:
            earlier = None if record.first is None else roles.add(record.first)
            found.reads.append((host, earlier))
            if earlier is not None:
                found.hosts.setdefault(earlier, host)
        if record.written:
            found.final.append((host, record.now))
    return found


def locate(
    roles: Roles,
    analysis: Analysis,
    before: dict[Key, Any],
    found: FoundPlaces,
    hosts: dict[int, int],
    dead: Dead,
) -> Inputs:
    """The location of every input, once all captures are known."""
    recorder = roles.recorder
    earlier: dict[int, Key] = {}  # id of a tensor -> where it was before the call
    for key, value in before.items():
        if key in found.holders:
            earlier.setdefault(id(value), key)
    inputs: list[Input] = []
    inside: list[tuple[Key, Any, int]] = []
    of_arguments: list[tuple[Key, Any, int]] = []
    lost, arguments = False, len(recorder.args)
    for number, tensor in enumerate([*recorder.args, *recorder.captures]):
        location: Location | None = None
        if id(tensor) in analysis.held:
            location = ByIdentity(Holder(tensor, dead))
            places = analysis.places_of.get(id(tensor), {})
            kept = of_arguments if number < arguments else inside
            kept += [(key, holder, number) for key, holder in places.items()]
        elif id(tensor) in recorder.varying:
            location = AsNumber(recorder.varying[id(tensor)])
        elif number >= arguments:
            location = _location(number, tensor, found.at, hosts, earlier)
            lost = lost or location is None
        _, aval, node = recorder.start[id(tensor)]
        inputs.append(Input(aval, type(node), location))
    return Inputs(tuple(inputs), lost, inside + of_arguments)


def _location(
    number: int,
    tensor: Handle,
    places: dict[int, Key],
    hosts: dict[int, int],
    earlier: dict[int, Key],
) -> Location | None:
    """Where a capture is that no object of hybrid's holds."""
    if number in places:
        return AtFact(places[number])
    if number in hosts:
        return AsGradient(hosts[number])
    key = earlier.get(id(tensor))
    return None if key is None else AtFact(key)


def facts_of(
    roles: Roles,
    analysis: Analysis,
    before: dict[Key, Any],
    found: FoundPlaces,
    inside: list[tuple[Key, Any, int]],
    dead: Dead,
) -> Facts:
    """The facts as a value: what was found, what the places that the call stores to held before it
    (their new content cannot tell), and that a tensor of hybrid's own object is still where it was
    found, however stored."""
    holders, expected = dict(found.holders), dict(found.expected)
    refs = {ref.id: ref for ref in holders.values()}
    for key, holder, number in inside:
        if key not in holders:
            ref = holders[key] = refs.get(id(holder)) or Holder(holder, dead)
            refs[id(holder)] = ref
        expected.setdefault(key, Ref("input", number))
    starts: dict[Key, Ref | Empty | None] = {}
    for key, _ in found.stored:
        held = before.get(key, MISSING)
        role = roles.get(held)
        known = None if role is None else Ref("input", role)
        starts[key] = Empty() if held is None else known
    return Facts(holders, expected, analysis.where, starts)
