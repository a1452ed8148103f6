"""Lists and deques that a step changes and looks at, and places whose content decides what it does."""

from __future__ import annotations

from collections import deque
from typing import Any

import hybrid as hb

from .harness import box, data, suite

PROGRAMS, replayed = suite()
ATTACKS, attack = suite()


@replayed
def window(jit: Any) -> Any:
    w = deque(maxlen=4)

    @jit
    def f(x: Any) -> Any:
        w.append(x * 0.5)
        return hb.stack(list(w)).mean(axis=0)

    return lambda k: f(data(k)), w


@replayed
def memory(jit: Any) -> Any:
    m = []

    @jit
    def f(x: Any) -> Any:
        m.append(x)
        if len(m) > 4:
            m.pop(0)
        return hb.stack(m).sum(axis=0)

    return lambda k: f(data(k)), m


@replayed
def popped_used(jit: Any) -> Any:
    m = deque([data(1), data(2)])

    @jit
    def f(x: Any) -> Any:
        m.append(x * 2)
        y = m.popleft()
        return y + x

    return lambda k: f(data(k)), m


@replayed
def pairs(jit: Any) -> Any:
    m = deque(maxlen=3)

    @jit
    def f(x: Any) -> Any:
        q = x
        for s, y in reversed(m):
            q = q - s * y
        m.append((x * 0.1, x * 0.2))
        return q

    def call(k: int) -> Any:
        if k % 17 == 0:
            m.clear()
        return f(data(k))

    return call, m


@replayed
def ring(jit: Any) -> Any:
    class Ring:
        def __init__(s, n: int) -> None:
            s.items, s.pos = [hb.zeros(4)] * n, 0

        def push(s, i: Any) -> None:
            s.items[s.pos] = i
            s.pos = (s.pos + 1) % len(s.items)

    r = Ring(3)

    @jit
    def f(x: Any) -> Any:
        r.push(x)
        return hb.stack(r.items).mean(axis=0)

    return lambda k: f(data(k)), r


@replayed
def modes(jit: Any) -> Any:
    s = box(mode="a", n=0)

    @jit
    def f(x: Any) -> Any:
        if s.mode == "a":
            s.mode = "b"
            return x * 2
        s.mode = "a"
        return x * 3

    return lambda k: f(data(k)), s


@replayed
def state_machine(jit: Any) -> Any:
    s = box(mode="warm", n=0)
    nexts = {"warm": "run", "run": "cool", "cool": "warm"}

    @jit
    def f(x: Any) -> Any:
        s.mode = nexts[s.mode]
        return x * len(s.mode)

    return lambda k: f(data(k)), s


@replayed
def phase_table(jit: Any) -> Any:
    s = box(i=0)
    w = [data(1), data(2), data(3)]

    @jit
    def f(x: Any) -> Any:
        y = x * w[s.i]
        s.i = (s.i + 1) % 3
        return y

    def call(k: int) -> Any:
        if k == 20:
            s.i = 1
        return f(data(k))

    return call, s


@replayed
def none_then_value(jit: Any) -> Any:
    s = box(last=None)

    @jit
    def f(x: Any) -> Any:
        y = x if s.last is None else x * 2
        s.last = "set"
        return y

    def call(k: int) -> Any:
        if k % 5 == 0:
            s.last = None
        return f(data(k))

    return call, s


@attack
def escaping_counter(jit: Any) -> Any:
    s = box(n=0)

    @jit
    def f(x: Any) -> Any:
        s.n += 1
        return x * len(str(s.n))

    return lambda k: f(data(k)), s


@replayed
def toggled(jit: Any) -> Any:
    s = box(flip=False)

    @jit
    def f(x: Any) -> Any:
        s.flip = not s.flip
        return x * 2 if s.flip else x * 3

    return lambda k: f(data(k)), s


@replayed
def running_list_sum(jit: Any) -> Any:
    m = deque([0.0, 1.0, 2.0], maxlen=3)

    @jit
    def f(x: Any) -> Any:
        m.append(float(len(m)))
        return x * sum(m)

    return lambda k: f(data(k)), m


@attack
def numbers_window(jit: Any) -> Any:
    m = deque(maxlen=3)
    s = box(n=0)

    @jit
    def f(x: Any) -> Any:
        s.n += 1
        m.append(s.n % 3)
        return x * sum(m)

    return lambda k: f(data(k)), (m, s)


@attack
def losses_window(jit: Any) -> Any:
    m = deque(maxlen=3)

    @jit
    def f(x: Any) -> Any:
        m.append(float(x.sum()))
        return x * sum(m)

    return lambda k: f(data(k)), m


@replayed
def same_tensor_twice(jit: Any) -> Any:
    m = deque(maxlen=4)

    @jit
    def f(x: Any) -> Any:
        y = x * 2
        m.append(y)
        m.append(y)
        return sum(m)

    return lambda k: f(data(k)), m


@replayed
def argument_in_window(jit: Any) -> Any:
    m = deque(maxlen=2)

    @jit
    def f(x: Any) -> Any:
        m.append(x)
        return sum(m)

    a = data(1)
    return lambda k: f(a if k % 3 else data(k)), m


@replayed
def in_place_item(jit: Any) -> Any:
    m = deque([data(1), data(2)], maxlen=2)

    @jit
    def f(x: Any) -> Any:
        m[0].assign(m[0] + x)
        m.append(x * 1)
        return m[0] * 2

    return lambda k: f(data(k)), m


@replayed
def returns_window(jit: Any) -> Any:
    m = deque(maxlen=2)

    @jit
    def f(x: Any) -> Any:
        m.append(x * 2)
        return list(m), m

    return lambda k: f(data(k)), m


@attack
def window_of_objects(jit: Any) -> Any:
    m = deque(maxlen=2)

    @jit
    def f(x: Any) -> Any:
        m.append(box(v=x * 2))
        return sum(o.v for o in m)

    return lambda k: f(data(k)), m


@replayed
def two_windows(jit: Any) -> Any:
    a, b = deque(maxlen=2), []

    @jit
    def f(x: Any) -> Any:
        a.append(x * 2)
        b.append(a[0])
        if len(b) > 2:
            del b[0]
        return sum(a) + sum(b)

    return lambda k: f(data(k)), (a, b)


@replayed
def aliased_windows(jit: Any) -> Any:
    a = deque(maxlen=3)
    s = box(p=a, q=a)

    @jit
    def f(x: Any) -> Any:
        s.p.append(x * 2)
        s.q.append(x * 3)
        return sum(s.p)

    def call(k: int) -> Any:
        if k == 20:
            s.q = deque(s.p, maxlen=3)
        return f(data(k))

    return call, s


@replayed
def cleared_outside(jit: Any) -> Any:
    a = deque(maxlen=3)

    @jit
    def f(x: Any) -> Any:
        a.append(x * 2)
        return sum(a)

    def call(k: int) -> Any:
        if k % 9 == 8:
            a.clear()
        if k % 13 == 5:
            a.append(data(k))
        return f(data(k))

    return call, a


@replayed
def iterate_while_growing(jit: Any) -> Any:
    m = [data(1)]

    @jit
    def f(x: Any) -> Any:
        out = x
        for i in range(len(m)):
            out = out + m[i]
        m.append(out)
        while len(m) > 3:
            m.pop(0)
        return out

    return lambda k: f(data(k)), m


@replayed
def reversed_and_rotated(jit: Any) -> Any:
    m = deque([data(1), data(2), data(3)])

    @jit
    def f(x: Any) -> Any:
        m.rotate(1)
        y = m[0] * x
        return y

    return lambda k: f(data(k)), m


@replayed
def replay_buffer(jit: Any) -> Any:
    m = []

    @jit
    def f(x: Any) -> Any:
        m.append((x, x * 2))
        if len(m) >= 3:
            xs = hb.stack([a for a, b in m])
            m.clear()
            return xs.sum(axis=0)
        return x

    return lambda k: f(data(k)), m


@replayed
def raises_midway(jit: Any) -> Any:
    m = deque(maxlen=2)

    @jit
    def f(x: Any, bad: Any) -> Any:
        m.append(x * 2)
        if bad:
            raise ValueError
        return sum(m)

    return lambda k: f(data(k), k % 7 == 6), m


@replayed
def key_in_dict(jit: Any) -> Any:
    s = box(slots={}, i=0)

    @jit
    def f(x: Any) -> Any:
        s.slots[s.i] = x * 2
        s.i = (s.i + 1) % 3
        return sum(s.slots.values())

    return lambda k: f(data(k)), s


@replayed
def shapes_in_window(jit: Any) -> Any:
    m = deque(maxlen=2)

    @jit
    def f(x: Any) -> Any:
        m.append(x.sum())
        return m[0] + m[-1]

    return lambda k: f(data(k, 3 + k % 2)), m


@replayed
def insert_front(jit: Any) -> Any:
    m = []

    @jit
    def f(x: Any) -> Any:
        m.insert(0, x * 2)
        del m[3:]
        return sum(m)

    return lambda k: f(data(k)), m


@replayed
def slice_kept(jit: Any) -> Any:
    s = box(m=[])

    @jit
    def f(x: Any) -> Any:
        s.m = (s.m + [x * 2])[-3:]
        return sum(s.m)

    return lambda k: f(data(k)), s


@replayed
def popleft_unused_len(jit: Any) -> Any:
    m = deque()

    @jit
    def f(x: Any) -> Any:
        m.append(x * 2)
        while len(m) > 2:
            m.popleft()
        return sum(m)

    return lambda k: f(data(k)), m


def long_window(jit: Any) -> Any:
    window: deque[Any] = deque(maxlen=20)

    @jit
    def f(x: Any) -> Any:
        window.append(x * 0.5)
        return hb.stack(list(window)).mean(axis=0)

    return lambda k: f(data(k % 5)), None
