"""Aliases, errors and odd values in state that a step looks at and changes."""

from __future__ import annotations

from collections import defaultdict, deque
from typing import Any

import hybrid as hb

from .harness import box, data, suite

PROGRAMS, replayed = suite()
ATTACKS, attack = suite()


@replayed
def bound_append(jit: Any) -> Any:
    w = deque(maxlen=3)
    add = w.append

    @jit
    def f(x: Any) -> Any:
        add(x * 2)
        w.append(x)
        return sum(w)

    return lambda k: f(data(k)), w


@replayed
def inplace_extend(jit: Any) -> Any:
    w = [data(1)]

    @jit
    def f(x: Any) -> Any:
        nonlocal w
        w.append(x)
        w += [x * 2]
        if len(w) > 4:
            del w[0], w[0]
        return sum(w)

    return lambda k: f(data(k)), w


@replayed
def via_function(jit: Any) -> Any:
    w = deque(maxlen=3)

    def push(q, v):
        q.append(v)
        return q

    @jit
    def f(x: Any) -> Any:
        return sum(push(w, x * 2))

    return lambda k: f(data(k)), w


@replayed
def two_objects(jit: Any) -> Any:
    class B:
        def __init__(s):
            s.w = deque(maxlen=2)
            s.i = 0

        def push(s, x):
            s.w.append(x)
            s.i = (s.i + 1) % 2
            return sum(s.w) * (s.i + 1)

    a, b = B(), B()

    @jit
    def f(x: Any) -> Any:
        return a.push(x) + b.push(x * 2)

    def call(k: int) -> Any:
        if k % 7 == 3:
            a.i = 0
        if k == 22:
            b.w = a.w
        return f(data(k))

    return call, (a, b)


@replayed
def object_argument(jit: Any) -> Any:
    class B:
        def __init__(s):
            s.w = deque(maxlen=2)
            s.mode = "a"

    bs = [B(), B()]

    @jit
    def f(x: Any, b: Any) -> Any:
        b.w.append(x)
        b.mode = "b" if b.mode == "a" else "a"
        return sum(b.w) * len(b.mode) if b.mode == "a" else sum(b.w)

    return lambda k: f(data(k), bs[k % 2]), bs


@replayed
def shared_items(jit: Any) -> Any:
    w = deque(maxlen=2)
    v = deque(maxlen=2)

    @jit
    def f(x: Any) -> Any:
        y = x * 2
        w.append(y)
        v.append(y if x.ndim else x)
        return w[0] * v[0]

    def call(k: int) -> Any:
        if k == 15:
            v[0] = data(3)
        if k == 20:
            v.clear()
            v.append(data(1))
            v.append(data(2))
        return f(data(k))

    return call, (w, v)


@replayed
def identity_of_items(jit: Any) -> Any:
    w = deque(maxlen=2)

    @jit
    def f(x: Any) -> Any:
        w.append(x)
        return x * 2 if w[0] is x else x * 3

    a = data(1)
    return lambda k: f(a if k % 4 < 2 else data(k)), w


@attack
def inner_list_grows(jit: Any) -> Any:
    w = [[]]

    @jit
    def f(x: Any) -> Any:
        w[-1].append(x)
        if len(w[-1]) >= 2:
            w.append([])
        if len(w) > 2:
            w.pop(0)
        return x + len(w)

    return lambda k: f(data(k)), w


@replayed
def same_inner(jit: Any) -> Any:
    w = deque(maxlen=2)

    @jit
    def f(x: Any) -> Any:
        w.append((x, x * 2))
        a, b = w[0]
        return a * b + len(w)

    def call(k: int) -> Any:
        if k == 15:
            w.append((data(1), data(1)))
        return f(data(k))

    return call, w


@replayed
def raise_after_pin(jit: Any) -> Any:
    s = box(mode="a")
    w = deque(maxlen=2)

    @jit
    def f(x: Any, bad: Any) -> Any:
        s.mode = "b" if s.mode == "a" else "a"
        w.append(x)
        if bad:
            raise KeyError("x")
        return sum(w) * len(s.mode)

    return lambda k: f(data(k), k % 9 == 8), (s, w)


@attack
def caught_inside(jit: Any) -> Any:
    s = box(mode="a")
    w = deque(maxlen=2)

    @jit
    def f(x: Any) -> Any:
        w.append(x)
        try:
            y = w[5]
        except IndexError:
            y = w[0]
        s.mode = "b" if s.mode == "a" else "a"
        return y

    return lambda k: f(data(k)), (s, w)


@replayed
def float_zero_pin(jit: Any) -> Any:
    s = box(v=0.0)

    @jit
    def f(x: Any) -> Any:
        y = x * float(str(s.v))
        s.v = -s.v
        return y

    return lambda k: f(data(k)), s


@replayed
def bool_int_pin(jit: Any) -> Any:
    s = box(v=True)

    @jit
    def f(x: Any) -> Any:
        y = x * len(str(s.v))
        s.v = 1 if s.v is True else True
        return y

    return lambda k: f(data(k)), s


@replayed
def nan_pin(jit: Any) -> Any:
    s = box(v=float("nan"))

    @jit
    def f(x: Any) -> Any:
        y = x * len(str(s.v))
        s.v = 1.0 if s.v != s.v else float("nan")
        return y

    return lambda k: f(data(k)), s


@attack
def tuple_pin(jit: Any) -> Any:
    s = box(v=(0, 1))

    @jit
    def f(x: Any) -> Any:
        a, b = s.v
        s.v = (b, a)
        return x * (a + 1)

    return lambda k: f(data(k)), s


@attack
def deleted_attr(jit: Any) -> Any:
    s = box(v="a")

    @jit
    def f(x: Any) -> Any:
        if hasattr(s, "v"):
            del s.v
            return x
        s.v = "a"
        return x * 2

    return lambda k: f(data(k)), s


@replayed
def slots_pin(jit: Any) -> Any:
    class S:
        __slots__ = ("m",)

    s = S()
    s.m = "a"

    @jit
    def f(x: Any) -> Any:
        s.m = "b" if s.m == "a" else "a"
        return x * 2 if s.m == "b" else x

    return lambda k: f(data(k)), s


@replayed
def inherits_class_default(jit: Any) -> Any:
    class S:
        mode = "a"

    s = S()

    @jit
    def f(x: Any) -> Any:
        s.mode = "b" if s.mode == "a" else "a"
        return x * 2 if s.mode == "b" else x

    def call(k: int) -> Any:
        if k % 9 == 5:
            del s.mode
        return f(data(k))

    return call, s


@replayed
def generator_walks(jit: Any) -> Any:
    w = deque(maxlen=3)

    @jit
    def f(x: Any) -> Any:
        w.append(x)
        return sum(a * i for i, a in enumerate(w))

    return lambda k: f(data(k)), w


@replayed
def grads_in_window(jit: Any) -> Any:
    w = deque(maxlen=2)
    p = hb.tensor([1.0, 2.0, 3.0, 4.0], requires_grad=True)

    @jit
    def f(x: Any) -> Any:
        l = (p * x).sum()
        l.backward()
        w.append(p.grad)
        p.grad = None
        return sum(w)

    return lambda k: f(data(k)), w


@replayed
def assigns_item(jit: Any) -> Any:
    w = deque([data(1), data(2)], maxlen=2)

    @jit
    def f(x: Any) -> Any:
        w[0] += x
        w.append(w[0] * 0.5)
        return sum(w)

    return lambda k: f(data(k)), w


@replayed
def view_kept(jit: Any) -> Any:
    w = deque(maxlen=2)

    @jit
    def f(x: Any) -> Any:
        y = x * 2
        w.append(y[:2])
        y += 1
        return sum(w)

    return lambda k: f(data(k)), w


@replayed
def counts_by_value(jit: Any) -> Any:
    c = defaultdict(int)

    @jit
    def f(x: Any) -> Any:
        n = x.shape[0]
        c[n] += 1
        return x * 2

    return lambda k: f(data(k, 2 + k % 2)), c


@replayed
def nested_dict(jit: Any) -> Any:
    d = {"a": {"n": 0}, "b": {"n": 0}}

    @jit
    def f(x: Any, i: Any) -> Any:
        d[i]["n"] += 1
        return x

    def call(k: int) -> Any:
        if k == 20:
            d["a"] = d["b"]
        return f(data(k), "ab"[k % 2])

    return call, d
