"""What a program computes with its counters, texts and flags, and which branch they choose."""

from __future__ import annotations

from ..harness import box, data, suite

PROGRAMS, program = suite()


@program
def chained(jit):
    s = box(n=0)

    @jit
    def f(x):
        s.n += 1
        if 2 < s.n % 7 <= 4:
            return x * 2
        return x

    return lambda k: f(data(k)), s


@program
def andor(jit):
    s = box(n=0, m=5)

    @jit
    def f(x):
        s.n += 1
        if (s.n % 2 and s.m > 3) or s.n % 5 == 0:
            return x * 2
        v = s.n % 3 or 7
        s.m = v
        return x

    return lambda k: f(data(k)), s


@program
def ternary(jit):
    s = box(n=0, m=5)

    @jit
    def f(x):
        s.n = s.n + 1 if s.n < 5 else 0
        return x * 2

    return lambda k: f(data(k)), s


@program
def none_start(jit):
    s = box(best=None)

    @jit
    def f(x):
        v = x.sum().item()
        s.best = v
        return x * 2

    def call(k):
        if k % 5 == 0:
            s.best = None
        return f(data(k))

    return call, s


@program
def none_check(jit):
    s = box(best=None, n=0)

    @jit
    def f(x):
        if s.best is None:
            s.best = 0
        s.best += 1
        return x * 2

    def call(k):
        if k % 9 == 8:
            s.best = None
        return f(data(k))

    return call, s


@program
def str_state(jit):
    s = box(mode="a")

    @jit
    def f(x):
        if s.mode == "a":
            s.mode = "b"
            return x * 2
        s.mode = "a"
        return x

    return lambda k: f(data(k)), s


@program
def str_concat(jit):
    s = box(mode="")

    @jit
    def f(x):
        s.mode = s.mode + "a"
        return x * 2

    return lambda k: f(data(k)), s


@program
def bool_int(jit):
    s = box(n=False)

    @jit
    def f(x):
        s.n = s.n + True
        return x * 2

    return lambda k: f(data(k)), s


@program
def negzero(jit):
    s = box(t=-0.0)

    @jit
    def f(x):
        s.t = s.t * 1.0
        return x * 2

    def call(k):
        s.t = [0.0, -0.0, float("nan"), float("inf"), 3.5][k % 5]
        return f(data(k))

    return call, s


@program
def floordiv(jit):
    s = box(n=0, q=0)

    @jit
    def f(x):
        s.n += 1
        s.q = (
            (s.n * 7) // 3
            - (-s.n) % 4
            + (s.n << 2)
            + (s.n & 6)
            + (s.n ^ 3)
            + (s.n | 8)
            + (s.n >> 1)
            - s.n**2
        )
        return x * 2

    return lambda k: f(data(k)), s


@program
def powneg(jit):
    s = box(n=-3, q=0)

    @jit
    def f(x):
        s.n += 1
        s.q = 2**s.n
        return x * 2

    return lambda k: f(data(k)), s


@program
def bigint(jit):
    s = box(n=1)

    @jit
    def f(x):
        s.n = s.n * 1000003
        return x * 2

    return lambda k: f(data(k)), s


@program
def bigint_to_float(jit):
    s = box(n=10**290, t=1.0)

    @jit
    def f(x):
        s.n = s.n * 1000
        s.t = s.t * s.n
        return x * 2

    return lambda k: f(data(k)), s


@program
def host_overflow(jit):
    s = box(n=10**300, t=1.0)

    @jit
    def f(x):
        s.n = s.n * 1000
        s.t = x.sum().item() + s.n
        return x * 2

    return lambda k: f(data(k)), s


@program
def walrus(jit):
    s = box(n=0)

    @jit
    def f(x):
        if (n := s.n + 1) > 5:
            n = 0
        s.n = n
        return x * 2

    return lambda k: f(data(k)), s


@program
def rebinding_local(jit):
    s = box(n=0, m=0)

    @jit
    def f(x):
        n = s.n
        n += 1
        for n2 in range(3):
            n = n + n2
        s.n = n
        n = 5
        s.m = n
        return x * n

    return lambda k: f(data(k)), s


@program
def abs_min(jit):
    s = box(n=0)

    @jit
    def f(x):
        s.n = abs(s.n) + 1
        return x

    return lambda k: f(data(k)), s


@program
def many_paths(jit):
    s = box(n=0)

    @jit
    def f(x):
        s.n += 1
        i = 0
        while i < 3:
            if s.n % 4 == i:
                x = x + i
            i += 1
        return x

    return lambda k: f(data(k)), s
