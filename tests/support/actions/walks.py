"""Comprehensions over several containers, and containers that other code makes anew for each call."""

from __future__ import annotations

import itertools
from collections import deque
from typing import Any

from .harness import box, data, suite

PROGRAMS, replayed = suite()
ATTACKS, attack = suite()


@replayed
def zip_objects(jit: Any) -> Any:
    a = [box(v=1.0), box(v=2.0)]
    b = [data(1), data(2)]

    @jit
    def f(x: Any) -> Any:
        return sum([o.v * t * x for o, t in zip(a, b)])

    def call(k: int) -> Any:
        if k == 10:
            a[1].v = 5.0
        if k == 18:
            b[0] = data(7)
        if k == 24:
            a.append(box(v=3.0))
            b.append(data(9))
        return f(data(k))

    return call, None


@replayed
def zip_generator(jit: Any) -> Any:
    objs = [box(v=1.0), box(v=2.0)]

    def gen() -> Any:
        yield objs[0]
        yield objs[1]

    @jit
    def f(x: Any) -> Any:
        return sum([o.v * t * x for o, t in zip(gen(), [1.0, 2.0])])

    def call(k: int) -> Any:
        if k == 10:
            objs[1].v = 5.0
        if k == 18:
            objs[0] = box(v=8.0)
        return f(data(k))

    return call, None


@replayed
def zip_by_index(jit: Any) -> Any:
    a = [1.0, 2.0]
    b = [3.0, 4.0]

    @jit
    def f(x: Any) -> Any:
        return sum([p[0] * p[1] * x for p in zip(a, b)])

    def call(k: int) -> Any:
        if k == 10:
            a[1] = 5.0
        if k == 18:
            b[1] = 8.0
        return f(data(k))

    return call, None


@replayed
def enum_objects(jit: Any) -> Any:
    a = [box(v=1.0), box(v=2.0)]

    @jit
    def f(x: Any) -> Any:
        return sum([o.v * x * i for i, o in enumerate(a, 1)])

    def call(k: int) -> Any:
        if k == 10:
            a[1].v = 5.0
        if k == 18:
            a[0] = box(v=3.0)
        return f(data(k))

    return call, None


@replayed
def zip_dict_items(jit: Any) -> Any:
    d = {"a": box(v=1.0), "b": box(v=2.0)}

    @jit
    def f(x: Any) -> Any:
        return sum([o.v * x * t for (k, o), t in zip(d.items(), [1.0, 2.0])])

    def call(k: int) -> Any:
        if k == 10:
            d["b"].v = 5.0
        if k == 18:
            d["a"] = box(v=3.0)
        if k == 25:
            d["c"] = box(v=1.0)
        return f(data(k))

    return call, None


@replayed
def dict_of_zip(jit: Any) -> Any:
    names = ["a", "b"]
    vals = [data(1), data(2)]

    @jit
    def f(x: Any) -> Any:
        d = {n: v * x for n, v in zip(names, vals)}
        return d

    def call(k: int) -> Any:
        if k == 10:
            vals[1] = data(5)
        if k == 18:
            names[0] = "z"
        return f(data(k))

    return call, None


@replayed
def zip_reversed(jit: Any) -> Any:
    a = [1.0, 2.0]

    @jit
    def f(x: Any) -> Any:
        return sum([p * q * x for p, q in zip(a, reversed(a))])

    def call(k: int) -> Any:
        if k == 10:
            a[1] = 5.0
        if k == 18:
            a.append(2.0)
        return f(data(k))

    return call, None


@replayed
def zip_deque(jit: Any) -> Any:
    a = deque([1.0, 2.0])

    @jit
    def f(x: Any) -> Any:
        return sum([p * q * x for p, q in zip(a, (1.0, 2.0, 3.0))])

    def call(k: int) -> Any:
        if k == 10:
            a[1] = 5.0
        if k == 18:
            a.append(2.0)
        return f(data(k))

    return call, None


@replayed
def zip_chain(jit: Any) -> Any:
    a = [box(v=1.0)]
    b = [box(v=2.0)]

    @jit
    def f(x: Any) -> Any:
        return sum([p.v * q * x for p, q in zip(itertools.chain(a, b), (1.0, 2.0, 3.0))])

    def call(k: int) -> Any:
        if k == 10:
            b[0].v = 5.0
        if k == 18:
            a.append(box(v=3.0))
        return f(data(k))

    return call, None


@replayed
def zip_map(jit: Any) -> Any:
    a = [box(v=1.0), box(v=2.0)]

    @jit
    def f(x: Any) -> Any:
        return sum([p * q * x for p, q in zip(map(lambda o: o.v, a), (1.0, 2.0, 3.0))])

    def call(k: int) -> Any:
        if k == 10:
            a[0].v = 5.0
        return f(data(k))

    return call, None


@replayed
def nested_zip(jit: Any) -> Any:
    a = [[1.0, 2.0], [3.0, 4.0]]

    @jit
    def f(x: Any) -> Any:
        return sum([u * q * x for p, q in zip(a, (1.0, 2.0)) for u in p])

    def call(k: int) -> Any:
        if k == 10:
            a[1][1] = 5.0
        if k == 18:
            a[0] = [7.0]
        return f(data(k))

    return call, None


@replayed
def counter_in_comp(jit: Any) -> Any:
    s = box(n=0, w=[data(1), data(2)])

    @jit
    def f(x: Any) -> Any:
        s.n += 1
        s.w = [w + (x - w) / s.n for w in s.w]
        return sum(s.w)

    return lambda k: f(data(k)), s


@replayed
def cell_in_comp(jit: Any) -> Any:
    n = 0
    w = [data(1), data(2)]

    @jit
    def f(x: Any) -> Any:
        nonlocal n, w
        n += 1
        w = [v + (x - v) / n for v in w]
        return sum(w)

    return lambda k: (f(data(k)), n, w), None


@attack
def local_cell_in_comp(jit: Any) -> Any:
    s = box(n=0)

    @jit
    def f(x: Any) -> Any:
        s.n += 1
        m = s.n
        return sum([x * m * i for i in (1, 2)])

    return lambda k: f(data(k)), s


@replayed
def set_and_dict_comp(jit: Any) -> Any:
    s = box(n=0)

    @jit
    def f(x: Any) -> Any:
        s.n += 1
        d = {i: x * i / s.n for i in (1, 2)}
        return d[1] + d[2] + len({i for i in (1, 2)})

    return lambda k: f(data(k)), s


@replayed
def batch_outside(jit: Any) -> Any:
    s = box(batch=None)

    @jit
    def f(x: Any) -> Any:
        a, b = s.batch
        return a * x + b

    def call(k: int) -> Any:
        s.batch = (data(k), data(k + 1))
        return f(data(k))

    return call, s


@replayed
def batch_dict_outside(jit: Any) -> Any:
    s = box(batch=None)

    @jit
    def f(x: Any) -> Any:
        return s.batch["a"] * x + s.batch["c"][0] * s.batch["n"]

    def call(k: int) -> Any:
        s.batch = {"a": data(k), "c": [data(k + 1), 2], "n": 2.0 if k < 20 else 3.0}
        return f(data(k))

    return call, s


@attack
def batch_stored(jit: Any) -> Any:
    s = box(batch=None, last=None)

    @jit
    def f(x: Any) -> Any:
        s.last = s.batch
        return s.batch[0] * x

    def call(k: int) -> Any:
        s.batch = (data(k),)
        return f(data(k))

    return call, s


@attack
def batch_returned(jit: Any) -> Any:
    s = box(batch=None)

    @jit
    def f(x: Any) -> Any:
        y = s.batch[0] * x
        return y, s.batch

    def call(k: int) -> Any:
        s.batch = [data(k)]
        r = f(data(k))
        return r, r[1] is s.batch

    return call, s


@attack
def batch_is(jit: Any) -> Any:
    s = box(batch=None)
    keep = [None]

    @jit
    def f(x: Any) -> Any:
        return s.batch[0] * x if s.batch is keep[0] else s.batch[0] + x

    def call(k: int) -> Any:
        s.batch = [data(k)]
        if k % 3 == 0:
            keep[0] = s.batch
        return f(data(k))

    return call, s


@replayed
def batch_aliased(jit: Any) -> Any:
    s = box(p=None, q=None)

    @jit
    def f(x: Any) -> Any:
        return s.p[0] * x + s.q[0]

    def call(k: int) -> Any:
        t = data(k)
        s.p = [t]
        s.q = s.p if k % 4 == 3 else [t if k % 4 == 2 else data(k + 1)]
        return f(data(k))

    return call, s


@attack
def batch_mutated(jit: Any) -> Any:
    s = box(p=None)

    @jit
    def f(x: Any) -> Any:
        y = s.p[0] * x
        s.p.append(y)
        return sum(s.p)

    def call(k: int) -> Any:
        s.p = [data(k)]
        return f(data(k)), s.p

    return call, s


@replayed
def batch_lengths(jit: Any) -> Any:
    s = box(p=None)

    @jit
    def f(x: Any) -> Any:
        return sum(s.p) * x

    def call(k: int) -> Any:
        s.p = [data(k)] * (1 + k % 3)
        return f(data(k))

    return call, s


@replayed
def batch_argument(jit: Any) -> Any:
    s = box(p=None)

    @jit
    def f(x: Any, items: Any) -> Any:
        return sum(s.p) * x + items[0]

    def call(k: int) -> Any:
        s.p = [data(k)]
        return f(data(k), s.p if k % 5 == 4 else [data(k)])

    return call, s


@replayed
def global_list_of_pairs(jit: Any) -> Any:
    m = []

    @jit
    def f(x: Any) -> Any:
        out = x
        for a, b in m:
            out = out + a * b
        return out

    def call(k: int) -> Any:
        r = f(data(k))
        m.append((data(k), data(k + 1)))
        if len(m) > 2:
            m.pop(0)
        return r

    return call, m
