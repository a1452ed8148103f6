"""The version numbers that CPython gives dictionaries (up to 3.12) and classes.

Invariant: while the word at an address given here keeps its value, the dictionary or class has not
been changed; the offsets are found by looking, and where a look finds none there is no address.
"""

from __future__ import annotations

import ctypes
import sys
from functools import lru_cache
from typing import Any

__all__ = ["dict_tag", "class_tag", "word"]

DICT_TAG = 24


def word(address: int) -> int:
    """The 8 bytes at an address."""
    return ctypes.c_uint64.from_address(address).value


def dict_tag(d: dict[Any, Any]) -> int | None:
    """The address of a dictionary's version number."""
    return id(d) + DICT_TAG if _dicts_have_tags() else None


def class_tag(t: type) -> int | None:
    """The address of a class's version number, which Python has given it by now."""
    offset = _class_offset()
    if offset is None:
        return None
    getattr(t, "__init__", None)  # a lookup makes Python number the class
    return id(t) + offset if word(id(t) + offset) & 0xFFFFFFFF else None


def _supported() -> bool:
    return sys.implementation.name == "cpython" and ctypes.sizeof(ctypes.c_void_p) == 8


@lru_cache(1)
def _dicts_have_tags() -> bool:
    if not _supported() or sys.version_info >= (3, 13):
        return False
    d: dict[str, Any] = {"a": 1, "b": 2}

    def steps() -> list[int]:
        seen = [word(id(d) + DICT_TAG)]
        d["a"] = 3
        seen.append(word(id(d) + DICT_TAG))
        del d["b"]
        seen.append(word(id(d) + DICT_TAG))
        d["c"] = 4
        seen.append(word(id(d) + DICT_TAG))
        d.get("c")
        return [*seen, word(id(d) + DICT_TAG)]

    *moved, again = steps()
    return len(set(moved)) == 4 and moved == sorted(moved) and again == moved[-1]


class _Base:
    def one(self) -> int:
        return 1


class _Below(_Base):
    pass


def _candidates(address: int) -> dict[int, int]:
    return {o: word(address + o) for o in range(0, type.__basicsize__, 8)}  # type: ignore[call-overload, arg-type]


@lru_cache(1)
def _class_offset() -> int | None:
    """The word of a class that a change of it or of a base clears, and a lookup fills anew."""
    if not _supported():
        return None
    rounds = []
    for change in (lambda: setattr(_Base, "one", len), lambda: setattr(_Below, "two", 2)):
        getattr(_Below, "one", None)
        before = _candidates(id(_Below))
        change()
        cleared = _candidates(id(_Below))
        getattr(_Below, "one", None)
        rounds.append((before, cleared, _candidates(id(_Below))))
    found = [
        o
        for o in rounds[0][0]
        if all(
            b[o] and not c[o] and a[o] and a[o] != b[o] and max(a[o], b[o]) < 1 << 32
            for b, c, a in rounds
        )
        and rounds[1][0][o] == rounds[0][2][o]
    ]
    return found[0] if len(found) == 1 else None
