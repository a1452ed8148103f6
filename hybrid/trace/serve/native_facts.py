"""Facts as (address, 8-byte word) pairs that native code compares without the interpreter.

Invariant: while every pair holds, in order, the facts it stands for hold; a pair that follows from
a pointer comes after the pair that guards the pointer, so a checker that stops at the first
difference never follows a stale one. The offsets are CPython's; `available()` is False where a
self-test does not find them, and nothing is native then.
"""

from __future__ import annotations

import ctypes
import functools
import gc
import sys
import sysconfig
import types
from functools import lru_cache
from itertools import chain
from typing import Any, NamedTuple

from ...ir.mode import EPOCH, Versioned, bump
from ..heap.facts import Key, fetch
from ..heap.patches import Namespaces
from ..heap.policy import MISSING, instance_dict, is_a, lookup, plain
from ..heap.tags import class_tag, dict_tag
from ..record.guards import Obj, Ref
from ..record.recording import Recording

__all__ = ["NativeFacts", "native_facts", "available"]

TYPE, CELL, SIZE, LIST_ITEMS, TUPLE_ITEMS = 8, 16, 16, 24, 24
DICT_USED, DICT_KEYS, DICT_VALUES = 16, 32, 40
KEYS_INDEX_BITS, KEYS_KIND, KEYS_COUNT, KEYS_TABLE = 9, 10, 24, 32
GENERAL_KIND = 0
VALUES = 8 if sys.version_info >= (3, 13) else 0
MANAGED_DICT = -24
FUNCTION = {"__code__": 48, "__defaults__": 56, "__kwdefaults__": 64}
MEMBER: dict[Any, int] = {  # fields of C objects, by their descriptors
    functools.partial.__dict__["func"]: 16,
    functools.partial.__dict__["args"]: 24,
    functools.partial.__dict__["keywords"]: 32,
    property.__dict__["fget"]: 16,
    property.__dict__["fset"]: 24,
    property.__dict__["fdel"]: 32,
    staticmethod.__dict__["__func__"]: 16,
    classmethod.__dict__["__func__"]: 16,
}
Pairs = list[tuple[int, int]]


class NativeFacts(NamedTuple):
    """`guards`: the pairs; `places`: for each capture the address of the pointer that holds it, or
    None when it is known by identity; `rest`: facts that only the Python guard can check; `keep`:
    objects whose addresses must stay theirs."""

    guards: tuple[tuple[int, int], ...]
    places: tuple[int | None, ...]
    rest: tuple[Key, ...]
    keep: tuple[Any, ...]


class _Unknown(Exception):
    """This fact has no native form."""


def _word(address: int) -> int:
    return ctypes.c_uint64.from_address(address).value


def _byte(address: int) -> int:
    return ctypes.c_uint8.from_address(address).value


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


def _entry(d: dict[Any, Any], key: Any) -> tuple[int, int, int] | None:
    """(index, address of the key word, address of the value word) of a key in the dict's table."""
    keys = _word(id(d) + DICT_KEYS)
    table = keys + KEYS_TABLE + (1 << _byte(keys + KEYS_INDEX_BITS))
    general = _byte(keys + KEYS_KIND) == GENERAL_KIND
    size = 24 if general else 16
    count = _word(keys + KEYS_COUNT)
    guess = _guess(d, key)
    # no entry moves before its place in the order
    for i in chain(range(guess, count), range(min(guess, count))):
        at = table + i * size + (8 if general else 0)
        pointer = _word(at)
        if pointer:
            k = ctypes.cast(pointer, ctypes.py_object).value
            if _one(k, key):
                return i, at, at + 8
    return None


def _table(d: dict[Any, Any]) -> Pairs:
    """Pairs that keep the dict's tables where they are."""
    out = [(id(d) + DICT_KEYS, _word(id(d) + DICT_KEYS))]
    return out + [(id(d) + DICT_VALUES, _word(id(d) + DICT_VALUES))]


def _value(d: dict[Any, Any], key: Any) -> tuple[Pairs, int]:
    """Pairs, and the address of the pointer to d[key]."""
    found = _entry(d, key)
    if found is None or type(d).__basicsize__ < DICT_VALUES + 8:
        raise _Unknown
    i, key_at, value_at = found
    pairs = _table(d)
    values = _word(id(d) + DICT_VALUES)
    return pairs + [(key_at, _word(key_at))], values + VALUES + 8 * i if values else value_at


def _absent(d: dict[Any, Any], key: Any) -> Pairs:
    """Pairs that hold only while the key is not in the dict."""
    found = _entry(d, key)
    pairs = _table(d)
    keys, values = _word(id(d) + DICT_KEYS), _word(id(d) + DICT_VALUES)
    if found is not None:
        i, key_at, value_at = found
        return pairs + [
            (key_at, _word(key_at)),
            (values + VALUES + 8 * i if values else value_at, 0),
        ]
    return pairs + [(keys + KEYS_COUNT, _word(keys + KEYS_COUNT))]  # grows with every new key


def _same_keys(d: dict[Any, Any]) -> Pairs:
    """Pairs that hold only while the keys and their order stay."""
    keys = _word(id(d) + DICT_KEYS)
    return _table(d) + [(keys + KEYS_COUNT, _word(keys + KEYS_COUNT)), (id(d) + DICT_USED, len(d))]


def _class_dict(t: type) -> dict[Any, Any]:
    """The dict behind a class, which Python shows through a proxy only."""
    return gc.get_referents(vars(t))[0]


@lru_cache(1)
def _mro_offset() -> int:
    """Where a class keeps its method resolution order."""
    found = [
        o
        for o in range(0, type.__basicsize__, 8)  # type: ignore[arg-type, call-overload]
        if all(_word(id(t) + o) == id(t.__mro__) for t in (_Probe, Versioned, int))
    ]
    if len(found) != 1:
        raise _Unknown
    return found[0]


def _instance_dict(o: Any) -> tuple[Pairs, dict[Any, Any]]:
    d: Any = instance_dict(o)
    if type(d) is not dict:
        raise _Unknown
    offset = type(o).__dictoffset__
    at = id(o) + (offset if offset > 0 else MANAGED_DICT)
    if _word(at) != id(d):
        raise _Unknown
    t = type(o)
    return [(id(o) + TYPE, id(t)), (id(t) + _mro_offset(), id(t.__mro__)), (at, id(d))], d


# ---- kinds of facts
def _on_class(o: Any, name: str) -> tuple[Pairs, int]:
    """A class attribute read through an instance that does not shadow it."""
    before: Pairs = []  # classes that would come first if they got the name
    for c in type(o).__mro__:
        if name in c.__dict__:
            own, d = _instance_dict(o)
            pairs, at = _value(_class_dict(c), name)
            return own + _absent(d, name) + before + pairs, at
        before.append((id(_class_dict(c)) + DICT_USED, len(c.__dict__)))
    raise _Unknown


def _order(t: type) -> Pairs:
    """Pairs that keep the bases of a class."""
    return [(id(t) + _mro_offset(), id(t.__mro__))]


def _of_class(t: type, name: str) -> tuple[Pairs, int]:
    """A name that the class or one of its bases defines, the first of them that does."""
    before = _order(t)
    for c in t.__mro__:
        if name in c.__dict__:
            pairs, at = _value(_class_dict(c), name)
            return before + pairs, at
        before.append((id(_class_dict(c)) + DICT_USED, len(c.__dict__)))
    raise _Unknown


def _attr(o: Any, name: str) -> tuple[Pairs, int]:
    if is_a(o, types.FunctionType) and name in FUNCTION:
        return [], id(o) + FUNCTION[name]
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
        return [], id(h) + CELL
    if kind == "item" and type(h) is list:
        items = _word(id(h) + LIST_ITEMS)
        return [(id(h) + SIZE, len(h)), (id(h) + LIST_ITEMS, items)], items + 8 * (
            key if key >= 0 else key + len(h)
        )
    if kind == "item" and is_a(h, tuple):
        return [], id(h) + TUPLE_ITEMS + 8 * (key if key >= 0 else key + len(h))
    if kind == "item" and is_a(h, dict):
        return _value(h, key)
    if kind == "entry":
        return _value(h, list(h)[key])
    if kind == "member" and key in MEMBER:
        return [], id(h) + MEMBER[key]
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
        return [], id(h) + TYPE
    if kind == "dict":
        own, _ = _instance_dict(h)
        return own[:2], own[2][0]
    raise _Unknown


def _own_names(n: Namespaces) -> Pairs:
    """Pairs that hold only while nobody replaces one of hybrid's own functions."""
    pairs: Pairs = []
    for d in n.dicts.values():
        tag = dict_tag(d)
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
        tag = class_tag(t)
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
        return [(id(h) + SIZE, len(h))]
    if key.kind == "tlen":
        return [(id(_class_dict(h)) + DICT_USED, want)]
    if key.kind == "mro":
        keep.append(h.__mro__)
        return _order(h)
    if key.kind == "keys" and type(h) is dict:
        return _same_keys(h)
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


def native_facts(recording: Recording, caps: tuple[Any, ...]) -> NativeFacts | None:
    """The native form of an accepted recording's facts, which its Python guard has just found to
    hold with these captures; None where CPython's layout is not known.  Pairs may stop holding
    although the facts do (an equal number was stored, a dict grew): then check with the Python
    guard and make new pairs."""
    if not available():
        return None
    _ORDERS.clear()
    guards: dict[tuple[int, int], None] = {(EPOCH.ctypes.data, int(EPOCH[0])): None}
    rest: list[Key] = []
    keep: list[Any] = [EPOCH]
    places, loaded = _places(recording, caps, guards, rest)
    for key, want in recording.guarded().items():
        if key in loaded:
            continue
        try:
            if isinstance(want, Ref) and want.kind != "cap":
                raise _Unknown
            pairs = _fact(key, recording.holders[key].get(), want, keep)
        except _Unknown:
            rest.append(key)
            continue
        guards.update(dict.fromkeys(pairs))
        # two places of one tensor: both must stay
        if isinstance(want, Ref) and places[want.number] is not None:
            guards[places[want.number] or 0, id(caps[want.number])] = None
    _ORDERS.clear()
    for h in recording.holders.values():
        o = h.get()
        t = o if is_a(o, type) else type(o)
        keep += [t, t.__mro__, h.strong if h.ref is None else instance_dict(o)]
    return NativeFacts(tuple(guards), tuple(places), tuple(dict.fromkeys(rest)), tuple(keep))


def _places(
    recording: Recording,
    caps: tuple[Any, ...],
    guards: dict[tuple[int, int], None],
    rest: list[Key],
) -> tuple[list[int | None], set[Key]]:
    """The pointers to captures and the facts that find them; adds what keeps them in place."""
    places: list[int | None] = [None] * len(caps)
    loaded: set[Key] = set()
    for i, (p, t) in enumerate(zip(recording.places, caps)):
        if p.kind != "fact":
            continue
        try:
            pairs, at = _slot(p.what.kind, recording.holders[p.what].get(), p.what.key)
        except _Unknown:
            pairs, at = [], 0
        if at and _word(at) == id(t):
            guards.update(dict.fromkeys(pairs))
            places[i] = at
            loaded.add(p.what)
        else:
            rest.append(p.what)
    return places, loaded


# ---- self-test
class _Probe(Versioned):
    shared = object()

    def __init__(self) -> None:
        self.a, self.b = object(), 1.5

    def method(self) -> int:
        return 1


def _holds(pairs: Pairs) -> bool:
    return all(_word(a) == w for a, w in pairs)


def _check(kind: str, h: Any, key: Any, change: Any) -> bool:
    """The place is found, and a change of what it holds is seen."""
    pairs, at = _slot(kind, h, key)
    value = fetch(kind, h, key)
    if _word(at) != (0 if value is None and kind == "attr" and key in FUNCTION else id(value)):
        return False
    pairs = [*pairs, (at, _word(at))]
    ok = _holds(pairs)
    change()
    return ok and not _holds(pairs)


def _containers_are_found() -> bool:
    x = object()

    def cell() -> Any:
        return x

    assert cell.__closure__ is not None
    c = cell.__closure__[0]
    d: dict[Any, Any] = {"a": object(), 3: object(), "c": object()}
    names: dict[str, Any] = {f"n{i}": object() for i in range(40)}
    items = [object(), object()]
    absent, keys = _absent(names, "new"), _same_keys(d)
    pair = (object(), object())
    tests = [
        _holds(absent),
        _holds(keys),
        _word(_slot("item", pair, 1)[1]) == id(pair[1]),
        _check("cell", c, None, lambda: setattr(c, "cell_contents", object())),
        _check("item", items, 1, lambda: items.__setitem__(1, object())),
        _check("item", items, 0, lambda: items.append(object())),
        _check("item", d, 3, lambda: d.__setitem__(3, object())),
        _check("item", d, "c", lambda: d.pop("c")),
        _check("item", names, "n7", lambda: names.__setitem__("n7", object())),
        _check("item", names, "n39", lambda: names.update({f"m{i}": i for i in range(99)})),
        _check(
            "attr",
            cell,
            "__code__",
            lambda: setattr(cell, "__code__", cell.__code__.replace(co_name="other")),
        ),
        _check("attr", cell, "__defaults__", lambda: setattr(cell, "__defaults__", (1,))),
    ]
    tests.append(_members_are_found())
    return all(tests) and not _holds(absent) and not _holds(keys)


def _members_are_found() -> bool:
    """The fields of C objects, which a new `__init__` or `__setstate__` replaces."""
    call, other = functools.partial(print, 1.5), functools.partial(str, 2.5)
    read: Any = property(repr, print, print)
    bare: Any = property()
    made: list[Any] = [staticmethod(repr), classmethod(repr)]
    fields: list[Any] = [(call, m) for m in MEMBER if m.__objclass__ is functools.partial]
    fields += [(read, m) for m in MEMBER if m.__objclass__ is property]
    fields += [(o, m) for o in made for m in MEMBER if m.__objclass__ is type(o)]
    pairs = [(id(o) + MEMBER[m], id(m.__get__(o))) for o, m in fields]
    found = _holds(pairs) and _word(id(bare) + MEMBER[property.__dict__["fget"]]) == 0
    call.__setstate__((other.func, other.args, other.keywords, None))  # type: ignore[attr-defined]
    bare.__init__(str)
    read.__init__(str, repr, repr)
    for o in made:
        o.__init__(str)
    moved = all(_word(a) != w for a, w in pairs)
    return found and moved and len(pairs) == len(MEMBER)


def _objects_are_found() -> bool:
    class Below(_Probe):
        pass

    p, q, r, s, u, v = _Probe(), _Probe(), _Probe(), _Probe(), Below(), _Probe()
    other = type("Other", (_Probe,), {})
    tests = [
        _check("attr", p, "a", lambda: setattr(p, "a", object())),
        _check("attr", p, "b", lambda: delattr(p, "b")),
        _check("attr", q, "b", lambda: setattr(q, "__dict__", {"b": 1.5})),
        _check("attr", r, "shared", lambda: setattr(r, "shared", 1)),
        _check("tattr", _Probe, "shared", lambda: setattr(_Probe, "shared", object())),
        _check("meth", q, "method", lambda: setattr(q, "method", None)),
        _check("meth", s, "method", lambda: setattr(s, "__class__", other)),
        _check("type", v, None, lambda: setattr(v, "__class__", other)),
        _check("attr", u, "a", lambda: setattr(Below, "__bases__", (_Probe, Versioned))),
    ]
    used = [(id(_class_dict(_Probe)) + DICT_USED, len(vars(_Probe)))]
    epoch = [(EPOCH.ctypes.data, int(EPOCH[0]))]
    tests += [_holds(used), _holds(epoch)]
    bump(p)
    return all(tests) and not _holds(epoch)


@lru_cache(1)
def available() -> bool:
    """Whether the self-test found every place on this interpreter."""
    if sys.implementation.name != "cpython" or sysconfig.get_config_var("Py_GIL_DISABLED"):
        return False
    if not (3, 11) <= sys.version_info[:2] <= (3, 13) or ctypes.sizeof(ctypes.c_void_p) != 8:
        return False
    try:
        return _containers_are_found() and _objects_are_found()
    except (_Unknown, ValueError, OSError):
        return False
