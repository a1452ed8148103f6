"""Types and C functions of the standard library whose work depends on their arguments alone.

Invariant: allowed by list, by exact type or by the function itself.  An instance of `FIXED` never
changes, so which object it is tells all; what a `TRANSIENT` one says is decided by how the call
made it; a function of `_PURE` reads its arguments only, one of `_ON_FRESH` also changes its first.
"""

from __future__ import annotations

import binascii
import bisect
import copy
import datetime
import hashlib
import heapq
import inspect
import os
import re
import reprlib
import struct
import sys
import types
import unicodedata
import zlib
from json import decoder, encoder, scanner
from typing import Any

__all__ = ["FIXED", "SCANNERS", "TRANSIENT"]
__all__ += ["examined", "library_function", "on_fresh", "reads_identity"]

# Immutable in C: a pattern keeps its text and flags, a date its numbers.  What they do with others
# of the list has no effect and asks for no state of the process: not so Decimal (its context) or
# datetime.now, which is a method of a class and on no list.
FIXED: tuple[type, ...] = (
    re.Pattern,
    datetime.date,
    datetime.time,
    datetime.datetime,
    datetime.timedelta,
    datetime.timezone,
)
# Made by calls of `PURE` functions and methods of `FIXED` objects; a match of text that may change
# in place (a bytearray), or a half-fed hash, is followed only where the call made it itself.
TRANSIENT: tuple[type, ...] = (re.Match, type(hashlib.sha256()), type(hashlib.blake2b()))
_PURE: tuple[Any, ...] = (
    bisect.bisect_left,
    bisect.bisect_right,
    binascii.crc32,
    binascii.hexlify,
    binascii.unhexlify,
    zlib.adler32,
    zlib.crc32,
    struct.calcsize,
    struct.pack,
    struct.unpack,
    struct.unpack_from,
    unicodedata.category,
    unicodedata.normalize,
    os.fspath,
    sys.intern,
    encoder.encode_basestring,
    encoder.encode_basestring_ascii,
    decoder.scanstring,  # type: ignore[attr-defined]
    *[getattr(hashlib, n) for n in ("md5", "sha1", "sha224", "sha256", "sha384", "sha512")],
    hashlib.blake2b,
)
# each takes a list to pieces or puts it in order, comparing its items
_ON_FRESH: tuple[Any, ...] = (
    heapq.heapify,
    heapq.heappop,
    heapq.heappush,
    heapq.heappushpop,
    heapq.heapreplace,
    bisect.insort_left,
    bisect.insort_right,
)
# types whose calls read text only: the scanner that `json.loads` keeps
SCANNERS: tuple[type, ...] = (scanner.make_scanner,)
# Python code that asks for identities only to meet each object once
_MEMOS = tuple([str(module.__file__) for module in (copy, inspect, reprlib, encoder)])


def library_function(function: Any) -> bool:
    """Whether a C function reads its arguments only."""
    return any(function is known for known in _PURE)


def on_fresh(function: Any) -> bool:
    """Whether a C function changes its first argument, and reads the others."""
    return any(function is known for known in _ON_FRESH)


def examined(function: Any) -> bool:
    """Whether what a C function does can be told from its arguments (call_rules.py)."""
    return any(function is known for known in (id, setattr, sys.exc_info, vars, *_ON_FRESH))


def reads_identity(code: types.CodeType) -> bool:
    """Whether code compares what `id` gives and does nothing else with it."""
    return code.co_filename in _MEMOS
