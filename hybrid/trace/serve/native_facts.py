"""Facts as (address, 8-byte word) pairs that native code compares without the interpreter.

Invariant: while every pair holds, in order, the facts it stands for hold; a pair that follows from
a pointer comes after the pair that guards the pointer, so a checker that stops at the first
difference never follows a stale one. Where things are in objects says the backend's layout;
`available()` is False where it has none, and nothing is native then.
"""

from __future__ import annotations

import ctypes
import types
from collections.abc import Sequence
from typing import Any, NamedTuple

from ...backends.api import layout
from ...backends.layout import ObjectLayout, Pairs
from ...backends.layout import Unreadable as _Unknown
from ...ir.mode import EPOCH
from ..heap.allowlist import MISSING, instance_dict, is_a, lookup, plain
from ..heap.facts import Key
from ..heap.patches import Namespaces
from ..record.expected import Obj, Ref
from ..record.inputs import AtFact
from ..record.recording import Recording

__all__ = ["NativeFacts", "native_facts", "available"]


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
    known = layout()
    if known is None:
        raise _Unknown
    return known


# ---- dicts
def _one(a: Any, b: Any) -> bool:
    """Whether two keys are one, without running a user's comparison."""
    return a is b or type(a) is type(b) and plain(a) and a == b


_ORDERS: dict[int, tuple[int, dict[int, int]]] = {}  # id of a dict -> its size, place by id of key


def _guess(d: dict[Any, Any], key: Any) -> int:
    """The place of a key in the dict's order, or what it probably is."""
    known = _ORDERS.get(id(d))
    if known is None or known[0] != len(d):
        known = _ORDERS[id(d)] = len(d), {id(k): i for i, k in enumerate(d)}
    place = known[1].get(id(key))
    if place is not None:
        return place
    return next((i for i, k in enumerate(d) if _one(k, key)), 0)


def _value(d: dict[Any, Any], key: Any) -> tuple[Pairs, int]:
    """Pairs, and the address of the pointer to d[key]."""
    return _layout().dict_value(d, key, _guess(d, key), _one)


def _absent(d: dict[Any, Any], key: Any) -> Pairs:
    """Pairs that hold only while the key is not in the dict."""
    return _layout().dict_absent(d, key, _guess(d, key), _one)


def _class_size(t: type, size: int) -> Pairs:
    """Pairs that hold only while a class has that many names of its own."""
    return _layout().dict_size(_layout().class_dict(t), size)


def _instance_dict(o: Any) -> tuple[Pairs, dict[Any, Any]]:
    d: Any = instance_dict(o)
    if type(d) is not dict:
        raise _Unknown
    at, t = _layout().instance_dict(o, d), type(o)
    return [(_layout().kind(o), id(t)), *_layout().order(t), (at, id(d))], d


# ---- kinds of facts
FUNCTION = ("__code__", "__defaults__", "__kwdefaults__")  # pointers of a function, no descriptors


def _on_class(o: Any, name: str) -> tuple[Pairs, int]:
    """A class attribute read through an instance that does not shadow it."""
    before: Pairs = []  # classes that would come first if they got the name
    for c in type(o).__mro__:
        if name in c.__dict__:
            own, d = _instance_dict(o)
            pairs, at = _value(_layout().class_dict(c), name)
            return own + _absent(d, name) + before + pairs, at
        before += _class_size(c, len(c.__dict__))
    raise _Unknown


def _of_class(t: type, name: str) -> tuple[Pairs, int]:
    """A name that the class or one of its bases defines, the first of them that does."""
    before = _layout().order(t)
    for c in t.__mro__:
        if name in c.__dict__:
            pairs, at = _value(_layout().class_dict(c), name)
            return before + pairs, at
        before += _class_size(c, len(c.__dict__))
    raise _Unknown


def _attr(o: Any, name: str) -> tuple[Pairs, int]:
    if is_a(o, types.FunctionType) and name in FUNCTION:
        return [], _layout().member(o, name)
    if is_a(o, (type, types.ModuleType)) or not isinstance(name, str):
        raise _Unknown
    c = lookup(type(o), name)
    if c is not MISSING and hasattr(type(c), "__set__"):
        raise _Unknown  # a slot or getset: not in the dict
    own, d = _instance_dict(o)
    if name in d:
        pairs, at = _value(d, name)
        return own + pairs, at
    if c is MISSING or hasattr(type(c), "__get__"):
        raise _Unknown
    return _on_class(o, name)


def _slot(kind: str, h: Any, key: Any) -> tuple[Pairs, int]:
    """Pairs, and the address of the pointer to what the place holds."""
    if kind == "cell":
        return [], _layout().cell(h)
    if kind == "item" and type(h) is list:
        return _layout().list_item(h, key)
    if kind == "item" and is_a(h, tuple):
        return [], _layout().tuple_item(h, key)
    if kind == "item" and is_a(h, dict):
        return _value(h, key)
    if kind == "entry":
        return _value(h, list(h)[key])
    if kind == "member":
        return [], _layout().member(h, key)
    if kind == "attr":
        return _attr(h, key)
    if kind == "slot":
        own, d = _instance_dict(h)
        pairs, at = _value(d, key)
        return own + pairs, at
    if kind == "tattr":
        return _of_class(h, key)
    if kind == "meth":
        return _on_class(h, key)
    if kind == "type":
        return [], _layout().kind(h)
    if kind == "dict":
        own, _ = _instance_dict(h)
        return own[:2], own[2][0]
    raise _Unknown


def _own_names(n: Namespaces) -> Pairs:
    """Pairs that hold only while nobody replaces one of hybrid's own functions."""
    pairs: Pairs = []
    for d in n.dicts.values():
        tag = _layout().dict_version(d)
        if tag is not None:
            pairs.append((tag, _word(tag)))
            continue
        for name in [k for i, k in n.names if i == id(d)]:
            if name in d:
                found, at = _value(d, name)
                pairs += [*found, (at, _word(at))]
            else:
                pairs += _absent(d, name)
    for t in n.lowest():
        tag = _layout().class_version(t)
        if tag is None:
            raise _Unknown
        pairs.append((tag, _word(tag)))
    return pairs


def _fact(key: Key, h: Any, want: Any, keep: list[Any]) -> Pairs:
    """The pairs of one fact that holds now."""
    if key.kind == "patched":
        return _own_names(h)
    if key.kind == "version":
        if want[1] is None:
            return []
        pairs, at = _attr(h, "training") if "training" in vars(h) else _on_class(h, "training")
        return [*pairs, (at, id(want[1]))]  # the version itself is covered by the epoch
    if key.kind == "len" and type(h) is list:
        return _layout().length(h)
    if key.kind == "tlen":
        return _class_size(h, want)
    if key.kind == "mro":
        keep.append(h.__mro__)
        return _layout().order(h)
    if key.kind == "keys" and type(h) is dict:
        return _layout().dict_keys(h)
    if want is MISSING:
        if key.kind == "slot":
            own, d = _instance_dict(h)
            return own + _absent(d, key.key)
        if key.kind != "item" or not is_a(h, dict):
            raise _Unknown
        return _absent(h, key.key)
    pairs, at = _slot(key.kind, h, key.key)
    now = _word(at)
    if now and not isinstance(want, (Obj, Ref)):
        keep.append(ctypes.cast(now, ctypes.py_object).value)  # a scalar's address stays its own
    return [*pairs, (at, now)]


def native_facts(recording: Recording, inputs: Sequence[Any]) -> NativeFacts | None:
    """The native form of an accepted recording's facts, which its Python guard has just found to
    hold with these inputs; None where CPython's layout is not known.  Pairs may stop holding
    although the facts do (an equal number was stored, a dict grew): then check with the Python
    guard and make new pairs."""
    if not available():
        return None
    _ORDERS.clear()
    holders = recording.facts.holders
    guards: PairSet = {(EPOCH.ctypes.data, int(EPOCH[0])): None}
    rest: list[Key] = []
    keep: list[Any] = [EPOCH]
    pointers, loaded = _pointers(recording, inputs, guards, rest)
    for key, want in recording.facts.at_start().items():
        if key in loaded:
            continue
        try:
            pairs = _expected(key, holders[key].get(), want, recording.arguments, keep)
        except _Unknown:
            rest.append(key)
            continue
        guards.update(dict.fromkeys(pairs))
        # two places of one tensor: both must stay
        if isinstance(want, Ref) and want.number in pointers:
            guards[pointers[want.number], id(inputs[want.number])] = None
    _ORDERS.clear()
    for holder in holders.values():
        held = holder.get()
        kind = held if is_a(held, type) else type(held)
        keep += [kind, kind.__mro__, holder.strong if holder.ref is None else instance_dict(held)]
    return NativeFacts(tuple(guards), pointers, tuple(dict.fromkeys(rest)), tuple(keep))


def _expected(key: Key, holder: Any, want: Any, arguments: int, keep: list[Any]) -> Pairs:
    """The pairs of one fact; a tensor that is passed, or that the call stored, has none."""
    if isinstance(want, Ref) and (want.kind == "stored" or want.number < arguments):
        raise _Unknown
    return _fact(key, holder, want, keep)


def _pointers(
    recording: Recording,
    inputs: Sequence[Any],
    guards: dict[tuple[int, int], None],
    rest: list[Key],
) -> tuple[dict[int, int], set[Key]]:
    """The pointers to captures and the facts that find them; adds what keeps them in place."""
    pointers: dict[int, int] = {}
    loaded: set[Key] = set()
    for number, (found, tensor) in enumerate(zip(recording.inputs, inputs)):
        if not isinstance(found.location, AtFact):
            continue
        key = found.location.key
        try:
            pairs, at = _slot(key.kind, recording.facts.holders[key].get(), key.key)
        except _Unknown:
            pairs, at = [], 0
        if at and _word(at) == id(tensor):
            guards.update(dict.fromkeys(pairs))
            pointers[number] = at
            loaded.add(key)
        else:
            rest.append(key)
    return pointers, loaded
