"""Patterns, texts and pure functions of the standard library in a step."""

from __future__ import annotations

import bisect
import collections
import contextlib
import copy
import dataclasses
import hashlib
import heapq
import json
import os
import re
import statistics
import struct
import weakref
from fractions import Fraction
from typing import Any

from ..harness import box, data, suite

PROGRAMS, replayed = suite()
REFUSED, refused = suite()


@refused
def insort_outside(jit: Any) -> Any:
    h = [1, 5]

    @jit
    def f(x: Any) -> Any:
        bisect.insort(h, 3)
        return x * len(h)

    return lambda k: f(data(k)), h


@replayed
def match_fresh(jit: Any) -> Any:
    s = box(t="k=3")
    pat = re.compile(r"(?P<n>\w)=(\d)")

    @jit
    def f(x: Any) -> Any:
        m = pat.match(s.t)
        return x * int(m[2]) + len(m.group("n")) + m.start(2)

    def call(k: int) -> Any:
        if k == 11:
            s.t = "k=5"
        return f(data(k))

    return call, None


@refused
def match_kept(jit: Any) -> Any:
    b = bytearray(b"k=3")
    m = re.match(rb"(\w)=(\d)", b)

    @jit
    def f(x: Any) -> Any:
        return x * int(m[2])

    def call(k: int) -> Any:
        if k == 11:
            b[2] = 53
        return f(data(k))

    return call, None


@refused
def hash_fed(jit: Any) -> Any:
    h = hashlib.sha256()

    @jit
    def f(x: Any) -> Any:
        h.update(b"a")
        return x * h.digest()[0]

    return lambda k: f(data(k)), None


@replayed
def sub_callback(jit: Any) -> Any:
    s = box(n=2)

    @jit
    def f(x: Any) -> Any:
        return x * len(re.sub("a", lambda m: "b" * s.n, "aXa"))

    def call(k: int) -> Any:
        if k == 9:
            s.n = 3
        return f(data(k))

    return call, None


@replayed
def asdict_changes(jit: Any) -> Any:
    @dataclasses.dataclass
    class C:
        a: float = 1.0
        l: list = dataclasses.field(default_factory=lambda: [1.0, 2.0])

    c = C()

    @jit
    def f(x: Any) -> Any:
        d = dataclasses.asdict(c)
        return x * d["a"] + sum(d["l"])

    def call(k: int) -> Any:
        if k == 9:
            c.a = 2.0
        if k == 15:
            c.l.append(4.0)
        if k == 22:
            c.l = [1.0]
        return f(data(k))

    return call, None


@replayed
def shared_in_copy(jit: Any) -> Any:
    a = [1.0]
    p = {"a": a, "b": a}

    @jit
    def f(x: Any) -> Any:
        q = copy.deepcopy(p)
        q["a"].append(2.0)
        return x * len(q["b"])

    def call(k: int) -> Any:
        if k == 9:
            p["b"] = [1.0]
        return f(data(k))

    return call, p


@replayed
def json_hook(jit: Any) -> Any:
    s = box(t='{"a": 2.5, "b":[1,2]}')

    @jit
    def f(x: Any) -> Any:
        d = json.loads(s.t)
        return x * d["a"] + len(d["b"])

    def call(k: int) -> Any:
        if k == 9:
            s.t = '{"a": 1.5, "b":[1]}'
        return f(data(k))

    return call, None


@replayed
def json_pairs(jit: Any) -> Any:
    s = box(n=1.0)

    def hook(d):
        return d["a"] * s.n

    @jit
    def f(x: Any) -> Any:
        return x * json.loads('{"a": 2.5}', object_hook=hook)

    def call(k: int) -> Any:
        if k == 9:
            s.n = 2.0
        return f(data(k))

    return call, None


@replayed
def new_singleton(jit: Any) -> Any:
    class S:
        one = None

        def __new__(cls):
            if cls.one is None:
                cls.one = object.__new__(cls)
                cls.one.n = 0
            return cls.one

    @jit
    def f(x: Any) -> Any:
        s = S()
        s.last = x * 2
        return s.last + 1

    return lambda k: f(data(k)), S.__dict__.get("one")


@replayed
def suppress_key(jit: Any) -> Any:
    d = {}

    @jit
    def f(x: Any) -> Any:
        with contextlib.suppress(KeyError):
            x = x * d["a"]
        return x + 1

    def call(k: int) -> Any:
        if k == 12:
            d["a"] = 3.0
        return f(data(k))

    return call, None


@replayed
def fraction_kept(jit: Any) -> Any:
    s = box(v=Fraction(1, 3))

    @jit
    def f(x: Any) -> Any:
        return x * float(s.v + Fraction(1, 2))

    def call(k: int) -> Any:
        if k == 9:
            s.v = Fraction(1, 5)
        return f(data(k))

    return call, None


@replayed
def meta_key_weak(jit: Any) -> Any:
    class M(type):
        def __hash__(cls):
            return 5

        def __eq__(cls, o):
            return cls is o

    class A(metaclass=M):
        pass

    d = weakref.WeakKeyDictionary()
    d[A] = 2.0

    @jit
    def f(x: Any) -> Any:
        return x * d[A]

    return lambda k: f(data(k)), None


@replayed
def several_pure_functions(jit: Any) -> Any:
    Pair = collections.namedtuple("Pair", "a b")
    bounds, s = [1, 3, 5], box(n=4)

    @jit
    def f(x: Any) -> Any:
        queue = [3, 1, 2]
        heapq.heapify(queue)
        heapq.heappush(queue, s.n)
        where = bisect.bisect(bounds, s.n) + struct.unpack("<h", struct.pack("<h", 3))[0]
        name = os.fspath("b.txt")[-4:]
        pair = Pair(x, 1.0)._replace(b=statistics.mean([1.0, 2.0, s.n]))
        byte = hashlib.sha256(b"a").digest()[0] / 255
        return pair.a * pair.b * where + len(name) * byte + heapq.heappop(queue)

    def call(k: int) -> Any:
        if k == 12:
            s.n = 0
        return f(data(k))

    return call, s
