"""Places that hold nothing or a number at first and a tensor later, keys and indices in variables, counters."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import hybrid as hb
from hybrid import nn

from .harness import box, data, suite

PROGRAMS, replayed = suite()
ATTACKS, attack = suite()


@replayed
def meter_reset(jit: Any) -> Any:
    class M:
        def __init__(s):
            s.reset()

        def reset(s):
            s.total, s.count = 0.0, 0

        def add(s, v, n=1):
            s.total = s.total + v * n
            s.count += n

    m = M()

    @jit
    def f(x: Any) -> Any:
        m.add(x.sum(), len(x))
        return x * 2

    def call(k: int) -> Any:
        if k % 5 == 0:
            m.reset()
        return f(data(k))

    return call, m


@replayed
def none_hidden(jit: Any) -> Any:
    s = box(h=None)

    @jit
    def f(x: Any) -> Any:
        s.h = x if s.h is None else s.h * 0.5 + x
        return s.h * 2

    def call(k: int) -> Any:
        if k % 4 == 0:
            s.h = None
        return f(data(k))

    return call, s


@replayed
def none_hidden_other(jit: Any) -> Any:
    s = box(h=None)

    @jit
    def f(x: Any) -> Any:
        if s.h is None:
            s.h = x * 0
        s.h = s.h * 0.5 + x
        return s.h

    def call(k: int) -> Any:
        if k % 4 == 0:
            s.h = None
        if k == 21:
            s.h = data(3)
        if k == 26:
            s.h = 0.5
        return f(data(k))

    return call, s


@replayed
def number_then_tensor(jit: Any) -> Any:
    s = box(total=0)

    @jit
    def f(x: Any) -> Any:
        s.total += x.sum()
        return x

    def call(k: int) -> Any:
        if k % 4 == 0:
            s.total = k
        return f(data(k))

    return call, s


@replayed
def nonlocal_none(jit: Any) -> Any:
    best = None

    @jit
    def f(x: Any) -> Any:
        nonlocal best
        best = x if best is None else hb.minimum(best, x)
        return best * 1

    def call(k: int) -> Any:
        nonlocal best
        if k % 6 == 0:
            best = None
        return f(data(k)), best

    return call, None


@replayed
def argument_kept(jit: Any) -> Any:
    s = box(a=None)

    @jit
    def f(x: Any) -> Any:
        y = x if s.a is None else x + s.a
        s.a = x
        return y

    x = data(2)

    def call(k: int) -> Any:
        if k % 3 == 0:
            s.a = None
        return f(x), s.a is x

    return call, s


@replayed
def dict_none(jit: Any) -> Any:
    d = {"h": None}

    @jit
    def f(x: Any) -> Any:
        h = d["h"]
        d["h"] = x * 2 if h is None else h + x
        return d["h"]

    def call(k: int) -> Any:
        if k % 3 == 0:
            d["h"] = None
        return f(data(k)), d

    return call, d


@attack
def module_none(jit: Any) -> Any:
    class R(nn.Module):
        def __init__(self):
            super().__init__()
            self.h = None

        def forward(self, x):
            self.h = x if self.h is None else self.h * 0.5 + x
            return self.h

    m = R()
    f = jit(lambda x: m(x))

    def call(k: int) -> Any:
        if k % 4 == 0:
            m.h = None
        return f(data(k))

    return call, None


@attack
def back_to_none(jit: Any) -> Any:
    s = box(h=None)

    @jit
    def f(x: Any) -> Any:
        if s.h is None:
            s.h = x * 2
            return x
        y = s.h + x
        s.h = None
        return y

    return lambda k: f(data(k)), s


@replayed
def grads_kept(jit: Any) -> Any:
    s = box(h=None)
    w = hb.tensor([1.0, 2.0, 3.0, 4.0], requires_grad=True)

    @jit
    def f(x: Any) -> Any:
        l = (x * w).sum()
        l.backward()
        s.h = w.grad * 1 if s.h is None else s.h + w.grad
        w.grad = None
        return l

    def call(k: int) -> Any:
        if k % 5 == 0:
            s.h = None
        return f(data(k)).detach()

    return call, s


@attack
def list_by_variable(jit: Any) -> Any:
    w = [1.0, 2.0, 3.0]

    @jit
    def f(x: Any, i: Any) -> Any:
        return x * w[i]

    def call(k: int) -> Any:
        if k == 20:
            w[1] = 9.0
        if k == 25:
            w.append(1.0)
        if k == 28:
            w.insert(0, 4.0)
        return f(data(k), k % 3)

    return call, None


@replayed
def dict_by_variable(jit: Any) -> Any:
    w = {"a": box(v=1.0), "b": box(v=2.0)}

    @jit
    def f(x: Any, i: Any) -> Any:
        o = w[i]
        o.v = o.v + 1
        return x * o.v

    def call(k: int) -> Any:
        if k == 20:
            w["a"] = box(v=7.0)
        return f(data(k), "ab"[k % 2])

    return call, [w["a"], w["b"]]


@replayed
def store_by_variable(jit: Any) -> Any:
    w = {"a": data(1), "b": data(2)}

    @jit
    def f(x: Any, i: Any) -> Any:
        w[i] = w[i] * 0.5 + x
        return sum(w.values())

    return lambda k: f(data(k), "ab"[k % 2]), w


@replayed
def loop_by_variable(jit: Any) -> Any:
    w = {"a": 1, "b": 2}

    @jit
    def f(x: Any) -> Any:
        for n in ("a", "b"):
            w[n] += 1
        return x * 2

    return lambda k: f(data(k)), w


@replayed
def loop_list_by_variable(jit: Any) -> Any:
    w = [0, 0, 0]

    @jit
    def f(x: Any) -> Any:
        for i in range(3):
            w[i] += i
        return x * 2

    return lambda k: f(data(k)), w


@replayed
def counter_missing(jit: Any) -> Any:
    c = Counter()

    @jit
    def f(x: Any, kind: Any) -> Any:
        c[kind] += 1
        return x * 2

    def call(k: int) -> Any:
        if k == 20:
            c.clear()
        if k == 25:
            del c["a"]
        return f(data(k), "ab"[k % 2])

    return call, c


@replayed
def counter_read(jit: Any) -> Any:
    c = Counter(a=1)

    @jit
    def f(x: Any) -> Any:
        c["a"] += 1
        return x * c["a"]

    return lambda k: f(data(k)), c


@replayed
def counter_subclass(jit: Any) -> Any:
    class C(Counter):
        def __getitem__(self, k):
            return 5

    c = C()

    @jit
    def f(x: Any) -> Any:
        c["a"] += 1
        return x * c["a"]

    return lambda k: f(data(k)), c


@replayed
def counter(jit: Any) -> Any:
    c = Counter()

    @jit
    def f(x: Any, kind: Any) -> Any:
        c[kind] += 1
        return x * 2

    return lambda k: f(data(k), ("a", "b")[k % 3 == 0]), c


@replayed
def counter_one(jit: Any) -> Any:
    c = Counter(a=3)

    @jit
    def f(x: Any) -> Any:
        c["a"] += 1
        return x * 2

    return lambda k: f(data(k)), c


@replayed
def default_counter(jit: Any) -> Any:
    c = defaultdict(int)

    @jit
    def f(x: Any, kind: Any) -> Any:
        c[kind] += 1
        return x * 2

    return lambda k: f(data(k), ("a", "b")[k % 3 == 0]), c


@replayed
def raises_state(jit: Any) -> Any:
    s = box(n=0)

    @jit
    def f(x: Any, base: Any) -> Any:
        s.n += 1
        if base <= 0:
            raise ValueError(f"base {base}")
        return x / base

    return lambda k: f(data(k), -1 if k % 5 == 4 else 2), s


@replayed
def dict_pop(jit: Any) -> Any:
    c = {"a": data(1)}

    @jit
    def f(x: Any) -> Any:
        y = c.pop("a")
        c["a"] = y * 0.5 + x
        return y

    return lambda k: f(data(k)), c


@replayed
def dict_update(jit: Any) -> Any:
    c = {"a": data(1)}

    @jit
    def f(x: Any) -> Any:
        c.update(a=c["a"] * 0.5 + x, b=x)
        return c["a"]

    return lambda k: f(data(k)), c


@replayed
def mode_string_text(jit: Any) -> Any:
    s = box(mode="a")

    @jit
    def f(x: Any) -> Any:
        s.mode = "b" if s.mode == "a" else "a"
        return x * 2 if s.mode == "b" else x

    return lambda k: f(data(k)), s
