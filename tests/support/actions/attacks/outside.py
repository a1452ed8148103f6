"""State that others change, replace and delete between calls, and state in classes and modules."""

from __future__ import annotations

import types
import weakref

import hybrid as hb

from ..harness import box, data, suite

PROGRAMS, program = suite()


@program
def class_counter(jit):
    class C:
        n = 0

    @jit
    def f(x):
        C.n += 1
        return x * 2

    def call(k):
        return f(data(k)), C.n

    return call, None


@program
def module_private(jit):
    class Net(hb.nn.Module):
        def __init__(self):
            super().__init__()
            self._n = 0

        def forward(self, x):
            self._n += 1
            return x * 2

    net = Net()

    @jit
    def f(x):
        return net(x)

    return lambda k: (f(data(k)), net._n), None


@program
def dropout_p(jit):
    hb.manual_seed(0)
    net = hb.nn.Dropout(0.5)

    @jit
    def f(x):
        net.p = net.p * 0.9
        return net(x)

    return lambda k: (f(data(k, 64)), net.p), None


@program
def dropout_p_outside(jit):
    hb.manual_seed(0)
    net = hb.nn.Dropout(0.5)

    @jit
    def f(x):
        return net(x)

    def call(k):
        if k in (5, 9):
            net.p = 0.1 * k
        return f(data(k, 64))

    return call, None


@program
def write_only(jit):
    s = box(flag=0)

    @jit
    def f(x):
        s.flag = 7
        return x * 2

    def call(k):
        r = (f(data(k)), s.flag)
        s.flag = k
        return r

    return call, s


@program
def write_only_then_outside_same(jit):
    s = box(h=None)

    @jit
    def f(x):
        s.h = x * 2
        return x

    def call(k):
        r = f(data(k))
        v = s.h
        if k % 2:
            s.h = None
        return r, v

    return call, s


@program
def del_attr(jit):
    s = box(n=0)

    @jit
    def f(x):
        s.n = 1
        del s.n
        return x

    return lambda k: f(data(k)), s


@program
def deleted_outside(jit):
    s = box(n=0)

    @jit
    def f(x):
        s.n += 1
        return x

    def call(k):
        if k == 6:
            del s.n
        if k == 8:
            s.n = 3
        return f(data(k))

    return call, s


@program
def replaced_container(jit):
    s = box(log=[])

    @jit
    def f(x):
        s.log.append(x * 2)
        return x

    def call(k):
        if k % 10 == 9:
            s.log = []
        return f(data(k))

    return call, s


@program
def replaced_holder(jit):
    s = box(c=box(n=0))

    @jit
    def f(x):
        s.c.n += 1
        return x

    def call(k):
        if k % 10 == 9:
            s.c = box(n=5)
        return f(data(k))

    return call, s


@program
def weak(jit):
    s = box(c=box(n=0))
    r = weakref.ref(s.c)

    @jit
    def f(x):
        c = r()
        c.n += 1
        return x

    return lambda k: f(data(k)), s


@program
def global_and_module(jit):
    m = types.ModuleType("mm")
    m.n = 0

    @jit
    def f(x):
        m.n += 1
        return x

    return lambda k: (f(data(k)), m.n), None


@program
def print_at(jit):
    s = box(n=0)

    @jit
    def f(x):
        s.n += 1
        if s.n % 10 == 0:
            print(end="")
        return x

    return lambda k: f(data(k)), s
