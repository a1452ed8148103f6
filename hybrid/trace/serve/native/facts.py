"""Facts as (address, 8-byte word) pairs that native code compares without the interpreter.

Invariant: while every pair holds, in order, the facts it stands for hold; a pair that follows from
a pointer comes after the pair that guards the pointer, so a checker that stops at the first
difference never follows a stale one. Where things are in objects says the backend's layout;
`available()` is False where it has none, and nothing is native then.
"""

from __future__ import annotations

import ctypes
import types
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from ....backends.api import layout
from ....backends.layout import ObjectLayout, Pairs
from ....backends.layout import Unreadable as _Unknown
from ....ir.mode import EPOCH
from ...heap.allowlist import MISSING, instance_dict, is_a, lookup, plain
from ...heap.facts import FactKind, Key
from ...heap.patches import Namespaces
from ...record.expected import Obj, Ref
from ...record.inputs import AtFact
from ...record.recording import Recording

__all__ = ["NativeFacts", "native_facts", "shared_captures", "still", "available"]


# in order: a pair comes after the one that guards its pointer
PairSet = dict[tuple[int, int], None]


class NativeFacts(NamedTuple):
    """`guards`: the pairs; `pointers`: input -> address of the pointer that leads to it, if any;
    `rest`: facts that only the Python guard can check; `keep`: objects that must not move."""

    guards: tuple[tuple[int, int], ...]
    pointers: dict[int, int]
    rest: tuple[Key, ...]
    keep: tuple[Any, ...]


def _word(address: int) -> int:
    return ctypes.c_uint64.from_address(address).value


def available() -> bool:
    """Whether facts have native forms on this interpreter."""
    return layout() is not None


def _layout() -> ObjectLayout:
    found = layout()
    if found is None:
        raise _Unknown
    return found


# ---- dicts
def _one(first: Any, second: Any) -> bool:
    """Whether two keys are one, without running a user's comparison."""
    return first is second or (type(first) is type(second) and plain(first) and first == second)


_ORDERS: dict[int, tuple[int, dict[int, int]]] = {}  # id of a dict -> its size, place by id of key


def _guess(mapping: dict[Any, Any], key: Any) -> int:
    """The place of a key in the dict's order, or what it probably is."""
    order = _ORDERS.get(id(mapping))
    if order is None or order[0] != len(mapping):
        order = _ORDERS[id(mapping)] = len(mapping), {id(k): i for i, k in enumerate(mapping)}
    position = order[1].get(id(key))
    if position is not None:
        return position
    return next((i for i, k in enumerate(mapping) if _one(k, key)), 0)


def _value(mapping: dict[Any, Any], key: Any) -> tuple[Pairs, int]:
    """Pairs, and the address of the pointer to d[key]."""
    return _layout().dict_value(mapping, key, _guess(mapping, key), _one)


def _absent(mapping: dict[Any, Any], key: Any) -> Pairs:
    """Pairs that hold only while the key is not in the dict."""
    return _layout().dict_absent(mapping, key, _guess(mapping, key), _one)


def _class_size(kind: type, count: int) -> Pairs:
    """Pairs that hold only while a class has that many names of its own."""
    return _layout().dict_size(_layout().class_dict(kind), count)


def _instance_dict(instance: Any) -> tuple[Pairs, dict[Any, Any]]:
    mapping: Any = instance_dict(instance)
    if type(mapping) is not dict:
        raise _Unknown
    address, kind = _layout().instance_dict(instance, mapping), type(instance)
    return [
        (_layout().kind(instance), id(kind)),
        *_layout().order(kind),
        (address, id(mapping)),
    ], mapping


# ---- kinds of facts
FUNCTION = ("__code__", "__defaults__", "__kwdefaults__")  # pointers of a function, no descriptors


def _on_class(instance: Any, name: str) -> tuple[Pairs, int]:
    """A class attribute read through an instance that does not shadow it."""
    before: Pairs = []  # classes that would come first if they got the name
    for base in type(instance).__mro__:
        if name in base.__dict__:
            own_pairs, mapping = _instance_dict(instance)
            pairs, address = _value(_layout().class_dict(base), name)
            return own_pairs + _absent(mapping, name) + before + pairs, address
        before += _class_size(base, len(base.__dict__))
    raise _Unknown


def _of_class(kind: type, name: str) -> tuple[Pairs, int]:
    """A name that the class or one of its bases defines, the first of them that does."""
    before = _layout().order(kind)
    for base in kind.__mro__:
        if name in base.__dict__:
            pairs, address = _value(_layout().class_dict(base), name)
            return before + pairs, address
        before += _class_size(base, len(base.__dict__))
    raise _Unknown


def _attr(instance: Any, name: str) -> tuple[Pairs, int]:
    if is_a(instance, types.FunctionType) and name in FUNCTION:
        return [], _layout().member(instance, name)
    if is_a(instance, (type, types.ModuleType)) or not isinstance(name, str):
        raise _Unknown
    descriptor = lookup(type(instance), name)
    if descriptor is not MISSING and hasattr(type(descriptor), "__set__"):
        raise _Unknown  # a slot or getset: not in the dict
    own_pairs, mapping = _instance_dict(instance)
    if name in mapping:
        pairs, address = _value(mapping, name)
        return own_pairs + pairs, address
    if descriptor is MISSING or hasattr(type(descriptor), "__get__"):
        raise _Unknown
    return _on_class(instance, name)


def _slot(kind: FactKind, holder: Any, key: Any) -> tuple[Pairs, int]:
    """Pairs, and the address of the pointer to what the place holds."""
    if kind == "cell":
        return [], _layout().cell(holder)
    if kind == "item" and type(holder) is list:
        return _layout().list_item(holder, key)
    if kind == "item" and is_a(holder, tuple):
        return [], _layout().tuple_item(holder, key)
    if kind == "item" and is_a(holder, dict):
        return _value(holder, key)
    if kind == "kept":
        pairs, address = _value(holder, key)
        return [*pairs, (address, _word(address))], _layout().kept_at(holder[key])
    if kind == "entry":
        return _value(holder, list(holder)[key])
    if kind == "member":
        return [], _layout().member(holder, key)
    if kind == "attr":
        return _attr(holder, key)
    if kind == "slot":
        own_pairs, mapping = _instance_dict(holder)
        pairs, address = _value(mapping, key)
        return own_pairs + pairs, address
    if kind == "tattr":
        return _of_class(holder, key)
    if kind == "meth":
        return _on_class(holder, key)
    if kind == "type":
        return [], _layout().kind(holder)
    if kind == "dict":
        own_pairs, _ = _instance_dict(holder)
        return own_pairs[:2], own_pairs[2][0]
    raise _Unknown


def _own_names(namespaces: Namespaces) -> Pairs:
    """Pairs that hold only while nobody replaces one of hybrid's own functions."""
    pairs: Pairs = []
    for mapping in namespaces.dicts.values():
        version_address = _layout().dict_version(mapping)
        if version_address is not None:
            pairs.append((version_address, _word(version_address)))
            continue
        for name in [k for i, k in namespaces.names if i == id(mapping)]:
            if name in mapping:
                guarding, address = _value(mapping, name)
                pairs += [*guarding, (address, _word(address))]
            else:
                pairs += _absent(mapping, name)
    for kind in namespaces.lowest():
        version_address = _layout().class_version(kind)
        if version_address is None:
            raise _Unknown
        pairs.append((version_address, _word(version_address)))
    return pairs


def _fact(key: Key, holder: Any, expected: Any, owners: list[Any]) -> Pairs:
    """The pairs of one fact that holds now."""
    if key.kind == "patched":
        return _own_names(holder)
    if key.kind == "version":
        if expected[1] is None:
            return []
        pairs, address = (
            _attr(holder, "training")
            if "training" in vars(holder)
            else _on_class(holder, "training")
        )
        return [*pairs, (address, id(expected[1]))]  # the version itself is covered by the epoch
    if key.kind == "len" and type(holder) is list:
        return _layout().length(holder)
    if key.kind == "some" and type(holder) is list:
        return _layout().length(holder)  # made anew while the fact holds and this does not
    if key.kind == "some" and type(holder) is dict:
        return _layout().dict_size(holder, len(holder))
    if key.kind == "tlen":
        return _class_size(holder, expected)
    if key.kind == "mro":
        owners.append(holder.__mro__)
        return _layout().order(holder)
    if key.kind == "keys" and type(holder) is dict:
        return _layout().dict_keys(holder)
    if expected is MISSING:
        if key.kind == "slot":
            own_pairs, mapping = _instance_dict(holder)
            return own_pairs + _absent(mapping, key.key)
        if key.kind != "item" or not is_a(holder, dict):
            raise _Unknown
        return _absent(holder, key.key)
    pairs, address = _slot(key.kind, holder, key.key)
    word = _word(address)
    if word and not isinstance(expected, (Obj, Ref)):
        owners.append(ctypes.cast(word, ctypes.py_object).value)  # a scalar's address stays its own
    return [*pairs, (address, word)]


def shared_captures(recording: Recording) -> frozenset[int]:
    """Captures that are found in more places than one, each of which a pair pins to one tensor."""
    wanted = recording.facts.at_start().items()
    located = [found.location for found in recording.inputs]
    own = {found.key for found in located if isinstance(found, AtFact)}
    others = [want for key, want in wanted if isinstance(want, Ref) and key not in own]
    return frozenset([other.number for other in others if other.kind != "stored"])


def native_facts(
    recording: Recording, inputs: Sequence[Any], moved: Collection[int] = ()
) -> NativeFacts | None:
    """The native form of an accepted recording's facts, which its Python guard has just found to
    hold with these inputs; None where CPython's layout is not known.  Pairs may stop holding
    although the facts do (an equal number was stored, a dict grew): then check with the Python
    guard and make new pairs.  `moved`: captures in more places than one that Python has to find,
    as they are other tensors all the time."""
    if not available():
        return None
    _ORDERS.clear()
    holders = recording.facts.holders
    guards: PairSet = {(EPOCH.ctypes.data, int(EPOCH[0])): None}
    rest: list[Key] = []
    owners: list[Any] = [EPOCH]
    pointers, loaded = _pointers(recording, inputs, guards, rest, moved)
    elsewhere = {*range(recording.arguments), *moved}
    for key, expected in recording.facts.at_start().items():
        if key in loaded:
            continue
        try:
            pairs = _expected(key, holders[key].get(), expected, elsewhere, owners)
        except _Unknown:
            rest.append(key)
            continue
        guards.update(dict.fromkeys(pairs))
        # two places of one tensor: both must stay
        if isinstance(expected, Ref) and expected.number in pointers:
            guards[pointers[expected.number], id(inputs[expected.number])] = None
    _ORDERS.clear()
    for holder in holders.values():
        target = holder.get()
        kind = target if is_a(target, type) else type(target)
        owners += [
            kind,
            kind.__mro__,
            holder.strong if holder.ref is None else instance_dict(target),
        ]
    return NativeFacts(tuple(guards), pointers, tuple(dict.fromkeys(rest)), tuple(owners))


def still(facts: NativeFacts, inputs: Sequence[Any]) -> bool:
    """Whether the native form of equal facts, made for a recording of other sizes, holds now and
    finds these inputs."""
    if not all(_word(address) == word for address, word in facts.guards):
        return False
    return all(_word(at) == id(inputs[number]) for number, at in facts.pointers.items())


def _expected(
    key: Key, holder: Any, expected: Any, elsewhere: set[int], owners: list[Any]
) -> Pairs:
    """The pairs of one fact; a tensor that is passed, or found by Python, or that the call stored,
    has none."""
    if isinstance(expected, Ref) and (expected.kind == "stored" or expected.number in elsewhere):
        raise _Unknown
    return _fact(key, holder, expected, owners)


def _pointers(
    recording: Recording,
    inputs: Sequence[Any],
    guards: PairSet,
    rest: list[Key],
    moved: Collection[int],
) -> tuple[dict[int, int], set[Key]]:
    """The pointers to captures and the facts that find them; adds what keeps them in place."""
    pointers: dict[int, int] = {}
    loaded: set[Key] = set()
    for number, (found, tensor) in enumerate(zip(recording.inputs, inputs)):
        if not isinstance(found.location, AtFact):
            continue
        key = found.location.key
        try:
            pairs, address = _slot(key.kind, recording.facts.holders[key].get(), key.key)
        except _Unknown:
            pairs, address = [], 0
        if number not in moved and address and _word(address) == id(tensor):
            guards.update(dict.fromkeys(pairs))
            pointers[number] = address
            loaded.add(key)
        else:
            rest.append(key)
    return pointers, loaded
