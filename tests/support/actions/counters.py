"""Counters, and branches on them."""

from __future__ import annotations

from typing import Any

import hybrid as hb
import hybrid.nn as nn

from .harness import box, data, suite

PROGRAMS, replayed = suite()


@replayed
def attribute_counter(jit: Any) -> Any:
    s = box(n=0)

    @jit
    def f(x: Any) -> Any:
        s.n += 1
        return x * 2

    return lambda k: f(data(k)), s


@replayed
def counter_set_from_outside(jit: Any) -> Any:
    s = box(n=0)

    @jit
    def f(x: Any) -> Any:
        s.n += 3
        return x * 2

    def call(k: int) -> Any:
        if k % 4 == 1:
            s.n = -k
        return f(data(k))

    return call, s


@replayed
def counter_of_a_module_among_the_arguments(jit: Any) -> Any:
    class Counts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.calls = nn.Linear(4, 4), 0

        def forward(self, x: Any) -> Any:
            self.calls += 1
            return self.layer(x)

    hb.manual_seed(1)
    net = Counts()

    @jit
    def f(net: Any, x: Any) -> Any:
        return net(x)

    return lambda k: (f(net, data(k)), net.calls), None


@replayed
def nonlocal_counter(jit: Any) -> Any:
    n = 0

    @jit
    def f(x: Any) -> Any:
        nonlocal n
        n += 1
        return x + 1

    return lambda k: (f(data(k)), n), None


N = 0


@replayed
def global_counter(jit: Any) -> Any:
    global N
    N = 0

    @jit
    def f(x: Any) -> Any:
        global N
        N += 1
        return x + 1

    return lambda k: (f(data(k)), N), None


@replayed
def item_counter(jit: Any) -> Any:
    d = {"n": 0, "other": 5}

    @jit
    def f(x: Any) -> Any:
        d["n"] += 2
        return x + 1

    return lambda k: f(data(k)), d


@replayed
def list_item_counter(jit: Any) -> Any:
    d = [0, 0.5]

    @jit
    def f(x: Any) -> Any:
        d[0] += 2
        d[1] *= 1.25
        return x + 1

    return lambda k: f(data(k)), d


@replayed
def slot_counter(jit: Any) -> Any:
    class Slotted:
        __slots__ = ("n", "m")

    s = Slotted()
    s.n, s.m = 3, 1.5

    @jit
    def f(x: Any) -> Any:
        s.n, s.m = s.n + 1, s.m * 0.5
        return x + 1

    return lambda k: f(data(k)), s


@replayed
def float_decay(jit: Any) -> Any:
    s = box(t=0.5, dt=0.125)

    @jit
    def f(x: Any) -> Any:
        s.t = s.t * 0.99 + s.dt
        return x + 1

    return lambda k: f(data(k)), s


@replayed
def several_counters_of_each_other(jit: Any) -> Any:
    s = box(a=0, b=1)

    @jit
    def f(x: Any) -> Any:
        s.a, s.b = s.b, s.a + s.b
        return x + 1

    return lambda k: f(data(k)), s


@replayed
def counter_in_a_loop(jit: Any) -> Any:
    s = box(n=0)

    @jit
    def f(x: Any) -> Any:
        for _ in range(60):
            s.n += 1
        return x + 1

    return lambda k: f(data(k)), s


@replayed
def counter_in_a_method(jit: Any) -> Any:
    class Model:
        def __init__(self) -> None:
            self.calls, self.log = 0, []

        def note(self, value: Any, step: int) -> None:
            self.log.append((step, value))

        def next(self) -> int:
            self.calls += 1
            return self.calls

        @jit
        def run(self, x: Any) -> Any:
            y = x * 2
            self.note(y, self.next())
            return y

    m = Model()
    return lambda k: m.run(data(k)), m


@replayed
def counter_of_a_module(jit: Any) -> Any:
    class Net(hb.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lin = hb.nn.Linear(4, 2)
            self.calls, self.scale = 0, 1.0

        def forward(self, x: Any) -> Any:
            self.calls += 1
            self.scale *= 0.5
            return self.lin(x)

    hb.manual_seed(0)
    net = Net()

    @jit
    def f(x: Any) -> Any:
        return net(x)

    return lambda k: (f(data(k)).detach(), net.calls, net.scale), None


@replayed
def counters_on_items_of_a_loop(jit: Any) -> Any:
    parts = [box(n=k) for k in range(3)]

    @jit
    def f(x: Any) -> Any:
        for part in parts:
            part.n += 1
        return x + 1

    return lambda k: f(data(k)), parts


@replayed
def counter_returned(jit: Any) -> Any:
    s = box(n=0)

    @jit
    def f(x: Any) -> Any:
        s.n += 1
        return x * 2, s.n, {"step": s.n * 2}

    return lambda k: f(data(k)), s


@replayed
def counter_that_changes_type(jit: Any) -> Any:
    s = box(n=0)

    @jit
    def f(x: Any) -> Any:
        s.n = s.n + 1
        return x * 2

    def call(k: int) -> Any:
        if k == 5:
            s.n = True
        if k == 7:
            s.n = 1.5
        return f(data(k))

    return call, s


@replayed
def division_by_a_counter(jit: Any) -> Any:
    s = box(n=-6, mean=0.0)

    @jit
    def f(x: Any) -> Any:
        s.n += 1
        s.mean = 10 / s.n
        return x * 2

    def call(k: int) -> Any:
        if k == 6:
            s.n = -1
        return f(data(k))

    return call, s


@replayed
def branch_on_a_counter(jit: Any) -> Any:
    s = box(n=0)

    @jit
    def f(x: Any) -> Any:
        s.n += 1
        if s.n % 3 == 0:
            return x * 2
        return x + 1

    return lambda k: f(data(k)), s


@replayed
def branch_on_a_number_set_outside(jit: Any) -> Any:
    s = box(n=0)

    @jit
    def f(x: Any) -> Any:
        if s.n > 20:
            return x * 2
        return x + 1

    def call(k: int) -> Any:
        s.n = k * 2
        return f(data(k))

    return call, s


@replayed
def warmup_schedule(jit: Any) -> Any:
    s = box(step=0, seen=[])

    @jit
    def f(x: Any) -> Any:
        if s.step < 4:
            y = x * 0.5
        else:
            y = x
        s.step += 1
        return y

    return lambda k: f(data(k)), s


@replayed
def flag_that_alternates(jit: Any) -> Any:
    s = box(flag=False)

    @jit
    def f(x: Any) -> Any:
        s.flag = not s.flag
        return x + 1 if s.flag else x * 2

    return lambda k: f(data(k)), s


@replayed
def loop_of_a_counter(jit: Any) -> Any:
    s = box(n=0)

    @jit
    def f(x: Any) -> Any:
        while s.n < 5:
            s.n += 1
            x = x * 2
        return x

    def call(k: int) -> Any:
        s.n = 3
        return f(data(k))

    return call, s


@replayed
def appends_in_one_branch(jit: Any) -> Any:
    s = box(n=0, log=[])

    @jit
    def f(x: Any) -> Any:
        y = x * 2
        if s.n % 2 == 0:
            s.log.append(y)
        s.n += 1
        return y

    return lambda k: f(data(k)), s


@replayed
def counter_of_a_rare_branch(jit: Any) -> Any:
    s = box(rejected=0, x=data(0) * 0, accepted=0.0)

    @jit
    def f(x: Any) -> Any:
        h = x * 2 + s.x
        scale = x * 1
        scale[1] = h[0] * 0.1
        h = h * scale
        if x[0] > 6:
            s.rejected += 1
        else:
            h = h * 0.5
            s.accepted += 0.5
        s.x = h
        return h[1]

    return lambda k: f(data(k % 7)), s
