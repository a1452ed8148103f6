"""State that several names, functions and closures share, and numbers that reach ops through calls."""

from __future__ import annotations

import hybrid as hb

from ..harness import box, data, suite

PROGRAMS, program = suite()


@program
def alias_two_names(jit):
    a = []
    s = box(x=a, y=a)

    @jit
    def f(x):
        s.x.append(x * 2)
        if len(s.y) > 3:
            s.y.pop(0)
        return x

    return lambda k: f(data(k)), s


@program
def obj_dict_alias(jit):
    s = box(n=0)
    d = vars(s)

    @jit
    def f(x):
        s.n += 1
        d["n"] += 1
        return x * 2

    return lambda k: f(data(k)), s


@program
def obj_dict_alias_branch(jit):
    s = box(n=0)
    d = vars(s)

    @jit
    def f(x):
        s.n += 1
        return x * 2 if d["n"] % 2 else x + 1

    return lambda k: f(data(k)), s


@program
def two_funcs_share(jit):
    s = box(n=0)

    @jit
    def f(x):
        s.n += 1
        return x * 2

    @jit
    def g(x):
        s.n *= 2
        return x + 1

    return lambda k: (f(data(k)), g(data(k))), s


@program
def nested_closures(jit):
    def make():
        n = 0

        def inc():
            nonlocal n
            n += 1
            return n

        def dec():
            nonlocal n
            n -= 2
            return n

        return inc, dec

    inc, dec = make()

    @jit
    def f(x):
        a = inc()
        b = dec()
        inc()
        return x * 2, a, b

    return lambda k: f(data(k)), inc


@program
def same_code_two_closures(jit):
    def make(start):
        n = start

        def inc():
            nonlocal n
            n += 1
            return n

        return inc

    a, b = make(0), make(100)

    @jit
    def f(x):
        p = a()
        q = b()
        return x * 2, p, q

    return lambda k: f(data(k)), [a, b]


@program
def same_code_two_closures_loop(jit):
    def make(start):
        n = start

        def inc():
            nonlocal n
            n += 1
            return n

        return inc

    fs = [make(0), make(100)]

    @jit
    def f(x):
        [g() for g in fs]
        return x * 2

    return lambda k: f(data(k)), fs


@program
def lambda_default(jit):
    s = box(n=0)

    @jit
    def f(x):
        s.n += 1

        def g(v=s.n):
            return v

        return x * g()

    return lambda k: f(data(k)), s


@program
def number_into_tensor(jit):
    s = box(n=0)

    @jit
    def f(x):
        s.n += 1
        return hb.asarray([s.n, 1.0])

    return lambda k: f(data(k)), s


@program
def number_as_index(jit):
    s = box(n=0)

    @jit
    def f(x):
        s.n = (s.n + 1) % 4
        return x[s.n]

    return lambda k: f(data(k)), s


@program
def number_by_starargs(jit):
    s = box(n=0)

    def h(x, *a, **k):
        return x * a[0]

    @jit
    def f(x):
        s.n += 1
        return h(x, *[s.n])

    return lambda k: f(data(k)), s


@program
def number_kw(jit):
    s = box(n=0)

    def h(x, k):
        return x * k

    @jit
    def f(x):
        s.n += 1
        return h(x, k=s.n)

    return lambda k: f(data(k)), s


@program
def number_arg_op(jit):
    s = box(n=0)

    def h(x, k):
        return x * k

    @jit
    def f(x):
        s.n += 1
        return h(x, s.n)

    return lambda k: f(data(k)), s


@program
def number_arg_branch(jit):
    s = box(n=0)

    def h(x, k):
        if k % 2:
            return x * 2
        return x + 1

    @jit
    def f(x):
        s.n += 1
        return h(x, s.n)

    return lambda k: f(data(k)), s


@program
def method_arg_branch(jit):
    class M:
        def __init__(self):
            self.n = 0
            self.hist = []

        def h(self, x, k, extra=5):
            self.hist.append(k * 2)
            if k % 2:
                return x * 2
            return x + extra

        def go(self, x):
            self.n += 1
            return self.h(x, self.n)

    m = M()

    @jit
    def f(x):
        return m.go(x)

    return lambda k: f(data(k)), m


@program
def in_generator(jit):
    s = box(n=0)

    def gen():
        for i in range(2):
            s.n += 1
            yield s.n

    @jit
    def f(x):
        for v in gen():
            x = x + v
        return x

    return lambda k: f(data(k)), s


@program
def recursion(jit):
    s = box(n=0)

    def rec(x, d):
        s.n += 1
        if d == 0:
            return x
        return rec(x * 2, d - 1)

    @jit
    def f(x):
        return rec(x, 3)

    return lambda k: f(data(k)), s
