"""Programs made to break the mechanism that sees Python: effects, imports, factories.

Each takes `jit` (identity or hybrid.function) and returns everything a user could see; both must
agree exactly.
"""

from __future__ import annotations

import builtins
import dataclasses
import enum
import io
import logging
import os
import pathlib
import random
import sys
import tempfile
import threading
import types

import numpy as np

import hybrid as hb

from ..common import NS, X, suite, two

CASES, case = suite()
GV = 1.0
COUNT = 0


@case
def patched_builtin(jit):
    old = builtins.abs
    f = jit(lambda x: x * abs(-4.0))
    r = two(f, lambda: setattr(builtins, "abs", lambda v: 9.0))
    builtins.abs = old
    return r


@case
def dunder_call_patched(jit):
    class N:
        def __call__(s, x):
            return x * 2

    n = N()
    f = jit(lambda x: n(x))
    return two(f, lambda: setattr(N, "__call__", lambda s, x: x * 9))


@case
def dunder_bool_added(jit):
    class N:
        pass

    n = N()
    f = jit(lambda x: x * 2 if n else x)
    return two(f, lambda: setattr(N, "__bool__", lambda s: False))


@case
def dunder_len_field(jit):
    class N:
        k = 1

        def __len__(s):
            return s.k

    n = N()
    f = jit(lambda x: x * 2 if n else x)
    return two(f, lambda: setattr(n, "k", 0))


@case
def subclass_override(jit):
    class A:
        def m(s, x):
            return x * 2

    class B(A):
        pass

    b = B()
    f = jit(lambda x: b.m(x))
    return two(f, lambda: setattr(B, "m", lambda s, x: x * 9))


@case
def super_call_patched(jit):
    class A:
        def m(s, x):
            return x * 2

    class B(A):
        def m(s, x):
            return super().m(x) + 1

    b = B()
    f = jit(lambda x: b.m(x))
    return two(f, lambda: setattr(A, "m", lambda s, x: x * 9))


@case
def class_assigned(jit):
    class A:
        def m(s, x):
            return x * 2

    class B:
        def m(s, x):
            return x * 5

    b = A()
    f = jit(lambda x: b.m(x))
    return two(f, lambda: setattr(b, "__class__", B))


@case
def isinstance_class_assigned(jit):
    class A:
        pass

    class B:
        pass

    b = A()
    f = jit(lambda x: x * 2 if isinstance(b, A) else x)
    return two(f, lambda: setattr(b, "__class__", B))


@case
def is_comparison(jit):
    s = NS(a=X(2), b=None)
    s.b = s.a
    f = jit(lambda x: x * s.a if s.a is s.b else x + s.b)
    return two(f, lambda: setattr(s, "b", X(2)))


@case
def becomes_alias(jit):
    s = NS(a=X(2), b=X(3))

    @jit
    def f(x):
        s.a.assign(x)
        return s.b * 2

    return two(f, lambda: setattr(s, "b", s.a))


@case
def capture_is_argument(jit):
    w = X(3)

    @jit
    def f(x):
        x += 1
        return w * 2

    r = [f(X()) for _ in range(4)]
    return r + [f(w), f(w), f(X())]


@case
def captured_shape_changes(jit):
    s = NS(w=X(2))
    f = jit(lambda x: x * s.w.shape[0])
    return two(f, lambda: setattr(s, "w", hb.tensor(np.ones(5, "f4"))))


@case
def dict_order(jit):
    d = {"a": 1.0, "b": 2.0}

    @jit
    def f(x):
        for k in d:
            x = x * d[k] + 1
        return x

    def ch():
        v = d.pop("a")
        d["a"] = v

    return two(f, ch)


@case
def random_instance(jit):
    r = random.Random(0)
    f = jit(lambda x: x * r.random())
    return [f(X()) for _ in range(6)]


@case
def np_generator(jit):
    r = np.random.default_rng(0)
    f = jit(lambda x: x * r.random())
    return [f(X()) for _ in range(6)]


@case
def file_read(jit):
    p = os.path.join(tempfile.gettempdir(), "seeing_k.txt")
    pathlib.Path(p).write_text("1")

    @jit
    def f(x):
        with open(p) as h:
            return x * float(h.read())

    return two(f, lambda: pathlib.Path(p).write_text("4"))


@case
def path_exists(jit):
    p = os.path.join(tempfile.gettempdir(), "seeing_flag")
    os.path.exists(p) and os.remove(p)
    f = jit(lambda x: x * 2 if os.path.exists(p) else x)
    return two(f, lambda: open(p, "w").close())


@case
def logging_call(jit):
    s = io.StringIO()
    lg = logging.getLogger("adv")
    lg.handlers[:] = [logging.StreamHandler(s)]
    lg.propagate = False

    @jit
    def f(x):
        lg.warning("hey")
        return x * 2

    return [f(X()) for _ in range(6)] + [s.getvalue()]


@case
def thread_in_body(jit):
    log = []

    @jit
    def f(x):
        t = threading.Thread(target=lambda: log.append(1))
        t.start()
        t.join()
        return x * 2

    return [f(X()) for _ in range(6)] + [len(log)]


@case
def reset_between_calls(jit):
    m = NS(n=0)

    @jit
    def f(x):
        m.n += 1
        return x * m.n

    r = []
    for _ in range(5):
        m.n = 0
        r.append(f(X()))
    return r + [f(X()) for _ in range(3)] + [m.n]


@case
def reset_log_between(jit):
    log = []

    @jit
    def f(x):
        log.append(1)
        return x * 2

    r = []
    for _ in range(4):
        log.clear()
        f(X())
        r.append(len(log))
    f(X())
    f(X())
    return r + [len(log)]


@case
def import_inside(jit):
    m = types.ModuleType("advmod")
    m.k = 2.0
    sys.modules["advmod"] = m

    @jit
    def f(x):
        import advmod

        return x * advmod.k

    return two(f, lambda: setattr(m, "k", 5.0))


@case
def from_import_inside(jit):
    m = types.ModuleType("advmod2")
    m.k = 2.0
    sys.modules["advmod2"] = m

    @jit
    def f(x):
        from advmod2 import k

        return x * k

    def ch():
        n = types.ModuleType("advmod2")
        n.k = 5.0
        sys.modules["advmod2"] = n

    return two(f, ch)


@case
def globals_builtin(jit):
    global GV
    GV = 1.0
    f = jit(lambda x: x * globals()["GV"])

    def ch():
        global GV
        GV = 5.0

    return two(f, ch)


@case
def object_from_factory(jit):
    reg = {"m": NS(k=2.0)}

    def get(n):
        return reg[n]

    f = jit(lambda x: x * get("m").k)
    return two(f, lambda: setattr(reg["m"], "k", 5.0))


@case
def factory_store(jit):
    reg = {"m": NS(k=2)}

    def get(n):
        return reg.get(n)

    @jit
    def f(x):
        get("m").k += 1
        return x * 2

    return [f(X()) for _ in range(9)] + [reg["m"].k]


@case
def fresh_wrapper(jit):
    c = NS(k=2.0)

    class W:
        def __init__(s, c):
            s.c = c

    f = jit(lambda x: x * W(c).c.k)
    return two(f, lambda: setattr(c, "k", 5.0))


@case
def linked_list(jit):
    n = None
    for v in (1.0, 2.0, 3.0):
        n = NS(v=v, nxt=n)

    @jit
    def f(x):
        p = n
        while p is not None:
            x = x * p.v
            p = p.nxt
        return x

    return two(f, lambda: setattr(n.nxt.nxt, "v", 7.0))


@case
def long_linked_list(jit):
    n = last = NS(v=1.0, nxt=None)
    for v in range(20):
        n = NS(v=1.0, nxt=n)

    @jit
    def f(x):
        p = n
        while p is not None:
            x = x * p.v
            p = p.nxt
        return x

    return two(f, lambda: setattr(last, "v", 7.0))


@case
def dataclass_replace(jit):
    @dataclasses.dataclass(frozen=True)
    class C:
        k: float

    h = NS(c=C(2.0))
    f = jit(lambda x: x * h.c.k)
    return two(f, lambda: setattr(h, "c", dataclasses.replace(h.c, k=4.0)))


@case
def enum_member(jit):
    class E(enum.Enum):
        A = 2.0
        B = 5.0

    c = NS(m=E.A)
    f = jit(lambda x: x * c.m.value)
    return two(f, lambda: setattr(c, "m", E.B))


@case
def lambda_replaced_same_code(jit):
    def mk(k):
        return lambda v: v * k

    c = NS(g=mk(2.0))
    f = jit(lambda x: c.g(x))
    return two(f, lambda: setattr(c, "g", mk(5.0)))


@case
def local_dict_ok(jit):
    def fill(d, v):
        d["a"] = v
        d.setdefault("b", 2.0)
        return d

    @jit
    def f(x):
        d = fill({}, 3.0)
        out = []
        for k in sorted(d):
            out.append(x * d[k])
        return out[0] + out[1]

    return [f(X()) for _ in range(6)]


@case
def fresh_object_ok(jit):
    class Pt:
        def __init__(s, a):
            s.a = a

        def up(s):
            s.a += 1
            return s.a

    @jit
    def f(x):
        p = Pt(2)
        p.b = 3
        return x * p.up() * p.b

    return [f(X()) for _ in range(6)]
